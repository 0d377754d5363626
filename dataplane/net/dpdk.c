/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The production port; see dpdk.h. The first half runs on the net worker; the second half, opening and closing, on the
 * thread that sets the dataplane up.
 */
#include "dpdk.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/if_packet.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_pause.h>

#include "framing.h"

#define TX_TRIES   8    /* bursts that may take less than all before the rest is dropped */
#define TX_MAX     64   /* packets collected before they are pushed out */
#define POOL_CACHE 256  /* buffers that a worker keeps for itself */
#define POOL_SPARE 1024 /* buffers beyond the descriptors: bursts, replies under way, the workers' caches */

/* Of an allocated buffer: the payload begins on a cache line. */
#define DATA_OFFSET ((RTE_PKTMBUF_HEADROOM + LS_FRAMING_HEADERS + 63) / 64 * 64 - LS_FRAMING_HEADERS)
static_assert(DATA_OFFSET + LS_FRAMING_HEADERS + LS_FRAME_MAX <= RTE_MBUF_DEFAULT_BUF_SIZE, "a buffer holds any frame");

/* Another worker's way to the pool. */
struct pool_io {
    struct ls_io io; /* first: the functions cast */
    struct rte_mempool *pool;
};

struct ls_dpdk_port {
    /* the net worker's */
    struct ls_port port; /* first: the functions cast */
    struct ls_counters *counters;
    struct rte_mempool *pool;
    uint64_t now_ns; /* of the last receive() or flush(): send() is told no time */
    uint16_t id;     /* of the device */
    uint16_t tx_count;
    bool sums_tx;
    struct rte_mbuf *tx[TX_MAX];
    uint16_t tx_payload[TX_MAX]; /* bytes of UDP payload; 0: ARP or ICMP */
    struct ls_framing framing;
    /* the apply worker's */
    _Alignas(RTE_CACHE_LINE_SIZE) struct pool_io apply;
    /* constant while the workers run */
    _Alignas(RTE_CACHE_LINE_SIZE) struct ls_dpdk_facts facts;
    int wait_fd;
    bool is_configured;
    bool is_started;
};

/* ---- on the workers ---- */

static inline bool pool_alloc(struct rte_mempool *pool, struct ls_frame *frame)
{
    struct rte_mbuf *mbuf = rte_pktmbuf_alloc(pool);
    if (unlikely(mbuf == NULL))
        return false;
    mbuf->data_off = DATA_OFFSET;
    frame->data = rte_pktmbuf_mtod_offset(mbuf, uint8_t *, LS_FRAMING_HEADERS);
    frame->length = 0;
    frame->handle = mbuf;
    return true;
}

static bool apply_alloc(struct ls_io *io, struct ls_frame *frame)
{
    return pool_alloc(((struct pool_io *)io)->pool, frame);
}

static void apply_send(struct ls_io *io, struct ls_frame *frame)
{
    assert(!"the apply worker's frames are sent by net");
    abort();
}

static bool port_alloc(struct ls_io *io, struct ls_frame *frame)
{
    return pool_alloc(((struct ls_dpdk_port *)io)->pool, frame);
}

static void mbuf_release(struct ls_io *io, struct ls_frame *frame)
{
    rte_pktmbuf_free(frame->handle);
}

static void tx_push(struct ls_dpdk_port *p)
{
    uint16_t sent = 0;
    uint64_t frames = 0, bytes = 0;

    for (int tries = 0; sent < p->tx_count && tries < TX_TRIES; tries++) {
        if (tries > 0)
            rte_pause();
        sent += rte_eth_tx_burst(p->id, 0, p->tx + sent, p->tx_count - sent);
    }
    for (uint16_t i = 0; i < sent; i++) {
        frames += p->tx_payload[i] != 0;
        bytes += p->tx_payload[i];
    }
    ls_count_add(p->counters, LS_COUNT_frames_out, frames);
    ls_count_add(p->counters, LS_COUNT_bytes_out, bytes);
    if (unlikely(sent < p->tx_count)) {
        rte_pktmbuf_free_bulk(p->tx + sent, p->tx_count - sent);
        ls_count_add(p->counters, LS_COUNT_drop_tx_full, p->tx_count - sent);
    }
    p->tx_count = 0;
}

static inline void tx_add(struct ls_dpdk_port *p, struct rte_mbuf *mbuf, uint32_t length, uint32_t payload)
{
    mbuf->data_len = (uint16_t)length;
    mbuf->pkt_len = length;
    p->tx[p->tx_count] = mbuf;
    p->tx_payload[p->tx_count++] = (uint16_t)payload;
    if (p->tx_count == TX_MAX)
        tx_push(p);
}

static void port_send(struct ls_io *io, struct ls_frame *frame)
{
    struct ls_dpdk_port *p = (struct ls_dpdk_port *)io;
    struct rte_mbuf *mbuf = frame->handle;

    assert(frame->length <= LS_FRAME_MAX && frame->data == rte_pktmbuf_mtod(mbuf, uint8_t *) + LS_FRAMING_HEADERS);
    uint32_t length = ls_framing_out(&p->framing, frame->data, frame->length, frame->peer, p->now_ns);
    if (unlikely(length == 0)) {
        rte_pktmbuf_free(mbuf);
        return;
    }
    if (p->sums_tx) {
        mbuf->ol_flags = RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_UDP_CKSUM;
        mbuf->l2_len = RTE_ETHER_HDR_LEN;
        mbuf->l3_len = sizeof(struct rte_ipv4_hdr);
    }
    tx_add(p, mbuf, length, frame->length);
}

/* ARP requests and announcements. */
static void send_own(struct ls_dpdk_port *p)
{
    while (ls_framing_has_own(&p->framing, p->now_ns)) {
        struct rte_mbuf *mbuf = rte_pktmbuf_alloc(p->pool);
        if (mbuf == NULL)
            return; /* they stay where they are until the next turn */
        uint32_t length = ls_framing_own(&p->framing, rte_pktmbuf_mtod(mbuf, uint8_t *), p->now_ns);
        tx_add(p, mbuf, length, 0);
    }
}

static void port_peers(struct ls_io *io, const struct ls_addr *peer, uint32_t n)
{
    ls_framing_keep(&((struct ls_dpdk_port *)io)->framing, peer, n);
}

static void port_flush(struct ls_port *port, uint64_t now_ns)
{
    struct ls_dpdk_port *p = (struct ls_dpdk_port *)port;

    p->now_ns = now_ns;
    if (unlikely(now_ns >= p->framing.keep_ns))
        ls_framing_keep_up(&p->framing, now_ns);
    if (unlikely(ls_framing_has_own(&p->framing, now_ns)))
        send_own(p);
    if (p->tx_count > 0)
        tx_push(p);
}

/* What the device says of the checksums. "None" is its word for: right, though not what the packet says. */
static inline uint32_t verified_of(uint64_t flags)
{
    uint64_t ip = flags & RTE_MBUF_F_RX_IP_CKSUM_MASK, udp = flags & RTE_MBUF_F_RX_L4_CKSUM_MASK;
    return (ip == RTE_MBUF_F_RX_IP_CKSUM_GOOD || ip == RTE_MBUF_F_RX_IP_CKSUM_NONE ? LS_FRAMING_IP_VERIFIED : 0) |
           (udp == RTE_MBUF_F_RX_L4_CKSUM_GOOD || udp == RTE_MBUF_F_RX_L4_CKSUM_NONE ? LS_FRAMING_UDP_VERIFIED : 0);
}

/* True: `frame` is a datagram, which owns the mbuf. */
static inline bool take_packet(struct ls_dpdk_port *p, struct rte_mbuf *mbuf, struct ls_frame *frame)
{
    uint32_t answer;

    if (unlikely(mbuf->nb_segs != 1)) {
        ls_count(p->counters, eth_bad); /* longer than the MTU: a buffer holds that */
        rte_pktmbuf_free(mbuf);
        return false;
    }
    if (unlikely((mbuf->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) != 0 && (mbuf->vlan_tci & 0xfff) != 0)) {
        ls_count(p->counters, ip_other); /* of a VLAN, which the driver has made invisible */
        rte_pktmbuf_free(mbuf);
        return false;
    }
    enum ls_framing_verdict verdict = ls_framing_in(&p->framing, rte_pktmbuf_mtod(mbuf, uint8_t *), mbuf->data_len,
                                                    verified_of(mbuf->ol_flags), p->now_ns, frame, &answer);
    if (likely(verdict == LS_FRAMING_DATAGRAM)) {
        frame->handle = mbuf;
        return true;
    }
    if (verdict == LS_FRAMING_ANSWER) {
        mbuf->ol_flags = 0;
        tx_add(p, mbuf, answer, 0);
    } else {
        rte_pktmbuf_free(mbuf);
    }
    return false;
}

static uint32_t port_receive(struct ls_port *port, struct ls_frame *frames, uint32_t n, uint64_t now_ns)
{
    struct ls_dpdk_port *p = (struct ls_dpdk_port *)port;
    struct rte_mbuf *burst[LS_BURST];
    uint32_t got = 0;

    p->now_ns = now_ns;
    uint16_t came = rte_eth_rx_burst(p->id, 0, burst, (uint16_t)(n < LS_BURST ? n : LS_BURST));
    if (came == 0)
        return 0;
    for (uint16_t i = 0; i < came; i++)
        rte_prefetch0(rte_pktmbuf_mtod(burst[i], void *));
    for (uint16_t i = 0; i < came; i++) {
        if (take_packet(p, burst[i], &frames[got]))
            got++;
    }
    return got;
}

static void port_done(struct ls_port *port, struct ls_frame *frames, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        rte_pktmbuf_free(frames[i].handle);
}

/* ---- opening ---- */

struct reason {
    char *text;
    size_t size;
};

__attribute__((format(printf, 3, 4))) static int fail(struct reason why, int rc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why.text, why.size, format, args);
    va_end(args);
    return rc;
}

/* The devices that EAL has, for people who misspelt theirs. */
static void list_devices(char *text, size_t size)
{
    char name[RTE_ETH_NAME_MAX_LEN];
    size_t used = 0;
    uint16_t id;

    snprintf(text, size, "none");
    RTE_ETH_FOREACH_DEV(id)
    {
        if (rte_eth_dev_get_name_by_port(id, name) != 0)
            continue;
        int n = snprintf(text + used, size - used, "%s%s", used > 0 ? ", " : "", name);
        if (n < 0 || (size_t)n >= size - used)
            return;
        used += (size_t)n;
    }
}

static int find_device(struct ls_dpdk_port *p, const char *device, struct reason why)
{
    char name[RTE_ETH_NAME_MAX_LEN], known[256];
    unsigned bus, slot, function;
    int used = 0;

    if (device == NULL || device[0] == 0 || strlen(device) >= sizeof(name) - 5)
        return fail(why, -EINVAL, "device name \"%s\": must have 1 to %zu characters", device != NULL ? device : "",
                    sizeof(name) - 6);
    bool is_short_pci =
        sscanf(device, "%2x:%2x.%1x%n", &bus, &slot, &function, &used) == 3 && (size_t)used == strlen(device);
    snprintf(name, sizeof(name), "%s%s", is_short_pci ? "0000:" : "", device);
    if (rte_eth_dev_get_port_by_name(name, &p->id) == 0)
        return 0;
    list_devices(known, sizeof(known));
    if (strncmp(name, "net_", 4) == 0)
        return fail(why, -ENODEV, "device %s: its driver refused it, see its lines above (DPDK has: %s)", name, known);
    return fail(why, -ENODEV,
                "device %s: DPDK does not have it (it has: %s); check the name, and for a PCI device that it is bound "
                "to a driver that DPDK can use (vfio-pci)",
                name, known);
}

static int make_pool(struct ls_dpdk_port *p, uint32_t buffers, uint32_t mtu, struct reason why)
{
    char name[RTE_MEMPOOL_NAMESIZE];
    uint32_t room = RTE_ALIGN(RTE_PKTMBUF_HEADROOM + mtu + RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN + 8, 64);
    uint32_t least = p->facts.rx_descriptors + p->facts.tx_descriptors + POOL_SPARE;

    if (buffers < least)
        return fail(why, -EINVAL, "buffers %u: at least %u are needed with queues of %u and %u", buffers, least,
                    p->facts.rx_descriptors, p->facts.tx_descriptors);
    if (room < RTE_MBUF_DEFAULT_BUF_SIZE)
        room = RTE_MBUF_DEFAULT_BUF_SIZE;
    snprintf(name, sizeof(name), "lockstep_port_%u", p->id);
    p->pool = rte_pktmbuf_pool_create(name, buffers, POOL_CACHE, 0, (uint16_t)room, rte_eth_dev_socket_id(p->id));
    if (p->pool == NULL)
        return fail(why, -rte_errno,
                    "%u buffers of %u bytes: %s; give DPDK more memory (hugepages, or -m) or take fewer", buffers, room,
                    rte_strerror(rte_errno));
    return 0;
}

static int set_mtu(struct ls_dpdk_port *p, uint32_t mtu, struct reason why)
{
    uint16_t now = 0;
    int rc = rte_eth_dev_get_mtu(p->id, &now);

    if (rc == 0 && now != mtu) {
        rc = rte_eth_dev_set_mtu(p->id, (uint16_t)mtu);
        if (rc != 0)
            return fail(why, rc, "MTU %u: %s (it is %u now); take one that the device allows, or set it outside", mtu,
                        rte_strerror(-rc), now);
    }
    p->facts.mtu = mtu;
    return 0;
}

static int configure(struct ls_dpdk_port *p, const struct ls_dpdk_port_config *config, struct reason why)
{
    struct rte_eth_dev_info info;
    struct rte_eth_conf conf = {0};
    uint32_t mtu = config->mtu != 0 ? config->mtu : LS_DPDK_MTU_DEFAULT;
    uint16_t rx = (uint16_t)(config->rx_descriptors != 0 ? config->rx_descriptors : LS_DPDK_RING_DEFAULT);
    uint16_t tx = (uint16_t)(config->tx_descriptors != 0 ? config->tx_descriptors : LS_DPDK_RING_DEFAULT);
    const uint64_t rx_sums = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM;

    if (mtu < LS_DPDK_MTU_DEFAULT || mtu > LS_DPDK_MTU_MAX)
        return fail(why, -EINVAL, "MTU %u: allowed are %u to %u", mtu, LS_DPDK_MTU_DEFAULT, LS_DPDK_MTU_MAX);
    if (config->rx_descriptors > 32768 || config->tx_descriptors > 32768)
        return fail(why, -EINVAL, "descriptors %u and %u: at most 32768", config->rx_descriptors,
                    config->tx_descriptors);
    int rc = rte_eth_dev_info_get(p->id, &info);
    if (rc != 0)
        return fail(why, rc, "device %s: its facts cannot be read: %s", config->device, rte_strerror(-rc));
    p->facts.driver = info.driver_name;

    conf.rxmode.mtu = mtu;
    if (!config->software_checksums) {
        conf.rxmode.offloads = info.rx_offload_capa & rx_sums;
        conf.txmode.offloads = info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
    }
    p->facts.sums_rx = (conf.rxmode.offloads & RTE_ETH_RX_OFFLOAD_UDP_CKSUM) != 0;
    p->facts.sums_tx = p->sums_tx = conf.txmode.offloads != 0;
    /* One pool, one reference each: drivers may free sent buffers the quick way. */
    conf.txmode.offloads |= info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
    rc = rte_eth_dev_configure(p->id, 1, 1, &conf);
    if (rc != 0)
        return fail(why, rc, "device %s (%s): cannot be configured with MTU %u: %s", config->device, info.driver_name,
                    mtu, rte_strerror(-rc));
    p->is_configured = true;
    rc = rte_eth_dev_adjust_nb_rx_tx_desc(p->id, &rx, &tx);
    if (rc != 0)
        return fail(why, rc, "device %s: queues of %u and %u: %s", config->device, rx, tx, rte_strerror(-rc));
    p->facts.rx_descriptors = rx;
    p->facts.tx_descriptors = tx;
    rc = set_mtu(p, mtu, why);
    if (rc == 0)
        rc = make_pool(p, config->buffers != 0 ? config->buffers : LS_DPDK_BUFFERS_DEFAULT, mtu, why);
    if (rc != 0)
        return rc;

    int numa = rte_eth_dev_socket_id(p->id);
    rc = rte_eth_rx_queue_setup(p->id, 0, rx, (unsigned)numa, NULL, p->pool);
    if (rc == 0)
        rc = rte_eth_tx_queue_setup(p->id, 0, tx, (unsigned)numa, NULL);
    if (rc != 0)
        return fail(why, rc, "device %s: queues of %u and %u: %s", config->device, rx, tx, rte_strerror(-rc));
    return 0;
}

static int open_framing(struct ls_dpdk_port *p, const struct ls_dpdk_port_config *config, struct reason why)
{
    struct ls_framing_config framing = {
        .addr = config->addr,
        .gateway = config->gateway,
        .prefix = config->prefix,
        .accept_partial_checksum = config->accept_partial_checksum,
        .device_sums_udp = p->sums_tx,
    };
    struct rte_ether_addr mac;
    int rc = rte_eth_macaddr_get(p->id, &mac);

    if (rc != 0)
        return fail(why, rc, "device %s: its MAC address cannot be read: %s", config->device, rte_strerror(-rc));
    memcpy(framing.mac, mac.addr_bytes, sizeof(framing.mac));
    memcpy(p->facts.mac, mac.addr_bytes, sizeof(p->facts.mac));
    return ls_framing_init(&p->framing, &framing, p->counters, why.text, why.size);
}

/* Domain of a socket; -1: no socket. */
static int domain_of(int fd)
{
    int domain;
    socklen_t size = sizeof(domain);
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 ? domain : -1;
}

static bool is_bound_to(int fd, unsigned if_index)
{
    struct sockaddr_ll at;
    socklen_t size = sizeof(at);
    return getsockname(fd, (struct sockaddr *)&at, &size) == 0 && (unsigned)at.sll_ifindex == if_index;
}

/* No driver of 22.11 for a kernel interface offers receive interrupts, yet their sockets can be polled: look for the
 * one of this device among our own. An AF_XDP socket does not tell its interface, so only a single one is believed. */
static int find_wait_fd(unsigned if_index)
{
    DIR *dir = if_index != 0 ? opendir("/proc/self/fd") : NULL;
    const struct dirent *entry;
    int packet = -1, xdp = -1, xdp_count = 0;

    if (dir == NULL)
        return -1;
    while ((entry = readdir(dir)) != NULL) {
        char *end;
        long fd = strtol(entry->d_name, &end, 10);
        if (end == entry->d_name || *end != 0 || fd > INT32_MAX)
            continue;
        int domain = domain_of((int)fd);
        if (domain == AF_PACKET && is_bound_to((int)fd, if_index))
            packet = (int)fd;
        if (domain == AF_XDP) {
            xdp = (int)fd;
            xdp_count++;
        }
    }
    closedir(dir);
    if (packet >= 0)
        return packet;
    return xdp_count == 1 ? xdp : -1;
}

static int open_port(struct ls_dpdk_port *p, const struct ls_dpdk_port_config *config, struct reason why)
{
    struct rte_eth_dev_info info;

    int rc = find_device(p, config->device, why);
    if (rc == 0)
        rc = configure(p, config, why);
    if (rc == 0)
        rc = open_framing(p, config, why);
    if (rc != 0)
        return rc;
    rc = rte_eth_dev_start(p->id);
    if (rc != 0)
        return fail(why, rc, "device %s (%s): cannot be started: %s", config->device, p->facts.driver,
                    rte_strerror(-rc));
    p->is_started = true;
    p->wait_fd = rte_eth_dev_info_get(p->id, &info) == 0 ? find_wait_fd(info.if_index) : -1;
    return 0;
}

int ls_dpdk_port_create(const struct ls_dpdk_port_config *config, struct ls_counters *counters,
                        struct ls_dpdk_port **port, char *error, size_t error_size)
{
    struct reason why = {error, error_size};

    assert(counters != NULL);
    *port = NULL;
    struct ls_dpdk_port *p = aligned_alloc(RTE_CACHE_LINE_SIZE, sizeof(*p));
    if (p == NULL)
        return fail(why, -ENOMEM, "no memory for a port");
    memset(p, 0, sizeof(*p));
    p->port = (struct ls_port){.io = {port_alloc, port_send, mbuf_release, port_peers},
                               .receive = port_receive,
                               .done = port_done,
                               .flush = port_flush};
    p->counters = counters;
    p->wait_fd = -1;
    int rc = open_port(p, config, why);
    if (rc != 0) {
        ls_dpdk_port_destroy(p);
        return rc;
    }
    p->apply =
        (struct pool_io){.io = {.alloc = apply_alloc, .send = apply_send, .release = mbuf_release}, .pool = p->pool};
    *port = p;
    return 0;
}

void ls_dpdk_port_stop(struct ls_dpdk_port *port)
{
    if (port->tx_count > 0) {
        rte_pktmbuf_free_bulk(port->tx, port->tx_count);
        port->tx_count = 0;
    }
    if (port->is_started)
        (void)rte_eth_dev_stop(port->id); /* fails only for devices that are gone */
    port->is_started = false;
}

void ls_dpdk_port_destroy(struct ls_dpdk_port *port)
{
    if (port == NULL)
        return;
    ls_dpdk_port_stop(port);
    if (port->is_configured)
        (void)rte_eth_dev_close(port->id);
    rte_mempool_free(port->pool);
    free(port);
}

/* ---- asking ---- */

struct ls_port *ls_dpdk_port_port(struct ls_dpdk_port *port)
{
    return &port->port;
}

struct ls_io *ls_dpdk_port_apply_io(struct ls_dpdk_port *port)
{
    return &port->apply.io;
}

int ls_dpdk_port_wait_fd(const struct ls_dpdk_port *port)
{
    return port->wait_fd;
}

void ls_dpdk_port_link(const struct ls_dpdk_port *port, struct ls_dpdk_link *link)
{
    struct rte_eth_link now;

    *link = (struct ls_dpdk_link){.mbit_per_second = UINT32_MAX};
    if (rte_eth_link_get_nowait(port->id, &now) == 0) {
        link->is_up = now.link_status == RTE_ETH_LINK_UP;
        link->mbit_per_second = now.link_speed;
    }
}

void ls_dpdk_port_buffers(const struct ls_dpdk_port *port, uint32_t *free_buffers, uint32_t *total)
{
    *free_buffers = rte_mempool_avail_count(port->pool);
    *total = port->pool->size;
}

int ls_dpdk_port_losses(const struct ls_dpdk_port *port, struct ls_dpdk_losses *losses)
{
    struct rte_eth_stats stats;

    *losses = (struct ls_dpdk_losses){0};
    if (rte_eth_stats_get(port->id, &stats) != 0)
        return -ENOTSUP;
    losses->missed = stats.imissed;
    losses->errors = stats.ierrors;
    losses->no_buffers = stats.rx_nombuf;
    return 0;
}

void ls_dpdk_port_facts(const struct ls_dpdk_port *port, struct ls_dpdk_facts *facts)
{
    *facts = port->facts;
}
