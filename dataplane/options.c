/* SPDX-License-Identifier: BSD-3-Clause */
/* The dataplane's command line, and its words to the log. See options.h. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <lockstep/limits.h>

void ls_say(const char *format, ...)
{
    va_list list;

    fprintf(stderr, "lockstep-dataplane: ");
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
}

static const char usage[] =
    "Usage: lockstep-dataplane --config FILE --node N --incarnation I --promise E --control-fd FD --counters PATH\n"
    "                          [--counts C] [--generation G]\n"
    "       lockstep-dataplane --check-config --config FILE [--node N]\n"
    "\n"
    "  --config FILE     the cluster file\n"
    "  --node N          which of its nodes this is\n"
    "  --incarnation I   number of this start, raised durably by lockstep-ctrl before each\n"
    "  --promise E       epoch to begin sealed at\n"
    "  --counts C        incarnation that may count by the durable record; 0: none\n"
    "  --generation G    of the cluster, where it is another than the cluster file's (after a recovery)\n"
    "  --control-fd FD   listening SEQPACKET socket for lockstep-ctrl, which starts this program\n"
    "  --counters PATH   where to make the counters page\n"
    "  --check-config    only say whether the cluster file is right; with --node, whether this machine is, too\n";

static bool number_parse(const char *name, const char *text, uint64_t max, uint64_t *number)
{
    char *end;

    errno = 0;
    *number = strtoull(text, &end, 10);
    if (errno == 0 && text[0] >= '0' && text[0] <= '9' && *end == '\0' && *number <= max)
        return true;
    ls_say("--%s: \"%s\" is not allowed: a number up to %" PRIu64, name, text, max);
    return false;
}

bool ls_options_parse(int argc, char **argv, struct ls_options *options)
{
    static const struct option known[] = {{"config", required_argument, NULL, 'c'},
                                          {"node", required_argument, NULL, 'n'},
                                          {"incarnation", required_argument, NULL, 'i'},
                                          {"promise", required_argument, NULL, 'p'},
                                          {"counts", required_argument, NULL, 'C'},
                                          {"generation", required_argument, NULL, 'g'},
                                          {"control-fd", required_argument, NULL, 'f'},
                                          {"counters", required_argument, NULL, 'o'},
                                          {"check-config", no_argument, NULL, 'k'},
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
            ok = number_parse("node", optarg, LS_NODE_ID_MAX, &options->node);
            break;
        case 'i':
            ok = number_parse("incarnation", optarg, UINT64_MAX - 1, &options->incarnation);
            break;
        case 'p':
            ok = number_parse("promise", optarg, UINT64_MAX - 1, &options->promise);
            break;
        case 'C':
            ok = number_parse("counts", optarg, UINT64_MAX - 1, &options->counts);
            break;
        case 'g':
            ok = number_parse("generation", optarg, UINT32_MAX, &options->generation);
            break;
        case 'f':
            ok = options->has_control_fd = number_parse("control-fd", optarg, 1 << 20, &options->control_fd);
            break;
        case 'o':
            options->counters = optarg;
            break;
        case 'k':
            options->check_config = true;
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default:
            ok = false;
        }
    }
    if (ok && optind < argc) {
        ls_say("\"%s\" is not understood", argv[optind]);
        ok = false;
    }
    if (ok && options->config == NULL) {
        ls_say("--config is missing");
        ok = false;
    }
    if (ok && !options->check_config &&
        (options->node == 0 || options->incarnation == 0 || !options->has_control_fd || options->counters == NULL)) {
        ls_say(
            "--node, --incarnation, --control-fd and --counters are needed: this program is started by lockstep-ctrl");
        ok = false;
    }
    if (!ok)
        fputs("\n", stderr), fputs(usage, stderr);
    return ok;
}
