/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The byte-stream log on a twice-mapped ring, its epoch table, its memberships and its index from seq to position.
 * Owned by the net worker; see log.h for who may read what.
 */
#include "log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mutant.h"
#include "wire.h"

static uint64_t round_up_power(uint64_t n)
{
    uint64_t p = 1;
    while (p < n)
        p <<= 1;
    return p;
}

/* One memfd, mapped twice side by side inside a reservation, so that byte i and byte i + size are the same memory. */
static uint8_t *map_twice(uint64_t size)
{
    int fd = memfd_create("lockstep-log", MFD_CLOEXEC);
    if (fd < 0)
        return NULL;
    uint8_t *base = MAP_FAILED;
    if (ftruncate(fd, (off_t)size) == 0)
        base = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base != MAP_FAILED) {
        for (uint64_t i = 0; i < 2; i++) {
            if (mmap(base + i * size, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
                munmap(base, 2 * size);
                base = MAP_FAILED;
                break;
            }
        }
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return base == MAP_FAILED ? NULL : base;
}

int ls_log_init(struct ls_log *log, uint64_t size)
{
    memset(log, 0, sizeof(*log));
    size = round_up_power(size < LS_LOG_SIZE_MIN ? LS_LOG_SIZE_MIN : size);
    /* Every held entry has its place in the index: the smallest one takes sizeof(struct ls_entry). */
    uint64_t places = size / sizeof(struct ls_entry);
    struct ls_log_entry_place *index =
        mmap(NULL, places * sizeof(*index), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (index == MAP_FAILED)
        return -errno;
    uint8_t *ring = map_twice(size);
    if (ring == NULL) {
        int error = -errno;
        munmap(index, places * sizeof(*index));
        return error;
    }
    /* A hint: where huge pages exist for shared memory it saves TLB misses, elsewhere it changes nothing. */
    (void)madvise(ring, 2 * size, MADV_HUGEPAGE);
    log->ring = ring;
    log->size = size;
    log->mask = size - 1;
    log->index = index;
    log->index_mask = places - 1;
    ls_log_reset(log);
    return 0;
}

void ls_log_free(struct ls_log *log)
{
    if (log->ring != NULL)
        munmap(log->ring, 2 * log->size);
    if (log->index != NULL)
        munmap(log->index, (log->index_mask + 1) * sizeof(*log->index));
    memset(log, 0, sizeof(*log));
}

static void publish(struct ls_log *log)
{
    atomic_store_explicit(&log->published_end, log->end, memory_order_release);
    atomic_store_explicit(&log->published_seq, log->last_seq, memory_order_release);
}

void ls_log_reset(struct ls_log *log)
{
    log->base = log->base_seq = log->base_time = 0;
    log->base_chain = LS_LOG_CHAIN_FIRST;
    log->end = log->last_seq = log->last_time = log->filled = 0;
    log->chain = LS_LOG_CHAIN_FIRST;
    log->index_first = 1;
    atomic_store_explicit(&log->hurry, 0, memory_order_relaxed);
    log->epochs = 0;
    log->memberships = 0;
    log->memberships_changes++;
    log->disowned = false;
    atomic_store_explicit(&log->high, 0, memory_order_relaxed);
    publish(log);
}

void ls_log_found(struct ls_log *log, const struct ls_membership *members)
{
    assert(log->end == log->base);
    log->membership[0].end = log->base;
    log->membership[0].members = *members;
    log->membership[0].members.seq = 0;
    log->memberships = 1;
    log->memberships_changes++;
    log->disowned = false;
}

void ls_log_rebase(struct ls_log *log, const struct ls_cut *cut)
{
    /* First, for readers of other threads: no byte below the cut is held any more. */
    atomic_store_explicit(&log->high, cut->position + log->size, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    log->base = log->end = log->filled = cut->position;
    log->base_seq = log->last_seq = cut->seq;
    log->base_time = log->last_time = cut->time;
    log->base_chain = log->chain = cut->chain;
    log->index_first = cut->seq + 1;
    log->epochs = cut->epochs;
    memcpy(log->epoch, cut->epoch, cut->epochs * sizeof(log->epoch[0]));
    log->memberships = 0;
    log->disowned = false;
    if (cut->members.count > 0) {
        log->membership[0].end = cut->position;
        log->membership[0].members = cut->members;
        log->memberships = 1;
    }
    log->memberships_changes++;
    publish(log);
}

void ls_log_disown(struct ls_log *log)
{
    log->memberships = 0;
    log->memberships_changes++;
    log->disowned = true;
}

const struct ls_membership *ls_log_members(const struct ls_log *log)
{
    static const struct ls_membership none;
    return log->memberships > 0 ? &log->membership[log->memberships - 1].members : &none;
}

uint32_t ls_entry_checksum(const struct ls_entry *entry, uint32_t previous)
{
    const uint8_t *from = (const uint8_t *)entry + offsetof(struct ls_entry, seq);
    /* The length stands before the checksum, so it is mixed into the chain value that the CRC begins with. */
    return ls_crc32c(previous ^ entry->length, from, ls_entry_size(entry->length) - offsetof(struct ls_entry, seq));
}

/* The membership in a MEMBERS entry of exactly the right length; false: it is malformed. */
static bool entry_members(const struct ls_entry *entry, struct ls_membership *members)
{
    struct ls_entry_members head;
    struct ls_member_record records[LS_MEMBERS_MAX];
    if (entry->length < sizeof(head))
        return false;
    memcpy(&head, entry + 1, sizeof(head));
    if (head.zero16 != 0 || head.zero32 != 0 || head.members > LS_MEMBERS_MAX ||
        entry->length != sizeof(head) + head.members * sizeof(records[0]))
        return false;
    memcpy(records, (const uint8_t *)(entry + 1) + sizeof(head), head.members * sizeof(records[0]));
    return ls_membership_read(members, records, head.members);
}

bool ls_entry_is_sane(const struct ls_entry *entry, uint64_t at_most)
{
    if (entry->length > at_most || ls_entry_size(entry->length) > at_most)
        return false;
    if (entry->kind < LS_ENTRY_EPOCH || entry->kind >= LS_ENTRY_KINDS ||
        (entry->durability != 0 && entry->durability != LS_DURABLE_JOURNAL))
        return false;
    switch (entry->kind) {
    case LS_ENTRY_EPOCH:
        return entry->length == sizeof(struct ls_entry_epoch);
    case LS_ENTRY_OPEN:
        return entry->length == LS_NONCE_SIZE;
    case LS_ENTRY_LIMITS:
        return entry->length == sizeof(struct ls_entry_limits);
    case LS_ENTRY_QUERY:
    case LS_ENTRY_TICK:
        return entry->length == 0;
    case LS_ENTRY_MEMBERS: /* what it says is judged when it is whole */
        return entry->length > sizeof(struct ls_entry_members) &&
               entry->length <= sizeof(struct ls_entry_members) + LS_MEMBERS_MAX * sizeof(struct ls_member_record) &&
               (entry->length - sizeof(struct ls_entry_members)) % sizeof(struct ls_member_record) == 0;
    default:
        return true;
    }
}

/* The highest byte ever written moves before the bytes do: a reader of another thread that sees new bytes also sees
 * the new `high` (its acquire fence in ls_log_copy_out pairs with this release fence). */
static void raise_high(struct ls_log *log, uint64_t end)
{
    if (end > atomic_load_explicit(&log->high, memory_order_relaxed)) {
        atomic_store_explicit(&log->high, end, memory_order_relaxed);
        atomic_thread_fence(memory_order_release);
    }
}

static void epoch_row_add(struct ls_log *log, uint64_t epoch, uint64_t position, uint64_t seq)
{
    if (log->epochs == LS_EPOCHS_KEPT) {
        memmove(&log->epoch[0], &log->epoch[1], (LS_EPOCHS_KEPT - 1) * sizeof(log->epoch[0]));
        log->epochs--;
    }
    log->epoch[log->epochs++] = (struct ls_epoch_row){.epoch = epoch, .position = position, .seq = seq};
}

/* M3: it holds from here on, at the same place in every log that holds this entry. */
static void membership_add(struct ls_log *log, const struct ls_membership *members, uint64_t seq, uint64_t end)
{
    if (log->memberships == LS_MEMBERSHIPS_KEPT) {
        memmove(&log->membership[0], &log->membership[1], (LS_MEMBERSHIPS_KEPT - 1) * sizeof(log->membership[0]));
        log->memberships--;
    }
    log->membership[log->memberships].end = end;
    log->membership[log->memberships].members = *members;
    log->membership[log->memberships].members.seq = seq;
    log->memberships++;
    log->memberships_changes++;
}

static void memberships_drop(struct ls_log *log, uint64_t position)
{
    uint32_t before = log->memberships;
    while (log->memberships > 0 && log->membership[log->memberships - 1].end > position)
        log->memberships--;
    log->memberships_changes += log->memberships != before;
}

uint64_t ls_log_last_epoch(const struct ls_log *log)
{
    return log->epochs > 0 ? log->epoch[log->epochs - 1].epoch : 0;
}

/* Entry at log->end is whole and good: it becomes the last one. */
static void take_in(struct ls_log *log, const struct ls_entry *entry)
{
    uint64_t position = log->end;
    struct ls_log_entry_place *place = &log->index[entry->seq & log->index_mask];
    atomic_store_explicit(&place->position, position, memory_order_relaxed);
    place->time = entry->time;
    place->checksum = entry->checksum;
    if (entry->durability != 0)
        atomic_store_explicit(&log->hurry, position + ls_entry_size(entry->length), memory_order_relaxed);
    if (entry->seq > log->index_mask && entry->seq - log->index_mask > log->index_first)
        log->index_first = entry->seq - log->index_mask;
    if (entry->kind == LS_ENTRY_EPOCH && !ls_mutant(EPOCH_FROM_FRAME)) {
        struct ls_entry_epoch opening;
        memcpy(&opening, entry + 1, sizeof(opening));
        epoch_row_add(log, opening.epoch, position, entry->seq);
    } else if (ls_mutant(EPOCH_FROM_FRAME) && log->frame_epoch > ls_log_last_epoch(log)) {
        epoch_row_add(log, log->frame_epoch, position, entry->seq);
    }
    struct ls_membership members;
    if (entry->kind == LS_ENTRY_MEMBERS && entry_members(entry, &members))
        membership_add(log, &members, entry->seq, position + ls_entry_size(entry->length));
    log->last_seq = entry->seq;
    log->last_time = entry->time;
    log->chain = entry->checksum;
    log->end = position + ls_entry_size(entry->length);
}

uint64_t ls_log_append(struct ls_log *log, const struct ls_entry *header, const void *operation, uint32_t length)
{
    uint64_t size = ls_entry_size(length);
    raise_high(log, log->end + size);
    struct ls_entry *entry = (struct ls_entry *)ls_log_at(log, log->end);
    memcpy(entry, header, sizeof(*entry));
    entry->length = length;
    entry->seq = log->last_seq + 1;
    uint8_t *to = (uint8_t *)(entry + 1);
    if (length > 0) {
        memset(to + (length & ~7u), 0, ls_pad8(length) - (length & ~7u));
        memcpy(to, operation, length);
    }
    entry->checksum = ls_entry_checksum(entry, log->chain);
    take_in(log, entry);
    log->filled = log->end;
    publish(log);
    return log->end;
}

void ls_log_place(struct ls_log *log, uint64_t position, const uint8_t *bytes, uint32_t length)
{
    raise_high(log, position + length);
    memcpy(ls_log_at(log, position), bytes, length);
}

/* The entry at log->end follows the last one: number, time, epoch and chain. */
static bool entry_follows(const struct ls_log *log, const struct ls_entry *entry)
{
    if (entry->seq != log->last_seq + 1 || entry->time < log->last_time)
        return false;
    if (entry->kind == LS_ENTRY_EPOCH) {
        struct ls_entry_epoch opening;
        memcpy(&opening, entry + 1, sizeof(opening));
        if (opening.epoch <= ls_log_last_epoch(log) && !ls_mutant(EPOCH_FROM_FRAME))
            return false;
    }
    struct ls_membership members;
    if (entry->kind == LS_ENTRY_MEMBERS && !entry_members(entry, &members))
        return false;
    return entry->checksum == ls_entry_checksum(entry, log->chain) || ls_mutant(CHAIN_UNCHECKED);
}

int ls_log_fill(struct ls_log *log, uint64_t filled)
{
    log->filled = filled;
    int error = 0;
    while (filled - log->end >= sizeof(struct ls_entry)) {
        const struct ls_entry *entry = (const struct ls_entry *)ls_log_at(log, log->end);
        if (!ls_entry_is_sane(entry, log->size)) {
            error = -EBADMSG;
            break;
        }
        if (filled - log->end < ls_entry_size(entry->length))
            break;
        if (!entry_follows(log, entry)) {
            error = -EBADMSG;
            break;
        }
        take_in(log, entry);
    }
    publish(log);
    return error;
}

void ls_log_drop_partial(struct ls_log *log)
{
    log->filled = log->end;
}

uint64_t ls_log_position(const struct ls_log *log, uint64_t seq)
{
    if (seq <= log->base_seq || seq > log->last_seq || seq < log->index_first)
        return UINT64_MAX;
    uint64_t position = log->index[seq & log->index_mask].position;
    return position >= ls_log_oldest(log) ? position : UINT64_MAX;
}

uint64_t ls_log_seq_at(const struct ls_log *log, uint64_t position)
{
    uint64_t low = log->base_seq + 1 > log->index_first ? log->base_seq + 1 : log->index_first;
    uint64_t high = log->last_seq + 1; /* its "position" is the end */
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (log->index[middle & log->index_mask].position < position)
            low = middle + 1;
        else
            high = middle;
    }
    uint64_t found = low >= log->last_seq + 1 ? log->end : log->index[low & log->index_mask].position;
    return found == position ? low : 0;
}

int ls_log_truncate(struct ls_log *log, uint64_t position)
{
    if (position < log->base || position > log->end)
        return -ESTALE;
    if (position == log->end) {
        log->filled = log->end;
        return 0;
    }
    uint64_t seq = ls_log_seq_at(log, position);
    if (seq == 0)
        return -ESTALE;
    if (seq - 1 == log->base_seq) {
        log->chain = log->base_chain;
        log->last_time = log->base_time;
    } else {
        if (seq - 1 < log->index_first)
            return -ESTALE;
        const struct ls_log_entry_place *before = &log->index[(seq - 1) & log->index_mask];
        log->chain = before->checksum;
        log->last_time = before->time;
    }
    log->last_seq = seq - 1;
    log->end = log->filled = position;
    while (log->epochs > 0 && log->epoch[log->epochs - 1].position >= position)
        log->epochs--;
    memberships_drop(log, position);
    publish(log);
    return 0;
}

uint64_t ls_log_parting(const struct ls_log *mine, const struct ls_epoch_row *rows, uint32_t n, uint64_t end)
{
    if (ls_mutant(PARTING_BY_POSITION))
        return end < mine->end ? end : mine->end;
    if (n == 0) /* the other one is empty */
        return end == mine->base ? end : UINT64_MAX;
    for (uint32_t i = n; i-- > 0;) {
        for (uint32_t j = mine->epochs; j-- > 0;) {
            if (mine->epoch[j].epoch != rows[i].epoch)
                continue;
            /* One writer an epoch: the same epoch began at the same place, or one of the two logs is damaged. */
            if (mine->epoch[j].position != rows[i].position || mine->epoch[j].seq != rows[i].seq)
                return UINT64_MAX;
            uint64_t my_end = j + 1 < mine->epochs ? mine->epoch[j + 1].position : mine->end;
            uint64_t their_end = i + 1 < n ? rows[i + 1].position : end;
            return my_end < their_end ? my_end : their_end;
        }
    }
    /* No common epoch: they part at the very beginning, if both tables reach back to it. */
    bool mine_whole = mine->base == 0 && (mine->epochs == 0 || mine->epoch[0].position == 0);
    return mine_whole && rows[0].position == 0 ? 0 : UINT64_MAX;
}

#if defined(__SANITIZE_THREAD__)
#define NO_TSAN __attribute__((no_sanitize_thread))
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define NO_TSAN __attribute__((no_sanitize("thread")))
#endif
#endif
#ifndef NO_TSAN
#define NO_TSAN
#endif

/* The copy may race with the net worker on purpose; what it brings is thrown away where `high` shows an overlap. Only
 * committed bytes may be asked for: they are overwritten by later ones, but never taken back. */
NO_TSAN bool ls_log_copy_out(const struct ls_log *log, uint64_t position, void *to, uint32_t length)
{
    uint64_t end = atomic_load_explicit(&log->published_end, memory_order_acquire);
    if (length > log->size || position > end || end - position < length)
        return false;
    const uint8_t *from = ls_log_at(log, position);
    for (uint32_t i = 0; i < length; i++)
        ((uint8_t *)to)[i] = ((const volatile uint8_t *)from)[i];
    atomic_thread_fence(memory_order_acquire);
    uint64_t high = atomic_load_explicit(&log->high, memory_order_relaxed);
    return position >= (high > log->size ? high - log->size : 0);
}
