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
#include <lockstep/types.h>

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

/* A body of each type that comes from a dataplane, and how long a tail may follow it. */
static const struct good {
    uint32_t type;
    bool event;
    union {
        struct ls_control_sealed sealed;
        struct ls_control_installed installed;
        struct ls_control_done done;
        struct ls_control_admitted admitted;
        struct ls_control_changed changed;
        struct ls_control_epoch epoch;
        struct ls_control_checkpoint checkpoint;
        struct ls_control_ready ready;
        struct ls_control_role role;
        struct ls_control_members members;
        struct ls_control_damaged damaged;
    } body;
    uint32_t size, tail;
} goods[] = {
    {LS_CONTROL_SEALED, false, {.sealed = {.epoch = 3, .incarnation = 7, .counts = 1}}, 56, 0},
    {LS_CONTROL_INSTALLED, false, {.installed = {.epoch = 3}}, 16, 0},
    {LS_CONTROL_DONE, false, {.done = {.error = 5}}, 8, LS_CONTROL_TEXT_MAX},
    {LS_CONTROL_ADMITTED, false, {.admitted = {.epoch = 3, .joining = 9, .node = 2}}, 32, 0},
    {LS_CONTROL_CHANGED, false, {.changed = {.epoch = 3, .seq = 9}}, 24, 0},
    {LS_CONTROL_HANDED, false, {.epoch = {.epoch = 3, .node = 2}}, 24, 0},
    {LS_CONTROL_CHECKPOINT_DONE, false, {.checkpoint = {.seq = 3}}, 56, LS_CONTROL_TEXT_MAX},
    {LS_CONTROL_READY, true, {.ready = {.incarnation = 7, .pid = 1}}, 32, 0},
    {LS_CONTROL_EPOCH_SEEN, true, {.epoch = {.epoch = 3, .node = 2}}, 24, 0},
    {LS_CONTROL_ROLE, true, {.role = {.epoch = 3, .role = 8}}, 16, 0},
    {LS_CONTROL_REACHED, true, {.epoch = {.epoch = 3, .incarnation = 7}}, 24, 0},
    {LS_CONTROL_MEMBERS, true, {.members = {.seq = 3}}, 24, 0},
    {LS_CONTROL_PROGRESS, true, {.checkpoint = {.bytes = 3}}, 56, 0},
    {LS_CONTROL_DAMAGED, true, {.damaged = {.seq = 3}}, 16, 0},
};

static void body_set(const struct good *good, uint64_t id, uint32_t size)
{
    memset(message, 0, 1024);
    memcpy(message + sizeof(struct ls_control_header), &good->body, good->size);
    header_set(good->type, id, size);
}

static void test_sizes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(goods) / sizeof(goods[0]); i++)
        for (uint32_t size = 0; size < 800; size++)
            for (uint64_t id = 0; id < 2; id++) {
                bool right =
                    size >= goods[i].size && size <= goods[i].size + goods[i].tail && goods[i].event == (id == 0);

                body_set(&goods[i], id, size);
                assert_int_equal(check(size) == NULL, right);
                header_set(goods[i].type, id, size + 1);
                assert_non_null(check(size));
                header_set(goods[i].type, id, UINT32_MAX);
                assert_non_null(check(size));
            }
    for (size_t size = 0; size < sizeof(struct ls_control_header); size++)
        assert_non_null(ls_message_check(message, size));
}

/* What only the other direction, or nobody, says. */
static void test_types(void **state)
{
    (void)state;
    for (uint32_t type = 0; type < 200; type++) {
        bool known = type == LS_CONTROL_LOG_BYTES;

        for (size_t i = 0; i < sizeof(goods) / sizeof(goods[0]); i++)
            known = known || goods[i].type == type;
        for (uint32_t size = 0; size < 100 && !known; size++)
            for (uint64_t id = 0; id < 2; id++) {
                memset(message, 0, 1024);
                header_set(type, id, size);
                assert_non_null(check(size));
            }
    }
}

/* SEALED (56 bytes) and MEMBERS (24): as many records as they say, and only good ones. */
static void members_set(bool sealed, uint16_t count)
{
    const struct good *good = sealed ? &goods[0] : &goods[11];
    uint8_t *body = message + sizeof(struct ls_control_header);
    struct ls_control_sealed *s = (void *)body;
    struct ls_control_members *m = (void *)body;

    body_set(good, sealed, good->size + 3 * (uint32_t)sizeof(struct ls_member_record));
    if (sealed)
        s->members = count;
    else
        m->members = count;
    for (uint16_t i = 0; i < 3; i++) {
        struct ls_member_record record = {.node = (uint16_t)(i + 1), .role = LS_MEMBER_VOTER, .ip = 1, .port = 2};

        record.ctrl_ip = 3;
        record.ctrl_port = 4;
        memcpy(body + good->size + i * sizeof(record), &record, sizeof(record));
    }
}

static void test_members(void **state)
{
    (void)state;
    for (int sealed = 0; sealed < 2; sealed++) {
        uint32_t head = sealed ? 56 : 24, size = head + 48;
        struct ls_member_record *record = (void *)(message + sizeof(struct ls_control_header) + head);

        for (uint32_t count = 0; count <= UINT16_MAX; count += count < 300 ? 1 : 97) {
            members_set(sealed, (uint16_t)count);
            assert_int_equal(check(size) == NULL, count == 3);
        }
        members_set(sealed, 3);
        record[1].node = 1; /* twice */
        assert_non_null(check(size));
        record[1].node = LS_NODE_ID_MAX + 1;
        assert_non_null(check(size));
        members_set(sealed, 3);
        record[2].role = 3;
        assert_non_null(check(size));
        members_set(sealed, 3);
        record[2].ip = 0;
        assert_non_null(check(size));
    }
}

static void test_reserved(void **state)
{
    struct ls_control_header header = {.version = 1, .type = LS_CONTROL_DONE, .id = 1, .size = 8};

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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sizes),     cmocka_unit_test(test_types),
                                       cmocka_unit_test(test_members),   cmocka_unit_test(test_reserved),
                                       cmocka_unit_test(test_log_bytes), cmocka_unit_test(test_random)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
