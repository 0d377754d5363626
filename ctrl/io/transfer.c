/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A checkpoint from another node. The partial file belongs to one file of one source: another source's may hold the
 * same state in other bytes, so it is begun anew there. See transfer.h.
 */
#include "transfer_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "hello.h"
#include "transfer_flow.h"

#define PAUSE_MS        100
#define PAUSE_DOUBLINGS 5
#define SILENCE_MS      10000
#define FAILURES_MAX    8 /* of each source, in a row */
#define SAME_SOURCE_MAX 3 /* attempts to go on there before another one is asked */
#define PROGRESS_MS     100
#define PARTIAL_MAX     (LS_CHECKPOINTS_PATH_MAX + 24)

static const struct timeval progress_every = {.tv_usec = PROGRESS_MS * 1000};
static const char broke[] = "the connection broke", silent[] = "it says nothing any more",
                  out_of_turn[] = "a frame that does not come in its turn";

static void fetch_connect(struct ls_transfer *t);
static void connection_set(struct ls_transfer *t);

static void partial_path(const struct ls_fetch *f, char path[PARTIAL_MAX])
{
    snprintf(path, PARTIAL_MAX, "%s.%u.partial", f->path, f->begun);
}

static void partial_drop(struct ls_fetch *f)
{
    char path[PARTIAL_MAX];

    if (f->fd < 0)
        return;
    partial_path(f, path);
    (void)unlink(path);
    close(f->fd);
    f->fd = -1;
    f->held = (struct ls_bulk_file){0};
}

static void connection_close(struct ls_fetch *f)
{
    if (f->bev != NULL)
        bufferevent_free(f->bev);
    ls_flow_stop(f->flow);
    f->bev = NULL;
    f->flow = NULL;
    (void)event_del(f->timer);
}

static void fetch_end(struct ls_transfer *t, int error)
{
    struct ls_fetch *f = &t->fetch;
    char path[LS_CHECKPOINTS_PATH_MAX], why[LS_TRANSFER_TEXT];

    connection_close(f);
    f->state = FETCH_IDLE;
    snprintf(path, sizeof(path), "%s", error == 0 ? f->path : "");
    snprintf(why, sizeof(why), "%s", error == 0 ? "" : f->why);
    t->io.done(t->io.user, error, path, why);
}

static void why_set(struct ls_fetch *f, const char *what)
{
    snprintf(f->why, sizeof(f->why), "checkpoint from node %u: %.440s", f->source[f->at].node, what);
}

static bool source_next(struct ls_fetch *f)
{
    for (uint32_t i = 1; i <= f->sources; i++) {
        uint32_t at = (f->at + i) % f->sources;

        if (f->bad[at])
            continue;
        f->at = at;
        return true;
    }
    return false;
}

/* Another attempt, there or elsewhere; or the end. `error`: what is answered if this was the last one. */
static void fetch_fail(struct ls_transfer *t, bool bad, int error, const char *what)
{
    struct ls_fetch *f = &t->fetch;
    uint32_t doublings = f->failures < PAUSE_DOUBLINGS ? f->failures : PAUSE_DOUBLINGS;
    uint64_t pause_ms = (uint64_t)t->config.pause_ms << doublings;
    struct timeval pause = {.tv_sec = (time_t)(pause_ms / 1000), .tv_usec = (suseconds_t)(pause_ms % 1000 * 1000)};
    bool stay = !bad && f->fd >= 0 && f->held_node == f->source[f->at].node && f->failures < SAME_SOURCE_MAX;

    connection_close(f);
    why_set(f, what);
    t->io.say(t->io.user, f->why);
    f->bad[f->at] = f->bad[f->at] || bad;
    f->failures++;
    if ((!stay && !source_next(f)) || f->failures > FAILURES_MAX * f->sources) {
        fetch_end(t, error);
        return;
    }
    f->state = FETCH_PAUSE;
    (void)event_add(f->timer, &pause);
}

/* ---- what arrived is whole ---- */

struct check_arguments {
    int fd;
    char partial[PARTIAL_MAX], path[LS_CHECKPOINTS_PATH_MAX];
    const struct ls_checkpoint_format *format;
    uint64_t cluster;
    struct ls_bulk_file file;
};

static int directory_sync(const char *path)
{
    char copy[LS_CHECKPOINTS_PATH_MAX];
    int fd, result;

    snprintf(copy, sizeof(copy), "%s", path);
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    result = fsync(fd) == 0 ? 0 : -errno;
    close(fd);
    return result;
}

/* On the job's thread: nothing gets its name that was not synced and read again. */
static int check_work(void *arguments, char *error)
{
    struct check_arguments *c = arguments;
    struct ls_checkpoint_info info = {0};
    int result = fsync(c->fd) == 0 ? 0 : -errno;

    close(c->fd);
    if (result != 0) {
        snprintf(error, LS_JOB_ERROR_MAX, "it cannot be synced: %s", strerror(-result));
        return result;
    }
    result = c->format->verify(c->partial, &info, error);
    if (result != 0)
        return result;
    if (info.cluster != c->cluster || info.generation != c->file.generation || info.cut.seq != c->file.seq ||
        info.cut.position != c->file.position || info.cut.digest != c->file.digest) {
        snprintf(error, LS_JOB_ERROR_MAX, "it is not the checkpoint that it was said to be");
        return -EXDEV;
    }
    result = rename(c->partial, c->path) == 0 ? directory_sync(c->path) : -errno;
    if (result != 0)
        snprintf(error, LS_JOB_ERROR_MAX, "it cannot be given its name: %s", strerror(-result));
    return result;
}

static void on_checked(void *user, void *arguments, int result, const char *error)
{
    struct ls_transfer *t = user;
    struct ls_fetch *f = &t->fetch;
    char name[LS_CHECKPOINT_NAME_MAX], what[LS_TRANSFER_TEXT];

    (void)arguments;
    f->job = NULL;
    if (result == 0) {
        close(f->fd);
        f->fd = -1;
        ls_checkpoint_name(f->held.generation, f->held.seq, name);
        f->held = (struct ls_bulk_file){0};
        (void)ls_checkpoints_scan(t->config.checkpoints);
        ls_checkpoints_trust(t->config.checkpoints, name);
        fetch_end(t, 0);
        return;
    }
    partial_drop(f);
    if (result == -EBADMSG || result == -EPROTO || result == -EXDEV) {
        struct ls_bulk_head bad = {sizeof(bad.type), LS_BULK_BAD};

        if (f->bev != NULL) /* straight to the socket: the connection is closed behind it */
            (void)send(bufferevent_getfd(f->bev), &bad, sizeof(bad), MSG_NOSIGNAL | MSG_DONTWAIT);
        snprintf(what, sizeof(what), "refused: %.480s", error);
        fetch_fail(t, true, result, what);
        return;
    }
    why_set(f, error);
    fetch_end(t, result);
}

static void fetch_check(struct ls_transfer *t)
{
    struct ls_fetch *f = &t->fetch;
    struct check_arguments c = {.format = ls_checkpoints_format(t->config.checkpoints), .cluster = t->config.cluster};

    f->state = FETCH_CHECKING;
    partial_path(f, c.partial);
    memcpy(c.path, f->path, sizeof(c.path));
    c.file = f->held;
    c.fd = fcntl(f->fd, F_DUPFD_CLOEXEC, 0);
    if (c.fd >= 0)
        f->job = ls_job_start(t->config.base, check_work, on_checked, t, &c, sizeof(c));
    if (f->job != NULL)
        return;
    if (c.fd >= 0)
        close(c.fd);
    fetch_fail(t, false, -ENOMEM, "no memory or descriptor to check it");
}

/* ---- what arrives ---- */

/* False: the fetch went another way. */
static bool partial_begin(struct ls_transfer *t, const struct ls_bulk_file *file)
{
    struct ls_fetch *f = &t->fetch;
    char name[LS_CHECKPOINT_NAME_MAX], path[PARTIAL_MAX], what[LS_TRANSFER_TEXT];

    partial_drop(f);
    f->begun++;
    ls_checkpoint_name(file->generation, file->seq, name);
    (void)ls_checkpoints_path(t->config.checkpoints, name, f->path);
    partial_path(f, path);
    f->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (f->fd < 0) {
        int error = -errno;

        snprintf(what, sizeof(what), "%.400s cannot be made: %s", path, strerror(-error));
        why_set(f, what);
        fetch_end(t, error);
        return false;
    }
    f->held = *file;
    f->held_node = f->source[f->at].node;
    return true;
}

static void disk_full(struct ls_transfer *t, uint64_t room)
{
    struct ls_fetch *f = &t->fetch;
    char what[LS_TRANSFER_TEXT];

    snprintf(what, sizeof(what),
             "the disk of %.300s is full: %llu of %llu bytes are there, %llu bytes are free. Make room; what is there "
             "is kept",
             ls_checkpoints_directory(t->config.checkpoints), (unsigned long long)f->held.offset,
             (unsigned long long)f->held.size, (unsigned long long)room);
    why_set(f, what);
    fetch_end(t, -ENOSPC);
}

static void progress(struct ls_transfer *t)
{
    const struct ls_fetch *f = &t->fetch;

    t->io.progress(t->io.user, f->held_node, f->held.offset, f->held.size);
}

/* What the flow's thread wrote meanwhile. */
static void arrived(struct ls_transfer *t)
{
    struct ls_fetch *f = &t->fetch;
    uint64_t offset = ls_flow_offset(f->flow);

    if (offset == f->held.offset)
        return;
    f->held.offset = offset;
    f->failures = 0;
    progress(t);
}

static void malformed(struct ls_transfer *t, const char *why)
{
    t->chunks_refused++;
    fetch_fail(t, false, -EPROTO, why);
}

/* A peer's text goes into logs: printable bytes only. */
static void refuse_take(struct ls_transfer *t, const uint8_t *body, size_t size)
{
    struct ls_bulk_refuse refuse;
    char what[LS_TRANSFER_TEXT], text[LS_BULK_TEXT_MAX + 1];

    memcpy(&refuse, body, sizeof(refuse));
    size -= sizeof(refuse);
    for (size_t i = 0; i < size; i++)
        text[i] =
            body[sizeof(refuse) + i] >= ' ' && body[sizeof(refuse) + i] < 127 ? (char)body[sizeof(refuse) + i] : '?';
    text[size] = '\0';
    snprintf(what, sizeof(what), "%s", size > 0 ? text : "it serves as many others as it can: later again");
    fetch_fail(t, refuse.again != 1, refuse.again == 1 ? -EAGAIN : -ENOENT, what);
}

static void write_failed(struct ls_transfer *t, int error)
{
    struct ls_fetch *f = &t->fetch;
    char what[LS_TRANSFER_TEXT];

    if (error == -ENOSPC || error == -EDQUOT) {
        disk_full(t, 0);
        return;
    }
    snprintf(what, sizeof(what), "%.300s cannot be written: %s", f->path, strerror(-error));
    why_set(f, what);
    partial_drop(f);
    fetch_end(t, error);
}

static void on_received(void *user)
{
    struct ls_transfer *t = user;
    struct ls_fetch *f = &t->fetch;
    struct ls_flow *flow = f->flow;
    struct ls_bulk_head head;

    arrived(t);
    switch (flow->end) {
    case LS_FLOW_DONE:
        (void)event_del(f->timer);
        f->bev = ls_flow_take_back(flow); /* to say so where it turns out to be damaged */
        f->flow = NULL;
        if (f->bev != NULL) {
            connection_set(t);
            (void)bufferevent_enable(f->bev, EV_READ);
        }
        fetch_check(t);
        return;
    case LS_FLOW_MALFORMED:
        malformed(t, flow->why);
        return;
    case LS_FLOW_GAP:
        fetch_fail(t, false, -EPROTO, "a piece that does not follow the one before it");
        return;
    case LS_FLOW_SAID:
        memcpy(&head, flow->in, sizeof(head));
        refuse_take(t, flow->in + sizeof(head), sizeof(head.length) + head.length - sizeof(head));
        return;
    case LS_FLOW_TURN:
        fetch_fail(t, true, -EPROTO, out_of_turn);
        return;
    case LS_FLOW_FILE:
        write_failed(t, flow->error);
        return;
    case LS_FLOW_SILENT:
        fetch_fail(t, false, -ETIMEDOUT, silent);
        return;
    default:
        fetch_fail(t, false, -ECONNRESET, flow->error != 0 ? strerror(-flow->error) : broke);
    }
}

static void fetch_receive(struct ls_transfer *t)
{
    struct ls_fetch *f = &t->fetch;
    struct ls_flow_plan plan = {.base = t->config.base,
                                .offset = f->held.offset,
                                .size = f->held.size,
                                .patience_ms = t->config.silence_ms,
                                .done = on_received,
                                .user = t};
    int fd = fcntl(f->fd, F_DUPFD_CLOEXEC, 0);

    if (fd >= 0)
        f->flow = ls_flow_start(&plan, f->bev, fd);
    if (f->flow == NULL) {
        if (fd >= 0)
            close(fd);
        fetch_fail(t, false, -ENOMEM, "no memory, thread or descriptor to receive it");
        return;
    }
    f->bev = NULL;
    (void)event_add(f->timer, &progress_every);
}

static void file_take(struct ls_transfer *t, const struct ls_bulk_file *file)
{
    struct ls_fetch *f = &t->fetch;
    struct statvfs space;
    uint64_t room;

    if (file->generation != t->config.generation || file->position < f->position) {
        fetch_fail(t, true, -ESTALE, "it offers one of another generation, or an older one than asked for");
        return;
    }
    if (file->offset != 0) {
        bool same = f->fd >= 0 && f->held_node == f->source[f->at].node && file->seq == f->held.seq &&
                    file->position == f->held.position && file->digest == f->held.digest &&
                    file->size == f->held.size && file->identity == f->held.identity && file->offset == f->held.offset;

        if (!same) {
            partial_drop(f);
            fetch_fail(t, false, -EPROTO, "it goes on where nothing was begun");
            return;
        }
    } else if (!partial_begin(t, file)) {
        return;
    }
    f->state = FETCH_RECEIVING;
    if (fstatvfs(f->fd, &space) == 0) {
        room = (uint64_t)space.f_bavail * space.f_frsize;
        if (room < f->held.size - f->held.offset) {
            disk_full(t, room);
            return;
        }
    }
    progress(t);
    if (f->held.offset == f->held.size)
        fetch_check(t); /* all of it had arrived */
    else
        fetch_receive(t);
}

static void frame_take(struct ls_transfer *t, const uint8_t *frame, size_t size)
{
    struct ls_fetch *f = &t->fetch;
    struct ls_bulk_head head;
    struct ls_bulk_file file;

    memcpy(&head, frame, sizeof(head));
    frame += sizeof(head);
    size -= sizeof(head);
    if (head.type == LS_BULK_REFUSE) {
        refuse_take(t, frame, size);
    } else if (head.type == LS_BULK_FILE && f->state == FETCH_ASKED) {
        memcpy(&file, frame, sizeof(file));
        file_take(t, &file);
    } else if (head.type != LS_BULK_WAIT || f->state != FETCH_ASKED) {
        fetch_fail(t, true, -EPROTO, out_of_turn);
    }
}

static void ask(struct ls_transfer *t)
{
    struct ls_fetch *f = &t->fetch;
    struct ls_bulk_ask question = {.position = f->position};

    if (f->fd >= 0 && f->held_node == f->source[f->at].node && f->held.position >= f->position)
        question.held = f->held;
    f->state = FETCH_ASKED;
    if (ls_bulk_send(f->bev, LS_BULK_ASK, &question, sizeof(question), NULL, 0) != 0)
        fetch_fail(t, false, -ENOMEM, "out of memory");
}

/* True: go on with what follows it. */
static bool hello_take(struct ls_transfer *t, struct evbuffer *in)
{
    struct ls_fetch *f = &t->fetch;
    struct ls_hello hello;
    enum ls_hello_refusal refusal;

    if (evbuffer_get_length(in) < sizeof(hello))
        return false;
    (void)evbuffer_remove(in, &hello, sizeof(hello));
    refusal = ls_hello_check(&hello, t->config.cluster, t->config.node);
    if (refusal == LS_HELLO_FINE && (hello.node != f->source[f->at].node || hello.kind != LS_HELLO_BULK))
        refusal = LS_HELLO_OTHER_NODE;
    if (refusal != LS_HELLO_FINE || hello.refused != 0) {
        fetch_fail(t, false, -EACCES,
                   ls_hello_refusal_text(refusal == LS_HELLO_GARBAGE || hello.refused == 0 ? refusal : hello.refused));
        return false;
    }
    ask(t);
    return true;
}

static void on_fetch_read(struct bufferevent *bev, void *argument)
{
    struct ls_transfer *t = argument;
    struct ls_fetch *f = &t->fetch;
    struct evbuffer *in = bufferevent_get_input(bev);
    const char *why = NULL;

    if (f->state == FETCH_HELLO && !hello_take(t, in))
        return;
    while (f->bev == bev && f->state == FETCH_ASKED) {
        long size = ls_bulk_take(in, LS_BULK_TO_RECEIVER, t->frame, &why);

        if (size == 0)
            return;
        if (size > 0) {
            frame_take(t, t->frame, (size_t)size);
        } else {
            malformed(t, why);
        }
    }
}

static void on_fetch_event(struct bufferevent *bev, short what, void *argument)
{
    struct ls_transfer *t = argument;
    struct ls_fetch *f = &t->fetch;
    struct ls_hello hello = ls_hello_make(t->config.cluster, t->config.node, f->source[f->at].node, LS_HELLO_BULK);

    if (what & BEV_EVENT_CONNECTED) {
        ls_hello_socket_set(bufferevent_getfd(bev));
        f->state = FETCH_HELLO;
        if (bufferevent_write(bev, &hello, sizeof(hello)) != 0 || bufferevent_enable(bev, EV_READ | EV_WRITE) != 0)
            fetch_fail(t, false, -ENOMEM, "out of memory");
    } else if (f->state == FETCH_CHECKING) {
        connection_close(f); /* no more is needed from there */
    } else if (what & BEV_EVENT_EOF) {
        fetch_fail(t, false, -ECONNRESET, broke);
    } else if (what & BEV_EVENT_TIMEOUT) {
        fetch_fail(t, false, -ETIMEDOUT, silent);
    } else {
        fetch_fail(t, false, -ECONNREFUSED, evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
    }
}

static void connection_set(struct ls_transfer *t)
{
    bufferevent_setcb(t->fetch.bev, on_fetch_read, NULL, on_fetch_event, t);
    bufferevent_setwatermark(t->fetch.bev, EV_READ, 0, LS_BULK_FRAME_MAX);
}

static void fetch_connect(struct ls_transfer *t)
{
    struct ls_fetch *f = &t->fetch;
    struct ls_addr to = f->source[f->at].ctrl;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(to.port)};
    struct timeval silence = {.tv_sec = t->config.silence_ms / 1000,
                              .tv_usec = (suseconds_t)(t->config.silence_ms % 1000 * 1000)};
    int fd = ls_hello_socket();
    struct bufferevent *bev = fd >= 0 ? bufferevent_socket_new(t->config.base, fd, BEV_OPT_CLOSE_ON_FREE) : NULL;

    at.sin_addr.s_addr = htonl(to.ip);
    f->bev = bev;
    f->state = FETCH_CONNECTING;
    if (bev == NULL) {
        fetch_fail(t, false, -ENOMEM, "no memory or descriptor for a connection");
        if (fd >= 0)
            close(fd);
        return;
    }
    connection_set(t);
    bufferevent_set_timeouts(bev, &silence, &silence);
    if (bufferevent_socket_connect(bev, (struct sockaddr *)&at, sizeof(at)) != 0 && f->bev == bev)
        fetch_fail(t, false, -ECONNREFUSED, evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
}

static void on_fetch_timer(evutil_socket_t fd, short what, void *argument)
{
    struct ls_transfer *t = argument;

    (void)fd;
    (void)what;
    if (t->fetch.state == FETCH_PAUSE) {
        fetch_connect(t);
    } else if (t->fetch.state == FETCH_RECEIVING) {
        arrived(t);
        (void)event_add(t->fetch.timer, &progress_every);
    }
}

/* ---- from outside ---- */

int ls_transfer_get(struct ls_transfer *t, const struct ls_transfer_source *sources, uint32_t count, uint64_t position)
{
    struct ls_fetch *f = &t->fetch;
    struct timeval now = {0};

    if (f->state != FETCH_IDLE)
        return -EBUSY;
    if (count == 0 || count > LS_MEMBERS_MAX)
        return -EINVAL;
    memcpy(f->source, sources, count * sizeof(sources[0]));
    memset(f->bad, 0, sizeof(f->bad));
    f->sources = count;
    f->at = 0;
    f->failures = 0;
    f->position = position;
    for (uint32_t i = 0; i < count && f->fd >= 0; i++)
        if (sources[i].node == f->held_node && f->held.position >= position)
            f->at = i; /* what was begun there is gone on with */
    f->state = FETCH_PAUSE;
    (void)event_add(f->timer, &now);
    return 0;
}

void ls_transfer_cancel(struct ls_transfer *t)
{
    struct ls_fetch *f = &t->fetch;
    bool busy = f->job != NULL || f->flow != NULL;

    connection_close(f);
    ls_job_abandon(f->job);
    if (busy)
        partial_drop(f); /* its thread may still read or write it: nobody else shall write there */
    f->job = NULL;
    f->state = FETCH_IDLE;
}

struct ls_transfer *ls_transfer_create(const struct ls_transfer_config *config, const struct ls_transfer_io *io)
{
    struct ls_transfer *t = calloc(1, sizeof(*t));

    if (t == NULL)
        return NULL;
    t->config = *config;
    t->io = *io;
    if (t->config.pause_ms == 0)
        t->config.pause_ms = PAUSE_MS;
    if (t->config.silence_ms == 0)
        t->config.silence_ms = SILENCE_MS;
    t->fetch.fd = -1;
    t->fetch.timer = evtimer_new(config->base, on_fetch_timer, t);
    if (t->fetch.timer == NULL || !ls_serve_begin(t)) {
        ls_transfer_free(t);
        return NULL;
    }
    return t;
}

void ls_transfer_free(struct ls_transfer *t)
{
    if (t == NULL)
        return;
    if (t->fetch.timer != NULL) {
        ls_transfer_cancel(t);
        partial_drop(&t->fetch);
        event_free(t->fetch.timer);
    }
    ls_serve_end(t);
    free(t);
}

void ls_transfer_view(const struct ls_transfer *t, struct ls_transfer_view *view)
{
    const struct ls_fetch *f = &t->fetch;

    *view = (struct ls_transfer_view){.fetching = f->state != FETCH_IDLE, .chunks_refused = t->chunks_refused};
    for (int i = 0; i < LS_TRANSFER_SERVED_MAX + LS_TRANSFER_WAITING_MAX; i++) {
        enum ls_serve_state state = t->serve[i].state;

        view->served += state == SERVE_SENDING;
        view->waiting += state == SERVE_PREPARING || state == SERVE_QUEUED || state == SERVE_ASKING;
    }
    if (!view->fetching)
        return;
    view->from = f->source[f->at].node;
    view->bytes = f->flow != NULL ? ls_flow_offset(f->flow) : f->held.offset;
    view->expected = f->held.size;
}
