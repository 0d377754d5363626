/* SPDX-License-Identifier: BSD-3-Clause */
/* Orders out of messages, messages out of events. See translate.h. */
#include "translate.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <lockstep/counters.h>

void ls_translate_init(struct ls_translate *translate, uint16_t node, uint64_t incarnation)
{
    memset(translate, 0, sizeof(*translate));
    translate->node = node;
    translate->incarnation = incarnation;
    translate->link = 1;
}

void ls_translate_relink(struct ls_translate *translate)
{
    translate->link++;
}

bool ls_translate_has_room(const struct ls_translate *translate)
{
    for (int i = 0; i < LS_TRANSLATE_ASKED; i++)
        if (translate->asked[i].order == 0)
            return true;
    return false;
}

/* Notes who asks what; returns the id that the order has on the seam. */
static uint64_t asked_note(struct ls_translate *translate, uint64_t id, uint32_t kind)
{
    int i = 0;

    while (translate->asked[i].order != 0) {
        i++;
        assert(i < LS_TRANSLATE_ASKED);
    }
    translate->asked[i].order = ++translate->orders;
    translate->asked[i].link = translate->link;
    translate->asked[i].id = id;
    translate->asked[i].kind = kind;
    return translate->orders;
}

/* ctrl's number of the question that `order` answers, which is answered now; 0: nobody's who is still there. */
static uint64_t asked_take(struct ls_translate *translate, uint64_t order, uint32_t *kind)
{
    for (int i = 0; i < LS_TRANSLATE_ASKED; i++) {
        if (order == 0 || translate->asked[i].order != order)
            continue;
        translate->asked[i].order = 0;
        *kind = translate->asked[i].kind;
        return translate->asked[i].link == translate->link ? translate->asked[i].id : 0;
    }
    return 0;
}

/* ---- orders ---- */

/* Well-formed, as the message was checked. */
static void members_read(struct ls_membership *members, const uint8_t *records, uint16_t count, uint64_t seq)
{
    struct ls_member_record record[LS_MEMBERS_MAX];
    bool ok;

    memcpy(record, records, count * sizeof(record[0]));
    ok = ls_membership_read(members, record, count);
    assert(ok);
    members->seq = seq;
}

static void epoch_order(struct ls_order *order, const uint8_t *body)
{
    struct ls_control_epoch epoch;

    memcpy(&epoch, body, sizeof(epoch));
    order->epoch = epoch.epoch;
    order->incarnation = epoch.incarnation;
}

static void members_order(struct ls_order *order, const uint8_t *body)
{
    struct ls_control_members members;

    memcpy(&members, body, sizeof(members));
    order->epoch = members.epoch;
    order->position = members.seq;
    members_read(&order->members, body + sizeof(members), members.members, 0);
}

static void join_order(struct ls_order *order, const uint8_t *body)
{
    struct ls_control_join join;

    memcpy(&join, body, sizeof(join));
    order->epoch = join.epoch;
    order->incarnation = join.incarnation;
    order->position = join.reach;
    order->node = join.sequencer;
    order->other = join.sequencer_incarnation;
    members_read(&order->members, body + sizeof(join), join.members, 0);
}

static void admit_order(struct ls_order *order, const uint8_t *body)
{
    struct ls_control_admit admit;

    memcpy(&admit, body, sizeof(admit));
    order->epoch = admit.epoch;
    order->incarnation = admit.incarnation;
    order->node = admit.node;
    order->other = admit.joining;
    order->position = admit.promise;
}

static void handover_order(struct ls_order *order, const uint8_t *body)
{
    struct ls_control_handover handover;

    memcpy(&handover, body, sizeof(handover));
    order->epoch = handover.epoch;
    order->node = handover.node;
    order->position = handover.patience;
}

static const struct translation {
    uint32_t type;
    uint32_t kind;
    void (*fill)(struct ls_order *order, const uint8_t *body);
} translations[] = {
    {LS_CONTROL_SEAL, LS_ORDER_SEAL, epoch_order},       {LS_CONTROL_INSTALL, LS_ORDER_INSTALL, epoch_order},
    {LS_CONTROL_FOUND, LS_ORDER_FOUND, members_order},   {LS_CONTROL_JOIN, LS_ORDER_JOIN, join_order},
    {LS_CONTROL_COUNT, LS_ORDER_COUNT, epoch_order},     {LS_CONTROL_ADMIT, LS_ORDER_ADMIT, admit_order},
    {LS_CONTROL_CHANGE, LS_ORDER_CHANGE, members_order}, {LS_CONTROL_HANDOVER, LS_ORDER_HANDOVER, handover_order},
};

bool ls_translate_order(struct ls_translate *translate, const struct ls_control_header *header, const uint8_t *body,
                        struct ls_order *order)
{
    for (size_t i = 0; i < sizeof(translations) / sizeof(translations[0]); i++) {
        if (translations[i].type != header->type)
            continue;
        memset(order, 0, sizeof(*order));
        order->kind = translations[i].kind;
        order->id = asked_note(translate, header->id, order->kind);
        translations[i].fill(order, body);
        return true;
    }
    return false;
}

/* ---- events ---- */

uint16_t ls_translate_sequencer(const struct ls_translate *translate, const struct ls_event *event)
{
    bool leads = event->role == LS_ROLE_OPENING || event->role == LS_ROLE_SEQUENCER || event->role == LS_ROLE_SUSPENDED;

    return leads ? translate->node : event->node;
}

/* A message being written. */
struct draft {
    uint8_t *message;
    size_t size;
};

static void draft_add(struct draft *draft, const void *bytes, size_t size)
{
    memcpy(draft->message + draft->size, bytes, size);
    draft->size += size;
    assert(draft->size <= LS_TRANSLATE_MAX);
}

static void draft_members(struct draft *draft, const struct ls_membership *members)
{
    struct ls_member_record record[LS_MEMBERS_MAX];

    ls_membership_write(members, record);
    draft_add(draft, record, members->count * sizeof(record[0]));
}

static size_t draft_end(struct draft *draft, uint32_t type, uint64_t id)
{
    struct ls_control_header header = {
        .version = LS_CONTROL_VERSION, .type = type, .id = id, .size = (uint32_t)(draft->size - sizeof(header))};

    memcpy(draft->message, &header, sizeof(header));
    return draft->size;
}

/* Why net refuses an order, and what to do. */
static const struct refusal {
    uint32_t kind;
    uint32_t code;
    const char *text;
} refusals[] = {
    {LS_ORDER_FOUND, EBUSY, "not founded: this incarnation takes part already, or has halted"},
    {LS_ORDER_FOUND, ENOTEMPTY, "not founded: the log is not empty: join instead"},
    {LS_ORDER_FOUND, EPERM,
     "not founded: behind a checkpoint of an older generation a node founds alone: add the others when it serves"},
    {LS_ORDER_FOUND, EINVAL, "not founded: this node is not among the members, or none of them is a voter"},
    {LS_ORDER_JOIN, EIO, "not joined: the replica has halted: start another incarnation"},
    {LS_ORDER_JOIN, EALREADY, "not joined: this incarnation counts already"},
    {LS_ORDER_JOIN, EPERM,
     "not joined: the log begins behind a checkpoint of an older generation: found a new one, or start another "
     "incarnation"},
    {LS_ORDER_JOIN, ESTALE,
     "not joined: another incarnation, epoch or sequencer than this dataplane is sealed at or has joined: seal first"},
    {LS_ORDER_JOIN, EINVAL, "not joined: the members lack this node or the sequencer, or the sequencer is this node"},
    {LS_ORDER_COUNT, EIO, "does not count: the replica has halted: start another incarnation"},
    {LS_ORDER_COUNT, ESTALE, "does not count: this dataplane is another incarnation"},
    {LS_ORDER_COUNT, EAGAIN, "does not count: what the sequencer named is not held yet: wait for REACHED"},
    {LS_ORDER_HANDOVER, ESTALE, "not handed over: this node is not the sequencer of that epoch"},
    {LS_ORDER_HANDOVER, EBUSY, "not handed over: another handover is under way: wait for its end"},
    {LS_ORDER_HANDOVER, ENOENT, "not handed over: no other voter has that number"},
    {LS_ORDER_HANDOVER, EAGAIN, "not handed over: that node does not follow as a full member: wait until it does"},
    {LS_ORDER_HANDOVER, ETIMEDOUT, "not handed over in time: requests are taken again"},
    {LS_ORDER_HANDOVER, ECANCELED, "not handed over: the epoch ended meanwhile"},
};

static const char *refusal(uint32_t kind, uint32_t code)
{
    if (code == 0)
        return "";
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
        if (refusals[i].kind == kind && refusals[i].code == code)
            return refusals[i].text;
    return "refused by the replica";
}

static size_t sealed_message(const struct ls_translate *translate, const struct ls_event *event, uint64_t id,
                             struct draft *draft)
{
    struct ls_control_sealed sealed = {.epoch = event->epoch,
                                       .incarnation = translate->incarnation,
                                       .last_epoch = event->last_epoch,
                                       .last = event->last,
                                       .last_seq = event->last_seq,
                                       .members_seq = event->members.seq,
                                       .members = (uint16_t)event->members.count,
                                       .counts = event->code == 1};

    draft_add(draft, &sealed, sizeof(sealed));
    draft_members(draft, &event->members);
    return draft_end(draft, LS_CONTROL_SEALED, id);
}

static size_t done_message(uint32_t kind, const struct ls_event *event, uint64_t id, struct draft *draft)
{
    struct ls_control_done done = {.error = event->code};
    const char *text = refusal(kind, event->code);

    draft_add(draft, &done, sizeof(done));
    draft_add(draft, text, strlen(text));
    return draft_end(draft, LS_CONTROL_DONE, id);
}

static size_t answer_message(const struct ls_translate *translate, const struct ls_event *event, uint64_t id,
                             uint32_t kind, struct draft *draft)
{
    struct ls_control_installed installed = {.epoch = event->epoch, .refused = event->code};
    struct ls_control_admitted admitted = {.epoch = event->epoch,
                                           .reach = event->last,
                                           .joining = event->last_seq,
                                           .node = event->node,
                                           .refused = event->code};
    struct ls_control_changed changed = {.epoch = event->epoch, .seq = event->last_seq, .refused = event->code};
    struct ls_control_epoch handed = {.epoch = event->epoch, .node = event->node};

    switch (event->kind) {
    case LS_EVENT_SEALED:
        return sealed_message(translate, event, id, draft);
    case LS_EVENT_INSTALLED:
        draft_add(draft, &installed, sizeof(installed));
        return draft_end(draft, LS_CONTROL_INSTALLED, id);
    case LS_EVENT_ADMITTED:
        draft_add(draft, &admitted, sizeof(admitted));
        return draft_end(draft, LS_CONTROL_ADMITTED, id);
    case LS_EVENT_CHANGED:
        draft_add(draft, &changed, sizeof(changed));
        return draft_end(draft, LS_CONTROL_CHANGED, id);
    case LS_EVENT_HANDED:
        draft_add(draft, &handed, sizeof(handed));
        return draft_end(draft, LS_CONTROL_HANDED, id);
    default:
        assert(event->kind == LS_EVENT_DONE);
        return done_message(kind, event, id, draft);
    }
}

static size_t members_message(const struct ls_event *event, struct draft *draft)
{
    struct ls_control_members members = {
        .seq = event->members.seq, .members = (uint16_t)event->members.count, .committed = event->code == 1};

    draft_add(draft, &members, sizeof(members));
    draft_members(draft, &event->members);
    return draft_end(draft, LS_CONTROL_MEMBERS, 0);
}

size_t ls_translate_event(struct ls_translate *translate, const struct ls_event *event, uint8_t *message)
{
    struct draft draft = {.message = message, .size = sizeof(struct ls_control_header)};
    struct ls_control_epoch epoch = {.epoch = event->epoch};
    struct ls_control_role role;
    uint32_t kind = 0;
    uint64_t id;

    switch (event->kind) {
    case LS_EVENT_EPOCH_SEEN:
        epoch.node = event->node;
        draft_add(&draft, &epoch, sizeof(epoch));
        return draft_end(&draft, LS_CONTROL_EPOCH_SEEN, 0);
    case LS_EVENT_REACHED:
        epoch.incarnation = translate->incarnation;
        draft_add(&draft, &epoch, sizeof(epoch));
        return draft_end(&draft, LS_CONTROL_REACHED, 0);
    case LS_EVENT_ROLE:
        role = (struct ls_control_role){.epoch = event->epoch,
                                        .role = event->role,
                                        .sequencer = ls_translate_sequencer(translate, event),
                                        .halt = (uint16_t)event->code};
        draft_add(&draft, &role, sizeof(role));
        return draft_end(&draft, LS_CONTROL_ROLE, 0);
    case LS_EVENT_MEMBERS:
        return members_message(event, &draft);
    case LS_EVENT_REBASED:
        return 0;
    default:
        id = asked_take(translate, event->id, &kind);
        return id != 0 ? answer_message(translate, event, id, kind, &draft) : 0;
    }
}
