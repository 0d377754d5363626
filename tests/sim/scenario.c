/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Scripted runs on a network without chance. What is expected of each is the text of what happened, every frame in one
 * line, kept in scenarios/NAME.txt and compared word for word. A change of the protocol shows there as a difference to
 * be read, understood and taken over with --update.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "script.h"

#define US SIM_US

/* ---- what scripts say ---- */

void sim_script_at(struct sim *sim, uint64_t time, uint32_t step)
{
    sim_queue_push(&sim->queue, (struct sim_event){.time = time, .type = SIM_EVENT_SCRIPT, .argument = step});
}

void sim_script_lead(struct sim *sim, uint32_t nodes, uint32_t sequencer, uint64_t epoch)
{
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        if (nodes >> i & 1)
            sim_tell(sim, i, &(struct ls_order){.kind = LS_ORDER_SEAL, .epoch = epoch});
    }
    sim_tell(
        sim, sequencer,
        &(struct ls_order){.kind = LS_ORDER_INSTALL, .epoch = epoch, .incarnation = sim->node[sequencer].incarnation});
}

void sim_script_submit(struct sim *sim, uint8_t code, const char *key, uint32_t length, uint64_t deadline)
{
    memset(sim->read_buffer, 'v', length);
    uint32_t size = sim_kv_op(sim->op_buffer, code, key, sim->read_buffer, length, 0, 0);
    if (!sim_client_put(sim, &sim->client[0], sim->op_buffer, size, deadline))
        SIM_TRACE(sim, "c0 cannot submit");
}

void sim_script_read(struct sim *sim, const char *key, enum ls_consistency consistency)
{
    uint32_t size = sim_kv_op(sim->op_buffer, LS_KV_GET, key, NULL, 0, 0, 0);
    if (!sim_client_get(sim, &sim->client[0], sim->op_buffer, size, consistency))
        SIM_TRACE(sim, "c0 cannot read");
}

void sim_script_cut(struct sim *sim, uint32_t a, uint32_t b, bool on)
{
    for (uint32_t i = 0; i < SIM_ENDS_MAX; i++) {
        if (a >> i & 1)
            sim->cut[i] = on ? sim->cut[i] | b : sim->cut[i] & ~b;
        if (b >> i & 1)
            sim->cut[i] = on ? sim->cut[i] | a : sim->cut[i] & ~a;
    }
    SIM_TRACE(sim, "-- %s %x and %x", on ? "cut between" : "link again", a, b);
}

void sim_packet_keep(struct sim_packet *to, const struct sim_packet *packet)
{
    memcpy(to->data, packet->data, packet->length);
    to->length = packet->length;
    to->from = packet->from;
    to->to = packet->to;
    to->replayed = true;
}

/* True once, for the first packet that the condition holds for. */
static bool first(struct sim *sim, bool condition)
{
    return condition && sim->script_state->counter[0]++ == 0;
}

/* ---- one put ---- */

static void put_step(struct sim *sim, uint32_t step)
{
    switch (step) {
    case 0:
        sim_script_lead(sim, 7, 0, 1);
        sim_script_at(sim, 500 * US, 1);
        break;
    case 1:
        sim_script_submit(sim, LS_KV_PUT, "k", 10, 0);
        break;
    default:
        break;
    }
}

/* ---- an ORDER is lost and fetched ---- */

static bool order_lose(struct sim *sim, const struct sim_packet *packet)
{
    bool put = sim->now > 550 * US && sim_packet_type(packet) == LS_FRAME_ORDER && sim_packet_to(sim, packet) == 2;
    return first(sim, put);
}

/* ---- a follower reads ---- */

static void follower_read_step(struct sim *sim, uint32_t step)
{
    put_step(sim, step);
    if (step == 1)
        sim_script_at(sim, 1000 * US, 2);
    if (step == 2)
        sim_script_read(sim, "k", LS_READ_LINEARIZABLE);
}

/* ---- a tail that was never committed goes ---- */

static void divergent_step(struct sim *sim, uint32_t step)
{
    switch (step) {
    case 0:
        sim_script_lead(sim, 7, 0, 1);
        sim_script_at(sim, 500 * US, 1);
        sim_script_at(sim, 1000 * US, 2);
        sim_script_at(sim, 1500 * US, 3);
        sim_script_at(sim, 2500 * US, 4);
        break;
    case 1:
        sim_script_submit(sim, LS_KV_PUT, "both", 10, 0);
        break;
    case 2:
        sim_script_cut(sim, 1, 6, true);
        sim_script_submit(sim, LS_KV_PUT, "tail", 10, 0);
        break;
    case 3:
        sim_script_lead(sim, 6, 1, 2);
        break;
    case 4:
        sim_script_cut(sim, 1, 6, false);
        break;
    default:
        break;
    }
}

/* ---- the session's window ---- */

static void window_configure(struct sim_config *config)
{
    config->window = 2;
    config->client_window = 8;
}

static bool window_lose(struct sim *sim, const struct sim_packet *packet)
{
    return sim->now > 550 * US && sim->now < 800 * US && sim_packet_type(packet) == LS_FRAME_ACK;
}

static void window_step(struct sim *sim, uint32_t step)
{
    if (step == 0) {
        sim_script_lead(sim, 7, 0, 1);
        sim_script_at(sim, 300 * US, 1);
        sim_script_at(sim, 600 * US, 2);
    } else if (step == 1) {
        sim_script_submit(sim, LS_KV_PUT, "k0", 4, 0);
    } else {
        sim_script_submit(sim, LS_KV_PUT, "k1", 4, 0);
        sim_script_submit(sim, LS_KV_PUT, "k2", 4, 0);
        sim_script_submit(sim, LS_KV_PUT, "k3", 4, 0);
    }
}

/* ---- a large request ---- */

static void large_step(struct sim *sim, uint32_t step)
{
    if (step == 0) {
        sim_script_lead(sim, 7, 0, 1);
        sim_script_at(sim, 500 * US, 1);
    } else {
        sim_script_submit(sim, LS_KV_PUT, "large", 4000, 0);
    }
}

static bool large_lose(struct sim *sim, const struct sim_packet *packet)
{
    const struct ls_fragment_body *body = (const void *)(packet->data + LS_FRAME_HEADER_SIZE);
    return first(sim, sim_packet_type(packet) == LS_FRAME_FRAGMENT && body->index == 1);
}

/* ---- a lost reply ---- */

static bool reply_lose(struct sim *sim, const struct sim_packet *packet)
{
    return first(sim, sim->now > 550 * US && sim_packet_type(packet) == LS_FRAME_REPLY);
}

/* ---- QUERY closes what never came ---- */

static bool query_lose(struct sim *sim, const struct sim_packet *packet)
{
    const uint8_t *from = NULL;
    if (sim_packet_type(packet) != LS_FRAME_REQUEST)
        return false;
    const struct ls_request_record *record = ls_request_next(packet->data, &from);
    return record->kind == LS_REQUEST_OPERATION && record->number == 2;
}

static void query_step(struct sim *sim, uint32_t step)
{
    if (step == 0) {
        sim_script_lead(sim, 7, 0, 1);
        sim_script_at(sim, 500 * US, 1);
        sim_script_at(sim, 1000 * US, 2);
        sim_script_at(sim, 1500 * US, 3);
        sim_script_at(sim, 2200 * US, 4);
    } else if (step == 1 || step == 2) {
        sim_script_submit(sim, LS_KV_PUT, step == 1 ? "first" : "second", 4, 0);
    } else if (step == 3) {
        SIM_TRACE(sim, "-- c0 asks what became of request 2");
        (void)ls_client_core_query(sim->client[0].core, 2, sim_clock(&sim->client[0].clock, sim->now));
        sim_plan(sim, &sim->client[0].actor, SIM_EVENT_CLIENT, 0, sim->now + 1);
    } else {
        sim_script_submit(sim, LS_KV_PUT, "third", 4, 0);
    }
}

/* ---- a deadline that has passed ---- */

static void deadline_step(struct sim *sim, uint32_t step)
{
    if (step == 0) {
        sim_script_lead(sim, 7, 0, 1);
        sim_script_at(sim, 500 * US, 1);
        sim_script_at(sim, 1000 * US, 2);
    } else if (step == 1) {
        sim_script_submit(sim, LS_KV_PUT, "in-time", 4, 500 * US);
    } else {
        sim_script_submit(sim, LS_KV_PUT, "late", 4, 1);
    }
}

/* ---- a verification answer is lost ---- */

static bool answer_lose(struct sim *sim, const struct sim_packet *packet)
{
    const struct ls_heartbeat_body *body = (const void *)(packet->data + LS_FRAME_HEADER_SIZE);
    return first(sim, sim_packet_type(packet) == LS_FRAME_HEARTBEAT && body->answers > 0 &&
                          sim_packet_to(sim, packet) == 2 && sim_packet_from(sim, packet) == 0);
}

static void answer_step(struct sim *sim, uint32_t step)
{
    if (step == 0)
        sim_script_lead(sim, 7, 0, 1);
}

/* ---- real ctrls ---- */

void sim_config_ctrls(struct sim_config *c)
{
    c->nodes = 4;
    c->heartbeat_ns = SIM_MS;
    c->ctrl_ns = 10 * US;
    c->link_ns = 50 * US;
    c->disk_ns = 100 * US;
    c->spawn_ns = 2 * SIM_MS;
    c->times = (struct ls_ctrl_times){.poll = SIM_MS,
                                      .suspect_min = 8 * SIM_MS,
                                      .suspect_max = 30 * SIM_MS,
                                      .stall = 15 * SIM_MS,
                                      .stall_kill = 100 * SIM_MS,
                                      .late = 4 * SIM_MS,
                                      .status = 5 * SIM_MS,
                                      .answer = 8 * SIM_MS,
                                      .stagger = SIM_MS,
                                      .restart_min = 5 * SIM_MS,
                                      .restart_max = 50 * SIM_MS,
                                      .handover = 30 * SIM_MS,
                                      .promote_lag = 1000,
                                      .promote_patience = 500 * SIM_MS};
}

static void behind_configure(struct sim_config *c)
{
    sim_config_ctrls(c);
    c->times.restart_min = 60 * SIM_MS;
    c->window = c->client_window = LS_WINDOW_MAX;
}

void sim_script_operate(struct sim *sim, enum ls_ctrl_command_kind kind, uint16_t node, bool promote)
{
    uint32_t at = sim_sequencer(sim);
    struct ls_ctrl_command command = {.kind = kind, .node = node, .promote = promote};
    if (kind == LS_COMMAND_MEMBER_ADD) {
        command.member = sim_member(sim, (uint32_t)node - 1, LS_MEMBER_LEARNER);
        command.node = 0;
        sim->operator.used |= 1u <<(node - 1);
        sim_host_bootstrap(sim, &sim->host[node - 1]);
        sim_host_boot(sim, &sim->host[node - 1], 0);
    }
    sim_operator_command(sim, &sim->host[at != SIM_NONE ? at : 0], &command);
}

static void dataplane_kill(struct sim *sim, uint32_t index)
{
    if (index != SIM_NONE)
        sim_host_dataplane_ends(sim, &sim->host[index], "the script kills it");
}

static uint32_t follower(const struct sim *sim)
{
    return sim_sequencer(sim) == 2 ? 1 : 2;
}

static void kill_sequencer_step(struct sim *sim, uint32_t step)
{
    if (step == 0)
        sim_script_at(sim, 60 * SIM_MS, 1);
    else
        dataplane_kill(sim, sim_sequencer(sim));
}

static void rejoin_step(struct sim *sim, uint32_t step)
{
    if (step == 0)
        sim_script_at(sim, 60 * SIM_MS, 1);
    else
        dataplane_kill(sim, follower(sim));
}

static void behind_step(struct sim *sim, uint32_t step)
{
    if (step < 2)
        rejoin_step(sim, step);
    if (step == 1)
        sim_script_at(sim, 62 * SIM_MS, 2);
    for (uint32_t i = 0; step == 2 && i < 60; i++)
        sim_script_submit(sim, LS_KV_PUT, "k", 1200, 0);
    if (step == 2 && sim->now < 90 * SIM_MS)
        sim_script_at(sim, sim->now + 10 * SIM_MS, 2);
}

static void members_step(struct sim *sim, uint32_t step)
{
    if (step == 0) {
        sim_script_at(sim, 60 * SIM_MS, 1);
        sim_script_at(sim, 160 * SIM_MS, 2);
    } else if (step == 1) {
        sim_script_operate(sim, LS_COMMAND_MEMBER_ADD, 4, true);
    } else {
        sim_script_operate(sim, LS_COMMAND_MEMBER_REMOVE, 4, false);
    }
}

static void handover_step(struct sim *sim, uint32_t step)
{
    if (step == 0)
        sim_script_at(sim, 60 * SIM_MS, 1);
    else
        sim_script_operate(sim, LS_COMMAND_SEQUENCER_MOVE, (uint16_t)(follower(sim) + 1), false);
}

static void lost_step(struct sim *sim, uint32_t step)
{
    if (step == 0) {
        sim_script_at(sim, 60 * SIM_MS, 1);
    } else {
        uint32_t other = follower(sim);
        dataplane_kill(sim, sim_sequencer(sim));
        dataplane_kill(sim, other);
        sim_check_lost(sim);
    }
}

static void ctrl_dies_step(struct sim *sim, uint32_t step)
{
    uint32_t sequencer = sim_sequencer(sim);
    if (step == 0)
        sim_script_at(sim, 60 * SIM_MS, 1);
    else if (sequencer != SIM_NONE)
        sim_host_ctrl_ends(sim, &sim->host[sequencer], 10 * SIM_MS);
}

static const struct sim_scenario scenarios[] = {
    {.name = "kill-sequencer",
     .text = "the sequencer's dataplane dies; another one is elected, the dead one comes back and is admitted",
     .step = kill_sequencer_step,
     .configure = sim_config_ctrls,
     .from = 55 * SIM_MS,
     .until = 110 * SIM_MS,
     .with_ctrl = true},
    {.name = "rejoin",
     .text = "a follower's dataplane dies and is admitted again",
     .step = rejoin_step,
     .configure = sim_config_ctrls,
     .from = 55 * SIM_MS,
     .until = 100 * SIM_MS,
     .with_ctrl = true},
    {.name = "rejoin-behind",
     .text = "a follower comes back when the log has gone on by more than the ring: it takes a checkpoint",
     .step = behind_step,
     .configure = behind_configure,
     .from = 105 * SIM_MS,
     .until = 200 * SIM_MS,
     .with_ctrl = true},
    {.name = "add-promote-remove",
     .text = "a fourth node is added, promoted when it has caught up, and removed",
     .step = members_step,
     .configure = sim_config_ctrls,
     .from = 59 * SIM_MS,
     .until = 230 * SIM_MS,
     .with_ctrl = true},
    {.name = "handover",
     .text = "an operator moves the sequencer",
     .step = handover_step,
     .configure = sim_config_ctrls,
     .from = 59 * SIM_MS,
     .until = 100 * SIM_MS,
     .with_ctrl = true},
    {.name = "majority-lost",
     .text = "sequencer and follower die together: nobody guesses, and after a second it is said aloud",
     .step = lost_step,
     .configure = sim_config_ctrls,
     .from = 1000 * SIM_MS,
     .until = 1150 * SIM_MS,
     .with_ctrl = true},
    {.name = "ctrl-alone-dies",
     .text = "the sequencer's ctrl dies and comes back: its dataplane serves on and is taken over",
     .step = ctrl_dies_step,
     .configure = sim_config_ctrls,
     .from = 55 * SIM_MS,
     .until = 100 * SIM_MS,
     .with_ctrl = true},

    {.name = "put", .text = "one put with three nodes, from the very beginning", .step = put_step, .until = 1500 * US},
    {.name = "order-lost",
     .text = "an ORDER to node 3 is lost: it asks for the bytes",
     .step = put_step,
     .lose = order_lose,
     .from = 500 * US,
     .until = 1500 * US},
    {.name = "follower-read",
     .text = "a linearizable read at node 2 by read index",
     .step = follower_read_step,
     .from = 900 * US,
     .until = 1500 * US,
     .read_node = 2},
    {.name = "divergent-tail",
     .text = "a sequencer that was cut off loses what it could not commit",
     .step = divergent_step,
     .from = 900 * US,
     .until = 4000 * US},
    {.name = "busy-window",
     .text = "more requests than the session's window: BUSY, and again later",
     .step = window_step,
     .lose = window_lose,
     .configure = window_configure,
     .from = 590 * US,
     .until = 3000 * US},
    {.name = "large-request",
     .text = "a large request is pulled; its second fragment is lost once",
     .step = large_step,
     .lose = large_lose,
     .from = 500 * US,
     .until = 6000 * US},
    {.name = "kept-result",
     .text = "a reply is lost: the repeat is answered from the kept result",
     .step = put_step,
     .lose = reply_lose,
     .from = 500 * US,
     .until = 2000 * US},
    {.name = "query-closes",
     .text = "a request never arrives; QUERY closes its number, the next goes on",
     .step = query_step,
     .lose = query_lose,
     .from = 900 * US,
     .until = 3000 * US},
    {.name = "deadline",
     .text = "one request in time, one past its deadline",
     .step = deadline_step,
     .from = 490 * US,
     .until = 1500 * US},
    {.name = "answer-lost",
     .text = "the answer to node 3's verification question is lost",
     .step = answer_step,
     .lose = answer_lose,
     .until = 1500 * US},
};
#define SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

static const struct sim_scenario *scenario_at(size_t i)
{
    if (i < SCENARIOS)
        return &scenarios[i];
    i -= SCENARIOS;
    if (i < sim_directed_count)
        return &sim_directed[i];
    i -= sim_directed_count;
    return i < sim_directed_ctrl_count ? &sim_directed_ctrl[i] : NULL;
}

/* ---- running and comparing ---- */

void sim_config_quiet(struct sim_config *c)
{
    *c = (struct sim_config){
        .nodes = 3,
        .founders = 3,
        .first_sequencer = 1,
        .clients = 1,
        .log_size = LS_LOG_SIZE_MIN,
        .op_max = 16384,
        .window = 8,
        .client_window = 8,
        .sessions_max = 16,
        .session_idle_ns = 1000 * SIM_MS,
        .keys_max = 64,
        .bytes_max = 65536,
        .heartbeat_ns = 1000 * US,
        .suspend_ns = 100 * SIM_MS,
        .tick_ns = 10 * SIM_MS,
        .reorder_min_ns = 20 * US,
        .reorder_max_ns = 200 * US,
        .question_ns = 500 * US,
        .pull_idle_ns = 100 * SIM_MS,
        .inflight_max = 65536,
        .burst_max = LS_BURST,
        .grace_ns = 1,
        .inbox = SIM_INBOX,
        .latency_ns = 10 * US,
        .fifo = true,
        .client_retry_ns = 20 * SIM_MS,
    };
}

static bool scenario_run(struct sim *sim, const struct sim_scenario *scenario)
{
    struct sim_config config;
    struct sim_script script = {.lose = scenario->lose,
                                .step = scenario->step,
                                .read_node = scenario->read_node,
                                .with_ctrl = scenario->with_ctrl,
                                .hide_frames = scenario->with_ctrl,
                                .may_halt = scenario->may_halt};
    sim_config_quiet(&config);
    if (scenario->configure != NULL)
        scenario->configure(&config);
    return sim_run_script(sim, &config, &script, scenario->until);
}

bool sim_scenario_run(struct sim *sim, const char *name)
{
    const struct sim_scenario *scenario;
    size_t i = 0;
    while ((scenario = scenario_at(i)) != NULL && strcmp(scenario->name, name) != 0)
        i++;
    assert(scenario != NULL);
    return scenario_run(sim, scenario);
}

static char *run(struct sim *sim, const struct sim_scenario *scenario, bool *good)
{
    char *text = NULL;
    size_t size = 0;
    sim->trace = true;
    sim->trace_to = open_memstream(&text, &size);
    if (sim->trace_to == NULL)
        return NULL;
    sim->trace_from = scenario->from;
    fprintf(sim->trace_to, "%s: %s\n(time in us; from > to, frame, epoch)\n", scenario->name, scenario->text);
    *good = scenario_run(sim, scenario);
    fclose(sim->trace_to);
    sim->trace_to = stdout;
    return text;
}

static char *file_read(const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return NULL;
    char *text = calloc(1, 1024 * 1024);
    size_t n = text != NULL ? fread(text, 1, 1024 * 1024 - 1, file) : 0;
    (void)n;
    fclose(file);
    return text;
}

/* True if they are equal; else says where they part. */
static bool compare(const char *name, const char *expected, const char *seen)
{
    uint32_t line = 1;
    while (*expected != '\0' || *seen != '\0') {
        size_t a = strcspn(expected, "\n"), b = strcspn(seen, "\n");
        if (a != b || memcmp(expected, seen, a) != 0) {
            printf("%s, line %u:\n  expected %.*s\n  seen     %.*s\n", name, line, (int)a, expected, (int)b, seen);
            return false;
        }
        expected += a + (expected[a] == '\n');
        seen += b + (seen[b] == '\n');
        line++;
    }
    return true;
}

static bool scenario_check(const struct sim_scenario *scenario, const char *golden, bool update, const char *text)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/%s.txt", golden, scenario->name);
    if (update) {
        FILE *file = fopen(path, "w");
        bool good = file != NULL && fputs(text, file) >= 0;
        if (file == NULL || fclose(file) != 0 || !good) {
            perror(path);
            return false;
        }
        return true;
    }
    char *expected = file_read(path);
    if (expected == NULL) {
        perror(path);
        return false;
    }
    bool equal = compare(scenario->name, expected, text);
    free(expected);
    return equal;
}

int sim_scenario_main(const char *name, const char *golden, bool update)
{
    struct sim *sim = sim_create();
    uint32_t matched = 0, bad = 0;
    const struct sim_scenario *scenario;
    for (size_t i = 0; (scenario = scenario_at(i)) != NULL; i++) {
        if (strcmp(name, "all") != 0 && strcmp(name, scenario->name) != 0)
            continue;
        matched++;
        bool good = false;
        char *text = run(sim, scenario, &good);
        if (golden == NULL)
            fputs(text, stdout);
        else if (!scenario_check(scenario, golden, update, text))
            good = false;
        if (!good) {
            printf("scenario %s: not as expected %s\n", scenario->name,
                   sim->violation.found ? sim->violation.text : "");
            bad++;
        }
        free(text);
    }
    if (matched == 0) {
        fprintf(stderr, "lockstep-sim: no scenario is called \"%s\"; they are:\n", name);
        for (size_t i = 0; (scenario = scenario_at(i)) != NULL; i++)
            fprintf(stderr, "  %-20s %s\n", scenario->name, scenario->text);
        return 2;
    }
    if (golden != NULL)
        printf("%u scenarios, %u not as expected\n", matched, bad);
    return bad == 0 ? 0 : 1;
}
