/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Large requests: announced by the client, pulled by the sequencer fragment by fragment with GRANT frames (a bitmap of
 * what it wants next), ordered like any other once whole. A bounded number at once, a bounded number of fragments
 * outstanding of each, an idle time-out. Net thread.
 */
#include "memory.h"
#include "replica_internal.h"

#include <errno.h>
#include <string.h>

#define GRANT_AGAIN_NS 2000000ull /* granted fragments that did not come are granted again after this long */

int ls_pull_init(struct ls_replica *r)
{
    size_t bytes = (size_t)LS_PULLS_MAX * r->config.op_max;
    r->pull_memory = ls_memory_map(bytes);
    if (r->pull_memory == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < LS_PULLS_MAX; i++)
        r->pull[i].operation = r->pull_memory + (size_t)i * r->config.op_max;
    return 0;
}

void ls_pull_free(struct ls_replica *r)
{
    ls_memory_unmap(r->pull_memory, (size_t)LS_PULLS_MAX * r->config.op_max);
}

void ls_pull_release(struct ls_replica *r, struct ls_pull *pull)
{
    pull->used = false;
    r->pulls--;
}

void ls_pull_reset(struct ls_replica *r)
{
    for (uint32_t i = 0; i < LS_PULLS_MAX; i++)
        r->pull[i].used = false;
    r->pulls = 0;
}

static struct ls_pull *pull_find(struct ls_replica *r, uint64_t session, uint64_t number)
{
    for (uint32_t i = 0; i < LS_PULLS_MAX; i++) {
        struct ls_pull *pull = &r->pull[i];
        if (pull->used && pull->record.session == session && pull->record.number == number)
            return pull;
    }
    return NULL;
}

struct ls_pull *ls_pull_ready(struct ls_replica *r, uint64_t session, uint64_t number)
{
    struct ls_pull *pull = pull_find(r, session, number);
    return pull != NULL && pull->received == pull->fragments ? pull : NULL;
}

static bool bit_get(const uint64_t *words, uint32_t bit)
{
    return words[bit / 64] >> (bit % 64) & 1;
}

static void bit_set(uint64_t *words, uint32_t bit)
{
    words[bit / 64] |= 1ull << (bit % 64);
}

/* Asks for the next missing fragments that are not on their way, so that at most LS_PULL_OUTSTANDING are. */
static void grant(struct ls_replica *r, struct ls_pull *pull, uint64_t now_ns)
{
    struct ls_frame frame;
    uint64_t missing = 0;
    uint32_t first = pull->first_missing;
    uint32_t added = 0;
    for (uint32_t i = 0; i < 64 && first + i < pull->fragments; i++) {
        if (pull->outstanding + added >= LS_PULL_OUTSTANDING)
            break;
        if (!bit_get(pull->have, first + i) && !bit_get(pull->granted, first + i)) {
            missing |= 1ull << i;
            added++;
        }
    }
    if (added == 0 || !ls_replica_alloc(r, &frame, pull->client))
        return;
    for (uint32_t i = 0; i < 64; i++) {
        if (missing >> i & 1)
            bit_set(pull->granted, first + i);
    }
    pull->outstanding += added;
    pull->granted_ns = now_ns;
    struct ls_grant_body *body = ls_replica_begin(r, &frame, LS_FRAME_GRANT);
    *body = (struct ls_grant_body){
        .session = pull->record.session, .number = pull->record.number, .first = first, .missing = missing};
    ls_replica_send(r, &frame, body + 1);
}

/* What was granted and did not come counts as lost. */
static void grant_again(struct ls_replica *r, struct ls_pull *pull, uint64_t now_ns)
{
    memcpy(pull->granted, pull->have, sizeof(pull->granted));
    pull->outstanding = 0;
    grant(r, pull, now_ns);
}

/* A repeated announcement keeps a pull alive while fragments are missing. One that is whole waits for its predecessors,
 * and a bounded time only: it must not keep them out for ever. */
static void announce_again(struct ls_replica *r, struct ls_admission *admission, struct ls_pull *pull,
                           const struct ls_request_record *record, struct ls_addr client, uint64_t now_ns)
{
    if (pull->record.total != record->total) {
        ls_count(r->counters, drop_malformed_operation);
        return;
    }
    pull->client = client;
    if (pull->received == pull->fragments) {
        ls_admission_drain(r, admission, now_ns);
        return;
    }
    pull->heard_ns = now_ns;
    if (now_ns - pull->granted_ns >= GRANT_AGAIN_NS)
        grant_again(r, pull, now_ns);
}

/* Every place is taken and the request whose turn it is has none: it takes that of its session's last one, which could
 * not be ordered before it anyway and is pulled again later. */
static struct ls_pull *pull_take_over(struct ls_replica *r, uint64_t session)
{
    struct ls_pull *last = NULL;
    for (uint32_t i = 0; i < LS_PULLS_MAX; i++) {
        struct ls_pull *pull = &r->pull[i];
        if (pull->record.session == session && (last == NULL || pull->record.number > last->record.number))
            last = pull;
    }
    if (last != NULL)
        ls_pull_release(r, last);
    return last;
}

void ls_pull_announce(struct ls_replica *r, struct ls_admission *admission, const struct ls_request_record *record,
                      struct ls_addr client, uint64_t now_ns)
{
    struct ls_pull *pull = pull_find(r, record->session, record->number);
    if (pull != NULL) {
        announce_again(r, admission, pull, record, client, now_ns);
        return;
    }
    for (uint32_t i = 0; i < LS_PULLS_MAX && pull == NULL; i++)
        pull = r->pull[i].used ? NULL : &r->pull[i];
    if (pull == NULL && record->number == admission->next)
        pull = pull_take_over(r, record->session);
    if (pull == NULL) {
        ls_count(r->counters, busy_pull);
        ls_answer_busy(r, client, record->session, record->number, LS_STATUS_BUSY_PULL, false, now_ns);
        return;
    }
    uint8_t *operation = pull->operation;
    memset(pull, 0, sizeof(*pull));
    pull->operation = operation;
    pull->used = true;
    pull->record = *record;
    pull->client = client;
    pull->fragments = (record->total + LS_FRAGMENT_SIZE - 1) / LS_FRAGMENT_SIZE;
    pull->heard_ns = now_ns;
    r->pulls++;
    grant(r, pull, now_ns);
}

void ls_pull_fragment(struct ls_replica *r, const struct ls_frame *frame, uint64_t now_ns)
{
    const struct ls_fragment_body *body = ls_frame_body(frame->data);
    struct ls_pull *pull = r->pulls > 0 ? pull_find(r, body->session, body->number) : NULL;
    if (pull == NULL || pull->record.total != body->total || pull->record.slot != body->slot ||
        !ls_addr_equal(pull->client, frame->peer)) {
        ls_count(r->counters, drop_fragment);
        return;
    }
    if (bit_get(pull->have, body->index))
        return;
    memcpy(pull->operation + (size_t)body->index * LS_FRAGMENT_SIZE, body + 1, body->length);
    bit_set(pull->have, body->index);
    pull->received++;
    pull->heard_ns = now_ns;
    if (bit_get(pull->granted, body->index) && pull->outstanding > 0)
        pull->outstanding--;
    bit_set(pull->granted, body->index);
    while (pull->first_missing < pull->fragments && bit_get(pull->have, pull->first_missing))
        pull->first_missing++;
    if (pull->received < pull->fragments) {
        if (pull->outstanding <= LS_PULL_OUTSTANDING / 2)
            grant(r, pull, now_ns);
        return;
    }
    if (r->role != LS_ROLE_SEQUENCER)
        return; /* suspended: the client's announcement will try again */
    bool later;
    struct ls_admission *admission = ls_admission_find(r, pull->record.session, pull->record.slot, &later);
    if (admission != NULL)
        ls_admission_drain(r, admission, now_ns);
}

void ls_pull_turn(struct ls_replica *r, uint64_t now_ns)
{
    if (r->pulls == 0)
        return;
    for (uint32_t i = 0; i < LS_PULLS_MAX; i++) {
        struct ls_pull *pull = &r->pull[i];
        if (!pull->used)
            continue;
        if (now_ns - pull->heard_ns >= r->config.pull_idle_ns) {
            ls_count(r->counters, pulls_timed_out);
            ls_pull_release(r, pull);
        } else if (pull->received < pull->fragments && now_ns - pull->heard_ns >= GRANT_AGAIN_NS &&
                   now_ns - pull->granted_ns >= GRANT_AGAIN_NS) {
            grant_again(r, pull, now_ns);
        }
    }
}

uint64_t ls_pull_next_ns(const struct ls_replica *r)
{
    uint64_t next = UINT64_MAX;
    for (uint32_t i = 0; i < LS_PULLS_MAX && r->pulls > 0; i++) {
        const struct ls_pull *pull = &r->pull[i];
        if (!pull->used)
            continue;
        uint64_t since = pull->heard_ns > pull->granted_ns ? pull->heard_ns : pull->granted_ns;
        uint64_t again = pull->received < pull->fragments ? since + GRANT_AGAIN_NS : UINT64_MAX;
        uint64_t idle = pull->heard_ns + r->config.pull_idle_ns;
        next = again < next ? again : next;
        next = idle < next ? idle : next;
    }
    return next;
}
