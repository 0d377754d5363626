/* SPDX-License-Identifier: BSD-3-Clause */
/* Does what ctrl/core decides, and tells it what happened. See node.h. ctrl's one thread. */
#include "node.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "../../dataplane/workers/clock.h"

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    va_list list;

    fprintf(stderr, "lockstep-ctrl: ");
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
}

/* Said, and kept for status. */
static void trouble(struct ls_node *node, const char *text)
{
    if (node->problem != text)
        snprintf(node->problem, sizeof(node->problem), "%s", text);
    say("node %u: %s", node->self->id, text);
}

/* 1: taken, 0: somebody has it (the pid it wrote is in `pid`), -errno. */
static int lock_try(const char *path, int *fd, char *pid, size_t room)
{
    ssize_t length;

    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (*fd < 0)
        return -errno;
    if (flock(*fd, LOCK_EX | LOCK_NB) == 0)
        return 1;
    length = read(*fd, pid, room - 1);
    pid[length > 0 ? length : 0] = '\0';
    pid[strcspn(pid, "\n")] = '\0';
    close(*fd);
    *fd = -1;
    return 0;
}

bool ls_node_lock(struct ls_node *node)
{
    char path[LS_CONFIG_PATH_MAX + 32], pid[32] = "";
    int taken;

    snprintf(path, sizeof(path), "%s/ctrl.lock", node->self->data_dir);
    taken = lock_try(path, &node->lock_fd, pid, sizeof(pid));
    if (taken < 0) {
        say("%s cannot be opened: %s (mkdir -p %s)", path, strerror(-taken), node->self->data_dir);
        return false;
    }
    if (taken == 0) {
        say("node %u: another lockstep-ctrl of it runs (pid %s holds %s)", node->self->id, pid, path);
        return false;
    }
    snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
    if (ftruncate(node->lock_fd, 0) != 0 || write(node->lock_fd, pid, strlen(pid)) != (ssize_t)strlen(pid)) {
        say("%s cannot be written: %s", path, strerror(errno));
        return false;
    }
    return true;
}

/* A dataplane whose ctrl has gone serves on, and holds its lock. */
static bool orphan_find(struct ls_node *node)
{
    char path[LS_CONFIG_PATH_MAX + 32], pid[32] = "";
    int fd, taken;

    snprintf(path, sizeof(path), "%s/dataplane.lock", node->self->data_dir);
    taken = lock_try(path, &fd, pid, sizeof(pid));
    if (taken == 1)
        close(fd);
    if (taken != 0)
        return false;
    say("node %u: its dataplane (pid %s) still serves although the lockstep-ctrl that started it has gone. This "
        "version cannot take it over again. It may be left to serve; kill -TERM %s ends it in order, after which this "
        "node needs to rejoin",
        node->self->id, pid, pid);
    return true;
}

static void actions_run(struct ls_node *node);

bool ls_node_ask(struct ls_node *node, enum ls_control_type type, const void *body, size_t size, ls_node_answer answer,
                 void *user)
{
    struct ls_node_ask *ask = NULL;
    uint64_t id;

    for (int i = 0; i < LS_NODE_ASKS_MAX && ask == NULL; i++)
        if (node->ask[i].id == 0)
            ask = &node->ask[i];
    if (ask == NULL)
        return false;
    id = ls_dataplane_ask(&node->dataplane, type, body, size);
    if (id == 0)
        return false;
    *ask = (struct ls_node_ask){.id = id, .asked_ns = ls_now_ns(), .answer = answer, .user = user};
    return true;
}

static void asks_give_up(struct ls_node *node, uint64_t older_than_ns, const char *why)
{
    for (int i = 0; i < LS_NODE_ASKS_MAX; i++) {
        struct ls_node_ask ask = node->ask[i];

        if (ask.id == 0 || ask.asked_ns > older_than_ns)
            continue;
        node->ask[i].id = 0;
        ask.answer(ask.user, NULL, NULL, why);
    }
}

static void answer_take(struct ls_node *node, const struct ls_control_header *header, const uint8_t *body)
{
    for (int i = 0; i < LS_NODE_ASKS_MAX; i++) {
        struct ls_node_ask ask = node->ask[i];

        if (ask.id != header->id)
            continue;
        node->ask[i].id = 0;
        ask.answer(ask.user, header, body, NULL);
        return;
    }
}

static void ready_take(struct ls_node *node, const uint8_t *body)
{
    struct ls_control_ready ready;

    memcpy(&ready, body, sizeof(ready));
    if (ls_dataplane_map(&node->dataplane, ready.incarnation, node->problem, sizeof(node->problem)) != 0)
        trouble(node, node->problem);
    say("node %u: dataplane pid %" PRIu64 ", incarnation %" PRIu64 " is ready", node->self->id, ready.pid,
        ready.incarnation);
    ls_startup_ready(&node->startup, ready.incarnation, ready.promise);
}

static void installed_take(struct ls_node *node, const uint8_t *body)
{
    static const char *const reasons[] = {"",
                                          "it is not sealed at that epoch",
                                          "another incarnation was meant",
                                          "it is not a voter",
                                          "it has halted",
                                          "its log has no room"};
    struct ls_control_installed installed;
    char text[128];

    memcpy(&installed, body, sizeof(installed));
    if (node->startup.install_answered && node->startup.install_refused == 0 && installed.refused != 0)
        return; /* asked twice because the first answer came late: it leads already */
    ls_startup_installed(&node->startup, installed.epoch, installed.refused);
    if (installed.refused == 0) {
        say("node %u: sequencer of epoch %" PRIu64, node->self->id, (uint64_t)installed.epoch);
        return;
    }
    snprintf(text, sizeof(text), "the dataplane refused to open epoch %" PRIu64 ": %s", (uint64_t)installed.epoch,
             installed.refused < sizeof(reasons) / sizeof(reasons[0]) ? reasons[installed.refused] : "unknown reason");
    trouble(node, text);
}

static void epoch_seen_take(struct ls_node *node, const struct ls_control_epoch *epoch)
{
    char text[LS_RECORD_ERROR_MAX];

    if (ls_startup_epoch_seen(&node->startup, epoch->epoch) || node->epoch_refused_said)
        return;
    node->epoch_refused_said = true; /* it comes again and again */
    snprintf(text, sizeof(text),
             "a frame in the name of node %u carries epoch %" PRIu64 ", and this node has promised %" PRIu64
             ": no cluster gets that far ahead. Not followed: look for a foreign or damaged sender in the network",
             epoch->node, (uint64_t)epoch->epoch, node->startup.durable.promise);
    trouble(node, text);
}

static void on_message(void *argument, const struct ls_control_header *header, const uint8_t *body)
{
    struct ls_node *node = argument;
    struct ls_control_sealed sealed;
    struct ls_control_epoch epoch;
    struct ls_control_role role;

    switch (header->type) {
    case LS_CONTROL_READY:
        ready_take(node, body);
        break;
    case LS_CONTROL_SEALED:
        memcpy(&sealed, body, sizeof(sealed));
        ls_startup_sealed(&node->startup, sealed.incarnation, sealed.epoch);
        answer_take(node, header, body);
        break;
    case LS_CONTROL_INSTALLED:
        installed_take(node, body);
        answer_take(node, header, body);
        break;
    case LS_CONTROL_EPOCH_SEEN:
        memcpy(&epoch, body, sizeof(epoch));
        epoch_seen_take(node, &epoch);
        break;
    case LS_CONTROL_ROLE:
        memcpy(&role, body, sizeof(role));
        say("node %u: epoch %" PRIu64 ", %s, sequencer %u", node->self->id, (uint64_t)role.epoch,
            ls_role_name(role.role), role.sequencer);
        if (role.role == LS_ROLE_OPENING || role.role == LS_ROLE_SEQUENCER)
            ls_startup_installed(&node->startup, role.epoch, 0); /* also where the answer itself was lost */
        if (role.role == LS_ROLE_HALTED)
            trouble(node, ls_halt_text(role.halt));
        break;
    default:
        answer_take(node, header, body);
    }
    actions_run(node);
}

static void on_death(void *argument, const char *how)
{
    struct ls_node *node = argument;
    char text[LS_RECORD_ERROR_MAX];
    bool started = node->startup.phase != LS_STARTUP_STARTING;

    asks_give_up(node, UINT64_MAX, "the dataplane has ended");
    if (!node->stopping && !started && !node->start_late && node->starts_repeated < LS_NODE_STARTS_REPEATED) {
        /* Drivers may fail by chance: af_packet by a fan-out number made of the pid that another node has, too. */
        node->starts_repeated++;
        say("node %u: dataplane %s before it was ready: start %u of %u", node->self->id, how, node->starts_repeated + 1,
            LS_NODE_STARTS_REPEATED + 1);
        ls_startup_again(&node->startup);
        actions_run(node);
        return;
    }
    ls_startup_died(&node->startup);
    if (node->stopping || !started) {
        say("node %u: dataplane %s", node->self->id, how);
        node->failed = !node->stopping;
        event_base_loopbreak(node->base);
        return;
    }
    if (node->startup.phase == LS_STARTUP_REFUSED)
        return; /* stopped for a reason that was said */
    snprintf(text, sizeof(text),
             "THE DATAPLANE HAS DIED: %s. It is not started again: its memory is gone, and coming back (rejoin) does "
             "not exist in this version. The other nodes go on as long as a majority runs",
             how);
    trouble(node, text);
}

static void spawn(struct ls_node *node, const struct ls_durable *durable)
{
    struct ls_dataplane_start start = {.program = node->program,
                                       .config = node->config_path,
                                       .node = node->self->id,
                                       .incarnation = durable->incarnation,
                                       .promise = durable->promise};

    node->spawned_ns = ls_now_ns();
    if (ls_dataplane_spawn(&node->dataplane, &start, node->problem, sizeof(node->problem)) != 0) {
        trouble(node, node->problem);
        ls_startup_died(&node->startup);
        node->failed = true;
        event_base_loopbreak(node->base);
    }
}

/* What the answer says has been taken already; without one the order is given again. */
static void order_answer(void *user, const struct ls_control_header *header, const uint8_t *body, const char *why)
{
    struct ls_node *node = user;

    (void)body;
    if (header != NULL || !node->dataplane.alive)
        return;
    if (node->dataplane.fd >= 0)
        say("node %u: an order was not answered (%s): it is given again", node->self->id, why);
    node->order_again = true; /* at the next tick */
}

static void order(struct ls_node *node, enum ls_control_type type, uint64_t epoch, uint64_t incarnation)
{
    struct ls_control_epoch body = {.epoch = epoch, .incarnation = incarnation};

    if (!ls_node_ask(node, type, &body, sizeof(body), order_answer, node))
        order_answer(node, NULL, NULL, "it was not taken");
}

static void actions_run(struct ls_node *node)
{
    struct ls_startup_action action;

    while (!node->stopping && (action = ls_startup_next(&node->startup)).kind != LS_ACTION_NONE) {
        switch (action.kind) {
        case LS_ACTION_PERSIST: {
            int error = ls_record_write(&node->record, &action.durable);

            if (error != 0) {
                say("%s cannot be written: %s", node->record.path, strerror(-error));
                ls_startup_persist_failed(&node->startup);
            }
            break;
        }
        case LS_ACTION_SPAWN:
            spawn(node, &action.durable);
            break;
        case LS_ACTION_SEAL:
            order(node, LS_CONTROL_SEAL, action.epoch, 0);
            break;
        default:
            order(node, LS_CONTROL_INSTALL, action.epoch, action.durable.incarnation);
        }
    }
    /* A node that may not go on stops serving, and stays up to say so. */
    if (node->startup.phase == LS_STARTUP_REFUSED && !node->refusal_said) {
        node->refusal_said = true;
        trouble(node, ls_startup_refusal_text(node->startup.refusal));
        ls_dataplane_kill(&node->dataplane, SIGTERM);
    }
}

static void sample(struct ls_node *node)
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

static void on_tick(evutil_socket_t fd, short what, void *argument)
{
    struct ls_node *node = argument;

    (void)fd;
    (void)what;
    sample(node);
    if (node->startup.phase == LS_STARTUP_STARTING && node->dataplane.alive && !node->start_late &&
        ls_now_ns() - node->spawned_ns > node->start_timeout_ns) {
        node->start_late = true;
        say("node %u: the dataplane (pid %d) has not become ready within %" PRIu64
            " s: killed. Its last line says where it hangs",
            node->self->id, (int)node->dataplane.pid, node->start_timeout_ns / 1000000000);
        ls_dataplane_kill(&node->dataplane, SIGKILL);
    }
    asks_give_up(node, ls_now_ns() - LS_NODE_ASK_SECONDS * 1000000000ull, "the dataplane does not answer");
    if (node->dataplane.alive && node->dataplane.fd < 0 && !node->stopping && !node->link_said &&
        node->startup.phase == LS_STARTUP_RUNNING) {
        node->link_said = true;
        trouble(node, "THE LINK TO THE DATAPLANE IS CLOSED: it serves as it is, and learns nothing more: no epoch is "
                      "promised, no fault set, no log read. Stop and replace this node when it suits");
    }
    if (node->order_again && node->dataplane.fd >= 0) {
        node->order_again = false;
        ls_startup_unanswered(&node->startup);
        actions_run(node);
    }
}

bool ls_node_start(struct ls_node *node)
{
    struct timeval second = {.tv_sec = LS_NODE_SAMPLE_SECONDS};
    struct timespec now;

    if (node->start_timeout_ns == 0)
        node->start_timeout_ns = LS_NODE_START_SECONDS * 1000000000ull;

    ls_dataplane_init(&node->dataplane, node->config->cluster, node->self->id);
    node->dataplane.base = node->base;
    node->dataplane.on_message = on_message;
    node->dataplane.on_death = on_death;
    node->dataplane.user = node;
    if (orphan_find(node))
        return false;
    if (ls_record_open(&node->record, node->self->data_dir, node->config->cluster, node->self->id, node->problem) !=
        0) {
        say("node %u: %s", node->self->id, node->problem);
        return false;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    ls_startup_begin(&node->startup, &node->record.durable, node->config->first_sequencer == node->self->id,
                     (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
    if (node->startup.phase == LS_STARTUP_REFUSED) {
        say("node %u: refused: %s", node->self->id, ls_startup_refusal_text(node->startup.refusal));
        return false;
    }
    node->tick = event_new(node->base, -1, EV_PERSIST, on_tick, node);
    if (node->tick == NULL || event_add(node->tick, &second) != 0) {
        say("no memory for a timer");
        return false;
    }
    actions_run(node);
    return true;
}

static void on_stop_late(evutil_socket_t fd, short what, void *argument)
{
    struct ls_node *node = argument;

    (void)fd;
    (void)what;
    say("node %u: the dataplane has not ended within %d s: killed", node->self->id, LS_NODE_STOP_SECONDS);
    ls_dataplane_kill(&node->dataplane, SIGKILL);
}

void ls_node_stop(struct ls_node *node)
{
    struct timeval patience = {.tv_sec = LS_NODE_STOP_SECONDS};

    if (node->stopping)
        return;
    node->stopping = true;
    if (!node->dataplane.alive) {
        event_base_loopbreak(node->base);
        return;
    }
    if (ls_dataplane_ask(&node->dataplane, LS_CONTROL_STOP, NULL, 0) == 0)
        ls_dataplane_kill(&node->dataplane, SIGTERM);
    node->stop_timer = evtimer_new(node->base, on_stop_late, node);
    if (node->stop_timer == NULL || evtimer_add(node->stop_timer, &patience) != 0)
        ls_dataplane_kill(&node->dataplane, SIGKILL);
}

void ls_node_free(struct ls_node *node)
{
    if (node->tick != NULL)
        event_free(node->tick);
    if (node->stop_timer != NULL)
        event_free(node->stop_timer);
    ls_dataplane_free(&node->dataplane);
    ls_record_close(&node->record);
}
