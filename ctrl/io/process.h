/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One process that holds a lock file while it lives: the node's dataplane. Started as a child, or, where a ctrl before
 * this one started it, found by its lock; watched by a pidfd in both cases. It outlives this process: it is of a
 * process group of its own, and is not told to die with its parent. ctrl's one thread.
 */
#ifndef LOCKSTEP_CTRL_IO_PROCESS_H
#define LOCKSTEP_CTRL_IO_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <event2/event.h>

struct ls_process {
    /* set by the owner */
    struct event_base *base;
    /* It ended, with all its threads, and its lock is free; `how` says so in words. A child is reaped beside this. */
    void (*on_death)(void *user, const char *how);
    void *user;
    int nice;            /* of what is started: not this process' own */
    char lock_path[600]; /* the file that it locks */
    /* its own */
    pid_t pid;  /* of the last one; 0: none */
    bool alive; /* until on_death() */
    bool child;
    int pidfd;
    nlink_t threads; /* links of its /proc/PID/task when it was first looked at; 0: not yet */
    int polls;       /* of a lock that stays held after the death */
    struct event *death_event;
    struct event *lock_timer;
    char how[256]; /* it ended; "" while it lives */
};

/* `process` is zero but for what the owner sets. */
void ls_process_init(struct ls_process *process);
/* Watches no more; the process itself is left alone. */
void ls_process_free(struct ls_process *process);

/* Starts `arguments[0]`; `fd` stays open in it. 0 or -errno with one line in `error`. */
int ls_process_spawn(struct ls_process *process, char *const *arguments, int fd, char *error, size_t error_size);

/* Is there one that holds the lock? 1: yes, and it is watched now. 0: nobody holds it. -errno: it cannot be told, or
 * somebody holds it who cannot be watched; one line in `error`. */
int ls_process_find(struct ls_process *process, char *error, size_t error_size);

/* Is it being killed? The kernel ends its threads first, then tears memory and sockets down, which takes tens of
 * milliseconds, and on_death() comes only after that. So it has lost a thread since it was first asked about; but some
 * come and go in its life (DPDK's telemetry has one for each client), and the first one ends only with it. Ask first
 * when it is known to be up. */
bool ls_process_is_ending(struct ls_process *process);

void ls_process_kill(struct ls_process *process, int signal_number);

#endif
