/* SPDX-License-Identifier: BSD-3-Clause */
/* The session table, entry by entry: every status it gives, what it keeps and forgets, whom it evicts, what it
 * publishes, and that none of it depends on how the log is cut into bursts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "entries.h"
#include "session.h"

#define CAPACITY 8
#define IDLE_NS  1000

/* One table, and a log that grows by one entry with each step. */
struct fixture {
    struct ls_sessions *table;
    struct ls_session_public seats[CAPACITY];
    uint64_t seq;
    uint64_t time;
    struct ls_verdict verdict; /* of the last step */
};

struct who {
    uint64_t session;
    uint32_t slot;
};

static struct ls_entry_limits limits_of(uint32_t sessions, uint32_t window)
{
    return (struct ls_entry_limits){.session_idle = IDLE_NS, .sessions = sessions, .window = window};
}

static int setup(void **state)
{
    static struct fixture fixture;
    memset(&fixture, 0, sizeof(fixture));
    fixture.table = ls_sessions_create(CAPACITY, fixture.seats);
    fixture.time = 5000;
    struct ls_entry_limits limits = limits_of(CAPACITY, LS_WINDOW_MAX);
    if (!fixture.table || !ls_sessions_set_limits(fixture.table, &limits))
        return -1;
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    ls_sessions_destroy(((struct fixture *)*state)->table);
    return 0;
}

/* The result of executing the entry `seq`. */
static uint32_t result_of(uint64_t seq, uint8_t *bytes, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(seq * 31 + i);
    return length;
}

static uint32_t result_length = 24;

static void conclude(struct ls_sessions *table, const struct ls_entry *entry, const struct ls_verdict *verdict)
{
    uint8_t bytes[LS_RESULT_MAX];
    if (verdict->kind == LS_VERDICT_EXECUTE)
        ls_sessions_keep(table, verdict, entry->seq, LS_STATUS_OK, bytes, result_of(entry->seq, bytes, result_length));
    else if (verdict->kind == LS_VERDICT_CONCLUDE)
        ls_sessions_keep(table, verdict, entry->seq, verdict->status, NULL, 0);
    else
        ls_sessions_pass(table, verdict);
}

/* Appends one entry and takes it through both steps. */
static struct ls_verdict *step(struct fixture *f, struct ls_entry header, const void *operation, uint32_t length)
{
    static uint8_t buffer[sizeof(struct ls_entry) + 64];
    header.seq = ++f->seq;
    header.time = f->time;
    entry_write(buffer, header, operation, length);
    const struct ls_entry *entry = (const void *)buffer;
    ls_sessions_judge(f->table, &entry, 1, &f->verdict, 0);
    conclude(f->table, entry, &f->verdict);
    return &f->verdict;
}

static struct ls_verdict *open_nonce(struct fixture *f, uint64_t a, uint64_t b)
{
    uint64_t nonce[2] = {a, b};
    return step(f, (struct ls_entry){.kind = LS_ENTRY_OPEN}, nonce, sizeof(nonce));
}

static struct who open_session(struct fixture *f, uint64_t nonce)
{
    struct ls_verdict *verdict = open_nonce(f, nonce, ~nonce);
    assert_int_equal(verdict->kind, LS_VERDICT_OPENED);
    return (struct who){.session = verdict->id, .slot = verdict->slot};
}

static struct ls_entry request(struct who who, uint64_t number, uint16_t awaited)
{
    return (struct ls_entry){
        .kind = LS_ENTRY_OPERATION, .session = who.session, .slot = who.slot, .number = number, .awaited = awaited};
}

/* An operation that awaits everything before it too. */
static struct ls_verdict *operate(struct fixture *f, struct who who, uint64_t number)
{
    return step(f, request(who, number, (uint16_t)(number - 1)), "op", 2);
}

static struct ls_verdict *query(struct fixture *f, struct who who, uint64_t number)
{
    struct ls_entry entry = request(who, number, (uint16_t)(number - 1));
    entry.kind = LS_ENTRY_QUERY;
    return step(f, entry, NULL, 0);
}

static void assert_refused(const struct ls_verdict *verdict, enum ls_status status)
{
    assert_int_equal(verdict->kind, LS_VERDICT_REFUSE);
    assert_string_equal(ls_status_name(verdict->status), ls_status_name((uint16_t)status));
}

static void assert_executed(const struct ls_verdict *verdict)
{
    assert_int_equal(verdict->kind, LS_VERDICT_EXECUTE);
}

static void assert_concluded(const struct ls_verdict *verdict, enum ls_status status)
{
    assert_int_equal(verdict->kind, LS_VERDICT_CONCLUDE);
    assert_string_equal(ls_status_name(verdict->status), ls_status_name((uint16_t)status));
}

/* The verdict was "repeat", and what is kept is the result that entry `seq` got. */
static void assert_repeats(struct fixture *f, uint64_t seq, enum ls_status status, uint32_t length)
{
    assert_int_equal(f->verdict.kind, LS_VERDICT_REPEAT);
    const struct ls_kept *kept = ls_sessions_kept(f->table, f->verdict.slot, f->verdict.number);
    assert_int_equal(kept->seq, seq);
    assert_string_equal(ls_status_name(kept->status), ls_status_name((uint16_t)status));
    assert_int_equal(kept->length, length);
    uint8_t bytes[LS_RESULT_MAX], expected[LS_RESULT_MAX];
    ls_sessions_copy(f->table, kept, bytes);
    result_of(seq, expected, length);
    assert_memory_equal(bytes, expected, length);
}

static uint64_t seat_session(struct fixture *f, uint32_t slot)
{
    return atomic_load(&f->seats[slot].session);
}

static uint64_t seat_next(struct fixture *f, uint32_t slot)
{
    return atomic_load(&f->seats[slot].next);
}

/* ---- opening ---- */

static void test_nothing_opens_before_limits(void **state)
{
    struct fixture *f = *state;
    ls_sessions_destroy(f->table);
    f->table = ls_sessions_create(CAPACITY, f->seats);
    assert_refused(open_nonce(f, 1, 1), LS_STATUS_NO_SESSION_FREE);
    assert_int_equal(ls_sessions_open(f->table), 0);
    struct ls_entry_limits limits = limits_of(1, 1);
    assert_true(ls_sessions_set_limits(f->table, &limits));
    open_session(f, 1);
}

static void test_open(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < CAPACITY; i++) {
        struct who who = open_session(f, i);
        assert_int_equal(who.session, f->seq);
        assert_int_equal(who.slot, i);
        assert_false(f->verdict.again);
        assert_int_equal(ls_sessions_open(f->table), i + 1);
        assert_int_equal(seat_session(f, i), who.session);
        assert_int_equal(seat_next(f, i), 1);
    }
}

static void test_open_is_idempotent(void **state)
{
    struct fixture *f = *state;
    struct who a = open_session(f, 1);
    operate(f, a, 1);
    struct who again = open_session(f, 1);
    assert_true(f->verdict.again);
    assert_int_equal(again.session, a.session);
    assert_int_equal(again.slot, a.slot);
    assert_int_equal(ls_sessions_open(f->table), 1);
    assert_int_equal(seat_next(f, a.slot), 2);
    assert_executed(operate(f, a, 2));
    /* one half of the nonce is not enough */
    assert_false(open_nonce(f, 1, 7)->again);
    assert_false(open_nonce(f, 7, ~(uint64_t)1)->again);
}

static void test_open_without_nonce(void **state)
{
    struct fixture *f = *state;
    assert_refused(step(f, (struct ls_entry){.kind = LS_ENTRY_OPEN}, "short", 5), LS_STATUS_BAD_OPERATION);
    assert_refused(step(f, (struct ls_entry){.kind = LS_ENTRY_OPEN}, "of more bytes than 16", 21),
                   LS_STATUS_BAD_OPERATION);
}

static void test_no_session_free(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < CAPACITY; i++)
        open_session(f, i);
    assert_refused(open_nonce(f, 100, 100), LS_STATUS_NO_SESSION_FREE);
    f->time += IDLE_NS; /* not longer than the limit */
    assert_refused(open_nonce(f, 100, 100), LS_STATUS_NO_SESSION_FREE);
    assert_int_equal(f->verdict.evicted, 0);
    /* who has a session gets it all the same */
    assert_true(open_nonce(f, 3, ~(uint64_t)3)->again);
}

static void test_eviction_takes_the_least_recently_used(void **state)
{
    struct fixture *f = *state;
    struct who who[CAPACITY];
    for (uint32_t i = 0; i < CAPACITY; i++) {
        f->time += 10;
        who[i] = open_session(f, i);
    }
    operate(f, who[0], 1); /* a request, a repeat, an opening: each is use */
    operate(f, who[1], 1);
    operate(f, who[1], 1);
    open_nonce(f, 2, ~(uint64_t)2);
    operate(f, who[3], 9); /* even one that is refused */
    f->time += IDLE_NS - 30;
    assert_refused(open_nonce(f, 100, 100), LS_STATUS_NO_SESSION_FREE);
    f->time += 1; /* now who[4], opened 30 before, is idle for longer */
    assert_int_equal(open_nonce(f, 100, 100)->slot, who[4].slot);
    assert_int_equal(f->verdict.evicted, 1);
    assert_int_equal(ls_sessions_open(f->table), CAPACITY);
    assert_int_equal(seat_session(f, who[4].slot), f->seq);
    assert_refused(operate(f, who[4], 1), LS_STATUS_SESSION_UNKNOWN);
    f->time += 100;
    assert_int_equal(open_nonce(f, 101, 101)->slot, who[5].slot);
    /* the nonce of an evicted one opens another session: it never executes under the old one's numbers */
    struct who back = open_session(f, 4);
    assert_false(f->verdict.again);
    assert_int_not_equal(back.session, who[4].session);
    assert_int_equal(back.slot, who[6].slot);
}

static void test_a_reused_slot_keeps_nothing(void **state)
{
    struct fixture *f = *state;
    struct ls_entry_limits limits = limits_of(1, LS_WINDOW_MAX);
    ls_sessions_set_limits(f->table, &limits);
    struct who old = open_session(f, 1);
    for (uint64_t n = 1; n <= 3; n++)
        operate(f, old, n);
    f->time += IDLE_NS + 1;
    struct who new = open_session(f, 2);
    assert_int_equal(new.slot, old.slot);
    assert_int_equal(seat_next(f, new.slot), 1);
    assert_refused(operate(f, new, 2), LS_STATUS_OUT_OF_ORDER);
    assert_executed(operate(f, new, 1));
    operate(f, new, 1);
    assert_repeats(f, f->seq - 1, LS_STATUS_OK, result_length);
}

/* ---- requests ---- */

static void test_numbers_run_in_order(void **state)
{
    struct fixture *f = *state;
    struct who who = open_session(f, 1);
    assert_refused(operate(f, who, 2), LS_STATUS_OUT_OF_ORDER);
    assert_int_equal(seat_next(f, who.slot), 1);
    for (uint64_t n = 1; n <= 200; n++) {
        assert_executed(operate(f, who, n));
        assert_int_equal(f->verdict.number, n);
        assert_int_equal(seat_next(f, who.slot), n + 1);
    }
    assert_refused(operate(f, who, 202), LS_STATUS_OUT_OF_ORDER);
    assert_refused(operate(f, who, UINT64_MAX), LS_STATUS_OUT_OF_ORDER);
    assert_executed(operate(f, who, 201));
}

static void test_session_unknown(void **state)
{
    struct fixture *f = *state;
    struct who who = open_session(f, 1);
    assert_refused(operate(f, (struct who){0, 0}, 1), LS_STATUS_SESSION_UNKNOWN);
    assert_refused(operate(f, (struct who){0, 1}, 1), LS_STATUS_SESSION_UNKNOWN);
    assert_refused(operate(f, (struct who){who.session + 1, who.slot}, 1), LS_STATUS_SESSION_UNKNOWN);
    assert_refused(operate(f, (struct who){who.session, who.slot + 1}, 1), LS_STATUS_SESSION_UNKNOWN);
    assert_refused(operate(f, (struct who){who.session, CAPACITY}, 1), LS_STATUS_SESSION_UNKNOWN);
    assert_refused(operate(f, (struct who){who.session, UINT32_MAX}, 1), LS_STATUS_SESSION_UNKNOWN);
    assert_refused(query(f, (struct who){who.session + 1, who.slot}, 1), LS_STATUS_SESSION_UNKNOWN);
    assert_executed(operate(f, who, 1));
}

static void test_repeats_get_the_kept_result(void **state)
{
    struct fixture *f = *state;
    struct who who = open_session(f, 1);
    static const uint32_t lengths[] = {0, 1, 8, 24, LS_KEPT_INLINE, LS_KEPT_INLINE + 1, 100, LS_RESULT_MAX};
    uint64_t first = f->seq + 1;
    for (uint64_t n = 1; n <= 8; n++) {
        result_length = lengths[n - 1];
        assert_executed(operate(f, who, n));
    }
    for (uint64_t n = 8; n >= 1; n--) {
        operate(f, who, n);
        assert_repeats(f, first + n - 1, LS_STATUS_OK, lengths[n - 1]);
    }
    result_length = 24;
    assert_int_equal(seat_next(f, who.slot), 9);
}

static void test_results_leave_with_the_window(void **state)
{
    struct fixture *f = *state;
    struct ls_entry_limits limits = limits_of(CAPACITY, 4);
    ls_sessions_set_limits(f->table, &limits);
    struct who who = open_session(f, 1);
    uint64_t seq_of[11];
    for (uint64_t n = 1; n <= 10; n++) {
        assert_executed(operate(f, who, n));
        seq_of[n] = f->seq;
        for (uint64_t k = 1; k <= n; k++) {
            operate(f, who, k);
            if (k + 4 > n)
                assert_repeats(f, seq_of[k], LS_STATUS_OK, 24);
            else
                assert_refused(&f->verdict, LS_STATUS_RESULT_GONE);
        }
    }
    assert_refused(query(f, who, 6), LS_STATUS_RESULT_GONE);
}

static void test_the_largest_window_is_kept_whole(void **state)
{
    struct fixture *f = *state;
    struct who who = open_session(f, 1);
    uint64_t first = f->seq + 1;
    uint64_t last = 3 * LS_WINDOW_MAX;
    for (uint64_t n = 1; n <= last; n++)
        operate(f, who, n);
    for (uint64_t n = last - LS_WINDOW_MAX + 1; n <= last; n++) {
        operate(f, who, n);
        assert_repeats(f, first + n - 1, LS_STATUS_OK, 24);
    }
    assert_refused(operate(f, who, last - LS_WINDOW_MAX), LS_STATUS_RESULT_GONE);
}

static void test_results_leave_when_not_awaited(void **state)
{
    struct fixture *f = *state;
    struct who who = open_session(f, 1);
    uint64_t first = f->seq + 1;
    for (uint64_t n = 1; n <= 5; n++)
        operate(f, who, n);
    assert_executed(step(f, request(who, 6, 2), "op", 2)); /* 4, 5, 6 are awaited */
    assert_refused(operate(f, who, 3), LS_STATUS_RESULT_GONE);
    operate(f, who, 4);
    assert_repeats(f, first + 3, LS_STATUS_OK, 24);
    /* a repeat tells as well, and its own result stays */
    step(f, request(who, 5, 0), "op", 2);
    assert_repeats(f, first + 4, LS_STATUS_OK, 24);
    assert_refused(operate(f, who, 4), LS_STATUS_RESULT_GONE);
    /* one that comes late does not bring back what is gone */
    operate(f, who, 6);
    assert_refused(operate(f, who, 4), LS_STATUS_RESULT_GONE);
}

static void test_awaited_beyond_sense_is_ignored(void **state)
{
    struct fixture *f = *state;
    struct who who = open_session(f, 1);
    assert_executed(step(f, request(who, 1, UINT16_MAX), "op", 2));
    assert_executed(step(f, request(who, 2, 2), "op", 2));
    operate(f, who, 1);
    assert_repeats(f, f->seq - 2, LS_STATUS_OK, 24);
}

static void test_deadline(void **state)
{
    struct fixture *f = *state;
    struct who who = open_session(f, 1);
    struct ls_entry entry = request(who, 1, 0);
    entry.deadline = f->time;
    assert_executed(step(f, entry, "op", 2)); /* at the deadline is in time */
    entry.number = 2;
    entry.deadline = f->time - 1;
    assert_concluded(step(f, entry, "op", 2), LS_STATUS_EXPIRED);
    uint64_t expired = f->seq;
    assert_int_equal(seat_next(f, who.slot), 3);
    /* final: also when the request comes again with more time */
    entry.deadline = f->time + 1000;
    step(f, entry, "op", 2);
    assert_repeats(f, expired, LS_STATUS_EXPIRED, 0);
    /* one that was in time stays done, however late it is repeated */
    entry.number = 1;
    entry.deadline = 1;
    assert_refused(step(f, entry, "op", 2), LS_STATUS_RESULT_GONE);
    assert_executed(operate(f, who, 3));
}

static void test_query(void **state)
{
    struct fixture *f = *state;
    struct who who = open_session(f, 1);
    operate(f, who, 1);
    uint64_t done = f->seq;
    query(f, who, 1);
    assert_repeats(f, done, LS_STATUS_OK, 24);
    assert_refused(query(f, who, 3), LS_STATUS_OUT_OF_ORDER);
    assert_concluded(query(f, who, 2), LS_STATUS_CLOSED);
    uint64_t closed = f->seq;
    assert_int_equal(seat_next(f, who.slot), 3);
    /* for ever: whoever comes too late, or asks again, hears the same */
    operate(f, who, 2);
    assert_repeats(f, closed, LS_STATUS_CLOSED, 0);
    query(f, who, 2);
    assert_repeats(f, closed, LS_STATUS_CLOSED, 0);
    assert_executed(operate(f, who, 3));
}

static void test_other_entries_are_nobodys(void **state)
{
    struct fixture *f = *state;
    uint64_t digest = ls_sessions_digest(f->table);
    static const uint16_t kinds[] = {LS_ENTRY_EPOCH, LS_ENTRY_TICK, LS_ENTRY_LIMITS};
    for (int i = 0; i < 3; i++)
        assert_int_equal(step(f, (struct ls_entry){.kind = kinds[i]}, NULL, 0)->kind, LS_VERDICT_NONE);
    assert_true(ls_sessions_digest(f->table) == digest);
}

static void test_look(void **state)
{
    struct fixture *f = *state;
    uint16_t status = 0;
    struct ls_entry_limits limits = limits_of(CAPACITY, 2);
    ls_sessions_set_limits(f->table, &limits);
    struct who who = open_session(f, 1);
    for (uint64_t n = 1; n <= 3; n++)
        operate(f, who, n);
    assert_int_equal(ls_sessions_look(f->table, who.session, who.slot, 3, &status), LS_VERDICT_REPEAT);
    assert_int_equal(ls_sessions_look(f->table, who.session, who.slot, 4, &status), LS_VERDICT_NONE);
    assert_int_equal(ls_sessions_look(f->table, who.session, who.slot, 1, &status), LS_VERDICT_REFUSE);
    assert_int_equal(status, LS_STATUS_RESULT_GONE);
    assert_int_equal(ls_sessions_look(f->table, who.session + 1, who.slot, 1, &status), LS_VERDICT_REFUSE);
    assert_int_equal(status, LS_STATUS_SESSION_UNKNOWN);
    assert_int_equal(ls_sessions_look(f->table, 0, 5, 1, &status), LS_VERDICT_REFUSE);
    assert_int_equal(ls_sessions_look(f->table, who.session, UINT32_MAX, 1, &status), LS_VERDICT_REFUSE);
}

/* ---- limits ---- */

static void test_limits_beyond_the_room(void **state)
{
    struct fixture *f = *state;
    struct ls_entry_limits limits = limits_of(CAPACITY + 1, 4);
    assert_false(ls_sessions_set_limits(f->table, &limits));
    /* nothing changed: the window is the old one */
    struct who who = open_session(f, 1);
    for (uint64_t n = 1; n <= 10; n++)
        operate(f, who, n);
    operate(f, who, 1);
    assert_repeats(f, f->seq - 10, LS_STATUS_OK, 24);
}

static void test_window_out_of_bounds(void **state)
{
    struct fixture *f = *state;
    struct ls_entry_limits limits = limits_of(CAPACITY, 0); /* counts as 1 */
    assert_true(ls_sessions_set_limits(f->table, &limits));
    struct who who = open_session(f, 1);
    operate(f, who, 1);
    operate(f, who, 2);
    assert_refused(operate(f, who, 1), LS_STATUS_RESULT_GONE);
    limits = limits_of(CAPACITY, 1000); /* counts as the largest */
    assert_true(ls_sessions_set_limits(f->table, &limits));
    for (uint64_t n = 3; n <= 100; n++)
        operate(f, who, n);
    operate(f, who, 100 - LS_WINDOW_MAX + 1);
    assert_int_equal(f->verdict.kind, LS_VERDICT_REPEAT);
    assert_refused(operate(f, who, 100 - LS_WINDOW_MAX), LS_STATUS_RESULT_GONE);
}

static void test_lowered_limit_is_reached_by_and_by(void **state)
{
    struct fixture *f = *state;
    struct who who[CAPACITY];
    for (uint32_t i = 0; i < CAPACITY; i++)
        who[i] = open_session(f, i);
    struct ls_entry_limits limits = limits_of(CAPACITY - 3, LS_WINDOW_MAX);
    assert_true(ls_sessions_set_limits(f->table, &limits));
    assert_executed(operate(f, who[0], 1)); /* nobody is thrown out for it */
    assert_refused(open_nonce(f, 100, 100), LS_STATUS_NO_SESSION_FREE);
    f->time += IDLE_NS + 1;
    /* two leave at each opening that finds none free: 8 to 6, then 6 to 4 and the new one */
    assert_refused(open_nonce(f, 100, 100), LS_STATUS_NO_SESSION_FREE);
    assert_int_equal(f->verdict.evicted, 2);
    assert_int_equal(ls_sessions_open(f->table), CAPACITY - 2);
    assert_int_equal(seat_session(f, who[1].slot), 0);
    assert_int_equal(seat_session(f, who[2].slot), 0);
    open_session(f, 100);
    assert_int_equal(f->verdict.evicted, 2);
    assert_int_equal(ls_sessions_open(f->table), CAPACITY - 3);
    /* and back: freed slots are used again, last freed first, before fresh ones */
    assert_int_equal(f->verdict.slot, who[4].slot);
    limits = limits_of(CAPACITY, LS_WINDOW_MAX);
    assert_true(ls_sessions_set_limits(f->table, &limits));
    assert_int_equal(open_session(f, 101).slot, who[3].slot);
    assert_int_equal(open_session(f, 102).slot, who[2].slot);
    assert_int_equal(open_session(f, 103).slot, who[1].slot);
    assert_int_equal(ls_sessions_open(f->table), CAPACITY);
    assert_executed(operate(f, who[0], 2));
}

/* ---- as a whole ---- */

static uint64_t random_state;

static uint64_t random64(void)
{
    uint64_t z = (random_state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static uint64_t random_below(uint64_t n)
{
    return random64() % n;
}

/* A log that meets every rule often, as the table itself would shape it: sessions known from the verdicts so far. */
#define HISTORY 6000
static uint8_t history[HISTORY][sizeof(struct ls_entry) + LS_NONCE_SIZE];

static void history_write(uint64_t seed)
{
    struct ls_session_public seats[CAPACITY] = {0};
    struct ls_sessions *table = ls_sessions_create(CAPACITY, seats);
    struct ls_entry_limits limits = limits_of(CAPACITY - 1, 5);
    ls_sessions_set_limits(table, &limits);
    random_state = seed;
    uint64_t time = 0;
    struct who who[10] = {0};
    for (uint32_t i = 0; i < HISTORY; i++) {
        time += random_below(100) == 0 ? random_below(2 * IDLE_NS) : random_below(60);
        uint32_t client = (uint32_t)random_below(10);
        uint64_t nonce[2] = {client, random_below(2)};
        struct ls_entry header = {.seq = i + 1, .time = time, .kind = LS_ENTRY_OPEN};
        uint32_t length = sizeof(nonce);
        if (random_below(10) != 0) {
            uint64_t next = who[client].slot < CAPACITY ? atomic_load(&seats[who[client].slot].next) : 1;
            header.kind = random_below(8) == 0 ? LS_ENTRY_QUERY : LS_ENTRY_OPERATION;
            header.session = who[client].session;
            header.slot = who[client].slot;
            /* mostly the next one; else one more, or one of those before */
            header.number = random_below(3) != 0 ? next : next + 1 - random_below(next < 9 ? next + 1 : 9);
            header.awaited = (uint16_t)(random_below(4) == 0 ? random_below(7) : 6);
            header.deadline = random_below(8) == 0 ? time + 30 - random_below(60) : 0;
            length = 0;
        } else if (random_below(20) == 0) {
            header.kind = LS_ENTRY_TICK;
            length = 0;
        }
        entry_write(history[i], header, nonce, length);
        const struct ls_entry *entry = (const void *)history[i];
        struct ls_verdict verdict;
        ls_sessions_judge(table, &entry, 1, &verdict, 0);
        conclude(table, entry, &verdict);
        if (verdict.kind == LS_VERDICT_OPENED)
            who[client] = (struct who){.session = verdict.id, .slot = verdict.slot};
    }
    ls_sessions_destroy(table);
}

/* The rules again, as plainly as can be. */
struct plain_session {
    uint64_t id, next, floor, active, used;
    uint64_t nonce[2];
    struct {
        uint64_t seq;
        uint16_t status;
    } done[HISTORY];
};
static struct plain_session plain[CAPACITY];
static uint32_t plain_freed[CAPACITY], plain_freed_count, plain_fresh;

static uint32_t plain_open_count(void)
{
    uint32_t open = 0;
    for (uint32_t s = 0; s < CAPACITY; s++)
        open += plain[s].id != 0;
    return open;
}

static void plain_judge_open(const struct ls_entry *e, struct ls_verdict *v)
{
    uint64_t nonce[2];
    memcpy(nonce, e + 1, sizeof(nonce));
    for (uint32_t s = 0; s < CAPACITY; s++)
        if (plain[s].id != 0 && memcmp(plain[s].nonce, nonce, sizeof(nonce)) == 0) {
            plain[s].active = e->time;
            plain[s].used = e->seq;
            *v = (struct ls_verdict){.kind = LS_VERDICT_OPENED, .slot = s, .id = plain[s].id, .again = true};
            return;
        }
    while (plain_open_count() >= CAPACITY - 1) {
        uint32_t oldest = CAPACITY;
        for (uint32_t s = 0; s < CAPACITY; s++)
            if (plain[s].id != 0 && (oldest == CAPACITY || plain[s].used < plain[oldest].used))
                oldest = s;
        if (e->time - plain[oldest].active <= IDLE_NS) {
            *v = (struct ls_verdict){.kind = LS_VERDICT_REFUSE, .status = LS_STATUS_NO_SESSION_FREE};
            return;
        }
        plain[oldest].id = 0;
        plain_freed[plain_freed_count++] = oldest;
    }
    uint32_t slot = plain_freed_count > 0 ? plain_freed[--plain_freed_count] : plain_fresh++;
    memset(&plain[slot], 0, sizeof(plain[slot]));
    plain[slot].id = e->seq;
    plain[slot].next = plain[slot].floor = 1;
    plain[slot].active = e->time;
    plain[slot].used = e->seq;
    memcpy(plain[slot].nonce, nonce, sizeof(nonce));
    *v = (struct ls_verdict){.kind = LS_VERDICT_OPENED, .slot = slot, .id = e->seq};
}

static void plain_judge(const struct ls_entry *e, struct ls_verdict *v)
{
    *v = (struct ls_verdict){.kind = LS_VERDICT_NONE};
    if (e->kind == LS_ENTRY_OPEN)
        plain_judge_open(e, v);
    if (e->kind != LS_ENTRY_OPERATION && e->kind != LS_ENTRY_QUERY)
        return;
    v->kind = LS_VERDICT_REFUSE;
    v->status = LS_STATUS_SESSION_UNKNOWN;
    if (e->slot >= CAPACITY || e->session == 0 || plain[e->slot].id != e->session)
        return;
    struct plain_session *s = &plain[e->slot];
    s->active = e->time;
    s->used = e->seq;
    v->status = LS_STATUS_OUT_OF_ORDER;
    if (e->number > s->next)
        return;
    if (e->awaited <= e->number && e->number - e->awaited > s->floor)
        s->floor = e->number - e->awaited;
    v->status = LS_STATUS_RESULT_GONE;
    if (e->number < s->floor)
        return;
    if (e->number < s->next) {
        *v = (struct ls_verdict){.kind = LS_VERDICT_REPEAT, .status = s->done[e->number].status};
        return;
    }
    s->next++;
    if (s->next > 5 && s->floor < s->next - 5)
        s->floor = s->next - 5;
    *v = (struct ls_verdict){.kind = LS_VERDICT_CONCLUDE, .status = LS_STATUS_CLOSED};
    if (e->kind == LS_ENTRY_OPERATION) {
        bool expired = e->deadline != 0 && e->time > e->deadline;
        v->status = expired ? LS_STATUS_EXPIRED : LS_STATUS_OK;
        v->kind = expired ? LS_VERDICT_CONCLUDE : LS_VERDICT_EXECUTE;
    }
    s->done[e->number].seq = e->seq;
    s->done[e->number].status = v->status;
}

static void test_against_the_plain_rules(void **state)
{
    struct fixture *f = *state;
    uint32_t seen[LS_VERDICT_OPENED + 1] = {0}, seen_status[64] = {0}, evicted = 0;
    uint64_t seed = 20;
    print_message("seed %llu\n", (unsigned long long)seed);
    history_write(seed);
    struct ls_entry_limits limits = limits_of(CAPACITY - 1, 5);
    ls_sessions_set_limits(f->table, &limits);
    for (uint32_t i = 0; i < HISTORY; i++) {
        const struct ls_entry *entry = (const void *)history[i];
        struct ls_verdict expected;
        plain_judge(entry, &expected);
        ls_sessions_judge(f->table, &entry, 1, &f->verdict, 0);
        conclude(f->table, entry, &f->verdict);
        assert_int_equal(f->verdict.kind, expected.kind);
        if (expected.kind == LS_VERDICT_REPEAT) {
            const struct ls_kept *kept = ls_sessions_kept(f->table, entry->slot, entry->number);
            assert_int_equal(kept->status, expected.status);
            assert_int_equal(kept->seq, plain[entry->slot].done[entry->number].seq);
        } else {
            assert_int_equal(f->verdict.status, expected.status);
        }
        if (expected.kind == LS_VERDICT_OPENED) {
            assert_int_equal(f->verdict.slot, expected.slot);
            assert_int_equal(f->verdict.id, expected.id);
            assert_int_equal(f->verdict.again, expected.again);
        }
        assert_int_equal(ls_sessions_open(f->table), plain_open_count());
        seen[expected.kind]++;
        seen_status[expected.status]++;
        evicted += f->verdict.evicted;
    }
    for (uint32_t s = 0; s < CAPACITY; s++) {
        assert_int_equal(seat_session(f, s), plain[s].id);
        if (plain[s].id != 0)
            assert_int_equal(seat_next(f, s), plain[s].next);
    }
    /* the history met everything, and often */
    for (int kind = 0; kind <= LS_VERDICT_OPENED; kind++)
        assert_true(seen[kind] > 20);
    static const uint16_t met[] = {LS_STATUS_SESSION_UNKNOWN, LS_STATUS_OUT_OF_ORDER, LS_STATUS_RESULT_GONE,
                                   LS_STATUS_NO_SESSION_FREE, LS_STATUS_EXPIRED,      LS_STATUS_CLOSED};
    for (int i = 0; i < 6; i++)
        assert_true(seen_status[met[i]] > 20);
    assert_true(evicted > 20);
}

/* Takes the history through a table of its own in bursts of up to `most`, cut before openings; returns the digest. */
static uint64_t digest_in_bursts(uint32_t most)
{
    struct ls_session_public seats[CAPACITY] = {0};
    struct ls_sessions *table = ls_sessions_create(CAPACITY, seats);
    struct ls_entry_limits limits = limits_of(CAPACITY - 1, 5);
    ls_sessions_set_limits(table, &limits);
    for (uint32_t i = 0; i < HISTORY;) {
        const struct ls_entry *entries[LS_BURST];
        struct ls_verdict verdicts[LS_BURST];
        uint32_t n = 0;
        uint32_t burst = 1 + (uint32_t)random_below(most);
        while (n < burst && i + n < HISTORY) {
            entries[n] = (const void *)history[i + n];
            if (n > 0 && entries[n]->kind == LS_ENTRY_OPEN)
                break;
            n++;
        }
        ls_sessions_judge(table, entries, n, verdicts, 0);
        for (uint32_t k = 0; k < n; k++)
            conclude(table, entries[k], &verdicts[k]);
        i += n;
    }
    uint64_t digest = ls_sessions_digest(table);
    ls_sessions_destroy(table);
    return digest;
}

static void test_bursts_make_no_difference(void **state)
{
    for (uint64_t seed = 1; seed <= 5; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        history_write(seed);
        uint64_t one_by_one = digest_in_bursts(1);
        for (int i = 0; i < 3; i++)
            assert_true(digest_in_bursts(LS_BURST) == one_by_one);
    }
}

/* What two replicas may differ in shows in the digest. */
static void test_digest_sees(void **state)
{
    uint64_t digests[9];
    for (int variant = 0; variant < 9; variant++) {
        struct ls_session_public seats[CAPACITY] = {0};
        struct fixture f = {.table = ls_sessions_create(CAPACITY, seats), .time = 100};
        struct ls_entry_limits limits = limits_of(CAPACITY, LS_WINDOW_MAX);
        ls_sessions_set_limits(f.table, &limits);
        f.time += variant == 1; /* when a session was used last */
        struct who who = open_session(&f, variant == 2 ? 2 : 1);
        result_length = variant == 3 ? 25 : 24;
        f.seq += variant == 4;
        operate(&f, who, 1);
        result_length = 24;
        if (variant == 5)
            operate(&f, who, 1); /* a repeat */
        if (variant == 6)
            query(&f, who, 2);
        if (variant == 7)
            step(&f, request(who, 2, 0), "op", 2);
        if (variant == 8)
            step(&f, request(who, 2, 1), "op", 2); /* another floor */
        digests[variant] = ls_sessions_digest(f.table);
        for (int k = 0; k < variant; k++)
            assert_true(digests[k] != digests[variant]);
        ls_sessions_destroy(f.table);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_opens_before_limits),
        TEST(test_open),
        TEST(test_open_is_idempotent),
        TEST(test_open_without_nonce),
        TEST(test_no_session_free),
        TEST(test_eviction_takes_the_least_recently_used),
        TEST(test_a_reused_slot_keeps_nothing),
        TEST(test_numbers_run_in_order),
        TEST(test_session_unknown),
        TEST(test_repeats_get_the_kept_result),
        TEST(test_results_leave_with_the_window),
        TEST(test_the_largest_window_is_kept_whole),
        TEST(test_results_leave_when_not_awaited),
        TEST(test_awaited_beyond_sense_is_ignored),
        TEST(test_deadline),
        TEST(test_query),
        TEST(test_other_entries_are_nobodys),
        TEST(test_look),
        TEST(test_limits_beyond_the_room),
        TEST(test_window_out_of_bounds),
        TEST(test_lowered_limit_is_reached_by_and_by),
        TEST(test_against_the_plain_rules),
        TEST(test_bursts_make_no_difference),
        TEST(test_digest_sees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
