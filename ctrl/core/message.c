/* SPDX-License-Identifier: BSD-3-Clause */
/* One table of types and sizes, and the few fields that have a meaning of their own. See message.h. */
#include "message.h"

#include <stdbool.h>
#include <string.h>

#include <lockstep/entry.h>

struct shape {
    uint32_t type;
    size_t size;
    bool open_end; /* more may follow */
    bool event;    /* id 0; else an answer, id not 0 */
};
static const struct shape shapes[] = {
    {LS_CONTROL_SEALED, sizeof(struct ls_control_sealed), false, false},
    {LS_CONTROL_INSTALLED, sizeof(struct ls_control_installed), false, false},
    {LS_CONTROL_LOG_BYTES, sizeof(struct ls_control_log_bytes), true, false},
    {LS_CONTROL_DONE, sizeof(struct ls_control_done), true, false},
    {LS_CONTROL_READY, sizeof(struct ls_control_ready), false, true},
    {LS_CONTROL_EPOCH_SEEN, sizeof(struct ls_control_epoch), false, true},
    {LS_CONTROL_ROLE, sizeof(struct ls_control_role), false, true},
};

/* Whole entries, one behind the other; the last one without its operation where `skipped` says so. */
static const char *log_bytes_check(const uint8_t *body, size_t size)
{
    struct ls_control_log_bytes head;
    struct ls_entry entry;
    uint64_t at = sizeof(head), seq = 0, step = 0;

    memcpy(&head, body, sizeof(head));
    if (head.bytes != size - sizeof(head) || head.skipped > 1)
        return "log bytes of another length than they say";
    while (at < size) {
        if (size - at < sizeof(entry))
            return "log bytes that end within an entry";
        memcpy(&entry, body + at, sizeof(entry));
        if (entry.length > LS_OP_MAX)
            return "log bytes with an entry larger than any";
        if (seq != 0 && entry.seq != seq + 1)
            return "log bytes with a hole between entries";
        seq = entry.seq;
        step = ls_entry_size(entry.length);
        if (head.skipped && size - at == sizeof(entry))
            step = sizeof(entry);
        if (step > size - at)
            return "log bytes that end within an entry";
        at += step;
    }
    if (seq != 0 && head.next_seq != seq + 1)
        return "log bytes that do not end where they say";
    return NULL;
}

const char *ls_message_check(const uint8_t *message, size_t size)
{
    struct ls_control_header header;
    const struct shape *shape = NULL;
    struct ls_control_done done;

    if (size < sizeof(header))
        return "a message shorter than its header";
    memcpy(&header, message, sizeof(header));
    if (header.version != LS_CONTROL_VERSION)
        return "a message of another version: install lockstep-ctrl and lockstep-dataplane together";
    if (header.zero != 0)
        return "a message with a reserved field that is not zero";
    if (header.size != size - sizeof(header))
        return "a message whose size is not that of its packet";
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        if (shapes[i].type == header.type)
            shape = &shapes[i];
    if (shape == NULL)
        return "a message of unknown type";
    if (shape->event != (header.id == 0))
        return "a message with a number where there is none, or without one";
    if (shape->open_end ? header.size < shape->size : header.size != shape->size)
        return "a message whose body is not of its type's size";
    if (header.type == LS_CONTROL_LOG_BYTES)
        return log_bytes_check(message + sizeof(header), header.size);
    if (header.type == LS_CONTROL_DONE) {
        memcpy(&done, message + sizeof(header), sizeof(done));
        if (done.zero != 0 || header.size > sizeof(done) + LS_CONTROL_TEXT_MAX)
            return "an answer with a reserved field that is not zero, or a text too long";
    }
    return NULL;
}
