/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Builders and parsers of key-value operations (<lockstep/client_kv.h>). Pure: no state, no memory of their own, any
 * thread.
 */
#include <errno.h>
#include <string.h>

#include <lockstep/client_kv.h>

/* ---- builders ---- */

static int build(void *to, size_t room, struct ls_kv_op op, struct ls_kv_bytes key, struct ls_kv_bytes value)
{
    size_t length = sizeof(op) + key.length + value.length;
    if (length > room)
        return -EMSGSIZE;
    op.key_length = (uint16_t)key.length;
    op.value_length = (uint32_t)value.length;
    uint8_t *at = to;
    memcpy(at, &op, sizeof(op));
    at += sizeof(op);
    if (key.length > 0)
        memcpy(at, key.bytes, key.length);
    at += key.length;
    if (value.length > 0)
        memcpy(at, value.bytes, value.length);
    return (int)length;
}

static int build_keyed(void *to, size_t room, struct ls_kv_op op, struct ls_kv_bytes key, struct ls_kv_bytes value)
{
    if (key.length < 1 || key.length > LS_KV_KEY_MAX)
        return -EINVAL;
    if (value.length > LS_KV_VALUE_MAX)
        return -EMSGSIZE;
    return build(to, room, op, key, value);
}

static const struct ls_kv_bytes nothing;

int ls_kv_build_put(void *to, size_t room, struct ls_kv_bytes key, struct ls_kv_bytes value, uint64_t ttl_ns)
{
    return build_keyed(to, room, (struct ls_kv_op){.code = LS_KV_PUT, .ttl = ttl_ns}, key, value);
}

int ls_kv_build_delete(void *to, size_t room, struct ls_kv_bytes key)
{
    return build_keyed(to, room, (struct ls_kv_op){.code = LS_KV_DELETE}, key, nothing);
}

int ls_kv_build_cas(void *to, size_t room, struct ls_kv_bytes key, struct ls_kv_bytes value, uint64_t version,
                    uint64_t ttl_ns)
{
    const struct ls_kv_op op = {.code = LS_KV_CAS, .argument = version, .ttl = ttl_ns};
    return build_keyed(to, room, op, key, value);
}

int ls_kv_build_cas_delete(void *to, size_t room, struct ls_kv_bytes key, uint64_t version)
{
    return build_keyed(to, room, (struct ls_kv_op){.code = LS_KV_CAS_DELETE, .argument = version}, key, nothing);
}

int ls_kv_build_incr(void *to, size_t room, struct ls_kv_bytes key, int64_t delta)
{
    return build_keyed(to, room, (struct ls_kv_op){.code = LS_KV_INCR, .argument = (uint64_t)delta}, key, nothing);
}

int ls_kv_build_append(void *to, size_t room, struct ls_kv_bytes key, struct ls_kv_bytes value)
{
    return build_keyed(to, room, (struct ls_kv_op){.code = LS_KV_APPEND}, key, value);
}

int ls_kv_build_get(void *to, size_t room, struct ls_kv_bytes key)
{
    return build_keyed(to, room, (struct ls_kv_op){.code = LS_KV_GET}, key, nothing);
}

int ls_kv_build_get_part(void *to, size_t room, struct ls_kv_bytes key, uint64_t version, uint32_t offset)
{
    const struct ls_kv_op op = {.code = LS_KV_GET_PART, .argument = version, .offset = offset};
    return build_keyed(to, room, op, key, nothing);
}

int ls_kv_build_multi_get(void *to, size_t room, const struct ls_kv_bytes *keys, uint32_t n)
{
    if (n < 1 || n > LS_KV_READ_KEYS_MAX)
        return -EINVAL;
    struct ls_kv_op op = {.code = LS_KV_MULTI_GET, .count = (uint16_t)n};
    size_t length = sizeof(op);
    for (uint32_t i = 0; i < n; i++) {
        uint16_t key_length = (uint16_t)keys[i].length;
        if (keys[i].length < 1 || keys[i].length > LS_KV_KEY_MAX)
            return -EINVAL;
        if (length + sizeof(key_length) + key_length > room)
            return -EMSGSIZE;
        uint8_t *at = (uint8_t *)to + length;
        memcpy(at, &key_length, sizeof(key_length));
        memcpy(at + sizeof(key_length), keys[i].bytes, key_length);
        length += sizeof(key_length) + key_length;
    }
    memcpy(to, &op, sizeof(op));
    return (int)length;
}

int ls_kv_build_scan(void *to, size_t room, struct ls_kv_bytes first, struct ls_kv_bytes end, uint32_t count,
                     uint8_t flags)
{
    /* one byte more than a key: behind the longest key is that key and a zero */
    if (first.length > LS_KV_KEY_MAX + 1 || end.length > LS_KV_KEY_MAX + 1 || count < 1 ||
        count > LS_KV_READ_KEYS_MAX || (flags & ~LS_KV_SCAN_KEYS_ONLY))
        return -EINVAL;
    return build(to, room, (struct ls_kv_op){.code = LS_KV_SCAN, .flags = flags, .count = (uint16_t)count}, first, end);
}

/* ---- batches ---- */

int ls_kv_batch_begin(struct ls_kv_batch *batch, void *memory, size_t room)
{
    *batch = (struct ls_kv_batch){.bytes = memory, .room = room, .length = sizeof(struct ls_kv_op)};
    return room < sizeof(struct ls_kv_op) ? -EMSGSIZE : 0;
}

int ls_kv_batch_add(struct ls_kv_batch *batch, const void *mutation, size_t length)
{
    struct ls_kv_op op;
    if (length < sizeof(op))
        return -EINVAL;
    memcpy(&op, mutation, sizeof(op));
    bool single = op.code >= LS_KV_PUT && op.code <= LS_KV_CAS_DELETE && op.code != LS_KV_BATCH;
    if (!single || length != sizeof(op) + op.key_length + (size_t)op.value_length)
        return -EINVAL;
    if (batch->count == LS_KV_BATCH_MAX)
        return -E2BIG;
    size_t padded = (length + 7) & ~(size_t)7;
    if (batch->length > batch->room || padded > batch->room - batch->length)
        return -EMSGSIZE;
    memcpy(batch->bytes + batch->length, mutation, length);
    memset(batch->bytes + batch->length + length, 0, padded - length);
    batch->length += padded;
    batch->count++;
    return 0;
}

int ls_kv_batch_end(struct ls_kv_batch *batch)
{
    if (batch->count == 0)
        return -EINVAL;
    const struct ls_kv_op op = {.code = LS_KV_BATCH, .count = (uint16_t)batch->count};
    memcpy(batch->bytes, &op, sizeof(op));
    return (int)batch->length;
}

/* ---- parsers ---- */

int ls_kv_parse_result(const void *bytes, size_t length, struct ls_kv_result *result)
{
    if (length != sizeof(*result))
        return -EBADMSG;
    memcpy(result, bytes, sizeof(*result));
    return 0;
}

int ls_kv_parse_value(const void *bytes, size_t length, struct ls_kv_value *head, struct ls_kv_bytes *value)
{
    if (length < sizeof(*head))
        return -EBADMSG;
    memcpy(head, bytes, sizeof(*head));
    if (head->length != length - sizeof(*head) || head->total > LS_KV_VALUE_MAX || head->offset > head->total ||
        head->length > head->total - head->offset)
        return -EBADMSG;
    *value = (struct ls_kv_bytes){(const uint8_t *)bytes + sizeof(*head), head->length};
    return 0;
}

int ls_kv_walk_begin(struct ls_kv_walk *walk, const void *bytes, size_t length)
{
    struct ls_kv_page page;
    if (length < sizeof(page))
        return -EBADMSG;
    memcpy(&page, bytes, sizeof(page));
    *walk = (struct ls_kv_walk){
        .at = (const uint8_t *)bytes + sizeof(page),
        .left = length - sizeof(page),
        .count = page.count,
        .more = page.more != 0,
    };
    return 0;
}

int ls_kv_walk_next(struct ls_kv_walk *walk, struct ls_kv_item *item)
{
    struct ls_kv_record record;
    if (walk->count == 0)
        return walk->left == 0 ? 0 : -EBADMSG;
    if (walk->left < sizeof(record))
        return -EBADMSG;
    memcpy(&record, walk->at, sizeof(record));
    size_t size = (sizeof(record) + record.key_length + (size_t)record.length + 7) & ~(size_t)7;
    if (size > walk->left || record.length > record.total)
        return -EBADMSG;
    const uint8_t *key = walk->at + sizeof(record);
    *item = (struct ls_kv_item){
        .key = {key, record.key_length},
        .value = {key + record.key_length, record.length},
        .version = record.version,
        .total = record.total,
        .status = record.status,
    };
    walk->at += size;
    walk->left -= size;
    walk->count--;
    return 1;
}
