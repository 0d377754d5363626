/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line, for all commands: one table of options, of which each command takes some. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include <lockstep/counters.h>

#include "cli.h"

struct option_text {
    const char *text;
    const char *argument;
    struct option option;
};

static const struct option_text options[] = {
    {"the cluster file (else $LOCKSTEP_CONFIG, else " CLI_CONFIG_DEFAULT ")", "FILE", {"config", 1, NULL, 'c'}},
    {"output for programs", NULL, {"json", 0, NULL, 'j'}},
    {"give up after this long, as in 500ms or 5s (default 5s)", "TIME", {"timeout", 1, NULL, 'T'}},
    {"ask this node only", "N", {"node", 1, NULL, 'N'}},
    {"lockstep-ctrl's socket (else from the cluster file)", "PATH", {"socket", 1, NULL, 'S'}},
    {"the key expires after this long", "TIME", {"ttl", 1, NULL, 't'}},
    {"the version that the key must have; 0: it must not exist", "N", {"version", 1, NULL, 'V'}},
    {"linearizable (default), least or stale", "HOW", {"consistency", 1, NULL, 'k'}},
    {"see at least this seq; means --consistency least", "SEQ", {"least", 1, NULL, 'L'}},
    {"answered when this much is reached: memory, async or journal (the disks of a majority)",
     "HOW",
     {"durability", 1, NULL, 'd'}},
    {"take the value from there; -: standard input", "FILE", {"file", 1, NULL, 'f'}},
    {"the value's bytes alone, no line end", NULL, {"raw", 0, NULL, 'r'}},
    {"begin here (a key; for log dump: a seq)", "KEY", {"from", 1, NULL, 'F'}},
    {"end before this key (for log dump: with this seq; for checkpoint create: a file)", "KEY", {"to", 1, NULL, 'E'}},
    {"at most so many", "N", {"limit", 1, NULL, 'l'}},
    {"no values", NULL, {"keys-only", 0, NULL, 'K'}},
    {"add this, also negative (default 1)", "N", {"by", 1, NULL, 'b'}},
    {"begin with so many entries (default 10)", "N", {"lines", 1, NULL, 'n'}},
    {"every counter that is not zero", NULL, {"counters", 0, NULL, 'C'}},
    {"\\t \\n \\r \\\\ \\xHH in keys and values stand for bytes, as kv scan prints them",
     NULL,
     {"escaped", 0, NULL, 'e'}},
    {"go on after lines that fail", NULL, {"keep-going", 0, NULL, 'g'}},
    {"ends by itself after this long", "TIME", {"for", 1, NULL, 'D'}},
    {"the same dice each time", "N", {"seed", 1, NULL, 'R'}},
    {"yes, what was ordered after the checkpoint is to be lost", NULL, {"accept-loss", 0, NULL, 'A'}},
    {"stays a learner until lockstep member promote", NULL, {"learner", 0, NULL, 'u'}},
    {"do not wait for the end", NULL, {"no-wait", 0, NULL, 'w'}},
    {"so many times (default: until interrupted)", "N", {"count", 1, NULL, 'G'}},
    {"time between two (default 1s)", "TIME", {"every", 1, NULL, 'H'}},
    {"this text", NULL, {"help", 0, NULL, 'h'}},
};
#define OPTIONS (sizeof(options) / sizeof(options[0]))

bool cli_number(const char *text, uint64_t *number)
{
    char *end;
    errno = 0;
    *number = strtoull(text, &end, 10);
    return errno == 0 && text[0] >= '0' && text[0] <= '9' && *end == 0;
}

bool cli_signed(const char *text, int64_t *number)
{
    char *end;
    const char *digits = text[0] == '-' || text[0] == '+' ? text + 1 : text;
    errno = 0;
    *number = strtoll(text, &end, 10);
    return errno == 0 && digits[0] >= '0' && digits[0] <= '9' && *end == 0;
}

bool cli_duration(const char *text, uint64_t *ns)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {{"ns", 1},
                 {"us", 1000},
                 {"ms", 1000000},
                 {"s", 1000000000},
                 {"m", 60000000000u},
                 {"h", 3600000000000ull},
                 {"d", 86400000000000ull}};
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno || text[0] < '0' || text[0] > '9')
        return false;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
        if (strcmp(end, units[i].name) == 0)
            return !__builtin_mul_overflow(number, units[i].ns, ns);
    return false;
}

static bool durability_parse(const char *text, enum ls_durability *durability)
{
    for (unsigned i = LS_DURABLE_MEMORY; i <= LS_DURABLE_JOURNAL; i++)
        if (strcmp(text, ls_durability_name(i)) == 0) {
            *durability = (enum ls_durability)i;
            return true;
        }
    return false;
}

static bool consistency_parse(const char *text, enum ls_consistency *consistency)
{
    static const char *const names[] = {"linearizable", "least", "stale"};
    for (int i = 0; i < 3; i++)
        if (strcmp(text, names[i]) == 0) {
            *consistency = (enum ls_consistency)i;
            return true;
        }
    return false;
}

static bool node_parse(const char *text, uint16_t *node)
{
    uint64_t number;
    bool good = cli_number(text, &number) && number >= 1 && number <= LS_NODE_ID_MAX;
    *node = good ? (uint16_t)number : 0;
    return good;
}

/* What is allowed where an argument was refused. */
static const char *allowed(int letter)
{
    switch (letter) {
    case 'T':
    case 't':
    case 'D':
    case 'H':
        return "a whole number with ns, us, ms, s, m, h or d behind it, above 0";
    case 'N':
        return "a node id, 1 to 63";
    case 'k':
        return "linearizable, least or stale";
    case 'b':
        return "a whole number, also negative";
    case 'n':
    case 'l':
    case 'G':
        return "a whole number, at least 1";
    default:
        return "a whole number";
    }
}

/* Those of the operators' commands. */
static bool take_operate(struct cli *cli, int letter, const char *text)
{
    switch (letter) {
    case 'D':
        return cli_duration(text, &cli->for_ns) && cli->for_ns > 0;
    case 'R':
        cli->has_seed = true;
        return cli_number(text, &cli->seed) && cli->seed <= INT64_MAX;
    case 'A':
        return cli->accept_loss = true;
    case 'u':
        return cli->learner = true;
    case 'w':
        return cli->no_wait = true;
    case 'G':
        return cli_number(text, &cli->count) && cli->count > 0;
    case 'H':
        return cli_duration(text, &cli->every_ns) && cli->every_ns > 0;
    default:
        return false;
    }
}

static bool take(struct cli *cli, int letter, const char *text)
{
    switch (letter) {
    case 'c':
        cli->config_path = text;
        return true;
    case 'j':
        return cli->json = true;
    case 'T':
        return cli_duration(text, &cli->timeout_ns) && cli->timeout_ns > 0;
    case 'N':
        return node_parse(text, &cli->node);
    case 'S':
        cli->socket = text;
        return true;
    case 't':
        return cli_duration(text, &cli->ttl_ns) && cli->ttl_ns > 0;
    case 'V':
        cli->has_version = true;
        return cli_number(text, &cli->version);
    case 'k':
        return consistency_parse(text, &cli->consistency);
    case 'd':
        return durability_parse(text, &cli->durability);
    case 'L':
        cli->consistency = LS_READ_LEAST;
        return cli_number(text, &cli->least);
    case 'f':
        cli->file = text;
        return true;
    case 'r':
        return cli->raw = true;
    case 'F':
        cli->from = text;
        return true;
    case 'E':
        cli->to = text;
        return true;
    case 'l':
        return cli_number(text, &cli->limit) && cli->limit > 0;
    case 'K':
        return cli->keys_only = true;
    case 'b':
        cli->has_by = true;
        return cli_signed(text, &cli->by);
    case 'n':
        return cli_number(text, &cli->lines) && cli->lines > 0;
    case 'C':
        return cli->all_counters = true;
    case 'e':
        return cli->escaped = true;
    case 'g':
        return cli->keep_going = true;
    default:
        return take_operate(cli, letter, text);
    }
}

void cli_help(const struct cli_command *command)
{
    printf("Usage: lockstep %s%s%s %s\n\n%s\n\nOptions:\n", command->noun, command->verb ? " " : "",
           command->verb ? command->verb : "", command->usage, command->help);
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *option = &options[i].option;
        if (option->val != 'h' && !strchr(command->takes, option->val))
            continue;
        char name[64];
        snprintf(name, sizeof(name), "%s--%s%s%s",
                 option->val == 'c'   ? "-c, "
                 : option->val == 'h' ? "-h, "
                                      : "    ",
                 option->name, options[i].argument ? " " : "", options[i].argument ? options[i].argument : "");
        printf("  %-26s %s\n", name, options[i].text);
    }
    fputs("\nExit codes: 0 done; 1 the answer is no (no such key, condition not met, not serving); 2 wrong command\n"
          "line or cluster file; 3 nobody answered, nothing was done; 4 refused, nothing was done; 5 no answer in\n"
          "time, it may have been done; 6 a local file, memory or output failed.\n",
          stdout);
}

static const char *option_name(int letter)
{
    for (size_t i = 0; i < OPTIONS; i++)
        if (options[i].option.val == letter)
            return options[i].option.name;
    return "?";
}

static enum cli_exit wrong(const struct cli *cli, const char *what, const char *value)
{
    cli_say(cli, "%s%s; see lockstep %s --help", what, value, cli->command);
    return CLI_USAGE;
}

enum cli_exit cli_parse(struct cli *cli, const struct cli_command *command, int argc, char **argv, bool *helped)
{
    struct option known[OPTIONS + 1];
    int letter;
    for (size_t i = 0; i < OPTIONS; i++)
        known[i] = options[i].option;
    known[OPTIONS] = (struct option){NULL, 0, NULL, 0};
    opterr = 0;
    optind = 1;
    while ((letter = getopt_long(argc, argv, "c:h", known, NULL)) != -1) {
        if (letter == 'h') {
            cli_help(command);
            *helped = true;
            return CLI_OK;
        }
        if (letter == '?')
            return wrong(cli, "unknown option, or its value is missing: ", argv[optind - 1]);
        if (!strchr(command->takes, letter))
            return wrong(cli, "this command has no option --", option_name(letter));
        if (!take(cli, letter, optarg)) {
            cli_say(cli, "--%s: \"%s\" is not allowed: %s", option_name(letter), optarg, allowed(letter));
            return CLI_USAGE;
        }
    }
    cli->operands = argc - optind;
    cli->operand = argv + optind;
    if (cli->operands < command->operands_min)
        return wrong(cli, "something is missing: ", command->usage);
    if (command->operands_max >= 0 && cli->operands > command->operands_max)
        return wrong(cli, "one word too many: ", cli->operand[command->operands_max]);
    return CLI_OK;
}
