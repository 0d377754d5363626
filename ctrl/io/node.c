/* SPDX-License-Identifier: BSD-3-Clause */
/* Tells the brain what happened, and when. See node.h. ctrl's one thread. */
#include "node.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "../../dataplane/workers/clock.h"
#include "sample.h"
#include "times.h"

#define MS_NS         1000000ull
#define FAREWELL_US   20000 /* for the last words to the other nodes to leave */
#define SECOND_SAMPLE 1

bool ls_node_lock(struct ls_node *node)
{
    char path[LS_CONFIG_PATH_MAX + 32], pid[32] = "";
    ssize_t length;

    snprintf(path, sizeof(path), "%s/ctrl.lock", node->self->data_dir);
    node->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (node->lock_fd < 0) {
        fprintf(stderr, "lockstep-ctrl: %s cannot be opened: %s (mkdir -p %s)\n", path, strerror(errno),
                node->self->data_dir);
        return false;
    }
    if (flock(node->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        length = read(node->lock_fd, pid, sizeof(pid) - 1);
        pid[length > 0 ? length : 0] = '\0';
        pid[strcspn(pid, "\n")] = '\0';
        close(node->lock_fd);
        node->lock_fd = -1;
        fprintf(stderr, "lockstep-ctrl: node %u: another lockstep-ctrl of it runs (pid %s holds %s)\n", node->self->id,
                pid, path);
        return false;
    }
    snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
    if (ftruncate(node->lock_fd, 0) == 0 && write(node->lock_fd, pid, strlen(pid)) == (ssize_t)strlen(pid))
        return true;
    fprintf(stderr, "lockstep-ctrl: %s cannot be written: %s\n", path, strerror(errno));
    return false;
}

void ls_node_settle(struct ls_node *node)
{
    if (node->begun)
        ls_timer_set(&node->turn, ls_ctrl_next_ns(node->ctrl));
}

/* ---- questions of our own ---- */

static bool ask(struct ls_node *node, enum ls_control_type type, const void *body, size_t size, uint64_t until_ns,
                ls_ask_answer answer, void *user)
{
    uint64_t id = ls_asks_add(&node->asks, until_ns, answer, user);

    if (id == 0)
        return false;
    if (ls_dataplane_send(&node->dataplane, type, id, body, size))
        return true;
    ls_asks_drop(&node->asks, id);
    return false;
}

bool ls_node_ask(struct ls_node *node, enum ls_control_type type, const void *body, size_t size, ls_ask_answer answer,
                 void *user)
{
    return ask(node, type, body, size, ls_now_ns() + node->ask_ms * MS_NS, answer, user);
}

bool ls_node_ask_long(struct ls_node *node, enum ls_control_type type, const void *body, size_t size,
                      ls_ask_answer answer, void *user)
{
    return ask(node, type, body, size, UINT64_MAX, answer, user);
}

/* ---- the dataplane ---- */

static void brain_start(struct ls_node *node, bool alive)
{
    node->begun = true;
    ls_ctrl_start(node->ctrl, &node->record.durable, alive, ls_now_ns());
}

static void ready_take(struct ls_node *node, const uint8_t *body)
{
    struct ls_control_ready ready;

    memcpy(&ready, body, sizeof(ready));
    ls_problems_say(&node->problems, LS_CTRL_INFO, "dataplane pid %" PRIu64 ", incarnation %" PRIu64 " is %s",
                    (uint64_t)ready.pid, (uint64_t)ready.incarnation,
                    !node->begun                ? "taken over"
                    : node->dataplane.links > 1 ? "linked again"
                                                : "ready");
    if (node->dataplane.links > 1) /* its answers went with the link before */
        ls_asks_give_up(&node->asks, UINT64_MAX, "the link to the dataplane broke");
    if (!node->begun)
        brain_start(node, true);
    ls_ctrl_dataplane_up(node->ctrl, &ready, ls_now_ns());
}

static void progress_take(struct ls_node *node, const uint8_t *body)
{
    struct ls_control_checkpoint progress;

    memcpy(&progress, body, sizeof(progress));
    ls_keeper_progress(node->keeper, &progress);
}

static void on_message(void *argument, const struct ls_control_header *header, const uint8_t *body)
{
    struct ls_node *node = argument;

    if (header->type == LS_CONTROL_READY)
        ready_take(node, body);
    else if (header->type == LS_CONTROL_PROGRESS)
        progress_take(node, body);
    else if (header->id == 0 || (header->id & LS_CTRL_ID) != 0)
        ls_ctrl_dataplane_message(node->ctrl, header, body, ls_now_ns());
    else
        ls_asks_answer(&node->asks, header, body);
    ls_node_settle(node);
}

static void on_farewell(evutil_socket_t fd, short what, void *argument)
{
    struct ls_node *node = argument;

    (void)fd;
    (void)what;
    event_base_loopbreak(node->base);
}

/* The dataplane has ended as it should: the others are told, and this process ends. */
static void farewell(struct ls_node *node)
{
    struct timeval time = {.tv_usec = FAREWELL_US};

    node->stop = LS_NODE_STOPPED;
    (void)event_del(node->stop_timer);
    if (event_base_once(node->base, -1, EV_TIMEOUT, on_farewell, node, &time) != 0)
        event_base_loopbreak(node->base);
}

static void on_death(void *argument, const char *how)
{
    struct ls_node *node = argument;

    ls_problems_say(&node->problems, node->stop == LS_NODE_STOPPING ? LS_CTRL_INFO : LS_CTRL_WARN, "dataplane %s", how);
    ls_asks_give_up(&node->asks, UINT64_MAX, "the dataplane has ended");
    if (!node->begun)
        brain_start(node, false);
    else
        ls_ctrl_dataplane_down(node->ctrl, how, ls_now_ns());
    ls_node_settle(node);
    if (node->stop == LS_NODE_STOPPING)
        farewell(node);
}

static void on_trouble(void *argument, const char *text)
{
    struct ls_node *node = argument;

    ls_problems_say(&node->problems, LS_CTRL_WARN, "%s", text);
}

static void on_persisted(evutil_socket_t fd, short what, void *argument)
{
    struct ls_node *node = argument;

    (void)fd;
    (void)what;
    ls_ctrl_persisted(node->ctrl, node->persist_ok, ls_now_ns());
    ls_node_settle(node);
}

static void on_unspawned(evutil_socket_t fd, short what, void *argument)
{
    struct ls_node *node = argument;

    (void)fd;
    (void)what;
    ls_ctrl_dataplane_down(node->ctrl, node->unspawned, ls_now_ns());
    ls_node_settle(node);
}

/* ---- the other nodes' ctrls ---- */

static void on_peer_up(void *argument, uint16_t peer)
{
    struct ls_node *node = argument;

    if (!node->begun)
        return;
    ls_ctrl_peer_up(node->ctrl, peer, ls_now_ns());
    ls_node_settle(node);
}

static void on_peer_down(void *argument, uint16_t peer, const char *why)
{
    struct ls_node *node = argument;

    ls_problems_say(&node->problems, LS_CTRL_INFO, "link to node %u: %s", peer, why);
    ls_ctrl_peer_down(node->ctrl, peer, ls_now_ns());
    ls_node_settle(node);
}

static const char *on_peer_message(void *argument, uint16_t peer, const uint8_t *bytes, size_t size)
{
    struct ls_node *node = argument;
    const char *refused = ls_ctrl_peer_message(node->ctrl, peer, bytes, size, ls_now_ns());

    ls_node_settle(node);
    return refused;
}

static void on_peers_say(void *argument, const char *text)
{
    struct ls_node *node = argument;

    ls_problems_say(&node->problems, LS_CTRL_INFO, "%s", text);
}

static void on_peer_bulk(void *argument, struct bufferevent *connection, uint16_t peer)
{
    struct ls_node *node = argument;

    ls_keeper_accept(node->keeper, connection, peer);
}

static bool peers_make(struct ls_node *node)
{
    struct ls_peers_io io = {.user = node,
                             .up = on_peer_up,
                             .down = on_peer_down,
                             .message = on_peer_message,
                             .bulk = on_peer_bulk,
                             .say = on_peers_say};
    char error[LS_PROBLEM_TEXT];

    if (node->self->ctrl.port == 0)
        return true; /* the only node of its cluster */
    node->peers =
        ls_peers_create(node->base, node->config->cluster, node->self->id, node->self->ctrl, &io, error, sizeof(error));
    if (node->peers == NULL)
        ls_problems_say(&node->problems, LS_CTRL_ALARM, "%s", error);
    return node->peers != NULL;
}

/* ---- time ---- */

static void on_poll(void *argument)
{
    struct ls_node *node = argument;
    struct ls_ctrl_sample sample;
    uint64_t now = ls_now_ns();

    if (node->polled_ns != 0 && now - node->polled_ns > node->longest_poll_ns)
        node->longest_poll_ns = now - node->polled_ns;
    node->polled_ns = now;
    if (!node->begun || !node->dataplane.process.alive || node->dataplane.page == NULL)
        return;
    if (node->stop == LS_NODE_GOES_ON && ls_process_is_ending(&node->dataplane.process)) {
        ls_ctrl_dataplane_ending(node->ctrl, now);
        ls_node_settle(node);
        return;
    }
    ls_sample_read(&sample, node->dataplane.page, node->config->idle == LS_IDLE_SLEEP, now);
    ls_ctrl_observe(node->ctrl, &sample, now);
    ls_node_settle(node);
}

static void on_turn(void *argument)
{
    struct ls_node *node = argument;

    if (!node->begun)
        return;
    ls_ctrl_turn(node->ctrl, ls_now_ns());
    ls_node_settle(node);
}

static void busy_sample(struct ls_node *node)
{
    const struct ls_counters_page *page = node->dataplane.page;

    for (int i = 0; i < LS_WORKERS && page != NULL; i++) {
        uint64_t busy = atomic_load_explicit(&page->worker[i].busy_ns, memory_order_relaxed);
        uint64_t total = atomic_load_explicit(&page->worker[i].total_ns, memory_order_relaxed);

        if (total > node->total_ns[i] && busy >= node->busy_ns[i])
            node->busy[i] = (double)(busy - node->busy_ns[i]) / (double)(total - node->total_ns[i]);
        else
            node->busy[i] = 0;
        node->busy_ns[i] = busy;
        node->total_ns[i] = total;
    }
}

/* Two machines under one address take each other's traffic: nothing breaks that the protocol does not mend, and nobody
 * would know why it is slow. */
static void address_check(struct ls_node *node)
{
    const struct ls_counters_page *page = node->dataplane.page;
    char text[INET_ADDRSTRLEN];
    struct in_addr address = {.s_addr = htonl(node->self->ip)};
    uint64_t conflicts;

    if (page == NULL)
        return;
    conflicts = ls_counter_get(&page->worker[LS_WORKER_NET].counters, LS_COUNT_arp_conflicts);
    if (conflicts > node->conflicts)
        ls_problems_say(&node->problems, LS_CTRL_ALARM,
                        "another machine says that it has this node's address %s: two nodes run as node %u, or the "
                        "address is given twice. End one of them (arping %s shows their MAC addresses)",
                        inet_ntop(AF_INET, &address, text, sizeof(text)), node->self->id, text);
    node->conflicts = conflicts;
}

static void on_second(evutil_socket_t fd, short what, void *argument)
{
    struct ls_node *node = argument;

    (void)fd;
    (void)what;
    busy_sample(node);
    address_check(node);
    ls_keeper_second(node->keeper, ls_now_ns());
    ls_asks_give_up(&node->asks, ls_now_ns(), "the dataplane does not answer");
    node->longest_poll_ns = 0;
}

/* ---- begin and end ---- */

static bool brain_make(struct ls_node *node)
{
    struct ls_ctrl_config config = {.cluster = node->config->cluster,
                                    .generation = node->record.durable.generation,
                                    .node = node->self->id,
                                    .first_sequencer = node->config->first_sequencer,
                                    .durability = node->config->durability,
                                    .times = node->times};
    struct ls_ctrl_io io;
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    config.clock_ns = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    if (getrandom(&config.seed, sizeof(config.seed), 0) != sizeof(config.seed))
        config.seed = config.clock_ns ^ node->self->id;
    ls_config_membership(node->config, &config.founders);
    ls_effects_make(node, &io);
    node->ctrl = ls_ctrl_create(&config, &io);
    return node->ctrl != NULL;
}

static void on_stop_late(evutil_socket_t fd, short what, void *argument);

/* Everything that can fail for want of memory or descriptors. */
static bool parts_make(struct ls_node *node)
{
    struct timeval second = {.tv_sec = SECOND_SAMPLE};
    struct ls_dataplane *dataplane = &node->dataplane;

    *dataplane = (struct ls_dataplane){.base = node->base,
                                       .on_message = on_message,
                                       .on_death = on_death,
                                       .on_trouble = on_trouble,
                                       .user = node,
                                       .data_dir = node->self->data_dir,
                                       .cluster = node->config->cluster,
                                       .node = node->self->id,
                                       .ready_ms = node->ready_ms,
                                       .adopt_ms = node->adopt_ms};
    if (!ls_dataplane_init(dataplane) || !ls_timer_init(&node->poll, node->base, on_poll, node) ||
        !ls_timer_init(&node->turn, node->base, on_turn, node) || !brain_make(node))
        return false;
    node->persisted_event = event_new(node->base, -1, 0, on_persisted, node);
    node->unspawned_event = event_new(node->base, -1, 0, on_unspawned, node);
    node->stop_timer = evtimer_new(node->base, on_stop_late, node);
    node->second = event_new(node->base, -1, EV_PERSIST, on_second, node);
    return node->persisted_event != NULL && node->unspawned_event != NULL && node->stop_timer != NULL &&
           node->second != NULL && event_add(node->second, &second) == 0;
}

static void defaults_take(struct ls_node *node)
{
    if (node->times.poll == 0)
        ls_times_of(node->config, &node->times);
    if (node->ready_ms == 0 && node->config->durability != LS_DURABLE_MEMORY)
        node->ready_ms = LS_NODE_RESTART_MS;
    if (node->stop_ms == 0)
        node->stop_ms = LS_NODE_STOP_MS;
    if (node->ask_ms == 0)
        node->ask_ms = LS_NODE_ASK_MS;
    node->start_ns = ls_now_ns();
    node->problems.node = node->self->id;
}

bool ls_node_start(struct ls_node *node)
{
    char error[LS_RECORD_ERROR_MAX];
    int found;

    defaults_take(node);
    if (ls_record_open(&node->record, node->self->data_dir, node->config->cluster, node->self->id, error) != 0) {
        ls_problems_say(&node->problems, LS_CTRL_ALARM, "%s", error);
        return false;
    }
    if (!parts_make(node)) {
        ls_problems_say(&node->problems, LS_CTRL_ALARM, "no memory or descriptors for the event loop: %s",
                        strerror(errno));
        return false;
    }
    node->keeper = ls_keeper_create(node, error);
    if (node->keeper == NULL) {
        ls_problems_say(&node->problems, LS_CTRL_ALARM, "%s", error);
        return false;
    }
    if (!peers_make(node))
        return false;
    found = ls_dataplane_adopt(&node->dataplane, error, sizeof(error));
    if (found < 0) {
        ls_problems_say(&node->problems, LS_CTRL_ALARM, "%s", error);
        return false;
    }
    ls_timer_every(&node->poll, node->times.poll);
    if (found == 0)
        brain_start(node, false);
    ls_node_settle(node);
    return true;
}

static void dataplane_stop(struct ls_node *node)
{
    struct timeval patience = {.tv_sec = node->stop_ms / 1000, .tv_usec = (suseconds_t)(node->stop_ms % 1000 * 1000)};

    if (node->stop >= LS_NODE_STOPPING)
        return;
    node->stop = LS_NODE_STOPPING;
    if (!node->dataplane.process.alive) {
        farewell(node);
        return;
    }
    if (!ls_dataplane_send(&node->dataplane, LS_CONTROL_STOP, ++node->asks.last, NULL, 0))
        ls_dataplane_kill(&node->dataplane, SIGTERM);
    if (evtimer_add(node->stop_timer, &patience) != 0)
        ls_dataplane_kill(&node->dataplane, SIGKILL);
}

static void on_stop_late(evutil_socket_t fd, short what, void *argument)
{
    struct ls_node *node = argument;

    (void)fd;
    (void)what;
    if (node->stop == LS_NODE_MOVING) {
        ls_problems_say(&node->problems, LS_CTRL_WARN, "no other node took over within %d ms: stopping all the same",
                        LS_NODE_MOVE_MS);
        dataplane_stop(node);
        return;
    }
    ls_problems_say(&node->problems, LS_CTRL_WARN, "the dataplane has not ended within %u ms: killed", node->stop_ms);
    ls_dataplane_kill(&node->dataplane, SIGKILL);
}

static void on_moved(void *user, int error, const char *text)
{
    struct ls_node *node = user;

    if (node->stop != LS_NODE_MOVING)
        return;
    if (error != 0)
        ls_problems_say(&node->problems, LS_CTRL_WARN, "the sequencer's role was not handed on: %s", text);
    dataplane_stop(node);
}

/* The best voter to take over from this node, were it sequencer; 0: none, or it is not. */
static uint16_t successor(const struct ls_node *node)
{
    const struct ls_ctrl_peer_view *best = NULL;
    static struct ls_ctrl_view view;

    ls_node_view(node, &view);
    if (!node->begun || view.phase != LS_CTRL_FULL || view.sequencer != node->self->id)
        return 0;
    for (uint32_t i = 0; i < view.peers; i++) {
        const struct ls_ctrl_peer_view *peer = &view.peer[i];

        if (peer->linked && peer->alive && !peer->stalled && peer->counts &&
            ls_membership_is_voter(&view.members, peer->node) && (best == NULL || peer->last > best->last))
            best = peer;
    }
    return best != NULL ? best->node : 0;
}

void ls_node_stop(struct ls_node *node)
{
    struct ls_ctrl_command move = {.kind = LS_COMMAND_SEQUENCER_MOVE};
    struct timeval patience = {.tv_usec = LS_NODE_MOVE_MS * 1000};

    if (node->stop != LS_NODE_GOES_ON)
        return;
    node->stop = LS_NODE_MOVING;
    move.node = successor(node);
    if (move.node == 0 || evtimer_add(node->stop_timer, &patience) != 0 ||
        !ls_node_command(node, &move, on_moved, node))
        dataplane_stop(node);
}

static void event_drop(struct event **event)
{
    if (*event != NULL)
        event_free(*event);
    *event = NULL;
}

/* Whoever waits for an answer gets one. */
static void commands_end(struct ls_node *node)
{
    for (int i = 0; i < LS_NODE_COMMANDS_MAX; i++)
        if (node->command[i].token != 0) {
            node->command[i].token = 0;
            node->command[i].done(node->command[i].user, ECANCELED,
                                  "this lockstep-ctrl ends: what was begun may still happen, see status");
        }
}

void ls_node_free(struct ls_node *node)
{
    commands_end(node);
    ls_asks_give_up(&node->asks, UINT64_MAX, "this lockstep-ctrl ends");
    if (node->keeper != NULL)
        ls_keeper_free(node->keeper);
    node->keeper = NULL;
    if (node->peers != NULL)
        ls_peers_free(node->peers);
    node->peers = NULL;
    ls_timer_free(&node->poll);
    ls_timer_free(&node->turn);
    event_drop(&node->second);
    event_drop(&node->persisted_event);
    event_drop(&node->unspawned_event);
    event_drop(&node->stop_timer);
    if (node->dataplane.base != NULL)
        ls_dataplane_free(&node->dataplane);
    if (node->ctrl != NULL)
        ls_ctrl_destroy(node->ctrl);
    node->ctrl = NULL;
    ls_record_close(&node->record);
}

/* ---- for operators ---- */

void ls_node_view(const struct ls_node *node, struct ls_ctrl_view *view)
{
    if (node->begun) {
        ls_ctrl_view(node->ctrl, view, ls_now_ns());
        return;
    }
    memset(view, 0, sizeof(*view));
    view->phase = LS_CTRL_STARTING;
    view->durable = node->record.durable;
    view->members = node->record.durable.members;
}

bool ls_node_command(struct ls_node *node, const struct ls_ctrl_command *command, ls_node_commanded done, void *user)
{
    for (int i = 0; i < LS_NODE_COMMANDS_MAX && node->begun; i++) {
        if (node->command[i].token != 0)
            continue;
        node->command[i] = (struct ls_node_command){.token = ++node->tokens, .done = done, .user = user};
        ls_ctrl_command(node->ctrl, command, node->tokens, ls_now_ns());
        ls_node_settle(node);
        return true;
    }
    return false;
}

const char *ls_node_problem(const struct ls_node *node)
{
    const struct ls_problem *newest = ls_problems_get(&node->problems, 0);

    return newest != NULL ? newest->text : "";
}
