/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What operators order by HTTP: members, the sequencer's place, checkpoints, faults on purpose. A command that takes
 * long is answered 202 with its number after LS_HTTP_ANSWER_MS and goes on; GET /v1/commands/N says what became of it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>

#include <event2/keyvalq_struct.h>

#include "../../dataplane/workers/clock.h"
#include "http_internal.h"
#include "status.h"

#define STOP_MS 20

/* ---- commands under way ---- */

static json_t *command_json(const struct ls_http_command *command)
{
    return json_pack("{s:I, s:o, s:b, s:i, s:o}", "id", (json_int_t)command->id, "what", ls_http_text(command->what),
                     "running", command->running, "errno", command->error, "text", ls_http_text(command->text));
}

static void command_answer(struct ls_http_command *command)
{
    struct evhttp_request *request = command->request;

    command->request = NULL;
    if (command->timer != NULL)
        event_free(command->timer);
    command->timer = NULL;
    if (request == NULL)
        return;
    if (command->running)
        ls_http_reply(request, 202, "Accepted", command_json(command));
    else if (command->error == 0)
        ls_http_reply(request, HTTP_OK, "OK", command_json(command));
    else
        ls_http_refuse(request, command->error, command->text);
}

static void on_command_late(evutil_socket_t fd, short what, void *user)
{
    (void)fd;
    (void)what;
    command_answer(user);
}

static void on_command_done(void *user, int error, const char *text)
{
    struct ls_http_command *command = user;
    struct ls_http *http = command->http;

    command->running = false;
    command->error = error < 0 ? -error : error;
    snprintf(command->text, sizeof(command->text), "%s", text != NULL ? text : "");
    http->commands_running--;
    if (!http->gone)
        command_answer(command);
    else if (http->commands_running == 0)
        free(http);
}

/* The place of the oldest command that has ended. NULL: refused, all are under way. */
static struct ls_http_command *command_begin(struct ls_http *http, struct evhttp_request *request, const char *format,
                                             ...) __attribute__((format(printf, 3, 4)));
static struct ls_http_command *command_begin(struct ls_http *http, struct evhttp_request *request, const char *format,
                                             ...)
{
    const struct timeval patience = {.tv_sec = LS_HTTP_ANSWER_MS / 1000, .tv_usec = LS_HTTP_ANSWER_MS % 1000 * 1000};
    struct ls_http_command *command = NULL;
    va_list arguments;

    for (int i = 0; i < LS_HTTP_COMMANDS; i++)
        if (!http->command[i].running && (command == NULL || http->command[i].id < command->id))
            command = &http->command[i];
    if (command == NULL) {
        ls_http_refuse(request, EBUSY, "too many commands are under way: see lockstep status, and try again later");
        return NULL;
    }
    *command = (struct ls_http_command){.http = http, .id = ++http->command_last, .running = true, .request = request};
    va_start(arguments, format);
    vsnprintf(command->what, sizeof(command->what), format, arguments);
    va_end(arguments);
    http->commands_running++;
    command->timer = evtimer_new(ls_operate_base(http->node), on_command_late, command);
    if (command->timer != NULL)
        (void)evtimer_add(command->timer, &patience);
    return command;
}

static void command_run(struct ls_http *http, struct ls_http_command *command, const struct ls_ctrl_command *order)
{
    if (command != NULL && !ls_operate_command(http->node, order, on_command_done, command))
        on_command_done(command, EAGAIN, "this node is only starting, or has too many commands under way: try again");
}

static void on_commands(struct evhttp_request *request, void *argument)
{
    struct ls_http *http = argument;
    json_t *list = json_array();

    if (!ls_http_method(request, EVHTTP_REQ_GET, "GET")) {
        json_decref(list);
        return;
    }
    for (uint64_t id = http->command_last; id > 0 && http->command_last - id < LS_HTTP_COMMANDS; id--)
        for (int i = 0; i < LS_HTTP_COMMANDS; i++)
            if (http->command[i].id == id)
                (void)json_array_append_new(list, command_json(&http->command[i]));
    ls_http_reply(request, HTTP_OK, "OK", json_pack("{s:o}", "commands", list));
}

static void command_show(struct ls_http *http, struct evhttp_request *request, uint64_t id)
{
    for (int i = 0; i < LS_HTTP_COMMANDS; i++)
        if (http->command[i].id == id && id != 0) {
            ls_http_reply(request, HTTP_OK, "OK", command_json(&http->command[i]));
            return;
        }
    ls_http_error(request, HTTP_NOTFOUND, "there is no such command here, or it ended long ago");
}

/* ---- members ---- */

static bool node_take(struct evhttp_request *request, const json_t *value, const char *key, uint16_t *node)
{
    char text[128];

    if (json_is_integer(value) && json_integer_value(value) >= 1 && json_integer_value(value) <= LS_NODE_ID_MAX) {
        *node = (uint16_t)json_integer_value(value);
        return true;
    }
    snprintf(text, sizeof(text), "%s: a node id from 1 to %d is allowed", key, LS_NODE_ID_MAX);
    ls_http_error(request, HTTP_BADREQUEST, text);
    return false;
}

/* "10.0.0.4:7400" */
static bool address_take(struct evhttp_request *request, const json_t *object, const char *key, struct ls_addr *address)
{
    const char *text = json_string_value(json_object_get(object, key));
    const char *colon = text != NULL ? strrchr(text, ':') : NULL;
    char ip[INET_ADDRSTRLEN], why[160];
    struct in_addr parsed;
    char *end;
    unsigned long port;

    if (colon != NULL && colon - text < INET_ADDRSTRLEN && colon[1] >= '0' && colon[1] <= '9') {
        memcpy(ip, text, (size_t)(colon - text));
        ip[colon - text] = '\0';
        port = strtoul(colon + 1, &end, 10);
        if (*end == '\0' && port >= 1 && port <= UINT16_MAX && inet_pton(AF_INET, ip, &parsed) == 1 &&
            parsed.s_addr != 0) {
            *address = (struct ls_addr){.ip = ntohl(parsed.s_addr), .port = (uint16_t)port};
            return true;
        }
    }
    snprintf(why, sizeof(why), "%s: \"%.40s\" is not allowed: an IPv4 address and a port, as in 10.0.0.4:7400", key,
             text != NULL ? text : "");
    ls_http_error(request, HTTP_BADREQUEST, why);
    return false;
}

/* {"node": 4, "address": "10.0.0.4:7400", "ctrl": "192.168.0.4:7401"} */
static bool member_take(struct evhttp_request *request, const json_t *object, struct ls_member *member)
{
    if (!json_is_object(object)) {
        ls_http_error(request, HTTP_BADREQUEST,
                      "a member is {\"node\": 4, \"address\": \"10.0.0.4:7400\", \"ctrl\": \"192.168.0.4:7401\"}");
        return false;
    }
    member->role = LS_MEMBER_LEARNER; /* it becomes a voter when it has caught up */
    return node_take(request, json_object_get(object, "node"), "node", &member->node) &&
           address_take(request, object, "address", &member->addr) &&
           address_take(request, object, "ctrl", &member->ctrl);
}

static bool order_take(struct evhttp_request *request, const json_t *json, struct ls_ctrl_command *order)
{
    const json_t *add = json_object_get(json, "add"), *remove = json_object_get(json, "remove");
    const json_t *promote = json_object_get(json, "promote"), *replace = json_object_get(json, "replace");

    *order = (struct ls_ctrl_command){.promote = !json_is_true(json_object_get(json, "learner"))};
    if ((add != NULL) + (remove != NULL) + (promote != NULL) + (replace != NULL) != 1) {
        ls_http_error(
            request, HTTP_BADREQUEST,
            "one of these is needed: {\"add\": member}, {\"remove\": node}, {\"promote\": node}, {\"replace\": "
            "node, \"by\": member}");
        return false;
    }
    if (add != NULL) {
        order->kind = LS_COMMAND_MEMBER_ADD;
        if (!member_take(request, add, &order->member))
            return false;
        order->node = order->member.node;
        return true;
    }
    if (replace != NULL) {
        order->kind = LS_COMMAND_MEMBER_REPLACE;
        return node_take(request, replace, "replace", &order->node) &&
               member_take(request, json_object_get(json, "by"), &order->member);
    }
    order->kind = remove != NULL ? LS_COMMAND_MEMBER_REMOVE : LS_COMMAND_MEMBER_PROMOTE;
    return node_take(request, remove != NULL ? remove : promote, remove != NULL ? "remove" : "promote", &order->node);
}

static void on_members(struct evhttp_request *request, void *argument)
{
    static const char *const verbs[] = {[LS_COMMAND_MEMBER_ADD] = "add",
                                        [LS_COMMAND_MEMBER_REMOVE] = "remove",
                                        [LS_COMMAND_MEMBER_PROMOTE] = "promote",
                                        [LS_COMMAND_MEMBER_REPLACE] = "replace"};
    struct ls_http *http = argument;
    struct ls_ctrl_command order;
    json_t *json;

    if (!ls_http_method(request, EVHTTP_REQ_POST, "POST") || (json = ls_http_body(request)) == NULL)
        return;
    if (order_take(request, json, &order)) {
        if (order.kind == LS_COMMAND_MEMBER_REPLACE)
            command_run(http, command_begin(http, request, "member replace %u by %u", order.node, order.member.node),
                        &order);
        else
            command_run(http, command_begin(http, request, "member %s %u", verbs[order.kind], order.node), &order);
    }
    json_decref(json);
}

static void on_move(struct evhttp_request *request, void *argument)
{
    struct ls_http *http = argument;
    struct ls_ctrl_command order = {.kind = LS_COMMAND_SEQUENCER_MOVE};
    json_t *json;

    if (!ls_http_method(request, EVHTTP_REQ_POST, "POST") || (json = ls_http_body(request)) == NULL)
        return;
    if (node_take(request, json_object_get(json, "to"), "to", &order.node))
        command_run(http, command_begin(http, request, "sequencer move %u", order.node), &order);
    json_decref(json);
}

/* ---- the end ---- */

static void on_stop_due(evutil_socket_t fd, short what, void *node)
{
    (void)fd;
    (void)what;
    ls_operate_stop(node);
}

static void on_stop(struct evhttp_request *request, void *argument)
{
    const struct timeval soon = {.tv_usec = STOP_MS * 1000}; /* the answer leaves first */
    struct ls_http *http = argument;

    if (!ls_http_method(request, EVHTTP_REQ_POST, "POST"))
        return;
    if (event_base_once(ls_operate_base(http->node), -1, EV_TIMEOUT, on_stop_due, http->node, &soon) != 0)
        ls_http_error(request, HTTP_SERVUNAVAIL, "out of memory");
    else
        ls_http_reply(request, HTTP_OK, "OK", json_pack("{s:b}", "done", 1));
}

/* ---- checkpoints ---- */

static void checkpoints_list(struct ls_http *http, struct evhttp_request *request)
{
    static struct ls_operate_checkpoint list[LS_OPERATE_CHECKPOINTS];
    static struct ls_operate_view view;
    uint32_t count = ls_operate_checkpoints(http->node, list, LS_OPERATE_CHECKPOINTS);
    json_t *json = json_array();
    char directory[LS_CONFIG_PATH_MAX + 16];

    snprintf(directory, sizeof(directory), "%s/checkpoints", ls_operate_self(http->node)->data_dir);
    ls_operate_view(http->node, &view);
    for (uint32_t i = 0; i < count; i++)
        (void)json_array_append_new(json, ls_checkpoint_json(&list[i]));
    ls_http_reply(request, HTTP_OK, "OK",
                  json_pack("{s:o, s:o, s:o}", "checkpoints", json, "directory", ls_http_text(directory), "running",
                            ls_progress_json(&view.progress)));
}

static const char *checkpoint_trouble(int error)
{
    switch (error) {
    case -EBUSY:
        return "a checkpoint is being written, verified, fetched or restored already: see lockstep status";
    case -ENOENT:
        return "there is no checkpoint of that name here: lockstep checkpoint list";
    case -ENOTSUP:
        return "this node keeps no checkpoints";
    case -EAGAIN:
        return "there is no dataplane to do it: see lockstep status";
    default:
        return strerror(-error);
    }
}

/* A node that takes part has state that others count on: it is not to be replaced by something older. */
static bool restore_allowed(struct ls_http *http, struct evhttp_request *request)
{
    static struct ls_operate_view view;

    ls_operate_view(http->node, &view);
    if (view.alive && view.page != NULL &&
        atomic_load_explicit(&view.page->replica.role, memory_order_relaxed) == LS_ROLE_BEHIND)
        return true;
    ls_http_refuse(request, EPERM,
                   "a checkpoint is restored by hand only where the node is behind (then it also gets one from the "
                   "others by itself), or where the whole cluster is recovered: lockstep cluster recover --help");
    return false;
}

static void checkpoint_order(struct ls_http *http, struct evhttp_request *request, const json_t *json)
{
    const char *verify = json_string_value(json_object_get(json, "verify"));
    const char *restore = json_string_value(json_object_get(json, "restore"));
    struct ls_http_command *command;
    int error;

    if (json_object_size(json) != 1 ||
        (verify == NULL && restore == NULL && !json_is_true(json_object_get(json, "create")))) {
        ls_http_error(request, HTTP_BADREQUEST,
                      "one of these is needed: {\"create\": true}, {\"verify\": name}, {\"restore\": name}");
        return;
    }
    if (restore != NULL && !restore_allowed(http, request))
        return;
    command = command_begin(http, request, "checkpoint %s%s%.64s",
                            verify != NULL    ? "verify"
                            : restore != NULL ? "restore"
                                              : "create",
                            verify != NULL || restore != NULL ? " " : "",
                            verify != NULL    ? verify
                            : restore != NULL ? restore
                                              : "");
    if (command == NULL)
        return;
    error = verify != NULL    ? ls_operate_checkpoint_verify(http->node, verify, on_command_done, command)
            : restore != NULL ? ls_operate_checkpoint_restore(http->node, restore, on_command_done, command)
                              : ls_operate_checkpoint_create(http->node, on_command_done, command);
    if (error != 0)
        on_command_done(command, -error, checkpoint_trouble(error));
}

static void on_checkpoints(struct evhttp_request *request, void *argument)
{
    json_t *json;

    if (!ls_http_method(request, EVHTTP_REQ_GET | EVHTTP_REQ_POST, "GET, POST"))
        return;
    if (evhttp_request_get_command(request) == EVHTTP_REQ_GET) {
        checkpoints_list(argument, request);
        return;
    }
    json = ls_http_body(request);
    if (json == NULL)
        return;
    checkpoint_order(argument, request, json);
    json_decref(json);
}

/* ---- faults ---- */

static bool faults_allowed(struct ls_http *http, struct evhttp_request *request)
{
    if (ls_operate_config(http->node)->faults_allowed)
        return true;
    ls_http_refuse(request, EPERM,
                   "faults are not allowed: set faults_allowed: yes in the cluster file and restart the node");
    return false;
}

static void on_fault_done(void *user, int error, const char *text, uint64_t id)
{
    struct evhttp_request *request = ls_http_waited(user);

    if (request == NULL)
        return;
    if (error != 0)
        ls_http_refuse(request, error, text);
    else
        ls_http_reply(request, HTTP_OK, "OK", json_pack("{s:b, s:I}", "done", 1, "id", (json_int_t)id));
}

static void faults_show(struct ls_http *http, struct evhttp_request *request)
{
    const struct ls_fault_list *list = ls_faults_list(http->faults);
    json_t *json = json_array();

    for (uint32_t i = 0; i < list->count; i++)
        (void)json_array_append_new(json, ls_fault_entry_json(&list->entry[i], ls_now_ns()));
    ls_http_reply(request, HTTP_OK, "OK",
                  json_pack("{s:b, s:o}", "allowed", ls_operate_config(http->node)->faults_allowed, "faults", json));
}

static void faults_clear(struct ls_http *http, struct evhttp_request *request, uint64_t id)
{
    struct ls_http_waiter *waiter = ls_http_wait(http, request);

    if (waiter != NULL)
        ls_faults_clear(http->faults, id, on_fault_done, waiter);
}

static void faults_add(struct ls_http *http, struct evhttp_request *request, const json_t *json)
{
    struct ls_fault_entry entry;
    struct ls_http_waiter *waiter;
    char text[256];

    if (ls_fault_entry_parse(json, &entry, text, sizeof(text)) != 0)
        ls_http_refuse(request, EINVAL, text);
    else if ((waiter = ls_http_wait(http, request)) != NULL)
        ls_faults_add(http->faults, &entry, on_fault_done, waiter);
}

static void on_faults(struct evhttp_request *request, void *argument)
{
    enum evhttp_cmd_type method = evhttp_request_get_command(request);
    json_t *json;

    if (!ls_http_method(request, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_DELETE, "GET, POST, DELETE"))
        return;
    if (method == EVHTTP_REQ_GET) {
        faults_show(argument, request);
    } else if (method == EVHTTP_REQ_DELETE) {
        faults_clear(argument, request, 0);
    } else if (faults_allowed(argument, request) && (json = ls_http_body(request)) != NULL) {
        faults_add(argument, request, json);
        json_decref(json);
    }
}

/* All of the network's at once, for programs that think in settings: {} is none. */
static void on_fault(struct evhttp_request *request, void *argument)
{
    struct ls_http *http = argument;
    struct ls_control_fault fault;
    struct ls_http_waiter *waiter;
    char text[256];
    json_t *json;

    if (!ls_http_method(request, EVHTTP_REQ_POST, "POST") || !faults_allowed(http, request) ||
        (json = ls_http_body(request)) == NULL)
        return;
    if (ls_fault_parse(json, &fault, text, sizeof(text)) != 0)
        ls_http_refuse(request, EINVAL, text);
    else if ((waiter = ls_http_wait(http, request)) != NULL)
        ls_faults_replace(http->faults, &fault, on_fault_done, waiter);
    json_decref(json);
}

/* ---- paths ---- */

void ls_http_operate_paths(struct ls_http *http)
{
    evhttp_set_cb(http->server, "/v1/commands", on_commands, http);
    evhttp_set_cb(http->server, "/v1/members", on_members, http);
    evhttp_set_cb(http->server, "/v1/sequencer/move", on_move, http);
    evhttp_set_cb(http->server, "/v1/checkpoints", on_checkpoints, http);
    evhttp_set_cb(http->server, "/v1/stop", on_stop, http);
    evhttp_set_cb(http->server, "/v1/faults", on_faults, http);
    evhttp_set_cb(http->server, "/v1/fault", on_fault, http);
}

/* The number behind `prefix`. */
static bool number_behind(const char *path, const char *prefix, uint64_t *number)
{
    size_t length = strlen(prefix);
    char *end;

    if (strncmp(path, prefix, length) != 0 || path[length] < '1' || path[length] > '9')
        return false;
    errno = 0;
    *number = strtoull(path + length, &end, 10);
    return errno == 0 && *end == '\0';
}

bool ls_http_operate_other(struct ls_http *http, struct evhttp_request *request, const char *path)
{
    uint64_t number;

    if (number_behind(path, "/v1/commands/", &number)) {
        if (ls_http_method(request, EVHTTP_REQ_GET, "GET"))
            command_show(http, request, number);
        return true;
    }
    if (number_behind(path, "/v1/faults/", &number)) {
        if (ls_http_method(request, EVHTTP_REQ_DELETE, "DELETE"))
            faults_clear(http, request, number);
        return true;
    }
    return false;
}

void ls_http_operate_end(struct ls_http *http)
{
    for (int i = 0; i < LS_HTTP_COMMANDS; i++)
        if (http->command[i].running)
            command_answer(&http->command[i]); /* 202: it goes on without us, or ends with us */
}
