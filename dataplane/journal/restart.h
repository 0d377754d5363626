/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A node's start with what its disk holds: the newest checkpoint that the journal reaches, the journal behind it, and
 * the writer that goes on where it ends. What is not this node's is refused, what is damaged or of an older generation
 * is set aside: nothing is overwritten, and no node begins with half of it.
 *
 * On the thread that makes the workers, before they run. Waits, as long as the reading takes.
 */
#ifndef LOCKSTEP_JOURNAL_RESTART_H
#define LOCKSTEP_JOURNAL_RESTART_H

#include <lockstep/state_machine.h>

#include "disk_fault.h"
#include "executor.h"
#include "feeder.h"
#include "log.h"
#include "seam.h"
#include "uring.h"
#include "writer.h"

#define LS_RESTART_ERROR_MAX 2048

struct ls_restart_config {
    const char *data_dir; /* the journal is data_dir/journal, checkpoints are in data_dir/checkpoints */
    struct ls_journal_identity identity;
    uint64_t incarnation;
    uint64_t counts;  /* incarnation that may count by the durable record; 0: none */
    uint64_t promise; /* durable: nothing of a later epoch is here, unless the record was rolled back */
    bool behind;      /* durability async: answers do not wait for the disk */
    const struct ls_state_machine *type;
    struct ls_machine_limits limits;
    struct ls_grace *grace;
    uint32_t sessions_max;
    uint32_t op_max;
    struct ls_log *log; /* as ls_log_init() leaves it */
    struct ls_seam *seam;
    struct ls_executor *executor; /* made with the machine that is handed in */
    void (*say)(const char *line);
};

struct ls_restart {
    struct ls_uring *uring;
    struct ls_disk_fault *disk_fault; /* what the writer sees of it */
    struct ls_journal *journal;
    struct ls_feeder *feeder;
    bool resumed; /* all that this node ever acknowledged is in the log */
    /* what it took */
    uint64_t checkpoint_seq, checkpoint_bytes, checkpoint_ns; /* 0: none was needed */
    uint64_t log_bytes, log_ns;
};

/* 0; `*machine` is the executor's: the one that was handed in, or one made from a checkpoint, and then the other one is
 * destroyed. Else -errno and a line in `error` (LS_RESTART_ERROR_MAX), with log, seam and executor good for nothing:
 * the process ends. -EBADMSG: what was damaged is set aside, the next start begins without it. */
int ls_restart(const struct ls_restart_config *config, struct ls_machine **machine, struct ls_restart *restart,
               char *error);

/* After the workers: the end in good order, within a few seconds. False: it is not, and the next start finds out. Frees
 * everything that can be freed. */
bool ls_restart_end(struct ls_restart *restart);

#endif
