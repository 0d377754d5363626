/* SPDX-License-Identifier: BSD-3-Clause */
/* The cluster file: what a good one gives, and the message (with its line) that each kind of mistake gets. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "config.h"

/* Line numbers below count from here. */
static const char good[] = "cluster:\n"                                                                  /* 1 */
                           "  name: demo\n"                                                              /* 2 */
                           "  id: 0123456789abcdef\n"                                                    /* 3 */
                           "  generation: 3\n"                                                           /* 4 */
                           "group: 2\n"                                                                  /* 5 */
                           "port: 7401\n"                                                                /* 6 */
                           "first_sequencer: 2\n"                                                        /* 7 */
                           "machine: echo\n"                                                             /* 8 */
                           "idle: sleep\n"                                                               /* 9 */
                           "hugepages: no\n"                                                             /* 10 */
                           "memory: 128M\n"                                                              /* 11 */
                           "faults_allowed: true\n"                                                      /* 12 */
                           "limits: {keys: 1000, bytes: 16MiB,\n"                                        /* 13 */
                           "  log_size: 8M, sessions: 32, window: 16,\n"                                 /* 14 */
                           "  session_idle: 5s, op_max: 64K}\n"                                          /* 15 */
                           "timing:\n"                                                                   /* 16 */
                           "  heartbeat: 500us\n"                                                        /* 17 */
                           "  suspend: 50ms\n"                                                           /* 18 */
                           "nodes:\n"                                                                    /* 19 */
                           "  - id: 1\n"                                                                 /* 20 */
                           "    ip: 10.1.0.1\n"                                                          /* 21 */
                           "    prefix: 24\n"                                                            /* 22 */
                           "    device: 0000:03:00.0\n"                                                  /* 23 */
                           "    ctrl_socket: /run/lockstep/1.sock\n"                                     /* 24 */
                           "    data_dir: /var/lib/lockstep/1\n"                                         /* 25 */
                           "    ctrl: 192.168.0.1:7500\n"                                                /* 26 */
                           "  - id: 2\n"                                                                 /* 27 */
                           "    ip: 10.1.0.2\n"                                                          /* 28 */
                           "    prefix: 24\n"                                                            /* 29 */
                           "    gateway: 10.1.0.254\n"                                                   /* 30 */
                           "    device: net_af_packet0,iface=e1\n"                                       /* 31 */
                           "    lcores: {net: 1, apply: 2}\n"                                            /* 32 */
                           "    ctrl_socket: /run/lockstep/2.sock\n"                                     /* 33 */
                           "    data_dir: /var/lib/lockstep/2\n"                                         /* 34 */
                           "    ctrl: 192.168.0.2:7500\n"                                                /* 35 */
                           "  - {id: 7, ip: 10.1.0.7, prefix: 24, device: net_ring0, role: learner,\n"   /* 36 */
                           "     ctrl_socket: /run/7, data_dir: /data/7, ctrl: \"192.168.0.7:7500\"}\n"; /* 37 */

static void test_good(void **state)
{
    struct ls_config config;
    struct ls_member members[LS_MEMBERS_MAX];
    char error[LS_CONFIG_ERROR_MAX];

    (void)state;
    if (ls_config_parse(&config, good, strlen(good), "c.yaml", error) != 0)
        fail_msg("%s", error);
    assert_string_equal(config.name, "demo");
    assert_int_equal(config.cluster, 0x0123456789abcdefull);
    assert_int_equal(config.generation, 3);
    assert_int_equal(config.group, 2);
    assert_int_equal(config.port, 7401);
    assert_int_equal(config.first_sequencer, 2);
    assert_int_equal(config.machine, LS_MACHINE_ECHO);
    assert_int_equal(config.idle, LS_IDLE_SLEEP);
    assert_int_equal(config.hugepages, LS_HUGEPAGES_NO);
    assert_int_equal(config.memory, 128u << 20);
    assert_true(config.faults_allowed);
    assert_int_equal(config.keys, 1000);
    assert_int_equal(config.bytes, 16u << 20);
    assert_int_equal(config.log_size, 8u << 20);
    assert_int_equal(config.sessions, 32);
    assert_int_equal(config.window, 16);
    assert_int_equal(config.session_idle_ns, 5000000000ull);
    assert_int_equal(config.op_max, 65536);
    assert_int_equal(config.heartbeat_ns, 500000);
    assert_int_equal(config.suspend_ns, 50000000);
    assert_int_equal(config.tick_ns, 0);
    assert_int_equal(config.nodes, 3);
    assert_int_equal(config.node[0].ip, 0x0a010001);
    assert_int_equal(config.node[0].lcore_net, 0);
    assert_int_equal(config.node[0].role, LS_MEMBER_VOTER);
    assert_int_equal(config.node[1].gateway, 0x0a0100fe);
    assert_int_equal(config.node[1].lcore_net, 1);
    assert_int_equal(config.node[1].lcore_apply, 2);
    assert_string_equal(config.node[1].device, "net_af_packet0,iface=e1");
    assert_string_equal(config.node[1].data_dir, "/var/lib/lockstep/2");
    assert_int_equal(config.node[1].line, 27);
    assert_int_equal(config.node[2].role, LS_MEMBER_LEARNER);
    assert_ptr_equal(ls_config_find(&config, 7), &config.node[2]);
    assert_null(ls_config_find(&config, 3));
    assert_int_equal(ls_config_members(&config, members), 3);
    assert_int_equal(members[2].node, 7);
    assert_int_equal(members[2].addr.port, 7401);
    assert_int_equal(members[2].addr.ip, 0x0a010007);
    assert_string_equal(ls_config_node_list(&config, error, sizeof(error)), "1, 2, 7");
}

static void test_defaults(void **state)
{
    static const char text[] = "cluster: {name: a, id: ffffffffffffffff}\n"
                               "nodes: [{id: 5, ip: 10.0.0.5, prefix: 24, device: '03:00.0',\n"
                               " ctrl_socket: /s, data_dir: /d}]\n";
    struct ls_config config;
    char error[LS_CONFIG_ERROR_MAX];

    (void)state;
    if (ls_config_parse(&config, text, strlen(text), "c.yaml", error) != 0)
        fail_msg("%s", error);
    assert_int_equal(config.generation, 1);
    assert_int_equal(config.port, LS_PORT_DEFAULT);
    assert_int_equal(config.first_sequencer, 5); /* the first voter */
    assert_int_equal(config.machine, LS_MACHINE_KV);
    assert_int_equal(config.idle, LS_IDLE_YIELD);
    assert_int_equal(config.hugepages, LS_HUGEPAGES_AUTO);
    assert_false(config.faults_allowed);
    assert_int_equal(config.op_max, LS_OP_MAX_DEFAULT);
    assert_int_equal(config.log_size, LS_LOG_SIZE_DEFAULT);
    assert_int_equal(config.profile, LS_PROFILE_DEFAULT);
    assert_int_equal(config.checkpoint_every_ns, 600000000000);
    assert_int_equal(config.checkpoint_keep, 3);
    assert_int_equal(config.checkpoint_rate, 200u << 20);
    assert_int_equal(config.scrub_ns, 3600000000000);
    assert_int_equal(config.durability, LS_DURABLE_MEMORY);
    assert_int_equal(config.journal_segment, 64u << 20);
    assert_int_equal(config.journal_keep, 256u << 20);
    assert_int_equal(config.node[0].ctrl.port, 0); /* alone, it has nobody to talk to */
}

static void test_operating(void **state)
{
    static const char text[] = "cluster: {name: a, id: ffffffffffffffff}\n"
                               "profile: aggressive\n"
                               "detect: {suspect_min: 2ms, suspect_max: 20ms, stall: 5ms, promote_lag: 50}\n"
                               "restart: {min: 10ms, max: 1s}\n"
                               "checkpoint: {every: 0, keep: 7, rate: 0}\n"
                               "scrub: 30m\n"
                               "durability: journal\n"
                               "journal: {segment: 1M, keep: 0}\n"
                               "nodes:\n"
                               "- {id: 5, ip: 10.0.0.5, prefix: 24, device: '03:00.0', ctrl_socket: /s, data_dir: /d,\n"
                               "   ctrl: '127.0.0.1:75', metrics: '0.0.0.0:76'}\n"
                               "- {id: 2, ip: 10.0.0.2, prefix: 24, device: '03:00.0', ctrl_socket: /s, data_dir: /d,\n"
                               "   ctrl: '192.168.1.1:75', metrics: '0.0.0.0:76', role: learner}\n";
    struct ls_config config;
    struct ls_membership members;
    char error[LS_CONFIG_ERROR_MAX];

    (void)state;
    if (ls_config_parse(&config, text, strlen(text), "c.yaml", error) != 0)
        fail_msg("%s", error);
    assert_int_equal(config.profile, LS_PROFILE_AGGRESSIVE);
    assert_int_equal(config.detect.suspect_min_ns, 2000000);
    assert_int_equal(config.detect.suspect_max_ns, 20000000);
    assert_int_equal(config.detect.stall_ns, 5000000);
    assert_int_equal(config.detect.promote_lag, 50);
    assert_int_equal(config.detect.poll_ns, 0);
    assert_int_equal(config.restart_min_ns, 10000000);
    assert_int_equal(config.restart_max_ns, 1000000000);
    assert_int_equal(config.checkpoint_every_ns, 0);
    assert_int_equal(config.checkpoint_keep, 7);
    assert_int_equal(config.checkpoint_rate, 0);
    assert_int_equal(config.scrub_ns, 1800000000000);
    assert_int_equal(config.durability, LS_DURABLE_JOURNAL);
    assert_int_equal(config.journal_segment, 1u << 20);
    assert_int_equal(config.journal_keep, 0);
    assert_int_equal(config.node[0].metrics.ip, 0);
    assert_int_equal(config.node[0].metrics.port, 76);
    ls_config_membership(&config, &members);
    assert_int_equal(members.seq, 0);
    assert_int_equal(members.count, 2);
    assert_int_equal(members.member[0].node, 2); /* ids ascending, whatever the file's order */
    assert_int_equal(members.member[0].role, LS_MEMBER_LEARNER);
    assert_int_equal(members.member[0].ctrl.ip, 0xc0a80101);
    assert_int_equal(members.member[1].node, 5);
    assert_int_equal(members.member[1].addr.port, LS_PORT_DEFAULT);
    assert_int_equal(members.member[1].ctrl.ip, 0x7f000001);
    assert_int_equal(members.member[1].ctrl.port, 75);
}

/* `good` with its line `line` replaced by `with` ("": taken out). */
struct mistake {
    uint32_t line;
    const char *with;
    const char *error;
};

static const struct mistake mistakes[] = {
    {5, "groop: 2",
     "c.yaml:5: unknown key \"groop\": allowed are cluster, nodes, first_sequencer, group, port, machine, "
     "limits, timing, profile, detect, restart, checkpoint, durability, journal, scrub, idle, hugepages, memory, "
     "faults_allowed"},
    {2, "  nam: demo", "c.yaml:2: cluster: unknown key \"nam\": allowed are name, id, generation"},
    {2, "  name: de mo", "c.yaml:2: cluster.name: \"de mo\" is not allowed: letters, digits, -, _ and ."},
    {2, "  name: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
     "c.yaml:2: cluster.name: \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\" has 36 characters: at most 31 are allowed"},
    {2, "", "c.yaml:2: cluster: \"name\" is missing"},
    {3, "", "c.yaml:2: cluster: \"id\" is missing"},
    {3, "  id: 12",
     "c.yaml:3: cluster.id: \"12\" is not allowed: 16 hexadecimal digits, not all zero, random for each "
     "cluster (make them with: openssl rand -hex 8)"},
    {3, "  id: 0000000000000000",
     "c.yaml:3: cluster.id: \"0000000000000000\" is not allowed: 16 hexadecimal digits, not all zero, random for each "
     "cluster (make them with: openssl rand -hex 8)"},
    {4, "  generation: 0", "c.yaml:4: cluster.generation: \"0\" is not allowed: a number from 1 to 4294967295"},
    {6, "port: 65536", "c.yaml:6: port: \"65536\" is not allowed: a number from 1 to 65535"},
    {6, "port: -1", "c.yaml:6: port: \"-1\" is not allowed: a number from 1 to 65535"},
    {6, "port: 99999999999999999999999",
     "c.yaml:6: port: \"99999999999999999999999\" is not allowed: a number from 1 to 65535"},
    {6, "port: [7400]", "c.yaml:6: port: a list stands where a single value is expected"},
    {6, "group: 2", "c.yaml:6: group: given twice"},
    {7, "first_sequencer: 4", "c.yaml:7: first_sequencer: 4 is no node: one of 1, 2, 7"},
    {7, "first_sequencer: 7", "c.yaml:7: first_sequencer: node 7 is a learner: the id of a voter is allowed"},
    {8, "machine: redis", "c.yaml:8: machine: \"redis\" is not allowed: one of kv, echo"},
    {9, "idle: spin", "c.yaml:9: idle: \"spin\" is not allowed: one of yield, poll, sleep"},
    {10, "hugepages: maybe", "c.yaml:10: hugepages: \"maybe\" is not allowed: one of auto, no, yes"},
    {11, "memory: 256",
     "c.yaml:11: memory: \"256\" is not allowed: a size from 32M to 1024G (K, M, G: powers of 1024)"},
    {11, "memory: 256T",
     "c.yaml:11: memory: \"256T\" is not allowed: a size from 32M to 1024G (K, M, G: powers of 1024)"},
    {12, "faults_allowed: 1", "c.yaml:12: faults_allowed: \"1\" is not allowed: one of no, yes, false, true"},
    {14, "  log_size: 100K, sessions: 32, window: 16,",
     "c.yaml:13: limits: log_size 100K is too small for op_max 64K: the log holds at least four such operations"},
    {14, "  log_size: 8M, sessions: 32, window: 65,",
     "c.yaml:14: limits.window: \"65\" is not allowed: a number from 1 to 64"},
    {14, "  log_sise: 8M,",
     "c.yaml:14: limits: unknown key \"log_sise\": allowed are keys, bytes, log_size, sessions, "
     "window, session_idle, op_max"},
    {17, "  heartbeat: 500",
     "c.yaml:17: timing.heartbeat: \"500\" is not allowed: a time from 50us to 1s (with its unit: "
     "ns, us, ms, s, m, h)"},
    {17, "  heartbeat: 20ms",
     "c.yaml:17: timing: suspend 50ms is less than three heartbeats of 20ms: one lost frame would stop the service"},
    {18, "  reorder_max: 1us\n  reorder_min: 2us", "c.yaml:17: timing: reorder_min 2us is above reorder_max 1us"},
    {20, "  - id: 64", "c.yaml:20: nodes[0].id: \"64\" is not allowed: a number from 1 to 63"},
    {20, "  - id: 2", "c.yaml:27: node id 2 stands here and on line 20: ids are unique"},
    {21, "    ip: 10.1.0.256",
     "c.yaml:21: nodes[0].ip: \"10.1.0.256\" is not allowed: an IPv4 unicast address such as 192.168.7.1"},
    {21, "    ip: 224.0.0.1",
     "c.yaml:21: nodes[0].ip: \"224.0.0.1\" is not allowed: an IPv4 unicast address such as 192.168.7.1"},
    {21, "    ip: 10.1.0.2", "c.yaml:27: node 2: ip 10.1.0.2 is also node 1's (line 20): addresses are unique"},
    {21, "    ip: 10.1.0.255", "c.yaml:20: node 1: ip 10.1.0.255 is the network or broadcast address of its /24"},
    {21, "    ip: 10.2.0.1",
     "c.yaml:20: node 1: node 2's ip 10.1.0.2 is outside of its network 10.2.0.0/24: a gateway is needed"},
    {21, "    ip: 10.1.0.254", "c.yaml:27: nodes 1 and 2: a node's ip cannot be another's gateway: nodes do not route"},
    {22, "    prefix: 33", "c.yaml:22: nodes[0].prefix: \"33\" is not allowed: a number from 8 to 31"},
    {22, "", "c.yaml:20: nodes[0]: \"prefix\" is missing"},
    {23, "    device: eth0",
     "c.yaml:23: nodes[0].device: \"eth0\" is not allowed: a PCI address such as 0000:03:00.0, or a "
     "virtual device such as net_af_packet0,iface=eth1"},
    {23, "    device: 0000:03:00.9",
     "c.yaml:23: nodes[0].device: \"0000:03:00.9\" is not allowed: a PCI address such as 0000:03:00.0, or a virtual "
     "device such as net_af_packet0,iface=eth1"},
    {24, "    ctrl_socket: run/1.sock",
     "c.yaml:24: nodes[0].ctrl_socket: \"run/1.sock\" is not allowed: an absolute path of letters, digits and "
     "-_./+@=:,~"},
    {30, "    gateway: 10.1.0.2", "c.yaml:27: node 2: gateway 10.1.0.2 is the node's own ip"},
    {30, "    gateway: 10.9.0.2", "c.yaml:27: node 2: gateway 10.9.0.2 is outside of the node's network 10.1.0.0/24"},
    {32, "    lcores: {net: 1}", "c.yaml:32: nodes[1].lcores: \"apply\" is missing"},
    {32, "    lcores: 1", "c.yaml:32: nodes[1].lcores: a value stands where keys with values are expected"},
    {36, "  - {id: 7, ip: 10.1.0.7, prefix: 24, device: net_ring0, role: boss,",
     "c.yaml:36: nodes[2].role: \"boss\" is not allowed: one of voter, learner"},
    {36, "  - {id: 7, ip: 10.1.0.7, prefix: 24, device: net_ring0, role: '',",
     "c.yaml:36: nodes[2].role: \"\" is not allowed: one of voter, learner"},
    {37, "     ctrl_socket: /run/7, data_dir: /data/7, ctrl: \"192.168.0.7:7500\"}\n---\nmore: 1",
     "c.yaml:39: a second document begins here: one is allowed"},
    {19, "nodes: 3\nx:", "c.yaml:19: nodes: a value stands where a list is expected"},
    {21, "    ip: 10.1.0.1\n    metrics: 10.1.0.1",
     "c.yaml:22: nodes[0].metrics: \"10.1.0.1\" is not allowed: an IPv4 address (0.0.0.0: all of this machine's) and a "
     "port such as 0.0.0.0:7500"},
    {21, "    ip: 10.1.0.1\n    metrics: 0.0.0.0:7500",
     "c.yaml:20: node 1: ctrl and metrics have the same port 7500: one each is needed"},
    {21, "    ip: 10.1.0.1\n    metrics: 10.1.0.1:9100",
     "c.yaml:20: node 1: ctrl and metrics need an address of the kernel's: 10.1.0.1 is node 1's ip, which belongs to "
     "its dataplane alone"},
    {21, "    ip: 10.1.0.1\n    metrics: 192.168.0.1:65536",
     "c.yaml:22: nodes[0].metrics: \"192.168.0.1:65536\" is not allowed: an IPv4 address (0.0.0.0: all of this "
     "machine's) and a port such as 0.0.0.0:7500"},
    {26, "    ctrl: 0.0.0.0:7500",
     "c.yaml:26: nodes[0].ctrl: \"0.0.0.0:7500\" is not allowed: an IPv4 address of one machine and a port such as "
     "192.168.7.1:7500"},
    {26, "",
     "c.yaml:20: node 1: \"ctrl\" is missing: IP:PORT of its lockstep-ctrl on the kernel's network, by which the nodes "
     "agree on a sequencer"},
    {35, "    ctrl: 192.168.0.1:7500",
     "c.yaml:27: node 2: ctrl 192.168.0.1:7500 is also node 1's (line 20): addresses are unique"},
    {35, "    ctrl: 10.1.0.1:7500",
     "c.yaml:27: node 2: ctrl and metrics need an address of the kernel's: 10.1.0.1 is node 1's ip, which belongs to "
     "its dataplane alone"},
    {18, "  suspend: 50ms\nprofile: fast", "c.yaml:19: profile: \"fast\" is not allowed: one of default, aggressive"},
    {18, "  suspend: 50ms\ndetect: {suspect_min: 30ms, suspect_max: 20ms}",
     "c.yaml:19: detect: suspect_min 30ms is above suspect_max 20ms"},
    {18, "  suspend: 50ms\ndetect: {stall: 5s, stall_kill: 1s}", "c.yaml:19: detect: stall 5s is above stall_kill 1s"},
    {18, "  suspend: 50ms\ndetect: {poll: 5ms, suspect_min: 2ms}",
     "c.yaml:19: detect: poll 5ms is above suspect_min 2ms"},
    {18, "  suspend: 50ms\ndetect: {suspect_min: 1ms}",
     "c.yaml:19: detect: suspect_min 1ms is less than three heartbeats of 500us: one lost frame would depose a "
     "sequencer"},
    {18, "  suspend: 50ms\nrestart: {min: 5s, max: 1s}", "c.yaml:19: restart: min 5s is above max 1s"},
    {18, "  suspend: 50ms\ncheckpoint: {every: 1}",
     "c.yaml:19: checkpoint.every: \"1\" is not allowed: a time from 1s to 604800s (with its unit: ns, us, ms, s, m, "
     "h), or 0"},
    {18, "  suspend: 50ms\ncheckpoint: {rate: 5}",
     "c.yaml:19: checkpoint.rate: \"5\" is not allowed: a size from 1M to 1024G (K, M, G: powers of 1024), or 0"},
    {18, "  suspend: 50ms\ncheckpoint: {keep: 0}",
     "c.yaml:19: checkpoint.keep: \"0\" is not allowed: a number from 1 to 1000"},
    {18, "  suspend: 50ms\ndurability: disk",
     "c.yaml:19: durability: \"disk\" is not allowed: one of memory, async, journal"},
    {18, "  suspend: 50ms\njournal: {segment: 100K}",
     "c.yaml:19: journal.segment: \"100K\" is not allowed: a size from 1M to 4G (K, M, G: powers of 1024)"},
    {18, "  suspend: 50ms\njournal: {segment: 1048577}",
     "c.yaml:19: journal: segment 1048577 is not allowed: a multiple of 4096 bytes"},
    {16, "timing: [", "c.yaml:18: not YAML: while parsing a flow sequence: did not find expected ',' or ']'"},
    {16, "? [a]\n: b\ntiming:",
     "c.yaml:16: unknown key \"\": allowed are cluster, nodes, first_sequencer, group, port, "
     "machine, limits, timing, profile, detect, restart, checkpoint, durability, journal, scrub, idle, hugepages, "
     "memory, faults_allowed"},
};

static char *with_line(uint32_t line, const char *with)
{
    const char *begin = good, *end;
    char *text;

    for (uint32_t i = 1; i < line; i++)
        begin = strchr(begin, '\n') + 1;
    end = strchr(begin, '\n') + 1;
    if (asprintf(&text, "%.*s%s%s%s", (int)(begin - good), good, with, with[0] != '\0' ? "\n" : "", end) < 0)
        fail_msg("no memory");
    return text;
}

static void test_mistakes(void **state)
{
    struct ls_config config;
    char error[LS_CONFIG_ERROR_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
        char *text = with_line(mistakes[i].line, mistakes[i].with);

        if (ls_config_parse(&config, text, strlen(text), "c.yaml", error) != -EINVAL)
            fail_msg("accepted: line %u as \"%s\"", mistakes[i].line, mistakes[i].with);
        assert_string_equal(error, mistakes[i].error);
        free(text);
    }
}

static void test_voters(void **state)
{
    char text[8192], error[LS_CONFIG_ERROR_MAX];
    struct ls_config config;

    (void)state;
    for (int n = 0; n <= LS_MEMBERS_MAX + 1; n++) {
        int used = sprintf(text, "cluster: {name: a, id: ffffffffffffffff}\nnodes:%s\n", n == 0 ? " []" : "");

        for (int i = 1; i <= n; i++)
            used += sprintf(text + used,
                            "- {id: %d, ip: 10.0.0.%d, prefix: 24, device: net_x%d, ctrl_socket: /s, "
                            "data_dir: /d, ctrl: '127.0.0.1:%d', role: %s}\n",
                            i, i, i, 7500 + i, n <= LS_VOTERS_MAX + 1 || i <= LS_VOTERS_MAX ? "voter" : "learner");
        if (n == 0) {
            assert_int_equal(ls_config_parse(&config, text, strlen(text), "c", error), -EINVAL);
            assert_string_equal(error, "c:2: nodes: 0 have the role voter: 1 to 7 are allowed");
        } else if (n == LS_VOTERS_MAX + 1) {
            assert_int_equal(ls_config_parse(&config, text, strlen(text), "c", error), -EINVAL);
            assert_string_equal(error, "c:3: nodes: 8 have the role voter: 1 to 7 are allowed");
        } else if (n > LS_MEMBERS_MAX) {
            assert_int_equal(ls_config_parse(&config, text, strlen(text), "c", error), -EINVAL);
            assert_string_equal(error, "c:19: nodes: more than 16: at most so many are allowed");
        } else {
            assert_int_equal(ls_config_parse(&config, text, strlen(text), "c", error), 0);
            assert_int_equal(config.nodes, n);
        }
    }
}

/* Any prefix and any single changed byte: an answer, no crash, and a message where it is refused. */
static void test_damaged(void **state)
{
    static const char bytes[] = {'\0', '\n', ':', '{', '[', '-', '&', '*', '"', '9', (char)0xff};
    struct ls_config config;
    char error[LS_CONFIG_ERROR_MAX], text[sizeof(good)];

    (void)state;
    for (size_t n = 0; n < sizeof(good) - 1; n++) {
        if (ls_config_parse(&config, good, n, "c", error) != 0)
            assert_true(strlen(error) > 0);
        for (size_t i = 0; i < sizeof(bytes); i++) {
            memcpy(text, good, sizeof(good));
            text[n] = bytes[i];
            if (ls_config_parse(&config, text, sizeof(good) - 1, "c", error) != 0)
                assert_true(strlen(error) > 0);
        }
    }
}

/* An alias to its own ancestor is a tree without end. */
static void test_recursive(void **state)
{
    static const char text[] = "cluster: &a {name: x, id: 0123456789abcdef, generation: *a}\n";
    struct ls_config config;
    char error[LS_CONFIG_ERROR_MAX];

    (void)state;
    assert_int_equal(ls_config_parse(&config, text, strlen(text), "c", error), -EINVAL);
    assert_string_equal(error, "c:1: cluster.generation: a mapping stands where a single value is expected");
}

static void test_load(void **state)
{
    char path[] = "/tmp/lockstep-config-XXXXXX", error[LS_CONFIG_ERROR_MAX], wanted[256];
    struct ls_config config;
    int fd = mkstemp(path);
    FILE *file = fdopen(fd, "w");

    (void)state;
    assert_non_null(file);
    assert_int_equal(fwrite(good, 1, strlen(good), file), strlen(good));
    assert_int_equal(fclose(file), 0);
    assert_int_equal(ls_config_load(&config, path, error), 0);
    assert_int_equal(truncate(path, LS_CONFIG_FILE_MAX + 1), 0);
    assert_int_equal(ls_config_load(&config, path, error), -EFBIG);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(ls_config_load(&config, path, error), -EINVAL);
    sprintf(wanted, "%s: the file is empty", path);
    assert_string_equal(error, wanted);
    unlink(path);
    assert_int_equal(ls_config_load(&config, path, error), -ENOENT);
    sprintf(wanted, "%s: cannot be opened: No such file or directory", path);
    assert_string_equal(error, wanted);
    assert_int_equal(ls_config_load(&config, "/tmp", error), -EISDIR);
    assert_string_equal(error, "/tmp: cannot be read: Is a directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),      cmocka_unit_test(test_defaults), cmocka_unit_test(test_operating),
        cmocka_unit_test(test_mistakes),  cmocka_unit_test(test_voters),   cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_recursive), cmocka_unit_test(test_load),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
