/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One node's ctrl: hosts the brain (ctrl/core/ctrl.h) and gives it its world: record, dataplane, counters page, links
 * to the other nodes' ctrls, checkpoints, time. And what the HTTP interface asks of it. One thread, one event loop.
 */
#ifndef LOCKSTEP_CTRL_IO_NODE_H
#define LOCKSTEP_CTRL_IO_NODE_H

#include <event2/event.h>

#include "../core/ctrl.h"
#include "asks.h"
#include "config.h"
#include "dataplane.h"
#include "keeper.h"
#include "peers.h"
#include "problems.h"
#include "record.h"
#include "timer.h"

#define LS_NODE_COMMANDS_MAX 16     /* operators' commands under way */
#define LS_NODE_ASK_MS       2000   /* for the dataplane's answer to a short question */
#define LS_NODE_RESTART_MS   600000 /* for a dataplane to read checkpoint and journal, and say READY */
#define LS_NODE_STOP_MS      5000   /* for the dataplane to end in order */
#define LS_NODE_MOVE_MS      500    /* for another node to take over before this one stops */

/* Given exactly once per command: error 0 or an errno, and a text for people. */
typedef void (*ls_node_commanded)(void *user, int error, const char *text);

struct ls_node_command {
    uint64_t token; /* 0: free */
    ls_node_commanded done;
    void *user;
};

/* How far the end has come. */
enum ls_node_stop { LS_NODE_GOES_ON, LS_NODE_MOVING, LS_NODE_STOPPING, LS_NODE_STOPPED };

struct ls_node {
    /* set by the owner */
    struct event_base *base;
    const struct ls_config *config;
    const struct ls_config_node *self;
    const char *config_path;
    const char *program;
    struct ls_ctrl_times times;  /* all zero: as the cluster file says */
    uint32_t ready_ms, adopt_ms; /* 0: as in dataplane.h */
    uint32_t stop_ms, ask_ms;    /* 0: as above */
    /* its own */
    int lock_fd;
    uint64_t start_ns;
    struct ls_record record;
    struct ls_dataplane dataplane;
    struct ls_peers *peers; /* NULL: this node has no address for the others' ctrls */
    struct ls_keeper *keeper;
    struct ls_ctrl *ctrl;
    bool begun; /* the brain was started: not while an older dataplane is being taken over */
    struct ls_asks asks;
    struct ls_problems problems;
    struct ls_node_command command[LS_NODE_COMMANDS_MAX];
    uint64_t tokens;
    struct ls_timer poll; /* the page is read */
    struct ls_timer turn; /* the brain's next */
    struct event *second; /* busy shares, questions that nobody answered */
    struct event *persisted_event;
    struct event *unspawned_event;
    struct event *stop_timer;
    bool persist_ok;
    char unspawned[LS_RECORD_ERROR_MAX]; /* why the dataplane could not be started */
    enum ls_node_stop stop;
    uint64_t conflicts;       /* ARP packets of others that claim this node's address, as last looked at */
    uint64_t longest_poll_ns; /* between two readings, since the last second */
    uint64_t polled_ns;
    /* busy share of each worker over the last whole second */
    uint64_t busy_ns[LS_WORKERS], total_ns[LS_WORKERS];
    double busy[LS_WORKERS];
};

/* Takes the node's lock. False: another ctrl of this node runs, or data_dir cannot be used; said on stderr. */
bool ls_node_lock(struct ls_node *node);

/* Opens the record, takes over a dataplane that runs, or has one started. False: refused; why was said on stderr. */
bool ls_node_start(struct ls_node *node);

/* Hands the sequencer's role on where another can take it, ends the dataplane in order, then the event loop. */
void ls_node_stop(struct ls_node *node);

void ls_node_free(struct ls_node *node);

/* ---- for operators: http, status, metrics ---- */

/* What the brain says of itself and the others. Before it was started: the record, and phase STARTING. */
void ls_node_view(const struct ls_node *node, struct ls_ctrl_view *view);

/* False: too many commands are under way, or the node is only starting (nothing will be answered). */
bool ls_node_command(struct ls_node *node, const struct ls_ctrl_command *command, ls_node_commanded done, void *user);

/* Asks the dataplane. False: no link or too many questions (nothing will be answered). Given up after LS_NODE_ASK_MS;
 * a long one (checkpoints) lasts until the answer or the end of the link. */
bool ls_node_ask(struct ls_node *node, enum ls_control_type type, const void *body, size_t size, ls_ask_answer answer,
                 void *user);
bool ls_node_ask_long(struct ls_node *node, enum ls_control_type type, const void *body, size_t size,
                      ls_ask_answer answer, void *user);

/* The newest problem's text; "": none yet. */
const char *ls_node_problem(const struct ls_node *node);

/* ---- between node.c and effects.c ---- */

void ls_effects_make(struct ls_node *node, struct ls_ctrl_io *io);
/* After every call into the brain: its next time may be another. */
void ls_node_settle(struct ls_node *node);

#endif
