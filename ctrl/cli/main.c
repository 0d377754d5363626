/* SPDX-License-Identifier: BSD-3-Clause */
/* lockstep: the operator's command. Finds the command that the first words name and runs it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define KV  "cjT"
#define ASK "cjTNS"

static enum cli_exit config_check(struct cli *cli)
{
    if (cli->operands == 1)
        cli->config_path = cli->operand[0];
    enum cli_exit rc = cli_config(cli);
    if (rc)
        return rc;
    if (cli->json)
        cli_print_json(json_pack("{s:s, s:i}", "cluster", cli->config.name, "nodes", (int)cli->config.nodes));
    else
        printf("%s: good: cluster %s, %u nodes\n", cli->config_path, cli->config.name, cli->config.nodes);
    return CLI_OK;
}

static const struct cli_command commands[] = {
    {"kv", "get", KV "NkLr", 1, 1, "KEY [options]", "Prints the value of a key.", cli_kv_get},
    {"kv", "put", KV "tf", 1, 2, "KEY VALUE [options] | KEY --file FILE [options]", "Sets a key.", cli_kv_put},
    {"kv", "del", KV "V", 1, 1, "KEY [options]",
     "Deletes a key; with --version only if it has that version. Exit code 1: there was none.", cli_kv_del},
    {"kv", "cas", KV "tfV", 1, 2, "KEY VALUE --version N [options]",
     "Sets a key only if it has version N (kv get --json tells it); 0: only if it does not exist. Exit code 1: it has\n"
     "another one, which is printed.",
     cli_kv_cas},
    {"kv", "incr", KV "b", 1, 1, "KEY [--by N] [options]",
     "Adds to a decimal number and prints it; a missing key is 0.", cli_kv_incr},
    {"kv", "append", KV "f", 1, 2, "KEY VALUE [options] | KEY --file FILE [options]",
     "Adds bytes to the end of a value and prints its new length; a missing key is empty.", cli_kv_append},
    {"kv", "scan", KV "NkLFElK", 0, 1, "[PREFIX] [options]",
     "Prints key<TAB>value lines in key order: of all keys, those with a prefix, or those from --from on up to --to.\n"
     "Bytes that would disturb the lines are printed as \\t \\n \\r \\\\ \\xHH.",
     cli_kv_scan},
    {"kv", "load", KV "teg", 1, 1, "FILE [options]",
     "Puts each line key<TAB>value of a file (-: standard input), many at once, in its order. The first line that "
     "fails\n"
     "ends it, and is named; lines behind it that were on their way may be put.",
     cli_kv_load},
    {"status", NULL, ASK "C", 0, 0, "[options]",
     "Shows what the nodes on this host know. Exit code 1: one of them is not serving.", cli_status},
    {"log", "dump", ASK "FE", 0, 0, "[--from SEQ] [--to SEQ] [options]",
     "Prints the committed entries that a node still holds: seq, time in s, kind, session/number and client, "
     "operation.",
     cli_log_dump},
    {"log", "tail", ASK "n", 0, 0, "[options]", "Prints the newest entries as log dump does, and goes on as more come.",
     cli_log_tail},
    {"config", "check", "cj", 0, 1, "[FILE] [options]", "Checks a cluster file.", config_check},
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

/* All commands, or those of one noun. */
static void print_commands(FILE *out, const char *noun)
{
    fputs("Usage: lockstep COMMAND [options]\n\nCommands:\n", out);
    for (size_t i = 0; i < COMMANDS; i++) {
        if (noun && strcmp(noun, commands[i].noun) != 0)
            continue;
        char name[32];
        snprintf(name, sizeof(name), "%s%s%s", commands[i].noun, commands[i].verb ? " " : "",
                 commands[i].verb ? commands[i].verb : "");
        fprintf(out, "  %-14s %s\n", name, commands[i].usage);
    }
    fputs("\nlockstep COMMAND --help says more about each, and what the exit codes mean.\n", out);
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

static const struct cli_command *find(int argc, char **argv)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].noun) != 0)
            continue;
        if (!commands[i].verb || (argc > 2 && strcmp(argv[2], commands[i].verb) == 0))
            return &commands[i];
    }
    return NULL;
}

static bool noun_is_known(const char *noun)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(noun, commands[i].noun) == 0)
            return true;
    return false;
}

static enum cli_exit run(int argc, char **argv)
{
    if (argc < 2) {
        print_commands(stderr, NULL);
        return CLI_USAGE;
    }
    if (is_help(argv[1])) {
        print_commands(stdout, NULL);
        return CLI_OK;
    }
    const struct cli_command *command = find(argc, argv);
    if (!command) {
        bool known = noun_is_known(argv[1]);
        if (known && argc > 2 && is_help(argv[2])) {
            print_commands(stdout, argv[1]);
            return CLI_OK;
        }
        if (known && argc > 2)
            fprintf(stderr, "lockstep: %s has no command \"%s\"\n", argv[1], argv[2]);
        else if (!known)
            fprintf(stderr, "lockstep: there is no command \"%s\"\n", argv[1]);
        print_commands(stderr, known ? argv[1] : NULL);
        return CLI_USAGE;
    }
    char name[32];
    int words = command->verb ? 2 : 1;
    bool helped = false;
    snprintf(name, sizeof(name), "%s%s%s", command->noun, words > 1 ? " " : "", words > 1 ? command->verb : "");
    struct cli cli = {.command = name, .timeout_ns = CLI_TIMEOUT_NS};
    enum cli_exit code = cli_parse(&cli, command, argc - words, argv + words, &helped);
    return code || helped ? code : command->run(&cli);
}

int main(int argc, char **argv)
{
    enum cli_exit code = run(argc, argv);
    if ((fflush(stdout) || ferror(stdout)) && code == CLI_OK) {
        fprintf(stderr, "lockstep: the output could not be written: %s\n", strerror(errno));
        code = CLI_LOCAL;
    }
    return (int)code;
}
