/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Starts of the real dataplane that fail: what it says, and that nothing of EAL's is left behind. The program is the
 * first argument.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char *program;
static char folder[64], said[16384];

/* Runs it on `device` with one end of a socket pair of `type`. Returns its exit code; what it said is in `said`. */
static int start(const char *device, int type)
{
    char config[128], counters[128], fd[16];
    int ends[2], output[2];
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
    assert_int_equal(socketpair(AF_UNIX, type, 0, ends), 0);
    assert_int_equal(pipe(output), 0);
    snprintf(fd, sizeof(fd), "%d", ends[1]);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(output[1], 1);
        dup2(output[1], 2);
        close(output[1]);
        close(output[0]);
        close(ends[0]);
        execl(program, program, "--config", config, "--node", "1", "--incarnation", "1", "--promise", "0",
              "--control-fd", fd, "--counters", counters, (char *)NULL);
        _exit(99);
    }
    close(output[1]);
    close(ends[1]);
    while ((size = read(output[0], said + used, sizeof(said) - 1 - used)) > 0)
        used += (size_t)size;
    said[used] = '\0';
    close(output[0]);
    close(ends[0]);
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
    assert_int_equal(start("net_null0", SOCK_STREAM), 1);
    assert_non_null(strstr(said, "not a SEQPACKET socket (a socket of another type)"));
    assert_null(strstr(said, "EAL"));
    nothing_left();
}

static void test_device_refused(void **state)
{
    (void)state;
    assert_int_equal(start("net_null0,nonsense=1", SOCK_SEQPACKET), 1);
    if (strstr(said, "net_null0: its driver refused it, see its lines above") == NULL)
        fail_msg("it said: %s", said);
    nothing_left();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_control_fd, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_device_refused, setup, teardown)};

    assert_true(argc > 1);
    program = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
