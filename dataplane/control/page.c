/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Makes the counters page under another name and moves it into place when it is complete, so that nobody maps half a
 * page, and a reader of the previous incarnation's keeps its own file. Main thread, at start.
 */
#include "page.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../workers/clock.h"

/* Memory is taken now: a write to a full tmpfs later would be a SIGBUS in a worker. */
static int file_make(const char *path, struct ls_counters_page **page)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    int error;
    void *map;

    if (fd < 0)
        return -errno;
    error = posix_fallocate(fd, 0, sizeof(**page));
    if (error == 0) {
        map = mmap(NULL, sizeof(**page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
        if (map == MAP_FAILED)
            error = errno;
        else
            *page = map;
    }
    close(fd);
    if (error != 0)
        unlink(path);
    return -error;
}

struct ls_counters_page *ls_page_create(const char *path, uint64_t cluster, uint32_t node, uint64_t incarnation,
                                        char *error, size_t error_size)
{
    struct ls_counters_page *page = NULL;
    char fresh[1024];
    int result;

    if ((size_t)snprintf(fresh, sizeof(fresh), "%s.new", path) >= sizeof(fresh)) {
        snprintf(error, error_size, "counters page: path of %zu characters is too long", strlen(path));
        return NULL;
    }
    unlink(fresh); /* of a start that was cut short; the node's lock is ours */
    result = file_make(fresh, &page);
    if (result != 0) {
        snprintf(error, error_size, "counters page %s cannot be made: %s (%zu bytes are needed)", fresh,
                 strerror(-result), sizeof(*page));
        return NULL;
    }
    page->magic = LS_PAGE_MAGIC;
    page->size = sizeof(*page);
    page->counters = LS_COUNTERS;
    page->cluster = cluster;
    page->incarnation = incarnation;
    page->pid = (uint64_t)getpid();
    page->start_ns = ls_now_ns();
    page->node = node;
    for (int i = 0; i < LS_WORKERS; i++)
        atomic_store_explicit(&page->worker[i].cpu, UINT64_MAX, memory_order_relaxed);
    if (rename(fresh, path) != 0) {
        snprintf(error, error_size, "counters page %s cannot be made: %s", path, strerror(errno));
        unlink(fresh);
        ls_page_close(page);
        return NULL;
    }
    return page;
}

void ls_page_close(struct ls_counters_page *page)
{
    munmap(page, sizeof(*page));
}
