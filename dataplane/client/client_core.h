/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client's half of the protocol, pure: frames and the time come in, frames go out through `io`. Used by the client
 * library (over a kernel UDP socket), the simulator and the one-core benchmark. One thread.
 *
 * It opens a session by itself, keeps up to `window` requests in flight, sends each again after an adaptive time-out
 * with the same number (also at another node: REDIRECT, VIEW and silence move it), feeds pulled large requests,
 * gathers large values part by part, and gives every request exactly one completion.
 */
#ifndef LOCKSTEP_CLIENT_CORE_H
#define LOCKSTEP_CLIENT_CORE_H

#include <lockstep/types.h>
#include <lockstep/wire.h>

#include "../core/io.h"

struct ls_client_config {
    uint64_t cluster;
    uint32_t generation;
    uint16_t group;
    uint32_t nodes;
    struct ls_addr node[LS_MEMBERS_MAX]; /* where to begin, in this order from `first` on */
    uint32_t first;
    uint8_t nonce[LS_NONCE_SIZE]; /* random: names the session to be opened */
    uint32_t window;              /* requests in flight, 1..LS_WINDOW_MAX */
    uint32_t op_max;              /* largest operation */
    uint64_t retry_min_ns;        /* bounds of the adaptive retry time-out; 0: 1 ms */
    uint64_t retry_max_ns;        /* 0: 250 ms */
    uint64_t give_up_ns;          /* a request without answer for this long completes as unknown; 0: never */
    uint32_t read_node;           /* 1-based index into node[]: send reads there; 0: to the sequencer */
    bool read_pinned;             /* reads stay at read_node even while it is silent; else they try the others then */
    bool open_late;               /* open the session with the first submit, not at once */
};

enum ls_client_outcome {
    LS_CLIENT_DONE = 0, /* status says what came of it */
    LS_CLIENT_UNKNOWN =
        1, /* no answer within give_up_ns, or the session was lost: it may or may not have been executed */
};

struct ls_client_result {
    enum ls_client_outcome outcome;
    uint16_t status; /* enum ls_status; UNKNOWN: why, as far as known (SESSION_UNKNOWN, the last BUSY), else OK */
    uint8_t durability;
    uint8_t retries; /* times it was sent again, saturating */
    uint64_t session;
    uint64_t number;
    uint64_t seq;
    uint64_t epoch;
    uint64_t age;         /* stale reads */
    const uint8_t *bytes; /* valid during the call */
    uint32_t length;
};
typedef void (*ls_client_done)(void *user, const struct ls_client_result *result);

struct ls_client_core;

/* All memory is taken here. NULL and errno: EINVAL for a configuration that makes no sense, ENOMEM. `io` outlives the
 * client. destroy() completes nothing: what is in flight is forgotten. Not from within a completion. */
struct ls_client_core *ls_client_core_create(const struct ls_client_config *config, struct ls_io *io, uint64_t now_ns);
void ls_client_core_destroy(struct ls_client_core *client);

/* One mutation; the bytes are copied. 0; -EAGAIN: window full (also: 4 operations above LS_OP_SMALL_MAX are in
 * flight); -EMSGSIZE; -ENOTCONN: the session was lost (evicted): create a new client. `deadline_ns`: relative, in
 * sequencer time, 0: none. `done` may be NULL, and may submit and read.
 *
 * A request that was given up has its completion, but its number still stands before those behind it: the client goes
 * on asking for it by QUERY, and it takes a place of the window until that is answered. A request that was never sent
 * is completed as done, CLOSED. */
int ls_client_core_submit(struct ls_client_core *client, const void *operation, uint32_t length, uint64_t deadline_ns,
                          ls_client_done done, void *user, uint64_t now_ns);
/* Of the requests that are submitted from now on; see client.h. */
void ls_client_core_durability(struct ls_client_core *client, enum ls_durability durability);
/* Ends a request that is in flight by a QUERY: its completion then says done with its result, or CLOSED. -ENOENT. */
int ls_client_core_query(struct ls_client_core *client, uint64_t number, uint64_t now_ns);
/* One read; not numbered in the session. -EAGAIN: `window` reads are in flight. */
int ls_client_core_read(struct ls_client_core *client, const void *operation, uint32_t length,
                        enum ls_consistency consistency, uint64_t least, ls_client_done done, void *user,
                        uint64_t now_ns);

/* Several submits share a frame until ls_client_core_poll() sends it. What is no answer to anything is ignored. */
void ls_client_core_input(struct ls_client_core *client, const struct ls_frame *frame, uint64_t now_ns);
/* Sends what waits; returns when it wants to be called again without input. */
uint64_t ls_client_core_poll(struct ls_client_core *client, uint64_t now_ns);

uint64_t ls_client_core_session(const struct ls_client_core *client);     /* 0: not open yet */
uint64_t ls_client_core_next_number(const struct ls_client_core *client); /* of the next submit */
uint32_t ls_client_core_in_flight(const struct ls_client_core *client);   /* requests and reads not completed yet */
uint64_t ls_client_core_last_seq(const struct ls_client_core *client);    /* highest seq seen: for LS_READ_LEAST */

#endif
