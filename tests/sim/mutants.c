/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Each deliberately broken variant of the core (mutant.h) and of ctrl (ctrl_mutant.h) is run until a checker finds it:
 * the proof that the simulator looks there. One process for each, because some of them end in an assertion.
 */
#include <signal.h>
#include <string.h>
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

/* Not found yet: README.md says what is known of them. Run by name, they are hunted as any other. */
static const char *const missing[] = {"VOTES_OLD_MEMBERSHIP", "WRITE_UNVERIFIED"};

static bool is_missing(const struct mutant *mutant)
{
    for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++) {
        if (strcmp(missing[i], mutant->name) == 0)
            return true;
    }
    return false;
}

static void hunt(const struct mutant *mutant, uint64_t first, uint64_t count, struct sim_desk *desk, bool trace)
{
    struct sim *sim = sim_create();
    sim->trace = trace;
    ls_mutant_active = mutant->id;
    ls_ctrl_mutant_active = mutant->ctrl_id;
    if (!trace && freopen("/dev/null", "w", stderr) == NULL)
        _exit(2); /* assertions are expected, and told by the signal */
    for (uint64_t seed = first; seed < first + count; seed++) {
        desk->seed = seed;
        if (!sim_run(sim, seed, 0)) {
            desk->violation = sim->violation;
            break;
        }
    }
    desk->finished = true;
}

static bool report(const struct mutant *mutant, const struct sim_desk *desk, int status, uint64_t first)
{
    uint64_t schedules = desk->seed - first + 1;
    if (!desk->finished && WIFSIGNALED(status)) {
        printf("%-22s found after %5lu schedules by %-4s %s\n", mutant->name, schedules, "A",
               WTERMSIG(status) == SIGABRT ? "an assertion of the core" : "a crash");
        return true;
    }
    if (!desk->finished) {
        printf("%-22s the process ended with status %d in seed %lu\n", mutant->name, status, desk->seed);
        return false;
    }
    if (!desk->violation.found) {
        printf("%-22s NOT FOUND in %lu schedules: %s\n", mutant->name, schedules, mutant->text);
        return false;
    }
    printf("%-22s found after %5lu schedules by %-4s %s\n", mutant->name, schedules, desk->violation.name,
           desk->violation.text);
    return true;
}

int sim_mutants_main(const char *name, uint64_t first, uint64_t count, uint32_t jobs, bool trace)
{
    struct sim_board *board = sim_board_create();
    bool all = strcmp(name, "all") == 0;
    pid_t pid[SIM_JOBS_MAX] = {0};
    size_t which[SIM_JOBS_MAX] = {0};
    uint32_t matched = 0, found = 0;
    size_t next = 0;
    fflush(stdout);
    for (uint32_t running = 0;;) {
        while (running < jobs && next < MUTANTS) {
            size_t i = next++;
            if (all ? is_missing(&mutants[i]) : strcmp(name, mutants[i].name) != 0)
                continue;
            uint32_t job = 0;
            while (pid[job] != 0)
                job++;
            matched++;
            board->desk[job] = (struct sim_desk){.seed = first};
            which[job] = i;
            pid[job] = fork();
            if (pid[job] == 0) {
                hunt(&mutants[i], first, count, &board->desk[job], trace);
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
        pid_t ended = wait(&status);
        for (uint32_t job = 0; job < jobs; job++) {
            if (ended <= 0 || pid[job] != ended)
                continue;
            found += report(&mutants[which[job]], &board->desk[job], status, first);
            fflush(stdout);
            pid[job] = 0;
            running--;
        }
    }
    if (matched == 0) {
        fprintf(stderr, "lockstep-sim: no mutant is called \"%s\"; they are:\n", name);
        for (size_t i = 0; i < MUTANTS; i++)
            fprintf(stderr, "  %-22s %s\n", mutants[i].name, mutants[i].text);
        return 2;
    }
    if (all) {
        printf("left out, as nothing has found them yet:");
        for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++)
            printf(" %s", missing[i]);
        printf("\n");
    }
    printf("%u of %u mutants found\n", found, matched);
    return found == matched ? 0 : 1;
}
