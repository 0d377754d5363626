/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The journal's writer and the way back: a log that grows, loses tails and begins anew behind checkpoints, on a disk in
 * memory (memdisk.h) whose power fails at any moment. What was called durable is there afterwards, always.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "memdisk.h"
#include "resume.h"
#include "rig.h"
#include "writer.h"

#define RING    (64 * 1024)
#define SEGMENT (16 * 1024)
#define MS      1000000ull

/* One node's life after life on one disk; the test plays net. */
struct life {
    struct memdisk disk;
    struct ls_journal_identity identity;
    struct rig rig;
    struct ls_journal *journal;
    struct ls_journal_state state;
    uint64_t incarnation, now, asked, epoch;
    char error[LS_JOURNAL_ERROR_MAX];
};

static uint64_t seed_now; /* for messages */

static void memory_begin(struct life *l)
{
    rig_begin(&l->rig, RING, l->incarnation);
    l->asked = 0;
}

static void memory_end(struct life *l)
{
    ls_journal_destroy(l->journal);
    l->journal = NULL;
    rig_end(&l->rig);
}

static void journal_begin(struct life *l)
{
    struct ls_journal_config config = {.identity = l->identity,
                                       .incarnation = l->incarnation,
                                       .since = l->state.since != 0 ? l->state.since : l->incarnation,
                                       .writes_max = 4,
                                       .write_max = 8192,
                                       .mark_bytes = 8192};
    l->journal = ls_journal_create(&config, &l->state, &l->disk.disk, &l->rig.log, &l->rig.seam);
    assert_non_null(l->journal);
}

static void life_begin(struct life *l, uint64_t seed)
{
    memset(l, 0, sizeof(*l));
    l->identity = (struct ls_journal_identity){.cluster = 7, .generation = 1, .node = 1, .segment_size = SEGMENT};
    memdisk_init(&l->disk, SEGMENT, seed);
    l->incarnation = 1;
    l->epoch = 1;
    l->now = 1000 * MS;
    memory_begin(l);
    journal_begin(l);
}

static void life_end(struct life *l)
{
    memory_end(l);
    memdisk_free(&l->disk);
}

static uint64_t floor_of(const struct life *l)
{
    uint64_t floor = atomic_load(&l->rig.seam.applied);
    floor = floor < atomic_load(&l->rig.seam.durable) ? floor : atomic_load(&l->rig.seam.durable);
    floor = floor < atomic_load(&l->rig.seam.marked) ? floor : atomic_load(&l->rig.seam.marked);
    return floor & ~4095ull;
}

static bool append(struct life *l, uint32_t length)
{
    static uint8_t bytes[4096];
    struct ls_entry header = {.kind = LS_ENTRY_OPERATION, .time = l->now, .session = 1, .number = l->rig.log.last_seq};
    if (atomic_load(&l->rig.seam.journal_taken) != l->asked ||
        l->rig.log.end + ls_entry_size(length) > floor_of(l) + RING)
        return false;
    for (uint32_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)memdisk_random(&l->disk);
    ls_log_append(&l->rig.log, &header, bytes, length);
    return true;
}

static void open_epoch(struct life *l)
{
    struct ls_entry header = {.kind = LS_ENTRY_EPOCH, .time = l->now};
    struct ls_entry_epoch opening = {.epoch = l->epoch++, .incarnation = l->incarnation, .sequencer = 1};
    if (atomic_load(&l->rig.seam.journal_taken) == l->asked &&
        l->rig.log.end + ls_entry_size(sizeof(opening)) <= floor_of(l) + RING)
        ls_log_append(&l->rig.log, &header, &opening, sizeof(opening));
}

/* The end of an entry between commit and the log's end. */
static uint64_t some_end(struct life *l)
{
    uint64_t commit = atomic_load(&l->rig.seam.commit),
             seq = ls_log_seq_at(&l->rig.log, commit > l->rig.log.base ? commit : l->rig.log.base);
    uint64_t last = l->rig.log.last_seq + 1;
    assert_true(seq != 0);
    seq += memdisk_random(&l->disk) % (last - seq + 1);
    return seq == last ? l->rig.log.end : l->rig.log.index[seq & l->rig.log.index_mask].position;
}

static void commit(struct life *l)
{
    uint64_t end = some_end(l);
    uint64_t durable = atomic_load(&l->rig.seam.durable);
    if (atomic_load(&l->rig.seam.journal_taken) != l->asked || end > durable)
        return;
    atomic_store(&l->rig.seam.commit, end);
    while (atomic_load(&l->rig.seam.applied) < end)
        (void)ls_executor_turn(l->rig.executor, l->now);
}

static void drop_tail(struct life *l)
{
    uint64_t end = some_end(l);
    if (end == l->rig.log.end || atomic_load(&l->rig.seam.journal_taken) != l->asked)
        return; /* one after the other */
    assert_int_equal(ls_log_truncate(&l->rig.log, end), 0);
    atomic_store(&l->rig.seam.journal_from, end);
    atomic_store(&l->rig.seam.journal_asked, ++l->asked);
}

static void poll(struct life *l)
{
    (void)ls_journal_poll(l->journal, l->now);
    l->now += memdisk_random(&l->disk) % MS;
}

/* The last entry's end that is not above. */
static uint64_t entry_end_below(const struct life *l, uint64_t position)
{
    uint64_t end = l->rig.log.base;
    if (position >= l->rig.log.end)
        return l->rig.log.end;
    for (uint64_t seq = l->rig.log.last_seq; seq > l->rig.log.base_seq && seq >= l->rig.log.index_first; seq--) {
        end = l->rig.log.index[seq & l->rig.log.index_mask].position;
        if (end <= position)
            return end;
    }
    return end <= position ? end : l->rig.log.base;
}

/* Power fails, and the next life finds what it finds. `sure`: up to here it was called durable. */
static void cut_and_resume(struct life *l, uint64_t sure)
{
    static uint8_t before[RING];
    uint64_t from = l->rig.log.base > 0 ? l->rig.log.base : sure > RING ? sure - RING / 2 : 0;
    struct ls_cut cut = {.position = l->rig.log.base,
                         .seq = l->rig.log.base_seq,
                         .time = l->rig.log.base_time,
                         .chain = l->rig.log.base_chain};
    if (from < l->rig.log.end && l->rig.log.end - from > RING / 2)
        from = l->rig.log.end - RING / 2;
    sure = entry_end_below(l, sure);
    from = from > sure ? sure : from;
    for (uint64_t at = from; at < sure; at++)
        before[at - from] = *ls_log_at(&l->rig.log, at);
    memdisk_cut(&l->disk);
    memory_end(l);
    l->incarnation++;
    memory_begin(l);
    int loaded = ls_journal_state_load(&l->disk.disk, &l->identity, &l->state, l->error);
    if (loaded != LS_JOURNAL_RIGHT && sure != 0)
        print_error("seed %lu, incarnation %lu: durable up to %lu, %d: %s\n", seed_now, l->incarnation, sure, loaded,
                    l->error);
    assert_true(loaded == LS_JOURNAL_RIGHT || (loaded == LS_JOURNAL_ABSENT && sure == 0));
    if (loaded != LS_JOURNAL_RIGHT)
        memset(&l->state, 0, sizeof(l->state));
    l->state.base.chain = l->state.number == 0 ? LS_LOG_CHAIN_FIRST : l->state.base.chain;
    assert_int_equal(l->state.base.position, cut.position);
    int result =
        ls_journal_replay(&l->disk.disk, &l->identity, &l->state, &l->rig.log, &l->rig.seam, l->rig.executor, l->error);
    if (result != 0)
        print_error("%s\n", l->error);
    assert_int_equal(result, 0);
    if (l->rig.log.end < sure)
        print_error("durable up to %lu, found up to %lu\n", sure, l->rig.log.end);
    assert_true(l->rig.log.end >= sure);
    for (uint64_t at = from; at < sure; at++)
        assert_int_equal(before[at - from], *ls_log_at(&l->rig.log, at));
    assert_true(atomic_load(&l->rig.seam.commit) <= l->rig.log.end);
    assert_int_equal(atomic_load(&l->rig.seam.applied), atomic_load(&l->rig.seam.commit));
    if (ls_log_last_epoch(&l->rig.log) >= l->epoch)
        l->epoch = ls_log_last_epoch(&l->rig.log) + 1;
    journal_begin(l);
}

static uint64_t sure_of(const struct life *l)
{
    uint64_t durable = atomic_load(&l->rig.seam.durable), from = atomic_load(&l->rig.seam.journal_from);
    return atomic_load(&l->rig.seam.journal_taken) == l->asked || durable < from ? durable : from;
}

static void test_power_fails(void **state)
{
    uint64_t seeds = getenv("SEEDS") != NULL ? strtoull(getenv("SEEDS"), NULL, 0) : 300;
    (void)state;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        static struct life l;
        life_begin(&l, seed);
        seed_now = seed;
        l.disk.slow = (uint32_t)(memdisk_random(&l.disk) % 250);
        l.disk.make_late = memdisk_random(&l.disk) % 2 == 0;
        open_epoch(&l);
        uint64_t was = 0;
        for (int i = 0; i < 2000; i++) {
            uint64_t what = memdisk_random(&l.disk) % 64;
            if (what < 24)
                what == 1 ? open_epoch(&l)
                          : (void)append(&l, (uint32_t)(memdisk_random(&l.disk) % (what == 0 ? 3000 : 200)));
            else if (what < 30)
                commit(&l);
            else if (what == 30)
                drop_tail(&l);
            else if (what == 31 && memdisk_random(&l.disk) % 4 == 0)
                cut_and_resume(&l, sure_of(&l)), was = 0;
            else
                poll(&l);
            uint64_t sure = sure_of(&l);
            if (l.asked == atomic_load(&l.rig.seam.journal_taken) && was != 0)
                assert_true(sure >= was || l.asked > 0);
            was = sure;
        }
        if (sure_of(&l) == 0)
            print_message("seed %lu: nothing ever became durable\n", seed);
        life_end(&l);
    }
}

static void poll_until_durable(struct life *l)
{
    for (int i = 0; i < 10000 && atomic_load(&l->rig.seam.durable) < l->rig.log.end; i++)
        poll(l);
    assert_int_equal(atomic_load(&l->rig.seam.durable), l->rig.log.end);
}

/* What came while its segment was still being made counts for the mark like anything else. */
static void test_mark_follows(void **state)
{
    static struct life l;
    (void)state;
    life_begin(&l, 4);
    l.disk.make_late = true;
    open_epoch(&l);
    assert_false(ls_journal_is_owned(l.journal));
    poll(&l); /* asks for the segment */
    for (int i = 0; i < 100; i++)
        (void)append(&l, 100);
    poll_until_durable(&l);
    for (int i = 0; i < 10; i++) {
        l.now += 10 * MS;
        poll(&l);
    }
    memdisk_cut(&l.disk);
    assert_int_equal(ls_journal_state_load(&l.disk.disk, &l.identity, &l.state, l.error), LS_JOURNAL_RIGHT);
    assert_int_equal(l.state.durable, l.rig.log.end);
    assert_true(ls_journal_is_owned(l.journal));
    life_end(&l);
}

/* An orderly end says so, and where the log ended. */
static void test_finish(void **state)
{
    static struct life l;
    (void)state;
    life_begin(&l, 5);
    open_epoch(&l);
    for (int i = 0; i < 50; i++)
        (void)append(&l, 100);
    int turns = 0;
    while (!ls_journal_finish(l.journal, l.now) && turns++ < 1000)
        l.now += MS;
    assert_true(turns < 1000);
    uint64_t end = l.rig.log.end;
    cut_and_resume(&l, end);
    assert_int_equal(l.state.clean, 1);
    assert_int_equal(l.state.durable, end);
    assert_int_equal(l.rig.log.end, end);
    life_end(&l);
}

/* What was dropped before an orderly end still stands behind it, and follows it; it does not come back. */
static void test_finish_behind_a_dropped_tail(void **state)
{
    static struct life l;
    (void)state;
    life_begin(&l, 9);
    open_epoch(&l);
    for (int i = 0; i < 50; i++)
        (void)append(&l, 100);
    poll_until_durable(&l);
    uint64_t end = l.rig.log.index[20].position;
    assert_int_equal(ls_log_truncate(&l.rig.log, end), 0);
    atomic_store(&l.rig.seam.journal_from, end);
    atomic_store(&l.rig.seam.journal_asked, ++l.asked);
    int turns = 0;
    while (!ls_journal_finish(l.journal, l.now) && turns++ < 1000)
        l.now += MS;
    assert_true(turns < 1000);
    cut_and_resume(&l, end);
    assert_int_equal(l.rig.log.end, end);
    life_end(&l);
}

/* A log that begins anew behind a checkpoint: the journal says so first, and forgets what was before. */
static void test_rebase(void **state)
{
    static struct life l;
    (void)state;
    life_begin(&l, 6);
    open_epoch(&l);
    for (int i = 0; i < 300; i++) {
        (void)append(&l, 100);
        poll(&l);
    }
    poll_until_durable(&l);
    struct ls_cut cut = {.position = 100 * 1024 + 8, .seq = 5000, .time = l.now, .chain = 77};
    ls_log_rebase(&l.rig.log, &cut);
    atomic_store(&l.rig.seam.commit, cut.position);
    atomic_store(&l.rig.seam.applied, cut.position);
    atomic_store(&l.rig.seam.journal_from, cut.position);
    atomic_store(&l.rig.seam.journal_base, cut.position);
    atomic_store(&l.rig.seam.journal_base_seq, cut.seq);
    atomic_store(&l.rig.seam.journal_base_time, cut.time);
    atomic_store(&l.rig.seam.journal_base_chain, cut.chain);
    atomic_store(&l.rig.seam.journal_asked, ++l.asked);
    for (int i = 0; i < 10 && atomic_load(&l.rig.seam.journal_taken) != l.asked; i++)
        poll(&l);
    assert_int_equal(atomic_load(&l.rig.seam.journal_taken), 1);
    assert_int_equal(atomic_load(&l.rig.seam.durable), cut.position);
    assert_int_equal(l.disk.trimmed, cut.position / SEGMENT);
    struct ls_entry header = {.kind = LS_ENTRY_TICK, .time = l.now};
    ls_log_append(&l.rig.log, &header, NULL, 0);
    poll_until_durable(&l);
    memdisk_cut(&l.disk);
    assert_int_equal(ls_journal_state_load(&l.disk.disk, &l.identity, &l.state, l.error), LS_JOURNAL_RIGHT);
    assert_int_equal(l.state.base.position, cut.position);
    assert_int_equal(l.state.base.seq, cut.seq);
    assert_int_equal(l.state.base.chain, cut.chain);
    assert_int_equal(l.state.since, 1);
    life_end(&l);
}

static void test_errors(void **state)
{
    static struct life l;
    (void)state;
    life_begin(&l, 7);
    open_epoch(&l);
    poll_until_durable(&l);
    uint64_t durable = l.rig.log.end;
    (void)append(&l, 100);
    l.disk.fail = -EIO;
    for (int i = 0; i < 100; i++)
        poll(&l);
    assert_int_equal(atomic_load(&l.rig.seam.journal_error), EIO);
    l.disk.fail = 0; /* it seems to work again: what was lost in between nobody knows */
    for (int i = 0; i < 100; i++)
        poll(&l);
    assert_int_equal(atomic_load(&l.rig.seam.durable), durable);
    assert_int_equal(ls_journal_next_ns(l.journal, l.now), UINT64_MAX);
    assert_true(ls_journal_finish(l.journal, l.now));
    life_end(&l);
}

/* What was durable is not there any more: named, with its place. */
static void test_damage(void **state)
{
    static struct life l;
    (void)state;
    for (uint32_t bit = 0; bit < 400; bit++) {
        life_begin(&l, 8 + bit);
        open_epoch(&l);
        for (int i = 0; i < 60; i++)
            (void)append(&l, 100);
        while (!ls_journal_finish(l.journal, l.now))
            l.now += MS;
        uint64_t durable = l.rig.log.end;
        uint64_t at = memdisk_random(&l.disk) % durable;
        l.disk.segment[at / SEGMENT][at % SEGMENT] ^= (uint8_t)(1u << (bit % 8));
        memory_end(&l);
        memory_begin(&l);
        assert_int_equal(ls_journal_state_load(&l.disk.disk, &l.identity, &l.state, l.error), LS_JOURNAL_RIGHT);
        assert_int_equal(
            ls_journal_replay(&l.disk.disk, &l.identity, &l.state, &l.rig.log, &l.rig.seam, l.rig.executor, l.error),
            -EBADMSG);
        assert_non_null(strstr(l.error, "the journal is damaged at position"));
        assert_true(l.rig.log.end <= at);
        life_end(&l);
    }
}

/* Whose log may count, by what the record says. */
static void test_complete(void **state)
{
    struct ls_journal_state s = {.since = 5, .incarnation = 9};
    (void)state;
    assert_false(ls_journal_is_complete(&s, 0));
    assert_false(ls_journal_is_complete(&s, 4)); /* it acknowledged things before there was this journal */
    assert_true(ls_journal_is_complete(&s, 5));
    assert_true(ls_journal_is_complete(&s, 9));
    assert_false(ls_journal_is_complete(&s, 10)); /* a later one counted without it */
    s.since = 0;
    assert_false(ls_journal_is_complete(&s, 9));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_power_fails), cmocka_unit_test(test_mark_follows),
        cmocka_unit_test(test_finish),      cmocka_unit_test(test_finish_behind_a_dropped_tail),
        cmocka_unit_test(test_rebase),      cmocka_unit_test(test_errors),
        cmocka_unit_test(test_damage),      cmocka_unit_test(test_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
