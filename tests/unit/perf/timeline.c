/* SPDX-License-Identifier: BSD-3-Clause */
/* Completions over time: where they are counted, what is a pause, what is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "timeline.h"

#define MS UINT64_C(1000000)

static void test_buckets(void **state)
{
    struct ls_timeline t;
    assert_int_equal(ls_timeline_init(&t, 0.1), 0);
    assert_int_equal(t.buckets, 11);
    ls_timeline_begin(&t, 1000 * MS);
    ls_timeline_note(&t, 1000 * MS, true);
    ls_timeline_note(&t, 1010 * MS - 1, true);
    ls_timeline_note(&t, 1010 * MS, true);
    ls_timeline_note(&t, 1011 * MS, false);
    ls_timeline_note(&t, 5000 * MS, true); /* beyond the room: in the last one */
    assert_int_equal(t.good[0], 2);
    assert_int_equal(t.good[1], 1);
    assert_int_equal(t.failed[1], 1);
    assert_int_equal(t.good[10], 1);
    ls_timeline_free(&t);
}

static void test_pauses(void **state)
{
    struct ls_timeline t;
    assert_int_equal(ls_timeline_init(&t, 1), 0);
    ls_timeline_begin(&t, 100 * MS);
    ls_timeline_note(&t, 101 * MS, true);
    ls_timeline_note(&t, 104 * MS - 1, true);
    assert_int_equal(t.pauses, 0);
    ls_timeline_note(&t, 105 * MS, false); /* a failure ends no pause */
    ls_timeline_note(&t, 110 * MS, true);
    assert_int_equal(t.pauses, 1);
    assert_int_equal(t.pause[0].from_ns, 104 * MS - 1);
    assert_int_equal(t.pause[0].to_ns, 110 * MS);
    ls_timeline_end(&t, 111 * MS);
    assert_int_equal(t.pauses, 1);
    ls_timeline_end(&t, 150 * MS);
    assert_int_equal(t.pauses, 2);
    for (uint64_t i = 0; i < LS_TIMELINE_PAUSES; i++)
        ls_timeline_note(&t, (200 + 10 * i) * MS, true);
    assert_int_equal(t.pauses, LS_TIMELINE_PAUSES);
    assert_int_equal(t.pauses_lost, 2);
    ls_timeline_free(&t);
}

static void test_written(void **state)
{
    struct ls_timeline a, b;
    assert_int_equal(ls_timeline_init(&a, 0.02), 0);
    assert_int_equal(ls_timeline_init(&b, 0.02), 0);
    ls_timeline_begin(&a, 100 * MS);
    ls_timeline_begin(&b, 100 * MS);
    ls_timeline_note(&a, 101 * MS, true);
    ls_timeline_note(&a, 111 * MS, true);
    ls_timeline_note(&b, 101 * MS, false);
    ls_timeline_note(&b, 101 * MS, true);
    const struct ls_timeline *both[] = {&a, &b};
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    assert_non_null(to);
    assert_int_equal(ls_timeline_write(both, 2, to), 0);
    fclose(to);
    assert_string_equal(text, "{\"begin_ns\": 100000000, \"bucket_ns\": 10000000, \"threads\": 2,\n"
                              "\"completed\": [2,1,0],\n\"failed\": [1,0,0],\n"
                              "\"pauses\": [\n[1, 101000000, 111000000]],\n\"pauses_lost\": 0}\n");
    free(text);
    ls_timeline_free(&a);
    ls_timeline_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_pauses),
        cmocka_unit_test(test_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
