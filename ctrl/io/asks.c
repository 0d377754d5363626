/* SPDX-License-Identifier: BSD-3-Clause */
/* See asks.h. ctrl's one thread. */
#include "asks.h"

#include <stddef.h>

uint64_t ls_asks_add(struct ls_asks *asks, uint64_t until_ns, ls_ask_answer answer, void *user)
{
    for (int i = 0; i < LS_ASKS_MAX; i++) {
        if (asks->entry[i].id != 0)
            continue;
        asks->entry[i] =
            (struct ls_asks_entry){.id = ++asks->last, .until_ns = until_ns, .answer = answer, .user = user};
        return asks->entry[i].id;
    }
    return 0;
}

void ls_asks_drop(struct ls_asks *asks, uint64_t id)
{
    for (int i = 0; i < LS_ASKS_MAX; i++)
        if (asks->entry[i].id == id)
            asks->entry[i].id = 0;
}

/* The entry is free before its owner is called: it may ask again at once. */
void ls_asks_answer(struct ls_asks *asks, const struct ls_control_header *header, const uint8_t *body)
{
    for (int i = 0; i < LS_ASKS_MAX; i++) {
        struct ls_asks_entry entry = asks->entry[i];

        if (entry.id != header->id)
            continue;
        asks->entry[i].id = 0;
        entry.answer(entry.user, header, body, NULL);
        return;
    }
}

void ls_asks_give_up(struct ls_asks *asks, uint64_t now_ns, const char *why)
{
    for (int i = 0; i < LS_ASKS_MAX; i++) {
        struct ls_asks_entry entry = asks->entry[i];

        if (entry.id == 0 || (entry.until_ns > now_ns))
            continue;
        asks->entry[i].id = 0;
        entry.answer(entry.user, NULL, NULL, why);
    }
}
