/* SPDX-License-Identifier: BSD-3-Clause */
/* The durable record on a real file: torn and rotten slots, a crash between the two writes, other people's records. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "record.h"
#include "wire.h"

#define CLUSTER   0xabcdull
#define SLOT_SIZE LS_RECORD_SLOT_SIZE

static char folder[64], path[128], error[LS_RECORD_ERROR_MAX];
static struct ls_record record;

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/lockstep-record-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/record", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder); /* nothing else is left behind */
}

static int reopen(void)
{
    return ls_record_open(&record, folder, CLUSTER, 5, error);
}

static void write_and_close(uint64_t incarnation, uint64_t promise)
{
    struct ls_durable durable;

    assert_int_equal(reopen(), 0);
    durable = record.durable;
    durable.incarnation = incarnation;
    durable.promise = promise;
    assert_int_equal(ls_record_write(&record, &durable), 0);
    ls_record_close(&record);
}

static void expect(uint64_t incarnation, uint64_t promise)
{
    if (reopen() != 0)
        fail_msg("%s", error);
    assert_int_equal(record.durable.cluster, CLUSTER);
    assert_int_equal(record.durable.generation, 2);
    assert_int_equal(record.durable.node, 5);
    assert_int_equal(record.durable.incarnation, incarnation);
    assert_int_equal(record.durable.promise, promise);
    ls_record_close(&record);
}

/* Counts the writes to each slot: in place of the C library's, for record.c too. */
static uint32_t writes[2];

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    writes[offset != 0]++;
    return syscall(SYS_pwrite64, fd, bytes, size, offset);
}

static void slot_get(int slot, uint8_t bytes[SLOT_SIZE])
{
    int fd = open(path, O_RDONLY);

    assert_int_equal(pread(fd, bytes, SLOT_SIZE, slot * LS_RECORD_SLOT_OFFSET), SLOT_SIZE);
    close(fd);
}

static void slot_put(int slot, const uint8_t *bytes, size_t size)
{
    int fd = open(path, O_WRONLY);

    assert_int_equal(pwrite(fd, bytes, size, slot * LS_RECORD_SLOT_OFFSET), size);
    close(fd);
}

static struct ls_durable founder(void)
{
    struct ls_durable durable = {.cluster = CLUSTER, .generation = 2, .node = 5, .founder = true};

    durable.members.count = 2;
    durable.members.member[0] = (struct ls_member){.node = 2,
                                                   .role = LS_MEMBER_VOTER,
                                                   .addr = {.ip = 0x0a070002, .port = 7400},
                                                   .ctrl = {.ip = 0x7f000001, .port = 7500}};
    durable.members.member[1] =
        (struct ls_member){.node = 5, .role = LS_MEMBER_LEARNER, .addr = {.ip = 0x0a070005, .port = 7400}};
    return durable;
}

static void create(void)
{
    struct ls_durable durable = founder();

    if (ls_record_create(folder, &durable, error) != 0)
        fail_msg("%s", error);
}

static void test_life(void **state)
{
    struct ls_durable durable = founder();

    (void)state;
    assert_int_equal(reopen(), -ENOENT);
    assert_non_null(strstr(error, "does not exist. If this node founds a new cluster: lockstep-ctrl bootstrap"));
    create();
    expect(0, 0);
    write_and_close(1, 0);
    write_and_close(1, 1);
    write_and_close(2, 9);
    expect(2, 9);
    assert_int_equal(ls_record_create(folder, &durable, error), -EEXIST);
    assert_non_null(strstr(error, "this node has a record already"));
    expect(2, 9);
}

/* Every length to which the first slot's write may have got before a crash: the update was not used yet, so the old
 * value is right until the new one is whole. */
static void test_torn(void **state)
{
    uint8_t before[SLOT_SIZE], after[SLOT_SIZE];

    (void)state;
    create();
    write_and_close(1, 3);
    slot_get(0, before);
    write_and_close(1, 4);
    slot_get(0, after);
    for (size_t n = 0; n <= SLOT_SIZE; n++) {
        slot_put(0, before, SLOT_SIZE);
        slot_put(1, before, SLOT_SIZE);
        slot_put(0, after, n);
        expect(1, memcmp(before, after, n) == 0 ? 3 : n == SLOT_SIZE ? 4 : 3);
        expect(1, n == SLOT_SIZE ? 4 : 3); /* and stays what it was found to be */
    }
    /* the first is whole, the second torn: the update may have been used */
    for (size_t n = 0; n <= SLOT_SIZE; n++) {
        slot_put(0, after, SLOT_SIZE);
        slot_put(1, before, SLOT_SIZE);
        slot_put(1, after, n);
        expect(1, 4);
    }
}

/* One rotten bit anywhere in one slot never rolls the record back; opening mends it, so that the other may rot next. */
static void test_rotten(void **state)
{
    uint8_t whole[SLOT_SIZE], rotten[SLOT_SIZE];

    (void)state;
    create();
    write_and_close(1, 3);
    write_and_close(1, 4);
    slot_get(0, whole);
    for (int slot = 0; slot < 2; slot++)
        for (size_t bit = 0; bit < 8 * SLOT_SIZE; bit += bit < 8 * 128 ? 1 : 61) { /* densely where the fields are */
            memcpy(rotten, whole, SLOT_SIZE);
            rotten[bit / 8] ^= (uint8_t)(1 << bit % 8);
            slot_put(slot, rotten, SLOT_SIZE);
            expect(1, 4);
            slot_get(slot, rotten);
            assert_memory_equal(rotten, whole, SLOT_SIZE);
        }
    memset(rotten, 0, sizeof(rotten));
    slot_put(0, rotten, SLOT_SIZE);
    slot_put(1, rotten, SLOT_SIZE);
    assert_int_equal(reopen(), -EBADMSG);
    assert_non_null(strstr(error, "is damaged: neither of its two copies is whole"));
    assert_int_equal(truncate(path, 10), 0);
    assert_int_equal(reopen(), -EBADMSG);
}

static void test_foreign(void **state)
{
    (void)state;
    create();
    write_and_close(1, 3);
    assert_int_equal(ls_record_open(&record, folder, CLUSTER + 1, 5, error), -EXDEV);
    assert_non_null(strstr(error, "belongs to cluster 000000000000abcd, the cluster file says 000000000000abce"));
    assert_int_equal(ls_record_open(&record, folder, CLUSTER, 6, error), -EXDEV);
    assert_non_null(strstr(error, "belongs to node 5, and this is node 6"));
    expect(1, 3);
}

/* Everything that has to be remembered comes back. */
static void test_fields(void **state)
{
    struct ls_durable durable = founder(), *found = &record.durable;

    (void)state;
    create();
    assert_int_equal(reopen(), 0);
    assert_true(found->founder);
    assert_true(ls_membership_equal(&found->members, &durable.members));
    assert_int_equal(found->members.seq, 0);
    durable = *found;
    durable.founder = false;
    durable.vote = 3;
    durable.incarnation = durable.counts = 77;
    durable.promise = 8;
    durable.members.seq = 4711;
    durable.members.member[1].role = LS_MEMBER_VOTER;
    assert_int_equal(ls_record_write(&record, &durable), 0);
    ls_record_close(&record);
    assert_int_equal(reopen(), 0);
    assert_false(found->founder);
    assert_int_equal(found->vote, 3);
    assert_int_equal(found->incarnation, 77);
    assert_int_equal(found->counts, 77);
    assert_int_equal(found->promise, 8);
    assert_int_equal(found->members.seq, 4711);
    assert_true(ls_membership_equal(&found->members, &durable.members));
    ls_record_close(&record);
    /* a new generation begins with one update; none known is a membership, too */
    assert_int_equal(reopen(), 0);
    durable.generation = 3;
    durable.members = (struct ls_membership){0};
    assert_int_equal(ls_record_write(&record, &durable), 0);
    ls_record_close(&record);
    assert_int_equal(reopen(), 0);
    assert_int_equal(found->generation, 3);
    assert_int_equal(found->members.count, 0);
    ls_record_close(&record);
}

/* A slot with the checksum of the format that it names. */
static void slot_forge(int slot, uint32_t version, uint32_t size)
{
    uint8_t bytes[SLOT_SIZE];
    uint32_t crc;

    slot_get(slot, bytes);
    memcpy(bytes + 8, &version, sizeof(version));
    memcpy(bytes + 12, &size, sizeof(size));
    crc = ls_crc32c(0, bytes, size - sizeof(crc));
    memcpy(bytes + size - sizeof(crc), &crc, sizeof(crc));
    slot_put(slot, bytes, SLOT_SIZE);
}

/* One slot of a newer format is enough: ours may be older than what it holds. */
static void test_formats(void **state)
{
    (void)state;
    create();
    slot_forge(0, 3, 512);
    assert_int_equal(reopen(), -EPROTO);
    assert_non_null(strstr(error, "is of format 3, this lockstep-ctrl reads format 2: start the newer lockstep-ctrl"));
    slot_forge(0, 1, 72);
    slot_forge(1, 1, 72);
    assert_int_equal(reopen(), -EPROTO);
    assert_non_null(strstr(error, "is of format 1"));
    slot_forge(0, 2, 72); /* ours, but of another size: damage */
    slot_forge(1, 2, 72);
    assert_int_equal(reopen(), -EBADMSG);
}

static void test_copied(void **state)
{
    uint8_t slots[2][SLOT_SIZE], fresh[128];

    (void)state;
    create();
    write_and_close(1, 3);
    slot_get(0, slots[0]);
    slot_get(1, slots[1]);
    snprintf((char *)fresh, sizeof(fresh), "%s/other",
             folder); /* the inode stays in use: no chance of getting it again */
    assert_int_equal(rename(path, (char *)fresh), 0);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    slot_put(0, slots[0], SLOT_SIZE);
    slot_put(1, slots[1], SLOT_SIZE);
    assert_int_equal(reopen(), -EXDEV);
    assert_non_null(strstr(error, "is a copy"));
    assert_int_equal(rename((char *)fresh, path), 0); /* moved, not copied */
    expect(1, 3);
}

/* Mending leaves the good slot alone: a crash meanwhile must not find both in pieces. */
static void test_mends_one(void **state)
{
    uint8_t whole[SLOT_SIZE], zero[SLOT_SIZE] = {0};

    (void)state;
    create();
    write_and_close(1, 4);
    slot_get(0, whole);
    for (int slot = 0; slot < 2; slot++) {
        slot_put(slot, zero, SLOT_SIZE);
        writes[0] = writes[1] = 0;
        expect(1, 4);
        assert_int_equal(writes[slot], 1);
        assert_int_equal(writes[1 - slot], 0);
    }
}

/* A disk that is full, or breaks: the error comes out, and nothing is taken for durable. */
static void test_write_error(void **state)
{
    struct ls_durable durable;
    int good;

    (void)state;
    create();
    assert_int_equal(reopen(), 0);
    durable = record.durable;
    durable.promise = 8;
    good = record.fd;
    record.fd = open("/dev/full", O_RDWR);
    assert_true(ls_record_write(&record, &durable) < 0);
    assert_int_equal(record.durable.promise, 0);
    close(record.fd);
    record.fd = good;
    ls_record_close(&record);
    expect(0, 0);
}

static void test_no_folder(void **state)
{
    struct ls_durable durable = founder();

    (void)state;
    assert_int_equal(ls_record_create("/nonexistent/folder", &durable, error), -ENOENT);
    assert_non_null(strstr(error, "mkdir -p /nonexistent/folder"));
}

int main(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH(test_life),        WITH(test_torn),      WITH(test_rotten),    WITH(test_foreign), WITH(test_copied),
        WITH(test_write_error), WITH(test_mends_one), WITH(test_no_folder), WITH(test_fields),  WITH(test_formats)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
