/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bytes of one file over one bulk connection: socket, checksums and disk, on a job's thread, because ctrl's loop
 * goes before everything ordinary on its core and may not be held up either. The loop gives connection and file away,
 * gets the connection back at the end, and decides what the end means. Each direction touches its socket in one
 * function.
 *
 * Owned by loop and thread together: whichever lets go last closes and frees, so that the loop never waits for a disk.
 */
#ifndef LOCKSTEP_CTRL_IO_TRANSFER_FLOW_H
#define LOCKSTEP_CTRL_IO_TRANSFER_FLOW_H

#include <stdatomic.h>

#include "transfer_internal.h"

/* ---- a rate that several share: any thread ---- */

struct ls_rate;

/* NULL: no memory. */
struct ls_rate *ls_rate_create(uint64_t bytes_per_second);
struct ls_rate *ls_rate_hold(struct ls_rate *rate);
void ls_rate_let_go(struct ls_rate *rate); /* NULL: nothing to do */

/* The most that may be reserved at once: whoever shares the rate takes turns at so much. At least 1. */
size_t ls_rate_portion(const struct ls_rate *rate);
/* When these bytes may go. Who comes later goes later: nobody's turn is taken by others. `now_ns` of CLOCK_MONOTONIC.
 */
uint64_t ls_rate_reserve(struct ls_rate *rate, uint64_t now_ns, size_t bytes);

/* ---- the flow ---- */

enum ls_flow_end {
    LS_FLOW_GOES, /* none yet */
    LS_FLOW_DONE,
    LS_FLOW_BROKE,     /* the connection; `error`, or 0: the other end closed it */
    LS_FLOW_SILENT,    /* nothing went for as long as the patience lasts */
    LS_FLOW_MALFORMED, /* a frame damaged or one that cannot be: `why` */
    LS_FLOW_TURN,      /* a frame that does not come in its turn */
    LS_FLOW_GAP,       /* a piece that does not follow the one before it */
    LS_FLOW_SAID,      /* the other end has ended it by the frame in front of `in`: BAD or REFUSE */
    LS_FLOW_FILE,      /* read or written: `error`; sending, 0: the file is shorter than it was */
    LS_FLOW_STOPPED,
};

struct ls_flow_plan {
    struct event_base *base;
    bool sends;
    uint64_t offset, size; /* from where on, up to where */
    uint32_t patience_ms;
    struct ls_rate *rate;     /* of sending; NULL: no limit */
    void (*done)(void *user); /* from the loop, unless stopped before: then ls_flow_stop() or ls_flow_take_back() */
    void *user;
};

struct ls_flow {
    struct ls_flow_plan plan; /* does not change */
    atomic_int holders;       /* loop and thread; release on letting go, acquire by the last */
    atomic_bool stop;         /* loop: wo, thread: ro */
    _Atomic uint64_t offset;  /* thread: wo, loop: ro; what is below it was written, or read to be sent */
    int socket;               /* the thread's, but for shutdown() */
    int file;
    struct ls_job *job; /* loop */
    /* The thread's until done(), then the loop's. */
    enum ls_flow_end end;
    int error; /* -errno */
    const char *why;
    size_t in_size, out_size, sent; /* `sent` of `out` */
    size_t portion;                 /* of it, which may go at due_ns */
    uint64_t due_ns;
    uint8_t in[2 * LS_BULK_FRAME_MAX], out[LS_BULK_FRAME_MAX];
};

/* Takes the file, the connection, and what lies in its buffers, and frees `bev`. NULL: no memory, thread or descriptor;
 * file and `bev` stay the caller's, who can only close them. */
struct ls_flow *ls_flow_start(const struct ls_flow_plan *plan, struct bufferevent *bev, int file);
uint64_t ls_flow_offset(const struct ls_flow *flow);
/* The thread ends soon, unseen, and until then may still read or write the file. NULL: nothing to do. */
void ls_flow_stop(struct ls_flow *flow);
/* From done(): the connection, with what was received but belongs to nobody yet; the flow is gone. NULL: no memory, and
 * it is closed. */
struct bufferevent *ls_flow_take_back(struct ls_flow *flow);

#endif
