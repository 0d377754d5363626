/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections that come in, until they have said who they are: few at once, for a short time, and of each only the
 * hello is looked at. A flood of them pushes the oldest out; links that stand are not touched by it.
 */
#include "peers_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "../../dataplane/workers/clock.h"

#define ACCEPT_PAUSE_MS 100
#define SAY_EVERY_NS    1000000000ull
#define SAME_EVERY_NS   60000000000ull

static void pending_clear(struct ls_peers_pending *pending)
{
    if (pending->bev != NULL)
        bufferevent_free(pending->bev);
    pending->bev = NULL;
    (void)event_del(pending->timer);
}

/* Counted, and said at most once a second; the same reason once a minute. */
static void refusal_say(struct ls_peers *peers, const char *from, const char *why)
{
    uint64_t now = ls_now_ns(), every = strcmp(why, peers->refused_why) == 0 ? SAME_EVERY_NS : SAY_EVERY_NS;
    char line[400], unsaid[48] = "";

    peers->refused++;
    if (peers->refused_said_ns != 0 && now - peers->refused_said_ns < every) {
        peers->refused_unsaid++;
        return;
    }
    if (peers->refused_unsaid > 0)
        snprintf(unsaid, sizeof(unsaid), " (%llu others were not said)", (unsigned long long)peers->refused_unsaid);
    snprintf(line, sizeof(line), "connection from %s refused: %s%s", from, why, unsaid);
    snprintf(peers->refused_why, sizeof(peers->refused_why), "%s", why);
    peers->refused_said_ns = now;
    peers->refused_unsaid = 0;
    peers->io.say(peers->io.user, line);
}

static void pending_refuse(struct ls_peers_pending *pending, const char *why)
{
    pending_clear(pending);
    refusal_say(pending->peers, pending->from, why);
}

/* The answer goes straight to the socket: it fits, and is on its way before the connection is closed. */
static bool answer(struct ls_peers_pending *pending, const struct ls_hello *hello, enum ls_hello_refusal refusal)
{
    struct ls_peers *peers = pending->peers;
    struct ls_hello mine = ls_hello_make(peers->cluster, peers->node, hello->node, hello->kind);

    mine.refused = (uint16_t)refusal;
    return send(bufferevent_getfd(pending->bev), &mine, sizeof(mine), MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof(mine);
}

static void pending_take(struct ls_peers_pending *pending, const struct ls_hello *hello)
{
    struct ls_peers *peers = pending->peers;
    struct ls_peers_link *link = ls_peers_link_find(peers, hello->node);
    enum ls_hello_refusal refusal = ls_hello_check(hello, peers->cluster, peers->node);
    struct bufferevent *bev = pending->bev;
    char why[256];

    if (refusal == LS_HELLO_FINE && link == NULL)
        refusal = LS_HELLO_NO_MEMBER;
    if (refusal == LS_HELLO_FINE && hello->kind == LS_HELLO_LINK && hello->node > peers->node)
        refusal = LS_HELLO_WRONG_END;
    if (refusal == LS_HELLO_FINE && hello->kind == LS_HELLO_BULK && peers->io.bulk == NULL)
        refusal = LS_HELLO_BUSY;
    if (refusal != LS_HELLO_FINE) {
        if (refusal != LS_HELLO_GARBAGE)
            (void)answer(pending, hello, refusal);
        snprintf(why, sizeof(why), "%s (it says: node %u of cluster %llx)", ls_hello_refusal_text(refusal), hello->node,
                 (unsigned long long)hello->cluster);
        pending_refuse(pending, refusal == LS_HELLO_GARBAGE ? ls_hello_refusal_text(refusal) : why);
        return;
    }
    if (!answer(pending, hello, LS_HELLO_FINE)) {
        pending_refuse(pending, "the hello could not be answered");
        return;
    }
    pending->bev = NULL; /* given away */
    (void)event_del(pending->timer);
    bufferevent_setcb(bev, NULL, NULL, NULL, NULL);
    if (hello->kind == LS_HELLO_BULK)
        peers->io.bulk(peers->io.user, bev, hello->node);
    else
        ls_peers_link_take(link, bev);
}

static void on_pending_read(struct bufferevent *bev, void *argument)
{
    struct ls_peers_pending *pending = argument;
    struct evbuffer *in = bufferevent_get_input(bev);
    struct ls_hello hello = {0};
    size_t have = evbuffer_get_length(in);

    (void)evbuffer_copyout(in, &hello, have < sizeof(hello) ? have : sizeof(hello));
    if (have >= sizeof(hello)) {
        (void)evbuffer_drain(in, sizeof(hello));
        pending_take(pending, &hello);
    } else if (have >= sizeof(hello.length) && hello.length != sizeof(hello) - sizeof(hello.length)) {
        pending_refuse(pending, ls_hello_refusal_text(LS_HELLO_GARBAGE));
    }
}

static void on_pending_event(struct bufferevent *bev, short what, void *argument)
{
    (void)bev;
    (void)what;
    pending_refuse(argument, "closed before it said who it is");
}

static void on_pending_timer(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    pending_refuse(argument, "it did not say in time who it is");
}

/* A free place, else the oldest one's. */
static struct ls_peers_pending *place_find(struct ls_peers *peers)
{
    struct ls_peers_pending *oldest = &peers->pending[0];

    for (int i = 0; i < LS_PEERS_PENDING_MAX; i++) {
        struct ls_peers_pending *pending = &peers->pending[i];

        if (pending->bev == NULL)
            return pending;
        if (pending->since_ns < oldest->since_ns)
            oldest = pending;
    }
    pending_refuse(oldest, "too many connections at once, and this one had not said who it is");
    return oldest;
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from, int length,
                      void *argument)
{
    struct ls_peers *peers = argument;
    struct ls_peers_pending *pending = place_find(peers);
    struct bufferevent *bev = bufferevent_socket_new(peers->base, fd, BEV_OPT_CLOSE_ON_FREE);
    const struct sockaddr_in *in = (const void *)from;
    struct ls_addr addr = {0};

    (void)listener;
    if (bev == NULL) {
        evutil_closesocket(fd);
        refusal_say(peers, "somewhere", "out of memory");
        return;
    }
    if (length >= (int)sizeof(*in) && from->sa_family == AF_INET)
        addr = (struct ls_addr){ntohl(in->sin_addr.s_addr), ntohs(in->sin_port)};
    ls_hello_addr_text(addr, pending->from);
    ls_hello_socket_set(fd);
    pending->bev = bev;
    pending->since_ns = ls_now_ns();
    bufferevent_setcb(bev, on_pending_read, NULL, on_pending_event, pending);
    bufferevent_setwatermark(bev, EV_READ, 0, sizeof(struct ls_hello));
    ls_peers_timer_set(pending->timer, LS_PEERS_HELLO_MS);
    if (bufferevent_enable(bev, EV_READ | EV_WRITE) != 0)
        pending_refuse(pending, "out of memory");
}

/* Out of descriptors: accepting again and again at once would take the whole core. */
static void on_accept_error(struct evconnlistener *listener, void *argument)
{
    struct ls_peers *peers = argument;

    refusal_say(peers, "somewhere", strerror(errno));
    (void)evconnlistener_disable(listener);
    ls_peers_timer_set(peers->accept_timer, ACCEPT_PAUSE_MS);
}

static void on_accept_timer(evutil_socket_t fd, short what, void *argument)
{
    struct ls_peers *peers = argument;

    (void)fd;
    (void)what;
    (void)evconnlistener_enable(peers->listener);
}

bool ls_peers_listen(struct ls_peers *peers, struct ls_addr listen, char *error, size_t room)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(listen.port)};
    char text[LS_HELLO_ADDR_TEXT];
    bool made;

    at.sin_addr.s_addr = htonl(listen.ip);
    peers->accept_timer = evtimer_new(peers->base, on_accept_timer, peers);
    made = peers->accept_timer != NULL;
    for (int i = 0; i < LS_PEERS_PENDING_MAX; i++) {
        peers->pending[i].peers = peers;
        peers->pending[i].timer = evtimer_new(peers->base, on_pending_timer, &peers->pending[i]);
        made = made && peers->pending[i].timer != NULL;
    }
    if (!made) {
        snprintf(error, room, "out of memory");
        return false;
    }
    peers->listener = evconnlistener_new_bind(peers->base, on_accept, peers,
                                              LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE, 64,
                                              (struct sockaddr *)&at, sizeof(at));
    if (peers->listener == NULL) {
        snprintf(error, room,
                 "cannot listen for the other ctrls on %s: %s. The address of `ctrl:` in the cluster file must be one "
                 "of this machine's (ip addr), and the port free (ss -ltnp)",
                 ls_hello_addr_text(listen, text), strerror(errno));
        return false;
    }
    evconnlistener_set_error_cb(peers->listener, on_accept_error);
    return true;
}

void ls_peers_listen_end(struct ls_peers *peers)
{
    if (peers->listener != NULL)
        evconnlistener_free(peers->listener);
    for (int i = 0; i < LS_PEERS_PENDING_MAX; i++) {
        if (peers->pending[i].timer == NULL)
            continue;
        pending_clear(&peers->pending[i]);
        event_free(peers->pending[i].timer);
    }
    if (peers->accept_timer != NULL)
        event_free(peers->accept_timer);
}

uint16_t ls_peers_port(const struct ls_peers *peers)
{
    struct sockaddr_in at = {0};
    socklen_t length = sizeof(at);

    if (getsockname(evconnlistener_get_fd(peers->listener), (struct sockaddr *)&at, &length) != 0)
        return 0;
    return ntohs(at.sin_port);
}

uint64_t ls_peers_refused(const struct ls_peers *peers)
{
    return peers->refused;
}
