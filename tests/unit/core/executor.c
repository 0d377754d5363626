/* SPDX-License-Identifier: BSD-3-Clause */
/* The executor over a log written by hand and a state machine that does as it is told: what is executed, published,
 * answered and counted, turn by turn. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <lockstep/error.h>

#include "entries.h"
#include "executor.h"
#include "wire.h"

#define RING_SIZE (1u << 20)
#define SESSIONS  8
#define BUFFERS   64
#define CLIENT    ((struct ls_addr){.ip = 0x0a000001, .port = 1000})
#define NOBODY    ((struct ls_addr){0})

/* ---- a state machine: operation = {status, length of the result}; the result is made of the seq ---- */

struct ls_machine {
    uint32_t room; /* how many commands it executes in one call */
    uint32_t calls;
    uint32_t reclaims;
    uint32_t digests;
    uint64_t seq; /* of the last command */
    uint64_t time;
    uint64_t state;
    uint64_t operations;
    uint64_t keys_max;   /* more are refused; 0: any */
    uint64_t limits_seq; /* behind which entry the limits were set */
    struct ls_machine_limits limits;
};

static uint32_t machine_apply(struct ls_machine *m, const struct ls_command *commands, uint32_t n,
                              struct ls_result *results)
{
    uint32_t executed = n < m->room ? n : m->room;
    assert_in_range(n, 1, LS_BURST);
    m->calls++;
    for (uint32_t i = 0; i < executed; i++) {
        const struct ls_command *c = &commands[i];
        assert_int_equal(c->seq, m->seq + 1);
        assert_true(c->time >= m->time);
        m->seq = c->seq;
        m->time = c->time;
        if (c->operation == NULL)
            continue;
        m->operations++;
        m->state = m->state * 31 + c->seq;
        if (c->length < 2)
            continue; /* says nothing: OK, no bytes */
        results[i].status = c->operation[0];
        results[i].length = c->operation[1];
        memset(results[i].bytes, (int)c->seq, results[i].length);
    }
    return executed;
}

static bool machine_set_limits(struct ls_machine *m, const struct ls_machine_limits *limits)
{
    if (m->keys_max != 0 && limits->keys > m->keys_max)
        return false;
    m->limits = *limits;
    m->limits_seq = m->seq;
    return true;
}

static uint64_t machine_digest(struct ls_machine *m)
{
    m->digests++;
    return m->state;
}

static void machine_reclaim(struct ls_machine *m)
{
    m->reclaims++;
}

static const struct ls_state_machine machine_type = {
    .name = "told",
    .version = 1,
    .apply = machine_apply,
    .set_limits = machine_set_limits,
    .digest = machine_digest,
    .reclaim = machine_reclaim,
};

/* ---- one node's apply side ---- */

struct fixture {
    struct ls_io io; /* first: the functions get its address */
    struct ls_log log;
    struct ls_seam seam;
    struct ls_machine machine;
    struct ls_replica_page page;
    struct ls_counters counters;
    struct ls_executor *executor;
    uint64_t end; /* of the log */
    uint64_t seq;
    uint64_t time;
    uint32_t buffers_free;
    uint8_t *buffer[BUFFERS];
};

static bool io_alloc(struct ls_io *io, struct ls_frame *frame)
{
    struct fixture *f = (struct fixture *)io;
    if (f->buffers_free == 0)
        return false;
    frame->data = f->buffer[--f->buffers_free];
    frame->handle = frame->data;
    return true;
}

static void io_release(struct ls_io *io, struct ls_frame *frame)
{
    struct fixture *f = (struct fixture *)io;
    assert_ptr_equal(frame->handle, frame->data);
    f->buffer[f->buffers_free++] = frame->data;
}

static void io_send(struct ls_io *io, struct ls_frame *frame)
{
    fail_msg("the executor sends nothing itself");
}

static const struct ls_executor_config config = {.cluster = 5,
                                                 .generation = 1,
                                                 .group = 0,
                                                 .node = 2,
                                                 .incarnation = 9,
                                                 .sessions_max = SESSIONS,
                                                 .window = LS_WINDOW_MAX,
                                                 .digest_every = 16};
static const struct ls_wire_identity identity = {.cluster = 5, .generation = 1};

static struct fixture *fixture_create(void)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->io = (struct ls_io){.alloc = io_alloc, .send = io_send, .release = io_release};
    f->log.ring = malloc(RING_SIZE);
    f->log.size = RING_SIZE;
    f->log.mask = RING_SIZE - 1;
    assert_int_equal(ls_seam_init(&f->seam, SESSIONS), 0);
    f->seam.serving = true;
    f->seam.epoch = 3;
    f->seam.time = 777;
    f->machine.room = UINT32_MAX;
    for (uint32_t i = 0; i < BUFFERS; i++)
        f->buffer[i] = malloc(LS_FRAME_MAX);
    f->buffers_free = BUFFERS;
    f->time = 100;
    f->executor =
        ls_executor_create(&config, &f->log, &f->seam, &f->io, &machine_type, &f->machine, &f->page, &f->counters);
    assert_non_null(f->executor);
    return f;
}

static void fixture_destroy(struct fixture *f)
{
    struct ls_reply_frame reply;
    while (ls_spsc_pop(&f->seam.replies, &reply))
        io_release(&f->io, &reply.frame);
    assert_int_equal(f->buffers_free, BUFFERS); /* none lost on any path */
    ls_executor_destroy(f->executor);
    ls_seam_free(&f->seam);
    for (uint32_t i = 0; i < BUFFERS; i++)
        free(f->buffer[i]);
    free(f->log.ring);
    free(f);
}

static int setup(void **state)
{
    *state = fixture_create();
    return 0;
}

static int teardown(void **state)
{
    fixture_destroy(*state);
    return 0;
}

/* Appends to the log; not yet committed. Returns the entry's seq. */
static uint64_t append(struct fixture *f, struct ls_entry header, struct ls_addr client, const void *operation,
                       uint32_t length)
{
    header.seq = ++f->seq;
    header.time = f->time;
    header.ip = client.ip;
    header.port = client.port;
    f->end += entry_write(ls_log_at(&f->log, f->end), header, operation, length);
    return f->seq;
}

static void append_limits(struct fixture *f, uint32_t sessions, uint32_t window)
{
    struct ls_entry_limits limits = {
        .keys = 1000 + f->seq, .bytes = 5000, .session_idle = 1000, .sessions = sessions, .window = window};
    append(f, (struct ls_entry){.kind = LS_ENTRY_LIMITS}, NOBODY, &limits, sizeof(limits));
}

static void append_tick(struct fixture *f)
{
    append(f, (struct ls_entry){.kind = LS_ENTRY_TICK}, NOBODY, NULL, 0);
}

static uint64_t append_open(struct fixture *f, uint64_t nonce, struct ls_addr client)
{
    uint64_t bytes[2] = {nonce, nonce};
    return append(f, (struct ls_entry){.kind = LS_ENTRY_OPEN}, client, bytes, sizeof(bytes));
}

/* A request whose result has `status` and `length` bytes. */
static uint64_t append_request(struct fixture *f, uint64_t session, uint64_t number, struct ls_addr client,
                               uint8_t status, uint8_t length)
{
    uint8_t operation[2] = {status, length};
    struct ls_entry header = {
        .kind = LS_ENTRY_OPERATION, .session = session, .number = number, .awaited = (uint16_t)(number - 1)};
    return append(f, header, client, operation, sizeof(operation));
}

static void commit(struct fixture *f)
{
    atomic_store(&f->seam.commit, f->end);
}

static void run(struct fixture *f)
{
    commit(f);
    while (ls_executor_turn(f->executor, 0) > 0)
        continue;
}

/* An epoch, limits, one session opened for CLIENT in slot 0: what most tests begin with. Returns the session. */
static uint64_t begin(struct fixture *f)
{
    append(f, (struct ls_entry){.kind = LS_ENTRY_EPOCH}, NOBODY, "................", 16);
    append_limits(f, SESSIONS, LS_WINDOW_MAX);
    uint64_t session = append_open(f, 1, CLIENT);
    run(f);
    struct ls_reply_frame reply;
    while (ls_spsc_pop(&f->seam.replies, &reply))
        io_release(&f->io, &reply.frame);
    return session;
}

/* ---- what came out ---- */

struct received {
    struct ls_addr client;
    struct ls_reply_record record;
    uint8_t bytes[LS_RESULT_MAX];
    uint32_t frame; /* which one it came in */
    uint64_t hold;  /* and what that waits for */
};

static uint32_t receive(struct fixture *f, struct received *received, uint32_t most)
{
    struct ls_reply_frame reply;
    uint32_t n = 0;
    for (uint32_t frames = 0; ls_spsc_pop(&f->seam.replies, &reply); frames++) {
        struct ls_frame frame = reply.frame;
        enum ls_counter reason = ls_frame_check(&identity, frame.data, frame.length);
        if (reason != 0)
            fail_msg("a reply that clients refuse: %s", ls_counter_name(reason));
        const struct ls_frame_header *header = ls_frame_header(frame.data);
        const struct ls_reply_body *body = ls_frame_body(frame.data);
        assert_int_equal(header->type, LS_FRAME_REPLY);
        assert_int_equal(header->sender, config.node);
        assert_int_equal(header->incarnation, config.incarnation);
        assert_int_equal(header->epoch, 3);
        assert_int_equal(body->time, 777);
        const uint8_t *at = NULL;
        const struct ls_reply_record *record;
        while ((record = ls_reply_next(frame.data, &at)) != NULL) {
            assert_true(n < most);
            received[n] =
                (struct received){.client = frame.peer, .record = *record, .frame = frames, .hold = reply.hold};
            memcpy(received[n].bytes, record + 1, record->length);
            n++;
        }
        io_release(&f->io, &frame);
    }
    return n;
}

/* Runs the turns that are due, and gives the one reply that came of it. */
static struct received answer(struct fixture *f)
{
    struct received received;
    run(f);
    assert_int_equal(receive(f, &received, 1), 1);
    return received;
}

static void assert_answer(const struct received *r, uint64_t session, uint64_t number, uint64_t seq,
                          enum ls_status status, uint32_t length, uint8_t flags)
{
    assert_int_equal(r->record.session, session);
    assert_int_equal(r->record.number, number);
    assert_int_equal(r->record.seq, seq);
    assert_string_equal(ls_status_name(r->record.status), ls_status_name((uint16_t)status));
    assert_int_equal(r->record.length, length);
    assert_int_equal(r->record.flags, flags);
    assert_int_equal(r->record.age, 0);
}

static uint64_t counted(struct fixture *f, enum ls_counter which)
{
    return ls_counter_get(&f->counters, which);
}
#define COUNTED(f, name) counted((f), LS_COUNT_##name)

/* ---- tests ---- */

static void test_configurations_that_make_no_sense(void **state)
{
    struct fixture *f = *state;
    struct ls_executor_config wrong[9];
    for (int i = 0; i < 9; i++)
        wrong[i] = config;
    wrong[0].sessions_max = 0;
    wrong[1].sessions_max = SESSIONS + 1; /* the seam has no place for them */
    wrong[2].window = 0;
    wrong[3].window = LS_WINDOW_MAX + 1;
    wrong[4].digest_every = 100;
    wrong[5].node = 0;
    wrong[6].node = LS_NODE_ID_MAX + 1;
    wrong[7].incarnation = 0;
    wrong[8].sessions_max = UINT32_MAX;
    for (int i = 0; i < 9; i++) {
        errno = 0;
        assert_null(ls_executor_create(&wrong[i], &f->log, &f->seam, &f->io, &machine_type, &f->machine, &f->page,
                                       &f->counters));
        assert_int_equal(errno, EINVAL);
    }
    ls_executor_destroy(NULL);
}

static void test_nothing_to_do(void **state)
{
    struct fixture *f = *state;
    append_tick(f); /* not committed */
    assert_int_equal(ls_executor_turn(f->executor, 0), 0);
    assert_int_equal(f->machine.calls, 0);
    assert_int_equal(f->machine.reclaims, 1);
    assert_int_equal(f->page.digest_seq, 0);
}

static void test_bursts_follow_commit(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 15 + 70; i++) {
        f->time += 3;
        append_tick(f);
        if (f->seq == 15)
            commit(f);
    }
    assert_int_equal(ls_executor_turn(f->executor, 0), 15);
    assert_int_equal(f->seam.applied_seq, 15);
    assert_int_equal(f->seam.applied, 15 * 64);
    assert_int_equal(f->page.applied_seq, 15);
    assert_int_equal(f->page.applied, 15 * 64);
    assert_int_equal(f->page.log_time, 145);
    assert_int_equal(ls_executor_turn(f->executor, 0), 0);
    commit(f);
    /* digests are compared behind every 16th: a burst ends there */
    static const uint32_t sizes[] = {1, 16, 16, 16, 16, 5, 0};
    for (int i = 0; i < 7; i++)
        assert_int_equal(ls_executor_turn(f->executor, 0), sizes[i]);
    assert_int_equal(f->seam.applied, f->end);
    assert_int_equal(f->machine.seq, f->seq);
    assert_int_equal(COUNTED(f, applied_entries), 85);
    assert_int_equal(f->machine.operations, 0);
}

static void test_full_bursts(void **state)
{
    struct fixture *f = *state;
    struct ls_executor_config often = config;
    often.digest_every = 0; /* the default */
    ls_executor_destroy(f->executor);
    f->executor =
        ls_executor_create(&often, &f->log, &f->seam, &f->io, &machine_type, &f->machine, &f->page, &f->counters);
    for (int i = 0; i < 70; i++)
        append_tick(f);
    commit(f);
    assert_int_equal(ls_executor_turn(f->executor, 0), LS_BURST);
    assert_int_equal(ls_executor_turn(f->executor, 0), LS_BURST);
    assert_int_equal(ls_executor_turn(f->executor, 0), 6);
}

static void test_open(void **state)
{
    struct fixture *f = *state;
    append_limits(f, SESSIONS, 4);
    append_open(f, 70, CLIENT);
    struct received r = answer(f);
    assert_answer(&r, 2, 0, 2, LS_STATUS_OK, LS_NONCE_SIZE, 0);
    assert_int_equal(r.record.slot, 0);
    assert_int_equal(r.record.durability, LS_DURABLE_MEMORY);
    assert_true(ls_addr_equal(r.client, CLIENT));
    uint64_t nonce[2] = {70, 70};
    assert_memory_equal(r.bytes, nonce, sizeof(nonce));
    assert_int_equal(f->page.sessions, 1);
    assert_int_equal(f->seam.sessions[0].session, 2);
    assert_int_equal(COUNTED(f, sessions_opened), 1);

    append_open(f, 71, CLIENT);
    r = answer(f);
    assert_answer(&r, 3, 0, 3, LS_STATUS_OK, LS_NONCE_SIZE, 0);
    assert_int_equal(r.record.slot, 1);

    append_open(f, 70, CLIENT);
    r = answer(f);
    assert_answer(&r, 2, 0, 2, LS_STATUS_OK, LS_NONCE_SIZE, LS_REPLY_REPEAT);
    assert_int_equal(r.record.slot, 0);
    assert_int_equal(COUNTED(f, sessions_opened), 2);
    assert_int_equal(COUNTED(f, executed_repeats), 1);
    assert_int_equal(f->page.sessions, 2);
}

static void test_open_in_vain(void **state)
{
    struct fixture *f = *state;
    append_limits(f, 1, 4);
    append_open(f, 70, NOBODY);
    append_open(f, 71, CLIENT);
    struct received r = answer(f);
    assert_answer(&r, 0, 0, 3, LS_STATUS_NO_SESSION_FREE, LS_NONCE_SIZE, 0);
    uint64_t nonce[2] = {71, 71};
    assert_memory_equal(r.bytes, nonce, sizeof(nonce));
    assert_int_equal(COUNTED(f, executed_refused), 1);
    f->time += 1001;
    append_open(f, 71, CLIENT);
    r = answer(f);
    assert_answer(&r, 4, 0, 4, LS_STATUS_OK, LS_NONCE_SIZE, 0);
    assert_int_equal(COUNTED(f, sessions_evicted), 1);
    assert_int_equal(f->page.sessions, 1);
    append(f, (struct ls_entry){.kind = LS_ENTRY_OPEN}, CLIENT, "short", 5);
    r = answer(f);
    assert_answer(&r, 0, 0, 5, LS_STATUS_BAD_OPERATION, 0, 0);
}

static void test_request(void **state)
{
    struct fixture *f = *state;
    uint64_t session = begin(f);
    uint64_t seq = append_request(f, session, 1, CLIENT, LS_STATUS_CONDITION, 24);
    struct received r = answer(f);
    assert_answer(&r, session, 1, seq, LS_STATUS_CONDITION, 24, 0);
    assert_int_equal(r.record.durability, LS_DURABLE_MEMORY);
    for (int i = 0; i < 24; i++)
        assert_int_equal(r.bytes[i], seq);
    assert_int_equal(f->seam.sessions[0].next, 2);
    assert_int_equal(COUNTED(f, replies_out), 2); /* and the opening's */
    /* a result of no bytes, and one of every padding */
    for (uint8_t length = 0; length < 20; length++) {
        seq = append_request(f, session, 2u + length, CLIENT, 0, length);
        r = answer(f);
        assert_answer(&r, session, 2u + length, seq, LS_STATUS_OK, length, 0);
    }
    assert_int_equal(f->machine.operations, 21);
}

/* An operation without bytes is executed all the same; what a machine does not say is "done, no bytes", not what it
 * said before. */
static void test_empty_operation(void **state)
{
    struct fixture *f = *state;
    uint64_t session = begin(f);
    append_request(f, session, 1, CLIENT, 7, 8);
    struct received r = answer(f);
    struct ls_entry header = {.kind = LS_ENTRY_OPERATION, .session = session, .number = 2};
    uint64_t seq = append(f, header, CLIENT, NULL, 0);
    r = answer(f);
    assert_answer(&r, session, 2, seq, LS_STATUS_OK, 0, 0);
    assert_int_equal(f->machine.operations, 2);
}

static void test_repeat_in_the_log(void **state)
{
    struct fixture *f = *state;
    uint64_t session = begin(f);
    uint64_t seq = append_request(f, session, 1, NOBODY, 7, 100);
    append_request(f, session, 1, CLIENT, 0, 1); /* in the same burst */
    struct received r = answer(f);
    assert_answer(&r, session, 1, seq, 7, 100, LS_REPLY_REPEAT);
    append_request(f, session, 1, CLIENT, 0, 1);
    r = answer(f);
    assert_answer(&r, session, 1, seq, 7, 100, LS_REPLY_REPEAT);
    for (int i = 0; i < 100; i++)
        assert_int_equal(r.bytes[i], seq);
    assert_int_equal(f->machine.operations, 1);
    assert_int_equal(COUNTED(f, executed_repeats), 2);
}

/* A repeat is answered as of its place in the log, though later entries of its burst take the place of its result. */
static void test_repeat_before_its_result_leaves(void **state)
{
    struct fixture *f = *state;
    uint64_t session = begin(f);
    uint64_t first = f->seq + 1;
    for (uint64_t n = 1; n <= LS_WINDOW_MAX; n++)
        append_request(f, session, n, NOBODY, 0, 8);
    while (f->seq % 16 != 0)
        append_tick(f);
    run(f);
    append_request(f, session, 1, CLIENT, 0, 8);
    append_request(f, session, LS_WINDOW_MAX + 1, NOBODY, 0, 8);
    append_request(f, session, 1, CLIENT, 0, 8);
    commit(f);
    assert_int_equal(ls_executor_turn(f->executor, 0), 3);
    struct received r[2];
    assert_int_equal(receive(f, r, 2), 2);
    assert_answer(&r[0], session, 1, first, LS_STATUS_OK, 8, LS_REPLY_REPEAT);
    assert_int_equal(r[0].bytes[0], first);
    assert_answer(&r[1], session, 1, f->seq, LS_STATUS_RESULT_GONE, 0, 0);
}

static void test_requests_that_are_not_executed(void **state)
{
    struct fixture *f = *state;
    uint64_t session = begin(f);
    uint64_t seq = append_request(f, session, 2, CLIENT, 0, 8);
    struct received r = answer(f);
    assert_answer(&r, session, 2, seq, LS_STATUS_OUT_OF_ORDER, 0, 0);
    assert_int_equal(r.record.durability, LS_DURABLE_MEMORY);

    seq = append_request(f, session + 1, 1, CLIENT, 0, 8);
    r = answer(f);
    assert_answer(&r, session + 1, 1, seq, LS_STATUS_SESSION_UNKNOWN, 0, 0);
    assert_int_equal(COUNTED(f, executed_refused), 2);

    struct ls_entry late = {.kind = LS_ENTRY_OPERATION, .session = session, .number = 1, .deadline = f->time - 1};
    seq = append(f, late, CLIENT, "op", 2);
    r = answer(f);
    assert_answer(&r, session, 1, seq, LS_STATUS_EXPIRED, 0, 0);
    assert_int_equal(COUNTED(f, executed_expired), 1);
    append_request(f, session, 1, CLIENT, 0, 8);
    r = answer(f);
    assert_answer(&r, session, 1, seq, LS_STATUS_EXPIRED, 0, LS_REPLY_REPEAT);

    struct ls_entry query = {.kind = LS_ENTRY_QUERY, .session = session, .number = 2};
    seq = append(f, query, CLIENT, NULL, 0);
    r = answer(f);
    assert_answer(&r, session, 2, seq, LS_STATUS_CLOSED, 0, 0);
    assert_int_equal(COUNTED(f, executed_refused), 3);
    append_request(f, session, 2, CLIENT, 0, 8);
    r = answer(f);
    assert_answer(&r, session, 2, seq, LS_STATUS_CLOSED, 0, LS_REPLY_REPEAT);

    query.number = 1;
    seq = append(f, query, CLIENT, NULL, 0); /* awaits nothing before: 1 itself is kept no longer behind 2 */
    r = answer(f);
    assert_answer(&r, session, 1, seq, LS_STATUS_RESULT_GONE, 0, 0);

    assert_int_equal(f->machine.operations, 0);
    assert_int_equal(f->machine.seq, f->seq); /* but time went on */
}

static void test_only_the_sequencer_answers(void **state)
{
    struct fixture *f = *state;
    uint64_t session = begin(f);
    f->seam.serving = false;
    append_request(f, session, 1, CLIENT, 0, 8);
    run(f);
    struct ls_repeat repeat = {.session = session, .number = 1, .client = CLIENT};
    ls_spsc_push(&f->seam.repeats, &repeat);
    run(f);
    assert_true(ls_spsc_is_empty(&f->seam.replies));
    assert_true(ls_spsc_is_empty(&f->seam.repeats));
    assert_int_equal(f->buffers_free, BUFFERS);
    f->seam.serving = true;
    append_request(f, session, 2, NOBODY, 0, 8); /* an entry that came without an address */
    run(f);
    assert_true(ls_spsc_is_empty(&f->seam.replies));
    assert_int_equal(f->machine.operations, 2);
}

static void test_replies_share_frames(void **state)
{
    struct fixture *f = *state;
    uint64_t session = begin(f);
    while (f->seq % 16 != 0)
        append_tick(f);
    run(f);
    struct ls_addr other = {.ip = CLIENT.ip, .port = 1001};
    for (uint64_t n = 1; n <= 12; n++)
        append_request(f, session, n, n % 4 == 0 ? other : CLIENT, 0, 100);
    commit(f);
    assert_int_equal(ls_executor_turn(f->executor, 0), 12);
    struct received r[12];
    assert_int_equal(receive(f, r, 12), 12);
    /* 48 + 104 bytes a record: nine fit 1,392 */
    uint32_t frames_of_client[4] = {0};
    for (int i = 0; i < 12; i++) {
        assert_true(r[i].frame < 2);
        frames_of_client[r[i].frame] |= r[i].client.port == other.port ? 2 : 1;
        assert_int_equal(r[i].bytes[99], r[i].record.seq);
    }
    assert_int_equal(frames_of_client[0] + frames_of_client[1], 3); /* one for each */

    while (f->seq % 16 != 0)
        append_tick(f);
    run(f);
    for (uint64_t n = 13; n <= 24; n++)
        append_request(f, session, n, CLIENT, 0, 100);
    commit(f);
    assert_int_equal(ls_executor_turn(f->executor, 0), 12);
    assert_int_equal(receive(f, r, 12), 12);
    for (uint32_t i = 0; i < 12; i++) {
        assert_int_equal(r[i].record.number, 13 + i); /* in order */
        assert_int_equal(r[i].frame, i < 9 ? 0 : 1);
    }
}

/* 1,392 bytes of records fill a frame: seven of 48 + 128, and one of 48 + 112. */
static void test_frame_filled_to_the_last_byte(void **state)
{
    struct fixture *f = *state;
    uint64_t session = begin(f);
    struct received r[8];
    uint64_t number = 0;
    for (uint8_t last = 112; last <= 120; last += 8) {
        while (f->seq % 16 != 0)
            append_tick(f);
        run(f);
        for (int i = 0; i < 7; i++)
            append_request(f, session, ++number, CLIENT, 0, 128);
        append_request(f, session, ++number, CLIENT, 0, last);
        run(f);
        assert_int_equal(receive(f, r, 8), 8);
        assert_int_equal(r[6].frame, 0);
        assert_int_equal(r[7].frame, last == 112 ? 0 : 1);
    }
}

static void test_as_many_clients_as_entries(void **state)
{
    struct fixture *f = *state;
    uint64_t session = begin(f);
    while (f->seq % 16 != 0)
        append_tick(f);
    run(f);
    for (uint32_t n = 1; n <= 16; n++)
        append_request(f, session, n, (struct ls_addr){.ip = n * 0x01000000, .port = 9}, 0, 8);
    commit(f);
    struct ls_repeat repeat = {.session = session, .number = 1};
    for (uint32_t n = 0; n < 40; n++) {
        repeat.client = (struct ls_addr){.ip = 100 + n, .port = 9};
        ls_spsc_push(&f->seam.repeats, &repeat);
    }
    assert_int_equal(ls_executor_turn(f->executor, 0), 16 + LS_BURST); /* repeats are bounded too */
    struct received r[64];
    assert_int_equal(receive(f, r, 64), 16 + LS_BURST);
    for (uint32_t i = 0; i < 16 + LS_BURST; i++) {
        assert_int_equal(r[i].frame, i);
        assert_int_equal(r[i].client.ip, i < 16 ? (i + 1) * 0x01000000 : 100 + i - 16);
    }
    assert_int_equal(ls_executor_turn(f->executor, 0), 8);
    assert_int_equal(receive(f, r, 64), 8);
}

static void test_no_buffer(void **state)
{
    struct fixture *f = *state;
    uint64_t session = begin(f);
    uint64_t replies = COUNTED(f, replies_out);
    f->buffers_free = 0;
    uint64_t seq = append_request(f, session, 1, CLIENT, 0, 8);
    run(f);
    assert_int_equal(COUNTED(f, drop_no_buffer), 1);
    assert_int_equal(COUNTED(f, replies_out), replies);
    assert_int_equal(f->seam.applied_seq, seq); /* nobody waits for it */
    f->buffers_free = BUFFERS;
    append_request(f, session, 1, CLIENT, 0, 8);
    struct received r = answer(f);
    assert_answer(&r, session, 1, seq, LS_STATUS_OK, 8, LS_REPLY_REPEAT);
}

/* An answer that says more than a commit stands for names what it waits for, and nobody else's waits with it. */
static void test_answers_that_wait_for_disks(void **state)
{
    struct fixture *f = *state;
    struct received r[3];
    uint8_t operation[2] = {LS_STATUS_OK, 8};
    uint64_t session = begin(f);
    append_request(f, session, 1, CLIENT, LS_STATUS_OK, 8);
    struct ls_entry header = {.kind = LS_ENTRY_OPERATION, .session = session, .durability = LS_DURABLE_JOURNAL};
    header.number = 2;
    append(f, header, CLIENT, operation, sizeof(operation));
    append_request(f, session, 3, CLIENT, LS_STATUS_OK, 8);
    run(f);
    assert_int_equal(receive(f, r, 3), 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(r[i].record.number, i + 1);
        assert_int_equal(r[i].record.durability, i == 1 ? LS_DURABLE_JOURNAL : LS_DURABLE_MEMORY);
        assert_int_equal(r[i].hold, i == 1 ? f->end : 0);
        assert_int_equal(r[i].frame, i);
    }
    struct ls_repeat again = {.session = session, .number = 3, .durability = LS_DURABLE_JOURNAL, .client = CLIENT};
    assert_true(ls_spsc_push(&f->seam.repeats, &again));
    struct received answered = answer(f);
    assert_int_equal(answered.record.durability, LS_DURABLE_JOURNAL);
    assert_int_equal(answered.hold, f->end); /* all that is applied: its entry is somewhere below */
}

static void test_reply_queue_full(void **state)
{
    struct fixture *f = *state;
    uint64_t session = begin(f);
    uint64_t replies = COUNTED(f, replies_out);
    struct ls_reply_frame nothing = {0};
    while (ls_spsc_push(&f->seam.replies, &nothing))
        continue;
    append_request(f, session, 1, CLIENT, 0, 8);
    run(f);
    assert_int_equal(COUNTED(f, drop_tx_full), 1);
    assert_int_equal(COUNTED(f, replies_out), replies);
    assert_int_equal(f->buffers_free, BUFFERS);
    while (ls_spsc_pop(&f->seam.replies, &nothing))
        continue;
}

static void test_repeats_queue(void **state)
{
    struct fixture *f = *state;
    uint64_t session = begin(f);
    uint64_t seq = append_request(f, session, 1, NOBODY, 7, 50);
    run(f);
    struct ls_repeat repeat = {.session = session, .number = 1, .slot = 0, .client = CLIENT};
    ls_spsc_push(&f->seam.repeats, &repeat);
    struct received r = answer(f);
    assert_answer(&r, session, 1, seq, 7, 50, LS_REPLY_REPEAT);
    assert_int_equal(r.record.durability, LS_DURABLE_MEMORY);

    repeat.session = session - 1; /* gone long ago */
    ls_spsc_push(&f->seam.repeats, &repeat);
    r = answer(f);
    assert_answer(&r, session - 1, 1, 0, LS_STATUS_SESSION_UNKNOWN, 0, LS_REPLY_REPEAT);
    assert_int_equal(r.record.durability, LS_DURABLE_NONE);

    repeat.session = f->seq + 1; /* its opening is still to come */
    ls_spsc_push(&f->seam.repeats, &repeat);
    repeat.session = session;
    repeat.number = 2; /* not applied yet: its own reply will come */
    ls_spsc_push(&f->seam.repeats, &repeat);
    repeat.number = 1;
    repeat.client = NOBODY;
    ls_spsc_push(&f->seam.repeats, &repeat);
    assert_int_equal(ls_executor_turn(f->executor, 0), 3);
    assert_true(ls_spsc_is_empty(&f->seam.replies));

    struct ls_entry last = {.kind = LS_ENTRY_OPERATION, .session = session, .number = 2, .awaited = 0};
    append(f, last, NOBODY, NULL, 0);
    run(f);
    repeat.client = CLIENT;
    ls_spsc_push(&f->seam.repeats, &repeat);
    r = answer(f);
    assert_answer(&r, session, 1, 0, LS_STATUS_RESULT_GONE, 0, LS_REPLY_REPEAT);
}

/* ---- memory that comes back late ---- */

static void test_stall(void **state)
{
    struct fixture *f = *state;
    uint64_t session = begin(f);
    uint64_t before = f->seam.applied, seq = f->seq;
    uint64_t calls = f->machine.calls;
    for (uint64_t n = 1; n <= 6; n++)
        append_request(f, session, n, CLIENT, 0, 8);
    commit(f);
    struct ls_repeat repeat = {.session = session, .number = 5, .client = CLIENT};
    ls_spsc_push(&f->seam.repeats, &repeat);

    f->machine.room = 2;
    assert_int_equal(ls_executor_turn(f->executor, 0), 2);
    assert_int_equal(f->seam.applied_seq, seq + 2);
    assert_int_equal(f->seam.applied, before + 2 * 72);
    assert_int_equal(f->page.applied_seq, seq + 2);
    assert_int_equal(f->seam.sessions[0].next, 3);
    assert_int_equal(COUNTED(f, applied_stalls), 0); /* it got on */
    uint64_t digest = ls_executor_digest(f->executor);

    f->machine.room = 0;
    assert_int_equal(ls_executor_turn(f->executor, 0), 0);
    assert_int_equal(f->seam.applied_seq, seq + 2);
    assert_int_equal(f->seam.sessions[0].next, 3);
    assert_true(ls_executor_digest(f->executor) == digest);
    assert_int_equal(COUNTED(f, applied_stalls), 1);
    assert_false(ls_spsc_is_empty(&f->seam.repeats)); /* it waits: 5 has been judged, but has no result yet */

    f->machine.room = 100;
    assert_int_equal(ls_executor_turn(f->executor, 0), 4 + 1);
    assert_int_equal(f->seam.applied_seq, seq + 6);
    assert_int_equal(f->seam.applied, f->end);
    assert_int_equal(f->machine.calls, calls + 3);
    assert_int_equal(f->machine.operations, 6);
    struct received r[7];
    assert_int_equal(receive(f, r, 7), 7);
    for (uint64_t n = 1; n <= 6; n++)
        assert_answer(&r[n - 1], session, n, seq + n, LS_STATUS_OK, 8, 0);
    assert_answer(&r[6], session, 5, seq + 5, LS_STATUS_OK, 8, LS_REPLY_REPEAT);
}

/* ---- limits ---- */

static void test_limits_reach_the_machine_in_place(void **state)
{
    struct fixture *f = *state;
    append_tick(f);
    append_tick(f);
    append_limits(f, 3, 4);
    append_tick(f);
    commit(f);
    assert_int_equal(ls_executor_turn(f->executor, 0), 2);
    assert_int_equal(f->machine.limits.keys, 0);
    assert_int_equal(ls_executor_turn(f->executor, 0), 2);
    assert_int_equal(f->machine.limits.keys, 1002);
    assert_int_equal(f->machine.limits.bytes, 5000);
    assert_int_equal(f->machine.limits_seq, 2);
}

static void test_limits_beyond_the_room_stop_apply(void **state)
{
    struct fixture *f = *state;
    uint64_t session = begin(f);
    uint64_t keys = f->machine.limits.keys;
    append_tick(f);
    uint64_t position = f->end, seq = f->seq;
    append_limits(f, SESSIONS + 1, 4);
    append_request(f, session, 1, CLIENT, 0, 8);
    run(f);
    assert_int_equal(f->seam.applied, position);
    assert_int_equal(f->seam.applied_seq, seq);
    uint64_t stalls = COUNTED(f, applied_stalls);
    assert_true(stalls >= 1);
    run(f);
    assert_int_equal(f->seam.applied, position);
    assert_int_equal(COUNTED(f, applied_stalls), stalls + 1);
    assert_int_equal(f->machine.limits.keys, keys);
    /* what is applied can still be asked for */
    struct ls_repeat repeat = {.session = session + 1, .number = 1, .client = CLIENT};
    ls_spsc_push(&f->seam.repeats, &repeat);
    struct received r = answer(f);
    assert_int_equal(r.record.status, LS_STATUS_SESSION_UNKNOWN);
}

static void test_limits_beyond_the_machine_stop_apply(void **state)
{
    struct fixture *f = *state;
    begin(f);
    f->machine.keys_max = 10;
    uint64_t digest = ls_executor_digest(f->executor);
    uint64_t position = f->end;
    append_limits(f, SESSIONS, 4);
    append_tick(f);
    run(f);
    assert_int_equal(f->seam.applied, position);
    assert_true(COUNTED(f, applied_stalls) >= 1);
    assert_int_equal(ls_executor_digest(f->executor), digest); /* nothing was half taken */
    f->machine.keys_max = 0;
    run(f);
    assert_int_equal(f->seam.applied, f->end);
}

static void test_malformed_limits_change_nothing(void **state)
{
    struct fixture *f = *state;
    begin(f);
    uint64_t keys = f->machine.limits.keys;
    append(f, (struct ls_entry){.kind = LS_ENTRY_LIMITS}, NOBODY, "short", 5);
    run(f);
    assert_int_equal(f->seam.applied_seq, f->seq);
    assert_int_equal(f->machine.limits.keys, keys);
}

/* ---- digests ---- */

static void test_digest_at_its_seqs(void **state)
{
    struct fixture *f = *state;
    uint64_t session = begin(f);
    for (uint64_t n = 1; n <= 40; n++)
        append_request(f, session, n, NOBODY, 0, 8);
    commit(f);
    assert_int_equal(f->page.digest_seq, 3); /* nothing more was there to be applied */
    uint64_t seen = 0;
    while (ls_executor_turn(f->executor, 0) > 0) {
        if (f->seam.applied_seq % 16 == 0) {
            seen++;
            assert_int_equal(f->page.digest_seq, f->seam.applied_seq);
        }
        if (f->page.digest_seq == f->seam.applied_seq)
            assert_true(f->page.digest == ls_executor_digest(f->executor));
        else
            assert_int_equal(f->page.digest_seq, f->seam.applied_seq & ~15ull);
    }
    assert_int_equal(seen, 2);
    assert_int_equal(f->page.digest_seq, 43); /* at rest, and then not again */
    uint32_t digests = f->machine.digests;
    ls_executor_turn(f->executor, 0);
    assert_int_equal(f->machine.digests, digests);
    assert_true(f->page.digest == ls_executor_digest(f->executor));
}

/* Two replicas, the same log: one is there all the time, one comes late and has little memory. */
static void test_digest_does_not_depend_on_turns(void **state)
{
    struct fixture *a = *state;
    struct fixture *b = fixture_create();
    struct fixture *const both[] = {a, b};
    b->seam.serving = false;
    b->machine.room = 3;
    uint64_t session = 0;
    for (int i = 0; i < 2; i++) {
        append_limits(both[i], SESSIONS, 4);
        session = append_open(both[i], 1, CLIENT);
    }
    struct received received[64];
    for (uint64_t n = 1; n <= 300; n++) {
        for (int i = 0; i < 2; i++) {
            both[i]->time += n % 7;
            append_request(both[i], session, n - n / 5, n % 3 ? CLIENT : NOBODY, (uint8_t)(n % 5), (uint8_t)n);
            if (n % 50 == 0) {
                both[i]->time += 2000;
                append_open(both[i], n, CLIENT);
            }
        }
        run(a);
        receive(a, received, 64);
    }
    run(b);
    assert_int_equal(a->seam.applied_seq, b->seam.applied_seq);
    assert_true(ls_executor_digest(a->executor) == ls_executor_digest(b->executor));
    assert_true(a->page.digest == b->page.digest);
    assert_true(b->machine.calls > b->seam.applied_seq / 16); /* in pieces indeed, smaller than bursts */
    b->machine.state ^= 1;
    assert_true(ls_executor_digest(a->executor) != ls_executor_digest(b->executor));
    fixture_destroy(b);
}

/* ---- the watcher ---- */

static uint64_t watched[8];
static uint32_t watched_count;

static void watch(void *user, const struct ls_entry *entry, const struct ls_result *result)
{
    assert_ptr_equal(user, &watched_count);
    assert_int_equal(result->length, 8);
    assert_int_equal(result->bytes[7], entry->seq);
    watched[watched_count++] = entry->seq;
}

static void test_watcher_sees_what_is_executed(void **state)
{
    struct fixture *f = *state;
    uint64_t session = begin(f);
    ls_executor_set_watch(f->executor, watch, &watched_count);
    uint64_t first = append_request(f, session, 1, NOBODY, 0, 8);
    append_request(f, session, 1, NOBODY, 0, 8); /* a repeat */
    append_request(f, session, 3, NOBODY, 0, 8); /* out of order */
    append_tick(f);
    uint64_t second = append_request(f, session, 2, NOBODY, 0, 8);
    run(f);
    assert_int_equal(watched_count, 2);
    assert_int_equal(watched[0], first);
    assert_int_equal(watched[1], second);
    ls_executor_set_watch(f->executor, NULL, NULL);
    append_request(f, session, 3, NOBODY, 0, 8);
    run(f);
    assert_int_equal(watched_count, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_configurations_that_make_no_sense),
        TEST(test_nothing_to_do),
        TEST(test_bursts_follow_commit),
        TEST(test_full_bursts),
        TEST(test_open),
        TEST(test_open_in_vain),
        TEST(test_request),
        TEST(test_empty_operation),
        TEST(test_repeat_in_the_log),
        TEST(test_repeat_before_its_result_leaves),
        TEST(test_requests_that_are_not_executed),
        TEST(test_only_the_sequencer_answers),
        TEST(test_replies_share_frames),
        TEST(test_frame_filled_to_the_last_byte),
        TEST(test_as_many_clients_as_entries),
        TEST(test_no_buffer),
        TEST(test_answers_that_wait_for_disks),
        TEST(test_reply_queue_full),
        TEST(test_repeats_queue),
        TEST(test_stall),
        TEST(test_limits_reach_the_machine_in_place),
        TEST(test_limits_beyond_the_room_stop_apply),
        TEST(test_limits_beyond_the_machine_stop_apply),
        TEST(test_malformed_limits_change_nothing),
        TEST(test_digest_at_its_seqs),
        TEST(test_digest_does_not_depend_on_turns),
        TEST(test_watcher_sees_what_is_executed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
