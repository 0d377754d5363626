/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Gap repair, both ends. The follower remembers which bytes came early, waits a measured moment for late ones, then
 * asks for the missing ones: first the sequencer, then the other members in turn. Any replica that is verified in the
 * epoch serves them, a bounded number of frames in a loop turn. Net thread.
 *
 * The patience adapts: a gap that closes by itself raises it to twice the lateness seen, quiet times lower it slowly; a
 * byte that arrives after it was fetched shows that it was too short.
 */
#include "replica_internal.h"

#include <string.h>

#define RANGE_ROOM           (LS_FRAME_BODY_MAX - (uint32_t)sizeof(struct ls_range_body))
#define FETCH_TIMEOUT_MIN_NS 100000ull
#define FETCH_TIMEOUT_MAX_NS 20000000ull
#define FETCH_RTT_DEFAULT_NS 200000ull

void ls_repair_reset(struct ls_repair *repair, uint64_t delay_ns)
{
    uint64_t rtt = repair->rtt_ns;
    memset(repair, 0, sizeof(*repair));
    repair->delay_ns = delay_ns;
    repair->rtt_ns = rtt != 0 ? rtt : FETCH_RTT_DEFAULT_NS;
}

bool ls_repair_add(struct ls_repair *repair, uint64_t begin, uint64_t end)
{
    uint32_t at = 0;
    while (at < repair->ranges && repair->range[at].end < begin)
        at++;
    uint32_t last = at; /* ranges at..last-1 touch or overlap the new one and become one with it */
    while (last < repair->ranges && repair->range[last].begin <= end) {
        if (repair->range[last].begin < begin)
            begin = repair->range[last].begin;
        if (repair->range[last].end > end)
            end = repair->range[last].end;
        last++;
    }
    if (last == at && repair->ranges == LS_RANGES_MAX)
        return false;
    uint32_t behind = repair->ranges - last;
    memmove(&repair->range[at + 1], &repair->range[last], behind * sizeof(repair->range[0]));
    repair->range[at] = (struct ls_range){.begin = begin, .end = end};
    repair->ranges = at + 1 + behind;
    return true;
}

uint64_t ls_repair_join(struct ls_repair *repair, uint64_t filled)
{
    uint32_t joined = 0;
    while (joined < repair->ranges && repair->range[joined].begin <= filled) {
        if (repair->range[joined].end > filled)
            filled = repair->range[joined].end;
        joined++;
    }
    if (joined > 0) {
        repair->ranges -= joined;
        memmove(&repair->range[0], &repair->range[joined], repair->ranges * sizeof(repair->range[0]));
    }
    return filled;
}

static uint64_t fetch_timeout(const struct ls_repair *repair)
{
    uint64_t timeout = repair->rtt_ns * 4;
    return timeout < FETCH_TIMEOUT_MIN_NS ? FETCH_TIMEOUT_MIN_NS : timeout;
}

void ls_repair_moved(struct ls_replica *r, uint64_t filled, uint64_t now_ns)
{
    struct ls_repair *repair = &r->repair;
    if (repair->gap_ns == 0 || filled <= repair->gap_at)
        return;
    uint64_t late = now_ns - repair->gap_ns;
    if (repair->fetched_ns != 0) {
        uint64_t sample = now_ns - repair->fetched_ns;
        repair->rtt_ns = repair->rtt_ns - repair->rtt_ns / 8 + sample / 8;
    } else if (late * 2 > repair->delay_ns) {
        repair->delay_ns = late * 2 < r->config.reorder_max_ns ? late * 2 : r->config.reorder_max_ns;
    } else if (repair->delay_ns > r->config.reorder_min_ns) {
        repair->delay_ns -= (repair->delay_ns - r->config.reorder_min_ns) / 32;
    }
    /* Whatever is still missing gets the same patience anew: the bytes are on their way. */
    repair->gap_ns = 0;
    repair->fetched_ns = 0;
    repair->attempt = 0;
}

void ls_repair_duplicate(struct ls_replica *r, uint64_t now_ns)
{
    struct ls_repair *repair = &r->repair;
    if (repair->last_fetch_ns == 0 || now_ns - repair->last_fetch_ns > r->config.reorder_max_ns)
        return;
    uint64_t delay = repair->delay_ns + repair->delay_ns / 16;
    repair->delay_ns = delay < r->config.reorder_max_ns ? delay : r->config.reorder_max_ns;
}

/* The gaps in ascending order, as many as one FETCH may ask for. */
static uint32_t gaps_list(const struct ls_replica *r, struct ls_fetch_range *gap)
{
    const struct ls_repair *repair = &r->repair;
    uint64_t room_end = r->applied + r->log->size; /* beyond it nothing can be taken yet */
    uint64_t bytes = 0;
    uint64_t at = r->log->filled;
    uint32_t n = 0;
    for (uint32_t i = 0; i <= repair->ranges && n < LS_FETCH_RANGES_MAX && bytes < LS_FETCH_BYTES_MAX; i++) {
        uint64_t end = i < repair->ranges ? repair->range[i].begin : repair->known_end;
        if (end > room_end)
            end = room_end;
        if (end > at) {
            if (end - at > LS_FETCH_BYTES_MAX - bytes)
                end = at + (LS_FETCH_BYTES_MAX - bytes);
            gap[n++] = (struct ls_fetch_range){.begin = at, .end = end};
            bytes += end - at;
        }
        if (i < repair->ranges)
            at = repair->range[i].end;
    }
    return n;
}

/* First the sequencer, which need not be a member that this log knows of, nor where; then the members in turn. */
static struct ls_addr fetch_target(const struct ls_replica *r)
{
    uint32_t index = r->peer_of[r->sequencer];
    uint32_t turn = r->repair.attempt % (index == 0 ? r->peers + 1 : r->peers);
    if (turn == 0 || ls_mutant(FETCH_SEQUENCER))
        return r->sequencer_addr;
    return index == 0 ? r->peer[turn - 1].addr : r->peer[(index - 1 + turn) % r->peers].addr;
}

static void fetch_send(struct ls_replica *r, uint64_t now_ns)
{
    struct ls_repair *repair = &r->repair;
    struct ls_fetch_range gap[LS_FETCH_RANGES_MAX];
    uint32_t n = gaps_list(r, gap);
    struct ls_frame frame;
    /* Paced also where nothing can be asked for yet: no room for it, no buffer. */
    repair->fetched_ns = now_ns;
    if (n == 0 || !ls_replica_alloc(r, &frame, fetch_target(r)))
        return;
    struct ls_fetch_body *body = ls_replica_begin(r, &frame, LS_FRAME_FETCH);
    *body = (struct ls_fetch_body){.ranges = (uint16_t)n};
    memcpy(body + 1, gap, n * sizeof(gap[0]));
    repair->last_fetch_ns = now_ns;
    ls_count(r->counters, fetches_out);
    ls_replica_send(r, &frame, (uint8_t *)(body + 1) + n * sizeof(gap[0]));
}

void ls_repair_turn(struct ls_replica *r, uint64_t now_ns)
{
    struct ls_repair *repair = &r->repair;
    if (repair->ranges == 0 && repair->known_end <= r->log->filled) {
        repair->gap_ns = 0;
        repair->fetched_ns = 0;
        return;
    }
    if (repair->gap_ns == 0) {
        repair->gap_ns = now_ns;
        repair->gap_at = r->log->filled;
        repair->timeout_ns = fetch_timeout(repair);
        repair->fetched_ns = 0;
        repair->attempt = 0;
    }
    if (ls_mutant(FETCH_AT_ONCE)) {
        fetch_send(r, now_ns);
        return;
    }
    if (repair->fetched_ns == 0) {
        if (now_ns - repair->gap_ns >= (ls_mutant(FETCH_LATE) ? 10000000 : repair->delay_ns))
            fetch_send(r, now_ns);
        return;
    }
    if (now_ns - repair->fetched_ns < repair->timeout_ns)
        return;
    repair->attempt++;
    repair->timeout_ns = repair->timeout_ns * 2 < FETCH_TIMEOUT_MAX_NS ? repair->timeout_ns * 2 : FETCH_TIMEOUT_MAX_NS;
    fetch_send(r, now_ns);
}

uint64_t ls_repair_next_ns(const struct ls_replica *r)
{
    const struct ls_repair *repair = &r->repair;
    if (repair->ranges == 0 && repair->known_end <= r->log->filled)
        return UINT64_MAX;
    if (repair->gap_ns == 0)
        return 0;
    return repair->fetched_ns == 0 ? repair->gap_ns + repair->delay_ns : repair->fetched_ns + repair->timeout_ns;
}

/* ---- the serving end ---- */

static uint64_t verified_end(const struct ls_replica *r)
{
    if (ls_replica_is_sequencer(r))
        return r->log->end;
    if (r->role == LS_ROLE_FOLLOWER)
        return r->log->filled;
    return ls_mutant(FETCH_UNVERIFIED) ? r->log->end : 0;
}

/* What it misses lies in the past, and not in the window: it is sent again from there on. */
static void rewind(struct ls_replica *r, const struct ls_peer *peer, uint64_t at)
{
    struct ls_peer *behind = &r->peer[peer - r->peer];
    if (ls_replica_is_sequencer(r) && peer->verified && at >= ls_past_reach(r) && at >= peer->held && at < peer->next)
        behind->next = at;
    else
        ls_count(r->counters, drop_fetch_gone);
}

void ls_repair_serve(struct ls_replica *r, const struct ls_peer *peer, const uint8_t *frame)
{
    const struct ls_fetch_body *body = ls_frame_body(frame);
    const struct ls_fetch_range *range = (const struct ls_fetch_range *)(body + 1);
    uint64_t newest = verified_end(r);
    ls_count(r->counters, fetches_in);
    for (uint32_t i = 0; i < body->ranges; i++) {
        uint64_t there, at = range[i].begin;
        uint64_t end = range[i].end < newest ? range[i].end : newest;
        if (end < range[i].end)
            ls_count(r->counters, drop_fetch_gone);
        while (at < end && (r->bulk > 0 || ls_mutant(SERVE_UNCAPPED))) {
            const uint8_t *bytes = ls_past_at(r, at, &there);
            struct ls_frame out;
            if (bytes == NULL) {
                rewind(r, peer, at);
                break;
            }
            if (!ls_replica_alloc(r, &out, peer->addr))
                return;
            there = there < end - at ? there : end - at;
            uint32_t length = there < RANGE_ROOM ? (uint32_t)there : RANGE_ROOM;
            struct ls_range_body *to = ls_replica_begin(r, &out, LS_FRAME_RANGE);
            *to = (struct ls_range_body){.position = at};
            memcpy(to + 1, bytes, length);
            ls_count(r->counters, ranges_out);
            ls_replica_send(r, &out, (uint8_t *)(to + 1) + length);
            at += length;
            r->bulk -= r->bulk > 0;
        }
    }
}
