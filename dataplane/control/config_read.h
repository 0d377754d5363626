/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to config.c and config_read.c: a table of keys describes a mapping of the cluster file, one row a key, with
 * its kind, range and place in the result.
 */
#ifndef LOCKSTEP_CONTROL_CONFIG_READ_H
#define LOCKSTEP_CONTROL_CONFIG_READ_H

#include <stddef.h>

#include <yaml.h>

#include "config.h"

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define US  ((uint64_t)1000)
#define MS  (1000 * US)
#define SEC (1000 * MS)

struct reader {
    const char *file;
    char *error;
    yaml_document_t document;
    struct ls_config *config;
    /* for checks between fields; 0: not in the file */
    uint32_t line_first_sequencer, line_limits, line_timing, line_detect, line_restart;
    uint32_t line_nodes, line_journal;
};

enum kind { NUMBER, SIZE, TIME, TEXT, WORD, HEX, ADDRESS, END_POINT, DEVICE, PATH, MAP, LIST };

/* One key of a mapping. */
struct field {
    const char *key;
    enum kind kind;
    size_t offset; /* of the value in the structure that the table describes */
    size_t size;   /* bytes of it */
    uint64_t min, max;
    bool or_zero; /* SIZE, TIME: a plain 0 is allowed too, and means "never" or "no limit" */
    bool required;
    const char *const *words; /* WORD: allowed ones, NULL at the end; the value is the index */
    const struct field *map;  /* MAP: its keys, into the same structure */
    int (*list)(struct reader *reader, const yaml_node_t *node); /* LIST */
    size_t line; /* offset in struct reader of where to note the line; 0: nowhere */
};

extern const char *const ls_config_words_bool[]; /* the index's lowest bit is the value */

/* Writes the message, with file and line (0: none); returns -EINVAL. */
int ls_config_fail(struct reader *reader, uint32_t line, const char *format, ...) __attribute__((format(printf, 3, 4)));
uint32_t ls_config_line_of(const yaml_node_t *node);
/* "a mapping", "a list", "a value" */
const char *ls_config_node_kind(const yaml_node_t *node);
void ls_config_format_size(uint64_t bytes, char text[32]);
void ls_config_format_time(uint64_t ns, char text[32]);

/* Takes the mapping at `node` apart by `fields` into the structure at `base`. 0, or -EINVAL with the message. */
int ls_config_read_map(struct reader *reader, const struct field *fields, const yaml_node_t *node, const char *path,
                       void *base);

#endif
