/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * READ frames, answered beside apply from the state machine's published state. Net thread.
 *
 * Linearizable: a read at the sequencer notes commit, waits until a majority has echoed a probe that left after the
 * read came, and until that commit is applied. A follower asks the sequencer, which treats the question as a read of
 * its own; the answer names the position to wait for. The waiting reads form a ring in order of arrival: probes,
 * questions and positions only grow along it, so only its head is ever looked at. Reads of an epoch that ends are
 * refused as it ends: what is answered here belongs to the present epoch and role.
 * Least: waits until the seq that the reader names is applied. Stale: at once, with an age.
 */
#include "memory.h"
#include "replica_internal.h"

#include <errno.h>
#include <string.h>

#define READ_PATIENCE_NS 100000000ull /* a read that waited this long is refused: elsewhere it may be quicker */

static_assert((LS_READS_PENDING_MAX & (LS_READS_PENDING_MAX - 1)) == 0, "ring of reads");
static_assert(sizeof(struct ls_reply_body) + sizeof(struct ls_reply_record) + LS_READ_RESULT_MAX <= LS_FRAME_BODY_MAX,
              "one read fits a frame of its own");

int ls_reads_init(struct ls_replica *r)
{
    r->read = ls_memory_map(LS_READS_PENDING_MAX * sizeof(*r->read));
    r->least = ls_memory_map(LS_LEAST_MAX * sizeof(*r->least));
    return r->read != NULL && r->least != NULL ? 0 : -ENOMEM;
}

void ls_reads_free(struct ls_replica *r)
{
    ls_memory_unmap(r->read, LS_READS_PENDING_MAX * sizeof(*r->read));
    ls_memory_unmap(r->least, LS_LEAST_MAX * sizeof(*r->least));
}

/* Replies of one turn to one client share a frame while they come in a row. */
struct reply_frame {
    struct ls_frame frame;
    uint8_t *at; /* where the next record begins; NULL: no frame is open */
};

static uint8_t *frame_end_max(const struct reply_frame *out)
{
    return out->frame.data + LS_FRAME_HEADER_SIZE + LS_FRAME_BODY_MAX;
}

static void reply_flush(struct ls_replica *r, struct reply_frame *out)
{
    if (out->at != NULL)
        ls_replica_send(r, &out->frame, out->at);
    out->at = NULL;
}

static bool reply_open(struct ls_replica *r, struct reply_frame *out, struct ls_addr client, uint64_t now_ns)
{
    reply_flush(r, out);
    if (!ls_replica_alloc(r, &out->frame, client))
        return false;
    struct ls_reply_body *body = ls_replica_begin(r, &out->frame, LS_FRAME_REPLY);
    body->time = ls_replica_log_time(r, now_ns);
    out->at = (uint8_t *)(body + 1);
    return true;
}

static void read_state(const struct ls_replica *r, const struct ls_read *read, struct ls_read_result *result)
{
    if (r->type->concurrent_reads)
        r->type->read(r->machine, read->operation, read->length, result);
    else
        result->status = LS_STATUS_UNSUPPORTED;
}

/* Reads straight into a frame of its own, or, behind other records, by way of a copy: what a read answers must not
 * depend on how much room others have left, for the state machine cuts pages and leaves out values by the room. */
static void reply_read(struct ls_replica *r, struct reply_frame *out, const struct ls_read *read, uint64_t age,
                       uint64_t now_ns)
{
    const uint32_t record_size = (uint32_t)sizeof(struct ls_reply_record);
    uint8_t copy[LS_READ_RESULT_MAX];
    struct ls_read_result result = {.room = LS_READ_RESULT_MAX, .bytes = copy};
    bool shared = out->at != NULL && ls_addr_equal(out->frame.peer, read->client);
    if (shared)
        read_state(r, read, &result);
    if (!shared || (uint32_t)(frame_end_max(out) - out->at) < record_size + ls_pad8(result.length)) {
        if (!reply_open(r, out, read->client, now_ns))
            return;
    }
    struct ls_reply_record *reply = (struct ls_reply_record *)out->at;
    uint8_t *to = (uint8_t *)(reply + 1);
    if (shared) {
        memcpy(to, copy, result.length);
    } else {
        result.bytes = to;
        read_state(r, read, &result);
    }
    *reply = (struct ls_reply_record){.session = read->session,
                                      .number = read->number,
                                      .seq = result.seq,
                                      .age = age,
                                      .status = result.status,
                                      .flags = LS_REPLY_READ,
                                      .length = result.length};
    uint32_t padding = ls_pad8(result.length) - result.length;
    memset(to + result.length, 0, padding);
    out->at = to + result.length + padding;
    ls_count(r->counters, reads_answered);
}

/* ---- arrival ---- */

static void read_fill(struct ls_read *read, const struct ls_read_record *record, struct ls_addr client, uint64_t now_ns)
{
    read->session = record->session;
    read->number = record->number;
    read->least = record->least;
    read->index = UINT64_MAX;
    read->probe = 0;
    read->since_ns = now_ns;
    read->client = client;
    read->length = record->length;
    memcpy(read->operation, record + 1, record->length);
}

static void refuse(struct ls_replica *r, const struct ls_read *read, uint16_t status, uint64_t now_ns)
{
    ls_answer_busy(r, read->client, read->session, read->number, status, true, now_ns);
}

static void busy(struct ls_replica *r, const struct ls_read_record *record, struct ls_addr client, uint16_t status,
                 uint64_t now_ns)
{
    ls_answer_busy(r, client, record->session, record->number, status, true, now_ns);
}

static void linearizable_add(struct ls_replica *r, const struct ls_read_record *record, struct ls_addr client,
                             uint64_t now_ns)
{
    if (r->role == LS_ROLE_SEALED || r->role == LS_ROLE_UNVERIFIED || r->role == LS_ROLE_BEHIND) {
        ls_count(r->counters, busy_no_sequencer);
        busy(r, record, client, LS_STATUS_NO_SEQUENCER, now_ns);
        return;
    }
    if (r->role == LS_ROLE_OPENING && !ls_mutant(SERVE_BEFORE_OPEN)) {
        ls_count(r->counters, busy_opening);
        busy(r, record, client, LS_STATUS_BUSY_OPENING, now_ns);
        return;
    }
    if (r->role == LS_ROLE_SUSPENDED) {
        ls_count(r->counters, busy_suspended);
        busy(r, record, client, LS_STATUS_BUSY_SUSPENDED, now_ns);
        return;
    }
    if (r->read_tail - r->read_head == LS_READS_PENDING_MAX) {
        ls_count(r->counters, busy_reads);
        busy(r, record, client, LS_STATUS_BUSY_READS, now_ns);
        return;
    }
    struct ls_read *read = &r->read[r->read_tail++ & (LS_READS_PENDING_MAX - 1)];
    read_fill(read, record, client, now_ns);
    if (ls_replica_is_sequencer(r)) {
        read->index = r->commit;
        r->probe_wanted = true;
    } else if (ls_mutant(READ_FOLLOWER_LOCAL)) {
        read->index = r->commit;
    } else {
        r->reads_unasked = true;
    }
}

static void least_add(struct ls_replica *r, const struct ls_read_record *record, struct ls_addr client, uint64_t now_ns)
{
    if (r->role == LS_ROLE_BEHIND && record->least > r->applied_seq) { /* not soon: others have it */
        ls_count(r->counters, busy_no_sequencer);
        busy(r, record, client, LS_STATUS_NO_SEQUENCER, now_ns);
        return;
    }
    if (r->leasts == LS_LEAST_MAX) {
        ls_count(r->counters, busy_behind);
        busy(r, record, client, LS_STATUS_BUSY_BEHIND, now_ns);
        return;
    }
    read_fill(&r->least[r->leasts++], record, client, now_ns);
}

static void stale_answer(struct ls_replica *r, struct reply_frame *out, const struct ls_read_record *record,
                         struct ls_addr client, uint64_t now_ns)
{
    struct ls_read read;
    read_fill(&read, record, client, now_ns);
    uint64_t age = r->fresh_ns == 0 ? UINT64_MAX : now_ns - r->fresh_ns;
    reply_read(r, out, &read, age, now_ns);
}

void ls_reads_input(struct ls_replica *r, const struct ls_frame *frame, uint64_t now_ns)
{
    const struct ls_read_record *record;
    const uint8_t *at = NULL;
    struct reply_frame out = {.at = NULL};
    while ((record = ls_read_next(frame->data, &at)) != NULL) {
        ls_count(r->counters, reads_in);
        if (r->role == LS_ROLE_HALTED) {
            ls_count(r->counters, busy_halted);
            busy(r, record, frame->peer, LS_STATUS_HALTED, now_ns);
        } else if (!r->counts || !r->member || ls_rebase_runs(r)) {
            /* C5, M5: who is not admitted, or was removed, does not serve; nor a state that is being replaced */
            ls_count(r->counters, busy_no_sequencer);
            busy(r, record, frame->peer, LS_STATUS_NO_SEQUENCER, now_ns);
        } else if (record->consistency == LS_READ_LINEARIZABLE) {
            linearizable_add(r, record, frame->peer, now_ns);
        } else if (record->consistency == LS_READ_LEAST) {
            least_add(r, record, frame->peer, now_ns);
        } else {
            stale_answer(r, &out, record, frame->peer, now_ns);
        }
    }
    reply_flush(r, &out);
}

void ls_reads_refuse(struct ls_replica *r, uint16_t status, uint64_t now_ns)
{
    while (r->read_head != r->read_tail)
        refuse(r, &r->read[r->read_head++ & (LS_READS_PENDING_MAX - 1)], status, now_ns);
    r->reads_unasked = false;
}

/* ---- probes, questions, answers ---- */

void ls_reads_give_probe(struct ls_replica *r, uint64_t probe)
{
    for (uint32_t i = r->read_tail; i != r->read_head; i--) {
        struct ls_read *read = &r->read[(i - 1) & (LS_READS_PENDING_MAX - 1)];
        if (read->probe != 0)
            break; /* those before it have theirs */
        read->probe = probe;
    }
}

void ls_reads_give_question(struct ls_replica *r, uint64_t number)
{
    ls_reads_give_probe(r, number);
    r->reads_unasked = false;
}

void ls_reads_answered(struct ls_replica *r, uint64_t number, uint64_t index)
{
    r->read_answered = number;
    for (uint32_t i = r->read_head; i != r->read_tail; i++) {
        struct ls_read *read = &r->read[i & (LS_READS_PENDING_MAX - 1)];
        if (!ls_mutant(READ_OLD_ANSWER) && (read->probe == 0 || read->probe > number))
            break;
        if (read->index == UINT64_MAX)
            read->index = index;
    }
}

/* ---- the turn ---- */

static bool is_ready(const struct ls_replica *r, const struct ls_read *read)
{
    if (read->index == UINT64_MAX)
        return false;
    if (ls_replica_is_sequencer(r) && !ls_mutant(READ_NO_PROBE) && (read->probe == 0 || read->probe > r->probe_echoed))
        return false;
    return read->index <= r->applied || ls_mutant(READ_BEFORE_APPLIED);
}

static uint32_t linearizable_turn(struct ls_replica *r, struct reply_frame *out, uint64_t now_ns)
{
    uint32_t work = 0;
    while (r->read_head != r->read_tail && work < 2 * LS_BURST) {
        struct ls_read *read = &r->read[r->read_head & (LS_READS_PENDING_MAX - 1)];
        if (is_ready(r, read)) {
            reply_read(r, out, read, 0, now_ns);
        } else if (now_ns - read->since_ns > READ_PATIENCE_NS) {
            ls_count(r->counters, busy_behind);
            refuse(r, read, LS_STATUS_BUSY_BEHIND, now_ns);
        } else {
            break;
        }
        r->read_head++;
        work++;
    }
    /* A question or its answer was lost: ask again, under a new number that covers all that wait. */
    if (r->role == LS_ROLE_FOLLOWER && r->read_head != r->read_tail && !r->reads_unasked) {
        const struct ls_read *oldest = &r->read[r->read_head & (LS_READS_PENDING_MAX - 1)];
        if (oldest->index == UINT64_MAX && now_ns - r->read_question_ns >= r->config.question_ns) {
            for (uint32_t i = r->read_head; i != r->read_tail; i++)
                r->read[i & (LS_READS_PENDING_MAX - 1)].probe = 0;
            r->reads_unasked = true;
        }
    }
    return work;
}

static uint32_t least_turn(struct ls_replica *r, struct reply_frame *out, uint64_t now_ns)
{
    uint32_t work = 0;
    for (uint32_t i = 0; i < r->leasts;) {
        struct ls_read *read = &r->least[i];
        if (read->least <= r->applied_seq) {
            reply_read(r, out, read, 0, now_ns);
        } else if (now_ns - read->since_ns > READ_PATIENCE_NS) {
            ls_count(r->counters, busy_behind);
            refuse(r, read, LS_STATUS_BUSY_BEHIND, now_ns);
        } else {
            i++;
            continue;
        }
        *read = r->least[--r->leasts];
        work++;
    }
    return work;
}

uint32_t ls_reads_turn(struct ls_replica *r, uint64_t now_ns)
{
    struct reply_frame out = {.at = NULL};
    uint32_t work = 0;
    if (r->read_head != r->read_tail)
        work += linearizable_turn(r, &out, now_ns);
    if (r->leasts > 0)
        work += least_turn(r, &out, now_ns);
    reply_flush(r, &out);
    return work;
}

uint64_t ls_reads_next_ns(const struct ls_replica *r)
{
    uint64_t next = UINT64_MAX;
    if (r->read_head != r->read_tail) {
        const struct ls_read *oldest = &r->read[r->read_head & (LS_READS_PENDING_MAX - 1)];
        if (is_ready(r, oldest))
            return 0;
        next = oldest->since_ns + READ_PATIENCE_NS + 1;
        if (r->role == LS_ROLE_FOLLOWER && oldest->index == UINT64_MAX &&
            r->read_question_ns + r->config.question_ns < next)
            next = r->read_question_ns + r->config.question_ns;
    }
    for (uint32_t i = 0; i < r->leasts; i++) {
        if (r->least[i].since_ns + READ_PATIENCE_NS + 1 < next)
            next = r->least[i].since_ns + READ_PATIENCE_NS + 1;
    }
    return next;
}
