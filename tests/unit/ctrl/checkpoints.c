/* SPDX-License-Identifier: BSD-3-Clause */
/* A directory of checkpoints: good, damaged, foreign and incomplete ones. */
#include "checkpoint_rig.h"

static struct event_base *base;
static struct ls_checkpoints *c;
static char data_dir[] = "/tmp/lockstep-checkpoints-XXXXXX", error[LS_CHECKPOINTS_ERROR];
static char last_name[64], last_text[512];
static enum ls_checkpoint_state last_state;
static int verified;

static const char *at(const char *name)
{
    static char path[200];

    snprintf(path, sizeof(path), "%s/checkpoints/%s", data_dir, name);
    return path;
}

static int setup(void **state)
{
    (void)state;
    strcpy(data_dir + strlen(data_dir) - 6, "XXXXXX");
    verified = 0;
    base = event_base_new();
    return mkdtemp(data_dir) == NULL || mkdir(at(""), 0755) != 0;
}

static int teardown(void **state)
{
    (void)state;
    ls_checkpoints_close(c);
    c = NULL;
    event_base_free(base);
    rig_remove(data_dir);
    return 0;
}

static void begin(void)
{
    c = ls_checkpoints_open(base, data_dir, RIG_CLUSTER, 1, &rig_format, error);
    assert_non_null(c);
}

static void on_verified(void *user, const char *name, enum ls_checkpoint_state state, const char *text)
{
    (void)user;
    snprintf(last_name, sizeof(last_name), "%s", name);
    snprintf(last_text, sizeof(last_text), "%s", text);
    last_state = state;
    verified++;
}

static enum ls_checkpoint_state verify(const char *name)
{
    int before = verified;

    assert_int_equal(ls_checkpoints_verify(c, name, on_verified, NULL), 0);
    assert_int_equal(ls_checkpoints_verify(c, name, on_verified, NULL), -EBUSY);
    RIG_UNTIL(base, verified == before + 1);
    assert_string_equal(last_name, name);
    return last_state;
}

static void test_list(void **state)
{
    const struct ls_checkpoint_file *files;
    uint32_t count;

    (void)state;
    rig_write(at("checkpoint-1-9.lsc"), RIG_CLUSTER, 1, 9, 100);
    rig_write(at("checkpoint-1-10.lsc"), RIG_CLUSTER, 1, 10, 100);
    rig_write(at("checkpoint-2-3.lsc"), RIG_CLUSTER, 2, 3, 100);       /* of a newer generation */
    rig_write(at("checkpoint-1-20.lsc"), RIG_CLUSTER + 1, 1, 20, 100); /* of another cluster */
    rig_write(at("checkpoint-1-21.lsc"), RIG_CLUSTER, 1, 22, 100);     /* renamed by somebody */
    rig_write(at("checkpoint-1-30.lsc"), RIG_CLUSTER, 1, 30, 100);
    rig_damage(at("checkpoint-1-30.lsc"), 0);
    rig_write(at("checkpoint-1-40.lsc.1.partial"), RIG_CLUSTER, 1, 40, 100);
    rig_write(at("new.lsc"), RIG_CLUSTER, 1, 41, 100);
    rig_write(at("checkpoint-01-42.lsc"), RIG_CLUSTER, 1, 42, 100);
    rig_write(at("notes.txt"), RIG_CLUSTER, 1, 43, 100);
    begin();
    assert_int_equal(access(at("checkpoint-1-40.lsc.1.partial"), F_OK), -1);
    assert_int_equal(access(at("new.lsc"), F_OK), -1);
    assert_int_equal(access(at("notes.txt"), F_OK), 0);
    files = ls_checkpoints_list(c, &count);
    assert_int_equal(count, 6);
    assert_string_equal(files[0].name, "checkpoint-2-3.lsc");
    assert_int_equal(files[1].state, LS_CHECKPOINT_DAMAGED);
    assert_int_equal(files[2].state, LS_CHECKPOINT_FOREIGN);
    assert_int_equal(files[3].state, LS_CHECKPOINT_FOREIGN);
    assert_string_equal(files[4].name, "checkpoint-1-10.lsc");
    assert_int_equal(files[4].position, 1000);
    assert_string_equal(files[4].machine, "rig");
    assert_string_equal(ls_checkpoints_newest(c, 0)->name, "checkpoint-1-10.lsc");
    assert_non_null(ls_checkpoints_newest(c, 1000));
    assert_null(ls_checkpoints_newest(c, 1001));
}

static void test_names(void **state)
{
    char path[LS_CHECKPOINTS_PATH_MAX];

    (void)state;
    begin();
    assert_true(ls_checkpoints_path(c, "checkpoint-1-18446744073709551615.lsc", path));
    assert_false(ls_checkpoints_path(c, "checkpoint-1-2.lsc.partial", path));
    assert_false(ls_checkpoints_path(c, "../checkpoint-1-2.lsc", path));
    assert_false(ls_checkpoints_path(c, "checkpoint-1-2.lsc/../../x", path));
    assert_false(ls_checkpoints_path(c, "checkpoint-1--2.lsc", path));
    assert_false(ls_checkpoints_path(c, "checkpoint- 1-2.lsc", path));
    assert_false(ls_checkpoints_path(c, "checkpoint-1-99999999999999999999.lsc", path));
    assert_false(ls_checkpoints_path(c, "", path));
}

static void test_verify(void **state)
{
    (void)state;
    rig_write(at("checkpoint-1-10.lsc"), RIG_CLUSTER, 1, 10, 300000);
    rig_write(at("checkpoint-1-11.lsc"), RIG_CLUSTER, 1, 11, 300000);
    rig_damage(at("checkpoint-1-11.lsc"), 200000);
    begin();
    assert_int_equal(ls_checkpoints_verify(c, "checkpoint-1-12.lsc", on_verified, NULL), -ENOENT);
    assert_int_equal(verify("checkpoint-1-10.lsc"), LS_CHECKPOINT_GOOD);
    assert_string_equal(ls_checkpoints_newest(c, 0)->name, "checkpoint-1-11.lsc");
    assert_int_equal(verify("checkpoint-1-11.lsc"), LS_CHECKPOINT_DAMAGED);
    assert_non_null(strstr(last_text, "Bad message"));
    assert_string_equal(ls_checkpoints_newest(c, 0)->name, "checkpoint-1-10.lsc");
    assert_int_equal(ls_checkpoints_scan(c), 0); /* what is known stays known */
    assert_int_equal(ls_checkpoints_find(c, "checkpoint-1-10.lsc")->state, LS_CHECKPOINT_GOOD);
    ls_checkpoints_doubt(c, "checkpoint-1-10.lsc");
    assert_int_equal(ls_checkpoints_find(c, "checkpoint-1-10.lsc")->state, LS_CHECKPOINT_UNVERIFIED);
    assert_int_equal(unlink(at("checkpoint-1-10.lsc")), 0);
    assert_int_equal(ls_checkpoints_verify(c, "checkpoint-1-10.lsc", on_verified, NULL), -ENOENT);
    assert_null(ls_checkpoints_find(c, "checkpoint-1-10.lsc"));
    /* damaged since the list was made: what is found out stays known */
    rig_write(at("checkpoint-1-13.lsc"), RIG_CLUSTER, 1, 13, 300000);
    assert_int_equal(ls_checkpoints_scan(c), 0);
    usleep(20000); /* the file's times are of the kernel's ticks */
    rig_damage(at("checkpoint-1-13.lsc"), 200000);
    assert_int_equal(verify("checkpoint-1-13.lsc"), LS_CHECKPOINT_DAMAGED);
    assert_int_equal(ls_checkpoints_scan(c), 0);
    assert_int_equal(ls_checkpoints_find(c, "checkpoint-1-13.lsc")->state, LS_CHECKPOINT_DAMAGED);
    /* closed while the thread works: nothing is told, nothing leaks */
    rig_write(at("checkpoint-1-50.lsc"), RIG_CLUSTER, 1, 50, 3000000);
    assert_int_equal(ls_checkpoints_scan(c), 0);
    assert_int_equal(ls_checkpoints_verify(c, "checkpoint-1-50.lsc", on_verified, NULL), 0);
}

static void test_adopt(void **state)
{
    char path[LS_CHECKPOINTS_PATH_MAX];

    (void)state;
    begin();
    ls_checkpoints_new_path(c, path);
    assert_int_equal(ls_checkpoints_adopt(c, error), -ENOENT);
    rig_write(path, RIG_CLUSTER, 1, 77, 10);
    assert_int_equal(ls_checkpoints_adopt(c, error), 0);
    assert_true(ls_checkpoints_newest(c, 7700)->fresh);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(access(at("checkpoint-1-77.lsc"), F_OK), 0);
    rig_write(path, RIG_CLUSTER + 1, 1, 78, 10);
    assert_int_equal(ls_checkpoints_adopt(c, error), -EXDEV);
}

static void test_prune(void **state)
{
    char name[LS_CHECKPOINT_NAME_MAX];
    uint32_t count;

    (void)state;
    for (uint64_t seq = 1; seq <= 6; seq++) {
        ls_checkpoint_name(1, seq, name);
        rig_write(at(name), RIG_CLUSTER, 1, seq, 10);
    }
    begin();
    assert_int_equal(ls_checkpoints_prune(c, 2), 0); /* not one is known to be good */
    assert_int_equal(verify("checkpoint-1-5.lsc"), LS_CHECKPOINT_GOOD);
    assert_int_equal(ls_checkpoints_prune(c, 2), 0);
    assert_int_equal(verify("checkpoint-1-3.lsc"), LS_CHECKPOINT_GOOD);
    assert_int_equal(ls_checkpoints_prune(c, 0), 0);
    assert_int_equal(ls_checkpoints_prune(c, 2), 2); /* 6 (not verified), 5, 4 (not verified) and 3 stay */
    (void)ls_checkpoints_list(c, &count);
    assert_int_equal(count, 4);
    assert_non_null(ls_checkpoints_find(c, "checkpoint-1-3.lsc"));
}

static void test_refused(void **state)
{
    char file[64];

    (void)state;
    snprintf(file, sizeof(file), "%s/file", data_dir);
    rig_write(file, 1, 1, 1, 1);
    assert_null(ls_checkpoints_open(base, file, RIG_CLUSTER, 1, &rig_format, error));
    assert_non_null(strstr(error, "Not a directory"));
    /* what dataplanes write is told from anything else */
    rig_write(at("checkpoint-1-5.lsc"), RIG_CLUSTER, 1, 5, 1000);
    c = ls_checkpoints_open(base, data_dir, RIG_CLUSTER, 1, &ls_checkpoint_files, error);
    assert_int_equal(ls_checkpoints_find(c, "checkpoint-1-5.lsc")->state, LS_CHECKPOINT_DAMAGED);
    assert_int_equal(verify("checkpoint-1-5.lsc"), LS_CHECKPOINT_DAMAGED);
}

/* As a dataplane writes them: listed, adopted, verified, and every damage found. */
static void test_real(void **state)
{
    struct ls_checkpoint_job job = {.type = &ls_echo, .cluster = RIG_CLUSTER, .generation = 1};
    struct ls_cut cut = {.seq = 33, .position = 4096, .digest = 99, .epochs = 1, .epoch = {{.epoch = 1, .seq = 1}}};
    struct ls_machine *machine = ls_echo.create(NULL, NULL);
    static const uint8_t sessions[100] = {1};
    char path[LS_CHECKPOINTS_PATH_MAX];
    const struct ls_checkpoint_file *file;

    (void)state;
    c = ls_checkpoints_open(base, data_dir, RIG_CLUSTER, 1, &ls_checkpoint_files, error);
    ls_checkpoints_new_path(c, path);
    assert_int_equal(ls_echo.checkpoint_begin(machine), 0);
    assert_int_equal(ls_checkpoint_file_write(&job, &cut, sessions, sizeof(sessions), machine, path, 0, error), 0);
    ls_echo.checkpoint_end(machine);
    ls_echo.destroy(machine);
    assert_int_equal(ls_checkpoints_adopt(c, error), 0);
    file = ls_checkpoints_newest(c, 4096);
    assert_non_null(file);
    assert_string_equal(file->name, "checkpoint-1-33.lsc");
    assert_string_equal(file->machine, "echo");
    assert_int_equal(file->digest, 99);
    assert_int_equal(verify("checkpoint-1-33.lsc"), LS_CHECKPOINT_GOOD);
    rig_damage(at("checkpoint-1-33.lsc"), (long)file->size - 10);
    assert_int_equal(ls_checkpoints_scan(c), 0);
    assert_int_equal(verify("checkpoint-1-33.lsc"), LS_CHECKPOINT_DAMAGED);
    rig_damage(at("checkpoint-1-33.lsc"), 40);
    assert_int_equal(ls_checkpoints_scan(c), 0);
    assert_int_equal(ls_checkpoints_find(c, "checkpoint-1-33.lsc")->state, LS_CHECKPOINT_DAMAGED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {TEST(test_list),  TEST(test_names),   TEST(test_verify), TEST(test_adopt),
                                       TEST(test_prune), TEST(test_refused), TEST(test_real)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
