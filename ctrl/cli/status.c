/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lockstep status: what the nodes whose control socket is on this host know, as tables. A field that an answer does not
 * have is shown as "-".
 */
#include <inttypes.h>
#include <string.h>

#include "cli.h"

#define CELL  32
#define CELLS 8

/* ---- tables ---- */

struct table {
    int columns;
    int rows;
    const char *title[CELLS];
    char cell[LS_NODE_ID_MAX + 1][CELLS][CELL];
};

static void table_print(const struct table *table)
{
    int width[CELLS];
    for (int c = 0; c < table->columns; c++) {
        width[c] = (int)strlen(table->title[c]);
        for (int r = 0; r < table->rows; r++)
            if ((int)strlen(table->cell[r][c]) > width[c])
                width[c] = (int)strlen(table->cell[r][c]);
    }
    for (int r = -1; r < table->rows; r++) {
        for (int c = 0; c < table->columns; c++) {
            const char *text = r < 0 ? table->title[c] : table->cell[r][c];
            printf(c + 1 < table->columns ? "%-*s  " : "%.*s%s", c + 1 < table->columns ? width[c] : 0, text,
                   c + 1 < table->columns ? "" : text);
        }
        putchar('\n');
    }
}

static void cell_number(char *cell, const json_t *value)
{
    if (json_is_integer(value))
        snprintf(cell, CELL, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        snprintf(cell, CELL, "%.1f", json_real_value(value));
    else
        snprintf(cell, CELL, "-");
}

static void cell_text(char *cell, const json_t *value)
{
    const char *text = json_string_value(value);
    snprintf(cell, CELL, "%s", text && text[0] ? text : "-");
}

static void cell_percent(char *cell, const json_t *value)
{
    if (json_is_number(value))
        snprintf(cell, CELL, "%.1f %%", json_number_value(value) * 100);
    else
        snprintf(cell, CELL, "-");
}

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

static void print_members(const json_t *status)
{
    struct table table = {.columns = 6, .title = {"MEMBER", "ROLE", "ADDRESS", "HEARD MS AGO", "ACKED", "APPLIED SEQ"}};
    size_t i;
    json_t *member;
    json_int_t sequencer = number(status, "sequencer");
    json_array_foreach(json_object_get(status, "members"), i, member)
    {
        if (table.rows > LS_NODE_ID_MAX)
            break;
        char(*cell)[CELL] = table.cell[table.rows++];
        json_int_t node = number(member, "node");
        snprintf(cell[0], CELL, "%" JSON_INTEGER_FORMAT "%s", node, node == sequencer ? " sequencer" : "");
        cell_text(cell[1], json_object_get(member, "role"));
        cell_text(cell[2], json_object_get(member, "address"));
        cell_number(cell[3], json_object_get(member, "heard_ms"));
        cell_number(cell[4], json_object_get(member, "acked"));
        cell_number(cell[5], json_object_get(member, "applied_seq"));
    }
    table_print(&table);
}

static void print_workers(const json_t *dataplane)
{
    struct table table = {.columns = 5, .title = {"WORKER", "CPU", "BUSY", "LAST TURN MS AGO", "LONGEST TURN US"}};
    size_t i;
    json_t *worker;
    json_array_foreach(json_object_get(dataplane, "workers"), i, worker)
    {
        if (table.rows > LS_NODE_ID_MAX)
            break;
        char(*cell)[CELL] = table.cell[table.rows++];
        cell_text(cell[0], json_object_get(worker, "name"));
        cell_number(cell[1], json_object_get(worker, "cpu"));
        cell_percent(cell[2], json_object_get(worker, "busy"));
        cell_number(cell[3], json_object_get(worker, "heartbeat_age_ms"));
        cell_number(cell[4], json_object_get(worker, "longest_turn_us"));
    }
    if (table.rows > 0) {
        putchar('\n');
        table_print(&table);
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
    if (!json_is_true(json_object_get(dataplane, "alive"))) {
        printf("Dataplane: not running: %s\n\n", text(dataplane, "reason"));
        print_members(status);
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
           " last, %" JSON_INTEGER_FORMAT " committed; time %.3f s; digest %s at %" JSON_INTEGER_FORMAT "\n\n",
           number(dataplane, "last_seq"), number(dataplane, "applied_seq"), number(dataplane, "last"),
           number(dataplane, "commit"), (double)number(dataplane, "log_time") / 1e9, text(dataplane, "digest"),
           number(dataplane, "digest_seq"));
    print_members(status);
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
        json_t *status = cli_http_get(sockets[i], "/v1/status", cli->timeout_ns, &code, why, sizeof(why));
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
