/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the journal's files hold beside the log's bytes: a header in front of each segment, and the state, in two slots
 * that are written in turn, so that a torn write leaves the one before. Values; no state of their own.
 */
#ifndef LOCKSTEP_JOURNAL_FORMAT_H
#define LOCKSTEP_JOURNAL_FORMAT_H

#include <stddef.h>

#include <lockstep/wire.h>

#include "disk.h"

#define LS_JOURNAL_VERSION       1
#define LS_JOURNAL_MAGIC_SEGMENT 0x6765536c616e724aull /* "JrnalSeg" */
#define LS_JOURNAL_MAGIC_STATE   0x6174536c616e724aull /* "JrnalSta" */

struct ls_journal_identity {
    uint64_t cluster;
    uint32_t generation;
    uint16_t group;
    uint16_t node;
    uint64_t segment_size;
} LS_PACKED;

/* The first block of a segment's file; the log's bytes follow. */
struct ls_journal_segment {
    uint64_t magic;
    uint32_t version;
    uint32_t checksum; /* CRC32C of the structure, this field 0 */
    struct ls_journal_identity identity;
    uint64_t number;
} LS_PACKED;

/* Where the log begins: behind nothing (all 0, chain LS_LOG_CHAIN_FIRST), or behind a checkpoint. */
struct ls_journal_base {
    uint64_t position;
    uint64_t seq;
    uint64_t time;
    uint32_t chain;
    uint32_t zero;
} LS_PACKED;

struct ls_journal_state {
    uint64_t magic;
    uint32_t version;
    uint32_t checksum; /* as above */
    struct ls_journal_identity identity;
    uint64_t number;      /* rises with each writing: the higher one counts */
    uint64_t incarnation; /* that wrote it */
    uint64_t since; /* all that this node acknowledged from this incarnation on, and what those before it had to hold,
                       is in the journal; 0: that is not so */
    struct ls_journal_base base;
    uint64_t durable; /* the journal holds the log up to here, */
    uint64_t commit;  /* and it is known to be committed up to here: an entry's end */
    uint64_t clean;   /* 1: it ended in good order: the log ends at `durable` */
} LS_PACKED;
static_assert(sizeof(struct ls_journal_state) <= LS_JOURNAL_BLOCK, "a slot is a block");

enum ls_journal_wrong {
    LS_JOURNAL_RIGHT = 0,
    LS_JOURNAL_ABSENT,     /* nothing is there */
    LS_JOURNAL_DAMAGED,    /* magic or checksum */
    LS_JOURNAL_NEWER,      /* of a later version of the format */
    LS_JOURNAL_CLUSTER,    /* of another cluster, or group */
    LS_JOURNAL_NODE,       /* of another node: a copied directory */
    LS_JOURNAL_OLDER,      /* of an older generation of this cluster: its log is history */
    LS_JOURNAL_GENERATION, /* of a later one */
    LS_JOURNAL_SIZE,       /* segments of another size */
    LS_JOURNAL_NUMBER,     /* another segment than its name says */
};
const char *ls_journal_wrong_text(enum ls_journal_wrong wrong);

/* `block` is LS_JOURNAL_BLOCK bytes. */
void ls_journal_segment_write(const struct ls_journal_identity *identity, uint64_t number, void *block);
enum ls_journal_wrong ls_journal_segment_check(const struct ls_journal_identity *identity, uint64_t number,
                                               const void *block);

void ls_journal_state_write(const struct ls_journal_state *state, void *block);
/* The newer of the two slots that is right, in *state. Otherwise what is wrong: of a slot that checks out but is not
 * this node's, that; DAMAGED where both were written once; else ABSENT: the first writing of all may have been torn,
 * and before it was whole nothing was answered for. */
enum ls_journal_wrong ls_journal_state_read(const struct ls_journal_identity *identity, const void *blocks,
                                            uint32_t length, struct ls_journal_state *state);

/* Whose journal is it, as the newer slot that is whole says? False: none is. For looking at what may be anybody's. */
bool ls_journal_state_whose(const void *blocks, uint32_t length, struct ls_journal_identity *identity);

#endif
