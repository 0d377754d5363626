/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The naive key-value store: a sorted array of keys, each with all its versions. Statuses and results as kv.h says
 * them. Nothing here is taken from the state machine under test.
 */
#include <assert.h>
#include <string.h>

#include "model.h"

#define PAGE_ROOM (LS_READ_RESULT_MAX - (uint32_t)sizeof(struct ls_kv_page))

/* ---- keys and versions ---- */

static int key_compare(const uint8_t *a, uint32_t a_length, const uint8_t *b, uint32_t b_length)
{
    for (uint32_t i = 0; i < a_length && i < b_length; i++) {
        if (a[i] != b[i])
            return a[i] < b[i] ? -1 : 1;
    }
    return a_length < b_length ? -1 : a_length > b_length;
}

/* Place in key order of the first key that is not less. */
static uint32_t key_place(const struct sim_model *m, const uint8_t *bytes, uint32_t length)
{
    uint32_t low = 0, high = m->keys;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        const struct key *key = &m->key[m->sorted[middle]];
        if (key_compare(key->bytes, key->length, bytes, length) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct key *key_find(const struct sim_model *m, const uint8_t *bytes, uint32_t length)
{
    uint32_t place = key_place(m, bytes, length);
    if (place == m->keys)
        return NULL;
    struct key *key = &m->key[m->sorted[place]];
    return key_compare(key->bytes, key->length, bytes, length) == 0 ? key : NULL;
}

static struct key *key_make(struct sim_model *m, const uint8_t *bytes, uint32_t length)
{
    struct key *key = key_find(m, bytes, length);
    if (key != NULL)
        return key;
    assert(m->keys < KEYS_MAX);
    uint32_t place = key_place(m, bytes, length);
    memmove(&m->sorted[place + 1], &m->sorted[place], (m->keys - place) * sizeof(m->sorted[0]));
    m->sorted[place] = m->keys;
    key = &m->key[m->keys++];
    memcpy(key->bytes, bytes, length);
    key->length = length;
    key->newest = 0;
    return key;
}

/* The version that a reader of the state as of (seq, time) sees; NULL: no such key. */
static const struct version *version_at(const struct sim_model *m, const struct key *key, uint64_t seq, uint64_t time)
{
    uint32_t v = key->newest;
    while (v != 0 && m->version[v].seq > seq)
        v = m->version[v].before;
    if (v == 0 || m->version[v].dead)
        return NULL;
    if (m->version[v].expiry != 0 && m->version[v].expiry <= time)
        return NULL;
    return &m->version[v];
}

static const struct version *version_now(const struct sim_model *m, const struct key *key)
{
    return key != NULL ? version_at(m, key, m->seq, m->time) : NULL;
}

uint64_t sim_model_version(const struct sim_model *m, const uint8_t *key, uint32_t length)
{
    const struct version *v = version_now(m, key_find(m, key, length));
    return v != NULL ? v->seq : 0;
}

/* The version that counts against the limits: expired ones do until they are taken away. */
static const struct version *version_counted(const struct sim_model *m, const struct key *key)
{
    return key->newest != 0 && !m->version[key->newest].dead ? &m->version[key->newest] : NULL;
}

static void version_add(struct sim_model *m, struct key *key, const uint8_t *value, uint32_t length, uint64_t expiry,
                        bool dead)
{
    const struct version *old = version_counted(m, key);
    if (old != NULL) {
        m->count--;
        m->bytes -= key->length + old->length;
    }
    if (!dead) {
        m->count++;
        m->bytes += key->length + length;
    }
    assert(m->versions < VERSIONS_MAX && m->arena_used + length < ARENA_SIZE);
    uint32_t index = m->versions++;
    m->version[index] = (struct version){
        .seq = m->seq, .expiry = expiry, .at = m->arena_used, .length = length, .before = key->newest, .dead = dead};
    if (length > 0)
        memcpy(m->arena + m->arena_used, value, length);
    m->arena_used += length;
    key->newest = index;
}

void model_expire(struct sim_model *m, uint32_t most)
{
    for (uint32_t i = 0; i < most; i++) {
        struct key *first = NULL;
        uint64_t expiry = UINT64_MAX;
        for (uint32_t k = 0; k < m->keys; k++) {
            struct key *key = &m->key[m->sorted[k]];
            const struct version *v = version_counted(m, key);
            if (v != NULL && v->expiry != 0 && v->expiry <= m->time && v->expiry < expiry) {
                first = key;
                expiry = v->expiry;
            }
        }
        if (first == NULL)
            return;
        version_add(m, first, NULL, 0, 0, true);
    }
}

/* ---- mutations ---- */

struct mutation {
    struct ls_kv_op op;
    const uint8_t *key;
    const uint8_t *value;
};

struct effect {
    const uint8_t *value;
    uint32_t length;
    uint64_t expiry;
    uint64_t number;
    uint64_t found; /* version that was there */
    bool remove;
};

/* The form of one mutation; *size: its bytes. */
static uint16_t mutation_parse(const uint8_t *bytes, uint32_t room, struct mutation *to, uint32_t *size)
{
    struct ls_kv_op *op = &to->op;
    if (room < sizeof(*op))
        return LS_STATUS_BAD_OPERATION;
    memcpy(op, bytes, sizeof(*op));
    bool put = op->code == LS_KV_PUT || op->code == LS_KV_CAS;
    bool valued = put || op->code == LS_KV_APPEND;
    bool argued = op->code == LS_KV_CAS || op->code == LS_KV_CAS_DELETE || op->code == LS_KV_INCR;
    if (op->code == LS_KV_BATCH)
        return LS_STATUS_BAD_OPERATION;
    if (op->code < LS_KV_PUT || op->code > LS_KV_CAS_DELETE)
        return LS_STATUS_UNSUPPORTED;
    if (op->key_length == 0 || op->flags != 0 || op->offset != 0 || op->count != 0 || op->zero != 0)
        return LS_STATUS_BAD_OPERATION;
    if ((op->value_length != 0 && !valued) || (op->argument != 0 && !argued) || (op->ttl != 0 && !put))
        return LS_STATUS_BAD_OPERATION;
    if (op->key_length > LS_KV_KEY_MAX || op->value_length > LS_KV_VALUE_MAX)
        return LS_STATUS_TOO_LARGE;
    if (sizeof(*op) + op->key_length + op->value_length > room)
        return LS_STATUS_BAD_OPERATION;
    to->key = bytes + sizeof(*op);
    to->value = to->key + op->key_length;
    *size = (uint32_t)sizeof(*op) + op->key_length + op->value_length;
    return LS_STATUS_OK;
}

static bool number_parse(const uint8_t *text, uint32_t length, int64_t *number)
{
    bool negative = length > 0 && text[0] == '-';
    uint32_t i = negative;
    if (length == i || length > 20 || (text[i] == '0' && length > 1))
        return false;
    __int128 n = 0;
    for (; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        n = n * 10 + (text[i] - '0');
    }
    n = negative ? -n : n;
    if (n > INT64_MAX || n < INT64_MIN)
        return false;
    *number = (int64_t)n;
    return true;
}

static uint16_t incr(struct sim_model *m, const struct mutation *mu, const struct version *v, struct effect *e,
                     uint8_t *scratch)
{
    int64_t old = 0;
    if (v != NULL && !number_parse(m->arena + v->at, v->length, &old))
        return LS_STATUS_NOT_A_NUMBER;
    __int128 sum = (__int128)old + (int64_t)mu->op.argument;
    if (sum > INT64_MAX || sum < INT64_MIN)
        return LS_STATUS_OVERFLOW;
    e->number = (uint64_t)(int64_t)sum;
    e->value = scratch;
    e->length = (uint32_t)snprintf((char *)scratch, 24, "%ld", (long)sum);
    e->expiry = v != NULL ? v->expiry : 0;
    return LS_STATUS_OK;
}

static uint16_t append(struct sim_model *m, const struct mutation *mu, const struct version *v, struct effect *e,
                       uint8_t *scratch)
{
    uint32_t old = v != NULL ? v->length : 0;
    if ((uint64_t)old + mu->op.value_length > LS_KV_VALUE_MAX)
        return LS_STATUS_TOO_LARGE;
    if (old > 0)
        memcpy(scratch, m->arena + v->at, old);
    memcpy(scratch + old, mu->value, mu->op.value_length);
    e->value = scratch;
    e->length = old + mu->op.value_length;
    e->number = e->length;
    e->expiry = v != NULL ? v->expiry : 0;
    return LS_STATUS_OK;
}

static uint16_t effect_find(struct sim_model *m, const struct mutation *mu, struct effect *e, uint8_t *scratch)
{
    memset(e, 0, sizeof(*e));
    const struct version *v = version_now(m, key_find(m, mu->key, mu->op.key_length));
    e->found = v != NULL ? v->seq : 0;
    if ((mu->op.code == LS_KV_CAS || mu->op.code == LS_KV_CAS_DELETE) && e->found != mu->op.argument)
        return LS_STATUS_CONDITION;
    switch (mu->op.code) {
    case LS_KV_CAS:
    case LS_KV_PUT:
        e->value = mu->value;
        e->length = mu->op.value_length;
        if (mu->op.ttl != 0 && mu->op.ttl <= UINT64_MAX - m->time)
            e->expiry = m->time + mu->op.ttl;
        return LS_STATUS_OK;
    case LS_KV_CAS_DELETE:
    case LS_KV_DELETE:
        e->remove = true;
        return v != NULL ? LS_STATUS_OK : LS_STATUS_NOT_FOUND;
    case LS_KV_INCR:
        return incr(m, mu, v, e, scratch);
    default:
        return append(m, mu, v, e, scratch);
    }
}

struct usage {
    uint64_t keys, bytes, written;
};

/* The limits, as if the mutations before it were done; only what grows can break them. */
static uint16_t usage_count(const struct sim_model *m, const struct mutation *mu, const struct effect *e,
                            struct usage *usage)
{
    const struct key *key = key_find(m, mu->key, mu->op.key_length);
    const struct version *old = key != NULL ? version_counted(m, key) : NULL;
    uint64_t before = usage->bytes;
    if (old != NULL) {
        usage->keys--;
        usage->bytes -= mu->op.key_length + old->length;
    }
    if (e->remove)
        return LS_STATUS_OK;
    usage->keys++;
    usage->bytes += mu->op.key_length + e->length;
    usage->written += e->length;
    if (usage->written > LS_OP_MAX)
        return LS_STATUS_TOO_LARGE;
    if (old == NULL && usage->keys > m->keys_max)
        return LS_STATUS_NO_SPACE;
    return usage->bytes > before && usage->bytes > m->bytes_max ? LS_STATUS_NO_SPACE : LS_STATUS_OK;
}

static void effect_do(struct sim_model *m, const struct mutation *mu, const struct effect *e)
{
    struct key *key = key_make(m, mu->key, mu->op.key_length);
    version_add(m, key, e->value, e->remove ? 0 : e->length, e->expiry, e->remove);
}

struct operation {
    struct mutation mutation[LS_KV_BATCH_MAX];
    uint32_t count;
    uint32_t at; /* which one the status is about */
    uint16_t status;
    bool batch;
};

static uint16_t batch_parse(const uint8_t *bytes, uint32_t length, struct operation *o)
{
    struct ls_kv_op op, form = {.code = LS_KV_BATCH};
    memcpy(&op, bytes, sizeof(op));
    form.count = op.count;
    if (memcmp(&op, &form, sizeof(op)) != 0 || op.count == 0)
        return LS_STATUS_BAD_OPERATION;
    if (op.count > LS_KV_BATCH_MAX)
        return LS_STATUS_TOO_LARGE;
    uint32_t at = sizeof(op);
    for (o->at = 0; o->at < op.count; o->at++) {
        struct mutation *mu = &o->mutation[o->at];
        uint32_t size;
        uint16_t status = mutation_parse(bytes + at, length - at, mu, &size);
        if (status != LS_STATUS_OK)
            return status;
        if (ls_pad8(size) > length - at)
            return LS_STATUS_BAD_OPERATION;
        for (uint32_t i = size; i < ls_pad8(size); i++) {
            if (bytes[at + i] != 0)
                return LS_STATUS_BAD_OPERATION;
        }
        for (uint32_t i = 0; i < o->count; i++) {
            if (key_compare(o->mutation[i].key, o->mutation[i].op.key_length, mu->key, mu->op.key_length) == 0)
                return LS_STATUS_BAD_OPERATION;
        }
        o->count++;
        at += ls_pad8(size);
    }
    o->at = op.count - 1;
    return at == length ? LS_STATUS_OK : LS_STATUS_BAD_OPERATION;
}

static void operation_parse(const uint8_t *bytes, uint32_t length, struct operation *o)
{
    o->count = o->at = 0;
    o->batch = length >= sizeof(struct ls_kv_op) && bytes[0] == LS_KV_BATCH;
    if (o->batch) {
        o->status = batch_parse(bytes, length, o);
        return;
    }
    uint32_t size = 0;
    o->status = mutation_parse(bytes, length, &o->mutation[0], &size);
    if (o->status == LS_STATUS_OK && size != length)
        o->status = LS_STATUS_BAD_OPERATION;
    o->count = o->status == LS_STATUS_OK;
}

void model_execute(struct sim_model *m, const uint8_t *bytes, uint32_t length, struct sim_expected *expected)
{
    static struct operation o;
    static struct effect effect[LS_KV_BATCH_MAX];
    struct ls_kv_result result = {0};
    operation_parse(bytes, length, &o);
    model_expire(m, EXPIRE_BASE + 2 * o.count);
    if (o.status == LS_STATUS_OK) {
        struct usage usage = {.keys = m->count, .bytes = m->bytes};
        uint8_t *scratch = m->scratch;
        for (o.at = 0; o.at < o.count && o.status == LS_STATUS_OK; o.at++) {
            o.status = effect_find(m, &o.mutation[o.at], &effect[o.at], scratch);
            scratch += effect[o.at].value == scratch ? effect[o.at].length : 0;
            if (o.status == LS_STATUS_OK)
                o.status = usage_count(m, &o.mutation[o.at], &effect[o.at], &usage);
        }
        o.at--;
        if (o.status != LS_STATUS_OK)
            result.version = effect[o.at].found;
        for (uint32_t i = 0; i < o.count && o.status == LS_STATUS_OK; i++)
            effect_do(m, &o.mutation[i], &effect[i]);
    }
    if (o.status != LS_STATUS_OK) {
        result.index = o.at;
    } else if (o.batch) {
        result.version = m->seq;
    } else {
        result.version = effect[0].remove ? 0 : m->seq;
        result.number = effect[0].number;
    }
    expected->status = o.status;
    expected->length = sizeof(result);
    expected->hash = sim_bytes_hash(&result, sizeof(result));
}

/* ---- reads ---- */

struct answer {
    const uint8_t *bytes;
    uint32_t length;
    uint64_t seq, time;
    uint16_t status;
};

#define DEMAND(condition, text)                                                                                        \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            return text;                                                                                               \
    } while (0)

static const char *check_value(const struct sim_model *m, const struct version *v, uint32_t offset,
                               const struct answer *a)
{
    struct ls_kv_value value;
    DEMAND(a->length >= sizeof(value), "the result is too short");
    memcpy(&value, a->bytes, sizeof(value));
    uint32_t left = v->length - offset;
    uint32_t room = LS_READ_RESULT_MAX - (uint32_t)sizeof(value);
    DEMAND(a->status == (left <= room ? LS_STATUS_OK : LS_STATUS_LARGE_VALUE), "wrong status for this length");
    DEMAND(value.version == v->seq, "another version");
    DEMAND(value.expiry == v->expiry, "another expiry");
    DEMAND(value.total == v->length && value.offset == offset, "another length");
    DEMAND(value.length == (left < room ? left : room) && a->length == sizeof(value) + value.length,
           "not as many bytes as fit");
    DEMAND(memcmp(a->bytes + sizeof(value), m->arena + v->at + offset, value.length) == 0, "other bytes");
    return NULL;
}

static const char *check_failure(const struct answer *a, uint16_t status)
{
    DEMAND(a->status == status, "not the status that it must have");
    DEMAND(a->length == 0, "a failed read with a result");
    return NULL;
}

static const char *check_get(const struct sim_model *m, const struct ls_kv_op *op, const uint8_t *rest, uint32_t length,
                             const struct answer *a)
{
    bool part = op->code == LS_KV_GET_PART;
    struct ls_kv_op form = {.code = op->code, .key_length = op->key_length};
    if (part) {
        form.argument = op->argument;
        form.offset = op->offset;
    }
    if (memcmp(op, &form, sizeof(form)) != 0 || op->key_length == 0)
        return check_failure(a, LS_STATUS_BAD_OPERATION);
    if (op->key_length > LS_KV_KEY_MAX)
        return check_failure(a, LS_STATUS_TOO_LARGE);
    if (op->key_length != length)
        return check_failure(a, LS_STATUS_BAD_OPERATION);
    const struct key *key = key_find(m, rest, length);
    const struct version *v = key != NULL ? version_at(m, key, a->seq, a->time) : NULL;
    if (!part)
        return v != NULL ? check_value(m, v, 0, a) : check_failure(a, LS_STATUS_NOT_FOUND);
    if (v == NULL || v->seq != op->argument)
        return check_failure(a, LS_STATUS_VERSION_GONE);
    if (op->offset > v->length)
        return check_failure(a, LS_STATUS_BAD_OPERATION);
    return check_value(m, v, op->offset, a);
}

/* One record of a page at *at. `name`: the key as it must stand there, NULL for none. */
static const char *check_record(const struct sim_model *m, const struct answer *a, uint32_t *at,
                                const struct version *v, const struct key *name, bool values)
{
    struct ls_kv_record record;
    uint32_t key_length = name != NULL ? name->length : 0;
    DEMAND(a->length - *at >= sizeof(record), "a record is cut off");
    memcpy(&record, a->bytes + *at, sizeof(record));
    *at += sizeof(record);
    DEMAND(record.key_length == key_length && record.zero == 0, "a record of another key");
    DEMAND(record.version == (v != NULL ? v->seq : 0), "a record of another version");
    DEMAND(record.total == (v != NULL ? v->length : 0), "a record of another length");
    uint16_t status = v == NULL ? LS_STATUS_NOT_FOUND : LS_STATUS_OK;
    bool fits = v != NULL && values && ls_pad8((uint32_t)sizeof(record) + key_length + v->length) <= PAGE_ROOM;
    if (v != NULL && values && !fits)
        status = LS_STATUS_LARGE_VALUE;
    DEMAND(record.status == status, "a record with another status");
    DEMAND(record.length == (fits ? v->length : 0), "a record without its value, or with one");
    DEMAND(a->length - *at >= ls_pad8(key_length + record.length), "a record is cut off");
    DEMAND(key_length == 0 || memcmp(a->bytes + *at, name->bytes, key_length) == 0, "a record of another key");
    DEMAND(record.length == 0 || memcmp(a->bytes + *at + key_length, m->arena + v->at, record.length) == 0,
           "a record with other bytes");
    *at += ls_pad8((uint32_t)sizeof(record) + key_length + record.length) - (uint32_t)sizeof(record);
    return NULL;
}

static const char *page_begin(const struct answer *a, struct ls_kv_page *page)
{
    DEMAND(a->status == LS_STATUS_OK, "not the status that it must have");
    DEMAND(a->length >= sizeof(*page), "the result is too short");
    memcpy(page, a->bytes, sizeof(*page));
    DEMAND(page->count > 0 || page->more == 0, "an empty page that is not the last");
    return NULL;
}

static uint16_t multi_form(const struct ls_kv_op *op, const uint8_t *rest, uint32_t length)
{
    struct ls_kv_op form = {.code = LS_KV_MULTI_GET, .count = op->count, .value_length = op->value_length};
    if (memcmp(op, &form, sizeof(form)) != 0 || op->count == 0 || (op->value_length != 0 && op->value_length != length))
        return LS_STATUS_BAD_OPERATION;
    if (op->count > LS_KV_READ_KEYS_MAX)
        return LS_STATUS_TOO_LARGE;
    uint32_t at = 0;
    for (uint32_t i = 0; i < op->count; i++) {
        uint16_t n;
        if (length - at < 2)
            return LS_STATUS_BAD_OPERATION;
        memcpy(&n, rest + at, 2);
        at += 2;
        if (n == 0 || n > length - at)
            return LS_STATUS_BAD_OPERATION;
        if (n > LS_KV_KEY_MAX)
            return LS_STATUS_TOO_LARGE;
        at += n;
    }
    return at == length ? LS_STATUS_OK : LS_STATUS_BAD_OPERATION;
}

static const char *check_multi(const struct sim_model *m, const struct ls_kv_op *op, const uint8_t *rest,
                               uint32_t length, const struct answer *a)
{
    uint16_t form = multi_form(op, rest, length);
    if (form != LS_STATUS_OK)
        return check_failure(a, form);
    struct ls_kv_page page;
    const char *problem = page_begin(a, &page);
    uint32_t at = sizeof(page), from = 0;
    for (uint32_t i = 0; problem == NULL && i < page.count; i++) {
        uint16_t n;
        DEMAND(i < op->count, "more records than keys");
        memcpy(&n, rest + from, 2);
        const struct key *key = key_find(m, rest + from + 2, n);
        from += 2u + n;
        problem = check_record(m, a, &at, key != NULL ? version_at(m, key, a->seq, a->time) : NULL, NULL, true);
    }
    if (problem != NULL)
        return problem;
    DEMAND(page.more == (page.count < op->count), "wrong about there being more");
    DEMAND(at == a->length, "bytes behind the last record");
    return NULL;
}

static const char *check_scan(const struct sim_model *m, const struct ls_kv_op *op, const uint8_t *rest,
                              uint32_t length, const struct answer *a)
{
    if ((op->flags & ~LS_KV_SCAN_KEYS_ONLY) != 0 || op->argument != 0 || op->ttl != 0 || op->offset != 0 ||
        op->zero != 0 || op->count == 0)
        return check_failure(a, LS_STATUS_BAD_OPERATION);
    if (op->key_length > LS_KV_KEY_MAX + 1 || op->value_length > LS_KV_KEY_MAX + 1 || op->count > LS_KV_READ_KEYS_MAX)
        return check_failure(a, LS_STATUS_TOO_LARGE);
    if (op->key_length + op->value_length != length)
        return check_failure(a, LS_STATUS_BAD_OPERATION);
    struct ls_kv_page page;
    const char *problem = page_begin(a, &page);
    const uint8_t *end = rest + op->key_length;
    uint32_t at = sizeof(page), found = 0;
    bool more = false;
    for (uint32_t i = key_place(m, rest, op->key_length); problem == NULL && i < m->keys; i++) {
        const struct key *key = &m->key[m->sorted[i]];
        if (op->value_length != 0 && key_compare(key->bytes, key->length, end, op->value_length) >= 0)
            break;
        const struct version *v = version_at(m, key, a->seq, a->time);
        if (v == NULL)
            continue;
        if (found == page.count) {
            more = true;
            break;
        }
        problem = check_record(m, a, &at, v, key, (op->flags & LS_KV_SCAN_KEYS_ONLY) == 0);
        found++;
    }
    if (problem != NULL)
        return problem;
    DEMAND(found == page.count && page.count <= op->count, "records of keys that are not there");
    DEMAND((page.more != 0) == more, "wrong about there being more");
    DEMAND(at == a->length, "bytes behind the last record");
    return NULL;
}

const char *sim_model_check_read(struct sim_model *m, const uint8_t *operation, uint32_t length, uint64_t seq,
                                 uint16_t status, const uint8_t *bytes, uint32_t n)
{
    struct answer a = {
        .bytes = bytes, .length = n, .seq = seq, .time = seq > 0 ? m->time_at[seq] : 0, .status = status};
    struct ls_kv_op op;
    if (length < sizeof(op))
        return check_failure(&a, LS_STATUS_BAD_OPERATION);
    memcpy(&op, operation, sizeof(op));
    const uint8_t *rest = operation + sizeof(op);
    length -= (uint32_t)sizeof(op);
    switch (op.code) {
    case LS_KV_GET:
    case LS_KV_GET_PART:
        return check_get(m, &op, rest, length, &a);
    case LS_KV_MULTI_GET:
        return check_multi(m, &op, rest, length, &a);
    case LS_KV_SCAN:
        return check_scan(m, &op, rest, length, &a);
    default:
        return check_failure(&a, LS_STATUS_UNSUPPORTED);
    }
}
