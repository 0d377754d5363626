/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The first frame of a connection between two ctrls, from both ends: who speaks, to whom, and what for. All frames are
 * a 32-bit length and as many bytes, little-endian. No state; any thread.
 */
#ifndef LOCKSTEP_CTRL_IO_HELLO_H
#define LOCKSTEP_CTRL_IO_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lockstep/types.h>
#include <lockstep/wire.h>

#define LS_HELLO_MAGIC   0x4b4e494c504b534cull /* "LSKPLINK" */
#define LS_HELLO_VERSION 1

enum ls_hello_kind {
    LS_HELLO_LINK = 1, /* messages between two ctrls */
    LS_HELLO_BULK = 2, /* one checkpoint is fetched */
};

struct ls_hello {
    uint32_t length; /* of what follows */
    uint32_t version;
    uint64_t magic;
    uint64_t cluster;
    uint16_t node;    /* who speaks */
    uint16_t to;      /* who is meant */
    uint16_t kind;    /* enum ls_hello_kind */
    uint16_t refused; /* enum ls_hello_refusal; the connection is closed behind it. 0 in the first one */
} LS_PACKED;
static_assert(sizeof(struct ls_hello) == 32, "link layout");

enum ls_hello_refusal {
    LS_HELLO_FINE,
    LS_HELLO_GARBAGE, /* is not answered */
    LS_HELLO_OTHER_VERSION,
    LS_HELLO_OTHER_CLUSTER,
    LS_HELLO_OTHER_NODE,
    LS_HELLO_NO_NODE, /* it says an id that cannot be, or this node's own */
    LS_HELLO_NO_MEMBER,
    LS_HELLO_WRONG_END, /* the node with the lower id connects */
    LS_HELLO_BUSY,
};
const char *ls_hello_refusal_text(unsigned refusal);

struct ls_hello ls_hello_make(uint64_t cluster, uint16_t node, uint16_t to, enum ls_hello_kind kind);

/* Is it meant for `node` of `cluster`? Whether the speaker is a member is the caller's to know. */
enum ls_hello_refusal ls_hello_check(const struct ls_hello *hello, uint64_t cluster, uint16_t node);

/* For a connection to another ctrl; -1 and errno. libevent's own would be inherited by the dataplane, which would hold
 * the connection open when this process has ended. */
int ls_hello_socket(void);
/* No delay, and a dead other end is noticed within about two seconds even where nothing answers. */
void ls_hello_socket_set(int fd);
/* Another patience with an end that answers but does not read, or does not answer. */
void ls_hello_patience_set(int fd, uint32_t ms);

/* "192.0.2.1:7401" */
#define LS_HELLO_ADDR_TEXT 24
const char *ls_hello_addr_text(struct ls_addr addr, char text[LS_HELLO_ADDR_TEXT]);

#endif
