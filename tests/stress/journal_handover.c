/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * journal_handover [seconds [seed]]: the hand-over between net, which changes the log, and the journal worker, which
 * writes it, on two real threads. One runs a replica (its turns, core/durable.c and core/rebase.c as they are) and
 * appends, commits, drops tails and begins anew behind checkpoints; the other one runs the journal's writer on a disk
 * in memory. A third one stalls both at random instructions. Then power fails, running writes are torn, and the next
 * life begins with what it finds:
 *   1. it is never damaged;
 *   2. it holds what net was told last to be durable, less what net dropped since, byte for byte;
 *   3. where the log begins and how far it is committed are of one log, never of the one before and the one behind;
 *   4. below the mark stands nothing of a tail whose dropping is on the disk.
 * The third one is looked at in every state that is written, too, and no write may carry positions that its log never
 * had: a restart would see both only if power failed in the microseconds before the next state.
 *
 * The disk takes a write's bytes from the ring piece by piece while net goes on. Bytes that the log had when the write
 * began do not change meanwhile, so they are read like any others, and ThreadSanitizer holds net and journal to that.
 * The last block may hold bytes behind them, which do change (disk.h); it alone is read behind the sanitizer's back.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <lockstep/grace.h>
#include <lockstep/state_machine.h>

#include "executor.h"
#include "replica_internal.h"
#include "resume.h"
#include "writer.h"

#define RING      (64u * 1024)
#define SEGMENT   (16u * 1024)
#define SEGMENTS  2048u
#define END_MAX   ((SEGMENTS - 16ull) * SEGMENT) /* no further in one world */
#define QUEUE     (LS_JOURNAL_WRITES_MAX + 1)
#define SECTOR    512u
#define LENGTH    3000u /* of an operation, at most */
#define LOGS      4u
#define LIVES_MAX 40u

static uint64_t seed;
static _Atomic bool stop;
static _Atomic uint32_t stall_turns; /* main -> signal handler */

#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "seed %" PRIu64 ": %s:%d: %s: ", seed, __FILE__, __LINE__, #condition);                    \
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

static void stall(uint32_t turns)
{
    for (uint32_t i = 0; i < turns; i++)
        __asm__ volatile("" ::: "memory"); /* the loop stays, and no sanitizer sees it */
}

static uint64_t block_up(uint64_t position)
{
    return (position + LS_JOURNAL_BLOCK - 1) & ~(uint64_t)(LS_JOURNAL_BLOCK - 1);
}

/* ---- what net tells the disk's checks of its logs: the present one and those before ---- */

/* net writes, before what it says can be seen in seam or log; the disk's checks read (relaxed: whoever has acquired
 * that, sees this). A log of which the journal may still speak keeps its place: it is one of the last two. */
struct known {
    _Atomic uint64_t base;
    _Atomic uint64_t end;    /* highest it ever had */
    _Atomic uint64_t commit; /* likewise */
};

static struct known known[LOGS];

static const struct known *known_find(uint64_t base)
{
    for (uint32_t i = 0; i < LOGS; i++) {
        if (atomic_load_explicit(&known[i].base, memory_order_relaxed) == base)
            return &known[i];
    }
    CHECK(false, "the journal speaks of a log behind %" PRIu64 ", which net never had", base);
}

static void known_set(uint32_t which, uint64_t base, uint64_t end, uint64_t commit)
{
    atomic_store_explicit(&known[which % LOGS].base, base, memory_order_relaxed);
    atomic_store_explicit(&known[which % LOGS].end, end, memory_order_relaxed);
    atomic_store_explicit(&known[which % LOGS].commit, commit, memory_order_relaxed);
}

/* ---- the disk; the journal's thread, and main between two lives ---- */

struct running {
    bool used;
    uint64_t segment, offset, cookie;
    const uint8_t *bytes;
    uint32_t length;
    uint32_t first, landed; /* sectors, in a ring from `first` on */
};

struct disk {
    struct ls_journal_disk disk; /* first */
    uint64_t random;
    uint32_t slow; /* of 256 chances to get on, so many are missed */
    bool late;     /* a segment is there at the second asking */
    uint64_t base; /* of the log that the state on the disk speaks of */
    uint64_t trimmed, torn, states, writes;
    bool state_there;
    uint8_t state[2 * LS_JOURNAL_BLOCK];
    uint8_t *segment[SEGMENTS];
    struct running running[QUEUE];
};

static uint8_t *disk_at(struct disk *d, uint64_t segment, uint64_t offset)
{
    if (segment == LS_JOURNAL_STATE)
        return d->state + offset;
    CHECK(segment < SEGMENTS && d->segment[segment] != NULL, "segment %" PRIu64 " is not there", segment);
    return d->segment[segment] + offset;
}

/* As DMA would: what stands in memory at that moment, word by word. */
__attribute__((noinline, no_sanitize("thread"))) static void copy_changing(uint8_t *to, const uint8_t *from,
                                                                           uint32_t length)
{
    for (uint32_t i = 0; i < length; i += 8) {
        uint64_t word = __atomic_load_n((const uint64_t *)(const void *)(from + i), __ATOMIC_RELAXED);
        __atomic_store_n((uint64_t *)(void *)(to + i), word, __ATOMIC_RELAXED);
    }
}

/* One load after the other: a short memcpy becomes a few instructions that ThreadSanitizer does not see. */
static void copy_settled(uint8_t *to, const uint8_t *from, uint32_t length)
{
    for (uint32_t i = 0; i < length; i += 8) {
        uint64_t word = *(const volatile uint64_t *)(const void *)(from + i);
        memcpy(to + i, &word, sizeof(word));
    }
}

static void sector_land(struct disk *d, const struct running *w, uint32_t sector)
{
    uint32_t at = sector % (w->length / SECTOR) * SECTOR;
    uint8_t *to = disk_at(d, w->segment, w->offset + at);
    if (w->segment != LS_JOURNAL_STATE && at >= w->length - LS_JOURNAL_BLOCK)
        copy_changing(to, w->bytes + at, SECTOR);
    else
        copy_settled(to, w->bytes + at, SECTOR);
}

/* Base, mark and commit of one and the same log. */
static void state_check(const uint8_t *block)
{
    struct ls_journal_state state;
    memcpy(&state, block, sizeof(state));
    const struct known *log = known_find(state.base.position);
    uint64_t commit = atomic_load_explicit(&log->commit, memory_order_relaxed);
    uint64_t end = atomic_load_explicit(&log->end, memory_order_relaxed);
    CHECK(state.commit <= commit, "committed up to %" PRIu64 " of a log behind %" PRIu64 ", where it is %" PRIu64,
          (uint64_t)state.commit, (uint64_t)state.base.position, commit);
    CHECK(state.durable <= end, "the mark is %" PRIu64 " of a log behind %" PRIu64 " that never passed %" PRIu64,
          (uint64_t)state.durable, (uint64_t)state.base.position, end);
    CHECK(state.base.position <= state.commit && state.commit <= state.durable, "base, commit, mark");
}

static int disk_write(struct ls_journal_disk *disk, uint64_t segment, uint64_t offset, const void *bytes,
                      uint32_t length, uint64_t cookie)
{
    struct disk *d = (struct disk *)disk;
    struct running *free_one = NULL;
    CHECK(offset % LS_JOURNAL_BLOCK == 0 && length % LS_JOURNAL_BLOCK == 0 && length > 0, "whole blocks");
    for (uint32_t i = 0; i < QUEUE; i++) {
        struct running *w = &d->running[i];
        if (!w->used)
            free_one = w;
        else
            CHECK(w->segment != segment || offset + length <= w->offset || w->offset + w->length <= offset,
                  "two writes of one block could land in either order");
    }
    if (free_one == NULL || next_random(&d->random) % 64 == 0)
        return -EAGAIN;
    if (segment == LS_JOURNAL_STATE) {
        state_check(bytes);
        d->state_there = true;
        d->states++;
    } else {
        uint64_t end = atomic_load_explicit(&known_find(d->base)->end, memory_order_relaxed);
        CHECK(segment * SEGMENT + offset + length <= block_up(end),
              "a write up to %" PRIu64 " of a log behind %" PRIu64 " that never passed %" PRIu64,
              segment * SEGMENT + offset + length, d->base, end);
        d->writes++;
    }
    *free_one = (struct running){.used = true,
                                 .segment = segment,
                                 .offset = offset,
                                 .bytes = bytes,
                                 .length = length,
                                 .cookie = cookie,
                                 .first = (uint32_t)(next_random(&d->random) % (length / SECTOR))};
    if (next_random(&d->random) % 16 == 0)
        stall((uint32_t)(next_random(&d->random) % 4096));
    return 0;
}

static uint32_t disk_turn(struct ls_journal_disk *disk, struct ls_journal_done *done, uint32_t max)
{
    struct disk *d = (struct disk *)disk;
    uint32_t n = 0, first = (uint32_t)(next_random(&d->random) % QUEUE);
    for (uint32_t k = 0; k < QUEUE && n < max; k++) {
        struct running *w = &d->running[(first + k) % QUEUE];
        if (!w->used || next_random(&d->random) % 256 < d->slow)
            continue;
        uint32_t sectors = w->length / SECTOR;
        uint64_t pieces = next_random(&d->random) % 2 == 0 ? sectors : next_random(&d->random) % sectors;
        for (; pieces > 0 && w->landed < sectors; pieces--)
            sector_land(d, w, w->first + w->landed++);
        if (w->landed < sectors)
            continue;
        if (w->segment == LS_JOURNAL_STATE) {
            struct ls_journal_state state;
            memcpy(&state, w->bytes, sizeof(state));
            d->base = state.base.position;
        }
        w->used = false;
        done[n++] = (struct ls_journal_done){.cookie = w->cookie};
    }
    return n;
}

static int disk_segment(struct ls_journal_disk *disk, uint64_t number)
{
    struct disk *d = (struct disk *)disk;
    CHECK(number < SEGMENTS && number >= d->trimmed, "segment %" PRIu64 " is asked for", number);
    if (d->segment[number] != NULL)
        return 1;
    d->segment[number] = calloc(1, SEGMENT);
    CHECK(d->segment[number] != NULL, "no memory");
    return d->late ? 0 : 1;
}

static void disk_trim(struct ls_journal_disk *disk, uint64_t number)
{
    struct disk *d = (struct disk *)disk;
    for (; d->trimmed < number; d->trimmed++) {
        free(d->segment[d->trimmed]);
        d->segment[d->trimmed] = NULL;
    }
}

static int disk_read(struct ls_journal_disk *disk, uint64_t segment, uint64_t offset, void *bytes, uint32_t length)
{
    struct disk *d = (struct disk *)disk;
    uint64_t size = segment == LS_JOURNAL_STATE ? sizeof(d->state) : SEGMENT;
    if (segment == LS_JOURNAL_STATE ? !d->state_there : segment >= SEGMENTS || d->segment[segment] == NULL)
        return 0;
    if (offset >= size)
        return 0;
    length = length < size - offset ? length : (uint32_t)(size - offset);
    memcpy(bytes, disk_at(d, segment, offset), length);
    return (int)length;
}

/* Power fails: of what runs there is what has landed, and all, some or none of the rest. */
static void disk_cut(struct disk *d)
{
    for (uint32_t i = 0; i < QUEUE; i++) {
        struct running *w = &d->running[i];
        uint64_t how = next_random(&d->random) % 4;
        for (; w->used && w->landed < w->length / SECTOR; w->landed++) {
            if (how == 1 || (how >= 2 && next_random(&d->random) % 2 == 0))
                sector_land(d, w, w->first + w->landed);
        }
        d->torn += w->used;
        w->used = false;
    }
}

/* ---- net ---- */

/* A log as net had it. Its newest bytes, by position. */
struct picture {
    uint64_t base, end, commit, sure; /* sure: net was told that it is durable up to here */
    uint64_t from;                    /* below it the bytes are the present one's */
    uint8_t bytes[2 * RING];
};

struct net {
    struct ls_log log;
    struct ls_seam seam;
    struct ls_replica *replica;
    struct ls_replica_page page;
    struct ls_counters counters;
    struct ls_io io;
    struct ls_image image;
    struct picture pictures[2];
    struct picture *now, *before; /* before: as it was when the change was asked for that the journal has not taken */
    bool waits;
    uint32_t logs; /* known[logs % LOGS] is the present one */
    uint64_t random, now_ns;
    uint32_t drops, rebases; /* of 1024 steps */
    uint32_t steps;          /* about so many, then power fails */
    uint64_t appended, dropped, rebased, committed;
};

struct world {
    struct disk disk;
    struct net net;
    struct ls_journal *journal;
    struct ls_journal_identity identity;
    struct ls_journal_state state;
    uint64_t incarnation, journal_random, journal_ns;
    uint32_t polls;                   /* about so many, then power fails */
    uint64_t lives, waiting, orderly; /* counted over all worlds */
};

static bool no_buffer(struct ls_io *io, struct ls_frame *frame)
{
    (void)io;
    (void)frame;
    return false;
}

static void picture_begin(struct picture *p, uint64_t base, uint64_t end, uint64_t commit_at, uint64_t from)
{
    p->base = base;
    p->end = end;
    p->commit = commit_at;
    p->from = from;
    p->sure = 0;
}

static void picture_take(struct net *n, uint64_t from, uint64_t end)
{
    for (uint64_t at = from; at < end; at++)
        n->now->bytes[at % sizeof(n->now->bytes)] = *ls_log_at(&n->log, at);
    n->now->end = end;
}

/* As follower and sequencer do: the room is asked for first. */
static bool bytes_begin(struct net *n, uint32_t length)
{
    struct known *k = &known[n->logs % LOGS];
    uint64_t end = n->log.end + ls_entry_size(length);
    if (n->log.end > END_MAX || !ls_durable_has_room(n->replica, n->log.end, end - n->log.end))
        return false;
    if (end > atomic_load_explicit(&k->end, memory_order_relaxed))
        atomic_store_explicit(&k->end, end, memory_order_relaxed);
    ls_log_drop_partial(&n->log);
    return true;
}

static void append(struct net *n)
{
    static uint8_t bytes[sizeof(struct ls_entry) + LENGTH + 8];
    struct ls_entry header = {.kind = LS_ENTRY_OPERATION, .time = n->log.last_time + 1, .session = 1};
    uint64_t begin = n->log.end;
    uint32_t length = (uint32_t)(next_random(&n->random) % (next_random(&n->random) % 16 == 0 ? LENGTH : 200));
    if (!bytes_begin(n, length))
        return;
    memset(bytes, 0, sizeof(bytes));
    for (uint32_t i = 0; i < length; i += 8) {
        uint64_t word = next_random(&n->random);
        memcpy(bytes + sizeof(header) + i, &word, length - i < 8 ? length - i : 8);
    }
    if (next_random(&n->random) % 2 == 0) {
        ls_log_append(&n->log, &header, bytes + sizeof(header), length);
    } else { /* as it comes from the sequencer, in two pieces; the second one may never come */
        uint32_t size = (uint32_t)ls_entry_size(length), first = (uint32_t)(next_random(&n->random) % size);
        header.length = length;
        header.seq = n->log.last_seq + 1;
        memcpy(bytes, &header, sizeof(header));
        header.checksum = ls_entry_checksum((const struct ls_entry *)(const void *)bytes, n->log.chain);
        memcpy(bytes, &header, sizeof(header));
        ls_log_place(&n->log, begin, bytes, first);
        CHECK(ls_log_fill(&n->log, begin + first) == 0, "a beginning is refused");
        if (next_random(&n->random) % 8 == 0)
            return;
        ls_log_place(&n->log, begin + first, bytes + first, size - first);
        CHECK(ls_log_fill(&n->log, begin + size) == 0 && n->log.end == begin + size, "an entry is refused");
    }
    picture_take(n, begin, n->log.end);
    n->appended++;
}

/* The end of an entry from commit on. */
static uint64_t some_end(struct net *n)
{
    uint64_t seq = n->replica->commit_seq, left = n->log.last_seq - seq;
    if (left == 0)
        return n->log.end;
    seq += 1 + next_random(&n->random) % (next_random(&n->random) % 2 == 0 || left < 8 ? left : 8);
    return seq == n->log.last_seq + 1 ? n->log.end : ls_log_position(&n->log, seq);
}

/* Others hold it, too, so what is committed need not be on this disk; apply is quick. */
static void commit(struct net *n)
{
    uint64_t end = some_end(n), seq = ls_log_seq_at(&n->log, end) - 1;
    if (end == n->replica->commit)
        return;
    atomic_store_explicit(&known[n->logs % LOGS].commit, end, memory_order_relaxed);
    ls_replica_commit(n->replica, end);
    n->replica->commit_seq = seq;
    n->now->commit = end;
    atomic_store_explicit(&n->seam.applied_seq, seq, memory_order_release);
    atomic_store_explicit(&n->seam.applied, end, memory_order_release);
    n->committed++;
}

static void drop_tail(struct net *n)
{
    uint64_t end = some_end(n), was = n->log.end;
    bool waited = ls_durable_waits(n->replica);
    if (end < was && !waited) {
        picture_begin(n->before, n->now->base, was, n->now->commit, end);
        for (uint64_t at = end; at < was; at++)
            n->before->bytes[at % sizeof(n->before->bytes)] = n->now->bytes[at % sizeof(n->now->bytes)];
    }
    int error = ls_durable_truncate(n->replica, end);
    CHECK(error == (end < was && waited ? -EAGAIN : 0), "%d", error);
    if (error != 0 || end == was)
        return;
    n->now->end = end;
    n->now->sure = n->before->sure = ls_durable_end(n->replica);
    n->dropped++;
}

/* Control brings a checkpoint that is further than commit: within the log that net has, or far behind it. */
static void rebase_order(struct net *n)
{
    uint64_t room = n->log.end - n->replica->commit + (next_random(&n->random) % 8 == 0 ? RING : 1024);
    uint64_t steps = 1 + next_random(&n->random) % (room / 64);
    struct ls_cut *cut = &n->image.cut;
    if (n->log.end > END_MAX || ls_rebase_runs(n->replica))
        return;
    n->image =
        (struct ls_image){.machine = (struct ls_machine *)(void *)n, .sessions = (struct ls_sessions *)(void *)n};
    cut->seq = n->replica->commit_seq + steps;
    cut->position = n->replica->commit + steps * 64 + next_random(&n->random) % 8 * 8;
    cut->time = n->log.last_time + 1;
    cut->chain = (uint32_t)next_random(&n->random);
    cut->epochs = 1;
    cut->epoch[0] = (struct ls_epoch_row){.epoch = 1, .position = 0, .seq = 1};
    cut->members = (struct ls_membership){.count = 1, .seq = 1};
    cut->members.member[0] =
        (struct ls_member){.node = 1, .role = LS_MEMBER_VOTER, .addr = {.ip = 0x0a000001, .port = LS_PORT_DEFAULT}};
    known_set(n->logs + 1, cut->position, cut->position, cut->position);
    struct ls_order order = {.kind = LS_ORDER_REBASE, .image = &n->image};
    CHECK(ls_spsc_push(&n->seam.orders, &order), "an order has no room");
}

/* apply swaps, control reads events. */
static void others_turn(struct net *n)
{
    struct ls_image *image = atomic_load_explicit(&n->seam.image, memory_order_acquire);
    struct ls_event event;
    if (image != NULL && next_random(&n->random) % 4 == 0) {
        atomic_store_explicit(&n->seam.applied_seq, image->cut.seq, memory_order_release);
        atomic_store_explicit(&n->seam.applied, image->cut.position, memory_order_release);
        atomic_store_explicit(&n->seam.image, NULL, memory_order_release);
    }
    while (ls_spsc_pop(&n->seam.events, &event))
        CHECK(event.kind != LS_EVENT_REBASED || event.code == 0, "a checkpoint is refused: %u", event.code);
}

static void turn(struct net *n)
{
    n->now_ns += 1000;
    (void)ls_replica_turn(n->replica, n->now_ns);
    CHECK(n->replica->role == LS_ROLE_OUTSIDE, "role %d", n->replica->role);
    uint64_t sure = ls_durable_end(n->replica);
    if (n->log.base != n->now->base) {
        struct picture *was = n->now;
        was->from = 0;
        n->now = n->before;
        n->before = was;
        picture_begin(n->now, n->log.base, n->log.end, n->log.base, 0);
        n->logs++;
        n->rebased++;
    } else {
        CHECK(sure >= n->now->sure, "durable fell from %" PRIu64 " to %" PRIu64, n->now->sure, sure);
    }
    n->now->sure = sure;
}

static void *run_net(void *argument)
{
    struct net *n = &((struct world *)argument)->net;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        uint64_t what = next_random(&n->random) % 1024;
        if (next_random(&n->random) % n->steps == 0)
            atomic_store_explicit(&stop, true, memory_order_relaxed);
        if (ls_rebase_runs(n->replica) || what < 300)
            turn(n);
        else if (what < 300 + n->drops)
            drop_tail(n);
        else if (what < 300 + n->drops + n->rebases)
            rebase_order(n), turn(n);
        else if (what < 650)
            commit(n);
        else
            append(n);
        others_turn(n);
        if (next_random(&n->random) % (ls_durable_waits(n->replica) ? 4 : 256) == 0)
            sched_yield(); /* where cores are few the other one gets on, too */
    }
    n->waits = ls_durable_waits(n->replica);
    return NULL;
}

/* ---- the journal ---- */

static void *run_journal(void *argument)
{
    struct world *w = argument;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        w->journal_ns += next_random(&w->journal_random) % 200000;
        if (next_random(&w->journal_random) % w->polls == 0)
            atomic_store_explicit(&stop, true, memory_order_relaxed);
        if (ls_journal_poll(w->journal, w->journal_ns) == 0 && next_random(&w->journal_random) % 8 == 0)
            sched_yield();
    }
    return NULL;
}

/* ---- lives ---- */

static void on_stall(int number)
{
    (void)number;
    stall(atomic_load_explicit(&stall_turns, memory_order_relaxed));
}

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Both threads run for a while, and stop where they are: when one of the three says so, for who is stopped by another
 * one's hand on few cores is seldom in the middle of anything. */
static void life_run(struct world *w, uint64_t *random)
{
    pthread_t net, journal;
    uint64_t ends = clock_ns() + next_random(random) % (next_random(random) % 4 == 0 ? 20000000 : 3000000);
    atomic_store(&stop, false);
    CHECK(pthread_create(&net, NULL, run_net, w) == 0 && pthread_create(&journal, NULL, run_journal, w) == 0, "thread");
    while (!atomic_load_explicit(&stop, memory_order_relaxed) && clock_ns() < ends) {
        struct timespec pause = {.tv_nsec = (long)(next_random(random) % 50000)};
        nanosleep(&pause, NULL);
        atomic_store_explicit(&stall_turns, (uint32_t)(next_random(random) % 65536), memory_order_relaxed);
        pthread_kill(next_random(random) % 2 == 0 ? net : journal, SIGUSR1);
    }
    atomic_store(&stop, true);
    pthread_join(net, NULL);
    pthread_join(journal, NULL);
}

/* Are the bytes from its oldest to `end` that were found those that net had there? */
static bool is_of(const struct net *n, const struct picture *p, uint64_t end)
{
    uint64_t at = ls_log_oldest(&n->log);
    if (end > p->end)
        return false;
    at = p->end > RING && p->end - RING > at ? p->end - RING : at;
    for (at = at > p->base ? at : p->base; at < end; at++) {
        const struct picture *from = at < p->from ? n->now : p;
        if (*ls_log_at(&n->log, at) != from->bytes[at % sizeof(from->bytes)])
            return false;
    }
    return true;
}

/* What ends behind `sure` need not be there: whole entries come back. */
static bool reaches(const struct net *n, const struct picture *p, uint64_t sure)
{
    struct ls_entry next;
    if (n->log.end >= sure)
        return true;
    for (uint32_t i = 0; i < sizeof(next); i++) {
        uint64_t at = n->log.end + i;
        ((uint8_t *)&next)[i] = (at < p->from ? n->now : p)->bytes[at % sizeof(p->bytes)];
    }
    return n->log.end + ls_entry_size(next.length) > sure;
}

/* What stands in n->log was read back with this state; n->now and n->before are what net had. */
static void life_check(const struct net *n, const struct ls_journal_state *state)
{
    const struct picture *p = n->now;
    bool dropping = n->waits && n->before->base == n->now->base;
    if (n->waits && (dropping || state->base.position == n->before->base))
        p = n->before; /* the disk may not know of the change yet */
    CHECK(state->base.position == p->base, "the log begins at %" PRIu64 ", not at %" PRIu64,
          (uint64_t)state->base.position, p->base);
    uint64_t sure = p->sure < n->log.end ? p->sure : n->log.end;
    CHECK(is_of(n, p, sure), "not what was durable up to %" PRIu64, sure);
    CHECK(reaches(n, p, p->sure), "durable up to %" PRIu64 ", found up to %" PRIu64, p->sure, n->log.end);
    CHECK(is_of(n, p, state->durable) || (dropping && is_of(n, n->now, state->durable)),
          "not what stood below the mark %" PRIu64, (uint64_t)state->durable);
    /* What is left of a log whose tail was dropped goes on being committed. */
    uint64_t commit_at = dropping ? n->now->commit : p->commit;
    CHECK(state->commit <= commit_at && ls_log_seq_at(&n->log, state->commit) != 0,
          "committed up to %" PRIu64 ", where net had %" PRIu64, (uint64_t)state->commit, commit_at);
    CHECK(atomic_load(&n->seam.commit) == state->commit && atomic_load(&n->seam.applied) == state->commit,
          "what is committed is executed");
}

/* The log as the disk has it, into memory that knows nothing. */
static void life_resume(struct world *w)
{
    static struct ls_grace grace;
    static struct ls_replica_page page;
    static struct ls_counters counters;
    struct net *n = &w->net;
    struct ls_journal_state *state = &w->state;
    char error[LS_JOURNAL_ERROR_MAX];
    struct ls_executor_config config = {
        .cluster = 7, .generation = 1, .node = 1, .incarnation = ++w->incarnation, .sessions_max = 16, .window = 8};
    CHECK(ls_log_init(&n->log, RING) == 0 && ls_seam_init(&n->seam, 16) == 0, "no memory");
    int loaded = ls_journal_state_load(&w->disk.disk, &w->identity, state, error);
    CHECK(loaded == LS_JOURNAL_RIGHT || (loaded == LS_JOURNAL_ABSENT && n->now->sure == 0 && n->now->base == 0),
          "%d: %s", loaded, error);
    if (loaded != LS_JOURNAL_RIGHT)
        *state = (struct ls_journal_state){.base.chain = LS_LOG_CHAIN_FIRST};
    w->disk.base = state->base.position;
    if (state->base.position != 0) {
        struct ls_cut cut = {.position = state->base.position,
                             .seq = state->base.seq,
                             .time = state->base.time,
                             .chain = state->base.chain};
        ls_log_rebase(&n->log, &cut);
        atomic_store(&n->seam.commit, cut.position);
        atomic_store(&n->seam.applied, cut.position);
        atomic_store(&n->seam.applied_seq, cut.seq);
    }
    struct ls_machine *machine = ls_echo.create(&(struct ls_machine_limits){.keys = 10, .bytes = 10000}, &grace);
    CHECK(machine != NULL, "no memory");
    struct ls_executor *executor =
        ls_executor_create(&config, &n->log, &n->seam, &n->io, &ls_echo, machine, &page, &counters);
    CHECK(executor != NULL, "no memory");
    int result = ls_journal_replay(&w->disk.disk, &w->identity, state, &n->log, &n->seam, executor, error);
    CHECK(result == 0, "%d: %s", result, error);
    ls_executor_destroy(executor);
    ls_echo.destroy(machine);
    life_check(n, state);
}

/* From here on what was found is what net has. */
static void life_begin(struct world *w, uint64_t *random)
{
    struct net *n = &w->net;
    struct ls_replica_config config = {.cluster = 7,
                                       .generation = 1,
                                       .node = 1,
                                       .incarnation = w->incarnation,
                                       .promise = 1,
                                       .durability = LS_DURABLE_JOURNAL,
                                       .sessions_max = 16,
                                       .window = 8,
                                       .op_max = 16 * 1024};
    struct ls_journal_config journal = {.identity = w->identity,
                                        .incarnation = w->incarnation,
                                        .since = w->state.since != 0 ? w->state.since : w->incarnation,
                                        .writes_max = 1 + (uint32_t)(next_random(random) % 8),
                                        .write_max = (1 + (uint32_t)(next_random(random) % 4)) * LS_JOURNAL_BLOCK,
                                        .mark_bytes = 1024 << next_random(random) % 5};
    uint64_t commit_at = atomic_load(&n->seam.commit);
    n->waits = false;
    picture_begin(n->now, n->log.base, n->log.end, commit_at, 0);
    picture_take(n, ls_log_oldest(&n->log), n->log.end);
    for (uint32_t i = 0; i < LOGS; i++)
        known_set(i, UINT64_MAX, 0, 0);
    known_set(n->logs, n->log.base, n->log.end, commit_at);
    w->journal = ls_journal_create(&journal, &w->state, &w->disk.disk, &n->log, &n->seam);
    CHECK(w->journal != NULL, "no journal");
    n->replica = ls_replica_create(&config, &n->log, &n->seam, &n->io, &ls_echo, NULL, &n->page, &n->counters);
    CHECK(n->replica != NULL, "no replica");
    n->drops = (uint32_t)(next_random(random) % 2 == 0 ? next_random(random) % 8 : next_random(random) % 100);
    n->rebases = (uint32_t)(next_random(random) % 2 == 0 ? next_random(random) % 4 : next_random(random) % 50);
    n->steps = 1024u << next_random(random) % 10;
    w->polls = 1024u << next_random(random) % 10;
    w->disk.slow = (uint32_t)(next_random(random) % 250);
    w->disk.late = next_random(random) % 2 == 0;
    while (!ls_journal_is_owned(w->journal)) /* nobody runs before */
        (void)ls_journal_poll(w->journal, w->journal_ns += 1000000);
    n->now->sure = ls_durable_end(n->replica);
}

static void life_end(struct world *w, bool orderly)
{
    struct net *n = &w->net;
    if (orderly) {
        while (!ls_journal_finish(w->journal, w->journal_ns += 100000))
            continue;
        n->waits = false;
        n->now->sure = n->log.end;
        w->orderly++;
    }
    w->waiting += n->waits;
    disk_cut(&w->disk);
    ls_replica_destroy(n->replica);
    ls_journal_destroy(w->journal);
    ls_seam_free(&n->seam);
    ls_log_free(&n->log);
    w->lives++;
}

/* A disk from its first byte on, until it is full or old. */
static void world_run(struct world *w, uint64_t *random, uint64_t ends_ns)
{
    struct net *n = &w->net;
    w->disk.disk = (struct ls_journal_disk){
        .write = disk_write, .turn = disk_turn, .segment = disk_segment, .trim = disk_trim, .read = disk_read};
    w->disk.random = next_random(random);
    w->disk.state_there = false;
    memset(w->disk.state, 0, sizeof(w->disk.state));
    w->disk.trimmed = 0;
    w->identity = (struct ls_journal_identity){.cluster = 7, .generation = 1, .node = 1, .segment_size = SEGMENT};
    w->incarnation = 0;
    w->journal_random = next_random(random);
    n->random = next_random(random);
    n->io.alloc = no_buffer;
    n->now = &n->pictures[0];
    n->before = &n->pictures[1];
    picture_begin(n->now, 0, 0, 0, 0);
    n->waits = false;
    for (uint32_t i = 0; i < LIVES_MAX && n->now->end <= END_MAX && clock_ns() < ends_ns; i++) {
        life_resume(w);
        life_begin(w, random);
        life_run(w, random);
        life_end(w, next_random(random) % 16 == 0);
    }
    life_resume(w);
    ls_seam_free(&n->seam);
    ls_log_free(&n->log);
    disk_trim(&w->disk.disk, SEGMENTS);
}

int main(int argc, char **argv)
{
    static struct world world;
    uint64_t seconds = argc > 1 ? strtoull(argv[1], NULL, 0) : 3;
    seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
    uint64_t random = seed, ends = clock_ns() + seconds * 1000000000u, worlds = 0;
    struct sigaction action = {.sa_handler = on_stall, .sa_flags = SA_RESTART};
    const struct net *n = &world.net;
    printf("journal_handover %" PRIu64 " %" PRIu64 "\n", seconds, seed);
    fflush(stdout);
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0, "signal");
    for (; worlds == 0 || clock_ns() < ends; worlds++)
        world_run(&world, &random, ends);
    printf("%" PRIu64 " disks, %" PRIu64 " lives, %" PRIu64 " of them ended while a change was on its way, %" PRIu64
           " in good order; appended %" PRIu64 ", committed %" PRIu64 ", dropped %" PRIu64 ", rebased %" PRIu64
           "; writes %" PRIu64 ", torn %" PRIu64 ", states %" PRIu64 "\n",
           worlds, world.lives, world.waiting, world.orderly, n->appended, n->committed, n->dropped, n->rebased,
           world.disk.writes, world.disk.torn, world.disk.states);
    CHECK(world.waiting > 0 && n->committed > 0 && n->dropped > 0 && n->rebased > 0 && world.disk.torn > 0,
          "not everything happened");
    return 0;
}
