/* SPDX-License-Identifier: BSD-3-Clause */
/* Three nodes in one process over the loopback: fetched, broken off and resumed, damaged, refused, crowded. */
#include "checkpoint_rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "../../../dataplane/core/wire.h"
#include "hello.h"
#include "peers.h"
#include "transfer.h"
#include "transfer_internal.h"

#define LOOPBACK         0x7f000001u
#define UNTIL(condition) RIG_UNTIL(base, condition)

struct end {
    struct ls_peers *peers;
    struct ls_checkpoints *checkpoints;
    struct ls_transfer *transfer;
    char data_dir[64];
    uint16_t node;
    uint64_t make_seq; /* what make() makes; 0: it fails */
    uint32_t makes, dones, progresses;
    struct event *made;
    int error;
    char path[LS_CHECKPOINTS_PATH_MAX], text[LS_TRANSFER_TEXT], said[8192];
};

static struct event_base *base;
static uint32_t fds, threads;
static struct end end[4];
static uint32_t silence_ms; /* 0: the default */
static char root[] = "/tmp/lockstep-transfer-XXXXXX";

/* A disk that fails on purpose: bytes that may still be written; then `write_errno`. */
static _Atomic int64_t write_room = INT64_MAX;
static atomic_int write_errno;
ssize_t __real_pwrite64(int fd, const void *bytes, size_t n, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t n, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t n, off_t at)
{
    if ((int64_t)n > write_room) {
        errno = write_errno;
        return -1;
    }
    write_room -= (int64_t)n;
    return __real_pwrite64(fd, bytes, n, at);
}

static void say(struct end *e, const char *text)
{
    size_t length = strlen(e->said);

    snprintf(e->said + length, sizeof(e->said) - length, "%s\n", text);
}

static void on_made(evutil_socket_t fd, short what, void *user)
{
    char path[LS_CHECKPOINTS_PATH_MAX], error[LS_CHECKPOINTS_ERROR] = "no dataplane to make one";
    struct end *e = user;
    int result = -ENOTCONN;

    (void)fd;
    (void)what;
    if (e->make_seq != 0) {
        ls_checkpoints_new_path(e->checkpoints, path);
        rig_write(path, RIG_CLUSTER, 1, e->make_seq, 100000);
        result = ls_checkpoints_adopt(e->checkpoints, error);
    }
    ls_transfer_made(e->transfer, result, error);
}

static void on_make(void *user)
{
    struct timeval soon = {.tv_usec = 1000};
    struct end *e = user;

    e->makes++;
    (void)event_add(e->made, &soon);
}

static void on_done(void *user, int error, const char *path, const char *text)
{
    struct end *e = user;

    e->dones++;
    e->error = error;
    snprintf(e->path, sizeof(e->path), "%s", path);
    snprintf(e->text, sizeof(e->text), "%s", text);
}

static void on_progress(void *user, uint16_t from, uint64_t bytes, uint64_t expected)
{
    (void)from;
    assert_true(bytes <= expected);
    ((struct end *)user)->progresses++;
}

static void on_say(void *user, const char *text)
{
    say(user, text);
}

static void on_link(void *user, uint16_t node)
{
    (void)user;
    (void)node;
}

static void on_link_down(void *user, uint16_t node, const char *why)
{
    (void)user;
    (void)node;
    (void)why;
}

static const char *on_message(void *user, uint16_t node, const uint8_t *bytes, size_t size)
{
    (void)user;
    (void)node;
    (void)bytes;
    (void)size;
    return "no messages here";
}

static void on_bulk(void *user, struct bufferevent *connection, uint16_t node)
{
    ls_transfer_accept(((struct end *)user)->transfer, connection, node);
}

static void end_start(uint16_t node, uint16_t port, uint64_t rate)
{
    struct end *e = &end[node];
    struct ls_peers_io peers = {e, on_link, on_link_down, on_message, on_bulk, on_say};
    struct ls_transfer_io io = {e, on_make, on_done, on_progress, on_say};
    struct ls_transfer_config config = {.base = base, .cluster = RIG_CLUSTER, .generation = 1, .node = node};
    char error[LS_CHECKPOINTS_ERROR] = "";

    memset(e, 0, sizeof(*e));
    e->node = node;
    snprintf(e->data_dir, sizeof(e->data_dir), "%s/%u", root, node);
    (void)mkdir(e->data_dir, 0755);
    e->made = evtimer_new(base, on_made, e);
    e->checkpoints = ls_checkpoints_open(base, e->data_dir, RIG_CLUSTER, 1, &rig_format, error);
    config.checkpoints = e->checkpoints;
    config.bytes_per_second = rate;
    config.pause_ms = 1;
    config.silence_ms = silence_ms;
    e->transfer = ls_transfer_create(&config, &io);
    e->peers = ls_peers_create(base, RIG_CLUSTER, node, (struct ls_addr){LOOPBACK, port}, &peers, error, sizeof(error));
    assert_non_null(e->transfer);
    assert_non_null(e->peers);
}

static void end_stop(uint16_t node)
{
    struct end *e = &end[node];

    if (e->peers == NULL)
        return;
    ls_peers_free(e->peers);
    ls_transfer_free(e->transfer);
    ls_checkpoints_close(e->checkpoints);
    event_free(e->made);
    e->peers = NULL;
}

static void members_set(void)
{
    struct ls_membership members = {.count = 0};

    for (uint16_t node = 1; node < 4; node++)
        if (end[node].peers != NULL)
            members.member[members.count++] =
                (struct ls_member){.node = node, .ctrl = {LOOPBACK, ls_peers_port(end[node].peers)}};
    for (uint16_t node = 1; node < 4; node++)
        if (end[node].peers != NULL)
            ls_peers_set(end[node].peers, &members);
}

static int setup(void **state)
{
    (void)state;
    strcpy(root + strlen(root) - 6, "XXXXXX");
    base = event_base_new();
    rig_turn(base);
    fds = rig_entries("/proc/self/fd");
    threads = rig_entries("/proc/self/task");
    write_room = INT64_MAX;
    memset(end, 0, sizeof(end));
    return mkdtemp(root) == NULL;
}

/* However a test ends its transfers, they leave no descriptor and no thread behind. */
static int teardown(void **state)
{
    (void)state;
    for (uint16_t node = 1; node < 4; node++)
        end_stop(node);
    rig_remove(root);
    UNTIL(rig_entries("/proc/self/task") == threads);
    UNTIL(rig_entries("/proc/self/fd") == fds);
    event_base_free(base);
    return 0;
}

static void begin(uint64_t rate)
{
    for (uint16_t node = 1; node < 4; node++)
        end_start(node, 0, rate);
    members_set();
}

/* A checkpoint at a node. */
static char *put(uint16_t node, uint64_t seq, uint64_t bytes)
{
    static char path[LS_CHECKPOINTS_PATH_MAX];
    char name[LS_CHECKPOINT_NAME_MAX];

    ls_checkpoint_name(1, seq, name);
    (void)ls_checkpoints_path(end[node].checkpoints, name, path);
    rig_write(path, RIG_CLUSTER, 1, seq, bytes);
    assert_int_equal(ls_checkpoints_scan(end[node].checkpoints), 0);
    return path;
}

static struct ls_transfer_source source(uint16_t node)
{
    return (struct ls_transfer_source){node, {LOOPBACK, ls_peers_port(end[node].peers)}};
}

static void get(uint64_t position)
{
    struct ls_transfer_source from[] = {source(2), source(3)};

    assert_int_equal(ls_transfer_get(end[1].transfer, from, 2, position), 0);
    assert_int_equal(ls_transfer_get(end[1].transfer, from, 2, position), -EBUSY);
    end[1].dones = 0;
}

static uint32_t files(uint16_t node)
{
    uint32_t count;

    (void)ls_checkpoints_list(end[node].checkpoints, &count);
    return count;
}

static uint64_t fetched(void)
{
    struct ls_transfer_view view;

    ls_transfer_view(end[1].transfer, &view);
    return view.bytes;
}

static void test_fetch(void **state)
{
    struct ls_transfer_source none;

    (void)state;
    begin(0);
    put(2, 10, 3000000);
    put(2, 20, 3000000);
    get(1500);
    UNTIL(end[1].dones == 1);
    assert_string_equal(end[1].text, "");
    assert_int_equal(end[1].error, 0);
    assert_non_null(strstr(end[1].path, "/1/checkpoints/checkpoint-1-20.lsc"));
    assert_true(end[1].progresses >= 2);
    assert_int_equal(files(1), 1);
    assert_int_equal(ls_checkpoints_newest(end[1].checkpoints, 0)->state, LS_CHECKPOINT_GOOD);
    assert_int_equal(ls_transfer_get(end[1].transfer, &none, 0, 0), -EINVAL);
    assert_int_equal(end[2].makes, 0);
}

/* None is new enough: one is made. Then even that is not new enough. */
static void test_made(void **state)
{
    (void)state;
    begin(0);
    put(2, 10, 1000);
    end[2].make_seq = 50;
    get(3000);
    UNTIL(end[1].dones == 1);
    assert_int_equal(end[1].error, 0);
    assert_non_null(strstr(end[1].path, "checkpoint-1-50.lsc"));
    assert_int_equal(end[2].makes, 1);
    end[3].make_seq = 60;
    get(1000000);
    UNTIL(end[1].dones == 1);
    assert_int_equal(end[1].error, -ENOENT);
    assert_non_null(strstr(end[1].text, "not even the one just made"));
}

static void test_make_fails(void **state)
{
    (void)state;
    begin(0);
    get(3000);
    UNTIL(end[1].dones == 1);
    assert_int_equal(end[1].error, -EAGAIN);
    assert_non_null(strstr(end[1].text, "no dataplane to make one"));
    assert_true(end[2].makes > 1 && end[3].makes > 1);
}

static void test_resume(void **state)
{
    uint16_t port;

    (void)state;
    begin(8 * 1024 * 1024);
    put(2, 10, 4 * 1024 * 1024);
    get(0);
    port = ls_peers_port(end[2].peers);
    UNTIL(fetched() > 1024 * 1024);
    end_stop(2);
    UNTIL(strstr(end[1].said, "connection broke") != NULL);
    assert_int_equal(end[1].dones, 0);
    end_start(2, port, 0);
    members_set();
    UNTIL(end[1].dones == 1);
    assert_int_equal(end[1].error, 0);
    assert_int_equal(files(1), 1);
    assert_non_null(strstr(end[2].said, "sends checkpoint-1-10.lsc from byte "));
    assert_null(strstr(end[2].said, "from byte 0 ")); /* what had arrived was not sent again */
}

/* Meanwhile the file became another one: from its beginning, never a mixture. */
static void test_resume_changed(void **state)
{
    uint16_t port;

    (void)state;
    begin(8 * 1024 * 1024);
    put(2, 10, 4 * 1024 * 1024);
    get(0);
    port = ls_peers_port(end[2].peers);
    UNTIL(fetched() > 1024 * 1024);
    end_stop(2);
    end_start(2, port, 0);
    put(2, 10, 4 * 1024 * 1024);
    members_set();
    UNTIL(end[1].dones == 1);
    assert_int_equal(end[1].error, 0);
    assert_non_null(strstr(end[2].said, "from byte 0 "));
}

/* Damaged on the sender's disk after it was written: refused by name, taken from elsewhere, and verified again there.
 */
static void test_damaged(void **state)
{
    char path[LS_CHECKPOINTS_PATH_MAX], error[LS_CHECKPOINTS_ERROR];

    (void)state;
    begin(0);
    ls_checkpoints_new_path(end[2].checkpoints, path);
    rig_write(path, RIG_CLUSTER, 1, 10, 500000);
    rig_damage(path, 300000);
    assert_int_equal(ls_checkpoints_adopt(end[2].checkpoints, error), 0); /* fresh: given without verifying */
    put(3, 9, 500000);
    get(100);
    UNTIL(end[1].dones == 1);
    assert_int_equal(end[1].error, 0);
    assert_non_null(strstr(end[1].path, "checkpoint-1-9.lsc"));
    assert_non_null(strstr(end[1].said, "node 2: refused: "));
    assert_int_equal(files(1), 1);
    UNTIL(strstr(end[2].said, "what it got is damaged") != NULL);
    assert_false(ls_checkpoints_newest(end[2].checkpoints, 0)->fresh);
    /* one that is not fresh is verified before it is given: node 2 makes a new one */
    end[2].make_seq = 30;
    get(950);
    UNTIL(end[1].dones == 1);
    assert_int_equal(end[1].error, 0);
    assert_non_null(strstr(end[1].path, "checkpoint-1-30.lsc"));
    assert_non_null(strstr(end[2].said, "not given to others: damaged"));
}

static void test_all_damaged(void **state)
{
    char path[LS_CHECKPOINTS_PATH_MAX], error[LS_CHECKPOINTS_ERROR];

    (void)state;
    begin(0);
    for (uint16_t node = 2; node < 4; node++) {
        ls_checkpoints_new_path(end[node].checkpoints, path);
        rig_write(path, RIG_CLUSTER, 1, 10, 500000);
        rig_damage(path, 300000);
        assert_int_equal(ls_checkpoints_adopt(end[node].checkpoints, error), 0);
    }
    get(100);
    UNTIL(end[1].dones == 1);
    assert_int_equal(end[1].error, -EBADMSG);
    assert_int_equal(files(1), 0);
}

static void test_other_source(void **state)
{
    struct ls_transfer_source from[2];

    (void)state;
    begin(0);
    put(3, 9, 100);
    from[0] = source(2);
    from[1] = source(3);
    end_stop(2);
    assert_int_equal(ls_transfer_get(end[1].transfer, from, 2, 0), 0);
    UNTIL(end[1].dones == 1);
    assert_int_equal(end[1].error, 0);
    assert_non_null(strstr(end[1].said, "node 2: Connection refused"));
    /* all dead: it ends, and says why */
    end_stop(3);
    end[1].dones = 0;
    assert_int_equal(ls_transfer_get(end[1].transfer, from, 2, 0), 0);
    UNTIL(end[1].dones == 1);
    assert_int_equal(end[1].error, -ECONNREFUSED);
}

static void test_disk_full(void **state)
{
    (void)state;
    begin(0);
    put(2, 10, 1000000);
    write_room = 500000;
    write_errno = ENOSPC;
    get(0);
    UNTIL(end[1].dones == 1);
    assert_int_equal(end[1].error, -ENOSPC);
    assert_non_null(strstr(end[1].text, "is full"));
    write_room = INT64_MAX;
    get(0);
    UNTIL(end[1].dones == 1);
    assert_int_equal(end[1].error, 0);
    assert_non_null(strstr(end[2].said, "from byte 458752 of")); /* kept: seven pieces */
    put(2, 11, 1000000);
    write_room = 500000;
    write_errno = EIO;
    get(1100);
    UNTIL(end[1].dones == 1);
    assert_int_equal(end[1].error, -EIO);
}

/* In the directory, partial ones too. */
static uint32_t begun_files(uint16_t node)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%u/checkpoints", root, node);
    return rig_entries(path);
}

static void test_cancel(void **state)
{
    (void)state;
    begin(1024 * 1024);
    put(2, 10, 4 * 1024 * 1024);
    get(0);
    UNTIL(fetched() > 100000);
    ls_transfer_cancel(end[1].transfer);
    for (int i = 0; i < 10; i++)
        rig_turn(base);
    assert_int_equal(end[1].dones, 0);
    assert_int_equal(begun_files(1), 0);
    end[2].said[0] = '\0';
    get(0);
    UNTIL(strstr(end[2].said, "from byte 0 ") != NULL);
}

/* Either end is freed in the middle. */
static void test_free_midway(void **state)
{
    (void)state;
    for (uint16_t node = 1; node < 3; node++) {
        begin(1024 * 1024);
        put(2, 10, 4 * 1024 * 1024);
        get(0);
        UNTIL(fetched() > 100000);
        assert_int_equal(begun_files(1), 1);
        for (uint16_t i = 0; i < 3; i++)
            end_stop(node == 1 ? i + 1 : 3 - i);
        assert_int_equal(begun_files(1), 0);
    }
}

/* ---- strangers with sockets of their own, as node 1 ---- */

static int stranger(uint16_t to)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(ls_peers_port(end[to].peers))};
    struct ls_hello hello = ls_hello_make(RIG_CLUSTER, 1, to, LS_HELLO_BULK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), small = 4096;

    at.sin_addr.s_addr = htonl(LOOPBACK);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(send(fd, &hello, sizeof(hello), MSG_NOSIGNAL), sizeof(hello));
    return fd;
}

static void stranger_ask(int fd)
{
    struct {
        struct ls_bulk_head head;
        struct ls_bulk_ask ask;
    } LS_PACKED frame = {{sizeof(frame) - 4, LS_BULK_ASK}, {0}};

    assert_int_equal(send(fd, &frame, sizeof(frame), MSG_NOSIGNAL), sizeof(frame));
}

/* The type of the first frame behind the hello. */
static uint32_t first_type(int fd)
{
    struct {
        struct ls_hello hello;
        struct ls_bulk_head head;
    } LS_PACKED got = {0};
    size_t have = 0;
    time_t begun = time(NULL);

    while (have < sizeof(got) && time(NULL) - begun < RIG_GIVE_UP) {
        ssize_t n = recv(fd, (uint8_t *)&got + have, sizeof(got) - have, MSG_DONTWAIT);

        if (n > 0)
            have += (size_t)n;
        else if (n == 0)
            return 0;
        rig_turn(base);
    }
    return got.head.type;
}

static void test_crowd(void **state)
{
    struct ls_transfer_view view;
    int fd[LS_TRANSFER_SERVED_MAX + LS_TRANSFER_WAITING_MAX + 1];
    int n = LS_TRANSFER_SERVED_MAX + LS_TRANSFER_WAITING_MAX;

    (void)state;
    begin(0);
    put(2, 10, 8 * 1024 * 1024);
    for (int i = 0; i < n; i++) { /* none of them reads */
        fd[i] = stranger(2);
        stranger_ask(fd[i]);
    }
    UNTIL((ls_transfer_view(end[2].transfer, &view), view.served == LS_TRANSFER_SERVED_MAX));
    UNTIL((ls_transfer_view(end[2].transfer, &view), view.waiting == LS_TRANSFER_WAITING_MAX));
    fd[n] = stranger(2);
    stranger_ask(fd[n]);
    assert_int_equal(first_type(fd[n]), LS_BULK_REFUSE);
    assert_int_equal(first_type(fd[n - 1]), LS_BULK_WAIT); /* told within a second */
    close(fd[0]);                                          /* its place is the next one's */
    UNTIL((ls_transfer_view(end[2].transfer, &view), view.waiting == LS_TRANSFER_WAITING_MAX - 1));
    assert_int_equal(view.served, LS_TRANSFER_SERVED_MAX);
    for (int i = 1; i <= n; i++)
        close(fd[i]);
    UNTIL((ls_transfer_view(end[2].transfer, &view), view.served + view.waiting == 0));
}

/* One who does not read is left after a while; meanwhile a bounded part of the file waits in memory. */
static void test_slow_reader(void **state)
{
    struct ls_transfer_view view;
    int fd;

    (void)state;
    silence_ms = 500;
    begin(0);
    silence_ms = 0;
    put(2, 10, 32 * 1024 * 1024);
    fd = stranger(2);
    stranger_ask(fd);
    UNTIL((ls_transfer_view(end[2].transfer, &view), view.served == 1));
    UNTIL(strstr(end[2].said, "it does not read what is sent to it") != NULL);
    ls_transfer_view(end[2].transfer, &view);
    assert_int_equal(view.served, 0);
    close(fd);
}

static void test_garbage(void **state)
{
    struct ls_bulk_head wrong[] = {{UINT32_MAX, 1},  {0, 0},  {4, LS_BULK_ASK},
                                   {4, LS_BULK_BAD}, {4, 99}, {4, LS_BULK_WAIT}};

    (void)state;
    begin(0);
    put(2, 10, 1000);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct ls_transfer_view view;
        int fd = stranger(2);

        assert_int_equal(send(fd, &wrong[i], sizeof(wrong[i]), MSG_NOSIGNAL), sizeof(wrong[i]));
        assert_int_equal(first_type(fd), 0); /* closed */
        ls_transfer_view(end[2].transfer, &view);
        assert_int_equal(view.served + view.waiting, 0);
        close(fd);
    }
    get(0);
    UNTIL(end[1].dones == 1);
    assert_int_equal(end[1].error, 0);
}

/* A length beyond any question: refused at once, for the buffer of a place would be full before the frame is whole. */
static void test_long_question(void **state)
{
    static const uint8_t nothing[8192];
    struct ls_bulk_head head = {sizeof(nothing), LS_BULK_ASK};
    struct ls_transfer_view view;
    int fd;

    (void)state;
    begin(0);
    fd = stranger(2);
    assert_int_equal(send(fd, &head, sizeof(head), MSG_NOSIGNAL), sizeof(head));
    (void)!send(fd, nothing, sizeof(nothing) - 100, MSG_NOSIGNAL | MSG_DONTWAIT);
    UNTIL(strstr(end[2].said, "a frame of a length that cannot be") != NULL);
    ls_transfer_view(end[2].transfer, &view);
    assert_int_equal(view.served + view.waiting, 0);
    close(fd);
}

/* A socket that listens as node 2 would. */
static int listener(struct ls_transfer_source *as)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    socklen_t length = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    at.sin_addr.s_addr = htonl(LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &length), 0);
    *as = (struct ls_transfer_source){2, {LOOPBACK, ntohs(at.sin_port)}};
    return fd;
}

/* A piece is damaged on its way: counted, not written; and its source cannot be asked again. */
static void test_damaged_piece(void **state)
{
    struct {
        struct ls_hello hello;
        struct ls_bulk_head file_head;
        struct ls_bulk_file file;
        struct ls_bulk_head head;
        struct ls_bulk_chunk chunk;
        uint8_t bytes[100];
    } LS_PACKED said = {.file_head = {sizeof(said.file) + 4, LS_BULK_FILE},
                        .file = {.seq = 5, .position = 500, .size = 1000, .generation = 1},
                        .head = {sizeof(said.chunk) + sizeof(said.bytes) + 4, LS_BULK_CHUNK},
                        .chunk = {.crc = 1}};
    struct ls_transfer_source from[2];
    struct ls_transfer_view view;
    int fd, link = -1;

    (void)state;
    begin(0);
    put(3, 9, 100);
    fd = listener(&from[0]);
    from[1] = source(3);
    said.hello = ls_hello_make(RIG_CLUSTER, 2, 1, LS_HELLO_BULK);
    assert_int_equal(ls_transfer_get(end[1].transfer, from, 2, 0), 0);
    UNTIL(link >= 0 || (link = accept4(fd, NULL, NULL, SOCK_CLOEXEC)) >= 0);
    close(fd);
    assert_int_equal(send(link, &said, sizeof(said), MSG_NOSIGNAL), sizeof(said));
    UNTIL(end[1].dones == 1);
    assert_non_null(strstr(end[1].said, "node 2: a piece that was damaged on its way"));
    ls_transfer_view(end[1].transfer, &view);
    assert_int_equal(view.chunks_refused, 1);
    assert_int_equal(end[1].error, 0);
    assert_non_null(strstr(end[1].path, "checkpoint-1-9.lsc"));
    close(link);
}

/* A source that takes the connection and says nothing is left for the next one. */
static void test_silent_source(void **state)
{
    struct ls_transfer_source from[2];
    int fd;

    (void)state;
    silence_ms = 2500; /* longer than what lies between two signs of life of one that prepares */
    begin(0);
    silence_ms = 0;
    put(3, 9, 100);
    fd = listener(&from[0]);
    from[1] = source(3);
    assert_int_equal(ls_transfer_get(end[1].transfer, from, 2, 0), 0);
    UNTIL(end[1].dones == 1);
    assert_int_equal(end[1].error, 0);
    assert_non_null(strstr(end[1].said, "node 2: it says nothing any more"));
    close(fd);
}

/* ---- frames ---- */

static void test_frames(void **state)
{
    static uint8_t frame[LS_BULK_FRAME_MAX + 8];
    struct ls_bulk_head head = {.type = LS_BULK_CHUNK};
    struct ls_bulk_chunk chunk = {.offset = 5};
    struct ls_bulk_file file = {.seq = 1, .size = 10, .offset = 11};
    size_t size = sizeof(head) + sizeof(chunk) + 100;

    (void)state;
    head.length = (uint32_t)size - 4;
    chunk.crc = ls_crc32c(0, frame + sizeof(head) + sizeof(chunk), 100);
    memcpy(frame, &head, sizeof(head));
    memcpy(frame + sizeof(head), &chunk, sizeof(chunk));
    assert_null(ls_bulk_check(LS_BULK_TO_RECEIVER, frame, size));
    assert_non_null(ls_bulk_check(LS_BULK_TO_SENDER, frame, size));
    assert_non_null(ls_bulk_check(LS_BULK_TO_RECEIVER, frame, size - 1));
    for (size_t i = 0; i < size; i++) { /* any byte but those of the offset, which its receiver compares */
        frame[i] ^= 1;
        if (i < sizeof(head) || i >= sizeof(head) + 8)
            assert_non_null(ls_bulk_check(LS_BULK_TO_RECEIVER, frame, size));
        frame[i] ^= 1;
    }
    head = (struct ls_bulk_head){sizeof(file) + 4, LS_BULK_FILE};
    memcpy(frame, &head, sizeof(head));
    for (int i = 0; i < 5; i++) { /* 0: offset behind the end; 1: right; then fields that cannot be */
        file.offset = i == 0 ? 11 : 10;
        file.seq = i == 2 ? 0 : 1;
        file.size = i == 3 ? UINT64_MAX : 10;
        file.zero = i == 4;
        memcpy(frame + sizeof(head), &file, sizeof(file));
        assert_int_equal(ls_bulk_check(LS_BULK_TO_RECEIVER, frame, sizeof(head) + sizeof(file)) == NULL, i == 1);
    }
    for (size_t n = 0; n < sizeof(head); n++)
        assert_non_null(ls_bulk_check(LS_BULK_TO_SENDER, frame, n));
}

static void *nothing(void *argument)
{
    return argument;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_fetch),          TEST(test_made),        TEST(test_make_fails),  TEST(test_resume),
        TEST(test_resume_changed), TEST(test_damaged),     TEST(test_all_damaged), TEST(test_other_source),
        TEST(test_disk_full),      TEST(test_cancel),      TEST(test_free_midway), TEST(test_damaged_piece),
        TEST(test_crowd),          TEST(test_slow_reader), TEST(test_garbage),     TEST(test_long_question),
        TEST(test_silent_source),  TEST(test_frames),
    };

    pthread_t first;

    if (pthread_create(&first, NULL, nothing, NULL) == 0) /* a sanitizer's own thread comes with it, and stays */
        (void)pthread_join(first, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
