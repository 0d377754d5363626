/* SPDX-License-Identifier: BSD-3-Clause */
/* A reading of the counters page; the brain's times of a cluster file; what is kept of what was said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "problems.h"
#include "sample.h"
#include "times.h"

#define MS 1000000ull

static void test_sample(void **state)
{
    static struct ls_counters_page page;
    static struct ls_ctrl_sample sample;
    struct ls_replica_page *replica = &page.replica;

    (void)state;
    page.worker[LS_WORKER_NET].heartbeat = 77;
    page.worker[LS_WORKER_NET].heartbeat_ns = 100 * MS;
    page.worker[LS_WORKER_APPLY].heartbeat = 5;
    page.worker[LS_WORKER_APPLY].heartbeat_ns = 100 * MS;
    page.worker[LS_WORKER_APPLY].cpu = UINT64_MAX; /* has ended */
    replica->epoch = 3;
    replica->role = LS_ROLE_FOLLOWER;
    replica->sequencer = 2;
    replica->counts = 1;
    replica->last = 640;
    replica->commit = 512;
    replica->heard_ns[2] = 99 * MS;
    replica->acked_seq[3] = 4;
    replica->digests[1].seq = 1024;
    replica->digests[1].digest = 0xabc;
    replica->scrub_damaged = 1;
    ls_sample_read(&sample, &page, false, 101 * MS);
    assert_int_equal(sample.turns[LS_WORKER_NET], 77);
    assert_true(sample.turns[LS_WORKER_APPLY] == UINT64_MAX);
    assert_true(sample.turns[LS_WORKER_JOURNAL] == UINT64_MAX); /* there is none */
    assert_int_equal(sample.epoch, 3);
    assert_int_equal(sample.role, LS_ROLE_FOLLOWER);
    assert_int_equal(sample.sequencer, 2);
    assert_true(sample.counts);
    assert_int_equal(sample.last, 640);
    assert_int_equal(sample.commit, 512);
    assert_int_equal(sample.heard_ns[2], 99 * MS);
    assert_int_equal(sample.acked_seq[3], 4);
    assert_int_equal(sample.digest_seq[1], 1024);
    assert_int_equal(sample.digest[1], 0xabc);
    assert_int_equal(sample.scrub_damaged, 1);
}

/* A disk that does not complete a write for too long stops the journal's progress, though its worker turns. */
static void test_disk(void **state)
{
    static struct ls_counters_page page;
    static struct ls_ctrl_sample sample;
    struct ls_worker_page *worker = &page.worker[LS_WORKER_JOURNAL];

    (void)state;
    worker->heartbeat = 10;
    worker->heartbeat_ns = 5000 * MS;
    worker->sleeps = 1;
    page.journal.oldest_ns = 4500 * MS;
    ls_sample_read(&sample, &page, true, 5000 * MS);
    assert_int_equal(sample.turns[LS_WORKER_JOURNAL], 10);
    worker->heartbeat = 11;
    worker->heartbeat_ns = 5600 * MS;
    ls_sample_read(&sample, &page, true, 5600 * MS);
    uint64_t stands = sample.turns[LS_WORKER_JOURNAL];
    worker->heartbeat = 12;
    worker->heartbeat_ns = 6000 * MS;
    ls_sample_read(&sample, &page, true, 6000 * MS);
    assert_true(sample.turns[LS_WORKER_JOURNAL] == stands);
    assert_false(sample.asleep[LS_WORKER_JOURNAL]);
    page.journal.oldest_ns = 5990 * MS;
    ls_sample_read(&sample, &page, true, 6000 * MS);
    assert_int_equal(sample.turns[LS_WORKER_JOURNAL], 12);
    page.journal.oldest_ns = 0;
    ls_sample_read(&sample, &page, true, 9000 * MS);
    assert_int_equal(sample.turns[LS_WORKER_JOURNAL], 12);
}

/* Sleep is a bounded silence of a worker that may sleep and has slept. */
static void test_asleep(void **state)
{
    static struct ls_counters_page page;
    static struct ls_ctrl_sample sample;

    (void)state;
    page.worker[LS_WORKER_NET].heartbeat_ns = 100 * MS;
    page.worker[LS_WORKER_NET].sleeps = 1;
    ls_sample_read(&sample, &page, true, 120 * MS);
    assert_true(sample.asleep[LS_WORKER_NET]);
    assert_false(sample.asleep[LS_WORKER_JOURNAL]);
    ls_sample_read(&sample, &page, true, 140 * MS);
    assert_false(sample.asleep[LS_WORKER_NET]);
    ls_sample_read(&sample, &page, false, 120 * MS);
    assert_false(sample.asleep[LS_WORKER_NET]);
    page.worker[LS_WORKER_NET].sleeps = 0;
    ls_sample_read(&sample, &page, true, 120 * MS);
    assert_false(sample.asleep[LS_WORKER_NET]);
}

static void test_times(void **state)
{
    static struct ls_config config;
    struct ls_ctrl_times times;

    (void)state;
    ls_times_of(&config, &times);
    assert_int_equal(times.poll, 1 * MS);
    assert_int_equal(times.suspect_min, 20 * MS);
    config.detect.suspect_min_ns = 300 * MS; /* above the profile's maximum */
    config.restart_min_ns = 7 * MS;
    ls_times_of(&config, &times);
    assert_int_equal(times.suspect_min, 300 * MS);
    assert_int_equal(times.suspect_max, 300 * MS);
    assert_int_equal(times.restart_min, 7 * MS);
    config.profile = LS_PROFILE_AGGRESSIVE;
    config.detect.suspect_min_ns = 0;
    ls_times_of(&config, &times);
    assert_true(times.suspect_min < 20 * MS && times.suspect_max > times.suspect_min);
}

static void test_problems(void **state)
{
    static struct ls_problems problems = {.node = 3};
    char text[32];
    int null = dup(2);

    (void)state;
    assert_true(freopen("/dev/null", "w", stderr) != NULL);
    assert_null(ls_problems_get(&problems, 0));
    ls_problems_say(&problems, LS_CTRL_INFO, "no problem");
    assert_null(ls_problems_get(&problems, 0));
    for (int i = 0; i < LS_PROBLEMS_KEPT + 3; i++) {
        ls_problems_say(&problems, i == 34 ? LS_CTRL_ALARM : LS_CTRL_WARN, "problem %d", i);
        ls_problems_say(&problems, LS_CTRL_WARN, "problem %d", i);
    }
    for (uint32_t back = 0; back < LS_PROBLEMS_KEPT; back++) {
        snprintf(text, sizeof(text), "problem %u", LS_PROBLEMS_KEPT + 2 - back);
        assert_string_equal(ls_problems_get(&problems, back)->text, text);
        assert_int_equal(ls_problems_get(&problems, back)->times, 2);
    }
    assert_int_equal(ls_problems_get(&problems, 0)->level, LS_CTRL_ALARM);
    assert_null(ls_problems_get(&problems, LS_PROBLEMS_KEPT));
    fflush(stderr);
    dup2(null, 2);
    close(null);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sample), cmocka_unit_test(test_disk),
                                       cmocka_unit_test(test_asleep), cmocka_unit_test(test_times),
                                       cmocka_unit_test(test_problems)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
