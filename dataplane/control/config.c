/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads the cluster file into libyaml's document tree, whose nodes know their lines, then takes it apart by tables of
 * keys: one row a key, with its kind, range and place in the result. Called once at start, on the main thread.
 * The tree is walked by the tables and never by its own shape, so aliases and deep nesting cost nothing.
 */
#include "config.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define US  ((uint64_t)1000)
#define MS  (1000 * US)
#define SEC (1000 * MS)

struct reader {
    const char *file;
    char *error;
    yaml_document_t document;
    struct ls_config *config;
    uint32_t line_first_sequencer, line_limits, line_timing; /* for checks between fields; 0: not in the file */
    uint32_t line_nodes;
};

enum kind { NUMBER, SIZE, TIME, TEXT, WORD, HEX, ADDRESS, DEVICE, PATH, MAP, LIST };

/* One key of a mapping. */
struct field {
    const char *key;
    enum kind kind;
    size_t offset; /* of the value in the structure that the table describes */
    size_t size;   /* bytes of it */
    uint64_t min, max;
    bool required;
    const char *const *words; /* WORD: allowed ones, NULL at the end; the value is the index */
    const struct field *map;  /* MAP: its keys, into the same structure */
    int (*list)(struct reader *reader, const yaml_node_t *node); /* LIST */
    size_t line; /* offset in struct reader of where to note the line; 0: nowhere */
};

#define AT(type, member) .offset = offsetof(struct type, member), .size = sizeof(((struct type *)0)->member)
#define CONFIG(member)   AT(ls_config, member)
#define NODE(member)     AT(ls_config_node, member)
#define LINE(member)     .line = offsetof(struct reader, member)

static const char *const words_machine[] = {"kv", "echo", NULL};
static const char *const words_idle[] = {"yield", "poll", "sleep", NULL};
static const char *const words_huge[] = {"auto", "no", "yes", NULL};
static const char *const words_bool[] = {"no", "yes", "false", "true", NULL}; /* the index's lowest bit is the value */
static const char *const words_role[] = {"", "voter", "learner", NULL}; /* enum ls_member_role; "" is never given */

static int read_nodes(struct reader *reader, const yaml_node_t *node);

static const struct field cluster_fields[] = {
    {.key = "name", .kind = TEXT, CONFIG(name), .required = true},
    {.key = "id", .kind = HEX, CONFIG(cluster), .required = true},
    {.key = "generation", .kind = NUMBER, CONFIG(generation), .min = 1, .max = UINT32_MAX},
    {.key = NULL},
};
static const struct field limits_fields[] = {
    {.key = "keys", .kind = NUMBER, CONFIG(keys), .min = 1, .max = 1ull << 31},
    {.key = "bytes", .kind = SIZE, CONFIG(bytes), .min = 64 * KIB, .max = 1024 * GIB},
    {.key = "log_size", .kind = SIZE, CONFIG(log_size), .min = LS_LOG_SIZE_MIN, .max = 256 * GIB},
    {.key = "sessions", .kind = NUMBER, CONFIG(sessions), .min = 1, .max = LS_SESSIONS_MAX},
    {.key = "window", .kind = NUMBER, CONFIG(window), .min = 1, .max = LS_WINDOW_MAX},
    {.key = "session_idle", .kind = TIME, CONFIG(session_idle_ns), .min = 100 * MS, .max = 7 * 86400 * SEC},
    {.key = "op_max", .kind = SIZE, CONFIG(op_max), .min = LS_OP_SMALL_MAX, .max = LS_OP_MAX},
    {.key = NULL},
};
static const struct field timing_fields[] = {
    {.key = "heartbeat", .kind = TIME, CONFIG(heartbeat_ns), .min = 50 * US, .max = SEC},
    {.key = "suspend", .kind = TIME, CONFIG(suspend_ns), .min = MS, .max = 60 * SEC},
    {.key = "tick", .kind = TIME, CONFIG(tick_ns), .min = MS, .max = SEC},
    {.key = "reorder_min", .kind = TIME, CONFIG(reorder_min_ns), .min = US, .max = SEC},
    {.key = "reorder_max", .kind = TIME, CONFIG(reorder_max_ns), .min = US, .max = SEC},
    {.key = "question", .kind = TIME, CONFIG(question_ns), .min = 100 * US, .max = SEC},
    {.key = "pull_idle", .kind = TIME, CONFIG(pull_idle_ns), .min = 10 * MS, .max = 60 * SEC},
    {.key = "inflight_max", .kind = SIZE, CONFIG(inflight_max), .min = 64 * KIB, .max = GIB},
    {.key = NULL},
};
static const struct field config_fields[] = {
    {.key = "cluster", .kind = MAP, .map = cluster_fields, .required = true},
    {.key = "nodes", .kind = LIST, .list = read_nodes, .required = true, LINE(line_nodes)},
    {.key = "first_sequencer",
     .kind = NUMBER,
     CONFIG(first_sequencer),
     .min = 1,
     .max = LS_NODE_ID_MAX,
     LINE(line_first_sequencer)},
    {.key = "group", .kind = NUMBER, CONFIG(group), .min = 0, .max = UINT16_MAX},
    {.key = "port", .kind = NUMBER, CONFIG(port), .min = 1, .max = UINT16_MAX},
    {.key = "machine", .kind = WORD, CONFIG(machine), .words = words_machine},
    {.key = "limits", .kind = MAP, .map = limits_fields, LINE(line_limits)},
    {.key = "timing", .kind = MAP, .map = timing_fields, LINE(line_timing)},
    {.key = "idle", .kind = WORD, CONFIG(idle), .words = words_idle},
    {.key = "hugepages", .kind = WORD, CONFIG(hugepages), .words = words_huge},
    {.key = "memory", .kind = SIZE, CONFIG(memory), .min = 32 * MIB, .max = 1024 * GIB},
    {.key = "faults_allowed", .kind = WORD, CONFIG(faults_allowed), .words = words_bool},
    {.key = NULL},
};

static const struct field lcores_fields[] = {
    {.key = "net", .kind = NUMBER, NODE(lcore_net), .min = 0, .max = LS_CONFIG_LCORE_MAX, .required = true},
    {.key = "apply", .kind = NUMBER, NODE(lcore_apply), .min = 0, .max = LS_CONFIG_LCORE_MAX, .required = true},
    {.key = NULL},
};
static const struct field node_fields[] = {
    {.key = "id", .kind = NUMBER, NODE(id), .min = 1, .max = LS_NODE_ID_MAX, .required = true},
    {.key = "ip", .kind = ADDRESS, NODE(ip), .required = true},
    {.key = "prefix", .kind = NUMBER, NODE(prefix), .min = 8, .max = 31, .required = true},
    {.key = "gateway", .kind = ADDRESS, NODE(gateway)},
    {.key = "device", .kind = DEVICE, NODE(device), .required = true},
    {.key = "lcores", .kind = MAP, .map = lcores_fields},
    {.key = "ctrl_socket", .kind = PATH, NODE(ctrl_socket), .required = true},
    {.key = "data_dir", .kind = PATH, NODE(data_dir), .required = true},
    {.key = "role", .kind = WORD, NODE(role), .words = words_role},
    {.key = NULL},
};

static int fail(struct reader *reader, uint32_t line, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int fail(struct reader *reader, uint32_t line, const char *format, ...)
{
    va_list list;
    int used = line != 0 ? snprintf(reader->error, LS_CONFIG_ERROR_MAX, "%s:%u: ", reader->file, line)
                         : snprintf(reader->error, LS_CONFIG_ERROR_MAX, "%s: ", reader->file);

    if (used < 0 || used >= LS_CONFIG_ERROR_MAX)
        return -EINVAL;
    va_start(list, format);
    vsnprintf(reader->error + used, (size_t)(LS_CONFIG_ERROR_MAX - used), format, list);
    va_end(list);
    return -EINVAL;
}

static uint32_t line_of(const yaml_node_t *node)
{
    return (uint32_t)node->start_mark.line + 1;
}

static const char *node_kind(const yaml_node_t *node)
{
    return node->type == YAML_MAPPING_NODE ? "a mapping" : node->type == YAML_SEQUENCE_NODE ? "a list" : "a value";
}

/* What stands in a message for a value of the file: printable, and not endlessly long. */
static const char *shown(const char *value, char text[64])
{
    size_t n = 0;

    for (; value[n] != '\0' && n < 60; n++)
        text[n] = isprint((unsigned char)value[n]) ? value[n] : '?';
    if (value[n] != '\0') {
        memcpy(text + n, "...", 3);
        n += 3;
    }
    text[n] = '\0';
    return text;
}

static void format_size(uint64_t bytes, char text[32])
{
    if (bytes >= GIB && bytes % GIB == 0)
        snprintf(text, 32, "%" PRIu64 "G", bytes / GIB);
    else if (bytes >= MIB && bytes % MIB == 0)
        snprintf(text, 32, "%" PRIu64 "M", bytes / MIB);
    else if (bytes >= KIB && bytes % KIB == 0)
        snprintf(text, 32, "%" PRIu64 "K", bytes / KIB);
    else
        snprintf(text, 32, "%" PRIu64, bytes);
}

static void format_time(uint64_t ns, char text[32])
{
    if (ns % SEC == 0)
        snprintf(text, 32, "%" PRIu64 "s", ns / SEC);
    else if (ns % MS == 0)
        snprintf(text, 32, "%" PRIu64 "ms", ns / MS);
    else if (ns % US == 0)
        snprintf(text, 32, "%" PRIu64 "us", ns / US);
    else
        snprintf(text, 32, "%" PRIu64 "ns", ns);
}

struct unit {
    const char *name;
    uint64_t factor;
};
static const struct unit units_none[] = {{"", 1}, {NULL, 0}};
static const struct unit units_size[] = {{"", 1},      {"K", KIB},   {"M", MIB},   {"G", GIB},
                                         {"KiB", KIB}, {"MiB", MIB}, {"GiB", GIB}, {NULL, 0}};
static const struct unit units_time[] = {{"ns", 1},       {"us", US},        {"ms", MS}, {"s", SEC},
                                         {"m", 60 * SEC}, {"h", 3600 * SEC}, {NULL, 0}};

/* Decimal digits, then one of the units. */
static bool parse_number(const char *value, const struct unit *units, uint64_t *result)
{
    uint64_t number = 0;
    const char *at = value;

    if (!isdigit((unsigned char)*at))
        return false;
    for (; isdigit((unsigned char)*at); at++)
        if (__builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number))
            return false;
    while (*at == ' ')
        at++;
    for (; units->name != NULL; units++)
        if (strcmp(at, units->name) == 0)
            return !__builtin_mul_overflow(number, units->factor, result);
    return false;
}

static void store(void *base, const struct field *field, uint64_t value)
{
    uint8_t *to = (uint8_t *)base + field->offset;

    assert(field->size <= 8 && (field->size == 8 || value >> (8 * field->size) == 0));
    memcpy(to, &value, field->size); /* little-endian, as wire.h asserts */
}

static int read_number(struct reader *reader, const struct field *field, const char *path, const char *value,
                       uint32_t line, void *base)
{
    const struct unit *units = field->kind == SIZE ? units_size : field->kind == TIME ? units_time : units_none;
    char text[64], min[32], max[32];
    uint64_t number;

    if (parse_number(value, units, &number) && number >= field->min && number <= field->max) {
        store(base, field, number);
        return 0;
    }
    if (field->kind == SIZE) {
        format_size(field->min, min);
        format_size(field->max, max);
        return fail(reader, line, "%s: \"%s\" is not allowed: a size from %s to %s (K, M, G: powers of 1024)", path,
                    shown(value, text), min, max);
    }
    if (field->kind == TIME) {
        format_time(field->min, min);
        format_time(field->max, max);
        return fail(reader, line,
                    "%s: \"%s\" is not allowed: a time from %s to %s (with its unit: ns, us, ms, s, m, h)", path,
                    shown(value, text), min, max);
    }
    return fail(reader, line, "%s: \"%s\" is not allowed: a number from %" PRIu64 " to %" PRIu64, path,
                shown(value, text), field->min, field->max);
}

static int read_word(struct reader *reader, const struct field *field, const char *path, const char *value,
                     uint32_t line, void *base)
{
    char allowed[128] = "", text[64];
    uint64_t number;

    for (number = 0; field->words[number] != NULL; number++) {
        if (field->words[number][0] == '\0')
            continue;
        if (strcmp(value, field->words[number]) == 0) {
            store(base, field, field->words == words_bool ? number & 1 : number);
            return 0;
        }
        snprintf(allowed + strlen(allowed), sizeof(allowed) - strlen(allowed), "%s%s", allowed[0] != '\0' ? ", " : "",
                 field->words[number]);
    }
    return fail(reader, line, "%s: \"%s\" is not allowed: one of %s", path, shown(value, text), allowed);
}

static int read_hex(struct reader *reader, const struct field *field, const char *path, const char *value,
                    uint32_t line, void *base)
{
    uint64_t number;
    char text[64];

    if (strlen(value) == 16 && strspn(value, "0123456789abcdefABCDEF") == 16) {
        number = strtoull(value, NULL, 16);
        if (number != 0) {
            store(base, field, number);
            return 0;
        }
    }
    return fail(reader, line,
                "%s: \"%s\" is not allowed: 16 hexadecimal digits, not all zero, random for each cluster (make them "
                "with: openssl rand -hex 8)",
                path, shown(value, text));
}

static int read_address(struct reader *reader, const struct field *field, const char *path, const char *value,
                        uint32_t line, void *base)
{
    struct in_addr address;
    char text[64];
    uint32_t ip;

    if (inet_pton(AF_INET, value, &address) == 1) {
        ip = ntohl(address.s_addr);
        if (ip >> 24 != 0 && ip >> 24 != 127 && ip >> 24 < 224) {
            store(base, field, ip);
            return 0;
        }
    }
    return fail(reader, line, "%s: \"%s\" is not allowed: an IPv4 unicast address such as 192.168.7.1", path,
                shown(value, text));
}

static bool text_is_plain(const char *value, const char *also)
{
    for (; *value != '\0'; value++)
        if (!isalnum((unsigned char)*value) && strchr(also, *value) == NULL)
            return false;
    return true;
}

bool ls_config_device_is_pci(const char *device)
{
    unsigned domain, bus, slot, function;
    int used = 0;

    if (sscanf(device, "%4x:%2x:%2x.%1u%n", &domain, &bus, &slot, &function, &used) == 4 && device[used] == '\0')
        return function < 8 && slot < 32;
    used = 0;
    return sscanf(device, "%2x:%2x.%1u%n", &bus, &slot, &function, &used) == 3 && device[used] == '\0' &&
           function < 8 && slot < 32;
}

static int read_text(struct reader *reader, const struct field *field, const char *path, const char *value,
                     uint32_t line, void *base)
{
    const char *allowed = "";
    char text[64];
    bool ok = false;

    switch (field->kind) {
    case TEXT:
        ok = value[0] != '\0' && text_is_plain(value, "-_.");
        allowed = "letters, digits, -, _ and .";
        break;
    case PATH:
        ok = value[0] == '/' && text_is_plain(value, "-_./+@=:,~");
        allowed = "an absolute path of letters, digits and -_./+@=:,~";
        break;
    default:
        assert(field->kind == DEVICE);
        ok = ls_config_device_is_pci(value) ||
             (strncmp(value, "net_", 4) == 0 && isalnum((unsigned char)value[4]) && text_is_plain(value, "-_.,=:/@[]"));
        allowed = "a PCI address such as 0000:03:00.0, or a virtual device such as net_af_packet0,iface=eth1";
    }
    if (!ok)
        return fail(reader, line, "%s: \"%s\" is not allowed: %s", path, shown(value, text), allowed);
    if (strlen(value) >= field->size)
        return fail(reader, line, "%s: \"%s\" has %zu characters: at most %zu are allowed", path, shown(value, text),
                    strlen(value), field->size - 1);
    memcpy((uint8_t *)base + field->offset, value, strlen(value) + 1);
    return 0;
}

static int read_map(struct reader *reader, const struct field *fields, const yaml_node_t *node, const char *path,
                    void *base);

static int read_field(struct reader *reader, const struct field *field, const yaml_node_t *node, const char *path,
                      void *base)
{
    uint32_t line = line_of(node);
    const char *value;

    if (field->line != 0)
        memcpy((uint8_t *)reader + field->line, &line, sizeof(line));
    if (field->kind == MAP)
        return read_map(reader, field->map, node, path, base);
    if (field->kind == LIST)
        return field->list(reader, node);
    if (node->type != YAML_SCALAR_NODE)
        return fail(reader, line, "%s: %s stands where a single value is expected", path, node_kind(node));
    value = (const char *)node->data.scalar.value;
    if (strlen(value) != node->data.scalar.length)
        return fail(reader, line, "%s: the value holds a zero byte", path);
    switch (field->kind) {
    case NUMBER:
    case SIZE:
    case TIME:
        return read_number(reader, field, path, value, line, base);
    case WORD:
        return read_word(reader, field, path, value, line, base);
    case HEX:
        return read_hex(reader, field, path, value, line, base);
    case ADDRESS:
        return read_address(reader, field, path, value, line, base);
    default:
        return read_text(reader, field, path, value, line, base);
    }
}

static int unknown_key(struct reader *reader, const struct field *fields, const char *path, const char *key,
                       uint32_t line)
{
    char allowed[512] = "", text[64];

    for (; fields->key != NULL; fields++)
        snprintf(allowed + strlen(allowed), sizeof(allowed) - strlen(allowed), "%s%s", allowed[0] != '\0' ? ", " : "",
                 fields->key);
    return fail(reader, line, "%s%sunknown key \"%s\": allowed are %s", path, path[0] != '\0' ? ": " : "",
                shown(key, text), allowed);
}

static int read_map(struct reader *reader, const struct field *fields, const yaml_node_t *node, const char *path,
                    void *base)
{
    const struct field *field;
    yaml_node_pair_t *pair;
    uint64_t seen = 0;
    char below[160];
    int error;

    if (node->type != YAML_MAPPING_NODE)
        return fail(reader, line_of(node), "%s%s%s stands where keys with values are expected", path,
                    path[0] != '\0' ? ": " : "", node_kind(node));
    for (pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(&reader->document, pair->key);
        const yaml_node_t *value = yaml_document_get_node(&reader->document, pair->value);
        const char *name = key->type == YAML_SCALAR_NODE ? (const char *)key->data.scalar.value : "";

        for (field = fields; field->key != NULL && strcmp(field->key, name) != 0; field++)
            ;
        if (field->key == NULL)
            return unknown_key(reader, fields, path, name, line_of(key));
        snprintf(below, sizeof(below), "%s%s%s", path, path[0] != '\0' ? "." : "", field->key);
        if ((seen & 1ull << (field - fields)) != 0)
            return fail(reader, line_of(key), "%s: given twice", below);
        seen |= 1ull << (field - fields);
        error = read_field(reader, field, value, below, base);
        if (error != 0)
            return error;
    }
    for (field = fields; field->key != NULL; field++)
        if (field->required && (seen & 1ull << (field - fields)) == 0)
            return fail(reader, line_of(node), "%s%s\"%s\" is missing", path, path[0] != '\0' ? ": " : "", field->key);
    return 0;
}

static int read_nodes(struct reader *reader, const yaml_node_t *node)
{
    struct ls_config *config = reader->config;
    yaml_node_item_t *item;
    char path[32];
    int error;

    if (node->type != YAML_SEQUENCE_NODE)
        return fail(reader, line_of(node), "nodes: %s stands where a list is expected", node_kind(node));
    for (item = node->data.sequence.items.start; item < node->data.sequence.items.top; item++) {
        const yaml_node_t *entry = yaml_document_get_node(&reader->document, *item);
        struct ls_config_node *to;

        if (config->nodes == LS_MEMBERS_MAX)
            return fail(reader, line_of(entry), "nodes: more than %u: at most so many are allowed", LS_MEMBERS_MAX);
        to = &config->node[config->nodes];
        to->role = LS_MEMBER_VOTER;
        to->line = line_of(entry);
        snprintf(path, sizeof(path), "nodes[%u]", config->nodes);
        error = read_map(reader, node_fields, entry, path, to);
        if (error != 0)
            return error;
        config->nodes++;
    }
    return 0;
}

static const char *ip_text(uint32_t ip, char text[INET_ADDRSTRLEN])
{
    struct in_addr address = {.s_addr = htonl(ip)};

    return inet_ntop(AF_INET, &address, text, INET_ADDRSTRLEN);
}

static uint32_t netmask(uint32_t prefix)
{
    return (uint32_t)(UINT64_MAX << (32 - prefix));
}

/* One node's addresses among themselves. */
static int check_addresses(struct reader *reader, const struct ls_config_node *node)
{
    char ip[INET_ADDRSTRLEN], gateway[INET_ADDRSTRLEN];
    uint32_t mask = netmask(node->prefix);

    if (node->prefix < 31 && ((node->ip & ~mask) == 0 || (node->ip & ~mask) == ~mask))
        return fail(reader, node->line, "node %u: ip %s is the network or broadcast address of its /%u", node->id,
                    ip_text(node->ip, ip), node->prefix);
    if (node->gateway == 0)
        return 0;
    if (node->gateway == node->ip)
        return fail(reader, node->line, "node %u: gateway %s is the node's own ip", node->id,
                    ip_text(node->gateway, gateway));
    if (((node->gateway ^ node->ip) & mask) != 0)
        return fail(reader, node->line, "node %u: gateway %s is outside of the node's network %s/%u", node->id,
                    ip_text(node->gateway, gateway), ip_text(node->ip & mask, ip), node->prefix);
    return 0;
}

static int check_pair(struct reader *reader, const struct ls_config_node *a, const struct ls_config_node *b)
{
    char one[INET_ADDRSTRLEN], other[INET_ADDRSTRLEN];

    if (a->id == b->id)
        return fail(reader, b->line, "node id %u stands here and on line %u: ids are unique", b->id, a->line);
    if (a->ip == b->ip)
        return fail(reader, b->line, "node %u: ip %s is also node %u's (line %u): addresses are unique", b->id,
                    ip_text(b->ip, one), a->id, a->line);
    if (a->gateway == 0 && ((a->ip ^ b->ip) & netmask(a->prefix)) != 0)
        return fail(reader, a->line, "node %u: node %u's ip %s is outside of its network %s/%u: a gateway is needed",
                    a->id, b->id, ip_text(b->ip, one), ip_text(a->ip & netmask(a->prefix), other), a->prefix);
    if (b->gateway == 0 && ((a->ip ^ b->ip) & netmask(b->prefix)) != 0)
        return fail(reader, b->line, "node %u: node %u's ip %s is outside of its network %s/%u: a gateway is needed",
                    b->id, a->id, ip_text(a->ip, one), ip_text(b->ip & netmask(b->prefix), other), b->prefix);
    if (a->gateway == b->ip || b->gateway == a->ip)
        return fail(reader, b->line, "nodes %u and %u: a node's ip cannot be another's gateway: nodes do not route",
                    a->id, b->id);
    return 0;
}

static int check_nodes(struct reader *reader)
{
    struct ls_config *config = reader->config;
    const struct ls_config_node *first;
    uint32_t voters = 0, i, j;
    char list[128];
    int error;

    for (i = 0; i < config->nodes; i++) {
        error = check_addresses(reader, &config->node[i]);
        for (j = 0; j < i && error == 0; j++)
            error = check_pair(reader, &config->node[j], &config->node[i]);
        if (error != 0)
            return error;
        if (config->node[i].role != LS_MEMBER_VOTER)
            continue;
        voters++;
        if (config->first_sequencer == 0)
            config->first_sequencer = config->node[i].id;
    }
    if (voters < 1 || voters > LS_VOTERS_MAX)
        return fail(reader, reader->line_nodes, "nodes: %u have the role voter: 1 to %u are allowed", voters,
                    LS_VOTERS_MAX);
    first = ls_config_find(config, config->first_sequencer);
    if (first == NULL)
        return fail(reader, reader->line_first_sequencer, "first_sequencer: %u is no node: one of %s",
                    config->first_sequencer, ls_config_node_list(config, list, sizeof(list)));
    if (first->role != LS_MEMBER_VOTER)
        return fail(reader, reader->line_first_sequencer,
                    "first_sequencer: node %u is a learner: the id of a voter is allowed", first->id);
    return 0;
}

/* What fields say together. */
static int check_together(struct reader *reader)
{
    const struct ls_config *config = reader->config;
    char text[32], other[32];
    int error = check_nodes(reader);

    if (error != 0)
        return error;
    if (config->log_size / 4 < config->op_max) {
        format_size(config->log_size, text);
        format_size(config->op_max, other);
        return fail(reader, reader->line_limits,
                    "limits: log_size %s is too small for op_max %s: the log holds at least four such operations", text,
                    other);
    }
    if (config->reorder_min_ns != 0 && config->reorder_max_ns != 0 && config->reorder_min_ns > config->reorder_max_ns) {
        format_time(config->reorder_min_ns, text);
        format_time(config->reorder_max_ns, other);
        return fail(reader, reader->line_timing, "timing: reorder_min %s is above reorder_max %s", text, other);
    }
    if (config->heartbeat_ns != 0 && config->suspend_ns != 0 && config->suspend_ns < 3 * config->heartbeat_ns) {
        format_time(config->suspend_ns, text);
        format_time(config->heartbeat_ns, other);
        return fail(reader, reader->line_timing,
                    "timing: suspend %s is less than three heartbeats of %s: one lost frame would stop the service",
                    text, other);
    }
    return 0;
}

static void set_defaults(struct ls_config *config)
{
    memset(config, 0, sizeof(*config));
    config->generation = 1;
    config->port = LS_PORT_DEFAULT;
    config->memory = LS_CONFIG_MEMORY_DEFAULT;
    config->keys = LS_CONFIG_KEYS_DEFAULT;
    config->bytes = LS_CONFIG_BYTES_DEFAULT;
    config->log_size = LS_LOG_SIZE_DEFAULT;
    config->sessions = LS_SESSIONS_DEFAULT;
    config->window = LS_WINDOW_DEFAULT;
    config->session_idle_ns = LS_SESSION_IDLE_DEFAULT;
    config->op_max = LS_OP_MAX_DEFAULT;
}

static int read_document(struct reader *reader)
{
    const yaml_node_t *root = yaml_document_get_root_node(&reader->document);
    int error;

    if (root == NULL)
        return fail(reader, 0, "the file is empty");
    error = read_map(reader, config_fields, root, "", reader->config);
    return error != 0 ? error : check_together(reader);
}

static int not_yaml(struct reader *reader, const yaml_parser_t *parser)
{
    return fail(reader, (uint32_t)parser->problem_mark.line + 1, "not YAML: %s%s%s",
                parser->context != NULL ? parser->context : "", parser->context != NULL ? ": " : "",
                parser->problem != NULL ? parser->problem : "no memory");
}

/* A second document would be ignored in silence otherwise. */
static int refuse_second(struct reader *reader, yaml_parser_t *parser)
{
    yaml_document_t document;
    const yaml_node_t *root;
    int result = 0;

    if (!yaml_parser_load(parser, &document))
        return not_yaml(reader, parser);
    root = yaml_document_get_root_node(&document);
    if (root != NULL)
        result = fail(reader, line_of(root), "a second document begins here: one is allowed");
    yaml_document_delete(&document);
    return result;
}

int ls_config_parse(struct ls_config *config, const char *text, size_t length, const char *name, char *error)
{
    struct reader reader = {.file = name, .error = error, .config = config};
    yaml_parser_t parser;
    int result;

    set_defaults(config);
    error[0] = '\0';
    if (!yaml_parser_initialize(&parser)) {
        fail(&reader, 0, "no memory to read it");
        return -ENOMEM;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
    if (yaml_parser_load(&parser, &reader.document)) {
        result = read_document(&reader);
        yaml_document_delete(&reader.document);
        if (result == 0)
            result = refuse_second(&reader, &parser);
    } else {
        result = not_yaml(&reader, &parser);
    }
    yaml_parser_delete(&parser);
    return result;
}

int ls_config_load(struct ls_config *config, const char *path, char *error)
{
    FILE *file = fopen(path, "re");
    char *text;
    size_t length;
    int result;

    if (file == NULL) {
        result = -errno;
        snprintf(error, LS_CONFIG_ERROR_MAX, "%s: cannot be opened: %s", path, strerror(errno));
        return result;
    }
    text = malloc(LS_CONFIG_FILE_MAX + 1);
    if (text == NULL) {
        fclose(file);
        snprintf(error, LS_CONFIG_ERROR_MAX, "%s: no memory to read it", path);
        return -ENOMEM;
    }
    errno = 0;
    length = fread(text, 1, LS_CONFIG_FILE_MAX + 1, file);
    if (ferror(file)) {
        result = errno != 0 ? -errno : -EIO;
        snprintf(error, LS_CONFIG_ERROR_MAX, "%s: cannot be read: %s", path, strerror(-result));
    } else if (length > LS_CONFIG_FILE_MAX) {
        result = -EFBIG;
        snprintf(error, LS_CONFIG_ERROR_MAX, "%s: larger than %d bytes: not a cluster file", path, LS_CONFIG_FILE_MAX);
    } else {
        result = ls_config_parse(config, text, length, path, error);
    }
    free(text);
    fclose(file);
    return result;
}

const struct ls_config_node *ls_config_find(const struct ls_config *config, uint16_t node)
{
    for (uint32_t i = 0; i < config->nodes; i++)
        if (config->node[i].id == node)
            return &config->node[i];
    return NULL;
}

uint32_t ls_config_members(const struct ls_config *config, struct ls_member *members)
{
    for (uint32_t i = 0; i < config->nodes; i++)
        members[i] = (struct ls_member){.node = config->node[i].id,
                                        .role = config->node[i].role,
                                        .addr = {.ip = config->node[i].ip, .port = config->port}};
    return config->nodes;
}

const char *ls_config_node_list(const struct ls_config *config, char *text, size_t room)
{
    size_t used = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < config->nodes && used < room; i++)
        used += (size_t)snprintf(text + used, room - used, "%s%u", i != 0 ? ", " : "", config->node[i].id);
    return text;
}
