/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One replica under test, alone: the test plays the other nodes, the clients, ctrl and apply. Frames that the replica
 * sends are caught in order; frames for it are built by the rig_* functions, valid unless the test damages them.
 * Node 1 is the replica; nodes 2 and 3 are voters at 10.0.0.2 and 10.0.0.3.
 */
#ifndef LOCKSTEP_TEST_RIG_H
#define LOCKSTEP_TEST_RIG_H

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <lockstep/error.h>

#include "replica.h"
#include "wire.h"

#define RIG_FRAMES   256
#define RIG_LOG_SIZE (64 * 1024)
#define RIG_CLUSTER  0xc105e7
#define RIG_CLIENT   ((struct ls_addr){0x0a000064, 40000})

struct rig {
    struct ls_io io; /* first: the functions get this pointer */
    struct ls_log log;
    struct ls_seam seam;
    struct ls_replica *replica;
    struct ls_replica_page page;
    struct ls_counters counters;
    struct ls_replica_config config;
    uint64_t now;
    uint32_t nodes; /* members that it was founded with */
    bool time_pending;
    bool starved; /* alloc fails */
    uint32_t taken, returned;
    uint32_t told; /* members that the port was last told to keep reachable */
    uint32_t sent; /* frames caught since rig_clear() */
    struct ls_frame out[RIG_FRAMES];
    uint8_t buffer[RIG_FRAMES][LS_FRAME_MAX];
};

/* A founder. nodes: 1 (the replica alone) to 3. */
void rig_start(struct rig *rig, uint32_t nodes);
/* A new incarnation that nobody has told anything yet. */
void rig_start_outside(struct rig *rig);
void rig_start_durable(struct rig *rig, enum ls_durability durability, bool resumed); /* outside, too */
/* A new incarnation over the log that the one before has left; nothing that happened is told any more. */
void rig_again(struct rig *rig, bool resumed);
void rig_found(struct rig *rig, uint32_t nodes);
struct ls_membership rig_members(uint32_t nodes); /* voters 1..nodes */
void rig_stop(struct rig *rig);
void rig_clear(struct rig *rig);
void rig_turn(struct rig *rig, uint64_t advance_ns);
/* apply catches up: everything committed counts as applied. */
void rig_apply(struct rig *rig);
uint64_t rig_count(const struct rig *rig, enum ls_counter which);
enum ls_role rig_role(const struct rig *rig);

/* ctrl: gives the order, turns, and returns its answer; events before it are lost. */
struct ls_event rig_order_give(struct rig *rig, struct ls_order order);
/* The next event of that kind; those before it are lost. False: there is none. */
bool rig_event(struct rig *rig, enum ls_event_kind kind, struct ls_event *event);
struct ls_event rig_seal(struct rig *rig, uint64_t epoch);
uint32_t rig_install(struct rig *rig, uint64_t epoch); /* returns the refusal code */
/* control does not get on: the queue of events is full; and gets on again: it is empty. */
void rig_events_fill(struct rig *rig);
void rig_events_empty(struct rig *rig);
/* Sequencer of `epoch`, opened with node 2's acknowledgement (nodes == 3), everything applied. */
void rig_lead(struct rig *rig, uint64_t epoch);
/* Follower of node 2 in `epoch`, verified at the log's present end. */
void rig_follow(struct rig *rig, uint64_t epoch);

/* Frames to the replica. */
struct rig_from {
    uint16_t node;
    uint64_t incarnation;
    uint64_t epoch;
};
void rig_deliver(struct rig *rig, const uint8_t *data, uint32_t length, struct ls_addr from);
uint8_t *rig_frame(struct rig *rig, uint8_t type, struct rig_from from); /* returns where the body begins */
void rig_frame_send(struct rig *rig, const void *end, struct ls_addr from);
void rig_ack(struct rig *rig, struct rig_from from, struct ls_ack_body ack);
void rig_order(struct rig *rig, struct rig_from from, uint64_t position, const void *bytes, uint32_t length,
               uint64_t commit);
void rig_heartbeat(struct rig *rig, struct rig_from from, struct ls_heartbeat_body beat,
                   const struct ls_answer_record *answer);
void rig_request(struct rig *rig, struct ls_request_record record, const void *operation);
void rig_read(struct rig *rig, struct ls_read_record record, const void *operation);
struct ls_addr rig_address(uint16_t node);
/* A session in the table, as apply would publish it. */
void rig_session(struct rig *rig, uint32_t slot, uint64_t session, uint64_t next);

/* The newest caught frame of a type, NULL: none since rig_clear(). */
const uint8_t *rig_last(const struct rig *rig, uint8_t type);
uint32_t rig_sent(const struct rig *rig, uint8_t type);
#define rig_body(rig, type, frame_type) ((const struct type *)ls_frame_body(rig_last((rig), (frame_type))))

/* Entries of a log as another sequencer would write them, for ORDER frames: appends to `log`. */
uint64_t rig_entry(struct ls_log *log, uint16_t kind, uint64_t epoch, uint64_t number, const char *operation);

#endif
