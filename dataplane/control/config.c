/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which keys the cluster file has, their defaults, and what they say together. The file becomes libyaml's document
 * tree, whose nodes know their lines; config_read.c takes that apart by the tables here. Called once at start, on the
 * main thread.
 */
#include "config.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_read.h"

#define AT(type, member) .offset = offsetof(struct type, member), .size = sizeof(((struct type *)0)->member)
#define CONFIG(member)   AT(ls_config, member)
#define NODE(member)     AT(ls_config_node, member)
#define LINE(member)     .line = offsetof(struct reader, member)

static const char *const words_machine[] = {"kv", "echo", NULL};
static const char *const words_durability[] = {"", "memory", "async", "journal", NULL}; /* enum ls_durability */
static const char *const words_idle[] = {"yield", "poll", "sleep", NULL};
static const char *const words_huge[] = {"auto", "no", "yes", NULL};
static const char *const words_profile[] = {"default", "aggressive", NULL};
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
static const struct field detect_fields[] = {
    {.key = "poll", .kind = TIME, CONFIG(detect.poll_ns), .min = 100 * US, .max = SEC},
    {.key = "suspect_min", .kind = TIME, CONFIG(detect.suspect_min_ns), .min = 500 * US, .max = 60 * SEC},
    {.key = "suspect_max", .kind = TIME, CONFIG(detect.suspect_max_ns), .min = MS, .max = 600 * SEC},
    {.key = "stall", .kind = TIME, CONFIG(detect.stall_ns), .min = MS, .max = 60 * SEC},
    {.key = "stall_kill", .kind = TIME, CONFIG(detect.stall_kill_ns), .min = 10 * MS, .max = 600 * SEC},
    {.key = "late", .kind = TIME, CONFIG(detect.late_ns), .min = 100 * US, .max = 10 * SEC},
    {.key = "status", .kind = TIME, CONFIG(detect.status_ns), .min = MS, .max = 10 * SEC},
    {.key = "answer", .kind = TIME, CONFIG(detect.answer_ns), .min = MS, .max = 10 * SEC},
    {.key = "stagger", .kind = TIME, CONFIG(detect.stagger_ns), .min = 100 * US, .max = 10 * SEC},
    {.key = "handover", .kind = TIME, CONFIG(detect.handover_ns), .min = MS, .max = 60 * SEC},
    {.key = "promote_lag", .kind = NUMBER, CONFIG(detect.promote_lag), .min = 1, .max = 1ull << 40},
    {.key = "promote_patience", .kind = TIME, CONFIG(detect.promote_patience_ns), .min = SEC, .max = 7 * 86400 * SEC},
    {.key = NULL},
};
static const struct field restart_fields[] = {
    {.key = "min", .kind = TIME, CONFIG(restart_min_ns), .min = MS, .max = 600 * SEC},
    {.key = "max", .kind = TIME, CONFIG(restart_max_ns), .min = MS, .max = 3600 * SEC},
    {.key = NULL},
};
static const struct field checkpoint_fields[] = {
    {.key = "every", .kind = TIME, CONFIG(checkpoint_every_ns), .min = SEC, .max = 7 * 86400 * SEC, .or_zero = true},
    {.key = "keep", .kind = NUMBER, CONFIG(checkpoint_keep), .min = 1, .max = 1000},
    {.key = "rate", .kind = SIZE, CONFIG(checkpoint_rate), .min = MIB, .max = 1024 * GIB, .or_zero = true},
    {.key = NULL},
};
static const struct field journal_fields[] = {
    {.key = "segment", .kind = SIZE, CONFIG(journal_segment), .min = MIB, .max = 4 * GIB},
    {.key = "keep", .kind = SIZE, CONFIG(journal_keep), .min = MIB, .max = 1024 * GIB, .or_zero = true},
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
    {.key = "profile", .kind = WORD, CONFIG(profile), .words = words_profile},
    {.key = "detect", .kind = MAP, .map = detect_fields, LINE(line_detect)},
    {.key = "restart", .kind = MAP, .map = restart_fields, LINE(line_restart)},
    {.key = "checkpoint", .kind = MAP, .map = checkpoint_fields},
    {.key = "durability", .kind = WORD, CONFIG(durability), .words = words_durability},
    {.key = "journal", .kind = MAP, .map = journal_fields, LINE(line_journal)},
    {.key = "scrub", .kind = TIME, CONFIG(scrub_ns), .min = SEC, .max = 365ull * 86400 * SEC, .or_zero = true},
    {.key = "idle", .kind = WORD, CONFIG(idle), .words = words_idle},
    {.key = "hugepages", .kind = WORD, CONFIG(hugepages), .words = words_huge},
    {.key = "memory", .kind = SIZE, CONFIG(memory), .min = 32 * MIB, .max = 1024 * GIB},
    {.key = "faults_allowed", .kind = WORD, CONFIG(faults_allowed), .words = ls_config_words_bool},
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
    {.key = "ctrl", .kind = END_POINT, NODE(ctrl)},
    {.key = "metrics", .kind = END_POINT, NODE(metrics), .or_zero = true},
    {.key = "role", .kind = WORD, NODE(role), .words = words_role},
    {.key = NULL},
};

static int read_nodes(struct reader *reader, const yaml_node_t *node)
{
    struct ls_config *config = reader->config;
    yaml_node_item_t *item;
    char path[32];
    int error;

    if (node->type != YAML_SEQUENCE_NODE)
        return ls_config_fail(reader, ls_config_line_of(node), "nodes: %s stands where a list is expected",
                              ls_config_node_kind(node));
    for (item = node->data.sequence.items.start; item < node->data.sequence.items.top; item++) {
        const yaml_node_t *entry = yaml_document_get_node(&reader->document, *item);
        struct ls_config_node *to;

        if (config->nodes == LS_MEMBERS_MAX)
            return ls_config_fail(reader, ls_config_line_of(entry), "nodes: more than %u: at most so many are allowed",
                                  LS_MEMBERS_MAX);
        to = &config->node[config->nodes];
        to->role = LS_MEMBER_VOTER;
        to->line = ls_config_line_of(entry);
        snprintf(path, sizeof(path), "nodes[%u]", config->nodes);
        error = ls_config_read_map(reader, node_fields, entry, path, to);
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
        return ls_config_fail(reader, node->line, "node %u: ip %s is the network or broadcast address of its /%u",
                              node->id, ip_text(node->ip, ip), node->prefix);
    if (node->gateway == 0)
        return 0;
    if (node->gateway == node->ip)
        return ls_config_fail(reader, node->line, "node %u: gateway %s is the node's own ip", node->id,
                              ip_text(node->gateway, gateway));
    if (((node->gateway ^ node->ip) & mask) != 0)
        return ls_config_fail(reader, node->line, "node %u: gateway %s is outside of the node's network %s/%u",
                              node->id, ip_text(node->gateway, gateway), ip_text(node->ip & mask, ip), node->prefix);
    return 0;
}

static int check_pair(struct reader *reader, const struct ls_config_node *a, const struct ls_config_node *b)
{
    char one[INET_ADDRSTRLEN], other[INET_ADDRSTRLEN];

    if (a->id == b->id)
        return ls_config_fail(reader, b->line, "node id %u stands here and on line %u: ids are unique", b->id, a->line);
    if (a->ip == b->ip)
        return ls_config_fail(reader, b->line, "node %u: ip %s is also node %u's (line %u): addresses are unique",
                              b->id, ip_text(b->ip, one), a->id, a->line);
    if (a->gateway == 0 && ((a->ip ^ b->ip) & netmask(a->prefix)) != 0)
        return ls_config_fail(reader, a->line,
                              "node %u: node %u's ip %s is outside of its network %s/%u: a gateway is needed", a->id,
                              b->id, ip_text(b->ip, one), ip_text(a->ip & netmask(a->prefix), other), a->prefix);
    if (b->gateway == 0 && ((a->ip ^ b->ip) & netmask(b->prefix)) != 0)
        return ls_config_fail(reader, b->line,
                              "node %u: node %u's ip %s is outside of its network %s/%u: a gateway is needed", b->id,
                              a->id, ip_text(a->ip, one), ip_text(b->ip & netmask(b->prefix), other), b->prefix);
    if (a->gateway == b->ip || b->gateway == a->ip)
        return ls_config_fail(reader, b->line,
                              "nodes %u and %u: a node's ip cannot be another's gateway: nodes do not route", a->id,
                              b->id);
    return 0;
}

static bool is_nowhere(struct ls_addr addr)
{
    return addr.port == 0;
}

/* Both would listen there, if they are on one machine. */
static bool addrs_collide(struct ls_addr a, struct ls_addr b)
{
    return !is_nowhere(a) && a.port == b.port && (a.ip == b.ip || a.ip == 0 || b.ip == 0);
}

/* 0.0.0.0 and 127.x are other addresses on each machine. */
static bool is_local(struct ls_addr addr)
{
    return addr.ip == 0 || addr.ip >> 24 == 127;
}

/* What ctrl listens on, in the kernel's network. */
static int check_end_points(struct reader *reader, const struct ls_config_node *node)
{
    const struct ls_config *config = reader->config;
    char ip[INET_ADDRSTRLEN];

    if (config->nodes > 1 && is_nowhere(node->ctrl))
        return ls_config_fail(reader, node->line,
                              "node %u: \"ctrl\" is missing: IP:PORT of its lockstep-ctrl on the kernel's network, by "
                              "which the nodes agree on a sequencer",
                              node->id);
    if (addrs_collide(node->ctrl, node->metrics))
        return ls_config_fail(reader, node->line, "node %u: ctrl and metrics have the same port %u: one each is needed",
                              node->id, node->ctrl.port);
    for (uint32_t i = 0; i < config->nodes; i++) {
        const struct ls_config_node *other = &config->node[i];

        if ((!is_nowhere(node->ctrl) && node->ctrl.ip == other->ip) ||
            (!is_nowhere(node->metrics) && node->metrics.ip == other->ip))
            return ls_config_fail(
                reader, node->line,
                "node %u: ctrl and metrics need an address of the kernel's: %s is node %u's ip, which "
                "belongs to its dataplane alone",
                node->id, ip_text(other->ip, ip), other->id);
        if (other == node)
            break;
        if (!is_nowhere(node->ctrl) && ls_addr_equal(node->ctrl, other->ctrl))
            return ls_config_fail(reader, node->line,
                                  "node %u: ctrl %s:%u is also node %u's (line %u): addresses are "
                                  "unique",
                                  node->id, ip_text(node->ctrl.ip, ip), node->ctrl.port, other->id, other->line);
        if (!is_nowhere(node->metrics) && !is_local(node->metrics) && ls_addr_equal(node->metrics, other->metrics))
            return ls_config_fail(reader, node->line,
                                  "node %u: metrics %s:%u is also node %u's (line %u): addresses are "
                                  "unique",
                                  node->id, ip_text(node->metrics.ip, ip), node->metrics.port, other->id, other->line);
    }
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
        if (error == 0)
            error = check_end_points(reader, &config->node[i]);
        if (error != 0)
            return error;
        if (config->node[i].role != LS_MEMBER_VOTER)
            continue;
        voters++;
        if (config->first_sequencer == 0)
            config->first_sequencer = config->node[i].id;
    }
    if (voters < 1 || voters > LS_VOTERS_MAX)
        return ls_config_fail(reader, reader->line_nodes, "nodes: %u have the role voter: 1 to %u are allowed", voters,
                              LS_VOTERS_MAX);
    first = ls_config_find(config, config->first_sequencer);
    if (first == NULL)
        return ls_config_fail(reader, reader->line_first_sequencer, "first_sequencer: %u is no node: one of %s",
                              config->first_sequencer, ls_config_node_list(config, list, sizeof(list)));
    if (first->role != LS_MEMBER_VOTER)
        return ls_config_fail(reader, reader->line_first_sequencer,
                              "first_sequencer: node %u is a learner: the id of a voter is allowed", first->id);
    return 0;
}

/* `low` and `high` of one map: both given, and the wrong way round. */
static int check_order(struct reader *reader, uint32_t line, const char *low_name, uint64_t low, const char *high_name,
                       uint64_t high)
{
    char text[32], other[32];

    if (low == 0 || high == 0 || low <= high)
        return 0;
    ls_config_format_time(low, text);
    ls_config_format_time(high, other);
    return ls_config_fail(reader, line, "%s %s is above %s %s", low_name, text, high_name, other);
}

/* What the times of ctrl say together. */
static int check_detect(struct reader *reader)
{
    const struct ls_config *config = reader->config;
    const struct ls_config_detect *detect = &config->detect;
    char text[32], other[32];
    int error = check_order(reader, reader->line_detect, "detect: suspect_min", detect->suspect_min_ns, "suspect_max",
                            detect->suspect_max_ns);

    if (error == 0)
        error = check_order(reader, reader->line_detect, "detect: stall", detect->stall_ns, "stall_kill",
                            detect->stall_kill_ns);
    if (error == 0)
        error = check_order(reader, reader->line_detect, "detect: poll", detect->poll_ns, "suspect_min",
                            detect->suspect_min_ns);
    if (error == 0)
        error = check_order(reader, reader->line_restart, "restart: min", config->restart_min_ns, "max",
                            config->restart_max_ns);
    if (error != 0)
        return error;
    if (config->heartbeat_ns != 0 && detect->suspect_min_ns != 0 && detect->suspect_min_ns < 3 * config->heartbeat_ns) {
        ls_config_format_time(detect->suspect_min_ns, text);
        ls_config_format_time(config->heartbeat_ns, other);
        return ls_config_fail(reader, reader->line_detect,
                              "detect: suspect_min %s is less than three heartbeats of %s: one lost frame would depose "
                              "a sequencer",
                              text, other);
    }
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
        ls_config_format_size(config->log_size, text);
        ls_config_format_size(config->op_max, other);
        return ls_config_fail(
            reader, reader->line_limits,
            "limits: log_size %s is too small for op_max %s: the log holds at least four such operations", text, other);
    }
    if (config->reorder_min_ns != 0 && config->reorder_max_ns != 0 && config->reorder_min_ns > config->reorder_max_ns) {
        ls_config_format_time(config->reorder_min_ns, text);
        ls_config_format_time(config->reorder_max_ns, other);
        return ls_config_fail(reader, reader->line_timing, "timing: reorder_min %s is above reorder_max %s", text,
                              other);
    }
    if (config->heartbeat_ns != 0 && config->suspend_ns != 0 && config->suspend_ns < 3 * config->heartbeat_ns) {
        ls_config_format_time(config->suspend_ns, text);
        ls_config_format_time(config->heartbeat_ns, other);
        return ls_config_fail(
            reader, reader->line_timing,
            "timing: suspend %s is less than three heartbeats of %s: one lost frame would stop the service", text,
            other);
    }
    if (config->journal_segment % LS_DISK_BLOCK != 0) {
        ls_config_format_size(config->journal_segment, text);
        return ls_config_fail(reader, reader->line_journal,
                              "journal: segment %s is not allowed: a multiple of %u bytes", text, LS_DISK_BLOCK);
    }
    return check_detect(reader);
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
    config->checkpoint_every_ns = 600 * SEC;
    config->checkpoint_keep = 3;
    config->checkpoint_rate = 200 * MIB;
    config->scrub_ns = 3600 * SEC;
    config->durability = LS_DURABLE_MEMORY;
    config->journal_segment = LS_CONFIG_SEGMENT_DEFAULT;
    config->journal_keep = 256 * MIB;
}

static int read_document(struct reader *reader)
{
    const yaml_node_t *root = yaml_document_get_root_node(&reader->document);
    int error;

    if (root == NULL)
        return ls_config_fail(reader, 0, "the file is empty");
    error = ls_config_read_map(reader, config_fields, root, "", reader->config);
    return error != 0 ? error : check_together(reader);
}

static int not_yaml(struct reader *reader, const yaml_parser_t *parser)
{
    return ls_config_fail(reader, (uint32_t)parser->problem_mark.line + 1, "not YAML: %s%s%s",
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
        result = ls_config_fail(reader, ls_config_line_of(root), "a second document begins here: one is allowed");
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
        ls_config_fail(&reader, 0, "no memory to read it");
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

void ls_config_membership(const struct ls_config *config, struct ls_membership *members)
{
    *members = (struct ls_membership){.count = config->nodes};
    for (uint32_t i = 0; i < config->nodes; i++) {
        uint32_t place = 0;

        for (uint32_t j = 0; j < config->nodes; j++)
            place += config->node[j].id < config->node[i].id;
        members->member[place] = (struct ls_member){.node = config->node[i].id,
                                                    .role = config->node[i].role,
                                                    .addr = {.ip = config->node[i].ip, .port = config->port},
                                                    .ctrl = config->node[i].ctrl};
    }
}

const char *ls_config_node_list(const struct ls_config *config, char *text, size_t room)
{
    size_t used = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < config->nodes && used < room; i++)
        used += (size_t)snprintf(text + used, room - used, "%s%u", i != 0 ? ", " : "", config->node[i].id);
    return text;
}
