/* SPDX-License-Identifier: BSD-3-Clause */
/* The hash table far beyond what it has room for: keys move to their second bucket, then to the ordered index alone. */
#include "rig.h"

#include "kv_machine.h"

#define KEYS 2000

static void an_overfull_table_finds_every_key(void **state)
{
    struct rig rig;
    char key[16];
    uint64_t displaced = 0, unplaced = 0;

    (void)state;
    rig_open(&rig, 1, 1 << 20);        /* 16 buckets */
    rig.machine->physical.keys = KEYS; /* the pools' headroom has room for them */
    ls_kv.set_limits(rig.machine, &(struct ls_machine_limits){.keys = KEYS, .bytes = 1 << 20});
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < KEYS; i++) {
            snprintf(key, sizeof(key), "%d", i);
            assert_int_equal(rig_put(&rig, key, key), LS_STATUS_OK);
        }
        assert_int_equal(rig.machine->keys, KEYS);
        displaced = unplaced = 0;
        for (uint64_t b = 0; b < rig.machine->bucket_count; b++) {
            displaced += rig.machine->buckets[b].displaced;
            unplaced += rig.machine->buckets[b].unplaced;
        }
        assert_true(unplaced >= KEYS - 7 * rig.machine->bucket_count);
        for (int i = 0; i < KEYS; i++) {
            snprintf(key, sizeof(key), "%d", i);
            assert_string_equal(rig_get(&rig, key), key);
            snprintf(key, sizeof(key), "%d", KEYS + i);
            assert_null(rig_get(&rig, key));
        }
        for (int i = 0; i < KEYS; i++) {
            snprintf(key, sizeof(key), "%d", (i * 7 + round) % KEYS);
            assert_int_equal(rig_delete(&rig, key), LS_STATUS_OK);
            if (i % 100 == 0)
                rig_grace(&rig);
        }
        for (int i = 0; i < 4; i++)
            rig_grace(&rig);
    }
    assert_true(displaced > 0);
    for (uint64_t b = 0; b < rig.machine->bucket_count; b++) {
        assert_int_equal(rig.machine->buckets[b].displaced, 0);
        assert_int_equal(rig.machine->buckets[b].unplaced, 0);
    }
    rig_close(&rig);
}

/* At the key limit hardly any key is outside its bucket. */
static void a_full_store_is_in_its_buckets(void **state)
{
    struct rig rig;
    char key[16];
    uint64_t displaced = 0, unplaced = 0;

    (void)state;
    rig_open(&rig, 30000, 1 << 20);
    for (int i = 0; i < 30000; i++) {
        snprintf(key, sizeof(key), "user%08d", i);
        assert_int_equal(rig_put(&rig, key, ""), LS_STATUS_OK);
    }
    for (uint64_t b = 0; b < rig.machine->bucket_count; b++) {
        displaced += rig.machine->buckets[b].displaced;
        unplaced += rig.machine->buckets[b].unplaced;
    }
    assert_true(displaced < 30000 / 50);
    assert_true(unplaced < 30000 / 1000);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_overfull_table_finds_every_key),
        cmocka_unit_test(a_full_store_is_in_its_buckets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
