/* SPDX-License-Identifier: BSD-3-Clause */
/* From the cluster file to a client, and from its answers to messages and exit codes. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lockstep/counters.h>

#include <unistd.h>

#include "cli.h"

enum cli_exit cli_config(struct cli *cli)
{
    char error[LS_CONFIG_ERROR_MAX];
    const char *path = cli->config_path ? cli->config_path : getenv("LOCKSTEP_CONFIG");
    cli->config_path = path && path[0] ? path : CLI_CONFIG_DEFAULT;
    if (ls_config_load(&cli->config, cli->config_path, error) == 0)
        return CLI_OK;
    cli_say(cli, "%s%s", error,
            path && path[0] ? "" : " (the default place: name another with -c FILE or LOCKSTEP_CONFIG)");
    return CLI_USAGE;
}

static bool node_index(struct cli *cli, uint16_t node, uint32_t *index)
{
    char list[256];
    for (uint32_t i = 0; i < cli->config.nodes; i++)
        if (cli->config.node[i].id == node) {
            *index = i;
            return true;
        }
    cli_say(cli, "--node: there is no node %u in %s: it has %s", node, cli->config_path,
            ls_config_node_list(&cli->config, list, sizeof(list)));
    return false;
}

enum cli_exit cli_connect(struct cli *cli, struct ls_client **client)
{
    enum cli_exit rc = cli_config(cli);
    if (rc)
        return rc;
    const struct ls_config *config = &cli->config;
    struct ls_client_options options = {
        .cluster = config->cluster,
        .generation = config->generation,
        .group = config->group,
        .nodes = config->nodes,
        .op_max = config->op_max,
        .window = config->window < LS_WINDOW_MAX ? config->window : LS_WINDOW_MAX,
        .timeout_ns = cli->timeout_ns,
    };
    for (uint32_t i = 0; i < config->nodes; i++) {
        options.node[i] = (struct ls_addr){.ip = config->node[i].ip, .port = config->port};
        if (config->node[i].id == config->first_sequencer)
            options.first = i;
    }
    if (cli->node) {
        uint32_t index;
        if (!node_index(cli, cli->node, &index))
            return CLI_USAGE;
        options.read_node = index + 1;
        options.read_pinned = true;
    }
    int error = ls_client_open(client, &options);
    if (error == 0) {
        ls_client_set_durability(*client, cli->durability);
        return CLI_OK;
    }
    cli_say(cli, "no socket for the cluster: %s", strerror(-error));
    return CLI_LOCAL;
}

/* "10.0.0.1:7400, ...": whom we have asked. */
static void print_nodes(const struct cli *cli, char *text, size_t room)
{
    size_t used = 0;
    text[0] = 0;
    for (uint32_t i = 0; i < cli->config.nodes && used < room; i++) {
        const struct ls_config_node *node = &cli->config.node[i];
        if (cli->node && cli->node != node->id)
            continue;
        used += (size_t)snprintf(text + used, room - used, "%s%u.%u.%u.%u:%u", used ? ", " : "", node->ip >> 24,
                                 node->ip >> 16 & 255, node->ip >> 8 & 255, node->ip & 255, cli->config.port);
    }
}

enum cli_exit cli_no_answer(const struct cli *cli, const struct ls_client *client, int error, uint16_t status)
{
    struct ls_client_counts counts;
    char nodes[512];
    double seconds = (double)cli->timeout_ns / 1e9;
    if (error == -ENOTCONN) {
        cli_say(cli, "the session was evicted while this was on its way: it may have been done; look before repeating");
        return CLI_UNKNOWN;
    }
    if (error != -ETIMEDOUT && error != 0) {
        cli_say(cli, error == -EINVAL     ? "a key has 1 to 250 bytes"
                     : error == -EMSGSIZE ? "larger than allowed: a value has at most 1 MiB, see also limits: op_max"
                     : error == -EBADMSG  ? "the answer makes no sense: is the cluster's state machine kv?"
                     : error == -ENOMEM   ? "out of memory"
                                          : strerror(-error));
        return error == -EINVAL || error == -EMSGSIZE ? CLI_USAGE : CLI_LOCAL;
    }
    print_nodes(cli, nodes, sizeof(nodes));
    ls_client_counts(client, &counts);
    bool waited = status >= LS_STATUS_BUSY_LOG;
    cli_say(cli, "no answer within %g s from %s%s%s%s%s", seconds, nodes, waited ? "; a node says: " : "",
            waited ? ls_status_text(status) : "", counts.send_error ? "; the kernel says: " : "",
            counts.send_error ? strerror(counts.send_error) : "");
    if (error == 0)
        fputs("  nothing was done. See lockstep status on the nodes\n", stderr);
    if (!waited)
        fprintf(
            stderr,
            "  %s says generation %u of the cluster; a node of another one does not answer: compare lockstep status "
            "--json\n",
            cli->config_path, cli->config.generation);
    return CLI_UNREACHABLE;
}

enum cli_exit cli_durability_check(const struct cli *cli, uint8_t reached)
{
    if (reached >= cli->durability)
        return CLI_OK;
    cli_say(cli, "done, but with durability %s and not %s: the cluster file's durability is less",
            ls_durability_name(reached), ls_durability_name(cli->durability));
    return CLI_NO;
}

enum cli_exit cli_answer(const struct cli *cli, const struct ls_client *client, uint16_t status)
{
    switch (status) {
    case LS_STATUS_OK:
        return CLI_OK;
    case LS_STATUS_NOT_FOUND:
    case LS_STATUS_CONDITION:
        cli_say(cli, "%s", ls_status_text(status));
        return CLI_NO;
    case LS_STATUS_CLOSED:
        if (ls_client_session(client) == 0) /* it never left: no node has opened a session */
            return cli_no_answer(cli, client, 0, LS_STATUS_OK);
        break;
    default:
        break;
    }
    const char *hint = ls_status_hint(status);
    cli_say(cli, "%s (%s)%s%s", ls_status_text(status), ls_status_name(status), hint[0] ? ": " : "", hint);
    return CLI_REFUSED;
}

/* The one node that is meant: --node or --socket, or the only one on this machine. NULL after saying why. */
const char *cli_the_socket(struct cli *cli)
{
    const char *sockets[LS_MEMBERS_MAX], *only = NULL;
    uint16_t of[LS_MEMBERS_MAX];
    uint32_t here = 0, n = cli_sockets(cli, sockets, of);
    if (n == 1)
        return sockets[0];
    for (uint32_t i = 0; i < n; i++)
        if (access(sockets[i], F_OK) == 0) {
            only = sockets[i];
            here++;
        }
    if (here == 1)
        return only;
    if (n > 0)
        cli_say(cli, "%s: --node or --socket is needed: at which one?",
                here ? "several nodes are on this machine" : "no lockstep-ctrl is on this machine");
    return NULL;
}
