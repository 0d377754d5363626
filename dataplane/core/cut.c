/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a cut says, entry by entry. The same tables as the log's, computed from the same bytes. Pure; any thread.
 */
#include "cut.h"

#include <string.h>

void ls_cut_start(struct ls_cut *cut)
{
    memset(cut, 0, sizeof(*cut));
    cut->chain = LS_LOG_CHAIN_FIRST;
}

static void epoch_add(struct ls_cut *cut, const struct ls_entry *entry)
{
    struct ls_entry_epoch opening;
    if (entry->length != sizeof(opening))
        return;
    memcpy(&opening, entry + 1, sizeof(opening));
    if (cut->epochs == LS_EPOCHS_KEPT) {
        memmove(&cut->epoch[0], &cut->epoch[1], (LS_EPOCHS_KEPT - 1) * sizeof(cut->epoch[0]));
        cut->epochs--;
    }
    cut->epoch[cut->epochs++] =
        (struct ls_epoch_row){.epoch = opening.epoch, .position = cut->position, .seq = entry->seq};
}

static void members_take(struct ls_cut *cut, const struct ls_entry *entry)
{
    struct ls_entry_members head;
    struct ls_member_record records[LS_MEMBERS_MAX];
    if (entry->length < sizeof(head))
        return;
    memcpy(&head, entry + 1, sizeof(head));
    if (head.members > LS_MEMBERS_MAX || entry->length != sizeof(head) + head.members * sizeof(records[0]))
        return;
    memcpy(records, (const uint8_t *)(entry + 1) + sizeof(head), head.members * sizeof(records[0]));
    if (ls_membership_read(&cut->members, records, head.members))
        cut->members.seq = entry->seq;
}

void ls_cut_pass(struct ls_cut *cut, const struct ls_entry *entry)
{
    switch (entry->kind) {
    case LS_ENTRY_EPOCH:
        epoch_add(cut, entry);
        break;
    case LS_ENTRY_MEMBERS:
        members_take(cut, entry);
        break;
    case LS_ENTRY_LIMITS:
        if (entry->length == sizeof(cut->limits))
            memcpy(&cut->limits, entry + 1, sizeof(cut->limits));
        break;
    default:
        break;
    }
    cut->seq = entry->seq;
    cut->position += ls_entry_size(entry->length);
    cut->time = entry->time;
    cut->chain = entry->checksum;
}

bool ls_cut_is_sane(const struct ls_cut *cut)
{
    /* O5: a log and its clock go on from here */
    if (cut->position > INT64_MAX || cut->time > INT64_MAX)
        return false;
    if (cut->seq == 0 || cut->position % 8 != 0 || cut->position / sizeof(struct ls_entry) < cut->seq ||
        cut->epochs == 0 || cut->epochs > LS_EPOCHS_KEPT || cut->members.seq > cut->seq ||
        (cut->members.count == 0 && cut->members.seq != 0))
        return false;
    for (uint32_t i = 0; i < cut->epochs; i++) {
        const struct ls_epoch_row *row = &cut->epoch[i];
        if (row->epoch == 0 || row->seq == 0 || row->seq > cut->seq || row->position >= cut->position ||
            (i > 0 && (row->epoch <= row[-1].epoch || row->seq <= row[-1].seq || row->position <= row[-1].position)))
            return false;
    }
    return true;
}
