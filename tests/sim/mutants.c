/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each deliberately broken variant of the core (mutant.h) and of ctrl (ctrl_mutant.h) is run until a checker finds it:
 * the proof that the simulator looks there. One process for each, because some of them end in an assertion. Times are
 * of the processor.
 */
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "campaign.h"
#include "ctrl_mutant.h"

struct mutant {
    enum ls_mutant_id id;
    enum ls_ctrl_mutant_id ctrl_id;
    const char *name;
    const char *text;
};

static const struct mutant mutants[] = {
#define X(which, what) {.id = LS_MUTANT_##which, .name = #which, .text = what},
    LS_MUTANT_LIST(X)
#undef X
#define X(which, what) {.ctrl_id = LS_CTRL_MUTANT_##which, .name = #which, .text = what},
        LS_CTRL_MUTANT_LIST(X)
#undef X
};
#define MUTANTS (sizeof(mutants) / sizeof(mutants[0]))

/* ---- two guards of which each is enough ---- */

/* Both are off. What is looked for is the harm: rules that say beforehand that one of them is off are left aside. In
 * the scenario, neither alone does any harm. */
struct pair {
    const char *name;
    struct {
        const char *name, *overlooked;
    } half[2];
    const char *overlooked; /* of both */
    const char *text;
};

static const struct pair pairs[] = {
    {"PROMISE_AND_CONFIRM",
     {{"PROMISE_NOT_DURABLE", "E1 E4 P2"}, {"ADMIT_NO_CONFIRM", "P2"}},
     "E1 E4 P2",
     "acknowledging before the promise is durable, and admission without asking a majority"},
    {"KEEPS_ACKS_AND_REACH",
     {{"ADMIT_KEEPS_ACKS", "acks"}, {"ADMIT_REACH_COMMIT", "reach"}},
     "acks reach",
     "what the old incarnation acknowledged is kept, and the new one has to reach the commit alone"},
};
#define PAIRS (sizeof(pairs) / sizeof(pairs[0]))

/* ---- how each is hunted ---- */

/* A scenario that is run before any seed is drawn: the moment in which the broken guard is the only one. */
static const struct {
    const char *mutant, *scenario;
} directed[] = {
    {"WRITE_UNVERIFIED", "order-astray"},
    {"COMMIT_UNCLAMPED", "divergent-tail"},
    {"COMMIT_OLD_EPOCH", "older-epoch"},
    {"RANGES_KEPT", "seal-forgets"},
    {"PARTIAL_KEPT", "seal-forgets"},
    {"EPOCH_OLD_ACCEPTED", "old-order"},
    {"ANSWER_TWICE", "answer-again"},
    {"READ_NO_PROBE", "read-deposed"},
    {"READ_PROBE_EARLY", "read-deposed"},
    {"RING_OVERWRITTEN", "behind-keeps-log"},
    {"FETCH_UNVERIFIED", "fetch-unverified"},
    {"INCARNATION_IGNORED", "admit-forgets"},
    {"ADMIT_KEEPS_ACKS", "admit-forgets"},
    {"CHANGE_EARLY", "change-early"},
    {"CHANGE_TWO", "change-early"},
    {"REBASE_OLDER", "checkpoint-older"},
    {"ANSWER_OLD_LIFE", "answer-of-old-life"},
    {"BEHIND_DROPS_TAIL", "behind-keeps-log"},
    {"PARTING_BY_POSITION", "divergent-tail"},
    {"READ_KEPT", "read-deposed"},
    {"NO_SUSPEND", "deaf-sequencer"},
    {"SESSION_BY_SLOT", "session-evicted"},
    {"EVICT_LOCAL", "session-kept"},
    {"FETCH_LATE", "gap"},
    {"GAP_BLOCKS", "gap"},
    {"FETCH_SEQUENCER", "repair-elsewhere"},
    {"SERVE_UNCAPPED", "fetch-capped"},
    {"CHAIN_UNCHECKED", "copy-rotten"},
    {"CUT_SESSIONS_LATE", "cut-under-load"},
    {"GRANT_WORSE_LOG", "checkpoint-older"},
    {"VOTES_OLD_MEMBERSHIP", "votes-by-log"},
    {"WIPED_FOUNDS", "record-anew-alone"},
    {"VOTE_BY_NODE", "majority-lost"},
    {"WIPED_JOINS", "record-anew"},
    {"STUCK_NEVER", "deaf-sequencer"},
    {"DRIFT_IGNORED", "copy-differs"},
    {"PROMISE_AND_CONFIRM", "promise-and-confirm"},
    {"KEEPS_ACKS_AND_REACH", "admit-forgets"},
};

/* Hunted with a journal on every node, and on disks that fail: without them these guards guard nothing. */
static const struct {
    const char *name;
    enum ls_durability durability;
    bool disk_faults;
} with_journal[] = {
    {"ACK_BEFORE_DISK", LS_DURABLE_JOURNAL, true},    {"RING_BEFORE_DISK", LS_DURABLE_JOURNAL, true},
    {"ANSWER_BEFORE_DISKS", LS_DURABLE_ASYNC, true},  {"DISK_ERROR_IGNORED", LS_DURABLE_JOURNAL, true},
    {"MARK_IGNORED", LS_DURABLE_JOURNAL, true},       {"CHECKPOINT_ON_TAIL", LS_DURABLE_JOURNAL, false},
    {"PAST_HELD_FOR_EVER", LS_DURABLE_JOURNAL, true},
};

static void durability_set(struct sim *sim, const char *name)
{
    sim_durability_set(sim, LS_DURABLE_MEMORY);
    sim->disk_faults = false;
    for (size_t i = 0; i < sizeof(with_journal) / sizeof(with_journal[0]); i++) {
        if (strcmp(with_journal[i].name, name) != 0)
            continue;
        sim_durability_set(sim, with_journal[i].durability);
        sim->disk_faults = with_journal[i].disk_faults;
    }
}

static const char *scenario_of(const char *name)
{
    for (size_t i = 0; i < sizeof(directed) / sizeof(directed[0]); i++) {
        if (strcmp(directed[i].mutant, name) == 0)
            return directed[i].scenario;
    }
    return NULL;
}

/* Mutants, and pairs of them behind. */
static const char *name_of(size_t i)
{
    return i < MUTANTS ? mutants[i].name : pairs[i - MUTANTS].name;
}

static const char *text_of(size_t i)
{
    return i < MUTANTS ? mutants[i].text : pairs[i - MUTANTS].text;
}

static void switch_on(const char *name)
{
    for (size_t i = 0; i < MUTANTS; i++) {
        if (strcmp(mutants[i].name, name) != 0)
            continue;
        ls_mutant_on[mutants[i].id] = true;
        ls_ctrl_mutant_on[mutants[i].ctrl_id] = true;
    }
    ls_mutant_on[LS_MUTANT_NONE] = ls_ctrl_mutant_on[LS_CTRL_MUTANT_NONE] = false;
}

static void switch_off(void)
{
    memset(ls_mutant_on, 0, LS_MUTANTS * sizeof(ls_mutant_on[0]));
    memset(ls_ctrl_mutant_on, 0, LS_CTRL_MUTANTS * sizeof(ls_ctrl_mutant_on[0]));
}

/* ---- one hunt ---- */

static bool scenario_fails(struct sim *sim, const char *scenario, struct sim_desk *desk)
{
    desk->scripted = true;
    if (sim_scenario_run(sim, scenario))
        return false;
    desk->violation = sim->violation;
    return true;
}

/* A pair of guards is a pair only if either of them is enough. */
static bool halves_fail(struct sim *sim, const struct pair *pair, const char *scenario, struct sim_desk *desk)
{
    for (uint32_t i = 0; i < 2; i++) {
        switch_off();
        switch_on(pair->half[i].name);
        sim->overlooked = pair->half[i].overlooked;
        if (scenario_fails(sim, scenario, desk)) {
            printf("%-24s %s alone is found in scenario %s by %s: %s\n", pair->name, pair->half[i].name, scenario,
                   sim->violation.name, sim->violation.text);
            return true;
        }
    }
    return false;
}

static void seeds_run(struct sim *sim, uint64_t first, uint64_t count, struct sim_desk *desk)
{
    desk->scripted = false;
    for (uint64_t seed = first; seed < first + count; seed++) {
        desk->seed = seed;
        if (!sim_run(sim, seed, 0)) {
            desk->violation = sim->violation;
            break;
        }
    }
}

static void hunt(size_t which, const char *scenario, uint64_t first, uint64_t count, struct sim_desk *desk, bool trace)
{
    const struct pair *pair = which < MUTANTS ? NULL : &pairs[which - MUTANTS];
    struct sim *sim = sim_create();
    sim->trace = trace;
    durability_set(sim, name_of(which));
    if (!trace && freopen("/dev/null", "w", stderr) == NULL)
        _exit(2); /* assertions are expected, and told by the signal */
    if (pair != NULL && scenario != NULL && halves_fail(sim, pair, scenario, desk))
        return;
    switch_off();
    if (pair == NULL) {
        switch_on(name_of(which));
    } else {
        switch_on(pair->half[0].name);
        switch_on(pair->half[1].name);
        sim->overlooked = pair->overlooked;
    }
    if (scenario == NULL || !scenario_fails(sim, scenario, desk))
        seeds_run(sim, first, count, desk);
    desk->finished = true;
}

static bool report(size_t which, const struct sim_desk *desk, int status, uint64_t first, double seconds)
{
    bool crashed = !desk->finished && WIFSIGNALED(status);
    const char *name = name_of(which);
    char found[64];
    if (desk->scripted)
        snprintf(found, sizeof(found), "in scenario %s", scenario_of(name));
    else
        snprintf(found, sizeof(found), "after %5lu schedules", desk->seed - first + 1);
    if (!desk->finished && !crashed) {
        printf("%-24s the process ended with status %d %s\n", name, status, found);
        return false;
    }
    if (!crashed && !desk->violation.found) {
        printf("%-24s NOT FOUND %s, %.1f s: %s\n", name, found, seconds, text_of(which));
        return false;
    }
    const char *rule = crashed ? "A" : desk->violation.name;
    const char *text = !crashed                      ? desk->violation.text
                       : WTERMSIG(status) == SIGABRT ? "an assertion of the core"
                                                     : "a crash";
    printf("%-24s found %s, %.1f s, by %-4s %s\n", name, found, seconds, rule, text);
    return true;
}

int sim_mutants_main(const char *name, bool random, uint64_t first, uint64_t count, uint32_t jobs, bool trace)
{
    struct sim_board *board = sim_board_create();
    bool all = strcmp(name, "all") == 0;
    pid_t pid[SIM_JOBS_MAX] = {0};
    size_t which[SIM_JOBS_MAX] = {0};
    uint32_t matched = 0, found = 0;
    size_t next = 0;
    fflush(stdout);
    for (uint32_t running = 0;;) {
        while (running < jobs && next < MUTANTS + PAIRS) {
            size_t i = next++;
            if (!all && strcmp(name, name_of(i)) != 0)
                continue;
            uint32_t job = 0;
            while (pid[job] != 0)
                job++;
            matched++;
            board->desk[job] = (struct sim_desk){.seed = first};
            which[job] = i;
            pid[job] = fork();
            if (pid[job] == 0) {
                hunt(i, random ? NULL : scenario_of(name_of(i)), first, count, &board->desk[job], trace);
                fflush(stdout);
                _exit(0);
            }
            if (pid[job] < 0) {
                perror("lockstep-sim: fork");
                return 2;
            }
            running++;
        }
        if (running == 0)
            break;
        int status;
        struct rusage used;
        pid_t ended = wait4(-1, &status, 0, &used);
        double seconds = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
                         (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
        for (uint32_t job = 0; job < jobs; job++) {
            if (ended <= 0 || pid[job] != ended)
                continue;
            found += report(which[job], &board->desk[job], status, first, seconds);
            fflush(stdout);
            pid[job] = 0;
            running--;
        }
    }
    if (matched == 0) {
        fprintf(stderr, "lockstep-sim: no mutant is called \"%s\"; they are:\n", name);
        for (size_t i = 0; i < MUTANTS + PAIRS; i++)
            fprintf(stderr, "  %-24s %s\n", name_of(i), text_of(i));
        return 2;
    }
    printf("%u of %u mutants found\n", found, matched);
    return found == matched ? 0 : 1;
}
