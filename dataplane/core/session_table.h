/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The session table from inside: private to session.c (what the log does to it) and session_image.c (how it leaves and
 * comes back). Apply's alone, but for what is said at the image.
 */
#ifndef LOCKSTEP_CORE_SESSION_TABLE_H
#define LOCKSTEP_CORE_SESSION_TABLE_H

#include "session.h"

#define LS_KEPT_SLOTS LS_WINDOW_MAX
#define LS_KEPT_REST  (LS_RESULT_MAX - LS_KEPT_INLINE)

static_assert((LS_KEPT_SLOTS & (LS_KEPT_SLOTS - 1)) == 0, "results are found by the low bits of a number");
static_assert(LS_KEPT_SLOTS >= LS_WINDOW_MAX, "every window the log may ask for has room");

struct ls_session_link {
    uint32_t before;
    uint32_t behind;
};

/* An image under way. Its bytes are apply's until it is whole, then whoever's it is told that it is. */
struct ls_sessions_image {
    bool open;
    uint32_t end;     /* slots below are in it */
    uint32_t next;    /* slots below are copied */
    uint32_t copies;  /* slots copied */
    uint64_t *copied; /* a bit each */
    uint8_t *bytes;   /* address space for the worst case; touched as it is used, kept for the next one */
    size_t size;
};

struct ls_sessions {
    /* constant */
    size_t mapped;
    uint32_t capacity;
    uint32_t place_mask;
    struct ls_session *session;      /* [capacity] */
    struct ls_session_link *link;    /* [capacity + 1] */
    uint32_t *place;                 /* hash of nonces, linear probing: slot + 1, 0 free */
    struct ls_kept *kept;            /* [capacity][LS_KEPT_SLOTS] */
    uint8_t (*rest)[LS_KEPT_REST];   /* [capacity][LS_KEPT_SLOTS]: bytes behind the first LS_KEPT_INLINE */
    struct ls_session_public *seats; /* the seam's; NULL: restored, not in use yet */
    /* limits, from the log */
    bool limited; /* there were some */
    uint64_t idle_ns;
    uint32_t limit;
    uint32_t window;
    /* state */
    uint32_t open;
    uint32_t used;  /* slots below were used once */
    uint32_t freed; /* slot + 1 of the last freed one; the others follow by session.next. 0: none */
    uint64_t chain; /* digest */
    struct ls_sessions_image image;
};

/* Where the result of a request is kept. Shifted by the slot: sessions are a page apart, and many that stand at the
 * same number would otherwise share a few sets of the cache. */
static inline size_t ls_session_kept_index(uint32_t slot, uint64_t number)
{
    return (size_t)slot * LS_KEPT_SLOTS + ((number + slot) & (LS_KEPT_SLOTS - 1));
}

static inline void ls_session_list_append(struct ls_session_link *link, uint32_t index)
{
    uint32_t last = link[0].before;
    link[index].before = last;
    link[index].behind = 0;
    link[last].behind = index;
    link[0].before = index;
}

/* Slot of the open session with that nonce, or UINT32_MAX. */
uint32_t ls_session_nonce_find(const struct ls_sessions *table, const uint64_t nonce[2]);
void ls_session_nonce_insert(struct ls_sessions *table, uint32_t slot);

void ls_session_seat_give(struct ls_sessions *table, uint32_t slot);
void ls_session_seat_free(struct ls_session_public *seat);

static inline bool ls_session_image_has(const struct ls_sessions_image *image, uint32_t slot)
{
    return (image->copied[slot / 64] >> (slot % 64) & 1) != 0;
}

void ls_session_image_copy(struct ls_sessions *table, uint32_t slot);

#endif
