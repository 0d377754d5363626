/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages to and from the other ctrls, and what they say of themselves. ctrl's one thread.
 *
 * What must hold here: only durable values are said; a message under an incarnation below one that was heard is refused
 * (two nodes with one id, or a record that was rolled back); a node of which somebody knows more than its own record
 * does ends itself (P8).
 */
#include "ctrl_internal.h"

static void send_bytes(struct ls_ctrl *c, uint16_t node, enum ls_peer_type type, uint64_t id, uint64_t asker,
                       const void *body, size_t size, const void *tail, size_t tail_size)
{
    uint8_t bytes[LS_CTRL_MESSAGE_MAX];
    struct ls_peer_header header = {.magic = LS_PEER_MAGIC,
                                    .version = LS_PEER_VERSION,
                                    .type = (uint16_t)type,
                                    .size = (uint32_t)(sizeof(header) + size + tail_size),
                                    .generation = c->disk.generation,
                                    .cluster = c->disk.cluster,
                                    .id = id,
                                    .incarnation = c->disk.incarnation,
                                    .asker = asker,
                                    .from = c->config.node,
                                    .to = node};

    if (!c->peer[node].linked)
        return;
    memcpy(bytes, &header, sizeof(header));
    memcpy(bytes + sizeof(header), body, size);
    if (tail_size > 0)
        memcpy(bytes + sizeof(header) + size, tail, tail_size);
    c->io.peer_send(c->io.user, node, bytes, header.size);
}

void ctrl_send(struct ls_ctrl *c, uint16_t node, enum ls_peer_type type, uint64_t id, uint64_t asker, const void *body,
               size_t size)
{
    send_bytes(c, node, type, id, asker, body, size, NULL, 0);
}

void ctrl_send_members(struct ls_ctrl *c, uint16_t node, enum ls_peer_type type, uint64_t id, uint64_t asker,
                       const void *body, size_t size, const struct ls_membership *members)
{
    struct ls_member_record record[LS_MEMBERS_MAX];

    ls_membership_write(members, record);
    send_bytes(c, node, type, id, asker, body, size, record, members->count * sizeof(record[0]));
}

void ctrl_send_text(struct ls_ctrl *c, uint16_t node, uint64_t id, uint64_t asker, int error, const char *text)
{
    size_t length = strlen(text) < LS_PEER_TEXT_MAX ? strlen(text) : LS_PEER_TEXT_MAX;
    struct ls_peer_command_reply reply = {.error = (uint32_t)error, .length = (uint32_t)length};

    send_bytes(c, node, LS_PEER_COMMAND_REPLY, id, asker, &reply, sizeof(reply), text, length);
}

bool ctrl_peer_says(const struct ls_ctrl *c, uint16_t node, uint32_t flag)
{
    const struct peer *p = &c->peer[node];

    return p->linked && p->has_status && (p->status.flags & flag) != 0;
}

/* ---- STATUS ---- */

static void status_make(struct ls_ctrl *c, struct ls_peer_status *s)
{
    bool counts = c->disk.counts != 0 && c->disk.counts == c->disk.incarnation && c->running;

    *s = (struct ls_peer_status){.promise = c->disk.promise,
                                 .seen = c->seen > c->disk.promise ? c->seen : c->disk.promise,
                                 .epoch = c->epoch,
                                 .sequencer_incarnation = c->sequencer_incarnation,
                                 .members_seq = c->members.seq,
                                 .role = c->role,
                                 .sequencer = c->sequencer};
    if (c->up && !c->killed)
        s->flags |= LS_PEER_ALIVE;
    if (c->up && ls_detector_stalled(&c->detector, c->now))
        s->flags |= LS_PEER_STALLED;
    if (c->has_sample)
        s->flags |= LS_PEER_SAMPLED;
    if (c->stuck)
        s->flags |= LS_PEER_STUCK;
    if (c->damaged)
        s->flags |= LS_PEER_DAMAGED;
    if (counts)
        s->flags |= LS_PEER_COUNTS;
    if (ctrl_resumes(c))
        s->flags |= LS_PEER_RESUMES;
    if (counts && c->phase == LS_CTRL_FULL)
        s->flags |= LS_PEER_FULL;
    if (c->phase == LS_CTRL_REFUSED || c->phase == LS_CTRL_REMOVED)
        s->flags |= LS_PEER_REFUSED;
    if (c->phase == LS_CTRL_STARTING && c->take_over && c->disk.counts == c->disk.incarnation)
        s->flags |= LS_PEER_ALIVE; /* nothing says that it is not */
    if (ctrl_is_sequencer(c))
        s->sequencer_incarnation = c->disk.incarnation;
}

static void status_positions(struct ls_ctrl *c, struct ls_peer_status *s)
{
    if (!c->has_sample)
        return;
    s->last_epoch = c->sample.last_epoch;
    s->last = c->sample.last;
    s->last_seq = c->sample.last_seq;
    s->commit = c->sample.commit;
    s->applied_seq = c->sample.applied_seq;
    for (uint16_t node = 1; node <= LS_NODE_ID_MAX; node++)
        if (ls_detector_hears(&c->detector, node, c->now))
            s->heard |= bit(node);
    memcpy(s->digest_seq, c->sample.digest_seq, sizeof(s->digest_seq));
    memcpy(s->digest, c->sample.digest, sizeof(s->digest));
}

/* On a change at once, else now and then. */
void ctrl_status_step(struct ls_ctrl *c)
{
    struct ls_peer_status status;

    status_make(c, &status);
    if (memcmp(&status, &c->told, sizeof(status)) != 0 || c->now >= c->status_due_ns) {
        c->told = status;
        c->status_due_ns = c->now + c->times.status;
        status_positions(c, &status);
        for (uint16_t node = 1; node <= LS_NODE_ID_MAX; node++)
            if (c->peer[node].linked)
                ctrl_send(c, node, LS_PEER_STATUS, 0, 0, &status, sizeof(status));
    }
    ctrl_wake(c, c->status_due_ns);
}

void ctrl_peer_seen(struct ls_ctrl *c, uint64_t promise)
{
    if (promise <= c->seen)
        return;
    /* Less than what a vote is given for: it is to be stood above, also before voters who have promised less. */
    if (!ctrl_sane_epoch(c, promise) ||
        (promise > c->next.promise && promise - c->next.promise > CTRL_EPOCHS_AHEAD / 2)) {
        ctrl_problem(c,
                     "a node says that it promised epoch %" PRIu64 ", %" PRIu64
                     " is promised here: no cluster gets so far ahead; it is not followed",
                     promise, c->next.promise);
        return;
    }
    c->seen = promise;
    c->seen_ns = c->now;
    c->again = true;
}

static bool is_new(const struct ls_ctrl *c)
{
    return c->disk.founder && c->disk.promise == 0;
}

/* The list that an empty log would be opened with; 0: the cluster has a log already, which says who is in it. */
static uint64_t founders_hash(const struct ls_ctrl *c)
{
    return is_new(c) && c->members.seq == 0 ? ls_peer_founders(&c->members) : 0;
}

/* An empty log is opened by all founding voters together: this one promised something then, and its record does not
 * know (P8). */
static bool founded_without(struct ls_ctrl *c, uint16_t node, uint64_t commit)
{
    if (commit == 0 || !is_new(c) || !ls_membership_is_voter(&c->config.founders, c->config.node) ||
        ls_ctrl_mutant(WIPED_JOINS))
        return false;
    ctrl_refuse(c,
                "node %u has a committed log, and this founder's record has promised nothing yet: the record was made "
                "anew. A node that lost its record does not come back under its id: replace it by a new member "
                "(lockstep member replace)",
                node);
    return true;
}

static void status_take(struct ls_ctrl *c, uint16_t node, const struct ls_peer_status *s)
{
    struct peer *p = &c->peer[node];
    uint64_t seq[LS_DIGESTS_KEPT], digest[LS_DIGESTS_KEPT];
    bool first = !p->has_status;

    p->status = *s;
    p->has_status = true;
    p->status_ns = c->now;
    if (s->promise > p->promise)
        p->promise = s->promise;
    if (first)
        c->again = true;
    if (founded_without(c, node, s->commit))
        return;
    if (ls_membership_find(&c->members, node) == NULL)
        return; /* who is no member raises nobody's epoch (M5) */
    if (s->flags & LS_PEER_COUNTS) {
        ctrl_peer_seen(c, s->promise);
        ctrl_peer_seen(c, s->seen);
    }
    if (ctrl_role_is_sequencer(s->role) && s->epoch == c->epoch && node == c->sequencer &&
        c->sequencer_incarnation == 0)
        c->sequencer_incarnation = p->incarnation;
    memcpy(seq, s->digest_seq, sizeof(seq));
    memcpy(digest, s->digest, sizeof(digest));
    if (s->flags & LS_PEER_FULL)
        ls_drift_peer(&c->drift, node, seq, digest, LS_DIGESTS_KEPT);
    else
        ls_drift_forget(&c->drift, node);
}

/* ---- HELLO ---- */

void ctrl_link_up(struct ls_ctrl *c, uint16_t node)
{
    struct peer *p = &c->peer[node];
    struct ls_peer_hello hello = {.founders = founders_hash(c),
                                  .promise = c->disk.promise,
                                  .commit = c->has_sample ? c->sample.commit : 0,
                                  .known_incarnation = p->incarnation,
                                  .known_promise = p->promise};
    struct ls_peer_status status;

    if (node == c->config.node)
        return;
    p->linked = true;
    p->has_status = false;
    p->backwards_ns = 0;
    ctrl_send(c, node, LS_PEER_HELLO, 0, 0, &hello, sizeof(hello));
    status_make(c, &status);
    status_positions(c, &status);
    ctrl_send(c, node, LS_PEER_STATUS, 0, 0, &status, sizeof(status));
    ctrl_members_push(c, node);
}

void ctrl_link_down(struct ls_ctrl *c, uint16_t node)
{
    c->peer[node].linked = false;
    ctrl_command_unlinked(c, node);
}

static const char *hello_take(struct ls_ctrl *c, uint16_t node, const struct ls_peer_hello *hello)
{
    struct peer *p = &c->peer[node];

    if (ls_ctrl_mutant(WIPED_FOUNDS) || ls_ctrl_mutant(WIPED_JOINS)) {
        p->greeted = true;
        return NULL;
    }
    if (hello->known_incarnation > c->disk.incarnation || hello->known_promise > c->disk.promise) {
        ctrl_refuse(c,
                    "node %u knows incarnation %" PRIu64 " and promise %" PRIu64
                    " of this node, its record says %" PRIu64 " and %" PRIu64
                    ": the record was rolled back or made anew, or two nodes have one id. Replace this "
                    "node by a new member under a new id",
                    node, (uint64_t)hello->known_incarnation, (uint64_t)hello->known_promise, c->disk.incarnation,
                    c->disk.promise);
        return NULL;
    }
    if (founded_without(c, node, hello->commit))
        return NULL;
    if (hello->founders != 0 && founders_hash(c) != 0 && hello->founders != founders_hash(c))
        return "a founder with another list of nodes: make the cluster files equal, and bootstrap again";
    if (hello->promise > p->promise)
        p->promise = hello->promise;
    p->commit = hello->commit;
    p->greeted = true;
    return NULL;
}

/* ---- dispatch ---- */

static void members_take(const uint8_t *body, struct ls_membership *members, uint32_t count, uint64_t seq)
{
    struct ls_member_record record[LS_MEMBERS_MAX];

    *members = (struct ls_membership){0};
    if (count == 0 || count > LS_MEMBERS_MAX)
        return;
    memcpy(record, body, count * sizeof(record[0]));
    if (ls_membership_read(members, record, count))
        members->seq = seq;
}

static void question_take(struct ls_ctrl *c, uint16_t node, const struct ls_peer_header *h, const uint8_t *body)
{
    struct ls_peer_vote vote;
    struct ls_peer_join join;
    struct ls_peer_confirm confirm;
    struct ls_peer_command command;

    switch (h->type) {
    case LS_PEER_PREVOTE:
    case LS_PEER_VOTE:
        memcpy(&vote, body, sizeof(vote));
        if (h->type == LS_PEER_PREVOTE)
            ctrl_prevote(c, node, h, &vote);
        else
            ctrl_vote(c, node, h, &vote);
        break;
    case LS_PEER_JOIN:
        memcpy(&join, body, sizeof(join));
        ctrl_join(c, node, h, &join);
        break;
    case LS_PEER_CONFIRM:
        confirm.epoch = c->disk.promise;
        ctrl_send(c, node, LS_PEER_CONFIRM_REPLY, h->id, h->incarnation, &confirm, sizeof(confirm));
        break;
    case LS_PEER_COMMAND:
        memcpy(&command, body, sizeof(command));
        ctrl_command_forwarded(c, node, h, &command);
        break;
    default:
        break;
    }
}

static void answer_take(struct ls_ctrl *c, uint16_t node, const struct ls_peer_header *h, const uint8_t *body)
{
    struct ls_peer_vote_reply vote;
    struct ls_peer_join_reply join;
    struct ls_peer_confirm confirm;
    struct ls_peer_command_reply command;
    struct ls_membership members;
    char text[LS_PEER_TEXT_MAX + 1];

    /* To a question of an incarnation that is no more; but a command is this process's own, whatever its dataplane
     * has become since, and its number is used once. */
    if (h->asker != c->disk.incarnation && h->type != LS_PEER_COMMAND_REPLY)
        return;
    switch (h->type) {
    case LS_PEER_PREVOTE_REPLY:
    case LS_PEER_VOTE_REPLY:
        memcpy(&vote, body, sizeof(vote));
        if (h->type == LS_PEER_PREVOTE_REPLY)
            ctrl_prevote_reply(c, node, h->id, &vote);
        else
            ctrl_vote_reply(c, node, h->id, &vote);
        break;
    case LS_PEER_JOIN_REPLY:
        memcpy(&join, body, sizeof(join));
        members_take(body + sizeof(join), &members, join.members, join.members_seq);
        ctrl_join_reply(c, node, h->id, &join, &members);
        break;
    case LS_PEER_CONFIRM_REPLY:
        memcpy(&confirm, body, sizeof(confirm));
        ctrl_confirm_reply(c, node, h->id, confirm.epoch);
        break;
    case LS_PEER_COMMAND_REPLY:
        memcpy(&command, body, sizeof(command));
        memcpy(text, body + sizeof(command), command.length);
        text[command.length] = '\0';
        ctrl_command_reply(c, node, h->id, (int)command.error, text);
        break;
    default:
        break;
    }
}

static const char *body_take(struct ls_ctrl *c, uint16_t node, const struct ls_peer_header *h, const uint8_t *body)
{
    struct ls_peer_hello hello;
    struct ls_peer_status status;
    struct ls_peer_members head;
    struct ls_peer_confirm stand;
    struct ls_membership members;

    switch (h->type) {
    case LS_PEER_HELLO:
        memcpy(&hello, body, sizeof(hello));
        return hello_take(c, node, &hello);
    case LS_PEER_STATUS:
        memcpy(&status, body, sizeof(status));
        status_take(c, node, &status);
        return NULL;
    case LS_PEER_MEMBERS:
        memcpy(&head, body, sizeof(head));
        members_take(body + sizeof(head), &members, head.members, head.seq);
        if (members.count > 0)
            ctrl_members_heard(c, &members, head.committed != 0);
        return NULL;
    case LS_PEER_STAND:
        memcpy(&stand, body, sizeof(stand));
        if (c->phase == LS_CTRL_FULL && stand.epoch == c->disk.promise && node == c->sequencer)
            ctrl_stand(c, true);
        return NULL;
    default:
        if (h->asker != 0 || h->type == LS_PEER_COMMAND_REPLY)
            answer_take(c, node, h, body);
        else
            question_take(c, node, h, body);
        return NULL;
    }
}

/* It was told what is known of it in the first message on this link, and has to draw its conclusions; the link stays
 * long enough for that, and nothing else that comes over it is believed. */
static const char *backwards_take(struct ls_ctrl *c, uint16_t node, uint64_t incarnation)
{
    struct peer *p = &c->peer[node];

    if (p->backwards_ns == 0) {
        p->backwards_ns = c->now;
        p->backwards = true;
        ctrl_say(c, LS_CTRL_ALARM,
                 "node %u speaks as incarnation %" PRIu64 ", it was %" PRIu64
                 " before: its record was rolled back, or two nodes have one id",
                 node, incarnation, p->incarnation);
    }
    if (c->now < p->backwards_ns + 4 * c->times.answer)
        return NULL;
    return "a node whose incarnation runs backwards: its record was rolled back, or two nodes have one id";
}

const char *ctrl_link_message(struct ls_ctrl *c, uint16_t node, const uint8_t *bytes, size_t size)
{
    struct ls_peer_identity self = {
        .cluster = c->disk.cluster, .generation = c->disk.generation, .node = c->config.node};
    const char *refused = ls_peer_check(&self, node, bytes, size);
    struct ls_peer_header header;
    struct peer *p;

    if (refused != NULL)
        return refused;
    if (node == 0 || node > LS_NODE_ID_MAX || node == c->config.node)
        return "a message of a node that cannot be";
    memcpy(&header, bytes, sizeof(header));
    p = &c->peer[node];
    if (!p->linked)
        return "a message over a link that was not announced";
    if (header.incarnation < p->incarnation)
        return backwards_take(c, node, header.incarnation);
    p->backwards = false;
    if (header.incarnation > p->incarnation) {
        if (p->incarnation != 0) {
            ls_detector_forget(&c->detector, node);
            ls_drift_forget(&c->drift, node);
        }
        p->incarnation = header.incarnation;
    }
    return body_take(c, node, &header, bytes + sizeof(header));
}
