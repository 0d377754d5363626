/* SPDX-License-Identifier: BSD-3-Clause */
/* What scripted runs are made of: scenario.c runs and compares them, directed.c and directed_ctrl.c hold those made for
 * mutants. */
#ifndef SIM_SCRIPT_H
#define SIM_SCRIPT_H

#include "campaign.h"

struct sim_scenario {
    const char *name;
    const char *text;
    void (*step)(struct sim *sim, uint32_t step);
    bool (*lose)(struct sim *sim, const struct sim_packet *packet);
    void (*configure)(struct sim_config *config);
    uint64_t from, until; /* what is traced */
    uint32_t read_node;
    bool with_ctrl; /* real ctrls; their doings are the trace, not the frames */
    bool may_halt;  /* a replica that stops is what is expected */
};

/* directed.c, directed_ctrl.c */
extern const struct sim_scenario sim_directed[], sim_directed_ctrl[];
extern const uint32_t sim_directed_count, sim_directed_ctrl_count;

/* ---- what scripts say; scenario.c ---- */
void sim_script_at(struct sim *sim, uint64_t time, uint32_t step);
/* Without ctrls: seals `nodes` (a mask of indexes) at the epoch and lets one of them open it. */
void sim_script_lead(struct sim *sim, uint32_t nodes, uint32_t sequencer, uint64_t epoch);
void sim_script_submit(struct sim *sim, uint8_t code, const char *key, uint32_t length, uint64_t deadline);
void sim_script_read(struct sim *sim, const char *key, enum ls_consistency consistency);
void sim_script_cut(struct sim *sim, uint32_t a, uint32_t b, bool on);
void sim_script_operate(struct sim *sim, enum ls_ctrl_command_kind kind, uint16_t node, bool promote);
/* Three founders and a spare node with real ctrls. */
void sim_config_ctrls(struct sim_config *config);

/* Keeps a packet, to be delivered (again) by sim_net_inject(). */
void sim_packet_keep(struct sim_packet *to, const struct sim_packet *packet);

static inline uint8_t sim_packet_type(const struct sim_packet *packet)
{
    return ls_frame_header(packet->data)->type;
}

static inline uint32_t sim_packet_from(const struct sim *sim, const struct sim_packet *packet)
{
    return sim_end_of(sim, packet->from);
}

static inline uint32_t sim_packet_to(const struct sim *sim, const struct sim_packet *packet)
{
    return sim_end_of(sim, packet->to);
}

static inline bool sim_packet_is(const struct sim *sim, const struct sim_packet *packet, uint8_t type, uint32_t from,
                                 uint32_t to)
{
    return sim_packet_type(packet) == type && sim_packet_from(sim, packet) == from && sim_packet_to(sim, packet) == to;
}

#endif
