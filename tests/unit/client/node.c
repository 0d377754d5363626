/* SPDX-License-Identifier: BSD-3-Clause */
/* See node.h. The node's thread owns everything but `stop` and `mute`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <lockstep/grace.h>

#include "executor.h"
#include "node.h"
#include "replica.h"

#define BUFFERS 4096

struct node {
    struct ls_io io; /* first */
    int fd;
    struct ls_addr addr;
    uint32_t lose;
    uint32_t frames;
    _Atomic bool stop;
    _Atomic bool mute;
    pthread_t thread;
    struct ls_log log;
    struct ls_seam seam;
    struct ls_grace grace;
    struct ls_machine *machine;
    struct ls_replica *replica;
    struct ls_executor *executor;
    struct ls_replica_page page;
    struct ls_counters counters;
    uint32_t free;
    uint8_t *buffer[BUFFERS];
    uint8_t memory[BUFFERS][LS_FRAME_MAX];
};

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

static bool node_alloc(struct ls_io *io, struct ls_frame *frame)
{
    struct node *node = (struct node *)io;
    if (node->free == 0)
        return false;
    frame->data = node->buffer[--node->free];
    return true;
}

static void node_release(struct ls_io *io, struct ls_frame *frame)
{
    struct node *node = (struct node *)io;
    node->buffer[node->free++] = frame->data;
}

static bool loses(struct node *node)
{
    return (node->lose != 0 && ++node->frames % node->lose == 0) || atomic_load(&node->mute);
}

static void node_send(struct ls_io *io, struct ls_frame *frame)
{
    struct node *node = (struct node *)io;
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(frame->peer.port), .sin_addr.s_addr = htonl(frame->peer.ip)};
    if (!loses(node))
        (void)sendto(node->fd, frame->data, frame->length, 0, (const struct sockaddr *)&to, sizeof(to));
    node_release(io, frame);
}

static void receive(struct node *node)
{
    uint8_t data[LS_FRAME_MAX];
    struct sockaddr_in from;
    for (int i = 0; i < LS_BURST; i++) {
        socklen_t from_length = sizeof(from);
        ssize_t n = recvfrom(node->fd, data, sizeof(data), MSG_DONTWAIT, (struct sockaddr *)&from, &from_length);
        if (n < 0)
            return;
        struct ls_frame frame = {.data = data,
                                 .length = (uint32_t)n,
                                 .peer = {.ip = ntohl(from.sin_addr.s_addr), .port = ntohs(from.sin_port)}};
        if (!loses(node))
            ls_replica_input(node->replica, &frame, clock_ns());
    }
}

static uint32_t turn(struct node *node)
{
    uint32_t work = ls_replica_turn(node->replica, clock_ns());
    work += ls_executor_turn(node->executor, clock_ns());
    ls_grace_begin(&node->grace);
    ls_grace_end(&node->grace);
    return work;
}

static void *run(void *user)
{
    struct node *node = user;
    while (!atomic_load(&node->stop)) {
        receive(node);
        if (turn(node) == 0) {
            struct pollfd fd = {.fd = node->fd, .events = POLLIN};
            (void)poll(&fd, 1, 1);
        }
    }
    return NULL;
}

static void order(struct node *node, enum ls_order_kind kind)
{
    const struct ls_order order = {.id = kind, .epoch = 1, .incarnation = 1, .kind = kind};
    struct ls_event event;
    assert_true(ls_spsc_push(&node->seam.orders, &order));
    turn(node);
    while (ls_spsc_pop(&node->seam.events, &event))
        if (event.kind == LS_EVENT_INSTALLED)
            assert_int_equal(event.code, 0);
}

static void socket_open(struct node *node, struct ls_addr at)
{
    uint32_t ip = at.ip ? at.ip : INADDR_LOOPBACK;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(at.port), .sin_addr.s_addr = htonl(ip)};
    socklen_t length = sizeof(address);
    int bytes = 1 << 20;
    node->fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_true(node->fd >= 0);
    (void)setsockopt(node->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    assert_int_equal(bind(node->fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(node->fd, (struct sockaddr *)&address, &length), 0);
    node->addr = (struct ls_addr){.ip = ip, .port = ntohs(address.sin_port)};
}

struct node *node_start_at(struct ls_addr at, uint32_t lose, uint32_t sessions, uint64_t session_idle_ns)
{
    struct node *node = calloc(1, sizeof(*node));
    assert_non_null(node);
    node->io = (struct ls_io){.alloc = node_alloc, .send = node_send, .release = node_release};
    node->lose = lose;
    for (uint32_t i = 0; i < BUFFERS; i++)
        node->buffer[node->free++] = node->memory[i];
    socket_open(node, at);
    const struct ls_replica_config config = {
        .cluster = NODE_CLUSTER,
        .generation = 1,
        .node = 1,
        .incarnation = 1,
        .keys_max = 10000,
        .bytes_max = 16 << 20,
        .session_idle_ns = session_idle_ns,
        .sessions_max = sessions,
        .window = LS_WINDOW_DEFAULT,
        .op_max = LS_OP_MAX_DEFAULT,
    };
    const struct ls_executor_config executor = {.cluster = NODE_CLUSTER,
                                                .generation = 1,
                                                .node = 1,
                                                .incarnation = 1,
                                                .sessions_max = sessions,
                                                .window = LS_WINDOW_MAX};
    const struct ls_machine_limits limits = {.keys = config.keys_max, .bytes = config.bytes_max};
    assert_int_equal(ls_log_init(&node->log, 8 << 20), 0);
    assert_int_equal(ls_seam_init(&node->seam, sessions), 0);
    node->machine = ls_kv.create(&limits, &node->grace);
    assert_non_null(node->machine);
    node->replica = ls_replica_create(&config, &node->log, &node->seam, &node->io, &ls_kv, node->machine, &node->page,
                                      &node->counters);
    node->executor = ls_executor_create(&executor, &node->log, &node->seam, &node->io, &ls_kv, node->machine,
                                        &node->page, &node->counters);
    assert_non_null(node->replica);
    const struct ls_order found = {
        .kind = LS_ORDER_FOUND,
        .members = {.count = 1, .member = {{.node = 1, .role = LS_MEMBER_VOTER, .addr = node->addr}}}};
    assert_true(ls_spsc_push(&node->seam.orders, &found));
    assert_non_null(node->executor);
    order(node, LS_ORDER_SEAL);
    order(node, LS_ORDER_INSTALL);
    assert_int_equal(pthread_create(&node->thread, NULL, run, node), 0);
    return node;
}

struct node *node_start(uint32_t lose, uint32_t sessions, uint64_t session_idle_ns)
{
    return node_start_at((struct ls_addr){0, 0}, lose, sessions, session_idle_ns);
}

void node_stop(struct node *node)
{
    atomic_store(&node->stop, true);
    assert_int_equal(pthread_join(node->thread, NULL), 0);
    ls_executor_destroy(node->executor);
    ls_replica_destroy(node->replica);
    ls_kv.destroy(node->machine);
    ls_seam_free(&node->seam);
    ls_log_free(&node->log);
    close(node->fd);
    free(node);
}

void node_mute(struct node *node, bool mute)
{
    atomic_store(&node->mute, mute);
}

struct ls_addr node_addr(const struct node *node)
{
    return node->addr;
}

struct ls_client_options node_options(const struct node *node)
{
    return (struct ls_client_options){
        .cluster = NODE_CLUSTER, .generation = 1, .nodes = 1, .node = {node->addr}, .timeout_ns = 20000000000ull};
}
