/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The session table; see session.h. Called by the executor, on the apply thread.
 *
 * Order of use: a circular list through `link` over the open sessions, most recently used last; index 0 is the list's
 * head, slot s stands at index s + 1. A slot comes from the freed ones (last freed first, linked by `next`), else
 * from those never used, in order: the log alone decides which.
 *
 * What must not differ between replicas: everything but the layout of `place`, which is found by content only.
 *
 * Whatever changes a slot calls slot_save() before: session_touch(), session_evict(), slot_take(). Results change only
 * behind a touch of the same burst.
 */
#include <assert.h>

#include "memory.h"
#include "mutant.h"
#include "session_table.h"

/* ---- digest ---- */

static inline uint64_t mix(uint64_t value)
{
    value *= 0x9e3779b97f4a7c15ull;
    return value ^ (value >> 29);
}

static uint64_t bytes_mark(const uint8_t *bytes, uint32_t length)
{
    uint64_t mark = length;
    uint64_t word;
    for (; length >= 8; length -= 8, bytes += 8) {
        memcpy(&word, bytes, sizeof(word));
        mark = mix(mark ^ word);
    }
    if (length > 0) {
        word = 0;
        memcpy(&word, bytes, length);
        mark = mix(mark ^ word);
    }
    return mark;
}

static inline uint64_t session_mark(const struct ls_session *session, uint32_t slot)
{
    return session->id * 0xff51afd7ed558ccdull + session->next * 0xc4ceb9fe1a85ec53ull +
           session->floor * 0x87c37b91114253d5ull + (session->active ^ ((uint64_t)slot << 40)) * 0x4cf5ad432745937full;
}

/* ---- memory ---- */

static size_t lines(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

struct ls_sessions *ls_sessions_create(uint32_t capacity, struct ls_session_public *seats)
{
    assert(capacity >= 1 && capacity <= LS_SESSIONS_MAX);
    uint32_t places = 4;
    while (places < 2 * capacity)
        places *= 2;
    size_t results = (size_t)capacity * LS_KEPT_SLOTS;
    size_t session_at = lines(sizeof(struct ls_sessions));
    size_t link_at = session_at + lines(capacity * sizeof(struct ls_session));
    size_t place_at = link_at + lines((capacity + 1) * sizeof(struct ls_session_link));
    size_t kept_at = place_at + lines(places * sizeof(uint32_t));
    size_t rest_at = kept_at + results * sizeof(struct ls_kept);
    size_t copied_at = rest_at + lines(results * LS_KEPT_REST);
    size_t image_at = copied_at + lines((capacity + 63) / 64 * sizeof(uint64_t));
    size_t mapped = image_at + ls_sessions_image_max(capacity);
    uint8_t *memory = ls_memory_map(mapped);
    if (!memory)
        return NULL;

    /* everything else begins as zeros */
    struct ls_sessions *table = (struct ls_sessions *)memory;
    table->mapped = mapped;
    table->capacity = capacity;
    table->place_mask = places - 1;
    table->session = (struct ls_session *)(memory + session_at);
    table->link = (struct ls_session_link *)(memory + link_at);
    table->place = (uint32_t *)(memory + place_at);
    table->kept = (struct ls_kept *)(memory + kept_at);
    table->rest = (uint8_t(*)[LS_KEPT_REST])(memory + rest_at);
    table->image.copied = (uint64_t *)(memory + copied_at);
    table->image.bytes = memory + image_at;
    table->seats = seats;
    table->window = 1;
    return table;
}

void ls_sessions_destroy(struct ls_sessions *table)
{
    if (table)
        ls_memory_unmap(table, table->mapped);
}

bool ls_sessions_set_limits(struct ls_sessions *table, const struct ls_entry_limits *limits)
{
    if (limits->sessions > table->capacity)
        return false;
    table->limited = true;
    table->limit = limits->sessions;
    table->idle_ns = limits->session_idle;
    /* bounds that are equal everywhere */
    table->window = limits->window < 1 ? 1 : limits->window > LS_WINDOW_MAX ? LS_WINDOW_MAX : limits->window;
    table->chain = mix(table->chain ^ mix(table->limit ^ mix(table->idle_ns ^ mix(table->window))));
    return true;
}

uint32_t ls_sessions_capacity(const struct ls_sessions *table)
{
    return table->capacity;
}

uint32_t ls_sessions_window(const struct ls_sessions *table)
{
    return table->window;
}

bool ls_sessions_limited(const struct ls_sessions *table)
{
    return table->limited;
}

/* ---- order of use ---- */

static void list_remove(struct ls_session_link *link, uint32_t index)
{
    link[link[index].before].behind = link[index].behind;
    link[link[index].behind].before = link[index].before;
}

/* The slot is about to change: an open image gets it as it is. */
static inline void slot_save(struct ls_sessions *table, uint32_t slot)
{
    struct ls_sessions_image *image = &table->image;
    if (image->open && slot < image->end && !ls_session_image_has(image, slot) && !ls_mutant(CUT_SESSIONS_LATE))
        ls_session_image_copy(table, slot);
}

static inline void session_touch(struct ls_sessions *table, uint32_t slot, const struct ls_entry *entry)
{
    struct ls_session *session = &table->session[slot];
    struct ls_session_public *seat = &table->seats[slot];
    slot_save(table, slot);
    session->active = entry->time;
    session->touched = entry->seq;
    session->client = (uint64_t)entry->ip << 16 | entry->port;
    atomic_store_explicit(&seat->client, session->client, memory_order_relaxed);
    atomic_store_explicit(&seat->active, session->active, memory_order_relaxed);
    if (table->link[0].before != slot + 1) {
        list_remove(table->link, slot + 1);
        ls_session_list_append(table->link, slot + 1);
    }
}

/* ---- finding a nonce ---- */

static uint32_t nonce_place(const struct ls_sessions *table, const uint64_t nonce[2])
{
    return (uint32_t)(mix(nonce[0] ^ mix(nonce[1])) >> 20) & table->place_mask;
}

uint32_t ls_session_nonce_find(const struct ls_sessions *table, const uint64_t nonce[2])
{
    for (uint32_t at = nonce_place(table, nonce); table->place[at] != 0; at = (at + 1) & table->place_mask) {
        const struct ls_session *session = &table->session[table->place[at] - 1];
        if (session->nonce[0] == nonce[0] && session->nonce[1] == nonce[1])
            return table->place[at] - 1;
    }
    return UINT32_MAX;
}

void ls_session_nonce_insert(struct ls_sessions *table, uint32_t slot)
{
    uint32_t at = nonce_place(table, table->session[slot].nonce);
    while (table->place[at] != 0)
        at = (at + 1) & table->place_mask;
    table->place[at] = slot + 1;
}

/* Knuth, The Art of Computer Programming 3, 6.4 R: those behind the gap move up unless they would pass their own
 * place, so no marks of deleted ones pile up. */
static void nonce_remove(struct ls_sessions *table, uint32_t slot)
{
    uint32_t mask = table->place_mask;
    uint32_t gap = nonce_place(table, table->session[slot].nonce);
    while (table->place[gap] != slot + 1) {
        assert(table->place[gap] != 0);
        gap = (gap + 1) & mask;
    }
    for (uint32_t at = (gap + 1) & mask; table->place[at] != 0; at = (at + 1) & mask) {
        uint32_t home = nonce_place(table, table->session[table->place[at] - 1].nonce);
        if (((at - home) & mask) >= ((at - gap) & mask)) {
            table->place[gap] = table->place[at];
            gap = at;
        }
    }
    table->place[gap] = 0;
}

/* ---- publishing; the reader's side is described at struct ls_session_public ---- */

void ls_session_seat_give(struct ls_sessions *table, uint32_t slot)
{
    struct ls_session_public *seat = &table->seats[slot];
    const struct ls_session *session = &table->session[slot];
    atomic_store_explicit(&seat->session, 0, memory_order_release);
    atomic_store_explicit(&seat->next, session->next, memory_order_release);
    atomic_store_explicit(&seat->client, session->client, memory_order_relaxed);
    atomic_store_explicit(&seat->active, session->active, memory_order_relaxed);
    atomic_store_explicit(&seat->session, session->id, memory_order_release);
}

void ls_session_seat_free(struct ls_session_public *seat)
{
    atomic_store_explicit(&seat->session, 0, memory_order_release);
    atomic_store_explicit(&seat->next, 0, memory_order_release);
    atomic_store_explicit(&seat->client, 0, memory_order_relaxed);
    atomic_store_explicit(&seat->active, 0, memory_order_relaxed);
}

/* ---- opening ---- */

static void refuse(struct ls_verdict *verdict, enum ls_status status)
{
    verdict->kind = LS_VERDICT_REFUSE;
    verdict->status = (uint16_t)status;
    verdict->mark += (uint64_t)status + 1;
}

static void session_evict(struct ls_sessions *table, uint32_t slot)
{
    slot_save(table, slot);
    nonce_remove(table, slot);
    list_remove(table->link, slot + 1);
    ls_session_seat_free(&table->seats[slot]);
    table->session[slot] = (struct ls_session){.next = table->freed};
    table->freed = slot + 1;
    table->open--;
}

static uint32_t slot_take(struct ls_sessions *table)
{
    if (table->freed == 0) {
        assert(table->used < table->capacity);
        return table->used++;
    }
    uint32_t slot = table->freed - 1;
    slot_save(table, slot);
    table->freed = (uint32_t)table->session[slot].next;
    return slot;
}

static void judge_open(struct ls_sessions *table, const struct ls_entry *entry, struct ls_verdict *verdict,
                       uint64_t now_ns)
{
    uint64_t time = ls_mutant(EVICT_LOCAL) ? now_ns : entry->time; /* the log's, so that all evict the same */
    uint64_t nonce[2];
    if (entry->length != sizeof(nonce)) {
        refuse(verdict, LS_STATUS_BAD_OPERATION);
        return;
    }
    memcpy(nonce, entry + 1, sizeof(nonce));

    uint32_t slot = ls_mutant(OPEN_TWICE) ? UINT32_MAX : ls_session_nonce_find(table, nonce);
    verdict->again = slot != UINT32_MAX;
    if (verdict->again) {
        session_touch(table, slot, entry);
    } else {
        /* Two where there are too many: so that a lowered limit is reached. */
        for (int i = 0; i < 2 && table->open >= table->limit && table->open > 0; i++) {
            uint32_t oldest = table->link[0].behind - 1;
            if (time - table->session[oldest].active <= table->idle_ns)
                break;
            verdict->mark = mix(verdict->mark ^ table->session[oldest].id);
            session_evict(table, oldest);
            verdict->evicted++;
        }
        if (table->open >= table->limit) {
            refuse(verdict, LS_STATUS_NO_SESSION_FREE);
            return;
        }
        slot = slot_take(table);
        struct ls_session *session = &table->session[slot];
        session->id = entry->seq;
        session->next = 1;
        session->floor = 1;
        session->active = entry->time;
        session->touched = entry->seq;
        session->client = (uint64_t)entry->ip << 16 | entry->port;
        memcpy(session->nonce, nonce, sizeof(nonce));
        ls_session_nonce_insert(table, slot);
        ls_session_list_append(table->link, slot + 1);
        table->open++;
    }
    verdict->kind = LS_VERDICT_OPENED;
    verdict->slot = slot;
    verdict->id = table->session[slot].id;
    verdict->next = table->session[slot].next;
    verdict->mark += session_mark(&table->session[slot], slot) ^ mix(nonce[0] ^ mix(nonce[1]));
}

/* ---- requests ---- */

static inline bool deadline_has_passed(const struct ls_entry *entry, uint64_t now_ns)
{
    uint64_t time = ls_mutant(DEADLINE_LOCAL) ? now_ns : entry->time;
    return entry->deadline != 0 && time > entry->deadline;
}

static inline void judge_done(const struct ls_entry *entry, const struct ls_session *session,
                              struct ls_verdict *verdict)
{
    if (entry->number < session->floor)
        refuse(verdict, LS_STATUS_RESULT_GONE);
    else if (ls_mutant(QUERY_LIES) && entry->kind == LS_ENTRY_QUERY)
        refuse(verdict, LS_STATUS_CLOSED);
    else if (ls_mutant(REPEAT_ORDERED) && entry->kind == LS_ENTRY_OPERATION)
        verdict->kind = LS_VERDICT_EXECUTE;
    else
        verdict->kind = LS_VERDICT_REPEAT;
}

static inline void judge_request(struct ls_sessions *table, const struct ls_entry *entry, struct ls_verdict *verdict,
                                 uint64_t now_ns)
{
    uint32_t slot = entry->slot;
    uint64_t number = entry->number;
    struct ls_session *session = &table->session[slot < table->used ? slot : 0];
    bool known = slot < table->used && entry->session != 0 && session->id == entry->session;
    if (ls_mutant(SESSION_BY_SLOT))
        known = slot < table->used && session->id != 0;
    if (!known) {
        refuse(verdict, LS_STATUS_SESSION_UNKNOWN);
        return;
    }
    session_touch(table, slot, entry);
    verdict->slot = slot;
    if (number > session->next) {
        verdict->next = session->next;
        refuse(verdict, LS_STATUS_OUT_OF_ORDER);
        verdict->mark += session_mark(session, slot);
        return;
    }
    if (entry->awaited <= number && number - entry->awaited > session->floor)
        session->floor = number - entry->awaited;
    if (number < session->next) {
        judge_done(entry, session, verdict);
    } else {
        session->next++;
        if (session->next > table->window && session->floor < session->next - table->window)
            session->floor = session->next - table->window;
        verdict->kind = LS_VERDICT_CONCLUDE;
        if (entry->kind == LS_ENTRY_QUERY)
            verdict->status = LS_STATUS_CLOSED;
        else if (deadline_has_passed(entry, now_ns))
            verdict->status = LS_STATUS_EXPIRED;
        else
            verdict->kind = LS_VERDICT_EXECUTE;
    }
    verdict->next = session->next;
    verdict->mark += session_mark(session, slot);
    __builtin_prefetch(&table->kept[ls_session_kept_index(slot, number)], 1);
}

void ls_sessions_judge(struct ls_sessions *table, const struct ls_entry *const *entries, uint32_t n,
                       struct ls_verdict *verdicts, uint64_t now_ns)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct ls_entry *entry = entries[i];
        verdicts[i] = (struct ls_verdict){.number = entry->number, .slot = entry->slot, .kind = LS_VERDICT_NONE};
        switch (entry->kind) {
        case LS_ENTRY_OPERATION:
        case LS_ENTRY_QUERY:
            judge_request(table, entry, &verdicts[i], now_ns);
            break;
        case LS_ENTRY_OPEN:
            assert(i == 0);
            judge_open(table, entry, &verdicts[i], now_ns);
            break;
        default:
            break;
        }
    }
}

/* ---- results ---- */

void ls_sessions_keep(struct ls_sessions *table, const struct ls_verdict *verdict, uint64_t seq, uint16_t status,
                      const uint8_t *bytes, uint32_t length)
{
    assert(length <= LS_RESULT_MAX);
    size_t at = ls_session_kept_index(verdict->slot, verdict->number);
    struct ls_kept *kept = &table->kept[at];
    kept->number = verdict->number;
    kept->seq = seq;
    kept->status = status;
    kept->length = (uint16_t)length;
    if (length > LS_KEPT_INLINE) {
        memcpy(kept->bytes, bytes, LS_KEPT_INLINE);
        memcpy(table->rest[at], bytes + LS_KEPT_INLINE, length - LS_KEPT_INLINE);
    } else if (length > 0) {
        memcpy(kept->bytes, bytes, length);
    }
    table->chain = mix(table->chain ^ verdict->mark ^ mix(bytes_mark(bytes, length) ^ seq ^ ((uint64_t)status << 48)));
    atomic_store_explicit(&table->seats[verdict->slot].next, verdict->next, memory_order_release);
}

void ls_sessions_pass(struct ls_sessions *table, const struct ls_verdict *verdict)
{
    if (verdict->kind == LS_VERDICT_NONE)
        return;
    table->chain = mix(table->chain ^ verdict->mark);
    if (verdict->kind == LS_VERDICT_OPENED && !verdict->again)
        ls_session_seat_give(table, verdict->slot);
}

const struct ls_kept *ls_sessions_kept(const struct ls_sessions *table, uint32_t slot, uint64_t number)
{
    const struct ls_kept *kept = &table->kept[ls_session_kept_index(slot, number)];
    assert(kept->number == number);
    return kept;
}

void ls_sessions_copy(const struct ls_sessions *table, const struct ls_kept *kept, uint8_t *to)
{
    if (kept->length <= LS_KEPT_INLINE) {
        memcpy(to, kept->bytes, kept->length);
        return;
    }
    memcpy(to, kept->bytes, LS_KEPT_INLINE);
    memcpy(to + LS_KEPT_INLINE, table->rest[kept - table->kept], kept->length - LS_KEPT_INLINE);
}

enum ls_verdict_kind ls_sessions_look(const struct ls_sessions *table, uint64_t session, uint32_t slot, uint64_t number,
                                      uint16_t *status)
{
    if (slot >= table->used || session == 0 || table->session[slot].id != session) {
        *status = LS_STATUS_SESSION_UNKNOWN;
        return LS_VERDICT_REFUSE;
    }
    if (number >= table->session[slot].next)
        return LS_VERDICT_NONE;
    if (number < table->session[slot].floor) {
        *status = LS_STATUS_RESULT_GONE;
        return LS_VERDICT_REFUSE;
    }
    return LS_VERDICT_REPEAT;
}

void ls_sessions_prefetch(const struct ls_sessions *table, const struct ls_entry *entry)
{
    if (entry->slot < table->capacity)
        __builtin_prefetch(&table->session[entry->slot], 1);
}

uint32_t ls_sessions_open(const struct ls_sessions *table)
{
    return table->open;
}

uint64_t ls_sessions_digest(const struct ls_sessions *table)
{
    return mix(table->chain ^ table->open);
}
