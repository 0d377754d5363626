/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the lockstep command share: its options, its exit codes, its ways to say things. One thread; a
 * command runs once and the process ends, so memory that lives until then is not given back everywhere.
 */
#ifndef LOCKSTEP_CLI_H
#define LOCKSTEP_CLI_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include <lockstep/client_kv.h>

#include "../client/ask.h"
#include "config.h"

#define CLI_CONFIG_DEFAULT "/etc/lockstep/cluster.yaml"
#define CLI_TIMEOUT_NS     (5ull * 1000 * 1000 * 1000)

/* Documented in README.md and in --help. */
enum cli_exit {
    CLI_OK = 0,
    CLI_NO = 1,          /* the answer is no: no such key, the condition does not hold, a node is not serving */
    CLI_USAGE = 2,       /* the command line or the cluster file is wrong; nothing was asked */
    CLI_UNREACHABLE = 3, /* nobody answered; nothing was done */
    CLI_REFUSED = 4,     /* answered with an error; nothing was done */
    CLI_UNKNOWN = 5,     /* no answer in time: it may have been done */
    CLI_LOCAL = 6,       /* a local file, memory or output failed */
};

/* Options by letter; a command says which of them it takes. */
struct cli {
    const char *command; /* "kv put", for messages */
    const char *config_path;
    const char *socket;
    const char *file;
    const char *from;
    const char *to;
    bool json;
    bool raw;
    bool keys_only;
    bool escaped;
    bool keep_going;
    bool all_counters;
    bool accept_loss;
    bool learner;
    bool no_wait;
    bool has_seed;
    bool has_version;
    bool has_by;
    uint16_t node; /* 0: not given */
    enum ls_consistency consistency;
    enum ls_durability durability; /* NONE: as the cluster has it */
    uint64_t least;
    uint64_t timeout_ns;
    uint64_t ttl_ns;
    uint64_t version;
    uint64_t limit;
    uint64_t lines;
    uint64_t for_ns;
    uint64_t seed;
    uint64_t count;
    uint64_t every_ns;
    int64_t by;
    int operands;
    char **operand;
    struct ls_config config; /* after cli_config() */
};

struct cli_command {
    const char *noun;
    const char *verb;  /* NULL: the noun alone is a command */
    const char *takes; /* letters of options */
    int operands_min;
    int operands_max;  /* -1: any number */
    const char *usage; /* what stands behind noun and verb */
    const char *help;
    enum cli_exit (*run)(struct cli *cli);
};

/* kv.c, load.c, status.c, watch.c, operate.c, fault.c, log.c */
enum cli_exit cli_kv_get(struct cli *cli);
enum cli_exit cli_kv_put(struct cli *cli);
enum cli_exit cli_kv_del(struct cli *cli);
enum cli_exit cli_kv_cas(struct cli *cli);
enum cli_exit cli_kv_incr(struct cli *cli);
enum cli_exit cli_kv_append(struct cli *cli);
enum cli_exit cli_kv_scan(struct cli *cli);
enum cli_exit cli_kv_load(struct cli *cli);
enum cli_exit cli_status(struct cli *cli);
enum cli_exit cli_watch(struct cli *cli);
enum cli_exit cli_member_add(struct cli *cli);
enum cli_exit cli_member_remove(struct cli *cli);
enum cli_exit cli_member_promote(struct cli *cli);
enum cli_exit cli_member_replace(struct cli *cli);
enum cli_exit cli_sequencer_move(struct cli *cli);
enum cli_exit cli_checkpoint_create(struct cli *cli);
enum cli_exit cli_checkpoint_list(struct cli *cli);
enum cli_exit cli_checkpoint_verify(struct cli *cli);
enum cli_exit cli_checkpoint_restore(struct cli *cli);
enum cli_exit cli_cluster_recover(struct cli *cli);
enum cli_exit cli_cluster_stop(struct cli *cli);
enum cli_exit cli_fault_add(struct cli *cli);
enum cli_exit cli_fault_list(struct cli *cli);
enum cli_exit cli_fault_clear(struct cli *cli);
enum cli_exit cli_log_dump(struct cli *cli);
enum cli_exit cli_log_tail(struct cli *cli);

/* ---- options.c ---- */

/* Reads the options and operands of `command`; CLI_OK, or CLI_USAGE after saying why. --help prints and sets *helped.
 */
enum cli_exit cli_parse(struct cli *cli, const struct cli_command *command, int argc, char **argv, bool *helped);
void cli_help(const struct cli_command *command);
/* "250us", "5s", ...: nanoseconds. */
bool cli_duration(const char *text, uint64_t *ns);
bool cli_number(const char *text, uint64_t *number);
bool cli_signed(const char *text, int64_t *number);

/* ---- text.c ---- */

/* "lockstep: kv put: ..." to stderr. */
void cli_say(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Prints and frees `json` on a line of its own. */
void cli_print_json(json_t *json);
/* A string; or, where the bytes are no UTF-8, {"base64": ...}. */
json_t *cli_bytes_json(struct ls_kv_bytes bytes);
/* Tab, line ends, backslash and other control bytes as \t \n \r \\ \xHH. */
void cli_print_escaped(FILE *out, struct ls_kv_bytes bytes);
/* In place; false: a backslash with nothing that is known behind it. */
bool cli_unescape(char *text, size_t *length);

/* ---- connect.c ---- */

/* Reads the cluster file into cli->config; says why not. */
enum cli_exit cli_config(struct cli *cli);
/* A client of the cluster file's nodes; reads at cli->node alone, where it is given. */
enum cli_exit cli_connect(struct cli *cli, struct ls_client **client);
/* For an operation that got no answer. `error`: -errno of the library; `status`: why nodes made us wait, else OK. */
enum cli_exit cli_no_answer(const struct cli *cli, const struct ls_client *client, int error, uint16_t status);
/* For an answer: 0 and 1 in silence or with a short text, refusals with text and hint. */
/* Was what --durability asks for reached? Says so where not: what was asked for is done all the same. */
enum cli_exit cli_durability_check(const struct cli *cli, uint8_t reached);
enum cli_exit cli_answer(const struct cli *cli, const struct ls_client *client, uint16_t status);

/* ---- http.c ---- */

/* Sockets to ask: --socket, that of --node, or those of all nodes in the file. Returns their number, 0 after saying
 * why. `of`: each one's node, 0 unknown. */
uint32_t cli_sockets(struct cli *cli, const char **sockets, uint16_t *of);
/* The one node that is meant: --node or --socket, or the only one on this machine. NULL after saying why. */
const char *cli_the_socket(struct cli *cli);

/* Says why there is no answer, and which exit code that is. */
enum cli_exit cli_http_failed(const struct cli *cli, const char *socket, long code, int number, const char *text);

/* ---- table.c ---- */

#define CLI_CELL  64
#define CLI_CELLS 9
#define CLI_ROWS  64

struct cli_table {
    int columns;
    int rows;
    const char *title[CLI_CELLS];
    char cell[CLI_ROWS][CLI_CELLS][CLI_CELL];
};
/* The next row's cells; NULL: there is no room for more. */
char (*cli_table_row(struct cli_table *table))[CLI_CELL];
void cli_table_print(const struct cli_table *table);
void cli_cell_number(char *cell, const json_t *value);
void cli_cell_text(char *cell, const json_t *value);
void cli_cell_percent(char *cell, const json_t *value);

/* ---- status.c, for watch.c ---- */

void cli_members_print(const json_t *status);
void cli_news_print(const json_t *status);

/* ---- fault_words.c ---- */

/* "drop 5% delay 200us cut 2,3", "stop 2s ctrl", "slow net 50us": what POST /v1/faults takes. NULL: *error says why. */
json_t *cli_fault_words(int words, char *const *word, uint64_t for_ns, bool has_seed, uint64_t seed, char *error,
                        size_t room);
/* "2,3" or "clients": a bit for each node. */
bool cli_nodes(const char *text, uint64_t *mask);
json_t *cli_nodes_json(uint64_t mask);

#endif
