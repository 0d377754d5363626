/* SPDX-License-Identifier: BSD-3-Clause */
/* What transfer.c (fetching), transfer_serve.c and transfer_frames.c share. ctrl's thread, but for the frames: any. */
#ifndef LOCKSTEP_CTRL_IO_TRANSFER_INTERNAL_H
#define LOCKSTEP_CTRL_IO_TRANSFER_INTERNAL_H

#include "transfer.h"

#include <event2/buffer.h>

#include <lockstep/wire.h>

#include "job.h"

/* ---- frames: 32-bit length of what follows, type, then its body ---- */

enum ls_bulk_type {
    LS_BULK_ASK = 1,    /* receiver: struct ls_bulk_ask */
    LS_BULK_FILE = 2,   /* sender: struct ls_bulk_file; its bytes follow in chunks, from `offset` on */
    LS_BULK_CHUNK = 3,  /* sender: struct ls_bulk_chunk, then 1..LS_BULK_CHUNK_MAX bytes */
    LS_BULK_WAIT = 4,   /* sender: a text; there is none yet, or others come first; stay */
    LS_BULK_REFUSE = 5, /* sender: struct ls_bulk_refuse, then a text; and the end */
    LS_BULK_BAD = 6,    /* receiver: what came is damaged; and the end */
};
#define LS_BULK_CHUNK_MAX (64 * 1024)
#define LS_BULK_TEXT_MAX  256

struct ls_bulk_head {
    uint32_t length; /* of the frame without this field */
    uint32_t type;
} LS_PACKED;

/* Which bytes: two files of one node with the same identity hold the same. */
struct ls_bulk_file {
    uint64_t seq, position, digest, size, identity;
    uint64_t offset; /* ASK: from where on it is missing; FILE: from where on it is sent */
    uint32_t generation;
    uint32_t zero;
} LS_PACKED;

struct ls_bulk_ask {
    uint64_t position;        /* not below */
    struct ls_bulk_file held; /* begun before; seq 0: none */
} LS_PACKED;

struct ls_bulk_chunk {
    uint64_t offset;
    uint32_t crc; /* CRC32C of the bytes */
    uint32_t zero;
} LS_PACKED;

struct ls_bulk_refuse {
    uint32_t again; /* 1: it may be asked again in a while; 0: it has none */
    uint32_t zero;
} LS_PACKED;

#define LS_BULK_FRAME_MAX (sizeof(struct ls_bulk_head) + sizeof(struct ls_bulk_chunk) + LS_BULK_CHUNK_MAX)

enum ls_bulk_direction { LS_BULK_TO_SENDER, LS_BULK_TO_RECEIVER };

/* `size` bytes: a whole frame. NULL: well-formed; else why not, static. */
const char *ls_bulk_check(enum ls_bulk_direction direction, const uint8_t *frame, size_t size);

/* The first frame of `size` bytes that arrived. Its size, well-formed; 0: it is not all there yet; -1: malformed, *why,
 * static. */
long ls_bulk_next(enum ls_bulk_direction direction, const uint8_t *bytes, size_t size, const char **why);

/* The same, taken out of `in` into `frame` (LS_BULK_FRAME_MAX bytes). */
long ls_bulk_take(struct evbuffer *in, enum ls_bulk_direction direction, uint8_t *frame, const char **why);

/* 0, or -1 without memory. `tail` may be NULL. */
int ls_bulk_send(struct bufferevent *bev, enum ls_bulk_type type, const void *body, size_t size, const void *tail,
                 size_t tail_size);

struct ls_flow; /* transfer_flow.h */
struct ls_rate;

/* ---- serving ---- */

enum ls_serve_state {
    SERVE_FREE,
    SERVE_ASKING,    /* awaits the question */
    SERVE_PREPARING, /* a checkpoint is made or verified */
    SERVE_QUEUED,    /* awaits its turn */
    SERVE_SENDING,   /* a flow's thread has the connection */
    SERVE_SENT,      /* awaits the other end's end */
};

struct ls_serve {
    struct ls_transfer *t;
    enum ls_serve_state state;
    uint16_t node;
    struct bufferevent *bev; /* or, while sending, flow */
    struct ls_flow *flow;
    struct ls_bulk_ask ask;
    bool made; /* one was made for it: no second one */
    char name[LS_CHECKPOINT_NAME_MAX];
    uint64_t since; /* order of coming */
};

/* ---- fetching ---- */

enum ls_fetch_state {
    FETCH_IDLE,
    FETCH_PAUSE, /* before the next source is asked */
    FETCH_CONNECTING,
    FETCH_HELLO,
    FETCH_ASKED,
    FETCH_RECEIVING, /* a flow's thread has the connection, and writes the partial file */
    FETCH_CHECKING,  /* all is there: synced and verified on a thread */
};

struct ls_fetch {
    enum ls_fetch_state state;
    struct ls_transfer_source source[LS_MEMBERS_MAX];
    bool bad[LS_MEMBERS_MAX]; /* has none, or a damaged one */
    uint32_t sources, at;     /* asked now */
    uint32_t failures;        /* since something last arrived */
    uint64_t position;
    struct bufferevent *bev; /* or, while receiving, flow */
    struct ls_flow *flow;
    struct event *timer;                /* ends a pause; looks at what arrived */
    struct ls_job *job;                 /* of checking */
    int fd;                             /* of the partial file; -1: none */
    uint16_t held_node;                 /* where it came from */
    struct ls_bulk_file held;           /* offset: as far as this side knows, or has looked at flow */
    char path[LS_CHECKPOINTS_PATH_MAX]; /* its final name */
    uint32_t begun; /* partial files so far: no two have the same name, for a thread may still look at an older one */
    char why[LS_TRANSFER_TEXT]; /* the last failure */
};

struct ls_transfer {
    struct ls_transfer_config config;
    struct ls_transfer_io io;
    struct ls_rate *rate;        /* of all that is served together; NULL: no limit */
    struct event *keep_timer;    /* says WAIT to those who wait */
    struct event *prepare_event; /* look again at what can be served */
    struct ls_serve serve[LS_TRANSFER_SERVED_MAX + LS_TRANSFER_WAITING_MAX];
    uint64_t serves;
    bool making, verifying;
    struct ls_fetch fetch;
    uint64_t chunks_refused;
    uint8_t frame[LS_BULK_FRAME_MAX];
};

bool ls_serve_begin(struct ls_transfer *t);
void ls_serve_end(struct ls_transfer *t);

#endif
