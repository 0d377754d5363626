/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests dataplane/client/kv.c: what the builders write, and what the parsers refuse. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <lockstep/client_kv.h>

#define TEXT(text) ((struct ls_kv_bytes){(text), sizeof(text) - 1})

static uint8_t memory[4096];
static char long_key[LS_KV_KEY_MAX + 2];

static const struct ls_kv_op *op(void)
{
    return (const struct ls_kv_op *)memory;
}

static void mutations_are_built(void **state)
{
    assert_int_equal(ls_kv_build_put(memory, sizeof(memory), TEXT("key"), TEXT("value"), 9), 40);
    assert_int_equal(op()->code, LS_KV_PUT);
    assert_int_equal(op()->ttl, 9);
    assert_int_equal(op()->key_length, 3);
    assert_int_equal(op()->value_length, 5);
    assert_memory_equal(memory + 32, "keyvalue", 8);
    assert_int_equal(ls_kv_build_cas(memory, sizeof(memory), TEXT("k"), TEXT(""), 77, 0), 33);
    assert_int_equal(op()->argument, 77);
    assert_int_equal(ls_kv_build_delete(memory, sizeof(memory), TEXT("k")), 33);
    assert_int_equal(op()->code, LS_KV_DELETE);
    assert_int_equal(ls_kv_build_cas_delete(memory, sizeof(memory), TEXT("k"), 5), 33);
    assert_int_equal(op()->code, LS_KV_CAS_DELETE);
    assert_int_equal(ls_kv_build_incr(memory, sizeof(memory), TEXT("k"), -3), 33);
    assert_int_equal((int64_t)op()->argument, -3);
    assert_int_equal(ls_kv_build_append(memory, sizeof(memory), TEXT("k"), TEXT("v")), 34);
    assert_int_equal(op()->code, LS_KV_APPEND);
}

static void reads_are_built(void **state)
{
    assert_int_equal(ls_kv_build_get(memory, sizeof(memory), TEXT("k")), 33);
    assert_int_equal(op()->code, LS_KV_GET);
    assert_int_equal(ls_kv_build_get_part(memory, sizeof(memory), TEXT("k"), 8, 1288), 33);
    assert_int_equal(op()->offset, 1288);
    assert_int_equal(op()->argument, 8);
    const struct ls_kv_bytes keys[] = {TEXT("one"), TEXT("three")};
    assert_int_equal(ls_kv_build_multi_get(memory, sizeof(memory), keys, 2), 32 + 2 + 3 + 2 + 5);
    assert_int_equal(op()->count, 2);
    assert_memory_equal(memory + 32, "\3\0one\5\0three", 12);
    assert_int_equal(ls_kv_build_scan(memory, sizeof(memory), TEXT("a"), TEXT("bc"), 64, LS_KV_SCAN_KEYS_ONLY), 35);
    assert_int_equal(op()->count, 64);
    assert_int_equal(op()->flags, LS_KV_SCAN_KEYS_ONLY);
    assert_memory_equal(memory + 32, "abc", 3);
    /* behind the longest key */
    const struct ls_kv_bytes behind = {long_key, LS_KV_KEY_MAX + 1};
    assert_int_equal(ls_kv_build_scan(memory, sizeof(memory), behind, TEXT(""), 1, 0), 32 + LS_KV_KEY_MAX + 1);
}

static void builders_refuse(void **state)
{
    const struct ls_kv_bytes longer = {long_key, LS_KV_KEY_MAX + 1};
    const struct ls_kv_bytes beyond = {long_key, LS_KV_KEY_MAX + 2};
    const struct ls_kv_bytes huge = {memory, LS_KV_VALUE_MAX + 1};
    assert_int_equal(ls_kv_build_put(memory, sizeof(memory), TEXT(""), TEXT("v"), 0), -EINVAL);
    assert_int_equal(ls_kv_build_put(memory, sizeof(memory), longer, TEXT("v"), 0), -EINVAL);
    assert_int_equal(ls_kv_build_put(memory, sizeof(memory), TEXT("k"), huge, 0), -EMSGSIZE);
    assert_int_equal(ls_kv_build_put(memory, 33, TEXT("k"), TEXT("v"), 0), -EMSGSIZE);
    assert_int_equal(ls_kv_build_get(memory, 32, TEXT("k")), -EMSGSIZE);
    assert_int_equal(ls_kv_build_multi_get(memory, sizeof(memory), NULL, 0), -EINVAL);
    assert_int_equal(ls_kv_build_multi_get(memory, sizeof(memory), &longer, 1), -EINVAL);
    const struct ls_kv_bytes key = TEXT("key");
    assert_int_equal(ls_kv_build_multi_get(memory, 36, &key, 1), -EMSGSIZE);
    assert_int_equal(ls_kv_build_scan(memory, sizeof(memory), beyond, TEXT(""), 1, 0), -EINVAL);
    assert_int_equal(ls_kv_build_scan(memory, sizeof(memory), TEXT(""), TEXT(""), 0, 0), -EINVAL);
    assert_int_equal(ls_kv_build_scan(memory, sizeof(memory), TEXT(""), TEXT(""), 65, 0), -EINVAL);
    assert_int_equal(ls_kv_build_scan(memory, sizeof(memory), TEXT(""), TEXT(""), 1, 0x80), -EINVAL);
}

static void batches_are_built(void **state)
{
    struct ls_kv_batch batch;
    uint8_t mutation[128];
    assert_int_equal(ls_kv_batch_begin(&batch, memory, 31), -EMSGSIZE);
    assert_int_equal(ls_kv_batch_begin(&batch, memory, sizeof(memory)), 0);
    assert_int_equal(ls_kv_batch_end(&batch), -EINVAL); /* empty */
    int length = ls_kv_build_put(mutation, sizeof(mutation), TEXT("k"), TEXT("vv"), 0);
    memset(memory, 0xff, sizeof(memory));
    assert_int_equal(ls_kv_batch_add(&batch, mutation, (size_t)length), 0);
    assert_int_equal(ls_kv_batch_add(&batch, mutation, (size_t)length - 1), -EINVAL);
    int read = ls_kv_build_get(mutation, sizeof(mutation), TEXT("k"));
    assert_int_equal(ls_kv_batch_add(&batch, mutation, (size_t)read), -EINVAL);
    assert_int_equal(ls_kv_batch_end(&batch), 32 + 40);
    assert_int_equal(op()->code, LS_KV_BATCH);
    assert_int_equal(op()->count, 1);
    assert_memory_equal(memory + 32 + 35, "\0\0\0\0\0", 5);
    /* no batch in a batch */
    memcpy(mutation, memory, 72);
    assert_int_equal(ls_kv_batch_add(&batch, mutation, 72), -EINVAL);
    length = ls_kv_build_delete(mutation, sizeof(mutation), TEXT("k"));
    for (int i = 1; i < LS_KV_BATCH_MAX; i++)
        assert_int_equal(ls_kv_batch_add(&batch, mutation, (size_t)length), 0);
    assert_int_equal(ls_kv_batch_add(&batch, mutation, (size_t)length), -E2BIG);
    assert_int_equal(ls_kv_batch_begin(&batch, memory, 71), 0);
    assert_int_equal(ls_kv_batch_add(&batch, mutation, (size_t)length), -EMSGSIZE);
}

static void results_are_parsed(void **state)
{
    const struct ls_kv_result in = {.version = 5, .number = 6, .index = 7};
    struct ls_kv_result out;
    assert_int_equal(ls_kv_parse_result(&in, sizeof(in), &out), 0);
    assert_int_equal(out.number, 6);
    assert_int_equal(ls_kv_parse_result(&in, sizeof(in) - 1, &out), -EBADMSG);

    struct {
        struct ls_kv_value head;
        char bytes[5];
    } LS_PACKED value = {{.version = 1, .total = 10, .offset = 5, .length = 5}, "12345"};
    struct ls_kv_value head;
    struct ls_kv_bytes bytes;
    assert_int_equal(ls_kv_parse_value(&value, sizeof(value), &head, &bytes), 0);
    assert_int_equal(bytes.length, 5);
    assert_memory_equal(bytes.bytes, "12345", 5);
    assert_int_equal(ls_kv_parse_value(&value, sizeof(value) - 1, &head, &bytes), -EBADMSG);
    assert_int_equal(ls_kv_parse_value(&value, 4, &head, &bytes), -EBADMSG);
    value.head.offset = 6; /* 6 + 5 > 10 */
    assert_int_equal(ls_kv_parse_value(&value, sizeof(value), &head, &bytes), -EBADMSG);
    value.head.offset = UINT32_MAX;
    assert_int_equal(ls_kv_parse_value(&value, sizeof(value), &head, &bytes), -EBADMSG);
    value.head.total = LS_KV_VALUE_MAX + 1;
    value.head.offset = 0;
    assert_int_equal(ls_kv_parse_value(&value, sizeof(value), &head, &bytes), -EBADMSG);
}

static void pages_are_walked(void **state)
{
    struct {
        struct ls_kv_page page;
        struct ls_kv_record a;
        char a_bytes[8];
        struct ls_kv_record b;
    } LS_PACKED page = {.page = {.count = 2, .more = 1},
                        .a = {.version = 3, .total = 4, .length = 4, .key_length = 1, .status = LS_STATUS_OK},
                        .a_bytes = "kabcd",
                        .b = {.status = LS_STATUS_NOT_FOUND}};
    struct ls_kv_walk walk;
    struct ls_kv_item item;
    assert_int_equal(ls_kv_walk_begin(&walk, &page, sizeof(page)), 0);
    assert_true(walk.more);
    assert_int_equal(ls_kv_walk_next(&walk, &item), 1);
    assert_memory_equal(item.key.bytes, "k", 1);
    assert_memory_equal(item.value.bytes, "abcd", 4);
    assert_int_equal(ls_kv_walk_next(&walk, &item), 1);
    assert_int_equal(item.status, LS_STATUS_NOT_FOUND);
    assert_int_equal(ls_kv_walk_next(&walk, &item), 0);
    /* every truncation is noticed */
    for (size_t length = 0; length < sizeof(page); length++) {
        int rc = ls_kv_walk_begin(&walk, &page, length);
        while (rc == 0 && (rc = ls_kv_walk_next(&walk, &item)) == 1)
            rc = 0;
        assert_int_equal(rc, -EBADMSG);
    }
    page.page.count = 1; /* bytes behind the last record */
    assert_int_equal(ls_kv_walk_begin(&walk, &page, sizeof(page)), 0);
    assert_int_equal(ls_kv_walk_next(&walk, &item), 1);
    assert_int_equal(ls_kv_walk_next(&walk, &item), -EBADMSG);
    page.page.count = 2;
    page.a.length = UINT32_MAX;
    page.a.total = UINT32_MAX;
    assert_int_equal(ls_kv_walk_begin(&walk, &page, sizeof(page)), 0);
    assert_int_equal(ls_kv_walk_next(&walk, &item), -EBADMSG);
    page.a.length = 5; /* more than the value has */
    page.a.total = 4;
    assert_int_equal(ls_kv_walk_begin(&walk, &page, sizeof(page)), 0);
    assert_int_equal(ls_kv_walk_next(&walk, &item), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mutations_are_built), cmocka_unit_test(reads_are_built),    cmocka_unit_test(builders_refuse),
        cmocka_unit_test(batches_are_built),   cmocka_unit_test(results_are_parsed), cmocka_unit_test(pages_are_walked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
