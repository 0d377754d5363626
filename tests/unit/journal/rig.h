/* SPDX-License-Identifier: BSD-3-Clause */
/* What a journal is written from and read back into: log, seam and an executor. One thread. */
#ifndef TESTS_JOURNAL_RIG_H
#define TESTS_JOURNAL_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include <lockstep/grace.h>
#include <lockstep/state_machine.h>

#include "executor.h"

struct rig {
    struct ls_log log;
    struct ls_seam seam;
    struct ls_grace grace;
    const struct ls_state_machine *type;
    struct ls_machine *machine;
    struct ls_executor *executor;
    struct ls_replica_page page;
    struct ls_counters counters;
    struct ls_io io;
};

static bool rig_no_buffer(struct ls_io *io, struct ls_frame *frame)
{
    (void)io;
    (void)frame;
    return false;
}

static const struct ls_machine_limits rig_limits = {.keys = 1000, .bytes = 1024 * 1024};

static inline void rig_begin_with(struct rig *rig, const struct ls_state_machine *type, uint64_t ring,
                                  uint64_t incarnation)
{
    struct ls_executor_config config = {
        .cluster = 7, .generation = 1, .node = 1, .incarnation = incarnation, .sessions_max = 16, .window = 8};
    memset(rig, 0, sizeof(*rig));
    rig->io.alloc = rig_no_buffer;
    assert_int_equal(ls_log_init(&rig->log, ring), 0);
    assert_int_equal(ls_seam_init(&rig->seam, 16), 0);
    rig->type = type;
    rig->machine = type->create(&rig_limits, &rig->grace);
    assert_non_null(rig->machine);
    rig->executor =
        ls_executor_create(&config, &rig->log, &rig->seam, &rig->io, type, rig->machine, &rig->page, &rig->counters);
    assert_non_null(rig->executor);
}

static inline void rig_begin(struct rig *rig, uint64_t ring, uint64_t incarnation)
{
    rig_begin_with(rig, &ls_echo, ring, incarnation);
}

static inline void rig_end(struct rig *rig)
{
    ls_executor_destroy(rig->executor);
    rig->type->destroy(rig->machine);
    ls_seam_free(&rig->seam);
    ls_log_free(&rig->log);
}

#endif
