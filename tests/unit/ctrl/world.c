/* SPDX-License-Identifier: BSD-3-Clause */
/* Events in the order of their times; the host's side of ctrl.h; the checks. See world.h. */
#include "world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <peer_message.h>

#include "world_dataplane.h"

#define EVENTS   8192
#define LINK_NS  50000ull
#define LOCAL_NS 20000ull
#define DISK_NS  200000ull
#define SPAWN_NS (5 * MS)
#define CLOCK_NS 5000000000ull /* time of day as the world begins */

enum what { PERSISTED, READY, DOWN, TO_CTRL, TO_DATAPLANE, PEER, LINK_UP, LINK_DOWN, CHECKPOINT, RECOVERED };
struct event {
    uint64_t at, order;
    enum what what;
    uint16_t node, from;
    uint64_t life; /* of the ctrl, or incarnation of the dataplane, or of the link */
    bool ok;
    struct ls_durable durable;
    uint64_t position;
    size_t size;
    uint8_t bytes[LS_CTRL_MESSAGE_MAX];
};

static struct event *queue;
static uint32_t queued;
static uint64_t order;
static bool link_up[NODES][NODES];
static uint64_t link_life[NODES][NODES];
struct world *the_world;

static struct event *push(uint64_t delay, enum what what, uint16_t node)
{
    assert_true(queued < EVENTS);
    struct event *e = &queue[queued++];
    memset(e, 0, offsetof(struct event, bytes));
    e->at = the_world->now + delay;
    e->order = ++order;
    e->what = what;
    e->node = node;
    return e;
}

void world_to_ctrl(uint16_t node, uint32_t type, uint64_t id, const void *body, size_t size, const void *tail,
                   size_t tail_size)
{
    struct event *e = push(LOCAL_NS, TO_CTRL, node);
    struct ls_control_header h = {
        .version = LS_CONTROL_VERSION, .type = type, .id = id, .size = (uint32_t)(size + tail_size)};

    e->life = the_world->node[node].life;
    memcpy(e->bytes, &h, sizeof(h));
    memcpy(e->bytes + sizeof(h), body, size);
    if (tail_size > 0)
        memcpy(e->bytes + sizeof(h) + size, tail, tail_size);
    e->size = sizeof(h) + size + tail_size;
}

/* ---- the host's functions ---- */

static uint16_t node_of(void *user)
{
    return (uint16_t)(uintptr_t)user;
}

static void on_persist(void *user, const struct ls_durable *durable)
{
    struct node *n = &the_world->node[node_of(user)];
    struct event *e = push(n->persist_ns != 0 ? n->persist_ns : DISK_NS, PERSISTED, node_of(user));

    n->persist_count++;
    e->durable = *durable;
    e->life = n->life;
    e->ok = !n->persist_fails;
}

static void on_spawn(void *user, uint64_t incarnation, uint64_t promise, uint64_t counts)
{
    struct node *n = &the_world->node[node_of(user)];

    assert_false(n->dp.running);                        /* one at a time */
    assert_int_equal(incarnation, n->disk.incarnation); /* durable first */
    assert_int_equal(promise, n->disk.promise);
    assert_int_equal(counts, n->disk.counts);
    if (n->journal && counts != 0 && counts == n->dp.incarnation)
        world_dataplane_resume(&n->dp, incarnation, promise);
    else
        world_dataplane_begin(&n->dp, incarnation, promise);
    n->spawned++;
    struct event *e = push(SPAWN_NS, READY, node_of(user));
    e->life = incarnation;
}

static void on_kill(void *user)
{
    world_kill_dataplane(the_world, node_of(user));
}

static void on_dataplane_send(void *user, enum ls_control_type type, uint64_t id, const void *body, size_t size)
{
    struct event *e = push(LOCAL_NS, TO_DATAPLANE, node_of(user));
    struct ls_control_header h = {
        .version = LS_CONTROL_VERSION, .type = (uint32_t)type, .id = id, .size = (uint32_t)size};

    assert_true(id & LS_CTRL_ID);
    e->life = the_world->node[node_of(user)].dp.incarnation;
    memcpy(e->bytes, &h, sizeof(h));
    memcpy(e->bytes + sizeof(h), body, size);
    e->size = sizeof(h) + size;
}

/* What is said to others must be on the disk: read it from the messages. */
static void watch(uint16_t from, const uint8_t *bytes)
{
    struct node *n = &the_world->node[from];
    struct ls_peer_header h;
    struct ls_peer_vote vote;
    struct ls_peer_vote_reply reply;

    memcpy(&h, bytes, sizeof(h));
    assert_int_equal(h.incarnation, n->disk.incarnation);
    if (h.type == LS_PEER_VOTE) {
        memcpy(&vote, bytes + sizeof(h), sizeof(vote));
        assert_int_equal(n->disk.promise, vote.epoch);
        assert_int_equal(n->disk.vote, from);
        assert_int_equal(n->disk.counts, n->disk.incarnation);
    } else if (h.type == LS_PEER_VOTE_REPLY) {
        memcpy(&reply, bytes + sizeof(h), sizeof(reply));
        if (reply.denied != 0)
            return;
        assert_int_equal(n->disk.promise, reply.epoch);
        assert_int_equal(n->disk.vote, h.to);
        assert_int_equal(n->disk.counts, n->disk.incarnation);
        assert_true(n->dp.epoch >= reply.epoch); /* sealed before it granted */
        if (n->voted_epoch == reply.epoch)
            assert_int_equal(n->voted_for, h.to);
        n->voted_epoch = reply.epoch;
        n->voted_for = h.to;
    }
}

static void on_peer_send(void *user, uint16_t to, const void *bytes, size_t size)
{
    uint16_t from = node_of(user);

    watch(from, bytes);
    if (!link_up[from][to])
        return;
    struct event *e = push(the_world->link_ns != 0 ? the_world->link_ns : LINK_NS, PEER, to);
    e->from = from;
    e->life = link_life[from][to];
    memcpy(e->bytes, bytes, size);
    e->size = size;
}

static void on_peers(void *user, const struct ls_membership *members)
{
    uint16_t self = node_of(user);
    struct node *n = &the_world->node[self];
    uint64_t before = n->wanted;

    n->wanted = 0;
    for (uint32_t i = 0; i < members->count; i++)
        n->wanted |= 1ull << members->member[i].node;
    for (uint16_t other = 1; other < NODES && the_world->links_wanted; other++)
        if (((before ^ n->wanted) >> other & 1) != 0)
            world_link(the_world, self, other, (n->wanted >> other & 1) != 0);
}

static void on_checkpoint_get(void *user, uint64_t from, uint64_t position)
{
    struct event *e = push(3 * MS, CHECKPOINT, node_of(user));

    assert_true(from != 0);
    e->position = position;
    e->life = from;
}

static void on_recover(void *user)
{
    struct node *n = &the_world->node[node_of(user)];
    struct event *e = push(3 * MS, RECOVERED, node_of(user));

    assert_true(n->disk.recovers);
    n->recovers++;
    e->life = n->life;
    e->position = n->dp.incarnation;
}

static void on_command_done(void *user, uint64_t token, int error, const char *text)
{
    struct world *w = the_world;

    (void)user;
    w->done_count++;
    w->done_token = token;
    w->done_error = error;
    snprintf(w->done_text, sizeof(w->done_text), "%s", text);
    if (w->trace)
        printf("%8.3f      done %d: %s\n", (double)w->now / 1e6, error, text);
}

static void on_say(void *user, enum ls_ctrl_level level, const char *text)
{
    struct node *n = &the_world->node[node_of(user)];
    size_t used = strlen(n->said);

    if (the_world->trace)
        printf("%8.3f %u %s %s\n", (double)the_world->now / 1e6, node_of(user), level == LS_CTRL_ALARM ? "!" : " ",
               text);
    if (used + strlen(text) + 2 >= sizeof(n->said))
        used = 0;
    snprintf(n->said + used, sizeof(n->said) - used, "%s\n", text);
}

/* ---- links ---- */

void world_link(struct world *w, uint16_t a, uint16_t b, bool up)
{
    bool wanted = !w->links_wanted || ((w->node[a].wanted >> b & 1) != 0 && (w->node[b].wanted >> a & 1) != 0);
    bool can = up && wanted && !w->link_cut[a][b] && w->node[a].ctrl != NULL && w->node[b].ctrl != NULL;

    if (link_up[a][b] == can)
        return;
    link_up[a][b] = link_up[b][a] = can;
    link_life[a][b] = ++link_life[b][a];
    struct event *e = push(LINK_NS, can ? LINK_UP : LINK_DOWN, a);
    e->from = b;
    e->life = w->node[a].life;
    e = push(LINK_NS, can ? LINK_UP : LINK_DOWN, b);
    e->from = a;
    e->life = w->node[b].life;
}

static void links_all(struct world *w, uint16_t node, bool up)
{
    for (uint16_t other = 1; other < NODES; other++)
        if (other != node)
            world_link(w, node, other, up);
}

/* ---- life ---- */

void world_member(struct ls_member *m, uint16_t node, enum ls_member_role role)
{
    *m = (struct ls_member){.node = node,
                            .role = role,
                            .addr = {.ip = 0x0a000000u + node, .port = 7400},
                            .ctrl = {.ip = 0x0a010000u + node, .port = 7401}};
}

void world_record(struct world *w, uint16_t node, bool founder)
{
    w->node[node].disk =
        (struct ls_durable){.cluster = 7, .generation = 1, .node = node, .founder = founder, .members = w->founders};
}

void world_begin(struct world *w, uint16_t nodes, uint16_t voters)
{
    memset(w, 0, sizeof(*w));
    the_world = w;
    queue = calloc(EVENTS, sizeof(*queue));
    assert_non_null(queue);
    queued = 0;
    order = 0;
    memset(link_up, 0, sizeof(link_up));
    w->now = 1000 * MS;
    w->trace = getenv("TRACE") != NULL;
    for (uint16_t node = 1; node <= voters; node++)
        world_member(&w->founders.member[w->founders.count++], node, LS_MEMBER_VOTER);
    for (uint16_t node = 1; node <= nodes; node++) {
        w->node[node].exists = true;
        world_record(w, node, node <= voters);
    }
}

void world_start(struct world *w, uint16_t node, bool alive)
{
    struct node *n = &w->node[node];
    uint64_t clock = CLOCK_NS + w->now;
    struct ls_ctrl_config config = {.cluster = 7,
                                    .generation = 1,
                                    .node = node,
                                    .durability = n->journal ? LS_DURABLE_JOURNAL : LS_DURABLE_MEMORY,
                                    .first_sequencer = 1,
                                    .founders = w->founders,
                                    .clock_ns = clock - n->clock_back_ns,
                                    .seed = node};
    struct ls_ctrl_io io = {.user = (void *)(uintptr_t)node,
                            .persist = on_persist,
                            .spawn = on_spawn,
                            .kill = on_kill,
                            .dataplane_send = on_dataplane_send,
                            .peer_send = on_peer_send,
                            .peers = on_peers,
                            .checkpoint_get = on_checkpoint_get,
                            .recover = on_recover,
                            .command_done = on_command_done,
                            .say = on_say};

    n->life++;
    n->wanted = 0;
    n->ctrl = ls_ctrl_create(&config, &io);
    assert_non_null(n->ctrl);
    n->observe_due_ns = w->now + MS;
    ls_ctrl_start(n->ctrl, &n->disk, alive, w->now);
    if (alive) {
        struct event *e = push(LOCAL_NS, READY, node);
        e->life = n->dp.incarnation;
    }
    links_all(w, node, true);
}

void world_stop_ctrl(struct world *w, uint16_t node)
{
    struct node *n = &w->node[node];

    if (n->ctrl == NULL)
        return;
    ls_ctrl_destroy(n->ctrl);
    n->ctrl = NULL;
    n->life++;
    n->dp.linked = false;
    links_all(w, node, false);
}

void world_kill_dataplane(struct world *w, uint16_t node)
{
    struct node *n = &w->node[node];

    if (!n->dp.running)
        return;
    n->dp.running = n->dp.linked = n->dp.ready = false;
    struct event *e = push(n->down_ns != 0 ? n->down_ns : LOCAL_NS, DOWN, node);
    e->life = n->life;
}

void world_crash(struct world *w, uint16_t node)
{
    world_stop_ctrl(w, node);
    w->node[node].dp.running = w->node[node].dp.ready = false;
}

void world_end(struct world *w)
{
    for (uint16_t node = 1; node < NODES; node++)
        world_crash(w, node);
    free(queue);
    queue = NULL;
}

void world_isolate(struct world *w, uint16_t node, bool links, bool data, bool cut)
{
    for (uint16_t other = 1; other < NODES; other++) {
        if (other == node)
            continue;
        if (data)
            w->data_cut[node][other] = w->data_cut[other][node] = cut;
        if (links) {
            w->link_cut[node][other] = w->link_cut[other][node] = cut;
            world_link(w, node, other, !cut);
        }
    }
}

/* ---- events ---- */

static void persisted(struct world *w, struct event *e)
{
    struct node *n = &w->node[e->node];

    if (e->life != n->life)
        return; /* its ctrl died before it was written */
    if (e->ok) {
        assert_true(e->durable.promise >= n->disk.promise);         /* E1 */
        assert_true(e->durable.incarnation >= n->disk.incarnation); /* O3 */
        if (e->durable.promise == n->disk.promise && n->disk.vote != 0)
            assert_int_equal(e->durable.vote, n->disk.vote); /* E4 */
        n->disk = e->durable;
    }
    if (n->crash_on_persist) {
        n->crash_on_persist = false;
        world_crash(w, e->node);
        return;
    }
    if (n->ctrl != NULL)
        ls_ctrl_persisted(n->ctrl, e->ok, w->now);
}

/* What the operator chose is in the dataplane now; unless it is damaged, or the dataplane is gone. */
static void recovered(struct world *w, const struct event *e)
{
    struct node *n = &w->node[e->node];
    bool there = n->dp.running && n->dp.incarnation == e->position;

    if (n->ctrl == NULL || n->life != e->life)
        return;
    if (there && !n->recover_fails)
        world_dataplane_recover(w, e->node, n->recover_entries);
    if (there && n->recover_fails)
        ls_ctrl_checkpoint_done(n->ctrl, EBADMSG, "damaged", w->now);
    else
        ls_ctrl_checkpoint_done(n->ctrl, there ? 0 : EIO, there ? "" : "the dataplane has ended", w->now);
}

static void checkpoint(struct world *w, struct event *e)
{
    struct node *n = &w->node[e->node];
    bool ok = false;

    for (uint16_t from = 1; from < NODES && !n->checkpoint_fails; from++)
        if ((e->life & (1ull << from)) && w->node[from].dp.running && w->node[from].dp.commit * STEP >= e->position &&
            !ok)
            ok = world_dataplane_rebase(w, e->node, from);
    n->checkpoints += ok;
    if (n->ctrl != NULL)
        ls_ctrl_checkpoint_done(n->ctrl, ok ? 0 : 5, ok ? "" : "the transfer broke", w->now);
}

static void happen(struct world *w, struct event *e)
{
    struct node *n = &w->node[e->node];
    struct ls_control_header h;

    switch (e->what) {
    case PERSISTED:
        persisted(w, e);
        break;
    case READY:
        if (n->ctrl == NULL || !n->dp.running || n->dp.incarnation != e->life)
            break;
        n->dp.linked = n->dp.ready = true;
        struct ls_control_ready ready = {
            .incarnation = n->dp.incarnation, .promise = n->dp.epoch, .pid = 1, .resumed = n->dp.resumed};
        ls_ctrl_dataplane_up(n->ctrl, &ready, w->now);
        world_dataplane_hello(w, e->node);
        break;
    case DOWN:
        if (n->ctrl != NULL && e->life == n->life)
            ls_ctrl_dataplane_down(n->ctrl, "killed", w->now);
        break;
    case TO_CTRL:
        if (n->ctrl == NULL || e->life != n->life || !n->dp.linked)
            break;
        memcpy(&h, e->bytes, sizeof(h));
        ls_ctrl_dataplane_message(n->ctrl, &h, e->bytes + sizeof(h), w->now);
        break;
    case TO_DATAPLANE:
        memcpy(&h, e->bytes, sizeof(h));
        if (n->dp.running && n->dp.ready && n->dp.incarnation == e->life && !n->dp.hung)
            world_dataplane_order(w, e->node, &h, e->bytes + sizeof(h));
        break;
    case PEER:
        if (n->ctrl == NULL || !link_up[e->from][e->node] || e->life != link_life[e->from][e->node])
            break;
        const char *refused = ls_ctrl_peer_message(n->ctrl, e->from, e->bytes, e->size, w->now);
        if (refused != NULL) {
            on_say((void *)(uintptr_t)e->node, LS_CTRL_WARN, refused);
            world_link(w, e->from, e->node, false);
        }
        break;
    case LINK_UP:
    case LINK_DOWN:
        if (n->ctrl == NULL || e->life != n->life)
            break;
        if (e->what == LINK_UP)
            ls_ctrl_peer_up(n->ctrl, e->from, w->now);
        else
            ls_ctrl_peer_down(n->ctrl, e->from, w->now);
        break;
    case CHECKPOINT:
        checkpoint(w, e);
        break;
    case RECOVERED:
        recovered(w, e);
        break;
    }
}

static int next_event(void)
{
    int best = -1;

    for (uint32_t i = 0; i < queued; i++)
        if (best < 0 || queue[i].at < queue[best].at ||
            (queue[i].at == queue[best].at && queue[i].order < queue[best].order))
            best = (int)i;
    return best;
}

static void observe(struct world *w, uint16_t node)
{
    struct node *n = &w->node[node];
    struct ls_ctrl_sample sample;

    if (n->ctrl == NULL || n->late)
        return;
    world_dataplane_sample(w, node, &sample);
    if (n->dp.running && n->dp.ready)
        ls_ctrl_observe(n->ctrl, &sample, w->now);
    else
        ls_ctrl_turn(n->ctrl, w->now);
}

void world_run(struct world *w, uint64_t ns)
{
    uint64_t end = w->now + ns;

    for (;;) {
        int i = next_event();
        uint64_t at = (w->now / MS + 1) * MS; /* the next tick: data network, samples */
        uint16_t turn = 0;

        for (uint16_t node = 1; node < NODES; node++) {
            uint64_t want =
                w->node[node].ctrl != NULL && !w->node[node].late ? ls_ctrl_next_ns(w->node[node].ctrl) : UINT64_MAX;
            if (want <= w->now)
                want = w->now + 1000;
            if (want < at) {
                at = want;
                turn = node;
            }
        }
        if (i >= 0 && queue[i].at <= at) {
            struct event e = queue[i];

            if (e.at > end)
                break;
            queue[i] = queue[--queued];
            if (e.at > w->now)
                w->now = e.at;
            happen(w, &e);
            continue;
        }
        if (at > end)
            break;
        w->now = at;
        if (turn != 0) {
            ls_ctrl_turn(w->node[turn].ctrl, w->now);
            assert_true(ls_ctrl_next_ns(w->node[turn].ctrl) > w->now); /* it would spin */
            continue;
        }
        world_dataplanes_tick(w);
        for (uint16_t node = 1; node < NODES; node++)
            observe(w, node);
    }
    w->now = end;
}

uint16_t world_sequencer(const struct world *w)
{
    uint16_t found = 0;
    uint64_t epoch = 0;

    for (uint16_t node = 1; node < NODES; node++) {
        const struct dataplane *dp = &w->node[node].dp;
        if (dp->running && dp->role == LS_ROLE_SEQUENCER && dp->epoch > epoch) {
            found = node;
            epoch = dp->epoch;
        }
    }
    return found;
}

struct ls_ctrl_view world_view(struct world *w, uint16_t node)
{
    struct ls_ctrl_view view;

    ls_ctrl_view(w->node[node].ctrl, &view, w->now);
    return view;
}

bool world_settle(struct world *w, uint32_t full, uint64_t ns)
{
    uint64_t end = w->now + ns;

    while (w->now < end) {
        uint32_t n = 0;
        uint16_t sequencer = world_sequencer(w);
        uint64_t epoch = sequencer != 0 ? w->node[sequencer].dp.epoch : 0;

        for (uint16_t node = 1; node < NODES; node++)
            n += w->node[node].ctrl != NULL && world_view(w, node).phase == LS_CTRL_FULL &&
                 w->node[node].dp.epoch == epoch && w->node[node].dp.role != LS_ROLE_SEALED;
        if (sequencer != 0 && n >= full)
            return true;
        world_run(w, MS);
    }
    return false;
}

void world_command(struct world *w, uint16_t at, enum ls_ctrl_command_kind kind, uint16_t node, uint16_t member,
                   bool promote, uint64_t token)
{
    struct ls_ctrl_command command = {.kind = kind, .node = node, .promote = promote};

    if (member != 0)
        world_member(&command.member, member, LS_MEMBER_LEARNER);
    ls_ctrl_command(w->node[at].ctrl, &command, token, w->now);
}
