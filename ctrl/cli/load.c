/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lockstep kv load: puts "key<TAB>value" lines, as many at once as the session's window allows, in the file's order.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

#define SECOND 1000000000ull

struct load;

struct flight {
    struct load *load;
    uint64_t line;
    struct flight *next_free;
};

struct load {
    struct cli *cli;
    struct ls_client *client;
    const char *name; /* of the file, for messages */
    uint8_t *operation;
    uint64_t lines;
    uint64_t loaded;
    uint64_t failed;
    uint64_t failed_behind; /* the line that ended it */
    uint64_t last_failed;
    uint64_t bytes;
    uint64_t start_ns;
    uint64_t progress_ns;
    bool progress;
    bool stop;
    enum cli_exit code; /* of the first failure */
    uint8_t reached;    /* least durability that a line was answered with */
    struct flight *free;
    struct flight flight[LS_WINDOW_MAX];
};

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/* Says so; of those that fail behind the one that ended it, only how many they are. */
static void fail(struct load *load, uint64_t line, enum cli_exit code, const char *text, const char *hint)
{
    load->failed++;
    if (load->stop && load->code != CLI_OK) {
        load->failed_behind++;
        load->last_failed = line;
        return;
    }
    cli_say(load->cli, "%s:%llu: %s%s%s", load->name, (unsigned long long)line, text, hint[0] ? ": " : "", hint);
    if (load->code == CLI_OK)
        load->code = code;
    if (!load->cli->keep_going)
        load->stop = true;
}

static void line_done(void *user, const struct ls_reply *reply)
{
    struct flight *flight = user;
    struct load *load = flight->load;
    flight->next_free = load->free;
    load->free = flight;
    if (reply->error == -ENOTCONN) {
        fail(load, flight->line, CLI_UNKNOWN, "the session was evicted: it may have been put", "");
        load->stop = true; /* whatever follows would not be sent */
    } else if (reply->error) {
        fail(load, flight->line, CLI_UNKNOWN, "no answer in time: it may have been put",
             reply->status ? ls_status_text(reply->status) : "");
        load->stop = true;
    } else if (reply->status == LS_STATUS_CLOSED && reply->session == 0) {
        fail(load, flight->line, CLI_UNREACHABLE, "no node answers: it was not put",
             "see lockstep status on the nodes");
        load->stop = true;
    } else if (reply->status != LS_STATUS_OK) {
        fail(load, flight->line, CLI_REFUSED, ls_status_text(reply->status), ls_status_hint(reply->status));
    } else {
        load->loaded++;
        if (reply->durability < load->reached)
            load->reached = reply->durability;
    }
}

static void print_progress(struct load *load, uint64_t now_ns)
{
    double seconds = (double)(now_ns - load->start_ns) / 1e9;
    fprintf(stderr, "\r%llu lines, %.1f MB, %.0f lines/s ", (unsigned long long)load->loaded, (double)load->bytes / 1e6,
            (double)load->loaded / (seconds > 0 ? seconds : 1));
    load->progress_ns = now_ns;
}

static void wait_some(struct load *load)
{
    ls_client_wait(load->client, SECOND);
    if (load->progress && clock_ns() - load->progress_ns >= SECOND)
        print_progress(load, clock_ns());
}

/* Splits a line in place; false after saying why. */
static bool line_split(struct load *load, char *text, size_t length, struct ls_kv_bytes *key, struct ls_kv_bytes *value)
{
    char *tab = memchr(text, '\t', length);
    if (!tab) {
        fail(load, load->lines, CLI_USAGE, "no tab: a line is key<TAB>value", "");
        return false;
    }
    size_t key_length = (size_t)(tab - text);
    size_t value_length = length - key_length - 1;
    if (load->cli->escaped && (!cli_unescape(text, &key_length) || !cli_unescape(tab + 1, &value_length))) {
        fail(load, load->lines, CLI_USAGE, "a backslash that begins no known escape: \\t \\n \\r \\\\ \\xHH", "");
        return false;
    }
    *key = (struct ls_kv_bytes){text, key_length};
    *value = (struct ls_kv_bytes){tab + 1, value_length};
    return true;
}

static void line_put(struct load *load, char *text, size_t length)
{
    struct ls_kv_bytes key, value;
    if (!line_split(load, text, length, &key, &value))
        return;
    int built = ls_kv_build_put(load->operation, LS_KV_OP_MAX, key, value, load->cli->ttl_ns);
    if (built == -EINVAL) {
        fail(load, load->lines, CLI_USAGE, "a key has 1 to 250 bytes", "");
        return;
    }
    int rc = built;
    while (built >= 0 && !load->stop) {
        struct flight *flight = load->free;
        rc = -EAGAIN;
        if (flight) {
            flight->load = load;
            flight->line = load->lines;
            rc = ls_client_submit(load->client, load->operation, (uint32_t)built, 0, line_done, flight, NULL);
        }
        if (rc == 0)
            load->free = flight->next_free;
        if (rc != -EAGAIN)
            break;
        wait_some(load);
    }
    if (rc == -EMSGSIZE)
        fail(load, load->lines, CLI_USAGE, "larger than allowed",
             "a value has at most 1 MiB; see also limits: op_max in the cluster file");
    if (rc == 0)
        load->bytes += key.length + value.length;
}

static void load_stream(struct load *load, FILE *in)
{
    char *text = NULL;
    size_t room = 0;
    ssize_t length;
    while (!load->stop && (length = getline(&text, &room, in)) > 0) {
        load->lines++;
        if (text[length - 1] == '\n')
            length--;
        if (length == 0)
            continue; /* empty lines separate */
        line_put(load, text, (size_t)length);
        if (load->lines % 64 == 0)
            ls_client_process(load->client);
    }
    if (ferror(in))
        fail(load, load->lines + 1, CLI_LOCAL, "cannot be read", strerror(errno));
    ls_client_drain(load->client);
    free(text);
}

static void print_summary(struct load *load)
{
    double seconds = (double)(clock_ns() - load->start_ns) / 1e9;
    double rate = (double)load->loaded / (seconds > 0 ? seconds : 1);
    if (load->progress)
        fputc('\r', stderr);
    if (load->failed_behind)
        cli_say(load->cli, "and %llu lines behind it, up to line %llu, for the same or other reasons",
                (unsigned long long)load->failed_behind, (unsigned long long)load->last_failed);
    if (load->cli->json)
        cli_print_json(json_pack("{s:I, s:I, s:I, s:I, s:f, s:f}", "lines", (json_int_t)load->lines, "loaded",
                                 (json_int_t)load->loaded, "failed", (json_int_t)load->failed, "bytes",
                                 (json_int_t)load->bytes, "seconds", seconds, "lines_per_second", rate));
    else
        printf("%llu of %llu lines loaded, %llu failed, %.1f MB in %.2f s, %.0f lines/s\n",
               (unsigned long long)load->loaded, (unsigned long long)load->lines, (unsigned long long)load->failed,
               (double)load->bytes / 1e6, seconds, rate);
}

enum cli_exit cli_kv_load(struct cli *cli)
{
    bool standard = strcmp(cli->operand[0], "-") == 0;
    struct load load = {
        .cli = cli, .name = standard ? "standard input" : cli->operand[0], .reached = LS_DURABLE_JOURNAL};
    FILE *in = standard ? stdin : fopen(cli->operand[0], "rb");
    load.operation = malloc(LS_KV_OP_MAX);
    if (!in || !load.operation) {
        cli_say(cli, "%s: %s", load.name, strerror(errno));
        free(load.operation);
        return CLI_LOCAL;
    }
    enum cli_exit rc = cli_connect(cli, &load.client);
    if (rc == CLI_OK) {
        for (uint32_t i = 0; i < LS_WINDOW_MAX; i++) {
            load.flight[i].next_free = load.free;
            load.free = &load.flight[i];
        }
        load.start_ns = load.progress_ns = clock_ns();
        load.progress = !cli->json && isatty(STDERR_FILENO);
        load_stream(&load, in);
        print_summary(&load);
        ls_client_close(load.client);
        rc = load.code == CLI_OK ? cli_durability_check(cli, load.reached) : load.code;
    }
    free(load.operation);
    if (!standard)
        fclose(in);
    return rc;
}
