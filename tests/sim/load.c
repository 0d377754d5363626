/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The load: random key-value operations over few keys, so that they meet, with values that are mostly small, now and
 * then large enough to be pulled, and now and then nonsense.
 */
#include <string.h>

#include "sim.h"

static uint32_t key_draw(struct sim *sim, uint8_t *to)
{
    struct sim_rng *rng = &sim->rng_load;
    uint32_t keys = sim->config.keys;
    uint32_t number = (uint32_t)sim_rng_below(rng, sim_rng_below(rng, 2) ? keys : keys / 8 + 1);
    if (number % 17 == 5) {
        /* A long one that shares its beginning with others. */
        uint32_t length = 60 + number % 190;
        memset(to, 'l', length);
        memcpy(to + length - 4, &number, 4);
        return length;
    }
    return (uint32_t)snprintf((char *)to, 16, "k%03u", number);
}

static uint32_t value_draw(struct sim *sim, uint8_t *to, uint32_t room, bool small)
{
    struct sim_rng *rng = &sim->rng_load;
    const struct sim_config *c = &sim->config;
    uint32_t length = (uint32_t)sim_rng_below(rng, c->value_max + 1);
    if (!small && sim_rng_chance(rng, c->large_ppm))
        length = (uint32_t)sim_rng_below(rng, c->large_max + 1);
    if (length > room)
        length = room;
    if (sim_rng_below(rng, 8) == 0)
        return (uint32_t)snprintf((char *)to, 24, "%lu", sim_rng_below(rng, 1000));
    uint64_t word = sim_rng_next(rng);
    for (uint32_t i = 0; i < length; i += 8) {
        uint32_t n = length - i < 8 ? length - i : 8;
        memcpy(to + i, &word, n);
        word = word * 6364136223846793005ull + 1442695040888963407ull;
    }
    return length;
}

static uint8_t code_draw(struct sim *sim)
{
    static const uint8_t code[] = {LS_KV_PUT,  LS_KV_PUT,    LS_KV_PUT,    LS_KV_CAS,        LS_KV_INCR,
                                   LS_KV_INCR, LS_KV_APPEND, LS_KV_DELETE, LS_KV_CAS_DELETE, LS_KV_PUT};
    return code[sim_rng_below(&sim->rng_load, sizeof(code))];
}

/* One mutation; returns its length. */
static uint32_t mutation(struct sim *sim, uint8_t *to, uint32_t room, bool in_batch)
{
    struct sim_rng *rng = &sim->rng_load;
    struct ls_kv_op op = {.code = code_draw(sim)};
    uint8_t *key = to + sizeof(op);
    op.key_length = (uint16_t)key_draw(sim, key);
    uint8_t *value = key + op.key_length;
    uint32_t left = room - (uint32_t)sizeof(op) - op.key_length;
    switch (op.code) {
    case LS_KV_PUT:
    case LS_KV_CAS:
        op.value_length = value_draw(sim, value, left, in_batch);
        if (sim_rng_chance(rng, sim->config.ttl_ppm))
            op.ttl = SIM_MS + sim_rng_spread(rng, 40 * SIM_MS);
        break;
    case LS_KV_APPEND:
        op.value_length = value_draw(sim, value, left < 64 ? left : 64, true);
        break;
    case LS_KV_INCR:
        op.argument = sim_rng_below(rng, 100) - 20;
        if (sim_rng_below(rng, 64) == 0)
            op.argument = (uint64_t)INT64_MAX - 5;
        break;
    default:
        break;
    }
    /* A version that some key may really have: the workload does not know any better than a client that read. */
    if (op.code == LS_KV_CAS || op.code == LS_KV_CAS_DELETE)
        op.argument = sim_rng_below(rng, 3) == 0 ? 0 : sim_model_version(sim->ledger.model, key, op.key_length);
    memcpy(to, &op, sizeof(op));
    return (uint32_t)sizeof(op) + op.key_length + op.value_length;
}

static uint32_t batch(struct sim *sim, uint8_t *to, uint32_t room)
{
    struct ls_kv_op op = {.code = LS_KV_BATCH};
    uint32_t wanted = 1 + (uint32_t)sim_rng_below(&sim->rng_load, 6);
    uint32_t at = sizeof(op);
    for (uint32_t i = 0; i < wanted && at + 2048 < room; i++) {
        uint32_t length = mutation(sim, to + at, 1024, true);
        memset(to + at + length, 0, ls_pad8(length) - length);
        at += ls_pad8(length);
        op.count++;
    }
    memcpy(to, &op, sizeof(op));
    return at;
}

/* Whatever a broken client may send as an operation. */
static uint32_t nonsense(struct sim *sim, uint8_t *to, uint32_t room)
{
    struct sim_rng *rng = &sim->rng_load;
    if (sim_rng_below(rng, 4) == 0)
        return (uint32_t)snprintf((char *)to, room, "nonsense");
    uint32_t length = mutation(sim, to, 1024, true);
    if (sim_rng_below(rng, 3) == 0)
        return (uint32_t)sim_rng_below(rng, length + 1);
    to[sim_rng_below(rng, sizeof(struct ls_kv_op))] ^= (uint8_t)(1u << sim_rng_below(rng, 8));
    return length;
}

uint32_t sim_load_mutation(struct sim *sim, uint8_t *to, uint32_t room)
{
    struct sim_rng *rng = &sim->rng_load;
    if (sim_rng_chance(rng, sim->config.bad_ppm))
        return nonsense(sim, to, 1200);
    if (sim_rng_chance(rng, sim->config.batch_ppm))
        return batch(sim, to, room < 8192 ? room : 8192);
    return mutation(sim, to, room, false);
}

uint32_t sim_load_read(struct sim *sim, uint8_t *to, uint32_t room)
{
    struct sim_rng *rng = &sim->rng_load;
    struct ls_kv_op op = {.code = LS_KV_GET};
    uint8_t *at = to + sizeof(op);
    uint64_t draw = sim_rng_below(rng, 16);
    if (draw < 8) {
        op.key_length = (uint16_t)key_draw(sim, at);
        at += op.key_length;
    } else if (draw < 10) {
        op.code = LS_KV_GET_PART;
        op.key_length = (uint16_t)key_draw(sim, at);
        op.argument = sim_model_version(sim->ledger.model, at, op.key_length);
        op.offset = sim_rng_below(rng, 2) ? 0 : (uint32_t)sim_rng_below(rng, 2000);
        at += op.key_length;
    } else if (draw < 13) {
        op.code = LS_KV_MULTI_GET;
        op.count = (uint16_t)(1 + sim_rng_below(rng, 8));
        for (uint32_t i = 0; i < op.count; i++) {
            uint8_t key[LS_KV_KEY_MAX];
            uint16_t length = (uint16_t)key_draw(sim, key);
            if (at + 2 + length > to + room) {
                op.count = (uint16_t)i;
                break;
            }
            memcpy(at, &length, 2);
            memcpy(at + 2, key, length);
            at += 2 + length;
        }
    } else {
        op.code = LS_KV_SCAN;
        op.flags = sim_rng_below(rng, 4) == 0 ? LS_KV_SCAN_KEYS_ONLY : 0;
        op.count = (uint16_t)(1 + sim_rng_below(rng, LS_KV_READ_KEYS_MAX));
        if (sim_rng_below(rng, 3) != 0)
            op.key_length = (uint16_t)key_draw(sim, at);
        at += op.key_length;
        if (sim_rng_below(rng, 3) == 0)
            op.value_length = key_draw(sim, at);
        at += op.value_length;
    }
    if (sim_rng_chance(rng, sim->config.bad_ppm))
        ((uint8_t *)&op)[sim_rng_below(rng, sizeof(op))] ^= (uint8_t)(1u << sim_rng_below(rng, 8));
    memcpy(to, &op, sizeof(op));
    return (uint32_t)(at - to);
}

uint32_t sim_kv_op(uint8_t *to, uint8_t code, const char *key, const void *value, uint32_t length, uint64_t argument,
                   uint64_t ttl)
{
    struct ls_kv_op op = {.code = code,
                          .key_length = (uint16_t)strlen(key),
                          .value_length = value != NULL ? length : 0,
                          .argument = argument,
                          .ttl = ttl};
    memcpy(to, &op, sizeof(op));
    memcpy(to + sizeof(op), key, op.key_length);
    if (op.value_length > 0)
        memcpy(to + sizeof(op) + op.key_length, value, op.value_length);
    return (uint32_t)sizeof(op) + op.key_length + op.value_length;
}
