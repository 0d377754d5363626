/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A whole ctrl, the real brain in it, against a dataplane that is played (played.h): founding, HTTP answers, the
 * dataplane's death and return, taking over after ctrl's own, records that are damaged or cannot be written, stop.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
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
#include "played.h"
#include "times.h"

#define MS 1000000ull

static char self_path[512], folder[64], trace_path[128];
static struct ls_config config;
static struct ls_node node;
static struct ls_http *http;
static struct ls_ctrl_view view;

static void record_make(bool founder)
{
    struct ls_durable durable = {.cluster = config.cluster, .generation = 1, .node = 1, .founder = founder};
    char error[LS_RECORD_ERROR_MAX];

    ls_config_membership(&config, &durable.members);
    assert_int_equal(ls_record_create(folder, &durable, error), 0);
}

static int setup(void **state)
{
    (void)state;
    unsetenv("LOCKSTEP_TEST_MODE");
    strcpy(folder, "/tmp/lockstep-node-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(trace_path, sizeof(trace_path), "%s/trace", folder);
    memset(&config, 0, sizeof(config));
    strcpy(config.name, "demo");
    config.cluster = (uint64_t)getpid() << 20 | 0xfedc;
    config.generation = 1;
    config.port = 7400;
    config.first_sequencer = 1;
    config.faults_allowed = true;
    config.nodes = 1;
    config.node[0].id = 1;
    config.node[0].role = LS_MEMBER_VOTER;
    config.node[0].ip = 0x0a070001;
    snprintf(config.node[0].data_dir, sizeof(config.node[0].data_dir), "%s", folder);
    snprintf(config.node[0].ctrl_socket, sizeof(config.node[0].ctrl_socket), "%s/sock", folder);
    return 0;
}

static void node_make(void)
{
    memset(&node, 0, sizeof(node));
    node.config = &config;
    node.self = &config.node[0];
    node.config_path = trace_path;
    node.program = self_path;
    ls_times_of(&config, &node.times);
    node.times.restart_min = 1 * MS;
    node.times.restart_max = 4 * MS;
    /* A played dataplane shares its core with everything: how prompt it is must not matter here. */
    node.times.stall = 10000 * MS;
    node.times.stall_kill = 20000 * MS;
    node.ask_ms = 100;
    node.stop_ms = 100;
    node.record.fd = -1;
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
    for (int i = 0; i < 5000 && !done(); i++) {
        struct timeval step = {.tv_usec = 2000};

        event_base_loopexit(node.base, &step);
        event_base_dispatch(node.base);
    }
    return done();
}

static const char *trace_read(void)
{
    return played_trace(trace_path);
}

static bool leads(void)
{
    ls_node_view(&node, &view);
    return view.phase == LS_CTRL_FULL && view.sequencer == 1 && node.dataplane.page != NULL &&
           node.dataplane.page->replica.role == LS_ROLE_SEQUENCER;
}

static bool is_dead(void)
{
    return !node.dataplane.process.alive;
}

static bool is_outside(void)
{
    ls_node_view(&node, &view);
    return view.phase == LS_CTRL_OUTSIDE && node.dataplane.ready;
}

static bool is_refused(void)
{
    ls_node_view(&node, &view);
    return view.phase == LS_CTRL_REFUSED && is_dead();
}

static void start(void)
{
    node_make();
    assert_true(ls_node_start(&node));
}

static void stop(void)
{
    ls_node_stop(&node);
    assert_true(loop_until(is_dead));
    node_drop();
}

/* How often it was started. */
static uint32_t starts(void)
{
    uint32_t count = 0;

    for (const char *at = trace_read(); (at = strstr(at, "start ")) != NULL; at++)
        count++;
    return count;
}

static bool is_said(const char *text)
{
    for (uint32_t i = 0; ls_problems_get(&node.problems, i) != NULL; i++)
        if (strstr(ls_problems_get(&node.problems, i)->text, text) != NULL)
            return true;
    return false;
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

/* From nothing to sequencer, and in order to nothing again. */
static void test_life(void **state)
{
    (void)state;
    record_make(true);
    start();
    assert_true(loop_until(leads));
    assert_non_null(strstr(trace_read(), "start 0\n"));
    assert_non_null(strstr(trace_read(), "found\n"));
    assert_non_null(strstr(trace_read(), "install 1\n"));
    assert_int_equal(node.record.durable.promise, 1);
    assert_int_equal(node.record.durable.counts, node.record.durable.incarnation);
    assert_non_null(strstr(request("GET", "/v1/status", ""), "\"role\":\"sequencer\""));
    assert_non_null(strstr(request("GET", "/v1/log?seq=1", ""), "\"next_seq\":1"));
    assert_non_null(strstr(request("GET", "/v1/log?seq=-1", ""), "400 Bad Request"));
    assert_non_null(strstr(request("POST", "/v1/fault", "{\"drop\":1}"), "\"error\":\"too much\""));
    assert_non_null(strstr(request("POST", "/v1/fault", "{"), "{\"error\":\"the body is not JSON\"}"));
    assert_non_null(strstr(request("GET", "/v1/fault", ""), "405"));
    assert_non_null(strstr(request("GET", "/", ""), "404"));
    config.faults_allowed = false;
    assert_non_null(strstr(request("POST", "/v1/fault", "{}"), "403"));
    ls_node_stop(&node);
    assert_int_equal(event_base_dispatch(node.base), 0); /* ends by itself */
    assert_true(is_dead());
    assert_string_equal(node.dataplane.process.how, "ended with exit code 0");
    node_drop();
    assert_non_null(strstr(trace_read(), "stop\n"));
    assert_int_equal(access(config.node[0].ctrl_socket, F_OK), -1);
}

/* The only voter's memory is gone: it is started, and stays outside for ever; nobody guesses. */
static void test_memory_lost(void **state)
{
    (void)state;
    record_make(true);
    start();
    assert_true(loop_until(leads));
    stop();
    start();
    assert_true(loop_until(is_outside));
    assert_int_equal(starts(), 2);
    assert_null(strstr(strstr(trace_read(), "stop\n"), "found\n"));
    assert_int_not_equal(node.record.durable.counts, node.record.durable.incarnation);
    stop();
}

/* kill -9 of ctrl leaves the dataplane serving; the next ctrl takes it over and disturbs nothing. */
static void test_takeover(void **state)
{
    pid_t pid;

    (void)state;
    record_make(true);
    start();
    assert_true(loop_until(leads));
    pid = node.dataplane.process.pid;
    node_drop(); /* lets go of it, as the death of a process does */
    assert_int_equal(kill(pid, 0), 0);
    start();
    assert_true(loop_until(leads));
    assert_int_equal(node.dataplane.process.pid, pid);
    assert_int_equal(starts(), 1);
    assert_int_equal(node.record.durable.promise, 1);
    /* and it is watched: its death, no child's, starts another */
    kill(pid, SIGKILL);
    assert_true(loop_until(is_outside));
    assert_int_equal(starts(), 2);
    stop();
}

/* One that does not answer to its new ctrl is ended, and another started. */
static void test_takeover_hung(void **state)
{
    pid_t pid;

    (void)state;
    record_make(true);
    start();
    assert_true(loop_until(leads));
    pid = node.dataplane.process.pid;
    node_drop();
    assert_int_equal(kill(pid, SIGSTOP), 0);
    node_make();
    node.adopt_ms = 50;
    assert_true(ls_node_start(&node));
    assert_non_null(strstr(request("GET", "/v1/status", ""), "\"state\":\"starting\""));
    assert_true(loop_until(is_outside));
    assert_true(is_said("killed: it did not say READY within 50 ms of being taken over"));
    assert_int_equal(starts(), 2);
    stop();
}

/* It answers, but the record names another incarnation: the record, or the dataplane, is not this node's. */
static void test_takeover_other(void **state)
{
    static struct ls_record record;
    struct ls_durable durable;
    char error[LS_RECORD_ERROR_MAX];

    (void)state;
    record_make(true);
    start();
    assert_true(loop_until(leads));
    node_drop();
    assert_int_equal(ls_record_open(&record, folder, config.cluster, 1, error), 0);
    durable = record.durable;
    durable.incarnation++;
    assert_int_equal(ls_record_write(&record, &durable), 0);
    ls_record_close(&record);
    start();
    assert_true(loop_until(is_refused));
    assert_true(view.problem[0] != '\0');
    assert_int_equal(starts(), 1);
    stop();
}

static void test_death(void **state)
{
    uint64_t incarnation;

    (void)state;
    record_make(true);
    start();
    assert_true(loop_until(leads));
    incarnation = node.record.durable.incarnation;
    kill(node.dataplane.process.pid, SIGKILL);
    assert_true(loop_until(is_outside));
    assert_true(is_said("killed by signal 9"));
    assert_true(node.record.durable.incarnation > incarnation);
    assert_int_equal(view.restarts, 1);
    stop();
}

/* Three starts end before READY; the fourth is lucky, and a founder still. */
static void test_unlucky(void **state)
{
    (void)state;
    setenv("LOCKSTEP_TEST_MODE", "unlucky", 1);
    record_make(true);
    start();
    assert_true(loop_until(leads));
    assert_int_equal(starts(), 4);
    stop();
}

static bool is_unstartable(void)
{
    return is_said("/nonexistent/program cannot be started: No such file or directory");
}

/* Said, and tried again for as long as it takes. */
static void test_cannot_start(void **state)
{
    (void)state;
    record_make(true);
    node_make();
    node.program = "/nonexistent/program";
    assert_true(ls_node_start(&node));
    assert_true(loop_until(is_unstartable));
    node.program = self_path;
    assert_true(loop_until(leads));
    stop();
}

/* A joiner of a cluster that nobody answers for. */
static void test_join(void **state)
{
    (void)state;
    record_make(false);
    start();
    assert_true(loop_until(is_outside));
    assert_null(strstr(trace_read(), "found"));
    assert_int_equal(node.record.durable.counts, 0);
    stop();
}

static bool is_persist_failed(void)
{
    return is_said("cannot be written: ");
}

/* A full disk: nothing is promised, the dataplane is taken down, and it is said. */
static void test_disk_full(void **state)
{
    int good;

    (void)state;
    record_make(true);
    start();
    good = node.record.fd;
    node.record.fd = open("/dev/full", O_RDWR | O_CLOEXEC);
    assert_true(loop_until(is_persist_failed));
    assert_true(loop_until(is_refused));
    assert_true(view.problem[0] != '\0');
    assert_int_equal(node.record.durable.promise, 0);
    close(good);
    stop();
}

static void test_record_refused(void **state)
{
    char path[128];

    (void)state;
    node_make();
    assert_false(ls_node_start(&node)); /* none */
    assert_true(is_said("lockstep-ctrl bootstrap"));
    node_drop();
    record_make(true);
    snprintf(path, sizeof(path), "%s/record", folder);
    assert_int_equal(truncate(path, 100), 0);
    node_make();
    assert_false(ls_node_start(&node));
    assert_true(is_said("is damaged: neither of its two copies is whole"));
    node_drop();
    assert_string_equal(trace_read(), "");
}

/* A question that is not answered ends; a link that breaks is made again, and nothing else happens. */
static void test_silent(void **state)
{
    (void)state;
    setenv("LOCKSTEP_TEST_MODE", "silent", 1);
    record_make(true);
    start();
    assert_true(loop_until(leads));
    assert_non_null(strstr(request("GET", "/v1/log", ""), "504"));
    stop();
}

static void on_ping(void *user, const struct ls_control_header *header, const uint8_t *body, const char *why)
{
    (void)body;
    assert_null(header);
    *(const char **)user = why;
}

static bool is_linked_again(void)
{
    return node.dataplane.links == 2 && node.dataplane.ready;
}

static void test_link_again(void **state)
{
    const char *why = NULL;

    (void)state;
    setenv("LOCKSTEP_TEST_MODE", "hangs-up", 1);
    record_make(true);
    start();
    assert_true(loop_until(leads));
    assert_true(ls_node_ask_long(&node, LS_CONTROL_PING, NULL, 0, on_ping, &why));
    assert_true(loop_until(is_linked_again));
    assert_string_equal(why, "the link to the dataplane broke");
    assert_true(loop_until(leads));
    assert_int_equal(view.restarts, 0);
    assert_int_equal(starts(), 1);
    stop();
}

/* It does not stop when it is told: killed in the end. */
static void test_stubborn(void **state)
{
    (void)state;
    setenv("LOCKSTEP_TEST_MODE", "stubborn", 1);
    record_make(true);
    start();
    assert_true(loop_until(leads));
    ls_node_stop(&node);
    assert_int_equal(event_base_dispatch(node.base), 0);
    assert_string_equal(node.dataplane.process.how, "killed by signal 9 (Killed)");
    assert_true(is_said("the dataplane has not ended within 100 ms: killed"));
    node_drop();
}

static int command_error;
static void on_commanded(void *user, int error, const char *text)
{
    assert_ptr_equal(user, &node);
    assert_non_null(text);
    command_error = error;
}

static bool is_commanded(void)
{
    return command_error >= 0;
}

/* A command is answered exactly once: by the brain, or at the end. */
static void test_command(void **state)
{
    struct ls_ctrl_command remove = {.kind = LS_COMMAND_MEMBER_REMOVE, .node = 7};

    (void)state;
    record_make(true);
    node_make();
    assert_false(ls_node_command(&node, &remove, on_commanded, &node)); /* not begun */
    assert_true(ls_node_start(&node));
    assert_true(loop_until(leads));
    command_error = -1;
    assert_true(ls_node_command(&node, &remove, on_commanded, &node));
    assert_true(loop_until(is_commanded));
    assert_int_not_equal(command_error, 0); /* no such member */
    stop();
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

        taken += sent > 0 ? (size_t)sent : 0;
        event_base_loop(node.base, EVLOOP_NONBLOCK);
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

/* A checkpoint that cannot be made, found or fetched: each says so, once, and the next may be asked for. */
static void test_checkpoint(void **state)
{
    struct ls_keeper_view keeper;

    (void)state;
    record_make(true);
    node_make();
    assert_true(ls_node_start(&node));
    assert_int_equal(ls_keeper_make(node.keeper, on_commanded, &node), -ENOTCONN); /* not ready yet */
    assert_true(loop_until(leads));
    for (int i = 0; i < 2; i++) { /* played: it says that it is written, and there is no file */
        command_error = -1;
        assert_int_equal(ls_keeper_make(node.keeper, on_commanded, &node), 0);
        ls_keeper_view(node.keeper, &keeper);
        assert_true(keeper.running);
        assert_string_equal(keeper.what, "writing");
        assert_true(loop_until(is_commanded));
        assert_int_equal(command_error, ENOENT);
    }
    assert_true(is_said("checkpoint: not written: "));
    ls_keeper_view(node.keeper, &keeper);
    assert_false(keeper.running);
    assert_int_equal(keeper.failed, 2);
    assert_int_equal(ls_keeper_verify(node.keeper, "checkpoint-1-3.lsc", on_commanded, &node), -ENOENT);
    assert_int_equal(ls_keeper_restore(node.keeper, "checkpoint-1-3.lsc", on_commanded, &node), -ENOENT);
    assert_int_equal(ls_keeper_restore(node.keeper, "../record", on_commanded, &node), -ENOENT);
    ls_keeper_get(node.keeper, 1 << 2, 100); /* nobody has an address: the brain is told, from the loop */
    event_base_loop(node.base, EVLOOP_NONBLOCK);
    stop();
}

int main(int argc, char **argv)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {WITH(test_life),          WITH(test_memory_lost),    WITH(test_takeover),
                                       WITH(test_takeover_hung), WITH(test_takeover_other), WITH(test_death),
                                       WITH(test_unlucky),       WITH(test_cannot_start),   WITH(test_join),
                                       WITH(test_disk_full),     WITH(test_record_refused), WITH(test_silent),
                                       WITH(test_link_again),    WITH(test_stubborn),       WITH(test_command),
                                       WITH(test_socket_path),   WITH(test_answers_unread), WITH(test_descriptors_gone),
                                       WITH(test_lock),          WITH(test_checkpoint)};

    if (played_is_meant(argc, argv))
        return played_run(argc, argv);
    assert_true(readlink("/proc/self/exe", self_path, sizeof(self_path) - 1) > 0);
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
