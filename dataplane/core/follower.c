/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The follower's half: has its log verified once at the start of each epoch, writes log bytes straight to their place
 * in the ring, tells the sequencer how far it holds them, follows commit. Net thread.
 *
 * What must hold here: before verification in the promised epoch nothing is written to the ring, nothing acknowledged
 * and commit does not move; a tail is dropped only by the answer to the one open question, and never below commit;
 * what is acknowledged is contiguous.
 */
#include "replica_internal.h"

#include <string.h>

/* C5: whatever a replica that is not admitted says, says so. */
static uint16_t own_flags(const struct ls_replica *r)
{
    uint16_t flags = r->counts || ls_mutant(OUTSIDE_ACKS) ? 0 : LS_ACK_JOINING;
    if (ls_durable_is_asked(r))
        flags |= LS_ACK_DURABLE;
    return r->config.resumed ? flags | LS_ACK_RESUMED : flags;
}

/* ---- verification ---- */

static void question_send(struct ls_replica *r, uint64_t now_ns)
{
    struct ls_frame frame;
    if (!r->question_open) {
        r->question_open = true;
        r->question++; /* the same number until it is answered: repeats cost nothing and any answer to it will do */
        r->question_tries = 0;
    }
    r->question_ns = now_ns;
    r->question_tries++;
    if (!ls_replica_alloc(r, &frame, r->sequencer_addr))
        return;
    struct ls_ack_body *body = ls_replica_begin(r, &frame, LS_FRAME_ACK);
    uint32_t rows = r->log->epochs < LS_EPOCHS_SENT ? r->log->epochs : LS_EPOCHS_SENT;
    *body = (struct ls_ack_body){.position = r->log->end,
                                 .limit = r->floor + r->log->size,
                                 .applied_seq = r->applied_seq,
                                 .question = r->question,
                                 .flags = own_flags(r),
                                 .rows = (uint16_t)rows};
    struct ls_epoch_row *row = (struct ls_epoch_row *)(body + 1);
    memcpy(row, &r->log->epoch[r->log->epochs - rows], rows * sizeof(*row));
    ls_count(r->counters, acks_out);
    ls_replica_send(r, &frame, row + rows);
}

static void parting_take(struct ls_replica *r, const struct ls_answer_record *answer, uint64_t now_ns)
{
    bool awaited = r->role == LS_ROLE_UNVERIFIED && r->question_open;
    if (ls_mutant(ANSWER_TWICE) && r->role == LS_ROLE_FOLLOWER && answer->position >= r->commit)
        awaited = true;
    if (!awaited || answer->number != r->question || answer->position > r->log->end) {
        ls_count(r->counters, drop_answer);
        return;
    }
    if (answer->position < r->log->end && ls_durable_waits(r)) {
        ls_count(r->counters, drop_answer); /* the question is repeated, and the disk is not slow for ever */
        return;
    }
    r->question_open = false;
    if (answer->position < r->commit) {
        ls_replica_halt(r, LS_HALT_PARTING_BELOW_COMMIT, now_ns);
        return;
    }
    if (answer->position < r->log->end)
        ls_count(r->counters, truncations);
    if (ls_durable_truncate(r, answer->position) != 0) {
        ls_replica_halt(r, LS_HALT_LOG_DAMAGED, now_ns);
        return;
    }
    ls_standing_follow(r);
    if (!ls_mutant(RANGES_KEPT))
        ls_repair_reset(&r->repair, r->repair.delay_ns);
    ls_count(r->counters, verifications);
    ls_replica_set_role(r, LS_ROLE_FOLLOWER);
    r->ack_due = true;
}

/* What is missing here is held nowhere any more but in checkpoints. The log and the vote are kept: they may be what the
 * others need, and the one thing they prove stays true. Nothing is asked until a checkpoint has replaced them. */
static void too_old_take(struct ls_replica *r, const struct ls_answer_record *answer, uint64_t now_ns)
{
    bool awaited = (r->role == LS_ROLE_UNVERIFIED && r->question_open) ||
                   (r->role == LS_ROLE_FOLLOWER && r->log->filled < answer->position);
    if (!awaited || answer->number != r->question) {
        ls_count(r->counters, drop_answer);
        r->ack_due = true;
        return;
    }
    r->question_open = false;
    ls_log_drop_partial(r->log);
    if (ls_mutant(BEHIND_DROPS_TAIL))
        (void)ls_durable_truncate(r, r->commit);
    ls_repair_reset(&r->repair, r->repair.delay_ns);
    ls_reads_refuse(r, LS_STATUS_NO_SEQUENCER, now_ns);
    ls_replica_set_role(r, LS_ROLE_BEHIND);
}

static void answer_take(struct ls_replica *r, const struct ls_answer_record *answer, uint64_t now_ns)
{
    bool own = answer->incarnation == r->config.incarnation || ls_mutant(ANSWER_OLD_LIFE);
    if (answer->node != r->config.node || !own) {
        ls_count(r->counters, drop_answer);
        return;
    }
    switch (answer->kind) {
    case LS_ANSWER_PARTING:
        parting_take(r, answer, now_ns);
        break;
    case LS_ANSWER_READ:
        if (r->role == LS_ROLE_FOLLOWER && answer->number <= r->read_question && answer->number > r->read_answered)
            ls_reads_answered(r, answer->number, answer->position);
        else
            ls_count(r->counters, drop_answer);
        break;
    default: /* TOO_OLD, the only other kind that the frame check lets through */
        too_old_take(r, answer, now_ns);
    }
}

/* ---- log bytes ---- */

static void place(struct ls_replica *r, uint64_t position, const uint8_t *bytes, uint32_t length, uint64_t now_ns)
{
    struct ls_log *log = r->log;
    if (position > log->filled + log->size) { /* also keeps position + length from wrapping */
        ls_count(r->counters, drop_beyond_room);
        return;
    }
    if (position + length <= log->filled) {
        ls_count(r->counters, order_duplicate);
        ls_repair_duplicate(r, now_ns);
        return;
    }
    if (position < log->filled) {
        uint32_t known = (uint32_t)(log->filled - position);
        position += known;
        bytes += known;
        length -= known;
    }
    if (!ls_durable_has_room(r, position, length) && !ls_mutant(RING_OVERWRITTEN)) {
        ls_count(r->counters, drop_beyond_room);
        return;
    }
    if (position > log->filled) {
        ls_count(r->counters, order_early);
        if (ls_mutant(GAP_BLOCKS))
            return;
        if (!ls_repair_add(&r->repair, position, position + length)) {
            ls_count(r->counters, drop_ranges_full);
            return;
        }
        ls_log_place(log, position, bytes, length);
        return;
    }
    ls_log_place(log, position, bytes, length);
    uint64_t filled = ls_repair_join(&r->repair, position + length);
    int error = ls_log_fill(log, filled);
    ls_standing_follow(r);
    if (error != 0) {
        ls_replica_halt(r, LS_HALT_LOG_DAMAGED, now_ns);
        return;
    }
    ls_repair_moved(r, filled, now_ns);
}

/* What every frame of the sequencer tells: commit, time, probe. */
static void progress(struct ls_replica *r, uint64_t commit, uint64_t time, uint64_t probe, uint64_t now_ns)
{
    if (time >= r->clock_base) {
        r->clock_base = time;
        r->clock_base_ns = now_ns;
    }
    if (probe > r->probe_seen)
        r->probe_seen = probe;
    r->ack_due = true;
    if (r->role != LS_ROLE_FOLLOWER && !ls_mutant(COMMIT_UNCLAMPED))
        return;

    uint64_t held = r->log->end;
    if (commit > held)
        commit = held;
    if (commit > r->commit)
        ls_replica_commit(r, commit);
}

void ls_follower_order(struct ls_replica *r, const uint8_t *frame, uint64_t now_ns)
{
    const struct ls_order_body *body = ls_frame_body(frame);
    uint32_t length = ls_frame_header(frame)->length - LS_FRAME_HEADER_SIZE - (uint32_t)sizeof(*body);
    ls_count(r->counters, orders_in);
    if (r->role == LS_ROLE_BEHIND) {
        ls_count(r->counters, drop_unverified);
        return;
    }
    if (r->role != LS_ROLE_FOLLOWER) {
        ls_count(r->counters, drop_unverified);
        if (!r->question_open)
            question_send(r, now_ns);
        if (!ls_mutant(WRITE_UNVERIFIED)) {
            progress(r, body->commit, body->time, body->probe, now_ns);
            return;
        }
    }
    r->log->frame_epoch = r->epoch;
    place(r, body->position, (const uint8_t *)(body + 1), length, now_ns);
    if (r->role != LS_ROLE_HALTED)
        progress(r, body->commit, body->time, body->probe, now_ns);
}

void ls_follower_range(struct ls_replica *r, const uint8_t *frame, uint64_t now_ns)
{
    const struct ls_range_body *body = ls_frame_body(frame);
    uint32_t length = ls_frame_header(frame)->length - LS_FRAME_HEADER_SIZE - (uint32_t)sizeof(*body);
    ls_count(r->counters, ranges_in);
    if (r->role != LS_ROLE_FOLLOWER) {
        ls_count(r->counters, drop_unverified);
        return;
    }
    r->ack_due = true;
    place(r, body->position, (const uint8_t *)(body + 1), length, now_ns);
}

/* Once the commit that it tells is applied here, the local copy is as new as the sequencer's was when a majority last
 * confirmed it. The time that the frame travelled is not known and not counted. */
static void freshness(struct ls_replica *r, const struct ls_heartbeat_body *body, uint64_t now_ns)
{
    if (r->role != LS_ROLE_FOLLOWER || body->time <= r->fresh_time)
        return;
    r->fresh_time = body->time;
    uint64_t age = body->time - body->confirmed;
    if (r->fresh_since_ns == 0 && age < now_ns) {
        r->fresh_commit = body->commit;
        r->fresh_since_ns = now_ns - age;
    }
}

void ls_follower_heartbeat(struct ls_replica *r, const uint8_t *frame, uint64_t now_ns)
{
    const struct ls_heartbeat_body *body = ls_frame_body(frame);
    const struct ls_answer_record *answer = (const struct ls_answer_record *)(body + 1);
    ls_count(r->counters, heartbeats_in);
    if (r->role == LS_ROLE_BEHIND)
        return; /* it waits for a checkpoint, and has said so to control */
    for (uint32_t i = 0; i < body->answers && r->role != LS_ROLE_HALTED; i++)
        answer_take(r, &answer[i], now_ns);
    if (r->role == LS_ROLE_HALTED)
        return;
    if (ls_mutant(TAIL_BY_HEARTBEAT) && r->role == LS_ROLE_UNVERIFIED)
        (void)ls_durable_truncate(r, r->commit);
    if (r->role == LS_ROLE_UNVERIFIED && !r->question_open)
        question_send(r, now_ns);
    if (r->role == LS_ROLE_FOLLOWER && body->sent > r->repair.known_end)
        r->repair.known_end = body->sent;
    freshness(r, body, now_ns);
    progress(r, body->commit, body->time, body->probe, now_ns);
}

/* ---- the turn ---- */

static void ack_send(struct ls_replica *r, uint64_t now_ns)
{
    struct ls_frame frame;
    if (!ls_replica_alloc(r, &frame, r->sequencer_addr))
        return;
    struct ls_ack_body *body = ls_replica_begin(r, &frame, LS_FRAME_ACK);
    uint64_t durable = ls_durable_own(r);
    *body = (struct ls_ack_body){.position = r->log->filled,
                                 .durable = ls_mutant(ACK_BEFORE_DISK) ? r->log->end : durable,
                                 .limit = r->floor + r->log->size,
                                 .applied_seq = r->applied_seq,
                                 .probe = r->probe_seen,
                                 .flags = LS_ACK_VERIFIED | own_flags(r)};
    if (ls_mutant(ACK_HIGHEST) && r->repair.ranges > 0)
        body->position = r->repair.range[r->repair.ranges - 1].end;
    if (r->reads_unasked) {
        body->flags |= LS_ACK_READ;
        body->question = ++r->read_question;
        r->read_question_ns = now_ns;
        ls_reads_give_question(r, r->read_question);
        ls_count(r->counters, read_questions_out);
    }
    r->ack_due = false;
    r->acknowledged = true;
    ls_count(r->counters, acks_out);
    ls_replica_send(r, &frame, body + 1);
}

static void fresh_turn(struct ls_replica *r)
{
    if (r->fresh_since_ns != 0 && r->applied >= r->fresh_commit) {
        if (r->fresh_since_ns > r->fresh_ns)
            r->fresh_ns = r->fresh_since_ns;
        r->fresh_since_ns = 0;
    }
}

static uint64_t question_patience(const struct ls_replica *r)
{
    return r->config.question_ns << (r->question_tries < 5 ? r->question_tries - 1 : 4);
}

uint32_t ls_follower_turn(struct ls_replica *r, uint64_t now_ns)
{
    uint32_t work = 0;
    if (r->role == LS_ROLE_UNVERIFIED) {
        if (r->question_open && now_ns - r->question_ns >= question_patience(r))
            question_send(r, now_ns);
        if (!ls_mutant(ACK_UNVERIFIED))
            return 0;
    }
    fresh_turn(r);
    ls_repair_turn(r, now_ns);
    if (r->ack_due || r->reads_unasked) {
        ack_send(r, now_ns);
        work++;
    }
    return work;
}

uint64_t ls_follower_next_ns(const struct ls_replica *r, uint64_t now_ns)
{
    if (r->role == LS_ROLE_UNVERIFIED)
        return r->question_open ? r->question_ns + question_patience(r) : UINT64_MAX;
    if (r->ack_due || r->reads_unasked)
        return now_ns;
    return ls_repair_next_ns(r);
}
