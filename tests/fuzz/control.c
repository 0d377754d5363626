/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzz target: what lockstep-ctrl is told. Messages between it and its dataplane in both directions, messages between
 * ctrls, and the hello of a connection. What their readers copy without checks of their own is copied here, so that a
 * sanitizer sees what a missing check would allow.
 *
 * With clang and -Dfuzz=true a libFuzzer target (the first byte chooses the parser); otherwise a program that mutates
 * valid messages of every type from a seed: fuzz-control [seed [rounds]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lockstep/counters.h>
#include <lockstep/entry.h>
#include <lockstep/membership.h>

#include "../../ctrl/core/ctrl.h"
#include "../../ctrl/core/peer_message.h"
#include "../../ctrl/io/hello.h"
#include "../../dataplane/core/control_check.h"

#define CLUSTER 5
#define FROM    2
#define TO      1

enum parser { TO_DATAPLANE, TO_CTRL, PEER, HELLO, PARSERS };

static void require(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "an accepted message breaks: %s\n", what);
        abort();
    }
}

static void members_require(const uint8_t *records, size_t size, uint16_t count)
{
    struct ls_member_record record[LS_MEMBERS_MAX];
    struct ls_membership members;

    require(count <= LS_MEMBERS_MAX && size == count * sizeof(record[0]), "records of a membership");
    memcpy(record, records, size);
    require(count == 0 || ls_membership_read(&members, record, count), "a membership");
}

/* As ctrl and dataplane read it. */
static void control_read(const uint8_t *bytes, size_t size)
{
    struct ls_control_header header;
    struct ls_control_sealed sealed;
    struct ls_control_members members;
    struct ls_control_join join;
    struct ls_control_path path;
    struct ls_control_role role;

    memcpy(&header, bytes, sizeof(header));
    bytes += sizeof(header);
    size -= sizeof(header);
    require(size == header.size, "its size");
    switch (header.type) {
    case LS_CONTROL_SEALED:
        memcpy(&sealed, bytes, sizeof(sealed));
        members_require(bytes + sizeof(sealed), size - sizeof(sealed), sealed.members);
        break;
    case LS_CONTROL_MEMBERS:
    case LS_CONTROL_FOUND:
    case LS_CONTROL_CHANGE:
        memcpy(&members, bytes, sizeof(members));
        members_require(bytes + sizeof(members), size - sizeof(members), members.members);
        break;
    case LS_CONTROL_JOIN:
        memcpy(&join, bytes, sizeof(join));
        members_require(bytes + sizeof(join), size - sizeof(join), join.members);
        require(join.sequencer >= 1 && join.sequencer <= LS_NODE_ID_MAX, "a node id");
        break;
    case LS_CONTROL_CHECKPOINT:
    case LS_CONTROL_RESTORE:
        memcpy(&path, bytes, sizeof(path));
        require(path.length == size - sizeof(path) && path.length <= LS_CONTROL_PATH_MAX, "a path");
        break;
    case LS_CONTROL_ROLE:
        memcpy(&role, bytes, sizeof(role));
        require(role.sequencer <= LS_NODE_ID_MAX, "a node id");
        break;
    default:
        break;
    }
}

static void peer_read(const uint8_t *bytes, size_t size)
{
    struct ls_peer_header header;
    struct ls_peer_join_reply join;
    struct ls_peer_members members;
    struct ls_peer_command_reply command;
    struct ls_peer_status status;

    memcpy(&header, bytes, sizeof(header));
    bytes += sizeof(header);
    size -= sizeof(header);
    require(header.from == FROM && header.to == TO, "who speaks to whom");
    if (header.type == LS_PEER_JOIN_REPLY) {
        memcpy(&join, bytes, sizeof(join));
        members_require(bytes + sizeof(join), size - sizeof(join), join.members);
    } else if (header.type == LS_PEER_MEMBERS) {
        memcpy(&members, bytes, sizeof(members));
        members_require(bytes + sizeof(members), size - sizeof(members), members.members);
    } else if (header.type == LS_PEER_COMMAND_REPLY) {
        memcpy(&command, bytes, sizeof(command));
        require(command.length == size - sizeof(command) && command.length <= LS_PEER_TEXT_MAX, "a text");
    } else if (header.type == LS_PEER_STATUS) {
        memcpy(&status, bytes, sizeof(status));
        require(status.sequencer <= LS_NODE_ID_MAX, "a node id");
    }
}

/* True if the bytes were accepted. They stand at the end of their memory, so that no byte behind them can be read. */
static bool judge(enum parser parser, const uint8_t *bytes, size_t size)
{
    static const struct ls_peer_identity self = {CLUSTER, 1, TO};
    uint8_t *data = malloc(size > 0 ? size : 1);
    struct ls_hello hello;
    bool taken = false;

    if (data == NULL)
        abort();
    memcpy(data, bytes, size);
    if (parser == TO_DATAPLANE || parser == TO_CTRL) {
        taken = ls_control_check(parser == TO_CTRL ? LS_CONTROL_TO_CTRL : LS_CONTROL_TO_DATAPLANE, data, size) == NULL;
        if (taken)
            control_read(data, size);
    } else if (parser == PEER) {
        taken = ls_peer_check(&self, FROM, data, size) == NULL;
        if (taken)
            peer_read(data, size);
    } else if (size == sizeof(hello)) {
        memcpy(&hello, data, sizeof(hello));
        taken = ls_hello_check(&hello, CLUSTER, TO) == LS_HELLO_FINE;
        require(!taken || (hello.node >= 1 && hello.node <= LS_NODE_ID_MAX && hello.node != TO), "a node id");
        require(ls_hello_refusal_text(hello.refused) != NULL, "a reason has a text");
    }
    require(memcmp(data, bytes, size) == 0, "checking changes nothing");
    free(data);
    return taken;
}

#ifdef LS_LIBFUZZER

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size > 0)
        judge(bytes[0] % PARSERS, bytes + 1, size - 1);
    return 0;
}

#else

/* ---- valid messages: a body, then members or a text ---- */

enum tail { NONE, MEMBERS, TEXT };

static const struct sample {
    uint8_t parser; /* enum parser */
    bool number;    /* it has one */
    bool asker;     /* PEER: an answer */
    enum tail tail;
    uint32_t type;
    size_t size;
    union {
        struct ls_control_epoch epoch;
        struct ls_control_log log;
        struct ls_control_fault fault;
        struct ls_control_disk_fault disk_fault;
        struct ls_control_members members;
        struct ls_control_join join;
        struct ls_control_admit admit;
        struct ls_control_handover handover;
        struct ls_control_path path;
        struct ls_control_flip flip;
        struct ls_control_slow slow;
        struct ls_control_trim trim;
        struct ls_control_sealed sealed;
        struct ls_control_installed installed;
        struct ls_control_log_bytes log_bytes;
        struct ls_control_done done;
        struct ls_control_admitted admitted;
        struct ls_control_changed changed;
        struct ls_control_checkpoint checkpoint;
        struct ls_control_ready ready;
        struct ls_control_role role;
        struct ls_control_damaged damaged;
        struct ls_peer_hello peer_hello;
        struct ls_peer_status status;
        struct ls_peer_vote vote;
        struct ls_peer_vote_reply vote_reply;
        struct ls_peer_join peer_join;
        struct ls_peer_join_reply join_reply;
        struct ls_peer_confirm confirm;
        struct ls_peer_members peer_members;
        struct ls_peer_command command;
        struct ls_peer_command_reply command_reply;
        struct ls_hello hello;
    } body;
} samples[] = {
#define OF(field, ...)                                                                                                 \
    sizeof(((struct sample *)0)->body.field),                                                                          \
    {                                                                                                                  \
        .field = { __VA_ARGS__ }                                                                                       \
    }
    {TO_DATAPLANE, 1, 0, NONE, LS_CONTROL_SEAL, OF(epoch, .epoch = 3)},
    {TO_DATAPLANE, 1, 0, NONE, LS_CONTROL_INSTALL, OF(epoch, .epoch = 3, .incarnation = 9)},
    {TO_DATAPLANE, 1, 0, NONE, LS_CONTROL_LOG, OF(log, .seq = 3)},
    {TO_DATAPLANE, 1, 0, NONE, LS_CONTROL_STOP, 0, {{0}}},
    {TO_DATAPLANE, 1, 0, NONE, LS_CONTROL_PING, 0, {{0}}},
    {TO_DATAPLANE, 1, 0, NONE, LS_CONTROL_FAULT, OF(fault, .drop = 3)},
    {TO_DATAPLANE, 1, 0, MEMBERS, LS_CONTROL_FOUND, OF(members, .members = 3)},
    {TO_DATAPLANE, 1, 0, MEMBERS, LS_CONTROL_JOIN,
     OF(join, .epoch = 3, .incarnation = 9, .sequencer_incarnation = 8, .sequencer = 2, .members = 3)},
    {TO_DATAPLANE, 1, 0, NONE, LS_CONTROL_COUNT, OF(epoch, .incarnation = 9)},
    {TO_DATAPLANE, 1, 0, NONE, LS_CONTROL_ADMIT, OF(admit, .epoch = 3, .incarnation = 9, .joining = 8, .node = 2)},
    {TO_DATAPLANE, 1, 0, MEMBERS, LS_CONTROL_CHANGE, OF(members, .epoch = 3, .members = 3)},
    {TO_DATAPLANE, 1, 0, NONE, LS_CONTROL_HANDOVER, OF(handover, .epoch = 3, .patience = 9, .node = 2)},
    {TO_DATAPLANE, 1, 0, TEXT, LS_CONTROL_CHECKPOINT, OF(path, .length = 5)},
    {TO_DATAPLANE, 1, 0, TEXT, LS_CONTROL_RESTORE, OF(path, .length = 5)},
    {TO_DATAPLANE, 1, 0, NONE, LS_CONTROL_FLIP, OF(flip, .seed = 3)},
    {TO_DATAPLANE, 1, 0, NONE, LS_CONTROL_TRIM, OF(trim, .position = 4096)},
    {TO_DATAPLANE, 1, 0, NONE, LS_CONTROL_DISK_FAULT, OF(disk_fault, .hang = 1)},
    {TO_DATAPLANE, 1, 0, NONE, LS_CONTROL_SLOW, OF(slow, .turn_ns = 3)},
    {TO_CTRL, 1, 0, MEMBERS, LS_CONTROL_SEALED, OF(sealed, .epoch = 3, .incarnation = 9, .members = 3)},
    {TO_CTRL, 1, 0, NONE, LS_CONTROL_INSTALLED, OF(installed, .epoch = 3)},
    {TO_CTRL, 1, 0, NONE, LS_CONTROL_LOG_BYTES, OF(log_bytes, .next_seq = 3)},
    {TO_CTRL, 1, 0, TEXT, LS_CONTROL_DONE, OF(done, .error = 3)},
    {TO_CTRL, 1, 0, NONE, LS_CONTROL_ADMITTED, OF(admitted, .epoch = 3, .joining = 9, .node = 2)},
    {TO_CTRL, 1, 0, NONE, LS_CONTROL_CHANGED, OF(changed, .epoch = 3, .seq = 9)},
    {TO_CTRL, 1, 0, NONE, LS_CONTROL_HANDED, OF(epoch, .epoch = 3, .node = 2)},
    {TO_CTRL, 1, 0, TEXT, LS_CONTROL_CHECKPOINT_DONE, OF(checkpoint, .error = 3)},
    {TO_CTRL, 0, 0, NONE, LS_CONTROL_READY, OF(ready, .incarnation = 9, .pid = 2)},
    {TO_CTRL, 0, 0, NONE, LS_CONTROL_EPOCH_SEEN, OF(epoch, .epoch = 3, .node = 2)},
    {TO_CTRL, 0, 0, NONE, LS_CONTROL_ROLE, OF(role, .epoch = 3, .role = 2)},
    {TO_CTRL, 0, 0, NONE, LS_CONTROL_REACHED, OF(epoch, .epoch = 3, .incarnation = 9)},
    {TO_CTRL, 0, 0, MEMBERS, LS_CONTROL_MEMBERS, OF(members, .seq = 3, .members = 3)},
    {TO_CTRL, 0, 0, NONE, LS_CONTROL_PROGRESS, OF(checkpoint, .bytes = 3)},
    {TO_CTRL, 0, 0, NONE, LS_CONTROL_DAMAGED, OF(damaged, .found = 3)},
    {PEER, 0, 0, NONE, LS_PEER_HELLO, OF(peer_hello, .promise = 3)},
    {PEER, 0, 0, NONE, LS_PEER_STATUS, OF(status, .promise = 3)},
    {PEER, 1, 0, NONE, LS_PEER_PREVOTE, OF(vote, .epoch = 3)},
    {PEER, 1, 1, NONE, LS_PEER_PREVOTE_REPLY, OF(vote_reply, .epoch = 3)},
    {PEER, 1, 0, NONE, LS_PEER_VOTE, OF(vote, .epoch = 3)},
    {PEER, 1, 1, NONE, LS_PEER_VOTE_REPLY, OF(vote_reply, .epoch = 3)},
    {PEER, 1, 0, NONE, LS_PEER_JOIN, OF(peer_join, .joining = 3)},
    {PEER, 1, 1, MEMBERS, LS_PEER_JOIN_REPLY, OF(join_reply, .epoch = 3, .members = 3)},
    {PEER, 1, 0, NONE, LS_PEER_CONFIRM, OF(confirm, .epoch = 3)},
    {PEER, 1, 1, NONE, LS_PEER_CONFIRM_REPLY, OF(confirm, .epoch = 3)},
    {PEER, 0, 0, NONE, LS_PEER_STAND, OF(confirm, .epoch = 3)},
    {PEER, 0, 0, MEMBERS, LS_PEER_MEMBERS, OF(peer_members, .members = 3)},
    {PEER, 1, 0, NONE, LS_PEER_COMMAND, OF(command, .kind = LS_COMMAND_SEQUENCER_MOVE, .node = 2)},
    {PEER, 1, 1, TEXT, LS_PEER_COMMAND_REPLY, OF(command_reply, .length = 5)},
    {HELLO, 0, 0, NONE, 0, 0, {{0}}},
#undef OF
};
#define SAMPLES (sizeof(samples) / sizeof(samples[0]))

static size_t header_size(const struct sample *s)
{
    if (s->parser == HELLO)
        return 0;
    return s->parser == PEER ? sizeof(struct ls_peer_header) : sizeof(struct ls_control_header);
}

/* So that the body decides: both the sizes and the numbers are right again. */
static void mend(const struct sample *s, uint8_t *data, size_t size)
{
    if (s->parser == PEER) {
        struct ls_peer_header header = {.magic = LS_PEER_MAGIC, .version = LS_PEER_VERSION, .generation = 1};

        header.type = (uint16_t)s->type;
        header.size = (uint32_t)size;
        header.cluster = CLUSTER;
        header.id = s->number;
        header.asker = s->asker;
        header.from = FROM;
        header.to = TO;
        memcpy(data, &header, sizeof(header));
    } else if (s->parser != HELLO) {
        struct ls_control_header header = {.version = LS_CONTROL_VERSION, .type = s->type, .id = s->number};

        header.size = (uint32_t)(size - sizeof(header));
        memcpy(data, &header, sizeof(header));
    }
}

static size_t sample_make(const struct sample *s, uint8_t *data)
{
    size_t size = header_size(s) + s->size;

    memset(data, 0, 4096);
    if (s->parser == HELLO) {
        struct ls_hello hello = ls_hello_make(CLUSTER, FROM, TO, LS_HELLO_LINK);

        memcpy(data, &hello, sizeof(hello));
        return sizeof(hello);
    }
    memcpy(data + header_size(s), &s->body, s->size);
    for (uint16_t i = 0; i < 3 && s->tail == MEMBERS; i++) {
        struct ls_member_record record = {.node = (uint16_t)(i + 1), .role = 1, .ip = 9, .port = 9, .ctrl_port = 9};

        record.ctrl_ip = 9;
        memcpy(data + size, &record, sizeof(record));
        size += sizeof(record);
    }
    if (s->tail == TEXT) {
        memcpy(data + size, "/a/bc", 5);
        size += 5;
    }
    mend(s, data, size);
    return size;
}

static uint64_t random_state;

/* splitmix64 (Steele, Lea, Flood, 2014) */
static uint64_t random_below(uint64_t n)
{
    uint64_t z = (random_state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (z ^ (z >> 31)) % n;
}

static size_t mutate(uint8_t *data, size_t size)
{
    static const uint64_t bounds[] = {0,  1,  2,   3,   4,   15,    16,         17,        63,
                                      64, 65, 255, 256, 600, 65535, UINT32_MAX, UINT64_MAX};

    for (uint64_t n = 1 + random_below(3); n > 0; n--) {
        size_t at = random_below(size), width = (size_t)1 << random_below(4);
        uint64_t value = bounds[random_below(sizeof(bounds) / sizeof(bounds[0]))];

        switch (random_below(4)) {
        case 0:
            data[at] ^= (uint8_t)(1u << random_below(8));
            break;
        case 1:
        case 2:
            at &= ~(width - 1);
            if (at + width <= size)
                memcpy(data + at, &value, width);
            break;
        default:
            if (random_below(8) == 0)
                size = 1 + random_below(size);
            else if (random_below(4) == 0 && size + 16 <= 2048)
                size += 1 + random_below(16);
            break;
        }
    }
    return size;
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    uint64_t rounds = argc > 2 ? strtoull(argv[2], NULL, 0) : 400000;
    uint64_t taken_of[SAMPLES] = {0}, refused_of[SAMPLES] = {0};
    static uint8_t data[4096];

    random_state = seed;
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t size = sample_make(&samples[i], data);

        if (!judge(samples[i].parser, data, size))
            fprintf(stderr, "sample %zu (type %u)\n", i, samples[i].type);
        require(judge(samples[i].parser, data, size), "samples are valid");
    }
    for (uint64_t i = 0; i < rounds; i++) {
        size_t which = random_below(SAMPLES);
        const struct sample *s = &samples[which];
        size_t size = mutate(data, sample_make(s, data));

        if (random_below(8) != 0 && size >= header_size(s))
            mend(s, data, size);
        if (judge(s->parser, data, size))
            taken_of[which]++;
        else
            refused_of[which]++;
    }
    printf("seed %llu: %llu messages\n", (unsigned long long)seed, (unsigned long long)rounds);
    /* A loop in which one kind is never accepted, or never refused, tests nothing of it. */
    for (size_t i = 0; i < SAMPLES; i++)
        require(rounds < 100000 || (taken_of[i] > 0 && refused_of[i] > 0), "both verdicts for every sample");
    return 0;
}

#endif
