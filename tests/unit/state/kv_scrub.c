/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Scrubbing: one flipped bit is found wherever it is, once a round, and good state is never reported. Beside the
 * writer it is tried in tests/stress.
 */
#include "rig.h"

#include <errno.h>

static int setup(void **state)
{
    static struct rig rig;
    rig_open(&rig, 2000, 8 * 1024 * 1024);
    *state = &rig;
    return 0;
}

static int teardown(void **state)
{
    rig_close(*state);
    return 0;
}

/* One whole round; how many damaged ones it found. */
static uint32_t round_of(struct rig *rig, uint32_t n)
{
    uint64_t cursor = 0;
    uint32_t damaged = 0;
    do {
        uint64_t before = cursor;
        int error = ls_kv.scrub(rig->machine, &cursor, n);
        assert_true(error == 0 || error == -EBADMSG);
        assert_true(cursor == 0 || cursor > before);
        damaged += error != 0;
    } while (cursor != 0);
    return damaged;
}

static void put_sized(struct rig *rig, const char *key, uint32_t length)
{
    static uint8_t value[200000];
    struct op op;
    memset(value, (int)length, length);
    op_mutation(&op, LS_KV_PUT, key, (uint32_t)strlen(key), value, length, 0, 0);
    assert_int_equal(rig_apply_op(rig, &op), LS_STATUS_OK);
}

static void nothing_to_flip(void **state)
{
    struct rig *rig = *state;
    assert_false(ls_kv.flip(rig->machine, 1));
    assert_int_equal(round_of(rig, 10), 0);
    put_sized(rig, "empty", 0);
    assert_false(ls_kv.flip(rig->machine, 1));
    put_sized(rig, "gone", 10);
    rig_delete(rig, "gone");
    assert_false(ls_kv.flip(rig->machine, 1));
    rig_grace(rig);
    rig_grace(rig);
    rig_grace(rig);
    assert_int_equal(round_of(rig, 10), 0);
}

static void one_bit_in_a_value_of_any_size(void **state)
{
    struct rig *rig = *state;
    const uint32_t sizes[] = {1, 8, 224, 225, 512, 28672, 28673, 200000};
    for (uint32_t i = 0; i < 8; i++) {
        put_sized(rig, "k", sizes[i]);
        for (uint64_t seed = 1; seed < 30; seed++) {
            assert_true(ls_kv.flip(rig->machine, seed));
            assert_int_equal(round_of(rig, 3), 1);
            assert_true(ls_kv.flip(rig->machine, seed)); /* and back */
            assert_int_equal(round_of(rig, 3), 0);
        }
    }
}

static void the_one_among_many(void **state)
{
    struct rig *rig = *state;
    char key[100];
    for (uint32_t i = 0; i < 1500; i++) {
        snprintf(key, sizeof(key), i % 2 ? "%u" : "%u-a-long-key-a-long-key-a-long-key-a-long-key-a-long-key", i);
        put_sized(rig, key, i % 700);
        if (i % 7 == 0)
            rig_delete(rig, key);
    }
    assert_int_equal(round_of(rig, 100), 0);
    for (uint64_t seed = 0; seed < 40; seed++) {
        assert_true(ls_kv.flip(rig->machine, seed * 977));
        assert_int_equal(round_of(rig, 1 + (uint32_t)seed * 40), 1);
        assert_true(ls_kv.flip(rig->machine, seed * 977));
    }
    assert_int_equal(round_of(rig, 5000), 0);
}

static void echo_has_nothing(void **state)
{
    (void)state;
    assert_null(ls_echo.scrub);
    assert_null(ls_echo.flip);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(nothing_to_flip),
        TEST(one_bit_in_a_value_of_any_size),
        TEST(the_one_among_many),
        cmocka_unit_test(echo_has_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
