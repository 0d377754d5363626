/* SPDX-License-Identifier: BSD-3-Clause */
/* What checkpoints a directory holds. See checkpoint.h. */
#include "checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define PATH_ROOM 1200

/* Newest first; where there is no room the oldest one gives way. */
static void insert(struct ls_checkpoint_found *list, uint32_t *n, uint32_t max, const struct ls_checkpoint_found *found)
{
    uint32_t at = *n;
    while (at > 0 && list[at - 1].info.cut.seq < found->info.cut.seq)
        at--;
    if (at == max)
        return;
    *n += *n < max;
    memmove(&list[at + 1], &list[at], (*n - 1 - at) * sizeof(*list));
    list[at] = *found;
}

uint32_t ls_checkpoint_list(const char *directory, bool (*wanted)(void *user, const struct ls_checkpoint_info *info),
                            void *user, void (*say)(const char *line), struct ls_checkpoint_found *list, uint32_t max)
{
    DIR *files = opendir(directory);
    struct dirent *entry;
    uint32_t n = 0, generation;
    uint64_t seq;
    if (files == NULL)
        return 0;
    while ((entry = readdir(files)) != NULL) {
        struct ls_checkpoint_found found;
        char path[PATH_ROOM], error[512];
        struct stat info;
        if (!ls_checkpoint_name_read(entry->d_name, &generation, &seq))
            continue;
        snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
        if (ls_checkpoint_file_info(path, &found.info, error) != 0) {
            if (say != NULL)
                say(error);
            continue;
        }
        if (!wanted(user, &found.info))
            continue;
        ls_checkpoint_name(generation, seq, found.name);
        found.bytes = stat(path, &info) == 0 ? (uint64_t)info.st_size : 0;
        insert(list, &n, max, &found);
    }
    closedir(files);
    return n;
}
