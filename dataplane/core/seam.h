/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Everything that the threads of one dataplane share about one log, and nothing else: monotonic indexes and SPSC
 * queues. net owns the protocol, apply owns state and sessions, control asks net by message.
 */
#ifndef LOCKSTEP_CORE_SEAM_H
#define LOCKSTEP_CORE_SEAM_H

#include <lockstep/membership.h>

#include "io.h"
#include "spsc.h"

/* net -> apply: a client repeats a request that was ordered before. */
struct ls_repeat {
    uint64_t session;
    uint64_t number;
    uint32_t slot;
    uint16_t durability; /* as struct ls_entry has it */
    struct ls_addr client;
};

/* apply -> net: a complete frame to be sent. */
struct ls_reply_frame {
    struct ls_frame frame;
    uint64_t hold; /* not before the disks of a majority have the log up to here; 0: at once */
};

/* control -> net. DONE and REBASED carry 0 or an errno in `code`:
 * FOUND: EBUSY not outside; ENOTEMPTY the log is not empty; EINVAL malformed, or this node is none of them; EPERM the
 *   log begins behind a checkpoint of an older generation, and this node is not the only member.
 * JOIN: EIO halted; EALREADY it counts; EPERM the log begins behind a checkpoint of an older generation; ESTALE another
 *   incarnation or sequencer, or not sealed at that epoch; EINVAL malformed, or this node or the sequencer is none of
 *   them.
 * COUNT: EIO halted; ESTALE another incarnation; EAGAIN not reached yet.
 * HANDOVER: ESTALE not serving as that epoch's sequencer; EBUSY it hands over already; ENOENT no other voter; EAGAIN
 * that voter is not verified and counting in this epoch; later ETIMEDOUT patience, or ECANCELED the epoch is over.
 * REBASE: EINVAL no image; EBUSY nothing is missing here (sequencer; verified and counting), or halted; EBADMSG the cut
 *   makes no sense; EPERM of an older generation, and this replica is not outside without a log; EAGAIN it reaches into
 *   an epoch that is not promised here; ESTALE older than what must be kept: the log's end where this incarnation
 *   counts, has reached what it joined for or has acknowledged in this epoch, else commit. Later orders wait for it. */
enum ls_order_kind {
    LS_ORDER_SEAL = 1,     /* epoch. Answer: SEALED */
    LS_ORDER_INSTALL = 2,  /* epoch, incarnation. INSTALLED */
    LS_ORDER_FOUND = 3,    /* members. DONE */
    LS_ORDER_JOIN = 4,     /* epoch, incarnation, position = reach, node = sequencer, other = its incarnation, members.
                              DONE */
    LS_ORDER_COUNT = 5,    /* incarnation. DONE */
    LS_ORDER_ADMIT = 6,    /* epoch, incarnation, node, other = joining incarnation, position = its promise. ADMITTED */
    LS_ORDER_CHANGE = 7,   /* epoch, position = seq of the membership it replaces, members. CHANGED */
    LS_ORDER_HANDOVER = 8, /* epoch, node, position = patience in ns. HANDED, or DONE */
    LS_ORDER_REBASE = 9,   /* image: log and state are replaced by it. REBASED */
};
struct ls_image; /* cut.h */
struct ls_order {
    uint64_t id; /* copied to the event that answers it */
    uint64_t epoch;
    uint64_t incarnation;
    uint64_t position;
    uint64_t other;
    uint32_t kind; /* enum ls_order_kind */
    uint16_t node;
    struct ls_image *image; /* REBASE: net's and apply's until REBASED says that they have done with it */
    struct ls_membership members;
};

/* net -> control */
enum ls_event_kind {
    LS_EVENT_SEALED = 1,     /* epoch, last_epoch, last, last_seq, members, code = 1 where this incarnation counts */
    LS_EVENT_INSTALLED = 2,  /* epoch, code as struct ls_control_installed.refused */
    LS_EVENT_EPOCH_SEEN = 3, /* epoch, node */
    LS_EVENT_ROLE = 4,       /* epoch, role, node = sequencer, code = enum ls_halt */
    LS_EVENT_DONE = 5,       /* code: 0, or an errno */
    LS_EVENT_ADMITTED = 6,   /* epoch, last = reach, node, last_seq = joining incarnation, code as in the message */
    LS_EVENT_CHANGED = 7,    /* epoch, last_seq = seq, code as in the message */
    LS_EVENT_HANDED = 8,     /* epoch, node */
    LS_EVENT_REACHED = 9,    /* epoch */
    LS_EVENT_MEMBERS = 10,   /* members, code = 1 where committed */
    LS_EVENT_REBASED = 11,   /* code: 0, image holds the old machine and sessions; or an errno, it holds what it held */
};
struct ls_event {
    uint64_t id; /* 0: no answer to anything */
    uint64_t epoch;
    uint64_t last_epoch; /* of the last complete entry, 0: the log is empty */
    uint64_t last;       /* its end */
    uint64_t last_seq;
    uint32_t kind; /* enum ls_event_kind */
    uint16_t node;
    uint16_t role; /* enum ls_role */
    uint32_t code;
    struct ls_membership members;
};

/* One slot of the session table, as apply publishes it for net's admission. apply writes session = 0, next, session
 * (release each); net reads session, next, session again (acquire each) and retries later where they differ. */
struct ls_session_public {
    _Atomic uint64_t session; /* 0: free */
    _Atomic uint64_t next;    /* number of the request that may be executed next */
    _Atomic uint64_t client;  /* ip << 16 | port that its newest entry came from; 0: none. For VIEW frames only, so it
                                 may be of another instant than the two above */
    _Atomic uint64_t active;  /* log time of that entry */
};

/* A cut through the applied state, for a checkpoint: bulk asks, apply makes it between two bursts, bulk reads the image
 * while apply goes on, bulk ends it. */
enum ls_cut_state {
    LS_CUT_NONE = 0,    /* apply or start: bulk may ask */
    LS_CUT_WANTED = 1,  /* bulk -> apply: `cut` is to be filled */
    LS_CUT_OPEN = 2,    /* apply -> bulk: it is, and stays as it is */
    LS_CUT_REFUSED = 3, /* apply -> bulk: cut_error says why; apply has nothing to do with it any more */
    LS_CUT_ENDING = 4,  /* bulk -> apply: read or given up; apply gives the image's memory back, then NONE */
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
    /* checkpoints: `cut`, `cut_error` belong to whose move it is (release with the state, acquire before use) */
    _Alignas(64) _Atomic uint32_t cut_state; /* enum ls_cut_state */
    int cut_error;
    struct ls_cut *cut;
    _Atomic bool cut_sessions;      /* apply -> bulk: the cut's sessions are copied whole (release) */
    struct ls_image *_Atomic image; /* net -> apply: swap (release); apply -> net: NULL, done (release) */
    /* The journal; nothing of it moves where there is none. net writes; journal reads. A tail that was dropped and a
     * log that begins anew: net stores the fields, then `asked` (release); journal loads asked (acquire), then the
     * fields. Until `taken` equals it they stay as they are, net writes nothing to the ring, and `durable` is of bytes
     * that may be others now. Before a new base the end falls to commit, where both logs agree; net publishes the
     * new end and commit after `asked`. So the journal, which looks at `asked` once more behind either (acquire), never
     * takes them for the old log's, nor what is left of the old log for the new one's. */
    _Alignas(64) _Atomic uint64_t journal_asked; /* how often; 0: never */
    _Atomic uint64_t journal_from;               /* bytes from here on may differ from what they were before */
    _Atomic uint64_t journal_base;               /* the log begins here; != 0 only behind a checkpoint, */
    _Atomic uint64_t journal_base_seq;           /* whose cut says these */
    _Atomic uint64_t journal_base_time;
    _Atomic uint32_t journal_base_chain;
    /* journal writes; net reads */
    _Alignas(64) _Atomic uint64_t journal_taken; /* release, after `durable` was lowered */
    _Atomic uint64_t durable;                    /* position: the bytes below are on this disk; release; net acquires */
    _Atomic uint64_t marked;        /* position of a commit that a restart will know of; never falls but with
                                       a base; release; net acquires: the ring keeps what lies above */
    _Atomic uint32_t journal_error; /* errno: it can write no more, and `durable` stands still for ever */
    /* What the ring has let go and a member still misses comes from the journal, window by window: net asks, and
     * somebody who may wait for the disk answers. net stores `past_want`, then `past_asked` (release); the other one
     * fills the window, then stores `past_taken` (release). While the two differ the window is his, else net's. */
    _Alignas(64) _Atomic uint64_t past_asked; /* how often */
    uint64_t past_want;                       /* a position */
    _Alignas(64) _Atomic uint64_t past_taken;
    uint8_t *past_bytes;          /* the window; set before net runs; NULL: nobody answers */
    uint64_t past_from, past_end; /* positions that it holds, all committed; equal: what was wanted is held no more */
    /* queues */
    struct ls_spsc repeats; /* net -> apply, struct ls_repeat */
    struct ls_spsc replies; /* apply -> net, struct ls_reply_frame */
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

/* For whoever answers net's `past_want`: how far the journal may be read. 0: not now. */
uint64_t ls_seam_past_limit(const struct ls_seam *seam);

#endif
