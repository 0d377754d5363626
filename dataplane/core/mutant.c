/* SPDX-License-Identifier: BSD-3-Clause */
/* Which deliberately broken variants are on: written by the simulator before a run, read by the core; one thread. Empty
 * in every other build. */
#include "mutant.h"

#ifdef LS_WITH_MUTANTS
bool ls_mutant_on[LS_MUTANTS];
#endif
