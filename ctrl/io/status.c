/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Builds JSON from the counters page and the brain's view. 64-bit identities (cluster, digest) are hexadecimal
 * strings, because JSON's numbers are not safe above 2^53; counts are numbers.
 */
#include "status.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>

#include <lockstep/entry.h>

#include "../../dataplane/core/log.h"
#include "sample.h"

static uint64_t word(const _Atomic uint64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

static void set(json_t *object, const char *key, json_t *value)
{
    (void)json_object_set_new(object, key, value); /* without memory the key is missing */
}

static void set_number(json_t *object, const char *key, uint64_t value)
{
    set(object, key, json_integer(value <= INT64_MAX ? (json_int_t)value : INT64_MAX));
}

static void set_text(json_t *object, const char *key, const char *value)
{
    set(object, key, json_string(value));
}

static void set_hex(json_t *object, const char *key, uint64_t value)
{
    set(object, key, json_sprintf("%016" PRIx64, value));
}

static json_t *address_json(uint32_t ip, uint16_t port)
{
    return json_sprintf("%u.%u.%u.%u:%u", ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255, port);
}

/* ---- members ---- */

static void set_age_ms(json_t *json, const char *key, uint64_t then_ns, uint64_t now_ns)
{
    if (then_ns == 0)
        set(json, key, json_null());
    else
        set(json, key, json_real(now_ns > then_ns ? (double)(now_ns - then_ns) / 1e6 : 0));
}

static const struct ls_ctrl_peer_view *peer_find(const struct ls_ctrl_view *ctrl, uint16_t node)
{
    for (uint32_t i = 0; i < ctrl->peers; i++)
        if (ctrl->peer[i].node == node)
            return &ctrl->peer[i];
    return NULL;
}

static uint64_t greater(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* As far as it is known here: by its acknowledgements, or by its ctrl's word. */
static uint64_t applied_seq(const struct ls_operate_view *view, uint16_t node)
{
    const struct ls_ctrl_peer_view *peer = peer_find(&view->ctrl, node);
    uint64_t seq = peer != NULL ? peer->applied_seq : 0;

    if (view->page == NULL)
        return seq;
    return greater(
        seq, word(node == view->self->id ? &view->page->replica.applied_seq : &view->page->replica.acked_seq[node]));
}

uint64_t ls_status_newest_seq(const struct ls_operate_view *view)
{
    uint64_t newest = view->page != NULL ? word(&view->page->replica.applied_seq) : 0;

    for (uint32_t i = 0; i < view->ctrl.members.count; i++)
        newest = greater(newest, applied_seq(view, view->ctrl.members.member[i].node));
    return newest;
}

bool ls_status_lag(const struct ls_operate_view *view, uint16_t node, uint64_t *lag)
{
    uint64_t seq = applied_seq(view, node), newest = ls_status_newest_seq(view);

    *lag = newest - seq;
    return seq > 0 || node == view->self->id;
}

static const char *own_role(const struct ls_operate_view *view)
{
    return !view->alive         ? "down"    /* it leaves its last words in the page, which are no longer true */
           : view->ctrl.stalled ? "stalled" /* likewise: it may have been deposed */
           : view->page != NULL ? ls_role_name((unsigned)word(&view->page->replica.role))
                                : "starting";
}

static void set_peer(json_t *json, const struct ls_ctrl_peer_view *peer, uint64_t now_ns)
{
    set(json, "linked", json_boolean(peer->linked));
    set_age_ms(json, "status_ms", peer->status_ns, now_ns);
    if (peer->status_ns == 0)
        return; /* nothing is known of it */
    set(json, "alive", json_boolean(peer->alive));
    set(json, "stalled", json_boolean(peer->stalled));
    set(json, "counts", json_boolean(peer->counts));
    set_text(json, "replica", peer->alive ? ls_role_name(peer->role) : "down");
    set_number(json, "incarnation", peer->incarnation);
    set_number(json, "promise", peer->promise);
    set_number(json, "epoch", peer->epoch);
}

static void set_own(json_t *json, const struct ls_operate_view *view)
{
    const struct ls_durable *durable = &view->ctrl.durable;

    set(json, "linked", json_true());
    set(json, "alive", json_boolean(view->alive));
    set(json, "counts", json_boolean(durable->counts != 0 && durable->counts == durable->incarnation));
    set_text(json, "replica", own_role(view));
    set_number(json, "incarnation", durable->incarnation);
    set_number(json, "promise", durable->promise);
    set_number(json, "epoch", view->ctrl.epoch);
}

static json_t *member_json(const struct ls_operate_view *view, const struct ls_member *member, uint64_t now_ns)
{
    const struct ls_counters_page *page = view->page;
    const struct ls_ctrl_peer_view *peer = peer_find(&view->ctrl, member->node);
    bool self = member->node == view->self->id;
    uint64_t heard = page != NULL ? word(&page->replica.heard_ns[member->node]) : 0;
    json_t *json = json_object();
    uint64_t lag;

    set_number(json, "node", member->node);
    set_text(json, "role", member->role == LS_MEMBER_VOTER ? "voter" : "learner");
    set(json, "address", address_json(member->addr.ip, member->addr.port));
    if (member->ctrl.port != 0)
        set(json, "ctrl", address_json(member->ctrl.ip, member->ctrl.port));
    if (self && view->alive)
        set(json, "heard_ms", json_real(0));
    else
        set_age_ms(json, "heard_ms", heard, now_ns);
    if (page != NULL)
        set_number(json, "acked", word(self ? &page->replica.last : &page->replica.acked[member->node]));
    set_number(json, "applied_seq", applied_seq(view, member->node));
    set(json, "lag", ls_status_lag(view, member->node, &lag) ? json_integer((json_int_t)lag) : json_null());
    if (self)
        set_own(json, view);
    else if (peer != NULL)
        set_peer(json, peer, now_ns);
    return json;
}

static json_t *members_json(const struct ls_operate_view *view, uint64_t now_ns)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < view->ctrl.members.count; i++)
        (void)json_array_append_new(list, member_json(view, &view->ctrl.members.member[i], now_ns));
    return list;
}

/* ---- the dataplane ---- */

static json_t *workers_json(const struct ls_operate_view *view, uint64_t now_ns)
{
    static const char *const names[LS_WORKERS] = {"net", "apply", "journal"};
    const struct ls_counters_page *page = view->page;
    json_t *list = json_array();

    for (int i = 0; i < LS_WORKERS; i++) {
        const struct ls_worker_page *worker = &page->worker[i];
        uint64_t beat_ns = word(&worker->heartbeat_ns);
        json_t *json;

        if (beat_ns == 0)
            continue; /* this node has no such worker */
        json = json_object();
        set_text(json, "name", names[i]);
        set_number(json, "heartbeat", word(&worker->heartbeat));
        set(json, "heartbeat_age_ms", json_real(now_ns > beat_ns ? (double)(now_ns - beat_ns) / 1e6 : 0));
        set(json, "busy", json_real(view->busy[i]));
        set(json, "longest_turn_us", json_real((double)word(&worker->longest_turn_ns) / 1e3));
        set_number(json, "sleeps", word(&worker->sleeps));
        set(json, "cpu", word(&worker->cpu) == UINT64_MAX ? json_null() : json_integer((json_int_t)word(&worker->cpu)));
        (void)json_array_append_new(list, json);
    }
    return list;
}

static json_t *counters_json(const struct ls_counters_page *page)
{
    json_t *json = json_object();

    for (unsigned i = 0; i < LS_COUNTERS; i++) {
        uint64_t sum = 0;

        for (int worker = 0; worker < LS_WORKERS; worker++)
            sum += ls_counter_get(&page->worker[worker].counters, i);
        set_number(json, ls_counter_name(i), sum);
    }
    return json;
}

/* Seq and digest of one comparison point; see struct ls_replica_page for the order. */
static void set_digest(json_t *json, const struct ls_replica_page *replica)
{
    for (int tries = 0; tries < 100; tries++) {
        uint64_t seq = atomic_load_explicit(&replica->digest_seq, memory_order_acquire);
        uint64_t digest = atomic_load_explicit(&replica->digest, memory_order_acquire);

        if (seq == 0 || seq != atomic_load_explicit(&replica->digest_seq, memory_order_acquire))
            continue;
        set_hex(json, "digest", digest);
        set_number(json, "digest_seq", seq);
        return;
    }
    set(json, "digest", json_null());
    set_number(json, "digest_seq", 0);
}

static enum ls_durability durability_of(const struct ls_operate_view *view)
{
    return (enum ls_durability)word(&view->page->journal.durability);
}

/* What an answer stands for here, in words: what a power cut of all nodes could take. */
static void loss_say(const struct ls_operate_view *view, char *text, size_t room)
{
    const struct ls_journal_page *journal = &view->page->journal;
    uint64_t applied = word(&view->page->replica.applied_seq), checkpoint = view->checkpoint_seq;

    switch (durability_of(view)) {
    case LS_DURABLE_JOURNAL:
        snprintf(text, room, "nothing that was answered");
        break;
    case LS_DURABLE_ASYNC:
        snprintf(text, room,
                 "the newest %" PRIu64
                 " bytes, %.1f ms, as this node's disk stands now (at worst since its start %" PRIu64
                 " bytes, %.1f ms)",
                 word(&journal->lag_bytes), (double)word(&journal->lag_ns) / 1e6, word(&journal->lag_bytes_max),
                 (double)word(&journal->lag_ns_max) / 1e6);
        break;
    default:
        snprintf(text, room, "all that came behind the newest checkpoint, of seq %" PRIu64 ": %" PRIu64 " entries",
                 checkpoint, applied > checkpoint ? applied - checkpoint : 0);
    }
}

static json_t *journal_json(const struct ls_operate_view *view, uint64_t now_ns)
{
    const struct ls_journal_page *journal = &view->page->journal;
    uint64_t oldest_ns = word(&journal->oldest_ns);
    json_t *json = json_object();

    set_number(json, "durable", word(&journal->durable));
    set_number(json, "lag_bytes", word(&journal->lag_bytes));
    set(json, "lag_ms", json_real((double)word(&journal->lag_ns) / 1e6));
    set_number(json, "lag_bytes_max", word(&journal->lag_bytes_max));
    set(json, "lag_ms_max", json_real((double)word(&journal->lag_ns_max) / 1e6));
    set_number(json, "writes", word(&journal->writes));
    set_number(json, "bytes", word(&journal->bytes));
    set_number(json, "states", word(&journal->states));
    set(json, "longest_write_us", json_real((double)word(&journal->longest_ns) / 1e3));
    set(json, "oldest_write_ms",
        json_real(oldest_ns != 0 && now_ns > oldest_ns ? (double)(now_ns - oldest_ns) / 1e6 : 0));
    set_number(json, "faults", word(&journal->faults));
    if (word(&journal->error) != 0)
        set_text(json, "error", strerror((int)word(&journal->error)));
    return json;
}

static void set_durability(json_t *json, const struct ls_operate_view *view, uint64_t now_ns)
{
    char loss[LS_OPERATE_TEXT];

    loss_say(view, loss, sizeof(loss));
    set_text(json, "durability", ls_durability_name(durability_of(view)));
    set_text(json, "could_lose", loss);
    if (durability_of(view) != LS_DURABLE_MEMORY)
        set(json, "journal", journal_json(view, now_ns));
}

static void set_replica(json_t *json, const struct ls_operate_view *view, uint64_t now_ns)
{
    const struct ls_counters_page *page = view->page;
    const struct ls_replica_page *replica = &page->replica;
    json_t *buffers = json_object();

    set_number(json, "last", word(&replica->last));
    set_number(json, "last_seq", word(&replica->last_seq));
    set_number(json, "commit", word(&replica->commit));
    set_number(json, "applied", word(&replica->applied));
    set_number(json, "applied_seq", word(&replica->applied_seq));
    set_digest(json, replica);
    set_number(json, "log_time", word(&replica->log_time));
    set_number(json, "sessions", word(&replica->sessions));
    set_number(json, "scrub_rounds", word(&replica->scrub_rounds));
    set_number(json, "scrub_damaged", word(&replica->scrub_damaged));
    set_number(buffers, "total", word(&page->buffers_total));
    set_number(buffers, "free", word(&page->buffers_free));
    set(json, "buffers", buffers);
    set(json, "faults_active", json_boolean(__atomic_load_n(&page->faults_active, __ATOMIC_RELAXED) != 0));
    if (word(&replica->halt_reason) != LS_HALT_NONE)
        set_text(json, "halt", ls_halt_text((unsigned)word(&replica->halt_reason)));
    set_durability(json, view, now_ns);
    set(json, "workers", workers_json(view, now_ns));
    set(json, "counters", counters_json(page));
}

static json_t *dataplane_json(const struct ls_operate_view *view, uint64_t now_ns)
{
    json_t *json = json_object();

    set(json, "alive", json_boolean(view->alive));
    set(json, "linked", json_boolean(view->linked));
    if (!view->alive)
        set_text(json, "reason", view->death);
    set_number(json, "pid", view->pid);
    set_number(json, "incarnation", view->ctrl.durable.incarnation);
    if (view->page != NULL)
        set_replica(json, view, now_ns);
    return json;
}

/* ---- what an operator should know ---- */

static void alarm_add(json_t *alarms, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void alarm_add(json_t *alarms, const char *format, ...)
{
    char text[LS_OPERATE_TEXT];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    (void)json_array_append_new(alarms, json_string(text));
}

static void disk_alarms(json_t *alarms, const struct ls_journal_page *journal, uint64_t now_ns)
{
    uint64_t oldest_ns = word(&journal->oldest_ns);

    if (word(&journal->error) != 0)
        alarm_add(alarms, "the journal cannot be written: %s: look at the disk of data_dir (df, dmesg)",
                  strerror((int)word(&journal->error)));
    else if (oldest_ns != 0 && now_ns > oldest_ns + LS_SAMPLE_DISK_NS)
        alarm_add(alarms,
                  "the journal's disk has not completed a write for %.1f s: look at the disk of data_dir (dmesg)",
                  (double)(now_ns - oldest_ns) / 1e9);
}

static void own_alarms(json_t *alarms, const struct ls_operate_view *view, uint64_t now_ns)
{
    const struct ls_ctrl_view *ctrl = &view->ctrl;
    const struct ls_counters_page *page = view->page;

    if (ctrl->majority_lost)
        alarm_add(alarms, "A MAJORITY OF THE VOTERS HAS LOST ITS MEMORY: nothing goes on by itself; lockstep cluster "
                          "recover --help");
    if (ctrl->problem[0] != '\0')
        alarm_add(alarms, "%s", ctrl->problem);
    if (ctrl->phase == LS_CTRL_FULL && !view->alive)
        alarm_add(alarms, "the dataplane is not running: %s", view->death);
    else if (view->alive && !view->linked)
        alarm_add(alarms, "the dataplane runs, but the link to it is closed");
    if (view->alive && page != NULL && word(&page->replica.halt_reason) != LS_HALT_NONE)
        alarm_add(alarms, "the replica has halted: %s", ls_halt_text((unsigned)word(&page->replica.halt_reason)));
    if (page != NULL)
        disk_alarms(alarms, &page->journal, now_ns);
    if (page != NULL && word(&page->replica.scrub_damaged) > 0)
        alarm_add(alarms, "%" PRIu64 " damaged records were found in the state", word(&page->replica.scrub_damaged));
    if (page != NULL && __atomic_load_n(&page->faults_active, __ATOMIC_RELAXED) != 0)
        alarm_add(alarms, "FAULTS ARE BEING INJECTED here: lockstep fault list");
    if (ctrl->sequencer == 0)
        alarm_add(alarms, "no sequencer is known%s", ctrl->electing ? ": an election is under way" : "");
    else if (ctrl->suspecting)
        alarm_add(alarms, "the sequencer, node %u, is not heard", ctrl->sequencer);
}

static void peer_alarms(json_t *alarms, const struct ls_operate_view *view)
{
    for (uint32_t i = 0; i < view->ctrl.peers; i++) {
        const struct ls_ctrl_peer_view *peer = &view->ctrl.peer[i];

        if (!peer->linked)
            alarm_add(alarms, "node %u: no link to its lockstep-ctrl", peer->node);
        else if (peer->status_ns != 0 && !peer->alive)
            alarm_add(alarms, "node %u: its dataplane is not running", peer->node);
        else if (peer->status_ns != 0 && peer->stalled)
            alarm_add(alarms, "node %u: its dataplane makes no progress", peer->node);
        else if (peer->status_ns != 0 && !peer->counts && ls_membership_is_voter(&view->ctrl.members, peer->node))
            alarm_add(alarms, "node %u: its memory was lost, it does not count until it has caught up", peer->node);
    }
}

static json_t *said_json(const struct ls_operate_view *view)
{
    static const char *const levels[] = {"info", "warning", "alarm"};
    json_t *list = json_array();

    for (uint32_t i = 0; i < view->alarms && i < LS_OPERATE_ALARMS; i++) {
        const struct ls_operate_alarm *alarm = &view->alarm[i];
        json_t *json = json_object();
        char at[32] = "";
        struct tm utc;

        if (gmtime_r(&alarm->at, &utc) != NULL)
            strftime(at, sizeof(at), "%Y-%m-%dT%H:%M:%SZ", &utc);
        set_text(json, "at", at);
        set_text(json, "level", levels[alarm->level <= LS_CTRL_ALARM ? alarm->level : LS_CTRL_ALARM]);
        set_number(json, "times", alarm->times);
        set_text(json, "text", alarm->text);
        (void)json_array_append_new(list, json);
    }
    return list;
}

/* ---- progress ---- */

/* How far a new incarnation is on its way back. */
static json_t *rejoin_json(const struct ls_operate_view *view)
{
    uint64_t last = view->page != NULL ? word(&view->page->replica.last) : 0;
    json_t *json;

    if (view->ctrl.phase != LS_CTRL_OUTSIDE && view->ctrl.phase != LS_CTRL_JOINING)
        return json_null();
    json = json_object();
    set_number(json, "reach", view->ctrl.reach);
    set_number(json, "last", last);
    set(json, "share",
        json_real(view->ctrl.reach == 0      ? 0
                  : last >= view->ctrl.reach ? 1
                                             : (double)last / (double)view->ctrl.reach));
    return json;
}

json_t *ls_progress_json(const struct ls_operate_progress *progress)
{
    json_t *json;

    if (!progress->running)
        return json_null();
    json = json_object();
    set_text(json, "what", progress->what);
    if (progress->from != 0)
        set_number(json, "from", progress->from);
    set_number(json, "bytes", progress->bytes);
    set_number(json, "expected", progress->expected);
    return json;
}

/* Of the last election that this node won: how long it took from suspicion to a decision and to the installed epoch. */
static json_t *elections_json(const struct ls_ctrl_view *ctrl)
{
    json_t *json = json_object();

    set_number(json, "stood", ctrl->elections);
    set_number(json, "won", ctrl->elections_won);
    set(json, "electing", json_boolean(ctrl->electing));
    if (ctrl->suspected_ns != 0 && ctrl->decided_ns >= ctrl->suspected_ns)
        set(json, "decided_ms", json_real((double)(ctrl->decided_ns - ctrl->suspected_ns) / 1e6));
    if (ctrl->suspected_ns != 0 && ctrl->installed_ns >= ctrl->suspected_ns)
        set(json, "installed_ms", json_real((double)(ctrl->installed_ns - ctrl->suspected_ns) / 1e6));
    /* The same as moments of this machine's monotonic clock, for who measures from outside. */
    set_number(json, "suspected_ns", ctrl->suspected_ns);
    set_number(json, "decided_ns", ctrl->decided_ns);
    set_number(json, "installed_ns", ctrl->installed_ns);
    return json;
}

/* ---- the whole ---- */

json_t *ls_status_json(const struct ls_operate_view *view, uint64_t now_ns)
{
    const struct ls_ctrl_view *ctrl = &view->ctrl;
    json_t *json = json_object(), *alarms = json_array();

    own_alarms(alarms, view, now_ns);
    peer_alarms(alarms, view);
    set_number(json, "node", view->self->id);
    set_text(json, "cluster", view->config->name);
    set_hex(json, "cluster_id", view->config->cluster);
    set_number(json, "generation", ctrl->durable.generation);
    set_text(json, "state",
             ctrl->phase == LS_CTRL_FULL && view->alive && !view->linked ? "link closed"
                                                                         : ls_ctrl_phase_name(ctrl->phase));
    /* Where it does not take part: what was said last is why, more often than not. */
    set_text(json, "problem",
             ctrl->problem[0] == '\0' && ctrl->phase != LS_CTRL_FULL && view->alarms > 0 ? view->alarm[0].text
                                                                                         : ctrl->problem);
    set(json, "alarms", alarms);
    set(json, "said", said_json(view));
    set_number(json, "promise", ctrl->durable.promise);
    set_number(json, "epoch", ctrl->epoch);
    set_text(json, "role", own_role(view));
    set_number(json, "sequencer", ctrl->sequencer);
    set_number(json, "newest_seq", ls_status_newest_seq(view));
    set_number(json, "members_seq", ctrl->members.seq);
    set(json, "members_committed", json_boolean(ctrl->members_committed));
    set_text(json, "change", ctrl->change);
    set(json, "rejoin", rejoin_json(view));
    set(json, "checkpoint", ls_progress_json(&view->progress));
    set(json, "elections", elections_json(ctrl));
    set_number(json, "admissions", ctrl->admissions);
    set_number(json, "restarts", ctrl->restarts);
    if (ctrl->phase == LS_CTRL_WAITING)
        set(json, "restart_in_ms",
            json_real(ctrl->restart_ns > now_ns ? (double)(ctrl->restart_ns - now_ns) / 1e6 : 0));
    set(json, "uptime_s", json_real(now_ns > view->start_ns ? (double)(now_ns - view->start_ns) / 1e9 : 0));
    set(json, "members", members_json(view, now_ns));
    set(json, "dataplane", dataplane_json(view, now_ns));
    return json;
}

json_t *ls_checkpoint_json(const struct ls_operate_checkpoint *checkpoint)
{
    json_t *json = json_object();
    char made[32] = "";
    time_t at = (time_t)checkpoint->made_s;
    struct tm utc;

    if (gmtime_r(&at, &utc) != NULL)
        strftime(made, sizeof(made), "%Y-%m-%dT%H:%M:%SZ", &utc);
    set_text(json, "name", checkpoint->name);
    set_text(json, "state", checkpoint->state);
    set_number(json, "generation", checkpoint->generation);
    set_number(json, "seq", checkpoint->seq);
    set_number(json, "position", checkpoint->position);
    set_hex(json, "digest", checkpoint->digest);
    set_number(json, "size", checkpoint->size);
    set_text(json, "made", made);
    return json;
}

/* ---- the log ---- */

static json_t *entry_json(const struct ls_entry *entry, const uint8_t *operation)
{
    json_t *json = json_object();

    set_number(json, "seq", entry->seq);
    set_number(json, "time", entry->time);
    set_text(json, "kind", ls_entry_kind_name(entry->kind));
    set_number(json, "session", entry->session);
    set_number(json, "number", entry->number);
    set(json, "client", address_json(entry->ip, entry->port));
    set_number(json, "length", entry->length);
    if (operation == NULL) {
        set(json, "operation", json_null()); /* too large for a message */
    } else {
        char *text = malloc(4 * ((size_t)entry->length + 2) / 3 + 4);

        if (text != NULL) {
            text[0] = '\0';
            EVP_EncodeBlock((unsigned char *)text, operation, (int)entry->length);
            set_text(json, "operation", text);
        }
        free(text);
    }
    return json;
}

json_t *ls_log_json(const uint8_t *body)
{
    struct ls_control_log_bytes head;
    json_t *json = json_object(), *entries = json_array();
    const uint8_t *at = body + sizeof(head), *end;
    struct ls_entry entry;

    memcpy(&head, body, sizeof(head));
    end = at + head.bytes;
    set_number(json, "oldest_seq", head.oldest_seq);
    set_number(json, "next_seq", head.next_seq);
    set_number(json, "commit_seq", head.commit_seq);
    while (at < end) {
        bool bare = head.skipped && (size_t)(end - at) == sizeof(entry);

        memcpy(&entry, at, sizeof(entry));
        (void)json_array_append_new(entries, entry_json(&entry, bare ? NULL : at + sizeof(entry)));
        at += bare ? sizeof(entry) : ls_entry_size(entry.length);
    }
    set(json, "entries", entries);
    return json;
}
