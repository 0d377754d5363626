/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of statuses: names, texts, hints. Constant; called by everything that speaks to people, on any thread. */
#include <lockstep/entry.h>
#include <stddef.h>

#include <lockstep/error.h>

struct status_row {
    const char *name;
    const char *text;
    const char *hint;
    int retryable;
};

static const struct status_row table[] = {
#define X(name, number, text, hint, retry) [number] = {#name, text, hint, retry},
    LS_STATUS_LIST(X)
#undef X
};

static const struct status_row unknown = {"unknown status", "unknown status", "unknown status", 0};

static const struct status_row *status_row(uint16_t status)
{
    if (status >= sizeof(table) / sizeof(table[0]) || table[status].name == NULL)
        return &unknown;
    return &table[status];
}

const char *ls_status_name(uint16_t status)
{
    return status_row(status)->name;
}

const char *ls_status_text(uint16_t status)
{
    return status_row(status)->text;
}

const char *ls_status_hint(uint16_t status)
{
    return status_row(status)->hint;
}

int ls_status_is_retryable(uint16_t status)
{
    return status_row(status)->retryable;
}

const char *ls_entry_kind_name(unsigned kind)
{
    static const char *const names[LS_ENTRY_KINDS] = {"?",     "epoch", "operation", "open",
                                                      "query", "tick",  "limits",    "members"};
    return names[kind < LS_ENTRY_KINDS ? kind : 0];
}
