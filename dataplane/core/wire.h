/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checked reading and writing of frames. Nothing of a received frame is used before ls_frame_check() has accepted it:
 * it looks at every length, count, reserved field, kind and padding that the type has, so that readers behind it need
 * no checks of form (only of meaning).
 */
#ifndef LOCKSTEP_CORE_WIRE_H
#define LOCKSTEP_CORE_WIRE_H

#include <stddef.h>

#include <lockstep/counters.h>
#include <lockstep/wire.h>

/* CRC32C (Castagnoli, reflected), hardware where there is any. `crc` is the value so far, 0 at the beginning; no
 * inversion is left to the caller: crc32c(crc32c(0, a), b) == crc32c(0, a|b). */
uint32_t ls_crc32c(uint32_t crc, const void *bytes, size_t n);

/* What a node or client takes at all. */
struct ls_wire_identity {
    uint64_t cluster;
    uint32_t generation;
    uint16_t group;
    uint16_t node;        /* own, sent in headers; 0: a client */
    uint64_t incarnation; /* own */
};

/* Checks header, CRC and the whole body of a datagram of `length` bytes. Returns 0, or the counter that names the
 * reason (enum ls_counter, never 0: frames_in is no reason). Changes nothing. */
enum ls_counter ls_frame_check(const struct ls_wire_identity *identity, const uint8_t *data, uint32_t length);

static inline const struct ls_frame_header *ls_frame_header(const uint8_t *data)
{
    return (const struct ls_frame_header *)data;
}
static inline const void *ls_frame_body(const uint8_t *data)
{
    return data + LS_FRAME_HEADER_SIZE;
}

/* Writes the header but for length and crc; returns where the body begins. */
void *ls_frame_begin(const struct ls_wire_identity *identity, uint8_t *data, uint8_t type, uint64_t epoch);
/* `end` is the first byte behind the body: sets length and crc; returns the frame's length. */
uint32_t ls_frame_end(uint8_t *data, const void *end);

/* Walks the records of an accepted REQUEST, READ or REPLY frame:
 *     const uint8_t *at = NULL;
 *     while ((record = ls_request_next(data, &at)) != NULL) ... record + 1 is the operation ...  */
const struct ls_request_record *ls_request_next(const uint8_t *data, const uint8_t **at);
const struct ls_read_record *ls_read_next(const uint8_t *data, const uint8_t **at);
const struct ls_reply_record *ls_reply_next(const uint8_t *data, const uint8_t **at);

#endif
