/* SPDX-License-Identifier: BSD-3-Clause */
/* See replay.h. */
#include "replay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <lockstep/counters.h>
#include <lockstep/grace.h>

#include "../state/checkpoint.h"
#include "executor.h"
#include "files.h"
#include "log.h"
#include "reader.h"
#include "resume.h"
#include "seam.h"

#define PATH_ROOM     1200
#define BATCH_BYTES   (256u * 1024)
#define PROGRESS_STEP (16ull * 1024 * 1024)
#define IDLE_MAX      1000000

struct replay {
    const struct ls_replay_config *config;
    struct ls_replayed *replayed;
    char *error;
    char journal[PATH_ROOM];
    bool has_journal;
    struct ls_journal_files files;
    struct ls_journal_state state;
    struct ls_journal_reader reader;
    struct ls_checkpoint_found chosen; /* name "": none */
    char path[PATH_ROOM];              /* of the checkpoint; "": none */
    /* a replica's apply side, with nobody to answer */
    struct ls_log log;
    struct ls_seam seam;
    struct ls_grace grace;
    struct ls_io io;
    struct ls_machine *machine;
    struct ls_executor *executor;
    struct ls_replica_page page;
    struct ls_counters counters;
};

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int fail(struct replay *r, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int fail(struct replay *r, int code, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(r->error, LS_REPLAY_ERROR_MAX, format, list);
    va_end(list);
    return code;
}

/* ---- the apply side ---- */

static bool no_buffer(struct ls_io *io, struct ls_frame *frame)
{
    (void)io, (void)frame;
    return false;
}

static int memory_take(struct replay *r)
{
    const struct ls_replay_config *c = r->config;
    struct ls_executor_config executor = {.cluster = r->replayed->cluster,
                                          .generation = r->replayed->generation,
                                          .node = 1,
                                          .incarnation = 1,
                                          .sessions_max = c->sessions_max,
                                          .window = c->window};
    r->io.alloc = no_buffer;
    int code = ls_log_init(&r->log, c->log_size);
    if (code == 0)
        code = ls_seam_init(&r->seam, c->sessions_max);
    if (code == 0 && (r->machine = c->type->create(&c->limits, &r->grace)) == NULL)
        code = -ENOMEM;
    if (code == 0 && (r->executor = ls_executor_create(&executor, &r->log, &r->seam, &r->io, c->type, r->machine,
                                                       &r->page, &r->counters)) == NULL)
        code = -ENOMEM;
    return code == 0 ? 0 : fail(r, code, "no memory for the state: lower limits.keys, limits.bytes or limits.log_size");
}

static void memory_free(struct replay *r)
{
    if (r->executor != NULL)
        ls_executor_destroy(r->executor);
    if (r->machine != NULL)
        r->config->type->destroy(r->machine);
    if (r->seam.sessions != NULL)
        ls_seam_free(&r->seam);
    if (r->log.ring != NULL)
        ls_log_free(&r->log);
}

/* Nobody reads, so every grace period is over at once. */
static void turn(struct replay *r)
{
    (void)ls_executor_turn(r->executor, 0);
    ls_grace_begin(&r->grace);
    ls_grace_end(&r->grace);
}

static int execute(struct replay *r)
{
    uint64_t applied = atomic_load(&r->seam.applied);
    atomic_store(&r->seam.commit, r->log.end);
    for (uint32_t idle = 0; applied < r->log.end; idle++) {
        turn(r);
        uint64_t now = atomic_load(&r->seam.applied);
        idle = now > applied ? 0 : idle;
        applied = now;
        if (idle > IDLE_MAX)
            return fail(r, -ENOMEM,
                        "entry %" PRIu64 " has no memory: raise limits.keys, limits.bytes or limits.sessions to what "
                        "they were when it was written",
                        atomic_load(&r->seam.applied_seq) + 1);
    }
    return 0;
}

/* ---- what there is ---- */

static int journal_open(struct replay *r)
{
    const struct ls_replay_config *c = r->config;
    struct ls_journal_identity identity = {0};
    char wrong[LS_JOURNAL_ERROR_MAX];
    uint8_t *blocks;
    if (c->data_dir == NULL)
        return 0;
    snprintf(r->journal, sizeof(r->journal), "%s/journal", c->data_dir);
    int code = ls_journal_files_open(&r->files, r->journal, &identity);
    if (code == -ENOENT)
        return 0; /* of durability memory: checkpoints alone */
    if (code != 0)
        return fail(r, code, "%s cannot be opened: %s", r->journal, strerror(-code));
    r->files.live = true;
    blocks = malloc(2 * LS_JOURNAL_BLOCK);
    int length =
        blocks == NULL ? -ENOMEM : ls_journal_files_read(&r->files, LS_JOURNAL_STATE, 0, blocks, 2 * LS_JOURNAL_BLOCK);
    bool whose = length > 0 && ls_journal_state_whose(blocks, (uint32_t)length, &identity);
    free(blocks);
    if (length < 0)
        return fail(r, length, "%s/state cannot be read: %s", r->journal, strerror(-length));
    if (!whose)
        return length == 0 ? 0 : fail(r, -EBADMSG, "%s/state is damaged", r->journal);
    if (c->cluster != 0 && identity.cluster != c->cluster)
        return fail(r, -EXDEV, "%s is of cluster %016" PRIx64 ", and not of %016" PRIx64, r->journal,
                    (uint64_t)identity.cluster, c->cluster);
    r->files.identity = identity;
    if (ls_journal_state_load(&r->files.disk, &identity, &r->state, wrong) != LS_JOURNAL_RIGHT)
        return fail(r, -EBADMSG, "%s: %s", r->journal, wrong);
    code = ls_journal_reader_init(&r->reader, &r->files.disk, identity.segment_size);
    r->has_journal = code == 0;
    r->replayed->cluster = identity.cluster;
    r->replayed->generation = identity.generation;
    return code == 0 ? 0 : fail(r, code, "no memory to read the journal");
}

/* Of this log, and not behind what is wanted. */
static bool is_wanted(void *replay, const struct ls_checkpoint_info *info)
{
    const struct replay *r = replay;
    const struct ls_replay_config *c = r->config;
    if ((c->cluster != 0 && info->cluster != c->cluster) || (c->to_seq != 0 && info->cut.seq > c->to_seq))
        return false;
    return !r->has_journal ||
           (info->cluster == r->state.identity.cluster && info->generation == r->state.identity.generation &&
            ls_journal_goes_behind(&r->state, info->cut.position));
}

static int checkpoint_choose(struct replay *r)
{
    const struct ls_replay_config *c = r->config;
    char error[512];
    if (c->checkpoint != NULL) {
        int code = ls_checkpoint_file_info(c->checkpoint, &r->chosen.info, error);
        if (code != 0)
            return fail(r, code, "%s", error);
        const struct ls_checkpoint_info *info = &r->chosen.info;
        if (c->cluster != 0 && info->cluster != c->cluster)
            return fail(r, -EXDEV, "%s is of cluster %016" PRIx64 ", and not of %016" PRIx64, c->checkpoint,
                        info->cluster, c->cluster);
        if (c->to_seq != 0 && info->cut.seq > c->to_seq)
            return fail(r, -ERANGE, "%s is of entry %" PRIu64 ", behind %" PRIu64 ": begin with an older one",
                        c->checkpoint, info->cut.seq, c->to_seq);
        if (r->has_journal && !is_wanted(r, info))
            return fail(r, -EXDEV,
                        "%s is of entry %" PRIu64 ", generation %" PRIu32 ", which the log in %s does not go on behind",
                        c->checkpoint, info->cut.seq, info->generation, r->journal);
        snprintf(r->path, sizeof(r->path), "%s", c->checkpoint);
    } else if (c->data_dir != NULL) {
        char directory[PATH_ROOM];
        snprintf(directory, sizeof(directory), "%.1000s/checkpoints", c->data_dir);
        if (ls_checkpoint_list(directory, is_wanted, r, NULL, &r->chosen, 1) == 1)
            snprintf(r->path, sizeof(r->path), "%.1100s/%.80s", directory, r->chosen.name);
    }
    if (r->path[0] == '\0' && (!r->has_journal || r->state.base.position != 0))
        return fail(r, -ENOENT, "there is no checkpoint to begin with%s",
                    r->has_journal ? ": the log begins behind one; give it with --checkpoint" : ", and no journal");
    if (r->path[0] != '\0' && !r->has_journal) {
        r->replayed->cluster = r->chosen.info.cluster;
        r->replayed->generation = r->chosen.info.generation;
    }
    return 0;
}

/* ---- going on from there ---- */

static int checkpoint_take(struct replay *r)
{
    const struct ls_replay_config *c = r->config;
    struct ls_checkpoint_job job = {
        .type = c->type, .cluster = r->chosen.info.cluster, .generation = r->chosen.info.generation};
    struct ls_image image = {.machine = NULL};
    char error[512];
    if (r->path[0] == '\0')
        return 0;
    image.machine = c->type->create(&c->limits, &r->grace);
    if (image.machine == NULL)
        return fail(r, -ENOMEM, "no memory for the checkpoint's state: lower limits.keys or limits.bytes");
    int code = ls_checkpoint_file_read(&job, r->path, c->sessions_max, &image, error);
    if (code != 0) {
        c->type->destroy(image.machine);
        return fail(r, code, "%s", error);
    }
    r->machine = image.machine;
    r->replayed->from_seq = r->replayed->seq = r->replayed->committed_seq = image.cut.seq;
    ls_journal_image_take(&image, c->type, &r->state, &r->log, &r->seam, r->executor);
    return 0;
}

/* 0: they are in the log. */
static int entry_take(struct replay *r, const struct ls_entry *entry)
{
    uint64_t size = ls_entry_size(entry->length);
    int code = 0;
    if (r->log.end + size - atomic_load(&r->seam.applied) > BATCH_BYTES)
        code = execute(r);
    if (code != 0)
        return code;
    if (!ls_log_has_room(&r->log, r->log.end, size, atomic_load(&r->seam.applied)))
        return fail(r, -ENOSPC, "entry %" PRIu64 " is larger than the log: raise limits.log_size", entry->seq);
    ls_log_place(&r->log, r->log.end, (const uint8_t *)entry, (uint32_t)size);
    code = ls_log_fill(&r->log, r->log.end + size);
    if (code != 0)
        return fail(r, code, "entry %" PRIu64 " of %s does not follow the one before it", entry->seq, r->journal);
    r->replayed->entries++;
    r->replayed->bytes += size;
    return 0;
}

static int log_walk(struct replay *r)
{
    const struct ls_replay_config *c = r->config;
    uint64_t limit = !c->uncommitted ? r->state.commit : r->state.clean ? r->state.durable : UINT64_MAX / 2;
    uint64_t told = 0;
    const struct ls_entry *entry;
    int code = 0, next = 0;
    ls_journal_reader_begin(
        &r->reader, &(struct ls_journal_place){.position = r->log.end, .seq = r->log.last_seq, .chain = r->log.chain});
    while (code == 0 && (c->to_seq == 0 || r->reader.place.seq < c->to_seq) &&
           (next = ls_journal_reader_next(&r->reader, limit, &entry)) == 1) {
        code = entry_take(r, entry);
        if (r->reader.place.position <= r->state.commit)
            r->replayed->committed_seq = entry->seq;
        if (code == 0 && c->progress != NULL && r->replayed->bytes >= told + PROGRESS_STEP) {
            told = r->replayed->bytes;
            c->progress(entry->seq, told);
        }
    }
    if (code != 0)
        return code;
    /* Where no mark says more, a torn end is like any other. */
    if (next < 0 && (!c->uncommitted || r->reader.place.position < r->state.durable))
        return fail(r, next, "%s: %s", r->journal, r->reader.error);
    return execute(r);
}

static int log_take(struct replay *r)
{
    int code = r->has_journal ? log_walk(r) : 0;
    if (code != 0)
        return code;
    r->replayed->seq = atomic_load(&r->seam.applied_seq);
    r->replayed->digest = ls_executor_digest(r->executor);
    uint64_t to = r->config->to_seq;
    if (to == 0 || r->replayed->seq == to)
        return 0;
    return fail(r, -ERANGE, "entry %" PRIu64 " is not there: what is %s goes up to %" PRIu64 "%s", to,
                r->config->uncommitted ? "in the journal" : "known to be committed", r->replayed->seq,
                r->config->uncommitted ? "" : " (more may be there: --uncommitted)");
}

/* ---- the result ---- */

static int out_write(struct replay *r)
{
    const struct ls_replay_config *c = r->config;
    struct ls_checkpoint_job job = {.type = c->type,
                                    .cluster = c->out_cluster != 0 ? c->out_cluster : r->replayed->cluster,
                                    .generation = c->out_generation != 0 ? c->out_generation : r->replayed->generation};
    struct ls_checkpoint_info info;
    struct ls_cut *cut = calloc(1, sizeof(*cut));
    char error[512];
    size_t size;
    if (cut == NULL)
        return fail(r, -ENOMEM, "no memory for a checkpoint");
    r->seam.cut = cut;
    atomic_store(&r->seam.cut_state, LS_CUT_WANTED);
    while (atomic_load(&r->seam.cut_state) == LS_CUT_WANTED ||
           (atomic_load(&r->seam.cut_state) == LS_CUT_OPEN && !atomic_load(&r->seam.cut_sessions)))
        turn(r);
    if (atomic_load(&r->seam.cut_state) != LS_CUT_OPEN) {
        free(cut);
        return fail(r, r->seam.cut_error, "a checkpoint of entry %" PRIu64 " cannot be made: %s", r->replayed->seq,
                    strerror(-r->seam.cut_error));
    }
    const uint8_t *sessions = ls_executor_sessions_image(r->executor, &size);
    int code = ls_checkpoint_file_write(&job, cut, sessions, size, r->machine, c->out, 0, error);
    if (code == 0) {
        code = ls_checkpoint_file_verify(c->out, &info, error);
        if (code != 0)
            (void)unlink(c->out);
    }
    atomic_store(&r->seam.cut_state, LS_CUT_ENDING);
    while (atomic_load(&r->seam.cut_state) != LS_CUT_NONE)
        turn(r);
    free(cut);
    return code == 0 ? 0 : fail(r, code, "%s", error);
}

int ls_replay(const struct ls_replay_config *config, struct ls_replayed *replayed, char *error)
{
    struct replay *r = calloc(1, sizeof(*r));
    uint64_t begin = clock_ns();
    memset(replayed, 0, sizeof(*replayed));
    error[0] = '\0';
    if (r == NULL)
        return -ENOMEM;
    *r = (struct replay){.config = config, .replayed = replayed, .error = error};
    r->files.fd = r->files.directory_fd = -1;
    int code = 0;
    if (config->out != NULL && access(config->out, F_OK) == 0)
        code = fail(r, -EEXIST, "%s is there already: give another name, or move it", config->out);
    if (code == 0)
        code = journal_open(r);
    if (code == 0)
        code = checkpoint_choose(r);
    if (code == 0)
        code = memory_take(r);
    if (code == 0)
        code = checkpoint_take(r);
    if (code == 0)
        code = log_take(r);
    if (code == 0 && config->out != NULL)
        code = out_write(r);
    memory_free(r);
    ls_journal_reader_free(&r->reader);
    ls_journal_files_close(&r->files);
    free(r);
    replayed->elapsed_ns = clock_ns() - begin;
    return code;
}
