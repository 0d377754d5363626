/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory and work stay within bounds, whatever a checkpoint, an image or an entry asks for. Grace periods end whenever
 * asked for; nothing else comes back.
 */
#include "rig.h"

#include <errno.h>

/* Applies; -1: memory does not come back, however many grace periods end. */
static int try_apply(struct rig *rig, struct op *op, int graces)
{
    uint8_t room[LS_RESULT_MAX];
    struct ls_result result = {.status = 0xffff, .bytes = room};
    struct ls_command command = {.seq = rig->seq + 1, .time = rig->time, .operation = op->bytes, .length = op->length};

    for (int i = 0; ls_kv.apply(rig->machine, &command, 1, &result) == 0; i++) {
        if (i >= graces) {
            op_free(op);
            return -1;
        }
        rig_grace(rig);
    }
    rig->seq++;
    op_free(op);
    return result.status;
}

static int try_mutation(struct rig *rig, uint8_t code, const char *form, int i, const char *value, int graces)
{
    char key[100];
    struct op op;
    uint32_t n = (uint32_t)snprintf(key, sizeof(key), form, i);
    op_mutation(&op, code, key, n, value, (uint32_t)strlen(value), 0, 0);
    return try_apply(rig, &op, graces);
}

/* A checkpoint whose walker is slow (a slow disk or network): deleted keys hold two versions each, the parked one and
 * the deferred record's tombstone; the pool is sized for one. Not one version over the reserve, nothing cancelled. */
static void a_slow_checkpoint_never_stops_apply(void **state)
{
    enum { KEYS = 16384, HELD = KEYS / 2 + 1024 };
    struct rig rig;
    int stalled_at = -1;

    (void)state;
    rig_open(&rig, KEYS, 64 * 1024 * 1024);
    for (int i = 0; i < KEYS; i++)
        assert_int_equal(try_mutation(&rig, LS_KV_PUT, "%06d", i, "v", 100), LS_STATUS_OK);
    rig_grace(&rig);
    assert_int_equal(ls_kv.checkpoint_begin(rig.machine), 0);
    for (int i = 0; i < HELD; i++)
        assert_int_equal(try_mutation(&rig, LS_KV_DELETE, "%06d", i, "", 100), LS_STATUS_OK);
    for (int i = 0; i < 20; i++)
        rig_grace(&rig);
    for (int i = 0; i < HELD && stalled_at < 0; i++) {
        int status = try_mutation(&rig, LS_KV_PUT, "new-%06d", i, "v", 1000);
        if (status < 0)
            stalled_at = i;
        else
            assert_int_equal(status, LS_STATUS_OK);
    }
    assert_int_equal(stalled_at, -1);
    ls_kv.checkpoint_end(rig.machine);
    rig_close(&rig);
}

/* An image whose limits are larger than this node's memory, but whose contents fit (today). */
static void limits_of_an_image_beyond_the_node_s_memory_are_refused(void **state)
{
    struct rig large, small;
    struct image image;
    int error;

    (void)state;
    rig_open(&large, 100000, 256 * 1024 * 1024);
    rig_put(&large, "k", "v");
    image_init(&image);
    rig_checkpoint(&large, &image);
    rig_open(&small, 10, 1 << 20);
    error = rig_restore(&small, &image);
    assert_int_equal(error, -ENOSPC);
    image_free(&image);
    rig_close(&small);
    rig_close(&large);
}

static void limits_beyond_the_node_s_memory_are_not_taken(void **state)
{
    struct rig rig;
    (void)state;
    rig_open(&rig, 10, 1 << 20);
    assert_false(ls_kv.set_limits(rig.machine, &(struct ls_machine_limits){.keys = 11, .bytes = 1 << 20}));
    assert_false(ls_kv.set_limits(rig.machine, &(struct ls_machine_limits){.keys = 10, .bytes = (1 << 20) + 1}));
    for (int i = 0; i < 11; i++)
        assert_int_equal(try_mutation(&rig, LS_KV_PUT, "%06d", i, "v", 0),
                         i < 10 ? LS_STATUS_OK : LS_STATUS_NO_SPACE); /* as they were */
    assert_true(ls_kv.set_limits(rig.machine, &(struct ls_machine_limits){.keys = 5, .bytes = 1 << 20}));
    rig_close(&rig);
}

/* checkpoint_end() must leave places on the retire list for the next entry: there is memory enough. */
static void the_end_of_a_checkpoint_leaves_room_for_apply(void **state)
{
    enum { KEYS = 8192 };
    struct rig rig;

    (void)state;
    rig_open(&rig, KEYS, 64 * 1024 * 1024);
    for (int i = 0; i < 4500; i++)
        assert_int_equal(try_mutation(&rig, LS_KV_PUT, "%06d", i, "v", 100), LS_STATUS_OK);
    rig_grace(&rig);
    assert_int_equal(ls_kv.checkpoint_begin(rig.machine), 0);
    for (int i = 0; i < 4500; i++)
        assert_int_equal(try_mutation(&rig, LS_KV_PUT, "%06d", i, "w", 100), LS_STATUS_OK);
    for (int i = 0; i < 20; i++)
        rig_grace(&rig); /* nothing but the checkpoint holds anything */
    ls_kv.checkpoint_end(rig.machine);
    int status = try_mutation(&rig, LS_KV_PUT, "%06d", 1, "x", 0); /* no grace period has ended yet */
    assert_int_equal(status, LS_STATUS_OK);
    rig_close(&rig);
}

/* Entries of 350 bytes that copy 8 MiB each: one call does not execute a burst of them. */
static void a_call_is_a_bounded_amount_of_work(void **state)
{
    struct rig rig;
    struct op op;
    uint8_t *value = calloc(1, LS_KV_VALUE_MAX), room[LS_BURST][LS_RESULT_MAX];
    struct ls_command commands[LS_BURST];
    struct ls_result results[LS_BURST];

    (void)state;
    assert_non_null(value);
    rig_open(&rig, 1000, 64 << 20);
    for (int i = 0; i < 8; i++) {
        char key[2] = {'k', (char)('0' + i)};
        op_mutation(&op, LS_KV_PUT, key, 2, value, LS_KV_VALUE_MAX - 1000, 0, 0);
        assert_int_equal(try_apply(&rig, &op, 10), LS_STATUS_OK);
    }
    op_batch(&op);
    for (int i = 0; i < 8; i++) {
        char key[2] = {'k', (char)('0' + i)};
        op_batch_add(&op, LS_KV_APPEND, key, 2, "x", 1, 0, 0);
    }
    for (uint32_t i = 0; i < LS_BURST; i++) {
        results[i] = (struct ls_result){.bytes = room[i]};
        commands[i] = (struct ls_command){.seq = rig.seq + 1 + i, .operation = op.bytes, .length = op.length};
    }
    assert_int_equal(ls_kv.apply(rig.machine, commands, LS_BURST, results), 1);
    op_free(&op);
    free(value);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_checkpoint_never_stops_apply),
        cmocka_unit_test(limits_of_an_image_beyond_the_node_s_memory_are_refused),
        cmocka_unit_test(limits_beyond_the_node_s_memory_are_not_taken),
        cmocka_unit_test(the_end_of_a_checkpoint_leaves_room_for_apply),
        cmocka_unit_test(a_call_is_a_bounded_amount_of_work),
    };
    return cmocka_run_group_tests_name("kv_bounds", tests, NULL, NULL);
}
