/* SPDX-License-Identifier: BSD-3-Clause */
/* Publishes cluster views out of a few slots; a replaced one is used again once its grace period is over. Control. */
#include "view.h"

#include <errno.h>
#include <string.h>

void ls_view_init(struct ls_view_holder *holder, struct ls_grace *grace, const struct ls_view *first)
{
    memset(holder->ticket, 0, sizeof(holder->ticket));
    holder->grace = grace;
    holder->slot[0] = *first;
    holder->slot[0].version = 1;
    ls_rcu_store(&holder->current, &holder->slot[0]);
}

int ls_view_publish(struct ls_view_holder *holder, const struct ls_view *view)
{
    struct ls_view *old = atomic_load_explicit(&holder->current, memory_order_relaxed);
    uint32_t i;

    for (i = 0; i < LS_VIEWS; i++)
        if (&holder->slot[i] != old && (holder->ticket[i] == 0 || ls_grace_over(holder->grace, holder->ticket[i])))
            break;
    if (i == LS_VIEWS)
        return -EAGAIN;
    holder->slot[i] = *view;
    holder->slot[i].version = old->version + 1;
    ls_rcu_store(&holder->current, &holder->slot[i]);
    holder->ticket[old - holder->slot] = ls_grace_ticket(holder->grace);
    return 0;
}
