/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client library: a session with a Lockstep cluster over a kernel UDP socket. Operations are opaque bytes here;
 * <lockstep/client_kv.h> makes and reads those of the key-value store.
 *
 *     struct ls_client_options options = {.cluster = id, .generation = 1, .nodes = 3, .node = {...}};
 *     struct ls_client *client;
 *     int rc = ls_client_open(&client, &options);
 *     ...
 *     struct ls_reply reply;
 *     rc = ls_client_call(client, operation, length, 0, &reply);
 *     if (rc == 0 && reply.status == LS_STATUS_OK) ...
 *     ls_client_close(client);
 *
 * Threads: none inside. A client belongs to one thread at a time; several threads take a client each.
 * Memory: all of it is taken by ls_client_open(). What is passed in is copied before the function returns; what is
 * handed out says how long it lives.
 * Errors: 0, or -errno for what went wrong on this side or on the way. What the cluster answered is a status (enum
 * ls_status, <lockstep/error.h>), also where it is a refusal. Times are nanoseconds.
 *
 * What a mutation's end means:
 *     0, status OK ...        executed, exactly once, at reply.seq
 *     0, NOT_FOUND, CONDITION and other answers of the state machine: ordered, and answered so; see there
 *     0, EXPIRED or CLOSED    not executed, and it never will be
 *     -ETIMEDOUT              no answer within `timeout_ns`: it may have been executed, or still will be at most once.
 *                             The client goes on closing its number in the background. ls_client_query() asks earlier.
 *     -ENOTCONN               the cluster evicted the session: what was in flight may have been executed; what comes
 *                             afterwards is not sent. ls_client_renew() begins a new session.
 * A mutation is repeated by the library, with its number, until then: the caller never repeats one to be sure.
 */
#ifndef LOCKSTEP_CLIENT_H
#define LOCKSTEP_CLIENT_H

#include <lockstep/error.h>
#include <lockstep/limits.h>
#include <lockstep/types.h>

#define LS_CLIENT_TIMEOUT_DEFAULT (5ull * 1000 * 1000 * 1000)

struct ls_client_options {
    uint64_t cluster;                    /* id, from the cluster file */
    uint32_t generation;                 /* likewise */
    uint16_t group;                      /* 0 */
    uint32_t nodes;                      /* 1..LS_MEMBERS_MAX */
    struct ls_addr node[LS_MEMBERS_MAX]; /* where to begin; later changes of membership are followed */
    uint32_t first;                      /* index of the node to begin with; any will do */
    bool first_random;                   /* begin with any of them instead: many clients spread over the nodes */
    struct ls_addr bind;                 /* own address and port; 0: the kernel chooses */
    uint32_t window;       /* mutations in flight, and reads in flight: 1..LS_WINDOW_MAX; 0: LS_WINDOW_DEFAULT */
    uint32_t op_max;       /* largest mutation, bytes; 0: LS_OP_MAX_DEFAULT. 4 such are held at once */
    uint64_t timeout_ns;   /* of each operation; 0: LS_CLIENT_TIMEOUT_DEFAULT; UINT64_MAX: never */
    uint64_t retry_min_ns; /* bounds of the adaptive time of repetition; 0: 1 ms */
    uint64_t retry_max_ns; /* 0: 250 ms */
    uint32_t read_node;    /* reads go to node[read_node - 1]; 0: to the sequencer */
    bool read_pinned;      /* ... and to no other, even while it is silent */
};

struct ls_reply {
    int error;          /* 0: the cluster answered; -ETIMEDOUT, -ENOTCONN: see above, only session and number hold */
    uint16_t status;    /* enum ls_status; with an error: the last reason to wait that a node gave, else OK */
    uint8_t durability; /* enum ls_durability that the mutation has reached */
    uint8_t retries;    /* times it was sent again, saturating */
    uint64_t session;
    uint64_t number;
    uint64_t seq;         /* where it was ordered; of a read: the state it was read from */
    uint64_t epoch;       /* of the node that answered */
    uint64_t age;         /* stale reads: how old the copy may be, UINT64_MAX unknown; else 0 */
    const uint8_t *bytes; /* the result */
    uint32_t length;
};

/* Called from within ls_client_process() or a blocking call, once per operation that was accepted. reply->bytes is
 * valid during the call. It may submit and read; it may not block, renew or close. */
typedef void (*ls_client_callback)(void *user, const struct ls_reply *reply);

struct ls_client;

/* Makes the socket and takes all memory; sends nothing yet: the session is opened with the first mutation, reads need
 * none. -EINVAL: an option makes no sense; -ENOMEM; or what socket() and bind() say. */
int ls_client_open(struct ls_client **client, const struct ls_client_options *options);
/* What is in flight is forgotten: its callbacks are not called, its outcome is unknown. NULL is fine. */
void ls_client_close(struct ls_client *client);

/* ---- blocking ---- */

/* One mutation. `deadline_ns` from now on, in the sequencer's time: ordered later than that, it is answered EXPIRED and
 * not executed; 0: none. reply->bytes lives until the next call with this client.
 * Returns reply->error, or -EMSGSIZE: longer than op_max, and *reply is not written then. Callbacks of other
 * operations run meanwhile; a full window is waited for. */
int ls_client_call(struct ls_client *client, const void *operation, uint32_t length, uint64_t deadline_ns,
                   struct ls_reply *reply);
/* One read, of at most LS_READ_OP_MAX bytes. `least` only counts with LS_READ_LEAST: the result is of that seq or later
 * (ls_client_last_seq() makes reads see the own writes and never go back). */
int ls_client_fetch(struct ls_client *client, const void *operation, uint32_t length, enum ls_consistency consistency,
                    uint64_t least, struct ls_reply *reply);
/* Until nothing is in flight. */
void ls_client_drain(struct ls_client *client);

/* ---- for event loops ----
 * Wait until ls_client_fd() is readable or ls_client_wait_ns() has passed, then ls_client_process(). */

/* 0: accepted, `callback` (NULL: none wanted) will be called once; *number (NULL: not wanted) is its number.
 * -EAGAIN: the window is full (it counts from the lowest number without an answer), or 4 operations above
 * LS_OP_SMALL_MAX are in flight: process first; -EMSGSIZE; -ENOTCONN. Nothing is sent before ls_client_process():
 * several submits share a frame. */
int ls_client_submit(struct ls_client *client, const void *operation, uint32_t length, uint64_t deadline_ns,
                     ls_client_callback callback, void *user, uint64_t *number);
int ls_client_read(struct ls_client *client, const void *operation, uint32_t length, enum ls_consistency consistency,
                   uint64_t least, ls_client_callback callback, void *user);
/* Ends a mutation that is in flight soon: its callback then says done with its result, or CLOSED. -ENOENT: it is not
 * in flight. */
int ls_client_query(struct ls_client *client, uint64_t number);

/* What the mutations submitted from now on are to have reached before they are answered. LS_DURABLE_JOURNAL: the disks
 * of a majority, where the cluster only writes behind (async); what it has by itself anyway needs no asking
 * (LS_DURABLE_NONE, the beginning). A cluster without journals answers as it can: look at reply->durability. */
void ls_client_set_durability(struct ls_client *client, enum ls_durability durability);

int ls_client_fd(const struct ls_client *client);
/* Nanoseconds until ls_client_process() is wanted without any input: 0 at once, UINT64_MAX never. */
uint64_t ls_client_wait_ns(const struct ls_client *client);
/* Takes what has arrived, sends what waits, runs timers. Never blocks. Returns how many operations ended. */
uint32_t ls_client_process(struct ls_client *client);
/* Waits as above, at most `at_most_ns` (a signal may end it sooner), then processes. Returns how many operations
 * ended. */
uint32_t ls_client_wait(struct ls_client *client, uint64_t at_most_ns);

/* ---- state ---- */

uint64_t ls_client_session(const struct ls_client *client);  /* 0: not open yet */
uint64_t ls_client_last_seq(const struct ls_client *client); /* highest seq seen in any reply */
uint32_t ls_client_in_flight(const struct ls_client *client);
/* Begins a new session on the same socket, with all other state as after ls_client_open(). -EBUSY: something is in
 * flight. -ENOMEM leaves the client as it was. */
int ls_client_renew(struct ls_client *client);

/* Since ls_client_open(). */
struct ls_client_counts {
    uint64_t frames_out;
    uint64_t frames_in;
    uint64_t send_failed; /* frames that the kernel did not take; they are lost as on a network */
    int send_error;       /* errno of the last of them, 0: none */
};
void ls_client_counts(const struct ls_client *client, struct ls_client_counts *counts);

#endif
