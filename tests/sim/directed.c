/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Scripted runs made for deliberately broken variants that random schedules find late or never: the moment in which the
 * broken guard is the only one. Run as any other scenario they pass; mutants.c runs them with the guard gone, and then
 * a checker, or the demand at the end of the script, must object. Here those of the core alone, whose epochs the script
 * decides; directed_ctrl.c has those with real ctrls.
 */
#include <string.h>

#include "script.h"

#define US SIM_US
#define MS SIM_MS

/* ---- P4: counting replicas of an older epoch's entry ---- */

/* n1 orders in epoch 1 what nobody gets, and then leads epoch 2. Of its log n2 gets so much that a majority holds whole
 * entries of epoch 1, and nothing of epoch 2: whoever led epoch 3 without them would be right. */
static void older_step(struct sim *sim, uint32_t step)
{
    switch (step) {
    case 0:
        sim_script_lead(sim, 7, 0, 1);
        sim_script_at(sim, 500 * US, 1);
        sim_script_at(sim, 1000 * US, 2);
        sim_script_at(sim, 1300 * US, 3);
        break;
    case 1:
        sim_script_submit(sim, LS_KV_PUT, "all", 10, 0);
        break;
    case 2:
        sim_script_cut(sim, 1, 6, true);
        sim->script_state->counter[0] = (uint32_t)sim->node[0].end;
        for (uint32_t i = 0; i < 3; i++)
            sim_script_submit(sim, LS_KV_PUT, "old", 600, 0);
        break;
    default:
        sim_script_cut(sim, 1, 2, false);
        sim_script_lead(sim, 3, 0, 2);
        break;
    }
}

static bool older_lose(struct sim *sim, const struct sim_packet *packet)
{
    const struct ls_order_body *body = (const void *)(packet->data + LS_FRAME_HEADER_SIZE);
    if (sim->now < 1300 * US || sim->now > 3000 * US)
        return false;
    return (sim_packet_is(sim, packet, LS_FRAME_ORDER, 0, 1) && body->position != sim->script_state->counter[0]) ||
           sim_packet_is(sim, packet, LS_FRAME_RANGE, 0, 1);
}

/* ---- what is not a whole entry of the log does not outlive an epoch ---- */

/* Of three entries in two frames n3 gets the first frame and not the second, and then a fourth entry, early. n2, which
 * got nothing, leads epoch 2. */
static void seal_configure(struct sim_config *config)
{
    config->nodes = config->founders = 5;
}

static void seal_step(struct sim *sim, uint32_t step)
{
    switch (step) {
    case 0:
        sim_script_lead(sim, 31, 0, 1);
        sim_script_at(sim, 500 * US, 1);
        sim_script_at(sim, 1000 * US, 2);
        sim_script_at(sim, 1030 * US, 3);
        sim_script_at(sim, 1100 * US, 4);
        break;
    case 1:
        sim_script_submit(sim, LS_KV_PUT, "k", 10, 0);
        break;
    case 2:
        sim_script_cut(sim, 1, 26, true);
        sim->script_state->counter[0] = (uint32_t)sim->node[0].end;
        for (uint32_t i = 0; i < 3; i++)
            sim_script_submit(sim, LS_KV_PUT, "part", 600, 0);
        break;
    case 3:
        sim_script_submit(sim, LS_KV_PUT, "early", 1200, 0);
        break;
    default:
        sim_script_cut(sim, 1, 4, true);
        sim_script_lead(sim, 30, 1, 2);
        break;
    }
}

static bool seal_lose(struct sim *sim, const struct sim_packet *packet)
{
    const struct ls_order_body *body = (const void *)(packet->data + LS_FRAME_HEADER_SIZE);
    return sim_packet_is(sim, packet, LS_FRAME_ORDER, 0, 2) && sim->now > 1000 * US && sim->now < 1030 * US &&
           body->position != sim->script_state->counter[0];
}

/* ---- P5: changes of membership that come too early ---- */

static void change_tell(struct sim *sim, uint32_t node, uint64_t epoch, uint64_t seq, uint32_t learners)
{
    struct ls_order order = {.kind = LS_ORDER_CHANGE, .epoch = epoch, .position = seq};
    sim_founders(sim, &order.members);
    for (uint32_t i = 0; i < learners; i++)
        order.members.member[order.members.count++] = sim_member(sim, 3 + i, LS_MEMBER_LEARNER);
    sim_tell(sim, node, &order);
}

static void change_configure(struct sim_config *config)
{
    config->nodes = 5;
}

/* Behind INSTALL, before the epoch's first entry is committed; then two at once. */
static void change_step(struct sim *sim, uint32_t step)
{
    const struct sim_node *n2 = &sim->node[1];
    switch (step) {
    case 0:
        sim_script_lead(sim, 7, 0, 1);
        sim_script_at(sim, 1000 * US, 1);
        sim_script_at(sim, 2000 * US, 2);
        break;
    case 1:
        sim_script_lead(sim, 7, 1, 2);
        change_tell(sim, 1, 2, ls_log_members(n2->log)->seq, 1);
        break;
    default:
        change_tell(sim, 1, 2, ls_log_members(n2->log)->seq, 1);
        change_tell(sim, 1, 2, n2->last_seq + 1, 2);
        break;
    }
}

/* ---- P13: the old sequencer goes on ---- */

/* n3 has promised epoch 2 and knows no sequencer of it yet when n1 orders once more in epoch 1. */
static void stamps_step(struct sim *sim, uint32_t step)
{
    switch (step) {
    case 0:
        sim_script_lead(sim, 7, 0, 1);
        sim_script_at(sim, 1000 * US, 1);
        sim_script_at(sim, 1100 * US, 2);
        sim_script_at(sim, 1500 * US, 3);
        sim_script_at(sim, 3900 * US, 4);
        break;
    case 1:
        sim_tell(sim, 2, &(struct ls_order){.kind = LS_ORDER_SEAL, .epoch = 2});
        break;
    case 2:
        sim_script_submit(sim, LS_KV_PUT, "k", 10, 0);
        break;
    case 3:
        sim_script_lead(sim, 3, 1, 2);
        break;
    default:
        if (sim->node[2].view.role != LS_ROLE_FOLLOWER)
            sim_violate(sim, "P13", "node 3 does not follow the sequencer of epoch 2: it is %s",
                        ls_role_name(sim->node[2].view.role));
        break;
    }
}

/* ---- a frame at the wrong door ---- */

/* n3 waits for its answer in epoch 2; what n1 is ordered arrives there, too. It would fit, and is not written. */
static void astray_step(struct sim *sim, uint32_t step)
{
    if (step == 0) {
        sim_script_lead(sim, 7, 0, 1);
        sim_script_at(sim, 1000 * US, 1);
    } else {
        sim_script_lead(sim, 7, 1, 2);
    }
}

static bool astray_lose(struct sim *sim, const struct sim_packet *packet)
{
    const struct ls_heartbeat_body *body = (const void *)(packet->data + LS_FRAME_HEADER_SIZE);
    if (sim->now < 1000 * US || sim->now > 2500 * US)
        return false;
    if (sim_packet_is(sim, packet, LS_FRAME_ORDER, 1, 0))
        sim_net_inject(sim, packet, 2);
    return sim_packet_is(sim, packet, LS_FRAME_HEARTBEAT, 1, 2) && body->answers > 0;
}

/* ---- an answer that comes twice ---- */

static struct sim_packet parting; /* n2's answer to n3 */

/* The network delivers the answer to n3's verification once more, when n3 has acknowledged more since. */
static void again_step(struct sim *sim, uint32_t step)
{
    if (step == 0) {
        parting.length = 0;
        sim_script_lead(sim, 7, 0, 1);
        sim_script_at(sim, 1000 * US, 1);
        sim_script_at(sim, 1060 * US, 2);
    } else if (step == 1) {
        sim_script_lead(sim, 7, 1, 2);
    } else {
        SIM_TRACE(sim, "-- the answer to node 3 arrives again");
        sim_net_inject(sim, &parting, 2);
    }
}

static bool again_lose(struct sim *sim, const struct sim_packet *packet)
{
    const struct ls_heartbeat_body *body = (const void *)(packet->data + LS_FRAME_HEADER_SIZE);
    if (sim_packet_is(sim, packet, LS_FRAME_HEARTBEAT, 1, 2) && body->answers > 0)
        sim_packet_keep(&parting, packet);
    return false;
}

/* ---- P9: the sequencer that reads waited at was deposed ---- */

static void deposed_configure(struct sim_config *config)
{
    config->client_retry_ns = 2 * MS;
}

static void deposed_step(struct sim *sim, uint32_t step)
{
    switch (step) {
    case 0:
        sim_script_lead(sim, 7, 0, 1);
        sim_script_at(sim, 500 * US, 1);
        sim_script_at(sim, 1000 * US, 2);
        sim_script_at(sim, 1500 * US, 3);
        sim_script_at(sim, 12 * MS, 4);
        sim_script_at(sim, 13 * MS, 5);
        break;
    case 1:
        sim_script_submit(sim, LS_KV_PUT, "k", 4, 0);
        break;
    case 2:
        sim_script_cut(sim, 1, 6, true);
        sim_script_lead(sim, 6, 1, 2);
        break;
    case 3:
        sim_script_submit(sim, LS_KV_PUT, "k", 8, 0);
        break;
    case 4:
        sim_script_read(sim, "k", LS_READ_LINEARIZABLE);
        break;
    default:
        sim_script_cut(sim, 1, 6, false);
        break;
    }
}

/* ---- P12: a gap costs what is in it ---- */

enum { LOST, FETCHED };

static void gap_step(struct sim *sim, uint32_t step)
{
    const uint32_t *count = sim->script_state->counter;
    const struct sim_node *n1 = &sim->node[0], *n3 = &sim->node[2];
    switch (step) {
    case 0:
        sim_script_lead(sim, 7, 0, 1);
        sim_script_at(sim, 500 * US, 1);
        sim_script_at(sim, 1000 * US, 1);
        sim_script_at(sim, 1020 * US, 1);
        sim_script_at(sim, 1040 * US, 1);
        sim_script_at(sim, 2000 * US, 2);
        break;
    case 1:
        sim_script_submit(sim, LS_KV_PUT, "k", 10, 0);
        break;
    default:
        if (n3->last_seq != n1->last_seq)
            sim_violate(sim, "P12", "node 3 holds %lu of %lu entries, a millisecond after one frame was lost",
                        n3->last_seq, n1->last_seq);
        if (count[FETCHED] > count[LOST])
            sim_violate(sim, "P12", "%u bytes were lost on the way to node 3, and %u are fetched", count[LOST],
                        count[FETCHED]);
        break;
    }
}

/* The first of three. */
static bool gap_lose(struct sim *sim, const struct sim_packet *packet)
{
    uint32_t *count = sim->script_state->counter;
    const uint32_t header = LS_FRAME_HEADER_SIZE;
    if (sim_packet_is(sim, packet, LS_FRAME_RANGE, 0, 2))
        count[FETCHED] += packet->length - header - (uint32_t)sizeof(struct ls_range_body);
    if (sim->now < 1000 * US || count[LOST] != 0 || !sim_packet_is(sim, packet, LS_FRAME_ORDER, 0, 2))
        return false;
    count[LOST] = packet->length - header - (uint32_t)sizeof(struct ls_order_body);
    return true;
}

/* ---- P12: a gap is repaired from anybody ---- */

static void elsewhere_step(struct sim *sim, uint32_t step)
{
    const struct sim_node *n1 = &sim->node[0], *n3 = &sim->node[2];
    switch (step) {
    case 0:
        sim_script_lead(sim, 7, 0, 1);
        sim_script_at(sim, 500 * US, 1);
        sim_script_at(sim, 5000 * US, 2);
        break;
    case 1:
        sim_script_submit(sim, LS_KV_PUT, "k", 10, 0);
        break;
    default:
        if (n3->last_seq < n1->last_seq)
            sim_violate(sim, "P12", "node 3 holds %lu of %lu entries: node 2 could have given it the others",
                        n3->last_seq, n1->last_seq);
        break;
    }
}

/* To n3 no log bytes from the sequencer. */
static bool elsewhere_lose(struct sim *sim, const struct sim_packet *packet)
{
    return sim->now > 550 * US &&
           (sim_packet_is(sim, packet, LS_FRAME_ORDER, 0, 2) || sim_packet_is(sim, packet, LS_FRAME_RANGE, 0, 2));
}

/* n1 has a tail of epoch 1 and is not verified in epoch 2; n3 misses bytes of the same positions, and asks it for them.
 */
static void unverified_step(struct sim *sim, uint32_t step)
{
    switch (step) {
    case 0:
        sim_script_lead(sim, 7, 0, 1);
        sim_script_at(sim, 1000 * US, 1);
        sim_script_at(sim, 1300 * US, 2);
        break;
    case 1:
        sim_script_cut(sim, 1, 6, true);
        sim_script_submit(sim, LS_KV_PUT, "tail", 10, 0);
        break;
    default:
        sim_script_cut(sim, 1, 6, false);
        sim_script_lead(sim, 6, 1, 2);
        break;
    }
}

static bool unverified_lose(struct sim *sim, const struct sim_packet *packet)
{
    const struct ls_heartbeat_body *body = (const void *)(packet->data + LS_FRAME_HEADER_SIZE);
    return sim_packet_is(sim, packet, LS_FRAME_ORDER, 1, 2) || sim_packet_is(sim, packet, LS_FRAME_RANGE, 1, 2) ||
           (sim_packet_is(sim, packet, LS_FRAME_HEARTBEAT, 1, 0) && body->answers > 0);
}

/* ---- P15: one copy is rotten ---- */

/* The same, and a bit of n2's copy has flipped since: n3 stops rather than take it for what was ordered. */
static bool rotten_lose(struct sim *sim, const struct sim_packet *packet)
{
    const struct sim_node *n2 = &sim->node[1];
    if (sim_packet_is(sim, packet, LS_FRAME_FETCH, 2, 1) && sim->script_state->counter[0]++ == 0) {
        const struct sim_record *last = &sim->ledger.record[n2->path[n2->last_seq]];
        ls_log_at(n2->log, last->end)[-8] ^= 1;
        SIM_TRACE(sim, "-- a bit of entry %lu flips at n2", last->seq);
    }
    return elsewhere_lose(sim, packet);
}

static void rotten_step(struct sim *sim, uint32_t step)
{
    if (step < 2)
        elsewhere_step(sim, step);
}

/* ---- P3: the log stays until a checkpoint is there ---- */

static void behind_configure(struct sim_config *config)
{
    config->window = config->client_window = LS_WINDOW_MAX;
    config->suspend_ns = 4 * MS;
}

/* n3 holds an entry that it never heard to be committed, and comes back when the others' rings are beyond it. */
static void behind_step(struct sim *sim, uint32_t step)
{
    switch (step) {
    case 0:
        sim_script_lead(sim, 7, 0, 1);
        sim_script_at(sim, 500 * US, 1);
        sim_script_at(sim, 1000 * US, 2);
        sim_script_at(sim, 1000 * US, 3);
        sim_script_at(sim, 40 * MS, 4);
        break;
    case 1:
        sim_script_submit(sim, LS_KV_PUT, "k", 10, 0);
        break;
    case 2:
        sim_script_cut(sim, 4, 3, true);
        break;
    case 3:
        for (uint32_t i = 0; i < 60; i++)
            sim_script_submit(sim, LS_KV_PUT, "k", 1200, 0);
        if (sim->now < 30 * MS)
            sim_script_at(sim, sim->now + 5 * MS, 3);
        break;
    default:
        sim_script_cut(sim, 4, 3, false);
        break;
    }
}

static bool behind_lose(struct sim *sim, const struct sim_packet *packet)
{
    return sim->now > 560 * US && sim->now < 1000 * US && sim_packet_is(sim, packet, LS_FRAME_HEARTBEAT, 0, 2);
}

/* ---- P12: a bounded number of frames in a turn ---- */

static void capped_configure(struct sim_config *config)
{
    config->log_size = 256 * 1024;
    config->window = config->client_window = LS_WINDOW_MAX;
    config->inflight_max = 256 * 1024;
}

static void capped_step(struct sim *sim, uint32_t step)
{
    if (step == 0) {
        sim_script_lead(sim, 7, 0, 1);
        sim_script_at(sim, 500 * US, 1);
        sim_script_at(sim, 1500 * US, 2);
        sim_script_at(sim, 2500 * US, 2);
    } else if (step == 1) {
        sim_script_submit(sim, LS_KV_PUT, "k", 10, 0);
    } else {
        for (uint32_t i = 0; i < 60; i++)
            sim_script_submit(sim, LS_KV_PUT, "k", 1200, 0);
    }
}

/* n3 gets nothing of it, and then asks for all of it at once. */
static bool capped_lose(struct sim *sim, const struct sim_packet *packet)
{
    return sim->now > 1500 * US && sim->now < 6000 * US && sim_packet_from(sim, packet) == 0 &&
           sim_packet_to(sim, packet) == 2;
}

/* ---- P11: a session that was evicted ---- */

static void evicted_configure(struct sim_config *config)
{
    config->clients = 2;
    config->sessions_max = 1;
    config->session_idle_ns = 1 * MS;
}

static void submit_as(struct sim *sim, uint32_t client, const char *key)
{
    memset(sim->read_buffer, 'v', 10);
    uint32_t size = sim_kv_op(sim->op_buffer, LS_KV_PUT, key, sim->read_buffer, 10, 0, 0);
    if (!sim_client_put(sim, &sim->client[client], sim->op_buffer, size, 0))
        SIM_TRACE(sim, "c%u cannot submit", client);
}

/* c1 gets the only place, and with it the slot; what c0 sent a moment later is ordered behind it. */
static void evicted_step(struct sim *sim, uint32_t step)
{
    switch (step) {
    case 0:
        sim_script_lead(sim, 7, 0, 1);
        sim_script_at(sim, 500 * US, 1);
        sim_script_at(sim, 3000 * US, 2);
        sim_script_at(sim, 3000 * US + 100, 1);
        break;
    default:
        submit_as(sim, step - 1, "k");
        break;
    }
}

/* The log's time begins with the epoch, a millisecond behind the machines': by that of the log c0 is not idle yet. */
static void kept_step(struct sim *sim, uint32_t step)
{
    switch (step) {
    case 0:
        sim_script_at(sim, 1000 * US, 1);
        sim_script_at(sim, 1500 * US, 2);
        sim_script_at(sim, 1900 * US, 3);
        break;
    case 1:
        sim_script_lead(sim, 7, 0, 1);
        break;
    default:
        submit_as(sim, step - 2, "k");
        break;
    }
}

const struct sim_scenario sim_directed[] = {
    {.name = "older-epoch",
     .text = "a majority holds an entry of an older epoch, and not yet the first of the new one: it is not committed",
     .step = older_step,
     .lose = older_lose,
     .from = 900 * US,
     .until = 4000 * US},
    {.name = "seal-forgets",
     .text = "node 3 holds half an entry, and one that came early, as the epoch ends: both are forgotten",
     .step = seal_step,
     .lose = seal_lose,
     .configure = seal_configure,
     .from = 990 * US,
     .until = 3000 * US},
    {.name = "change-early",
     .text = "another membership before the epoch's first entry is committed, and two at once: refused",
     .step = change_step,
     .configure = change_configure,
     .from = 900 * US,
     .until = 3000 * US},
    {.name = "old-order",
     .text = "the sequencer of epoch 1 still orders, node 3 has promised epoch 2: it takes nothing",
     .step = stamps_step,
     .from = 900 * US,
     .until = 4000 * US},
    {.name = "order-astray",
     .text = "an ORDER for node 1 arrives at node 3 too, which is not verified yet: it writes nothing",
     .step = astray_step,
     .lose = astray_lose,
     .from = 900 * US,
     .until = 4000 * US},
    {.name = "answer-again",
     .text = "the answer to node 3's verification is delivered twice: the second one is dropped",
     .step = again_step,
     .lose = again_lose,
     .from = 990 * US,
     .until = 2000 * US},
    {.name = "read-deposed",
     .text = "a read waits at a sequencer that was cut off; when it hears of the next one, the read is refused",
     .step = deposed_step,
     .configure = deposed_configure,
     .from = 11 * MS,
     .until = 18 * MS,
     .read_node = 1},
    {.name = "gap",
     .text = "the first of three ORDERs is lost: node 3 keeps the other two, and soon asks for the one",
     .step = gap_step,
     .lose = gap_lose,
     .from = 990 * US,
     .until = 2100 * US},
    {.name = "repair-elsewhere",
     .text = "log bytes of the sequencer do not reach node 3: it asks node 2 for them",
     .step = elsewhere_step,
     .lose = elsewhere_lose,
     .from = 500 * US,
     .until = 5100 * US},
    {.name = "fetch-unverified",
     .text = "node 3 asks node 1 for what it misses, which is not verified itself: it gives nothing",
     .step = unverified_step,
     .lose = unverified_lose,
     .from = 990 * US,
     .until = 3500 * US},
    {.name = "copy-rotten",
     .text = "the same, and the entry is rotten at node 2: node 3 does not take it",
     .step = rotten_step,
     .lose = rotten_lose,
     .from = 500 * US,
     .until = 3000 * US,
     .may_halt = true},
    {.name = "behind-keeps-log",
     .text = "node 3 is behind all rings, with an entry that it does not know to be committed: it keeps it",
     .step = behind_step,
     .lose = behind_lose,
     .configure = behind_configure,
     .from = 39900 * US,
     .until = 45 * MS},
    {.name = "fetch-capped",
     .text = "node 3 asks for more than may be sent in one turn: the rest has to wait",
     .step = capped_step,
     .lose = capped_lose,
     .configure = capped_configure,
     .from = 5900 * US,
     .until = 7000 * US},
    {.name = "session-evicted",
     .text = "a client goes on with a session whose slot is another client's by now: it is unknown",
     .step = evicted_step,
     .configure = evicted_configure,
     .from = 500 * US,
     .until = 4500 * US},
    {.name = "session-kept",
     .text = "a session that has not been idle for long enough, by the log's time, is not evicted for another",
     .step = kept_step,
     .configure = evicted_configure,
     .from = 1400 * US,
     .until = 3000 * US},
};
const uint32_t sim_directed_count = sizeof(sim_directed) / sizeof(sim_directed[0]);
