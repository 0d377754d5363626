/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages between lockstep-ctrl and its dataplane, over one unix SEQPACKET socket. The dataplane listens on a socket
 * that ctrl made and hands down at start (file descriptor number in --control-fd), in the node's data_dir, so that a
 * later ctrl can take over a dataplane that outlived the one before; the newest link counts. One message a packet:
 * struct ls_control_header, then the body of its type. Both ends run on one machine and are installed together, yet
 * each checks version, type and size and refuses what it does not know; a message that cannot be understood closes the
 * link, with a line in the log.
 */
#ifndef LOCKSTEP_CONTROL_MESSAGE_H
#define LOCKSTEP_CONTROL_MESSAGE_H

#include <lockstep/wire.h>

#define LS_CONTROL_VERSION     4
#define LS_CONTROL_MESSAGE_MAX (64 * 1024)

enum ls_control_type {
    /* ctrl -> dataplane */
    LS_CONTROL_SEAL = 1,      /* promise `epoch`: struct ls_control_epoch. Answer: SEALED */
    LS_CONTROL_INSTALL = 2,   /* be the sequencer of `epoch`: struct ls_control_epoch. Answer: INSTALLED */
    LS_CONTROL_LOG = 3,       /* entries from `seq` on: struct ls_control_log. Answer: LOG_BYTES */
    LS_CONTROL_STOP = 4,      /* leave. Answer: the end of the link */
    LS_CONTROL_FAULT = 5,     /* replace the fault settings: struct ls_control_fault. Answer: DONE */
    LS_CONTROL_PING = 6,      /* Answer: DONE */
    LS_CONTROL_FOUND = 7,     /* this node is one of the founders, its empty log is right: struct ls_control_members.
                                 Answer: DONE; refused unless OUTSIDE with an empty log, or with one that begins behind
                                 a checkpoint of an older generation, of which this node alone founds a new one */
    LS_CONTROL_JOIN = 8,      /* take part without counting: struct ls_control_join. Answer: DONE */
    LS_CONTROL_COUNT = 9,     /* admitted: count from now on: struct ls_control_epoch (incarnation). Answer: DONE;
                                 refused unless what JOIN named was reached (REACHED), or it has resumed */
    LS_CONTROL_ADMIT = 10,    /* sequencer: a new incarnation of a member: struct ls_control_admit. Answer: ADMITTED */
    LS_CONTROL_CHANGE = 11,   /* sequencer: order this membership: struct ls_control_members. Answer: CHANGED */
    LS_CONTROL_HANDOVER = 12, /* sequencer: take no requests until `node` holds everything, then say HANDED; nothing
                                 happens and requests are taken again after `patience`: struct ls_control_handover.
                                 Answer: HANDED, or DONE with an error */
    LS_CONTROL_CHECKPOINT = 13, /* write a checkpoint: struct ls_control_path. Answer: CHECKPOINT_DONE, in its time */
    LS_CONTROL_RESTORE = 14,    /* BEHIND, OUTSIDE, joining, or not verified in the epoch yet: replace log and state by
                                   this checkpoint: struct ls_control_path. What is there stays until the new one is
                                   whole. Answer: CHECKPOINT_DONE, in its time */
    LS_CONTROL_FLIP = 15,       /* a fault on purpose: flip one bit of a cold value: struct ls_control_flip. DONE */
    LS_CONTROL_SLOW = 16,       /* a fault on purpose: a worker wastes time: struct ls_control_slow. DONE */
    LS_CONTROL_TRIM = 17,       /* a verified checkpoint covers the log up to here, the journal may let it go: struct
                                   ls_control_trim. Answer: DONE; an error where there is no journal */
    LS_CONTROL_DISK_FAULT = 18, /* replace the faults of the journal's disk: struct ls_control_disk_fault. Answer: DONE;
                                   an error where there is no journal */
    /* dataplane -> ctrl: answers (same `id` as the question) */
    LS_CONTROL_SEALED = 32,          /* struct ls_control_sealed, then its members */
    LS_CONTROL_INSTALLED = 33,       /* struct ls_control_installed */
    LS_CONTROL_LOG_BYTES = 34,       /* struct ls_control_log_bytes, then whole entries */
    LS_CONTROL_DONE = 35,            /* struct ls_control_done, then its text, not ended by a zero */
    LS_CONTROL_ADMITTED = 36,        /* struct ls_control_admitted */
    LS_CONTROL_CHANGED = 37,         /* struct ls_control_changed */
    LS_CONTROL_HANDED = 38,          /* struct ls_control_epoch: `node` holds everything of `epoch` */
    LS_CONTROL_CHECKPOINT_DONE = 39, /* struct ls_control_checkpoint, then a text where it failed */
    /* dataplane -> ctrl: events (id 0) */
    LS_CONTROL_READY = 64,      /* first message on every link: struct ls_control_ready */
    LS_CONTROL_EPOCH_SEEN = 65, /* a frame of a higher epoch came: struct ls_control_epoch */
    LS_CONTROL_ROLE = 66,       /* struct ls_control_role */
    LS_CONTROL_REACHED = 67,    /* JOIN's position is held and verified: struct ls_control_epoch (epoch, incarnation) */
    LS_CONTROL_MEMBERS = 68,    /* the log's newest membership is another one, or is committed now: struct
                                   ls_control_members; also behind READY when the log has one */
    LS_CONTROL_PROGRESS = 69,   /* of a checkpoint being written or restored: struct ls_control_checkpoint */
    LS_CONTROL_DAMAGED = 70,    /* scrubbing or comparing found a wrong byte in the state: struct ls_control_damaged */
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
    uint64_t incarnation; /* INSTALL, COUNT, REACHED: which incarnation is meant; else 0 */
    uint16_t node; /* EPOCH_SEEN: who sent it, 0: no member that is known here; HANDED: who holds everything; else 0 */
    uint16_t zero16;
    uint32_t zero32;
} LS_PACKED;

/* A membership, followed by `members` struct ls_member_record. */
struct ls_control_members {
    uint64_t seq;       /* of the entry that it stands in; 0: of founders, in no log yet. CHANGE: seq of the membership
                           that it replaces: refused if the log's newest one is another */
    uint64_t epoch;     /* CHANGE: the sequencer's; else 0 */
    uint16_t members;   /* 0: none known */
    uint16_t committed; /* MEMBERS: 1 where the entry is committed here; else 0 */
    uint32_t zero;
} LS_PACKED;

struct ls_control_join {
    uint64_t epoch;
    uint64_t incarnation; /* of the joining dataplane, which must be this one */
    uint64_t reach;       /* position to hold before it counts, as ADMITTED named it */
    uint64_t sequencer_incarnation;
    uint16_t sequencer;
    uint16_t members; /* followed by as many struct ls_member_record: who is who until the log says it */
    uint32_t zero;
} LS_PACKED;

struct ls_control_admit {
    uint64_t epoch;
    uint64_t incarnation; /* of the sequencer's dataplane, the one that opened the epoch */
    uint64_t joining;     /* the new incarnation of `node` */
    uint64_t promise;     /* its durable promise: refused above `epoch` */
    uint16_t node;
    uint16_t zero16;
    uint32_t zero32;
} LS_PACKED;

struct ls_control_admitted {
    uint64_t epoch;
    uint64_t reach;   /* the log's end in that moment; 0 where refused */
    uint64_t joining; /* as asked */
    uint16_t node;
    uint16_t zero16;
    uint32_t refused; /* 0, or: 1 not the sequencer of that epoch in that incarnation, 2 no such member, 3 an
                         incarnation below one that is known, 4 its promise is above the epoch */
} LS_PACKED;

struct ls_control_changed {
    uint64_t epoch;
    uint64_t seq;     /* of the new entry; 0 where refused */
    uint32_t refused; /* 0, or: 1 not the sequencer of that epoch, or not serving (opening it, suspended, handing over),
                         2 the change before is not committed yet, 3 another membership is the newest, 4 more than one
                         voter differs, 5 no voter would be left or too many members, 6 this sequencer would not be a
                         voter: move it first, 7 no room in the log now, 8 malformed */
    uint32_t zero;
} LS_PACKED;

struct ls_control_handover {
    uint64_t epoch;
    uint64_t patience; /* ns */
    uint16_t node;
    uint16_t zero16;
    uint32_t zero32;
} LS_PACKED;

#define LS_CONTROL_PATH_MAX 600
struct ls_control_path {
    uint64_t bytes_per_second; /* at most this fast; 0: no limit */
    uint16_t length;           /* of the path that follows, not ended by a zero */
    uint16_t older;            /* RESTORE: 1: it may be of an older generation of the cluster, if this node is OUTSIDE
                                  without a log: an operator began a new one with it (FOUND follows). Else 0 */
    uint32_t zero32;
} LS_PACKED;

struct ls_control_checkpoint {
    uint64_t seq; /* of the last entry in it; 0: not known yet */
    uint64_t position;
    uint64_t epoch; /* of that entry */
    uint64_t digest;
    uint64_t bytes;    /* done so far */
    uint64_t expected; /* about this many in the end; 0: not known */
    uint32_t error;    /* DONE: 0, or an errno: it failed, nothing changed; a text follows. PROGRESS: 0 */
    uint32_t zero;
} LS_PACKED;

struct ls_control_flip {
    uint64_t seed;
} LS_PACKED;

struct ls_control_trim {
    uint64_t position;
} LS_PACKED;

struct ls_control_slow {
    uint64_t turn_ns;  /* added to each loop turn */
    uint64_t pause_ns; /* once: stand still for this long */
    uint32_t worker;   /* enum ls_worker_id */
    uint32_t zero;
} LS_PACKED;

struct ls_control_damaged {
    uint64_t seq;   /* state as of this entry or later */
    uint64_t found; /* records found damaged since start */
} LS_PACKED;

struct ls_control_sealed {
    uint64_t epoch; /* promised now (may be higher than asked for) */
    uint64_t incarnation;
    uint64_t last_epoch; /* of the last complete entry held; 0: the log is empty */
    uint64_t last;       /* its end */
    uint64_t last_seq;
    uint64_t members_seq; /* of the log's newest membership; 0: founders' */
    uint16_t members;     /* followed by as many struct ls_member_record: who elects */
    uint16_t counts;      /* 1: this incarnation is a founder or was admitted */
    uint32_t zero;
} LS_PACKED;

struct ls_control_installed {
    uint64_t epoch;
    uint32_t refused; /* 0, or: 1 not sealed at that epoch, 2 other incarnation or not admitted, 3 no member,
                         4 halted, 5 no room in the log for the epoch's first entry */
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

/* Per million writes of the journal; times in ns. All zero: off. */
struct ls_control_disk_fault {
    uint64_t seed;
    uint32_t error; /* end with EIO, and nothing of them is there */
    uint32_t cut;   /* short: end with EIO, and their first blocks are there */
    uint32_t
        torn; /* reach the disk in pieces, in any order, a while apart: a node that dies meanwhile leaves them torn */
    uint32_t lost;      /* said to be there, and are not: all of them, and the next start finds files of before */
    uint32_t rot;       /* one bit of them is another one */
    uint32_t misplaced; /* stand in another place of their segment, and not in their own */
    uint32_t full;      /* 1: no new segment can be made */
    uint32_t hang;      /* 1: no write ends */
    uint64_t delay;     /* before a write begins: a node that dies meanwhile loses it */
    uint64_t jitter;    /* and up to so much more */
} LS_PACKED;

struct ls_control_ready {
    uint64_t incarnation;
    uint64_t promise; /* sealed at */
    uint64_t pid;
    uint32_t resumed; /* 1: its log came back from the journal, with all that this node ever acknowledged: it may count
                         without being admitted */
    uint32_t zero;
} LS_PACKED;

struct ls_control_role {
    uint64_t epoch;
    uint16_t role; /* enum ls_role */
    uint16_t sequencer;
    uint16_t halt; /* enum ls_halt */
    uint16_t zero;
} LS_PACKED;

#endif
