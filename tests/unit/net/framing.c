/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of dataplane/net/framing.c: packets built by hand here, byte by byte, against what the port makes of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "framing.h"

#define MS           1000000ull
#define SECOND       (1000 * MS)
#define OWN_IP       0x0a4d0002u /* 10.77.0.2 */
#define PEER_IP      0x0a4d0001u
#define GATEWAY_IP   0x0a4d00feu
#define OUTSIDE_IP   0xc0a80105u
#define PORT         7400
#define PEER_PORT    40000
#define PACKET_MAX   1600
#define PAYLOAD_TEXT "lockstep payload of odd length."

static const uint8_t own_mac[6] = {0x52, 0x54, 0, 0, 0, 2};
static const uint8_t peer_mac[6] = {0x52, 0x54, 0, 0, 0, 1};
static const uint8_t other_mac[6] = {0x52, 0x54, 0, 0, 0, 9};
static const uint8_t broadcast[6] = {255, 255, 255, 255, 255, 255};

static struct ls_framing f;
static struct ls_counters counters;
static struct ls_frame frame;
static uint32_t answer;
static uint8_t packet[PACKET_MAX];
static char error[256];

static uint64_t count(enum ls_counter which)
{
    return ls_counter_get(&counters, which);
}

static uint64_t count_all(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < LS_COUNTERS; i++)
        sum += count(i);
    return sum;
}

static struct ls_framing_config config_of(void)
{
    struct ls_framing_config config = {.addr = {OWN_IP, PORT}, .gateway = GATEWAY_IP, .prefix = 24};
    memcpy(config.mac, own_mac, 6);
    return config;
}

static void init(const struct ls_framing_config *config)
{
    memset(&counters, 0, sizeof(counters));
    assert_int_equal(ls_framing_init(&f, config, &counters, error, sizeof(error)), 0);
    f.announcements = 0;
}

static int setup(void **state)
{
    struct ls_framing_config config = config_of();
    init(&config);
    return 0;
}

/* ---- an independent, slow builder ---- */

static void be16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void be32(uint8_t *at, uint32_t value)
{
    be16(at, value >> 16);
    be16(at + 2, value & 0xffff);
}

/* RFC 1071 as written there: big-endian words, one after the other. */
static uint32_t add_words(uint32_t sum, const uint8_t *at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sum += i % 2 == 0 ? (uint32_t)at[i] << 8 : at[i];
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

static void sum_ip(uint8_t *ip)
{
    be16(ip + 10, 0);
    be16(ip + 10, ~add_words(0, ip, (ip[0] & 15u) * 4) & 0xffff);
}

static uint32_t sum_of_pseudo(const uint8_t *ip, uint32_t udp_length)
{
    uint8_t pseudo[12] = {0};
    memcpy(pseudo, ip + 12, 8);
    pseudo[9] = 17;
    be16(pseudo + 10, udp_length);
    return add_words(0, pseudo, sizeof(pseudo));
}

static void sum_udp(uint8_t *ip)
{
    uint8_t *udp = ip + (ip[0] & 15u) * 4;
    uint32_t length = (uint32_t)udp[4] << 8 | udp[5];
    be16(udp + 6, 0);
    uint32_t sum = ~add_words(sum_of_pseudo(ip, length), udp, length) & 0xffff;
    be16(udp + 6, sum != 0 ? sum : 0xffff);
}

static uint32_t build_ip(uint32_t from, uint8_t protocol, uint32_t options, uint32_t body)
{
    uint8_t *ip = packet + 14;
    memset(packet, 0, sizeof(packet));
    memcpy(packet, own_mac, 6);
    memcpy(packet + 6, peer_mac, 6);
    be16(packet + 12, 0x0800);
    ip[0] = (uint8_t)(0x45 + options / 4);
    be16(ip + 2, 20 + options + body);
    ip[8] = 64;
    ip[9] = protocol;
    be32(ip + 12, from);
    be32(ip + 16, OWN_IP);
    memset(ip + 20, 1, options); /* no-operation */
    sum_ip(ip);
    return 14 + 20 + options + body;
}

static uint32_t build_udp(uint32_t from, uint32_t options, const void *payload, uint32_t length)
{
    uint32_t total = build_ip(from, 17, options, 8 + length);
    uint8_t *udp = packet + 34 + options;
    be16(udp, PEER_PORT);
    be16(udp + 2, PORT);
    be16(udp + 4, 8 + length);
    memcpy(udp + 8, payload, length);
    sum_udp(packet + 14);
    return total;
}

static uint32_t build_arp(unsigned operation, const uint8_t *mac, uint32_t sender, uint32_t target)
{
    uint8_t *arp = packet + 14;
    memset(packet, 0, sizeof(packet));
    memcpy(packet, operation == 1 ? broadcast : own_mac, 6);
    memcpy(packet + 6, mac, 6);
    be16(packet + 12, 0x0806);
    be16(arp, 1);
    be16(arp + 2, 0x0800);
    arp[4] = 6;
    arp[5] = 4;
    be16(arp + 6, operation);
    memcpy(arp + 8, mac, 6);
    be32(arp + 14, sender);
    be32(arp + 24, target);
    return 60;
}

static enum ls_framing_verdict in(uint32_t length, uint64_t now_ns)
{
    return ls_framing_in(&f, packet, length, 0, now_ns, &frame, &answer);
}

/* The packet is refused, and only `which` says so. */
static void refused(uint32_t length, enum ls_counter which)
{
    uint64_t all = count_all(), one = count(which);
    assert_int_equal(in(length, SECOND), LS_FRAMING_NOTHING);
    assert_int_equal(count(which), one + 1);
    assert_int_equal(count_all(), all + 1);
}

static uint32_t build_text(void)
{
    return build_udp(PEER_IP, 0, PAYLOAD_TEXT, sizeof(PAYLOAD_TEXT));
}

/* ---- receiving ---- */

static void test_datagram(void **state)
{
    assert_int_equal(in(build_text(), SECOND), LS_FRAMING_DATAGRAM);
    assert_int_equal(frame.length, sizeof(PAYLOAD_TEXT));
    assert_string_equal((const char *)frame.data, PAYLOAD_TEXT);
    assert_int_equal(frame.peer.ip, PEER_IP);
    assert_int_equal(frame.peer.port, PEER_PORT);
    assert_int_equal(count_all(), 0);

    /* trailing bytes, as Ethernet pads short packets; IPv4 options; all lengths of payload */
    assert_int_equal(in(build_udp(PEER_IP, 0, "x", 1) + 17, SECOND), LS_FRAMING_DATAGRAM);
    assert_int_equal(frame.length, 1);
    assert_int_equal(in(build_udp(PEER_IP, 40, PAYLOAD_TEXT, 31), SECOND), LS_FRAMING_DATAGRAM);
    assert_int_equal(frame.length, 31);
    assert_memory_equal(frame.data, PAYLOAD_TEXT, 31);
    uint8_t payload[LS_FRAME_MAX];
    for (uint32_t length = 0; length <= LS_FRAME_MAX; length++) {
        for (uint32_t i = 0; i < length; i++)
            payload[i] = (uint8_t)(i * 7 + length);
        assert_int_equal(in(build_udp(PEER_IP, 0, payload, length), SECOND), LS_FRAMING_DATAGRAM);
        assert_int_equal(frame.length, length);
        assert_memory_equal(frame.data, payload, length);
    }
    assert_int_equal(count_all(), 0);
}

/* RFC 1071's own example, a header whose sum is printed in textbooks, and all lengths against the slow builder. */
static void test_known_sums(void **state)
{
    static const uint8_t rfc[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    static const uint8_t expected[2] = {0xdd, 0xf2};
    uint16_t sum = ls_internet_sum(0, rfc, sizeof(rfc));
    assert_memory_equal(&sum, expected, 2);

    /* an IPv4 header that is often printed: 0xb861 makes it whole */
    static const uint8_t header[20] = {0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11,
                                       0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7};
    assert_int_equal(ls_internet_sum(0, header, sizeof(header)), 0xffff);

    /* every length and alignment against the slow one */
    uint8_t bytes[300];
    for (uint32_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 131 + 7);
    for (uint32_t from = 0; from < 16; from++) {
        for (uint32_t n = 0; n + from <= sizeof(bytes); n++) {
            uint8_t slow[2];
            be16(slow, add_words(0, bytes + from, n));
            sum = ls_internet_sum(0, bytes + from, n);
            assert_memory_equal(&sum, slow, 2);
        }
    }
}

static void test_checksums(void **state)
{
    struct ls_framing_config config = config_of();
    uint32_t length = build_text();

    packet[50] ^= 4;
    refused(length, LS_COUNT_ip_checksum);
    assert_int_equal(ls_framing_in(&f, packet, length, LS_FRAMING_UDP_VERIFIED, SECOND, &frame, &answer),
                     LS_FRAMING_DATAGRAM); /* the device's word counts */
    build_text();
    packet[14 + 8] = 63; /* time to live, without the sum */
    refused(length, LS_COUNT_ip_checksum);
    assert_int_equal(ls_framing_in(&f, packet, length, LS_FRAMING_IP_VERIFIED, SECOND, &frame, &answer),
                     LS_FRAMING_DATAGRAM);
    /* no checksum */
    build_text();
    packet[50] ^= 4;
    be16(packet + 40, 0);
    assert_int_equal(in(length, SECOND), LS_FRAMING_DATAGRAM);

    /* unfinished checksum: only where it is allowed, and only the very one */
    build_text();
    be16(packet + 40, sum_of_pseudo(packet + 14, 8 + sizeof(PAYLOAD_TEXT)));
    refused(length, LS_COUNT_ip_checksum);
    config.accept_partial_checksum = true;
    init(&config);
    assert_int_equal(in(length, SECOND), LS_FRAMING_DATAGRAM);
    packet[41] ^= 1;
    refused(length, LS_COUNT_ip_checksum);
    assert_int_equal(in(build_text(), SECOND), LS_FRAMING_DATAGRAM);
}

static void test_refused_ethernet(void **state)
{
    uint32_t length = build_text();

    for (uint32_t n = 0; n < 14; n++)
        refused(n, LS_COUNT_eth_bad);
    packet[5] ^= 1;
    refused(length, LS_COUNT_eth_not_ours);
    build_text();
    memcpy(packet, broadcast, 6);
    refused(length, LS_COUNT_eth_not_ours); /* IPv4 to everybody is not for us */
    build_text();
    memcpy(packet + 6, own_mac, 6);
    refused(length, LS_COUNT_eth_not_ours);
    build_text();
    packet[6] |= 1;
    refused(length, LS_COUNT_eth_bad);
    build_text();
    memset(packet + 6, 0, 6);
    refused(length, LS_COUNT_eth_bad);
    build_text();
    be16(packet + 12, 0x86dd);
    refused(length, LS_COUNT_ip_other);
    be16(packet + 12, 0x8100);
    refused(length, LS_COUNT_ip_other);
    be16(packet + 12, 46);
    refused(length, LS_COUNT_ip_other);
}

static void test_refused_ip(void **state)
{
    uint32_t length = build_text();
    uint8_t *ip = packet + 14;

    for (uint32_t n = 14; n < length; n++) {
        build_text();
        refused(n, LS_COUNT_eth_bad);
    }
    build_text();
    ip[0] = 0x65;
    refused(length, LS_COUNT_eth_bad);
    ip[0] = 0x44;
    refused(length, LS_COUNT_eth_bad);
    build_text();
    be16(ip + 2, 19);
    sum_ip(ip);
    refused(length, LS_COUNT_eth_bad);
    build_text();
    be32(ip + 16, OWN_IP + 1);
    sum_ip(ip);
    refused(length, LS_COUNT_eth_not_ours);

    static const uint32_t senders[] = {0,          0x00010203, 0x7f000001, 0xe0000001,
                                       0xffffffff, OWN_IP,     0x0a4d00ff, 0x0a4d0000};
    for (unsigned i = 0; i < sizeof(senders) / sizeof(senders[0]); i++) {
        build_udp(senders[i], 0, PAYLOAD_TEXT, sizeof(PAYLOAD_TEXT));
        refused(length, LS_COUNT_eth_bad);
    }
    build_text();
    be16(ip + 6, 0x2000);
    sum_ip(ip);
    refused(length, LS_COUNT_ip_fragment);
    be16(ip + 6, 0x0003);
    sum_ip(ip);
    refused(length, LS_COUNT_ip_fragment);
    be16(ip + 6, 0x4000);
    sum_ip(ip);
    assert_int_equal(in(length, SECOND), LS_FRAMING_DATAGRAM);
    build_ip(PEER_IP, 6, 0, 20);
    refused(54, LS_COUNT_ip_other);
}

static void test_refused_udp(void **state)
{
    uint32_t length = build_text();
    uint8_t *udp = packet + 34;

    be16(udp + 2, PORT + 1);
    sum_udp(packet + 14);
    refused(length, LS_COUNT_udp_other_port);
    build_text();
    be16(udp, 0);
    sum_udp(packet + 14);
    refused(length, LS_COUNT_eth_bad);
    build_text();
    be16(udp + 4, 7);
    refused(length, LS_COUNT_eth_bad);
    be16(udp + 4, 8 + sizeof(PAYLOAD_TEXT) + 1);
    refused(length, LS_COUNT_eth_bad);
    build_ip(PEER_IP, 17, 0, 7);
    refused(14 + 27, LS_COUNT_eth_bad);
    /* shorter than the IPv4 packet: what follows is nobody's */
    build_text();
    be16(udp + 4, 8 + 3);
    sum_udp(packet + 14);
    assert_int_equal(in(length, SECOND), LS_FRAMING_DATAGRAM);
    assert_int_equal(frame.length, 3);
}

/* ---- ICMP ---- */

static uint32_t build_echo(uint32_t body)
{
    uint32_t length = build_ip(PEER_IP, 1, 0, 8 + body);
    uint8_t *icmp = packet + 34;
    icmp[0] = 8;
    be16(icmp + 4, 0x1234);
    be16(icmp + 6, 7);
    for (uint32_t i = 0; i < body; i++)
        icmp[8 + i] = (uint8_t)i;
    be16(icmp + 2, ~add_words(0, icmp, 8 + body) & 0xffff);
    return length;
}

static void test_echo(void **state)
{
    uint8_t *ip = packet + 14, *icmp = packet + 34;

    for (uint32_t body = 0; body <= 1472; body += 23) {
        uint32_t length = build_echo(body);
        assert_int_equal(in(length, SECOND), LS_FRAMING_ANSWER);
        assert_int_equal(answer, length);
        assert_memory_equal(packet, peer_mac, 6);
        assert_memory_equal(packet + 6, own_mac, 6);
        assert_int_equal(add_words(0, ip, 20), 0xffff);
        assert_int_equal(add_words(0, icmp, 8 + body), 0xffff);
        assert_int_equal(icmp[0], 0);
        assert_int_equal(icmp[4] << 8 | icmp[5], 0x1234);
        uint8_t peer[4], own[4];
        be32(peer, PEER_IP);
        be32(own, OWN_IP);
        assert_memory_equal(ip + 12, own, 4);
        assert_memory_equal(ip + 16, peer, 4);
        for (uint32_t i = 0; i < body; i++)
            assert_int_equal(icmp[8 + i], (uint8_t)i);
    }
    assert_int_equal(count(LS_COUNT_icmp_echo), count_all());
    uint8_t mac[6];
    assert_true(ls_framing_lookup(&f, PEER_IP, SECOND, mac));

    /* what lay behind a short packet is not sent back */
    uint32_t length = build_echo(2);
    memset(packet + length, 0xaa, 40);
    assert_int_equal(in(length + 40, SECOND), LS_FRAMING_ANSWER);
    assert_int_equal(answer, 60);
    for (uint32_t i = length; i < 60; i++)
        assert_int_equal(packet[i], 0);

    length = build_echo(30);
    icmp[20] ^= 1;
    refused(length, LS_COUNT_ip_checksum);
    build_echo(30);
    icmp[0] = 0; /* a reply: not asked for */
    be16(icmp + 2, 0);
    be16(icmp + 2, ~add_words(0, icmp, 38) & 0xffff);
    refused(length, LS_COUNT_ip_other);
    build_ip(PEER_IP, 1, 0, 7);
    refused(14 + 27, LS_COUNT_eth_bad);
    build_ip(PEER_IP, 1, 4, 8);
    refused(14 + 32, LS_COUNT_ip_other);
}

/* ---- ARP and neighbours ---- */

static uint32_t out(uint32_t to, uint64_t now_ns)
{
    memset(packet, 0xee, sizeof(packet));
    memcpy(packet + 42, PAYLOAD_TEXT, sizeof(PAYLOAD_TEXT));
    return ls_framing_out(&f, packet + 42, sizeof(PAYLOAD_TEXT), (struct ls_addr){to, PEER_PORT}, now_ns);
}

/* The next own packet asks for `target`; 0: there is none. */
static void own_asks(uint32_t target, uint64_t now_ns)
{
    uint8_t own[LS_FRAMING_OWN_MAX], expected[LS_FRAMING_OWN_MAX];
    uint32_t length = ls_framing_own(&f, own, now_ns);
    if (target == 0) {
        assert_int_equal(length, 0);
        assert_false(ls_framing_has_own(&f, now_ns));
        return;
    }
    assert_int_equal(length, 60);
    build_arp(1, own_mac, OWN_IP, target);
    memcpy(expected, packet, sizeof(expected));
    assert_memory_equal(own, expected, sizeof(expected));
}

static void test_out(void **state)
{
    uint8_t payload[1480];

    in(build_text(), SECOND);
    for (uint32_t length = 1; length <= LS_FRAME_MAX; length++) {
        for (uint32_t i = 0; i < length; i++)
            packet[42 + i] = payload[i] = (uint8_t)(i ^ length);
        uint32_t total = ls_framing_out(&f, packet + 42, length, (struct ls_addr){PEER_IP, PEER_PORT}, SECOND);
        uint8_t *ip = packet + 14, *udp = packet + 34, field[4];
        assert_int_equal(total, 42 + length);
        assert_memory_equal(packet, peer_mac, 6);
        assert_memory_equal(packet + 6, own_mac, 6);
        be32(field, 0x08004500);
        assert_memory_equal(packet + 12, field, 4);
        be16(field, 28 + length);
        assert_memory_equal(ip + 2, field, 2);
        be32(field, 0x40004011); /* not to be fragmented, 64 hops, UDP */
        assert_memory_equal(ip + 6, field, 4);
        assert_int_equal(add_words(0, ip, 20), 0xffff);
        be32(field, OWN_IP);
        assert_memory_equal(ip + 12, field, 4);
        be32(field, PEER_IP);
        assert_memory_equal(ip + 16, field, 4);
        be32(field, (uint32_t)PORT << 16 | PEER_PORT);
        assert_memory_equal(udp, field, 4);
        be16(field, 8 + length);
        assert_memory_equal(udp + 4, field, 2);
        assert_int_equal(add_words(sum_of_pseudo(ip, 8 + length), udp, 8 + length), 0xffff);
        assert_true(udp[6] != 0 || udp[7] != 0);
        assert_memory_equal(udp + 8, payload, length);
    }
    /* a payload whose sum comes out as 0 must not be sent as "no checksum" */
    uint32_t found = 0;
    for (uint32_t value = 0; value < 65536; value++) {
        be16(packet + 42, value);
        ls_framing_out(&f, packet + 42, 2, (struct ls_addr){PEER_IP, PEER_PORT}, SECOND);
        assert_true(packet[40] != 0 || packet[41] != 0);
        found += packet[40] == 0xff && packet[41] == 0xff;
    }
    assert_true(found > 0);

    struct ls_framing_config config = config_of();
    config.device_sums_udp = true;
    init(&config);
    in(build_text(), SECOND);
    out(PEER_IP, SECOND);
    uint8_t pseudo[2];
    be16(pseudo, sum_of_pseudo(packet + 14, 8 + sizeof(PAYLOAD_TEXT)));
    assert_memory_equal(packet + 40, pseudo, 2);
}

static void test_resolving(void **state)
{
    uint8_t mac[6];

    /* dropped and asked for, paced: 10, 20, 40, ... ms up to a second */
    assert_int_equal(out(PEER_IP, SECOND), 0);
    assert_int_equal(count(LS_COUNT_arp_unresolved), 1);
    own_asks(PEER_IP, SECOND);
    own_asks(0, SECOND);
    uint64_t now = SECOND, asked = 1;
    for (; now < 11 * SECOND; now += MS) {
        assert_int_equal(out(PEER_IP, now), 0);
        if (ls_framing_has_own(&f, now)) {
            own_asks(PEER_IP, now);
            asked++;
        }
    }
    assert_in_range(asked, 14, 18);
    assert_int_equal(count(LS_COUNT_arp_out), asked);

    /* the reply resolves it */
    assert_int_equal(in(build_arp(2, peer_mac, PEER_IP, OWN_IP), now), LS_FRAMING_NOTHING);
    assert_int_equal(count(LS_COUNT_arp_in), 1);
    assert_true(ls_framing_lookup(&f, PEER_IP, now, mac));
    assert_memory_equal(mac, peer_mac, 6);
    assert_int_equal(out(PEER_IP, now), 42 + sizeof(PAYLOAD_TEXT));
    own_asks(0, now);

    /* half its age later it is asked again, still used; then it is too old */
    uint64_t half = now + LS_NEIGHBOUR_AGE_NS / 2;
    assert_int_not_equal(out(PEER_IP, half + 1), 0);
    own_asks(PEER_IP, half + 1);
    assert_int_not_equal(out(PEER_IP, half + 2), 0);
    own_asks(0, half + 2);
    assert_int_equal(out(PEER_IP, now + LS_NEIGHBOUR_AGE_NS + 1), 0);
    assert_false(ls_framing_lookup(&f, PEER_IP, now + LS_NEIGHBOUR_AGE_NS + 1, mac));

    /* traffic alone keeps one alive */
    now += 2 * LS_NEIGHBOUR_AGE_NS;
    own_asks(PEER_IP, now);
    for (int i = 0; i < 10; i++, now += LS_NEIGHBOUR_AGE_NS / 3) {
        assert_int_equal(in(build_text(), now), LS_FRAMING_DATAGRAM);
        assert_int_not_equal(out(PEER_IP, now), 0);
        own_asks(0, now);
    }
}

static void test_next_hop(void **state)
{
    /* off the subnet: by the gateway, which is resolved under its own address and not learned from routed traffic */
    assert_int_equal(in(build_udp(OUTSIDE_IP, 0, "x", 1), SECOND), LS_FRAMING_DATAGRAM);
    uint8_t mac[6];
    assert_false(ls_framing_lookup(&f, OUTSIDE_IP, SECOND, mac));
    assert_int_equal(out(OUTSIDE_IP, SECOND), 0);
    own_asks(GATEWAY_IP, SECOND);
    in(build_arp(2, other_mac, GATEWAY_IP, OWN_IP), SECOND);
    assert_int_not_equal(out(OUTSIDE_IP, SECOND), 0);
    assert_memory_equal(packet, other_mac, 6);

    /* never to ourselves, nor to everybody */
    assert_int_equal(out(OWN_IP, SECOND), 0);
    assert_int_equal(out(0x0a4d00ff, SECOND), 0);
    assert_int_equal(out(0x0a4d0000, SECOND), 0);
    own_asks(0, SECOND);

    struct ls_framing_config config = config_of();
    config.gateway = 0;
    init(&config);
    assert_int_equal(out(OUTSIDE_IP, SECOND), 0);
    assert_int_equal(count(LS_COUNT_arp_unresolved), 1);
    own_asks(0, SECOND);
}

static void test_arp_request(void **state)
{
    uint8_t field[4], mac[6];

    uint32_t length = build_arp(1, peer_mac, PEER_IP, OWN_IP);
    assert_int_equal(in(length, SECOND), LS_FRAMING_ANSWER);
    assert_int_equal(answer, 60);
    assert_memory_equal(packet, peer_mac, 6);
    assert_memory_equal(packet + 6, own_mac, 6);
    assert_int_equal(packet[14 + 7], 2);
    assert_memory_equal(packet + 22, own_mac, 6);
    be32(field, OWN_IP);
    assert_memory_equal(packet + 28, field, 4);
    assert_memory_equal(packet + 32, peer_mac, 6);
    be32(field, PEER_IP);
    assert_memory_equal(packet + 38, field, 4);
    assert_int_equal(count(LS_COUNT_arp_in), 1);
    assert_int_equal(count(LS_COUNT_arp_out), 1);
    assert_true(ls_framing_lookup(&f, PEER_IP, SECOND, mac));

    build_arp(1, peer_mac, PEER_IP, OWN_IP);
    assert_int_equal(in(42, SECOND), LS_FRAMING_ANSWER);
    assert_int_equal(answer, 42);

    /* for others: no answer, nobody new is learned, a known one's change is */
    assert_int_equal(in(build_arp(1, other_mac, PEER_IP + 4, PEER_IP), SECOND), LS_FRAMING_NOTHING);
    assert_false(ls_framing_lookup(&f, PEER_IP + 4, SECOND, mac));
    assert_int_equal(in(build_arp(1, other_mac, PEER_IP, PEER_IP), SECOND), LS_FRAMING_NOTHING);
    assert_true(ls_framing_lookup(&f, PEER_IP, SECOND, mac));
    assert_memory_equal(mac, other_mac, 6);

    /* a probe for our address (sender 0): answered, not learned; an unasked reply: not learned */
    assert_int_equal(in(build_arp(1, other_mac, 0, OWN_IP), SECOND), LS_FRAMING_ANSWER);
    assert_int_equal(in(build_arp(2, other_mac, PEER_IP + 7, OWN_IP), SECOND), LS_FRAMING_NOTHING);
    assert_false(ls_framing_lookup(&f, PEER_IP + 7, SECOND, mac));
    assert_int_equal(count(LS_COUNT_eth_bad), 0);
}

static void test_arp_refused(void **state)
{
    for (uint32_t n = 14; n < 42; n++) {
        build_arp(1, peer_mac, PEER_IP, OWN_IP);
        refused(n, LS_COUNT_eth_bad);
    }
    for (uint32_t at = 14; at < 22; at++) { /* hardware, protocol, sizes, operation */
        uint32_t length = build_arp(1, peer_mac, PEER_IP, OWN_IP);
        packet[at] ^= 0x10;
        refused(length, LS_COUNT_eth_bad);
    }
    build_arp(1, peer_mac, PEER_IP, OWN_IP);
    packet[22] |= 1; /* a multicast sender */
    refused(60, LS_COUNT_eth_bad);
    build_arp(1, peer_mac, PEER_IP, OWN_IP);
    memset(packet + 22, 0, 6);
    refused(60, LS_COUNT_eth_bad);
    refused(build_arp(1, peer_mac, 0x7f000001, OWN_IP), LS_COUNT_eth_bad);
    refused(build_arp(1, peer_mac, 0x0a4d00ff, OWN_IP), LS_COUNT_eth_bad);
}

static void test_mac_changes(void **state)
{
    uint8_t mac[6];

    assert_int_equal(in(build_text(), SECOND), LS_FRAMING_DATAGRAM);
    /* traffic of another MAC does not turn away one that was heard just now ... */
    uint32_t length = build_text();
    memcpy(packet + 6, other_mac, 6);
    assert_int_equal(in(length, SECOND + 1), LS_FRAMING_DATAGRAM);
    assert_true(ls_framing_lookup(&f, PEER_IP, SECOND + 1, mac));
    assert_memory_equal(mac, peer_mac, 6);
    /* ... does so after a while */
    assert_int_equal(in(length, 3 * SECOND), LS_FRAMING_DATAGRAM);
    assert_true(ls_framing_lookup(&f, PEER_IP, 3 * SECOND, mac));
    assert_memory_equal(mac, other_mac, 6);
    /* ARP does where the old MAC keeps silent: it takes over an address that was in use */
    own_asks(0, 3 * SECOND);
    in(build_arp(1, peer_mac, PEER_IP, OWN_IP), 3 * SECOND);
    assert_true(ls_framing_lookup(&f, PEER_IP, 3 * SECOND, mac));
    assert_memory_equal(mac, other_mac, 6);
    own_asks(PEER_IP, 3 * SECOND);
    assert_int_equal(f.disputes, 1);
    in(build_arp(2, peer_mac, PEER_IP, OWN_IP), 3 * SECOND + MS);
    assert_true(ls_framing_lookup(&f, PEER_IP, 3 * SECOND + 49 * MS, mac));
    assert_memory_equal(mac, other_mac, 6);
    assert_true(ls_framing_lookup(&f, PEER_IP, 3 * SECOND + 50 * MS, mac));
    assert_memory_equal(mac, peer_mac, 6);
    assert_int_not_equal(out(PEER_IP, 3 * SECOND + 50 * MS), 0);
    assert_memory_equal(packet, peer_mac, 6);
    /* and what ARP alone has set gives way to the next datagram */
    length = build_text();
    memcpy(packet + 6, other_mac, 6);
    assert_int_equal(in(length, 3 * SECOND + 51 * MS), LS_FRAMING_DATAGRAM);
    assert_true(ls_framing_lookup(&f, PEER_IP, 3 * SECOND + 51 * MS, mac));
    assert_memory_equal(mac, other_mac, 6);
}

/* Forged ARP packets against a neighbour that is heard every millisecond divert nothing; nor against one that is idle
 * but answers the question. */
static void test_forged_arp(void **state)
{
    uint8_t mac[6];
    uint64_t now = SECOND;

    (void)state;
    assert_int_equal(in(build_text(), now), LS_FRAMING_DATAGRAM);
    for (int ms = 0; ms < 5000; ms++) {
        now += MS;
        if (ms % 900 == 0)
            in(build_arp(2, other_mac, PEER_IP, OWN_IP), now);
        assert_true(ls_framing_lookup(&f, PEER_IP, now, mac));
        assert_memory_equal(mac, peer_mac, 6);
        assert_int_equal(in(build_text(), now), LS_FRAMING_DATAGRAM); /* the peer's own frame, from its own MAC */
    }
    assert_int_equal(f.disputes, 6);
    in(build_arp(2, other_mac, PEER_IP, OWN_IP), now);
    in(build_arp(2, peer_mac, PEER_IP, OWN_IP), now + MS);
    assert_true(ls_framing_lookup(&f, PEER_IP, now + 500 * MS, mac));
    assert_memory_equal(mac, peer_mac, 6);
}

static void test_announcements(void **state)
{
    struct ls_framing_config config = config_of();
    uint8_t own[LS_FRAMING_OWN_MAX];
    uint32_t sent = 0;

    assert_int_equal(ls_framing_init(&f, &config, &counters, error, sizeof(error)), 0);
    for (uint64_t now = 5 * SECOND; now < 15 * SECOND; now += 100 * MS) {
        if (ls_framing_has_own(&f, now)) {
            own_asks(OWN_IP, now);
            sent++;
        }
    }
    assert_int_equal(sent, 3);

    /* another machine with our address: seen, not learned, not answered; ours is announced again, seldom */
    for (uint64_t now = 20 * SECOND; now < 40 * SECOND; now += 10 * MS) {
        assert_int_equal(in(build_arp(1, other_mac, OWN_IP, OWN_IP), now), LS_FRAMING_NOTHING);
        sent += ls_framing_own(&f, own, now) != 0;
    }
    assert_int_equal(count(LS_COUNT_arp_conflicts), 2000);
    assert_memory_equal(f.conflict_mac, other_mac, 6);
    assert_in_range(sent, 4, 5);
    ls_framing_announce(&f, 50 * SECOND);
    own_asks(OWN_IP, 50 * SECOND);
}

/* Those to be kept are asked for before anything is sent to them, and again before they are too old, all night. */
static void test_kept(void **state)
{
    struct ls_addr peer = {PEER_IP, PORT};
    uint64_t now = SECOND;
    uint32_t asked = 0;
    uint8_t mac[6];

    assert_int_equal(f.keep_ns, UINT64_MAX);
    ls_framing_keep(&f, &peer, 1);
    ls_framing_keep_up(&f, now);
    own_asks(PEER_IP, now); /* and nobody answers */
    assert_false(ls_framing_has_own(&f, now));
    now = f.keep_ns;
    ls_framing_keep_up(&f, now);
    own_asks(PEER_IP, now);
    in(build_arp(2, peer_mac, PEER_IP, OWN_IP), now);
    for (uint64_t end = now + 3600 * SECOND; now < end; now += 100 * MS) {
        if (now >= f.keep_ns)
            ls_framing_keep_up(&f, now);
        assert_true(ls_framing_lookup(&f, PEER_IP, now, mac));
        if (!ls_framing_has_own(&f, now))
            continue;
        own_asks(PEER_IP, now);
        asked++;
        in(build_arp(2, peer_mac, PEER_IP, OWN_IP), now);
    }
    assert_in_range(asked, 3600 * SECOND / LS_NEIGHBOUR_AGE_NS, 2 * 3600 * SECOND / LS_NEIGHBOUR_AGE_NS);
    ls_framing_keep(&f, NULL, 0);
    assert_int_equal(f.keep_ns, UINT64_MAX);
}

/* Strangers, many times the size of the cache, do not push out a neighbour in use; nor do unresolved ones overrun the
 * queue of requests. */
static void test_flood(void **state)
{
    struct ls_framing_config config = config_of();
    uint8_t mac[6], own[LS_FRAMING_OWN_MAX];

    config.prefix = 8;
    config.gateway = 0;
    init(&config);
    in(build_text(), SECOND);
    for (uint32_t i = 0; i < 20000; i++) {
        uint64_t now = SECOND + i * MS / 10;
        if (i % 50 == 0)
            assert_int_not_equal(out(PEER_IP, now), 0);
        uint32_t length = build_udp(0x0a600001 + i, 0, "x", 1);
        memcpy(packet + 6, other_mac, 6);
        assert_int_equal(in(length, now), LS_FRAMING_DATAGRAM);
    }
    assert_true(ls_framing_lookup(&f, PEER_IP, 3 * SECOND, mac));
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(out(0x0a700001 + i, 3 * SECOND), 0);
    uint32_t asked = 0;
    while (ls_framing_own(&f, own, 3 * SECOND) != 0)
        asked++;
    assert_int_equal(asked, LS_FRAMING_ASKS_MAX);
}

static void test_config(void **state)
{
    struct ls_framing_config config;
    struct bad {
        uint32_t ip, gateway;
        uint16_t port;
        uint8_t prefix, mac0;
        const char *says;
    } bad[] = {
        {OWN_IP, 0, PORT, 0, 2, "prefix length 0"},
        {OWN_IP, 0, PORT, 32, 2, "prefix length 32"},
        {0, 0, PORT, 24, 2, "0.0.0.0/24"},
        {0x7f000001, 0, PORT, 24, 2, "127.0.0.1"},
        {0xe0000001, 0, PORT, 24, 2, "224.0.0.1"},
        {0x0a4d00ff, 0, PORT, 24, 2, "10.77.0.255"},
        {0x0a4d0000, 0, PORT, 24, 2, "10.77.0.0"},
        {OWN_IP, 0, 0, 24, 2, "port 0"},
        {OWN_IP, OUTSIDE_IP, PORT, 24, 2, "192.168.1.5"},
        {OWN_IP, OWN_IP, PORT, 24, 2, "gateway 10.77.0.2"},
        {OWN_IP, 0x0a4d00ff, PORT, 24, 2, "10.77.0.255"},
        {OWN_IP, 0, PORT, 24, 1, "MAC address 01:"},
    };
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        config = (struct ls_framing_config){
            .addr = {bad[i].ip, bad[i].port}, .gateway = bad[i].gateway, .prefix = bad[i].prefix, .mac = {bad[i].mac0}};
        assert_int_equal(ls_framing_init(&f, &config, &counters, error, sizeof(error)), -22);
        assert_non_null(strstr(error, bad[i].says));
    }
    config = config_of();
    config.prefix = 31;
    config.addr.ip = 0x0a4d0000;
    config.gateway = 0x0a4d0001;
    assert_int_equal(ls_framing_init(&f, &config, &counters, error, sizeof(error)), 0);
}

/* ---- mutations ---- */

static uint64_t seed_state;

static uint32_t random_below(uint32_t n)
{
    seed_state = seed_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)((seed_state >> 33) % n);
}

static uint32_t build_any(void)
{
    uint8_t payload[1400];
    memset(payload, 0x5a, sizeof(payload));
    switch (random_below(5)) {
    case 0:
        return build_udp(PEER_IP + random_below(200), random_below(11) * 4, payload, random_below(1400));
    case 1:
        return build_echo(random_below(1400));
    case 2:
        return build_arp(1 + random_below(2), peer_mac, PEER_IP + random_below(100), OWN_IP);
    case 3:
        for (uint32_t i = 14; i < 200; i++)
            packet[i] = (uint8_t)random_below(256);
        memcpy(packet, own_mac, 6);
        return random_below(200);
    default:
        return build_text();
    }
}

/* Damaged packets of exactly their length, in memory of exactly that length, so that a sanitizer sees each byte read
 * beyond it: one verdict, one counter, nothing outside. Sums are mended half of the time, to get behind them. */
static void test_mutations(void **state)
{
    uint64_t seed = getenv("LS_SEED") != NULL ? strtoull(getenv("LS_SEED"), NULL, 0) : 1;
    uint32_t rounds = 300000, verdicts[3] = {0};

    print_message("seed %llu\n", (unsigned long long)seed);
    seed_state = seed;
    for (uint32_t round = 0; round < rounds; round++) {
        uint32_t length = build_any();
        for (uint32_t n = random_below(4); n > 0 && length > 0; n--)
            packet[random_below(length < 60 ? length : 60)] = (uint8_t)random_below(256);
        if (random_below(4) == 0)
            length = random_below(length + 1);
        if (random_below(2) == 0 && length >= 14 + 60 && packet[12] == 8 && packet[13] == 0)
            sum_ip(packet + 14);
        uint8_t *exact = malloc(length > 0 ? length : 1);
        assert_non_null(exact);
        memcpy(exact, packet, length);
        uint64_t before = count_all();
        answer = 0;
        enum ls_framing_verdict verdict =
            ls_framing_in(&f, exact, length, random_below(4), SECOND + round * MS, &frame, &answer);
        uint64_t added = count_all() - before;
        verdicts[verdict]++;
        if (verdict == LS_FRAMING_DATAGRAM) {
            assert_int_equal(added, 0);
            assert_true(frame.data >= exact + 42 && frame.data + frame.length <= exact + length);
        } else if (verdict == LS_FRAMING_ANSWER) {
            assert_true(added == 1 || added == 2); /* icmp_echo, or arp_in and arp_out */
            assert_true(answer >= 42 && answer <= length);
        } else {
            assert_int_equal(added, 1);
        }
        free(exact);
        if (round % 64 == 0)
            while (ls_framing_own(&f, packet, SECOND + round * MS) != 0)
                ;
    }
    for (int i = 0; i < 3; i++)
        assert_true(verdicts[i] > rounds / 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_datagram, setup),      cmocka_unit_test_setup(test_known_sums, setup),
        cmocka_unit_test_setup(test_checksums, setup),     cmocka_unit_test_setup(test_refused_ethernet, setup),
        cmocka_unit_test_setup(test_refused_ip, setup),    cmocka_unit_test_setup(test_refused_udp, setup),
        cmocka_unit_test_setup(test_echo, setup),          cmocka_unit_test_setup(test_out, setup),
        cmocka_unit_test_setup(test_resolving, setup),     cmocka_unit_test_setup(test_next_hop, setup),
        cmocka_unit_test_setup(test_arp_request, setup),   cmocka_unit_test_setup(test_arp_refused, setup),
        cmocka_unit_test_setup(test_mac_changes, setup),   cmocka_unit_test_setup(test_forged_arp, setup),
        cmocka_unit_test_setup(test_announcements, setup), cmocka_unit_test_setup(test_kept, setup),
        cmocka_unit_test_setup(test_flood, setup),         cmocka_unit_test_setup(test_config, setup),
        cmocka_unit_test_setup(test_mutations, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
