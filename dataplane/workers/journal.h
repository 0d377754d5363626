/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The journal worker: turns of the journal's writer, and what others want to know of it: net is woken where more became
 * durable, the counters page says how far the disk is behind, verified checkpoints let old segments go.
 */
#ifndef LOCKSTEP_WORKERS_JOURNAL_H
#define LOCKSTEP_WORKERS_JOURNAL_H

#include <lockstep/counters.h>

#include "../journal/disk_fault.h"
#include "../journal/writer.h"
#include "idle.h"

struct ls_journal_worker {
    /* set by the owner */
    struct ls_journal *journal;
    const struct ls_log *log;
    const struct ls_seam *seam;
    struct ls_journal_page *page;
    const struct ls_disk_fault *fault;
    struct ls_waker *net;      /* of the thread that runs net, where that is another one and may sleep; else NULL */
    uint64_t keep;             /* bytes of the log that stay below a verified checkpoint */
    _Atomic uint64_t verified; /* control stores (relaxed): position of the newest verified checkpoint */
    /* the worker's */
    uint64_t durable_seen, taken_seen, trimmed;
    uint32_t error_seen;
    uint64_t sample_end, sample_ns; /* where the log ended then */
    uint64_t passed_ns;             /* all that the log held then is durable */
};

/* One turn; returns the work count. */
uint32_t ls_journal_worker_poll(struct ls_journal_worker *worker, uint64_t now_ns);
uint64_t ls_journal_worker_next_ns(const struct ls_journal_worker *worker, uint64_t now_ns);

#endif
