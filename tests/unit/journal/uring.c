/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The journal on real files in a directory of the test's own: a process that writes is killed at moments that differ,
 * and what it had called durable is found again; foreign and missing files; trimming.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "resume.h"
#include "rig.h"
#include "uring.h"
#include "writer.h"

#define RING    (256 * 1024)
#define SEGMENT (1024 * 1024)

static char directory[64];
static const struct ls_journal_identity identity = {.cluster = 7, .generation = 1, .node = 1, .segment_size = SEGMENT};

static void say(const char *line)
{
    print_message("%s\n", line);
}

static int setup(void **state)
{
    (void)state;
    strcpy(directory, "journal-test-XXXXXX"); /* beside the test: /tmp may be a file system without O_DIRECT */
    return mkdtemp(directory) == NULL;
}

static int teardown(void **state)
{
    DIR *dir = opendir(directory);
    struct dirent *entry;
    (void)state;
    while (dir != NULL && (entry = readdir(dir)) != NULL)
        (void)unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir != NULL)
        closedir(dir);
    return rmdir(directory);
}

static struct ls_uring *uring_open(void)
{
    struct ls_uring_config config = {.directory = directory, .identity = identity, .say = say};
    struct ls_uring *uring = NULL;
    char error[LS_URING_ERROR_MAX] = "";
    if (ls_uring_create(&config, &uring, error) != 0)
        print_error("%s\n", error);
    assert_non_null(uring);
    return uring;
}

/* Log, seam, executor and the journal, resumed from what is there. */
struct node {
    struct ls_uring *uring;
    struct rig rig;
    struct ls_journal_state state;
    struct ls_journal *journal;
};

static void node_begin(struct node *n, uint64_t incarnation)
{
    char error[LS_JOURNAL_ERROR_MAX];
    memset(n, 0, sizeof(*n));
    n->uring = uring_open();
    rig_begin(&n->rig, RING, incarnation);
    int loaded = ls_journal_state_load(ls_uring_disk(n->uring), &identity, &n->state, error);
    if (loaded == LS_JOURNAL_RIGHT) {
        int result = ls_journal_replay(ls_uring_disk(n->uring), &identity, &n->state, &n->rig.log, &n->rig.seam,
                                       n->rig.executor, error);
        if (result != 0)
            print_error("%s\n", error);
        assert_int_equal(result, 0);
        assert_int_equal(ls_uring_sync(n->uring, n->rig.log.end / SEGMENT), 0);
    } else {
        assert_int_equal(loaded, LS_JOURNAL_ABSENT);
    }
    struct ls_journal_config config = {.identity = identity, .incarnation = incarnation, .since = 1};
    n->journal = ls_journal_create(&config, &n->state, ls_uring_disk(n->uring), &n->rig.log, &n->rig.seam);
    assert_non_null(n->journal);
}

static void node_end(struct node *n)
{
    ls_journal_destroy(n->journal);
    ls_uring_destroy(n->uring);
    rig_end(&n->rig);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* Writes without end, commits what is durable, and tells both through the pipe. */
static void child(uint64_t incarnation, int told)
{
    static struct node n;
    static const uint8_t bytes[300];
    alarm(60);
    node_begin(&n, incarnation);
    struct ls_entry opening = {.kind = LS_ENTRY_EPOCH};
    struct ls_entry_epoch epoch = {.epoch = incarnation, .incarnation = incarnation, .sequencer = 1};
    ls_log_append(&n.rig.log, &opening, &epoch, sizeof(epoch));
    for (uint64_t k = 0, last = 0;; k++) {
        uint64_t durable = atomic_load(&n.rig.seam.durable), floor = atomic_load(&n.rig.seam.applied);
        uint64_t seq = ls_log_seq_at(&n.rig.log, durable);
        if (seq != 0 && durable > atomic_load(&n.rig.seam.commit))
            atomic_store(&n.rig.seam.commit, durable);
        (void)ls_executor_turn(n.rig.executor, 0);
        floor = floor < atomic_load(&n.rig.seam.marked) ? floor : atomic_load(&n.rig.seam.marked);
        if (durable > last) {
            ssize_t written = write(told, &durable, sizeof(durable));
            last = written == sizeof(durable) ? durable : last;
        }
        struct ls_entry header = {.kind = LS_ENTRY_OPERATION, .time = k, .session = 1, .number = k};
        header.time = n.rig.log.last_time;
        if (k % 3 == 0 && n.rig.log.end + 512 <= (floor & ~4095ull) + RING)
            ls_log_append(&n.rig.log, &header, bytes, (uint32_t)(k % 300));
        (void)ls_journal_poll(n.journal, now());
        if (atomic_load(&n.rig.seam.journal_error) != 0)
            _exit(3);
    }
}

static void test_killed(void **state)
{
    (void)state;
    uint64_t told = 0;
    for (uint64_t life = 1; life <= 12; life++) {
        int ends[2];
        uint64_t position, enough = told + (life * 37 % 11) * 100000;
        assert_int_equal(pipe(ends), 0);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            child(life, ends[1]);
        close(ends[1]);
        while (told <= enough && read(ends[0], &position, sizeof(position)) == sizeof(position))
            told = position;
        kill(pid, SIGKILL);
        while (read(ends[0], &position, sizeof(position)) == sizeof(position))
            told = position;
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        close(ends[0]);
        static struct node n;
        node_begin(&n, life + 1000);
        assert_true(n.rig.log.end + 364 > told); /* it may stand within an entry, which the log leaves out */
        assert_true(atomic_load(&n.rig.seam.commit) <= told);
        node_end(&n);
    }
    assert_true(told > SEGMENT);
}

static void test_foreign(void **state)
{
    (void)state;
    char error[LS_JOURNAL_ERROR_MAX];
    static struct node n;
    node_begin(&n, 1);
    struct ls_entry header = {.kind = LS_ENTRY_TICK};
    ls_log_append(&n.rig.log, &header, NULL, 0);
    for (uint64_t end = now() + 20000000000ull; now() < end && !ls_journal_finish(n.journal, now());)
        continue;
    assert_int_equal(atomic_load(&n.rig.seam.durable), n.rig.log.end);
    node_end(&n);
    struct ls_uring *uring = uring_open();
    struct ls_journal_state found;
    static const struct {
        struct ls_journal_identity identity;
        enum ls_journal_wrong wrong;
        const char *text;
    } foreign[] = {
        {{.cluster = 8, .generation = 1, .node = 1, .segment_size = SEGMENT}, LS_JOURNAL_CLUSTER, "another cluster"},
        {{.cluster = 7, .generation = 1, .node = 2, .segment_size = SEGMENT}, LS_JOURNAL_NODE, "another node"},
        {{.cluster = 7, .generation = 2, .node = 1, .segment_size = SEGMENT}, LS_JOURNAL_OLDER, "older generation"},
        {{.cluster = 7, .generation = 0, .node = 1, .segment_size = SEGMENT},
         LS_JOURNAL_GENERATION,
         "later generation"},
        {{.cluster = 7, .generation = 1, .node = 1, .segment_size = SEGMENT * 2}, LS_JOURNAL_SIZE, "segment size"},
    };
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        assert_int_equal(ls_journal_state_load(ls_uring_disk(uring), &foreign[i].identity, &found, error),
                         foreign[i].wrong);
        assert_non_null(strstr(error, foreign[i].text));
    }
    assert_int_equal(ls_journal_state_load(ls_uring_disk(uring), &identity, &found, error), LS_JOURNAL_RIGHT);
    assert_int_equal(found.clean, 1);
    ls_uring_destroy(uring);
}

static bool exists(uint64_t number)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/segment-%016lx", directory, number);
    return access(path, F_OK) == 0;
}

static void wait_for(bool (*what)(uint64_t), uint64_t number, bool is)
{
    for (int i = 0; i < 20000 && what(number) != is; i++)
        usleep(1000);
    assert_int_equal(what(number), is);
}

/* The next one is made ahead; a jump makes no more than it needs; what is below goes. */
static void test_segments(void **state)
{
    (void)state;
    struct ls_uring *uring = uring_open();
    struct ls_journal_disk *disk = ls_uring_disk(uring);
    (void)disk->segment(disk, 0);
    wait_for(exists, 1, true);
    assert_int_equal(disk->segment(disk, 0), 1);
    (void)disk->segment(disk, 100);
    wait_for(exists, 101, true);
    assert_false(exists(2));
    assert_false(exists(99));
    disk->trim(disk, 100);
    wait_for(exists, 1, false);
    wait_for(exists, 0, false);
    assert_true(exists(100));
    ls_uring_destroy(uring);
}

static char said[512];

static void say_kept(const char *line)
{
    snprintf(said, sizeof(said), "%s", line);
}

/* A segment that finds no room: named, and nothing half made is left; and a place where there can be no journal. */
static void test_no_room(void **state)
{
    (void)state;
    struct ls_uring_config config = {.directory = directory, .identity = identity, .say = say_kept};
    struct ls_uring *uring = NULL;
    char error[LS_URING_ERROR_MAX] = "", path[128];
    struct rlimit before, small = {.rlim_cur = SEGMENT / 2, .rlim_max = RLIM_INFINITY};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(ls_uring_create(&config, &uring, error), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    struct ls_journal_disk *disk = ls_uring_disk(uring);
    int there = 0;
    for (int i = 0; i < 20000 && (there = disk->segment(disk, 0)) == 0; i++)
        usleep(1000);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(there, -EFBIG);
    ls_uring_destroy(uring);
    assert_non_null(strstr(said, "segment 0 of the journal cannot be made in"));
    assert_false(exists(0));
    snprintf(path, sizeof(path), "%s/segment-%016x.partial", directory, 0);
    assert_int_equal(access(path, F_OK), -1);
    snprintf(path, sizeof(path), "%s/none/journal", directory);
    config.directory = path;
    assert_int_equal(ls_uring_create(&config, &uring, error), -ENOENT);
    assert_non_null(strstr(error, "look at data_dir"));
}

int main(void)
{
    alarm(100); /* whatever hangs */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_killed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign, setup, teardown),
        cmocka_unit_test_setup_teardown(test_segments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_room, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
