/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks what comes from the dataplane (<lockstep/control_message.h>) before any of it is used. Pure. */
#ifndef LOCKSTEP_CTRL_CORE_MESSAGE_H
#define LOCKSTEP_CTRL_CORE_MESSAGE_H

#include <stddef.h>

#include <lockstep/control_message.h>

/* NULL: `size` bytes are a well-formed answer or event. Else why not; static. */
const char *ls_message_check(const uint8_t *message, size_t size);

#endif
