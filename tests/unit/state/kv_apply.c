/* SPDX-License-Identifier: BSD-3-Clause */
/* Every mutation and every status, as a client sees them. */
#include "rig.h"

static int setup(void **state)
{
    static struct rig rig;
    rig_open(&rig, 1000, 8 * 1024 * 1024);
    *state = &rig;
    return 0;
}

static int teardown(void **state)
{
    rig_close(*state);
    return 0;
}

static void put_stores_and_replaces(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(rig_put(rig, "k", "one"), LS_STATUS_OK);
    assert_int_equal(rig->result.version, 1);
    assert_string_equal(rig_get(rig, "k"), "one");
    assert_int_equal(rig_put(rig, "k", "two"), LS_STATUS_OK);
    assert_int_equal(rig->result.version, 2);
    assert_string_equal(rig_get(rig, "k"), "two");
    assert_int_equal(rig_put(rig, "empty", ""), LS_STATUS_OK);
    assert_string_equal(rig_get(rig, "empty"), "");
    assert_null(rig_get(rig, "other"));
}

static void keys_are_bytes(void **state)
{
    struct rig *rig = *state;
    uint8_t key[LS_KV_KEY_MAX];
    struct answer answer;
    struct op op;

    for (uint32_t length = 1; length <= LS_KV_KEY_MAX; length++) {
        memset(key, 0, sizeof(key)); /* all a prefix of each other */
        op_mutation(&op, LS_KV_PUT, key, length, &length, 4, 0, 0);
        assert_int_equal(rig_apply_op(rig, &op), LS_STATUS_OK);
    }
    for (uint32_t length = 1; length <= LS_KV_KEY_MAX; length++) {
        op_read(&op, LS_KV_GET, key, length, 0, 0);
        rig_read_op(rig, &op, LS_READ_RESULT_MAX, &answer);
        assert_int_equal(answer.status, LS_STATUS_OK);
        assert_memory_equal(answer.bytes + sizeof(struct ls_kv_value), &length, 4);
    }
}

static void delete_says_what_was_there(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(rig_delete(rig, "k"), LS_STATUS_NOT_FOUND);
    assert_int_equal(rig->result.version, 0);
    rig_put(rig, "k", "v");
    assert_int_equal(rig_delete(rig, "k"), LS_STATUS_OK);
    assert_int_equal(rig->result.version, 0);
    assert_null(rig_get(rig, "k"));
    assert_int_equal(rig_delete(rig, "k"), LS_STATUS_NOT_FOUND);
    rig_put(rig, "k", "again"); /* before its record has left the indexes */
    assert_string_equal(rig_get(rig, "k"), "again");
    rig_grace(rig);
    rig_grace(rig);
    rig_grace(rig);
    assert_string_equal(rig_get(rig, "k"), "again");
    rig_delete(rig, "k");
    rig_grace(rig); /* it has left the indexes, its memory is not free yet */
    rig_put(rig, "k", "a third time");
    rig_grace(rig);
    assert_string_equal(rig_get(rig, "k"), "a third time");
    assert_string_equal(rig_scan(rig, "", ""), "k");
}

static void cas_compares_versions(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(rig_mutate(rig, LS_KV_CAS, "k", "no", 7, 0), LS_STATUS_CONDITION);
    assert_int_equal(rig->result.version, 0); /* the version found: none */
    assert_int_equal(rig_mutate(rig, LS_KV_CAS, "k", "new", 0, 0), LS_STATUS_OK);
    assert_int_equal(rig->result.version, 2);
    assert_int_equal(rig_mutate(rig, LS_KV_CAS, "k", "no", 0, 0), LS_STATUS_CONDITION);
    assert_int_equal(rig->result.version, 2);
    assert_int_equal(rig_mutate(rig, LS_KV_CAS, "k", "next", 2, 0), LS_STATUS_OK);
    assert_string_equal(rig_get(rig, "k"), "next");
    assert_int_equal(rig_mutate(rig, LS_KV_CAS_DELETE, "k", "", 2, 0), LS_STATUS_CONDITION);
    assert_int_equal(rig->result.version, 4);
    assert_int_equal(rig_mutate(rig, LS_KV_CAS_DELETE, "k", "", 4, 0), LS_STATUS_OK);
    assert_int_equal(rig->result.version, 0);
    assert_int_equal(rig_mutate(rig, LS_KV_CAS_DELETE, "k", "", 4, 0), LS_STATUS_CONDITION);
    assert_int_equal(rig_mutate(rig, LS_KV_CAS_DELETE, "k", "", 0, 0), LS_STATUS_NOT_FOUND);
}

static void incr_counts(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(rig_mutate(rig, LS_KV_INCR, "n", "", 5, 0), LS_STATUS_OK);
    assert_int_equal(rig->result.number, 5);
    assert_int_equal(rig_mutate(rig, LS_KV_INCR, "n", "", (uint64_t)-7, 0), LS_STATUS_OK);
    assert_int_equal((int64_t)rig->result.number, -2);
    assert_string_equal(rig_get(rig, "n"), "-2");
    assert_int_equal(rig_mutate(rig, LS_KV_INCR, "n", "", 0, 0), LS_STATUS_OK);
    assert_int_equal(rig->result.version, 3);
}

static void incr_knows_its_range(void **state)
{
    struct rig *rig = *state;
    rig_put(rig, "max", "9223372036854775807");
    assert_int_equal(rig_mutate(rig, LS_KV_INCR, "max", "", 1, 0), LS_STATUS_OVERFLOW);
    assert_int_equal(rig->result.version, 1);
    assert_int_equal(rig_mutate(rig, LS_KV_INCR, "max", "", (uint64_t)INT64_MIN, 0), LS_STATUS_OK);
    assert_string_equal(rig_get(rig, "max"), "-1");
    rig_put(rig, "min", "-9223372036854775808");
    assert_int_equal(rig_mutate(rig, LS_KV_INCR, "min", "", (uint64_t)-1, 0), LS_STATUS_OVERFLOW);
    assert_int_equal(rig_mutate(rig, LS_KV_INCR, "min", "", 0, 0), LS_STATUS_OK);
    assert_string_equal(rig_get(rig, "min"), "-9223372036854775808");
}

static void incr_refuses_what_is_no_number(void **state)
{
    static const char *const bad[] = {"",
                                      "-",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "01",
                                      "-0",
                                      "0x10",
                                      "1a",
                                      "--1",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "111111111111111111111111111111"};
    struct rig *rig = *state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        rig_put(rig, "k", bad[i]);
        assert_int_equal(rig_mutate(rig, LS_KV_INCR, "k", "", 1, 0), LS_STATUS_NOT_A_NUMBER);
        assert_string_equal(rig_get(rig, "k"), bad[i]);
    }
}

static void append_grows(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(rig_mutate(rig, LS_KV_APPEND, "k", "ab", 0, 0), LS_STATUS_OK);
    assert_int_equal(rig->result.number, 2);
    assert_int_equal(rig_mutate(rig, LS_KV_APPEND, "k", "cd", 0, 0), LS_STATUS_OK);
    assert_int_equal(rig->result.number, 4);
    assert_string_equal(rig_get(rig, "k"), "abcd");
    assert_int_equal(rig_mutate(rig, LS_KV_APPEND, "k", "", 0, 0), LS_STATUS_OK);
    assert_string_equal(rig_get(rig, "k"), "abcd");
}

/* Reads a value of any length in parts and compares it. */
static void assert_value(struct rig *rig, const char *key, const uint8_t *bytes, uint32_t length)
{
    struct ls_kv_value value = {0};
    struct answer answer;
    struct op op;
    uint32_t at = 0;

    op_read(&op, LS_KV_GET, key, (uint32_t)strlen(key), 0, 0);
    do {
        rig_read_op(rig, &op, LS_READ_RESULT_MAX, &answer);
        assert_true(answer.status == LS_STATUS_OK || answer.status == LS_STATUS_LARGE_VALUE);
        memcpy(&value, answer.bytes, sizeof(value));
        assert_int_equal(value.total, length);
        assert_int_equal(value.offset, at);
        assert_int_equal(answer.length, sizeof(value) + value.length);
        assert_memory_equal(answer.bytes + sizeof(value), bytes + at, value.length);
        at += value.length;
        assert_int_equal(answer.status == LS_STATUS_OK, at == length);
        op_read(&op, LS_KV_GET_PART, key, (uint32_t)strlen(key), value.version, at);
    } while (at < length);
    op_free(&op);
}

static void values_of_all_sizes(void **state)
{
    /* Around the ends of a version, a block, and the block numbers in a version. */
    static const uint32_t lengths[] = {0,    1,    191,   192,   193,   223,   224,   225,   511,     512,    513,
                                       1024, 1320, 28160, 28671, 28672, 28673, 65536, 65537, 1048575, 1048576};
    struct rig *rig = *state;
    uint8_t *bytes = malloc(LS_KV_VALUE_MAX + 1);
    struct rng rng = {.state = 1};
    struct op op;

    assert_non_null(bytes);
    for (uint32_t i = 0; i < LS_KV_VALUE_MAX + 1; i++)
        bytes[i] = (uint8_t)rng_next(&rng);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        op_mutation(&op, LS_KV_PUT, "k", 1, bytes + i % 3, lengths[i] - (lengths[i] > 3 ? i % 3 : 0), 0, 0);
        assert_int_equal(rig_apply_op(rig, &op), LS_STATUS_OK);
        assert_value(rig, "k", bytes + i % 3, lengths[i] - (lengths[i] > 3 ? (uint32_t)(i % 3) : 0));
        rig_grace(rig);
    }
    op_mutation(&op, LS_KV_PUT, "k", 1, bytes, LS_KV_VALUE_MAX + 1, 0, 0);
    assert_int_equal(rig_apply_op(rig, &op), LS_STATUS_TOO_LARGE);
    free(bytes);
}

static void append_over_all_sizes(void **state)
{
    struct rig *rig = *state;
    uint8_t *bytes = malloc(LS_KV_VALUE_MAX);
    struct rng rng = {.state = 2};
    uint32_t length = 0, n;
    struct op op;

    assert_non_null(bytes);
    for (uint32_t i = 0; i < LS_KV_VALUE_MAX; i++)
        bytes[i] = (uint8_t)rng_next(&rng);
    while (length < LS_KV_VALUE_MAX) {
        n = 1 + (uint32_t)rng_below(&rng, length < 2000 ? 150 : 90000);
        n = n < LS_KV_VALUE_MAX - length ? n : LS_KV_VALUE_MAX - length;
        op_mutation(&op, LS_KV_APPEND, "k", 1, bytes + length, n, 0, 0);
        assert_int_equal(rig_apply_op(rig, &op), LS_STATUS_OK);
        length += n;
        assert_int_equal(rig->result.number, length);
        assert_value(rig, "k", bytes, length);
    }
    assert_int_equal(rig_mutate(rig, LS_KV_APPEND, "k", "x", 0, 0), LS_STATUS_TOO_LARGE);
    assert_value(rig, "k", bytes, length);
    assert_int_equal(rig_mutate(rig, LS_KV_INCR, "k", "", 1, 0), LS_STATUS_NOT_A_NUMBER);
    free(bytes);
}

static void batch_does_all(void **state)
{
    struct rig *rig = *state;
    struct op op;

    rig_put(rig, "old", "1");
    op_batch(&op);
    op_batch_add(&op, LS_KV_PUT, "a", 1, "A", 1, 0, 0);
    op_batch_add(&op, LS_KV_DELETE, "old", 3, "", 0, 0, 0);
    op_batch_add(&op, LS_KV_INCR, "n", 1, "", 0, 3, 0);
    op_batch_add(&op, LS_KV_APPEND, "log", 3, "line", 4, 0, 0);
    op_batch_add(&op, LS_KV_CAS, "c", 1, "C", 1, 0, 0);
    assert_int_equal(rig_apply_op(rig, &op), LS_STATUS_OK);
    assert_int_equal(rig->result.version, 2);
    assert_int_equal(rig->result.index, 0);
    assert_string_equal(rig_scan(rig, "", ""), "a c log n");
    assert_string_equal(rig_get(rig, "n"), "3");
}

static void batch_does_all_or_nothing(void **state)
{
    struct rig *rig = *state;
    uint64_t digest;
    struct op op;

    rig_put(rig, "text", "x");
    digest = ls_kv.digest(rig->machine);
    op_batch(&op);
    op_batch_add(&op, LS_KV_PUT, "a", 1, "A", 1, 0, 0);
    op_batch_add(&op, LS_KV_DELETE, "text", 4, "", 0, 0, 0);
    op_batch_add(&op, LS_KV_CAS, "b", 1, "B", 1, 77, 0);
    op_batch_add(&op, LS_KV_PUT, "c", 1, "C", 1, 0, 0);
    assert_int_equal(rig_apply_op(rig, &op), LS_STATUS_CONDITION);
    assert_int_equal(rig->result.index, 2);
    assert_int_equal(rig->result.version, 0);
    op_batch(&op);
    op_batch_add(&op, LS_KV_PUT, "a", 1, "A", 1, 0, 0);
    op_batch_add(&op, LS_KV_INCR, "text", 4, "", 0, 1, 0);
    assert_int_equal(rig_apply_op(rig, &op), LS_STATUS_NOT_A_NUMBER);
    assert_int_equal(rig->result.index, 1);
    assert_int_equal(rig->result.version, 1);
    op_batch(&op);
    op_batch_add(&op, LS_KV_PUT, "a", 1, "A", 1, 0, 0);
    op_batch_add(&op, LS_KV_DELETE, "gone", 4, "", 0, 0, 0);
    assert_int_equal(rig_apply_op(rig, &op), LS_STATUS_NOT_FOUND);
    assert_int_equal(rig->result.index, 1);
    assert_string_equal(rig_scan(rig, "", ""), "text");
    assert_int_equal(ls_kv.digest(rig->machine), digest);
}

static void batch_has_a_bound_of_bytes(void **state)
{
    struct rig *rig = *state;
    uint8_t *bytes = calloc(1, LS_KV_VALUE_MAX);
    char key[3] = "k0";
    struct op op;

    assert_non_null(bytes);
    ls_kv.set_limits(rig->machine, &(struct ls_machine_limits){.keys = 100, .bytes = 1ull << 30});
    for (int i = 0; i < 6; i++) {
        key[1] = (char)('0' + i);
        op_mutation(&op, LS_KV_PUT, key, 2, bytes, LS_KV_VALUE_MAX - 1, 0, 0);
        assert_int_equal(rig_apply_op(rig, &op), LS_STATUS_OK);
    }
    /* Six appends of a byte write 6 MiB, two puts of 1 MiB two more; a ninth is over 8 MiB together. */
    for (int puts = 2; puts <= 3; puts++) {
        op_batch(&op);
        for (int i = 0; i < 6 + puts; i++) {
            key[1] = (char)('0' + i);
            if (i < 6)
                op_batch_add(&op, LS_KV_APPEND, key, 2, puts == 2 ? "" : "+", puts == 2 ? 0 : 1, 0, 0);
            else
                op_batch_add(&op, LS_KV_PUT, key, 2, bytes, LS_KV_VALUE_MAX, 0, 0);
        }
        assert_int_equal(rig_apply_op(rig, &op), puts == 2 ? LS_STATUS_OK : LS_STATUS_TOO_LARGE);
        assert_int_equal(rig->result.index, puts == 2 ? 0 : 8);
    }
    free(bytes);
}

static void largest_batch(void **state)
{
    struct rig *rig = *state;
    char key[8];
    struct op op;

    for (int size = LS_KV_BATCH_MAX; size <= LS_KV_BATCH_MAX + 1; size++) {
        op_batch(&op);
        for (int i = 0; i < size; i++) {
            snprintf(key, sizeof(key), "%c%03d", 'a' + size - LS_KV_BATCH_MAX, i);
            op_batch_add(&op, LS_KV_PUT, key, 4, key, 4, 0, 0);
        }
        assert_int_equal(rig_apply_op(rig, &op), size == LS_KV_BATCH_MAX ? LS_STATUS_OK : LS_STATUS_TOO_LARGE);
    }
    assert_string_equal(rig_get(rig, "a063"), "a063");
    assert_null(rig_get(rig, "b000"));
}

static void limits_count_keys_and_bytes(void **state)
{
    struct rig *rig = *state;
    ls_kv.set_limits(rig->machine, &(struct ls_machine_limits){.keys = 2, .bytes = 20});
    assert_int_equal(rig_put(rig, "a", "123456789"), LS_STATUS_OK); /* 10 */
    assert_int_equal(rig_put(rig, "b", "1234567890"), LS_STATUS_NO_SPACE);
    assert_int_equal(rig_put(rig, "b", "123456789"), LS_STATUS_OK); /* 20 */
    assert_int_equal(rig_put(rig, "a", "1234567890"), LS_STATUS_NO_SPACE);
    assert_int_equal(rig->result.version, 1);
    assert_int_equal(rig_mutate(rig, LS_KV_APPEND, "a", "x", 0, 0), LS_STATUS_NO_SPACE);
    assert_int_equal(rig_put(rig, "a", "987654321"), LS_STATUS_OK); /* the same size */
    assert_int_equal(rig_put(rig, "a", ""), LS_STATUS_OK);
    assert_int_equal(rig_put(rig, "c", ""), LS_STATUS_NO_SPACE); /* a third key */
    assert_int_equal(rig_mutate(rig, LS_KV_INCR, "c", "", 1, 0), LS_STATUS_NO_SPACE);
    assert_int_equal(rig_delete(rig, "a"), LS_STATUS_OK);
    assert_int_equal(rig_put(rig, "c", "12345678"), LS_STATUS_OK);
    /* Lower than what is there: what shrinks may go on. */
    ls_kv.set_limits(rig->machine, &(struct ls_machine_limits){.keys = 1, .bytes = 5});
    assert_int_equal(rig_put(rig, "b", "12345678"), LS_STATUS_OK);
    assert_int_equal(rig_put(rig, "b", "123456789"), LS_STATUS_NO_SPACE);
    assert_int_equal(rig_put(rig, "d", ""), LS_STATUS_NO_SPACE);
}

static void limits_in_a_batch_count_in_order(void **state)
{
    struct rig *rig = *state;
    struct op op;
    ls_kv.set_limits(rig->machine, &(struct ls_machine_limits){.keys = 1, .bytes = 100});
    rig_put(rig, "a", "1");
    op_batch(&op);
    op_batch_add(&op, LS_KV_PUT, "b", 1, "2", 1, 0, 0);
    op_batch_add(&op, LS_KV_DELETE, "a", 1, "", 0, 0, 0);
    assert_int_equal(rig_apply_op(rig, &op), LS_STATUS_NO_SPACE);
    assert_int_equal(rig->result.index, 0);
    op_batch(&op);
    op_batch_add(&op, LS_KV_DELETE, "a", 1, "", 0, 0, 0);
    op_batch_add(&op, LS_KV_PUT, "b", 1, "2", 1, 0, 0);
    assert_int_equal(rig_apply_op(rig, &op), LS_STATUS_OK);
    assert_string_equal(rig_scan(rig, "", ""), "b");
}

/* Without grace periods nothing is ever freed: apply() stops before an entry, changes nothing, and goes on later. */
static void short_of_memory_it_stops_and_goes_on(void **state)
{
    struct rig *rig = *state;
    uint8_t room[LS_BURST][LS_RESULT_MAX];
    struct ls_result results[LS_BURST];
    struct ls_command commands[LS_BURST];
    struct op op;
    uint32_t done;

    op_mutation(&op, LS_KV_PUT, "k", 1, "v", 1, 0, 0);
    for (int round = 0; round < 3; round++) {
        do {
            for (uint32_t i = 0; i < LS_BURST; i++) {
                commands[i] =
                    (struct ls_command){.seq = rig->seq + 1 + i, .time = 0, .operation = op.bytes, .length = op.length};
                results[i] = (struct ls_result){.status = 0xffff, .bytes = room[i]};
            }
            done = ls_kv.apply(rig->machine, commands, LS_BURST, results);
            for (uint32_t i = 0; i < LS_BURST; i++)
                assert_int_equal(results[i].status, i < done ? LS_STATUS_OK : 0xffff);
            rig->seq += done;
            assert_true(rig->seq < 1000000);
        } while (done == LS_BURST);
        assert_int_equal(ls_kv.apply(rig->machine, commands + done, LS_BURST - done, results), 0);
        rig_grace(rig);
    }
    op_free(&op);
    assert_string_equal(rig_get(rig, "k"), "v");
}

static void bursts_are_seen_whole(void **state)
{
    struct rig *rig = *state;
    uint8_t room[2][LS_RESULT_MAX];
    struct ls_result results[2] = {{.bytes = room[0]}, {.bytes = room[1]}};
    struct op ops[2];
    struct ls_command commands[2];

    op_mutation(&ops[0], LS_KV_PUT, "k", 1, "1", 1, 0, 0);
    op_mutation(&ops[1], LS_KV_APPEND, "k", 1, "2", 1, 0, 0);
    for (int i = 0; i < 2; i++)
        commands[i] =
            (struct ls_command){.seq = 1 + (uint64_t)i, .time = 5, .operation = ops[i].bytes, .length = ops[i].length};
    assert_int_equal(ls_kv.apply(rig->machine, commands, 2, results), 2);
    assert_string_equal(rig_get(rig, "k"), "12");
    op_free(&ops[0]);
    op_free(&ops[1]);
}

static void digest_is_of_the_state_not_of_its_history(void **state)
{
    struct rig *a = *state, b;
    uint64_t empty = ls_kv.digest(a->machine);

    rig_open(&b, 1000, 1024 * 1024);
    assert_int_equal(ls_kv.digest(b.machine), empty);
    rig_put(a, "x", "1");
    rig_put(a, "y", "2");
    b.seq = 1;
    rig_put(&b, "y", "2");
    assert_int_not_equal(ls_kv.digest(a->machine), ls_kv.digest(b.machine));
    rig_delete(a, "x");
    assert_int_equal(ls_kv.digest(a->machine), ls_kv.digest(b.machine));
    a->seq = b.seq = 10;
    rig_put(a, "z", "1");
    rig_put(&b, "z", "2");
    assert_int_not_equal(ls_kv.digest(a->machine), ls_kv.digest(b.machine)); /* value */
    a->seq = 20;
    b.seq = 21;
    rig_put(a, "z", "1");
    rig_put(&b, "z", "1");
    assert_int_not_equal(ls_kv.digest(a->machine), ls_kv.digest(b.machine)); /* version */
    a->seq = b.seq = 30;
    rig_mutate(a, LS_KV_PUT, "z", "1", 0, 5);
    rig_mutate(&b, LS_KV_PUT, "z", "1", 0, 6);
    assert_int_not_equal(ls_kv.digest(a->machine), ls_kv.digest(b.machine)); /* expiry */
    rig_delete(a, "z");
    rig_delete(&b, "z");
    rig_delete(a, "y");
    rig_delete(&b, "y");
    assert_int_equal(ls_kv.digest(a->machine), empty);
    assert_int_equal(ls_kv.digest(b.machine), empty);
    rig_close(&b);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(put_stores_and_replaces),
        T(keys_are_bytes),
        T(delete_says_what_was_there),
        T(cas_compares_versions),
        T(incr_counts),
        T(incr_knows_its_range),
        T(incr_refuses_what_is_no_number),
        T(append_grows),
        T(values_of_all_sizes),
        T(append_over_all_sizes),
        T(batch_does_all),
        T(batch_does_all_or_nothing),
        T(batch_has_a_bound_of_bytes),
        T(largest_batch),
        T(limits_count_keys_and_bytes),
        T(limits_in_a_batch_count_in_order),
        T(short_of_memory_it_stops_and_goes_on),
        T(bursts_are_seen_whole),
        T(digest_is_of_the_state_not_of_its_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
