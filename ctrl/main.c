/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lockstep-ctrl: one node's control process. Keeps the durable record, starts and watches the dataplane, answers on the
 * node's unix socket. Never touches DPDK and is never on the path of a request.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <event2/event.h>

#include "io/http.h"
#include "io/node.h"

static const char usage[] =
    "Usage: lockstep-ctrl --config FILE --node N [--bootstrap] [--dataplane PROGRAM]\n"
    "       lockstep-ctrl bootstrap --config FILE --node N\n"
    "\n"
    "  --config FILE        the cluster file\n"
    "  --node N             which of its nodes this is\n"
    "  --bootstrap          first make this node's durable record, once in its life; \"lockstep-ctrl bootstrap\" does\n"
    "                       only that\n"
    "  --dataplane PROGRAM  the lockstep-dataplane to start; else the one beside this program, or in PATH\n";

struct options {
    const char *config;
    const char *dataplane;
    uint16_t node;
    bool bootstrap;
    bool only_bootstrap;
};

static bool node_parse(const char *text, uint16_t *node)
{
    char *end;
    unsigned long number;

    errno = 0;
    number = strtoul(text, &end, 10);
    *node = (uint16_t)number;
    if (errno == 0 && text[0] >= '0' && text[0] <= '9' && *end == '\0' && number >= 1 && number <= LS_NODE_ID_MAX)
        return true;
    fprintf(stderr, "lockstep-ctrl: --node: \"%s\" is not allowed: a number from 1 to %d\n", text, LS_NODE_ID_MAX);
    return false;
}

static bool options_parse(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {
        {"config", required_argument, NULL, 'c'}, {"node", required_argument, NULL, 'n'},
        {"bootstrap", no_argument, NULL, 'b'},    {"dataplane", required_argument, NULL, 'd'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0}};
    bool ok = true;
    int option;

    while (ok && (option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (option) {
        case 'c':
            options->config = optarg;
            break;
        case 'n':
            ok = node_parse(optarg, &options->node);
            break;
        case 'b':
            options->bootstrap = true;
            break;
        case 'd':
            options->dataplane = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default:
            ok = false;
        }
    }
    if (ok && optind < argc && strcmp(argv[optind], "bootstrap") == 0) {
        options->bootstrap = options->only_bootstrap = true;
        optind++;
    }
    if (ok && optind < argc) {
        fprintf(stderr, "lockstep-ctrl: \"%s\" is not understood\n", argv[optind]);
        ok = false;
    }
    if (ok && (options->config == NULL || options->node == 0)) {
        fprintf(stderr, "lockstep-ctrl: --config and --node are needed\n");
        ok = false;
    }
    if (!ok)
        fprintf(stderr, "\n%s", usage);
    return ok;
}

static bool bootstrap(const struct ls_node *node)
{
    struct ls_durable durable = {.cluster = node->config->cluster,
                                 .generation = node->config->generation,
                                 .node = node->self->id,
                                 .founder = true};
    char error[LS_RECORD_ERROR_MAX];

    if (ls_record_create(node->self->data_dir, &durable, error) != 0) {
        fprintf(stderr, "lockstep-ctrl: %s\n", error);
        return false;
    }
    fprintf(stderr, "lockstep-ctrl: node %u of cluster %s is bootstrapped: its record is %s/record\n", node->self->id,
            node->config->name, node->self->data_dir);
    return true;
}

static void on_signal(evutil_socket_t number, short what, void *node)
{
    (void)number;
    (void)what;
    ls_node_stop(node);
}

/* Until a signal, or the dataplane could not be started. The exit code. */
static int run(struct ls_node *node)
{
    struct event *signals[2] = {evsignal_new(node->base, SIGTERM, on_signal, node),
                                evsignal_new(node->base, SIGINT, on_signal, node)};
    struct ls_http *http;
    int code = 1;

    for (int i = 0; i < 2; i++)
        if (signals[i] == NULL || event_add(signals[i], NULL) != 0) {
            fprintf(stderr, "lockstep-ctrl: signals cannot be handled: no memory\n");
            return 1;
        }
    http = ls_http_create(node);
    if (http != NULL && ls_node_start(node)) {
        if (!node->failed)
            event_base_dispatch(node->base);
        code = node->failed ? 1 : 0;
    }
    if (http != NULL)
        ls_http_destroy(http);
    ls_node_free(node);
    for (int i = 0; i < 2; i++)
        event_free(signals[i]);
    return code;
}

int main(int argc, char **argv)
{
    static struct ls_config config;
    static struct ls_node node;
    struct options options = {0};
    char error[LS_CONFIG_ERROR_MAX], list[128];
    int code;

    if (!options_parse(argc, argv, &options))
        return 2;
    if (ls_config_load(&config, options.config, error) != 0) {
        fprintf(stderr, "lockstep-ctrl: %s\n", error);
        return 2;
    }
    node.config = &config;
    node.config_path = options.config;
    node.program = options.dataplane != NULL ? options.dataplane : ls_dataplane_program();
    node.self = ls_config_find(&config, options.node);
    if (node.self == NULL) {
        fprintf(stderr, "lockstep-ctrl: --node %u: %s has no such node, only %s\n", options.node, options.config,
                ls_config_node_list(&config, list, sizeof(list)));
        return 2;
    }
    (void)mkdir(node.self->data_dir, 0755); /* where its parent is there; else the lock says what is missing */
    if (!ls_node_lock(&node) || (options.bootstrap && !bootstrap(&node)))
        return 1;
    if (options.only_bootstrap)
        return 0;
    signal(SIGPIPE, SIG_IGN);
    node.base = event_base_new();
    if (node.base == NULL) {
        fprintf(stderr, "lockstep-ctrl: no event loop: %s\n", strerror(errno));
        return 1;
    }
    code = run(&node);
    event_base_free(node.base);
    return code;
}
