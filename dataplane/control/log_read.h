/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads committed entries out of the ring while net goes on writing: for `log tail` and whoever else asks by message.
 * Never holds anything up; what is overwritten meanwhile is noticed and not answered. Any one thread but net.
 */
#ifndef LOCKSTEP_CONTROL_LOG_READ_H
#define LOCKSTEP_CONTROL_LOG_READ_H

#include <lockstep/control_message.h>

#include "../core/log.h"

/* Answers `ask` for a log that is committed up to position `commit`: head and entries into `to`, which has `room` bytes
 * (at least LS_LOG_READ_MIN). Returns the bytes written. */
#define LS_LOG_READ_MIN 4096
uint32_t ls_log_read(const struct ls_log *log, uint64_t commit, const struct ls_control_log *ask, uint8_t *to,
                     uint32_t room);

#endif
