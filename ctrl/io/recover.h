/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The operator's last resort: a majority lost its memory, and this one node begins a new generation of the cluster,
 * alone, with what a checkpoint holds. Done while the node's ctrl and dataplane are stopped: it only writes down what
 * is to happen at the next start, in the record and in data_dir/recover. Blocks for the disk.
 */
#ifndef LOCKSTEP_CTRL_IO_RECOVER_H
#define LOCKSTEP_CTRL_IO_RECOVER_H

#include <stdbool.h>

#include <lockstep/control_message.h>

#include "config.h"

#define LS_RECOVER_PATH_MAX (LS_CONTROL_PATH_MAX + 1)

struct ls_recover {
    const struct ls_config *config;
    const struct ls_config_node *self;
    const char *checkpoint; /* the file to begin with; NULL: the newest good one of this node */
    bool empty;             /* begin with nothing */
    bool accept_loss;       /* else it only says what there is, and what would be lost */
};

/* Says on stdout what there is; refusals on stderr. The caller holds the node's lock. The exit code: 0 written down; 1
 * refused, or --accept-loss is missing: nothing was changed. */
int ls_recover(const struct ls_recover *wanted);

/* At the start of a node whose record says `recovers`: the file to restore; "": none. 0; -errno and one line in `error`
 * (LS_RECORD_ERROR_MAX bytes). */
int ls_recover_choice(const char *data_dir, char path[LS_RECOVER_PATH_MAX], char *error);

#endif
