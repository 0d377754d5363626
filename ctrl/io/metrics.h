/* SPDX-License-Identifier: BSD-3-Clause */
/* What a node knows, as Prometheus' text format (version 0.0.4): the body of GET /metrics. ctrl's one thread. */
#ifndef LOCKSTEP_CTRL_IO_METRICS_H
#define LOCKSTEP_CTRL_IO_METRICS_H

#include <event2/buffer.h>

#include "faults.h"
#include "operate.h"

#define LS_METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Appends to `out`. False: no memory. */
bool ls_metrics_write(struct evbuffer *out, const struct ls_operate_view *view, const struct ls_fault_list *faults,
                      uint64_t now_ns);

#endif
