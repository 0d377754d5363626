/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target: what a journal's files hold when a node starts. The state's two slots, a segment's header, and the log's
 * bytes, read back into a log and executed. Whatever is found, nothing outside it is read, and what is taken agrees
 * with itself.
 *
 * With clang and -Dfuzz=true a libFuzzer target (two blocks of state, then the log's bytes); otherwise a program that
 * damages a valid journal from a seed: fuzz-journal [seed [rounds]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lockstep/grace.h>
#include <lockstep/state_machine.h>

#include "resume.h"

#define RING    (64u * 1024)
#define SEGMENT (64u * 1024)
#define STATE   (2u * LS_JOURNAL_BLOCK)
#define BYTES   (2u * SEGMENT)

static const struct ls_journal_identity identity = {.cluster = 7, .generation = 1, .node = 1, .segment_size = SEGMENT};

/* The disk is one piece of memory of exactly `size` bytes: the state, then the segments. */
struct piece {
    struct ls_journal_disk disk; /* first */
    const uint8_t *bytes;
    size_t size;
};

static int piece_read(struct ls_journal_disk *disk, uint64_t segment, uint64_t offset, void *bytes, uint32_t length)
{
    const struct piece *p = (const struct piece *)disk;
    uint64_t at = segment == LS_JOURNAL_STATE ? offset : STATE + segment * SEGMENT + offset;
    uint64_t end = segment == LS_JOURNAL_STATE ? STATE : STATE + (segment + 1) * SEGMENT;
    if (segment != LS_JOURNAL_STATE && segment >= BYTES / SEGMENT)
        return 0;
    end = end < p->size ? end : p->size;
    if (at >= end)
        return 0;
    length = length < end - at ? length : (uint32_t)(end - at);
    memcpy(bytes, p->bytes + at, length);
    return (int)length;
}

static bool no_buffer(struct ls_io *io, struct ls_frame *frame)
{
    (void)io;
    (void)frame;
    return false;
}

static void require(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "an accepted journal breaks: %s\n", what);
        abort();
    }
}

/* 0: taken; 1: there is none, or it is refused; < 0: the log is refused. */
static int judge(const uint8_t *bytes, size_t size)
{
    static struct ls_log log;
    static struct ls_seam seam;
    static struct ls_grace grace;
    static struct ls_replica_page page;
    static struct ls_counters counters;
    static struct ls_io io = {.alloc = no_buffer};
    struct piece piece = {.disk.read = piece_read, .bytes = bytes, .size = size};
    struct ls_executor_config config = {
        .cluster = 7, .generation = 1, .node = 1, .incarnation = 9, .sessions_max = 16, .window = 8};
    struct ls_journal_state state;
    char error[LS_JOURNAL_ERROR_MAX];
    uint8_t header[LS_JOURNAL_BLOCK];
    int loaded = ls_journal_state_load(&piece.disk, &identity, &state, error);
    require((loaded == LS_JOURNAL_RIGHT || loaded == LS_JOURNAL_ABSENT) == (error[0] == '\0'), "an error has a text");
    memset(header, 0, sizeof(header));
    memcpy(header, bytes, size < sizeof(header) ? size : sizeof(header));
    (void)ls_journal_segment_check(&identity, 0, header);
    if (loaded != LS_JOURNAL_RIGHT || state.base.position != 0)
        return 1;
    require(state.commit <= state.durable, "its commit");
    if (log.ring == NULL && ls_log_init(&log, RING) != 0)
        abort();
    ls_log_reset(&log);
    memset(&seam, 0, sizeof(seam));
    struct ls_machine *machine = ls_echo.create(&(struct ls_machine_limits){.keys = 10, .bytes = 1000}, &grace);
    if (ls_seam_init(&seam, 16) != 0 || machine == NULL)
        abort();
    struct ls_executor *executor = ls_executor_create(&config, &log, &seam, &io, &ls_echo, machine, &page, &counters);
    if (executor == NULL)
        abort();
    int result = ls_journal_replay(&piece.disk, &identity, &state, &log, &seam, executor, error);
    require((result == 0) == (error[0] == '\0'), "an error has a text");
    if (result == 0) {
        require(log.end >= state.durable, "its length");
        require(atomic_load(&seam.commit) <= log.end, "what is committed is there");
        require(atomic_load(&seam.applied) == atomic_load(&seam.commit), "what is committed is executed");
    }
    ls_executor_destroy(executor);
    ls_echo.destroy(machine);
    ls_seam_free(&seam);
    return result;
}

#ifdef LS_LIBFUZZER

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0)
        (void)judge(data, size);
    return 0;
}

#else

static uint64_t random_state;

static uint64_t random_below(uint64_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % n;
}

/* A log of an epoch's entries; commit and mark stand at an entry's end. Returns the log's end. */
static uint64_t sample_make(uint8_t *data)
{
    static struct ls_log log;
    struct ls_membership members = {.count = 1,
                                    .member = {{.node = 1, .role = LS_MEMBER_VOTER, .addr = {.ip = 1, .port = 7400}}}};
    struct ls_entry header = {.kind = LS_ENTRY_EPOCH};
    struct ls_entry_epoch opening = {.epoch = 1, .incarnation = 3, .sequencer = 1};
    struct ls_entry_limits limits = {.keys = 10, .bytes = 1000, .session_idle = 1000000000, .sessions = 8, .window = 8};
    if (log.ring == NULL && ls_log_init(&log, RING) != 0)
        abort();
    ls_log_reset(&log);
    ls_log_found(&log, &members);
    memset(data, 0, STATE + BYTES);
    ls_log_append(&log, &header, &opening, sizeof(opening));
    header.kind = LS_ENTRY_LIMITS;
    ls_log_append(&log, &header, &limits, sizeof(limits));
    header.kind = LS_ENTRY_OPEN;
    ls_log_append(&log, &header, "0123456789abcdef", LS_NONCE_SIZE);
    uint64_t session = log.last_seq, marked = 0;
    for (uint64_t i = 1; i <= 200; i++) {
        struct ls_entry entry = {.kind = i % 7 == 0 ? LS_ENTRY_TICK : LS_ENTRY_OPERATION,
                                 .time = i * 1000,
                                 .session = i % 7 == 0 ? 0 : session,
                                 .number = i - i / 7};
        ls_log_append(&log, &entry, data, i % 7 == 0 ? 0 : (uint32_t)(i % 40));
        marked = i == 150 ? log.end : marked;
    }
    memcpy(data + STATE, ls_log_at(&log, 0), log.end);
    struct ls_journal_state state = {.identity = identity,
                                     .number = 1,
                                     .incarnation = 3,
                                     .since = 3,
                                     .base.chain = LS_LOG_CHAIN_FIRST,
                                     .durable = marked,
                                     .commit = marked};
    ls_journal_state_write(&state, data + LS_JOURNAL_BLOCK);
    state.number = 2;
    ls_journal_state_write(&state, data);
    return log.end;
}

/* Damages bytes; then, mostly, mends the checksums, so that what is behind them is looked at. */
static void damage(uint8_t *data, uint64_t end)
{
    bool in_state = random_below(3) == 0;
    size_t from = in_state ? random_below(2) * LS_JOURNAL_BLOCK : STATE, room = in_state ? 160 : end;
    for (uint64_t n = 1 + random_below(4); n > 0; n--) {
        size_t at = from + random_below(room);
        data[at] = random_below(2) == 0 ? (uint8_t)(data[at] ^ (1u << random_below(8))) : (uint8_t)random_below(256);
    }
    if (random_below(4) == 0)
        return;
    for (uint32_t i = 0; i < 2 && in_state; i++) {
        struct ls_journal_state state;
        memcpy(&state, data + i * LS_JOURNAL_BLOCK, sizeof(state));
        ls_journal_state_write(&state, data + i * LS_JOURNAL_BLOCK);
    }
    uint32_t chain = LS_LOG_CHAIN_FIRST;
    for (uint64_t at = 0; !in_state && at + sizeof(struct ls_entry) <= end;) {
        struct ls_entry *entry = (struct ls_entry *)(data + STATE + at);
        uint64_t size = ls_entry_size(entry->length);
        if (entry->length > LS_OP_MAX || size > end - at)
            return;
        entry->checksum = chain = ls_entry_checksum(entry, chain);
        at += size;
    }
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    uint64_t rounds = argc > 2 ? strtoull(argv[2], NULL, 0) : 3000, verdict[3] = {0};
    uint8_t *data = aligned_alloc(LS_JOURNAL_BLOCK, STATE + BYTES);
    if (data == NULL)
        return 2;
    random_state = seed;
    (void)sample_make(data);
    require(judge(data, STATE + BYTES) == 0, "the sample is valid");
    for (uint64_t i = 0; i < rounds; i++) {
        damage(data, sample_make(data));
        int result = judge(data, random_below(16) == 0 ? 1 + random_below(STATE + BYTES) : STATE + BYTES);
        verdict[result == 0 ? 0 : result > 0 ? 1 : 2]++;
    }
    printf("seed %llu: %llu journals: taken %llu, no journal %llu, refused %llu\n", (unsigned long long)seed,
           (unsigned long long)rounds, (unsigned long long)verdict[0], (unsigned long long)verdict[1],
           (unsigned long long)verdict[2]);
    for (int i = 0; i < 3; i++)
        require(rounds < 1000 || verdict[i] > 0, "each verdict comes");
    free(data);
    return 0;
}

#endif
