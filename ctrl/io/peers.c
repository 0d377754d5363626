/* SPDX-License-Identifier: BSD-3-Clause */
/* Links to the other members. What comes in is taken by peers_accept.c until it has said who it is. See peers.h. */
#include "peers_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../dataplane/workers/clock.h"

#define READ_AHEAD_MAX (64 * 1024)
#define SAY_EVERY_NS   1000000000ull
#define SAY_BURST      6
#define AWAITED_MS     5000          /* who is to connect and does not is said to be missing */
#define STEADY_NS      1000000000ull /* a link that stood for so long begins its back-off anew */

static void on_link_event(struct bufferevent *bev, short what, void *argument);
static void on_link_read(struct bufferevent *bev, void *argument);

void ls_peers_timer_set(struct event *timer, uint64_t ms)
{
    struct timeval time = {.tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};

    if (timer != NULL)
        (void)event_add(timer, &time);
}

/* A few lines, then one a second of each link, so that a flapping one does not fill the log. */
static void link_say(struct ls_peers_link *link, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void link_say(struct ls_peers_link *link, const char *format, ...)
{
    char what[320], line[400], unsaid[40] = "";
    uint64_t now = ls_now_ns();
    va_list list;

    va_start(list, format);
    vsnprintf(what, sizeof(what), format, list);
    va_end(list);
    if (strcmp(what, link->said) == 0)
        return;
    link->lines_used -= link->lines_used < (now - link->said_ns) / SAY_EVERY_NS
                            ? link->lines_used
                            : (uint32_t)((now - link->said_ns) / SAY_EVERY_NS);
    if (link->lines_used >= SAY_BURST) {
        link->unsaid++;
        return;
    }
    link->lines_used++;
    if (link->unsaid > 0)
        snprintf(unsaid, sizeof(unsaid), " (%u lines left out)", link->unsaid);
    snprintf(line, sizeof(line), "ctrl of node %u: %s%s", link->node, what, unsaid);
    snprintf(link->said, sizeof(link->said), "%s", what);
    link->said_ns = now;
    link->unsaid = 0;
    link->peers->io.say(link->peers->io.user, line);
}

static bool connects(const struct ls_peers_link *link)
{
    return link->peers->node < link->node;
}

/* Closes what there is, without a word. */
static void link_close(struct ls_peers_link *link)
{
    if (link->bev != NULL)
        bufferevent_free(link->bev);
    link->bev = NULL;
    link->state = LINK_IDLE;
    (void)event_del(link->broken);
    (void)event_del(link->timer);
}

static void link_fail(struct ls_peers_link *link, const char *why)
{
    struct ls_peers *peers = link->peers;
    bool was_up = link->state == LINK_UP;
    char at[LS_HELLO_ADDR_TEXT];
    uint16_t node = link->node;

    if (was_up && ls_now_ns() - link->up_ns > STEADY_NS)
        link->backoff_ms = LS_PEERS_BACKOFF_MIN_MS;
    link_close(link);
    if (connects(link)) {
        ls_peers_timer_set(link->timer, link->backoff_ms);
        link->backoff_ms *= 2;
        if (link->backoff_ms > LS_PEERS_BACKOFF_MAX_MS)
            link->backoff_ms = LS_PEERS_BACKOFF_MAX_MS;
    } else {
        ls_peers_timer_set(link->timer, AWAITED_MS);
    }
    link_say(link, "%s (%s): %s%s", was_up ? "link broke" : "no link", ls_hello_addr_text(link->addr, at), why,
             connects(link) ? "; trying again" : "");
    if (was_up)
        peers->io.down(peers->io.user, node, why);
}

/* The bufferevent's own errors, in words. */
static const char *event_text(short what)
{
    if (what & BEV_EVENT_EOF)
        return "closed by the other end";
    if (what & BEV_EVENT_TIMEOUT)
        return "no answer in time";
    return evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR());
}

static void link_up(struct ls_peers_link *link)
{
    link->state = LINK_UP;
    link->up_ns = ls_now_ns();
    (void)event_del(link->timer);
    link_say(link, "linked");
    link->peers->io.up(link->peers->io.user, link->node);
}

void ls_peers_link_take(struct ls_peers_link *link, struct bufferevent *bev)
{
    if (link->state == LINK_UP)
        link_fail(link, "a newer connection took its place");
    link_close(link);
    link->bev = bev;
    bufferevent_setcb(bev, on_link_read, NULL, on_link_event, link);
    bufferevent_setwatermark(bev, EV_READ, 0, READ_AHEAD_MAX);
    link_up(link);
    if (link->bev == bev)
        on_link_read(bev, link); /* what came right behind the hello */
}

static void link_connect(struct ls_peers_link *link)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(link->addr.port)};
    int fd = ls_hello_socket();
    struct bufferevent *bev = fd >= 0 ? bufferevent_socket_new(link->peers->base, fd, BEV_OPT_CLOSE_ON_FREE) : NULL;

    to.sin_addr.s_addr = htonl(link->addr.ip);
    if (bev == NULL) {
        link_fail(link, fd < 0 ? strerror(errno) : "out of memory");
        if (fd >= 0)
            close(fd);
        return;
    }
    link->bev = bev;
    link->state = LINK_CONNECTING;
    bufferevent_setcb(bev, on_link_read, NULL, on_link_event, link);
    bufferevent_setwatermark(bev, EV_READ, 0, READ_AHEAD_MAX);
    ls_peers_timer_set(link->timer, LS_PEERS_HELLO_MS);
    /* A failure at once comes as an event too, or as this result. */
    if (bufferevent_socket_connect(bev, (struct sockaddr *)&to, sizeof(to)) != 0 && link->bev == bev)
        link_fail(link, evutil_socket_error_to_string(EVUTIL_SOCKET_ERROR()));
}

static void on_link_timer(evutil_socket_t fd, short what, void *argument)
{
    struct ls_peers_link *link = argument;

    (void)fd;
    (void)what;
    if (link->state == LINK_IDLE && connects(link))
        link_connect(link);
    else if (link->state == LINK_IDLE)
        link_say(
            link,
            "has not connected for %d s: it is down, or calls this node elsewhere, at the ctrl address that its log "
            "or cluster file has for node %u. Does another machine run as node %u?",
            AWAITED_MS / 1000, link->peers->node, link->peers->node);
    else if (link->state != LINK_UP)
        link_fail(link, "no answer in time");
}

static void on_link_broken(evutil_socket_t fd, short what, void *argument)
{
    struct ls_peers_link *link = argument;

    (void)fd;
    (void)what;
    if (link->bev != NULL)
        link_fail(link, "it does not read what is sent to it");
}

static void on_link_event(struct bufferevent *bev, short what, void *argument)
{
    struct ls_peers_link *link = argument;
    struct ls_hello hello = ls_hello_make(link->peers->cluster, link->peers->node, link->node, LS_HELLO_LINK);

    if (!(what & BEV_EVENT_CONNECTED)) {
        link_fail(link, event_text(what));
        return;
    }
    ls_hello_socket_set(bufferevent_getfd(bev));
    link->state = LINK_HELLO;
    if (bufferevent_write(bev, &hello, sizeof(hello)) != 0 || bufferevent_enable(bev, EV_READ | EV_WRITE) != 0)
        link_fail(link, "out of memory");
}

/* The answer to this end's hello. True: the link stands. */
static bool hello_take(struct ls_peers_link *link, struct evbuffer *in)
{
    struct ls_hello hello;
    enum ls_hello_refusal refusal;
    char why[256];

    if (evbuffer_get_length(in) < sizeof(hello))
        return false;
    (void)evbuffer_remove(in, &hello, sizeof(hello));
    refusal = ls_hello_check(&hello, link->peers->cluster, link->peers->node);
    if (refusal == LS_HELLO_FINE && hello.node != link->node)
        refusal = LS_HELLO_OTHER_NODE;
    if (refusal == LS_HELLO_FINE && hello.kind != LS_HELLO_LINK)
        refusal = LS_HELLO_GARBAGE;
    if (hello.refused != 0 && refusal != LS_HELLO_GARBAGE) {
        snprintf(why, sizeof(why), "it refuses this node: %s", ls_hello_refusal_text(hello.refused));
        link_fail(link, why);
        return false;
    }
    if (refusal != LS_HELLO_FINE) {
        link_fail(link, ls_hello_refusal_text(refusal));
        return false;
    }
    link_up(link);
    return true;
}

static void on_link_read(struct bufferevent *bev, void *argument)
{
    struct ls_peers_link *link = argument;
    struct ls_peers *peers = link->peers;
    struct evbuffer *in = bufferevent_get_input(bev);
    uint8_t bytes[LS_CTRL_MESSAGE_MAX];

    if (link->state == LINK_HELLO && !hello_take(link, in))
        return;
    /* A callback may have taken this link away, or given it another connection. */
    while (link->bev == bev && link->state == LINK_UP && !event_pending(link->broken, EV_TIMEOUT, NULL)) {
        const char *why;
        uint32_t size;

        if (evbuffer_copyout(in, &size, sizeof(size)) != sizeof(size))
            return;
        if (size == 0 || size > LS_CTRL_MESSAGE_MAX) {
            link_fail(link, "it sent a frame of a length that cannot be");
            return;
        }
        if (evbuffer_get_length(in) < sizeof(size) + size)
            return;
        (void)evbuffer_drain(in, sizeof(size));
        (void)evbuffer_remove(in, bytes, size);
        why = peers->io.message(peers->io.user, link->node, bytes, size);
        if (why != NULL && link->bev == bev)
            link_fail(link, why);
    }
}

bool ls_peers_send(struct ls_peers *peers, uint16_t node, const void *bytes, size_t size)
{
    struct ls_peers_link *link = ls_peers_link_find(peers, node);
    uint32_t length = (uint32_t)size;
    struct timeval now = {0};
    struct evbuffer *out;

    if (link == NULL || link->state != LINK_UP || size == 0 || size > LS_CTRL_MESSAGE_MAX)
        return false;
    out = bufferevent_get_output(link->bev);
    if (evbuffer_get_length(out) + sizeof(length) + size > LS_PEERS_QUEUE_MAX ||
        evbuffer_expand(out, sizeof(length) + size) != 0) {
        (void)event_add(link->broken, &now); /* told from the loop */
        return false;
    }
    (void)evbuffer_add(out, &length, sizeof(length));
    (void)evbuffer_add(out, bytes, size);
    return true;
}

/* ---- which links there are ---- */

struct ls_peers_link *ls_peers_link_find(struct ls_peers *peers, uint16_t node)
{
    for (uint32_t i = 0; i < LS_MEMBERS_MAX; i++)
        if (peers->link[i] != NULL && peers->link[i]->node == node)
            return peers->link[i];
    return NULL;
}

static void link_free(struct ls_peers_link *link)
{
    link_close(link);
    event_free(link->timer);
    event_free(link->broken);
    free(link);
}

/* From the loop: no callback looks at them any more. */
static void graves_clear(struct ls_peers *peers)
{
    while (peers->graves != NULL) {
        struct ls_peers_link *link = peers->graves;

        peers->graves = link->next;
        link_free(link);
    }
}

static void on_graves(evutil_socket_t fd, short what, void *argument)
{
    (void)fd;
    (void)what;
    graves_clear(argument);
}

static void link_bury(struct ls_peers *peers, uint32_t i)
{
    struct timeval now = {0};

    link_close(peers->link[i]);
    peers->link[i]->next = peers->graves;
    peers->graves = peers->link[i];
    peers->link[i] = NULL;
    (void)event_add(peers->graves_event, &now);
}

static void link_add(struct ls_peers *peers, const struct ls_member *member)
{
    struct ls_peers_link *link = calloc(1, sizeof(*link));
    uint32_t i = 0;

    if (link == NULL)
        return; /* asked for again with the next membership */
    *link = (struct ls_peers_link){.peers = peers, .node = member->node, .addr = member->ctrl};
    link->backoff_ms = LS_PEERS_BACKOFF_MIN_MS;
    link->timer = evtimer_new(peers->base, on_link_timer, link);
    link->broken = evtimer_new(peers->base, on_link_broken, link);
    while (i < LS_MEMBERS_MAX && peers->link[i] != NULL)
        i++;
    if (link->timer == NULL || link->broken == NULL || i == LS_MEMBERS_MAX) {
        if (link->timer != NULL)
            event_free(link->timer);
        if (link->broken != NULL)
            event_free(link->broken);
        free(link);
        return;
    }
    peers->link[i] = link;
    if (connects(link) && link->addr.ip != 0)
        ls_peers_timer_set(link->timer, 0);
    else if (!connects(link))
        ls_peers_timer_set(link->timer, AWAITED_MS);
}

void ls_peers_set(struct ls_peers *peers, const struct ls_membership *members)
{
    for (uint32_t i = 0; i < LS_MEMBERS_MAX; i++) {
        struct ls_peers_link *link = peers->link[i];
        struct ls_addr there = {0};
        bool stays = false;

        for (uint32_t m = 0; link != NULL && m < members->count; m++)
            if (members->member[m].node == link->node) {
                stays = true;
                there = members->member[m].ctrl;
            }
        /* Another address: a link in which this end connects begins anew. */
        if (link != NULL && (!stays || (!ls_addr_equal(there, link->addr) && connects(link))))
            link_bury(peers, i);
        else if (link != NULL)
            link->addr = there;
    }
    for (uint32_t m = 0; m < members->count; m++)
        if (members->member[m].node != peers->node && ls_peers_link_find(peers, members->member[m].node) == NULL)
            link_add(peers, &members->member[m]);
}

bool ls_peers_linked(const struct ls_peers *peers, uint16_t node)
{
    for (uint32_t i = 0; i < LS_MEMBERS_MAX; i++)
        if (peers->link[i] != NULL && peers->link[i]->node == node)
            return peers->link[i]->state == LINK_UP;
    return false;
}

struct ls_addr ls_peers_addr(const struct ls_peers *peers, uint16_t node)
{
    for (uint32_t i = 0; i < LS_MEMBERS_MAX; i++)
        if (peers->link[i] != NULL && peers->link[i]->node == node)
            return peers->link[i]->addr;
    return (struct ls_addr){0};
}

/* ---- life ---- */

struct ls_peers *ls_peers_create(struct event_base *base, uint64_t cluster, uint16_t node, struct ls_addr listen,
                                 const struct ls_peers_io *io, char *error, size_t room)
{
    struct ls_peers *peers = calloc(1, sizeof(*peers));

    if (peers == NULL) {
        snprintf(error, room, "out of memory");
        return NULL;
    }
    peers->base = base;
    peers->cluster = cluster;
    peers->node = node;
    peers->io = *io;
    peers->graves_event = evtimer_new(base, on_graves, peers);
    if (peers->graves_event == NULL) {
        snprintf(error, room, "out of memory");
        free(peers);
        return NULL;
    }
    if (!ls_peers_listen(peers, listen, error, room)) {
        ls_peers_free(peers);
        return NULL;
    }
    return peers;
}

void ls_peers_free(struct ls_peers *peers)
{
    if (peers == NULL)
        return;
    for (uint32_t i = 0; i < LS_MEMBERS_MAX; i++)
        if (peers->link[i] != NULL)
            link_bury(peers, i);
    graves_clear(peers);
    ls_peers_listen_end(peers);
    event_free(peers->graves_event);
    free(peers);
}
