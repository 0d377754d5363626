/* SPDX-License-Identifier: BSD-3-Clause */
/* See restart.h. */
#include "restart.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../state/checkpoint.h"
#include "resume.h"

#define CANDIDATES_MAX 64
#define FEED_MIN       (512u * 1024)
#define PATH_ROOM      640
#define OWN_NAP_NS     50000ull
#define OWN_SAY_NS     5000000000ull
#define END_NS         5000000000ull /* for what is on its way to a disk that works, far more than it takes */

struct run {
    const struct ls_restart_config *config;
    struct ls_restart *restart;
    struct ls_machine **machine;
    struct ls_journal_state state;
    char directory[PATH_ROOM];
    char *error;
};

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t clock_of(void *user)
{
    (void)user;
    return clock_ns();
}

static void nap(uint64_t ns)
{
    struct timespec time = {.tv_nsec = (long)ns};
    nanosleep(&time, NULL);
}

static int fail(const struct run *r, int code, const char *text)
{
    snprintf(r->error, LS_RESTART_ERROR_MAX, "%.*s", LS_RESTART_ERROR_MAX - 1, text);
    return code;
}

/* ---- what is set aside ---- */

/* Its name says which incarnation found it. 0 or -errno, named. */
static int set_aside(struct run *r, const char *why)
{
    char to[PATH_ROOM + 32], line[LS_RESTART_ERROR_MAX];
    ls_uring_destroy(r->restart->uring);
    r->restart->uring = NULL;
    snprintf(to, sizeof(to), "%s.aside-%" PRIu64, r->directory, r->config->incarnation);
    if (rename(r->directory, to) != 0) {
        int code = -errno;
        snprintf(line, sizeof(line), "%.700s; it cannot be set aside as %.600s: %s", why, to, strerror(-code));
        return fail(r, code, line);
    }
    int fd = open(r->config->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd); /* not done: the next start finds it again, and does this again */
        close(fd);
    }
    snprintf(line, sizeof(line), "%.700s. It is set aside as %.600s; what is missing here comes from the other nodes",
             why, to);
    r->config->say(line);
    return 0;
}

static int uring_open(struct run *r)
{
    struct ls_uring_config config = {.directory = r->directory, .identity = r->config->identity, .say = r->config->say};
    char error[LS_URING_ERROR_MAX];
    int code = ls_uring_create(&config, &r->restart->uring, error);
    return code == 0 ? 0 : fail(r, code, error);
}

static bool has_segments(const struct run *r)
{
    DIR *directory = opendir(r->directory);
    struct dirent *entry;
    uint64_t number;
    bool any = false;
    if (directory == NULL)
        return false;
    while (!any && (entry = readdir(directory)) != NULL)
        any = ls_journal_segment_name_read(entry->d_name, &number);
    closedir(directory);
    return any;
}

/* What the journal says of itself. 0, with `state` zero where it begins now. */
static int state_find(struct run *r)
{
    char wrong[LS_JOURNAL_ERROR_MAX], line[LS_RESTART_ERROR_MAX];
    int code = uring_open(r);
    if (code != 0)
        return code;
    int found = ls_journal_state_load(ls_uring_disk(r->restart->uring), &r->config->identity, &r->state, wrong);
    if (found == LS_JOURNAL_RIGHT || (found == LS_JOURNAL_ABSENT && !has_segments(r)))
        return 0;
    if (found == LS_JOURNAL_ABSENT)
        snprintf(wrong, sizeof(wrong), "segments of a log without the journal's state");
    snprintf(line, sizeof(line), "%s: %s", r->directory, wrong);
    if (found != LS_JOURNAL_ABSENT && found != LS_JOURNAL_DAMAGED && found != LS_JOURNAL_OLDER)
        return fail(r, found < 0 ? found : -EXDEV, line);
    memset(&r->state, 0, sizeof(r->state));
    code = set_aside(r, line);
    return code == 0 ? uring_open(r) : code;
}

/* ---- the checkpoint ---- */

/* The log goes on behind a checkpoint of its own generation; or behind the one of an older generation that this one
 * began with. */
static bool is_usable(void *run, const struct ls_checkpoint_info *info)
{
    const struct run *r = run;
    const struct ls_journal_identity *identity = &r->config->identity;
    if (info->cluster != identity->cluster || info->generation > identity->generation)
        return false;
    if (info->cut.epochs > 0 && info->cut.epoch[info->cut.epochs - 1].epoch > r->config->promise)
        return false; /* fetched and not taken: the node was to be sealed at that epoch first */
    if (info->generation < identity->generation)
        return info->cut.position == r->state.base.position && r->state.base.position != 0;
    return ls_journal_goes_behind(&r->state, info->cut.position);
}

/* 0: taken; 1: not this one; -errno: none can be, named. */
static int checkpoint_load(struct run *r, const char *directory, const struct ls_checkpoint_found *candidate)
{
    const struct ls_restart_config *c = r->config;
    struct ls_checkpoint_job job = {
        .type = c->type, .cluster = c->identity.cluster, .generation = c->identity.generation, .older = true};
    struct ls_image image = {.machine = c->type->create(&c->limits, c->grace)};
    char path[2 * PATH_ROOM], error[512];
    uint64_t begin = clock_ns();
    if (image.machine == NULL)
        return fail(r, -ENOMEM, "no memory for the checkpoint's state: lower limits.keys or limits.bytes");
    snprintf(path, sizeof(path), "%s/%s", directory, candidate->name);
    int code = ls_checkpoint_file_read(&job, path, c->sessions_max, &image, error);
    if (code != 0) {
        c->type->destroy(image.machine);
        if (code == -ENOSPC || code == -ENOMEM)
            return fail(r, code, error);
        c->say(error);
        return 1;
    }
    *r->machine = image.machine;
    ls_journal_image_take(&image, c->type, &r->state, c->log, c->seam, c->executor);
    r->restart->checkpoint_seq = candidate->info.cut.seq;
    r->restart->checkpoint_bytes = candidate->bytes;
    r->restart->checkpoint_ns = clock_ns() - begin;
    return 0;
}

static int checkpoint_find(struct run *r)
{
    struct ls_checkpoint_found *candidate = malloc(CANDIDATES_MAX * sizeof(*candidate));
    char directory[PATH_ROOM + 32];
    int code = 1;
    if (candidate == NULL)
        return fail(r, -ENOMEM, "no memory to look for checkpoints");
    snprintf(directory, sizeof(directory), "%s/checkpoints", r->config->data_dir);
    uint32_t n = ls_checkpoint_list(directory, is_usable, r, r->config->say, candidate, CANDIDATES_MAX);
    for (uint32_t i = 0; i < n && code == 1; i++)
        code = checkpoint_load(r, directory, &candidate[i]);
    free(candidate);
    return code < 0 ? code : 0;
}

/* ---- the log ---- */

static int log_read(struct run *r)
{
    const struct ls_restart_config *c = r->config;
    struct ls_journal_disk *disk = ls_uring_disk(r->restart->uring);
    char wrong[LS_JOURNAL_ERROR_MAX], line[LS_RESTART_ERROR_MAX];
    uint64_t begin = clock_ns(), from = c->log->end;
    int code = 0;
    if (r->state.base.position > from) {
        snprintf(wrong, sizeof(wrong),
                 "the log begins at position %" PRIu64 ", behind a checkpoint, and there is none of it",
                 (uint64_t)r->state.base.position);
        code = -EBADMSG;
    } else {
        code = ls_journal_replay(disk, &c->identity, &r->state, c->log, c->seam, c->executor, wrong);
    }
    snprintf(line, sizeof(line), "%s: %s", r->directory, wrong);
    if (code == -ENOSPC && !ls_journal_is_complete(&r->state, c->counts))
        code = -EBADMSG; /* an older state has been put beside it: what it says of the log is not true */
    if (code == -EBADMSG || code == -EIO) { /* damage: what this node was is lost, and it says so by coming back anew */
        int moved = set_aside(r, line);
        return moved == 0 ? fail(r, -EBADMSG, line) : moved;
    }
    if (code == 0)
        code = ls_uring_sync(r->restart->uring, c->log->end / c->identity.segment_size);
    if (code != 0)
        return fail(r, code, line);
    if (ls_log_last_epoch(c->log) > c->promise) {
        snprintf(line, sizeof(line),
                 "%s holds entries of epoch %" PRIu64 ", and this node's record promised %" PRIu64
                 ": the record was rolled back, or belongs to another copy of this node. Replace the node by a new "
                 "member",
                 r->directory, ls_log_last_epoch(c->log), c->promise);
        return fail(r, -EXDEV, line);
    }
    r->restart->log_bytes = c->log->end - from;
    r->restart->log_ns = clock_ns() - begin;
    return 0;
}

/* ---- the writer ---- */

/* Until the disk says whose the journal is now. A disk that hangs is said, and waited for: ctrl has its patience. */
static int own(struct run *r)
{
    uint64_t begin = clock_ns(), said = begin;
    while (!ls_journal_is_owned(r->restart->journal)) {
        uint64_t now = clock_ns();
        (void)ls_journal_poll(r->restart->journal, now);
        int error = (int)atomic_load_explicit(&r->config->seam->journal_error, memory_order_relaxed);
        if (error != 0)
            return fail(r, -error, ls_uring_disk(r->restart->uring)->problem);
        if (now - said >= OWN_SAY_NS) {
            said = now;
            r->config->say("the journal's disk does not answer (dmesg): waiting for it");
        }
        nap(OWN_NAP_NS);
    }
    return 0;
}

static int writer_make(struct run *r)
{
    const struct ls_restart_config *c = r->config;
    bool complete = r->state.number != 0 && ls_journal_is_complete(&r->state, c->counts);
    struct ls_journal_config config = {.identity = c->identity,
                                       .incarnation = c->incarnation,
                                       .since = complete ? r->state.since : c->incarnation,
                                       .behind = c->behind};
    r->restart->resumed = complete;
    r->restart->disk_fault =
        ls_disk_fault_create(ls_uring_disk(r->restart->uring), c->identity.segment_size, clock_of, NULL);
    if (r->restart->disk_fault == NULL)
        return fail(r, -ENOMEM, "no memory for the journal's disk");
    r->restart->journal =
        ls_journal_create(&config, &r->state, ls_disk_fault_disk(r->restart->disk_fault), c->log, c->seam);
    if (r->restart->journal == NULL)
        return fail(r, -errno, "no memory for the journal's writer");
    int code = own(r);
    struct ls_feeder_config feeder = {.data_dir = c->data_dir,
                                      .identity = c->identity,
                                      .seam = c->seam,
                                      .window = c->op_max + FEED_MIN,
                                      .say = c->say};
    if (code == 0 && (code = ls_feeder_start(&feeder, &r->restart->feeder)) != 0)
        return fail(r, code, "no memory or thread to read back out of the journal");
    return code;
}

int ls_restart(const struct ls_restart_config *config, struct ls_machine **machine, struct ls_restart *restart,
               char *error)
{
    struct run r = {.config = config, .restart = restart, .machine = machine, .error = error};
    memset(restart, 0, sizeof(*restart));
    error[0] = '\0';
    snprintf(r.directory, sizeof(r.directory), "%s/journal", config->data_dir);
    int code = state_find(&r);
    if (code == 0 && r.state.number != 0)
        code = checkpoint_find(&r);
    if (code == 0 && r.state.number != 0)
        code = log_read(&r);
    return code == 0 ? writer_make(&r) : code;
}

bool ls_restart_end(struct ls_restart *restart)
{
    bool done = restart->journal == NULL;
    ls_feeder_stop(restart->feeder);
    restart->feeder = NULL;
    for (uint64_t end = clock_ns() + END_NS; !done && clock_ns() < end;) {
        done = ls_journal_finish(restart->journal, clock_ns());
        if (!done)
            nap(OWN_NAP_NS);
    }
    if (!done)
        return false; /* what runs still reads the ring and the writer's block */
    bool clean = restart->journal == NULL || ls_journal_is_clean(restart->journal);
    ls_journal_destroy(restart->journal);
    ls_disk_fault_destroy(restart->disk_fault);
    ls_uring_destroy(restart->uring);
    restart->journal = NULL;
    restart->disk_fault = NULL;
    restart->uring = NULL;
    return clean;
}
