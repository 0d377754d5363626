/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A rate as a queue in time (a virtual clock): each reservation is due when all those before it have had the time that
 * their bytes take. One word, so there is no lock that an ordinary thread could hold while it is not run.
 */
#include "transfer_flow.h"

#include <stdlib.h>

#define SECOND_NS  1000000000ull
#define PORTION_NS (20 * 1000000ull) /* so long does one go before it is another's turn */
#define BURST_NS   (20 * 1000000ull) /* so much of the time in which nothing went may be made good */

struct ls_rate {
    atomic_int holders; /* release on letting go, acquire by the last */
    uint64_t bytes_per_second;
    _Atomic uint64_t due_ns; /* all that was reserved has gone by then; stands alone, hence relaxed */
};

struct ls_rate *ls_rate_create(uint64_t bytes_per_second)
{
    struct ls_rate *rate = calloc(1, sizeof(*rate));

    if (rate == NULL)
        return NULL;
    atomic_init(&rate->holders, 1);
    rate->bytes_per_second = bytes_per_second > 0 ? bytes_per_second : 1;
    return rate;
}

struct ls_rate *ls_rate_hold(struct ls_rate *rate)
{
    if (rate != NULL)
        atomic_fetch_add_explicit(&rate->holders, 1, memory_order_relaxed);
    return rate;
}

void ls_rate_let_go(struct ls_rate *rate)
{
    if (rate != NULL && atomic_fetch_sub_explicit(&rate->holders, 1, memory_order_acq_rel) == 1)
        free(rate);
}

size_t ls_rate_portion(const struct ls_rate *rate)
{
    uint64_t bytes = rate->bytes_per_second / (SECOND_NS / PORTION_NS);

    if (bytes < 1)
        return 1;
    return bytes < LS_BULK_FRAME_MAX ? (size_t)bytes : LS_BULK_FRAME_MAX;
}

uint64_t ls_rate_reserve(struct ls_rate *rate, uint64_t now_ns, size_t bytes)
{
    uint64_t due_ns = atomic_load_explicit(&rate->due_ns, memory_order_relaxed), next_ns;

    do {
        next_ns =
            (due_ns + BURST_NS > now_ns ? due_ns : now_ns - BURST_NS) + bytes * SECOND_NS / rate->bytes_per_second;
    } while (!atomic_compare_exchange_weak_explicit(&rate->due_ns, &due_ns, next_ns, memory_order_relaxed,
                                                    memory_order_relaxed));
    return next_ns;
}
