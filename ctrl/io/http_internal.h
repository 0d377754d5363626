/* SPDX-License-Identifier: BSD-3-Clause */
/* What http.c (server, readings), http_log.c (the log) and http_operate.c (commands, checkpoints, faults)
 * share. ctrl's one thread. */
#ifndef LOCKSTEP_CTRL_IO_HTTP_INTERNAL_H
#define LOCKSTEP_CTRL_IO_HTTP_INTERNAL_H

#include <sys/types.h>

#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/listener.h>

#include <jansson.h>

#include "faults_run.h"
#include "http.h"
#include "operate.h"

#define LS_HTTP_COMMANDS  16   /* remembered */
#define LS_HTTP_ANSWER_MS 2000 /* a command that takes longer is answered 202, and goes on */

/* One server's connections. libevent says nothing when one ends, so each slot holds a reference and is found free when
 * the server has let go of it. */
struct ls_http_connections {
    struct ls_http *http;
    struct bufferevent *open[LS_HTTP_CONNECTIONS_MAX];
};

/* A command that was given here: under way, or ended and remembered for those who ask for it by number. */
struct ls_http_command {
    struct ls_http *http;
    uint64_t id; /* 0: never used */
    bool running;
    int error;
    char what[96];
    char text[LS_OPERATE_TEXT];
    struct evhttp_request *request; /* waits for the answer; NULL: it has one */
    struct event *timer;
};

/* A request whose answer another one gives, later. */
struct ls_http_waiter {
    struct ls_http *http; /* NULL: gone meanwhile */
    struct evhttp_request *request;
    uint64_t seq;   /* of the log, that was asked for, */
    uint32_t bytes; /* and how much of it */
    struct ls_http_waiter *next;
};

struct ls_http {
    struct ls_node *node;
    struct evhttp *server;
    struct evhttp *metrics;          /* over TCP; NULL: not configured */
    struct evconnlistener *listener; /* the server's */
    struct evconnlistener *metrics_listener;
    struct event *accept_timer;
    bool accept_said;
    bool crowd_said;
    dev_t device; /* of the socket's file: at the end only our own is removed */
    ino_t inode;
    struct ls_faults *faults;
    struct ls_http_waiter *waiters;
    struct ls_history *history; /* the journal, where the last page ended; NULL: none, or a job has it */
    uint64_t command_last;      /* number given */
    uint32_t commands_running;  /* each holds this object */
    bool gone;                  /* destroyed, but for commands that still run */
    struct ls_http_command command[LS_HTTP_COMMANDS];
    struct ls_http_connections connections, metrics_connections;
};

/* ---- http.c ---- */

/* Also of what was cut within a character, which is no text to JSON. */
json_t *ls_http_text(const char *text);
/* Takes the reference to `json`. */
void ls_http_reply(struct evhttp_request *request, int code, const char *reason, json_t *json);
void ls_http_error(struct evhttp_request *request, int code, const char *text);
/* An errno as a refusal: {"error": text, "errno": number}. */
void ls_http_refuse(struct evhttp_request *request, int error, const char *text);
/* The request's body as an object; NULL: refused. */
json_t *ls_http_body(struct evhttp_request *request);
/* NULL: refused for want of memory. waited() ends it and gives the request back, NULL where nobody waits any more. */
struct ls_http_waiter *ls_http_wait(struct ls_http *http, struct evhttp_request *request);
struct evhttp_request *ls_http_waited(struct ls_http_waiter *waiter);
bool ls_http_method(struct evhttp_request *request, unsigned allowed, const char *names);

/* ---- http_log.c ---- */

void ls_http_on_log(struct evhttp_request *request, void *http);

/* ---- http_operate.c ---- */

void ls_http_operate_paths(struct ls_http *http);
/* Any path that has no handler of its own; false: it is none of these either. */
bool ls_http_operate_other(struct ls_http *http, struct evhttp_request *request, const char *path);
void ls_http_operate_end(struct ls_http *http);

#endif
