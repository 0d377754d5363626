/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `lockstep-ctrl replay`: checkpoint and journal of a node, or of a copy of its data_dir, become one checkpoint file:
 * the state after a chosen entry, or, from another cluster's files, what a new cluster begins with. Nobody has to run.
 */
#ifndef LOCKSTEP_CTRL_IO_BACKUP_H
#define LOCKSTEP_CTRL_IO_BACKUP_H

#include <stdbool.h>

#include "../../dataplane/journal/replay.h"
#include "config.h"

struct ls_backup {
    const struct ls_config *config;
    const struct ls_config_node *self;
    const char *from;       /* a copy of a data_dir; NULL: the node's own */
    const char *checkpoint; /* to begin with; NULL: the newest there that fits */
    const char *out;        /* the file to write */
    uint64_t to_seq;        /* 0: all that is known to be committed */
    bool uncommitted;
    bool foreign; /* of another cluster; what is written is of this one */
};

/* What of the cluster file rules a replay; the rest is the caller's. */
struct ls_replay_config ls_backup_config(const struct ls_config *config);

/* Says on stdout what it did; refusals on stderr. The exit code: 0 or 1. */
int ls_backup(const struct ls_backup *wanted);

#endif
