/* SPDX-License-Identifier: BSD-3-Clause */
/* Replicas that differ at one seq, at several, and with too few reports to say who is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "drift.h"

static struct ls_drift drift;
static struct ls_membership members;

static void begin(uint32_t count)
{
    memset(&drift, 0, sizeof(drift));
    members = (struct ls_membership){.count = count};
    for (uint16_t i = 0; i < count; i++)
        members.member[i] = (struct ls_member){.node = (uint16_t)(i + 1), .role = LS_MEMBER_VOTER};
}

static void own(uint64_t seq, uint64_t digest)
{
    struct ls_ctrl_sample sample = {.digest_seq = {0, seq}, .digest = {9, digest}};

    ls_drift_own(&drift, &sample);
}

static void peer(uint16_t node, uint64_t seq, uint64_t digest)
{
    ls_drift_peer(&drift, node, &seq, &digest, 1);
}

static void test_odd(void **state)
{
    (void)state;
    begin(3);
    assert_int_equal(ls_drift_odd(&drift, &members, 1), 0);
    own(1000, 5);
    assert_int_equal(ls_drift_odd(&drift, &members, 1), 0);
    peer(2, 1000, 5);
    peer(3, 1000, 6);
    assert_int_equal(ls_drift_odd(&drift, &members, 1), 1ull << 3);
    assert_false(ls_drift_split(&drift, &members, 1));
    peer(3, 1000, 5);
    own(1000, 7);
    assert_int_equal(ls_drift_odd(&drift, &members, 1), 1ull << 1);
    peer(3, 2000, 5); /* another seq is not compared */
    assert_int_equal(ls_drift_odd(&drift, &members, 1), 0);
    assert_true(ls_drift_split(&drift, &members, 1));
}

static void test_split(void **state)
{
    (void)state;
    begin(4);
    own(1000, 5);
    peer(2, 1000, 6);
    assert_true(ls_drift_split(&drift, &members, 1));
    assert_int_equal(ls_drift_odd(&drift, &members, 1), 0);
    peer(3, 1000, 5);
    peer(4, 1000, 6); /* two and two */
    assert_true(ls_drift_split(&drift, &members, 1));
    assert_int_equal(ls_drift_odd(&drift, &members, 1), 0);
    peer(4, 1000, 7); /* two, one and one: two of four are no majority */
    assert_true(ls_drift_split(&drift, &members, 1));
    peer(4, 1000, 5);
    assert_false(ls_drift_split(&drift, &members, 1));
    assert_int_equal(ls_drift_odd(&drift, &members, 1), 1ull << 2);
}

/* Named at one seq, alone against one other at another: the name says it all. */
static void test_several(void **state)
{
    uint64_t seqs[] = {1000, 2000}, digests[] = {5, 8};

    (void)state;
    begin(3);
    own(1000, 5);
    ls_drift_peer(&drift, 2, seqs, digests, 2);
    digests[0] = 6, digests[1] = 9;
    ls_drift_peer(&drift, 3, seqs, digests, 2);
    assert_int_equal(ls_drift_odd(&drift, &members, 1), 1ull << 3);
    assert_false(ls_drift_split(&drift, &members, 1));
    /* rebuilt: its reports are new ones, or gone */
    ls_drift_forget(&drift, 3);
    assert_int_equal(ls_drift_odd(&drift, &members, 1), 0);
}

static void test_strangers(void **state)
{
    uint64_t many[LS_DIGESTS_KEPT + 4];

    (void)state;
    begin(3);
    own(1000, 5);
    peer(2, 1000, 5);
    peer(9, 1000, 6); /* not a member */
    peer(0, 1000, 6);
    peer(LS_NODE_ID_MAX + 1, 1000, 6);
    peer(UINT16_MAX, 1000, 6);
    ls_drift_forget(&drift, UINT16_MAX);
    assert_int_equal(ls_drift_odd(&drift, &members, 1), 0);
    assert_false(ls_drift_split(&drift, &members, 1));
    for (size_t i = 0; i < LS_DIGESTS_KEPT + 4; i++)
        many[i] = 1000 + i;
    ls_drift_peer(&drift, 3, many, many, LS_DIGESTS_KEPT + 4); /* what is too much is left out */
    assert_int_equal(ls_drift_odd(&drift, &members, 1), 1ull << 3);
}

/* What was judged once holds for the same reports and the same members alone. */
static void test_again(void **state)
{
    (void)state;
    begin(4);
    own(1000, 5);
    peer(2, 1000, 5);
    peer(3, 1000, 5);
    peer(4, 1000, 6);
    for (int i = 0; i < 2; i++)
        assert_int_equal(ls_drift_odd(&drift, &members, 1), 1ull << 4);
    members.count = 3;
    for (int i = 0; i < 2; i++)
        assert_int_equal(ls_drift_odd(&drift, &members, 1), 0);
    members.count = 4;
    assert_int_equal(ls_drift_odd(&drift, &members, 1), 1ull << 4);
    assert_false(ls_drift_split(&drift, &members, 1));
    peer(1, 1000, 7); /* of this node its own page speaks, to the others what it reported */
    assert_int_equal(ls_drift_odd(&drift, &members, 1), 1ull << 4);
    assert_int_equal(ls_drift_odd(&drift, &members, 5), 0);
    assert_true(ls_drift_split(&drift, &members, 5));
    own(1000, 6);
    assert_int_equal(ls_drift_odd(&drift, &members, 1), 0);
    assert_true(ls_drift_split(&drift, &members, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_odd), cmocka_unit_test(test_split),
                                       cmocka_unit_test(test_several), cmocka_unit_test(test_strangers),
                                       cmocka_unit_test(test_again)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
