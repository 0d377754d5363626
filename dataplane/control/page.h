/* SPDX-License-Identifier: BSD-3-Clause */
/* The file behind the counters page (<lockstep/counters.h>): made at start, taken away at the end. Main thread. */
#ifndef LOCKSTEP_CONTROL_PAGE_H
#define LOCKSTEP_CONTROL_PAGE_H

#include <lockstep/counters.h>

/* Makes `path` anew, with all its memory taken and its constant fields set; a reader that opens it sees a whole page.
 * NULL and one line of text in `error`. */
struct ls_counters_page *ls_page_create(const char *path, uint64_t cluster, uint32_t node, uint64_t incarnation,
                                        char *error, size_t error_size);
/* Unmaps it; the file stays for whoever wants the last values, until the next start. */
void ls_page_close(struct ls_counters_page *page);

#endif
