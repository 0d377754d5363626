/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One node's ctrl: the record, the start-up machine and the dataplane put together, and what the HTTP interface asks of
 * them. One thread, one event loop.
 */
#ifndef LOCKSTEP_CTRL_IO_NODE_H
#define LOCKSTEP_CTRL_IO_NODE_H

#include <event2/event.h>

#include "../core/startup.h"
#include "config.h"
#include "dataplane.h"
#include "record.h"

#define LS_NODE_ASKS_MAX        64 /* questions to the dataplane that wait for their answer */
#define LS_NODE_ASK_SECONDS     2  /* then they are given up */
#define LS_NODE_START_SECONDS   30 /* for the dataplane to say READY */
#define LS_NODE_STARTS_REPEATED 3u /* of a dataplane that ended before that */
#define LS_NODE_STOP_SECONDS    5  /* for the dataplane to end in order */
#define LS_NODE_SAMPLE_SECONDS  1  /* between two readings of the busy share */

/* Given exactly once per question: the answer, or NULL where none came; `why` then says so. */
typedef void (*ls_node_answer)(void *user, const struct ls_control_header *header, const uint8_t *body,
                               const char *why);

struct ls_node_ask {
    uint64_t id; /* 0: free */
    uint64_t asked_ns;
    ls_node_answer answer;
    void *user;
};

struct ls_node {
    /* set by the owner */
    struct event_base *base;
    const struct ls_config *config;
    const struct ls_config_node *self;
    const char *config_path;
    const char *program;
    uint64_t start_timeout_ns; /* 0: LS_NODE_START_SECONDS */
    /* its own */
    int lock_fd;
    struct ls_record record;
    struct ls_startup startup;
    struct ls_dataplane dataplane;
    struct ls_node_ask ask[LS_NODE_ASKS_MAX];
    struct event *tick;
    struct event *stop_timer;
    bool stopping;
    bool failed;     /* the dataplane could not be started: the loop has ended, mend what was said and start again */
    bool start_late; /* it was killed because it did not become ready */
    uint32_t starts_repeated;
    uint64_t spawned_ns;
    bool refusal_said;
    bool link_said;
    bool epoch_refused_said;
    bool order_again;                  /* a seal or an install was not answered */
    char problem[LS_RECORD_ERROR_MAX]; /* the last thing that went wrong, for status */
    /* busy share of each worker over the last whole sample */
    uint64_t busy_ns[LS_WORKERS], total_ns[LS_WORKERS];
    double busy[LS_WORKERS];
};

/* Takes the node's lock. False: another ctrl of this node runs, or data_dir cannot be used; said on stderr. */
bool ls_node_lock(struct ls_node *node);

/* Opens the record and starts the dataplane. False: refused; why was said on stderr. */
bool ls_node_start(struct ls_node *node);

/* Ends the dataplane in order, then the event loop. */
void ls_node_stop(struct ls_node *node);

void ls_node_free(struct ls_node *node);

/* Asks the dataplane. False: no link or too many questions (nothing will be answered). */
bool ls_node_ask(struct ls_node *node, enum ls_control_type type, const void *body, size_t size, ls_node_answer answer,
                 void *user);

#endif
