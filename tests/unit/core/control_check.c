/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What passes between ctrl and dataplane: of each type one right message, every other size of it refused, every
 * reserved and every senseless field refused, and nothing read beyond the packet (memory checkers see that).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <lockstep/counters.h>
#include <lockstep/entry.h>
#include <lockstep/membership.h>

#include "control_check.h"

static const struct ls_member_record two[] = {{.node = 1, .role = LS_MEMBER_VOTER, .ip = 1, .port = 7},
                                              {.node = 2, .role = LS_MEMBER_VOTER, .ip = 2, .port = 7}};

#define BODY_MAX 700
struct sample {
    uint32_t type;
    bool event;
    bool open_end; /* more bytes are refused for another reason than the size, or are a text */
    uint32_t size;
    uint8_t body[BODY_MAX];
};

static struct sample make(uint32_t type, const void *body, size_t size, const void *tail, size_t tail_size)
{
    struct sample s = {.type = type, .event = type >= LS_CONTROL_READY, .size = (uint32_t)(size + tail_size)};

    assert_true(s.size <= BODY_MAX);
    if (size > 0)
        memcpy(s.body, body, size);
    if (tail_size > 0)
        memcpy(s.body + size, tail, tail_size);
    return s;
}

/* In a block of its exact size, so that a byte too far is seen. */
static const char *check_as(const struct sample *s, uint64_t id, uint32_t version, uint32_t zero, uint32_t said,
                            uint32_t sent)
{
    struct ls_control_header header = {.version = version, .type = s->type, .id = id, .size = said, .zero = zero};
    uint8_t *message = malloc(sizeof(header) + sent);
    const char *wrong;

    assert_non_null(message);
    memcpy(message, &header, sizeof(header));
    memset(message + sizeof(header), 0, sent);
    memcpy(message + sizeof(header), s->body, sent < BODY_MAX ? sent : BODY_MAX);
    wrong = ls_control_check(s->type >= LS_CONTROL_SEALED ? LS_CONTROL_TO_CTRL : LS_CONTROL_TO_DATAPLANE, message,
                             sizeof(header) + sent);
    free(message);
    return wrong;
}

static const char *check(const struct sample *s)
{
    return check_as(s, s->event ? 0 : 9, LS_CONTROL_VERSION, 0, s->size, s->size);
}

#define RECORDS                  two, sizeof(two)
#define NOTHING                  NULL, 0
#define SAMPLE(type, body, tail) make(type, &(body), sizeof(body), tail)

static struct sample samples[40];
static size_t sample_count;

static void samples_make(void)
{
    struct ls_control_epoch epoch = {.epoch = 4}, named = {.epoch = 4, .incarnation = 5},
                            noded = {.epoch = 4, .node = 2};
    struct ls_control_members members = {.members = 2}, change = {.seq = 3, .epoch = 4, .members = 2};
    struct ls_control_join join = {
        .epoch = 4, .incarnation = 5, .sequencer_incarnation = 6, .sequencer = 1, .members = 2};
    struct ls_control_admit admit = {.epoch = 4, .incarnation = 5, .joining = 6, .node = 2};
    struct ls_control_handover handover = {.epoch = 4, .patience = 5, .node = 2};
    struct ls_control_path path = {.length = 2};
    struct ls_control_sealed sealed = {.epoch = 4, .incarnation = 5, .members = 2, .counts = 1};
    struct ls_control_log log = {0};
    struct ls_control_fault fault = {0};
    struct ls_control_flip flip = {0};
    struct ls_control_slow slow = {0};
    struct ls_control_trim trim = {0};
    struct ls_control_disk_fault disk_fault = {0};
    struct ls_control_installed installed = {0};
    struct ls_control_log_bytes log_bytes = {0};
    struct ls_control_done done = {0};
    struct ls_control_admitted admitted = {.node = 2};
    struct ls_control_changed changed = {.seq = 1};
    struct ls_control_checkpoint checkpoint = {0};
    struct ls_control_ready ready = {.incarnation = 5, .pid = 6};
    struct ls_control_role role = {.role = LS_ROLE_BEHIND};
    struct ls_control_damaged damaged = {0};
    struct sample *s = samples;

    *s++ = SAMPLE(LS_CONTROL_SEAL, epoch, NOTHING);
    *s++ = SAMPLE(LS_CONTROL_INSTALL, named, NOTHING);
    *s++ = SAMPLE(LS_CONTROL_LOG, log, NOTHING);
    *s++ = make(LS_CONTROL_STOP, NULL, 0, NOTHING);
    *s++ = SAMPLE(LS_CONTROL_FAULT, fault, NOTHING);
    *s++ = make(LS_CONTROL_PING, NULL, 0, NOTHING);
    *s++ = SAMPLE(LS_CONTROL_FOUND, members, RECORDS);
    *s++ = SAMPLE(LS_CONTROL_JOIN, join, RECORDS);
    *s++ = SAMPLE(LS_CONTROL_COUNT, named, NOTHING);
    *s++ = SAMPLE(LS_CONTROL_ADMIT, admit, NOTHING);
    *s++ = SAMPLE(LS_CONTROL_CHANGE, change, RECORDS);
    *s++ = SAMPLE(LS_CONTROL_HANDOVER, handover, NOTHING);
    *s++ = make(LS_CONTROL_CHECKPOINT, &path, sizeof(path), "/a", 2);
    *s++ = make(LS_CONTROL_RESTORE, &path, sizeof(path), "/a", 2);
    *s++ = SAMPLE(LS_CONTROL_FLIP, flip, NOTHING);
    *s++ = SAMPLE(LS_CONTROL_SLOW, slow, NOTHING);
    *s++ = SAMPLE(LS_CONTROL_TRIM, trim, NOTHING);
    *s++ = SAMPLE(LS_CONTROL_DISK_FAULT, disk_fault, NOTHING);
    *s++ = SAMPLE(LS_CONTROL_SEALED, sealed, RECORDS);
    *s++ = SAMPLE(LS_CONTROL_INSTALLED, installed, NOTHING);
    *s++ = SAMPLE(LS_CONTROL_LOG_BYTES, log_bytes, NOTHING);
    *s++ = make(LS_CONTROL_DONE, &done, sizeof(done), "no", 2);
    s[-1].open_end = true;
    *s++ = SAMPLE(LS_CONTROL_ADMITTED, admitted, NOTHING);
    *s++ = SAMPLE(LS_CONTROL_CHANGED, changed, NOTHING);
    *s++ = SAMPLE(LS_CONTROL_HANDED, noded, NOTHING);
    *s++ = make(LS_CONTROL_CHECKPOINT_DONE, &checkpoint, sizeof(checkpoint), "no", 2);
    s[-1].open_end = true;
    *s++ = SAMPLE(LS_CONTROL_READY, ready, NOTHING);
    *s++ = SAMPLE(LS_CONTROL_EPOCH_SEEN, noded, NOTHING);
    *s++ = SAMPLE(LS_CONTROL_ROLE, role, NOTHING);
    *s++ = SAMPLE(LS_CONTROL_REACHED, named, NOTHING);
    *s++ = SAMPLE(LS_CONTROL_MEMBERS, members, RECORDS);
    *s++ = SAMPLE(LS_CONTROL_PROGRESS, checkpoint, NOTHING);
    *s++ = SAMPLE(LS_CONTROL_DAMAGED, damaged, NOTHING);
    sample_count = (size_t)(s - samples);
}

static void test_header(void **state)
{
    static uint8_t large[LS_CONTROL_MESSAGE_MAX + 1];

    (void)state;
    for (size_t i = 0; i < sample_count; i++) {
        const struct sample *s = &samples[i];
        struct sample other = *s;
        uint64_t id = s->event ? 0 : 9;

        if (check(s) != NULL)
            fail_msg("type %u: %s", s->type, check(s));
        assert_string_equal(check_as(s, id, 1, 0, s->size, s->size),
                            "a message of another version: install lockstep-ctrl and lockstep-dataplane together");
        assert_non_null(check_as(s, id, LS_CONTROL_VERSION, 1, s->size, s->size));
        assert_non_null(check_as(s, 9 - id, LS_CONTROL_VERSION, 0, s->size, s->size));
        assert_non_null(check_as(s, id, LS_CONTROL_VERSION, 0, s->size + 1, s->size));
        assert_non_null(check_as(s, id, LS_CONTROL_VERSION, 0, UINT32_MAX - 10, s->size));
        for (uint32_t size = 0; size < BODY_MAX; size++)
            if (size != s->size && !s->open_end)
                assert_non_null(check_as(s, id, LS_CONTROL_VERSION, 0, size, size));
        other.type = s->type >= LS_CONTROL_SEALED ? LS_CONTROL_SEALED - 1 : 0; /* of neither direction */
        assert_string_equal(check(&other), "a message of unknown type");
    }
    for (size_t size = 0; size < sizeof(struct ls_control_header); size++)
        assert_non_null(ls_control_check(LS_CONTROL_TO_CTRL, large, size));
    assert_string_equal(ls_control_check(LS_CONTROL_TO_CTRL, large, sizeof(large)), "a message larger than any");
}

/* The right direction only. */
static void test_direction(void **state)
{
    (void)state;
    for (size_t i = 0; i < sample_count; i++) {
        const struct sample *s = &samples[i];
        struct ls_control_header header = {
            .version = LS_CONTROL_VERSION, .type = s->type, .id = s->event ? 0 : 9, .size = s->size};
        uint8_t message[sizeof(header) + BODY_MAX];

        memcpy(message, &header, sizeof(header));
        memcpy(message + sizeof(header), s->body, s->size);
        assert_non_null(ls_control_check(s->type >= LS_CONTROL_SEALED ? LS_CONTROL_TO_DATAPLANE : LS_CONTROL_TO_CTRL,
                                         message, sizeof(header) + s->size));
    }
}

/* Of sample `type` a field of the body at `offset` set to `value`, `size` bytes: refused, or not. */
static bool refused_with(uint32_t type, size_t offset, size_t size, uint64_t value)
{
    for (size_t i = 0; i < sample_count; i++)
        if (samples[i].type == type) {
            struct sample s = samples[i];

            memcpy(s.body + offset, &value, size);
            return check(&s) != NULL;
        }
    fail();
    return false;
}
#define REFUSED(name, type, field, value)                                                                              \
    assert_true(refused_with(LS_CONTROL_##name, offsetof(struct type, field), sizeof(((struct type *)0)->field), value))
#define TAKEN(name, type, field, value)                                                                                \
    assert_false(                                                                                                      \
        refused_with(LS_CONTROL_##name, offsetof(struct type, field), sizeof(((struct type *)0)->field), value))

static void test_fields_to_dataplane(void **state)
{
    (void)state;
    REFUSED(SEAL, ls_control_epoch, epoch, 0);
    REFUSED(SEAL, ls_control_epoch, incarnation, 1);
    REFUSED(SEAL, ls_control_epoch, node, 1);
    REFUSED(SEAL, ls_control_epoch, zero16, 1);
    REFUSED(SEAL, ls_control_epoch, zero32, 1);
    REFUSED(INSTALL, ls_control_epoch, incarnation, 0);
    REFUSED(INSTALL, ls_control_epoch, epoch, 0);
    REFUSED(INSTALL, ls_control_epoch, zero16, 1);
    REFUSED(COUNT, ls_control_epoch, incarnation, 0);
    REFUSED(COUNT, ls_control_epoch, node, 1);
    REFUSED(COUNT, ls_control_epoch, zero32, 1);
    REFUSED(LOG, ls_control_log, zero, 1);
    REFUSED(FAULT, ls_control_fault, zero, 1);
    REFUSED(FOUND, ls_control_members, zero, 1);
    REFUSED(FOUND, ls_control_members, seq, 1);
    REFUSED(FOUND, ls_control_members, epoch, 1);
    REFUSED(FOUND, ls_control_members, committed, 1);
    REFUSED(FOUND, ls_control_members, members, 0);
    REFUSED(FOUND, ls_control_members, members, 1);
    REFUSED(FOUND, ls_control_members, members, 3);
    REFUSED(FOUND, ls_control_members, members, UINT16_MAX);
    REFUSED(CHANGE, ls_control_members, zero, 1);
    REFUSED(CHANGE, ls_control_members, epoch, 0);
    REFUSED(CHANGE, ls_control_members, committed, 1);
    REFUSED(CHANGE, ls_control_members, members, 0);
    TAKEN(CHANGE, ls_control_members, seq, 0);
    REFUSED(JOIN, ls_control_join, zero, 1);
    REFUSED(JOIN, ls_control_join, epoch, 0);
    REFUSED(JOIN, ls_control_join, incarnation, 0);
    REFUSED(JOIN, ls_control_join, sequencer_incarnation, 0);
    REFUSED(JOIN, ls_control_join, sequencer, 0);
    REFUSED(JOIN, ls_control_join, sequencer, LS_NODE_ID_MAX + 1);
    REFUSED(JOIN, ls_control_join, members, 0);
    REFUSED(JOIN, ls_control_join, members, 1);
    REFUSED(ADMIT, ls_control_admit, zero16, 1);
    REFUSED(ADMIT, ls_control_admit, zero32, 1);
    REFUSED(ADMIT, ls_control_admit, epoch, 0);
    REFUSED(ADMIT, ls_control_admit, incarnation, 0);
    REFUSED(ADMIT, ls_control_admit, joining, 0);
    REFUSED(ADMIT, ls_control_admit, node, 0);
    TAKEN(ADMIT, ls_control_admit, promise, 0);
    REFUSED(HANDOVER, ls_control_handover, zero16, 1);
    REFUSED(HANDOVER, ls_control_handover, zero32, 1);
    REFUSED(HANDOVER, ls_control_handover, epoch, 0);
    REFUSED(HANDOVER, ls_control_handover, patience, 0);
    REFUSED(HANDOVER, ls_control_handover, node, 0);
    REFUSED(CHECKPOINT, ls_control_path, older, 1);
    REFUSED(RESTORE, ls_control_path, older, 2);
    REFUSED(CHECKPOINT, ls_control_path, zero32, 1);
    REFUSED(CHECKPOINT, ls_control_path, length, 1);
    REFUSED(RESTORE, ls_control_path, length, 3);
    assert_true(refused_with(LS_CONTROL_RESTORE, sizeof(struct ls_control_path), 1, 'a'));   /* not absolute */
    assert_true(refused_with(LS_CONTROL_RESTORE, sizeof(struct ls_control_path) + 1, 1, 0)); /* a zero byte */
    REFUSED(SLOW, ls_control_slow, zero, 1);
}

static void test_fields_to_ctrl(void **state)
{
    (void)state;
    REFUSED(SEALED, ls_control_sealed, zero, 1);
    REFUSED(SEALED, ls_control_sealed, incarnation, 0);
    REFUSED(SEALED, ls_control_sealed, counts, 2);
    REFUSED(SEALED, ls_control_sealed, members, 1);
    REFUSED(INSTALLED, ls_control_installed, zero, 1);
    REFUSED(LOG_BYTES, ls_control_log_bytes, bytes, 1);
    REFUSED(LOG_BYTES, ls_control_log_bytes, skipped, 2);
    REFUSED(DONE, ls_control_done, zero, 1);
    REFUSED(ADMITTED, ls_control_admitted, zero16, 1);
    REFUSED(ADMITTED, ls_control_admitted, node, 0);
    REFUSED(CHANGED, ls_control_changed, zero, 1);
    REFUSED(CHANGED, ls_control_changed, seq, 0);
    REFUSED(CHANGED, ls_control_changed, refused, 1);
    REFUSED(HANDED, ls_control_epoch, node, 0);
    REFUSED(HANDED, ls_control_epoch, incarnation, 1);
    REFUSED(EPOCH_SEEN, ls_control_epoch, epoch, 0);
    REFUSED(EPOCH_SEEN, ls_control_epoch, zero16, 1);
    REFUSED(CHECKPOINT_DONE, ls_control_checkpoint, zero, 1);
    REFUSED(READY, ls_control_ready, incarnation, 0);
    REFUSED(READY, ls_control_ready, pid, 0);
    REFUSED(ROLE, ls_control_role, zero, 1);
    REFUSED(ROLE, ls_control_role, role, LS_ROLE_BEHIND + 1);
    REFUSED(ROLE, ls_control_role, sequencer, LS_NODE_ID_MAX + 1);
    REFUSED(REACHED, ls_control_epoch, epoch, 0);
    REFUSED(REACHED, ls_control_epoch, incarnation, 0);
    REFUSED(REACHED, ls_control_epoch, node, 1);
    REFUSED(REACHED, ls_control_epoch, zero32, 1);
    REFUSED(MEMBERS, ls_control_members, zero, 1);
    REFUSED(MEMBERS, ls_control_members, epoch, 1);
    REFUSED(MEMBERS, ls_control_members, committed, 2);
    REFUSED(MEMBERS, ls_control_members, members, 0);
    REFUSED(PROGRESS, ls_control_checkpoint, zero, 1);
    REFUSED(PROGRESS, ls_control_checkpoint, error, 1);
}

/* Memberships that the log would not take either, texts too long, entries with holes. */
static void test_tails(void **state)
{
    struct ls_control_members members = {.members = 2};
    struct ls_control_done done = {.error = 1};
    struct ls_control_checkpoint checkpoint = {.error = 1};
    struct ls_control_path path = {.length = LS_CONTROL_PATH_MAX};
    struct ls_control_log_bytes head = {.next_seq = 8, .bytes = 2 * sizeof(struct ls_entry)};
    struct ls_entry entries[2] = {{.seq = 6}, {.seq = 7}};
    struct ls_member_record wrong[2];
    char text[BODY_MAX] = "/";
    struct sample s;

    (void)state;
    memcpy(wrong, two, sizeof(two));
    wrong[1].node = 1; /* twice */
    s = make(LS_CONTROL_FOUND, &members, sizeof(members), wrong, sizeof(wrong));
    assert_string_equal(check(&s), "a membership that is malformed");
    memset(text + 1, 'a', sizeof(text) - 1);
    s = make(LS_CONTROL_DONE, &done, sizeof(done), text, LS_CONTROL_TEXT_MAX);
    assert_null(check(&s));
    s = make(LS_CONTROL_DONE, &done, sizeof(done), text, LS_CONTROL_TEXT_MAX + 1);
    assert_non_null(check(&s));
    s = make(LS_CONTROL_CHECKPOINT_DONE, &checkpoint, sizeof(checkpoint), text, LS_CONTROL_TEXT_MAX + 1);
    assert_non_null(check(&s));
    s = make(LS_CONTROL_RESTORE, &path, sizeof(path), text, LS_CONTROL_PATH_MAX);
    assert_null(check(&s));
    path.length++;
    s = make(LS_CONTROL_RESTORE, &path, sizeof(path), text, LS_CONTROL_PATH_MAX + 1);
    assert_non_null(check(&s));
    path.length = 0;
    s = make(LS_CONTROL_RESTORE, &path, sizeof(path), NOTHING);
    assert_non_null(check(&s));
    s = make(LS_CONTROL_LOG_BYTES, &head, sizeof(head), entries, sizeof(entries));
    assert_null(check(&s));
    entries[1].seq = 8;
    s = make(LS_CONTROL_LOG_BYTES, &head, sizeof(head), entries, sizeof(entries));
    assert_string_equal(check(&s), "log bytes with a hole between entries");
    entries[1].seq = 7;
    head.next_seq = 9;
    s = make(LS_CONTROL_LOG_BYTES, &head, sizeof(head), entries, sizeof(entries));
    assert_string_equal(check(&s), "log bytes that do not end where they say");
    head.next_seq = 8;
    entries[1].length = 8;
    s = make(LS_CONTROL_LOG_BYTES, &head, sizeof(head), entries, sizeof(entries));
    assert_string_equal(check(&s), "log bytes that end within an entry");
    head.skipped = 1; /* its operation is left out */
    s = make(LS_CONTROL_LOG_BYTES, &head, sizeof(head), entries, sizeof(entries));
    assert_null(check(&s));
    entries[1].length = LS_OP_MAX + 1;
    s = make(LS_CONTROL_LOG_BYTES, &head, sizeof(head), entries, sizeof(entries));
    assert_string_equal(check(&s), "log bytes with an entry larger than any");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_header), cmocka_unit_test(test_direction),
                                       cmocka_unit_test(test_fields_to_dataplane),
                                       cmocka_unit_test(test_fields_to_ctrl), cmocka_unit_test(test_tails)};

    samples_make();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
