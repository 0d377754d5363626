/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kv_rcu [seconds [seed]]: the key-value store under real concurrency. One writer, four readers, a thread that waits
 * for grace periods, a walker that takes one checkpoint after the other, and a scrubber that must find nothing. Freed
 * memory is overwritten (LS_POISON), and readers verify the checksum of every version they use.
 *
 * The writer keeps families of keys that only ever change together, by batches: all of a family are there with the
 * same number, or none is. Readers ask for whole families by multi-get and by scan, and for large values whose bytes
 * follow from their first ones. Around the families single keys come and go, so that the index never rests. Families
 * with a time to live vanish as a whole, too, though they are collected key by key.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <lockstep/error.h>
#include <lockstep/grace.h>
#include <lockstep/kv.h>
#include <lockstep/state_machine.h>

#include "rcu.h"

#define PATIENCE_S 60
#define READERS    4
#define FAMILIES   40
#define MEMBERS    20
#define LARGE_KEYS 4
#define LARGE_MAX  6000

static struct ls_machine *machine;
static struct ls_grace grace;
static _Atomic bool stop;
static _Atomic uint64_t published; /* writer: after apply() returned */
/* Walker and writer pass a checkpoint to and fro. */
static _Atomic int checkpoint; /* 0: none; 1: begun, the walker's turn; 2: walked, the writer's turn */
static _Atomic uint64_t checkpoints_done, checkpoints_cancelled;
static _Atomic uint64_t scrub_rounds;
static _Atomic uint64_t families_seen, families_absent, parts_seen, parts_gone;

#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                                            \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fprintf(stderr, "\n");                                                                                     \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

/* ---- Operations as bytes ---- */

struct bytes {
    uint8_t at[64 * 1024];
    uint32_t length;
};

static void put_bytes(struct bytes *b, const void *bytes, uint32_t n)
{
    memcpy(b->at + b->length, bytes, n);
    b->length += n;
}

static void put_mutation(struct bytes *b, uint8_t code, const char *key, const void *value, uint32_t length,
                         uint64_t ttl)
{
    struct ls_kv_op op = {.code = code, .key_length = (uint16_t)strlen(key), .value_length = length, .ttl = ttl};
    put_bytes(b, &op, sizeof(op));
    put_bytes(b, key, op.key_length);
    put_bytes(b, value, length);
}

static void member_key(char *key, uint32_t family, uint32_t member)
{
    /* Some keys are longer than a record holds itself. */
    snprintf(key, 128, family % 3 ? "f%02u/%02u" : "f%02u/%02u/a-long-key-a-long-key-a-long-key-a-long-key-a-long-key",
             family, member);
}

/* The whole family in one batch: gone, or with this number. */
static void put_family(struct bytes *b, uint32_t family, bool gone, uint64_t number, uint64_t ttl)
{
    static const uint8_t zeros[8];
    struct ls_kv_op op = {.code = LS_KV_BATCH, .count = MEMBERS};
    char key[128];

    put_bytes(b, &op, sizeof(op));
    for (uint32_t i = 0; i < MEMBERS; i++) {
        member_key(key, family, i);
        put_mutation(b, gone ? LS_KV_DELETE : LS_KV_PUT, key, &number, gone ? 0 : sizeof(number), ttl);
        put_bytes(b, zeros, ls_pad8(b->length) - b->length);
    }
}

static void put_large(struct bytes *b, uint64_t *random)
{
    static uint8_t value[LARGE_MAX];
    uint32_t length = 8 + (uint32_t)(next_random(random) % (LARGE_MAX - 8));
    uint64_t seed = next_random(random);
    char key[16];

    memcpy(value, &seed, 8);
    for (uint32_t i = 8; i < length; i++)
        value[i] = (uint8_t)(value[i - 8] * 31 + i);
    snprintf(key, sizeof(key), "large%u", (uint32_t)(next_random(random) % LARGE_KEYS));
    put_mutation(b, LS_KV_PUT, key, value, length, 0);
}

/* ---- Writer ---- */

static void random_operation(struct bytes *b, uint64_t *random)
{
    uint32_t family = (uint32_t)(next_random(random) % FAMILIES);
    char key[128];

    b->length = 0;
    switch (next_random(random) % 8) {
    case 0:
    case 1:
    case 2:
        put_family(b, family, false, next_random(random), family % 5 == 0 ? 1 + next_random(random) % 400 : 0);
        break;
    case 3:
        put_family(b, family, true, 0, 0);
        break;
    case 4:
        put_large(b, random);
        break;
    default: /* a single key between the members, for turmoil */
        member_key(key, family, (uint32_t)(next_random(random) % MEMBERS));
        strcat(key, "+");
        put_mutation(b, next_random(random) % 2 ? LS_KV_PUT : LS_KV_DELETE, key, "", 0, 0);
    }
}

/* A checkpoint is begun and ended between two bursts. */
static void turn_checkpoint(uint64_t *random)
{
    if (atomic_load(&checkpoint) == 2) {
        ls_kv.checkpoint_end(machine);
        atomic_store(&checkpoint, 0);
    } else if (atomic_load(&checkpoint) == 0 && next_random(random) % 64 == 0) {
        int error = ls_kv.checkpoint_begin(machine);
        CHECK(error == 0 || error == -EBUSY, "error %d", error);
        if (error == 0)
            atomic_store(&checkpoint, 1);
    }
}

/* A run that saw nothing proves nothing. */
static bool everything_happened(void)
{
    return atomic_load(&families_seen) > 0 && atomic_load(&families_absent) > 0 && atomic_load(&parts_seen) > 0 &&
           atomic_load(&checkpoints_done) > 0 && atomic_load(&scrub_rounds) > 0;
}

/* For so long, or, on a machine that is busy with something else, until everything has happened. */
static uint64_t write_log(uint64_t random, uint64_t seconds)
{
    static struct bytes operations[LS_BURST];
    uint8_t room[LS_BURST][LS_RESULT_MAX];
    struct ls_result results[LS_BURST];
    struct ls_command commands[LS_BURST];
    uint64_t seq = 0, time_ns = 0, stalls = 0;
    time_t end = time(NULL) + (time_t)seconds;

    while (time(NULL) < end || atomic_load(&checkpoint) != 0 ||
           (!everything_happened() && time(NULL) < end + PATIENCE_S)) {
        uint32_t n = 1 + (uint32_t)(next_random(&random) % LS_BURST), done = 0;
        for (uint32_t i = 0; i < n; i++) {
            bool tick = next_random(&random) % 16 == 0;
            random_operation(&operations[i], &random);
            time_ns += next_random(&random) % 3;
            commands[i] = (struct ls_command){.seq = ++seq,
                                              .time = time_ns,
                                              .operation = tick ? NULL : operations[i].at,
                                              .length = tick ? 0 : operations[i].length};
            results[i] = (struct ls_result){.bytes = room[i]};
        }
        while (done < n) {
            uint32_t executed = ls_kv.apply(machine, commands + done, n - done, results + done);
            done += executed;
            if (executed > 0)
                atomic_store_explicit(&published, commands[done - 1].seq, memory_order_release);
            ls_kv.reclaim(machine);
            if (done < n) {
                stalls++;
                sched_yield();
            }
        }
        for (uint32_t i = 0; i < n; i++)
            CHECK(results[i].status == LS_STATUS_OK || results[i].status == LS_STATUS_NOT_FOUND, "status %u",
                  results[i].status);
        turn_checkpoint(&random);
        if (time(NULL) >= end)
            sched_yield();
    }
    printf("%" PRIu64 " entries, stopped for memory %" PRIu64 " times\n", seq, stalls);
    return seq;
}

/* ---- Readers ---- */

static void read_now(const struct bytes *b, uint8_t *to, uint32_t room, struct ls_read_result *result,
                     uint64_t *seq_seen)
{
    uint64_t before = atomic_load_explicit(&published, memory_order_acquire);

    *result = (struct ls_read_result){.room = room, .bytes = to};
    ls_kv.read(machine, b->at, b->length, result);
    CHECK(result->seq >= before, "read at %" PRIu64 ", published %" PRIu64, result->seq, before);
    CHECK(result->seq >= *seq_seen, "read at %" PRIu64 " after %" PRIu64, result->seq, *seq_seen);
    *seq_seen = result->seq;
}

/* Records of members of a family: all with the same number and version, or all absent. */
static void check_family(const uint8_t *bytes, uint32_t length, bool scan, uint32_t family)
{
    struct ls_kv_page page;
    struct ls_kv_record record;
    uint32_t at = sizeof(page), members = 0;
    uint64_t number = 0, version = 0, n;
    char key[128];

    memcpy(&page, bytes, sizeof(page));
    for (uint32_t i = 0; i < page.count; i++) {
        memcpy(&record, bytes + at, sizeof(record));
        const uint8_t *value = bytes + at + sizeof(record) + record.key_length;
        at += ls_pad8((uint32_t)sizeof(record) + record.key_length + record.length);
        if (record.version == 0 || (scan && value[-1] == '+'))
            continue;
        if (scan) {
            member_key(key, family, members);
            CHECK(record.key_length == strlen(key) && memcmp(value - record.key_length, key, strlen(key)) == 0,
                  "family %u: %.*s stands where %s should", family, record.key_length, value - record.key_length, key);
        }
        CHECK(record.length == sizeof(n), "length %u", record.length);
        memcpy(&n, value, sizeof(n));
        CHECK(members == 0 || (n == number && record.version == version),
              "family %u torn: member %u has version %" PRIu64 ", those before %" PRIu64, family, members,
              record.version, version);
        number = n;
        version = record.version;
        members++;
    }
    CHECK(at == length, "page of %u bytes has %u", length, at);
    CHECK(page.more == 0, "does not fit");
    CHECK(members == 0 || members == MEMBERS, "family %u torn: %u members", family, members);
    atomic_fetch_add_explicit(members == 0 ? &families_absent : &families_seen, 1, memory_order_relaxed);
}

static void read_family(struct bytes *b, uint8_t *to, uint32_t room, uint32_t family, bool scan, uint64_t *seq_seen)
{
    struct ls_kv_op op = {.code = scan ? LS_KV_SCAN : LS_KV_MULTI_GET, .count = scan ? 64 : MEMBERS};
    struct ls_read_result result;
    char key[128], end[128];

    b->length = 0;
    if (scan) { /* sometimes from the first member on, which the table knows, sometimes from before it */
        if (*seq_seen % 2)
            member_key(key, family, 0);
        else
            snprintf(key, sizeof(key), "f%02u", family);
        snprintf(end, sizeof(end), "f%02u0", family);
        op.key_length = (uint16_t)strlen(key);
        op.value_length = (uint32_t)strlen(end);
        put_bytes(b, &op, sizeof(op));
        put_bytes(b, key, op.key_length);
        put_bytes(b, end, op.value_length);
    } else {
        put_bytes(b, &op, sizeof(op));
        for (uint32_t i = 0; i < MEMBERS; i++) {
            member_key(key, family, i);
            uint16_t n = (uint16_t)strlen(key);
            put_bytes(b, &n, sizeof(n));
            put_bytes(b, key, n);
        }
    }
    read_now(b, to, room, &result, seq_seen);
    CHECK(result.status == LS_STATUS_OK, "status %u", result.status);
    check_family(to, result.length, scan, family);
}

/* A large value part by part, each in a read-side section of its own. */
static void read_large(struct bytes *b, uint8_t *to, uint32_t which, uint64_t *seq_seen)
{
    static _Thread_local uint8_t value[LARGE_MAX];
    struct ls_kv_value part = {0};
    struct ls_read_result result;
    char key[16];

    snprintf(key, sizeof(key), "large%u", which);
    do {
        struct ls_kv_op op = {.code = part.version == 0 ? LS_KV_GET : LS_KV_GET_PART,
                              .key_length = (uint16_t)strlen(key),
                              .argument = part.version,
                              .offset = part.offset + part.length};
        b->length = 0;
        put_bytes(b, &op, sizeof(op));
        put_bytes(b, key, op.key_length);
        rcu_quiescent();
        read_now(b, to, LS_READ_RESULT_MAX, &result, seq_seen);
        if (result.status == LS_STATUS_NOT_FOUND || result.status == LS_STATUS_VERSION_GONE) {
            atomic_fetch_add_explicit(&parts_gone, 1, memory_order_relaxed);
            return;
        }
        memcpy(&part, to, sizeof(part));
        memcpy(value + part.offset, to + sizeof(part), part.length);
        atomic_fetch_add_explicit(&parts_seen, 1, memory_order_relaxed);
    } while (result.status == LS_STATUS_LARGE_VALUE);
    for (uint32_t i = 8; i < part.total; i++)
        CHECK(value[i] == (uint8_t)(value[i - 8] * 31 + i), "byte %u of %u", i, part.total);
}

static void *run_reader(void *argument)
{
    uint64_t random = (uint64_t)(uintptr_t)argument, seq_seen = 0;
    uint32_t room = 64 * 200;
    struct bytes *b = malloc(sizeof(*b));
    uint8_t *to = malloc(room);

    CHECK(b != NULL && to != NULL, "no memory");
    rcu_online();
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        uint64_t r = next_random(&random);
        if (r % 8 == 0)
            read_large(b, to, (uint32_t)(r / 8 % LARGE_KEYS), &seq_seen);
        else
            read_family(b, to, room, (uint32_t)(r / 8 % FAMILIES), r % 2 == 0, &seq_seen);
        rcu_quiescent();
    }
    rcu_offline();
    free(b);
    free(to);
    return NULL;
}

/* ---- The other threads ---- */

static void *run_grace_periods(void *argument)
{
    (void)argument;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        ls_grace_begin(&grace);
        rcu_wait();
        ls_grace_end(&grace);
        sched_yield();
    }
    return NULL;
}

static int discard(struct ls_checkpoint_sink *sink, const void *bytes, size_t n)
{
    (void)sink;
    (void)bytes;
    (void)n;
    sched_yield();
    return 0;
}

/* Not registered with RCU: the hold words alone protect what it reads. next() itself compares the digest of the bytes
 * it copied with that of the state at the beginning. */
static void *run_walker(void *argument)
{
    struct ls_checkpoint_sink sink = {.write = discard};
    uint64_t random = (uint64_t)(uintptr_t)argument;

    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        if (atomic_load(&checkpoint) != 1) {
            sched_yield();
            continue;
        }
        int more;
        while ((more = ls_kv.checkpoint_next(machine, &sink)) == 1) {
            /* Sometimes long enough for records to be deleted, freed and used again behind and before the walker. */
            uint64_t periods = atomic_load(&grace.completed) + (next_random(&random) % 16 == 0 ? 4 : 0);
            while (atomic_load(&grace.completed) < periods)
                sched_yield();
        }
        CHECK(more == 0 || more == -ECANCELED, "checkpoint: %d", more);
        atomic_fetch_add(more == 0 ? &checkpoints_done : &checkpoints_cancelled, 1);
        atomic_store(&checkpoint, 2);
    }
    return NULL;
}

/* A reader of its own kind: by slot number, a piece in each read-side section. */
static void *run_scrubber(void *argument)
{
    uint64_t random = (uint64_t)(uintptr_t)argument, cursor = 0;

    rcu_online();
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        int error = ls_kv.scrub(machine, &cursor, 1 + (uint32_t)(next_random(&random) % 200));
        CHECK(error == 0, "damage before slot %" PRIu64 " where there is none", cursor);
        if (cursor == 0)
            atomic_fetch_add_explicit(&scrub_rounds, 1, memory_order_relaxed);
        rcu_quiescent();
    }
    rcu_offline();
    return NULL;
}

int main(int argc, char **argv)
{
    struct ls_machine_limits limits = {.keys = 5000, .bytes = 4 * 1024 * 1024};
    uint64_t seconds = argc > 1 ? strtoull(argv[1], NULL, 0) : 3;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
    pthread_t readers[READERS], gp, walker, scrubber;

    printf("kv_rcu %" PRIu64 " %" PRIu64 "\n", seconds, seed);
    machine = ls_kv.create(&limits, &grace);
    CHECK(machine != NULL, "no memory");
    for (uint32_t i = 0; i < READERS; i++)
        CHECK(pthread_create(&readers[i], NULL, run_reader, (void *)(uintptr_t)(seed * READERS + i + 1)) == 0,
              "thread");
    CHECK(pthread_create(&gp, NULL, run_grace_periods, NULL) == 0, "thread");
    CHECK(pthread_create(&walker, NULL, run_walker, (void *)(uintptr_t)seed) == 0, "thread");
    CHECK(pthread_create(&scrubber, NULL, run_scrubber, (void *)(uintptr_t)seed) == 0, "thread");
    write_log(seed, seconds);
    atomic_store(&stop, true);
    for (uint32_t i = 0; i < READERS; i++)
        pthread_join(readers[i], NULL);
    pthread_join(gp, NULL);
    pthread_join(walker, NULL);
    pthread_join(scrubber, NULL);
    ls_kv.destroy(machine);
    printf("%" PRIu64 " grace periods; families seen %" PRIu64 ", absent %" PRIu64 "; parts seen %" PRIu64
           ", gone %" PRIu64 "; checkpoints %" PRIu64 ", cancelled %" PRIu64 "; scrubbed %" PRIu64 " times\n",
           atomic_load(&grace.completed), families_seen, families_absent, parts_seen, parts_gone, checkpoints_done,
           checkpoints_cancelled, scrub_rounds);
    CHECK(everything_happened(), "not everything happened");
    return 0;
}
