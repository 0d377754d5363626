/* SPDX-License-Identifier: BSD-3-Clause */
/* The pace of scrubbing, by a machine that counts: how much in one slice, how often, and what a round comes to. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "scrub.h"

#define MS ((uint64_t)1000 * 1000)

struct ls_machine {
    uint64_t records;
    uint64_t damaged; /* this one; 0: none */
    uint32_t largest; /* slice */
    uint32_t calls;
};

static int machine_scrub(struct ls_machine *m, uint64_t *cursor, uint32_t n)
{
    m->calls++;
    m->largest = n > m->largest ? n : m->largest;
    for (; *cursor < m->records && n > 0; n--)
        if (++*cursor == m->damaged) {
            *cursor = *cursor == m->records ? 0 : *cursor;
            return -EBADMSG;
        }
    *cursor = *cursor == m->records ? 0 : *cursor;
    return 0;
}

static const struct ls_state_machine type = {.name = "counts", .scrub = machine_scrub};
static const struct ls_state_machine none = {.name = "none"};

/* Runs until `until`; returns how often it found damage. */
static uint32_t run(struct ls_scrub *scrub, struct ls_machine *m, uint64_t until)
{
    uint32_t found = 0;

    while (ls_scrub_next_ns(scrub) <= until)
        found += ls_scrub_turn(scrub, m, ls_scrub_next_ns(scrub));
    return found;
}

static void test_never(void **state)
{
    struct ls_scrub scrub;

    (void)state;
    ls_scrub_init(&scrub, &type, 1000, 0, 5);
    assert_int_equal(ls_scrub_next_ns(&scrub), UINT64_MAX);
    ls_scrub_init(&scrub, &none, 1000, 1000 * MS, 5);
    assert_int_equal(ls_scrub_next_ns(&scrub), UINT64_MAX);
    assert_false(ls_scrub_turn(&scrub, NULL, UINT64_MAX - 1));
}

/* One round a period, whether the state is full, nearly empty or huge. */
static void test_pace(void **state)
{
    static const uint64_t sizes[] = {1, 10, 1000, 100000, 10000000};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct ls_machine full = {.records = sizes[i]}, few = {.records = sizes[i] / 10 + 1};
        struct ls_scrub scrub;

        ls_scrub_init(&scrub, &type, sizes[i], 3600000 * MS, 0);
        (void)run(&scrub, &full, 3600000 * MS * 11 / 10);
        assert_int_equal(scrub.rounds, 1);
        assert_in_range(full.largest, 1, LS_SCRUB_RECORDS_MAX);
        ls_scrub_init(&scrub, &type, sizes[i], 3600000 * MS, 0);
        (void)run(&scrub, &few, 3600000 * MS * 19 / 10);
        assert_in_range(scrub.rounds, 1, 2);
    }
}

static void test_damage(void **state)
{
    struct ls_machine m = {.records = 100, .damaged = 50};
    struct ls_scrub scrub;

    (void)state;
    ls_scrub_init(&scrub, &type, 100, 1000 * MS, 0);
    assert_int_equal(run(&scrub, &m, 1050 * MS), 1);
    assert_int_equal(scrub.damaged, 1);
    assert_int_equal(scrub.rounds, 0); /* not one that found nothing wrong */
    m.damaged = 0;
    assert_int_equal(run(&scrub, &m, 2100 * MS), 0);
    assert_int_equal(scrub.rounds, 1);
    m.damaged = 100; /* the last one */
    assert_int_equal(run(&scrub, &m, 3150 * MS), 1);
    assert_int_equal(scrub.damaged, 2);
    assert_int_equal(scrub.rounds, 1);
    ls_scrub_restart(&scrub, 5000 * MS);
    assert_int_equal(scrub.cursor, 0);
    assert_true(ls_scrub_next_ns(&scrub) > 5000 * MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_never), cmocka_unit_test(test_pace),
                                       cmocka_unit_test(test_damage)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
