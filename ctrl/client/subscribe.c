/* SPDX-License-Identifier: BSD-3-Clause */
/* Pages of GET /v1/log, one behind the other, at whichever node answers. See <lockstep/subscribe.h>. */
#include <lockstep/subscribe.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>

#include "ask.h"

#define SOCKETS_MAX   16
#define PATIENCE_NS   10000000000ull
#define LOOK_NS       20000000ull
#define ASK_NS        5000000000ull
#define OPERATION_MAX (64 * 1024)

struct ls_subscription {
    char *socket[SOCKETS_MAX];
    uint32_t count, at; /* `at` answered last */
    uint64_t patience_ns;
    uint64_t next; /* seq; 0: the oldest */
    json_t *page;  /* NULL: none */
    size_t taken;  /* of its entries */
    uint8_t operation[OPERATION_MAX + 4];
    char error[LS_SUBSCRIBE_ERROR_MAX];
};

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int ls_subscription_open(const struct ls_subscription_config *config, struct ls_subscription **subscription)
{
    struct ls_subscription *s;
    if (config->count < 1 || config->count > SOCKETS_MAX)
        return -EINVAL;
    s = calloc(1, sizeof(*s));
    if (s == NULL)
        return -ENOMEM;
    s->patience_ns = config->patience_ns != 0 ? config->patience_ns : PATIENCE_NS;
    s->next = config->from;
    for (s->count = 0; s->count < config->count; s->count++) {
        s->socket[s->count] = strdup(config->sockets[s->count]);
        if (s->socket[s->count] == NULL) {
            ls_subscription_close(s);
            return -ENOMEM;
        }
    }
    *subscription = s;
    return 0;
}

void ls_subscription_close(struct ls_subscription *s)
{
    if (s == NULL)
        return;
    json_decref(s->page);
    for (uint32_t i = 0; i < s->count; i++)
        free(s->socket[i]);
    free(s);
}

const char *ls_subscription_error(const struct ls_subscription *s)
{
    return s->error;
}

static uint64_t number_of(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

/* 0: a page is there, perhaps an empty one. */
static int page_get(struct ls_subscription *s)
{
    char path[64], why[256] = "";
    long code;
    snprintf(path, sizeof(path), "/v1/log?seq=%" PRIu64, s->next);
    json_decref(s->page);
    s->taken = 0;
    s->page = ls_ask_get(s->socket[s->at], path, ASK_NS, &code, why, sizeof(why));
    if (s->page == NULL) {
        snprintf(s->error, sizeof(s->error), "%.200s: %.250s", s->socket[s->at], why);
        return -EHOSTUNREACH;
    }
    uint64_t oldest = number_of(s->page, "oldest_seq");
    if (s->next == 0)
        s->next = oldest > 0 ? oldest : 1;
    if (oldest <= s->next)
        return 0;
    snprintf(s->error, sizeof(s->error),
             "entries %" PRIu64 " to %" PRIu64 " are not retained any more: begin with a checkpoint, or raise "
             "journal.keep",
             s->next, oldest - 1);
    json_decref(s->page);
    s->page = NULL;
    return -ENODATA;
}

/* At one node after the other, until one answers. What one of them has let go another one may still have. */
static int page_find(struct ls_subscription *s)
{
    uint64_t begin = clock_ns();
    uint32_t gone = 0;
    int result = page_get(s);
    while (result != 0) {
        gone = result == -ENODATA ? gone + 1 : 0;
        if (gone >= s->count)
            return result;
        if (clock_ns() - begin > s->patience_ns)
            return gone > 0 ? -ENODATA : result;
        s->at = (s->at + 1) % s->count;
        if (s->at == 0)
            nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
        result = page_get(s);
    }
    return 0;
}

static bool operation_take(struct ls_subscription *s, const json_t *json, struct ls_subscribed *entry)
{
    const char *text = json_string_value(json_object_get(json, "operation"));
    size_t encoded = text != NULL ? strlen(text) : 0;
    entry->length = (uint32_t)number_of(json, "length");
    entry->operation = NULL;
    if (encoded == 0)
        return true;
    if (encoded % 4 != 0 || encoded / 4 * 3 > sizeof(s->operation) || encoded / 4 * 3 < entry->length ||
        EVP_DecodeBlock(s->operation, (const unsigned char *)text, (int)encoded) < 0)
        return false;
    entry->operation = s->operation;
    return true;
}

static bool entry_take(struct ls_subscription *s, const json_t *json, struct ls_subscribed *entry)
{
    const char *kind = json_string_value(json_object_get(json, "kind"));
    *entry = (struct ls_subscribed){.seq = number_of(json, "seq"),
                                    .time = number_of(json, "time"),
                                    .session = number_of(json, "session"),
                                    .number = number_of(json, "number")};
    while (entry->kind < LS_ENTRY_KINDS && (kind == NULL || strcmp(kind, ls_entry_kind_name(entry->kind)) != 0))
        entry->kind++;
    return entry->kind < LS_ENTRY_KINDS && entry->seq == s->next && operation_take(s, json, entry);
}

int ls_subscription_next(struct ls_subscription *s, uint64_t wait_ns, struct ls_subscribed *entry)
{
    uint64_t begin = clock_ns();
    s->error[0] = '\0';
    for (;;) {
        const json_t *json = json_array_get(json_object_get(s->page, "entries"), s->taken);
        if (json != NULL && entry_take(s, json, entry)) {
            s->taken++;
            s->next++;
            return 1;
        }
        if (json != NULL) {
            snprintf(s->error, sizeof(s->error),
                     "%.200s: the answer is not lockstep-ctrl's: entry %" PRIu64 " is wrong", s->socket[s->at],
                     s->next);
            json_decref(s->page);
            s->page = NULL;
            return -EPROTO;
        }
        bool had = s->page != NULL && s->taken > 0;
        int result = page_find(s);
        if (result != 0)
            return result;
        if (json_array_size(json_object_get(s->page, "entries")) > 0)
            continue;
        if (!had && clock_ns() - begin >= wait_ns)
            return 0;
        nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
    }
}
