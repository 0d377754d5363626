/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the canonical log means, worked out by the most naive means: sessions as an array that is searched, keys as one
 * sorted array (model_kv.c), every version of every key kept for ever, so that a read as of any seq can be judged. It
 * shares with the code under test nothing but the formats.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

static void *map(size_t bytes)
{
    void *memory = calloc(1, bytes); /* address space: pages come as they are touched */
    assert(memory != NULL);
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
            model_execute(m, (const uint8_t *)(entry + 1), entry->length, e);
            outcome_keep(m, entry, e);
            return;
        }
        break;
    default:
        break;
    }
    model_expire(m, EXPIRE_IDLE);
}
