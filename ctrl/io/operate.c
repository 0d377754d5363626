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
    const struct ls_dataplane *dataplane = &node->dataplane;

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
    (void)node;
    (void)list;
    (void)most;
    return 0;
}

int ls_operate_checkpoint_create(struct ls_node *node, ls_operate_done done, void *user)
{
    (void)node;
    (void)done;
    (void)user;
    return -ENOTSUP;
}

int ls_operate_checkpoint_verify(struct ls_node *node, const char *name, ls_operate_done done, void *user)
{
    (void)node;
    (void)name;
    (void)done;
    (void)user;
    return -ENOTSUP;
}

int ls_operate_checkpoint_restore(struct ls_node *node, const char *name, ls_operate_done done, void *user)
{
    (void)node;
    (void)name;
    (void)done;
    (void)user;
    return -ENOTSUP;
}
