/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The counters page: one file in shared memory per dataplane, mapped read-only by ctrl and by tools. Every word has
 * one writer, named at its place; readers take relaxed loads and live with words that are not of one instant.
 */
#ifndef LOCKSTEP_COUNTERS_H
#define LOCKSTEP_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

#include <lockstep/limits.h>
#include <lockstep/types.h>

/* name, text. Everything that is received and not used, refused or lost has its own counter here. */
#define LS_COUNTER_LIST(X)                                                                                             \
    X(frames_in, "frames received for this node's port")                                                               \
    X(frames_out, "frames sent")                                                                                       \
    X(bytes_in, "UDP payload bytes received")                                                                          \
    X(bytes_out, "UDP payload bytes sent")                                                                             \
    X(drop_short, "frame: shorter than its header or body")                                                            \
    X(drop_length, "frame: length field and datagram differ, or too long")                                             \
    X(drop_magic, "frame: not Lockstep's magic number")                                                                \
    X(drop_version, "frame: another version of the wire format")                                                       \
    X(drop_crc, "frame: checksum wrong")                                                                               \
    X(drop_type, "frame: unknown type")                                                                                \
    X(drop_flags, "frame: unknown flags or non-zero reserved field")                                                   \
    X(drop_authentication, "frame: authenticated, which is not configured")                                            \
    X(drop_cluster, "frame: of another cluster")                                                                       \
    X(drop_generation, "frame: of another generation of the cluster")                                                  \
    X(drop_group, "frame: of another group")                                                                           \
    X(drop_sender, "frame: sender is neither a member at its address nor the sequencer")                               \
    X(drop_incarnation, "frame: of an incarnation that does not count")                                                \
    X(drop_body, "frame: body malformed")                                                                              \
    X(drop_direction, "frame: of a type that this node does not take from that sender")                                \
    X(drop_epoch_old, "frame: of an older epoch")                                                                      \
    X(drop_epoch_new, "frame: of an epoch that ctrl has not promised yet")                                             \
    X(drop_second_sequencer, "frame: a second sequencer in one epoch")                                                 \
    X(drop_role, "frame: not for this node's present role")                                                            \
    X(drop_unverified, "log bytes before verification in this epoch")                                                  \
    X(drop_beyond_room, "log bytes beyond the ring's room")                                                            \
    X(drop_ranges_full, "log bytes: too many gaps already")                                                            \
    X(drop_answer, "an answer to no question, or taken already")                                                       \
    X(drop_ack_position, "acknowledgement beyond the log's end")                                                       \
    X(drop_no_buffer, "nothing sent: no buffer")                                                                       \
    X(drop_tx_full, "frames lost: transmit queue full")                                                                \
    X(drop_fetch_gone, "fetch: bytes no longer (or not yet) held")                                                     \
    X(drop_fragment, "fragment of no announced request")                                                               \
    X(drop_held, "answer: waited for disks, and the epoch ended or too many waited")                                   \
    X(drop_malformed_operation, "request: record malformed")                                                           \
    X(drop_reply_ask, "repeat not answered: queue to apply full")                                                      \
    X(requests_in, "requests received")                                                                                \
    X(requests_ordered, "requests ordered")                                                                            \
    X(requests_repeated, "requests that were ordered before")                                                          \
    X(requests_stashed, "requests kept until their predecessors arrive")                                               \
    X(requests_redirected, "requests that reached a node which is not sequencer")                                      \
    X(requests_pulled, "large requests pulled whole")                                                                  \
    X(pulls_timed_out, "large requests given up: no fragments came")                                                   \
    X(busy_log, "BUSY: no room in the log")                                                                            \
    X(busy_window, "BUSY: session window exceeded")                                                                    \
    X(busy_stash, "BUSY: stash full")                                                                                  \
    X(busy_pull, "BUSY: pull slots in use")                                                                            \
    X(busy_reads, "BUSY: read queue full")                                                                             \
    X(busy_opening, "BUSY: epoch is being opened")                                                                     \
    X(busy_suspended, "BUSY: no majority heard")                                                                       \
    X(busy_behind, "BUSY: replica behind what the read asks for")                                                      \
    X(busy_no_sequencer, "BUSY: no sequencer known")                                                                   \
    X(busy_halted, "BUSY: replica has halted")                                                                         \
    X(refused_too_large, "request refused: larger than allowed")                                                       \
    X(refused_session, "request refused: session unknown")                                                             \
    X(orders_out, "ORDER frames sent")                                                                                 \
    X(orders_in, "ORDER frames received")                                                                              \
    X(order_duplicate, "ORDER frames that brought nothing new")                                                        \
    X(order_early, "ORDER frames that came before their predecessors")                                                 \
    X(acks_out, "ACK frames sent")                                                                                     \
    X(acks_in, "ACK frames received")                                                                                  \
    X(fetches_out, "FETCH frames sent")                                                                                \
    X(past_windows, "parts of the log asked of the journal for members that are behind the ring")                      \
    X(fetches_in, "FETCH frames received")                                                                             \
    X(ranges_out, "RANGE frames sent")                                                                                 \
    X(ranges_in, "RANGE frames received")                                                                              \
    X(heartbeats_out, "HEARTBEAT frames sent")                                                                         \
    X(heartbeats_in, "HEARTBEAT frames received")                                                                      \
    X(verifications, "times this replica's log was verified")                                                          \
    X(truncations, "times a tail was dropped at verification")                                                         \
    X(rebases, "times log and state were replaced by a checkpoint's")                                                  \
    X(reads_in, "reads received")                                                                                      \
    X(reads_answered, "reads answered")                                                                                \
    X(read_questions_out, "read-index questions asked")                                                                \
    X(read_questions_in, "read-index questions received")                                                              \
    X(views_out, "VIEW frames sent: who orders now, to clients that did not ask")                                      \
    X(ticks_ordered, "empty tick entries ordered")                                                                     \
    X(applied_entries, "entries applied")                                                                              \
    X(applied_stalls, "times apply waited for memory")                                                                 \
    X(replies_out, "reply records sent")                                                                               \
    X(executed_repeats, "entries not executed: repeats")                                                               \
    X(executed_expired, "entries not executed: deadline passed")                                                       \
    X(executed_refused, "entries not executed: no session, closed, out of order")                                      \
    X(sessions_opened, "sessions opened")                                                                              \
    X(sessions_evicted, "sessions evicted")                                                                            \
    X(eth_not_ours, "port: Ethernet frames for another address")                                                       \
    X(eth_bad, "port: malformed Ethernet, ARP, IPv4 or UDP")                                                           \
    X(ip_checksum, "port: IPv4 or UDP checksum wrong")                                                                 \
    X(ip_fragment, "port: IPv4 fragments, which are not taken")                                                        \
    X(udp_other_port, "port: UDP for another port")                                                                    \
    X(ip_other, "port: other protocols")                                                                               \
    X(arp_in, "ARP packets received")                                                                                  \
    X(arp_out, "ARP packets sent")                                                                                     \
    X(arp_unresolved, "frames dropped: neighbour not resolved yet")                                                    \
    X(arp_conflicts, "ARP packets of another machine that claims this node's address")                                 \
    X(icmp_echo, "ICMP echo requests answered")                                                                        \
    X(fault_dropped, "frames dropped on purpose")                                                                      \
    X(fault_duplicated, "frames duplicated on purpose")                                                                \
    X(fault_reordered, "frames reordered or delayed on purpose")                                                       \
    X(fault_corrupted, "frames corrupted on purpose")

enum ls_counter {
#define X(name, text) LS_COUNT_##name,
    LS_COUNTER_LIST(X)
#undef X
        LS_COUNTERS
};

/* One writer: the worker that owns it. */
struct ls_counters {
    _Atomic uint64_t value[LS_COUNTERS];
};

static inline void ls_count_add(struct ls_counters *counters, enum ls_counter which, uint64_t n)
{
    _Atomic uint64_t *value = &counters->value[which];
    atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + n, memory_order_relaxed);
}
#define ls_count(counters, name) ls_count_add((counters), LS_COUNT_##name, 1)

static inline uint64_t ls_counter_get(const struct ls_counters *counters, enum ls_counter which)
{
    return atomic_load_explicit(&counters->value[which], memory_order_relaxed);
}

/* Static strings; "?" beyond the list. dataplane/core/counters.c */
const char *ls_counter_name(unsigned which);
const char *ls_counter_text(unsigned which);

#define LS_DIGESTS_KEPT 16

enum ls_role {
    LS_ROLE_SEALED = 0,     /* promised an epoch, knows no sequencer of it */
    LS_ROLE_UNVERIFIED = 1, /* follows, asks where the logs part */
    LS_ROLE_FOLLOWER = 2,   /* follows, log verified */
    LS_ROLE_OPENING = 3,    /* sequencer, first entry of the epoch not yet committed and applied */
    LS_ROLE_SEQUENCER = 4,
    LS_ROLE_SUSPENDED = 5, /* sequencer that does not hear from a majority */
    LS_ROLE_HALTED = 6,    /* found something that must never be; see halt_reason */
    LS_ROLE_OUTSIDE = 7,   /* a new incarnation that is not admitted: sealed, and silent until it is told to join */
    LS_ROLE_BEHIND = 8,    /* follows, but the others no longer hold what is missing here: waits for a checkpoint */
};
const char *ls_role_name(unsigned role);

enum ls_halt {
    LS_HALT_NONE = 0,
    LS_HALT_PARTING_BELOW_COMMIT = 1, /* the sequencer's log does not hold what is committed here */
    LS_HALT_LOG_DAMAGED = 2,          /* verified log bytes are not a valid next entry */
    /* 3 is not used any more: see LS_ROLE_BEHIND */
    LS_HALT_MEMORY_LOST = 4, /* a member acknowledges in this epoch what this sequencer never sent */
    LS_HALT_DISK = 5,        /* the journal cannot be written any more */
};
const char *ls_halt_text(unsigned halt);
const char *ls_durability_name(unsigned durability); /* enum ls_durability */

/* What a replica says of itself; written by net, except where "apply" is said. */
struct ls_replica_page {
    _Atomic uint64_t epoch;
    _Atomic uint64_t role;        /* enum ls_role */
    _Atomic uint64_t halt_reason; /* enum ls_halt */
    _Atomic uint64_t sequencer;   /* node id, 0 none */
    _Atomic uint64_t counts;      /* 1: founder or admitted */
    _Atomic uint64_t members_seq; /* of the log's newest membership */
    _Atomic uint64_t last_epoch;  /* of the last complete entry; 0: the log is empty */
    _Atomic uint64_t last;        /* end of the log */
    _Atomic uint64_t last_seq;
    _Atomic uint64_t commit;
    _Atomic uint64_t applied;     /* apply: position */
    _Atomic uint64_t applied_seq; /* apply */
    _Atomic uint64_t log_time;    /* apply: stamp of the last applied entry */
    _Atomic uint64_t digest_seq;  /* apply: the seq and digest of the last comparison point; written seq = 0, digest, */
    _Atomic uint64_t digest;      /*   seq (release); read seq (acquire), digest, seq again */
    struct {
        _Atomic uint64_t seq; /* a multiple of the distance between comparison points; 0: none */
        _Atomic uint64_t digest;
    } digests[LS_DIGESTS_KEPT];     /* apply: comparison point k at [k % LS_DIGESTS_KEPT], written as above */
    _Atomic uint64_t sessions;      /* apply: open now */
    _Atomic uint64_t scrub_rounds;  /* bulk: whole walks over the state that found nothing wrong */
    _Atomic uint64_t scrub_damaged; /* bulk: damaged records found */
    _Atomic uint64_t heard_ns[LS_NODE_ID_MAX + 1];  /* monotonic time of the last checked frame of each node */
    _Atomic uint64_t acked[LS_NODE_ID_MAX + 1];     /* sequencer: verified position of each node */
    _Atomic uint64_t acked_seq[LS_NODE_ID_MAX + 1]; /* sequencer: applied seq of each node, as it said */
};

/* What the journal worker says of the disk; `durability` is main's, once. */
struct ls_journal_page {
    _Atomic uint64_t durability; /* enum ls_durability; MEMORY: there is no journal */
    _Atomic uint64_t durable;    /* the disk has the log up to here; 0 while a tail is dropped or the log begins anew */
    _Atomic uint64_t oldest_ns;  /* monotonic time when the oldest write that still runs began; 0: none runs */
    _Atomic uint64_t writes, bytes, states;
    _Atomic uint64_t longest_ns;                /* of a write, since start */
    _Atomic uint64_t lag_bytes, lag_ns;         /* what a power cut could take now; the time never too short */
    _Atomic uint64_t lag_bytes_max, lag_ns_max; /* since start */
    _Atomic uint64_t error;                     /* errno: it can write no more */
    _Atomic uint64_t faults;                    /* writes that a fault on purpose acted on */
};

enum ls_worker_id { LS_WORKER_NET, LS_WORKER_APPLY, LS_WORKER_JOURNAL, LS_WORKERS };

/* Written by its worker. */
struct ls_worker_page {
    _Alignas(64) _Atomic uint64_t heartbeat; /* loop turns; rises while the worker makes progress */
    _Atomic uint64_t heartbeat_ns;           /* monotonic time of the last turn */
    _Atomic uint64_t busy_ns;                /* time in turns that found work */
    _Atomic uint64_t total_ns;
    _Atomic uint64_t longest_turn_ns; /* since start */
    _Atomic uint64_t sleeps;
    _Atomic uint64_t cpu; /* lcore it runs on; UINT64_MAX: not running */
    struct ls_counters counters;
};

#define LS_PAGE_MAGIC 0x31455441504b534cull /* "LSKPATE1" */

struct ls_counters_page {
    uint64_t magic;
    uint32_t size;     /* of this structure: a reader of another version refuses it */
    uint32_t counters; /* LS_COUNTERS */
    uint64_t cluster;
    uint64_t incarnation;
    uint64_t pid;
    uint64_t start_ns; /* monotonic */
    uint32_t node;
    uint32_t faults_active;         /* 1: faults are being injected on purpose */
    _Atomic uint64_t buffers_total; /* of the mbuf pool; control thread */
    _Atomic uint64_t buffers_free;
    struct ls_replica_page replica;
    struct ls_journal_page journal;
    struct ls_worker_page worker[LS_WORKERS];
};

#endif
