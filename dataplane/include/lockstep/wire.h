/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The wire format: one UDP datagram is one frame, little-endian, no padding, no implicit fields.
 *
 *   header (48 bytes) | body | zeros up to `length`          (later: | authentication trailer, 24 bytes)
 *
 * A frame is checked entirely by ls_frame_check() (dataplane/core/wire.h) before any of its fields is used.
 * The structures are packed: they are laid over the bytes of a frame at any alignment. Fields whose name begins with
 * "zero" are sent as 0 and refused otherwise, so that a later version may give them a meaning.
 */
#ifndef LOCKSTEP_WIRE_H
#define LOCKSTEP_WIRE_H

#include <assert.h>
#include <stdint.h>

#include <lockstep/limits.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the wire structures are laid over memory");

#define LS_WIRE_MAGIC   0x50544c53u /* "SLTP" */
#define LS_WIRE_VERSION 1
#define LS_PACKED       __attribute__((packed))

enum ls_frame_type {
    LS_FRAME_REQUEST = 1,   /* client -> sequencer: requests, openings, queries */
    LS_FRAME_ORDER = 2,     /* sequencer -> replica: log bytes */
    LS_FRAME_ACK = 3,       /* replica -> sequencer: what it holds; or its epoch table */
    LS_FRAME_FETCH = 4,     /* replica -> replica: log bytes that it misses */
    LS_FRAME_RANGE = 5,     /* replica -> replica: log bytes that were fetched */
    LS_FRAME_HEARTBEAT = 6, /* sequencer -> replica: progress, and answers to its questions */
    LS_FRAME_REPLY = 7,     /* replica -> client: results of requests and reads */
    LS_FRAME_READ = 8,      /* client -> replica */
    LS_FRAME_GRANT = 9,     /* sequencer -> client: send these fragments of a large request */
    LS_FRAME_FRAGMENT = 10, /* client -> sequencer */
    LS_FRAME_REDIRECT = 11, /* replica -> client: the sequencer is elsewhere; body as VIEW */
    LS_FRAME_VIEW = 12,     /* replica -> client: membership and sequencer, pushed after a change */
    LS_FRAME_BUSY = 13,     /* replica -> client: not now; nothing was ordered */
    LS_FRAME_TYPES          /* number of types plus one */
};

/* Header flags. */
#define LS_FRAME_AUTHENTICATED                                                                                         \
    0x0001 /* the trailer is there and replaces the CRC; refused until authentication exists */
#define LS_FRAME_FLAGS_KNOWN 0x0001

struct ls_frame_header {
    uint32_t magic;
    uint32_t crc; /* CRC32C of the whole frame with this field as zero */
    uint8_t version;
    uint8_t type; /* enum ls_frame_type */
    uint16_t flags;
    uint16_t length;     /* of the frame: header and body; equals the datagram's length */
    uint16_t group;      /* which log of the cluster; 0 */
    uint64_t cluster;    /* random id of the cluster */
    uint32_t generation; /* of the cluster; raised by an operator's recovery with loss */
    uint16_t sender;     /* node id; 0: a client */
    uint16_t zero;
    uint64_t incarnation; /* of the sending node; a client: 0 */
    uint64_t epoch;       /* the sender's; a client: the last one it heard of */
} LS_PACKED;
static_assert(sizeof(struct ls_frame_header) == LS_FRAME_HEADER_SIZE, "wire layout");

/* ---- REQUEST: one or more records, each followed by `length` bytes of operation, padded with zeros to 8. ---- */
enum ls_request_kind {
    LS_REQUEST_OPERATION = 1, /* execute */
    LS_REQUEST_OPEN = 2,      /* register a session; operation = 16-byte nonce, which the answer repeats as its
                               result; session, slot 0; number 0 */
    LS_REQUEST_QUERY = 3,     /* answer `number` if it is done, else close it for ever; no operation */
    LS_REQUEST_ANNOUNCE = 4,  /* a large operation of `total` bytes, to be pulled; no bytes here */
};

struct ls_request_record {
    uint64_t session;  /* 0 for OPEN */
    uint64_t number;   /* 1, 2, 3, ... in a session; 0 for OPEN */
    uint64_t awaited;  /* lowest number whose result the client still wants, <= number */
    uint64_t deadline; /* log time in ns; 0: none */
    uint32_t slot;
    uint16_t kind;       /* enum ls_request_kind */
    uint16_t durability; /* enum ls_durability that is to be reached before the answer; NONE: as the cluster has it.
                            More than the cluster has is answered as the cluster has it, and the answer says so */
    uint32_t length;     /* bytes of operation that follow */
    uint32_t total;      /* ANNOUNCE: length of the whole operation; else 0 */
} LS_PACKED;
static_assert(sizeof(struct ls_request_record) == 48, "wire layout");
#define LS_NONCE_SIZE 16

/* ---- ORDER: followed by log bytes from `position` on, to the frame's end; at least one byte. ---- */
struct ls_order_body {
    uint64_t position;
    uint64_t commit; /* an entry's end */
    uint64_t last;   /* the end of the sequencer's log */
    uint64_t time;   /* sequencer time, ns */
    uint64_t probe;  /* to be echoed */
} LS_PACKED;
static_assert(sizeof(struct ls_order_body) == 40, "wire layout");

/* ---- ACK ---- */
#define LS_ACK_VERIFIED 0x0001 /* position counts; without it: a question with the epoch table */
#define LS_ACK_READ     0x0002 /* `question` asks for a read index */
#define LS_ACK_JOINING  0x0004 /* from a replica that is not admitted yet: it is served, it never counts */
#define LS_ACK_DURABLE  0x0008 /* it answers for `durable` alone: what it only holds may be gone after a power cut */
#define LS_ACK_RESUMED  0x0010 /* this incarnation began with all that the node ever acknowledged */

struct ls_epoch_row {
    uint64_t epoch;
    uint64_t position; /* of the epoch's first entry */
    uint64_t seq;      /* of the epoch's first entry */
} LS_PACKED;
static_assert(sizeof(struct ls_epoch_row) == 24, "wire layout");

struct ls_ack_body {
    uint64_t position;    /* VERIFIED: contiguous end that is verified to match the sequencer's in the header's epoch.
                             Otherwise: the end of the last complete entry */
    uint64_t durable;     /* VERIFIED: how much of it is on its disk, <= position; 0 without a journal */
    uint64_t limit;       /* highest position that this replica can take now (its ring's room) */
    uint64_t applied_seq; /* progress, for status and back-pressure */
    uint64_t probe;       /* highest probe received in this epoch */
    uint64_t question;    /* READ: number of the read-index question. Unverified: number of the verification question */
    uint16_t flags;       /* LS_ACK_* */
    uint16_t rows;        /* unverified: rows of the epoch table that follow, newest last */
    uint32_t zero;
} LS_PACKED;
static_assert(sizeof(struct ls_ack_body) == 56, "wire layout");

/* ---- FETCH: `ranges` half-open ranges [begin, end). ---- */
struct ls_fetch_range {
    uint64_t begin;
    uint64_t end;
} LS_PACKED;

struct ls_fetch_body {
    uint16_t ranges; /* 1..LS_FETCH_RANGES_MAX */
    uint16_t zero16;
    uint32_t zero32;
} LS_PACKED;

/* ---- RANGE: followed by log bytes from `position` on, all verified at the sender in the header's epoch. ---- */
struct ls_range_body {
    uint64_t position;
} LS_PACKED;

/* ---- HEARTBEAT: followed by `answers` records for the node it is sent to. ---- */
enum ls_answer_kind {
    LS_ANSWER_PARTING = 1, /* where the two logs part; the verification question `number` of `incarnation` */
    LS_ANSWER_READ = 2,    /* read index: a position; all read questions up to `number` of `incarnation` */
    LS_ANSWER_TOO_OLD = 3, /* the log no longer reaches back to the parting point: a checkpoint is needed. Its oldest
                              position; who is verified and holds that much is not meant */
};

struct ls_answer_record {
    uint64_t incarnation;
    uint64_t number;
    uint64_t position;
    uint16_t node;
    uint16_t kind; /* enum ls_answer_kind */
    uint32_t zero;
} LS_PACKED;

struct ls_heartbeat_body {
    uint64_t commit;
    uint64_t last; /* the end of the sequencer's log */
    uint64_t sent; /* what was sent to this node so far: what it misses below was lost */
    uint64_t time;
    uint64_t confirmed; /* sequencer time at which a majority is known to have had no newer epoch; <= time */
    uint64_t probe;
    uint16_t answers;
    uint16_t zero16;
    uint32_t zero32;
} LS_PACKED;

/* ---- REPLY: one or more records, each followed by `length` bytes of result, padded with zeros to 8. ---- */
struct ls_reply_body {
    uint64_t time; /* sequencer time as this node knows it, ns */
} LS_PACKED;

#define LS_REPLY_READ   0x0001 /* answers a READ: `session` and `number` are the reader's own */
#define LS_REPLY_REPEAT 0x0002 /* from the kept results */

struct ls_reply_record {
    uint64_t session;
    uint64_t number;
    uint64_t seq;       /* of the entry; of a read: the seq it was read at */
    uint64_t age;       /* stale reads: how old the copy may be, ns, UINT64_MAX unknown; else 0 */
    uint32_t slot;      /* of the session (in the reply to OPEN: the new one) */
    uint16_t status;    /* enum ls_status */
    uint8_t durability; /* enum ls_durability */
    uint8_t flags;      /* LS_REPLY_* */
    uint32_t length;
    uint32_t zero;
} LS_PACKED;
static_assert(sizeof(struct ls_reply_record) == 48, "wire layout");

/* ---- READ: one or more records, each followed by `length` bytes of operation, padded with zeros to 8. ---- */
struct ls_read_record {
    uint64_t session;     /* any number by which the client knows itself; copied to the reply */
    uint64_t number;      /* copied to the reply */
    uint64_t least;       /* seq that the read must see; 0: any */
    uint16_t consistency; /* enum ls_consistency */
    uint16_t zero;
    uint32_t length;
} LS_PACKED;
static_assert(sizeof(struct ls_read_record) == 32, "wire layout");

/* ---- GRANT and FRAGMENT: a large request is pulled by the sequencer. ---- */
struct ls_grant_body {
    uint64_t session;
    uint64_t number;
    uint32_t first; /* fragment number of bit 0 */
    uint32_t zero;
    uint64_t missing; /* bit i: please send fragment first + i */
} LS_PACKED;

struct ls_fragment_body { /* followed by the fragment's bytes, to the frame's end */
    uint64_t session;
    uint64_t number;
    uint32_t slot;
    uint32_t index;  /* fragment number; its offset is index * LS_FRAGMENT_SIZE */
    uint32_t total;  /* length of the whole operation */
    uint32_t length; /* bytes in this frame */
} LS_PACKED;

/* ---- REDIRECT and VIEW: followed by `members` records. The record also stands in the log, in checkpoints and in
 * messages of ctrl. ---- */
struct ls_member_record {
    uint16_t node;
    uint16_t role; /* enum ls_member_role */
    uint32_t ip;
    uint16_t port;
    uint16_t ctrl_port; /* of its lockstep-ctrl; 0 in frames: clients have no business there */
    uint32_t ctrl_ip;
} LS_PACKED;
static_assert(sizeof(struct ls_member_record) == 16, "wire layout");

struct ls_view_body {
    uint64_t time;
    uint64_t epoch;
    uint16_t sequencer; /* node id, 0: not known here */
    uint16_t members;
    uint32_t zero;
} LS_PACKED;

/* ---- BUSY: a request or read was refused, nothing was ordered. ---- */
#define LS_BUSY_READ 0x0001

struct ls_busy_body {
    uint64_t time;
    uint64_t session;
    uint64_t number;
    uint64_t retry_after; /* ns, a suggestion */
    uint16_t status;      /* LS_STATUS_BUSY_*, NO_SEQUENCER, HALTED */
    uint16_t flags;       /* LS_BUSY_* */
    uint32_t zero;
} LS_PACKED;

/* Room of records: bytes rounded up to 8. */
static inline uint32_t ls_pad8(uint32_t n)
{
    return (n + 7u) & ~7u;
}

#endif
