/* SPDX-License-Identifier: BSD-3-Clause */
/* At most 16 members with 16 reports each: compared anew after each change, and not otherwise, for at every event that
 * is three times the work of all other steps together. */
#include "drift.h"

#include <string.h>

static void reports_set(struct ls_drift *drift, struct ls_drift_reports *to, const struct ls_drift_reports *reports)
{
    if (memcmp(to, reports, sizeof(*to)) == 0)
        return;
    *to = *reports;
    drift->judged = false;
}

void ls_drift_own(struct ls_drift *drift, const struct ls_ctrl_sample *sample)
{
    struct ls_drift_reports reports;

    memcpy(reports.seq, sample->digest_seq, sizeof(reports.seq));
    memcpy(reports.digest, sample->digest, sizeof(reports.digest));
    reports_set(drift, &drift->own, &reports);
}

void ls_drift_peer(struct ls_drift *drift, uint16_t node, const uint64_t *seqs, const uint64_t *digests, size_t n)
{
    struct ls_drift_reports reports = {0};

    if (node == 0 || node > LS_NODE_ID_MAX)
        return;
    for (size_t i = 0; i < n && i < LS_DIGESTS_KEPT; i++) {
        reports.seq[i] = seqs[i];
        reports.digest[i] = digests[i];
    }
    reports_set(drift, &drift->peer[node], &reports);
}

void ls_drift_forget(struct ls_drift *drift, uint16_t node)
{
    struct ls_drift_reports none = {0};

    if (node <= LS_NODE_ID_MAX)
        reports_set(drift, &drift->peer[node], &none);
}

static const struct ls_drift_reports *reports_of(const struct ls_drift *drift, uint16_t node, uint16_t self)
{
    return node == self ? &drift->own : &drift->peer[node];
}

/* Who reported `seq`, with which digest. */
struct poll {
    uint32_t count;
    uint16_t node[LS_MEMBERS_MAX];
    uint64_t digest[LS_MEMBERS_MAX];
};

static void poll_take(const struct ls_drift *drift, const struct ls_membership *members, uint16_t self, uint64_t seq,
                      uint64_t without, struct poll *poll)
{
    poll->count = 0;
    for (uint32_t m = 0; m < members->count && m < LS_MEMBERS_MAX; m++) {
        uint16_t node = members->member[m].node;
        const struct ls_drift_reports *r = reports_of(drift, node, self);

        if (without >> node & 1)
            continue;
        for (int i = 0; i < LS_DIGESTS_KEPT; i++) {
            if (r->seq[i] != seq)
                continue;
            poll->node[poll->count] = node;
            poll->digest[poll->count++] = r->digest[i];
            break;
        }
    }
}

/* Those who differ from a majority of all `members`, for who has not reported yet may agree with them; 0 where there is
 * none, and *split where they differ all the same. */
static uint64_t poll_judge(const struct poll *poll, uint32_t members, bool *split)
{
    uint32_t most = 0;
    uint64_t odd = 0, right = 0;

    for (uint32_t i = 0; i < poll->count; i++) {
        uint32_t same = 0;

        for (uint32_t k = 0; k < poll->count; k++)
            same += poll->digest[k] == poll->digest[i];
        if (same > most) {
            most = same;
            right = poll->digest[i];
        }
    }
    *split = most < poll->count && most * 2 <= members;
    for (uint32_t i = 0; i < poll->count && !*split; i++)
        if (poll->digest[i] != right)
            odd |= 1ull << poll->node[i];
    return odd;
}

static uint64_t compare(const struct ls_drift *drift, const struct ls_membership *members, uint16_t self,
                        uint64_t without, bool *split)
{
    uint64_t odd = 0;
    struct poll poll;

    *split = false;
    for (uint32_t m = 0; m < members->count && m < LS_MEMBERS_MAX; m++) {
        const struct ls_drift_reports *r = reports_of(drift, members->member[m].node, self);

        for (int i = 0; i < LS_DIGESTS_KEPT; i++) {
            bool parted = false;

            if (r->seq[i] == 0)
                continue;
            poll_take(drift, members, self, r->seq[i], without, &poll);
            odd |= poll_judge(&poll, members->count, &parted);
            *split = *split || parted;
        }
    }
    return odd;
}

static void judge(struct ls_drift *drift, const struct ls_membership *members, uint16_t self)
{
    uint64_t asked = 0;
    bool split;

    for (uint32_t m = 0; m < members->count && m < LS_MEMBERS_MAX; m++)
        asked |= 1ull << members->member[m].node;
    if (drift->judged && drift->members == asked && drift->self == self)
        return;
    drift->odd = compare(drift, members, self, 0, &split);
    (void)compare(drift, members, self, drift->odd, &drift->split);
    drift->members = asked;
    drift->self = self;
    drift->judged = true;
}

uint64_t ls_drift_odd(struct ls_drift *drift, const struct ls_membership *members, uint16_t self)
{
    judge(drift, members, self);
    return drift->odd;
}

bool ls_drift_split(struct ls_drift *drift, const struct ls_membership *members, uint16_t self)
{
    judge(drift, members, self);
    return drift->split;
}
