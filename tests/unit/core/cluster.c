/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Several replicas in one process over a network that loses nothing: both ends of joining, changing and handing over
 * meet. The test plays ctrl and apply.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "replica_internal.h"

#define NODES    4
#define LOG_SIZE (64 * 1024)
#define QUEUE    512
#define MOVED(n) ((n) + 100u) /* another address of node n */

struct packet {
    struct ls_addr from;
    uint32_t length;
    uint8_t data[LS_FRAME_MAX];
};

struct world;
struct node {
    struct ls_io io; /* first: the functions get this pointer */
    struct world *world;
    uint16_t id;
    uint64_t incarnation;
    bool cut_off;
    bool moved;
    struct ls_log log;
    struct ls_seam seam;
    struct ls_replica *replica;
    struct ls_replica_page page;
    struct ls_counters counters;
    uint32_t head, tail;
    struct packet inbox[QUEUE];
};

struct world {
    uint64_t now;
    struct node node[NODES + 1]; /* by id */
};

static struct ls_addr address(uint32_t id)
{
    return (struct ls_addr){0x0a000000u + id, LS_PORT_DEFAULT};
}

static bool io_alloc(struct ls_io *io, struct ls_frame *frame)
{
    memset(frame, 0, sizeof(*frame));
    frame->data = malloc(LS_FRAME_MAX);
    (void)io;
    return true;
}

static void io_release(struct ls_io *io, struct ls_frame *frame)
{
    (void)io;
    free(frame->data);
}

static void io_send(struct ls_io *io, struct ls_frame *frame)
{
    struct node *from = (struct node *)io;
    uint32_t id = frame->peer.ip - 0x0a000000u;
    bool moved = id >= MOVED(0);
    id -= moved ? MOVED(0) : 0;
    struct node *to = id >= 1 && id <= NODES && from->world->node[id].moved == moved ? &from->world->node[id] : NULL;
    if (to != NULL && to->replica != NULL && !to->cut_off && !from->cut_off && to->tail - to->head < QUEUE) {
        struct packet *packet = &to->inbox[to->tail++ % QUEUE];
        packet->from = address(from->moved ? MOVED(from->id) : from->id);
        packet->length = frame->length;
        memcpy(packet->data, frame->data, frame->length);
    }
    io_release(io, frame);
}

static bool time_pending(struct ls_machine *machine)
{
    (void)machine;
    return false;
}

static const struct ls_state_machine machine_type = {.name = "none", .version = 1, .time_pending = time_pending};

static void start(struct world *w, uint16_t id, uint64_t promise)
{
    struct node *n = &w->node[id];
    n->io = (struct ls_io){.alloc = io_alloc, .send = io_send, .release = io_release};
    n->world = w;
    n->id = id;
    n->incarnation++;
    n->cut_off = false;
    n->head = n->tail;
    assert_int_equal(ls_log_init(&n->log, LOG_SIZE), 0);
    assert_int_equal(ls_seam_init(&n->seam, 4), 0);
    struct ls_replica_config config = {.cluster = 7,
                                       .generation = 1,
                                       .node = id,
                                       .incarnation = n->incarnation,
                                       .promise = promise,
                                       .keys_max = 10,
                                       .bytes_max = 1000,
                                       .session_idle_ns = LS_SESSION_IDLE_DEFAULT,
                                       .sessions_max = 4,
                                       .window = 4,
                                       .op_max = LS_OP_SMALL_MAX};
    n->replica = ls_replica_create(&config, &n->log, &n->seam, &n->io, &machine_type, NULL, &n->page, &n->counters);
    assert_non_null(n->replica);
}

static void stop(struct world *w, uint16_t id)
{
    struct node *n = &w->node[id];
    if (n->replica == NULL)
        return;
    ls_replica_destroy(n->replica);
    ls_seam_free(&n->seam);
    ls_log_free(&n->log);
    n->replica = NULL;
}

/* apply: a brought image is taken at once; all that is committed counts as applied. */
static void apply(struct node *n)
{
    struct ls_image *image = atomic_load(&n->seam.image);
    uint64_t commit = image != NULL ? image->cut.position : atomic_load(&n->seam.commit);
    uint64_t seq = image != NULL ? image->cut.seq : ls_log_seq_at(&n->log, commit) - 1;
    atomic_store(&n->seam.applied_seq, seq);
    atomic_store(&n->seam.applied, commit);
    atomic_store(&n->seam.image, NULL);
}

static void turn(struct world *w, struct node *n)
{
    for (; n->head != n->tail; n->head++) {
        struct packet *packet = &n->inbox[n->head % QUEUE];
        struct ls_frame frame = {.data = packet->data, .length = packet->length, .peer = packet->from};
        ls_replica_input(n->replica, &frame, w->now);
    }
    ls_replica_turn(n->replica, w->now);
    apply(n);
}

static void run(struct world *w, uint32_t ms)
{
    for (uint32_t i = 0; i < ms * 10; i++) {
        w->now += 100000;
        for (uint16_t id = 1; id <= NODES; id++) {
            if (w->node[id].replica != NULL)
                turn(w, &w->node[id]);
        }
    }
}

static bool event_of(struct node *n, enum ls_event_kind kind, struct ls_event *event)
{
    while (ls_spsc_pop(&n->seam.events, event)) {
        if (event->kind == kind)
            return true;
    }
    return false;
}

static struct ls_event tell(struct world *w, uint16_t id, struct ls_order order, enum ls_event_kind answer)
{
    struct ls_event event;
    order.id = 5;
    assert_true(ls_spsc_push(&w->node[id].seam.orders, &order));
    turn(w, &w->node[id]);
    assert_true(event_of(&w->node[id], answer, &event));
    return event;
}

static struct ls_membership voters(uint16_t n)
{
    struct ls_membership members = {.count = n};
    for (uint16_t i = 0; i < n; i++)
        members.member[i] = (struct ls_member){.node = i + 1u, .role = LS_MEMBER_VOTER, .addr = address(i + 1u)};
    return members;
}

static void seal(struct world *w, uint16_t id, uint64_t epoch)
{
    struct ls_order order = {.kind = LS_ORDER_SEAL, .epoch = epoch};
    assert_int_equal(tell(w, id, order, LS_EVENT_SEALED).epoch, epoch);
}

static void install(struct world *w, uint16_t id, uint64_t epoch)
{
    struct ls_order order = {.kind = LS_ORDER_INSTALL, .epoch = epoch, .incarnation = w->node[id].incarnation};
    assert_int_equal(tell(w, id, order, LS_EVENT_INSTALLED).code, 0);
    run(w, 20);
    assert_int_equal(atomic_load(&w->node[id].page.role), LS_ROLE_SEQUENCER);
}

static void entries(struct world *w, uint16_t id, uint32_t n)
{
    static const uint8_t bytes[1000];
    for (uint32_t i = 0; i < n; i++) {
        struct ls_entry header = {.kind = LS_ENTRY_OPERATION, .session = 7, .number = i + 1};
        if (!ls_sequencer_has_room(w->node[id].replica, sizeof(bytes), w->now))
            run(w, 5);
        ls_sequencer_append(w->node[id].replica, &header, bytes, sizeof(bytes), w->now);
    }
    run(w, 5);
}

static bool is_committed(struct world *w, uint16_t id)
{
    return w->node[id].replica->commit == w->node[id].log.end;
}

static uint64_t admit(struct world *w, uint16_t sequencer, uint16_t id, uint64_t epoch)
{
    struct ls_order order = {.kind = LS_ORDER_ADMIT,
                             .epoch = epoch,
                             .incarnation = w->node[sequencer].incarnation,
                             .other = w->node[id].incarnation,
                             .position = epoch,
                             .node = id};
    struct ls_event event = tell(w, sequencer, order, LS_EVENT_ADMITTED);
    assert_int_equal(event.code, 0);
    return event.last;
}

static void join(struct world *w, uint16_t sequencer, uint16_t id, uint64_t epoch)
{
    struct ls_order order = {.kind = LS_ORDER_JOIN,
                             .epoch = epoch,
                             .incarnation = w->node[id].incarnation,
                             .position = admit(w, sequencer, id, epoch),
                             .other = w->node[sequencer].incarnation,
                             .node = sequencer,
                             .members = *ls_log_members(&w->node[sequencer].log)};
    assert_int_equal(tell(w, id, order, LS_EVENT_DONE).code, 0);
}

static void count(struct world *w, uint16_t id)
{
    struct ls_order order = {.kind = LS_ORDER_COUNT, .incarnation = w->node[id].incarnation};
    assert_int_equal(tell(w, id, order, LS_EVENT_DONE).code, 0);
}

static uint32_t change(struct world *w, uint16_t id, uint64_t epoch, struct ls_membership members)
{
    struct ls_order order = {
        .kind = LS_ORDER_CHANGE, .epoch = epoch, .position = ls_log_members(&w->node[id].log)->seq, .members = members};
    return tell(w, id, order, LS_EVENT_CHANGED).code;
}

/* Founders 1..n, sequencer 1 of epoch 1, a few entries. */
static struct world *cluster(uint16_t n)
{
    struct world *w = calloc(1, sizeof(*w));
    w->now = 1000000000;
    for (uint16_t id = 1; id <= n; id++) {
        start(w, id, 0);
        struct ls_order found = {.kind = LS_ORDER_FOUND, .members = voters(n)};
        assert_int_equal(tell(w, id, found, LS_EVENT_DONE).code, 0);
        seal(w, id, 1);
    }
    install(w, 1, 1);
    entries(w, 1, 5);
    assert_true(is_committed(w, 1));
    return w;
}

static void end(struct world *w)
{
    for (uint16_t id = 1; id <= NODES; id++) {
        /* L1, L2: whoever is here holds one and the same history */
        if (w->node[id].replica != NULL && !w->node[id].cut_off && w->node[id].log.end == w->node[1].log.end)
            assert_int_equal(w->node[id].log.chain, w->node[1].log.chain);
        stop(w, id);
    }
    free(w);
}

static void a_restarted_voter_comes_back(void **state)
{
    struct ls_event event;
    for (uint16_t n = 2; n <= 3; n++) {
        struct world *w = cluster(n);
        stop(w, 2);
        start(w, 2, 1);
        run(w, 20);
        assert_int_equal(w->node[2].log.end, 0); /* outside: nobody asks it, and it asks nobody */
        join(w, 1, 2, 1);
        w->node[3].cut_off = true;
        run(w, 20);
        assert_true(event_of(&w->node[2], LS_EVENT_REACHED, &event));
        assert_int_equal(w->node[2].log.end, w->node[1].log.end);
        entries(w, 1, 3);
        assert_int_equal(w->node[2].log.end, w->node[1].log.end); /* served */
        assert_false(is_committed(w, 1));                         /* and not counted */
        count(w, 2);
        run(w, 5);
        assert_true(is_committed(w, 1));
        assert_true(is_committed(w, 2));
        end(w);
    }
    (void)state;
}

static void a_voter_that_the_ring_has_passed_comes_back_by_a_checkpoint(void **state)
{
    static char memory;
    struct ls_event event;
    struct world *w = cluster(3);
    stop(w, 2);
    entries(w, 1, 200); /* several rings */
    start(w, 2, 1);
    join(w, 1, 2, 1);
    run(w, 20);
    assert_int_equal(atomic_load(&w->node[2].page.role), LS_ROLE_BEHIND);
    const struct ls_log *log = &w->node[1].log;
    assert_true(is_committed(w, 1));
    struct ls_image image = {.cut = {.seq = log->last_seq,
                                     .position = log->end,
                                     .time = log->last_time,
                                     .chain = log->chain,
                                     .epochs = log->epochs,
                                     .members = *ls_log_members(log)},
                             .machine = (struct ls_machine *)(void *)&memory,
                             .sessions = (struct ls_sessions *)(void *)&memory};
    memcpy(image.cut.epoch, log->epoch, log->epochs * sizeof(log->epoch[0]));
    entries(w, 1, 10);
    struct ls_order order = {.kind = LS_ORDER_REBASE, .image = &image};
    order.id = 6;
    assert_true(ls_spsc_push(&w->node[2].seam.orders, &order));
    run(w, 20);
    assert_true(event_of(&w->node[2], LS_EVENT_REBASED, &event));
    assert_int_equal(event.code, 0);
    assert_true(event_of(&w->node[2], LS_EVENT_REACHED, &event));
    assert_int_equal(w->node[2].log.chain, w->node[1].log.chain);
    count(w, 2);
    w->node[3].cut_off = true;
    entries(w, 1, 3);
    assert_true(is_committed(w, 1));
    end(w);
    (void)state;
}

static void the_epoch_is_handed_over_and_the_new_sequencer_goes_on(void **state)
{
    struct world *w = cluster(3);
    struct ls_order order = {.kind = LS_ORDER_HANDOVER, .epoch = 1, .position = 100000000, .node = 2};
    assert_int_equal(tell(w, 1, order, LS_EVENT_HANDED).node, 2);
    for (uint16_t id = 1; id <= 3; id++)
        seal(w, id, 2);
    install(w, 2, 2);
    entries(w, 2, 3);
    assert_true(is_committed(w, 2));
    /* in the new epoch, too, who restarted is admitted */
    stop(w, 3);
    start(w, 3, 2);
    join(w, 2, 3, 2);
    run(w, 20);
    count(w, 3);
    w->node[1].cut_off = true;
    entries(w, 2, 3);
    assert_true(is_committed(w, 2));
    /* and counts in the next one, whose sequencer knew its old incarnation */
    w->node[1].cut_off = false;
    w->node[1].head = w->node[1].tail;
    run(w, 20);
    for (uint16_t id = 1; id <= 3; id++)
        seal(w, id, 3);
    w->node[2].cut_off = true;
    install(w, 1, 3);
    entries(w, 1, 3);
    assert_true(is_committed(w, 1));
    end(w);
    (void)state;
}

/* Added, promoted, elected; and followed by one that was away all the time and knows nothing of it. */
static void a_new_member_leads_one_that_never_heard_of_it(void **state)
{
    struct world *w = cluster(3);
    w->node[3].cut_off = true;
    struct ls_membership members = voters(4);
    members.member[3].role = LS_MEMBER_LEARNER;
    assert_int_equal(change(w, 1, 1, members), 0);
    run(w, 10);
    start(w, 4, 1);
    join(w, 1, 4, 1);
    run(w, 20);
    count(w, 4);
    assert_int_equal(change(w, 1, 1, voters(4)), 0);
    run(w, 20);
    assert_true(is_committed(w, 1));
    assert_int_equal(ls_log_members(&w->node[3].log)->count, 3);
    w->node[1].cut_off = true;
    w->node[3].cut_off = false;
    w->node[3].head = w->node[3].tail;
    for (uint16_t id = 2; id <= 4; id++)
        seal(w, id, 2);
    install(w, 4, 2); /* three of four: without node 3 there is no majority */
    assert_int_equal(ls_log_members(&w->node[3].log)->count, 4);
    assert_int_equal(w->node[3].log.chain, w->node[4].log.chain);
    end(w);
    (void)state;
}

/* Removed by mistake and taken back within the epoch, while it lives: verification does not begin anew. */
static void a_member_that_was_removed_and_taken_back_is_served_on(void **state)
{
    struct world *w = cluster(3);
    assert_int_equal(change(w, 1, 1, voters(2)), 0);
    entries(w, 1, 3);
    assert_true(w->node[3].log.end < w->node[1].log.end);
    assert_int_equal(change(w, 1, 1, voters(3)), 0);
    entries(w, 1, 3);
    assert_int_equal(w->node[3].log.end, w->node[1].log.end);
    w->node[2].cut_off = true;
    entries(w, 1, 3);
    assert_true(is_committed(w, 1));
    end(w);
    (void)state;
}

/* Admitted again after its restart, before it was removed: nothing of the incarnation before is listened to. */
static void a_member_that_is_taken_back_keeps_its_incarnation(void **state)
{
    struct world *w = cluster(3);
    stop(w, 3);
    start(w, 3, 1);
    join(w, 1, 3, 1);
    run(w, 20);
    count(w, 3);
    run(w, 5);
    assert_int_equal(change(w, 1, 1, voters(2)), 0);
    entries(w, 1, 3);
    assert_int_equal(change(w, 1, 1, voters(3)), 0);
    struct ls_replica *r = w->node[1].replica;
    assert_int_equal(r->peer[r->peer_of[3] - 1].incarnation, w->node[3].incarnation);
    entries(w, 1, 3);
    assert_int_equal(w->node[3].log.end, w->node[1].log.end);
    end(w);
    (void)state;
}

/* A member moved to another address by an entry that node 3 does not hold, and was elected: only its frames bring it.
 */
static void a_member_that_moved_leads_one_that_knows_its_old_address(void **state)
{
    struct world *w = cluster(3);
    w->node[3].cut_off = true;
    struct ls_membership members = voters(3);
    members.member[1].addr = address(MOVED(2));
    assert_int_equal(change(w, 1, 1, members), 0);
    w->node[2].moved = true;
    entries(w, 1, 3);
    assert_true(is_committed(w, 1));
    w->node[1].cut_off = true;
    w->node[3].cut_off = false;
    w->node[3].head = w->node[3].tail;
    seal(w, 2, 2);
    seal(w, 3, 2);
    install(w, 2, 2); /* two of three: not without node 3 */
    entries(w, 2, 3);
    assert_true(is_committed(w, 2));
    assert_int_equal(w->node[3].log.chain, w->node[2].log.chain);
    end(w);
    (void)state;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_restarted_voter_comes_back),
        cmocka_unit_test(a_voter_that_the_ring_has_passed_comes_back_by_a_checkpoint),
        cmocka_unit_test(the_epoch_is_handed_over_and_the_new_sequencer_goes_on),
        cmocka_unit_test(a_new_member_leads_one_that_never_heard_of_it),
        cmocka_unit_test(a_member_that_was_removed_and_taken_back_is_served_on),
        cmocka_unit_test(a_member_that_is_taken_back_keeps_its_incarnation),
        cmocka_unit_test(a_member_that_moved_leads_one_that_knows_its_old_address),
    };
    return cmocka_run_group_tests_name("cluster", tests, NULL, NULL);
}
