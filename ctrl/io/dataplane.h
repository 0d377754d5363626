/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dataplane as ctrl sees it: a process that listens on data_dir/dataplane.sock, the link to it, and its counters
 * page. Started, or taken over where it outlived the ctrl that started it. A link that breaks while the process lives
 * is made again. All on ctrl's event loop.
 */
#ifndef LOCKSTEP_CTRL_IO_DATAPLANE_H
#define LOCKSTEP_CTRL_IO_DATAPLANE_H

#include <event2/event.h>

#include <lockstep/control_message.h>
#include <lockstep/counters.h>

#include "process.h"

#define LS_DATAPLANE_READY_MS    30000 /* for a started one to say READY */
#define LS_DATAPLANE_ADOPT_MS    2000  /* for one that is taken over */
#define LS_DATAPLANE_MESSAGE_MAX 2048  /* of what is sent to it */

struct ls_dataplane {
    /* set by the owner */
    struct event_base *base;
    /* A checked message, READY included, whose page is mapped by then; the body is valid during the call. */
    void (*on_message)(void *user, const struct ls_control_header *header, const uint8_t *body);
    /* The process ended, its lock is free; `how` says so in words. */
    void (*on_death)(void *user, const char *how);
    /* One line of what went wrong and was dealt with. */
    void (*on_trouble)(void *user, const char *text);
    void *user;
    const char *data_dir;
    uint64_t cluster;
    uint16_t node;
    uint32_t ready_ms, adopt_ms; /* 0: as above */
    /* its own */
    struct ls_process process;
    uint64_t incarnation; /* of the one started; or as one that was taken over says; 0: it has not yet */
    bool ready;           /* READY came over this link */
    int fd;               /* socket, -1: closed */
    struct event *message_event;
    struct event *ready_timer;           /* READY is late */
    struct event *link_timer;            /* to connect again */
    const struct ls_counters_page *page; /* of the last one that said READY; NULL: none yet */
    char counters[256];                  /* where it makes its page */
    char late[160];                      /* it is killed because of this; "" */
    uint32_t links;                      /* made to this process */
};

struct ls_dataplane_start {
    const char *program;
    const char *config;
    uint32_t generation;
    uint64_t incarnation;
    uint64_t promise;
    uint64_t counts; /* the incarnation that may count by the record; 0: none */
};

/* `dataplane` is zero but for what the owner sets. False: no memory. */
bool ls_dataplane_init(struct ls_dataplane *dataplane);
/* Lets go of it; the process is left alone. */
void ls_dataplane_free(struct ls_dataplane *dataplane);

/* Starts the process; what becomes of it comes by callback. One that holds the node's lock all the same is killed
 * instead, and on_death() follows. 0 or -errno with one line in `error`. */
int ls_dataplane_spawn(struct ls_dataplane *dataplane, const struct ls_dataplane_start *start, char *error,
                       size_t error_size);

/* Takes over the one that holds the node's lock. 1: there is one; READY or its death follows, for one that does not
 * answer in time is killed. 0: there is none. -errno with one line in `error`. */
int ls_dataplane_adopt(struct ls_dataplane *dataplane, char *error, size_t error_size);

/* Sends one message; false: there is no link (any more), or it does not take it. */
bool ls_dataplane_send(struct ls_dataplane *dataplane, enum ls_control_type type, uint64_t id, const void *body,
                       size_t size);

void ls_dataplane_kill(struct ls_dataplane *dataplane, int signal_number);

/* The program to start: beside this one, in a build tree, or by PATH. Static. */
const char *ls_dataplane_program(void);

#endif
