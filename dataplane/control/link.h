/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dataplane's end of the link to lockstep-ctrl (<lockstep/control_message.h>), and its housekeeping: the control
 * thread. It takes orders to net and events back, reads the log, sets faults, keeps a few words of the counters page
 * and the published cluster view. No step of it takes longer than 100 us. If ctrl goes away, the dataplane goes on.
 * Knows no DPDK: what it needs of the port comes as functions.
 */
#ifndef LOCKSTEP_CONTROL_LINK_H
#define LOCKSTEP_CONTROL_LINK_H

#include <lockstep/control_message.h>
#include <lockstep/counters.h>

#include "../core/log.h"
#include "../core/seam.h"
#include "../net/fault.h"
#include "../workers/idle.h"
#include "../workers/view.h"

#define LS_LINK_HOUSEKEEPING_NS (10ull * 1000 * 1000)

enum { LS_LINK_ANSWERED, LS_LINK_ROLE, LS_LINK_EPOCH_SEEN, LS_LINK_EVENTS };

struct ls_link {
    /* set by the owner; all pointers outlive the link */
    int fd; /* SEQPACKET socket, non-blocking; -1: none, or closed since */
    uint64_t incarnation;
    uint64_t promise;
    bool faults_allowed;
    struct ls_seam *seam;
    const struct ls_log *log;
    struct ls_counters_page *page;
    struct ls_fault *fault;
    struct ls_waker *net; /* of the thread that runs net; NULL: it never sleeps */
    struct ls_view_holder *view;
    void (*grace_want)(void *user); /* a view was retired */
    void *grace_user;
    void (*buffers)(void *user, uint32_t *free_buffers, uint32_t *total); /* of the port */
    void *buffers_user;
    struct ls_waker waker; /* net wakes the control thread through it */
    _Atomic bool stop;     /* set by LS_CONTROL_STOP or a signal handler, which also writes the waker */
    /* control thread */
    bool was_ordered;   /* something may have been promised */
    bool fault_waiting; /* a setting that the port has not room for yet */
    uint64_t fault_id;
    struct ls_control_fault fault_next;
    bool view_waiting; /* a view that no slot was free for yet */
    struct ls_view view_next;
    uint64_t housekeeping_ns; /* due */
    /* What a socket without room has not taken yet; kind 0: nothing. */
    struct ls_event event[LS_LINK_EVENTS];
    size_t answer_size; /* in `answer`; 0: none */
    uint8_t message[LS_CONTROL_MESSAGE_MAX];
    uint8_t answer[LS_CONTROL_MESSAGE_MAX];
};

/* Checks one received packet of `size` bytes. NULL: it is a well-formed message for a dataplane. Else why not; static.
 */
const char *ls_link_check(const uint8_t *message, size_t size);

/* Says READY, then runs until `stop`. */
void ls_link_run(struct ls_link *link);

/* One round without sleeping: returns true where there was something to do. For tests. */
bool ls_link_turn(struct ls_link *link, uint64_t now_ns);

/* From a signal handler or any thread. */
void ls_link_stop(struct ls_link *link);

#endif
