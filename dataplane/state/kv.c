/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The built-in key-value store as a state machine: its table of functions, and what is too small for a file of its own.
 * Threads as in <lockstep/state_machine.h>.
 */
#include "kv_machine.h"

static bool ls_kv_set_limits(struct ls_machine *m, const struct ls_machine_limits *limits)
{
    if (limits->keys > m->physical.keys || limits->bytes > m->physical.bytes)
        return false;
    m->limits = *limits;
    return true;
}

static bool ls_kv_time_pending(struct ls_machine *m)
{
    return atomic_load_explicit(&m->due_count, memory_order_relaxed) != 0;
}

static uint64_t ls_kv_digest(struct ls_machine *m)
{
    return m->digest;
}

const struct ls_state_machine ls_kv = {
    .name = "kv",
    .version = 1,
    .concurrent_reads = true,
    .create = ls_kv_create,
    .destroy = ls_kv_destroy,
    .apply = ls_kv_apply,
    .set_limits = ls_kv_set_limits,
    .read = ls_kv_read,
    .time_pending = ls_kv_time_pending,
    .digest = ls_kv_digest,
    .reclaim = ls_kv_reclaim,
    .checkpoint_begin = ls_kv_checkpoint_begin,
    .checkpoint_next = ls_kv_checkpoint_next,
    .checkpoint_end = ls_kv_checkpoint_end,
    .restore = ls_kv_restore,
    .scrub = ls_kv_scrub,
    .flip = ls_kv_flip,
};
