/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lockstep fault add|list|clear: faults on purpose. Each node has its own; a partition is told to every node whose
 * lockstep-ctrl is on this machine, and for the others it is said what to do there.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static enum cli_exit added(const struct cli *cli, json_t *answer, const char *at)
{
    json_int_t id = json_integer_value(json_object_get(answer, "id"));
    if (cli->json)
        cli_print_json(json_incref(answer));
    else if (id)
        printf("fault %" JSON_INTEGER_FORMAT "%s; lockstep fault clear %" JSON_INTEGER_FORMAT " ends it\n", id, at, id);
    else
        printf("done%s\n", at);
    json_decref(answer);
    return CLI_OK;
}

/* "1,2/3": nobody of one set hears anybody of the other. */
static bool sets_take(const struct cli *cli, const char *text, uint64_t set[2])
{
    char copy[256];
    const char *slash = text ? strchr(text, '/') : NULL;
    if (slash && (size_t)(slash - text) < sizeof(copy)) {
        memcpy(copy, text, (size_t)(slash - text));
        copy[slash - text] = 0;
        if (cli_nodes(copy, &set[0]) && cli_nodes(slash + 1, &set[1]) && !(set[0] & set[1]))
            return true;
    }
    cli_say(cli, "partition: \"%s\" is not allowed: two sets of node ids that share none, as in 1,2/3",
            text ? text : "");
    return false;
}

static void nodes_text(uint64_t mask, char *text, size_t room)
{
    size_t used = 0;
    text[0] = 0;
    for (int node = 0; node <= LS_NODE_ID_MAX && used < room; node++)
        if (mask >> node & 1)
            used += (size_t)(node ? snprintf(text + used, room - used, "%s%d", used ? "," : "", node)
                                  : snprintf(text + used, room - used, "clients"));
}

static json_t *cut_body(const struct cli *cli, uint64_t mask)
{
    json_t *body = json_pack("{s:o, s:o}", "cut_in", cli_nodes_json(mask), "cut_out", cli_nodes_json(mask));
    if (cli->for_ns)
        (void)json_object_set_new(body, "for_ns", json_integer((json_int_t)cli->for_ns));
    return body;
}

static enum cli_exit partition(struct cli *cli, const char *words)
{
    uint64_t set[2];
    enum cli_exit worst = CLI_OK;
    if (!sets_take(cli, words, set) || cli_config(cli))
        return CLI_USAGE;
    for (uint16_t node = 1; node <= LS_NODE_ID_MAX; node++) {
        if (!((set[0] | set[1]) >> node & 1))
            continue;
        uint64_t cut = set[set[0] >> node & 1];
        const struct ls_config_node *known = ls_config_find(&cli->config, node);
        char why[512] = "not in the cluster file", nodes[256], at[48];
        long code = 0;
        int number;
        json_t *answer = known ? ls_ask(known->ctrl_socket, "POST", "/v1/faults", cut_body(cli, cut), cli->timeout_ns,
                                        &code, &number, why, sizeof(why))
                               : NULL;
        if (answer) {
            snprintf(at, sizeof(at), " at node %u", node);
            added(cli, answer, at);
            continue;
        }
        nodes_text(cut, nodes, sizeof(nodes));
        cli_say(cli, "node %u is NOT cut off (%s): there, run: lockstep fault add cut %s --node %u", node, why, nodes,
                node);
        worst = code ? CLI_REFUSED : worst == CLI_OK ? CLI_UNREACHABLE : worst;
    }
    return worst;
}

enum cli_exit cli_fault_add(struct cli *cli)
{
    char error[256];
    if (strcmp(cli->operand[0], "partition") == 0) {
        if (cli->operands == 2)
            return partition(cli, cli->operand[1]);
        cli_say(cli, "partition: two sets of node ids are needed, as in partition 1,2/3");
        return CLI_USAGE;
    }
    json_t *body =
        cli_fault_words(cli->operands, cli->operand, cli->for_ns, cli->has_seed, cli->seed, error, sizeof(error));
    if (!body) {
        cli_say(cli, "%s", error);
        return CLI_USAGE;
    }
    const char *socket = cli_the_socket(cli);
    if (!socket) {
        json_decref(body);
        return CLI_USAGE;
    }
    long code;
    int number;
    json_t *answer = ls_ask(socket, "POST", "/v1/faults", body, cli->timeout_ns, &code, &number, error, sizeof(error));
    return answer ? added(cli, answer, "") : cli_http_failed(cli, socket, code, number, error);
}

enum cli_exit cli_fault_clear(struct cli *cli)
{
    const char *sockets[LS_MEMBERS_MAX];
    uint16_t of[LS_MEMBERS_MAX];
    char path[64] = "/v1/faults", why[256] = "";
    uint32_t cleared = 0, n = 0;
    uint64_t id;
    long code = 0;
    int number = 0;
    if (cli->operands == 1) {
        if (!cli_number(cli->operand[0], &id) || id == 0) {
            cli_say(cli, "\"%s\" is not allowed: the number of a fault, as lockstep fault list shows it",
                    cli->operand[0]);
            return CLI_USAGE;
        }
        snprintf(path, sizeof(path), "/v1/faults/%" PRIu64, id);
        sockets[0] = cli_the_socket(cli);
        n = sockets[0] ? 1 : 0;
    } else {
        n = cli_sockets(cli, sockets, of); /* all, everywhere on this machine */
    }
    if (n == 0)
        return CLI_USAGE;
    for (uint32_t i = 0; i < n; i++) {
        json_t *answer = ls_ask(sockets[i], "DELETE", path, NULL, cli->timeout_ns, &code, &number, why, sizeof(why));
        cleared += answer != NULL;
        json_decref(answer);
    }
    if (cleared == 0)
        return cli_http_failed(cli, sockets[n - 1], code, number, why);
    if (cli->json)
        cli_print_json(json_pack("{s:i}", "nodes", (int)cleared));
    else
        printf("cleared at %u node%s\n", cleared, cleared == 1 ? "" : "s");
    return CLI_OK;
}

static void list_print(uint16_t node, const json_t *answer)
{
    size_t i;
    json_t *fault;
    if (json_array_size(json_object_get(answer, "faults")) == 0)
        printf("node %u: no faults%s\n", node,
               json_is_true(json_object_get(answer, "allowed")) ? "" : ", and none are allowed (faults_allowed: no)");
    json_array_foreach(json_object_get(answer, "faults"), i, fault)
    {
        const json_t *left = json_object_get(fault, "left_ms");
        const char *text = json_string_value(json_object_get(fault, "text"));
        printf("node %u: fault %" JSON_INTEGER_FORMAT ": %s", node, json_integer_value(json_object_get(fault, "id")),
               text ? text : "?");
        if (json_is_real(left))
            printf(" (%.1f s left)", json_real_value(left) / 1e3);
        putchar('\n');
    }
}

enum cli_exit cli_fault_list(struct cli *cli)
{
    const char *sockets[LS_MEMBERS_MAX];
    uint16_t of[LS_MEMBERS_MAX];
    char why[256] = "";
    uint32_t answered = 0, n = cli_sockets(cli, sockets, of);
    if (n == 0)
        return CLI_USAGE;
    for (uint32_t i = 0; i < n; i++) {
        long code;
        json_t *answer = ls_ask_get(sockets[i], "/v1/faults", cli->timeout_ns, &code, why, sizeof(why));
        if (!answer)
            continue;
        answered++;
        if (cli->json) {
            (void)json_object_set_new(answer, "node", json_integer(of[i]));
            cli_print_json(answer);
        } else {
            list_print(of[i], answer);
            json_decref(answer);
        }
    }
    return answered ? CLI_OK : cli_http_failed(cli, sockets[n - 1], 0, 0, why);
}
