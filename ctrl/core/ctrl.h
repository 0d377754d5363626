/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One node's control, pure: detection, elections, admission, handover, membership. What happened comes in by calls,
 * with the time; what is to be done goes out through a table of functions that return at once. No clock, socket,
 * thread, log or allocation. One thread. The same object runs in lockstep-ctrl and in the simulator.
 *
 * The host must: keep the record (persist, one at a time, answered by persisted()); run the dataplane (spawn after the
 * old process has ended; kill) and carry messages to and from it; keep one ordered, lossless, breakable link to every
 * other member's ctrl and carry whole messages over it; call observe() every `poll_ns` and turn() at next_ns().
 *
 * Nothing that depends on the record is said or ordered before the record is durable: this object asks for it and goes
 * on in persisted().
 */
#ifndef LOCKSTEP_CTRL_CORE_CTRL_H
#define LOCKSTEP_CTRL_CORE_CTRL_H

#include <lockstep/control_message.h>
#include <lockstep/counters.h>

#include "durable.h"

#define LS_CTRL_MESSAGE_MAX 2048 /* of one message between ctrls, header included */
#define LS_CTRL_TEXT_MAX    256
#define LS_CTRL_ID          (1ull << 63) /* set in the ids of this object's questions to the dataplane, never in the host's */

/* Times in ns; 0 takes the default in brackets. */
struct ls_ctrl_times {
    uint64_t poll;             /* between two observe() [1 ms] */
    uint64_t suspect_min;      /* a sequencer unheard for less is never suspected [20 ms] */
    uint64_t suspect_max;      /* ... for longer always is [200 ms] */
    uint64_t stall;            /* a worker without progress for so long: the dataplane counts as hung [40 ms] */
    uint64_t stall_kill;       /* ... and is killed after so long, if the others are a majority without it [3 s] */
    uint64_t late;             /* observe() this much late: suspicions wait for fresh news [10 ms] */
    uint64_t status;           /* between two STATUS to each peer; on a change at once [20 ms] */
    uint64_t answer;           /* an election or admission step without answer is begun anew [30 ms] */
    uint64_t stagger;          /* between the candidates' places in the queue [3 ms] */
    uint64_t restart_min;      /* before a dead dataplane is started again, first time [50 ms], */
    uint64_t restart_max;      /* doubling up to this [5 s]; begins anew after 30 s of life */
    uint64_t handover;         /* patience of a planned handover [200 ms] */
    uint64_t promote_lag;      /* a learner this many entries behind or closer is caught up; a plain number [10000] */
    uint64_t promote_patience; /* a learner that does not get there in this time is given up by name [10 min] */
};

struct ls_ctrl_config {
    uint64_t cluster;
    uint32_t generation;
    uint16_t node;
    enum ls_durability durability; /* from async on a dataplane that starts may bring back all that it acknowledged;
                                      under journal one that dies always leaves all of that */
    uint16_t first_sequencer;      /* of a new cluster: stands at once, the others after the usual time-out */
    struct ls_membership founders; /* of the cluster file; used until a log says better */
    uint64_t clock_ns;             /* time of day at start: no incarnation is below it */
    uint64_t seed;                 /* spreads what would otherwise collide */
    struct ls_ctrl_times times;
};

/* A reading of the dataplane's counters page. Any monotonic clock, the page's own. */
struct ls_ctrl_sample {
    uint64_t turns[LS_WORKERS]; /* heartbeat of each worker; UINT64_MAX: it does not run */
    bool asleep[LS_WORKERS];    /* it sleeps for want of work, on purpose */
    uint64_t heard_ns[LS_NODE_ID_MAX + 1];
    uint64_t acked_seq[LS_NODE_ID_MAX + 1];
    uint64_t epoch, last_epoch, last, last_seq, commit, applied_seq, members_seq;
    uint16_t role, halt, sequencer;
    bool counts;
    uint64_t digest_seq[LS_DIGESTS_KEPT], digest[LS_DIGESTS_KEPT];
    uint64_t scrub_damaged;
};

enum ls_ctrl_command_kind {
    LS_COMMAND_MEMBER_ADD = 1, /* member: as learner; promoted by itself if `promote` */
    LS_COMMAND_MEMBER_REMOVE,  /* node */
    LS_COMMAND_MEMBER_PROMOTE, /* node */
    LS_COMMAND_MEMBER_REPLACE, /* node by member: added, promoted, then node removed */
    LS_COMMAND_SEQUENCER_MOVE, /* node */
};
struct ls_ctrl_command {
    enum ls_ctrl_command_kind kind;
    uint16_t node;
    bool promote;
    struct ls_member member;
};

enum ls_ctrl_level { LS_CTRL_INFO, LS_CTRL_WARN, LS_CTRL_ALARM };

/* Effects. `user` is the host's. None of them calls back before it returns. */
struct ls_ctrl_io {
    void *user;
    /* Make it durable; then persisted(). The host keeps a copy. */
    void (*persist)(void *user, const struct ls_durable *durable);
    /* Start the dataplane (the old one has ended); then dataplane_up() or dataplane_down(). */
    void (*spawn)(void *user, uint64_t incarnation, uint64_t promise, uint64_t counts);
    void (*kill)(void *user);
    /* One message to the dataplane: header's type, id and body. Lost where the link is down. */
    void (*dataplane_send)(void *user, enum ls_control_type type, uint64_t id, const void *body, size_t size);
    /* One message to a peer's ctrl. Lost where its link is down. */
    void (*peer_send)(void *user, uint16_t node, const void *bytes, size_t size);
    /* Keep links to exactly these (without this node). */
    void (*peers)(void *user, const struct ls_membership *members);
    /* Get a checkpoint not older than `position` from one of the nodes in `from` (bits), verify it, have the dataplane
     * restore it; then checkpoint_done(). At most one at a time. */
    void (*checkpoint_get)(void *user, uint64_t from, uint64_t position);
    /* Have the dataplane, which is outside, restore the checkpoint that an operator chose to begin this generation with
     * (nothing, where it is to begin empty); then checkpoint_done(). Wanted only where the record says `recovers`. */
    void (*recover)(void *user);
    /* An operator's command is done or refused: error 0 or an errno, text for people. */
    void (*command_done)(void *user, uint64_t token, int error, const char *text);
    /* A line for the log; and one for status where it is an alarm. */
    void (*say)(void *user, enum ls_ctrl_level level, const char *text);
};

struct ls_ctrl;

/* Size of the object, for a host that places it; create() takes it from the heap. NULL: no memory. */
struct ls_ctrl *ls_ctrl_create(const struct ls_ctrl_config *config, const struct ls_ctrl_io *io);
void ls_ctrl_destroy(struct ls_ctrl *ctrl);

/* Begins with the record as it is on the disk. `alive`: a dataplane outlived the ctrl before this one and the host is
 * linked to it: dataplane_up() follows, it is taken over and not started. */
void ls_ctrl_start(struct ls_ctrl *ctrl, const struct ls_durable *durable, bool alive, uint64_t now_ns);

void ls_ctrl_persisted(struct ls_ctrl *ctrl, bool ok, uint64_t now_ns);
/* READY came. */
void ls_ctrl_dataplane_up(struct ls_ctrl *ctrl, const struct ls_control_ready *ready, uint64_t now_ns);
/* The process is being torn down, or has lost a part of itself: it serves nobody any more, though it has not ended yet.
 * The others are told at once; it is killed for good measure. dataplane_down() follows. */
void ls_ctrl_dataplane_ending(struct ls_ctrl *ctrl, uint64_t now_ns);
/* The process ended, with all its threads; `how` in words. */
void ls_ctrl_dataplane_down(struct ls_ctrl *ctrl, const char *how, uint64_t now_ns);
/* A message from the dataplane that ls_message_check() let pass; answers to ids that others asked are the host's. */
void ls_ctrl_dataplane_message(struct ls_ctrl *ctrl, const struct ls_control_header *header, const uint8_t *body,
                               uint64_t now_ns);
void ls_ctrl_observe(struct ls_ctrl *ctrl, const struct ls_ctrl_sample *sample, uint64_t now_ns);

/* The link to a peer's ctrl stands, or broke: what was sent may be lost. `from` of a message is the node whose link it
 * came over; its bytes are checked here and a wrong one is refused with a reason (NULL: taken), after which the host
 * closes the link. */
void ls_ctrl_peer_up(struct ls_ctrl *ctrl, uint16_t node, uint64_t now_ns);
void ls_ctrl_peer_down(struct ls_ctrl *ctrl, uint16_t node, uint64_t now_ns);
const char *ls_ctrl_peer_message(struct ls_ctrl *ctrl, uint16_t node, const uint8_t *bytes, size_t size,
                                 uint64_t now_ns);

void ls_ctrl_checkpoint_done(struct ls_ctrl *ctrl, int error, const char *text, uint64_t now_ns);

/* `token` is the host's and comes back with command_done(), exactly once. */
void ls_ctrl_command(struct ls_ctrl *ctrl, const struct ls_ctrl_command *command, uint64_t token, uint64_t now_ns);

/* Timers. */
void ls_ctrl_turn(struct ls_ctrl *ctrl, uint64_t now_ns);
uint64_t ls_ctrl_next_ns(const struct ls_ctrl *ctrl);

/* ---- for status and checkers ---- */

enum ls_ctrl_phase {
    LS_CTRL_STARTING, /* dataplane being started */
    LS_CTRL_OUTSIDE,  /* asks to be admitted */
    LS_CTRL_JOINING,  /* admitted to join: catches up */
    LS_CTRL_FULL,     /* takes part */
    LS_CTRL_WAITING,  /* dataplane dead, restart is due at `restart_ns` */
    LS_CTRL_REFUSED,  /* may not take part; `problem` says why and what to do */
    LS_CTRL_REMOVED,  /* no longer a member */
};
const char *ls_ctrl_phase_name(enum ls_ctrl_phase phase);

/* What is known of another member. */
struct ls_ctrl_peer_view {
    uint16_t node;
    bool linked;
    bool alive;   /* its dataplane, as its ctrl says */
    bool stalled; /* ... and it makes no progress */
    bool counts;
    uint16_t role;
    uint64_t incarnation, promise, epoch, last, commit, applied_seq;
    uint64_t heard_ns;  /* its dataplane on the data network, this node's clock; 0: never */
    uint64_t status_ns; /* its ctrl's last STATUS; 0: never */
};

struct ls_ctrl_view {
    enum ls_ctrl_phase phase;
    uint64_t epoch;     /* as far as this node knows */
    uint16_t sequencer; /* 0: none known */
    bool electing;
    bool suspecting;    /* the sequencer is not heard */
    bool stalled;       /* this node's dataplane makes no progress: what its page says is old */
    bool majority_lost; /* a majority of the voters says that it lost its memory: only an operator can go on */
    uint64_t elections, elections_won, admissions, restarts;
    uint64_t suspected_ns, decided_ns, installed_ns; /* of the last election here, this clock; 0: none */
    struct ls_durable durable;                       /* as it is on the disk */
    struct ls_membership members;
    bool members_committed;
    uint64_t reach, restart_ns;
    char problem[LS_CTRL_TEXT_MAX]; /* "" : none */
    char change[LS_CTRL_TEXT_MAX];  /* a membership change under way, and how far; "": none */
    uint32_t peers;
    struct ls_ctrl_peer_view peer[LS_MEMBERS_MAX];
};
void ls_ctrl_view(const struct ls_ctrl *ctrl, struct ls_ctrl_view *view, uint64_t now_ns);

#endif
