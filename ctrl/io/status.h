/* SPDX-License-Identifier: BSD-3-Clause */
/* What a node knows, as JSON: the bodies of GET /v1/status, /v1/log and /v1/checkpoints. ctrl's one thread. */
#ifndef LOCKSTEP_CTRL_IO_STATUS_H
#define LOCKSTEP_CTRL_IO_STATUS_H

#include <jansson.h>

#include "operate.h"

/* New references; NULL: no memory. */
json_t *ls_status_json(const struct ls_operate_view *view, uint64_t now_ns);
json_t *ls_checkpoint_json(const struct ls_operate_checkpoint *checkpoint);
/* null while nothing runs. */
json_t *ls_progress_json(const struct ls_operate_progress *progress);

/* `body` is that of a checked LS_CONTROL_LOG_BYTES. */
json_t *ls_log_json(const uint8_t *body);

/* The newest applied seq that is known of any member; and how many entries a member is behind it. False: nothing is
 * known of that one. */
uint64_t ls_status_newest_seq(const struct ls_operate_view *view);
bool ls_status_lag(const struct ls_operate_view *view, uint16_t node, uint64_t *lag);

#endif
