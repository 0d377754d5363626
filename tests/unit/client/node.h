/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A real node for tests of the library: the only voter of its cluster (replica, executor and key-value store, on one
 * thread of their own) behind a kernel UDP socket on loopback. Frames may be lost on both ways.
 */
#ifndef TESTS_CLIENT_NODE_H
#define TESTS_CLIENT_NODE_H

#include <stdatomic.h>

#include <lockstep/client.h>

#define NODE_CLUSTER 0xc10c4ull

struct node;

/* `at`: own address; port 0: any; ip 0: loopback. `lose`: every so many-th frame is lost, each way; 0: none. */
struct node *node_start_at(struct ls_addr at, uint32_t lose, uint32_t sessions, uint64_t session_idle_ns);
struct node *node_start(uint32_t lose, uint32_t sessions, uint64_t session_idle_ns);
void node_stop(struct node *node);
/* While it is set the node neither receives nor sends. */
void node_mute(struct node *node, bool mute);
struct ls_addr node_addr(const struct node *node);
/* For a client of this node. */
struct ls_client_options node_options(const struct node *node);

#endif
