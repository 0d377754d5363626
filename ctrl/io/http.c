/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The HTTP interface, over libevent's server. A question that the dataplane has to answer keeps its request until the
 * answer, the time-out or the dataplane's end, one of which always comes. If the client goes away first, libevent lets
 * go of the connection and keeps the request for us (it is not done yet), and the late reply only frees it.
 */
#include "http.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>

#include "../../dataplane/workers/clock.h"
#include "status.h"

#define BODY_MAX        65536
#define HEADERS_MAX     8192
#define IDLE_SECONDS    30
#define LOG_BYTES_MAX   49152
#define READ_AHEAD_MAX  (2 * BODY_MAX) /* more than the largest request */
#define ACCEPT_PAUSE_US 100000

struct ls_http {
    struct ls_node *node;
    struct evhttp *server;
    struct evconnlistener *listener; /* the server's */
    struct event *accept_timer;
    bool accept_said;
    dev_t device; /* of the socket's file: at the end only our own is removed */
    ino_t inode;
};

/* Takes the reference to `json`. */
static void reply(struct evhttp_request *request, int code, const char *reason, json_t *json)
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

static void reply_error(struct evhttp_request *request, int code, const char *reason, const char *text)
{
    reply(request, code, reason, json_pack("{s:s}", "error", text));
}

static bool method_is(struct evhttp_request *request, enum evhttp_cmd_type wanted, const char *name)
{
    if (evhttp_request_get_command(request) == wanted)
        return true;
    evhttp_add_header(evhttp_request_get_output_headers(request), "Allow", name);
    reply_error(request, HTTP_BADMETHOD, "Method Not Allowed", "this path takes another method: see the Allow header");
    return false;
}

static void on_status(struct evhttp_request *request, void *argument)
{
    struct ls_http *http = argument;

    if (method_is(request, EVHTTP_REQ_GET, "GET"))
        reply(request, HTTP_OK, "OK", ls_status_json(http->node, ls_now_ns()));
}

/* A number of the query, `missing` where it is not there. False: not a number. */
static bool query_number(struct evkeyvalq *query, const char *key, uint64_t missing, uint64_t *number)
{
    const char *text = evhttp_find_header(query, key);
    char *end;

    *number = missing;
    if (text == NULL)
        return true;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return errno == 0 && text[0] >= '0' && text[0] <= '9' && *end == '\0';
}

static void on_log_answer(void *user, const struct ls_control_header *header, const uint8_t *body, const char *why)
{
    if (header == NULL || header->type != LS_CONTROL_LOG_BYTES)
        reply_error(user, 504, "Gateway Timeout", why != NULL ? why : "the dataplane gave another answer");
    else
        reply(user, HTTP_OK, "OK", ls_log_json(body));
}

static void ask_or_refuse(struct ls_http *http, struct evhttp_request *request, enum ls_control_type type,
                          const void *body, size_t size, ls_ask_answer answer)
{
    if (!ls_node_ask(http->node, type, body, size, answer, request))
        reply_error(request, HTTP_SERVUNAVAIL, "Service Unavailable",
                    http->node->dataplane.fd < 0 ? "there is no dataplane to ask: see GET /v1/status"
                                                 : "too many questions wait for the dataplane: try again");
}

static void on_log(struct evhttp_request *request, void *argument)
{
    const char *text = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(request));
    struct ls_control_log ask = {0};
    struct evkeyvalq query;
    uint64_t seq, bytes;
    bool good;

    if (!method_is(request, EVHTTP_REQ_GET, "GET"))
        return;
    if (evhttp_parse_query_str(text != NULL ? text : "", &query) != 0) {
        reply_error(request, HTTP_BADREQUEST, "Bad Request", "the query is malformed");
        return;
    }
    good = query_number(&query, "seq", 0, &seq);
    good = query_number(&query, "bytes", LOG_BYTES_MAX, &bytes) && good;
    evhttp_clear_headers(&query);
    if (!good) {
        reply_error(request, HTTP_BADREQUEST, "Bad Request",
                    "seq and bytes are whole numbers, as in ?seq=1&bytes=4096");
        return;
    }
    ask.seq = seq;
    ask.bytes = (uint32_t)(bytes < LOG_BYTES_MAX ? bytes : LOG_BYTES_MAX);
    ask_or_refuse(argument, request, LS_CONTROL_LOG, &ask, sizeof(ask), on_log_answer);
}

static void on_fault_answer(void *user, const struct ls_control_header *header, const uint8_t *body, const char *why)
{
    struct ls_control_done done;
    char text[LS_CONTROL_TEXT_MAX + 1];
    size_t length;

    if (header == NULL || header->type != LS_CONTROL_DONE) {
        reply_error(user, 504, "Gateway Timeout", why != NULL ? why : "the dataplane gave another answer");
        return;
    }
    memcpy(&done, body, sizeof(done));
    if (done.error == 0) {
        reply(user, HTTP_OK, "OK", json_pack("{s:b}", "done", 1));
        return;
    }
    length = header->size - sizeof(done);
    memcpy(text, body + sizeof(done), length);
    text[length] = '\0';
    reply_error(user,
                done.error == EPERM   ? 403
                : done.error == EBUSY ? HTTP_SERVUNAVAIL
                                      : HTTP_BADREQUEST,
                "Refused", text);
}

static void on_fault(struct evhttp_request *request, void *argument)
{
    struct ls_http *http = argument;
    struct evbuffer *body = evhttp_request_get_input_buffer(request);
    size_t length = evbuffer_get_length(body);
    const unsigned char *bytes = evbuffer_pullup(body, -1);
    struct ls_control_fault fault;
    char text[256];
    json_error_t error;
    json_t *json;
    int result;

    if (!method_is(request, EVHTTP_REQ_POST, "POST"))
        return;
    if (!http->node->config->faults_allowed) {
        reply_error(request, 403, "Forbidden",
                    "faults are not allowed: set faults_allowed: yes in the cluster file and restart the node");
        return;
    }
    json = bytes != NULL ? json_loadb((const char *)bytes, length, JSON_REJECT_DUPLICATES, &error) : NULL;
    if (json == NULL) {
        reply_error(request, HTTP_BADREQUEST, "Bad Request", "the body is not JSON");
        return;
    }
    result = ls_fault_parse(json, &fault, text, sizeof(text));
    json_decref(json);
    if (result != 0)
        reply_error(request, HTTP_BADREQUEST, "Bad Request", text);
    else
        ask_or_refuse(http, request, LS_CONTROL_FAULT, &fault, sizeof(fault), on_fault_answer);
}

static void on_other(struct evhttp_request *request, void *argument)
{
    (void)argument;
    reply_error(request, HTTP_NOTFOUND, "Not Found",
                "no such path: GET /v1/status, GET /v1/log?seq=N&bytes=M, POST /v1/fault");
}

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

/* A client that sends requests and reads no answers fills this much, not the memory. */
static struct bufferevent *on_connection(struct event_base *base, void *argument)
{
    struct bufferevent *bufferevent = bufferevent_socket_new(base, -1, 0);

    (void)argument;
    if (bufferevent != NULL)
        bufferevent_setwatermark(bufferevent, EV_READ, 0, READ_AHEAD_MAX);
    return bufferevent;
}

static bool server_listen(struct ls_http *http)
{
    const char *path = http->node->self->ctrl_socket;
    int fd = unix_listen(http, path);

    if (fd < 0) {
        fprintf(stderr, "lockstep-ctrl: %s cannot be listened on: %s\n", path,
                errno == EADDRINUSE
                    ? "in use by another lockstep-ctrl, or no socket: give each node its own ctrl_socket"
                : errno == ENOENT ? "its directory does not exist"
                                  : strerror(errno));
        return false;
    }
    http->accept_timer = evtimer_new(http->node->base, on_accept_again, http);
    http->listener =
        evconnlistener_new(http->node->base, NULL, http, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
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

struct ls_http *ls_http_create(struct ls_node *node)
{
    struct ls_http *http = calloc(1, sizeof(*http));

    if (http != NULL)
        http->server = evhttp_new(node->base);
    if (http == NULL || http->server == NULL) {
        fprintf(stderr, "lockstep-ctrl: no memory for the HTTP server\n");
        free(http);
        return NULL;
    }
    http->node = node;
    evhttp_set_max_body_size(http->server, BODY_MAX);
    evhttp_set_max_headers_size(http->server, HEADERS_MAX);
    evhttp_set_timeout(http->server, IDLE_SECONDS);
    evhttp_set_allowed_methods(http->server, EVHTTP_REQ_GET | EVHTTP_REQ_POST);
    evhttp_set_bevcb(http->server, on_connection, NULL);
    evhttp_set_cb(http->server, "/v1/status", on_status, http);
    evhttp_set_cb(http->server, "/v1/log", on_log, http);
    evhttp_set_cb(http->server, "/v1/fault", on_fault, http);
    evhttp_set_gencb(http->server, on_other, http);
    if (server_listen(http))
        return http;
    evhttp_free(http->server);
    if (http->accept_timer != NULL)
        event_free(http->accept_timer);
    free(http);
    return NULL;
}

void ls_http_destroy(struct ls_http *http)
{
    const char *path = http->node->self->ctrl_socket;
    struct stat info;

    if (lstat(path, &info) == 0 && info.st_dev == http->device && info.st_ino == http->inode)
        unlink(path);
    event_free(http->accept_timer);
    evhttp_free(http->server);
    free(http);
}
