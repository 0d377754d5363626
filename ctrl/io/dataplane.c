/* SPDX-License-Identifier: BSD-3-Clause */
/* Starting, watching and asking the dataplane's process. See dataplane.h. ctrl's one thread. */
#include "dataplane.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../core/message.h"

void ls_dataplane_init(struct ls_dataplane *dataplane, uint64_t cluster, uint16_t node)
{
    memset(dataplane, 0, sizeof(*dataplane));
    dataplane->pidfd = -1;
    dataplane->fd = -1;
    /* Shared memory, not data_dir: a page on a disk would be written back, and its writers held up, again and again. */
    snprintf(dataplane->counters, sizeof(dataplane->counters), "/dev/shm/lockstep-%016" PRIx64 "-%u", cluster, node);
}

static void event_drop(struct event **event)
{
    if (*event != NULL)
        event_free(*event);
    *event = NULL;
}

static void link_close(struct ls_dataplane *dataplane)
{
    event_drop(&dataplane->message_event);
    if (dataplane->fd >= 0)
        close(dataplane->fd);
    dataplane->fd = -1;
}

static void page_unmap(struct ls_dataplane *dataplane)
{
    if (dataplane->page != NULL)
        munmap((void *)(uintptr_t)dataplane->page, sizeof(*dataplane->page));
    dataplane->page = NULL;
}

/* Another dataplane may have put its own there meanwhile. */
static bool page_is_ours(const struct ls_dataplane *dataplane)
{
    uint64_t incarnation = 0;
    int fd = open(dataplane->counters, O_RDONLY | O_CLOEXEC);
    bool ours;

    if (fd < 0)
        return false;
    ours = pread(fd, &incarnation, sizeof(incarnation), offsetof(struct ls_counters_page, incarnation)) ==
               sizeof(incarnation) &&
           incarnation == dataplane->incarnation;
    close(fd);
    return ours;
}

void ls_dataplane_free(struct ls_dataplane *dataplane)
{
    link_close(dataplane);
    event_drop(&dataplane->death_event);
    if (dataplane->pidfd >= 0)
        close(dataplane->pidfd);
    dataplane->pidfd = -1;
    page_unmap(dataplane);
    if (dataplane->pid != 0 && !dataplane->alive && page_is_ours(dataplane)) /* else: an orphan's, or nobody's */
        (void)unlink(dataplane->counters);
}

const char *ls_dataplane_program(void)
{
    static char path[1200];
    char self[1024];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *folder;

    if (length <= 0)
        return "lockstep-dataplane";
    self[length] = '\0';
    folder = dirname(self);
    snprintf(path, sizeof(path), "%s/lockstep-dataplane", folder);
    if (access(path, X_OK) == 0)
        return path;
    snprintf(path, sizeof(path), "%s/../dataplane/lockstep-dataplane", folder);
    return access(path, X_OK) == 0 ? path : "lockstep-dataplane";
}

static void on_readable(evutil_socket_t fd, short what, void *argument)
{
    static uint8_t message[LS_CONTROL_MESSAGE_MAX];
    struct ls_dataplane *dataplane = argument;
    struct ls_control_header header;
    const char *wrong;
    ssize_t size;

    (void)what;
    /* A bounded number at a time: other events want their turn. */
    for (int i = 0; i < 64 && dataplane->fd == fd; i++) {
        size = recv(fd, message, sizeof(message), MSG_DONTWAIT | MSG_TRUNC);
        if (size < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (size <= 0) {
            link_close(dataplane); /* the process ends, or has closed it and says why on its own stderr */
            return;
        }
        wrong = (size_t)size > sizeof(message) ? "a message larger than any" : ls_message_check(message, (size_t)size);
        if (wrong != NULL) {
            fprintf(stderr, "lockstep-ctrl: the link to the dataplane is closed: %s\n", wrong);
            link_close(dataplane);
            return;
        }
        memcpy(&header, message, sizeof(header));
        dataplane->on_message(dataplane->user, &header, message + sizeof(header));
    }
}

static void on_exit_seen(evutil_socket_t fd, short what, void *argument)
{
    struct ls_dataplane *dataplane = argument;
    siginfo_t info = {0};

    (void)what;
    if (waitid(P_PIDFD, (id_t)fd, &info, WEXITED | WNOHANG) != 0 || info.si_pid == 0)
        return;
    on_readable(dataplane->fd, 0, dataplane); /* what it said last */
    if (info.si_code == CLD_EXITED)
        snprintf(dataplane->death, sizeof(dataplane->death), "ended with exit code %d%s", info.si_status,
                 info.si_status == 0 ? "" : " (its own lines say why)");
    else
        snprintf(dataplane->death, sizeof(dataplane->death), "killed by signal %d (%s)%s", info.si_status,
                 strsignal(info.si_status), info.si_code == CLD_DUMPED ? ", core dumped" : "");
    dataplane->alive = false;
    link_close(dataplane);
    event_drop(&dataplane->death_event);
    close(dataplane->pidfd);
    dataplane->pidfd = -1;
    dataplane->on_death(dataplane->user, dataplane->death);
}

/* In the child: nothing that is not safe after fork. `failed` tells the parent by errno that exec did not work. */
static void child_run(const struct ls_dataplane_start *start, char *const *arguments, int control, int failed)
{
    sigset_t none;
    ssize_t written;
    int error;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (fcntl(control, F_SETFD, 0) == 0)
        execvp(start->program, arguments);
    error = errno;
    written = write(failed, &error, sizeof(error));
    _exit(written == sizeof(error) ? 127 : 126);
}

static int fork_exec(const struct ls_dataplane_start *start, const char *counters, int control, pid_t *pid)
{
    char node[16], incarnation[24], promise[24], fd[16];
    char *arguments[] = {(char *)(uintptr_t)start->program,
                         "--config",
                         (char *)(uintptr_t)start->config,
                         "--node",
                         node,
                         "--incarnation",
                         incarnation,
                         "--promise",
                         promise,
                         "--control-fd",
                         fd,
                         "--counters",
                         (char *)(uintptr_t)counters,
                         NULL};
    int failed[2], error = 0;
    ssize_t got;

    snprintf(node, sizeof(node), "%u", start->node);
    snprintf(incarnation, sizeof(incarnation), "%" PRIu64, start->incarnation);
    snprintf(promise, sizeof(promise), "%" PRIu64, start->promise);
    snprintf(fd, sizeof(fd), "%d", control);
    if (pipe2(failed, O_CLOEXEC) != 0)
        return -errno;
    *pid = fork();
    if (*pid == 0)
        child_run(start, arguments, control, failed[1]);
    error = *pid < 0 ? errno : 0;
    close(failed[1]);
    if (error == 0) {
        do {
            got = read(failed[0], &error, sizeof(error));
        } while (got < 0 && errno == EINTR);
        if (got == 0)
            error = 0; /* closed by exec */
        else
            waitpid(*pid, NULL, 0);
    }
    close(failed[0]);
    return -error;
}

static int watch(struct ls_dataplane *dataplane)
{
    dataplane->pidfd = pidfd_open(dataplane->pid, 0);
    if (dataplane->pidfd < 0)
        return -errno;
    dataplane->death_event =
        event_new(dataplane->base, dataplane->pidfd, EV_READ | EV_PERSIST, on_exit_seen, dataplane);
    dataplane->message_event = event_new(dataplane->base, dataplane->fd, EV_READ | EV_PERSIST, on_readable, dataplane);
    if (dataplane->death_event == NULL || dataplane->message_event == NULL ||
        event_add(dataplane->death_event, NULL) != 0 || event_add(dataplane->message_event, NULL) != 0)
        return -ENOMEM;
    return 0;
}

int ls_dataplane_spawn(struct ls_dataplane *dataplane, const struct ls_dataplane_start *start, char *error,
                       size_t error_size)
{
    int ends[2], result, size = 4 * LS_CONTROL_MESSAGE_MAX;

    assert(!dataplane->alive);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) {
        result = -errno;
        snprintf(error, error_size, "the link to the dataplane cannot be made: %s", strerror(errno));
        return result;
    }
    for (int i = 0; i < 2; i++)
        (void)setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)); /* less is slower, not wrong */
    result = fork_exec(start, dataplane->counters, ends[1], &dataplane->pid);
    close(ends[1]);
    if (result != 0) {
        close(ends[0]);
        snprintf(error, error_size, "%s cannot be started: %s (--dataplane PATH names the program)", start->program,
                 strerror(-result));
        return result;
    }
    dataplane->fd = ends[0];
    dataplane->incarnation = start->incarnation;
    dataplane->alive = true;
    dataplane->death[0] = '\0';
    result = watch(dataplane);
    if (result != 0) {
        snprintf(error, error_size, "the dataplane (pid %d) cannot be watched: %s", (int)dataplane->pid,
                 strerror(-result));
        kill(dataplane->pid, SIGKILL);
        waitpid(dataplane->pid, NULL, 0);
        dataplane->alive = false;
        link_close(dataplane);
        event_drop(&dataplane->death_event);
    }
    return result;
}

uint64_t ls_dataplane_ask(struct ls_dataplane *dataplane, enum ls_control_type type, const void *body, size_t size)
{
    struct ls_control_header header = {
        .version = LS_CONTROL_VERSION, .type = type, .id = ++dataplane->next_id, .size = (uint32_t)size};
    uint8_t message[sizeof(header) + 256];
    ssize_t sent;

    assert(size <= sizeof(message) - sizeof(header));
    if (dataplane->fd < 0)
        return 0;
    memcpy(message, &header, sizeof(header));
    if (size > 0)
        memcpy(message + sizeof(header), body, size);
    do {
        sent = send(dataplane->fd, message, sizeof(header) + size, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        fprintf(stderr, "lockstep-ctrl: the dataplane does not take a message: %s\n", strerror(errno));
        return 0;
    }
    return header.id;
}

int ls_dataplane_map(struct ls_dataplane *dataplane, uint64_t incarnation, char *error, size_t error_size)
{
    const struct ls_counters_page *page;
    struct stat info;
    int fd = open(dataplane->counters, O_RDONLY | O_CLOEXEC), result = 0;
    void *map;

    if (fd < 0 || fstat(fd, &info) != 0) {
        result = -errno;
    } else if (info.st_size != sizeof(*page)) {
        result = -EPROTO;
    } else {
        map = mmap(NULL, sizeof(*page), PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED) {
            result = -errno;
        } else {
            page_unmap(dataplane);
            dataplane->page = page = map;
            if (page->magic != LS_PAGE_MAGIC || page->size != sizeof(*page) || page->counters != LS_COUNTERS ||
                page->incarnation != incarnation) {
                result = -EPROTO;
                page_unmap(dataplane);
            }
        }
    }
    if (fd >= 0)
        close(fd);
    if (result != 0)
        snprintf(error, error_size, "the counters page %s cannot be used: %s", dataplane->counters,
                 result == -EPROTO ? "it is another version's or another process's" : strerror(-result));
    return result;
}

void ls_dataplane_kill(struct ls_dataplane *dataplane, int signal_number)
{
    if (dataplane->alive)
        (void)pidfd_send_signal(dataplane->pidfd, signal_number, NULL, 0);
}
