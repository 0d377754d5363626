/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the canonical log means, worked out by the most naive means: sessions as an array that is searched, keys as one
 * sorted array, every version of every key kept for ever, so that a read as of any seq can be judged. It shares with
 * the code under test nothing but the formats.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "sim.h"

#define KEYS_MAX     4096
#define VERSIONS_MAX (1u << 19)
#define ARENA_SIZE   (384ull * 1024 * 1024)
#define SESSIONS_MAX 256
#define OUTCOMES_MAX SIM_RECORDS_MAX

/* Keys that expire in one entry: the state machine's definition, see dataplane/state. */
#define EXPIRE_BASE 8
#define EXPIRE_IDLE 32

struct version {
    uint64_t seq, expiry;
    size_t at; /* of the value, in the arena */
    uint32_t length;
    uint32_t before; /* 0: none */
    bool dead;
};

struct key {
    uint8_t bytes[LS_KV_KEY_MAX];
    uint32_t length;
    uint32_t newest;
};

struct session {
    uint64_t id, next, floor, active;
    uint64_t used; /* order of last use */
    uint8_t nonce[LS_NONCE_SIZE];
    bool gone;
};

struct sim_model {
    struct key *key;
    uint32_t *sorted;
    uint32_t keys;
    struct version *version;
    uint32_t versions;
    uint8_t *arena;
    size_t arena_used;
    uint64_t count, bytes; /* of what counts against the limits */
    uint64_t keys_max, bytes_max;
    uint64_t seq, time;
    uint64_t *time_at;
    struct session session[SESSIONS_MAX];
    uint32_t sessions;
    uint64_t sessions_limit, idle_ns, window;
    uint64_t uses;
    struct sim_map outcomes;
    struct sim_outcome *outcome;
    uint32_t outcome_count;
    uint8_t *scratch;
};

static void *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert(memory != MAP_FAILED);
    return memory;
}

struct sim_model *sim_model_create(void)
{
    struct sim_model *m = map(sizeof(*m));
    m->key = map(KEYS_MAX * sizeof(*m->key));
    m->sorted = map(KEYS_MAX * sizeof(*m->sorted));
    m->version = map(VERSIONS_MAX * sizeof(*m->version));
    m->arena = map(ARENA_SIZE);
    m->time_at = map(SIM_SEQS_MAX * sizeof(*m->time_at));
    m->outcome = map(OUTCOMES_MAX * sizeof(*m->outcome));
    m->scratch = map(2 * LS_KV_VALUE_MAX);
    sim_map_init(&m->outcomes, 2 * OUTCOMES_MAX);
    return m;
}

void sim_model_reset(struct sim_model *m, uint32_t window)
{
    m->keys = 0;
    m->versions = 1;
    m->arena_used = 0;
    m->count = m->bytes = 0;
    m->keys_max = m->bytes_max = 0;
    m->seq = m->time = 0;
    m->sessions = 0;
    m->sessions_limit = 0;
    m->uses = 0;
    m->window = window;
    m->outcome_count = 0;
    sim_map_clear(&m->outcomes);
}

bool sim_model_is_full(const struct sim_model *m)
{
    return m->versions > VERSIONS_MAX - 8192 || m->arena_used > ARENA_SIZE - (64u << 20) || m->keys > KEYS_MAX - 256 ||
           m->sessions > SESSIONS_MAX - 32;
}

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
    m->version[index] = (struct version){.seq = m->seq,
                                         .expiry = expiry,
                                         .at = m->arena_used,
                                         .length = length,
                                         .before = key->newest,
                                         .dead = dead};
    if (length > 0)
        memcpy(m->arena + m->arena_used, value, length);
    m->arena_used += length;
    key->newest = index;
}

/* Takes away what has expired: in the order of (expiry, key), at most so many. */
static void expire(struct sim_model *m, uint32_t most)
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
    uint32_t size; /* of all of it */
};

struct effect {
    struct key *key; /* NULL: does not exist yet */
    bool write, remove;
    uint64_t expiry;
    const uint8_t *value;
    uint32_t length;
    uint64_t number;
    uint16_t status;
    uint64_t version; /* that it found, where that is the answer */
};

static bool mutation_parse(const uint8_t *bytes, uint32_t length, struct mutation *to)
{
    if (length < sizeof(to->op))
        return false;
    memcpy(&to->op, bytes, sizeof(to->op));
    to->key = bytes + sizeof(to->op);
    to->value = to->key + to->op.key_length;
    uint64_t size = sizeof(to->op) + (uint64_t)to->op.key_length + to->op.value_length;
    if (size > length)
        return false;
    to->size = (uint32_t)size;
    return true;
}

static bool number_parse(const uint8_t *value, uint32_t length, int64_t *number)
{
    bool negative = length > 0 && value[0] == '-';
    uint32_t i = negative;
    if (length == i || length > 20)
        return false;
    __int128 n = 0;
    for (; i < length; i++) {
        if (value[i] < '0' || value[i] > '9')
            return false;
        n = n * 10 + (value[i] - '0');
    }
    if (negative)
        n = -n;
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
    e->write = true;
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
    e->write = true;
    return LS_STATUS_OK;
}

static uint16_t effect_find(struct sim_model *m, const struct mutation *mu, struct effect *e, uint8_t *scratch)
{
    memset(e, 0, sizeof(*e));
    e->key = key_find(m, mu->key, mu->op.key_length);
    const struct version *v = version_now(m, e->key);
    uint64_t version = v != NULL ? v->seq : 0;
    e->version = version;
    switch (mu->op.code) {
    case LS_KV_CAS:
        if (version != mu->op.argument)
            return LS_STATUS_CONDITION;
        /* fall through */
    case LS_KV_PUT:
        e->write = true;
        e->value = mu->value;
        e->length = mu->op.value_length;
        e->expiry = mu->op.ttl != 0 ? (mu->op.ttl > UINT64_MAX - m->time ? UINT64_MAX : m->time + mu->op.ttl) : 0;
        return LS_STATUS_OK;
    case LS_KV_CAS_DELETE:
        if (version != mu->op.argument)
            return LS_STATUS_CONDITION;
        /* fall through */
    case LS_KV_DELETE:
        if (v == NULL)
            return LS_STATUS_NOT_FOUND;
        e->remove = true;
        return LS_STATUS_OK;
    case LS_KV_INCR:
        return incr(m, mu, v, e, scratch);
    default:
        return append(m, mu, v, e, scratch);
    }
}

static uint16_t mutation_check(const struct mutation *mu)
{
    const struct ls_kv_op *op = &mu->op;
    if (op->code < LS_KV_PUT || op->code > LS_KV_CAS_DELETE)
        return LS_STATUS_UNSUPPORTED;
    return LS_STATUS_OK;
}

#include "model_kv.inc"

/* ---- sessions ---- */

static struct session *session_find(const struct sim_model *m, uint64_t id)
{
    for (uint32_t i = 0; i < m->sessions; i++) {
        if (m->session[i].id == id)
            return (struct session *)&m->session[i];
    }
    return NULL;
}

bool sim_model_session_gone(const struct sim_model *m, uint64_t id, uint64_t *floor)
{
    const struct session *s = session_find(m, id);
    if (s == NULL || s->gone)
        return true;
    *floor = s->floor;
    return false;
}

bool sim_model_outcome(const struct sim_model *m, uint64_t session, uint64_t number, struct sim_outcome *outcome)
{
    uint32_t index = sim_map_get(&m->outcomes, session, number);
    if (index == SIM_NONE)
        return false;
    *outcome = m->outcome[index];
    return true;
}

static void outcome_keep(struct sim_model *m, const struct ls_entry *entry, const struct sim_expected *e)
{
    assert(m->outcome_count < OUTCOMES_MAX && sim_map_get(&m->outcomes, entry->session, entry->number) == SIM_NONE);
    m->outcome[m->outcome_count] =
        (struct sim_outcome){.seq = entry->seq, .hash = e->hash, .status = e->status, .length = e->length};
    sim_map_set(&m->outcomes, entry->session, entry->number, m->outcome_count++);
}

static uint32_t sessions_open(const struct sim_model *m)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->sessions; i++)
        n += !m->session[i].gone;
    return n;
}

static struct session *session_idlest(struct sim_model *m)
{
    struct session *idlest = NULL;
    for (uint32_t i = 0; i < m->sessions; i++) {
        struct session *s = &m->session[i];
        if (!s->gone && (idlest == NULL || s->used < idlest->used))
            idlest = s;
    }
    return idlest;
}

static uint16_t session_open(struct sim_model *m, const struct ls_entry *entry)
{
    for (uint32_t i = 0; i < m->sessions; i++) {
        struct session *s = &m->session[i];
        if (!s->gone && memcmp(s->nonce, entry + 1, LS_NONCE_SIZE) == 0) {
            s->active = entry->time;
            s->used = ++m->uses;
            return LS_STATUS_OK;
        }
    }
    for (int i = 0; i < 2 && sessions_open(m) >= m->sessions_limit; i++) {
        struct session *idlest = session_idlest(m);
        if (idlest == NULL || entry->time - idlest->active <= m->idle_ns)
            break;
        idlest->gone = true;
    }
    if (sessions_open(m) >= m->sessions_limit)
        return LS_STATUS_NO_SESSION_FREE;
    assert(m->sessions < SESSIONS_MAX);
    struct session *s = &m->session[m->sessions++];
    *s = (struct session){.id = entry->seq, .next = 1, .floor = 1, .active = entry->time, .used = ++m->uses};
    memcpy(s->nonce, entry + 1, LS_NONCE_SIZE);
    return LS_STATUS_OK;
}

/* True: to be executed. */
static bool session_request(struct sim_model *m, const struct ls_entry *entry, struct sim_expected *e)
{
    struct session *s = session_find(m, entry->session);
    if (s == NULL || s->gone) {
        e->status = LS_STATUS_SESSION_UNKNOWN;
        return false;
    }
    s->active = entry->time;
    s->used = ++m->uses;
    if (entry->number > s->next) {
        e->status = LS_STATUS_OUT_OF_ORDER;
        return false;
    }
    if (entry->awaited <= entry->number && entry->number - entry->awaited > s->floor)
        s->floor = entry->number - entry->awaited;
    if (entry->number < s->next) {
        struct sim_outcome outcome;
        bool known = sim_model_outcome(m, entry->session, entry->number, &outcome);
        assert(known);
        e->status = entry->number < s->floor ? (uint16_t)LS_STATUS_RESULT_GONE : outcome.status;
        return false;
    }
    s->next++;
    if (s->next > m->window && s->floor < s->next - m->window)
        s->floor = s->next - m->window;
    if (entry->kind == LS_ENTRY_QUERY)
        e->status = LS_STATUS_CLOSED;
    else if (entry->deadline != 0 && entry->time > entry->deadline)
        e->status = LS_STATUS_EXPIRED;
    else
        return true;
    outcome_keep(m, entry, e);
    return false;
}

void sim_model_apply(struct sim_model *m, const struct ls_entry *entry, struct sim_expected *e)
{
    assert(entry->seq == m->seq + 1);
    m->seq = entry->seq;
    m->time = entry->time;
    m->time_at[entry->seq] = entry->time;
    e->hash = sim_bytes_hash(NULL, 0);
    switch (entry->kind) {
    case LS_ENTRY_OPEN:
        e->status = session_open(m, entry);
        break;
    case LS_ENTRY_LIMITS: {
        struct ls_entry_limits limits;
        memcpy(&limits, entry + 1, sizeof(limits));
        m->sessions_limit = limits.sessions;
        m->idle_ns = limits.session_idle;
        m->window = limits.window;
        m->keys_max = limits.keys;
        m->bytes_max = limits.bytes;
        break;
    }
    case LS_ENTRY_OPERATION:
    case LS_ENTRY_QUERY:
        if (session_request(m, entry, e)) {
            e->executed = true;
            operation_execute(m, (const uint8_t *)(entry + 1), entry->length, e);
            outcome_keep(m, entry, e);
            return;
        }
        break;
    default:
        break;
    }
    expire(m, EXPIRE_IDLE);
}
