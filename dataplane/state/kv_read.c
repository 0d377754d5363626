/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads: get, parts of a value, multi-get, scan. Any number of threads, beside the writer, each inside an RCU read-side
 * section that began before the call. A read takes the newest published view (seq and time) once and answers exactly as
 * of it. The operation's bytes come from clients: every field is checked.
 */
#include "kv_machine.h"

/* Records a scan looks at before it answers, whatever it found; keeps one read within one loop turn. */
#define LS_KV_SCAN_STEPS_MAX 1024
#define LS_KV_SCAN_WINDOW    16 /* records fetched from memory at once */

static struct ls_kv_view ls_kv_view_take(struct ls_machine *m)
{
    for (;;) {
        struct ls_kv_view view;
        /* Acquire: pairs with the release store of views in ls_kv_publish(): all that entries up to seq did is seen. */
        uint64_t i = atomic_load_explicit(&m->views, memory_order_acquire);
        /* Acquire, each: pairs with the release stores of the pair. If one is of a later round of the ring already,
         * then the load of views below sees that it has gone round. */
        view.seq = atomic_load_explicit(&m->view[i % LS_KV_VIEWS].seq, memory_order_acquire);
        view.time = atomic_load_explicit(&m->view[i % LS_KV_VIEWS].time, memory_order_acquire);
        if (atomic_load_explicit(&m->views, memory_order_relaxed) - i < LS_KV_VIEWS - 1)
            return view;
    }
}

/* Test builds look at every byte they are about to use. */
static void ls_version_verify(const struct ls_machine *m, uint32_t slot, uint32_t v)
{
#if LS_POISON
    uint64_t hash = ls_kv_key_hash(ls_kv_record_key(m, slot), m->records[slot].length);
    assert(m->versions[v].checksum == ls_kv_version_checksum(m, v, hash));
#else
    (void)m;
    (void)slot;
    (void)v;
#endif
}

static uint32_t ls_read_find(const struct ls_machine *m, const uint8_t *key, uint32_t length,
                             const struct ls_kv_view *view)
{
    uint32_t slot = ls_kv_table_find(m, ls_kv_key_hash(key, length), key, length);
    uint32_t v = slot != 0 ? ls_kv_version_at(m, slot, view) : 0;

    ls_kv_pause();
    if (v != 0)
        ls_version_verify(m, slot, v);
    return v;
}

/* ---- GET, GET_PART ---- */

static uint16_t ls_read_value(const struct ls_machine *m, uint32_t v, uint32_t offset, struct ls_read_result *result)
{
    const struct ls_kv_version *version = &m->versions[v];
    struct ls_kv_value answer = {
        .version = version->seq, .expiry = version->expiry, .total = version->length, .offset = offset};
    uint32_t left = version->length - offset, room;

    if (result->room < sizeof(answer))
        return LS_STATUS_TOO_LARGE;
    room = result->room - (uint32_t)sizeof(answer);
    answer.length = left < room ? left : room;
    memcpy(result->bytes, &answer, sizeof(answer));
    ls_kv_value_load(m, v, offset, result->bytes + sizeof(answer), answer.length);
    result->length = (uint32_t)sizeof(answer) + answer.length;
    return left <= room ? LS_STATUS_OK : LS_STATUS_LARGE_VALUE;
}

static uint16_t ls_read_get(const struct ls_machine *m, const struct ls_kv_op *op, const uint8_t *rest, uint32_t length,
                            const struct ls_kv_view *view, struct ls_read_result *result)
{
    bool part = op->code == LS_KV_GET_PART;
    uint32_t v;

    if (op->key_length == 0 || op->flags != 0 || op->value_length != 0 || op->ttl != 0 || op->count != 0 ||
        op->zero != 0 || (!part && (op->argument != 0 || op->offset != 0)))
        return LS_STATUS_BAD_OPERATION;
    if (op->key_length > LS_KV_KEY_MAX)
        return LS_STATUS_TOO_LARGE;
    if (op->key_length != length)
        return LS_STATUS_BAD_OPERATION;
    v = ls_read_find(m, rest, op->key_length, view);
    if (!part)
        return v != 0 ? ls_read_value(m, v, 0, result) : LS_STATUS_NOT_FOUND;
    if (v == 0 || m->versions[v].seq != op->argument)
        return LS_STATUS_VERSION_GONE;
    if (op->offset > m->versions[v].length)
        return LS_STATUS_BAD_OPERATION;
    return ls_read_value(m, v, op->offset, result);
}

/* ---- Pages of records ---- */

/* Appends a record of version v, or of a key that does not exist (v 0). `key` NULL: an answer without keys. A value
 * that no page could hold is left out and the record says so. False: this page has no room. */
static bool ls_page_emit(const struct ls_machine *m, uint32_t v, const uint8_t *key, uint32_t key_length, bool value,
                         struct ls_read_result *result)
{
    struct ls_kv_record record = {.status = LS_STATUS_NOT_FOUND, .key_length = (uint16_t)key_length};
    uint32_t head = (uint32_t)sizeof(record) + key_length, size;
    uint8_t *to = result->bytes + result->length;

    if (v != 0) {
        record.version = m->versions[v].seq;
        record.total = m->versions[v].length;
        record.status = LS_STATUS_OK;
        if (value && ls_pad8(head + record.total) <= result->room - (uint32_t)sizeof(struct ls_kv_page))
            record.length = record.total;
        else if (value)
            record.status = LS_STATUS_LARGE_VALUE;
    }
    size = ls_pad8(head + record.length);
    if (size > result->room - result->length)
        return false;
    memcpy(to, &record, sizeof(record));
    if (key_length > 0)
        memcpy(to + sizeof(record), key, key_length);
    if (record.length > 0)
        ls_kv_value_load(m, v, 0, to + head, record.length);
    memset(to + head + record.length, 0, size - head - record.length);
    result->length += size;
    return true;
}

static bool ls_page_begin(struct ls_read_result *result)
{
    if (result->room < sizeof(struct ls_kv_page))
        return false;
    result->length = sizeof(struct ls_kv_page);
    return true;
}

static uint16_t ls_page_end(uint32_t count, bool more, struct ls_read_result *result)
{
    struct ls_kv_page page = {.count = (uint16_t)count, .more = more};

    if (count == 0 && more)
        return LS_STATUS_TOO_LARGE; /* the caller's room is too small for a single record */
    memcpy(result->bytes, &page, sizeof(page));
    return LS_STATUS_OK;
}

/* ---- MULTI_GET ---- */

struct ls_multi_key {
    const uint8_t *key;
    uint32_t length;
    uint64_t hash;
};

static uint16_t ls_multi_parse(const struct ls_kv_op *op, const uint8_t *rest, uint32_t length,
                               struct ls_multi_key *keys)
{
    uint32_t at = 0;

    if (op->key_length != 0 || op->flags != 0 || op->argument != 0 || op->ttl != 0 || op->offset != 0 ||
        op->zero != 0 || op->count == 0 || (op->value_length != 0 && op->value_length != length))
        return LS_STATUS_BAD_OPERATION;
    if (op->count > LS_KV_READ_KEYS_MAX)
        return LS_STATUS_TOO_LARGE;
    for (uint32_t i = 0; i < op->count; i++) {
        uint16_t n;
        if (length - at < sizeof(n))
            return LS_STATUS_BAD_OPERATION;
        memcpy(&n, rest + at, sizeof(n));
        at += sizeof(n);
        if (n == 0 || n > length - at)
            return LS_STATUS_BAD_OPERATION;
        if (n > LS_KV_KEY_MAX)
            return LS_STATUS_TOO_LARGE;
        keys[i] = (struct ls_multi_key){.key = rest + at, .length = n};
        at += n;
    }
    return at == length ? LS_STATUS_OK : LS_STATUS_BAD_OPERATION;
}

static uint16_t ls_read_multi(const struct ls_machine *m, const struct ls_kv_op *op, const uint8_t *rest,
                              uint32_t length, const struct ls_kv_view *view, struct ls_read_result *result)
{
    struct ls_multi_key keys[LS_KV_READ_KEYS_MAX];
    uint16_t status = ls_multi_parse(op, rest, length, keys);
    uint32_t done = 0;

    if (status != LS_STATUS_OK)
        return status;
    if (!ls_page_begin(result))
        return LS_STATUS_TOO_LARGE;
    for (uint32_t i = 0; i < op->count; i++) {
        keys[i].hash = ls_kv_key_hash(keys[i].key, keys[i].length);
        __builtin_prefetch(ls_kv_table_bucket(m, keys[i].hash));
    }
    for (uint32_t i = 0; i < op->count; i++) {
        uint32_t slot = ls_kv_bucket_guess(ls_kv_table_bucket(m, keys[i].hash), keys[i].hash);
        __builtin_prefetch(&m->records[slot]);
    }
    while (done < op->count) {
        uint32_t slot = ls_kv_table_find(m, keys[done].hash, keys[done].key, keys[done].length);
        uint32_t v = slot != 0 ? ls_kv_version_at(m, slot, view) : 0;
        ls_kv_pause();
        if (v != 0)
            ls_version_verify(m, slot, v);
        if (!ls_page_emit(m, v, NULL, 0, true, result))
            break;
        done++;
    }
    return ls_page_end(done, done < op->count, result);
}

/* ---- SCAN ---- */

struct ls_scan {
    const uint8_t *end; /* exclusive; length 0: none */
    uint32_t end_length;
    uint32_t want;
    uint32_t emitted;
    uint32_t steps;
    bool values;
    bool more;
};

/* The records of one window, which are on their way into the cache. False: the scan is over. */
static bool ls_scan_window(const struct ls_machine *m, const uint32_t *slots, uint32_t n, const struct ls_kv_view *view,
                           struct ls_scan *scan, struct ls_read_result *result)
{
    for (uint32_t i = 0; i < n; i++)
        ls_kv_version_prefetch(m, slots[i]);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t slot = slots[i], v, length = m->records[slot].length;
        const uint8_t *key = ls_kv_record_key(m, slot);

        if (scan->end_length != 0 && ls_kv_key_compare(key, length, scan->end, scan->end_length) >= 0)
            return false;
        ls_kv_pause();
        v = ls_kv_version_at(m, slot, view);
        if (v != 0)
            ls_version_verify(m, slot, v);
        /* After so many steps even a key that is gone is answered (NOT_FOUND), so that the client can go on from it. */
        if (v == 0 && ++scan->steps < LS_KV_SCAN_STEPS_MAX)
            continue;
        scan->more = true;
        if (scan->emitted == scan->want || !ls_page_emit(m, v, key, length, scan->values, result))
            return false;
        scan->emitted++;
        if (v == 0)
            return false;
        scan->more = false;
    }
    return true;
}

/* A client that goes on with a scan will do so again: has what it asks for next on its way into the cache. The records
 * of the page after next, so that those of the next one are there when their versions are asked for. */
static void ls_scan_read_ahead(const struct ls_machine *m, struct ls_kv_cursor *cursor, uint32_t page)
{
    uint32_t slots[LS_KV_SCAN_WINDOW], n = page < LS_KV_SCAN_WINDOW ? page : LS_KV_SCAN_WINDOW;

    n = ls_kv_order_next(m, cursor, slots, n);
    if (n == 0)
        return;
    for (uint32_t i = 0; i < n; i++)
        ls_kv_version_prefetch(m, slots[i]);
    /* The last key of the next page is what the page after that will be asked for by. */
    uint32_t last = slots[n - 1];
    uint64_t hash = ls_kv_key_hash(ls_kv_record_key(m, last), m->records[last].length);
    __builtin_prefetch(ls_kv_table_bucket(m, hash));
    (void)ls_kv_order_next(m, cursor, slots, n);
}

static uint16_t ls_read_scan(const struct ls_machine *m, const struct ls_kv_op *op, const uint8_t *rest,
                             uint32_t length, const struct ls_kv_view *view, struct ls_read_result *result)
{
    struct ls_scan scan = {.want = op->count, .values = (op->flags & LS_KV_SCAN_KEYS_ONLY) == 0};
    uint32_t slots[LS_KV_SCAN_WINDOW], n;
    struct ls_kv_cursor cursor;

    if ((op->flags & ~LS_KV_SCAN_KEYS_ONLY) != 0 || op->argument != 0 || op->ttl != 0 || op->offset != 0 ||
        op->zero != 0 || op->count == 0)
        return LS_STATUS_BAD_OPERATION;
    /* One byte more than a key: behind the longest key is that key and a zero. */
    if (op->key_length > LS_KV_KEY_MAX + 1 || op->value_length > LS_KV_KEY_MAX + 1 || op->count > LS_KV_READ_KEYS_MAX)
        return LS_STATUS_TOO_LARGE;
    if (op->key_length + op->value_length != length)
        return LS_STATUS_BAD_OPERATION;
    if (!ls_page_begin(result))
        return LS_STATUS_TOO_LARGE;
    scan.end = rest + op->key_length;
    scan.end_length = op->value_length;

    bool going_on = ls_kv_order_seek(m, rest, op->key_length, &cursor);
    do {
        uint32_t wanted = scan.want - scan.emitted + 1; /* one more, to know whether there is more */
        n = ls_kv_order_next(m, &cursor, slots, wanted < LS_KV_SCAN_WINDOW ? wanted : LS_KV_SCAN_WINDOW);
    } while (n > 0 && ls_scan_window(m, slots, n, view, &scan, result));
    if (going_on && scan.more)
        ls_scan_read_ahead(m, &cursor, scan.emitted);
    return ls_page_end(scan.emitted, scan.more, result);
}

void ls_kv_read(struct ls_machine *m, const uint8_t *operation, uint32_t length, struct ls_read_result *result)
{
    struct ls_kv_view view = ls_kv_view_take(m);
    const uint8_t *rest = operation + sizeof(struct ls_kv_op);
    struct ls_kv_op op;

    result->seq = view.seq;
    result->length = 0;
    if (length < sizeof(op)) {
        result->status = LS_STATUS_BAD_OPERATION;
        return;
    }
    memcpy(&op, operation, sizeof(op));
    length -= (uint32_t)sizeof(op);
    switch (op.code) {
    case LS_KV_GET:
    case LS_KV_GET_PART:
        result->status = ls_read_get(m, &op, rest, length, &view, result);
        break;
    case LS_KV_MULTI_GET:
        result->status = ls_read_multi(m, &op, rest, length, &view, result);
        break;
    case LS_KV_SCAN:
        result->status = ls_read_scan(m, &op, rest, length, &view, result);
        break;
    default:
        result->status = LS_STATUS_UNSUPPORTED;
    }
    if (result->status != LS_STATUS_OK && result->status != LS_STATUS_LARGE_VALUE)
        result->length = 0;
}
