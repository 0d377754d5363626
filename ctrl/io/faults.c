/* SPDX-License-Identifier: BSD-3-Clause */
/* The list of faults and their arithmetic; see faults.h. ctrl's one thread. */
#include "faults.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MILLION 1000000u

static const char *const kind_names[LS_FAULT_KINDS] = {"network", "slow", "stall", "stop", "crash", "flip", "disk"};
static const char *const target_names[] = {"?", "dataplane", "ctrl", "node"};
static const char *const worker_names[LS_WORKERS] = {"net", "apply", "journal"};

const char *ls_fault_kind_name(enum ls_fault_kind kind)
{
    return kind < LS_FAULT_KINDS ? kind_names[kind] : "?";
}

/* ---- the list ---- */

uint64_t ls_fault_list_add(struct ls_fault_list *list, const struct ls_fault_entry *entry, uint64_t now_ns)
{
    struct ls_fault_entry *added;

    if (list->count == LS_FAULTS_MAX)
        return 0;
    added = &list->entry[list->count++];
    *added = *entry;
    added->id = ++list->last_id;
    added->since_ns = now_ns;
    return added->id;
}

static void remove_at(struct ls_fault_list *list, uint32_t at)
{
    list->count--;
    memmove(&list->entry[at], &list->entry[at + 1], (list->count - at) * sizeof(list->entry[0]));
}

uint32_t ls_fault_list_remove(struct ls_fault_list *list, uint64_t id)
{
    uint32_t removed = 0;

    for (uint32_t i = list->count; i-- > 0;)
        if (id == 0 || list->entry[i].id == id) {
            remove_at(list, i);
            removed++;
        }
    return removed;
}

static uint64_t end_ns(const struct ls_fault_entry *entry)
{
    return entry->for_ns == 0 ? UINT64_MAX : entry->since_ns + entry->for_ns;
}

uint32_t ls_fault_list_expire(struct ls_fault_list *list, uint64_t now_ns)
{
    uint32_t removed = 0;

    for (uint32_t i = list->count; i-- > 0;)
        if (end_ns(&list->entry[i]) <= now_ns) {
            remove_at(list, i);
            removed++;
        }
    return removed;
}

uint64_t ls_fault_list_next_ns(const struct ls_fault_list *list)
{
    uint64_t next = UINT64_MAX;

    for (uint32_t i = 0; i < list->count; i++)
        if (end_ns(&list->entry[i]) < next)
            next = end_ns(&list->entry[i]);
    return next;
}

/* ---- merging ---- */

/* At least one of two independent causes, per million. */
static uint32_t either(uint32_t a, uint32_t b)
{
    return (uint32_t)(MILLION - (uint64_t)(MILLION - a) * (MILLION - b) / MILLION);
}

void ls_fault_list_network(const struct ls_fault_list *list, struct ls_control_fault *all)
{
    memset(all, 0, sizeof(*all));
    for (uint32_t i = 0; i < list->count; i++) {
        const struct ls_control_fault *one = &list->entry[i].network;

        if (list->entry[i].kind != LS_FAULT_NETWORK)
            continue;
        all->drop = either(all->drop, one->drop);
        all->duplicate = either(all->duplicate, one->duplicate);
        all->reorder = either(all->reorder, one->reorder);
        all->corrupt = either(all->corrupt, one->corrupt);
        if (one->reorder_span > all->reorder_span)
            all->reorder_span = one->reorder_span;
        all->delay += one->delay;
        all->jitter += one->jitter;
        all->cut_in |= one->cut_in;
        all->cut_out |= one->cut_out;
        if (one->bytes_per_second != 0 && (all->bytes_per_second == 0 || one->bytes_per_second < all->bytes_per_second))
            all->bytes_per_second = one->bytes_per_second;
        if (one->seed != 0)
            all->seed = one->seed;
    }
}

void ls_fault_list_disk(const struct ls_fault_list *list, struct ls_control_disk_fault *all)
{
    memset(all, 0, sizeof(*all));
    for (uint32_t i = 0; i < list->count; i++) {
        const struct ls_control_disk_fault *one = &list->entry[i].disk;

        if (list->entry[i].kind != LS_FAULT_DISK)
            continue;
        all->error = either(all->error, one->error);
        all->cut = either(all->cut, one->cut);
        all->torn = either(all->torn, one->torn);
        all->lost = either(all->lost, one->lost);
        all->rot = either(all->rot, one->rot);
        all->misplaced = either(all->misplaced, one->misplaced);
        all->full |= one->full;
        all->hang |= one->hang;
        all->delay += one->delay;
        all->jitter += one->jitter;
        if (one->seed != 0)
            all->seed = one->seed;
    }
}

uint64_t ls_fault_list_slow_ns(const struct ls_fault_list *list, uint32_t worker)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < list->count; i++)
        if (list->entry[i].kind == LS_FAULT_SLOW && list->entry[i].worker == worker)
            sum += list->entry[i].turn_ns;
    return sum;
}

/* ---- for people ---- */

struct words {
    char *at;
    size_t room;
    bool any;
};

static void add(struct words *words, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct words *words, const char *format, ...)
{
    va_list arguments;
    int length;

    if (words->any && words->room > 2) {
        memcpy(words->at, ", ", 3);
        words->at += 2;
        words->room -= 2;
    }
    words->any = true;
    va_start(arguments, format);
    length = vsnprintf(words->at, words->room, format, arguments);
    va_end(arguments);
    length = (size_t)length < words->room ? length : (int)words->room - 1;
    words->at += length;
    words->room -= (size_t)length;
}

static const char *time_text(uint64_t ns, char text[32])
{
    if (ns % 1000000000 == 0)
        snprintf(text, 32, "%" PRIu64 " s", ns / 1000000000);
    else if (ns % 1000000 == 0)
        snprintf(text, 32, "%" PRIu64 " ms", ns / 1000000);
    else if (ns % 1000 == 0)
        snprintf(text, 32, "%" PRIu64 " us", ns / 1000);
    else
        snprintf(text, 32, "%" PRIu64 " ns", ns);
    return text;
}

static void add_chance(struct words *words, const char *name, uint32_t per_million)
{
    if (per_million != 0)
        add(words, "%s %g %%", name, (double)per_million / 10000);
}

static void add_nodes(struct words *words, const char *name, uint64_t mask)
{
    char list[200];
    size_t used = 0;

    if (mask == 0)
        return;
    list[0] = '\0';
    for (uint32_t node = 0; node <= LS_NODE_ID_MAX; node++)
        if (mask >> node & 1)
            used += node == 0 ? (size_t)snprintf(list + used, sizeof(list) - used, " clients")
                              : (size_t)snprintf(list + used, sizeof(list) - used, " %u", node);
    add(words, "%s%s", name, list);
}

static void add_network(struct words *words, const struct ls_control_fault *fault)
{
    char text[32];

    add_chance(words, "drop", fault->drop);
    add_chance(words, "duplicate", fault->duplicate);
    add_chance(words, "reorder", fault->reorder);
    add_chance(words, "corrupt", fault->corrupt);
    if (fault->delay != 0)
        add(words, "delay %s", time_text(fault->delay, text));
    if (fault->jitter != 0)
        add(words, "jitter %s", time_text(fault->jitter, text));
    if (fault->cut_in == fault->cut_out) {
        add_nodes(words, "cut", fault->cut_in);
    } else {
        add_nodes(words, "cut from", fault->cut_in);
        add_nodes(words, "cut to", fault->cut_out);
    }
    if (fault->bytes_per_second != 0)
        add(words, "at most %" PRIu64 " bytes/s", fault->bytes_per_second);
    if (fault->seed != 0)
        add(words, "seed %" PRIu64, fault->seed);
}

static void add_disk(struct words *words, const struct ls_control_disk_fault *fault)
{
    char text[32];

    add(words, "disk ");
    words->any = false; /* no comma behind that */
    add_chance(words, "error", fault->error);
    add_chance(words, "short", fault->cut);
    add_chance(words, "torn", fault->torn);
    add_chance(words, "lost", fault->lost);
    add_chance(words, "rot", fault->rot);
    add_chance(words, "misplaced", fault->misplaced);
    if (fault->full != 0)
        add(words, "full");
    if (fault->hang != 0)
        add(words, "hang");
    if (fault->delay != 0)
        add(words, "delay %s", time_text(fault->delay, text));
    if (fault->jitter != 0)
        add(words, "jitter %s", time_text(fault->jitter, text));
    if (fault->seed != 0)
        add(words, "seed %" PRIu64, fault->seed);
}

const char *ls_fault_entry_text(const struct ls_fault_entry *entry, char *text, size_t room)
{
    struct words words = {.at = text, .room = room};
    const char *worker = worker_names[entry->worker < LS_WORKERS ? entry->worker : 0];
    char time[32];

    text[0] = '\0';
    switch (entry->kind) {
    case LS_FAULT_NETWORK:
        add_network(&words, &entry->network);
        break;
    case LS_FAULT_DISK:
        add_disk(&words, &entry->disk);
        break;
    case LS_FAULT_SLOW:
        add(&words, "slow %s by %s a turn", worker, time_text(entry->turn_ns, time));
        break;
    case LS_FAULT_STALL:
        add(&words, "stall %s", worker);
        break;
    case LS_FAULT_FLIP:
        add(&words, "flip a bit of the state, seed %" PRIu64, entry->seed);
        break;
    default:
        add(&words, "%s %s", ls_fault_kind_name(entry->kind), target_names[entry->target & 3]);
        break;
    }
    if (entry->for_ns != 0)
        add(&words, "for %s", time_text(entry->for_ns, time));
    return text;
}

json_t *ls_fault_entry_json(const struct ls_fault_entry *entry, uint64_t now_ns)
{
    char text[LS_FAULT_TEXT_MAX];
    uint64_t age = now_ns > entry->since_ns ? now_ns - entry->since_ns : 0;
    json_t *left = json_null();

    if (entry->for_ns != 0)
        left = json_real(entry->for_ns > age ? (double)(entry->for_ns - age) / 1e6 : 0);
    return json_pack("{s:I, s:s, s:s, s:f, s:o}", "id", (json_int_t)entry->id, "kind", ls_fault_kind_name(entry->kind),
                     "text", ls_fault_entry_text(entry, text, sizeof(text)), "age_ms", (double)age / 1e6, "left_ms",
                     left);
}
