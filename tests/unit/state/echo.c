/* SPDX-License-Identifier: BSD-3-Clause */
/* The echo machine: answers with what it got, and its digest tells histories apart. */
#include "rig.h"

#include <errno.h>

static struct ls_machine *echo_new(void)
{
    struct ls_machine_limits limits = {.keys = 1, .bytes = 1};
    static struct ls_grace grace;
    struct ls_machine *machine = ls_echo.create(&limits, &grace);
    assert_non_null(machine);
    return machine;
}

static uint32_t echo_apply(struct ls_machine *machine, uint64_t seq, const void *bytes, uint32_t length,
                           uint8_t *answer)
{
    struct ls_command command = {.seq = seq, .operation = bytes, .length = length};
    struct ls_result result = {.status = 0xffff, .bytes = answer};
    assert_int_equal(ls_echo.apply(machine, &command, 1, &result), 1);
    assert_int_equal(result.status, LS_STATUS_OK);
    return result.length;
}

static void answers_with_the_first_bytes(void **state)
{
    struct ls_machine *machine = echo_new();
    uint8_t answer[LS_RESULT_MAX], bytes[1000];

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(echo_apply(machine, 1, bytes, 3, answer), 3);
    assert_memory_equal(answer, bytes, 3);
    assert_int_equal(echo_apply(machine, 2, bytes, sizeof(bytes), answer), LS_RESULT_MAX);
    assert_memory_equal(answer, bytes, LS_RESULT_MAX);
    assert_int_equal(echo_apply(machine, 3, NULL, 0, answer), 0);
    ls_echo.destroy(machine);
}

static void reads_echo_into_the_room(void **state)
{
    struct ls_machine *machine = echo_new();
    uint8_t answer[LS_RESULT_MAX], room[8];
    struct ls_read_result result = {.room = sizeof(room), .bytes = room};

    (void)state;
    echo_apply(machine, 9, "x", 1, answer);
    ls_echo.read(machine, (const uint8_t *)"hello, world", 12, &result);
    assert_int_equal(result.status, LS_STATUS_OK);
    assert_int_equal(result.seq, 9);
    assert_int_equal(result.length, 8);
    assert_memory_equal(room, "hello, w", 8);
    assert_false(ls_echo.time_pending(machine));
    ls_echo.destroy(machine);
}

static void digest_tells_histories_apart(void **state)
{
    struct ls_machine *a = echo_new(), *b = echo_new();
    uint8_t answer[LS_RESULT_MAX];

    (void)state;
    echo_apply(a, 1, "x", 1, answer);
    assert_int_not_equal(ls_echo.digest(a), ls_echo.digest(b));
    echo_apply(b, 1, "x", 1, answer);
    assert_int_equal(ls_echo.digest(a), ls_echo.digest(b));
    echo_apply(a, 2, NULL, 0, answer); /* a tick executes nothing */
    assert_int_equal(ls_echo.digest(a), ls_echo.digest(b));
    echo_apply(a, 3, "y", 1, answer);
    echo_apply(b, 2, "y", 1, answer);
    assert_int_not_equal(ls_echo.digest(a), ls_echo.digest(b));
    ls_echo.destroy(a);
    ls_echo.destroy(b);
}

static void checkpoint_is_of_its_beginning(void **state)
{
    struct ls_machine *a = echo_new(), *b = echo_new();
    uint8_t answer[LS_RESULT_MAX];
    struct image image;
    uint64_t digest;

    (void)state;
    image_init(&image);
    echo_apply(a, 1, "x", 1, answer);
    digest = ls_echo.digest(a);
    assert_int_equal(ls_echo.checkpoint_begin(a), 0);
    assert_int_equal(ls_echo.checkpoint_begin(a), -EBUSY);
    echo_apply(a, 2, "y", 1, answer);
    assert_int_equal(ls_echo.checkpoint_next(a, &image.sink), 0);
    ls_echo.checkpoint_end(a);
    assert_int_equal(ls_echo.restore(b, &image.source), 0);
    assert_int_equal(ls_echo.digest(b), digest);
    echo_apply(b, 2, "y", 1, answer);
    assert_int_equal(ls_echo.digest(b), ls_echo.digest(a));
    for (size_t i = 0; i < image.length; i++) { /* no byte of it may be another */
        struct ls_machine *c = echo_new();
        image.bytes[i] ^= 1;
        image.at = 0;
        assert_int_equal(ls_echo.restore(c, &image.source), i < 12 ? -EPROTO : -EBADMSG);
        image.bytes[i] ^= 1;
        ls_echo.destroy(c);
    }
    image_free(&image);
    ls_echo.destroy(a);
    ls_echo.destroy(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_with_the_first_bytes),
        cmocka_unit_test(reads_echo_into_the_room),
        cmocka_unit_test(digest_tells_histories_apart),
        cmocka_unit_test(checkpoint_is_of_its_beginning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
