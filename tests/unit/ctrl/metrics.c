/* SPDX-License-Identifier: BSD-3-Clause */
/* The metrics' text is what Prometheus reads: each family once, with HELP and TYPE before its samples, names and
 * numbers well formed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "metrics.h"

static struct ls_config config = {.name = "demo",
                                  .cluster = 5,
                                  .port = 7400,
                                  .nodes = 2,
                                  .node = {{.id = 1, .role = LS_MEMBER_VOTER, .ip = 0x0a000001},
                                           {.id = 2, .role = LS_MEMBER_VOTER, .ip = 0x0a000002}}};
static struct ls_counters_page page;
static struct ls_operate_view view;
static struct ls_fault_list faults;
static char text[1 << 18];

static void write_all(void)
{
    struct evbuffer *out = evbuffer_new();
    ssize_t length;

    assert_true(ls_metrics_write(out, &view, &faults, 5000000000));
    length = evbuffer_remove(out, text, sizeof(text) - 1);
    assert_true(length > 0 && (size_t)length < sizeof(text) - 1);
    text[length] = '\0';
    evbuffer_free(out);
}

static int setup(void **state)
{
    (void)state;
    memset(&page, 0, sizeof(page));
    memset(&view, 0, sizeof(view));
    view.config = &config;
    view.self = &config.node[0];
    ls_config_membership(&config, &view.ctrl.members);
    return 0;
}

#define NAME "abcdefghijklmnopqrstuvwxyz_0123456789"

static void sample_check(const char *line, const char *family)
{
    size_t length = strspn(line, NAME);
    const char *close = strchr(line, '}');
    char *end;

    assert_int_equal(length, strlen(family));
    assert_memory_equal(line, family, length);
    assert_int_equal(line[length], '{');
    assert_non_null(close);
    assert_int_equal(close[1], ' ');
    (void)strtod(close + 2, &end);
    assert_true(end > close + 2 && *end == '\0');
}

static void check(void)
{
    static char seen[1024][80];
    char family[80] = "", typed[80];
    uint32_t families = 0;

    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL && rest != NULL;) {
        if (sscanf(line, "# HELP %79s", family) == 1) {
            assert_true(strlen(line) > strlen("# HELP ") + strlen(family) + 1); /* it says something */
            assert_memory_equal(family, "lockstep_", 9);
            for (uint32_t i = 0; i < families; i++)
                assert_string_not_equal(seen[i], family);
            assert_true(families < 1024);
            strcpy(seen[families++], family);
            line = strsep(&rest, "\n");
            assert_int_equal(sscanf(line, "# TYPE %79s", typed), 1);
            assert_string_equal(typed, family);
            assert_true(strstr(line, " counter") != NULL || strstr(line, " gauge") != NULL);
            assert_true((strstr(line, " counter") != NULL) ==
                        (strcmp(family + strlen(family) - strlen("_total"), "_total") == 0));
        } else {
            sample_check(line, family);
        }
    }
}

static void has(const char *line)
{
    if (strstr(text, line) == NULL)
        fail_msg("not there: %s", line);
}

static void test_without_dataplane(void **state)
{
    (void)state;
    view.ctrl.phase = LS_CTRL_WAITING;
    view.ctrl.restarts = 3;
    write_all();
    has("\nlockstep_up{cluster=\"demo\",node=\"1\"} 0\n");
    has("\nlockstep_dataplane_restarts_total{cluster=\"demo\",node=\"1\"} 3\n");
    has(",phase=\"waiting\"} 1\n");
    assert_null(strstr(text, "lockstep_frames_in_total"));
    check();
}

static void test_whole(void **state)
{
    (void)state;
    view.page = &page;
    view.alive = view.linked = true;
    view.start_ns = 1000000000;
    view.ctrl.sequencer = 2;
    view.ctrl.epoch = 9;
    view.ctrl.suspected_ns = 1;
    view.ctrl.installed_ns = 2500001;
    view.ctrl.peers = 1;
    view.ctrl.peer[0] =
        (struct ls_ctrl_peer_view){.node = 2, .linked = true, .alive = true, .applied_seq = 90, .status_ns = 1};
    view.progress = (struct ls_operate_progress){.running = true, .what = "written", .bytes = 77};
    view.busy[LS_WORKER_APPLY] = 0.25;
    faults.count = 2;
    page.replica.role = LS_ROLE_FOLLOWER;
    page.replica.applied_seq = 100;
    page.replica.heard_ns[2] = 4000000000;
    page.replica.scrub_rounds = 4;
    page.worker[LS_WORKER_APPLY].heartbeat_ns = 1;
    page.worker[LS_WORKER_APPLY].counters.value[LS_COUNT_drop_crc] = 6;
    page.worker[LS_WORKER_NET].counters.value[LS_COUNT_drop_crc] = 5;
    write_all();
    has("\nlockstep_uptime_seconds{cluster=\"demo\",node=\"1\"} 4\n");
    has("\nlockstep_faults_in_force{cluster=\"demo\",node=\"1\"} 2\n");
    has("\nlockstep_epoch{cluster=\"demo\",node=\"1\"} 9\n");
    has("\nlockstep_last_election_seconds{cluster=\"demo\",node=\"1\"} 0.0025");
    has("\nlockstep_checkpoint_bytes{cluster=\"demo\",node=\"1\"} 77\n");
    has("\nlockstep_member_lag_entries{cluster=\"demo\",node=\"1\",member=\"2\"} 10\n");
    has("\nlockstep_member_heard_seconds{cluster=\"demo\",node=\"1\",member=\"2\"} 1\n");
    has("\nlockstep_member_alive{cluster=\"demo\",node=\"1\",member=\"2\"} 1\n");
    has("\nlockstep_role{cluster=\"demo\",node=\"1\",role=\"follower\"} 1\n");
    has("\nlockstep_scrub_rounds_total{cluster=\"demo\",node=\"1\"} 4\n");
    has("\nlockstep_worker_busy_ratio{cluster=\"demo\",node=\"1\",worker=\"apply\"} 0.25\n");
    has("\n# HELP lockstep_drop_crc_total frame: checksum wrong\n# TYPE lockstep_drop_crc_total counter\n");
    has("\nlockstep_drop_crc_total{cluster=\"demo\",node=\"1\"} 11\n");
    for (unsigned i = 0; i < LS_COUNTERS; i++) {
        char name[100];

        snprintf(name, sizeof(name), "\nlockstep_%s_total{", ls_counter_name(i));
        has(name);
    }
    check();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup(test_without_dataplane, setup),
                                       cmocka_unit_test_setup(test_whole, setup)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
