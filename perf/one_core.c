/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lockstep-bench-core: what one committed request costs in all, without a network. A client, the sequencer and two
 * followers run to completion on one thread over the in-process network, in the order in which a burst needs them, so
 * that each stage's cycles can be told apart:
 *
 *   client submits | sequencer receives and orders | followers receive and acknowledge | followers apply |
 *   sequencer takes acknowledgements and commits | sequencer applies | sequencer sends replies | client takes replies
 *
 * Followers learn of a commit with the next burst, as they do on a busy cluster: what they apply is the burst before.
 * Nothing is left out: every replica holds the log, its sessions and a state machine of its own, and at the end their
 * digests must be equal. One thread, no DPDK.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lockstep/error.h>
#include <lockstep/grace.h>
#include <lockstep/kv.h>

#include "../dataplane/client/client_core.h"
#include "../dataplane/core/executor.h"
#include "../dataplane/core/replica.h"
#include "../dataplane/net/ring.h"
#include "cycles.h"
#include "histogram.h"

#define NODES        3u
#define CLIENT       NODES /* its port, behind the nodes' */
#define CLUSTER      UINT64_C(0x6265676e)
#define KEY_SIZE     16u
#define VALUE_MAX    1024u
#define BURST        LS_BURST
#define REPS_MAX     99u
#define SETTLE_TURNS 100000u

enum stage {
    STAGE_SUBMIT,
    STAGE_ORDER,
    STAGE_FOLLOW,
    STAGE_FOLLOWER_APPLY,
    STAGE_COMMIT,
    STAGE_APPLY,
    STAGE_REPLY,
    STAGE_TAKE,
    STAGES
};
static const char *const stage_name[STAGES] = {
    "client: submit, send",
    "sequencer: receive, order",
    "followers (2): receive, acknowledge",
    "followers (2): apply",
    "sequencer: acknowledged, commit",
    "sequencer: apply",
    "sequencer: send replies",
    "client: take replies",
};

struct node {
    struct ls_log log;
    struct ls_seam seam;
    struct ls_grace grace;
    struct ls_counters_page page;
    struct ls_port *port;
    struct ls_machine *machine;
    struct ls_replica *replica;
    struct ls_executor *executor;
};

struct bench {
    struct node node[NODES];
    struct ls_ring_switch *net;
    struct ls_port *client_port;
    struct ls_counters client_counters;
    struct ls_client_core *client;
    const struct ls_state_machine *type;
    uint8_t (*key)[KEY_SIZE];
    uint32_t keys;
    uint32_t value_size;
    uint64_t random;
    uint64_t done;   /* completions */
    uint64_t failed; /* of them: not OK */
    uint64_t submitted;
    uint64_t late_rounds; /* not complete after one pass through all stages */
    /* clock: nanoseconds since the start, from the cycle counter */
    uint64_t cycles0;
    uint64_t ns_per_cycle_q32;
};

static void die(const char *what, int error)
{
    fprintf(stderr, "lockstep-bench-core: %s: %s\n", what, strerror(error));
    exit(1);
}

static uint64_t now_ns(const struct bench *b)
{
    return (uint64_t)(((unsigned __int128)(ls_cycles() - b->cycles0) * b->ns_per_cycle_q32) >> 32) + 1;
}

static uint64_t next_random(struct bench *b)
{
    /* xorshift64: a few cycles, good enough to pick keys */
    b->random ^= b->random << 13;
    b->random ^= b->random >> 7;
    b->random ^= b->random << 17;
    return b->random;
}

/* ---- one node ---- */

static void net_turn(struct node *n, uint64_t now)
{
    struct ls_frame frames[BURST];
    uint32_t got;
    do {
        got = n->port->receive(n->port, frames, BURST, now);
        for (uint32_t i = 0; i < got; i++)
            ls_replica_input(n->replica, &frames[i], now);
        if (got > 0)
            n->port->done(n->port, frames, got);
    } while (got == BURST);
    ls_replica_turn(n->replica, now);
    n->port->flush(n->port, now);
}

/* Every reader of the state is between two turns, so a grace period is over as soon as it has begun. */
static void grace_pass(struct node *n)
{
    ls_grace_begin(&n->grace);
    ls_grace_end(&n->grace);
}

static void apply_turn(struct node *n, uint64_t now)
{
    while (ls_executor_turn(n->executor, now) > 0)
        continue;
    grace_pass(n);
}

static struct ls_addr node_addr(uint32_t i)
{
    return (struct ls_addr){.ip = 0x0a000001u + i, .port = LS_PORT_DEFAULT};
}

static void node_create(struct bench *b, uint32_t i, uint64_t log_size)
{
    struct node *n = &b->node[i];
    struct ls_machine_limits limits = {.keys = b->keys * 2 + 1024, .bytes = 64ull * 1024 * 1024};
    struct ls_replica_config config = {
        .cluster = CLUSTER,
        .generation = 1,
        .node = (uint16_t)(i + 1),
        .incarnation = 1,
        .keys_max = limits.keys,
        .bytes_max = limits.bytes,
        .session_idle_ns = LS_SESSION_IDLE_DEFAULT,
        .sessions_max = LS_SESSIONS_DEFAULT,
        .window = LS_WINDOW_DEFAULT,
        .op_max = LS_OP_MAX_DEFAULT,
    };
    struct ls_order found = {.kind = LS_ORDER_FOUND, .members = {.count = NODES}};
    for (uint32_t m = 0; m < NODES; m++)
        found.members.member[m] =
            (struct ls_member){.node = (uint16_t)(m + 1), .role = LS_MEMBER_VOTER, .addr = node_addr(m)};
    struct ls_executor_config executor = {
        .cluster = CLUSTER,
        .generation = 1,
        .node = config.node,
        .incarnation = 1,
        .sessions_max = config.sessions_max,
        .window = config.window,
    };

    n->port = ls_ring_port_open(b->net, i, &n->page.worker[LS_WORKER_NET].counters);
    int error = ls_log_init(&n->log, log_size);
    if (error != 0)
        die("log", -error);
    error = ls_seam_init(&n->seam, config.sessions_max);
    if (error != 0)
        die("seam", -error);
    n->machine = b->type->create(&limits, &n->grace);
    if (n->machine == NULL)
        die("state machine", errno);
    n->replica = ls_replica_create(&config, &n->log, &n->seam, &n->port->io, b->type, n->machine, &n->page.replica,
                                   &n->page.worker[LS_WORKER_NET].counters);
    if (n->replica == NULL)
        die("replica", errno);
    ls_spsc_push(&n->seam.orders, &found);
    n->executor = ls_executor_create(&executor, &n->log, &n->seam, &n->port->io, b->type, n->machine, &n->page.replica,
                                     &n->page.worker[LS_WORKER_APPLY].counters);
    if (n->executor == NULL)
        die("executor", errno);
}

static void node_destroy(struct bench *b, struct node *n)
{
    ls_executor_destroy(n->executor);
    ls_replica_destroy(n->replica);
    b->type->destroy(n->machine);
    ls_seam_free(&n->seam);
    ls_log_free(&n->log);
}

/* ---- the client ---- */

static void on_done(void *user, const struct ls_client_result *result)
{
    struct bench *b = user;
    b->done++;
    if (result->outcome != LS_CLIENT_DONE || result->status != LS_STATUS_OK) {
        if (b->failed++ == 0)
            fprintf(stderr, "lockstep-bench-core: a request failed: %s\n", ls_status_text(result->status));
    }
}

static void submit_one(struct bench *b, uint64_t now)
{
    struct {
        struct ls_kv_op op;
        uint8_t bytes[KEY_SIZE + VALUE_MAX];
    } LS_PACKED put;
    put.op = (struct ls_kv_op){.code = LS_KV_PUT, .key_length = KEY_SIZE, .value_length = b->value_size};
    memcpy(put.bytes, b->key[next_random(b) % b->keys], KEY_SIZE);
    memset(put.bytes + KEY_SIZE, (int)b->submitted, b->value_size);

    uint32_t length = (uint32_t)sizeof(put.op) + KEY_SIZE + b->value_size;
    int error = ls_client_core_submit(b->client, &put, length, 0, on_done, b, now);
    if (error != 0)
        die("submit", -error);
    b->submitted++;
}

static void client_take(struct bench *b, uint64_t now)
{
    struct ls_frame frames[BURST];
    uint32_t got;
    do {
        got = b->client_port->receive(b->client_port, frames, BURST, now);
        for (uint32_t i = 0; i < got; i++)
            ls_client_core_input(b->client, &frames[i], now);
        if (got > 0)
            b->client_port->done(b->client_port, frames, got);
    } while (got == BURST);
}

static void client_send(struct bench *b, uint64_t now)
{
    ls_client_core_poll(b->client, now);
    b->client_port->flush(b->client_port, now);
}

/* ---- rounds ---- */

/* Everything once, in the order of a burst; `at` gets the cycle counter at the beginning and the end, and between the
 * stages where `timed`. */
static inline __attribute__((always_inline)) void round_run(struct bench *b, uint32_t batch, bool timed,
                                                            uint64_t at[STAGES + 1])
{
    struct node *sequencer = &b->node[0];
    uint64_t now = now_ns(b);

    at[STAGE_SUBMIT] = ls_cycles();
    for (uint32_t i = 0; i < batch; i++)
        submit_one(b, now);
    client_send(b, now);

    if (timed)
        at[STAGE_ORDER] = ls_cycles();
    net_turn(sequencer, now);

    if (timed)
        at[STAGE_FOLLOW] = ls_cycles();
    for (uint32_t i = 1; i < NODES; i++)
        net_turn(&b->node[i], now);

    if (timed)
        at[STAGE_FOLLOWER_APPLY] = ls_cycles();
    for (uint32_t i = 1; i < NODES; i++)
        apply_turn(&b->node[i], now);

    if (timed)
        at[STAGE_COMMIT] = ls_cycles();
    net_turn(sequencer, now);

    if (timed)
        at[STAGE_APPLY] = ls_cycles();
    apply_turn(sequencer, now);

    if (timed)
        at[STAGE_REPLY] = ls_cycles();
    net_turn(sequencer, now);

    if (timed)
        at[STAGE_TAKE] = ls_cycles();
    client_take(b, now);
    at[STAGES] = ls_cycles();
}

/* Any order will do here: start, end and the rare round that needs more than one pass. */
static void everyone_once(struct bench *b)
{
    uint64_t now = now_ns(b);
    client_take(b, now);
    client_send(b, now);
    for (uint32_t i = 0; i < NODES; i++) {
        net_turn(&b->node[i], now);
        apply_turn(&b->node[i], now);
    }
}

static void round_complete(struct bench *b)
{
    if (b->done == b->submitted)
        return;
    b->late_rounds++;
    for (uint32_t i = 0; b->done != b->submitted; i++) {
        if (i == SETTLE_TURNS)
            die("requests without an answer", ETIMEDOUT);
        everyone_once(b);
    }
}

static void control(struct node *n, enum ls_order_kind kind, uint64_t epoch)
{
    struct ls_order order = {.id = epoch * 10 + kind, .epoch = epoch, .incarnation = 1, .kind = kind};
    if (!ls_spsc_push(&n->seam.orders, &order))
        die("order to net", EAGAIN);
}

static void bench_start(struct bench *b, uint64_t log_size)
{
    struct ls_addr addr[NODES + 1];
    for (uint32_t i = 0; i < NODES; i++)
        addr[i] = node_addr(i);
    addr[CLIENT] = (struct ls_addr){.ip = 0x0a000064u, .port = 40000};
    b->net = ls_ring_switch_create(&(struct ls_ring_config){.ports = NODES + 1, .addr = addr});
    if (b->net == NULL)
        die("in-process network", errno);
    for (uint32_t i = 0; i < NODES; i++)
        node_create(b, i, log_size);

    b->client_port = ls_ring_port_open(b->net, CLIENT, &b->client_counters);
    struct ls_client_config config = {.cluster = CLUSTER,
                                      .generation = 1,
                                      .nodes = NODES,
                                      .nonce = "lockstep one cor",
                                      .window = LS_WINDOW_DEFAULT,
                                      .op_max = LS_OP_MAX_DEFAULT,
                                      /* a preempted turn must not look like a lost frame */
                                      .retry_min_ns = UINT64_C(1000000000),
                                      .retry_max_ns = UINT64_C(4000000000)};
    for (uint32_t i = 0; i < NODES; i++)
        config.node[i] = node_addr(i);
    b->client = ls_client_core_create(&config, &b->client_port->io, now_ns(b));
    if (b->client == NULL)
        die("client", errno);

    for (uint32_t i = 0; i < NODES; i++)
        control(&b->node[i], LS_ORDER_SEAL, 1);
    everyone_once(b);
    control(&b->node[0], LS_ORDER_INSTALL, 1);
    for (uint64_t begin = now_ns(b); ls_client_core_session(b->client) == 0;) {
        if (now_ns(b) - begin > UINT64_C(10000000000))
            die("no session", ETIMEDOUT);
        everyone_once(b);
    }
    /* every key is there before anything is measured: overwriting is the common case */
    for (uint32_t i = 0; i < b->keys * 2; i += BURST) {
        uint64_t at[STAGES + 1];
        round_run(b, BURST, false, at);
        round_complete(b);
    }
}

/* Lets everything arrive and compares the replicas. */
static bool bench_verify(struct bench *b)
{
    for (uint64_t begin = now_ns(b); now_ns(b) - begin < UINT64_C(20000000);)
        everyone_once(b);
    bool equal = true;
    uint64_t seq = atomic_load(&b->node[0].seam.applied_seq), digest = ls_executor_digest(b->node[0].executor);
    for (uint32_t i = 1; i < NODES; i++)
        equal = equal && atomic_load(&b->node[i].seam.applied_seq) == seq &&
                ls_executor_digest(b->node[i].executor) == digest;
    printf("replicas: %s at seq %" PRIu64 ", digest %016" PRIx64 "; %" PRIu64 " requests, %" PRIu64 " not OK, %" PRIu64
           " bursts took more than one pass\n",
           equal ? "equal" : "DIFFERENT", seq, digest, b->submitted, b->failed, b->late_rounds);
    return equal && b->failed == 0;
}

static void bench_stop(struct bench *b)
{
    ls_client_core_destroy(b->client);
    for (uint32_t i = 0; i < NODES; i++)
        node_destroy(b, &b->node[i]);
    ls_ring_switch_destroy(b->net);
}

/* ---- measuring ---- */

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *values, uint32_t n)
{
    qsort(values, n, sizeof(*values), compare);
    return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* What reading the counter itself costs. */
static double counter_cost(void)
{
    double cost[9];
    for (uint32_t i = 0; i < 9; i++) {
        uint64_t begin = ls_cycles();
        for (uint32_t k = 0; k < 1000; k++)
            (void)ls_cycles();
        cost[i] = (double)(ls_cycles() - begin) / 1001;
    }
    return median(cost, 9);
}

struct options {
    const char *machine;
    uint32_t batch; /* 0: 1, 8 and 32 */
    uint32_t reps;
    uint64_t rounds; /* of a repetition; 0: by time */
    double seconds;  /* of a repetition */
    uint64_t log_size;
    bool stages;
};

struct sums {
    double mean[REPS_MAX];  /* cycles per request, of each repetition */
    double p50[REPS_MAX];   /* of the rounds in it */
    double timed[REPS_MAX]; /* p50 where the stages are timed too */
    double stage[STAGES][REPS_MAX];
};

static bool more_rounds(struct bench *b, const struct options *o, uint64_t begin, uint64_t n)
{
    return o->rounds != 0 ? n < o->rounds : now_ns(b) - begin < (uint64_t)(o->seconds * 1e9);
}

static void repetition_total(struct bench *b, const struct options *o, uint32_t batch, uint32_t rep, struct sums *sums,
                             struct ls_histogram *rounds)
{
    uint64_t at[STAGES + 1];
    ls_histogram_reset(rounds);
    for (uint64_t begin = now_ns(b), n = 0; more_rounds(b, o, begin, n); n++) {
        round_run(b, batch, false, at);
        round_complete(b);
        ls_histogram_record(rounds, at[STAGES] - at[0]);
    }
    sums->mean[rep] = ls_histogram_mean(rounds) / batch;
    sums->p50[rep] = (double)ls_histogram_percentile(rounds, 50) / batch;
}

static void repetition_stages(struct bench *b, const struct options *o, uint32_t batch, uint32_t rep, struct sums *sums,
                              struct ls_histogram *rounds, struct ls_histogram stages[STAGES])
{
    uint64_t at[STAGES + 1];
    ls_histogram_reset(rounds);
    for (uint32_t s = 0; s < STAGES; s++)
        ls_histogram_reset(&stages[s]);
    for (uint64_t begin = now_ns(b), n = 0; more_rounds(b, o, begin, n); n++) {
        round_run(b, batch, true, at);
        round_complete(b);
        ls_histogram_record(rounds, at[STAGES] - at[0]);
        for (uint32_t s = 0; s < STAGES; s++)
            ls_histogram_record(&stages[s], at[s + 1] - at[s]);
    }
    sums->timed[rep] = (double)ls_histogram_percentile(rounds, 50) / batch;
    for (uint32_t s = 0; s < STAGES; s++)
        sums->stage[s][rep] = (double)ls_histogram_percentile(&stages[s], 50) / batch;
}

static void measure(struct bench *b, const struct options *o, uint32_t batch, double frequency)
{
    static struct ls_histogram rounds, stages[STAGES];
    static struct sums sums;
    int error = ls_histogram_init(&rounds, UINT64_C(1) << 36, 3);
    for (uint32_t s = 0; s < STAGES && error == 0; s++)
        error = ls_histogram_init(&stages[s], UINT64_C(1) << 36, 3);
    if (error != 0)
        die("histogram", -error);

    /* The two kinds take turns, so that a slow spell of the machine meets both. */
    for (uint32_t rep = 0; rep < o->reps; rep++) {
        repetition_total(b, o, batch, rep, &sums, &rounds);
        if (o->stages)
            repetition_stages(b, o, batch, rep, &sums, &rounds, stages);
    }
    double mean = median(sums.mean, o->reps), p50 = median(sums.p50, o->reps);
    printf("%-4s  in flight %2u: %6.0f cycles a committed request (median burst), %6.0f (mean): %.3f M requests/s\n",
           b->type->name, batch, p50, mean, frequency / mean / 1e6);
    if (o->stages) {
        for (uint32_t s = 0; s < STAGES; s++)
            printf("      %-38s %6.0f\n", stage_name[s], median(sums.stage[s], o->reps));
        double timed = median(sums.timed, o->reps);
        printf("      %-38s %6.0f (%+.0f by measuring the stages)\n", "together", timed, timed - p50);
    }
    ls_histogram_free(&rounds);
    for (uint32_t s = 0; s < STAGES; s++)
        ls_histogram_free(&stages[s]);
}

static bool run(const struct options *o, struct bench *b, const struct ls_state_machine *type, double frequency)
{
    b->type = type;
    b->random = UINT64_C(0x9e3779b97f4a7c15);
    b->cycles0 = ls_cycles();
    b->ns_per_cycle_q32 = (uint64_t)(1e9 * 4294967296.0 / frequency);
    bench_start(b, o->log_size);
    static const uint32_t batches[] = {1, 8, 32};
    for (uint32_t i = 0; i < 3; i++) {
        if (o->batch == 0 || i == 0)
            measure(b, o, o->batch != 0 ? o->batch : batches[i], frequency);
    }
    bool good = bench_verify(b);
    bench_stop(b);
    return good;
}

static void usage(FILE *to)
{
    fputs("usage: lockstep-bench-core [option]...\n"
          "  -m, --machine kv|echo|both  state machine (both)\n"
          "  -b, --batch N               requests in flight, 1..64 (1, 8 and 32, one after the other)\n"
          "  -r, --reps N                repetitions, of which the median is printed, 1..99 (9)\n"
          "  -s, --seconds S             length of a repetition (0.2)\n"
          "  -n, --rounds N              bursts in a repetition, instead of --seconds; for callgrind\n"
          "  -k, --keys N                different keys, 1..1000000 (10000)\n"
          "  -v, --value N               bytes of a value, 1..1024 (64)\n"
          "  -l, --log N                 MiB of each replica's log, 1..1024 (64)\n"
          "  -t, --total                 only totals, no stages\n",
          to);
}

static uint64_t number(const char *name, const char *text, uint64_t min, uint64_t max)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != 0 || value < min || value > max) {
        fprintf(stderr, "lockstep-bench-core: --%s '%s': a number from %" PRIu64 " to %" PRIu64 " is allowed\n", name,
                text, min, max);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"machine", 1, NULL, 'm'}, {"batch", 1, NULL, 'b'}, {"reps", 1, NULL, 'r'},  {"seconds", 1, NULL, 's'},
        {"rounds", 1, NULL, 'n'},  {"keys", 1, NULL, 'k'},  {"value", 1, NULL, 'v'}, {"log", 1, NULL, 'l'},
        {"total", 0, NULL, 't'},   {"help", 0, NULL, 'h'},  {NULL, 0, NULL, 0},
    };
    struct options o = {.machine = "both", .reps = 9, .seconds = 0.2, .log_size = 64ull << 20, .stages = true};
    uint32_t keys = 10000, value_size = 64;
    for (int c; (c = getopt_long(argc, argv, "m:b:r:s:n:k:v:l:th", longs, NULL)) != -1;) {
        switch (c) {
        case 'm':
            o.machine = optarg;
            break;
        case 'b':
            o.batch = (uint32_t)number("batch", optarg, 1, LS_WINDOW_MAX);
            break;
        case 'r':
            o.reps = (uint32_t)number("reps", optarg, 1, REPS_MAX);
            break;
        case 's':
            o.seconds = strtod(optarg, NULL);
            break;
        case 'n':
            o.rounds = number("rounds", optarg, 1, UINT64_MAX);
            break;
        case 'k':
            keys = (uint32_t)number("keys", optarg, 1, 1000000);
            break;
        case 'v':
            value_size = (uint32_t)number("value", optarg, 1, VALUE_MAX);
            break;
        case 'l':
            o.log_size = number("log", optarg, 1, 1024) << 20;
            break;
        case 't':
            o.stages = false;
            break;
        case 'h':
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    }
    bool kv = strcmp(o.machine, "echo") != 0, echo = strcmp(o.machine, "kv") != 0;
    if (kv && echo && strcmp(o.machine, "both") != 0) {
        fprintf(stderr, "lockstep-bench-core: --machine '%s': kv, echo and both are allowed\n", o.machine);
        return 2;
    }
    if (!(o.seconds > 0 && o.seconds <= 3600)) {
        fprintf(stderr, "lockstep-bench-core: --seconds: more than 0 and at most 3600 is allowed\n");
        return 2;
    }

    double frequency = ls_cycles_per_second();
    printf("one core: client, sequencer, two followers; keys of %u bytes (%" PRIu32 "), values of %" PRIu32
           " bytes; counter %.0f MHz, reading it %.0f cycles; median of %" PRIu32 " repetitions\n",
           KEY_SIZE, keys, value_size, frequency / 1e6, counter_cost(), o.reps);

    bool good = true;
    const struct ls_state_machine *types[] = {kv ? &ls_kv : NULL, echo ? &ls_echo : NULL};
    for (uint32_t t = 0; t < 2; t++) {
        if (types[t] == NULL)
            continue;
        struct bench *b = calloc(1, sizeof(*b));
        if (b == NULL)
            die("memory", ENOMEM);
        b->keys = keys;
        b->value_size = value_size;
        b->key = calloc(keys, sizeof(*b->key));
        if (b->key == NULL)
            die("keys", ENOMEM);
        for (uint32_t i = 0; i < keys; i++) {
            char text[KEY_SIZE + 1];
            snprintf(text, sizeof(text), "key:%012u", i);
            memcpy(b->key[i], text, KEY_SIZE);
        }
        good = run(&o, b, types[t], frequency) && good;
        free(b->key);
        free(b);
    }
    return good ? 0 : 1;
}
