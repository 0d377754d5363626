/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How the core reaches the network: frames in buffers that it does not own, and a small table of functions. With DPDK
 * a buffer is an mbuf and `data` points behind the room for Ethernet, IPv4 and UDP headers; in the simulator it is a
 * packet in flight. The core fills frames in place and never copies one.
 */
#ifndef LOCKSTEP_CORE_IO_H
#define LOCKSTEP_CORE_IO_H

#include <lockstep/types.h>

struct ls_frame {
    uint8_t *data;       /* UDP payload */
    uint32_t length;     /* bytes of it */
    struct ls_addr peer; /* received: from whom; to be sent: to whom */
    void *handle;        /* the buffer, as its owner knows it */
};

struct ls_io {
    /* Takes a buffer with room for LS_FRAME_MAX bytes. False: none free; nothing else happened. */
    bool (*alloc)(struct ls_io *io, struct ls_frame *frame);
    /* Sends frame->length bytes to frame->peer, and owns the buffer from now on. Never fails for the caller: what
     * cannot be sent is counted and lost, as a network would lose it. */
    void (*send)(struct ls_io *io, struct ls_frame *frame);
    /* Gives an unsent buffer back. */
    void (*release)(struct ls_io *io, struct ls_frame *frame);
    /* From now on frames may go to these at any moment, though none have for hours: who takes over must not first find
     * out where the others are. In place of those named before. NULL: this network needs no such hint. */
    void (*peers)(struct ls_io *io, const struct ls_addr *peer, uint32_t n);
};

/* What the net worker polls. One thread. */
struct ls_port {
    struct ls_io io;
    /* At most n received datagrams for the group's UDP port, valid until done() gives them back. */
    uint32_t (*receive)(struct ls_port *port, struct ls_frame *frames, uint32_t n, uint64_t now_ns);
    void (*done)(struct ls_port *port, struct ls_frame *frames, uint32_t n);
    /* Pushes out what send() collected. Once at the end of each loop turn. */
    void (*flush)(struct ls_port *port, uint64_t now_ns);
};

#endif
