/* SPDX-License-Identifier: BSD-3-Clause */
/* Headers and state slots: bytes from a disk, so nothing of them is believed before it is checked. See format.h. */
#include "format.h"

#include <string.h>

#include "wire.h"

const char *ls_journal_wrong_text(enum ls_journal_wrong wrong)
{
    static const char *const text[] = {
        [LS_JOURNAL_RIGHT] = "right",
        [LS_JOURNAL_ABSENT] = "absent",
        [LS_JOURNAL_DAMAGED] = "damaged",
        [LS_JOURNAL_NEWER] = "of a newer format than this program knows: use the program that wrote it",
        [LS_JOURNAL_CLUSTER] = "of another cluster",
        [LS_JOURNAL_NODE] = "of another node: a copied data directory",
        [LS_JOURNAL_OLDER] = "of an older generation of the cluster",
        [LS_JOURNAL_GENERATION] = "of a later generation of the cluster than this node's record",
        [LS_JOURNAL_SIZE] = "of another segment size: give journal.segment its old value again",
        [LS_JOURNAL_NUMBER] = "another segment than its name says",
    };
    return (size_t)wrong < sizeof(text) / sizeof(text[0]) ? text[wrong] : "?";
}

static enum ls_journal_wrong identity_check(const struct ls_journal_identity *mine,
                                            const struct ls_journal_identity *other)
{
    if (other->cluster != mine->cluster || other->group != mine->group)
        return LS_JOURNAL_CLUSTER;
    if (other->node != mine->node)
        return LS_JOURNAL_NODE;
    if (other->generation != mine->generation)
        return other->generation < mine->generation ? LS_JOURNAL_OLDER : LS_JOURNAL_GENERATION;
    return other->segment_size != mine->segment_size ? LS_JOURNAL_SIZE : LS_JOURNAL_RIGHT;
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* ---- segments ---- */

static uint32_t segment_checksum(struct ls_journal_segment segment)
{
    segment.checksum = 0;
    return ls_crc32c(0, &segment, sizeof(segment));
}

void ls_journal_segment_write(const struct ls_journal_identity *identity, uint64_t number, void *block)
{
    struct ls_journal_segment segment = {
        .magic = LS_JOURNAL_MAGIC_SEGMENT, .version = LS_JOURNAL_VERSION, .identity = *identity, .number = number};
    segment.checksum = segment_checksum(segment);
    memset(block, 0, LS_JOURNAL_BLOCK);
    memcpy(block, &segment, sizeof(segment));
}

enum ls_journal_wrong ls_journal_segment_check(const struct ls_journal_identity *identity, uint64_t number,
                                               const void *block)
{
    struct ls_journal_segment segment;
    memcpy(&segment, block, sizeof(segment));
    if (segment.magic != LS_JOURNAL_MAGIC_SEGMENT)
        return LS_JOURNAL_DAMAGED;
    if (segment.version > LS_JOURNAL_VERSION)
        return LS_JOURNAL_NEWER;
    if (segment.version == 0 || segment.checksum != segment_checksum(segment))
        return LS_JOURNAL_DAMAGED;
    enum ls_journal_wrong wrong = identity_check(identity, &segment.identity);
    if (wrong != LS_JOURNAL_RIGHT)
        return wrong;
    return segment.number == number ? LS_JOURNAL_RIGHT : LS_JOURNAL_NUMBER;
}

/* ---- the state ---- */

static uint32_t state_checksum(struct ls_journal_state state)
{
    state.checksum = 0;
    return ls_crc32c(0, &state, sizeof(state));
}

void ls_journal_state_write(const struct ls_journal_state *state, void *block)
{
    struct ls_journal_state slot = *state;
    slot.magic = LS_JOURNAL_MAGIC_STATE;
    slot.version = LS_JOURNAL_VERSION;
    slot.checksum = state_checksum(slot);
    memset(block, 0, LS_JOURNAL_BLOCK);
    memcpy(block, &slot, sizeof(slot));
}

static enum ls_journal_wrong slot_check(const struct ls_journal_identity *identity, const void *block,
                                        struct ls_journal_state *slot)
{
    memcpy(slot, block, sizeof(*slot));
    if (slot->magic != LS_JOURNAL_MAGIC_STATE)
        return is_zero(block, LS_JOURNAL_BLOCK) ? LS_JOURNAL_ABSENT : LS_JOURNAL_DAMAGED;
    if (slot->version > LS_JOURNAL_VERSION)
        return LS_JOURNAL_NEWER;
    if (slot->version == 0 || slot->checksum != state_checksum(*slot))
        return LS_JOURNAL_DAMAGED;
    enum ls_journal_wrong wrong = identity_check(identity, &slot->identity);
    if (wrong != LS_JOURNAL_RIGHT)
        return wrong;
    bool sane = slot->number != 0 && slot->incarnation != 0 && slot->since <= slot->incarnation && slot->clean <= 1 &&
                slot->base.zero == 0 && slot->base.position % 8 == 0 && slot->commit <= slot->durable &&
                slot->base.position <= slot->durable;
    return sane ? LS_JOURNAL_RIGHT : LS_JOURNAL_DAMAGED;
}

enum ls_journal_wrong ls_journal_state_read(const struct ls_journal_identity *identity, const void *blocks,
                                            uint32_t length, struct ls_journal_state *state)
{
    enum ls_journal_wrong wrong = LS_JOURNAL_ABSENT;
    struct ls_journal_state slot;
    uint32_t damaged = 0;
    memset(state, 0, sizeof(*state));
    for (uint32_t i = 0; i < 2 && (i + 1) * LS_JOURNAL_BLOCK <= length; i++) {
        enum ls_journal_wrong of = slot_check(identity, (const uint8_t *)blocks + i * LS_JOURNAL_BLOCK, &slot);
        damaged += of == LS_JOURNAL_DAMAGED;
        if (of == LS_JOURNAL_RIGHT && slot.number > state->number)
            *state = slot;
        if (of > LS_JOURNAL_DAMAGED && of > wrong)
            wrong = of;
    }
    if (damaged == 2)
        wrong = LS_JOURNAL_DAMAGED;
    return state->number != 0 ? LS_JOURNAL_RIGHT : wrong;
}

bool ls_journal_state_whose(const void *blocks, uint32_t length, struct ls_journal_identity *identity)
{
    struct ls_journal_state slot;
    uint64_t number = 0;
    for (uint32_t i = 0; i < 2 && (i + 1) * LS_JOURNAL_BLOCK <= length; i++) {
        memcpy(&slot, (const uint8_t *)blocks + i * LS_JOURNAL_BLOCK, sizeof(slot));
        if (slot.magic != LS_JOURNAL_MAGIC_STATE || slot.version != LS_JOURNAL_VERSION ||
            slot.checksum != state_checksum(slot) || slot.number <= number || slot.identity.segment_size == 0 ||
            slot.identity.segment_size % LS_JOURNAL_BLOCK != 0)
            continue;
        number = slot.number;
        *identity = slot.identity;
    }
    return number != 0;
}
