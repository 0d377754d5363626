/* SPDX-License-Identifier: BSD-3-Clause */
/* See history.h. */
#include "history.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../state/checkpoint.h"
#include "files.h"
#include "resume.h"

#define CHECKPOINTS_MAX 64
#define PLACES_MAX      (CHECKPOINTS_MAX + 1)
#define PATH_ROOM       640

struct ls_history {
    struct ls_journal_identity identity;
    char journal[PATH_ROOM], checkpoints[PATH_ROOM];
    struct ls_journal_files files;
    struct ls_journal_state state;
    struct ls_journal_reader reader;
    struct ls_journal_place place[PLACES_MAX]; /* where a walk may begin; ascending */
    uint32_t places;
    uint64_t limit; /* of the last call */
    char error[LS_HISTORY_ERROR_MAX];
};

struct ls_history *ls_history_open(const char *data_dir, const struct ls_journal_identity *identity, char *error)
{
    struct ls_history *h = calloc(1, sizeof(*h));
    if (h == NULL) {
        snprintf(error, LS_HISTORY_ERROR_MAX, "no memory to read the journal");
        return NULL;
    }
    h->identity = *identity;
    snprintf(h->journal, sizeof(h->journal), "%s/journal", data_dir);
    snprintf(h->checkpoints, sizeof(h->checkpoints), "%s/checkpoints", data_dir);
    int code = ls_journal_files_open(&h->files, h->journal, identity);
    h->files.live = true;
    if (code == 0)
        code = ls_journal_reader_init(&h->reader, &h->files.disk, identity->segment_size);
    if (code == 0)
        return h;
    snprintf(error, LS_HISTORY_ERROR_MAX, "%.600s cannot be read: %s", h->journal, strerror(-code));
    ls_history_close(h);
    return NULL;
}

void ls_history_close(struct ls_history *h)
{
    if (h == NULL)
        return;
    ls_journal_reader_free(&h->reader);
    ls_journal_files_close(&h->files);
    free(h);
}

/* ---- where a walk may begin ---- */

/* What is committed is one history, whoever made the checkpoint. */
static bool is_on_the_way(void *history, const struct ls_checkpoint_info *info)
{
    const struct ls_history *h = history;
    return info->cluster == h->identity.cluster && info->generation == h->identity.generation &&
           info->cut.position >= h->state.base.position && info->cut.position <= h->limit;
}

static bool is_there(struct ls_history *h, uint64_t position)
{
    uint8_t byte;
    return ls_journal_files_read(&h->files, position / h->identity.segment_size, position % h->identity.segment_size,
                                 &byte, 1) == 1;
}

/* 0, -ENOENT: none; or why the journal cannot be read. */
static int places_find(struct ls_history *h, uint64_t limit)
{
    struct ls_checkpoint_found *found;
    char wrong[LS_JOURNAL_ERROR_MAX];
    int loaded = ls_journal_state_load(&h->files.disk, &h->identity, &h->state, wrong);
    h->places = 0;
    h->limit = limit;
    if (loaded != LS_JOURNAL_RIGHT) {
        snprintf(h->error, sizeof(h->error), "%.160s: %.500s", h->journal,
                 loaded == LS_JOURNAL_ABSENT ? "nothing has been written yet" : wrong);
        return loaded < 0 ? loaded : loaded == LS_JOURNAL_ABSENT ? -ENOENT : -EBADMSG;
    }
    found = malloc(CHECKPOINTS_MAX * sizeof(*found));
    if (found == NULL) {
        snprintf(h->error, sizeof(h->error), "no memory to look for checkpoints");
        return -ENOMEM;
    }
    if (h->state.base.position <= limit && is_there(h, h->state.base.position))
        h->place[h->places++] = ls_journal_place_first(&h->state.base);
    for (uint32_t i = ls_checkpoint_list(h->checkpoints, is_on_the_way, h, NULL, found, CHECKPOINTS_MAX); i-- > 0;) {
        const struct ls_cut *cut = &found[i].info.cut;
        if (is_there(h, cut->position))
            h->place[h->places++] =
                (struct ls_journal_place){.position = cut->position, .seq = cut->seq, .chain = cut->chain};
    }
    free(found);
    return h->places > 0 ? 0 : -ENOENT;
}

/* ---- walking ---- */

/* What the reader says of why it cannot go on. */
static int read_end(struct ls_history *h, int result)
{
    if (result < 0)
        snprintf(h->error, sizeof(h->error), "%s", h->reader.error);
    return result;
}

int ls_history_next(struct ls_history *h, uint64_t limit, const struct ls_entry **entry)
{
    return read_end(h, ls_journal_reader_next(&h->reader, limit, entry));
}

static int walk(struct ls_history *h, uint64_t seq, uint64_t position, uint64_t limit)
{
    return read_end(h, ls_journal_reader_seek(&h->reader, h->place, h->places, seq, position, limit));
}

int ls_history_seek(struct ls_history *h, uint64_t seq, uint64_t limit, uint64_t *oldest)
{
    int code = places_find(h, limit);
    if (code != 0)
        return code;
    *oldest = h->place[0].seq + 1;
    return walk(h, seq > *oldest ? seq : *oldest, UINT64_MAX, limit);
}

int ls_history_window(struct ls_history *h, uint64_t position, uint64_t limit, uint8_t *to, uint32_t room,
                      uint64_t *from, uint64_t *end)
{
    int code = 0;
    *from = *end = position;
    if (!h->reader.stands || h->reader.place.position != position) {
        code = places_find(h, limit);
        if (code == 0 && h->place[0].position > position)
            code = -ENOENT;
        if (code == 0)
            code = walk(h, UINT64_MAX, position, limit);
    }
    return code == 0 ? read_end(h, ls_journal_window(&h->reader, limit, to, room, from, end)) : code;
}

void ls_history_unread(struct ls_history *h)
{
    ls_journal_reader_unread(&h->reader);
}

const struct ls_journal_place *ls_history_place(const struct ls_history *h)
{
    return &h->reader.place;
}

const char *ls_history_error(const struct ls_history *h)
{
    return h->error;
}
