/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Operations of the built-in key-value store, as bytes in requests, reads and the log; results likewise.
 * Little-endian, packed. A version is the seq of the entry that wrote the value. Keys are 1..LS_KV_KEY_MAX bytes of
 * anything and are ordered bytewise (a prefix first).
 *
 * Mutation:  struct ls_kv_op | key | value
 * Batch:     struct ls_kv_op (code BATCH, count = number of mutations, rest zero) | mutation | mutation ...
 *            each mutation padded with zeros to 8; all or nothing; no batch inside a batch; a key at most once.
 */
#ifndef LOCKSTEP_KV_H
#define LOCKSTEP_KV_H

#include <lockstep/wire.h>

#define LS_KV_KEY_MAX       250
#define LS_KV_VALUE_MAX     (1024 * 1024)
#define LS_KV_BATCH_MAX     64
#define LS_KV_READ_KEYS_MAX 64

enum ls_kv_code {
    /* mutations: entries of the log */
    LS_KV_PUT = 1,
    LS_KV_DELETE = 2, /* NOT_FOUND where there is nothing; the entry still counts */
    LS_KV_CAS = 3,    /* put if the key's version is `argument`; 0: if there is no such key. Else CONDITION */
    LS_KV_INCR = 4,   /* decimal 64-bit signed number += (int64_t)argument; a missing key is 0. Keeps the expiry */
    LS_KV_APPEND = 5, /* a missing key is empty. Keeps the expiry */
    LS_KV_BATCH = 6,
    LS_KV_CAS_DELETE = 7, /* delete if the key's version is `argument`, else CONDITION */
    /* reads */
    LS_KV_GET = 32,
    LS_KV_GET_PART = 33, /* bytes from `offset` of exactly version `argument`, else VERSION_GONE */
    LS_KV_MULTI_GET = 34,
    LS_KV_SCAN = 35,
};

struct ls_kv_op {
    uint8_t code;
    uint8_t flags; /* 0; SCAN: LS_KV_SCAN_* */
    uint16_t key_length;
    uint32_t value_length;
    uint64_t argument; /* CAS: expected version; INCR: delta; GET_PART: version */
    uint64_t ttl;      /* PUT, CAS: ns of log time until it expires, 0: never */
    uint32_t offset;   /* GET_PART */
    uint16_t count;    /* BATCH: mutations; MULTI_GET: keys; SCAN: most keys wanted (1..LS_KV_READ_KEYS_MAX) */
    uint16_t zero;
} LS_PACKED;
static_assert(sizeof(struct ls_kv_op) == 32, "wire layout");

/* Result of a mutation: of a batch, of its first failing mutation (index), or the batch's version. */
struct ls_kv_result {
    uint64_t version; /* the key's version now; 0: there is no such key. CONDITION: the version found */
    uint64_t number;  /* INCR: the new number; APPEND: the new length; else 0 */
    uint32_t index;   /* BATCH that failed: which mutation, from 0 */
    uint32_t zero;
} LS_PACKED;

/* Result of GET and GET_PART: this, then `length` bytes of the value from `offset` on. Status OK when the whole value
 * is there, LARGE_VALUE when more must be asked for with GET_PART. */
struct ls_kv_value {
    uint64_t version;
    uint64_t expiry; /* log time, 0: never */
    uint32_t total;  /* length of the whole value */
    uint32_t offset;
    uint32_t length;
    uint32_t zero;
} LS_PACKED;

/* MULTI_GET: struct ls_kv_op | count x { uint16_t length, key bytes }, not padded.
 * Result: struct ls_kv_page | records. Answers keys from the first on, as many as fit (at least one: a value that
 * cannot fit is answered with its record and no bytes, LARGE_VALUE); the client asks for the rest.
 * SCAN: struct ls_kv_op | key (first, inclusive; may be empty: key_length 0) | value (end, exclusive; empty: no end).
 * Result: struct ls_kv_page | records in key order. */
#define LS_KV_SCAN_KEYS_ONLY 0x01

struct ls_kv_page {
    uint16_t count; /* records that follow */
    uint16_t more;  /* 1: there is more; SCAN: go on behind the last key; MULTI_GET: ask for the remaining keys */
    uint32_t zero;
} LS_PACKED;

struct ls_kv_record { /* then key bytes (SCAN only), then value bytes; padded with zeros to 8 */
    uint64_t version; /* 0: no such key */
    uint32_t total;   /* length of the value */
    uint32_t length;  /* bytes of it here: total or 0 (LARGE_VALUE, or KEYS_ONLY) */
    uint16_t key_length;
    uint16_t status; /* OK, NOT_FOUND, LARGE_VALUE */
    uint32_t zero;
} LS_PACKED;
static_assert(sizeof(struct ls_kv_record) == 24, "wire layout");

#endif
