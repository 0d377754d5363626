/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DPDK telemetry commands of this node: /lockstep/status (what it is doing), /lockstep/members (the cluster view),
 * /lockstep/counters. Answered on DPDK's telemetry thread from the counters page and the published view.
 */
#ifndef LOCKSTEP_CONTROL_TELEMETRY_H
#define LOCKSTEP_CONTROL_TELEMETRY_H

#include <lockstep/counters.h>

#include "../workers/view.h"

/* After EAL has started, before the workers. Both stay until the process ends. 0 or -errno. */
int ls_telemetry_register(const struct ls_counters_page *page, struct ls_view_holder *view);

#endif
