/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dataplane's end of the link: which packets are refused, and what well-formed ones bring about, over a real
 * socket pair and a real log, without a thread.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "link.h"

/* A port that the fault decorator can stand on. */
static bool no_alloc(struct ls_io *io, struct ls_frame *frame)
{
    (void)io;
    (void)frame;
    return false;
}
static void no_frame(struct ls_io *io, struct ls_frame *frame)
{
    (void)io;
    (void)frame;
}
static uint32_t receive_none(struct ls_port *port, struct ls_frame *frames, uint32_t n, uint64_t now_ns)
{
    (void)port;
    (void)frames;
    (void)n;
    (void)now_ns;
    return 0;
}
static void done_none(struct ls_port *port, struct ls_frame *frames, uint32_t n)
{
    (void)port;
    (void)frames;
    (void)n;
}
static void flush_none(struct ls_port *port, uint64_t now_ns)
{
    (void)port;
    (void)now_ns;
}
static struct ls_port port = {.io = {.alloc = no_alloc, .send = no_frame, .release = no_frame},
                              .receive = receive_none,
                              .done = done_none,
                              .flush = flush_none};

static struct {
    struct ls_link link;
    struct ls_seam seam;
    struct ls_log log;
    struct ls_counters_page page;
    struct ls_grace grace;
    struct ls_view_holder view;
    uint32_t wants;
    int ctrl; /* the other end */
    uint8_t got[LS_CONTROL_MESSAGE_MAX];
} box;

static void want(void *user)
{
    (void)user;
    box.wants++;
}
static void buffers(void *user, uint32_t *free_buffers, uint32_t *total)
{
    (void)user;
    *free_buffers = 7;
    *total = 9;
}

static int setup(void **state)
{
    struct ls_view view = {.node = 3, .members = 1, .member = {{.node = 3, .role = LS_MEMBER_VOTER}}};
    int ends[2];

    (void)state;
    memset(&box, 0, sizeof(box));
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends), 0);
    assert_int_equal(ls_seam_init(&box.seam, 4), 0);
    assert_int_equal(ls_log_init(&box.log, LS_LOG_SIZE_MIN), 0);
    assert_int_equal(ls_waker_init(&box.link.waker), 0);
    ls_view_init(&box.view, &box.grace, &view);
    box.ctrl = ends[1];
    box.link.fd = ends[0];
    box.link.incarnation = 5;
    box.link.promise = 1;
    box.link.faults_allowed = true;
    box.link.seam = &box.seam;
    box.link.log = &box.log;
    box.link.page = &box.page;
    box.link.fault = ls_fault_create(&port, 4, &box.page.worker[0].counters);
    assert_non_null(box.link.fault);
    box.link.view = &box.view;
    box.link.grace_want = want;
    box.link.buffers = buffers;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (box.link.fd >= 0)
        close(box.link.fd);
    close(box.ctrl);
    ls_waker_free(&box.link.waker);
    ls_fault_destroy(box.link.fault);
    ls_seam_free(&box.seam);
    ls_log_free(&box.log);
    return 0;
}

static void put(uint32_t type, uint64_t id, const void *body, uint32_t size)
{
    struct ls_control_header header = {.version = LS_CONTROL_VERSION, .type = type, .id = id, .size = size};
    uint8_t message[sizeof(header) + 512];

    memcpy(message, &header, sizeof(header));
    if (size > 0)
        memcpy(message + sizeof(header), body, size);
    assert_int_equal(send(box.ctrl, message, sizeof(header) + size, 0), sizeof(header) + size);
}

static void turns(void)
{
    for (int i = 0; i < 20; i++)
        ls_link_turn(&box.link, 1000 * (uint64_t)i);
}

/* The next message for ctrl; its header, and the body behind it in box.got. */
static struct ls_control_header get(uint32_t type)
{
    struct ls_control_header header = {0};
    ssize_t size = recv(box.ctrl, box.got, sizeof(box.got), 0);

    assert_true(size >= (ssize_t)sizeof(header));
    memcpy(&header, box.got, sizeof(header));
    assert_int_equal(header.version, LS_CONTROL_VERSION);
    assert_int_equal(header.type, type);
    assert_int_equal(header.size, size - (ssize_t)sizeof(header));
    return header;
}
#define BODY (box.got + sizeof(struct ls_control_header))

static void nothing_left(void)
{
    assert_int_equal(recv(box.ctrl, box.got, sizeof(box.got), 0), -1);
    assert_int_equal(errno, EAGAIN);
}

static void test_check_sizes(void **state)
{
    static const struct {
        uint32_t type, size;
    } good[] = {{LS_CONTROL_SEAL, 24},  {LS_CONTROL_INSTALL, 24}, {LS_CONTROL_LOG, 16},
                {LS_CONTROL_FAULT, 72}, {LS_CONTROL_STOP, 0},     {LS_CONTROL_PING, 0}};
    static uint8_t message[LS_CONTROL_MESSAGE_MAX];
    struct ls_control_header header;

    (void)state;
    for (uint32_t type = 0; type < 80; type++)
        for (uint32_t size = 0; size < 200; size++) {
            bool right = false;

            for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
                right = right || (good[i].type == type && good[i].size == size);
            memset(message, 0, sizeof(message));
            header = (struct ls_control_header){.version = 1, .type = type, .id = 1, .size = size};
            memcpy(message, &header, sizeof(header));
            message[sizeof(header)] = 1; /* epoch, seq or seed */
            if (type == LS_CONTROL_INSTALL)
                message[sizeof(header) + 8] = 1;
            assert_int_equal(ls_link_check(message, sizeof(header) + size) == NULL, right);
            /* the size field lies, by one or hugely; the packet is cut */
            header.size = size + 1;
            memcpy(message, &header, sizeof(header));
            assert_non_null(ls_link_check(message, sizeof(header) + size));
            header.size = UINT32_MAX - 10;
            memcpy(message, &header, sizeof(header));
            assert_non_null(ls_link_check(message, sizeof(header) + size));
        }
    for (size_t size = 0; size < sizeof(header); size++)
        assert_non_null(ls_link_check(message, size));
}

static void test_check_fields(void **state)
{
    struct {
        struct ls_control_header header;
        union {
            struct ls_control_epoch epoch;
            struct ls_control_log log;
            struct ls_control_fault fault;
        };
    } LS_PACKED m;
#define SEAL()                                                                                                         \
    memset(&m, 0, sizeof(m));                                                                                          \
    m.header = (struct ls_control_header){.version = 1, .type = LS_CONTROL_SEAL, .id = 1, .size = sizeof(m.epoch)};    \
    m.epoch.epoch = 4
#define CHECK() ls_link_check((const uint8_t *)&m, sizeof(m.header) + m.header.size)

    (void)state;
    SEAL();
    assert_null(CHECK());
    SEAL();
    m.header.version = 2;
    assert_string_equal(CHECK(), "a message of another version: install lockstep-ctrl and lockstep-dataplane together");
    SEAL();
    m.header.zero = 1;
    assert_non_null(CHECK());
    SEAL();
    m.header.id = 0;
    assert_non_null(CHECK());
    SEAL();
    m.epoch.epoch = 0;
    assert_non_null(CHECK());
    SEAL();
    m.epoch.incarnation = 1;
    assert_non_null(CHECK());
    SEAL();
    m.epoch.node = 1;
    assert_non_null(CHECK());
    SEAL();
    m.epoch.zero16 = 1;
    assert_non_null(CHECK());
    SEAL();
    m.epoch.zero32 = 1;
    assert_non_null(CHECK());
    SEAL();
    m.header.type = LS_CONTROL_INSTALL; /* names no incarnation */
    assert_non_null(CHECK());
    m.epoch.incarnation = 9;
    assert_null(CHECK());
    memset(&m.log, 0, sizeof(m.log));
    m.header.type = LS_CONTROL_LOG;
    m.header.size = sizeof(m.log);
    assert_null(CHECK());
    m.log.zero = 1;
    assert_non_null(CHECK());
    memset(&m.fault, 0, sizeof(m.fault));
    m.header.type = LS_CONTROL_FAULT;
    m.header.size = sizeof(m.fault);
    assert_null(CHECK());
    m.fault.zero = 1;
    assert_non_null(CHECK());
}

static void test_orders_and_events(void **state)
{
    struct ls_control_epoch epoch = {.epoch = 7};
    struct ls_control_sealed sealed;
    struct ls_control_installed installed;
    struct ls_control_role role;
    struct ls_order order;

    (void)state;
    put(LS_CONTROL_SEAL, 11, &epoch, sizeof(epoch));
    epoch.incarnation = 5;
    put(LS_CONTROL_INSTALL, 12, &epoch, sizeof(epoch));
    put(LS_CONTROL_PING, 13, NULL, 0);
    turns();
    assert_true(ls_spsc_pop(&box.seam.orders, &order));
    assert_int_equal(order.kind, LS_ORDER_SEAL);
    assert_int_equal(order.id, 11);
    assert_int_equal(order.epoch, 7);
    assert_true(ls_spsc_pop(&box.seam.orders, &order));
    assert_int_equal(order.kind, LS_ORDER_INSTALL);
    assert_int_equal(order.incarnation, 5);
    assert_false(ls_spsc_pop(&box.seam.orders, &order));
    assert_int_equal(get(LS_CONTROL_DONE).id, 13);

    ls_spsc_push(
        &box.seam.events,
        &(struct ls_event){.id = 11, .epoch = 7, .last_epoch = 6, .last = 640, .last_seq = 4, .kind = LS_EVENT_SEALED});
    ls_spsc_push(&box.seam.events, &(struct ls_event){.id = 12, .epoch = 7, .code = 2, .kind = LS_EVENT_INSTALLED});
    ls_spsc_push(&box.seam.events, &(struct ls_event){.epoch = 9, .node = 2, .kind = LS_EVENT_EPOCH_SEEN});
    ls_spsc_push(&box.seam.events,
                 &(struct ls_event){.epoch = 7, .node = 2, .role = LS_ROLE_FOLLOWER, .kind = LS_EVENT_ROLE});
    ls_spsc_push(&box.seam.events, &(struct ls_event){.epoch = 7, .role = LS_ROLE_OPENING, .kind = LS_EVENT_ROLE});
    turns();
    assert_int_equal(get(LS_CONTROL_SEALED).id, 11);
    memcpy(&sealed, BODY, sizeof(sealed));
    assert_int_equal(sealed.incarnation, 5);
    assert_int_equal(sealed.last_epoch, 6);
    assert_int_equal(sealed.last, 640);
    assert_int_equal(sealed.last_seq, 4);
    assert_int_equal(get(LS_CONTROL_INSTALLED).id, 12);
    memcpy(&installed, BODY, sizeof(installed));
    assert_int_equal(installed.refused, 2);
    assert_int_equal(get(LS_CONTROL_EPOCH_SEEN).id, 0);
    memcpy(&epoch, BODY, sizeof(epoch));
    assert_int_equal(epoch.epoch, 9);
    assert_int_equal(epoch.node, 2);
    get(LS_CONTROL_ROLE);
    memcpy(&role, BODY, sizeof(role));
    assert_int_equal(role.sequencer, 2);
    get(LS_CONTROL_ROLE);
    memcpy(&role, BODY, sizeof(role));
    assert_int_equal(role.sequencer, 3); /* itself */
    nothing_left();
    /* the view follows; both replaced ones are to be reclaimed */
    assert_int_equal(ls_view_get(&box.view)->role, LS_ROLE_OPENING);
    assert_int_equal(ls_view_get(&box.view)->sequencer, 3);
    assert_int_equal(ls_view_get(&box.view)->members, 1);
    assert_true(box.wants >= 1);
    assert_int_equal(atomic_load(&box.page.buffers_free), 7);
    assert_int_equal(atomic_load(&box.page.buffers_total), 9);
}

/* More orders than the queue holds wait in the socket; none is lost, none is refused. */
static void test_orders_full(void **state)
{
    struct ls_control_epoch epoch = {0};
    struct ls_order order;
    uint64_t next = 1;

    (void)state;
    for (uint64_t i = 1; i <= 3 * LS_ORDERS_QUEUE; i++) {
        epoch.epoch = i;
        put(LS_CONTROL_SEAL, i, &epoch, sizeof(epoch));
    }
    while (next <= 3 * LS_ORDERS_QUEUE) {
        turns();
        turns();
        assert_true(ls_spsc_pop(&box.seam.orders, &order));
        assert_int_equal(order.epoch, next);
        next++;
    }
    assert_true(box.link.fd >= 0);
}

static void test_fault(void **state)
{
    struct ls_control_fault fault = {.seed = 1, .drop = 1000};
    struct ls_control_done done;
    struct ls_frame frames[1];
    struct ls_port *outer = ls_fault_port(box.link.fault);

    (void)state;
    put(LS_CONTROL_FAULT, 1, &fault, sizeof(fault));
    turns();
    assert_int_equal(get(LS_CONTROL_DONE).id, 1);
    memcpy(&done, BODY, sizeof(done));
    assert_int_equal(done.error, 0);
    assert_int_equal(box.page.faults_active, 1);
    /* the port has not taken it: the next one waits, the one after that is refused */
    fault.drop = 0;
    put(LS_CONTROL_FAULT, 2, &fault, sizeof(fault));
    put(LS_CONTROL_FAULT, 3, &fault, sizeof(fault));
    turns();
    assert_int_equal(get(LS_CONTROL_DONE).id, 3);
    memcpy(&done, BODY, sizeof(done));
    assert_int_equal(done.error, EBUSY);
    nothing_left();
    outer->receive(outer, frames, 1, 1);
    turns();
    assert_int_equal(get(LS_CONTROL_DONE).id, 2);
    assert_int_equal(box.page.faults_active, 0);
    outer->receive(outer, frames, 1, 2);
    fault.drop = 1000001;
    put(LS_CONTROL_FAULT, 4, &fault, sizeof(fault));
    turns();
    get(LS_CONTROL_DONE);
    memcpy(&done, BODY, sizeof(done));
    assert_int_equal(done.error, EINVAL);
    assert_non_null(memmem(BODY, sizeof(box.got) - sizeof(struct ls_control_header), "1000001", 7));
    box.link.faults_allowed = false;
    fault.drop = 1;
    put(LS_CONTROL_FAULT, 5, &fault, sizeof(fault));
    turns();
    get(LS_CONTROL_DONE);
    memcpy(&done, BODY, sizeof(done));
    assert_int_equal(done.error, EPERM);
}

static void test_bad_message_closes(void **state)
{
    struct ls_order order;

    (void)state;
    put(LS_CONTROL_SEALED, 1, NULL, 0);
    turns();
    assert_int_equal(box.link.fd, -1);
    turns(); /* goes on without */
    ls_spsc_push(&box.seam.events, &(struct ls_event){.epoch = 7, .role = LS_ROLE_SEALED, .kind = LS_EVENT_ROLE});
    turns();
    assert_int_equal(ls_view_get(&box.view)->epoch, 7);
    assert_false(ls_spsc_pop(&box.seam.orders, &order));
    assert_false(atomic_load(&box.link.stop));
}

static void test_ctrl_gone(void **state)
{
    (void)state;
    shutdown(box.ctrl, SHUT_RDWR);
    turns();
    assert_int_equal(box.link.fd, -1);
    assert_false(atomic_load(&box.link.stop));
}

/* Before its first promise a dataplane without ctrl is of no use: it ends. After an order it serves on. */
static void test_ctrl_gone_early(void **state)
{
    struct ls_control_epoch epoch = {.epoch = 7};

    (void)state;
    box.link.promise = 0;
    shutdown(box.ctrl, SHUT_RDWR);
    ls_link_run(&box.link); /* READY cannot be sent */
    assert_int_equal(box.link.fd, -1);
    teardown(state);
    setup(state);
    box.link.promise = 0;
    put(LS_CONTROL_SEAL, 11, &epoch, sizeof(epoch));
    turns();
    shutdown(box.ctrl, SHUT_RDWR);
    turns();
    assert_int_equal(box.link.fd, -1);
    assert_false(atomic_load(&box.link.stop));
}

static void test_stop(void **state)
{
    (void)state;
    put(LS_CONTROL_STOP, 1, NULL, 0);
    ls_link_run(&box.link); /* READY, then ends */
    assert_int_equal(get(LS_CONTROL_READY).id, 0);
}

static void test_log(void **state)
{
    struct ls_control_log ask = {.seq = 2, .bytes = 4000};
    struct ls_control_log_bytes head;

    (void)state;
    for (uint64_t i = 1; i <= 3; i++) {
        struct ls_entry entry = {.seq = i, .time = i, .kind = LS_ENTRY_TICK};
        uint64_t end = ls_log_append(&box.log, &entry, NULL, 0);

        atomic_store(&box.seam.commit, end);
    }
    put(LS_CONTROL_LOG, 8, &ask, sizeof(ask));
    turns();
    assert_int_equal(get(LS_CONTROL_LOG_BYTES).id, 8);
    memcpy(&head, BODY, sizeof(head));
    assert_int_equal(head.next_seq, 4);
    assert_int_equal(head.bytes, 2 * sizeof(struct ls_entry));
}

/* ctrl does not read for half a minute (its disk): the link stays, nothing that was asked for is lost, and of what is
 * said again and again the newest arrives. */
static void test_ctrl_stalls(void **state)
{
    struct ls_event event = {.kind = LS_EVENT_EPOCH_SEEN, .epoch = 2, .node = 1};
    struct ls_event sealed = {.kind = LS_EVENT_SEALED, .id = 77, .epoch = 9};
    struct ls_event role = {.kind = LS_EVENT_ROLE, .role = LS_ROLE_SEALED, .epoch = 9};
    uint64_t last_seen = 0, sealed_ids = 0, roles = 0;
    uint32_t pings = 0;

    (void)state;
    for (uint64_t told = 0; told < 3000; told++) {
        event.epoch = 2 + told;
        if (ls_spsc_room(&box.seam.events) > 16)
            assert_true(ls_spsc_push(&box.seam.events, &event));
        ls_link_turn(&box.link, 10000000ull * told);
    }
    assert_true(box.link.fd >= 0);
    assert_true(ls_spsc_push(&box.seam.events, &role));
    assert_true(ls_spsc_push(&box.seam.events, &sealed));
    put(LS_CONTROL_PING, 5, NULL, 0);
    put(LS_CONTROL_PING, 6, NULL, 0);
    for (int i = 0; i < 50; i++)
        assert_true(ls_link_turn(&box.link, 40000000000ull) == (i == 0)); /* then it waits */
    assert_int_equal(ls_view_get(&box.view)->epoch, 9);
    for (int i = 0; i < 5000; i++) {
        struct ls_control_header header;
        struct ls_control_epoch epoch;

        if (recv(box.ctrl, box.got, sizeof(box.got), 0) < 0) {
            turns();
            continue;
        }
        memcpy(&header, box.got, sizeof(header));
        memcpy(&epoch, BODY, sizeof(epoch));
        if (header.type == LS_CONTROL_EPOCH_SEEN) {
            assert_true(epoch.epoch > last_seen);
            last_seen = epoch.epoch;
        }
        sealed_ids += header.type == LS_CONTROL_SEALED ? header.id : 0;
        roles += header.type == LS_CONTROL_ROLE;
        pings += header.type == LS_CONTROL_DONE;
    }
    assert_int_equal(last_seen, 3001);
    assert_int_equal(sealed_ids, 77);
    assert_int_equal(roles, 1);
    assert_int_equal(pings, 2);
}

int main(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check_sizes),
        cmocka_unit_test(test_check_fields),
        WITH(test_orders_and_events),
        WITH(test_orders_full),
        WITH(test_ctrl_stalls),
        WITH(test_fault),
        WITH(test_bad_message_closes),
        WITH(test_ctrl_gone),
        WITH(test_ctrl_gone_early),
        WITH(test_stop),
        WITH(test_log),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
