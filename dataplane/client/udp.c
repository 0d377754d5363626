/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client library's socket and its calls (<lockstep/client.h>): a client core over an unconnected kernel UDP socket,
 * frames in batches (recvmmsg, sendmmsg), time from CLOCK_MONOTONIC. On the thread that owns the client.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <lockstep/client.h>

#include "client_core.h"

#define BATCH        32
#define BATCHES      8 /* received in one ls_client_process() */
#define SOCKET_BYTES (1024 * 1024)
#define NEVER        UINT64_MAX

/* One operation in flight, as its callback's user. */
struct pending {
    struct ls_client *client;
    ls_client_callback callback;
    void *user;
    struct pending *next_free;
};

struct ls_client {
    struct ls_io io; /* first: found again from it */
    struct ls_client_core *core;
    bool first_random;
    struct ls_client_config config;
    int fd;
    uint64_t now_ns;
    uint64_t next_ns; /* when the core wants to be called */
    bool dirty;       /* something was submitted since */
    uint32_t ended;   /* operations, in this ls_client_process() */
    struct ls_client_counts counts;
    struct pending *free;
    struct pending pending[2 * LS_WINDOW_MAX];
    uint8_t result[LS_FRAME_MAX]; /* of the last blocking call */

    uint32_t sending; /* frames in the send batch */
    struct mmsghdr send_message[BATCH];
    struct iovec send_vector[BATCH];
    struct sockaddr_in send_to[BATCH];
    uint8_t send_data[BATCH][LS_FRAME_MAX];
    struct mmsghdr receive_message[BATCH];
    struct iovec receive_vector[BATCH];
    struct sockaddr_in receive_from[BATCH];
    uint8_t receive_data[BATCH][LS_FRAME_MAX];
};

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}

/* ---- frames ---- */

static void flush(struct ls_client *client)
{
    uint32_t sent = 0;
    while (sent < client->sending) {
        int n = sendmmsg(client->fd, client->send_message + sent, client->sending - sent, 0);
        if (n > 0) {
            client->counts.frames_out += (uint32_t)n;
            sent += (uint32_t)n;
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        /* One frame is lost, as a network would lose it; the others may go elsewhere. */
        client->counts.send_error = n < 0 ? errno : EIO;
        client->counts.send_failed++;
        sent++;
    }
    client->sending = 0;
}

static bool udp_alloc(struct ls_io *io, struct ls_frame *frame)
{
    struct ls_client *client = (struct ls_client *)io;
    if (client->sending == BATCH)
        flush(client);
    frame->data = client->send_data[client->sending];
    return true;
}

static void udp_send(struct ls_io *io, struct ls_frame *frame)
{
    struct ls_client *client = (struct ls_client *)io;
    uint32_t i = client->sending++;
    assert(frame->data == client->send_data[i]);
    client->send_vector[i].iov_len = frame->length;
    client->send_to[i].sin_addr.s_addr = htonl(frame->peer.ip);
    client->send_to[i].sin_port = htons(frame->peer.port);
}

/* The core sends every frame that it takes; nothing has to be given back. */
static void udp_release(struct ls_io *io, struct ls_frame *frame)
{
}

static void messages_init(struct ls_client *client)
{
    for (uint32_t i = 0; i < BATCH; i++) {
        client->send_to[i].sin_family = AF_INET;
        client->send_vector[i].iov_base = client->send_data[i];
        client->send_message[i].msg_hdr = (struct msghdr){.msg_name = &client->send_to[i],
                                                          .msg_namelen = sizeof(client->send_to[i]),
                                                          .msg_iov = &client->send_vector[i],
                                                          .msg_iovlen = 1};
        client->receive_vector[i] =
            (struct iovec){.iov_base = client->receive_data[i], .iov_len = sizeof(client->receive_data[i])};
        client->receive_message[i].msg_hdr = (struct msghdr){
            .msg_name = &client->receive_from[i], .msg_iov = &client->receive_vector[i], .msg_iovlen = 1};
    }
}

static void receive(struct ls_client *client)
{
    for (int batch = 0; batch < BATCHES; batch++) {
        for (uint32_t i = 0; i < BATCH; i++)
            client->receive_message[i].msg_hdr.msg_namelen = sizeof(client->receive_from[i]);
        int n = recvmmsg(client->fd, client->receive_message, BATCH, MSG_DONTWAIT, NULL);
        for (int i = 0; i < n; i++) {
            struct ls_frame frame = {
                .data = client->receive_data[i],
                .length = client->receive_message[i].msg_len,
                .peer = {.ip = ntohl(client->receive_from[i].sin_addr.s_addr),
                         .port = ntohs(client->receive_from[i].sin_port)},
            };
            client->counts.frames_in++;
            /* longer than any frame: cut off by the kernel */
            if (!(client->receive_message[i].msg_hdr.msg_flags & MSG_TRUNC))
                ls_client_core_input(client->core, &frame, client->now_ns);
        }
        if (n < BATCH)
            return; /* also errors: they are of single datagrams, and the next one is as good */
    }
}

/* ---- opening ---- */

static int make_core(struct ls_client *client)
{
    size_t have = 0;
    while (have < sizeof(client->config.nonce)) {
        ssize_t n = getrandom(client->config.nonce + have, sizeof(client->config.nonce) - have, 0);
        if (n < 0 && errno != EINTR)
            return -errno;
        have += n > 0 ? (size_t)n : 0;
    }
    if (client->first_random && client->config.nodes > 0)
        client->config.first = client->config.nonce[sizeof(client->config.nonce) - 1] % client->config.nodes;
    struct ls_client_core *core = ls_client_core_create(&client->config, &client->io, clock_ns());
    if (!core)
        return -errno;
    ls_client_core_destroy(client->core);
    client->core = core;
    client->next_ns = NEVER;
    client->dirty = false;
    client->free = NULL;
    for (uint32_t i = 0; i < 2 * LS_WINDOW_MAX; i++) {
        client->pending[i].client = client;
        client->pending[i].next_free = client->free;
        client->free = &client->pending[i];
    }
    return 0;
}

static int make_socket(struct ls_client *client, struct ls_addr bind_to)
{
    client->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        return -errno;
    /* Bursts of answers; the kernel may grant less, which is no error. */
    int bytes = SOCKET_BYTES;
    (void)setsockopt(client->fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
    (void)setsockopt(client->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(bind_to.port), .sin_addr.s_addr = htonl(bind_to.ip)};
    return bind(client->fd, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0;
}

int ls_client_open(struct ls_client **out, const struct ls_client_options *options)
{
    struct ls_client *client = calloc(1, sizeof(*client));
    if (!client)
        return -ENOMEM;
    client->fd = -1;
    client->first_random = options->first_random;
    client->io = (struct ls_io){.alloc = udp_alloc, .send = udp_send, .release = udp_release};
    uint64_t timeout_ns = options->timeout_ns ? options->timeout_ns : LS_CLIENT_TIMEOUT_DEFAULT;
    client->config = (struct ls_client_config){
        .cluster = options->cluster,
        .generation = options->generation,
        .group = options->group,
        .nodes = options->nodes,
        .first = options->first,
        .window = options->window ? options->window : LS_WINDOW_DEFAULT,
        .op_max = options->op_max ? options->op_max : LS_OP_MAX_DEFAULT,
        .retry_min_ns = options->retry_min_ns,
        .retry_max_ns = options->retry_max_ns,
        .give_up_ns = timeout_ns == UINT64_MAX ? 0 : timeout_ns,
        .read_node = options->read_node,
        .read_pinned = options->read_pinned,
        .open_late = true,
    };
    memcpy(client->config.node, options->node, sizeof(client->config.node));
    messages_init(client);
    int rc = make_core(client);
    if (rc == 0)
        rc = make_socket(client, options->bind);
    if (rc) {
        ls_client_close(client);
        return rc;
    }
    *out = client;
    return 0;
}

void ls_client_close(struct ls_client *client)
{
    if (!client)
        return;
    ls_client_core_destroy(client->core);
    if (client->fd >= 0)
        close(client->fd);
    free(client);
}

int ls_client_renew(struct ls_client *client)
{
    if (ls_client_in_flight(client) > 0)
        return -EBUSY;
    return make_core(client);
}

/* ---- operations ---- */

static void pending_done(void *user, const struct ls_client_result *result)
{
    struct pending *pending = user;
    struct ls_client *client = pending->client;
    ls_client_callback callback = pending->callback;
    void *callers = pending->user;
    pending->next_free = client->free;
    client->free = pending;
    client->ended++;
    if (!callback)
        return;
    bool lost = result->status == LS_STATUS_SESSION_UNKNOWN;
    struct ls_reply reply = {
        /* what never left this client because the session is gone is also told as that */
        .error = lost                                   ? -ENOTCONN
                 : result->outcome == LS_CLIENT_UNKNOWN ? -ETIMEDOUT
                                                        : 0,
        .status = result->status,
        .durability = result->durability,
        .retries = result->retries,
        .session = result->session,
        .number = result->number,
        .seq = result->seq,
        .epoch = result->epoch,
        .age = result->age,
        .bytes = result->bytes,
        .length = result->length,
    };
    callback(callers, &reply);
}

static struct pending *pending_take(struct ls_client *client, ls_client_callback callback, void *user)
{
    struct pending *pending = client->free;
    if (!pending)
        return NULL;
    client->free = pending->next_free;
    pending->callback = callback;
    pending->user = user;
    return pending;
}

static int pending_end(struct ls_client *client, struct pending *pending, int rc)
{
    if (rc == 0) {
        client->dirty = true;
        return 0;
    }
    pending->next_free = client->free;
    client->free = pending;
    return rc;
}

int ls_client_submit(struct ls_client *client, const void *operation, uint32_t length, uint64_t deadline_ns,
                     ls_client_callback callback, void *user, uint64_t *number)
{
    struct pending *pending = pending_take(client, callback, user);
    if (!pending)
        return -EAGAIN;
    uint64_t next = ls_client_core_next_number(client->core);
    int rc = ls_client_core_submit(client->core, operation, length, deadline_ns, pending_done, pending, clock_ns());
    if (rc == 0 && number)
        *number = next;
    return pending_end(client, pending, rc);
}

int ls_client_read(struct ls_client *client, const void *operation, uint32_t length, enum ls_consistency consistency,
                   uint64_t least, ls_client_callback callback, void *user)
{
    struct pending *pending = pending_take(client, callback, user);
    if (!pending)
        return -EAGAIN;
    int rc = ls_client_core_read(client->core, operation, length, consistency, consistency == LS_READ_LEAST ? least : 0,
                                 pending_done, pending, clock_ns());
    return pending_end(client, pending, rc);
}

int ls_client_query(struct ls_client *client, uint64_t number)
{
    client->dirty = true;
    return ls_client_core_query(client->core, number, clock_ns());
}

void ls_client_set_durability(struct ls_client *client, enum ls_durability durability)
{
    ls_client_core_durability(client->core, durability);
}

/* ---- loop ---- */

int ls_client_fd(const struct ls_client *client)
{
    return client->fd;
}

uint64_t ls_client_wait_ns(const struct ls_client *client)
{
    if (client->dirty)
        return 0;
    if (client->next_ns == NEVER)
        return NEVER;
    uint64_t now_ns = clock_ns();
    return client->next_ns > now_ns ? client->next_ns - now_ns : 0;
}

uint32_t ls_client_process(struct ls_client *client)
{
    client->ended = 0;
    client->now_ns = clock_ns();
    receive(client);
    client->dirty = false;
    client->now_ns = clock_ns(); /* callbacks have taken time, and stamped what they submitted */
    client->next_ns = ls_client_core_poll(client->core, client->now_ns);
    flush(client);
    return client->ended;
}

uint32_t ls_client_wait(struct ls_client *client, uint64_t at_most_ns)
{
    uint64_t wait_ns = ls_client_wait_ns(client);
    if (wait_ns > at_most_ns)
        wait_ns = at_most_ns;
    if (wait_ns > 0) {
        struct pollfd fd = {.fd = client->fd, .events = POLLIN};
        struct timespec wait = {.tv_sec = (time_t)(wait_ns / 1000000000ull),
                                .tv_nsec = (long)(wait_ns % 1000000000ull)};
        /* Where the kernel has no memory to wait with, we go round without waiting. */
        (void)ppoll(&fd, 1, wait_ns == NEVER ? NULL : &wait, NULL);
    }
    return ls_client_process(client);
}

/* ---- blocking ---- */

struct waiter {
    struct ls_client *client;
    struct ls_reply *reply;
    bool done;
};

static void waiter_done(void *user, const struct ls_reply *reply)
{
    struct waiter *waiter = user;
    *waiter->reply = *reply;
    assert(reply->length <= sizeof(waiter->client->result));
    if (reply->length > 0)
        memcpy(waiter->client->result, reply->bytes, reply->length);
    waiter->reply->bytes = waiter->client->result;
    waiter->done = true;
}

static int wait_until_done(struct ls_client *client, const struct waiter *waiter)
{
    while (!waiter->done)
        ls_client_wait(client, NEVER);
    return waiter->reply->error;
}

int ls_client_call(struct ls_client *client, const void *operation, uint32_t length, uint64_t deadline_ns,
                   struct ls_reply *reply)
{
    struct waiter waiter = {.client = client, .reply = reply};
    int rc;
    while ((rc = ls_client_submit(client, operation, length, deadline_ns, waiter_done, &waiter, NULL)) == -EAGAIN)
        ls_client_wait(client, NEVER);
    if (rc == -ENOTCONN)
        *reply = (struct ls_reply){.error = rc, .status = LS_STATUS_SESSION_UNKNOWN};
    return rc ? rc : wait_until_done(client, &waiter);
}

int ls_client_fetch(struct ls_client *client, const void *operation, uint32_t length, enum ls_consistency consistency,
                    uint64_t least, struct ls_reply *reply)
{
    struct waiter waiter = {.client = client, .reply = reply};
    int rc;
    while ((rc = ls_client_read(client, operation, length, consistency, least, waiter_done, &waiter)) == -EAGAIN)
        ls_client_wait(client, NEVER);
    return rc ? rc : wait_until_done(client, &waiter);
}

void ls_client_drain(struct ls_client *client)
{
    while (ls_client_in_flight(client) > 0)
        ls_client_wait(client, NEVER);
}

/* ---- state ---- */

uint64_t ls_client_session(const struct ls_client *client)
{
    return ls_client_core_session(client->core);
}

uint64_t ls_client_last_seq(const struct ls_client *client)
{
    return ls_client_core_last_seq(client->core);
}

uint32_t ls_client_in_flight(const struct ls_client *client)
{
    return ls_client_core_in_flight(client->core);
}

void ls_client_counts(const struct ls_client *client, struct ls_client_counts *counts)
{
    *counts = client->counts;
}
