/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The socket to lockstep-ctrl: listens, takes the newest link, carries whole messages. A link that breaks, or is
 * replaced, is closed with a line in the log; the channel goes on listening. Never blocks. Control thread.
 */
#ifndef LOCKSTEP_CONTROL_CHANNEL_H
#define LOCKSTEP_CONTROL_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sys/types.h>

struct ls_channel {
    int listener; /* SEQPACKET, listening; the owner's */
    int fd;       /* the link; -1: none */
    int poll_fd;  /* readable when there is a new link, or (while watched) a message */
    bool watched;
    bool deaf; /* new links do not make poll_fd readable: the last one could not be taken */
};

/* 0 or -errno. */
int ls_channel_init(struct ls_channel *channel, int listener);
void ls_channel_free(struct ls_channel *channel);

/* True: a new link stands, and the one before is closed. */
bool ls_channel_accept(struct ls_channel *channel);

/* Closes the link, if there is one, and says why. */
void ls_channel_close(struct ls_channel *channel, const char *why);

/* One message into `room` bytes. Its size, which may be larger than `room`; 0: none now, or the link is closed. */
size_t ls_channel_receive(struct ls_channel *channel, void *message, size_t room);

/* False: the socket has no room, because ctrl is slow (a disk may hold it for seconds): keep it and come again. Without
 * a link it is said to nobody: true. */
bool ls_channel_send(struct ls_channel *channel, const void *message, size_t size);

/* Whether messages that wait are to make poll_fd readable. */
void ls_channel_watch(struct ls_channel *channel, bool messages);

#endif
