/* SPDX-License-Identifier: BSD-3-Clause */
/* What the brain wants of the counters page, read from it. Any thread; the page is the dataplane's to write. */
#ifndef LOCKSTEP_CTRL_IO_SAMPLE_H
#define LOCKSTEP_CTRL_IO_SAMPLE_H

#include "../core/ctrl.h"

#define LS_SAMPLE_DISK_NS (1000ull * 1000 * 1000) /* a write of the journal that takes longer: the disk hangs */

/* `may_sleep`: its workers sleep when idle, for a bounded time. */
void ls_sample_read(struct ls_ctrl_sample *sample, const struct ls_counters_page *page, bool may_sleep,
                    uint64_t now_ns);

#endif
