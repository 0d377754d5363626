/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The object: its start, the record, the run of all steps behind every event, what others may look at. ctrl's one
 * thread.
 *
 * What must hold here: one record is written at a time and nothing looks at `next` to say or order something, only at
 * `disk`; the promise never falls (E1).
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "ctrl_internal.h"

#define RUNS_MAX 16 /* of the steps behind one event; each makes at least one of them go on */

void ctrl_say(struct ls_ctrl *c, enum ls_ctrl_level level, const char *format, ...)
{
    char text[2 * LS_CTRL_TEXT_MAX];
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    c->io.say(c->io.user, level, text);
}

/* Said, and kept for status until something better is known. */
void ctrl_problem(struct ls_ctrl *c, const char *format, ...)
{
    char text[LS_CTRL_TEXT_MAX];
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    if (strcmp(text, c->problem) == 0)
        return;
    memcpy(c->problem, text, sizeof(text));
    c->io.say(c->io.user, LS_CTRL_ALARM, text);
}

/* Numbers of questions: never one of an earlier process of this node, whose late answer would be taken for ours. */
uint64_t ctrl_id(struct ls_ctrl *c)
{
    return ++c->last_id | LS_CTRL_ID;
}

/* xorshift; spreads retries, decides nothing else. */
uint64_t ctrl_random(struct ls_ctrl *c, uint64_t below)
{
    c->random ^= c->random << 13;
    c->random ^= c->random >> 7;
    c->random ^= c->random << 17;
    return below == 0 ? 0 : c->random % below;
}

void ctrl_wake(struct ls_ctrl *c, uint64_t at)
{
    if (at < c->wake_ns)
        c->wake_ns = at;
}

void ctrl_promise(struct ls_ctrl *c, uint64_t epoch, uint16_t vote)
{
    if (epoch <= c->next.promise)
        return; /* the vote of an epoch is never taken back */
    c->epoch_since_ns = c->now;
    c->next.promise = epoch;
    c->next.vote = vote;
    c->next.founder = c->next.recovers = false;
    c->again = true;
}

uint64_t ctrl_patience(const struct ls_ctrl *c, uint32_t unanswered)
{
    return c->times.answer << (unanswered < CTRL_DOUBLINGS ? unanswered : CTRL_DOUBLINGS);
}

/* A forged epoch near the end of the numbers would be kept for ever, and leave none to go on with. */
bool ctrl_sane_epoch(const struct ls_ctrl *c, uint64_t epoch)
{
    return epoch <= c->next.promise || epoch - c->next.promise <= CTRL_EPOCHS_AHEAD;
}

bool ctrl_is_majority(const struct ls_membership *members, uint64_t nodes)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < members->count; i++)
        n += (members->member[i].role == LS_MEMBER_VOTER || ls_ctrl_mutant(LEARNER_VOTES)) &&
             (nodes & bit(members->member[i].node)) != 0;
    return ls_membership_majority(members) > 0 && n >= ls_membership_majority(members);
}

/* ---- record ---- */

static bool durable_equal(const struct ls_durable *a, const struct ls_durable *b)
{
    return a->vote == b->vote && a->incarnation == b->incarnation && a->counts == b->counts &&
           a->promise == b->promise && a->founder == b->founder && a->recovers == b->recovers &&
           a->members.seq == b->members.seq && ls_membership_equal(&a->members, &b->members);
}

static void record_step(struct ls_ctrl *c)
{
    if (c->writing || c->disk_failed || durable_equal(&c->disk, &c->next))
        return;
    c->flight = c->next;
    c->writing = true;
    c->io.persist(c->io.user, &c->flight);
    if (ls_ctrl_mutant(PROMISE_NOT_DURABLE)) {
        c->disk.promise = c->flight.promise;
        c->disk.vote = c->flight.vote;
    }
    if (ls_ctrl_mutant(COUNT_BEFORE_DURABLE) && c->disk.incarnation == c->flight.incarnation)
        c->disk.counts = c->flight.counts;
}

/* ---- the steps ---- */

static void ctrl_advance(struct ls_ctrl *c, uint64_t now)
{
    int runs = 0;

    if (now > c->now)
        c->now = now;
    do {
        c->again = false;
        c->wake_ns = UINT64_MAX;
        record_step(c);
        ctrl_life_step(c);
        ctrl_members_step(c);
        ctrl_ballot_step(c);
        ctrl_election_step(c);
        ctrl_admission_step(c);
        ctrl_joining_step(c);
        ctrl_checkpoint_step(c);
        ctrl_change_step(c);
        ctrl_command_step(c);
        ctrl_majority_step(c);
        record_step(c);
    } while (c->again && ++runs < RUNS_MAX);
    if (c->again)
        ctrl_wake(c, c->now);
    ctrl_status_step(c);
}

static void event_begin(struct ls_ctrl *c, uint64_t now)
{
    if (now > c->now)
        c->now = now;
}

void ls_ctrl_persisted(struct ls_ctrl *c, bool ok, uint64_t now_ns)
{
    event_begin(c, now_ns);
    if (!c->writing)
        return;
    c->writing = false;
    if (ok) {
        c->disk = c->flight;
    } else {
        /* What is on the disk is not known any more: nothing may be said that depends on it, not now nor later. */
        c->next = c->disk;
        c->disk_failed = true;
        ctrl_refuse(c, "the durable record cannot be written, so nothing may be promised: look at the disk of data_dir "
                       "(df, dmesg), then start this node again, or replace it");
    }
    ctrl_advance(c, now_ns);
}

#define MS 1000000ull
static void times_complete(struct ls_ctrl_times *t)
{
#define DEFAULT(field, value)                                                                                          \
    if (t->field == 0)                                                                                                 \
    t->field = (value)
    DEFAULT(poll, MS);
    DEFAULT(suspect_min, 20 * MS);
    DEFAULT(suspect_max, 200 * MS);
    DEFAULT(stall, 40 * MS);
    DEFAULT(stall_kill, 3000 * MS);
    DEFAULT(late, 10 * MS);
    DEFAULT(status, 20 * MS);
    DEFAULT(answer, 30 * MS);
    DEFAULT(stagger, 3 * MS);
    DEFAULT(restart_min, 50 * MS);
    DEFAULT(restart_max, 5000 * MS);
    DEFAULT(handover, 200 * MS);
    DEFAULT(promote_lag, 10000);
    DEFAULT(promote_patience, 600000 * MS);
#undef DEFAULT
}

struct ls_ctrl *ls_ctrl_create(const struct ls_ctrl_config *config, const struct ls_ctrl_io *io)
{
    struct ls_ctrl *c = calloc(1, sizeof(*c));

    if (c == NULL)
        return NULL;
    c->config = *config;
    c->times = config->times;
    times_complete(&c->times);
    c->io = *io;
    c->random = config->seed ^ (0x9e3779b97f4a7c15u * (config->node + 1u));
    if (c->random == 0)
        c->random = 1;
    c->last_id = config->clock_ns & ~LS_CTRL_ID;
    c->wake_ns = UINT64_MAX;
    return c;
}

void ls_ctrl_destroy(struct ls_ctrl *c)
{
    free(c);
}

void ls_ctrl_start(struct ls_ctrl *c, const struct ls_durable *durable, bool alive, uint64_t now_ns)
{
    c->now = now_ns;
    c->disk = *durable;
    c->next = *durable;
    c->epoch_since_ns = now_ns;
    ls_detector_init(&c->detector, &c->times, now_ns);
    memset(&c->drift, 0, sizeof(c->drift));
    c->members = durable->members.count > 0 ? durable->members : c->config.founders;
    ctrl_life_begin(c, alive);
    ctrl_advance(c, now_ns);
}

void ls_ctrl_turn(struct ls_ctrl *c, uint64_t now_ns)
{
    ctrl_advance(c, now_ns);
}

uint64_t ls_ctrl_next_ns(const struct ls_ctrl *c)
{
    return c->wake_ns;
}

/* ---- what the host reports ---- */

void ls_ctrl_observe(struct ls_ctrl *c, const struct ls_ctrl_sample *sample, uint64_t now_ns)
{
    event_begin(c, now_ns);
    if (!c->up)
        return;                    /* a page without its process, or of the one before */
    if (sample->scrub_damaged > 0) /* by this incarnation, perhaps before this ctrl was there */
        c->damaged = true;
    c->sample = *sample;
    c->has_sample = true;
    ls_detector_sample(&c->detector, sample, now_ns);
    ls_drift_own(&c->drift, sample);
    if (sample->epoch >= c->epoch && c->role_known)
        ctrl_role(c, sample->epoch, sample->role, sample->sequencer, sample->halt);
    ctrl_advance(c, now_ns);
}

static void done_take(struct ls_ctrl *c, const struct ls_control_header *header, const uint8_t *body)
{
    struct ls_control_done done;
    char text[LS_CTRL_TEXT_MAX];
    size_t length = header->size - sizeof(done);

    memcpy(&done, body, sizeof(done));
    if (length >= sizeof(text))
        length = sizeof(text) - 1;
    memcpy(text, body + sizeof(done), length);
    text[length] = '\0';
    ctrl_joining_done(c, header->id, (int)done.error, text);
    ctrl_change_done(c, header->id, (int)done.error, text);
}

static bool membership_take(struct ls_membership *members, const uint8_t *records, uint32_t count, uint64_t seq)
{
    struct ls_member_record record[LS_MEMBERS_MAX];

    *members = (struct ls_membership){0};
    if (count == 0 || count > LS_MEMBERS_MAX)
        return false;
    memcpy(record, records, count * sizeof(record[0]));
    if (!ls_membership_read(members, record, count))
        return false;
    members->seq = seq;
    return true;
}

static void sealed_take(struct ls_ctrl *c, const struct ls_control_header *header, const uint8_t *body)
{
    struct ls_control_sealed sealed;

    memcpy(&sealed, body, sizeof(sealed));
    /* Newer than what is known; and not above what was ever asked here: the clock may have been set back since an
     * earlier ctrl asked. */
    if ((header->id & LS_CTRL_ID) == 0 || header->id <= c->sealed_id || header->id > (c->last_id | LS_CTRL_ID))
        return;
    if (sealed.incarnation != c->disk.incarnation) {
        ctrl_refuse(c,
                    "the dataplane that answers is incarnation %" PRIu64 ", not %" PRIu64
                    " which was started: look for a second lockstep-dataplane of this node and stop it",
                    (uint64_t)sealed.incarnation, c->disk.incarnation);
        return;
    }
    if (sealed.epoch > c->disk.promise) {
        ctrl_refuse(c,
                    "the dataplane has promised epoch %" PRIu64 ", the durable record knows of %" PRIu64
                    ": the record was rolled back. Replace this node by a new member",
                    (uint64_t)sealed.epoch, c->disk.promise);
        return;
    }
    c->sealed = sealed;
    c->sealed_id = header->id;
    membership_take(&c->sealed_members, body + sizeof(sealed), sealed.members, sealed.members_seq);
}

/* Frames on the data network prove nothing by themselves. What comes from a known member's address is believed; of
 * anybody else's epoch, as of a sequencer that this node's log does not name yet, some ctrl must have spoken. */
static bool epoch_is_told(const struct ls_ctrl *c, const struct ls_control_epoch *seen)
{
    for (uint16_t node = 1; node <= LS_NODE_ID_MAX && seen->node == 0; node++)
        if (c->peer[node].linked && c->peer[node].has_status && c->peer[node].status.epoch >= seen->epoch)
            return true;
    return seen->node != 0;
}

static void dataplane_take(struct ls_ctrl *c, const struct ls_control_header *header, const uint8_t *body)
{
    struct ls_control_epoch epoch;
    struct ls_control_role role;
    struct ls_control_installed installed;
    struct ls_control_admitted admitted;
    struct ls_control_changed changed;
    struct ls_control_members head;
    struct ls_membership members;

    switch (header->type) {
    case LS_CONTROL_SEALED:
        sealed_take(c, header, body);
        break;
    case LS_CONTROL_INSTALLED:
        memcpy(&installed, body, sizeof(installed));
        ctrl_installed(c, header->id, &installed);
        break;
    case LS_CONTROL_DONE:
        done_take(c, header, body);
        break;
    case LS_CONTROL_ADMITTED:
        memcpy(&admitted, body, sizeof(admitted));
        ctrl_admitted(c, header->id, &admitted);
        break;
    case LS_CONTROL_CHANGED:
        memcpy(&changed, body, sizeof(changed));
        ctrl_changed(c, header->id, &changed);
        break;
    case LS_CONTROL_HANDED:
        memcpy(&epoch, body, sizeof(epoch));
        ctrl_handed(c, header->id, &epoch);
        break;
    case LS_CONTROL_ROLE:
        memcpy(&role, body, sizeof(role));
        c->role_known = true;
        if (role.epoch >= c->epoch)
            ctrl_role(c, role.epoch, role.role, role.sequencer, role.halt);
        break;
    case LS_CONTROL_EPOCH_SEEN:
        memcpy(&epoch, body, sizeof(epoch));
        if (!ctrl_sane_epoch(c, epoch.epoch))
            ctrl_problem(c,
                         "a frame of node %u carried epoch %" PRIu64 ", %" PRIu64
                         " is promised: no cluster gets so far ahead; nothing is promised",
                         epoch.node, (uint64_t)epoch.epoch, c->next.promise);
        else if (c->phase == LS_CTRL_FULL && epoch.epoch > c->next.promise && epoch_is_told(c, &epoch))
            ctrl_promise(c, epoch.epoch, 0); /* one that joins starts over instead, at the new sequencer */
        break;
    case LS_CONTROL_REACHED:
        memcpy(&epoch, body, sizeof(epoch));
        ctrl_reached(c, &epoch);
        break;
    case LS_CONTROL_MEMBERS:
        memcpy(&head, body, sizeof(head));
        if (membership_take(&members, body + sizeof(head), head.members, head.seq))
            ctrl_members_set(c, &members, head.committed != 0);
        break;
    case LS_CONTROL_DAMAGED:
        c->damaged = true;
        break;
    default: /* answers to what the host asked */
        break;
    }
}

void ls_ctrl_dataplane_message(struct ls_ctrl *c, const struct ls_control_header *header, const uint8_t *body,
                               uint64_t now_ns)
{
    event_begin(c, now_ns);
    if (!c->up)
        return;
    dataplane_take(c, header, body);
    ctrl_advance(c, now_ns);
}

void ls_ctrl_dataplane_ending(struct ls_ctrl *c, uint64_t now_ns)
{
    event_begin(c, now_ns);
    ctrl_kill(c);
    ctrl_advance(c, now_ns);
}

void ls_ctrl_dataplane_down(struct ls_ctrl *c, const char *how, uint64_t now_ns)
{
    event_begin(c, now_ns);
    ctrl_life_down(c, how);
    ctrl_advance(c, now_ns);
}

void ls_ctrl_dataplane_up(struct ls_ctrl *c, const struct ls_control_ready *ready, uint64_t now_ns)
{
    event_begin(c, now_ns);
    ctrl_life_up(c, ready);
    ctrl_advance(c, now_ns);
}

void ls_ctrl_peer_up(struct ls_ctrl *c, uint16_t node, uint64_t now_ns)
{
    event_begin(c, now_ns);
    if (node == 0 || node > LS_NODE_ID_MAX)
        return;
    ctrl_link_up(c, node);
    ctrl_advance(c, now_ns);
}

void ls_ctrl_peer_down(struct ls_ctrl *c, uint16_t node, uint64_t now_ns)
{
    event_begin(c, now_ns);
    if (node == 0 || node > LS_NODE_ID_MAX)
        return;
    ctrl_link_down(c, node);
    ctrl_advance(c, now_ns);
}

const char *ls_ctrl_peer_message(struct ls_ctrl *c, uint16_t node, const uint8_t *bytes, size_t size, uint64_t now_ns)
{
    const char *refused;

    event_begin(c, now_ns);
    refused = ctrl_link_message(c, node, bytes, size);
    ctrl_advance(c, now_ns);
    return refused;
}

void ls_ctrl_checkpoint_done(struct ls_ctrl *c, int error, const char *text, uint64_t now_ns)
{
    event_begin(c, now_ns);
    ctrl_checkpoint_end(c, error, text);
    ctrl_advance(c, now_ns);
}

void ls_ctrl_command(struct ls_ctrl *c, const struct ls_ctrl_command *command, uint64_t token, uint64_t now_ns)
{
    event_begin(c, now_ns);
    ctrl_command_take(c, command, token);
    ctrl_advance(c, now_ns);
}

/* ---- view ---- */

const char *ls_ctrl_phase_name(enum ls_ctrl_phase phase)
{
    static const char *const name[] = {
        [LS_CTRL_STARTING] = "starting", [LS_CTRL_OUTSIDE] = "outside", [LS_CTRL_JOINING] = "joining",
        [LS_CTRL_FULL] = "full",         [LS_CTRL_WAITING] = "waiting", [LS_CTRL_REFUSED] = "refused",
        [LS_CTRL_REMOVED] = "removed",
    };

    return (unsigned)phase < sizeof(name) / sizeof(name[0]) ? name[phase] : "?";
}

static void peer_view(const struct ls_ctrl *c, uint16_t node, struct ls_ctrl_peer_view *view)
{
    const struct peer *p = &c->peer[node];
    const struct ls_peer_status *s = &p->status;

    *view = (struct ls_ctrl_peer_view){.node = node,
                                       .linked = p->linked,
                                       .alive = (s->flags & LS_PEER_ALIVE) != 0,
                                       .stalled = (s->flags & LS_PEER_STALLED) != 0,
                                       .counts = (s->flags & LS_PEER_COUNTS) != 0,
                                       .role = s->role,
                                       .incarnation = p->incarnation,
                                       .promise = p->promise,
                                       .epoch = s->epoch,
                                       .last = s->last,
                                       .commit = s->commit,
                                       .applied_seq = s->applied_seq,
                                       .heard_ns = c->has_sample ? c->sample.heard_ns[node] : 0,
                                       .status_ns = p->status_ns};
}

void ls_ctrl_view(const struct ls_ctrl *c, struct ls_ctrl_view *view, uint64_t now_ns)
{
    (void)now_ns;
    *view = (struct ls_ctrl_view){.phase = c->phase,
                                  .epoch = c->disk.promise > c->seen ? c->disk.promise : c->seen,
                                  .sequencer = c->sequencer,
                                  .electing = c->election.stage != STAGE_IDLE,
                                  .suspecting = c->suspecting,
                                  .stalled = c->up && ls_detector_stalled(&c->detector, c->now),
                                  .majority_lost = c->majority_lost,
                                  .elections = c->elections,
                                  .elections_won = c->elections_won,
                                  .admissions = c->admissions,
                                  .restarts = c->restarts,
                                  .suspected_ns = c->suspected_ns,
                                  .decided_ns = c->decided_ns,
                                  .installed_ns = c->installed_ns,
                                  .durable = c->disk,
                                  .members = c->members,
                                  .members_committed = c->members_committed,
                                  .reach = c->joining.stage >= JOINING_ORDER ? c->joining.reach : 0,
                                  .restart_ns = c->phase == LS_CTRL_WAITING ? c->restart_ns : 0};
    memcpy(view->problem, c->problem, sizeof(view->problem));
    ctrl_change_text(c, view->change, sizeof(view->change));
    for (uint32_t i = 0; i < c->members.count; i++)
        if (c->members.member[i].node != c->config.node)
            peer_view(c, c->members.member[i].node, &view->peer[view->peers++]);
    /* A node that does not take part knows the sequencer from the others. */
    for (uint32_t i = 0; i < view->peers && view->sequencer == 0; i++)
        if (view->peer[i].linked && view->peer[i].alive && ctrl_role_is_sequencer(view->peer[i].role) &&
            view->peer[i].epoch >= view->epoch)
            view->sequencer = view->peer[i].node;
}
