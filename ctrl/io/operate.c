/* SPDX-License-Identifier: BSD-3-Clause */
/* The node as its operators see it; see operate.h. */
#include "operate.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "node.h"

struct event_base *ls_operate_base(const struct ls_node *node)
{
    return node->base;
}

const struct ls_config *ls_operate_config(const struct ls_node *node)
{
    return node->config;
}

const struct ls_config_node *ls_operate_self(const struct ls_node *node)
{
    return node->self;
}

void ls_operate_view(const struct ls_node *node, struct ls_operate_view *view)
{
    const struct ls_checkpoint_file *checkpoint = NULL;
    const struct ls_dataplane *dataplane = &node->dataplane;
    struct ls_keeper_view keeper = {.what = ""};

    memset(view, 0, sizeof(*view));
    view->config = node->config;
    view->self = node->self;
    ls_node_view(node, &view->ctrl);
    view->page = dataplane->page;
    view->alive = dataplane->process.alive;
    view->linked = dataplane->ready;
    view->pid = (uint64_t)dataplane->process.pid;
    snprintf(view->death, sizeof(view->death), "%s", dataplane->process.how);
    memcpy(view->busy, node->busy, sizeof(view->busy));
    view->start_ns = node->start_ns;
    if (node->keeper != NULL)
        ls_keeper_view(node->keeper, &keeper);
    view->progress = (struct ls_operate_progress){.running = keeper.running,
                                                  .what = keeper.what,
                                                  .from = keeper.from,
                                                  .bytes = keeper.bytes,
                                                  .expected = keeper.expected};
    if (node->keeper != NULL)
        checkpoint = ls_checkpoints_newest(ls_keeper_checkpoints(node->keeper), 0);
    view->checkpoint_seq = checkpoint != NULL ? checkpoint->seq : 0;
    while (view->alarms < LS_OPERATE_ALARMS) {
        const struct ls_problem *problem = ls_problems_get(&node->problems, view->alarms);
        struct ls_operate_alarm *alarm = &view->alarm[view->alarms];

        if (problem == NULL)
            break;
        view->alarms++;
        alarm->at = problem->at;
        alarm->times = problem->times;
        alarm->level = problem->level;
        snprintf(alarm->text, sizeof(alarm->text), "%s", problem->text);
    }
}

bool ls_operate_command(struct ls_node *node, const struct ls_ctrl_command *command, ls_operate_done done, void *user)
{
    return ls_node_command(node, command, done, user);
}

bool ls_operate_ask(struct ls_node *node, enum ls_control_type type, const void *body, size_t size,
                    ls_operate_answer answer, void *user)
{
    return ls_node_ask(node, type, body, size, answer, user);
}

uint32_t ls_operate_checkpoints(struct ls_node *node, struct ls_operate_checkpoint *list, uint32_t most)
{
    const struct ls_checkpoint_file *file;
    struct ls_checkpoints *checkpoints;
    uint32_t count;

    if (node->keeper == NULL)
        return 0;
    checkpoints = ls_keeper_checkpoints(node->keeper);
    (void)ls_checkpoints_scan(checkpoints); /* what was there before is shown where the directory cannot be read */
    file = ls_checkpoints_list(checkpoints, &count);
    count = count < most ? count : most;
    for (uint32_t i = 0; i < count; i++) {
        list[i] = (struct ls_operate_checkpoint){.state = ls_checkpoint_state_name(file[i].state),
                                                 .generation = file[i].generation,
                                                 .seq = file[i].seq,
                                                 .position = file[i].position,
                                                 .digest = file[i].digest,
                                                 .size = file[i].size,
                                                 .made_s = file[i].made_s};
        snprintf(list[i].name, sizeof(list[i].name), "%s", file[i].name);
    }
    return count;
}

int ls_operate_checkpoint_create(struct ls_node *node, ls_operate_done done, void *user)
{
    return node->keeper != NULL ? ls_keeper_make(node->keeper, done, user) : -ENOTSUP;
}

int ls_operate_checkpoint_verify(struct ls_node *node, const char *name, ls_operate_done done, void *user)
{
    return node->keeper != NULL ? ls_keeper_verify(node->keeper, name, done, user) : -ENOTSUP;
}

int ls_operate_checkpoint_restore(struct ls_node *node, const char *name, ls_operate_done done, void *user)
{
    return node->keeper != NULL ? ls_keeper_restore(node->keeper, name, done, user) : -ENOTSUP;
}

void ls_operate_stop(struct ls_node *node)
{
    ls_node_stop(node);
}
