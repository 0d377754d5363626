/* SPDX-License-Identifier: BSD-3-Clause */
/* Faults: JSON and what is refused, the list, merging, time that runs out, texts. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "faults.h"

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

static int entry_parse(const char *text, struct ls_fault_entry *entry, char *error)
{
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    int result;

    assert_non_null(json);
    error[0] = '\0';
    result = ls_fault_entry_parse(json, entry, error, 256);
    json_decref(json);
    return result;
}

static void test_entry(void **state)
{
    static const struct {
        const char *json, *text;
    } good[] = {
        {"{\"drop\": 50000, \"delay\": 200000, \"jitter\": 50000, \"cut_in\": [2, 3], \"cut_out\": [2, 3], \"for_ns\": "
         "10000000000, \"seed\": 7}",
         "drop 5 %, delay 200 us, jitter 50 us, cut 2 3, seed 7, for 10 s"},
        {"{\"kind\": \"network\", \"cut_in\": [0], \"corrupt\": 1}", "corrupt 0.0001 %, cut from clients"},
        {"{\"bytes_per_second\": 1000000, \"reorder\": 10000, \"reorder_span\": 4}",
         "reorder 1 %, at most 1000000 bytes/s"},
        {"{\"kind\": \"slow\", \"worker\": \"apply\", \"turn_ns\": 50000}", "slow apply by 50 us a turn"},
        {"{\"kind\": \"stall\", \"worker\": \"net\", \"for_ns\": 2000000000}", "stall net, for 2 s"},
        {"{\"kind\": \"stop\", \"for_ns\": 1500000000}", "stop dataplane, for 1500 ms"},
        {"{\"kind\": \"stop\", \"for_ns\": 1, \"target\": \"node\"}", "stop node, for 1 ns"},
        {"{\"kind\": \"crash\", \"target\": \"ctrl\"}", "crash ctrl"},
        {"{\"kind\": \"flip\", \"seed\": 5}", "flip a bit of the state, seed 5"},
        {"{\"kind\": \"disk\", \"hang\": 1, \"for_ns\": 1000000000}", "disk hang, for 1 s"},
        {"{\"kind\": \"disk\", \"error\": 10000, \"short\": 1, \"torn\": 500000, \"lost\": 1000000, \"rot\": 10, "
         "\"misplaced\": 100, \"full\": 1, \"delay\": 5000, \"jitter\": 2000, \"seed\": 4}",
         "disk error 1 %, short 0.0001 %, torn 50 %, lost 100 %, rot 0.001 %, misplaced 0.01 %, full, delay 5 us, "
         "jitter 2 us, seed 4"},
    };
    static const struct {
        const char *json, *error;
    } bad[] = {
        {"7", "a JSON object of fault settings is expected"},
        {"{\"kind\": \"flood\"}", "kind: allowed are network, slow, stall, stop, crash, flip, disk"},
        {"{}", "nothing to do: give drop"},
        {"{\"for_ns\": 5}", "nothing to do: give drop"},
        {"{\"drop\": 1, \"for_ns\": 0}", "for_ns: a whole number from 1 to 86400000000000 is allowed"},
        {"{\"kind\": \"stop\"}", "for_ns: a whole number from 1 to 86400000000000 is needed"},
        {"{\"kind\": \"slow\", \"turn_ns\": 5}", "worker: allowed are net, apply, journal"},
        {"{\"kind\": \"slow\", \"worker\": \"net\"}", "turn_ns: a whole number from 1 to 1000000000 is needed"},
        {"{\"kind\": \"crash\", \"target\": \"world\"}", "target: allowed are dataplane, ctrl, node"},
        {"{\"kind\": \"crash\", \"for_ns\": 5}", "a fault of kind crash does not take all of these keys"},
        {"{\"kind\": \"network\", \"target\": \"node\"}", "unknown key \"target\""},
        {"{\"kind\": \"disk\"}", "nothing to do: give error, short"},
        {"{\"kind\": \"disk\", \"drop\": 5}", "unknown key \"drop\": allowed are seed, error"},
        {"{\"kind\": \"disk\", \"rot\": -5}", "rot: a whole number from 0 to 4294967295 is allowed"},
    };
    struct ls_fault_entry entry;
    char error[256], text[LS_FAULT_TEXT_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(entry_parse(good[i].json, &entry, error), 0);
        assert_string_equal(ls_fault_entry_text(&entry, text, sizeof(text)), good[i].text);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(entry_parse(bad[i].json, &entry, error), -EINVAL);
        if (strncmp(error, bad[i].error, strlen(bad[i].error)) != 0)
            fail_msg("%s: %s", bad[i].json, error);
    }
    entry.network.cut_in = UINT64_MAX; /* a text that does not fit is cut short */
    entry.kind = LS_FAULT_NETWORK;
    assert_int_equal(strlen(ls_fault_entry_text(&entry, text, 16)), 15);
}

static void test_list(void **state)
{
    static struct ls_fault_list list;
    struct ls_fault_entry half = {.kind = LS_FAULT_NETWORK, .network = {.drop = 500000, .delay = 5, .cut_in = 4}};
    struct ls_fault_entry slow = {.kind = LS_FAULT_SLOW, .worker = LS_WORKER_APPLY, .turn_ns = 10, .for_ns = 100};
    struct ls_control_fault all;
    json_t *json;

    (void)state;
    assert_int_equal(ls_fault_list_next_ns(&list), UINT64_MAX);
    ls_fault_list_network(&list, &all);
    assert_int_equal(all.drop, 0);
    assert_int_equal(ls_fault_list_add(&list, &half, 1000), 1);
    half.network = (struct ls_control_fault){
        .drop = 500000, .delay = 7, .cut_in = 8, .cut_out = 2, .bytes_per_second = 9, .seed = 3};
    half.for_ns = 50;
    assert_int_equal(ls_fault_list_add(&list, &half, 1000), 2);
    assert_int_equal(ls_fault_list_add(&list, &slow, 1000), 3);
    assert_int_equal(ls_fault_list_add(&list, &slow, 1010), 4);
    ls_fault_list_network(&list, &all);
    assert_int_equal(all.drop, 750000);
    assert_int_equal(all.delay, 12);
    assert_int_equal(all.cut_in, 12);
    assert_int_equal(all.cut_out, 2);
    assert_int_equal(all.bytes_per_second, 9);
    assert_int_equal(all.seed, 3);
    assert_int_equal(ls_fault_list_slow_ns(&list, LS_WORKER_APPLY), 20);
    assert_int_equal(ls_fault_list_slow_ns(&list, LS_WORKER_NET), 0);
    json = ls_fault_entry_json(&list.entry[1], 1020);
    assert_int_equal(json_integer_value(json_object_get(json, "id")), 2);
    assert_true(json_real_value(json_object_get(json, "left_ms")) == 30e-6);
    json_decref(json);

    assert_int_equal(ls_fault_list_next_ns(&list), 1050);
    assert_int_equal(ls_fault_list_expire(&list, 1049), 0);
    assert_int_equal(ls_fault_list_expire(&list, 1050), 1);
    assert_int_equal(ls_fault_list_expire(&list, 1100), 1);
    assert_int_equal(list.count, 2);
    assert_int_equal(ls_fault_list_remove(&list, 3), 0);
    assert_int_equal(ls_fault_list_remove(&list, 4), 1);
    ls_fault_list_network(&list, &all);
    assert_int_equal(all.drop, 500000);
    for (uint64_t i = 1; i < LS_FAULTS_MAX; i++)
        assert_int_equal(ls_fault_list_add(&list, &slow, 2000), 4 + i);
    assert_int_equal(ls_fault_list_add(&list, &slow, 2000), 0);
    assert_int_equal(ls_fault_list_remove(&list, 0), LS_FAULTS_MAX);
}

static void test_disk(void **state)
{
    static struct ls_fault_list list;
    struct ls_fault_entry entry = {.kind = LS_FAULT_DISK, .disk = {.torn = 500000, .delay = 5, .full = 1, .seed = 1}};
    struct ls_control_disk_fault all;

    (void)state;
    assert_int_equal(ls_fault_list_add(&list, &entry, 1000), 1);
    entry.disk = (struct ls_control_disk_fault){.torn = 500000, .delay = 7, .jitter = 3, .hang = 1, .error = 9};
    assert_int_equal(ls_fault_list_add(&list, &entry, 1000), 2);
    entry.kind = LS_FAULT_NETWORK; /* what else it holds is not the disk's */
    assert_int_equal(ls_fault_list_add(&list, &entry, 1000), 3);
    ls_fault_list_disk(&list, &all);
    assert_int_equal(all.torn, 750000);
    assert_int_equal(all.delay, 12);
    assert_int_equal(all.jitter, 3);
    assert_true(all.full == 1 && all.hang == 1 && all.seed == 1 && all.error == 9);
    assert_int_equal(ls_fault_list_remove(&list, 0), 3);
    ls_fault_list_disk(&list, &all);
    assert_int_equal(all.torn + all.full + all.hang, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fault), cmocka_unit_test(test_entry),
                                       cmocka_unit_test(test_list), cmocka_unit_test(test_disk)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
