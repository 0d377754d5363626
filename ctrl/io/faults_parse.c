/* SPDX-License-Identifier: BSD-3-Clause */
/* Faults as they come in JSON; see faults.h. Nothing is guessed: an unknown key or a value out of range is refused. */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "faults.h"

/* ---- the network's ---- */

struct fault_field {
    const char *name;
    size_t offset, size;
    bool nodes; /* a list of node ids is allowed */
};
#define FIELD(member, is_nodes)                                                                                        \
    {                                                                                                                  \
#member, offsetof(struct ls_control_fault, member), sizeof(((struct ls_control_fault *)0)->member), is_nodes   \
    }
static const struct fault_field fault_fields[] = {
    FIELD(seed, false),
    FIELD(drop, false),
    FIELD(duplicate, false),
    FIELD(reorder, false),
    FIELD(reorder_span, false),
    FIELD(corrupt, false),
    FIELD(delay, false),
    FIELD(jitter, false),
    FIELD(cut_in, true),
    FIELD(cut_out, true),
    FIELD(bytes_per_second, false),
};

static int nodes_parse(const char *name, const json_t *list, uint64_t *mask, char *error, size_t error_size)
{
    size_t i;
    json_t *node;

    *mask = 0;
    json_array_foreach(list, i, node)
    {
        if (!json_is_integer(node) || json_integer_value(node) < 0 || json_integer_value(node) > LS_NODE_ID_MAX) {
            snprintf(error, error_size, "%s: node ids from 0 (clients) to %d are allowed", name, LS_NODE_ID_MAX);
            return -EINVAL;
        }
        *mask |= 1ull << json_integer_value(node);
    }
    return 0;
}

static int field_parse(const struct fault_field *field, const json_t *value, void *fault, char *error,
                       size_t error_size)
{
    uint64_t number, max = field->size == 8 ? INT64_MAX : UINT32_MAX;

    if (field->nodes && json_is_array(value)) {
        if (nodes_parse(field->name, value, &number, error, error_size) != 0)
            return -EINVAL;
    } else if (json_is_integer(value) && json_integer_value(value) >= 0 && (uint64_t)json_integer_value(value) <= max) {
        number = (uint64_t)json_integer_value(value);
    } else {
        snprintf(error, error_size, "%s: a whole number from 0 to %" PRIu64 "%s is allowed", field->name, max,
                 field->nodes ? " or a list of node ids" : "");
        return -EINVAL;
    }
    memcpy((uint8_t *)fault + field->offset, &number, field->size);
    return 0;
}

/* Every key is a field of `fault`; `allowed` names them. */
static int fields_parse(const struct fault_field *fields, size_t known, const char *allowed, const json_t *json,
                        void *fault, char *error, size_t error_size)
{
    const char *key;
    json_t *value;

    if (!json_is_object(json)) {
        snprintf(error, error_size, "a JSON object of fault settings is expected");
        return -EINVAL;
    }
    json_object_foreach((json_t *)(uintptr_t)json, key, value)
    {
        size_t i = 0;

        while (i < known && strcmp(fields[i].name, key) != 0)
            i++;
        if (i == known) {
            snprintf(error, error_size, "unknown key \"%.40s\": allowed are %s", key, allowed);
            return -EINVAL;
        }
        if (field_parse(&fields[i], value, fault, error, error_size) != 0)
            return -EINVAL;
    }
    return 0;
}

int ls_fault_parse(const json_t *json, struct ls_control_fault *fault, char *error, size_t error_size)
{
    memset(fault, 0, sizeof(*fault));
    return fields_parse(fault_fields, sizeof(fault_fields) / sizeof(fault_fields[0]),
                        "seed, drop, duplicate, reorder, reorder_span, corrupt, delay, jitter, cut_in, cut_out, "
                        "bytes_per_second",
                        json, fault, error, error_size);
}

/* ---- the disk's ---- */

#define DISK_FIELD(name, member)                                                                                       \
    {                                                                                                                  \
        name, offsetof(struct ls_control_disk_fault, member), sizeof(((struct ls_control_disk_fault *)0)->member),     \
            false                                                                                                      \
    }
static const struct fault_field disk_fields[] = {
    DISK_FIELD("seed", seed),           DISK_FIELD("error", error),   DISK_FIELD("short", cut),
    DISK_FIELD("torn", torn),           DISK_FIELD("lost", lost),     DISK_FIELD("rot", rot),
    DISK_FIELD("full", full),           DISK_FIELD("hang", hang),     DISK_FIELD("delay", delay),
    DISK_FIELD("misplaced", misplaced), DISK_FIELD("jitter", jitter),
};

static int disk_parse(const json_t *json, struct ls_fault_entry *entry, char *error, size_t error_size)
{
    return fields_parse(disk_fields, sizeof(disk_fields) / sizeof(disk_fields[0]),
                        "seed, error, short, torn, lost, rot, misplaced, full, hang, delay, jitter", json, &entry->disk,
                        error, error_size);
}

static int network_parse(const json_t *json, struct ls_fault_entry *entry, char *error, size_t error_size)
{
    return ls_fault_parse(json, &entry->network, error, error_size);
}

/* ---- all kinds ---- */

struct reading {
    const json_t *json;
    size_t taken; /* keys */
    char *error;
    size_t error_size;
};

/* A whole number from `least` to `most` under `key`; `missing` where it is not there and may be (UINT64_MAX: it may
 * not). */
static bool number_take(struct reading *reading, const char *key, uint64_t least, uint64_t most, uint64_t missing,
                        uint64_t *number)
{
    const json_t *value = json_object_get(reading->json, key);

    *number = missing;
    if (value == NULL && missing != UINT64_MAX)
        return true;
    if (json_is_integer(value) && json_integer_value(value) >= 0 && (uint64_t)json_integer_value(value) >= least &&
        (uint64_t)json_integer_value(value) <= most) {
        *number = (uint64_t)json_integer_value(value);
        reading->taken++;
        return true;
    }
    snprintf(reading->error, reading->error_size, "%s: a whole number from %" PRIu64 " to %" PRIu64 " is %s", key,
             least, most, value == NULL ? "needed" : "allowed");
    return false;
}

/* One of `names` (its index), or `missing` where it is not there (UINT32_MAX: it must be). */
static bool name_take(struct reading *reading, const char *key, const char *const *names, uint32_t count,
                      uint32_t missing, uint32_t *index)
{
    const json_t *value = json_object_get(reading->json, key);
    const char *text = json_string_value(value);
    size_t used;

    *index = missing;
    if (value == NULL && missing != UINT32_MAX)
        return true;
    for (*index = 0; text != NULL && *index < count; ++*index)
        if (strcmp(names[*index], text) == 0) {
            reading->taken++;
            return true;
        }
    used = (size_t)snprintf(reading->error, reading->error_size, "%s: allowed are", key);
    for (uint32_t i = 0; i < count && used < reading->error_size; i++)
        used +=
            (size_t)snprintf(reading->error + used, reading->error_size - used, "%s %s", i > 0 ? "," : "", names[i]);
    return false;
}

/* The keys that are a kind's own settings. */
static bool settings_take(struct reading *reading, struct ls_fault_entry *entry)
{
    json_t *rest = json_copy((json_t *)(uintptr_t)reading->json);
    bool disk = entry->kind == LS_FAULT_DISK;
    int result;

    (void)json_object_del(rest, "kind");
    (void)json_object_del(rest, "for_ns");
    result = (disk ? disk_parse : network_parse)(rest, entry, reading->error, reading->error_size);
    reading->taken += json_object_size(rest);
    if (result == 0 && json_object_size(rest) == 0) {
        snprintf(reading->error, reading->error_size, "nothing to do: give %s",
                 disk ? "error, short, torn, lost, rot, misplaced, full, hang, delay or jitter"
                      : "drop, duplicate, reorder, corrupt, delay, jitter, cut_in, cut_out or bytes_per_second");
        result = -EINVAL;
    }
    json_decref(rest);
    return result == 0;
}

int ls_fault_entry_parse(const json_t *json, struct ls_fault_entry *entry, char *error, size_t error_size)
{
    static const char *const kinds[] = {"network", "slow", "stall", "stop", "crash", "flip", "disk"};
    static const char *const workers[] = {"net", "apply", "journal"};
    static const char *const targets[] = {"dataplane", "ctrl", "node"};
    struct reading reading = {.json = json, .error = error, .error_size = error_size};
    uint32_t kind, target = 0;
    bool good, once, worker, process;

    memset(entry, 0, sizeof(*entry));
    if (!json_is_object(json)) {
        snprintf(error, error_size, "a JSON object of fault settings is expected");
        return -EINVAL;
    }
    if (!name_take(&reading, "kind", kinds, LS_FAULT_KINDS, LS_FAULT_NETWORK, &kind))
        return -EINVAL;
    entry->kind = (enum ls_fault_kind)kind;
    once = kind == LS_FAULT_CRASH || kind == LS_FAULT_FLIP;
    worker = kind == LS_FAULT_SLOW || kind == LS_FAULT_STALL;
    process = kind == LS_FAULT_STOP || kind == LS_FAULT_CRASH;
    good = once || number_take(&reading, "for_ns", 1, LS_FAULT_FOR_MAX,
                               kind == LS_FAULT_STOP || kind == LS_FAULT_STALL ? UINT64_MAX : 0, &entry->for_ns);
    good = good && (!worker || name_take(&reading, "worker", workers, LS_WORKERS, UINT32_MAX, &entry->worker));
    good =
        good && (kind != LS_FAULT_SLOW || number_take(&reading, "turn_ns", 1, 1000000000, UINT64_MAX, &entry->turn_ns));
    good = good && (kind != LS_FAULT_FLIP || number_take(&reading, "seed", 0, INT64_MAX, 0, &entry->seed));
    good = good && (!process || name_take(&reading, "target", targets, 3, 0, &target));
    if (good && process)
        entry->target = (enum ls_fault_target)(target + 1);
    if (good && (kind == LS_FAULT_NETWORK || kind == LS_FAULT_DISK))
        good = settings_take(&reading, entry);
    if (!good)
        return -EINVAL;
    if (reading.taken == json_object_size(json))
        return 0;
    snprintf(error, error_size, "a fault of kind %s does not take all of these keys", kinds[kind]);
    return -EINVAL;
}
