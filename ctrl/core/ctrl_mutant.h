/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Deliberately broken variants of ctrl's decisions, compiled only into the simulator's build (LS_WITH_MUTANTS), as
 * dataplane/core/mutant.h has them for the protocol. In every other build the broken code is gone.
 */
#ifndef LOCKSTEP_CTRL_CORE_CTRL_MUTANT_H
#define LOCKSTEP_CTRL_CORE_CTRL_MUTANT_H

#include <stdbool.h>

/* name, what is broken */
#define LS_CTRL_MUTANT_LIST(X)                                                                                         \
    X(PROMISE_NOT_DURABLE, "a promise is acted on before the record holds it")                                         \
    X(VOTE_NOT_DURABLE, "a vote is given that the record does not hold")                                               \
    X(COUNT_BEFORE_DURABLE, "a dataplane is told to count before the record says so")                                  \
    X(GRANT_BEFORE_SEAL, "a vote is given by what was last read, without a seal")                                      \
    X(GRANT_WORSE_LOG, "a vote is given to a candidate whose log is worse")                                            \
    X(VOTE_UNADMITTED, "an incarnation that was not admitted votes")                                                   \
    X(ADMIT_NO_CONFIRM, "a joiner is admitted without asking a majority for higher promises")                          \
    X(VOTES_OLD_MEMBERSHIP, "votes are counted by the membership of the record")                                       \
    X(NO_PREVOTE, "a suspicious node stands without asking, and votes are given to anyone")                            \
    X(INCARNATION_REUSED, "a dataplane is started again under its incarnation")                                        \
    X(WIPED_FOUNDS, "a founder whose record was made anew does not ask what others know of it")                        \
    X(EPOCH_REUSED, "a candidate stands for the epoch that it promised last")                                          \
    X(ADMIT_REACH_CTRL, "a joiner has to reach what ctrl last read, not what the dataplane named")                     \
    X(LEARNER_VOTES, "learners elect")                                                                                 \
    X(VOTE_BY_NODE, "once a node was admitted, each of its incarnations votes")                                        \
    X(VOTES_CONFIGURED, "votes are counted by the founders of the configuration")                                      \
    X(WIPED_JOINS, "a node whose record was made anew is let in under its id")                                         \
    X(STUCK_NEVER, "a sequencer that does not serve never leaves it to the others")                                    \
    X(DRIFT_IGNORED, "a copy whose digest differs from that of a majority stays")

enum ls_ctrl_mutant_id {
    LS_CTRL_MUTANT_NONE,
#define X(name, text) LS_CTRL_MUTANT_##name,
    LS_CTRL_MUTANT_LIST(X)
#undef X
        LS_CTRL_MUTANTS
};

#ifdef LS_WITH_MUTANTS
extern bool ls_ctrl_mutant_on[LS_CTRL_MUTANTS]; /* the simulator's; set before a run */
#define ls_ctrl_mutant(name) ls_ctrl_mutant_on[LS_CTRL_MUTANT_##name]
#else
#define ls_ctrl_mutant(name) false
#endif

#endif
