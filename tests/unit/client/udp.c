/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests dataplane/client/udp.c and kv_call.c against a real node over loopback (node.h). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include <lockstep/client_kv.h>

#include "node.h"

#define TEXT(text) ((struct ls_kv_bytes){(text), sizeof(text) - 1})
#define SECOND     1000000000ull

static const struct ls_kv_how linearizable = {.consistency = LS_READ_LINEARIZABLE};

static struct ls_client *client_open(const struct ls_client_options *options)
{
    struct ls_client *client;
    assert_int_equal(ls_client_open(&client, options), 0);
    return client;
}

static struct node *node_plain(void)
{
    return node_start(0, 64, LS_SESSION_IDLE_DEFAULT);
}

static void value_is(struct ls_client *client, struct ls_kv_bytes key, const char *value)
{
    struct ls_kv_got got;
    assert_int_equal(ls_kv_get(client, key, &linearizable, &got), 0);
    assert_int_equal(got.status, LS_STATUS_OK);
    assert_int_equal(got.length, strlen(value));
    assert_string_equal((char *)got.value, value);
    free(got.value);
}

static void single_operations(void **state)
{
    struct node *node = node_plain();
    struct ls_client_options options = node_options(node);
    struct ls_client *client = client_open(&options);
    struct ls_kv_outcome outcome;
    struct ls_kv_got got;

    /* reads need no session */
    assert_int_equal(ls_kv_get(client, TEXT("a"), &linearizable, &got), 0);
    assert_int_equal(got.status, LS_STATUS_NOT_FOUND);
    assert_null(got.value);
    assert_int_equal(ls_client_session(client), 0);

    assert_int_equal(ls_kv_put(client, TEXT("a"), TEXT("one"), 0, &outcome), 0);
    assert_int_equal(outcome.status, LS_STATUS_OK);
    assert_int_equal(outcome.version, outcome.seq);
    assert_int_equal(outcome.durability, LS_DURABLE_MEMORY);
    assert_int_not_equal(ls_client_session(client), 0);
    value_is(client, TEXT("a"), "one");
    uint64_t version = outcome.version;

    assert_int_equal(ls_kv_cas(client, TEXT("a"), TEXT("two"), version + 1000, 0, &outcome), 0);
    assert_int_equal(outcome.status, LS_STATUS_CONDITION);
    assert_int_equal(outcome.version, version);
    assert_int_equal(ls_kv_cas(client, TEXT("a"), TEXT("two"), version, 0, &outcome), 0);
    assert_int_equal(outcome.status, LS_STATUS_OK);
    assert_int_equal(ls_kv_append(client, TEXT("a"), TEXT(" and more"), &outcome), 0);
    assert_int_equal(outcome.number, strlen("two and more"));
    value_is(client, TEXT("a"), "two and more");
    assert_int_equal(ls_kv_cas_delete(client, TEXT("a"), version, &outcome), 0);
    assert_int_equal(outcome.status, LS_STATUS_CONDITION);

    assert_int_equal(ls_kv_incr(client, TEXT("n"), 40, &outcome), 0);
    assert_int_equal(ls_kv_incr(client, TEXT("n"), -50, &outcome), 0);
    assert_int_equal((int64_t)outcome.number, -10);
    assert_int_equal(ls_kv_incr(client, TEXT("a"), 1, &outcome), 0);
    assert_int_equal(outcome.status, LS_STATUS_NOT_A_NUMBER);

    assert_int_equal(ls_kv_delete(client, TEXT("a"), &outcome), 0);
    assert_int_equal(outcome.status, LS_STATUS_OK);
    assert_int_equal(ls_kv_delete(client, TEXT("a"), &outcome), 0);
    assert_int_equal(outcome.status, LS_STATUS_NOT_FOUND);

    assert_int_equal(ls_kv_put(client, TEXT(""), TEXT("x"), 0, &outcome), -EINVAL);
    assert_int_equal(ls_kv_get(client, TEXT(""), &linearizable, &got), -EINVAL);

    /* session guarantees without asking a majority, and the copy as it is */
    const struct ls_kv_how least = {.consistency = LS_READ_LEAST, .least = ls_client_last_seq(client)};
    const struct ls_kv_how stale = {.consistency = LS_READ_STALE};
    assert_int_equal(ls_kv_get(client, TEXT("n"), &least, &got), 0);
    assert_true(got.seq >= least.least);
    assert_string_equal((char *)got.value, "-10");
    free(got.value);
    assert_int_equal(ls_kv_get(client, TEXT("n"), &stale, &got), 0);
    assert_int_equal(got.status, LS_STATUS_OK);
    free(got.value);
    ls_client_close(client);
    node_stop(node);
}

static void batches_are_all_or_nothing(void **state)
{
    struct node *node = node_plain();
    struct ls_client_options options = node_options(node);
    struct ls_client *client = client_open(&options);
    struct ls_kv_outcome outcome;
    uint8_t memory[4096];
    uint8_t mutation[256];
    struct ls_kv_batch batch;
    for (int wrong = 0; wrong < 2; wrong++) {
        assert_int_equal(ls_kv_batch_begin(&batch, memory, sizeof(memory)), 0);
        int length = ls_kv_build_put(mutation, sizeof(mutation), TEXT("x"), TEXT("1"), 0);
        assert_int_equal(ls_kv_batch_add(&batch, mutation, (size_t)length), 0);
        length = ls_kv_build_cas(mutation, sizeof(mutation), TEXT("y"), TEXT("2"), wrong ? 0 : 7, 0);
        assert_int_equal(ls_kv_batch_add(&batch, mutation, (size_t)length), 0);
        length = ls_kv_batch_end(&batch);
        assert_true(length > 0);
        assert_int_equal(ls_kv_mutate(client, memory, (size_t)length, &outcome), 0);
        if (!wrong) {
            assert_int_equal(outcome.status, LS_STATUS_CONDITION);
            assert_int_equal(outcome.index, 1);
        } else {
            assert_int_equal(outcome.status, LS_STATUS_OK);
        }
    }
    value_is(client, TEXT("x"), "1");
    value_is(client, TEXT("y"), "2");
    ls_client_close(client);
    node_stop(node);
}

static void large_values_go_and_come_whole(void **state)
{
    struct node *node = node_start(29, 64, LS_SESSION_IDLE_DEFAULT);
    struct ls_client_options options = node_options(node);
    struct ls_client *client = client_open(&options);
    struct ls_kv_outcome outcome;
    struct ls_kv_got got;
    static uint8_t value[LS_KV_VALUE_MAX];
    static const uint32_t lengths[] = {0, 1287, 1288, 1289, 2576, 100000, LS_KV_VALUE_MAX};
    for (uint32_t i = 0; i < sizeof(value); i++)
        value[i] = (uint8_t)(i * 2654435761u >> 13);
    for (uint32_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        const struct ls_kv_bytes bytes = {value, lengths[i]};
        assert_int_equal(ls_kv_put(client, TEXT("large"), bytes, 0, &outcome), 0);
        assert_int_equal(outcome.status, LS_STATUS_OK);
        assert_int_equal(ls_kv_get(client, TEXT("large"), &linearizable, &got), 0);
        assert_int_equal(got.status, LS_STATUS_OK);
        assert_int_equal(got.length, lengths[i]);
        assert_int_equal(got.version, outcome.version);
        assert_memory_equal(got.value, value, lengths[i]);
        free(got.value);
    }
    const struct ls_kv_bytes longer = {value, LS_KV_VALUE_MAX + 1};
    assert_int_equal(ls_kv_put(client, TEXT("large"), longer, 0, &outcome), -EMSGSIZE);
    ls_client_close(client);
    node_stop(node);
}

struct writer {
    struct ls_client *client;
    _Atomic bool stop;
    _Atomic uint32_t writes;
};

static void *rewrite(void *user)
{
    struct writer *writer = user;
    static uint8_t value[60000];
    struct ls_kv_outcome outcome;
    while (!atomic_load(&writer->stop)) {
        memset(value, (int)((atomic_fetch_add(&writer->writes, 1) + 1) & 0xff), sizeof(value));
        if (ls_kv_put(writer->client, TEXT("shared"), (struct ls_kv_bytes){value, sizeof(value)}, 0, &outcome) != 0)
            break;
        struct timespec pause = {.tv_nsec = 1000000};
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static void large_values_are_never_torn(void **state)
{
    struct node *node = node_plain();
    struct ls_client_options options = node_options(node);
    struct writer writer = {.client = client_open(&options)};
    struct ls_client *reader = client_open(&options);
    pthread_t thread;
    uint32_t whole = 0;
    assert_int_equal(pthread_create(&thread, NULL, rewrite, &writer), 0);
    /* On a busy machine the writer may not have run at all after 200 reads: go on until both have met. */
    for (int i = 0; i < 200 || atomic_load(&writer.writes) < 3 || whole == 0; i++) {
        struct ls_kv_got got;
        assert_int_equal(ls_kv_get(reader, TEXT("shared"), &linearizable, &got), 0);
        if (got.status != LS_STATUS_OK) {
            assert_true(got.status == LS_STATUS_VERSION_GONE || got.status == LS_STATUS_NOT_FOUND);
            assert_null(got.value);
            continue;
        }
        whole++;
        assert_int_equal(got.length, 60000);
        for (size_t at = 1; at < got.length; at++)
            assert_int_equal(got.value[at], got.value[0]);
        free(got.value);
    }
    atomic_store(&writer.stop, true);
    pthread_join(thread, NULL);
    ls_client_close(reader);
    ls_client_close(writer.client);
    node_stop(node);
}

struct seen {
    uint32_t count;
    uint32_t large;
    uint32_t missing;
    int stop_at;
    char last[LS_KV_KEY_MAX + 1];
};

static int see(void *user, const struct ls_kv_item *item, uint64_t seq)
{
    struct seen *seen = user;
    char key[LS_KV_KEY_MAX + 1] = {0};
    assert_true(seq > 0);
    memcpy(key, item->key.bytes, item->key.length);
    assert_true(strcmp(key, seen->last) > 0); /* ascending */
    strcpy(seen->last, key);
    seen->count++;
    seen->large += item->status == LS_STATUS_LARGE_VALUE;
    seen->missing += item->status == LS_STATUS_NOT_FOUND;
    if (item->status == LS_STATUS_OK && item->value.length > 0)
        assert_memory_equal(item->value.bytes, key, item->key.length);
    return seen->stop_at != 0 && (int)seen->count == seen->stop_at ? 17 : 0;
}

static void scans_and_many_keys(void **state)
{
    struct node *node = node_start(17, 64, LS_SESSION_IDLE_DEFAULT);
    struct ls_client_options options = node_options(node);
    struct ls_client *client = client_open(&options);
    struct ls_kv_outcome outcome;
    char key[300][8];
    struct ls_kv_bytes keys[300];
    static uint8_t large[5000];
    uint16_t status;
    for (int i = 0; i < 300; i++) {
        keys[i] = (struct ls_kv_bytes){key[i], (size_t)snprintf(key[i], sizeof(key[i]), "key%03d", i)};
        struct ls_kv_bytes value = i == 150 ? (struct ls_kv_bytes){large, sizeof(large)} : keys[i];
        if (i != 250)
            assert_int_equal(ls_kv_put(client, keys[i], value, 0, &outcome), 0);
    }
    struct seen seen = {.count = 0};
    assert_int_equal(ls_kv_scan(client, TEXT(""), TEXT(""), 0, 0, &linearizable, see, &seen, &status), 0);
    assert_int_equal(status, LS_STATUS_OK);
    assert_int_equal(seen.count, 299);
    assert_int_equal(seen.large, 1);
    seen = (struct seen){.count = 0};
    assert_int_equal(
        ls_kv_scan(client, TEXT("key010"), TEXT("key110"), 0, LS_KV_SCAN_KEYS_ONLY, &linearizable, see, &seen, &status),
        0);
    assert_int_equal(seen.count, 100);
    seen = (struct seen){.count = 0};
    assert_int_equal(ls_kv_scan(client, TEXT("key010"), TEXT(""), 77, 0, &linearizable, see, &seen, &status), 0);
    assert_int_equal(seen.count, 77);
    seen = (struct seen){.stop_at = 70};
    assert_int_equal(ls_kv_scan(client, TEXT(""), TEXT(""), 0, 0, &linearizable, see, &seen, &status), 17);
    assert_int_equal(seen.count, 70);
    seen = (struct seen){.count = 0};
    assert_int_equal(ls_kv_multi_get(client, keys, 300, &linearizable, see, &seen, &status), 0);
    assert_int_equal(status, LS_STATUS_OK);
    assert_int_equal(seen.count, 300);
    assert_int_equal(seen.large, 1);
    assert_int_equal(seen.missing, 1);
    ls_client_close(client);
    node_stop(node);
}

struct tally {
    struct ls_client *client;
    uint32_t done;
    uint32_t to_submit;
    uint64_t sum; /* of the numbers that were answered */
};

static uint8_t increment[64];
static uint32_t increment_length;

static void counted(void *user, const struct ls_reply *reply);

/* Until the window is full, which it also is while an answer to an early number is missing. */
static void submit_more(struct tally *tally)
{
    while (tally->to_submit > 0) {
        int rc = ls_client_submit(tally->client, increment, increment_length, 0, counted, tally, NULL);
        if (rc == -EAGAIN)
            return;
        assert_int_equal(rc, 0);
        tally->to_submit--;
    }
}

static void counted(void *user, const struct ls_reply *reply)
{
    struct tally *tally = user;
    struct ls_kv_result result;
    assert_int_equal(reply->error, 0);
    assert_int_equal(reply->status, LS_STATUS_OK);
    assert_int_equal(ls_kv_parse_result(reply->bytes, reply->length, &result), 0);
    tally->sum += result.number;
    tally->done++;
    submit_more(tally);
}

static void event_loop_keeps_the_window_full(void **state)
{
    struct node *node = node_start(13, 64, LS_SESSION_IDLE_DEFAULT);
    struct ls_client_options options = node_options(node);
    struct ls_client *client = client_open(&options);
    increment_length = (uint32_t)ls_kv_build_incr(increment, sizeof(increment), TEXT("counter"), 1);
    const uint32_t total = 5000;
    struct tally tally = {.client = client, .to_submit = total};
    assert_true(ls_client_wait_ns(client) == UINT64_MAX);
    submit_more(&tally);
    assert_int_equal(ls_client_in_flight(client), LS_WINDOW_DEFAULT);
    assert_int_equal(ls_client_renew(client), -EBUSY);
    while (tally.done < total) {
        struct pollfd fd = {.fd = ls_client_fd(client), .events = POLLIN};
        uint64_t wait_ns = ls_client_wait_ns(client);
        assert_true(wait_ns != UINT64_MAX);
        poll(&fd, 1, (int)(wait_ns / 1000000));
        ls_client_process(client);
    }
    /* each once: 1 + 2 + ... + total */
    assert_int_equal(tally.sum, (uint64_t)total * (total + 1) / 2);
    struct ls_client_counts counts;
    ls_client_counts(client, &counts);
    assert_true(counts.frames_in > 0 && counts.frames_out > 0);
    assert_int_equal(counts.send_failed, 0);
    ls_client_close(client);
    node_stop(node);
}

/* Until it is done: on a machine with much to do the short time-out of the test below may pass before any answer. */
static void put_with_patience(struct ls_client *client, struct ls_kv_bytes key, struct ls_kv_bytes value)
{
    struct ls_kv_outcome outcome;
    int tries = 0, rc;
    do
        rc = ls_kv_put(client, key, value, 0, &outcome);
    while (tries++ < 200 && (rc == -ETIMEDOUT || (rc == 0 && outcome.status == LS_STATUS_CLOSED)));
    assert_int_equal(rc, 0);
    assert_int_equal(outcome.status, LS_STATUS_OK);
}

static void silence_is_told_apart_by_what_was_sent(void **state)
{
    struct node *node = node_plain();
    struct ls_client_options options = node_options(node);
    struct ls_client *patient = client_open(&options);
    options.timeout_ns = SECOND / 10;
    struct ls_client *client = client_open(&options);
    struct ls_kv_outcome outcome;
    struct ls_kv_got got;
    node_mute(node, true);
    /* no session yet: it cannot have been executed */
    assert_int_equal(ls_kv_put(client, TEXT("a"), TEXT("1"), 0, &outcome), 0);
    assert_int_equal(outcome.status, LS_STATUS_CLOSED);
    assert_int_equal(ls_kv_get(client, TEXT("a"), &linearizable, &got), -ETIMEDOUT);
    node_mute(node, false);
    put_with_patience(client, TEXT("a"), TEXT("2"));
    node_mute(node, true);
    assert_int_equal(ls_kv_put(client, TEXT("a"), TEXT("3"), 0, &outcome), -ETIMEDOUT);
    node_mute(node, false);
    /* the number that was given up does not block those behind it */
    put_with_patience(client, TEXT("a"), TEXT("4"));
    value_is(patient, TEXT("a"), "4");
    ls_client_close(client);
    ls_client_close(patient);
    node_stop(node);
}

static void an_evicted_session_is_told_and_renewed(void **state)
{
    struct node *node = node_start(0, 1, SECOND / 100);
    struct ls_client_options options = node_options(node);
    struct ls_client *first = client_open(&options);
    struct ls_client *second = client_open(&options);
    struct ls_kv_outcome outcome;
    assert_int_equal(ls_kv_put(first, TEXT("a"), TEXT("1"), 0, &outcome), 0);
    assert_int_equal(ls_kv_put(second, TEXT("a"), TEXT("2"), 0, &outcome), 0); /* waits until first is idle enough */
    assert_int_equal(outcome.status, LS_STATUS_OK);
    assert_int_equal(ls_kv_put(first, TEXT("a"), TEXT("3"), 0, &outcome), -ENOTCONN);
    assert_int_equal(ls_kv_put(first, TEXT("a"), TEXT("4"), 0, &outcome), -ENOTCONN);
    value_is(first, TEXT("a"), "2");
    assert_int_equal(ls_client_renew(first), 0);
    assert_int_equal(ls_kv_put(first, TEXT("a"), TEXT("5"), 0, &outcome), 0);
    assert_int_equal(outcome.status, LS_STATUS_OK);
    value_is(first, TEXT("a"), "5");
    ls_client_close(first);
    ls_client_close(second);
    node_stop(node);
}

static void deadlines_and_queries(void **state)
{
    struct node *node = node_plain();
    struct ls_client_options options = node_options(node);
    struct ls_client *client = client_open(&options);
    uint8_t operation[64];
    struct ls_reply reply;
    int length = ls_kv_build_put(operation, sizeof(operation), TEXT("d"), TEXT("1"), 0);
    assert_int_equal(ls_client_call(client, operation, (uint32_t)length, 60 * SECOND, &reply), 0);
    assert_int_equal(reply.status, LS_STATUS_OK);
    node_mute(node, true);
    uint64_t number;
    struct tally tally = {.client = client};
    assert_int_equal(ls_client_submit(client, operation, (uint32_t)length, SECOND / 100, NULL, NULL, &number), 0);
    assert_int_equal(number, 2);
    increment_length = (uint32_t)ls_kv_build_incr(increment, sizeof(increment), TEXT("n"), 1);
    assert_int_equal(ls_client_submit(client, increment, increment_length, 0, counted, &tally, NULL), 0);
    for (int i = 0; i < 20; i++)
        ls_client_wait(client, SECOND / 500);
    node_mute(node, false);
    assert_int_equal(ls_client_query(client, number), 0);
    assert_int_equal(ls_client_query(client, 99), -ENOENT);
    ls_client_drain(client);
    assert_int_equal(tally.done, 1);
    ls_client_close(client);
    node_stop(node);
}

static void options_are_checked(void **state)
{
    struct ls_client *client;
    struct ls_client_options options = {.cluster = 1};
    assert_int_equal(ls_client_open(&client, &options), -EINVAL);
    options.nodes = 1;
    options.node[0] = (struct ls_addr){0x7f000001, 7400};
    options.window = LS_WINDOW_MAX + 1;
    assert_int_equal(ls_client_open(&client, &options), -EINVAL);
    options.window = 0;
    options.bind = (struct ls_addr){0x08080808, 1}; /* not ours */
    assert_int_equal(ls_client_open(&client, &options), -EADDRNOTAVAIL);
    ls_client_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_operations),
        cmocka_unit_test(batches_are_all_or_nothing),
        cmocka_unit_test(large_values_go_and_come_whole),
        cmocka_unit_test(large_values_are_never_torn),
        cmocka_unit_test(scans_and_many_keys),
        cmocka_unit_test(event_loop_keeps_the_window_full),
        cmocka_unit_test(silence_is_told_apart_by_what_was_sent),
        cmocka_unit_test(an_evicted_session_is_told_and_renewed),
        cmocka_unit_test(deadlines_and_queries),
        cmocka_unit_test(options_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
