/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The HTTP interface, over libevent's server. A question that the dataplane has to answer keeps its request until the
 * answer, the time-out or the dataplane's end, one of which always comes. If the client goes away first, libevent lets
 * go of the connection and keeps the request for us (it is not done yet), and the late reply only frees it.
 */
#include "http_internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <arpa/inet.h>

#include <event2/buffer.h>

#include "../../dataplane/journal/history.h"
#include "../../dataplane/workers/clock.h"
#include "metrics.h"
#include "status.h"

#define BODY_MAX        65536
#define HEADERS_MAX     8192
#define IDLE_SECONDS    30
#define READ_AHEAD_MAX  (2 * BODY_MAX) /* more than the largest request */
#define ACCEPT_PAUSE_US 100000

/* ---- answers ---- */

json_t *ls_http_text(const char *text)
{
    json_t *json = json_string(text);
    char plain[1024];

    if (json != NULL)
        return json;
    snprintf(plain, sizeof(plain), "%s", text);
    for (char *at = plain; *at != '\0'; at++)
        if ((*at & 0x80) != 0)
            *at = '?';
    return json_string(plain);
}

void ls_http_reply(struct evhttp_request *request, int code, const char *reason, json_t *json)
{
    struct evbuffer *body = evbuffer_new();
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    if (body == NULL || text == NULL || evbuffer_add_printf(body, "%s\n", text) < 0) {
        evhttp_send_error(request, HTTP_INTERNAL, "out of memory");
    } else {
        evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", "application/json");
        evhttp_send_reply(request, code, reason, body);
    }
    free(text);
    if (body != NULL)
        evbuffer_free(body);
}

static const char *reason_of(int code)
{
    switch (code) {
    case HTTP_BADREQUEST:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case HTTP_NOTFOUND:
        return "Not Found";
    case HTTP_BADMETHOD:
        return "Method Not Allowed";
    case 409:
        return "Conflict";
    case HTTP_NOTIMPLEMENTED:
        return "Not Implemented";
    case HTTP_SERVUNAVAIL:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    default:
        return "Error";
    }
}

void ls_http_error(struct evhttp_request *request, int code, const char *text)
{
    ls_http_reply(request, code, reason_of(code), json_pack("{s:o}", "error", ls_http_text(text)));
}

static int code_of(int error)
{
    switch (error) {
    case EINVAL:
        return HTTP_BADREQUEST;
    case EPERM:
        return 403;
    case ENOENT:
        return HTTP_NOTFOUND;
    case EAGAIN:
    case EBUSY:
        return HTTP_SERVUNAVAIL;
    case ENOTSUP:
        return HTTP_NOTIMPLEMENTED;
    case ETIMEDOUT:
        return 504;
    default:
        return 409;
    }
}

void ls_http_refuse(struct evhttp_request *request, int error, const char *text)
{
    int code = code_of(error);

    ls_http_reply(request, code, reason_of(code), json_pack("{s:o, s:i}", "error", ls_http_text(text), "errno", error));
}

json_t *ls_http_body(struct evhttp_request *request)
{
    struct evbuffer *body = evhttp_request_get_input_buffer(request);
    size_t length = evbuffer_get_length(body);
    const unsigned char *bytes = evbuffer_pullup(body, -1);
    json_t *json = bytes != NULL ? json_loadb((const char *)bytes, length, JSON_REJECT_DUPLICATES, NULL) : NULL;

    if (json_is_object(json))
        return json;
    json_decref(json);
    ls_http_error(request, HTTP_BADREQUEST, json == NULL ? "the body is not JSON" : "the body is no JSON object");
    return NULL;
}

bool ls_http_method(struct evhttp_request *request, unsigned allowed, const char *names)
{
    if (evhttp_request_get_command(request) & allowed)
        return true;
    evhttp_add_header(evhttp_request_get_output_headers(request), "Allow", names);
    ls_http_error(request, HTTP_BADMETHOD, "this path takes another method: see the Allow header");
    return false;
}

/* ---- requests that wait ---- */

struct ls_http_waiter *ls_http_wait(struct ls_http *http, struct evhttp_request *request)
{
    struct ls_http_waiter *waiter = malloc(sizeof(*waiter));

    if (waiter == NULL) {
        ls_http_error(request, HTTP_SERVUNAVAIL, "out of memory");
        return NULL;
    }
    *waiter = (struct ls_http_waiter){.http = http, .request = request, .next = http->waiters};
    http->waiters = waiter;
    return waiter;
}

struct evhttp_request *ls_http_waited(struct ls_http_waiter *waiter)
{
    struct evhttp_request *request = waiter->request;

    if (waiter->http != NULL) {
        struct ls_http_waiter **at = &waiter->http->waiters;

        while (*at != waiter)
            at = &(*at)->next;
        *at = waiter->next;
    }
    free(waiter);
    return request;
}

/* ---- readings ---- */

static void on_status(struct evhttp_request *request, void *argument)
{
    static struct ls_operate_view view; /* large */
    struct ls_http *http = argument;

    if (!ls_http_method(request, EVHTTP_REQ_GET, "GET"))
        return;
    ls_operate_view(http->node, &view);
    ls_http_reply(request, HTTP_OK, "OK", ls_status_json(&view, ls_now_ns()));
}

static void on_metrics(struct evhttp_request *request, void *argument)
{
    static struct ls_operate_view view;
    struct ls_http *http = argument;
    struct evbuffer *body;

    if (!ls_http_method(request, EVHTTP_REQ_GET, "GET"))
        return;
    body = evbuffer_new();
    ls_operate_view(http->node, &view);
    if (body == NULL || !ls_metrics_write(body, &view, ls_faults_list(http->faults), ls_now_ns())) {
        evhttp_send_error(request, HTTP_INTERNAL, "out of memory");
    } else {
        evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", LS_METRICS_TYPE);
        evhttp_send_reply(request, HTTP_OK, "OK", body);
    }
    if (body != NULL)
        evbuffer_free(body);
}

static void on_other(struct evhttp_request *request, void *argument)
{
    const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request));

    if (!ls_http_operate_other(argument, request, path != NULL ? path : ""))
        ls_http_error(
            request, HTTP_NOTFOUND,
            "no such path: GET /v1/status, /v1/log?seq=N&bytes=M, /v1/commands, /v1/checkpoints, /v1/faults, "
            "/metrics; POST /v1/members, /v1/sequencer/move, /v1/checkpoints, /v1/faults, /v1/stop; DELETE /v1/faults");
}

static void on_other_metrics(struct evhttp_request *request, void *argument)
{
    (void)argument;
    ls_http_error(request, HTTP_NOTFOUND, "no such path here: GET /metrics");
}

/* ---- listening ---- */

/* A socket that a killed ctrl left behind is in the way; one that is listened on is another ctrl's, and anything else
 * at that place is nobody's to remove. False: it is in use. */
static bool stale_remove(const struct sockaddr_un *address)
{
    struct stat info;
    int fd, error;

    if (lstat(address->sun_path, &info) != 0 || !S_ISSOCK(info.st_mode))
        return true;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return true; /* the caller's own socket() says why */
    error = connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0 ? errno : 0;
    close(fd);
    if (error == ECONNREFUSED)
        unlink(address->sun_path);
    return error != 0 && error != EAGAIN; /* EAGAIN: it has more connections waiting than it takes */
}

/* -1 and errno; EADDRINUSE: another process listens there, or something that is no socket is in the way. */
static int unix_listen(struct ls_http *http, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat info;
    int fd, error;
    mode_t mask;

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (!stale_remove(&address)) {
        errno = EADDRINUSE;
        return -1;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    mask = umask(0117);
    error = bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 64) != 0 ? errno : 0;
    umask(mask);
    if (error == 0 && lstat(path, &info) == 0) {
        http->device = info.st_dev;
        http->inode = info.st_ino;
    }
    if (error == 0)
        return fd;
    close(fd);
    errno = error;
    return -1;
}

/* The one that listens: an error callback gets what evhttp has set for its own. */
static struct ls_http *listening;

static void on_accept_again(evutil_socket_t fd, short what, void *argument)
{
    struct ls_http *http = argument;

    (void)fd;
    (void)what;
    evconnlistener_enable(http->listener);
    if (http->metrics_listener != NULL)
        evconnlistener_enable(http->metrics_listener);
}

/* Without file descriptors the waiting connection stays readable: look away for a while, or this burns the core. */
static void on_accept_error(struct evconnlistener *listener, void *argument)
{
    struct ls_http *http = listening;
    struct timeval pause = {.tv_usec = ACCEPT_PAUSE_US};

    (void)argument;
    if (!http->accept_said)
        fprintf(stderr,
                "lockstep-ctrl: connections cannot be accepted: %s (said once); those that wait are taken when "
                "others end\n",
                evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
    http->accept_said = true;
    if (evtimer_add(http->accept_timer, &pause) == 0)
        evconnlistener_disable(listener);
}

/* Said to one who comes while there is no room, and the connection is closed. */
static void on_crowd(evutil_socket_t none, short what, void *argument)
{
    static const char text[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
                               "Connection: close\r\nContent-Length: 67\r\n\r\n"
                               "{\"error\":\"too many connections to lockstep-ctrl: try again later\"}\n";
    struct bufferevent *bufferevent = argument;
    evutil_socket_t fd = bufferevent_getfd(bufferevent);

    (void)none;
    (void)what;
    static_assert(sizeof("{\"error\":\"too many connections to lockstep-ctrl: try again later\"}\n") - 1 == 67,
                  "the length said");
    if (fd >= 0) {
        (void)send(fd, text, sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)shutdown(fd, SHUT_RDWR); /* the server sees the end and lets go of it */
    }
    bufferevent_decref(bufferevent);
}

static bool was_let_go(struct bufferevent *bufferevent)
{
    void *owner = NULL;

    bufferevent_getcb(bufferevent, NULL, NULL, NULL, &owner);
    return owner == NULL; /* while a connection lives the server's callbacks have it as their argument */
}

static struct bufferevent **connection_slot(struct ls_http_connections *connections)
{
    struct bufferevent **slot = NULL;

    for (int i = 0; i < LS_HTTP_CONNECTIONS_MAX; i++) {
        struct bufferevent **at = &connections->open[i];

        if (*at != NULL && was_let_go(*at)) {
            bufferevent_decref(*at);
            *at = NULL;
        }
        if (*at == NULL)
            slot = at;
    }
    return slot;
}

/* A client that sends requests and reads no answers fills this much, not the memory. */
static struct bufferevent *on_connection(struct event_base *base, void *argument)
{
    static const struct timeval now = {0};
    struct ls_http_connections *connections = argument;
    struct bufferevent **slot = connection_slot(connections);
    struct bufferevent *bufferevent = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);

    if (bufferevent == NULL)
        return NULL;
    bufferevent_setwatermark(bufferevent, EV_READ, 0, READ_AHEAD_MAX);
    bufferevent_incref(bufferevent);
    if (slot != NULL) {
        *slot = bufferevent;
        return bufferevent;
    }
    if (!connections->http->crowd_said)
        fprintf(stderr, "lockstep-ctrl: more than %d connections at once to the HTTP socket: refused (said once)\n",
                LS_HTTP_CONNECTIONS_MAX);
    connections->http->crowd_said = true;
    if (event_base_once(base, -1, EV_TIMEOUT, on_crowd, bufferevent, &now) != 0)
        bufferevent_decref(bufferevent); /* it stays, then, as one too many */
    return bufferevent;
}

static void connections_end(struct ls_http_connections *connections)
{
    for (int i = 0; i < LS_HTTP_CONNECTIONS_MAX; i++)
        if (connections->open[i] != NULL)
            bufferevent_decref(connections->open[i]);
}

static struct evhttp *server_make(struct ls_http *http, struct ls_http_connections *connections)
{
    struct evhttp *server = evhttp_new(ls_operate_base(http->node));

    connections->http = http;
    if (server == NULL)
        return NULL;
    evhttp_set_max_body_size(server, BODY_MAX);
    evhttp_set_max_headers_size(server, HEADERS_MAX);
    evhttp_set_timeout(server, IDLE_SECONDS);
    evhttp_set_bevcb(server, on_connection, connections);
    evhttp_set_cb(server, "/metrics", on_metrics, http);
    return server;
}

static bool server_listen(struct ls_http *http)
{
    const char *path = ls_operate_self(http->node)->ctrl_socket;
    struct event_base *base = ls_operate_base(http->node);
    int fd = unix_listen(http, path);

    if (fd < 0) {
        fprintf(stderr, "lockstep-ctrl: %s cannot be listened on: %s\n", path,
                errno == EADDRINUSE
                    ? "in use by another lockstep-ctrl, or no socket: give each node its own ctrl_socket"
                : errno == ENOENT ? "its directory does not exist"
                                  : strerror(errno));
        return false;
    }
    http->accept_timer = evtimer_new(base, on_accept_again, http);
    http->listener = evconnlistener_new(base, NULL, http, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
    if (http->listener != NULL)
        evconnlistener_set_error_cb(http->listener, on_accept_error);
    if (http->accept_timer != NULL && http->listener != NULL &&
        evhttp_bind_listener(http->server, http->listener) != NULL) {
        listening = http;
        return true;
    }
    if (http->listener != NULL)
        evconnlistener_free(http->listener);
    else
        close(fd);
    fprintf(stderr, "lockstep-ctrl: no memory for the HTTP server\n");
    return false;
}

/* Over TCP there are metrics and nothing else: whoever reaches the address may read them. */
static bool metrics_listen(struct ls_http *http)
{
    struct ls_addr address = ls_operate_self(http->node)->metrics;
    char text[INET_ADDRSTRLEN];
    struct in_addr ip = {.s_addr = htonl(address.ip)};
    struct evhttp_bound_socket *bound;

    if (address.port == 0)
        return true;
    http->metrics = server_make(http, &http->metrics_connections);
    if (http->metrics == NULL) {
        fprintf(stderr, "lockstep-ctrl: no memory for the HTTP server\n");
        return false;
    }
    evhttp_set_allowed_methods(http->metrics, EVHTTP_REQ_GET);
    evhttp_set_gencb(http->metrics, on_other_metrics, http);
    inet_ntop(AF_INET, &ip, text, sizeof(text));
    bound = evhttp_bind_socket_with_handle(http->metrics, text, address.port);
    if (bound != NULL) {
        http->metrics_listener = evhttp_bound_socket_get_listener(bound);
        evconnlistener_set_error_cb(http->metrics_listener, on_accept_error);
        return true;
    }
    fprintf(
        stderr,
        "lockstep-ctrl: metrics: %s:%u cannot be listened on: %s. Give this node an address of this machine's and a "
        "port that is free, or no metrics\n",
        text, address.port, strerror(errno));
    return false;
}

/* ---- life ---- */

static void http_free(struct ls_http *http)
{
    if (http->server != NULL)
        evhttp_free(http->server);
    if (http->metrics != NULL)
        evhttp_free(http->metrics);
    http->server = http->metrics = NULL;
    connections_end(&http->connections);
    connections_end(&http->metrics_connections);
    if (http->accept_timer != NULL)
        event_free(http->accept_timer);
    if (http->faults != NULL)
        ls_faults_destroy(http->faults);
    ls_history_close(http->history);
    http->history = NULL;
    http->gone = true;
    if (http->commands_running == 0)
        free(http); /* else the last one that ends does */
}

struct ls_http *ls_http_create(struct ls_node *node)
{
    struct ls_http *http = calloc(1, sizeof(*http));

    if (http != NULL) {
        http->node = node;
        http->server = server_make(http, &http->connections);
        http->faults = ls_faults_create(node);
    }
    if (http == NULL || http->server == NULL || http->faults == NULL) {
        fprintf(stderr, "lockstep-ctrl: no memory for the HTTP server\n");
        if (http != NULL)
            http_free(http);
        return NULL;
    }
    evhttp_set_allowed_methods(http->server, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_DELETE);
    evhttp_set_cb(http->server, "/v1/status", on_status, http);
    evhttp_set_cb(http->server, "/v1/log", ls_http_on_log, http);
    ls_http_operate_paths(http);
    evhttp_set_gencb(http->server, on_other, http);
    if (!server_listen(http)) {
        http_free(http);
        return NULL;
    }
    if (metrics_listen(http))
        return http;
    ls_http_destroy(http);
    return NULL;
}

void ls_http_destroy(struct ls_http *http)
{
    const char *path = ls_operate_self(http->node)->ctrl_socket;
    struct stat info;

    if (lstat(path, &info) == 0 && info.st_dev == http->device && info.st_ino == http->inode)
        unlink(path);
    ls_http_operate_end(http);
    for (struct ls_http_waiter *waiter = http->waiters; waiter != NULL; waiter = waiter->next) {
        ls_http_error(waiter->request, HTTP_SERVUNAVAIL, "this lockstep-ctrl ends");
        waiter->http = NULL; /* freed with its answer, which always comes */
        waiter->request = NULL;
    }
    http_free(http);
}
