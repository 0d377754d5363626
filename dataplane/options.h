/* SPDX-License-Identifier: BSD-3-Clause */
/* The dataplane's command line, which lockstep-ctrl writes, and its words to the log. main's. */
#ifndef LOCKSTEP_OPTIONS_H
#define LOCKSTEP_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct ls_options {
    const char *config;
    const char *counters;
    uint64_t node;
    uint64_t incarnation;
    uint64_t promise;
    uint64_t counts;
    uint64_t generation; /* 0: the cluster file's */
    uint64_t control_fd;
    bool check_config;
    bool has_control_fd;
};

/* False: a line that says what is wrong was printed, and the usage. --help ends the process. */
bool ls_options_parse(int argc, char **argv, struct ls_options *options);

/* One line to standard error, under the program's name. Any thread. */
void ls_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
