/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * EAL arguments and start. The prefix is the node's own, so that several nodes of one machine neither share files nor
 * clean up each other's; only the configured device is given to EAL, so that no other NIC of the machine is touched.
 * Main thread.
 */
#include "eal.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_log.h>

#define WORKERS_MAX 2 /* lcores 1 and 2 */

/* What each of them runs. EAL orders its own end with the wait for it, but in a library that ThreadSanitizer does not
 * see into; `returned` says the same where it looks. */
static struct launched {
    int (*run)(void *argument);
    void *argument;
    _Atomic bool returned; /* writer: the lcore, once */
} launched[WORKERS_MAX];

static void add(struct ls_eal_args *args, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct ls_eal_args *args, const char *format, ...)
{
    va_list list;
    int length;

    assert(args->count < LS_EAL_ARGS_MAX);
    va_start(list, format);
    length = vsnprintf(args->text[args->count], sizeof(args->text[0]), format, list);
    va_end(list);
    assert(length >= 0 && (size_t)length < sizeof(args->text[0]));
    args->value[args->count] = args->text[args->count];
    args->value[++args->count] = NULL;
}

/* The cores that this process may use, as EAL writes a set: "0-3,8". Shortened where there is no room. */
static void cores_allowed(char *text, size_t room)
{
    size_t used = 0;
    cpu_set_t allowed;

    text[0] = '\0';
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
        snprintf(text, room, "0");
        return;
    }
    for (int first = 0; first < CPU_SETSIZE && used + 16 < room; first++) {
        int last = first;

        if (!CPU_ISSET(first, &allowed))
            continue;
        while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, &allowed))
            last++;
        used += (size_t)snprintf(text + used, room - used, used > 0 ? ",%d" : "%d", first);
        if (last > first)
            used += (size_t)snprintf(text + used, room - used, "-%d", last);
        first = last;
    }
}

void ls_eal_arguments(const struct ls_config *config, const struct ls_config_node *node, bool hugepages,
                      struct ls_eal_args *args)
{
    char cores[256];

    cores_allowed(cores, sizeof(cores));
    memset(args, 0, sizeof(*args));
    add(args, "lockstep-dataplane");
    if (node->lcore_net == node->lcore_apply)
        add(args, "--lcores=0@(%s),1@%u", cores, node->lcore_net);
    else
        add(args, "--lcores=0@(%s),1@%u,2@%u", cores, node->lcore_net, node->lcore_apply);
    add(args, "--main-lcore=0");
    add(args, "--file-prefix=lockstep-%016" PRIx64 "-%u", config->cluster, node->id);
    add(args, "-m");
    add(args, "%" PRIu64, config->memory >> 20);
    /* Neither leaves files behind. The two cannot be combined in 22.11. */
    if (hugepages) {
        add(args, "--in-memory");
    } else {
        add(args, "--no-huge");
        add(args, "--no-shconf");
    }
    if (ls_config_device_is_pci(node->device)) {
        add(args, "-a");
        add(args, "%s", node->device);
    } else {
        add(args, "--no-pci");
        add(args, "--vdev=%s", node->device);
    }
    /* It warns of what nobody asked for. Before the general one: EAL keeps the list backwards. */
    add(args, "--log-level=lib.telemetry:error");
    add(args, "--log-level=*:warning");
}

/* EAL leaves its run-time directory behind, one for each cluster and node that ever ran here. */
static void directory_remove(const char *path)
{
    struct dirent *entry;
    DIR *dir = opendir(path);

    if (dir == NULL)
        return;
    while ((entry = readdir(dir)) != NULL)
        (void)unlinkat(dirfd(dir), entry->d_name, 0); /* not of directories: "." and ".." stay */
    closedir(dir);
    (void)rmdir(path);
}

int ls_eal_start(const struct ls_config *config, const struct ls_config_node *node, bool hugepages, char *error,
                 size_t error_size)
{
    static struct ls_eal_args args;
    size_t used;
    int result;

    ls_eal_arguments(config, node, hugepages, &args);
    /* EAL permutes the array it is given: a copy, so that the message below shows the one we made. */
    char *value[LS_EAL_ARGS_MAX + 1];
    memcpy(value, args.value, sizeof(value));
    if (rte_eal_init(args.count, value) >= 0)
        return 0;
    result = rte_errno != 0 ? -rte_errno : -EIO;
    directory_remove(rte_eal_get_runtime_dir());
    used =
        (size_t)snprintf(error, error_size, "DPDK does not start: %s (its own lines stand above); the arguments were",
                         rte_strerror(-result));
    for (int i = 1; i < args.count && used < error_size; i++)
        used += (size_t)snprintf(error + used, error_size - used, " %s", args.value[i]);
    return result;
}

void ls_eal_stop(void)
{
    char path[512];

    snprintf(path, sizeof(path), "%s", rte_eal_get_runtime_dir());
    (void)rte_eal_cleanup(); /* the process ends; what it says went wrong it has logged */
    directory_remove(path);
}

static int launched_run(void *argument)
{
    struct launched *l = argument;
    int result = l->run(l->argument);

    atomic_store_explicit(&l->returned, true, memory_order_release); /* pairs with ls_eal_wait() */
    return result;
}

int ls_eal_launch(uint32_t which, int (*run)(void *argument), void *argument)
{
    struct launched *l = &launched[which];

    assert(which < WORKERS_MAX && l->run == NULL);
    l->run = run;
    l->argument = argument;
    return rte_eal_remote_launch(launched_run, l, 1 + which);
}

void ls_eal_wait(void)
{
    rte_eal_mp_wait_lcore();
    for (uint32_t i = 0; i < WORKERS_MAX; i++)
        (void)atomic_load_explicit(&launched[i].returned, memory_order_acquire); /* all they did happened before */
}

const char *ls_eal_device_name(const char *device, char *name)
{
    size_t length = strcspn(device, ",");

    assert(length < LS_CONFIG_DEVICE_MAX);
    memcpy(name, device, length);
    name[length] = '\0';
    return name;
}
