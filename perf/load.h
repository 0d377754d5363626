/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the two halves of lockstep-perf share: load.c runs the threads that make load, load_main.c reads options and
 * prints. Private to this program.
 */
#ifndef LOCKSTEP_PERF_LOAD_H
#define LOCKSTEP_PERF_LOAD_H

#include <stdatomic.h>

#include <lockstep/client.h>
#include <lockstep/kv.h>

#include "config.h"
#include "histogram.h"
#include "timeline.h"

#define LS_LOAD_THREADS_MAX 64
#define LS_LOAD_STATUS_MAX  64 /* statuses counted by number; the row behind them: no answer */

struct ls_load_options {
    const char *config_path;
    struct ls_config config;
    uint32_t threads;
    uint32_t window; /* of each thread */
    double rate;     /* operations per second of all threads together; 0: closed loop */
    double seconds;  /* measured */
    double warmup;   /* before that */
    uint32_t reads;  /* percent */
    uint64_t keys;
    uint32_t value_size;
    enum ls_consistency consistency;
    enum ls_durability durability; /* NONE: as the cluster has it */
    uint32_t read_node;            /* node id; 0: reads go to the sequencer */
    bool fill;                     /* puts every key first */
    bool timeline;                 /* notes when operations are completed */
    uint64_t seed;
};

struct ls_load_worker;

/* Results of all threads together. */
struct ls_load_results {
    struct ls_histogram write, read;
    uint64_t status[LS_LOAD_STATUS_MAX + 1];
    uint64_t retries;
    uint64_t good, failed; /* completions, the warm-up's too */
};

/* Takes all memory and opens the sessions. NULL with the reason in `error` (LS_CONFIG_ERROR_MAX bytes). Main thread,
 * like all below. */
struct ls_load *ls_load_create(const struct ls_load_options *options, char *error);
void ls_load_destroy(struct ls_load *load);

/* Puts every key once. 0 or -errno with the reason in `error`. */
int ls_load_fill(struct ls_load *load, char *error);

/* The threads begin now. 0 or -errno. */
int ls_load_start(struct ls_load *load);

/* False once every thread has ended. */
bool ls_load_is_running(struct ls_load *load);
/* The timelines, after finish(), as JSON. 0 or -errno. */
int ls_load_timeline_write(const struct ls_load *load, FILE *to);
/* Asks them to end early; from a signal handler too. */
void ls_load_interrupt(struct ls_load *load);

/* Completions since the last call, with their latencies merged into `latency` (which is reset first). */
void ls_load_interval(struct ls_load *load, struct ls_histogram *latency, uint64_t *good, uint64_t *failed);

/* Waits for the threads and adds up. 0, or -errno of the first thread that had to give up. */
int ls_load_finish(struct ls_load *load, struct ls_load_results *results);
int ls_load_results_init(struct ls_load_results *results);
void ls_load_results_free(struct ls_load_results *results);

#endif
