/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a node must remember for ever, in its first form. ctrl/io/record.c keeps it on disk; it is on the disk before
 * anything that depends on it is said to anyone.
 */
#ifndef LOCKSTEP_CTRL_CORE_DURABLE_H
#define LOCKSTEP_CTRL_CORE_DURABLE_H

#include <stdint.h>

struct ls_durable {
    uint64_t cluster;
    uint32_t generation;
    uint16_t node;
    uint64_t incarnation; /* of the dataplane started last; 0: never started */
    uint64_t promise;     /* no frame of an older epoch is accepted or acknowledged; 0: none was ever promised */
};

#endif
