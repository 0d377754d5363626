/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random logs against a model that is as simple as can be, and replicas against each other: one applies in bursts and
 * frees late, one applies single entries and frees at once, one is restored from a checkpoint of the first again and
 * again, begun and walked while the log went on. Same results, same digests, same reads.
 * LS_SEED and LS_ENTRIES choose another run.
 */
#include "rig.h"

#define KEYS        160
#define LIMIT_KEYS  60
#define LIMIT_BYTES 9000
#define VALUE_MAX   1500

struct model_key {
    uint8_t key[LS_KV_KEY_MAX];
    uint32_t key_length;
    bool counted; /* there, perhaps expired but not collected */
    uint64_t version;
    uint64_t expiry;
    uint8_t value[64 * 1024];
    uint32_t length;
};

struct model {
    struct model_key key[KEYS];
    uint64_t seq;
    uint64_t time;
    struct ls_machine_limits limits;
};

struct entry {
    uint64_t time;
    struct op op; /* bytes NULL: a tick */
    uint16_t status;
    struct ls_kv_result result;
};

struct mutation {
    uint8_t code;
    int key;
    uint8_t value[VALUE_MAX];
    uint32_t length;
    uint64_t argument;
    uint64_t ttl;
};

static struct model model;

static bool model_lives(const struct model_key *key)
{
    return key->counted && (key->expiry == 0 || key->expiry > model.time);
}

static int key_order(const struct model_key *a, const struct model_key *b)
{
    uint32_t n = a->key_length < b->key_length ? a->key_length : b->key_length;
    int order = memcmp(a->key, b->key, n);
    return order != 0 ? order : (int)a->key_length - (int)b->key_length;
}

static void model_totals(const struct model_key *keys, uint64_t *count, uint64_t *bytes)
{
    *count = *bytes = 0;
    for (int i = 0; i < KEYS; i++) {
        if (keys[i].counted) {
            *count += 1;
            *bytes += keys[i].key_length + keys[i].length;
        }
    }
}

static void model_expire(int most)
{
    while (most-- > 0) {
        struct model_key *first = NULL;
        for (int i = 0; i < KEYS; i++) {
            struct model_key *key = &model.key[i];
            if (key->counted && key->expiry != 0 && key->expiry <= model.time &&
                (first == NULL || key->expiry < first->expiry ||
                 (key->expiry == first->expiry && key_order(key, first) < 0)))
                first = key;
        }
        if (first == NULL)
            return;
        first->counted = false;
    }
}

/* Does one mutation, or says why not. */
static uint16_t model_mutate(const struct mutation *mutation, struct ls_kv_result *result)
{
    struct model_key *key = &model.key[mutation->key];
    bool lives = model_lives(key), counted = key->counted;
    uint64_t version = lives ? key->version : 0, keys, bytes, keys_then, bytes_then;
    static struct model_key next;
    int64_t number = 0;
    char text[32], canonical[32], *end;

    result->version = version;
    if ((mutation->code == LS_KV_CAS || mutation->code == LS_KV_CAS_DELETE) && version != mutation->argument)
        return LS_STATUS_CONDITION;
    if (mutation->code == LS_KV_DELETE || mutation->code == LS_KV_CAS_DELETE) {
        if (!lives)
            return LS_STATUS_NOT_FOUND;
        key->counted = false;
        result->version = 0;
        return LS_STATUS_OK;
    }
    memcpy(&next, key, sizeof(next));
    next.counted = true;
    next.version = model.seq;
    result->number = 0;
    if (mutation->code == LS_KV_INCR) {
        if (lives) {
            if (key->length == 0 || key->length > 20)
                return LS_STATUS_NOT_A_NUMBER;
            memcpy(text, key->value, key->length);
            text[key->length] = 0;
            number = strtoll(text, &end, 10); /* appending digits may have made more of it than 64 bits hold */
            snprintf(canonical, sizeof(canonical), "%lld", (long long)number);
            if (*end != 0 || strcmp(text, canonical) != 0)
                return LS_STATUS_NOT_A_NUMBER;
        }
        if (__builtin_add_overflow(number, (int64_t)mutation->argument, &number))
            return LS_STATUS_OVERFLOW;
        next.length = (uint32_t)snprintf((char *)next.value, 32, "%lld", (long long)number);
        next.expiry = lives ? key->expiry : 0;
        result->number = (uint64_t)number;
    } else if (mutation->code == LS_KV_APPEND) {
        next.length = lives ? key->length : 0;
        memcpy(next.value + next.length, mutation->value, mutation->length);
        next.length += mutation->length;
        next.expiry = lives ? key->expiry : 0;
        result->number = next.length;
    } else {
        memcpy(next.value, mutation->value, mutation->length);
        next.length = mutation->length;
        next.expiry = mutation->ttl != 0 ? model.time + mutation->ttl : 0;
    }
    model_totals(model.key, &keys, &bytes);
    keys_then = keys + !counted;
    bytes_then = bytes - (counted ? key->key_length + key->length : 0) + key->key_length + next.length;
    if ((keys_then > keys && keys_then > model.limits.keys) ||
        (bytes_then > bytes && bytes_then > model.limits.bytes)) {
        result->number = 0;
        return LS_STATUS_NO_SPACE;
    }
    memcpy(key, &next, sizeof(next));
    result->version = model.seq;
    return LS_STATUS_OK;
}

static void random_mutation(struct rng *rng, struct mutation *mutation)
{
    static const uint8_t codes[] = {LS_KV_PUT, LS_KV_PUT,  LS_KV_PUT,    LS_KV_DELETE,
                                    LS_KV_CAS, LS_KV_INCR, LS_KV_APPEND, LS_KV_CAS_DELETE};
    memset(mutation, 0, offsetof(struct mutation, value));
    mutation->length = 0;
    mutation->argument = mutation->ttl = 0;
    mutation->code = codes[rng_below(rng, sizeof(codes))];
    mutation->key = (int)rng_below(rng, KEYS);
    switch (mutation->code) {
    case LS_KV_CAS:
    case LS_KV_CAS_DELETE: /* mostly the right version */
        mutation->argument = model_lives(&model.key[mutation->key]) ? model.key[mutation->key].version : 0;
        mutation->argument += rng_below(rng, 4) == 0;
        break;
    case LS_KV_INCR:
        mutation->argument = rng_next(rng) >> (8 + rng_below(rng, 40));
        if (rng_below(rng, 2))
            mutation->argument = 0 - mutation->argument;
        break;
    default:
        break;
    }
    if (mutation->code == LS_KV_PUT || mutation->code == LS_KV_CAS || mutation->code == LS_KV_APPEND) {
        mutation->length = (uint32_t)rng_below(rng, rng_below(rng, 8) == 0 ? VALUE_MAX : 40);
        memset(mutation->value, 'a' + (int)rng_below(rng, 26), mutation->length);
        if (rng_below(rng, 3) == 0)
            mutation->length = (uint32_t)snprintf((char *)mutation->value, 32, "%d", (int)rng_below(rng, 1000) - 500);
    }
    if ((mutation->code == LS_KV_PUT || mutation->code == LS_KV_CAS) && rng_below(rng, 3) == 0)
        mutation->ttl = 1 + rng_below(rng, 300);
}

static void add_mutation(struct op *op, const struct mutation *mutation, bool batch)
{
    const struct model_key *key = &model.key[mutation->key];
    (batch ? op_batch_add : op_mutation)(op, mutation->code, key->key, key->key_length, mutation->value,
                                         mutation->length, mutation->argument, mutation->ttl);
}

static void random_batch(struct rng *rng, struct entry *entry)
{
    static struct model_key before[KEYS];
    bool used[KEYS] = {false};
    uint64_t size = 1 + rng_below(rng, 6);
    struct mutation mutation;

    model_expire(8 + 2 * (int)size);
    memcpy(before, model.key, sizeof(before));
    op_batch(&entry->op);
    entry->status = LS_STATUS_OK;
    for (uint32_t i = 0; i < size; i++) {
        do {
            random_mutation(rng, &mutation);
        } while (used[mutation.key]);
        used[mutation.key] = true;
        add_mutation(&entry->op, &mutation, true);
        if (entry->status == LS_STATUS_OK) {
            entry->result = (struct ls_kv_result){.index = i};
            entry->status = model_mutate(&mutation, &entry->result);
        }
    }
    if (entry->status == LS_STATUS_OK)
        entry->result = (struct ls_kv_result){.version = model.seq};
    else
        memcpy(model.key, before, sizeof(before));
}

/* The next entry of the log, and what the model says to it. */
static void random_entry(struct rng *rng, struct entry *entry)
{
    struct mutation mutation;

    *entry = (struct entry){0};
    model.seq++;
    model.time += rng_below(rng, 10) == 0 ? rng_below(rng, 200) : rng_below(rng, 5);
    entry->time = model.time;
    switch (rng_below(rng, 8)) {
    case 0:
        model_expire(32);
        break;
    case 1:
        random_batch(rng, entry);
        break;
    default:
        random_mutation(rng, &mutation);
        model_expire(10);
        add_mutation(&entry->op, &mutation, false);
        entry->status = model_mutate(&mutation, &entry->result);
    }
}

static void apply_burst(struct rig *rig, struct entry *entries, uint32_t n)
{
    uint8_t room[LS_BURST][LS_RESULT_MAX];
    struct ls_result results[LS_BURST];
    struct ls_command commands[LS_BURST];
    uint32_t done = 0;

    for (uint32_t i = 0; i < n; i++) {
        commands[i] = (struct ls_command){.seq = rig->seq + 1 + i,
                                          .time = entries[i].time,
                                          .operation = entries[i].op.bytes,
                                          .length = entries[i].op.length};
        results[i] = (struct ls_result){.status = 0xffff, .bytes = room[i]};
    }
    while (done < n) {
        done += ls_kv.apply(rig->machine, commands + done, n - done, results + done);
        if (done < n)
            rig_grace(rig);
    }
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(results[i].status, entries[i].status);
        if (entries[i].op.bytes != NULL)
            assert_memory_equal(room[i], &entries[i].result, sizeof(entries[i].result));
    }
    rig->seq += n;
}

/* Everything the model has, and nothing else, in order. */
static void compare_all(struct rig *rig)
{
    const struct model_key *sorted[KEYS];
    uint8_t from[LS_KV_KEY_MAX + 1];
    uint32_t from_length = 0, count = 0, seen = 0;
    struct ls_kv_page page = {.more = 1};

    for (int i = 0; i < KEYS; i++) {
        uint32_t at = count;
        if (!model_lives(&model.key[i]))
            continue;
        for (; at > 0 && key_order(&model.key[i], sorted[at - 1]) < 0; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = &model.key[i];
        count++;
    }
    while (page.more) {
        struct answer answer;
        struct op op;
        uint32_t at = sizeof(page);
        op_scan(&op, from, from_length, "", 0, 64, 0);
        rig_read_op(rig, &op, LS_READ_RESULT_MAX, &answer);
        assert_int_equal(answer.status, LS_STATUS_OK);
        assert_int_equal(answer.seq, model.seq);
        memcpy(&page, answer.bytes, sizeof(page));
        for (uint32_t i = 0; i < page.count; i++) {
            struct ls_kv_record record;
            memcpy(&record, answer.bytes + at, sizeof(record));
            assert_true(seen < count);
            assert_int_equal(record.key_length, sorted[seen]->key_length);
            assert_memory_equal(answer.bytes + at + sizeof(record), sorted[seen]->key, record.key_length);
            assert_int_equal(record.version, sorted[seen]->version);
            assert_int_equal(record.total, sorted[seen]->length);
            assert_memory_equal(answer.bytes + at + sizeof(record) + record.key_length, sorted[seen]->value,
                                record.length);
            memcpy(from, sorted[seen]->key, record.key_length);
            from[record.key_length] = 0;
            from_length = record.key_length + 1u;
            at += ls_pad8((uint32_t)sizeof(record) + record.key_length + record.length);
            seen++;
        }
    }
    assert_int_equal(seen, count);
}

static void compare_key(struct rig *rig, const struct model_key *key)
{
    struct ls_kv_value value = {0};
    struct answer answer;
    struct op op;

    op_read(&op, LS_KV_GET, key->key, key->key_length, 0, 0);
    rig_read_op(rig, &op, LS_READ_RESULT_MAX, &answer);
    if (!model_lives(key)) {
        assert_int_equal(answer.status, LS_STATUS_NOT_FOUND);
        return;
    }
    memcpy(&value, answer.bytes, sizeof(value));
    assert_int_equal(value.version, key->version);
    assert_int_equal(value.expiry, key->expiry);
    assert_int_equal(value.total, key->length);
    assert_memory_equal(answer.bytes + sizeof(value), key->value, value.length);
}

static void make_keys(struct rng *rng)
{
    memset(&model, 0, sizeof(model));
    model.limits = (struct ls_machine_limits){.keys = LIMIT_KEYS, .bytes = LIMIT_BYTES};
    for (int i = 0; i < KEYS; i++) {
        struct model_key *key = &model.key[i];
        key->key_length =
            (uint32_t)snprintf((char *)key->key, sizeof(key->key), "%llx", (unsigned long long)(rng_next(rng) >> 44));
        key->key[key->key_length++] = (uint8_t)i; /* no two alike */
        while (i % 4 == 0 && key->key_length < 50u + (unsigned)i)
            key->key[key->key_length++] = (uint8_t)rng_next(rng);
    }
}

struct restored {
    struct rig rig;
    struct image image;
    bool there;
    bool walking;
    uint64_t from; /* the checkpoint's seq */
};

/* Moves the checkpoint of `rig` on, and when it is complete makes the third replica anew and lets it catch up. */
static void step_checkpoint(struct rig *rig, struct restored *third, struct rng *rng, struct entry *log)
{
    if (!third->walking && rng_below(rng, 20) == 0 && ls_kv.checkpoint_begin(rig->machine) == 0) {
        third->walking = true;
        third->from = rig->seq;
        third->image.length = 0;
    } else if (third->walking && rng_below(rng, 3) == 0) {
        int more = ls_kv.checkpoint_next(rig->machine, &third->image.sink);
        assert_true(more >= 0);
        if (more == 1)
            return;
        ls_kv.checkpoint_end(rig->machine);
        third->walking = false;
        if (third->there)
            rig_close(&third->rig);
        rig_open(&third->rig, LIMIT_KEYS, LIMIT_BYTES);
        assert_int_equal(rig_restore(&third->rig, &third->image), 0);
        third->rig.seq = third->from;
        for (uint64_t i = third->from; i < rig->seq; i++)
            apply_burst(&third->rig, &log[i], 1);
        third->there = true;
    }
}

static void replicas_agree_with_the_model(void **state)
{
    struct rng rng = {.state = rng_seed(20240601)};
    uint64_t total = getenv("LS_ENTRIES") != NULL ? strtoull(getenv("LS_ENTRIES"), NULL, 0) : 20000, at = 0;
    struct entry *log = calloc(total + LS_BURST, sizeof(*log));
    struct restored third = {.there = false};
    struct rig burst, single;
    uint64_t statuses = 0;

    (void)state;
    assert_non_null(log);
    make_keys(&rng);
    image_init(&third.image);
    rig_open(&burst, LIMIT_KEYS, LIMIT_BYTES);
    rig_open(&single, LIMIT_KEYS, LIMIT_BYTES);
    while (at < total) {
        uint32_t n = 1 + (uint32_t)rng_below(&rng, LS_BURST);
        for (uint32_t i = 0; i < n; i++) {
            random_entry(&rng, &log[at + i]);
            statuses |= 1ull << log[at + i].status;
        }
        apply_burst(&burst, &log[at], n);
        for (uint32_t i = 0; i < n; i++) {
            apply_burst(&single, &log[at + i], 1);
            rig_grace(&single);
        }
        if (third.there)
            apply_burst(&third.rig, &log[at], n);
        at += n;
        assert_int_equal(ls_kv.digest(burst.machine), ls_kv.digest(single.machine));
        if (third.there)
            assert_int_equal(ls_kv.digest(burst.machine), ls_kv.digest(third.rig.machine));
        for (int i = 0; i < 5; i++) {
            compare_key(&burst, &model.key[rng_below(&rng, KEYS)]);
            compare_key(&single, &model.key[rng_below(&rng, KEYS)]);
        }
        if (rng_below(&rng, 10) == 0)
            compare_all(third.there ? &third.rig : &burst);
        if (rng_below(&rng, 10) == 0)
            rig_grace(&burst);
        step_checkpoint(&burst, &third, &rng, log);
    }
    assert_true(third.there);
    assert_int_equal(statuses & ~(1u << LS_STATUS_OVERFLOW), 1u << LS_STATUS_OK | 1u << LS_STATUS_NOT_FOUND |
                                                                 1u << LS_STATUS_CONDITION | 1u << LS_STATUS_NO_SPACE |
                                                                 1u << LS_STATUS_NOT_A_NUMBER);
    compare_all(&burst);
    compare_all(&single);
    for (uint64_t i = 0; i < at; i++)
        op_free(&log[i].op);
    free(log);
    image_free(&third.image);
    rig_close(&third.rig);
    rig_close(&burst);
    rig_close(&single);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replicas_agree_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
