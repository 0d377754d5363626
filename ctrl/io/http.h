/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HTTP and JSON on the node's unix socket, for operators and their programs: what the node knows, commands, faults on
 * purpose. README.md lists the paths. An error is {"error": text} with a status that fits. Whoever may open the socket
 * (mode 0660) may ask. Metrics also over TCP, where the cluster file says so, and nothing else there. ctrl's one
 * thread.
 */
#ifndef LOCKSTEP_CTRL_IO_HTTP_H
#define LOCKSTEP_CTRL_IO_HTTP_H

#define LS_HTTP_CONNECTIONS_MAX 64 /* of each socket; more are refused */

struct ls_node;
struct ls_http;

/* Listens on the node's ctrl_socket, and at its `metrics` address. NULL, and why was said on stderr. */
struct ls_http *ls_http_create(struct ls_node *node);
/* No longer listens, and takes the socket's file away. */
void ls_http_destroy(struct ls_http *http);

#endif
