/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The HTTP interface over a node that the test plays (it has its own operate.h): each path's answer, what is refused
 * and how, commands that take long, faults as the dataplane is told them, too many connections.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "faults_run.h"
#include "http.h"

/* ---- the played node ---- */

struct ls_node {
    struct event_base *base;
    struct ls_operate_view view;
    struct ls_ctrl_command order; /* the last one */
    bool takes_no_commands;
    ls_operate_done done; /* of what is under way; NULL: answered at once with `error` and `text` */
    void *user;
    bool slow;
    int error;
    const char *text;
    int checkpoint_error;
    char checkpoint[80]; /* what was asked */
    uint32_t asks;
    uint32_t asked_type;
    uint8_t asked[256];
    bool refuses_asks;
    uint32_t refused; /* errno that the dataplane answers */
};

static struct ls_node node;
static struct ls_config config;
static struct ls_counters_page page;

struct event_base *ls_operate_base(const struct ls_node *n)
{
    return n->base;
}

const struct ls_config *ls_operate_config(const struct ls_node *n)
{
    (void)n;
    return &config;
}

const struct ls_config_node *ls_operate_self(const struct ls_node *n)
{
    (void)n;
    return &config.node[0];
}

void ls_operate_view(const struct ls_node *n, struct ls_operate_view *view)
{
    *view = n->view;
}

static int begin(struct ls_node *n, ls_operate_done done, void *user)
{
    n->done = n->slow ? done : NULL;
    n->user = user;
    if (!n->slow)
        done(user, n->error, n->text);
    return 0;
}

bool ls_operate_command(struct ls_node *n, const struct ls_ctrl_command *command, ls_operate_done done, void *user)
{
    if (n->takes_no_commands)
        return false;
    n->order = *command;
    return begin(n, done, user) == 0;
}

bool ls_operate_ask(struct ls_node *n, enum ls_control_type type, const void *body, size_t size,
                    ls_operate_answer answer, void *user)
{
    struct {
        struct ls_control_done done;
        char text[8];
    } LS_PACKED refused = {.done.error = n->refused, .text = "too much"};
    struct ls_control_log_bytes log = {.next_seq = 1};
    struct ls_control_header header = {.type = type == LS_CONTROL_LOG ? LS_CONTROL_LOG_BYTES : LS_CONTROL_DONE,
                                       .size = n->refused ? sizeof(refused) : sizeof(refused.done)};

    if (n->refuses_asks)
        return false;
    n->asks++;
    n->asked_type = type;
    memcpy(n->asked, body, size);
    answer(user, &header, type == LS_CONTROL_LOG ? (const void *)&log : (const void *)&refused, NULL);
    return true;
}

uint32_t ls_operate_checkpoints(struct ls_node *n, struct ls_operate_checkpoint *list, uint32_t most)
{
    (void)n;
    assert_true(most > 0);
    list[0] = (struct ls_operate_checkpoint){
        .name = "checkpoint-1-5.lsc", .state = "good", .generation = 1, .seq = 5, .digest = 255, .size = 100};
    return 1;
}

static int checkpoint(struct ls_node *n, const char *what, const char *name, ls_operate_done done, void *user)
{
    snprintf(n->checkpoint, sizeof(n->checkpoint), "%s %s", what, name);
    return n->checkpoint_error != 0 ? n->checkpoint_error : begin(n, done, user);
}

int ls_operate_checkpoint_create(struct ls_node *n, ls_operate_done done, void *user)
{
    return checkpoint(n, "create", "", done, user);
}

int ls_operate_checkpoint_verify(struct ls_node *n, const char *name, ls_operate_done done, void *user)
{
    return checkpoint(n, "verify", name, done, user);
}

static uint32_t stops;

void ls_operate_stop(struct ls_node *n)
{
    (void)n;
    stops++;
}

int ls_operate_checkpoint_restore(struct ls_node *n, const char *name, ls_operate_done done, void *user)
{
    return checkpoint(n, "restore", name, done, user);
}

/* ---- the test ---- */

static struct ls_http *http;
static char folder[64];

static int setup(void **state)
{
    (void)state;
    memset(&node, 0, sizeof(node));
    memset(&config, 0, sizeof(config));
    memset(&page, 0, sizeof(page));
    strcpy(folder, "/tmp/lockstep-http-XXXXXX");
    assert_non_null(mkdtemp(folder));
    strcpy(config.name, "demo");
    config.nodes = 1;
    config.node[0].id = 1;
    config.faults_allowed = true;
    snprintf(config.node[0].ctrl_socket, sizeof(config.node[0].ctrl_socket), "%s/sock", folder);
    node.base = event_base_new();
    assert_non_null(node.base);
    node.text = "done so";
    node.view.config = &config;
    node.view.self = &config.node[0];
    node.view.ctrl.phase = LS_CTRL_FULL;
    node.view.alive = node.view.linked = true;
    node.view.page = &page;
    page.incarnation = 1;
    http = ls_http_create(&node);
    assert_non_null(http);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (http != NULL)
        ls_http_destroy(http);
    event_base_free(node.base);
    assert_int_equal(rmdir(folder), 0);
    return 0;
}

static int client_open(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", config.node[0].ctrl_socket);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* Turns of the loop until the other end closes, or `turns` have passed without anything. */
static const char *answer_of(int fd, int turns)
{
    static char text[1 << 17];
    size_t used = 0;
    ssize_t n = -1;

    for (int idle = 0; idle < turns && n != 0;) {
        (void)event_base_loop(node.base, EVLOOP_NONBLOCK);
        n = recv(fd, text + used, sizeof(text) - 1 - used, MSG_DONTWAIT);
        if (n > 0)
            used += (size_t)n;
        if (n < 0) {
            idle++;
            usleep(1000);
        }
    }
    text[used] = '\0';
    close(fd);
    return text;
}

static void ask(int fd, const char *method, const char *path, const char *body)
{
    char text[4096];
    int length =
        snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                 method, path, strlen(body), body);

    assert_int_equal(send(fd, text, (size_t)length, MSG_NOSIGNAL), length);
}

static const char *request(const char *method, const char *path, const char *body)
{
    int fd = client_open();

    ask(fd, method, path, body);
    return answer_of(fd, 5000);
}

static void expect(const char *method, const char *path, const char *body, const char *code, const char *part)
{
    const char *answer = request(method, path, body);

    if (strncmp(answer + 9, code, 3) != 0 || strstr(answer, part) == NULL)
        fail_msg("%s %s %s: %s", method, path, body, answer);
}

static void test_readings(void **state)
{
    (void)state;
    expect("GET", "/v1/status", "", "200", "\"cluster\":\"demo\"");
    expect("GET", "/v1/log?seq=1", "", "200", "\"next_seq\":1");
    expect("GET", "/v1/log?seq=x", "", "400", "whole numbers");
    expect("GET", "/metrics", "", "200", "lockstep_up{cluster=\"demo\",node=\"1\"} 1\n");
    assert_non_null(strstr(request("GET", "/metrics", ""), "text/plain; version=0.0.4"));
    expect("POST", "/metrics", "{}", "405", "Allow: GET");
    expect("GET", "/v1/nothing", "", "404", "no such path");
    expect("GET", "/v1/commands/x", "", "404", "no such path");
    expect("PUT", "/v1/status", "", "501", "");
    node.refuses_asks = true;
    expect("GET", "/v1/log", "", "503", "too many questions");
    node.view.linked = false;
    expect("GET", "/v1/log", "", "503", "there is no dataplane to ask");
}

static void test_members(void **state)
{
    static const char four[] = "{\"node\": 4, \"address\": \"10.0.0.4:7400\", \"ctrl\": \"192.168.0.4:7401\"}";
    char body[512];

    (void)state;
    snprintf(body, sizeof(body), "{\"add\": %s}", four);
    expect("POST", "/v1/members", body, "200",
           "\"what\":\"member add 4\",\"running\":false,\"errno\":0,\"text\":\"done so\"");
    assert_int_equal(node.order.kind, LS_COMMAND_MEMBER_ADD);
    assert_int_equal(node.order.node, 4);
    assert_true(node.order.promote);
    assert_int_equal(node.order.member.role, LS_MEMBER_LEARNER);
    assert_int_equal(node.order.member.addr.ip, 0x0a000004);
    assert_int_equal(node.order.member.addr.port, 7400);
    assert_int_equal(node.order.member.ctrl.ip, 0xc0a80004);
    snprintf(body, sizeof(body), "{\"add\": %s, \"learner\": true}", four);
    expect("POST", "/v1/members", body, "200", "");
    assert_false(node.order.promote);
    snprintf(body, sizeof(body), "{\"replace\": 2, \"by\": %s}", four);
    expect("POST", "/v1/members", body, "200", "member replace 2 by 4");
    assert_int_equal(node.order.kind, LS_COMMAND_MEMBER_REPLACE);
    assert_int_equal(node.order.node, 2);
    assert_int_equal(node.order.member.node, 4);
    expect("POST", "/v1/members", "{\"remove\": 3}", "200", "member remove 3");
    assert_int_equal(node.order.kind, LS_COMMAND_MEMBER_REMOVE);
    expect("POST", "/v1/members", "{\"promote\": 3}", "200", "member promote 3");
    assert_int_equal(node.order.kind, LS_COMMAND_MEMBER_PROMOTE);
    expect("POST", "/v1/sequencer/move", "{\"to\": 2}", "200", "sequencer move 2");
    assert_int_equal(node.order.kind, LS_COMMAND_SEQUENCER_MOVE);
    assert_int_equal(node.order.node, 2);

    memset(&node.order, 0, sizeof(node.order));
    expect("POST", "/v1/members", "{}", "400", "one of these is needed");
    expect("POST", "/v1/members", "{\"remove\": 3, \"promote\": 4}", "400", "one of these is needed");
    expect("POST", "/v1/members", "[]", "400", "no JSON object");
    expect("POST", "/v1/members", "{", "400", "not JSON");
    expect("POST", "/v1/members", "{\"remove\": 64}", "400", "remove: a node id from 1 to 63 is allowed");
    expect("POST", "/v1/members", "{\"add\": 4}", "400", "a member is");
    expect("POST", "/v1/members", "{\"add\": {\"node\": 4, \"address\": \"10.0.0.4\"}}", "400",
           "\\\"10.0.0.4\\\" is not allowed");
    expect("POST", "/v1/members", "{\"add\": {\"node\": 4, \"address\": \"0.0.0.0:7400\"}}", "400", "is not allowed");
    expect("POST", "/v1/members", "{\"add\": {\"node\": 4, \"address\": \"10.0.0.4:70000\"}}", "400", "is not allowed");
    expect("POST", "/v1/members", "{\"add\": {\"node\": 4, \"address\": \"10.0.0.4:7400\"}}", "400", "ctrl: ");
    expect("POST", "/v1/sequencer/move", "{}", "400", "to: a node id");
    expect("GET", "/v1/members", "", "405", "Allow: POST");
    assert_int_equal(node.order.kind, 0);
    node.takes_no_commands = true;
    expect("POST", "/v1/members", "{\"remove\": 3}", "503", "only starting");
    node.takes_no_commands = false;
    node.error = EPERM;
    node.text = "not the last one";
    expect("POST", "/v1/members", "{\"remove\": 3}", "403", "{\"error\":\"not the last one\",\"errno\":1}");
    node.error = ECANCELED;
    expect("POST", "/v1/members", "{\"remove\": 3}", "409", "\"errno\":125");
}

static void test_long_command(void **state)
{
    struct {
        ls_operate_done done;
        void *user;
    } under_way[16];
    int fd;

    (void)state;
    node.slow = true;
    fd = client_open();
    ask(fd, "POST", "/v1/members", "{\"promote\": 3}");
    assert_string_not_equal(strstr(answer_of(fd, 10000), "HTTP/1.1 202"), "");
    expect("GET", "/v1/commands/1", "", "200", "\"running\":true");
    expect("GET", "/v1/commands", "", "200", "{\"commands\":[{\"id\":1,");
    expect("GET", "/v1/commands/2", "", "404", "no such command");
    node.done(node.user, EBUSY, "later");
    expect("GET", "/v1/commands/1", "", "200", "\"running\":false,\"errno\":16,\"text\":\"later\"");

    /* all places taken */
    node.done = NULL;
    for (int i = 0; i < 16; i++) {
        fd = client_open();
        ask(fd, "POST", "/v1/members", "{\"promote\": 3}");
        while (node.done == NULL)
            (void)event_base_loop(node.base, EVLOOP_ONCE);
        under_way[i].done = node.done;
        under_way[i].user = node.user;
        node.done = NULL;
        close(fd); /* whoever asked is gone: nobody is answered */
    }
    expect("POST", "/v1/members", "{\"promote\": 3}", "503", "too many commands are under way");
    /* they end after the interface has gone: it is held for so long, and the last one frees it */
    ls_http_destroy(http);
    http = NULL;
    for (int i = 0; i < 16; i++)
        under_way[i].done(under_way[i].user, 0, "");
}

static void test_checkpoints(void **state)
{
    (void)state;
    expect("GET", "/v1/checkpoints", "", "200",
           "{\"checkpoints\":[{\"name\":\"checkpoint-1-5.lsc\",\"state\":\"good\",\"generation\":1,\"seq\":5,");
    expect("POST", "/v1/checkpoints", "{\"create\": true}", "200", "\"what\":\"checkpoint create\"");
    assert_string_equal(node.checkpoint, "create ");
    expect("POST", "/v1/checkpoints", "{\"verify\": \"a\"}", "200", "\"what\":\"checkpoint verify a\"");
    assert_string_equal(node.checkpoint, "verify a");
    page.replica.role = LS_ROLE_FOLLOWER;
    expect("POST", "/v1/checkpoints", "{\"restore\": \"a\"}", "403", "only where the node is behind");
    page.replica.role = LS_ROLE_BEHIND;
    expect("POST", "/v1/checkpoints", "{\"restore\": \"a\"}", "200", "\"what\":\"checkpoint restore a\"");
    expect("POST", "/v1/checkpoints", "{\"create\": false}", "400", "one of these is needed");
    expect("POST", "/v1/checkpoints", "{\"create\": true, \"verify\": \"a\"}", "400", "one of these is needed");
    node.checkpoint_error = -EBUSY;
    expect("POST", "/v1/checkpoints", "{\"create\": true}", "503", "already");
    node.checkpoint_error = -ENOENT;
    expect("POST", "/v1/checkpoints", "{\"verify\": \"b\"}", "404", "no checkpoint of that name");
    node.checkpoint_error = -ENOTSUP;
    expect("POST", "/v1/checkpoints", "{\"create\": true}", "501", "keeps no checkpoints");
}

static void told(struct ls_control_fault *fault)
{
    assert_int_equal(node.asked_type, LS_CONTROL_FAULT);
    memcpy(fault, node.asked, sizeof(*fault));
}

static void test_stop(void **state)
{
    (void)state;
    expect("GET", "/v1/stop", "", "405", "another method");
    assert_int_equal(stops, 0);
    expect("POST", "/v1/stop", "", "200", "done");
    for (int i = 0; i < 1000 && stops == 0; i++) {
        usleep(1000);
        expect("GET", "/v1/faults", "", "200", "allowed");
    }
    assert_int_equal(stops, 1);
}

static void test_faults(void **state)
{
    struct ls_control_fault fault;
    struct ls_control_disk_fault disk;
    struct ls_control_slow slow;

    (void)state;
    expect("GET", "/v1/faults", "", "200", "{\"allowed\":true,\"faults\":[]}");
    expect("POST", "/v1/faults", "{\"drop\": 500000}", "200", "{\"done\":true,\"id\":1}");
    expect("POST", "/v1/faults", "{\"drop\": 500000, \"cut_in\": [2]}", "200", "\"id\":2");
    told(&fault);
    assert_int_equal(fault.drop, 750000);
    assert_int_equal(fault.cut_in, 4);
    expect("GET", "/v1/faults", "", "200", "\"text\":\"drop 50 %, cut from 2\"");
    node.refused = EINVAL;
    expect("POST", "/v1/faults", "{\"delay\": 99000000000}", "400", "{\"error\":\"too much\",\"errno\":22}");
    node.refused = 0;
    told(&fault); /* taken back */
    assert_int_equal(fault.delay, 0);
    expect("DELETE", "/v1/faults/1", "", "200", "done");
    told(&fault);
    assert_int_equal(fault.drop, 500000);
    expect("DELETE", "/v1/faults/1", "", "404", "there is no fault 1 here");
    expect("POST", "/v1/faults", "{\"kind\": \"slow\", \"worker\": \"apply\", \"turn_ns\": 5}", "200", "\"id\":4");
    assert_int_equal(node.asked_type, LS_CONTROL_SLOW);
    memcpy(&slow, node.asked, sizeof(slow));
    assert_int_equal(slow.worker, LS_WORKER_APPLY);
    assert_int_equal(slow.turn_ns, 5);
    expect("POST", "/v1/faults", "{\"kind\": \"disk\", \"hang\": 1}", "200", "\"id\":5");
    assert_int_equal(node.asked_type, LS_CONTROL_DISK_FAULT);
    memcpy(&disk, node.asked, sizeof(disk));
    assert_int_equal(disk.hang, 1);
    expect("DELETE", "/v1/faults/5", "", "200", "done");
    assert_int_equal(node.asked_type, LS_CONTROL_DISK_FAULT);
    memcpy(&disk, node.asked, sizeof(disk));
    assert_int_equal(disk.hang, 0);
    expect("POST", "/v1/faults", "{\"kind\": \"flip\", \"seed\": 9}", "200", "\"id\":0");
    assert_int_equal(node.asked_type, LS_CONTROL_FLIP);
    expect("POST", "/v1/fault", "{\"corrupt\": 7}", "200", "done");
    told(&fault);
    assert_int_equal(fault.corrupt, 7);
    assert_int_equal(fault.drop, 0);
    expect("POST", "/v1/faults", "{\"flood\": 7}", "400", "unknown key");
    expect("DELETE", "/v1/faults", "", "200", "done");
    expect("GET", "/v1/faults", "", "200", "\"faults\":[]");
    assert_int_equal(node.asked_type, LS_CONTROL_FAULT);
    node.refuses_asks = true;
    expect("POST", "/v1/faults", "{\"drop\": 5}", "503", "there is no dataplane to tell");
    expect("GET", "/v1/faults", "", "200", "\"faults\":[]");
    node.view.alive = false;
    expect("POST", "/v1/faults", "{\"kind\": \"crash\"}", "409", "not running");
    config.faults_allowed = false;
    expect("POST", "/v1/faults", "{\"drop\": 5}", "403", "faults are not allowed");
    expect("POST", "/v1/fault", "{}", "403", "faults are not allowed");
}

static void loop_until_asks(uint32_t asks)
{
    for (int i = 0; i < 10000 && node.asks < asks; i++) {
        (void)event_base_loop(node.base, EVLOOP_NONBLOCK);
        usleep(1000);
    }
    assert_int_equal(node.asks, asks);
}

/* A fault's time runs out; a dataplane that was started again is told what is in force. */
static void test_faults_in_time(void **state)
{
    struct ls_control_fault fault;

    (void)state;
    expect("POST", "/v1/faults", "{\"drop\": 7, \"for_ns\": 1000000}", "200", "");
    loop_until_asks(2);
    told(&fault);
    assert_int_equal(fault.drop, 0);
    expect("POST", "/v1/faults", "{\"drop\": 8}", "200", "");
    assert_int_equal(node.asks, 3);
    page.incarnation = 2;
    loop_until_asks(4);
    told(&fault);
    assert_int_equal(fault.drop, 8);
}

/* A process that is stopped goes on by itself, and one that is to crash does. */
static void test_processes(void **state)
{
    pid_t child = fork();
    int status, ends[2];
    char byte;

    (void)state;
    if (child == 0)
        for (;;)
            pause();
    node.view.pid = (uint64_t)child;
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    expect("POST", "/v1/faults", "{\"kind\": \"stop\", \"for_ns\": 300000000}", "200", "\"id\":1");
    close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 0); /* who continues it later holds nothing of this process' own */
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, WUNTRACED), child);
    assert_true(WIFSTOPPED(status));
    assert_int_equal(waitpid(child, &status, WCONTINUED), child);
    assert_true(WIFCONTINUED(status));
    expect("POST", "/v1/faults", "{\"kind\": \"crash\", \"target\": \"dataplane\"}", "200", "");
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
}

/* Connections beyond the bound are refused by name; those that end make room. */
static void test_crowd(void **state)
{
    int fd[LS_HTTP_CONNECTIONS_MAX];

    (void)state;
    for (int i = 0; i < LS_HTTP_CONNECTIONS_MAX; i++) {
        fd[i] = client_open();
        (void)event_base_loop(node.base, EVLOOP_NONBLOCK);
    }
    assert_non_null(strstr(answer_of(client_open(), 5000), "too many connections to lockstep-ctrl"));
    assert_non_null(strstr(answer_of(client_open(), 5000), "HTTP/1.1 503 "));
    close(fd[7]);
    for (int i = 0; i < 10; i++)
        (void)event_base_loop(node.base, EVLOOP_NONBLOCK);
    expect("GET", "/v1/status", "", "200", "");
    for (int i = 0; i < 200; i++) /* each leaves before the next comes */
        expect("GET", "/v1/faults", "", "200", "");
    for (int i = 0; i < LS_HTTP_CONNECTIONS_MAX; i++)
        if (i != 7)
            close(fd[i]);
}

/* Over TCP: metrics, and no commands. */
static void test_metrics_address(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    (void)state;
    /* a port that is free now */
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    ls_http_destroy(http);
    config.node[0].metrics = (struct ls_addr){.ip = INADDR_LOOPBACK, .port = ntohs(address.sin_port)};
    assert_int_equal(listen(fd, 1), 0);
    http = ls_http_create(&node);
    assert_null(http); /* in use: said, and nothing is left behind */
    close(fd);
    http = ls_http_create(&node);
    assert_non_null(http);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    ask(fd, "GET", "/metrics", "");
    assert_non_null(strstr(answer_of(fd, 5000), "lockstep_up{"));
    fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    ask(fd, "GET", "/v1/status", "");
    assert_non_null(strstr(answer_of(fd, 5000), "HTTP/1.1 404"));
}

static uint32_t warnings;

static void on_warning(int severity, const char *text)
{
    (void)text;
    warnings += severity >= EVENT_LOG_WARN;
}

/* Without descriptors a connection that waits is looked at now and then, and not at every turn of the loop. */
static void test_no_descriptor(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0), local;
    struct rlimit before, none;

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    close(fd);
    ls_http_destroy(http);
    config.node[0].metrics = (struct ls_addr){.ip = INADDR_LOOPBACK, .port = ntohs(address.sin_port)};
    http = ls_http_create(&node);
    assert_non_null(http);
    fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    local = client_open();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = (struct rlimit){.rlim_cur = 3, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    event_set_log_callback(on_warning);
    for (int i = 0; i < 10; i++)
        (void)event_base_loop(node.base, EVLOOP_NONBLOCK);
    event_set_log_callback(NULL);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(warnings, 0); /* libevent's, one for each look that nobody else takes care of */
    ask(fd, "GET", "/metrics", "");
    assert_non_null(strstr(answer_of(fd, 5000), "lockstep_up{"));
    ask(local, "GET", "/v1/status", "");
    assert_non_null(strstr(answer_of(local, 5000), "HTTP/1.1 200"));
}

/* What is repeated of a text may end within a character: the answer is JSON all the same. */
static void test_cut_text(void **state)
{
    char text[80], body[160];

    (void)state;
    memset(text, 'x', sizeof(text));
    strcpy(text + 39, "\xc3\xa9");
    snprintf(body, sizeof(body), "{\"add\": {\"node\": 4, \"address\": \"%s\"}}", text);
    expect("POST", "/v1/members", body, "400", "is not allowed");
    memset(text, 'x', sizeof(text));
    strcpy(text + 63, "\xc3\xa9");
    snprintf(body, sizeof(body), "{\"verify\": \"%s\"}", text);
    node.checkpoint_error = -ENOENT;
    expect("POST", "/v1/checkpoints", body, "404", "no checkpoint of that name");
    expect("GET", "/v1/commands/1", "", "200", "checkpoint verify xxx");
    expect("GET", "/v1/commands", "", "200", "checkpoint verify xxx");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_readings),    TEST(test_members),         TEST(test_long_command),   TEST(test_stop),
        TEST(test_checkpoints), TEST(test_faults),          TEST(test_faults_in_time), TEST(test_processes),
        TEST(test_crowd),       TEST(test_metrics_address), TEST(test_no_descriptor),  TEST(test_cut_text)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
