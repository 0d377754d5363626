/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Work that would hold up the event loop (reading a whole file, waiting for a disk), done on a thread of its own and
 * answered in the loop. Used by ctrl's thread.
 */
#ifndef LOCKSTEP_CTRL_IO_JOB_H
#define LOCKSTEP_CTRL_IO_JOB_H

#include <stddef.h>

#include <event2/event.h>

#define LS_JOB_ERROR_MAX 512

/* On the job's thread, at low priority. `arguments` is the job's own copy; what it finds out it writes there. 0 or
 * -errno and a line in `error`. */
typedef int (*ls_job_work)(void *arguments, char *error);
/* From the loop. `arguments` and `error` are valid during the call. */
typedef void (*ls_job_done)(void *user, void *arguments, int result, const char *error);

struct ls_job;

/* NULL: no memory or thread. */
struct ls_job *ls_job_start(struct event_base *base, ls_job_work work, ls_job_done done, void *user,
                            const void *arguments, size_t size);

/* done() will not be called; the work goes on to its end unseen. NULL: nothing to do. Not after done() was called. */
void ls_job_abandon(struct ls_job *job);

#endif
