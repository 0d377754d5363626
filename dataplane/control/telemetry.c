/* SPDX-License-Identifier: BSD-3-Clause */
/* Answers DPDK's telemetry socket. The telemetry thread is a reader of RCU only while it answers. */
#include "telemetry.h"

#include <arpa/inet.h>
#include <stdio.h>

#include <rte_telemetry.h>

#include "../workers/rcu.h"

static struct {
    const struct ls_counters_page *page;
    struct ls_view_holder *view;
} source;

static uint64_t word(const _Atomic uint64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

static int status(const char *command, const char *parameters, struct rte_tel_data *data)
{
    const struct ls_replica_page *replica = &source.page->replica;

    (void)command;
    (void)parameters;
    rte_tel_data_start_dict(data);
    rte_tel_data_add_dict_int(data, "node", (int)source.page->node);
    rte_tel_data_add_dict_u64(data, "incarnation", source.page->incarnation);
    rte_tel_data_add_dict_u64(data, "epoch", word(&replica->epoch));
    rte_tel_data_add_dict_string(data, "role", ls_role_name((unsigned)word(&replica->role)));
    rte_tel_data_add_dict_u64(data, "sequencer", word(&replica->sequencer));
    rte_tel_data_add_dict_u64(data, "counts", word(&replica->counts));
    rte_tel_data_add_dict_u64(data, "members_seq", word(&replica->members_seq));
    rte_tel_data_add_dict_u64(data, "last_epoch", word(&replica->last_epoch));
    rte_tel_data_add_dict_u64(data, "last_seq", word(&replica->last_seq));
    rte_tel_data_add_dict_u64(data, "commit", word(&replica->commit));
    rte_tel_data_add_dict_u64(data, "applied_seq", word(&replica->applied_seq));
    rte_tel_data_add_dict_u64(data, "sessions", word(&replica->sessions));
    rte_tel_data_add_dict_u64(data, "scrub_rounds", word(&replica->scrub_rounds));
    rte_tel_data_add_dict_u64(data, "scrub_damaged", word(&replica->scrub_damaged));
    rte_tel_data_add_dict_u64(data, "buffers_total", word(&source.page->buffers_total));
    return rte_tel_data_add_dict_u64(data, "buffers_free", word(&source.page->buffers_free));
}

static int members(const char *command, const char *parameters, struct rte_tel_data *data)
{
    const struct ls_view *view;
    char name[16], text[64];

    (void)command;
    (void)parameters;
    rte_tel_data_start_dict(data);
    ls_rcu_register();
    view = ls_view_get(source.view);
    rte_tel_data_add_dict_u64(data, "version", view->version);
    rte_tel_data_add_dict_u64(data, "epoch", view->epoch);
    rte_tel_data_add_dict_int(data, "sequencer", view->sequencer);
    for (uint32_t i = 0; i < view->members; i++) {
        const struct ls_member *member = &view->member[i];

        snprintf(name, sizeof(name), "node_%u", member->node);
        snprintf(text, sizeof(text), "%s %u.%u.%u.%u:%u", member->role == LS_MEMBER_VOTER ? "voter" : "learner",
                 member->addr.ip >> 24, member->addr.ip >> 16 & 255, member->addr.ip >> 8 & 255, member->addr.ip & 255,
                 member->addr.port);
        rte_tel_data_add_dict_string(data, name, text);
    }
    ls_rcu_unregister();
    return 0;
}

static int counters(const char *command, const char *parameters, struct rte_tel_data *data)
{
    (void)command;
    (void)parameters;
    rte_tel_data_start_dict(data);
    for (unsigned i = 0; i < LS_COUNTERS; i++) {
        uint64_t sum = 0;

        for (int worker = 0; worker < LS_WORKERS; worker++)
            sum += ls_counter_get(&source.page->worker[worker].counters, i);
        if (rte_tel_data_add_dict_u64(data, ls_counter_name(i), sum) != 0)
            break; /* DPDK's own bound on entries */
    }
    return 0;
}

int ls_telemetry_register(const struct ls_counters_page *page, struct ls_view_holder *view)
{
    int error;

    source.page = page;
    source.view = view;
    error = rte_telemetry_register_cmd("/lockstep/status", status, "What this node is doing. Takes no parameters");
    if (error == 0)
        error = rte_telemetry_register_cmd("/lockstep/members", members, "The cluster's members. Takes no parameters");
    if (error == 0)
        error = rte_telemetry_register_cmd("/lockstep/counters", counters, "All counters. Takes no parameters");
    return error;
}
