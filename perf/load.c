/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lockstep-perf's threads: each has a client session, histograms and dice of its own, keeps operations under way, and
 * notes how long each took.
 *
 * Closed loop: the window is kept full. Open loop: operations are due at fixed times whatever happens, and latency
 * counts from the time an operation was due, not from when it could be sent: a stall of the cluster shows in every
 * operation that was due meanwhile (no coordinated omission; the load generator of wrk2 and HdrHistogram's author).
 */
#include "load.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <lockstep/error.h>

#include "cycles.h"

#define SECOND_NS       UINT64_C(1000000000)
#define DRAIN_NS        (3 * SECOND_NS)
#define GIVE_UP_NS      (10 * SECOND_NS)
#define POLL_LONGEST_NS UINT64_C(10000000) /* so that a thread notices the end, and turns its interval over */
#define LATENCY_MAX_NS  (600 * SECOND_NS)
#define KEY_SIZE        16u
#define INTERVAL_WAITS  50 /* milliseconds */

struct operation {
    struct ls_load_worker *worker;
    uint64_t due_ns;
    bool is_read;
    bool recorded; /* due after the warm-up */
};

/* Owner: its thread. main reads the atomics while it runs, the rest before it starts and after it was joined. */
struct ls_load_worker {
    const struct ls_load_options *options;
    struct ls_load *load;
    pthread_t thread;
    bool started;
    uint32_t number;
    struct ls_client *client;
    uint64_t random;
    uint64_t begin_ns, warm_ns, end_ns;
    struct operation operation[LS_WINDOW_MAX];
    struct operation *free[LS_WINDOW_MAX];
    uint32_t free_count;
    uint64_t due_ns; /* open loop: of the next operation */
    struct ls_load_results results;
    struct ls_timeline timeline; /* if wanted */
    uint8_t *put;                /* the operation that is being built */
    int error;
    _Atomic bool ended;
    _Atomic uint64_t good;
    _Atomic uint64_t failed;
    /* What happened since main's last look. The thread records into interval[turn & 1]. main raises turn_wanted; the
     * thread follows (release, pairs with main's acquire): from then on the other one is main's to read and clear. */
    struct ls_histogram interval[2];
    _Atomic uint32_t turn_wanted;
    _Atomic uint32_t turn;
};

struct ls_load {
    struct ls_load_options options;
    _Atomic bool interrupted;
    uint64_t good_seen, failed_seen;
    struct ls_load_worker worker[LS_LOAD_THREADS_MAX];
};

static void add(_Atomic uint64_t *value, uint64_t n)
{
    /* one writer */
    atomic_store_explicit(value, atomic_load_explicit(value, memory_order_relaxed) + n, memory_order_relaxed);
}

static uint64_t next_random(struct ls_load_worker *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random;
}

/* "key:000000001234", without snprintf: that would be a good part of a client's work per operation. */
static void key_write(uint8_t *to, uint64_t number)
{
    memcpy(to, "key:", 4);
    for (uint32_t i = KEY_SIZE - 1; i >= 4; i--) {
        to[i] = (uint8_t)('0' + number % 10);
        number /= 10;
    }
}

static int put(struct ls_load_worker *w, uint64_t key, ls_client_callback done, void *user)
{
    struct ls_kv_op *op = (struct ls_kv_op *)w->put;
    uint32_t value_size = w->options->value_size;
    uint64_t mark = next_random(w);
    *op = (struct ls_kv_op){.code = LS_KV_PUT, .key_length = KEY_SIZE, .value_length = value_size};
    key_write(w->put + sizeof(*op), key);
    memcpy(w->put + sizeof(*op) + KEY_SIZE, &mark, value_size < sizeof(mark) ? value_size : sizeof(mark));
    return ls_client_submit(w->client, op, (uint32_t)sizeof(*op) + KEY_SIZE + value_size, 0, done, user, NULL);
}

static int get(struct ls_load_worker *w, uint64_t key, ls_client_callback done, void *user)
{
    struct {
        struct ls_kv_op op;
        uint8_t key[KEY_SIZE];
    } LS_PACKED operation = {.op = {.code = LS_KV_GET, .key_length = KEY_SIZE}};
    key_write(operation.key, key);
    uint64_t least = w->options->consistency == LS_READ_LEAST ? ls_client_last_seq(w->client) : 0;
    return ls_client_read(w->client, &operation, sizeof(operation), w->options->consistency, least, done, user);
}

static void on_done(void *user, const struct ls_reply *reply)
{
    struct operation *o = user;
    struct ls_load_worker *w = o->worker;
    uint64_t now = ls_clock_ns(), latency = now > o->due_ns ? now - o->due_ns : 0;
    bool answered = reply->error == 0;
    bool good = answered && (reply->status == LS_STATUS_OK || reply->status == LS_STATUS_NOT_FOUND ||
                             reply->status == LS_STATUS_LARGE_VALUE);

    w->free[w->free_count++] = o;
    w->results.retries += reply->retries;
    if (w->options->timeline)
        ls_timeline_note(&w->timeline, now, good);
    w->results.status[answered && reply->status < LS_LOAD_STATUS_MAX ? reply->status : LS_LOAD_STATUS_MAX]++;
    if (!good) {
        add(&w->failed, 1);
        return;
    }
    add(&w->good, 1);
    ls_histogram_record(&w->interval[atomic_load_explicit(&w->turn, memory_order_relaxed) & 1], latency);
    if (o->recorded)
        ls_histogram_record(o->is_read ? &w->results.read : &w->results.write, latency);
}

/* One operation, due at `due_ns`. False: the client does not take it just now. */
static bool issue(struct ls_load_worker *w, uint64_t due_ns)
{
    struct operation *o = w->free[--w->free_count]; /* first: the completion may come within the call */
    o->due_ns = due_ns;
    o->recorded = due_ns >= w->warm_ns;
    o->is_read = next_random(w) % 100 < w->options->reads;
    uint64_t key = next_random(w) % w->options->keys;
    int error = o->is_read ? get(w, key, on_done, o) : put(w, key, on_done, o);
    if (error == 0)
        return true;
    w->free[w->free_count++] = o;
    if (error != -EAGAIN)
        w->error = error;
    return false;
}

static void interval_follow(struct ls_load_worker *w)
{
    uint32_t wanted = atomic_load_explicit(&w->turn_wanted, memory_order_acquire);
    if (wanted != atomic_load_explicit(&w->turn, memory_order_relaxed))
        atomic_store_explicit(&w->turn, wanted, memory_order_release);
}

static void poll_for(struct ls_load_worker *w, uint64_t wait_ns)
{
    int error = ls_client_wait(w->client, wait_ns < POLL_LONGEST_NS ? wait_ns : POLL_LONGEST_NS);
    if (error < 0 && w->error == 0)
        w->error = error;
}

static void *worker_main(void *argument)
{
    struct ls_load_worker *w = argument;
    const struct ls_load_options *o = w->options;
    bool open_loop = o->rate > 0;
    uint64_t gap = open_loop ? (uint64_t)((double)SECOND_NS * o->threads / o->rate) : 0;
    /* threads are due one after the other, not all at once */
    w->due_ns = w->begin_ns + gap * w->number / o->threads;

    while (w->error == 0 && !atomic_load_explicit(&w->load->interrupted, memory_order_relaxed)) {
        uint64_t now = ls_clock_ns();
        if (now >= w->end_ns)
            break;
        interval_follow(w);
        while (w->free_count > 0 && (!open_loop || w->due_ns <= now)) {
            if (!issue(w, open_loop ? w->due_ns : now))
                break;
            w->due_ns += gap;
        }
        uint64_t wait = w->end_ns - now;
        if (open_loop && w->free_count > 0)
            wait = w->due_ns > now ? w->due_ns - now : 0;
        poll_for(w, wait);
    }
    uint64_t end = ls_clock_ns() + DRAIN_NS;
    while (w->free_count < o->window && ls_clock_ns() < end && w->error == 0) {
        interval_follow(w);
        poll_for(w, POLL_LONGEST_NS);
    }
    if (o->timeline)
        ls_timeline_end(&w->timeline, w->free_count < o->window ? ls_clock_ns() : w->timeline.last_ns);
    w->results.status[LS_LOAD_STATUS_MAX] += o->window - w->free_count;
    add(&w->failed, o->window - w->free_count);
    atomic_store_explicit(&w->ended, true, memory_order_release);
    return NULL;
}

int ls_load_results_init(struct ls_load_results *results)
{
    memset(results, 0, sizeof(*results));
    int error = ls_histogram_init(&results->write, LATENCY_MAX_NS, 3);
    return error != 0 ? error : ls_histogram_init(&results->read, LATENCY_MAX_NS, 3);
}

void ls_load_results_free(struct ls_load_results *results)
{
    ls_histogram_free(&results->write);
    ls_histogram_free(&results->read);
}

static int worker_create(struct ls_load *load, uint32_t number, char *error)
{
    struct ls_load_worker *w = &load->worker[number];
    const struct ls_load_options *o = &load->options;
    w->options = o;
    w->load = load;
    w->number = number;
    w->random = (o->seed + number + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
    w->free_count = o->window;
    for (uint32_t i = 0; i < o->window; i++) {
        w->operation[i].worker = w;
        w->free[i] = &w->operation[o->window - 1 - i];
    }
    w->put = malloc(sizeof(struct ls_kv_op) + KEY_SIZE + o->value_size);
    int result = w->put != NULL ? ls_load_results_init(&w->results) : -ENOMEM;
    for (uint32_t i = 0; i < 2 && result == 0; i++)
        result = ls_histogram_init(&w->interval[i], LATENCY_MAX_NS, 3);
    if (result == 0 && o->timeline)
        result = ls_timeline_init(&w->timeline, o->warmup + o->seconds);
    if (result != 0) {
        snprintf(error, LS_CONFIG_ERROR_MAX, "thread %u: %s", number + 1, strerror(-result));
        return result;
    }
    for (uint32_t i = 0; i < o->value_size; i++)
        w->put[sizeof(struct ls_kv_op) + KEY_SIZE + i] = (uint8_t)('a' + i % 26);

    struct ls_client_options client = {
        .cluster = o->config.cluster,
        .generation = o->config.generation,
        .group = o->config.group,
        .nodes = o->config.nodes,
        .window = o->window,
        .op_max = o->config.op_max,
        .timeout_ns = GIVE_UP_NS,
        .read_pinned = o->read_node != 0,
    };
    for (uint32_t i = 0; i < o->config.nodes; i++) {
        client.node[i] = (struct ls_addr){.ip = o->config.node[i].ip, .port = o->config.port};
        if (o->config.node[i].id == o->read_node)
            client.read_node = i + 1;
    }
    result = ls_client_open(&w->client, &client);
    if (result == 0)
        ls_client_set_durability(w->client, o->durability);
    if (result != 0)
        snprintf(error, LS_CONFIG_ERROR_MAX, "opening a client: %s", strerror(-result));
    return result;
}

struct ls_load *ls_load_create(const struct ls_load_options *options, char *error)
{
    struct ls_load *load = calloc(1, sizeof(*load));
    if (load == NULL) {
        snprintf(error, LS_CONFIG_ERROR_MAX, "no memory");
        return NULL;
    }
    load->options = *options;
    for (uint32_t i = 0; i < options->threads; i++) {
        if (worker_create(load, i, error) != 0) {
            ls_load_destroy(load);
            return NULL;
        }
    }
    return load;
}

void ls_load_destroy(struct ls_load *load)
{
    if (load == NULL)
        return;
    for (uint32_t i = 0; i < load->options.threads; i++) {
        struct ls_load_worker *w = &load->worker[i];
        ls_client_close(w->client);
        ls_load_results_free(&w->results);
        ls_timeline_free(&w->timeline);
        ls_histogram_free(&w->interval[0]);
        ls_histogram_free(&w->interval[1]);
        free(w->put);
    }
    free(load);
}

struct fill {
    uint64_t done;
    uint64_t failed;
    uint16_t status;
};

static void on_filled(void *user, const struct ls_reply *reply)
{
    struct fill *fill = user;
    fill->done++;
    if (reply->error != 0 || reply->status != LS_STATUS_OK) {
        fill->failed++;
        fill->status = reply->error == 0 ? reply->status : UINT16_MAX;
    }
}

int ls_load_fill(struct ls_load *load, char *error)
{
    struct ls_load_worker *w = &load->worker[0];
    struct fill fill = {0};
    uint64_t sent = 0;
    while (fill.done < load->options.keys && fill.failed == 0 && w->error == 0 &&
           !atomic_load_explicit(&load->interrupted, memory_order_relaxed)) {
        while (sent < load->options.keys && sent - fill.done < load->options.window) {
            int result = put(w, sent, on_filled, &fill);
            if (result == -EAGAIN)
                break;
            if (result != 0) {
                snprintf(error, LS_CONFIG_ERROR_MAX, "filling: %s", strerror(-result));
                return result;
            }
            sent++;
        }
        poll_for(w, POLL_LONGEST_NS);
    }
    if (fill.failed > 0) {
        snprintf(error, LS_CONFIG_ERROR_MAX, "filling: a put failed: %s",
                 fill.status == UINT16_MAX ? "no answer" : ls_status_text(fill.status));
        return -EIO;
    }
    return w->error;
}

int ls_load_start(struct ls_load *load)
{
    const struct ls_load_options *o = &load->options;
    uint64_t begin = ls_clock_ns();
    for (uint32_t i = 0; i < o->threads; i++) {
        struct ls_load_worker *w = &load->worker[i];
        w->begin_ns = begin;
        if (o->timeline)
            ls_timeline_begin(&w->timeline, begin);
        w->warm_ns = begin + (uint64_t)(o->warmup * 1e9);
        w->end_ns = w->warm_ns + (uint64_t)(o->seconds * 1e9);
        int error = pthread_create(&w->thread, NULL, worker_main, w);
        if (error != 0) {
            ls_load_interrupt(load);
            return -error;
        }
        w->started = true;
    }
    return 0;
}

bool ls_load_is_running(struct ls_load *load)
{
    for (uint32_t i = 0; i < load->options.threads; i++) {
        if (!atomic_load_explicit(&load->worker[i].ended, memory_order_acquire))
            return true;
    }
    return false;
}

void ls_load_interrupt(struct ls_load *load)
{
    atomic_store_explicit(&load->interrupted, true, memory_order_relaxed);
}

/* True once the thread records elsewhere (or not at all), so that what it recorded is main's. */
static bool interval_given(struct ls_load_worker *w, uint32_t wanted)
{
    for (uint32_t i = 0; i < INTERVAL_WAITS; i++) {
        if (atomic_load_explicit(&w->turn, memory_order_acquire) == wanted ||
            atomic_load_explicit(&w->ended, memory_order_acquire))
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return false;
}

void ls_load_interval(struct ls_load *load, struct ls_histogram *latency, uint64_t *good, uint64_t *failed)
{
    uint64_t good_now = 0, failed_now = 0;
    ls_histogram_reset(latency);
    for (uint32_t i = 0; i < load->options.threads; i++) {
        struct ls_load_worker *w = &load->worker[i];
        good_now += atomic_load_explicit(&w->good, memory_order_relaxed);
        failed_now += atomic_load_explicit(&w->failed, memory_order_relaxed);
        uint32_t wanted = atomic_load_explicit(&w->turn_wanted, memory_order_relaxed);
        if (atomic_load_explicit(&w->turn, memory_order_acquire) == wanted)
            atomic_store_explicit(&w->turn_wanted, ++wanted, memory_order_release);
        /* a thread that is kept from running is left out; its interval comes with the next line */
        if (!interval_given(w, wanted))
            continue;
        struct ls_histogram *given = &w->interval[(wanted - 1) & 1];
        ls_histogram_merge(latency, given);
        ls_histogram_reset(given);
    }
    *good = good_now - load->good_seen;
    *failed = failed_now - load->failed_seen;
    load->good_seen = good_now;
    load->failed_seen = failed_now;
}

int ls_load_timeline_write(const struct ls_load *load, FILE *to)
{
    const struct ls_timeline *timelines[LS_LOAD_THREADS_MAX];
    for (uint32_t i = 0; i < load->options.threads; i++)
        timelines[i] = &load->worker[i].timeline;
    return ls_timeline_write(timelines, load->options.threads, to);
}

int ls_load_finish(struct ls_load *load, struct ls_load_results *results)
{
    int error = 0;
    for (uint32_t i = 0; i < load->options.threads; i++) {
        struct ls_load_worker *w = &load->worker[i];
        if (w->started)
            pthread_join(w->thread, NULL);
        ls_histogram_merge(&results->write, &w->results.write);
        ls_histogram_merge(&results->read, &w->results.read);
        for (uint32_t s = 0; s <= LS_LOAD_STATUS_MAX; s++)
            results->status[s] += w->results.status[s];
        results->retries += w->results.retries;
        results->good += atomic_load_explicit(&w->good, memory_order_relaxed);
        results->failed += atomic_load_explicit(&w->failed, memory_order_relaxed);
        if (error == 0)
            error = w->error;
    }
    return error;
}
