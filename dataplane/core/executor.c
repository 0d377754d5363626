/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The apply worker's part; see executor.h. Owned and called by the apply thread alone.
 *
 * A burst is up to LS_BURST entries. It is taken from the committed log and judged by the session table in one go, then
 * offered to the state machine, in several turns where memory has not come back yet; each executed entry is concluded
 * (result kept, reply written) in log order. What is visible to others moves only behind executed entries:
 * applied_seq, then applied.
 *
 * Bursts are cut behind a seq at which digests are compared, and before an entry that opens a session or changes
 * limits. Cuts are made, and images swapped in, between two turns' bursts: a cut waits for a burst that waits for
 * memory, an image makes it forgotten. The log's limits rule: a replica whose own room is smaller than a LIMITS entry
 * asks for stops before that entry, and counts it as a stall, because going on with less would make it answer
 * differently from the others. Before the first LIMITS entry no session can be opened.
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>

#include "executor.h"
#include "memory.h"
#include "mutant.h"
#include "session.h"
#include "wire.h"

#define DIGEST_EVERY_DEFAULT 4096

/* Clients answered in one turn: one for each entry and each repeat at most. */
#define CLIENTS_MAX   (2 * LS_BURST)
#define CLIENTS_PLACE (2 * CLIENTS_MAX) /* of the hash that finds them; power of two */
static_assert((CLIENTS_PLACE & (CLIENTS_PLACE - 1)) == 0 && CLIENTS_MAX < 256, "places are found by low bits");

/* A REPLY frame that is being filled, for one client. */
struct open_reply {
    struct ls_frame frame; /* data == NULL: none open */
    uint8_t *at;           /* where the next record goes */
    uint32_t records;
    uint64_t hold; /* as struct ls_reply_frame has it; the same for all its records, or 0 for all */
};

struct ls_executor {
    /* constant */
    struct ls_wire_identity identity;
    const struct ls_log *log;
    struct ls_seam *seam;
    struct ls_io *io;
    const struct ls_state_machine *type;
    struct ls_machine *machine;
    struct ls_replica_page *page;
    struct ls_counters *counters;
    uint64_t digest_mask;
    uint8_t durability;    /* enum ls_durability of what is committed */
    uint32_t digest_shift; /* comparison point k is entry k << digest_shift */
    ls_executor_watch watch;
    void *watch_user;

    /* state */
    struct ls_sessions *sessions;
    uint64_t applied; /* position */
    uint64_t applied_seq;
    uint64_t digest_seq; /* of the digest in the page */
    struct ls_cut cut;   /* behind the last applied entry, but for the digest */

    /* the burst: entries [done, count) are judged and wait for the machine */
    uint32_t count;
    uint32_t done;
    uint64_t end; /* position behind it */
    const struct ls_entry *entry[LS_BURST];
    struct ls_verdict verdict[LS_BURST];
    struct ls_command command[LS_BURST];
    struct ls_result result[LS_BURST];

    /* replies of this turn */
    bool serving;
    uint32_t clients;
    struct open_reply reply[CLIENTS_MAX];
    uint8_t place[CLIENTS_PLACE]; /* index into reply + 1; 0: free */

    uint8_t result_bytes[LS_BURST][LS_RESULT_MAX];
};

/* ---- life ---- */

static bool config_is_sane(const struct ls_executor_config *config, const struct ls_seam *seam,
                           const struct ls_state_machine *type)
{
    return config->node >= 1 && config->node <= LS_NODE_ID_MAX && config->incarnation > 0 &&
           config->sessions_max >= 1 && config->sessions_max <= seam->sessions_max &&
           config->sessions_max <= LS_SESSIONS_MAX && config->window >= 1 && config->window <= LS_WINDOW_MAX &&
           (config->digest_every & (config->digest_every - 1)) == 0 && type->apply && type->set_limits &&
           type->digest && type->reclaim;
}

struct ls_executor *ls_executor_create(const struct ls_executor_config *config, const struct ls_log *log,
                                       struct ls_seam *seam, struct ls_io *replies, const struct ls_state_machine *type,
                                       struct ls_machine *machine, struct ls_replica_page *page,
                                       struct ls_counters *counters)
{
    if (!config_is_sane(config, seam, type)) {
        errno = EINVAL;
        return NULL;
    }
    struct ls_executor *executor = ls_memory_map(sizeof(*executor));
    if (!executor) {
        errno = ENOMEM;
        return NULL;
    }
    executor->sessions = ls_sessions_create(config->sessions_max, seam->sessions);
    if (!executor->sessions) {
        ls_memory_unmap(executor, sizeof(*executor));
        errno = ENOMEM;
        return NULL;
    }
    executor->identity = (struct ls_wire_identity){.cluster = config->cluster,
                                                   .generation = config->generation,
                                                   .group = config->group,
                                                   .node = config->node,
                                                   .incarnation = config->incarnation};
    executor->log = log;
    executor->seam = seam;
    executor->io = replies;
    executor->type = type;
    executor->machine = machine;
    executor->page = page;
    executor->counters = counters;
    executor->durability = (uint8_t)(config->durability ? config->durability : LS_DURABLE_MEMORY);
    executor->digest_mask = (config->digest_every ? config->digest_every : DIGEST_EVERY_DEFAULT) - 1;
    executor->digest_shift = (uint32_t)__builtin_ctzll(executor->digest_mask + 1);
    ls_cut_start(&executor->cut);
    executor->applied = executor->end = atomic_load_explicit(&seam->applied, memory_order_relaxed);
    executor->applied_seq = atomic_load_explicit(&seam->applied_seq, memory_order_relaxed);
    executor->cut.position = executor->applied;
    executor->cut.seq = executor->applied_seq;
    for (uint32_t i = 0; i < LS_BURST; i++)
        executor->result[i].bytes = executor->result_bytes[i];
    return executor;
}

void ls_executor_destroy(struct ls_executor *executor)
{
    if (!executor)
        return;
    ls_sessions_destroy(executor->sessions);
    ls_memory_unmap(executor, sizeof(*executor));
}

void ls_executor_set_watch(struct ls_executor *executor, ls_executor_watch watch, void *user)
{
    executor->watch = watch;
    executor->watch_user = user;
}

/* ---- digest ---- */

static uint64_t digest_of(const struct ls_state_machine *type, struct ls_machine *machine,
                          const struct ls_sessions *sessions)
{
    return type->digest(machine) * 0x9e3779b97f4a7c15ull ^ ls_sessions_digest(sessions);
}

uint64_t ls_executor_digest(struct ls_executor *executor)
{
    return digest_of(executor->type, executor->machine, executor->sessions);
}

uint64_t ls_image_digest(const struct ls_state_machine *type, const struct ls_image *image)
{
    return digest_of(type, image->machine, image->sessions);
}

/* Readers take seq, digest, seq again; see struct ls_replica_page. */
static void digest_store(_Atomic uint64_t *to_seq, _Atomic uint64_t *to_digest, uint64_t seq, uint64_t digest)
{
    atomic_store_explicit(to_seq, 0, memory_order_relaxed);
    atomic_store_explicit(to_digest, digest, memory_order_release);
    atomic_store_explicit(to_seq, seq, memory_order_release);
}

static void digest_publish(struct ls_executor *executor)
{
    struct ls_replica_page *page = executor->page;
    uint64_t seq = executor->applied_seq;
    uint64_t digest = ls_executor_digest(executor);
    digest_store(&page->digest_seq, &page->digest, seq, digest);
    if ((seq & executor->digest_mask) == 0) {
        uint64_t k = (seq >> executor->digest_shift) % LS_DIGESTS_KEPT;
        digest_store(&page->digests[k].seq, &page->digests[k].digest, seq, digest);
    }
    executor->digest_seq = seq;
}

/* ---- replies ---- */

static void reply_finish(struct ls_executor *executor, struct open_reply *reply)
{
    struct ls_reply_frame finished = {.frame = reply->frame, .hold = reply->hold};
    reply->frame.data = NULL;
    finished.frame.length = ls_frame_end(finished.frame.data, reply->at);
    if (ls_spsc_push(&executor->seam->replies, &finished)) {
        ls_count_add(executor->counters, LS_COUNT_replies_out, reply->records);
    } else {
        /* the client asks again */
        ls_count(executor->counters, drop_tx_full);
        executor->io->release(executor->io, &finished.frame);
    }
}

static bool reply_begin(struct ls_executor *executor, struct open_reply *reply, uint64_t hold)
{
    struct ls_addr peer = reply->frame.peer;
    if (!executor->io->alloc(executor->io, &reply->frame)) {
        ls_count(executor->counters, drop_no_buffer);
        reply->frame.data = NULL;
        reply->frame.peer = peer;
        return false;
    }
    reply->frame.peer = peer;
    uint64_t epoch = atomic_load_explicit(&executor->seam->epoch, memory_order_relaxed);
    struct ls_reply_body *body = ls_frame_begin(&executor->identity, reply->frame.data, LS_FRAME_REPLY, epoch);
    body->time = atomic_load_explicit(&executor->seam->time, memory_order_relaxed);
    reply->at = (uint8_t *)(body + 1);
    reply->records = 0;
    reply->hold = hold;
    return true;
}

static struct open_reply *reply_of_client(struct ls_executor *executor, struct ls_addr client)
{
    uint64_t key = ((uint64_t)client.ip << 16 | client.port) * 0x9e3779b97f4a7c15ull;
    for (uint32_t at = (uint32_t)(key >> 48);; at++) {
        uint8_t *place = &executor->place[at & (CLIENTS_PLACE - 1)];
        if (*place == 0) {
            assert(executor->clients < CLIENTS_MAX);
            struct open_reply *reply = &executor->reply[executor->clients++];
            reply->frame.peer = client;
            reply->frame.data = NULL;
            *place = (uint8_t)executor->clients;
            return reply;
        }
        struct open_reply *reply = &executor->reply[*place - 1];
        if (ls_addr_equal(reply->frame.peer, client))
            return reply;
    }
}

/* Room for one record and `length` bytes of result behind it, padded; the record is already written. NULL: no buffer,
 * counted. One that says more than a commit stands for waits for disks, and nothing else waits with it. */
static uint8_t *reply_add(struct ls_executor *executor, struct ls_addr client, const struct ls_reply_record *record)
{
    uint64_t hold = record->durability > executor->durability ? executor->end : 0;
    struct open_reply *reply = reply_of_client(executor, client);
    uint32_t padded = ls_pad8(record->length);
    size_t size = sizeof(*record) + padded;
    if (reply->frame.data &&
        (reply->at + size > reply->frame.data + LS_FRAME_HEADER_SIZE + LS_FRAME_BODY_MAX || reply->hold != hold))
        reply_finish(executor, reply);
    if (!reply->frame.data && !reply_begin(executor, reply, hold))
        return NULL;
    uint8_t *at = reply->at;
    memcpy(at, record, sizeof(*record));
    if (padded > 0)
        memset(at + size - 8, 0, 8);
    reply->at += size;
    reply->records++;
    return at + sizeof(*record);
}

static void replies_flush(struct ls_executor *executor)
{
    if (executor->clients == 0)
        return;
    for (uint32_t i = 0; i < executor->clients; i++)
        if (executor->reply[i].frame.data)
            reply_finish(executor, &executor->reply[i]);
    executor->clients = 0;
    memset(executor->place, 0, sizeof(executor->place));
}

static void reply_bytes(struct ls_executor *executor, struct ls_addr client, struct ls_reply_record *record,
                        const uint8_t *bytes, uint32_t length)
{
    record->length = length;
    uint8_t *to = reply_add(executor, client, record);
    if (to && length > 0)
        memcpy(to, bytes, length);
}

static void reply_kept(struct ls_executor *executor, struct ls_addr client, struct ls_reply_record *record)
{
    const struct ls_kept *kept = ls_sessions_kept(executor->sessions, record->slot, record->number);
    record->seq = kept->seq;
    record->flags = LS_REPLY_REPEAT;
    if (ls_mutant(RESULT_FORGOTTEN)) {
        record->status = LS_STATUS_OK;
        reply_bytes(executor, client, record, NULL, 0);
        return;
    }
    record->status = kept->status;
    record->length = kept->length;
    uint8_t *to = reply_add(executor, client, record);
    if (to)
        ls_sessions_copy(executor->sessions, kept, to);
}

static uint8_t durability_of(const struct ls_executor *executor, uint16_t wanted)
{
    return wanted > executor->durability ? (uint8_t)wanted : executor->durability;
}

/* ---- concluding executed entries ---- */

static void entry_reply(struct ls_executor *executor, const struct ls_entry *entry, const struct ls_verdict *verdict,
                        const struct ls_result *result)
{
    const struct ls_addr client = {.ip = entry->ip, .port = entry->port};
    struct ls_reply_record record = {.session = entry->session,
                                     .number = entry->number,
                                     .seq = entry->seq,
                                     .slot = entry->slot,
                                     .status = verdict->status,
                                     .durability = durability_of(executor, entry->durability)};
    bool opening = entry->kind == LS_ENTRY_OPEN && entry->length == LS_NONCE_SIZE;
    switch (verdict->kind) {
    case LS_VERDICT_EXECUTE:
        record.status = result->status;
        reply_bytes(executor, client, &record, result->bytes, result->length);
        break;
    case LS_VERDICT_REPEAT:
        reply_kept(executor, client, &record);
        break;
    case LS_VERDICT_OPENED:
        record.session = verdict->id;
        record.slot = verdict->slot;
        record.seq = verdict->id;
        record.flags = verdict->again ? LS_REPLY_REPEAT : 0;
        reply_bytes(executor, client, &record, (const uint8_t *)(entry + 1), LS_NONCE_SIZE);
        break;
    default:
        /* whoever tried to open in vain is told which opening failed */
        reply_bytes(executor, client, &record, (const uint8_t *)(entry + 1), opening ? LS_NONCE_SIZE : 0);
        break;
    }
}

static void verdict_count(struct ls_executor *executor, const struct ls_verdict *verdict)
{
    switch (verdict->kind) {
    case LS_VERDICT_CONCLUDE:
        if (verdict->status == LS_STATUS_EXPIRED)
            ls_count(executor->counters, executed_expired);
        else
            ls_count(executor->counters, executed_refused);
        break;
    case LS_VERDICT_REPEAT:
        ls_count(executor->counters, executed_repeats);
        break;
    case LS_VERDICT_REFUSE:
        if (verdict->status == LS_STATUS_RESULT_GONE)
            ls_count(executor->counters, executed_repeats);
        else
            ls_count(executor->counters, executed_refused);
        break;
    case LS_VERDICT_OPENED:
        if (verdict->again)
            ls_count(executor->counters, executed_repeats);
        else
            ls_count(executor->counters, sessions_opened);
        break;
    default:
        break;
    }
    if (verdict->evicted > 0)
        ls_count_add(executor->counters, LS_COUNT_sessions_evicted, verdict->evicted);
}

static void entry_conclude(struct ls_executor *executor, uint32_t i)
{
    const struct ls_entry *entry = executor->entry[i];
    const struct ls_verdict *verdict = &executor->verdict[i];
    const struct ls_result *result = &executor->result[i];
    if (verdict->kind == LS_VERDICT_EXECUTE) {
        assert(result->length <= LS_RESULT_MAX);
        ls_sessions_keep(executor->sessions, verdict, entry->seq, result->status, result->bytes, result->length);
        if (executor->watch)
            executor->watch(executor->watch_user, entry, result);
    } else {
        if (verdict->kind == LS_VERDICT_CONCLUDE)
            ls_sessions_keep(executor->sessions, verdict, entry->seq, verdict->status, NULL, 0);
        else
            ls_sessions_pass(executor->sessions, verdict);
        verdict_count(executor, verdict);
    }
    if (executor->serving && entry->ip != 0 && verdict->kind != LS_VERDICT_NONE)
        entry_reply(executor, entry, verdict, result);
}

/* ---- bursts ---- */

/* True where the entry's limits hold from here on; false where this replica has not the room for them. */
static bool limits_take(struct ls_executor *executor, const struct ls_entry *entry)
{
    struct ls_entry_limits limits;
    if (entry->length != sizeof(limits))
        return true; /* the same bytes on every replica: nothing to take anywhere */
    memcpy(&limits, entry + 1, sizeof(limits));
    const struct ls_machine_limits machine_limits = {.keys = limits.keys, .bytes = limits.bytes};
    /* Both or neither: where one has no room the entry is offered again. */
    if (limits.sessions > ls_sessions_capacity(executor->sessions) ||
        !executor->type->set_limits(executor->machine, &machine_limits))
        return false;
    (void)ls_sessions_set_limits(executor->sessions, &limits);
    atomic_store_explicit(&executor->seam->window, ls_sessions_window(executor->sessions), memory_order_relaxed);
    return true;
}

/* Takes the entries of the next burst; their number. */
static uint32_t burst_gather(struct ls_executor *executor, uint64_t commit)
{
    uint64_t position = executor->applied;
    uint64_t seq = executor->applied_seq;
    uint32_t n = 0;
    while (n < LS_BURST && position < commit) {
        const struct ls_entry *entry = (const struct ls_entry *)ls_log_at(executor->log, position);
        /* written by another core a moment ago, and read once */
        __builtin_prefetch((const uint8_t *)entry + 256);
        __builtin_prefetch((const uint8_t *)entry + 320);
        if (n > 0 && (entry->kind == LS_ENTRY_OPEN || entry->kind == LS_ENTRY_LIMITS))
            break;
        position += ls_entry_size(entry->length);
        assert(entry->seq == seq + 1 && position <= commit);
        ls_sessions_prefetch(executor->sessions, entry);
        seq++;
        executor->entry[n++] = entry;
        executor->end = position;
        if ((seq & executor->digest_mask) == 0)
            break;
    }
    return n;
}

static void burst_judge(struct ls_executor *executor, uint32_t n, uint64_t now_ns)
{
    ls_sessions_judge(executor->sessions, executor->entry, n, executor->verdict, now_ns);
    for (uint32_t i = 0; i < n; i++) {
        const struct ls_entry *entry = executor->entry[i];
        bool execute = executor->verdict[i].kind == LS_VERDICT_EXECUTE;
        executor->command[i] = (struct ls_command){.seq = entry->seq,
                                                   .time = entry->time,
                                                   .operation = execute ? (const uint8_t *)(entry + 1) : NULL,
                                                   .length = execute ? entry->length : 0};
        /* a machine that says nothing says the same everywhere */
        executor->result[i].status = LS_STATUS_OK;
        executor->result[i].length = 0;
    }
    executor->count = n;
    executor->done = 0;
}

/* What others see of how far apply is. */
static void applied_publish(struct ls_executor *executor)
{
    struct ls_replica_page *page = executor->page;
    atomic_store_explicit(&executor->seam->applied_seq, executor->applied_seq, memory_order_release);
    atomic_store_explicit(&executor->seam->applied, executor->applied, memory_order_release);
    atomic_store_explicit(&page->applied_seq, executor->applied_seq, memory_order_relaxed);
    atomic_store_explicit(&page->applied, executor->applied, memory_order_relaxed);
    atomic_store_explicit(&page->log_time, executor->cut.time, memory_order_relaxed);
    atomic_store_explicit(&page->sessions, ls_sessions_open(executor->sessions), memory_order_relaxed);
}

/* Entries [done, done + executed) were executed and concluded: tells everyone. */
static void burst_publish(struct ls_executor *executor, uint32_t executed)
{
    for (uint32_t i = executor->done; i < executor->done + executed; i++)
        ls_cut_pass(&executor->cut, executor->entry[i]);
    executor->done += executed;
    executor->applied = executor->cut.position;
    executor->applied_seq = executor->cut.seq;
    applied_publish(executor); /* from here on net may overwrite the entries */
    ls_count_add(executor->counters, LS_COUNT_applied_entries, executed);
    if ((executor->applied_seq & executor->digest_mask) == 0)
        digest_publish(executor);
}

/* Up to one burst; returns how many entries were executed. */
static uint32_t burst_run(struct ls_executor *executor, uint64_t now_ns)
{
    if (executor->done == executor->count) {
        /* acquire: pairs with net's release of commit behind the bytes before it */
        uint64_t commit = atomic_load_explicit(&executor->seam->commit, memory_order_acquire);
        uint32_t n = burst_gather(executor, commit);
        if (n == 0)
            return 0;
        if (executor->entry[0]->kind == LS_ENTRY_LIMITS && !limits_take(executor, executor->entry[0])) {
            ls_count(executor->counters, applied_stalls);
            return 0;
        }
        burst_judge(executor, n, now_ns);
    }
    uint32_t left = executor->count - executor->done;
    uint32_t executed = executor->type->apply(executor->machine, executor->command + executor->done, left,
                                              executor->result + executor->done);
    assert(executed <= left);
    if (executed == 0)
        ls_count(executor->counters, applied_stalls);
    for (uint32_t i = 0; i < executed; i++)
        entry_conclude(executor, executor->done + i);
    if (executed > 0)
        burst_publish(executor, executed);
    return executed;
}

/* ---- repeats ---- */

static void repeat_answer(struct ls_executor *executor, const struct ls_repeat *repeat)
{
    struct ls_reply_record record = {.session = repeat->session,
                                     .number = repeat->number,
                                     .slot = repeat->slot,
                                     .durability = durability_of(executor, repeat->durability),
                                     .flags = LS_REPLY_REPEAT};
    uint16_t status = LS_STATUS_OK;
    switch (ls_sessions_look(executor->sessions, repeat->session, repeat->slot, repeat->number, &status)) {
    case LS_VERDICT_REPEAT:
        reply_kept(executor, repeat->client, &record);
        break;
    case LS_VERDICT_REFUSE:
        if (repeat->session > executor->applied_seq)
            break; /* its opening is not applied yet */
        record.status = status;
        record.durability = LS_DURABLE_NONE;
        reply_bytes(executor, repeat->client, &record, NULL, 0);
        break;
    default:
        break; /* not applied yet: the reply comes with its entry */
    }
}

/* Between bursts only: in one that waits for memory, sessions are ahead of their results. */
static uint32_t repeats_run(struct ls_executor *executor)
{
    uint32_t n = 0;
    struct ls_repeat repeat;
    while (n < LS_BURST && executor->done == executor->count && ls_spsc_pop(&executor->seam->repeats, &repeat)) {
        if (executor->serving && repeat.client.ip != 0)
            repeat_answer(executor, &repeat);
        n++;
    }
    return n;
}

/* ---- checkpoints ---- */

/* The cut that bulk wants. 0 or -errno. */
static int cut_open(struct ls_executor *executor)
{
    const struct ls_state_machine *type = executor->type;
    if (!type->checkpoint_begin)
        return -ENOTSUP;
    if (executor->applied_seq == 0)
        return -ENODATA;
    int error = type->checkpoint_begin(executor->machine);
    if (error != 0)
        return error;
    bool begun = ls_sessions_image_begin(executor->sessions);
    assert(begun); /* it ends with the machine's */
    executor->cut.digest = ls_executor_digest(executor);
    *executor->seam->cut = executor->cut;
    return 0;
}

/* Bulk's side of the cut; returns the work count. */
static uint32_t cut_turn(struct ls_executor *executor)
{
    struct ls_seam *seam = executor->seam;
    uint32_t copied;
    /* acquire: pairs with bulk's release of WANTED behind `cut`, and of ENDING behind its last look at the image */
    switch (atomic_load_explicit(&seam->cut_state, memory_order_acquire)) {
    case LS_CUT_WANTED:
        if (executor->done != executor->count)
            return 0; /* sessions are ahead of their results */
        atomic_store_explicit(&seam->cut_sessions, false, memory_order_relaxed);
        seam->cut_error = cut_open(executor);
        atomic_store_explicit(&seam->cut_state, seam->cut_error == 0 ? LS_CUT_OPEN : LS_CUT_REFUSED,
                              memory_order_release);
        return 1;
    case LS_CUT_OPEN:
        if (atomic_load_explicit(&seam->cut_sessions, memory_order_relaxed))
            return 0;
        copied = ls_sessions_image_step(executor->sessions);
        if (ls_sessions_image_whole(executor->sessions))
            atomic_store_explicit(&seam->cut_sessions, true, memory_order_release);
        return copied + 1;
    case LS_CUT_ENDING:
        executor->type->checkpoint_end(executor->machine);
        ls_sessions_image_end(executor->sessions);
        atomic_store_explicit(&seam->cut_sessions, false, memory_order_relaxed);
        atomic_store_explicit(&seam->cut_state, LS_CUT_NONE, memory_order_release);
        return 1;
    default:
        return 0;
    }
}

static void image_swap(struct ls_executor *executor, struct ls_image *image)
{
    struct ls_machine *machine = executor->machine;
    struct ls_sessions *sessions = executor->sessions;
    /* C2: net has refused anything else */
    assert((image->cut.position >= executor->applied && image->cut.seq >= executor->applied_seq) ||
           ls_mutant(REBASE_OLDER));
    executor->machine = image->machine;
    executor->sessions = image->sessions;
    image->machine = machine;
    image->sessions = sessions;

    executor->count = 0;
    executor->done = 0;
    executor->cut = image->cut;
    executor->applied = executor->end = image->cut.position;
    executor->applied_seq = image->cut.seq;
    ls_sessions_attach(executor->sessions, executor->seam->sessions, executor->seam->sessions_max);
    atomic_store_explicit(&executor->seam->window,
                          ls_sessions_limited(executor->sessions) ? ls_sessions_window(executor->sessions) : 0,
                          memory_order_relaxed);
    applied_publish(executor);
    digest_publish(executor);
}

/* Net's image, if there is one; returns the work count. */
static uint32_t image_turn(struct ls_executor *executor)
{
    struct ls_seam *seam = executor->seam;
    if (!atomic_load_explicit(&seam->image, memory_order_relaxed))
        return 0;
    uint32_t cut = atomic_load_explicit(&seam->cut_state, memory_order_acquire);
    if (cut == LS_CUT_OPEN || cut == LS_CUT_ENDING)
        return 0; /* bulk reads the machine that would go */
    /* acquire: pairs with net's release behind the image; release: net takes it back as it is now */
    image_swap(executor, atomic_load_explicit(&seam->image, memory_order_acquire));
    atomic_store_explicit(&seam->image, NULL, memory_order_release);
    return 1;
}

const uint8_t *ls_executor_sessions_image(const struct ls_executor *executor, size_t *size)
{
    return ls_sessions_image(executor->sessions, size);
}

struct ls_sessions *ls_executor_sessions_restore(const uint8_t *bytes, size_t size, uint32_t capacity)
{
    return ls_sessions_restore(bytes, size, capacity);
}

uint32_t ls_executor_turn(struct ls_executor *executor, uint64_t now_ns)
{
    uint32_t others = image_turn(executor) + cut_turn(executor);
    executor->serving = atomic_load_explicit(&executor->seam->serving, memory_order_acquire);
    uint32_t executed = burst_run(executor, now_ns);
    uint32_t work = executed + repeats_run(executor) + others;
    replies_flush(executor);
    executor->type->reclaim(executor->machine);
    if (executed == 0 && executor->done == executor->count && executor->digest_seq != executor->applied_seq &&
        executor->applied == atomic_load_explicit(&executor->seam->commit, memory_order_relaxed))
        digest_publish(executor);
    return work;
}
