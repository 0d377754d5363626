/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How one value of the cluster file is read: each kind of field, its range, and the message that a wrong one gets.
 * Which keys there are is in config.c. The tree is walked by the tables and never by its own shape, so aliases and
 * deep nesting cost nothing. At start, on the main thread.
 */
#include "config_read.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int ls_config_fail(struct reader *reader, uint32_t line, const char *format, ...)
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

uint32_t ls_config_line_of(const yaml_node_t *node)
{
    return (uint32_t)node->start_mark.line + 1;
}

const char *ls_config_node_kind(const yaml_node_t *node)
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

void ls_config_format_size(uint64_t bytes, char text[32])
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

void ls_config_format_time(uint64_t ns, char text[32])
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

const char *const ls_config_words_bool[] = {"no", "yes", "false", "true", NULL};

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

    if ((parse_number(value, units, &number) && number >= field->min && number <= field->max) ||
        (field->or_zero && strcmp(value, "0") == 0)) {
        store(base, field, field->or_zero && strcmp(value, "0") == 0 ? 0 : number);
        return 0;
    }
    if (field->kind == SIZE) {
        ls_config_format_size(field->min, min);
        ls_config_format_size(field->max, max);
        return ls_config_fail(reader, line,
                              "%s: \"%s\" is not allowed: a size from %s to %s (K, M, G: powers of 1024)%s", path,
                              shown(value, text), min, max, field->or_zero ? ", or 0" : "");
    }
    if (field->kind == TIME) {
        ls_config_format_time(field->min, min);
        ls_config_format_time(field->max, max);
        return ls_config_fail(reader, line,
                              "%s: \"%s\" is not allowed: a time from %s to %s (with its unit: ns, us, ms, s, m, h)%s",
                              path, shown(value, text), min, max, field->or_zero ? ", or 0" : "");
    }
    return ls_config_fail(reader, line, "%s: \"%s\" is not allowed: a number from %" PRIu64 " to %" PRIu64, path,
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
            store(base, field, field->words == ls_config_words_bool ? number & 1 : number);
            return 0;
        }
        snprintf(allowed + strlen(allowed), sizeof(allowed) - strlen(allowed), "%s%s", allowed[0] != '\0' ? ", " : "",
                 field->words[number]);
    }
    return ls_config_fail(reader, line, "%s: \"%s\" is not allowed: one of %s", path, shown(value, text), allowed);
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
    return ls_config_fail(
        reader, line,
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
    return ls_config_fail(reader, line, "%s: \"%s\" is not allowed: an IPv4 unicast address such as 192.168.7.1", path,
                          shown(value, text));
}

/* IP:PORT on the kernel's network; or_zero: 0.0.0.0 too, to listen on. */
static int read_end_point(struct reader *reader, const struct field *field, const char *path, const char *value,
                          uint32_t line, void *base)
{
    const char *colon = strchr(value, ':');
    char ip[INET_ADDRSTRLEN], text[64];
    struct in_addr address;
    struct ls_addr addr;
    uint64_t port;

    assert(field->size == sizeof(addr));
    if (colon != NULL && (size_t)(colon - value) < sizeof(ip) && parse_number(colon + 1, units_none, &port) &&
        port >= 1 && port <= UINT16_MAX) {
        memcpy(ip, value, (size_t)(colon - value));
        ip[colon - value] = '\0';
        if (inet_pton(AF_INET, ip, &address) == 1) {
            addr = (struct ls_addr){.ip = ntohl(address.s_addr), .port = (uint16_t)port};
            if ((addr.ip >> 24 != 0 && addr.ip >> 24 < 224) || (field->or_zero && addr.ip == 0)) {
                memcpy((uint8_t *)base + field->offset, &addr, sizeof(addr));
                return 0;
            }
        }
    }
    return ls_config_fail(reader, line, "%s: \"%s\" is not allowed: an IPv4 address%s and a port such as %s:7500", path,
                          shown(value, text), field->or_zero ? " (0.0.0.0: all of this machine's)" : " of one machine",
                          field->or_zero ? "0.0.0.0" : "192.168.7.1");
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
        return ls_config_fail(reader, line, "%s: \"%s\" is not allowed: %s", path, shown(value, text), allowed);
    if (strlen(value) >= field->size)
        return ls_config_fail(reader, line, "%s: \"%s\" has %zu characters: at most %zu are allowed", path,
                              shown(value, text), strlen(value), field->size - 1);
    memcpy((uint8_t *)base + field->offset, value, strlen(value) + 1);
    return 0;
}

static int read_field(struct reader *reader, const struct field *field, const yaml_node_t *node, const char *path,
                      void *base)
{
    uint32_t line = ls_config_line_of(node);
    const char *value;

    if (field->line != 0)
        memcpy((uint8_t *)reader + field->line, &line, sizeof(line));
    if (field->kind == MAP)
        return ls_config_read_map(reader, field->map, node, path, base);
    if (field->kind == LIST)
        return field->list(reader, node);
    if (node->type != YAML_SCALAR_NODE)
        return ls_config_fail(reader, line, "%s: %s stands where a single value is expected", path,
                              ls_config_node_kind(node));
    value = (const char *)node->data.scalar.value;
    if (strlen(value) != node->data.scalar.length)
        return ls_config_fail(reader, line, "%s: the value holds a zero byte", path);
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
    case END_POINT:
        return read_end_point(reader, field, path, value, line, base);
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
    return ls_config_fail(reader, line, "%s%sunknown key \"%s\": allowed are %s", path, path[0] != '\0' ? ": " : "",
                          shown(key, text), allowed);
}

int ls_config_read_map(struct reader *reader, const struct field *fields, const yaml_node_t *node, const char *path,
                       void *base)
{
    const struct field *field;
    yaml_node_pair_t *pair;
    uint64_t seen = 0;
    char below[160];
    int error;

    if (node->type != YAML_MAPPING_NODE)
        return ls_config_fail(reader, ls_config_line_of(node), "%s%s%s stands where keys with values are expected",
                              path, path[0] != '\0' ? ": " : "", ls_config_node_kind(node));
    for (pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(&reader->document, pair->key);
        const yaml_node_t *value = yaml_document_get_node(&reader->document, pair->value);
        const char *name = key->type == YAML_SCALAR_NODE ? (const char *)key->data.scalar.value : "";

        for (field = fields; field->key != NULL && strcmp(field->key, name) != 0; field++)
            ;
        if (field->key == NULL)
            return unknown_key(reader, fields, path, name, ls_config_line_of(key));
        snprintf(below, sizeof(below), "%s%s%s", path, path[0] != '\0' ? "." : "", field->key);
        if ((seen & 1ull << (field - fields)) != 0)
            return ls_config_fail(reader, ls_config_line_of(key), "%s: given twice", below);
        seen |= 1ull << (field - fields);
        error = read_field(reader, field, value, below, base);
        if (error != 0)
            return error;
    }
    for (field = fields; field->key != NULL; field++)
        if (field->required && (seen & 1ull << (field - fields)) == 0)
            return ls_config_fail(reader, ls_config_line_of(node), "%s%s\"%s\" is missing", path,
                                  path[0] != '\0' ? ": " : "", field->key);
    return 0;
}
