/* SPDX-License-Identifier: BSD-3-Clause */
/* Walking through a journal: every entry from every place on, up to the limit; what is gone and what is damaged. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "log.h"
#include "memdisk.h"
#include "reader.h"

#define RING    (32u * 1024 * 1024)
#define SEGMENT (64u * 1024)
#define ENTRIES 600
#define LARGE   (LS_OP_MAX - 100)

static struct memdisk disk;
static struct ls_log ring; /* large enough to hold all of it */
static struct ls_journal_reader reader;
static struct ls_journal_place place[ENTRIES + 1]; /* before entry i + 1 */

/* One large entry, in the middle of many that end anywhere in their segments. */
static int setup(void **state)
{
    static uint8_t bytes[LS_OP_MAX];
    (void)state;
    memdisk_init(&disk, SEGMENT, 1);
    if (ls_log_init(&ring, RING) != 0)
        return 1;
    place[0] = (struct ls_journal_place){.chain = ring.chain};
    for (uint32_t i = 0; i < ENTRIES; i++) {
        struct ls_entry header = {.kind = LS_ENTRY_OPERATION, .session = 1, .number = i};
        uint32_t length = i == ENTRIES / 2 ? LARGE : (uint32_t)(memdisk_random(&disk) % 1000);
        for (uint32_t k = 0; k < length; k += 8)
            bytes[k] = (uint8_t)memdisk_random(&disk);
        ls_log_append(&ring, &header, bytes, length);
        place[i + 1] = (struct ls_journal_place){.position = ring.end, .seq = ring.last_seq, .chain = ring.chain};
    }
    for (uint64_t at = 0; at < ring.end; at += SEGMENT) {
        (void)disk.disk.segment(&disk.disk, at / SEGMENT);
        memcpy(disk.segment[at / SEGMENT], ls_log_at(&ring, at), SEGMENT);
    }
    return ls_journal_reader_init(&reader, &disk.disk, SEGMENT);
}

static int teardown(void **state)
{
    (void)state;
    ls_journal_reader_free(&reader);
    ls_log_free(&ring);
    memdisk_free(&disk);
    return 0;
}

static void walk(uint64_t from, uint64_t to, uint64_t limit)
{
    const struct ls_entry *entry;
    ls_journal_reader_begin(&reader, &place[from]);
    for (uint64_t seq = from + 1; seq <= to; seq++) {
        int result = ls_journal_reader_next(&reader, limit, &entry);
        if (result != 1)
            fail_msg("entry %lu: %d %s", seq, result, reader.error);
        assert_int_equal(entry->seq, seq);
        assert_memory_equal(entry, ls_log_at(&ring, place[seq - 1].position), ls_entry_size(entry->length));
        assert_int_equal(reader.place.position, place[seq].position);
        if (seq % 5 == 0) { /* once more */
            ls_journal_reader_unread(&reader);
            assert_int_equal(reader.place.position, place[seq - 1].position);
            assert_int_equal(ls_journal_reader_next(&reader, limit, &entry), 1);
            assert_int_equal(entry->seq, seq);
        }
    }
    assert_int_equal(ls_journal_reader_next(&reader, limit, &entry), 0);
}

static void all(void **state)
{
    (void)state;
    walk(0, ENTRIES, ring.end);
    for (uint64_t from = 1; from < ENTRIES; from += 37)
        walk(from, ENTRIES, ring.end);
}

/* None that ends beyond; and what has come meanwhile is found at the next look. */
static void limit(void **state)
{
    const struct ls_entry *entry;
    (void)state;
    for (uint64_t to = 1; to < ENTRIES; to += 29)
        walk(to - 1, to, place[to].position);
    ls_journal_reader_begin(&reader, &place[7]);
    assert_int_equal(ls_journal_reader_next(&reader, place[7].position, &entry), 0);
    memset(disk.segment[place[7].position / SEGMENT], 0, SEGMENT); /* not written yet */
    assert_int_equal(ls_journal_reader_next(&reader, place[7].position, &entry), 0);
    memcpy(disk.segment[place[7].position / SEGMENT], ls_log_at(&ring, place[7].position / SEGMENT * SEGMENT), SEGMENT);
    assert_int_equal(ls_journal_reader_next(&reader, place[8].position, &entry), 1);
    assert_int_equal(entry->seq, 8);
}

static void gone(void **state)
{
    const struct ls_entry *entry;
    (void)state;
    disk.disk.trim(&disk.disk, 2);
    ls_journal_reader_begin(&reader, &place[3]);
    assert_int_equal(ls_journal_reader_next(&reader, ring.end, &entry), -ENOENT);
    assert_non_null(strstr(reader.error, "entry 4 of the log"));
    assert_non_null(strstr(reader.error, "is not in the journal any more"));
    assert_int_equal(reader.place.seq, 3);
    for (uint64_t from = 1; from < ENTRIES; from++)
        if (place[from].position >= 2 * SEGMENT) {
            walk(from, from + 10, place[from + 10].position);
            break;
        }
}

/* Every byte counts; the walk stands before the damaged entry, and goes on when it is there again. */
static void damage(void **state)
{
    const struct ls_entry *entry;
    (void)state;
    for (uint64_t seq = 1; seq <= 200; seq += 7) {
        uint64_t size = place[seq].position - place[seq - 1].position;
        uint64_t at = place[seq - 1].position + memdisk_random(&disk) % size;
        uint8_t *byte = &disk.segment[at / SEGMENT][at % SEGMENT];
        *byte ^= 0x10;
        ls_journal_reader_begin(&reader, &place[0]);
        int result;
        while ((result = ls_journal_reader_next(&reader, place[300].position, &entry)) == 1)
            ;
        assert_int_equal(result, -EBADMSG);
        assert_int_equal(reader.place.seq, seq - 1);
        assert_non_null(strstr(reader.error, "is damaged"));
        *byte ^= 0x10;
        assert_int_equal(ls_journal_reader_next(&reader, place[300].position, &entry), 1);
        assert_int_equal(entry->seq, seq);
    }
}

/* A place that is none: nothing of it is believed. */
static void wrong_place(void **state)
{
    const struct ls_entry *entry;
    struct ls_journal_place wrong = place[5];
    (void)state;
    wrong.chain ^= 1;
    ls_journal_reader_begin(&reader, &wrong);
    assert_int_equal(ls_journal_reader_next(&reader, ring.end, &entry), -EBADMSG);
    wrong = place[5];
    wrong.seq++;
    ls_journal_reader_begin(&reader, &wrong);
    assert_int_equal(ls_journal_reader_next(&reader, ring.end, &entry), -EBADMSG);
    wrong = place[5];
    wrong.position += 8;
    ls_journal_reader_begin(&reader, &wrong);
    assert_int_equal(ls_journal_reader_next(&reader, ring.end, &entry), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all, setup, teardown),
        cmocka_unit_test_setup_teardown(limit, setup, teardown),
        cmocka_unit_test_setup_teardown(gone, setup, teardown),
        cmocka_unit_test_setup_teardown(damage, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_place, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
