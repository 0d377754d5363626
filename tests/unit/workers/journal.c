/* SPDX-License-Identifier: BSD-3-Clause */
/* The journal worker's turn: what it says of the disk, whom it wakes, what it lets go. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../journal/memdisk.h"
#include "journal.h"
#include "reader.h"

#define RING    (64u * 1024)
#define SEGMENT (16u * 1024)
#define MS      1000000ull

struct box {
    struct memdisk disk;
    struct ls_disk_fault *fault;
    struct ls_log log;
    struct ls_seam seam;
    struct ls_journal_page page;
    struct ls_waker net;
    struct ls_journal_worker worker;
    uint64_t now;
};

static uint64_t clock_ns(void *user)
{
    return ((const struct box *)user)->now;
}

static void begin(struct box *b)
{
    struct ls_journal_config config = {.identity = {.cluster = 7, .generation = 1, .node = 1, .segment_size = SEGMENT},
                                       .incarnation = 1,
                                       .since = 1,
                                       .mark_bytes = 4096};
    struct ls_journal_state none = {0};
    memset(b, 0, sizeof(*b));
    b->now = 1000 * MS;
    memdisk_init(&b->disk, SEGMENT, 1);
    assert_int_equal(ls_log_init(&b->log, RING), 0);
    assert_int_equal(ls_seam_init(&b->seam, 16), 0);
    assert_int_equal(ls_waker_init(&b->net), 0);
    b->fault = ls_disk_fault_create(&b->disk.disk, SEGMENT, clock_ns, b);
    assert_non_null(b->fault);
    b->worker = (struct ls_journal_worker){
        .journal = ls_journal_create(&config, &none, ls_disk_fault_disk(b->fault), &b->log, &b->seam),
        .fault = b->fault,
        .log = &b->log,
        .seam = &b->seam,
        .page = &b->page,
        .net = &b->net,
        .keep = SEGMENT};
    assert_non_null(b->worker.journal);
}

static void end(struct box *b)
{
    ls_journal_destroy(b->worker.journal);
    ls_disk_fault_destroy(b->fault);
    ls_waker_free(&b->net);
    ls_seam_free(&b->seam);
    ls_log_free(&b->log);
    memdisk_free(&b->disk);
}

static void append(struct box *b, uint32_t length)
{
    static const uint8_t bytes[4096];
    struct ls_entry header = {.kind = LS_ENTRY_OPERATION, .session = 1, .number = 1};
    ls_log_append(&b->log, &header, bytes, length);
    atomic_store(&b->seam.commit, b->log.end);
}

static void turns(struct box *b, uint32_t n, uint64_t step_ns)
{
    for (uint32_t i = 0; i < n; i++)
        (void)ls_journal_worker_poll(&b->worker, b->now += step_ns);
}

static bool woken(struct box *b)
{
    uint64_t count;
    bool any = read(b->net.fd, &count, sizeof(count)) == sizeof(count);
    ls_waker_announce(&b->net);
    return any;
}

/* While a write hangs, what a power cut could take grows, and its age with it; then it is nothing again. */
static void test_lag(void **state)
{
    struct box b;
    (void)state;
    begin(&b);
    turns(&b, 20, MS);
    assert_int_equal(atomic_load(&b.page.lag_bytes), 0);
    assert_int_equal(atomic_load(&b.page.lag_ns), 0);
    b.disk.slow = 256; /* nothing completes */
    append(&b, 500);
    uint64_t length = b.log.end;
    turns(&b, 5, MS);
    assert_int_equal(atomic_load(&b.page.lag_bytes), length);
    assert_in_range(atomic_load(&b.page.lag_ns), 4 * MS, 6 * MS);
    assert_true(atomic_load(&b.page.oldest_ns) != 0);
    append(&b, 500);
    turns(&b, 5, MS);
    assert_int_equal(atomic_load(&b.page.lag_bytes), b.log.end);
    assert_in_range(atomic_load(&b.page.lag_ns), 9 * MS, 11 * MS);
    b.disk.slow = 0;
    turns(&b, 100, MS);
    assert_int_equal(atomic_load(&b.page.lag_bytes), 0);
    assert_int_equal(atomic_load(&b.page.lag_ns), 0);
    assert_int_equal(atomic_load(&b.page.oldest_ns), 0);
    assert_int_equal(atomic_load(&b.page.durable), b.log.end);
    assert_true(atomic_load(&b.page.lag_ns_max) >= 9 * MS);
    assert_int_equal(atomic_load(&b.page.lag_bytes_max), b.log.end);
    assert_true(atomic_load(&b.page.writes) > 0 && atomic_load(&b.page.states) > 0);
    end(&b);
}

/* The age is never said too short: with a stream that never pauses, each byte is at most as old as it says. */
static void test_lag_of_a_stream(void **state)
{
    struct box b;
    uint64_t position[4096], when[4096];
    uint32_t head = 0, tail = 0;
    (void)state;
    begin(&b);
    turns(&b, 20, MS);
    b.disk.slow = 200;
    for (int i = 0; i < 3000; i++) {
        uint64_t floor = atomic_load(&b.seam.durable) & ~4095ull;
        floor = floor < atomic_load(&b.seam.marked) ? floor : atomic_load(&b.seam.marked) & ~4095ull;
        if (b.log.end + 1024 <= floor + RING) {
            position[tail % 4096] = b.log.end; /* its first byte */
            when[tail++ % 4096] = b.now;
            append(&b, 100);
        }
        turns(&b, 1, MS / 10);
        while (head != tail && position[head % 4096] < atomic_load(&b.seam.durable))
            head++;
        if (head != tail)
            assert_true(atomic_load(&b.page.lag_ns) >= b.now - when[head % 4096] - MS / 10);
    }
    assert_true(b.log.end > 2 * RING);
    end(&b);
}

/* How much of the log a start would find. */
static uint64_t found(struct box *b)
{
    struct ls_journal_place first = {.chain = LS_LOG_CHAIN_FIRST};
    struct ls_journal_reader reader;
    const struct ls_entry *entry;
    assert_int_equal(ls_journal_reader_init(&reader, &b->disk.disk, SEGMENT), 0);
    ls_journal_reader_begin(&reader, &first);
    while (ls_journal_reader_next(&reader, UINT64_MAX / 2, &entry) == 1)
        ;
    uint64_t end = reader.place.position;
    ls_journal_reader_free(&reader);
    return end;
}

/* Power fails at any moment: what is gone is never more than was said that it could be, in bytes and in time. */
static void test_loss_as_said(void **state)
{
    uint64_t lost = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct box b;
        uint64_t when[512], ends[512];
        uint32_t n = 0;
        begin(&b);
        b.disk.random += seed * 977;
        b.disk.slow = (uint32_t)(seed % 250);
        for (uint64_t steps = memdisk_random(&b.disk) % 400; steps > 0; steps--) {
            if (memdisk_random(&b.disk) % 3 == 0 && b.log.end + 2048 <= RING / 2 && n < 512) {
                append(&b, (uint32_t)(memdisk_random(&b.disk) % 900));
                when[n] = b.now;
                ends[n++] = b.log.end;
            }
            turns(&b, 1, MS / 8);
        }
        uint64_t bytes = atomic_load(&b.page.lag_bytes), ns = atomic_load(&b.page.lag_ns);
        memdisk_cut(&b.disk);
        uint64_t end_found = found(&b);
        if (b.log.end - end_found > bytes)
            fail_msg("seed %lu: %lu bytes are gone, %lu were said", seed, b.log.end - end_found, bytes);
        for (uint32_t i = 0; i < n; i++)
            if (ends[i] > end_found && b.now - when[i] > ns + MS / 8)
                fail_msg("seed %lu: an entry %lu ns old is gone, %lu were said", seed, b.now - when[i], ns);
        lost += b.log.end - end_found;
        end(&b);
    }
    assert_true(lost > 0);
}

/* A thread that sleeps is woken where more became durable. */
static void test_wakes_net(void **state)
{
    struct box b;
    (void)state;
    begin(&b);
    turns(&b, 20, MS);
    (void)woken(&b);
    turns(&b, 20, MS);
    assert_false(woken(&b));
    append(&b, 100);
    turns(&b, 20, MS);
    assert_true(woken(&b));
    end(&b);
}

/* A verified checkpoint lets segments go, but for what is to be kept below it, and nothing that the state on the disk
 * does not reach. */
static void test_trims(void **state)
{
    struct box b;
    (void)state;
    begin(&b);
    for (int i = 0; i < 20; i++) {
        append(&b, 4000);
        turns(&b, 50, MS);
    }
    assert_true(b.log.end > 4 * SEGMENT);
    assert_int_equal(b.disk.trimmed, 0);
    atomic_store(&b.worker.verified, SEGMENT / 2);
    append(&b, 10);
    turns(&b, 50, MS);
    assert_int_equal(b.disk.trimmed, 0);
    atomic_store(&b.worker.verified, 3 * SEGMENT + 5);
    append(&b, 10);
    turns(&b, 50, MS);
    assert_int_equal(b.disk.trimmed, 2);
    atomic_store(&b.worker.verified, 100ull * SEGMENT); /* far beyond what is there */
    append(&b, 10);
    turns(&b, 50, MS);
    assert_true(b.disk.trimmed <= b.log.end / SEGMENT);
    assert_true(b.disk.trimmed >= 4);
    end(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lag), cmocka_unit_test(test_lag_of_a_stream),
                                       cmocka_unit_test(test_loss_as_said), cmocka_unit_test(test_wakes_net),
                                       cmocka_unit_test(test_trims)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
