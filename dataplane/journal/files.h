/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The journal's files, to read: through the page cache, whether somebody writes them meanwhile or not. What the disk of
 * the writer (uring.h) reads with at start, and whoever looks into a journal from outside: nothing is made, changed or
 * locked here. One thread for each.
 */
#ifndef LOCKSTEP_JOURNAL_FILES_H
#define LOCKSTEP_JOURNAL_FILES_H

#include "format.h"

#define LS_JOURNAL_NAME_MAX 64

struct ls_journal_files {
    struct ls_journal_disk disk; /* its read() alone does anything: the others answer -EROFS */
    struct ls_journal_identity identity;
    const char *directory; /* the owner's */
    int directory_fd;
    int fd; /* of the segment that was read last, or of the state */
    uint64_t number;
    bool live; /* somebody writes them, past the page cache: what that holds is not believed */
};

/* 0 or -errno. `directory` stays as long as it is open. A segment is opened when it is read. */
int ls_journal_files_open(struct ls_journal_files *files, const char *directory,
                          const struct ls_journal_identity *identity);
void ls_journal_files_close(struct ls_journal_files *files);
/* As struct ls_journal_disk says of its read(). What failed is named in files->disk.problem. */
int ls_journal_files_read(struct ls_journal_files *files, uint64_t segment, uint64_t offset, void *bytes,
                          uint32_t length);

/* "segment-0000000000000012" and `end` behind it. */
void ls_journal_segment_name(uint64_t number, const char *end, char name[LS_JOURNAL_NAME_MAX]);
/* Is this a segment's file name, and of which? Anything else: false. */
bool ls_journal_segment_name_read(const char *name, uint64_t *number);

#endif
