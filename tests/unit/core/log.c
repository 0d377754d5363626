/* SPDX-License-Identifier: BSD-3-Clause */
/* The log: appending, filling, truncating, parting, reading from another thread. */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SIZE LS_LOG_SIZE_MIN

static void copy_all(struct ls_log *to, const struct ls_log *from, uint64_t begin, uint64_t end)
{
    while (begin < end) {
        uint32_t n = end - begin < 1000 ? (uint32_t)(end - begin) : 1000;
        ls_log_place(to, begin, ls_log_at(from, begin), n);
        begin += n;
    }
}

static void appended_entries_are_found_by_seq(void **state)
{
    (void)state;
    struct ls_log log;
    assert_int_equal(ls_log_init(&log, SIZE), 0);
    rig_entry(&log, LS_ENTRY_EPOCH, 1, 0, NULL);
    uint64_t second = log.end;
    rig_entry(&log, LS_ENTRY_OPERATION, 1, 1, "abc");
    assert_int_equal(log.last_seq, 2);
    assert_int_equal(log.end - second, 64 + 8);
    assert_int_equal(ls_log_position(&log, 1), 0);
    assert_int_equal(ls_log_position(&log, 2), second);
    assert_int_equal(ls_log_position(&log, 3), UINT64_MAX);
    assert_int_equal(ls_log_seq_at(&log, second), 2);
    assert_int_equal(ls_log_seq_at(&log, second + 8), 0);
    assert_int_equal(ls_log_seq_at(&log, log.end), 3);
    assert_int_equal(ls_log_last_epoch(&log), 1);
    ls_log_free(&log);
}

static void entries_stay_contiguous_over_the_ring_s_end(void **state)
{
    (void)state;
    struct ls_log log;
    assert_int_equal(ls_log_init(&log, SIZE), 0);
    char operation[1000];
    memset(operation, 'x', sizeof(operation) - 1);
    operation[sizeof(operation) - 1] = 0;
    while (log.end < 3 * log.size) {
        uint64_t at = log.end;
        rig_entry(&log, LS_ENTRY_OPERATION, 1, log.last_seq, operation);
        const struct ls_entry *entry = (const struct ls_entry *)ls_log_at(&log, at);
        assert_int_equal(entry->length, sizeof(operation) - 1);
        assert_memory_equal(entry + 1, operation, sizeof(operation) - 1);
    }
    assert_int_equal(ls_log_oldest(&log), log.end - log.size);
    assert_int_equal(ls_log_position(&log, 1), UINT64_MAX);
    ls_log_free(&log);
}

static void filling_takes_in_whole_entries_only(void **state)
{
    (void)state;
    struct ls_log from, to;
    assert_int_equal(ls_log_init(&from, SIZE), 0);
    assert_int_equal(ls_log_init(&to, SIZE), 0);
    rig_entry(&from, LS_ENTRY_EPOCH, 1, 0, NULL);
    uint64_t first = from.end;
    rig_entry(&from, LS_ENTRY_OPERATION, 1, 1, "hello");
    copy_all(&to, &from, 0, from.end);
    assert_int_equal(ls_log_fill(&to, 10), 0);
    assert_int_equal(to.last_seq, 0);
    assert_int_equal(ls_log_fill(&to, from.end - 1), 0);
    assert_int_equal(to.end, first);
    assert_int_equal(to.filled, from.end - 1);
    ls_log_drop_partial(&to);
    assert_int_equal(to.filled, first);
    assert_int_equal(ls_log_fill(&to, from.end), 0);
    assert_int_equal(to.last_seq, 2);
    assert_int_equal(to.chain, from.chain);
    ls_log_free(&from);
    ls_log_free(&to);
}

/* Each byte of an entry is covered by structure or checksum: any change is refused. */
static void a_changed_byte_is_refused(void **state)
{
    (void)state;
    struct ls_log from, to;
    assert_int_equal(ls_log_init(&from, SIZE), 0);
    assert_int_equal(ls_log_init(&to, SIZE), 0);
    rig_entry(&from, LS_ENTRY_EPOCH, 1, 0, NULL);
    uint64_t first = from.end;
    rig_entry(&from, LS_ENTRY_OPERATION, 1, 1, "hello");
    for (uint64_t i = first; i < from.end; i++) {
        ls_log_reset(&to);
        copy_all(&to, &from, 0, from.end);
        *ls_log_at(&to, i) ^= 0x10;
        int error = ls_log_fill(&to, from.end);
        assert_true(error == -EBADMSG || to.end == first);
        assert_int_equal(to.last_seq, 1);
    }
    ls_log_free(&from);
    ls_log_free(&to);
}

static void an_entry_of_another_history_breaks_the_chain(void **state)
{
    (void)state;
    struct ls_log a, b;
    assert_int_equal(ls_log_init(&a, SIZE), 0);
    assert_int_equal(ls_log_init(&b, SIZE), 0);
    rig_entry(&a, LS_ENTRY_EPOCH, 1, 0, NULL);
    rig_entry(&b, LS_ENTRY_EPOCH, 2, 0, NULL);
    uint64_t first = a.end;
    rig_entry(&a, LS_ENTRY_OPERATION, 1, 1, "same");
    copy_all(&b, &a, first, a.end);
    assert_int_equal(ls_log_fill(&b, a.end), -EBADMSG);
    assert_int_equal(b.last_seq, 1);
    ls_log_free(&a);
    ls_log_free(&b);
}

static void truncating_goes_back_to_an_entry_s_end(void **state)
{
    (void)state;
    struct ls_log log;
    assert_int_equal(ls_log_init(&log, SIZE), 0);
    rig_entry(&log, LS_ENTRY_EPOCH, 1, 0, NULL);
    rig_entry(&log, LS_ENTRY_OPERATION, 1, 1, "one");
    uint64_t keep = log.end;
    uint32_t chain = log.chain;
    rig_entry(&log, LS_ENTRY_EPOCH, 4, 0, NULL);
    rig_entry(&log, LS_ENTRY_OPERATION, 4, 2, "two");
    assert_int_equal(ls_log_truncate(&log, keep + 8), -ESTALE);
    assert_int_equal(ls_log_truncate(&log, log.end + 8), -ESTALE);
    assert_int_equal(log.last_seq, 4);
    assert_int_equal(ls_log_truncate(&log, keep), 0);
    assert_int_equal(log.last_seq, 2);
    assert_int_equal(log.chain, chain);
    assert_int_equal(ls_log_last_epoch(&log), 1);
    assert_int_equal(ls_log_truncate(&log, 0), 0);
    assert_int_equal(log.last_seq, 0);
    assert_int_equal(log.chain, LS_LOG_CHAIN_FIRST);
    assert_int_equal(log.epochs, 0);
    ls_log_free(&log);
}

static void truncating_needs_the_entry_before(void **state)
{
    (void)state;
    struct ls_log log;
    assert_int_equal(ls_log_init(&log, SIZE), 0);
    uint64_t keep = 0;
    while (log.end < 2 * log.size) {
        if (log.last_seq == 10)
            keep = log.end;
        rig_entry(&log, LS_ENTRY_OPERATION, 1, 1, "filler");
    }
    uint64_t last = log.last_seq;
    assert_int_equal(ls_log_truncate(&log, keep), -ESTALE);
    assert_int_equal(log.last_seq, last);
    ls_log_free(&log);
}

static uint64_t parting_of(const struct ls_log *a, const struct ls_log *b)
{
    uint64_t one = ls_log_parting(a, b->epoch, b->epochs, b->end);
    assert_int_equal(one, ls_log_parting(b, a->epoch, a->epochs, a->end));
    return one;
}

static void logs_part_where_their_epochs_do(void **state)
{
    (void)state;
    struct ls_log a, b;
    assert_int_equal(ls_log_init(&a, SIZE), 0);
    assert_int_equal(ls_log_init(&b, SIZE), 0);
    assert_int_equal(parting_of(&a, &b), 0);
    rig_entry(&a, LS_ENTRY_EPOCH, 1, 0, NULL);
    assert_int_equal(parting_of(&a, &b), 0);
    rig_entry(&a, LS_ENTRY_OPERATION, 1, 1, "one");
    copy_all(&b, &a, 0, a.end);
    assert_int_equal(ls_log_fill(&b, a.end), 0);
    uint64_t common = a.end;
    assert_int_equal(parting_of(&a, &b), common);
    rig_entry(&a, LS_ENTRY_OPERATION, 1, 2, "only in a");
    assert_int_equal(parting_of(&a, &b), common);
    rig_entry(&b, LS_ENTRY_EPOCH, 2, 0, NULL);
    rig_entry(&b, LS_ENTRY_OPERATION, 2, 2, "only in b, and longer");
    assert_int_equal(parting_of(&a, &b), common);
    rig_entry(&a, LS_ENTRY_EPOCH, 3, 0, NULL);
    assert_int_equal(parting_of(&a, &b), common);
    ls_log_free(&a);
    ls_log_free(&b);
}

static void logs_without_a_common_row_do_not_guess(void **state)
{
    (void)state;
    struct ls_log a;
    assert_int_equal(ls_log_init(&a, SIZE), 0);
    rig_entry(&a, LS_ENTRY_EPOCH, 5, 0, NULL);
    struct ls_epoch_row far = {.epoch = 9, .position = 4096, .seq = 40};
    assert_int_equal(ls_log_parting(&a, &far, 1, 8192), UINT64_MAX);
    struct ls_epoch_row moved = {.epoch = 5, .position = 64, .seq = 2};
    assert_int_equal(ls_log_parting(&a, &moved, 1, 8192), UINT64_MAX);
    ls_log_free(&a);
}

static void the_epoch_table_drops_its_oldest_rows(void **state)
{
    (void)state;
    struct ls_log log;
    assert_int_equal(ls_log_init(&log, SIZE), 0);
    for (uint64_t epoch = 1; epoch <= LS_EPOCHS_KEPT + 5; epoch++)
        rig_entry(&log, LS_ENTRY_EPOCH, epoch, 0, NULL);
    assert_int_equal(log.epochs, LS_EPOCHS_KEPT);
    assert_int_equal(log.epoch[0].epoch, 6);
    assert_int_equal(ls_log_last_epoch(&log), LS_EPOCHS_KEPT + 5);
    ls_log_free(&log);
}

static void copying_out_notices_what_is_gone(void **state)
{
    (void)state;
    struct ls_log log;
    uint8_t bytes[256];
    assert_int_equal(ls_log_init(&log, SIZE), 0);
    rig_entry(&log, LS_ENTRY_OPERATION, 1, 1, "first");
    assert_true(ls_log_copy_out(&log, 0, bytes, (uint32_t)log.end));
    assert_memory_equal(bytes + 64, "first", 5);
    assert_false(ls_log_copy_out(&log, 0, bytes, (uint32_t)log.end + 1));
    while (log.end <= log.size)
        rig_entry(&log, LS_ENTRY_OPERATION, 1, 1, "more");
    assert_false(ls_log_copy_out(&log, 0, bytes, 72));
    ls_log_free(&log);
}

static void hostile_entries_are_not_sane(void **state)
{
    (void)state;
    struct ls_entry entry = {.kind = LS_ENTRY_OPERATION, .length = 100};
    assert_true(ls_entry_is_sane(&entry, SIZE));
    entry.length = SIZE;
    assert_false(ls_entry_is_sane(&entry, SIZE));
    entry.length = UINT32_MAX; /* its padded length wraps */
    assert_false(ls_entry_is_sane(&entry, SIZE));
    entry = (struct ls_entry){.kind = 0};
    assert_false(ls_entry_is_sane(&entry, SIZE));
    entry.kind = LS_ENTRY_KINDS;
    assert_false(ls_entry_is_sane(&entry, SIZE));
    entry = (struct ls_entry){.kind = LS_ENTRY_TICK, .length = 1};
    assert_false(ls_entry_is_sane(&entry, SIZE));
    entry = (struct ls_entry){.kind = LS_ENTRY_EPOCH, .length = 8};
    assert_false(ls_entry_is_sane(&entry, SIZE));
    entry = (struct ls_entry){.kind = LS_ENTRY_TICK, .durability = LS_DURABLE_ASYNC};
    assert_false(ls_entry_is_sane(&entry, SIZE));
}

/* MEMBERS of nodes 1..voters, appended as a sequencer does. */
static uint64_t members_entry(struct ls_log *log, uint16_t voters)
{
    struct ls_membership m = {.count = voters};
    struct ls_entry header = {.kind = LS_ENTRY_MEMBERS, .time = log->last_time};
    uint8_t bytes[sizeof(struct ls_entry_members) + LS_MEMBERS_MAX * sizeof(struct ls_member_record)];
    struct ls_entry_members head = {.members = voters};
    for (uint16_t i = 0; i < voters; i++)
        m.member[i] = (struct ls_member){.node = i + 1u, .role = LS_MEMBER_VOTER, .addr = rig_address(i + 1u)};
    memcpy(bytes, &head, sizeof(head));
    ls_membership_write(&m, (struct ls_member_record *)(bytes + sizeof(head)));
    return ls_log_append(log, &header, bytes, (uint32_t)(sizeof(head) + voters * sizeof(struct ls_member_record)));
}

static void a_membership_holds_from_its_entry_on_and_goes_with_it(void **state)
{
    (void)state;
    struct ls_log log, other;
    assert_int_equal(ls_log_init(&log, SIZE), 0);
    assert_int_equal(ls_log_init(&other, SIZE), 0);
    assert_int_equal(ls_log_members(&log)->count, 0);
    struct ls_membership founders = {.count = 1,
                                     .member = {{.node = 1, .role = LS_MEMBER_VOTER, .addr = rig_address(1)}}};
    ls_log_found(&log, &founders);
    assert_int_equal(ls_log_members(&log)->count, 1);
    assert_int_equal(ls_log_members(&log)->seq, 0);
    rig_entry(&log, LS_ENTRY_EPOCH, 1, 0, NULL);
    uint64_t kept = members_entry(&log, 3);
    assert_int_equal(ls_log_members(&log)->count, 3);
    assert_int_equal(ls_log_members(&log)->seq, 2);
    rig_entry(&log, LS_ENTRY_OPERATION, 1, 1, "between");
    uint64_t end = members_entry(&log, 4);
    assert_int_equal(ls_log_members(&log)->count, 4);
    /* taken in from bytes it is the same one, at the same place (M3) */
    copy_all(&other, &log, 0, end);
    assert_int_equal(ls_log_fill(&other, end - 1), 0);
    assert_int_equal(ls_log_members(&other)->count, 3);
    assert_int_equal(ls_log_fill(&other, end), 0);
    assert_true(ls_membership_equal(ls_log_members(&other), ls_log_members(&log)));
    assert_int_equal(ls_log_members(&other)->seq, 4);
    /* dropped with a tail, the one before holds again */
    uint32_t changes = log.memberships_changes;
    assert_int_equal(ls_log_truncate(&log, kept), 0);
    assert_int_equal(ls_log_members(&log)->count, 3);
    assert_int_not_equal(log.memberships_changes, changes);
    assert_int_equal(ls_log_truncate(&log, 0), 0);
    assert_int_equal(ls_log_members(&log)->count, 1);
    for (uint16_t i = 0; i < 3 * LS_MEMBERSHIPS_KEPT; i++)
        members_entry(&log, (uint16_t)(1 + i % 5));
    assert_int_equal(log.memberships, LS_MEMBERSHIPS_KEPT);
    assert_int_equal(ls_log_members(&log)->seq, log.last_seq);
    ls_log_free(&other);
    ls_log_free(&log);
}

static void a_malformed_membership_is_damage(void **state)
{
    (void)state;
    struct ls_log log, other;
    assert_int_equal(ls_log_init(&log, SIZE), 0);
    assert_int_equal(ls_log_init(&other, SIZE), 0);
    struct ls_entry entry = {.kind = LS_ENTRY_MEMBERS, .length = 8 + 16};
    assert_true(ls_entry_is_sane(&entry, SIZE));
    entry.length = 8; /* nobody */
    assert_false(ls_entry_is_sane(&entry, SIZE));
    entry.length = 8 + 17;
    assert_false(ls_entry_is_sane(&entry, SIZE));
    entry.length = 8 + 16 * (LS_MEMBERS_MAX + 1);
    assert_false(ls_entry_is_sane(&entry, SIZE));
    entry.length = 4;
    assert_false(ls_entry_is_sane(&entry, SIZE));
    /* chained correctly, and yet no membership: two members announced, one there */
    struct {
        struct ls_entry_members head;
        struct ls_member_record record;
    } LS_PACKED bytes = {.head = {.members = 2}, .record = {.node = 1, .role = LS_MEMBER_VOTER, .ip = 1, .port = 1}};
    struct ls_entry header = {.kind = LS_ENTRY_MEMBERS};
    uint64_t end = ls_log_append(&log, &header, &bytes, sizeof(bytes));
    copy_all(&other, &log, 0, end);
    assert_int_equal(ls_log_fill(&other, end), -EBADMSG);
    assert_int_equal(other.end, 0);
    ls_log_free(&other);
    ls_log_free(&log);
}

static void a_log_goes_on_behind_a_checkpoint(void **state)
{
    (void)state;
    struct ls_log log, other;
    uint8_t bytes[64];
    assert_int_equal(ls_log_init(&log, SIZE), 0);
    assert_int_equal(ls_log_init(&other, SIZE), 0);
    rig_entry(&log, LS_ENTRY_EPOCH, 1, 0, NULL);
    members_entry(&log, 3);
    uint64_t at = rig_entry(&log, LS_ENTRY_OPERATION, 1, 1, "the last one in it");
    struct ls_cut cut = {.seq = log.last_seq,
                         .position = at,
                         .time = log.last_time,
                         .chain = log.chain,
                         .epochs = 1,
                         .epoch = {log.epoch[0]},
                         .members = *ls_log_members(&log)};
    rig_entry(&log, LS_ENTRY_OPERATION, 1, 2, "the next one");
    uint64_t end = members_entry(&log, 4);
    rig_entry(&other, LS_ENTRY_OPERATION, 1, 1, "what was there before");
    ls_log_rebase(&other, &cut);
    assert_int_equal(other.end, at);
    assert_int_equal(other.last_seq, cut.seq);
    assert_int_equal(ls_log_last_epoch(&other), 1);
    assert_int_equal(ls_log_oldest(&other), at);
    assert_int_equal(ls_log_members(&other)->count, 3);
    assert_int_equal(ls_log_position(&other, 1), UINT64_MAX);
    assert_int_equal(ls_log_seq_at(&other, at), cut.seq + 1);
    assert_false(ls_log_copy_out(&other, 0, bytes, 64)); /* never held here */
    assert_int_equal(ls_log_parting(&log, other.epoch, other.epochs, other.end), at);
    /* C3: the next entry is seq + 1 and the chain links */
    copy_all(&other, &log, at, end);
    assert_int_equal(ls_log_fill(&other, end), 0);
    assert_int_equal(other.chain, log.chain);
    assert_int_equal(other.last_seq, log.last_seq);
    assert_int_equal(ls_log_members(&other)->count, 4);
    assert_true(ls_log_copy_out(&other, at, bytes, 64));
    assert_int_equal(ls_log_truncate(&other, at), 0);
    assert_int_equal(other.chain, cut.chain);
    assert_int_equal(ls_log_members(&other)->count, 3);
    assert_int_equal(ls_log_truncate(&other, 0), -ESTALE);
    while (other.end < at + 2 * other.size)
        rig_entry(&other, LS_ENTRY_OPERATION, 1, 1, "on and on");
    assert_int_equal(ls_log_oldest(&other), other.end - other.size);
    cut.chain++; /* another history */
    ls_log_rebase(&other, &cut);
    copy_all(&other, &log, at, end);
    assert_int_equal(ls_log_fill(&other, end), -EBADMSG);
    ls_log_free(&other);
    ls_log_free(&log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appended_entries_are_found_by_seq),
        cmocka_unit_test(entries_stay_contiguous_over_the_ring_s_end),
        cmocka_unit_test(filling_takes_in_whole_entries_only),
        cmocka_unit_test(a_changed_byte_is_refused),
        cmocka_unit_test(an_entry_of_another_history_breaks_the_chain),
        cmocka_unit_test(truncating_goes_back_to_an_entry_s_end),
        cmocka_unit_test(truncating_needs_the_entry_before),
        cmocka_unit_test(logs_part_where_their_epochs_do),
        cmocka_unit_test(logs_without_a_common_row_do_not_guess),
        cmocka_unit_test(the_epoch_table_drops_its_oldest_rows),
        cmocka_unit_test(copying_out_notices_what_is_gone),
        cmocka_unit_test(hostile_entries_are_not_sane),
        cmocka_unit_test(a_membership_holds_from_its_entry_on_and_goes_with_it),
        cmocka_unit_test(a_malformed_membership_is_damage),
        cmocka_unit_test(a_log_goes_on_behind_a_checkpoint),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
