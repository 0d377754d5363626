/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The session table as bytes. Taken by apply while the log goes on: what concerns the whole table stands in the header,
 * written at the beginning; each slot follows once, either before it changes for the first time or in its turn, so the
 * order of slots differs from replica to replica and means nothing. Restored by whoever restores, from any bytes.
 *
 * Header, then as many slots as were ever used: a session and its results from `floor` on, or a free slot, which names
 * the one freed before it. The order of use follows from the seqs of the sessions' newest entries. Little-endian. No
 * checksum: a checkpoint has those; the digest travels as a value, as it is a chain over history.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "memory.h"
#include "session_table.h"

#define IMAGE_MAGIC   0x0a7365732d534c00ull /* "\0LS-ses\n" */
#define IMAGE_VERSION 1

/* One step ends behind so many slots or bytes. */
#define STEP_SLOTS 16
#define STEP_BYTES 32768

struct image_header {
    uint64_t magic;
    uint32_t version;
    uint32_t limited; /* 1: the fields of the log's limits mean something */
    uint64_t chain;
    uint64_t idle_ns;
    uint32_t limit;
    uint32_t window;
    uint32_t open;
    uint32_t used;  /* slots that follow */
    uint32_t freed; /* slot + 1 of the last freed one, 0: none */
    uint32_t zero;
} LS_PACKED;
static_assert(sizeof(struct image_header) == 56, "image layout");

struct image_slot { /* followed by `results` */
    uint32_t slot;
    uint32_t results;
    struct ls_session session;
};
static_assert(sizeof(struct image_slot) == 72, "image layout, without padding");

struct image_result { /* followed by its bytes, padded with zeros to a multiple of 8 */
    uint64_t seq;
    uint16_t status;
    uint16_t length;
    uint32_t zero;
} LS_PACKED;
static_assert(sizeof(struct image_result) == 16, "image layout");

#define SLOT_MAX (sizeof(struct image_slot) + LS_KEPT_SLOTS * (sizeof(struct image_result) + LS_RESULT_MAX))
static_assert(LS_RESULT_MAX % 8 == 0, "the longest result needs no padding");

size_t ls_sessions_image_max(uint32_t capacity)
{
    return sizeof(struct image_header) + capacity * SLOT_MAX;
}

/* ---- taking ---- */

void ls_session_image_copy(struct ls_sessions *table, uint32_t slot)
{
    struct ls_sessions_image *image = &table->image;
    const struct ls_session *session = &table->session[slot];
    uint8_t *at = image->bytes + image->size;
    struct image_slot head = {.slot = slot, .session = *session};

    if (session->id != 0)
        head.results = (uint32_t)(session->next - session->floor);
    assert(head.results <= LS_KEPT_SLOTS);
    memcpy(at, &head, sizeof(head));
    at += sizeof(head);
    for (uint64_t number = session->floor; session->id != 0 && number < session->next; number++) {
        const struct ls_kept *kept = &table->kept[ls_session_kept_index(slot, number)];
        struct image_result result = {.seq = kept->seq, .status = kept->status, .length = kept->length};
        memcpy(at, &result, sizeof(result));
        at += sizeof(result);
        ls_sessions_copy(table, kept, at);
        memset(at + result.length, 0, ls_pad8(result.length) - result.length);
        at += ls_pad8(result.length);
    }
    image->size = (size_t)(at - image->bytes);
    image->copied[slot / 64] |= 1ull << (slot % 64);
    image->copies++;
}

bool ls_sessions_image_begin(struct ls_sessions *table)
{
    struct ls_sessions_image *image = &table->image;
    if (image->open)
        return false;
    struct image_header header = {.magic = IMAGE_MAGIC,
                                  .version = IMAGE_VERSION,
                                  .limited = table->limited,
                                  .chain = table->chain,
                                  .idle_ns = table->idle_ns,
                                  .limit = table->limit,
                                  .window = table->window,
                                  .open = table->open,
                                  .used = table->used,
                                  .freed = table->freed};
    memcpy(image->bytes, &header, sizeof(header));
    memset(image->copied, 0, (table->used + 63) / 64 * sizeof(uint64_t));
    image->size = sizeof(header);
    image->end = table->used;
    image->next = 0;
    image->copies = 0;
    image->open = true;
    return true;
}

uint32_t ls_sessions_image_step(struct ls_sessions *table)
{
    struct ls_sessions_image *image = &table->image;
    uint32_t before = image->next;
    size_t enough = image->size + STEP_BYTES;
    if (!image->open)
        return 0;
    while (image->next < image->end && image->next < before + STEP_SLOTS && image->size < enough) {
        if (!ls_session_image_has(image, image->next))
            ls_session_image_copy(table, image->next);
        image->next++;
    }
    return image->next - before;
}

bool ls_sessions_image_whole(const struct ls_sessions *table)
{
    return table->image.open && table->image.next == table->image.end;
}

const uint8_t *ls_sessions_image(const struct ls_sessions *table, size_t *size)
{
    assert(ls_sessions_image_whole(table) && table->image.copies == table->image.end);
    *size = table->image.size;
    return table->image.bytes;
}

void ls_sessions_image_end(struct ls_sessions *table)
{
    table->image.open = false;
}

/* ---- restoring ---- */

/* A session's place in the order of use. */
struct used {
    uint64_t touched;
    uint32_t slot;
    uint32_t zero;
};

static int used_compare(const void *a, const void *b)
{
    const struct used *x = a, *y = b;
    return x->touched < y->touched ? -1 : x->touched > y->touched;
}

/* The next `size` of the bytes that are left; false: there are not so many. */
static bool take(const uint8_t **at, size_t *left, void *to, size_t size)
{
    if (*left < size)
        return false;
    memcpy(to, *at, size);
    *at += size;
    *left -= size;
    return true;
}

static int header_check(const struct image_header *header, uint32_t capacity)
{
    if (header->magic != IMAGE_MAGIC || header->version != IMAGE_VERSION || header->zero != 0 || header->limited > 1 ||
        header->window < 1 || header->window > LS_WINDOW_MAX || header->open > header->used ||
        header->freed > header->used || (header->open == header->used) != (header->freed == 0))
        return EBADMSG;
    if (!header->limited && (header->limit != 0 || header->idle_ns != 0 || header->window != 1 || header->used != 0))
        return EBADMSG;
    return header->used > capacity || header->limit > capacity ? ENOSPC : 0;
}

static bool result_restore(struct ls_sessions *table, uint32_t slot, uint64_t number, const uint8_t **at, size_t *left)
{
    static const uint8_t zeros[8];
    struct image_result result;
    uint8_t bytes[LS_RESULT_MAX];
    if (!take(at, left, &result, sizeof(result)) || result.length > LS_RESULT_MAX || result.zero != 0 ||
        result.seq == 0 || !take(at, left, bytes, ls_pad8(result.length)) ||
        memcmp(bytes + result.length, zeros, ls_pad8(result.length) - result.length) != 0)
        return false;
    size_t index = ls_session_kept_index(slot, number);
    struct ls_kept *kept = &table->kept[index];
    *kept = (struct ls_kept){.number = number, .seq = result.seq, .status = result.status, .length = result.length};
    memcpy(kept->bytes, bytes, result.length < LS_KEPT_INLINE ? result.length : LS_KEPT_INLINE);
    if (result.length > LS_KEPT_INLINE)
        memcpy(table->rest[index], bytes + LS_KEPT_INLINE, result.length - LS_KEPT_INLINE);
    return true;
}

static bool slot_is_sane(const struct image_slot *head, uint32_t used)
{
    const struct ls_session *s = &head->session;
    if (s->id == 0)
        return head->results == 0 && s->next <= used && s->floor == 0 && s->active == 0 && s->nonce[0] == 0 &&
               s->nonce[1] == 0 && s->touched == 0 && s->client == 0;
    return s->touched >= s->id && s->floor >= 1 && s->floor <= s->next && s->next - s->floor == head->results &&
           head->results <= LS_KEPT_SLOTS && s->client >> 48 == 0;
}

static bool slot_restore(struct ls_sessions *table, const uint8_t **at, size_t *left)
{
    struct image_slot head;
    if (!take(at, left, &head, sizeof(head)) || head.slot >= table->used ||
        ls_session_image_has(&table->image, head.slot) || !slot_is_sane(&head, table->used))
        return false;
    table->image.copied[head.slot / 64] |= 1ull << (head.slot % 64);
    if (head.session.id != 0) {
        if (ls_session_nonce_find(table, head.session.nonce) != UINT32_MAX)
            return false;
        table->open++;
    }
    table->session[head.slot] = head.session;
    if (head.session.id != 0)
        ls_session_nonce_insert(table, head.slot);
    for (uint64_t number = head.session.floor; head.session.id != 0 && number < head.session.next; number++) {
        if (!result_restore(table, head.slot, number, at, left))
            return false;
    }
    return true;
}

/* Every free slot stands in the list of freed ones, once. */
static bool freed_is_sane(const struct ls_sessions *table)
{
    uint32_t n = 0;
    for (uint64_t index = table->freed; index != 0; index = table->session[index - 1].next) {
        if (++n > table->used - table->open || table->session[index - 1].id != 0)
            return false;
    }
    return n == table->used - table->open;
}

/* 0 or an errno. */
static int order_restore(struct ls_sessions *table)
{
    size_t size = (table->open + 1) * sizeof(struct used);
    struct used *order = ls_memory_map(size);
    uint32_t n = 0;
    int error = 0;
    if (!order)
        return ENOMEM;
    for (uint32_t slot = 0; slot < table->used; slot++) {
        if (table->session[slot].id != 0)
            order[n++] = (struct used){.touched = table->session[slot].touched, .slot = slot};
    }
    qsort(order, n, sizeof(*order), used_compare);
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0 && order[i].touched == order[i - 1].touched)
            error = EBADMSG; /* one entry is of one session */
        ls_session_list_append(table->link, order[i].slot + 1);
    }
    ls_memory_unmap(order, size);
    return error;
}

static int table_restore(struct ls_sessions *table, const struct image_header *header, const uint8_t *at, size_t left)
{
    table->limited = header->limited != 0;
    table->idle_ns = header->idle_ns;
    table->limit = header->limit;
    table->window = header->window;
    table->used = header->used;
    table->freed = header->freed;
    table->chain = header->chain;
    for (uint32_t i = 0; i < header->used; i++) {
        if (!slot_restore(table, &at, &left))
            return EBADMSG;
    }
    if (left != 0 || table->open != header->open || !freed_is_sane(table))
        return EBADMSG;
    return order_restore(table);
}

struct ls_sessions *ls_sessions_restore(const uint8_t *bytes, size_t size, uint32_t capacity)
{
    struct image_header header;
    int error = take(&bytes, &size, &header, sizeof(header)) ? header_check(&header, capacity) : EBADMSG;
    struct ls_sessions *table = error == 0 ? ls_sessions_create(capacity, NULL) : NULL;
    if (error == 0)
        error = table ? table_restore(table, &header, bytes, size) : ENOMEM;
    if (error != 0) {
        ls_sessions_destroy(table);
        errno = error;
        return NULL;
    }
    return table;
}

void ls_sessions_attach(struct ls_sessions *table, struct ls_session_public *seats, uint32_t n)
{
    assert(n >= table->capacity);
    table->seats = seats;
    for (uint32_t slot = 0; slot < n; slot++) {
        if (slot < table->used && table->session[slot].id != 0)
            ls_session_seat_give(table, slot);
        else
            ls_session_seat_free(&seats[slot]);
    }
}
