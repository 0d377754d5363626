/* SPDX-License-Identifier: BSD-3-Clause */
/* The very simple dataplanes of a world, for world.c alone. */
#ifndef LOCKSTEP_TESTS_CTRL_WORLD_DATAPLANE_H
#define LOCKSTEP_TESTS_CTRL_WORLD_DATAPLANE_H

#include "world.h"

extern struct world *the_world;

void world_to_ctrl(uint16_t node, uint32_t type, uint64_t id, const void *body, size_t size, const void *tail,
                   size_t tail_size);
void world_dataplane_begin(struct dataplane *dp, uint64_t incarnation, uint64_t promise);
void world_dataplane_resume(struct dataplane *dp, uint64_t incarnation, uint64_t promise);
/* A checkpoint of an older generation, of the first entries that were committed. */
void world_dataplane_recover(struct world *w, uint16_t node, uint32_t entries);
void world_dataplane_hello(struct world *w, uint16_t node);
void world_dataplane_order(struct world *w, uint16_t node, const struct ls_control_header *h, const uint8_t *body);
bool world_dataplane_rebase(struct world *w, uint16_t node, uint16_t from);
void world_dataplane_sample(struct world *w, uint16_t node, struct ls_ctrl_sample *sample);
void world_dataplanes_tick(struct world *w);

#endif
