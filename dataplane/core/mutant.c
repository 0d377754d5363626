/* SPDX-License-Identifier: BSD-3-Clause */
/* Which deliberately broken variant is on: written by the simulator before a run, read by the core; one thread. Empty
 * in every other build. */
#include "mutant.h"

#ifdef LS_WITH_MUTANTS
enum ls_mutant_id ls_mutant_active = LS_MUTANT_NONE;
#endif
