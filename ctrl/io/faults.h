/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Faults on purpose at this node, by name and number: those of the network are merged into the one setting that the
 * dataplane has, and so are those of the journal's disk; those of processes happen to dataplane and ctrl. A list and
 * its arithmetic, pure; faults_run.c makes them happen. ctrl's one thread.
 */
#ifndef LOCKSTEP_CTRL_IO_FAULTS_H
#define LOCKSTEP_CTRL_IO_FAULTS_H

#include <jansson.h>

#include <lockstep/control_message.h>
#include <lockstep/counters.h>

#define LS_FAULTS_MAX     32
#define LS_FAULT_TEXT_MAX 256
#define LS_FAULT_FOR_MAX  (24ull * 3600 * 1000000000) /* longest time of one that ends by itself */

enum ls_fault_kind {
    LS_FAULT_NETWORK, /* until cleared or its time is over */
    LS_FAULT_SLOW,    /* a worker wastes turn_ns in each turn; likewise */
    LS_FAULT_STALL,   /* a worker stands still once for for_ns */
    LS_FAULT_STOP,    /* a process is stopped for for_ns, then goes on */
    LS_FAULT_CRASH,   /* a process is killed */
    LS_FAULT_FLIP,    /* one bit of the state is flipped */
    LS_FAULT_DISK,    /* of the journal; until cleared or its time is over */
    LS_FAULT_KINDS
};
enum ls_fault_target { LS_FAULT_DATAPLANE = 1, LS_FAULT_CTRL = 2, LS_FAULT_NODE = 3 }; /* NODE: both, as bits */

struct ls_fault_entry {
    uint64_t id; /* given by the list; from 1 on, never used twice */
    enum ls_fault_kind kind;
    enum ls_fault_target target; /* STOP, CRASH */
    uint32_t worker;             /* SLOW, STALL: enum ls_worker_id */
    uint64_t turn_ns;            /* SLOW */
    uint64_t seed;               /* FLIP */
    uint64_t for_ns;             /* 0: until cleared */
    uint64_t since_ns;           /* when it began; the caller's clock */
    struct ls_control_fault network;
    struct ls_control_disk_fault disk;
};

/* Those in force: NETWORK, DISK, SLOW, and STOP and STALL until their time is over. */
struct ls_fault_list {
    uint64_t last_id;
    uint32_t count;
    struct ls_fault_entry entry[LS_FAULTS_MAX]; /* ids ascending */
};

/* Reads {"kind": "network", "drop": 1000, "cut_in": [2, 3], "for_ns": 10000000000, ...}; see ctrl/io/README.md. 0; or
 * -EINVAL with one line in `error`. */
int ls_fault_entry_parse(const json_t *json, struct ls_fault_entry *entry, char *error, size_t error_size);
/* The fields of struct ls_control_fault alone; cut_in and cut_out as lists of node ids (0: clients) or as masks. */
int ls_fault_parse(const json_t *json, struct ls_control_fault *fault, char *error, size_t error_size);

/* Takes a copy, with its number and `now_ns`. Its number; 0: LS_FAULTS_MAX are in force. */
uint64_t ls_fault_list_add(struct ls_fault_list *list, const struct ls_fault_entry *entry, uint64_t now_ns);
/* 0: all of them. How many were removed. */
uint32_t ls_fault_list_remove(struct ls_fault_list *list, uint64_t id);
/* Those whose time is over. How many. */
uint32_t ls_fault_list_expire(struct ls_fault_list *list, uint64_t now_ns);
/* When the next one ends; UINT64_MAX: none does by itself. */
uint64_t ls_fault_list_next_ns(const struct ls_fault_list *list);

/* All network faults together: chances as of independent causes, delays added, cuts united, the smallest bandwidth, the
 * newest seed. */
void ls_fault_list_network(const struct ls_fault_list *list, struct ls_control_fault *fault);
/* All of the disk together, in the same way: full and hanging where one of them says so. */
void ls_fault_list_disk(const struct ls_fault_list *list, struct ls_control_disk_fault *fault);
/* Time that a worker wastes in each turn: the sum. */
uint64_t ls_fault_list_slow_ns(const struct ls_fault_list *list, uint32_t worker);

/* "drop 5 %, delay 200 us, cut from 2 3, for 10 s": for people. Returns `text`. */
const char *ls_fault_entry_text(const struct ls_fault_entry *entry, char *text, size_t room);
const char *ls_fault_kind_name(enum ls_fault_kind kind);
/* As GET /v1/faults shows it. New reference. */
json_t *ls_fault_entry_json(const struct ls_fault_entry *entry, uint64_t now_ns);

#endif
