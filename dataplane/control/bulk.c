/* SPDX-License-Identifier: BSD-3-Clause */
/* The bulk thread and its jobs. See bulk.h. */
#include "bulk.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../core/session.h"
#include "../state/checkpoint.h"
#include "../workers/clock.h"
#include "../workers/rcu.h"
#include "checks.h"

#define REPORTS      16
#define REPORTS_KEPT 8               /* places for what must arrive; progress and damage are told again */
#define LOOK_NS      (200ull * 1000) /* between two looks at what a worker is asked to do */
#define SLEEP_MAX_NS (1000ull * 1000 * 1000)
#define DAMAGED_NS   (1000ull * 1000 * 1000) /* between two reports of damage */
#define DUE_MAX_NS   1e15                    /* far beyond any patience, and a number of ns */
#define TRIES        3
#define DRAIN_LOOKS  50000                        /* LOOK_NS each: at least ten seconds */
#define ROOM_RESERVE ((uint64_t)64 * 1024 * 1024) /* memory left to the rest of the machine by a restore */

static bool stopped(const struct ls_bulk *bulk)
{
    return atomic_load_explicit(&bulk->stop, memory_order_acquire);
}

/* Sleeps so long, or until it is to stop. False: it is. */
static bool nap(struct ls_bulk *bulk, uint64_t ns)
{
    ls_waker_announce(&bulk->waker);
    if (stopped(bulk))
        ls_waker_cancel(&bulk->waker);
    else
        (void)ls_waker_wait(&bulk->waker, -1, ns);
    return !stopped(bulk);
}

/* ---- reports ---- */

static void report(struct ls_bulk *bulk, const struct ls_bulk_report *what)
{
    bool must = what->kind != LS_BULK_PROGRESS && what->kind != LS_BULK_DAMAGED;
    bool pushed;

    if (!must && ls_spsc_room(&bulk->reports) <= REPORTS_KEPT)
        return;
    pushed = ls_spsc_push(&bulk->reports, what);
    assert(pushed); /* one job at a time reports twice at most */
    if (bulk->config.control != NULL)
        ls_waker_wake(bulk->config.control);
}

/* The next job may be posted as soon as this is taken: `job` is not looked at afterwards. */
static void job_end(struct ls_bulk *bulk, const struct ls_bulk_report *end)
{
    atomic_store_explicit(&bulk->posted, false, memory_order_release);
    report(bulk, end);
}

static void done(struct ls_bulk *bulk, int error, const char *text)
{
    struct ls_bulk_report end = {
        .kind = LS_BULK_DONE, .link = bulk->job.link, .id = bulk->job.id, .checkpoint = bulk->checkpoint};

    end.checkpoint.error = (uint32_t)error;
    snprintf(end.text, sizeof(end.text), "%s", text);
    job_end(bulk, &end);
}

static void checkpoint_name(struct ls_bulk *bulk, const struct ls_cut *cut)
{
    bulk->checkpoint.seq = cut->seq;
    bulk->checkpoint.position = cut->position;
    bulk->checkpoint.epoch = cut->epochs > 0 ? cut->epoch[cut->epochs - 1].epoch : 0;
    bulk->checkpoint.digest = cut->digest;
}

/* Not faster than asked for. Here rather than where the file is written, so that the end need not wait for a pause. */
static void throttle(struct ls_bulk *bulk, uint64_t bytes)
{
    uint64_t rate = bulk->job.bytes_per_second, now = ls_now_ns();
    double due = rate > 0 ? (double)bytes / (double)rate * 1e9 : 0;

    due = due < DUE_MAX_NS ? due : DUE_MAX_NS;
    if ((double)(now - bulk->begin_ns) < due)
        (void)nap(bulk, (uint64_t)due - (now - bulk->begin_ns));
}

static bool on_progress(void *user, uint64_t bytes)
{
    struct ls_bulk *bulk = user;
    struct ls_bulk_report progress = {.kind = LS_BULK_PROGRESS, .link = bulk->job.link};
    uint64_t now = ls_now_ns();

    bulk->checkpoint.bytes = bytes;
    if (now - bulk->progress_ns >= LS_BULK_PROGRESS_NS) {
        bulk->progress_ns = now;
        progress.checkpoint = bulk->checkpoint;
        report(bulk, &progress);
    }
    throttle(bulk, bytes);
    return !stopped(bulk);
}

static struct ls_checkpoint_job checkpoint_job(struct ls_bulk *bulk)
{
    return (struct ls_checkpoint_job){.type = bulk->config.type,
                                      .cluster = bulk->config.cluster,
                                      .generation = bulk->config.generation,
                                      .older = bulk->job.older,
                                      .progress = on_progress,
                                      .user = bulk};
}

static uint64_t file_size(const char *path)
{
    struct stat info;

    return stat(path, &info) == 0 ? (uint64_t)info.st_size : 0;
}

/* ---- writing ---- */

static enum ls_cut_state cut_state(const struct ls_bulk *bulk)
{
    return (enum ls_cut_state)atomic_load_explicit(&bulk->config.seam->cut_state, memory_order_acquire);
}

static void cut_state_set(struct ls_bulk *bulk, enum ls_cut_state state)
{
    atomic_store_explicit(&bulk->config.seam->cut_state, state, memory_order_release);
    if (bulk->config.apply != NULL)
        ls_waker_wake(bulk->config.apply);
}

static int cut_ask(struct ls_bulk *bulk)
{
    struct ls_seam *seam = bulk->config.seam;
    int error;

    memset(&bulk->cut, 0, sizeof(bulk->cut));
    seam->cut = &bulk->cut;
    cut_state_set(bulk, LS_CUT_WANTED);
    while (cut_state(bulk) == LS_CUT_WANTED)
        if (!nap(bulk, LOOK_NS))
            return -ESHUTDOWN;
    if (cut_state(bulk) != LS_CUT_REFUSED)
        return 0;
    error = seam->cut_error;
    cut_state_set(bulk, LS_CUT_NONE);
    return error < 0 ? error : -EBUSY;
}

/* 0: the cut is open and its sessions are copied. -ESHUTDOWN: it is to stop. Busy is a machine that still gives back
 * what the checkpoint before held, most of all behind one that was given up: that takes apply some turns. */
static int cut_open(struct ls_bulk *bulk)
{
    struct ls_seam *seam = bulk->config.seam;
    int error = cut_ask(bulk);

    for (int i = 0; i < DRAIN_LOOKS && error == -EBUSY; i++)
        error = nap(bulk, LOOK_NS) ? cut_ask(bulk) : -ESHUTDOWN;
    if (error != 0)
        return error;
    while (!atomic_load_explicit(&seam->cut_sessions, memory_order_acquire))
        if (!nap(bulk, LOOK_NS))
            return -ESHUTDOWN;
    return 0;
}

static void cut_end(struct ls_bulk *bulk)
{
    cut_state_set(bulk, LS_CUT_ENDING);
    while (cut_state(bulk) != LS_CUT_NONE && nap(bulk, LOOK_NS))
        ;
}

static int write_once(struct ls_bulk *bulk, char *error)
{
    struct ls_checkpoint_job job = checkpoint_job(bulk);
    const uint8_t *sessions;
    size_t sessions_size;
    int result = cut_open(bulk);

    if (result == -ESHUTDOWN)
        return result;
    if (result != 0) {
        snprintf(error, LS_CONTROL_TEXT_MAX, "no cut through the state can be made now: %s: try again",
                 strerror(-result));
        return result;
    }
    checkpoint_name(bulk, &bulk->cut);
    bulk->begin_ns = ls_now_ns();
    sessions = ls_executor_sessions_image(bulk->config.executor, &sessions_size);
    result =
        ls_checkpoint_file_write(&job, &bulk->cut, sessions, sessions_size, bulk->machine, bulk->job.path, 0, error);
    cut_end(bulk);
    return stopped(bulk) && result != 0 ? -ESHUTDOWN : result;
}

/* -ECANCELED: so much was overwritten meanwhile that the machine's reserve for old versions ran out. */
static void write_checkpoint(struct ls_bulk *bulk)
{
    char error[LS_CONTROL_TEXT_MAX] = "";
    int result = -ECANCELED;

    bulk->checkpoint.expected = bulk->expected;
    for (int i = 0; i < TRIES && result == -ECANCELED; i++)
        result = write_once(bulk, error);
    if (result == 0)
        bulk->checkpoint.bytes = bulk->expected = file_size(bulk->job.path);
    else if (result == -ECANCELED)
        snprintf(error, sizeof(error),
                 "given up %d times: the state is overwritten faster than it is written out: raise checkpoint.rate, or "
                 "try when there is less to do",
                 TRIES);
    else if (result == -ESHUTDOWN)
        snprintf(error, sizeof(error), "broken off: the dataplane stops");
    done(bulk, -result, error);
}

/* ---- restoring ---- */

/* A second machine is only addresses until it is filled, so create() alone does not say whether there is memory. */
static int room_check(struct ls_bulk *bulk, char *error)
{
    uint64_t available;

    if (!ls_checks_memory_available(bulk->config.root, &available) ||
        available >= bulk->checkpoint.expected + ROOM_RESERVE)
        return 0;
    snprintf(error, LS_CONTROL_TEXT_MAX,
             "restoring needs about %" PRIu64 " MiB beside the present state, and %" PRIu64 " MiB are available: free "
             "memory, or restart this node's dataplane, which begins empty",
             (bulk->checkpoint.expected + ROOM_RESERVE) >> 20, available >> 20);
    return -ENOMEM;
}

/* Makes bulk->image of the file. */
static int image_read(struct ls_bulk *bulk, char *error)
{
    const struct ls_bulk_config *config = &bulk->config;
    struct ls_checkpoint_job job = checkpoint_job(bulk);
    int result = room_check(bulk, error);

    if (result != 0)
        return result;
    memset(&bulk->image, 0, sizeof(bulk->image));
    bulk->image.machine = bulk->candidate = config->type->create(&config->limits, &config->gp->grace);
    if (bulk->image.machine == NULL) {
        result = errno != 0 ? -errno : -ENOMEM;
        snprintf(error, LS_CONTROL_TEXT_MAX,
                 "state machine %s: no memory for a second one of %" PRIu64 " keys and %" PRIu64 " bytes beside the "
                 "first: %s: lower limits.keys or limits.bytes",
                 config->type->name, config->limits.keys, config->limits.bytes, strerror(-result));
        return result;
    }
    result = ls_checkpoint_file_read(&job, bulk->job.path, config->sessions_max, &bulk->image, error);
    if (result == 0)
        return 0;
    config->type->destroy(bulk->image.machine);
    bulk->candidate = NULL;
    return stopped(bulk) ? -ESHUTDOWN : result;
}

/* Has net and apply take the image. Returns 0, or what they refused it with; -ESHUTDOWN: not known, it is to stop. */
static int image_hand(struct ls_bulk *bulk)
{
    struct ls_bulk_report rebase = {.kind = LS_BULK_REBASE, .link = bulk->job.link, .image = &bulk->image};
    uint32_t rebased;

    atomic_store_explicit(&bulk->rebased, 0, memory_order_relaxed);
    report(bulk, &rebase);
    while ((rebased = atomic_load_explicit(&bulk->rebased, memory_order_acquire)) == 0)
        if (!nap(bulk, LOOK_NS))
            return -ESHUTDOWN;
    return -(int)(rebased - 1);
}

/* Nobody reads it once this grace period is over. False: it is to stop, and ls_bulk_free() does it. */
static bool image_drop(struct ls_bulk *bulk)
{
    uint64_t ticket = ls_grace_ticket(&bulk->config.gp->grace);

    while (!ls_grace_over(&bulk->config.gp->grace, ticket)) {
        ls_gp_want(bulk->config.gp);
        if (!nap(bulk, LOOK_NS))
            return false;
    }
    ls_sessions_destroy(bulk->image.sessions);
    bulk->config.type->destroy(bulk->image.machine);
    bulk->candidate = NULL;
    return true;
}

static const char *refusal(int result)
{
    switch (result) {
    case -EBUSY:
        return "nothing is missing here, or it has halted";
    case -EBADMSG:
        return "what it says of its epochs and members makes no sense";
    case -EPERM:
        return "it is of an older generation of the cluster, and this node is not outside without a log";
    case -EAGAIN:
        return "it reaches into an epoch that is not promised here: seal first";
    case -ESTALE:
        return "it is older than what must be kept here: take a newer one";
    default:
        return strerror(-result);
    }
}

static void restore_checkpoint(struct ls_bulk *bulk)
{
    char error[LS_CONTROL_TEXT_MAX] = "";
    int result;

    bulk->checkpoint.expected = file_size(bulk->job.path);
    result = image_read(bulk, error);
    if (result == 0) {
        checkpoint_name(bulk, &bulk->image.cut);
        bulk->checkpoint.bytes = bulk->checkpoint.expected;
        result = image_hand(bulk);
        if (result == 0) {
            bulk->machine = bulk->candidate;
            ls_scrub_restart(&bulk->scrub, ls_now_ns());
        } else if (result != -ESHUTDOWN) {
            snprintf(error, sizeof(error), "the replica does not take it: %s", refusal(result));
        }
        if (result != -ESHUTDOWN)
            (void)image_drop(bulk);
    }
    if (result == -ESHUTDOWN)
        snprintf(error, sizeof(error), "broken off: the dataplane stops");
    done(bulk, -result, error);
}

/* ---- faults and scrubbing ---- */

static void flip(struct ls_bulk *bulk)
{
    struct ls_bulk_report end = {.kind = LS_BULK_FLIPPED, .link = bulk->job.link, .id = bulk->job.id};
    const struct ls_state_machine *type = bulk->config.type;
    bool flipped;

    if (type->flip == NULL) {
        end.error = EOPNOTSUPP;
        snprintf(end.text, sizeof(end.text), "state machine %s has no bits to flip", type->name);
    } else {
        ls_rcu_online();
        flipped = type->flip(bulk->machine, bulk->job.seed);
        ls_rcu_offline();
        if (!flipped) {
            end.error = ENOENT;
            snprintf(end.text, sizeof(end.text), "no value is stored: put one first");
        }
    }
    job_end(bulk, &end);
}

static void scrub(struct ls_bulk *bulk)
{
    struct ls_replica_page *page = bulk->config.page;
    struct ls_bulk_report damaged = {.kind = LS_BULK_DAMAGED};
    uint64_t now = ls_now_ns();
    bool found;

    ls_rcu_online();
    found = ls_scrub_turn(&bulk->scrub, bulk->machine, now);
    ls_rcu_offline();
    atomic_store_explicit(&page->scrub_rounds, bulk->scrub.rounds, memory_order_relaxed);
    atomic_store_explicit(&page->scrub_damaged, bulk->scrub.damaged, memory_order_relaxed);
    if (!found || (bulk->damaged_told_ns != 0 && now - bulk->damaged_told_ns < DAMAGED_NS))
        return;
    bulk->damaged_told_ns = now;
    damaged.damaged.seq = atomic_load_explicit(&bulk->config.seam->applied_seq, memory_order_acquire);
    damaged.damaged.found = bulk->scrub.damaged;
    report(bulk, &damaged);
}

/* ---- the thread ---- */

static void job_run(struct ls_bulk *bulk)
{
    bulk->checkpoint = (struct ls_control_checkpoint){0};
    bulk->begin_ns = bulk->progress_ns = ls_now_ns();
    switch (bulk->job.kind) {
    case LS_BULK_CHECKPOINT:
        write_checkpoint(bulk);
        break;
    case LS_BULK_RESTORE:
        restore_checkpoint(bulk);
        break;
    default:
        flip(bulk);
    }
}

static void *bulk_main(void *argument)
{
    struct ls_bulk *bulk = argument;

    pthread_setname_np(pthread_self(), "ls-bulk");
    /* Of the usual priority: it reads under RCU, and one that waits for its turn there holds up grace periods, and with
     * them the memory that apply waits for. */
    ls_rcu_register();
    ls_rcu_offline();
    while (!stopped(bulk)) {
        uint64_t now = ls_now_ns(), next = ls_scrub_next_ns(&bulk->scrub);

        if (atomic_load_explicit(&bulk->posted, memory_order_acquire)) {
            job_run(bulk);
            continue;
        }
        if (next <= now) {
            scrub(bulk);
            continue;
        }
        ls_waker_announce(&bulk->waker);
        if (stopped(bulk) || atomic_load_explicit(&bulk->posted, memory_order_acquire))
            ls_waker_cancel(&bulk->waker);
        else
            (void)ls_waker_wait(&bulk->waker, -1, next - now < SLEEP_MAX_NS ? next - now : SLEEP_MAX_NS);
    }
    ls_rcu_unregister();
    return NULL;
}

int ls_bulk_start(struct ls_bulk *bulk, const struct ls_bulk_config *config, struct ls_machine *machine)
{
    int error;

    memset(bulk, 0, sizeof(*bulk));
    bulk->config = *config;
    bulk->machine = machine;
    error = ls_waker_init(&bulk->waker);
    if (error != 0)
        return error;
    bulk->reports_memory = malloc(REPORTS * sizeof(struct ls_bulk_report));
    if (bulk->reports_memory == NULL) {
        ls_waker_free(&bulk->waker);
        return -ENOMEM;
    }
    ls_spsc_init(&bulk->reports, bulk->reports_memory, REPORTS, sizeof(struct ls_bulk_report));
    ls_scrub_init(&bulk->scrub, config->type, config->limits.keys, config->scrub_ns, ls_now_ns());
    error = pthread_create(&bulk->thread, NULL, bulk_main, bulk);
    if (error != 0) {
        ls_waker_free(&bulk->waker);
        free(bulk->reports_memory);
    }
    return -error;
}

void ls_bulk_stop(struct ls_bulk *bulk)
{
    atomic_store_explicit(&bulk->stop, true, memory_order_release);
    ls_waker_wake(&bulk->waker);
    pthread_join(bulk->thread, NULL);
}

void ls_bulk_free(struct ls_bulk *bulk)
{
    if (bulk->candidate != NULL && bulk->candidate != bulk->machine) {
        /* Handed to net or taken in exchange: of the two machines one is in the image, and both go. */
        bulk->config.type->destroy(bulk->candidate);
        ls_sessions_destroy(bulk->image.sessions);
    } else if (bulk->candidate != NULL) {
        bulk->config.type->destroy(bulk->image.machine);
        ls_sessions_destroy(bulk->image.sessions);
    }
    bulk->config.type->destroy(bulk->machine);
    ls_waker_free(&bulk->waker);
    free(bulk->reports_memory);
}

/* ---- control ---- */

bool ls_bulk_post(struct ls_bulk *bulk, const struct ls_bulk_job *job)
{
    if (bulk->busy)
        return false;
    bulk->busy = true;
    bulk->job = *job;
    atomic_store_explicit(&bulk->posted, true, memory_order_release);
    ls_waker_wake(&bulk->waker);
    return true;
}

bool ls_bulk_report(struct ls_bulk *bulk, struct ls_bulk_report *what)
{
    if (!ls_spsc_pop(&bulk->reports, what))
        return false;
    if (what->kind == LS_BULK_DONE || what->kind == LS_BULK_FLIPPED)
        bulk->busy = false;
    return true;
}

void ls_bulk_rebased(struct ls_bulk *bulk, uint32_t code)
{
    atomic_store_explicit(&bulk->rebased, 1 + code, memory_order_release);
    ls_waker_wake(&bulk->waker);
}
