/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bulk thread over a real seam, executor, replica and key-value store: the test's thread is net, apply and control.
 * A checkpoint of one node is restored on another; every way in which that is refused changes nothing and has a text.
 */
#include <errno.h>
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

#include <lockstep/entry.h>
#include <lockstep/kv.h>

#include "../core/replica.h"
#include "bulk.h"
#include "clock.h"
#include "rcu.h"

#define CLUSTER 77
#define LOG     (1u << 20)
#define KEYS    200

static bool no_alloc(struct ls_io *io, struct ls_frame *frame)
{
    (void)io;
    (void)frame;
    return false;
}
static void no_frame(struct ls_io *io, struct ls_frame *frame)
{
    (void)io;
    (void)frame;
}

struct node {
    struct ls_io io;
    struct ls_log log;
    struct ls_seam seam;
    struct ls_gp gp;
    struct ls_counters_page page;
    struct ls_executor *executor;
    struct ls_replica *replica; /* NULL: the test writes the log by hand */
    struct ls_bulk bulk;
    struct ls_bulk_report report; /* the last DONE or FLIPPED */
    uint32_t progress, damaged;
};
static struct node a, b;
static char folder[64];

/* The key-value store, that may still give back what the checkpoint before held. */
static struct ls_state_machine kv;
static uint32_t draining, begins;

static int begin(struct ls_machine *machine)
{
    begins++;
    if (draining == 0)
        return ls_kv.checkpoint_begin(machine);
    draining--;
    return -EBUSY;
}

static void node_start(struct node *node, bool replica, uint64_t promise, uint64_t scrub_ns)
{
    struct ls_executor_config executor = {
        .cluster = CLUSTER, .generation = 1, .node = 2, .incarnation = 9, .sessions_max = 4, .window = 8};
    struct ls_replica_config config = {.cluster = CLUSTER,
                                       .generation = 1,
                                       .node = 2,
                                       .incarnation = 9,
                                       .promise = promise,
                                       .keys_max = 1000,
                                       .bytes_max = 1 << 20,
                                       .session_idle_ns = 1000000000,
                                       .sessions_max = 4,
                                       .window = 8,
                                       .op_max = 64 * 1024};
    struct ls_bulk_config bulk = {.type = &ls_kv,
                                  .limits = {.keys = 1000, .bytes = 1 << 20},
                                  .cluster = CLUSTER,
                                  .generation = 1,
                                  .sessions_max = 4,
                                  .scrub_ns = scrub_ns,
                                  .seam = &node->seam,
                                  .gp = &node->gp,
                                  .page = &node->page.replica,
                                  .root = ""};
    struct ls_machine *machine;

    memset(node, 0, sizeof(*node));
    kv = ls_kv;
    kv.checkpoint_begin = begin;
    node->io = (struct ls_io){.alloc = no_alloc, .send = no_frame, .release = no_frame};
    assert_int_equal(ls_log_init(&node->log, LOG), 0);
    assert_int_equal(ls_seam_init(&node->seam, 4), 0);
    assert_int_equal(ls_gp_start(&node->gp, &node->seam.applied_seq), 0);
    machine = ls_kv.create(&bulk.limits, &node->gp.grace);
    assert_non_null(machine);
    node->executor = ls_executor_create(&executor, &node->log, &node->seam, &node->io, &kv, machine,
                                        &node->page.replica, &node->page.worker[LS_WORKER_APPLY].counters);
    assert_non_null(node->executor);
    if (replica) {
        node->replica = ls_replica_create(&config, &node->log, &node->seam, &node->io, &kv, machine,
                                          &node->page.replica, &node->page.worker[LS_WORKER_NET].counters);
        assert_non_null(node->replica);
    }
    bulk.executor = node->executor;
    assert_int_equal(ls_bulk_start(&node->bulk, &bulk, machine), 0);
}

/* Its threads are waited for, and one of them may wait until this thread says that it reads nothing. */
static void node_stop(struct node *node)
{
    ls_rcu_offline();
    ls_bulk_stop(&node->bulk);
    ls_executor_destroy(node->executor);
    if (node->replica != NULL)
        ls_replica_destroy(node->replica);
    ls_bulk_free(&node->bulk);
    ls_gp_stop(&node->gp);
    ls_seam_free(&node->seam);
    ls_log_free(&node->log);
    ls_rcu_online();
}

/* One round of all workers and of control. True: the job's end was reported. */
static bool node_turn(struct node *node)
{
    struct ls_bulk_report report;
    struct ls_event event;
    bool ended = false;

    if (node->replica != NULL)
        (void)ls_replica_turn(node->replica, ls_now_ns());
    (void)ls_executor_turn(node->executor, ls_now_ns());
    ls_rcu_quiescent();
    while (ls_bulk_report(&node->bulk, &report)) {
        struct ls_order order = {.kind = LS_ORDER_REBASE, .image = report.image};

        node->progress += report.kind == LS_BULK_PROGRESS;
        node->damaged += report.kind == LS_BULK_DAMAGED;
        if (report.kind == LS_BULK_REBASE && node->replica != NULL)
            assert_true(ls_spsc_push(&node->seam.orders, &order));
        if (report.kind == LS_BULK_DONE || report.kind == LS_BULK_FLIPPED) {
            node->report = report;
            ended = true;
        }
    }
    while (ls_spsc_pop(&node->seam.events, &event))
        if (event.kind == LS_EVENT_REBASED)
            ls_bulk_rebased(&node->bulk, event.code);
    ls_rcu_offline(); /* polite to the other threads of this test, on a machine of few cores */
    usleep(20);
    ls_rcu_online();
    return ended;
}

static uint32_t job(struct node *node, enum ls_bulk_job_kind kind, const char *path)
{
    struct ls_bulk_job what = {.kind = kind, .link = 4, .id = 44, .seed = 5};

    snprintf(what.path, sizeof(what.path), "%s", path);
    assert_true(ls_bulk_post(&node->bulk, &what));
    assert_false(ls_bulk_post(&node->bulk, &what)); /* one at a time */
    while (!node_turn(node))
        ;
    assert_int_equal(node->report.link, 4);
    assert_int_equal(node->report.id, 44);
    return kind == LS_BULK_FLIP ? (uint32_t)node->report.error : node->report.checkpoint.error;
}

/* ---- a log ---- */

static uint64_t end, seq, session;

static void append(struct node *node, struct ls_entry entry, const void *operation, uint32_t length)
{
    entry.seq = ++seq;
    entry.time = seq;
    end = ls_log_append(&node->log, &entry, operation, length);
}

static void put(struct node *node, uint32_t key, uint64_t number)
{
    struct {
        struct ls_kv_op op;
        char bytes[16 + 400];
    } LS_PACKED operation = {.op = {.code = LS_KV_PUT, .key_length = 8, .value_length = 400}};

    snprintf(operation.bytes, 9, "%08u", key);
    memset(operation.bytes + 8, (int)(key + number), 400);
    append(node, (struct ls_entry){.kind = LS_ENTRY_OPERATION, .session = session, .slot = 0, .number = number},
           &operation, sizeof(operation.op) + 408);
}

/* Epoch 3, its limits and members, a session, and KEYS values. */
static void history(struct node *node)
{
    struct ls_entry_epoch epoch = {.epoch = 3, .incarnation = 9, .sequencer = 1};
    struct ls_entry_limits limits = {
        .keys = 1000, .bytes = 1 << 20, .session_idle = 1000000000, .sessions = 4, .window = 8};
    struct {
        struct ls_entry_members head;
        struct ls_member_record record[2];
    } LS_PACKED members = {.head.members = 2,
                           .record = {{.node = 1, .role = LS_MEMBER_VOTER, .ip = 1, .port = 7400},
                                      {.node = 2, .role = LS_MEMBER_VOTER, .ip = 2, .port = 7400}}};
    uint64_t nonce[2] = {1, 2};

    end = seq = 0;
    append(node, (struct ls_entry){.kind = LS_ENTRY_EPOCH}, &epoch, sizeof(epoch));
    append(node, (struct ls_entry){.kind = LS_ENTRY_LIMITS}, &limits, sizeof(limits));
    append(node, (struct ls_entry){.kind = LS_ENTRY_MEMBERS}, &members, sizeof(members));
    append(node, (struct ls_entry){.kind = LS_ENTRY_OPEN}, nonce, sizeof(nonce));
    session = seq;
    for (uint32_t i = 0; i < KEYS; i++)
        put(node, i, i + 1);
    atomic_store(&node->seam.commit, end);
    while (atomic_load(&node->seam.applied) < end)
        (void)node_turn(node);
}

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/lockstep-bulk-XXXXXX");
    ls_rcu_register();
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    char command[128];

    (void)state;
    ls_rcu_unregister();
    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command);
}

static void name_make(char path[256], const char *name)
{
    snprintf(path, 256, "%s/%s", folder, name);
}

static void test_write_restore(void **state)
{
    char path[256];
    struct stat info;
    uint64_t digest;

    (void)state;
    name_make(path, "one");
    node_start(&a, false, 0, 0);
    history(&a);
    digest = ls_executor_digest(a.executor);
    assert_int_equal(job(&a, LS_BULK_CHECKPOINT, path), 0);
    assert_int_equal(a.report.checkpoint.seq, seq);
    assert_int_equal(a.report.checkpoint.position, end);
    assert_int_equal(a.report.checkpoint.epoch, 3);
    assert_int_equal(a.report.checkpoint.digest, digest);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(a.report.checkpoint.bytes, info.st_size);
    assert_int_equal(atomic_load(&a.seam.cut_state), LS_CUT_NONE);
    /* again, over the first, of a later state; a cut may come before what is committed and not applied yet */
    put(&a, 1, KEYS + 1);
    atomic_store(&a.seam.commit, end);
    while (atomic_load(&a.seam.applied) < end)
        (void)node_turn(&a);
    assert_int_equal(job(&a, LS_BULK_CHECKPOINT, path), 0);
    assert_int_equal(a.report.checkpoint.seq, seq);

    node_start(&b, true, 3, 0);
    (void)node_turn(&b);
    assert_int_equal(job(&b, LS_BULK_RESTORE, path), 0);
    assert_int_equal(b.report.checkpoint.position, end);
    assert_int_equal(atomic_load(&b.seam.applied), end);
    assert_int_equal(atomic_load(&b.seam.applied_seq), seq);
    assert_int_equal(ls_executor_digest(b.executor), ls_executor_digest(a.executor));
    assert_int_equal(atomic_load(&b.seam.sessions[0].session), session);
    /* and over what was restored; what it held is destroyed */
    assert_int_equal(job(&b, LS_BULK_RESTORE, path), 0);
    assert_int_equal(ls_executor_digest(b.executor), ls_executor_digest(a.executor));
    assert_int_equal(atomic_load(&b.page.replica.role), LS_ROLE_OUTSIDE);
    node_stop(&b);
    node_stop(&a);
}

/* What the checkpoint before held is given back in steps: that is waited for. */
static void test_draining(void **state)
{
    char path[256];

    (void)state;
    name_make(path, "one");
    node_start(&a, false, 0, 0);
    history(&a);
    begins = 0;
    draining = 20;
    assert_int_equal(job(&a, LS_BULK_CHECKPOINT, path), 0);
    assert_int_equal(begins, 21);
    node_stop(&a);
}

/* Whatever is refused leaves the node as it was, and says why. */
static void test_refused(void **state)
{
    char path[256], damaged[256], meminfo[256], root[256];
    uint8_t byte;
    FILE *file;
    int fd;

    (void)state;
    name_make(path, "one");
    name_make(damaged, "damaged");
    node_start(&a, false, 0, 0);
    history(&a);
    assert_int_equal(job(&a, LS_BULK_CHECKPOINT, path), 0);
    assert_int_equal(job(&a, LS_BULK_CHECKPOINT, damaged), 0);
    name_make(root, "no/such/folder");
    assert_int_equal(job(&a, LS_BULK_CHECKPOINT, root), ENOENT);
    assert_true(strlen(a.report.text) > 0);
    assert_int_equal(atomic_load(&a.seam.cut_state), LS_CUT_NONE);
    fd = open(damaged, O_RDWR);
    assert_int_equal(pread(fd, &byte, 1, 5000), 1);
    byte ^= 16;
    assert_int_equal(pwrite(fd, &byte, 1, 5000), 1);
    close(fd);

    node_start(&b, true, 2, 0); /* sealed below the checkpoint's epoch */
    (void)node_turn(&b);
    assert_int_equal(job(&b, LS_BULK_RESTORE, path), EAGAIN);
    assert_non_null(strstr(b.report.text, "seal"));
    assert_int_equal(job(&b, LS_BULK_RESTORE, root), ENOENT);
    assert_true(strlen(b.report.text) > 0);
    assert_int_equal(job(&b, LS_BULK_RESTORE, damaged), EBADMSG);
    assert_true(strlen(b.report.text) > 0);
    name_make(root, "root");
    name_make(meminfo, "root/proc");
    assert_int_equal(mkdir(root, 0700), 0);
    assert_int_equal(mkdir(meminfo, 0700), 0);
    name_make(meminfo, "root/proc/meminfo");
    file = fopen(meminfo, "w");
    assert_non_null(file);
    fputs("MemAvailable: 1000 kB\n", file);
    fclose(file);
    b.bulk.config.root = root;
    assert_int_equal(job(&b, LS_BULK_RESTORE, path), ENOMEM);
    assert_non_null(strstr(b.report.text, "MiB are available"));
    b.bulk.config.root = "";
    assert_int_equal(atomic_load(&b.seam.applied), 0);
    assert_int_equal(atomic_load(&b.page.replica.role), LS_ROLE_OUTSIDE);
    assert_int_equal(job(&b, LS_BULK_FLIP, ""), ENOENT); /* nothing is stored */
    node_stop(&b);
    node_stop(&a);
}

/* A flipped bit in a value that nobody reads is found by scrubbing, and keeps a checkpoint from being written. */
static void test_flip_scrub(void **state)
{
    char path[256];

    (void)state;
    name_make(path, "one");
    node_start(&a, false, 0, 50ull * 1000 * 1000);
    history(&a);
    while (atomic_load(&a.page.replica.scrub_rounds) < 2)
        (void)node_turn(&a);
    assert_int_equal(atomic_load(&a.page.replica.scrub_damaged), 0);
    assert_int_equal(job(&a, LS_BULK_FLIP, ""), 0);
    while (a.damaged == 0)
        (void)node_turn(&a);
    assert_true(atomic_load(&a.page.replica.scrub_damaged) >= 1);
    assert_int_equal(job(&a, LS_BULK_CHECKPOINT, path), EBADMSG);
    assert_int_equal(access(path, F_OK), -1);
    node_stop(&a);
}

/* The end comes at once, wherever it is: nobody makes the cut, a slow rate, nobody takes the image. Memory checkers see
 * the rest. */
static void test_stop(void **state)
{
    struct ls_bulk_job what = {.kind = LS_BULK_CHECKPOINT};
    struct ls_bulk_report report = {0};

    (void)state;
    name_make(what.path, "one");
    node_start(&a, false, 0, 0);
    history(&a);
    assert_int_equal(job(&a, LS_BULK_CHECKPOINT, what.path), 0);
    assert_true(ls_bulk_post(&a.bulk, &what));
    ls_rcu_offline();
    while (atomic_load(&a.seam.cut_state) != LS_CUT_WANTED)
        usleep(100);
    node_stop(&a);
    /* slower than anybody waits */
    what.bytes_per_second = 1;
    node_start(&a, false, 0, 0);
    history(&a);
    assert_true(ls_bulk_post(&a.bulk, &what));
    while (atomic_load(&a.seam.cut_state) != LS_CUT_OPEN || !atomic_load(&a.seam.cut_sessions))
        (void)node_turn(&a);
    node_stop(&a);
    what.bytes_per_second = 0;
    what.kind = LS_BULK_RESTORE;
    node_start(&b, true, 3, 0);
    assert_true(ls_bulk_post(&b.bulk, &what));
    ls_rcu_offline();
    while (!ls_bulk_report(&b.bulk, &report) || report.kind != LS_BULK_REBASE)
        usleep(100);
    node_stop(&b);
}

/* However slowly it is to write, it stops at once. */
static void test_stop_slow(void **state)
{
    struct ls_bulk_job what = {.kind = LS_BULK_CHECKPOINT, .bytes_per_second = 1};
    char partial[LS_CONTROL_PATH_MAX + 16];
    struct stat info;

    (void)state;
    name_make(what.path, "one");
    snprintf(partial, sizeof(partial), "%s.partial", what.path);
    node_start(&a, false, 0, 0);
    history(&a);
    assert_true(ls_bulk_post(&a.bulk, &what));
    while (stat(partial, &info) != 0)
        (void)node_turn(&a);
    node_stop(&a);
    assert_int_not_equal(stat(what.path, &info), 0);
    assert_int_not_equal(stat(partial, &info), 0);
}

int main(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {WITH(test_write_restore), WITH(test_draining), WITH(test_refused),
                                       WITH(test_flip_scrub),    WITH(test_stop),     WITH(test_stop_slow)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
