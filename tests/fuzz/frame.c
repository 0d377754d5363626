/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target: ls_frame_check() on arbitrary bytes, and everything that readers of an accepted frame touch without
 * checks of their own. Every byte they may read is read, so that a sanitizer sees what a missing check would allow.
 *
 * With clang and -Dfuzz=true a libFuzzer target; otherwise a program that mutates valid frames of every shape from a
 * seed: fuzz-frame [seed [rounds]] In both the checksum (and mostly the length) is mended after a mutation: otherwise
 * nothing would get beyond it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "samples.h"

/* Summed, so that no read is left out by the compiler. */
static uint64_t sink;

static void touch(const void *bytes, size_t n)
{
    const uint8_t *at = bytes;
    for (size_t i = 0; i < n; i++)
        sink += at[i];
}

static void require(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "an accepted frame breaks: %s\n", what);
        abort();
    }
}

/* Reads a frame as the replica and the client do; `end` is the first byte that is not the frame's. */
static void read_accepted(const uint8_t *data)
{
    const struct ls_frame_header *header = ls_frame_header(data);
    const uint8_t *body = ls_frame_body(data);
    const uint8_t *end = data + header->length;
    const uint8_t *at = NULL;
    switch (header->type) {
    case LS_FRAME_REQUEST: {
        const struct ls_request_record *record;
        while ((record = ls_request_next(data, &at)) != NULL) {
            touch(record + 1, ls_pad8(record->length));
            require(record->length <= LS_OP_SMALL_MAX && record->total <= LS_OP_MAX, "sizes of a request");
            require(record->number - record->awaited <= UINT16_MAX, "awaited fits the log");
        }
        break;
    }
    case LS_FRAME_READ: {
        const struct ls_read_record *record;
        while ((record = ls_read_next(data, &at)) != NULL) {
            touch(record + 1, ls_pad8(record->length));
            require(record->length <= LS_READ_OP_MAX, "size of a read");
        }
        break;
    }
    case LS_FRAME_REPLY: {
        const struct ls_reply_record *record;
        while ((record = ls_reply_next(data, &at)) != NULL) {
            touch(record + 1, ls_pad8(record->length));
            require(record->length <= LS_READ_RESULT_MAX, "size of a result");
        }
        break;
    }
    case LS_FRAME_ORDER: {
        const struct ls_order_body *order = (const void *)body;
        touch(order + 1, (size_t)(end - (const uint8_t *)(order + 1)));
        require(order->position + (uint64_t)(end - (const uint8_t *)(order + 1)) <= order->last, "bytes of the log");
        break;
    }
    case LS_FRAME_RANGE: {
        const struct ls_range_body *range = (const void *)body;
        touch(range + 1, (size_t)(end - (const uint8_t *)(range + 1)));
        require(range->position + (uint64_t)(end - (const uint8_t *)(range + 1)) > range->position, "a position wraps");
        break;
    }
    case LS_FRAME_ACK: {
        const struct ls_ack_body *ack = (const void *)body;
        touch(ack + 1, ack->rows * sizeof(struct ls_epoch_row));
        require(ack->rows <= LS_EPOCHS_SENT, "rows of an epoch table");
        break;
    }
    case LS_FRAME_FETCH: {
        const struct ls_fetch_body *fetch = (const void *)body;
        touch(fetch + 1, fetch->ranges * sizeof(struct ls_fetch_range));
        break;
    }
    case LS_FRAME_HEARTBEAT: {
        const struct ls_heartbeat_body *heartbeat = (const void *)body;
        touch(heartbeat + 1, heartbeat->answers * sizeof(struct ls_answer_record));
        break;
    }
    case LS_FRAME_GRANT:
        touch(body, sizeof(struct ls_grant_body));
        break;
    case LS_FRAME_FRAGMENT: {
        const struct ls_fragment_body *fragment = (const void *)body;
        touch(fragment + 1, fragment->length);
        require((uint64_t)fragment->index * LS_FRAGMENT_SIZE + fragment->length <= fragment->total,
                "a fragment's place");
        break;
    }
    case LS_FRAME_REDIRECT:
    case LS_FRAME_VIEW: {
        const struct ls_view_body *view = (const void *)body;
        touch(view + 1, view->members * sizeof(struct ls_member_record));
        require(view->members <= LS_MEMBERS_MAX, "members of a view");
        break;
    }
    case LS_FRAME_BUSY:
        touch(body, sizeof(struct ls_busy_body));
        break;
    default:
        require(false, "its type");
    }
}

/* True if the bytes were accepted. They stand at the end of their memory, so that no byte behind them can be read. */
static bool judge(const uint8_t *bytes, size_t size)
{
    uint8_t *data = malloc(size > 0 ? size : 1);
    if (data == NULL)
        abort();
    memcpy(data, bytes, size);
    enum ls_counter reason = ls_frame_check(&sample_node, data, (uint32_t)size);
    require(memcmp(data, bytes, size) == 0, "checking changes nothing");
    require(reason < LS_COUNTERS, "the reason is a counter");
    if (reason == 0)
        read_accepted(data);
    free(data);
    return reason == 0;
}

/* Gives the bytes what every frame of these identities has, so that the body decides. */
static void mend(uint8_t *data, size_t size)
{
    if (size < LS_FRAME_HEADER_SIZE || size > LS_FRAME_HEADER_SIZE + LS_FRAME_BODY_MAX)
        return;
    struct ls_frame_header *header = (void *)data;
    bool client =
        header->type == LS_FRAME_REQUEST || header->type == LS_FRAME_READ || header->type == LS_FRAME_FRAGMENT;
    uint64_t epoch = header->epoch;
    ls_frame_begin(client ? &sample_client : &sample_node, data, header->type, epoch);
    sample_seal(data, (uint32_t)size);
}

#ifdef LS_LIBFUZZER

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static uint8_t data[65536];
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

static uint64_t random_below(uint64_t n)
{
    return random64() % n;
}

/* A value that is likely to stand at a bound. */
static uint64_t random_value(void)
{
    static const uint64_t bounds[] = {0,
                                      1,
                                      2,
                                      3,
                                      4,
                                      5,
                                      7,
                                      8,
                                      9,
                                      15,
                                      16,
                                      17,
                                      31,
                                      32,
                                      42,
                                      43,
                                      48,
                                      49,
                                      63,
                                      64,
                                      65,
                                      255,
                                      256,
                                      257,
                                      1280,
                                      1281,
                                      1320,
                                      1321,
                                      1352,
                                      1400,
                                      65535,
                                      65536,
                                      8388608,
                                      6553,
                                      6554,
                                      1024,
                                      1025,
                                      8388609,
                                      UINT32_MAX,
                                      UINT64_MAX,
                                      UINT64_MAX - 7};
    uint64_t pick = bounds[random_below(sizeof(bounds) / sizeof(bounds[0]))];
    return random_below(4) == 0 ? random64() : pick;
}

static size_t mutate(uint8_t *data, size_t size)
{
    for (uint64_t n = 1 + random_below(3); n > 0; n--) {
        size_t at = random_below(8) == 0 ? random_below(size) : LS_FRAME_HEADER_SIZE - 1 + random_below(size - 47);
        switch (random_below(6)) {
        case 0:
            data[at] ^= (uint8_t)(1u << random_below(8));
            break;
        case 1:
            data[at] = (uint8_t)random64();
            break;
        case 2:
        case 3: {
            size_t width = (size_t)1 << random_below(4);
            uint64_t value = random_value();
            at &= ~(width - 1);
            if (at + width <= size)
                memcpy(data + at, &value, width);
            break;
        }
        case 4:
            size = LS_FRAME_HEADER_SIZE + random_below(size - LS_FRAME_HEADER_SIZE + 1);
            if (size < LS_FRAME_HEADER_SIZE + 8)
                size = LS_FRAME_HEADER_SIZE + 8;
            break;
        default: {
            size_t more = 8 * random_below(8);
            if (size + more <= LS_FRAME_MAX) {
                memset(data + size, 0, more);
                size += more;
            }
            break;
        }
        }
    }
    return size;
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    uint64_t rounds = argc > 2 ? strtoull(argv[2], NULL, 0) : 400000;
    uint64_t accepted = 0;
    uint64_t accepted_of[SAMPLES] = {0};
    random_state = seed;
    for (uint64_t i = 0; i < rounds; i++) {
        uint8_t data[LS_FRAME_MAX + 64];
        enum sample which = (enum sample)random_below(SAMPLES);
        size_t size = mutate(data, sample_frame(data, which));
        if (random_below(16) != 0)
            mend(data, size);
        if (judge(data, size)) {
            accepted++;
            accepted_of[which]++;
        }
    }
    printf("seed %llu: %llu frames, %llu accepted, checksum %llx\n", (unsigned long long)seed,
           (unsigned long long)rounds, (unsigned long long)accepted, (unsigned long long)sink);
    /* A loop in which one kind of frame is never accepted, or none is refused, tests nothing of it. */
    for (int which = 0; which < SAMPLES; which++)
        require(rounds < 10000 || (accepted_of[which] > 0 && accepted < rounds), "both verdicts for every sample");
    return 0;
}

#endif
