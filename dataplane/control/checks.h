/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a node looks at before it starts: cores, memory, huge pages, the device, permissions. Each thing that is missing
 * is one line that says what, and the command that mends it. No DPDK here; the files of the system are read below
 * `root`, so that tests can bring their own.
 */
#ifndef LOCKSTEP_CONTROL_CHECKS_H
#define LOCKSTEP_CONTROL_CHECKS_H

#include "config.h"

#define LS_CHECKS_MAX     16
#define LS_CHECK_TEXT_MAX 512

struct ls_checks {
    uint32_t problems; /* the node cannot start */
    uint32_t notes;    /* it can, but should know */
    bool hugepages;    /* what `auto` comes to; meaningful without problems */
    char problem[LS_CHECKS_MAX][LS_CHECK_TEXT_MAX];
    char note[LS_CHECKS_MAX][LS_CHECK_TEXT_MAX];
};

/* `root`: "" on a real system. */
void ls_checks_run(const struct ls_config *config, const struct ls_config_node *node, const char *root,
                   struct ls_checks *checks);

/* Bytes of memory that can still be taken; false: the system does not tell. */
bool ls_checks_memory_available(const char *root, uint64_t *bytes);

/* The parts, for what a node says at start: bytes free in huge pages of any size; whether there is an IOMMU. */
uint64_t ls_checks_hugepages_free(const char *root);
bool ls_checks_has_iommu(const char *root);

#endif
