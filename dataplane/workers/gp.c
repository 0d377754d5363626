/* SPDX-License-Identifier: BSD-3-Clause */
/* Owns the grace-period counters and the thread that alone writes them. See gp.h. */
#include "gp.h"

#include <errno.h>
#include <stddef.h>
#include <time.h>

#include "rcu.h"

static void period_run(struct ls_grace *grace)
{
    ls_grace_begin(grace);
    ls_rcu_synchronize();
    ls_grace_end(grace);
}

static void pause_ns(uint64_t ns)
{
    struct timespec pause = {.tv_nsec = (long)ns};

    (void)nanosleep(&pause, NULL); /* shorter after a signal: no harm */
}

static void *gp_main(void *argument)
{
    struct ls_gp *gp = argument;
    uint64_t active = 0, wanted = 0, wait_ns = LS_GP_INTERVAL_NS;
    uint32_t owed = LS_GP_OWED;

    pthread_setname_np(pthread_self(), "ls-gp");
    while (!atomic_load_explicit(&gp->stop, memory_order_acquire)) {
        uint64_t active_now = gp->activity != NULL ? atomic_load_explicit(gp->activity, memory_order_relaxed) : 0;
        uint64_t wanted_now = atomic_load_explicit(&gp->wanted, memory_order_relaxed);

        if (active_now != active || wanted_now != wanted) {
            active = active_now;
            wanted = wanted_now;
            owed = LS_GP_OWED;
        }
        if (owed > 0) {
            owed--;
            period_run(&gp->grace);
            pause_ns(LS_GP_INTERVAL_NS); /* deaf: demand cannot make periods more frequent */
            wait_ns = LS_GP_INTERVAL_NS;
            continue;
        }
        wait_ns = 2 * wait_ns < LS_GP_IDLE_MAX_NS ? 2 * wait_ns : LS_GP_IDLE_MAX_NS;
        ls_waker_announce(&gp->waker);
        if (atomic_load_explicit(&gp->wanted, memory_order_relaxed) != wanted ||
            atomic_load_explicit(&gp->stop, memory_order_relaxed))
            ls_waker_cancel(&gp->waker);
        else
            (void)ls_waker_wait(&gp->waker, -1, wait_ns);
    }
    return NULL;
}

int ls_gp_start(struct ls_gp *gp, const _Atomic uint64_t *activity)
{
    int error = ls_waker_init(&gp->waker);

    if (error != 0)
        return error;
    gp->activity = activity;
    atomic_init(&gp->grace.started, 0);
    atomic_init(&gp->grace.completed, 0);
    atomic_init(&gp->wanted, 0);
    atomic_init(&gp->stop, false);
    error = pthread_create(&gp->thread, NULL, gp_main, gp);
    if (error != 0)
        ls_waker_free(&gp->waker);
    return -error;
}

void ls_gp_stop(struct ls_gp *gp)
{
    atomic_store_explicit(&gp->stop, true, memory_order_release);
    ls_waker_wake(&gp->waker);
    pthread_join(gp->thread, NULL);
    ls_waker_free(&gp->waker);
}

void ls_gp_want(struct ls_gp *gp)
{
    atomic_fetch_add_explicit(&gp->wanted, 1, memory_order_relaxed);
    ls_waker_wake(&gp->waker);
}
