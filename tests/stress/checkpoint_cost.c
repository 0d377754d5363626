/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * checkpoint_cost [megabytes [value bytes [path]]]: not a test. Fills a key-value store, writes a checkpoint of it to a
 * file, reads it back, and prints how long each took, and what each part of it takes alone.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <lockstep/error.h>
#include <lockstep/grace.h>
#include <lockstep/kv.h>

#include "checkpoint.h"
#include "executor.h"
#include "session.h"
#include "wire.h"

#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, __VA_ARGS__);                                                                              \
            fprintf(stderr, "\n");                                                                                     \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void report(const char *what, double seconds, uint64_t bytes, uint64_t keys)
{
    printf("%-44s %7.3f s  %7.0f MB/s  %6.0f ns a key\n", what, seconds, (double)bytes / 1e6 / seconds,
           seconds * 1e9 / (double)keys);
}

/* ---- memory as sink and source ---- */

struct memory {
    struct ls_checkpoint_sink sink;
    struct ls_checkpoint_source source;
    uint8_t *bytes;
    size_t length;
    size_t at;
};

static int memory_write(struct ls_checkpoint_sink *sink, const void *bytes, size_t n)
{
    struct memory *m = (struct memory *)((uint8_t *)sink - offsetof(struct memory, sink));
    memcpy(m->bytes + m->length, bytes, n);
    m->length += n;
    return 0;
}

static int memory_read(struct ls_checkpoint_source *source, void *bytes, size_t n)
{
    struct memory *m = (struct memory *)((uint8_t *)source - offsetof(struct memory, source));
    memcpy(bytes, m->bytes + m->at, n);
    m->at += n;
    return 0;
}

static struct ls_machine *fill(const struct ls_machine_limits *limits, struct ls_grace *grace, uint64_t keys,
                               uint32_t value_bytes)
{
    struct ls_machine *machine = ls_kv.create(limits, grace);
    uint8_t *operation = calloc(1, sizeof(struct ls_kv_op) + 16 + value_bytes);
    uint8_t room[LS_RESULT_MAX];
    CHECK(machine != NULL && operation != NULL, "no memory");
    for (uint64_t i = 1; i <= keys; i++) {
        struct ls_kv_op op = {.code = LS_KV_PUT, .key_length = 16, .value_length = value_bytes};
        struct ls_result result = {.bytes = room};
        uint64_t key[2] = {i * 0x9e3779b97f4a7c15ull, i};
        memcpy(operation, &op, sizeof(op));
        memcpy(operation + sizeof(op), key, 16);
        memset(operation + sizeof(op) + 16, (int)i, value_bytes);
        struct ls_command command = {
            .seq = i, .time = i, .operation = operation, .length = (uint32_t)sizeof(op) + 16 + value_bytes};
        while (ls_kv.apply(machine, &command, 1, &result) == 0) {
            ls_grace_begin(grace);
            ls_kv.reclaim(machine);
            ls_grace_end(grace);
        }
        CHECK(result.status == LS_STATUS_OK, "put: %u", result.status);
        if (i % 32 == 0) {
            ls_grace_begin(grace);
            ls_grace_end(grace);
            ls_kv.reclaim(machine);
        }
    }
    free(operation);
    return machine;
}

static void walk(struct ls_machine *machine, struct memory *memory)
{
    int more;
    CHECK(ls_kv.checkpoint_begin(machine) == 0, "begin");
    memory->length = 0;
    while ((more = ls_kv.checkpoint_next(machine, &memory->sink)) == 1)
        continue;
    CHECK(more == 0, "walk: %d", more);
    ls_kv.checkpoint_end(machine);
}

int main(int argc, char **argv)
{
    uint64_t megabytes = argc > 1 ? strtoull(argv[1], NULL, 0) : 1024;
    uint32_t value_bytes = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 0) : 1024;
    const char *path = argc > 3 ? argv[3] : "/tmp/lockstep-checkpoint-cost";
    uint64_t keys = (megabytes << 20) / (value_bytes + 16);
    struct ls_machine_limits limits = {.keys = keys + 1, .bytes = (megabytes << 20) + 4096};
    struct ls_grace grace = {0};
    struct memory memory = {.sink.write = memory_write, .source.read = memory_read};
    struct ls_sessions *sessions;
    size_t sessions_size;
    char error[512];
    double t;

    memory.bytes = malloc((megabytes << 20) + keys * 48 + (64 << 20));
    CHECK(memory.bytes != NULL, "no memory");
    printf("%" PRIu64 " keys of 16 bytes, values of %u\n", keys, value_bytes);
    t = now();
    struct ls_machine *machine = fill(&limits, &grace, keys, value_bytes);
    report("put", now() - t, megabytes << 20, keys);

    walk(machine, &memory); /* touches the memory that it goes to */
    t = now();
    walk(machine, &memory);
    report("walk of the store into memory, alone", now() - t, memory.length, keys);
    t = now();
    uint32_t crc = ls_crc32c(0, memory.bytes, memory.length);
    report("CRC32C of it, alone", now() - t, memory.length, keys);
    struct ls_machine *copy = ls_kv.create(&limits, &grace);
    t = now();
    CHECK(copy != NULL && ls_kv.restore(copy, &memory.source) == 0, "restore");
    report("restore of the store from memory, alone", now() - t, memory.length, keys);
    ls_kv.destroy(copy);

    struct ls_sessions *table = ls_sessions_create(1, NULL);
    CHECK(table != NULL && ls_sessions_image_begin(table), "sessions");
    const uint8_t *image = ls_sessions_image(table, &sessions_size);
    sessions = ls_executor_sessions_restore(image, sessions_size, 1);
    CHECK(sessions != NULL, "sessions");
    struct ls_image whole = {.machine = machine, .sessions = sessions};
    struct ls_cut cut = {.seq = keys, .position = keys * 64, .epochs = 1, .epoch[0] = {.epoch = 1, .seq = 1}};
    cut.digest = ls_image_digest(&ls_kv, &whole);
    const struct ls_checkpoint_job job = {.type = &ls_kv, .cluster = 1, .generation = 1};

    t = now();
    CHECK(ls_kv.checkpoint_begin(machine) == 0, "begin");
    CHECK(ls_checkpoint_file_write(&job, &cut, image, sessions_size, machine, path, 0, error) == 0, "%s", error);
    report("checkpoint into a file, synced", now() - t, memory.length, keys);
    ls_kv.checkpoint_end(machine);

    struct ls_checkpoint_info info;
    t = now();
    CHECK(ls_checkpoint_file_verify(path, &info, error) == 0, "%s", error);
    report("verification of the file", now() - t, memory.length, keys);
    whole.machine = ls_kv.create(&limits, &grace);
    t = now();
    CHECK(ls_checkpoint_file_read(&job, path, 1, &whole, error) == 0, "%s", error);
    report("restore from the file", now() - t, memory.length, keys);
    (void)unlink(path);
    printf("(%08x)\n", crc);
    return 0;
}
