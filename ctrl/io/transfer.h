/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checkpoints between nodes, each over a connection of its own beside the links, at a bounded rate and in small pieces,
 * so that heartbeats and elections are not held up. One is fetched at a time; what arrived stays where the connection
 * breaks, and the fetch goes on from there at the same source. A file gets its name when all of it was synced and
 * verified. Called from ctrl's thread, callbacks come from its loop only; the bytes of files go on threads of their own
 * (transfer_flow.h), none of which is waited for.
 */
#ifndef LOCKSTEP_CTRL_IO_TRANSFER_H
#define LOCKSTEP_CTRL_IO_TRANSFER_H

#include <event2/bufferevent.h>
#include <event2/event.h>

#include <lockstep/limits.h>
#include <lockstep/types.h>

#include "checkpoints.h"

#define LS_TRANSFER_SERVED_MAX 2 /* at once */
#define LS_TRANSFER_WAITING_MAX                                                                                        \
    4 /* more wait for their turn, or for a checkpoint being made; beyond: told to come later */
#define LS_TRANSFER_TEXT 512

struct ls_transfer_io {
    void *user;
    /* Another node wants a checkpoint newer than all there are: have one made and adopted, then ls_transfer_made(). */
    void (*make)(void *user);
    /* The fetch ended. 0 and where the file is (it is in the list, and good); else -errno and why, for people. */
    void (*done)(void *user, int error, const char *path, const char *text);
    /* At the beginning, at the end, and now and then between them. */
    void (*progress)(void *user, uint16_t from, uint64_t bytes, uint64_t expected);
    void (*say)(void *user, const char *text); /* a line for the log */
};

struct ls_transfer_config {
    struct event_base *base;
    uint64_t cluster;
    uint32_t generation;
    uint16_t node;
    uint64_t bytes_per_second; /* of all that is served together; 0: no limit */
    uint32_t pause_ms;         /* before a source is asked again, doubling up to 32 times that; 0: 100 */
    uint32_t silence_ms;       /* a source that says nothing for so long is left; 0: 10 s */
    struct ls_checkpoints *checkpoints;
};

struct ls_transfer;

struct ls_transfer *ls_transfer_create(const struct ls_transfer_config *config, const struct ls_transfer_io *io);
void ls_transfer_free(struct ls_transfer *t);

/* ---- serving ---- */

/* A member's bulk connection (peers' bulk()). */
void ls_transfer_accept(struct ls_transfer *t, struct bufferevent *connection, uint16_t node);
/* make() ended: 0, and the new one is adopted; else why not. */
void ls_transfer_made(struct ls_transfer *t, int error, const char *text);

/* ---- fetching ---- */

struct ls_transfer_source {
    uint16_t node;
    struct ls_addr ctrl;
};

/* One whose position is not below `position`, from any of these, the first ones preferred. 0: done() follows. -EBUSY:
 * one is being fetched already; -EINVAL: no source. */
int ls_transfer_get(struct ls_transfer *t, const struct ls_transfer_source *sources, uint32_t count, uint64_t position);
/* No done() follows. What is just being received is dropped, what a broken connection left is kept. */
void ls_transfer_cancel(struct ls_transfer *t);

struct ls_transfer_view {
    uint32_t served, waiting;
    bool fetching;
    uint16_t from; /* source asked now */
    uint64_t bytes, expected;
    uint64_t chunks_refused; /* damaged on their way */
};
void ls_transfer_view(const struct ls_transfer *t, struct ls_transfer_view *view);

#endif
