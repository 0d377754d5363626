/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The decorator of disks; see disk_fault.h. On the writer's thread, but for ls_disk_fault_post().
 *
 * A write that a fault acts on becomes an operation: pieces that are given to the inner disk one after another, each
 * when it is due, under the operation's own cookie. It is done when the last piece is.
 */
#include "disk_fault.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/dice.h"
#include "writer.h"

#define OPERATIONS  (LS_JOURNAL_WRITES_MAX + 1) /* as many as a writer has under way: the state is one more */
#define PIECES_MAX  4
#define COOKIES     0x10000ull /* operations' begin here, above the writer's */
#define TORN_GAP_NS 200000ull  /* between two pieces, at most, where no delay is set */

struct piece {
    uint64_t due_ns;
    uint32_t from, length; /* of the write's bytes */
    bool rotten;           /* from the operation's copy */
};

struct operation {
    bool used;
    uint64_t cookie, segment, offset;
    const uint8_t *bytes;
    int error;
    uint32_t pieces, begun, ended;
    struct piece piece[PIECES_MAX]; /* in the order of their times */
    uint64_t due_ns;                /* not called done before then */
    uint8_t *copy;                  /* one block */
};

struct ls_disk_fault {
    struct ls_journal_disk disk; /* first: the functions cast */
    struct ls_journal_disk *inner;
    uint64_t segment_size;
    uint64_t (*clock_ns)(void *user);
    void *user;
    /* The mailbox: the poster fills `mail`, then raises `posted` (release); the writer's thread takes it (acquire), and
     * then raises `taken` (release), which the poster loads (acquire) before it writes again. */
    struct ls_control_disk_fault mail;
    _Atomic uint64_t posted, taken;
    /* the writer's thread */
    bool active; /* faults are set, or something is held back */
    bool is_set;
    struct ls_control_disk_fault settings;
    uint64_t dice;
    uint64_t count;
    uint64_t segments; /* there are those below */
    struct operation operation[OPERATIONS];
    uint32_t running;
    struct ls_journal_done withheld[2 * OPERATIONS]; /* ended while all hangs */
    uint32_t withhold;
    uint8_t *copies;
};

/* ---- settings ---- */

int ls_disk_fault_check(const struct ls_control_disk_fault *s, char *error, size_t error_size)
{
    const struct {
        const char *name;
        uint64_t value, max;
    } bounds[] = {
        {"error (per million)", s->error, LS_MILLION},
        {"cut (per million)", s->cut, LS_MILLION},
        {"torn (per million)", s->torn, LS_MILLION},
        {"lost (per million)", s->lost, LS_MILLION},
        {"rot (per million)", s->rot, LS_MILLION},
        {"misplaced (per million)", s->misplaced, LS_MILLION},
        {"full (yes or no)", s->full, 1},
        {"hang (yes or no)", s->hang, 1},
        {"delay (ns)", s->delay, LS_DISK_FAULT_DELAY_MAX_NS},
        {"jitter (ns)", s->jitter, LS_DISK_FAULT_DELAY_MAX_NS},
    };
    for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
        if (bounds[i].value <= bounds[i].max)
            continue;
        snprintf(error, error_size, "disk fault: %s is %" PRIu64 ": allowed are 0 to %" PRIu64, bounds[i].name,
                 bounds[i].value, bounds[i].max);
        return -EINVAL;
    }
    return 0;
}

static void active_update(struct ls_disk_fault *f)
{
    f->active = f->is_set || f->running > 0 || f->withhold > 0;
    f->disk.wakes = f->inner->wakes && !f->active; /* else nobody would look when something is due */
}

int ls_disk_fault_set(struct ls_disk_fault *f, const struct ls_control_disk_fault *s)
{
    if (ls_disk_fault_check(s, NULL, 0) != 0)
        return -EINVAL;
    f->settings = *s;
    f->dice = s->seed;
    f->is_set = (s->error | s->cut | s->torn | s->lost | s->rot | s->misplaced | s->full | s->hang) != 0 ||
                s->delay != 0 || s->jitter != 0;
    active_update(f);
    return 0;
}

int ls_disk_fault_post(struct ls_disk_fault *f, const struct ls_control_disk_fault *s)
{
    uint64_t posted = atomic_load_explicit(&f->posted, memory_order_relaxed);
    if (ls_disk_fault_check(s, NULL, 0) != 0)
        return -EINVAL;
    if (atomic_load_explicit(&f->taken, memory_order_acquire) != posted)
        return -EAGAIN;
    f->mail = *s;
    atomic_store_explicit(&f->posted, posted + 1, memory_order_release);
    return 0;
}

static void post_take(struct ls_disk_fault *f)
{
    uint64_t posted = atomic_load_explicit(&f->posted, memory_order_acquire);
    if (posted == atomic_load_explicit(&f->taken, memory_order_relaxed))
        return;
    (void)ls_disk_fault_set(f, &f->mail); /* it was checked */
    atomic_store_explicit(&f->taken, posted, memory_order_release);
}

/* ---- what becomes of a write ---- */

static uint64_t delay_draw(struct ls_disk_fault *f)
{
    return f->settings.delay + (f->settings.jitter != 0 ? ls_dice_below(&f->dice, f->settings.jitter + 1) : 0);
}

static void piece_add(struct operation *o, uint32_t from, uint32_t length, bool rotten)
{
    if (length > 0)
        o->piece[o->pieces++] = (struct piece){.due_ns = o->due_ns, .from = from, .length = length, .rotten = rotten};
}

static uint32_t block_draw(struct ls_disk_fault *f, uint32_t length)
{
    return (uint32_t)ls_dice_below(&f->dice, length / LS_JOURNAL_BLOCK) * LS_JOURNAL_BLOCK;
}

static void rot(struct ls_disk_fault *f, struct operation *o, uint32_t length)
{
    uint32_t at = block_draw(f, length);
    uint64_t bit = ls_dice_below(&f->dice, 8ull * LS_JOURNAL_BLOCK);
    memcpy(o->copy, o->bytes + at, LS_JOURNAL_BLOCK);
    o->copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
    piece_add(o, 0, at, false);
    piece_add(o, at, LS_JOURNAL_BLOCK, true);
    piece_add(o, at + LS_JOURNAL_BLOCK, length - at - LS_JOURNAL_BLOCK, false);
}

/* In another place of its segment, or of the state: whole blocks, inside of it. */
static void misplace(struct ls_disk_fault *f, struct operation *o, uint32_t length)
{
    uint64_t size = o->segment == LS_JOURNAL_STATE ? 2 * LS_JOURNAL_BLOCK : f->segment_size;
    uint64_t places = (size - length) / LS_JOURNAL_BLOCK; /* beside its own */
    if (places > 0) {
        uint64_t place = ls_dice_below(&f->dice, places) * LS_JOURNAL_BLOCK;
        o->offset = place < o->offset ? place : place + LS_JOURNAL_BLOCK;
    }
    piece_add(o, 0, length, false);
}

static void tear(struct ls_disk_fault *f, struct operation *o, uint32_t length)
{
    uint32_t blocks = length / LS_JOURNAL_BLOCK, n = blocks < PIECES_MAX ? blocks : PIECES_MAX;
    uint32_t order[PIECES_MAX] = {0};
    uint64_t gap = f->settings.delay + f->settings.jitter;
    for (uint32_t i = 0; i < n; i++) { /* any order of them is as likely */
        uint32_t j = (uint32_t)ls_dice_below(&f->dice, i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    gap = gap != 0 ? gap : TORN_GAP_NS;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t from = blocks * order[i] / n * LS_JOURNAL_BLOCK, to = blocks * (order[i] + 1) / n * LS_JOURNAL_BLOCK;
        piece_add(o, from, to - from, false);
        o->due_ns += ls_dice_below(&f->dice, gap + 1);
    }
}

/* Has a fault acted on it, beside the time that it takes? */
static bool fate_draw(struct ls_disk_fault *f, struct operation *o, uint32_t length)
{
    const struct ls_control_disk_fault *s = &f->settings;
    if (ls_dice_happens(&f->dice, s->error)) {
        o->error = -EIO;
    } else if (ls_dice_happens(&f->dice, s->cut)) {
        o->error = -EIO;
        piece_add(o, 0, block_draw(f, length), false);
    } else if (ls_dice_happens(&f->dice, s->lost)) {
        ;
    } else if (ls_dice_happens(&f->dice, s->misplaced)) {
        misplace(f, o, length);
    } else if (ls_dice_happens(&f->dice, s->rot)) {
        rot(f, o, length);
    } else if (ls_dice_happens(&f->dice, s->torn)) {
        tear(f, o, length);
    } else {
        piece_add(o, 0, length, false);
        return false;
    }
    return true;
}

static int fault_write(struct ls_journal_disk *disk, uint64_t segment, uint64_t offset, const void *bytes,
                       uint32_t length, uint64_t cookie)
{
    struct ls_disk_fault *f = (struct ls_disk_fault *)disk;
    uint32_t i = 0;
    if (!f->is_set)
        return f->inner->write(f->inner, segment, offset, bytes, length, cookie);
    while (i < OPERATIONS && f->operation[i].used)
        i++;
    if (i == OPERATIONS)
        return -EAGAIN;
    struct operation *o = &f->operation[i];
    uint64_t delay = delay_draw(f);
    *o = (struct operation){.used = true,
                            .cookie = cookie,
                            .segment = segment,
                            .offset = offset,
                            .bytes = bytes,
                            .due_ns = f->clock_ns(f->user) + delay,
                            .copy = f->copies + (size_t)i * LS_JOURNAL_BLOCK};
    f->running++;
    f->count += fate_draw(f, o, length) || delay > 0 || f->settings.hang;
    active_update(f);
    return 0;
}

/* ---- turns ---- */

static void pieces_begin(struct ls_disk_fault *f, struct operation *o, uint64_t cookie, uint64_t now_ns)
{
    while (o->begun < o->pieces && o->piece[o->begun].due_ns <= now_ns) {
        const struct piece *piece = &o->piece[o->begun];
        int error = f->inner->write(f->inner, o->segment, o->offset + piece->from,
                                    piece->rotten ? o->copy : o->bytes + piece->from, piece->length, cookie);
        if (error == -EAGAIN)
            return;
        o->begun++;
        if (error == 0)
            continue;
        o->ended++;
        o->error = error;
    }
}

static bool is_done(const struct operation *o, uint64_t now_ns)
{
    return o->used && o->ended == o->pieces && now_ns >= o->due_ns;
}

static struct ls_journal_done done_take(struct ls_disk_fault *f, struct operation *o)
{
    if (o->error != 0 && f->disk.problem[0] == '\0')
        snprintf(f->disk.problem, sizeof(f->disk.problem), "a write of the journal failed by a fault on purpose: %s",
                 strerror(-o->error));
    o->used = false;
    f->running--;
    return (struct ls_journal_done){.cookie = o->cookie, .error = o->error};
}

/* What the inner disk says: of operations it ends pieces, everything else is handed on. */
static uint32_t inner_turn(struct ls_disk_fault *f, struct ls_journal_done *done, uint32_t max)
{
    struct ls_journal_done got[OPERATIONS];
    uint32_t n = 0, m = f->inner->turn(f->inner, got, max < OPERATIONS ? max : OPERATIONS);
    for (uint32_t i = 0; i < m; i++) {
        if (got[i].cookie < COOKIES || got[i].cookie >= COOKIES + OPERATIONS) {
            done[n++] = got[i];
            continue;
        }
        struct operation *o = &f->operation[got[i].cookie - COOKIES];
        o->ended++;
        if (got[i].error != 0)
            o->error = got[i].error;
    }
    return n;
}

static uint32_t faulty_turn(struct ls_disk_fault *f, struct ls_journal_done *done, uint32_t max)
{
    uint64_t now_ns = f->clock_ns(f->user);
    if (f->settings.hang) {
        f->withhold += inner_turn(f, f->withheld + f->withhold, 2 * OPERATIONS - f->withhold);
        return 0;
    }
    uint32_t n = 0, left = 0;
    for (uint32_t i = 0; i < f->withhold; i++) {
        if (n < max)
            done[n++] = f->withheld[i];
        else
            f->withheld[left++] = f->withheld[i];
    }
    f->withhold = left;
    for (uint32_t i = 0; i < OPERATIONS; i++)
        if (f->operation[i].used)
            pieces_begin(f, &f->operation[i], COOKIES + i, now_ns);
    n += inner_turn(f, done + n, max - n);
    for (uint32_t i = 0; i < OPERATIONS && n < max; i++)
        if (is_done(&f->operation[i], now_ns))
            done[n++] = done_take(f, &f->operation[i]);
    return n;
}

static uint32_t fault_turn(struct ls_journal_disk *disk, struct ls_journal_done *done, uint32_t max)
{
    struct ls_disk_fault *f = (struct ls_disk_fault *)disk;
    post_take(f);
    uint32_t n = f->active ? faulty_turn(f, done, max) : f->inner->turn(f->inner, done, max);
    active_update(f);
    return n;
}

static int fault_segment(struct ls_journal_disk *disk, uint64_t number)
{
    struct ls_disk_fault *f = (struct ls_disk_fault *)disk;
    if (f->settings.full && number >= f->segments) {
        snprintf(f->disk.problem, sizeof(f->disk.problem),
                 "segment %" PRIu64 " cannot be made, by a fault on purpose: %s", number, strerror(ENOSPC));
        f->count++;
        return -ENOSPC;
    }
    int there = f->inner->segment(f->inner, number);
    if (there == 1 && number >= f->segments)
        f->segments = number + 1;
    if (there < 0)
        memcpy(f->disk.problem, f->inner->problem, sizeof(f->disk.problem));
    return there;
}

static void fault_trim(struct ls_journal_disk *disk, uint64_t number)
{
    struct ls_disk_fault *f = (struct ls_disk_fault *)disk;
    f->inner->trim(f->inner, number);
}

static int fault_read(struct ls_journal_disk *disk, uint64_t segment, uint64_t offset, void *bytes, uint32_t length)
{
    struct ls_disk_fault *f = (struct ls_disk_fault *)disk;
    int got = f->inner->read(f->inner, segment, offset, bytes, length);
    if (got < 0)
        memcpy(f->disk.problem, f->inner->problem, sizeof(f->disk.problem));
    return got;
}

/* ---- life ---- */

struct ls_disk_fault *ls_disk_fault_create(struct ls_journal_disk *inner, uint64_t segment_size,
                                           uint64_t (*clock_ns)(void *user), void *user)
{
    struct ls_disk_fault *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return NULL;
    f->copies = aligned_alloc(LS_JOURNAL_BLOCK, (size_t)OPERATIONS * LS_JOURNAL_BLOCK);
    if (f->copies == NULL) {
        free(f);
        errno = ENOMEM;
        return NULL;
    }
    f->disk = (struct ls_journal_disk){
        .write = fault_write, .turn = fault_turn, .segment = fault_segment, .trim = fault_trim, .read = fault_read};
    f->inner = inner;
    f->segment_size = segment_size;
    f->clock_ns = clock_ns;
    f->user = user;
    active_update(f);
    return f;
}

void ls_disk_fault_destroy(struct ls_disk_fault *f)
{
    if (f == NULL)
        return;
    free(f->copies);
    free(f);
}

struct ls_journal_disk *ls_disk_fault_disk(struct ls_disk_fault *f)
{
    return &f->disk;
}

uint64_t ls_disk_fault_next_ns(const struct ls_disk_fault *f)
{
    uint64_t next = UINT64_MAX;
    if (f->settings.hang)
        return next;
    if (f->withhold > 0)
        return 0;
    for (uint32_t i = 0; i < OPERATIONS; i++) {
        const struct operation *o = &f->operation[i];
        if (!o->used || (o->begun == o->pieces && o->ended < o->begun))
            continue; /* the inner disk has it */
        uint64_t due_ns = o->begun < o->pieces ? o->piece[o->begun].due_ns : o->due_ns;
        next = due_ns < next ? due_ns : next;
    }
    return next;
}

uint64_t ls_disk_fault_count(const struct ls_disk_fault *f)
{
    return f->count;
}
