/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From the bytes of a mutation or batch to a plan that has been checked in every field. The bytes come from clients
 * through the log: anything is possible. Called by the writer for each entry; depends on nothing but the bytes.
 */
#include "kv_machine.h"

/* Which fields an operation may use; the others are zero. */
struct ls_kv_form {
    bool known;
    bool value;
    bool argument;
    bool ttl;
};

static const struct ls_kv_form ls_kv_forms[] = {
    [LS_KV_PUT] = {.known = true, .value = true, .ttl = true},
    [LS_KV_DELETE] = {.known = true},
    [LS_KV_CAS] = {.known = true, .value = true, .argument = true, .ttl = true},
    [LS_KV_INCR] = {.known = true, .argument = true},
    [LS_KV_APPEND] = {.known = true, .value = true},
    [LS_KV_BATCH] = {.known = false}, /* no batch inside a batch */
    [LS_KV_CAS_DELETE] = {.known = true, .argument = true},
};
#define LS_KV_FORMS (sizeof(ls_kv_forms) / sizeof(ls_kv_forms[0]))

/* One mutation at the beginning of `room` bytes; *used: its length without padding. */
static uint16_t ls_mutation_parse(const uint8_t *bytes, uint32_t room, bool known_hash, struct ls_kv_mutation *mutation,
                                  uint32_t *used)
{
    struct ls_kv_op op;
    const struct ls_kv_form *form;

    if (room < sizeof(op))
        return LS_STATUS_BAD_OPERATION;
    memcpy(&op, bytes, sizeof(op));
    if (op.code >= LS_KV_FORMS || !ls_kv_forms[op.code].known)
        return op.code == LS_KV_BATCH ? LS_STATUS_BAD_OPERATION : LS_STATUS_UNSUPPORTED;
    form = &ls_kv_forms[op.code];
    if (op.key_length == 0 || op.flags != 0 || op.offset != 0 || op.count != 0 || op.zero != 0 ||
        (!form->value && op.value_length != 0) || (!form->argument && op.argument != 0) || (!form->ttl && op.ttl != 0))
        return LS_STATUS_BAD_OPERATION;
    if (op.key_length > LS_KV_KEY_MAX || op.value_length > LS_KV_VALUE_MAX)
        return LS_STATUS_TOO_LARGE;
    if (op.key_length + op.value_length > room - (uint32_t)sizeof(op))
        return LS_STATUS_BAD_OPERATION;

    mutation->code = op.code;
    mutation->key = bytes + sizeof(op);
    mutation->key_length = (uint8_t)op.key_length;
    mutation->value = mutation->key + op.key_length;
    mutation->value_length = op.value_length;
    mutation->argument = op.argument;
    mutation->ttl = op.ttl;
    if (!known_hash) {
        mutation->hash = ls_kv_key_hash(mutation->key, mutation->key_length);
        mutation->slot = 0;
    }
    *used = (uint32_t)sizeof(op) + op.key_length + op.value_length;
    return LS_STATUS_OK;
}

static bool ls_bytes_are_zero(const uint8_t *bytes, uint32_t n)
{
    while (n > 0 && bytes[n - 1] == 0)
        n--;
    return n == 0;
}

static bool ls_plan_has_key(const struct ls_kv_plan *plan, const struct ls_kv_mutation *mutation)
{
    for (uint32_t i = 0; i < plan->count; i++) {
        const struct ls_kv_mutation *other = &plan->mutation[i];
        if (other->hash == mutation->hash && other->key_length == mutation->key_length &&
            memcmp(other->key, mutation->key, mutation->key_length) == 0)
            return true;
    }
    return false;
}

static uint16_t ls_batch_parse(const uint8_t *bytes, uint32_t length, struct ls_kv_plan *plan)
{
    struct ls_kv_op op;
    uint32_t at = sizeof(op), used, padded;
    uint16_t status;

    memcpy(&op, bytes, sizeof(op));
    if (op.flags != 0 || op.key_length != 0 || op.value_length != 0 || op.argument != 0 || op.ttl != 0 ||
        op.offset != 0 || op.zero != 0 || op.count == 0)
        return LS_STATUS_BAD_OPERATION;
    if (op.count > LS_KV_BATCH_MAX)
        return LS_STATUS_TOO_LARGE;
    for (uint32_t i = 0; i < op.count; i++) {
        struct ls_kv_mutation *mutation = &plan->mutation[i];
        plan->failed = i;
        status = ls_mutation_parse(bytes + at, length - at, false, mutation, &used);
        if (status != LS_STATUS_OK)
            return status;
        padded = ls_pad8(used);
        if (padded > length - at || !ls_bytes_are_zero(bytes + at + used, padded - used) ||
            ls_plan_has_key(plan, mutation))
            return LS_STATUS_BAD_OPERATION;
        plan->count++;
        at += padded;
    }
    return at == length ? LS_STATUS_OK : LS_STATUS_BAD_OPERATION;
}

void ls_kv_parse(const uint8_t *operation, uint32_t length, struct ls_kv_plan *plan)
{
    uint32_t used;

    plan->count = 0;
    plan->failed = 0;
    plan->batch = length >= sizeof(struct ls_kv_op) && operation[0] == LS_KV_BATCH;
    if (plan->batch) {
        plan->status = ls_batch_parse(operation, length, plan);
        return;
    }
    plan->status = ls_mutation_parse(operation, length, plan->known_hash, &plan->mutation[0], &used);
    if (plan->status == LS_STATUS_OK && used != length)
        plan->status = LS_STATUS_BAD_OPERATION;
    plan->count = plan->status == LS_STATUS_OK;
}
