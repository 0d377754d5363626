/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checkers of what ctrls remember, say and order: promises, votes, who counts, admissions, memberships, checkpoints.
 * They look at each record as it reaches the disk, each order as it is given and each message as it leaves.
 */
#include <string.h>

#include "peer_message.h"
#include "sim.h"

/* ---- who is who ---- */

bool sim_is_run_by_ctrl(const struct sim *sim)
{
    return sim->script == NULL || sim->script->with_ctrl;
}

uint32_t sim_members(const struct sim *sim)
{
    const struct sim_ledger *l = &sim->ledger;
    return l->record[l->canon[l->canon_seq]].members;
}

uint32_t sim_voters(const struct sim *sim)
{
    const struct sim_ledger *l = &sim->ledger;
    return l->record[l->canon[l->canon_seq]].voters;
}

static bool is_led_by(const struct sim_node *node)
{
    enum ls_role role = node->view.role;
    return node->replica != NULL && (role == LS_ROLE_OPENING || role == LS_ROLE_SEQUENCER || role == LS_ROLE_SUSPENDED);
}

uint32_t sim_sequencer(const struct sim *sim)
{
    uint32_t found = SIM_NONE;
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        if (is_led_by(&sim->node[i]) && (found == SIM_NONE || sim->node[i].view.epoch > sim->node[found].view.epoch))
            found = i;
    }
    return found;
}

static uint32_t counting(const struct sim *sim)
{
    uint32_t mask = 0;
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        const struct sim_node *node = &sim->node[i];
        bool fails = node->disk.failed && !sim->journal; /* sooner or later, with what it has in memory */
        mask |= (uint32_t)(node->counts && node->replica != NULL && !node->doomed && !fails) << i;
    }
    return mask;
}

static bool is_majority(uint32_t of, uint32_t voters)
{
    return __builtin_popcount(of & voters) > __builtin_popcount(voters) / 2;
}

bool sim_counts(const struct sim *sim, uint32_t index)
{
    const struct sim_node *node = &sim->node[index];
    return node->counts && node->replica != NULL && !node->doomed;
}

bool sim_may_lose(const struct sim *sim, uint32_t index)
{
    const struct sim_ledger *l = &sim->ledger;
    uint32_t left = counting(sim) & ~(1u << index);
    if (!sim_counts(sim, index))
        return true;
    if (l->canon_seq == 0)
        return false; /* an empty log is opened by all voters together */
    if (!is_majority(left, sim_voters(sim)))
        return false;
    /* Any membership that some log may elect by. */
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        const struct sim_node *node = &sim->node[i];
        if (node->replica != NULL && !is_majority(left, l->record[node->path[node->last_seq]].voters))
            return false;
    }
    return true;
}

bool sim_may_crash(struct sim *sim, uint32_t index)
{
    const struct ls_durable *record = &sim->host[index].disk;
    if (sim->journal && sim->ledger.canon_seq > 0 &&
        sim_disk_is_complete(&sim->node[index].disk, index, record->counts, record->promise))
        return true; /* it comes back with all of it */
    return sim_may_lose(sim, index);
}

/* Can the sequencer that `node` is admit enough of those without memory? Nobody who promised more than its epoch: it
 * may be one of an older epoch that has not heard of its end. */
static bool can_bring_back(const struct sim *sim, const struct sim_node *node)
{
    uint32_t mask = counting(sim);
    for (uint32_t i = 0; i < sim->config.nodes; i++)
        mask |= (uint32_t)(sim->host[i].disk.promise <= node->view.epoch) << i;
    return is_led_by(node) && is_majority(mask, sim_voters(sim));
}

/* A majority of the voters has no memory and nobody leads who could admit them: from here on nothing may be decided. */
void sim_check_lost(struct sim *sim)
{
    if (sim->lost || sim->ledger.canon_seq == 0 || sim->journal)
        return; /* with journals nobody is let down who would lose anything */
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        if (can_bring_back(sim, &sim->node[i]))
            return;
    }
    if (is_majority(counting(sim), sim_voters(sim)))
        return;
    SIM_TRACE(sim, "a majority has lost its memory");
    sim->lost = true;
    sim->lost_canon = sim->ledger.canon_seq;
    sim->stats.majority_lost++;
}

/* ---- the record ---- */

/* C6: what the earlier incarnations acknowledged and was committed is there again. */
static void check_counts(struct sim *sim, struct sim_host *host, const struct ls_durable *next)
{
    const struct sim_ledger *l = &sim->ledger;
    struct sim_node *node = &sim->node[host->index];
    if (host->forged)
        sim_violate(sim, "P8", "node %u, whose record was lost, is to count", node->id);
    if (node->replica == NULL || node->incarnation != next->counts)
        return; /* of a dataplane that is gone */
    for (uint32_t i = 0; i < SIM_HELD; i++) {
        uint32_t index = host->held[i];
        while (index != 0 && (l->record[index].seq > l->canon_seq || l->canon[l->record[index].seq] != index))
            index = l->record[index].parent;
        uint64_t seq = l->record[index].seq;
        if (node->last_seq < seq || node->path[seq] != index)
            sim_violate(
                sim, "C6",
                "node %u.%lu is to count with %lu entries; an earlier incarnation acknowledged entry %lu, which "
                "is committed",
                node->id, node->incarnation, node->last_seq, seq);
    }
    node->counts = true;
    sim->stats.counted++;
    /* One that had reached its position before the others were lost may still say so. */
    if (sim->lost && is_majority(counting(sim), sim_voters(sim)))
        sim->lost = false;
}

void sim_check_record(struct sim *sim, struct sim_host *host, const struct ls_durable *next)
{
    const struct ls_durable *disk = &host->disk;
    uint32_t id = host->index + 1;
    if (next->promise < disk->promise)
        sim_violate(sim, "E1", "node %u: its durable promise falls from %lu to %lu", id, disk->promise, next->promise);
    if (next->incarnation < disk->incarnation)
        sim_violate(sim, "O3", "node %u: its incarnation falls from %lu to %lu", id, disk->incarnation,
                    next->incarnation);
    if (next->promise == disk->promise && disk->vote != 0 && next->vote != disk->vote)
        sim_violate(sim, "E4", "node %u voted for node %u in epoch %lu, and now for node %u", id, disk->vote,
                    disk->promise, next->vote);
    if (next->cluster != SIM_CLUSTER || next->generation != 1 || next->node != id)
        sim_violate(sim, "E1", "node %u writes the record of node %u", id, next->node);
    if (next->counts != 0 && next->counts != disk->counts && next->counts != next->incarnation)
        sim_violate(sim, "C5", "node %u: incarnation %lu is to count, the newest is %lu", id, next->counts,
                    next->incarnation);
    if (next->counts != 0 && next->counts != disk->counts)
        check_counts(sim, host, next);
}

/* ---- orders: the record says it first ---- */

bool sim_is_elected(const struct sim *sim, const struct sim_node *node, uint64_t epoch)
{
    const struct sim_host *host = &sim->host[node->index];
    uint32_t grants = 1u << host->index | (host->stood.epoch == epoch ? host->grants : 0);
    return is_majority(grants, sim->ledger.record[node->path[node->last_seq]].voters);
}

/* E5: votes are counted by the membership of the candidate's own sealed log. */
static void check_elected(struct sim *sim, const struct sim_host *host, uint64_t epoch)
{
    const struct sim_node *node = &sim->node[host->index];
    uint32_t self = 1u << host->index;
    if (node->replica == NULL)
        return;
    uint32_t voters = sim->ledger.record[node->path[node->last_seq]].voters;
    uint32_t grants = self | (host->stood.epoch == epoch ? host->grants : 0);
    if (!is_majority(grants, voters))
        sim_violate(sim, "E5", "node %u installs epoch %lu with the votes of %x; by its log the voters are %x",
                    host->index + 1, epoch, grants, voters);
}

void sim_check_order(struct sim *sim, struct sim_host *host, enum ls_control_type type, const void *body)
{
    const struct ls_durable *disk = &host->disk;
    uint32_t id = host->index + 1;
    struct ls_control_epoch epoch;
    struct ls_control_join join;
    switch (type) {
    case LS_CONTROL_SEAL:
        memcpy(&epoch, body, sizeof(epoch));
        if (disk->promise < epoch.epoch && sim_minds(sim, "E1"))
            sim_violate(sim, "E1", "node %u seals at epoch %lu, its record promises %lu", id, epoch.epoch,
                        disk->promise);
        break;
    case LS_CONTROL_INSTALL:
        memcpy(&epoch, body, sizeof(epoch));
        if ((disk->promise < epoch.epoch || (disk->promise == epoch.epoch && disk->vote != id)) && sim_minds(sim, "E4"))
            sim_violate(sim, "E4", "node %u installs epoch %lu; its record promises %lu and votes for %u", id,
                        epoch.epoch, disk->promise, disk->vote);
        check_elected(sim, host, epoch.epoch);
        break;
    case LS_CONTROL_JOIN:
        memcpy(&join, body, sizeof(join));
        if (disk->promise < join.epoch)
            sim_violate(sim, "E1", "node %u joins epoch %lu, its record promises %lu", id, join.epoch, disk->promise);
        break;
    case LS_CONTROL_COUNT:
    case LS_CONTROL_FOUND:
        if (disk->counts != host->incarnation)
            sim_violate(sim, "C5", "node %u: incarnation %lu is told to count, its record says %lu", id,
                        host->incarnation, disk->counts);
        break;
    default:
        break;
    }
}

/* ---- events ---- */

static void check_admitted(struct sim *sim, struct sim_node *node, const struct ls_event *event)
{
    struct sim_ledger *l = &sim->ledger;
    uint32_t index = (uint32_t)event->node - 1;
    if (event->code != 0 || index >= SIM_NODES_MAX || event->epoch >= SIM_EPOCHS_MAX)
        return;
    struct sim_epoch *epoch = &l->epoch[event->epoch];
    if (!epoch->opened || epoch->node != node->id || epoch->incarnation != node->incarnation)
        sim_violate(sim, "M4", "node %u.%lu admits a node in epoch %lu, which is not its own", node->id,
                    node->incarnation, event->epoch);
    if (event->last < node->end_was && sim_minds(sim, "reach"))
        sim_violate(sim, "C6", "node %u names %lu as the position to reach, its log ends at %lu", node->id, event->last,
                    node->end_was);
    struct sim_host *host = &sim->host[node->index];
    if (host->confirmed_for[index] != event->last_seq) {
        host->confirmed_for[index] = event->last_seq;
        host->confirmed[index] = 0;
    }
    host->named[index] = event->last;
    if (epoch->admitted[index] < event->last_seq) {
        epoch->admitted[index] = event->last_seq;
        if (sim_minds(sim, "acks"))
            epoch->acked[index] = 0;
        sim->stats.admitted++;
        sim_net_ack_again(sim, index);
    }
}

void sim_check_event(struct sim *sim, struct sim_node *node, const struct ls_event *event)
{
    switch (event->kind) {
    case LS_EVENT_SEALED:
        sim_check_sealed(sim, node, event);
        break;
    case LS_EVENT_ADMITTED:
        check_admitted(sim, node, event);
        break;
    case LS_EVENT_INSTALLED:
        sim->stats.install_refused[event->code < 8 ? event->code : 7]++;
        break;
    default:
        break;
    }
}

/* ---- messages between ctrls ---- */

static void check_vote(struct sim *sim, struct sim_host *host, uint16_t to, const struct ls_peer_vote *vote)
{
    uint32_t id = host->index + 1;
    const struct sim_node *node = &sim->node[host->index];
    uint32_t voters = sim->ledger.record[node->path[node->last_seq]].voters;
    if (node->replica != NULL && node->view.role == LS_ROLE_SEALED && node->view.epoch == vote->epoch &&
        !(voters >> (to - 1) & 1))
        sim_violate(sim, "E5", "node %u asks node %u for its vote in epoch %lu; by its log the voters are %x", id, to,
                    vote->epoch, voters);
    const struct ls_durable *disk = &host->disk;
    if ((disk->promise != vote->epoch || disk->vote != id) && sim_minds(sim, "E4"))
        sim_violate(sim, "E4", "node %u stands for epoch %lu; its record promises %lu and votes for %u", id,
                    vote->epoch, disk->promise, disk->vote);
    if (sim->node[host->index].view.epoch < vote->epoch)
        sim_violate(sim, "E3", "node %u stands for epoch %lu, its dataplane is sealed at %lu", id, vote->epoch,
                    sim->node[host->index].view.epoch);
    if (host->voted_epoch == vote->epoch && host->voted_for != id)
        sim_violate(sim, "E4", "node %u stands for epoch %lu, in which it voted for node %u", id, vote->epoch,
                    host->voted_for);
    host->voted_epoch = vote->epoch;
    host->voted_for = (uint16_t)id;
    if (host->stood.epoch != vote->epoch)
        host->grants = 0;
    host->stood = (struct sim_stood){.epoch = vote->epoch, .last_epoch = vote->last_epoch, .last = vote->last};
}

static void check_grant(struct sim *sim, struct sim_host *host, uint16_t to, const struct ls_peer_vote_reply *reply)
{
    uint32_t id = host->index + 1;
    const struct ls_durable *disk = &host->disk;
    const struct sim_node *node = &sim->node[host->index];
    const struct sim_stood *stood = &sim->host[to - 1].stood;
    if ((disk->promise != reply->epoch || disk->vote != to) && sim_minds(sim, "E4"))
        sim_violate(sim, "E4", "node %u votes for node %u in epoch %lu; its record promises %lu and votes for %u", id,
                    to, reply->epoch, disk->promise, disk->vote);
    if (host->voted_epoch == reply->epoch && host->voted_for != to)
        sim_violate(sim, "E4", "node %u votes for node %u in epoch %lu, and did so for node %u", id, to, reply->epoch,
                    host->voted_for);
    if (stood->epoch == reply->epoch)
        sim->host[to - 1].grants |= 1u << host->index;
    host->voted_epoch = reply->epoch;
    host->voted_for = to;
    if (node->replica == NULL)
        return; /* it died since it was sealed, and ctrl does not know yet: as if it had died a little later */
    if (node->view.epoch < reply->epoch)
        sim_violate(sim, "E3", "node %u votes in epoch %lu, its dataplane is sealed at %lu", id, reply->epoch,
                    node->view.epoch);
    if (!node->counts || disk->counts != node->incarnation)
        sim_violate(sim, "C5", "node %u votes in epoch %lu, and incarnation %lu does not count", id, reply->epoch,
                    node->incarnation);
    uint64_t epoch = sim->ledger.record[node->path[node->last_seq]].epoch;
    if (node->view.epoch == reply->epoch && node->view.role == LS_ROLE_SEALED && stood->epoch == reply->epoch &&
        (stood->last_epoch < epoch || (stood->last_epoch == epoch && stood->last < node->end)))
        sim_violate(sim, "E6", "node %u, whose log ends at (%lu, %lu), votes for node %u, whose ends at (%lu, %lu)", id,
                    epoch, node->end, to, stood->last_epoch, stood->last);
}

/* Beside the forgetting, the second guard: a majority said that it promised nothing above the joiner's epoch. */
static void check_join_reply(struct sim *sim, const struct sim_host *host, uint16_t to,
                             const struct ls_peer_join_reply *reply)
{
    const struct sim_node *node = &sim->node[host->index];
    uint32_t index = (uint32_t)to - 1;
    if (reply->refused != 0 || node->replica == NULL)
        return;
    if (reply->reach < host->named[index])
        sim_violate(sim, "C6", "node %u tells node %u to reach %lu, its dataplane named %lu", host->index + 1, to,
                    reply->reach, host->named[index]);
    if (!sim_minds(sim, "P2"))
        return;
    uint32_t said = host->confirmed[index] | 1u << host->index | 1u << index;
    /* ctrl counts by the newest membership that it knows: its log's newest, or the one before, whose successor it has
     * asked for and not heard of yet. Either is as good: the one before is committed where the newest was appended, so
     * whoever is elected counts by one of the two, and majorities of neighbours in the log have a voter in common. */
    uint64_t seq = node->last_seq;
    const struct sim_record *newest = &sim->ledger.record[node->path[seq]];
    while (seq > 0 && sim->ledger.record[node->path[seq]].members == newest->members &&
           sim->ledger.record[node->path[seq]].voters == newest->voters)
        seq--;
    if (!is_majority(said, newest->voters) && !is_majority(said, sim->ledger.record[node->path[seq]].voters))
        sim_violate(sim, "P2", "node %u admits node %u to epoch %lu, confirmed by %x alone, voters are %x",
                    host->index + 1, to, reply->epoch, said, newest->voters);
}

void sim_check_peer_message(struct sim *sim, struct sim_host *host, uint16_t to, const void *bytes, size_t size)
{
    struct ls_peer_identity other = {.cluster = SIM_CLUSTER, .generation = 1, .node = to};
    const char *wrong = ls_peer_check(&other, (uint16_t)(host->index + 1), bytes, size);
    struct ls_peer_header header;
    union {
        struct ls_peer_vote vote;
        struct ls_peer_vote_reply reply;
        struct ls_peer_hello hello;
        struct ls_peer_join join;
        struct ls_peer_confirm confirm;
        struct ls_peer_join_reply join_reply;
    } body;
    if (wrong != NULL)
        sim_violate(sim, "W1", "node %u sends node %u %s", host->index + 1, to, wrong);
    memcpy(&header, bytes, sizeof(header));
    memset(&body, 0, sizeof(body));
    size_t n = size - sizeof(header) < sizeof(body) ? size - sizeof(header) : sizeof(body);
    memcpy(&body, (const uint8_t *)bytes + sizeof(header), n);
    if (header.incarnation > host->disk.incarnation)
        sim_violate(sim, "O3", "node %u speaks as incarnation %lu, its record says %lu", host->index + 1,
                    header.incarnation, host->disk.incarnation);
    uint64_t promise = header.type == LS_PEER_HELLO           ? body.hello.promise
                       : header.type == LS_PEER_JOIN          ? body.join.promise
                       : header.type == LS_PEER_CONFIRM_REPLY ? body.confirm.epoch
                                                              : 0;
    if (promise > host->disk.promise)
        sim_violate(sim, "E1", "node %u says that it promised %lu, its record says %lu", host->index + 1, promise,
                    host->disk.promise);
    if (header.type == LS_PEER_CONFIRM_REPLY) {
        for (uint32_t i = 0; i < SIM_NODES_MAX; i++)
            sim->host[to - 1].confirmed[i] |= 1u << host->index;
    }
    if (header.type == LS_PEER_JOIN_REPLY)
        check_join_reply(sim, host, to, &body.join_reply);
    if (header.type == LS_PEER_VOTE)
        check_vote(sim, host, to, &body.vote);
    else if (header.type == LS_PEER_VOTE_REPLY && body.reply.denied == 0)
        check_grant(sim, host, to, &body.reply);
}

void sim_trace_peer(struct sim *sim, const struct sim_message *message)
{
    static const char *const name[] = {"?",          "HELLO",   "STATUS",       "PREVOTE", "PREVOTE_REPLY", "VOTE",
                                       "VOTE_REPLY", "JOIN",    "JOIN_REPLY",   "CONFIRM", "CONFIRM_REPLY", "STAND",
                                       "MEMBERS",    "COMMAND", "COMMAND_REPLY"};
    struct ls_peer_header header;
    memcpy(&header, message->bytes, sizeof(header));
    if (!sim->trace || header.type == LS_PEER_STATUS)
        return;
    uint64_t epoch = 0;
    memcpy(&epoch, message->bytes + sizeof(header), sizeof(epoch));
    bool reply = header.type == LS_PEER_PREVOTE_REPLY || header.type == LS_PEER_VOTE_REPLY;
    struct ls_peer_vote_reply body = {0};
    if (reply)
        memcpy(&body, message->bytes + sizeof(header), sizeof(body));
    sim_trace(sim, "n%u ctrl hears from n%u: %s %lu%s%s", message->to + 1, message->from + 1,
              header.type < sizeof(name) / sizeof(name[0]) ? name[header.type] : "?", epoch,
              reply ? (body.denied == 0 ? ", granted" : ", denied: ") : "",
              reply && body.denied != 0 ? ls_denial_text(body.denied) : "");
}

/* Nobody forges messages here: only a node that must not be there is refused. */
void sim_check_refused(struct sim *sim, struct sim_host *host, const struct sim_message *message, const char *why)
{
    SIM_TRACE(sim, "n%u ctrl refuses what n%u says: %s", host->index + 1, message->from + 1, why);
    sim->stats.refused_links++;
    if (!host->forged && !sim->host[message->from].forged)
        sim_violate(sim, "W1", "node %u refuses what node %u says: %s", host->index + 1, message->from + 1, why);
}

void sim_check_host(struct sim *sim, struct sim_host *host)
{
    struct ls_ctrl_view view;
    if (!sim->trace || host->ctrl == NULL)
        return;
    ls_ctrl_view(host->ctrl, &view, sim_host_now(sim, host));
    if ((int)view.phase != host->phase)
        sim_trace(sim, "n%u ctrl is %s%s%s", host->index + 1, ls_ctrl_phase_name(view.phase),
                  view.problem[0] != '\0' ? ": " : "", view.problem);
    host->phase = (int)view.phase;
}

/* ---- checkpoints ---- */

static void check_place(struct sim *sim, const struct sim_node *node, const struct ls_cut *cut, const char *what)
{
    const struct sim_ledger *l = &sim->ledger;
    if (cut->seq == 0 || cut->seq > l->canon_seq)
        sim_violate(sim, "C1", "node %u: a %s of seq %lu, committed are %lu", node->id, what, cut->seq, l->canon_seq);
    const struct sim_record *record = &l->record[l->canon[cut->seq]];
    uint32_t members = 0;
    for (uint32_t i = 0; i < cut->members.count; i++)
        members |= 1u << (cut->members.member[i].node - 1);
    if (cut->position != record->end || cut->chain != record->chain || cut->time != record->time ||
        members != (record->members_seq != 0 ? record->members : 0) || cut->epochs == 0 ||
        cut->epoch[cut->epochs - 1].epoch != record->epoch)
        sim_violate(sim, "C1", "node %u: a %s of seq %lu, at %lu, epoch %lu, members %x; the log says %lu, %lu, %x",
                    node->id, what, cut->seq, cut->position, cut->epochs ? cut->epoch[cut->epochs - 1].epoch : 0,
                    members, record->end, record->epoch, record->members);
    if (l->expected[cut->seq].digest != 0 && cut->digest != l->expected[cut->seq].digest)
        sim_violate(sim, "C1", "node %u: a %s of seq %lu has digest %lx, the replay %lx", node->id, what, cut->seq,
                    cut->digest, l->expected[cut->seq].digest);
}

void sim_check_cut(struct sim *sim, const struct sim_node *node, const struct ls_cut *cut)
{
    check_place(sim, node, cut, "cut");
}

void sim_check_image(struct sim *sim, const struct sim_node *node, const struct ls_image *image)
{
    check_place(sim, node, &image->cut, "checkpoint");
    uint64_t digest = ls_image_digest(&ls_kv, image);
    if (digest != image->cut.digest)
        sim_violate(sim, "C1", "node %u: a checkpoint of seq %lu with digest %lx holds a state with digest %lx",
                    node->id, image->cut.seq, image->cut.digest, digest);
}
