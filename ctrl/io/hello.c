/* SPDX-License-Identifier: BSD-3-Clause */
/* See hello.h. */
#include "hello.h"

#include <stdio.h>
#include <string.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define DEAD_MS 2000

const char *ls_hello_refusal_text(unsigned refusal)
{
    switch (refusal) {
    case LS_HELLO_FINE:
        return "nothing";
    case LS_HELLO_GARBAGE:
        return "what came first is no hello: something that is not lockstep-ctrl uses this port";
    case LS_HELLO_OTHER_VERSION:
        return "another version of the protocol between ctrls: install the same version on all nodes";
    case LS_HELLO_OTHER_CLUSTER:
        return "another cluster's id: look at cluster_id and at the ctrl addresses in both cluster files";
    case LS_HELLO_OTHER_NODE:
        return "another node is meant: two nodes' ctrl addresses are mixed up in a cluster file";
    case LS_HELLO_NO_NODE:
        return "a node id that cannot be, or that of the one who was called: two nodes run under one id";
    case LS_HELLO_NO_MEMBER:
        return "not a member of the cluster: add it first (lockstep member add)";
    case LS_HELLO_WRONG_END:
        return "of two nodes the one with the lower id connects";
    case LS_HELLO_BUSY:
        return "too many connections";
    }
    return "a reason that this version does not know";
}

struct ls_hello ls_hello_make(uint64_t cluster, uint16_t node, uint16_t to, enum ls_hello_kind kind)
{
    return (struct ls_hello){.length = sizeof(struct ls_hello) - sizeof(uint32_t),
                             .version = LS_HELLO_VERSION,
                             .magic = LS_HELLO_MAGIC,
                             .cluster = cluster,
                             .node = node,
                             .to = to,
                             .kind = (uint16_t)kind};
}

enum ls_hello_refusal ls_hello_check(const struct ls_hello *hello, uint64_t cluster, uint16_t node)
{
    if (hello->length != sizeof(*hello) - sizeof(uint32_t) || hello->magic != LS_HELLO_MAGIC)
        return LS_HELLO_GARBAGE;
    if (hello->version != LS_HELLO_VERSION)
        return LS_HELLO_OTHER_VERSION;
    if (hello->cluster != cluster)
        return LS_HELLO_OTHER_CLUSTER;
    if (hello->to != node)
        return LS_HELLO_OTHER_NODE;
    if (hello->node == 0 || hello->node > LS_NODE_ID_MAX || hello->node == node)
        return LS_HELLO_NO_NODE;
    if (hello->kind != LS_HELLO_LINK && hello->kind != LS_HELLO_BULK)
        return LS_HELLO_GARBAGE;
    return LS_HELLO_FINE;
}

int ls_hello_socket(void)
{
    return socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

void ls_hello_socket_set(int fd)
{
    int on = 1, idle_s = 1, every_s = 1, probes = 2;
    unsigned dead_ms = DEAD_MS;

    /* Each is an improvement only: a kernel that refuses one gives a link that works all the same. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof(every_s));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &dead_ms, sizeof(dead_ms));
}

void ls_hello_patience_set(int fd, uint32_t ms)
{
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
}

const char *ls_hello_addr_text(struct ls_addr addr, char text[LS_HELLO_ADDR_TEXT])
{
    snprintf(text, LS_HELLO_ADDR_TEXT, "%u.%u.%u.%u:%u", addr.ip >> 24, addr.ip >> 16 & 255, addr.ip >> 8 & 255,
             addr.ip & 255, addr.port);
    return text;
}
