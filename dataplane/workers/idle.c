/* SPDX-License-Identifier: BSD-3-Clause */
/* The system calls behind idle.h: an eventfd, and ppoll() on it. Called by the sleeping thread and by its wakers. */
#include "idle.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int ls_waker_init(struct ls_waker *waker)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    if (fd < 0)
        return -errno;
    atomic_init(&waker->asleep, 0);
    waker->fd = fd;
    return 0;
}

void ls_waker_free(struct ls_waker *waker)
{
    close(waker->fd);
    waker->fd = -1;
}

void ls_waker_signal(struct ls_waker *waker)
{
    uint64_t one = 1;
    ssize_t written;

    /* One write per sleep: of several wakers the one that takes the flag writes. */
    if (atomic_exchange_explicit(&waker->asleep, 0, memory_order_relaxed) == 0)
        return;
    do {
        written = write(waker->fd, &one, sizeof(one));
    } while (written < 0 && errno == EINTR);
    assert(written == sizeof(one) || errno == EAGAIN); /* EAGAIN: the count is at its limit, so the sleeper wakes */
}

/* An error of a socket stays until it is asked for (a link that went down), others stay for good: nothing then ever
 * becomes readable, and every sleep would end at once. True: it is still there. */
static bool is_broken(int fd)
{
    struct pollfd look = {.fd = fd, .events = POLLIN};
    socklen_t size = sizeof(int);
    int error;

    (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return poll(&look, 1, 0) > 0 && (look.revents & POLLIN) == 0;
}

bool ls_waker_wait(struct ls_waker *waker, int fd, uint64_t timeout_ns)
{
    struct pollfd wait[2] = {{.fd = waker->fd, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / 1000000000), .tv_nsec = (long)(timeout_ns % 1000000000)};
    uint64_t count;
    int ready = ppoll(wait, fd >= 0 ? 2 : 1, &timeout, NULL);

    if (ready > 0 && fd >= 0 && wait[0].revents == 0 && (wait[1].revents & POLLIN) == 0 && is_broken(fd)) {
        timeout = (struct timespec){.tv_nsec = (long)(timeout_ns < LS_IDLE_NAP_NS ? timeout_ns : LS_IDLE_NAP_NS)};
        ready = ppoll(wait, 1, &timeout, NULL);
    }

    ls_waker_cancel(waker);
    if (ready <= 0)
        return fd >= 0 && wait[1].revents != 0; /* time is over, or a signal: the caller looks around in either case */
    if (wait[0].revents != 0 && read(waker->fd, &count, sizeof(count)) < 0)
        assert(errno == EAGAIN || errno == EINTR);
    return fd >= 0 && wait[1].revents != 0;
}
