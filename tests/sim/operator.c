/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An operator who changes the membership at bad moments: adds spare nodes, removes, promotes, replaces, moves the
 * sequencer, and sometimes gives two commands at once. Each command is answered exactly once.
 */
#include <string.h>

#include "sim.h"

void sim_operator_start(struct sim *sim)
{
    memset(&sim->operator, 0, sizeof(sim->operator));
    sim->operator.used =(1u << sim->config.founders) - 1;
    if (sim->config.command_every_ns > 0)
        sim_queue_push(
            &sim->queue,
            (struct sim_event){.time = 5 * SIM_MS + sim_rng_spread(&sim->rng_operator, sim->config.command_every_ns),
                               .type = SIM_EVENT_OPERATOR});
}

void sim_operator_command(struct sim *sim, struct sim_host *host, const struct ls_ctrl_command *command)
{
    static const char *const name[] = {"?", "add", "remove", "promote", "replace", "move"};
    struct sim_operator *o = &sim->operator;
    uint32_t slot = 0;
    while (slot < SIM_COMMANDS && o->open[slot].token != 0 && sim->host[o->open[slot].host].life == o->open[slot].life)
        slot++;
    if (slot == SIM_COMMANDS || host->ctrl == NULL || sim->now < host->paused_until)
        return;
    o->open[slot].token = ++o->last;
    o->open[slot].host = host->index;
    o->open[slot].life = host->life;
    sim->stats.commands++;
    SIM_TRACE(sim, "n%u is told by its operator: %s node %u, member %u%s (#%lu)", host->index + 1, name[command->kind],
              command->node, command->member.node, command->promote ? ", promote" : "", o->last);
    ls_ctrl_command(host->ctrl, command, o->last, sim_host_now(sim, host));
    sim_host_after(sim, host);
}

void sim_operator_answered(struct sim *sim, struct sim_host *host, uint64_t token, int error, const char *text)
{
    struct sim_operator *o = &sim->operator;
    uint32_t slot = 0;
    while (slot < SIM_COMMANDS && o->open[slot].token != token)
        slot++;
    if (slot == SIM_COMMANDS || o->open[slot].host != host->index || o->open[slot].life != host->life)
        sim_violate(sim, "P22", "node %u answers command %lu, which nobody waits for", host->index + 1, token);
    o->open[slot].token = 0;
    sim->stats.commands_done += error == 0;
    sim->stats.commands_refused += error != 0;
    SIM_TRACE(sim, "n%u answers its operator (#%lu): %s: %s", host->index + 1, token,
              error == 0 ? "done" : strerror(error < 0 ? -error : error), text);
}

static uint32_t member_draw(struct sim *sim, uint32_t mask)
{
    uint32_t n = (uint32_t)__builtin_popcount(mask);
    if (n == 0)
        return SIM_NONE;
    for (uint64_t skip = sim_rng_below(&sim->rng_operator, n); skip > 0; skip--)
        mask &= mask - 1;
    return (uint32_t)__builtin_ctz(mask);
}

/* A machine that was never a member is made ready, as bootstrap does. */
uint32_t sim_operator_spare(struct sim *sim)
{
    for (uint32_t i = sim->config.founders; i < sim->config.nodes; i++) {
        if (sim->operator.used>> i & 1)
            continue;
        sim->operator.used |= 1u << i;
        sim_host_bootstrap(sim, &sim->host[i]);
        sim_host_boot(sim, &sim->host[i], 0);
        return i;
    }
    return SIM_NONE;
}

/* A voter whose memory is about to be lost: what is allowed to be lost was counted with the voters that there are. */
static bool a_voter_is_doomed(const struct sim *sim)
{
    for (uint32_t i = 0; i < sim->config.nodes; i++)
        if ((sim_voters(sim) >> i & 1) && sim->node[i].doomed)
            return true;
    return false;
}

static bool command_draw(struct sim *sim, struct ls_ctrl_command *command)
{
    struct sim_rng *rng = &sim->rng_operator;
    uint32_t members = sim_members(sim), voters = sim_voters(sim);
    uint32_t spare;
    memset(command, 0, sizeof(*command));
    command->kind = (enum ls_ctrl_command_kind)(1 + sim_rng_below(rng, 5));
    uint32_t learner = member_draw(sim, members & ~voters);
    uint32_t voter = member_draw(sim, voters);
    switch (command->kind) {
    case LS_COMMAND_MEMBER_ADD:
    case LS_COMMAND_MEMBER_REPLACE:
        if (voter == SIM_NONE || (spare = sim_operator_spare(sim)) == SIM_NONE)
            return false;
        if (command->kind == LS_COMMAND_MEMBER_REPLACE && a_voter_is_doomed(sim))
            return false;
        command->promote = sim_rng_below(rng, 2) == 0;
        command->member = sim_member(sim, spare, LS_MEMBER_LEARNER);
        command->node = command->kind == LS_COMMAND_MEMBER_REPLACE ? (uint16_t)(voter + 1) : 0;
        return true;
    case LS_COMMAND_MEMBER_REMOVE:
        /* Small clusters keep their voters most of the time. */
        if (learner == SIM_NONE && (__builtin_popcount(voters) < 3 || sim_rng_below(rng, 3) != 0))
            return false;
        if (a_voter_is_doomed(sim))
            return false;
        command->node = (uint16_t)((learner != SIM_NONE && sim_rng_below(rng, 2) ? learner : voter) + 1);
        return command->node != 0;
    case LS_COMMAND_MEMBER_PROMOTE:
        command->node = (uint16_t)(learner + 1);
        return learner != SIM_NONE;
    default:
        command->node = (uint16_t)(voter + 1);
        return voter != SIM_NONE;
    }
}

void sim_operator_turn(struct sim *sim)
{
    if (sim->healed)
        return;
    uint32_t times = sim_rng_below(&sim->rng_operator, 4) == 0 ? 2 : 1;
    for (uint32_t i = 0; i < times; i++) {
        struct ls_ctrl_command command;
        uint32_t at = member_draw(sim, sim_members(sim));
        if (at != SIM_NONE && command_draw(sim, &command))
            sim_operator_command(sim, &sim->host[at], &command);
    }
    sim_queue_push(
        &sim->queue,
        (struct sim_event){.time = sim->now + SIM_MS + sim_rng_spread(&sim->rng_operator, sim->config.command_every_ns),
                           .type = SIM_EVENT_OPERATOR});
}
