/* SPDX-License-Identifier: BSD-3-Clause */
/* JSON: the status of a node with and without a dataplane, log entries, fault settings and their errors. */
#include <errno.h>
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

static void test_status(void **state)
{
    static struct ls_counters_page page;
    static struct ls_config config = {.name = "demo",
                                      .cluster = 0xfedcba9876543210ull,
                                      .generation = 1,
                                      .port = 7400,
                                      .nodes = 2,
                                      .node = {{.id = 1, .role = LS_MEMBER_VOTER, .ip = 0x0a000001},
                                               {.id = 2, .role = LS_MEMBER_LEARNER, .ip = 0x0a000002}}};
    static struct ls_node node = {.config = &config, .self = &config.node[0]};
    json_t *json;

    (void)state;
    /* before the dataplane has said anything */
    ls_config_membership(&config, &node.record.durable.members);
    ls_problems_say(&node.problems, LS_CTRL_WARN, "a \"quoted\" one");
    node.dataplane.process.alive = true;
    json = ls_status_json(&node, 1000);
    assert_string_equal(TEXT(json, "role"), "starting");
    assert_true(json_is_true(at(json, "dataplane.alive")));
    assert_true(json_is_null(at(json, "members.1.heard_ms")));
    json_decref(json);

    node.dataplane.page = &page;
    node.dataplane.process.pid = 99;
    node.record.durable.incarnation = 3;
    page.replica.epoch = 5;
    page.replica.role = LS_ROLE_FOLLOWER;
    page.replica.sequencer = 2;
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
    json = ls_status_json(&node, 3500000);
    assert_string_equal(TEXT(json, "cluster"), "demo");
    assert_string_equal(TEXT(json, "cluster_id"), "fedcba9876543210");
    assert_string_equal(TEXT(json, "problem"), "a \"quoted\" one");
    assert_string_equal(TEXT(json, "role"), "follower");
    assert_int_equal(NUMBER(json, "epoch"), 5);
    assert_int_equal(NUMBER(json, "sequencer"), 2);
    assert_int_equal(json_array_size(at(json, "members")), 2);
    assert_string_equal(TEXT(json, "members.1.role"), "learner");
    assert_string_equal(TEXT(json, "members.1.address"), "10.0.0.2:7400");
    assert_true(json_real_value(at(json, "members.1.heard_ms")) == 2.5);
    assert_int_equal(NUMBER(json, "members.1.acked"), 64);
    assert_int_equal(NUMBER(json, "members.0.applied_seq"), 12);
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
    node.dataplane.process.alive = false;
    strcpy(node.dataplane.process.how, "killed by signal 9");
    json = ls_status_json(&node, 3500000);
    assert_string_equal(TEXT(json, "role"), "down");
    assert_int_equal(NUMBER(json, "sequencer"), 0);
    assert_true(json_is_false(at(json, "dataplane.alive")));
    assert_string_equal(TEXT(json, "dataplane.reason"), "killed by signal 9");
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

static int parse(const char *text, struct ls_control_fault *fault, char *error)
{
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    int result;

    assert_non_null(json);
    error[0] = '\0';
    result = ls_fault_parse(json, fault, error, 256);
    json_decref(json);
    return result;
}

static void test_fault(void **state)
{
    struct ls_control_fault fault;
    char error[256];

    (void)state;
    assert_int_equal(parse("{}", &fault, error), 0);
    assert_int_equal(fault.drop, 0);
    assert_int_equal(
        parse("{\"seed\": 7, \"drop\": 10, \"delay\": 5000000000, \"cut_in\": [2, 63], \"cut_out\": 5}", &fault, error),
        0);
    assert_int_equal(fault.seed, 7);
    assert_int_equal(fault.drop, 10);
    assert_int_equal(fault.delay, 5000000000);
    assert_int_equal(fault.cut_in, 1ull << 2 | 1ull << 63);
    assert_int_equal(fault.cut_out, 5);
    assert_int_equal(fault.zero, 0);
    assert_int_equal(parse("[]", &fault, error), -EINVAL);
    assert_string_equal(error, "a JSON object of fault settings is expected");
    assert_int_equal(parse("{\"drop\": -1}", &fault, error), -EINVAL);
    assert_string_equal(error, "drop: a whole number from 0 to 4294967295 is allowed");
    assert_int_equal(parse("{\"drop\": 4294967296}", &fault, error), -EINVAL);
    assert_int_equal(parse("{\"drop\": 0.5}", &fault, error), -EINVAL);
    assert_int_equal(parse("{\"drop\": [1]}", &fault, error), -EINVAL);
    assert_int_equal(parse("{\"cut_in\": [64]}", &fault, error), -EINVAL);
    assert_string_equal(error, "cut_in: node ids from 0 (clients) to 63 are allowed");
    assert_int_equal(parse("{\"cut_in\": [\"a\"]}", &fault, error), -EINVAL);
    assert_int_equal(parse("{\"zero\": 1}", &fault, error), -EINVAL);
    assert_non_null(strstr(error, "unknown key \"zero\": allowed are seed, drop"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_status), cmocka_unit_test(test_log),
                                       cmocka_unit_test(test_fault)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
