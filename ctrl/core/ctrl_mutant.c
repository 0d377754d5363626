/* SPDX-License-Identifier: BSD-3-Clause */
/* Which deliberately broken variant of ctrl is on: written by the simulator before a run. Empty in every other build.
 */
#include "ctrl_mutant.h"

#ifdef LS_WITH_MUTANTS
bool ls_ctrl_mutant_on[LS_CTRL_MUTANTS];
#endif
