/* SPDX-License-Identifier: BSD-3-Clause */
/* One turn of the net worker: a burst in, the replica, a burst out, and whoever has something to do now is woken. */
#include "net.h"

#include <stddef.h>

/* apply sleeps only where nothing is committed that is not applied, nothing is asked and no image stands ready. The
 * fence of a wake-up is paid in turns that brought something, and only where apply may sleep at all. */
static void wake_others(struct ls_net_worker *worker)
{
    struct ls_seam *seam = worker->seam;

    if (worker->apply != NULL) {
        uint64_t commit = atomic_load_explicit(&seam->commit, memory_order_relaxed);

        if (commit != worker->commit_seen || !ls_spsc_is_empty(&seam->repeats) ||
            atomic_load_explicit(&seam->image, memory_order_relaxed) != NULL) {
            worker->commit_seen = commit;
            ls_waker_wake(worker->apply);
        }
    }
    if (worker->control != NULL && !ls_spsc_is_empty(&seam->events))
        ls_waker_wake(worker->control);
}

uint32_t ls_net_poll(struct ls_net_worker *worker, uint64_t now_ns)
{
    struct ls_frame frames[LS_BURST];
    struct ls_port *port = worker->port;
    uint32_t received = port->receive(port, frames, LS_BURST, now_ns);
    uint32_t work;

    for (uint32_t i = 0; i < received; i++)
        ls_replica_input(worker->replica, &frames[i], now_ns);
    if (received > 0)
        port->done(port, frames, received);
    work = ls_replica_turn(worker->replica, now_ns);
    port->flush(port, now_ns);
    wake_others(worker);
    return received + work;
}

uint64_t ls_net_next_ns(struct ls_net_worker *worker, uint64_t now_ns)
{
    uint64_t next = ls_replica_next_ns(worker->replica, now_ns);
    uint64_t port = worker->port_next_ns != NULL ? worker->port_next_ns(worker->port_user) : UINT64_MAX;

    return next < port ? next : port;
}
