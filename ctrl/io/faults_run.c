/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Faults made to happen; see faults_run.h. What the dataplane was told last is kept, so that it is told only what
 * changed, and everything after it was started again (it begins without faults).
 */
#include "faults_run.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../dataplane/workers/clock.h"

struct operation;

struct ls_faults {
    struct ls_node *node;
    struct ls_fault_list list;
    struct event *tick;
    struct event *crash;
    struct operation *operations; /* that wait for the dataplane */
    uint64_t incarnation;         /* that was told: */
    struct ls_control_fault network;
    struct ls_control_disk_fault disk;
    uint64_t slow_ns[LS_WORKERS];
};

/* A question to the dataplane, and whom its answer is for. */
struct operation {
    struct ls_faults *faults; /* NULL: gone meanwhile */
    struct operation *next;
    ls_faults_done done; /* NULL: nobody waits */
    void *user;
    uint64_t id; /* of the fault, which is taken back where this is refused; 0: none */
};

static void operation_end(struct operation *operation)
{
    struct operation **at = &operation->faults->operations;

    while (*at != operation)
        at = &(*at)->next;
    *at = operation->next;
}

static void tell_again(struct ls_faults *faults);

static void on_answer(void *user, const struct ls_control_header *header, const uint8_t *body, const char *why)
{
    struct operation *operation = user;
    struct ls_control_done done = {.error = ETIMEDOUT};
    char text[LS_CONTROL_TEXT_MAX + 1];
    bool answered = header != NULL && header->type == LS_CONTROL_DONE;

    snprintf(text, sizeof(text), "%s", why != NULL ? why : "the dataplane gave another answer");
    if (answered) {
        size_t length = header->size - sizeof(done);

        memcpy(&done, body, sizeof(done));
        length = length < LS_CONTROL_TEXT_MAX ? length : LS_CONTROL_TEXT_MAX;
        memcpy(text, body + sizeof(done), length);
        text[length] = '\0';
    }
    if (operation->faults != NULL) {
        struct ls_faults *faults = operation->faults;

        operation_end(operation);
        if (done.error != 0 && operation->id != 0 && ls_fault_list_remove(&faults->list, operation->id) > 0)
            tell_again(faults);
        if (operation->done != NULL)
            operation->done(operation->user, (int)done.error, text, operation->id);
    }
    free(operation);
}

/* False: nobody to ask, or no memory; done() was not called. */
static bool ask(struct ls_faults *faults, enum ls_control_type type, const void *body, size_t size, uint64_t id,
                ls_faults_done done, void *user)
{
    struct operation *operation = calloc(1, sizeof(*operation));

    if (operation == NULL)
        return false;
    *operation = (struct operation){.faults = faults, .next = faults->operations, .done = done, .user = user, .id = id};
    faults->operations = operation;
    if (ls_operate_ask(faults->node, type, body, size, on_answer, operation))
        return true;
    operation_end(operation);
    free(operation);
    return false;
}

/* Is there a dataplane to tell? A new one was told nothing yet. */
static bool dataplane_listens(struct ls_faults *faults)
{
    struct ls_operate_view view;

    ls_operate_view(faults->node, &view);
    if (!view.alive || !view.linked || view.page == NULL)
        return false;
    if (view.page->incarnation != faults->incarnation) {
        faults->incarnation = view.page->incarnation;
        memset(&faults->network, 0, sizeof(faults->network));
        memset(&faults->disk, 0, sizeof(faults->disk));
        memset(faults->slow_ns, 0, sizeof(faults->slow_ns));
    }
    return true;
}

/* Tells what differs from what was told. The first question carries `done`; false: there was nothing to tell, or nobody
 * to tell it, and done() will not be called. */
static bool tell(struct ls_faults *faults, uint64_t id, ls_faults_done done, void *user)
{
    struct ls_control_fault network, told = faults->network;
    struct ls_control_disk_fault disk, disk_told = faults->disk;
    bool asked = false;

    for (uint32_t worker = 0; worker < LS_WORKERS; worker++) {
        struct ls_control_slow slow = {.turn_ns = ls_fault_list_slow_ns(&faults->list, worker), .worker = worker};
        uint64_t before = faults->slow_ns[worker];

        if (slow.turn_ns == before)
            continue;
        faults->slow_ns[worker] = slow.turn_ns; /* first: the answer may come at once */
        if (ask(faults, LS_CONTROL_SLOW, &slow, sizeof(slow), asked ? 0 : id, asked ? NULL : done, user))
            asked = true;
        else
            faults->slow_ns[worker] = before;
    }
    ls_fault_list_disk(&faults->list, &disk);
    if (memcmp(&disk, &disk_told, sizeof(disk)) != 0) {
        faults->disk = disk;
        if (ask(faults, LS_CONTROL_DISK_FAULT, &disk, sizeof(disk), asked ? 0 : id, asked ? NULL : done, user))
            asked = true;
        else
            faults->disk = disk_told;
    }
    ls_fault_list_network(&faults->list, &network);
    if (memcmp(&network, &told, sizeof(network)) == 0)
        return asked;
    faults->network = network;
    if (ask(faults, LS_CONTROL_FAULT, &network, sizeof(network), asked ? 0 : id, asked ? NULL : done, user))
        return true;
    faults->network = told;
    return asked;
}

/* Does the dataplane have what the list says? */
static bool is_told(const struct ls_faults *faults)
{
    struct ls_control_fault network;
    struct ls_control_disk_fault disk;

    for (uint32_t worker = 0; worker < LS_WORKERS; worker++)
        if (ls_fault_list_slow_ns(&faults->list, worker) != faults->slow_ns[worker])
            return false;
    ls_fault_list_disk(&faults->list, &disk);
    if (memcmp(&disk, &faults->disk, sizeof(disk)) != 0)
        return false;
    ls_fault_list_network(&faults->list, &network);
    return memcmp(&network, &faults->network, sizeof(network)) == 0;
}

static void tell_again(struct ls_faults *faults)
{
    (void)tell(faults, 0, NULL, NULL);
}

static void on_tick(evutil_socket_t fd, short what, void *user)
{
    struct ls_faults *faults = user;
    const struct timeval tick = {.tv_usec = LS_FAULTS_TICK_MS * 1000};

    (void)fd;
    (void)what;
    (void)ls_fault_list_expire(&faults->list, ls_now_ns());
    if (dataplane_listens(faults))
        tell_again(faults);
    if (faults->list.count > 0)
        (void)evtimer_add(faults->tick, &tick);
}

/* ---- processes ---- */

/* In the child: this process' locks and links would outlive it there. `fd` under its number now. */
static int alone_with(int fd)
{
    if (dup2(fd, STDERR_FILENO + 1) >= 0)
        fd = STDERR_FILENO + 1;
    (void)syscall(SYS_close_range, fd + 1, ~0u, 0);
    return fd;
}

/* A grandchild that nobody has to wait for continues the process, also if this one is dead by then. */
static int continue_later(pid_t pid, uint64_t after_ns)
{
    struct timespec pause = {.tv_sec = (time_t)(after_ns / 1000000000), .tv_nsec = (long)(after_ns % 1000000000)};
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    pid_t child;

    if (pidfd < 0)
        return -errno;
    child = fork();
    if (child < 0) {
        close(pidfd);
        return -EAGAIN;
    }
    if (child == 0) {
        pidfd = alone_with(pidfd);
        if (fork() != 0)
            _exit(0);
        while (nanosleep(&pause, &pause) != 0 && errno == EINTR)
            ;
        (void)syscall(SYS_pidfd_send_signal, pidfd, SIGCONT, NULL, 0);
        _exit(0);
    }
    (void)waitpid(child, NULL, 0);
    close(pidfd);
    return 0;
}

static int process_stop(pid_t pid, uint64_t for_ns)
{
    int error = continue_later(pid, for_ns); /* first: nothing stays stopped for ever */

    if (error == 0 && kill(pid, SIGSTOP) != 0)
        error = -errno;
    return error;
}

static void on_crash(evutil_socket_t fd, short what, void *user)
{
    (void)fd;
    (void)what;
    (void)user;
    (void)raise(SIGKILL);
}

static int process_fault(struct ls_faults *faults, const struct ls_fault_entry *entry, char *text, size_t room)
{
    const struct timeval soon = {.tv_usec = LS_FAULTS_CRASH_MS * 1000};
    struct ls_operate_view view;
    int error = 0;

    ls_operate_view(faults->node, &view);
    if ((entry->target & LS_FAULT_DATAPLANE) && !view.alive) {
        snprintf(text, room, "the dataplane is not running: there is nothing to %s",
                 entry->kind == LS_FAULT_STOP ? "stop" : "kill");
        return -ESRCH;
    }
    if (entry->target & LS_FAULT_DATAPLANE) {
        pid_t pid = (pid_t)view.pid;

        error = entry->kind == LS_FAULT_STOP ? process_stop(pid, entry->for_ns) : kill(pid, SIGKILL) != 0 ? -errno : 0;
    }
    if (error == 0 && (entry->target & LS_FAULT_CTRL)) {
        if (entry->kind == LS_FAULT_CRASH)
            error = evtimer_add(faults->crash, &soon) == 0 ? 0 : -ENOMEM;
        else
            error = process_stop(getpid(), entry->for_ns); /* the answer leaves when it goes on */
    }
    snprintf(text, room, "%s", error == 0 ? "" : strerror(-error));
    return error;
}

/* ---- the list ---- */

static bool in_force(const struct ls_fault_entry *entry)
{
    return entry->kind != LS_FAULT_CRASH && entry->kind != LS_FAULT_FLIP;
}

/* Something to ask of the dataplane that is no part of the merged settings. */
static bool ask_once(struct ls_faults *faults, const struct ls_fault_entry *entry, uint64_t id, ls_faults_done done,
                     void *user)
{
    struct ls_control_flip flip = {.seed = entry->seed};
    struct ls_control_slow stall = {.turn_ns = ls_fault_list_slow_ns(&faults->list, entry->worker),
                                    .pause_ns = entry->for_ns,
                                    .worker = entry->worker};

    if (entry->kind == LS_FAULT_FLIP)
        return ask(faults, LS_CONTROL_FLIP, &flip, sizeof(flip), 0, done, user);
    return ask(faults, LS_CONTROL_SLOW, &stall, sizeof(stall), id, done, user);
}

void ls_faults_add(struct ls_faults *faults, const struct ls_fault_entry *entry, ls_faults_done done, void *user)
{
    const struct timeval tick = {.tv_usec = LS_FAULTS_TICK_MS * 1000};
    char text[LS_FAULT_TEXT_MAX] = "";
    bool listens, asked;
    uint64_t id = 0;

    if (in_force(entry)) {
        id = ls_fault_list_add(&faults->list, entry, ls_now_ns());
        if (id == 0) {
            snprintf(text, sizeof(text), "%d faults are in force, more are not kept: clear some first", LS_FAULTS_MAX);
            done(user, EBUSY, text, 0);
            return;
        }
        if (!evtimer_pending(faults->tick, NULL))
            (void)evtimer_add(faults->tick, &tick);
    }
    if (entry->kind == LS_FAULT_STOP || entry->kind == LS_FAULT_CRASH) {
        int error = process_fault(faults, entry, text, sizeof(text));

        if (error != 0)
            (void)ls_fault_list_remove(&faults->list, id);
        done(user, -error, text, error == 0 ? id : 0);
        return;
    }
    listens = dataplane_listens(faults);
    asked = listens &&
            (entry->kind == LS_FAULT_FLIP || entry->kind == LS_FAULT_STALL ? ask_once(faults, entry, id, done, user)
                                                                           : tell(faults, id, done, user));
    if (asked)
        return;
    if (listens && (entry->kind == LS_FAULT_NETWORK || entry->kind == LS_FAULT_DISK || entry->kind == LS_FAULT_SLOW) &&
        is_told(faults)) {
        done(user, 0, "", id); /* changes nothing beside those that are in force: a cut that is cut already */
        return;
    }
    if (id != 0)
        (void)ls_fault_list_remove(&faults->list, id);
    done(user, EAGAIN, "there is no dataplane to tell, or it has too much to answer: see lockstep status", 0);
}

void ls_faults_clear(struct ls_faults *faults, uint64_t id, ls_faults_done done, void *user)
{
    char text[LS_FAULT_TEXT_MAX];
    uint32_t removed = ls_fault_list_remove(&faults->list, id);

    if (id != 0 && removed == 0) {
        snprintf(text, sizeof(text), "there is no fault %" PRIu64 " here: lockstep fault list shows those in force",
                 id);
        done(user, ENOENT, text, 0);
        return;
    }
    if (!dataplane_listens(faults) || !tell(faults, 0, done, user))
        done(user, 0, "", 0);
}

void ls_faults_replace(struct ls_faults *faults, const struct ls_control_fault *network, ls_faults_done done,
                       void *user)
{
    static const struct ls_control_fault off;
    struct ls_fault_entry entry = {.kind = LS_FAULT_NETWORK, .network = *network};
    struct ls_control_fault without_seed = *network;

    for (uint32_t i = faults->list.count; i-- > 0;)
        if (faults->list.entry[i].kind == LS_FAULT_NETWORK)
            (void)ls_fault_list_remove(&faults->list, faults->list.entry[i].id);
    without_seed.seed = 0;
    if (memcmp(&without_seed, &off, sizeof(off)) != 0)
        ls_faults_add(faults, &entry, done, user);
    else if (!dataplane_listens(faults) || !tell(faults, 0, done, user))
        done(user, 0, "", 0);
}

const struct ls_fault_list *ls_faults_list(const struct ls_faults *faults)
{
    return &faults->list;
}

/* ---- life ---- */

struct ls_faults *ls_faults_create(struct ls_node *node)
{
    struct ls_faults *faults = calloc(1, sizeof(*faults));

    if (faults == NULL)
        return NULL;
    faults->node = node;
    faults->tick = evtimer_new(ls_operate_base(node), on_tick, faults);
    faults->crash = evtimer_new(ls_operate_base(node), on_crash, faults);
    if (faults->tick != NULL && faults->crash != NULL)
        return faults;
    ls_faults_destroy(faults);
    return NULL;
}

void ls_faults_destroy(struct ls_faults *faults)
{
    for (struct operation *operation = faults->operations; operation != NULL; operation = operation->next)
        operation->faults = NULL; /* freed by its answer, which always comes */
    if (faults->tick != NULL)
        event_free(faults->tick);
    if (faults->crash != NULL)
        event_free(faults->crash);
    free(faults);
}
