/* SPDX-License-Identifier: BSD-3-Clause */
/* What a node says of machines that lack something: each made of a few files below a directory of its own. */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "checks.h"

static char root[64];
static struct ls_config config;
static struct ls_config_node *node = &config.node[0];
static struct ls_checks checks;

static void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *format, ...)
{
    char command[512];
    va_list list;

    va_start(list, format);
    vsnprintf(command, sizeof(command), format, list);
    va_end(list);
    assert_int_equal(system(command), 0);
}

static void file(const char *path, const char *text)
{
    char name[256];
    FILE *out;

    shell("mkdir -p $(dirname %s%s)", root, path);
    snprintf(name, sizeof(name), "%s%s", root, path);
    out = fopen(name, "w");
    assert_non_null(out);
    fputs(text, out);
    assert_int_equal(fclose(out), 0);
}

/* A machine where nothing is missing. */
static int setup(void **state)
{
    (void)state;
    strcpy(root, "/tmp/lockstep-checks-XXXXXX");
    assert_non_null(mkdtemp(root));
    memset(&config, 0, sizeof(config));
    config.memory = 64 << 20;
    config.keys = 1000;
    config.bytes = 1 << 20;
    config.log_size = 1 << 20;
    config.nodes = 1;
    node->id = 4;
    strcpy(node->device, "net_af_packet0,iface=lan9,qdisc_bypass=1");
    node->lcore_net = node->lcore_apply = (uint32_t)sched_getcpu();
    file("/proc/meminfo", "MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n");
    file("/proc/self/status", "Name: x\nCapEff:\t000001ffffffffff\n");
    file("/sys/class/net/lan9/flags", "0x1003\n");
    file("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "10\n");
    file("/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages", "1\n");
    file("/sys/kernel/iommu_groups/0/type", "DMA\n");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    shell("rm -r %s", root);
    return 0;
}

static void expect(const char *problem)
{
    ls_checks_run(&config, node, root, &checks);
    if (problem == NULL) {
        if (checks.problems > 0)
            fail_msg("%s", checks.problem[0]);
        return;
    }
    assert_int_equal(checks.problems, 1);
    assert_string_equal(checks.problem[0], problem);
}

static void test_good(void **state)
{
    (void)state;
    expect(NULL);
    assert_true(checks.hugepages);
    assert_int_equal(ls_checks_hugepages_free(root), (10ull << 21) + (1ull << 30));
    assert_true(ls_checks_has_iommu(root));
}

static void test_cores(void **state)
{
    (void)state;
    node->lcore_apply = 1000;
    ls_checks_run(&config, node, root, &checks);
    assert_int_equal(checks.problems, 1);
    assert_non_null(strstr(checks.problem[0], "core 1000 for apply is not there, or not allowed to this process"));
    assert_non_null(strstr(checks.problem[0], "set nodes.lcores of node 4 in the cluster file"));
}

static void test_hugepages(void **state)
{
    (void)state;
    file("/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages", "0\n");
    expect(NULL);
    assert_false(checks.hugepages);
    assert_int_equal(checks.notes, 1);
    assert_string_equal(checks.note[0], "no huge pages are used (20 of 64 MiB are free): sysctl -w vm.nr_hugepages=32 "
                                        "makes memory access faster");
    config.hugepages = LS_HUGEPAGES_YES;
    expect("64 MiB of free huge pages are needed and 20 MiB are there: sysctl -w vm.nr_hugepages=N with N at least 32 "
           "(pages of 2 MiB), or hugepages: no");
    config.hugepages = LS_HUGEPAGES_NO;
    expect(NULL);
    assert_false(checks.hugepages);
}

static void test_memory(void **state)
{
    (void)state;
    config.hugepages = LS_HUGEPAGES_NO;
    config.log_size = 16ull << 30;
    file("/proc/meminfo", "MemTotal: 9000000 kB\nMemAvailable: 1048576 kB\n");
    expect("about 18497 MiB of memory are needed and 1024 MiB are available: lower limits.bytes, limits.keys, "
           "limits.log_size or memory in the cluster file");
}

static void test_interface(void **state)
{
    (void)state;
    file("/sys/class/net/lan9/flags", "0x1002\n");
    expect("interface lan9 is down: ip link set dev lan9 up");
    strcpy(node->device, "net_af_packet0,iface=lan8");
    expect("interface lan8 is not there (nor in this network namespace): ip -br link lists what is");
    strcpy(node->device, "net_af_packet0,xiface=lan9");
    expect("device \"net_af_packet0,xiface=lan9\" names no interface: write it as net_af_packet0,iface=NAME");
}

static void test_capabilities(void **state)
{
    (void)state;
    file("/proc/self/status", "Name: x\nCapEff:\t0000000000001000\n");
    expect("device \"net_af_packet0,iface=lan9,qdisc_bypass=1\" needs CAP_NET_RAW and CAP_NET_ADMIN: start as root, or "
           "setcap cap_net_raw,cap_net_admin,cap_ipc_lock+ep on lockstep-dataplane");
    strcpy(node->device, "net_ring0"); /* needs none */
    expect(NULL);
}

static void test_pci(void **state)
{
    (void)state;
    strcpy(node->device, "03:00.0");
    expect("PCI device 03:00.0 is not there: lspci -D | grep -i ethernet lists what is, nodes.device names it");
    shell("mkdir -p %s/sys/bus/pci/devices/0000:03:00.0 %s/drivers/e1000e", root, root);
    expect("PCI device 03:00.0 has the driver none, which DPDK cannot use: modprobe vfio-pci && dpdk-devbind.py -b "
           "vfio-pci 03:00.0");
    shell("ln -s ../drivers/e1000e %s/sys/bus/pci/devices/0000:03:00.0/driver", root);
    expect("PCI device 03:00.0 has the driver e1000e, which DPDK cannot use: modprobe vfio-pci && dpdk-devbind.py -b "
           "vfio-pci 03:00.0");
    shell("ln -sfn ../drivers/vfio-pci %s/sys/bus/pci/devices/0000:03:00.0/driver", root);
    expect(NULL);
    /* without huge pages it needs an IOMMU */
    file("/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages", "0\n");
    expect(NULL);
    shell("rm -r %s/sys/kernel/iommu_groups/0", root);
    expect(
        "a PCI device without an IOMMU needs huge pages, and 20 of 64 MiB are free: sysctl -w vm.nr_hugepages=32, or "
        "boot with intel_iommu=on or amd_iommu=on");
}

int main(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {WITH(test_good),   WITH(test_cores),     WITH(test_hugepages),
                                       WITH(test_memory), WITH(test_interface), WITH(test_capabilities),
                                       WITH(test_pci)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
