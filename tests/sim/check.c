/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The omniscient checkers of logs, epochs, commit and execution, called after every turn and looking only at what
 * changed. All entries that were ever in any log form a tree of records; each node's log is a path in it.
 *
 * Commit is not asked of anyone: it is computed here from the acknowledgements that left incarnations which count. What
 * a replica calls committed must be on that list.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

static void *map(size_t bytes)
{
    void *memory = calloc(1, bytes); /* address space: pages come as they are touched */
    assert(memory != NULL);
    return memory;
}

void sim_ledger_init(struct sim_ledger *l)
{
    l->record = map(SIM_RECORDS_MAX * sizeof(*l->record));
    l->submission = map(SIM_RECORDS_MAX * sizeof(*l->submission));
    l->epoch_logs = map((size_t)SIM_EPOCHS_MAX * SIM_SEQS_MAX * sizeof(uint32_t));
    l->canon = map(SIM_SEQS_MAX * sizeof(*l->canon));
    l->expected = map(SIM_SEQS_MAX * sizeof(*l->expected));
    l->floors = map(SIM_SEQS_MAX * sizeof(*l->floors));
    sim_map_init(&l->by_position, 2 * SIM_RECORDS_MAX);
    sim_map_init(&l->by_seq, 2 * SIM_RECORDS_MAX);
    sim_map_init(&l->submissions, 2 * SIM_RECORDS_MAX);
    for (uint32_t i = 0; i < SIM_EPOCHS_MAX; i++)
        l->epoch[i].log = l->epoch_logs + (size_t)i * SIM_SEQS_MAX;
    l->model = sim_model_create();
}

void sim_ledger_reset(struct sim *sim)
{
    struct sim_ledger *l = &sim->ledger;
    sim_map_clear(&l->by_position);
    sim_map_clear(&l->by_seq);
    sim_map_clear(&l->submissions);
    for (uint64_t i = 0; i <= l->epoch_high; i++) {
        uint32_t *log = l->epoch[i].log;
        l->epoch[i] = (struct sim_epoch){.log = log};
    }
    l->epoch_high = 0;
    l->submission_count = 0;
    l->canon_seq = l->canon_end = 0;
    l->floor = 0;
    l->floor_count = 0;
    l->lives = 0;
    /* Record 0 stands before every log. */
    const struct sim_config *config = &sim->config;
    l->record[0] = (struct sim_record){.chain = LS_LOG_CHAIN_FIRST,
                                       .parent = SIM_NONE,
                                       .voters = (uint8_t)((1u << (config->founders - config->learners)) - 1),
                                       .members = (uint8_t)((1u << config->founders) - 1)};
    l->records = 1;
    l->canon[0] = 0;
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++)
        sim->node[i].path[0] = 0;
    sim_model_reset(l->model, sim->config.window);
}

static bool is_sequencer(enum ls_role role)
{
    return role == LS_ROLE_OPENING || role == LS_ROLE_SEQUENCER || role == LS_ROLE_SUSPENDED;
}

static struct sim_epoch *epoch_of(struct sim *sim, uint64_t epoch)
{
    if (epoch >= SIM_EPOCHS_MAX)
        sim_violate(sim, "V3", "epoch %lu: more epochs than a schedule may have", epoch);
    if (epoch > sim->ledger.epoch_high)
        sim->ledger.epoch_high = epoch;
    return &sim->ledger.epoch[epoch];
}

/* ---- new entries ---- */

/* L8: a client's entry is what that client sent, byte for byte. */
static void check_origin(struct sim *sim, const struct sim_node *node, const struct ls_entry *entry,
                         struct sim_record *record)
{
    struct sim_ledger *l = &sim->ledger;
    if (entry->kind == LS_ENTRY_OPEN) {
        for (uint32_t i = 0; i < l->lives; i++) {
            if (memcmp(l->life[i].nonce, entry + 1, LS_NONCE_SIZE) == 0 && l->life[i].addr.ip == entry->ip &&
                l->life[i].addr.port == entry->port) {
                record->life = (uint16_t)i;
                return;
            }
        }
        sim_violate(sim, "L8", "entry %lu opens a session for a nonce that no client has", entry->seq);
    }
    if (entry->kind != LS_ENTRY_OPERATION && entry->kind != LS_ENTRY_QUERY)
        return;
    const struct sim_record *open =
        entry->session > 0 && entry->session < entry->seq ? &l->record[node->path[entry->session]] : NULL;
    if (open == NULL || open->kind != LS_ENTRY_OPEN)
        sim_violate(sim, "L8", "entry %lu is of session %lu, which was never opened in this log", entry->seq,
                    entry->session);
    record->life = open->life;
    const struct sim_life *life = &l->life[open->life];
    uint32_t index = sim_map_get(&l->submissions, open->life, entry->number);
    if (index == SIM_NONE)
        sim_violate(sim, "L8", "entry %lu is request %lu of session %lu, which was never sent", entry->seq,
                    entry->number, entry->session);
    const struct sim_submission *s = &l->submission[index];
    if (entry->ip != life->addr.ip || entry->port != life->addr.port)
        sim_violate(sim, "L8", "entry %lu names another client's address", entry->seq);
    if (entry->kind == LS_ENTRY_QUERY) {
        if (!s->queried)
            sim_violate(sim, "L8", "entry %lu asks about request %lu, which the client never did", entry->seq,
                        entry->number);
        return;
    }
    if (entry->length != s->length || sim_bytes_hash(entry + 1, entry->length) != s->hash)
        sim_violate(sim, "L8", "entry %lu (%u bytes) is not what the client sent as request %lu (%u bytes)", entry->seq,
                    entry->length, entry->number, s->length);
    if (s->deadline_known && entry->deadline != s->deadline)
        sim_violate(sim, "L8", "entry %lu has deadline %lu, the client said %lu", entry->seq, entry->deadline,
                    s->deadline);
}

/* M1, M2: a change follows the commit of the one before and of the epoch's first entry, and moves one voter. */
static void members_take(struct sim *sim, const struct sim_node *node, const struct ls_entry *entry,
                         struct sim_record *record)
{
    const struct sim_ledger *l = &sim->ledger;
    const struct sim_record *before = &l->record[record->parent];
    struct ls_entry_members head;
    struct ls_member_record member[LS_MEMBERS_MAX];
    memcpy(&head, entry + 1, sizeof(head));
    memcpy(member, (const uint8_t *)(entry + 1) + sizeof(head), head.members * sizeof(member[0]));
    record->voters = record->members = 0;
    for (uint32_t i = 0; i < head.members; i++) {
        record->members |= (uint8_t)(1u << (member[i].node - 1));
        if (member[i].role == LS_MEMBER_VOTER)
            record->voters |= (uint8_t)(1u << (member[i].node - 1));
    }
    if (before->members_seq == 0) {
        if (record->members != before->members || record->voters != before->voters)
            sim_violate(sim, "M1", "the first membership of the log is not that of the founders");
    } else {
        const struct sim_epoch *epoch = &l->epoch[record->epoch];
        if (__builtin_popcount(before->voters ^ record->voters) > 1)
            sim_violate(sim, "M2", "entry %lu changes more than one voter: %x to %x", record->seq, before->voters,
                        record->voters);
        if (before->members_seq > l->canon_seq || epoch->first_seq > l->canon_seq)
            sim_violate(sim, "M1",
                        "entry %lu changes the membership; the one before is entry %lu, the epoch's first is %lu, "
                        "committed are %lu",
                        record->seq, before->members_seq, epoch->first_seq, l->canon_seq);
    }
    record->members_seq = record->seq;
    if (before->members_seq != 0)
        sim_fault_now(sim, node->index);
    SIM_TRACE(sim, "n%u: entry %lu makes the members %x, voters %x", node->id, record->seq, record->members,
              record->voters);
}

static uint32_t record_make(struct sim *sim, struct sim_node *node, const struct ls_entry *entry, uint64_t epoch,
                            uint64_t position, uint64_t hash)
{
    struct sim_ledger *l = &sim->ledger;
    uint32_t parent = node->path[entry->seq - 1];
    if (sim_map_get(&l->by_seq, epoch, entry->seq) != SIM_NONE)
        sim_violate(sim, "O1", "node %u: (epoch %lu, seq %lu) names a second entry, at position %lu", node->id, epoch,
                    entry->seq, position);
    if (l->records == SIM_RECORDS_MAX)
        sim_violate(sim, "V3", "more entries than a schedule may have");
    uint32_t index = l->records++;
    struct sim_record *record = &l->record[index];
    *record = (struct sim_record){.epoch = epoch,
                                  .position = position,
                                  .end = position + ls_entry_size(entry->length),
                                  .seq = entry->seq,
                                  .time = entry->time,
                                  .hash = hash,
                                  .session = entry->session,
                                  .number = entry->number,
                                  .parent = parent,
                                  .chain = entry->checksum,
                                  .kind = entry->kind,
                                  .members_seq = l->record[parent].members_seq,
                                  .voters = l->record[parent].voters,
                                  .members = l->record[parent].members};
    if (entry->kind == LS_ENTRY_MEMBERS)
        members_take(sim, node, entry, record);
    if (entry->time < l->record[parent].time)
        sim_violate(sim, "O2", "node %u: entry %lu is stamped %lu, before its predecessor's %lu", node->id, entry->seq,
                    entry->time, l->record[parent].time);
    check_origin(sim, node, entry, record);
    sim_map_set(&l->by_position, epoch, position, index);
    sim_map_set(&l->by_seq, epoch, entry->seq, index);
    sim->stats.entries++;
    return index;
}

/* E2, O3, E6: one sequencer an epoch, whose log begins with everything that was committed before. */
static void epoch_open(struct sim *sim, struct sim_node *node, const struct ls_entry *entry, uint64_t position)
{
    struct sim_ledger *l = &sim->ledger;
    struct ls_entry_epoch opening;
    memcpy(&opening, entry + 1, sizeof(opening));
    struct sim_epoch *epoch = epoch_of(sim, opening.epoch);
    if (epoch->opened)
        sim_violate(sim, "E2", "epoch %lu of node %u.%lu is opened again by node %u.%lu", opening.epoch, epoch->node,
                    epoch->incarnation, node->id, node->incarnation);
    if (opening.sequencer != node->id || opening.incarnation != node->incarnation)
        sim_violate(sim, "O3", "node %u.%lu opens epoch %lu as node %u.%lu", node->id, node->incarnation, opening.epoch,
                    opening.sequencer, opening.incarnation);
    if (!node->counts)
        sim_violate(sim, "C5", "node %u opens epoch %lu though it lost its memory", node->id, opening.epoch);
    /* Who voted before it lost its memory has been asked: its vote says how far it got. */
    if (sim->lost && !sim_is_elected(sim, node, opening.epoch))
        sim_violate(sim, "C6", "node %u opens epoch %lu though a majority has lost its memory", node->id,
                    opening.epoch);
    if (sim_is_run_by_ctrl(sim) && sim->host[node->index].disk.promise < opening.epoch && sim_minds(sim, "E1"))
        sim_violate(sim, "E1", "node %u opens epoch %lu, its record promises %lu", node->id, opening.epoch,
                    sim->host[node->index].disk.promise);
    if (sim_is_run_by_ctrl(sim) && sim->host[node->index].voted_epoch <= opening.epoch &&
        (sim->host[node->index].voted_epoch != opening.epoch || sim->host[node->index].voted_for != node->id) &&
        __builtin_popcount(l->record[node->path[entry->seq - 1]].voters) > 1)
        sim_violate(sim, "E2", "node %u opens epoch %lu, for which it did not stand", node->id, opening.epoch);
    /* What was committed in a later epoch is not its business: it comes too late to commit anything. */
    uint64_t before = l->canon_seq;
    while (before > 0 && l->expected[before].epoch > opening.epoch)
        before--;
    if (entry->seq - 1 < before || node->path[before] != l->canon[before])
        sim_violate(sim, "E6", "epoch %lu of node %u begins at seq %lu without all %lu entries committed before",
                    opening.epoch, node->id, entry->seq, before);
    sim->lost = false;
    epoch->opened = true;
    epoch->node = node->id;
    epoch->incarnation = node->incarnation;
    epoch->first_seq = entry->seq;
    epoch->first_position = position;
    epoch->first_end = position + ls_entry_size(entry->length);
    epoch->last_seq = entry->seq - 1;
    epoch->last_end = position;
    memcpy(epoch->log, node->path, entry->seq * sizeof(epoch->log[0]));
    node->installed_epoch = opening.epoch;
    sim->stats.epochs++;
}

/* ---- commit as it is ---- */

static void canon_extend(struct sim *sim, const struct sim_epoch *epoch, struct sim_node *holder, uint64_t held)
{
    struct sim_ledger *l = &sim->ledger;
    uint64_t number = l->record[epoch->log[epoch->first_seq]].epoch;
    while (l->canon_seq < epoch->last_seq) {
        uint64_t seq = l->canon_seq + 1;
        uint32_t index = epoch->log[seq];
        const struct sim_record *record = &l->record[index];
        if (record->end > held)
            break;
        const struct ls_entry *entry = (const struct ls_entry *)ls_log_at(holder->log, record->position);
        if (sim_bytes_hash(entry, record->end - record->position) != record->hash)
            sim_violate(sim, "L7", "node %u: entry %lu was overwritten in the ring before it was applied", holder->id,
                        seq);
        l->canon[seq] = index;
        l->canon_seq = seq;
        l->canon_end = record->end;
        l->expected[seq] = (struct sim_expected){.time = entry->time, .epoch = number};
        sim_model_apply(l->model, entry, &l->expected[seq]);
        l->expected[seq].executions = (seq > 1 ? l->expected[seq - 1].executions : 0) + l->expected[seq].executed;
        SIM_TRACE(sim, "committed seq %lu epoch %lu kind %u", seq, record->epoch, record->kind);
    }
}

/* What is on the node's disk of the log that it has now. */
static uint64_t on_disk(const struct sim_node *node)
{
    uint64_t durable = atomic_load(&node->seam.durable), from = atomic_load(&node->seam.journal_from);
    bool waits = atomic_load(&node->seam.journal_taken) != atomic_load(&node->seam.journal_asked);
    return waits && from < durable ? from : durable;
}

void sim_check_disk(struct sim *sim, struct sim_node *node)
{
    const struct sim_ledger *l = &sim->ledger;
    if (node->replica != NULL)
        node->disk_end = on_disk(node);
    while (node->disk_seq < l->canon_seq && node->disk_seq < node->last_seq &&
           node->path[node->disk_seq + 1] == l->canon[node->disk_seq + 1] &&
           l->record[l->canon[node->disk_seq + 1]].end <= node->disk_end)
        node->disk_seq++;
}

/* What the sequencer's own copy counts for: where there is a journal, as much as is on its disk. */
static uint64_t own_holds(const struct sim *sim, const struct sim_node *node, const struct sim_epoch *epoch)
{
    if (node->replica == NULL || node->incarnation != epoch->incarnation)
        return 0;
    if (!sim->journal)
        return epoch->last_end;
    uint64_t durable = on_disk(node);
    return durable < epoch->last_end ? durable : epoch->last_end;
}

bool sim_is_on_disks(struct sim *sim, uint32_t voters, uint64_t seq)
{
    uint32_t have = 0;
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        struct sim_node *node = &sim->node[i];
        sim_check_disk(sim, node);
        have |= (uint32_t)(node->disk_seq >= seq || node->disk_once >= seq) << i;
    }
    return 2 * __builtin_popcount(have & voters) > __builtin_popcount(voters);
}

static void commit_find(struct sim *sim, struct sim_epoch *epoch, struct sim_node *holder)
{
    struct sim_ledger *l = &sim->ledger;
    uint64_t sorted[SIM_NODES_MAX];
    uint32_t n = 0;
    /* The sequencer counts by the newest membership of its log. */
    uint32_t voters = l->record[epoch->log[epoch->last_seq]].voters;
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        const struct sim_node *node = &sim->node[i];
        if (!(voters >> i & 1))
            continue;
        bool own = node->id == epoch->node;
        uint64_t holds = own ? own_holds(sim, node, epoch) : epoch->acked[i];
        uint32_t at = n++;
        for (; at > 0 && sorted[at - 1] < holds; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = holds;
    }
    uint64_t held = sorted[n / 2];
    if (held < epoch->first_end || held <= epoch->commit)
        return;
    epoch->commit = held;
    uint64_t common = l->canon_seq < epoch->last_seq ? l->canon_seq : epoch->last_seq;
    while (l->record[epoch->log[common]].end > held)
        common--;
    if (epoch->log[common] != l->canon[common])
        sim_violate(sim, "L2", "two committed entries have seq %lu or one below it", common);
    canon_extend(sim, epoch, holder, held);
}

/* ---- a node's log ---- */

static bool still_there(const struct sim_node *node, const struct sim_record *record)
{
    if (record->seq == 0 || record->position < ls_log_oldest(node->log))
        return true; /* such old bytes are applied: they are not dropped any more */
    const struct ls_entry *entry = (const struct ls_entry *)ls_log_at(node->log, record->position);
    return entry->seq == record->seq && entry->checksum == record->chain;
}

static void log_shrink(struct sim *sim, struct sim_node *node, uint64_t common, bool verified)
{
    struct sim_ledger *l = &sim->ledger;
    const struct sim_record *first = &l->record[node->path[common + 1]];
    SIM_TRACE(sim, "n%u drops entries %lu..%lu", node->id, common + 1, node->last_seq);
    if (first->position < node->commit)
        sim_violate(sim, "L5", "node %u dropped entry %lu, which it had committed", node->id, common + 1);
    /* What a later epoch committed without it may go: this node promised that epoch nothing yet. */
    if (common + 1 <= l->canon_seq && l->canon[common + 1] == node->path[common + 1] &&
        l->expected[common + 1].epoch <= node->view.epoch)
        sim_violate(sim, "L5", "node %u dropped committed entry %lu", node->id, common + 1);
    if (is_sequencer(node->view.role))
        sim_violate(sim, "L6", "node %u dropped entry %lu as sequencer", node->id, common + 1);
    if (!verified)
        sim_violate(sim, "L5", "node %u dropped entry %lu without verification", node->id, common + 1);
    sim->stats.truncated_entries += node->last_seq - common;
    node->last_seq = common;
    if (node->acked_seq > common)
        node->acked_seq = common;
}

static void log_grow(struct sim *sim, struct sim_node *node, uint64_t position, bool verified)
{
    struct sim_ledger *l = &sim->ledger;
    uint64_t seq = node->last_seq + 1;
    if (seq >= SIM_SEQS_MAX)
        sim_violate(sim, "V3", "more entries than a schedule may have");
    const struct ls_entry *entry = (const struct ls_entry *)ls_log_at(node->log, position);
    if (entry->seq != seq || position + ls_entry_size(entry->length) > node->log->end)
        sim_violate(sim, "O2", "node %u: entry at %lu has seq %lu, not %lu", node->id, position, entry->seq, seq);
    uint64_t epoch = l->record[node->path[seq - 1]].epoch;
    if (entry->kind == LS_ENTRY_EPOCH) {
        struct ls_entry_epoch opening;
        memcpy(&opening, entry + 1, sizeof(opening));
        epoch = opening.epoch;
        /* An own one that it dropped once may also come back from others. */
        if (opening.sequencer == node->id && opening.incarnation == node->incarnation &&
            sim_map_get(&l->by_position, epoch, position) == SIM_NONE)
            epoch_open(sim, node, entry, position);
    }
    uint64_t hash = sim_bytes_hash(entry, ls_entry_size(entry->length));
    uint32_t index = sim_map_get(&l->by_position, epoch, position);
    struct sim_epoch *own = epoch_of(sim, epoch);
    bool writer = own->opened && own->node == node->id && own->incarnation == node->incarnation;
    if (index == SIM_NONE) {
        if (!writer)
            sim_violate(sim, "L1", "node %u holds (epoch %lu, position %lu, seq %lu), which its sequencer never wrote",
                        node->id, epoch, position, seq);
        index = record_make(sim, node, entry, epoch, position, hash);
    } else if (l->record[index].hash != hash || l->record[index].parent != node->path[seq - 1]) {
        sim_violate(sim, "L1", "node %u: other bytes at or before (epoch %lu, position %lu, seq %lu)", node->id, epoch,
                    position, seq);
    }
    if (writer && seq == own->last_seq + 1) {
        own->log[seq] = index;
        own->last_seq = seq;
        own->last_end = l->record[index].end;
    } else {
        /* As a follower: of the epoch it was in as the turn began, for seals come after the frames. */
        struct sim_epoch *of = epoch_of(sim, node->view.epoch);
        if (!verified)
            sim_violate(sim, "O4", "node %u appended entry %lu in epoch %lu without being verified in it", node->id,
                        seq, node->view.epoch);
        if (!of->opened || seq > of->last_seq || of->log[seq] != index)
            sim_violate(sim, "L1", "node %u appended entry %lu in epoch %lu, whose sequencer does not hold it",
                        node->id, seq, node->view.epoch);
    }
    node->path[seq] = index;
    node->last_seq = seq;
}

/* The epoch table must follow from the log's bytes. */
static void check_table(struct sim *sim, const struct sim_node *node)
{
    const struct sim_ledger *l = &sim->ledger;
    const struct ls_log *log = node->log;
    if (node->last_seq == 0) {
        if (log->epochs != 0)
            sim_violate(sim, "L1", "node %u: an empty log with an epoch table", node->id);
        return;
    }
    uint64_t epoch = l->record[node->path[node->last_seq]].epoch;
    const struct sim_epoch *e = &l->epoch[epoch];
    const struct ls_epoch_row *row = log->epochs > 0 ? &log->epoch[log->epochs - 1] : NULL;
    if (row == NULL || row->epoch != epoch || row->position != e->first_position || row->seq != e->first_seq)
        sim_violate(sim, "L1", "node %u: the table says (%lu, %lu, %lu), the log's bytes say (%lu, %lu, %lu)", node->id,
                    row ? row->epoch : 0, row ? row->position : 0, row ? row->seq : 0, epoch, e->first_position,
                    e->first_seq);
}

void sim_check_log(struct sim *sim, struct sim_node *node)
{
    struct sim_ledger *l = &sim->ledger;
    const struct ls_log *log = node->log;
    if (log->end == node->end && log->last_seq == node->last_seq &&
        log->chain == l->record[node->path[log->last_seq]].chain)
        return;
    uint64_t common = node->last_seq < log->last_seq ? node->last_seq : log->last_seq;
    while (common > 0 && !still_there(node, &l->record[node->path[common]]))
        common--;
    uint64_t verifications = ls_counter_get(&node->net_counters, LS_COUNT_verifications);
    bool verified = node->view.role == LS_ROLE_FOLLOWER || verifications > node->verifications;
    if (common < node->last_seq)
        log_shrink(sim, node, common, verifications > node->verifications);
    uint64_t position = l->record[node->path[common]].end;
    while (node->last_seq < log->last_seq) {
        log_grow(sim, node, position, verified);
        position = l->record[node->path[node->last_seq]].end;
    }
    if (position != log->end)
        sim_violate(sim, "L1", "node %u: the last entry ends at %lu, the log at %lu", node->id, position, log->end);
    node->end = log->end;
    check_table(sim, node);
    uint64_t epoch = l->record[node->path[node->last_seq]].epoch;
    struct sim_epoch *own = &l->epoch[epoch];
    if (own->opened && own->node == node->id && own->incarnation == node->incarnation)
        commit_find(sim, own, node);
}

/* An acknowledgement left: is it true, and does it commit something? check_wire.c has looked at its form. */
void sim_check_acked(struct sim *sim, struct sim_node *node, uint64_t epoch_number, uint64_t position)
{
    struct sim_ledger *l = &sim->ledger;
    sim_check_log(sim, node);
    if (position > node->log->filled)
        sim_violate(sim, "L4", "node %u acknowledged %lu and holds %lu", node->id, position, node->log->filled);
    struct sim_epoch *epoch = epoch_of(sim, epoch_number);
    if (!epoch->opened)
        sim_violate(sim, "L4", "node %u acknowledged %lu in epoch %lu, which has no sequencer", node->id, position,
                    epoch_number);
    if (position > epoch->last_end)
        sim_violate(sim, "L4", "node %u acknowledged %lu, the sequencer's log ends at %lu", node->id, position,
                    epoch->last_end);
    uint64_t seq = node->last_seq;
    if (sim_is_run_by_ctrl(sim) && sim->host[node->index].disk.promise < epoch_number && sim_minds(sim, "P2"))
        sim_violate(sim, "P2", "node %u acknowledges in epoch %lu, its record promises %lu", node->id, epoch_number,
                    sim->host[node->index].disk.promise);
    if (seq > epoch->last_seq || epoch->log[seq] != node->path[seq])
        sim_violate(sim, "L4", "node %u acknowledged %lu in epoch %lu and holds another entry %lu than its sequencer",
                    node->id, position, epoch_number, seq);
    const struct sim_node *sequencer = &sim->node[epoch->node - 1];
    if (position > node->end && sequencer->view.epoch == epoch_number && sequencer->incarnation == epoch->incarnation &&
        node->end >= ls_log_oldest(sequencer->log) &&
        memcmp(ls_log_at(node->log, node->end), ls_log_at(sequencer->log, node->end), position - node->end) != 0)
        sim_violate(sim, "L4", "node %u acknowledged %lu: other bytes than the sequencer's behind %lu", node->id,
                    position, node->end);
    if (!node->counts)
        sim_violate(sim, "C5", "node %u.%lu acknowledges %lu as one that counts, and does not", node->id,
                    node->incarnation, position);
    while (node->acked_seq < node->last_seq && l->record[node->path[node->acked_seq + 1]].end <= position)
        node->acked_seq++;
    if (position <= epoch->acked[node->index] || node->incarnation < epoch->admitted[node->index])
        return;
    epoch->acked[node->index] = position;
    commit_find(sim, epoch, node);
}

/* More of a sequencer's log is on its disk. */
void sim_check_durable(struct sim *sim, struct sim_node *node)
{
    struct sim_epoch *own = &sim->ledger.epoch[sim->ledger.record[node->path[node->last_seq]].epoch];
    if (sim->journal && own->opened && own->node == node->id && own->incarnation == node->incarnation)
        commit_find(sim, own, node);
}

/* ---- after each turn of net ---- */

static void check_commit(struct sim *sim, struct sim_node *node, uint64_t commit)
{
    struct sim_ledger *l = &sim->ledger;
    if (commit < node->commit)
        sim_violate(sim, "L3", "node %u: commit fell from %lu to %lu", node->id, node->commit, commit);
    while (node->commit < commit) {
        uint64_t seq = node->commit_seq + 1;
        if (seq > node->last_seq || l->record[node->path[seq]].end > commit)
            sim_violate(sim, "L3", "node %u: commit %lu is not the end of an entry it holds", node->id, commit);
        if (seq > l->canon_seq)
            sim_violate(sim, "L4", "node %u committed entry %lu, which no majority holds", node->id, seq);
        if (l->canon[seq] != node->path[seq])
            sim_violate(sim, "L2", "node %u committed another entry %lu than the others", node->id, seq);
        node->commit = l->record[node->path[seq]].end;
        node->commit_seq = seq;
    }
}

/* A node that gives up must be right: its sequencer no longer holds what comes behind the point where they part. */
static void check_too_far_behind(struct sim *sim, const struct sim_node *node)
{
    const struct sim_ledger *l = &sim->ledger;
    const struct sim_epoch *epoch = &l->epoch[node->view.epoch];
    if (!epoch->opened)
        sim_violate(sim, "H", "node %u is behind in epoch %lu, which has no sequencer", node->id, node->view.epoch);
    const struct sim_node *sequencer = &sim->node[epoch->node - 1];
    uint64_t common = node->last_seq < epoch->last_seq ? node->last_seq : epoch->last_seq;
    while (epoch->log[common] != node->path[common])
        common--;
    uint64_t end = l->record[node->path[common]].end;
    /* A question names so many epochs and no more: with more of them behind the common one it finds no answer. */
    const struct ls_log *log = node->log;
    if (log->epochs > LS_EPOCHS_SENT &&
        log->epoch[log->epochs - LS_EPOCHS_SENT].epoch > l->record[node->path[common]].epoch)
        return;
    if (sequencer->incarnation == epoch->incarnation && sequencer->view.epoch == node->view.epoch &&
        end >= ls_log_oldest(sequencer->log))
        sim_violate(sim, "H", "node %u gives up as too far behind at %lu; node %u holds log bytes from %lu on",
                    node->id, end, sequencer->id, ls_log_oldest(sequencer->log));
}

static void check_role(struct sim *sim, struct sim_node *node, const struct ls_replica_view *view)
{
    if (view->epoch < node->promised && sim_minds(sim, "E1"))
        sim_violate(sim, "E1", "node %u: promised epoch fell from %lu to %lu", node->id, node->promised, view->epoch);
    node->promised = view->epoch;
    if (view->role == LS_ROLE_HALTED && node->view.role != LS_ROLE_HALTED) {
        SIM_TRACE(sim, "n%u halts: %s", node->id, ls_halt_text(view->halt));
        bool disk = view->halt == LS_HALT_DISK && node->disk.failed;
        if (!disk && (sim->script == NULL || !sim->script->may_halt))
            sim_violate(sim, "H", "node %u halted: %s", node->id, ls_halt_text(view->halt));
    }
    if (view->role == LS_ROLE_BEHIND && node->view.role != LS_ROLE_BEHIND) {
        sim->stats.behind++;
        SIM_TRACE(sim, "n%u is too far behind", node->id);
        check_too_far_behind(sim, node);
    }
    if (is_sequencer(view->role) && node->installed_epoch != view->epoch)
        sim_violate(sim, "E2", "node %u is sequencer of epoch %lu without having opened it", node->id, view->epoch);
    if (view->role != LS_ROLE_FOLLOWER)
        return;
    struct sim_epoch *epoch = epoch_of(sim, view->epoch);
    if (!epoch->opened)
        sim_violate(sim, "L5", "node %u is verified in epoch %lu, which has no sequencer", node->id, view->epoch);
    if (node->last_seq > epoch->last_seq || epoch->log[node->last_seq] != node->path[node->last_seq] ||
        view->verified > epoch->last_end)
        sim_violate(sim, "L5", "node %u is verified up to %lu (seq %lu) in epoch %lu, where the logs part before",
                    node->id, view->verified, node->last_seq, view->epoch);
}

/* C2, P3: net has put a checkpoint in the place of the log. */
static void check_rebased(struct sim *sim, struct sim_node *node, const struct ls_replica_view *view)
{
    struct sim_ledger *l = &sim->ledger;
    const struct ls_log *log = node->log;
    uint64_t seq = log->base_seq;
    if (seq > l->canon_seq || l->record[l->canon[seq]].end != log->base)
        sim_violate(sim, "C1", "node %u: its log begins at %lu, seq %lu, which is not committed there", node->id,
                    log->base, seq);
    if (log->base < node->commit)
        sim_violate(sim, "C2", "node %u: a checkpoint takes its commit from %lu back to %lu", node->id, node->commit,
                    log->base);
    if (node->view.counts && log->base < node->end)
        sim_violate(sim, "P3", "node %u counts, and a checkpoint takes its log's end from %lu back to %lu", node->id,
                    node->end, log->base);
    SIM_TRACE(sim, "n%u: its log begins behind seq %lu now", node->id, seq);
    memcpy(node->path, l->canon, (seq + 1) * sizeof(node->path[0]));
    node->base = node->end = node->commit = log->base;
    node->last_seq = node->commit_seq = seq;
    if (node->acked_seq > seq)
        node->acked_seq = seq;
    (void)view;
}

void sim_check_node(struct sim *sim, struct sim_node *node)
{
    struct ls_replica_view view;
    ls_replica_view(node->replica, &view);
    if (node->log->base != node->base)
        check_rebased(sim, node, &view);
    else if (node->log->filled > node->filled && view.role == LS_ROLE_UNVERIFIED &&
             node->view.role == LS_ROLE_UNVERIFIED && view.epoch == node->view.epoch)
        sim_violate(sim, "L5", "node %u writes log bytes %lu to %lu in epoch %lu, unverified", node->id, node->filled,
                    node->log->filled, view.epoch);
    node->filled = node->log->filled;
    sim_check_log(sim, node);
    sim_check_durable(sim, node);
    if (view.epoch != node->view.epoch || view.role != node->view.role || view.role == LS_ROLE_FOLLOWER)
        check_role(sim, node, &view);
    if (view.commit != node->commit)
        check_commit(sim, node, view.commit);
    if (atomic_load(&node->seam.commit) != view.commit)
        sim_violate(sim, "L3", "node %u: apply is told another commit than the view's %lu", node->id, view.commit);
    if (view.role != node->view.role || view.epoch != node->view.epoch)
        SIM_TRACE(sim, "n%u is %s in epoch %lu", node->id, ls_role_name(view.role), view.epoch);
    node->view = view;
    node->verifications = ls_counter_get(&node->net_counters, LS_COUNT_verifications);
    sim_mix(sim, view.epoch ^ (view.commit << 8) ^ ((uint64_t)view.role << 60));
}

void sim_check_sealed(struct sim *sim, struct sim_node *node, const struct ls_event *event)
{
    const struct sim_ledger *l = &sim->ledger;
    if (event->epoch != node->view.epoch || node->view.role != LS_ROLE_SEALED)
        return; /* it has gone on since */
    uint64_t epoch = l->record[node->path[node->last_seq]].epoch;
    if (event->last != node->end || event->last_seq != node->last_seq || event->last_epoch != epoch)
        sim_violate(
            sim, "E3", "node %u sealed at %lu says its log ends at (epoch %lu, %lu, seq %lu); it is (%lu, %lu, %lu)",
            node->id, event->epoch, event->last_epoch, event->last, event->last_seq, epoch, node->end, node->last_seq);
    if (node->log->filled != node->log->end)
        sim_violate(sim, "L5", "node %u sealed at %lu keeps %lu bytes of an incomplete entry", node->id, event->epoch,
                    node->log->filled - node->log->end);
}

/* ---- execution ---- */

/* The executor says what it executed; what it did not execute shows in the replies, the count and the digest. */
void sim_check_executed(struct sim *sim, struct sim_node *node, const struct ls_entry *entry,
                        const struct ls_result *result)
{
    struct sim_ledger *l = &sim->ledger;
    uint64_t seq = entry->seq;
    if (seq <= node->executed_seq || seq > node->commit_seq)
        sim_violate(sim, "L3", "node %u executed entry %lu after %lu, committed are %lu", node->id, seq,
                    node->executed_seq, node->commit_seq);
    node->executed_seq = seq;
    node->executions++;
    const struct sim_record *record = &l->record[l->canon[seq]];
    if (sim_bytes_hash(entry, ls_entry_size(entry->length)) != record->hash)
        sim_violate(sim, "L7", "node %u executed other bytes as entry %lu than were committed", node->id, seq);
    const struct sim_expected *expected = &l->expected[seq];
    if (!expected->executed)
        sim_violate(sim, "X2", "node %u executed entry %lu (session %lu, number %lu); the model says %s", node->id, seq,
                    entry->session, entry->number, ls_status_name(expected->status));
    if (result->status != expected->status)
        sim_violate(sim, "X3", "node %u: entry %lu gave %s, the model %s", node->id, seq,
                    ls_status_name(result->status), ls_status_name(expected->status));
    if (result->length != expected->length || sim_bytes_hash(result->bytes, result->length) != expected->hash)
        sim_violate(sim, "X3", "node %u: entry %lu (%s) gave another result of %u bytes than the model's %u", node->id,
                    seq, ls_status_name(result->status), result->length, expected->length);
}

/* A node came back with its log: entries that are known, and of what is committed a beginning. */
void sim_check_resumed(struct sim *sim, struct sim_node *node)
{
    struct sim_ledger *l = &sim->ledger;
    const struct ls_log *log = node->log;
    bool bare = log->last_seq == log->base_seq; /* a checkpoint, and nothing behind it */
    if (bare && log->base_seq > l->canon_seq)
        sim_violate(sim, "C1", "node %u comes back behind seq %lu, which is not committed", node->id, log->base_seq);
    uint32_t index = bare ? l->canon[log->base_seq]
                          : sim_map_get(&l->by_position, ls_log_last_epoch(log), ls_log_position(log, log->last_seq));
    if (index == SIM_NONE || l->record[index].seq != log->last_seq || l->record[index].chain != log->chain)
        sim_violate(sim, "L8", "node %u comes back with entry %lu before %lu, which nobody wrote", node->id,
                    log->last_seq, log->end);
    for (uint64_t seq = log->last_seq; seq > 0; seq--, index = l->record[index].parent)
        node->path[seq] = index;
    node->last_seq = log->last_seq;
    node->base = log->base;
    node->end = node->filled = log->end;
    node->commit = atomic_load(&node->seam.commit);
    node->commit_seq = ls_log_seq_at(log, node->commit) - 1;
    node->applied_seq = node->executed_seq = atomic_load(&node->seam.applied_seq);
    if (node->commit_seq > l->canon_seq ||
        (node->commit_seq > 0 && node->path[node->commit_seq] != l->canon[node->commit_seq]))
        sim_violate(sim, "L2", "node %u comes back with entry %lu as committed, which is not", node->id,
                    node->commit_seq);
    node->executions = l->expected[node->applied_seq].executions;
    uint64_t digest = ls_executor_digest(node->executor);
    if (node->applied_seq > 0 && l->expected[node->applied_seq].digest != 0 &&
        digest != l->expected[node->applied_seq].digest)
        sim_violate(sim, "C1", "node %u comes back with digest %lx at seq %lu, another replica's was %lx", node->id,
                    digest, node->applied_seq, l->expected[node->applied_seq].digest);
    sim->stats.resumed++;
}

/* Apply has taken a checkpoint in the place of its state; net says so later. */
void sim_check_applied_image(struct sim *sim, struct sim_node *node, struct ls_image *image)
{
    struct sim_ledger *l = &sim->ledger;
    const struct ls_cut *cut = &image->cut;
    if (cut->seq < node->applied_seq || cut->seq > l->canon_seq)
        sim_violate(sim, "C2", "node %u: a checkpoint takes what is applied from %lu to %lu, committed are %lu",
                    node->id, node->applied_seq, cut->seq, l->canon_seq);
    node->applied_seq = node->executed_seq = cut->seq;
    node->executions = l->expected[cut->seq].executions;
    uint64_t digest = ls_executor_digest(node->executor);
    if (l->expected[cut->seq].digest != 0 && digest != l->expected[cut->seq].digest)
        sim_violate(sim, "C1", "node %u: digest %lx behind a checkpoint of seq %lu, another replica's was %lx",
                    node->id, digest, cut->seq, l->expected[cut->seq].digest);
}

void sim_check_digest(struct sim *sim, struct sim_node *node)
{
    struct sim_ledger *l = &sim->ledger;
    uint64_t seq = atomic_load(&node->seam.applied_seq);
    if (seq == node->applied_seq)
        return;
    if (seq < node->applied_seq || seq > node->commit_seq)
        sim_violate(sim, "L3", "node %u applied up to %lu after %lu, committed are %lu", node->id, seq,
                    node->applied_seq, node->commit_seq);
    node->applied_seq = seq;
    if (node->executions != l->expected[seq].executions)
        sim_violate(sim, "X6", "node %u executed %lu entries up to %lu, the model %lu", node->id, node->executions, seq,
                    l->expected[seq].executions);
    uint64_t position = atomic_load(&node->seam.applied);
    if (position != l->record[l->canon[seq]].end)
        sim_violate(sim, "L3", "node %u: applied position %lu is not the end of entry %lu", node->id, position, seq);
    uint64_t digest = ls_executor_digest(node->executor);
    struct sim_expected *expected = &l->expected[seq];
    if (expected->digest == 0)
        expected->digest = digest;
    else if (expected->digest != digest)
        sim_violate(sim, "X1", "node %u: digest %lx at seq %lu, another replica's was %lx", node->id, digest, seq,
                    expected->digest);
    sim_mix(sim, digest);
}

void sim_check_end(struct sim *sim)
{
    struct sim_ledger *l = &sim->ledger;
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        struct sim_node *node = &sim->node[i];
        if (node->owned > 2 + 2 * LS_VOTERS_MAX + node->view.held)
            sim_violate(sim, "Q1", "node %u has %u buffers that it neither sent nor gave back", node->id, node->owned);
        if (!(sim_members(sim) >> i & 1) || sim->host[i].forged || node->replica == NULL)
            continue;
        if (node->applied_seq != l->canon_seq)
            sim_violate(sim, "V2", "node %u (%s in epoch %lu) applied %lu of %lu entries", node->id,
                        ls_role_name(node->view.role), node->view.epoch, node->applied_seq, l->canon_seq);
        if (ls_executor_digest(node->executor) != l->expected[l->canon_seq].digest)
            sim_violate(sim, "V2", "node %u ends with another digest", node->id);
    }
}
