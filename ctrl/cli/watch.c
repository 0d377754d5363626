/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lockstep watch: the cluster again and again, as the first node that answers sees it. On a terminal the screen is
 * drawn anew; else a line each time, for logs and pipes.
 */
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

#define EVERY_NS (1000ull * 1000 * 1000)

static json_int_t number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

static void stamp(char *out, size_t room)
{
    time_t now = time(NULL);
    struct tm utc;
    out[0] = 0;
    if (gmtime_r(&now, &utc))
        strftime(out, room, "%H:%M:%SZ", &utc);
}

/* Entries per second since the last time. */
static double rate(json_int_t seq, double seconds)
{
    static json_int_t last;
    double result = last && seq >= last && seconds > 0 ? (double)(seq - last) / seconds : 0;
    last = seq;
    return result;
}

static void print_line(const json_t *status, double per_second)
{
    char at[32];
    size_t i;
    json_t *member;
    stamp(at, sizeof(at));
    printf("%s epoch %" JSON_INTEGER_FORMAT " sequencer %" JSON_INTEGER_FORMAT " seq %" JSON_INTEGER_FORMAT
           " %.0f/s members",
           at, number(status, "epoch"), number(status, "sequencer"), number(status, "newest_seq"), per_second);
    json_array_foreach(json_object_get(status, "members"), i, member)
    {
        printf(" %" JSON_INTEGER_FORMAT ":%s", number(member, "node"), text(member, "replica"));
        if (json_is_integer(json_object_get(member, "lag")) && number(member, "lag") > 0)
            printf("-%" JSON_INTEGER_FORMAT, number(member, "lag"));
    }
    printf(" alarms %zu\n", json_array_size(json_object_get(status, "alarms")));
}

static void print_screen(const json_t *status, double per_second)
{
    char at[32];
    stamp(at, sizeof(at));
    fputs("\033[H\033[2J", stdout);
    printf("%s  %s as node %" JSON_INTEGER_FORMAT " sees it: epoch %" JSON_INTEGER_FORMAT, at, text(status, "cluster"),
           number(status, "node"), number(status, "epoch"));
    if (number(status, "sequencer"))
        printf(", sequencer is node %" JSON_INTEGER_FORMAT, number(status, "sequencer"));
    printf(", seq %" JSON_INTEGER_FORMAT ", %.0f entries/s\n", number(status, "newest_seq"), per_second);
    cli_news_print(status);
    putchar('\n');
    cli_members_print(status);
}

static json_t *ask(struct cli *cli, const char *const *sockets, uint32_t n, char *why, size_t room)
{
    for (uint32_t i = 0; i < n; i++) {
        long code;
        json_t *status = ls_ask_get(sockets[i], "/v1/status", cli->timeout_ns, &code, why, room);
        if (status)
            return status;
    }
    return NULL;
}

enum cli_exit cli_watch(struct cli *cli)
{
    const char *sockets[LS_MEMBERS_MAX];
    uint16_t of[LS_MEMBERS_MAX];
    uint64_t every_ns = cli->every_ns ? cli->every_ns : EVERY_NS;
    const struct timespec pause = {.tv_sec = (time_t)(every_ns / EVERY_NS), .tv_nsec = (long)(every_ns % EVERY_NS)};
    bool screen = !cli->json && isatty(STDOUT_FILENO);
    enum cli_exit code = CLI_OK;
    uint32_t n = cli_sockets(cli, sockets, of);
    if (n == 0)
        return CLI_USAGE;
    for (uint64_t i = 0; cli->count == 0 || i < cli->count; i++) {
        char why[256] = "";
        if (i > 0)
            nanosleep(&pause, NULL);
        json_t *status = ask(cli, sockets, n, why, sizeof(why));
        code = status ? CLI_OK : CLI_UNREACHABLE;
        double per_second = rate(number(status, "newest_seq"), (double)every_ns / 1e9);
        if (!status) {
            cli_say(cli, "no lockstep-ctrl answers here: %s", why);
        } else if (cli->json) {
            cli_print_json(status);
        } else {
            if (screen)
                print_screen(status, per_second);
            else
                print_line(status, per_second);
            json_decref(status);
        }
        if (fflush(stdout) != 0)
            return CLI_LOCAL;
    }
    return code;
}
