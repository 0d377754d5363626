/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The echo state machine: answers every operation with its own first bytes, and keeps a count and a rolling hash of
 * them. For measuring replication without a store behind it. apply() and checkpoint_begin() on the apply worker, read()
 * on any worker, checkpoint_next() on the bulk thread.
 */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <lockstep/error.h>
#include <lockstep/state_machine.h>

#include "hash.h"

#define LS_ECHO_MAGIC   0x0a6f6863652d534cull /* "LS-echo\n" */
#define LS_ECHO_VERSION 1

struct ls_echo_image {
    uint64_t magic;
    uint32_t version;
    uint32_t zero;
    uint64_t seq;
    uint64_t count;
    uint64_t rolling;
    uint64_t checksum; /* of everything before */
};
static_assert(sizeof(struct ls_echo_image) == 48, "image layout");

struct ls_machine {
    /* apply */
    uint64_t count;   /* operations executed */
    uint64_t rolling; /* hash of them, each chained to the one before */
    bool open;
    bool written;               /* bulk, while a checkpoint is open */
    struct ls_echo_image image; /* as of checkpoint_begin() */
    /* apply: release; readers: acquire */
    _Alignas(64) _Atomic uint64_t seq;
};

static struct ls_machine *ls_echo_create(const struct ls_machine_limits *limits, struct ls_grace *grace)
{
    struct ls_machine *m = aligned_alloc(64, sizeof(*m));
    (void)limits; /* it stores nothing */
    (void)grace;
    if (m != NULL)
        memset(m, 0, sizeof(*m));
    return m;
}

static void ls_echo_destroy(struct ls_machine *m)
{
    free(m);
}

static uint32_t ls_echo_apply(struct ls_machine *m, const struct ls_command *commands, uint32_t n,
                              struct ls_result *results)
{
    assert(n <= LS_BURST);
    for (uint32_t i = 0; i < n; i++) {
        const struct ls_command *command = &commands[i];
        results[i].status = LS_STATUS_OK;
        results[i].length = 0;
        if (command->operation == NULL)
            continue;
        results[i].length = (uint16_t)(command->length < LS_RESULT_MAX ? command->length : LS_RESULT_MAX);
        memcpy(results[i].bytes, command->operation, results[i].length);
        m->count++;
        m->rolling = ls_hash64(ls_hash_mix(m->rolling, command->seq ^ LS_HASH_1), command->operation, command->length);
    }
    /* Release: pairs with the acquire load in ls_echo_read(). */
    if (n > 0)
        atomic_store_explicit(&m->seq, commands[n - 1].seq, memory_order_release);
    return n;
}

static bool ls_echo_set_limits(struct ls_machine *m, const struct ls_machine_limits *limits)
{
    (void)m;
    (void)limits;
    return true;
}

static void ls_echo_read(struct ls_machine *m, const uint8_t *operation, uint32_t length, struct ls_read_result *result)
{
    result->seq = atomic_load_explicit(&m->seq, memory_order_acquire);
    result->status = LS_STATUS_OK;
    result->length = length < result->room ? length : result->room;
    memcpy(result->bytes, operation, result->length);
}

static bool ls_echo_time_pending(struct ls_machine *m)
{
    (void)m;
    return false;
}

static uint64_t ls_echo_digest(struct ls_machine *m)
{
    return ls_hash_mix(m->rolling ^ LS_HASH_0, m->count ^ LS_HASH_2);
}

static void ls_echo_reclaim(struct ls_machine *m)
{
    (void)m;
}

static int ls_echo_checkpoint_begin(struct ls_machine *m)
{
    if (m->open)
        return -EBUSY;
    m->image = (struct ls_echo_image){.magic = LS_ECHO_MAGIC,
                                      .version = LS_ECHO_VERSION,
                                      .seq = atomic_load_explicit(&m->seq, memory_order_relaxed),
                                      .count = m->count,
                                      .rolling = m->rolling};
    m->image.checksum = ls_hash64(LS_ECHO_MAGIC, &m->image, offsetof(struct ls_echo_image, checksum));
    m->open = true;
    m->written = false;
    return 0;
}

static int ls_echo_checkpoint_next(struct ls_machine *m, struct ls_checkpoint_sink *sink)
{
    int error = m->written ? 0 : sink->write(sink, &m->image, sizeof(m->image));
    m->written = error == 0;
    return error;
}

static void ls_echo_checkpoint_end(struct ls_machine *m)
{
    m->open = false;
}

static int ls_echo_restore(struct ls_machine *m, struct ls_checkpoint_source *source)
{
    struct ls_echo_image image;
    int error = source->read(source, &image, sizeof(image));

    if (error != 0)
        return error;
    if (image.magic != LS_ECHO_MAGIC || image.version != LS_ECHO_VERSION)
        return -EPROTO;
    if (image.zero != 0 || image.checksum != ls_hash64(LS_ECHO_MAGIC, &image, offsetof(struct ls_echo_image, checksum)))
        return -EBADMSG;
    m->count = image.count;
    m->rolling = image.rolling;
    atomic_store_explicit(&m->seq, image.seq, memory_order_relaxed); /* nobody else knows the machine yet */
    return 0;
}

const struct ls_state_machine ls_echo = {
    .name = "echo",
    .version = 1,
    .concurrent_reads = true,
    .create = ls_echo_create,
    .destroy = ls_echo_destroy,
    .apply = ls_echo_apply,
    .set_limits = ls_echo_set_limits,
    .read = ls_echo_read,
    .time_pending = ls_echo_time_pending,
    .digest = ls_echo_digest,
    .reclaim = ls_echo_reclaim,
    .checkpoint_begin = ls_echo_checkpoint_begin,
    .checkpoint_next = ls_echo_checkpoint_next,
    .checkpoint_end = ls_echo_checkpoint_end,
    .restore = ls_echo_restore,
};
