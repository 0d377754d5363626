/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A whole ctrl against a dataplane that is played by this program itself, started again with other arguments: start,
 * seal and install in order, HTTP answers, the dataplane's death, refusal of a second start, stop in order.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "http.h"
#include "node.h"

/* ---- the played dataplane ---- */

static void say(int fd, uint32_t type, uint64_t id, const void *body, uint32_t size)
{
    struct ls_control_header header = {.version = LS_CONTROL_VERSION, .type = type, .id = id, .size = size};
    uint8_t message[1024];

    memcpy(message, &header, sizeof(header));
    memcpy(message + sizeof(header), body, size);
    if (send(fd, message, sizeof(header) + size, 0) < 0)
        _exit(9);
}

static void page_make(const char *path, uint64_t incarnation)
{
    static struct ls_counters_page page = {.magic = LS_PAGE_MAGIC, .size = sizeof(page), .counters = LS_COUNTERS};
    int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

    page.incarnation = incarnation;
    page.replica.epoch = 1;
    page.replica.role = LS_ROLE_SEQUENCER;
    if (write(fd, &page, sizeof(page)) != sizeof(page))
        _exit(8);
    close(fd);
}

/* How it misbehaves: the test says so by the environment. */
static bool is_mode(const char *mode)
{
    const char *set = getenv("LOCKSTEP_TEST_MODE");

    return set != NULL && strcmp(set, mode) == 0;
}
static int lost[2];

/* One message; each kind is answered as a dataplane would. The trace of what was asked goes to a file. */
static void play_one(int fd, FILE *trace, uint64_t incarnation, const uint8_t *message)
{
    struct ls_control_header header;
    struct ls_control_epoch epoch = {0};

    memcpy(&header, message, sizeof(header));
    if (header.size >= sizeof(epoch))
        memcpy(&epoch, message + sizeof(header), sizeof(epoch));
    if (is_mode("lossy") && (header.type == LS_CONTROL_SEAL || header.type == LS_CONTROL_INSTALL) &&
        lost[header.type == LS_CONTROL_SEAL]++ == 0)
        return;
    if (is_mode("hangs-up") && header.type == LS_CONTROL_LOG) {
        close(fd);
        pause();
    }
    if (is_mode("absurd") && header.type == LS_CONTROL_INSTALL) {
        struct ls_control_epoch seen = {.epoch = UINT64_MAX, .node = 2};

        say(fd, LS_CONTROL_EPOCH_SEEN, 0, &seen, sizeof(seen));
    }
    if (header.type == LS_CONTROL_SEAL) {
        struct ls_control_sealed sealed = {.epoch = epoch.epoch, .incarnation = incarnation};

        fprintf(trace, "seal %" PRIu64 "\n", (uint64_t)epoch.epoch);
        fflush(trace);
        say(fd, LS_CONTROL_SEALED, header.id, &sealed, sizeof(sealed));
    } else if (header.type == LS_CONTROL_INSTALL) {
        struct ls_control_installed installed = {.epoch = epoch.epoch};
        struct ls_control_epoch seen = {.epoch = 6, .node = 2};

        fprintf(trace, "install %" PRIu64 "%s\n", (uint64_t)epoch.epoch,
                epoch.incarnation == incarnation ? "" : " of another");
        fflush(trace);
        say(fd, LS_CONTROL_INSTALLED, header.id, &installed, sizeof(installed));
        say(fd, LS_CONTROL_EPOCH_SEEN, 0, &seen, sizeof(seen));
    } else if (header.type == LS_CONTROL_LOG) {
        struct ls_control_log_bytes bytes = {.oldest_seq = 1, .next_seq = 1};

        say(fd, LS_CONTROL_LOG_BYTES, header.id, &bytes, sizeof(bytes));
    } else if (header.type == LS_CONTROL_FAULT) {
        struct {
            struct ls_control_done done;
            char text[8];
        } LS_PACKED refused = {.done.error = EINVAL, .text = "too much"};

        say(fd, LS_CONTROL_DONE, header.id, &refused, sizeof(refused));
    } else if (header.type == LS_CONTROL_STOP) {
        fprintf(trace, "stop\n");
        fflush(trace);
        _exit(0);
    }
}

/* Counts starts by the files FILE.0, FILE.1 and so on. True: it was one of the first `n`. */
static bool is_among_first(const char *file, int n)
{
    char path[256];

    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof(path), "%s.%d", file, i);
        if (open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600) >= 0)
            return true;
    }
    return false;
}

static int play(int argc, char **argv)
{
    const char *counters = "", *config = "";
    uint64_t incarnation = 0, promise = 0;
    struct ls_control_ready ready = {0};
    uint8_t message[4096];
    struct pollfd wait = {.events = POLLIN};
    FILE *trace;

    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--incarnation") == 0)
            incarnation = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--promise") == 0)
            promise = strtoull(argv[i + 1], NULL, 10);
        else if (strcmp(argv[i], "--control-fd") == 0)
            wait.fd = atoi(argv[i + 1]);
        else if (strcmp(argv[i], "--counters") == 0)
            counters = argv[i + 1];
        else if (strcmp(argv[i], "--config") == 0)
            config = argv[i + 1];
    }
    trace = fopen(config, "a"); /* the test's own: nobody reads a cluster file here */
    fprintf(trace, "start %" PRIu64 "\n", promise);
    fflush(trace);
    if (is_mode("unlucky") && is_among_first(config, 3))
        _exit(1);
    if (is_mode("hangs"))
        pause();
    page_make(counters, incarnation);
    ready.incarnation = incarnation;
    ready.promise = promise;
    ready.pid = (uint64_t)getpid();
    say(wait.fd, LS_CONTROL_READY, 0, &ready, sizeof(ready));
    for (;;) {
        if (poll(&wait, 1, 20000) <= 0 || recv(wait.fd, message, sizeof(message), 0) <= 0)
            _exit(7);
        play_one(wait.fd, trace, incarnation, message);
    }
}

/* ---- the test ---- */

static char self_path[512], folder[64], trace_path[128];
static struct ls_config config;
static struct ls_node node;
static struct ls_http *http;

static int setup(void **state)
{
    char error[LS_RECORD_ERROR_MAX];
    struct ls_durable durable;

    (void)state;
    unsetenv("LOCKSTEP_TEST_MODE");
    strcpy(folder, "/tmp/lockstep-node-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(trace_path, sizeof(trace_path), "%s/trace", folder);
    memset(&config, 0, sizeof(config));
    strcpy(config.name, "demo");
    config.cluster = (uint64_t)getpid() << 20 | 0xfedc;
    config.generation = 1;
    config.first_sequencer = 1;
    config.faults_allowed = true;
    config.nodes = 1;
    config.node[0].id = 1;
    snprintf(config.node[0].data_dir, sizeof(config.node[0].data_dir), "%s", folder);
    snprintf(config.node[0].ctrl_socket, sizeof(config.node[0].ctrl_socket), "%s/sock", folder);
    durable = (struct ls_durable){.cluster = config.cluster, .generation = 1, .node = 1, .founder = true};
    assert_int_equal(ls_record_create(folder, &durable, error), 0);
    return 0;
}

static void node_make(void)
{
    memset(&node, 0, sizeof(node));
    node.config = &config;
    node.self = &config.node[0];
    node.config_path = trace_path;
    node.program = self_path;
    node.base = event_base_new();
    assert_non_null(node.base);
    assert_true(ls_node_lock(&node));
    http = ls_http_create(&node);
    assert_non_null(http);
}

static void node_drop(void)
{
    ls_http_destroy(http);
    ls_node_free(&node);
    event_base_free(node.base);
    close(node.lock_fd);
}

static int teardown(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

/* Turns the event loop until `done` or ten seconds are over. */
static bool loop_until(bool (*done)(void))
{
    for (int i = 0; i < 1000 && !done(); i++) {
        struct timeval step = {.tv_usec = 10000};

        event_base_loopexit(node.base, &step);
        event_base_dispatch(node.base);
    }
    return done();
}

static bool is_sealed_at_6(void)
{
    return node.startup.sealed == 6;
}
static bool is_dead(void)
{
    return !node.dataplane.alive;
}

static const char *trace_read(void)
{
    static char text[1024];
    FILE *file = fopen(trace_path, "r");

    assert_non_null(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    return text;
}

static int client = -1;
static char response[65536];
static size_t response_size;

static bool is_answered(void)
{
    ssize_t size = recv(client, response + response_size, sizeof(response) - 1 - response_size, MSG_DONTWAIT);

    if (size > 0)
        response_size += (size_t)size;
    response[response_size] = '\0';
    return size == 0;
}

static const char *request(const char *method, const char *path, const char *body)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char text[512];

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", config.node[0].ctrl_socket);
    client = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&address, sizeof(address)), 0);
    snprintf(text, sizeof(text), "%s %s HTTP/1.0\r\nContent-Length: %zu\r\n\r\n%s", method, path, strlen(body), body);
    assert_int_equal(send(client, text, strlen(text), 0), strlen(text));
    response_size = 0;
    assert_true(loop_until(is_answered));
    close(client);
    return response;
}

static void test_life(void **state)
{
    (void)state;
    node_make();
    assert_true(ls_node_start(&node));
    assert_true(loop_until(is_sealed_at_6));
    assert_string_equal(trace_read(), "start 0\nseal 1\ninstall 1\nseal 6\n");
    assert_int_equal(node.record.durable.promise, 6);
    assert_non_null(strstr(request("GET", "/v1/status", ""), "\"role\":\"sequencer\""));
    assert_non_null(strstr(request("GET", "/v1/log?seq=1", ""), "\"next_seq\":1"));
    assert_non_null(strstr(request("GET", "/v1/log?seq=-1", ""), "400 Bad Request"));
    assert_non_null(strstr(request("POST", "/v1/fault", "{\"drop\":1}"), "{\"error\":\"too much\"}"));
    assert_non_null(strstr(request("POST", "/v1/fault", "{"), "{\"error\":\"the body is not JSON\"}"));
    assert_non_null(strstr(request("GET", "/v1/fault", ""), "405"));
    assert_non_null(strstr(request("GET", "/", ""), "404"));
    config.faults_allowed = false;
    assert_non_null(strstr(request("POST", "/v1/fault", "{}"), "403"));
    ls_node_stop(&node);
    assert_true(loop_until(is_dead));
    assert_string_equal(node.dataplane.death, "ended with exit code 0");
    assert_false(node.failed);
    node_drop();
    assert_string_equal(trace_read(), "start 0\nseal 1\ninstall 1\nseal 6\nstop\n");
    assert_int_equal(access(config.node[0].ctrl_socket, F_OK), -1);
    /* a second start: refused, nothing is started */
    node_make();
    assert_false(ls_node_start(&node));
    assert_int_equal(node.startup.refusal, LS_REFUSAL_MEMORY_LOST);
    node_drop();
    assert_string_equal(trace_read(), "start 0\nseal 1\ninstall 1\nseal 6\nstop\n");
}

static void test_death(void **state)
{
    (void)state;
    node_make();
    assert_true(ls_node_start(&node));
    assert_true(loop_until(is_sealed_at_6));
    kill(node.dataplane.pid, SIGKILL);
    assert_true(loop_until(is_dead));
    assert_int_equal(node.startup.phase, LS_STARTUP_DEAD);
    assert_non_null(strstr(request("GET", "/v1/status", ""), "THE DATAPLANE HAS DIED: killed by signal 9"));
    assert_non_null(strstr(response, "\"alive\":false"));
    assert_non_null(strstr(request("GET", "/v1/log", ""), "503"));
    ls_node_stop(&node);
    node_drop();
}

/* The first seal and the first install are lost: both are given again. */
static void test_lossy(void **state)
{
    (void)state;
    setenv("LOCKSTEP_TEST_MODE", "lossy", 1);
    node_make();
    assert_true(ls_node_start(&node));
    assert_true(loop_until(is_sealed_at_6));
    assert_true(node.startup.install_answered);
    ls_node_stop(&node);
    assert_true(loop_until(is_dead));
    node_drop();
}

/* Three starts end before READY; the fourth is lucky. */
static void test_unlucky(void **state)
{
    uint64_t first;

    (void)state;
    setenv("LOCKSTEP_TEST_MODE", "unlucky", 1);
    node_make();
    assert_true(ls_node_start(&node));
    first = node.startup.durable.incarnation;
    assert_true(loop_until(is_sealed_at_6));
    assert_false(node.failed);
    assert_string_equal(trace_read(), "start 0\nstart 0\nstart 0\nstart 0\nseal 1\ninstall 1\nseal 6\n");
    assert_int_equal(node.startup.durable.incarnation, first + 3);
    ls_node_stop(&node);
    assert_true(loop_until(is_dead));
    node_drop();
}

/* It never says READY: killed, said, failed. Its page, which somebody else has taken, stays. */
static void test_hangs(void **state)
{
    char page[256];

    (void)state;
    setenv("LOCKSTEP_TEST_MODE", "hangs", 1);
    node_make();
    node.start_timeout_ns = 500000000;
    assert_true(ls_node_start(&node));
    strcpy(page, node.dataplane.counters);
    page_make(page, 4711);
    assert_true(loop_until(is_dead));
    assert_true(node.failed);
    assert_string_equal(trace_read(), "start 0\n");
    node_drop();
    assert_int_equal(access(page, F_OK), 0);
    unlink(page);
}

static bool is_link_said(void)
{
    return node.link_said;
}

/* It lives and has hung up: status says so. */
static void test_hangs_up(void **state)
{
    (void)state;
    setenv("LOCKSTEP_TEST_MODE", "hangs-up", 1);
    node_make();
    assert_true(ls_node_start(&node));
    assert_true(loop_until(is_sealed_at_6));
    assert_non_null(strstr(request("GET", "/v1/log", ""), "504"));
    assert_true(loop_until(is_link_said));
    assert_non_null(strstr(request("GET", "/v1/status", ""), "THE LINK TO THE DATAPLANE IS CLOSED"));
    assert_non_null(strstr(response, "\"state\":\"link closed\""));
    assert_non_null(strstr(response, "\"alive\":true"));
    ls_node_stop(&node);
    assert_true(loop_until(is_dead));
    node_drop();
}

static void test_absurd_epoch(void **state)
{
    (void)state;
    setenv("LOCKSTEP_TEST_MODE", "absurd", 1);
    node_make();
    assert_true(ls_node_start(&node));
    assert_true(loop_until(is_sealed_at_6));
    assert_int_equal(node.record.durable.promise, 6);
    assert_non_null(strstr(request("GET", "/v1/status", ""), "carries epoch 18446744073709551615"));
    ls_node_stop(&node);
    assert_true(loop_until(is_dead));
    node_drop();
}

static void test_cannot_start(void **state)
{
    (void)state;
    node_make();
    node.program = "/nonexistent/program";
    assert_true(ls_node_start(&node));
    assert_true(node.failed);
    assert_non_null(strstr(node.problem, "/nonexistent/program cannot be started: No such file or directory"));
    node_drop();
    node_make();
    node.program = "/bin/false"; /* starts, and ends before it is ready */
    assert_true(ls_node_start(&node));
    assert_true(loop_until(is_dead));
    assert_true(node.failed);
    node_drop();
    /* nothing was promised: it may be tried again */
    node_make();
    assert_true(ls_node_start(&node));
    assert_true(loop_until(is_sealed_at_6));
    assert_string_equal(trace_read(), "start 0\nseal 1\ninstall 1\nseal 6\n");
    ls_node_stop(&node);
    assert_true(loop_until(is_dead));
    node_drop();
}

/* The path of the HTTP socket: a living one is left alone, a dead one is replaced, only our own is removed. */
static void test_socket_path(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int dead, fd;

    (void)state;
    node_make();
    assert_null(ls_http_create(&node));
    assert_non_null(strstr(request("GET", "/v1/status", ""), "200 OK"));
    node_drop();
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", config.node[0].ctrl_socket);
    dead = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(dead, (struct sockaddr *)&address, sizeof(address)), 0);
    close(dead);
    node_make();
    assert_non_null(strstr(request("GET", "/v1/status", ""), "200 OK"));
    assert_int_equal(unlink(address.sun_path), 0);
    fd = open(address.sun_path, O_CREAT | O_WRONLY, 0600);
    node_drop();
    assert_int_equal(access(address.sun_path, F_OK), 0);
    close(fd);
}

static int client_open(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", config.node[0].ctrl_socket);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

/* Requests whose answers nobody reads are taken up to a bound. */
static void test_answers_unread(void **state)
{
    static const char ask[] = "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n";
    static char many[400 * (sizeof(ask) - 1)];
    size_t taken = 0;
    int fd;

    (void)state;
    for (size_t i = 0; i < 400; i++)
        memcpy(many + i * (sizeof(ask) - 1), ask, sizeof(ask) - 1);
    node_make();
    fd = client_open();
    for (int i = 0; i < 2000; i++) {
        ssize_t sent = send(fd, many, sizeof(many), MSG_DONTWAIT);
        struct timeval step = {.tv_usec = 500};

        taken += sent > 0 ? (size_t)sent : 0;
        event_base_loopexit(node.base, &step);
        event_base_dispatch(node.base);
    }
    assert_true(taken < 4 << 20);
    close(fd);
    assert_non_null(strstr(request("GET", "/v1/status", ""), "200 OK"));
    node_drop();
}

/* More connections than file descriptors: no storm, and service goes on when there are some again. */
static void test_descriptors_gone(void **state)
{
    struct rlimit limit, low;
    clock_t begin;
    int fd[4], next;

    (void)state;
    node_make();
    for (int i = 0; i < 4; i++)
        fd[i] = client_open();
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = limit;
    next = dup(0);
    low.rlim_cur = (rlim_t)next;
    close(next);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    begin = clock();
    for (int i = 0; i < 50; i++) {
        struct timeval step = {.tv_usec = 10000};

        event_base_loopexit(node.base, &step);
        event_base_dispatch(node.base);
    }
    assert_true(clock() - begin < CLOCKS_PER_SEC / 5); /* of half a second */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int i = 0; i < 4; i++)
        close(fd[i]);
    assert_non_null(strstr(request("GET", "/v1/status", ""), "200 OK"));
    node_drop();
}

static void test_lock(void **state)
{
    static struct ls_node other;

    (void)state;
    node_make();
    other.self = node.self;
    assert_false(ls_node_lock(&other));
    node_drop();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_life, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_death, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_lossy, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_unlucky, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_hangs, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_hangs_up, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_absurd_epoch, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_cannot_start, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_socket_path, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_answers_unread, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_descriptors_gone, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_lock, setup, teardown)};

    if (argc > 1 && strcmp(argv[1], "--config") == 0)
        return play(argc, argv);
    assert_true(readlink("/proc/self/exe", self_path, sizeof(self_path) - 1) > 0);
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
