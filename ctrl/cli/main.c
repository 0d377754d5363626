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
    {"kv", "put", KV "tfd", 1, 2, "KEY VALUE [options] | KEY --file FILE [options]", "Sets a key.", cli_kv_put},
    {"kv", "del", KV "Vd", 1, 1, "KEY [options]",
     "Deletes a key; with --version only if it has that version. Exit code 1: there was none.", cli_kv_del},
    {"kv", "cas", KV "tfVd", 1, 2, "KEY VALUE --version N [options]",
     "Sets a key only if it has version N (kv get --json tells it); 0: only if it does not exist. Exit code 1: it has\n"
     "another one, which is printed.",
     cli_kv_cas},
    {"kv", "incr", KV "bd", 1, 1, "KEY [--by N] [options]",
     "Adds to a decimal number and prints it; a missing key is 0.", cli_kv_incr},
    {"kv", "append", KV "fd", 1, 2, "KEY VALUE [options] | KEY --file FILE [options]",
     "Adds bytes to the end of a value and prints its new length; a missing key is empty.", cli_kv_append},
    {"kv", "scan", KV "NkLFElK", 0, 1, "[PREFIX] [options]",
     "Prints key<TAB>value lines in key order: of all keys, those with a prefix, or those from --from on up to --to.\n"
     "Bytes that would disturb the lines are printed as \\t \\n \\r \\\\ \\xHH.",
     cli_kv_scan},
    {"kv", "load", KV "tegd", 1, 1, "FILE [options]",
     "Puts each line key<TAB>value of a file (-: standard input), many at once, in its order. The first line that "
     "fails\n"
     "ends it, and is named; lines behind it that were on their way may be put.",
     cli_kv_load},
    {"status", NULL, ASK "C", 0, 0, "[options]",
     "Shows what the nodes on this host know. Exit code 1: one of them is not serving.", cli_status},
    {"watch", NULL, ASK "GH", 0, 0, "[options]",
     "Shows the cluster again and again: drawn anew on a terminal, else a line each time.", cli_watch},
    {"member", "add", ASK "uw", 1, 3, "NODE [IP:PORT CTRL-IP:PORT] [options]",
     "Adds a node as learner; it becomes a voter by itself when it has caught up. Without addresses: those that the\n"
     "cluster file has for it. First run lockstep-ctrl join there, and start it. Given again it goes on where it was\n"
     "left, as when the sequencer went meanwhile.",
     cli_member_add},
    {"member", "remove", ASK "w", 1, 1, "NODE [options]",
     "Removes a node. The sequencer has to be moved away first (lockstep sequencer move).", cli_member_remove},
    {"member", "promote", ASK "w", 1, 1, "NODE [options]", "Makes a learner that has caught up a voter.",
     cli_member_promote},
    {"member", "replace", ASK "w", 2, 4, "NODE NEW-NODE [IP:PORT CTRL-IP:PORT] [options]",
     "Adds the new node, waits until it is a voter, and removes the other.", cli_member_replace},
    {"sequencer", "move", ASK "w", 1, 1, "NODE [options]",
     "Makes another voter the sequencer, without an error at any client.", cli_sequencer_move},
    {"checkpoint", "create", ASK "wE", 0, 0, "[--to FILE] [options]",
     "Has a node write a checkpoint while it goes on. --to: a copy of it goes there (on the node's own host), and is "
     "read back.",
     cli_checkpoint_create},
    {"checkpoint", "list", ASK, 0, 0, "[options]", "Shows the checkpoints of the nodes on this host.",
     cli_checkpoint_list},
    {"checkpoint", "verify", ASK "w", 1, 1, "NAME [options]", "Reads a whole checkpoint and checks every byte.",
     cli_checkpoint_verify},
    {"checkpoint", "restore", ASK "w", 1, 1, "NAME [options]",
     "Has a node take a checkpoint in place of its log and state: only one that is behind what the others still hold\n"
     "(it also gets one by itself). To begin a whole cluster again: cluster recover.",
     cli_checkpoint_restore},
    {"cluster", "stop", ASK, 0, 0, "[options]",
     "Stops the nodes on this host in good order, the sequencer last (--node N: that one alone). What was answered is "
     "kept\nas the cluster's durability says; with a journal a node comes back to where it was without a search.",
     cli_cluster_stop},
    {"cluster", "recover", "cNA", 0, 0, "[--node N --accept-loss] [options]",
     "Says how a cluster begins again whose majority lost its memory, and does it on this node with --accept-loss.",
     cli_cluster_recover},
    {"fault", "add", ASK "DR", 1, -1, "FAULT... [options]",
     "Makes a fault on purpose at one node (faults_allowed: yes). Of its network, any of these together:\n"
     "  drop 5%  duplicate 1%  corrupt 0.1%  reorder 2% span 8  delay 200us  jitter 50us  rate 10M\n"
     "  cut 2,3 (both ways; cut-in, cut-out; clients stands for all clients)\n"
     "of its journal's disk, behind the word disk, any of these together (shares are of writes):\n"
     "  disk error 1%  short 1%  torn 50%  delay 5ms  jitter 2ms  full  hang\n"
     "  lies, for which no disk is meant: lost 100% (a file rolled back)  rot 1%  misplaced 1%\n"
     "or one of these alone:\n"
     "  stop 2s [dataplane|ctrl|node]   crash [dataplane|ctrl|node]   slow net|apply|journal 50us\n"
     "  stall net|apply|journal 100ms   flip (one bit of the state)   partition 1,2/3 (at all nodes here)",
     cli_fault_add},
    {"fault", "list", ASK, 0, 0, "[options]", "Shows the faults in force.", cli_fault_list},
    {"fault", "clear", ASK, 0, 1, "[ID] [options]", "Ends one fault of a node, or all at the nodes on this host.",
     cli_fault_clear},
    {"log", "dump", ASK "FE", 0, 0, "[--from SEQ] [--to SEQ] [options]",
     "Prints the committed entries that a node still holds, in its memory or its journal: seq, time in s, kind, "
     "session/number and client, "
     "operation.",
     cli_log_dump},
    {"log", "tail", ASK "nF", 0, 0, "[--from SEQ] [options]",
     "Prints the newest entries (or those from SEQ on, 0: the oldest held) as log dump does, and goes on as more "
     "come:\n"
     "none is left out and none comes twice, also when another node on this host has to be asked.",
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
        fprintf(out, "  %-18s %s\n", name, commands[i].usage);
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
