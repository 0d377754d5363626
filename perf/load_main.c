/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lockstep-perf: load for a running cluster through the client library over kernel UDP sockets, and what it measured: a
 * line per second, a table of percentiles, an .hgrm file for plotters, a JSON summary for programs. Main thread.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <lockstep/error.h>

#include <lockstep/counters.h>

#include "cycles.h"
#include "load.h"

static struct ls_load *running; /* for the signal handler */

static void on_signal(int number)
{
    ls_load_interrupt(running);
}

static void usage(FILE *to)
{
    fputs("usage: lockstep-perf --config FILE [option]...\n"
          "  -c, --config FILE       the cluster file\n"
          "  -s, --seconds S         measured time (10)\n"
          "  -u, --warmup S          time before it that does not count (1)\n"
          "  -w, --window N          operations in flight of each thread, 1..64 (32)\n"
          "  -t, --threads N         threads, each with a session of its own, 1..64 (1)\n"
          "  -r, --rate N            open loop: operations per second, all threads together; latency counts from when\n"
          "                          an operation was due (0: closed loop)\n"
          "  -R, --reads PERCENT     share of reads, 0..100 (0)\n"
          "  -C, --consistency WORD  of reads: linearizable, least (own writes), stale (linearizable)\n"
          "  -d, --durability WORD   of writes, before they are answered: memory, async, journal (the cluster's)\n"
          "  -n, --read-node N       send reads to this node (to the sequencer)\n"
          "  -k, --keys N            different keys, chosen evenly, 1..1000000000 (10000)\n"
          "  -v, --value N           bytes of a value, 1..1048576 (64)\n"
          "  -f, --fill              put every key once before\n"
          "  -S, --seed N            of keys and values (1)\n"
          "      --hgrm FILE         percentile distribution in us, as HdrHistogram's plotter reads it\n"
          "      --json FILE         summary; - for standard output, then nothing else is printed there\n"
          "      --timeline FILE     completions in each 10 ms and every pause of a thread above 3 ms, as JSON\n"
          "  -b, --bars              the distribution as bars too\n"
          "  -q, --quiet             no line per second\n"
          "Exit status: 0 all good, 1 an operation failed or went unanswered, 2 wrong usage, 3 no cluster.\n",
          to);
}

static double number(const char *option, const char *text, double min, double max)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (errno != 0 || end == text || *end != 0 || !(value >= min && value <= max)) {
        fprintf(stderr, "lockstep-perf: --%s '%s': a number from %.0f to %.0f is allowed\n", option, text, min, max);
        exit(2);
    }
    return value;
}

static enum ls_consistency consistency(const char *text)
{
    static const char *const words[] = {"linearizable", "least", "stale"};
    for (uint32_t i = 0; i < 3; i++) {
        if (strcmp(text, words[i]) == 0)
            return (enum ls_consistency)i;
    }
    fprintf(stderr, "lockstep-perf: --consistency '%s': linearizable, least and stale are allowed\n", text);
    exit(2);
}

static enum ls_durability durability(const char *text)
{
    for (unsigned i = LS_DURABLE_MEMORY; i <= LS_DURABLE_JOURNAL; i++)
        if (strcmp(text, ls_durability_name(i)) == 0)
            return (enum ls_durability)i;
    fprintf(stderr, "lockstep-perf: --durability '%s': memory, async and journal are allowed\n", text);
    exit(2);
}

struct output {
    const char *hgrm;
    const char *json;
    const char *timeline;
    bool quiet;
    bool bars;
};

static void options_read(int argc, char **argv, struct ls_load_options *o, struct output *output)
{
    enum { HGRM = 256, JSON, TIMELINE };
    static const struct option longs[] = {
        {"config", 1, NULL, 'c'},     {"seconds", 1, NULL, 's'},       {"warmup", 1, NULL, 'u'},
        {"window", 1, NULL, 'w'},     {"threads", 1, NULL, 't'},       {"rate", 1, NULL, 'r'},
        {"reads", 1, NULL, 'R'},      {"keys", 1, NULL, 'k'},          {"consistency", 1, NULL, 'C'},
        {"value", 1, NULL, 'v'},      {"fill", 0, NULL, 'f'},          {"read-node", 1, NULL, 'n'},
        {"seed", 1, NULL, 'S'},       {"hgrm", 1, NULL, HGRM},         {"json", 1, NULL, JSON},
        {"durability", 1, NULL, 'd'}, {"quiet", 0, NULL, 'q'},         {"bars", 0, NULL, 'b'},
        {"help", 0, NULL, 'h'},       {"timeline", 1, NULL, TIMELINE}, {NULL, 0, NULL, 0},
    };
    for (int c; (c = getopt_long(argc, argv, "c:s:u:w:t:r:R:k:C:v:fn:S:d:bqh", longs, NULL)) != -1;) {
        switch (c) {
        case 'c':
            o->config_path = optarg;
            break;
        case 's':
            o->seconds = number("seconds", optarg, 0, 86400);
            break;
        case 'u':
            o->warmup = number("warmup", optarg, 0, 3600);
            break;
        case 'w':
            o->window = (uint32_t)number("window", optarg, 1, LS_WINDOW_MAX);
            break;
        case 't':
            o->threads = (uint32_t)number("threads", optarg, 1, LS_LOAD_THREADS_MAX);
            break;
        case 'r':
            o->rate = number("rate", optarg, 0, 1e9);
            break;
        case 'R':
            o->reads = (uint32_t)number("reads", optarg, 0, 100);
            break;
        case 'k':
            o->keys = (uint64_t)number("keys", optarg, 1, 1e9);
            break;
        case 'C':
            o->consistency = consistency(optarg);
            break;
        case 'v':
            o->value_size = (uint32_t)number("value", optarg, 1, LS_KV_VALUE_MAX);
            break;
        case 'd':
            o->durability = durability(optarg);
            break;
        case 'f':
            o->fill = true;
            break;
        case 'n':
            o->read_node = (uint32_t)number("read-node", optarg, 1, LS_NODE_ID_MAX);
            break;
        case 'S':
            o->seed = (uint64_t)number("seed", optarg, 0, 1e15);
            break;
        case HGRM:
            output->hgrm = optarg;
            break;
        case JSON:
            output->json = optarg;
            break;
        case TIMELINE:
            output->timeline = optarg;
            o->timeline = true;
            break;
        case 'q':
            output->quiet = true;
            break;
        case 'b':
            output->bars = true;
            break;
        case 'h':
            usage(stdout);
            exit(0);
        default:
            usage(stderr);
            exit(2);
        }
    }
    if (optind < argc || o->config_path == NULL) {
        usage(stderr);
        exit(2);
    }
    char error[LS_CONFIG_ERROR_MAX];
    if (ls_config_load(&o->config, o->config_path, error) != 0) {
        fprintf(stderr, "lockstep-perf: %s\n", error);
        exit(2);
    }
    if (o->read_node != 0 && ls_config_find(&o->config, (uint16_t)o->read_node) == NULL) {
        char list[256];
        fprintf(stderr, "lockstep-perf: --read-node %u: no such node in %s; allowed: %s\n", o->read_node,
                o->config_path, ls_config_node_list(&o->config, list, sizeof(list)));
        exit(2);
    }
    if (o->window > o->config.window) {
        fprintf(stderr, "lockstep-perf: --window %u: the cluster allows %u requests in flight per session\n", o->window,
                o->config.window);
        exit(2);
    }
}

static const char *describe(const struct ls_load_options *o, char *text, size_t room)
{
    static const char *const words[] = {"linearizable", "least", "stale"};
    char reads[96] = "no reads", loop[64] = "closed loop";
    if (o->reads > 0 && o->read_node > 0)
        snprintf(reads, sizeof(reads), "%u %% reads, %s, at node %u", o->reads, words[o->consistency], o->read_node);
    else if (o->reads > 0)
        snprintf(reads, sizeof(reads), "%u %% reads, %s", o->reads, words[o->consistency]);
    if (o->rate > 0)
        snprintf(loop, sizeof(loop), "open loop, %.0f/s", o->rate);
    snprintf(text, room, "%s, %u thread%s, window %u, %s, %" PRIu64 " keys, values of %u bytes", loop, o->threads,
             o->threads == 1 ? "" : "s", o->window, reads, o->keys, o->value_size);
    return text;
}

static void progress(struct ls_load *load, uint64_t begin_ns)
{
    struct ls_histogram latency;
    if (ls_histogram_init(&latency, UINT64_C(600000000000), 3) != 0)
        return;
    uint64_t last = begin_ns, good, failed;
    for (uint64_t second = 1; ls_load_is_running(load); second++) {
        uint64_t due = begin_ns + second * UINT64_C(1000000000);
        while (ls_clock_ns() < due && ls_load_is_running(load))
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        ls_load_interval(load, &latency, &good, &failed);
        uint64_t now = ls_clock_ns();
        if (now - last < UINT64_C(500000000)) /* the end came just behind a line */
            break;
        printf("%4" PRIu64 " s %10.0f op/s  p50 %8.1f us  p99 %8.1f us  max %8.1f us  failed %" PRIu64 "\n", second,
               (double)good * 1e9 / (double)(now - last), (double)ls_histogram_percentile(&latency, 50) / 1e3,
               (double)ls_histogram_percentile(&latency, 99) / 1e3, (double)latency.max / 1e3, failed);
        fflush(stdout);
        last = now;
    }
    ls_histogram_free(&latency);
}

static void print_part(const char *what, const struct ls_histogram *h, double seconds, bool bars)
{
    if (h->total == 0)
        return;
    printf("%s: %.0f/s\n", what, (double)h->total / seconds);
    ls_histogram_print(h, stdout, "us", 1e3);
    if (bars)
        ls_histogram_print_bars(h, stdout, "us", 1e3);
}

static void print_results(const struct ls_load_results *r, double seconds, bool bars)
{
    print_part("writes", &r->write, seconds, bars);
    print_part("reads", &r->read, seconds, bars);
    printf("%.0f operations/s, %" PRIu64 " sent again, %" PRIu64 " failed\n",
           (double)(r->write.total + r->read.total) / seconds, r->retries, r->failed);
    for (uint32_t s = 0; s < LS_LOAD_STATUS_MAX; s++) {
        if (r->status[s] > 0 && s != LS_STATUS_OK)
            printf("  %" PRIu64 " x %s\n", r->status[s], ls_status_text((uint16_t)s));
    }
    if (r->status[LS_LOAD_STATUS_MAX] > 0)
        printf("  %" PRIu64 " x no answer\n", r->status[LS_LOAD_STATUS_MAX]);
}

static void json_part(FILE *to, const char *name, const struct ls_histogram *h, double seconds)
{
    fprintf(to,
            "  \"%s\": {\"count\": %" PRIu64 ", \"per_second\": %.1f, \"mean_ns\": %.0f, \"p50_ns\": %" PRIu64
            ", \"p90_ns\": %" PRIu64 ", \"p99_ns\": %" PRIu64 ", \"p999_ns\": %" PRIu64 ", \"p9999_ns\": %" PRIu64
            ", \"max_ns\": %" PRIu64 "},\n",
            name, h->total, (double)h->total / seconds, ls_histogram_mean(h), ls_histogram_percentile(h, 50),
            ls_histogram_percentile(h, 90), ls_histogram_percentile(h, 99), ls_histogram_percentile(h, 99.9),
            ls_histogram_percentile(h, 99.99), h->max);
}

static int write_json(const char *path, const struct ls_load_options *o, const struct ls_load_results *r,
                      double seconds)
{
    FILE *to = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");
    if (to == NULL)
        return -errno;
    fprintf(to,
            "{\n  \"cluster\": \"%s\", \"nodes\": %u, \"seconds\": %.3f, \"threads\": %u, \"window\": %u,\n"
            "  \"rate\": %.1f, \"reads_percent\": %u, \"keys\": %" PRIu64 ", \"value_bytes\": %u,\n",
            o->config.name, o->config.nodes, seconds, o->threads, o->window, o->rate, o->reads, o->keys, o->value_size);
    json_part(to, "writes", &r->write, seconds);
    json_part(to, "reads", &r->read, seconds);
    fprintf(to, "  \"retries\": %" PRIu64 ", \"failed\": %" PRIu64 ", \"unanswered\": %" PRIu64 "\n}\n", r->retries,
            r->failed, r->status[LS_LOAD_STATUS_MAX]);
    int error = ferror(to) ? -EIO : 0;
    if (to != stdout && fclose(to) != 0)
        error = -errno;
    return error;
}

static int write_timeline(const char *path, const struct ls_load *load)
{
    FILE *to = fopen(path, "w");
    if (to == NULL)
        return -errno;
    int error = ls_load_timeline_write(load, to);
    if (fclose(to) != 0 && error == 0)
        error = -errno;
    return error;
}

static int write_hgrm(const char *path, const struct ls_load_results *r)
{
    struct ls_load_results both;
    int error = ls_load_results_init(&both);
    FILE *to = error == 0 ? fopen(path, "w") : NULL;
    if (to == NULL) {
        ls_load_results_free(&both);
        return error != 0 ? error : -errno;
    }
    ls_histogram_merge(&both.write, &r->write);
    ls_histogram_merge(&both.write, &r->read);
    error = ls_histogram_write_hgrm(&both.write, to, 1e3, 5);
    if (fclose(to) != 0 && error == 0)
        error = -errno;
    ls_load_results_free(&both);
    return error;
}

int main(int argc, char **argv)
{
    static struct ls_load_options options = {
        .threads = 1, .window = 32, .seconds = 10, .warmup = 1, .keys = 10000, .value_size = 64, .seed = 1};
    struct output output = {0};
    char error[LS_CONFIG_ERROR_MAX] = "", text[512];
    options_read(argc, argv, &options, &output);
    bool talk = output.json == NULL || strcmp(output.json, "-") != 0;
    if (talk)
        printf("cluster %s, %u nodes; %s\n", options.config.name, options.config.nodes,
               describe(&options, text, sizeof(text)));

    struct ls_load_results results;
    int failure = ls_load_results_init(&results);
    running = ls_load_create(&options, error);
    if (running == NULL || failure != 0) {
        fprintf(stderr, "lockstep-perf: %s\n", error);
        return 3;
    }
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (options.fill && ls_load_fill(running, error) != 0) {
        fprintf(stderr, "lockstep-perf: %s\n", error);
        ls_load_destroy(running);
        return 3;
    }
    uint64_t begin = ls_clock_ns();
    failure = ls_load_start(running);
    if (talk && !output.quiet)
        progress(running, begin);
    int gave_up = ls_load_finish(running, &results);
    double seconds = (double)(ls_clock_ns() - begin) / 1e9 - options.warmup;
    if (seconds > options.seconds || seconds <= 0)
        seconds = options.seconds;

    if (talk)
        print_results(&results, seconds, output.bars);
    int hgrm = output.hgrm != NULL ? write_hgrm(output.hgrm, &results) : 0;
    if (hgrm != 0)
        fprintf(stderr, "lockstep-perf: --hgrm %s: %s\n", output.hgrm, strerror(-hgrm));
    int json = output.json != NULL ? write_json(output.json, &options, &results, seconds) : 0;
    if (json != 0)
        fprintf(stderr, "lockstep-perf: --json %s: %s\n", output.json, strerror(-json));
    int timeline = output.timeline != NULL ? write_timeline(output.timeline, running) : 0;
    if (timeline != 0)
        fprintf(stderr, "lockstep-perf: --timeline %s: %s\n", output.timeline, strerror(-timeline));
    if (failure != 0 || gave_up != 0)
        fprintf(stderr, "lockstep-perf: a thread gave up: %s\n", strerror(-(failure != 0 ? failure : gave_up)));
    bool good = failure == 0 && gave_up == 0 && hgrm == 0 && json == 0 && timeline == 0 && results.failed == 0 &&
                results.good > 0;
    ls_load_results_free(&results);
    ls_load_destroy(running);
    return good ? 0 : 1;
}
