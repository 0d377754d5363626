/* SPDX-License-Identifier: BSD-3-Clause */
/* The frames of a bulk connection: checked whole before anything of them is used. No state. */
#include "transfer_internal.h"

#include <string.h>

#include "../../dataplane/core/wire.h"

static const char *file_check(const struct ls_bulk_file *file)
{
    if (file->zero != 0)
        return "a frame with a reserved field that is not zero";
    if (file->seq == 0 || file->size == 0 || file->size > INT64_MAX || file->offset > file->size)
        return "a file whose size cannot be";
    return NULL;
}

static const char *ask_check(const uint8_t *body)
{
    struct ls_bulk_ask ask;

    memcpy(&ask, body, sizeof(ask));
    return ask.held.seq == 0 ? NULL : file_check(&ask.held);
}

static const char *offer_check(const uint8_t *body)
{
    struct ls_bulk_file file;

    memcpy(&file, body, sizeof(file));
    return file_check(&file);
}

static const char *chunk_check(const uint8_t *body, size_t size)
{
    struct ls_bulk_chunk chunk;

    memcpy(&chunk, body, sizeof(chunk));
    if (chunk.zero != 0)
        return "a frame with a reserved field that is not zero";
    if (ls_crc32c(0, body + sizeof(chunk), size - sizeof(chunk)) != chunk.crc)
        return "a piece that was damaged on its way";
    return NULL;
}

const char *ls_bulk_check(enum ls_bulk_direction direction, const uint8_t *frame, size_t size)
{
    struct ls_bulk_head head;
    const uint8_t *body = frame + sizeof(head);
    size_t fixed, tail;

    if (size < sizeof(head))
        return "a frame shorter than its head";
    memcpy(&head, frame, sizeof(head));
    if (head.length != size - sizeof(head.length))
        return "a frame of another length than it says";
    size -= sizeof(head);
    if ((head.type == LS_BULK_ASK || head.type == LS_BULK_BAD) != (direction == LS_BULK_TO_SENDER))
        return "a frame of a type that this end does not take";
    switch (head.type) {
    case LS_BULK_ASK:
        return size == sizeof(struct ls_bulk_ask) ? ask_check(body) : "a question of a wrong size";
    case LS_BULK_BAD:
        return size == 0 ? NULL : "a frame of a wrong size";
    case LS_BULK_FILE:
        return size == sizeof(struct ls_bulk_file) ? offer_check(body) : "a file's description of a wrong size";
    case LS_BULK_CHUNK:
        fixed = sizeof(struct ls_bulk_chunk), tail = LS_BULK_CHUNK_MAX;
        if (size <= fixed || size > fixed + tail)
            return "a piece of a wrong size";
        return chunk_check(body, size);
    case LS_BULK_WAIT:
        return size <= LS_BULK_TEXT_MAX ? NULL : "a text too long";
    case LS_BULK_REFUSE:
        fixed = sizeof(struct ls_bulk_refuse);
        return size >= fixed && size <= fixed + LS_BULK_TEXT_MAX ? NULL : "a text too long, or a frame too short";
    default:
        return "a frame of unknown type";
    }
}

/* The most of the frames that go this way, without the length itself: what is longer would be waited for behind a full
 * buffer for ever. */
static uint32_t length_max(enum ls_bulk_direction direction)
{
    return direction == LS_BULK_TO_SENDER ? sizeof(struct ls_bulk_head) + sizeof(struct ls_bulk_ask) - sizeof(uint32_t)
                                          : LS_BULK_FRAME_MAX - sizeof(uint32_t);
}

long ls_bulk_next(enum ls_bulk_direction direction, const uint8_t *bytes, size_t size, const char **why)
{
    uint32_t length;

    if (size < sizeof(length))
        return 0;
    memcpy(&length, bytes, sizeof(length));
    if (length > length_max(direction) || length < sizeof(uint32_t)) {
        *why = "a frame of a length that cannot be";
        return -1;
    }
    if (size < sizeof(length) + length)
        return 0;
    *why = ls_bulk_check(direction, bytes, sizeof(length) + length);
    return *why != NULL ? -1 : (long)(sizeof(length) + length);
}

long ls_bulk_take(struct evbuffer *in, enum ls_bulk_direction direction, uint8_t *frame, const char **why)
{
    ssize_t there = evbuffer_copyout(in, frame, LS_BULK_FRAME_MAX);
    long size = ls_bulk_next(direction, frame, there > 0 ? (size_t)there : 0, why);

    if (size > 0)
        (void)evbuffer_drain(in, (size_t)size);
    return size;
}

int ls_bulk_send(struct bufferevent *bev, enum ls_bulk_type type, const void *body, size_t size, const void *tail,
                 size_t tail_size)
{
    struct ls_bulk_head head = {.length = (uint32_t)(sizeof(head.type) + size + tail_size), .type = type};
    struct evbuffer *out = bufferevent_get_output(bev);

    if (evbuffer_expand(out, sizeof(head) + size + tail_size) != 0)
        return -1;
    (void)evbuffer_add(out, &head, sizeof(head));
    if (size > 0)
        (void)evbuffer_add(out, body, size);
    if (tail_size > 0)
        (void)evbuffer_add(out, tail, tail_size);
    return 0;
}
