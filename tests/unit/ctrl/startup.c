/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The start-up machine, told as a story: what comes out after each thing that happens, as one line of text. A host
 * that does the actions in the order in which they are handed out makes the record durable before all else.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "startup.h"

static struct ls_startup startup;

static void begin(uint64_t incarnation, uint64_t promise, bool first)
{
    struct ls_durable durable = {
        .cluster = 1, .generation = 1, .node = 2, .incarnation = incarnation, .promise = promise};

    ls_startup_begin(&startup, &durable, first, 0);
}

/* All actions that are due now. */
static const char *actions(void)
{
    static char text[512];
    size_t used = 0;

    text[0] = '\0';
    for (;;) {
        struct ls_startup_action action = ls_startup_next(&startup);

        switch (action.kind) {
        case LS_ACTION_NONE:
            return text;
        case LS_ACTION_PERSIST:
            used += (size_t)snprintf(text + used, sizeof(text) - used, "persist(%" PRIu64 ",%" PRIu64 ") ",
                                     action.durable.incarnation, action.durable.promise);
            break;
        case LS_ACTION_SPAWN:
            used += (size_t)snprintf(text + used, sizeof(text) - used, "spawn(%" PRIu64 ",%" PRIu64 ") ",
                                     action.durable.incarnation, action.durable.promise);
            break;
        case LS_ACTION_SEAL:
            used += (size_t)snprintf(text + used, sizeof(text) - used, "seal(%" PRIu64 ") ", action.epoch);
            break;
        case LS_ACTION_INSTALL:
            used += (size_t)snprintf(text + used, sizeof(text) - used, "install(%" PRIu64 ",%" PRIu64 ") ",
                                     action.epoch, action.durable.incarnation);
        }
        assert_true(used < sizeof(text));
    }
}

static void test_first_sequencer(void **state)
{
    (void)state;
    begin(0, 0, true);
    assert_string_equal(actions(), "persist(1,0) spawn(1,0) ");
    assert_string_equal(actions(), "");
    ls_startup_ready(&startup, 1, 0);
    assert_string_equal(actions(), "persist(1,1) seal(1) ");
    assert_string_equal(actions(), "");
    ls_startup_sealed(&startup, 1, 1);
    assert_string_equal(actions(), "install(1,1) ");
    ls_startup_sealed(&startup, 1, 1); /* once only */
    assert_string_equal(actions(), "");
    ls_startup_installed(&startup, 1, 0);
    assert_string_equal(actions(), "");
    assert_true(startup.install_answered);
    assert_int_equal(startup.install_refused, 0);
    assert_int_equal(startup.phase, LS_STARTUP_RUNNING);
}

static void test_other_node(void **state)
{
    (void)state;
    begin(0, 0, false);
    actions();
    ls_startup_ready(&startup, 1, 0);
    assert_string_equal(actions(), "persist(1,1) seal(1) ");
    ls_startup_sealed(&startup, 1, 1);
    assert_string_equal(actions(), "");
}

static void test_epoch_seen(void **state)
{
    (void)state;
    begin(0, 0, true);
    ls_startup_epoch_seen(&startup, 9); /* nobody can have: no dataplane yet */
    actions();
    ls_startup_ready(&startup, 1, 0);
    actions();
    ls_startup_epoch_seen(&startup, 1); /* our own seal is under way */
    assert_string_equal(actions(), "");
    ls_startup_epoch_seen(&startup, 4);
    assert_string_equal(actions(), "persist(1,4) seal(4) ");
    ls_startup_sealed(&startup, 1, 1); /* the answer to the first one: too late to open the first epoch */
    assert_string_equal(actions(), "");
    ls_startup_epoch_seen(&startup, 3);
    assert_string_equal(actions(), "");
    ls_startup_sealed(&startup, 1, 4);
    assert_string_equal(actions(), "");
    ls_startup_epoch_seen(&startup, 5);
    assert_string_equal(actions(), "persist(1,5) seal(5) ");
}

/* An incarnation is not given out again, though the record that says so was rolled back; starts that nobody has heard
 * of may be repeated. */
static void test_incarnations(void **state)
{
    struct ls_durable durable = {.cluster = 1, .generation = 1, .node = 2, .incarnation = 3};

    (void)state;
    ls_startup_begin(&startup, &durable, false, 1000);
    assert_string_equal(actions(), "persist(1000,0) spawn(1000,0) ");
    ls_startup_again(&startup);
    assert_string_equal(actions(), "persist(1001,0) spawn(1001,0) ");
    ls_startup_ready(&startup, 1001, 0);
    assert_string_equal(actions(), "persist(1001,1) seal(1) ");
    ls_startup_again(&startup); /* too late */
    assert_string_equal(actions(), "");
    durable.incarnation = 5000; /* a clock that was set back */
    ls_startup_begin(&startup, &durable, false, 1000);
    assert_string_equal(actions(), "persist(5001,0) spawn(5001,0) ");
}

/* Forged: neither kept nor promised, and the true ones are followed on. */
static void test_epoch_absurd(void **state)
{
    (void)state;
    begin(0, 0, false);
    actions();
    ls_startup_ready(&startup, 1, 0);
    actions();
    assert_false(ls_startup_epoch_seen(&startup, UINT64_MAX));
    assert_false(ls_startup_epoch_seen(&startup, UINT64_MAX - 1));
    assert_false(ls_startup_epoch_seen(&startup, 2 + LS_STARTUP_EPOCHS_AHEAD));
    assert_string_equal(actions(), "");
    assert_int_equal(startup.durable.promise, 1);
    assert_true(ls_startup_epoch_seen(&startup, 1 + LS_STARTUP_EPOCHS_AHEAD));
    assert_string_equal(actions(), "persist(1,1048577) seal(1048577) ");
}

/* Orders that were lost on the way, there or back. */
static void test_unanswered(void **state)
{
    (void)state;
    begin(0, 0, true);
    actions();
    ls_startup_ready(&startup, 1, 0);
    assert_string_equal(actions(), "persist(1,1) seal(1) ");
    ls_startup_unanswered(&startup);
    assert_string_equal(actions(), "seal(1) ");
    assert_string_equal(actions(), "");
    ls_startup_sealed(&startup, 1, 1);
    assert_string_equal(actions(), "install(1,1) ");
    ls_startup_unanswered(&startup);
    assert_string_equal(actions(), "install(1,1) ");
    ls_startup_installed(&startup, 1, 0);
    ls_startup_installed(&startup, 1, 1); /* to the second one */
    assert_int_equal(startup.install_refused, 0);
    ls_startup_unanswered(&startup);
    assert_string_equal(actions(), "");
}

/* A start that never promised anything may be repeated; one that did may not. */
static void test_again(void **state)
{
    (void)state;
    begin(3, 0, true);
    assert_string_equal(actions(), "persist(4,0) spawn(4,0) ");
    begin(1, 1, true);
    assert_string_equal(actions(), "");
    assert_int_equal(startup.phase, LS_STARTUP_REFUSED);
    assert_int_equal(startup.refusal, LS_REFUSAL_MEMORY_LOST);
    begin(1, 7, false);
    assert_int_equal(startup.refusal, LS_REFUSAL_MEMORY_LOST);
}

static void test_refusals(void **state)
{
    (void)state;
    /* another process answers */
    begin(0, 0, true);
    actions();
    ls_startup_ready(&startup, 2, 0);
    assert_int_equal(startup.refusal, LS_REFUSAL_INCARNATION);
    assert_string_equal(actions(), "");
    /* the dataplane knows more than the record */
    begin(0, 0, true);
    actions();
    ls_startup_ready(&startup, 1, 1);
    assert_int_equal(startup.refusal, LS_REFUSAL_BEYOND_RECORD);
    begin(0, 0, true);
    actions();
    ls_startup_ready(&startup, 1, 0);
    actions();
    ls_startup_sealed(&startup, 1, 2);
    assert_int_equal(startup.refusal, LS_REFUSAL_BEYOND_RECORD);
    assert_string_equal(actions(), "");
    begin(0, 0, true);
    actions();
    ls_startup_ready(&startup, 1, 0);
    actions();
    ls_startup_sealed(&startup, 2, 1);
    assert_int_equal(startup.refusal, LS_REFUSAL_INCARNATION);
    /* the disk: nothing follows, neither a start nor a seal */
    begin(0, 0, true);
    assert_int_equal(ls_startup_next(&startup).kind, LS_ACTION_PERSIST);
    ls_startup_persist_failed(&startup);
    assert_string_equal(actions(), "");
    begin(0, 0, true);
    actions();
    ls_startup_ready(&startup, 1, 0);
    assert_int_equal(ls_startup_next(&startup).kind, LS_ACTION_PERSIST);
    ls_startup_persist_failed(&startup);
    assert_string_equal(actions(), "");
    assert_int_equal(startup.refusal, LS_REFUSAL_RECORD);
    ls_startup_died(&startup);
    assert_int_equal(startup.phase, LS_STARTUP_REFUSED); /* the reason stays */
}

static void test_death(void **state)
{
    (void)state;
    begin(0, 0, true);
    actions();
    ls_startup_died(&startup);
    assert_int_equal(startup.phase, LS_STARTUP_DEAD);
    ls_startup_ready(&startup, 1, 0); /* a word from the grave */
    ls_startup_sealed(&startup, 1, 1);
    ls_startup_epoch_seen(&startup, 3);
    assert_string_equal(actions(), "");
}

static void test_install_refused(void **state)
{
    (void)state;
    begin(0, 0, true);
    actions();
    ls_startup_installed(&startup, 1, 0); /* not asked */
    assert_false(startup.install_answered);
    ls_startup_ready(&startup, 1, 0);
    actions();
    ls_startup_sealed(&startup, 1, 1);
    actions();
    ls_startup_installed(&startup, 2, 0); /* another epoch */
    assert_false(startup.install_answered);
    ls_startup_installed(&startup, 1, 3);
    assert_int_equal(startup.install_refused, 3);
    assert_string_equal(actions(), "");
}

static void test_texts(void **state)
{
    (void)state;
    for (int i = LS_REFUSAL_MEMORY_LOST; i <= LS_REFUSAL_RECORD; i++)
        assert_true(strlen(ls_startup_refusal_text(i)) > 50);
    for (int i = LS_STARTUP_BEGIN; i <= LS_STARTUP_DEAD; i++)
        assert_string_not_equal(ls_startup_phase_name(i), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_sequencer), cmocka_unit_test(test_other_node),
        cmocka_unit_test(test_epoch_seen),      cmocka_unit_test(test_again),
        cmocka_unit_test(test_refusals),        cmocka_unit_test(test_death),
        cmocka_unit_test(test_install_refused), cmocka_unit_test(test_epoch_absurd),
        cmocka_unit_test(test_incarnations),    cmocka_unit_test(test_unanswered),
        cmocka_unit_test(test_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
