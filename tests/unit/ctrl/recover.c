/* SPDX-License-Identifier: BSD-3-Clause */
/* Beginning a new generation: what is refused, what is chosen, and what is on the disk afterwards. */
#include "checkpoint_rig.h"

#include <sys/file.h>

#include "record.h"
#include "recover.h"

static char data_dir[] = "/tmp/lockstep-recover-XXXXXX", said[16384];
static struct ls_config config;
static struct ls_recover wanted;

/* As the rig's, of the machine that the cluster file names. */
static int verify_kv(const char *path, struct ls_checkpoint_info *info, char *error)
{
    int result = rig_verify(path, info, error);

    if (result == 0) {
        snprintf(info->machine, sizeof(info->machine), "%s", info->cut.seq == 666 ? "echo" : "kv");
        info->cut.epochs = 1;
        info->cut.epoch[0].epoch = info->cut.seq;
    }
    return result;
}

static const struct ls_checkpoint_format format = {rig_info, verify_kv};

static const char *at(const char *name)
{
    static char path[200];

    snprintf(path, sizeof(path), "%s/%s", data_dir, name);
    return path;
}

static struct ls_durable durable(void)
{
    return (struct ls_durable){.cluster = RIG_CLUSTER,
                               .generation = 3,
                               .node = 2,
                               .vote = 1,
                               .incarnation = 1000,
                               .counts = 999,
                               .promise = 40};
}

static void record_make(const struct ls_durable *d)
{
    char error[LS_RECORD_ERROR_MAX];

    unlink(at("record"));
    assert_int_equal(ls_record_create(data_dir, d, error), 0);
}

static struct ls_durable record_read(void)
{
    char error[LS_RECORD_ERROR_MAX];
    struct ls_record record;

    assert_int_equal(ls_record_open(&record, data_dir, RIG_CLUSTER, 2, error), 0);
    ls_record_close(&record);
    return record.durable;
}

static int setup(void **state)
{
    struct ls_durable d = durable();

    (void)state;
    strcpy(data_dir + strlen(data_dir) - 6, "XXXXXX");
    if (mkdtemp(data_dir) == NULL || mkdir(at("checkpoints"), 0755) != 0)
        return -1;
    memset(&config, 0, sizeof(config));
    strcpy(config.name, "test");
    config.cluster = RIG_CLUSTER;
    config.port = 7400;
    config.nodes = 2;
    for (uint16_t i = 0; i < 2; i++) {
        config.node[i].id = (uint16_t)(i + 1);
        config.node[i].ip = 0x0a000001u + i;
        config.node[i].role = LS_MEMBER_VOTER;
        config.node[i].ctrl = (struct ls_addr){0x7f000001, (uint16_t)(7500 + i)};
        strcpy(config.node[i].data_dir, data_dir);
    }
    wanted = (struct ls_recover){.config = &config, .self = &config.node[1], .accept_loss = true, .format = &format};
    record_make(&d);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    rig_remove(data_dir);
    return 0;
}

/* The exit code; what it said is in `said`. */
static int recover(void)
{
    int fd = open(at("said"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), out, err, code;
    ssize_t length;

    assert_true(fd >= 0);
    fflush(stdout);
    out = dup(1);
    err = dup(2);
    assert_true(dup2(fd, 1) == 1 && dup2(fd, 2) == 2);
    code = ls_recover(&wanted);
    fflush(stdout);
    assert_true(dup2(out, 1) == 1 && dup2(err, 2) == 2);
    close(out);
    close(err);
    length = pread(fd, said, sizeof(said) - 1, 0);
    said[length > 0 ? length : 0] = '\0';
    close(fd);
    return code;
}

static void assert_said(const char *part)
{
    if (strstr(said, part) == NULL)
        fail_msg("\"%s\" is not in: %s", part, said);
}

/* Nothing on the disk is another. */
static void refused(const char *part)
{
    struct ls_durable before = record_read(), after;

    assert_int_equal(recover(), 1);
    assert_said(part);
    assert_said("nothing was changed");
    after = record_read();
    assert_memory_equal(&before, &after, sizeof(before));
    assert_int_equal(access(at("recover"), F_OK), -1);
}

static void test_refused(void **state)
{
    char file[200];
    int fd;

    (void)state;
    refused("no checkpoint here can be used");
    rig_write(at("checkpoints/checkpoint-3-10.lsc"), RIG_CLUSTER, 3, 10, 1000);
    wanted.accept_loss = false;
    refused("--accept-loss is needed");
    assert_said("entry 10, ");
    assert_said("verified, every byte was read");
    assert_said("everything that was ordered after entry 10");
    wanted.accept_loss = true;
    wanted.checkpoint = "/nowhere/at.all";
    refused("No such file");
    wanted.checkpoint = strcpy(file, at("given"));
    rig_write(file, RIG_CLUSTER + 1, 3, 10, 1000);
    refused("it is of cluster");
    rig_write(file, RIG_CLUSTER, 3, 666, 1000);
    refused("it is of state machine echo");
    rig_write(file, RIG_CLUSTER, 3, 11, 1000);
    rig_damage(file, 500);
    refused("cannot be used");
    rig_write(file, RIG_CLUSTER, UINT32_MAX, 11, 1000);
    refused("there is no generation above");
    wanted.checkpoint = NULL;
    fd = open(at("dataplane.lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && flock(fd, LOCK_EX) == 0 && dprintf(fd, "4711\n") == 5);
    refused("its lockstep-dataplane lives (pid 4711 holds");
    close(fd);
    assert_int_equal(recover(), 0); /* its lock alone is no dataplane */
}

static void test_without_a_record(void **state)
{
    (void)state;
    unlink(at("record"));
    assert_int_equal(recover(), 1);
    assert_said("does not exist");
    assert_int_equal(access(at("recover"), F_OK), -1);
}

static void chosen(const char *name)
{
    char path[LS_RECOVER_PATH_MAX], error[LS_RECORD_ERROR_MAX];

    assert_int_equal(ls_recover_choice(data_dir, path, error), 0);
    assert_string_equal(path, name);
}

static void test_the_newest_good_one(void **state)
{
    struct ls_durable d;
    char given[200];

    (void)state;
    rig_write(at("checkpoints/checkpoint-2-90.lsc"), RIG_CLUSTER, 2, 90, 1000); /* before a recovery */
    rig_write(at("checkpoints/checkpoint-3-50.lsc"), RIG_CLUSTER, 3, 50, 1000);
    rig_write(at("checkpoints/checkpoint-3-60.lsc"), RIG_CLUSTER, 3, 60, 1000);
    rig_write(at("checkpoints/checkpoint-3-70.lsc"), RIG_CLUSTER + 1, 3, 70, 1000);
    rig_damage(at("checkpoints/checkpoint-3-60.lsc"), 600);
    assert_int_equal(recover(), 0);
    assert_said("not to be used");
    assert_said("begins generation 4");
    chosen(at("checkpoints/checkpoint-3-50.lsc"));
    d = record_read();
    assert_true(d.recovers);
    assert_false(d.founder);
    assert_int_equal(d.generation, 4);
    assert_int_equal(d.promise, 50); /* the checkpoint's epoch */
    assert_int_equal(d.vote, 0);
    assert_int_equal(d.counts, 0);
    assert_int_equal(d.incarnation, 1000);
    assert_int_equal(d.members.count, 1);
    assert_int_equal(d.members.seq, 0);
    assert_int_equal(d.members.member[0].node, 2);
    assert_int_equal(d.members.member[0].role, LS_MEMBER_VOTER);
    assert_int_equal(d.members.member[0].ctrl.port, 7501);
    /* another choice, before it has begun: no generation is left out */
    wanted.empty = true;
    assert_int_equal(recover(), 0);
    assert_said("has not begun yet");
    chosen("");
    assert_int_equal(record_read().generation, 4);
    /* one of a newer generation: above that */
    wanted.empty = false;
    wanted.checkpoint = strcpy(given, at("given"));
    rig_write(at("given"), RIG_CLUSTER, 8, 20, 100);
    assert_int_equal(recover(), 0);
    assert_int_equal(record_read().generation, 9);
    assert_int_equal(record_read().promise, 50);
    chosen(at("given"));
}

static void test_choice(void **state)
{
    char path[LS_RECOVER_PATH_MAX], error[LS_RECORD_ERROR_MAX];
    static const char *const wrong[] = {"", "\n", "nothing\n", "relative/path\n"};

    (void)state;
    assert_int_equal(ls_recover_choice(data_dir, path, error), -ENOENT);
    assert_non_null(strstr(error, "cannot be opened"));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        FILE *file = fopen(at("recover"), "we");

        assert_non_null(file);
        fputs(wrong[i], file);
        fclose(file);
        assert_int_equal(ls_recover_choice(data_dir, path, error), -EINVAL);
        assert_non_null(strstr(error, "names neither"));
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_refused),
        TEST(test_without_a_record),
        TEST(test_the_newest_good_one),
        TEST(test_choice),
    };

    return cmocka_run_group_tests_name("recover", tests, NULL, NULL);
}
