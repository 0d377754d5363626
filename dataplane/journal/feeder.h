/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The thread that reads back out of the journal what net wants for members far behind (seam.h: past_*). It waits for
 * the disk in nobody's way, and looks at what is asked a few hundred times a second.
 */
#ifndef LOCKSTEP_JOURNAL_FEEDER_H
#define LOCKSTEP_JOURNAL_FEEDER_H

#include "format.h"
#include "seam.h"

struct ls_feeder;

struct ls_feeder_config {
    const char *data_dir;
    struct ls_journal_identity identity;
    struct ls_seam *seam;
    uint32_t window; /* bytes, more than the largest entry takes */
    void (*say)(const char *line);
};

/* Before net runs: from then on seam->past_bytes is there. 0 or -errno. */
int ls_feeder_start(const struct ls_feeder_config *config, struct ls_feeder **feeder);
/* After net. NULL: there is none. */
void ls_feeder_stop(struct ls_feeder *feeder);

#endif
