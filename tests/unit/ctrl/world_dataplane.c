/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dataplanes as simple as can be that obey the orders of control_message.h: a log is handed over whole, in one
 * millisecond, to whoever may have it. With the checks of a whole cluster. See world.h.
 */
#include "world_dataplane.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define SUSPEND_NS (100 * MS)

void world_dataplane_begin(struct dataplane *dp, uint64_t incarnation, uint64_t promise)
{
    memset(dp, 0, sizeof(*dp));
    dp->running = true;
    dp->incarnation = incarnation;
    dp->epoch = promise;
    dp->role = LS_ROLE_OUTSIDE;
}

/* With the log that the one before it had, every entry of it on the disk. */
void world_dataplane_resume(struct dataplane *dp, uint64_t incarnation, uint64_t promise)
{
    static struct dataplane before;

    before = *dp;
    world_dataplane_begin(dp, incarnation, promise);
    memcpy(dp->log, before.log, sizeof(dp->log));
    dp->last = before.last;
    dp->commit = before.commit;
    dp->oldest = before.oldest;
    dp->members = before.members;
    dp->resumed = dp->reached = true;
}

static bool is_sequencer(const struct dataplane *dp)
{
    return dp->role == LS_ROLE_OPENING || dp->role == LS_ROLE_SEQUENCER || dp->role == LS_ROLE_SUSPENDED;
}

static uint64_t last_epoch(const struct dataplane *dp)
{
    return dp->last > 0 ? dp->log[dp->last].epoch : 0;
}

static void done(uint16_t node, uint64_t id, uint32_t error, const char *text)
{
    struct ls_control_done body = {.error = error};
    world_to_ctrl(node, LS_CONTROL_DONE, id, &body, sizeof(body), text, strlen(text));
}

static void role_set(struct world *w, uint16_t node, uint16_t role)
{
    struct dataplane *dp = &w->node[node].dp;
    struct ls_control_role body = {.epoch = dp->epoch, .role = role, .sequencer = dp->sequencer, .halt = dp->halt};

    if (dp->role == role)
        return;
    dp->role = role;
    if (dp->linked)
        world_to_ctrl(node, LS_CONTROL_ROLE, 0, &body, sizeof(body), NULL, 0);
}

static uint32_t members_at(const struct dataplane *dp)
{
    for (uint32_t i = dp->last; i > 0; i--)
        if (dp->log[i].has_members)
            return i;
    return 0;
}

/* The newest membership, and a word of it when it is another one. */
static void members_refresh(struct world *w, uint16_t node)
{
    struct dataplane *dp = &w->node[node].dp;
    uint32_t at = members_at(dp);
    bool committed = at != 0 && dp->commit >= at;
    struct ls_member_record record[LS_MEMBERS_MAX];

    if (at == 0)
        return;
    dp->members = dp->log[at].members;
    if ((at == dp->told_members && committed == dp->told_committed) || !dp->linked)
        return;
    dp->told_members = at;
    dp->told_committed = committed;
    struct ls_control_members head = {
        .seq = at, .members = (uint16_t)dp->members.count, .committed = committed ? 1 : 0};
    ls_membership_write(&dp->members, record);
    world_to_ctrl(node, LS_CONTROL_MEMBERS, 0, &head, sizeof(head), record, dp->members.count * sizeof(record[0]));
}

void world_dataplane_hello(struct world *w, uint16_t node)
{
    struct dataplane *dp = &w->node[node].dp;
    struct ls_control_role body = {.epoch = dp->epoch, .role = dp->role, .sequencer = dp->sequencer, .halt = dp->halt};

    world_to_ctrl(node, LS_CONTROL_ROLE, 0, &body, sizeof(body), NULL, 0);
    dp->told_members = 0;
    members_refresh(w, node);
}

static void append(struct dataplane *dp, const struct ls_membership *members)
{
    assert_true(dp->last + 1 < ENTRIES);
    struct entry *e = &dp->log[++dp->last];
    *e = (struct entry){.epoch = dp->epoch};
    if (members != NULL) {
        e->has_members = true;
        e->members = *members;
        e->members.seq = dp->last;
    }
}

void world_append(struct world *w, uint16_t node, uint32_t n)
{
    assert_int_equal(w->node[node].dp.role, LS_ROLE_SEQUENCER);
    while (n-- > 0)
        append(&w->node[node].dp, NULL);
}

void world_dataplane_recover(struct world *w, uint16_t node, uint32_t entries)
{
    struct dataplane *dp = &w->node[node].dp;

    assert_int_equal(dp->role, LS_ROLE_OUTSIDE);
    assert_true(dp->last == 0 || dp->disowned);
    assert_true(entries <= w->committed);
    for (uint32_t i = 1; i <= entries; i++)
        dp->log[i] = (struct entry){.epoch = w->canon[i]};
    dp->last = dp->commit = entries;
    dp->disowned = entries > 0;
    dp->members.count = 0;
}

/* ---- orders ---- */

static void members_read(struct ls_membership *m, const uint8_t *records, uint32_t count)
{
    struct ls_member_record record[LS_MEMBERS_MAX];

    assert_true(count <= LS_MEMBERS_MAX);
    memcpy(record, records, count * sizeof(record[0]));
    assert_true(ls_membership_read(m, record, count));
}

static void order_seal(struct world *w, uint16_t node, uint64_t id, uint64_t epoch)
{
    struct dataplane *dp = &w->node[node].dp;
    struct ls_member_record record[LS_MEMBERS_MAX];

    assert_true(epoch <= w->node[node].disk.promise);
    if (epoch > dp->epoch) {
        dp->epoch = epoch;
        dp->sequencer = 0;
        dp->handing = 0;
        dp->joining = false;
        role_set(w, node, dp->counts ? LS_ROLE_SEALED : LS_ROLE_OUTSIDE);
    }
    struct ls_control_sealed body = {.epoch = dp->epoch,
                                     .incarnation = dp->incarnation,
                                     .last_epoch = last_epoch(dp),
                                     .last = dp->last * STEP,
                                     .last_seq = dp->last,
                                     .members_seq = members_at(dp),
                                     .members = (uint16_t)dp->members.count,
                                     .counts = dp->counts};
    ls_membership_write(&dp->members, record);
    world_to_ctrl(node, LS_CONTROL_SEALED, id, &body, sizeof(body), record, dp->members.count * sizeof(record[0]));
}

static void order_install(struct world *w, uint16_t node, uint64_t id, const struct ls_control_epoch *o)
{
    struct dataplane *dp = &w->node[node].dp;
    struct ls_control_installed body = {.epoch = o->epoch};

    if (dp->role != LS_ROLE_SEALED || dp->epoch != o->epoch)
        body.refused = 1;
    else if (o->incarnation != dp->incarnation || !dp->counts)
        body.refused = 2;
    else if (ls_membership_find(&dp->members, node) == NULL)
        body.refused = 3;
    if (body.refused == 0) {
        assert_int_not_equal(w->opened[o->epoch % OPENED], o->epoch); /* E2 */
        w->opened[o->epoch % OPENED] = o->epoch;
        assert_true(dp->last >= w->committed); /* E6 */
        for (uint32_t i = 1; i <= w->committed; i++)
            assert_int_equal(dp->log[i].epoch, w->canon[i]);
        bool first = members_at(dp) == 0;
        append(dp, NULL);
        if (first)
            append(dp, &dp->members);
        dp->sequencer = node;
        dp->opened_ns = dp->majority_ns = w->now;
        memset(dp->admitted, 0, sizeof(dp->admitted));
        role_set(w, node, LS_ROLE_OPENING);
        members_refresh(w, node);
    }
    world_to_ctrl(node, LS_CONTROL_INSTALLED, id, &body, sizeof(body), NULL, 0);
}

static void order_admit(struct world *w, uint16_t node, uint64_t id, const struct ls_control_admit *o)
{
    struct dataplane *dp = &w->node[node].dp;
    struct ls_control_admitted body = {.epoch = o->epoch, .joining = o->joining, .node = o->node};

    if (!is_sequencer(dp) || dp->epoch != o->epoch || dp->incarnation != o->incarnation)
        body.refused = 1;
    else if (ls_membership_find(&dp->members, o->node) == NULL)
        body.refused = 2;
    else if (o->joining < dp->admitted[o->node])
        body.refused = 3;
    else if (o->promise > o->epoch)
        body.refused = 4;
    if (body.refused == 0) {
        dp->admitted[o->node] = o->joining;
        body.reach = dp->last * STEP;
    }
    world_to_ctrl(node, LS_CONTROL_ADMITTED, id, &body, sizeof(body), NULL, 0);
}

static void order_change(struct world *w, uint16_t node, uint64_t id, const uint8_t *bytes)
{
    struct dataplane *dp = &w->node[node].dp;
    struct ls_control_members head;
    struct ls_membership to;
    struct ls_control_changed body = {0};

    memcpy(&head, bytes, sizeof(head));
    members_read(&to, bytes + sizeof(head), head.members);
    body.epoch = head.epoch;
    if (dp->role != LS_ROLE_SEQUENCER || dp->epoch != head.epoch)
        body.refused = 1;
    else if (members_at(dp) != head.seq)
        body.refused = 3;
    else if (dp->commit < head.seq)
        body.refused = 2;
    else if (!ls_membership_is_voter(&to, node))
        body.refused = 6;
    else
        body.refused = ls_membership_step(&dp->members, &to);
    if (body.refused == 0) {
        append(dp, &to);
        body.seq = dp->last;
        members_refresh(w, node);
    }
    if (dp->changed_late)
        id = 0;
    dp->changed_late = false;
    world_to_ctrl(node, LS_CONTROL_CHANGED, id, &body, sizeof(body), NULL, 0);
}

void world_dataplane_order(struct world *w, uint16_t node, const struct ls_control_header *h, const uint8_t *body)
{
    struct dataplane *dp = &w->node[node].dp;
    struct ls_control_epoch epoch;
    struct ls_control_members members;
    struct ls_control_join join;
    struct ls_control_admit admit;
    struct ls_control_handover handover;

    switch (h->type) {
    case LS_CONTROL_SEAL:
        memcpy(&epoch, body, sizeof(epoch));
        order_seal(w, node, h->id, epoch.epoch);
        break;
    case LS_CONTROL_INSTALL:
        memcpy(&epoch, body, sizeof(epoch));
        order_install(w, node, h->id, &epoch);
        break;
    case LS_CONTROL_FOUND:
        memcpy(&members, body, sizeof(members));
        if (dp->role != LS_ROLE_OUTSIDE || (dp->last > 0 && !dp->disowned) || (dp->disowned && members.members != 1)) {
            done(node, h->id, EINVAL, "not outside");
            break;
        }
        assert_int_equal(w->node[node].disk.counts, dp->incarnation);
        assert_true(w->node[node].disk.promise == 0 || w->node[node].disk.recovers);
        dp->disowned = false;
        members_read(&dp->members, body + sizeof(members), members.members);
        dp->counts = true;
        role_set(w, node, LS_ROLE_SEALED);
        done(node, h->id, 0, "");
        break;
    case LS_CONTROL_JOIN:
        memcpy(&join, body, sizeof(join));
        assert_false(dp->disowned);
        if (dp->epoch != join.epoch || dp->incarnation != join.incarnation || dp->counts) {
            done(node, h->id, EINVAL, "another epoch");
            break;
        }
        if (dp->last == 0)
            members_read(&dp->members, body + sizeof(join), join.members);
        dp->joining = true;
        dp->reached_said = false; /* said again with each JOIN */
        dp->reach = join.reach;
        dp->sequencer = join.sequencer;
        role_set(w, node, LS_ROLE_UNVERIFIED);
        done(node, h->id, 0, "");
        break;
    case LS_CONTROL_COUNT:
        memcpy(&epoch, body, sizeof(epoch));
        if (!dp->reached) {
            done(node, h->id, EINVAL, "not reached");
            break;
        }
        assert_int_equal(w->node[node].disk.counts, dp->incarnation); /* C5 */
        dp->counts = true;
        dp->joining = false;
        if (dp->role == LS_ROLE_OUTSIDE)
            role_set(w, node, LS_ROLE_SEALED);
        done(node, h->id, 0, "");
        break;
    case LS_CONTROL_ADMIT:
        memcpy(&admit, body, sizeof(admit));
        order_admit(w, node, h->id, &admit);
        break;
    case LS_CONTROL_CHANGE:
        order_change(w, node, h->id, body);
        break;
    case LS_CONTROL_HANDOVER:
        memcpy(&handover, body, sizeof(handover));
        if (dp->role != LS_ROLE_SEQUENCER || dp->epoch != handover.epoch) {
            done(node, h->id, EINVAL, "not the sequencer");
            break;
        }
        dp->handing = handover.node;
        dp->hand_id = h->id;
        dp->hand_until_ns = w->now + handover.patience;
        break;
    default:
        fail_msg("order %u", h->type);
    }
}

bool world_dataplane_rebase(struct world *w, uint16_t node, uint16_t from)
{
    struct dataplane *to = &w->node[node].dp;
    const struct dataplane *source = &w->node[from].dp;

    if (!to->running || to->role != LS_ROLE_BEHIND || source->commit < (to->counts ? to->last : to->commit))
        return false;
    memcpy(to->log, source->log, sizeof(to->log));
    to->last = to->commit = source->commit;
    role_set(w, node, LS_ROLE_UNVERIFIED);
    return true;
}

/* ---- the data network, once a millisecond ---- */

static bool reaches(struct world *w, uint16_t from, uint16_t to)
{
    return !w->data_cut[from][to] && w->node[from].dp.running && w->node[to].dp.running && !w->node[from].dp.hung &&
           !w->node[to].dp.hung && w->node[from].dp.ready && w->node[to].dp.ready;
}

/* S speaks, F hears. */
static void follow(struct world *w, uint16_t s, uint16_t f)
{
    struct dataplane *sd = &w->node[s].dp, *fd = &w->node[f].dp;
    uint32_t parting = 0;

    if (fd->role == LS_ROLE_OUTSIDE || fd->epoch > sd->epoch)
        return;
    if (fd->epoch < sd->epoch) {
        struct ls_control_epoch body = {.epoch = sd->epoch, .node = s};
        if (fd->linked)
            world_to_ctrl(f, LS_CONTROL_EPOCH_SEEN, 0, &body, sizeof(body), NULL, 0);
        return;
    }
    fd->heard_ns[s] = w->now;
    if (is_sequencer(fd) || fd->role == LS_ROLE_HALTED)
        return;
    fd->sequencer = s;
    if (fd->role == LS_ROLE_SEALED)
        role_set(w, f, LS_ROLE_UNVERIFIED);
    if (fd->role == LS_ROLE_BEHIND || !reaches(w, f, s))
        return;
    if (!fd->counts && sd->admitted[f] != fd->incarnation)
        return;
    while (parting < fd->last && parting < sd->last && fd->log[parting + 1].epoch == sd->log[parting + 1].epoch)
        parting++;
    assert_true(parting >= fd->commit);
    if (parting + 1 < sd->oldest) {
        role_set(w, f, LS_ROLE_BEHIND);
        return;
    }
    memcpy(&fd->log[parting + 1], &sd->log[parting + 1], (sd->last - parting) * sizeof(fd->log[0]));
    fd->last = sd->last;
    role_set(w, f, LS_ROLE_FOLLOWER);
    sd->heard_ns[f] = w->now;
    if (fd->joining && (fd->reached || fd->last * STEP >= fd->reach)) {
        struct ls_control_epoch body = {.epoch = fd->epoch, .incarnation = fd->incarnation};
        fd->reached = true;
        if (!fd->reached_said && fd->linked)
            world_to_ctrl(f, LS_CONTROL_REACHED, 0, &body, sizeof(body), NULL, 0);
        fd->reached_said = true;
    }
    if (sd->commit > fd->commit)
        fd->commit = sd->commit < fd->last ? sd->commit : fd->last;
    members_refresh(w, f);
}

static void commit(struct world *w, uint16_t s)
{
    struct dataplane *sd = &w->node[s].dp;
    uint32_t held = 0, voters = ls_membership_voters(&sd->members);
    bool first = sd->log[1].epoch == sd->epoch && sd->commit == 0;

    for (uint32_t i = 0; i < sd->members.count; i++) {
        uint16_t f = sd->members.member[i].node;
        struct dataplane *fd = &w->node[f].dp;
        if (sd->members.member[i].role != LS_MEMBER_VOTER)
            continue;
        if (f == s || (reaches(w, f, s) && reaches(w, s, f) && fd->epoch == sd->epoch && fd->counts &&
                       fd->role == LS_ROLE_FOLLOWER && fd->last == sd->last))
            held++;
    }
    if (held >= (first ? voters : voters / 2 + 1)) {
        sd->majority_ns = w->now;
        assert_true(sd->last >= w->committed);
        for (uint32_t i = 1; i <= sd->last; i++) {
            if (i <= w->committed)
                assert_int_equal(w->canon[i], sd->log[i].epoch);
            w->canon[i] = sd->log[i].epoch;
        }
        w->committed = sd->commit = sd->last;
        role_set(w, s, LS_ROLE_SEQUENCER);
    } else if (w->now > sd->majority_ns + SUSPEND_NS && sd->role == LS_ROLE_SEQUENCER) {
        role_set(w, s, LS_ROLE_SUSPENDED);
    }
    if (sd->handing != 0 && w->node[sd->handing].dp.last == sd->last && sd->commit == sd->last &&
        reaches(w, s, sd->handing)) {
        struct ls_control_epoch body = {.epoch = sd->epoch, .node = sd->handing};
        world_to_ctrl(s, LS_CONTROL_HANDED, sd->hand_id, &body, sizeof(body), NULL, 0);
        sd->handing = 0;
    } else if (sd->handing != 0 && w->now >= sd->hand_until_ns) {
        done(s, sd->hand_id, ETIMEDOUT, "it did not catch up in time");
        sd->handing = 0;
    }
    members_refresh(w, s);
}

void world_dataplanes_tick(struct world *w)
{
    for (uint16_t s = 1; s < NODES; s++) {
        struct dataplane *sd = &w->node[s].dp;

        if (sd->running && !sd->hung)
            sd->turns++;
        if (!sd->running || !is_sequencer(sd) || sd->hung)
            continue;
        for (uint16_t f = 1; f < NODES; f++)
            if (f != s && reaches(w, s, f) && ls_membership_find(&sd->members, f) != NULL)
                follow(w, s, f);
        commit(w, s);
    }
}

void world_dataplane_sample(struct world *w, uint16_t node, struct ls_ctrl_sample *sample)
{
    const struct dataplane *dp = &w->node[node].dp;

    *sample = (struct ls_ctrl_sample){.turns = {dp->turns, dp->turns, UINT64_MAX},
                                      .epoch = dp->epoch,
                                      .last_epoch = last_epoch(dp),
                                      .last = dp->last * STEP,
                                      .last_seq = dp->last,
                                      .commit = dp->commit * STEP,
                                      .applied_seq = dp->commit,
                                      .members_seq = members_at(dp),
                                      .role = dp->role,
                                      .halt = dp->halt,
                                      .sequencer = dp->sequencer,
                                      .counts = dp->counts,
                                      .scrub_damaged = dp->damaged};
    memcpy(sample->heard_ns, dp->heard_ns, sizeof(dp->heard_ns));
    for (uint32_t seq = 10; seq <= dp->commit; seq += 10) {
        sample->digest_seq[seq / 10 % LS_DIGESTS_KEPT] = seq;
        sample->digest[seq / 10 % LS_DIGESTS_KEPT] = seq * 77 + dp->digest_flip;
    }
}
