/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Makes the faults of faults.h happen at this node: tells the dataplane, again after it was started again, ends those
 * whose time is over, and stops and kills processes. On ctrl's event loop.
 */
#ifndef LOCKSTEP_CTRL_IO_FAULTS_RUN_H
#define LOCKSTEP_CTRL_IO_FAULTS_RUN_H

#include "faults.h"
#include "operate.h"

#define LS_FAULTS_TICK_MS  100 /* a fault ends, or is told to a new dataplane, this much late at most */
#define LS_FAULTS_CRASH_MS 50  /* for the answer to leave before this process is killed */

struct ls_faults;

/* NULL: no memory. */
struct ls_faults *ls_faults_create(struct ls_node *node);
void ls_faults_destroy(struct ls_faults *faults);

/* done() exactly once, perhaps before this returns: 0 and the fault's number in `id`, or an errno and why. */
typedef void (*ls_faults_done)(void *user, int error, const char *text, uint64_t id);
void ls_faults_add(struct ls_faults *faults, const struct ls_fault_entry *entry, ls_faults_done done, void *user);
/* In place of all network faults there are; all zero: none. */
void ls_faults_replace(struct ls_faults *faults, const struct ls_control_fault *network, ls_faults_done done,
                       void *user);
/* One, or all (0). -ENOENT: there is none of that number. */
void ls_faults_clear(struct ls_faults *faults, uint64_t id, ls_faults_done done, void *user);

const struct ls_fault_list *ls_faults_list(const struct ls_faults *faults);

#endif
