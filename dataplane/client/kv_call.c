/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Blocking key-value calls (<lockstep/client_kv.h>): one operation, or as many as a large value, a scan or many keys
 * need. On the thread that owns the client. Operations are built on the stack, those with a large value in malloc()ed
 * memory.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lockstep/client_kv.h>

#define STACK_OP 4096
#define PART_MAX (LS_READ_RESULT_MAX - sizeof(struct ls_kv_value))

/* ---- mutations ---- */

int ls_kv_mutate(struct ls_client *client, const void *operation, size_t length, struct ls_kv_outcome *outcome)
{
    struct ls_reply reply;
    struct ls_kv_result result = {.version = 0};
    if (length > LS_OP_MAX)
        return -EMSGSIZE;
    int rc = ls_client_call(client, operation, (uint32_t)length, 0, &reply);
    if (rc)
        return rc;
    /* answers that the state machine did not give have no result */
    if (reply.length > 0)
        rc = ls_kv_parse_result(reply.bytes, reply.length, &result);
    *outcome = (struct ls_kv_outcome){
        .status = reply.status,
        .durability = reply.durability,
        .seq = reply.seq,
        .version = result.version,
        .number = result.number,
        .index = result.index,
    };
    return rc;
}

/* Memory for an operation of that size, on the stack of the caller if it is small. */
static void *op_memory(uint8_t *stack, size_t size)
{
    return size <= STACK_OP ? stack : malloc(size);
}

static int op_call(struct ls_client *client, uint8_t *stack, void *memory, int length, struct ls_kv_outcome *outcome)
{
    int rc = length < 0 ? length : ls_kv_mutate(client, memory, (size_t)length, outcome);
    if (memory != stack)
        free(memory);
    return rc;
}

static size_t op_size(struct ls_kv_bytes key, struct ls_kv_bytes value)
{
    bool sane = key.length <= LS_KV_KEY_MAX && value.length <= LS_KV_VALUE_MAX; /* else the builder says so */
    return sizeof(struct ls_kv_op) + (sane ? key.length + value.length : 0);
}

int ls_kv_put(struct ls_client *client, struct ls_kv_bytes key, struct ls_kv_bytes value, uint64_t ttl_ns,
              struct ls_kv_outcome *outcome)
{
    uint8_t stack[STACK_OP];
    size_t room = op_size(key, value);
    void *memory = op_memory(stack, room);
    if (!memory)
        return -ENOMEM;
    return op_call(client, stack, memory, ls_kv_build_put(memory, room, key, value, ttl_ns), outcome);
}

int ls_kv_cas(struct ls_client *client, struct ls_kv_bytes key, struct ls_kv_bytes value, uint64_t version,
              uint64_t ttl_ns, struct ls_kv_outcome *outcome)
{
    uint8_t stack[STACK_OP];
    size_t room = op_size(key, value);
    void *memory = op_memory(stack, room);
    if (!memory)
        return -ENOMEM;
    return op_call(client, stack, memory, ls_kv_build_cas(memory, room, key, value, version, ttl_ns), outcome);
}

int ls_kv_append(struct ls_client *client, struct ls_kv_bytes key, struct ls_kv_bytes value,
                 struct ls_kv_outcome *outcome)
{
    uint8_t stack[STACK_OP];
    size_t room = op_size(key, value);
    void *memory = op_memory(stack, room);
    if (!memory)
        return -ENOMEM;
    return op_call(client, stack, memory, ls_kv_build_append(memory, room, key, value), outcome);
}

int ls_kv_delete(struct ls_client *client, struct ls_kv_bytes key, struct ls_kv_outcome *outcome)
{
    uint8_t stack[STACK_OP];
    return op_call(client, stack, stack, ls_kv_build_delete(stack, sizeof(stack), key), outcome);
}

int ls_kv_cas_delete(struct ls_client *client, struct ls_kv_bytes key, uint64_t version, struct ls_kv_outcome *outcome)
{
    uint8_t stack[STACK_OP];
    return op_call(client, stack, stack, ls_kv_build_cas_delete(stack, sizeof(stack), key, version), outcome);
}

int ls_kv_incr(struct ls_client *client, struct ls_kv_bytes key, int64_t delta, struct ls_kv_outcome *outcome)
{
    uint8_t stack[STACK_OP];
    return op_call(client, stack, stack, ls_kv_build_incr(stack, sizeof(stack), key, delta), outcome);
}

/* ---- large values: parts of one version, several at once ---- */

struct pull;

struct part {
    struct pull *pull;
    uint32_t offset;
    uint32_t left; /* of this part; 0: free */
    bool out;
};

struct pull {
    struct ls_client *client;
    struct ls_kv_bytes key;
    uint64_t version;
    uint32_t total;
    uint32_t next; /* offset of the part to be asked for next */
    uint32_t out;  /* parts asked for */
    uint8_t *value;
    int error;
    uint16_t status;
    struct part part[LS_WINDOW_MAX];
};

static void part_done(void *user, const struct ls_reply *reply)
{
    struct part *part = user;
    struct pull *pull = part->pull;
    struct ls_kv_value head;
    struct ls_kv_bytes bytes;
    part->out = false;
    pull->out--;
    if (pull->error || pull->status != LS_STATUS_OK)
        return;
    if (reply->error) {
        pull->error = reply->error;
        return;
    }
    if (reply->status != LS_STATUS_OK && reply->status != LS_STATUS_LARGE_VALUE) {
        pull->status = reply->status;
        return;
    }
    if (ls_kv_parse_value(reply->bytes, reply->length, &head, &bytes) || head.version != pull->version ||
        head.total != pull->total || head.offset != part->offset || head.length == 0) {
        pull->error = -EBADMSG;
        return;
    }
    uint32_t length = head.length < part->left ? head.length : part->left;
    memcpy(pull->value + part->offset, bytes.bytes, length);
    part->offset += length;
    part->left -= length; /* what is left of it is asked for again */
}

/* Asks for the part, taking the next one where it is done. False: nothing to ask for, or no room. */
static bool part_ask(struct pull *pull, struct part *part)
{
    uint8_t operation[sizeof(struct ls_kv_op) + LS_KV_KEY_MAX];
    if (part->left == 0) {
        uint32_t left = pull->total - pull->next;
        if (left == 0)
            return false;
        part->pull = pull;
        part->offset = pull->next;
        part->left = left < PART_MAX ? left : (uint32_t)PART_MAX;
        pull->next += part->left;
    }
    int length = ls_kv_build_get_part(operation, sizeof(operation), pull->key, pull->version, part->offset);
    /* of one version a replica that has applied it has it all: no need to ask a majority */
    int rc = length < 0 ? length
                        : ls_client_read(pull->client, operation, (uint32_t)length, LS_READ_LEAST, pull->version,
                                         part_done, part);
    if (rc == 0) {
        part->out = true;
        pull->out++;
    } else if (rc != -EAGAIN) {
        pull->error = rc;
    }
    return rc == 0;
}

static bool pull_is_whole(const struct pull *pull)
{
    for (uint32_t i = 0; i < LS_WINDOW_MAX; i++)
        if (pull->part[i].left > 0)
            return false;
    return pull->next == pull->total;
}

static void pull_run(struct pull *pull)
{
    for (;;) {
        bool going = pull->error == 0 && pull->status == LS_STATUS_OK;
        for (uint32_t i = 0; going && i < LS_WINDOW_MAX; i++)
            going = pull->part[i].out || part_ask(pull, &pull->part[i]);
        bool over = pull->error != 0 || pull->status != LS_STATUS_OK || pull_is_whole(pull);
        if (over && pull->out == 0)
            return;
        ls_client_wait(pull->client, UINT64_MAX);
    }
}

/* One try: the first reply says how large it is. */
static int get_once(struct ls_client *client, struct ls_kv_bytes key, const struct ls_kv_how *how,
                    struct ls_kv_got *got)
{
    uint8_t operation[sizeof(struct ls_kv_op) + LS_KV_KEY_MAX];
    struct ls_reply reply;
    struct ls_kv_value head;
    struct ls_kv_bytes bytes;
    *got = (struct ls_kv_got){.status = LS_STATUS_OK};
    int length = ls_kv_build_get(operation, sizeof(operation), key);
    if (length < 0)
        return length;
    int rc = ls_client_fetch(client, operation, (uint32_t)length, how->consistency, how->least, &reply);
    if (rc)
        return rc;
    got->status = reply.status;
    got->seq = reply.seq;
    got->age = reply.age;
    if (reply.status != LS_STATUS_OK && reply.status != LS_STATUS_LARGE_VALUE)
        return 0;
    rc = ls_kv_parse_value(reply.bytes, reply.length, &head, &bytes);
    if (rc || head.offset != 0 || (reply.status == LS_STATUS_OK && head.length != head.total))
        return -EBADMSG;
    uint8_t *value = malloc((size_t)head.total + 1);
    if (!value)
        return -ENOMEM;
    if (head.length > 0)
        memcpy(value, bytes.bytes, head.length);
    value[head.total] = 0;

    struct pull pull = {.client = client,
                        .key = key,
                        .version = head.version,
                        .total = head.total,
                        .next = head.length,
                        .value = value};
    pull_run(&pull);
    got->status = pull.status;
    if (pull.error || pull.status != LS_STATUS_OK) {
        free(value);
        return pull.error;
    }
    got->value = value;
    got->length = head.total;
    got->version = head.version;
    got->expiry = head.expiry;
    return 0;
}

int ls_kv_get(struct ls_client *client, struct ls_kv_bytes key, const struct ls_kv_how *how, struct ls_kv_got *got)
{
    int rc = 0;
    for (int try = 0; try < LS_KV_GET_TRIES; try++) {
        rc = get_once(client, key, how, got);
        if (rc || got->status != LS_STATUS_VERSION_GONE)
            break;
    }
    return rc;
}

/* ---- scans and many keys ---- */

struct position {
    uint8_t bytes[LS_KV_KEY_MAX + 1];
    size_t length;
};

/* One page, visited; *position is then the first key behind it. Returns -errno, the visit's, or 0. */
static int scan_page(const struct ls_reply *reply, struct position *position, uint64_t *left, bool *more,
                     ls_kv_visit visit, void *user)
{
    struct ls_kv_walk walk;
    struct ls_kv_item item;
    int rc = ls_kv_walk_begin(&walk, reply->bytes, reply->length);
    if (rc || (walk.more && walk.count == 0))
        return -EBADMSG;
    *more = walk.more;
    while ((rc = ls_kv_walk_next(&walk, &item)) == 1) {
        if (item.key.length < 1 || item.key.length > LS_KV_KEY_MAX)
            return -EBADMSG;
        memcpy(position->bytes, item.key.bytes, item.key.length);
        position->bytes[item.key.length] = 0;
        position->length = item.key.length + 1;
        if (item.status == LS_STATUS_NOT_FOUND)
            continue; /* only says how far the replica has looked */
        rc = visit(user, &item, reply->seq);
        if (rc)
            return rc;
        --*left;
    }
    return rc;
}

int ls_kv_scan(struct ls_client *client, struct ls_kv_bytes first, struct ls_kv_bytes end, uint64_t most, uint8_t flags,
               const struct ls_kv_how *how, ls_kv_visit visit, void *user, uint16_t *status)
{
    uint8_t operation[sizeof(struct ls_kv_op) + 2 * (LS_KV_KEY_MAX + 1)];
    struct position position = {.length = first.length};
    if (first.length > sizeof(position.bytes))
        return -EINVAL;
    if (first.length > 0)
        memcpy(position.bytes, first.bytes, first.length);
    uint64_t left = most ? most : UINT64_MAX;
    bool more = true;
    *status = LS_STATUS_OK;
    while (more && left > 0) {
        uint32_t count = left < LS_KV_READ_KEYS_MAX ? (uint32_t)left : LS_KV_READ_KEYS_MAX;
        const struct ls_kv_bytes from = {position.bytes, position.length};
        struct ls_reply reply;
        int length = ls_kv_build_scan(operation, sizeof(operation), from, end, count, flags);
        if (length < 0)
            return length;
        int rc = ls_client_fetch(client, operation, (uint32_t)length, how->consistency, how->least, &reply);
        if (rc)
            return rc;
        *status = reply.status;
        if (reply.status != LS_STATUS_OK)
            return 0;
        rc = scan_page(&reply, &position, &left, &more, visit, user);
        if (rc)
            return rc;
    }
    return 0;
}

/* As many keys as one read takes. */
static uint32_t keys_that_fit(const struct ls_kv_bytes *keys, uint32_t n)
{
    size_t length = sizeof(struct ls_kv_op);
    uint32_t fit = 0;
    while (fit < n && fit < LS_KV_READ_KEYS_MAX) {
        length += sizeof(uint16_t) + keys[fit].length;
        if (length > LS_READ_OP_MAX && fit > 0)
            break;
        fit++;
    }
    return fit;
}

int ls_kv_multi_get(struct ls_client *client, const struct ls_kv_bytes *keys, uint32_t n, const struct ls_kv_how *how,
                    ls_kv_visit visit, void *user, uint16_t *status)
{
    uint8_t operation[LS_READ_OP_MAX];
    *status = LS_STATUS_OK;
    while (n > 0) {
        uint32_t ask = keys_that_fit(keys, n);
        struct ls_reply reply;
        struct ls_kv_walk walk;
        struct ls_kv_item item;
        int length = ls_kv_build_multi_get(operation, sizeof(operation), keys, ask);
        if (length < 0)
            return length;
        int rc = ls_client_fetch(client, operation, (uint32_t)length, how->consistency, how->least, &reply);
        if (rc)
            return rc;
        *status = reply.status;
        if (reply.status != LS_STATUS_OK)
            return 0;
        rc = ls_kv_walk_begin(&walk, reply.bytes, reply.length);
        if (rc || walk.count == 0 || walk.count > ask)
            return -EBADMSG;
        while ((rc = ls_kv_walk_next(&walk, &item)) == 1) {
            item.key = *keys++;
            n--;
            rc = visit(user, &item, reply.seq);
            if (rc)
                return rc;
        }
        if (rc)
            return rc;
    }
    return 0;
}
