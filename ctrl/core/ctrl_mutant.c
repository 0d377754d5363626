/* SPDX-License-Identifier: BSD-3-Clause */
/* Which deliberately broken variant of ctrl is on: written by the simulator before a run. Empty in every other build.
 */
#include "ctrl_mutant.h"

#ifdef LS_WITH_MUTANTS
enum ls_ctrl_mutant_id ls_ctrl_mutant_active = LS_CTRL_MUTANT_NONE;
#endif
