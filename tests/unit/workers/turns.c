/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The poll functions of net and apply with a real replica and executor, a cluster of one node and a port in memory:
 * the epoch is opened, committed and applied by turns alone, and each side wakes the other when it has to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "apply.h"
#include "net.h"

/* A state machine that does nothing. */
struct ls_machine {
    uint32_t reclaims;
};
static struct ls_machine machine;

static uint32_t machine_apply(struct ls_machine *m, const struct ls_command *commands, uint32_t n,
                              struct ls_result *results)
{
    (void)m;
    (void)commands;
    for (uint32_t i = 0; i < n; i++) {
        results[i].status = 0;
        results[i].length = 0;
    }
    return n;
}
static bool machine_limits(struct ls_machine *m, const struct ls_machine_limits *limits)
{
    (void)m;
    (void)limits;
    return true;
}
static void machine_read(struct ls_machine *m, const uint8_t *operation, uint32_t length, struct ls_read_result *result)
{
    (void)m;
    (void)operation;
    (void)length;
    result->length = 0;
}
static bool machine_pending(struct ls_machine *m)
{
    (void)m;
    return false;
}
static uint64_t machine_digest(struct ls_machine *m)
{
    (void)m;
    return 1;
}
static void machine_reclaim(struct ls_machine *m)
{
    m->reclaims++;
}
static const struct ls_state_machine machine_type = {
    .name = "nothing",
    .version = 1,
    .concurrent_reads = true,
    .apply = machine_apply,
    .set_limits = machine_limits,
    .read = machine_read,
    .time_pending = machine_pending,
    .digest = machine_digest,
    .reclaim = machine_reclaim,
};

/* A port that hands out garbage datagrams and counts. */
static struct port {
    struct ls_port port;
    uint32_t waiting;  /* to be received */
    uint32_t received; /* not given back */
    uint32_t sent;
    uint32_t flushed;
    uint64_t next_ns;
} port;

static bool port_alloc(struct ls_io *io, struct ls_frame *frame)
{
    (void)io;
    memset(frame, 0, sizeof(*frame));
    frame->handle = frame->data = malloc(LS_FRAME_MAX);
    return frame->data != NULL;
}
static void port_release(struct ls_io *io, struct ls_frame *frame)
{
    (void)io;
    free(frame->handle);
}
static void port_send(struct ls_io *io, struct ls_frame *frame)
{
    port.sent++;
    port_release(io, frame);
}
static uint32_t port_receive(struct ls_port *self, struct ls_frame *frames, uint32_t n, uint64_t now_ns)
{
    static uint8_t garbage[100];
    uint32_t taken = port.waiting < n ? port.waiting : n;

    (void)self;
    (void)now_ns;
    for (uint32_t i = 0; i < taken; i++)
        frames[i] = (struct ls_frame){.data = garbage, .length = sizeof(garbage), .peer = {.ip = 7, .port = 7}};
    port.waiting -= taken;
    port.received += taken;
    return taken;
}
static void port_done(struct ls_port *self, struct ls_frame *frames, uint32_t n)
{
    (void)self;
    (void)frames;
    port.received -= n;
}
static void port_flush(struct ls_port *self, uint64_t now_ns)
{
    (void)self;
    (void)now_ns;
    port.flushed++;
}
static uint64_t port_next(void *user)
{
    return ((struct port *)user)->next_ns;
}

static bool signalled(struct ls_waker *waker)
{
    bool woken = atomic_load(&waker->asleep) == 0;

    ls_waker_announce(waker);
    return woken;
}

static void test_turns(void **state)
{
    static struct ls_log log;
    static struct ls_seam seam;
    static struct ls_replica_page page;
    static struct ls_counters net_counters, apply_counters;
    struct ls_replica_config config = {
        .cluster = 5,
        .generation = 1,
        .node = 1,
        .incarnation = 1,
        .keys_max = 10,
        .bytes_max = 1000,
        .session_idle_ns = 1000000000,
        .sessions_max = 4,
        .window = 4,
        .op_max = 1280,
    };
    struct ls_executor_config executor_config = {
        .cluster = 5, .generation = 1, .node = 1, .incarnation = 1, .sessions_max = 4, .window = 4};
    struct ls_net_worker net = {.port = &port.port, .seam = &seam, .port_next_ns = port_next, .port_user = &port};
    struct ls_apply_worker apply = {.seam = &seam};
    struct ls_waker net_waker, apply_waker, control_waker;
    struct ls_order found = {
        .kind = LS_ORDER_FOUND,
        .members = {.count = 1, .member = {{.node = 1, .role = LS_MEMBER_VOTER, .addr = {.ip = 1, .port = 1}}}}};
    struct ls_order order = {.id = 1, .epoch = 1, .incarnation = 1, .kind = LS_ORDER_SEAL};
    struct ls_event event;
    uint64_t now = 1000000;

    (void)state;
    port.port = (struct ls_port){.io = {.alloc = port_alloc, .send = port_send, .release = port_release},
                                 .receive = port_receive,
                                 .done = port_done,
                                 .flush = port_flush};
    port.next_ns = UINT64_MAX;
    assert_int_equal(ls_log_init(&log, LS_LOG_SIZE_MIN), 0);
    assert_int_equal(ls_seam_init(&seam, 4), 0);
    net.replica = ls_replica_create(&config, &log, &seam, &port.port.io, &machine_type, &machine, &page, &net_counters);
    assert_non_null(net.replica);
    assert_true(ls_spsc_push(&seam.orders, &found));
    apply.executor = ls_executor_create(&executor_config, &log, &seam, &port.port.io, &machine_type, &machine, &page,
                                        &apply_counters);
    assert_non_null(apply.executor);
    assert_int_equal(ls_waker_init(&net_waker), 0);
    assert_int_equal(ls_waker_init(&apply_waker), 0);
    assert_int_equal(ls_waker_init(&control_waker), 0);
    net.apply = &apply_waker;
    net.control = &control_waker;
    apply.net = &net_waker;
    ls_waker_announce(&net_waker);
    ls_waker_announce(&apply_waker);
    ls_waker_announce(&control_waker);

    /* first turns may say a role; then nothing to do */
    ls_net_poll(&net, now);
    while (ls_spsc_pop(&seam.events, &event))
        ;
    (void)signalled(&control_waker);
    assert_int_equal(ls_net_poll(&net, ++now), 0);
    assert_int_equal(ls_apply_poll(&apply, now), 0);
    assert_int_equal(machine.reclaims, 1);
    assert_int_equal(ls_apply_next_ns(&apply, now), UINT64_MAX);
    assert_false(signalled(&net_waker));
    assert_false(signalled(&apply_waker));
    assert_false(signalled(&control_waker));

    /* garbage is work, is counted, and every buffer is given back */
    port.waiting = LS_BURST + 3;
    assert_true(ls_net_poll(&net, ++now) >= LS_BURST);
    assert_true(ls_net_poll(&net, ++now) >= 3);
    assert_int_equal(port.received, 0);
    assert_int_equal(ls_counter_get(&net_counters, LS_COUNT_drop_magic), LS_BURST + 3);

    /* sealed, installed: events wake control, the commit wakes apply, what is applied wakes net */
    assert_true(ls_spsc_push(&seam.orders, &order));
    assert_true(ls_net_poll(&net, ++now) > 0);
    assert_true(signalled(&control_waker));
    assert_true(ls_spsc_pop(&seam.events, &event));
    assert_int_equal(event.kind, LS_EVENT_SEALED);
    assert_int_equal(event.epoch, 1);
    order.id = 2;
    order.kind = LS_ORDER_INSTALL;
    assert_true(ls_spsc_push(&seam.orders, &order));
    for (int i = 0; i < 4 && atomic_load(&seam.commit) == 0; i++)
        ls_net_poll(&net, ++now);
    assert_true(atomic_load(&seam.commit) > 0);
    assert_true(signalled(&apply_waker));
    assert_true(ls_apply_next_ns(&apply, now) != UINT64_MAX);
    for (int i = 0; i < 4 && atomic_load(&seam.applied) < atomic_load(&seam.commit); i++)
        assert_true(ls_apply_poll(&apply, ++now) > 0);
    assert_int_equal(atomic_load(&seam.applied), atomic_load(&seam.commit));
    assert_true(signalled(&net_waker));
    ls_net_poll(&net, ++now);
    assert_int_equal(atomic_load(&page.role), LS_ROLE_SEQUENCER);

    /* the port's own timer counts */
    port.next_ns = now + 1;
    assert_int_equal(ls_net_next_ns(&net, now), now + 1);
    assert_true(port.flushed >= 6);

    ls_executor_destroy(apply.executor);
    ls_replica_destroy(net.replica);
    ls_seam_free(&seam);
    ls_log_free(&log);
    ls_waker_free(&net_waker);
    ls_waker_free(&apply_waker);
    ls_waker_free(&control_waker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_turns)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
