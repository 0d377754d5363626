/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checkpoints while the log goes on: the image is the state at its beginning, whatever came in between, and nothing is
 * held longer than needed. Walker and writer take turns here; tests/stress has them run at once.
 */
#include "rig.h"

#include <errno.h>

static int setup(void **state)
{
    static struct rig rig;
    rig_open(&rig, 20000, 32 * 1024 * 1024);
    *state = &rig;
    return 0;
}

static int teardown(void **state)
{
    rig_close(*state);
    return 0;
}

/* Some mutation of one of `keys` keys; all kinds, values of all sizes, keys of both kinds. */
static void random_entry(struct rig *rig, struct rng *rng, uint64_t keys)
{
    static uint8_t bytes[40000];
    uint8_t code = (uint8_t[]){LS_KV_PUT, LS_KV_PUT, LS_KV_PUT, LS_KV_DELETE, LS_KV_APPEND}[rng_below(rng, 5)];
    uint32_t length = (uint32_t)rng_below(rng, rng_below(rng, 50) == 0 ? sizeof(bytes) : 300);
    char key[100];
    struct op op;
    int n = snprintf(key, sizeof(key), "key-%05llu", (unsigned long long)rng_below(rng, keys));

    if (key[n - 1] % 2) /* every other one is a long key */
        n += snprintf(key + n, sizeof(key) - (size_t)n, "%070d", 0);
    memset(bytes, (int)rng_next(rng), length);
    op_mutation(&op, code, key, (uint32_t)n, bytes, code == LS_KV_DELETE ? 0 : length, 0,
                code == LS_KV_PUT && rng_below(rng, 4) == 0 ? 1 + rng_below(rng, 500) : 0);
    rig->time++;
    rig_apply_op(rig, &op);
}

static void assert_restores(uint64_t digest, uint64_t seq, struct image *image)
{
    struct rig copy;
    struct answer answer;
    struct op op;

    rig_open(&copy, 20000, 32 * 1024 * 1024);
    assert_int_equal(rig_restore(&copy, image), 0);
    assert_int_equal(ls_kv.digest(copy.machine), digest);
    op_read(&op, LS_KV_GET, "x", 1, 0, 0);
    rig_read_op(&copy, &op, 100, &answer);
    assert_int_equal(answer.seq, seq);
    rig_close(&copy);
}

static void empty_and_small(void **state)
{
    struct rig *rig = *state;
    struct image image;

    image_init(&image);
    rig_checkpoint(rig, &image);
    assert_restores(ls_kv.digest(rig->machine), 0, &image);
    rig_put(rig, "k", "v");
    rig_checkpoint(rig, &image);
    assert_restores(ls_kv.digest(rig->machine), 1, &image);
    image_free(&image);
}

static void one_at_a_time(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(ls_kv.checkpoint_begin(rig->machine), 0);
    assert_int_equal(ls_kv.checkpoint_begin(rig->machine), -EBUSY);
    ls_kv.checkpoint_end(rig->machine); /* given up before its first step */
    assert_int_equal(ls_kv.checkpoint_begin(rig->machine), 0);
    ls_kv.checkpoint_end(rig->machine);
    ls_kv.checkpoint_end(rig->machine); /* nothing to end */
}

static void writes_go_on_meanwhile(void **state)
{
    struct rig *rig = *state;
    struct rng rng = {.state = rng_seed(11)};
    struct image image;

    image_init(&image);
    for (int round = 0; round < (getenv("LS_SANITIZED") != NULL ? 4 : 12); round++) {
        uint64_t keys = round % 2 ? 300 : 15000;
        int more;
        for (uint64_t i = 0; i < 2000; i++) {
            random_entry(rig, &rng, keys);
            if (rng_below(&rng, 100) == 0)
                rig_grace(rig);
        }
        uint64_t digest = ls_kv.digest(rig->machine), seq = rig->seq;
        image.length = 0;
        assert_int_equal(ls_kv.checkpoint_begin(rig->machine), 0);
        do {
            for (uint64_t i = rng_below(&rng, 2000); i > 0; i--) {
                random_entry(rig, &rng, keys);
                if (rng_below(&rng, 30) == 0)
                    rig_grace(rig);
            }
            more = ls_kv.checkpoint_next(rig->machine, &image.sink);
        } while (more == 1);
        assert_int_equal(more, 0);
        assert_int_equal(ls_kv.checkpoint_next(rig->machine, &image.sink), 0); /* and stays complete */
        ls_kv.checkpoint_end(rig->machine);
        assert_restores(digest, seq, &image);
    }
    image_free(&image);
}

/* A key that is deleted and put again, deleted for good, or new: while its slot waits for the walker. */
static void slots_are_not_reused_too_early(void **state)
{
    struct rig *rig = *state;
    struct image image;
    char key[8];
    int more;

    image_init(&image);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof(key), "%03d", i);
        rig_put(rig, key, "old");
    }
    uint64_t digest = ls_kv.digest(rig->machine), seq = rig->seq;
    assert_int_equal(ls_kv.checkpoint_begin(rig->machine), 0);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 100; i++) {
            snprintf(key, sizeof(key), "%03d", i);
            assert_int_equal(rig_delete(rig, key), LS_STATUS_OK);
            if (round % 2)
                rig_grace(rig);
            rig_put(rig, key, "new");
        }
        rig_grace(rig);
        rig_grace(rig);
        rig_grace(rig);
    }
    while ((more = ls_kv.checkpoint_next(rig->machine, &image.sink)) == 1)
        ;
    assert_int_equal(more, 0);
    ls_kv.checkpoint_end(rig->machine);
    assert_restores(digest, seq, &image);
    image_free(&image);
}

/* Everything that an abandoned checkpoint held comes back: otherwise memory would run out after some rounds. */
static void abandoned_checkpoints_leave_nothing_behind(void **state)
{
    struct rig *rig = *state;
    struct rng rng = {.state = rng_seed(12)};
    struct image image;

    image_init(&image);
    for (int round = 0; round < (getenv("LS_SANITIZED") != NULL ? 15 : 60); round++) {
        for (int i = 0; i < 1000; i++)
            random_entry(rig, &rng, 1000);
        while (ls_kv.checkpoint_begin(rig->machine) == -EBUSY)
            rig_grace(rig);
        if (round % 3 == 0) {
            image.fail_at = image.length + 5000; /* the disk is full */
            assert_int_equal(ls_kv.checkpoint_next(rig->machine, &image.sink), -EIO);
            image.fail_at = 0;
        } else if (round % 3 == 1) {
            assert_true(ls_kv.checkpoint_next(rig->machine, &image.sink) >= 0);
        }
        for (int i = 0; i < 1000; i++)
            random_entry(rig, &rng, 1000);
        ls_kv.checkpoint_end(rig->machine);
    }
    image.length = 0;
    while (ls_kv.checkpoint_begin(rig->machine) == -EBUSY)
        rig_grace(rig);
    ls_kv.checkpoint_end(rig->machine);
    rig_grace(rig);
    rig_checkpoint(rig, &image);
    assert_restores(ls_kv.digest(rig->machine), rig->seq, &image);
    image_free(&image);
}

/* More large values replaced than the reserve has blocks for: the checkpoint is cancelled, the service goes on. */
static void the_reserve_runs_out(void **state)
{
    struct rig *rig = *state;
    uint8_t *bytes = calloc(1, LS_KV_VALUE_MAX);
    struct image image;
    struct op op;
    char key[8];

    assert_non_null(bytes);
    image_init(&image);
    for (int round = 0; round < 3; round++) {
        assert_int_equal(ls_kv.checkpoint_begin(rig->machine), 0);
        for (int i = 0; i < 30; i++) {
            snprintf(key, sizeof(key), "%02d", i);
            op_mutation(&op, LS_KV_PUT, key, 2, bytes, LS_KV_VALUE_MAX - 2, 0, 0);
            assert_int_equal(rig_apply_op(rig, &op), LS_STATUS_OK);
        }
        assert_int_equal(ls_kv.checkpoint_next(rig->machine, &image.sink), round == 0 ? 0 : -ECANCELED);
        ls_kv.checkpoint_end(rig->machine);
        rig_grace(rig);
    }
    image.length = 0;
    rig_checkpoint(rig, &image);
    assert_restores(ls_kv.digest(rig->machine), rig->seq, &image);
    image_free(&image);
    free(bytes);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(empty_and_small),
        T(one_at_a_time),
        T(writes_go_on_meanwhile),
        T(slots_are_not_reused_too_early),
        T(abandoned_checkpoints_leave_nothing_behind),
        T(the_reserve_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
