/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client core on a bad network before a small model of the cluster: three nodes, of which one is sequencer and
 * changes, one session table, answers kept. Frames are lost, doubled and late; requests are refused, redirected (also
 * to the wrong node), given up and queried. Checked: each operation is executed at most once, in the order of numbers
 * and with its own bytes; each submit has one completion; what a completion says of execution is true; once the network
 * is healed, everything ends. LS_SEED=n repeats one run.
 */
#include "rig.h"

#define NODES      3
#define PACKETS    1024
#define OPERATIONS 400
#define RESULTS    64
#define OP_BYTES   (20 * 1280)
#define FRAGMENTS  20

struct packet {
    uint64_t at;           /* 0: free */
    struct ls_frame frame; /* peer: the node it comes from or goes to */
    bool to_client;
    uint8_t data[LS_FRAME_MAX];
};

struct pull {
    uint64_t number;
    uint32_t total;
    uint32_t have; /* bit per fragment */
    uint8_t bytes[OP_BYTES];
};

struct world {
    struct ls_io io; /* first */
    uint64_t random;
    uint64_t now;
    bool healed;
    struct ls_client_core *client;
    struct packet packet[PACKETS];
    /* the cluster */
    uint32_t sequencer;
    uint64_t epoch;
    uint64_t seq;
    uint64_t session; /* 0: not open */
    uint64_t next;
    uint64_t floor;
    uint16_t status[OPERATIONS + 1]; /* results by number */
    uint64_t result_seq[OPERATIONS + 1];
    struct pull pull;
    /* the user */
    uint32_t submitted;
    uint32_t length[OPERATIONS + 1];
    bool executed[OPERATIONS + 1];
    bool completed[OPERATIONS + 1];
    uint32_t completions;
    uint32_t unknown;
};

static uint32_t draw(struct world *w, uint32_t below)
{
    w->random = w->random * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)((w->random >> 33) % below);
}

/* ---- network ---- */

static struct packet *packet_new(struct world *w)
{
    for (uint32_t i = 0; i < PACKETS; i++)
        if (w->packet[i].at == 0)
            return &w->packet[i];
    return NULL;
}

static void packet_post(struct world *w, const uint8_t *data, uint32_t length, struct ls_addr node, bool to_client)
{
    uint32_t copies = w->healed ? 1 : draw(w, 10) == 0 ? 0 : draw(w, 20) == 0 ? 2 : 1;
    for (uint32_t i = 0; i < copies; i++) {
        struct packet *packet = packet_new(w);
        if (!packet)
            return;
        uint64_t delay = 20000 + draw(w, 100000);
        if (!w->healed && draw(w, 30) == 0)
            delay += (uint64_t)draw(w, 50) * MS;
        packet->at = w->now + delay;
        packet->to_client = to_client;
        memcpy(packet->data, data, length);
        packet->frame = (struct ls_frame){.data = packet->data, .length = length, .peer = node};
    }
}

static uint8_t open_frame[LS_FRAME_MAX];

static bool world_alloc(struct ls_io *io, struct ls_frame *frame)
{
    struct world *w = (struct world *)io;
    if (!w->healed && draw(w, 50) == 0)
        return false;
    frame->data = open_frame;
    return true;
}

static void world_send(struct ls_io *io, struct ls_frame *frame)
{
    packet_post((struct world *)io, frame->data, frame->length, frame->peer, false);
}

static void world_release(struct ls_io *io, struct ls_frame *frame)
{
}

static void node_send(struct world *w, uint32_t node, uint8_t type, const void *body, uint32_t length)
{
    const struct ls_wire_identity identity = {
        .cluster = CLUSTER, .generation = 3, .node = (uint16_t)node, .incarnation = 7};
    uint8_t data[LS_FRAME_MAX];
    uint8_t *at = ls_frame_begin(&identity, data, type, w->epoch);
    memcpy(at, body, length);
    packet_post(w, data, ls_frame_end(data, at + length), NODE_ADDR(node), true);
}

/* ---- cluster ---- */

static void reply(struct world *w, uint32_t node, uint64_t number, uint64_t seq, uint16_t status, bool opening)
{
    struct {
        struct ls_reply_body body;
        struct ls_reply_record record;
        uint8_t nonce[LS_NONCE_SIZE];
    } LS_PACKED out = {.body.time = w->now};
    out.record = (struct ls_reply_record){.session = w->session, .number = number, .seq = seq, .status = status};
    out.record.length = opening ? LS_NONCE_SIZE : 0;
    memcpy(out.nonce, NONCE, LS_NONCE_SIZE);
    node_send(w, node, LS_FRAME_REPLY, &out, (uint32_t)sizeof(out) - (opening ? 0 : LS_NONCE_SIZE));
}

static void busy(struct world *w, uint32_t node, uint64_t session, uint64_t number, uint16_t status)
{
    const struct ls_busy_body body = {
        .session = session, .number = number, .status = status, .retry_after = draw(w, 3) * MS};
    node_send(w, node, LS_FRAME_BUSY, &body, sizeof(body));
}

static void view(struct world *w, uint32_t node, uint8_t type, uint32_t sequencer)
{
    struct {
        struct ls_view_body view;
        struct ls_member_record member[NODES];
    } LS_PACKED body = {.view = {.time = w->now, .epoch = w->epoch, .members = NODES}};
    body.view.sequencer = (uint16_t)sequencer;
    for (uint16_t i = 0; i < NODES; i++)
        body.member[i] = (struct ls_member_record){
            .node = (uint16_t)(i + 1), .role = LS_MEMBER_VOTER, .ip = NODE_ADDR(i + 1u).ip, .port = 7400};
    node_send(w, node, type, &body, sizeof(body));
}

static uint8_t op_byte(uint64_t number, uint32_t i)
{
    return (uint8_t)(number * 31 + i * 7 + i / 251);
}

static void execute(struct world *w, uint64_t number, const uint8_t *bytes, uint32_t length)
{
    assert_false(w->executed[number]);
    assert_int_equal(length, w->length[number]);
    for (uint32_t i = 0; i < length; i++)
        assert_int_equal(bytes[i], op_byte(number, i));
    w->executed[number] = true;
}

static void conclude(struct world *w, uint64_t number, uint16_t status)
{
    w->status[number] = status;
    w->result_seq[number] = ++w->seq;
    w->next = number + 1;
}

static void answer_done(struct world *w, uint32_t node, uint64_t number)
{
    if (number < w->floor) /* a late copy: the client has said that it does not want it any more */
        reply(w, node, number, 0, LS_STATUS_RESULT_GONE, false);
    else
        reply(w, node, number, w->result_seq[number], w->status[number], false);
}

static void grant(struct world *w, uint32_t node)
{
    struct ls_grant_body body = {.session = w->session, .number = w->pull.number};
    body.missing = ((1ull << ((w->pull.total + 1279) / 1280)) - 1) & ~(uint64_t)w->pull.have;
    node_send(w, node, LS_FRAME_GRANT, &body, sizeof(body));
}

static void request(struct world *w, uint32_t node, const struct ls_request_record *record)
{
    if (record->kind == LS_REQUEST_OPEN) {
        if (w->session == 0) {
            w->session = ++w->seq;
            w->next = w->floor = 1;
        }
        reply(w, node, 0, w->session, LS_STATUS_OK, true);
        return;
    }
    assert_int_equal(record->session, w->session);
    assert_true(record->number <= w->submitted);
    if (record->awaited > w->floor)
        w->floor = record->awaited;
    if (record->number < w->next) {
        answer_done(w, node, record->number);
        return;
    }
    if (!w->healed && draw(w, 12) == 0) {
        busy(w, node, record->session, record->number, LS_STATUS_BUSY_LOG);
        return;
    }
    if (record->number > w->next) {
        if (draw(w, 2) == 0)
            busy(w, node, record->session, record->number, LS_STATUS_BUSY_STASH);
        return;
    }
    if (record->kind == LS_REQUEST_ANNOUNCE) {
        if (draw(w, 10) == 0) { /* another node may allow less */
            reply(w, node, record->number, 0, LS_STATUS_TOO_LARGE, false);
            return;
        }
        if (w->pull.number != record->number)
            w->pull = (struct pull){.number = record->number, .total = record->total};
        grant(w, node);
        return;
    }
    if (record->kind == LS_REQUEST_QUERY) {
        conclude(w, record->number, LS_STATUS_CLOSED);
    } else if (draw(w, 20) == 0) {
        conclude(w, record->number, LS_STATUS_EXPIRED);
    } else {
        execute(w, record->number, (const uint8_t *)(record + 1), record->length);
        conclude(w, record->number, LS_STATUS_OK);
    }
    answer_done(w, node, record->number);
}

static void fragment(struct world *w, uint32_t node, const struct ls_fragment_body *body)
{
    struct pull *pull = &w->pull;
    if (body->number != pull->number || body->number != w->next)
        return;
    memcpy(pull->bytes + body->index * 1280, body + 1, body->length);
    pull->have |= 1u << body->index;
    uint32_t all = (1u << ((pull->total + 1279) / 1280)) - 1;
    if (pull->have == all) {
        execute(w, pull->number, pull->bytes, pull->total);
        conclude(w, pull->number, LS_STATUS_OK);
        answer_done(w, node, pull->number);
    }
}

static void node_input(struct world *w, uint32_t node, const struct ls_frame *frame)
{
    const struct ls_wire_identity identity = {.cluster = CLUSTER, .generation = 3, .node = 1, .incarnation = 7};
    assert_int_equal(ls_frame_check(&identity, frame->data, frame->length), 0);
    if (node != w->sequencer) {
        uint32_t named = w->healed ? w->sequencer : draw(w, 3) ? w->sequencer : draw(w, NODES + 1);
        view(w, node, LS_FRAME_REDIRECT, named);
        return;
    }
    if (ls_frame_header(frame->data)->type == LS_FRAME_FRAGMENT) {
        fragment(w, node, ls_frame_body(frame->data));
        return;
    }
    const struct ls_request_record *record;
    const uint8_t *at = NULL;
    uint64_t before = 0;
    while ((record = ls_request_next(frame->data, &at)) != NULL) {
        assert_true(record->number == 0 || record->number > before); /* ascending within a frame */
        before = record->number;
        request(w, node, record);
    }
}

/* ---- the user ---- */

struct token {
    struct world *world;
    uint64_t number;
};
static struct token token[OPERATIONS + 1];

static void completed(void *user, const struct ls_client_result *result)
{
    const struct token *t = user;
    struct world *w = t->world;
    assert_int_equal(result->number, t->number);
    assert_false(w->completed[t->number]);
    w->completed[t->number] = true;
    w->completions++;
    if (result->outcome == LS_CLIENT_UNKNOWN) {
        w->unknown++;
        return;
    }
    assert_int_equal(w->executed[t->number], result->status == LS_STATUS_OK);
    if (!w->executed[t->number]) /* and never will be, which execute() checks by the order of numbers */
        assert_true(result->status == LS_STATUS_EXPIRED || result->status == LS_STATUS_CLOSED ||
                    result->status == LS_STATUS_TOO_LARGE);
}

static void submit_some(struct world *w)
{
    static uint8_t bytes[OP_BYTES];
    while (w->submitted < OPERATIONS && draw(w, 3) != 0) {
        uint64_t number = w->submitted + 1;
        uint32_t length = draw(w, 15) == 0 ? 1281 + draw(w, OP_BYTES - 1281) : draw(w, 300);
        for (uint32_t i = 0; i < length; i++)
            bytes[i] = op_byte(number, i);
        token[number] = (struct token){w, number};
        w->length[number] = length;
        int rc = ls_client_core_submit(w->client, bytes, length, 0, completed, &token[number], w->now);
        if (rc == -EAGAIN)
            return;
        assert_int_equal(rc, 0);
        assert_int_equal(ls_client_core_next_number(w->client), number + 1);
        w->submitted++;
    }
    if (w->submitted > 0 && draw(w, 40) == 0)
        ls_client_core_query(w->client, 1 + draw(w, w->submitted), w->now);
}

static void deliver_due(struct world *w)
{
    for (uint32_t i = 0; i < PACKETS; i++) {
        struct packet *packet = &w->packet[i];
        if (packet->at == 0 || packet->at > w->now)
            continue;
        packet->at = 0;
        struct ls_frame frame = packet->frame;
        uint8_t copy[LS_FRAME_MAX];
        memcpy(copy, packet->data, frame.length);
        frame.data = copy;
        if (packet->to_client)
            ls_client_core_input(w->client, &frame, w->now);
        else
            node_input(w, frame.peer.ip & 0xff, &frame);
    }
}

static void run(uint64_t seed)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    w->random = seed * 0x9e3779b97f4a7c15ull + 1;
    w->io = (struct ls_io){.alloc = world_alloc, .send = world_send, .release = world_release};
    w->now = 1000 * MS;
    w->sequencer = 1;
    w->epoch = 1;
    struct ls_client_config config = rig_config();
    config.window = 1 + draw(w, 64);
    config.op_max = OP_BYTES;
    config.give_up_ns = draw(w, 2) ? 0 : 60 * MS;
    w->client = ls_client_core_create(&config, &w->io, w->now);
    assert_non_null(w->client);

    uint64_t end = w->now + 3000 * MS;
    uint64_t next = 0;
    uint64_t last = end + 60000 * MS;
    while (w->completions < OPERATIONS) {
        w->healed = w->now > end;
        assert_true(w->now < last);
        if (!w->healed && draw(w, 400) == 0) {
            w->sequencer = 1 + draw(w, NODES);
            w->epoch++;
            w->pull.number = 0;
            if (draw(w, 2) == 0)
                view(w, w->sequencer, LS_FRAME_VIEW, w->sequencer);
        }
        submit_some(w);
        deliver_due(w);
        next = ls_client_core_poll(w->client, w->now);
        assert_true(next >= w->now);
        w->now += 1 + draw(w, 50000);
    }
    /* abandoned numbers are settled too: everything that has a number has a fate in the cluster */
    while (w->next <= OPERATIONS) {
        assert_true(w->now < last);
        w->healed = true;
        deliver_due(w);
        (void)ls_client_core_poll(w->client, w->now);
        w->now += 1 + draw(w, 50000);
    }
    assert_int_equal(ls_client_core_in_flight(w->client), 0);
    if (config.give_up_ns == 0)
        assert_int_equal(w->unknown, 0);
    ls_client_core_destroy(w->client);
    free(w);
}

static void holds_on_a_bad_network(void **state)
{
    const char *one = getenv("LS_SEED");
    uint64_t first = one ? strtoull(one, NULL, 10) : 1;
    uint64_t count = one ? 1 : getenv("LS_SANITIZED") ? 8 : 30;
    for (uint64_t seed = first; seed < first + count; seed++) {
        print_message("LS_SEED=%lu\n", (unsigned long)seed);
        run(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(holds_on_a_bad_network)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
