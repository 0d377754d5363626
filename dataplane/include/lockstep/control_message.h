/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages between lockstep-ctrl and its dataplane, over one unix SEQPACKET socket that ctrl hands down at start (file
 * descriptor number in --control-fd). One message a packet: struct ls_control_header, then the body of its type. Both
 * ends run on one machine and are installed together, yet each checks version, type and size and refuses what it does
 * not know; a message that cannot be understood closes the link, with a line in the log.
 */
#ifndef LOCKSTEP_CONTROL_MESSAGE_H
#define LOCKSTEP_CONTROL_MESSAGE_H

#include <lockstep/wire.h>

#define LS_CONTROL_VERSION     1
#define LS_CONTROL_MESSAGE_MAX (64 * 1024)

enum ls_control_type {
    /* ctrl -> dataplane */
    LS_CONTROL_SEAL = 1,    /* promise `epoch`: struct ls_control_epoch. Answer: SEALED */
    LS_CONTROL_INSTALL = 2, /* be the sequencer of `epoch`: struct ls_control_epoch. Answer: INSTALLED */
    LS_CONTROL_LOG = 3,     /* entries from `seq` on: struct ls_control_log. Answer: LOG_BYTES */
    LS_CONTROL_STOP = 4,    /* leave. Answer: the end of the link */
    LS_CONTROL_FAULT = 5,   /* replace the fault settings: struct ls_control_fault. Answer: DONE */
    LS_CONTROL_PING = 6,    /* Answer: DONE */
    /* dataplane -> ctrl: answers (same `id` as the question) */
    LS_CONTROL_SEALED = 32,    /* struct ls_control_sealed */
    LS_CONTROL_INSTALLED = 33, /* struct ls_control_installed */
    LS_CONTROL_LOG_BYTES = 34, /* struct ls_control_log_bytes, then whole entries */
    LS_CONTROL_DONE = 35,      /* struct ls_control_done, then its text, not ended by a zero */
    /* dataplane -> ctrl: events (id 0) */
    LS_CONTROL_READY = 64,      /* the dataplane has started: struct ls_control_ready */
    LS_CONTROL_EPOCH_SEEN = 65, /* a frame of a higher epoch came: struct ls_control_epoch */
    LS_CONTROL_ROLE = 66,       /* struct ls_control_role */
};

struct ls_control_header {
    uint32_t version;
    uint32_t type;
    uint64_t id;   /* chosen by the one who asks, copied to the answer; 0: an event */
    uint32_t size; /* of the body */
    uint32_t zero;
} LS_PACKED;

struct ls_control_epoch {
    uint64_t epoch;
    uint64_t incarnation; /* INSTALL: which incarnation is meant; SEAL, EPOCH_SEEN: 0 */
    uint16_t node;        /* EPOCH_SEEN: who sent it; else 0 */
    uint16_t zero16;
    uint32_t zero32;
} LS_PACKED;

struct ls_control_sealed {
    uint64_t epoch; /* promised now (may be higher than asked for) */
    uint64_t incarnation;
    uint64_t last_epoch; /* of the last complete entry held; 0: the log is empty */
    uint64_t last;       /* its end */
    uint64_t last_seq;
} LS_PACKED;

struct ls_control_installed {
    uint64_t epoch;
    uint32_t refused; /* 0, or: 1 not sealed at that epoch, 2 other incarnation, 3 not a voter, 4 halted,
                         5 no room in the log for the epoch's first entry */
    uint32_t zero;
} LS_PACKED;

struct ls_control_log {
    uint64_t seq;   /* first one wanted; 0: the oldest held */
    uint32_t bytes; /* most wanted; the answer holds at least one entry where it fits a message */
    uint32_t zero;
} LS_PACKED;

struct ls_control_log_bytes {
    uint64_t oldest_seq; /* held now */
    uint64_t next_seq;   /* behind the last one answered: ask on from here */
    uint64_t commit_seq; /* entries above are not yet known to be committed and not part of the answer */
    uint32_t bytes;
    uint32_t skipped; /* 1: an entry larger than a message stands at next_seq - 1; only its header is sent */
} LS_PACKED;

struct ls_control_done {
    uint32_t error; /* 0 done; else an errno: refused, and the text says why */
    uint32_t zero;
} LS_PACKED;
#define LS_CONTROL_TEXT_MAX 512

/* Per million frames; delays in ns. All zero: off. */
struct ls_control_fault {
    uint64_t seed;
    uint32_t drop;
    uint32_t duplicate;
    uint32_t reorder; /* held back behind up to `reorder_span` later frames */
    uint32_t reorder_span;
    uint32_t corrupt;
    uint32_t zero;
    uint64_t delay;
    uint64_t jitter;
    uint64_t cut_in;           /* bit n: nothing from node n is received */
    uint64_t cut_out;          /* bit n: nothing is sent to node n */
    uint64_t bytes_per_second; /* 0: no limit */
} LS_PACKED;

struct ls_control_ready {
    uint64_t incarnation;
    uint64_t promise; /* sealed at */
    uint64_t pid;
} LS_PACKED;

struct ls_control_role {
    uint64_t epoch;
    uint16_t role; /* enum ls_role */
    uint16_t sequencer;
    uint16_t halt; /* enum ls_halt */
    uint16_t zero;
} LS_PACKED;

#endif
