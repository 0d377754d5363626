/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Links between ctrls: one TCP connection to each other member, over which whole messages go in order. The node with
 * the lower id connects, and connects again for ever; a connection that comes in anew takes the older one's place. The
 * listener also takes bulk connections and hands them on. ctrl's thread and event loop.
 *
 * Callbacks come from the event loop only, never from within a call of these functions.
 */
#ifndef LOCKSTEP_CTRL_IO_PEERS_H
#define LOCKSTEP_CTRL_IO_PEERS_H

#include <event2/bufferevent.h>
#include <event2/event.h>

#include <lockstep/membership.h>

#define LS_PEERS_QUEUE_MAX      (256 * 1024) /* bytes that wait to be sent on a link: beyond it is broken */
#define LS_PEERS_PENDING_MAX    16           /* accepted connections that have not said who they are */
#define LS_PEERS_HELLO_MS       1000         /* to say it */
#define LS_PEERS_BACKOFF_MIN_MS 10
#define LS_PEERS_BACKOFF_MAX_MS 500

struct ls_peers_io {
    void *user;
    void (*up)(void *user, uint16_t node);
    /* The link broke; what was sent may be lost. */
    void (*down)(void *user, uint16_t node, const char *why);
    /* 1..LS_CTRL_MESSAGE_MAX bytes, valid during the call. NULL: taken; else why the link is to be closed. */
    const char *(*message)(void *user, uint16_t node, const uint8_t *bytes, size_t size);
    /* A member's bulk connection, both hellos done; the receiver owns it, without callbacks set. NULL: none are taken.
     */
    void (*bulk)(void *user, struct bufferevent *connection, uint16_t node);
    void (*say)(void *user, const char *text); /* a line for the log */
};

struct ls_peers;

/* Listens on `listen`; port 0: any. NULL: a line in `error`. */
struct ls_peers *ls_peers_create(struct event_base *base, uint64_t cluster, uint16_t node, struct ls_addr listen,
                                 const struct ls_peers_io *io, char *error, size_t room);
void ls_peers_free(struct ls_peers *peers);

/* Links to exactly these members without this node. No down() for those that are no longer among them. */
void ls_peers_set(struct ls_peers *peers, const struct ls_membership *members);

/* False: lost, no link stands. */
bool ls_peers_send(struct ls_peers *peers, uint16_t node, const void *bytes, size_t size);

bool ls_peers_linked(const struct ls_peers *peers, uint16_t node);
/* Where a member's ctrl listens; zero: no such member. */
struct ls_addr ls_peers_addr(const struct ls_peers *peers, uint16_t node);
uint16_t ls_peers_port(const struct ls_peers *peers);
/* Connections refused since the beginning, by whatever reason. */
uint64_t ls_peers_refused(const struct ls_peers *peers);

#endif
