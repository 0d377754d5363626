/* SPDX-License-Identifier: BSD-3-Clause */
/* What a node knows, as JSON: the bodies of GET /v1/status and GET /v1/log. ctrl's one thread. */
#ifndef LOCKSTEP_CTRL_IO_STATUS_H
#define LOCKSTEP_CTRL_IO_STATUS_H

#include <jansson.h>

#include "node.h"

/* New references; NULL: no memory. */
json_t *ls_status_json(const struct ls_node *node, uint64_t now_ns);

/* `body` is that of a checked LS_CONTROL_LOG_BYTES. */
json_t *ls_log_json(const uint8_t *body);

/* Takes {"drop": 1000, "cut_in": [2, 3], ...}: the fields of struct ls_control_fault by name, cut_in and cut_out as
 * lists of node ids (0: clients) or as masks. 0; or -EINVAL with one line in `error`. */
int ls_fault_parse(const json_t *json, struct ls_control_fault *fault, char *error, size_t error_size);

#endif
