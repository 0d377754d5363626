/* SPDX-License-Identifier: BSD-3-Clause */
/* See times.h. */
#include "times.h"

#define US 1000ull
#define MS (1000ull * US)
#define S  (1000ull * MS)

/* As ctrl.h says: it stands scheduling pauses of shared cores. */
static const struct ls_ctrl_times standard = {
    .poll = 1 * MS,
    .suspect_min = 20 * MS,
    .suspect_max = 200 * MS,
    .stall = 40 * MS,
    .stall_kill = 3 * S,
    .late = 10 * MS,
    .status = 20 * MS,
    .answer = 30 * MS,
    .stagger = 3 * MS,
    .restart_min = 50 * MS,
    .restart_max = 5 * S,
    .handover = 200 * MS,
    .promote_lag = 10000,
    .promote_patience = 600 * S,
};

/* For workers, and this program, on cores of their own. */
static const struct ls_ctrl_times aggressive = {
    .poll = 200 * US,
    .suspect_min = 3 * MS,
    .suspect_max = 20 * MS,
    .stall = 5 * MS,
    .stall_kill = 1 * S,
    .late = 1 * MS,
    .status = 5 * MS,
    .answer = 10 * MS,
    .stagger = 500 * US,
    .restart_min = 20 * MS,
    .restart_max = 5 * S,
    .handover = 100 * MS,
    .promote_lag = 10000,
    .promote_patience = 600 * S,
};

static void take(uint64_t *value, uint64_t said)
{
    if (said != 0)
        *value = said;
}

void ls_times_of(const struct ls_config *config, struct ls_ctrl_times *times)
{
    const struct ls_config_detect *detect = &config->detect;

    *times = config->profile == LS_PROFILE_AGGRESSIVE ? aggressive : standard;
    take(&times->poll, detect->poll_ns);
    take(&times->suspect_min, detect->suspect_min_ns);
    take(&times->suspect_max, detect->suspect_max_ns);
    take(&times->stall, detect->stall_ns);
    take(&times->stall_kill, detect->stall_kill_ns);
    take(&times->late, detect->late_ns);
    take(&times->status, detect->status_ns);
    take(&times->answer, detect->answer_ns);
    take(&times->stagger, detect->stagger_ns);
    take(&times->handover, detect->handover_ns);
    take(&times->promote_lag, detect->promote_lag);
    take(&times->promote_patience, detect->promote_patience_ns);
    take(&times->restart_min, config->restart_min_ns);
    take(&times->restart_max, config->restart_max_ns);
    /* One of a pair was said, the other is the profile's: they may have crossed. */
    if (times->suspect_max < times->suspect_min)
        times->suspect_max = times->suspect_min;
    if (times->restart_max < times->restart_min)
        times->restart_max = times->restart_min;
}
