/* SPDX-License-Identifier: BSD-3-Clause */
/* The link to the dataplane and its counters page. See dataplane.h. ctrl's one thread. */
#include "dataplane.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../core/message.h"

#define SOCKET_NAME     "dataplane.sock"
#define LINK_AGAIN_US   20000
#define MESSAGES_A_TURN 64 /* other events want their turn */

static void on_exit_seen(void *user, const char *how);
static void on_ready_late(evutil_socket_t fd, short what, void *argument);
static void on_link_again(evutil_socket_t fd, short what, void *argument);

bool ls_dataplane_init(struct ls_dataplane *dataplane)
{
    struct ls_process *process = &dataplane->process;

    dataplane->fd = -1;
    /* Shared memory, not data_dir: a page on a disk would be written back, and its writers held up, again and again. */
    snprintf(dataplane->counters, sizeof(dataplane->counters), "/dev/shm/lockstep-%016" PRIx64 "-%u",
             dataplane->cluster, dataplane->node);
    process->base = dataplane->base;
    process->on_death = on_exit_seen;
    process->user = dataplane;
    snprintf(process->lock_path, sizeof(process->lock_path), "%s/dataplane.lock", dataplane->data_dir);
    ls_process_init(process);
    dataplane->ready_timer = evtimer_new(dataplane->base, on_ready_late, dataplane);
    dataplane->link_timer = evtimer_new(dataplane->base, on_link_again, dataplane);
    return dataplane->ready_timer != NULL && dataplane->link_timer != NULL;
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
    dataplane->ready = false;
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
    bool ended = dataplane->process.pid != 0 && !dataplane->process.alive;

    link_close(dataplane);
    event_drop(&dataplane->ready_timer);
    event_drop(&dataplane->link_timer);
    ls_process_free(&dataplane->process);
    page_unmap(dataplane);
    if (ended && page_is_ours(dataplane)) /* else: an orphan's, or nobody's */
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

static void timer_set(struct event *timer, uint64_t us)
{
    struct timeval time = {.tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000)};

    (void)evtimer_add(timer, &time);
}

static void trouble(struct ls_dataplane *dataplane, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void trouble(struct ls_dataplane *dataplane, const char *format, ...)
{
    char text[512];
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    dataplane->on_trouble(dataplane->user, text);
}

/* Broken while the process lives: made again. One that is ending ends before the timer does. */
static void link_lost(struct ls_dataplane *dataplane)
{
    link_close(dataplane);
    if (dataplane->process.alive)
        timer_set(dataplane->link_timer, LINK_AGAIN_US);
}

static int page_map(struct ls_dataplane *dataplane)
{
    const struct ls_counters_page *page = MAP_FAILED;
    int fd = open(dataplane->counters, O_RDONLY | O_CLOEXEC), result = 0;
    struct stat info;

    if (fd < 0 || fstat(fd, &info) != 0)
        result = -errno;
    else if (info.st_size != sizeof(*page))
        result = -EPROTO;
    else if ((page = mmap(NULL, sizeof(*page), PROT_READ, MAP_SHARED, fd, 0)) == MAP_FAILED)
        result = -errno;
    if (fd >= 0)
        close(fd);
    page_unmap(dataplane);
    if (result != 0)
        return result;
    dataplane->page = page;
    if (page->magic == LS_PAGE_MAGIC && page->size == sizeof(*page) && page->counters == LS_COUNTERS &&
        page->incarnation == dataplane->incarnation)
        return 0;
    page_unmap(dataplane);
    return -EPROTO;
}

/* The first message on every link. False: not the process that is meant. */
static bool ready_take(struct ls_dataplane *dataplane, const uint8_t *body)
{
    struct ls_control_ready ready;
    int result;

    memcpy(&ready, body, sizeof(ready));
    if (ready.pid != (uint64_t)dataplane->process.pid ||
        (dataplane->incarnation != 0 && ready.incarnation != dataplane->incarnation)) {
        trouble(dataplane,
                "the dataplane that answers on %s/" SOCKET_NAME " is not the one that was started: process %" PRIu64
                ", incarnation %" PRIu64 ", expected process %d, incarnation %" PRIu64
                ": look for a second one of this node and stop it",
                dataplane->data_dir, (uint64_t)ready.pid, (uint64_t)ready.incarnation, (int)dataplane->process.pid,
                dataplane->incarnation);
        return false;
    }
    dataplane->incarnation = ready.incarnation;
    dataplane->ready = true;
    (void)event_del(dataplane->ready_timer);
    result = page_map(dataplane);
    if (result != 0)
        trouble(dataplane, "the counters page %s cannot be used: %s", dataplane->counters,
                result == -EPROTO ? "it is another version's or another process's" : strerror(-result));
    return true;
}

/* False: the link is closed. */
static bool message_take(struct ls_dataplane *dataplane, const uint8_t *message, size_t size, size_t room)
{
    const char *wrong = size > room ? "a message larger than any" : ls_message_check(message, size);
    struct ls_control_header header = {0};

    if (wrong == NULL) {
        memcpy(&header, message, sizeof(header));
        if (!dataplane->ready && header.type != LS_CONTROL_READY)
            wrong = "a message before READY";
    }
    if (wrong != NULL) {
        trouble(dataplane, "the link to the dataplane is closed and made again: %s", wrong);
        return false;
    }
    if (header.type == LS_CONTROL_READY && !ready_take(dataplane, message + sizeof(header)))
        return false;
    dataplane->on_message(dataplane->user, &header, message + sizeof(header));
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *argument)
{
    static uint8_t message[LS_CONTROL_MESSAGE_MAX];
    struct ls_dataplane *dataplane = argument;
    ssize_t size;

    (void)what;
    for (int i = 0; i < MESSAGES_A_TURN && dataplane->fd == fd && fd >= 0; i++) {
        size = recv(fd, message, sizeof(message), MSG_DONTWAIT | MSG_TRUNC);
        if (size < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (size <= 0 || !message_take(dataplane, message, (size_t)size, sizeof(message))) {
            link_lost(dataplane);
            return;
        }
    }
}

static void on_exit_seen(void *user, const char *how)
{
    struct ls_dataplane *dataplane = user;

    on_readable(dataplane->fd, 0, dataplane); /* what it said last */
    link_close(dataplane);
    (void)event_del(dataplane->ready_timer);
    (void)event_del(dataplane->link_timer);
    dataplane->on_death(dataplane->user, dataplane->late[0] != '\0' ? dataplane->late : how);
}

static void on_ready_late(evutil_socket_t fd, short what, void *argument)
{
    struct ls_dataplane *dataplane = argument;
    bool adopted = !dataplane->process.child;

    (void)fd;
    (void)what;
    snprintf(dataplane->late, sizeof(dataplane->late), "killed: it did not say READY within %u ms%s",
             adopted ? dataplane->adopt_ms : dataplane->ready_ms, adopted ? " of being taken over" : "");
    ls_process_kill(&dataplane->process, SIGKILL);
}

/* A socket's path may be 108 bytes long, data_dir's more: both ends go by a handle of the directory. -1 and errno. */
static int address_make(const struct ls_dataplane *dataplane, struct sockaddr_un *address)
{
    int directory = open(dataplane->data_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d/" SOCKET_NAME, directory);
    return directory;
}

/* -errno, or the listening socket that the dataplane gets. */
static int listener_make(const struct ls_dataplane *dataplane)
{
    struct sockaddr_un address;
    int directory = address_make(dataplane, &address), fd, error = 0;
    mode_t mask;

    if (directory < 0)
        return -errno;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        error = errno;
    } else {
        (void)unlink(address.sun_path); /* nobody holds the lock: nobody listens there */
        mask = umask(0177);
        if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) != 0 || listen(fd, 8) != 0)
            error = errno;
        umask(mask);
    }
    close(directory);
    if (error == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -error;
}

/* 0 or -errno. Before the other end has accepted, too. */
static int link_make(struct ls_dataplane *dataplane)
{
    int size = 4 * LS_CONTROL_MESSAGE_MAX, error = 0, directory;
    struct sockaddr_un address;

    directory = address_make(dataplane, &address);
    if (directory < 0)
        return -errno;
    dataplane->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (dataplane->fd < 0 || connect(dataplane->fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
        error = errno;
    close(directory);
    if (error == 0) {
        (void)setsockopt(dataplane->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)); /* less is slower, not wrong */
        dataplane->message_event =
            event_new(dataplane->base, dataplane->fd, EV_READ | EV_PERSIST, on_readable, dataplane);
        if (dataplane->message_event == NULL || event_add(dataplane->message_event, NULL) != 0)
            error = ENOMEM;
    }
    if (error != 0)
        link_close(dataplane);
    else
        dataplane->links++;
    return -error;
}

static void on_link_again(evutil_socket_t fd, short what, void *argument)
{
    struct ls_dataplane *dataplane = argument;

    (void)fd;
    (void)what;
    if (dataplane->process.alive && dataplane->fd < 0 && link_make(dataplane) != 0)
        timer_set(dataplane->link_timer, LINK_AGAIN_US);
}

static void begin(struct ls_dataplane *dataplane, uint64_t incarnation, uint32_t patience_ms)
{
    dataplane->incarnation = incarnation;
    dataplane->late[0] = '\0';
    dataplane->links = 0;
    if (link_make(dataplane) != 0)
        timer_set(dataplane->link_timer, LINK_AGAIN_US);
    timer_set(dataplane->ready_timer, patience_ms * 1000ull);
}

static int spawn_with(struct ls_dataplane *dataplane, const struct ls_dataplane_start *start, int listener, char *error,
                      size_t error_size)
{
    char node[16], generation[16], incarnation[24], promise[24], counts[24], fd[16];
    char *arguments[] = {(char *)(uintptr_t)start->program,
                         "--config",
                         (char *)(uintptr_t)start->config,
                         "--node",
                         node,
                         "--generation",
                         generation,
                         "--incarnation",
                         incarnation,
                         "--promise",
                         promise,
                         "--counts",
                         counts,
                         "--control-fd",
                         fd,
                         "--counters",
                         dataplane->counters,
                         NULL};

    snprintf(node, sizeof(node), "%u", dataplane->node);
    snprintf(generation, sizeof(generation), "%u", start->generation);
    snprintf(incarnation, sizeof(incarnation), "%" PRIu64, start->incarnation);
    snprintf(promise, sizeof(promise), "%" PRIu64, start->promise);
    snprintf(counts, sizeof(counts), "%" PRIu64, start->counts);
    snprintf(fd, sizeof(fd), "%d", listener);
    return ls_process_spawn(&dataplane->process, arguments, listener, error, error_size);
}

/* Its ctrl ended before it held its lock, so it was not found and taken over; no link leads to it, and while it lives
 * no other can be started. Its death is told as that of the one that was to be started. */
static int stray_end(struct ls_dataplane *dataplane)
{
    snprintf(dataplane->late, sizeof(dataplane->late),
             "killed: process %d, which an earlier lockstep-ctrl started, held the lock", (int)dataplane->process.pid);
    ls_process_kill(&dataplane->process, SIGKILL);
    return 0;
}

int ls_dataplane_spawn(struct ls_dataplane *dataplane, const struct ls_dataplane_start *start, char *error,
                       size_t error_size)
{
    int result, listener;

    assert(!dataplane->process.alive);
    if (dataplane->ready_ms == 0)
        dataplane->ready_ms = LS_DATAPLANE_READY_MS;
    result = ls_process_find(&dataplane->process, error, error_size);
    if (result != 0)
        return result < 0 ? result : stray_end(dataplane);
    page_unmap(dataplane); /* its predecessor's: kept for status until now */
    listener = listener_make(dataplane);
    if (listener < 0) {
        snprintf(error, error_size, "%s/" SOCKET_NAME " cannot be made: %s", dataplane->data_dir, strerror(-listener));
        return listener;
    }
    result = spawn_with(dataplane, start, listener, error, error_size);
    if (result == 0)
        begin(dataplane, start->incarnation, dataplane->ready_ms);
    close(listener);
    return result;
}

int ls_dataplane_adopt(struct ls_dataplane *dataplane, char *error, size_t error_size)
{
    int found = ls_process_find(&dataplane->process, error, error_size);

    if (dataplane->adopt_ms == 0)
        dataplane->adopt_ms = LS_DATAPLANE_ADOPT_MS;
    if (found == 1)
        begin(dataplane, 0, dataplane->adopt_ms);
    return found;
}

bool ls_dataplane_send(struct ls_dataplane *dataplane, enum ls_control_type type, uint64_t id, const void *body,
                       size_t size)
{
    struct ls_control_header header = {.version = LS_CONTROL_VERSION, .type = type, .id = id, .size = (uint32_t)size};
    uint8_t message[sizeof(header) + LS_DATAPLANE_MESSAGE_MAX];
    ssize_t sent;

    assert(size <= LS_DATAPLANE_MESSAGE_MAX);
    if (dataplane->fd < 0 || !dataplane->ready)
        return false;
    memcpy(message, &header, sizeof(header));
    if (size > 0)
        memcpy(message + sizeof(header), body, size);
    do {
        sent = send(dataplane->fd, message, sizeof(header) + size, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno != EPIPE && errno != ECONNRESET) /* those: its end, or a link that is made again */
        trouble(dataplane, "the dataplane does not take a message: %s", strerror(errno));
    return sent >= 0;
}

void ls_dataplane_kill(struct ls_dataplane *dataplane, int signal_number)
{
    ls_process_kill(&dataplane->process, signal_number);
}
