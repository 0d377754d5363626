/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whole checkpoints: one executor over a log written by hand and the key-value store. What a replica does that begins
 * with a checkpoint is what one does that replayed the log; every damaged byte and every wrong origin is refused.
 */
#include "rig.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/entries.h"
#include "checkpoint_format.h"
#include "executor.h"
#include "session.h"
#include "wire.h"

#define RING_SIZE (1u << 24)
#define SESSIONS  40
#define EVERY     64 /* entries between comparison points */
#define CLUSTER   77

static const struct ls_machine_limits physical = {.keys = 20000, .bytes = 8 * 1024 * 1024};

/* ---- a log ---- */

struct node;
static void node_run(struct node *node, uint64_t to);

struct history {
    struct node *scout; /* a replica that has it all: it knows the slots */
    uint8_t *ring;
    uint64_t end;
    uint64_t seq;
    uint64_t time;
    uint64_t opened[SESSIONS]; /* by slot: the session there, maybe evicted since */
    uint64_t number[SESSIONS]; /* its next one */
    struct rng rng;
};

static void append(struct history *h, struct ls_entry header, const void *operation, uint32_t length)
{
    header.seq = ++h->seq;
    header.time = h->time;
    header.checksum = (uint32_t)rng_next(&h->rng);
    header.ip = header.session != 0 || header.kind == LS_ENTRY_OPEN ? 0x0a000000 + (uint32_t)rng_below(&h->rng, 9) : 0;
    header.port = 1000;
    h->end += entry_write(h->ring + h->end, header, operation, length);
    assert_true(h->end < RING_SIZE);
}

static void append_epoch(struct history *h, uint64_t epoch)
{
    struct ls_entry_epoch opening = {.epoch = epoch, .incarnation = epoch + 3, .sequencer = 1};
    append(h, (struct ls_entry){.kind = LS_ENTRY_EPOCH}, &opening, sizeof(opening));
}

static void append_limits(struct history *h, uint32_t sessions, uint32_t window)
{
    struct ls_entry_limits limits = {
        .keys = 15000, .bytes = 4 * 1024 * 1024, .session_idle = 400, .sessions = sessions, .window = window};
    append(h, (struct ls_entry){.kind = LS_ENTRY_LIMITS}, &limits, sizeof(limits));
}

static void append_members(struct history *h, uint16_t members)
{
    struct {
        struct ls_entry_members head;
        struct ls_member_record record[LS_MEMBERS_MAX];
    } LS_PACKED entry = {.head.members = members};
    for (uint16_t i = 0; i < members; i++)
        entry.record[i] = (struct ls_member_record){
            .node = (uint16_t)(2 * i + 1), .role = LS_MEMBER_VOTER, .ip = 0x0a000001u + i, .port = 7400};
    append(h, (struct ls_entry){.kind = LS_ENTRY_MEMBERS}, &entry,
           (uint32_t)(sizeof(entry.head) + members * sizeof(entry.record[0])));
}

static void append_open(struct history *h);

static void append_request(struct history *h)
{
    static const uint8_t codes[] = {LS_KV_PUT, LS_KV_PUT, LS_KV_APPEND, LS_KV_DELETE};
    static uint8_t value[20000];
    uint32_t at = (uint32_t)rng_below(&h->rng, SESSIONS);
    uint32_t length = (uint32_t)rng_below(&h->rng, rng_below(&h->rng, 40) == 0 ? sizeof(value) : 250);
    uint8_t code = codes[rng_below(&h->rng, 4)];
    while (h->opened[at] == 0)
        at = (at + 1) % SESSIONS;
    uint64_t number = h->number[at];
    char key[80];
    struct op op;
    int n = snprintf(key, sizeof(key), "key-%llu", (unsigned long long)rng_below(&h->rng, 500));
    if (n % 2 == 0)
        n += snprintf(key + n, sizeof(key) - (size_t)n, "%060d", 0);
    memset(value, (int)h->seq, length);
    op_mutation(&op, code, key, (uint32_t)n, value, code == LS_KV_DELETE ? 0 : length, 0,
                code == LS_KV_PUT && rng_below(&h->rng, 4) == 0 ? 1 + rng_below(&h->rng, 300) : 0);
    if (rng_below(&h->rng, 8) == 0 && number > 1)
        number -= 1 + rng_below(&h->rng, number - 1); /* a repeat */
    else
        h->number[at]++;
    struct ls_entry header = {.kind = LS_ENTRY_OPERATION,
                              .session = h->opened[at],
                              .slot = at,
                              .number = number,
                              .awaited = (uint16_t)rng_below(&h->rng, 20)};
    append(h, header, op.bytes, op.length);
    op_free(&op);
}

static void append_some(struct history *h, uint32_t entries)
{
    for (uint32_t i = 0; i < entries; i++) {
        h->time += rng_below(&h->rng, 12);
        switch (rng_below(&h->rng, 12)) {
        case 0:
            append_open(h);
            break;
        case 1:
            append(h, (struct ls_entry){.kind = LS_ENTRY_TICK}, NULL, 0);
            break;
        default:
            append_request(h);
        }
    }
}

/* ---- a replica's apply side ---- */

struct node {
    struct ls_log log;
    struct ls_seam seam;
    struct ls_grace grace;
    struct ls_machine *machine;
    struct ls_replica_page page;
    struct ls_counters counters;
    struct ls_executor *executor;
};

static void node_start(struct node *node, const struct history *h)
{
    static struct ls_io io; /* it answers nobody */
    struct ls_executor_config config = {.cluster = CLUSTER,
                                        .generation = 1,
                                        .node = 1,
                                        .incarnation = 1,
                                        .sessions_max = SESSIONS,
                                        .window = LS_WINDOW_MAX,
                                        .digest_every = EVERY};
    memset(node, 0, sizeof(*node));
    node->log.ring = h->ring;
    node->log.size = RING_SIZE;
    node->log.mask = RING_SIZE - 1;
    assert_int_equal(ls_seam_init(&node->seam, SESSIONS + 3), 0);
    node->machine = ls_kv.create(&physical, &node->grace);
    assert_non_null(node->machine);
    node->executor =
        ls_executor_create(&config, &node->log, &node->seam, &io, &ls_kv, node->machine, &node->page, &node->counters);
    assert_non_null(node->executor);
}

static void node_stop(struct node *node)
{
    ls_executor_destroy(node->executor);
    ls_kv.destroy(node->machine);
    ls_seam_free(&node->seam);
}

static void node_turn(struct node *node)
{
    ls_grace_begin(&node->grace);
    ls_executor_turn(node->executor, 0);
    ls_grace_end(&node->grace);
}

static void node_run(struct node *node, uint64_t to)
{
    atomic_store(&node->seam.commit, to);
    while (atomic_load(&node->seam.applied) != to)
        node_turn(node);
    node_turn(node);
}

static void append_open(struct history *h)
{
    uint64_t nonce[2] = {rng_below(&h->rng, 3 * SESSIONS), 5};
    append(h, (struct ls_entry){.kind = LS_ENTRY_OPEN}, nonce, sizeof(nonce));
    node_run(h->scout, h->end);
    for (uint32_t slot = 0; slot < SESSIONS; slot++) {
        if (atomic_load(&h->scout->seam.sessions[slot].session) == h->seq) {
            h->opened[slot] = h->seq;
            h->number[slot] = 1;
        }
    }
}

static void history_begin(struct history *h, uint64_t seed)
{
    *h = (struct history){.ring = calloc(1, RING_SIZE), .time = 100, .rng = {.state = seed}};
    h->scout = calloc(1, sizeof(*h->scout));
    node_start(h->scout, h);
    append_epoch(h, 4);
    append_limits(h, SESSIONS / 2, 16);
    append_members(h, 3);
    append_open(h);
}

/* What happened in it is enough to mean something. */
static void history_end(struct history *h)
{
    node_run(h->scout, h->end);
    const struct ls_counters *counters = &h->scout->counters;
    assert_true(ls_counter_get(counters, LS_COUNT_sessions_opened) > 10);
    assert_true(ls_counter_get(counters, LS_COUNT_executed_repeats) > 0);
    assert_true(ls_counter_get(counters, LS_COUNT_applied_entries) == h->seq);
    assert_true(ls_executor_digest(h->scout->executor) != 0);
    node_stop(h->scout);
    free(h->scout);
    free(h->ring);
}

/* A cut, checkpointed while the log runs on to `to`. */
static void node_checkpoint(struct node *node, uint64_t to, struct image *image, struct ls_cut *cut)
{
    const struct ls_checkpoint_job job = {.type = &ls_kv, .cluster = CLUSTER, .generation = 1};
    size_t size;
    node->seam.cut = cut;
    atomic_store(&node->seam.cut_state, LS_CUT_WANTED);
    node_turn(node);
    assert_int_equal(atomic_load(&node->seam.cut_state), LS_CUT_OPEN);
    node_run(node, to);
    while (!atomic_load(&node->seam.cut_sessions))
        node_turn(node);
    const uint8_t *sessions = ls_executor_sessions_image(node->executor, &size);
    image->length = 0;
    assert_int_equal(ls_checkpoint_write(&job, cut, sessions, size, node->machine, &image->sink), 0);
    atomic_store(&node->seam.cut_state, LS_CUT_ENDING);
    node_turn(node);
    assert_int_equal(atomic_load(&node->seam.cut_state), LS_CUT_NONE);
}

static int image_read(struct image *image, const struct ls_checkpoint_job *job, uint32_t sessions_max,
                      struct ls_grace *grace, struct ls_image *whole)
{
    image->at = 0;
    whole->machine = ls_kv.create(&physical, grace);
    int error = ls_checkpoint_read(job, &image->source, sessions_max, whole);
    if (error != 0) {
        assert_null(whole->sessions);
        ls_kv.destroy(whole->machine);
    }
    return error;
}

static void node_rebase(struct node *node, struct image *image)
{
    const struct ls_checkpoint_job job = {.type = &ls_kv, .cluster = CLUSTER, .generation = 1};
    struct ls_image whole;
    assert_int_equal(image_read(image, &job, SESSIONS, &node->grace, &whole), 0);
    node->machine = whole.machine;
    atomic_store(&node->seam.image, &whole);
    node_turn(node);
    assert_null(atomic_load(&node->seam.image));
    assert_ptr_not_equal(whole.machine, node->machine);
    ls_sessions_destroy(whole.sessions);
    ls_kv.destroy(whole.machine);
}

static void assert_same_cut(const struct ls_cut *a, const struct ls_cut *b)
{
    assert_int_equal(a->seq, b->seq);
    assert_int_equal(a->position, b->position);
    assert_int_equal(a->time, b->time);
    assert_int_equal(a->digest, b->digest);
    assert_int_equal(a->chain, b->chain);
    assert_int_equal(a->epochs, b->epochs);
    assert_memory_equal(a->epoch, b->epoch, a->epochs * sizeof(a->epoch[0]));
    assert_int_equal(a->members.seq, b->members.seq);
    assert_true(ls_membership_equal(&a->members, &b->members));
    assert_memory_equal(&a->limits, &b->limits, sizeof(a->limits));
}

static struct ls_cut cut_now(struct node *node)
{
    struct ls_cut cut;
    node->seam.cut = &cut;
    for (atomic_store(&node->seam.cut_state, LS_CUT_WANTED); atomic_load(&node->seam.cut_state) != LS_CUT_OPEN;) {
        atomic_store(&node->seam.cut_state, LS_CUT_WANTED); /* -EBUSY while the last one is given back */
        node_turn(node);
    }
    atomic_store(&node->seam.cut_state, LS_CUT_ENDING);
    node_turn(node);
    return cut;
}

/* Everything that others see of apply. */
static void assert_same_node(struct node *a, struct node *b)
{
    assert_int_equal(ls_executor_digest(a->executor), ls_executor_digest(b->executor));
    assert_int_equal(atomic_load(&a->seam.window), atomic_load(&b->seam.window));
    assert_int_equal(atomic_load(&a->seam.applied), atomic_load(&b->seam.applied));
    assert_int_equal(atomic_load(&a->seam.applied_seq), atomic_load(&b->seam.applied_seq));
    assert_memory_equal(a->seam.sessions, b->seam.sessions, SESSIONS * sizeof(*a->seam.sessions));
    assert_int_equal(atomic_load(&a->page.digest_seq), atomic_load(&b->page.digest_seq));
    assert_int_equal(atomic_load(&a->page.digest), atomic_load(&b->page.digest));
    assert_int_equal(atomic_load(&a->page.log_time), atomic_load(&b->page.log_time));
    assert_int_equal(atomic_load(&a->page.sessions), atomic_load(&b->page.sessions));
    struct ls_cut x = cut_now(a), y = cut_now(b);
    assert_same_cut(&x, &y);
}

static void with_a_checkpoint_as_by_replay(void **state)
{
    uint64_t seed = rng_seed(20);
    uint64_t compared = 0, evicted = 0;
    (void)state;
    for (uint64_t round = 0; round < 12; round++) {
        struct history h;
        struct node replayed, other;
        struct image image;
        struct ls_cut cut;

        history_begin(&h, seed + round);
        append_some(&h, 400 + (uint32_t)rng_below(&h.rng, 600));
        uint64_t early = h.end;
        append_limits(&h, SESSIONS, 64);
        append_epoch(&h, 9);
        append_some(&h, 300 + (uint32_t)rng_below(&h.rng, 300));
        uint64_t middle = h.end;
        append_some(&h, (uint32_t)rng_below(&h.rng, 300));
        append_members(&h, 4);
        append_epoch(&h, 10);
        append_some(&h, (uint32_t)rng_below(&h.rng, 300));
        uint64_t later = h.end;

        image_init(&image);
        node_start(&replayed, &h);
        node_run(&replayed, middle);
        uint64_t digest = ls_executor_digest(replayed.executor);
        node_checkpoint(&replayed, later, &image, &cut);
        assert_int_equal(cut.digest, digest);
        assert_int_equal(cut.position, middle);
        assert_int_equal(cut.epochs, 2);
        assert_int_equal(cut.members.count, 3);

        /* into one that is fresh, or that has something older */
        node_start(&other, &h);
        if (round % 2)
            node_run(&other, early);
        node_rebase(&other, &image);
        assert_int_equal(ls_executor_digest(other.executor), digest);
        node_run(&other, later);
        assert_same_node(&replayed, &other);

        append_some(&h, 3000);
        append_limits(&h, SESSIONS / 4, 8);
        append_some(&h, 1000);
        node_run(&replayed, h.end);
        node_run(&other, h.end);
        assert_same_node(&replayed, &other);
        for (uint32_t i = 0; i < LS_DIGESTS_KEPT; i++) {
            uint64_t seq = atomic_load(&other.page.digests[i].seq);
            assert_int_equal(seq, atomic_load(&replayed.page.digests[i].seq));
            assert_int_equal(seq / EVERY % LS_DIGESTS_KEPT, i);
            assert_int_equal(atomic_load(&other.page.digests[i].digest), atomic_load(&replayed.page.digests[i].digest));
            compared++;
        }
        node_stop(&replayed);
        node_stop(&other);
        image_free(&image);
        evicted += ls_counter_get(&h.scout->counters, LS_COUNT_sessions_evicted);
        history_end(&h);
    }
    assert_true(evicted > 100);
    assert_int_equal(compared, 12 * LS_DIGESTS_KEPT);
}

/* ---- refusals ---- */

struct bench {
    struct history h;
    struct node node;
    struct image image;
    struct ls_cut cut;
};

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    history_begin(&b->h, 3);
    append_some(&b->h, 300);
    image_init(&b->image);
    node_start(&b->node, &b->h);
    node_run(&b->node, b->h.end);
    node_checkpoint(&b->node, b->h.end, &b->image, &b->cut);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    node_stop(&b->node);
    image_free(&b->image);
    history_end(&b->h);
    free(b);
    return 0;
}

static int try_read(struct bench *b, struct ls_checkpoint_job job, uint32_t sessions_max)
{
    struct ls_grace grace = {0};
    struct ls_image whole;
    int error = image_read(&b->image, &job, sessions_max, &grace, &whole);
    if (error == 0) {
        ls_sessions_destroy(whole.sessions);
        ls_kv.destroy(whole.machine);
    }
    return error;
}

static int try_verify(struct bench *b)
{
    struct ls_checkpoint_info info;
    b->image.at = 0;
    return ls_checkpoint_verify(&b->image.source, &info);
}

static const struct ls_checkpoint_job right = {.type = &ls_kv, .cluster = CLUSTER, .generation = 1};

static void a_good_one_is_taken(void **state)
{
    struct bench *b = *state;
    struct ls_checkpoint_info info;
    assert_int_equal(try_read(b, right, SESSIONS), 0);
    assert_int_equal(try_verify(b), 0);
    b->image.at = 0;
    assert_int_equal(ls_checkpoint_info_read(&b->image.source, &info), 0);
    assert_int_equal(info.format, LS_CHECKPOINT_FORMAT);
    assert_int_equal(info.cluster, CLUSTER);
    assert_int_equal(info.generation, 1);
    assert_string_equal(info.machine, "kv");
    assert_int_equal(info.machine_version, 1);
    assert_same_cut(&info.cut, &b->cut);
}

static void damage_is_found_wherever_it_is(void **state)
{
    struct bench *b = *state;
    for (size_t at = 0; at < b->image.length; at += 97) {
        uint8_t bit = (uint8_t)(1u << (at % 8));
        b->image.bytes[at] ^= bit;
        assert_int_not_equal(try_verify(b), 0);
        if (at % 5 == 0)
            assert_int_not_equal(try_read(b, right, SESSIONS), 0);
        b->image.bytes[at] ^= bit;
    }
    assert_int_equal(try_read(b, right, SESSIONS), 0);
}

static void cut_short_at_every_edge(void **state)
{
    struct bench *b = *state;
    size_t length = b->image.length, edges = 0;
    for (size_t at = 0; at < length; edges++) {
        struct ls_checkpoint_block block;
        memcpy(&block, b->image.bytes + at, sizeof(block));
        size_t size = sizeof(block) + block.length;
        const size_t cuts[] = {at, at + 1, at + sizeof(block) - 1, at + sizeof(block), at + size - 1};
        for (size_t i = 0; i < 5; i++) {
            b->image.length = cuts[i];
            assert_int_not_equal(try_verify(b), 0);
            assert_int_not_equal(try_read(b, right, SESSIONS), 0);
        }
        at += size;
    }
    assert_true(edges >= 4);
    b->image.length = length;
    assert_int_equal(try_read(b, right, SESSIONS), 0);
}

/* Checksums as they would be if the bytes had been written so. */
static void mend(struct bench *b)
{
    uint32_t chain = LS_CHECKPOINT_CHAIN_FIRST;
    for (size_t at = 0; at < b->image.length;) {
        struct ls_checkpoint_block block;
        struct ls_checkpoint_trailer trailer;
        uint8_t *payload = b->image.bytes + at + sizeof(block);
        memcpy(&block, b->image.bytes + at, sizeof(block));
        if (block.kind == LS_CHECKPOINT_TRAILER) {
            memcpy(&trailer, payload, sizeof(trailer));
            trailer.chain = chain;
            memcpy(payload, &trailer, sizeof(trailer));
        }
        chain = ls_crc32c(ls_crc32c(chain, (uint8_t *)&block + 4, sizeof(block) - 4), payload, block.length);
        memcpy(b->image.bytes + at, &chain, sizeof(chain));
        at += sizeof(block) + block.length;
    }
}

/* An older generation's only where that is asked for, a newer one's never. */
static void generations(void **state)
{
    struct bench *b = *state;
    const struct {
        uint32_t generation;
        bool older;
        int error;
    } tried[] = {{1, false, 0}, {1, true, 0}, {2, false, -EXDEV}, {2, true, 0}, {0, true, -EXDEV}, {0, false, -EXDEV}};
    for (size_t i = 0; i < sizeof(tried) / sizeof(tried[0]); i++) {
        struct ls_checkpoint_job job = {
            .type = &ls_kv, .cluster = CLUSTER, .generation = tried[i].generation, .older = tried[i].older};
        struct ls_grace grace = {0};
        struct ls_image whole;
        assert_int_equal(image_read(&b->image, &job, SESSIONS, &grace, &whole), tried[i].error);
        if (tried[i].error != 0)
            continue;
        assert_int_equal(whole.older, tried[i].generation > 1);
        ls_sessions_destroy(whole.sessions);
        ls_kv.destroy(whole.machine);
    }
}

#define HEAD(field) (sizeof(struct ls_checkpoint_block) + offsetof(struct ls_checkpoint_head, field))

static void what_the_head_may_not_say(void **state)
{
    struct bench *b = *state;
    static const struct {
        size_t at;
        uint64_t value;
        uint32_t size;
        int error;
    } wrong[] = {
        {HEAD(magic), 1, 8, -EBADMSG},
        {HEAD(format), 0, 4, -EBADMSG},
        {HEAD(format), LS_CHECKPOINT_FORMAT + 1, 4, -EPROTO},
        {HEAD(generation), 2, 4, -EXDEV},
        {HEAD(cluster), CLUSTER + 1, 8, -EXDEV},
        {HEAD(machine), 'e', 1, -EPROTO},
        {HEAD(machine) + 15, 'e', 1, -EBADMSG},
        {HEAD(machine_version), 2, 4, -EPROTO},
        {HEAD(sessions), 0, 8, -EBADMSG},
        {HEAD(sessions), 40, 8, -EBADMSG},
        {HEAD(sessions), 1ull << 40, 8, -ENOSPC},
        {HEAD(seq), 0, 8, -EBADMSG},
        {HEAD(seq), 1ull << 40, 8, -EBADMSG},
        {HEAD(position), 12345, 8, -EBADMSG},
        {HEAD(digest), 1, 8, -EBADMSG},
        {HEAD(members_seq), 1ull << 40, 8, -EBADMSG},
        {HEAD(epochs), 0, 4, -EBADMSG},
        {HEAD(epochs), LS_EPOCHS_KEPT + 1, 4, -EBADMSG},
        {HEAD(members), LS_MEMBERS_MAX + 1, 4, -EBADMSG},
        {HEAD(members), 2, 4, -EBADMSG},
        {sizeof(struct ls_checkpoint_block) + sizeof(struct ls_checkpoint_head), 0, 8, -EBADMSG},          /* epoch 0 */
        {sizeof(struct ls_checkpoint_block) + sizeof(struct ls_checkpoint_head) + 24 + 2, 9, 2, -EBADMSG}, /* a role */
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        uint8_t before[8];
        memcpy(before, b->image.bytes + wrong[i].at, wrong[i].size);
        memcpy(b->image.bytes + wrong[i].at, &wrong[i].value, wrong[i].size);
        mend(b);
        int error = try_read(b, right, SESSIONS);
        if (error != wrong[i].error)
            fail_msg("case %zu: %d, not %d", i, error, wrong[i].error);
        memcpy(b->image.bytes + wrong[i].at, before, wrong[i].size);
        mend(b);
    }
    assert_int_equal(try_read(b, right, SESSIONS), 0);
}

static void what_the_rest_may_not_say(void **state)
{
    struct bench *b = *state;
    size_t first = sizeof(struct ls_checkpoint_block) + sizeof(struct ls_checkpoint_head) + 24 + 3 * 16;
    size_t last = b->image.length - sizeof(struct ls_checkpoint_trailer);
    const size_t at[] = {first + offsetof(struct ls_checkpoint_block, number), /* of the sessions' block */
                         first + offsetof(struct ls_checkpoint_block, kind),
                         first + offsetof(struct ls_checkpoint_block, zero),
                         last + offsetof(struct ls_checkpoint_trailer, total),
                         last + offsetof(struct ls_checkpoint_trailer, digest),
                         last + offsetof(struct ls_checkpoint_trailer, blocks),
                         last + offsetof(struct ls_checkpoint_trailer, zero),
                         last - sizeof(struct ls_checkpoint_block) + offsetof(struct ls_checkpoint_block, kind)};
    for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
        b->image.bytes[at[i]] ^= 1;
        mend(b);
        if (try_read(b, right, SESSIONS) != -EBADMSG || try_verify(b) != -EBADMSG)
            fail_msg("case %zu is taken", i);
        b->image.bytes[at[i]] ^= 1;
        mend(b);
    }
    assert_int_equal(try_verify(b), 0);
}

static void too_many_sessions(void **state)
{
    assert_int_equal(try_read(*state, right, SESSIONS / 4), -ENOSPC);
}

static void a_machine_too_small(void **state)
{
    struct bench *b = *state;
    struct ls_machine_limits small = {.keys = 10, .bytes = 1000};
    struct ls_grace grace = {0};
    struct ls_image whole = {.machine = ls_kv.create(&small, &grace)};
    b->image.at = 0;
    assert_int_equal(ls_checkpoint_read(&right, &b->image.source, SESSIONS, &whole), -ENOSPC);
    assert_null(whole.sessions);
    ls_kv.destroy(whole.machine);
}

static bool give_up(void *user, uint64_t bytes)
{
    uint32_t *left = user;
    assert_true(bytes > 0);
    return (*left)-- > 0;
}

/* One more checkpoint of the bench's node, whatever becomes of it. */
static int try_write(struct bench *b, const struct ls_checkpoint_job *job, struct ls_checkpoint_sink *sink,
                     const char *path, char *error)
{
    size_t size;
    b->cut = (struct ls_cut){0};
    b->node.seam.cut = &b->cut;
    atomic_store(&b->node.seam.cut_state, LS_CUT_WANTED);
    while (!atomic_load(&b->node.seam.cut_sessions))
        node_turn(&b->node);
    const uint8_t *sessions = ls_executor_sessions_image(b->node.executor, &size);
    int code = sink ? ls_checkpoint_write(job, &b->cut, sessions, size, b->node.machine, sink)
                    : ls_checkpoint_file_write(job, &b->cut, sessions, size, b->node.machine, path, 0, error);
    atomic_store(&b->node.seam.cut_state, LS_CUT_ENDING);
    node_turn(&b->node);
    return code;
}

static void a_sink_that_fails(void **state)
{
    struct bench *b = *state;
    for (size_t at = 1; at < b->image.length; at += 20000) {
        struct image image;
        image_init(&image);
        image.fail_at = at;
        assert_int_equal(try_write(b, &right, &image.sink, NULL, NULL), -EIO);
        image_free(&image);
    }
}

static void given_up_by_the_caller(void **state)
{
    struct bench *b = *state;
    for (uint32_t blocks = 0; blocks < 4; blocks++) {
        uint32_t left = blocks;
        struct ls_checkpoint_job job = right;
        struct image image;
        job.progress = give_up;
        job.user = &left;
        image_init(&image);
        assert_int_equal(try_write(b, &job, &image.sink, NULL, NULL), -ECANCELED);
        left = blocks;
        assert_int_equal(try_read(b, job, SESSIONS), -ECANCELED);
        image_free(&image);
    }
}

static void a_flipped_bit_is_not_carried_on(void **state)
{
    struct bench *b = *state;
    struct image image;
    image_init(&image);
    assert_true(ls_kv.flip(b->node.machine, 5));
    assert_int_equal(try_write(b, &right, &image.sink, NULL, NULL), -EBADMSG);
    assert_true(ls_kv.flip(b->node.machine, 5)); /* and back */
    assert_int_equal(try_write(b, &right, &image.sink, NULL, NULL), 0);
    image_free(&image);
}

static void files(void **state)
{
    struct bench *b = *state;
    char dir[] = "/tmp/lockstep-checkpoint-XXXXXX", path[64], partial[64], error[512];
    struct ls_checkpoint_info info;
    struct ls_grace grace = {0};
    struct ls_image whole = {.machine = ls_kv.create(&physical, &grace)};
    struct stat stat_;

    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/one", dir);
    snprintf(partial, sizeof(partial), "%s/one.partial", dir);
    assert_int_equal(ls_checkpoint_file_verify(path, &info, error), -ENOENT);
    assert_non_null(strstr(error, path));
    assert_int_equal(try_write(b, &right, NULL, path, error), 0);
    assert_int_not_equal(access(partial, F_OK), 0);
    assert_int_equal(ls_checkpoint_file_verify(path, &info, error), 0);
    assert_same_cut(&info.cut, &b->cut);
    assert_int_equal(ls_checkpoint_file_read(&right, path, SESSIONS, &whole, error), 0);
    assert_int_equal(ls_image_digest(&ls_kv, &whole), b->cut.digest);
    ls_sessions_destroy(whole.sessions);
    ls_kv.destroy(whole.machine);

    /* one that fails leaves the old one */
    assert_true(ls_kv.flip(b->node.machine, 5));
    assert_int_equal(try_write(b, &right, NULL, path, error), -EBADMSG);
    assert_non_null(strstr(error, "rebuilt"));
    assert_int_not_equal(access(partial, F_OK), 0);
    assert_int_equal(ls_checkpoint_file_verify(path, &info, error), 0);

    /* longer, shorter */
    assert_int_equal(stat(path, &stat_), 0);
    assert_int_equal(truncate(path, stat_.st_size + 1), 0);
    assert_int_equal(ls_checkpoint_file_verify(path, &info, error), -EBADMSG);
    assert_non_null(strstr(error, "damaged"));
    assert_int_equal(truncate(path, stat_.st_size - 1), 0);
    assert_int_equal(ls_checkpoint_file_verify(path, &info, error), -EBADMSG);
    whole.machine = ls_kv.create(&physical, &grace);
    assert_int_equal(ls_checkpoint_file_read(&right, path, SESSIONS, &whole, error), -EBADMSG);
    assert_null(whole.sessions);
    ls_kv.destroy(whole.machine);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(dir), 0);
    assert_int_equal(try_write(b, &right, NULL, path, error), -ENOENT); /* no such directory */
    assert_non_null(strstr(error, "cannot create"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_a_checkpoint_as_by_replay),
        TEST(a_good_one_is_taken),
        TEST(damage_is_found_wherever_it_is),
        TEST(cut_short_at_every_edge),
        TEST(generations),
        TEST(what_the_head_may_not_say),
        TEST(what_the_rest_may_not_say),
        TEST(too_many_sessions),
        TEST(a_machine_too_small),
        TEST(a_sink_that_fails),
        TEST(given_up_by_the_caller),
        TEST(a_flipped_bit_is_not_carried_on),
        TEST(files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
