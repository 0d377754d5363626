/* SPDX-License-Identifier: BSD-3-Clause */
/* The control thread. See link.h. Never waits for a worker: what cannot be done now is looked at again next round. */
#include "link.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../workers/clock.h"
#include "log_read.h"

static_assert(sizeof(struct ls_control_header) + sizeof(struct ls_control_log_bytes) + LS_LOG_READ_MIN <=
                  LS_CONTROL_MESSAGE_MAX,
              "room for an answer");

static void link_close(struct ls_link *link, const char *why)
{
    if (link->fd < 0)
        return;
    /* Before its first promise it serves nobody, and without ctrl it never will. */
    if (link->promise == 0 && !link->was_ordered)
        atomic_store_explicit(&link->stop, true, memory_order_release);
    fprintf(stderr, "lockstep-dataplane: the link to lockstep-ctrl is closed: %s; %s\n", why,
            link->promise == 0 && !link->was_ordered ? "nothing was promised yet: this process ends"
                                                     : "service goes on");
    close(link->fd);
    link->fd = -1;
    link->answer_size = 0;
}

/* False: the socket is full, because ctrl is slow (a disk may hold it for seconds): keep it and come again. */
static bool message_try(struct ls_link *link, const uint8_t *message, size_t size)
{
    ssize_t sent;

    if (link->fd < 0)
        return true;
    do {
        sent = send(link->fd, message, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno == EAGAIN)
        return false;
    if (sent < 0)
        link_close(link, strerror(errno));
    return true;
}

/* An answer whose body stands in link->answer behind the header's place. One that the socket has no room for stays
 * there; nothing more is read until it is gone. */
static void message_send(struct ls_link *link, uint32_t type, uint64_t id, size_t size)
{
    struct ls_control_header header = {.version = LS_CONTROL_VERSION, .type = type, .id = id, .size = (uint32_t)size};

    assert(link->answer_size == 0);
    memcpy(link->answer, &header, sizeof(header));
    if (!message_try(link, link->answer, sizeof(header) + size))
        link->answer_size = sizeof(header) + size;
}

/* An event. False as above. */
static bool body_send(struct ls_link *link, uint32_t type, uint64_t id, const void *body, size_t size)
{
    struct ls_control_header header = {.version = LS_CONTROL_VERSION, .type = type, .id = id, .size = (uint32_t)size};
    uint8_t message[sizeof(header) + 64];

    assert(size <= sizeof(message) - sizeof(header));
    memcpy(message, &header, sizeof(header));
    memcpy(message + sizeof(header), body, size);
    return message_try(link, message, sizeof(header) + size);
}

static void done_send(struct ls_link *link, uint64_t id, int error, const char *text)
{
    struct ls_control_done done = {.error = (uint32_t)error};
    size_t length = strnlen(text, LS_CONTROL_TEXT_MAX);
    uint8_t *body = link->answer + sizeof(struct ls_control_header);

    memcpy(body, &done, sizeof(done));
    memcpy(body + sizeof(done), text, length);
    message_send(link, LS_CONTROL_DONE, id, sizeof(done) + length);
}

const char *ls_link_check(const uint8_t *message, size_t size)
{
    struct ls_control_header header;
    struct ls_control_epoch epoch;
    struct ls_control_log log;
    struct ls_control_fault fault;
    const uint8_t *body = message + sizeof(header);
    size_t expected;

    if (size < sizeof(header))
        return "a message shorter than its header";
    memcpy(&header, message, sizeof(header));
    if (header.version != LS_CONTROL_VERSION)
        return "a message of another version: install lockstep-ctrl and lockstep-dataplane together";
    if (header.zero != 0)
        return "a message with a reserved field that is not zero";
    if (header.size != size - sizeof(header))
        return "a message whose size is not that of its packet";
    if (header.id == 0)
        return "a question without a number";
    switch (header.type) {
    case LS_CONTROL_SEAL:
    case LS_CONTROL_INSTALL:
        expected = sizeof(epoch);
        break;
    case LS_CONTROL_LOG:
        expected = sizeof(log);
        break;
    case LS_CONTROL_FAULT:
        expected = sizeof(fault);
        break;
    case LS_CONTROL_STOP:
    case LS_CONTROL_PING:
        expected = 0;
        break;
    default:
        return "a message of unknown type";
    }
    if (header.size != expected)
        return "a message whose body is not of its type's size";
    if (header.type == LS_CONTROL_SEAL || header.type == LS_CONTROL_INSTALL) {
        memcpy(&epoch, body, sizeof(epoch));
        if (epoch.node != 0 || epoch.zero16 != 0 || epoch.zero32 != 0 || epoch.epoch == 0 ||
            (epoch.incarnation == 0) != (header.type == LS_CONTROL_SEAL))
            return "an order with fields that make no sense";
    } else if (header.type == LS_CONTROL_LOG) {
        memcpy(&log, body, sizeof(log));
        if (log.zero != 0)
            return "a question with a reserved field that is not zero";
    } else if (header.type == LS_CONTROL_FAULT) {
        memcpy(&fault, body, sizeof(fault));
        if (fault.zero != 0)
            return "a fault setting with a reserved field that is not zero";
    }
    return NULL;
}

static void order_push(struct ls_link *link, uint32_t kind, uint64_t id, const uint8_t *body)
{
    struct ls_control_epoch epoch;
    struct ls_order order;
    bool pushed;

    memcpy(&epoch, body, sizeof(epoch));
    order = (struct ls_order){.id = id, .epoch = epoch.epoch, .incarnation = epoch.incarnation, .kind = kind};
    link->was_ordered = true;
    pushed = ls_spsc_push(&link->seam->orders, &order);
    assert(pushed); /* nothing is read from the socket while there is no room */
    if (link->net != NULL)
        ls_waker_wake(link->net);
}

static void log_answer(struct ls_link *link, uint64_t id, const uint8_t *body)
{
    uint8_t *to = link->answer + sizeof(struct ls_control_header);
    struct ls_control_log ask;

    memcpy(&ask, body, sizeof(ask));
    message_send(link, LS_CONTROL_LOG_BYTES, id,
                 ls_log_read(link->log, atomic_load_explicit(&link->seam->commit, memory_order_acquire), &ask, to,
                             LS_CONTROL_MESSAGE_MAX - sizeof(struct ls_control_header)));
}

static bool fault_is_off(const struct ls_control_fault *fault)
{
    struct ls_control_fault off = {.seed = fault->seed};

    return memcmp(fault, &off, sizeof(off)) == 0;
}

static void fault_take(struct ls_link *link, uint64_t id, const uint8_t *body)
{
    struct ls_control_fault fault;
    char error[LS_CONTROL_TEXT_MAX];

    memcpy(&fault, body, sizeof(fault));
    if (!link->faults_allowed) {
        done_send(link, id, EPERM, "faults are not allowed: set faults_allowed: yes in the cluster file and restart");
    } else if (link->fault_waiting) {
        done_send(link, id, EBUSY, "the fault setting before this one has not been taken yet: try again");
    } else if (ls_fault_check(&fault, error, sizeof(error)) != 0) {
        done_send(link, id, EINVAL, error);
    } else {
        link->fault_waiting = true;
        link->fault_id = id;
        link->fault_next = fault;
    }
}

/* Hands a waiting setting to the port, which takes it at its next receive(). */
static void fault_try(struct ls_link *link)
{
    if (!link->fault_waiting || link->answer_size > 0 || ls_fault_post(link->fault, &link->fault_next) != 0)
        return;
    link->fault_waiting = false;
    __atomic_store_n(&link->page->faults_active, !fault_is_off(&link->fault_next), __ATOMIC_RELAXED);
    if (link->net != NULL)
        ls_waker_wake(link->net);
    done_send(link, link->fault_id, 0, "");
}

static void message_take(struct ls_link *link)
{
    struct ls_control_header header;
    const uint8_t *body = link->message + sizeof(header);

    memcpy(&header, link->message, sizeof(header));
    switch (header.type) {
    case LS_CONTROL_SEAL:
        order_push(link, LS_ORDER_SEAL, header.id, body);
        break;
    case LS_CONTROL_INSTALL:
        order_push(link, LS_ORDER_INSTALL, header.id, body);
        break;
    case LS_CONTROL_LOG:
        log_answer(link, header.id, body);
        break;
    case LS_CONTROL_FAULT:
        fault_take(link, header.id, body);
        break;
    case LS_CONTROL_STOP:
        ls_link_stop(link);
        break;
    default:
        assert(header.type == LS_CONTROL_PING);
        done_send(link, header.id, 0, "");
    }
}

/* At most one message a round, so that events are not kept waiting. */
static bool socket_turn(struct ls_link *link)
{
    const char *wrong;
    ssize_t size;

    if (link->fd < 0 || ls_spsc_room(&link->seam->orders) == 0)
        return false;
    if (link->answer_size > 0) {
        if (!message_try(link, link->answer, link->answer_size))
            return false;
        link->answer_size = 0;
        return true;
    }
    size = recv(link->fd, link->message, sizeof(link->message), MSG_DONTWAIT | MSG_TRUNC);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (size <= 0) {
        link_close(link, size == 0 ? "lockstep-ctrl has gone" : strerror(errno));
        return true;
    }
    wrong =
        (size_t)size > sizeof(link->message) ? "a message larger than any" : ls_link_check(link->message, (size_t)size);
    if (wrong != NULL)
        link_close(link, wrong);
    else
        message_take(link);
    return true;
}

static uint16_t role_sequencer(const struct ls_link *link, const struct ls_event *event)
{
    const struct ls_view *now = atomic_load_explicit(&link->view->current, memory_order_relaxed);
    bool leads = event->role == LS_ROLE_OPENING || event->role == LS_ROLE_SEQUENCER || event->role == LS_ROLE_SUSPENDED;

    return leads ? now->node : event->node;
}

static void view_follow(struct ls_link *link, const struct ls_event *event)
{
    if (!link->view_waiting)
        link->view_next = *atomic_load_explicit(&link->view->current, memory_order_relaxed);
    link->view_next.epoch = event->epoch;
    link->view_next.role = event->role;
    link->view_next.halt = (uint16_t)event->code;
    link->view_next.sequencer = role_sequencer(link, event);
    link->view_waiting = true;
}

/* False: no room in the socket. */
static bool event_send(struct ls_link *link, const struct ls_event *event)
{
    switch (event->kind) {
    case LS_EVENT_SEALED: {
        struct ls_control_sealed sealed = {.epoch = event->epoch,
                                           .incarnation = link->incarnation,
                                           .last_epoch = event->last_epoch,
                                           .last = event->last,
                                           .last_seq = event->last_seq};
        return body_send(link, LS_CONTROL_SEALED, event->id, &sealed, sizeof(sealed));
    }
    case LS_EVENT_INSTALLED: {
        struct ls_control_installed installed = {.epoch = event->epoch, .refused = event->code};
        return body_send(link, LS_CONTROL_INSTALLED, event->id, &installed, sizeof(installed));
    }
    case LS_EVENT_EPOCH_SEEN: {
        struct ls_control_epoch epoch = {.epoch = event->epoch, .node = event->node};
        return body_send(link, LS_CONTROL_EPOCH_SEEN, 0, &epoch, sizeof(epoch));
    }
    default: {
        struct ls_control_role role = {.epoch = event->epoch,
                                       .role = event->role,
                                       .sequencer = role_sequencer(link, event),
                                       .halt = (uint16_t)event->code};
        return body_send(link, LS_CONTROL_ROLE, 0, &role, sizeof(role));
    }
    }
}

/* Says what waits, as far as the socket takes it. */
static void events_flush(struct ls_link *link)
{
    for (int i = 0; i < LS_LINK_EVENTS; i++) {
        if (link->event[i].kind != 0 && !event_send(link, &link->event[i]))
            return;
        link->event[i].kind = 0;
    }
}

/* Of what only says how things stand, the newest is enough for a slow ctrl; answers to orders wait for their turn. */
static bool events_turn(struct ls_link *link)
{
    struct ls_event event;
    bool any = false;

    events_flush(link);
    for (int i = 0;
         i < LS_EVENTS_QUEUE && link->event[LS_LINK_ANSWERED].kind == 0 && ls_spsc_pop(&link->seam->events, &event);
         i++) {
        if (event.kind > LS_EVENT_ROLE)
            continue; /* what ctrl is not told yet */
        if (event.kind == LS_EVENT_ROLE)
            view_follow(link, &event);
        link->event[event.kind == LS_EVENT_ROLE         ? LS_LINK_ROLE
                    : event.kind == LS_EVENT_EPOCH_SEEN ? LS_LINK_EPOCH_SEEN
                                                        : LS_LINK_ANSWERED] = event;
        events_flush(link);
        any = true;
    }
    return any;
}

static bool is_blocked(const struct ls_link *link)
{
    bool waits = link->answer_size > 0;

    for (int i = 0; i < LS_LINK_EVENTS; i++)
        waits = waits || link->event[i].kind != 0;
    return waits;
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
    link->buffers(link->buffers_user, &free_buffers, &total);
    atomic_store_explicit(&link->page->buffers_free, free_buffers, memory_order_relaxed);
    atomic_store_explicit(&link->page->buffers_total, total, memory_order_relaxed);
}

bool ls_link_turn(struct ls_link *link, uint64_t now_ns)
{
    bool any = events_turn(link);

    any = socket_turn(link) || any;
    housekeeping(link, now_ns);
    return any;
}

void ls_link_stop(struct ls_link *link)
{
    atomic_store_explicit(&link->stop, true, memory_order_release);
    ls_waker_wake(&link->waker); /* a flag and an eventfd: safe in a signal handler */
}

void ls_link_run(struct ls_link *link)
{
    struct ls_control_ready ready = {
        .incarnation = link->incarnation, .promise = link->promise, .pid = (uint64_t)getpid()};

    if (!body_send(link, LS_CONTROL_READY, 0, &ready, sizeof(ready)))
        link_close(link, "it has no room for the first message");
    while (!atomic_load_explicit(&link->stop, memory_order_acquire)) {
        if (ls_link_turn(link, ls_now_ns()))
            continue;
        ls_waker_announce(&link->waker);
        if (ls_link_turn(link, ls_now_ns()) || atomic_load_explicit(&link->stop, memory_order_acquire)) {
            ls_waker_cancel(&link->waker);
            continue;
        }
        /* The socket is left alone while orders have no room or it has none; then the time-out brings the next look. */
        (void)ls_waker_wait(&link->waker, ls_spsc_room(&link->seam->orders) > 0 && !is_blocked(link) ? link->fd : -1,
                            link->fault_waiting || link->view_waiting ? LS_LINK_HOUSEKEEPING_NS / 10
                                                                      : LS_LINK_HOUSEKEEPING_NS);
    }
}
