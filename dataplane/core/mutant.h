/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Deliberately broken variants of the core, compiled only into the simulator's build (LS_WITH_MUTANTS): the simulator
 * must find each of them, so that we know that it looks there. One at a time, or two where guards are double. In every
 * other build ls_mutant() is the constant false and the broken code is gone.
 */
#ifndef LOCKSTEP_CORE_MUTANT_H
#define LOCKSTEP_CORE_MUTANT_H

#include <stdbool.h>

/* name, what is broken */
#define LS_MUTANT_LIST(X)                                                                                              \
    X(QUORUM_SMALL, "commit needs one replica less than a majority")                                                   \
    X(ACK_UNVERIFIED, "a follower acknowledges before verification")                                                   \
    X(WRITE_UNVERIFIED, "a follower writes log bytes before verification")                                             \
    X(ACK_HIGHEST, "a follower acknowledges beyond a gap")                                                             \
    X(COMMIT_UNCLAMPED, "a follower's commit is not clamped to what it holds verified")                                \
    X(COMMIT_OLD_EPOCH, "entries of an older epoch are committed by counting replicas")                                \
    X(RANGES_KEPT, "received ranges are kept over a seal")                                                             \
    X(PARTIAL_KEPT, "an incomplete entry is kept over a seal")                                                         \
    X(EPOCH_OLD_ACCEPTED, "frames of older epochs are accepted after a seal")                                          \
    X(ANSWER_TWICE, "a verification answer is taken again")                                                            \
    X(READ_NO_PROBE, "a read at the sequencer is answered without a probe")                                            \
    X(READ_OLD_ANSWER, "a read index answers questions asked after it")                                                \
    X(READ_BEFORE_APPLIED, "a read is answered before its index is applied")                                           \
    X(READ_PROBE_EARLY, "a probe that was sent before the read counts for it")                                         \
    X(READ_FOLLOWER_LOCAL, "a follower answers linearizable reads from its own commit")                                \
    X(REPLY_BEFORE_COMMIT, "the sequencer applies and answers before commit")                                          \
    X(REPEAT_ORDERED, "a repeated request is ordered and executed again")                                              \
    X(RESULT_FORGOTTEN, "a repeat gets a fresh result instead of the kept one")                                        \
    X(QUERY_LIES, "a query closes a request without looking whether it is done")                                       \
    X(ANSWER_BEFORE_DISKS, "an answer that says `journal` does not wait for a majority's disks")                       \
    X(DEADLINE_LOCAL, "a deadline is judged by the local clock")                                                       \
    X(TIME_BACKWARDS, "an epoch's clock starts at zero")                                                               \
    X(RING_OVERWRITTEN, "the ring is overwritten before it is applied")                                                \
    X(FETCH_UNVERIFIED, "an unverified replica serves log bytes")                                                      \
    X(INCARNATION_IGNORED, "acknowledgements of any incarnation count")                                                \
    X(EPOCH_FROM_FRAME, "the epoch table is computed from a frame's epoch")                                            \
    X(LAST_EPOCH_OWN, "the last epoch is the one the node is in, not that of its last entry")                          \
    X(LEARNER_COUNTS, "learners count in a majority")                                                                  \
    X(OPEN_TWICE, "opening with the same nonce makes a second session")                                                \
    X(SERVE_BEFORE_OPEN, "requests are taken before the epoch's first entry is applied")                               \
    X(JOINER_COUNTS, "acknowledgements of a joining incarnation count")                                                \
    X(ADMIT_KEEPS_ACKS, "admitting keeps what the old incarnation acknowledged")                                       \
    X(ADMIT_REACH_COMMIT, "a joiner has to reach the commit, not the log's end")                                       \
    X(CHANGE_EARLY, "the membership changes before the epoch's first entry and the change before are committed")       \
    X(CHANGE_TWO, "the membership changes again before the change before is committed")                                \
    X(REBASE_OLDER, "a checkpoint older than the log replaces it")                                                     \
    X(INSTALL_ANY_INCARNATION, "an epoch is opened by whatever incarnation is there")                                  \
    X(INSTALL_UNSEALED, "an epoch is opened without being sealed at it")                                               \
    X(MEMBERS_LAG, "votes and commit are counted by the last committed membership")                                    \
    X(COUNT_EARLY, "a joiner counts before it holds what it was to reach")                                             \
    X(OUTSIDE_ACKS, "a new incarnation takes part with its empty log")                                                 \
    X(ANSWER_OLD_LIFE, "an answer to a question of an older incarnation is taken")                                     \
    X(TAIL_BY_HEARTBEAT, "a heartbeat of a new epoch makes a follower drop what it does not know to be committed")     \
    X(BEHIND_DROPS_TAIL, "one that is too far behind drops its tail before a checkpoint is there")                     \
    X(PARTING_BY_POSITION, "logs are compared by their lengths alone")                                                 \
    X(READ_KEPT, "reads that wait are kept over a seal, and nothing is checked as their answers leave")                \
    X(NO_SUSPEND, "a sequencer goes on without a majority's acknowledgements")                                         \
    X(SESSION_BY_SLOT, "a request is judged by its slot, whatever session has that now")                               \
    X(EVICT_LOCAL, "sessions are evicted by the local clock")                                                          \
    X(FETCH_LATE, "a gap is asked for after 10 ms, whatever was measured")                                             \
    X(GAP_BLOCKS, "what comes behind a gap is dropped")                                                                \
    X(FETCH_AT_ONCE, "a gap is asked for at once, and again in each turn")                                             \
    X(FETCH_SEQUENCER, "a gap is only ever asked of the sequencer")                                                    \
    X(SERVE_UNCAPPED, "what is fetched is served all in one turn")                                                     \
    X(FRAME_UNCHECKED, "a frame's checksum is not looked at")                                                          \
    X(CHAIN_UNCHECKED, "a fetched entry is taken in though it does not follow the one before")                         \
    X(CUT_SESSIONS_LATE, "a checkpoint holds sessions as they are when it is written, not as they were at its seq")    \
    X(PAST_HELD_FOR_EVER, "what the journal has let go is still promised to members that are behind")                  \
    X(DISK_ERROR_IGNORED, "a write that failed is taken for one that is on the disk")                                  \
    X(MARK_IGNORED, "a journal that ends below its mark is taken for whole")                                           \
    X(CHECKPOINT_ON_TAIL, "a log goes on behind a checkpoint that its own tail may contradict")                        \
    X(ACK_BEFORE_DISK, "what is not on the disk yet is answered for")                                                  \
    X(RING_BEFORE_DISK, "the ring overwrites what is applied, whether the disk has it or not")

enum ls_mutant_id {
    LS_MUTANT_NONE,
#define X(name, text) LS_MUTANT_##name,
    LS_MUTANT_LIST(X)
#undef X
        LS_MUTANTS
};

#ifdef LS_WITH_MUTANTS
extern bool ls_mutant_on[LS_MUTANTS]; /* the simulator's; set before a run */
#define ls_mutant(name) ls_mutant_on[LS_MUTANT_##name]
#else
#define ls_mutant(name) false
#endif

#endif
