/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How fast a journal is read back when its bytes are in the page cache: lockstep-bench-journal [MiB [operation bytes]].
 * Makes segments of that much log in files of its own (beside the program, removed at the end), reads them through
 * ls_journal_replay() with the mark at the end, so that every entry is checked, taken into the ring and executed by the
 * `echo` machine, and prints bytes and entries per second and cycles per entry.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lockstep/grace.h>
#include <lockstep/state_machine.h>

#include "cycles.h"
#include "resume.h"

#define RING    (64ull * 1024 * 1024)
#define SEGMENT (64ull * 1024 * 1024)

/* One unlinked file holds all segments in a row. */
struct file {
    struct ls_journal_disk disk; /* first */
    int fd;
    uint64_t size;
    uint8_t state[2 * LS_JOURNAL_BLOCK];
};

static int file_read(struct ls_journal_disk *disk, uint64_t segment, uint64_t offset, void *bytes, uint32_t length)
{
    const struct file *f = (const struct file *)disk;
    uint64_t at = segment * SEGMENT + offset;
    if (segment == LS_JOURNAL_STATE) {
        memcpy(bytes, f->state + offset, length);
        return (int)length;
    }
    if (at >= f->size)
        return 0;
    length = length < f->size - at ? length : (uint32_t)(f->size - at);
    return (int)pread(f->fd, bytes, length, (off_t)at);
}

static bool no_buffer(struct ls_io *io, struct ls_frame *frame)
{
    (void)io;
    (void)frame;
    return false;
}

static bool log_write(struct file *f, struct ls_log *log, uint32_t length, uint64_t *seqs)
{
    static uint8_t operation[LS_OP_SMALL_MAX];
    struct ls_entry header = {.kind = LS_ENTRY_EPOCH};
    struct ls_entry_epoch opening = {.epoch = 1, .incarnation = 1, .sequencer = 1};
    uint64_t written = 0;
    ls_log_append(log, &header, &opening, sizeof(opening));
    header.kind = LS_ENTRY_OPERATION;
    while (log->end + 4096 < f->size) {
        ls_log_append(log, &header, operation, length);
        if (log->end - written < 1024 * 1024)
            continue;
        if (pwrite(f->fd, ls_log_at(log, written), log->end - written, (off_t)written) < 0)
            return false;
        written = log->end;
    }
    *seqs = log->last_seq;
    f->size = log->end;
    return pwrite(f->fd, ls_log_at(log, written), log->end - written, (off_t)written) >= 0;
}

int main(int argc, char **argv)
{
    uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 0) : 256, entries = 0;
    uint32_t length = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 0) : 64;
    if (mib == 0 || mib > 65536 || length > LS_OP_SMALL_MAX) {
        fprintf(stderr, "usage: lockstep-bench-journal [MiB 1..65536 [operation bytes 0..%u]]\n", LS_OP_SMALL_MAX);
        return 2;
    }
    struct ls_journal_identity identity = {.cluster = 7, .generation = 1, .node = 1, .segment_size = SEGMENT};
    struct file f = {.disk.read = file_read, .size = mib * 1024 * 1024};
    char name[] = "bench-journal-XXXXXX", error[LS_JOURNAL_ERROR_MAX];
    static struct ls_log log;
    static struct ls_seam seam;
    static struct ls_grace grace;
    static struct ls_replica_page page;
    static struct ls_counters counters;
    static struct ls_io io = {.alloc = no_buffer};
    struct ls_executor_config config = {
        .cluster = 7, .generation = 1, .node = 1, .incarnation = 2, .sessions_max = 16, .window = 8};
    f.fd = mkstemp(name);
    if (f.fd < 0 || unlink(name) != 0 || ls_log_init(&log, RING) != 0 || ls_seam_init(&seam, 16) != 0 ||
        !log_write(&f, &log, length, &entries)) {
        perror("bench-journal");
        return 1;
    }
    struct ls_journal_state state = {.identity = identity,
                                     .number = 1,
                                     .incarnation = 1,
                                     .since = 1,
                                     .base.chain = LS_LOG_CHAIN_FIRST,
                                     .durable = f.size,
                                     .commit = f.size};
    for (int round = 0; round < 3; round++) {
        ls_log_reset(&log);
        ls_seam_free(&seam);
        memset(&seam, 0, sizeof(seam));
        struct ls_machine *machine = ls_echo.create(&(struct ls_machine_limits){.keys = 10, .bytes = 1000}, &grace);
        if (machine == NULL || ls_seam_init(&seam, 16) != 0)
            return 1;
        struct ls_executor *executor =
            ls_executor_create(&config, &log, &seam, &io, &ls_echo, machine, &page, &counters);
        uint64_t begin = ls_clock_ns();
        uint64_t cycles = ls_cycles();
        int result = ls_journal_replay(&f.disk, &identity, &state, &log, &seam, executor, error);
        cycles = ls_cycles() - cycles;
        double seconds = (double)(ls_clock_ns() - begin) / 1e9;
        if (result != 0 || log.last_seq != entries) {
            fprintf(stderr, "read back %lu of %lu entries: %s\n", log.last_seq, entries, error);
            return 1;
        }
        printf("%lu MiB, %lu entries of %u bytes: %.2f GB/s, %.1f M entries/s, %.0f cycles an entry\n", mib, entries,
               (uint32_t)ls_entry_size(length), (double)f.size / 1e9 / seconds, (double)entries / 1e6 / seconds,
               (double)cycles / (double)entries);
        ls_executor_destroy(executor);
        ls_echo.destroy(machine);
    }
    close(f.fd);
    ls_seam_free(&seam);
    ls_log_free(&log);
    return 0;
}
