/* SPDX-License-Identifier: BSD-3-Clause */
/* Checkpoint files of a simple format, made without a state machine: a head and bytes of any number behind it. */
#ifndef LOCKSTEP_TESTS_CTRL_CHECKPOINT_RIG_H
#define LOCKSTEP_TESTS_CTRL_CHECKPOINT_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoints.h"

#define RIG_CLUSTER 77
#define RIG_GIVE_UP 20 /* seconds until a test that hangs fails */

struct rig_head {
    uint64_t magic, cluster, seq, position, digest, bytes, sum;
    uint32_t generation, zero;
};

static uint64_t rig_byte(uint64_t seq, uint64_t i)
{
    return (seq * 31 + i * 7 + i / 251) & 255;
}

static int rig_read(const char *path, struct ls_checkpoint_info *info, bool all)
{
    FILE *file = fopen(path, "rbe");
    struct rig_head head;
    uint64_t sum = 0, count = 0;
    int c;

    if (file == NULL)
        return -errno;
    if (fread(&head, sizeof(head), 1, file) != 1 || head.magic != 4711) {
        fclose(file);
        return -EBADMSG;
    }
    while (all && (c = getc_unlocked(file)) != EOF) {
        sum = sum * 31 + (uint64_t)c;
        count++;
    }
    fclose(file);
    *info = (struct ls_checkpoint_info){.cluster = head.cluster, .generation = head.generation, .machine = "rig"};
    info->cut.seq = head.seq;
    info->cut.position = head.position;
    info->cut.digest = head.digest;
    return all && (sum != head.sum || count != head.bytes) ? -EBADMSG : 0;
}

static int rig_info(const char *path, struct ls_checkpoint_info *info, char *error)
{
    int result = rig_read(path, info, false);

    if (result != 0)
        snprintf(error, 512, "%.400s: %s", path, strerror(-result));
    return result;
}

static int rig_verify(const char *path, struct ls_checkpoint_info *info, char *error)
{
    int result = rig_read(path, info, true);

    if (result != 0)
        snprintf(error, 512, "%.400s: %s", path, strerror(-result));
    return result;
}

static const struct ls_checkpoint_format rig_format = {rig_info, rig_verify};

static void rig_write(const char *path, uint64_t cluster, uint32_t generation, uint64_t seq, uint64_t bytes)
{
    struct rig_head head = {.magic = 4711, .cluster = cluster, .seq = seq, .position = seq * 100, .digest = seq * 3};
    FILE *file = fopen(path, "wbe");

    assert_non_null(file);
    head.generation = generation;
    head.bytes = bytes;
    for (uint64_t i = 0; i < bytes; i++)
        head.sum = head.sum * 31 + rig_byte(seq, i);
    assert_int_equal(fwrite(&head, sizeof(head), 1, file), 1);
    for (uint64_t i = 0; i < bytes; i++)
        putc_unlocked((int)rig_byte(seq, i), file);
    assert_int_equal(fclose(file), 0);
}

/* One byte of what stands there, from `at` on. */
static inline void rig_damage(const char *path, long at)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static inline int rig_remove_one(const char *path, const struct stat *status, int kind, struct FTW *where)
{
    (void)status;
    (void)kind;
    (void)where;
    return remove(path);
}

static inline void rig_remove(const char *directory)
{
    (void)nftw(directory, rig_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Of a directory, without . and .. and, of /proc/self/fd, the one that reads it. */
static inline uint32_t rig_entries(const char *path)
{
    DIR *directory = opendir(path);
    uint32_t count = 0;

    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count - (strcmp(path, "/proc/self/fd") == 0);
}

/* One turn of the loop that waits at most 5 ms. */
static inline void rig_turn(struct event_base *base)
{
    struct timeval soon = {.tv_usec = 5000};

    (void)event_base_loopexit(base, &soon);
    (void)event_base_loop(base, EVLOOP_ONCE);
}

/* Turns until it holds; a test in which it never does fails in the end. */
#define RIG_UNTIL(base, condition)                                                                                     \
    do {                                                                                                               \
        time_t begun_ = time(NULL);                                                                                    \
        while (!(condition) && time(NULL) - begun_ < RIG_GIVE_UP)                                                      \
            rig_turn(base);                                                                                            \
        assert_true(condition);                                                                                        \
    } while (0)

#endif
