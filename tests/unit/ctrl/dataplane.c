/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dataplane's process and its link, against one that is played (played.h): start, death, links that break and are
 * made again, and all ways in which one that outlived its ctrl is found.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "dataplane.h"
#include "played.h"

static char self_path[512], folder[64], config[128], said[1024], death[256], error[1024];
static struct ls_dataplane dataplane;
static uint32_t readies, dones, deaths;
static uint64_t done_id, cluster;

static int setup(void **state)
{
    (void)state;
    unsetenv("LOCKSTEP_TEST_MODE");
    strcpy(folder, "/tmp/lockstep-dataplane-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(config, sizeof(config), "%s/trace", folder);
    return 0;
}

static int teardown(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

static void on_message(void *user, const struct ls_control_header *header, const uint8_t *body)
{
    (void)user;
    (void)body;
    readies += header->type == LS_CONTROL_READY;
    if (header->type == LS_CONTROL_DONE) {
        dones++;
        done_id = header->id;
    }
}

static void on_death(void *user, const char *how)
{
    (void)user;
    deaths++;
    snprintf(death, sizeof(death), "%s", how);
}

static void on_trouble(void *user, const char *text)
{
    (void)user;
    snprintf(said, sizeof(said), "%s", text);
}

static void make(void)
{
    memset(&dataplane, 0, sizeof(dataplane));
    readies = dones = deaths = 0;
    said[0] = death[0] = '\0';
    dataplane.base = event_base_new();
    dataplane.on_message = on_message;
    dataplane.on_death = on_death;
    dataplane.on_trouble = on_trouble;
    dataplane.data_dir = folder;
    dataplane.cluster = cluster;
    dataplane.node = 1;
    assert_true(ls_dataplane_init(&dataplane));
}

static void drop(void)
{
    ls_dataplane_free(&dataplane);
    event_base_free(dataplane.base);
}

static void loop_until(const uint32_t *count, uint32_t wanted)
{
    for (int i = 0; i < 2000 && *count < wanted; i++) {
        struct timeval step = {.tv_usec = 5000};

        event_base_loopexit(dataplane.base, &step);
        event_base_dispatch(dataplane.base);
    }
    assert_int_equal(*count, wanted);
}

static void spawn(uint64_t incarnation)
{
    struct ls_dataplane_start start = {
        .program = self_path, .config = config, .generation = 1, .incarnation = incarnation, .promise = 4};

    if (ls_dataplane_spawn(&dataplane, &start, error, sizeof(error)) != 0)
        fail_msg("%s", error);
}

static void end(void)
{
    ls_dataplane_kill(&dataplane, SIGKILL);
    loop_until(&deaths, 1);
}

static void test_life(void **state)
{
    (void)state;
    make();
    spawn(7);
    assert_false(ls_dataplane_send(&dataplane, LS_CONTROL_PING, 5, NULL, 0)); /* not before READY */
    loop_until(&readies, 1);
    assert_non_null(dataplane.page);
    assert_int_equal(dataplane.page->incarnation, 7);
    assert_true(ls_dataplane_send(&dataplane, LS_CONTROL_PING, 5, NULL, 0));
    loop_until(&dones, 1);
    assert_int_equal(done_id, 5);
    assert_true(ls_dataplane_send(&dataplane, LS_CONTROL_STOP, 6, NULL, 0));
    loop_until(&deaths, 1);
    assert_string_equal(death, "ended with exit code 0");
    assert_false(ls_dataplane_send(&dataplane, LS_CONTROL_PING, 7, NULL, 0));
    /* the next incarnation, over the same socket's path */
    spawn(8);
    loop_until(&readies, 2);
    ls_dataplane_kill(&dataplane, SIGKILL);
    loop_until(&deaths, 2);
    assert_string_equal(death, "killed by signal 9 (Killed)");
    assert_string_equal(played_trace(config), "start 4\nstop\nstart 4\n");
    assert_string_equal(said, "");
    drop();
    assert_int_equal(access(dataplane.counters, F_OK), -1);
}

static void test_cannot_start(void **state)
{
    struct ls_dataplane_start start = {.program = "/nonexistent/program", .config = config, .incarnation = 1};

    (void)state;
    make();
    assert_int_equal(ls_dataplane_spawn(&dataplane, &start, error, sizeof(error)), -ENOENT);
    assert_non_null(strstr(error, "/nonexistent/program cannot be started: No such file or directory"));
    start.program = "/bin/false";
    assert_int_equal(ls_dataplane_spawn(&dataplane, &start, error, sizeof(error)), 0);
    loop_until(&deaths, 1);
    assert_string_equal(death, "ended with exit code 1 (its own lines say why)");
    drop();
    make();
    dataplane.data_dir = "/nonexistent";
    assert_int_equal(ls_dataplane_spawn(&dataplane, &start, error, sizeof(error)), -ENOENT);
    assert_non_null(strstr(error, "/nonexistent/dataplane.sock cannot be made: No such file"));
    drop();
}

/* It never says READY: killed, and said so. */
static void test_hangs(void **state)
{
    (void)state;
    setenv("LOCKSTEP_TEST_MODE", "hangs", 1);
    make();
    dataplane.ready_ms = 100;
    spawn(7);
    loop_until(&deaths, 1);
    assert_string_equal(death, "killed: it did not say READY within 100 ms");
    drop();
    unlink(dataplane.counters);
}

/* The link breaks, the process lives: a new link, and READY again. */
static void test_link_again(void **state)
{
    (void)state;
    setenv("LOCKSTEP_TEST_MODE", "hangs-up", 1);
    make();
    spawn(7);
    loop_until(&readies, 1);
    assert_true(ls_dataplane_send(&dataplane, LS_CONTROL_PING, 5, NULL, 0));
    loop_until(&readies, 2);
    assert_int_equal(dataplane.links, 2);
    end();
    drop();
}

static void test_garbage(void **state)
{
    (void)state;
    setenv("LOCKSTEP_TEST_MODE", "garbage", 1);
    make();
    dataplane.ready_ms = 100;
    spawn(7);
    loop_until(&deaths, 1);
    assert_non_null(strstr(said, "the link to the dataplane is closed and made again: a message shorter"));
    assert_int_equal(readies, 0);
    drop();
    unlink(dataplane.counters);
}

/* READY of another process than the one that was started. */
static void test_liar(void **state)
{
    (void)state;
    setenv("LOCKSTEP_TEST_MODE", "liar", 1);
    make();
    dataplane.ready_ms = 100;
    spawn(7);
    loop_until(&deaths, 1);
    assert_non_null(strstr(said, "is not the one that was started"));
    drop();
    unlink(dataplane.counters);
}

/* One that is nobody's child here: its parent, between, is gone at once. */
static pid_t orphan(uint64_t incarnation)
{
    pid_t pid = 0, between;
    int ends[2], status;

    assert_int_equal(pipe(ends), 0);
    between = fork();
    if (between == 0) {
        make();
        spawn(incarnation);
        loop_until(&readies, 1);
        _exit(write(ends[1], &dataplane.process.pid, sizeof(pid)) == sizeof(pid) ? 0 : 1);
    }
    assert_int_equal(waitpid(between, &status, 0), between);
    assert_int_equal(status, 0);
    assert_int_equal(read(ends[0], &pid, sizeof(pid)), sizeof(pid));
    close(ends[0]);
    close(ends[1]);
    return pid;
}

static void test_adopt(void **state)
{
    pid_t pid;

    (void)state;
    make();
    assert_int_equal(ls_dataplane_adopt(&dataplane, error, sizeof(error)), 0); /* there is none */
    drop();
    pid = orphan(9);
    make();
    assert_int_equal(ls_dataplane_adopt(&dataplane, error, sizeof(error)), 1);
    loop_until(&readies, 1);
    assert_int_equal(dataplane.process.pid, pid);
    assert_int_equal(dataplane.incarnation, 9);
    assert_non_null(dataplane.page);
    assert_true(ls_dataplane_send(&dataplane, LS_CONTROL_PING, 5, NULL, 0));
    loop_until(&dones, 1);
    end();
    assert_non_null(strstr(death, "an earlier lockstep-ctrl started it"));
    assert_int_equal(ls_dataplane_adopt(&dataplane, error, sizeof(error)), 0); /* its lock is free */
    spawn(10);
    loop_until(&readies, 2);
    assert_string_equal(played_trace(config), "start 4\nstart 4\n");
    deaths = 0;
    end();
    drop();
}

/* It holds the lock and does not answer: ended by force, and only then another may be started. */
static void test_adopt_hung(void **state)
{
    pid_t pid;

    (void)state;
    pid = orphan(9);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    make();
    dataplane.adopt_ms = 100;
    assert_int_equal(ls_dataplane_adopt(&dataplane, error, sizeof(error)), 1);
    loop_until(&deaths, 1);
    assert_string_equal(death, "killed: it did not say READY within 100 ms of being taken over");
    assert_int_equal(ls_dataplane_adopt(&dataplane, error, sizeof(error)), 0);
    drop();
    unlink(dataplane.counters);
}

static uint32_t descriptors(void)
{
    uint32_t count = 0;

    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* Many incarnations, killed before and after READY: no descriptor and no dead child is left. */
static void test_restarts(void **state)
{
    siginfo_t info;
    uint32_t before;

    (void)state;
    make();
    before = descriptors();
    for (uint64_t incarnation = 1; incarnation <= 60; incarnation++) {
        deaths = readies = 0;
        spawn(incarnation);
        if (incarnation % 2 == 0)
            loop_until(&readies, 1);
        end();
    }
    /* They are reaped on threads of their own. */
    for (int ms = 0; ms < 10000 && waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0; ms++)
        usleep(1000);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    assert_int_equal(descriptors(), before);
    drop();
    unlink(dataplane.counters);
}

/* It took its lock only after ctrl had looked for it: it is in the way of the next one, and is ended. */
static void test_stray(void **state)
{
    pid_t pid;

    (void)state;
    pid = orphan(9);
    make();
    spawn(10);
    loop_until(&deaths, 1);
    assert_non_null(strstr(death, "which an earlier lockstep-ctrl started, held the lock"));
    assert_int_equal(dataplane.process.pid, pid);
    spawn(11);
    loop_until(&readies, 1);
    assert_int_equal(dataplane.incarnation, 11);
    deaths = 0;
    end();
    assert_string_equal(death, "killed by signal 9 (Killed)");
    drop();
}

/* The lock is held, but not by the process that the file names: nobody is killed. */
static void test_adopt_other(void **state)
{
    char path[128];
    pid_t innocent;
    int fd;

    (void)state;
    snprintf(path, sizeof(path), "%s/dataplane.lock", folder);
    innocent = fork();
    if (innocent == 0) {
        execlp("sleep", "sleep", "20", NULL);
        _exit(1);
    }
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    dprintf(fd, "%d\n", (int)innocent);
    make();
    assert_int_equal(ls_dataplane_adopt(&dataplane, error, sizeof(error)), -ESRCH);
    assert_non_null(strstr(error, "is held, but process"));
    assert_int_equal(kill(innocent, 0), 0);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(ls_dataplane_adopt(&dataplane, error, sizeof(error)), -ESRCH);
    drop();
    close(fd);
    kill(innocent, SIGKILL);
    waitpid(innocent, NULL, 0);
}

static void *thread_until_told(void *argument)
{
    char byte;

    (void)!read(*(int *)argument, &byte, 1);
    return NULL;
}

static nlink_t tasks(pid_t pid)
{
    char path[64];
    struct stat info;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    return stat(path, &info) == 0 ? info.st_nlink : 0;
}

/* A process with a thread that ends when told to. `count`: tasks() with it: a sanitizer may have one of its own. */
static pid_t with_thread(int *tell, nlink_t *count)
{
    int ends[2], counts[2];
    pthread_t thread;
    pid_t pid;

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(pipe(counts), 0);
    pid = fork();
    if (pid == 0) {
        close(ends[1]);
        alarm(20); /* whatever the test forgot */
        if (pthread_create(&thread, NULL, thread_until_told, &ends[0]) == 0) {
            *count = tasks(getpid());
            if (write(counts[1], count, sizeof(*count)) == sizeof(*count))
                pause();
        }
        _exit(1);
    }
    close(ends[0]);
    close(counts[1]);
    assert_int_equal(read(counts[0], count, sizeof(*count)), sizeof(*count));
    close(counts[0]);
    *tell = ends[1];
    return pid;
}

/* A thread that ends in a process' ordinary life is not its end; a killed one is seen before it is reaped. */
static void test_ending(void **state)
{
    struct ls_process process = {.alive = true};
    nlink_t with;
    siginfo_t info;
    int tell;

    (void)state;
    process.pid = with_thread(&tell, &with);
    assert_false(ls_process_is_ending(&process));
    close(tell);
    while (tasks(process.pid) == with)
        usleep(1000);
    assert_false(ls_process_is_ending(&process));
    assert_int_equal(kill(process.pid, SIGKILL), 0);
    assert_int_equal(waitid(P_PID, (id_t)process.pid, &info, WEXITED | WNOWAIT), 0);
    assert_true(ls_process_is_ending(&process));
    waitpid(process.pid, NULL, 0);
    assert_false(ls_process_is_ending(&process)); /* reaped: its death is told elsewhere */
}

int main(int argc, char **argv)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {WITH(test_life),       WITH(test_cannot_start), WITH(test_hangs),
                                       WITH(test_link_again), WITH(test_garbage),      WITH(test_liar),
                                       WITH(test_adopt),      WITH(test_adopt_hung),   WITH(test_stray),
                                       WITH(test_restarts),   WITH(test_adopt_other),  WITH(test_ending)};

    if (played_is_meant(argc, argv))
        return played_run(argc, argv);
    assert_true(readlink("/proc/self/exe", self_path, sizeof(self_path) - 1) > 0);
    signal(SIGPIPE, SIG_IGN);
    cluster = (uint64_t)getpid() << 20 | 0xdada;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
