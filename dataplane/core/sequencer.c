/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sequencer's half: appends entries, sends them to every verified member as ORDER frames cut where frames end,
 * counts acknowledgements, moves commit, answers verification and read-index questions in HEARTBEAT frames. Net thread.
 *
 * What must hold here: a sequencer only appends; commit is the end of an entry of its own epoch that a majority of
 * voters holds verified; a probe counts for a read only if it left after the read came.
 */
#include "replica_internal.h"

#include <assert.h>
#include <string.h>

#define ORDER_ROOM             (LS_FRAME_BODY_MAX - (uint32_t)sizeof(struct ls_order_body))
#define ORDER_FRAMES_PER_TURN  64        /* to the members in front in one loop turn */
#define BEHIND_FRAMES_PER_TURN 16        /* to one that is behind them */
#define COMMIT_TELL_NS         100000ull /* commit rose and nothing was ordered: followers are told after this long */
#define RTT_DEFAULT_NS         200000ull
#define PAST_LOOK_NS           50000ull /* whether the window has come */

/* ---- appending ---- */

static uint64_t stamp(const struct ls_replica *r, uint64_t now_ns)
{
    uint64_t time = ls_replica_log_time(r, now_ns);
    return time > r->log->last_time || ls_mutant(TIME_BACKWARDS) ? time : r->log->last_time;
}

void ls_sequencer_append(struct ls_replica *r, struct ls_entry *header, const void *operation, uint32_t length,
                         uint64_t now_ns)
{
    header->time = stamp(r, now_ns);
    ls_log_append(r->log, header, operation, length);
    ls_standing_follow(r);
    r->append_ns = now_ns;
    r->acks_changed = true; /* alone, this node is its own majority */
}

/* Members that are slow hold clients back before the ring forgets what they miss, for as long as they get on. One that
 * is dead, or lives and has stood still for suspend_ns, does not: it falls behind and is told so, for one node must not
 * stop a healthy majority. */
static bool followers_have_room(const struct ls_replica *r, uint64_t end, uint64_t now_ns)
{
    uint64_t slack = r->log->size - r->log->size / 8, oldest = ls_log_oldest(r->log);
    for (uint32_t i = 0; i < r->peers; i++) {
        const struct ls_peer *peer = &r->peer[i];
        if (peer->held < oldest)
            continue; /* the journal gives it what the ring has let go */
        if (peer->verified && end > peer->held + slack && now_ns - peer->heard_ns < r->config.suspend_ns &&
            now_ns - peer->moved_ns < r->config.suspend_ns)
            return false;
    }
    return true;
}

bool ls_sequencer_has_room(const struct ls_replica *r, uint32_t length, uint64_t now_ns)
{
    uint64_t size = ls_entry_size(length);
    if (r->handing != 0)
        return false; /* the one that takes over is catching up with what there is */
    if (ls_mutant(RING_OVERWRITTEN))
        return true;
    return ls_durable_has_room(r, r->log->end, size + ls_log_reserve(r->log)) &&
           followers_have_room(r, r->log->end + size, now_ns);
}

static void append_limits(struct ls_replica *r, uint64_t now_ns)
{
    struct ls_entry header = {.kind = LS_ENTRY_LIMITS};
    struct ls_entry_limits limits = {.keys = r->config.keys_max,
                                     .bytes = r->config.bytes_max,
                                     .session_idle = r->config.session_idle_ns,
                                     .sessions = r->config.sessions_max,
                                     .window = r->config.window};
    ls_sequencer_append(r, &header, &limits, sizeof(limits), now_ns);
}

/* The first membership of a log, or of a generation that begins behind a checkpoint: from here on it stands in the log.
 */
static void append_founders(struct ls_replica *r, uint64_t now_ns)
{
    struct ls_entry header = {.kind = LS_ENTRY_MEMBERS};
    uint8_t bytes[LS_MEMBERS_BYTES];
    uint32_t length = ls_change_pack(ls_log_members(r->log), bytes);
    ls_sequencer_append(r, &header, bytes, length, now_ns);
}

void ls_sequencer_open(struct ls_replica *r, uint64_t now_ns)
{
    /* The clock goes on from the last entry's stamp, at this machine's pace: never wall time, never backwards. */
    r->clock_base = ls_mutant(TIME_BACKWARDS) ? 0 : r->log->last_time;
    r->clock_base_ns = now_ns;
    bool empty = r->log->last_seq == 0;
    r->from_nothing = r->commit == 0;
    struct ls_entry header = {.kind = LS_ENTRY_EPOCH};
    struct ls_entry_epoch opening = {
        .epoch = r->epoch, .incarnation = r->config.incarnation, .sequencer = r->config.node};
    ls_sequencer_append(r, &header, &opening, sizeof(opening), now_ns);
    r->epoch_end = r->log->end;
    if (empty)
        append_limits(r, now_ns);
    if (ls_log_members(r->log)->seq == 0)
        append_founders(r, now_ns);
    r->commit_seq = ls_log_seq_at(r->log, r->commit) - 1;
    r->majority_ns = now_ns;
    r->confirmed_ns = 0;
    r->heartbeat_ns = 0;
    r->rtt_ns = RTT_DEFAULT_NS;
    r->commit_ns = 0;
    r->order_ns = now_ns;
    ls_replica_set_role(r, LS_ROLE_OPENING);
}

/* ---- majorities ---- */

static uint32_t majority(const struct ls_replica *r)
{
    uint32_t needed = r->voters / 2 + 1;
    return ls_mutant(QUORUM_SMALL) && needed > 1 ? needed - 1 : needed;
}

/* The highest value that so many voters have reached; `own` is this node's. Insertion into at most 7 places. */
static uint64_t reached_by(const struct ls_replica *r, uint32_t needed, uint64_t own,
                           uint64_t (*of)(const struct ls_peer *))
{
    uint64_t sorted[LS_MEMBERS_MAX];
    uint32_t n = 0;
    if (r->voter)
        sorted[n++] = own;
    for (uint32_t i = 0; i < r->peers; i++) {
        if (!r->peer[i].voter)
            continue;
        uint64_t value = of(&r->peer[i]);
        uint32_t at = n++;
        for (; at > 0 && sorted[at - 1] < value; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = value;
    }
    return sorted[needed - 1];
}

static uint64_t majority_reached(const struct ls_replica *r, uint64_t own, uint64_t (*of)(const struct ls_peer *))
{
    return reached_by(r, majority(r), own, of);
}

static uint64_t acked_of(const struct ls_peer *peer)
{
    return peer->verified && peer->counts ? peer->acked : 0;
}

static uint64_t durable_of(const struct ls_peer *peer)
{
    return peer->verified && peer->counts ? peer->durable : 0;
}

static uint64_t probe_of(const struct ls_peer *peer)
{
    return peer->probe;
}

static uint64_t heard_of(const struct ls_peer *peer)
{
    return peer->counts ? peer->heard_ns : 0;
}

static void commit_advance(struct ls_replica *r, uint64_t now_ns)
{
    /* The first commit of all is made by all voters together: one of them could contradict an empty log, were it empty
     * because its holder lost its memory; and whoever finds a committed log knows that every voter promised an epoch
     * for it. A later sequencer that took over a log of which it knows no commit finishes what the first one began. */
    bool all = r->from_nothing && r->commit < r->epoch_end;
    uint64_t held = reached_by(r, all ? r->voters : majority(r), ls_durable_end(r), acked_of);
    if (ls_mutant(REPLY_BEFORE_COMMIT))
        held = r->log->end;
    if (held < r->epoch_end && !ls_mutant(COMMIT_OLD_EPOCH))
        return;
    uint64_t commit = r->commit;
    while (r->commit_seq < r->log->last_seq) {
        uint64_t seq = r->commit_seq + 1;
        uint64_t end = seq == r->log->last_seq ? r->log->end : r->log->index[(seq + 1) & r->log->index_mask].position;
        if (end > held)
            break;
        commit = end;
        r->commit_seq = seq;
    }
    if (commit == r->commit)
        return;
    ls_replica_commit(r, commit);
    if (r->commit_ns == 0)
        r->commit_ns = now_ns;
}

/* ---- answers to members ---- */

static void question_add(struct ls_replica *r, struct ls_peer *peer, uint64_t number)
{
    ls_count(r->counters, read_questions_in);
    struct ls_question *last = peer->questions > 0 ? &peer->question[peer->questions - 1] : NULL;
    if (last != NULL && number <= last->number)
        return;
    /* While the epoch opens, commit may lag behind what an older epoch acknowledged; its first entry does not. */
    uint64_t index = r->commit > r->epoch_end ? r->commit : r->epoch_end;
    if (peer->questions == LS_QUESTIONS_MAX) {
        /* The newest two become one, with the later index and a probe still to come: later is safe for both. */
        *last = (struct ls_question){.number = number, .index = index};
    } else {
        peer->question[peer->questions++] = (struct ls_question){.number = number, .index = index};
    }
    r->probe_wanted = true;
}

static void parting_answer(struct ls_replica *r, struct ls_peer *peer, const struct ls_ack_body *ack)
{
    if (ack->question < peer->parting_number || (peer->verified && ack->question == peer->parting_number))
        return; /* an old question, delayed */
    uint64_t parting = ls_log_parting(r->log, (const struct ls_epoch_row *)(ack + 1), ack->rows, ack->position);
    peer->parting_number = ack->question;
    peer->parting_too_old = parting == UINT64_MAX || parting < ls_past_reach(r);
    peer->parting = peer->parting_too_old ? 0 : parting;
    peer->verified = false;
    peer->held = peer->acked = peer->durable = 0;
    peer->heartbeat_due = true;
}

/* In one epoch one incarnation of a node is listened to. First contact names it, for one that counts was admitted in
 * this epoch by this sequencer, or before, so that no older one has spoken in this epoch; one that is joining must have
 * been admitted here. One that came back with its log, and whom its ctrl lets count, needs no admission: what the older
 * one acknowledged is forgotten in the same step, and said again by the new one as it finds it (M4). */
static bool incarnation_accept(struct ls_replica *r, struct ls_peer *peer, uint64_t incarnation, bool joining,
                               bool resumed)
{
    if (peer->bound && incarnation > peer->incarnation && !joining && resumed)
        ls_change_replace(r, peer, incarnation);
    if ((!peer->bound && !joining) || ls_mutant(INCARNATION_IGNORED)) {
        peer->incarnation = incarnation;
        peer->bound = true;
    }
    return peer->bound && peer->incarnation == incarnation;
}

void ls_sequencer_ack(struct ls_replica *r, struct ls_peer *peer, const uint8_t *frame, uint64_t now_ns)
{
    const struct ls_frame_header *header = ls_frame_header(frame);
    const struct ls_ack_body *ack = ls_frame_body(frame);
    bool joining = (ack->flags & LS_ACK_JOINING) && !ls_mutant(JOINER_COUNTS);
    ls_count(r->counters, acks_in);
    bool durable = (ack->flags & LS_ACK_DURABLE) != 0;
    if (!incarnation_accept(r, peer, header->incarnation, joining, (ack->flags & LS_ACK_RESUMED) != 0)) {
        ls_count(r->counters, drop_incarnation);
        return;
    }
    if (!joining && !peer->counts) {
        peer->counts = true;
        r->acks_changed = true; /* what it acknowledged while it joined counts from now on */
    }
    peer->heard_ns = now_ns;
    atomic_store_explicit(&r->page->acked_seq[peer->node], ack->applied_seq, memory_order_relaxed);
    if (!(ack->flags & LS_ACK_VERIFIED)) {
        parting_answer(r, peer, ack);
        return;
    }
    /* Verified in this epoch without this node's answer, or further than this node ever was: someone else has been this
     * epoch's sequencer under this node's name. Its memory is gone, and its record was rolled back or it would not have
     * been installed. Counting the acknowledgement, or going on at all, could contradict what was promised then. */
    if (ack->position > r->log->end || (!peer->verified && peer->parting_number == 0)) {
        ls_count(r->counters, drop_ack_position);
        ls_replica_halt(r, LS_HALT_MEMORY_LOST, now_ns);
        return;
    }
    if (!peer->verified) {
        if (peer->parting_too_old && ack->position < ls_past_reach(r)) {
            ls_count(r->counters, drop_ack_position);
            peer->heartbeat_due = true;
            return; /* it fell behind the ring, and is told so */
        }
        peer->parting_too_old = false; /* its acknowledgements were late, not its log */
        peer->verified = true;
        peer->moved_ns = now_ns;
        peer->next = ack->position;
    }
    if (ack->position > peer->held) {
        peer->held = ack->position;
        peer->moved_ns = now_ns;
        if (peer->next < peer->held)
            peer->next = peer->held; /* fetched from somewhere else */
    }
    /* A disk is answered for where either end says so: who holds it in memory alone then answers for nothing. */
    uint64_t counts = durable || ls_durable_is_asked(r) ? ack->durable : ack->position;
    if (counts > peer->acked) {
        peer->acked = counts;
        r->acks_changed = true;
        atomic_store_explicit(&r->page->acked[peer->node], peer->acked, memory_order_relaxed);
    }
    if (ack->durable > peer->durable) {
        peer->durable = ack->durable;
        r->acks_changed = true;
    }
    if (ack->limit > peer->limit)
        peer->limit = ack->limit;
    if (!joining && ack->probe > peer->probe && ack->probe <= r->probe)
        peer->probe = ack->probe;
    if (ack->flags & LS_ACK_READ)
        question_add(r, peer, ack->question);
}

/* Questions whose probe a majority has echoed are answered in the next heartbeat; the newest answer covers the older
 * ones, for their index is not higher. */
static void questions_resolve(struct ls_replica *r)
{
    if (r->role == LS_ROLE_OPENING)
        return; /* commit may still lag behind what an older epoch acknowledged */
    for (uint32_t i = 0; i < r->peers; i++) {
        struct ls_peer *peer = &r->peer[i];
        uint32_t done = 0;
        while (done < peer->questions &&
               ((peer->question[done].probe != 0 && peer->question[done].probe <= r->probe_echoed) ||
                ls_mutant(READ_NO_PROBE)))
            done++;
        if (done == 0)
            continue;
        peer->read_answer = peer->question[done - 1].number;
        peer->read_index = peer->question[done - 1].index;
        peer->questions -= done;
        memmove(&peer->question[0], &peer->question[done], peer->questions * sizeof(peer->question[0]));
        peer->heartbeat_due = true;
    }
}

/* ---- frames to members ---- */

static void heartbeat_send(struct ls_replica *r, struct ls_peer *peer, uint64_t now_ns)
{
    struct ls_frame frame;
    if (!ls_replica_alloc(r, &frame, peer->addr))
        return;
    struct ls_heartbeat_body *body = ls_replica_begin(r, &frame, LS_FRAME_HEARTBEAT);
    struct ls_answer_record *answer = (struct ls_answer_record *)(body + 1);
    *body = (struct ls_heartbeat_body){.commit = r->commit,
                                       .last = r->log->end,
                                       .sent = peer->verified ? peer->next : 0,
                                       .time = ls_replica_log_time(r, now_ns),
                                       .confirmed = r->confirmed_ns == 0 ? 0 : ls_replica_log_time(r, r->confirmed_ns),
                                       .probe = r->probe};
    if (peer->parting_number != 0 && !peer->verified)
        *answer++ =
            (struct ls_answer_record){.incarnation = peer->incarnation,
                                      .number = peer->parting_number,
                                      /* the oldest position of this moment: the ring moves on while it is told */
                                      .position = peer->parting_too_old ? ls_past_reach(r) : peer->parting,
                                      .node = peer->node,
                                      .kind = peer->parting_too_old ? LS_ANSWER_TOO_OLD : LS_ANSWER_PARTING};
    if (peer->read_answer != 0)
        *answer++ = (struct ls_answer_record){.incarnation = peer->incarnation,
                                              .number = peer->read_answer,
                                              .position = peer->read_index,
                                              .node = peer->node,
                                              .kind = LS_ANSWER_READ};
    body->answers = (uint16_t)(answer - (struct ls_answer_record *)(body + 1));
    peer->read_answer = 0;
    peer->probe_sent = r->probe;
    peer->heartbeat_due = false;
    ls_count(r->counters, heartbeats_out);
    ls_replica_send(r, &frame, answer);
}

/* How far this member may be sent to now: what there is, what it has room for, what may be in flight. */
static uint64_t order_limit(const struct ls_replica *r, const struct ls_peer *peer)
{
    uint64_t limit = peer->held + r->config.inflight_max;
    if (limit > peer->limit)
        limit = peer->limit;
    return limit < r->log->end ? limit : r->log->end;
}

/* One ORDER frame for every member that stands at `position`: built and summed up once, copied for the others. */
static bool order_send(struct ls_replica *r, uint64_t position, const uint8_t *bytes, uint32_t length,
                       const uint32_t *group, uint32_t n, uint64_t now_ns)
{
    struct ls_frame first;
    if (!ls_replica_alloc(r, &first, r->peer[group[0]].addr))
        return false;
    struct ls_order_body *body = ls_replica_begin(r, &first, LS_FRAME_ORDER);
    *body = (struct ls_order_body){.position = position,
                                   .commit = r->commit,
                                   .last = r->log->end,
                                   .time = ls_replica_log_time(r, now_ns),
                                   .probe = r->probe};
    uint8_t *to = (uint8_t *)(body + 1);
    memcpy(to, bytes, length);
    first.length = ls_frame_end(first.data, to + length);
    bool all = true;
    for (uint32_t i = 1; i < n; i++) {
        struct ls_peer *peer = &r->peer[group[i]];
        struct ls_frame copy;
        if (!ls_replica_alloc(r, &copy, peer->addr)) {
            all = false; /* it stays where it is, and is sent to in the next turn */
            continue;
        }
        memcpy(copy.data, first.data, first.length);
        copy.length = first.length;
        peer->next = position + length;
        peer->probe_sent = r->probe;
        ls_count(r->counters, orders_out);
        r->io->send(r->io, &copy);
    }
    struct ls_peer *peer = &r->peer[group[0]];
    peer->next = position + length;
    peer->probe_sent = r->probe;
    ls_count(r->counters, orders_out);
    r->io->send(r->io, &first);
    return all;
}

/* Members that miss what neither ring nor journal holds any more are told so: a checkpoint helps them, this log cannot.
 * They are told from where on it holds bytes, for it may be only their acknowledgements that are missing here. */
static void laggards_tell(struct ls_replica *r)
{
    uint64_t oldest = ls_past_reach(r);
    for (uint32_t i = 0; i < r->peers; i++) {
        struct ls_peer *peer = &r->peer[i];
        if (!peer->verified || peer->held >= oldest)
            continue;
        peer->verified = false;
        peer->parting_too_old = true;
        peer->heartbeat_due = true;
    }
}

/* At most `budget` frames to `lead` and to all that stand where it does. */
static uint32_t orders_send_from(struct ls_replica *r, const struct ls_peer *lead, uint32_t budget, uint64_t now_ns)
{
    uint32_t sent = 0;
    for (; sent < budget && lead->next < order_limit(r, lead); sent++) {
        uint32_t group[LS_MEMBERS_MAX];
        uint32_t n = 0;
        uint64_t position = lead->next;
        uint64_t limit = UINT64_MAX;
        for (uint32_t i = 0; i < r->peers; i++) {
            const struct ls_peer *peer = &r->peer[i];
            uint64_t own_limit = order_limit(r, peer);
            if (!peer->verified || peer->next != position || own_limit <= position)
                continue;
            limit = own_limit < limit ? own_limit : limit;
            group[n++] = i;
        }
        uint32_t length = limit - position < ORDER_ROOM ? (uint32_t)(limit - position) : ORDER_ROOM;
        if (!order_send(r, position, ls_log_at(r->log, position), length, group, n, now_ns))
            break;
    }
    return sent;
}

/* To one that misses what the ring has let go: out of the window, which is asked for where it stands elsewhere. */
static uint32_t past_send(struct ls_replica *r, uint32_t peer, uint64_t now_ns)
{
    struct ls_peer *p = &r->peer[peer];
    uint32_t sent = 0;
    while (sent < BEHIND_FRAMES_PER_TURN && p->next < order_limit(r, p)) {
        uint64_t there, limit = order_limit(r, p) - p->next;
        const uint8_t *bytes = ls_past_at(r, p->next, &there);
        if (bytes == NULL) {
            ls_past_want(r, p->next);
            break;
        }
        there = there < limit ? there : limit;
        if (!order_send(r, p->next, bytes, there < ORDER_ROOM ? (uint32_t)there : ORDER_ROOM, &peer, 1, now_ns))
            break;
        sent++;
    }
    return sent;
}

/* Those in front first, for what is new waits for them; usually that is all. Each of the others has a small share of
 * its own: with what it misses one that comes back would otherwise take whole turns, and nobody's requests were sent to
 * anybody until it had caught up. */
static uint32_t orders_send(struct ls_replica *r, uint64_t now_ns)
{
    uint64_t front = 0, oldest = ls_log_oldest(r->log);
    uint32_t behind = 0; /* bit i: peer[i] */
    uint32_t sent = 0;
    for (uint32_t i = 0; i < r->peers; i++) {
        if (r->peer[i].verified && r->peer[i].next > front)
            front = r->peer[i].next;
    }
    for (uint32_t i = 0; i < r->peers; i++) {
        if (!r->peer[i].verified)
            continue;
        if (r->peer[i].next < front || r->peer[i].next < oldest)
            behind |= 1u << i;
        else
            sent += orders_send_from(r, &r->peer[i], ORDER_FRAMES_PER_TURN - sent, now_ns);
    }
    for (uint32_t i = 0; behind >> i != 0; i++) {
        if (behind >> i & 1)
            sent += r->peer[i].next < oldest ? past_send(r, i, now_ns)
                                             : orders_send_from(r, &r->peer[i], BEHIND_FRAMES_PER_TURN, now_ns);
    }
    if (sent > 0)
        r->order_ns = now_ns;
    return sent;
}

/* ---- the turn ---- */

/* A new probe number leaves in frames built from now on: after every read and question that waits for it came. */
static void probe_raise(struct ls_replica *r, uint64_t now_ns)
{
    uint64_t probe = ls_mutant(READ_PROBE_EARLY) && r->probe > 0 ? r->probe : r->probe + 1;
    r->probe_wanted = false;
    ls_reads_give_probe(r, probe);
    for (uint32_t i = 0; i < r->peers; i++) {
        struct ls_peer *peer = &r->peer[i];
        for (uint32_t k = 0; k < peer->questions; k++) {
            if (peer->question[k].probe == 0)
                peer->question[k].probe = probe;
        }
    }
    if (r->probe_ns == 0) {
        r->probe_ns = now_ns;
        r->probe_timed = probe;
    }
    r->probe = probe;
}

static void probe_turn(struct ls_replica *r, uint64_t now_ns)
{
    if (r->probe_wanted)
        probe_raise(r, now_ns);
    uint64_t echoed = majority_reached(r, r->probe, probe_of);
    if (echoed > r->probe_echoed) {
        r->probe_echoed = echoed;
        if (r->probe_ns != 0 && echoed >= r->probe_timed) {
            uint64_t sample = now_ns - r->probe_ns;
            r->rtt_ns = r->rtt_ns - r->rtt_ns / 8 + sample / 8;
            r->confirmed_ns = r->probe_ns; /* it was the sequencer when that probe left */
            r->probe_ns = 0;
        }
    }
    questions_resolve(r);
}

static bool majority_is_heard(struct ls_replica *r, uint64_t now_ns)
{
    uint64_t heard = majority_reached(r, now_ns, heard_of);
    if (heard > r->majority_ns)
        r->majority_ns = heard;
    return now_ns - r->majority_ns < r->config.suspend_ns;
}

static void role_turn(struct ls_replica *r, uint64_t now_ns)
{
    bool heard = majority_is_heard(r, now_ns) || ls_mutant(NO_SUSPEND);
    bool open = r->commit >= r->epoch_end && r->applied >= r->epoch_end;
    enum ls_role role = !open ? LS_ROLE_OPENING : heard ? LS_ROLE_SEQUENCER : LS_ROLE_SUSPENDED;
    ls_replica_set_role(r, role);
    if (open && !r->view_opened) {
        r->view_opened = r->view_due = true;
        r->view_next = 0;
    }
    if (r->voters == 1)
        r->confirmed_ns = now_ns;
    if (r->confirmed_ns > r->fresh_ns)
        r->fresh_ns = r->confirmed_ns;
}

static void tick(struct ls_replica *r, uint64_t now_ns)
{
    if (r->role != LS_ROLE_SEQUENCER || now_ns - r->append_ns < r->config.tick_ns)
        return;
    if (!r->type->time_pending(r->machine) || !ls_sequencer_has_room(r, 0, now_ns))
        return;
    struct ls_entry header = {.kind = LS_ENTRY_TICK};
    ls_sequencer_append(r, &header, NULL, 0, now_ns);
    ls_count(r->counters, ticks_ordered);
}

/* Something was sent and not acknowledged for longer than a round trip takes: a heartbeat shows what was lost. */
static bool tail_is_late(const struct ls_replica *r, const struct ls_peer *peer, uint64_t now_ns)
{
    uint64_t patience = r->rtt_ns * 4 > COMMIT_TELL_NS ? r->rtt_ns * 4 : COMMIT_TELL_NS;
    return peer->verified && peer->held < peer->next && now_ns - r->order_ns > patience &&
           now_ns - r->heartbeat_ns > patience;
}

static uint32_t heartbeats_send(struct ls_replica *r, uint64_t now_ns)
{
    uint32_t sent = 0;
    bool all = now_ns - r->heartbeat_ns >= r->config.heartbeat_ns;
    bool told = r->commit_ns == 0;
    if (!told && now_ns - r->commit_ns >= COMMIT_TELL_NS)
        all = true;
    for (uint32_t i = 0; i < r->peers && !all; i++)
        all = tail_is_late(r, &r->peer[i], now_ns);
    if (all && r->peers > 0)
        probe_raise(r, now_ns); /* measures the round trip even where nobody reads */
    for (uint32_t i = 0; i < r->peers; i++) {
        struct ls_peer *peer = &r->peer[i];
        if (!all && !peer->heartbeat_due && peer->probe_sent == r->probe)
            continue;
        heartbeat_send(r, peer, now_ns);
        sent++;
    }
    if (all) {
        r->heartbeat_ns = now_ns;
        r->commit_ns = 0;
    }
    return sent;
}

uint32_t ls_sequencer_turn(struct ls_replica *r, uint64_t now_ns)
{
    uint32_t work = 0;
    ls_pull_turn(r, now_ns);
    tick(r, now_ns);
    if (r->acks_changed) {
        r->acks_changed = false;
        commit_advance(r, now_ns);
        if (r->config.durability == LS_DURABLE_ASYNC)
            work += ls_durable_disks(r, majority_reached(r, ls_durable_own(r), durable_of));
    }
    role_turn(r, now_ns);
    probe_turn(r, now_ns);
    ls_change_turn(r, now_ns);
    laggards_tell(r);
    uint32_t orders = orders_send(r, now_ns);
    if (orders > 0)
        r->commit_ns = 0; /* every ORDER tells it */
    work += orders;
    work += heartbeats_send(r, now_ns);
    work += ls_answer_views(r, now_ns);
    return work;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t ls_sequencer_next_ns(const struct ls_replica *r, uint64_t now_ns)
{
    if (r->acks_changed || r->probe_wanted || (r->view_due && r->role == LS_ROLE_SEQUENCER))
        return now_ns;
    uint64_t next = r->handing != 0 ? r->handing_ends : UINT64_MAX;
    if (r->peers > 0) {
        next = earlier(next, r->heartbeat_ns + r->config.heartbeat_ns);
        if (r->commit_ns != 0)
            next = earlier(next, r->commit_ns + COMMIT_TELL_NS);
        uint64_t patience = r->rtt_ns * 4 > COMMIT_TELL_NS ? r->rtt_ns * 4 : COMMIT_TELL_NS;
        for (uint32_t i = 0; i < r->peers; i++) {
            const struct ls_peer *peer = &r->peer[i];
            if (peer->heartbeat_due)
                return now_ns;
            if (peer->verified && peer->next < order_limit(r, peer)) {
                if (peer->next >= ls_log_oldest(r->log))
                    return now_ns;
                next = earlier(next, now_ns + PAST_LOOK_NS);
            }
            if (peer->verified && peer->held < peer->next)
                next = earlier(next, (r->order_ns > r->heartbeat_ns ? r->order_ns : r->heartbeat_ns) + patience + 1);
        }
    }
    if (r->role == LS_ROLE_OPENING && r->commit >= r->epoch_end)
        next = earlier(next, now_ns + 10000); /* apply is on its way */
    if (r->role == LS_ROLE_SEQUENCER && r->type->time_pending(r->machine) && ls_sequencer_has_room(r, 0, now_ns))
        next = earlier(next, r->append_ns + r->config.tick_ns);
    return earlier(next, ls_pull_next_ns(r));
}
