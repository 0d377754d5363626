/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The inside of struct ls_ctrl, private to ctrl.c, life.c, election.c, ballot.c, admission.c, joining.c, members.c,
 * command.c and links.c.
 *
 * Every part is a step that looks at what is so, and does what has become possible: every event is noted down first and
 * then all steps run (ctrl_advance()). What is on the disk is `disk`; what it shall become is `next`. A step that needs
 * something durable writes it to `next` and goes on in a later run, when `disk` says it: nothing can overtake the disk.
 */
#ifndef LOCKSTEP_CTRL_CORE_CTRL_INTERNAL_H
#define LOCKSTEP_CTRL_CORE_CTRL_INTERNAL_H

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "ctrl.h"
#include "ctrl_mutant.h"
#include "detector.h"
#include "drift.h"
#include "peer_message.h"

#define CTRL_EPOCHS_AHEAD                                                                                              \
    (1ull << 20)        /* one election a second for twelve days: no cluster gets there in one absence                 \
                         */
#define CTRL_COMMANDS 8 /* operators' commands under way here */
#define CTRL_DOUBLINGS                                                                                                 \
    3 /* of times.answer: a question that was not answered is waited for twice as long the next time, so often */

/* A question to this node's dataplane; id 0: none is open. */
struct ask {
    uint64_t id;
    uint64_t sent_ns;
};

struct peer {
    bool linked;
    bool greeted; /* its HELLO came on some link since start */
    bool has_status;
    bool odd_said;
    uint64_t backwards_ns; /* since when this link brings an incarnation below `incarnation`; 0: it does not */
    bool backwards;        /* ... or did an older link, and nothing better came since */
    uint64_t incarnation;  /* highest ever heard of it */
    uint64_t promise;
    uint64_t commit; /* from its HELLO */
    uint64_t status_ns;
    uint64_t stuck_epoch; /* the epoch in which it said that it is stuck */
    struct ls_peer_status status;
};

enum stage { STAGE_IDLE, STAGE_PREVOTE, STAGE_PROMISE, STAGE_SEAL, STAGE_VOTE, STAGE_INSTALL };
struct election {
    enum stage stage;
    uint64_t epoch;
    uint64_t id;              /* of the question to the peers */
    uint64_t granted, denied; /* bits */
    uint64_t deadline_ns;
    uint64_t due_ns; /* IDLE: when to stand; 0: no reason to */
    uint32_t rounds;
    uint32_t tries;
    bool handover;
    struct ask ask;
    struct ls_membership members; /* who elects: of the sealed log */
    uint64_t last_epoch, last;
};

enum ballot_stage { BALLOT_NONE, BALLOT_WRITE, BALLOT_SEAL };
struct ballot {
    enum ballot_stage stage;
    uint16_t node;
    uint64_t id, asker;
    struct ls_peer_vote vote;
    struct ask ask;
    uint64_t since_ns;
};

/* At the sequencer: one node that wants to be admitted. */
enum admission_stage { ADMISSION_NONE, ADMISSION_ADMIT, ADMISSION_CONFIRM };
struct admission {
    enum admission_stage stage;
    uint64_t id; /* the joiner's question */
    uint64_t joining, promise, epoch;
    uint64_t reach;
    uint64_t confirm_id;
    uint64_t confirmed; /* bits */
    uint64_t above;     /* bits: they have promised more */
    uint64_t since_ns;
    struct ask ask;
};

enum joining_stage {
    JOINING_NONE,
    JOINING_RESTORE, /* of a new generation: the host has what the operator chose restored */
    JOINING_FOUND,   /* FOUND is asked */
    JOINING_ASK,     /* the sequencer's ctrl is asked */
    JOINING_PROMISE, /* its epoch is being made durable, sealed */
    JOINING_ORDER,   /* JOIN is asked */
    JOINING_CATCH_UP,
    JOINING_COUNT, /* reached: to be made durable, COUNT asked */
};
struct joining {
    enum joining_stage stage;
    uint16_t sequencer;
    uint64_t id;
    uint64_t epoch, reach, sequencer_incarnation;
    uint64_t since_ns;
    uint32_t asked;                /* of this sequencer, without an answer */
    uint64_t moved_ns, moved_last; /* when the log grew last */
    struct ask ask;
    struct ls_membership members;
};

struct command {
    bool used;
    uint16_t to; /* the sequencer it was forwarded to */
    uint64_t incarnation;
    uint64_t id;
    uint64_t token;
    uint64_t since_ns;
};

/* At the sequencer: the one change that is under way. */
enum change_step {
    CHANGE_NONE,
    CHANGE_ADD,
    CHANGE_CATCH_UP,
    CHANGE_PROMOTE,
    CHANGE_REMOVE,
    CHANGE_HANDOVER, /* HANDOVER is asked, the target catches up */
    CHANGE_STAND,    /* the target stands */
};
struct change {
    enum change_step step;
    struct ls_ctrl_command command;
    uint16_t from; /* who forwarded it; 0: own operator */
    uint64_t id, asker;
    uint64_t token;
    uint64_t epoch;
    uint64_t incarnation;
    uint64_t since_ns; /* of this step */
    uint64_t again_ns; /* not before */
    uint64_t seq;      /* of the membership entry that is to be committed; 0: not ordered yet */
    struct ask ask;
};

struct ls_ctrl {
    struct ls_ctrl_config config;
    struct ls_ctrl_times times;
    struct ls_ctrl_io io;
    uint64_t now;
    uint64_t wake_ns;
    bool again; /* another run of the steps is worth while */
    uint64_t last_id;
    uint64_t random;

    /* record */
    struct ls_durable disk, next, flight;
    bool writing;
    bool disk_failed; /* what is on the disk is not known: nothing is written over it */

    /* life of the dataplane */
    enum ls_ctrl_phase phase;
    char problem[LS_CTRL_TEXT_MAX];
    bool spawn_due;
    bool running; /* the process may exist */
    bool up;      /* linked */
    bool resumed; /* its log came back whole: it may count */
    bool take_over;
    bool killed;
    bool role_known;
    bool halt_said;
    uint64_t up_ns;
    uint64_t restart_ns;
    uint32_t deaths;
    uint64_t epoch; /* role, sequencer and halt are of it */
    uint16_t role, sequencer, halt;
    uint64_t role_since_ns;
    uint64_t sequencer_since_ns;
    uint64_t sequencer_incarnation; /* of `sequencer` in `epoch`, as its ctrl said; 0: not known */
    struct ls_control_sealed sealed;
    uint64_t sealed_id; /* of the answer that brought `sealed`; 0: none in this link */
    struct ls_membership sealed_members;
    struct ask seal_ask;
    bool has_sample;
    struct ls_ctrl_sample sample;
    struct ls_detector detector;
    struct ls_drift drift;
    bool damaged; /* this copy is to be rebuilt */
    uint64_t damaged_ns;
    bool damage_said;
    uint64_t split_since_ns; /* 0: no digests differ without a majority */
    bool split_said;
    uint64_t checkpoint_due_ns;
    uint64_t checkpoint_asked_ns; /* the last one: when it was asked for ... */
    uint64_t checkpoint_took_ns;  /* ... and how long until it was restored; 0: it was not */
    uint32_t checkpoint_tries;
    bool checkpoint_busy;

    /* peers */
    struct peer peer[LS_NODE_ID_MAX + 1];
    struct ls_peer_status told; /* the last STATUS that was sent, positions zero */
    uint64_t status_due_ns;

    /* membership: the newest known, of the own log as soon as it has one */
    struct ls_membership members;
    bool members_committed;
    uint64_t removed_seq;             /* this node is not in the membership of that entry; 0: it never was left out */
    bool members_own;                 /* of the own log */
    struct ls_membership own_members; /* of the own log, count 0: it has none */
    bool own_committed;
    struct ls_membership settled; /* the newest that is known to be committed, own or heard of; count 0: none */
    struct ls_membership heard;   /* the newest that some ctrl told of, committed or not */
    struct ls_membership linked;  /* as io->peers was told */
    struct ls_membership linger;  /* members removed lately: they are told before their links go */
    uint64_t linger_until_ns;
    bool links_judged; /* `linked` is as all of these want it */

    /* election */
    struct election election;
    struct ballot ballot;
    uint64_t seen;           /* highest promise of a counting member */
    uint64_t seen_ns;        /* when it was heard of */
    uint64_t epoch_since_ns; /* when the promise was raised last, or this node was elected in that epoch */
    uint64_t elected;        /* epoch that this node's dataplane was installed in last */
    bool suspecting;
    bool stuck;
    uint64_t unfit_until_ns;
    uint64_t needed_until_ns; /* somebody whose log is worse asked for this node's vote */
    bool majority_lost;
    uint64_t majority_lost_since_ns;
    uint64_t elections, elections_won, admissions, restarts;
    uint64_t suspected_ns, decided_ns, installed_ns;

    struct admission admission[LS_NODE_ID_MAX + 1];
    struct joining joining;
    struct command command[CTRL_COMMANDS];
    struct change change;
};

static inline uint64_t bit(uint16_t node)
{
    return 1ull << node;
}

/* ---- ctrl.c ---- */
void ctrl_say(struct ls_ctrl *c, enum ls_ctrl_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void ctrl_problem(struct ls_ctrl *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t ctrl_id(struct ls_ctrl *c);
uint64_t ctrl_random(struct ls_ctrl *c, uint64_t below);
/* Run the steps again at `at` at the latest. */
void ctrl_wake(struct ls_ctrl *c, uint64_t at);
/* Raises next.promise (the vote of the older epoch is void with it). */
void ctrl_promise(struct ls_ctrl *c, uint64_t epoch, uint16_t vote);
/* Waits for an answer so long: it may come late each time, and would never be waited for long enough. */
uint64_t ctrl_patience(const struct ls_ctrl *c, uint32_t unanswered);
bool ctrl_sane_epoch(const struct ls_ctrl *c, uint64_t epoch);
/* Some of these nodes' voters; a majority of `members`? */
bool ctrl_is_majority(const struct ls_membership *members, uint64_t nodes);

/* ---- life.c: the dataplane's start, death, restart; seals ---- */
void ctrl_life_begin(struct ls_ctrl *c, bool alive);
void ctrl_life_step(struct ls_ctrl *c);
void ctrl_life_up(struct ls_ctrl *c, const struct ls_control_ready *ready);
void ctrl_life_down(struct ls_ctrl *c, const char *how);
void ctrl_checkpoint_end(struct ls_ctrl *c, int error, const char *text);
void ctrl_refuse(struct ls_ctrl *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
void ctrl_kill(struct ls_ctrl *c);
/* Asks the dataplane something; the ask is open until its answer comes or it is too old. */
void ctrl_ask(struct ls_ctrl *c, struct ask *ask, enum ls_control_type type, const void *body, size_t size);
void ctrl_ask_seal(struct ls_ctrl *c, struct ask *ask);
bool ctrl_ask_late(struct ls_ctrl *c, const struct ask *ask);
void ctrl_role(struct ls_ctrl *c, uint64_t epoch, uint16_t role, uint16_t sequencer, uint16_t halt);
void ctrl_checkpoint_step(struct ls_ctrl *c);
bool ctrl_is_sequencer(const struct ls_ctrl *c);
bool ctrl_role_is_sequencer(unsigned role);

/* ---- links.c: messages to and from peers ---- */
void ctrl_send(struct ls_ctrl *c, uint16_t node, enum ls_peer_type type, uint64_t id, uint64_t asker, const void *body,
               size_t size);
void ctrl_send_members(struct ls_ctrl *c, uint16_t node, enum ls_peer_type type, uint64_t id, uint64_t asker,
                       const void *body, size_t size, const struct ls_membership *members);
void ctrl_send_text(struct ls_ctrl *c, uint16_t node, uint64_t id, uint64_t asker, int error, const char *text);
void ctrl_status_step(struct ls_ctrl *c);
void ctrl_link_up(struct ls_ctrl *c, uint16_t node);
void ctrl_link_down(struct ls_ctrl *c, uint16_t node);
const char *ctrl_link_message(struct ls_ctrl *c, uint16_t node, const uint8_t *bytes, size_t size);
/* Its ctrl is linked and has said so; false where nothing is known. */
bool ctrl_peer_says(const struct ls_ctrl *c, uint16_t node, uint32_t flag);
/* A promise of a member; it counts where that member does. */
void ctrl_peer_seen(struct ls_ctrl *c, uint64_t promise);

/* ---- election.c ---- */
void ctrl_election_step(struct ls_ctrl *c);
void ctrl_election_reset(struct ls_ctrl *c);
/* Raises the epoch and asks for votes at once, without a pre-vote. */
void ctrl_stand(struct ls_ctrl *c, bool handover);
void ctrl_stand_first(struct ls_ctrl *c, uint16_t node);
/* Another one, whose log is as good, is about to stand. */
void ctrl_stand_later(struct ls_ctrl *c);
/* As far as this node has heard. */
bool ctrl_sequencer_gone(struct ls_ctrl *c);
void ctrl_prevote_reply(struct ls_ctrl *c, uint16_t node, uint64_t id, const struct ls_peer_vote_reply *reply);
void ctrl_vote_reply(struct ls_ctrl *c, uint16_t node, uint64_t id, const struct ls_peer_vote_reply *reply);
void ctrl_installed(struct ls_ctrl *c, uint64_t id, const struct ls_control_installed *installed);
void ctrl_majority_step(struct ls_ctrl *c);

/* ---- ballot.c ---- */
void ctrl_prevote(struct ls_ctrl *c, uint16_t node, const struct ls_peer_header *h, const struct ls_peer_vote *vote);
void ctrl_vote(struct ls_ctrl *c, uint16_t node, const struct ls_peer_header *h, const struct ls_peer_vote *vote);
void ctrl_ballot_step(struct ls_ctrl *c);

/* ---- admission.c: at the sequencer ---- */
void ctrl_join(struct ls_ctrl *c, uint16_t node, const struct ls_peer_header *h, const struct ls_peer_join *join);
void ctrl_admitted(struct ls_ctrl *c, uint64_t id, const struct ls_control_admitted *admitted);
void ctrl_confirm_reply(struct ls_ctrl *c, uint16_t node, uint64_t id, uint64_t promise);
void ctrl_admission_step(struct ls_ctrl *c);

/* ---- joining.c: at the joiner ---- */
void ctrl_joining_reset(struct ls_ctrl *c);
void ctrl_joining_step(struct ls_ctrl *c);
/* Its log is there, and it is about to count with it; also while a dataplane starts that may say so. */
bool ctrl_resumes(const struct ls_ctrl *c);
void ctrl_join_reply(struct ls_ctrl *c, uint16_t node, uint64_t id, const struct ls_peer_join_reply *reply,
                     const struct ls_membership *members);
void ctrl_joining_done(struct ls_ctrl *c, uint64_t id, int error, const char *text);
/* What an operator chose is restored, or was refused. */
void ctrl_joining_restored(struct ls_ctrl *c, int error, const char *text);
void ctrl_reached(struct ls_ctrl *c, const struct ls_control_epoch *reached);

/* ---- members.c ---- */
void ctrl_members_set(struct ls_ctrl *c, const struct ls_membership *members, bool committed);
void ctrl_members_heard(struct ls_ctrl *c, const struct ls_membership *members, bool committed);
/* A committed membership, its entry's seq, is without this node. */
void ctrl_members_removed(struct ls_ctrl *c, uint64_t seq);
void ctrl_members_step(struct ls_ctrl *c);
void ctrl_members_push(struct ls_ctrl *c, uint16_t node);
/* Is this node a member, by any membership that may be the one in force? NULL: by none. */
const struct ls_member *ctrl_members_find(const struct ls_ctrl *c, uint16_t node);

/* ---- command.c ---- */
void ctrl_command_take(struct ls_ctrl *c, const struct ls_ctrl_command *command, uint64_t token);
void ctrl_command_forwarded(struct ls_ctrl *c, uint16_t node, const struct ls_peer_header *h,
                            const struct ls_peer_command *command);
void ctrl_command_reply(struct ls_ctrl *c, uint16_t node, uint64_t id, int error, const char *text);
void ctrl_command_unlinked(struct ls_ctrl *c, uint16_t node);
void ctrl_command_step(struct ls_ctrl *c);

/* ---- change.c: at the sequencer ---- */
/* Answers `token`, or question `id` of the incarnation `asker` of node `from`. */
void ctrl_change_begin(struct ls_ctrl *c, const struct ls_ctrl_command *command, uint16_t from, uint64_t id,
                       uint64_t asker, uint64_t token);
void ctrl_change_step(struct ls_ctrl *c);
void ctrl_changed(struct ls_ctrl *c, uint64_t id, const struct ls_control_changed *changed);
void ctrl_change_done(struct ls_ctrl *c, uint64_t id, int error, const char *text);
void ctrl_handed(struct ls_ctrl *c, uint64_t id, const struct ls_control_epoch *handed);
void ctrl_change_text(const struct ls_ctrl *c, char *text, size_t room);

#endif
