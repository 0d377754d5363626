/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is said: a line on stderr, and, where it is a warning or an alarm, one of the last few kept for status. The same
 * line again within a minute is counted, not said. ctrl's one thread.
 */
#ifndef LOCKSTEP_CTRL_IO_PROBLEMS_H
#define LOCKSTEP_CTRL_IO_PROBLEMS_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "../core/ctrl.h"

#define LS_PROBLEMS_KEPT     32
#define LS_PROBLEM_TEXT      512
#define LS_PROBLEM_REPEAT_NS (60ull * 1000 * 1000 * 1000)

struct ls_problem {
    time_t at; /* time of day when it was said last */
    uint64_t said_ns;
    uint64_t times;
    enum ls_ctrl_level level;
    char text[LS_PROBLEM_TEXT];
};

struct ls_problems {
    uint16_t node;                               /* for the lines */
    uint64_t count;                              /* kept so far; the last LS_PROBLEMS_KEPT are there */
    struct ls_problem problem[LS_PROBLEMS_KEPT]; /* number n at [n % LS_PROBLEMS_KEPT] */
};

void ls_problems_say(struct ls_problems *problems, enum ls_ctrl_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The newest is 0; NULL: there are not so many. */
const struct ls_problem *ls_problems_get(const struct ls_problems *problems, uint32_t back);

#endif
