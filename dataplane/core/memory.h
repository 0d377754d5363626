/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that is taken once, at start: address space, zeroed, of which only what is touched becomes real. Whoever takes
 * it gives it back with the same size. Any thread.
 */
#ifndef LOCKSTEP_CORE_MEMORY_H
#define LOCKSTEP_CORE_MEMORY_H

#include <stddef.h>
#include <sys/mman.h>

/* NULL: there is no such address space. */
static inline void *ls_memory_map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* NULL is nothing. */
static inline void ls_memory_unmap(void *memory, size_t bytes)
{
    if (memory != NULL)
        munmap(memory, bytes);
}

#endif
