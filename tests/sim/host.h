/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What stands around one node's ctrl in the simulated world: its stable storage, its dataplane's process, the messages
 * on their way, the links to the other ctrls, and the bulk work of checkpoints. Private to tests/sim.
 */
#ifndef SIM_HOST_H
#define SIM_HOST_H

#include <ucontext.h>

#include "checkpoint.h"
#include "ctrl.h"
#include "cut.h"
#include "translate.h"

#include "event.h"

struct sim;
struct sim_node;

#define SIM_MESSAGES    2048
#define SIM_MESSAGE_MAX 2304
#define SIM_ORDERS_WAIT 64

/* Everything that comes to a ctrl from outside, or goes from it to its dataplane, is one of these, in order. */
enum sim_message_kind {
    SIM_MESSAGE_DOWN = 1,  /* to the dataplane: encoded */
    SIM_MESSAGE_UP,        /* from the dataplane: encoded */
    SIM_MESSAGE_DEATH,     /* the dataplane ended and is reaped */
    SIM_MESSAGE_SPAWNED,   /* the process that was started begins to run */
    SIM_MESSAGE_DISK,      /* the write of the record ends */
    SIM_MESSAGE_BOOT,      /* a new ctrl process */
    SIM_MESSAGE_PEER,      /* from another ctrl: encoded */
    SIM_MESSAGE_LINE,      /* a connection between two ctrls comes to stand */
    SIM_MESSAGE_PEER_UP,   /* ... as each end sees it */
    SIM_MESSAGE_PEER_DOWN, /* and that it broke */
    SIM_MESSAGE_RESTORED,  /* a checkpoint is got, or not */
    SIM_MESSAGE_SERVICE,   /* the service manager starts a ctrl again whose disk failed */
};

struct sim_message {
    uint8_t kind;
    uint8_t from, to; /* indexes of nodes */
    bool used;
    uint16_t size;
    uint32_t life; /* of what it belongs to: a ctrl, a process, a line; stale if that is another now */
    uint64_t argument;
    uint8_t bytes[SIM_MESSAGE_MAX];
};

/* A TCP connection between two ctrls; indexes a < b. */
struct sim_line {
    bool up, coming;
    uint32_t life;
    uint64_t at[2]; /* when the last message towards a, b arrives */
    uint64_t quiet; /* no new connection before */
};

enum sim_process { SIM_PROCESS_NONE, SIM_PROCESS_STARTING, SIM_PROCESS_RUNNING };

/* Bulk work of a dataplane: a coroutine, so that it stands still between two blocks while apply goes on. */
enum sim_bulk_step {
    SIM_BULK_IDLE,
    SIM_BULK_CUT,      /* waits for apply to open the cut and copy the sessions */
    SIM_BULK_WRITING,  /* the coroutine runs */
    SIM_BULK_ENDING,   /* waits until apply has closed the cut */
    SIM_BULK_READING,  /* the bytes have come: they are made a state */
    SIM_BULK_REBASING, /* waits for net and apply to take it */
    SIM_BULK_GRACE,    /* waits before the old state's memory goes */
};

struct sim_bulk {
    struct sim_actor actor;
    enum sim_bulk_step step;
    struct ls_cut cut;
    int for_node; /* index of the one who asked */
    uint32_t for_life;
    struct ls_checkpoint_sink sink;
    bool cancelled, finished;
    int result;
    ucontext_t here, there;
    uint8_t *stack;
    uint8_t *bytes; /* being written */
    size_t size;
    /* receiving end */
    struct ls_checkpoint_source source;
    const uint8_t *from;
    size_t from_size, from_at;
    struct ls_image image;
    bool has_image;
    uint64_t ticket;
};

/* A checkpoint on its way to this node. */
struct sim_transfer {
    bool busy;
    uint32_t life;
    int source; /* index, -1 none yet */
    uint32_t source_process;
    uint64_t wanted;
    bool damaged; /* on purpose */
    bool stray;   /* no ctrl asked for it */
    uint8_t *bytes;
    size_t size;
};

#define SIM_HELD 8
struct sim_stood {
    uint64_t epoch, last_epoch, last;
};

struct sim_host {
    uint32_t index;
    struct ls_ctrl *ctrl; /* NULL: not running */
    uint32_t life;        /* ctrl processes so far */
    uint64_t paused_until;
    uint32_t later[SIM_MESSAGES]; /* what came to a ctrl that stands still, in order */
    uint32_t later_head, later_tail;
    struct sim_actor actor;
    uint64_t observe_at;
    struct ls_ctrl_config config;
    struct ls_ctrl_io io;
    struct sim_clock clock; /* of the machine: ctrl and dataplane read the same one */
    /* stable storage */
    bool on; /* the machine belongs to the cluster, or is to */
    bool has_record;
    bool forged; /* wiped and bootstrapped again, or copied: it must never take part */
    struct ls_durable disk, next;
    bool writing;
    /* its dataplane */
    enum sim_process process;
    uint32_t process_life;
    uint64_t counting; /* the incarnation that the record named as counting when the dataplane was started */
    uint64_t incarnation, promise;
    struct ls_translate translate;
    uint32_t line_life; /* of the link to it */
    bool linked;
    uint64_t down_at, up_at;
    uint32_t waiting[SIM_ORDERS_WAIT]; /* messages that its queue of orders had no room for */
    uint32_t waiting_head, waiting_tail;
    uint64_t turns[2];
    uint32_t joins; /* JOIN orders that this incarnation was given */
    struct sim_bulk bulk;
    struct sim_transfer transfer;
    /* peers */
    uint32_t wanted; /* mask of indexes */
    uint32_t let_go; /* no longer wanted for a moment in the event that runs: the link breaks all the same */
    /* the checkers' */
    uint64_t voted_epoch;
    uint16_t voted_for;
    struct sim_stood stood;
    uint32_t grants;       /* who voted for it in the epoch that it stood for last; a mask of indexes */
    uint32_t confirmed[8]; /* by joiner: masks of those who told this sequencer that they promised no more */
    uint64_t confirmed_for[8];
    uint64_t named[8];       /* the position that its dataplane named last, by who is to reach it */
    uint32_t held[SIM_HELD]; /* records up to which earlier incarnations acknowledged; 0: none */
    uint32_t helds;
    int phase;
};

/* Commands under way; each is answered exactly once, unless the ctrl that took it ends. */
#define SIM_COMMANDS 8
struct sim_operator {
    uint64_t last;
    struct {
        uint64_t token; /* 0: free */
        uint32_t host, life;
    } open[SIM_COMMANDS];
    uint32_t used; /* mask of indexes that were members once */
};

#endif
