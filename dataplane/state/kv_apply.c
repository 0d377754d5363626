/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Executes entries. The apply worker alone. An entry is parsed, then its memory is made sure of, then keys whose time
 * has come expire, then the operation is planned to the last detail and, if nothing fails, done: all of it or nothing.
 *
 * A burst is looked at three times before it is executed, each time one step further along bucket, record and version,
 * so that the misses of its entries overlap. (Spreading these looks over the execution was measured: no gain.)
 */
#include "kv_machine.h"

/* Values written in one call of apply(): small entries can ask for much (appends to large values, in batches), and net
 * waits on the same core. One entry alone may write LS_KV_BATCH_BYTES_MAX. */
#define LS_KV_APPLY_BYTES_MAX (1024 * 1024)

struct ls_kv_ahead {
    uint64_t hash; /* 0: none (no operation, a batch, malformed) */
    uint32_t slot;
};

static void ls_ahead_bucket(struct ls_machine *m, const struct ls_command *command, uint32_t i,
                            struct ls_kv_ahead *ahead)
{
    struct ls_kv_op op;

    ahead->hash = 0;
    ahead->slot = 0;
    if (command->operation == NULL || command->length < sizeof(op))
        return;
    memcpy(&op, command->operation, sizeof(op));
    if (op.code == LS_KV_BATCH || op.key_length > command->length - sizeof(op) || op.key_length > LS_KV_KEY_MAX)
        return;
    ahead->hash = ls_kv_key_hash(command->operation + sizeof(op), op.key_length);
    __builtin_prefetch(ls_kv_table_bucket(m, ahead->hash));
    struct ls_kv_version *next = &m->versions[ls_kv_pool_peek(&m->version_pool, i)];
    __builtin_prefetch(next, 1);
    if (op.value_length > 32)
        __builtin_prefetch((uint8_t *)next + LS_KV_CACHE_LINE, 1);
}

static void ls_ahead_record(const struct ls_machine *m, struct ls_kv_ahead *ahead)
{
    if (ahead->hash == 0)
        return;
    ahead->slot = ls_kv_bucket_guess(ls_kv_table_bucket(m, ahead->hash), ahead->hash);
    if (ahead->slot != 0)
        __builtin_prefetch(&m->records[ahead->slot], 1);
}

static void ls_ahead_version(const struct ls_machine *m, const struct ls_kv_ahead *ahead)
{
    if (ahead->slot != 0)
        __builtin_prefetch(&m->versions[atomic_load_explicit(&m->records[ahead->slot].current, memory_order_relaxed)]);
}

/* ---- Memory ---- */

static uint64_t ls_plan_blocks(const struct ls_machine *m, const struct ls_kv_plan *plan)
{
    const uint64_t most = ls_kv_blocks_bound(LS_KV_BATCH_BYTES_MAX, LS_KV_BATCH_MAX);
    uint64_t blocks = 0, keys = 0;

    for (uint32_t i = 0; i < plan->count; i++) {
        const struct ls_kv_mutation *mutation = &plan->mutation[i];
        uint32_t length = mutation->value_length, slot, v;
        if (mutation->code == LS_KV_APPEND) {
            slot = ls_kv_table_find(m, mutation->hash, mutation->key, mutation->key_length);
            v = slot != 0 ? atomic_load_explicit(&m->records[slot].current, memory_order_relaxed) : 0;
            if (v != 0 && m->versions[v].length != LS_KV_TOMBSTONE)
                length += m->versions[v].length;
        }
        blocks += ls_kv_blocks_needed(length);
        keys += mutation->key_length > LS_KV_KEY_INLINE;
    }
    /* More than the most is refused as too large when it is planned. */
    return (blocks < most ? blocks : most) + keys;
}

/* Is there memory for so many entries, whatever comes of them? Except blocks. */
static bool ls_entries_have_room(const struct ls_machine *m, uint64_t entries, uint64_t mutations, uint64_t expire_max)
{
    uint64_t writes = entries * (mutations + expire_max);

    return ls_kv_pool_room(&m->version_pool) >= writes && ls_kv_pool_room(&m->record_pool) >= entries * mutations &&
           ls_kv_pool_room(&m->page_pool) >= 2 * entries * mutations &&
           ls_kv_pool_room(&m->leaf_pool) >= entries * mutations &&
           ls_kv_retire_has_room(m, writes * LS_KV_RETIRED_PER_WRITE);
}

/* `plenty`: the burst's beginning has seen that everything but blocks suffices for all of its single operations. */
static bool ls_entry_has_room(const struct ls_machine *m, const struct ls_kv_plan *plan, uint32_t expire_max,
                              bool plenty)
{
    if (!(plenty && plan->count <= 1) && !ls_entries_have_room(m, 1, plan->count, expire_max))
        return false;
    return ls_kv_pool_room(&m->block_pool) >= ls_plan_blocks(m, plan);
}

/* ---- Writing ---- */

uint32_t ls_kv_write(struct ls_machine *m, uint32_t slot, const uint8_t *key, uint8_t key_length, uint64_t hash,
                     uint32_t v)
{
    struct ls_kv_version *new = &m->versions[v];
    const struct ls_kv_version *old = NULL;
    uint64_t due_old = 0, due_new = 0;
    bool first = slot == 0;
    uint32_t replaced = 0;

    if (first) {
        slot = ls_kv_record_new(m, key, key_length);
        ls_kv_checkpoint_created(m, slot);
    } else {
        replaced = atomic_load_explicit(&m->records[slot].current, memory_order_relaxed);
        old = &m->versions[replaced];
    }
    new->previous = replaced;
    new->checksum = ls_kv_version_checksum(m, v, hash);

    if (old != NULL && old->length != LS_KV_TOMBSTONE) {
        due_old = old->expiry;
        m->keys--;
        m->bytes -= (uint64_t)key_length + old->length;
        m->digest -= old->checksum;
    }
    if (new->length != LS_KV_TOMBSTONE) {
        due_new = new->expiry;
        m->keys++;
        m->bytes += (uint64_t)key_length + new->length;
        m->digest += new->checksum;
    }
    if ((due_old | due_new) != 0)
        ls_kv_expiry_set(m, slot, due_new);
    /* Before the store: the walker relies on it. */
    if (replaced != 0 && !ls_kv_checkpoint_keeps(m, slot, replaced))
        ls_kv_retire(m, LS_KV_RETIRED_VERSION, replaced, 0);
    ls_kv_pause();
    /* Release: pairs with the acquire loads of current by readers and walker: the version and its blocks are whole. */
    atomic_store_explicit(&m->records[slot].current, v, memory_order_release);
    atomic_store_explicit(&m->records[slot].lines, ls_kv_version_lines(new->length), memory_order_relaxed);
    if (first) {
        if (!m->private_) /* restore orders them all in the end */
            ls_kv_order_insert(m, slot);
        ls_kv_pause();
        ls_kv_table_insert(m, hash, slot);
    }
    if (new->length == LS_KV_TOMBSTONE)
        ls_kv_retire(m, LS_KV_RETIRED_KEY, slot, v);
    return slot;
}

void ls_kv_publish(struct ls_machine *m)
{
    uint64_t i = atomic_load_explicit(&m->views, memory_order_relaxed) + 1;
    struct ls_kv_view_slot *view = &m->view[i % LS_KV_VIEWS];

    /* Release, each: whoever reads one of these (acquire, ls_kv_view_take()) sees that views had got here before. */
    atomic_store_explicit(&view->seq, m->seq, memory_order_release);
    atomic_store_explicit(&view->time, m->time, memory_order_release);
    /* Release: all that the entries did stands before it; pairs with the acquire load in ls_kv_view_take(). */
    atomic_store_explicit(&m->views, i, memory_order_release);
}

static void ls_kv_expire(struct ls_machine *m, uint32_t expire_max)
{
    uint32_t slot;

    for (uint32_t i = 0; i < expire_max && (slot = ls_kv_expiry_first(m, m->time)) != 0; i++) {
        const uint8_t *key = ls_kv_record_key(m, slot);
        uint8_t length = m->records[slot].length;
        uint32_t v = ls_kv_version_new(m, m->seq, 0, LS_KV_TOMBSTONE);
        (void)ls_kv_write(m, slot, key, length, ls_kv_key_hash(key, length), v);
    }
}

/* ---- Planning ---- */

/* "-"? digits, without leading zeros, within 64 bits; nothing else. */
static bool ls_number_parse(const uint8_t *text, uint32_t length, int64_t *number)
{
    bool negative = length > 0 && text[0] == '-';
    uint32_t at = negative;
    int64_t value = 0;

    if (at == length || length > 20 || (text[at] == '0' && length > 1))
        return false;
    for (; at < length; at++) {
        if (text[at] < '0' || text[at] > '9')
            return false;
        if (__builtin_mul_overflow(value, 10, &value) || /* built up on its own side of zero: INT64_MIN has no twin */
            __builtin_add_overflow(value, negative ? '0' - text[at] : text[at] - '0', &value))
            return false;
    }
    *number = value;
    return true;
}

/* Returns the length; at most 20 characters. */
static uint32_t ls_number_print(int64_t number, char *text)
{
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    char digits[20];
    uint32_t n = 0, length = 0;

    do {
        digits[n++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest != 0);
    if (number < 0)
        text[length++] = '-';
    while (n > 0)
        text[length++] = digits[--n];
    return length;
}

static uint16_t ls_incr_plan(const struct ls_machine *m, struct ls_kv_mutation *mutation)
{
    int64_t number = 0;

    if (mutation->live != 0) {
        const struct ls_kv_version *version = &m->versions[mutation->live];
        if (version->length > LS_KV_INLINE_MAX || !ls_number_parse(version->bytes, version->length, &number))
            return LS_STATUS_NOT_A_NUMBER;
        mutation->expiry = version->expiry;
    }
    if (__builtin_add_overflow(number, (int64_t)mutation->argument, &number))
        return LS_STATUS_OVERFLOW;
    mutation->number = (uint64_t)number;
    mutation->length = ls_number_print(number, mutation->digits);
    return LS_STATUS_OK;
}

static uint16_t ls_append_plan(const struct ls_machine *m, struct ls_kv_mutation *mutation)
{
    if (mutation->live != 0) {
        const struct ls_kv_version *version = &m->versions[mutation->live];
        if (version->length > LS_KV_VALUE_MAX - mutation->value_length)
            return LS_STATUS_TOO_LARGE;
        mutation->length += version->length;
        mutation->expiry = version->expiry;
    }
    mutation->number = mutation->length;
    return LS_STATUS_OK;
}

/* Looks the key up; live: its version, unless it is expired, collected or not. */
static void ls_mutation_find(const struct ls_machine *m, struct ls_kv_mutation *mutation)
{
    const struct ls_kv_view now = {.seq = m->seq, .time = m->time};

    /* Nothing leaves the table during a burst, so a guess of its beginning still holds if the key is the same. */
    if (mutation->slot == 0 || !ls_kv_record_is(m, mutation->slot, mutation->key, mutation->key_length))
        mutation->slot = ls_kv_table_find(m, mutation->hash, mutation->key, mutation->key_length);
    mutation->live = mutation->slot != 0 ? ls_kv_version_at(m, mutation->slot, &now) : 0;
}

static uint16_t ls_mutation_plan(const struct ls_machine *m, struct ls_kv_mutation *mutation)
{
    uint64_t version = mutation->live != 0 ? m->versions[mutation->live].seq : 0;

    mutation->length = mutation->value_length;
    mutation->expiry = 0;
    mutation->number = 0;
    switch (mutation->code) {
    case LS_KV_CAS:
        if (version != mutation->argument)
            return LS_STATUS_CONDITION;
        /* fall through */
    case LS_KV_PUT:
        /* Beyond the end of log time: never. */
        if (mutation->ttl != 0 && __builtin_add_overflow(m->time, mutation->ttl, &mutation->expiry))
            mutation->expiry = 0;
        return LS_STATUS_OK;
    case LS_KV_INCR:
        return ls_incr_plan(m, mutation);
    case LS_KV_APPEND:
        return ls_append_plan(m, mutation);
    case LS_KV_CAS_DELETE:
        if (version != mutation->argument)
            return LS_STATUS_CONDITION;
        /* fall through */
    default: /* LS_KV_DELETE */
        mutation->length = LS_KV_TOMBSTONE;
        return mutation->live != 0 ? LS_STATUS_OK : LS_STATUS_NOT_FOUND;
    }
}

struct totals {
    uint64_t keys;
    uint64_t bytes;
    uint64_t written;
};

/* As if the mutations before it were done. Only what grows can fail: a limit that was lowered does not stop deletes
 * and smaller values. Expired keys count until they are collected. */
static uint16_t ls_mutation_count(const struct ls_machine *m, const struct ls_kv_mutation *mutation,
                                  struct totals *totals)
{
    uint32_t v =
        mutation->slot != 0 ? atomic_load_explicit(&m->records[mutation->slot].current, memory_order_relaxed) : 0;
    bool counted = v != 0 && m->versions[v].length != LS_KV_TOMBSTONE;
    uint64_t before = totals->bytes;

    if (counted) {
        totals->keys--;
        totals->bytes -= (uint64_t)mutation->key_length + m->versions[v].length;
    }
    if (mutation->length == LS_KV_TOMBSTONE)
        return LS_STATUS_OK;
    totals->keys++;
    totals->bytes += (uint64_t)mutation->key_length + mutation->length;
    totals->written += mutation->length;
    if (totals->written > LS_KV_BATCH_BYTES_MAX)
        return LS_STATUS_TOO_LARGE;
    if ((!counted && totals->keys > m->limits.keys) || (totals->bytes > before && totals->bytes > m->limits.bytes))
        return LS_STATUS_NO_SPACE;
    return LS_STATUS_OK;
}

static void ls_plan_make(struct ls_machine *m, struct ls_kv_plan *plan)
{
    struct totals totals = {.keys = m->keys, .bytes = m->bytes};

    if (plan->count > 1) {
        for (uint32_t i = 0; i < plan->count; i++)
            __builtin_prefetch(ls_kv_table_bucket(m, plan->mutation[i].hash));
        for (uint32_t i = 0; i < plan->count; i++) {
            struct ls_kv_ahead ahead = {.hash = plan->mutation[i].hash};
            ls_ahead_record(m, &ahead);
            plan->mutation[i].slot = ahead.slot;
        }
    }
    for (uint32_t i = 0; i < plan->count; i++)
        ls_mutation_find(m, &plan->mutation[i]);
    for (uint32_t i = 0; i < plan->count && plan->status == LS_STATUS_OK; i++) {
        plan->failed = i;
        plan->status = ls_mutation_plan(m, &plan->mutation[i]);
        if (plan->status == LS_STATUS_OK)
            plan->status = ls_mutation_count(m, &plan->mutation[i], &totals);
    }
    plan->written = totals.written;
}

/* ---- Doing ---- */

static void ls_mutation_do(struct ls_machine *m, const struct ls_kv_mutation *mutation)
{
    uint32_t v = ls_kv_version_new(m, m->seq, mutation->expiry, mutation->length);

    if (mutation->code == LS_KV_INCR) {
        ls_kv_value_store(m, v, 0, (const uint8_t *)mutation->digits, mutation->length);
    } else if (mutation->code == LS_KV_APPEND) {
        uint32_t before = mutation->length - mutation->value_length;
        for (uint32_t offset = 0, n; offset < before; offset += n) {
            const uint8_t *piece = ls_kv_value_piece(m, mutation->live, offset, &n);
            ls_kv_value_store(m, v, offset, piece, n);
        }
        ls_kv_value_store(m, v, before, mutation->value, mutation->value_length);
    } else if (mutation->length <= LS_KV_INLINE_MAX) {
        memcpy(m->versions[v].bytes, mutation->value, mutation->length);
    } else if (mutation->length != LS_KV_TOMBSTONE) {
        ls_kv_value_store(m, v, 0, mutation->value, mutation->value_length);
    }
    (void)ls_kv_write(m, mutation->slot, mutation->key, mutation->key_length, mutation->hash, v);
}

static void ls_plan_answer(const struct ls_machine *m, const struct ls_kv_plan *plan, struct ls_result *result)
{
    struct ls_kv_result *answer = (struct ls_kv_result *)result->bytes; /* packed: at any alignment */
    const struct ls_kv_mutation *mutation = &plan->mutation[plan->failed];
    bool done = plan->status == LS_STATUS_OK;
    uint64_t version = 0;

    if (done)
        version = plan->batch || mutation->length != LS_KV_TOMBSTONE ? m->seq : 0;
    else if (plan->failed < plan->count && mutation->live != 0) /* it failed by what is there, not by its form */
        version = m->versions[mutation->live].seq;
    answer->version = version;
    answer->number = done && !plan->batch ? mutation->number : 0;
    answer->index = done ? 0 : plan->failed;
    answer->zero = 0;
    result->length = sizeof(*answer);
    result->status = plan->status;
}

static_assert(sizeof(struct ls_kv_result) <= LS_RESULT_MAX, "a mutation's result fits");

/* False: there is no memory now; nothing was done. */
static bool ls_entry_execute(struct ls_machine *m, const struct ls_command *command, const struct ls_kv_ahead *ahead,
                             bool plenty, struct ls_result *result)
{
    struct ls_kv_plan *plan = &m->plan;
    uint32_t expire_max = LS_KV_EXPIRE_IDLE;

    assert(command->seq > m->seq);
    plan->count = 0;
    plan->written = 0;
    if (command->operation != NULL) {
        plan->known_hash = ahead->hash != 0;
        plan->mutation[0].hash = ahead->hash;
        plan->mutation[0].slot = ahead->slot;
        ls_kv_parse(command->operation, command->length, plan);
        expire_max = LS_KV_EXPIRE_BASE + 2 * plan->count;
    }
    if (!ls_entry_has_room(m, plan, expire_max, plenty))
        return false;

    m->seq = command->seq;
    m->time = command->time > m->time ? command->time : m->time;
    ls_kv_expire(m, expire_max);
    if (command->operation == NULL) {
        result->status = LS_STATUS_OK;
        result->length = 0;
        return true;
    }
    if (plan->status == LS_STATUS_OK) {
        ls_plan_make(m, plan);
        if (plan->status == LS_STATUS_OK) {
            for (uint32_t i = 0; i < plan->count; i++)
                ls_mutation_do(m, &plan->mutation[i]);
        }
    } else {
        plan->count = 0;
    }
    ls_plan_answer(m, plan, result);
    return true;
}

uint32_t ls_kv_apply(struct ls_machine *m, const struct ls_command *commands, uint32_t n, struct ls_result *results)
{
    struct ls_kv_ahead ahead[LS_BURST];
    uint32_t done = 0;
    uint64_t written = 0;
    bool plenty;

    assert(n <= LS_BURST);
    for (uint32_t i = 0; i < n; i++)
        ls_ahead_bucket(m, &commands[i], i, &ahead[i]);
    for (uint32_t i = 0; i < n; i++)
        ls_ahead_record(m, &ahead[i]);
    for (uint32_t i = 0; i < n; i++)
        ls_ahead_version(m, &ahead[i]);
    plenty = ls_entries_have_room(m, LS_BURST, 1, LS_KV_EXPIRE_IDLE);
    while (done < n && ls_entry_execute(m, &commands[done], &ahead[done], plenty, &results[done])) {
        plenty = plenty && m->plan.count <= 1; /* a batch takes more than its share */
        done++;
        written += m->plan.written;
        if (written >= LS_KV_APPLY_BYTES_MAX)
            break;
    }
    if (done > 0) {
        ls_kv_publish(m);
        ls_kv_retire_seal(m); /* only now: what was replaced is no longer found by who reads from here on */
    }
    if (done < n)
        ls_kv_reclaim(m); /* for the next try */
    return done;
}
