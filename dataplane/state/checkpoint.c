/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checkpoints as streams; see checkpoint.h and, for the bytes, checkpoint_format.h. Bulk thread: it takes memory for
 * one block, and for the sessions' image while it reads.
 *
 * Nothing is taken from a block before its checksum was found right, and a machine or table made of right blocks is
 * only given out when the trailer and the digest are right too.
 */
#include "checkpoint_format.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "executor.h"
#include "memory.h"
#include "session.h"
#include "wire.h"

static uint32_t block_checksum(uint32_t chain, const struct ls_checkpoint_block *block, const uint8_t *payload)
{
    const uint8_t *from = (const uint8_t *)block + sizeof(block->checksum);
    uint32_t crc = ls_crc32c(chain, from, sizeof(*block) - sizeof(block->checksum));
    return ls_crc32c(crc, payload, block->length);
}

/* With each block. */
static bool progress(const struct ls_checkpoint_job *job, uint64_t bytes)
{
    return !job || !job->progress || job->progress(job->user, bytes);
}

/* ---- writing ---- */

struct writer {
    struct ls_checkpoint_sink sink; /* first: the machine writes through it */
    struct ls_checkpoint_sink *out;
    const struct ls_checkpoint_job *job;
    uint64_t total;
    uint64_t number;
    uint32_t chain;
    uint32_t kind;
    uint32_t fill;                    /* bytes of payload put so far */
    struct ls_checkpoint_block block; /* and right behind it */
    uint8_t payload[LS_CHECKPOINT_BLOCK_MAX];
};
static_assert(offsetof(struct writer, payload) == offsetof(struct writer, block) + sizeof(struct ls_checkpoint_block),
              "a block is written in one piece");

/* What was put goes out as one block. */
static int writer_emit(struct writer *w)
{
    if (w->fill == 0)
        return 0;
    w->block = (struct ls_checkpoint_block){.length = w->fill, .number = w->number++, .kind = w->kind};
    w->chain = w->block.checksum = block_checksum(w->chain, &w->block, w->payload);
    size_t size = sizeof(w->block) + w->fill;
    w->fill = 0;
    w->total += size;
    int error = w->out->write(w->out, &w->block, size);
    if (error == 0 && !progress(w->job, w->total))
        error = -ECANCELED;
    return error;
}

static int writer_put(struct writer *w, const void *bytes, size_t n)
{
    const uint8_t *from = bytes;
    while (n > 0) {
        size_t room = LS_CHECKPOINT_BLOCK_MAX - w->fill;
        size_t piece = n < room ? n : room;
        memcpy(w->payload + w->fill, from, piece);
        w->fill += (uint32_t)piece;
        from += piece;
        n -= piece;
        if (w->fill == LS_CHECKPOINT_BLOCK_MAX) {
            int error = writer_emit(w);
            if (error != 0)
                return error;
        }
    }
    return 0;
}

static int writer_of_machine(struct ls_checkpoint_sink *sink, const void *bytes, size_t n)
{
    return writer_put((struct writer *)sink, bytes, n);
}

static int write_head(struct writer *w, const struct ls_cut *cut, size_t sessions_size)
{
    struct ls_checkpoint_head head = {.magic = LS_CHECKPOINT_MAGIC,
                                      .format = LS_CHECKPOINT_FORMAT,
                                      .generation = w->job->generation,
                                      .cluster = w->job->cluster,
                                      .machine_version = w->job->type->version,
                                      .chain = cut->chain,
                                      .sessions = sessions_size,
                                      .seq = cut->seq,
                                      .position = cut->position,
                                      .time = cut->time,
                                      .digest = cut->digest,
                                      .members_seq = cut->members.seq,
                                      .epochs = cut->epochs,
                                      .members = cut->members.count,
                                      .limits = cut->limits};
    struct ls_member_record records[LS_MEMBERS_MAX];
    strncpy(head.machine, w->job->type->name, sizeof(head.machine) - 1);
    ls_membership_write(&cut->members, records);

    w->kind = LS_CHECKPOINT_INFO;
    int error = writer_put(w, &head, sizeof(head));
    if (error == 0)
        error = writer_put(w, cut->epoch, cut->epochs * sizeof(cut->epoch[0]));
    if (error == 0)
        error = writer_put(w, records, cut->members.count * sizeof(records[0]));
    return error == 0 ? writer_emit(w) : error;
}

static int write_machine(struct writer *w, struct ls_machine *machine)
{
    int more;
    w->kind = LS_CHECKPOINT_MACHINE;
    do {
        more = w->job->type->checkpoint_next(machine, &w->sink);
    } while (more > 0);
    return more == 0 ? writer_emit(w) : more;
}

static int write_trailer(struct writer *w, const struct ls_cut *cut)
{
    struct ls_checkpoint_trailer trailer = {.total = w->total + sizeof(w->block) + sizeof(trailer),
                                            .digest = cut->digest,
                                            .blocks = w->number,
                                            .chain = w->chain};
    w->kind = LS_CHECKPOINT_TRAILER;
    int error = writer_put(w, &trailer, sizeof(trailer));
    return error == 0 ? writer_emit(w) : error;
}

int ls_checkpoint_write(const struct ls_checkpoint_job *job, const struct ls_cut *cut, const uint8_t *sessions,
                        size_t sessions_size, struct ls_machine *machine, struct ls_checkpoint_sink *sink)
{
    struct writer *w = malloc(sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->sink.write = writer_of_machine;
    w->out = sink;
    w->job = job;
    w->total = 0;
    w->number = 0;
    w->chain = LS_CHECKPOINT_CHAIN_FIRST;
    w->fill = 0;
    int error = write_head(w, cut, sessions_size);
    if (error == 0) {
        w->kind = LS_CHECKPOINT_SESSIONS;
        error = writer_put(w, sessions, sessions_size);
    }
    if (error == 0)
        error = writer_emit(w);
    if (error == 0)
        error = write_machine(w, machine);
    if (error == 0)
        error = write_trailer(w, cut);
    free(w);
    return error;
}

/* ---- reading ---- */

struct reader {
    struct ls_checkpoint_source source; /* first: the machine reads through it */
    struct ls_checkpoint_source *in;
    const struct ls_checkpoint_job *job; /* NULL: nobody is told how far it is */
    uint64_t total;
    uint64_t number; /* of the next block */
    uint32_t chain;
    uint32_t chain_before; /* the block */
    uint32_t at;           /* bytes of the block that were taken */
    struct ls_checkpoint_block block;
    uint8_t payload[LS_CHECKPOINT_BLOCK_MAX];
};

static struct reader *reader_create(const struct ls_checkpoint_job *job, struct ls_checkpoint_source *source)
{
    struct reader *r = malloc(sizeof(*r));
    if (!r)
        return NULL;
    r->in = source;
    r->job = job;
    r->total = 0;
    r->number = 0;
    r->chain = LS_CHECKPOINT_CHAIN_FIRST;
    r->at = 0;
    r->block.length = 0;
    return r;
}

/* The next block, checked, whatever its kind. */
static int reader_block(struct reader *r)
{
    struct ls_checkpoint_block *block = &r->block;
    r->at = 0;
    int error = r->in->read(r->in, block, sizeof(*block));
    if (error == 0 && (block->length == 0 || block->length > LS_CHECKPOINT_BLOCK_MAX || block->zero != 0))
        error = -EBADMSG;
    if (error == 0)
        error = r->in->read(r->in, r->payload, block->length);
    if (error == 0 && (block->number != r->number || block_checksum(r->chain, block, r->payload) != block->checksum))
        error = -EBADMSG;
    if (error != 0) {
        block->length = 0;
        return error;
    }
    r->chain_before = r->chain;
    r->chain = block->checksum;
    r->number++;
    r->total += sizeof(*block) + block->length;
    return progress(r->job, r->total) ? 0 : -ECANCELED;
}

static int reader_next(struct reader *r, enum ls_checkpoint_block_kind kind)
{
    int error = reader_block(r);
    return error == 0 && r->block.kind != kind ? -EBADMSG : error;
}

/* Exactly n bytes out of blocks of one kind. */
static int reader_take(struct reader *r, enum ls_checkpoint_block_kind kind, uint8_t *to, size_t n)
{
    while (n > 0) {
        if (r->at == r->block.length) {
            int error = reader_next(r, kind);
            if (error != 0)
                return error;
        }
        size_t left = r->block.length - r->at;
        size_t piece = n < left ? n : left;
        memcpy(to, r->payload + r->at, piece);
        r->at += (uint32_t)piece;
        to += piece;
        n -= piece;
    }
    return 0;
}

static int reader_of_machine(struct ls_checkpoint_source *source, void *bytes, size_t n)
{
    return reader_take((struct reader *)source, LS_CHECKPOINT_MACHINE, bytes, n);
}

/* The parts of the head are one block, and it is exactly as long as they are. */
static int head_parse(const struct reader *r, struct ls_checkpoint_head *head, struct ls_checkpoint_info *info)
{
    struct ls_member_record records[LS_MEMBERS_MAX];
    const uint8_t *at = r->payload;
    if (r->block.length < sizeof(*head))
        return -EBADMSG;
    memcpy(head, at, sizeof(*head));
    if (head->magic != LS_CHECKPOINT_MAGIC || head->format == 0)
        return -EBADMSG;
    if (head->format != LS_CHECKPOINT_FORMAT)
        return -EPROTO;
    if (head->epochs > LS_EPOCHS_KEPT || head->members > LS_MEMBERS_MAX ||
        r->block.length !=
            sizeof(*head) + head->epochs * sizeof(struct ls_epoch_row) + head->members * sizeof(records[0]) ||
        head->machine[sizeof(head->machine) - 1] != 0)
        return -EBADMSG;

    memset(info, 0, sizeof(*info));
    info->format = head->format;
    info->generation = head->generation;
    info->cluster = head->cluster;
    memcpy(info->machine, head->machine, sizeof(info->machine));
    info->machine_version = head->machine_version;
    struct ls_cut *cut = &info->cut;
    cut->seq = head->seq;
    cut->position = head->position;
    cut->time = head->time;
    cut->digest = head->digest;
    cut->chain = head->chain;
    cut->limits = head->limits;
    cut->epochs = head->epochs;
    at += sizeof(*head);
    memcpy(cut->epoch, at, head->epochs * sizeof(cut->epoch[0]));
    at += head->epochs * sizeof(cut->epoch[0]);
    memcpy(records, at, head->members * sizeof(records[0]));
    if (head->members > 0 && !ls_membership_read(&cut->members, records, head->members))
        return -EBADMSG;
    cut->members.seq = head->members_seq;
    return ls_cut_is_sane(cut) ? 0 : -EBADMSG;
}

static int read_head(struct reader *r, struct ls_checkpoint_head *head, struct ls_checkpoint_info *info)
{
    int error = reader_next(r, LS_CHECKPOINT_INFO);
    if (error == 0)
        error = head_parse(r, head, info);
    r->at = r->block.length;
    return error;
}

/* The block at hand is the trailer of all that was read. */
static int trailer_check(const struct reader *r, const struct ls_cut *cut)
{
    struct ls_checkpoint_trailer trailer;
    if (r->block.kind != LS_CHECKPOINT_TRAILER || r->block.length != sizeof(trailer))
        return -EBADMSG;
    memcpy(&trailer, r->payload, sizeof(trailer));
    return trailer.total == r->total && trailer.digest == cut->digest && trailer.blocks == r->number - 1 &&
                   trailer.chain == r->chain_before && trailer.zero == 0
               ? 0
               : -EBADMSG;
}

int ls_checkpoint_info_read(struct ls_checkpoint_source *source, struct ls_checkpoint_info *info)
{
    struct ls_checkpoint_head head;
    struct reader *r = reader_create(NULL, source);
    if (!r)
        return -ENOMEM;
    int error = read_head(r, &head, info);
    free(r);
    return error;
}

static int sessions_read(struct reader *r, uint64_t size, uint32_t sessions_max, struct ls_sessions **sessions)
{
    if (size == 0)
        return -EBADMSG;
    if (size > ls_sessions_image_max(sessions_max))
        return -ENOSPC;
    uint8_t *bytes = ls_memory_map(size);
    if (!bytes)
        return -ENOMEM;
    int error = reader_take(r, LS_CHECKPOINT_SESSIONS, bytes, size);
    if (error == 0 && r->at != r->block.length)
        error = -EBADMSG;
    if (error == 0) {
        *sessions = ls_executor_sessions_restore(bytes, size, sessions_max);
        error = *sessions ? 0 : -errno;
    }
    ls_memory_unmap(bytes, size);
    return error;
}

static int read_all(struct reader *r, uint32_t sessions_max, struct ls_image *image)
{
    const struct ls_checkpoint_job *job = r->job;
    struct ls_checkpoint_info info;
    struct ls_checkpoint_head head;
    int error = read_head(r, &head, &info);
    if (error != 0)
        return error;
    image->older = info.generation < job->generation;
    if (info.cluster != job->cluster || info.generation > job->generation || (image->older && !job->older))
        return -EXDEV;
    if (strncmp(info.machine, job->type->name, sizeof(info.machine)) != 0 ||
        info.machine_version != job->type->version || !job->type->restore)
        return -EPROTO;
    image->cut = info.cut;
    error = sessions_read(r, head.sessions, sessions_max, &image->sessions);
    if (error == 0)
        error = job->type->restore(image->machine, &r->source);
    if (error == 0)
        error = r->at == r->block.length ? reader_block(r) : -EBADMSG; /* the machine took all */
    if (error == 0)
        error = trailer_check(r, &image->cut);
    if (error == 0 && ls_image_digest(job->type, image) != image->cut.digest)
        error = -EBADMSG; /* C1 */
    return error;
}

int ls_checkpoint_read(const struct ls_checkpoint_job *job, struct ls_checkpoint_source *source, uint32_t sessions_max,
                       struct ls_image *image)
{
    image->sessions = NULL;
    struct reader *r = reader_create(job, source);
    if (!r)
        return -ENOMEM;
    r->source.read = reader_of_machine;
    int error = read_all(r, sessions_max, image);
    if (error != 0) {
        ls_sessions_destroy(image->sessions);
        image->sessions = NULL;
    }
    free(r);
    return error;
}

/* Everything behind the head: sessions of the size that it names, something of a machine, the trailer. */
static int verify_rest(struct reader *r, const struct ls_checkpoint_head *head, const struct ls_cut *cut)
{
    uint64_t sessions = 0;
    uint64_t machine = 0;
    int error = head->sessions == 0 ? -EBADMSG : 0;
    while (error == 0 && sessions < head->sessions) {
        error = reader_next(r, LS_CHECKPOINT_SESSIONS);
        sessions += r->block.length;
    }
    if (error == 0 && sessions != head->sessions)
        error = -EBADMSG;
    /* how many blocks are the machine's, only the trailer says */
    do {
        if (error == 0)
            error = reader_block(r);
        machine += error == 0 && r->block.kind == LS_CHECKPOINT_MACHINE;
    } while (error == 0 && r->block.kind == LS_CHECKPOINT_MACHINE);
    if (error == 0)
        error = machine > 0 ? trailer_check(r, cut) : -EBADMSG;
    return error;
}

int ls_checkpoint_verify(struct ls_checkpoint_source *source, struct ls_checkpoint_info *info)
{
    struct ls_checkpoint_head head;
    struct reader *r = reader_create(NULL, source);
    if (!r)
        return -ENOMEM;
    int error = read_head(r, &head, info);
    if (error == 0)
        error = verify_rest(r, &head, &info->cut);
    free(r);
    return error;
}
