/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A dataplane that a test plays by starting itself again: takes the lock, listens, says READY, keeps a page, answers
 * what ctrl orders as an empty log's only replica would. How it misbehaves is said by the environment
 * (LOCKSTEP_TEST_MODE); what it was asked goes, line by line, to the file that --config names, beside which it also
 * looks for everything else.
 */
#ifndef LOCKSTEP_TESTS_CTRL_PLAYED_H
#define LOCKSTEP_TESTS_CTRL_PLAYED_H

#include <stdbool.h>

/* Are these the arguments of a dataplane? Then main() returns played_run(). */
bool played_is_meant(int argc, char **argv);
int played_run(int argc, char **argv);

/* The trace so far; static. */
const char *played_trace(const char *path);

#endif
