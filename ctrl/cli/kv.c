/* SPDX-License-Identifier: BSD-3-Clause */
/* lockstep kv get|put|del|cas|incr|append|scan: one operation each, through the client library. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lockstep/counters.h>

#include "cli.h"

static struct ls_kv_bytes text_bytes(const char *text)
{
    return (struct ls_kv_bytes){text, strlen(text)};
}

/* ---- mutations ---- */

/* The whole of a file, at most one byte more than a value may have; the caller frees the bytes. */
static enum cli_exit read_file(struct cli *cli, struct ls_kv_bytes *value)
{
    bool standard = strcmp(cli->file, "-") == 0;
    FILE *in = standard ? stdin : fopen(cli->file, "rb");
    char *bytes = malloc(LS_KV_VALUE_MAX + 1);
    if (!in || !bytes) {
        cli_say(cli, "%s: %s", cli->file, strerror(errno));
        free(bytes);
        if (in && !standard)
            fclose(in);
        return CLI_LOCAL;
    }
    size_t length = fread(bytes, 1, LS_KV_VALUE_MAX + 1, in);
    bool bad = ferror(in) != 0;
    if (!standard)
        fclose(in);
    if (bad) {
        cli_say(cli, "%s cannot be read", cli->file);
        free(bytes);
        return CLI_LOCAL;
    }
    *value = (struct ls_kv_bytes){bytes, length};
    return CLI_OK;
}

/* The value is the second word, or --file. */
static enum cli_exit value_take(struct cli *cli, struct ls_kv_bytes *value)
{
    if ((cli->operands == 2) == (cli->file != NULL)) {
        cli_say(cli, "give the value as a word or with --file, not both and not neither");
        return CLI_USAGE;
    }
    if (cli->file)
        return read_file(cli, value);
    *value = text_bytes(cli->operand[1]);
    return CLI_OK;
}

static void print_outcome(const struct cli *cli, const struct ls_reply *reply, const struct ls_kv_result *result,
                          bool number)
{
    if (cli->json) {
        json_t *json = json_pack("{s:s, s:I, s:I, s:s, s:i}", "status", ls_status_name(reply->status), "seq",
                                 (json_int_t)reply->seq, "version", (json_int_t)result->version, "durability",
                                 ls_durability_name(reply->durability), "retries", reply->retries);
        if (number && reply->status == LS_STATUS_OK)
            (void)json_object_set_new(json, "number", json_integer((json_int_t)result->number));
        cli_print_json(json);
    } else if (reply->status == LS_STATUS_OK && number) {
        printf("%lld\n", (long long)result->number);
    } else if (reply->status == LS_STATUS_OK) {
        printf("ok, seq %llu\n", (unsigned long long)reply->seq);
    } else if (reply->status == LS_STATUS_CONDITION && result->version) {
        printf("version is %llu\n", (unsigned long long)result->version);
    } else if (reply->status == LS_STATUS_CONDITION) {
        printf("there is no such key\n");
    }
}

/* Sends what a builder has made (`length`: its result). `number`: the outcome is a number. */
static enum cli_exit mutate(struct cli *cli, struct ls_client *client, const void *operation, int length, bool number)
{
    struct ls_reply reply = {.status = LS_STATUS_OK};
    struct ls_kv_result result = {.version = 0};
    enum cli_exit code;
    int rc = length < 0 ? length : ls_client_call(client, operation, (uint32_t)length, 0, &reply);
    if (rc == 0 && reply.length > 0)
        rc = ls_kv_parse_result(reply.bytes, reply.length, &result);
    if (rc) {
        code = cli_no_answer(cli, client, rc, reply.status);
        /* it went out: only the answer is missing */
        if (code == CLI_UNREACHABLE) {
            fputs("  it may have been done: look before repeating it\n", stderr);
            code = CLI_UNKNOWN;
        }
    } else {
        print_outcome(cli, &reply, &result, number);
        code = cli_answer(cli, client, reply.status);
        if (code == CLI_OK)
            code = cli_durability_check(cli, reply.durability);
    }
    ls_client_close(client);
    return code;
}

static void *op_memory(struct cli *cli)
{
    void *memory = malloc(LS_KV_OP_MAX);
    if (!memory)
        cli_say(cli, "out of memory");
    return memory;
}

typedef int (*build_value)(const struct cli *cli, void *to, struct ls_kv_bytes key, struct ls_kv_bytes value);

static enum cli_exit mutate_value(struct cli *cli, build_value build, bool number)
{
    struct ls_client *client;
    struct ls_kv_bytes value;
    enum cli_exit rc = value_take(cli, &value);
    if (rc != CLI_OK)
        return rc;
    void *memory = op_memory(cli);
    rc = memory ? cli_connect(cli, &client) : CLI_LOCAL;
    if (rc == CLI_OK)
        rc = mutate(cli, client, memory, build(cli, memory, text_bytes(cli->operand[0]), value), number);
    free(memory);
    if (cli->file)
        free((void *)(uintptr_t)value.bytes);
    return rc;
}

static int build_put(const struct cli *cli, void *to, struct ls_kv_bytes key, struct ls_kv_bytes value)
{
    return ls_kv_build_put(to, LS_KV_OP_MAX, key, value, cli->ttl_ns);
}

static int build_cas(const struct cli *cli, void *to, struct ls_kv_bytes key, struct ls_kv_bytes value)
{
    return ls_kv_build_cas(to, LS_KV_OP_MAX, key, value, cli->version, cli->ttl_ns);
}

static int build_append(const struct cli *cli, void *to, struct ls_kv_bytes key, struct ls_kv_bytes value)
{
    return ls_kv_build_append(to, LS_KV_OP_MAX, key, value);
}

enum cli_exit cli_kv_put(struct cli *cli)
{
    return mutate_value(cli, build_put, false);
}

enum cli_exit cli_kv_append(struct cli *cli)
{
    return mutate_value(cli, build_append, true);
}

enum cli_exit cli_kv_cas(struct cli *cli)
{
    if (!cli->has_version) {
        cli_say(cli, "--version is missing: the version that the key must have (kv get --json tells it), or 0");
        return CLI_USAGE;
    }
    return mutate_value(cli, build_cas, false);
}

enum cli_exit cli_kv_del(struct cli *cli)
{
    uint8_t operation[sizeof(struct ls_kv_op) + LS_KV_KEY_MAX];
    struct ls_client *client;
    struct ls_kv_bytes key = text_bytes(cli->operand[0]);
    enum cli_exit rc = cli_connect(cli, &client);
    if (rc)
        return rc;
    int length = cli->has_version ? ls_kv_build_cas_delete(operation, sizeof(operation), key, cli->version)
                                  : ls_kv_build_delete(operation, sizeof(operation), key);
    return mutate(cli, client, operation, length, false);
}

enum cli_exit cli_kv_incr(struct cli *cli)
{
    uint8_t operation[sizeof(struct ls_kv_op) + LS_KV_KEY_MAX];
    struct ls_client *client;
    int64_t delta = cli->has_by ? cli->by : 1;
    enum cli_exit rc = cli_connect(cli, &client);
    if (rc)
        return rc;
    int length = ls_kv_build_incr(operation, sizeof(operation), text_bytes(cli->operand[0]), delta);
    return mutate(cli, client, operation, length, true);
}

/* ---- reads ---- */

static void print_got(const struct cli *cli, const struct ls_kv_got *got)
{
    const struct ls_kv_bytes value = {got->value, got->length};
    if (cli->json) {
        json_t *json = json_pack("{s:s, s:I}", "status", ls_status_name(got->status), "seq", (json_int_t)got->seq);
        if (got->status == LS_STATUS_OK) {
            (void)json_object_set_new(json, "version", json_integer((json_int_t)got->version));
            (void)json_object_set_new(json, "value", cli_bytes_json(value));
            if (got->expiry)
                (void)json_object_set_new(json, "expiry", json_integer((json_int_t)got->expiry));
        }
        if (cli->consistency == LS_READ_STALE)
            (void)json_object_set_new(json, "age_ns",
                                      got->age == UINT64_MAX ? json_null() : json_integer((json_int_t)got->age));
        cli_print_json(json);
    } else if (got->status == LS_STATUS_OK) {
        fwrite(value.bytes, 1, value.length, stdout);
        if (!cli->raw)
            putchar('\n');
    }
}

enum cli_exit cli_kv_get(struct cli *cli)
{
    struct ls_client *client;
    struct ls_kv_got got;
    const struct ls_kv_how how = {.consistency = cli->consistency, .least = cli->least};
    enum cli_exit code = cli_connect(cli, &client);
    if (code)
        return code;
    int rc = ls_kv_get(client, text_bytes(cli->operand[0]), &how, &got);
    if (rc) {
        code = cli_no_answer(cli, client, rc, LS_STATUS_OK);
    } else {
        print_got(cli, &got);
        free(got.value);
        code = cli_answer(cli, client, got.status);
    }
    ls_client_close(client);
    return code;
}

struct scan {
    const struct cli *cli;
    struct ls_client *large; /* pulls values that no page holds; NULL until there is one */
    enum cli_exit code;
    uint64_t count;
};

static void print_pair(const struct cli *cli, const struct ls_kv_item *item, struct ls_kv_bytes value, uint64_t seq)
{
    if (cli->json) {
        json_t *json = json_object();
        (void)json_object_set_new(json, "key", cli_bytes_json(item->key));
        if (!cli->keys_only)
            (void)json_object_set_new(json, "value", cli_bytes_json(value));
        (void)json_object_set_new(json, "version", json_integer((json_int_t)item->version));
        (void)json_object_set_new(json, "length", json_integer(item->total));
        (void)json_object_set_new(json, "seq", json_integer((json_int_t)seq));
        cli_print_json(json);
        return;
    }
    cli_print_escaped(stdout, item->key);
    if (!cli->keys_only) {
        putchar('\t');
        cli_print_escaped(stdout, value);
    }
    putchar('\n');
}

static int print_item(void *user, const struct ls_kv_item *item, uint64_t seq)
{
    struct scan *scan = user;
    const struct ls_kv_how how = {.consistency = scan->cli->consistency, .least = scan->cli->least};
    scan->count++;
    if (item->status != LS_STATUS_LARGE_VALUE) {
        print_pair(scan->cli, item, item->value, seq);
    } else {
        struct ls_kv_got got;
        int rc = ls_kv_get(scan->large, item->key, &how, &got);
        if (rc)
            return rc;
        if (got.status == LS_STATUS_OK)
            print_pair(scan->cli, item, (struct ls_kv_bytes){got.value, got.length}, got.seq);
        else if (got.status != LS_STATUS_NOT_FOUND) /* deleted meanwhile is no error */
            cli_say(scan->cli, "a value was left out: %s", ls_status_text(got.status));
        free(got.value);
    }
    return ferror(stdout) ? -EIO : 0;
}

/* The first key behind all that begin with `prefix`; length 0: there is none. */
static struct ls_kv_bytes prefix_end(struct ls_kv_bytes prefix, uint8_t *memory)
{
    if (prefix.length > LS_KV_KEY_MAX)
        return (struct ls_kv_bytes){memory, 0};
    memcpy(memory, prefix.bytes, prefix.length);
    size_t length = prefix.length;
    while (length > 0 && memory[length - 1] == 0xff)
        length--;
    if (length > 0)
        memory[length - 1]++;
    return (struct ls_kv_bytes){memory, length};
}

enum cli_exit cli_kv_scan(struct cli *cli)
{
    struct scan scan = {.cli = cli};
    struct ls_client *client;
    uint8_t memory[LS_KV_KEY_MAX];
    struct ls_kv_bytes first = text_bytes(cli->from ? cli->from : "");
    struct ls_kv_bytes end = text_bytes(cli->to ? cli->to : "");
    uint16_t status;
    if (cli->operands == 1) {
        if (cli->from || cli->to) {
            cli_say(cli, "give a prefix, or --from and --to, not both");
            return CLI_USAGE;
        }
        first = text_bytes(cli->operand[0]);
        end = prefix_end(first, memory);
    }
    enum cli_exit code = cli_connect(cli, &client);
    if (code)
        return code;
    code = cli_connect(cli, &scan.large); /* within a visit the scanning client may not be used */
    if (code) {
        ls_client_close(client);
        return code;
    }
    const struct ls_kv_how how = {.consistency = cli->consistency, .least = cli->least};
    int rc = ls_kv_scan(client, first, end, cli->limit, cli->keys_only ? LS_KV_SCAN_KEYS_ONLY : 0, &how, print_item,
                        &scan, &status);
    if (rc == -EIO)
        code = CLI_LOCAL;
    else
        code = rc ? cli_no_answer(cli, client, rc, LS_STATUS_OK) : cli_answer(cli, client, status);
    ls_client_close(scan.large);
    ls_client_close(client);
    return code;
}
