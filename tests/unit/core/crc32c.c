/* SPDX-License-Identifier: BSD-3-Clause */
/* CRC32C against published values and against its definition, bit by bit. Built twice: as the core has it, and without
 * the processor's instruction. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "wire.h"

static uint32_t by_definition(uint32_t crc, const uint8_t *bytes, size_t n)
{
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? (crc >> 1) ^ 0x82f63b78u : crc >> 1;
    }
    return ~crc;
}

static uint8_t bytes[8192 + 16];

static int fill(void **state)
{
    uint32_t x = 1;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        x = x * 1664525 + 1013904223;
        bytes[i] = (uint8_t)(x >> 24);
    }
    return 0;
}

/* RFC 3720, B.4, and the check value of the catalogue of parametrised CRC algorithms. */
static void test_published_values(void **state)
{
    uint8_t b[48];
    assert_int_equal(ls_crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(ls_crc32c(0, "", 0), 0);
    memset(b, 0, 32);
    assert_int_equal(ls_crc32c(0, b, 32), 0x8a9136aa);
    memset(b, 0xff, 32);
    assert_int_equal(ls_crc32c(0, b, 32), 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++)
        b[i] = i;
    assert_int_equal(ls_crc32c(0, b, 32), 0x46dd794e);
    for (uint8_t i = 0; i < 32; i++)
        b[i] = (uint8_t)(31 - i);
    assert_int_equal(ls_crc32c(0, b, 32), 0x113fdb5c);
    static const uint8_t read_command[48] = {0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0,    0, 0, 0,    0, 0, 0, 0,
                                             0x14, 0,    0, 0, 0, 0, 4, 0, 0,    0, 0, 0x14, 0, 0, 0, 0x18,
                                             0x28, 0,    0, 0, 0, 0, 0, 0, 0x02, 0, 0, 0,    0, 0, 0, 0};
    assert_int_equal(ls_crc32c(0, read_command, 48), 0xd9963a56);
}

static void test_every_length(void **state)
{
    for (size_t n = 0; n <= 2048; n++)
        for (size_t shift = 0; shift < 8; shift += 1 + n % 3)
            assert_int_equal(ls_crc32c((uint32_t)n, bytes + shift, n), by_definition((uint32_t)n, bytes + shift, n));
}

static void test_long(void **state)
{
    for (size_t n = 2049; n <= 8192; n += 61)
        assert_int_equal(ls_crc32c(7, bytes, n), by_definition(7, bytes, n));
}

static void test_every_split(void **state)
{
    static const size_t lengths[] = {1, 8, 63, 64, 159, 160, 200, 512, 1448, 2048};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        size_t n = lengths[i];
        uint32_t whole = ls_crc32c(0, bytes, n);
        for (size_t split = 0; split <= n; split++)
            assert_int_equal(ls_crc32c(ls_crc32c(0, bytes, split), bytes + split, n - split), whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_values),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_every_split),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
