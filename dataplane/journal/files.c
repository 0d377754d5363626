/* SPDX-License-Identifier: BSD-3-Clause */
/* See files.h. */
#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void ls_journal_segment_name(uint64_t number, const char *end, char name[LS_JOURNAL_NAME_MAX])
{
    snprintf(name, LS_JOURNAL_NAME_MAX, "segment-%016" PRIx64 "%s", number, end);
}

bool ls_journal_segment_name_read(const char *name, uint64_t *number)
{
    char again[LS_JOURNAL_NAME_MAX];
    if (sscanf(name, "segment-%16" SCNx64, number) != 1)
        return false;
    ls_journal_segment_name(*number, "", again);
    return strcmp(again, name) == 0;
}

static void forget(struct ls_journal_files *f)
{
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

/* 1: it is open, and what it should be; 0: it is not there; -errno. */
static int take(struct ls_journal_files *f, uint64_t number)
{
    uint8_t block[LS_JOURNAL_BLOCK];
    char name[LS_JOURNAL_NAME_MAX] = "state";
    if (f->fd >= 0 && f->number == number)
        return 1;
    forget(f);
    if (number != LS_JOURNAL_STATE)
        ls_journal_segment_name(number, "", name);
    f->fd = openat(f->directory_fd, name, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0)
        return errno == ENOENT ? 0 : -errno;
    f->number = number;
    if (number == LS_JOURNAL_STATE)
        return 1;
    (void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    ssize_t n = pread(f->fd, block, sizeof(block), 0);
    enum ls_journal_wrong wrong =
        n == (ssize_t)sizeof(block) ? ls_journal_segment_check(&f->identity, number, block) : LS_JOURNAL_DAMAGED;
    if (wrong == LS_JOURNAL_RIGHT)
        return 1;
    snprintf(f->disk.problem, sizeof(f->disk.problem), "%.80s/%.40s is %.120s", f->directory, name,
             ls_journal_wrong_text(wrong));
    forget(f);
    return -EBADMSG;
}

int ls_journal_files_read(struct ls_journal_files *f, uint64_t segment, uint64_t offset, void *bytes, uint32_t length)
{
    uint32_t got = 0;
    int there = take(f, segment);
    if (there <= 0)
        return there;
    if (f->live && segment != LS_JOURNAL_STATE)
        (void)posix_fadvise(f->fd, (off_t)(offset + LS_JOURNAL_BLOCK), length, POSIX_FADV_DONTNEED);
    else if (f->live)
        (void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
    while (got < length) {
        uint64_t at = segment == LS_JOURNAL_STATE ? offset + got : offset + got + LS_JOURNAL_BLOCK;
        ssize_t n = pread(f->fd, (uint8_t *)bytes + got, length - got, (off_t)at);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            break;
        got += n > 0 ? (uint32_t)n : 0;
    }
    return (int)got;
}

/* ---- the table ---- */

static int table_read(struct ls_journal_disk *disk, uint64_t segment, uint64_t offset, void *bytes, uint32_t length)
{
    return ls_journal_files_read((struct ls_journal_files *)disk, segment, offset, bytes, length);
}

static int table_write(struct ls_journal_disk *disk, uint64_t segment, uint64_t offset, const void *bytes,
                       uint32_t length, uint64_t cookie)
{
    (void)disk, (void)segment, (void)offset, (void)bytes, (void)length, (void)cookie;
    return -EROFS;
}

static uint32_t table_turn(struct ls_journal_disk *disk, struct ls_journal_done *done, uint32_t max)
{
    (void)disk, (void)done, (void)max;
    return 0;
}

static int table_segment(struct ls_journal_disk *disk, uint64_t number)
{
    (void)disk, (void)number;
    return -EROFS;
}

static void table_trim(struct ls_journal_disk *disk, uint64_t number)
{
    (void)disk, (void)number;
}

int ls_journal_files_open(struct ls_journal_files *f, const char *directory, const struct ls_journal_identity *identity)
{
    *f = (struct ls_journal_files){.disk = {.write = table_write,
                                            .turn = table_turn,
                                            .segment = table_segment,
                                            .trim = table_trim,
                                            .read = table_read},
                                   .identity = *identity,
                                   .directory = directory,
                                   .fd = -1};
    f->directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return f->directory_fd < 0 ? -errno : 0;
}

void ls_journal_files_close(struct ls_journal_files *f)
{
    forget(f);
    if (f->directory_fd >= 0)
        close(f->directory_fd);
    f->directory_fd = -1;
}
