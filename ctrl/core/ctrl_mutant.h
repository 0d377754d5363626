/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Deliberately broken variants of ctrl's decisions, compiled only into the simulator's build (LS_WITH_MUTANTS), one at
 * a time, as dataplane/core/mutant.h has them for the protocol. In every other build the broken code is gone.
 */
#ifndef LOCKSTEP_CTRL_CORE_CTRL_MUTANT_H
#define LOCKSTEP_CTRL_CORE_CTRL_MUTANT_H

#include <stdbool.h>

/* name, what is broken */
#define LS_CTRL_MUTANT_LIST(X)                                                                                         \
    X(PROMISE_NOT_DURABLE, "a promise is acted on before the record holds it")                                         \
    X(VOTE_NOT_DURABLE, "a vote is given before the record holds it")                                                  \
    X(COUNT_BEFORE_DURABLE, "a dataplane is told to count before the record says so")                                  \
    X(GRANT_BEFORE_SEAL, "a vote is given by what was last read, without a seal")                                      \
    X(GRANT_WORSE_LOG, "a vote is given to a candidate whose log is worse")                                            \
    X(VOTE_UNADMITTED, "an incarnation that was not admitted votes")                                                   \
    X(ADMIT_NO_CONFIRM, "a joiner is admitted without asking a majority for higher promises")                          \
    X(VOTES_OLD_MEMBERSHIP, "votes are counted by the membership of the record")                                       \
    X(NO_PREVOTE, "a suspicious node stands without asking, and votes are given to anyone")                            \
    X(INCARNATION_REUSED, "a dataplane is started again under its incarnation")                                        \
    X(WIPED_FOUNDS, "a founder whose record was made anew does not ask what others know of it")                        \
    X(EPOCH_REUSED, "a candidate stands for the epoch that it promised last")

enum ls_ctrl_mutant_id {
    LS_CTRL_MUTANT_NONE,
#define X(name, text) LS_CTRL_MUTANT_##name,
    LS_CTRL_MUTANT_LIST(X)
#undef X
        LS_CTRL_MUTANTS
};

#ifdef LS_WITH_MUTANTS
extern enum ls_ctrl_mutant_id ls_ctrl_mutant_active; /* the simulator's; set before a run */
#define ls_ctrl_mutant(name) (ls_ctrl_mutant_active == LS_CTRL_MUTANT_##name)
#else
#define ls_ctrl_mutant(name) false
#endif

#endif
