/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the brain wants done, done: the table of functions that it calls. None of them calls back before it returns:
 * what is known at once (the record is written synchronously, a program that cannot be started) is told by an event of
 * the loop. ctrl's one thread.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "../../dataplane/workers/clock.h"
#include "node.h"

static void persist(void *user, const struct ls_durable *durable)
{
    struct ls_node *node = user;
    int error = ls_record_write(&node->record, durable);

    node->persist_ok = error == 0;
    if (error != 0)
        ls_problems_say(&node->problems, LS_CTRL_ALARM,
                        "%s cannot be written: %s. Nothing may be promised any more: look at the disk of data_dir (df, "
                        "dmesg)",
                        node->record.path, strerror(-error));
    event_active(node->persisted_event, EV_TIMEOUT, 0);
}

static void spawn(void *user, uint64_t incarnation, uint64_t promise, uint64_t counts)
{
    struct ls_node *node = user;
    struct ls_dataplane_start start = {.program = node->program,
                                       .config = node->config_path,
                                       .generation = node->record.durable.generation,
                                       .incarnation = incarnation,
                                       .promise = promise,
                                       .counts = counts};

    if (node->stop >= LS_NODE_STOPPING)
        return; /* this process ends with the dataplane that has just ended */
    if (ls_dataplane_spawn(&node->dataplane, &start, node->unspawned, sizeof(node->unspawned)) == 0)
        return;
    ls_problems_say(&node->problems, LS_CTRL_ALARM, "%s", node->unspawned);
    event_active(node->unspawned_event, EV_TIMEOUT, 0);
}

static void kill_dataplane(void *user)
{
    struct ls_node *node = user;

    ls_dataplane_kill(&node->dataplane, SIGKILL);
}

static void dataplane_send(void *user, enum ls_control_type type, uint64_t id, const void *body, size_t size)
{
    struct ls_node *node = user;

    (void)ls_dataplane_send(&node->dataplane, type, id, body, size); /* lost: asked again in its time */
}

static void peer_send(void *user, uint16_t to, const void *bytes, size_t size)
{
    struct ls_node *node = user;

    if (node->peers != NULL)
        (void)ls_peers_send(node->peers, to, bytes, size);
}

static void peers(void *user, const struct ls_membership *members)
{
    struct ls_node *node = user;

    if (node->peers != NULL)
        ls_peers_set(node->peers, members);
}

static void checkpoint_get(void *user, uint64_t from, uint64_t position)
{
    struct ls_node *node = user;

    ls_keeper_get(node->keeper, from, position);
}

static void recover(void *user)
{
    struct ls_node *node = user;

    ls_keeper_recover(node->keeper);
}

static void command_done(void *user, uint64_t token, int error, const char *text)
{
    struct ls_node *node = user;

    for (int i = 0; i < LS_NODE_COMMANDS_MAX; i++) {
        struct ls_node_command command = node->command[i];

        if (command.token != token)
            continue;
        node->command[i].token = 0;
        command.done(command.user, error, text);
        return;
    }
}

static void say(void *user, enum ls_ctrl_level level, const char *text)
{
    struct ls_node *node = user;

    ls_problems_say(&node->problems, level, "%s", text);
}

void ls_effects_make(struct ls_node *node, struct ls_ctrl_io *io)
{
    *io = (struct ls_ctrl_io){.user = node,
                              .persist = persist,
                              .spawn = spawn,
                              .kill = kill_dataplane,
                              .dataplane_send = dataplane_send,
                              .peer_send = peer_send,
                              .peers = peers,
                              .checkpoint_get = checkpoint_get,
                              .recover = recover,
                              .command_done = command_done,
                              .say = say};
}
