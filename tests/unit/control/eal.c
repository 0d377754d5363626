/* SPDX-License-Identifier: BSD-3-Clause */
/* The arguments that EAL gets for a node. Nothing is started. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "eal.h"

static struct ls_config config = {.cluster = 0xabc, .memory = 64 << 20};
static struct ls_config_node node = {.id = 3, .lcore_net = 5, .lcore_apply = 5, .device = "net_af_packet0,iface=e1"};
static struct ls_eal_args args;

static bool has(const char *argument)
{
    for (int i = 1; i < args.count; i++)
        if (strcmp(args.value[i], argument) == 0)
            return true;
    return false;
}

static const char *starting(const char *prefix)
{
    for (int i = 1; i < args.count; i++)
        if (strncmp(args.value[i], prefix, strlen(prefix)) == 0)
            return args.value[i];
    return "";
}

static void test_virtual(void **state)
{
    char name[LS_CONFIG_DEVICE_MAX];

    (void)state;
    ls_eal_arguments(&config, &node, false, &args);
    assert_null(args.value[args.count]);
    assert_non_null(strstr(starting("--lcores="), "),1@5"));
    assert_null(strstr(starting("--lcores="), "2@"));
    assert_true(has("--file-prefix=lockstep-0000000000000abc-3"));
    assert_true(has("64"));
    assert_true(has("--no-huge"));
    assert_true(has("--no-shconf"));
    assert_false(has("--in-memory")); /* excludes --no-huge in 22.11 */
    assert_true(has("--no-pci"));
    assert_true(has("--vdev=net_af_packet0,iface=e1"));
    assert_string_equal(ls_eal_device_name(node.device, name), "net_af_packet0");
}

static void test_pci(void **state)
{
    char name[LS_CONFIG_DEVICE_MAX];

    (void)state;
    node.lcore_apply = 7;
    strcpy(node.device, "0000:03:00.1");
    ls_eal_arguments(&config, &node, true, &args);
    assert_non_null(strstr(starting("--lcores="), "),1@5,2@7"));
    assert_true(has("--in-memory"));
    assert_false(has("--no-huge"));
    assert_false(has("--no-pci"));
    assert_true(has("0000:03:00.1"));
    assert_string_equal(starting("--vdev"), "");
    assert_string_equal(ls_eal_device_name(node.device, name), "0000:03:00.1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_virtual), cmocka_unit_test(test_pci)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
