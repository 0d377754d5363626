/* SPDX-License-Identifier: BSD-3-Clause */
/* The brain's times out of the cluster file: the profile's, overridden one by one. Pure. */
#ifndef LOCKSTEP_CTRL_IO_TIMES_H
#define LOCKSTEP_CTRL_IO_TIMES_H

#include "../core/ctrl.h"
#include "config.h"

void ls_times_of(const struct ls_config *config, struct ls_ctrl_times *times);

#endif
