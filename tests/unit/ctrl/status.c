/* SPDX-License-Identifier: BSD-3-Clause */
/* JSON: the status of a node with and without a dataplane, of the cluster in trouble, log entries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "status.h"

#include <lockstep/entry.h>

static json_t *at(json_t *json, const char *path)
{
    char copy[128], *rest = copy, *key;

    strcpy(copy, path);
    while ((key = strsep(&rest, ".")) != NULL) {
        json = key[0] >= '0' && key[0] <= '9' ? json_array_get(json, (size_t)atoi(key)) : json_object_get(json, key);
        if (json == NULL)
            fail_msg("no %s", path);
    }
    return json;
}
#define NUMBER(json, path) json_integer_value(at(json, path))
#define TEXT(json, path)   json_string_value(at(json, path))

static struct ls_config config = {.name = "demo",
                                  .cluster = 0xfedcba9876543210ull,
                                  .generation = 1,
                                  .port = 7400,
                                  .nodes = 2,
                                  .node = {{.id = 1, .role = LS_MEMBER_VOTER, .ip = 0x0a000001},
                                           {.id = 2, .role = LS_MEMBER_LEARNER, .ip = 0x0a000002}}};
static struct ls_counters_page page;

static struct ls_operate_view *view_make(void)
{
    static struct ls_operate_view view;

    memset(&view, 0, sizeof(view));
    memset(&page, 0, sizeof(page));
    view.config = &config;
    view.self = &config.node[0];
    view.ctrl.phase = LS_CTRL_FULL;
    ls_config_membership(&config, &view.ctrl.members);
    view.alive = view.linked = true;
    return &view;
}

static void test_status(void **state)
{
    struct ls_operate_view *view = view_make();
    json_t *json;

    (void)state;
    /* before the dataplane has said anything */
    strcpy(view->ctrl.problem, "a \"quoted\" one");
    json = ls_status_json(view, 1000);
    assert_string_equal(TEXT(json, "role"), "starting");
    assert_true(json_is_true(at(json, "dataplane.alive")));
    assert_true(json_is_null(at(json, "members.1.heard_ms")));
    assert_true(json_is_null(at(json, "members.1.lag")));
    json_decref(json);

    view->page = &page;
    view->pid = 99;
    view->ctrl.durable.incarnation = view->ctrl.durable.counts = 3;
    view->ctrl.epoch = 5;
    view->ctrl.sequencer = 2;
    page.replica.role = LS_ROLE_FOLLOWER;
    page.replica.heard_ns[2] = 1000000;
    page.replica.acked[2] = 64;
    page.replica.applied_seq = 12;
    page.replica.digest = 0xffffffffffffffffull;
    page.replica.digest_seq = 8;
    page.worker[LS_WORKER_NET].heartbeat_ns = 2000000;
    page.worker[LS_WORKER_NET].longest_turn_ns = 1500;
    page.worker[LS_WORKER_NET].cpu = UINT64_MAX;
    page.worker[LS_WORKER_NET].counters.value[LS_COUNT_frames_in] = 4;
    page.worker[LS_WORKER_APPLY].counters.value[LS_COUNT_frames_in] = 5;
    view->ctrl.stalled = true; /* a hung sequencer's page would still call it one */
    json = ls_status_json(view, 3500000);
    assert_string_equal(TEXT(json, "role"), "stalled");
    json_decref(json);
    view->ctrl.stalled = false;
    json = ls_status_json(view, 3500000);
    assert_string_equal(TEXT(json, "cluster"), "demo");
    assert_string_equal(TEXT(json, "cluster_id"), "fedcba9876543210");
    assert_string_equal(TEXT(json, "problem"), "a \"quoted\" one");
    assert_string_equal(TEXT(json, "alarms.0"), "a \"quoted\" one");
    assert_int_equal(json_array_size(at(json, "alarms")), 1);
    assert_string_equal(TEXT(json, "role"), "follower");
    assert_int_equal(NUMBER(json, "epoch"), 5);
    assert_int_equal(NUMBER(json, "sequencer"), 2);
    assert_int_equal(json_array_size(at(json, "members")), 2);
    assert_string_equal(TEXT(json, "members.1.role"), "learner");
    assert_string_equal(TEXT(json, "members.1.address"), "10.0.0.2:7400");
    assert_true(json_real_value(at(json, "members.1.heard_ms")) == 2.5);
    assert_int_equal(NUMBER(json, "members.1.acked"), 64);
    assert_int_equal(NUMBER(json, "members.0.applied_seq"), 12);
    assert_int_equal(NUMBER(json, "members.0.lag"), 0);
    assert_true(json_is_true(at(json, "members.0.counts")));
    assert_string_equal(TEXT(json, "members.0.replica"), "follower");
    assert_int_equal(NUMBER(json, "dataplane.pid"), 99);
    assert_int_equal(NUMBER(json, "dataplane.incarnation"), 3);
    assert_string_equal(TEXT(json, "dataplane.digest"), "ffffffffffffffff");
    assert_int_equal(NUMBER(json, "dataplane.digest_seq"), 8);
    assert_int_equal(json_array_size(at(json, "dataplane.workers")), 1);
    assert_string_equal(TEXT(json, "dataplane.workers.0.name"), "net");
    assert_true(json_real_value(at(json, "dataplane.workers.0.longest_turn_us")) == 1.5);
    assert_true(json_is_null(at(json, "dataplane.workers.0.cpu")));
    assert_int_equal(NUMBER(json, "dataplane.counters.frames_in"), 9);
    json_decref(json);

    /* dead: no role, whatever the page says */
    view->alive = false;
    strcpy(view->death, "killed by signal 9");
    json = ls_status_json(view, 3500000);
    assert_string_equal(TEXT(json, "role"), "down");
    assert_true(json_is_false(at(json, "dataplane.alive")));
    assert_string_equal(TEXT(json, "dataplane.reason"), "killed by signal 9");
    assert_string_equal(TEXT(json, "alarms.1"), "the dataplane is not running: killed by signal 9");
    json_decref(json);
}

/* The whole cluster as this node sees it, and what is wrong with it. */
static void test_cluster(void **state)
{
    struct ls_operate_view *view = view_make();
    json_t *json;

    (void)state;
    view->page = &page;
    view->ctrl.majority_lost = true;
    view->ctrl.electing = true;
    view->ctrl.elections = 4;
    view->ctrl.elections_won = 2;
    view->ctrl.suspected_ns = 1000000;
    view->ctrl.decided_ns = 2000000;
    view->ctrl.installed_ns = 3500000;
    strcpy(view->ctrl.change, "node 2 is 17 entries behind");
    view->ctrl.peers = 1;
    view->ctrl.peer[0] = (struct ls_ctrl_peer_view){.node = 2,
                                                    .linked = true,
                                                    .alive = true,
                                                    .stalled = true,
                                                    .role = LS_ROLE_BEHIND,
                                                    .incarnation = 7,
                                                    .applied_seq = 100,
                                                    .status_ns = 4000000};
    page.replica.applied_seq = 117;
    page.replica.scrub_damaged = 2;
    page.replica.halt_reason = LS_HALT_LOG_DAMAGED;
    page.faults_active = 1;
    view->alarms = 1;
    view->alarm[0] = (struct ls_operate_alarm){.at = 86400, .times = 3, .level = LS_CTRL_WARN, .text = "so it goes"};
    view->progress =
        (struct ls_operate_progress){.running = true, .what = "fetching", .from = 2, .bytes = 10, .expected = 20};
    json = ls_status_json(view, 5000000);
    assert_int_equal(NUMBER(json, "newest_seq"), 117);
    assert_int_equal(NUMBER(json, "members.1.lag"), 17);
    assert_true(json_is_true(at(json, "members.1.stalled")));
    assert_true(json_is_false(at(json, "members.1.counts")));
    assert_string_equal(TEXT(json, "members.1.replica"), ls_role_name(LS_ROLE_BEHIND));
    assert_int_equal(NUMBER(json, "members.1.incarnation"), 7);
    assert_true(json_real_value(at(json, "members.1.status_ms")) == 1);
    assert_int_equal(NUMBER(json, "elections.stood"), 4);
    assert_true(json_real_value(at(json, "elections.decided_ms")) == 1);
    assert_true(json_real_value(at(json, "elections.installed_ms")) == 2.5);
    assert_string_equal(TEXT(json, "change"), "node 2 is 17 entries behind");
    assert_string_equal(TEXT(json, "said.0.at"), "1970-01-02T00:00:00Z");
    assert_string_equal(TEXT(json, "said.0.level"), "warning");
    assert_int_equal(NUMBER(json, "said.0.times"), 3);
    assert_int_equal(NUMBER(json, "checkpoint.bytes"), 10);
    assert_int_equal(NUMBER(json, "checkpoint.from"), 2);
    assert_true(json_is_null(at(json, "rejoin")));
    assert_int_equal(json_array_size(at(json, "alarms")), 6);
    assert_non_null(strstr(TEXT(json, "alarms.0"), "A MAJORITY OF THE VOTERS HAS LOST ITS MEMORY"));
    assert_non_null(strstr(TEXT(json, "alarms.1"), "halted"));
    assert_string_equal(TEXT(json, "alarms.2"), "2 damaged records were found in the state");
    assert_non_null(strstr(TEXT(json, "alarms.3"), "FAULTS ARE BEING INJECTED"));
    assert_string_equal(TEXT(json, "alarms.4"), "no sequencer is known: an election is under way");
    assert_string_equal(TEXT(json, "alarms.5"), "node 2: its dataplane makes no progress");
    json_decref(json);

    /* on the way back in */
    view->ctrl.phase = LS_CTRL_JOINING;
    view->ctrl.reach = 400;
    page.replica.last = 100;
    view->ctrl.peer[0].linked = false;
    json = ls_status_json(view, 5000000);
    assert_string_equal(TEXT(json, "state"), ls_ctrl_phase_name(LS_CTRL_JOINING));
    assert_true(json_real_value(at(json, "rejoin.share")) == 0.25);
    assert_string_equal(TEXT(json, "alarms.5"), "node 2: no link to its lockstep-ctrl");
    json_decref(json);
}

static void test_log(void **state)
{
    struct ls_control_log_bytes head = {.oldest_seq = 3, .next_seq = 6, .commit_seq = 9, .skipped = 1};
    struct ls_entry entry = {.length = 5,
                             .seq = 4,
                             .time = 77,
                             .session = 2,
                             .number = 8,
                             .ip = 0x7f000001,
                             .port = 99,
                             .kind = LS_ENTRY_OPERATION};
    uint8_t body[sizeof(head) + 64 + 8 + 64];
    json_t *json;

    (void)state;
    head.bytes = sizeof(body) - sizeof(head);
    memset(body, 0, sizeof(body));
    memcpy(body, &head, sizeof(head));
    memcpy(body + sizeof(head), &entry, sizeof(entry));
    memcpy(body + sizeof(head) + 64, "hello", 5);
    entry.seq = 5;
    entry.length = 100000;
    entry.kind = 99;
    memcpy(body + sizeof(head) + 72, &entry, sizeof(entry));
    json = ls_log_json(body);
    assert_int_equal(NUMBER(json, "oldest_seq"), 3);
    assert_int_equal(NUMBER(json, "next_seq"), 6);
    assert_int_equal(NUMBER(json, "commit_seq"), 9);
    assert_int_equal(json_array_size(at(json, "entries")), 2);
    assert_int_equal(NUMBER(json, "entries.0.seq"), 4);
    assert_int_equal(NUMBER(json, "entries.0.time"), 77);
    assert_string_equal(TEXT(json, "entries.0.kind"), "operation");
    assert_string_equal(TEXT(json, "entries.0.client"), "127.0.0.1:99");
    assert_string_equal(TEXT(json, "entries.0.operation"), "aGVsbG8=");
    assert_string_equal(TEXT(json, "entries.1.kind"), "?");
    assert_int_equal(NUMBER(json, "entries.1.length"), 100000);
    assert_true(json_is_null(at(json, "entries.1.operation")));
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_status), cmocka_unit_test(test_cluster),
                                       cmocka_unit_test(test_log)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
