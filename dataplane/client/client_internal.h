/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What client_core.c (session, requests, timers, moving between nodes) and client_read.c (reads) share. Private to this
 * folder; one thread.
 */
#ifndef LOCKSTEP_CLIENT_INTERNAL_H
#define LOCKSTEP_CLIENT_INTERNAL_H

#include <string.h>

#include <lockstep/error.h>

#include "client_core.h"
#include "wire.h"

#define SLOTS        64u /* one bit each in a word; a number's slot is number % SLOTS */
#define SLOT_MASK    (SLOTS - 1)
#define PEERS_MAX    (2 * LS_MEMBERS_MAX) /* configured nodes and members of the last view */
#define LARGE_MAX    4u                   /* operations above LS_OP_SMALL_MAX held at once */
#define NEVER        UINT64_MAX
#define FEED_MAX     32u /* fragments sent in one poll */
#define BACKOFF_MAX  16u /* doublings; the configured bound cuts in long before */
#define ROUNDS_MAX   2u  /* unanswered tries at one node before the next one is tried; one, once a search goes on */
#define SEARCH_TRIES 64u /* unanswered tries in a row until the search becomes slower than SEARCH_NS */
#define SEARCH_STEP  8u  /* ... and then doubles its pauses after so many more */
#define SEARCH_NS    (10ull * 1000 * 1000) /* longest pause of a search: a new sequencer is to be found soon */
#define SILENT_NS    (10ull * 1000 * 1000) /* a node left for its silence is not gone back to by hearsay for so long */

static_assert(SLOTS >= LS_WINDOW_MAX, "a slot for each request of the largest window");

/* Round trips as measured (RFC 6298, in ns) and the retry time-out they give. */
struct estimate {
    uint64_t srtt; /* 0: none yet */
    uint64_t var;
    uint64_t rto;
};

/* Where one kind of traffic goes. */
struct path {
    uint32_t at;        /* index into peer[] */
    uint32_t rounds;    /* tries since anything was heard from there; ROUNDS_MAX: leave at the next try */
    uint32_t rotations; /* moves for want of an answer, since something was answered: raises the back-off */
    uint32_t quiet;     /* tries since anything was heard from any node: without it the back-off grows further */
    bool fresh;         /* was named by another node, and nothing has gone there yet: its silence says nothing */
};

struct peer {
    struct ls_addr addr;
    uint64_t silent_until_ns; /* did not answer: until then others are tried first; 0: nothing is held against it */
};

#define SLOT_SENT      0x01 /* went out at least once */
#define SLOT_QUERY     0x02 /* is being ended by QUERY; its operation is not sent any more */
#define SLOT_ABANDONED 0x04 /* completed as far as the user knows; its number still blocks those behind it */
#define SLOT_BUSY      0x08 /* waits because a node said so, not because one was silent */

struct slot {
    ls_client_done done;
    void *user;
    uint64_t submit_ns;
    uint64_t sent_ns;
    uint64_t due_ns; /* when it is sent again; only where sent and not waiting in want */
    uint64_t number; /* reads: matched whole */
    uint32_t length; /* of the operation */
    uint16_t told;   /* a refusal without a place in the log, told when the number is closed; or the last BUSY */
    uint8_t flags;
    uint8_t backoff;
    uint8_t retries;
    uint8_t large; /* 1 + index of the large buffer, 0 none */
    uint8_t unused[6];
};
static_assert(sizeof(struct slot) == 64, "one cache line");

/* Fragments that a sequencer asked for. */
struct grant {
    uint64_t missing;
    uint32_t first;
    struct ls_addr peer;
};

/* Record and operation as they go into a frame; a deadline is relative to the submit until the first time. */
struct request_buffer {
    _Alignas(64) struct ls_request_record record;
    uint8_t operation[LS_OP_SMALL_MAX];
};
struct read_buffer {
    _Alignas(64) struct ls_read_record record;
    uint8_t operation[LS_READ_OP_MAX];
};

/* A frame being filled with records for one path. */
struct batch {
    struct ls_frame frame;
    uint8_t *end; /* NULL: no frame open */
    uint32_t room;
};

/* One kind of traffic: requests, or reads. Bit i of a word is slot[i]. */
struct lane {
    uint64_t used;     /* outstanding */
    uint64_t want;     /* to be sent by the next poll */
    uint64_t timer_ns; /* nothing is due earlier */
    struct estimate estimate;
    _Alignas(64) struct slot slot[SLOTS];
};

struct ls_client_core {
    struct ls_io *io;
    struct ls_wire_identity identity;
    uint32_t window;
    uint32_t op_max;
    uint64_t retry_min_ns;
    uint64_t retry_max_ns;
    uint64_t give_up_ns;
    uint16_t durability; /* asked for by what is submitted */
    bool lazy;           /* opens when there is something to send */
    bool read_pinned;    /* reads stay where they are */
    bool read_apart;     /* reads have their own path */
    bool lost;           /* the session is gone */
    uint8_t nonce[LS_NONCE_SIZE];

    /* session */
    uint64_t session; /* 0: not open */
    uint32_t session_slot;
    uint8_t open_backoff;
    bool open_sent;
    bool open_busy;
    uint64_t open_due_ns;
    uint64_t open_sent_ns; /* 0: a repeat, gives no sample */

    /* what was heard */
    uint64_t epoch;      /* highest in any header */
    uint64_t view_epoch; /* highest of a view that named a sequencer, or of a sequencer's answer */
    uint64_t view_time;
    uint64_t redirect_ns; /* last move at once within an epoch */
    uint64_t time_epoch;
    int64_t time_ahead; /* sequencer time minus ours, since the first reply */
    uint64_t last_seq;
    struct path requests_to;
    struct path reads_to;
    uint32_t peers;
    uint32_t configured; /* of them, first in peer[] */
    struct peer peer[PEERS_MAX];

    /* requests: numbers [base, next), slot by number */
    uint64_t base;
    uint64_t next;
    uint64_t feeding;    /* slots with fragments to send */
    uint32_t waiting;    /* requests not completed yet */
    uint32_t large_free; /* bit per large buffer */
    struct lane requests;
    struct grant grant[SLOTS];
    struct request_buffer *request_buffer;
    uint8_t *large[LARGE_MAX];

    /* reads: number = count << 6 | slot */
    uint64_t reader; /* by which replies to reads find us */
    uint64_t read_count;
    struct lane reads;
    struct read_buffer *read_buffer;
};

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}
static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}
static inline uint32_t min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}
/* Callers may hand in a time that is a little older than the one of their last call. */
static inline uint64_t elapsed_ns(uint64_t now_ns, uint64_t since_ns)
{
    return now_ns > since_ns ? now_ns - since_ns : 0;
}
static inline uint64_t rotate_right(uint64_t word, uint32_t n)
{
    n &= 63;
    return word >> n | word << (-n & 63);
}

/* Copies a record with its operation into a frame, in steps of 16 bytes: it may read and write up to 15 bytes more than
 * `size`, which is a multiple of 8; both a buffer and a frame (its trailer's room) have them. Cheaper than
 * memcpy() for what requests usually are. */
static inline void record_copy(uint8_t *to, const void *from, uint32_t size)
{
    const uint8_t *at = from;
    if (size > 256) {
        memcpy(to, from, size);
        return;
    }
    for (uint32_t i = 0; i < size; i += 16)
        memcpy(to + i, at + i, 16);
}
static_assert(LS_TRAILER_SIZE >= 15, "room behind a frame's body");

/* ---- client_path.c ---- */

/* Doubles with each unanswered try up to SEARCH_NS, where it stays for a while: during a fail-over each known node is
 * asked again every few milliseconds, by one frame of each client. Who hears nothing for longer asks less and less. */
static inline uint64_t ls_client_retry_delay(const struct ls_client_core *c, uint64_t rto, const struct path *path,
                                             uint32_t backoff)
{
    uint32_t doublings = min_u32(backoff > path->rotations ? backoff : path->rotations, BACKOFF_MAX);
    uint32_t slower = path->quiet < SEARCH_TRIES ? 0 : 1 + (path->quiet - SEARCH_TRIES) / SEARCH_STEP;
    uint64_t most = max_u64(2 * rto, SEARCH_NS) << min_u32(slower, BACKOFF_MAX);
    return min_u64(min_u64(rto << doublings, most), c->retry_max_ns);
}

static inline void ls_client_slot_sent(struct ls_client_core *c, struct lane *lane, const struct path *path, uint32_t i,
                                       uint64_t now_ns)
{
    struct slot *slot = &lane->slot[i];
    if ((slot->flags & SLOT_SENT) && slot->retries < UINT8_MAX)
        slot->retries++;
    slot->flags = (uint8_t)((slot->flags | SLOT_SENT) & ~SLOT_BUSY);
    slot->sent_ns = now_ns;
    slot->due_ns = now_ns + ls_client_retry_delay(c, lane->estimate.rto, path, slot->backoff);
    lane->timer_ns = min_u64(lane->timer_ns, slot->due_ns);
    lane->want &= ~(1ull << i);
}

void ls_client_estimate(struct ls_client_core *c, struct estimate *estimate, uint64_t sample_ns);
void ls_client_estimate_repeated(struct ls_client_core *c, struct estimate *estimate, uint64_t most_ns);
/* A try went unanswered, or a node said that it is the wrong one: counts, and leaves for the next node. */
void ls_client_path_count(struct ls_client_core *c, struct path *path, bool silent, uint64_t now_ns);
void ls_client_lane_due(struct ls_client_core *c, struct lane *lane, struct path *path, uint64_t now_ns);
void ls_client_slot_busy(struct ls_client_core *c, struct lane *lane, struct path *path, uint32_t i,
                         const struct ls_busy_body *busy, uint64_t now_ns);
void ls_client_view(struct ls_client_core *c, const struct ls_frame *frame, bool redirect, uint64_t now_ns);
/* Index of the node with that address, or PEERS_MAX. */
uint32_t ls_client_peer_find(const struct ls_client_core *c, struct ls_addr addr);
static inline struct path *ls_client_read_path(struct ls_client_core *c)
{
    return c->read_apart ? &c->reads_to : &c->requests_to;
}

/* ---- client_core.c, for client_read.c ---- */

bool ls_client_batch_room(struct ls_client_core *c, struct batch *batch, uint8_t type, const struct path *path,
                          uint32_t size);
void ls_client_batch_send(struct ls_client_core *c, struct batch *batch);

/* ---- client_read.c, for client_core.c ---- */

void ls_client_reads_reply(struct ls_client_core *c, const struct ls_frame_header *header,
                           const struct ls_reply_record *record, bool *sampled, uint64_t now_ns);
void ls_client_reads_busy(struct ls_client_core *c, struct ls_addr from, const struct ls_busy_body *busy,
                          uint64_t now_ns);
/* False: no buffer for a frame. */
bool ls_client_reads_poll(struct ls_client_core *c, uint64_t now_ns);

#endif
