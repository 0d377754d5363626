/* SPDX-License-Identifier: BSD-3-Clause */
/* Log entries written by hand, for tests of what reads the log. Checksums are left out: the readers do not look. */
#ifndef LOCKSTEP_TESTS_ENTRIES_H
#define LOCKSTEP_TESTS_ENTRIES_H

#include <string.h>

#include <lockstep/entry.h>

/* Writes the entry and its operation, padded; returns its size. */
static inline uint64_t entry_write(void *to, struct ls_entry header, const void *operation, uint32_t length)
{
    header.length = length;
    memcpy(to, &header, sizeof(header));
    memset((uint8_t *)to + sizeof(header), 0, ls_pad8(length));
    if (length > 0)
        memcpy((uint8_t *)to + sizeof(header), operation, length);
    return ls_entry_size(length);
}

#endif
