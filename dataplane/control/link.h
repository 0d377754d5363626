/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the control thread does: it takes ctrl's messages, gives orders to net and jobs to bulk, says what they answer,
 * reads the log, sets faults, keeps a few words of the counters page and the published cluster view. No step of it
 * takes longer than 100 us. If ctrl goes away, the dataplane goes on, and tells the next one first how things stand.
 * Knows no DPDK: what it needs of the port comes as functions.
 */
#ifndef LOCKSTEP_CONTROL_LINK_H
#define LOCKSTEP_CONTROL_LINK_H

#include <lockstep/control_message.h>
#include <lockstep/counters.h>

#include "../core/log.h"
#include "../core/seam.h"
#include "../journal/disk_fault.h"
#include "../net/fault.h"
#include "../workers/idle.h"
#include "../workers/slow.h"
#include "../workers/view.h"
#include "bulk.h"
#include "channel.h"
#include "translate.h"

#define LS_LINK_HOUSEKEEPING_NS (10ull * 1000 * 1000)
/* A dataplane that has promised nothing serves nobody: without any ctrl for so long it ends. */
#define LS_LINK_ORPHAN_NS (10ull * 1000 * 1000 * 1000)

/* What waits to be said, in this order. Of what only says how things stand the newest is enough. */
enum {
    LS_LINK_READY,
    LS_LINK_ROLE,
    LS_LINK_MEMBERS,
    LS_LINK_ANSWERED,
    LS_LINK_EPOCH_SEEN,
    LS_LINK_REACHED,
    LS_LINK_PROGRESS,
    LS_LINK_DAMAGED,
    LS_LINK_SAYINGS
};

struct ls_saying {
    size_t size; /* 0: nothing */
    uint8_t message[LS_TRANSLATE_MAX];
};

/* A setting that its worker has no room for yet. */
struct ls_waiting {
    bool is;
    uint64_t id, link; /* whom the answer is for */
};

struct ls_link {
    /* set by the owner; all pointers outlive the link */
    struct ls_channel channel;
    uint64_t promise; /* at start */
    bool faults_allowed;
    bool resumed;               /* as READY says it */
    _Atomic uint64_t *verified; /* the journal worker's: position of the newest verified checkpoint; NULL: no journal */
    struct ls_seam *seam;
    const struct ls_log *log;
    struct ls_counters_page *page;
    struct ls_fault *fault;
    struct ls_disk_fault *disk_fault; /* NULL: no journal */
    struct ls_slow *slow[LS_WORKERS]; /* NULL: that worker does not run */
    struct ls_bulk *bulk;
    struct ls_waker *net; /* of the thread that runs net; NULL: it never sleeps */
    struct ls_view_holder *view;
    void (*grace_want)(void *user); /* a view was retired */
    void *grace_user;
    void (*buffers)(void *user, uint32_t *free_buffers, uint32_t *total); /* of the port */
    void *buffers_user;
    struct ls_waker waker; /* net and bulk wake the control thread through it */
    _Atomic bool stop;     /* set by LS_CONTROL_STOP or a signal handler, which also writes the waker */
    /* control thread */
    struct ls_translate translate;
    bool was_ordered;        /* something may have been promised */
    uint64_t alone_since_ns; /* 0: there is a link */
    struct ls_event role;    /* newest of its kind, for the next ctrl */
    struct ls_event members; /* count 0: none yet */
    bool fault_is_set, disk_fault_is_set, slow_is_set;
    struct ls_waiting fault_waiting, disk_fault_waiting;
    struct ls_control_fault fault_next;
    struct ls_control_disk_fault disk_fault_next;
    bool nodes_waiting; /* members' addresses for the port, the same */
    bool rebasing;      /* the log is being replaced: it is not looked at */
    bool view_waiting;  /* a view that no slot was free for yet */
    struct ls_view view_next;
    uint64_t housekeeping_ns; /* due */
    /* What a socket without room has not taken yet. */
    struct ls_saying saying[LS_LINK_SAYINGS];
    size_t answer_size; /* in `answer`; 0: none */
    uint8_t message[LS_CONTROL_MESSAGE_MAX];
    uint8_t answer[LS_CONTROL_MESSAGE_MAX];
};

/* After the owner has set its part: begins to listen on `listener`. 0 or -errno. */
int ls_link_init(struct ls_link *link, int listener, uint16_t node, uint64_t incarnation);
void ls_link_free(struct ls_link *link);

/* Runs until `stop`. Says READY, ROLE and, where the log has one, MEMBERS first on every link. */
void ls_link_run(struct ls_link *link);

/* One round without sleeping: returns true where there was something to do. For tests. */
bool ls_link_turn(struct ls_link *link, uint64_t now_ns);

/* From a signal handler or any thread. */
void ls_link_stop(struct ls_link *link);

#endif
