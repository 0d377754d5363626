/* SPDX-License-Identifier: BSD-3-Clause */
/* System calls on the control socket. See channel.h. */
#include "channel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lockstep/control_message.h>

static int poll_add(const struct ls_channel *channel, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};

    return epoll_ctl(channel->poll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

int ls_channel_init(struct ls_channel *channel, int listener)
{
    int flags = fcntl(listener, F_GETFL), error;

    *channel = (struct ls_channel){.listener = listener, .fd = -1, .poll_fd = -1};
    if (flags < 0 || fcntl(listener, F_SETFL, flags | O_NONBLOCK) != 0)
        return -errno;
    channel->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (channel->poll_fd < 0)
        return -errno;
    error = poll_add(channel, listener);
    if (error != 0)
        ls_channel_free(channel);
    return error;
}

void ls_channel_free(struct ls_channel *channel)
{
    if (channel->fd >= 0)
        close(channel->fd);
    if (channel->poll_fd >= 0)
        close(channel->poll_fd);
    channel->fd = channel->poll_fd = -1;
}

void ls_channel_close(struct ls_channel *channel, const char *why)
{
    if (channel->fd < 0)
        return;
    fprintf(stderr, "lockstep-dataplane: the link to lockstep-ctrl is closed: %s; service goes on\n", why);
    close(channel->fd); /* epoll forgets it */
    channel->fd = -1;
    channel->watched = false;
}

/* A new link that cannot be taken (no descriptor is free) keeps the listener readable, and waiting for it would take a
 * whole core: until there is none, or it could be taken, only the time-out of each wait brings the next look. */
static void listen_or_not(struct ls_channel *channel, int error)
{
    if (error != 0 && error != EAGAIN && !channel->deaf) {
        fprintf(stderr, "lockstep-dataplane: a link to lockstep-ctrl cannot be accepted yet: %s\n", strerror(error));
        channel->deaf = epoll_ctl(channel->poll_fd, EPOLL_CTL_DEL, channel->listener, NULL) == 0;
    } else if ((error == 0 || error == EAGAIN) && channel->deaf) {
        channel->deaf = poll_add(channel, channel->listener) != 0;
    }
}

bool ls_channel_accept(struct ls_channel *channel)
{
    int size = 4 * LS_CONTROL_MESSAGE_MAX;
    int fd = accept4(channel->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    listen_or_not(channel, fd < 0 ? errno : 0);
    if (fd < 0)
        return false;
    ls_channel_close(channel, "another lockstep-ctrl has taken over");
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)); /* less is slower, not wrong */
    channel->fd = fd;
    ls_channel_watch(channel, true);
    return true;
}

size_t ls_channel_receive(struct ls_channel *channel, void *message, size_t room)
{
    ssize_t size;

    if (channel->fd < 0)
        return 0;
    size = recv(channel->fd, message, room, MSG_DONTWAIT | MSG_TRUNC);
    if (size > 0)
        return (size_t)size;
    if (size == 0)
        ls_channel_close(channel, "lockstep-ctrl has gone");
    else if (errno != EAGAIN && errno != EINTR)
        ls_channel_close(channel, strerror(errno));
    return 0;
}

bool ls_channel_send(struct ls_channel *channel, const void *message, size_t size)
{
    ssize_t sent;

    if (channel->fd < 0)
        return true;
    do {
        sent = send(channel->fd, message, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno == EAGAIN)
        return false;
    /* Broken, but what it still has to read may hold ctrl's last orders: reading finds the end. */
    if (sent < 0 && errno != EPIPE && errno != ECONNRESET)
        ls_channel_close(channel, strerror(errno));
    return true;
}

void ls_channel_watch(struct ls_channel *channel, bool messages)
{
    if (channel->fd < 0 || channel->watched == messages)
        return;
    if (messages && poll_add(channel, channel->fd) == 0)
        channel->watched = true; /* else the time-out of each wait brings the next look */
    else if (!messages && epoll_ctl(channel->poll_fd, EPOLL_CTL_DEL, channel->fd, NULL) == 0)
        channel->watched = false;
}
