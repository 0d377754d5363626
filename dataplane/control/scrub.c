/* SPDX-License-Identifier: BSD-3-Clause */
/* The pace of scrubbing. See scrub.h. */
#include "scrub.h"

#define SLICE_NS (20ull * 1000 * 1000) /* slices come so often, or as often as 64 records each make it */

void ls_scrub_init(struct ls_scrub *scrub, const struct ls_state_machine *type, uint64_t records, uint64_t period_ns,
                   uint64_t now_ns)
{
    uint64_t record_ns = records > 0 ? period_ns / records : period_ns, n;

    *scrub = (struct ls_scrub){.type = type, .period_ns = type->scrub != NULL ? period_ns : 0};
    record_ns = record_ns > 0 ? record_ns : 1;
    n = SLICE_NS / record_ns;
    n = n < 1 ? 1 : n > LS_SCRUB_RECORDS_MAX ? LS_SCRUB_RECORDS_MAX : n;
    scrub->records = (uint32_t)n;
    scrub->interval_ns = record_ns * n;
    ls_scrub_restart(scrub, now_ns);
}

void ls_scrub_restart(struct ls_scrub *scrub, uint64_t now_ns)
{
    scrub->cursor = 0;
    scrub->begin_ns = now_ns;
    scrub->due_ns = now_ns + scrub->interval_ns;
    scrub->damaged_before = scrub->damaged;
}

uint64_t ls_scrub_next_ns(const struct ls_scrub *scrub)
{
    return scrub->period_ns != 0 ? scrub->due_ns : UINT64_MAX;
}

/* A walk ended. The next one begins when this one's period is over: fewer records than there can be take less time. */
static void round_end(struct ls_scrub *scrub, uint64_t now_ns)
{
    if (scrub->damaged == scrub->damaged_before)
        scrub->rounds++;
    scrub->damaged_before = scrub->damaged;
    scrub->begin_ns = scrub->begin_ns + scrub->period_ns > now_ns ? scrub->begin_ns + scrub->period_ns : now_ns;
    scrub->due_ns = scrub->begin_ns + scrub->interval_ns;
}

bool ls_scrub_turn(struct ls_scrub *scrub, struct ls_machine *machine, uint64_t now_ns)
{
    int result;

    if (now_ns < ls_scrub_next_ns(scrub))
        return false;
    scrub->due_ns = now_ns + scrub->interval_ns;
    result = scrub->type->scrub(machine, &scrub->cursor, scrub->records);
    if (result != 0)
        scrub->damaged++;
    if (scrub->cursor == 0)
        round_end(scrub, now_ns);
    return result != 0;
}
