/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a node must remember for ever. ctrl/io/record.c keeps it on disk; it is on the disk before anything that depends
 * on it is said to anyone, or ordered of the dataplane.
 */
#ifndef LOCKSTEP_CTRL_CORE_DURABLE_H
#define LOCKSTEP_CTRL_CORE_DURABLE_H

#include <lockstep/membership.h>

struct ls_durable {
    uint64_t cluster;
    uint32_t generation;
    uint16_t node;
    uint16_t vote;        /* node that this one voted for in epoch `promise`; 0: none */
    uint64_t incarnation; /* of the dataplane started last; 0: never started */
    uint64_t counts;  /* the incarnation that may vote and count; 0: none. Another than `incarnation`: memory lost */
    uint64_t promise; /* no frame of an older epoch is accepted or acknowledged; 0: none was ever promised */
    bool founder;     /* made by bootstrap, and no epoch promised yet: an empty log is right */
    bool recovers;    /* begins this generation alone, from what an operator chose; until it promises an epoch of it */
    struct ls_membership members; /* the newest one heard of, to find the peers by; never used to count votes */
};

#endif
