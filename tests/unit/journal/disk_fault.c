/* SPDX-License-Identifier: BSD-3-Clause */
/* Disk faults on purpose: what of a write is there, what is said of it, and when; on a disk in memory (memdisk.h). */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "disk_fault.h"
#include "memdisk.h"
#include "writer.h"

#define SEGMENT (64u * 1024)
#define LENGTH  (4 * LS_JOURNAL_BLOCK)
#define OFFSET  (2 * LS_JOURNAL_BLOCK)
#define ALL     1000000u
#define NOTHING 1 /* in place of an error: the write has not ended */

static struct memdisk disk;
static struct ls_disk_fault *fault;
static struct ls_journal_disk *faulty;
static uint64_t now;
static _Alignas(LS_JOURNAL_BLOCK) uint8_t bytes[LENGTH];
static _Alignas(LS_JOURNAL_BLOCK) uint8_t there[SEGMENT];

static uint64_t clock_ns(void *user)
{
    (void)user;
    return now;
}

static int setup(void **state)
{
    (void)state;
    memdisk_init(&disk, SEGMENT, 1);
    disk.overlaps = true;
    fault = ls_disk_fault_create(&disk.disk, SEGMENT, clock_ns, NULL);
    faulty = ls_disk_fault_disk(fault);
    now = 1000;
    for (uint32_t i = 0; i < LENGTH; i++)
        bytes[i] = (uint8_t)(1 + i % 255); /* no zeros: what was not written stands out */
    return fault == NULL || faulty->segment(faulty, 0) != 1;
}

static int teardown(void **state)
{
    (void)state;
    ls_disk_fault_destroy(fault);
    memdisk_free(&disk);
    return 0;
}

static void set(struct ls_control_disk_fault settings)
{
    assert_int_equal(ls_disk_fault_set(fault, &settings), 0);
}

static void write_some(uint64_t cookie)
{
    assert_int_equal(faulty->write(faulty, 0, OFFSET, bytes, LENGTH, cookie), 0);
}

/* What a few turns say of the write; what the segment holds then is in `there`. */
static int turns(uint64_t cookie)
{
    struct ls_journal_done done[4];
    int said = NOTHING;
    for (int i = 0; i < 4; i++) {
        uint32_t n = faulty->turn(faulty, done, 4);
        assert_true(n <= 1);
        if (n == 0)
            continue;
        assert_int_equal(said, NOTHING); /* once */
        assert_int_equal(done[0].cookie, cookie);
        said = done[0].error;
    }
    assert_int_equal(faulty->read(faulty, 0, 0, there, SEGMENT), SEGMENT);
    return said;
}

static bool is_zero(uint32_t from, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        if (there[from + i] != 0)
            return false;
    return true;
}

static void off(void **state)
{
    (void)state;
    write_some(3);
    assert_int_equal(disk.running, 1); /* it is with the disk already */
    assert_int_equal(turns(3), 0);
    assert_memory_equal(there + OFFSET, bytes, LENGTH);
    assert_int_equal(ls_disk_fault_count(fault), 0);
    disk.fail = -ENOSPC;
    write_some(4);
    assert_int_equal(turns(4), -ENOSPC);
}

static void error(void **state)
{
    (void)state;
    set((struct ls_control_disk_fault){.error = ALL});
    write_some(UINT64_MAX);
    assert_int_equal(turns(UINT64_MAX), -EIO);
    assert_true(is_zero(0, SEGMENT));
    assert_non_null(strstr(faulty->problem, "by a fault on purpose: Input/output error"));
    assert_int_equal(ls_disk_fault_count(fault), 1);
}

/* Whole blocks from the beginning on, and never all of them. */
static void cut(void **state)
{
    bool seen[4] = {false};
    (void)state;
    set((struct ls_control_disk_fault){.seed = 1, .cut = ALL});
    for (int i = 0; i < 100; i++) {
        memset(disk.segment[0], 0, SEGMENT);
        write_some(5);
        assert_int_equal(turns(5), -EIO);
        uint32_t n = 0;
        while (n < 4 && !is_zero(OFFSET + n * LS_JOURNAL_BLOCK, LS_JOURNAL_BLOCK))
            n++;
        assert_in_range(n, 0, 3);
        assert_memory_equal(there + OFFSET, bytes, n * LS_JOURNAL_BLOCK);
        assert_true(is_zero(OFFSET + n * LS_JOURNAL_BLOCK, LENGTH - n * LS_JOURNAL_BLOCK));
        seen[n] = true;
    }
    assert_true(seen[0] && seen[1] && seen[2] && seen[3]);
}

static void lost(void **state)
{
    (void)state;
    set((struct ls_control_disk_fault){.lost = ALL});
    write_some(6);
    assert_int_equal(turns(6), 0);
    assert_true(is_zero(0, SEGMENT));
}

static void rot(void **state)
{
    (void)state;
    set((struct ls_control_disk_fault){.seed = 2, .rot = ALL});
    for (int i = 0; i < 50; i++) {
        uint32_t bits = 0;
        write_some(7);
        assert_int_equal(turns(7), 0);
        for (uint32_t k = 0; k < LENGTH; k++)
            bits += (uint32_t)__builtin_popcount((uint32_t)(there[OFFSET + k] ^ bytes[k]));
        assert_int_equal(bits, 1);
        assert_true(is_zero(0, OFFSET) && is_zero(OFFSET + LENGTH, SEGMENT - OFFSET - LENGTH));
    }
    assert_int_equal(bytes[0], 1); /* the writer's own are as they were */
}

static void misplaced(void **state)
{
    (void)state;
    set((struct ls_control_disk_fault){.seed = 3, .misplaced = ALL});
    for (int i = 0; i < 100; i++) {
        memset(disk.segment[0], 0, SEGMENT);
        write_some(8);
        assert_int_equal(turns(8), 0);
        uint32_t at = 0;
        while (at < SEGMENT && there[at] == 0)
            at += LS_JOURNAL_BLOCK;
        assert_in_range(at, 0, SEGMENT - LENGTH);
        assert_int_not_equal(at, OFFSET);
        assert_memory_equal(there + at, bytes, LENGTH);
    }
    /* one that fills the state has no other place */
    assert_int_equal(faulty->write(faulty, LS_JOURNAL_STATE, 0, bytes, 2 * LS_JOURNAL_BLOCK, 9), 0);
    assert_int_equal(turns(9), 0);
    assert_memory_equal(disk.state, bytes, 2 * LS_JOURNAL_BLOCK);
}

/* In pieces: all of it when it is done; what is there before is whole blocks in any order, and nothing is said. */
static void torn(void **state)
{
    uint32_t seen = 0;
    (void)state;
    set((struct ls_control_disk_fault){.seed = 4, .torn = ALL, .delay = 1000});
    for (int i = 0; i < 200; i++) {
        int said = NOTHING;
        memset(disk.segment[0], 0, SEGMENT);
        write_some(10);
        while (said == NOTHING) {
            uint32_t have = 0;
            assert_int_not_equal(ls_disk_fault_next_ns(fault), UINT64_MAX);
            now += 100;
            said = turns(10);
            for (uint32_t k = 0; k < 4; k++)
                have |= (uint32_t)!is_zero(OFFSET + k * LS_JOURNAL_BLOCK, LS_JOURNAL_BLOCK) << k;
            seen |= 1u << have;
        }
        assert_int_equal(said, 0);
        assert_memory_equal(there + OFFSET, bytes, LENGTH);
        assert_int_equal(ls_disk_fault_next_ns(fault), UINT64_MAX);
    }
    assert_int_equal(seen, 0xffff); /* every set of blocks was there once while it ran */
}

static void delay(void **state)
{
    (void)state;
    set((struct ls_control_disk_fault){.delay = 500, .jitter = 100});
    write_some(11);
    uint64_t due = ls_disk_fault_next_ns(fault);
    assert_in_range(due, 1500, 1600);
    now = due - 1;
    assert_int_equal(turns(11), NOTHING);
    assert_true(is_zero(0, SEGMENT)); /* a process that dies now has lost it */
    set((struct ls_control_disk_fault){0});
    assert_int_equal(turns(11), NOTHING); /* what was held back keeps its time */
    write_some(12);                       /* what comes now passes by */
    assert_int_equal(turns(12), 0);
    now = due;
    assert_int_equal(turns(11), 0);
    assert_memory_equal(there + OFFSET, bytes, LENGTH);
    assert_int_equal(ls_disk_fault_count(fault), 1);
}

/* Nothing ends: neither what the disk had already, nor what comes. */
static void hang(void **state)
{
    struct ls_journal_done done[4];
    (void)state;
    write_some(13);
    set((struct ls_control_disk_fault){.hang = 1});
    assert_int_equal(faulty->write(faulty, 0, OFFSET + LENGTH, bytes, LENGTH, 14), 0);
    now += 1000000000;
    assert_int_equal(turns(13), NOTHING);
    assert_int_equal(ls_disk_fault_next_ns(fault), UINT64_MAX);
    assert_true(is_zero(OFFSET + LENGTH, LENGTH));
    set((struct ls_control_disk_fault){0});
    assert_true(ls_disk_fault_next_ns(fault) <= now);
    assert_int_equal(faulty->turn(faulty, done, 1), 1); /* as many as are asked for */
    assert_int_equal(done[0].cookie, 13);
    assert_int_equal(turns(14), 0);
    assert_memory_equal(there + OFFSET + LENGTH, bytes, LENGTH);
}

static void full(void **state)
{
    (void)state;
    set((struct ls_control_disk_fault){.full = 1});
    assert_int_equal(faulty->segment(faulty, 0), 1); /* it is there */
    assert_int_equal(faulty->segment(faulty, 1), -ENOSPC);
    assert_non_null(strstr(faulty->problem, "segment 1 cannot be made, by a fault on purpose"));
    write_some(15);
    assert_int_equal(turns(15), 0);
    set((struct ls_control_disk_fault){0});
    assert_int_equal(faulty->segment(faulty, 1), 1);
}

/* As many as a writer has under way are always taken, with whatever happens to them. */
static void many(void **state)
{
    struct ls_journal_done done[LS_JOURNAL_WRITES_MAX + 1];
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        uint32_t seen = 0, n = 0;
        set((struct ls_control_disk_fault){.seed = seed,
                                           .error = ALL / 8,
                                           .cut = ALL / 8,
                                           .torn = ALL / 2,
                                           .lost = ALL / 8,
                                           .rot = ALL / 8,
                                           .misplaced = ALL / 8,
                                           .jitter = 1000});
        for (uint64_t i = 0; i < LS_JOURNAL_WRITES_MAX + 1; i++)
            assert_int_equal(faulty->write(faulty, 0, 0, bytes, LENGTH, i), 0);
        assert_int_equal(faulty->write(faulty, 0, 0, bytes, LENGTH, 99), -EAGAIN);
        for (uint64_t end = now + 100000; n < LS_JOURNAL_WRITES_MAX + 1 && now < end; now += 10) {
            uint32_t got = faulty->turn(faulty, done, LS_JOURNAL_WRITES_MAX + 1);
            for (uint32_t i = 0; i < got; i++)
                seen |= 1u << done[i].cookie;
            n += got;
        }
        assert_int_equal(n, LS_JOURNAL_WRITES_MAX + 1);
        assert_int_equal(seen, (1u << (LS_JOURNAL_WRITES_MAX + 1)) - 1);
    }
}

static void refused(void **state)
{
    char why[128];
    struct ls_control_disk_fault wrong = {.rot = ALL + 1};
    (void)state;
    assert_int_equal(ls_disk_fault_check(&wrong, why, sizeof(why)), -EINVAL);
    assert_string_equal(why, "disk fault: rot (per million) is 1000001: allowed are 0 to 1000000");
    assert_int_equal(ls_disk_fault_set(fault, &wrong), -EINVAL);
    assert_int_equal(ls_disk_fault_post(fault, &wrong), -EINVAL);
    wrong = (struct ls_control_disk_fault){.hang = 2};
    assert_int_equal(ls_disk_fault_check(&wrong, NULL, 0), -EINVAL);
}

static void *poster(void *argument)
{
    return (void *)(intptr_t)ls_disk_fault_post(fault, argument);
}

static void posted(void **state)
{
    struct ls_control_disk_fault settings = {.error = ALL};
    struct ls_journal_done done[1];
    pthread_t thread;
    void *result;
    (void)state;
    disk.disk.wakes = true;
    assert_int_equal(faulty->turn(faulty, done, 1), 0);
    assert_true(faulty->wakes);
    assert_int_equal(pthread_create(&thread, NULL, poster, &settings), 0);
    pthread_join(thread, &result);
    assert_ptr_equal(result, NULL);
    assert_int_equal(ls_disk_fault_post(fault, &settings), -EAGAIN);
    assert_int_equal(faulty->turn(faulty, done, 1), 0);
    assert_false(faulty->wakes); /* whoever runs it has to look */
    assert_int_equal(ls_disk_fault_post(fault, &(struct ls_control_disk_fault){0}), 0);
    write_some(16);
    assert_int_equal(turns(16), -EIO); /* it was posted behind */
    assert_true(faulty->wakes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(off, setup, teardown),
        cmocka_unit_test_setup_teardown(error, setup, teardown),
        cmocka_unit_test_setup_teardown(cut, setup, teardown),
        cmocka_unit_test_setup_teardown(lost, setup, teardown),
        cmocka_unit_test_setup_teardown(rot, setup, teardown),
        cmocka_unit_test_setup_teardown(misplaced, setup, teardown),
        cmocka_unit_test_setup_teardown(torn, setup, teardown),
        cmocka_unit_test_setup_teardown(delay, setup, teardown),
        cmocka_unit_test_setup_teardown(hang, setup, teardown),
        cmocka_unit_test_setup_teardown(full, setup, teardown),
        cmocka_unit_test_setup_teardown(many, setup, teardown),
        cmocka_unit_test_setup_teardown(refused, setup, teardown),
        cmocka_unit_test_setup_teardown(posted, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
