/* SPDX-License-Identifier: BSD-3-Clause */
/* Names and texts of counters, roles and reasons to halt. Constant; called by whatever shows them, on any thread. */
#include <lockstep/counters.h>

static const char *const names[LS_COUNTERS] = {
#define X(name, text) #name,
    LS_COUNTER_LIST(X)
#undef X
};

static const char *const texts[LS_COUNTERS] = {
#define X(name, text) text,
    LS_COUNTER_LIST(X)
#undef X
};

const char *ls_counter_name(unsigned which)
{
    return which < LS_COUNTERS ? names[which] : "?";
}

const char *ls_counter_text(unsigned which)
{
    return which < LS_COUNTERS ? texts[which] : "?";
}

const char *ls_role_name(unsigned role)
{
    switch (role) {
    case LS_ROLE_SEALED:
        return "sealed";
    case LS_ROLE_UNVERIFIED:
        return "unverified";
    case LS_ROLE_FOLLOWER:
        return "follower";
    case LS_ROLE_OPENING:
        return "opening";
    case LS_ROLE_SEQUENCER:
        return "sequencer";
    case LS_ROLE_SUSPENDED:
        return "suspended";
    case LS_ROLE_HALTED:
        return "halted";
    case LS_ROLE_OUTSIDE:
        return "outside";
    case LS_ROLE_BEHIND:
        return "behind";
    default:
        return "?";
    }
}

const char *ls_halt_text(unsigned halt)
{
    switch (halt) {
    case LS_HALT_NONE:
        return "not halted";
    case LS_HALT_PARTING_BELOW_COMMIT:
        return "the sequencer's log does not hold what is committed here";
    case LS_HALT_LOG_DAMAGED:
        return "verified log bytes are not a valid next entry";
    case LS_HALT_MEMORY_LOST:
        return "a member acknowledges in this epoch what this node never sent: this node has lost its memory";
    case LS_HALT_DISK:
        return "the journal cannot be written any more: see what the dataplane has said of its disk";
    default:
        return "?";
    }
}

const char *ls_durability_name(unsigned durability)
{
    static const char *const words[] = {"none", "memory", "async", "journal"};
    return durability < sizeof(words) / sizeof(words[0]) ? words[durability] : "?";
}
