/* SPDX-License-Identifier: BSD-3-Clause */
/* The control thread. See link.h. Never waits for a worker: what cannot be done now is looked at again next round. */
#include "link.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../core/control_check.h"
#include "../workers/clock.h"
#include "log_read.h"

static_assert(sizeof(struct ls_control_header) + sizeof(struct ls_control_log_bytes) + LS_LOG_READ_MIN <=
                  LS_CONTROL_MESSAGE_MAX,
              "room for an answer");

#define BODY(message) ((message) + sizeof(struct ls_control_header))

/* ---- saying ---- */

/* An answer whose body stands in link->answer behind the header's place. One that the socket has no room for stays
 * there; nothing more is read until it is gone. */
static void answer_send(struct ls_link *link, uint32_t type, uint64_t id, size_t size)
{
    struct ls_control_header header = {.version = LS_CONTROL_VERSION, .type = type, .id = id, .size = (uint32_t)size};

    assert(link->answer_size == 0);
    memcpy(link->answer, &header, sizeof(header));
    if (!ls_channel_send(&link->channel, link->answer, sizeof(header) + size))
        link->answer_size = sizeof(header) + size;
}

static void done_send(struct ls_link *link, uint64_t id, int error, const char *text)
{
    struct ls_control_done done = {.error = (uint32_t)error};
    size_t length = strnlen(text, LS_CONTROL_TEXT_MAX);

    memcpy(BODY(link->answer), &done, sizeof(done));
    memcpy(BODY(link->answer) + sizeof(done), text, length);
    answer_send(link, LS_CONTROL_DONE, id, sizeof(done) + length);
}

static void checkpoint_done_send(struct ls_link *link, uint64_t id, const struct ls_control_checkpoint *checkpoint,
                                 const char *text)
{
    size_t length = checkpoint->error != 0 ? strnlen(text, LS_CONTROL_TEXT_MAX) : 0;

    memcpy(BODY(link->answer), checkpoint, sizeof(*checkpoint));
    memcpy(BODY(link->answer) + sizeof(*checkpoint), text, length);
    answer_send(link, LS_CONTROL_CHECKPOINT_DONE, id, sizeof(*checkpoint) + length);
}

/* Says what waits, as far as the socket takes it. */
static void sayings_flush(struct ls_link *link)
{
    for (int i = 0; i < LS_LINK_SAYINGS; i++) {
        struct ls_saying *saying = &link->saying[i];

        if (saying->size > 0 && !ls_channel_send(&link->channel, saying->message, saying->size))
            return;
        saying->size = 0;
    }
}

static void say_event(struct ls_link *link, int which, const struct ls_event *event)
{
    link->saying[which].size = ls_translate_event(&link->translate, event, link->saying[which].message);
}

static void say_body(struct ls_link *link, int which, uint32_t type, const void *body, size_t size)
{
    struct ls_control_header header = {.version = LS_CONTROL_VERSION, .type = type, .size = (uint32_t)size};
    struct ls_saying *saying = &link->saying[which];

    assert(sizeof(header) + size <= sizeof(saying->message));
    memcpy(saying->message, &header, sizeof(header));
    memcpy(BODY(saying->message), body, size);
    saying->size = sizeof(header) + size;
}

/* A new ctrl is told how things stand; what the one before was to be told is nothing to it. */
static void greet(struct ls_link *link)
{
    struct ls_control_ready ready = {.incarnation = link->translate.incarnation,
                                     .promise = link->promise,
                                     .pid = (uint64_t)getpid(),
                                     .resumed = link->resumed};
    uint64_t sealed = atomic_load_explicit(&link->page->replica.epoch, memory_order_relaxed);

    if (sealed > ready.promise)
        ready.promise = sealed;
    for (int i = 0; i < LS_LINK_SAYINGS; i++)
        link->saying[i].size = 0;
    link->answer_size = 0;
    link->alone_since_ns = 0;
    ls_translate_relink(&link->translate);
    say_body(link, LS_LINK_READY, LS_CONTROL_READY, &ready, sizeof(ready));
    say_event(link, LS_LINK_ROLE, &link->role);
    if (link->members.members.count > 0)
        say_event(link, LS_LINK_MEMBERS, &link->members);
    sayings_flush(link);
}

/* ---- messages ---- */

static void order_push(struct ls_link *link, const struct ls_order *order)
{
    bool pushed = ls_spsc_push(&link->seam->orders, order);

    assert(pushed); /* nothing is taken in while there is no room */
    if (link->net != NULL)
        ls_waker_wake(link->net);
}

/* While a checkpoint takes the log's place there is nothing to be read: the same question finds it a moment later. */
static uint32_t log_nothing(const struct ls_control_log *ask, uint8_t *to)
{
    struct ls_control_log_bytes head = {.next_seq = ask->seq};

    memcpy(to, &head, sizeof(head));
    return sizeof(head);
}

static void log_answer(struct ls_link *link, uint64_t id, const uint8_t *body)
{
    uint8_t *to = BODY(link->answer);
    struct ls_control_log ask;
    uint64_t commit;

    memcpy(&ask, body, sizeof(ask));
    commit = atomic_load_explicit(&link->seam->commit, memory_order_acquire);
    answer_send(link, LS_CONTROL_LOG_BYTES, id,
                link->rebasing ? log_nothing(&ask, to)
                               : ls_log_read(link->log, commit, &ask, to,
                                             LS_CONTROL_MESSAGE_MAX - sizeof(struct ls_control_header)));
}

static const char not_allowed[] = "faults are not allowed: set faults_allowed: yes in the cluster file and restart";

static void faults_page(struct ls_link *link)
{
    __atomic_store_n(&link->page->faults_active, link->fault_is_set || link->disk_fault_is_set || link->slow_is_set,
                     __ATOMIC_RELAXED);
}

/* May a setting, in which this is `wrong` ("": nothing), wait for its worker? Refused here where not. */
static bool setting_take(struct ls_link *link, struct ls_waiting *waiting, uint64_t id, const char *wrong)
{
    if (!link->faults_allowed) {
        done_send(link, id, EPERM, not_allowed);
    } else if (waiting->is) {
        done_send(link, id, EBUSY, "the fault setting before this one has not been taken yet: try again");
    } else if (wrong[0] != '\0') {
        done_send(link, id, EINVAL, wrong);
    } else {
        *waiting = (struct ls_waiting){.is = true, .id = id, .link = link->translate.link};
        return true;
    }
    return false;
}

/* Its worker has it, or finds it in its next turn. */
static void setting_done(struct ls_link *link, struct ls_waiting *waiting)
{
    waiting->is = false;
    faults_page(link);
    if (link->net != NULL)
        ls_waker_wake(link->net);
    if (waiting->link == link->translate.link)
        done_send(link, waiting->id, 0, "");
}

static void fault_take(struct ls_link *link, uint64_t id, const uint8_t *body)
{
    struct ls_control_fault fault;
    char error[LS_CONTROL_TEXT_MAX] = "";

    memcpy(&fault, body, sizeof(fault));
    (void)ls_fault_check(&fault, error, sizeof(error));
    if (setting_take(link, &link->fault_waiting, id, error))
        link->fault_next = fault;
}

static void disk_fault_take(struct ls_link *link, uint64_t id, const uint8_t *body)
{
    struct ls_control_disk_fault fault;
    char error[LS_CONTROL_TEXT_MAX] = "";

    memcpy(&fault, body, sizeof(fault));
    if (link->disk_fault == NULL)
        snprintf(error, sizeof(error), "this node has no journal: durability in the cluster file is memory");
    else
        (void)ls_disk_fault_check(&fault, error, sizeof(error));
    if (setting_take(link, &link->disk_fault_waiting, id, error))
        link->disk_fault_next = fault;
}

/* Hands what waits to the port and the journal, which take it in their next turn. */
static void fault_try(struct ls_link *link)
{
    struct ls_control_fault off = {.seed = link->fault_next.seed};
    struct ls_control_disk_fault disk_off = {.seed = link->disk_fault_next.seed};

    if (link->fault_waiting.is && link->answer_size == 0 && ls_fault_post(link->fault, &link->fault_next) == 0) {
        link->fault_is_set = memcmp(&link->fault_next, &off, sizeof(off)) != 0;
        setting_done(link, &link->fault_waiting);
    }
    if (link->disk_fault_waiting.is && link->answer_size == 0 &&
        ls_disk_fault_post(link->disk_fault, &link->disk_fault_next) == 0) {
        link->disk_fault_is_set = memcmp(&link->disk_fault_next, &disk_off, sizeof(disk_off)) != 0;
        setting_done(link, &link->disk_fault_waiting);
    }
    if (link->nodes_waiting &&
        ls_fault_post_nodes(link->fault, link->members.members.member, link->members.members.count) == 0)
        link->nodes_waiting = false;
}

static void slow_take(struct ls_link *link, uint64_t id, const uint8_t *body)
{
    struct ls_control_slow slow;
    struct ls_slow *worker;
    char error[LS_CONTROL_TEXT_MAX];

    memcpy(&slow, body, sizeof(slow));
    if (!link->faults_allowed) {
        done_send(link, id, EPERM, not_allowed);
        return;
    }
    if (slow.worker >= LS_WORKERS || link->slow[slow.worker] == NULL) {
        snprintf(error, sizeof(error), "worker %u does not run: net is %u, apply is %u", slow.worker, LS_WORKER_NET,
                 LS_WORKER_APPLY);
        done_send(link, id, EINVAL, error);
        return;
    }
    if (slow.turn_ns > LS_SLOW_TURN_MAX_NS || slow.pause_ns > LS_SLOW_PAUSE_MAX_NS) {
        snprintf(error, sizeof(error),
                 "%" PRIu64 " ns a turn and a pause of %" PRIu64 " ns: at most %llu ms and %llu s are allowed",
                 slow.turn_ns, slow.pause_ns, LS_SLOW_TURN_MAX_NS / 1000000, LS_SLOW_PAUSE_MAX_NS / 1000000000);
        done_send(link, id, EINVAL, error);
        return;
    }
    worker = link->slow[slow.worker];
    atomic_store_explicit(&worker->turn_ns, slow.turn_ns, memory_order_relaxed);
    if (slow.pause_ns > 0)
        atomic_store_explicit(&worker->pause_ns, slow.pause_ns, memory_order_relaxed);
    link->slow_is_set = false;
    for (int i = 0; i < LS_WORKERS; i++)
        if (link->slow[i] != NULL && atomic_load_explicit(&link->slow[i]->turn_ns, memory_order_relaxed) != 0)
            link->slow_is_set = true;
    faults_page(link);
    done_send(link, id, 0, "");
}

static const char bulk_busy[] = "one checkpoint is written or restored at a time: wait for the end of the one before";

static void checkpoint_take(struct ls_link *link, enum ls_bulk_job_kind kind, uint64_t id, const uint8_t *body)
{
    struct ls_bulk_job job = {.kind = kind, .link = link->translate.link, .id = id};
    struct ls_control_path path;

    memcpy(&path, body, sizeof(path));
    memcpy(job.path, body + sizeof(path), path.length);
    job.bytes_per_second = path.bytes_per_second;
    job.older = path.older != 0;
    if (!ls_bulk_post(link->bulk, &job))
        checkpoint_done_send(link, id, &(struct ls_control_checkpoint){.error = EBUSY}, bulk_busy);
}

static void flip_take(struct ls_link *link, uint64_t id, const uint8_t *body)
{
    struct ls_bulk_job job = {.kind = LS_BULK_FLIP, .link = link->translate.link, .id = id};
    struct ls_control_flip flip;

    memcpy(&flip, body, sizeof(flip));
    job.seed = flip.seed;
    if (!link->faults_allowed)
        done_send(link, id, EPERM, not_allowed);
    else if (!ls_bulk_post(link->bulk, &job))
        done_send(link, id, EBUSY, bulk_busy);
}

static void trim_take(struct ls_link *link, uint64_t id, const uint8_t *body)
{
    struct ls_control_trim trim;

    memcpy(&trim, body, sizeof(trim));
    if (link->verified == NULL) {
        done_send(link, id, ENOENT, "this node has no journal: durability is memory");
        return;
    }
    if (trim.position > atomic_load_explicit(link->verified, memory_order_relaxed))
        atomic_store_explicit(link->verified, trim.position, memory_order_relaxed);
    done_send(link, id, 0, "");
}

static void message_take(struct ls_link *link)
{
    struct ls_control_header header;
    const uint8_t *body = BODY(link->message);
    struct ls_order order;

    memcpy(&header, link->message, sizeof(header));
    if (ls_translate_order(&link->translate, &header, body, &order)) {
        link->was_ordered = true;
        order_push(link, &order);
        return;
    }
    switch (header.type) {
    case LS_CONTROL_LOG:
        log_answer(link, header.id, body);
        break;
    case LS_CONTROL_FAULT:
        fault_take(link, header.id, body);
        break;
    case LS_CONTROL_DISK_FAULT:
        disk_fault_take(link, header.id, body);
        break;
    case LS_CONTROL_SLOW:
        slow_take(link, header.id, body);
        break;
    case LS_CONTROL_CHECKPOINT:
        checkpoint_take(link, LS_BULK_CHECKPOINT, header.id, body);
        break;
    case LS_CONTROL_RESTORE:
        checkpoint_take(link, LS_BULK_RESTORE, header.id, body);
        break;
    case LS_CONTROL_FLIP:
        flip_take(link, header.id, body);
        break;
    case LS_CONTROL_TRIM:
        trim_take(link, header.id, body);
        break;
    case LS_CONTROL_STOP:
        ls_link_stop(link);
        break;
    default:
        assert(header.type == LS_CONTROL_PING);
        done_send(link, header.id, 0, "");
    }
}

static bool has_room(struct ls_link *link)
{
    return ls_spsc_room(&link->seam->orders) > 0 && ls_translate_has_room(&link->translate);
}

/* At most one message a round, so that events are not kept waiting. */
static bool socket_turn(struct ls_link *link)
{
    const char *wrong;
    size_t size;

    if (ls_channel_accept(&link->channel)) {
        greet(link);
        return true;
    }
    if (link->channel.fd < 0 || !has_room(link) || link->saying[LS_LINK_ANSWERED].size > 0)
        return false; /* ctrl is slow: what it asks waits with it, and not in the queue of events */
    if (link->answer_size > 0) {
        if (!ls_channel_send(&link->channel, link->answer, link->answer_size))
            return false;
        link->answer_size = 0;
        return true;
    }
    size = ls_channel_receive(&link->channel, link->message, sizeof(link->message));
    if (size == 0)
        return link->channel.fd < 0;
    wrong = ls_control_check(LS_CONTROL_TO_DATAPLANE, link->message, size);
    if (wrong != NULL)
        ls_channel_close(&link->channel, wrong);
    else
        message_take(link);
    return true;
}

/* ---- events ---- */

static struct ls_view *view_draft(struct ls_link *link)
{
    if (!link->view_waiting)
        link->view_next = *atomic_load_explicit(&link->view->current, memory_order_relaxed);
    link->view_waiting = true;
    return &link->view_next;
}

static void role_follow(struct ls_link *link, const struct ls_event *event)
{
    struct ls_view *view = view_draft(link);

    link->role = *event;
    view->epoch = event->epoch;
    view->role = event->role;
    view->halt = (uint16_t)event->code;
    view->sequencer = ls_translate_sequencer(&link->translate, event);
    say_event(link, LS_LINK_ROLE, event);
}

static void members_follow(struct ls_link *link, const struct ls_event *event)
{
    struct ls_view *view = view_draft(link);

    link->members = *event;
    view->members = event->members.count;
    memcpy(view->member, event->members.member, sizeof(view->member));
    link->nodes_waiting = event->members.count > 0;
    say_event(link, LS_LINK_MEMBERS, event);
}

static void event_take(struct ls_link *link, const struct ls_event *event)
{
    switch (event->kind) {
    case LS_EVENT_ROLE:
        role_follow(link, event);
        break;
    case LS_EVENT_MEMBERS:
        members_follow(link, event);
        break;
    case LS_EVENT_EPOCH_SEEN:
        say_event(link, LS_LINK_EPOCH_SEEN, event);
        break;
    case LS_EVENT_REACHED:
        say_event(link, LS_LINK_REACHED, event);
        break;
    case LS_EVENT_REBASED:
        link->rebasing = false;
        ls_bulk_rebased(link->bulk, event->code);
        break;
    default:
        say_event(link, LS_LINK_ANSWERED, event);
    }
}

/* Of what only says how things stand, the newest is enough for a slow ctrl; answers to orders wait for their turn. */
static bool events_turn(struct ls_link *link)
{
    struct ls_event event;
    bool any = false;

    sayings_flush(link);
    for (int i = 0;
         i < LS_EVENTS_QUEUE && link->saying[LS_LINK_ANSWERED].size == 0 && ls_spsc_pop(&link->seam->events, &event);
         i++) {
        event_take(link, &event);
        sayings_flush(link);
        any = true;
    }
    return any;
}

/* ---- bulk ---- */

static void report_take(struct ls_link *link, const struct ls_bulk_report *report)
{
    struct ls_order rebase = {.kind = LS_ORDER_REBASE, .image = report->image};
    bool asked_here = report->link == link->translate.link;

    switch (report->kind) {
    case LS_BULK_PROGRESS:
        say_body(link, LS_LINK_PROGRESS, LS_CONTROL_PROGRESS, &report->checkpoint, sizeof(report->checkpoint));
        break;
    case LS_BULK_DAMAGED:
        fprintf(stderr,
                "lockstep-dataplane: %" PRIu64
                " damaged records were found in the state since start: this node must be "
                "rebuilt from the others\n",
                report->damaged.found);
        say_body(link, LS_LINK_DAMAGED, LS_CONTROL_DAMAGED, &report->damaged, sizeof(report->damaged));
        break;
    case LS_BULK_REBASE:
        link->rebasing = true;
        order_push(link, &rebase);
        break;
    case LS_BULK_DONE:
        link->saying[LS_LINK_PROGRESS].size = 0;
        if (asked_here)
            checkpoint_done_send(link, report->id, &report->checkpoint, report->text);
        break;
    default:
        if (asked_here)
            done_send(link, report->id, report->error, report->text);
    }
}

/* One a round, when there is room for whatever it brings about. */
static bool bulk_turn(struct ls_link *link)
{
    struct ls_bulk_report report;

    if (link->answer_size > 0 || ls_spsc_room(&link->seam->orders) == 0 || !ls_bulk_report(link->bulk, &report))
        return false;
    report_take(link, &report);
    sayings_flush(link);
    return true;
}

/* ---- the loop ---- */

static bool is_blocked(const struct ls_link *link)
{
    bool waits = link->answer_size > 0;

    for (int i = 0; i < LS_LINK_SAYINGS; i++)
        waits = waits || link->saying[i].size > 0;
    return waits;
}

/* Before anything was promised nobody is served, and without ctrl nobody ever will be. */
static void orphan_check(struct ls_link *link, uint64_t now_ns)
{
    if (link->channel.fd >= 0 || link->promise != 0 || link->was_ordered)
        return;
    if (link->alone_since_ns == 0) {
        link->alone_since_ns = now_ns;
    } else if (now_ns - link->alone_since_ns >= LS_LINK_ORPHAN_NS) {
        fprintf(stderr,
                "lockstep-dataplane: no lockstep-ctrl for %llu s, and nothing was promised yet: this process ends\n",
                LS_LINK_ORPHAN_NS / 1000000000);
        atomic_store_explicit(&link->stop, true, memory_order_release);
    }
}

static void housekeeping(struct ls_link *link, uint64_t now_ns)
{
    uint32_t free_buffers, total;

    fault_try(link);
    if (link->view_waiting && ls_view_publish(link->view, &link->view_next) == 0) {
        link->view_waiting = false;
        link->grace_want(link->grace_user);
    }
    if (now_ns < link->housekeeping_ns)
        return;
    link->housekeeping_ns = now_ns + LS_LINK_HOUSEKEEPING_NS;
    orphan_check(link, now_ns);
    link->buffers(link->buffers_user, &free_buffers, &total);
    atomic_store_explicit(&link->page->buffers_free, free_buffers, memory_order_relaxed);
    atomic_store_explicit(&link->page->buffers_total, total, memory_order_relaxed);
}

bool ls_link_turn(struct ls_link *link, uint64_t now_ns)
{
    bool any = events_turn(link);

    any = socket_turn(link) || any;
    any = bulk_turn(link) || any;
    housekeeping(link, now_ns);
    return any;
}

void ls_link_stop(struct ls_link *link)
{
    atomic_store_explicit(&link->stop, true, memory_order_release);
    ls_waker_wake(&link->waker); /* a flag and an eventfd: safe in a signal handler */
}

int ls_link_init(struct ls_link *link, int listener, uint16_t node, uint64_t incarnation)
{
    ls_translate_init(&link->translate, node, incarnation);
    link->role = (struct ls_event){.kind = LS_EVENT_ROLE, .epoch = link->promise, .role = LS_ROLE_OUTSIDE};
    return ls_channel_init(&link->channel, listener);
}

void ls_link_free(struct ls_link *link)
{
    ls_channel_free(&link->channel);
}

void ls_link_run(struct ls_link *link)
{
    while (!atomic_load_explicit(&link->stop, memory_order_acquire)) {
        bool waits;

        if (ls_link_turn(link, ls_now_ns()))
            continue;
        ls_waker_announce(&link->waker);
        if (ls_link_turn(link, ls_now_ns()) || atomic_load_explicit(&link->stop, memory_order_acquire)) {
            ls_waker_cancel(&link->waker);
            continue;
        }
        /* Messages are left alone while orders have no room or the socket has none; then the time-out brings the next
         * look. */
        ls_channel_watch(&link->channel, has_room(link) && !is_blocked(link));
        waits = link->fault_waiting.is || link->disk_fault_waiting.is || link->nodes_waiting || link->view_waiting;
        (void)ls_waker_wait(&link->waker, link->channel.poll_fd,
                            waits ? LS_LINK_HOUSEKEEPING_NS / 10 : LS_LINK_HOUSEKEEPING_NS);
    }
}
