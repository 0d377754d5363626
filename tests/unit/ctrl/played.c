/* SPDX-License-Identifier: BSD-3-Clause */
/* The played dataplane. See played.h. A process of its own. */
#include "played.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <lockstep/control_message.h>
#include <lockstep/counters.h>

#define LIFE_MS 20000 /* then it ends by itself, whatever the test forgot */
#define LOG_END 192

static struct {
    uint64_t incarnation, promise;
    uint64_t last_epoch, last;
    uint16_t members;
    uint8_t member[LS_MEMBERS_MAX * sizeof(struct ls_member_record)];
    bool counts;
    struct ls_counters_page *page;
    FILE *trace;
    int listener, link;
} played;

bool played_is_meant(int argc, char **argv)
{
    return argc > 1 && strcmp(argv[1], "--config") == 0;
}

static bool is_mode(const char *mode)
{
    const char *set = getenv("LOCKSTEP_TEST_MODE");

    return set != NULL && strcmp(set, mode) == 0;
}

static void say(uint32_t type, uint64_t id, const void *body, uint32_t size)
{
    struct ls_control_header header = {.version = LS_CONTROL_VERSION, .type = type, .id = id, .size = size};
    uint8_t message[2048];

    memcpy(message, &header, sizeof(header));
    memcpy(message + sizeof(header), body, size);
    if (played.link >= 0)
        (void)!send(played.link, message, sizeof(header) + size, MSG_NOSIGNAL);
}

static void role_say(uint16_t role)
{
    bool leads = role == LS_ROLE_SEQUENCER;
    struct ls_control_role body = {.epoch = played.promise, .role = role, .sequencer = leads ? 1 : 0};
    struct ls_replica_page *page = &played.page->replica;

    page->epoch = played.promise;
    page->role = role;
    page->sequencer = body.sequencer;
    page->counts = played.counts;
    page->last_epoch = played.last_epoch;
    page->last = page->commit = played.last;
    page->last_seq = page->applied_seq = played.last > 0 ? 3 : 0;
    say(LS_CONTROL_ROLE, 0, &body, sizeof(body));
}

static void ready_say(void)
{
    struct ls_control_ready ready = {
        .incarnation = played.incarnation, .promise = played.promise, .pid = (uint64_t)getpid()};

    if (is_mode("liar"))
        ready.pid++;
    say(LS_CONTROL_READY, 0, &ready, sizeof(ready));
    role_say((uint16_t)played.page->replica.role);
}

static void trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void trace(const char *format, ...)
{
    va_list list;

    va_start(list, format);
    vfprintf(played.trace, format, list);
    va_end(list);
    fflush(played.trace);
}

static void seal(uint64_t id, uint64_t epoch)
{
    struct {
        struct ls_control_sealed sealed;
        uint8_t member[sizeof(played.member)];
    } LS_PACKED answer = {0};

    trace("seal %" PRIu64 "\n", epoch);
    if (epoch > played.promise) {
        played.promise = epoch;
        role_say(played.counts ? LS_ROLE_SEALED : LS_ROLE_OUTSIDE);
    }
    answer.sealed = (struct ls_control_sealed){.epoch = played.promise,
                                               .incarnation = played.incarnation,
                                               .last_epoch = played.last_epoch,
                                               .last = played.last,
                                               .last_seq = played.last > 0 ? 3 : 0,
                                               .members = played.members,
                                               .counts = played.counts};
    memcpy(answer.member, played.member, played.members * sizeof(struct ls_member_record));
    say(LS_CONTROL_SEALED, id, &answer,
        (uint32_t)(sizeof(answer.sealed) + played.members * sizeof(struct ls_member_record)));
}

static void install(uint64_t id, const struct ls_control_epoch *epoch)
{
    struct ls_control_installed installed = {.epoch = epoch->epoch};

    trace("install %" PRIu64 "\n", (uint64_t)epoch->epoch);
    installed.refused = epoch->epoch != played.promise                               ? 1
                        : epoch->incarnation != played.incarnation || !played.counts ? 2
                                                                                     : 0;
    say(LS_CONTROL_INSTALLED, id, &installed, sizeof(installed));
    if (installed.refused != 0)
        return;
    played.last_epoch = epoch->epoch;
    played.last = LOG_END * epoch->epoch;
    role_say(LS_ROLE_OPENING);
    role_say(LS_ROLE_SEQUENCER);
}

static void done(uint64_t id, uint32_t error, const char *text)
{
    struct {
        struct ls_control_done done;
        char text[64];
    } LS_PACKED answer = {.done.error = error};

    snprintf(answer.text, sizeof(answer.text), "%s", text);
    say(LS_CONTROL_DONE, id, &answer, (uint32_t)(sizeof(answer.done) + strlen(text)));
}

static void found(uint64_t id, const uint8_t *body, size_t size)
{
    struct ls_control_members head;

    memcpy(&head, body, sizeof(head));
    trace("found\n");
    played.members = head.members;
    memcpy(played.member, body + sizeof(head), size - sizeof(head));
    played.counts = true;
    done(id, 0, "");
    role_say(LS_ROLE_SEALED);
}

static void play_one(const uint8_t *message)
{
    const uint8_t *body = message + sizeof(struct ls_control_header);
    struct ls_control_log_bytes bytes = {.oldest_seq = 1, .next_seq = 1};
    struct ls_control_checkpoint checkpoint = {.seq = 3, .position = played.last, .epoch = played.last_epoch};
    struct ls_control_header header;
    struct ls_control_epoch epoch = {0};

    memcpy(&header, message, sizeof(header));
    if (header.size >= sizeof(epoch))
        memcpy(&epoch, body, sizeof(epoch));
    switch (header.type) {
    case LS_CONTROL_SEAL:
        seal(header.id, epoch.epoch);
        break;
    case LS_CONTROL_INSTALL:
        install(header.id, &epoch);
        break;
    case LS_CONTROL_FOUND:
        found(header.id, body, header.size);
        break;
    case LS_CONTROL_LOG:
        if (is_mode("silent"))
            break;
        say(LS_CONTROL_LOG_BYTES, header.id, &bytes, sizeof(bytes));
        break;
    case LS_CONTROL_FAULT:
        done(header.id, EINVAL, "too much");
        break;
    case LS_CONTROL_CHECKPOINT:
        trace("checkpoint\n");
        say(LS_CONTROL_CHECKPOINT_DONE, header.id, &checkpoint, sizeof(checkpoint));
        break;
    case LS_CONTROL_STOP:
        trace("stop\n");
        if (is_mode("stubborn"))
            break;
        _exit(0);
    case LS_CONTROL_PING:
        if (is_mode("hangs-up")) { /* and takes the next one */
            close(played.link);
            played.link = -1;
            break;
        }
        done(header.id, 0, "");
        break;
    default:
        done(header.id, 0, "");
    }
}

static void arguments_take(int argc, char **argv, const char **counters, const char **config)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *value = argv[i + 1];

        if (strcmp(argv[i], "--incarnation") == 0)
            played.incarnation = strtoull(value, NULL, 10);
        else if (strcmp(argv[i], "--promise") == 0)
            played.promise = strtoull(value, NULL, 10);
        else if (strcmp(argv[i], "--control-fd") == 0)
            played.listener = atoi(value);
        else if (strcmp(argv[i], "--counters") == 0)
            *counters = value;
        else if (strcmp(argv[i], "--config") == 0)
            *config = value;
    }
}

static void lock_take(const char *config)
{
    char folder[512], path[600], pid[32];
    int fd;

    snprintf(folder, sizeof(folder), "%s", config);
    snprintf(path, sizeof(path), "%s/dataplane.lock", dirname(folder));
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0 || ftruncate(fd, 0) != 0 ||
        write(fd, pid, strlen(pid)) != (ssize_t)strlen(pid))
        _exit(6);
}

static void page_make(const char *path)
{
    int fd = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);

    if (fd < 0 || ftruncate(fd, sizeof(*played.page)) != 0)
        _exit(8);
    played.page = mmap(NULL, sizeof(*played.page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (played.page == MAP_FAILED)
        _exit(8);
    played.page->magic = LS_PAGE_MAGIC;
    played.page->size = sizeof(*played.page);
    played.page->counters = LS_COUNTERS;
    played.page->incarnation = played.incarnation;
    played.page->pid = (uint64_t)getpid();
    played.page->replica.role = LS_ROLE_OUTSIDE;
    played.page->replica.epoch = played.promise;
    played.page->worker[LS_WORKER_JOURNAL].cpu = UINT64_MAX;
}

/* Counts starts by the files FILE.0, FILE.1 and so on. True: it was one of the first `n`. */
static bool is_among_first(const char *file, int n)
{
    char path[600];

    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof(path), "%s.%d", file, i);
        if (open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600) >= 0)
            return true;
    }
    return false;
}

/* The newest link counts. */
static void link_take(void)
{
    int fd = accept4(played.listener, NULL, NULL, SOCK_CLOEXEC);
    static const uint8_t garbage[16];

    if (fd < 0)
        return;
    if (played.link >= 0)
        close(played.link);
    played.link = fd;
    if (!is_mode("garbage"))
        ready_say();
    else
        (void)!send(fd, garbage, sizeof(garbage), MSG_NOSIGNAL);
}

static void turn(void)
{
    struct pollfd wait[2] = {{.fd = played.listener, .events = POLLIN}, {.fd = played.link, .events = POLLIN}};
    uint8_t message[4096];
    ssize_t size;

    (void)poll(wait, 2, 1);
    for (int i = 0; i < 2; i++)
        played.page->worker[i].heartbeat++;
    if (wait[0].revents != 0)
        link_take();
    if (wait[1].revents == 0 || played.link != wait[1].fd)
        return;
    size = recv(played.link, message, sizeof(message), MSG_DONTWAIT);
    if (size > 0) {
        play_one(message);
    } else if (size == 0) {
        close(played.link);
        played.link = -1;
    }
}

int played_run(int argc, char **argv)
{
    const char *counters = "", *config = "";

    played.link = -1;
    arguments_take(argc, argv, &counters, &config);
    played.trace = fopen(config, "a"); /* the test's own: nobody reads a cluster file here */
    if (played.trace == NULL)
        return 5;
    trace("start %" PRIu64 "\n", played.promise);
    lock_take(config);
    if (is_mode("unlucky") && is_among_first(config, 3))
        return 1;
    page_make(counters);
    if (is_mode("hangs"))
        for (;;)
            pause();
    for (int i = 0; i < LIFE_MS; i++)
        turn();
    return 7;
}

const char *played_trace(const char *path)
{
    static char text[4096];
    FILE *file = fopen(path, "r");

    text[0] = '\0';
    if (file == NULL)
        return text;
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    return text;
}
