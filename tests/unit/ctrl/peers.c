/* SPDX-License-Identifier: BSD-3-Clause */
/* Two and three ends in one process over the loopback, and strangers with sockets of their own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <event2/buffer.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../../ctrl/core/ctrl.h"
#include "hello.h"
#include "peers.h"

#define CLUSTER  0x1234
#define LOOPBACK 0x7f000001u
#define GIVE_UP  20 /* seconds until a test that hangs fails */

/* One ctrl. */
struct end {
    struct ls_peers *peers;
    uint32_t ups[LS_NODE_ID_MAX + 1], downs[LS_NODE_ID_MAX + 1], lines, bulks;
    uint64_t messages, last;
    size_t last_size;
    const char *refuse; /* the next message */
    bool leave;         /* takes its links away within the next message */
    char why[320], said[512];
    struct bufferevent *bulk;
};

static struct event_base *base;
static struct end end[4]; /* by node */

static void on_up(void *user, uint16_t node)
{
    ((struct end *)user)->ups[node]++;
}

static void on_down(void *user, uint16_t node, const char *why)
{
    struct end *e = user;

    e->downs[node]++;
    snprintf(e->why, sizeof(e->why), "%s", why);
}

static const char *on_message(void *user, uint16_t node, const uint8_t *bytes, size_t size)
{
    static const struct ls_membership none = {.count = 0};
    struct end *e = user;
    const char *refuse = e->refuse;

    (void)node;
    e->messages++;
    e->last_size = size;
    memcpy(&e->last, bytes, size < sizeof(e->last) ? size : sizeof(e->last));
    e->refuse = NULL;
    if (e->leave)
        ls_peers_set(e->peers, &none);
    return refuse;
}

static void on_bulk(void *user, struct bufferevent *connection, uint16_t node)
{
    struct end *e = user;

    (void)node;
    e->bulks++;
    if (e->bulk != NULL)
        bufferevent_free(e->bulk);
    e->bulk = connection;
}

static void on_say(void *user, const char *text)
{
    struct end *e = user;

    e->lines++;
    snprintf(e->said, sizeof(e->said), "%s", text);
}

static void end_start(uint16_t node, uint64_t cluster, uint16_t port)
{
    struct ls_peers_io io = {&end[node], on_up, on_down, on_message, on_bulk, on_say};
    char error[512] = "";

    memset(&end[node], 0, sizeof(end[node]));
    end[node].peers = ls_peers_create(base, cluster, node, (struct ls_addr){LOOPBACK, port}, &io, error, sizeof(error));
    assert_string_equal(error, "");
    assert_non_null(end[node].peers);
}

static void end_stop(uint16_t node)
{
    ls_peers_free(end[node].peers);
    end[node].peers = NULL;
    if (end[node].bulk != NULL)
        bufferevent_free(end[node].bulk);
    end[node].bulk = NULL;
}

static struct ls_membership all(void)
{
    struct ls_membership members = {.count = 0};

    for (uint16_t node = 1; node < 4; node++)
        if (end[node].peers != NULL)
            members.member[members.count++] = (struct ls_member){.node = node,
                                                                 .role = LS_MEMBER_VOTER,
                                                                 .addr = {LOOPBACK, node},
                                                                 .ctrl = {LOOPBACK, ls_peers_port(end[node].peers)}};
    return members;
}

static void all_set(void)
{
    struct ls_membership members = all();

    for (uint16_t node = 1; node < 4; node++)
        if (end[node].peers != NULL)
            ls_peers_set(end[node].peers, &members);
}

/* One turn of the loop that waits at most 5 ms. */
static void turn(void)
{
    struct timeval soon = {.tv_usec = 5000};

    (void)event_base_loopexit(base, &soon);
    (void)event_base_loop(base, EVLOOP_ONCE);
}

/* Turns until it holds; a test in which it never does fails in the end. */
#define UNTIL(condition)                                                                                               \
    do {                                                                                                               \
        time_t begun = time(NULL);                                                                                     \
        while (!(condition) && time(NULL) - begun < GIVE_UP)                                                           \
            turn();                                                                                                    \
        assert_true(condition);                                                                                        \
    } while (0)

static int setup(void **state)
{
    (void)state;
    base = event_base_new();
    memset(end, 0, sizeof(end));
    return base == NULL;
}

static int teardown(void **state)
{
    (void)state;
    for (uint16_t node = 1; node < 4; node++)
        if (end[node].peers != NULL)
            end_stop(node);
    event_base_free(base);
    return 0;
}

static void two_linked(void)
{
    end_start(1, CLUSTER, 0);
    end_start(2, CLUSTER, 0);
    all_set();
    UNTIL(ls_peers_linked(end[1].peers, 2) && ls_peers_linked(end[2].peers, 1));
}

static int stranger(uint16_t to)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(ls_peers_port(end[to].peers))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    at.sin_addr.s_addr = htonl(LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    return fd;
}

/* Descriptors that a program which is started now would get. */
static uint32_t inherited(void)
{
    uint32_t count = 0;

    for (int fd = 0; fd < 256; fd++) {
        int flags = fcntl(fd, F_GETFD);

        count += flags >= 0 && (flags & FD_CLOEXEC) == 0;
    }
    return count;
}

/* The dataplane outlives its ctrl: with a link of it in hand the other end would not see that ctrl has ended. */
static void test_not_inherited(void **state)
{
    uint32_t before = inherited();

    (void)state;
    two_linked();
    assert_int_equal(inherited(), before);
}

static void test_messages(void **state)
{
    uint8_t large[LS_CTRL_MESSAGE_MAX + 1] = {7};

    (void)state;
    end_start(3, CLUSTER, 0);
    two_linked();
    UNTIL(ls_peers_linked(end[3].peers, 1) && ls_peers_linked(end[3].peers, 2) && ls_peers_linked(end[1].peers, 3));
    assert_int_equal(end[1].ups[2], 1);
    assert_int_equal(end[2].ups[1], 1);
    for (uint64_t i = 1; i <= 3000; i++) { /* in order, both ways */
        assert_true(ls_peers_send(end[1].peers, 2, &i, sizeof(i)));
        assert_true(ls_peers_send(end[2].peers, 1, &i, sizeof(i)));
        if (i % 100 == 0)
            turn();
    }
    UNTIL(end[1].messages == 3000 && end[2].messages == 3000);
    assert_int_equal(end[1].last, 3000);
    assert_true(ls_peers_send(end[1].peers, 2, large, LS_CTRL_MESSAGE_MAX));
    UNTIL(end[2].messages == 3001);
    assert_int_equal(end[2].last_size, LS_CTRL_MESSAGE_MAX);
    assert_false(ls_peers_send(end[1].peers, 2, large, LS_CTRL_MESSAGE_MAX + 1));
    assert_false(ls_peers_send(end[1].peers, 2, large, 0));
    assert_false(ls_peers_send(end[1].peers, 9, large, 1));
    assert_int_equal(ls_peers_addr(end[1].peers, 2).port, ls_peers_port(end[2].peers));
    assert_int_equal(ls_peers_addr(end[1].peers, 9).ip, 0);
    assert_false(ls_peers_linked(end[1].peers, 9));
}

/* The other end ends: told at once; it comes back at the same address: linked again. */
static void test_break(void **state)
{
    uint16_t port;

    (void)state;
    two_linked();
    port = ls_peers_port(end[2].peers);
    end_stop(2);
    UNTIL(end[1].downs[2] == 1);
    assert_string_equal(end[1].why, "closed by the other end");
    assert_false(ls_peers_linked(end[1].peers, 2));
    assert_false(ls_peers_send(end[1].peers, 2, "x", 1));
    for (int i = 0; i < 20; i++)
        turn();
    assert_true(end[1].lines <= 6); /* a line for each failed attempt would be too much */
    end_start(2, CLUSTER, port);
    all_set();
    UNTIL(end[1].ups[2] == 2 && end[2].ups[1] == 1);
}

static void test_refused_message(void **state)
{
    (void)state;
    two_linked();
    end[2].refuse = "a message that makes no sense";
    assert_true(ls_peers_send(end[1].peers, 2, "hello", 5));
    UNTIL(end[1].downs[2] == 1 && end[2].downs[1] == 1);
    assert_string_equal(end[2].why, "a message that makes no sense");
    UNTIL(ls_peers_linked(end[1].peers, 2));
}

static void test_members_change(void **state)
{
    struct ls_membership none = {.count = 0};

    (void)state;
    two_linked();
    ls_peers_set(end[2].peers, &none);
    assert_false(ls_peers_linked(end[2].peers, 1));
    UNTIL(end[1].downs[2] == 1);
    assert_int_equal(end[2].downs[1], 0);                              /* its own doing */
    UNTIL(strstr(end[1].said, "not a member of the cluster") != NULL); /* that is how the other end puts it */
    all_set();
    UNTIL(ls_peers_linked(end[1].peers, 2));
    /* from within a callback */
    end[2].leave = true;
    assert_true(ls_peers_send(end[1].peers, 2, "a", 1));
    assert_true(ls_peers_send(end[1].peers, 2, "b", 1));
    UNTIL(end[1].downs[2] == 2);
    assert_int_equal(end[2].messages, 1);
}

static void test_foreign(void **state)
{
    (void)state;
    end_start(1, CLUSTER, 0);
    end_start(2, CLUSTER + 1, 0);
    all_set();
    UNTIL(strstr(end[1].said, "another cluster's id") != NULL && strstr(end[2].said, "another cluster's id") != NULL);
    assert_int_equal(end[1].ups[2] + end[2].ups[1], 0);
    assert_true(ls_peers_refused(end[2].peers) > 0);
}

/* Node 3's address stands under node 2's name. */
static void test_mixed_up(void **state)
{
    struct ls_membership members;

    (void)state;
    end_start(1, CLUSTER, 0);
    end_start(3, CLUSTER, 0);
    members = all();
    members.member[1].node = 2;
    ls_peers_set(end[1].peers, &members);
    UNTIL(strstr(end[1].said, "another node is meant") != NULL);
    assert_int_equal(end[1].ups[2], 0);
}

/* What a stranger says first, and what comes of it. */
static void first_say(const void *bytes, size_t size, const char *expected)
{
    int fd = stranger(2);

    assert_int_equal(send(fd, bytes, size, MSG_NOSIGNAL), size);
    UNTIL(strstr(end[2].said, expected) != NULL);
    close(fd);
}

static void test_garbage(void **state)
{
    struct ls_hello hello = ls_hello_make(CLUSTER, 1, 2, LS_HELLO_LINK);
    int fd;

    (void)state;
    two_linked();
    first_say("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, "no hello");
    hello.version = 9;
    first_say(&hello, sizeof(hello), "");
    hello = ls_hello_make(CLUSTER, 2, 2, LS_HELLO_LINK);
    first_say(&hello, sizeof(hello), "");
    hello = ls_hello_make(CLUSTER, 3, 2, LS_HELLO_LINK);
    first_say(&hello, sizeof(hello), "");
    UNTIL(ls_peers_refused(end[2].peers) == 4);
    /* half a hello, then nothing; and an end before anything */
    fd = stranger(2);
    assert_int_equal(send(fd, &hello, 9, MSG_NOSIGNAL), 9);
    close(stranger(2));
    UNTIL(ls_peers_refused(end[2].peers) == 6);
    close(fd);
    /* the link that stood was not touched, and is of use */
    assert_int_equal(end[2].downs[1], 0);
    assert_true(ls_peers_send(end[1].peers, 2, "x", 1));
    UNTIL(end[2].messages == 1);
}

/* Frames of wrong lengths behind a good hello. */
static void test_wrong_length(void **state)
{
    struct ls_hello hello = ls_hello_make(CLUSTER, 1, 2, LS_HELLO_LINK);
    uint32_t lengths[] = {0, LS_CTRL_MESSAGE_MAX + 1, UINT32_MAX};
    struct ls_membership members;

    (void)state;
    end_start(1, CLUSTER, 0);
    end_start(2, CLUSTER, 0);
    members = all();
    end_stop(1); /* its place is taken by hand */
    ls_peers_set(end[2].peers, &members);
    for (uint32_t i = 0; i < 3; i++) {
        int fd = stranger(2);

        assert_int_equal(send(fd, &hello, sizeof(hello), MSG_NOSIGNAL), sizeof(hello));
        UNTIL(end[2].ups[1] == i + 1);
        assert_int_equal(send(fd, &lengths[i], 4, MSG_NOSIGNAL), 4);
        UNTIL(end[2].downs[1] == i + 1);
        assert_string_equal(end[2].why, "it sent a frame of a length that cannot be");
        close(fd);
    }
}

/* A second connection of a node takes the first one's place; a node with a higher id may not connect. */
static void test_replace(void **state)
{
    struct ls_hello hello = ls_hello_make(CLUSTER, 1, 2, LS_HELLO_LINK);
    int fd;

    (void)state;
    two_linked();
    fd = stranger(2);
    assert_int_equal(send(fd, &hello, sizeof(hello), MSG_NOSIGNAL), sizeof(hello));
    UNTIL(end[2].ups[1] == 2);
    assert_int_equal(end[2].downs[1], 1);
    assert_string_equal(end[2].why, "a newer connection took its place");
    close(fd);
    UNTIL(ls_peers_linked(end[1].peers, 2) && ls_peers_linked(end[2].peers, 1));
    fd = stranger(1);
    hello = ls_hello_make(CLUSTER, 2, 1, LS_HELLO_LINK);
    assert_int_equal(send(fd, &hello, sizeof(hello), MSG_NOSIGNAL), sizeof(hello));
    UNTIL(strstr(end[1].said, "the lower id connects") != NULL);
    close(fd);
}

/* More connections than there are places: the oldest goes, members still come through. */
static void test_flood(void **state)
{
    int fd[LS_PEERS_PENDING_MAX * 4];

    (void)state;
    end_start(2, CLUSTER, 0);
    for (int i = 0; i < LS_PEERS_PENDING_MAX * 4; i++)
        fd[i] = stranger(2);
    UNTIL(ls_peers_refused(end[2].peers) >= LS_PEERS_PENDING_MAX * 3);
    assert_true(end[2].lines < 10);
    end_start(1, CLUSTER, 0);
    all_set();
    UNTIL(ls_peers_linked(end[1].peers, 2));
    for (int i = 0; i < LS_PEERS_PENDING_MAX * 4; i++)
        close(fd[i]);
}

/* One who does not read: its queue is bounded, the break is told from the loop and not within send(). */
static void test_slow_reader(void **state)
{
    struct ls_hello hello = ls_hello_make(CLUSTER, 1, 2, LS_HELLO_LINK);
    uint8_t bytes[LS_CTRL_MESSAGE_MAX] = {1};
    struct ls_membership members;
    int fd;

    (void)state;
    end_start(1, CLUSTER, 0);
    end_start(2, CLUSTER, 0);
    members = all();
    end_stop(1);
    ls_peers_set(end[2].peers, &members);
    fd = stranger(2);
    assert_int_equal(send(fd, &hello, sizeof(hello), MSG_NOSIGNAL), sizeof(hello));
    UNTIL(ls_peers_linked(end[2].peers, 1));
    for (int i = 0; i < 100000 && ls_peers_send(end[2].peers, 1, bytes, sizeof(bytes)); i++)
        if (i % 50 == 0)
            turn();
    assert_int_equal(end[2].downs[1], 0);
    UNTIL(end[2].downs[1] == 1);
    assert_string_equal(end[2].why, "it does not read what is sent to it");
    close(fd);
}

static void test_bulk(void **state)
{
    struct ls_hello hello = ls_hello_make(CLUSTER, 1, 2, LS_HELLO_BULK), answer;
    int fd;

    (void)state;
    two_linked();
    fd = stranger(2);
    assert_int_equal(send(fd, &hello, sizeof(hello), MSG_NOSIGNAL), sizeof(hello));
    UNTIL(end[2].bulks == 1);
    assert_int_equal(recv(fd, &answer, sizeof(answer), 0), sizeof(answer));
    assert_int_equal(ls_hello_check(&answer, CLUSTER, 1), LS_HELLO_FINE);
    assert_int_equal(answer.refused, 0);
    assert_int_equal(end[2].downs[1], 0);
    close(fd);
}

static void test_listen_refused(void **state)
{
    struct ls_peers_io io = {&end[1], on_up, on_down, on_message, on_bulk, on_say};
    char error[512] = "";

    (void)state;
    end_start(2, CLUSTER, 0);
    assert_null(ls_peers_create(base, CLUSTER, 1, (struct ls_addr){LOOPBACK, ls_peers_port(end[2].peers)}, &io, error,
                                sizeof(error)));
    assert_non_null(strstr(error, "Address already in use"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_not_inherited),  TEST(test_messages),       TEST(test_break),    TEST(test_refused_message),
        TEST(test_members_change), TEST(test_foreign),        TEST(test_mixed_up), TEST(test_garbage),
        TEST(test_wrong_length),   TEST(test_replace),        TEST(test_flood),    TEST(test_slow_reader),
        TEST(test_bulk),           TEST(test_listen_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
