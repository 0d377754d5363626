/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See recover.h. One process, nobody beside it: the node's lock is held.
 *
 * What must hold here: the choice is on the disk before the record speaks of it, and nothing at all is written before
 * every byte of what was chosen was read and checked.
 */
#include "recover.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backup.h"
#include "record.h"

#define EMPTY "empty"

struct chosen {
    char path[LS_RECOVER_PATH_MAX]; /* "": nothing */
    struct ls_checkpoint_info info;
};

static int refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int refuse(const char *format, ...)
{
    va_list list;

    fputs("lockstep-ctrl: ", stderr);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputs("\nlockstep-ctrl: nothing was changed\n", stderr);
    return 1;
}

/* ---- what there is ---- */

/* A dataplane that lives may still hold everything. 0: it does not; else its exit code. */
static int dataplane_check(const struct ls_recover *wanted)
{
    char path[LS_CONFIG_PATH_MAX + 32], pid[32] = "";
    ssize_t length;
    int fd, held;

    snprintf(path, sizeof(path), "%s/dataplane.lock", wanted->self->data_dir);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0)
        return refuse("%s cannot be opened: %s", path, strerror(errno));
    held = flock(fd, LOCK_EX | LOCK_NB) != 0;
    length = held ? read(fd, pid, sizeof(pid) - 1) : 0;
    pid[length > 0 ? length : 0] = '\0';
    pid[strcspn(pid, "\n")] = '\0';
    close(fd); /* and with it the lock */
    if (!held)
        return 0;
    return refuse("node %u: its lockstep-dataplane lives (pid %s holds %s), and may hold more than any checkpoint. "
                  "Start lockstep-ctrl, see lockstep status; if the cluster stays lost: lockstep checkpoint create "
                  "there, then stop lockstep-ctrl (SIGTERM), which ends both, and recover",
                  wanted->self->id, pid, path);
}

static void age_print(int64_t made_s)
{
    int64_t age = (int64_t)time(NULL) - made_s;

    if (age < 0)
        printf("made in the future, as this clock says");
    else if (age < 120)
        printf("%" PRId64 " s old", age);
    else if (age < 7200)
        printf("%" PRId64 " min old", age / 60);
    else
        printf("%" PRId64 " h old", age / 3600);
}

static void record_print(const struct ls_recover *wanted, const struct ls_record *record)
{
    const struct ls_durable *durable = &record->durable;

    printf("Node %u of cluster %s (%016" PRIx64 "), generation %" PRIu32 ", has promised epoch %" PRIu64
           ". Members, as far as it knows:",
           durable->node, wanted->config->name, durable->cluster, durable->generation, durable->promise);
    for (uint32_t i = 0; i < durable->members.count; i++)
        printf("%s %u%s", i > 0 ? "," : "", durable->members.member[i].node,
               durable->members.member[i].role == LS_MEMBER_VOTER ? "" : " (learner)");
    printf(".\n");
    if (durable->recovers)
        printf("An earlier recovery of it has not begun yet: it is replaced by this one.\n");
}

static const struct ls_checkpoint_format *format_of(const struct ls_recover *wanted)
{
    return wanted->format != NULL ? wanted->format : &ls_checkpoint_files;
}

/* Reads every byte. 0, or -errno with a line in `error`. */
static int file_check(const struct ls_recover *wanted, const char *path, struct ls_checkpoint_info *info, char *error)
{
    const char *machine = wanted->config->machine == LS_MACHINE_ECHO ? "echo" : "kv";
    int result = format_of(wanted)->verify(path, info, error);

    if (result != 0)
        return result;
    if (info->cluster != wanted->config->cluster) {
        snprintf(error, LS_CHECKPOINTS_ERROR, "it is of cluster %016" PRIx64 ", this one is %016" PRIx64, info->cluster,
                 wanted->config->cluster);
        return -EXDEV;
    }
    if (strcmp(info->machine, machine) != 0) {
        snprintf(error, LS_CHECKPOINTS_ERROR, "it is of state machine %.15s, the cluster file says %s", info->machine,
                 machine);
        return -EPROTO;
    }
    return 0;
}

/* The newest that is good goes to `chosen`, unless there is one. */
static void file_print(const struct ls_recover *wanted, const struct ls_checkpoint_file *file, const char *path,
                       bool look, struct chosen *chosen)
{
    char error[LS_CHECKPOINTS_ERROR] = "";
    struct ls_checkpoint_info info = {0};

    printf("  %s: entry %" PRIu64 ", ", file->name, file->seq);
    age_print(file->made_s);
    printf(", %" PRIu64 " bytes: ", file->size);
    if (!look) {
        printf("not read\n");
        return;
    }
    fflush(stdout); /* what follows may take a while */
    if (file->state == LS_CHECKPOINT_DAMAGED || file->state == LS_CHECKPOINT_FOREIGN ||
        file_check(wanted, path, &info, error) != 0) {
        printf("not to be used: %s\n", error[0] != '\0' ? error : ls_checkpoint_state_name(file->state));
        return;
    }
    printf("verified, every byte was read\n");
    chosen->info = info;
    snprintf(chosen->path, sizeof(chosen->path), "%s", path);
}

/* Lists this node's own, and finds the newest good one. 0, or the exit code. */
static int own_look(const struct ls_recover *wanted, const struct ls_record *record, struct chosen *chosen)
{
    char error[LS_CHECKPOINTS_ERROR], path[LS_CHECKPOINTS_PATH_MAX];
    struct ls_checkpoints *c = ls_checkpoints_open(NULL, wanted->self->data_dir, wanted->config->cluster,
                                                   record->durable.generation, format_of(wanted), error);
    const struct ls_checkpoint_file *file;
    uint32_t count;

    if (c == NULL)
        return refuse("%s", error);
    file = ls_checkpoints_list(c, &count);
    printf("Checkpoints in %s, newest first%s\n", ls_checkpoints_directory(c), count > 0 ? ":" : ": none");
    for (uint32_t i = 0; i < count; i++)
        if (ls_checkpoints_path(c, file[i].name, path))
            file_print(wanted, &file[i], path, chosen->path[0] == '\0', chosen);
    ls_checkpoints_close(c);
    return 0;
}

/* ---- the choice ---- */

static int given_take(const struct ls_recover *wanted, struct chosen *chosen)
{
    char path[PATH_MAX], error[LS_CHECKPOINTS_ERROR] = "";

    *chosen = (struct chosen){0};
    if (realpath(wanted->checkpoint, path) == NULL)
        return refuse("--checkpoint %s: %s", wanted->checkpoint, strerror(errno));
    if (strlen(path) >= sizeof(chosen->path) || strchr(path, '\n') != NULL)
        return refuse("--checkpoint %s: its path is longer than %d bytes, or has a line break: move it", path,
                      LS_CONTROL_PATH_MAX);
    if (file_check(wanted, path, &chosen->info, error) != 0)
        return refuse("--checkpoint %s cannot be used: %s", path, error);
    memcpy(chosen->path, path, strlen(path) + 1);
    return 0;
}

static void loss_print(const struct chosen *chosen)
{
    if (chosen->path[0] != '\0')
        printf("\nIt would begin with %s.\nLost would be everything that was ordered after entry %" PRIu64
               ", also what clients were told was done. How much that is, nobody\nknows: look at the other nodes for a "
               "newer checkpoint first, and for a dataplane that still lives.\n",
               chosen->path, chosen->info.cut.seq);
    else
        printf("\nIt would begin empty.\nLost would be EVERYTHING that was ever ordered.\n");
}

/* What this node's journal adds to its checkpoints: all that is there, for what nobody was told of does no harm. With
 * --accept-loss it becomes a checkpoint of its own. 0, or the exit code. */
static int journal_look(const struct ls_recover *wanted, const struct ls_record *record, struct chosen *chosen)
{
    struct ls_replay_config config = ls_backup_config(wanted->config);
    char out[LS_CONFIG_PATH_MAX + 32], path[LS_RECOVER_PATH_MAX], name[LS_CHECKPOINT_NAME_MAX];
    char error[LS_REPLAY_ERROR_MAX], why[LS_CHECKPOINTS_ERROR];
    struct ls_replayed replayed;
    int result;

    snprintf(out, sizeof(out), "%s/checkpoints/recovered.lsc", wanted->self->data_dir);
    (void)unlink(out); /* of a recovery that was interrupted */
    config.data_dir = wanted->self->data_dir;
    config.uncommitted = true;
    config.out = wanted->accept_loss ? out : NULL;
    result = ls_replay(&config, &replayed, error);
    if (result == -ENOENT)
        return 0;
    if (result != 0)
        return refuse("its journal cannot be used: %s. To begin with a checkpoint alone: --checkpoint FILE", error);
    printf("Its journal goes on to entry %" PRIu64 ", of which %" PRIu64 " is known to be committed.\n", replayed.seq,
           replayed.committed_seq);
    if (replayed.generation + (record->durable.recovers ? 1u : 0u) != record->durable.generation ||
        replayed.seq <= chosen->info.cut.seq) {
        (void)unlink(out);
        return 0;
    }
    chosen->info.cut.seq = replayed.seq;
    if (!wanted->accept_loss) {
        snprintf(chosen->path, sizeof(chosen->path), "its journal");
        return 0;
    }
    ls_checkpoint_name(replayed.generation, replayed.seq, name);
    if (snprintf(path, sizeof(path), "%s/checkpoints/%s", wanted->self->data_dir, name) >= (int)sizeof(path) ||
        rename(out, path) != 0)
        return refuse("%s cannot be given its name: %s", out, strerror(errno));
    if (file_check(wanted, path, &chosen->info, why) != 0)
        return refuse("%s cannot be used: %s", path, why);
    memcpy(chosen->path, path, sizeof(path));
    return 0;
}

static int choose(const struct ls_recover *wanted, const struct ls_record *record, struct chosen *chosen)
{
    int code = own_look(wanted, record, chosen);

    if (code == 0 && wanted->checkpoint != NULL)
        code = given_take(wanted, chosen);
    else if (code == 0 && !wanted->empty && wanted->config->durability != LS_DURABLE_MEMORY)
        code = journal_look(wanted, record, chosen);
    if (wanted->empty)
        *chosen = (struct chosen){0};
    if (code == 0 && chosen->path[0] == '\0' && !wanted->empty)
        return refuse("no checkpoint here can be used: give one of another node (--checkpoint FILE), recover there, or "
                      "begin with nothing (--empty)");
    return code;
}

/* ---- writing it down ---- */

static int choice_write(const char *data_dir, const char *choice)
{
    char path[LS_CONFIG_PATH_MAX + 32], fresh[LS_CONFIG_PATH_MAX + 40];
    int fd, error = 0;

    snprintf(path, sizeof(path), "%s/recover", data_dir);
    snprintf(fresh, sizeof(fresh), "%s.new", path);
    fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    if (dprintf(fd, "%s\n", choice) != (int)strlen(choice) + 1 || fsync(fd) != 0)
        error = errno != 0 ? -errno : -EIO;
    close(fd);
    if (error == 0 && rename(fresh, path) != 0)
        error = -errno;
    if (error != 0)
        unlink(fresh);
    fd = error == 0 ? open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (error == 0 && (fd < 0 || fsync(fd) != 0))
        error = -errno;
    if (fd >= 0)
        close(fd);
    return error;
}

int ls_recover_choice(const char *data_dir, char path[LS_RECOVER_PATH_MAX], char *error)
{
    char name[LS_CONFIG_PATH_MAX + 32];
    FILE *file;
    bool whole;

    snprintf(name, sizeof(name), "%s/recover", data_dir);
    file = fopen(name, "re");
    if (file == NULL) {
        int result = -errno;

        snprintf(error, LS_RECORD_ERROR_MAX, "%s cannot be opened: %s", name, strerror(-result));
        return result;
    }
    whole = fgets(path, LS_RECOVER_PATH_MAX, file) != NULL;
    fclose(file);
    path[whole ? strcspn(path, "\n") : 0] = '\0';
    if (whole && strcmp(path, EMPTY) == 0) {
        path[0] = '\0';
        return 0;
    }
    if (path[0] == '/')
        return 0;
    snprintf(error, LS_RECORD_ERROR_MAX, "%s names neither a file by its whole path nor \"" EMPTY "\"", name);
    return -EINVAL;
}

/* This node as the cluster's only voter, at the addresses that the cluster file has for it. */
static struct ls_membership alone(const struct ls_recover *wanted)
{
    struct ls_membership all, members = {.count = 1};

    ls_config_membership(wanted->config, &all);
    members.member[0] = *ls_membership_find(&all, wanted->self->id);
    members.member[0].role = LS_MEMBER_VOTER;
    return members;
}

static uint64_t at_least(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Above everything that is known of; one that was never begun is used again. */
static struct ls_durable begin(const struct ls_recover *wanted, const struct ls_record *record,
                               const struct chosen *chosen)
{
    const struct ls_cut *cut = &chosen->info.cut;
    struct ls_durable durable = record->durable;
    uint64_t past = durable.generation - (durable.recovers ? 1u : 0u);

    durable.generation = (uint32_t)at_least(past, chosen->info.generation) + 1;
    durable.promise = at_least(durable.promise, cut->epochs > 0 ? cut->epoch[cut->epochs - 1].epoch : 0);
    durable.vote = 0;
    durable.counts = 0;
    durable.founder = false;
    durable.recovers = true;
    durable.members = alone(wanted);
    return durable;
}

static void next_print(const struct ls_recover *wanted, uint32_t generation)
{
    printf(
        "\nNode %u begins generation %" PRIu32 " of the cluster when it is started. Then:\n"
        "  1. Say \"generation: %" PRIu32 "\" under \"cluster:\" in the cluster file, on every node and every client.\n"
        "     Until they have it clients get no answer: their frames are dropped.\n"
        "  2. Start lockstep-ctrl here. lockstep status shows it as the sequencer.\n"
        "  3. On each other node: stop it, keep its checkpoints elsewhere if you want them, remove everything in its\n"
        "     data_dir, lockstep-ctrl join, and start it. Then lockstep member add, for one after the other.\n",
        wanted->self->id, generation, generation);
}

static int write_down(const struct ls_recover *wanted, struct ls_record *record, const struct chosen *chosen)
{
    struct ls_durable durable;
    int error;

    if (at_least(record->durable.generation, chosen->info.generation) == UINT32_MAX)
        return refuse("there is no generation above %" PRIu32 ": begin a new cluster", UINT32_MAX);
    durable = begin(wanted, record, chosen);
    error = choice_write(wanted->self->data_dir, chosen->path[0] != '\0' ? chosen->path : EMPTY);
    if (error != 0)
        return refuse("%s/recover cannot be written: %s", wanted->self->data_dir, strerror(-error));
    error = ls_record_write(record, &durable);
    if (error != 0) {
        fprintf(stderr,
                "lockstep-ctrl: %s cannot be written: %s. What it says now is not known: look at the disk, then "
                "recover again\n",
                record->path, strerror(-error));
        return 1;
    }
    next_print(wanted, durable.generation);
    return 0;
}

/* ---- all of it ---- */

static int recover(const struct ls_recover *wanted, struct ls_record *record)
{
    struct chosen chosen = {0};
    int code;

    record_print(wanted, record);
    code = choose(wanted, record, &chosen);
    if (code != 0)
        return code;
    loss_print(&chosen);
    fflush(stdout);
    if (!wanted->accept_loss)
        return refuse("--accept-loss is needed to do it");
    return write_down(wanted, record, &chosen);
}

int ls_recover(const struct ls_recover *wanted)
{
    char error[LS_RECORD_ERROR_MAX];
    struct ls_record record;
    int code;

    if (ls_record_open(&record, wanted->self->data_dir, wanted->config->cluster, wanted->self->id, error) != 0)
        return refuse("%s", error);
    code = dataplane_check(wanted);
    if (code == 0)
        code = recover(wanted, &record);
    ls_record_close(&record);
    return code;
}
