/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Starts of the real dataplane that fail: what it says, and that nothing of EAL's is left behind. The program is the
 * first argument.
 */
#include <inttypes.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char *program;
static char folder[64], said[16384];

/* Runs it on `device` with a socket of `type`, listening or not. Returns its exit code; what it said is in `said`. */
static int start(const char *device, int type, bool listening)
{
    char config[128], counters[128], fd[16];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int control, output[2];
    size_t used = 0;
    ssize_t size;
    int status;
    pid_t pid;
    FILE *file;

    snprintf(config, sizeof(config), "%s/cluster.yaml", folder);
    snprintf(counters, sizeof(counters), "%s/counters", folder);
    file = fopen(config, "w");
    assert_non_null(file);
    fprintf(file,
            "cluster: {name: start, id: %016x}\nmachine: echo\nhugepages: no\nmemory: 64M\n"
            "limits: {log_size: 4M, op_max: 64K, sessions: 16}\nnodes:\n"
            "  - {id: 1, ip: 10.99.0.1, prefix: 24, device: \"%s\", lcores: {net: 0, apply: 0}, ctrl_socket: %s/s, "
            "data_dir: %s}\n",
            (unsigned)getpid(), device, folder, folder);
    fclose(file);
    control = socket(AF_UNIX, type, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", folder);
    unlink(address.sun_path);
    assert_int_equal(bind(control, (const struct sockaddr *)&address, sizeof(address)), 0);
    if (listening)
        assert_int_equal(listen(control, 1), 0);
    assert_int_equal(pipe(output), 0);
    snprintf(fd, sizeof(fd), "%d", control);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(output[1], 1);
        dup2(output[1], 2);
        close(output[1]);
        close(output[0]);
        execl(program, program, "--config", config, "--node", "1", "--incarnation", "1", "--promise", "0",
              "--control-fd", fd, "--counters", counters, (char *)NULL);
        _exit(99);
    }
    close(output[1]);
    close(control);
    while ((size = read(output[0], said + used, sizeof(said) - 1 - used)) > 0)
        used += (size_t)size;
    said[used] = '\0';
    close(output[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void nothing_left(void)
{
    const char *user = getenv("XDG_RUNTIME_DIR");
    const char *bases[] = {"/var/run", user != NULL ? user : "/tmp", "/tmp"};
    char path[256];

    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/dpdk/lockstep-%016x-1", bases[i], (unsigned)getpid());
        assert_int_equal(access(path, F_OK), -1);
    }
}

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/lockstep-start-XXXXXX");
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

static void test_control_fd(void **state)
{
    (void)state;
    assert_int_equal(start("net_null0", SOCK_STREAM, true), 1);
    assert_non_null(strstr(said, "not a listening SEQPACKET socket (a socket of another type)"));
    assert_null(strstr(said, "EAL"));
    assert_int_equal(start("net_null0", SOCK_SEQPACKET, false), 1);
    assert_non_null(strstr(said, "not a listening SEQPACKET socket (it does not listen)"));
    assert_null(strstr(said, "EAL"));
    nothing_left();
}

static void test_device_refused(void **state)
{
    (void)state;
    assert_int_equal(start("net_null0,nonsense=1", SOCK_SEQPACKET, true), 1);
    if (strstr(said, "net_null0: its driver refused it, see its lines above") == NULL)
        fail_msg("it said: %s", said);
    nothing_left();
}

/* One dataplane per node: the lock of the one that runs refuses another by name. */
static void test_lock_held(void **state)
{
    char path[128];
    int fd;

    (void)state;
    snprintf(path, sizeof(path), "%s/dataplane.lock", folder);
    fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(write(fd, "4711\n", 5), 5);
    assert_int_equal(start("net_null0", SOCK_SEQPACKET, true), 1);
    if (strstr(said, "another dataplane of node 1 runs on this machine (pid 4711 holds ") == NULL)
        fail_msg("it said: %s", said);
    close(fd);
    nothing_left();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_control_fd, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_lock_held, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_device_refused, setup, teardown)};

    assert_true(argc > 1);
    program = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
