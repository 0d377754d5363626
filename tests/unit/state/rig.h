/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of the key-value store share: a machine on a bench, with a log of its own (seq, time), a grace period
 * under control, and short words for operations. Single-threaded: a read-side section is over when the call returns.
 */
#ifndef LOCKSTEP_TESTS_STATE_RIG_H
#define LOCKSTEP_TESTS_STATE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <lockstep/error.h>
#include <lockstep/grace.h>
#include <lockstep/kv.h>
#include <lockstep/state_machine.h>

struct rig {
    struct ls_machine *machine;
    struct ls_grace grace;
    uint64_t seq;
    uint64_t time;
    struct ls_kv_result result; /* of the last mutation */
};

/* Bytes of an operation under construction. */
struct op {
    uint8_t *bytes;
    uint32_t length;
    uint32_t room;
};

void rig_open(struct rig *rig, uint64_t keys, uint64_t bytes);
void rig_close(struct rig *rig);
/* One whole grace period, and everything reclaimed that it frees. */
void rig_grace(struct rig *rig);

/* Operations. Strings are keys and values without their final zero. */
void op_free(struct op *op);
void op_mutation(struct op *op, uint8_t code, const void *key, uint32_t key_length, const void *value,
                 uint32_t value_length, uint64_t argument, uint64_t ttl);
void op_batch(struct op *op);
void op_batch_add(struct op *op, uint8_t code, const void *key, uint32_t key_length, const void *value,
                  uint32_t value_length, uint64_t argument, uint64_t ttl);
void op_read(struct op *op, uint8_t code, const void *key, uint32_t key_length, uint64_t argument, uint32_t offset);
void op_multi(struct op *op);
void op_multi_add(struct op *op, const void *key, uint32_t key_length);
void op_scan(struct op *op, const void *start, uint32_t start_length, const void *end, uint32_t end_length,
             uint16_t count, uint8_t flags);

/* One entry with this operation; seq grows by one. Returns the status. */
uint16_t rig_apply(struct rig *rig, const void *bytes, uint32_t length);
uint16_t rig_apply_op(struct rig *rig, struct op *op); /* and frees the operation */
void rig_tick(struct rig *rig, uint64_t time);         /* an entry without an operation */
uint16_t rig_mutate(struct rig *rig, uint8_t code, const char *key, const char *value, uint64_t argument, uint64_t ttl);
uint16_t rig_put(struct rig *rig, const char *key, const char *value);
uint16_t rig_delete(struct rig *rig, const char *key);

struct answer {
    uint16_t status;
    uint32_t length;
    uint64_t seq;
    uint8_t bytes[4096];
};
/* room: at most sizeof(answer->bytes). */
void rig_read(struct rig *rig, const void *bytes, uint32_t length, uint32_t room, struct answer *answer);
void rig_read_op(struct rig *rig, struct op *op, uint32_t room, struct answer *answer); /* and frees it */
/* The key's value as a string in a static buffer, NULL where the key does not exist. */
const char *rig_get(struct rig *rig, const char *key);
/* All keys from `start` on, joined by spaces, in a static buffer. */
const char *rig_scan(struct rig *rig, const char *start, const char *end);

/* An image in memory, to write to and to read from. */
struct image {
    struct ls_checkpoint_sink sink;
    struct ls_checkpoint_source source;
    uint8_t *bytes;
    size_t length;
    size_t room;
    size_t at;
    size_t fail_at; /* write fails with -EIO from this length on; 0: never */
};
void image_init(struct image *image);
void image_free(struct image *image);
/* A whole checkpoint of the machine as it is. */
void rig_checkpoint(struct rig *rig, struct image *image);
int rig_restore(struct rig *rig, struct image *image);

/* Deterministic random numbers (splitmix64). */
struct rng {
    uint64_t state;
};
uint64_t rng_next(struct rng *rng);
uint64_t rng_below(struct rng *rng, uint64_t n);
/* From LS_SEED, or by default `fallback`; printed. */
uint64_t rng_seed(uint64_t fallback);

#endif
