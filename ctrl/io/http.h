/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HTTP and JSON on the node's unix socket: GET /v1/status, GET /v1/log?seq=N&bytes=M, POST /v1/fault. Every answer is
 * JSON; an error is {"error": text} with a status that fits. Whoever may open the socket (mode 0660) may ask. ctrl's
 * one thread.
 */
#ifndef LOCKSTEP_CTRL_IO_HTTP_H
#define LOCKSTEP_CTRL_IO_HTTP_H

#include "node.h"

struct ls_http;

/* Listens on the node's ctrl_socket. NULL, and why was said on stderr. */
struct ls_http *ls_http_create(struct ls_node *node);
/* No longer listens, and takes the socket's file away. */
void ls_http_destroy(struct ls_http *http);

#endif
