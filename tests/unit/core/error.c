/* SPDX-License-Identifier: BSD-3-Clause */
/* The tables of texts: complete, and stable where numbers are part of the wire format and of the log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <lockstep/counters.h>
#include <lockstep/error.h>

/* Written down a second time on purpose: a changed number is a changed format. */
static const struct {
    uint16_t number;
    const char *name;
    int retryable;
} statuses[] = {
    {0, "OK", 0},
    {1, "NOT_FOUND", 0},
    {2, "CONDITION", 0},
    {3, "NO_SPACE", 0},
    {4, "TOO_LARGE", 0},
    {5, "UNSUPPORTED", 0},
    {6, "BAD_OPERATION", 0},
    {7, "NOT_A_NUMBER", 0},
    {8, "OVERFLOW", 0},
    {9, "SESSION_UNKNOWN", 0},
    {10, "EXPIRED", 0},
    {11, "CLOSED", 0},
    {12, "RESULT_GONE", 0},
    {13, "NO_SESSION_FREE", 1},
    {14, "VERSION_GONE", 1},
    {15, "LARGE_VALUE", 0},
    {16, "OUT_OF_ORDER", 0},
    {32, "BUSY_LOG", 1},
    {33, "BUSY_WINDOW", 1},
    {34, "BUSY_STASH", 1},
    {35, "BUSY_PULL", 1},
    {36, "BUSY_READS", 1},
    {37, "BUSY_OPENING", 1},
    {38, "BUSY_SUSPENDED", 1},
    {39, "BUSY_BEHIND", 1},
    {41, "NO_SEQUENCER", 1},
    {42, "HALTED", 1},
};

static void test_statuses(void **state)
{
    size_t known = 0;
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        assert_string_equal(ls_status_name(statuses[i].number), statuses[i].name);
        assert_int_equal(ls_status_is_retryable(statuses[i].number), statuses[i].retryable);
        assert_true(strlen(ls_status_text(statuses[i].number)) > 0);
        assert_non_null(ls_status_hint(statuses[i].number));
    }
    for (uint32_t number = 0; number <= UINT16_MAX; number++)
        known += strcmp(ls_status_name((uint16_t)number), "unknown status") != 0;
    assert_int_equal(known, sizeof(statuses) / sizeof(statuses[0]));
}

static void test_unknown_status(void **state)
{
    static const uint16_t unknown[] = {17, 31, 43, 1000, UINT16_MAX};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        assert_string_equal(ls_status_name(unknown[i]), "unknown status");
        assert_string_equal(ls_status_text(unknown[i]), "unknown status");
        assert_string_equal(ls_status_hint(unknown[i]), "unknown status");
        assert_int_equal(ls_status_is_retryable(unknown[i]), 0);
    }
}

static void test_counters_have_names_and_texts(void **state)
{
    assert_string_equal(ls_counter_name(LS_COUNT_frames_in), "frames_in");
    assert_string_equal(ls_counter_text(LS_COUNT_drop_crc), "frame: checksum wrong");
    assert_string_equal(ls_counter_name(LS_COUNTERS - 1), "fault_corrupted");
    for (unsigned i = 0; i < LS_COUNTERS; i++) {
        assert_true(strlen(ls_counter_name(i)) > 1);
        assert_true(strlen(ls_counter_text(i)) > 1);
        for (unsigned k = 0; k < i; k++)
            assert_string_not_equal(ls_counter_name(i), ls_counter_name(k));
    }
    assert_string_equal(ls_counter_name(LS_COUNTERS), "?");
    assert_string_equal(ls_counter_text(LS_COUNTERS), "?");
}

static void test_roles_and_halts(void **state)
{
    assert_string_equal(ls_role_name(LS_ROLE_SEALED), "sealed");
    assert_string_equal(ls_role_name(LS_ROLE_UNVERIFIED), "unverified");
    assert_string_equal(ls_role_name(LS_ROLE_FOLLOWER), "follower");
    assert_string_equal(ls_role_name(LS_ROLE_OPENING), "opening");
    assert_string_equal(ls_role_name(LS_ROLE_SEQUENCER), "sequencer");
    assert_string_equal(ls_role_name(LS_ROLE_SUSPENDED), "suspended");
    assert_string_equal(ls_role_name(LS_ROLE_HALTED), "halted");
    assert_string_equal(ls_role_name(LS_ROLE_OUTSIDE), "outside");
    assert_string_equal(ls_role_name(LS_ROLE_BEHIND), "behind");
    assert_string_equal(ls_role_name(LS_ROLE_BEHIND + 1), "?");
    for (unsigned i = 0; i <= LS_HALT_DISK; i++) {
        if (i == 3) /* given up, and not to be given to anything else */
            assert_string_equal(ls_halt_text(i), "?");
        else
            assert_true(strlen(ls_halt_text(i)) > 1);
    }
    assert_string_equal(ls_halt_text(LS_HALT_DISK + 1), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statuses),
        cmocka_unit_test(test_unknown_status),
        cmocka_unit_test(test_counters_have_names_and_texts),
        cmocka_unit_test(test_roles_and_halts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
