/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Questions to the dataplane that the host asks for itself (the brain's numbers have LS_CTRL_ID set, these never):
 * which wait, until when, and who gets the answer. Each is answered exactly once, with or without an answer. ctrl's one
 * thread.
 */
#ifndef LOCKSTEP_CTRL_IO_ASKS_H
#define LOCKSTEP_CTRL_IO_ASKS_H

#include <stdbool.h>
#include <stdint.h>

#include <lockstep/control_message.h>

#define LS_ASKS_MAX 64

/* Given exactly once per question: the answer, or NULL where none came; `why` then says so. */
typedef void (*ls_ask_answer)(void *user, const struct ls_control_header *header, const uint8_t *body, const char *why);

struct ls_asks {
    uint64_t last; /* number given out */
    struct ls_asks_entry {
        uint64_t id; /* 0: free */
        uint64_t until_ns;
        ls_ask_answer answer;
        void *user;
    } entry[LS_ASKS_MAX];
};

/* The number of a new question; 0: too many wait. `until_ns` UINT64_MAX: it takes as long as it takes. */
uint64_t ls_asks_add(struct ls_asks *asks, uint64_t until_ns, ls_ask_answer answer, void *user);
/* It was not sent after all: nobody is told. */
void ls_asks_drop(struct ls_asks *asks, uint64_t id);
void ls_asks_answer(struct ls_asks *asks, const struct ls_control_header *header, const uint8_t *body);
/* Those whose time is over at `now_ns`; UINT64_MAX: all. */
void ls_asks_give_up(struct ls_asks *asks, uint64_t now_ns, const char *why);

#endif
