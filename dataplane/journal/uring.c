/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files, io_uring and the thread that makes and deletes segments. See uring.h.
 *
 * Shared between the worker and the maker thread: `want` and `trim` (worker writes), `file` (the maker writes a slot's
 * descriptor, then its number with release; the worker loads the number with acquire), `failed` likewise.
 */
#include "uring.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define QUEUE   64
#define FILES   64 /* open at a time; the worker writes to the newest few */
#define ZEROS   (1024u * 1024)
#define NOTHING UINT64_MAX

struct file {
    _Atomic uint64_t number;
    int fd;
};

struct ls_uring {
    struct ls_journal_disk disk; /* first: found again from it */
    struct ls_uring_config config;
    char *directory;
    int directory_fd;
    int state_fd;
    struct io_uring ring;
    bool ring_made;
    uint32_t queued; /* given to the ring and not submitted */
    struct file file[FILES];
    /* worker -> maker */
    _Atomic uint64_t want; /* segments up to this one are to exist; NOTHING: none yet */
    _Atomic uint64_t trim;
    _Atomic bool stop;
    int wake; /* eventfd */
    /* maker -> worker */
    _Atomic uint64_t failed; /* the segment that could not be made; NOTHING: none */
    _Atomic int failed_error;
    /* maker */
    uint64_t made; /* the next one to look at */
    uint64_t trimmed;
    pthread_t maker;
    bool maker_runs;
    struct ls_journal_files files; /* at start */
};

/* ---- the maker ---- */

static int zeros_write(int fd, const struct ls_journal_identity *identity, uint64_t number)
{
    uint8_t *zeros = aligned_alloc(LS_JOURNAL_BLOCK, ZEROS);
    uint64_t size = identity->segment_size + LS_JOURNAL_BLOCK;
    int error = zeros == NULL ? -ENOMEM : -posix_fallocate(fd, 0, (off_t)size);
    if (zeros != NULL)
        memset(zeros, 0, ZEROS);
    for (uint64_t at = LS_JOURNAL_BLOCK; error == 0 && at < size;) {
        size_t length = size - at < ZEROS ? size - at : ZEROS;
        ssize_t n = pwrite(fd, zeros, length, (off_t)at);
        if (n <= 0)
            error = n < 0 ? -errno : -EIO;
        else
            at += (uint64_t)n;
    }
    if (error == 0) {
        ls_journal_segment_write(identity, number, zeros);
        ssize_t n = pwrite(fd, zeros, LS_JOURNAL_BLOCK, 0);
        if (n != (ssize_t)LS_JOURNAL_BLOCK)
            error = n < 0 ? -errno : -EIO;
    }
    if (error == 0 && fsync(fd) != 0)
        error = -errno;
    free(zeros);
    return error;
}

static int segment_create(struct ls_uring *u, uint64_t number)
{
    char partial[LS_JOURNAL_NAME_MAX], name[LS_JOURNAL_NAME_MAX];
    ls_journal_segment_name(number, ".partial", partial);
    ls_journal_segment_name(number, "", name);
    int fd = openat(u->directory_fd, partial, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int error = zeros_write(fd, &u->config.identity, number);
    close(fd);
    if (error == 0 && renameat(u->directory_fd, partial, u->directory_fd, name) != 0)
        error = -errno;
    if (error == 0 && fsync(u->directory_fd) != 0)
        error = -errno;
    if (error != 0)
        (void)unlinkat(u->directory_fd, partial, 0); /* its space may be what is missing */
    return error;
}

static int segment_open(struct ls_uring *u, uint64_t number)
{
    char name[LS_JOURNAL_NAME_MAX];
    struct stat stat;
    ls_journal_segment_name(number, "", name);
    int fd = openat(u->directory_fd, name, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &stat) != 0 || (uint64_t)stat.st_size != u->config.identity.segment_size + LS_JOURNAL_BLOCK) {
        close(fd);
        return -EBADMSG;
    }
    return fd;
}

static int segment_make(struct ls_uring *u, uint64_t number)
{
    struct file *file = &u->file[number % FILES];
    int fd = segment_open(u, number);
    if (fd == -ENOENT) {
        int error = segment_create(u, number);
        if (error != 0)
            return error;
        fd = segment_open(u, number);
    }
    if (fd < 0)
        return fd;
    uint64_t before = atomic_load_explicit(&file->number, memory_order_relaxed);
    if (before != NOTHING)
        close(file->fd); /* FILES segments ago: nothing of it runs any more */
    file->fd = fd;
    atomic_store_explicit(&file->number, number, memory_order_release);
    return 0;
}

static void segments_delete(struct ls_uring *u, uint64_t below)
{
    int fd = openat(u->directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    if (directory == NULL) {
        if (fd >= 0)
            close(fd);
        return; /* they take space until the next time */
    }
    while ((entry = readdir(directory)) != NULL) {
        uint64_t number;
        if (ls_journal_segment_name_read(entry->d_name, &number) && number < below)
            (void)unlinkat(u->directory_fd, entry->d_name, 0);
    }
    closedir(directory);
}

static void fail(struct ls_uring *u, uint64_t number, int error)
{
    char line[512];
    atomic_store_explicit(&u->failed_error, error, memory_order_relaxed);
    atomic_store_explicit(&u->failed, number, memory_order_release);
    snprintf(line, sizeof(line), "segment %" PRIu64 " of the journal cannot be made in %s: %s. %s", number,
             u->directory, strerror(-error),
             error == -ENOSPC ? "The disk is full: free space there, or give checkpoint.every and checkpoint.keep less"
                              : "Look at the disk (dmesg)");
    u->config.say(line);
}

static void *maker_run(void *argument)
{
    struct ls_uring *u = argument;
    while (!atomic_load_explicit(&u->stop, memory_order_acquire)) {
        uint64_t want = atomic_load_explicit(&u->want, memory_order_acquire);
        uint64_t trim = atomic_load_explicit(&u->trim, memory_order_acquire);
        if (trim > u->trimmed) {
            segments_delete(u, trim);
            u->trimmed = trim;
        }
        if (want != NOTHING && u->made + 1 < want)
            u->made = want - 1; /* the first one, or behind a checkpoint: that one, and the next */
        if (want != NOTHING && u->made <= want && atomic_load_explicit(&u->failed, memory_order_relaxed) == NOTHING) {
            int error = segment_make(u, u->made);
            if (error != 0)
                fail(u, u->made, error);
            else
                u->made++;
            continue;
        }
        uint64_t count;
        ssize_t n = read(u->wake, &count, sizeof(count));
        (void)n;
    }
    return NULL;
}

static void maker_wake(struct ls_uring *u)
{
    uint64_t one = 1;
    ssize_t n = write(u->wake, &one, sizeof(one));
    (void)n; /* it counts, and cannot be full */
}

/* ---- the table ---- */

static int uring_write(struct ls_journal_disk *disk, uint64_t segment, uint64_t offset, const void *bytes,
                       uint32_t length, uint64_t cookie)
{
    struct ls_uring *u = (struct ls_uring *)disk;
    bool state = segment == LS_JOURNAL_STATE;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    if (sqe == NULL)
        return -EAGAIN;
    io_uring_prep_write(sqe, state ? u->state_fd : u->file[segment % FILES].fd, bytes, length,
                        state ? offset : offset + LS_JOURNAL_BLOCK);
    sqe->rw_flags = RWF_DSYNC;
    /* what it was to be is looked at when it completes: a short write is an error */
    sqe->user_data = (cookie == UINT64_MAX ? 0xffull : cookie) << 32 | length;
    u->queued++;
    return 0;
}

static uint32_t uring_turn(struct ls_journal_disk *disk, struct ls_journal_done *done, uint32_t max)
{
    struct ls_uring *u = (struct ls_uring *)disk;
    struct io_uring_cqe *cqe;
    uint32_t n = 0;
    if (u->queued > 0) {
        int submitted = io_uring_submit(&u->ring);
        if (submitted > 0)
            u->queued -= (uint32_t)submitted;
        else if (submitted < 0 && submitted != -EAGAIN && submitted != -EBUSY && submitted != -EINTR && n < max)
            done[n++] = (struct ls_journal_done){.cookie = UINT64_MAX, .error = submitted};
    }
    while (n < max && io_uring_peek_cqe(&u->ring, &cqe) == 0) {
        uint64_t cookie = cqe->user_data >> 32;
        int error = cqe->res < 0 ? cqe->res : (uint32_t)cqe->res != (uint32_t)cqe->user_data ? -EIO : 0;
        if (error != 0) {
            snprintf(disk->problem, sizeof(disk->problem), "a write of the journal in %.150s failed: %s", u->directory,
                     strerror(-error));
            u->config.say(disk->problem);
        }
        done[n++] = (struct ls_journal_done){.cookie = cookie == 0xff ? UINT64_MAX : cookie, .error = error};
        io_uring_cqe_seen(&u->ring, cqe);
    }
    return n;
}

static int uring_segment(struct ls_journal_disk *disk, uint64_t number)
{
    struct ls_uring *u = (struct ls_uring *)disk;
    uint64_t want = atomic_load_explicit(&u->want, memory_order_relaxed);
    if (want == NOTHING || want < number + 1) {
        atomic_store_explicit(&u->want, number + 1, memory_order_release);
        maker_wake(u); /* once a segment */
    }
    if (atomic_load_explicit(&u->file[number % FILES].number, memory_order_acquire) == number)
        return 1;
    if (atomic_load_explicit(&u->failed, memory_order_acquire) <= number)
        return atomic_load_explicit(&u->failed_error, memory_order_relaxed);
    return 0;
}

static void uring_trim(struct ls_journal_disk *disk, uint64_t number)
{
    struct ls_uring *u = (struct ls_uring *)disk;
    if (number <= atomic_load_explicit(&u->trim, memory_order_relaxed))
        return;
    atomic_store_explicit(&u->trim, number, memory_order_release);
    maker_wake(u);
}

static int uring_read(struct ls_journal_disk *disk, uint64_t segment, uint64_t offset, void *bytes, uint32_t length)
{
    struct ls_uring *u = (struct ls_uring *)disk;
    int got = ls_journal_files_read(&u->files, segment, offset, bytes, length);
    if (got < 0)
        memcpy(disk->problem, u->files.disk.problem, sizeof(disk->problem));
    return got;
}

/* ---- the owner's ---- */

static int say_error(char *error, int code, const char *what, const char *path, const char *hint)
{
    snprintf(error, LS_URING_ERROR_MAX, "%s %s: %s%s", path, what, strerror(-code), hint);
    return code;
}

static int state_open(struct ls_uring *u, char *error)
{
    uint8_t zeros[2 * LS_JOURNAL_BLOCK] = {0};
    struct stat stat;
    int fd = openat(u->directory_fd, "state", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || fstat(fd, &stat) != 0) {
        int code = -errno;
        if (fd >= 0)
            close(fd);
        return say_error(error, code, "/state cannot be opened", u->directory, ": look at its permissions");
    }
    if (stat.st_size < (off_t)sizeof(zeros)) { /* all of it exists before the first slot is written */
        ssize_t n = pwrite(fd, zeros + stat.st_size, sizeof(zeros) - (size_t)stat.st_size, stat.st_size);
        int code = n < 0 ? -errno : n != (ssize_t)sizeof(zeros) - stat.st_size ? -ENOSPC : fsync(fd) != 0 ? -errno : 0;
        if (code == 0 && fsync(u->directory_fd) != 0)
            code = -errno;
        if (code != 0) {
            close(fd);
            return say_error(error, code, "/state cannot be made", u->directory, ": look at the disk (df, dmesg)");
        }
    }
    close(fd);
    u->state_fd = openat(u->directory_fd, "state", O_RDWR | O_DIRECT | O_CLOEXEC);
    if (u->state_fd < 0)
        return say_error(error, -errno, "/state cannot be opened with O_DIRECT", u->directory,
                         ": data_dir has to be on a file system that has it (ext4, xfs)");
    return 0;
}

static int parts_make(struct ls_uring *u, char *error)
{
    if (mkdir(u->directory, 0700) != 0 && errno != EEXIST)
        return say_error(error, -errno, "cannot be made", u->directory, ": look at data_dir and its permissions");
    u->directory_fd = open(u->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (u->directory_fd < 0)
        return say_error(error, -errno, "cannot be opened", u->directory, ": look at its permissions");
    int code = ls_journal_files_open(&u->files, u->directory, &u->config.identity);
    if (code != 0)
        return say_error(error, code, "cannot be opened", u->directory, ": look at its permissions");
    code = state_open(u, error);
    if (code != 0)
        return code;
    code = io_uring_queue_init(QUEUE, &u->ring, 0);
    if (code != 0)
        return say_error(error, code, "io_uring cannot be used for", u->directory,
                         ": a kernel from 5.6 on is needed, and sysctl kernel.io_uring_disabled=0");
    u->ring_made = true;
    u->wake = eventfd(0, EFD_CLOEXEC);
    if (u->wake < 0)
        return say_error(error, -errno, "no file descriptor for the journal in", u->directory, "");
    code = -pthread_create(&u->maker, NULL, maker_run, u);
    if (code != 0)
        return say_error(error, code, "no thread for the journal in", u->directory, "");
    u->maker_runs = true;
    return 0;
}

int ls_uring_create(const struct ls_uring_config *config, struct ls_uring **uring, char *error)
{
    struct ls_uring *u = calloc(1, sizeof(*u));
    if (u == NULL || (u->directory = strdup(config->directory)) == NULL) {
        free(u);
        return say_error(error, -ENOMEM, "cannot be used", config->directory, "");
    }
    u->config = *config;
    u->disk = (struct ls_journal_disk){
        .write = uring_write, .turn = uring_turn, .segment = uring_segment, .trim = uring_trim, .read = uring_read};
    u->directory_fd = u->state_fd = u->wake = u->files.directory_fd = u->files.fd = -1;
    atomic_init(&u->want, NOTHING);
    atomic_init(&u->failed, NOTHING);
    for (uint32_t i = 0; i < FILES; i++)
        atomic_init(&u->file[i].number, NOTHING);
    int code = parts_make(u, error);
    if (code != 0) {
        ls_uring_destroy(u);
        return code;
    }
    *uring = u;
    return 0;
}

void ls_uring_destroy(struct ls_uring *u)
{
    if (u == NULL)
        return;
    if (u->maker_runs) {
        atomic_store_explicit(&u->stop, true, memory_order_release);
        maker_wake(u);
        pthread_join(u->maker, NULL);
    }
    if (u->ring_made)
        io_uring_queue_exit(&u->ring); /* waits for what runs */
    for (uint32_t i = 0; i < FILES; i++)
        if (atomic_load_explicit(&u->file[i].number, memory_order_relaxed) != NOTHING)
            close(u->file[i].fd);
    ls_journal_files_close(&u->files);
    int fds[] = {u->state_fd, u->wake, u->directory_fd};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    free(u->directory);
    free(u);
}

struct ls_journal_disk *ls_uring_disk(struct ls_uring *u)
{
    return &u->disk;
}

int ls_uring_wake_by(struct ls_uring *u, int fd)
{
    int error = io_uring_register_eventfd(&u->ring, fd);
    u->disk.wakes = error == 0;
    return error;
}

int ls_uring_sync(struct ls_uring *u, uint64_t last)
{
    for (uint64_t number = last > 0 ? last - 1 : 0; number <= last; number++) {
        char name[LS_JOURNAL_NAME_MAX];
        ls_journal_segment_name(number, "", name);
        int fd = openat(u->directory_fd, name, O_RDWR | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
            continue;
        int error = fd < 0 ? -errno : fdatasync(fd) != 0 ? -errno : 0;
        if (fd >= 0)
            close(fd);
        if (error != 0)
            return error;
    }
    return 0;
}
