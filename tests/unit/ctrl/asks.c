/* SPDX-License-Identifier: BSD-3-Clause */
/* Questions of the host: each is answered exactly once, whatever becomes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "asks.h"

static struct ls_asks asks;
static uint32_t answers, refusals;
static const char *reason;

static void on_answer(void *user, const struct ls_control_header *header, const uint8_t *body, const char *why)
{
    assert_ptr_equal(user, &asks);
    (void)body;
    answers += header != NULL;
    refusals += header == NULL;
    reason = why;
}

static int setup(void **state)
{
    (void)state;
    memset(&asks, 0, sizeof(asks));
    answers = refusals = 0;
    return 0;
}

static uint64_t add(uint64_t until)
{
    return ls_asks_add(&asks, until, on_answer, &asks);
}

static void test_answer(void **state)
{
    struct ls_control_header header = {.type = LS_CONTROL_DONE};
    uint64_t first = add(10), second = add(10);

    (void)state;
    assert_true(first != 0 && second != 0 && first != second);
    header.id = second;
    ls_asks_answer(&asks, &header, NULL);
    assert_int_equal(answers, 1);
    ls_asks_answer(&asks, &header, NULL); /* taken already */
    header.id = first + 100;
    ls_asks_answer(&asks, &header, NULL); /* to no question */
    assert_int_equal(answers, 1);
    ls_asks_drop(&asks, first);
    ls_asks_give_up(&asks, UINT64_MAX, "end");
    assert_int_equal(refusals, 0);
}

static void test_time(void **state)
{
    (void)state;
    add(10);
    add(20);
    add(UINT64_MAX);
    ls_asks_give_up(&asks, 9, "late");
    assert_int_equal(refusals, 0);
    ls_asks_give_up(&asks, 10, "late");
    assert_int_equal(refusals, 1);
    assert_string_equal(reason, "late");
    ls_asks_give_up(&asks, UINT64_MAX - 1, "late"); /* the long one goes on */
    assert_int_equal(refusals, 2);
    ls_asks_give_up(&asks, UINT64_MAX, "gone");
    assert_int_equal(refusals, 3);
    assert_string_equal(reason, "gone");
}

static void test_bound(void **state)
{
    (void)state;
    for (int i = 0; i < LS_ASKS_MAX; i++)
        assert_true(add(10) != 0);
    assert_int_equal(add(10), 0);
    ls_asks_give_up(&asks, 10, "late");
    assert_int_equal(refusals, LS_ASKS_MAX);
    assert_true(add(10) != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup(test_answer, setup),
                                       cmocka_unit_test_setup(test_time, setup),
                                       cmocka_unit_test_setup(test_bound, setup)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
