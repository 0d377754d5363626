/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Builds JSON from the counters page and the start-up machine. 64-bit identities (cluster, digest) are hexadecimal
 * strings, because JSON's numbers are not safe above 2^53; counts are numbers.
 */
#include "status.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <openssl/evp.h>

#include <lockstep/entry.h>

#include "../../dataplane/core/log.h"

static uint64_t word(const _Atomic uint64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

static void set(json_t *object, const char *key, json_t *value)
{
    (void)json_object_set_new(object, key, value); /* without memory the key is missing */
}

static void set_number(json_t *object, const char *key, uint64_t value)
{
    set(object, key, json_integer(value <= INT64_MAX ? (json_int_t)value : INT64_MAX));
}

static void set_text(json_t *object, const char *key, const char *value)
{
    set(object, key, json_string(value));
}

static void set_hex(json_t *object, const char *key, uint64_t value)
{
    set(object, key, json_sprintf("%016" PRIx64, value));
}

static json_t *address_json(uint32_t ip, uint16_t port)
{
    return json_sprintf("%u.%u.%u.%u:%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255, port);
}

static json_t *members_json(const struct ls_node *node, const struct ls_membership *members, uint64_t now_ns)
{
    const struct ls_counters_page *page = node->dataplane.page;
    json_t *list = json_array();

    for (uint32_t i = 0; i < members->count; i++) {
        const struct ls_member *member = &members->member[i];
        bool self = member->node == node->self->id;
        uint64_t heard = page != NULL ? word(&page->replica.heard_ns[member->node]) : 0;
        json_t *json = json_object();

        set_number(json, "node", member->node);
        set_text(json, "role", member->role == LS_MEMBER_VOTER ? "voter" : "learner");
        set(json, "address", address_json(member->addr.ip, member->addr.port));
        if (self && node->dataplane.process.alive)
            set(json, "heard_ms", json_real(0));
        else if (heard == 0)
            set(json, "heard_ms", json_null());
        else
            set(json, "heard_ms", json_real(now_ns > heard ? (double)(now_ns - heard) / 1e6 : 0));
        if (page != NULL) {
            set_number(json, "acked", word(self ? &page->replica.last : &page->replica.acked[member->node]));
            set_number(json, "applied_seq",
                       word(self ? &page->replica.applied_seq : &page->replica.acked_seq[member->node]));
        }
        (void)json_array_append_new(list, json);
    }
    return list;
}

static json_t *workers_json(const struct ls_node *node, uint64_t now_ns)
{
    static const char *const names[LS_WORKERS] = {"net", "apply", "journal"};
    const struct ls_counters_page *page = node->dataplane.page;
    json_t *list = json_array();

    for (int i = 0; i < LS_WORKERS; i++) {
        const struct ls_worker_page *worker = &page->worker[i];
        uint64_t beat_ns = word(&worker->heartbeat_ns);
        json_t *json;

        if (beat_ns == 0)
            continue; /* this node has no such worker */
        json = json_object();
        set_text(json, "name", names[i]);
        set_number(json, "heartbeat", word(&worker->heartbeat));
        set(json, "heartbeat_age_ms", json_real(now_ns > beat_ns ? (double)(now_ns - beat_ns) / 1e6 : 0));
        set(json, "busy", json_real(node->busy[i]));
        set(json, "longest_turn_us", json_real((double)word(&worker->longest_turn_ns) / 1e3));
        set_number(json, "sleeps", word(&worker->sleeps));
        set(json, "cpu", word(&worker->cpu) == UINT64_MAX ? json_null() : json_integer((json_int_t)word(&worker->cpu)));
        (void)json_array_append_new(list, json);
    }
    return list;
}

static json_t *counters_json(const struct ls_counters_page *page)
{
    json_t *json = json_object();

    for (unsigned i = 0; i < LS_COUNTERS; i++) {
        uint64_t sum = 0;

        for (int worker = 0; worker < LS_WORKERS; worker++)
            sum += ls_counter_get(&page->worker[worker].counters, i);
        set_number(json, ls_counter_name(i), sum);
    }
    return json;
}

/* Seq and digest of one comparison point; see struct ls_replica_page for the order. */
static void set_digest(json_t *json, const struct ls_replica_page *replica)
{
    for (int tries = 0; tries < 100; tries++) {
        uint64_t seq = atomic_load_explicit(&replica->digest_seq, memory_order_acquire);
        uint64_t digest = atomic_load_explicit(&replica->digest, memory_order_acquire);

        if (seq == 0 || seq != atomic_load_explicit(&replica->digest_seq, memory_order_acquire))
            continue;
        set_hex(json, "digest", digest);
        set_number(json, "digest_seq", seq);
        return;
    }
    set(json, "digest", json_null());
    set_number(json, "digest_seq", 0);
}

static void set_replica(json_t *json, const struct ls_node *node, uint64_t now_ns)
{
    const struct ls_counters_page *page = node->dataplane.page;
    const struct ls_replica_page *replica = &page->replica;
    json_t *buffers = json_object();

    set_number(json, "last", word(&replica->last));
    set_number(json, "last_seq", word(&replica->last_seq));
    set_number(json, "commit", word(&replica->commit));
    set_number(json, "applied", word(&replica->applied));
    set_number(json, "applied_seq", word(&replica->applied_seq));
    set_digest(json, replica);
    set_number(json, "log_time", word(&replica->log_time));
    set_number(json, "sessions", word(&replica->sessions));
    set_number(buffers, "total", word(&page->buffers_total));
    set_number(buffers, "free", word(&page->buffers_free));
    set(json, "buffers", buffers);
    set(json, "faults_active", json_boolean(__atomic_load_n(&page->faults_active, __ATOMIC_RELAXED) != 0));
    if (word(&replica->halt_reason) != LS_HALT_NONE)
        set_text(json, "halt", ls_halt_text((unsigned)word(&replica->halt_reason)));
    set(json, "workers", workers_json(node, now_ns));
    set(json, "counters", counters_json(page));
}

json_t *ls_status_json(const struct ls_node *node, uint64_t now_ns)
{
    const struct ls_dataplane *dataplane = &node->dataplane;
    const struct ls_counters_page *page = dataplane->page;
    json_t *json = json_object(), *below = json_object();
    bool alive = dataplane->process.alive;
    static struct ls_ctrl_view view;

    ls_node_view(node, &view);
    set_number(json, "node", node->self->id);
    set_text(json, "cluster", node->config->name);
    set_hex(json, "cluster_id", node->config->cluster);
    set_number(json, "generation", view.durable.generation);
    set_text(json, "state",
             view.phase == LS_CTRL_FULL && alive && !dataplane->ready ? "link closed" : ls_ctrl_phase_name(view.phase));
    set_text(json, "problem",
             view.problem[0] != '\0' || view.phase == LS_CTRL_FULL ? view.problem : ls_node_problem(node));
    set_number(json, "promise", view.durable.promise);
    /* A dead process leaves its last words in the page, which are no longer true: it has no role. */
    set_number(json, "epoch", page != NULL ? word(&page->replica.epoch) : 0);
    set_text(json, "role",
             !alive         ? "down"
             : page != NULL ? ls_role_name((unsigned)word(&page->replica.role))
                            : "starting");
    set_number(json, "sequencer", alive && page != NULL ? word(&page->replica.sequencer) : 0);
    set(json, "members", members_json(node, &view.members, now_ns));
    set(below, "alive", json_boolean(alive));
    if (!alive)
        set_text(below, "reason", dataplane->process.how);
    set_number(below, "pid", (uint64_t)dataplane->process.pid);
    set_number(below, "incarnation", view.durable.incarnation);
    if (page != NULL)
        set_replica(below, node, now_ns);
    set(json, "dataplane", below);
    return json;
}

static json_t *entry_json(const struct ls_entry *entry, const uint8_t *operation)
{
    static const char *const kinds[LS_ENTRY_KINDS] = {"?", "epoch", "operation", "open", "query", "tick", "limits"};
    json_t *json = json_object();

    set_number(json, "seq", entry->seq);
    set_number(json, "time", entry->time);
    set_text(json, "kind", kinds[entry->kind < LS_ENTRY_KINDS ? entry->kind : 0]);
    set_number(json, "session", entry->session);
    set_number(json, "number", entry->number);
    set(json, "client", address_json(entry->ip, entry->port));
    set_number(json, "length", entry->length);
    if (operation == NULL) {
        set(json, "operation", json_null()); /* too large for a message */
    } else {
        char *text = malloc(4 * ((size_t)entry->length + 2) / 3 + 4);

        if (text != NULL) {
            text[0] = '\0';
            EVP_EncodeBlock((unsigned char *)text, operation, (int)entry->length);
            set_text(json, "operation", text);
        }
        free(text);
    }
    return json;
}

json_t *ls_log_json(const uint8_t *body)
{
    struct ls_control_log_bytes head;
    json_t *json = json_object(), *entries = json_array();
    const uint8_t *at = body + sizeof(head), *end;
    struct ls_entry entry;

    memcpy(&head, body, sizeof(head));
    end = at + head.bytes;
    set_number(json, "oldest_seq", head.oldest_seq);
    set_number(json, "next_seq", head.next_seq);
    set_number(json, "commit_seq", head.commit_seq);
    while (at < end) {
        bool bare = head.skipped && (size_t)(end - at) == sizeof(entry);

        memcpy(&entry, at, sizeof(entry));
        (void)json_array_append_new(entries, entry_json(&entry, bare ? NULL : at + sizeof(entry)));
        at += bare ? sizeof(entry) : ls_entry_size(entry.length);
    }
    set(json, "entries", entries);
    return json;
}

/* ---- faults ---- */

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

static int field_parse(const struct fault_field *field, const json_t *value, struct ls_control_fault *fault,
                       char *error, size_t error_size)
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

int ls_fault_parse(const json_t *json, struct ls_control_fault *fault, char *error, size_t error_size)
{
    const size_t known = sizeof(fault_fields) / sizeof(fault_fields[0]);
    const char *key;
    json_t *value;

    memset(fault, 0, sizeof(*fault));
    if (!json_is_object(json)) {
        snprintf(error, error_size, "a JSON object of fault settings is expected");
        return -EINVAL;
    }
    json_object_foreach((json_t *)(uintptr_t)json, key, value)
    {
        size_t i = 0;

        while (i < known && strcmp(fault_fields[i].name, key) != 0)
            i++;
        if (i == known) {
            snprintf(error, error_size,
                     "unknown key \"%.40s\": allowed are seed, drop, duplicate, reorder, reorder_span, corrupt, delay, "
                     "jitter, cut_in, cut_out, bytes_per_second",
                     key);
            return -EINVAL;
        }
        if (field_parse(&fault_fields[i], value, fault, error, error_size) != 0)
            return -EINVAL;
    }
    return 0;
}
