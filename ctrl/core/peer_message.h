/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages between the ctrls of one cluster, over an ordered link that may break: one header for all, then the body of
 * the type, little-endian. Everything is checked here before any field of it is used. An answer carries the question's
 * number and the incarnation that asked. Pure.
 */
#ifndef LOCKSTEP_CTRL_CORE_PEER_MESSAGE_H
#define LOCKSTEP_CTRL_CORE_PEER_MESSAGE_H

#include <lockstep/counters.h>
#include <lockstep/membership.h>

#define LS_PEER_MAGIC    0x7274634cu
#define LS_PEER_VERSION  1
#define LS_PEER_TEXT_MAX 256

enum ls_peer_type {
    LS_PEER_HELLO = 1,          /* first on every link, both ways: struct ls_peer_hello */
    LS_PEER_STATUS = 2,         /* struct ls_peer_status */
    LS_PEER_PREVOTE = 3,        /* would you vote for me? struct ls_peer_vote */
    LS_PEER_PREVOTE_REPLY = 4,  /* struct ls_peer_vote_reply */
    LS_PEER_VOTE = 5,           /* struct ls_peer_vote */
    LS_PEER_VOTE_REPLY = 6,     /* struct ls_peer_vote_reply */
    LS_PEER_JOIN = 7,           /* joiner -> sequencer's ctrl: struct ls_peer_join */
    LS_PEER_JOIN_REPLY = 8,     /* struct ls_peer_join_reply, then its members */
    LS_PEER_CONFIRM = 9,        /* have you promised more than this epoch? struct ls_peer_confirm */
    LS_PEER_CONFIRM_REPLY = 10, /* struct ls_peer_confirm: what is promised */
    LS_PEER_STAND = 11,         /* you hold everything of this epoch: stand now: struct ls_peer_confirm */
    LS_PEER_MEMBERS = 12,       /* struct ls_peer_members, then its members */
    LS_PEER_COMMAND = 13,       /* an operator's, to the sequencer's ctrl: struct ls_peer_command */
    LS_PEER_COMMAND_REPLY = 14, /* struct ls_peer_command_reply, then its text */
};

struct ls_peer_header {
    uint32_t magic;
    uint16_t version;
    uint16_t type;
    uint32_t size; /* header included */
    uint32_t generation;
    uint64_t cluster;
    uint64_t id;          /* of a question, and of its answer; 0: neither */
    uint64_t incarnation; /* newest durable one of the sender */
    uint64_t asker;       /* answer: the incarnation that asked; else 0 */
    uint16_t from;
    uint16_t to;
    uint32_t zero;
} LS_PACKED;

struct ls_peer_hello {
    uint64_t founders;          /* hash of the founders as its cluster file has them; 0: the cluster has a log */
    uint64_t promise;           /* the sender's own, durable */
    uint64_t commit;            /* position committed at the sender; 0: nothing */
    uint64_t known_incarnation; /* highest ever heard of the receiver; 0: none */
    uint64_t known_promise;
} LS_PACKED;

#define LS_PEER_ALIVE   0x01u  /* its dataplane runs and is linked to it */
#define LS_PEER_STALLED 0x02u  /* ... and a worker makes no progress */
#define LS_PEER_STUCK   0x04u  /* it is sequencer and has not had a majority for too long */
#define LS_PEER_COUNTS  0x08u  /* its incarnation may vote and count, durably */
#define LS_PEER_FULL    0x10u  /* ... and its dataplane does */
#define LS_PEER_REFUSED 0x20u  /* it may not take part: an operator must act */
#define LS_PEER_SAMPLED 0x40u  /* its dataplane was looked at: the positions are its own */
#define LS_PEER_DAMAGED 0x80u  /* its copy is wrong: it ends by itself, to be rebuilt, when the others can spare it */
#define LS_PEER_RESUMES 0x100u /* it is about to count again with the log that it had: nothing of it is lost */
#define LS_PEER_FLAGS   0x1ffu

struct ls_peer_status {
    uint64_t promise;
    uint64_t seen;                  /* highest promise of a counting member that it knows of */
    uint64_t epoch;                 /* role and sequencer are of this epoch */
    uint64_t sequencer_incarnation; /* 0: not known */
    uint64_t last_epoch, last, last_seq, commit, applied_seq, members_seq;
    uint64_t heard; /* bit n: hears the dataplane of node n */
    uint32_t flags; /* LS_PEER_ALIVE... */
    uint16_t role;  /* enum ls_role */
    uint16_t sequencer;
    uint64_t digest_seq[LS_DIGESTS_KEPT], digest[LS_DIGESTS_KEPT];
} LS_PACKED;

struct ls_peer_vote {
    uint64_t epoch; /* VOTE: stood for; PREVOTE: promised by the candidate now */
    uint64_t last_epoch, last;
    uint32_t handover; /* 1: the sequencer itself asked the candidate to stand */
    uint32_t zero;
} LS_PACKED;

enum ls_peer_denial {
    LS_DENIAL_NONE,
    LS_DENIAL_HEARS,        /* hears the sequencer, or has no word that it is gone */
    LS_DENIAL_BETTER,       /* its own log is better */
    LS_DENIAL_NOT_COUNTING, /* has no memory that could vote */
    LS_DENIAL_NOT_MEMBER,   /* the candidate is no member */
    LS_DENIAL_OLD_EPOCH,    /* a higher one is promised */
    LS_DENIAL_VOTED,        /* for another one in this epoch */
    LS_DENIAL_AHEAD,        /* absurdly far ahead */
    LS_DENIAL_STANDS,       /* PREVOTE: it stands itself, and its log is as good */
    LS_DENIALS
};
const char *ls_denial_text(unsigned denial);

struct ls_peer_vote_reply {
    uint64_t epoch;
    uint64_t promise;
    uint64_t last_epoch, last;
    uint32_t denied; /* enum ls_peer_denial; 0: granted */
    uint32_t zero;
} LS_PACKED;

struct ls_peer_join {
    uint64_t joining; /* the incarnation that asks */
    uint64_t promise;
} LS_PACKED;

enum ls_peer_join_refusal {
    LS_JOIN_TAKEN,
    LS_JOIN_NOT_SEQUENCER, /* ask again, elsewhere */
    LS_JOIN_NOT_MEMBER,    /* by a committed membership */
    LS_JOIN_INCARNATION,   /* a higher one is known */
    LS_JOIN_PROMISE,       /* the joiner, or a member, promised a higher epoch: ask again */
    LS_JOIN_RECORD_GONE,   /* a voter that never promised anything: its record is gone */
    LS_JOIN_REFUSALS
};

struct ls_peer_join_reply {
    uint64_t epoch;
    uint64_t reach;
    uint64_t sequencer_incarnation;
    uint64_t members_seq;
    uint32_t refused; /* enum ls_peer_join_refusal */
    uint16_t members;
    uint16_t zero;
} LS_PACKED;

struct ls_peer_confirm {
    uint64_t epoch;
} LS_PACKED;

struct ls_peer_members {
    uint64_t seq;
    uint16_t members;
    uint16_t committed;
    uint32_t zero;
} LS_PACKED;

struct ls_peer_command {
    uint16_t kind; /* enum ls_ctrl_command_kind */
    uint16_t node;
    uint16_t promote;
    uint16_t zero;
    struct ls_member_record member; /* zero where the kind has none */
} LS_PACKED;

struct ls_peer_command_reply {
    uint32_t error;  /* errno */
    uint32_t length; /* of the text that follows, not ended by a zero */
} LS_PACKED;

struct ls_peer_identity {
    uint64_t cluster;
    uint32_t generation;
    uint16_t node;
};

/* NULL: a well-formed message to `self` from the node whose link it came over. Else why not; static. */
const char *ls_peer_check(const struct ls_peer_identity *self, uint16_t from, const uint8_t *bytes, size_t size);

/* The same value for the same members, roles and addresses; never 0. */
uint64_t ls_peer_founders(const struct ls_membership *founders);

#endif
