/* SPDX-License-Identifier: BSD-3-Clause */
/* Starting, finding and watching a process. See process.h. ctrl's one thread. */
#include "process.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "job.h"

#define LOCK_POLL_US   10000
#define LOCK_POLLS_SAY 100 /* then it is said that the lock stays held */
#define TASK_EXITING   4u  /* of the kernel's flags of a thread: it is on its way out */

void ls_process_init(struct ls_process *process)
{
    process->pidfd = -1;
}

static void event_drop(struct event **event)
{
    if (*event != NULL)
        event_free(*event);
    *event = NULL;
}

static void unwatch(struct ls_process *process)
{
    event_drop(&process->death_event);
    event_drop(&process->lock_timer);
    if (process->pidfd >= 0)
        close(process->pidfd);
    process->pidfd = -1;
}

void ls_process_free(struct ls_process *process)
{
    unwatch(process);
}

/* 0: free; 1: held, and the number its holder wrote is in `pid`; -errno. `info`: of the file. */
static int lock_look(const char *path, pid_t *pid, struct stat *info)
{
    char text[32] = "";
    int fd = open(path, O_RDWR | O_CLOEXEC), held = 0;
    ssize_t length;

    *pid = 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    if (fstat(fd, info) != 0) {
        held = -errno;
    } else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        held = errno == EWOULDBLOCK ? 1 : -errno;
        length = pread(fd, text, sizeof(text) - 1, 0);
        text[length > 0 ? length : 0] = '\0';
        *pid = (pid_t)strtol(text, NULL, 10);
    }
    close(fd);
    return held;
}

/* Has `pid` the file open? The number in the lock file may be that of another process by now. */
static bool file_is_open_in(pid_t pid, const struct stat *file)
{
    char path[64];
    struct dirent *entry;
    struct stat info;
    bool open_there = false;
    DIR *list;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    list = opendir(path);
    if (list == NULL)
        return false;
    while (!open_there && (entry = readdir(list)) != NULL)
        open_there = fstatat(dirfd(list), entry->d_name, &info, 0) == 0 && info.st_dev == file->st_dev &&
                     info.st_ino == file->st_ino;
    closedir(list);
    return open_there;
}

/* Has it let go of all its files, as one does that is killed? The kernel gives them back one by one, and the lock may
 * come last: while packet sockets are closed, seconds later on a busy machine. */
static bool is_leaving(pid_t pid)
{
    char path[64];
    struct dirent *entry;
    bool empty = true;
    DIR *list;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    list = opendir(path);
    if (list == NULL)
        return false;
    while (empty && (entry = readdir(list)) != NULL)
        empty = entry->d_name[0] == '.';
    closedir(list);
    return empty;
}

static void dead(struct ls_process *process)
{
    process->alive = false;
    unwatch(process);
    process->on_death(process->user, process->how);
}

/* Not a child: its end is seen here, its lock's a moment later. While anybody holds it no other may be started. */
static void on_lock_poll(evutil_socket_t fd, short what, void *argument)
{
    struct ls_process *process = argument;
    struct timeval step = {.tv_usec = LOCK_POLL_US};
    struct stat info;
    pid_t pid;

    (void)fd;
    (void)what;
    if (lock_look(process->lock_path, &pid, &info) != 1) {
        dead(process);
        return;
    }
    if (++process->polls == LOCK_POLLS_SAY)
        fprintf(stderr,
                "lockstep-ctrl: %s is still held although process %d, which had it, has ended: look for what it "
                "started (lsof %s)\n",
                process->lock_path, (int)process->pid, process->lock_path);
    (void)evtimer_add(process->lock_timer, &step);
}

/* The kernel forgets the process on whichever thread asks it to, and waits there, spinning, for whoever is just taking
 * its entries out of /proc: its own last threads. Ours goes before theirs and would keep them from it for ever; on a
 * core that both shared, all else stood still for 950 ms, until the kernel stopped us. */
static int reap(void *arguments, char *error)
{
    pid_t pid = *(const pid_t *)arguments;

    (void)error;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    return 0;
}

static void on_reaped(void *user, void *arguments, int result, const char *error)
{
    (void)user;
    (void)arguments;
    (void)result;
    (void)error;
}

/* Nobody waits for it: all that the process held was free when its end was seen. */
static void reap_beside(struct ls_process *process)
{
    struct ls_job *job = ls_job_start(process->base, reap, on_reaped, NULL, &process->pid, sizeof(process->pid));

    if (job == NULL)
        (void)reap(&process->pid, NULL); /* no memory for a thread: late is better than never */
    else
        ls_job_abandon(job);
}

static void on_exit_seen(evutil_socket_t fd, short what, void *argument)
{
    struct ls_process *process = argument;
    siginfo_t info = {0};

    (void)what;
    if (!process->child) {
        snprintf(process->how, sizeof(process->how), "ended (how is not known: an earlier lockstep-ctrl started it)");
        (void)event_del(process->death_event);
        on_lock_poll(-1, 0, process);
        return;
    }
    if (waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0)
        return;
    if (info.si_code == CLD_EXITED)
        snprintf(process->how, sizeof(process->how), "ended with exit code %d%s", info.si_status,
                 info.si_status == 0 ? "" : " (its own lines say why)");
    else
        snprintf(process->how, sizeof(process->how), "killed by signal %d (%s)%s", info.si_status,
                 strsignal(info.si_status), info.si_code == CLD_DUMPED ? ", core dumped" : "");
    reap_beside(process);
    dead(process);
}

/* 0 or -errno; `process->pidfd` is open. */
static int watch(struct ls_process *process)
{
    process->death_event = event_new(process->base, process->pidfd, EV_READ | EV_PERSIST, on_exit_seen, process);
    process->lock_timer = evtimer_new(process->base, on_lock_poll, process);
    if (process->death_event == NULL || process->lock_timer == NULL || event_add(process->death_event, NULL) != 0)
        return -ENOMEM;
    process->alive = true;
    process->polls = 0;
    process->threads = 0;
    process->how[0] = '\0';
    return 0;
}

/* In the child: nothing that is not safe after fork. `failed` tells the parent by errno that exec did not work. */
static void child_run(const struct ls_process *process, char *const *arguments, int fd, int failed)
{
    sigset_t none;
    ssize_t written;
    int error;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* It outlives this process, and with it whoever reads its lines: writing to nobody must not kill it. */
    signal(SIGPIPE, SIG_IGN);
    /* Of its own process group, so that what ends this one at a terminal does not reach it. Not of its own session: the
     * kernel schedules sessions as groups, and pollers that share a core yield only within theirs. */
    (void)setpgid(0, 0);
    (void)setpriority(PRIO_PROCESS, 0, process->nice);
    if (fcntl(fd, F_SETFD, 0) == 0)
        execvp(arguments[0], arguments);
    error = errno;
    written = write(failed, &error, sizeof(error));
    _exit(written == sizeof(error) ? 127 : 126);
}

static int fork_exec(struct ls_process *process, char *const *arguments, int fd)
{
    int failed[2], error = 0;
    ssize_t got;

    if (pipe2(failed, O_CLOEXEC) != 0)
        return -errno;
    process->pid = fork();
    if (process->pid == 0)
        child_run(process, arguments, fd, failed[1]);
    error = process->pid < 0 ? errno : 0;
    close(failed[1]);
    if (error == 0) {
        do {
            got = read(failed[0], &error, sizeof(error));
        } while (got < 0 && errno == EINTR);
        if (got == 0)
            error = 0; /* closed by exec */
        else
            waitpid(process->pid, NULL, 0);
    }
    close(failed[0]);
    return -error;
}

int ls_process_spawn(struct ls_process *process, char *const *arguments, int fd, char *error, size_t error_size)
{
    int result;

    assert(!process->alive);
    result = fork_exec(process, arguments, fd);
    if (result != 0) {
        snprintf(error, error_size, "%s cannot be started: %s (--dataplane PATH names the program)", arguments[0],
                 strerror(-result));
        return result;
    }
    process->child = true;
    process->pidfd = pidfd_open(process->pid, 0);
    result = process->pidfd < 0 ? -errno : watch(process);
    if (result != 0) {
        snprintf(error, error_size, "the dataplane (pid %d) cannot be watched: %s", (int)process->pid,
                 strerror(-result));
        kill(process->pid, SIGKILL); /* not reaped yet: the number is its own */
        waitpid(process->pid, NULL, 0);
        unwatch(process);
    }
    return result;
}

int ls_process_find(struct ls_process *process, char *error, size_t error_size)
{
    struct stat file;
    pid_t pid;
    int held = lock_look(process->lock_path, &pid, &file);

    assert(!process->alive);
    if (held == 0)
        return 0;
    if (held < 0) {
        snprintf(error, error_size, "%s cannot be looked at: %s", process->lock_path, strerror(-held));
        return held;
    }
    /* First the handle, then the look: what is looked at cannot become another process meanwhile. */
    process->pidfd = pid > 0 ? pidfd_open(pid, 0) : -1;
    if (process->pidfd < 0 || (!file_is_open_in(pid, &file) && !is_leaving(pid))) {
        unwatch(process);
        snprintf(error, error_size,
                 "%s is held, but process %d, which it names, does not have it: look for its holder (lsof %s), end it, "
                 "and start again",
                 process->lock_path, (int)pid, process->lock_path);
        return -ESRCH;
    }
    process->pid = pid;
    process->child = false;
    held = watch(process);
    if (held != 0) {
        unwatch(process);
        snprintf(error, error_size, "the dataplane (pid %d) cannot be watched: %s", (int)pid, strerror(-held));
        return held;
    }
    return 1;
}

/* Is its first thread on its way out, or has the order to end before it? It lives as long as the process. */
static bool first_thread_ends(pid_t pid)
{
    char path[64], text[1024], *behind_name;
    unsigned long flags = 0, signals = 0;
    ssize_t length;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid, (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    length = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[length > 0 ? length : 0] = '\0';
    behind_name = strrchr(text, ')');
    return behind_name != NULL &&
           sscanf(behind_name,
                  ") %*s %*s %*s %*s %*s %*s %lu" /* state to tpgid; flags */
                  " %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lu",
                  &flags, &signals) == 2 &&
           ((flags & TASK_EXITING) != 0 || (signals & 1ul << (SIGKILL - 1)) != 0);
}

bool ls_process_is_ending(struct ls_process *process)
{
    char path[64];
    struct stat info;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)process->pid);
    if (!process->alive || stat(path, &info) != 0)
        return false; /* on_death() says so, in its time */
    if (process->threads == 0)
        process->threads = info.st_nlink;
    return info.st_nlink < process->threads && first_thread_ends(process->pid);
}

void ls_process_kill(struct ls_process *process, int signal_number)
{
    if (process->alive && process->pidfd >= 0)
        (void)pidfd_send_signal(process->pidfd, signal_number, NULL, 0);
}
