/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target: ls_checkpoint_read() and ls_checkpoint_verify() on arbitrary bytes. Nothing outside the input is read,
 * and what is accepted can be worked with: the session table takes an opening and gives its image again, the machine
 * answers, applies and is scrubbed without a difference.
 *
 * With clang and -Dfuzz=true a libFuzzer target; otherwise a program that mutates a valid checkpoint from a seed:
 * fuzz-checkpoint [seed [rounds]] In both the checksums of the blocks are mended after a mutation: otherwise nothing
 * would get beyond them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lockstep/error.h>
#include <lockstep/grace.h>
#include <lockstep/kv.h>

#include "checkpoint_format.h"
#include "executor.h"
#include "session.h"
#include "wire.h"

#define SIZE_MAX_BYTES 65536
#define SESSIONS       4

static const struct ls_machine_limits limits = {.keys = 50, .bytes = 100000};
static const struct ls_checkpoint_job job = {.type = &ls_kv, .cluster = 7, .generation = 1};

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
    if (n > SIZE_MAX_BYTES - m->length)
        return -1;
    memcpy(m->bytes + m->length, bytes, n);
    m->length += n;
    return 0;
}

static int memory_read(struct ls_checkpoint_source *source, void *bytes, size_t n)
{
    struct memory *m = (struct memory *)((uint8_t *)source - offsetof(struct memory, source));
    if (n > m->length - m->at)
        return -1;
    memcpy(bytes, m->bytes + m->at, n);
    m->at += n;
    return 0;
}

static void require(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "an accepted checkpoint breaks: %s\n", what);
        abort();
    }
}

static void work_with(struct ls_image *image)
{
    static struct ls_session_public seats[SESSIONS];
    uint8_t buffer[128] = {0}, room[LS_RESULT_MAX];
    struct ls_entry *entry = (struct ls_entry *)buffer;
    const struct ls_entry *entries[1] = {entry};
    struct ls_verdict verdict;
    uint64_t cursor = 0;

    ls_sessions_attach(image->sessions, seats, SESSIONS);
    require(ls_sessions_image_begin(image->sessions), "an image of it");
    *entry = (struct ls_entry){
        .kind = LS_ENTRY_OPEN, .length = LS_NONCE_SIZE, .seq = image->cut.seq + 1, .time = image->cut.time};
    ls_sessions_judge(image->sessions, entries, 1, &verdict, 0);
    ls_sessions_pass(image->sessions, &verdict);
    while (ls_sessions_image_step(image->sessions) > 0)
        continue;
    require(ls_sessions_image_whole(image->sessions), "its image is whole");

    struct ls_kv_op op = {.code = LS_KV_PUT, .key_length = 1, .value_length = 1};
    memcpy(buffer, &op, sizeof(op));
    struct ls_result result = {.bytes = room};
    struct ls_command command = {
        .seq = UINT64_MAX / 2, .time = UINT64_MAX / 2, .operation = buffer, .length = sizeof(op) + 2};
    (void)ls_kv.apply(image->machine, &command, 1, &result);
    do {
        require(ls_kv.scrub(image->machine, &cursor, 1000) == 0, "its values have their checksums");
    } while (cursor != 0);
}

/* True if the bytes were accepted. */
static bool judge(const uint8_t *bytes, size_t size)
{
    struct memory memory = {.source.read = memory_read, .length = size};
    struct ls_grace grace = {0};
    struct ls_checkpoint_info info;
    struct ls_image image = {.machine = ls_kv.create(&limits, &grace)};
    memory.bytes = malloc(size > 0 ? size : 1); /* exactly, so that a sanitizer sees what is read behind */
    if (memory.bytes == NULL || image.machine == NULL)
        abort();
    memcpy(memory.bytes, bytes, size);
    bool sound = ls_checkpoint_verify(&memory.source, &info) == 0;
    memory.at = 0;
    bool accepted = ls_checkpoint_read(&job, &memory.source, SESSIONS, &image) == 0;
    if (accepted) {
        require(sound, "verification refuses it");
        work_with(&image);
        ls_sessions_destroy(image.sessions);
    }
    ls_kv.destroy(image.machine);
    free(memory.bytes);
    return accepted;
}

/* Numbers and checksums of the blocks as if they had been written so. */
static void mend(uint8_t *bytes, size_t size)
{
    uint32_t chain = LS_CHECKPOINT_CHAIN_FIRST;
    struct ls_checkpoint_block block;
    uint64_t number = 0;
    for (size_t at = 0; size - at >= sizeof(block); at += sizeof(block) + block.length) {
        memcpy(&block, bytes + at, sizeof(block));
        if (block.length > size - at - sizeof(block))
            return;
        block.number = number++;
        uint8_t *payload = bytes + at + sizeof(block);
        struct ls_checkpoint_trailer trailer;
        if (block.kind == LS_CHECKPOINT_TRAILER && block.length == sizeof(trailer)) {
            memcpy(&trailer, payload, sizeof(trailer));
            trailer.chain = chain;
            memcpy(payload, &trailer, sizeof(trailer));
        }
        chain =
            ls_crc32c(chain, (const uint8_t *)&block + sizeof(block.checksum), sizeof(block) - sizeof(block.checksum));
        chain = ls_crc32c(chain, payload, block.length);
        block.checksum = chain;
        memcpy(bytes + at, &block, sizeof(block));
    }
}

#ifdef LS_LIBFUZZER

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static uint8_t data[SIZE_MAX_BYTES];
    if (size > sizeof(data))
        return 0;
    judge(bytes, size);
    memcpy(data, bytes, size);
    mend(data, size);
    judge(data, size);
    return 0;
}

#else

static uint64_t random_state;

/* splitmix64 (Steele, Lea, Flood, 2014) */
static uint64_t random64(void)
{
    uint64_t z = (random_state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static void session_add(struct ls_sessions *sessions, uint64_t seq, uint64_t nonce)
{
    uint64_t buffer[10] = {0};
    struct ls_entry *entry = (struct ls_entry *)buffer;
    const struct ls_entry *entries[1] = {entry};
    struct ls_verdict verdict;
    *entry = (struct ls_entry){.kind = LS_ENTRY_OPEN, .length = LS_NONCE_SIZE, .seq = seq, .time = seq, .ip = 1};
    buffer[8] = buffer[9] = nonce;
    ls_sessions_judge(sessions, entries, 1, &verdict, 0);
    ls_sessions_pass(sessions, &verdict);
    *entry = (struct ls_entry){.kind = LS_ENTRY_OPERATION,
                               .seq = seq + 1,
                               .time = seq,
                               .session = verdict.id,
                               .slot = verdict.slot,
                               .number = 1};
    ls_sessions_judge(sessions, entries, 1, &verdict, 0);
    ls_sessions_keep(sessions, &verdict, seq + 1, LS_STATUS_OK, (const uint8_t *)"some bytes of a result", 22);
}

/* A small valid checkpoint: three sessions, a few keys. */
static size_t sample(uint8_t *bytes)
{
    static struct ls_session_public seats[SESSIONS];
    struct ls_grace grace = {0};
    struct memory memory = {.sink.write = memory_write, .bytes = bytes};
    struct ls_entry_limits log_limits = {.keys = 50, .bytes = 100000, .sessions = SESSIONS, .window = 8};
    struct ls_image image = {.machine = ls_kv.create(&limits, &grace), .sessions = ls_sessions_create(SESSIONS, seats)};
    size_t size;
    require(image.machine != NULL && image.sessions != NULL, "memory");
    require(ls_sessions_set_limits(image.sessions, &log_limits), "limits");
    for (uint64_t i = 0; i < 3; i++)
        session_add(image.sessions, 10 + 2 * i, i);
    for (uint8_t i = 1; i <= 6; i++) {
        uint8_t operation[512] = {0}, room[LS_RESULT_MAX];
        struct ls_kv_op op = {.code = LS_KV_PUT, .key_length = 1, .value_length = i * 50u, .ttl = i};
        memcpy(operation, &op, sizeof(op));
        operation[sizeof(op)] = i;
        struct ls_result result = {.bytes = room};
        struct ls_command command = {
            .seq = i, .time = i / 3, .operation = operation, .length = (uint32_t)sizeof(op) + 1 + i * 50u};
        require(ls_kv.apply(image.machine, &command, 1, &result) == 1, "a put");
    }
    struct ls_cut cut = {.seq = 40, .position = 40 * 64, .time = 50, .epochs = 1, .epoch[0] = {.epoch = 1, .seq = 1}};
    cut.members = (struct ls_membership){
        .seq = 3, .count = 1, .member[0] = {.node = 1, .role = LS_MEMBER_VOTER, .addr = {.ip = 1, .port = 1}}};
    cut.digest = ls_image_digest(&ls_kv, &image);
    require(ls_kv.checkpoint_begin(image.machine) == 0 && ls_sessions_image_begin(image.sessions), "its beginning");
    while (ls_sessions_image_step(image.sessions) > 0)
        continue;
    const uint8_t *sessions = ls_sessions_image(image.sessions, &size);
    require(ls_checkpoint_write(&job, &cut, sessions, size, image.machine, &memory.sink) == 0, "its writing");
    ls_sessions_destroy(image.sessions);
    ls_kv.destroy(image.machine);
    return memory.length;
}

static size_t mutate(uint8_t *bytes, size_t size)
{
    static const uint64_t bounds[] = {0, 1, 2, 3, 4, 5, 8, 16, 63, 64, 65, 128, 255, 65535, UINT32_MAX, UINT64_MAX};
    for (uint64_t n = 1 + random64() % 3; n > 0; n--) {
        size_t at = random64() % size, width = (size_t)1 << random64() % 4;
        uint64_t value = bounds[random64() % (sizeof(bounds) / sizeof(bounds[0]))];
        switch (random64() % 4) {
        case 0:
            bytes[at] ^= (uint8_t)(1u << random64() % 8);
            break;
        case 1:
            size -= random64() % 16 == 0 ? random64() % size : 0;
            break;
        default:
            at &= ~(width - 1);
            if (at + width <= size)
                memcpy(bytes + at, &value, width);
        }
    }
    return size;
}

int main(int argc, char **argv)
{
    static uint8_t good[SIZE_MAX_BYTES], bytes[SIZE_MAX_BYTES];
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    uint64_t rounds = argc > 2 ? strtoull(argv[2], NULL, 0) : 20000;
    uint64_t accepted = 0;
    size_t size = sample(good);
    random_state = seed;
    require(judge(good, size), "the sample");
    for (uint64_t i = 0; i < rounds; i++) {
        memcpy(bytes, good, size);
        size_t mutated = mutate(bytes, size);
        if (mutated > 0 && random64() % 16 != 0)
            mend(bytes, mutated);
        accepted += judge(bytes, mutated);
    }
    printf("seed %llu: %llu checkpoints, %llu accepted\n", (unsigned long long)seed, (unsigned long long)rounds,
           (unsigned long long)accepted);
    require(rounds < 10000 || (accepted > 0 && accepted < rounds), "both verdicts");
    return 0;
}

#endif
