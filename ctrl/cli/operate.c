/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lockstep member, sequencer, checkpoint, cluster: what operators order, by lockstep-ctrl. Any node of the cluster
 * takes orders about members and the sequencer and hands them to the right one; checkpoints are each node's own. What
 * takes long goes on in lockstep-ctrl; its progress is shown until it ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../dataplane/state/checkpoint.h"
#include "cli.h"

#define PROGRESS_NS (200 * 1000 * 1000)
#define STOP_NS     20000000000ull

static const char *text_of(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

/* ---- an order and its end ---- */

static enum cli_exit ended(const struct cli *cli, json_t *command)
{
    int error = (int)json_integer_value(json_object_get(command, "errno"));
    const char *text = text_of(command, "text");
    enum cli_exit code = CLI_OK;
    if (error) {
        cli_say(cli, "%s", text[0] ? text : strerror(error));
        code = error == ECANCELED || error == ETIMEDOUT ? CLI_UNKNOWN : CLI_REFUSED;
    } else if (cli->json) {
        cli_print_json(json_incref(command));
    } else {
        printf("%s: %s\n", text_of(command, "what"), text[0] ? text : "done");
    }
    json_decref(command);
    return code;
}

/* How far it is, where that has changed. */
static void print_progress(const char *socket, uint64_t timeout_ns, char *said, size_t room)
{
    char why[256], now[256];
    long code;
    json_t *status = ls_ask_get(socket, "/v1/status", timeout_ns, &code, why, sizeof(why));
    if (!status)
        return;
    const json_t *checkpoint = json_object_get(status, "checkpoint");
    if (json_is_object(checkpoint))
        snprintf(now, sizeof(now), "checkpoint: %s, %" JSON_INTEGER_FORMAT " MB", text_of(checkpoint, "what"),
                 json_integer_value(json_object_get(checkpoint, "bytes")) / 1000000);
    else
        snprintf(now, sizeof(now), "%s", text_of(status, "change"));
    json_decref(status);
    if (!now[0] || strcmp(now, said) == 0)
        return;
    snprintf(said, room, "%s", now);
    fprintf(stderr, "  %s\n", now);
}

/* Until the command has ended. `command`: as the node accepted it; released. */
static enum cli_exit follow(const struct cli *cli, const char *socket, json_t *command)
{
    const struct timespec pause = {.tv_nsec = PROGRESS_NS};
    char path[64], why[256] = "", said[256] = "";
    long code;
    snprintf(path, sizeof(path), "/v1/commands/%" JSON_INTEGER_FORMAT,
             json_integer_value(json_object_get(command, "id")));
    while (json_is_true(json_object_get(command, "running"))) {
        if (!cli->json)
            print_progress(socket, cli->timeout_ns, said, sizeof(said));
        nanosleep(&pause, NULL);
        json_decref(command);
        command = ls_ask_get(socket, path, cli->timeout_ns, &code, why, sizeof(why));
        if (!command) {
            cli_say(cli, "it was under way, and how it ended is not known: %s. See lockstep status", why);
            return CLI_UNKNOWN;
        }
    }
    return ended(cli, command);
}

/* Releases `body`. The first node that answers takes it. */
static enum cli_exit order(struct cli *cli, const char *path, json_t *body)
{
    const char *sockets[LS_MEMBERS_MAX];
    uint16_t of[LS_MEMBERS_MAX];
    char why[512] = "";
    int number = 0;
    long code = 0;
    json_t *command = NULL;
    uint32_t n = cli_sockets(cli, sockets, of), i = 0;
    if (n == 0) {
        json_decref(body);
        return CLI_USAGE;
    }
    for (; i < n; i++) {
        command =
            ls_ask(sockets[i], "POST", path, json_incref(body), cli->timeout_ns, &code, &number, why, sizeof(why));
        if (command || code || number)
            break;
    }
    json_decref(body);
    if (!command)
        return cli_http_failed(cli, sockets[i < n ? i : n - 1], code, number, why);
    if (!cli->no_wait || !json_is_true(json_object_get(command, "running")))
        return follow(cli, sockets[i], command);
    if (cli->json) {
        cli_print_json(command);
        return CLI_OK;
    }
    printf("%s: under way; lockstep status shows how far it is\n", text_of(command, "what"));
    json_decref(command);
    return CLI_OK;
}

/* ---- members ---- */

static bool node_word(const struct cli *cli, const char *word, uint64_t *node)
{
    if (cli_number(word, node) && *node >= 1 && *node <= LS_NODE_ID_MAX)
        return true;
    cli_say(cli, "\"%s\" is not allowed: a node id, 1 to %d", word, LS_NODE_ID_MAX);
    return false;
}

static void address_text(struct ls_addr address, char text[32])
{
    snprintf(text, 32, "%u.%u.%u.%u:%u", address.ip >> 24, address.ip >> 16 & 255, address.ip >> 8 & 255,
             address.ip & 255, address.port);
}

/* A new member: its id, then its two addresses, or those that the cluster file has for it. NULL after saying why. */
static json_t *member_words(struct cli *cli, int words, char **word)
{
    char data[32], ctrl[32];
    uint64_t node;
    if (!node_word(cli, word[0], &node))
        return NULL;
    if (words == 3)
        return json_pack("{s:I, s:s, s:s}", "node", (json_int_t)node, "address", word[1], "ctrl", word[2]);
    if (words == 2) {
        cli_say(cli,
                "give both addresses of the new member, of its dataplane and of its lockstep-ctrl, or none of them");
        return NULL;
    }
    if (cli_config(cli))
        return NULL;
    const struct ls_config_node *known = ls_config_find(&cli->config, (uint16_t)node);
    if (!known || known->ctrl.port == 0) {
        cli_say(cli,
                "%s has no node %" PRIu64 "%s: add it there, or give its addresses: %" PRIu64
                " 10.0.0.4:7400 192.168.0.4:7401",
                cli->config_path, node, known ? " with a ctrl address" : "", node);
        return NULL;
    }
    address_text((struct ls_addr){.ip = known->ip, .port = cli->config.port}, data);
    address_text(known->ctrl, ctrl);
    return json_pack("{s:I, s:s, s:s}", "node", (json_int_t)node, "address", data, "ctrl", ctrl);
}

enum cli_exit cli_member_add(struct cli *cli)
{
    json_t *member = member_words(cli, cli->operands, cli->operand);
    if (!member)
        return CLI_USAGE;
    json_t *body = json_pack("{s:o}", "add", member);
    if (cli->learner)
        (void)json_object_set_new(body, "learner", json_true());
    return order(cli, "/v1/members", body);
}

static enum cli_exit member_order(struct cli *cli, const char *path, const char *verb)
{
    uint64_t node;
    if (!node_word(cli, cli->operand[0], &node))
        return CLI_USAGE;
    return order(cli, path, json_pack("{s:I}", verb, (json_int_t)node));
}

enum cli_exit cli_member_remove(struct cli *cli)
{
    return member_order(cli, "/v1/members", "remove");
}

enum cli_exit cli_member_promote(struct cli *cli)
{
    return member_order(cli, "/v1/members", "promote");
}

enum cli_exit cli_sequencer_move(struct cli *cli)
{
    return member_order(cli, "/v1/sequencer/move", "to");
}

enum cli_exit cli_member_replace(struct cli *cli)
{
    uint64_t node;
    json_t *member;
    if (!node_word(cli, cli->operand[0], &node) || !(member = member_words(cli, cli->operands - 1, cli->operand + 1)))
        return CLI_USAGE;
    return order(cli, "/v1/members", json_pack("{s:I, s:o}", "replace", (json_int_t)node, "by", member));
}

/* ---- checkpoints ---- */

/* A copy of a node's file, under another name until it is whole. 0 or -errno. */
static int copy_bytes(int from, int to)
{
    static char bytes[1024 * 1024];
    ssize_t n;
    while ((n = read(from, bytes, sizeof(bytes))) > 0)
        for (ssize_t done = 0, more; done < n; done += more)
            if ((more = write(to, bytes + done, (size_t)(n - done))) <= 0)
                return more < 0 ? -errno : -ENOSPC;
    return n < 0 || fsync(to) != 0 ? -errno : 0;
}

static int copy_file(const char *from, const char *to)
{
    char partial[4200];
    int in = open(from, O_RDONLY | O_CLOEXEC), out, error;
    if (in < 0)
        return -errno;
    snprintf(partial, sizeof(partial), "%.4000s.partial", to);
    out = open(partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    error = out < 0 ? -errno : copy_bytes(in, out);
    if (error == 0 && link(partial, to) != 0) /* which never replaces anything */
        error = -errno;
    if (out >= 0) {
        close(out);
        (void)unlink(partial);
    }
    close(in);
    return error;
}

/* The node's newest one goes to --to, and is read back. */
static enum cli_exit checkpoint_copy(struct cli *cli, const char *socket)
{
    struct ls_checkpoint_info info;
    char from[LS_CONFIG_PATH_MAX + 128], why[512] = "", digest[20];
    long code;
    json_t *answer = ls_ask_get(socket, "/v1/checkpoints", cli->timeout_ns, &code, why, sizeof(why));
    const json_t *newest = json_array_get(json_object_get(answer, "checkpoints"), 0);
    if (!newest) {
        cli_say(cli, "it is made, and where it is is not known (%s): see lockstep checkpoint list", why);
        json_decref(answer);
        return CLI_LOCAL;
    }
    snprintf(from, sizeof(from), "%s/%s", text_of(answer, "directory"), text_of(newest, "name"));
    json_decref(answer);
    int error = copy_file(from, cli->to);
    if (error) {
        cli_say(cli, "%s cannot be copied to %s: %s", from, cli->to, strerror(-error));
        return CLI_LOCAL;
    }
    if (ls_checkpoint_file_verify(cli->to, &info, why) != 0) {
        (void)unlink(cli->to);
        cli_say(cli, "what was written there is not what was read, and is removed: %s", why);
        return CLI_LOCAL;
    }
    snprintf(digest, sizeof(digest), "%016" PRIx64, info.cut.digest);
    if (cli->json)
        cli_print_json(
            json_pack("{s:s, s:I, s:s}", "file", cli->to, "seq", (json_int_t)info.cut.seq, "digest", digest));
    else
        printf("%s: entry %" PRIu64 ", digest %s, copied and read back\n", cli->to, info.cut.seq, digest);
    return CLI_OK;
}

enum cli_exit cli_checkpoint_create(struct cli *cli)
{
    json_t *body = json_pack("{s:b}", "create", 1);
    if (!cli->to)
        return order(cli, "/v1/checkpoints", body);
    const char *socket = cli_the_socket(cli);
    if (!socket || access(cli->to, F_OK) == 0) {
        json_decref(body);
        if (socket)
            cli_say(cli, "%s is there already: nothing was done", cli->to);
        return socket ? CLI_LOCAL : CLI_USAGE;
    }
    cli->socket = socket; /* and no other one */
    cli->no_wait = false;
    enum cli_exit code = order(cli, "/v1/checkpoints", body);
    return code == CLI_OK ? checkpoint_copy(cli, socket) : code;
}

enum cli_exit cli_checkpoint_verify(struct cli *cli)
{
    return order(cli, "/v1/checkpoints", json_pack("{s:s}", "verify", cli->operand[0]));
}

enum cli_exit cli_checkpoint_restore(struct cli *cli)
{
    return order(cli, "/v1/checkpoints", json_pack("{s:s}", "restore", cli->operand[0]));
}

static void list_print(const json_t *answer)
{
    struct cli_table table = {.columns = 6, .title = {"CHECKPOINT", "STATE", "SEQ", "BYTES", "DIGEST", "MADE"}};
    size_t i;
    json_t *checkpoint;
    json_array_foreach(json_object_get(answer, "checkpoints"), i, checkpoint)
    {
        char(*cell)[CLI_CELL] = cli_table_row(&table);
        if (!cell)
            break;
        cli_cell_text(cell[0], json_object_get(checkpoint, "name"));
        cli_cell_text(cell[1], json_object_get(checkpoint, "state"));
        cli_cell_number(cell[2], json_object_get(checkpoint, "seq"));
        cli_cell_number(cell[3], json_object_get(checkpoint, "size"));
        cli_cell_text(cell[4], json_object_get(checkpoint, "digest"));
        cli_cell_text(cell[5], json_object_get(checkpoint, "made"));
    }
    cli_table_print(&table);
}

enum cli_exit cli_checkpoint_list(struct cli *cli)
{
    const char *sockets[LS_MEMBERS_MAX];
    uint16_t of[LS_MEMBERS_MAX];
    char why[256] = "";
    uint32_t answered = 0, n = cli_sockets(cli, sockets, of);
    if (n == 0)
        return CLI_USAGE;
    for (uint32_t i = 0; i < n; i++) {
        long code;
        json_t *answer = ls_ask_get(sockets[i], "/v1/checkpoints", cli->timeout_ns, &code, why, sizeof(why));
        if (!answer)
            continue;
        if (cli->json) {
            (void)json_object_set_new(answer, "node", json_integer(of[i]));
            cli_print_json(answer);
        } else {
            if (of[i])
                printf("%sNode %u\n", answered ? "\n" : "", of[i]);
            list_print(answer);
            json_decref(answer);
        }
        answered++;
    }
    if (answered)
        return CLI_OK;
    return cli_http_failed(cli, sockets[n - 1], 0, 0, why);
}

/* ---- the end in good order ---- */

/* False: nobody answers there (any more). */
static bool answers(const struct cli *cli, const char *socket, bool *leads)
{
    char why[256];
    long code;
    json_t *status = ls_ask_get(socket, "/v1/status", cli->timeout_ns, &code, why, sizeof(why));
    const char *role = text_of(json_object_get(status, "dataplane"), "role");
    *leads = strcmp(role, "sequencer") == 0 || strcmp(role, "opening") == 0;
    json_decref(status);
    return status != NULL;
}

/* Until its process has ended, and its dataplane with it. */
static enum cli_exit stop_one(const struct cli *cli, const char *socket, const char *name)
{
    char why[256];
    long code;
    int number;
    bool leads;
    json_t *answer =
        ls_ask(socket, "POST", "/v1/stop", json_object(), cli->timeout_ns, &code, &number, why, sizeof(why));
    if (!answer) {
        cli_say(cli, "%s: %s", name, why);
        return CLI_UNREACHABLE;
    }
    json_decref(answer);
    for (uint64_t waited = 0; waited < STOP_NS; waited += PROGRESS_NS) {
        nanosleep(&(struct timespec){.tv_nsec = PROGRESS_NS}, NULL);
        if (!answers(cli, socket, &leads)) {
            if (!cli->json)
                printf("%s: stopped\n", name);
            return CLI_OK;
        }
    }
    cli_say(cli, "%s: still there after %llu s: look at its log", name, STOP_NS / 1000000000);
    return CLI_UNKNOWN;
}

enum cli_exit cli_cluster_stop(struct cli *cli)
{
    const char *sockets[LS_MEMBERS_MAX];
    uint16_t of[LS_MEMBERS_MAX];
    bool leads[LS_MEMBERS_MAX], there[LS_MEMBERS_MAX];
    enum cli_exit worst = CLI_OK;
    uint32_t n = cli_sockets(cli, sockets, of), stopped = 0;
    char name[300];
    if (n == 0)
        return CLI_USAGE;
    for (uint32_t i = 0; i < n; i++)
        there[i] = answers(cli, sockets[i], &leads[i]);
    for (uint32_t round = 0; round < 2; round++) { /* the sequencer last: nobody has to take over from it */
        for (uint32_t i = 0; i < n; i++) {
            if (!there[i] || leads[i] != (round == 1))
                continue;
            if (of[i])
                snprintf(name, sizeof(name), "node %u", of[i]);
            else
                snprintf(name, sizeof(name), "%.290s", sockets[i]);
            enum cli_exit code = stop_one(cli, sockets[i], name);
            worst = code != CLI_OK ? code : worst;
            stopped += code == CLI_OK;
        }
    }
    for (uint32_t i = 0; i < n; i++)
        if (!there[i])
            cli_say(cli, "%s does not answer here: on its own host, run lockstep cluster stop", sockets[i]);
    if (cli->json)
        cli_print_json(json_pack("{s:i}", "stopped", (int)stopped));
    return stopped == 0 && worst == CLI_OK ? CLI_UNREACHABLE : worst;
}

/* ---- the last resort ---- */

static const char recover_text[] =
    "A cluster whose majority lost its memory at once stops: whatever was acknowledged last may be gone, and nobody "
    "may\n"
    "guess. Recovering begins a new generation of it from one node's checkpoint; everything ordered after that\n"
    "checkpoint is lost for ever, also what clients were told was done.\n"
    "\n"
    "  1. On every node: lockstep checkpoint list, and lockstep checkpoint verify NAME of the newest.\n"
    "  2. Choose the ONE node with the newest good one. Stop lockstep-ctrl (SIGTERM) on all nodes.\n"
    "  3. On that node: lockstep cluster recover --node N --accept-loss, which is lockstep-ctrl recover: without\n"
    "     --accept-loss that says what there is; --checkpoint FILE chooses another file, --empty none at all.\n"
    "  4. Say the new generation in the cluster file of all nodes and clients (cluster: generation: 2), and start\n"
    "     lockstep-ctrl there. Sessions live in the checkpoint: what it holds is not executed again.\n"
    "  5. On each other node: remove everything in its data_dir, lockstep-ctrl join, start it; then lockstep member "
    "add.\n"
    "     Until it is wiped its links are refused: it is of an older generation.\n";

enum cli_exit cli_cluster_recover(struct cli *cli)
{
    char node[16];
    if (!cli->accept_loss) {
        fputs(recover_text, stdout);
        cli_say(cli, "nothing was done: --accept-loss is needed");
        return CLI_REFUSED;
    }
    if (!cli->node) {
        cli_say(cli, "--node is needed: the one node, this one, that the cluster begins again from");
        return CLI_USAGE;
    }
    enum cli_exit rc = cli_config(cli);
    if (rc)
        return rc;
    if (isatty(STDIN_FILENO)) {
        char typed[64] = "";
        fputs(recover_text, stdout);
        printf("\nType the cluster's name, %s, to go on: ", cli->config.name);
        fflush(stdout);
        if (!fgets(typed, sizeof(typed), stdin))
            typed[0] = 0;
        typed[strcspn(typed, "\n")] = 0;
        if (strcmp(typed, cli->config.name) != 0) {
            cli_say(cli, "nothing was done");
            return CLI_REFUSED;
        }
    }
    snprintf(node, sizeof(node), "%u", cli->node);
    execlp("lockstep-ctrl", "lockstep-ctrl", "recover", "--config", cli->config_path, "--node", node, "--accept-loss",
           (char *)NULL);
    cli_say(cli, "lockstep-ctrl: %s: nothing was done", strerror(errno));
    return CLI_LOCAL;
}
