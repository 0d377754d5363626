/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lockstep status: what the nodes whose control socket is on this host know, as tables. A field that an answer does not
 * have is shown as "-".
 */
#include <inttypes.h>
#include <string.h>

#include "cli.h"

static json_int_t number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value && value[0] ? value : "-";
}

/* ---- one node ---- */

static void cell_flag(char *cell, const json_t *value, const char *yes, const char *no)
{
    snprintf(cell, CLI_CELL, "%s", json_is_true(value) ? yes : json_is_false(value) ? no : "-");
}

void cli_members_print(const json_t *status)
{
    struct cli_table table = {
        .columns = 9,
        .title = {"MEMBER", "ROLE", "ADDRESS", "STATE", "COUNTS", "LINK", "HEARD MS AGO", "LAG", "APPLIED SEQ"}};
    size_t i;
    json_t *member;
    json_int_t sequencer = number(status, "sequencer");
    json_array_foreach(json_object_get(status, "members"), i, member)
    {
        char(*cell)[CLI_CELL] = cli_table_row(&table);
        json_int_t node = number(member, "node");
        if (!cell)
            break;
        snprintf(cell[0], CLI_CELL, "%" JSON_INTEGER_FORMAT "%s", node, node == sequencer ? " sequencer" : "");
        cli_cell_text(cell[1], json_object_get(member, "role"));
        cli_cell_text(cell[2], json_object_get(member, "address"));
        if (json_is_true(json_object_get(member, "stalled")))
            snprintf(cell[3], CLI_CELL, "STALLED");
        else
            cli_cell_text(cell[3], json_object_get(member, "replica"));
        cell_flag(cell[4], json_object_get(member, "counts"), "yes", "NO");
        cell_flag(cell[5], json_object_get(member, "linked"), "up", "DOWN");
        cli_cell_number(cell[6], json_object_get(member, "heard_ms"));
        cli_cell_number(cell[7], json_object_get(member, "lag"));
        cli_cell_number(cell[8], json_object_get(member, "applied_seq"));
    }
    cli_table_print(&table);
}

/* What is wrong, and what is under way. */
void cli_news_print(const json_t *status)
{
    const json_t *rejoin = json_object_get(status, "rejoin");
    const json_t *checkpoint = json_object_get(status, "checkpoint");
    size_t i;
    json_t *alarm;
    json_array_foreach(json_object_get(status, "alarms"), i, alarm)
        printf("! %s\n", json_string_value(alarm) ? json_string_value(alarm) : "?");
    if (strcmp(text(status, "change"), "-") != 0)
        printf("Change under way: %s\n", text(status, "change"));
    if (json_is_object(rejoin))
        printf("Coming back in: %.1f %% of the log is here\n", 100 * json_real_value(json_object_get(rejoin, "share")));
    if (json_is_object(checkpoint))
        printf("Checkpoint: %s, %.1f of %.1f MB\n", text(checkpoint, "what"), (double)number(checkpoint, "bytes") / 1e6,
               (double)number(checkpoint, "expected") / 1e6);
}

static void print_workers(const json_t *dataplane)
{
    struct cli_table table = {.columns = 5, .title = {"WORKER", "CPU", "BUSY", "LAST TURN MS AGO", "LONGEST TURN US"}};
    size_t i;
    json_t *worker;
    json_array_foreach(json_object_get(dataplane, "workers"), i, worker)
    {
        char(*cell)[CLI_CELL] = cli_table_row(&table);
        if (!cell)
            break;
        cli_cell_text(cell[0], json_object_get(worker, "name"));
        cli_cell_number(cell[1], json_object_get(worker, "cpu"));
        cli_cell_percent(cell[2], json_object_get(worker, "busy"));
        cli_cell_number(cell[3], json_object_get(worker, "heartbeat_age_ms"));
        cli_cell_number(cell[4], json_object_get(worker, "longest_turn_us"));
    }
    if (table.rows > 0) {
        putchar('\n');
        cli_table_print(&table);
    }
}

/* By default those that tell of trouble: refused, lost or damaged. */
static bool counter_is_trouble(const char *name)
{
    static const char *const prefixes[] = {"drop_", "busy_", "refused_", "eth_bad", "ip_checksum", "truncations"};
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

static void print_counters(const struct cli *cli, const json_t *dataplane)
{
    const char *name;
    json_t *value;
    bool any = false;
    json_object_foreach(json_object_get(dataplane, "counters"), name, value)
    {
        if (json_integer_value(value) == 0 || (!cli->all_counters && !counter_is_trouble(name)))
            continue;
        if (!any)
            printf("\n%-26s %s\n", "COUNTER", "SINCE START");
        any = true;
        printf("%-26s %" JSON_INTEGER_FORMAT "\n", name, json_integer_value(value));
    }
}

static void print_node(const struct cli *cli, const json_t *status)
{
    const json_t *dataplane = json_object_get(status, "dataplane");
    const json_t *buffers = json_object_get(dataplane, "buffers");
    printf("Node %" JSON_INTEGER_FORMAT " of %s: %s", number(status, "node"), text(status, "cluster"),
           text(status, "role"));
    printf(", epoch %" JSON_INTEGER_FORMAT, number(status, "epoch"));
    if (number(status, "sequencer"))
        printf(", sequencer is node %" JSON_INTEGER_FORMAT, number(status, "sequencer"));
    putchar('\n');
    if (strcmp(text(status, "problem"), "-") != 0)
        printf("Problem: %s\n", text(status, "problem"));
    cli_news_print(status);
    if (!json_is_true(json_object_get(dataplane, "alive"))) {
        printf("Dataplane: not running: %s\n\n", text(dataplane, "reason"));
        cli_members_print(status);
        return;
    }
    printf("Dataplane: pid %" JSON_INTEGER_FORMAT ", incarnation %" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT
           " sessions, %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT " buffers free%s\n",
           number(dataplane, "pid"), number(dataplane, "incarnation"), number(dataplane, "sessions"),
           number(buffers, "free"), number(buffers, "total"),
           json_is_true(json_object_get(dataplane, "faults_active")) ? ", FAULTS ARE BEING INJECTED" : "");
    if (json_is_string(json_object_get(dataplane, "halt")))
        printf("Halted: %s\n", text(dataplane, "halt"));
    printf("Log: seq %" JSON_INTEGER_FORMAT " last, %" JSON_INTEGER_FORMAT " applied; position %" JSON_INTEGER_FORMAT
           " last, %" JSON_INTEGER_FORMAT " committed; time %.3f s; digest %s at %" JSON_INTEGER_FORMAT "\n",
           number(dataplane, "last_seq"), number(dataplane, "applied_seq"), number(dataplane, "last"),
           number(dataplane, "commit"), (double)number(dataplane, "log_time") / 1e9, text(dataplane, "digest"),
           number(dataplane, "digest_seq"));
    if (json_is_string(json_object_get(dataplane, "durability")))
        printf("Durability: %s. A power cut of all nodes could take: %s\n\n", text(dataplane, "durability"),
               text(dataplane, "could_lose"));
    cli_members_print(status);
    print_workers(dataplane);
    print_counters(cli, dataplane);
}

static bool node_is_serving(const json_t *status)
{
    const char *role = text(status, "role");
    return json_is_true(json_object_get(json_object_get(status, "dataplane"), "alive")) &&
           (strcmp(role, "sequencer") == 0 || (strcmp(role, "follower") == 0 && number(status, "sequencer") != 0));
}

enum cli_exit cli_status(struct cli *cli)
{
    const char *sockets[LS_MEMBERS_MAX];
    uint16_t of[LS_MEMBERS_MAX];
    char why[256] = "";
    char whys[LS_MEMBERS_MAX][256];
    uint32_t answered = 0;
    bool serving = true;
    json_t *all = json_array();
    uint32_t n = cli_sockets(cli, sockets, of);
    if (n == 0)
        return CLI_USAGE;
    for (uint32_t i = 0; i < n; i++) {
        long code;
        json_t *status = ls_ask_get(sockets[i], "/v1/status", cli->timeout_ns, &code, why, sizeof(why));
        snprintf(whys[i], sizeof(whys[i]), "%s", why);
        if (!status)
            continue;
        if (!cli->json) {
            if (answered)
                putchar('\n');
            print_node(cli, status);
        }
        answered++;
        serving = serving && node_is_serving(status);
        (void)json_array_append_new(all, status);
    }
    if (cli->json)
        cli_print_json(json_pack("{s:o}", "nodes", all));
    else
        json_decref(all);
    if (answered)
        return serving ? CLI_OK : CLI_NO;
    for (uint32_t i = 0; i < n; i++)
        cli_say(cli, "%s: %s", sockets[i], whys[i]);
    cli_say(cli, "no lockstep-ctrl answers here: run this on one of the nodes, or start lockstep-ctrl");
    return CLI_UNREACHABLE;
}
