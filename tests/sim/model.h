/* SPDX-License-Identifier: BSD-3-Clause */
/* The naive model's own memory, shared by its two files and by nobody else. */
#ifndef SIM_MODEL_H
#define SIM_MODEL_H

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

/* model_kv.c */
void model_execute(struct sim_model *m, const uint8_t *operation, uint32_t length, struct sim_expected *e);
/* Takes away what has expired: in the order of (expiry, key), at most so many. */
void model_expire(struct sim_model *m, uint32_t most);

#endif
