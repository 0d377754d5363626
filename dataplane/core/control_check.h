/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checks a message between lockstep-ctrl and its dataplane (<lockstep/control_message.h>) before any of it is used: one
 * table of types, directions and sizes for both ends and for the simulator. Pure; any thread.
 */
#ifndef LOCKSTEP_CORE_CONTROL_CHECK_H
#define LOCKSTEP_CORE_CONTROL_CHECK_H

#include <stddef.h>

#include <lockstep/control_message.h>

enum ls_control_direction { LS_CONTROL_TO_DATAPLANE, LS_CONTROL_TO_CTRL };

/* NULL: `size` bytes, header first, are a well-formed message in that direction: version, type, number, size, reserved
 * fields, members, texts and paths are what they may be. Else why not; static. Whether it fits to what the receiver
 * does just now is not looked at. */
const char *ls_control_check(enum ls_control_direction direction, const uint8_t *message, size_t size);

#endif
