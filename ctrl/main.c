/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lockstep-ctrl: one node's control process. Keeps the durable record, starts and watches the dataplane, takes part in
 * elections, answers on the node's unix socket. Never touches DPDK and is never on the path of a request.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <event2/event.h>

#include "../dataplane/workers/urgent.h"
#include "io/backup.h"
#include "io/http.h"
#include "io/node.h"
#include "io/recover.h"

static const char usage[] =
    "Usage: lockstep-ctrl --config FILE --node N [--bootstrap | --join] [--dataplane PROGRAM]\n"
    "       lockstep-ctrl bootstrap --config FILE --node N\n"
    "       lockstep-ctrl join --config FILE --node N\n"
    "       lockstep-ctrl recover --config FILE --node N [--checkpoint FILE | --empty] [--accept-loss]\n"
    "       lockstep-ctrl replay --config FILE --node N --out FILE [--to-seq SEQ] [--from DIR] [--checkpoint FILE]\n"
    "                            [--uncommitted] [--foreign]\n"
    "\n"
    "  bootstrap            only make this node's durable record, as one of the founders of a new cluster\n"
    "  join                 only make this node's durable record, to join a cluster that runs: as a new member, or in\n"
    "                       place of one that lost its record. The cluster takes it in by \"lockstep member add\"\n"
    "  recover              where a majority lost its memory: on ONE node, stopped, begins a new generation of the\n"
    "                       cluster with its newest good checkpoint and the journal behind it, or with FILE, or with\n"
    "                       nothing. Everything ordered later is lost. Without --accept-loss it only says what there "
    "is\n"
    "  replay               makes one checkpoint of the node's newest one and the journal behind it: the state as it\n"
    "                       was after entry SEQ, or all that is known to be committed. Only reads, from DIR where it\n"
    "                       is given (a copy of a data_dir); --uncommitted: all that is there; --foreign: it is\n"
    "                       another cluster's, and this one is to begin with it\n"
    "\n"
    "  --config FILE        the cluster file\n"
    "  --node N             which of its nodes this is\n"
    "  --bootstrap, --join  the same, and then start; refused where there is a record already\n"
    "  --dataplane PROGRAM  the lockstep-dataplane to start; else the one beside this program, or in PATH\n"
    "\n"
    "A record is made once in a node's life. Without one a node does not start, and with one it needs no more of the\n"
    "cluster file's list of nodes than the way to the others: who is a member stands in the log.\n"
    "SIGTERM: hands the sequencer's role on, ends the dataplane, ends. Exit codes: 0 stopped in order, 1 refused or\n"
    "failed (said on stderr), 2 wrong arguments or cluster file.\n";

enum record_wanted { RECORD_IS_THERE, RECORD_OF_FOUNDER, RECORD_OF_JOINER, RECORD_RECOVERS, RECORD_REPLAYS };

struct options {
    const char *config;
    const char *dataplane;
    uint16_t node;
    enum record_wanted record;
    bool only_record;
    const char *checkpoint; /* and the next two: of recover */
    bool empty;
    bool accept_loss;
    const char *out; /* and the rest: of replay */
    const char *from;
    uint64_t to_seq;
    bool uncommitted, foreign;
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

static bool record_wanted(struct options *options, enum record_wanted record)
{
    if (options->record != RECORD_IS_THERE && options->record != record) {
        fprintf(stderr, "lockstep-ctrl: bootstrap founds a new cluster, join joins one that runs, recover begins one "
                        "anew that is lost, replay makes a checkpoint: only one of them\n");
        return false;
    }
    options->record = record;
    return true;
}

/* The word in front, where there is one. */
static bool verb_parse(const char *verb, struct options *options)
{
    options->only_record = true;
    if (strcmp(verb, "bootstrap") == 0)
        return record_wanted(options, RECORD_OF_FOUNDER);
    if (strcmp(verb, "join") == 0)
        return record_wanted(options, RECORD_OF_JOINER);
    if (strcmp(verb, "recover") == 0)
        return record_wanted(options, RECORD_RECOVERS);
    if (strcmp(verb, "replay") == 0)
        return record_wanted(options, RECORD_REPLAYS);
    fprintf(stderr,
            "lockstep-ctrl: \"%s\" is not understood: bootstrap, join, recover, replay, or no word to start the node\n",
            verb);
    return false;
}

static bool recover_check(const struct options *options)
{
    if (options->checkpoint != NULL && options->empty) {
        fprintf(stderr, "lockstep-ctrl: recover: --checkpoint FILE or --empty: only one of them\n");
        return false;
    }
    if (options->record != RECORD_RECOVERS && (options->empty || options->accept_loss)) {
        fprintf(stderr, "lockstep-ctrl: --empty and --accept-loss are of \"recover\" alone\n");
        return false;
    }
    if (options->record == RECORD_RECOVERS || options->record == RECORD_REPLAYS || options->checkpoint == NULL)
        return true;
    fprintf(stderr, "lockstep-ctrl: --checkpoint is of \"recover\" and \"replay\" alone\n");
    return false;
}

static bool replay_check(const struct options *options)
{
    bool any = options->out != NULL || options->from != NULL || options->to_seq != 0 || options->uncommitted ||
               options->foreign;

    if (options->record != RECORD_REPLAYS) {
        if (any)
            fprintf(stderr,
                    "lockstep-ctrl: --out, --from, --to-seq, --uncommitted and --foreign are of \"replay\" alone\n");
        return !any;
    }
    if (options->out == NULL)
        fprintf(stderr, "lockstep-ctrl: replay: --out FILE is needed: where the checkpoint goes\n");
    else if (options->foreign && options->from == NULL && options->checkpoint == NULL)
        fprintf(stderr, "lockstep-ctrl: replay --foreign: --from DIR or --checkpoint FILE is needed: whose?\n");
    else
        return true;
    return false;
}

static bool seq_parse(const char *text, uint64_t *seq)
{
    char *end;

    errno = 0;
    *seq = strtoull(text, &end, 10);
    if (errno == 0 && text[0] >= '1' && text[0] <= '9' && *end == '\0')
        return true;
    fprintf(stderr,
            "lockstep-ctrl: --to-seq: \"%s\" is not allowed: the number of an entry, as lockstep log shows it\n", text);
    return false;
}

static bool options_parse(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {{"config", required_argument, NULL, 'c'},
                                          {"node", required_argument, NULL, 'n'},
                                          {"bootstrap", no_argument, NULL, 'b'},
                                          {"join", no_argument, NULL, 'j'},
                                          {"dataplane", required_argument, NULL, 'd'},
                                          {"checkpoint", required_argument, NULL, 'k'},
                                          {"empty", no_argument, NULL, 'e'},
                                          {"accept-loss", no_argument, NULL, 'a'},
                                          {"out", required_argument, NULL, 'o'},
                                          {"from", required_argument, NULL, 'f'},
                                          {"to-seq", required_argument, NULL, 's'},
                                          {"uncommitted", no_argument, NULL, 'u'},
                                          {"foreign", no_argument, NULL, 'x'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
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
        case 'j':
            ok = record_wanted(options, option == 'b' ? RECORD_OF_FOUNDER : RECORD_OF_JOINER);
            break;
        case 'd':
            options->dataplane = optarg;
            break;
        case 'k':
            options->checkpoint = optarg;
            break;
        case 'e':
            options->empty = true;
            break;
        case 'a':
            options->accept_loss = true;
            break;
        case 'o':
            options->out = optarg;
            break;
        case 'f':
            options->from = optarg;
            break;
        case 's':
            ok = seq_parse(optarg, &options->to_seq);
            break;
        case 'u':
            options->uncommitted = true;
            break;
        case 'x':
            options->foreign = true;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default:
            ok = false;
        }
    }
    if (ok && optind < argc)
        ok = verb_parse(argv[optind++], options);
    if (ok && optind < argc) {
        fprintf(stderr, "lockstep-ctrl: \"%s\" is not understood\n", argv[optind]);
        ok = false;
    }
    if (ok && (options->config == NULL || options->node == 0)) {
        fprintf(stderr, "lockstep-ctrl: --config and --node are needed\n");
        ok = false;
    }
    ok = ok && recover_check(options) && replay_check(options);
    if (!ok)
        fprintf(stderr, "\n%s", usage);
    return ok;
}

static bool record_make(const struct ls_node *node, enum record_wanted wanted)
{
    struct ls_durable durable = {.cluster = node->config->cluster,
                                 .generation = node->config->generation,
                                 .node = node->self->id,
                                 .founder = wanted == RECORD_OF_FOUNDER};
    char error[LS_RECORD_ERROR_MAX];

    ls_config_membership(node->config, &durable.members);
    if (ls_record_create(node->self->data_dir, &durable, error) != 0) {
        fprintf(stderr, "lockstep-ctrl: %s\n", error);
        return false;
    }
    fprintf(stderr, "lockstep-ctrl: node %u has a record to %s cluster %s: %s/record\n", node->self->id,
            durable.founder ? "found" : "join", node->config->name, node->self->data_dir);
    return true;
}

static int recover(const struct ls_config *config, const struct ls_config_node *self, const struct options *options)
{
    struct ls_recover wanted = {.config = config,
                                .self = self,
                                .checkpoint = options->checkpoint,
                                .empty = options->empty,
                                .accept_loss = options->accept_loss};

    return ls_recover(&wanted);
}

static int replay(const struct ls_config *config, const struct ls_config_node *self, const struct options *options)
{
    struct ls_backup wanted = {.config = config,
                               .self = self,
                               .from = options->from,
                               .checkpoint = options->checkpoint,
                               .out = options->out,
                               .to_seq = options->to_seq,
                               .uncommitted = options->uncommitted,
                               .foreign = options->foreign};

    return ls_backup(&wanted);
}

/* The workers poll, perhaps on the core that this runs on: a detector that waits for its turn is blind. Where it is not
 * permitted it goes without. */
static void be_prompt(void)
{
    if (!ls_thread_urgent())
        (void)setpriority(PRIO_PROCESS, 0, -10);
    (void)mlockall(MCL_CURRENT | MCL_ONFAULT);
}

static void on_signal(evutil_socket_t number, short what, void *node)
{
    (void)number;
    (void)what;
    ls_node_stop(node);
}

/* Until a signal. The exit code. */
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
        event_base_dispatch(node->base);
        code = 0;
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
    if (options.record == RECORD_REPLAYS)
        return replay(&config, node.self, &options); /* only reads: beside whoever runs */
    (void)mkdir(node.self->data_dir, 0755);          /* where its parent is there; else the lock says what is missing */
    if (!ls_node_lock(&node))
        return 1;
    if (options.record == RECORD_RECOVERS)
        return recover(&config, node.self, &options);
    if (options.record != RECORD_IS_THERE && !record_make(&node, options.record))
        return 1;
    if (options.only_record)
        return 0;
    be_prompt();
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
