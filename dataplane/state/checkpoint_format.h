/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bytes of a checkpoint. Private to checkpoint.c and its tests. Little-endian.
 *
 * A stream of blocks: header, then up to 64 KiB. The checksum of a block begins with that of the block before, so the
 * last one is a checksum of everything and no block can stand in another's place. Blocks come in the order of their
 * kinds: one INFO, SESSIONS, MACHINE, one TRAILER.
 */
#ifndef LOCKSTEP_STATE_CHECKPOINT_FORMAT_H
#define LOCKSTEP_STATE_CHECKPOINT_FORMAT_H

#include "checkpoint.h"

#define LS_CHECKPOINT_MAGIC       0x0a706b632d534cull /* "LS-ckp\n" */
#define LS_CHECKPOINT_CHAIN_FIRST 0x4c6f636bu
#define LS_CHECKPOINT_BLOCK_MAX   65536

enum ls_checkpoint_block_kind {
    LS_CHECKPOINT_INFO = 1,
    LS_CHECKPOINT_SESSIONS = 2,
    LS_CHECKPOINT_MACHINE = 3,
    LS_CHECKPOINT_TRAILER = 4,
};

struct ls_checkpoint_block {
    uint32_t checksum; /* CRC32C of everything after this field, begun with the block's before */
    uint32_t length;   /* of what follows, 1..LS_CHECKPOINT_BLOCK_MAX */
    uint64_t number;   /* from 0 */
    uint32_t kind;     /* enum ls_checkpoint_block_kind */
    uint32_t zero;
} LS_PACKED;
static_assert(sizeof(struct ls_checkpoint_block) == 24, "checkpoint layout");

struct ls_checkpoint_head { /* then `epochs` struct ls_epoch_row, `members` struct ls_member_record */
    uint64_t magic;
    uint32_t format;
    uint32_t generation;
    uint64_t cluster;
    char machine[16]; /* padded with zeros, the last one included */
    uint32_t machine_version;
    uint32_t chain;
    uint64_t sessions; /* bytes of the sessions' image */
    uint64_t seq;
    uint64_t position;
    uint64_t time;
    uint64_t digest;
    uint64_t members_seq;
    uint32_t epochs;
    uint32_t members;
    struct ls_entry_limits limits;
} LS_PACKED;
static_assert(sizeof(struct ls_checkpoint_head) == 136, "checkpoint layout");
static_assert(sizeof(struct ls_checkpoint_head) + LS_EPOCHS_KEPT * sizeof(struct ls_epoch_row) +
                      LS_MEMBERS_MAX * sizeof(struct ls_member_record) <=
                  LS_CHECKPOINT_BLOCK_MAX,
              "one block");

struct ls_checkpoint_trailer {
    uint64_t total;  /* bytes of the whole checkpoint, this block included */
    uint64_t digest; /* the cut's again */
    uint64_t blocks; /* before this one */
    uint32_t chain;  /* checksum of the block before: of everything before */
    uint32_t zero;
} LS_PACKED;
static_assert(sizeof(struct ls_checkpoint_trailer) == 32, "checkpoint layout");

#endif
