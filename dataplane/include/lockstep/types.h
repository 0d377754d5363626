/* SPDX-License-Identifier: BSD-3-Clause */
/* Small value types that every part shares. */
#ifndef LOCKSTEP_TYPES_H
#define LOCKSTEP_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An IPv4 UDP end point; both fields in host order. Zero address: none. */
struct ls_addr {
    uint32_t ip;
    uint16_t port;
};

static inline bool ls_addr_equal(struct ls_addr a, struct ls_addr b)
{
    return a.ip == b.ip && a.port == b.port;
}

/* What a node is in a membership. */
enum ls_member_role {
    LS_MEMBER_VOTER = 1,
    LS_MEMBER_LEARNER = 2,
};

struct ls_member {
    uint16_t node;       /* 1..LS_NODE_ID_MAX */
    uint16_t role;       /* enum ls_member_role */
    struct ls_addr addr; /* of its dataplane */
    struct ls_addr ctrl; /* of its lockstep-ctrl, on the kernel's network; zero: not told */
};

/* How a read may be answered. */
enum ls_consistency {
    LS_READ_LINEARIZABLE = 0, /* sees every write acknowledged before it began */
    LS_READ_LEAST = 1,        /* sees at least the seq that the reader names: read-your-writes, monotonic reads */
    LS_READ_STALE = 2,        /* the local copy at once, with the age it may have */
};

/* What an acknowledgement means. */
enum ls_durability {
    LS_DURABLE_NONE = 0,    /* not ordered (an error or a read) */
    LS_DURABLE_MEMORY = 1,  /* in the memory of a majority */
    LS_DURABLE_ASYNC = 2,   /* the same, and being written behind */
    LS_DURABLE_JOURNAL = 3, /* on the disks of a majority */
};

#endif
