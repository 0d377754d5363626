/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checkpoints as files; see checkpoint.h. Bytes go through a buffer of a megabyte. A file being written has the name
 * NAME.partial; it gets its name when all of it is on the disk, and the directory is synced behind that: a crash at
 * any point leaves the old file or the new one (C2). Bulk thread: it sleeps where a rate is given.
 */
#include "checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "session.h"

#define BUFFER_SIZE (1u << 20)
#define ERROR_SIZE  512
#define PACE_NS     100000000l /* at most so long nobody is asked whether to go on */

static int say(char *error, int code, const char *doing, const char *path, const char *hint)
{
    snprintf(error, ERROR_SIZE, "%s %.300s: %s%s", doing, path, strerror(-code), hint);
    return code;
}

/* ---- writing ---- */

struct file_sink {
    struct ls_checkpoint_sink sink; /* first */
    const struct ls_checkpoint_job *job;
    int fd;
    size_t fill;
    uint64_t written; /* to the file */
    uint64_t rate;    /* bytes per second; 0: any */
    struct timespec start;
    uint8_t *buffer;
};

static void time_add(struct timespec *time, time_t s, long ns)
{
    time->tv_sec += s;
    time->tv_nsec += ns;
    if (time->tv_nsec >= 1000000000) {
        time->tv_sec++;
        time->tv_nsec -= 1000000000;
    }
}

static bool is_before(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

/* Sleeps until so many bytes are due. 0, or -ECANCELED: it is not to go on. */
static int pace(const struct file_sink *f)
{
    struct timespec due = f->start, now;
    if (f->rate == 0)
        return 0;
    time_add(&due, (time_t)(f->written / f->rate), (long)((double)(f->written % f->rate) * 1e9 / (double)f->rate));
    for (clock_gettime(CLOCK_MONOTONIC, &now); is_before(&now, &due); clock_gettime(CLOCK_MONOTONIC, &now)) {
        time_add(&now, 0, PACE_NS);
        (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, is_before(&now, &due) ? &now : &due, NULL);
        if (f->job->progress && !f->job->progress(f->job->user, f->written))
            return -ECANCELED;
    }
    return 0;
}

static int file_flush(struct file_sink *f)
{
    for (size_t at = 0; at < f->fill;) {
        ssize_t n = write(f->fd, f->buffer + at, f->fill - at);
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            at += (size_t)n;
    }
    /* The disk begins now, not at the end; where it cannot, the sync at the end tells. */
    (void)sync_file_range(f->fd, (off_t)f->written, (off_t)f->fill, SYNC_FILE_RANGE_WRITE);
    f->written += f->fill;
    f->fill = 0;
    return pace(f);
}

static int file_write(struct ls_checkpoint_sink *sink, const void *bytes, size_t n)
{
    struct file_sink *f = (struct file_sink *)sink;
    const uint8_t *from = bytes;
    while (n > 0) {
        size_t piece = n < BUFFER_SIZE - f->fill ? n : BUFFER_SIZE - f->fill;
        memcpy(f->buffer + f->fill, from, piece);
        f->fill += piece;
        from += piece;
        n -= piece;
        if (f->fill == BUFFER_SIZE) {
            int error = file_flush(f);
            if (error != 0)
                return error;
        }
    }
    return 0;
}

static int directory_sync(const char *path)
{
    char copy[PATH_MAX];
    if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
        return -ENAMETOOLONG;
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int error = fsync(fd) == 0 ? 0 : -errno;
    close(fd);
    return error;
}

/* All bytes are in the buffer or the file: onto the disk, and under the final name. */
static int file_finish(struct file_sink *f, const char *partial, const char *path, char *text)
{
    int error = file_flush(f);
    if (error != 0)
        return say(text, error, "cannot write", partial, error == -ENOSPC ? ": make room on that file system" : "");
    if (fsync(f->fd) != 0)
        return say(text, -errno, "cannot sync", partial, "");
    if (rename(partial, path) != 0)
        return say(text, -errno, "cannot rename to", path, "");
    error = directory_sync(path);
    return error == 0 ? 0 : say(text, error, "cannot sync the directory of", path, "");
}

static const char *write_hint(int error)
{
    switch (error) {
    case -ENOSPC:
        return ": make room on that file system";
    case -ECANCELED:
        return ": given up; the reserve for what changes meanwhile ran out, or it was asked to stop; try again when "
               "fewer "
               "keys are written, or without a rate limit";
    case -EBADMSG:
        return ": the state in memory does not match its checksums; this replica must be rebuilt from another one";
    default:
        return "";
    }
}

int ls_checkpoint_file_write(const struct ls_checkpoint_job *job, const struct ls_cut *cut, const uint8_t *sessions,
                             size_t sessions_size, struct ls_machine *machine, const char *path,
                             uint64_t bytes_per_second, char *error)
{
    char partial[PATH_MAX];
    struct file_sink f = {.sink.write = file_write, .job = job, .rate = bytes_per_second};
    if (snprintf(partial, sizeof(partial), "%s.partial", path) >= (int)sizeof(partial))
        return say(error, -ENAMETOOLONG, "cannot create", path, "");
    f.buffer = malloc(BUFFER_SIZE);
    if (!f.buffer)
        return say(error, -ENOMEM, "cannot write", partial, "");
    f.fd = open(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (f.fd < 0) {
        free(f.buffer);
        return say(error, -errno, "cannot create", partial, "");
    }
    clock_gettime(CLOCK_MONOTONIC, &f.start);
    int code = ls_checkpoint_write(job, cut, sessions, sessions_size, machine, &f.sink);
    if (code != 0)
        say(error, code, "cannot write the checkpoint", partial, write_hint(code));
    else
        code = file_finish(&f, partial, path, error);
    close(f.fd);
    free(f.buffer);
    if (code != 0)
        (void)unlink(partial); /* best effort: the next one truncates it */
    return code;
}

/* ---- reading ---- */

struct file_source {
    struct ls_checkpoint_source source; /* first */
    int fd;
    size_t at;
    size_t fill;
    uint64_t given;
    uint8_t *buffer;
};

static int file_fill(struct file_source *f)
{
    ssize_t n;
    do {
        n = read(f->fd, f->buffer, BUFFER_SIZE);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    f->at = 0;
    f->fill = (size_t)n;
    return n == 0 ? -EBADMSG : 0; /* cut short */
}

static int file_read(struct ls_checkpoint_source *source, void *bytes, size_t n)
{
    struct file_source *f = (struct file_source *)source;
    uint8_t *to = bytes;
    f->given += n;
    while (n > 0) {
        if (f->at == f->fill) {
            int error = file_fill(f);
            if (error != 0)
                return error;
        }
        size_t piece = n < f->fill - f->at ? n : f->fill - f->at;
        memcpy(to, f->buffer + f->at, piece);
        f->at += piece;
        to += piece;
        n -= piece;
    }
    return 0;
}

static int file_open(struct file_source *f, const char *path, char *error)
{
    *f = (struct file_source){.source.read = file_read};
    f->buffer = malloc(BUFFER_SIZE);
    if (!f->buffer)
        return say(error, -ENOMEM, "cannot read", path, "");
    f->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0) {
        int code = say(error, -errno, "cannot open", path, "");
        free(f->buffer);
        return code;
    }
    (void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_SEQUENTIAL); /* faster, not necessary */
    return 0;
}

/* Nothing may stand behind the trailer. */
static int file_ends(const struct file_source *f)
{
    struct stat stat;
    if (fstat(f->fd, &stat) != 0)
        return -errno;
    return (uint64_t)stat.st_size == f->given ? 0 : -EBADMSG;
}

static const char *read_hint(int error)
{
    switch (error) {
    case -EBADMSG:
        return ": damaged or cut short; use another checkpoint";
    case -EPROTO:
        return ": of another state machine, or in a format that this version does not know";
    case -EXDEV:
        return ": of another cluster or another generation of it";
    case -ENOSPC:
        return ": larger than this node's limits (keys, bytes or sessions); raise them in the cluster file";
    default:
        return "";
    }
}

static int file_close(struct file_source *f, int code, const char *path, char *error)
{
    if (code == 0)
        code = file_ends(f);
    close(f->fd);
    free(f->buffer);
    return code == 0 ? 0 : say(error, code, "cannot use checkpoint", path, read_hint(code));
}

int ls_checkpoint_file_read(const struct ls_checkpoint_job *job, const char *path, uint32_t sessions_max,
                            struct ls_image *image, char *error)
{
    struct file_source f;
    image->sessions = NULL;
    int code = file_open(&f, path, error);
    if (code != 0)
        return code;
    code = ls_checkpoint_read(job, &f.source, sessions_max, image);
    code = file_close(&f, code, path, error);
    if (code != 0) {
        ls_sessions_destroy(image->sessions);
        image->sessions = NULL;
    }
    return code;
}

int ls_checkpoint_file_verify(const char *path, struct ls_checkpoint_info *info, char *error)
{
    struct file_source f;
    int code = file_open(&f, path, error);
    if (code != 0)
        return code;
    return file_close(&f, ls_checkpoint_verify(&f.source, info), path, error);
}

int ls_checkpoint_file_info(const char *path, struct ls_checkpoint_info *info, char *error)
{
    struct file_source f;
    int code = file_open(&f, path, error);
    if (code != 0)
        return code;
    code = ls_checkpoint_info_read(&f.source, info);
    close(f.fd);
    free(f.buffer);
    return code == 0 ? 0 : say(error, code, "cannot use checkpoint", path, read_hint(code));
}

void ls_checkpoint_name(uint32_t generation, uint64_t seq, char name[LS_CHECKPOINT_NAME_MAX])
{
    snprintf(name, LS_CHECKPOINT_NAME_MAX, "checkpoint-%" PRIu32 "-%" PRIu64 ".lsc", generation, seq);
}

bool ls_checkpoint_name_read(const char *name, uint32_t *generation, uint64_t *seq)
{
    char again[LS_CHECKPOINT_NAME_MAX];
    if (sscanf(name, "checkpoint-%" SCNu32 "-%" SCNu64 ".lsc", generation, seq) != 2)
        return false;
    ls_checkpoint_name(*generation, *seq, again);
    return strcmp(name, again) == 0;
}
