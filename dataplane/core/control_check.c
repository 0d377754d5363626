/* SPDX-License-Identifier: BSD-3-Clause */
/* One table of types, and a function for each body that has more to it than its size. See control_check.h. */
#include "control_check.h"

#include <string.h>

#include <lockstep/counters.h>
#include <lockstep/entry.h>
#include <lockstep/membership.h>

/* `body` has at least the shape's size; `rest` bytes follow it. NULL: right. */
typedef const char *(*body_check)(const uint8_t *body, size_t rest);

enum number { ASKS, ANSWERS, EVENT };

struct shape {
    uint32_t type;
    enum number number; /* ASKS goes to the dataplane, the others to ctrl; an EVENT's id is 0, the others' is not */
    size_t size;
    bool open_end; /* more may follow */
    body_check check;
};

static const char members_wrong[] = "a membership that is malformed";
static const char zero_wrong[] = "a message with a reserved field that is not zero";
static const char sense_wrong[] = "a message with fields that make no sense";
static const char tail_wrong[] = "a message that is longer or shorter than it says";
static const char text_wrong[] = "an answer with a text too long";

static bool id_is_valid(uint16_t node)
{
    return node >= 1 && node <= LS_NODE_ID_MAX;
}

static const char *records_check(const uint8_t *records, size_t size, uint16_t count)
{
    struct ls_member_record record[LS_MEMBERS_MAX];
    struct ls_membership members;

    if (size != count * sizeof(record[0]))
        return tail_wrong;
    if (count == 0)
        return NULL;
    if (count > LS_MEMBERS_MAX)
        return members_wrong;
    memcpy(record, records, size);
    return ls_membership_read(&members, record, count) ? NULL : members_wrong;
}

/* ---- to the dataplane ---- */

static const char *seal_check(const uint8_t *body, size_t rest)
{
    struct ls_control_epoch epoch;

    (void)rest;
    memcpy(&epoch, body, sizeof(epoch));
    if (epoch.zero16 != 0 || epoch.zero32 != 0)
        return zero_wrong;
    return epoch.epoch == 0 || epoch.incarnation != 0 || epoch.node != 0 ? sense_wrong : NULL;
}

static const char *install_check(const uint8_t *body, size_t rest)
{
    struct ls_control_epoch epoch;

    (void)rest;
    memcpy(&epoch, body, sizeof(epoch));
    if (epoch.zero16 != 0 || epoch.zero32 != 0)
        return zero_wrong;
    return epoch.epoch == 0 || epoch.incarnation == 0 || epoch.node != 0 ? sense_wrong : NULL;
}

static const char *count_check(const uint8_t *body, size_t rest)
{
    struct ls_control_epoch epoch;

    (void)rest;
    memcpy(&epoch, body, sizeof(epoch));
    if (epoch.zero16 != 0 || epoch.zero32 != 0)
        return zero_wrong;
    return epoch.incarnation == 0 || epoch.node != 0 ? sense_wrong : NULL;
}

static const char *log_check(const uint8_t *body, size_t rest)
{
    struct ls_control_log log;

    (void)rest;
    memcpy(&log, body, sizeof(log));
    return log.zero != 0 ? zero_wrong : NULL;
}

static const char *fault_check(const uint8_t *body, size_t rest)
{
    struct ls_control_fault fault;

    (void)rest;
    memcpy(&fault, body, sizeof(fault));
    return fault.zero != 0 ? zero_wrong : NULL; /* ranges: ls_fault_check(), which can say more about them */
}

static const char *found_check(const uint8_t *body, size_t rest)
{
    struct ls_control_members members;

    memcpy(&members, body, sizeof(members));
    if (members.zero != 0)
        return zero_wrong;
    if (members.seq != 0 || members.epoch != 0 || members.committed != 0 || members.members == 0)
        return sense_wrong;
    return records_check(body + sizeof(members), rest, members.members);
}

static const char *change_check(const uint8_t *body, size_t rest)
{
    struct ls_control_members members;

    memcpy(&members, body, sizeof(members));
    if (members.zero != 0)
        return zero_wrong;
    if (members.epoch == 0 || members.committed != 0 || members.members == 0)
        return sense_wrong;
    return records_check(body + sizeof(members), rest, members.members);
}

static const char *join_check(const uint8_t *body, size_t rest)
{
    struct ls_control_join join;

    memcpy(&join, body, sizeof(join));
    if (join.zero != 0)
        return zero_wrong;
    if (join.epoch == 0 || join.incarnation == 0 || join.sequencer_incarnation == 0 || !id_is_valid(join.sequencer) ||
        join.members == 0)
        return sense_wrong;
    return records_check(body + sizeof(join), rest, join.members);
}

static const char *admit_check(const uint8_t *body, size_t rest)
{
    struct ls_control_admit admit;

    (void)rest;
    memcpy(&admit, body, sizeof(admit));
    if (admit.zero16 != 0 || admit.zero32 != 0)
        return zero_wrong;
    return admit.epoch == 0 || admit.incarnation == 0 || admit.joining == 0 || !id_is_valid(admit.node) ? sense_wrong
                                                                                                        : NULL;
}

static const char *handover_check(const uint8_t *body, size_t rest)
{
    struct ls_control_handover handover;

    (void)rest;
    memcpy(&handover, body, sizeof(handover));
    if (handover.zero16 != 0 || handover.zero32 != 0)
        return zero_wrong;
    return handover.epoch == 0 || handover.patience == 0 || !id_is_valid(handover.node) ? sense_wrong : NULL;
}

static const char *restore_check(const uint8_t *body, size_t rest)
{
    struct ls_control_path path;
    const uint8_t *text = body + sizeof(path);

    memcpy(&path, body, sizeof(path));
    if (path.zero32 != 0)
        return zero_wrong;
    if (path.older > 1)
        return sense_wrong;
    if (path.length != rest)
        return tail_wrong;
    if (rest == 0 || rest > LS_CONTROL_PATH_MAX || text[0] != '/' || memchr(text, 0, rest) != NULL)
        return "a path that is not absolute, too long, or has a zero byte";
    return NULL;
}

static const char *checkpoint_check(const uint8_t *body, size_t rest)
{
    struct ls_control_path path;

    memcpy(&path, body, sizeof(path));
    return path.older != 0 ? sense_wrong : restore_check(body, rest);
}

static const char *slow_check(const uint8_t *body, size_t rest)
{
    struct ls_control_slow slow;

    (void)rest;
    memcpy(&slow, body, sizeof(slow));
    return slow.zero != 0 ? zero_wrong : NULL; /* worker and times: the link, which can say more about them */
}

/* ---- to ctrl ---- */

static const char *sealed_check(const uint8_t *body, size_t rest)
{
    struct ls_control_sealed sealed;

    memcpy(&sealed, body, sizeof(sealed));
    if (sealed.zero != 0)
        return zero_wrong;
    if (sealed.incarnation == 0 || sealed.counts > 1)
        return sense_wrong;
    return records_check(body + sizeof(sealed), rest, sealed.members);
}

static const char *installed_check(const uint8_t *body, size_t rest)
{
    struct ls_control_installed installed;

    (void)rest;
    memcpy(&installed, body, sizeof(installed));
    return installed.zero != 0 ? zero_wrong : NULL;
}

/* Whole entries, one behind the other; the last one without its operation where `skipped` says so. */
static const char *log_bytes_check(const uint8_t *body, size_t rest)
{
    const char *within = "log bytes that end within an entry";
    struct ls_control_log_bytes head;
    struct ls_entry entry;
    uint64_t at = 0, seq = 0, step;

    memcpy(&head, body, sizeof(head));
    body += sizeof(head);
    if (head.bytes != rest || head.skipped > 1)
        return "log bytes of another length than they say";
    while (at < rest) {
        if (rest - at < sizeof(entry))
            return within;
        memcpy(&entry, body + at, sizeof(entry));
        if (entry.length > LS_OP_MAX)
            return "log bytes with an entry larger than any";
        if (seq != 0 && entry.seq != seq + 1)
            return "log bytes with a hole between entries";
        seq = entry.seq;
        step = ls_entry_size(entry.length);
        if (head.skipped && rest - at == sizeof(entry))
            step = sizeof(entry);
        if (step > rest - at)
            return within;
        at += step;
    }
    return seq != 0 && head.next_seq != seq + 1 ? "log bytes that do not end where they say" : NULL;
}

static const char *done_check(const uint8_t *body, size_t rest)
{
    struct ls_control_done done;

    memcpy(&done, body, sizeof(done));
    if (done.zero != 0)
        return zero_wrong;
    return rest > LS_CONTROL_TEXT_MAX ? text_wrong : NULL;
}

static const char *admitted_check(const uint8_t *body, size_t rest)
{
    struct ls_control_admitted admitted;

    (void)rest;
    memcpy(&admitted, body, sizeof(admitted));
    if (admitted.zero16 != 0)
        return zero_wrong;
    return !id_is_valid(admitted.node) ? sense_wrong : NULL;
}

static const char *changed_check(const uint8_t *body, size_t rest)
{
    struct ls_control_changed changed;

    (void)rest;
    memcpy(&changed, body, sizeof(changed));
    if (changed.zero != 0)
        return zero_wrong;
    return (changed.seq == 0) != (changed.refused != 0) ? sense_wrong : NULL;
}

/* EPOCH_SEEN: an epoch, and a node unless it was a stranger's frame. */
static const char *seen_check(const uint8_t *body, size_t rest)
{
    struct ls_control_epoch epoch;

    (void)rest;
    memcpy(&epoch, body, sizeof(epoch));
    if (epoch.zero16 != 0 || epoch.zero32 != 0)
        return zero_wrong;
    return epoch.epoch == 0 || epoch.incarnation != 0 || (epoch.node != 0 && !id_is_valid(epoch.node)) ? sense_wrong
                                                                                                       : NULL;
}

/* HANDED: an epoch and a node. */
static const char *node_check(const uint8_t *body, size_t rest)
{
    struct ls_control_epoch epoch;

    (void)rest;
    memcpy(&epoch, body, sizeof(epoch));
    if (epoch.zero16 != 0 || epoch.zero32 != 0)
        return zero_wrong;
    return epoch.epoch == 0 || epoch.incarnation != 0 || !id_is_valid(epoch.node) ? sense_wrong : NULL;
}

static const char *checkpoint_done_check(const uint8_t *body, size_t rest)
{
    struct ls_control_checkpoint checkpoint;

    memcpy(&checkpoint, body, sizeof(checkpoint));
    if (checkpoint.zero != 0)
        return zero_wrong;
    return rest > LS_CONTROL_TEXT_MAX ? text_wrong : NULL;
}

static const char *progress_check(const uint8_t *body, size_t rest)
{
    struct ls_control_checkpoint checkpoint;

    (void)rest;
    memcpy(&checkpoint, body, sizeof(checkpoint));
    if (checkpoint.zero != 0)
        return zero_wrong;
    return checkpoint.error != 0 ? sense_wrong : NULL;
}

static const char *ready_check(const uint8_t *body, size_t rest)
{
    struct ls_control_ready ready;

    (void)rest;
    memcpy(&ready, body, sizeof(ready));
    return ready.incarnation == 0 || ready.pid == 0 || ready.resumed > 1 || ready.zero != 0 ? sense_wrong : NULL;
}

static const char *role_check(const uint8_t *body, size_t rest)
{
    struct ls_control_role role;

    (void)rest;
    memcpy(&role, body, sizeof(role));
    if (role.zero != 0)
        return zero_wrong;
    return role.role > LS_ROLE_BEHIND || role.sequencer > LS_NODE_ID_MAX ? sense_wrong : NULL;
}

static const char *reached_check(const uint8_t *body, size_t rest)
{
    struct ls_control_epoch epoch;

    (void)rest;
    memcpy(&epoch, body, sizeof(epoch));
    if (epoch.zero16 != 0 || epoch.zero32 != 0)
        return zero_wrong;
    return epoch.epoch == 0 || epoch.incarnation == 0 || epoch.node != 0 ? sense_wrong : NULL;
}

static const char *members_check(const uint8_t *body, size_t rest)
{
    struct ls_control_members members;

    memcpy(&members, body, sizeof(members));
    if (members.zero != 0)
        return zero_wrong;
    if (members.epoch != 0 || members.committed > 1)
        return sense_wrong;
    return records_check(body + sizeof(members), rest, members.members);
}

static const struct shape shapes[] = {
    {LS_CONTROL_SEAL, ASKS, sizeof(struct ls_control_epoch), false, seal_check},
    {LS_CONTROL_INSTALL, ASKS, sizeof(struct ls_control_epoch), false, install_check},
    {LS_CONTROL_LOG, ASKS, sizeof(struct ls_control_log), false, log_check},
    {LS_CONTROL_STOP, ASKS, 0, false, NULL},
    {LS_CONTROL_FAULT, ASKS, sizeof(struct ls_control_fault), false, fault_check},
    {LS_CONTROL_PING, ASKS, 0, false, NULL},
    {LS_CONTROL_FOUND, ASKS, sizeof(struct ls_control_members), true, found_check},
    {LS_CONTROL_JOIN, ASKS, sizeof(struct ls_control_join), true, join_check},
    {LS_CONTROL_COUNT, ASKS, sizeof(struct ls_control_epoch), false, count_check},
    {LS_CONTROL_ADMIT, ASKS, sizeof(struct ls_control_admit), false, admit_check},
    {LS_CONTROL_CHANGE, ASKS, sizeof(struct ls_control_members), true, change_check},
    {LS_CONTROL_HANDOVER, ASKS, sizeof(struct ls_control_handover), false, handover_check},
    {LS_CONTROL_CHECKPOINT, ASKS, sizeof(struct ls_control_path), true, checkpoint_check},
    {LS_CONTROL_RESTORE, ASKS, sizeof(struct ls_control_path), true, restore_check},
    {LS_CONTROL_FLIP, ASKS, sizeof(struct ls_control_flip), false, NULL},
    {LS_CONTROL_TRIM, ASKS, sizeof(struct ls_control_trim), false, NULL},
    {LS_CONTROL_DISK_FAULT, ASKS, sizeof(struct ls_control_disk_fault), false, NULL}, /* ls_disk_fault_check() */
    {LS_CONTROL_SLOW, ASKS, sizeof(struct ls_control_slow), false, slow_check},
    {LS_CONTROL_SEALED, ANSWERS, sizeof(struct ls_control_sealed), true, sealed_check},
    {LS_CONTROL_INSTALLED, ANSWERS, sizeof(struct ls_control_installed), false, installed_check},
    {LS_CONTROL_LOG_BYTES, ANSWERS, sizeof(struct ls_control_log_bytes), true, log_bytes_check},
    {LS_CONTROL_DONE, ANSWERS, sizeof(struct ls_control_done), true, done_check},
    {LS_CONTROL_ADMITTED, ANSWERS, sizeof(struct ls_control_admitted), false, admitted_check},
    {LS_CONTROL_CHANGED, ANSWERS, sizeof(struct ls_control_changed), false, changed_check},
    {LS_CONTROL_HANDED, ANSWERS, sizeof(struct ls_control_epoch), false, node_check},
    {LS_CONTROL_CHECKPOINT_DONE, ANSWERS, sizeof(struct ls_control_checkpoint), true, checkpoint_done_check},
    {LS_CONTROL_READY, EVENT, sizeof(struct ls_control_ready), false, ready_check},
    {LS_CONTROL_EPOCH_SEEN, EVENT, sizeof(struct ls_control_epoch), false, seen_check},
    {LS_CONTROL_ROLE, EVENT, sizeof(struct ls_control_role), false, role_check},
    {LS_CONTROL_REACHED, EVENT, sizeof(struct ls_control_epoch), false, reached_check},
    {LS_CONTROL_MEMBERS, EVENT, sizeof(struct ls_control_members), true, members_check},
    {LS_CONTROL_PROGRESS, EVENT, sizeof(struct ls_control_checkpoint), false, progress_check},
    {LS_CONTROL_DAMAGED, EVENT, sizeof(struct ls_control_damaged), false, NULL},
};

static const struct shape *shape_find(enum ls_control_direction direction, uint32_t type)
{
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        if (shapes[i].type == type && (shapes[i].number == ASKS) == (direction == LS_CONTROL_TO_DATAPLANE))
            return &shapes[i];
    return NULL;
}

const char *ls_control_check(enum ls_control_direction direction, const uint8_t *message, size_t size)
{
    struct ls_control_header header;
    const struct shape *shape;

    if (size < sizeof(header))
        return "a message shorter than its header";
    if (size > LS_CONTROL_MESSAGE_MAX)
        return "a message larger than any";
    memcpy(&header, message, sizeof(header));
    if (header.version != LS_CONTROL_VERSION)
        return "a message of another version: install lockstep-ctrl and lockstep-dataplane together";
    if (header.zero != 0)
        return zero_wrong;
    if (header.size != size - sizeof(header))
        return "a message whose size is not that of its packet";
    shape = shape_find(direction, header.type);
    if (shape == NULL)
        return "a message of unknown type";
    if ((shape->number == EVENT) != (header.id == 0))
        return "a message with a number where there is none, or without one";
    if (shape->open_end ? header.size < shape->size : header.size != shape->size)
        return "a message whose body is not of its type's size";
    return shape->check != NULL ? shape->check(message + sizeof(header), header.size - shape->size) : NULL;
}
