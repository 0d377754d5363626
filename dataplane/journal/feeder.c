/* SPDX-License-Identifier: BSD-3-Clause */
/* See feeder.h. */
#include "feeder.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "history.h"

#define LOOK_NS  3000000 /* while nobody has asked for a while */
#define SOON_NS  50000   /* between two windows */
#define SOON_MAX 2000    /* so often */

struct ls_feeder {
    struct ls_feeder_config config;
    char *data_dir;
    struct ls_history *history; /* open, where the last window ended; NULL: not */
    pthread_t thread;
    _Atomic bool stop;
};

static void window_fill(struct ls_feeder *f)
{
    struct ls_seam *seam = f->config.seam;
    char error[LS_HISTORY_ERROR_MAX];
    seam->past_from = seam->past_end = seam->past_want;
    if (f->history == NULL)
        f->history = ls_history_open(f->data_dir, &f->config.identity, error);
    if (f->history == NULL) {
        f->config.say(error);
        return;
    }
    int code = ls_history_window(f->history, seam->past_want, ls_seam_past_limit(seam), seam->past_bytes,
                                 f->config.window, &seam->past_from, &seam->past_end);
    if (code == 0)
        return;
    if (code != -ENOENT)
        f->config.say(ls_history_error(f->history));
    ls_history_close(f->history);
    f->history = NULL;
}

static void *run(void *feeder)
{
    struct ls_feeder *f = feeder;
    struct ls_seam *seam = f->config.seam;
    uint64_t taken = 0;
    uint32_t soon = 0;
    while (!atomic_load_explicit(&f->stop, memory_order_relaxed)) {
        /* Acquire: pairs with net's release behind `past_want`. */
        uint64_t asked = atomic_load_explicit(&seam->past_asked, memory_order_acquire);
        if (asked != taken) {
            window_fill(f);
            taken = asked;
            /* Release: who sees it sees the window. */
            atomic_store_explicit(&seam->past_taken, taken, memory_order_release);
            soon = SOON_MAX;
            continue;
        }
        struct timespec nap = {.tv_nsec = soon > 0 ? SOON_NS : LOOK_NS};
        soon -= soon > 0;
        nanosleep(&nap, NULL);
    }
    return NULL;
}

int ls_feeder_start(const struct ls_feeder_config *config, struct ls_feeder **feeder)
{
    struct ls_feeder *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return -ENOMEM;
    f->config = *config;
    f->data_dir = strdup(config->data_dir);
    config->seam->past_bytes = malloc(config->window);
    int code =
        f->data_dir == NULL || config->seam->past_bytes == NULL ? -ENOMEM : -pthread_create(&f->thread, NULL, run, f);
    if (code == 0) {
        *feeder = f;
        return 0;
    }
    free(config->seam->past_bytes);
    config->seam->past_bytes = NULL;
    free(f->data_dir);
    free(f);
    return code;
}

void ls_feeder_stop(struct ls_feeder *f)
{
    if (f == NULL)
        return;
    atomic_store_explicit(&f->stop, true, memory_order_relaxed);
    pthread_join(f->thread, NULL);
    ls_history_close(f->history);
    free(f->config.seam->past_bytes);
    f->config.seam->past_bytes = NULL;
    free(f->data_dir);
    free(f);
}
