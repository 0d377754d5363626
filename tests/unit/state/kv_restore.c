/* SPDX-License-Identifier: BSD-3-Clause */
/* Restoring: the same state comes back and goes on alike; whatever is damaged is refused. */
#include "rig.h"

#include <errno.h>

static void fill(struct rig *rig)
{
    static uint8_t large[30000];
    char key[80];
    struct op op;

    for (int i = 0; i < 50; i++) {
        snprintf(key, sizeof(key), i % 2 ? "%d" : "%070d", i);
        rig_mutate(rig, LS_KV_PUT, key, "some value", 0, i % 3 ? 0 : 1000);
    }
    memset(large, 'L', sizeof(large));
    op_mutation(&op, LS_KV_PUT, "large", 5, large, sizeof(large), 0, 0);
    assert_int_equal(rig_apply_op(rig, &op), LS_STATUS_OK);
}

static int setup(void **state)
{
    static struct rig rig;
    rig_open(&rig, 100, 100000);
    *state = &rig;
    fill(&rig);
    return 0;
}

static int teardown(void **state)
{
    rig_close(*state);
    return 0;
}

static void goes_on_alike(void **state)
{
    struct rig *a = *state, b;
    struct image image, again;
    char keys[8192];

    image_init(&image);
    image_init(&again);
    a->time = 500;
    rig_put(a, "last", "entry");
    rig_checkpoint(a, &image);
    rig_open(&b, 100, 100000);
    assert_int_equal(rig_restore(&b, &image), 0);
    b.seq = a->seq;
    b.time = a->time;
    for (int i = 0; i < 100; i++) {
        snprintf(keys, sizeof(keys), "%d", i);
        assert_int_equal(rig_put(a, keys, "x"), rig_put(&b, keys, "x"));
        assert_int_equal(rig_delete(a, keys), rig_delete(&b, keys));
        a->time += 10;
        b.time += 10;
        assert_int_equal(ls_kv.digest(a->machine), ls_kv.digest(b.machine));
    }
    snprintf(keys, sizeof(keys), "%s", rig_scan(a, "", ""));
    assert_string_equal(keys, rig_scan(&b, "", ""));
    image_free(&image);
    image_free(&again);
    rig_close(&b);
}

/* The limits in force are the log's, not those that memory was taken for. */
static void brings_the_limits_along(void **state)
{
    struct rig *a = *state, b;
    struct image image;

    image_init(&image);
    ls_kv.set_limits(a->machine, &(struct ls_machine_limits){.keys = 51, .bytes = 100000});
    rig_checkpoint(a, &image);
    rig_open(&b, 500, 200000);
    assert_int_equal(rig_restore(&b, &image), 0);
    b.seq = a->seq;
    assert_int_equal(rig_put(a, "one more", ""), LS_STATUS_NO_SPACE);
    assert_int_equal(rig_put(&b, "one more", ""), LS_STATUS_NO_SPACE);
    image_free(&image);
    rig_close(&b);
}

static void too_large_for_this_node(void **state)
{
    struct rig *a = *state, b;
    struct image image;

    image_init(&image);
    rig_checkpoint(a, &image);
    rig_open(&b, 50, 100000); /* 51 keys are in it */
    assert_int_equal(rig_restore(&b, &image), -ENOSPC);
    rig_close(&b);
    rig_open(&b, 100, 30000);
    assert_int_equal(rig_restore(&b, &image), -ENOSPC);
    rig_close(&b);
    image_free(&image);
}

static int restore_fresh(struct image *image)
{
    struct rig rig;
    rig_open(&rig, 100, 100000);
    int error = rig_restore(&rig, image);
    rig_close(&rig);
    return error;
}

static void every_bit_counts(void **state)
{
    struct image image;

    image_init(&image);
    rig_checkpoint(*state, &image);
    for (size_t i = 0; i < image.length; i += i < 12000 ? 1 : 97) {
        image.bytes[i] ^= (uint8_t)(1u << i % 8);
        int error = restore_fresh(&image);
        if (i < 12)
            assert_int_equal(error, -EPROTO);
        else if (error != -ENODATA) /* a chunk that claims to be longer than the source */
            assert_int_equal(error, -EBADMSG);
        image.bytes[i] ^= (uint8_t)(1u << i % 8);
    }
    assert_int_equal(restore_fresh(&image), 0);
    image_free(&image);
}

static void every_length_counts(void **state)
{
    struct image image;
    size_t length;

    image_init(&image);
    rig_checkpoint(*state, &image);
    length = image.length;
    for (image.length = 0; image.length < length; image.length += image.length < 6000 ? 1 : 511)
        assert_int_equal(restore_fresh(&image), -ENODATA); /* the source's own error */
    image_free(&image);
}

static void another_machine_s_image(void **state)
{
    struct ls_machine_limits limits = {.keys = 1, .bytes = 1};
    struct ls_grace grace = {0};
    struct ls_machine *echo = ls_echo.create(&limits, &grace);
    struct image image;

    (void)state;
    image_init(&image);
    assert_int_equal(ls_echo.checkpoint_begin(echo), 0);
    assert_int_equal(ls_echo.checkpoint_next(echo, &image.sink), 0);
    ls_echo.checkpoint_end(echo);
    memset(image.bytes + image.length, 0, image.room - image.length); /* as long as a header */
    image.length = image.room;
    assert_int_equal(restore_fresh(&image), -EPROTO);
    image_free(&image);
    ls_echo.destroy(echo);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(goes_on_alike),    T(brings_the_limits_along), T(too_large_for_this_node),
        T(every_bit_counts), T(every_length_counts),     T(another_machine_s_image),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
