/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A port on one Ethernet device of DPDK: the only user of rte_ethdev. EAL runs already, with the device given to it
 * (control/eal.c); every device that is not named here is left alone. One receive and one transmit queue.
 *
 * Threads. create and destroy: any one thread, while nobody uses the port. `struct ls_port`: the net worker. The io of
 * ls_dpdk_port_apply_io(): one other worker. Both should be EAL lcores: other threads work, but without the pool's
 * cache (42 cycles a buffer instead of 18). Link, buffers, statistics: any thread (they may make system calls).
 *
 * Buffers are mbufs of one pool: frame->handle is the mbuf, frame->data its UDP payload, behind room for the headers.
 * The port counts frames_out and bytes_out (what the device took), drop_tx_full (what it did not take in a bounded
 * number of tries) and all that framing.h counts; the replica counts frames_in and bytes_in.
 */
#ifndef LOCKSTEP_NET_DPDK_H
#define LOCKSTEP_NET_DPDK_H

#include <lockstep/limits.h>
#include <lockstep/counters.h>
#include <lockstep/types.h>

#include "../core/io.h"

#define LS_DPDK_MTU_DEFAULT     1500
#define LS_DPDK_MTU_MAX         9000
#define LS_DPDK_BUFFERS_DEFAULT 4096
#define LS_DPDK_RING_DEFAULT    512 /* descriptors of each queue, where the device allows that many */

struct ls_dpdk_port_config {
    const char *device;           /* as EAL names it: "0000:00:03.0" (or "00:03.0"), "net_af_packet0", ... */
    struct ls_addr addr;          /* of this port; the IP address must not belong to any kernel interface */
    uint32_t gateway;             /* 0: none */
    uint8_t prefix;               /* 1..31 */
    bool accept_partial_checksum; /* peers are kernel sockets behind veth or a bridge: see framing.h */
    bool software_checksums;      /* do not use the device's checksum offloads */
    uint32_t mtu;                 /* 0: LS_DPDK_MTU_DEFAULT; at least that, as frames are never fragmented */
    uint32_t buffers;             /* in the pool; 0: LS_DPDK_BUFFERS_DEFAULT */
    uint32_t rx_descriptors;      /* 0: LS_DPDK_RING_DEFAULT */
    uint32_t tx_descriptors;
};

struct ls_dpdk_port;

/* Configures and starts the device. 0, or -errno and in `error` what failed, the value and what to try. `counters`
 * outlives the port. */
int ls_dpdk_port_create(const struct ls_dpdk_port_config *config, struct ls_counters *counters,
                        struct ls_dpdk_port **port, char *error, size_t error_size);
/* Stops and closes the device (to EAL it is gone then) and frees the pool: all frames must have been given back. */
void ls_dpdk_port_destroy(struct ls_dpdk_port *port);

struct ls_port *ls_dpdk_port_port(struct ls_dpdk_port *port);

/* alloc and release from the same pool, for the apply worker; its frames are sent by net, through ls_port. send() here
 * is a mistake of the caller and aborts. */
struct ls_io *ls_dpdk_port_apply_io(struct ls_dpdk_port *port);

/* A file descriptor that poll() reports as readable when frames have come, for a worker that wants to sleep; -1: the
 * driver has none (a NIC polled by itself). It stays the driver's: only poll it. Before sleeping, receive() once more.
 */
int ls_dpdk_port_wait_fd(const struct ls_dpdk_port *port);

struct ls_dpdk_link {
    bool is_up;
    uint32_t mbit_per_second; /* UINT32_MAX: unknown */
};
void ls_dpdk_port_link(const struct ls_dpdk_port *port, struct ls_dpdk_link *link);

/* Of the pool, now. What is not free is with the workers or with the device (received or being sent). */
void ls_dpdk_port_buffers(const struct ls_dpdk_port *port, uint32_t *free_buffers, uint32_t *total);

/* Stops the device, which gives its buffers back; the port cannot be used again. For leak checks: afterwards all of
 * the pool is free, or somebody keeps some. */
void ls_dpdk_port_stop(struct ls_dpdk_port *port);

struct ls_dpdk_losses {
    uint64_t missed;     /* the device's queue was full: the net worker came too late */
    uint64_t errors;     /* damaged on the wire */
    uint64_t no_buffers; /* the pool was empty */
};
/* 0, or -ENOTSUP: the driver does not count. */
int ls_dpdk_port_losses(const struct ls_dpdk_port *port, struct ls_dpdk_losses *losses);

struct ls_dpdk_facts {
    const char *driver; /* static */
    uint8_t mac[6];
    bool sums_rx; /* the device verifies UDP checksums */
    bool sums_tx; /* the device completes them */
    uint32_t rx_descriptors;
    uint32_t tx_descriptors;
    uint32_t mtu;
};
/* What was found and chosen; for the line in the log. */
void ls_dpdk_port_facts(const struct ls_dpdk_port *port, struct ls_dpdk_facts *facts);

#endif
