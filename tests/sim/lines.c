/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Links between ctrls: whole messages, in order and without loss, until the network is cut or a process ends; then both
 * ends hear that the link broke, what was on its way is gone, and a new one comes to stand when it can.
 */
#include <assert.h>
#include <string.h>

#include "sim.h"

static struct sim_line *line_of(struct sim *sim, uint32_t a, uint32_t b)
{
    return a < b ? &sim->line[a][b] : &sim->line[b][a];
}

static bool may_stand(const struct sim *sim, uint32_t a, uint32_t b)
{
    return sim->host[a].ctrl != NULL && sim->host[b].ctrl != NULL && (sim->host[a].wanted >> b & 1) &&
           (sim->host[b].wanted >> a & 1) && !(sim->ctrl_cut[a] >> b & 1) && !(sim->ctrl_cut[b] >> a & 1);
}

static void tell(struct sim *sim, enum sim_message_kind kind, uint32_t from, uint32_t to, uint64_t at)
{
    sim_message_send(sim, sim_message_take(sim, kind, from, to, sim->host[to].life), at);
}

static void line_break(struct sim *sim, uint32_t a, uint32_t b)
{
    struct sim_line *line = line_of(sim, a, b);
    SIM_TRACE(sim, "link between ctrls n%u and n%u breaks", a + 1, b + 1);
    line->up = false;
    line->life++;
    uint64_t last = sim->now;
    uint32_t end[2] = {a, b};
    for (uint32_t i = 0; i < 2; i++) {
        uint64_t at = sim->now + 1 + sim_rng_spread(&sim->rng_ctrl, sim->config.link_ns);
        tell(sim, SIM_MESSAGE_PEER_DOWN, end[1 - i], end[i], at);
        last = at > last ? at : last;
    }
    line->quiet = last + 1;
}

/* Called after each event that may have changed what may stand. */
void sim_lines_update(struct sim *sim)
{
    if (!sim->lines_changed)
        return;
    sim->lines_changed = false;
    for (uint32_t a = 0; a < sim->config.nodes; a++) {
        for (uint32_t b = a + 1; b < sim->config.nodes; b++) {
            struct sim_line *line = &sim->line[a][b];
            bool may = may_stand(sim, a, b);
            bool let_go = (sim->host[a].let_go >> b & 1) || (sim->host[b].let_go >> a & 1);
            if (line->up && (!may || let_go)) {
                line_break(sim, a, b);
                sim->lines_changed = sim->lines_changed || may; /* it is wanted again */
            } else if (!line->up && may && !line->coming) {
                uint64_t at = sim->now > line->quiet ? sim->now : line->quiet;
                line->coming = true;
                tell(sim, SIM_MESSAGE_LINE, a, b,
                     at + 2 * sim->config.link_ns + sim_rng_spread(&sim->rng_ctrl, sim->config.link_ns));
            }
        }
    }
    for (uint32_t i = 0; i < sim->config.nodes; i++)
        sim->host[i].let_go = 0;
}

void sim_line_send(struct sim *sim, struct sim_host *host, uint16_t node, const void *bytes, size_t size)
{
    uint32_t to = (uint32_t)node - 1;
    if (to >= sim->config.nodes || to == host->index || size > LS_CTRL_MESSAGE_MAX)
        sim_violate(sim, "W1", "node %u: ctrl sends %zu bytes to node %u", host->index + 1, size, node);
    struct sim_line *line = line_of(sim, host->index, to);
    if (!line->up)
        return;
    struct sim_message *message = sim_message_take(sim, SIM_MESSAGE_PEER, host->index, to, line->life);
    memcpy(message->bytes, bytes, size);
    message->size = (uint16_t)size;
    uint64_t *last = &line->at[to > host->index];
    uint64_t at = sim->now + sim->config.link_ns + sim_rng_spread(&sim->rng_ctrl, sim->config.link_ns / 4);
    if (at <= *last)
        at = *last + 1;
    *last = at;
    sim->stats.ctrl_messages++;
    sim_message_send(sim, message, at);
}

static void line_stands(struct sim *sim, uint32_t a, uint32_t b)
{
    struct sim_line *line = &sim->line[a][b];
    line->coming = false;
    sim->lines_changed = true;
    if (!may_stand(sim, a, b) || sim->now < line->quiet)
        return;
    line->up = true;
    line->life++;
    line->at[0] = line->at[1] = sim->now;
    tell(sim, SIM_MESSAGE_PEER_UP, b, a, sim->now + 1);
    tell(sim, SIM_MESSAGE_PEER_UP, a, b, sim->now + 1);
    line->quiet = sim->now + 2;
}

void sim_line_message(struct sim *sim, struct sim_host *host, struct sim_message *message)
{
    uint64_t now = sim_host_now(sim, host);
    if (message->kind == SIM_MESSAGE_LINE) {
        line_stands(sim, message->from, message->to);
        return;
    }
    if (host->ctrl == NULL)
        return;
    uint16_t from = (uint16_t)(message->from + 1);
    if (message->kind == SIM_MESSAGE_PEER) {
        struct sim_line *line = line_of(sim, message->from, message->to);
        if (message->life != line->life || !line->up || (host->let_go >> message->from & 1))
            return;
        sim_trace_peer(sim, message);
        const char *refused = ls_ctrl_peer_message(host->ctrl, from, message->bytes, message->size, now);
        if (refused != NULL) {
            sim_check_refused(sim, host, message, refused);
            if (line->up && message->life == line->life)
                line_break(sim, message->from, message->to);
            sim->lines_changed = true;
        }
    } else if (message->life != host->life) {
        return;
    } else if (message->kind == SIM_MESSAGE_PEER_UP) {
        ls_ctrl_peer_up(host->ctrl, from, now);
    } else {
        ls_ctrl_peer_down(host->ctrl, from, now);
    }
    sim_host_after(sim, host);
}
