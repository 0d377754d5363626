/* SPDX-License-Identifier: BSD-3-Clause */
/* Both ends of the socket check by one table. See message.h. */
#include "message.h"

#include "../../dataplane/core/control_check.h"

const char *ls_message_check(const uint8_t *message, size_t size)
{
    return ls_control_check(LS_CONTROL_TO_CTRL, message, size);
}
