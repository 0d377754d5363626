/* SPDX-License-Identifier: BSD-3-Clause */
/* See checkpoints.h. */
#include "checkpoints.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "job.h"

#define NEW_NAME "new.lsc"

struct verify_arguments {
    char path[LS_CHECKPOINTS_PATH_MAX];
    struct ls_checkpoint_file file;
    const struct ls_checkpoint_format *format;
    uint64_t cluster;
};

struct ls_checkpoints {
    struct event_base *base;
    char directory[LS_CHECKPOINTS_PATH_MAX - LS_CHECKPOINT_NAME_MAX - 16];
    uint64_t cluster;
    uint32_t generation;
    const struct ls_checkpoint_format *format;
    uint32_t count;
    struct ls_checkpoint_file file[LS_CHECKPOINTS_MAX];
    struct ls_job *job; /* verification under way */
    ls_checkpoints_verified done;
    void *user;
};

const char *ls_checkpoint_state_name(enum ls_checkpoint_state state)
{
    switch (state) {
    case LS_CHECKPOINT_UNVERIFIED:
        return "unverified";
    case LS_CHECKPOINT_GOOD:
        return "good";
    case LS_CHECKPOINT_DAMAGED:
        return "damaged";
    case LS_CHECKPOINT_FOREIGN:
        return "foreign";
    }
    return "?";
}

bool ls_checkpoints_path(const struct ls_checkpoints *c, const char *name, char path[LS_CHECKPOINTS_PATH_MAX])
{
    uint32_t generation;
    uint64_t seq;

    if (!ls_checkpoint_name_read(name, &generation, &seq))
        return false;
    snprintf(path, LS_CHECKPOINTS_PATH_MAX, "%s/%s", c->directory, name);
    return true;
}

const char *ls_checkpoints_directory(const struct ls_checkpoints *c)
{
    return c->directory;
}

const struct ls_checkpoint_format *ls_checkpoints_format(const struct ls_checkpoints *c)
{
    return c->format;
}

void ls_checkpoints_new_path(const struct ls_checkpoints *c, char path[LS_CHECKPOINTS_PATH_MAX])
{
    snprintf(path, LS_CHECKPOINTS_PATH_MAX, "%s/%s", c->directory, NEW_NAME);
}

const struct ls_checkpoint_format ls_checkpoint_files = {ls_checkpoint_file_info, ls_checkpoint_file_verify};

/* ---- what there is ---- */

static const struct ls_checkpoint_file *known(const struct ls_checkpoint_file *files, uint32_t count, const char *name)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(files[i].name, name) == 0)
            return &files[i];
    return NULL;
}

static enum ls_checkpoint_state info_judge(const struct ls_checkpoint_info *info, uint64_t cluster,
                                           const struct ls_checkpoint_file *file)
{
    if (info->cluster != cluster || info->generation != file->generation || info->cut.seq != file->seq)
        return LS_CHECKPOINT_FOREIGN;
    return LS_CHECKPOINT_GOOD;
}

static uint64_t identity_of(const struct stat *status)
{
    return ((uint64_t)status->st_ino << 32) ^ (uint64_t)status->st_ctim.tv_sec * 1000000000ull ^
           (uint64_t)status->st_ctim.tv_nsec;
}

/* Fills in what the file itself says. False: it cannot be read just now. */
static bool file_look(const struct ls_checkpoints *c, const char *path, const struct stat *status,
                      struct ls_checkpoint_file *file)
{
    struct ls_checkpoint_info info = {0};
    char error[LS_CHECKPOINTS_ERROR] = "";
    int result = c->format->info(path, &info, error);

    file->size = (uint64_t)status->st_size;
    file->made_s = (int64_t)status->st_mtim.tv_sec;
    file->identity = identity_of(status);
    if (result != 0) {
        file->state = LS_CHECKPOINT_DAMAGED;
        return result == -EBADMSG || result == -EPROTO;
    }
    file->state = info_judge(&info, c->cluster, file);
    if (file->state == LS_CHECKPOINT_GOOD)
        file->state = LS_CHECKPOINT_UNVERIFIED;
    file->position = info.cut.position;
    file->digest = info.cut.digest;
    snprintf(file->machine, sizeof(file->machine), "%.15s", info.machine);
    return true;
}

/* -1: `a` is the newer one. */
static int newer(const void *a, const void *b)
{
    const struct ls_checkpoint_file *x = a, *y = b;

    if (x->generation != y->generation)
        return x->generation > y->generation ? -1 : 1;
    return x->seq > y->seq ? -1 : x->seq < y->seq;
}

/* Keeps the newest ones where there are too many. */
static void list_add(struct ls_checkpoints *c, const struct ls_checkpoint_file *file)
{
    if (c->count < LS_CHECKPOINTS_MAX)
        c->file[c->count++] = *file;
    else if (newer(file, &c->file[c->count - 1]) < 0)
        c->file[c->count - 1] = *file;
    else
        return;
    qsort(c->file, c->count, sizeof(c->file[0]), newer);
}

int ls_checkpoints_scan(struct ls_checkpoints *c)
{
    struct ls_checkpoint_file before[LS_CHECKPOINTS_MAX];
    uint32_t count = c->count;
    DIR *directory = opendir(c->directory);
    struct dirent *entry;

    if (directory == NULL)
        return -errno;
    memcpy(before, c->file, sizeof(before));
    c->count = 0;
    while ((entry = readdir(directory)) != NULL) {
        struct ls_checkpoint_file file = {0};
        const struct ls_checkpoint_file *old = known(before, count, entry->d_name);
        char path[LS_CHECKPOINTS_PATH_MAX];
        struct stat status;

        if (!ls_checkpoint_name_read(entry->d_name, &file.generation, &file.seq) ||
            !ls_checkpoints_path(c, entry->d_name, path) || stat(path, &status) != 0 || !S_ISREG(status.st_mode))
            continue;
        snprintf(file.name, sizeof(file.name), "%.63s", entry->d_name);
        if (old != NULL && old->identity == identity_of(&status))
            file = *old;
        else if (!file_look(c, path, &status, &file))
            continue;
        list_add(c, &file);
    }
    closedir(directory);
    return 0;
}

/* Nobody writes yet: what is not whole will never be. */
static void leftovers_remove(const struct ls_checkpoints *c)
{
    DIR *directory = opendir(c->directory);
    struct dirent *entry;

    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        size_t length = strlen(entry->d_name);

        if (strcmp(entry->d_name, NEW_NAME) == 0 || (length > 8 && strcmp(entry->d_name + length - 8, ".partial") == 0))
            (void)unlinkat(dirfd(directory), entry->d_name, 0);
    }
    if (directory != NULL)
        closedir(directory);
}

struct ls_checkpoints *ls_checkpoints_open(struct event_base *base, const char *data_dir, uint64_t cluster,
                                           uint32_t generation, const struct ls_checkpoint_format *format, char *error)
{
    struct ls_checkpoints *c = calloc(1, sizeof(*c));
    int result;

    if (c == NULL) {
        snprintf(error, LS_CHECKPOINTS_ERROR, "out of memory");
        return NULL;
    }
    c->base = base;
    c->cluster = cluster;
    c->generation = generation;
    c->format = format;
    if ((size_t)snprintf(c->directory, sizeof(c->directory), "%s/checkpoints", data_dir) >= sizeof(c->directory)) {
        snprintf(error, LS_CHECKPOINTS_ERROR, "the path of data_dir is too long: at most %zu bytes",
                 sizeof(c->directory) - 13);
        free(c);
        return NULL;
    }
    result = mkdir(c->directory, 0755) != 0 && errno != EEXIST ? -errno : 0;
    if (result == 0) {
        leftovers_remove(c);
        result = ls_checkpoints_scan(c);
    }
    if (result != 0) {
        snprintf(error, LS_CHECKPOINTS_ERROR, "%.400s cannot be used: %s", c->directory, strerror(-result));
        free(c);
        return NULL;
    }
    return c;
}

void ls_checkpoints_close(struct ls_checkpoints *c)
{
    if (c == NULL)
        return;
    ls_job_abandon(c->job);
    free(c);
}

const struct ls_checkpoint_file *ls_checkpoints_list(const struct ls_checkpoints *c, uint32_t *count)
{
    *count = c->count;
    return c->file;
}

const struct ls_checkpoint_file *ls_checkpoints_find(const struct ls_checkpoints *c, const char *name)
{
    return known(c->file, c->count, name);
}

const struct ls_checkpoint_file *ls_checkpoints_newest(const struct ls_checkpoints *c, uint64_t position)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (c->file[i].generation == c->generation && c->file[i].position >= position &&
            (c->file[i].state == LS_CHECKPOINT_GOOD || c->file[i].state == LS_CHECKPOINT_UNVERIFIED))
            return &c->file[i];
    return NULL;
}

/* ---- made, verified, removed ---- */

static int directory_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), result;

    if (fd < 0)
        return -errno;
    result = fsync(fd) == 0 ? 0 : -errno;
    close(fd);
    return result;
}

int ls_checkpoints_adopt(struct ls_checkpoints *c, char *error)
{
    char from[LS_CHECKPOINTS_PATH_MAX], to[LS_CHECKPOINTS_PATH_MAX], name[LS_CHECKPOINT_NAME_MAX];
    struct ls_checkpoint_info info = {0};
    int result;

    ls_checkpoints_new_path(c, from);
    result = c->format->info(from, &info, error);
    if (result != 0)
        return result;
    if (info.cluster != c->cluster || info.generation != c->generation) {
        snprintf(error, LS_CHECKPOINTS_ERROR, "the dataplane wrote a checkpoint of another cluster or generation");
        return -EXDEV;
    }
    ls_checkpoint_name(info.generation, info.cut.seq, name);
    (void)ls_checkpoints_path(c, name, to);
    result = rename(from, to) == 0 ? directory_sync(c->directory) : -errno;
    if (result == 0)
        result = ls_checkpoints_scan(c);
    if (result != 0)
        snprintf(error, LS_CHECKPOINTS_ERROR, "%s in %.300s: %s", name, c->directory, strerror(-result));
    for (uint32_t i = 0; result == 0 && i < c->count; i++)
        if (strcmp(c->file[i].name, name) == 0)
            c->file[i].fresh = true;
    return result;
}

static int verify_work(void *arguments, char *error)
{
    struct verify_arguments *v = arguments;
    struct ls_checkpoint_info info = {0};
    int result = v->format->verify(v->path, &info, error);

    if (result != 0)
        return result;
    if (info_judge(&info, v->cluster, &v->file) == LS_CHECKPOINT_GOOD)
        return 0;
    snprintf(error, LS_JOB_ERROR_MAX, "%s is of another cluster, or another checkpoint than its name says",
             v->file.name);
    return -EXDEV;
}

static void on_verified(void *user, void *arguments, int result, const char *error)
{
    struct verify_arguments *v = arguments;
    struct ls_checkpoints *c = user;
    enum ls_checkpoint_state state = LS_CHECKPOINT_GOOD;

    if (result == -EXDEV)
        state = LS_CHECKPOINT_FOREIGN;
    else if (result == -EBADMSG || result == -EPROTO || result == -EIO)
        state = LS_CHECKPOINT_DAMAGED;
    else if (result != 0)
        state = LS_CHECKPOINT_UNVERIFIED; /* not read to its end, but it may be: nothing is known */
    c->job = NULL;
    for (uint32_t i = 0; i < c->count; i++)
        if (strcmp(c->file[i].name, v->file.name) == 0 && c->file[i].identity == v->file.identity) {
            c->file[i].state = state;
            c->file[i].fresh = c->file[i].fresh && result == 0;
        }
    c->done(c->user, v->file.name, state, result == 0 ? "" : error);
}

int ls_checkpoints_verify(struct ls_checkpoints *c, const char *name, ls_checkpoints_verified done, void *user)
{
    const struct ls_checkpoint_file *file;
    struct verify_arguments arguments = {.format = c->format, .cluster = c->cluster};
    char copy[LS_CHECKPOINT_NAME_MAX]; /* `name` may be one of the list's */

    if (c->job != NULL)
        return -EBUSY;
    /* What is found out is of the file as it is now, not as it was when last looked at. */
    snprintf(copy, sizeof(copy), "%s", name);
    (void)ls_checkpoints_scan(c);
    file = ls_checkpoints_find(c, copy);
    if (file == NULL)
        return -ENOENT;
    arguments.file = *file;
    (void)ls_checkpoints_path(c, copy, arguments.path);
    c->done = done;
    c->user = user;
    c->job = ls_job_start(c->base, verify_work, on_verified, c, &arguments, sizeof(arguments));
    return c->job == NULL ? -ENOMEM : 0;
}

void ls_checkpoints_trust(struct ls_checkpoints *c, const char *name)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (strcmp(c->file[i].name, name) == 0)
            c->file[i].state = LS_CHECKPOINT_GOOD;
}

void ls_checkpoints_doubt(struct ls_checkpoints *c, const char *name)
{
    for (uint32_t i = 0; i < c->count; i++)
        if (strcmp(c->file[i].name, name) == 0) {
            c->file[i].fresh = false;
            if (c->file[i].state == LS_CHECKPOINT_GOOD)
                c->file[i].state = LS_CHECKPOINT_UNVERIFIED;
        }
}

uint32_t ls_checkpoints_prune(struct ls_checkpoints *c, uint32_t keep)
{
    uint32_t good = 0, removed = 0;

    for (uint32_t i = 0; i < c->count; i++) {
        char path[LS_CHECKPOINTS_PATH_MAX];

        if (c->file[i].generation != c->generation)
            continue;
        if (good >= keep && keep > 0 && ls_checkpoints_path(c, c->file[i].name, path) && unlink(path) == 0)
            removed++;
        else if (c->file[i].state == LS_CHECKPOINT_GOOD)
            good++;
    }
    if (removed > 0)
        (void)ls_checkpoints_scan(c);
    return removed;
}
