/* SPDX-License-Identifier: BSD-3-Clause */
/* lockstep log tail|dump: the committed entries that a node still holds, one line each, asked for page by page. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>

#include "cli.h"

#define TAIL_LINES 10
#define TAIL_NS    (100 * 1000 * 1000)

/* ---- entries ---- */

static const char *kv_name(uint8_t code)
{
    switch (code) {
    case LS_KV_PUT:
        return "put";
    case LS_KV_DELETE:
        return "del";
    case LS_KV_CAS:
        return "cas";
    case LS_KV_INCR:
        return "incr";
    case LS_KV_APPEND:
        return "append";
    case LS_KV_BATCH:
        return "batch";
    case LS_KV_CAS_DELETE:
        return "cas-del";
    default:
        return NULL;
    }
}

/* As a key-value operation, where it is one in form. */
static bool print_kv(const uint8_t *bytes, size_t length)
{
    struct ls_kv_op op;
    if (length < sizeof(op))
        return false;
    memcpy(&op, bytes, sizeof(op));
    const char *name = kv_name(op.code);
    if (!name || op.zero != 0)
        return false;
    if (op.code == LS_KV_BATCH) {
        printf("  batch of %u", op.count);
        return true;
    }
    if (op.key_length < 1 || op.key_length > LS_KV_KEY_MAX ||
        length != sizeof(op) + op.key_length + (size_t)op.value_length)
        return false;
    printf("  %s ", name);
    cli_print_escaped(stdout, (struct ls_kv_bytes){bytes + sizeof(op), op.key_length});
    if (op.code == LS_KV_INCR)
        printf(" %+" PRId64, (int64_t)op.argument);
    else if (op.code == LS_KV_CAS || op.code == LS_KV_CAS_DELETE)
        printf(" at version %" PRIu64, op.argument);
    if (op.value_length > 0)
        printf(" = %u bytes", op.value_length);
    return true;
}

static void print_operation(const json_t *entry)
{
    const char *base64 = json_string_value(json_object_get(entry, "operation"));
    const char *kind = json_string_value(json_object_get(entry, "kind"));
    size_t length = (size_t)json_integer_value(json_object_get(entry, "length"));
    size_t encoded = base64 ? strlen(base64) : 0;
    if (length == 0)
        return;
    uint8_t *bytes = malloc(encoded + 1);
    bool whole = bytes && encoded / 4 * 3 >= length && encoded % 4 == 0 &&
                 EVP_DecodeBlock(bytes, (const unsigned char *)base64, (int)encoded) >= 0;
    if (!whole || !kind || strcmp(kind, "operation") != 0 || !print_kv(bytes, length))
        printf("  %zu bytes", length);
    free(bytes);
}

static void print_entry(const struct cli *cli, json_t *entry)
{
    if (cli->json) {
        cli_print_json(json_incref(entry));
        return;
    }
    const char *kind = json_string_value(json_object_get(entry, "kind"));
    json_int_t session = json_integer_value(json_object_get(entry, "session"));
    printf("%10" JSON_INTEGER_FORMAT "  %12.6f  %-9s", json_integer_value(json_object_get(entry, "seq")),
           (double)json_integer_value(json_object_get(entry, "time")) / 1e9, kind ? kind : "?");
    if (session) {
        const char *client = json_string_value(json_object_get(entry, "client"));
        printf("  %" JSON_INTEGER_FORMAT "/%" JSON_INTEGER_FORMAT " %s", session,
               json_integer_value(json_object_get(entry, "number")), client ? client : "");
    }
    print_operation(entry);
    putchar('\n');
}

/* ---- pages ---- */

struct reader {
    struct cli *cli;
    const char *socket;
    uint64_t next;   /* seq wanted next; 0: the oldest */
    uint64_t oldest; /* as the last answer said; and so commit */
    uint64_t commit;
};

/* The socket of one node: that of --node, else the first that answers. */
static enum cli_exit reader_open(struct cli *cli, struct reader *reader)
{
    const char *sockets[LS_MEMBERS_MAX];
    uint16_t of[LS_MEMBERS_MAX];
    uint32_t n = cli_sockets(cli, sockets, of);
    char why[256] = "";
    *reader = (struct reader){.cli = cli};
    if (n == 0)
        return CLI_USAGE;
    for (uint32_t i = 0; i < n && !reader->socket; i++) {
        long code;
        json_t *page = ls_ask_get(sockets[i], "/v1/log?seq=0&bytes=0", cli->timeout_ns, &code, why, sizeof(why));
        if (page) {
            reader->socket = sockets[i];
            reader->oldest = (uint64_t)json_integer_value(json_object_get(page, "oldest_seq"));
            reader->commit = (uint64_t)json_integer_value(json_object_get(page, "commit_seq"));
        } else {
            cli_say(cli, "%s: %s", sockets[i], why);
        }
        json_decref(page);
    }
    return reader->socket ? CLI_OK : CLI_UNREACHABLE;
}

/* Prints the next page, up to seq `to`. */
static enum cli_exit reader_page(struct reader *reader, uint64_t to)
{
    char path[128];
    char why[256];
    long code;
    size_t i;
    json_t *entry;
    snprintf(path, sizeof(path), "/v1/log?seq=%" PRIu64 "&bytes=49152", reader->next);
    json_t *page = ls_ask_get(reader->socket, path, reader->cli->timeout_ns, &code, why, sizeof(why));
    if (!page) {
        cli_say(reader->cli, "%s: %s", reader->socket, why);
        return code == 0 ? CLI_UNREACHABLE : CLI_REFUSED;
    }
    reader->oldest = (uint64_t)json_integer_value(json_object_get(page, "oldest_seq"));
    reader->commit = (uint64_t)json_integer_value(json_object_get(page, "commit_seq"));
    if (reader->next != 0 && reader->oldest > reader->next)
        cli_say(reader->cli, "entries %" PRIu64 " to %" PRIu64 " are no longer held", reader->next,
                reader->oldest - 1 < to ? reader->oldest - 1 : to);
    json_array_foreach(json_object_get(page, "entries"), i, entry)
    {
        if ((uint64_t)json_integer_value(json_object_get(entry, "seq")) <= to)
            print_entry(reader->cli, entry);
    }
    uint64_t next = (uint64_t)json_integer_value(json_object_get(page, "next_seq"));
    json_decref(page);
    if (next > reader->next)
        reader->next = next;
    return ferror(stdout) ? CLI_LOCAL : CLI_OK;
}

static bool seq_take(const struct cli *cli, const char *name, const char *text, uint64_t missing, uint64_t *seq)
{
    *seq = missing;
    if (!text || cli_number(text, seq))
        return true;
    cli_say(cli, "--%s: \"%s\" is not allowed: a seq, as in lockstep status", name, text);
    return false;
}

enum cli_exit cli_log_dump(struct cli *cli)
{
    struct reader reader;
    uint64_t from, to;
    if (!seq_take(cli, "from", cli->from, 0, &from) || !seq_take(cli, "to", cli->to, UINT64_MAX, &to))
        return CLI_USAGE;
    if (from > to) {
        cli_say(cli, "--from %" PRIu64 " is behind --to %" PRIu64, from, to);
        return CLI_USAGE;
    }
    enum cli_exit code = reader_open(cli, &reader);
    if (code)
        return code;
    if (from > reader.commit || (cli->to && to < reader.oldest)) {
        cli_say(cli, "no such entries: this node holds %" PRIu64 " to %" PRIu64, reader.oldest, reader.commit);
        return CLI_NO;
    }
    if (to > reader.commit)
        to = reader.commit; /* as of now: a busy log has no end */
    reader.next = from;
    do {
        uint64_t before = reader.next;
        code = reader_page(&reader, to);
        if (reader.next == before)
            break;
    } while (code == CLI_OK && reader.next <= to);
    return code;
}

/* Another node, or the same one again, within the time that a question may take. */
static enum cli_exit reader_reopen(struct cli *cli, struct reader *reader)
{
    uint64_t next = reader->next, waited = 0;
    enum cli_exit code;
    do {
        nanosleep(&(struct timespec){.tv_nsec = TAIL_NS}, NULL);
        waited += TAIL_NS;
        code = reader_open(cli, reader);
    } while (code == CLI_UNREACHABLE && waited < cli->timeout_ns);
    reader->next = next;
    return code;
}

/* The log as it goes on; where its node does not answer, at another one that does, from the next seq on. */
static enum cli_exit follow(struct cli *cli, struct reader *reader)
{
    enum cli_exit code = CLI_OK;
    while (code == CLI_OK) {
        uint64_t before = reader->next;
        code = reader_page(reader, UINT64_MAX);
        fflush(stdout);
        if (code == CLI_UNREACHABLE || code == CLI_REFUSED)
            code = reader_reopen(cli, reader);
        else if (code == CLI_OK && reader->next == before)
            nanosleep(&(struct timespec){.tv_nsec = TAIL_NS}, NULL);
    }
    return code;
}

enum cli_exit cli_log_tail(struct cli *cli)
{
    struct reader reader;
    uint64_t from, lines = cli->lines ? cli->lines : TAIL_LINES;
    if (!seq_take(cli, "from", cli->from, 0, &from))
        return CLI_USAGE;
    enum cli_exit code = reader_open(cli, &reader);
    if (code)
        return code;
    if (from > reader.commit + 1) {
        cli_say(cli, "no entry %" PRIu64 " yet: this node holds %" PRIu64 " to %" PRIu64, from, reader.oldest,
                reader.commit);
        return CLI_NO;
    }
    reader.next = reader.commit > lines ? reader.commit - lines + 1 : 1;
    if (reader.next < reader.oldest)
        reader.next = reader.oldest;
    if (cli->from)
        reader.next = from > 0 ? from : reader.oldest;
    return follow(cli, &reader);
}
