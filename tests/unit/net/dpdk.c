/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of dataplane/net/dpdk.c: in a network namespace of its own, two veth pairs; on one end of each DPDK's
 * af_packet driver and our port, on the other the kernel with its sockets. Needs root; exits with 77 (skipped) without.
 * The first port takes the unfinished UDP checksums that kernel sockets leave on veth, the second does not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <rte_eal.h>
#include <rte_errno.h>

#include "dpdk.h"

#define SKIPPED   77
#define SECOND    1000000000ull
#define PORT      7400
#define KERNEL_IP 0x0a4d0001u /* 10.77.0.1; the second pair: 10.78.0.x */
#define OWN_IP    0x0a4d0002u
#define NEXT_NET  0x00010000u
#define BUFFERS   3000

static struct ls_dpdk_port *dpdk[2];
static struct ls_port *port[2];
static struct ls_counters counters[2];
static int udp[2]; /* kernel sockets */
static struct sockaddr_in own[2];

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static uint64_t count(int which, enum ls_counter counter)
{
    return ls_counter_get(&counters[which], counter);
}

static struct ls_dpdk_port_config config_of(int which)
{
    return (struct ls_dpdk_port_config){
        .device = which == 0 ? "net_af_packet0" : "net_af_packet1",
        .addr = {OWN_IP + NEXT_NET * (uint32_t)which, PORT},
        .prefix = 24,
        .accept_partial_checksum = which == 0,
        .buffers = BUFFERS,
    };
}

/* One loop turn without interest in what comes. */
static void turn(int which)
{
    struct ls_frame frames[LS_BURST];
    uint32_t n = port[which]->receive(port[which], frames, LS_BURST, now_ns());
    port[which]->done(port[which], frames, n);
    port[which]->flush(port[which], now_ns());
}

/* Turns until one frame came, whose bytes are copied out; 0: none within two seconds. */
static uint32_t receive_one(int which, uint8_t *bytes, struct ls_addr *peer)
{
    struct ls_frame frame;
    for (uint64_t end = now_ns() + 2 * SECOND; now_ns() < end; sched_yield()) {
        uint32_t length = 0, n = port[which]->receive(port[which], &frame, 1, now_ns());
        if (n == 1) {
            length = frame.length;
            memcpy(bytes, frame.data, length);
            *peer = frame.peer;
            port[which]->done(port[which], &frame, 1);
        }
        port[which]->flush(port[which], now_ns());
        if (n == 1)
            return length;
    }
    return 0;
}

static void send_bytes(int which, const void *bytes, uint32_t length, struct ls_addr to)
{
    struct ls_io *io = &port[which]->io;
    struct ls_frame frame;
    assert_true(io->alloc(io, &frame));
    memcpy(frame.data, bytes, length);
    frame.length = length;
    frame.peer = to;
    io->send(io, &frame);
}

/* Turns until the kernel's socket has something; its length, or -1. */
static ssize_t kernel_receive(int which, int fd, void *bytes, size_t room)
{
    for (uint64_t end = now_ns() + 2 * SECOND; now_ns() < end; sched_yield()) {
        ssize_t n = recv(fd, bytes, room, MSG_DONTWAIT);
        if (n >= 0 || errno != EAGAIN)
            return n;
        turn(which);
    }
    return -1;
}

static void kernel_send(int which, const void *bytes, size_t n)
{
    ssize_t sent = sendto(udp[which], bytes, n, 0, (struct sockaddr *)&own[which], sizeof(own[which]));
    assert_int_equal(sent, n);
}

/* The first word to somebody unknown: dropped, asked for, and right the next time. */
static void test_resolving(void **state)
{
    struct ls_addr to = {KERNEL_IP, 9000};
    char got[64];

    send_bytes(0, "first", 5, to);
    assert_int_equal(count(0, LS_COUNT_arp_unresolved), 1);
    port[0]->flush(port[0], now_ns());
    for (uint64_t end = now_ns() + 2 * SECOND; count(0, LS_COUNT_arp_in) == 0 && now_ns() < end; sched_yield())
        turn(0);
    assert_true(count(0, LS_COUNT_arp_in) > 0);
    send_bytes(0, "second", 6, to);
    assert_int_equal(kernel_receive(0, udp[0], got, sizeof(got)), 6);
    assert_memory_equal(got, "second", 6);
    assert_int_equal(count(0, LS_COUNT_arp_unresolved), 1);
    assert_int_equal(count(0, LS_COUNT_frames_out), 1);
    assert_int_equal(count(0, LS_COUNT_bytes_out), 6);
}

static void test_every_length(void **state)
{
    static uint8_t bytes[LS_FRAME_MAX], got[LS_FRAME_MAX + 100];
    struct ls_addr peer;

    for (uint32_t length = 1; length <= LS_FRAME_MAX; length += length < 64 ? 1 : 64) {
        for (uint32_t i = 0; i < length; i++)
            bytes[i] = (uint8_t)(i * 3 + length);
        kernel_send(0, bytes, length);
        assert_int_equal(receive_one(0, got, &peer), length);
        assert_memory_equal(got, bytes, length);
        assert_int_equal(peer.ip, KERNEL_IP);
        assert_int_equal(peer.port, 9000);
        send_bytes(0, bytes, length, peer);
        assert_int_equal(kernel_receive(0, udp[0], got, sizeof(got)), length);
        assert_memory_equal(got, bytes, length);
    }
    assert_int_equal(count(0, LS_COUNT_ip_checksum), 0);
}

/* On the other port an unfinished checksum is damage: this is what a kernel peer over veth looks like. What we send
 * there is whole. */
static void test_strict_checksums(void **state)
{
    uint8_t got[100];
    struct ls_addr peer;
    int on = 1;

    kernel_send(1, "unfinished", 10);
    for (uint64_t end = now_ns() + 2 * SECOND; count(1, LS_COUNT_ip_checksum) == 0 && now_ns() < end; sched_yield())
        turn(1);
    assert_int_equal(count(1, LS_COUNT_ip_checksum), 1);
    /* without a checksum, the kernel's socket is understood */
    assert_int_equal(setsockopt(udp[1], SOL_SOCKET, SO_NO_CHECK, &on, sizeof(on)), 0);
    kernel_send(1, "none", 4);
    assert_int_equal(receive_one(1, got, &peer), 4);
    assert_int_equal(peer.ip, KERNEL_IP + NEXT_NET);
    send_bytes(1, "whole", 5, peer);
    assert_int_equal(kernel_receive(1, udp[1], got, sizeof(got)), 5);
}

static uint16_t icmp_sum(const uint8_t *at, size_t n)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i += 2)
        sum += (uint32_t)at[i] << 8 | at[i + 1];
    sum = (sum & 0xffff) + (sum >> 16);
    return htons((uint16_t) ~(sum + (sum >> 16)));
}

static void test_ping(void **state)
{
    uint8_t echo[64] = {ICMP_ECHO, 0, 0, 0, 0x12, 0x34, 0, 1}, got[200];
    int raw = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
    uint64_t before = count(0, LS_COUNT_icmp_echo);

    assert_true(raw >= 0);
    for (int i = 8; i < 64; i++)
        echo[i] = (uint8_t)i;
    uint16_t sum = icmp_sum(echo, sizeof(echo));
    memcpy(echo + 2, &sum, 2);
    assert_int_equal(sendto(raw, echo, sizeof(echo), 0, (struct sockaddr *)&own[0], sizeof(own[0])), sizeof(echo));
    assert_int_equal(kernel_receive(0, raw, got, sizeof(got)), 20 + sizeof(echo));
    assert_int_equal(got[20], ICMP_ECHOREPLY);
    assert_memory_equal(got + 24, echo + 4, sizeof(echo) - 4);
    assert_int_equal(count(0, LS_COUNT_icmp_echo), before + 1);
    close(raw);
}

static void test_bursts(void **state)
{
    struct ls_frame frames[LS_BURST];
    struct ls_addr peer = {KERNEL_IP, 9000};
    uint32_t value, next = 0, returned = 0;
    uint64_t before = count(0, LS_COUNT_frames_out);

    for (uint32_t round = 0; round < 100; round++) {
        for (uint32_t i = 0; i < 50; i++) {
            value = round * 50 + i;
            kernel_send(0, &value, 4);
        }
        for (uint64_t end = now_ns() + 2 * SECOND; next < (round + 1) * 50 && now_ns() < end; sched_yield()) {
            uint32_t n = port[0]->receive(port[0], frames, LS_BURST, now_ns());
            for (uint32_t i = 0; i < n; i++) {
                memcpy(&value, frames[i].data, 4);
                assert_int_equal(value, next++);
                send_bytes(0, &value, 4, peer);
            }
            port[0]->done(port[0], frames, n);
            port[0]->flush(port[0], now_ns());
        }
        for (; returned < next; returned++) {
            assert_int_equal(kernel_receive(0, udp[0], &value, 4), 4);
            assert_int_equal(value, returned);
        }
    }
    assert_int_equal(returned, 5000);
    assert_int_equal(count(0, LS_COUNT_frames_out), before + 5000);
    assert_int_equal(count(0, LS_COUNT_drop_tx_full), 0);
}

static void test_sleeping(void **state)
{
    struct pollfd wait = {.fd = ls_dpdk_port_wait_fd(dpdk[0]), .events = POLLIN};
    uint8_t got[100];
    struct ls_addr peer;

    assert_true(wait.fd >= 0);
    assert_true(ls_dpdk_port_wait_fd(dpdk[1]) >= 0);
    assert_int_not_equal(wait.fd, ls_dpdk_port_wait_fd(dpdk[1]));
    for (int i = 0; i < 100; i++)
        turn(0);
    kernel_send(0, "wake", 4);
    assert_int_equal(poll(&wait, 1, 2000), 1);
    assert_int_equal(receive_one(0, got, &peer), 4);
    /* the second port's traffic is not reported here */
    for (int i = 0; i < 100; i++)
        turn(0);
    kernel_send(1, "other", 5);
    assert_int_equal(receive_one(1, got, &peer), 5);
    assert_int_equal(poll(&wait, 1, 0), 0);
}

static void test_exhaustion(void **state)
{
    static struct ls_frame frames[BUFFERS + 1];
    struct ls_io *io[2] = {&port[0]->io, ls_dpdk_port_apply_io(dpdk[0])};
    uint32_t taken = 0, free_buffers, total;

    ls_dpdk_port_buffers(dpdk[0], &free_buffers, &total);
    assert_int_equal(total, BUFFERS);
    while (taken <= BUFFERS && io[taken % 2]->alloc(io[taken % 2], &frames[taken]))
        taken++;
    assert_int_equal(taken, free_buffers);
    ls_dpdk_port_buffers(dpdk[0], &free_buffers, &total);
    assert_int_equal(free_buffers, 0);
    kernel_send(0, "lost", 4); /* comes while there is no buffer: nothing breaks */
    turn(0);
    for (uint32_t i = 0; i < taken; i++) {
        memset(frames[i].data, 0xa5, LS_FRAME_MAX);
        assert_int_equal((uintptr_t)frames[i].data % 64, 0);
        io[i % 2]->release(io[i % 2], &frames[i]);
    }
    ls_dpdk_port_buffers(dpdk[0], &free_buffers, &total);
    assert_int_equal(free_buffers, taken);
    turn(0);
}

static void test_facts(void **state)
{
    struct ls_dpdk_link link;
    struct ls_dpdk_facts facts;
    struct ls_dpdk_losses losses;

    ls_dpdk_port_link(dpdk[0], &link);
    assert_true(link.is_up);
    ls_dpdk_port_facts(dpdk[0], &facts);
    assert_string_equal(facts.driver, "net_af_packet");
    assert_int_equal(facts.mtu, 1500);
    assert_int_equal(ls_dpdk_port_losses(dpdk[0], &losses), 0);
}

static void refused(struct ls_dpdk_port_config config, const char *says)
{
    struct ls_dpdk_port *none;
    char error[400];

    assert_true(ls_dpdk_port_create(&config, &counters[0], &none, error, sizeof(error)) < 0);
    assert_null(none);
    if (strstr(error, says) == NULL)
        print_error("\"%s\" does not say \"%s\"\n", error, says);
    assert_non_null(strstr(error, says));
}

static void test_errors(void **state)
{
    struct ls_dpdk_port_config config = config_of(0);

    config.device = "net_af_packet7";
    refused(config, "has: net_af_packet0, net_af_packet1");
    config.device = "03:00.1";
    refused(config, "device 0000:03:00.1");
    config.device = "";
    refused(config, "device name");
    config = config_of(0);
    config.mtu = 1280;
    refused(config, "MTU 1280: allowed are 1500 to 9000");
    config = config_of(0);
    config.rx_descriptors = 100000;
    refused(config, "descriptors");
    /* a device that is in use stays in use */
    refused(config_of(0), "cannot be configured");
    test_ping(state);
}

/* The last one: afterwards every buffer is back. */
static void test_stop(void **state)
{
    uint32_t free_buffers, total;

    for (int i = 0; i < 2; i++) {
        send_bytes(i, "not flushed", 11, (struct ls_addr){KERNEL_IP + NEXT_NET * (uint32_t)i, 9000});
        ls_dpdk_port_stop(dpdk[i]);
        ls_dpdk_port_buffers(dpdk[i], &free_buffers, &total);
        assert_int_equal(free_buffers, total);
    }
}

/* ---- the stage ---- */

static void shell(const char *command)
{
    if (system(command) != 0) {
        fprintf(stderr, "skipped: \"%s\" failed\n", command);
        exit(SKIPPED);
    }
}

static void make_network(void)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0) {
        fprintf(stderr, "skipped: needs root, to make network interfaces in a namespace of its own\n");
        exit(SKIPPED);
    }
    shell("ip link set lo up");
    for (int i = 0; i < 2; i++) {
        char command[300];
        snprintf(command, sizeof(command),
                 "ip link add lskernel%d type veth peer name lsport%d && ip addr add 10.%d.0.1/24 dev lskernel%d && "
                 "ip link set lskernel%d up && ip link set lsport%d up",
                 i, i, 77 + i, i, i, i);
        shell(command);
    }
}

static void start_eal(void)
{
    char *args[] = {"test-net-dpdk",
                    "--lcores=0@0",
                    "--no-huge",
                    "-m",
                    "64",
                    "--no-shconf",
                    "--no-pci",
                    "--no-telemetry",
                    "--log-level=error",
                    "--vdev=net_af_packet0,iface=lsport0,qdisc_bypass=1",
                    "--vdev=net_af_packet1,iface=lsport1,qdisc_bypass=1"};
    if (rte_eal_init(sizeof(args) / sizeof(args[0]), args) < 0) {
        fprintf(stderr, "EAL: %s\n", rte_strerror(rte_errno));
        exit(1);
    }
}

static int open_all(void **state)
{
    char error[400];

    for (int i = 0; i < 2; i++) {
        struct ls_dpdk_port_config config = config_of(i);
        int rc = ls_dpdk_port_create(&config, &counters[i], &dpdk[i], error, sizeof(error));
        if (rc != 0)
            print_error("port %d: %s\n", i, error);
        assert_int_equal(rc, 0);
        port[i] = ls_dpdk_port_port(dpdk[i]);
        own[i] = (struct sockaddr_in){
            .sin_family = AF_INET, .sin_addr.s_addr = htonl(config.addr.ip), .sin_port = htons(PORT)};
        struct sockaddr_in kernel = own[i];
        kernel.sin_addr.s_addr = htonl(KERNEL_IP + NEXT_NET * (uint32_t)i);
        kernel.sin_port = htons(9000);
        udp[i] = socket(AF_INET, SOCK_DGRAM, 0);
        assert_true(udp[i] >= 0);
        assert_int_equal(bind(udp[i], (struct sockaddr *)&kernel, sizeof(kernel)), 0);
    }
    return 0;
}

static int close_all(void **state)
{
    for (int i = 0; i < 2; i++) {
        ls_dpdk_port_destroy(dpdk[i]);
        close(udp[i]);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resolving),  cmocka_unit_test(test_every_length), cmocka_unit_test(test_strict_checksums),
        cmocka_unit_test(test_ping),       cmocka_unit_test(test_bursts),       cmocka_unit_test(test_sleeping),
        cmocka_unit_test(test_exhaustion), cmocka_unit_test(test_facts),        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_stop),
    };
    make_network();
    start_eal();
    int failed = cmocka_run_group_tests(tests, open_all, close_all);
    rte_eal_cleanup();
    return failed;
}
