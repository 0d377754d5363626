/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lockstep-test-workload: clients of a real cluster that check all that they are told. Run by the tests in this folder
 * inside a client's network namespace; one thread polls all its clients.
 *
 * Counting (the default): each client keeps its window full of increments of a counter of its own, increments of a
 * counter that all share, and appends to a text of its own, with linearizable reads between. Exactly once and in the
 * client's order means: the k-th increment answers k; no two increments of the shared counter answer the same number
 * and none is left out; the k-th append answers the length of k records; a read never shows less than was acknowledged
 * before it began, nor more than was asked for before it ended. At the end every node is asked and must hold just that.
 * SIGTERM brings that end about before all operations were submitted; what was asked for is waited for.
 *
 * Values (--values SIZE): values of that size are written, overwritten and read back from every node.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <lockstep/client_kv.h>
#include <lockstep/error.h>

#include "config.h"

#define CLIENTS_MAX    32u
#define OPERATIONS_MAX 100000u
#define RECORD_SIZE    10u /* of an append: nine digits and a newline */
#define POLL_NS        1000000u
#define TIMEOUT_NS     UINT64_C(60000000000) /* of an operation, under whatever faults */

enum kind { OWN, SHARED, APPEND, READ, KINDS };

struct operation {
    struct tester *tester;
    enum kind kind;
    uint64_t expected; /* OWN, APPEND: which one it is; READ: least value allowed */
    bool used;
};

struct tester {
    struct ls_client *client;
    uint32_t number;
    uint64_t left; /* operations to be submitted */
    uint64_t asked[KINDS];
    uint64_t done[KINDS];
    uint64_t retries;
    struct operation operation[LS_WINDOW_MAX];
};

static struct ls_config config;
static const char *name = "work";
static struct tester testers[CLIENTS_MAX];
static uint32_t clients = 1;
static uint64_t operations = 1000;
static uint64_t rate;        /* operations per second of all clients; 0: as fast as they go */
static uint64_t skipped;     /* node that is not asked at the end */
static uint8_t *shared_seen; /* one byte for each answer of the shared counter */
static uint64_t shared_total;
static volatile sig_atomic_t ending; /* SIGTERM came */

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *format, ...)
{
    va_list list;
    fputs("VIOLATION: ", stderr);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    exit(1);
}

/* `read_node` counts from 1 in the cluster file's order; 0: reads go to the sequencer. */
static struct ls_client *client_open(uint32_t read_node)
{
    struct ls_client *client;
    struct ls_client_options options = {
        .cluster = config.cluster,
        .generation = config.generation,
        .group = config.group,
        .nodes = config.nodes,
        .op_max = config.op_max,
        .timeout_ns = TIMEOUT_NS,
        .read_node = read_node,
        .read_pinned = read_node != 0,
    };
    for (uint32_t i = 0; i < config.nodes; i++)
        options.node[i] = (struct ls_addr){.ip = config.node[i].ip, .port = config.port};
    int error = ls_client_open(&client, &options);
    if (error != 0)
        die("opening a client: %s", strerror(-error));
    return client;
}

static void poll_once(struct ls_client *client, uint64_t wait_ns)
{
    int error = ls_client_wait(client, wait_ns);
    if (error < 0)
        die("polling: %s", strerror(-error));
}

static struct ls_kv_bytes text_bytes(const char *text)
{
    return (struct ls_kv_bytes){.bytes = text, .length = strlen(text)};
}

static void key_of(char key[64], enum kind kind, uint32_t client)
{
    static const char *const words[] = {"own", "shared", "text", "own"};
    if (kind == SHARED)
        snprintf(key, 64, "%.32s/shared", name);
    else
        snprintf(key, 64, "%.32s/%s/%u", name, words[kind], client);
}

/* ---- counting ---- */

static void check_mutation(struct operation *o, const struct ls_reply *reply)
{
    struct tester *t = o->tester;
    struct ls_kv_result answer;
    if (reply->status != LS_STATUS_OK || ls_kv_parse_result(reply->bytes, reply->length, &answer) != 0)
        die("client %u request %" PRIu64 ": %s (%u bytes)", t->number, reply->number, ls_status_text(reply->status),
            reply->length);
    if (o->kind == SHARED) {
        if (answer.number == 0 || answer.number > shared_total)
            die("client %u: the shared counter answers %" PRIu64 ", beyond all %" PRIu64 " increments", t->number,
                answer.number, shared_total);
        if (shared_seen[answer.number]++ != 0)
            die("client %u: the shared counter answered %" PRIu64 " before", t->number, answer.number);
        return;
    }
    uint64_t expected = o->kind == APPEND ? o->expected * RECORD_SIZE : o->expected;
    if (answer.number != expected)
        die("client %u request %" PRIu64 ": %s number %" PRIu64 " answers %" PRIu64 ", expected %" PRIu64, t->number,
            reply->number, o->kind == APPEND ? "append" : "increment", o->expected, answer.number, expected);
}

static void check_read(struct operation *o, const struct ls_reply *reply)
{
    struct tester *t = o->tester;
    struct ls_kv_value head;
    struct ls_kv_bytes bytes;
    uint64_t value = 0;
    if (reply->status == LS_STATUS_OK) {
        char text[32] = "";
        if (ls_kv_parse_value(reply->bytes, reply->length, &head, &bytes) != 0 || bytes.length >= sizeof(text))
            die("client %u: a counter reads as %u bytes", t->number, reply->length);
        memcpy(text, bytes.bytes, bytes.length);
        value = strtoull(text, NULL, 10);
    } else if (reply->status != LS_STATUS_NOT_FOUND) {
        die("client %u: a read fails: %s", t->number, ls_status_text(reply->status));
    }
    if (value < o->expected || value > t->asked[OWN])
        die("client %u reads %" PRIu64 ": %" PRIu64 " increments were acknowledged before, %" PRIu64 " asked for",
            t->number, value, o->expected, t->asked[OWN]);
}

static void on_done(void *user, const struct ls_reply *reply)
{
    struct operation *o = user;
    struct tester *t = o->tester;
    if (reply->error != 0)
        die("client %u request %" PRIu64 ": %s; last reason to wait: %s", t->number, reply->number,
            strerror(-reply->error), ls_status_text(reply->status));
    if (o->kind == READ)
        check_read(o, reply);
    else
        check_mutation(o, reply);
    t->done[o->kind]++;
    t->retries += reply->retries;
    o->used = false;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Operations that a client may have submitted by now. */
static uint64_t submitted_max(void)
{
    static uint64_t begin_ns;
    if (rate == 0)
        return UINT64_MAX;
    if (begin_ns == 0)
        begin_ns = now_ns();
    return 1 + (now_ns() - begin_ns) * rate / clients / 1000000000;
}

static void on_term(int signal_number)
{
    (void)signal_number;
    ending = 1;
}

static void submit_some(struct tester *t)
{
    uint64_t most = submitted_max();
    if (ending)
        t->left = 0;
    static const enum kind order[] = {OWN, SHARED, APPEND, OWN, READ, SHARED, APPEND, READ};
    for (uint32_t i = 0; i < LS_WINDOW_MAX && t->left > 0 && operations - t->left < most; i++) {
        struct operation *o = &t->operation[i];
        if (o->used)
            continue;
        uint8_t bytes[512];
        char key[64], record[32];
        *o = (struct operation){.tester = t, .kind = order[t->left % 8], .used = true};
        key_of(key, o->kind, t->number);
        o->expected = o->kind == READ ? t->done[OWN] : t->asked[o->kind] + 1;
        snprintf(record, sizeof(record), "%09" PRIu64 "\n", o->expected);
        int length, error;
        if (o->kind == READ)
            length = ls_kv_build_get(bytes, sizeof(bytes), text_bytes(key));
        else if (o->kind == APPEND)
            length = ls_kv_build_append(bytes, sizeof(bytes), text_bytes(key), text_bytes(record));
        else
            length = ls_kv_build_incr(bytes, sizeof(bytes), text_bytes(key), 1);
        if (length < 0)
            die("building: %s", strerror(-length));
        if (o->kind == READ)
            error = ls_client_read(t->client, bytes, (uint32_t)length, LS_READ_LINEARIZABLE, 0, on_done, o);
        else
            error = ls_client_submit(t->client, bytes, (uint32_t)length, 0, on_done, o, NULL);
        if (error == -EAGAIN) {
            o->used = false;
            return;
        }
        if (error != 0)
            die("client %u: submitting: %s", t->number, strerror(-error));
        t->asked[o->kind]++;
        t->left--;
    }
}

/* A linearizable read of a whole value; the caller frees it. NULL: no such key. */
static uint8_t *value_read(struct ls_client *client, const char *key, size_t *length)
{
    struct ls_kv_how how = {.consistency = LS_READ_LINEARIZABLE};
    struct ls_kv_got got;
    int error = ls_kv_get(client, text_bytes(key), &how, &got);
    if (error != 0 || (got.status != LS_STATUS_OK && got.status != LS_STATUS_NOT_FOUND))
        die("reading %s: %s", key, error != 0 ? strerror(-error) : ls_status_text(got.status));
    *length = got.status == LS_STATUS_OK ? got.length : 0;
    return got.status == LS_STATUS_OK ? got.value : NULL;
}

static void check_number_at(struct ls_client *client, uint16_t node, const char *key, uint64_t expected)
{
    size_t length;
    uint8_t *value = value_read(client, key, &length);
    uint64_t number = value != NULL ? strtoull((char *)value, NULL, 10) : 0;
    if (number != expected)
        die("node %u: %s is %" PRIu64 ", %" PRIu64 " increments were acknowledged", node, key, number, expected);
    free(value);
}

static void check_text_at(struct ls_client *client, uint16_t node, const char *key, uint64_t records)
{
    size_t length;
    uint8_t *value = value_read(client, key, &length);
    if (length != records * RECORD_SIZE)
        die("node %u: %s has %zu bytes, %" PRIu64 " records were acknowledged", node, key, length, records);
    for (uint64_t i = 0; i < records; i++) {
        char record[32];
        snprintf(record, sizeof(record), "%09" PRIu64 "\n", i + 1);
        if (memcmp(value + i * RECORD_SIZE, record, RECORD_SIZE) != 0)
            die("node %u: %s: record %" PRIu64 " is %.9s", node, key, i + 1, value + i * RECORD_SIZE);
    }
    free(value);
}

static void check_every_node(void)
{
    for (uint32_t n = 0; n < config.nodes; n++) {
        uint16_t node = config.node[n].id;
        if (node == skipped)
            continue;
        struct ls_client *client = client_open(n + 1);
        char key[64];
        for (uint32_t c = 0; c < clients; c++) {
            key_of(key, OWN, c);
            check_number_at(client, node, key, testers[c].done[OWN]);
            key_of(key, APPEND, c);
            check_text_at(client, node, key, testers[c].done[APPEND]);
        }
        key_of(key, SHARED, 0);
        check_number_at(client, node, key, shared_total);
        ls_client_close(client);
    }
}

static uint64_t run_counting(void)
{
    uint64_t retries = 0;
    for (uint32_t c = 0; c < clients; c++) {
        testers[c] = (struct tester){.client = client_open(0), .number = c, .left = operations};
        shared_total += operations / 8 * 2;
        /* what is over a multiple of eight: as submit_some() counts down */
        for (uint64_t left = operations % 8; left > 0; left--)
            shared_total += left == 1 || left == 5;
    }
    shared_seen = calloc(shared_total + 1, 1);
    if (shared_seen == NULL)
        die("no memory");
    for (bool busy = true; busy;) {
        busy = false;
        for (uint32_t c = 0; c < clients; c++) {
            struct tester *t = &testers[c];
            submit_some(t);
            poll_once(t->client, clients == 1 ? POLL_NS : 0);
            for (uint32_t k = 0; k < KINDS; k++)
                busy = busy || t->done[k] < t->asked[k];
            busy = busy || t->left > 0;
        }
        if (clients > 1)
            nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
    }
    shared_total = 0;
    for (uint32_t c = 0; c < clients; c++)
        shared_total += testers[c].asked[SHARED];
    for (uint64_t i = 1; i <= shared_total; i++) {
        if (shared_seen[i] != 1)
            die("no increment of the shared counter answered %" PRIu64, i);
    }
    check_every_node();
    for (uint32_t c = 0; c < clients; c++) {
        retries += testers[c].retries;
        ls_client_close(testers[c].client);
    }
    free(shared_seen);
    return retries;
}

/* ---- values ---- */

/* SplitMix64: byte i of value (key, version) is the same wherever it is computed. */
static void value_fill(uint8_t *to, uint64_t size, uint64_t key, uint64_t version)
{
    uint64_t state = key * 1000003 + version;
    for (uint64_t i = 0; i < size; i++) {
        uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        to[i] = (uint8_t)(z ^ (z >> 31));
    }
}

static void value_write(struct ls_client *client, uint64_t key_number, uint64_t version, uint32_t size, uint8_t *value)
{
    char key[64];
    struct ls_kv_outcome outcome;
    snprintf(key, sizeof(key), "%.32s/value/%" PRIu64, name, key_number);
    value_fill(value, size, key_number, version);
    int error = ls_kv_put(client, text_bytes(key), (struct ls_kv_bytes){.bytes = value, .length = size}, 0, &outcome);
    if (error != 0 || outcome.status != LS_STATUS_OK)
        die("writing %s of %u bytes: %s", key, size, error != 0 ? strerror(-error) : ls_status_text(outcome.status));
}

static void run_values(uint32_t size)
{
    struct ls_client *client = client_open(0);
    uint8_t *value = malloc(size);
    if (value == NULL)
        die("no memory");
    for (uint64_t k = 0; k < operations; k++)
        value_write(client, k, 1, size, value);
    for (uint64_t k = 0; k < operations; k += 2)
        value_write(client, k, 2, size, value);
    for (uint32_t n = 0; n < config.nodes; n++) {
        struct ls_client *reader = client_open(n + 1);
        for (uint64_t k = 0; k < operations; k++) {
            char key[64];
            size_t length;
            snprintf(key, sizeof(key), "%.32s/value/%" PRIu64, name, k);
            uint8_t *found = value_read(reader, key, &length);
            value_fill(value, size, k, k % 2 == 0 ? 2 : 1);
            if (found == NULL || length != size || memcmp(found, value, size) != 0)
                die("node %u: %s of %u bytes comes back as %zu others", config.node[n].id, key, size, length);
            free(found);
        }
        ls_client_close(reader);
    }
    free(value);
    ls_client_close(client);
}

static uint64_t number(const char *option, const char *text, uint64_t min, uint64_t max)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != 0 || value < min || value > max) {
        fprintf(stderr, "lockstep-test-workload: --%s '%s': %" PRIu64 " to %" PRIu64 " is allowed\n", option, text, min,
                max);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"config", 1, NULL, 'c'}, {"clients", 1, NULL, 'n'}, {"operations", 1, NULL, 'o'}, {"values", 1, NULL, 'v'},
        {"name", 1, NULL, 'N'},   {"skip", 1, NULL, 's'},    {"rate", 1, NULL, 'r'},       {NULL, 0, NULL, 0},
    };
    const char *path = NULL;
    uint32_t size = 0;
    for (int c; (c = getopt_long(argc, argv, "", longs, NULL)) != -1;) {
        if (c == 'c')
            path = optarg;
        else if (c == 'n')
            clients = (uint32_t)number("clients", optarg, 1, CLIENTS_MAX);
        else if (c == 'o')
            operations = number("operations", optarg, 1, OPERATIONS_MAX);
        else if (c == 'v')
            size = (uint32_t)number("values", optarg, 1, LS_KV_VALUE_MAX);
        else if (c == 'N')
            name = optarg;
        else if (c == 'r')
            rate = number("rate", optarg, 1, 1000000);
        else if (c == 's')
            skipped = number("skip", optarg, 1, LS_NODE_ID_MAX);
        else
            return 2;
    }
    char error[LS_CONFIG_ERROR_MAX];
    if (path == NULL || optind < argc) {
        fputs("usage: lockstep-test-workload --config FILE [--clients N] [--operations N] [--values SIZE] "
              "[--rate PER_SECOND] [--name PREFIX] [--skip NODE]\n",
              stderr);
        return 2;
    }
    if (ls_config_load(&config, path, error) != 0) {
        fprintf(stderr, "lockstep-test-workload: %s\n", error);
        return 2;
    }
    if (size > 0) {
        run_values(size);
        printf("%" PRIu64 " values equal on %u nodes\n", operations, config.nodes);
    } else {
        uint64_t retries, done = 0;
        signal(SIGTERM, on_term);
        retries = run_counting();
        for (uint32_t c = 0; c < clients; c++)
            for (uint32_t k = 0; k < KINDS; k++)
                done += testers[c].done[k];
        printf("%" PRIu64 " operations of %u clients exactly once, %" PRIu64 " sent again\n", done, clients, retries);
    }
    return 0;
}
