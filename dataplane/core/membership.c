/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memberships as plain values: who is in them, what a majority is, their packed form, and which may follow which. No
 * state; any thread.
 */
#include <lockstep/membership.h>

#include <string.h>

const struct ls_member *ls_membership_find(const struct ls_membership *m, uint16_t node)
{
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->member[i].node == node)
            return &m->member[i];
    }
    return NULL;
}

uint32_t ls_membership_voters(const struct ls_membership *m)
{
    uint32_t voters = 0;
    for (uint32_t i = 0; i < m->count; i++)
        voters += m->member[i].role == LS_MEMBER_VOTER;
    return voters;
}

uint32_t ls_membership_majority(const struct ls_membership *m)
{
    uint32_t voters = ls_membership_voters(m);
    return voters == 0 ? 0 : voters / 2 + 1;
}

bool ls_membership_is_voter(const struct ls_membership *m, uint16_t node)
{
    const struct ls_member *member = ls_membership_find(m, node);
    return member != NULL && member->role == LS_MEMBER_VOTER;
}

bool ls_membership_equal(const struct ls_membership *a, const struct ls_membership *b)
{
    if (a->count != b->count)
        return false;
    for (uint32_t i = 0; i < a->count; i++) {
        const struct ls_member *x = &a->member[i];
        const struct ls_member *y = &b->member[i];
        if (x->node != y->node || x->role != y->role || !ls_addr_equal(x->addr, y->addr) ||
            !ls_addr_equal(x->ctrl, y->ctrl))
            return false;
    }
    return true;
}

void ls_membership_write(const struct ls_membership *m, struct ls_member_record *records)
{
    for (uint32_t i = 0; i < m->count; i++) {
        const struct ls_member *member = &m->member[i];
        records[i] = (struct ls_member_record){.node = member->node,
                                               .role = member->role,
                                               .ip = member->addr.ip,
                                               .port = member->addr.port,
                                               .ctrl_port = member->ctrl.port,
                                               .ctrl_ip = member->ctrl.ip};
    }
}

static bool record_is_sane(const struct ls_member_record *record)
{
    if (record->node == 0 || record->node > LS_NODE_ID_MAX)
        return false;
    if (record->role != LS_MEMBER_VOTER && record->role != LS_MEMBER_LEARNER)
        return false;
    if (record->ip == 0 || record->port == 0)
        return false;
    return (record->ctrl_ip == 0) == (record->ctrl_port == 0); /* told whole, or not at all */
}

bool ls_membership_read(struct ls_membership *m, const struct ls_member_record *records, uint32_t count)
{
    if (count == 0 || count > LS_MEMBERS_MAX)
        return false;
    uint32_t voters = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (!record_is_sane(&records[i]) || (i > 0 && records[i].node <= records[i - 1].node))
            return false;
        voters += records[i].role == LS_MEMBER_VOTER;
    }
    if (voters == 0 || voters > LS_VOTERS_MAX)
        return false;
    memset(m, 0, sizeof(*m));
    m->count = count;
    for (uint32_t i = 0; i < count; i++)
        m->member[i] = (struct ls_member){.node = records[i].node,
                                          .role = records[i].role,
                                          .addr = {.ip = records[i].ip, .port = records[i].port},
                                          .ctrl = {.ip = records[i].ctrl_ip, .port = records[i].ctrl_port}};
    return true;
}

/* Voters of `a` that are none in `b`. */
static uint32_t voters_missing(const struct ls_membership *a, const struct ls_membership *b)
{
    uint32_t missing = 0;
    for (uint32_t i = 0; i < a->count; i++)
        missing += a->member[i].role == LS_MEMBER_VOTER && !ls_membership_is_voter(b, a->member[i].node);
    return missing;
}

uint32_t ls_membership_step(const struct ls_membership *from, const struct ls_membership *to)
{
    uint32_t voters = ls_membership_voters(to);
    if (voters == 0 || voters > LS_VOTERS_MAX || to->count > LS_MEMBERS_MAX)
        return 5;
    return voters_missing(from, to) + voters_missing(to, from) > 1 ? 4 : 0;
}
