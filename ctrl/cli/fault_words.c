/* SPDX-License-Identifier: BSD-3-Clause */
/* Faults as people write them, made into what lockstep-ctrl takes. Pure: no socket, no exit. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

struct words {
    int left;
    char *const *next;
    json_t *json;
    char *error;
    size_t room;
};

static bool wrong(struct words *words, const char *what, const char *value, const char *allowed)
{
    snprintf(words->error, words->room, "%s: \"%.40s\" is not allowed: %s", what, value, allowed);
    return false;
}

static const char *take(struct words *words)
{
    if (words->left == 0)
        return NULL;
    words->left--;
    return *words->next++;
}

static void set_number(struct words *words, const char *key, uint64_t value)
{
    (void)json_object_set_new(words->json, key, json_integer((json_int_t)value));
}

/* "5%", "0.1%": per million. */
static bool chance(const char *text, uint64_t *per_million)
{
    char *end;
    double percent = strtod(text, &end);
    if (text[0] < '0' || text[0] > '9' || strcmp(end, "%") != 0 || percent > 100)
        return false;
    *per_million = (uint64_t)(percent * 10000 + 0.5);
    return *per_million > 0;
}

/* "10M": bytes per second, with k, M or G behind it. */
static bool rate(const char *text, uint64_t *bytes)
{
    char *end;
    errno = 0;
    uint64_t factor = 1, number = strtoull(text, &end, 10);
    if (errno || text[0] < '0' || text[0] > '9' || (end[0] && end[1]))
        return false;
    switch (end[0]) {
    case 0:
        break;
    case 'k':
        factor = 1000;
        break;
    case 'M':
        factor = 1000 * 1000;
        break;
    case 'G':
        factor = 1000 * 1000 * 1000;
        break;
    default:
        return false;
    }
    return number > 0 && !__builtin_mul_overflow(number, factor, bytes) && *bytes <= INT64_MAX;
}

bool cli_nodes(const char *text, uint64_t *mask)
{
    const char *at = text;
    *mask = 0;
    for (;;) {
        size_t length = strcspn(at, ",");
        unsigned long node = 0;
        char *end = NULL;
        if (length == strlen("clients") && strncmp(at, "clients", length) == 0) {
            node = 0;
        } else {
            node = strtoul(at, &end, 10);
            if (at[0] < '0' || at[0] > '9' || end != at + length || node < 1 || node > LS_NODE_ID_MAX)
                return false;
        }
        *mask |= 1ull << node;
        if (at[length] == 0)
            return true;
        at += length + 1;
    }
}

json_t *cli_nodes_json(uint64_t mask)
{
    json_t *list = json_array();
    for (int node = 0; node <= LS_NODE_ID_MAX; node++)
        if (mask >> node & 1)
            (void)json_array_append_new(list, json_integer(node));
    return list;
}

static bool take_chance(struct words *words, const char *key)
{
    const char *text = take(words);
    uint64_t per_million;
    if (!text || !chance(text, &per_million))
        return wrong(words, key, text ? text : "", "a share, as in 5% or 0.01%, up to 100%");
    set_number(words, key, per_million);
    if (strcmp(key, "reorder") == 0 && !json_object_get(words->json, "reorder_span"))
        set_number(words, "reorder_span", 8);
    return true;
}

static bool take_time(struct words *words, const char *what, const char *key)
{
    const char *text = take(words);
    uint64_t ns;
    if (!text || !cli_duration(text, &ns) || ns == 0)
        return wrong(words, what, text ? text : "", "a whole number with ns, us, ms, s, m or h behind it, above 0");
    set_number(words, key, ns);
    return true;
}

static bool take_cut(struct words *words, const char *what)
{
    const char *text = take(words);
    uint64_t mask;
    if (!text || !cli_nodes(text, &mask))
        return wrong(words, what, text ? text : "", "node ids with commas between them, or clients, as in 2,3");
    if (strcmp(what, "cut-out") != 0)
        (void)json_object_set_new(words->json, "cut_in", cli_nodes_json(mask));
    if (strcmp(what, "cut-in") != 0)
        (void)json_object_set_new(words->json, "cut_out", cli_nodes_json(mask));
    return true;
}

static bool take_rate(struct words *words)
{
    const char *text = take(words);
    uint64_t bytes;
    if (!text || !rate(text, &bytes))
        return wrong(words, "rate", text ? text : "", "bytes per second, as in 500k, 10M or 1G");
    set_number(words, "bytes_per_second", bytes);
    return true;
}

static bool take_span(struct words *words)
{
    const char *text = take(words);
    uint64_t frames;
    if (!text || !cli_number(text, &frames) || frames == 0)
        return wrong(words, "span", text ? text : "", "how many frames may overtake one, at least 1");
    set_number(words, "reorder_span", frames);
    return true;
}

static bool network(struct words *words)
{
    const char *what;
    while ((what = take(words)) != NULL) {
        bool good;
        if (strcmp(what, "drop") == 0 || strcmp(what, "duplicate") == 0 || strcmp(what, "reorder") == 0 ||
            strcmp(what, "corrupt") == 0)
            good = take_chance(words, what);
        else if (strcmp(what, "delay") == 0 || strcmp(what, "jitter") == 0)
            good = take_time(words, what, what);
        else if (strcmp(what, "cut") == 0 || strcmp(what, "cut-in") == 0 || strcmp(what, "cut-out") == 0)
            good = take_cut(words, what);
        else if (strcmp(what, "rate") == 0)
            good = take_rate(words);
        else if (strcmp(what, "span") == 0)
            good = take_span(words);
        else
            good = wrong(words, "fault", what,
                         "drop, duplicate, reorder, corrupt, delay, jitter, cut, cut-in, cut-out, rate, span; or alone "
                         "stop, crash, slow, stall, flip, disk, partition");
        if (!good)
            return false;
    }
    return true;
}

static bool take_disk(struct words *words, const char *what)
{
    static const char *const chances[] = {"error", "short", "torn", "lost", "rot", "misplaced"};
    for (size_t i = 0; i < sizeof(chances) / sizeof(chances[0]); i++)
        if (strcmp(what, chances[i]) == 0)
            return take_chance(words, what);
    if (strcmp(what, "delay") == 0 || strcmp(what, "jitter") == 0)
        return take_time(words, what, what);
    if (strcmp(what, "full") != 0 && strcmp(what, "hang") != 0)
        return wrong(words, "disk", what, "error, short, torn, lost, rot, misplaced, full, hang, delay, jitter");
    set_number(words, what, 1);
    return true;
}

/* At least one of them. */
static bool disk(struct words *words)
{
    const char *what = take(words);
    if (!what)
        return take_disk(words, "");
    for (; what; what = take(words))
        if (!take_disk(words, what))
            return false;
    return true;
}

static bool take_target(struct words *words)
{
    const char *target = take(words);
    if (target && strcmp(target, "dataplane") != 0 && strcmp(target, "ctrl") != 0 && strcmp(target, "node") != 0)
        return wrong(words, "target", target, "dataplane, ctrl or node (both)");
    if (target)
        (void)json_object_set_new(words->json, "target", json_string(target));
    return true;
}

static bool take_worker(struct words *words)
{
    const char *worker = take(words);
    if (!worker || (strcmp(worker, "net") != 0 && strcmp(worker, "apply") != 0 && strcmp(worker, "journal") != 0))
        return wrong(words, "worker", worker ? worker : "", "net, apply or journal");
    (void)json_object_set_new(words->json, "worker", json_string(worker));
    return true;
}

/* The kinds that are no settings of the network; each stands alone. */
static bool process(struct words *words, const char *kind)
{
    (void)take(words);
    (void)json_object_set_new(words->json, "kind", json_string(kind));
    if (strcmp(kind, "stop") == 0)
        return take_time(words, kind, "for_ns") && take_target(words);
    if (strcmp(kind, "crash") == 0)
        return take_target(words);
    if (strcmp(kind, "slow") == 0)
        return take_worker(words) && take_time(words, kind, "turn_ns");
    if (strcmp(kind, "stall") == 0)
        return take_worker(words) && take_time(words, kind, "for_ns");
    if (strcmp(kind, "disk") == 0)
        return disk(words);
    return true; /* flip */
}

json_t *cli_fault_words(int count, char *const *word, uint64_t for_ns, bool has_seed, uint64_t seed, char *error,
                        size_t room)
{
    static const char *const alone[] = {"stop", "crash", "slow", "stall", "flip", "disk"};
    struct words words = {.left = count, .next = word, .json = json_object(), .error = error, .room = room};
    const char *kind = NULL;
    for (size_t i = 0; i < sizeof(alone) / sizeof(alone[0]); i++)
        if (count > 0 && strcmp(word[0], alone[i]) == 0)
            kind = alone[i];
    bool good = kind ? process(&words, kind) : network(&words);
    if (good && words.left > 0)
        good = wrong(&words, "fault", *words.next, "nothing more behind this kind of fault");
    bool of_disk = kind && strcmp(kind, "disk") == 0;
    bool lasts = !kind || of_disk || strcmp(kind, "slow") == 0;
    if (good && for_ns && !lasts)
        good = wrong(&words, "--for", kind, "only faults of network and disk, and slow, last until they are cleared");
    if (good && has_seed && kind && !of_disk && strcmp(kind, "flip") != 0)
        good = wrong(&words, "--seed", kind, "only faults of network and disk, and flip, throw dice");
    if (good && for_ns)
        set_number(&words, "for_ns", for_ns);
    if (good && has_seed)
        set_number(&words, "seed", seed);
    if (good)
        return words.json;
    json_decref(words.json);
    return NULL;
}
