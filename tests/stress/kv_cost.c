/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kv_cost [keys]...: what operations of the key-value store cost, in cycles of the time-stamp counter. By hand, on a
 * quiet machine; default 10,000, 100,000 and 1,000,000 keys. Keys are 16 bytes, values 32. Loaded in key order or
 * shuffled; then addressed at random, but for the scans page by page through all keys. The operations are made outside
 * the measured time; inside it is all that apply pays for a write: reclaiming (a grace period ends after every burst)
 * and publishing. Printed are the median over groups of 32 operations, the least disturbed tenth, and the mean, which
 * has the host's interruptions in it, too.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#include <lockstep/error.h>
#include <lockstep/grace.h>
#include <lockstep/kv.h>
#include <lockstep/state_machine.h>

#define KEY_SIZE   16
#define VALUE_SIZE 32
#define OP_SIZE    (sizeof(struct ls_kv_op) + KEY_SIZE + 1 + VALUE_SIZE)
#define GROUPS     8192
#define SCAN_KEYS  10
#define CLIENTS    8

static struct ls_machine *machine;
static struct ls_grace grace;
static uint64_t keys, seq, random_state = 1;
static double group_cost[GROUPS];
static uint8_t operations[LS_BURST][OP_SIZE];
static uint32_t lengths[LS_BURST];

static uint64_t next_random(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static uint64_t cycles(void)
{
    _mm_lfence();
    uint64_t t = __rdtsc();
    _mm_lfence();
    return t;
}

/* Key number i; even numbers exist, odd ones lie between them. */
static void make_key(uint8_t *to, uint64_t i)
{
    char text[KEY_SIZE + 1];
    snprintf(text, sizeof(text), "user%012" PRIu64, i);
    memcpy(to, text, KEY_SIZE);
}

static void make_op(uint32_t at, struct ls_kv_op op, uint64_t key)
{
    uint8_t *to = operations[at];
    memcpy(to, &op, sizeof(op));
    make_key(to + sizeof(op), key);
    memset(to + sizeof(op) + KEY_SIZE, 0, 1);
    memset(to + sizeof(op) + op.key_length, (int)seq, op.value_length);
    lengths[at] = (uint32_t)sizeof(op) + op.key_length + op.value_length;
}

static void apply(uint32_t n)
{
    static uint8_t room[LS_BURST][LS_RESULT_MAX];
    struct ls_result results[LS_BURST];
    struct ls_command commands[LS_BURST];

    for (uint32_t i = 0; i < n; i++) {
        commands[i] = (struct ls_command){.seq = ++seq, .time = 1, .operation = operations[i], .length = lengths[i]};
        results[i].bytes = room[i];
    }
    if (ls_kv.apply(machine, commands, n, results) != n || results[n - 1].status != LS_STATUS_OK)
        abort();
    ls_kv.reclaim(machine);
    ls_grace_begin(&grace);
    ls_grace_end(&grace);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const char *what)
{
    double sum = 0;
    for (uint32_t i = 0; i < GROUPS; i++)
        sum += group_cost[i];
    qsort(group_cost, GROUPS, sizeof(group_cost[0]), by_value);
    printf("  %-36s %6.0f   (tenth %.0f, mean %.0f)\n", what, group_cost[GROUPS / 2], group_cost[GROUPS / 10],
           sum / GROUPS);
}

static void measure_puts(uint32_t burst)
{
    struct ls_kv_op op = {.code = LS_KV_PUT, .key_length = KEY_SIZE, .value_length = VALUE_SIZE};
    char what[64];

    for (uint32_t group = 0; group < GROUPS; group++) {
        uint64_t spent = 0;
        for (uint32_t done = 0; done < LS_BURST; done += burst) {
            for (uint32_t i = 0; i < burst; i++)
                make_op(i, op, next_random() % keys * 2);
            uint64_t from = cycles();
            apply(burst);
            spent += cycles() - from;
        }
        group_cost[group] = (double)spent / LS_BURST;
    }
    snprintf(what, sizeof(what), "put over an old value, bursts of %u", burst);
    report(what);
}

/* One read at a time, nothing prefetched from the one before. */
static void measure_reads(const char *what, struct ls_kv_op op, uint32_t odd, uint64_t among, bool in_order)
{
    uint8_t to[LS_READ_RESULT_MAX];
    uint64_t read = 0;

    for (uint32_t group = 0; group < GROUPS; group++) {
        uint64_t spent = 0;
        for (uint32_t i = 0; i < LS_BURST; i++, read++) {
            uint64_t key = next_random() % among;
            if (in_order) /* each client goes on from where its page before ended */
                key = keys / CLIENTS * (read % CLIENTS) + read / CLIENTS * SCAN_KEYS;
            make_op(i, op, key % (keys - SCAN_KEYS - 1) * 2 + odd);
        }
        for (uint32_t i = 0; i < LS_BURST; i++) {
            struct ls_read_result result = {.room = sizeof(to), .bytes = to};
            uint64_t from = cycles();
            ls_kv.read(machine, operations[i], lengths[i], &result);
            spent += cycles() - from;
            if (result.status != LS_STATUS_OK)
                abort();
        }
        group_cost[group] = (double)spent / LS_BURST;
    }
    report(what);
}

static void load(bool shuffled)
{
    struct ls_kv_op op = {.code = LS_KV_PUT, .key_length = KEY_SIZE, .value_length = VALUE_SIZE};
    uint32_t *order = malloc(keys * sizeof(*order));
    uint64_t from;

    if (order == NULL)
        abort();
    for (uint64_t i = 0; i < keys; i++)
        order[i] = (uint32_t)i;
    for (uint64_t i = keys - 1; shuffled && i > 0; i--) {
        uint64_t j = next_random() % (i + 1);
        uint32_t swap = order[i];
        order[i] = order[j];
        order[j] = swap;
    }
    from = cycles();
    for (uint64_t i = 0; i < keys; i += LS_BURST) {
        uint32_t n = keys - i < LS_BURST ? (uint32_t)(keys - i) : LS_BURST;
        for (uint32_t k = 0; k < n; k++)
            make_op(k, op, (uint64_t)order[i + k] * 2);
        apply(n);
    }
    printf("  %-36s %6.0f\n", "put of a new key (and making it)", (double)(cycles() - from) / (double)keys);
    free(order);
}

/* Three times as many random puts as there are keys: versions lie anywhere from then on. */
static void overwrite(void)
{
    struct ls_kv_op op = {.code = LS_KV_PUT, .key_length = KEY_SIZE, .value_length = VALUE_SIZE};
    for (uint64_t done = 0; done < 3 * keys; done += LS_BURST) {
        for (uint32_t i = 0; i < LS_BURST; i++)
            make_op(i, op, next_random() % keys * 2);
        apply(LS_BURST);
    }
}

static void measure(bool shuffled)
{
    struct ls_machine_limits limits = {.keys = keys, .bytes = keys * 64};
    struct ls_kv_op get = {.code = LS_KV_GET, .key_length = KEY_SIZE};
    struct ls_kv_op scan = {.code = LS_KV_SCAN, .key_length = KEY_SIZE, .count = SCAN_KEYS};
    struct ls_kv_op next = {.code = LS_KV_SCAN, .key_length = KEY_SIZE + 1, .count = SCAN_KEYS};

    printf("%" PRIu64 " keys, loaded %s: cycles per operation\n", keys, shuffled ? "shuffled" : "in key order");
    seq = 0;
    machine = ls_kv.create(&limits, &grace);
    if (machine == NULL)
        abort();
    load(shuffled);
    for (int pass = 0; pass < 2; pass++) {
        printf(pass == 0 ? " as loaded\n" : " after every value was overwritten at random\n");
        measure_reads("get", get, 0, keys, false);
        measure_reads("scan of 10, 8 clients paging", next, 0, keys, true);
        measure_reads("scan of 10 from any key", scan, 0, keys, false);
        measure_reads("scan of 10 from one of 10000 keys", scan, 0, keys < 10000 ? keys : 10000, false);
        measure_reads("scan of 10 between those", scan, 1, keys < 10000 ? keys : 10000, false);
        measure_reads("scan of 10 from behind any key", next, 0, keys, false);
        measure_reads("scan of 10 from between any two keys", scan, 1, keys, false);
        if (pass == 0) {
            measure_puts(1);
            measure_puts(8);
            measure_puts(32);
            overwrite();
        }
    }
    ls_kv.destroy(machine);
}

int main(int argc, char **argv)
{
    static const char *const usual[] = {"", "10000", "100000", "1000000"};
    const char *const *sizes = argc > 1 ? (const char *const *)argv : usual;
    int n = argc > 1 ? argc : 4;

    for (int i = 1; i < n; i++) {
        keys = strtoull(sizes[i], NULL, 0);
        if (keys < 100 || keys > 100000000) {
            fprintf(stderr, "%s: %s keys; 100 to 100000000 are possible\n", argv[0], sizes[i]);
            return 2;
        }
        measure(false);
        measure(true);
    }
    return 0;
}
