/* SPDX-License-Identifier: BSD-3-Clause */
/* One file over one connection, beside a loop that goes on: played from both ends of a pair of sockets. */
#include "checkpoint_rig.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "../../../dataplane/core/wire.h"
#include "../../../dataplane/workers/urgent.h"
#include "transfer_flow.h"

#define UNTIL(condition) RIG_UNTIL(base, condition)
#define PATIENCE_MS      20000
#define SIZE             (4 * 1024 * 1024u)

struct side {
    struct ls_flow *flow;
    bool keeps; /* takes the connection back instead of closing it */
    struct bufferevent *bev;
    uint32_t dones;
    enum ls_flow_end end;
    int error;
    char why[128];
};

static struct event_base *base;
static struct side sends, receives;
static int pair[2];
static uint32_t fds, threads;
static char root[] = "/tmp/lockstep-flow-XXXXXX", source[64], target[64];

/* A disk that stands still: whoever reads or writes waits in front of the gate. */
static pthread_t loop_thread;
static atomic_bool closed, loop_waits;
static atomic_int inside, policy, nice_value;

static void gate_pass(void)
{
    if (!atomic_load(&closed))
        return;
    if (pthread_equal(pthread_self(), loop_thread)) {
        atomic_store(&loop_waits, true);
        return;
    }
    atomic_store(&policy, sched_getscheduler(0));
    atomic_store(&nice_value, getpriority(PRIO_PROCESS, 0));
    atomic_fetch_add(&inside, 1);
    while (atomic_load(&closed))
        usleep(1000);
    atomic_fetch_sub(&inside, 1);
}

ssize_t __real_pwrite64(int fd, const void *bytes, size_t n, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t n, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *bytes, size_t n, off_t at)
{
    gate_pass();
    return __real_pwrite64(fd, bytes, n, at);
}
ssize_t __real_pread64(int fd, void *bytes, size_t n, off_t at);
ssize_t __wrap_pread64(int fd, void *bytes, size_t n, off_t at);
ssize_t __wrap_pread64(int fd, void *bytes, size_t n, off_t at)
{
    gate_pass();
    return __real_pread64(fd, bytes, n, at);
}

static int setup(void **state)
{
    (void)state;
    base = event_base_new();
    rig_turn(base);
    fds = rig_entries("/proc/self/fd");
    threads = rig_entries("/proc/self/task");
    strcpy(root + strlen(root) - 6, "XXXXXX");
    assert_non_null(mkdtemp(root));
    snprintf(source, sizeof(source), "%s/source", root);
    snprintf(target, sizeof(target), "%s/target", root);
    rig_write(source, 1, 1, 1, SIZE - sizeof(struct rig_head));
    sends = receives = (struct side){0};
    atomic_store(&closed, false);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    return 0;
}

static void side_stop(struct side *side)
{
    ls_flow_stop(side->flow);
    side->flow = NULL;
    if (side->bev != NULL)
        bufferevent_free(side->bev);
    side->bev = NULL;
}

/* Every test leaves no descriptor and no thread behind. */
static int teardown(void **state)
{
    (void)state;
    atomic_store(&closed, false);
    side_stop(&sends);
    side_stop(&receives);
    for (int i = 0; i < 2; i++)
        if (pair[i] >= 0)
            close(pair[i]);
    rig_remove(root);
    UNTIL(rig_entries("/proc/self/task") == threads);
    UNTIL(rig_entries("/proc/self/fd") == fds);
    event_base_free(base);
    return 0;
}

static void on_done(void *user)
{
    struct side *side = user;

    side->dones++;
    side->end = side->flow->end;
    side->error = side->flow->error;
    snprintf(side->why, sizeof(side->why), "%s", side->flow->why != NULL ? side->flow->why : "");
    if (side->keeps)
        side->bev = ls_flow_take_back(side->flow);
    else
        ls_flow_stop(side->flow);
    side->flow = NULL;
}

/* At an end of the pair, which it takes. */
static void start(struct side *side, uint32_t size, uint32_t patience_ms, struct ls_rate *rate)
{
    struct ls_flow_plan plan = {.base = base,
                                .sends = side == &sends,
                                .size = size,
                                .patience_ms = patience_ms,
                                .rate = rate,
                                .done = on_done,
                                .user = side};
    int *end = &pair[side != &sends];
    int fd = plan.sends ? open(source, O_RDONLY | O_CLOEXEC) : open(target, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    struct bufferevent *bev = bufferevent_socket_new(base, *end, BEV_OPT_CLOSE_ON_FREE);

    assert_true(fd >= 0);
    side->flow = ls_flow_start(&plan, bev, fd);
    assert_non_null(side->flow);
    *end = -1;
}

static void same(void)
{
    struct ls_checkpoint_info info;

    assert_int_equal(rig_read(target, &info, true), 0);
}

static void test_whole(void **state)
{
    (void)state;
    start(&receives, SIZE, PATIENCE_MS, NULL);
    start(&sends, SIZE, PATIENCE_MS, NULL);
    UNTIL(sends.dones == 1 && receives.dones == 1);
    assert_int_equal(sends.end, LS_FLOW_DONE);
    assert_int_equal(receives.end, LS_FLOW_DONE);
    same();
}

static uint32_t ticks;

static void on_tick(evutil_socket_t fd, short what, void *user)
{
    (void)fd;
    (void)what;
    (void)user;
    ticks++;
}

/* One end's disk stands still, its thread with it, and the loop, which would go before all others, does not. */
static void stands_still(struct side *side, struct side *other)
{
    struct timeval often = {.tv_usec = 1000};
    struct event *tick = event_new(base, -1, EV_PERSIST, on_tick, NULL);
    bool urgent;
    uint32_t before;

    start(other, SIZE, PATIENCE_MS, NULL);
    if (side == &receives)
        UNTIL(ls_flow_offset(other->flow) > 0); /* its disk is not the one that is to stand still */
    atomic_store(&closed, true);
    urgent = ls_thread_urgent();
    start(side, SIZE, PATIENCE_MS, NULL);
    (void)event_add(tick, &often);
    UNTIL(atomic_load(&inside) > 0);
    before = ticks;
    UNTIL(ticks >= before + 10);
    if (urgent)
        ls_thread_ordinary();
    assert_int_equal(side->dones, 0);
    assert_int_equal(atomic_load(&policy), SCHED_OTHER);
    assert_true(atomic_load(&nice_value) >= 10);
    atomic_store(&closed, false);
    UNTIL(sends.dones == 1 && receives.dones == 1);
    assert_false(atomic_load(&loop_waits));
    event_free(tick);
    same();
}

static void test_still_writer(void **state)
{
    (void)state;
    stands_still(&receives, &sends);
}

static void test_still_reader(void **state)
{
    (void)state;
    stands_still(&sends, &receives);
}

static uint64_t seen_at, seen;
static uint64_t read_bytes;

/* A reader that takes a little in each of the loop's turns. */
static void on_sip(evutil_socket_t fd, short what, void *user)
{
    static uint8_t bytes[16384];
    ssize_t n = recv(pair[1], bytes, sizeof(bytes), MSG_DONTWAIT);

    (void)fd;
    (void)what;
    (void)user;
    if (n > 0)
        read_bytes += (uint64_t)n;
    if (sends.flow != NULL && ls_flow_offset(sends.flow) != seen_at) {
        seen_at = ls_flow_offset(sends.flow);
        seen++;
    }
}

/* It never has more than one piece in memory, and the loop has its turns between any two of its steps. */
static void test_slow_reader(void **state)
{
    struct timeval often = {.tv_usec = 1000};
    struct event *sip = event_new(base, -1, EV_PERSIST, on_sip, NULL);

    (void)state;
    read_bytes = seen_at = seen = 0;
    start(&sends, SIZE, PATIENCE_MS, NULL);
    (void)event_add(sip, &often);
    UNTIL(sends.dones == 1);
    assert_int_equal(sends.end, LS_FLOW_DONE);
    assert_true(read_bytes > SIZE / 2);
    assert_true(seen >= 8);
    event_free(sip);
}

/* Stopped while its thread waits for the disk: the loop does not wait for either; what it had is closed by the thread.
 */
static void test_stop_at_disk(void **state)
{
    (void)state;
    atomic_store(&closed, true);
    start(&sends, SIZE, PATIENCE_MS, NULL);
    UNTIL(atomic_load(&inside) == 1);
    side_stop(&sends);
    start(&receives, SIZE, PATIENCE_MS, NULL);
    UNTIL(receives.dones == 1); /* the other end hears of it before the disk moves */
    assert_int_equal(receives.end, LS_FLOW_BROKE);
    assert_int_equal(atomic_load(&inside), 1);
    assert_int_equal(sends.dones, 0);
}

/* Stopped while it waits for the socket, for its turn, for bytes. */
static void test_stop_in_poll(void **state)
{
    struct ls_rate *rate = ls_rate_create(1);

    (void)state;
    start(&sends, SIZE, PATIENCE_MS, NULL);
    UNTIL(ls_flow_offset(sends.flow) > 0);
    side_stop(&sends);
    close(pair[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    start(&receives, SIZE, PATIENCE_MS, NULL);
    start(&sends, SIZE, PATIENCE_MS, rate);
    ls_rate_let_go(rate); /* the flow has its own hold of it */
    UNTIL(ls_flow_offset(sends.flow) > 0);
    side_stop(&receives);
    UNTIL(sends.dones == 1);
    assert_int_equal(sends.end, LS_FLOW_BROKE);
    assert_int_equal(receives.dones, 0);
}

static void test_shorter(void **state)
{
    (void)state;
    assert_int_equal(truncate(source, 100000), 0);
    start(&sends, SIZE, PATIENCE_MS, NULL);
    UNTIL(sends.dones == 1);
    assert_int_equal(sends.end, LS_FLOW_FILE);
    assert_int_equal(sends.error, 0);
}

static void test_silence(void **state)
{
    (void)state;
    start(&sends, SIZE, 50, NULL);
    UNTIL(sends.dones == 1);
    assert_int_equal(sends.end, LS_FLOW_SILENT);
    close(pair[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    start(&receives, SIZE, 50, NULL);
    UNTIL(receives.dones == 1);
    assert_int_equal(receives.end, LS_FLOW_SILENT);
}

/* A piece of 100 bytes. */
struct piece {
    struct ls_bulk_head head;
    struct ls_bulk_chunk chunk;
    uint8_t bytes[100];
} LS_PACKED;

static struct piece piece(uint64_t offset)
{
    struct piece p = {{sizeof(p) - 4, LS_BULK_CHUNK}, {.offset = offset}, {0}};

    p.chunk.crc = ls_crc32c(0, p.bytes, sizeof(p.bytes));
    return p;
}

static void test_what_comes(void **state)
{
    struct ls_bulk_head wait = {4, LS_BULK_WAIT};
    struct {
        struct ls_bulk_head head;
        struct ls_bulk_refuse refuse;
    } LS_PACKED refuse = {{sizeof(refuse) - 4, LS_BULK_REFUSE}, {0, 0}};
    struct piece right = piece(0), damaged = piece(0), gap = piece(100), next = piece(100);
    struct {
        const void *bytes;
        size_t size;
        enum ls_flow_end end;
    } cases[] = {{&damaged, sizeof(damaged), LS_FLOW_MALFORMED},
                 {&gap, sizeof(gap), LS_FLOW_GAP},
                 {&wait, sizeof(wait), LS_FLOW_TURN},
                 {&refuse, sizeof(refuse), LS_FLOW_SAID},
                 {&right, sizeof(right) - 1, LS_FLOW_BROKE},
                 {&right, sizeof(right), LS_FLOW_BROKE}};

    (void)state;
    damaged.bytes[50] = 1;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        receives.dones = 0;
        start(&receives, 200, PATIENCE_MS, NULL);
        assert_int_equal(send(pair[0], cases[i].bytes, cases[i].size, MSG_NOSIGNAL), cases[i].size);
        if (cases[i].end == LS_FLOW_BROKE)
            close(pair[0]);
        UNTIL(receives.dones == 1);
        assert_int_equal(receives.end, cases[i].end);
        if (cases[i].end != LS_FLOW_BROKE)
            close(pair[0]);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    }
    /* whole; what came behind it is the loop's */
    receives.dones = 0;
    receives.keeps = true;
    start(&receives, 200, PATIENCE_MS, NULL);
    assert_int_equal(send(pair[0], &right, sizeof(right), MSG_NOSIGNAL), sizeof(right));
    UNTIL(ls_flow_offset(receives.flow) == 100);
    struct {
        struct piece next;
        char behind[5];
    } LS_PACKED last = {next, "more"};
    assert_int_equal(send(pair[0], &last, sizeof(last), MSG_NOSIGNAL), sizeof(last));
    UNTIL(receives.dones == 1);
    assert_int_equal(receives.end, LS_FLOW_DONE);
    assert_non_null(receives.bev);
    assert_int_equal(evbuffer_get_length(bufferevent_get_input(receives.bev)), sizeof(last.behind));
}

/* Told in the middle that what was sent is damaged; and a question in the middle. */
static void test_told(void **state)
{
    struct ls_bulk_head bad = {4, LS_BULK_BAD};
    struct {
        struct ls_bulk_head head;
        struct ls_bulk_ask ask;
    } LS_PACKED ask = {{sizeof(ask) - 4, LS_BULK_ASK}, {0}};

    (void)state;
    start(&sends, SIZE, PATIENCE_MS, NULL);
    UNTIL(ls_flow_offset(sends.flow) > 0);
    assert_int_equal(send(pair[1], &bad, sizeof(bad), MSG_NOSIGNAL), sizeof(bad));
    UNTIL(sends.dones == 1);
    assert_int_equal(sends.end, LS_FLOW_SAID);
    close(pair[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    start(&sends, SIZE, PATIENCE_MS, NULL);
    assert_int_equal(send(pair[1], &ask, sizeof(ask), MSG_NOSIGNAL), sizeof(ask));
    UNTIL(sends.dones == 2);
    assert_int_equal(sends.end, LS_FLOW_TURN);
}

/* Two who share a rate have it together, in turn; what was not used is made good for a moment only. By a clock of ours.
 */
static void test_rate(void **state)
{
    struct ls_rate *rate = ls_rate_create(1000000), *slow = ls_rate_create(1);
    uint64_t second = 1000000000, from = 1000 * second, due[2] = {from, from}, last = 0, bytes = 0;
    size_t portion = ls_rate_portion(rate);

    (void)state;
    assert_int_equal(portion, 20000);
    while (due[0] < from + 10 * second) {
        for (int who = 0; who < 2; who++) {
            due[who] = ls_rate_reserve(rate, due[who], portion);
            assert_true(due[who] > last);
            last = due[who];
            bytes += portion;
        }
    }
    assert_in_range(bytes, 10000000 - 2 * portion, (last - from) / 1000 + 2 * portion);
    from = last + 1000 * second; /* nobody used it for long */
    assert_in_range(ls_rate_reserve(rate, from, portion), 0, from);
    assert_true(ls_rate_reserve(rate, from, portion) > from);
    assert_int_equal(ls_rate_portion(slow), 1);
    due[0] = ls_rate_reserve(slow, from, 1);
    assert_int_equal(ls_rate_reserve(slow, from, 1), due[0] + second);
    ls_rate_let_go(rate);
    ls_rate_let_go(slow);
}

static void *nothing(void *argument)
{
    return argument;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_whole),        TEST(test_still_writer), TEST(test_still_reader), TEST(test_slow_reader),
        TEST(test_stop_at_disk), TEST(test_stop_in_poll), TEST(test_shorter),      TEST(test_silence),
        TEST(test_what_comes),   TEST(test_told),         TEST(test_rate),
    };
    pthread_t first;

    loop_thread = pthread_self();
    if (pthread_create(&first, NULL, nothing, NULL) == 0) /* a sanitizer's own thread comes with it, and stays */
        (void)pthread_join(first, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
