/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a checkpoint image back to a machine. Called once on a machine fresh from create() that nobody else knows yet,
 * by whoever restores; the bytes may be anything. A machine whose restore failed is only good for destroy().
 *
 * Keys enter the ordered index at the end and in order: each then goes beside the one before it, in lines that are in
 * the cache, where in the order of the image it would wait for several lines from memory. They are sorted by eight
 * bytes behind what all of them begin with, kept beside the slot; only equal ones are looked up.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "kv_machine.h"

static int ls_restore_header(struct ls_machine *m, struct ls_checkpoint_source *source,
                             struct ls_kv_image_header *header)
{
    int error = source->read(source, header, sizeof(*header));

    if (error != 0)
        return error;
    if (header->magic != LS_KV_IMAGE_MAGIC || header->version != LS_KV_IMAGE_VERSION)
        return -EPROTO;
    if (header->size != sizeof(*header) ||
        header->checksum != ls_hash64(LS_KV_IMAGE_MAGIC, header, offsetof(struct ls_kv_image_header, checksum)))
        return -EBADMSG;
    if (header->keys > m->physical.keys || header->bytes > m->physical.bytes || header->limit_keys > m->physical.keys ||
        header->limit_bytes > m->physical.bytes)
        return -ENOSPC;
    return 0;
}

/* One record at the beginning of `room` bytes. Returns its size, 0 where it cannot be one. */
static uint32_t ls_restore_record(struct ls_machine *m, const struct ls_kv_image_header *header, const uint8_t *bytes,
                                  uint32_t room)
{
    struct ls_kv_image_record record;
    const uint8_t *key = bytes + sizeof(record);
    uint64_t hash;
    uint32_t size, v;

    if (room < sizeof(record))
        return 0;
    memcpy(&record, bytes, sizeof(record));
    if (record.key_length == 0 || record.key_length > LS_KV_KEY_MAX || record.value_length > LS_KV_VALUE_MAX ||
        record.zero[0] != 0 || record.zero[1] != 0 || record.zero[2] != 0 || record.seq == 0 ||
        record.seq > header->seq)
        return 0;
    size = ls_pad8((uint32_t)sizeof(record) + record.key_length + record.value_length);
    if (size > room || m->keys >= header->keys ||
        (uint64_t)record.key_length + record.value_length > header->bytes - m->bytes)
        return 0; /* also what keeps the pools from running out */
    hash = ls_kv_key_hash(key, record.key_length);
    if (ls_kv_table_find(m, hash, key, record.key_length) != 0)
        return 0;

    v = ls_kv_version_new(m, record.seq, record.expiry, record.value_length);
    ls_kv_value_store(m, v, 0, key + record.key_length, record.value_length);
    (void)ls_kv_write(m, 0, key, record.key_length, hash, v);
    return m->versions[v].checksum == record.checksum ? size : 0;
}

static int ls_restore_chunk(struct ls_machine *m, const struct ls_kv_image_header *header,
                            struct ls_checkpoint_source *source, uint64_t *chain)
{
    uint8_t *payload = m->checkpoint.chunk;
    struct ls_kv_image_chunk chunk;
    uint32_t at = 0, size;
    int error = source->read(source, &chunk, sizeof(chunk));

    if (error != 0)
        return error;
    if ((chunk.kind != LS_KV_CHUNK_DATA && chunk.kind != LS_KV_CHUNK_END) || chunk.zero != 0 ||
        chunk.length > LS_KV_CHUNK_ROOM || (chunk.kind == LS_KV_CHUNK_END) != (chunk.length == 0))
        return -EBADMSG;
    if (chunk.length > 0)
        error = source->read(source, payload, chunk.length);
    if (error != 0)
        return error;
    if (chunk.checksum != ls_kv_image_chunk_checksum(*chain, &chunk, payload))
        return -EBADMSG;
    *chain = chunk.checksum;
    for (uint32_t i = 0; i < chunk.records; i++) {
        size = ls_restore_record(m, header, payload + at, chunk.length - at);
        if (size == 0)
            return -EBADMSG;
        at += size;
    }
    if (at != chunk.length)
        return -EBADMSG;
    return chunk.kind == LS_KV_CHUNK_END ? 0 : 1;
}

/* ---- the ordered index ---- */

struct sorted {
    uint64_t rank; /* eight bytes of the key, so that numbers compare as bytes do */
    uint32_t slot;
    uint32_t zero;
};

static uint64_t ls_sorted_rank(const uint8_t *key, uint32_t length, uint32_t common)
{
    uint64_t rank = 0;
    memcpy(&rank, key + common, length - common < 8 ? length - common : 8);
    return __builtin_bswap64(rank);
}

static int ls_sorted_compare(const void *a, const void *b, void *machine)
{
    const struct ls_machine *m = machine;
    const struct sorted *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return ls_kv_key_compare(ls_kv_record_key(m, x->slot), m->records[x->slot].length, ls_kv_record_key(m, y->slot),
                             m->records[y->slot].length);
}

/* How many bytes all keys begin with. */
static uint32_t ls_restore_common(const struct ls_machine *m)
{
    const uint8_t *first = ls_kv_record_key(m, 1);
    uint32_t common = m->records[1].length;

    for (uint32_t slot = 2; slot < m->record_pool.fresh && common > 0; slot++) {
        const uint8_t *key = ls_kv_record_key(m, slot);
        uint32_t length = m->records[slot].length, n = 0;
        while (n < common && n < length && key[n] == first[n])
            n++;
        common = n;
    }
    return common;
}

/* Slots 1 to fresh hold one key each. 0, or -errno. */
static int ls_restore_order(struct ls_machine *m)
{
    uint32_t n = m->record_pool.fresh - 1, common;
    size_t size = ((size_t)n + 1) * sizeof(struct sorted);
    struct sorted *sorted;
    int error = 0;

    if (n == 0)
        return 0;
    sorted = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (sorted == MAP_FAILED)
        return -ENOMEM;
    common = ls_restore_common(m);
    for (uint32_t i = 0; i < n; i++)
        sorted[i] = (struct sorted){
            .rank = ls_sorted_rank(ls_kv_record_key(m, i + 1), m->records[i + 1].length, common), .slot = i + 1};
    qsort_r(sorted, n, sizeof(*sorted), ls_sorted_compare, m);
    for (uint32_t i = 0; i < n && error == 0; i++) {
        /* the table finds most of these before, but not those that only the index has */
        if (i > 0 && sorted[i].rank == sorted[i - 1].rank && ls_sorted_compare(&sorted[i], &sorted[i - 1], m) == 0)
            error = -EBADMSG;
        __builtin_prefetch(&m->records[sorted[i + 16 < n ? i + 16 : i].slot], 1);
        ls_kv_order_insert(m, sorted[i].slot);
    }
    (void)munmap(sorted, size); /* it cannot fail: it is what mmap() gave */
    return error;
}

int ls_kv_restore(struct ls_machine *m, struct ls_checkpoint_source *source)
{
    struct ls_kv_image_header header;
    uint64_t chain;
    int more;

    assert(m->seq == 0 && m->keys == 0 && m->record_pool.fresh == 1);
    more = ls_restore_header(m, source, &header);
    if (more != 0)
        return more;
    m->seq = header.seq; /* also where the heights of the index come from */
    m->time = header.time;
    m->private_ = true; /* no readers: nothing needs to wait for them */
    chain = header.checksum;
    do {
        more = ls_restore_chunk(m, &header, source, &chain);
    } while (more > 0);
    if (more == 0)
        more = ls_restore_order(m);
    m->private_ = false;
    if (more < 0)
        return more;
    if (m->keys != header.keys || m->bytes != header.bytes || m->digest != header.digest)
        return -EBADMSG;
    m->limits.keys = header.limit_keys;
    m->limits.bytes = header.limit_bytes;
    ls_kv_publish(m);
    return 0;
}
