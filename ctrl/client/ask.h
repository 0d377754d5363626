/* SPDX-License-Identifier: BSD-3-Clause */
/* Questions to lockstep-ctrl: HTTP over its unix socket by libcurl, JSON by jansson. One thread. */
#ifndef LOCKSTEP_CTRL_CLIENT_ASK_H
#define LOCKSTEP_CTRL_CLIENT_ASK_H

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

/* The answer, an object; NULL: `text` says why, `code` is the HTTP status (0: nobody answered), `number` the errno that
 * the answer names, or ETIMEDOUT where it may have been done. Releases `sent` (NULL: no body). */
json_t *ls_ask(const char *socket, const char *method, const char *path, json_t *sent, uint64_t timeout_ns, long *code,
               int *number, char *text, size_t room);
json_t *ls_ask_get(const char *socket, const char *path, uint64_t timeout_ns, long *code, char *text, size_t room);

#endif
