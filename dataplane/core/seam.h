/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Everything that the threads of one dataplane share about one log, and nothing else: monotonic indexes and SPSC
 * queues. net owns the protocol, apply owns state and sessions, control asks net by message.
 */
#ifndef LOCKSTEP_CORE_SEAM_H
#define LOCKSTEP_CORE_SEAM_H

#include "io.h"
#include "spsc.h"

/* net -> apply: a client repeats a request that was ordered before. */
struct ls_repeat {
    uint64_t session;
    uint64_t number;
    uint32_t slot;
    struct ls_addr client;
};

/* control -> net */
enum ls_order_kind { LS_ORDER_SEAL = 1, LS_ORDER_INSTALL = 2 };
struct ls_order {
    uint64_t id; /* copied to the event that answers it */
    uint64_t epoch;
    uint64_t incarnation;
    uint32_t kind; /* enum ls_order_kind */
};

/* net -> control */
enum ls_event_kind { LS_EVENT_SEALED = 1, LS_EVENT_INSTALLED = 2, LS_EVENT_EPOCH_SEEN = 3, LS_EVENT_ROLE = 4 };
struct ls_event {
    uint64_t id; /* 0: no answer to anything */
    uint64_t epoch;
    uint64_t last_epoch; /* SEALED: of the last complete entry, 0: the log is empty */
    uint64_t last;       /* SEALED: its end */
    uint64_t last_seq;   /* SEALED */
    uint32_t kind;       /* enum ls_event_kind */
    uint16_t node;       /* EPOCH_SEEN: sender; ROLE: sequencer */
    uint16_t role;       /* ROLE: enum ls_role */
    uint32_t code;       /* INSTALLED: as struct ls_control_installed.refused; ROLE: enum ls_halt */
};

/* One slot of the session table, as apply publishes it for net's admission. apply writes session = 0, next, session
 * (release each); net reads session, next, session again (acquire each) and retries later where they differ. */
struct ls_session_public {
    _Atomic uint64_t session; /* 0: free */
    _Atomic uint64_t next;    /* number of the request that may be executed next */
};

struct ls_seam {
    /* net writes; apply reads */
    _Alignas(64) _Atomic uint64_t commit; /* position; release after the bytes before it; apply acquires */
    _Atomic uint64_t epoch;               /* for reply headers */
    _Atomic uint64_t time;                /* sequencer time, for reply bodies */
    _Atomic bool serving;                 /* this node answers clients: it is the epoch's sequencer */
    /* apply writes; net reads */
    _Alignas(64) _Atomic uint64_t applied; /* position; release after applied_seq; net acquires */
    _Atomic uint64_t applied_seq;          /* release after the state is visible; net acquires */
    struct ls_session_public *sessions;    /* LS_SESSIONS_MAX bounded array, `sessions_max` long */
    uint32_t sessions_max;
    _Atomic uint32_t window; /* apply writes: the log's limit of requests in flight; 0: none yet */
    /* queues */
    struct ls_spsc repeats; /* net -> apply, struct ls_repeat */
    struct ls_spsc replies; /* apply -> net, struct ls_frame: complete frames to be sent */
    struct ls_spsc orders;  /* control -> net, struct ls_order */
    struct ls_spsc events;  /* net -> control, struct ls_event */
};

#define LS_REPEATS_QUEUE 1024
#define LS_REPLIES_QUEUE 1024
#define LS_ORDERS_QUEUE  16
#define LS_EVENTS_QUEUE  64

/* Takes and gives back the queues' and the session array's memory. 0 or -ENOMEM. dataplane/core/seam.c */
int ls_seam_init(struct ls_seam *seam, uint32_t sessions_max);
void ls_seam_free(struct ls_seam *seam);

#endif
