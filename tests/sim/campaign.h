/* SPDX-License-Identifier: BSD-3-Clause */
/* What the processes of one campaign share: each writes its own desk, all read `stop`. */
#ifndef SIM_CAMPAIGN_H
#define SIM_CAMPAIGN_H

#include "sim.h"

#define SIM_JOBS_MAX 16

struct sim_desk {
    uint64_t seed; /* being run */
    bool scripted; /* of a hunt: a scenario is */
    bool finished;
    struct sim_violation violation;
    struct sim_stats stats;
};

struct sim_board {
    _Atomic bool stop;
    struct sim_desk desk[SIM_JOBS_MAX];
};

struct sim_board *sim_board_create(void);

/* random: by seeds alone, also where a scenario finds it */
int sim_mutants_main(const char *name, bool random, uint64_t first, uint64_t count, uint32_t jobs, bool trace);
/* scenario.c: a network without chance, three nodes; meter.c */
void sim_config_quiet(struct sim_config *config);
int sim_failover_main(uint32_t trials, bool aggressive, uint64_t link_ns, uint64_t seed);
int sim_quiet_main(uint64_t hours, bool aggressive, uint64_t link_ns, uint64_t seed);
int sim_scenario_main(const char *name, const char *golden, bool update);
bool sim_scenario_run(struct sim *sim, const char *name); /* true: no violation */

#endif
