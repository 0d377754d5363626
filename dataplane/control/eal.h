/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DPDK's start: EAL with the arguments that follow from the cluster file, worker loops on their lcores. With net/dpdk
 * the only user of DPDK. lcore 0 is the main thread (the control loop) on any core; 1 and 2 are the workers'.
 */
#ifndef LOCKSTEP_CONTROL_EAL_H
#define LOCKSTEP_CONTROL_EAL_H

#include "config.h"

#define LS_EAL_ARGS_MAX 24

struct ls_eal_args {
    int count;
    char *value[LS_EAL_ARGS_MAX + 1]; /* into text */
    char text[LS_EAL_ARGS_MAX][320];
};

/* The arguments, without starting anything. */
void ls_eal_arguments(const struct ls_config *config, const struct ls_config_node *node, bool hugepages,
                      struct ls_eal_args *args);

/* 0, or -errno and one line of text in `error`. Once in a process. Main thread. */
int ls_eal_start(const struct ls_config *config, const struct ls_config_node *node, bool hugepages, char *error,
                 size_t error_size);
void ls_eal_stop(void);

/* Runs `run(argument)` on worker lcore `which` (0: the first). 0 or -errno. */
int ls_eal_launch(uint32_t which, int (*run)(void *argument), void *argument);
/* Until all launched ones have returned. */
void ls_eal_wait(void);

/* The device's name as EAL knows it: without the arguments of a virtual one. `name` has LS_CONFIG_DEVICE_MAX bytes. */
const char *ls_eal_device_name(const char *device, char *name);

#endif
