/* SPDX-License-Identifier: BSD-3-Clause */
/* Looks at the machine before EAL does, whose own messages do not say what to do. Main thread, at start. */
#include "checks.h"

#include <dirent.h>
#include <errno.h>
#include <ifaddrs.h>
#include <inttypes.h>
#include <libgen.h>
#include <linux/capability.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIB ((uint64_t)1024 * 1024)

struct run {
    const struct ls_config *config;
    const struct ls_config_node *node;
    const char *root;
    struct ls_checks *checks;
};

static void problem(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void problem(struct run *run, const char *format, ...)
{
    va_list list;

    if (run->checks->problems == LS_CHECKS_MAX)
        return;
    va_start(list, format);
    vsnprintf(run->checks->problem[run->checks->problems++], LS_CHECK_TEXT_MAX, format, list);
    va_end(list);
}

static void note(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note(struct run *run, const char *format, ...)
{
    va_list list;

    if (run->checks->notes == LS_CHECKS_MAX)
        return;
    va_start(list, format);
    vsnprintf(run->checks->note[run->checks->notes++], LS_CHECK_TEXT_MAX, format, list);
    va_end(list);
}

static FILE *file_open(const char *root, const char *path)
{
    char name[1024];

    if ((size_t)snprintf(name, sizeof(name), "%s%s", root, path) >= sizeof(name))
        return NULL;
    return fopen(name, "re");
}

/* The number after `prefix` at a line's beginning; false: there is none. */
static bool file_number(const char *root, const char *path, const char *prefix, int base, uint64_t *number)
{
    FILE *file = file_open(root, path);
    char line[256];
    bool found = false;

    if (file == NULL)
        return false;
    while (!found && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, prefix, strlen(prefix)) != 0)
            continue;
        *number = strtoull(line + strlen(prefix), NULL, base);
        found = true;
    }
    fclose(file);
    return found;
}

static uint64_t hugepages_free_of(const char *root, const char *folder, uint64_t size)
{
    char path[512];
    uint64_t pages;

    snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/%.200s/free_hugepages", folder);
    return file_number(root, path, "", 10, &pages) ? pages * size : 0;
}

uint64_t ls_checks_hugepages_free(const char *root)
{
    uint64_t bytes = 0, kib;
    struct dirent *entry;
    char path[1024];
    DIR *dir;

    snprintf(path, sizeof(path), "%s/sys/kernel/mm/hugepages", root);
    dir = opendir(path);
    if (dir == NULL)
        return 0;
    while ((entry = readdir(dir)) != NULL)
        if (sscanf(entry->d_name, "hugepages-%" SCNu64 "kB", &kib) == 1)
            bytes += hugepages_free_of(root, entry->d_name, kib * 1024);
    closedir(dir);
    return bytes;
}

bool ls_checks_has_iommu(const char *root)
{
    struct dirent *entry;
    char path[1024];
    bool found = false;
    DIR *dir;

    snprintf(path, sizeof(path), "%s/sys/kernel/iommu_groups", root);
    dir = opendir(path);
    if (dir == NULL)
        return false;
    while (!found && (entry = readdir(dir)) != NULL)
        found = entry->d_name[0] != '.';
    closedir(dir);
    return found;
}

static void check_core(struct run *run, const cpu_set_t *allowed, const char *worker, uint32_t core)
{
    if (core < CPU_SETSIZE && CPU_ISSET(core, allowed))
        return;
    problem(run,
            "core %u for %s is not there, or not allowed to this process (%d are): see lscpu -e and taskset -p $$, and "
            "set nodes.lcores of node %u in the cluster file",
            core, worker, CPU_COUNT(allowed), run->node->id);
}

static void check_cores(struct run *run)
{
    uint32_t distinct = run->node->lcore_net == run->node->lcore_apply ? 1 : 2;
    cpu_set_t allowed;

    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
        problem(run, "the cores of this process cannot be told: %s", strerror(errno));
        return;
    }
    check_core(run, &allowed, "net", run->node->lcore_net);
    check_core(run, &allowed, "apply", run->node->lcore_apply);
    if (run->config->idle == LS_IDLE_POLL && (uint32_t)CPU_COUNT(&allowed) <= distinct)
        note(run,
             "idle: poll takes every core that there is (%d): other programs, ctrl too, run in what the scheduler "
             "takes back, with pauses of milliseconds; idle: yield shares them",
             CPU_COUNT(&allowed));
}

bool ls_checks_memory_available(const char *root, uint64_t *bytes)
{
    if (!file_number(root, "/proc/meminfo", "MemAvailable:", 10, bytes))
        return false;
    *bytes *= 1024;
    return true;
}

/* What this node takes in all, roughly: DPDK's memory, the log and its index, the state machine with its headroom. */
static void check_memory(struct run *run)
{
    const struct ls_config *config = run->config;
    uint64_t available, wanted = config->log_size + config->log_size / 8;

    if (config->machine == LS_MACHINE_KV)
        wanted += config->bytes + config->keys * 128;
    if (!run->checks->hugepages)
        wanted += config->memory;
    if (!ls_checks_memory_available(run->root, &available))
        return;
    if (config->machine == LS_MACHINE_KV && wanted <= available &&
        wanted + config->bytes + config->keys * 128 > available)
        note(run,
             "a full state could not be replaced by a checkpoint while it stands: about %" PRIu64
             " MiB of memory would "
             "be needed and %" PRIu64 " MiB are available: lower limits.bytes or limits.keys",
             (wanted + config->bytes + config->keys * 128) / MIB, available / MIB);
    if (wanted > available)
        problem(run,
                "about %" PRIu64 " MiB of memory are needed and %" PRIu64 " MiB are available: lower limits.bytes, "
                "limits.keys, limits.log_size or memory in the cluster file",
                wanted / MIB, available / MIB);
}

static void check_hugepages(struct run *run, bool pci)
{
    const struct ls_config *config = run->config;
    uint64_t free_bytes = ls_checks_hugepages_free(run->root);
    bool enough = free_bytes >= config->memory;

    run->checks->hugepages =
        config->hugepages == LS_HUGEPAGES_YES || (config->hugepages == LS_HUGEPAGES_AUTO && enough);
    if (config->hugepages == LS_HUGEPAGES_YES && !enough)
        problem(run,
                "%" PRIu64 " MiB of free huge pages are needed and %" PRIu64 " MiB are there: sysctl -w "
                "vm.nr_hugepages=N with N at least %" PRIu64 " (pages of 2 MiB), or hugepages: no",
                config->memory / MIB, free_bytes / MIB, (config->memory + 2 * MIB - 1) / (2 * MIB));
    else if (pci && !run->checks->hugepages && !ls_checks_has_iommu(run->root))
        problem(run,
                "a PCI device without an IOMMU needs huge pages, and %" PRIu64 " of %" PRIu64 " MiB are free: sysctl "
                "-w vm.nr_hugepages=%" PRIu64 ", or boot with intel_iommu=on or amd_iommu=on",
                free_bytes / MIB, config->memory / MIB, (config->memory + 2 * MIB - 1) / (2 * MIB));
    else if (config->hugepages == LS_HUGEPAGES_AUTO && !enough)
        note(run,
             "no huge pages are used (%" PRIu64 " of %" PRIu64 " MiB are free): sysctl -w vm.nr_hugepages=%" PRIu64
             " makes memory access faster",
             free_bytes / MIB, config->memory / MIB, (config->memory + 2 * MIB - 1) / (2 * MIB));
}

static void check_pci(struct run *run)
{
    static const char *const drivers[] = {"vfio-pci", "uio_pci_generic", "igb_uio", "mlx5_core", "mlx4_core", NULL};
    const char *device = run->node->device;
    char path[1200], target[512];
    ssize_t length;
    struct stat info;
    const char *driver;

    snprintf(path, sizeof(path), "%s/sys/bus/pci/devices/%s%s", run->root, strlen(device) < 12 ? "0000:" : "", device);
    if (stat(path, &info) != 0) {
        problem(run, "PCI device %s is not there: lspci -D | grep -i ethernet lists what is, nodes.device names it",
                device);
        return;
    }
    strncat(path, "/driver", sizeof(path) - strlen(path) - 1);
    length = readlink(path, target, sizeof(target) - 1);
    target[length > 0 ? length : 0] = '\0';
    driver = length > 0 ? basename(target) : "none";
    for (int i = 0; drivers[i] != NULL; i++)
        if (strcmp(driver, drivers[i]) == 0)
            return;
    problem(run,
            "PCI device %s has the driver %s, which DPDK cannot use: modprobe vfio-pci && dpdk-devbind.py -b "
            "vfio-pci %s",
            device, driver, device);
}

/* The value of `key` in "net_x,key=value,...". */
static bool device_argument(const char *device, const char *key, char *value, size_t room)
{
    const char *at = device;
    size_t length;

    while ((at = strchr(at, ',')) != NULL) {
        at++;
        if (strncmp(at, key, strlen(key)) != 0 || at[strlen(key)] != '=')
            continue;
        at += strlen(key) + 1;
        length = strcspn(at, ",");
        if (length >= room)
            return false;
        memcpy(value, at, length);
        value[length] = '\0';
        return true;
    }
    return false;
}

static void check_interface(struct run *run)
{
    char name[IF_NAMESIZE], path[128];
    uint64_t flags = 0;

    if (!device_argument(run->node->device, "iface", name, sizeof(name))) {
        problem(run, "device \"%s\" names no interface: write it as net_af_packet0,iface=NAME", run->node->device);
        return;
    }
    snprintf(path, sizeof(path), "/sys/class/net/%s/flags", name);
    if (!file_number(run->root, path, "", 16, &flags))
        problem(run, "interface %s is not there (nor in this network namespace): ip -br link lists what is", name);
    else if ((flags & IFF_UP) == 0)
        problem(run, "interface %s is down: ip link set dev %s up", name, name);
}

static void check_capabilities(struct run *run)
{
    uint64_t effective = 0, wanted = 1ull << CAP_NET_RAW | 1ull << CAP_NET_ADMIN;

    if (file_number(run->root, "/proc/self/status", "CapEff:", 16, &effective) && (effective & wanted) != wanted)
        problem(run,
                "device \"%s\" needs CAP_NET_RAW and CAP_NET_ADMIN: start as root, or setcap "
                "cap_net_raw,cap_net_admin,cap_ipc_lock+ep on lockstep-dataplane",
                run->node->device);
}

/* If the kernel has the address too, it answers our frames with "port unreachable". */
static void check_address(struct run *run)
{
    struct ifaddrs *all, *at;

    if (run->root[0] != '\0' || getifaddrs(&all) != 0)
        return;
    for (at = all; at != NULL; at = at->ifa_next) {
        const struct sockaddr_in *address = (const struct sockaddr_in *)(const void *)at->ifa_addr;

        if (address == NULL || address->sin_family != AF_INET || ntohl(address->sin_addr.s_addr) != run->node->ip)
            continue;
        problem(run,
                "the kernel has node %u's address on interface %s and would answer in its place: ip addr del "
                "%u.%u.%u.%u/%u dev %s",
                run->node->id, at->ifa_name, run->node->ip >> 24, run->node->ip >> 16 & 255, run->node->ip >> 8 & 255,
                run->node->ip & 255, run->node->prefix, at->ifa_name);
    }
    freeifaddrs(all);
}

void ls_checks_run(const struct ls_config *config, const struct ls_config_node *node, const char *root,
                   struct ls_checks *checks)
{
    struct run run = {.config = config, .node = node, .root = root, .checks = checks};
    bool pci = ls_config_device_is_pci(node->device);

    memset(checks, 0, sizeof(*checks));
    check_cores(&run);
    check_hugepages(&run, pci);
    check_memory(&run);
    if (pci)
        check_pci(&run);
    if (strncmp(node->device, "net_af_packet", 13) == 0 || strncmp(node->device, "net_af_xdp", 10) == 0)
        check_interface(&run);
    if (strncmp(node->device, "net_af_", 7) == 0 || strncmp(node->device, "net_tap", 7) == 0)
        check_capabilities(&run);
    check_address(&run);
}
