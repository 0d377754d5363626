/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A network inside one process: up to LS_RING_PORTS_MAX ports, each pair joined by a queue in each direction, for
 * benchmarks and tests. Datagrams only: no headers, no checksums, no DPDK. A frame is not copied between ports.
 *
 * Threads: each port belongs to one thread; all may share one (the one-core harness) or have one each. The queues are
 * single-producer single-consumer.
 *
 * Buffers belong to the port that sends, for ever. A queue's slots carry pointers to them; the receiver's done() moves
 * the queue's head, and the sender takes the buffers that lie behind it back. So a port runs out of buffers when others
 * do not give back what it sent, as a NIC's pool would. done() may be called in any order.
 */
#ifndef LOCKSTEP_NET_RING_H
#define LOCKSTEP_NET_RING_H

#include <lockstep/limits.h>
#include <lockstep/counters.h>
#include <lockstep/types.h>

#include "../core/io.h"

#define LS_RING_PORTS_MAX 64

struct ls_ring_config {
    uint32_t ports;             /* 1..LS_RING_PORTS_MAX */
    const struct ls_addr *addr; /* of each; all different */
    uint32_t buffers;           /* of each port; 0: 2048 */
    uint32_t depth;             /* of each queue, rounded up to a power of two; 0: 1024 */
};

struct ls_ring_switch;

/* Takes all memory; NULL and errno (ENOMEM, or EINVAL: two equal addresses, a number out of bounds). */
struct ls_ring_switch *ls_ring_switch_create(const struct ls_ring_config *config);
void ls_ring_switch_destroy(struct ls_ring_switch *net);

/* Port `index`, counting into `counters`, which outlives the switch; before the port's thread uses it. It counts
 * frames_out, bytes_out, drop_tx_full and, for addresses that no port has, arp_unresolved; the replica counts what
 * comes in. */
struct ls_port *ls_ring_port_open(struct ls_ring_switch *net, uint32_t index, struct ls_counters *counters);

/* Buffers of a port that are free (what receivers have given back is taken first), and all of them. Its thread. */
void ls_ring_port_buffers(struct ls_port *port, uint32_t *free_buffers, uint32_t *total);

#endif
