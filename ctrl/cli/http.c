/* SPDX-License-Identifier: BSD-3-Clause */
/* Whom the command asks, and what it says where the answer is no. */
#include <errno.h>

#include "cli.h"

enum cli_exit cli_http_failed(const struct cli *cli, const char *socket, long code, int number, const char *text)
{
    cli_say(cli, "%s%s%s", code ? "" : socket, code ? "" : ": ", text);
    if (number == ETIMEDOUT || number == ECANCELED)
        return CLI_UNKNOWN;
    return code ? CLI_REFUSED : CLI_UNREACHABLE;
}

uint32_t cli_sockets(struct cli *cli, const char **sockets, uint16_t *of)
{
    char list[256];
    uint32_t n = 0;
    if (cli->socket) {
        sockets[0] = cli->socket;
        of[0] = cli->node;
        return 1;
    }
    if (cli_config(cli))
        return 0;
    for (uint32_t i = 0; i < cli->config.nodes; i++) {
        if (cli->node && cli->config.node[i].id != cli->node)
            continue;
        sockets[n] = cli->config.node[i].ctrl_socket;
        of[n++] = cli->config.node[i].id;
    }
    if (n == 0)
        cli_say(cli, "--node: there is no node %u in %s: it has %s", cli->node, cli->config_path,
                ls_config_node_list(&cli->config, list, sizeof(list)));
    return n;
}
