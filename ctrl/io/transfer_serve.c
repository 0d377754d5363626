/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checkpoints for others. A connection asks once; a file is sent once it is known to be good, or was written just now;
 * where none is new enough, one is made first. All of that is the loop's; the file itself is sent by a flow's thread.
 */
#include "transfer_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hello.h"
#include "transfer_flow.h"

#define SERVES (LS_TRANSFER_SERVED_MAX + LS_TRANSFER_WAITING_MAX)
#define ASK_S  5
#define SENT_S 120 /* for the other end to sync and verify */
#define KEEP_S 1   /* between two WAIT: shorter than any receiver's patience */

static void serve_prepare(struct ls_serve *s);
static void connection_set(struct ls_serve *s);

static void look_again(struct ls_transfer *t)
{
    struct timeval now = {0};

    (void)event_add(t->prepare_event, &now);
}

static void serve_close(struct ls_serve *s)
{
    if (s->bev != NULL)
        bufferevent_free(s->bev);
    ls_flow_stop(s->flow);
    s->bev = NULL;
    s->flow = NULL;
    s->state = SERVE_FREE;
    look_again(s->t);
}

static void serve_say(struct ls_serve *s, const char *what)
{
    char line[LS_TRANSFER_TEXT];

    snprintf(line, sizeof(line), "checkpoint for node %u: %s", s->node, what);
    s->t->io.say(s->t->io.user, line);
}

/* Says why and waits for the other end to close. */
static void serve_refuse(struct ls_serve *s, bool again, const char *text)
{
    struct ls_bulk_refuse refuse = {.again = again};
    struct timeval patience = {.tv_sec = ASK_S};
    size_t length = strnlen(text, LS_BULK_TEXT_MAX);

    serve_say(s, text);
    if (ls_bulk_send(s->bev, LS_BULK_REFUSE, &refuse, sizeof(refuse), text, length) != 0) {
        serve_close(s);
        return;
    }
    s->state = SERVE_SENT;
    bufferevent_set_timeouts(s->bev, &patience, &patience);
    look_again(s->t);
}

static void on_verified(void *user, const char *name, enum ls_checkpoint_state state, const char *text)
{
    struct ls_transfer *t = user;
    char line[LS_TRANSFER_TEXT];

    t->verifying = false;
    if (state != LS_CHECKPOINT_GOOD) {
        snprintf(line, sizeof(line), "checkpoint %s is not given to others: %s, %.300s", name,
                 ls_checkpoint_state_name(state), text);
        t->io.say(t->io.user, line);
    }
    if (state == LS_CHECKPOINT_UNVERIFIED) { /* it could not be read: gone, or no memory now */
        (void)ls_checkpoints_scan(t->config.checkpoints);
        for (int i = 0; i < SERVES; i++)
            if (t->serve[i].state == SERVE_PREPARING && !t->making)
                serve_refuse(&t->serve[i], true, line);
    }
    look_again(t);
}

static uint32_t sending(const struct ls_transfer *t)
{
    uint32_t count = 0;

    for (int i = 0; i < SERVES; i++)
        count += t->serve[i].state == SERVE_SENDING;
    return count;
}

static void bad_take(struct ls_serve *s)
{
    serve_say(s, "it says that what it got is damaged; verified again before it is used");
    ls_checkpoints_doubt(s->t->config.checkpoints, s->name);
    serve_close(s);
}

/* The loop has the connection again. False: it is closed. */
static bool take_back(struct ls_serve *s)
{
    s->bev = ls_flow_take_back(s->flow);
    s->flow = NULL;
    if (s->bev == NULL)
        serve_close(s);
    else
        connection_set(s);
    return s->bev != NULL;
}

static void on_flow_done(void *user)
{
    struct ls_serve *s = user;
    struct timeval patience = {.tv_sec = SENT_S};
    int error = s->flow->error;

    switch (s->flow->end) {
    case LS_FLOW_DONE:
        if (!take_back(s))
            return;
        s->state = SERVE_SENT;
        bufferevent_set_timeouts(s->bev, &patience, NULL);
        look_again(s->t);
        return;
    case LS_FLOW_FILE:
        ls_checkpoints_doubt(s->t->config.checkpoints, s->name);
        if (take_back(s))
            serve_refuse(s, false, error != 0 ? strerror(-error) : "the file became shorter than it was");
        return;
    case LS_FLOW_SAID:
        bad_take(s);
        return;
    case LS_FLOW_MALFORMED:
        serve_say(s, s->flow->why);
        break;
    case LS_FLOW_TURN:
        serve_say(s, "a question that does not come in its turn");
        break;
    case LS_FLOW_SILENT:
        serve_say(s, "it does not read what is sent to it");
        break;
    default:
        serve_say(s, "the connection broke");
        break;
    }
    serve_close(s);
}

/* Its disk may be slow. */
static uint32_t patience_s(const struct ls_serve *s)
{
    return s->t->config.silence_ms / 1000 + 1;
}

/* What was begun is gone on with if it is still the same file. */
static uint64_t resume_at(const struct ls_bulk_file *held, const struct ls_checkpoint_file *file)
{
    bool same = held->seq == file->seq && held->digest == file->digest && held->size == file->size &&
                held->identity == file->identity && held->generation == file->generation;

    return same ? held->offset : 0;
}

static void serve_start(struct ls_serve *s, const struct ls_checkpoint_file *file)
{
    struct ls_bulk_file offer = {.seq = file->seq,
                                 .position = file->position,
                                 .digest = file->digest,
                                 .size = file->size,
                                 .identity = file->identity,
                                 .generation = file->generation};
    struct ls_flow_plan plan = {.base = s->t->config.base,
                                .sends = true,
                                .size = file->size,
                                .patience_ms = patience_s(s) * 1000,
                                .rate = s->t->rate,
                                .done = on_flow_done,
                                .user = s};
    char path[LS_CHECKPOINTS_PATH_MAX], line[160];
    int fd;

    offer.offset = resume_at(&s->ask.held, file);
    snprintf(s->name, sizeof(s->name), "%s", file->name);
    (void)ls_checkpoints_path(s->t->config.checkpoints, file->name, path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        int error = errno;

        (void)ls_checkpoints_scan(s->t->config.checkpoints);
        serve_refuse(s, true, strerror(error));
        return;
    }
    plan.offset = offer.offset;
    if (ls_bulk_send(s->bev, LS_BULK_FILE, &offer, sizeof(offer), NULL, 0) == 0)
        s->flow = ls_flow_start(&plan, s->bev, fd);
    if (s->flow == NULL) {
        close(fd);
        serve_say(s, "no memory, thread or descriptor to send it");
        serve_close(s);
        return;
    }
    s->bev = NULL;
    s->state = SERVE_SENDING;
    snprintf(line, sizeof(line), "sends %.70s from byte %llu of %llu", s->name, (unsigned long long)offer.offset,
             (unsigned long long)offer.size);
    serve_say(s, line);
}

/* The file begun before is asked for by the same words as any: if it still stands and is new enough it is taken. */
static const struct ls_checkpoint_file *file_for(const struct ls_serve *s)
{
    struct ls_checkpoints *c = s->t->config.checkpoints;
    char name[LS_CHECKPOINT_NAME_MAX];
    const struct ls_checkpoint_file *file;

    ls_checkpoint_name(s->ask.held.generation, s->ask.held.seq, name);
    file = ls_checkpoints_find(c, name);
    if (file != NULL && resume_at(&s->ask.held, file) > 0 && file->position >= s->ask.position &&
        file->generation == s->t->config.generation &&
        (file->state == LS_CHECKPOINT_GOOD || file->state == LS_CHECKPOINT_UNVERIFIED))
        return file;
    return ls_checkpoints_newest(c, s->ask.position);
}

static void serve_make(struct ls_serve *s)
{
    struct ls_transfer *t = s->t;

    s->state = SERVE_PREPARING;
    if (t->making)
        return;
    t->making = true;
    t->io.make(t->io.user);
}

static void serve_prepare(struct ls_serve *s)
{
    const struct ls_checkpoint_file *file = file_for(s);
    struct ls_transfer *t = s->t;

    if (file == NULL && s->made) {
        serve_refuse(s, false, "there is none that is new enough, not even the one just made");
    } else if (file == NULL) {
        serve_make(s);
    } else if (file->state == LS_CHECKPOINT_UNVERIFIED && !file->fresh) {
        s->state = SERVE_PREPARING;
        if (!t->verifying)
            t->verifying = ls_checkpoints_verify(t->config.checkpoints, file->name, on_verified, t) == 0;
    } else if (sending(t) >= LS_TRANSFER_SERVED_MAX) {
        s->state = SERVE_QUEUED;
    } else {
        serve_start(s, file);
    }
}

/* Those who wait, in the order in which they came. */
static void on_prepare(evutil_socket_t fd, short what, void *argument)
{
    struct ls_transfer *t = argument;
    uint64_t done = 0;

    (void)fd;
    (void)what;
    for (int round = 0; round < SERVES; round++) {
        struct ls_serve *next = NULL;

        for (int i = 0; i < SERVES; i++) {
            struct ls_serve *s = &t->serve[i];

            if ((s->state == SERVE_PREPARING || s->state == SERVE_QUEUED) && s->since > done &&
                (next == NULL || s->since < next->since))
                next = s;
        }
        if (next == NULL)
            return;
        done = next->since;
        serve_prepare(next);
    }
}

static void on_keep(evutil_socket_t fd, short what, void *argument)
{
    static const char *const text[] = {
        [SERVE_PREPARING] = "a checkpoint is being made or verified", [SERVE_QUEUED] = "others are served first"};
    struct ls_transfer *t = argument;

    (void)fd;
    (void)what;
    for (int i = 0; i < SERVES; i++) {
        struct ls_serve *s = &t->serve[i];

        if (s->state == SERVE_PREPARING || s->state == SERVE_QUEUED)
            (void)ls_bulk_send(s->bev, LS_BULK_WAIT, NULL, 0, text[s->state], strlen(text[s->state]));
    }
    look_again(t); /* a verification that somebody else asked for was in the way */
}

static void on_serve_read(struct bufferevent *bev, void *argument)
{
    struct ls_serve *s = argument;
    const char *why = NULL;
    struct timeval patience = {.tv_sec = patience_s(s)};
    long size = ls_bulk_take(bufferevent_get_input(bev), LS_BULK_TO_SENDER, s->t->frame, &why);
    struct ls_bulk_head head;

    if (size == 0)
        return;
    memcpy(&head, s->t->frame, sizeof(head));
    if (size > 0 && (head.type == LS_BULK_ASK) != (s->state == SERVE_ASKING))
        why = "a question that does not come in its turn";
    if (why != NULL) {
        serve_say(s, why);
        serve_close(s);
        return;
    }
    if (head.type == LS_BULK_BAD) {
        bad_take(s);
        return;
    }
    memcpy(&s->ask, s->t->frame + sizeof(head), sizeof(s->ask));
    bufferevent_set_timeouts(bev, NULL, &patience);
    serve_prepare(s);
}

static void on_serve_event(struct bufferevent *bev, short what, void *argument)
{
    (void)bev;
    (void)what;
    serve_close(argument);
}

static void connection_set(struct ls_serve *s)
{
    bufferevent_setcb(s->bev, on_serve_read, NULL, on_serve_event, s);
    bufferevent_setwatermark(s->bev, EV_READ, 0, 4096);
    (void)bufferevent_enable(s->bev, EV_READ | EV_WRITE);
}

void ls_transfer_accept(struct ls_transfer *t, struct bufferevent *connection, uint16_t node)
{
    struct timeval patience = {.tv_sec = ASK_S};
    struct ls_serve *s = NULL;

    for (int i = 0; i < SERVES && s == NULL; i++)
        if (t->serve[i].state == SERVE_FREE)
            s = &t->serve[i];
    if (s == NULL) {
        struct {
            struct ls_bulk_head head;
            struct ls_bulk_refuse refuse;
        } LS_PACKED busy = {{sizeof(busy) - sizeof(uint32_t), LS_BULK_REFUSE}, {1, 0}};

        (void)send(bufferevent_getfd(connection), &busy, sizeof(busy), MSG_NOSIGNAL | MSG_DONTWAIT);
        bufferevent_free(connection);
        return;
    }
    *s = (struct ls_serve){.t = t, .state = SERVE_ASKING, .node = node, .bev = connection};
    s->since = ++t->serves;
    /* Its disk may be slow: a link's patience would be too short. */
    ls_hello_patience_set(bufferevent_getfd(connection), 2 * (t->config.silence_ms + 1000));
    bufferevent_set_timeouts(connection, &patience, &patience);
    connection_set(s);
    on_serve_read(connection, s); /* what came right behind the hello */
}

void ls_transfer_made(struct ls_transfer *t, int error, const char *text)
{
    t->making = false;
    for (int i = 0; i < SERVES; i++) {
        struct ls_serve *s = &t->serve[i];

        if (s->state != SERVE_PREPARING || file_for(s) != NULL)
            continue;
        s->made = true;
        if (error != 0)
            serve_refuse(s, true, text);
    }
    look_again(t);
}

bool ls_serve_begin(struct ls_transfer *t)
{
    struct timeval every = {.tv_sec = KEEP_S};

    for (int i = 0; i < SERVES; i++)
        t->serve[i] = (struct ls_serve){.t = t};
    t->prepare_event = evtimer_new(t->config.base, on_prepare, t);
    t->keep_timer = event_new(t->config.base, -1, EV_PERSIST, on_keep, t);
    if (t->prepare_event == NULL || t->keep_timer == NULL || event_add(t->keep_timer, &every) != 0)
        return false;
    if (t->config.bytes_per_second > 0)
        t->rate = ls_rate_create(t->config.bytes_per_second);
    return t->rate != NULL || t->config.bytes_per_second == 0;
}

void ls_serve_end(struct ls_transfer *t)
{
    for (int i = 0; i < SERVES && t->prepare_event != NULL; i++)
        if (t->serve[i].state != SERVE_FREE)
            serve_close(&t->serve[i]);
    if (t->prepare_event != NULL)
        event_free(t->prepare_event);
    if (t->keep_timer != NULL)
        event_free(t->keep_timer);
    ls_rate_let_go(t->rate);
}
