/* SPDX-License-Identifier: BSD-3-Clause */
/* See keeper.h. ctrl's one thread. */
#include "keeper.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../dataplane/workers/clock.h"
#include "node.h"
#include "recover.h"

#define KEEP_DEFAULT 3

struct waiter {
    ls_keeper_done done; /* NULL: free */
    void *user;
};

struct ls_keeper {
    struct ls_node *node;
    struct ls_checkpoints *checkpoints;
    struct ls_transfer *transfer;
    struct waiter waiter[LS_KEEPER_WAITERS_MAX]; /* for the one being made */
    struct waiter verifier, restorer;
    bool making;
    bool serving;                               /* the transfer waits for it, too */
    bool getting;                               /* the brain waits */
    bool restoring;                             /* the dataplane does */
    char restored_name[LS_CHECKPOINT_NAME_MAX]; /* of this node's own, being restored; "": a fetched one */
    struct ls_control_checkpoint progress;
    uint64_t due_ns; /* next one of our own accord; 0: never */
    uint64_t made_seq;
    uint64_t made, failed, restored;
    struct event *refused_event; /* what could not even be begun is told from the loop */
    bool make_refused, get_refused;
    int get_error;
    char refusal[LS_CHECKPOINTS_ERROR];
};

static void tell(struct waiter *waiter, int error, const char *text)
{
    struct waiter told = *waiter;

    waiter->done = NULL;
    if (told.done != NULL)
        told.done(told.user, error, text);
}

static void say(struct ls_keeper *keeper, enum ls_ctrl_level level, const char *what, const char *text)
{
    ls_problems_say(&keeper->node->problems, level, "checkpoint: %s%s", what, text);
}

/* ---- the dataplane's part ---- */

/* False: no link, or too many questions. */
static bool path_ask(struct ls_keeper *keeper, enum ls_control_type type, const char *path, bool older,
                     ls_ask_answer answer)
{
    struct {
        struct ls_control_path path;
        char text[LS_CONTROL_PATH_MAX];
    } LS_PACKED body = {.path.bytes_per_second = keeper->node->config->checkpoint_rate};
    size_t length = strlen(path);

    if (length == 0 || length > sizeof(body.text))
        return false;
    body.path.length = (uint16_t)length;
    body.path.older = older;
    memcpy(body.text, path, length);
    return ls_node_ask_long(keeper->node, type, &body, sizeof(body.path) + length, answer, keeper);
}

/* 0, or an errno with its text. */
static int answer_read(const struct ls_control_header *header, const uint8_t *body, const char *why,
                       struct ls_control_checkpoint *checkpoint, char *text, size_t room)
{
    struct ls_control_done done;
    size_t head = 0;

    memset(checkpoint, 0, sizeof(*checkpoint));
    text[0] = '\0';
    if (header == NULL) {
        snprintf(text, room, "%s", why);
        return EIO;
    }
    if (header->type == LS_CONTROL_CHECKPOINT_DONE) {
        head = sizeof(*checkpoint);
        memcpy(checkpoint, body, head);
    } else if (header->type == LS_CONTROL_DONE) {
        head = sizeof(done);
        memcpy(&done, body, head);
        checkpoint->error = done.error != 0 ? done.error : EPROTO;
    } else {
        checkpoint->error = EPROTO;
    }
    snprintf(text, room, "%.*s", head > 0 ? (int)(header->size - head) : 0, (const char *)body + head);
    if (checkpoint->error != 0 && text[0] == '\0')
        snprintf(text, room, "the dataplane refused: %s", strerror((int)checkpoint->error));
    return (int)checkpoint->error;
}

/* ---- making ---- */

static void on_trimmed(void *user, const struct ls_control_header *header, const uint8_t *body, const char *why)
{
    (void)user;
    (void)header;
    (void)body;
    (void)why; /* the next one asks again, for more */
}

/* What is below it the journal need not keep. */
static void trim_ask(struct ls_keeper *keeper, const char *name)
{
    const struct ls_checkpoint_file *file = ls_checkpoints_find(keeper->checkpoints, name);
    struct ls_control_trim trim;

    if (file == NULL || keeper->node->config->durability == LS_DURABLE_MEMORY)
        return;
    trim.position = file->position;
    (void)ls_node_ask(keeper->node, LS_CONTROL_TRIM, &trim, sizeof(trim), on_trimmed, keeper);
}

static void on_verified_own(void *user, const char *name, enum ls_checkpoint_state state, const char *text)
{
    struct ls_keeper *keeper = user;
    uint32_t keep = keeper->node->config->checkpoint_keep;

    if (state != LS_CHECKPOINT_GOOD) {
        say(keeper, LS_CTRL_ALARM, "one that was just written is not whole on the disk: ", text);
        return;
    }
    trim_ask(keeper, name);
    if (ls_checkpoints_prune(keeper->checkpoints, keep != 0 ? keep : KEEP_DEFAULT) > 0)
        say(keeper, LS_CTRL_INFO, "older ones were removed; the newest is ", name);
}

static void made(struct ls_keeper *keeper, int error, const char *text)
{
    bool serving = keeper->serving;

    keeper->making = keeper->serving = false;
    keeper->made += error == 0;
    keeper->failed += error != 0;
    for (int i = 0; i < LS_KEEPER_WAITERS_MAX; i++)
        tell(&keeper->waiter[i], error, text);
    if (serving)
        ls_transfer_made(keeper->transfer, -error, text);
}

static void on_made(void *user, const struct ls_control_header *header, const uint8_t *body, const char *why)
{
    struct ls_keeper *keeper = user;
    char text[LS_CONTROL_TEXT_MAX + 1], name[LS_CHECKPOINT_NAME_MAX], adopted[LS_CHECKPOINTS_ERROR];
    struct ls_control_checkpoint checkpoint;
    int error = answer_read(header, body, why, &checkpoint, text, sizeof(text));

    if (error == 0) {
        error = -ls_checkpoints_adopt(keeper->checkpoints, adopted);
        if (error != 0)
            snprintf(text, sizeof(text), "%s", adopted);
    }
    if (error != 0) {
        say(keeper, LS_CTRL_WARN, "not written: ", text);
        made(keeper, error, text);
        return;
    }
    keeper->made_seq = checkpoint.seq;
    ls_checkpoint_name(keeper->node->record.durable.generation, checkpoint.seq, name);
    say(keeper, LS_CTRL_INFO, "written: ", name);
    made(keeper, 0, name);
    (void)ls_checkpoints_verify(keeper->checkpoints, name, on_verified_own, keeper); /* busy: the next one's turn */
}

static int make_begin(struct ls_keeper *keeper)
{
    char path[LS_CHECKPOINTS_PATH_MAX];

    if (keeper->making)
        return 0;
    ls_checkpoints_new_path(keeper->checkpoints, path);
    if (!path_ask(keeper, LS_CONTROL_CHECKPOINT, path, false, on_made))
        return -ENOTCONN;
    keeper->making = true;
    memset(&keeper->progress, 0, sizeof(keeper->progress));
    return 0;
}

int ls_keeper_make(struct ls_keeper *keeper, ls_keeper_done done, void *user)
{
    int error;

    for (int i = 0; i < LS_KEEPER_WAITERS_MAX; i++) {
        if (keeper->waiter[i].done != NULL)
            continue;
        error = make_begin(keeper);
        if (error == 0)
            keeper->waiter[i] = (struct waiter){done, user};
        return error;
    }
    return -EBUSY;
}

/* Another node waits for a newer one. */
static void on_make_wanted(void *user)
{
    struct ls_keeper *keeper = user;

    keeper->serving = true;
    if (make_begin(keeper) == 0)
        return;
    keeper->make_refused = true;
    event_active(keeper->refused_event, EV_TIMEOUT, 0);
}

void ls_keeper_second(struct ls_keeper *keeper, uint64_t now_ns)
{
    const struct ls_counters_page *page = keeper->node->dataplane.page;
    uint64_t every = keeper->node->config->checkpoint_every_ns, applied;

    if (every == 0 || page == NULL || now_ns < keeper->due_ns)
        return;
    applied = atomic_load_explicit(&page->replica.applied_seq, memory_order_relaxed);
    if (keeper->due_ns == 0) { /* not all nodes at once */
        keeper->due_ns = now_ns + every / LS_MEMBERS_MAX * (1 + keeper->node->self->id % LS_MEMBERS_MAX);
        return;
    }
    keeper->due_ns = now_ns + every;
    if (applied > keeper->made_seq)
        (void)make_begin(keeper); /* without a dataplane now: in its turn */
}

/* ---- verifying ---- */

static void on_verified(void *user, const char *name, enum ls_checkpoint_state state, const char *text)
{
    struct ls_keeper *keeper = user;

    tell(&keeper->verifier, state == LS_CHECKPOINT_GOOD ? 0 : EBADMSG, state == LS_CHECKPOINT_GOOD ? name : text);
}

int ls_keeper_verify(struct ls_keeper *keeper, const char *name, ls_keeper_done done, void *user)
{
    int error;

    if (keeper->verifier.done != NULL)
        return -EBUSY;
    error = ls_checkpoints_verify(keeper->checkpoints, name, on_verified, keeper);
    if (error == 0)
        keeper->verifier = (struct waiter){done, user};
    return error;
}

/* ---- restoring and fetching ---- */

static void got(struct ls_keeper *keeper, int error, const char *text)
{
    if (!keeper->getting)
        return;
    keeper->getting = false;
    ls_ctrl_checkpoint_done(keeper->node->ctrl, error, text, ls_now_ns());
    ls_node_settle(keeper->node);
}

static void on_restored(void *user, const struct ls_control_header *header, const uint8_t *body, const char *why)
{
    struct ls_keeper *keeper = user;
    struct ls_control_checkpoint checkpoint;
    char text[LS_CONTROL_TEXT_MAX + 1];
    int error = answer_read(header, body, why, &checkpoint, text, sizeof(text));

    keeper->restoring = false;
    keeper->restored += error == 0;
    if (error == 0)
        snprintf(text, sizeof(text), "state and log begin behind entry %" PRIu64 " now", (uint64_t)checkpoint.seq);
    else if (keeper->getting && keeper->restored_name[0] != '\0')
        ls_checkpoints_doubt(keeper->checkpoints, keeper->restored_name); /* from another node, the next time */
    say(keeper, error == 0 ? LS_CTRL_INFO : LS_CTRL_WARN, error == 0 ? "restored: " : "not restored: ", text);
    tell(&keeper->restorer, error, text);
    got(keeper, error, text);
}

static int restore_begin(struct ls_keeper *keeper, const char *path, const char *name, bool older)
{
    if (keeper->restoring)
        return -EBUSY;
    if (!path_ask(keeper, LS_CONTROL_RESTORE, path, older, on_restored))
        return -ENOTCONN;
    keeper->restoring = true;
    snprintf(keeper->restored_name, sizeof(keeper->restored_name), "%s", name);
    memset(&keeper->progress, 0, sizeof(keeper->progress));
    return 0;
}

int ls_keeper_restore(struct ls_keeper *keeper, const char *name, ls_keeper_done done, void *user)
{
    char path[LS_CHECKPOINTS_PATH_MAX];
    int error;

    if (ls_checkpoints_find(keeper->checkpoints, name) == NULL || !ls_checkpoints_path(keeper->checkpoints, name, path))
        return -ENOENT;
    if (keeper->getting)
        return -EBUSY;
    error = restore_begin(keeper, path, name, false);
    if (error == 0)
        keeper->restorer = (struct waiter){done, user};
    return error;
}

static void on_fetched(void *user, int error, const char *path, const char *text)
{
    struct ls_keeper *keeper = user;

    if (error == 0)
        error = restore_begin(keeper, path, "", false);
    else
        say(keeper, LS_CTRL_WARN, "not fetched: ", text);
    if (error != 0)
        got(keeper, -error, text != NULL && text[0] != '\0' ? text : strerror(-error));
}

/* The best of our own, where it serves: nothing needs to be sent. */
static bool own_begin(struct ls_keeper *keeper, uint64_t position)
{
    const struct ls_checkpoint_file *file = ls_checkpoints_newest(keeper->checkpoints, position);
    char path[LS_CHECKPOINTS_PATH_MAX];

    return file != NULL && (file->fresh || file->state == LS_CHECKPOINT_GOOD) &&
           ls_checkpoints_path(keeper->checkpoints, file->name, path) &&
           restore_begin(keeper, path, file->name, false) == 0;
}

static int fetch_begin(struct ls_keeper *keeper, uint64_t from, uint64_t position)
{
    struct ls_transfer_source source[LS_MEMBERS_MAX];
    uint32_t count = 0;

    for (uint16_t id = 1; id <= LS_NODE_ID_MAX && keeper->node->peers != NULL && count < LS_MEMBERS_MAX; id++) {
        struct ls_addr ctrl = ls_peers_addr(keeper->node->peers, id);

        if ((from >> id & 1) != 0 && ctrl.port != 0)
            source[count++] = (struct ls_transfer_source){id, ctrl};
    }
    return ls_transfer_get(keeper->transfer, source, count, position);
}

/* What could not be begun, or has nothing to it, is told from the loop. */
static void get_end(struct ls_keeper *keeper, int error, const char *text)
{
    snprintf(keeper->refusal, sizeof(keeper->refusal), "%.500s", text);
    keeper->get_error = error;
    keeper->get_refused = true;
    event_active(keeper->refused_event, EV_TIMEOUT, 0);
}

void ls_keeper_get(struct ls_keeper *keeper, uint64_t from, uint64_t position)
{
    int error;

    keeper->getting = true;
    if (own_begin(keeper, position))
        return;
    error = fetch_begin(keeper, from, position);
    if (error != 0)
        get_end(keeper, EAGAIN,
                error == -EINVAL ? "none of the nodes that could give one has a known address" : strerror(-error));
}

void ls_keeper_recover(struct ls_keeper *keeper)
{
    char path[LS_RECOVER_PATH_MAX], error[LS_RECORD_ERROR_MAX];
    int result = ls_recover_choice(keeper->node->self->data_dir, path, error);

    keeper->getting = true;
    if (result == 0 && path[0] == '\0')
        get_end(keeper, 0, "");
    else if (result != 0)
        get_end(keeper, -result, error);
    else if (restore_begin(keeper, path, "", true) != 0)
        get_end(keeper, EAGAIN, "the dataplane is not there, or restores already");
}

static void on_refused(evutil_socket_t fd, short what, void *argument)
{
    struct ls_keeper *keeper = argument;

    (void)fd;
    (void)what;
    if (keeper->make_refused) {
        keeper->make_refused = false;
        if (!keeper->making)
            made(keeper, ENOTCONN, "there is no dataplane to write one");
    }
    if (keeper->get_refused) {
        keeper->get_refused = false;
        got(keeper, keeper->get_error, keeper->refusal);
    }
}

/* ---- the rest ---- */

void ls_keeper_accept(struct ls_keeper *keeper, struct bufferevent *connection, uint16_t node)
{
    ls_transfer_accept(keeper->transfer, connection, node);
}

void ls_keeper_progress(struct ls_keeper *keeper, const struct ls_control_checkpoint *progress)
{
    keeper->progress = *progress;
}

struct ls_checkpoints *ls_keeper_checkpoints(struct ls_keeper *keeper)
{
    return keeper->checkpoints;
}

void ls_keeper_view(const struct ls_keeper *keeper, struct ls_keeper_view *view)
{
    struct ls_transfer_view transfer;

    ls_transfer_view(keeper->transfer, &transfer);
    *view = (struct ls_keeper_view){.running = keeper->making || keeper->restoring || transfer.fetching,
                                    .what = keeper->restoring   ? "restoring"
                                            : transfer.fetching ? "fetching"
                                            : keeper->making    ? "writing"
                                                                : "",
                                    .bytes = keeper->progress.bytes,
                                    .expected = keeper->progress.expected,
                                    .made = keeper->made,
                                    .failed = keeper->failed,
                                    .restored = keeper->restored};
    if (transfer.fetching && !keeper->restoring) {
        view->from = transfer.from;
        view->bytes = transfer.bytes;
        view->expected = transfer.expected;
    }
}

static void on_fetch_progress(void *user, uint16_t from, uint64_t bytes, uint64_t expected)
{
    struct ls_keeper *keeper = user;

    (void)from; /* the transfer's own view says it */
    keeper->progress.bytes = bytes;
    keeper->progress.expected = expected;
}

static void on_transfer_say(void *user, const char *text)
{
    say(user, LS_CTRL_INFO, "", text);
}

struct ls_keeper *ls_keeper_create(struct ls_node *node, char *error)
{
    struct ls_keeper *keeper = calloc(1, sizeof(*keeper));
    struct ls_transfer_io io = {.user = keeper,
                                .make = on_make_wanted,
                                .done = on_fetched,
                                .progress = on_fetch_progress,
                                .say = on_transfer_say};
    struct ls_transfer_config config = {.base = node->base,
                                        .cluster = node->config->cluster,
                                        .generation = node->record.durable.generation,
                                        .node = node->self->id,
                                        .bytes_per_second = node->config->checkpoint_rate};

    snprintf(error, LS_CHECKPOINTS_ERROR, "no memory for checkpoints");
    if (keeper == NULL)
        return NULL;
    keeper->node = node;
    keeper->checkpoints = ls_checkpoints_open(node->base, node->self->data_dir, config.cluster, config.generation,
                                              &ls_checkpoint_files, error);
    config.checkpoints = keeper->checkpoints;
    if (keeper->checkpoints != NULL)
        keeper->transfer = ls_transfer_create(&config, &io);
    if (keeper->transfer != NULL)
        keeper->refused_event = event_new(node->base, -1, 0, on_refused, keeper);
    if (keeper->refused_event != NULL)
        return keeper;
    ls_keeper_free(keeper);
    return NULL;
}

void ls_keeper_free(struct ls_keeper *keeper)
{
    static const char ends[] = "this lockstep-ctrl ends";

    for (int i = 0; i < LS_KEEPER_WAITERS_MAX; i++)
        tell(&keeper->waiter[i], ECANCELED, ends);
    tell(&keeper->verifier, ECANCELED, ends);
    tell(&keeper->restorer, ECANCELED, ends);
    if (keeper->refused_event != NULL)
        event_free(keeper->refused_event);
    if (keeper->transfer != NULL)
        ls_transfer_free(keeper->transfer);
    if (keeper->checkpoints != NULL)
        ls_checkpoints_close(keeper->checkpoints);
    free(keeper);
}
