/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The session table: what makes each request of each client take effect exactly once, in the client's order. Part of
 * the replicated state: it changes by log entries alone, so it is equal on every replica after the same entry. Owned by
 * apply and called on its thread only; other threads see (session, next) of each slot through the seam.
 *
 * An entry passes in two steps, because the state machine runs bursts: ls_sessions_judge() decides, in log order, what
 * becomes of each entry of a burst and moves the session on; when the burst was executed, ls_sessions_keep() or
 * ls_sessions_pass() follows for each entry, in the same order. Decisions never depend on results, so it does not
 * matter how the log is cut into bursts.
 *
 * Results are kept for the numbers in [floor, next): floor rises with what the client no longer awaits, and is never
 * more than the window behind next. The digest is a chain over every decision and every result.
 *
 * An image of the table (session_image.c) is taken while the table goes on: begun between two bursts, it has each slot
 * as it was then, because a slot is copied before it is changed for the first time.
 */
#ifndef LOCKSTEP_CORE_SESSION_H
#define LOCKSTEP_CORE_SESSION_H

#include <lockstep/entry.h>
#include <stddef.h>

#include <lockstep/error.h>

#include "seam.h"

#define LS_KEPT_INLINE 40

/* A kept result: one cache line where it is small, as most are; the rest of a longer one stands elsewhere. */
struct ls_kept {
    uint64_t number;
    uint64_t seq;
    uint16_t status;
    uint16_t length;
    uint32_t unused;
    uint8_t bytes[LS_KEPT_INLINE];
};
static_assert(sizeof(struct ls_kept) == 64, "one cache line");

struct ls_session {
    uint64_t id;     /* seq of its OPEN entry; 0: free */
    uint64_t next;   /* number of the request that may be executed next; of a freed slot: that + 1 freed before it */
    uint64_t floor;  /* lowest number whose result is kept */
    uint64_t active; /* stamp of its newest entry */
    uint64_t nonce[2];
    uint64_t touched; /* seq of its newest entry: the order of use */
    uint64_t client;  /* where that came from: ip << 16 | port */
};
static_assert(sizeof(struct ls_session) == 64, "one cache line");

enum ls_verdict_kind {
    LS_VERDICT_NONE,     /* no client's entry: only time passes */
    LS_VERDICT_EXECUTE,  /* to be executed; the result is kept */
    LS_VERDICT_CONCLUDE, /* not executed, and never will be: `status` is kept as its result */
    LS_VERDICT_REPEAT,   /* done before: the kept result is the answer */
    LS_VERDICT_REFUSE,   /* not executed: `status` is the answer, nothing is kept */
    LS_VERDICT_OPENED,   /* the entry's session is `id` in `slot`, now or since before (`again`) */
};

struct ls_verdict {
    uint64_t number;
    uint64_t next; /* of the session, behind this entry */
    uint64_t id;   /* OPENED: the session */
    uint64_t mark; /* the decision's part of the digest */
    uint32_t slot;
    uint16_t status;
    uint8_t kind;    /* enum ls_verdict_kind */
    uint8_t evicted; /* sessions that had to go for this one */
    bool again;
};

struct ls_sessions;

/* Room for `capacity` sessions (1..LS_SESSIONS_MAX), taken as address space: memory is used as sessions are. Slots are
 * published to `seats`, of that length at least (NULL: until ls_sessions_attach() nothing but restoring is done). Until
 * ls_sessions_set_limits() none can be opened. NULL: no memory. */
struct ls_sessions *ls_sessions_create(uint32_t capacity, struct ls_session_public *seats);
/* Most sessions that this table has room for. */
uint32_t ls_sessions_capacity(const struct ls_sessions *table);
/* Requests in flight that the log allows; 1 before its first LIMITS entry. */
uint32_t ls_sessions_window(const struct ls_sessions *table);
void ls_sessions_destroy(struct ls_sessions *table);

/* Limits as the log says. False, and nothing changed, where this table has not the room that the log asks for:
 * going on with less would make this replica answer differently from others. Lower limits than are in use are
 * reached by and by, as sessions become idle. */
bool ls_sessions_set_limits(struct ls_sessions *table, const struct ls_entry_limits *limits);

/* Decides about n entries in log order. `now_ns` is only for a deliberately broken variant. An OPEN entry must be the
 * first of the n: its slot may have been another session's, whose earlier entries have to be kept before. */
void ls_sessions_judge(struct ls_sessions *table, const struct ls_entry *const *entries, uint32_t n,
                       struct ls_verdict *verdicts, uint64_t now_ns);

/* EXECUTE, CONCLUDE: keeps the result, publishes that the request is done. */
void ls_sessions_keep(struct ls_sessions *table, const struct ls_verdict *verdict, uint64_t seq, uint16_t status,
                      const uint8_t *bytes, uint32_t length);
/* All other verdicts. */
void ls_sessions_pass(struct ls_sessions *table, const struct ls_verdict *verdict);

/* The kept result of a request for which the verdict was REPEAT and every earlier entry has been kept. */
const struct ls_kept *ls_sessions_kept(const struct ls_sessions *table, uint32_t slot, uint64_t number);
/* All bytes of a kept result, `kept->length` of them. */
void ls_sessions_copy(const struct ls_sessions *table, const struct ls_kept *kept, uint8_t *to);

/* What is known of a request, asked outside the log; between bursts. REPEAT: see ls_sessions_kept(). REFUSE: with
 * SESSION_UNKNOWN or RESULT_GONE. NONE: not done yet. */
enum ls_verdict_kind ls_sessions_look(const struct ls_sessions *table, uint64_t session, uint32_t slot, uint64_t number,
                                      uint16_t *status);

/* Brings the entry's session into the cache. */
void ls_sessions_prefetch(const struct ls_sessions *table, const struct ls_entry *entry);

uint32_t ls_sessions_open(const struct ls_sessions *table); /* number of open ones */
uint64_t ls_sessions_digest(const struct ls_sessions *table);

/* False before the first limits. */
bool ls_sessions_limited(const struct ls_sessions *table);

/* ---- images ---- */

/* The image is of now; between two bursts. False: one is open. */
bool ls_sessions_image_begin(struct ls_sessions *table);
/* Copies a bounded number of slots. Returns how many; 0: the image is whole (or none is open). */
uint32_t ls_sessions_image_step(struct ls_sessions *table);
bool ls_sessions_image_whole(const struct ls_sessions *table);
/* Its bytes; once it is whole, and until the end. Any thread that was told so. */
const uint8_t *ls_sessions_image(const struct ls_sessions *table, size_t *size);
void ls_sessions_image_end(struct ls_sessions *table);
/* No image of a table of this capacity is larger. */
size_t ls_sessions_image_max(uint32_t capacity);

/* A table from an image, which may be any bytes; it is published nowhere yet. Any thread. NULL and errno: EBADMSG
 * damaged, ENOSPC more sessions than `capacity`, in use or allowed by the log, ENOMEM. Bytes whose checksum is right
 * are the caller's matter: here it is seen to that the table can be worked with. */
struct ls_sessions *ls_sessions_restore(const uint8_t *bytes, size_t size, uint32_t capacity);
/* From here on the table publishes to `seats`; all of them, `n` >= its capacity, are written. apply. */
void ls_sessions_attach(struct ls_sessions *table, struct ls_session_public *seats, uint32_t n);

#endif
