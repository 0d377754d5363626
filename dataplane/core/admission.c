/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * REQUEST frames at the sequencer: which of a client's requests are ordered now, kept until their predecessors come,
 * answered again, or refused. Net thread.
 *
 * The window of a session starts in each epoch from the session table, which by then holds everything that older
 * epochs ordered; afterwards this file alone orders for it. Requests of a session are ordered by their number. apply
 * stays the authority: what slips through here is still not executed twice.
 */
#include "memory.h"
#include "replica_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

int ls_admission_init(struct ls_replica *r)
{
    r->admission = ls_memory_map(r->config.sessions_max * sizeof(*r->admission));
    r->stash = ls_memory_map(LS_STASH_MAX * sizeof(*r->stash));
    if (r->admission == NULL || r->stash == NULL)
        return -ENOMEM;
    ls_admission_reset(r);
    return 0;
}

void ls_admission_free(struct ls_replica *r)
{
    ls_memory_unmap(r->admission, r->config.sessions_max * sizeof(*r->admission));
    ls_memory_unmap(r->stash, LS_STASH_MAX * sizeof(*r->stash));
}

/* Admissions carry their epoch, so those of the old one are void by themselves; only the stash is emptied. */
void ls_admission_reset(struct ls_replica *r)
{
    if (r->stash_fresh)
        return;
    for (uint32_t i = 0; i < LS_STASH_MAX; i++)
        r->stash[i].next = i + 1 < LS_STASH_MAX ? i + 2 : 0;
    r->stash_free = 1;
    r->stash_fresh = true;
}

struct ls_admission *ls_admission_find(struct ls_replica *r, uint64_t session, uint32_t slot, bool *later)
{
    *later = false;
    if (slot >= r->config.sessions_max || session == 0)
        return NULL;
    struct ls_admission *a = &r->admission[slot];
    if (a->session == session && a->epoch == r->epoch)
        return a;
    /* Acquire, thrice: pairs with apply's release stores of 0, next, session (seam.h). */
    const struct ls_session_public *public = &r->seam->sessions[slot];
    uint64_t before = atomic_load_explicit(&public->session, memory_order_acquire);
    uint64_t next = atomic_load_explicit(&public->next, memory_order_acquire);
    uint64_t after = atomic_load_explicit(&public->session, memory_order_acquire);
    if (before != after || before == 0) {
        *later = before != after;
        return NULL;
    }
    if (before != session)
        return NULL;
    /* Whoever had the slot before is gone; what it left in the stash goes with it. */
    while (a->stash != 0 && a->epoch == r->epoch) {
        struct ls_stash *s = &r->stash[a->stash - 1];
        uint32_t index = a->stash;
        a->stash = s->next;
        s->next = r->stash_free;
        r->stash_free = index;
    }
    *a = (struct ls_admission){.session = session, .epoch = r->epoch, .next = next};
    return a;
}

/* What is more than a commit stands for here, and can be had. */
static uint16_t durability_wanted(const struct ls_replica *r, const struct ls_request_record *record)
{
    return record->durability == LS_DURABLE_JOURNAL && r->config.durability == LS_DURABLE_ASYNC ? LS_DURABLE_JOURNAL
                                                                                                : 0;
}

static void entry_header(struct ls_entry *header, const struct ls_replica *r, const struct ls_request_record *record,
                         struct ls_addr client)
{
    static const uint16_t kind_of[] = {
        [LS_REQUEST_OPERATION] = LS_ENTRY_OPERATION,
        [LS_REQUEST_OPEN] = LS_ENTRY_OPEN,
        [LS_REQUEST_QUERY] = LS_ENTRY_QUERY,
        [LS_REQUEST_ANNOUNCE] = LS_ENTRY_OPERATION,
    };
    uint64_t behind = record->number - record->awaited;
    *header = (struct ls_entry){.session = record->session,
                                .number = record->number,
                                .deadline = record->deadline,
                                .slot = record->slot,
                                .ip = client.ip,
                                .port = client.port,
                                .kind = kind_of[record->kind],
                                .durability = durability_wanted(r, record),
                                .awaited = (uint16_t)(behind < UINT16_MAX ? behind : UINT16_MAX)};
}

static void order_entry(struct ls_replica *r, const struct ls_request_record *record, const uint8_t *operation,
                        uint32_t length, struct ls_addr client, uint64_t now_ns)
{
    struct ls_entry header;
    entry_header(&header, r, record, client);
    ls_sequencer_append(r, &header, operation, length, now_ns);
    ls_count(r->counters, requests_ordered);
}

/* Appends the entry, or says BUSY where there is no room. */
static bool order_or_busy(struct ls_replica *r, const struct ls_request_record *record, const uint8_t *operation,
                          uint32_t length, struct ls_addr client, uint64_t now_ns)
{
    if (!ls_sequencer_has_room(r, length, now_ns)) {
        ls_count(r->counters, busy_log);
        ls_answer_busy(r, client, record->session, record->number, LS_STATUS_BUSY_LOG, false, now_ns);
        return false;
    }
    order_entry(r, record, operation, length, client, now_ns);
    return true;
}

bool ls_admission_order(struct ls_replica *r, struct ls_admission *a, const struct ls_request_record *record,
                        const uint8_t *operation, uint32_t length, struct ls_addr client, uint64_t now_ns)
{
    if (!order_or_busy(r, record, operation, length, client, now_ns))
        return false;
    a->next = record->number + 1;
    return true;
}

void ls_admission_drain(struct ls_replica *r, struct ls_admission *a, uint64_t now_ns)
{
    for (;;) {
        struct ls_pull *pull = r->pulls > 0 ? ls_pull_ready(r, a->session, a->next) : NULL;
        if (pull != NULL) {
            if (!ls_admission_order(r, a, &pull->record, pull->operation, pull->record.total, pull->client, now_ns))
                return; /* it stays; the client's next repeat of the announcement tries again */
            ls_count(r->counters, requests_pulled);
            ls_pull_release(r, pull);
            continue;
        }
        if (a->stash == 0)
            return;
        uint32_t index = a->stash;
        struct ls_stash *s = &r->stash[index - 1];
        if (s->record.number > a->next)
            return;
        bool ordered = s->record.number < a->next || /* came again, and directly, in the meantime */
                       ls_admission_order(r, a, &s->record, s->operation, s->record.length, s->client, now_ns);
        a->stash = s->next;
        s->next = r->stash_free;
        r->stash_free = index;
        if (!ordered)
            return;
    }
}

/* The stash is full: what has waited for longer than a client would be silent is forgotten. A few places at a time. */
static void stash_forget(struct ls_replica *r, uint64_t now_ns)
{
    for (uint32_t i = 0; i < LS_BURST; i++) {
        uint32_t index = r->stash_cursor + 1;
        struct ls_stash *s = &r->stash[index - 1];
        r->stash_cursor = index % LS_STASH_MAX;
        if (now_ns - s->since_ns < r->config.pull_idle_ns)
            continue;
        struct ls_admission *a = &r->admission[s->record.slot];
        uint32_t *link = &a->stash;
        while (*link != index) {
            assert(*link != 0); /* a full stash has no place that no session owns */
            link = &r->stash[*link - 1].next;
        }
        *link = s->next;
        s->next = r->stash_free;
        r->stash_free = index;
    }
}

/* Keeps a request whose predecessors have not come yet; the session's list ascends by number. */
static void stash(struct ls_replica *r, struct ls_admission *a, const struct ls_request_record *record,
                  struct ls_addr client, uint64_t now_ns)
{
    uint32_t *link = &a->stash;
    while (*link != 0 && r->stash[*link - 1].record.number < record->number)
        link = &r->stash[*link - 1].next;
    if (*link != 0 && r->stash[*link - 1].record.number == record->number)
        return; /* kept already */
    if (r->stash_free == 0)
        stash_forget(r, now_ns);
    if (r->stash_free == 0) {
        ls_count(r->counters, busy_stash);
        ls_answer_busy(r, client, record->session, record->number, LS_STATUS_BUSY_STASH, false, now_ns);
        return;
    }
    uint32_t index = r->stash_free;
    struct ls_stash *s = &r->stash[index - 1];
    r->stash_free = s->next;
    r->stash_fresh = false;
    s->record = *record;
    s->client = client;
    s->since_ns = now_ns;
    memcpy(s->operation, record + 1, record->length);
    s->next = *link;
    *link = index;
    ls_count(r->counters, requests_stashed);
}

static void repeat(struct ls_replica *r, const struct ls_request_record *record, struct ls_addr client)
{
    ls_count(r->counters, requests_repeated);
    struct ls_repeat ask = {
        .session = record->session, .number = record->number, .slot = record->slot, .client = client};
    ask.durability = durability_wanted(r, record);
    if (!ls_spsc_push(&r->seam->repeats, &ask))
        ls_count(r->counters, drop_reply_ask);
}

/* No such session in the table. A session's id is the seq of its opening: one that is not applied here yet may well
 * exist, opened in an epoch that this node has not heard of, and must not be called unknown, for that is final. */
static void session_missing(struct ls_replica *r, const struct ls_request_record *record, struct ls_addr client,
                            bool later, uint64_t now_ns)
{
    if (later || record->session > r->applied_seq) {
        ls_count(r->counters, busy_behind);
        ls_answer_busy(r, client, record->session, record->number, LS_STATUS_BUSY_BEHIND, false, now_ns);
        return;
    }
    ls_count(r->counters, refused_session);
    ls_answer_refusal(r, client, record, LS_STATUS_SESSION_UNKNOWN, now_ns);
}

/* An operation or query whose number was ordered before. A query is ordered all the same: its answer must be final. */
static void request_again(struct ls_replica *r, const struct ls_request_record *record, struct ls_addr client,
                          uint64_t now_ns)
{
    if (record->kind == LS_REQUEST_QUERY || (ls_mutant(REPEAT_ORDERED) && record->kind == LS_REQUEST_OPERATION)) {
        (void)order_or_busy(r, record, (const uint8_t *)(record + 1), record->length, client, now_ns);
        return;
    }
    repeat(r, record, client);
}

static void request(struct ls_replica *r, const struct ls_request_record *record, struct ls_addr client,
                    uint64_t now_ns)
{
    ls_count(r->counters, requests_in);
    if (record->kind == LS_REQUEST_OPEN) {
        (void)order_or_busy(r, record, (const uint8_t *)(record + 1), record->length, client, now_ns);
        return;
    }
    if ((record->kind == LS_REQUEST_ANNOUNCE ? record->total : record->length) > r->config.op_max) {
        ls_count(r->counters, refused_too_large);
        ls_answer_refusal(r, client, record, LS_STATUS_TOO_LARGE, now_ns);
        return;
    }
    bool later;
    struct ls_admission *a = ls_admission_find(r, record->session, record->slot, &later);
    if (a == NULL) {
        session_missing(r, record, client, later, now_ns);
        return;
    }
    if (record->number < a->next) {
        request_again(r, record, client, now_ns);
        return;
    }
    /* The log's own window, once it is applied here: what apply keeps results by. */
    uint32_t window = atomic_load_explicit(&r->seam->window, memory_order_relaxed);
    if (window == 0)
        window = r->config.window;
    if (record->number - record->awaited >= window || record->number - a->next >= window) {
        ls_count(r->counters, busy_window);
        ls_answer_busy(r, client, record->session, record->number, LS_STATUS_BUSY_WINDOW, false, now_ns);
        return;
    }
    if (record->kind == LS_REQUEST_ANNOUNCE) {
        ls_pull_announce(r, a, record, client, now_ns);
        return;
    }
    if (record->number > a->next) {
        stash(r, a, record, client, now_ns);
        return;
    }
    if (!ls_admission_order(r, a, record, (const uint8_t *)(record + 1), record->length, client, now_ns))
        return;
    if (a->stash != 0 || r->pulls > 0)
        ls_admission_drain(r, a, now_ns);
}

/* Why this node takes no requests now; OK: it does. */
static uint16_t not_serving(const struct ls_replica *r)
{
    switch (r->role) {
    case LS_ROLE_SEQUENCER: /* for the client a hand-over is as short as an opening, and ends in one */
        return r->handing != 0 ? LS_STATUS_BUSY_OPENING : LS_STATUS_OK;
    case LS_ROLE_OPENING:
        return ls_mutant(SERVE_BEFORE_OPEN) ? LS_STATUS_OK : LS_STATUS_BUSY_OPENING;
    case LS_ROLE_SUSPENDED:
        return LS_STATUS_BUSY_SUSPENDED;
    case LS_ROLE_HALTED:
        return LS_STATUS_HALTED;
    default:
        return LS_STATUS_NO_SEQUENCER;
    }
}

static void count_not_serving(struct ls_replica *r, uint16_t status)
{
    static const enum ls_counter counter_of[] = {
        [LS_STATUS_BUSY_OPENING - 32] = LS_COUNT_busy_opening,
        [LS_STATUS_BUSY_SUSPENDED - 32] = LS_COUNT_busy_suspended,
        [LS_STATUS_NO_SEQUENCER - 32] = LS_COUNT_busy_no_sequencer,
        [LS_STATUS_HALTED - 32] = LS_COUNT_busy_halted,
    };
    ls_count_add(r->counters, counter_of[status - 32], 1);
}

void ls_admission_request(struct ls_replica *r, const struct ls_frame *frame, uint64_t now_ns)
{
    const struct ls_request_record *record;
    const uint8_t *at = NULL;
    uint16_t status = not_serving(r);
    if (status == LS_STATUS_NO_SEQUENCER && r->sequencer != 0 && ls_standing_members(r)->count > 0) {
        ls_count(r->counters, requests_redirected);
        ls_answer_redirect(r, frame->peer, now_ns);
        return;
    }
    while ((record = ls_request_next(frame->data, &at)) != NULL) {
        if (status == LS_STATUS_OK) {
            request(r, record, frame->peer, now_ns);
            continue;
        }
        count_not_serving(r, status);
        ls_answer_busy(r, frame->peer, record->session, record->number, status, false, now_ns);
    }
}
