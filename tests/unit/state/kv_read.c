/* SPDX-License-Identifier: BSD-3-Clause */
/* Get, parts, multi-get and scan: what fits into one answer, and how a client goes on. */
#include "rig.h"

static int setup(void **state)
{
    static struct rig rig;
    rig_open(&rig, 5000, 8 * 1024 * 1024);
    *state = &rig;
    return 0;
}

static int teardown(void **state)
{
    rig_close(*state);
    return 0;
}

static struct ls_kv_value value_of(const struct answer *answer)
{
    struct ls_kv_value value;
    assert_true(answer->length >= sizeof(value));
    memcpy(&value, answer->bytes, sizeof(value));
    return value;
}

/* The i-th record of a page; *at: where it begins. */
static struct ls_kv_record record_of(const struct answer *answer, uint32_t i, uint32_t *at)
{
    struct ls_kv_record record = {0};
    *at = sizeof(struct ls_kv_page);
    for (uint32_t n = 0;; n++) {
        assert_true(*at + sizeof(record) <= answer->length);
        memcpy(&record, answer->bytes + *at, sizeof(record));
        if (n == i)
            return record;
        *at += ls_pad8((uint32_t)sizeof(record) + record.key_length + record.length);
    }
}

static struct ls_kv_page page_of(const struct answer *answer)
{
    struct ls_kv_page page;
    assert_int_equal(answer->status, LS_STATUS_OK);
    assert_true(answer->length >= sizeof(page));
    memcpy(&page, answer->bytes, sizeof(page));
    return page;
}

static void get_says_version_expiry_and_seq(void **state)
{
    struct rig *rig = *state;
    struct answer answer;
    struct op op;

    rig->time = 100;
    rig_mutate(rig, LS_KV_PUT, "k", "value", 0, 50);
    rig_tick(rig, 101);
    op_read(&op, LS_KV_GET, "k", 1, 0, 0);
    rig_read_op(rig, &op, LS_READ_RESULT_MAX, &answer);
    assert_int_equal(answer.status, LS_STATUS_OK);
    assert_int_equal(answer.seq, 2);
    assert_int_equal(value_of(&answer).version, 1);
    assert_int_equal(value_of(&answer).expiry, 150);
    assert_int_equal(value_of(&answer).total, 5);
    op_read(&op, LS_KV_GET, "x", 1, 0, 0);
    rig_read_op(rig, &op, LS_READ_RESULT_MAX, &answer);
    assert_int_equal(answer.status, LS_STATUS_NOT_FOUND);
    assert_int_equal(answer.seq, 2);
    assert_int_equal(answer.length, 0);
}

static void parts_are_of_one_version(void **state)
{
    struct rig *rig = *state;
    struct answer answer;
    struct op op;

    rig_put(rig, "k", "0123456789");
    op_read(&op, LS_KV_GET, "k", 1, 0, 0);
    rig_read_op(rig, &op, sizeof(struct ls_kv_value) + 4, &answer);
    assert_int_equal(answer.status, LS_STATUS_LARGE_VALUE);
    assert_int_equal(value_of(&answer).length, 4);
    op_read(&op, LS_KV_GET_PART, "k", 1, 1, 4);
    rig_read_op(rig, &op, sizeof(struct ls_kv_value) + 4, &answer);
    assert_int_equal(answer.status, LS_STATUS_LARGE_VALUE);
    assert_memory_equal(answer.bytes + sizeof(struct ls_kv_value), "4567", 4);
    op_read(&op, LS_KV_GET_PART, "k", 1, 1, 8);
    rig_read_op(rig, &op, sizeof(struct ls_kv_value) + 4, &answer);
    assert_int_equal(answer.status, LS_STATUS_OK);
    assert_memory_equal(answer.bytes + sizeof(struct ls_kv_value), "89", 2);
    op_read(&op, LS_KV_GET_PART, "k", 1, 1, 10);
    rig_read_op(rig, &op, 100, &answer);
    assert_int_equal(answer.status, LS_STATUS_OK);
    assert_int_equal(value_of(&answer).length, 0);
    op_read(&op, LS_KV_GET_PART, "k", 1, 1, 11);
    rig_read_op(rig, &op, 100, &answer);
    assert_int_equal(answer.status, LS_STATUS_BAD_OPERATION);
    rig_put(rig, "k", "9876543210");
    op_read(&op, LS_KV_GET_PART, "k", 1, 1, 8);
    rig_read_op(rig, &op, 100, &answer);
    assert_int_equal(answer.status, LS_STATUS_VERSION_GONE);
    op_read(&op, LS_KV_GET_PART, "none", 4, 1, 0);
    rig_read_op(rig, &op, 100, &answer);
    assert_int_equal(answer.status, LS_STATUS_VERSION_GONE);
}

static void multi_get_answers_what_fits(void **state)
{
    struct rig *rig = *state;
    struct answer answer;
    char big[600];
    uint32_t at;
    struct op op;

    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = 0;
    rig_put(rig, "a", "A");
    rig_put(rig, "b", big);
    rig_put(rig, "c", big);
    rig_put(rig, "d", big);
    op_multi(&op);
    op_multi_add(&op, "a", 1);
    op_multi_add(&op, "none", 4);
    op_multi_add(&op, "b", 1);
    op_multi_add(&op, "c", 1);
    op_multi_add(&op, "d", 1);
    rig_read_op(rig, &op, LS_READ_RESULT_MAX, &answer);
    assert_int_equal(page_of(&answer).count, 4);
    assert_int_equal(page_of(&answer).more, 1);
    assert_int_equal(record_of(&answer, 0, &at).version, 1);
    assert_int_equal(record_of(&answer, 0, &at).key_length, 0);
    assert_memory_equal(answer.bytes + at + sizeof(struct ls_kv_record), "A\0\0\0\0\0\0", 8);
    assert_int_equal(record_of(&answer, 1, &at).version, 0);
    assert_int_equal(record_of(&answer, 1, &at).status, LS_STATUS_NOT_FOUND);
    assert_int_equal(record_of(&answer, 2, &at).length, 599);
    op_multi(&op);
    op_multi_add(&op, "c", 1);
    rig_read_op(rig, &op, 300, &answer); /* a value that no answer of this size could hold */
    assert_int_equal(page_of(&answer).count, 1);
    assert_int_equal(page_of(&answer).more, 0);
    assert_int_equal(record_of(&answer, 0, &at).status, LS_STATUS_LARGE_VALUE);
    assert_int_equal(record_of(&answer, 0, &at).total, 599);
    assert_int_equal(record_of(&answer, 0, &at).length, 0);
    op_multi(&op);
    op_multi_add(&op, "c", 1);
    rig_read_op(rig, &op, 20, &answer);
    assert_int_equal(answer.status, LS_STATUS_TOO_LARGE);
}

static void multi_get_of_the_most_keys(void **state)
{
    struct rig *rig = *state;
    struct answer answer;
    char key[8];
    uint32_t at;

    for (int i = 0; i < 65; i++) {
        snprintf(key, sizeof(key), "%d", i);
        rig_put(rig, key, key);
    }
    for (int count = 64; count <= 65; count++) {
        struct op op;
        op_multi(&op);
        for (int i = 0; i < count; i++) {
            snprintf(key, sizeof(key), "%d", i);
            op_multi_add(&op, key, (uint32_t)strlen(key));
        }
        rig_read_op(rig, &op, 4096, &answer);
        assert_int_equal(answer.status, count == 64 ? LS_STATUS_OK : LS_STATUS_TOO_LARGE);
        if (count == 64) {
            assert_int_equal(page_of(&answer).count, 64);
            assert_int_equal(record_of(&answer, 63, &at).version, 64);
        }
    }
}

static void scan_is_in_order_of_bytes(void **state)
{
    struct rig *rig = *state;
    static const char *const keys[] = {"b", "a", "ab", "aa", "\xff", "B", "abc", "c"};

    assert_string_equal(rig_scan(rig, "", ""), "");
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        rig_put(rig, keys[i], "");
    assert_string_equal(rig_scan(rig, "", ""), "B a aa ab abc b c \xff");
    assert_string_equal(rig_scan(rig, "aa", ""), "aa ab abc b c \xff");
    assert_string_equal(rig_scan(rig, "aab", ""), "ab abc b c \xff");
    assert_string_equal(rig_scan(rig, "aa", "b"), "aa ab abc");
    assert_string_equal(rig_scan(rig, "b", "b"), "");
    assert_string_equal(rig_scan(rig, "c", "a"), "");
    assert_string_equal(rig_scan(rig, "d", "e"), "");
}

static void scan_says_whether_there_is_more(void **state)
{
    struct rig *rig = *state;
    struct answer answer;
    uint32_t at;
    struct op op;

    rig_put(rig, "a", "1");
    rig_put(rig, "b", "2");
    rig_put(rig, "c", "3");
    op_scan(&op, "", 0, "", 0, 2, 0);
    rig_read_op(rig, &op, LS_READ_RESULT_MAX, &answer);
    assert_int_equal(page_of(&answer).count, 2);
    assert_int_equal(page_of(&answer).more, 1);
    op_scan(&op, "b\0", 2, "", 0, 2, LS_KV_SCAN_KEYS_ONLY); /* behind b */
    rig_read_op(rig, &op, LS_READ_RESULT_MAX, &answer);
    assert_int_equal(page_of(&answer).count, 1);
    assert_int_equal(page_of(&answer).more, 0);
    assert_int_equal(record_of(&answer, 0, &at).total, 1);
    assert_int_equal(record_of(&answer, 0, &at).length, 0);
    assert_int_equal(record_of(&answer, 0, &at).status, LS_STATUS_OK);
    op_scan(&op, "", 0, "c", 1, 2, 0);
    rig_read_op(rig, &op, LS_READ_RESULT_MAX, &answer);
    assert_int_equal(page_of(&answer).more, 0); /* c is behind the end */
    rig_delete(rig, "c");
    op_scan(&op, "", 0, "", 0, 2, 0);
    rig_read_op(rig, &op, LS_READ_RESULT_MAX, &answer);
    assert_int_equal(page_of(&answer).more, 0); /* c is no more */
    op_scan(&op, "", 0, "", 0, 5, 0);
    rig_read_op(rig, &op, sizeof(struct ls_kv_page) + 32, &answer); /* room for one */
    assert_int_equal(page_of(&answer).count, 1);
    assert_int_equal(page_of(&answer).more, 1);
}

static void scan_behind_the_longest_key(void **state)
{
    struct rig *rig = *state;
    uint8_t key[LS_KV_KEY_MAX + 2];
    struct answer answer;
    struct op op;

    memset(key, 'z', sizeof(key));
    op_mutation(&op, LS_KV_PUT, key, LS_KV_KEY_MAX, "", 0, 0, 0);
    assert_int_equal(rig_apply_op(rig, &op), LS_STATUS_OK);
    op_scan(&op, key, LS_KV_KEY_MAX, "", 0, 1, 0);
    rig_read_op(rig, &op, LS_READ_RESULT_MAX, &answer);
    assert_int_equal(page_of(&answer).count, 1);
    key[LS_KV_KEY_MAX] = 0;
    op_scan(&op, key, LS_KV_KEY_MAX + 1, "", 0, 1, 0);
    rig_read_op(rig, &op, LS_READ_RESULT_MAX, &answer);
    assert_int_equal(page_of(&answer).count, 0);
    op_scan(&op, key, LS_KV_KEY_MAX + 2, "", 0, 1, 0);
    rig_read_op(rig, &op, LS_READ_RESULT_MAX, &answer);
    assert_int_equal(answer.status, LS_STATUS_TOO_LARGE);
}

static void scan_of_large_values(void **state)
{
    struct rig *rig = *state;
    struct answer answer;
    char big[2000];
    uint32_t at;
    struct op op;

    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = 0;
    rig_put(rig, "a", "1");
    rig_put(rig, "b", big);
    rig_put(rig, "c", "3");
    op_scan(&op, "", 0, "", 0, 5, 0);
    rig_read_op(rig, &op, LS_READ_RESULT_MAX, &answer);
    assert_int_equal(page_of(&answer).count, 3);
    assert_int_equal(record_of(&answer, 1, &at).status, LS_STATUS_LARGE_VALUE);
    assert_int_equal(record_of(&answer, 1, &at).total, 1999);
    assert_memory_equal(answer.bytes + at + sizeof(struct ls_kv_record), "b\0\0\0\0\0\0", 8);
    assert_int_equal(record_of(&answer, 2, &at).status, LS_STATUS_OK);
}

/* A scan looks at a bounded number of records, and where they are all gone it still names one to go on from. */
static void scan_gets_over_a_desert(void **state)
{
    struct rig *rig = *state;
    struct answer answer;
    char key[8];
    uint32_t at;
    struct op op;

    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof(key), "%04d", i);
        rig_mutate(rig, LS_KV_PUT, key, "", 0, 10);
    }
    rig_put(rig, "z", "oasis");
    rig->time = 10;
    rig_put(rig, "zz", "");
    op_scan(&op, "", 0, "", 0, 5, 0);
    rig_read_op(rig, &op, LS_READ_RESULT_MAX, &answer);
    assert_int_equal(page_of(&answer).count, 1);
    assert_int_equal(page_of(&answer).more, 1);
    assert_int_equal(record_of(&answer, 0, &at).status, LS_STATUS_NOT_FOUND);
    assert_int_equal(record_of(&answer, 0, &at).version, 0);
    assert_string_equal(rig_scan(rig, "", ""), "z zz");
}

static void bad_reads(void **state)
{
    struct rig *rig = *state;
    struct answer answer;
    struct op op;

    rig_put(rig, "k", "v");
    for (int code = 0; code < 256; code++) {
        if (code >= LS_KV_GET && code <= LS_KV_SCAN)
            continue;
        op_read(&op, (uint8_t)code, "k", 1, 0, 0);
        rig_read_op(rig, &op, 100, &answer);
        assert_int_equal(answer.status, LS_STATUS_UNSUPPORTED);
        assert_int_equal(answer.length, 0);
    }
    for (uint8_t code = LS_KV_GET; code <= LS_KV_SCAN; code++) {
        if (code == LS_KV_SCAN) {
            op_scan(&op, "k", 1, "l", 1, 3, 0);
        } else if (code == LS_KV_MULTI_GET) {
            op_multi(&op);
            op_multi_add(&op, "k", 1);
        } else {
            op_read(&op, code, "k", 1, code == LS_KV_GET_PART, 0);
        }
        rig_read(rig, op.bytes, op.length, 200, &answer);
        assert_int_equal(answer.status, LS_STATUS_OK);
        for (uint32_t n = 0; n < op.length; n++) { /* cut short */
            rig_read(rig, op.bytes, n, 200, &answer);
            assert_int_equal(answer.status, LS_STATUS_BAD_OPERATION);
        }
        for (size_t i = offsetof(struct ls_kv_op, ttl); i < sizeof(struct ls_kv_op); i++) { /* fields of others */
            bool own = (code == LS_KV_GET_PART && i >= offsetof(struct ls_kv_op, offset) &&
                        i < offsetof(struct ls_kv_op, count)) ||
                       (code >= LS_KV_MULTI_GET && i >= offsetof(struct ls_kv_op, count) &&
                        i < offsetof(struct ls_kv_op, zero));
            op.bytes[i] ^= 0x40;
            rig_read(rig, op.bytes, op.length, 200, &answer);
            if (!own)
                assert_int_equal(answer.status, LS_STATUS_BAD_OPERATION);
            op.bytes[i] ^= 0x40;
        }
        for (uint32_t room = 0; room < 64; room++) { /* any room */
            rig_read(rig, op.bytes, op.length, room, &answer);
            assert_true(answer.status == LS_STATUS_OK || answer.status == LS_STATUS_LARGE_VALUE ||
                        answer.status == LS_STATUS_TOO_LARGE);
        }
        op_free(&op);
    }
    op_scan(&op, "", 0, "", 0, 0, 0);
    rig_read_op(rig, &op, 100, &answer);
    assert_int_equal(answer.status, LS_STATUS_BAD_OPERATION);
    op_scan(&op, "", 0, "", 0, 65, 0);
    rig_read_op(rig, &op, 100, &answer);
    assert_int_equal(answer.status, LS_STATUS_TOO_LARGE);
    op_scan(&op, "", 0, "", 0, 1, 2);
    rig_read_op(rig, &op, 100, &answer);
    assert_int_equal(answer.status, LS_STATUS_BAD_OPERATION);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(get_says_version_expiry_and_seq), T(parts_are_of_one_version),
        T(multi_get_answers_what_fits),     T(multi_get_of_the_most_keys),
        T(scan_is_in_order_of_bytes),       T(scan_says_whether_there_is_more),
        T(scan_behind_the_longest_key),     T(scan_of_large_values),
        T(scan_gets_over_a_desert),         T(bad_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
