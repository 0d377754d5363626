/* SPDX-License-Identifier: BSD-3-Clause */
/* Memberships: majorities, the packed form and all that it refuses, and which membership may follow which. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include <lockstep/membership.h>

static struct ls_membership of(uint32_t voters, uint32_t learners)
{
    struct ls_membership m = {.count = voters + learners};
    for (uint32_t i = 0; i < m.count; i++)
        m.member[i] = (struct ls_member){.node = (uint16_t)(i + 1),
                                         .role = i < voters ? LS_MEMBER_VOTER : LS_MEMBER_LEARNER,
                                         .addr = {0x0a000001 + i, 7400},
                                         .ctrl = {0xc0a80001 + i, 7500}};
    return m;
}

static void majorities_count_voters_alone(void **state)
{
    (void)state;
    static const uint32_t expected[] = {0, 1, 2, 2, 3, 3, 4, 4};
    for (uint32_t voters = 0; voters <= LS_VOTERS_MAX; voters++) {
        struct ls_membership m = of(voters, 3);
        assert_int_equal(ls_membership_voters(&m), voters);
        assert_int_equal(ls_membership_majority(&m), expected[voters]);
    }
    struct ls_membership m = of(2, 1);
    assert_true(ls_membership_is_voter(&m, 2));
    assert_false(ls_membership_is_voter(&m, 3));
    assert_false(ls_membership_is_voter(&m, 4));
    assert_int_equal(ls_membership_find(&m, 3)->role, LS_MEMBER_LEARNER);
    assert_null(ls_membership_find(&m, 4));
}

static void the_packed_form_brings_everything_back(void **state)
{
    (void)state;
    struct ls_membership m = of(LS_VOTERS_MAX, LS_MEMBERS_MAX - LS_VOTERS_MAX), back;
    struct ls_member_record record[LS_MEMBERS_MAX];
    ls_membership_write(&m, record);
    assert_true(ls_membership_read(&back, record, m.count));
    assert_true(ls_membership_equal(&m, &back));
    back.seq = 9;
    assert_true(ls_membership_equal(&m, &back));
    back.member[3].ctrl.port++;
    assert_false(ls_membership_equal(&m, &back));
    back = m;
    back.count--;
    assert_false(ls_membership_equal(&m, &back));
}

static void malformed_records_are_refused_and_nothing_is_written(void **state)
{
    (void)state;
    struct ls_membership m = of(3, 1), back = {.count = 77};
    struct ls_member_record good[LS_MEMBERS_MAX + 1] = {0}, record[LS_MEMBERS_MAX + 1];
    ls_membership_write(&m, good);
#define REFUSED(change)                                                                                                \
    memcpy(record, good, sizeof(good));                                                                                \
    change;                                                                                                            \
    assert_false(ls_membership_read(&back, record, 4));                                                                \
    assert_int_equal(back.count, 77)
    REFUSED(record[0].node = 0);
    REFUSED(record[3].node = LS_NODE_ID_MAX + 1);
    REFUSED(record[1].node = 1); /* twice */
    REFUSED(record[1].node = 5); /* not ascending */
    REFUSED(record[2].role = 0);
    REFUSED(record[2].role = LS_MEMBER_LEARNER + 1);
    REFUSED(record[2].ip = 0);
    REFUSED(record[2].port = 0);
    REFUSED(record[2].ctrl_port = 0); /* half an address */
    REFUSED(record[0].role = record[1].role = record[2].role = LS_MEMBER_LEARNER);
#undef REFUSED
    assert_false(ls_membership_read(&back, good, 0));
    assert_false(ls_membership_read(&back, good, LS_MEMBERS_MAX + 1));
    m = of(LS_VOTERS_MAX + 1, 0);
    ls_membership_write(&m, record);
    assert_false(ls_membership_read(&back, record, m.count));
    memcpy(record, good, sizeof(good));
    record[3].ctrl_ip = 0;
    record[3].ctrl_port = 0; /* not told */
    assert_true(ls_membership_read(&back, record, 4));
}

/* M2: neighbouring memberships have majorities that intersect. */
static void one_voter_at_a_time(void **state)
{
    (void)state;
    struct ls_membership three = of(3, 2), next = three;
    assert_int_equal(ls_membership_step(&three, &next), 0);
    next.member[3].role = LS_MEMBER_VOTER;
    assert_int_equal(ls_membership_step(&three, &next), 0);
    assert_int_equal(ls_membership_step(&next, &three), 0);
    next.member[4].role = LS_MEMBER_VOTER;
    assert_int_equal(ls_membership_step(&three, &next), 4);
    next = three;
    next.member[2].role = LS_MEMBER_LEARNER;
    next.member[3].role = LS_MEMBER_VOTER; /* one for another */
    assert_int_equal(ls_membership_step(&three, &next), 4);
    next = of(2, 0); /* a voter and all learners leave */
    assert_int_equal(ls_membership_step(&three, &next), 0);
    struct ls_membership one = of(1, 0), none = of(0, 1);
    assert_int_equal(ls_membership_step(&one, &none), 5);
    struct ls_membership seven = of(LS_VOTERS_MAX, 0), eight = of(LS_VOTERS_MAX + 1, 0);
    assert_int_equal(ls_membership_step(&seven, &eight), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(majorities_count_voters_alone),
        cmocka_unit_test(the_packed_form_brings_everything_back),
        cmocka_unit_test(malformed_records_are_refused_and_nothing_is_written),
        cmocka_unit_test(one_voter_at_a_time),
    };
    return cmocka_run_group_tests_name("membership", tests, NULL, NULL);
}
