/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between ctrl's messages (<lockstep/control_message.h>) and what net takes and says (core/seam.h). Pure: no socket, no
 * queue; the control thread and the simulator use the same. It remembers which order was asked over which link and by
 * which number: an answer goes to the link that asked, never to a later ctrl whose number happens to be the same. One
 * thread.
 */
#ifndef LOCKSTEP_CONTROL_TRANSLATE_H
#define LOCKSTEP_CONTROL_TRANSLATE_H

#include <stddef.h>

#include <lockstep/control_message.h>

#include "../core/seam.h"

/* Orders without an answer; net answers each exactly once. Half of what the queue of events holds, so that the answers
 * have room there beside what net says of its own accord. */
#define LS_TRANSLATE_ASKED (LS_EVENTS_QUEUE / 2)
/* Room for any message that an event becomes. */
#define LS_TRANSLATE_MAX                                                                                               \
    (sizeof(struct ls_control_header) + sizeof(struct ls_control_sealed) +                                             \
     LS_MEMBERS_MAX * sizeof(struct ls_member_record) + LS_CONTROL_TEXT_MAX)

struct ls_translate {
    uint64_t incarnation; /* of this dataplane */
    uint16_t node;        /* this one */
    uint64_t link;        /* raised by ls_translate_relink() */
    uint64_t orders;      /* so far */
    struct {
        uint64_t order; /* its id on the seam; 0: free */
        uint64_t link;
        uint64_t id; /* ctrl's */
        uint32_t kind;
    } asked[LS_TRANSLATE_ASKED];
};

void ls_translate_init(struct ls_translate *translate, uint16_t node, uint64_t incarnation);

/* Another ctrl is linked: answers to what the one before asked are for nobody. */
void ls_translate_relink(struct ls_translate *translate);

/* False: so many orders are unanswered that no message may be taken in now. */
bool ls_translate_has_room(const struct ls_translate *translate);

/* A message that ls_control_check() let pass (LS_CONTROL_TO_DATAPLANE). True: it is an order for net, `order` is filled
 * and must be pushed. False: it is not for net. There is room. */
bool ls_translate_order(struct ls_translate *translate, const struct ls_control_header *header, const uint8_t *body,
                        struct ls_order *order);

/* The message, header first, that `event` becomes; at most LS_TRANSLATE_MAX bytes at `message`. Returns its size; 0:
 * it is for nobody (REBASED, or an answer whose link is gone). */
size_t ls_translate_event(struct ls_translate *translate, const struct ls_event *event, uint8_t *message);

/* The node that ROLE names as sequencer: this one where it leads. */
uint16_t ls_translate_sequencer(const struct ls_translate *translate, const struct ls_event *event);

#endif
