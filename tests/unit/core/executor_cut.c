/* SPDX-License-Identifier: BSD-3-Clause */
/* Cuts and images at the seam, with a state machine that does as it is told: every move of the cut's states, when an
 * image is taken and when it waits, and session images from bytes that may be anything. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "entries.h"
#include "executor.h"
#include "session.h"

#define RING_SIZE (1u << 20)
#define SESSIONS  8

struct ls_machine {
    uint32_t room;  /* commands that it executes in one call */
    uint32_t begun; /* checkpoints */
    uint32_t ended;
    int refuses;
    uint64_t state;
};

static uint32_t machine_apply(struct ls_machine *m, const struct ls_command *commands, uint32_t n,
                              struct ls_result *results)
{
    uint32_t executed = n < m->room ? n : m->room;
    for (uint32_t i = 0; i < executed; i++) {
        m->state = m->state * 31 + commands[i].seq;
        if (commands[i].operation != NULL) {
            results[i].length = (uint16_t)(commands[i].seq % 80);
            memset(results[i].bytes, (int)commands[i].seq, results[i].length);
        }
    }
    return executed;
}

static bool machine_set_limits(struct ls_machine *m, const struct ls_machine_limits *limits)
{
    return true;
}

static uint64_t machine_digest(struct ls_machine *m)
{
    return m->state;
}

static void machine_reclaim(struct ls_machine *m)
{
}

static int machine_begin(struct ls_machine *m)
{
    if (m->refuses == 0)
        m->begun++;
    return m->refuses;
}

static void machine_end(struct ls_machine *m)
{
    m->ended++;
}

static struct ls_state_machine type;
static const struct ls_state_machine whole_type = {.name = "told",
                                                   .version = 1,
                                                   .apply = machine_apply,
                                                   .set_limits = machine_set_limits,
                                                   .digest = machine_digest,
                                                   .reclaim = machine_reclaim,
                                                   .checkpoint_begin = machine_begin,
                                                   .checkpoint_end = machine_end};

struct fixture {
    struct ls_io io;
    struct ls_log log;
    struct ls_seam seam;
    struct ls_machine machine;
    struct ls_replica_page page;
    struct ls_counters counters;
    struct ls_executor *executor;
    struct ls_cut cut;
    uint64_t end;
    uint64_t seq;
};

static int setup(void **state)
{
    const struct ls_executor_config config = {.cluster = 5,
                                              .generation = 1,
                                              .node = 2,
                                              .incarnation = 9,
                                              .sessions_max = SESSIONS,
                                              .window = LS_WINDOW_MAX,
                                              .digest_every = 4};
    struct fixture *f = calloc(1, sizeof(*f));
    type = whole_type;
    f->log.ring = malloc(RING_SIZE);
    f->log.size = RING_SIZE;
    f->log.mask = RING_SIZE - 1;
    if (ls_seam_init(&f->seam, SESSIONS) != 0)
        return -1;
    f->machine.room = UINT32_MAX;
    f->executor = ls_executor_create(&config, &f->log, &f->seam, &f->io, &type, &f->machine, &f->page, &f->counters);
    f->seam.cut = &f->cut;
    *state = f;
    return f->executor ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    ls_executor_destroy(f->executor);
    ls_seam_free(&f->seam);
    free(f->log.ring);
    free(f);
    return 0;
}

static uint64_t append(struct fixture *f, struct ls_entry header, const void *operation, uint32_t length)
{
    header.seq = ++f->seq;
    header.time = 100 + f->seq;
    header.checksum = (uint32_t)(f->seq * 7919);
    header.ip = 10;
    header.port = 20;
    f->end += entry_write(f->log.ring + f->end, header, operation, length);
    return f->seq;
}

static void append_limits(struct fixture *f, uint32_t window)
{
    struct ls_entry_limits limits = {
        .keys = 1000, .bytes = 5000, .session_idle = 1000, .sessions = SESSIONS, .window = window};
    append(f, (struct ls_entry){.kind = LS_ENTRY_LIMITS}, &limits, sizeof(limits));
}

static uint64_t append_open(struct fixture *f)
{
    uint64_t nonce[2] = {f->seq, 1};
    return append(f, (struct ls_entry){.kind = LS_ENTRY_OPEN}, nonce, sizeof(nonce));
}

static void append_request(struct fixture *f, uint64_t session, uint32_t slot, uint64_t number)
{
    append(f,
           (struct ls_entry){.kind = LS_ENTRY_OPERATION,
                             .session = session,
                             .slot = slot,
                             .number = number,
                             .awaited = (uint16_t)(number - 1)},
           "op", 2);
}

static void turn(struct fixture *f)
{
    ls_executor_turn(f->executor, 0);
}

static void run(struct fixture *f)
{
    atomic_store(&f->seam.commit, f->end);
    for (int i = 0; i < 40; i++)
        turn(f);
}

/* Epoch, limits, `sessions` sessions with some requests each. */
static void begin(struct fixture *f, uint32_t sessions)
{
    struct ls_entry_epoch epoch = {.epoch = 3, .incarnation = 9, .sequencer = 2};
    append(f, (struct ls_entry){.kind = LS_ENTRY_EPOCH}, &epoch, sizeof(epoch));
    append_limits(f, 16);
    for (uint32_t slot = 0; slot < sessions; slot++) {
        uint64_t session = append_open(f);
        for (uint64_t number = 1; number <= 3 * slot; number++)
            append_request(f, session, slot, number);
    }
    run(f);
}

static enum ls_cut_state cut_state(struct fixture *f)
{
    return atomic_load(&f->seam.cut_state);
}

static void want(struct fixture *f)
{
    atomic_store(&f->seam.cut_state, LS_CUT_WANTED);
    turn(f);
}

static void end(struct fixture *f)
{
    atomic_store(&f->seam.cut_state, LS_CUT_ENDING);
    turn(f);
    assert_int_equal(cut_state(f), LS_CUT_NONE);
    assert_false(atomic_load(&f->seam.cut_sessions));
}

static void assert_refused(struct fixture *f, int error)
{
    want(f);
    assert_int_equal(cut_state(f), LS_CUT_REFUSED);
    assert_int_equal(f->seam.cut_error, error);
    turn(f);
    assert_int_equal(cut_state(f), LS_CUT_REFUSED);
    assert_int_equal(f->machine.begun, 0);
    atomic_store(&f->seam.cut_state, LS_CUT_NONE);
}

/* ---- cuts ---- */

static void test_refusals(void **state)
{
    struct fixture *f = *state;
    assert_refused(f, -ENODATA);
    begin(f, 1);
    f->machine.refuses = -EBUSY;
    assert_refused(f, -EBUSY);
    f->machine.refuses = 0;
    type.checkpoint_begin = NULL;
    assert_refused(f, -ENOTSUP);
    type = whole_type;
    want(f);
    assert_int_equal(cut_state(f), LS_CUT_OPEN);
    end(f);
}

static void test_a_cut(void **state)
{
    struct fixture *f = *state;
    begin(f, 3);
    struct ls_entry_epoch epoch = {.epoch = 8, .incarnation = 9, .sequencer = 2};
    uint64_t position = f->end;
    uint64_t seq = append(f, (struct ls_entry){.kind = LS_ENTRY_EPOCH}, &epoch, sizeof(epoch));
    struct {
        struct ls_entry_members head;
        struct ls_member_record record;
    } LS_PACKED members = {.head.members = 1, .record = {.node = 2, .role = LS_MEMBER_VOTER, .ip = 1, .port = 2}};
    uint64_t members_seq = append(f, (struct ls_entry){.kind = LS_ENTRY_MEMBERS}, &members, sizeof(members));
    append(f, (struct ls_entry){.kind = LS_ENTRY_MEMBERS}, "malformed", 8); /* the log lets none through */
    append(f, (struct ls_entry){.kind = LS_ENTRY_TICK}, NULL, 0);
    run(f);
    want(f);
    assert_int_equal(cut_state(f), LS_CUT_OPEN);
    assert_int_equal(f->machine.begun, 1);
    assert_int_equal(f->cut.seq, f->seq);
    assert_int_equal(f->cut.position, f->end);
    assert_int_equal(f->cut.time, 100 + f->seq);
    assert_int_equal(f->cut.chain, (uint32_t)(f->seq * 7919));
    assert_int_equal(f->cut.digest, ls_executor_digest(f->executor));
    assert_int_equal(f->cut.epochs, 2);
    assert_int_equal(f->cut.epoch[0].epoch, 3);
    assert_int_equal(f->cut.epoch[0].seq, 1);
    assert_int_equal(f->cut.epoch[0].position, 0);
    assert_int_equal(f->cut.epoch[1].epoch, 8);
    assert_int_equal(f->cut.epoch[1].seq, seq);
    assert_int_equal(f->cut.epoch[1].position, position);
    assert_int_equal(f->cut.members.seq, members_seq);
    assert_int_equal(f->cut.members.count, 1);
    assert_int_equal(f->cut.limits.window, 16);
    assert_true(ls_cut_is_sane(&f->cut));
    /* it stays as it is */
    struct ls_cut before = f->cut;
    append(f, (struct ls_entry){.kind = LS_ENTRY_TICK}, NULL, 0);
    run(f);
    assert_memory_equal(&before, &f->cut, sizeof(before));
    assert_true(atomic_load(&f->seam.cut_sessions));
    end(f);
    assert_int_equal(f->machine.ended, 1);
}

static void test_old_epochs_fall_out(void **state)
{
    struct fixture *f = *state;
    begin(f, 1);
    for (uint64_t i = 0; i < LS_EPOCHS_KEPT + 5; i++) {
        struct ls_entry_epoch epoch = {.epoch = 10 + i, .incarnation = 9, .sequencer = 2};
        append(f, (struct ls_entry){.kind = LS_ENTRY_EPOCH}, &epoch, sizeof(epoch));
    }
    run(f);
    want(f);
    assert_int_equal(f->cut.epochs, LS_EPOCHS_KEPT);
    assert_int_equal(f->cut.epoch[0].epoch, 15);
    assert_int_equal(f->cut.epoch[LS_EPOCHS_KEPT - 1].epoch, 10 + LS_EPOCHS_KEPT + 4);
    end(f);
}

static void test_given_up_before_the_sessions_are_copied(void **state)
{
    struct fixture *f = *state;
    begin(f, 4);
    want(f);
    assert_false(atomic_load(&f->seam.cut_sessions));
    end(f);
    want(f);
    assert_int_equal(cut_state(f), LS_CUT_OPEN);
    run(f);
    assert_true(atomic_load(&f->seam.cut_sessions));
    end(f);
    assert_int_equal(f->machine.ended, 2);
}

static void test_no_cut_in_the_middle_of_a_burst(void **state)
{
    struct fixture *f = *state;
    begin(f, 1);
    append(f, (struct ls_entry){.kind = LS_ENTRY_TICK}, NULL, 0); /* up to a comparison point */
    run(f);
    for (int i = 0; i < 3; i++)
        append_request(f, 3, 0, (uint64_t)i + 1);
    f->machine.room = 1;
    atomic_store(&f->seam.commit, f->end);
    turn(f);
    f->machine.room = 0;
    want(f);
    assert_int_equal(cut_state(f), LS_CUT_WANTED);
    turn(f);
    assert_int_equal(cut_state(f), LS_CUT_WANTED);
    f->machine.room = UINT32_MAX;
    run(f);
    assert_int_equal(cut_state(f), LS_CUT_OPEN);
    assert_int_equal(f->cut.seq, f->seq);
    end(f);
}

static void test_digests_at_comparison_points(void **state)
{
    struct fixture *f = *state;
    begin(f, 1);
    uint64_t digest[64];
    while (f->seq < 60) {
        append(f, (struct ls_entry){.kind = LS_ENTRY_TICK}, NULL, 0);
        run(f);
        digest[f->seq] = ls_executor_digest(f->executor);
    }
    for (uint64_t seq = 8; seq <= 60; seq += 4) {
        assert_int_equal(atomic_load(&f->page.digests[seq / 4 % LS_DIGESTS_KEPT].seq), seq);
        assert_int_equal(atomic_load(&f->page.digests[seq / 4 % LS_DIGESTS_KEPT].digest), digest[seq]);
    }
}

/* ---- images ---- */

/* What the fixture's state is now, as an image with a machine of its own. */
static struct ls_image take_image(struct fixture *f, struct ls_machine *machine)
{
    size_t size;
    want(f);
    run(f);
    assert_int_equal(cut_state(f), LS_CUT_OPEN);
    const uint8_t *bytes = ls_executor_sessions_image(f->executor, &size);
    *machine = f->machine;
    struct ls_image image = {
        .cut = f->cut, .machine = machine, .sessions = ls_executor_sessions_restore(bytes, size, SESSIONS)};
    assert_non_null(image.sessions);
    assert_int_equal(ls_image_digest(&type, &image), f->cut.digest);
    end(f);
    return image;
}

static void test_an_image_replaces_what_waits_for_memory(void **state)
{
    struct fixture *source = *state;
    struct fixture *f;
    struct ls_machine machine;
    void *second;
    begin(source, 5);
    append_limits(source, 32);
    run(source);
    struct ls_image image = take_image(source, &machine);

    assert_int_equal(setup(&second), 0);
    f = second;
    begin(f, 2);
    while (f->seq % 4 != 0) /* up to a comparison point */
        append(f, (struct ls_entry){.kind = LS_ENTRY_TICK}, NULL, 0);
    run(f);
    append_request(f, 3, 0, 1);
    append_request(f, 3, 0, 2);
    f->machine.room = 1;
    atomic_store(&f->seam.commit, f->end);
    turn(f);
    f->machine.room = 0;
    turn(f);
    struct ls_sessions *before = image.sessions;
    atomic_store(&f->seam.image, &image);
    turn(f);
    assert_null(atomic_load(&f->seam.image));
    assert_ptr_equal(image.machine, &f->machine);
    assert_ptr_not_equal(image.sessions, before);
    assert_int_equal(atomic_load(&f->seam.applied), source->end);
    assert_int_equal(atomic_load(&f->seam.applied_seq), source->seq);
    assert_int_equal(atomic_load(&f->page.applied_seq), source->seq);
    assert_int_equal(atomic_load(&f->seam.window), 32);
    assert_int_equal(atomic_load(&f->page.sessions), 5);
    assert_int_equal(atomic_load(&f->page.digest_seq), source->seq);
    assert_int_equal(atomic_load(&f->page.digest), image.cut.digest);
    assert_memory_equal(f->seam.sessions, source->seam.sessions, SESSIONS * sizeof(*f->seam.sessions));

    /* and it goes on from there */
    memcpy(f->log.ring, source->log.ring, RING_SIZE);
    f->seq = source->seq;
    f->end = source->end;
    append_request(f, 3, 0, 1);
    append_request(source, 3, 0, 1);
    run(f);
    run(source);
    assert_int_equal(ls_executor_digest(f->executor), ls_executor_digest(source->executor));
    ls_sessions_destroy(image.sessions);
    teardown(&second);
}

static void test_an_image_waits_for_an_open_cut(void **state)
{
    struct fixture *f = *state;
    struct ls_machine machine;
    begin(f, 2);
    struct ls_image image = take_image(f, &machine);
    want(f);
    atomic_store(&f->seam.image, &image);
    run(f);
    assert_ptr_equal(atomic_load(&f->seam.image), &image);
    assert_int_equal(f->machine.ended, 1);
    end(f);
    assert_int_equal(f->machine.ended, 2); /* of the machine that had begun it */
    turn(f);
    assert_null(atomic_load(&f->seam.image));
    assert_ptr_equal(image.machine, &f->machine);
    ls_sessions_destroy(image.sessions);
}

static void test_an_image_without_limits(void **state)
{
    struct fixture *f = *state;
    struct ls_machine machine;
    struct ls_entry_epoch epoch = {.epoch = 3, .incarnation = 9, .sequencer = 2};
    append(f, (struct ls_entry){.kind = LS_ENTRY_EPOCH}, &epoch, sizeof(epoch));
    run(f);
    struct ls_image image = take_image(f, &machine);
    atomic_store(&f->seam.image, &image);
    turn(f);
    assert_int_equal(atomic_load(&f->seam.window), 0);
    ls_sessions_destroy(image.sessions);
}

/* ---- session images from any bytes ---- */

struct bytes {
    uint8_t *at;
    size_t size;
};

/* Five sessions, one evicted slot among those used. */
static struct bytes some_image(struct fixture *f)
{
    size_t size;
    begin(f, SESSIONS);
    struct ls_entry_limits limits = {.session_idle = 1, .sessions = SESSIONS - 2, .window = 16};
    append(f, (struct ls_entry){.kind = LS_ENTRY_LIMITS}, &limits, sizeof(limits));
    append_open(f); /* two go, none comes */
    append_open(f);
    run(f);
    want(f);
    run(f);
    const uint8_t *bytes = ls_executor_sessions_image(f->executor, &size);
    struct bytes copy = {.at = malloc(size), .size = size};
    memcpy(copy.at, bytes, size);
    end(f);
    return copy;
}

static int restore(struct bytes bytes, uint32_t capacity)
{
    uint8_t *exact = malloc(bytes.size + (bytes.size == 0)); /* so that a sanitizer sees what is read behind it */
    memcpy(exact, bytes.at, bytes.size);
    errno = 0;
    struct ls_sessions *table = ls_executor_sessions_restore(exact, bytes.size, capacity);
    int error = table ? 0 : errno;
    free(exact);
    ls_sessions_destroy(table);
    return error;
}

static void test_session_images_cut_short_or_long(void **state)
{
    struct bytes image = some_image(*state);
    struct bytes part = {.at = calloc(1, image.size + 8)};
    memcpy(part.at, image.at, image.size);
    for (part.size = 0; part.size < image.size; part.size++)
        assert_int_equal(restore(part, SESSIONS), EBADMSG);
    part.size = image.size + 8;
    assert_int_equal(restore(part, SESSIONS), EBADMSG);
    assert_int_equal(restore(image, SESSIONS), 0);
    assert_int_equal(restore(image, SESSIONS - 1), ENOSPC);
    free(part.at);
    free(image.at);
}

static void test_session_images_damaged(void **state)
{
    struct bytes image = some_image(*state);
    uint32_t taken = 0;
    /* Some bits may be either way (a stamp, a byte of a result): those are for the checkpoint's checksums. None makes
     * a table that cannot be worked with, or is read beyond its end. */
    for (size_t at = 0; at < image.size; at++) {
        for (uint32_t bit = 0; bit < 8; bit++) {
            image.at[at] ^= (uint8_t)(1u << bit);
            int error = restore(image, SESSIONS);
            assert_true(error == 0 || error == EBADMSG || error == ENOSPC);
            taken += error == 0;
            image.at[at] ^= (uint8_t)(1u << bit);
        }
    }
    assert_true(taken > 0 && taken < image.size * 8);
    free(image.at);
}

static void test_what_a_session_image_may_not_say(void **state)
{
    struct bytes image = some_image(*state);
    /* header: magic 0, version 8, limited 12, chain 16, idle 24, limit 32, window 36, open 40, used 44, freed 48,
     * zero 52; first slot at 56: slot, results, id, next, floor, active, nonce[2], touched, client */
    static const struct {
        size_t at;
        uint64_t value;
        uint32_t size;
        int error;
    } wrong[] = {
        {0, 1, 8, EBADMSG},
        {8, 2, 4, EBADMSG},
        {12, 2, 4, EBADMSG},
        {12, 0, 4, EBADMSG},
        {32, SESSIONS + 1, 4, ENOSPC},
        {36, 0, 4, EBADMSG},
        {36, 65, 4, EBADMSG},
        {40, SESSIONS + 1, 4, EBADMSG},
        {40, 3, 4, EBADMSG},
        {44, 100, 4, ENOSPC},
        {48, 0, 4, EBADMSG},
        {48, SESSIONS + 1, 4, EBADMSG},
        {48, 5, 4, EBADMSG},
        {52, 1, 4, EBADMSG},
        {56, SESSIONS, 4, EBADMSG},
        {56, 5, 4, EBADMSG},
        {60, 1, 4, EBADMSG},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        uint8_t before[8];
        memcpy(before, image.at + wrong[i].at, wrong[i].size);
        memcpy(image.at + wrong[i].at, &wrong[i].value, wrong[i].size);
        int error = restore(image, SESSIONS);
        if (error != wrong[i].error)
            fail_msg("case %zu: %d, not %d", i, error, wrong[i].error);
        memcpy(image.at + wrong[i].at, before, wrong[i].size);
    }
    assert_int_equal(restore(image, SESSIONS), 0);
    free(image.at);
}

static void test_one_session_image_at_a_time(void **state)
{
    struct ls_session_public seats[2];
    struct ls_sessions *table = ls_sessions_create(2, seats);
    assert_int_equal(ls_sessions_image_step(table), 0);
    assert_false(ls_sessions_image_whole(table));
    assert_true(ls_sessions_image_begin(table));
    assert_false(ls_sessions_image_begin(table));
    assert_true(ls_sessions_image_whole(table)); /* nothing is open */
    ls_sessions_image_end(table);
    assert_true(ls_sessions_image_begin(table));
    ls_sessions_destroy(table);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_refusals),
        TEST(test_a_cut),
        TEST(test_old_epochs_fall_out),
        TEST(test_given_up_before_the_sessions_are_copied),
        TEST(test_no_cut_in_the_middle_of_a_burst),
        TEST(test_digests_at_comparison_points),
        TEST(test_an_image_replaces_what_waits_for_memory),
        TEST(test_an_image_waits_for_an_open_cut),
        TEST(test_an_image_without_limits),
        TEST(test_session_images_cut_short_or_long),
        TEST(test_session_images_damaged),
        TEST(test_what_a_session_image_may_not_say),
        TEST(test_one_session_image_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
