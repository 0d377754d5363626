/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The durable record: the file "record" in a node's data_dir. Two checksummed slots; each update is written and synced
 * to the one, then to the other, so that one torn or rotten slot never rolls it back. The record knows the inode of
 * its own file: a copy of it (a cloned directory, a restored backup) may be older than what the node has promised
 * since, and is refused. One process (ctrl's lock), one thread; writing blocks for the disk.
 */
#ifndef LOCKSTEP_CTRL_IO_RECORD_H
#define LOCKSTEP_CTRL_IO_RECORD_H

#include <stddef.h>

#include "../core/durable.h"

#define LS_RECORD_SLOT_OFFSET 4096 /* of the second slot: another page and sector */
#define LS_RECORD_SLOT_SIZE   1024
#define LS_RECORD_ERROR_MAX   1024

struct ls_record {
    int fd;
    uint64_t serial; /* of the last update */
    uint64_t inode;
    struct ls_durable durable; /* as it is on the disk */
    char path[600];
};

/* Makes the record of a node that never ran. An existing one is never replaced. 0; -EEXIST: there is one; -errno. One
 * line in `error` (LS_RECORD_ERROR_MAX bytes) unless 0. */
int ls_record_create(const char *data_dir, const struct ls_durable *durable, char *error);

/* Opens the record and mends a slot that is damaged or behind. 0; or -ENOENT: none; -EBADMSG: both slots damaged;
 * -EPROTO: of another format; -EXDEV: of another cluster or node, or a copy; -errno. The generation is the record's
 * own: that of the cluster file is only the founding one. */
int ls_record_open(struct ls_record *record, const char *data_dir, uint64_t cluster, uint16_t node, char *error);

/* Makes `durable` durable. After an error nothing may be promised any more: the disk's state is not known. */
int ls_record_write(struct ls_record *record, const struct ls_durable *durable);

void ls_record_close(struct ls_record *record);

#endif
