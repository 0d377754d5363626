/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The key-value store's operations for clients, on three levels: builders and parsers of operations (pure, any thread,
 * for whoever sends them itself), and blocking calls on a struct ls_client, with its rules (<lockstep/client.h>).
 * The format is in <lockstep/kv.h>. Keys are 1..LS_KV_KEY_MAX bytes of anything, values 0..LS_KV_VALUE_MAX.
 */
#ifndef LOCKSTEP_CLIENT_KV_H
#define LOCKSTEP_CLIENT_KV_H

#include <stddef.h>

#include <lockstep/client.h>
#include <lockstep/kv.h>

struct ls_kv_bytes {
    const void *bytes;
    size_t length;
};

/* ---- builders ----
 * Write one operation to `to`, which has `room` bytes. Return its length; -EINVAL: key empty or longer than
 * LS_KV_KEY_MAX, count or flags out of range; -EMSGSIZE: value longer than LS_KV_VALUE_MAX, or no room. */

#define LS_KV_OP_MAX (sizeof(struct ls_kv_op) + LS_KV_KEY_MAX + LS_KV_VALUE_MAX) /* of one mutation */

/* `ttl_ns` of log time until it expires; 0: never. */
int ls_kv_build_put(void *to, size_t room, struct ls_kv_bytes key, struct ls_kv_bytes value, uint64_t ttl_ns);
int ls_kv_build_delete(void *to, size_t room, struct ls_kv_bytes key);
/* Put if the key's version is `version`; 0: if there is no such key. */
int ls_kv_build_cas(void *to, size_t room, struct ls_kv_bytes key, struct ls_kv_bytes value, uint64_t version,
                    uint64_t ttl_ns);
int ls_kv_build_cas_delete(void *to, size_t room, struct ls_kv_bytes key, uint64_t version);
int ls_kv_build_incr(void *to, size_t room, struct ls_kv_bytes key, int64_t delta);
int ls_kv_build_append(void *to, size_t room, struct ls_kv_bytes key, struct ls_kv_bytes value);
int ls_kv_build_get(void *to, size_t room, struct ls_kv_bytes key);
int ls_kv_build_get_part(void *to, size_t room, struct ls_kv_bytes key, uint64_t version, uint32_t offset);
/* 1..LS_KV_READ_KEYS_MAX keys. */
int ls_kv_build_multi_get(void *to, size_t room, const struct ls_kv_bytes *keys, uint32_t n);
/* Keys from `first` (inclusive, may be empty) up to `end` (exclusive, empty: no end), at most `count`. */
int ls_kv_build_scan(void *to, size_t room, struct ls_kv_bytes first, struct ls_kv_bytes end, uint32_t count,
                     uint8_t flags);

/* A batch of 1..LS_KV_BATCH_MAX mutations, all or nothing, each key at most once:
 *     ls_kv_batch_begin(&batch, memory, room); ls_kv_batch_add(&batch, mutation, length) ...; ls_kv_batch_end(&batch)
 * add() takes what a builder above has made; its errors: -EINVAL: not a single mutation; -E2BIG: too many; -EMSGSIZE.
 * end() returns the operation's length, or -EINVAL: empty. */
struct ls_kv_batch {
    uint8_t *bytes;
    size_t room;
    size_t length;
    uint32_t count;
};
int ls_kv_batch_begin(struct ls_kv_batch *batch, void *memory, size_t room);
int ls_kv_batch_add(struct ls_kv_batch *batch, const void *mutation, size_t length);
int ls_kv_batch_end(struct ls_kv_batch *batch);

/* ---- parsers ----
 * Of result bytes as they stand in a reply; every length in them is checked. 0, or -EBADMSG: not such a result. */

int ls_kv_parse_result(const void *bytes, size_t length, struct ls_kv_result *result);
/* GET and GET_PART: *value is a part of `bytes`, value->length long. */
int ls_kv_parse_value(const void *bytes, size_t length, struct ls_kv_value *head, struct ls_kv_bytes *value);

/* MULTI_GET and SCAN. next(): 1 and *item; 0: no more; -EBADMSG. Items point into `bytes`. */
struct ls_kv_item {
    struct ls_kv_bytes key; /* SCAN only */
    struct ls_kv_bytes value;
    uint64_t version; /* 0: no such key */
    uint32_t total;   /* length of the whole value */
    uint16_t status;  /* OK; NOT_FOUND; LARGE_VALUE: the value is not here */
};
struct ls_kv_walk {
    const uint8_t *at;
    size_t left;
    uint32_t count;
    bool more; /* there are more keys than this page has */
};
int ls_kv_walk_begin(struct ls_kv_walk *walk, const void *bytes, size_t length);
int ls_kv_walk_next(struct ls_kv_walk *walk, struct ls_kv_item *item);

/* ---- blocking calls ----
 * Return 0 when the cluster answered (look at the status), -errno of a builder, a parser, or ls_client_call(). */

struct ls_kv_outcome {
    uint16_t status;    /* enum ls_status */
    uint8_t durability; /* enum ls_durability */
    uint64_t seq;
    uint64_t version; /* as in struct ls_kv_result, and so the next two */
    uint64_t number;
    uint32_t index;
};

int ls_kv_put(struct ls_client *client, struct ls_kv_bytes key, struct ls_kv_bytes value, uint64_t ttl_ns,
              struct ls_kv_outcome *outcome);
int ls_kv_delete(struct ls_client *client, struct ls_kv_bytes key, struct ls_kv_outcome *outcome);
int ls_kv_cas(struct ls_client *client, struct ls_kv_bytes key, struct ls_kv_bytes value, uint64_t version,
              uint64_t ttl_ns, struct ls_kv_outcome *outcome);
int ls_kv_cas_delete(struct ls_client *client, struct ls_kv_bytes key, uint64_t version, struct ls_kv_outcome *outcome);
int ls_kv_incr(struct ls_client *client, struct ls_kv_bytes key, int64_t delta, struct ls_kv_outcome *outcome);
int ls_kv_append(struct ls_client *client, struct ls_kv_bytes key, struct ls_kv_bytes value,
                 struct ls_kv_outcome *outcome);
/* Any operation that a builder has made; for batches. `operation` longer than the client's op_max: -EMSGSIZE. */
int ls_kv_mutate(struct ls_client *client, const void *operation, size_t length, struct ls_kv_outcome *outcome);

struct ls_kv_how {
    enum ls_consistency consistency;
    uint64_t least; /* with LS_READ_LEAST */
};

struct ls_kv_got {
    uint16_t status; /* OK, NOT_FOUND; VERSION_GONE: it changed each of LS_KV_GET_TRIES times while it was being read;
                        another one: as the cluster answered */
    uint8_t *value;  /* from malloc(), one zero byte behind it; the caller's to free(). NULL unless OK */
    size_t length;
    uint64_t version;
    uint64_t expiry; /* log time, 0: never */
    uint64_t seq;    /* the state it was read from */
    uint64_t age;    /* stale reads */
};
#define LS_KV_GET_TRIES 8

/* A value larger than a reply is pulled in parts of one version, as many at once as the client's window allows. All
 * parts come from replicas that hold that version, so the value is whole and as fresh as `how` says. */
int ls_kv_get(struct ls_client *client, struct ls_kv_bytes key, const struct ls_kv_how *how, struct ls_kv_got *got);

/* Called for each key in order, with the seq of the page it is on; a page is exact at its seq, but pages may differ
 * in it. A value with LARGE_VALUE is not in item->value: ls_kv_get() has it (not from within the visit). Pointers are
 * valid during the call. Returns 0 to go on; anything else ends the call, which then returns it. */
typedef int (*ls_kv_visit)(void *user, const struct ls_kv_item *item, uint64_t seq);

/* At most `most` keys (0: all) from `first` up to `end`. *status: OK, or the answer that ended it. */
int ls_kv_scan(struct ls_client *client, struct ls_kv_bytes first, struct ls_kv_bytes end, uint64_t most, uint8_t flags,
               const struct ls_kv_how *how, ls_kv_visit visit, void *user, uint16_t *status);
/* Each of `n` keys (any number), in the order given; item->key is the caller's. */
int ls_kv_multi_get(struct ls_client *client, const struct ls_kv_bytes *keys, uint32_t n, const struct ls_kv_how *how,
                    ls_kv_visit visit, void *user, uint16_t *status);

#endif
