/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Follows the ordered stream of committed entries, from any entry that is still retained on: each one once, in order,
 * none left out. It is read from the lockstep-ctrl of one node, on that node's own host (its unix socket); where that
 * does not answer any more, another one of those that are named goes on, from the next entry. Nobody in the cluster
 * waits for a subscriber: one that is slow is served from the node's journal, for as long as that retains what it
 * misses.
 *
 * One thread at a time.
 */
#ifndef LOCKSTEP_SUBSCRIBE_H
#define LOCKSTEP_SUBSCRIBE_H

#include <stdint.h>

#include <lockstep/entry.h>

#define LS_SUBSCRIBE_ERROR_MAX 512

struct ls_subscription;

struct ls_subscribed {
    uint64_t seq;
    uint64_t time;            /* log time, ns */
    uint64_t session, number; /* of the client's request; 0: none */
    uint16_t kind;            /* enum ls_entry_kind */
    uint32_t length;          /* of the operation */
    const uint8_t *operation; /* until the next call; NULL: none, or longer than 64 KiB and left out */
};

struct ls_subscription_config {
    const char *const *sockets; /* ctrl_socket of nodes on this host; copied */
    uint32_t count;             /* 1..16 */
    uint64_t from;              /* seq of the first entry; 0: the oldest that is retained */
    uint64_t patience_ns;       /* so long nobody may answer; 0: 10 s */
};

/* 0; -EINVAL; -ENOMEM. Nobody is asked yet. */
int ls_subscription_open(const struct ls_subscription_config *config, struct ls_subscription **subscription);
void ls_subscription_close(struct ls_subscription *subscription);

/* The next entry: 1. Waits for it for at most `wait_ns`, and while nobody answers for at most the patience. 0: there is
 * none yet. -ENODATA: the next one is not retained any more; -EHOSTUNREACH: nobody answers; -EPROTO: the answer is not
 * lockstep-ctrl's; -ENOMEM. After an error it may be called again. */
int ls_subscription_next(struct ls_subscription *subscription, uint64_t wait_ns, struct ls_subscribed *entry);
/* One line, after an error. */
const char *ls_subscription_error(const struct ls_subscription *subscription);

#endif
