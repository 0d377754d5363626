/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages from a dataplane that may be of another version, or mad: sizes, numbers, and log bytes cut anywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "message.h"

#include <lockstep/entry.h>

static uint8_t message[LS_CONTROL_MESSAGE_MAX];

static void header_set(uint32_t type, uint64_t id, uint32_t size)
{
    struct ls_control_header header = {.version = LS_CONTROL_VERSION, .type = type, .id = id, .size = size};

    memcpy(message, &header, sizeof(header));
}

static const char *check(uint32_t size)
{
    return ls_message_check(message, sizeof(struct ls_control_header) + size);
}

static void test_sizes(void **state)
{
    static const struct {
        uint32_t type, min, max;
        bool event;
    } good[] = {
        {LS_CONTROL_SEALED, 40, 40, false}, {LS_CONTROL_INSTALLED, 16, 16, false}, {LS_CONTROL_DONE, 8, 520, false},
        {LS_CONTROL_READY, 24, 24, true},   {LS_CONTROL_EPOCH_SEEN, 24, 24, true}, {LS_CONTROL_ROLE, 16, 16, true},
    };

    (void)state;
    for (uint32_t type = 0; type < 80; type++)
        for (uint32_t size = 0; size < 600; size++)
            for (uint64_t id = 0; id < 2; id++) {
                bool right = type == LS_CONTROL_LOG_BYTES && size == sizeof(struct ls_control_log_bytes) && id == 1;

                for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
                    right = right || (good[i].type == type && size >= good[i].min && size <= good[i].max &&
                                      good[i].event == (id == 0));
                memset(message, 0, 1024);
                header_set(type, id, size);
                assert_int_equal(check(size) == NULL, right);
                header_set(type, id, size + 1);
                assert_non_null(check(size));
                header_set(type, id, UINT32_MAX);
                assert_non_null(check(size));
            }
    for (size_t size = 0; size < sizeof(struct ls_control_header); size++)
        assert_non_null(ls_message_check(message, size));
}

static void test_reserved(void **state)
{
    struct ls_control_header header = {.version = 2, .type = LS_CONTROL_DONE, .id = 1, .size = 8};

    (void)state;
    memset(message, 0, 1024);
    memcpy(message, &header, sizeof(header));
    assert_string_equal(check(8),
                        "a message of another version: install lockstep-ctrl and lockstep-dataplane together");
    header.version = LS_CONTROL_VERSION;
    header.zero = 1;
    memcpy(message, &header, sizeof(header));
    assert_non_null(check(8));
    header.zero = 0;
    memcpy(message, &header, sizeof(header));
    assert_null(check(8));
    message[sizeof(header) + 4] = 1; /* done.zero */
    assert_non_null(check(8));
}

/* Three entries; returns the body's size. */
static uint32_t log_make(uint32_t skipped)
{
    struct ls_control_log_bytes head = {.oldest_seq = 1, .next_seq = 8, .commit_seq = 9, .skipped = skipped};
    uint8_t *body = message + sizeof(struct ls_control_header), *at = body + sizeof(head);

    memset(message, 0, 4096);
    for (uint64_t seq = 5; seq <= 7; seq++) {
        struct ls_entry entry = {.seq = seq, .length = (uint32_t)(seq - 5) * 10};

        if (skipped && seq == 7) {
            entry.length = 1 << 20;
            memcpy(at, &entry, sizeof(entry));
            at += sizeof(entry);
            break;
        }
        memcpy(at, &entry, sizeof(entry));
        at += ls_entry_size(entry.length);
    }
    head.bytes = (uint32_t)(at - body - (long)sizeof(head));
    memcpy(body, &head, sizeof(head));
    header_set(LS_CONTROL_LOG_BYTES, 1, (uint32_t)(at - body));
    return (uint32_t)(at - body);
}

static void test_log_bytes(void **state)
{
    struct ls_control_log_bytes head;
    struct ls_entry entry;
    uint8_t *body = message + sizeof(struct ls_control_header), *first = body + sizeof(head);
    uint32_t size = log_make(0);

    (void)state;
    assert_null(check(size));
    /* cut anywhere, with sizes that agree */
    for (uint32_t cut = sizeof(head) + 1; cut < size; cut++) {
        log_make(0);
        memcpy(&head, body, sizeof(head));
        head.bytes = cut - sizeof(head);
        memcpy(body, &head, sizeof(head));
        header_set(LS_CONTROL_LOG_BYTES, 1, cut);
        assert_non_null(check(cut));
    }
    /* lengths that lead far away */
    for (int shift = 4; shift < 32; shift++) {
        log_make(0);
        memcpy(&entry, first, sizeof(entry));
        entry.length = (1u << shift) + 5;
        memcpy(first, &entry, sizeof(entry));
        assert_non_null(check(size));
    }
    /* a hole, a wrong end, a wrong count */
    log_make(0);
    memcpy(&entry, first, sizeof(entry));
    entry.seq = 4;
    memcpy(first, &entry, sizeof(entry));
    assert_string_equal(check(size), "log bytes with a hole between entries");
    log_make(0);
    memcpy(&head, body, sizeof(head));
    head.next_seq = 9;
    memcpy(body, &head, sizeof(head));
    assert_string_equal(check(size), "log bytes that do not end where they say");
    head.next_seq = 8;
    head.bytes++;
    memcpy(body, &head, sizeof(head));
    assert_non_null(check(size));
    head.bytes--;
    head.skipped = 2;
    memcpy(body, &head, sizeof(head));
    assert_non_null(check(size));
    /* a header alone at the end is right only where it is said */
    size = log_make(1);
    assert_null(check(size));
    memcpy(&head, body, sizeof(head));
    head.skipped = 0;
    memcpy(body, &head, sizeof(head));
    assert_non_null(check(size));
}

static void test_random(void **state)
{
    uint64_t random = 12345;

    (void)state;
    for (int round = 0; round < 200000; round++) {
        uint32_t size = log_make(round & 1);

        for (int i = 0; i < 3; i++) {
            random = random * 6364136223846793005ull + 1442695040888963407ull;
            message[(random >> 33) % (sizeof(struct ls_control_header) + size)] = (uint8_t)(random >> 24);
        }
        (void)check(size); /* under the sanitizers: no byte outside is looked at */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sizes), cmocka_unit_test(test_reserved),
                                       cmocka_unit_test(test_log_bytes), cmocka_unit_test(test_random)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
