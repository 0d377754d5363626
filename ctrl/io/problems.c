/* SPDX-License-Identifier: BSD-3-Clause */
/* See problems.h. ctrl's one thread. */
#include "problems.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "../../dataplane/workers/clock.h"

/* Said within the last minute: counted. */
static bool is_repeated(struct ls_problems *problems, const char *text, uint64_t now_ns)
{
    uint64_t kept = problems->count < LS_PROBLEMS_KEPT ? problems->count : LS_PROBLEMS_KEPT;

    for (uint64_t i = 0; i < kept; i++) {
        struct ls_problem *problem = &problems->problem[i];

        if (strcmp(problem->text, text) != 0 || now_ns - problem->said_ns > LS_PROBLEM_REPEAT_NS)
            continue;
        problem->times++;
        problem->at = time(NULL);
        return true;
    }
    return false;
}

void ls_problems_say(struct ls_problems *problems, enum ls_ctrl_level level, const char *format, ...)
{
    uint64_t now_ns = ls_now_ns();
    char text[LS_PROBLEM_TEXT];
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    if (level != LS_CTRL_INFO) {
        struct ls_problem *problem = &problems->problem[problems->count % LS_PROBLEMS_KEPT];

        if (is_repeated(problems, text, now_ns))
            return;
        *problem = (struct ls_problem){.at = time(NULL), .said_ns = now_ns, .times = 1, .level = level};
        memcpy(problem->text, text, sizeof(problem->text));
        problems->count++;
    }
    fprintf(stderr, "lockstep-ctrl: node %u: %s%s\n", problems->node, level == LS_CTRL_ALARM ? "ALARM: " : "", text);
}

const struct ls_problem *ls_problems_get(const struct ls_problems *problems, uint32_t back)
{
    if (back >= problems->count || back >= LS_PROBLEMS_KEPT)
        return NULL;
    return &problems->problem[(problems->count - 1 - back) % LS_PROBLEMS_KEPT];
}
