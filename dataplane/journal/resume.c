/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading the journal back. See resume.h. */
#include "resume.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mutant.h"
#include "reader.h"
#include "session.h"

#define CHUNK (LS_OP_MAX + 64u * 1024) /* no entry is larger */

int ls_journal_state_load(struct ls_journal_disk *disk, const struct ls_journal_identity *identity,
                          struct ls_journal_state *state, char *error)
{
    uint8_t *blocks = malloc(2 * LS_JOURNAL_BLOCK);
    error[0] = '\0';
    if (blocks == NULL)
        return -ENOMEM;
    int length = disk->read(disk, LS_JOURNAL_STATE, 0, blocks, 2 * LS_JOURNAL_BLOCK);
    if (length < 0) {
        snprintf(error, LS_JOURNAL_ERROR_MAX, "the journal's state cannot be read: %s", strerror(-length));
        free(blocks);
        return length;
    }
    enum ls_journal_wrong wrong = ls_journal_state_read(identity, blocks, (uint32_t)length, state);
    free(blocks);
    if (wrong != LS_JOURNAL_RIGHT && wrong != LS_JOURNAL_ABSENT)
        snprintf(error, LS_JOURNAL_ERROR_MAX, "the journal's state is %s", ls_journal_wrong_text(wrong));
    return (int)wrong;
}

bool ls_journal_is_complete(const struct ls_journal_state *state, uint64_t counts)
{
    return state->since != 0 && counts != 0 && state->since <= counts && counts <= state->incarnation;
}

bool ls_journal_goes_behind(const struct ls_journal_state *state, uint64_t position)
{
    bool clear = position <= state->commit || position > state->durable || ls_mutant(CHECKPOINT_ON_TAIL);
    return position >= state->base.position && clear;
}

void ls_journal_image_take(struct ls_image *image, const struct ls_state_machine *type, struct ls_journal_state *state,
                           struct ls_log *log, struct ls_seam *seam, struct ls_executor *executor)
{
    const struct ls_cut *cut = &image->cut;
    atomic_store_explicit(&seam->image, image, memory_order_release);
    while (atomic_load_explicit(&seam->image, memory_order_acquire) != NULL)
        (void)ls_executor_turn(executor, 0);
    type->destroy(image->machine); /* the empty one by now */
    ls_sessions_destroy(image->sessions);
    ls_log_rebase(log, cut);
    if (image->older)
        ls_log_disown(log);
    atomic_store_explicit(&seam->commit, cut->position, memory_order_release);
    if (cut->position <= state->durable)
        return;
    /* Beyond what the journal is known to hold: it begins here now. All of it is committed. */
    state->base =
        (struct ls_journal_base){.position = cut->position, .seq = cut->seq, .time = cut->time, .chain = cut->chain};
    state->durable = state->commit = cut->position;
    state->clean = 0;
}

/* ---- replay ---- */

struct replay {
    struct ls_journal_disk *disk;
    const struct ls_journal_identity *identity;
    const struct ls_journal_state *state;
    struct ls_log *log;
    struct ls_seam *seam;
    struct ls_executor *executor;
    char *error;
    uint8_t *chunk;
};

/* The block in which the log goes on is written as a whole: what stands before the end in it has to be in the ring. */
static int block_head(struct replay *r)
{
    uint64_t end = r->log->end, begin = end & ~(uint64_t)(LS_JOURNAL_BLOCK - 1);
    if (begin == end)
        return 0;
    int got = ls_journal_bytes(r->disk, r->identity->segment_size, begin, r->chunk, (uint32_t)(end - begin));
    if (got < 0)
        return got;
    memset(r->chunk + got, 0, (uint32_t)(end - begin) - (uint32_t)got);
    for (uint64_t at = begin; at < end; at++) /* below the log's base: nothing but its place is known of it */
        *ls_log_at(r->log, at) = r->chunk[at - begin];
    return 0;
}

/* What is known to be committed, as far as it is there. False: the executor does not get on. */
static bool execute(struct replay *r)
{
    uint64_t commit = r->state->commit < r->log->end ? r->state->commit : r->log->end;
    uint32_t idle = 0;
    if (ls_log_seq_at(r->log, commit) == 0)
        return true; /* inside what is still to come */
    if (commit > atomic_load_explicit(&r->seam->commit, memory_order_relaxed))
        atomic_store_explicit(&r->seam->commit, commit, memory_order_release);
    while (atomic_load_explicit(&r->seam->applied, memory_order_acquire) <
               atomic_load_explicit(&r->seam->commit, memory_order_relaxed) &&
           idle < 1000000)
        idle = ls_executor_turn(r->executor, 0) > 0 ? 0 : idle + 1;
    return idle < 1000000;
}

static uint64_t room_of(const struct replay *r)
{
    uint64_t applied = atomic_load_explicit(&r->seam->applied, memory_order_relaxed);
    uint64_t limit = applied + r->log->size;
    return limit > r->log->end ? limit - r->log->end : 0;
}

/* Below the mark every entry is committed, so all that is there may be executed to make room. */
static void committed_make(struct replay *r)
{
    uint64_t end = r->log->end;
    if (end <= r->state->commit && end > atomic_load_explicit(&r->seam->commit, memory_order_relaxed))
        atomic_store_explicit(&r->seam->commit, end, memory_order_release);
}

/* How much of them is whole entries that follow the log's last one: behind its end stand zeros, or what an older lap or
 * a dropped tail has left, and nothing of that is to take the place of what the ring holds. */
static uint32_t chunk_scan(const struct replay *r, uint32_t length)
{
    uint64_t room = room_of(r), seq = r->log->last_seq;
    uint32_t at = 0, chain = r->log->chain;
    while (length - at >= sizeof(struct ls_entry)) {
        const struct ls_entry *entry = (const struct ls_entry *)(r->chunk + at);
        if (!ls_entry_is_sane(entry, r->log->size) || entry->seq != seq + 1)
            break;
        uint64_t size = ls_entry_size(entry->length);
        if (r->state->clean != 0 && r->log->end + at + size > r->state->durable)
            break; /* it ended in good order: what follows is of a tail that was dropped before */
        if (size > length - at || at + size > room || entry->checksum != ls_entry_checksum(entry, chain))
            break;
        chain = entry->checksum;
        seq++;
        at += (uint32_t)size;
    }
    return at;
}

/* The next entry would be good and has no room before more is executed, which is not known to be committed. */
static bool is_too_long(const struct replay *r, uint32_t length)
{
    const struct ls_entry *entry = (const struct ls_entry *)r->chunk;
    return length >= sizeof(*entry) && ls_entry_is_sane(entry, r->log->size) && entry->seq == r->log->last_seq + 1 &&
           ls_entry_size(entry->length) <= length && ls_entry_size(entry->length) > room_of(r) &&
           entry->checksum == ls_entry_checksum(entry, r->log->chain);
}

/* 1: go on; 0: here it ends; -errno. */
static int step(struct replay *r)
{
    int got = ls_journal_bytes(r->disk, r->identity->segment_size, r->log->end, r->chunk, CHUNK);
    if (got < 0)
        return got;
    uint32_t length = chunk_scan(r, (uint32_t)got);
    if (length == 0 && is_too_long(r, (uint32_t)got)) {
        snprintf(r->error, LS_JOURNAL_ERROR_MAX,
                 "the journal holds more that is not known to be committed than a log of %" PRIu64
                 " bytes: give limits.log_size its old value again",
                 r->log->size);
        return -ENOSPC;
    }
    if (length == 0)
        return 0;
    ls_log_place(r->log, r->log->end, r->chunk, length);
    int error = ls_log_fill(r->log, r->log->end + length);
    ls_log_drop_partial(r->log);
    committed_make(r);
    if (!execute(r)) {
        snprintf(r->error, LS_JOURNAL_ERROR_MAX,
                 "the state machine has no memory for what the journal holds: raise limits.keys, limits.bytes or "
                 "limits.sessions to what they were");
        return -ENOMEM;
    }
    return error == 0 ? 1 : 0;
}

static int end_check(const struct replay *r)
{
    const struct ls_log *log = r->log;
    if (log->end >= r->state->durable || ls_mutant(MARK_IGNORED))
        return 0;
    snprintf(r->error, LS_JOURNAL_ERROR_MAX,
             "the journal is damaged at position %" PRIu64 ", entry %" PRIu64 " (segment %" PRIu64 ", byte %" PRIu64
             "): the log was on the disk up to %" PRIu64,
             log->end, log->last_seq + 1, log->end / r->identity->segment_size,
             log->end % r->identity->segment_size + LS_JOURNAL_BLOCK, (uint64_t)r->state->durable);
    return -EBADMSG;
}

int ls_journal_replay(struct ls_journal_disk *disk, const struct ls_journal_identity *identity,
                      const struct ls_journal_state *state, struct ls_log *log, struct ls_seam *seam,
                      struct ls_executor *executor, char *error)
{
    struct replay r = {.disk = disk,
                       .identity = identity,
                       .state = state,
                       .log = log,
                       .seam = seam,
                       .executor = executor,
                       .error = error,
                       .chunk = malloc(CHUNK)};
    error[0] = '\0';
    if (r.chunk == NULL)
        return -ENOMEM;
    int result = block_head(&r);
    if (result == 0) {
        do {
            result = step(&r);
        } while (result > 0);
    }
    ls_log_drop_partial(log);
    if (result == 0)
        result = end_check(&r);
    free(r.chunk);
    if (result < 0 && error[0] == '\0')
        snprintf(error, LS_JOURNAL_ERROR_MAX, "the journal cannot be read: %s",
                 disk->problem[0] != '\0' ? disk->problem : strerror(-result));
    return result;
}
