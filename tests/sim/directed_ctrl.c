/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Scripted runs made for deliberately broken variants, as directed.c has them, with real ctrls.
 */
#include <string.h>

#include "script.h"

#define US SIM_US
#define MS SIM_MS

/* ---- an answer to an earlier incarnation ---- */

static struct sim_packet old_answer; /* to n3, in its first life */

static bool life_lose(struct sim *sim, const struct sim_packet *packet)
{
    const struct ls_heartbeat_body *body = (const void *)(packet->data + LS_FRAME_HEADER_SIZE);
    const struct ls_answer_record *answer = (const void *)(body + 1);
    bool to = sim_packet_is(sim, packet, LS_FRAME_HEARTBEAT, 0, 2);
    if (to && sim->now < 70 * MS && body->answers > 0 && answer->kind == LS_ANSWER_READ && old_answer.length == 0)
        sim_packet_keep(&old_answer, packet);
    return sim->now > 150 * MS && sim->now < 160 * MS && sim_packet_to(sim, packet) == 2 &&
           sim_packet_from(sim, packet) == 0;
}

static void life_step(struct sim *sim, uint32_t step)
{
    switch (step) {
    case 0:
        old_answer.length = 0;
        sim_script_at(sim, 60 * MS, 1);
        sim_script_at(sim, 62 * MS, 2);
        sim_script_at(sim, 70 * MS, 3);
        sim_script_at(sim, 151 * MS, 1);
        sim_script_at(sim, 153 * MS, 2);
        sim_script_at(sim, 153100 * US, 4); /* before it asks again */
        break;
    case 1:
        sim_script_submit(sim, LS_KV_PUT, "k", 4, 0);
        break;
    case 2:
        sim_script_read(sim, "k", LS_READ_LINEARIZABLE);
        break;
    case 3:
        sim_host_dataplane_ends(sim, &sim->host[2], "the script kills it");
        break;
    default:
        if (old_answer.length == 0)
            sim_violate(sim, "script", "node 3 was never told a read index");
        SIM_TRACE(sim, "-- an answer to node 3's question of its first life arrives again");
        sim_net_inject(sim, &old_answer, 2);
        break;
    }
}

/* ---- P6: the sequencer hears nobody, and everybody hears it ---- */

static void deaf_configure(struct sim_config *config)
{
    sim_config_ctrls(config);
    config->suspend_ns = 20 * MS;
}

static void deaf_step(struct sim *sim, uint32_t step)
{
    if (step == 0) {
        sim_script_at(sim, 60 * MS, 1);
        sim_script_at(sim, 900 * MS, 2);
    } else if (step == 1) {
        sim->cut[1] |= 1;
        sim->cut[2] |= 1;
        SIM_TRACE(sim, "-- n1 hears nobody any more");
    } else {
        uint32_t sequencer = sim_sequencer(sim);
        if (sequencer == SIM_NONE || sequencer == 0 || sim->node[sequencer].view.role != LS_ROLE_SEQUENCER)
            sim_violate(sim, "P6", "no node has taken over from node 1, which has heard nobody for 840 ms");
    }
}

/* ---- P18: an election between a change of membership and the record's knowing of it ---- */

/* Node 4 is a learner and is promoted in an entry that reaches nobody; n2 misses the sequencer and stands. While its
 * disk is slow to hold the promise, the entry reaches its log; n3 and n4 still hear nothing. Of four voters two are no
 * majority. */
static void lag_step(struct sim *sim, uint32_t step)
{
    const struct sim_host *n2 = &sim->host[1];
    switch (step) {
    case 0:
        sim_script_at(sim, 60 * MS, 1);
        sim_script_at(sim, 150 * MS, 2);
        break;
    case 1:
        sim_script_operate(sim, LS_COMMAND_MEMBER_ADD, 4, false);
        break;
    case 2:
        sim_script_cut(sim, 1, 14, true);
        sim_script_operate(sim, LS_COMMAND_MEMBER_PROMOTE, 4, false);
        sim_script_at(sim, sim->now + 2 * MS, 3);
        break;
    case 3: /* from now on until n2 has promised, disks are slow */
        sim->config.disk_ns = 12 * MS;
        sim_script_at(sim, sim->now + 10 * US, 4);
        break;
    default:
        if (n2->writing && n2->next.vote == 2 && sim->script_state->counter[0]++ == 0) {
            SIM_TRACE(sim, "-- n2 promises epoch %lu, on a slow disk", n2->next.promise);
            sim_script_cut(sim, 1, 2, false);
            sim->ctrl_cut[0] = 14; /* its ctrl would stand above */
            sim->ctrl_cut[1] = sim->ctrl_cut[2] = sim->ctrl_cut[3] = 1;
            sim->lines_changed = true;
        }
        if (n2->disk.vote == 2)
            sim->config.disk_ns = 100 * US;
        else
            sim_script_at(sim, sim->now + 10 * US, 4);
        break;
    }
}

/* ---- P2: a promise that was not durable, and an admission that nobody confirmed ---- */

static void promise_configure(struct sim_config *config)
{
    sim_config_ctrls(config);
    config->nodes = config->founders = 5;
    config->suspend_ns = 20 * MS;
}

/* What reaches whom, on both networks: masks of indexes, by index. */
static void links_set(struct sim *sim, const uint32_t *data, const uint32_t *ctrl)
{
    const uint32_t nodes = 31;
    for (uint32_t i = 0; i < 5; i++) {
        sim->cut[i] = nodes & ~data[i];
        sim->ctrl_cut[i] = nodes & ~ctrl[i];
    }
    sim->lines_changed = true;
}

static bool is_promising(const struct sim_host *host, uint64_t epoch)
{
    return host->disk.promise >= epoch || (host->writing && host->next.promise >= epoch);
}

/* n1 is cut off; n2 is elected by n4 and n5, and n5 is cut off, too. n3 hears n2's frames, and the disk that is to hold
 * its promise of epoch 2 hangs: only with the promise durable it may acknowledge. Then it crashes, and comes back where
 * it sees nobody but n1, sequencer of epoch 1: who else has promised more is not known there, so it is not let in. */
static void promise_step(struct sim *sim, uint32_t step)
{
    static const uint32_t apart[] = {1, 30, 30, 30, 30};     /* 1 | 2 3 4 5 */
    static const uint32_t apart_ctrl[] = {1, 26, 4, 26, 26}; /* 1 | 3 | 2 4 5 */
    static const uint32_t less[] = {1, 14, 14, 14, 16};      /* 1 | 2 3 4 | 5 */
    static const uint32_t back[] = {5, 10, 5, 10, 16};       /* 1 3 | 2 4 | 5, on both */
    struct sim_host *n3 = &sim->host[2];
    switch (step) {
    case 0:
        sim_script_at(sim, 60 * MS, 1);
        sim_script_at(sim, 61 * MS, 2);
        break;
    case 1:
        links_set(sim, apart, apart_ctrl);
        SIM_TRACE(sim, "-- n1 is cut off, n3 only for ctrls");
        break;
    case 2: /* n2 is about to be elected: what its voters promise reaches their disks */
        if (!is_promising(&sim->host[1], 2) || !is_promising(&sim->host[3], 2) || !is_promising(&sim->host[4], 2)) {
            sim_script_at(sim, sim->now + 10 * US, 2);
            break;
        }
        sim->config.disk_ns = 1000 * MS;
        SIM_TRACE(sim, "-- from now on disks hang");
        sim_script_at(sim, sim->now + 10 * US, 3);
        break;
    case 3:
        if (sim->node[1].installed_epoch != 2) {
            sim_script_at(sim, sim->now + 10 * US, 3);
            break;
        }
        links_set(sim, less, apart_ctrl);
        SIM_TRACE(sim, "-- n5 is cut off");
        sim_script_at(sim, sim->now + 10 * MS, 4);
        break;
    default:
        links_set(sim, back, back);
        sim->config.disk_ns = 100 * US;
        n3->writing = false; /* nothing of it reached the disk */
        SIM_TRACE(sim, "-- n3 crashes, and sees nobody but n1 when it is back");
        sim_host_crash(sim, n3, 10 * MS);
        break;
    }
}

/* ---- P8: a record that was made anew ---- */

static void anew_step(struct sim *sim, uint32_t step)
{
    struct sim_host *n3 = &sim->host[2];
    if (step == 0) {
        sim_script_at(sim, 60 * MS, 1);
        return;
    }
    SIM_TRACE(sim, "-- the machine of node 3 loses its disk, and is bootstrapped again under its id");
    sim_host_crash(sim, n3, 5 * MS);
    sim_host_bootstrap(sim, n3);
    n3->forged = true;
    sim->node[2].promised = 0;
}

/* Nobody tells it so: a founder alone founds nothing. */
static void alone_step(struct sim *sim, uint32_t step)
{
    anew_step(sim, step);
    if (step == 0)
        return;
    sim->ctrl_cut[0] = sim->ctrl_cut[1] = 4;
    sim->ctrl_cut[2] = 3;
    sim->lines_changed = true;
}

/* ---- what an older incarnation acknowledged, and what the new one has to reach ---- */

#define HELD_MAX 4
static struct sim_packet held[HELD_MAX]; /* what was ordered, on its way to n3 */
static uint32_t helds;
static struct sim_packet old_ack; /* n2's last one, in its first life */

static void forgets_configure(struct sim_config *config)
{
    sim_config_ctrls(config);
    config->nodes = config->founders = 5;
}

/* Three entries are on n1 and n2 of five. n2 dies and comes back; as soon as it is admitted n3 gets them, too, and what
 * n2 acknowledged in its first life arrives again. Were that still counted, they would be committed; were n2 admitted
 * with less, it would take part without them. */
static void forgets_step(struct sim *sim, uint32_t step)
{
    switch (step) {
    case 0:
        helds = 0;
        old_ack.length = 0;
        sim->script_state->counter[0] = 0;
        sim_script_at(sim, 55 * MS, 1);
        sim_script_at(sim, 60 * MS, 2);
        sim_script_at(sim, 61 * MS, 3);
        sim_script_at(sim, 61 * MS + 10 * US, 4);
        break;
    case 1:
        sim_script_submit(sim, LS_KV_PUT, "all", 10, 0);
        break;
    case 2:
        sim->script_state->counter[0] = (uint32_t)sim->node[0].end;
        for (uint32_t i = 0; i < 3; i++)
            sim_script_submit(sim, LS_KV_PUT, "three", 600, 0);
        break;
    case 3:
        sim_host_dataplane_ends(sim, &sim->host[1], "the script kills it");
        break;
    default:
        if (sim->ledger.epoch[1].admitted[1] == 0) {
            sim_script_at(sim, sim->now + 10 * US, 4);
            break;
        }
        SIM_TRACE(sim, "-- node 2 is admitted, and what was ordered arrives at node 3");
        sim_net_inject(sim, &old_ack, 0);
        for (uint32_t i = 0; i < helds; i++)
            sim_net_inject(sim, &held[i], 2);
        break;
    }
}

static bool forgets_lose(struct sim *sim, const struct sim_packet *packet)
{
    uint64_t begin = sim->script_state->counter[0];
    uint64_t position; /* ORDER and RANGE begin with it */
    uint32_t to = sim_packet_to(sim, packet);
    uint8_t type = sim_packet_type(packet);
    bool again = sim->host[1].process_life > 1; /* n2's second life */
    if (sim_packet_is(sim, packet, LS_FRAME_ACK, 1, 0) && !again)
        sim_packet_keep(&old_ack, packet);
    if (begin == 0 || to > 4 || to == 0 || (type != LS_FRAME_ORDER && type != LS_FRAME_RANGE))
        return false;
    memcpy(&position, packet->data + LS_FRAME_HEADER_SIZE, sizeof(position));
    if (to == 1)
        return again && position > begin;
    if (position < begin)
        return false;
    if (to == 2 && type == LS_FRAME_ORDER && helds < HELD_MAX)
        sim_packet_keep(&held[helds++], packet);
    return true;
}

/* ---- P15: one copy is not as the others ---- */

/* What n3's dataplane says of its state is not what the others say, for as long as it lives. */
static void drift_step(struct sim *sim, uint32_t step)
{
    struct sim_node *n3 = &sim->node[2];
    switch (step) {
    case 0:
        sim_script_at(sim, 60 * MS, 1);
        sim_script_at(sim, 60 * MS, 2);
        sim_script_at(sim, 200 * MS, 3);
        break;
    case 1:
        sim_script_submit(sim, LS_KV_PUT, "k", 10, 0);
        if (sim->now < 70 * MS)
            sim_script_at(sim, sim->now + 250 * US, 1);
        break;
    case 2:
        for (uint32_t i = 0; i < LS_DIGESTS_KEPT && n3->incarnation == 1; i++) {
            uint64_t seq = atomic_load(&n3->page.digests[i].seq);
            if (seq != 0)
                atomic_store(&n3->page.digests[i].digest, ~sim->ledger.expected[seq].digest);
        }
        if (sim->now < 200 * MS)
            sim_script_at(sim, sim->now + 20 * US, 2);
        break;
    default:
        if (n3->incarnation == 1 || !n3->view.counts)
            sim_violate(sim, "P15", "the copy of node 3 differs from the others, and was not rebuilt");
        break;
    }
}

/* ---- P19: a checkpoint is one moment's ---- */

static void cut_configure(struct sim_config *config)
{
    sim_config_ctrls(config);
    config->times.restart_min = 60 * MS;
    config->window = config->client_window = LS_WINDOW_MAX;
}

/* n3 comes back behind all rings while requests go on, and the others are so slow that some of them are executed
 * between the cut and the copy of their session. */
static void cut_step(struct sim *sim, uint32_t step)
{
    const struct sim_node *n3 = &sim->node[2];
    switch (step) {
    case 0:
        sim_script_at(sim, 60 * MS, 1);
        sim_script_at(sim, 62 * MS, 2);
        sim_script_at(sim, 110 * MS, 3);
        sim_script_at(sim, 180 * MS, 4);
        break;
    case 1:
        sim_host_dataplane_ends(sim, &sim->host[2], "the script kills it");
        break;
    case 2:
        for (uint32_t i = 0; i < 60; i++)
            sim_script_submit(sim, LS_KV_PUT, "k", 1200, 0);
        if (sim->now < 90 * MS)
            sim_script_at(sim, sim->now + 10 * MS, 2);
        break;
    case 3:
        sim->node[0].slow_ns = sim->node[1].slow_ns = sim->now < 120 * MS ? 100 * US : 0;
        sim_script_submit(sim, LS_KV_PUT, "k", 10, 0);
        if (sim->now < 120 * MS)
            sim_script_at(sim, sim->now + 20 * US, 3);
        break;
    default:
        if (n3->base == 0 || n3->applied_seq != sim->ledger.canon_seq)
            sim_violate(sim, "script", "node 3 has applied %lu of %lu entries", n3->applied_seq, sim->ledger.canon_seq);
        break;
    }
}

/* ---- P3: a checkpoint that is older than the log ---- */

/* n1, n3 and n4 hold an entry, and it is committed; n2 and n5 got nothing. n1 dies, n3 leads; n4 waits for its answer,
 * and is given checkpoints that nobody asked for, also of those who know less. */
static void older_step(struct sim *sim, uint32_t step)
{
    switch (step) {
    case 0:
        sim_script_at(sim, 55 * MS, 1);
        sim_script_at(sim, 60 * MS, 1);
        sim_script_at(sim, 62 * MS, 2);
        sim_script_at(sim, 80 * MS, 3);
        break;
    case 1:
        sim_script_submit(sim, LS_KV_PUT, "k", 10, 0);
        break;
    case 2:
        sim_host_dataplane_ends(sim, &sim->host[0], "the script kills it");
        break;
    default:
        sim_bulk_stray(sim, &sim->host[3]);
        sim_script_at(sim, sim->now + 2 * MS, 3);
        break;
    }
}

static bool older_lose(struct sim *sim, const struct sim_packet *packet)
{
    const struct ls_heartbeat_body *body = (const void *)(packet->data + LS_FRAME_HEADER_SIZE);
    uint32_t to = sim_packet_to(sim, packet);
    uint8_t type = sim_packet_type(packet);
    if (sim->now < 59 * MS)
        return false;
    if ((to == 1 || to == 4) && (type == LS_FRAME_ORDER || type == LS_FRAME_RANGE))
        return true;
    return sim_packet_is(sim, packet, LS_FRAME_HEARTBEAT, 2, 3) && body->answers > 0;
}

const struct sim_scenario sim_directed_ctrl[] = {
    {.name = "answer-of-old-life",
     .text = "the answer to a question of node 3's first incarnation arrives in its second: it is dropped",
     .step = life_step,
     .lose = life_lose,
     .configure = sim_config_ctrls,
     .from = 59 * MS,
     .until = 190 * MS,
     .read_node = 3,
     .with_ctrl = true},
    {.name = "deaf-sequencer",
     .text = "the sequencer hears nobody and is heard by all: it says so after a while, and another one is elected",
     .step = deaf_step,
     .configure = deaf_configure,
     .from = 55 * MS,
     .until = 901 * MS,
     .with_ctrl = true},
    {.name = "votes-by-log",
     .text = "a candidate's log makes node 4 a voter, its record does not know yet: two votes of four do not elect it",
     .step = lag_step,
     .configure = sim_config_ctrls,
     .from = 149 * MS,
     .until = 260 * MS,
     .with_ctrl = true},
    {.name = "promise-and-confirm",
     .text = "a node whose promise is not durable acknowledges nothing, and is not let in by who knows no majority",
     .step = promise_step,
     .configure = promise_configure,
     .from = 59 * MS,
     .until = 200 * MS,
     .with_ctrl = true},
    {.name = "copy-differs",
     .text = "the digests of node 3 differ from the others': its dataplane is ended, and brought in again",
     .step = drift_step,
     .configure = sim_config_ctrls,
     .from = 71 * MS,
     .until = 201 * MS,
     .with_ctrl = true},
    {.name = "cut-under-load",
     .text = "a checkpoint is taken while requests go on: sessions are in it as they were at its seq",
     .step = cut_step,
     .configure = cut_configure,
     .from = 178 * MS,
     .until = 181 * MS,
     .with_ctrl = true},
    {.name = "checkpoint-older",
     .text = "checkpoints that end before node 4's log does are given to it, which nobody asked for: refused",
     .step = older_step,
     .lose = older_lose,
     .configure = forgets_configure,
     .from = 59 * MS,
     .until = 87 * MS,
     .with_ctrl = true},
    {.name = "record-anew",
     .text = "the record of node 3 is lost and made anew: the node is not let in under its id",
     .step = anew_step,
     .configure = sim_config_ctrls,
     .from = 59 * MS,
     .until = 200 * MS,
     .with_ctrl = true},
    {.name = "record-anew-alone",
     .text = "the same, and no ctrl is linked to that of node 3: it waits",
     .step = alone_step,
     .configure = sim_config_ctrls,
     .from = 59 * MS,
     .until = 200 * MS,
     .with_ctrl = true},
    {.name = "admit-forgets",
     .text = "node 2 is admitted anew: its old acknowledgement counts no more, and it has to reach the log's end",
     .step = forgets_step,
     .lose = forgets_lose,
     .configure = forgets_configure,
     .from = 54 * MS,
     .until = 100 * MS,
     .with_ctrl = true},
};
const uint32_t sim_directed_ctrl_count = sizeof(sim_directed_ctrl) / sizeof(sim_directed_ctrl[0]);
