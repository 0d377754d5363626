/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Packets in and out of one port; see framing.h. Everything read from a packet is copied out of it byte by byte or with
 * memcpy, after its length was checked: packets lie at any alignment.
 */
#include "framing.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ETHER_HEADER 14
#define IP_HEADER    20
#define UDP_HEADER   8
#define ICMP_HEADER  8
#define ARP_BODY     28
#define TYPE_IPV4    0x0800
#define TYPE_ARP     0x0806
#define PROTO_ICMP   1
#define PROTO_UDP    17
#define ARP_REQUEST  1
#define ARP_REPLY    2

#define ANNOUNCEMENTS        3
#define ANNOUNCE_INTERVAL_NS (1000ull * 1000 * 1000)
#define DEFEND_INTERVAL_NS   (10 * ANNOUNCE_INTERVAL_NS) /* RFC 5227 */
#define KEEP_INTERVAL_NS     ANNOUNCE_INTERVAL_NS        /* looks at those to be kept */

static const uint8_t mac_broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t mac_zero[6];
/* Ethernet and IPv4, 6 and 4 bytes of address */
static const uint8_t arp_head[6] = {0, 1, 8, 0, 6, 4};

static inline uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t get32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, 4);
    return ntohl(value);
}

static inline void put16(uint8_t *at, uint32_t value)
{
    uint16_t wire = htons((uint16_t)value);
    memcpy(at, &wire, 2);
}

static inline void put32(uint8_t *at, uint32_t value)
{
    uint32_t wire = htonl(value);
    memcpy(at, &wire, 4);
}

static inline uint16_t fold(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

/* 32-bit words into 64-bit sums cannot overflow below 16 GiB. Eight of them: compilers make vector additions of that
 * (104 cycles for 1,472 bytes; with four of them 208). */
static uint64_t sum_bytes(uint64_t sum, const uint8_t *at, size_t n)
{
    uint64_t sums[8] = {0};
    uint32_t w[8];

    for (; n >= 32; n -= 32, at += 32) {
        memcpy(w, at, 32);
        for (int i = 0; i < 8; i++)
            sums[i] += w[i];
    }
    for (int i = 0; i < 8; i++)
        sum += sums[i];
    for (; n >= 4; n -= 4, at += 4) {
        memcpy(w, at, 4);
        sum += w[0];
    }
    if (n > 0) { /* the rest, as if zeros followed */
        w[0] = 0;
        memcpy(w, at, n);
        sum += w[0];
    }
    return sum;
}

uint16_t ls_internet_sum(uint32_t sum, const void *bytes, size_t n)
{
    return fold(sum_bytes(sum, bytes, n));
}

/* Of the UDP pseudo-header, in memory order: both addresses lie side by side in the IPv4 header. */
static inline uint64_t sum_pseudo(const uint8_t *ip_header, uint32_t udp_length)
{
    uint32_t w[2];
    memcpy(w, ip_header + 12, sizeof(w));
    return (uint64_t)w[0] + w[1] + htons(PROTO_UDP) + htons((uint16_t)udp_length);
}

static inline bool is_on_subnet(const struct ls_framing *f, uint32_t ip)
{
    return ((ip ^ f->config.addr.ip) & f->mask) == 0;
}

/* Network and broadcast address of a subnet are nobody's; a subnet of two has neither (RFC 3021). */
static inline bool is_host(const struct ls_framing *f, uint32_t ip)
{
    uint32_t host = ip & ~f->mask;
    return f->config.prefix == 31 || (host != 0 && host != ~f->mask);
}

/* May stand as the sender of an IPv4 packet from outside. */
static bool is_sender(const struct ls_framing *f, uint32_t ip)
{
    if (ip >> 24 == 0 || ip >> 24 == 127 || ip >> 28 >= 14 || ip == f->config.addr.ip)
        return false;
    return !is_on_subnet(f, ip) || is_host(f, ip);
}

static const char *ip_text(uint32_t ip, char text[INET_ADDRSTRLEN])
{
    struct in_addr in = {.s_addr = htonl(ip)};
    return inet_ntop(AF_INET, &in, text, INET_ADDRSTRLEN);
}

static int check_config(const struct ls_framing *f, char *error, size_t size)
{
    const struct ls_framing_config *c = &f->config;
    char a[INET_ADDRSTRLEN], b[INET_ADDRSTRLEN];

    if (c->prefix < 1 || c->prefix > 31) {
        snprintf(error, size, "prefix length %u: allowed are 1 to 31; most networks use 24", c->prefix);
    } else if (c->addr.ip >> 24 == 0 || c->addr.ip >> 24 == 127 || c->addr.ip >> 28 >= 14 || !is_host(f, c->addr.ip)) {
        snprintf(error, size, "address %s/%u: not a host's address; give the port a free unicast address of its subnet",
                 ip_text(c->addr.ip, a), c->prefix);
    } else if (c->addr.port == 0) {
        snprintf(error, size, "UDP port 0: allowed are 1 to 65535");
    } else if (c->gateway != 0 &&
               (!is_on_subnet(f, c->gateway) || !is_host(f, c->gateway) || c->gateway == c->addr.ip)) {
        snprintf(error, size, "gateway %s: must be another host inside the subnet of %s/%u, or be left out",
                 ip_text(c->gateway, a), ip_text(c->addr.ip, b), c->prefix);
    } else if ((c->mac[0] & 1) != 0 || memcmp(c->mac, mac_zero, 6) == 0) {
        snprintf(error, size, "the device's MAC address %02x:%02x:%02x:%02x:%02x:%02x is not a unicast address",
                 c->mac[0], c->mac[1], c->mac[2], c->mac[3], c->mac[4], c->mac[5]);
    } else {
        return 0;
    }
    return -EINVAL;
}

int ls_framing_init(struct ls_framing *framing, const struct ls_framing_config *config, struct ls_counters *counters,
                    char *error, size_t error_size)
{
    uint8_t *ip = framing->header + ETHER_HEADER;

    assert(counters != NULL);
    memset(framing, 0, sizeof(*framing));
    framing->config = *config;
    framing->counters = counters;
    if (framing->config.neighbour_age_ns == 0)
        framing->config.neighbour_age_ns = LS_NEIGHBOUR_AGE_NS;
    if (config->prefix >= 1 && config->prefix <= 31)
        framing->mask = ~0u << (32 - config->prefix);
    int rc = check_config(framing, error, error_size);
    if (rc != 0)
        return rc;

    memcpy(framing->header + 6, config->mac, 6);
    put16(framing->header + 12, TYPE_IPV4);
    ip[0] = 0x45;
    put16(ip + 6, 0x4000); /* never fragmented: the identification may stay 0 (RFC 6864) */
    ip[8] = 64;
    ip[9] = PROTO_UDP;
    put32(ip + 12, config->addr.ip);
    put16(ip + IP_HEADER, config->addr.port);
    framing->header_sum = ls_internet_sum(0, ip, IP_HEADER);
    framing->announcements = ANNOUNCEMENTS;
    framing->keep_ns = UINT64_MAX;
    return 0;
}

void ls_framing_announce(struct ls_framing *framing, uint64_t now_ns)
{
    framing->announcements = ANNOUNCEMENTS;
    framing->announce_ns = now_ns;
}

/* ---- neighbours ---- */

static inline uint32_t set_of(uint32_t ip)
{
    return ip * 0x9e3779b1u >> 25;
}
static_assert(LS_NEIGHBOUR_SETS == 1 << 7, "set_of() makes seven bits");

static inline struct ls_neighbour *neighbour_find(struct ls_framing *f, uint32_t ip)
{
    uint32_t set = set_of(ip);
    for (uint32_t way = 0; way < LS_NEIGHBOUR_WAYS; way++) {
        if (f->ip[set][way] == ip)
            return &f->neighbour[set][way];
    }
    return NULL;
}

/* A cleared entry for an address that has none: a free one, else the one least recently sent to. */
static struct ls_neighbour *neighbour_add(struct ls_framing *f, uint32_t ip)
{
    uint32_t set = set_of(ip), victim = 0;
    for (uint32_t way = 0; way < LS_NEIGHBOUR_WAYS; way++) {
        if (f->ip[set][way] == 0) {
            victim = way;
            break;
        }
        if (f->neighbour[set][way].used_ns < f->neighbour[set][victim].used_ns)
            victim = way;
    }
    f->ip[set][victim] = ip;
    f->neighbour[set][victim] = (struct ls_neighbour){0};
    return &f->neighbour[set][victim];
}

enum learn_from {
    LEARN_TRAFFIC, /* a datagram or an echo request to us */
    LEARN_REQUEST, /* an ARP request to us */
    LEARN_UPDATE,  /* a reply, an announcement, a request to others: changes only what is here */
};

static inline bool is_fresh(const struct ls_framing *f, const struct ls_neighbour *neighbour, uint64_t now_ns)
{
    return neighbour->resolved && now_ns - neighbour->confirmed_ns <= f->config.neighbour_age_ns;
}

static void ask(struct ls_framing *f, struct ls_neighbour *neighbour, uint32_t ip, uint64_t now_ns)
{
    if (now_ns < neighbour->ask_ns || f->asks == LS_FRAMING_ASKS_MAX)
        return;
    f->ask[f->asks++] = ip;
    uint64_t pause = LS_NEIGHBOUR_ASK_MIN_NS << neighbour->tries;
    if (pause >= LS_NEIGHBOUR_ASK_MAX_NS)
        pause = LS_NEIGHBOUR_ASK_MAX_NS;
    else
        neighbour->tries++;
    neighbour->ask_ns = now_ns + pause;
}

/* Another machine claims the address and the one we knew has kept silent since, although both were asked. */
static inline bool is_succeeded(const struct ls_neighbour *neighbour, uint64_t now_ns)
{
    return neighbour->rival && now_ns - neighbour->rival_ns >= LS_NEIGHBOUR_RIVAL_NS;
}

static void succeed(struct ls_neighbour *neighbour)
{
    memcpy(neighbour->mac, neighbour->rival_mac, 6);
    neighbour->confirmed_ns = neighbour->rival_ns;
    neighbour->heard = false;
    neighbour->rival = false;
}

/* ARP is not authenticated, and one forged packet costs nothing: against datagrams it is only a question. */
static void dispute(struct ls_framing *f, struct ls_neighbour *neighbour, uint32_t ip, const uint8_t *mac,
                    uint64_t now_ns)
{
    atomic_store_explicit(&f->disputes, atomic_load_explicit(&f->disputes, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    if (!neighbour->rival || memcmp(neighbour->rival_mac, mac, 6) != 0) {
        memcpy(neighbour->rival_mac, mac, 6);
        neighbour->rival = true;
        neighbour->rival_ns = now_ns;
    }
    ask(f, neighbour, ip, now_ns);
}

static void learn(struct ls_framing *f, uint32_t ip, const uint8_t *mac, enum learn_from from, uint64_t now_ns)
{
    if (!is_on_subnet(f, ip))
        return; /* it came through a router, whose MAC address this is */
    struct ls_neighbour *neighbour = neighbour_find(f, ip);
    if (neighbour == NULL) {
        if (from == LEARN_UPDATE)
            return;
        neighbour = neighbour_add(f, ip);
    }
    if (is_succeeded(neighbour, now_ns))
        succeed(neighbour);
    if (!neighbour->resolved || memcmp(neighbour->mac, mac, 6) != 0) {
        /* One late or forged packet must not turn away a neighbour whose datagrams have just been heard. */
        if (neighbour->resolved && neighbour->heard && now_ns - neighbour->heard_ns < LS_NEIGHBOUR_HOLD_NS) {
            if (from != LEARN_TRAFFIC)
                dispute(f, neighbour, ip, mac, now_ns);
            return;
        }
        memcpy(neighbour->mac, mac, 6);
        neighbour->resolved = true;
        neighbour->heard = false;
    }
    if (from == LEARN_TRAFFIC) {
        neighbour->heard = true;
        neighbour->heard_ns = now_ns;
    }
    neighbour->rival = false;
    neighbour->confirmed_ns = now_ns;
    neighbour->tries = 0;
    neighbour->ask_ns = 0;
}

/* MAC address to send to, or NULL. */
static const uint8_t *resolve(struct ls_framing *f, uint32_t ip, uint64_t now_ns)
{
    uint32_t hop = is_on_subnet(f, ip) ? ip : f->config.gateway;
    if (hop == 0 || hop == f->config.addr.ip || !is_host(f, hop))
        return NULL;
    struct ls_neighbour *neighbour = neighbour_find(f, hop);
    if (neighbour == NULL)
        neighbour = neighbour_add(f, hop);
    neighbour->used_ns = now_ns;
    if (is_succeeded(neighbour, now_ns))
        succeed(neighbour);
    bool fresh = is_fresh(f, neighbour, now_ns);
    if (!fresh || now_ns - neighbour->confirmed_ns > f->config.neighbour_age_ns / 2)
        ask(f, neighbour, hop, now_ns);
    return fresh ? neighbour->mac : NULL;
}

void ls_framing_keep(struct ls_framing *framing, const struct ls_addr *peer, uint32_t n)
{
    framing->kept = n < LS_MEMBERS_MAX ? n : LS_MEMBERS_MAX;
    for (uint32_t i = 0; i < framing->kept; i++)
        framing->keep[i] = peer[i].ip;
    framing->keep_ns = framing->kept > 0 ? 0 : UINT64_MAX;
}

void ls_framing_keep_up(struct ls_framing *framing, uint64_t now_ns)
{
    bool all = true;
    for (uint32_t i = 0; i < framing->kept; i++)
        all = resolve(framing, framing->keep[i], now_ns) != NULL && all;
    framing->keep_ns = now_ns + (all ? KEEP_INTERVAL_NS : LS_NEIGHBOUR_ASK_MIN_NS);
}

bool ls_framing_lookup(const struct ls_framing *framing, uint32_t ip, uint64_t now_ns, uint8_t mac[6])
{
    uint32_t set = set_of(ip);
    for (uint32_t way = 0; way < LS_NEIGHBOUR_WAYS; way++) {
        const struct ls_neighbour *neighbour = &framing->neighbour[set][way];
        if (framing->ip[set][way] == ip && is_fresh(framing, neighbour, now_ns)) {
            memcpy(mac, is_succeeded(neighbour, now_ns) ? neighbour->rival_mac : neighbour->mac, 6);
            return true;
        }
    }
    return false;
}

/* ---- in ---- */

#define refuse(f, name) (ls_count((f)->counters, name), LS_FRAMING_NOTHING)

/* Ethernet wants at least 60 bytes; not every virtual device pads. Keeps what room the received packet had. */
static uint32_t pad_answer(uint8_t *packet, uint32_t length, uint32_t room)
{
    uint32_t want = room < LS_FRAMING_OWN_MAX ? room : LS_FRAMING_OWN_MAX;
    if (length >= want)
        return length;
    memset(packet + length, 0, want - length);
    return want;
}

static enum ls_framing_verdict arp_in(struct ls_framing *f, uint8_t *packet, uint32_t length, uint64_t now_ns,
                                      uint32_t *answer)
{
    uint8_t *arp = packet + ETHER_HEADER;
    uint8_t *sender_mac = arp + 8;

    if (length < ETHER_HEADER + ARP_BODY || memcmp(arp, arp_head, sizeof(arp_head)) != 0)
        return refuse(f, eth_bad);
    uint16_t operation = get16(arp + 6);
    uint32_t sender = get32(arp + 14), target = get32(arp + 24);
    if ((operation != ARP_REQUEST && operation != ARP_REPLY) || (sender_mac[0] & 1) != 0 ||
        memcmp(sender_mac, mac_zero, 6) == 0 || (sender != f->config.addr.ip && sender != 0 && !is_sender(f, sender)))
        return refuse(f, eth_bad);

    bool to_us = target == f->config.addr.ip;
    if (sender == f->config.addr.ip) {
        /* Somebody else has our address. Say where it lives, seldom enough that two such machines do not fight. */
        memcpy(f->conflict_mac, sender_mac, 6);
        if (f->announcements == 0) {
            f->announcements = 1;
            f->announce_ns = now_ns + DEFEND_INTERVAL_NS;
        }
        return refuse(f, arp_conflicts);
    }
    ls_count(f->counters, arp_in);
    if (sender != 0) /* 0: a probe for a free address (RFC 5227), to be answered, not learned */
        learn(f, sender, sender_mac, operation == ARP_REQUEST && to_us ? LEARN_REQUEST : LEARN_UPDATE, now_ns);
    if (operation != ARP_REQUEST || !to_us)
        return LS_FRAMING_NOTHING;

    memcpy(packet, sender_mac, 6);
    memcpy(packet + 6, f->config.mac, 6);
    put16(arp + 6, ARP_REPLY);
    memmove(arp + 18, arp + 8, 10); /* the sender becomes the target */
    memcpy(arp + 8, f->config.mac, 6);
    put32(arp + 14, f->config.addr.ip);
    ls_count(f->counters, arp_out);
    *answer = pad_answer(packet, ETHER_HEADER + ARP_BODY, length);
    return LS_FRAMING_ANSWER;
}

static enum ls_framing_verdict icmp_in(struct ls_framing *f, uint8_t *packet, uint32_t length, uint32_t ip_total,
                                       uint64_t now_ns, uint32_t *answer)
{
    uint8_t *ip = packet + ETHER_HEADER;
    uint8_t *icmp = ip + IP_HEADER;
    uint8_t swap[6];

    if ((ip[0] & 15) != IP_HEADER / 4)
        return refuse(f, ip_other); /* options: an answer would have to turn a source route around */
    if (ip_total < IP_HEADER + ICMP_HEADER)
        return refuse(f, eth_bad);
    if (ls_internet_sum(0, icmp, ip_total - IP_HEADER) != 0xffff)
        return refuse(f, ip_checksum);
    if (icmp[0] != 8 || icmp[1] != 0)
        return refuse(f, ip_other);
    learn(f, get32(ip + 12), packet + 6, LEARN_TRAFFIC, now_ns);

    memcpy(swap, packet + 6, 6);
    memcpy(packet, swap, 6);
    memcpy(packet + 6, f->config.mac, 6);
    memcpy(ip + 16, ip + 12, 4);
    put32(ip + 12, f->config.addr.ip);
    ip[1] = 0;
    ip[8] = 64;
    memset(ip + 10, 0, 2);
    uint16_t sum = (uint16_t)~ls_internet_sum(0, ip, IP_HEADER);
    memcpy(ip + 10, &sum, 2);
    icmp[0] = 0;
    memset(icmp + 2, 0, 2);
    sum = (uint16_t)~ls_internet_sum(0, icmp, ip_total - IP_HEADER);
    memcpy(icmp + 2, &sum, 2);
    ls_count(f->counters, icmp_echo);
    *answer = pad_answer(packet, ETHER_HEADER + ip_total, length);
    return LS_FRAMING_ANSWER;
}

/* `udp` has `room` bytes. */
static enum ls_framing_verdict udp_in(struct ls_framing *f, uint8_t *packet, uint8_t *udp, uint32_t room,
                                      uint32_t verified, uint64_t now_ns, struct ls_frame *frame)
{
    const uint8_t *ip = packet + ETHER_HEADER;

    if (room < UDP_HEADER)
        return refuse(f, eth_bad);
    uint32_t length = get16(udp + 4);
    uint16_t from_port = get16(udp), check;
    if (length < UDP_HEADER || length > room || from_port == 0)
        return refuse(f, eth_bad);
    if (get16(udp + 2) != f->config.addr.port)
        return refuse(f, udp_other_port);
    memcpy(&check, udp + 6, 2);
    if ((verified & LS_FRAMING_UDP_VERIFIED) == 0 && check != 0) {
        uint64_t pseudo = sum_pseudo(ip, length);
        bool partial = f->config.accept_partial_checksum && fold(pseudo) == check;
        if (!partial && fold(sum_bytes(pseudo, udp, length)) != 0xffff)
            return refuse(f, ip_checksum);
    }
    frame->data = udp + UDP_HEADER;
    frame->length = length - UDP_HEADER;
    frame->peer = (struct ls_addr){.ip = get32(ip + 12), .port = from_port};
    learn(f, frame->peer.ip, packet + 6, LEARN_TRAFFIC, now_ns);
    return LS_FRAMING_DATAGRAM;
}

static enum ls_framing_verdict ip_in(struct ls_framing *f, uint8_t *packet, uint32_t length, uint32_t verified,
                                     uint64_t now_ns, struct ls_frame *frame, uint32_t *answer)
{
    uint8_t *ip = packet + ETHER_HEADER;
    uint32_t room = length - ETHER_HEADER;

    if (room < IP_HEADER || ip[0] >> 4 != 4)
        return refuse(f, eth_bad);
    uint32_t header = (ip[0] & 15u) * 4, total = get16(ip + 2);
    if (header < IP_HEADER || total < header || total > room)
        return refuse(f, eth_bad);
    if ((verified & LS_FRAMING_IP_VERIFIED) == 0 && ls_internet_sum(0, ip, header) != 0xffff)
        return refuse(f, ip_checksum);
    if (get32(ip + 16) != f->config.addr.ip)
        return refuse(f, eth_not_ours);
    if (!is_sender(f, get32(ip + 12)))
        return refuse(f, eth_bad);
    if ((get16(ip + 6) & 0x3fff) != 0) /* more fragments, or an offset */
        return refuse(f, ip_fragment);
    if (ip[9] == PROTO_UDP)
        return udp_in(f, packet, ip + header, total - header, verified, now_ns, frame);
    if (ip[9] == PROTO_ICMP)
        return icmp_in(f, packet, length, total, now_ns, answer);
    return refuse(f, ip_other);
}

enum ls_framing_verdict ls_framing_in(struct ls_framing *framing, uint8_t *packet, uint32_t length, uint32_t verified,
                                      uint64_t now_ns, struct ls_frame *frame, uint32_t *answer)
{
    if (length < ETHER_HEADER)
        return refuse(framing, eth_bad);
    bool to_us = memcmp(packet, framing->config.mac, 6) == 0;
    uint16_t type = get16(packet + 12);
    if (!to_us && !(type == TYPE_ARP && memcmp(packet, mac_broadcast, 6) == 0))
        return refuse(framing, eth_not_ours);
    if (memcmp(packet + 6, framing->config.mac, 6) == 0)
        return refuse(framing, eth_not_ours); /* our own, come back through a loop */
    if ((packet[6] & 1) != 0 || memcmp(packet + 6, mac_zero, 6) == 0)
        return refuse(framing, eth_bad);
    if (type == TYPE_IPV4)
        return ip_in(framing, packet, length, verified, now_ns, frame, answer);
    if (type == TYPE_ARP)
        return arp_in(framing, packet, length, now_ns, answer);
    return refuse(framing, ip_other);
}

/* ---- out ---- */

uint32_t ls_framing_out(struct ls_framing *framing, uint8_t *payload, uint32_t length, struct ls_addr to,
                        uint64_t now_ns)
{
    uint8_t *packet = payload - LS_FRAMING_HEADERS;
    uint8_t *ip = packet + ETHER_HEADER, *udp = ip + IP_HEADER;
    uint32_t udp_length = UDP_HEADER + length;

    assert(length <= 65535 - IP_HEADER - UDP_HEADER);
    const uint8_t *mac = resolve(framing, to.ip, now_ns);
    if (mac == NULL) {
        ls_count(framing->counters, arp_unresolved);
        return 0;
    }
    memcpy(packet, framing->header, LS_FRAMING_HEADERS);
    memcpy(packet, mac, 6);
    put16(ip + 2, IP_HEADER + udp_length);
    put32(ip + 16, to.ip);
    uint32_t to_wire = htonl(to.ip);
    uint16_t sum = (uint16_t)~fold((uint64_t)framing->header_sum + to_wire + htons((uint16_t)(IP_HEADER + udp_length)));
    memcpy(ip + 10, &sum, 2);

    put16(udp + 2, to.port);
    put16(udp + 4, udp_length);
    uint64_t pseudo = sum_pseudo(ip, udp_length);
    if (framing->config.device_sums_udp) {
        sum = fold(pseudo); /* what the device adds its own sum to */
    } else {
        sum = (uint16_t)~fold(sum_bytes(pseudo, udp, udp_length));
        if (sum == 0)
            sum = 0xffff; /* 0 would mean "none" */
    }
    memcpy(udp + 6, &sum, 2);
    return LS_FRAMING_HEADERS + length;
}

uint32_t ls_framing_own(struct ls_framing *framing, uint8_t *packet, uint64_t now_ns)
{
    uint8_t *arp = packet + ETHER_HEADER;
    uint32_t target;

    if (framing->asks > 0) {
        target = framing->ask[--framing->asks];
    } else if (ls_framing_has_own(framing, now_ns)) {
        target = framing->config.addr.ip; /* an announcement is a request for our own address (RFC 5227) */
        framing->announcements--;
        framing->announce_ns = now_ns + ANNOUNCE_INTERVAL_NS;
    } else {
        return 0;
    }
    memset(packet, 0, LS_FRAMING_OWN_MAX);
    memcpy(packet, mac_broadcast, 6);
    memcpy(packet + 6, framing->config.mac, 6);
    put16(packet + 12, TYPE_ARP);
    memcpy(arp, arp_head, sizeof(arp_head));
    put16(arp + 6, ARP_REQUEST);
    memcpy(arp + 8, framing->config.mac, 6);
    put32(arp + 14, framing->config.addr.ip);
    put32(arp + 24, target);
    ls_count(framing->counters, arp_out);
    return LS_FRAMING_OWN_MAX;
}
