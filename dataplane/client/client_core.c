/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client's half of the protocol; see client_core.h. This file owns the session, the requests and their order;
 * client_path.c says when to try again and where, client_read.c owns reads. One thread, no clock, no allocation after
 * create.
 *
 * Requests are numbered without holes and the cluster executes them by number, so everything here is an array of 64
 * slots indexed by number and words with one bit per slot. `base` is the lowest number whose fate is not known: no
 * number may leave before the cluster has said what became of it, or those behind it would wait for ever.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client_internal.h"

#define RTO_FIRST_NS    (10ull * 1000 * 1000)
#define RETRY_MIN_NS    (1ull * 1000 * 1000)
#define RETRY_MAX_NS    (250ull * 1000 * 1000)
#define RETRY_BOUND_NS  (1ull << 40) /* so that doublings do not wrap */
#define SENT_ALREADY(c) ((c)->requests.used & ~(c)->requests.want)

/* ---- creation ---- */

static bool config_is_sane(const struct ls_client_config *config)
{
    if (config->nodes < 1 || config->nodes > LS_MEMBERS_MAX || config->first >= config->nodes)
        return false;
    if (config->window < 1 || config->window > LS_WINDOW_MAX || config->op_max < 1 || config->op_max > LS_OP_MAX)
        return false;
    if (config->read_node > config->nodes || (config->read_pinned && config->read_node == 0))
        return false;
    for (uint32_t i = 0; i < config->nodes; i++)
        if (config->node[i].ip == 0 || config->node[i].port == 0)
            return false;
    return true;
}

static bool take_memory(struct ls_client_core *c)
{
    c->request_buffer = aligned_alloc(64, SLOTS * sizeof(*c->request_buffer));
    c->read_buffer = aligned_alloc(64, SLOTS * sizeof(*c->read_buffer));
    bool whole = c->request_buffer && c->read_buffer;
    if (c->op_max > LS_OP_SMALL_MAX) {
        for (uint32_t i = 0; i < LARGE_MAX; i++) {
            c->large[i] = malloc(c->op_max);
            whole = whole && c->large[i];
        }
        c->large_free = (1u << LARGE_MAX) - 1;
    }
    return whole;
}

struct ls_client_core *ls_client_core_create(const struct ls_client_config *config, struct ls_io *io, uint64_t now_ns)
{
    if (!config_is_sane(config)) {
        errno = EINVAL;
        return NULL;
    }
    struct ls_client_core *c = aligned_alloc(64, sizeof(*c));
    if (!c)
        return NULL;
    memset(c, 0, sizeof(*c));
    c->io = io;
    c->identity.cluster = config->cluster;
    c->identity.generation = config->generation;
    c->identity.group = config->group;
    c->window = config->window;
    c->op_max = config->op_max;
    c->retry_min_ns = config->retry_min_ns ? config->retry_min_ns : RETRY_MIN_NS;
    c->retry_min_ns = min_u64(c->retry_min_ns, RETRY_BOUND_NS);
    c->retry_max_ns = max_u64(config->retry_max_ns ? config->retry_max_ns : RETRY_MAX_NS, c->retry_min_ns);
    c->retry_max_ns = min_u64(c->retry_max_ns, RETRY_BOUND_NS);
    c->give_up_ns = config->give_up_ns ? min_u64(config->give_up_ns, NEVER / 4) : NEVER / 4;
    c->lazy = config->open_late;
    memcpy(c->nonce, config->nonce, sizeof(c->nonce));
    memcpy(&c->reader, config->nonce, sizeof(c->reader));
    c->reader |= 1;

    c->peers = c->configured = config->nodes;
    for (uint32_t i = 0; i < config->nodes; i++)
        c->peer[i].addr = config->node[i];
    c->requests_to.at = config->first;
    c->read_apart = config->read_node != 0;
    c->read_pinned = config->read_pinned;
    if (c->read_apart)
        c->reads_to.at = config->read_node - 1;

    c->base = c->next = 1;
    c->open_due_ns = now_ns;
    c->requests.timer_ns = c->reads.timer_ns = NEVER;
    uint64_t first = min_u64(max_u64(RTO_FIRST_NS, c->retry_min_ns), c->retry_max_ns);
    c->requests.estimate.rto = c->reads.estimate.rto = first;
    if (!take_memory(c)) {
        ls_client_core_destroy(c);
        errno = ENOMEM;
        return NULL;
    }
    return c;
}

void ls_client_core_destroy(struct ls_client_core *client)
{
    if (!client)
        return;
    for (uint32_t i = 0; i < LARGE_MAX; i++)
        free(client->large[i]);
    free(client->request_buffer);
    free(client->read_buffer);
    free(client);
}

/* ---- frames out ---- */

bool ls_client_batch_room(struct ls_client_core *c, struct batch *batch, uint8_t type, const struct path *path,
                          uint32_t size)
{
    if (batch->end && batch->room < size)
        ls_client_batch_send(c, batch);
    if (!batch->end) {
        if (!c->io->alloc(c->io, &batch->frame))
            return false;
        batch->frame.peer = c->peer[path->at].addr;
        batch->end = ls_frame_begin(&c->identity, batch->frame.data, type, c->epoch);
        batch->room = LS_FRAME_BODY_MAX;
    }
    return true;
}

void ls_client_batch_send(struct ls_client_core *c, struct batch *batch)
{
    if (!batch->end)
        return;
    batch->frame.length = ls_frame_end(batch->frame.data, batch->end);
    c->io->send(c->io, &batch->frame);
    batch->end = NULL;
}

static bool send_open(struct ls_client_core *c, uint64_t now_ns)
{
    struct batch batch = {.end = NULL};
    if (!ls_client_batch_room(c, &batch, LS_FRAME_REQUEST, &c->requests_to, 0))
        return false;
    const struct ls_request_record record = {.kind = LS_REQUEST_OPEN, .length = LS_NONCE_SIZE};
    memcpy(batch.end, &record, sizeof(record));
    memcpy(batch.end + sizeof(record), c->nonce, LS_NONCE_SIZE);
    batch.end += sizeof(record) + LS_NONCE_SIZE;
    ls_client_batch_send(c, &batch);
    c->open_sent_ns = c->open_sent ? 0 : now_ns;
    c->open_due_ns = now_ns + ls_client_retry_delay(c, c->requests.estimate.rto, &c->requests_to, c->open_backoff);
    c->open_sent = true;
    c->open_busy = false;
    return true;
}

static bool poll_open(struct ls_client_core *c, uint64_t now_ns)
{
    if (c->session != 0 || c->lost || (c->lazy && c->next == 1) || now_ns < c->open_due_ns)
        return true;
    if (c->open_sent) {
        if (!c->open_busy && c->open_backoff < BACKOFF_MAX)
            c->open_backoff++;
        ls_client_path_count(c, &c->requests_to, !c->open_busy, now_ns);
    }
    return send_open(c, now_ns);
}

static bool send_requests(struct ls_client_core *c, uint64_t now_ns)
{
    struct batch batch = {.end = NULL};
    bool sent = true;
    uint32_t first = (uint32_t)c->base & SLOT_MASK;
    for (uint64_t left = rotate_right(c->requests.want, first); left; left &= left - 1) {
        uint32_t i = ((uint32_t)__builtin_ctzll(left) + first) & SLOT_MASK;
        struct slot *slot = &c->requests.slot[i];
        struct ls_request_record *record = &c->request_buffer[i].record;
        uint32_t size = (uint32_t)sizeof(*record) + ls_pad8(record->length);
        if (!ls_client_batch_room(c, &batch, LS_FRAME_REQUEST, &c->requests_to, size)) {
            sent = false;
            break;
        }
        record->session = c->session;
        record->slot = c->session_slot;
        record->awaited = c->base;
        if (record->deadline != 0 && !(slot->flags & SLOT_SENT)) {
            int64_t log_time = (int64_t)(slot->submit_ns + min_u64(record->deadline, NEVER / 4)) + c->time_ahead;
            record->deadline = log_time < 1 ? 1 : (uint64_t)log_time;
        }
        record_copy(batch.end, record, size);
        batch.end += size;
        batch.room -= size;
        ls_client_slot_sent(c, &c->requests, &c->requests_to, i, now_ns);
    }
    ls_client_batch_send(c, &batch);
    return sent;
}

/* Fragments that were asked for, at most FEED_MAX frames; more are left if feeding is. False: no buffer. */
static bool send_fragments(struct ls_client_core *c)
{
    uint32_t sent = 0;
    while (c->feeding) {
        uint32_t i = (uint32_t)__builtin_ctzll(c->feeding);
        struct grant *grant = &c->grant[i];
        const struct slot *slot = &c->requests.slot[i];
        for (; grant->missing; grant->missing &= grant->missing - 1) {
            uint32_t index = grant->first + (uint32_t)__builtin_ctzll(grant->missing);
            uint64_t offset = (uint64_t)index * LS_FRAGMENT_SIZE;
            if (offset >= slot->length)
                continue;
            if (sent++ == FEED_MAX)
                return true;
            struct ls_frame frame;
            if (!c->io->alloc(c->io, &frame))
                return false;
            frame.peer = grant->peer;
            struct ls_fragment_body *body = ls_frame_begin(&c->identity, frame.data, LS_FRAME_FRAGMENT, c->epoch);
            uint32_t length = slot->length - (uint32_t)offset;
            if (length > LS_FRAGMENT_SIZE)
                length = LS_FRAGMENT_SIZE;
            *body = (struct ls_fragment_body){
                .session = c->session,
                .number = slot->number,
                .slot = c->session_slot,
                .index = index,
                .total = slot->length,
                .length = length,
            };
            memcpy(body + 1, c->large[slot->large - 1] + offset, length);
            frame.length = ls_frame_end(frame.data, (const uint8_t *)(body + 1) + length);
            c->io->send(c->io, &frame);
        }
        c->feeding &= c->feeding - 1;
    }
    return true;
}

/* ---- requests ---- */

static void large_release(struct ls_client_core *c, struct slot *slot)
{
    if (slot->large == 0)
        return;
    c->large_free |= 1u << (slot->large - 1);
    slot->large = 0;
}

int ls_client_core_submit(struct ls_client_core *c, const void *operation, uint32_t length, uint64_t deadline_ns,
                          ls_client_done done, void *user, uint64_t now_ns)
{
    if (__builtin_expect(c->lost, 0))
        return -ENOTCONN;
    if (__builtin_expect(length > c->op_max, 0))
        return -EMSGSIZE;
    if (c->next - c->base >= c->window)
        return -EAGAIN;

    uint32_t i = (uint32_t)c->next & SLOT_MASK;
    struct slot *slot = &c->requests.slot[i];
    struct request_buffer *buffer = &c->request_buffer[i];
    uint8_t large = 0;
    if (__builtin_expect(length > LS_OP_SMALL_MAX, 0)) {
        if (c->large_free == 0)
            return -EAGAIN;
        uint32_t which = (uint32_t)__builtin_ctz(c->large_free);
        c->large_free &= c->large_free - 1;
        memcpy(c->large[which], operation, length);
        large = (uint8_t)(which + 1);
    } else {
        if (length & 7)
            memset(buffer->operation + (length & ~7u), 0, 8);
        if (length > 0)
            memcpy(buffer->operation, operation, length);
    }
    buffer->record = (struct ls_request_record){
        .number = c->next,
        .deadline = deadline_ns,
        .kind = large ? LS_REQUEST_ANNOUNCE : LS_REQUEST_OPERATION,
        .durability = c->durability,
        .length = large ? 0 : length,
        .total = large ? length : 0,
    };
    *slot = (struct slot){
        .done = done, .user = user, .submit_ns = now_ns, .number = c->next, .length = length, .large = large};
    c->requests.used |= 1ull << i;
    c->requests.want |= 1ull << i;
    c->requests.timer_ns = min_u64(c->requests.timer_ns, now_ns + c->give_up_ns);
    c->waiting++;
    c->next++;
    return 0;
}

/* From now on only QUERY goes out for this number, which does not stop before it is answered. */
static void slot_close(struct ls_client_core *c, uint32_t i)
{
    struct slot *slot = &c->requests.slot[i];
    struct ls_request_record *record = &c->request_buffer[i].record;
    record->kind = LS_REQUEST_QUERY;
    record->length = 0;
    record->total = 0;
    record->deadline = 0;
    slot->flags |= SLOT_QUERY;
    slot->backoff = 0;
    large_release(c, slot);
    c->feeding &= ~(1ull << i);
    c->requests.want |= 1ull << i;
}

void ls_client_core_durability(struct ls_client_core *c, enum ls_durability durability)
{
    c->durability = (uint16_t)durability;
}

int ls_client_core_query(struct ls_client_core *c, uint64_t number, uint64_t now_ns)
{
    uint32_t i = (uint32_t)number & SLOT_MASK;
    if (number < c->base || number >= c->next || !(c->requests.used >> i & 1) ||
        (c->requests.slot[i].flags & SLOT_ABANDONED))
        return -ENOENT;
    if (!(c->requests.slot[i].flags & SLOT_QUERY))
        slot_close(c, i);
    return 0;
}

/* The number's fate is known: its slot is free before the user hears of it and may submit again. */
static void slot_free(struct ls_client_core *c, uint32_t i)
{
    uint64_t bit = 1ull << i;
    large_release(c, &c->requests.slot[i]);
    c->requests.used &= ~bit;
    c->requests.want &= ~bit;
    c->feeding &= ~bit;
    uint64_t left = rotate_right(c->requests.used, (uint32_t)c->base);
    c->base = left ? c->base + (uint32_t)__builtin_ctzll(left) : c->next;
}

static void slot_complete(struct ls_client_core *c, const struct slot *slot, struct ls_client_result *result)
{
    result->retries = slot->retries;
    result->session = c->session;
    result->number = slot->number;
    c->waiting--;
    if (slot->done)
        slot->done(slot->user, result);
}

/* Nobody waits for these any longer; see client_core.h. */
static void requests_give_up(struct ls_client_core *c, uint64_t now_ns)
{
    uint64_t end = c->next;
    for (uint64_t number = c->base; number < end; number++) {
        uint32_t i = (uint32_t)number & SLOT_MASK;
        struct slot *slot = &c->requests.slot[i];
        if (!(c->requests.used >> i & 1) || slot->number != number || (slot->flags & SLOT_ABANDONED) ||
            elapsed_ns(now_ns, slot->submit_ns) < c->give_up_ns)
            continue;
        bool sent = (slot->flags & SLOT_SENT) != 0;
        slot->flags |= SLOT_ABANDONED;
        if (!(slot->flags & SLOT_QUERY))
            slot_close(c, i);
        struct ls_client_result result = {
            .outcome = sent ? LS_CLIENT_UNKNOWN : LS_CLIENT_DONE,
            .status = sent ? slot->told : LS_STATUS_CLOSED,
        };
        struct slot copy = *slot;
        slot->done = NULL;
        slot_complete(c, &copy, &result);
    }
}

/* The cluster does not know our session (any more). What was sent may have been executed before it was evicted; what
 * never left this client was certainly not. */
static void session_lose(struct ls_client_core *c)
{
    c->lost = true;
    uint64_t end = c->next;
    for (uint64_t number = c->base; number < end; number++) {
        uint32_t i = (uint32_t)number & SLOT_MASK;
        if (!(c->requests.used >> i & 1))
            continue;
        struct slot copy = c->requests.slot[i];
        slot_free(c, i);
        if (copy.flags & SLOT_ABANDONED)
            continue;
        struct ls_client_result result = {
            .outcome = copy.flags & SLOT_SENT ? LS_CLIENT_UNKNOWN : LS_CLIENT_DONE,
            .status = LS_STATUS_SESSION_UNKNOWN,
        };
        slot_complete(c, &copy, &result);
    }
}

/* ---- frames in ---- */

static void reply_open(struct ls_client_core *c, const struct ls_frame_header *header,
                       const struct ls_reply_record *record, uint64_t now_ns)
{
    if (c->session != 0 || c->lost || !c->open_sent)
        return;
    /* The answer repeats the nonce: it may be for whoever had this port before us. */
    if (record->length != LS_NONCE_SIZE || memcmp(record + 1, c->nonce, LS_NONCE_SIZE) != 0)
        return;
    if (record->status != LS_STATUS_OK || record->session == 0) {
        /* no session free: later perhaps */
        c->open_busy = true;
        c->open_due_ns = now_ns + ls_client_retry_delay(c, c->requests.estimate.rto, &c->requests_to, c->open_backoff);
        if (c->open_backoff < BACKOFF_MAX)
            c->open_backoff++;
        return;
    }
    c->session = record->session;
    c->session_slot = record->slot;
    c->view_epoch = max_u64(c->view_epoch, header->epoch);
    c->requests_to.rotations = 0;
    if (c->open_sent_ns != 0)
        ls_client_estimate(c, &c->requests.estimate, elapsed_ns(now_ns, c->open_sent_ns));
}

/* Statuses by which a node refuses a request without giving it a place in the log. */
static bool is_refusal(const struct ls_reply_record *record)
{
    return record->seq == 0 && !(record->flags & LS_REPLY_REPEAT) &&
           (record->status == LS_STATUS_TOO_LARGE || record->status == LS_STATUS_UNSUPPORTED ||
            record->status == LS_STATUS_BAD_OPERATION);
}

static void reply_request(struct ls_client_core *c, const struct ls_frame_header *header,
                          const struct ls_reply_record *record, bool *sampled, uint64_t now_ns)
{
    uint64_t number = record->number;
    uint32_t i = (uint32_t)number & SLOT_MASK;
    struct slot *slot = &c->requests.slot[i];
    if (record->session != c->session || number < c->base || number >= c->next || !(c->requests.used >> i & 1) ||
        !(slot->flags & SLOT_SENT))
        return;
    uint16_t status = record->status;
    if (__builtin_expect(status == LS_STATUS_SESSION_UNKNOWN, 0)) {
        session_lose(c);
        return;
    }
    if (__builtin_expect(status == LS_STATUS_OUT_OF_ORDER, 0))
        return; /* not executed, and it still can be: it goes out again when it is due, with what stands before it */
    if (__builtin_expect(is_refusal(record), 0)) {
        /* Those behind it could never pass: the number has to be closed first. */
        if (!(slot->flags & SLOT_QUERY)) {
            slot->told = status;
            slot_close(c, i);
        }
        return;
    }
    if (__builtin_expect(status == LS_STATUS_CLOSED && slot->told != 0 && slot->told < LS_STATUS_BUSY_LOG, 0))
        status = slot->told;

    if (!*sampled) {
        *sampled = true;
        if (slot->retries == 0)
            ls_client_estimate(c, &c->requests.estimate, elapsed_ns(now_ns, slot->sent_ns));
        else
            ls_client_estimate_repeated(c, &c->requests.estimate, elapsed_ns(now_ns, slot->submit_ns));
    }
    c->requests_to.rotations = 0;
    c->view_epoch = max_u64(c->view_epoch, header->epoch);
    c->last_seq = max_u64(c->last_seq, record->seq);
    bool abandoned = (slot->flags & SLOT_ABANDONED) != 0;
    ls_client_done done = slot->done;
    void *user = slot->user;
    uint8_t retries = slot->retries;
    slot_free(c, i);
    if (abandoned)
        return;
    c->waiting--;
    if (!done)
        return;
    const struct ls_client_result result = {
        .outcome = LS_CLIENT_DONE,
        .status = status,
        .durability = record->durability,
        .retries = retries,
        .session = c->session,
        .number = number,
        .seq = record->seq,
        .epoch = header->epoch,
        .bytes = (const uint8_t *)(record + 1),
        .length = record->length,
    };
    done(user, &result);
}

static void input_reply(struct ls_client_core *c, const struct ls_frame *frame, uint64_t now_ns)
{
    const struct ls_frame_header *header = ls_frame_header(frame->data);
    const struct ls_reply_body *body = ls_frame_body(frame->data);
    if (header->epoch >= c->time_epoch) {
        c->time_epoch = header->epoch;
        c->time_ahead = (int64_t)(body->time - now_ns);
    }
    bool sampled = false; /* one sample of each kind per frame */
    bool read_sampled = false;
    const struct ls_reply_record *record;
    const uint8_t *at = NULL;
    while ((record = ls_reply_next(frame->data, &at)) != NULL) {
        if (record->flags & LS_REPLY_READ)
            ls_client_reads_reply(c, header, record, &read_sampled, now_ns);
        else if (record->number == 0)
            reply_open(c, header, record, now_ns);
        else if (c->session != 0 && !c->lost)
            reply_request(c, header, record, &sampled, now_ns);
    }
}

static void input_busy(struct ls_client_core *c, const struct ls_frame *frame, uint64_t now_ns)
{
    const struct ls_busy_body *busy = ls_frame_body(frame->data);
    if (busy->flags & LS_BUSY_READ) {
        ls_client_reads_busy(c, frame->peer, busy, now_ns);
        return;
    }
    /* Of a node that we have left, it says nothing about what the present one has got. */
    if (!ls_addr_equal(c->peer[c->requests_to.at].addr, frame->peer) || busy->session != c->session)
        return;
    if (c->session == 0) {
        if (busy->number != 0 || !c->open_sent)
            return;
        uint64_t wait_ns = busy->retry_after ? busy->retry_after : c->requests.estimate.rto;
        c->open_busy = true;
        c->open_due_ns = now_ns + min_u64(max_u64(wait_ns, c->retry_min_ns), c->retry_max_ns);
        if (busy->status == LS_STATUS_NO_SEQUENCER || busy->status == LS_STATUS_HALTED ||
            busy->status == LS_STATUS_BUSY_SUSPENDED)
            c->requests_to.rounds = ROUNDS_MAX;
        return;
    }
    uint32_t i = (uint32_t)busy->number & SLOT_MASK;
    if (busy->number < c->base || busy->number >= c->next || !(SENT_ALREADY(c) >> i & 1))
        return;
    ls_client_slot_busy(c, &c->requests, &c->requests_to, i, busy, now_ns);
}

static void input_grant(struct ls_client_core *c, const struct ls_frame *frame, uint64_t now_ns)
{
    const struct ls_grant_body *body = ls_frame_body(frame->data);
    uint32_t i = (uint32_t)body->number & SLOT_MASK;
    struct slot *slot = &c->requests.slot[i];
    if (c->session == 0 || body->session != c->session || body->number < c->base || body->number >= c->next ||
        !(SENT_ALREADY(c) >> i & 1) || slot->large == 0)
        return;
    struct grant *grant = &c->grant[i];
    bool same = (c->feeding >> i & 1) && grant->first == body->first && ls_addr_equal(grant->peer, frame->peer);
    grant->missing = body->missing | (same ? grant->missing : 0);
    grant->first = body->first;
    grant->peer = frame->peer;
    c->feeding |= 1ull << i;
    c->requests_to.rotations = 0;
    slot->backoff = 0;
    slot->flags = (uint8_t)(slot->flags & ~SLOT_BUSY);
    slot->due_ns = now_ns + ls_client_retry_delay(c, c->requests.estimate.rto, &c->requests_to, 0);
    c->requests.timer_ns = min_u64(c->requests.timer_ns, slot->due_ns);
}

void ls_client_core_input(struct ls_client_core *c, const struct ls_frame *frame, uint64_t now_ns)
{
    uint32_t from = ls_client_peer_find(c, frame->peer);
    if (from == PEERS_MAX || ls_frame_check(&c->identity, frame->data, frame->length) != 0)
        return;
    const struct ls_frame_header *header = ls_frame_header(frame->data);
    if (header->type != LS_FRAME_REPLY && header->type != LS_FRAME_BUSY && header->type != LS_FRAME_GRANT &&
        header->type != LS_FRAME_REDIRECT && header->type != LS_FRAME_VIEW)
        return;
    c->epoch = max_u64(c->epoch, header->epoch);
    c->requests_to.quiet = c->reads_to.quiet = 0;
    c->peer[from].silent_until_ns = 0;
    /* A path that is to leave its node leaves it, whatever the node has to say about the other path's traffic. */
    if (from == c->requests_to.at && c->requests_to.rounds < ROUNDS_MAX)
        c->requests_to.rounds = 0;
    if (from == c->reads_to.at && c->reads_to.rounds < ROUNDS_MAX)
        c->reads_to.rounds = 0;
    switch (header->type) {
    case LS_FRAME_REPLY:
        input_reply(c, frame, now_ns);
        break;
    case LS_FRAME_BUSY:
        input_busy(c, frame, now_ns);
        break;
    case LS_FRAME_GRANT:
        input_grant(c, frame, now_ns);
        break;
    default:
        ls_client_view(c, frame, header->type == LS_FRAME_REDIRECT, now_ns);
        break;
    }
}

/* ---- the loop's turn ---- */

uint64_t ls_client_core_poll(struct ls_client_core *c, uint64_t now_ns)
{
    bool whole = poll_open(c, now_ns);
    if (now_ns >= c->requests.timer_ns) {
        requests_give_up(c, now_ns);
        ls_client_lane_due(c, &c->requests, &c->requests_to, now_ns);
    }
    bool opened = c->session != 0;
    if (opened && c->requests.want)
        whole = send_requests(c, now_ns) && whole;
    whole = ls_client_reads_poll(c, now_ns) && whole;
    whole = whole && send_fragments(c);
    if (whole && c->feeding)
        return now_ns;

    uint64_t next_ns = min_u64(c->requests.timer_ns, c->reads.timer_ns);
    if (!opened && !c->lost && !(c->lazy && c->next == 1))
        next_ns = min_u64(next_ns, c->open_due_ns);
    if (!whole)
        next_ns = min_u64(next_ns, now_ns + c->retry_min_ns / 4);
    return next_ns;
}

uint64_t ls_client_core_session(const struct ls_client_core *client)
{
    return client->session;
}

uint64_t ls_client_core_next_number(const struct ls_client_core *client)
{
    return client->next;
}

uint32_t ls_client_core_in_flight(const struct ls_client_core *client)
{
    return client->waiting + (uint32_t)__builtin_popcountll(client->reads.used);
}

uint64_t ls_client_core_last_seq(const struct ls_client_core *client)
{
    return client->last_seq;
}
