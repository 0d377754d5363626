/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Offline: a checkpoint and the journal behind it become the state after a chosen entry, and that a checkpoint again.
 * For point-in-time restores, for what recovery begins with, and for taking a state over into another cluster. Reads
 * files, writes one; nobody has to run, and nothing that runs is disturbed. One thread; waits for the disk.
 */
#ifndef LOCKSTEP_JOURNAL_REPLAY_H
#define LOCKSTEP_JOURNAL_REPLAY_H

#include <lockstep/state_machine.h>

#include "format.h"

#define LS_REPLAY_ERROR_MAX 1400

struct ls_replay_config {
    const char *data_dir;   /* of a node, or a copy of it: journal/ and checkpoints/; NULL: the checkpoint alone */
    const char *checkpoint; /* where to begin; NULL: the newest in data_dir that is not behind to_seq, or nothing */
    const char *out;        /* the file to write, which must not exist; NULL: nothing is written */
    uint64_t cluster;       /* what is read must be of this one; 0: of any */
    uint64_t to_seq;        /* the last entry; 0: all that is known to be committed */
    bool uncommitted;       /* all that is there, also what is not known to be committed, or to have been answered */
    uint64_t out_cluster;   /* what is written is of this cluster and generation; 0: as what was read */
    uint32_t out_generation;
    const struct ls_state_machine *type;
    struct ls_machine_limits limits;
    uint32_t sessions_max, window;
    uint64_t log_size;
    void (*progress)(uint64_t seq, uint64_t bytes); /* now and then; NULL: none */
};

struct ls_replayed {
    uint64_t cluster; /* of what was read */
    uint32_t generation;
    uint64_t from_seq;       /* of the checkpoint that it began with; 0: none */
    uint64_t seq;            /* of the last entry in the result */
    uint64_t committed_seq;  /* the last entry that the journal knows to be committed, as far as it was read */
    uint64_t entries, bytes; /* executed */
    uint64_t digest;         /* of the state after `seq` */
    uint64_t elapsed_ns;
};

/* 0. -EEXIST: `out` is there; -ERANGE: to_seq is not in what there is; -EBADMSG: damage; -EXDEV: of another cluster;
 * -ENOENT: nothing to begin with; other -errno; `error` (LS_REPLAY_ERROR_MAX) names it. `out` is whole and was read
 * back, or is not there. */
int ls_replay(const struct ls_replay_config *config, struct ls_replayed *replayed, char *error);

#endif
