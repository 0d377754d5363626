/* SPDX-License-Identifier: BSD-3-Clause */
/* See timer.h. ctrl's one thread. */
#include "timer.h"

#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull

static void on_expired(evutil_socket_t fd, short what, void *argument)
{
    struct ls_timer *timer = argument;
    uint64_t times;

    (void)what;
    if (read(fd, &times, sizeof(times)) != sizeof(times))
        return; /* it was set anew meanwhile */
    timer->at_ns = UINT64_MAX;
    timer->expired(timer->user);
}

bool ls_timer_init(struct ls_timer *timer, struct event_base *base, void (*expired)(void *user), void *user)
{
    *timer = (struct ls_timer){.at_ns = UINT64_MAX, .expired = expired, .user = user};
    timer->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timer->fd < 0)
        return false;
    timer->event = event_new(base, timer->fd, EV_READ | EV_PERSIST, on_expired, timer);
    return timer->event != NULL && event_add(timer->event, NULL) == 0;
}

void ls_timer_free(struct ls_timer *timer)
{
    if (timer->expired == NULL)
        return;
    if (timer->event != NULL)
        event_free(timer->event);
    if (timer->fd >= 0)
        close(timer->fd);
    memset(timer, 0, sizeof(*timer));
}

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
}

void ls_timer_set(struct ls_timer *timer, uint64_t at_ns)
{
    struct itimerspec time = {0};

    if (at_ns == timer->at_ns)
        return;
    timer->at_ns = at_ns;
    if (at_ns != UINT64_MAX)
        time.it_value = timespec_of(at_ns != 0 ? at_ns : 1); /* zero would turn it off */
    (void)timerfd_settime(timer->fd, TFD_TIMER_ABSTIME, &time, NULL);
}

void ls_timer_every(struct ls_timer *timer, uint64_t period_ns)
{
    struct itimerspec time = {.it_value = timespec_of(period_ns), .it_interval = timespec_of(period_ns)};

    (void)timerfd_settime(timer->fd, 0, &time, NULL);
}
