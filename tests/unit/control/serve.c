/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The real dataplane, alone on a port that leads nowhere; the test is its ctrl. It founds and opens an epoch, is taken
 * over, writes a checkpoint, and its next incarnation takes that in. The program is the first argument.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include <lockstep/control_message.h>
#include <lockstep/counters.h>

#include "control_check.h"

static const char *program;
static char folder[64];
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static pid_t pid;
static int ctrl;
static uint8_t message[LS_CONTROL_MESSAGE_MAX];
#define BODY (message + sizeof(struct ls_control_header))

static void start(uint64_t incarnation, uint64_t promise)
{
    char config[128], counters[128], numbers[3][24];
    int listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    FILE *file;

    snprintf(config, sizeof(config), "%s/cluster.yaml", folder);
    snprintf(counters, sizeof(counters), "%s/counters", folder);
    file = fopen(config, "w");
    assert_non_null(file);
    fprintf(file,
            "cluster: {name: serve, id: %016x}\nmachine: kv\nhugepages: no\nmemory: 64M\nfaults_allowed: yes\n"
            "limits: {log_size: 4M, op_max: 64K, sessions: 16, keys: 1000, bytes: 1M}\nnodes:\n"
            "  - {id: 1, ip: 10.99.0.1, prefix: 24, device: net_null0, lcores: {net: 0, apply: 0}, ctrl_socket: %s/s, "
            "data_dir: %s}\n",
            (unsigned)getpid(), folder, folder);
    fclose(file);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/dataplane.sock", folder);
    unlink(address.sun_path);
    assert_int_equal(bind(listener, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 4), 0);
    snprintf(numbers[0], sizeof(numbers[0]), "%d", listener);
    snprintf(numbers[1], sizeof(numbers[1]), "%llu", (unsigned long long)incarnation);
    snprintf(numbers[2], sizeof(numbers[2]), "%llu", (unsigned long long)promise);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl(program, program, "--config", config, "--node", "1", "--incarnation", numbers[1], "--promise", numbers[2],
              "--control-fd", numbers[0], "--counters", counters, "--generation", "3", (char *)NULL);
        _exit(99);
    }
    close(listener);
}

static void dial(void)
{
    struct timeval patience = {.tv_sec = 30};

    ctrl = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    assert_int_equal(connect(ctrl, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(setsockopt(ctrl, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
}

static void put(uint32_t type, uint64_t id, const void *body, size_t size, const void *tail, size_t tail_size)
{
    struct ls_control_header header = {
        .version = LS_CONTROL_VERSION, .type = type, .id = id, .size = (uint32_t)(size + tail_size)};
    uint8_t packet[1024];

    memcpy(packet, &header, sizeof(header));
    if (size > 0)
        memcpy(packet + sizeof(header), body, size);
    if (tail_size > 0)
        memcpy(packet + sizeof(header) + size, tail, tail_size);
    assert_int_equal(send(ctrl, packet, sizeof(header) + size + tail_size, MSG_NOSIGNAL),
                     sizeof(header) + size + tail_size);
}

/* The next message of `type`; others, which are checked too, are passed over. */
static struct ls_control_header get(uint32_t type)
{
    struct ls_control_header header;

    do {
        ssize_t size = recv(ctrl, message, sizeof(message), 0);

        assert_true(size > 0);
        assert_null(ls_control_check(LS_CONTROL_TO_CTRL, message, (size_t)size));
        memcpy(&header, message, sizeof(header));
    } while (header.type != type);
    return header;
}

static void role_wait(uint16_t role)
{
    struct ls_control_role now;

    do {
        get(LS_CONTROL_ROLE);
        memcpy(&now, BODY, sizeof(now));
    } while (now.role != role);
}

static struct ls_control_checkpoint checkpoint(uint32_t type)
{
    struct ls_control_path path = {0};
    struct ls_control_checkpoint done;
    char name[128];

    path.length = (uint16_t)snprintf(name, sizeof(name), "%s/checkpoint", folder);
    put(type, 50, &path, sizeof(path), name, path.length);
    assert_int_equal(get(LS_CONTROL_CHECKPOINT_DONE).id, 50);
    memcpy(&done, BODY, sizeof(done));
    return done;
}

static void stop(void)
{
    int status;

    put(LS_CONTROL_STOP, 99, NULL, 0, NULL, 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(ctrl);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0); /* no buffer is missing */
    pid = 0;
}

static void test_life(void **state)
{
    struct ls_control_members members = {.members = 1};
    struct ls_member_record one = {.node = 1, .role = LS_MEMBER_VOTER, .ip = 0x0a630001, .port = 7400};
    struct ls_control_epoch epoch = {.epoch = 1};
    struct ls_control_checkpoint written, restored;
    struct ls_control_ready ready;
    struct ls_control_sealed sealed;
    int first;

    (void)state;
    start(5, 0);
    dial();
    get(LS_CONTROL_READY);
    memcpy(&ready, BODY, sizeof(ready));
    assert_int_equal(ready.incarnation, 5);
    assert_int_equal(ready.promise, 0);
    assert_int_equal(ready.pid, pid);
    role_wait(LS_ROLE_OUTSIDE);
    put(LS_CONTROL_FOUND, 1, &members, sizeof(members), &one, sizeof(one));
    put(LS_CONTROL_SEAL, 2, &epoch, sizeof(epoch), NULL, 0);
    assert_int_equal(get(LS_CONTROL_SEALED).id, 2);
    epoch.incarnation = 5;
    put(LS_CONTROL_INSTALL, 3, &epoch, sizeof(epoch), NULL, 0);
    assert_int_equal(get(LS_CONTROL_INSTALLED).id, 3);
    role_wait(LS_ROLE_SEQUENCER);
    assert_int_equal(kill(pid, SIGHUP), 0); /* as the kernel does where it is paused and its ctrl dies: not the end */
    /* another ctrl takes over: it hears how things stand, the first one the end */
    first = ctrl;
    dial();
    get(LS_CONTROL_READY);
    memcpy(&ready, BODY, sizeof(ready));
    assert_int_equal(ready.promise, 1);
    role_wait(LS_ROLE_SEQUENCER);
    get(LS_CONTROL_MEMBERS);
    while (recv(first, message, sizeof(message), 0) > 0)
        ;
    close(first);
    do { /* until the first entries are applied: epoch, limits, members */
        written = checkpoint(LS_CONTROL_CHECKPOINT);
        assert_int_equal(written.error, 0);
    } while (written.seq < 3);
    assert_int_equal(checkpoint(LS_CONTROL_RESTORE).error, EBUSY); /* a sequencer misses nothing */
    stop();

    start(6, 1);
    dial();
    role_wait(LS_ROLE_OUTSIDE);
    restored = checkpoint(LS_CONTROL_RESTORE);
    assert_int_equal(restored.error, 0);
    assert_int_equal(restored.seq, written.seq);
    assert_int_equal(restored.digest, written.digest);
    epoch.incarnation = 0;
    put(LS_CONTROL_SEAL, 4, &epoch, sizeof(epoch), NULL, 0);
    get(LS_CONTROL_SEALED);
    memcpy(&sealed, BODY, sizeof(sealed));
    assert_int_equal(sealed.last, written.position);
    assert_int_equal(sealed.last_epoch, 1);
    assert_int_equal(sealed.members, 1);
    assert_int_equal(sealed.counts, 0);
    stop();
}

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/lockstep-serve-XXXXXX");
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    char command[128];

    (void)state;
    if (pid > 0 && kill(pid, SIGKILL) == 0)
        waitpid(pid, NULL, 0);
    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_life, setup, teardown)};

    assert_true(argc > 1);
    program = argv[1];
    alarm(120);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
