/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A node's start, on real files: what comes back, with and without checkpoints; what is refused, what is set aside, and
 * that a disk which nobody understands stays as it is.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../../dataplane/state/checkpoint.h"
#include "history.h"
#include "restart.h"
#include "rig.h"
#include "wire.h"

#define RING    (256u * 1024)
#define SEGMENT (1024u * 1024)
#define PROMISE 9

static char place[64]; /* data_dir */
static char said[4096];

static void say(const char *line)
{
    size_t used = strlen(said);
    snprintf(said + used, sizeof(said) - used, "%s\n", line);
}

static void remove_all(const char *path)
{
    char command[200];
    snprintf(command, sizeof(command), "rm -rf %s", path);
    assert_int_equal(system(command), 0);
}

static int setup(void **state)
{
    char checkpoints[96];
    (void)state;
    strcpy(place, "restart-test-XXXXXX"); /* beside the test: /tmp may be a file system without O_DIRECT */
    if (mkdtemp(place) == NULL)
        return 1;
    snprintf(checkpoints, sizeof(checkpoints), "%s/checkpoints", place);
    return mkdir(checkpoints, 0700);
}

static int teardown(void **state)
{
    (void)state;
    remove_all(place);
    return 0;
}

/* ---- a node ---- */

struct start {
    uint64_t incarnation, counts, promise;
    uint32_t generation;
    uint16_t node;
    uint64_t cluster, segment;
    bool behind;
};

static const struct start usual = {
    .incarnation = 1, .counts = 0, .promise = PROMISE, .generation = 1, .node = 1, .cluster = 7, .segment = SEGMENT};

struct node {
    struct rig rig;
    struct ls_restart restart;
    char error[LS_RESTART_ERROR_MAX];
};

static int begin(struct node *n, const struct start *start)
{
    struct ls_restart_config config = {.data_dir = place,
                                       .identity = {.cluster = start->cluster,
                                                    .generation = start->generation,
                                                    .node = start->node,
                                                    .segment_size = start->segment},
                                       .incarnation = start->incarnation,
                                       .counts = start->counts,
                                       .promise = start->promise,
                                       .behind = start->behind,
                                       .type = &ls_kv,
                                       .limits = rig_limits,
                                       .grace = &n->rig.grace,
                                       .sessions_max = 16,
                                       .log = &n->rig.log,
                                       .seam = &n->rig.seam,
                                       .say = say};
    memset(n, 0, sizeof(*n));
    said[0] = '\0';
    rig_begin_with(&n->rig, &ls_kv, RING, start->incarnation);
    config.executor = n->rig.executor;
    return ls_restart(&config, &n->rig.machine, &n->restart, n->error);
}

static void begin_good(struct node *n, const struct start *start)
{
    int code = begin(n, start);
    if (code != 0)
        print_error("%s\n", n->error);
    assert_int_equal(code, 0);
    assert_true(ls_journal_is_owned(n->restart.journal));
}

/* In good order, or as if the power had failed: what was durable is there. */
static void end(struct node *n, bool clean)
{
    if (clean)
        assert_true(ls_restart_end(&n->restart));
    ls_feeder_stop(n->restart.feeder);
    ls_journal_destroy(n->restart.journal);
    ls_disk_fault_destroy(n->restart.disk_fault);
    ls_uring_destroy(n->restart.uring);
    rig_end(&n->rig);
}

static void end_refused(struct node *n)
{
    assert_null(n->restart.journal);
    ls_uring_destroy(n->restart.uring);
    rig_end(&n->rig);
}

static uint64_t now(void)
{
    static uint64_t time;
    usleep(50);
    return time += 1000000;
}

static void durable_wait(struct node *n)
{
    for (int i = 0; i < 200000; i++) {
        (void)ls_journal_poll(n->restart.journal, now());
        assert_int_equal(atomic_load(&n->rig.seam.journal_error), 0);
        if (atomic_load(&n->rig.seam.durable) == n->rig.log.end &&
            atomic_load(&n->rig.seam.marked) == atomic_load(&n->rig.seam.commit))
            return;
    }
    fail_msg("the disk does not get on");
}

static void commit_all(struct node *n)
{
    atomic_store(&n->rig.seam.commit, n->rig.log.end);
    while (atomic_load(&n->rig.seam.applied) < n->rig.log.end)
        (void)ls_executor_turn(n->rig.executor, 0);
}

static void append_some(struct node *n, uint64_t epoch, uint32_t count)
{
    static const uint8_t bytes[200];
    struct ls_entry header = {.kind = LS_ENTRY_EPOCH, .time = n->rig.log.last_time + 1};
    struct ls_entry_epoch opening = {.epoch = epoch, .incarnation = 3, .sequencer = 1};
    if (ls_log_last_epoch(&n->rig.log) < epoch)
        ls_log_append(&n->rig.log, &header, &opening, sizeof(opening));
    header = (struct ls_entry){.kind = LS_ENTRY_OPERATION, .session = 1, .ip = 1, .port = 1};
    for (uint32_t i = 0; i < count; i++) {
        header.time = n->rig.log.last_time + 1;
        header.number = i + 1;
        ls_log_append(&n->rig.log, &header, bytes, 100 + i % 100);
    }
}

static void write_some(struct node *n, uint64_t epoch, uint32_t count)
{
    append_some(n, epoch, count);
    commit_all(n);
    durable_wait(n);
}

/* As bulk and ctrl make one together. */
static void checkpoint(struct node *n, uint32_t generation)
{
    static struct ls_cut cut;
    char name[LS_CHECKPOINT_NAME_MAX], path[256], error[512];
    struct ls_checkpoint_job job = {.type = &ls_kv, .cluster = 7, .generation = generation};
    size_t size;
    memset(&cut, 0, sizeof(cut));
    n->rig.seam.cut = &cut;
    atomic_store(&n->rig.seam.cut_state, LS_CUT_WANTED);
    while (atomic_load(&n->rig.seam.cut_state) == LS_CUT_WANTED || !atomic_load(&n->rig.seam.cut_sessions))
        (void)ls_executor_turn(n->rig.executor, 0);
    const uint8_t *sessions = ls_executor_sessions_image(n->rig.executor, &size);
    ls_checkpoint_name(generation, cut.seq, name);
    snprintf(path, sizeof(path), "%s/checkpoints/%s", place, name);
    if (ls_checkpoint_file_write(&job, &cut, sessions, size, n->rig.machine, path, 0, error) != 0)
        fail_msg("%s", error);
    atomic_store(&n->rig.seam.cut_state, LS_CUT_ENDING);
    while (atomic_load(&n->rig.seam.cut_state) != LS_CUT_NONE)
        (void)ls_executor_turn(n->rig.executor, 0);
}

static bool there(const char *name)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/%s", place, name);
    return access(path, F_OK) == 0;
}

static void damage(const char *name, uint64_t at)
{
    char path[160];
    uint8_t byte;
    snprintf(path, sizeof(path), "%s/%s", place, name);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
    byte ^= 0x55;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    close(fd);
}

/* ---- tests ---- */

/* All comes back, and who counted may count again; the state is the one before. */
static void test_comes_back(void **state)
{
    struct start again = usual;
    struct node n;
    (void)state;
    begin_good(&n, &usual);
    assert_false(n.restart.resumed); /* there was nothing */
    write_some(&n, 1, 500);
    uint64_t last = n.rig.log.end, seq = n.rig.log.last_seq, digest = ls_executor_digest(n.rig.executor);
    end(&n, false);
    again.incarnation = 2;
    again.counts = 1;
    begin_good(&n, &again);
    assert_true(n.restart.resumed);
    assert_int_equal(n.rig.log.end, last);
    assert_int_equal(n.rig.log.last_seq, seq);
    assert_int_equal(atomic_load(&n.rig.seam.applied), last);
    assert_true(ls_executor_digest(n.rig.executor) == digest);
    assert_int_equal(n.restart.checkpoint_seq, 0);
    end(&n, true);
    /* Another incarnation counted meanwhile, without this journal. */
    again.incarnation = 5;
    again.counts = 4;
    begin_good(&n, &again);
    assert_false(n.restart.resumed);
    assert_int_equal(n.rig.log.end, last);
    end(&n, true);
}

/* Where answers did not wait for the disk, only an end in good order says that all is there. */
static void test_behind(void **state)
{
    struct start start = usual;
    struct node n;
    (void)state;
    start.behind = true;
    begin_good(&n, &start);
    write_some(&n, 1, 50);
    end(&n, false);
    start.incarnation = 2;
    start.counts = 1;
    begin_good(&n, &start);
    assert_false(n.restart.resumed);
    assert_true(n.rig.log.last_seq == 51);
    write_some(&n, 2, 50);
    end(&n, true);
    start.incarnation = 3;
    start.counts = 2;
    begin_good(&n, &start);
    assert_true(n.restart.resumed);
    end(&n, false); /* as soon as it runs it is not so any more */
    start.incarnation = 4;
    start.counts = 3;
    begin_good(&n, &start);
    assert_false(n.restart.resumed);
    end(&n, true);
}

/* The newest checkpoint that can be used, and the log behind it; one that is damaged is passed over. */
static void test_checkpoints(void **state)
{
    struct start again = usual;
    struct node n;
    char newest[160];
    (void)state;
    begin_good(&n, &usual);
    write_some(&n, 1, 100);
    checkpoint(&n, 1);
    uint64_t first = n.rig.log.last_seq;
    write_some(&n, 1, 100);
    checkpoint(&n, 1);
    uint64_t second = n.rig.log.last_seq;
    write_some(&n, 1, 100);
    uint64_t last = n.rig.log.end, digest = ls_executor_digest(n.rig.executor);
    end(&n, false);
    again.incarnation = 2;
    again.counts = 1;
    begin_good(&n, &again);
    assert_int_equal(n.restart.checkpoint_seq, second);
    assert_true(n.restart.resumed && n.rig.log.end == last && ls_executor_digest(n.rig.executor) == digest);
    assert_true(n.rig.log.base_seq == second);
    end(&n, true);
    snprintf(newest, sizeof(newest), "checkpoints/checkpoint-1-%lu.lsc", second);
    damage(newest, 100);
    begin_good(&n, &(struct start){.incarnation = 3,
                                   .counts = 2,
                                   .promise = PROMISE,
                                   .generation = 1,
                                   .node = 1,
                                   .cluster = 7,
                                   .segment = SEGMENT});
    assert_int_equal(n.restart.checkpoint_seq, first);
    assert_non_null(strstr(said, "damaged"));
    assert_true(n.restart.resumed && n.rig.log.end == last && ls_executor_digest(n.rig.executor) == digest);
    end(&n, true);
}

/* Another node's checkpoint of the same log, which was longer there and reached into `epoch`. Its end. */
static uint64_t fetch(uint64_t epoch, uint64_t *digest)
{
    struct node other;
    char own[160], aside[160];
    snprintf(own, sizeof(own), "%s/journal", place);
    snprintf(aside, sizeof(aside), "%s/own", place);
    assert_int_equal(rename(own, aside), 0);
    begin_good(&other, &usual);
    write_some(&other, 1, 100);
    write_some(&other, epoch, 200);
    checkpoint(&other, 1);
    uint64_t cut = other.rig.log.end;
    *digest = ls_executor_digest(other.rig.executor);
    end(&other, true);
    remove_all(own);
    assert_int_equal(rename(aside, own), 0);
    return cut;
}

/* One that was fetched and reaches beyond what the journal holds: the log goes on behind it, and says so from then on.
 */
static void test_checkpoint_beyond(void **state)
{
    struct start start = usual;
    struct node n;
    uint64_t digest;
    char path[160];
    (void)state;
    begin_good(&n, &usual);
    write_some(&n, 1, 100);
    end(&n, false);
    uint64_t cut = fetch(1, &digest);
    for (uint64_t incarnation = 2; incarnation < 4; incarnation++) {
        start.incarnation = incarnation;
        start.counts = incarnation - 1;
        begin_good(&n, &start);
        assert_true(n.restart.resumed);
        assert_int_equal(n.rig.log.base, cut);
        if (incarnation == 2) {
            assert_int_equal(n.rig.log.end, cut);
            assert_true(ls_executor_digest(n.rig.executor) == digest);
            write_some(&n, 2, 20);
        } else {
            assert_true(n.rig.log.end > cut);
        }
        end(&n, false);
    }
    /* Without that checkpoint the log begins behind nothing: damage. */
    snprintf(path, sizeof(path), "%s/checkpoints", place);
    remove_all(path);
    assert_int_equal(mkdir(path, 0700), 0);
    start.incarnation = 4;
    start.counts = 3;
    assert_int_equal(begin(&n, &start), -EBADMSG);
    assert_non_null(strstr(n.error, "behind a checkpoint"));
    end_refused(&n);
    assert_true(there("journal.aside-4") && !there("journal"));
}

/* One that was fetched and not taken reaches into a tail that is durable here, and that the others have dropped: what
 * stands behind it there is not what follows. The log is read from its own beginning. */
static void test_checkpoint_on_tail(void **state)
{
    struct start start = usual;
    struct node n;
    uint64_t digest;
    (void)state;
    begin_good(&n, &usual);
    write_some(&n, 1, 100);
    uint64_t commit = n.rig.log.end;
    append_some(&n, 1, 500);
    durable_wait(&n);
    for (int i = 0; i < 100; i++) /* the mark, too */
        (void)ls_journal_poll(n.restart.journal, now());
    uint64_t last = n.rig.log.end;
    end(&n, false);
    uint64_t cut = fetch(2, &digest);
    assert_true(commit < cut && cut < last);
    start.incarnation = 2;
    start.counts = 1;
    begin_good(&n, &start);
    assert_true(n.restart.resumed);
    assert_int_equal(n.restart.checkpoint_seq, 0);
    assert_int_equal(n.rig.log.end, last);
    assert_int_equal(atomic_load(&n.rig.seam.commit), commit);
    end(&n, false);
}

/* What belongs to an epoch that this node has not promised: a checkpoint was fetched and not taken, and is passed over;
 * a log says that the record was rolled back. */
static void test_unpromised(void **state)
{
    struct start start = usual;
    struct node n;
    uint64_t digest;
    (void)state;
    begin_good(&n, &usual);
    write_some(&n, 1, 50);
    uint64_t last = n.rig.log.end;
    end(&n, false);
    (void)fetch(5, &digest);
    start.incarnation = 2;
    start.counts = 1;
    start.promise = 4;
    begin_good(&n, &start);
    assert_true(n.restart.resumed && n.restart.checkpoint_seq == 0 && n.rig.log.end == last);
    write_some(&n, 4, 50);
    end(&n, true);
    start.incarnation = 3;
    start.promise = 3;
    assert_int_equal(begin(&n, &start), -EXDEV);
    assert_non_null(strstr(n.error, "rolled back"));
    end_refused(&n);
    assert_true(there("journal") && !there("journal.aside-3"));
}

/* Of others: refused by name, and left as it is. */
static void test_foreign(void **state)
{
    static const struct {
        struct start start;
        const char *text;
    } foreign[] = {
        {{2, 1, PROMISE, 1, 1, 8, SEGMENT, false}, "another cluster"},
        {{2, 1, PROMISE, 1, 2, 7, SEGMENT, false}, "another node"},
        {{2, 1, PROMISE, 1, 1, 7, 2 * SEGMENT, false}, "journal.segment"},
    };
    struct start again = usual;
    struct node n;
    (void)state;
    begin_good(&n, &usual);
    write_some(&n, 1, 20);
    end(&n, false);
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        assert_int_equal(begin(&n, &foreign[i].start), -EXDEV);
        assert_non_null(strstr(n.error, foreign[i].text));
        end_refused(&n);
    }
    again.incarnation = 3;
    again.counts = 1;
    begin_good(&n, &again);
    assert_true(n.restart.resumed && n.rig.log.last_seq == 21);
    end(&n, true);
    /* A later generation's is no older history. */
    again.generation = 0;
    assert_int_equal(begin(&n, &again), -EXDEV);
    assert_non_null(strstr(n.error, "later generation"));
    end_refused(&n);
    /* An older one's is: it is kept beside, and a log begins. */
    again.generation = 2;
    begin_good(&n, &again);
    assert_true(!n.restart.resumed && n.rig.log.end == 0);
    assert_true(there("journal.aside-3"));
    assert_non_null(strstr(said, "older generation"));
    end(&n, true);
}

/* Damage in what was durable, in each place. */
static void test_damage(void **state)
{
    struct start again = usual;
    struct node n;
    (void)state;
    begin_good(&n, &usual);
    write_some(&n, 1, 500);
    end(&n, false);
    damage("journal/segment-0000000000000000", LS_JOURNAL_BLOCK + 5000);
    again.incarnation = 2;
    again.counts = 1;
    assert_int_equal(begin(&n, &again), -EBADMSG);
    assert_non_null(strstr(n.error, "damaged at position"));
    end_refused(&n);
    assert_true(there("journal.aside-2") && !there("journal"));
    again.incarnation = 3;
    begin_good(&n, &again); /* the next start has forgotten, and says so */
    assert_true(!n.restart.resumed && n.rig.log.end == 0);
    write_some(&n, 1, 50);
    end(&n, false);
    damage("journal/state", 40);
    damage("journal/state", LS_JOURNAL_BLOCK + 40);
    again.incarnation = 4;
    begin_good(&n, &again);
    assert_true(!n.restart.resumed && n.rig.log.end == 0 && there("journal.aside-4"));
    write_some(&n, 1, 50);
    end(&n, false);
    damage("journal/segment-0000000000000000", 20); /* its header */
    again.incarnation = 5;
    assert_int_equal(begin(&n, &again), -EBADMSG);
    end_refused(&n);
    assert_true(there("journal.aside-5"));
    again.incarnation = 6;
    begin_good(&n, &again);
    write_some(&n, 1, 50);
    end(&n, false);
    char path[160];
    snprintf(path, sizeof(path), "%s/journal/state", place);
    assert_int_equal(unlink(path), 0);
    again.incarnation = 7;
    begin_good(&n, &again);
    assert_true(!n.restart.resumed && n.rig.log.end == 0 && there("journal.aside-7"));
    assert_non_null(strstr(said, "without the journal's state"));
    end(&n, true);
}

/* A place where nothing can be made: named, nothing else happens. */
static void test_no_place(void **state)
{
    struct node n;
    char path[160];
    (void)state;
    snprintf(path, sizeof(path), "%s/journal", place);
    int fd = open(path, O_WRONLY | O_CREAT, 0600); /* a file stands where the directory is to be */
    close(fd);
    assert_true(begin(&n, &usual) < 0);
    assert_non_null(strstr(n.error, "cannot be opened"));
    end_refused(&n);
    assert_true(there("journal"));
}

/* From any entry on, beside the writer: from the beginning, from a checkpoint where the beginning is gone, and the
 * oldest one instead of what is not held. */
static void test_history(void **state)
{
    struct ls_journal_identity identity = {.cluster = 7, .generation = 1, .node = 1, .segment_size = SEGMENT};
    const struct ls_entry *entry;
    char error[LS_HISTORY_ERROR_MAX], path[160];
    struct node n;
    uint64_t oldest;
    (void)state;
    begin_good(&n, &usual);
    struct ls_history *h = ls_history_open(place, &identity, error);
    assert_non_null(h);
    assert_int_equal(ls_history_seek(h, 1, 0, &oldest), -ENOENT); /* nothing is committed */
    for (uint32_t i = 0; i < 8; i++) {                            /* more than a segment, and more than the ring */
        write_some(&n, 1, 1000);
        if (i == 6)
            checkpoint(&n, 1);
    }
    uint64_t last = n.rig.log.last_seq, limit = n.rig.log.end, cut = n.rig.log.last_seq - 1000;
    assert_true(limit > SEGMENT + RING);
    for (uint64_t seq = 0; seq <= last; seq += 997) {
        assert_int_equal(ls_history_seek(h, seq, limit, &oldest), 0);
        assert_int_equal(oldest, 1);
        for (uint64_t k = seq > 0 ? seq : 1; k <= last && k < seq + 20; k++) {
            assert_int_equal(ls_history_next(h, limit, &entry), 1);
            assert_int_equal(entry->seq, k);
        }
        assert_int_equal(ls_history_place(h)->seq, seq + 19 < last ? seq + 19 : last);
    }
    uint64_t position = ls_history_place(h)->position;
    assert_int_equal(ls_history_seek(h, 4000, limit, &oldest), 0);
    static uint8_t window[100000];
    uint64_t from, end_of;
    assert_int_equal(ls_history_window(h, position, limit, window, sizeof(window), &from, &end_of), 0);
    assert_true(from == position && end_of == limit);
    for (uint64_t back = 0; back < 90000; back += 4040) { /* in the middle of entries */
        assert_int_equal(ls_history_window(h, limit - 100000 + back, limit, window, sizeof(window), &from, &end_of), 0);
        assert_true(from <= limit - 100000 + back && from > limit - 100000 + back - 300 && end_of > limit - 500);
        assert_memory_equal(window, ls_log_at(&n.rig.log, from), end_of - from);
    }
    /* what comes meanwhile */
    assert_int_equal(ls_history_seek(h, last + 1, limit, &oldest), 0);
    assert_int_equal(ls_history_next(h, limit, &entry), 0);
    write_some(&n, 1, 10);
    assert_int_equal(ls_history_next(h, n.rig.log.end, &entry), 1);
    assert_int_equal(entry->seq, last + 1);
    /* the beginning goes */
    snprintf(path, sizeof(path), "%s/journal/segment-0000000000000000", place);
    assert_int_equal(unlink(path), 0);
    ls_history_close(h);
    h = ls_history_open(place, &identity, error);
    assert_int_equal(ls_history_seek(h, 5, limit, &oldest), 0);
    assert_int_equal(oldest, cut + 1);
    assert_int_equal(ls_history_next(h, limit, &entry), 1);
    assert_int_equal(entry->seq, oldest);
    assert_int_equal(ls_history_window(h, 0, limit, window, sizeof(window), &from, &end_of), -ENOENT);
    assert_int_equal(from, end_of);
    ls_history_close(h);
    end(&n, true);
    identity.node = 2;
    h = ls_history_open(place, &identity, error);
    assert_int_equal(ls_history_seek(h, 5, limit, &oldest), -EBADMSG);
    assert_non_null(strstr(ls_history_error(h), "of another node"));
    ls_history_close(h);
    h = ls_history_open(place, &identity, error);
    assert_int_equal(ls_history_window(h, 0, limit, window, sizeof(window), &from, &end_of), -EBADMSG);
    assert_non_null(strstr(ls_history_error(h), "of another node"));
    ls_history_close(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(test_checkpoints, setup, teardown),
        cmocka_unit_test_setup_teardown(test_checkpoint_beyond, setup, teardown),
        cmocka_unit_test_setup_teardown(test_checkpoint_on_tail, setup, teardown),
        cmocka_unit_test_setup_teardown(test_history, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unpromised, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_place, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
