/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The real disk of a journal: files in one directory, written with O_DIRECT through io_uring, each write durable by
 * itself (RWF_DSYNC). Segments are made ahead by a thread of its own: filled with zeros, for a file that has never been
 * written costs a change of the file system's metadata with each write. The journal worker calls the functions of the
 * table and never waits; create, sync and destroy are called by whoever owns it, before and after the worker runs.
 */
#ifndef LOCKSTEP_JOURNAL_URING_H
#define LOCKSTEP_JOURNAL_URING_H

#include "files.h"

#define LS_URING_ERROR_MAX 512

struct ls_uring_config {
    const char *directory; /* made if it does not exist; its parent does */
    struct ls_journal_identity identity;
    /* One line when something fails beside the caller; any thread. */
    void (*say)(const char *line);
};

struct ls_uring;

/* 0, or -errno with one line in `error` (LS_URING_ERROR_MAX) that says what to do. */
int ls_uring_create(const struct ls_uring_config *config, struct ls_uring **uring, char *error);
/* The worker has ended; writes that still run are waited for. */
void ls_uring_destroy(struct ls_uring *uring);

/* The table; valid as long as the uring. */
struct ls_journal_disk *ls_uring_disk(struct ls_uring *uring);

/* Completed writes are counted in this eventfd, which the worker's thread sleeps on. 0 or -errno. Before it runs. */
int ls_uring_wake_by(struct ls_uring *uring, int fd);

/* What was read at start may have been on its way when the process before this one ended: from here on it is on the
 * disk, up to this segment. 0 or -errno. Waits. */
int ls_uring_sync(struct ls_uring *uring, uint64_t last);

#endif
