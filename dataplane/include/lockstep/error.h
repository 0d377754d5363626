/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Statuses that travel in replies, with their text and a hint for people, in one table (dataplane/core/error.c).
 * The numbers are part of the wire format and of the log: never reuse one.
 */
#ifndef LOCKSTEP_ERROR_H
#define LOCKSTEP_ERROR_H

#include <stdint.h>

/* name, number, text, hint, retry: 1 if the client library sends the same request again by itself */
#define LS_STATUS_LIST(X)                                                                                              \
    X(OK, 0, "done", "", 0)                                                                                            \
    X(NOT_FOUND, 1, "no such key", "put it first, or check the spelling", 0)                                           \
    X(CONDITION, 2, "the key's version is not the expected one", "read it again and retry with the new version", 0)    \
    X(NO_SPACE, 3, "the cluster's limit of keys or bytes is reached", "delete keys or raise the limit", 0)             \
    X(TOO_LARGE, 4, "the operation or value is larger than allowed", "see limits in the cluster file", 0)              \
    X(UNSUPPORTED, 5, "the state machine does not know this operation", "check the client's version", 0)               \
    X(BAD_OPERATION, 6, "the operation is malformed", "check the client's version", 0)                                 \
    X(NOT_A_NUMBER, 7, "the value is not a 64-bit decimal number", "incr works on numbers only", 0)                    \
    X(OVERFLOW, 8, "the number would overflow 64 bits", "use a smaller step", 0)                                       \
    X(SESSION_UNKNOWN, 9, "the session does not exist or was evicted", "open a new session", 0)                        \
    X(EXPIRED, 10, "the deadline had passed when the request was ordered: it was not executed", "", 0)                 \
    X(CLOSED, 11, "the request was not executed and never will be", "", 0)                                             \
    X(RESULT_GONE, 12, "the request was executed, its result is no longer kept", "keep fewer requests in flight", 0)   \
    X(NO_SESSION_FREE, 13, "every session is in use", "raise sessions, or wait for idle ones to be evicted", 1)        \
    X(VERSION_GONE, 14, "the value changed while it was being read in parts", "read it again", 1)                      \
    X(LARGE_VALUE, 15, "the value is larger than a reply: pull it by version and offset", "", 0)                       \
    X(OUT_OF_ORDER, 16, "a request arrived without its predecessor: not executed", "check the client", 0)              \
    X(BUSY_LOG, 32, "the log has no room until slower replicas catch up", "try later", 1)                              \
    X(BUSY_WINDOW, 33, "the session has too many requests in flight", "wait for replies", 1)                           \
    X(BUSY_STASH, 34, "too many requests arrived before their predecessors", "try later", 1)                           \
    X(BUSY_PULL, 35, "too many large requests are being received", "try later", 1)                                     \
    X(BUSY_READS, 36, "too many reads are waiting", "try later", 1)                                                    \
    X(BUSY_OPENING, 37, "the sequencer is opening its epoch", "try later", 1)                                          \
    X(BUSY_SUSPENDED, 38, "the sequencer does not hear from a majority", "check the other nodes", 1)                   \
    X(BUSY_BEHIND, 39, "this replica has not yet applied what the read asks for", "try later or elsewhere", 1)         \
    X(NO_SEQUENCER, 41, "this node knows of no sequencer", "try another node", 1)                                      \
    X(HALTED, 42, "this replica has stopped itself", "see lockstep status on that node", 1)

enum ls_status {
#define X(name, number, text, hint, retry) LS_STATUS_##name = number,
    LS_STATUS_LIST(X)
#undef X
};

/* The three return static strings, never NULL; an unknown number gives "unknown status". Any thread. */
const char *ls_status_name(uint16_t status);
const char *ls_status_text(uint16_t status);
const char *ls_status_hint(uint16_t status);
/* 1 where the same request may simply be sent again (busy, no sequencer, ...). */
int ls_status_is_retryable(uint16_t status);

#endif
