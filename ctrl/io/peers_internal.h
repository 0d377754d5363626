/* SPDX-License-Identifier: BSD-3-Clause */
/* What peers.c (links) and peers_accept.c (connections that come in) share. ctrl's thread. */
#ifndef LOCKSTEP_CTRL_IO_PEERS_INTERNAL_H
#define LOCKSTEP_CTRL_IO_PEERS_INTERNAL_H

#include "peers.h"

#include <event2/listener.h>

#include "../core/ctrl.h"
#include "hello.h"

enum ls_peers_state {
    LINK_IDLE, /* waits for its timer, or for the other end to connect */
    LINK_CONNECTING,
    LINK_HELLO, /* said hello, awaits the answer */
    LINK_UP,
};

struct ls_peers_link {
    struct ls_peers *peers;
    struct ls_peers_link *next; /* among those that were taken away */
    uint16_t node;
    enum ls_peers_state state;
    struct ls_addr addr;
    struct bufferevent *bev; /* owned; NULL in LINK_IDLE */
    struct event *timer;     /* connect again; or give the attempt up */
    struct event *broken;    /* the queue overflowed: to be said from the loop */
    uint64_t backoff_ms;
    uint64_t up_ns;
    char said[320]; /* last line about it: not said twice in a row */
    uint64_t said_ns;
    uint32_t lines_used; /* of a burst; given back with time */
    uint32_t unsaid;
};

/* Came in and has not said who it is. */
struct ls_peers_pending {
    struct ls_peers *peers;
    struct bufferevent *bev; /* NULL: free place */
    struct event *timer;
    uint64_t since_ns;
    char from[64];
};

struct ls_peers {
    struct event_base *base;
    uint64_t cluster;
    uint16_t node;
    struct ls_peers_io io;
    struct ls_peers_link *link[LS_MEMBERS_MAX];
    struct ls_peers_link *graves;
    struct event *graves_event;
    struct evconnlistener *listener;
    struct event *accept_timer;
    struct ls_peers_pending pending[LS_PEERS_PENDING_MAX];
    uint64_t refused;
    uint64_t refused_said_ns;
    char refused_why[256]; /* said last: the same again only once a minute */
    uint64_t refused_unsaid;
};

struct ls_peers_link *ls_peers_link_find(struct ls_peers *peers, uint16_t node);
/* `bev` is a connection whose hellos are done. */
void ls_peers_link_take(struct ls_peers_link *link, struct bufferevent *bev);
void ls_peers_timer_set(struct event *timer, uint64_t ms);

bool ls_peers_listen(struct ls_peers *peers, struct ls_addr listen, char *error, size_t room);
void ls_peers_listen_end(struct ls_peers *peers);

#endif
