/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The cluster file: one YAML file, the same on every node, read once at start by the dataplane, lockstep-ctrl, the
 * lockstep command and the load generators. Pure C over libyaml, no DPDK: any program may link it. Everything is
 * checked here, each field's form and range and what fields say together, so that its users need no checks of their
 * own.
 */
#ifndef LOCKSTEP_CONTROL_CONFIG_H
#define LOCKSTEP_CONTROL_CONFIG_H

#include <lockstep/limits.h>
#include <lockstep/membership.h>
#include <lockstep/types.h>

#include "../workers/idle.h"

#define LS_CONFIG_NAME_MAX        32
#define LS_CONFIG_DEVICE_MAX      256
#define LS_CONFIG_SOCKET_MAX      104 /* sun_path has 108 bytes */
#define LS_CONFIG_PATH_MAX        512
#define LS_CONFIG_FILE_MAX        (1024 * 1024)
#define LS_CONFIG_ERROR_MAX       1024
#define LS_CONFIG_LCORE_MAX       1023
#define LS_CONFIG_KEYS_DEFAULT    (1000ull * 1000)
#define LS_CONFIG_BYTES_DEFAULT   (256ull * 1024 * 1024)
#define LS_CONFIG_MEMORY_DEFAULT  (256ull * 1024 * 1024)
#define LS_CONFIG_SEGMENT_DEFAULT (64ull * 1024 * 1024)

enum ls_machine_kind { LS_MACHINE_KV, LS_MACHINE_ECHO };

enum ls_hugepages { LS_HUGEPAGES_AUTO, LS_HUGEPAGES_NO, LS_HUGEPAGES_YES };

/* How eagerly a silent sequencer is replaced: `default` stands scheduling pauses of shared cores, `aggressive` wants
 * dedicated ones. What times these are is ctrl's. */
enum ls_profile { LS_PROFILE_DEFAULT, LS_PROFILE_AGGRESSIVE };

struct ls_config_node {
    uint16_t id;
    uint16_t role;    /* enum ls_member_role */
    uint32_t ip;      /* host order */
    uint32_t gateway; /* host order; 0: none */
    uint32_t prefix;
    uint32_t lcore_net; /* CPU numbers; equal: both workers share one */
    uint32_t lcore_apply;
    struct ls_addr ctrl;    /* of its lockstep-ctrl, for the others'; zero: none, where it is the only node */
    struct ls_addr metrics; /* where its lockstep-ctrl serves metrics over TCP; zero: nowhere. ip 0: any of its own */
    char device[LS_CONFIG_DEVICE_MAX]; /* PCI address, or vdev with its arguments */
    char ctrl_socket[LS_CONFIG_SOCKET_MAX];
    char data_dir[LS_CONFIG_PATH_MAX];
    uint32_t line; /* where it stands in the file */
};

struct ls_config {
    char name[LS_CONFIG_NAME_MAX];
    uint64_t cluster; /* id, never 0 */
    uint32_t generation;
    uint16_t group;
    uint16_t port;
    uint16_t first_sequencer; /* node id, a voter */
    enum ls_machine_kind machine;
    enum ls_durability durability; /* MEMORY, ASYNC or JOURNAL: what a commit stands for */
    enum ls_idle_policy idle;
    enum ls_hugepages hugepages;
    bool faults_allowed;
    uint64_t memory; /* bytes for DPDK: buffers and rings */

    /* limits */
    uint64_t keys;
    uint64_t bytes;
    uint64_t log_size;
    uint64_t session_idle_ns;
    uint32_t sessions;
    uint32_t window;
    uint32_t op_max;

    /* timing; 0: the replica's own default */
    uint64_t heartbeat_ns;
    uint64_t suspend_ns;
    uint64_t tick_ns;
    uint64_t reorder_min_ns;
    uint64_t reorder_max_ns;
    uint64_t question_ns;
    uint64_t pull_idle_ns;
    uint64_t inflight_max;

    /* ctrl; 0: as the profile says */
    enum ls_profile profile;
    struct ls_config_detect {
        uint64_t poll_ns;
        uint64_t suspect_min_ns;
        uint64_t suspect_max_ns;
        uint64_t stall_ns;
        uint64_t stall_kill_ns;
        uint64_t late_ns;
        uint64_t status_ns;
        uint64_t answer_ns;
        uint64_t stagger_ns;
        uint64_t handover_ns;
        uint64_t promote_patience_ns;
        uint64_t promote_lag; /* entries */
    } detect;
    uint64_t restart_min_ns;
    uint64_t restart_max_ns;

    uint64_t checkpoint_every_ns; /* 0: only when asked for */
    uint64_t checkpoint_rate;     /* bytes per second, written and sent; 0: no limit */
    uint32_t checkpoint_keep;
    uint64_t scrub_ns; /* one walk over the whole state; 0: never */

    uint64_t journal_segment; /* bytes of the log in one file; a multiple of LS_DISK_BLOCK */
    uint64_t journal_keep;    /* bytes of the log that stay below the newest verified checkpoint */

    uint32_t nodes;
    struct ls_config_node node[LS_MEMBERS_MAX];
};

/* Reads and checks `path`. 0; or -errno with one line of text in `error` (LS_CONFIG_ERROR_MAX bytes):
 * "file:line: field: what is wrong, the value seen, what is allowed". -EINVAL where the content is wrong. `config` is
 * only meaningful after 0. */
int ls_config_load(struct ls_config *config, const char *path, char *error);

/* The same from memory; `name` stands for the file in messages. */
int ls_config_parse(struct ls_config *config, const char *text, size_t length, const char *name, char *error);

/* NULL: no such node. */
const struct ls_config_node *ls_config_find(const struct ls_config *config, uint16_t node);

/* The same list as members with their UDP end points; returns their number (<= LS_MEMBERS_MAX). */
uint32_t ls_config_members(const struct ls_config *config, struct ls_member *members);

/* The same as the membership of the cluster's founders, ids ascending, with the addresses of their ctrls; seq 0. */
void ls_config_membership(const struct ls_config *config, struct ls_membership *members);

/* "1, 2, 3": the ids that there are, for messages. `text` has `room` bytes; returns it. */
const char *ls_config_node_list(const struct ls_config *config, char *text, size_t room);

/* True for a PCI address (0000:03:00.0 or 03:00.0), false for a virtual device. */
bool ls_config_device_is_pci(const char *device);

#endif
