/* SPDX-License-Identifier: BSD-3-Clause */
/* See backup.h. */
#include "backup.h"

#include <inttypes.h>
#include <stdio.h>

#include <lockstep/kv.h>

static void progress(uint64_t seq, uint64_t bytes)
{
    fprintf(stderr, "lockstep-ctrl: entry %" PRIu64 ", %.1f MiB of log\n", seq, (double)bytes / 1048576);
}

struct ls_replay_config ls_backup_config(const struct ls_config *config)
{
    return (struct ls_replay_config){.type = config->machine == LS_MACHINE_ECHO ? &ls_echo : &ls_kv,
                                     .cluster = config->cluster,
                                     .limits = {.keys = config->keys, .bytes = config->bytes},
                                     .sessions_max = config->sessions,
                                     .window = config->window,
                                     .log_size = config->log_size,
                                     .progress = progress};
}

static void result_print(const struct ls_backup *wanted, const struct ls_replayed *done)
{
    if (done->from_seq != 0)
        printf("began with the checkpoint of entry %" PRIu64 "\n", done->from_seq);
    if (done->entries > 0)
        printf("executed %" PRIu64 " entries, %.1f MiB of log, in %.2f s\n", done->entries,
               (double)done->bytes / 1048576, (double)done->elapsed_ns / 1e9);
    if (done->seq > done->committed_seq)
        printf("entries %" PRIu64 " to %" PRIu64 " are not known to be committed: nobody may have been told of them\n",
               done->committed_seq + 1, done->seq);
    printf("%s: entry %" PRIu64 ", digest %016" PRIx64 ", written and read back\n", wanted->out, done->seq,
           done->digest);
    if (wanted->foreign)
        printf("It was of cluster %016" PRIx64 ", and is of %s (%016" PRIx64 ") now. To begin that one with it, on one "
               "node:\n  lockstep-ctrl bootstrap, unless it has a record already, and then\n"
               "  lockstep-ctrl recover --checkpoint %s --accept-loss, which says how the others follow\n",
               done->cluster, wanted->config->name, wanted->config->cluster, wanted->out);
}

int ls_backup(const struct ls_backup *wanted)
{
    struct ls_replay_config config = ls_backup_config(wanted->config);
    struct ls_replayed done;
    char error[LS_REPLAY_ERROR_MAX];

    config.data_dir = wanted->from != NULL ? wanted->from : wanted->self->data_dir;
    config.checkpoint = wanted->checkpoint;
    config.out = wanted->out;
    config.to_seq = wanted->to_seq;
    config.uncommitted = wanted->uncommitted;
    if (wanted->foreign) {
        config.cluster = 0;
        config.out_cluster = wanted->config->cluster;
        config.out_generation = wanted->config->generation;
        if (wanted->from == NULL)
            config.data_dir = NULL; /* the node's own files are of the other cluster's sort */
    }
    if (ls_replay(&config, &done, error) != 0) {
        fprintf(stderr, "lockstep-ctrl: replay: %s\nlockstep-ctrl: nothing was written\n", error);
        return 1;
    }
    result_print(wanted, &done);
    return 0;
}
