/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lockstep-sim: runs schedules by seed, in as many processes as asked for, and says what they provoked. Exit status 0:
 * no violation; 1: one was found, printed with how to see it again; 2: usage or trouble of its own.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "campaign.h"

static uint64_t clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

struct options {
    uint64_t first, last;
    uint32_t nodes, jobs;
    enum ls_durability durability;
    bool disk_faults;
    bool trace, print_hash, quiet;
    const char *mutant;
    bool random;
    const char *scenario;
    const char *golden;
    bool update;
    uint64_t quiet_hours;
    uint32_t failover;
    bool aggressive;
    uint64_t link_us;
};

static void usage(FILE *to)
{
    fputs(
        "usage: lockstep-sim [--seed N | --seeds A..B] [--schedules N] [--nodes N] [--jobs N] [--trace]\n"
        "                    [--journal | --async] [--disk-faults]\n"
        "                    [--print-hash] [--quiet] [--mutant NAME|all [--random]]\n"
        "                    [--scenario NAME|all [--golden DIR] [--update]]\n"
        "  --seed N        one schedule, in this process; with --trace everything that happens is printed\n"
        "  --seeds A..B    these schedules, both ends included; default 1..200\n"
        "  --schedules N   so many schedules from the first seed on\n"
        "  --journal       every node has one: it answers for its disk alone, comes back with its log, and power\n"
        "                  fails everywhere at once now and then\n"
        "  --async         journals are written behind; a third of the requests ask for disks\n"
        "  --disk-faults   disks are slow, full or hang, writes fail and are torn; what is on one rots, or is rolled\n"
        "                  back, while its node is away\n"
        "  --nodes N       so many voters instead of drawn by the seed\n"
        "  --print-hash    one line a schedule: seed and hash of its trace\n"
        "  --mutant        deliberately broken variants of core and ctrl: each must be found, in the scenario made "
        "for it\n"
        "                  or else by seeds; --random: by seeds alone\n"
        "  --quiet-hours H --profile default|aggressive   jitter alone: prints changes of epoch\n"
        "  --failover N --profile ... --link-us U         how long a fail-over takes, and where\n"
        "  --scenario      scripted runs, compared with the text in DIR; --update writes it anew\n",
        to);
}

static uint64_t number(const char *text, const char *what)
{
    char *end;
    errno = 0;
    uint64_t n = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0') {
        fprintf(stderr, "lockstep-sim: %s: \"%s\" is not a whole number\n", what, text);
        exit(2);
    }
    return n;
}

static void seeds_parse(struct options *o, const char *text)
{
    char copy[64];
    snprintf(copy, sizeof(copy), "%s", text);
    char *dots = strstr(copy, "..");
    if (dots == NULL) {
        fprintf(stderr, "lockstep-sim: --seeds \"%s\": write it as FIRST..LAST, for example 1..200\n", text);
        exit(2);
    }
    *dots = '\0';
    o->first = number(copy, "--seeds");
    o->last = number(dots + 2, "--seeds");
    if (o->last < o->first) {
        fprintf(stderr, "lockstep-sim: --seeds \"%s\": the last one is before the first\n", text);
        exit(2);
    }
}

static void options_parse(struct options *o, int argc, char **argv)
{
    static const struct option table[] = {{"seed", required_argument, NULL, 's'},
                                          {"seeds", required_argument, NULL, 'S'},
                                          {"schedules", required_argument, NULL, 'c'},
                                          {"nodes", required_argument, NULL, 'n'},
                                          {"journal", no_argument, NULL, 'J'},
                                          {"async", no_argument, NULL, 'A'},
                                          {"disk-faults", no_argument, NULL, 'D'},
                                          {"jobs", required_argument, NULL, 'j'},
                                          {"trace", no_argument, NULL, 't'},
                                          {"print-hash", no_argument, NULL, 'p'},
                                          {"mutant", required_argument, NULL, 'm'},
                                          {"random", no_argument, NULL, 'r'},
                                          {"scenario", required_argument, NULL, 'x'},
                                          {"golden", required_argument, NULL, 'g'},
                                          {"update", no_argument, NULL, 'u'},
                                          {"quiet", no_argument, NULL, 'q'},
                                          {"quiet-hours", required_argument, NULL, 'H'},
                                          {"failover", required_argument, NULL, 'f'},
                                          {"profile", required_argument, NULL, 'P'},
                                          {"link-us", required_argument, NULL, 'l'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    *o = (struct options){.first = 1, .last = 200, .jobs = 1, .link_us = 50, .durability = LS_DURABLE_MEMORY};
    uint64_t count = 0;
    for (int c; (c = getopt_long(argc, argv, "", table, NULL)) != -1;) {
        switch (c) {
        case 's':
            o->first = o->last = number(optarg, "--seed");
            break;
        case 'S':
            seeds_parse(o, optarg);
            break;
        case 'c':
            count = number(optarg, "--schedules");
            break;
        case 'n':
            o->nodes = (uint32_t)number(optarg, "--nodes");
            if (o->nodes < 1 || o->nodes > LS_VOTERS_MAX) {
                fprintf(stderr, "lockstep-sim: --nodes %s: 1 to %d voters are possible\n", optarg, LS_VOTERS_MAX);
                exit(2);
            }
            break;
        case 'J':
            o->durability = LS_DURABLE_JOURNAL;
            break;
        case 'A':
            o->durability = LS_DURABLE_ASYNC;
            break;
        case 'D':
            o->disk_faults = true;
            break;
        case 'j':
            o->jobs = (uint32_t)number(optarg, "--jobs");
            break;
        case 't':
            o->trace = true;
            break;
        case 'p':
            o->print_hash = true;
            break;
        case 'q':
            o->quiet = true;
            break;
        case 'm':
            o->mutant = optarg;
            break;
        case 'r':
            o->random = true;
            break;
        case 'x':
            o->scenario = optarg;
            break;
        case 'g':
            o->golden = optarg;
            break;
        case 'u':
            o->update = true;
            break;
        case 'H':
            o->quiet_hours = number(optarg, "--quiet-hours");
            break;
        case 'f':
            o->failover = (uint32_t)number(optarg, "--failover");
            break;
        case 'l':
            o->link_us = number(optarg, "--link-us");
            break;
        case 'P':
            if (strcmp(optarg, "default") != 0 && strcmp(optarg, "aggressive") != 0) {
                fprintf(stderr, "lockstep-sim: --profile \"%s\": allowed are default and aggressive\n", optarg);
                exit(2);
            }
            o->aggressive = strcmp(optarg, "aggressive") == 0;
            break;
        case 'h':
            usage(stdout);
            exit(0);
        default:
            usage(stderr);
            exit(2);
        }
    }
    if (count > 0)
        o->last = o->first + count - 1;
    if (o->jobs < 1 || o->jobs > SIM_JOBS_MAX)
        o->jobs = SIM_JOBS_MAX;
}

/* ---- reports ---- */

static void report_violation(const struct sim_violation *v, const struct options *o)
{
    printf("VIOLATION of %s in seed %lu at %lu ns: %s\n", v->name, v->seed, v->time, v->text);
    printf("see it again: lockstep-sim --seed %lu --trace", v->seed);
    if (o->nodes != 0)
        printf(" --nodes %u", o->nodes);
    if (o->durability != LS_DURABLE_MEMORY)
        printf(" --%s%s", ls_durability_name(o->durability), o->disk_faults ? " --disk-faults" : "");
    printf("\n");
}

static void report_stats(const struct sim_stats *s, uint64_t elapsed_ns, uint32_t jobs)
{
    double seconds = (double)elapsed_ns / 1e9;
    printf("%lu schedules, %lu events, %.1f s: %.1f schedules/s, %.2f M events/s, %.2f M events/s a process\n",
           s->schedules, s->events, seconds, (double)s->schedules / seconds, (double)s->events / seconds / 1e6,
           (double)s->events / seconds / 1e6 / jobs);
    printf("%lu entries, %lu operations, %lu reads, %lu unknown, %lu epochs, %lu s of virtual time\n", s->entries,
           s->operations, s->reads, s->unknown, s->epochs, s->virtual_ns / 1000000000);
    printf("network: %lu lost, %lu damaged, %lu old ones again, %lu inbox full; entries dropped at verification: %lu\n",
           s->dropped, s->damaged, s->replayed, s->inbox_full, s->truncated_entries);
    printf("ctrl: %lu messages, %lu writes failed; crashes %lu, admitted %lu, counting %lu, epochs after healing %lu, "
           "majority lost %lu\n",
           s->ctrl_messages, s->disk_failed, s->crashes, s->admitted, s->counted, s->epochs_after, s->majority_lost);
    if (s->durable_answers > 0)
        printf("answers that said that disks have it: %lu\n", s->durable_answers);
    if (s->resumed > 0)
        printf("journals: %lu times a node came back with its log, power failed everywhere %lu times\n", s->resumed,
               s->power);
    if (s->disks_rotten + s->disks_old > 0)
        printf("disks: rotten %lu, found %lu; rolled back %lu; windows into the past %lu, empty %lu\n", s->disks_rotten,
               s->disks_found, s->disks_old, s->windows, s->windows_empty);
    printf("checkpoints: behind %lu, taken %lu, refused %lu, damaged on the way %lu; commands %lu, done %lu, refused "
           "%lu\n",
           s->behind, s->rebased, s->rebase_refused, s->images_damaged, s->commands, s->commands_done,
           s->commands_refused);
    printf("stale reads older than they said: %lu, by at most %lu us\n", s->age_understated, s->age_error_max / 1000);
    printf("faults:");
    for (uint32_t i = 0; i < SIM_FAULTS; i++)
        printf(" %s %lu", sim_fault_name((enum sim_fault_kind)i), s->faults[i]);
    printf("\ninstalls: %lu", s->install_refused[0]);
    for (uint32_t i = 1; i < 8; i++) {
        if (s->install_refused[i] > 0)
            printf(", refused (%u) %lu", i, s->install_refused[i]);
    }
    printf("\ncompleted:");
    for (uint16_t i = 0; i < 64; i++) {
        if (s->status[i] > 0)
            printf(" %s %lu", ls_status_name(i), s->status[i]);
    }
    printf("\nbusy:");
    for (uint16_t i = 0; i < 64; i++) {
        if (s->busy[i] > 0)
            printf(" %s %lu", ls_status_name(i), s->busy[i]);
    }
    printf("\ncounters:");
    for (unsigned i = 0; i < LS_COUNTERS; i++) {
        if (s->counters[i] > 0)
            printf(" %s %lu", ls_counter_name(i), s->counters[i]);
    }
    printf("\nnever provoked:");
    for (unsigned i = 0; i < LS_COUNTERS; i++) {
        if (s->counters[i] == 0)
            printf(" %s", ls_counter_name(i));
    }
    printf("\n");
}

/* ---- campaigns ---- */

static int run_one(const struct options *o)
{
    struct sim *sim = sim_create();
    sim->trace = o->trace;
    sim_durability_set(sim, o->durability);
    sim->disk_faults = o->disk_faults;
    uint64_t begin = clock_ns();
    bool good = sim_run(sim, o->first, o->nodes);
    if (o->print_hash)
        printf("%lu %016lx\n", o->first, sim->hash);
    if (!good)
        report_violation(&sim->violation, o);
    else if (!o->quiet)
        report_stats(&sim->stats, clock_ns() - begin, 1);
    return good ? 0 : 1;
}

static void worker_run(const struct options *o, struct sim_board *board, uint32_t job)
{
    struct sim_desk *desk = &board->desk[job];
    struct sim *sim = sim_create();
    sim_durability_set(sim, o->durability);
    sim->disk_faults = o->disk_faults;
    for (uint64_t seed = o->first + job; seed <= o->last && !board->stop; seed += o->jobs) {
        desk->seed = seed;
        bool good = sim_run(sim, seed, o->nodes);
        desk->stats = sim->stats;
        if (o->print_hash) {
            printf("%lu %016lx\n", seed, sim->hash);
            fflush(stdout);
        }
        if (!good) {
            desk->violation = sim->violation;
            board->stop = true;
            break;
        }
    }
    desk->finished = true;
}

static void stats_add(struct sim_stats *to, const struct sim_stats *from)
{
    const uint64_t *a = (const uint64_t *)from;
    uint64_t *b = (uint64_t *)to;
    uint64_t most = to->age_error_max > from->age_error_max ? to->age_error_max : from->age_error_max;
    for (size_t i = 0; i < sizeof(*to) / sizeof(uint64_t); i++)
        b[i] += a[i];
    to->age_error_max = most;
}

struct sim_board *sim_board_create(void)
{
    struct sim_board *board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED) {
        perror("lockstep-sim: shared memory");
        exit(2);
    }
    return board;
}

static int campaign_run(const struct options *o)
{
    struct sim_board *board = sim_board_create();
    uint64_t begin = clock_ns();
    pid_t pid[SIM_JOBS_MAX];
    fflush(stdout);
    for (uint32_t job = 0; job < o->jobs; job++) {
        pid[job] = fork();
        if (pid[job] < 0) {
            perror("lockstep-sim: fork");
            return 2;
        }
        if (pid[job] == 0) {
            worker_run(o, board, job);
            fflush(stdout);
            _exit(0);
        }
    }
    int verdict = 0;
    struct sim_stats total = {0};
    for (uint32_t job = 0; job < o->jobs; job++) {
        int status = 0;
        struct sim_desk *desk = &board->desk[job];
        while (waitpid(pid[job], &status, 0) < 0 && errno == EINTR)
            ;
        if (!desk->finished) {
            printf("VIOLATION: the process died (%s %d) in seed %lu\nsee it again: lockstep-sim --seed %lu --trace\n",
                   WIFSIGNALED(status) ? "signal" : "exit status",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), desk->seed, desk->seed);
            verdict = 1;
            board->stop = true;
        } else if (desk->violation.found) {
            report_violation(&desk->violation, o);
            verdict = 1;
        }
        stats_add(&total, &desk->stats);
    }
    if (!o->quiet)
        report_stats(&total, clock_ns() - begin, o->jobs);
    return verdict;
}

int main(int argc, char **argv)
{
    struct options o;
    options_parse(&o, argc, argv);
    if (o.scenario != NULL)
        return sim_scenario_main(o.scenario, o.golden, o.update);
    if (o.failover > 0)
        return sim_failover_main(o.failover, o.aggressive, o.link_us * SIM_US, o.first);
    if (o.quiet_hours > 0)
        return sim_quiet_main(o.quiet_hours, o.aggressive, o.link_us * SIM_US, o.first);
    if (o.mutant != NULL)
        return sim_mutants_main(o.mutant, o.random, o.first, o.last - o.first + 1, o.jobs, o.trace);
    return o.first == o.last ? run_one(&o) : campaign_run(&o);
}
