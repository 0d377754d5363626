/* SPDX-License-Identifier: BSD-3-Clause */
/* The journal's writer. See writer.h. One thread. */
#include "writer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mutant.h"

#define STATE_COOKIE    UINT64_MAX
#define WRITE_MAX       (1024u * 1024)
#define HOLD_BYTES      (64u * 1024)
#define HOLD_BEHIND     (1024u * 1024)
#define HOLD_MAX_NS     500000ull
#define HOLD_BEHIND_NS  5000000ull
#define MARK_BYTES      (4ull * 1024 * 1024)
#define MARK_IDLE_NS    5000000ull
#define SEGMENT_WAIT_NS 200000ull  /* one is being made beside this worker */
#define WOKEN_WAIT_NS   5000000ull /* a look now and then, where the disk wakes */

/* Positions [begin, end) become durable with it; the blocks around them are what is written. */
struct write {
    uint64_t begin, end;
    uint64_t since_ns;
    bool done;
};

struct ls_journal {
    struct ls_journal_config config;
    struct ls_journal_disk *disk;
    const struct ls_log *log;
    struct ls_seam *seam;
    struct write write[LS_JOURNAL_WRITES_MAX]; /* ring, in the order of positions */
    uint32_t head, tail;
    uint64_t submitted; /* everything below is durable or on its way */
    uint64_t durable;
    uint64_t entry;   /* an entry's end, as far as it is durable */
    uint64_t pending; /* a later one, of when it was looked at; becomes `entry`; 0: none */
    uint64_t taken;   /* what net asked for last and was done */
    uint64_t asked;   /* and what is being done; == taken: nothing */
    /* the state */
    uint8_t *block;                /* of the slot being written */
    struct ls_journal_state state; /* as it is on the disk, or on its way there */
    bool state_runs;
    bool owned; /* the disk knows whose journal it is now: before that nothing is called durable */
    bool finishing, finished;
    uint64_t moved_ns; /* when durable last rose */
    uint64_t seen_end; /* where the log ended at the last look, */
    uint64_t held_ns;  /* and since when bytes are held back; 0: none are */
    uint64_t mean_ns;  /* what a write takes */
    uint64_t wait_ns;  /* a segment was not there: not before then */
    int error;
    struct ls_journal_stats stats;
};

static uint64_t down(uint64_t position)
{
    return position & ~(uint64_t)(LS_JOURNAL_BLOCK - 1);
}

static uint64_t up(uint64_t position)
{
    return down(position + LS_JOURNAL_BLOCK - 1);
}

struct ls_journal *ls_journal_create(const struct ls_journal_config *config, const struct ls_journal_state *state,
                                     struct ls_journal_disk *disk, const struct ls_log *log, struct ls_seam *seam)
{
    if (config->identity.segment_size == 0 || config->identity.segment_size % LS_JOURNAL_BLOCK != 0 ||
        config->incarnation == 0 || config->writes_max > LS_JOURNAL_WRITES_MAX ||
        config->write_max % LS_JOURNAL_BLOCK != 0) {
        errno = EINVAL;
        return NULL;
    }
    struct ls_journal *j = calloc(1, sizeof(*j));
    if (j == NULL)
        return NULL;
    j->block = aligned_alloc(LS_JOURNAL_BLOCK, LS_JOURNAL_BLOCK);
    if (j->block == NULL) {
        free(j);
        errno = ENOMEM;
        return NULL;
    }
    j->config = *config;
    j->config.writes_max = config->writes_max != 0 ? config->writes_max : 8;
    j->config.write_max = config->write_max != 0 ? config->write_max : WRITE_MAX;
    uint64_t mark = log->size / 8 < MARK_BYTES ? log->size / 8 : MARK_BYTES;
    j->config.mark_bytes = config->mark_bytes != 0 ? config->mark_bytes : mark;
    if (config->hold_ns == 0 && config->behind)
        j->config.hold_ns = HOLD_BEHIND_NS;
    j->config.mark_idle_ns = config->mark_idle_ns != 0 ? config->mark_idle_ns : MARK_IDLE_NS;
    j->disk = disk;
    j->log = log;
    j->seam = seam;
    j->state = *state;
    j->state.identity = config->identity;
    if (state->number == 0)
        j->state.base = (struct ls_journal_base){
            .position = log->base, .seq = log->base_seq, .time = log->base_time, .chain = log->base_chain};
    j->state.clean = 0;
    j->submitted = j->durable = j->entry = log->end;
    atomic_store_explicit(&seam->durable, state->number != 0 ? j->durable : 0, memory_order_relaxed);
    atomic_store_explicit(&seam->marked, state->commit, memory_order_relaxed);
    return j;
}

void ls_journal_destroy(struct ls_journal *j)
{
    if (j == NULL)
        return;
    free(j->block);
    free(j);
}

static void fail(struct ls_journal *j, int error)
{
    if (j->error != 0)
        return;
    j->error = error;
    atomic_store_explicit(&j->seam->journal_error, (uint32_t)-error, memory_order_release);
}

/* While something is asked it is of bytes that are others by now. Release: pairs with net's acquire. */
static void durable_publish(struct ls_journal *j)
{
    if (j->asked == j->taken && j->owned)
        atomic_store_explicit(&j->seam->durable, j->durable, memory_order_release);
}

/* Has net asked for something that is not even begun? */
static bool is_asked(const struct ls_journal *j)
{
    return atomic_load_explicit(&j->seam->journal_asked, memory_order_relaxed) != j->asked;
}

/* ---- completions ---- */

static void state_done(struct ls_journal *j)
{
    j->state_runs = false;
    j->owned = true;
    j->stats.states++;
    if (j->state.clean != 0)
        j->finished = true;
    /* Release: net, which acquires, may let go of what lies below. */
    atomic_store_explicit(&j->seam->marked, j->state.commit, memory_order_release);
    durable_publish(j);
}

static void write_done(struct ls_journal *j, uint64_t cookie, uint64_t now_ns)
{
    struct write *write = &j->write[cookie % LS_JOURNAL_WRITES_MAX];
    assert(cookie < LS_JOURNAL_WRITES_MAX && !write->done);
    write->done = true;
    uint64_t took = now_ns - write->since_ns;
    j->mean_ns = j->mean_ns == 0 ? took : j->mean_ns - j->mean_ns / 8 + took / 8;
    if (took > j->stats.longest_ns)
        j->stats.longest_ns = took;
}

static uint32_t completions(struct ls_journal *j, uint64_t now_ns)
{
    struct ls_journal_done done[LS_JOURNAL_WRITES_MAX + 1];
    uint32_t n = j->disk->turn(j->disk, done, LS_JOURNAL_WRITES_MAX + 1);
    for (uint32_t i = 0; i < n; i++) {
        if (done[i].error != 0 && !ls_mutant(DISK_ERROR_IGNORED))
            fail(j, done[i].error);
        else if (done[i].cookie == STATE_COOKIE)
            state_done(j);
        else
            write_done(j, done[i].cookie, now_ns);
    }
    return n;
}

static void durable_advance(struct ls_journal *j, uint64_t now_ns)
{
    uint64_t before = j->durable;
    while (j->head != j->tail && j->write[j->head % LS_JOURNAL_WRITES_MAX].done)
        j->durable = j->write[j->head++ % LS_JOURNAL_WRITES_MAX].end;
    if (j->durable == before)
        return;
    j->moved_ns = now_ns;
    if (j->pending != 0 && j->durable >= j->pending) {
        j->entry = j->pending;
        j->pending = 0;
    }
    if (j->durable == atomic_load_explicit(&j->log->published_end, memory_order_relaxed)) {
        j->entry = j->durable; /* nothing more is there that would bring another one */
        j->pending = 0;
    }
    durable_publish(j);
}

/* ---- the state ---- */

static void state_write(struct ls_journal *j)
{
    struct ls_journal_state next = j->state;
    /* Acquire: a commit that belongs to a log which net has begun anew brings the news of that with it. */
    uint64_t commit = atomic_load_explicit(&j->seam->commit, memory_order_acquire);
    if (is_asked(j))
        return;
    next.number++;
    next.incarnation = j->config.incarnation;
    next.since = j->config.behind && next.clean == 0 ? 0 : j->config.since;
    next.durable = j->entry;
    next.commit = commit < j->entry ? commit : j->entry;
    if (next.commit < next.base.position)
        next.commit = next.base.position;
    ls_journal_state_write(&next, j->block);
    int error = j->disk->write(j->disk, LS_JOURNAL_STATE, (next.number & 1) * LS_JOURNAL_BLOCK, j->block,
                               LS_JOURNAL_BLOCK, STATE_COOKIE);
    if (error == -EAGAIN)
        return;
    if (error != 0) {
        fail(j, error);
        return;
    }
    j->state = next;
    j->state_runs = true;
}

static bool mark_is_due(const struct ls_journal *j, uint64_t now_ns)
{
    if (!j->owned)
        return true;
    uint64_t commit = atomic_load_explicit(&j->seam->commit, memory_order_relaxed);
    commit = commit < j->entry ? commit : j->entry;
    if (j->entry == j->state.durable && commit <= j->state.commit)
        return false;
    if (j->entry >= j->state.durable + j->config.mark_bytes || commit >= j->state.commit + j->config.mark_bytes)
        return true;
    if (j->state.commit == j->state.base.position && commit > j->state.commit)
        return true; /* the first one: from here on a majority is enough to begin again */
    return now_ns - j->moved_ns >= j->config.mark_idle_ns;
}

/* ---- what net asks for ---- */

/* Everything that runs has ended: what was written from `from` on is forgotten, on the disk first. */
static void ask_begin(struct ls_journal *j)
{
    struct ls_seam *seam = j->seam;
    /* Acquire: pairs with net's release behind the fields, which stay as they are until `taken` equals it. */
    j->asked = atomic_load_explicit(&seam->journal_asked, memory_order_acquire);
    uint64_t from = atomic_load_explicit(&seam->journal_from, memory_order_relaxed);
    struct ls_journal_base base = {.position = atomic_load_explicit(&seam->journal_base, memory_order_relaxed),
                                   .seq = atomic_load_explicit(&seam->journal_base_seq, memory_order_relaxed),
                                   .time = atomic_load_explicit(&seam->journal_base_time, memory_order_relaxed),
                                   .chain = atomic_load_explicit(&seam->journal_base_chain, memory_order_relaxed)};
    if (base.position > j->state.base.position) {
        j->state.base = base;
        j->durable = j->entry = base.position;
    } else if (from < j->durable) {
        j->durable = from;
        if (j->entry > from)
            j->entry = from; /* an entry's end: net has dropped whole ones */
    }
    j->submitted = j->durable;
    j->pending = 0;
    state_write(j);
    if (!j->state_runs && j->error == 0)
        j->asked = j->taken; /* the disk is busy: again in the next turn */
}

static void ask_end(struct ls_journal *j)
{
    j->taken = j->asked;
    j->disk->trim(j->disk, j->state.base.position / j->config.identity.segment_size);
    atomic_store_explicit(&j->seam->durable, j->durable, memory_order_release);
    /* Release: whoever sees it sees `durable` and `marked` as they were lowered. */
    atomic_store_explicit(&j->seam->journal_taken, j->taken, memory_order_release);
}

static uint32_t asks(struct ls_journal *j)
{
    if (j->asked != j->taken) {
        if (j->state_runs)
            return 0;
        ask_end(j);
        return 1;
    }
    if (!is_asked(j))
        return 0;
    if (j->head != j->tail || j->state_runs)
        return 0;
    ask_begin(j);
    return 1;
}

/* ---- writing ---- */

/* A write costs much the same for a few bytes and for many. While each turn brings more, or another write runs, they
 * are left to come together, not longer than a write takes; a turn that brings none begins one alone at once. Where
 * nobody waits for the disk they come together for as long as may be lost, unless an answer that waits for disks is
 * among them. */
static bool is_held(struct ls_journal *j, uint64_t end, uint64_t now_ns)
{
    bool behind = j->config.behind, grows = end != j->seen_end;
    uint64_t hold_ns = j->config.hold_ns, hold_bytes = behind ? HOLD_BEHIND : HOLD_BYTES;
    if (hold_ns == 0)
        hold_ns = j->mean_ns < HOLD_MAX_NS ? j->mean_ns : HOLD_MAX_NS;
    j->seen_end = end;
    if (j->held_ns == 0)
        j->held_ns = now_ns;
    bool hurries = behind && atomic_load_explicit(&j->log->hurry, memory_order_relaxed) > j->submitted;
    bool runs = j->head != j->tail;
    return (grows || behind || runs) && !hurries && end - j->submitted < hold_bytes && now_ns - j->held_ns < hold_ns &&
           !j->finishing;
}

/* What the next write covers; false: nothing, or not now. */
static bool next_write(struct ls_journal *j, struct write *write, uint64_t now_ns)
{
    uint64_t size = j->config.identity.segment_size;
    /* Acquire: pairs with net's release behind the bytes. */
    uint64_t end = atomic_load_explicit(&j->log->published_end, memory_order_acquire);
    if (end <= j->submitted || is_asked(j))
        return false; /* or it is the end of a log that begins anew */
    if (j->pending == 0)
        j->pending = end;
    uint64_t begin = down(j->submitted);
    if (j->head != j->tail && begin < up(j->write[(j->tail - 1) % LS_JOURNAL_WRITES_MAX].end))
        return false; /* the block that it begins in is being written */
    if (is_held(j, end, now_ns))
        return false;
    uint64_t limit = (begin / size + 1) * size;
    if (limit > begin + j->config.write_max)
        limit = begin + j->config.write_max;
    if (end > limit)
        end = limit;
    else if (down(end) > j->submitted)
        end = down(end); /* the rest goes beside it, and only that one has to be waited for */
    *write = (struct write){.begin = j->submitted, .end = end};
    return true;
}

static bool write_begin(struct ls_journal *j, struct write *write, uint64_t now_ns)
{
    uint64_t size = j->config.identity.segment_size;
    uint64_t begin = down(write->begin);
    int ready = j->disk->segment(j->disk, begin / size);
    if (ready <= 0) {
        if (ready < 0)
            fail(j, ready);
        j->wait_ns = now_ns + SEGMENT_WAIT_NS;
        return false;
    }
    uint32_t slot = j->tail % LS_JOURNAL_WRITES_MAX;
    uint32_t length = (uint32_t)(up(write->end) - begin);
    int error = j->disk->write(j->disk, begin / size, begin % size, ls_log_at(j->log, begin), length, slot);
    if (error != 0) {
        if (error != -EAGAIN)
            fail(j, error);
        return false;
    }
    write->since_ns = now_ns;
    j->write[slot] = *write;
    j->tail++;
    j->submitted = write->end;
    j->held_ns = 0;
    j->stats.writes++;
    j->stats.bytes += length;
    return true;
}

uint32_t ls_journal_poll(struct ls_journal *j, uint64_t now_ns)
{
    uint32_t work = completions(j, now_ns);
    if (j->error != 0)
        return work;
    durable_advance(j, now_ns);
    work += asks(j);
    if (j->asked != j->taken || is_asked(j))
        return work;
    if (!j->state_runs && !j->finishing && mark_is_due(j, now_ns)) {
        state_write(j);
        work += j->state_runs;
    }
    struct write write;
    uint32_t begun = 0;
    while (now_ns >= j->wait_ns && j->tail - j->head < j->config.writes_max && next_write(j, &write, now_ns) &&
           write_begin(j, &write, now_ns))
        begun++;
    if (begun > 0 || j->state_runs)
        work += completions(j, now_ns); /* on their way at once */
    return work + begun;
}

uint64_t ls_journal_next_ns(const struct ls_journal *j, uint64_t now_ns)
{
    if (j->error != 0 || j->finished)
        return UINT64_MAX;
    if (j->asked != j->taken || is_asked(j))
        return now_ns;
    if (j->head != j->tail || j->state_runs)
        return j->disk->wakes ? now_ns + WOKEN_WAIT_NS : now_ns;
    if (atomic_load_explicit(&j->log->published_end, memory_order_relaxed) > j->submitted) {
        uint64_t next = j->config.behind && j->held_ns != 0 ? j->held_ns + j->config.hold_ns : now_ns;
        next = next > j->wait_ns ? next : j->wait_ns;
        return next > now_ns ? next : now_ns;
    }
    if (mark_is_due(j, UINT64_MAX))
        return mark_is_due(j, now_ns) ? now_ns : j->moved_ns + j->config.mark_idle_ns;
    return UINT64_MAX;
}

bool ls_journal_is_owned(const struct ls_journal *j)
{
    return j->owned;
}

bool ls_journal_finish(struct ls_journal *j, uint64_t now_ns)
{
    j->finishing = true;
    (void)ls_journal_poll(j, now_ns);
    if (j->error != 0 || j->finished)
        return true;
    uint64_t end = atomic_load_explicit(&j->log->published_end, memory_order_acquire);
    if (j->durable < end || j->head != j->tail || j->state_runs || j->asked != j->taken)
        return false;
    j->entry = end;
    j->state.clean = 1;
    state_write(j);
    return false;
}

bool ls_journal_is_clean(const struct ls_journal *j)
{
    return j->finished;
}

uint64_t ls_journal_trim(struct ls_journal *j, uint64_t position)
{
    if (j->state_runs || !j->owned)
        return 0; /* not known yet what the disk knows */
    position = position < j->state.durable ? position : j->state.durable;
    j->disk->trim(j->disk, position / j->config.identity.segment_size);
    return position;
}

void ls_journal_stats(const struct ls_journal *j, struct ls_journal_stats *stats)
{
    *stats = j->stats;
    stats->running = j->tail - j->head;
    stats->entry = j->entry;
    stats->oldest_ns = j->head != j->tail ? j->write[j->head % LS_JOURNAL_WRITES_MAX].since_ns : 0;
}
