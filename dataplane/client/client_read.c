/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads of the client core: not ordered, so any of the 64 slots that is free will do. A read's number is a count and
 * its slot, never used twice; the session field of its records carries a random number of the client, so that answers
 * to an earlier user of the same port are recognised. One thread.
 */
#include <errno.h>
#include <string.h>

#include "client_internal.h"

int ls_client_core_read(struct ls_client_core *c, const void *operation, uint32_t length,
                        enum ls_consistency consistency, uint64_t least, ls_client_done done, void *user,
                        uint64_t now_ns)
{
    if (length > LS_READ_OP_MAX)
        return -EMSGSIZE;
    if ((uint32_t)__builtin_popcountll(c->reads.used) >= c->window)
        return -EAGAIN;
    uint32_t i = (uint32_t)__builtin_ctzll(~c->reads.used);
    struct read_buffer *buffer = &c->read_buffer[i];
    uint64_t number = ++c->read_count << 6 | i;
    if (length & 7)
        memset(buffer->operation + (length & ~7u), 0, 8);
    if (length > 0)
        memcpy(buffer->operation, operation, length);
    buffer->record = (struct ls_read_record){
        .session = c->reader,
        .number = number,
        .least = least,
        .consistency = (uint16_t)consistency,
        .length = length,
    };
    c->reads.slot[i] = (struct slot){.done = done, .user = user, .submit_ns = now_ns, .number = number};
    c->reads.used |= 1ull << i;
    c->reads.want |= 1ull << i;
    c->reads.timer_ns = min_u64(c->reads.timer_ns, now_ns + c->give_up_ns);
    return 0;
}

static void read_complete(struct ls_client_core *c, uint32_t i, struct ls_client_result *result)
{
    struct slot copy = c->reads.slot[i];
    c->reads.used &= ~(1ull << i);
    c->reads.want &= ~(1ull << i);
    result->retries = copy.retries;
    result->session = c->reader;
    result->number = copy.number;
    if (copy.done)
        copy.done(copy.user, result);
}

/* The slot of the read with that number, if it is out; or SLOTS. */
static uint32_t read_find(const struct ls_client_core *c, uint64_t session, uint64_t number)
{
    uint32_t i = (uint32_t)number & SLOT_MASK;
    const struct slot *slot = &c->reads.slot[i];
    bool found =
        session == c->reader && (c->reads.used >> i & 1) && slot->number == number && (slot->flags & SLOT_SENT);
    return found ? i : SLOTS;
}

void ls_client_reads_reply(struct ls_client_core *c, const struct ls_frame_header *header,
                           const struct ls_reply_record *record, bool *sampled, uint64_t now_ns)
{
    uint32_t i = read_find(c, record->session, record->number);
    if (i == SLOTS)
        return;
    const struct slot *slot = &c->reads.slot[i];
    if (!*sampled) {
        *sampled = true;
        if (slot->retries == 0)
            ls_client_estimate(c, &c->reads.estimate, elapsed_ns(now_ns, slot->sent_ns));
        else
            ls_client_estimate_repeated(c, &c->reads.estimate, elapsed_ns(now_ns, slot->submit_ns));
    }
    ls_client_read_path(c)->rotations = 0;
    c->last_seq = max_u64(c->last_seq, record->seq);
    struct ls_client_result result = {
        .outcome = LS_CLIENT_DONE,
        .status = record->status,
        .durability = record->durability,
        .seq = record->seq,
        .epoch = header->epoch,
        .age = record->age,
        .bytes = (const uint8_t *)(record + 1),
        .length = record->length,
    };
    read_complete(c, i, &result);
}

void ls_client_reads_busy(struct ls_client_core *c, struct ls_addr from, const struct ls_busy_body *busy,
                          uint64_t now_ns)
{
    struct path *path = ls_client_read_path(c);
    uint32_t i = read_find(c, busy->session, busy->number);
    if (i == SLOTS || (c->reads.want >> i & 1) || !ls_addr_equal(c->peer[path->at].addr, from))
        return;
    ls_client_slot_busy(c, &c->reads, path, i, busy, now_ns);
}

static void reads_give_up(struct ls_client_core *c, uint64_t now_ns)
{
    for (uint64_t left = c->reads.used; left; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(left);
        /* a completion may have used the slot again: then its time is not over */
        if (!(c->reads.used >> i & 1) || elapsed_ns(now_ns, c->reads.slot[i].submit_ns) < c->give_up_ns)
            continue;
        struct ls_client_result result = {.outcome = LS_CLIENT_UNKNOWN, .status = c->reads.slot[i].told};
        read_complete(c, i, &result);
    }
}

bool ls_client_reads_poll(struct ls_client_core *c, uint64_t now_ns)
{
    struct path *path = ls_client_read_path(c);
    if (now_ns >= c->reads.timer_ns) {
        reads_give_up(c, now_ns);
        ls_client_lane_due(c, &c->reads, path, now_ns);
    }
    struct batch batch = {.end = NULL};
    for (uint64_t left = c->reads.want; left; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(left);
        const struct read_buffer *buffer = &c->read_buffer[i];
        uint32_t size = (uint32_t)sizeof(buffer->record) + ls_pad8(buffer->record.length);
        if (!ls_client_batch_room(c, &batch, LS_FRAME_READ, path, size)) {
            ls_client_batch_send(c, &batch);
            return false;
        }
        record_copy(batch.end, buffer, size);
        batch.end += size;
        batch.room -= size;
        ls_client_slot_sent(c, &c->reads, path, i, now_ns);
    }
    ls_client_batch_send(c, &batch);
    return true;
}
