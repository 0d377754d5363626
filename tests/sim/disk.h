/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The disk of a simulated node's journal. Writes take their time and end in any order. When the process dies those that
 * run still reach the disk; when the machine does, each is there wholly, not at all, or in any of its sectors.
 */
#ifndef SIM_DISK_H
#define SIM_DISK_H

#include "resume.h"
#include "writer.h"

#define SIM_SEGMENT     65536u
#define SIM_SEGMENTS    2048
#define SIM_DISK_WRITES 32

#define SIM_CHECKPOINTS 4

struct sim;

struct sim_checkpoint {
    uint8_t *bytes; /* NULL: none */
    size_t size;
    struct ls_cut cut;
};

struct sim_disk {
    struct ls_journal_disk disk; /* first */
    struct sim *sim;
    uint64_t due_ns; /* when the next write ends; UINT64_MAX: none runs */
    uint8_t *segment[SIM_SEGMENTS];
    uint32_t segments; /* highest one that was made, + 1 */
    uint8_t state[2 * LS_JOURNAL_BLOCK];
    bool state_there;
    bool power;  /* it is the machine that goes down, not the process alone */
    bool failed; /* on purpose, in this life: the process has to give up */
    bool rotten; /* below what was known to be durable: the journal is not what it was */
    struct sim_checkpoint checkpoint[SIM_CHECKPOINTS]; /* oldest first; files beside the journal */
    struct sim_disk_copy *copy;                        /* as a life before has left it; NULL: none */
    struct {
        bool used;
        uint64_t at, segment, offset, cookie;
        const uint8_t *bytes;
        uint32_t length;
    } write[SIM_DISK_WRITES];
};

void sim_disk_init(struct sim_disk *disk, struct sim *sim);
/* What runs ends now. */
void sim_disk_hurry(struct sim_disk *disk);
/* The writer is gone, its memory is still there. */
void sim_disk_stop(struct sim_disk *disk);
void sim_disk_wipe(struct sim_disk *disk);
/* A whole checkpoint, a copy of it; the oldest one gives way. */
void sim_disk_keep(struct sim_disk *disk, const void *bytes, size_t size, const struct ls_cut *cut);
/* The newest one behind which this log may go on, of no epoch beyond `promise`. NULL: none. */
const struct sim_checkpoint *sim_disk_checkpoint(const struct sim_disk *disk, const struct ls_journal_state *state,
                                                 uint64_t promise);
/* A bit of the log below the mark is another one. False: there is nothing to rot. */
bool sim_disk_rot(struct sim_disk *disk, uint32_t index);
/* What is there now is kept, */
void sim_disk_copy(struct sim_disk *disk);
/* and comes back: the state alone, or everything, as an operator does with a backup. False: nothing was kept. */
bool sim_disk_roll_back(struct sim_disk *disk);
struct ls_journal_identity sim_disk_identity(uint32_t index);
/* Would a node that is started now, with this incarnation counting and this promise, come back with all that it
 * acknowledged? */
bool sim_disk_is_complete(struct sim_disk *disk, uint32_t index, uint64_t counts, uint64_t promise);

#endif
