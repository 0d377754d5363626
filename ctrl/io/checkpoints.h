/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The checkpoints of a node: files "checkpoint-GENERATION-SEQ.lsc" in data_dir/checkpoints. A file of such a name is
 * whole; whether its bytes still are what was written, verification says. ctrl's thread; verification on a job's.
 */
#ifndef LOCKSTEP_CTRL_IO_CHECKPOINTS_H
#define LOCKSTEP_CTRL_IO_CHECKPOINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <event2/event.h>

#include "../../dataplane/state/checkpoint.h"

#define LS_CHECKPOINTS_MAX      64 /* listed: the newest ones */
#define LS_CHECKPOINTS_PATH_MAX 600
#define LS_CHECKPOINTS_ERROR    512

enum ls_checkpoint_state {
    LS_CHECKPOINT_UNVERIFIED,
    LS_CHECKPOINT_GOOD,    /* every byte was read and checked since this process began */
    LS_CHECKPOINT_DAMAGED, /* not to be used */
    LS_CHECKPOINT_FOREIGN, /* of another cluster, or another checkpoint than its name says; not to be used */
};
const char *ls_checkpoint_state_name(enum ls_checkpoint_state state);

struct ls_checkpoint_file {
    char name[LS_CHECKPOINT_NAME_MAX];
    enum ls_checkpoint_state state;
    bool fresh; /* written by this node's dataplane since this process began */
    uint32_t generation;
    uint64_t seq, position, digest;
    uint64_t size;
    uint64_t identity; /* changes with the file's bytes: inode and time of the last change */
    int64_t made_s;    /* time of day */
    char machine[16];
};

/* How a checkpoint file is read; both as in <dataplane/state/checkpoint.h>, `error` has 512 bytes. */
struct ls_checkpoint_format {
    int (*info)(const char *path, struct ls_checkpoint_info *info, char *error);
    int (*verify)(const char *path, struct ls_checkpoint_info *info, char *error); /* also on a job's thread */
};

/* The files that dataplanes write. */
extern const struct ls_checkpoint_format ls_checkpoint_files;

struct ls_checkpoints;

/* Makes the directory where it is missing, removes what was left incomplete, and reads what is there. `format` must
 * outlive it. NULL: a line in `error`. */
struct ls_checkpoints *ls_checkpoints_open(struct event_base *base, const char *data_dir, uint64_t cluster,
                                           uint32_t generation, const struct ls_checkpoint_format *format, char *error);
void ls_checkpoints_close(struct ls_checkpoints *c);

/* Reads the directory again; what was found out about files that did not change is kept. 0 or -errno. */
int ls_checkpoints_scan(struct ls_checkpoints *c);
/* Newest first; valid until the next call that may change them. */
const struct ls_checkpoint_file *ls_checkpoints_list(const struct ls_checkpoints *c, uint32_t *count);
/* The newest one of this generation that may be used and whose position is not below `position`. NULL: none. */
const struct ls_checkpoint_file *ls_checkpoints_newest(const struct ls_checkpoints *c, uint64_t position);
const struct ls_checkpoint_file *ls_checkpoints_find(const struct ls_checkpoints *c, const char *name);

/* Where files stand. False: `name` is not that of a checkpoint (nothing is taken from outside that leads elsewhere). */
bool ls_checkpoints_path(const struct ls_checkpoints *c, const char *name, char path[LS_CHECKPOINTS_PATH_MAX]);
const char *ls_checkpoints_directory(const struct ls_checkpoints *c);
const struct ls_checkpoint_format *ls_checkpoints_format(const struct ls_checkpoints *c);

/* Where the dataplane is to write the next one, whose seq nobody knows yet. */
void ls_checkpoints_new_path(const struct ls_checkpoints *c, char path[LS_CHECKPOINTS_PATH_MAX]);
/* It is written: gets its name and its place in the list. 0; -errno and a line in `error`. */
int ls_checkpoints_adopt(struct ls_checkpoints *c, char *error);

/* Reads it all and checks it; then done(), from the loop, with the state it now has. One at a time. 0; -EBUSY; -ENOENT;
 * -ENOMEM. */
typedef void (*ls_checkpoints_verified)(void *user, const char *name, enum ls_checkpoint_state state, const char *text);
int ls_checkpoints_verify(struct ls_checkpoints *c, const char *name, ls_checkpoints_verified done, void *user);
/* It was verified by other means, just now, as these very bytes. */
void ls_checkpoints_trust(struct ls_checkpoints *c, const char *name);
/* Somebody found a wrong byte in what he got of it: verify it before it is used again. */
void ls_checkpoints_doubt(struct ls_checkpoints *c, const char *name);

/* Removes those of this generation that are older than the newest `keep` verified ones; none while there are fewer.
 * Returns how many. */
uint32_t ls_checkpoints_prune(struct ls_checkpoints *c, uint32_t keep);

#endif
