/* SPDX-License-Identifier: BSD-3-Clause */
/* The counters page: whole when it appears, new at each start, and an error where it cannot be made. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "page.h"

static void test_page(void **state)
{
    char folder[] = "/tmp/lockstep-page-XXXXXX", path[128], error[256];
    static struct ls_counters_page seen;
    struct ls_counters_page *page, *next;
    int fd;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/page", folder);
    page = ls_page_create(path, 77, 3, 8, error, sizeof(error));
    assert_non_null(page);
    atomic_store(&page->worker[1].heartbeat, 5);
    fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, &seen, sizeof(seen)), sizeof(seen));
    assert_int_equal(seen.magic, LS_PAGE_MAGIC);
    assert_int_equal(seen.size, sizeof(seen));
    assert_int_equal(seen.counters, LS_COUNTERS);
    assert_int_equal(seen.cluster, 77);
    assert_int_equal(seen.node, 3);
    assert_int_equal(seen.incarnation, 8);
    assert_int_equal(seen.pid, getpid());
    assert_int_equal(seen.worker[1].heartbeat, 5);
    assert_int_equal(seen.worker[2].cpu, UINT64_MAX);
    /* the next start makes a new one; who has the old one open keeps it */
    next = ls_page_create(path, 77, 3, 9, error, sizeof(error));
    assert_non_null(next);
    assert_int_equal(next->worker[1].heartbeat, 0);
    assert_int_equal(pread(fd, &seen, sizeof(seen), 0), sizeof(seen));
    assert_int_equal(seen.incarnation, 8);
    close(fd);
    ls_page_close(page);
    ls_page_close(next);
    unlink(path);
    rmdir(folder);
    assert_null(ls_page_create(path, 77, 3, 9, error, sizeof(error)));
    assert_non_null(strstr(error, "No such file or directory"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_page)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
