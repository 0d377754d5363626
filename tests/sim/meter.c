/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two measurements in virtual time, with the times of the profiles as lockstep-ctrl has them. Quiet hours: jitter and
 * nothing else, every change of epoch is one too many. Fail-over: how long from the death of a sequencer's dataplane to
 * the first commit after it, and where the time goes.
 */
#include <stdlib.h>
#include <string.h>

#include "campaign.h"

#define US SIM_US
#define MS SIM_MS

enum step { STEP_BEGIN, STEP_KILL, STEP_LOOK };

static struct {
    uint64_t killed, epoch, committed;
    uint32_t old, sequencer;
    uint64_t suspected, decided, installed;
} trial;

static void times_of(struct sim_config *c, bool aggressive)
{
    c->times = aggressive ? (struct ls_ctrl_times){.poll = 200 * US,
                                                   .suspect_min = 3 * MS,
                                                   .suspect_max = 20 * MS,
                                                   .stall = 5 * MS,
                                                   .stall_kill = 1000 * MS,
                                                   .late = 1 * MS,
                                                   .status = 5 * MS,
                                                   .answer = 10 * MS,
                                                   .stagger = 500 * US,
                                                   .restart_min = 20 * MS,
                                                   .handover = 100 * MS}
                          : (struct ls_ctrl_times){.poll = 1 * MS}; /* ctrl.h's own */
}

static void configure(struct sim_config *c, bool aggressive, uint64_t link_ns)
{
    sim_config_quiet(c);
    c->ctrl_ns = 5 * US;
    c->link_ns = link_ns;
    c->latency_ns = link_ns;
    c->jitter_ns = link_ns / 2;
    c->turn_ns = 500;
    c->disk_ns = 100 * US;
    c->spawn_ns = 5 * MS;
    c->clients = 0;
    times_of(c, aggressive);
}

static void again(struct sim *sim, uint64_t delay, enum step step)
{
    sim_queue_push(&sim->queue,
                   (struct sim_event){.time = sim->now + delay, .type = SIM_EVENT_SCRIPT, .argument = step});
}

/* ---- fail-over ---- */

static uint64_t since_kill(const struct sim *sim, uint64_t clock_ns)
{
    const struct sim_host *host = &sim->host[trial.sequencer];
    uint64_t at = sim_clock_back(&host->clock, clock_ns);
    return clock_ns != 0 && at > trial.killed ? at - trial.killed : 0;
}

static void failover_step(struct sim *sim, uint32_t step)
{
    uint32_t sequencer = sim_sequencer(sim);
    if (step == STEP_BEGIN) {
        again(sim, 400 * MS + sim_rng_below(&sim->rng_faults, 20 * MS), STEP_KILL);
    } else if (step == STEP_KILL) {
        if (sequencer == SIM_NONE || sim->node[sequencer].view.role != LS_ROLE_SEQUENCER) {
            again(sim, MS, STEP_KILL);
            return;
        }
        memset(&trial, 0, sizeof(trial));
        trial.killed = sim->now;
        trial.old = sequencer;
        trial.epoch = sim->node[sequencer].view.epoch;
        trial.committed = sim->ledger.canon_seq;
        sim_host_dataplane_ends(sim, &sim->host[sequencer], "it is killed");
        again(sim, 10 * US, STEP_LOOK);
    } else if (sequencer == SIM_NONE || sequencer == trial.old || sim->node[sequencer].view.role != LS_ROLE_SEQUENCER) {
        again(sim, 5 * US, STEP_LOOK);
    } else {
        struct ls_ctrl_view view;
        trial.sequencer = sequencer;
        ls_ctrl_view(sim->host[sequencer].ctrl, &view, sim_host_now(sim, &sim->host[sequencer]));
        trial.suspected = since_kill(sim, view.suspected_ns);
        trial.decided = since_kill(sim, view.decided_ns);
        trial.installed = since_kill(sim, view.installed_ns);
        trial.committed = sim->now - trial.killed;
        sim->stopping = true;
    }
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void line_print(const char *name, uint64_t *us, uint32_t n)
{
    qsort(us, n, sizeof(*us), ascending);
    printf("%-14s p50 %6lu  p90 %6lu  p99 %6lu  max %6lu us\n", name, us[n / 2], us[n * 9 / 10], us[n * 99 / 100],
           us[n - 1]);
}

/* Fills in what each part of each fail-over took, in us. 0, or the exit status after it was said why not. */
static int failovers_run(struct sim *sim, uint32_t trials, bool aggressive, uint64_t link_ns, uint64_t seed,
                         uint64_t *part[5])
{
    for (uint32_t i = 0; i < trials; i++) {
        struct sim_config config;
        struct sim_script script = {.step = failover_step, .with_ctrl = true, .hide_frames = true, .seed = seed + i};
        configure(&config, aggressive, link_ns);
        if (!sim_run_script(sim, &config, &script, 5000 * MS)) {
            printf("VIOLATION of %s in trial %u: %s\n", sim->violation.name, i, sim->violation.text);
            return 1;
        }
        if (!sim->stopping) {
            printf("trial %u: nobody took over within 5 s\n", i);
            return 1;
        }
        part[0][i] = trial.suspected / US;
        part[1][i] = (trial.decided > trial.suspected ? trial.decided - trial.suspected : 0) / US;
        part[2][i] = (trial.installed > trial.decided ? trial.installed - trial.decided : 0) / US;
        part[3][i] = (trial.committed > trial.installed ? trial.committed - trial.installed : 0) / US;
        part[4][i] = trial.committed / US;
    }
    return 0;
}

int sim_failover_main(uint32_t trials, bool aggressive, uint64_t link_ns, uint64_t seed)
{
    static const char *const name[5] = {"detect", "decide", "install", "first commit", "all"};
    uint64_t *times = calloc(5 * (size_t)trials, sizeof(*times)), *part[5];
    if (times == NULL)
        return 2;
    for (uint32_t i = 0; i < 5; i++)
        part[i] = times + (size_t)i * trials;
    int status = failovers_run(sim_create(), trials, aggressive, link_ns, seed, part);
    if (status == 0) {
        printf("%u fail-overs, profile %s, one way %lu us, record %u us:\n", trials,
               aggressive ? "aggressive" : "default", (unsigned long)(link_ns / US), 100);
        for (int i = 0; i < 5; i++)
            line_print(name[i], part[i], trials);
    }
    free(times);
    return status;
}

/* ---- quiet hours ---- */

static void quiet_step(struct sim *sim, uint32_t step)
{
    uint64_t epoch = sim->ledger.epoch_high;
    (void)step;
    if (epoch != trial.epoch) {
        printf("%10lu ms: epoch %lu\n", (unsigned long)(sim->now / MS), epoch);
        trial.epoch = epoch;
    }
    /* Now and then a process is kept waiting for some milliseconds, as on a machine that is shared. */
    uint32_t node = (uint32_t)sim_rng_below(&sim->rng_faults, sim->config.nodes);
    for (uint32_t i = 0; i < sim->config.nodes; i++)
        sim->node[i].slow_ns = 0;
    if (sim_rng_below(&sim->rng_faults, 10) == 0)
        sim->node[node].slow_ns = 200 * US;
    if (sim_rng_below(&sim->rng_faults, 50) == 0)
        sim->host[node].paused_until = sim->now + sim_rng_below(&sim->rng_faults, 4 * MS);
    again(sim, 100 * MS, STEP_LOOK);
}

int sim_quiet_main(uint64_t hours, bool aggressive, uint64_t link_ns, uint64_t seed)
{
    struct sim *sim = sim_create();
    struct sim_config config;
    struct sim_script script = {.step = quiet_step, .with_ctrl = true, .hide_frames = true, .seed = seed};
    memset(&trial, 0, sizeof(trial));
    configure(&config, aggressive, link_ns);
    bool good = sim_run_script(sim, &config, &script, hours * 3600000 * MS);
    if (!good)
        printf("VIOLATION of %s: %s\n", sim->violation.name, sim->violation.text);
    uint64_t changes = sim->ledger.epoch_high > 0 ? sim->ledger.epoch_high - 1 : 0;
    printf("%lu hours, profile %s: %lu changes of epoch, %lu events\n", hours, aggressive ? "aggressive" : "default",
           changes, sim->stats.events);
    return good && changes == 0 ? 0 : 1;
}
