/* SPDX-License-Identifier: BSD-3-Clause */
/* Keys with a time to live: gone by the entries' time alone, in one order, a bounded number per entry. */
#include "rig.h"

static int setup(void **state)
{
    static struct rig rig;
    rig_open(&rig, 5000, 8 * 1024 * 1024);
    rig.time = 1000;
    *state = &rig;
    return 0;
}

static int teardown(void **state)
{
    rig_close(*state);
    return 0;
}

static void a_key_goes_when_its_time_has_come(void **state)
{
    struct rig *rig = *state;
    uint64_t empty = ls_kv.digest(rig->machine);

    assert_false(ls_kv.time_pending(rig->machine));
    rig_mutate(rig, LS_KV_PUT, "k", "v", 0, 10);
    assert_true(ls_kv.time_pending(rig->machine));
    rig_tick(rig, 1009);
    assert_string_equal(rig_get(rig, "k"), "v");
    rig_tick(rig, 1010);
    assert_null(rig_get(rig, "k"));
    assert_string_equal(rig_scan(rig, "", ""), "");
    assert_false(ls_kv.time_pending(rig->machine));
    assert_int_equal(ls_kv.digest(rig->machine), empty);
}

static void what_keeps_and_what_changes_the_expiry(void **state)
{
    struct rig *rig = *state;

    rig_mutate(rig, LS_KV_PUT, "n", "1", 0, 10);
    rig_mutate(rig, LS_KV_PUT, "a", "1", 0, 10);
    rig_mutate(rig, LS_KV_PUT, "p", "1", 0, 10);
    rig_mutate(rig, LS_KV_PUT, "l", "1", 0, 10);
    rig_mutate(rig, LS_KV_PUT, "c", "1", 0, 10);
    rig->time = 1005;
    rig_mutate(rig, LS_KV_INCR, "n", "", 1, 0);    /* keeps */
    rig_mutate(rig, LS_KV_APPEND, "a", "2", 0, 0); /* keeps */
    rig_mutate(rig, LS_KV_PUT, "p", "2", 0, 0);    /* never */
    rig_mutate(rig, LS_KV_PUT, "l", "2", 0, 100);  /* later */
    rig_mutate(rig, LS_KV_CAS, "c", "2", 5, 3);    /* sooner */
    rig_tick(rig, 1008);
    assert_string_equal(rig_scan(rig, "", ""), "a l n p");
    rig_tick(rig, 1010);
    assert_string_equal(rig_scan(rig, "", ""), "l p");
    rig_tick(rig, 2000);
    assert_string_equal(rig_scan(rig, "", ""), "p");
    assert_false(ls_kv.time_pending(rig->machine));
}

static void a_deleted_key_expires_no_more(void **state)
{
    struct rig *rig = *state;
    rig_mutate(rig, LS_KV_PUT, "k", "v", 0, 10);
    rig_delete(rig, "k");
    assert_false(ls_kv.time_pending(rig->machine));
    rig_put(rig, "k", "w");
    rig_tick(rig, 5000);
    assert_string_equal(rig_get(rig, "k"), "w");
}

static void beyond_the_end_of_time_is_never(void **state)
{
    struct rig *rig = *state;
    rig_mutate(rig, LS_KV_PUT, "k", "v", 0, UINT64_MAX);
    assert_false(ls_kv.time_pending(rig->machine));
    rig_tick(rig, UINT64_MAX);
    assert_string_equal(rig_get(rig, "k"), "v");
}

static void time_never_goes_back(void **state)
{
    struct rig *rig = *state;
    rig_mutate(rig, LS_KV_PUT, "k", "v", 0, 10);
    rig_tick(rig, 1010);
    rig->time = 500; /* no sequencer would; judged as 1010 */
    rig_mutate(rig, LS_KV_PUT, "k", "v", 0, 10);
    rig_tick(rig, 1019);
    assert_string_equal(rig_get(rig, "k"), "v");
    rig_tick(rig, 1020);
    assert_null(rig_get(rig, "k"));
}

/* No read and no write sees them any more; under the limits they count until they are collected. */
static void expired_keys_are_gone_before_they_are_collected(void **state)
{
    struct rig *rig = *state;
    char key[8];

    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "%04d", i);
        rig_mutate(rig, LS_KV_PUT, key, "7", 0, 10);
    }
    rig->time = 1010;
    assert_int_equal(rig_put(rig, "other", "x"), LS_STATUS_OK); /* collects 10 of them */
    assert_string_equal(rig_scan(rig, "", ""), "other");
    assert_null(rig_get(rig, "0500"));
    assert_int_equal(rig_delete(rig, "0500"), LS_STATUS_NOT_FOUND);
    assert_int_equal(rig_mutate(rig, LS_KV_CAS, "0500", "y", 501, 0), LS_STATUS_CONDITION);
    assert_int_equal(rig->result.version, 0);
    assert_int_equal(rig_mutate(rig, LS_KV_INCR, "0500", "", 1, 0), LS_STATUS_OK);
    assert_int_equal(rig->result.number, 1); /* not 8 */
    assert_int_equal(rig_mutate(rig, LS_KV_APPEND, "0501", "z", 0, 0), LS_STATUS_OK);
    assert_string_equal(rig_get(rig, "0501"), "z");
    assert_int_equal(rig_mutate(rig, LS_KV_CAS, "0502", "c", 0, 0), LS_STATUS_OK);
    /* Each of these six entries collected 10, and each to come does; the others still count, the same everywhere. */
    ls_kv.set_limits(rig->machine, &(struct ls_machine_limits){.keys = 1001 - 70, .bytes = 1 << 20});
    assert_int_equal(rig_put(rig, "one more", ""), LS_STATUS_NO_SPACE);
    assert_int_equal(rig_put(rig, "one more", ""), LS_STATUS_OK);
    while (ls_kv.time_pending(rig->machine))
        rig_tick(rig, rig->time);
    assert_string_equal(rig_scan(rig, "", ""), "0500 0501 0502 one more other");
    rig_tick(rig, 999999);
    assert_string_equal(rig_scan(rig, "", ""), "0500 0501 0502 one more other");
}

static void a_bounded_number_per_entry(void **state)
{
    struct rig *rig = *state;
    char key[8];
    int ticks = 0;

    for (int i = 0; i < 320; i++) {
        snprintf(key, sizeof(key), "%04d", i);
        rig_mutate(rig, LS_KV_PUT, key, "", 0, 10);
    }
    for (; ls_kv.time_pending(rig->machine); ticks++)
        rig_tick(rig, 2000);
    assert_int_equal(ticks, 10); /* 32 each */
}

/* The same keys, put in another order, over another history: the same digest after each entry that collects some. */
static void the_order_does_not_depend_on_history(void **state)
{
    struct rig *a = *state, b;
    struct image image;
    char key[8];

    for (int i = 0; i < 400; i++) {
        snprintf(key, sizeof(key), "%04d", i * 7919 % 400);
        rig_mutate(a, LS_KV_PUT, key, "", 0, 100 + (uint64_t)(i % 3));
        if (i % 5 == 0)
            rig_mutate(a, LS_KV_PUT, key, "again", 0, 90);
    }
    image_init(&image);
    rig_checkpoint(a, &image);
    rig_open(&b, 5000, 8 * 1024 * 1024);
    assert_int_equal(rig_restore(&b, &image), 0);
    b.seq = a->seq;
    while (ls_kv.time_pending(a->machine)) {
        rig_tick(a, 1102);
        rig_tick(&b, 1102);
        assert_int_equal(ls_kv.digest(a->machine), ls_kv.digest(b.machine));
    }
    assert_false(ls_kv.time_pending(b.machine));
    image_free(&image);
    rig_close(&b);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_key_goes_when_its_time_has_come),
        T(what_keeps_and_what_changes_the_expiry),
        T(a_deleted_key_expires_no_more),
        T(beyond_the_end_of_time_is_never),
        T(time_never_goes_back),
        T(expired_keys_are_gone_before_they_are_collected),
        T(a_bounded_number_per_entry),
        T(the_order_does_not_depend_on_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
