/* SPDX-License-Identifier: BSD-3-Clause */
/* Reading committed entries: ranges, limits, what is overwritten; then beside a writer that never waits. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "log_read.h"

#include <lockstep/entry.h>

#define ROOM LS_CONTROL_MESSAGE_MAX

static struct ls_log log_;
static uint8_t answer[ROOM];
static uint8_t operation[LS_LOG_SIZE_MIN];

static void fill(uint8_t *to, uint64_t seq, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        to[i] = (uint8_t)(seq * 31 + i);
}

static uint64_t append(uint64_t seq, uint32_t length)
{
    struct ls_entry entry = {.seq = seq, .time = seq, .session = seq, .kind = LS_ENTRY_OPERATION};

    fill(operation, seq, length);
    return ls_log_append(&log_, &entry, operation, length);
}

static struct ls_control_log_bytes ask(uint64_t commit, uint64_t seq, uint32_t bytes, uint32_t room)
{
    struct ls_control_log question = {.seq = seq, .bytes = bytes};
    struct ls_control_log_bytes head;
    uint32_t size = ls_log_read(&log_, commit, &question, answer, room);

    memcpy(&head, answer, sizeof(head));
    assert_int_equal(size, sizeof(head) + head.bytes);
    assert_true(size <= room);
    return head;
}

/* Every byte of the answer is what was appended; returns the number of entries. */
static uint32_t verify(const struct ls_control_log_bytes *head, uint64_t first)
{
    const uint8_t *at = answer + sizeof(*head), *end = at + head->bytes;
    struct ls_entry entry;
    uint32_t n = 0;

    for (; at < end; n++) {
        memcpy(&entry, at, sizeof(entry));
        assert_int_equal(entry.seq, first + n);
        assert_int_equal(entry.session, first + n);
        at += sizeof(entry);
        if (head->skipped && at == end)
            return n + 1;
        for (uint32_t i = 0; i < entry.length; i++)
            assert_int_equal(at[i], (uint8_t)(entry.seq * 31 + i));
        at += ls_pad8(entry.length);
    }
    assert_ptr_equal(at, end);
    return n;
}

static void test_ranges(void **state)
{
    struct ls_control_log_bytes head;
    uint64_t commit = 0;

    (void)state;
    assert_int_equal(ls_log_init(&log_, LS_LOG_SIZE_MIN), 0);
    head = ask(0, 0, 10000, ROOM); /* an empty log */
    assert_int_equal(head.oldest_seq, 1);
    assert_int_equal(head.next_seq, 1);
    assert_int_equal(head.commit_seq, 0);
    assert_int_equal(head.bytes, 0);
    for (uint64_t seq = 1; seq <= 10; seq++) {
        uint64_t end = append(seq, 8 * (uint32_t)seq);

        if (seq == 8)
            commit = end; /* two are not committed */
    }
    head = ask(commit, 0, 10000, ROOM);
    assert_int_equal(head.oldest_seq, 1);
    assert_int_equal(head.commit_seq, 8);
    assert_int_equal(head.next_seq, 9);
    assert_int_equal(verify(&head, 1), 8);
    head = ask(commit, 5, 10000, ROOM);
    assert_int_equal(verify(&head, 5), 4);
    /* the bytes wanted: at least one entry */
    head = ask(commit, 2, 0, ROOM);
    assert_int_equal(verify(&head, 2), 1);
    assert_int_equal(head.next_seq, 3);
    head = ask(commit, 1, 64 + 8 + 64 + 16, ROOM);
    assert_int_equal(verify(&head, 1), 2);
    head = ask(commit, 1, 64 + 8 + 64 + 15, ROOM);
    assert_int_equal(verify(&head, 1), 1);
    /* beyond */
    head = ask(commit, 9, 10000, ROOM);
    assert_int_equal(head.bytes, 0);
    assert_int_equal(head.next_seq, 9);
    head = ask(commit, UINT64_MAX, UINT32_MAX, ROOM);
    assert_int_equal(head.bytes, 0);
    ls_log_free(&log_);
}

static void test_overwritten(void **state)
{
    struct ls_control_log_bytes head;
    uint64_t commit = 0;

    (void)state;
    assert_int_equal(ls_log_init(&log_, LS_LOG_SIZE_MIN), 0);
    for (uint64_t seq = 1; seq <= 1000; seq++)
        commit = append(seq, 936); /* 1,000 bytes each */
    head = ask(commit, 1, UINT32_MAX, ROOM);
    assert_int_equal(head.oldest_seq, 1000 - LS_LOG_SIZE_MIN / 1000 + 1);
    assert_int_equal(head.commit_seq, 1000);
    assert_true(verify(&head, head.oldest_seq) > 60);
    ls_log_free(&log_);
}

static void test_larger_than_a_message(void **state)
{
    struct ls_control_log_bytes head;
    uint64_t commit;

    (void)state;
    assert_int_equal(ls_log_init(&log_, LS_LOG_SIZE_MIN), 0);
    append(1, 16);
    append(2, 20000);
    commit = append(3, 16);
    head = ask(commit, 1, UINT32_MAX, LS_LOG_READ_MIN);
    assert_int_equal(verify(&head, 1), 1);
    assert_int_equal(head.next_seq, 2);
    assert_int_equal(head.skipped, 0);
    head = ask(commit, 2, UINT32_MAX, LS_LOG_READ_MIN);
    assert_int_equal(verify(&head, 2), 1);
    assert_int_equal(head.skipped, 1);
    assert_int_equal(head.bytes, sizeof(struct ls_entry));
    assert_int_equal(head.next_seq, 3);
    head = ask(commit, 3, UINT32_MAX, LS_LOG_READ_MIN);
    assert_int_equal(verify(&head, 3), 1);
    ls_log_free(&log_);
}

static _Atomic uint64_t written, committed;
static _Atomic bool stop;

static void *writer(void *argument)
{
    (void)argument;
    for (uint64_t seq = 1; !atomic_load(&stop); seq++) {
        atomic_store(&committed, append(seq, (uint32_t)(seq * 7919 % 1500)));
        atomic_store(&written, seq);
    }
    return NULL;
}

/* The writer laps the reader again and again: what is answered is right, however little it is. */
static void test_beside_a_writer(void **state)
{
    pthread_t thread;
    uint64_t entries = 0, answers = 0;

    (void)state;
    assert_int_equal(ls_log_init(&log_, LS_LOG_SIZE_MIN), 0);
    atomic_store(&stop, false);
    assert_int_equal(pthread_create(&thread, NULL, writer, NULL), 0);
    while (atomic_load(&written) < 200000 || entries < 1000) {
        struct ls_control_log_bytes head;
        struct ls_entry first;

        head = ask(atomic_load(&committed), atomic_load(&written) - answers % 60, 8000, ROOM);
        answers++;
        if (head.bytes == 0)
            continue;
        memcpy(&first, answer + sizeof(head), sizeof(first));
        entries += verify(&head, first.seq);
        if (answers > 3000000)
            break;
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    assert_true(entries >= 1000);
    ls_log_free(&log_);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ranges), cmocka_unit_test(test_overwritten),
                                       cmocka_unit_test(test_larger_than_a_message),
                                       cmocka_unit_test(test_beside_a_writer)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
