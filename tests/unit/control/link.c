/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dataplane's end of the link: what well-formed messages bring about, and how one ctrl takes over from another,
 * over a real listening socket and a real log, without a thread. What is malformed: tests/unit/core/control_check.c.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
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
    struct ls_bulk bulk; /* without its thread: the test is the bulk thread */
    struct ls_bulk_report reports[16];
    struct ls_slow slow;
    char folder[64];
    struct sockaddr_un address;
    int listener;
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

static int dial(void)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&box.address, sizeof(box.address)), 0);
    return fd;
}

static int listen_at(void)
{
    strcpy(box.folder, "/tmp/lockstep-link-XXXXXX");
    if (mkdtemp(box.folder) == NULL)
        return -1;
    box.address.sun_family = AF_UNIX;
    snprintf(box.address.sun_path, sizeof(box.address.sun_path), "%s/sock", box.folder);
    box.listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    if (bind(box.listener, (const struct sockaddr *)&box.address, sizeof(box.address)) != 0)
        return -1;
    return listen(box.listener, 4);
}

static struct ls_control_header get(uint32_t type);

/* Not linked yet. */
static int setup_alone(void **state)
{
    struct ls_view view = {.node = 3};

    (void)state;
    memset(&box, 0, sizeof(box));
    assert_int_equal(listen_at(), 0);
    assert_int_equal(ls_seam_init(&box.seam, 4), 0);
    assert_int_equal(ls_log_init(&box.log, LS_LOG_SIZE_MIN), 0);
    assert_int_equal(ls_waker_init(&box.link.waker), 0);
    ls_view_init(&box.view, &box.grace, &view);
    ls_spsc_init(&box.bulk.reports, box.reports, 16, sizeof(box.reports[0]));
    box.ctrl = -1;
    box.link.promise = 1;
    box.link.faults_allowed = true;
    box.link.seam = &box.seam;
    box.link.log = &box.log;
    box.link.page = &box.page;
    box.link.bulk = &box.bulk;
    box.link.slow[LS_WORKER_NET] = &box.slow;
    box.link.fault = ls_fault_create(&port, 4, &box.page.worker[0].counters);
    assert_non_null(box.link.fault);
    box.link.view = &box.view;
    box.link.grace_want = want;
    box.link.buffers = buffers;
    return ls_link_init(&box.link, box.listener, 3, 5);
}

static void turns(void);

/* Linked, and told how things stand. */
static int setup(void **state)
{
    if (setup_alone(state) != 0)
        return -1;
    box.ctrl = dial();
    turns();
    assert_int_equal(get(LS_CONTROL_READY).id, 0);
    assert_int_equal(get(LS_CONTROL_ROLE).id, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    ls_link_free(&box.link);
    if (box.ctrl >= 0)
        close(box.ctrl);
    close(box.listener);
    unlink(box.address.sun_path);
    rmdir(box.folder);
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

static const struct ls_event members_of_one = {
    .kind = LS_EVENT_MEMBERS,
    .code = 1,
    .members = {.seq = 3, .count = 1, .member = {{.node = 3, .role = LS_MEMBER_VOTER, .addr = {.ip = 9, .port = 7}}}}};

static void test_orders_and_events(void **state)
{
    struct ls_control_epoch epoch = {.epoch = 7};
    struct ls_control_sealed sealed;
    struct ls_control_installed installed;
    struct ls_control_role role;
    struct ls_order order;
    uint64_t sealed_id, installed_id;

    (void)state;
    put(LS_CONTROL_SEAL, 11, &epoch, sizeof(epoch));
    epoch.incarnation = 5;
    put(LS_CONTROL_INSTALL, 12, &epoch, sizeof(epoch));
    put(LS_CONTROL_PING, 13, NULL, 0);
    turns();
    assert_true(ls_spsc_pop(&box.seam.orders, &order));
    assert_int_equal(order.kind, LS_ORDER_SEAL);
    sealed_id = order.id;
    assert_int_equal(order.epoch, 7);
    assert_true(ls_spsc_pop(&box.seam.orders, &order));
    assert_int_equal(order.kind, LS_ORDER_INSTALL);
    assert_int_equal(order.incarnation, 5);
    installed_id = order.id;
    assert_false(ls_spsc_pop(&box.seam.orders, &order));
    assert_int_equal(get(LS_CONTROL_DONE).id, 13);

    ls_spsc_push(
        &box.seam.events,
        &(struct ls_event){
            .id = sealed_id, .epoch = 7, .last_epoch = 6, .last = 640, .last_seq = 4, .kind = LS_EVENT_SEALED});
    ls_spsc_push(&box.seam.events,
                 &(struct ls_event){.id = installed_id, .epoch = 7, .code = 2, .kind = LS_EVENT_INSTALLED});
    ls_spsc_push(&box.seam.events, &(struct ls_event){.epoch = 9, .node = 2, .kind = LS_EVENT_EPOCH_SEEN});
    ls_spsc_push(&box.seam.events,
                 &(struct ls_event){.epoch = 7, .node = 2, .role = LS_ROLE_FOLLOWER, .kind = LS_EVENT_ROLE});
    ls_spsc_push(&box.seam.events, &(struct ls_event){.epoch = 7, .role = LS_ROLE_OPENING, .kind = LS_EVENT_ROLE});
    ls_spsc_push(&box.seam.events, &members_of_one);
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
    get(LS_CONTROL_MEMBERS);
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
        assert_true(
            ls_spsc_push(&box.seam.events, &(struct ls_event){.kind = LS_EVENT_SEALED, .id = order.id, .epoch = next}));
        next++;
    }
    assert_true(box.link.channel.fd >= 0);
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
    assert_int_equal(box.link.channel.fd, -1);
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
    assert_int_equal(box.link.channel.fd, -1);
    assert_false(atomic_load(&box.link.stop));
}

/* Before its first promise a dataplane serves nobody: without any ctrl it ends after a while, said aloud. After an
 * order it serves on. */
static void test_orphan(void **state)
{
    struct ls_control_epoch epoch = {.epoch = 7};
    uint64_t now = 1;

    (void)state;
    box.link.promise = 0;
    ls_link_turn(&box.link, now);
    ls_link_turn(&box.link, now + LS_LINK_ORPHAN_NS - 1);
    assert_false(atomic_load(&box.link.stop));
    box.ctrl = dial(); /* in time: it begins to count anew */
    ls_link_turn(&box.link, now += LS_LINK_ORPHAN_NS);
    assert_true(box.link.channel.fd >= 0);
    close(box.ctrl);
    for (int i = 0; i < 3; i++)
        ls_link_turn(&box.link, now += LS_LINK_HOUSEKEEPING_NS);
    assert_int_equal(box.link.channel.fd, -1);
    assert_false(atomic_load(&box.link.stop));
    box.ctrl = dial();
    ls_link_turn(&box.link, now);
    put(LS_CONTROL_SEAL, 11, &epoch, sizeof(epoch));
    ls_link_turn(&box.link, now);
    close(box.ctrl);
    for (int i = 0; i < 3; i++)
        ls_link_turn(&box.link, now += LS_LINK_ORPHAN_NS);
    assert_false(atomic_load(&box.link.stop));
    box.link.was_ordered = false;
    for (int i = 0; i < 2; i++)
        ls_link_turn(&box.link, now += LS_LINK_ORPHAN_NS);
    assert_true(atomic_load(&box.link.stop));
    box.ctrl = -1;
}

/* A second ctrl takes over: the first one's link is closed, the second is told how things stand, and never gets what
 * the first has asked for. */
static void test_take_over(void **state)
{
    struct ls_control_epoch epoch = {.epoch = 7};
    struct ls_control_ready ready;
    struct ls_control_members members;
    struct ls_order first, second;
    int old = box.ctrl;

    (void)state;
    put(LS_CONTROL_SEAL, 11, &epoch, sizeof(epoch));
    turns();
    assert_true(ls_spsc_pop(&box.seam.orders, &first));
    atomic_store(&box.page.replica.epoch, 7);
    ls_spsc_push(&box.seam.events, &members_of_one);
    ls_spsc_push(&box.seam.events,
                 &(struct ls_event){.epoch = 7, .node = 2, .role = LS_ROLE_FOLLOWER, .kind = LS_EVENT_ROLE});
    turns();
    box.ctrl = dial();
    turns();
    get(LS_CONTROL_READY);
    memcpy(&ready, BODY, sizeof(ready));
    assert_int_equal(ready.incarnation, 5);
    assert_int_equal(ready.promise, 7); /* what it is sealed at now */
    assert_int_equal(ready.pid, getpid());
    get(LS_CONTROL_ROLE);
    get(LS_CONTROL_MEMBERS);
    memcpy(&members, BODY, sizeof(members));
    assert_int_equal(members.seq, 3);
    assert_int_equal(members.committed, 1);
    nothing_left();
    /* the old one reads what was said to it, then the end */
    while (recv(old, box.got, sizeof(box.got), 0) > 0)
        ;
    assert_int_equal(recv(old, box.got, sizeof(box.got), 0), 0);
    close(old);
    epoch.epoch = 8;
    put(LS_CONTROL_SEAL, 11, &epoch, sizeof(epoch));
    turns();
    assert_true(ls_spsc_pop(&box.seam.orders, &second));
    ls_spsc_push(&box.seam.events, &(struct ls_event){.kind = LS_EVENT_SEALED, .id = first.id, .epoch = 7});
    turns();
    nothing_left();
    ls_spsc_push(&box.seam.events, &(struct ls_event){.kind = LS_EVENT_SEALED, .id = second.id, .epoch = 8});
    turns();
    assert_int_equal(get(LS_CONTROL_SEALED).id, 11);
    nothing_left();
}

/* Jobs go to bulk one at a time; what it reports goes to whoever asked; a checkpoint's image goes to net. */
static void test_bulk(void **state)
{
    static const char path[] = "/data/checkpoints/1";
    struct {
        struct ls_control_path path;
        char text[sizeof(path) - 1];
    } LS_PACKED ask = {.path = {.bytes_per_second = 5, .length = sizeof(path) - 1, .older = 1}};
    struct ls_bulk_report report = {.kind = LS_BULK_PROGRESS, .checkpoint = {.bytes = 77}};
    struct ls_control_checkpoint checkpoint;
    struct ls_control_log log = {.seq = 9, .bytes = 4000};
    struct ls_control_log_bytes head;
    struct ls_control_damaged damaged;
    struct ls_image image;
    struct ls_order order;

    (void)state;
    memcpy(ask.text, path, sizeof(ask.text));
    put(LS_CONTROL_RESTORE, 21, &ask, sizeof(ask));
    ask.path.older = 0;
    put(LS_CONTROL_CHECKPOINT, 22, &ask, sizeof(ask));
    turns();
    assert_true(atomic_load(&box.bulk.posted));
    assert_true(box.bulk.job.older);
    assert_int_equal(box.bulk.job.kind, LS_BULK_RESTORE);
    assert_int_equal(box.bulk.job.bytes_per_second, 5);
    assert_string_equal(box.bulk.job.path, path);
    assert_int_equal(get(LS_CONTROL_CHECKPOINT_DONE).id, 22);
    memcpy(&checkpoint, BODY, sizeof(checkpoint));
    assert_int_equal(checkpoint.error, EBUSY);
    assert_memory_equal(BODY + sizeof(checkpoint), "one checkpoint", 14);
    assert_true(ls_spsc_push(&box.bulk.reports, &report));
    turns();
    assert_int_equal(get(LS_CONTROL_PROGRESS).id, 0);
    memcpy(&checkpoint, BODY, sizeof(checkpoint));
    assert_int_equal(checkpoint.bytes, 77);
    /* the image: while it is on its way the log is not looked at */
    report = (struct ls_bulk_report){.kind = LS_BULK_REBASE, .image = &image};
    assert_true(ls_spsc_push(&box.bulk.reports, &report));
    turns();
    assert_true(ls_spsc_pop(&box.seam.orders, &order));
    assert_int_equal(order.kind, LS_ORDER_REBASE);
    assert_ptr_equal(order.image, &image);
    put(LS_CONTROL_LOG, 23, &log, sizeof(log));
    turns();
    assert_int_equal(get(LS_CONTROL_LOG_BYTES).id, 23);
    memcpy(&head, BODY, sizeof(head));
    assert_int_equal(head.next_seq, 9);
    assert_int_equal(head.bytes, 0);
    ls_spsc_push(&box.seam.events, &(struct ls_event){.kind = LS_EVENT_REBASED, .code = EINVAL});
    turns();
    assert_int_equal(atomic_load(&box.bulk.rebased), 1 + EINVAL);
    assert_false(box.link.rebasing);
    report = (struct ls_bulk_report){
        .kind = LS_BULK_DONE, .link = box.bulk.job.link, .id = 21, .checkpoint = {.error = EINVAL}, .text = "no"};
    assert_true(ls_spsc_push(&box.bulk.reports, &report));
    turns();
    assert_int_equal(get(LS_CONTROL_CHECKPOINT_DONE).size, sizeof(checkpoint) + 2);
    /* the next job is taken now; its end is not told to a ctrl that did not ask */
    put(LS_CONTROL_FLIP, 24, &(struct ls_control_flip){.seed = 8}, sizeof(struct ls_control_flip));
    put(LS_CONTROL_FLIP, 25, &(struct ls_control_flip){.seed = 8}, sizeof(struct ls_control_flip));
    turns();
    assert_int_equal(box.bulk.job.kind, LS_BULK_FLIP);
    assert_int_equal(get(LS_CONTROL_DONE).id, 25); /* busy */
    report = (struct ls_bulk_report){.kind = LS_BULK_FLIPPED, .link = box.bulk.job.link - 1, .id = 24};
    assert_true(ls_spsc_push(&box.bulk.reports, &report));
    turns();
    nothing_left();
    assert_false(box.bulk.busy);
    report = (struct ls_bulk_report){.kind = LS_BULK_DAMAGED, .damaged = {.seq = 5, .found = 2}};
    assert_true(ls_spsc_push(&box.bulk.reports, &report));
    turns();
    assert_int_equal(get(LS_CONTROL_DAMAGED).id, 0);
    memcpy(&damaged, BODY, sizeof(damaged));
    assert_int_equal(damaged.found, 2);
    box.link.faults_allowed = false;
    put(LS_CONTROL_FLIP, 26, &(struct ls_control_flip){.seed = 8}, sizeof(struct ls_control_flip));
    turns();
    assert_int_equal(get(LS_CONTROL_DONE).id, 26);
    assert_false(box.bulk.busy);
}

static uint32_t slow_error(const struct ls_control_slow *slow)
{
    struct ls_control_done done;

    put(LS_CONTROL_SLOW, 31, slow, sizeof(*slow));
    turns();
    assert_int_equal(get(LS_CONTROL_DONE).id, 31);
    memcpy(&done, BODY, sizeof(done));
    return done.error;
}

static void test_slow(void **state)
{
    struct ls_control_slow slow = {.turn_ns = 1000, .pause_ns = 5000, .worker = LS_WORKER_NET};

    (void)state;
    assert_int_equal(slow_error(&slow), 0);
    assert_int_equal(atomic_load(&box.slow.turn_ns), 1000);
    assert_int_equal(atomic_load(&box.slow.pause_ns), 5000);
    assert_int_equal(box.page.faults_active, 1);
    slow.worker = LS_WORKER_JOURNAL; /* does not run */
    assert_int_equal(slow_error(&slow), EINVAL);
    slow.worker = LS_WORKERS;
    assert_int_equal(slow_error(&slow), EINVAL);
    slow = (struct ls_control_slow){.turn_ns = LS_SLOW_TURN_MAX_NS + 1};
    assert_int_equal(slow_error(&slow), EINVAL);
    slow = (struct ls_control_slow){.pause_ns = LS_SLOW_PAUSE_MAX_NS + 1};
    assert_int_equal(slow_error(&slow), EINVAL);
    assert_int_equal(atomic_load(&box.slow.turn_ns), 1000);
    slow = (struct ls_control_slow){0};
    assert_int_equal(slow_error(&slow), 0);
    assert_int_equal(box.page.faults_active, 0);
    box.link.faults_allowed = false;
    assert_int_equal(slow_error(&slow), EPERM);
}

static uint64_t clock_ns(void *user)
{
    (void)user;
    return 1;
}

static uint32_t no_turn(struct ls_journal_disk *disk, struct ls_journal_done *done, uint32_t max)
{
    (void)disk, (void)done, (void)max;
    return 0;
}

static uint32_t done_error(uint64_t id)
{
    struct ls_control_done done;

    turns();
    assert_int_equal(get(LS_CONTROL_DONE).id, id);
    memcpy(&done, BODY, sizeof(done));
    return done.error;
}

/* As the network's: the next one waits until the journal has taken the one before. */
static void test_disk_fault(void **state)
{
    struct ls_journal_disk inner = {.turn = no_turn};
    struct ls_control_disk_fault fault = {.seed = 1, .hang = 1};
    struct ls_journal_disk *outer;

    (void)state;
    put(LS_CONTROL_DISK_FAULT, 1, &fault, sizeof(fault));
    assert_int_equal(done_error(1), EINVAL);
    assert_non_null(memmem(BODY, sizeof(box.got) - sizeof(struct ls_control_header), "has no journal", 14));
    box.link.disk_fault = ls_disk_fault_create(&inner, 65536, clock_ns, NULL);
    outer = ls_disk_fault_disk(box.link.disk_fault);
    put(LS_CONTROL_DISK_FAULT, 2, &fault, sizeof(fault));
    assert_int_equal(done_error(2), 0);
    assert_int_equal(box.page.faults_active, 1);
    fault.hang = 0;
    put(LS_CONTROL_DISK_FAULT, 3, &fault, sizeof(fault));
    put(LS_CONTROL_DISK_FAULT, 4, &fault, sizeof(fault));
    assert_int_equal(done_error(4), EBUSY);
    nothing_left();
    outer->turn(outer, NULL, 0);
    assert_int_equal(done_error(3), 0);
    assert_int_equal(box.page.faults_active, 0);
    outer->turn(outer, NULL, 0);
    fault.rot = 1000001;
    put(LS_CONTROL_DISK_FAULT, 5, &fault, sizeof(fault));
    assert_int_equal(done_error(5), EINVAL);
    assert_non_null(memmem(BODY, sizeof(box.got) - sizeof(struct ls_control_header), "1000001", 7));
    box.link.faults_allowed = false;
    fault.rot = 1;
    put(LS_CONTROL_DISK_FAULT, 6, &fault, sizeof(fault));
    assert_int_equal(done_error(6), EPERM);
    ls_disk_fault_destroy(box.link.disk_fault);
    box.link.disk_fault = NULL;
}

static uint32_t trim_error(uint64_t position)
{
    struct ls_control_trim trim = {.position = position};
    struct ls_control_done done;

    put(LS_CONTROL_TRIM, 32, &trim, sizeof(trim));
    turns();
    assert_int_equal(get(LS_CONTROL_DONE).id, 32);
    memcpy(&done, BODY, sizeof(done));
    return done.error;
}

/* Where there is a journal it hears of the newest verified checkpoint, never of an older one again. */
static void test_trim(void **state)
{
    _Atomic uint64_t verified = 0;

    (void)state;
    assert_int_equal(trim_error(100), ENOENT);
    box.link.verified = &verified;
    assert_int_equal(trim_error(100), 0);
    assert_int_equal(trim_error(50), 0);
    assert_int_equal(atomic_load(&verified), 100);
    box.link.verified = NULL;
}

static void test_stop(void **state)
{
    (void)state;
    put(LS_CONTROL_STOP, 1, NULL, 0);
    ls_link_run(&box.link);
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
    struct ls_event sealed = {.kind = LS_EVENT_SEALED, .epoch = 9};
    struct ls_control_epoch promise = {.epoch = 9};
    struct ls_order order;
    struct ls_event role = {.kind = LS_EVENT_ROLE, .role = LS_ROLE_SEALED, .epoch = 9};
    uint64_t last_seen = 0, sealed_ids = 0, roles = 0;
    uint32_t pings = 0;

    (void)state;
    put(LS_CONTROL_SEAL, 77, &promise, sizeof(promise));
    turns();
    assert_true(ls_spsc_pop(&box.seam.orders, &order));
    sealed.id = order.id;
    for (uint64_t told = 0; told < 3000; told++) {
        event.epoch = 2 + told;
        if (ls_spsc_room(&box.seam.events) > 16)
            assert_true(ls_spsc_push(&box.seam.events, &event));
        ls_link_turn(&box.link, 10000000ull * told);
    }
    assert_true(box.link.channel.fd >= 0);
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

static bool wakes(void)
{
    struct pollfd look = {.fd = box.link.channel.poll_fd, .events = POLLIN};

    return poll(&look, 1, 0) == 1;
}

/* No descriptor is free for a new link: it waits, and the control thread sleeps between two looks. */
static void test_no_descriptor(void **state)
{
    struct rlimit before, none;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    box.ctrl = dial();
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = before.rlim_max};
    assert_true(wakes());
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_false(ls_link_turn(&box.link, 1));
    assert_false(wakes());
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(ls_link_turn(&box.link, 2));
    assert_true(box.link.channel.fd >= 0);
    close(box.ctrl);
    box.ctrl = dial(); /* and the next one is noticed again */
    assert_true(wakes());
}

int main(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH(test_orders_and_events),
        WITH(test_orders_full),
        WITH(test_ctrl_stalls),
        WITH(test_fault),
        WITH(test_bad_message_closes),
        WITH(test_ctrl_gone),
        cmocka_unit_test_setup_teardown(test_orphan, setup_alone, teardown),
        cmocka_unit_test_setup_teardown(test_no_descriptor, setup_alone, teardown),
        WITH(test_take_over),
        WITH(test_bulk),
        WITH(test_slow),
        WITH(test_disk_fault),
        WITH(test_trim),
        WITH(test_stop),
        WITH(test_log),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
