/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the operator's side (HTTP, status, metrics, faults) needs of a node, and nothing else of it: what the node
 * knows, commands, questions to the dataplane, checkpoints. operate.c is the only file of that side that knows struct
 * ls_node; tests put their own in its place. ctrl's one thread.
 */
#ifndef LOCKSTEP_CTRL_IO_OPERATE_H
#define LOCKSTEP_CTRL_IO_OPERATE_H

#include <time.h>

#include <event2/event.h>

#include "../core/ctrl.h"
#include "config.h"

#define LS_OPERATE_ALARMS      16
#define LS_OPERATE_CHECKPOINTS 64
#define LS_OPERATE_TEXT        512

struct ls_node;

struct ls_operate_alarm {
    time_t at; /* time of day when it was said last */
    uint64_t times;
    enum ls_ctrl_level level;
    char text[LS_OPERATE_TEXT];
};

/* A checkpoint being written, restored, or fetched from another node. */
struct ls_operate_progress {
    bool running;
    const char *what; /* static: writing, fetching, restoring */
    uint16_t from;    /* node that it is fetched from; 0: none */
    uint64_t bytes;
    uint64_t expected; /* 0: not known */
};

struct ls_operate_view {
    const struct ls_config *config;
    const struct ls_config_node *self;
    struct ls_ctrl_view ctrl;
    const struct ls_counters_page *page; /* of the dataplane that said READY last; NULL: none yet */
    bool alive;                          /* the dataplane's process */
    bool linked;                         /* ... and the link to it stands */
    uint64_t pid;
    char death[LS_CTRL_TEXT_MAX]; /* how the last one ended */
    double busy[LS_WORKERS];      /* share over the last second */
    uint64_t start_ns;            /* of this ctrl, monotonic */
    uint32_t alarms;              /* newest first */
    struct ls_operate_alarm alarm[LS_OPERATE_ALARMS];
    struct ls_operate_progress progress;
    uint64_t checkpoint_seq; /* of this node's newest checkpoint that is not known to be damaged; 0: none */
};

struct ls_operate_checkpoint {
    char name[64];
    const char *state; /* static: unverified, good, damaged, ... */
    uint32_t generation;
    uint64_t seq, position, digest, size;
    int64_t made_s; /* time of day */
};

/* Given exactly once; error 0 or an errno, text for people. */
typedef void (*ls_operate_done)(void *user, int error, const char *text);
/* Given exactly once: the dataplane's answer, or NULL where none came; `why` then says so. */
typedef void (*ls_operate_answer)(void *user, const struct ls_control_header *header, const uint8_t *body,
                                  const char *why);

struct event_base *ls_operate_base(const struct ls_node *node);
const struct ls_config *ls_operate_config(const struct ls_node *node);
const struct ls_config_node *ls_operate_self(const struct ls_node *node);
void ls_operate_view(const struct ls_node *node, struct ls_operate_view *view);

/* False: too many are under way, or the node is only starting; nothing will be answered. */
bool ls_operate_command(struct ls_node *node, const struct ls_ctrl_command *command, ls_operate_done done, void *user);
/* False: no link, or too many questions; nothing will be answered. */
bool ls_operate_ask(struct ls_node *node, enum ls_control_type type, const void *body, size_t size,
                    ls_operate_answer answer, void *user);

/* 0: done() follows. -errno: refused, nothing follows; -ENOTSUP: this node keeps no checkpoints. restore: the
 * dataplane is told to take this one in place of its log and state. */
uint32_t ls_operate_checkpoints(struct ls_node *node, struct ls_operate_checkpoint *list, uint32_t most);
int ls_operate_checkpoint_create(struct ls_node *node, ls_operate_done done, void *user);
int ls_operate_checkpoint_verify(struct ls_node *node, const char *name, ls_operate_done done, void *user);
int ls_operate_checkpoint_restore(struct ls_node *node, const char *name, ls_operate_done done, void *user);

/* As SIGTERM does it: the sequencer's role is handed on, the dataplane ends in good order, then this process. */
void ls_operate_stop(struct ls_node *node);

#endif
