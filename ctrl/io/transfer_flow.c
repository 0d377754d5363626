/* SPDX-License-Identifier: BSD-3-Clause */
/* See transfer_flow.h. What is the thread's, and what the loop's, stands apart below. */
#include "transfer_flow.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../dataplane/core/wire.h"

#define MS_NS 1000000ull

static void let_go(struct ls_flow *flow)
{
    if (atomic_fetch_sub_explicit(&flow->holders, 1, memory_order_acq_rel) > 1)
        return;
    if (flow->socket >= 0)
        close(flow->socket);
    if (flow->file >= 0)
        close(flow->file);
    ls_rate_let_go(flow->plan.rate);
    free(flow);
}

uint64_t ls_flow_offset(const struct ls_flow *flow)
{
    return atomic_load_explicit(&flow->offset, memory_order_acquire); /* pairs with the thread's stores */
}

/* ---- the thread ---- */

static uint64_t now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* The only place where bytes come in. What is there, without waiting. */
static enum ls_flow_end socket_receive(struct ls_flow *flow)
{
    size_t room = sizeof(flow->in) - flow->in_size;
    ssize_t n;

    assert(room > 0); /* what is no whole frame is shorter than one */
    n = recv(flow->socket, flow->in + flow->in_size, room, MSG_DONTWAIT);
    if (n > 0)
        flow->in_size += (size_t)n;
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return LS_FLOW_GOES;
    flow->error = n < 0 ? -errno : 0;
    return LS_FLOW_BROKE;
}

/* The only place where bytes go out. At most `size` of what waits in `out`, without waiting. */
static enum ls_flow_end socket_send(struct ls_flow *flow, size_t size)
{
    ssize_t n = send(flow->socket, flow->out + flow->sent, size, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n >= 0) {
        flow->sent += (size_t)n;
        flow->portion -= (size_t)n;
    } else if (errno != EAGAIN && errno != EINTR) {
        flow->error = -errno;
        return LS_FLOW_BROKE;
    }
    return LS_FLOW_GOES;
}

/* Until one of the events, until the loop stops it (shutdown() is an event), or for so long. */
static void socket_wait(struct ls_flow *flow, short events, uint64_t ns)
{
    struct pollfd one = {.fd = flow->socket, .events = events};
    uint64_t ms = (ns + MS_NS - 1) / MS_NS;

    (void)poll(&one, 1, ms < INT_MAX ? (int)ms : INT_MAX);
}

/* Nothing went. `since`: the first time that this was so, 0: this one is. */
static enum ls_flow_end patience(struct ls_flow *flow, short events, uint64_t *since)
{
    uint64_t at = now(), limit = flow->plan.patience_ms * MS_NS;

    if (*since == 0)
        *since = at;
    if (at - *since >= limit)
        return LS_FLOW_SILENT;
    socket_wait(flow, events, *since + limit - at);
    return LS_FLOW_GOES;
}

static enum ls_flow_end piece_write(struct ls_flow *flow, const uint8_t *body, size_t size)
{
    uint64_t offset = ls_flow_offset(flow);
    struct ls_bulk_chunk chunk;
    ssize_t n;

    memcpy(&chunk, body, sizeof(chunk));
    size -= sizeof(chunk);
    if (chunk.offset != offset || size > flow->plan.size - offset)
        return LS_FLOW_GAP;
    n = pwrite(flow->file, body + sizeof(chunk), size, (off_t)offset);
    if (n != (ssize_t)size) {
        flow->error = n < 0 ? -errno : -ENOSPC;
        return LS_FLOW_FILE;
    }
    offset += size;
    atomic_store_explicit(&flow->offset, offset, memory_order_release); /* pairs with ls_flow_offset() */
    return offset == flow->plan.size ? LS_FLOW_DONE : LS_FLOW_GOES;
}

static enum ls_flow_end frame_take(struct ls_flow *flow, const uint8_t *frame, size_t size)
{
    struct ls_bulk_head head;

    memcpy(&head, frame, sizeof(head));
    if (head.type == (flow->plan.sends ? LS_BULK_BAD : LS_BULK_REFUSE))
        return LS_FLOW_SAID;
    if (head.type == LS_BULK_CHUNK)
        return piece_write(flow, frame + sizeof(head), size - sizeof(head));
    return LS_FLOW_TURN;
}

/* The whole frames of what is there, the rest stays. */
static enum ls_flow_end frames_take(struct ls_flow *flow)
{
    enum ls_bulk_direction direction = flow->plan.sends ? LS_BULK_TO_SENDER : LS_BULK_TO_RECEIVER;
    enum ls_flow_end end = LS_FLOW_GOES;
    size_t at = 0;

    while (end == LS_FLOW_GOES) {
        long size = ls_bulk_next(direction, flow->in + at, flow->in_size - at, &flow->why);

        if (size == 0)
            break;
        end = size < 0 ? LS_FLOW_MALFORMED : frame_take(flow, flow->in + at, (size_t)size);
        if (size > 0 && end != LS_FLOW_SAID)
            at += (size_t)size;
    }
    flow->in_size -= at;
    if (at > 0 && flow->in_size > 0)
        memmove(flow->in, flow->in + at, flow->in_size);
    return end;
}

static enum ls_flow_end receive_all(struct ls_flow *flow)
{
    uint64_t since = 0;

    while (!atomic_load_explicit(&flow->stop, memory_order_relaxed)) {
        enum ls_flow_end end = frames_take(flow);
        size_t before = flow->in_size;

        if (end == LS_FLOW_GOES)
            end = socket_receive(flow);
        if (flow->in_size > before)
            since = 0;
        else if (end == LS_FLOW_GOES)
            end = patience(flow, POLLIN, &since);
        if (end != LS_FLOW_GOES)
            return end;
    }
    return LS_FLOW_STOPPED;
}

/* The next piece, as a frame in `out`: of a file at most one waits in memory. */
static enum ls_flow_end piece_read(struct ls_flow *flow)
{
    struct ls_bulk_head head = {.type = LS_BULK_CHUNK};
    struct ls_bulk_chunk chunk = {.offset = ls_flow_offset(flow)};
    uint8_t *bytes = flow->out + sizeof(head) + sizeof(chunk);
    uint64_t left = flow->plan.size - chunk.offset;
    ssize_t n = pread(flow->file, bytes, left < LS_BULK_CHUNK_MAX ? left : LS_BULK_CHUNK_MAX, (off_t)chunk.offset);

    if (n <= 0) {
        flow->error = n < 0 ? -errno : 0;
        return LS_FLOW_FILE;
    }
    chunk.crc = ls_crc32c(0, bytes, (size_t)n);
    flow->out_size = sizeof(head) + sizeof(chunk) + (size_t)n;
    flow->sent = 0;
    head.length = (uint32_t)(flow->out_size - sizeof(head.length));
    memcpy(flow->out, &head, sizeof(head));
    memcpy(flow->out + sizeof(head), &chunk, sizeof(chunk));
    atomic_store_explicit(&flow->offset, chunk.offset + (uint64_t)n, memory_order_release);
    return LS_FLOW_GOES;
}

/* As much of `out` as may go now, or waits until some may. */
static enum ls_flow_end portion_send(struct ls_flow *flow, uint64_t *since)
{
    size_t sent = flow->sent;
    uint64_t at = now();
    enum ls_flow_end end;

    if (flow->portion == 0) {
        size_t most = flow->plan.rate != NULL ? ls_rate_portion(flow->plan.rate) : SIZE_MAX;

        flow->portion = flow->out_size - sent < most ? flow->out_size - sent : most;
        flow->due_ns = flow->plan.rate != NULL ? ls_rate_reserve(flow->plan.rate, at, flow->portion) : 0;
    }
    if (flow->due_ns > at) {
        socket_wait(flow, POLLIN, flow->due_ns - at);
        return LS_FLOW_GOES;
    }
    end = socket_send(flow, flow->portion);
    if (flow->sent > sent)
        *since = 0;
    else if (end == LS_FLOW_GOES)
        end = patience(flow, POLLIN | POLLOUT, since);
    return end;
}

static enum ls_flow_end send_all(struct ls_flow *flow)
{
    uint64_t since = 0;

    while (!atomic_load_explicit(&flow->stop, memory_order_relaxed)) {
        enum ls_flow_end end;

        if (flow->sent == flow->out_size && ls_flow_offset(flow) == flow->plan.size)
            return LS_FLOW_DONE; /* before looking for an end of the other's: it may have all, and close */
        end = socket_receive(flow);
        if (end == LS_FLOW_GOES)
            end = frames_take(flow);
        if (end == LS_FLOW_GOES && flow->sent == flow->out_size)
            end = piece_read(flow);
        if (end == LS_FLOW_GOES)
            end = portion_send(flow, &since);
        if (end != LS_FLOW_GOES)
            return end;
    }
    return LS_FLOW_STOPPED;
}

static int work(void *arguments, char *error)
{
    struct ls_flow *flow;

    (void)error;
    memcpy(&flow, arguments, sizeof(flow));
    flow->end = flow->plan.sends ? send_all(flow) : receive_all(flow);
    let_go(flow);
    return 0;
}

/* ---- the loop ---- */

static void on_end(void *user, void *arguments, int result, const char *error)
{
    struct ls_flow *flow = user;

    (void)arguments;
    (void)result;
    (void)error;
    flow->job = NULL;
    flow->plan.done(flow->plan.user);
}

/* All that lies in it, to its end. False: it does not fit. */
static bool buffer_take(struct evbuffer *buffer, uint8_t *bytes, size_t room, size_t *size)
{
    *size = evbuffer_get_length(buffer);
    return *size <= room && evbuffer_remove(buffer, bytes, *size) == (int)*size;
}

struct ls_flow *ls_flow_start(const struct ls_flow_plan *plan, struct bufferevent *bev, int file)
{
    struct evbuffer *in = bufferevent_get_input(bev), *out = bufferevent_get_output(bev);
    struct ls_flow *flow = calloc(1, sizeof(*flow));

    if (flow == NULL)
        return NULL;
    flow->plan = *plan;
    flow->plan.rate = ls_rate_hold(plan->rate);
    flow->file = -1;
    atomic_init(&flow->holders, 1);
    atomic_init(&flow->offset, plan->offset);
    flow->socket = fcntl(bufferevent_getfd(bev), F_DUPFD_CLOEXEC, 0); /* bev closes its own, at a time of its own */
    (void)bufferevent_disable(bev, EV_READ | EV_WRITE);
    (void)evbuffer_unfreeze(out, 1); /* what bev did not send, it never will */
    if (flow->socket >= 0 && buffer_take(in, flow->in, sizeof(flow->in) - 1, &flow->in_size) &&
        buffer_take(out, flow->out, sizeof(flow->out), &flow->out_size)) {
        flow->file = file;
        atomic_store_explicit(&flow->holders, 2, memory_order_relaxed); /* the thread is not there yet */
        flow->job = ls_job_start(plan->base, work, on_end, flow, &flow, sizeof(flow));
    }
    if (flow->job == NULL) {
        flow->file = -1;
        atomic_store_explicit(&flow->holders, 1, memory_order_relaxed);
        let_go(flow);
        return NULL;
    }
    bufferevent_free(bev);
    return flow;
}

void ls_flow_stop(struct ls_flow *flow)
{
    if (flow == NULL)
        return;
    atomic_store_explicit(&flow->stop, true, memory_order_relaxed);
    (void)shutdown(flow->socket, SHUT_RDWR); /* whatever the thread waits for on it, it no longer does */
    ls_job_abandon(flow->job);
    let_go(flow);
}

struct bufferevent *ls_flow_take_back(struct ls_flow *flow)
{
    struct bufferevent *bev = bufferevent_socket_new(flow->plan.base, flow->socket, BEV_OPT_CLOSE_ON_FREE);

    if (bev != NULL)
        flow->socket = -1;
    if (bev != NULL && flow->in_size > 0)
        (void)evbuffer_prepend(bufferevent_get_input(bev), flow->in, flow->in_size);
    let_go(flow);
    return bev;
}
