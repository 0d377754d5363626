/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An entry of the log as it stands in memory, on the wire and on disk: header, then the operation, padded with zeros to
 * a multiple of 8. Entries follow each other without gaps; the end of one is the position of the next.
 */
#ifndef LOCKSTEP_ENTRY_H
#define LOCKSTEP_ENTRY_H

#include <lockstep/wire.h>

enum ls_entry_kind {
    LS_ENTRY_EPOCH = 1,     /* opens an epoch; operation = struct ls_entry_epoch */
    LS_ENTRY_OPERATION = 2, /* a client's request for the state machine */
    LS_ENTRY_OPEN = 3,      /* a session is opened; operation = 16-byte nonce */
    LS_ENTRY_QUERY = 4,     /* close request `number` unless it is done */
    LS_ENTRY_TICK = 5,      /* time passes */
    LS_ENTRY_LIMITS = 6,    /* cluster limits change; operation = struct ls_entry_limits */
    LS_ENTRY_MEMBERS = 7,   /* the membership from here on; operation = struct ls_entry_members and its records */
    LS_ENTRY_KINDS
};
const char *ls_entry_kind_name(unsigned kind); /* "?" for others; dataplane/core/error.c */

struct ls_entry {
    uint32_t length;   /* of the operation, without padding */
    uint32_t checksum; /* CRC32C of everything after this field (operation and padding too), begun with the checksum of
                          the entry before it (of the first entry: LS_LOG_CHAIN_FIRST): entries are chained */
    uint64_t seq;
    uint64_t time; /* epoch clock, ns; never below the entry before it */
    uint64_t session;
    uint64_t number;
    uint64_t deadline; /* log time; 0: none */
    uint32_t slot;
    uint32_t ip; /* the client, host order */
    uint16_t port;
    uint16_t kind;       /* enum ls_entry_kind */
    uint16_t awaited;    /* number - lowest number whose result is still awaited */
    uint16_t durability; /* what its answer waits for beyond commit: LS_DURABLE_JOURNAL, or 0 */
} LS_PACKED;
static_assert(sizeof(struct ls_entry) == 64, "log layout");

#define LS_LOG_CHAIN_FIRST 0x4c6f636bu

struct ls_entry_epoch {
    uint64_t epoch;
    uint64_t incarnation; /* of the sequencer that opened it */
    uint16_t sequencer;   /* its node id */
    uint16_t zero16;
    uint32_t zero32;
} LS_PACKED;

/* Limits are counted from the log alone, so that "no space" is the same answer on every replica. Sent by the sequencer
 * right behind the first entry of the first epoch, from its configuration. */
struct ls_entry_limits {
    uint64_t keys;
    uint64_t bytes;        /* of keys and values */
    uint64_t session_idle; /* ns of log time after which a session may be evicted */
    uint32_t sessions;
    uint32_t window;
} LS_PACKED;

/* The whole membership, not a difference. It holds from the moment the entry is appended (by the sequencer) or taken in
 * (by a follower), and no longer if the entry is dropped with a tail. Followed by `members` struct ls_member_record,
 * node ids ascending. The first sequencer writes the founding one behind the first limits. */
struct ls_entry_members {
    uint16_t members; /* 1..LS_MEMBERS_MAX */
    uint16_t zero16;
    uint32_t zero32;
} LS_PACKED;

static inline uint64_t ls_entry_size(uint32_t length)
{
    return sizeof(struct ls_entry) + ls_pad8(length);
}

#endif
