/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The replica's own memory, shared by the files that make it up and by nobody else:
 *   replica.c    roles, epochs, dispatch of frames, the loop turn
 *   sequencer.c  appending, ORDER and HEARTBEAT frames, acknowledgements, commit
 *   follower.c   verification, placing log bytes, ACK frames
 *   repair.c     gaps and FETCH, both ends
 *   admission.c  REQUEST frames: session windows, stash, refusals
 *   pull.c       large requests, fragment by fragment
 *   reads.c      READ frames of the three consistencies
 *   answer.c     small frames to clients: BUSY, REDIRECT, VIEW, refusals
 *   standing.c   who takes part: the peers table, founding, joining, counting
 *   change.c     the sequencer's orders: admitting incarnations, changing the membership, handing over
 *   rebase.c     log and state are replaced by a checkpoint's
 *   durable.c    how much of the log may be answered for: the journal's progress
 *   past.c       what the ring has let go, out of the journal, for members far behind
 * One thread (net); no field is seen by another one.
 */
#ifndef LOCKSTEP_CORE_REPLICA_INTERNAL_H
#define LOCKSTEP_CORE_REPLICA_INTERNAL_H

#include <lockstep/error.h>

#include "mutant.h"
#include "replica.h"
#include "wire.h"

/* Kept free in the ring for entries that open an epoch or let time pass: they must never wait for clients' entries. */
static inline uint64_t ls_log_reserve(const struct ls_log *log)
{
    return log->size / 16 < 65536 ? log->size / 16 : 65536;
}

#define LS_QUESTIONS_MAX 8 /* read-index questions of one follower that wait for their probe */

struct ls_question {
    uint64_t number;
    uint64_t index; /* commit when it arrived */
    uint64_t probe; /* a majority must echo this one; 0: not yet given a probe */
};

/* What this node knows of another member. Epoch-bound fields are cleared at each seal and install. */
struct ls_peer {
    uint16_t node;
    bool voter;
    struct ls_addr addr;
    uint64_t incarnation; /* highest one known; kept over epochs; 0: none yet */
    /* sequencer, this epoch */
    bool bound;              /* frames of `incarnation` alone are taken: it made contact, or was admitted */
    bool counts;             /* it said so in this epoch; an admitted one is only served before */
    bool verified;           /* it has acknowledged after taking a verification answer */
    bool heartbeat_due;      /* answers wait for it, or a probe that no ORDER carried */
    uint64_t held;           /* verified position that it holds */
    uint64_t acked;          /* how much of that it answers for: what counts */
    uint64_t durable;        /* how much of it is on its disk */
    uint64_t next;           /* position that is sent next */
    uint64_t limit;          /* it has room up to here */
    uint64_t probe;          /* highest one echoed */
    uint64_t probe_sent;     /* highest one that left for it */
    uint64_t heard_ns;       /* last acknowledgement or question of this epoch; 0: none */
    uint64_t moved_ns;       /* when held last rose */
    uint64_t parting_number; /* verification answer that is due; 0: none */
    uint64_t parting;
    bool parting_too_old;
    uint64_t read_answer; /* read-index answer that is due: all questions up to this number; 0: none */
    uint64_t read_index;
    uint32_t questions; /* waiting, oldest first */
    struct ls_question question[LS_QUESTIONS_MAX];
};

/* Received bytes beyond the contiguous end, ascending, neither touching nor overlapping. */
struct ls_range {
    uint64_t begin;
    uint64_t end;
};

struct ls_repair {
    struct ls_range range[LS_RANGES_MAX];
    uint32_t ranges;
    uint64_t known_end;     /* this much was sent by the sequencer: what is missing below is late or lost */
    uint64_t gap_at;        /* contiguous end when the present gap was noticed */
    uint64_t gap_ns;        /* when; 0: no gap */
    uint64_t delay_ns;      /* adaptive: how late a frame may be before it counts as lost */
    uint64_t fetched_ns;    /* last FETCH for this gap; 0: none */
    uint64_t last_fetch_ns; /* last FETCH at all; 0: none in this epoch */
    uint64_t timeout_ns;    /* before it is repeated; grows with each repeat */
    uint64_t rtt_ns;        /* smoothed, FETCH to progress */
    uint32_t attempt;       /* chooses who is asked */
};

/* Admission of one session, valid in one epoch. */
struct ls_admission {
    uint64_t session;
    uint64_t epoch;
    uint64_t next;  /* number that is ordered next */
    uint32_t stash; /* first stashed request, index + 1; 0: none */
};

struct ls_stash {
    struct ls_request_record record;
    struct ls_addr client;
    uint64_t since_ns;
    uint32_t next; /* index + 1; free list or the session's list, by ascending number */
    uint8_t operation[LS_OP_SMALL_MAX];
};

#define LS_PULL_WORDS       ((LS_OP_MAX / LS_FRAGMENT_SIZE + 64) / 64)
#define LS_PULL_OUTSTANDING 32 /* fragments granted and not yet here, of one pull */

struct ls_pull {
    bool used;
    struct ls_request_record record;
    struct ls_addr client;
    uint32_t fragments;
    uint32_t received;
    uint32_t first_missing;
    uint32_t outstanding;
    uint64_t heard_ns; /* last fragment or announcement */
    uint64_t granted_ns;
    uint64_t have[LS_PULL_WORDS];
    uint64_t granted[LS_PULL_WORDS];
    uint8_t *operation; /* op_max bytes */
};

struct ls_read {
    uint64_t session;
    uint64_t number;
    uint64_t least; /* LEAST: seq */
    uint64_t index; /* position that must be applied; UINT64_MAX: not known yet */
    uint64_t probe; /* sequencer: to be echoed by a majority; follower: number of the question. 0: none yet */
    uint64_t since_ns;
    struct ls_addr client;
    uint32_t length;
    uint8_t operation[LS_READ_OP_MAX];
};

#define LS_LEAST_MAX 64 /* LEAST reads that wait; each is looked at whenever apply moves */

struct ls_replica {
    struct ls_replica_config config;
    struct ls_wire_identity identity;
    struct ls_log *log;
    struct ls_seam *seam;
    struct ls_io *io;
    const struct ls_state_machine *type;
    struct ls_machine *machine;
    struct ls_replica_page *page;
    struct ls_counters *counters;

    enum ls_role role;
    bool role_due; /* control is to be told */
    enum ls_halt halt;
    uint64_t epoch;      /* promised; frames of other epochs are judged by it first */
    uint64_t commit;     /* position, an entry's end */
    uint64_t commit_seq; /* sequencer: of the entry that ends there */
    uint64_t applied;    /* seam->applied as this turn read it */
    uint64_t applied_seq;
    uint64_t floor;              /* the ring's bytes from here on are kept: not applied, or not safe in the journal */
    uint64_t durable;            /* position: this node's disk has the log up to here; 0 without a journal */
    uint64_t journal_asked;      /* as the seam has it */
    uint64_t past_asked;         /* likewise */
    uint64_t past_reach;         /* nothing below is held any more, by the journal either */
    bool journal_waits;          /* and not taken yet */
    uint64_t disks;              /* sequencer: position that the disks of a majority have */
    struct ls_reply_frame *held; /* LS_HELD_MAX answers that wait for them, in the order of what they wait for */
    uint32_t held_head, held_tail;

    /* Standing. A new incarnation is outside until it founds or joins. */
    bool counts;                 /* founder, or admitted and told so */
    bool joining;                /* served by this epoch's sequencer, does not count */
    bool reached;                /* held, verified, what a JOIN named; stays so in this incarnation */
    bool reached_due;            /* control is to be told */
    uint64_t reach;              /* joining: position to hold */
    struct ls_membership joined; /* who is who, as JOIN said; until the log says it */

    /* Members, as the log's newest membership has them. */
    uint32_t members_change; /* log->memberships_changes that the table below follows */
    uint32_t told_change;    /* and the one that control was told */
    bool told_committed;
    uint32_t peers;  /* other members */
    uint32_t voters; /* with this node, if it is one */
    bool member;     /* this node is one, */
    bool voter;      /* and votes */
    struct ls_peer peer[LS_MEMBERS_MAX];
    struct ls_peer left[LS_NODE_ID_MAX + 1]; /* by id: of who was a member, as it was then; node 0: never was */
    uint8_t peer_of[LS_NODE_ID_MAX + 1];     /* node id -> index + 1 */

    /* A checkpoint that takes the place of log and state; NULL: none. */
    struct ls_image *image;
    uint64_t image_id; /* of control's order */
    struct ls_machine *image_machine;

    /* The epoch's clock. */
    uint64_t clock_base; /* log time at clock_base_ns */
    uint64_t clock_base_ns;

    /* Sequencer. */
    bool from_nothing;     /* the epoch began with nothing known to be committed */
    uint64_t epoch_end;    /* end of this epoch's first entry */
    uint64_t probe;        /* highest one in use */
    bool probe_wanted;     /* reads or questions arrived since it was raised */
    uint64_t probe_timed;  /* the one whose round trip is being measured, */
    uint64_t probe_ns;     /* and when it was raised; 0: none is */
    uint64_t rtt_ns;       /* smoothed: probe to majority echo */
    uint64_t probe_echoed; /* highest one that a majority has echoed */
    bool acks_changed;
    uint64_t order_ns;     /* last ORDER or tick */
    uint64_t append_ns;    /* last appended entry */
    uint64_t heartbeat_ns; /* last round of heartbeats */
    uint64_t commit_ns;    /* when commit rose and no frame has told it yet; 0: it is told */
    uint64_t confirmed_ns; /* a majority knew of no newer epoch at this time: a probe that left then was echoed */
    uint64_t majority_ns;  /* last time at which a majority had been heard within suspend_ns */
    /* Handing over: no new requests are taken until `handing` holds everything, and a while longer. */
    uint16_t handing;      /* node id; 0: nobody */
    bool handed;           /* it does, and control was told */
    uint64_t handing_id;   /* of control's question */
    uint64_t handing_ends; /* requests are taken again */
    /* VIEW frames to clients. */
    bool view_due;      /* slots from view_next on have not been told */
    bool view_opened;   /* of this epoch's opening they were, or are being told */
    uint32_t view_next; /* session slot */
    uint32_t bulk;      /* frames of fetched or granted bytes still allowed in this turn */

    /* Follower. */
    uint16_t sequencer; /* node id; 0: none known in this epoch */
    uint64_t sequencer_incarnation;
    struct ls_addr sequencer_addr; /* it need not be a member that this log knows of yet */
    bool ack_due;
    bool acknowledged; /* something, verified, in this epoch */
    uint64_t probe_seen;
    uint64_t question;    /* number of the last verification question, over all epochs */
    bool question_open;   /* not answered yet */
    uint64_t question_ns; /* when it was sent */
    uint32_t question_tries;
    struct ls_repair repair;
    uint64_t fresh_time;     /* highest sequencer time of a heartbeat: replayed ones refresh nothing */
    uint64_t fresh_commit;   /* commit of a heartbeat that is not applied yet, */
    uint64_t fresh_since_ns; /* and what it will make fresh_ns; 0: none waits */
    uint64_t fresh_ns;       /* the local copy was as new as the sequencer's at this time; 0: never */

    /* Epochs seen in frames, told to control at most every so often. */
    uint64_t epoch_told;
    uint64_t epoch_told_ns;

    struct ls_admission *admission; /* config.sessions_max */
    struct ls_stash *stash;
    uint32_t stash_free;   /* index + 1 */
    uint32_t stash_cursor; /* where a full stash is searched for forgotten requests */
    bool stash_fresh;      /* nothing was stashed since the last reset */
    struct ls_pull pull[LS_PULLS_MAX];
    uint32_t pulls;
    uint8_t *pull_memory;

    struct ls_read *read; /* ring of linearizable reads, in order of arrival */
    uint32_t read_head, read_tail;
    struct ls_read *least; /* unordered */
    uint32_t leasts;
    uint64_t read_question; /* last read-index question sent, over all epochs */
    uint64_t read_question_ns;
    uint64_t read_answered; /* highest question answered */
    bool reads_unasked;     /* follower: reads wait that no question covers yet */
};

/* ---- replica.c ---- */
bool ls_replica_is_sequencer(const struct ls_replica *r);
void ls_replica_halt(struct ls_replica *r, enum ls_halt reason, uint64_t now_ns);
void ls_replica_set_role(struct ls_replica *r, enum ls_role role);
/* Tells control the role, if it does not know it and there is room for more than answers. */
void ls_replica_role_tell(struct ls_replica *r);
/* Sequencer time: its own clock, or an estimate by the last frame. */
uint64_t ls_replica_log_time(const struct ls_replica *r, uint64_t now_ns);
/* A buffer for a frame to `peer`; counts and returns false where there is none. */
bool ls_replica_alloc(struct ls_replica *r, struct ls_frame *frame, struct ls_addr peer);
void *ls_replica_begin(struct ls_replica *r, struct ls_frame *frame, uint8_t type);
void ls_replica_send(struct ls_replica *r, struct ls_frame *frame, const void *end);
/* commit rises; apply may go on. */
void ls_replica_commit(struct ls_replica *r, uint64_t commit);

/* Forgets everything that belongs to the epoch that ends. */
void ls_replica_epoch_clear(struct ls_replica *r, uint64_t now_ns);
/* Places of the events' queue that are left to answers: to the order that is taken (two: a seal also cancels what is
 * being handed over), a handover and a rebase under way. Orders wait while there are fewer, so no answer is ever lost:
 * control would wait for it for ever. */
#define LS_EVENTS_ANSWERS 4
/* False: the queue is full, control is stuck. */
bool ls_replica_event(struct ls_replica *r, const struct ls_event *event);
/* Answers an order that has no answer of its own: 0 or an errno. */
void ls_replica_done(struct ls_replica *r, uint64_t id, uint32_t code);

/* ---- standing.c ---- */
/* Who is who: the log's newest membership, or what JOIN said while it has none. */
const struct ls_membership *ls_standing_members(const struct ls_replica *r);
/* The peers table follows the log, in the same step as the log changes. */
void ls_standing_follow(struct ls_replica *r);
/* As it could stand in the log. */
bool ls_standing_is_well_formed(const struct ls_membership *members);
void ls_standing_found(struct ls_replica *r, const struct ls_order *order);
void ls_standing_join(struct ls_replica *r, const struct ls_order *order);
void ls_standing_count(struct ls_replica *r, const struct ls_order *order);
/* REACHED and MEMBERS, as they become true. */
uint32_t ls_standing_turn(struct ls_replica *r);
/* The role of a replica that knows no sequencer: SEALED, or OUTSIDE where it does not count. */
enum ls_role ls_standing_rest(const struct ls_replica *r);

/* ---- change.c ---- */
/* All that an older incarnation said is forgotten: this one is listened to. */
void ls_change_replace(struct ls_replica *r, struct ls_peer *peer, uint64_t incarnation);
void ls_change_admit(struct ls_replica *r, const struct ls_order *order);
void ls_change_members(struct ls_replica *r, const struct ls_order *order, uint64_t now_ns);
void ls_change_handover(struct ls_replica *r, const struct ls_order *order, uint64_t now_ns);
void ls_change_turn(struct ls_replica *r, uint64_t now_ns);
/* The epoch ends: nothing is handed over any more. */
void ls_change_clear(struct ls_replica *r);
/* The largest MEMBERS operation's room; returns its length. */
#define LS_MEMBERS_BYTES (sizeof(struct ls_entry_members) + LS_MEMBERS_MAX * sizeof(struct ls_member_record))
uint32_t ls_change_pack(const struct ls_membership *members, uint8_t *to);

/* ---- rebase.c ---- */
/* From an accepted order on until apply has swapped: neither log nor state are touched. */
bool ls_rebase_runs(const struct ls_replica *r);
void ls_rebase_begin(struct ls_replica *r, const struct ls_order *order, uint64_t now_ns);
uint32_t ls_rebase_turn(struct ls_replica *r, uint64_t now_ns);
uint64_t ls_rebase_next_ns(const struct ls_replica *r, uint64_t now_ns);

/* ---- durable.c ---- */
#define LS_HELD_MAX 1024 /* power of two */

/* What this node's own disk has of its log. */
uint64_t ls_durable_own(const struct ls_replica *r);

int ls_durable_init(struct ls_replica *r);
void ls_durable_free(struct ls_replica *r);
/* An answer that apply has finished: sent, or kept until the disks of a majority have what it speaks of. */
void ls_durable_reply(struct ls_replica *r, struct ls_reply_frame *reply);
/* Sequencer: so much is on the disks of a majority, and what waited for it is sent. How many. */
uint32_t ls_durable_disks(struct ls_replica *r, uint64_t position);
/* The epoch is over: nobody here knows any more when they would be true. Whoever waits asks again. */
void ls_durable_forget(struct ls_replica *r);
/* The disk is answered for, not memory. */
bool ls_durable_is_asked(const struct ls_replica *r);
/* The end of what this replica may answer for. */
uint64_t ls_durable_end(const struct ls_replica *r);
/* May log bytes be written there now? */
bool ls_durable_has_room(const struct ls_replica *r, uint64_t position, uint64_t length);
/* The journal has not taken the last change yet: no further one can be made. */
bool ls_durable_waits(const struct ls_replica *r);
/* Truncates the log, and tells the journal. As ls_log_truncate(), or -EAGAIN: it waits. */
int ls_durable_truncate(struct ls_replica *r, uint64_t position);
/* Before the log begins anew behind the cut, so that who sees its new end knows of it. It does not wait. */
void ls_durable_rebase(struct ls_replica *r, const struct ls_cut *cut);
/* Begin of a turn: how far the journal is. Returns a work count. */
uint32_t ls_durable_turn(struct ls_replica *r, uint64_t now_ns);
/* Has it moved since? */
bool ls_durable_moved(const struct ls_replica *r);

/* ---- sequencer.c ---- */
void ls_sequencer_open(struct ls_replica *r, uint64_t now_ns);
/* True if a client's entry of `length` operation bytes may be appended now. */
bool ls_sequencer_has_room(const struct ls_replica *r, uint32_t length, uint64_t now_ns);
void ls_sequencer_append(struct ls_replica *r, struct ls_entry *header, const void *operation, uint32_t length,
                         uint64_t now_ns);
void ls_sequencer_ack(struct ls_replica *r, struct ls_peer *peer, const uint8_t *frame, uint64_t now_ns);
uint32_t ls_sequencer_turn(struct ls_replica *r, uint64_t now_ns);
uint64_t ls_sequencer_next_ns(const struct ls_replica *r, uint64_t now_ns);

/* ---- follower.c ---- */
void ls_follower_order(struct ls_replica *r, const uint8_t *frame, uint64_t now_ns);
void ls_follower_heartbeat(struct ls_replica *r, const uint8_t *frame, uint64_t now_ns);
void ls_follower_range(struct ls_replica *r, const uint8_t *frame, uint64_t now_ns);
uint32_t ls_follower_turn(struct ls_replica *r, uint64_t now_ns);
uint64_t ls_follower_next_ns(const struct ls_replica *r, uint64_t now_ns);

/* ---- repair.c ---- */
void ls_repair_reset(struct ls_repair *repair, uint64_t delay_ns);
/* Remembers [begin, end) beyond the contiguous end; false where too many gaps are open already. */
bool ls_repair_add(struct ls_repair *repair, uint64_t begin, uint64_t end);
/* The contiguous end has moved to `filled`: learns from how late the bytes were. */
void ls_repair_moved(struct ls_replica *r, uint64_t filled, uint64_t now_ns);
/* Bytes came that were held already: if they had just been fetched, patience was too short. */
void ls_repair_duplicate(struct ls_replica *r, uint64_t now_ns);
/* The contiguous end that follows from `filled` and the remembered ranges, which are dropped as they join. */
uint64_t ls_repair_join(struct ls_repair *repair, uint64_t filled);
void ls_repair_turn(struct ls_replica *r, uint64_t now_ns);
uint64_t ls_repair_next_ns(const struct ls_replica *r);
void ls_repair_serve(struct ls_replica *r, const struct ls_peer *peer, const uint8_t *frame);

/* ---- admission.c ---- */
int ls_admission_init(struct ls_replica *r);
void ls_admission_free(struct ls_replica *r);
void ls_admission_reset(struct ls_replica *r);
void ls_admission_request(struct ls_replica *r, const struct ls_frame *frame, uint64_t now_ns);
/* The session's admission in this epoch, loaded if need be; NULL: no such session (an answer is due), or, with
 * *later = true, the table is just being changed (the client will ask again). */
struct ls_admission *ls_admission_find(struct ls_replica *r, uint64_t session, uint32_t slot, bool *later);
/* Orders a request whose turn has come; false: no room now (BUSY was sent). */
bool ls_admission_order(struct ls_replica *r, struct ls_admission *admission, const struct ls_request_record *record,
                        const uint8_t *operation, uint32_t length, struct ls_addr client, uint64_t now_ns);
/* Orders what waited for the request that was just ordered. */
void ls_admission_drain(struct ls_replica *r, struct ls_admission *admission, uint64_t now_ns);

/* ---- pull.c ---- */
int ls_pull_init(struct ls_replica *r);
void ls_pull_free(struct ls_replica *r);
void ls_pull_reset(struct ls_replica *r);
void ls_pull_announce(struct ls_replica *r, struct ls_admission *admission, const struct ls_request_record *record,
                      struct ls_addr client, uint64_t now_ns);
void ls_pull_fragment(struct ls_replica *r, const struct ls_frame *frame, uint64_t now_ns);
/* A pull that is whole and whose number is `number`; NULL: none. */
struct ls_pull *ls_pull_ready(struct ls_replica *r, uint64_t session, uint64_t number);
void ls_pull_release(struct ls_replica *r, struct ls_pull *pull);
void ls_pull_turn(struct ls_replica *r, uint64_t now_ns);
uint64_t ls_pull_next_ns(const struct ls_replica *r);

/* ---- reads.c ---- */
int ls_reads_init(struct ls_replica *r);
void ls_reads_free(struct ls_replica *r);
/* The epoch ends: waiting reads are refused, so that their clients ask again where they are told to. */
void ls_reads_refuse(struct ls_replica *r, uint16_t status, uint64_t now_ns);
void ls_reads_input(struct ls_replica *r, const struct ls_frame *frame, uint64_t now_ns);
/* Sequencer: reads without a probe get this one. */
void ls_reads_give_probe(struct ls_replica *r, uint64_t probe);
/* Follower: reads without a question get this number. */
void ls_reads_give_question(struct ls_replica *r, uint64_t number);
void ls_reads_answered(struct ls_replica *r, uint64_t number, uint64_t index);
uint32_t ls_reads_turn(struct ls_replica *r, uint64_t now_ns);
uint64_t ls_reads_next_ns(const struct ls_replica *r);

/* ---- answer.c ---- */
void ls_answer_busy(struct ls_replica *r, struct ls_addr client, uint64_t session, uint64_t number, uint16_t status,
                    bool read, uint64_t now_ns);
void ls_answer_redirect(struct ls_replica *r, struct ls_addr client, uint64_t now_ns);
/* VIEW to clients active lately, once for each opened epoch and each change of the membership in it. */
uint32_t ls_answer_views(struct ls_replica *r, uint64_t now_ns);
void ls_answer_refusal(struct ls_replica *r, struct ls_addr client, const struct ls_request_record *record,
                       uint16_t status, uint64_t now_ns);

/* ---- past.c ---- */

/* The lowest position from which on bytes can be had here. */
uint64_t ls_past_reach(struct ls_replica *replica);
/* Bytes of the log, in the ring or in the window; how many. NULL: not now. */
const uint8_t *ls_past_at(const struct ls_replica *replica, uint64_t position, uint64_t *length);
/* The window is to hold this position; asked for again until it does, or the reach has risen. */
void ls_past_want(struct ls_replica *replica, uint64_t position);

#endif
