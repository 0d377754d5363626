/* SPDX-License-Identifier: BSD-3-Clause */
/* Operations as an enemy would write them: refused by name, without a trace in the state. */
#include "rig.h"

static int setup(void **state)
{
    static struct rig rig;
    rig_open(&rig, 1000, 1024 * 1024);
    rig_put(&rig, "k", "v");
    *state = &rig;
    return 0;
}

static int teardown(void **state)
{
    rig_close(*state);
    return 0;
}

/* The status of an operation that must not change anything. */
static uint16_t refused(struct rig *rig, const void *bytes, uint32_t length)
{
    uint64_t digest = ls_kv.digest(rig->machine);
    uint16_t status = rig_apply(rig, bytes, length);
    assert_int_equal(ls_kv.digest(rig->machine), digest);
    return status;
}

static void every_truncation(void **state)
{
    struct rig *rig = *state;
    struct op op;

    op_mutation(&op, LS_KV_PUT, "key", 3, "value", 5, 0, 0);
    for (uint32_t n = 0; n < op.length; n++)
        assert_int_equal(refused(rig, op.bytes, n), LS_STATUS_BAD_OPERATION);
    op_free(&op);
    op_batch(&op);
    op_batch_add(&op, LS_KV_PUT, "key", 3, "value", 5, 0, 0);
    op_batch_add(&op, LS_KV_PUT, "key2", 4, "value", 5, 0, 0);
    for (uint32_t n = 0; n < op.length; n++)
        assert_int_equal(refused(rig, op.bytes, n), LS_STATUS_BAD_OPERATION);
    op_free(&op);
}

static void bytes_behind_the_end(void **state)
{
    struct rig *rig = *state;
    struct op op;

    op_mutation(&op, LS_KV_PUT, "key", 3, "value", 5, 0, 0);
    op.bytes = realloc(op.bytes, op.length + 8);
    memset(op.bytes + op.length, 0, 8);
    assert_int_equal(refused(rig, op.bytes, op.length + 1), LS_STATUS_BAD_OPERATION);
    op_free(&op);
    op_batch(&op);
    op_batch_add(&op, LS_KV_PUT, "key", 3, "value", 5, 0, 0);
    op.bytes = realloc(op.bytes, op.length + 8);
    memset(op.bytes + op.length, 0, 8);
    assert_int_equal(refused(rig, op.bytes, op.length + 8), LS_STATUS_BAD_OPERATION);
    op_free(&op);
}

static void unknown_codes(void **state)
{
    struct rig *rig = *state;
    struct op op;

    for (int code = 0; code < 256; code++) {
        if (code >= LS_KV_PUT && code <= LS_KV_CAS_DELETE)
            continue;
        op_mutation(&op, (uint8_t)code, "k", 1, "", 0, 0, 0); /* reads are no mutations either */
        assert_int_equal(refused(rig, op.bytes, op.length), LS_STATUS_UNSUPPORTED);
        op_free(&op);
        op_batch(&op);
        op_batch_add(&op, LS_KV_PUT, "a", 1, "", 0, 0, 0);
        op_batch_add(&op, (uint8_t)code, "k", 1, "", 0, 0, 0);
        assert_int_equal(refused(rig, op.bytes, op.length), LS_STATUS_UNSUPPORTED);
        assert_int_equal(rig->result.index, 1);
        op_free(&op);
    }
}

/* Changes one field of a well-formed operation. */
static uint16_t with_field(struct rig *rig, uint8_t code, size_t offset, size_t size, uint64_t value)
{
    struct op op;
    uint16_t status;

    op_mutation(&op, code, "k", 1, "", 0, 0, 0);
    memcpy(op.bytes + offset, &value, size);
    status = refused(rig, op.bytes, op.length);
    op_free(&op);
    return status;
}
#define WITH_FIELD(rig, code, field, value)                                                                            \
    with_field(rig, code, offsetof(struct ls_kv_op, field), sizeof(((struct ls_kv_op *)0)->field), value)

static void fields_that_must_be_zero(void **state)
{
    struct rig *rig = *state;

    for (uint8_t code = LS_KV_PUT; code <= LS_KV_CAS_DELETE; code++) {
        if (code == LS_KV_BATCH)
            continue;
        assert_int_equal(WITH_FIELD(rig, code, flags, 1), LS_STATUS_BAD_OPERATION);
        assert_int_equal(WITH_FIELD(rig, code, offset, 1), LS_STATUS_BAD_OPERATION);
        assert_int_equal(WITH_FIELD(rig, code, count, 1), LS_STATUS_BAD_OPERATION);
        assert_int_equal(WITH_FIELD(rig, code, zero, 1), LS_STATUS_BAD_OPERATION);
        assert_int_equal(WITH_FIELD(rig, code, key_length, 0), LS_STATUS_BAD_OPERATION);
        assert_int_equal(WITH_FIELD(rig, code, key_length, 2), LS_STATUS_BAD_OPERATION);
        assert_int_equal(WITH_FIELD(rig, code, key_length, LS_KV_KEY_MAX + 1), LS_STATUS_TOO_LARGE);
        assert_int_equal(WITH_FIELD(rig, code, value_length, 1), LS_STATUS_BAD_OPERATION);
        if (code != LS_KV_CAS && code != LS_KV_INCR && code != LS_KV_CAS_DELETE)
            assert_int_equal(WITH_FIELD(rig, code, argument, 1), LS_STATUS_BAD_OPERATION);
        if (code != LS_KV_PUT && code != LS_KV_CAS)
            assert_int_equal(WITH_FIELD(rig, code, ttl, 1), LS_STATUS_BAD_OPERATION);
    }
    assert_int_equal(WITH_FIELD(rig, LS_KV_PUT, value_length, UINT32_MAX), LS_STATUS_TOO_LARGE);
    assert_int_equal(WITH_FIELD(rig, LS_KV_PUT, value_length, LS_KV_VALUE_MAX), LS_STATUS_BAD_OPERATION);
}

static void bad_batches(void **state)
{
    struct rig *rig = *state;
    struct op op, inner;
    struct ls_kv_op head;

    op_batch(&op);
    assert_int_equal(refused(rig, op.bytes, op.length), LS_STATUS_BAD_OPERATION); /* empty */
    op_free(&op);

    op_batch(&op);
    op_batch_add(&op, LS_KV_PUT, "a", 1, "", 0, 0, 0);
    op_batch_add(&op, LS_KV_PUT, "b", 1, "", 0, 0, 0);
    op_batch_add(&op, LS_KV_DELETE, "a", 1, "", 0, 0, 0);
    assert_int_equal(refused(rig, op.bytes, op.length), LS_STATUS_BAD_OPERATION); /* a key twice */
    assert_int_equal(rig->result.index, 2);
    op_free(&op);

    op_batch(&op);
    op_batch_add(&op, LS_KV_PUT, "a", 1, "", 0, 0, 0);
    op.bytes[op.length - 1] = 1;
    assert_int_equal(refused(rig, op.bytes, op.length), LS_STATUS_BAD_OPERATION); /* padding */
    op.bytes[op.length - 1] = 0;
    memcpy(&head, op.bytes, sizeof(head));
    head.argument = 1;
    memcpy(op.bytes, &head, sizeof(head));
    assert_int_equal(refused(rig, op.bytes, op.length), LS_STATUS_BAD_OPERATION); /* a field of its own head */
    head.argument = 0;
    head.count = 2;
    memcpy(op.bytes, &head, sizeof(head));
    assert_int_equal(refused(rig, op.bytes, op.length), LS_STATUS_BAD_OPERATION); /* one is missing */
    op_free(&op);

    op_batch(&inner);
    op_batch_add(&inner, LS_KV_PUT, "a", 1, "", 0, 0, 0);
    op_batch(&op);
    op_batch_add(&op, LS_KV_BATCH, "k", 1, "", 0, 0, 0);
    assert_int_equal(refused(rig, op.bytes, op.length), LS_STATUS_BAD_OPERATION); /* a batch in a batch */
    op_free(&op);
    op_free(&inner);
}

/* Good operations with some bytes changed, and plain noise, to apply() and read(): an answer that is in the list, and
 * a state that a scan can still walk. Sanitizers see what else could go wrong. */
static void noise(void **state)
{
    struct rig *rig = *state;
    struct rng rng = {.state = rng_seed(7)};
    struct answer answer;
    struct op op;

    for (int i = 0; i < 30000; i++) {
        uint8_t code = (uint8_t)(1 + rng_below(&rng, 40));
        switch (rng_below(&rng, 5)) {
        case 0:
            op_batch(&op);
            for (uint64_t n = rng_below(&rng, 5); n > 0; n--)
                op_batch_add(&op, (uint8_t)(1 + rng_below(&rng, 7)), "abcdefgh", (uint32_t)rng_below(&rng, 9),
                             "0123456789", (uint32_t)rng_below(&rng, 11), rng_below(&rng, 2), rng_below(&rng, 2));
            break;
        case 1:
            op_multi(&op);
            for (uint64_t n = rng_below(&rng, 5); n > 0; n--)
                op_multi_add(&op, "abcdefgh", (uint32_t)rng_below(&rng, 9));
            break;
        case 2:
            op_scan(&op, "abcdefgh", (uint32_t)rng_below(&rng, 9), "bcd", (uint32_t)rng_below(&rng, 4),
                    (uint16_t)rng_below(&rng, 70), (uint8_t)rng_below(&rng, 2));
            break;
        default:
            op_mutation(&op, code, "abcdefgh", (uint32_t)rng_below(&rng, 9), "0123456789",
                        (uint32_t)rng_below(&rng, 11), rng_below(&rng, 2), rng_below(&rng, 2));
        }
        for (uint64_t n = rng_below(&rng, 4); n > 0; n--)
            op.bytes[rng_below(&rng, op.length)] = (uint8_t)rng_next(&rng);
        if (rng_below(&rng, 4) == 0)
            op.length = (uint32_t)rng_below(&rng, op.length + 1);
        assert_true(rig_apply(rig, op.bytes, op.length) <= LS_STATUS_OVERFLOW);
        rig_read(rig, op.bytes, op.length, (uint32_t)rng_below(&rng, LS_READ_RESULT_MAX), &answer);
        assert_true(answer.status <= LS_STATUS_LARGE_VALUE);
        op_free(&op);
        if (i % 1000 == 0)
            rig_grace(rig);
    }
    assert_non_null(rig_scan(rig, "", ""));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(every_truncation), T(bytes_behind_the_end),     T(unknown_codes),
        T(bad_batches),      T(fields_that_must_be_zero), T(noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
