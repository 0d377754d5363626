/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Metrics from the counters page and the brain's view. Times are in seconds, sizes in bytes, shares from 0 to 1, as
 * Prometheus has it. What is not known is left out rather than shown as 0.
 */
#include "metrics.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "status.h"

struct writer {
    struct evbuffer *out;
    const struct ls_operate_view *view;
    bool whole;
};

static uint64_t word(const _Atomic uint64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

static void put(struct writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct writer *w, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    if (evbuffer_add_vprintf(w->out, format, arguments) < 0)
        w->whole = false;
    va_end(arguments);
}

static void family(struct writer *w, const char *name, const char *type, const char *help)
{
    put(w, "# HELP lockstep_%s %s\n# TYPE lockstep_%s %s\n", name, help, name, type);
}

/* One sample of this node; `labels` with a comma before them, or "". */
static void sample(struct writer *w, const char *name, const char *labels, double value)
{
    put(w, "lockstep_%s{cluster=\"%s\",node=\"%u\"%s} %.17g\n", name, w->view->config->name, w->view->self->id, labels,
        value);
}

static void single(struct writer *w, const char *name, const char *type, const char *help, double value)
{
    family(w, name, type, help);
    sample(w, name, "", value);
}

/* ---- ctrl ---- */

static void ctrl_state(struct writer *w)
{
    const struct ls_ctrl_view *ctrl = &w->view->ctrl;
    char labels[64];

    family(w, "phase", "gauge", "1 for the phase that this node's control is in");
    for (int phase = LS_CTRL_STARTING; phase <= LS_CTRL_REMOVED; phase++) {
        snprintf(labels, sizeof(labels), ",phase=\"%s\"", ls_ctrl_phase_name((enum ls_ctrl_phase)phase));
        sample(w, "phase", labels, ctrl->phase == (enum ls_ctrl_phase)phase);
    }
    single(w, "epoch", "gauge", "Newest epoch that this node knows", (double)ctrl->epoch);
    single(w, "promise", "gauge", "Epoch that this node has promised durably", (double)ctrl->durable.promise);
    single(w, "sequencer", "gauge", "Node id of the sequencer, 0: none is known", ctrl->sequencer);
    single(w, "electing", "gauge", "1 while an election is under way here", ctrl->electing);
    single(w, "suspecting", "gauge", "1 while the sequencer is not heard", ctrl->suspecting);
    single(w, "majority_lost", "gauge", "1 where a majority of the voters has lost its memory", ctrl->majority_lost);
    single(w, "elections_total", "counter", "Elections that this node stood in", (double)ctrl->elections);
    single(w, "elections_won_total", "counter", "... and won", (double)ctrl->elections_won);
    single(w, "admissions_total", "counter", "Incarnations admitted by this node", (double)ctrl->admissions);
    single(w, "dataplane_restarts_total", "counter", "Starts of a dataplane that had died", (double)ctrl->restarts);
    single(w, "problem", "gauge", "1 where this node may not take part, or says what is wrong; see lockstep status",
           ctrl->problem[0] != '\0');
    if (ctrl->suspected_ns != 0 && ctrl->installed_ns >= ctrl->suspected_ns)
        single(w, "last_election_seconds", "gauge", "Suspicion to installed epoch, of the last election won here",
               (double)(ctrl->installed_ns - ctrl->suspected_ns) / 1e9);
}

static void checkpoint_state(struct writer *w)
{
    const struct ls_operate_progress *progress = &w->view->progress;

    single(w, "checkpoint_running", "gauge", "1 while a checkpoint is written, restored or fetched", progress->running);
    if (progress->running)
        single(w, "checkpoint_bytes", "gauge", "Bytes of it that are done", (double)progress->bytes);
}

/* ---- members ---- */

static void member_sample(struct writer *w, const char *name, uint16_t member, double value)
{
    char labels[32];

    snprintf(labels, sizeof(labels), ",member=\"%u\"", member);
    sample(w, name, labels, value);
}

static void members_data(struct writer *w, uint64_t now_ns)
{
    const struct ls_membership *members = &w->view->ctrl.members;
    const struct ls_counters_page *page = w->view->page;

    family(w, "member_voter", "gauge", "1 voter, 0 learner");
    for (uint32_t i = 0; i < members->count; i++)
        member_sample(w, "member_voter", members->member[i].node, members->member[i].role == LS_MEMBER_VOTER);
    family(w, "member_lag_entries", "gauge", "Entries that a member is behind the newest applied one known here");
    for (uint32_t i = 0; i < members->count; i++) {
        uint64_t lag;

        if (ls_status_lag(w->view, members->member[i].node, &lag))
            member_sample(w, "member_lag_entries", members->member[i].node, (double)lag);
    }
    family(w, "member_heard_seconds", "gauge", "Time since the member's dataplane was heard on the data network");
    for (uint32_t i = 0; page != NULL && i < members->count; i++) {
        uint64_t heard = word(&page->replica.heard_ns[members->member[i].node]);

        if (heard != 0 && members->member[i].node != w->view->self->id)
            member_sample(w, "member_heard_seconds", members->member[i].node,
                          now_ns > heard ? (double)(now_ns - heard) / 1e9 : 0);
    }
}

static void members_ctrl(struct writer *w)
{
    static const char *const names[] = {"member_linked", "member_alive", "member_stalled", "member_counts"};
    static const char *const helps[] = {
        "1 while the link to the member's control stands", "1 while its dataplane runs, as its control says",
        "1 while its dataplane runs but makes no progress", "1 where its incarnation counts in majorities"};
    const struct ls_ctrl_view *ctrl = &w->view->ctrl;

    for (int which = 0; which < 4; which++) {
        family(w, names[which], "gauge", helps[which]);
        for (uint32_t i = 0; i < ctrl->peers; i++) {
            const struct ls_ctrl_peer_view *peer = &ctrl->peer[i];
            const bool values[] = {peer->linked, peer->alive, peer->stalled, peer->counts};

            if (which == 0 || peer->status_ns != 0)
                member_sample(w, names[which], peer->node, values[which]);
        }
    }
}

/* ---- dataplane ---- */

static void replica_state(struct writer *w)
{
    const struct ls_replica_page *replica = &w->view->page->replica;
    uint64_t role = word(&replica->role);
    char labels[64];

    family(w, "role", "gauge", "1 for the role of this node's replica");
    for (unsigned i = 0; i <= LS_ROLE_BEHIND; i++) {
        snprintf(labels, sizeof(labels), ",role=\"%s\"", ls_role_name(i));
        sample(w, "role", labels, w->view->alive && role == i);
    }
    single(w, "counts", "gauge", "1 where this incarnation counts in majorities", (double)word(&replica->counts));
    single(w, "log_seq", "gauge", "Last entry held", (double)word(&replica->last_seq));
    single(w, "applied_seq", "gauge", "Last entry applied", (double)word(&replica->applied_seq));
    single(w, "log_position_bytes", "gauge", "End of the log", (double)word(&replica->last));
    single(w, "commit_position_bytes", "gauge", "End of what is committed", (double)word(&replica->commit));
    single(w, "applied_position_bytes", "gauge", "End of what is applied", (double)word(&replica->applied));
    single(w, "log_time_seconds", "gauge", "Stamp of the last applied entry", (double)word(&replica->log_time) / 1e9);
    single(w, "sessions", "gauge", "Sessions open now", (double)word(&replica->sessions));
    single(w, "members_seq", "gauge", "Entry of the newest membership", (double)word(&replica->members_seq));
    single(w, "halted", "gauge", "1 where the replica has halted", word(&replica->halt_reason) != LS_HALT_NONE);
    single(w, "scrub_rounds_total", "counter", "Whole walks over the state that found nothing wrong",
           (double)word(&replica->scrub_rounds));
    single(w, "scrub_damaged_total", "counter", "Damaged records found in the state",
           (double)word(&replica->scrub_damaged));
    single(w, "buffers", "gauge", "Packet buffers in all", (double)word(&w->view->page->buffers_total));
    single(w, "buffers_free", "gauge", "Packet buffers free", (double)word(&w->view->page->buffers_free));
}

static void journal_state(struct writer *w)
{
    const struct ls_journal_page *journal = &w->view->page->journal;

    if (word(&journal->durability) == LS_DURABLE_MEMORY)
        return;
    single(w, "journal_durable_position", "gauge", "The disk has the log up to here", (double)word(&journal->durable));
    single(w, "journal_lag_bytes", "gauge", "Bytes of the log that are not on the disk yet",
           (double)word(&journal->lag_bytes));
    single(w, "journal_lag_seconds", "gauge", "Age of the oldest of them, never too short",
           (double)word(&journal->lag_ns) / 1e9);
    single(w, "journal_writes_total", "counter", "Writes to the journal", (double)word(&journal->writes));
    single(w, "journal_written_bytes_total", "counter", "Bytes of these writes", (double)word(&journal->bytes));
    single(w, "journal_longest_write_seconds", "gauge", "Longest write since start",
           (double)word(&journal->longest_ns) / 1e9);
    single(w, "journal_failed", "gauge", "1 where the journal can be written no more", word(&journal->error) != 0);
}

static void worker_sample(struct writer *w, const char *name, int worker, double value)
{
    static const char *const names[LS_WORKERS] = {"net", "apply", "journal"};
    char labels[32];

    if (word(&w->view->page->worker[worker].heartbeat_ns) == 0)
        return; /* this node has no such worker */
    snprintf(labels, sizeof(labels), ",worker=\"%s\"", names[worker]);
    sample(w, name, labels, value);
}

static void workers(struct writer *w, uint64_t now_ns)
{
    const struct ls_worker_page *worker = w->view->page->worker;

    family(w, "worker_turns_total", "counter", "Loop turns");
    for (int i = 0; i < LS_WORKERS; i++)
        worker_sample(w, "worker_turns_total", i, (double)word(&worker[i].heartbeat));
    family(w, "worker_busy_seconds_total", "counter", "Time in turns that found work");
    for (int i = 0; i < LS_WORKERS; i++)
        worker_sample(w, "worker_busy_seconds_total", i, (double)word(&worker[i].busy_ns) / 1e9);
    family(w, "worker_seconds_total", "counter", "Time in all turns");
    for (int i = 0; i < LS_WORKERS; i++)
        worker_sample(w, "worker_seconds_total", i, (double)word(&worker[i].total_ns) / 1e9);
    family(w, "worker_busy_ratio", "gauge", "Share of the last second in turns that found work");
    for (int i = 0; i < LS_WORKERS; i++)
        worker_sample(w, "worker_busy_ratio", i, w->view->busy[i]);
    family(w, "worker_longest_turn_seconds", "gauge", "Longest turn since start");
    for (int i = 0; i < LS_WORKERS; i++)
        worker_sample(w, "worker_longest_turn_seconds", i, (double)word(&worker[i].longest_turn_ns) / 1e9);
    family(w, "worker_last_turn_age_seconds", "gauge", "Time since the last turn");
    for (int i = 0; i < LS_WORKERS; i++) {
        uint64_t beat = word(&worker[i].heartbeat_ns);

        worker_sample(w, "worker_last_turn_age_seconds", i, now_ns > beat ? (double)(now_ns - beat) / 1e9 : 0);
    }
    family(w, "worker_sleeps_total", "counter", "Times that it slept for want of work");
    for (int i = 0; i < LS_WORKERS; i++)
        worker_sample(w, "worker_sleeps_total", i, (double)word(&worker[i].sleeps));
}

static void counters(struct writer *w)
{
    char name[80];

    for (unsigned i = 0; i < LS_COUNTERS; i++) {
        uint64_t sum = 0;

        for (int worker = 0; worker < LS_WORKERS; worker++)
            sum += ls_counter_get(&w->view->page->worker[worker].counters, i);
        snprintf(name, sizeof(name), "%s_total", ls_counter_name(i));
        single(w, name, "counter", ls_counter_text(i), (double)sum);
    }
}

bool ls_metrics_write(struct evbuffer *out, const struct ls_operate_view *view, const struct ls_fault_list *faults,
                      uint64_t now_ns)
{
    struct writer w = {.out = out, .view = view, .whole = true};

    single(&w, "uptime_seconds", "gauge", "Since this node's control was started",
           now_ns > view->start_ns ? (double)(now_ns - view->start_ns) / 1e9 : 0);
    single(&w, "up", "gauge", "1 while the dataplane runs and is linked", view->alive && view->linked);
    single(&w, "faults_in_force", "gauge", "Faults on purpose at this node", faults->count);
    ctrl_state(&w);
    checkpoint_state(&w);
    members_data(&w, now_ns);
    members_ctrl(&w);
    if (view->page == NULL)
        return w.whole;
    replica_state(&w);
    journal_state(&w);
    workers(&w, now_ns);
    counters(&w);
    return w.whole;
}
