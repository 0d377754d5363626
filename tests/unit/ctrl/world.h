/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small world for the ctrls of one cluster: disks, links and a very simple dataplane per node, event by event, in
 * virtual time. A log is a list of entries that know their epoch; a sequencer hands its log to whoever it reaches once
 * a millisecond. It checks, always: a promise never falls, one sequencer an epoch, one vote a node and epoch, nothing
 * committed is lost, nobody counts whom the record does not name.
 */
#ifndef LOCKSTEP_TESTS_CTRL_WORLD_H
#define LOCKSTEP_TESTS_CTRL_WORLD_H

#include <ctrl.h>

#define NODES   9 /* ids 1..8 */
#define ENTRIES 4096
#define STEP    100 /* positions an entry takes */
#define OPENED  1024
#define MS      1000000ull

struct entry {
    uint64_t epoch;
    bool has_members;
    struct ls_membership members;
};

struct dataplane {
    bool running, linked, ready;
    uint64_t incarnation, epoch; /* sealed at */
    uint16_t role, sequencer, halt;
    bool counts;
    bool resumed;
    bool disowned; /* behind a checkpoint of an older generation, and not founded yet */
    bool joining, reached, reached_said;
    uint64_t reach;
    uint32_t last, commit;        /* entries */
    uint32_t oldest;              /* entries below are held by no ring any more */
    struct ls_membership members; /* newest; of FOUND or JOIN while the log has none */
    uint32_t told_members;        /* entry of the membership that was told; with commit */
    bool told_committed;
    uint64_t majority_ns, opened_ns;
    uint16_t handing;
    uint64_t hand_id, hand_until_ns;
    uint64_t turns;
    bool changed_late; /* the answer to the next CHANGE comes when ctrl no longer waits for it */
    bool hung;
    uint64_t damaged;
    uint64_t digest_flip;
    uint64_t admitted[NODES]; /* at a sequencer: the incarnation that may be counted */
    uint64_t heard_ns[NODES];
    struct entry log[ENTRIES];
};

struct node {
    struct ls_ctrl *ctrl;
    bool exists;
    bool late;    /* its ctrl gets no time to observe */
    bool journal; /* its dataplane finds its log again */
    struct ls_durable disk;
    uint64_t life;          /* of the ctrl: what was under way for an older one is lost */
    uint64_t clock_back_ns; /* its time of day is so much behind */
    struct dataplane dp;
    uint64_t wanted; /* bits: nodes whose links its ctrl wants */
    bool persist_fails;
    uint64_t persist_ns;
    bool crash_on_persist;    /* ctrl dies with the write on the disk, before it is told */
    uint32_t recover_entries; /* what an operator chose holds so many */
    bool recover_fails;
    uint32_t recovers;
    uint64_t spawned; /* how often */
    uint64_t down_ns; /* how long its ctrl does not know that a dataplane has ended; 0: as on an idle machine */
    uint64_t observe_due_ns;
    uint64_t persist_count;
    char said[8192];
    bool checkpoint_fails;
    uint32_t checkpoints;
    uint64_t voted_epoch;
    uint16_t voted_for;
};

struct world {
    uint64_t now;
    struct node node[NODES];
    uint64_t link_ns;            /* how long a message between ctrls takes; 0: as on an idle network */
    bool link_cut[NODES][NODES]; /* ctrl */
    bool links_wanted;           /* a link stands only where both ends want it, as ctrl/io has it */
    bool data_cut[NODES][NODES]; /* one way */
    uint64_t opened[OPENED];     /* epochs, newest ones */
    uint32_t committed;          /* entries of the canonical log */
    uint64_t canon[ENTRIES];
    uint32_t done_count;
    uint64_t done_token;
    int done_error;
    char done_text[LS_CTRL_TEXT_MAX];
    struct ls_membership founders;
    bool trace;
    char text[16384]; /* what happened, for expectations */
};

void world_begin(struct world *w, uint16_t nodes, uint16_t voters);
void world_end(struct world *w);
void world_start(struct world *w, uint16_t node, bool alive);
void world_stop_ctrl(struct world *w, uint16_t node); /* its dataplane goes on */
void world_kill_dataplane(struct world *w, uint16_t node);
void world_crash(struct world *w, uint16_t node); /* both */
void world_run(struct world *w, uint64_t ns);
/* Until a sequencer serves, and how many nodes are full; false: not within `ns`. */
bool world_settle(struct world *w, uint32_t full, uint64_t ns);
uint16_t world_sequencer(const struct world *w); /* that serves; 0: none */
void world_append(struct world *w, uint16_t node, uint32_t n);
void world_link(struct world *w, uint16_t a, uint16_t b, bool up);
void world_isolate(struct world *w, uint16_t node, bool links, bool data, bool cut);
struct ls_ctrl_view world_view(struct world *w, uint16_t node);
void world_member(struct ls_member *m, uint16_t node, enum ls_member_role role);
/* A member's record as bootstrap or join makes it. */
void world_record(struct world *w, uint16_t node, bool founder);
void world_command(struct world *w, uint16_t at, enum ls_ctrl_command_kind kind, uint16_t node, uint16_t member,
                   bool promote, uint64_t token);

#endif
