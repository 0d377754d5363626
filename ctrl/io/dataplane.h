/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dataplane's process as ctrl sees it: started with one end of a SEQPACKET socket, watched by a pidfd, talked to by
 * checked messages, its counters page mapped. All on ctrl's event loop.
 */
#ifndef LOCKSTEP_CTRL_IO_DATAPLANE_H
#define LOCKSTEP_CTRL_IO_DATAPLANE_H

#include <sys/types.h>

#include <event2/event.h>

#include <lockstep/control_message.h>
#include <lockstep/counters.h>

struct ls_dataplane {
    /* set by the owner */
    struct event_base *base;
    /* A checked message; the body is valid during the call. */
    void (*on_message)(void *user, const struct ls_control_header *header, const uint8_t *body);
    /* The process ended and is reaped; `how` says so in words. */
    void (*on_death)(void *user, const char *how);
    void *user;
    /* its own */
    pid_t pid;            /* of the last one started; 0: none */
    uint64_t incarnation; /* its */
    bool alive;
    int pidfd;
    int fd; /* socket, -1: closed */
    struct event *message_event;
    struct event *death_event;
    const struct ls_counters_page *page; /* of the last one that said READY; NULL: none yet */
    char counters[256];                  /* where it makes its page */
    char death[256];                     /* how it ended; "" while it lives */
    uint64_t next_id;
};

struct ls_dataplane_start {
    const char *program;
    const char *config;
    uint16_t node;
    uint64_t incarnation;
    uint64_t promise;
};

void ls_dataplane_init(struct ls_dataplane *dataplane, uint64_t cluster, uint16_t node);
void ls_dataplane_free(struct ls_dataplane *dataplane);

/* Starts the process; what becomes of it comes by callback. 0 or -errno with one line in `error`. */
int ls_dataplane_spawn(struct ls_dataplane *dataplane, const struct ls_dataplane_start *start, char *error,
                       size_t error_size);

/* Sends a question; returns its id, 0 where there is no link (any more) or it does not take it. */
uint64_t ls_dataplane_ask(struct ls_dataplane *dataplane, enum ls_control_type type, const void *body, size_t size);

/* Maps the page of the process that has just said READY. 0 or -errno with one line in `error`. */
int ls_dataplane_map(struct ls_dataplane *dataplane, uint64_t incarnation, char *error, size_t error_size);

void ls_dataplane_kill(struct ls_dataplane *dataplane, int signal_number);

/* The program to start: beside this one, in a build tree, or by PATH. Static. */
const char *ls_dataplane_program(void);

#endif
