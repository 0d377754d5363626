/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A timer of the loop by a timerfd of CLOCK_MONOTONIC: the loop's own timers count whole milliseconds from a time that
 * it looked at earlier, which is too coarse for heartbeats of one. ctrl's one thread.
 */
#ifndef LOCKSTEP_CTRL_IO_TIMER_H
#define LOCKSTEP_CTRL_IO_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include <event2/event.h>

struct ls_timer {
    int fd;
    uint64_t at_ns; /* set to; UINT64_MAX: off */
    struct event *event;
    void (*expired)(void *user);
    void *user;
};

/* False: no descriptor or memory. */
bool ls_timer_init(struct ls_timer *timer, struct event_base *base, void (*expired)(void *user), void *user);
/* Of one that init() made, or that is zero. */
void ls_timer_free(struct ls_timer *timer);

/* Once, at `at_ns`; UINT64_MAX: never. Costs nothing where it is set to that already. */
void ls_timer_set(struct ls_timer *timer, uint64_t at_ns);
/* Again and again; expirations that were missed are one. */
void ls_timer_every(struct ls_timer *timer, uint64_t period_ns);

#endif
