/* SPDX-License-Identifier: BSD-3-Clause */
/* See rig.h. Called by the tests of this folder. */
#include "rig.h"

#include <errno.h>

void rig_open(struct rig *rig, uint64_t keys, uint64_t bytes)
{
    struct ls_machine_limits limits = {.keys = keys, .bytes = bytes};
    memset(rig, 0, sizeof(*rig));
    rig->machine = ls_kv.create(&limits, &rig->grace);
    assert_non_null(rig->machine);
}

void rig_close(struct rig *rig)
{
    ls_kv.destroy(rig->machine);
}

void rig_grace(struct rig *rig)
{
    ls_grace_begin(&rig->grace);
    ls_grace_end(&rig->grace);
    for (int i = 0; i < 60; i++) /* each call does a bounded amount */
        ls_kv.reclaim(rig->machine);
}

static void op_append(struct op *op, const void *bytes, uint32_t n)
{
    if (op->length + n > op->room) {
        op->room = (op->length + n) * 2;
        op->bytes = realloc(op->bytes, op->room);
        assert_non_null(op->bytes);
    }
    if (n > 0)
        memcpy(op->bytes + op->length, bytes, n);
    op->length += n;
}

void op_free(struct op *op)
{
    free(op->bytes);
    *op = (struct op){0};
}

static void op_begin(struct op *op, const struct ls_kv_op *head)
{
    *op = (struct op){0};
    op_append(op, head, sizeof(*head));
}

void op_mutation(struct op *op, uint8_t code, const void *key, uint32_t key_length, const void *value,
                 uint32_t value_length, uint64_t argument, uint64_t ttl)
{
    struct ls_kv_op head = {.code = code,
                            .key_length = (uint16_t)key_length,
                            .value_length = value_length,
                            .argument = argument,
                            .ttl = ttl};
    op_begin(op, &head);
    op_append(op, key, key_length);
    op_append(op, value, value_length);
}

void op_batch(struct op *op)
{
    struct ls_kv_op head = {.code = LS_KV_BATCH};
    op_begin(op, &head);
}

static void op_count(struct op *op)
{
    struct ls_kv_op head;
    memcpy(&head, op->bytes, sizeof(head));
    head.count++;
    memcpy(op->bytes, &head, sizeof(head));
}

void op_batch_add(struct op *op, uint8_t code, const void *key, uint32_t key_length, const void *value,
                  uint32_t value_length, uint64_t argument, uint64_t ttl)
{
    static const uint8_t zeros[8];
    struct op one;

    op_mutation(&one, code, key, key_length, value, value_length, argument, ttl);
    op_append(op, one.bytes, one.length);
    op_append(op, zeros, ls_pad8(one.length) - one.length);
    op_free(&one);
    op_count(op);
}

void op_read(struct op *op, uint8_t code, const void *key, uint32_t key_length, uint64_t argument, uint32_t offset)
{
    struct ls_kv_op head = {.code = code, .key_length = (uint16_t)key_length, .argument = argument, .offset = offset};
    op_begin(op, &head);
    op_append(op, key, key_length);
}

void op_multi(struct op *op)
{
    struct ls_kv_op head = {.code = LS_KV_MULTI_GET};
    op_begin(op, &head);
}

void op_multi_add(struct op *op, const void *key, uint32_t key_length)
{
    uint16_t n = (uint16_t)key_length;
    op_append(op, &n, sizeof(n));
    op_append(op, key, key_length);
    op_count(op);
}

void op_scan(struct op *op, const void *start, uint32_t start_length, const void *end, uint32_t end_length,
             uint16_t count, uint8_t flags)
{
    struct ls_kv_op head = {.code = LS_KV_SCAN,
                            .flags = flags,
                            .key_length = (uint16_t)start_length,
                            .value_length = end_length,
                            .count = count};
    op_begin(op, &head);
    op_append(op, start, start_length);
    op_append(op, end, end_length);
}

static uint16_t rig_entry(struct rig *rig, const void *bytes, uint32_t length)
{
    uint8_t room[LS_RESULT_MAX];
    struct ls_result result = {.status = 0xffff, .bytes = room};
    struct ls_command command = {.seq = rig->seq + 1, .time = rig->time, .operation = bytes, .length = length};

    for (int i = 0; ls_kv.apply(rig->machine, &command, 1, &result) == 0; i++) {
        assert_true(i < 100);
        rig_grace(rig); /* physical memory comes back */
    }
    rig->seq++;
    if (bytes != NULL) {
        assert_int_equal(result.length, sizeof(rig->result));
        memcpy(&rig->result, room, sizeof(rig->result));
        assert_int_equal(rig->result.zero, 0);
    }
    return result.status;
}

uint16_t rig_apply(struct rig *rig, const void *bytes, uint32_t length)
{
    /* An exact copy on the heap: a sanitizer sees every byte read behind it. */
    uint8_t *copy = malloc(length > 0 ? length : 1);
    assert_non_null(copy);
    if (length > 0)
        memcpy(copy, bytes, length);
    uint16_t status = rig_entry(rig, copy, length);
    free(copy);
    return status;
}

uint16_t rig_apply_op(struct rig *rig, struct op *op)
{
    uint16_t status = rig_apply(rig, op->bytes, op->length);
    op_free(op);
    return status;
}

void rig_tick(struct rig *rig, uint64_t time)
{
    rig->time = time;
    assert_int_equal(rig_entry(rig, NULL, 0), LS_STATUS_OK);
}

uint16_t rig_mutate(struct rig *rig, uint8_t code, const char *key, const char *value, uint64_t argument, uint64_t ttl)
{
    struct op op;
    op_mutation(&op, code, key, (uint32_t)strlen(key), value, (uint32_t)strlen(value), argument, ttl);
    return rig_apply_op(rig, &op);
}

uint16_t rig_put(struct rig *rig, const char *key, const char *value)
{
    return rig_mutate(rig, LS_KV_PUT, key, value, 0, 0);
}

uint16_t rig_delete(struct rig *rig, const char *key)
{
    return rig_mutate(rig, LS_KV_DELETE, key, "", 0, 0);
}

void rig_read(struct rig *rig, const void *bytes, uint32_t length, uint32_t room, struct answer *answer)
{
    uint8_t *copy = malloc(length > 0 ? length : 1), *to = malloc(room > 0 ? room : 1);
    struct ls_read_result result = {.status = 0xffff, .room = room, .bytes = to};

    assert_non_null(copy);
    assert_non_null(to);
    assert_true(room <= sizeof(answer->bytes));
    if (length > 0)
        memcpy(copy, bytes, length);
    ls_kv.read(rig->machine, copy, length, &result);
    assert_true(result.length <= room);
    answer->status = result.status;
    answer->length = result.length;
    answer->seq = result.seq;
    if (result.length > 0)
        memcpy(answer->bytes, to, result.length);
    free(copy);
    free(to);
}

void rig_read_op(struct rig *rig, struct op *op, uint32_t room, struct answer *answer)
{
    rig_read(rig, op->bytes, op->length, room, answer);
    op_free(op);
}

const char *rig_get(struct rig *rig, const char *key)
{
    static char text[4096];
    struct answer answer;
    struct ls_kv_value value;
    struct op op;

    op_read(&op, LS_KV_GET, key, (uint32_t)strlen(key), 0, 0);
    rig_read_op(rig, &op, LS_READ_RESULT_MAX, &answer);
    if (answer.status == LS_STATUS_NOT_FOUND)
        return NULL;
    assert_int_equal(answer.status, LS_STATUS_OK);
    memcpy(&value, answer.bytes, sizeof(value));
    memcpy(text, answer.bytes + sizeof(value), value.length);
    text[value.length] = 0;
    return text;
}

const char *rig_scan(struct rig *rig, const char *start, const char *end)
{
    static char text[65536];
    uint8_t from[LS_KV_KEY_MAX + 1];
    uint32_t from_length = (uint32_t)strlen(start), at = 0, length = 0;
    struct ls_kv_page page = {.more = 1};
    struct answer answer;
    struct op op;

    memcpy(from, start, from_length);
    text[0] = 0;
    while (page.more) {
        op_scan(&op, from, from_length, end, (uint32_t)strlen(end), 7, 0);
        rig_read_op(rig, &op, LS_READ_RESULT_MAX, &answer);
        assert_int_equal(answer.status, LS_STATUS_OK);
        memcpy(&page, answer.bytes, sizeof(page));
        at = sizeof(page);
        for (uint32_t i = 0; i < page.count; i++) {
            struct ls_kv_record record;
            memcpy(&record, answer.bytes + at, sizeof(record));
            const uint8_t *key = answer.bytes + at + sizeof(record);
            if (record.status != LS_STATUS_NOT_FOUND) {
                length += (uint32_t)snprintf(text + length, sizeof(text) - length, "%s%.*s", length ? " " : "",
                                             record.key_length, key);
            }
            memcpy(from, key, record.key_length);
            from[record.key_length] = 0;
            from_length = record.key_length + 1u;
            at += ls_pad8((uint32_t)sizeof(record) + record.key_length + record.length);
        }
        assert_int_equal(at, answer.length);
        assert_true(page.count > 0 || !page.more);
    }
    return text;
}

static int image_write(struct ls_checkpoint_sink *sink, const void *bytes, size_t n)
{
    struct image *image = (struct image *)((uint8_t *)sink - offsetof(struct image, sink));
    if (image->fail_at != 0 && image->length + n > image->fail_at)
        return -EIO;
    if (image->length + n > image->room) {
        image->room = (image->length + n) * 2;
        image->bytes = realloc(image->bytes, image->room);
        assert_non_null(image->bytes);
    }
    memcpy(image->bytes + image->length, bytes, n);
    image->length += n;
    return 0;
}

static int image_read(struct ls_checkpoint_source *source, void *bytes, size_t n)
{
    struct image *image = (struct image *)((uint8_t *)source - offsetof(struct image, source));
    if (n > image->length - image->at)
        return -ENODATA;
    memcpy(bytes, image->bytes + image->at, n);
    image->at += n;
    return 0;
}

void image_init(struct image *image)
{
    *image = (struct image){.sink = {.write = image_write}, .source = {.read = image_read}};
}

void image_free(struct image *image)
{
    free(image->bytes);
}

void rig_checkpoint(struct rig *rig, struct image *image)
{
    int more;
    image->length = 0;
    assert_int_equal(ls_kv.checkpoint_begin(rig->machine), 0);
    while ((more = ls_kv.checkpoint_next(rig->machine, &image->sink)) == 1)
        ;
    assert_int_equal(more, 0);
    ls_kv.checkpoint_end(rig->machine);
}

int rig_restore(struct rig *rig, struct image *image)
{
    image->at = 0;
    return ls_kv.restore(rig->machine, &image->source);
}

uint64_t rng_next(struct rng *rng)
{
    uint64_t z = rng->state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

uint64_t rng_below(struct rng *rng, uint64_t n)
{
    return rng_next(rng) % n;
}

uint64_t rng_seed(uint64_t fallback)
{
    const char *text = getenv("LS_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : fallback;
    print_message("seed: LS_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}
