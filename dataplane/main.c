/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lockstep-dataplane: one node's poll-mode process. Puts the parts together in the order in which they need each
 * other, runs the control loop on the main thread, and takes everything apart again on SIGTERM, counting the buffers.
 * Started by lockstep-ctrl; of its own accord it orders nothing.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lockstep/state_machine.h>

#include "control/bulk.h"
#include "control/checks.h"
#include "control/config.h"
#include "control/eal.h"
#include "control/link.h"
#include "control/page.h"
#include "control/telemetry.h"
#include "journal/restart.h"
#include "net/dpdk.h"
#include "net/fault.h"
#include "options.h"
#include "workers/apply.h"
#include "workers/gp.h"
#include "workers/journal.h"
#include "workers/lcore.h"
#include "workers/net.h"
#include "workers/urgent.h"

/* Everything that one dataplane is made of. Static: one a process, and too large for a stack. */
static struct node {
    struct ls_config config;
    const struct ls_config_node *self;
    struct ls_options options;
    int lock_fd;
    bool hugepages;
    struct ls_counters_page *page;
    struct ls_dpdk_port *port;
    struct ls_fault *fault;
    struct ls_log log;
    struct ls_seam seam;
    struct ls_gp gp;
    const struct ls_state_machine *type;
    struct ls_bulk bulk; /* owns the state machine */
    struct ls_replica *replica;
    struct ls_executor *executor;
    struct ls_view_holder view;
    struct ls_net_worker net;
    struct ls_apply_worker apply;
    struct ls_restart restart; /* the journal, where there is one */
    struct ls_journal_worker journal;
    struct ls_lcore lcore[2];
    uint32_t lcores;
    _Atomic bool stop; /* main; workers read */
    struct ls_link link;
} node;

static bool config_load(void)
{
    char error[LS_CONFIG_ERROR_MAX], list[128];

    if (ls_config_load(&node.config, node.options.config, error) != 0) {
        ls_say("%s", error);
        return false;
    }
    if (node.options.generation != 0)
        node.config.generation = (uint32_t)node.options.generation;
    if (node.options.node == 0)
        return true;
    node.self = ls_config_find(&node.config, (uint16_t)node.options.node);
    if (node.self == NULL)
        ls_say("--node %" PRIu64 ": %s has no such node, only %s", node.options.node, node.options.config,
               ls_config_node_list(&node.config, list, sizeof(list)));
    return node.self != NULL;
}

/* What the machine lacks, one line each. */
static bool machine_check(void)
{
    static struct ls_checks checks;

    ls_checks_run(&node.config, node.self, "", &checks);
    for (uint32_t i = 0; i < checks.problems; i++)
        ls_say("%s", checks.problem[i]);
    for (uint32_t i = 0; i < checks.notes; i++)
        ls_say("note: %s", checks.note[i]);
    node.hugepages = checks.hugepages;
    return checks.problems == 0;
}

/* One dataplane per node: the lock lives as long as the process. */
static bool lock_take(void)
{
    char path[LS_CONFIG_PATH_MAX + 32], pid[32] = "";
    ssize_t length;

    snprintf(path, sizeof(path), "%s/dataplane.lock", node.self->data_dir);
    node.lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (node.lock_fd < 0) {
        ls_say("%s cannot be opened: %s (mkdir -p %s)", path, strerror(errno), node.self->data_dir);
        return false;
    }
    if (flock(node.lock_fd, LOCK_EX | LOCK_NB) != 0) {
        length = read(node.lock_fd, pid, sizeof(pid) - 1);
        if (length > 0 && pid[length - 1] == '\n')
            pid[length - 1] = '\0';
        ls_say("another dataplane of node %u runs on this machine (pid %s holds %s): stop it first", node.self->id,
               length > 0 ? pid : "unknown", path);
        return false;
    }
    snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
    if (ftruncate(node.lock_fd, 0) != 0 || write(node.lock_fd, pid, strlen(pid)) != (ssize_t)strlen(pid)) {
        ls_say("%s cannot be written: %s", path, strerror(errno));
        return false;
    }
    return true;
}

static bool port_open(void)
{
    struct ls_dpdk_port_config config = {
        .addr = {.ip = node.self->ip, .port = node.config.port},
        .gateway = node.self->gateway,
        .prefix = (uint8_t)node.self->prefix,
        /* Peers on the same machine reach these drivers through veth or a bridge. */
        .accept_partial_checksum = strncmp(node.self->device, "net_af_", 7) == 0,
    };
    struct ls_dpdk_facts facts;
    struct ls_dpdk_link link;
    char device[LS_CONFIG_DEVICE_MAX], error[512];

    config.device = ls_eal_device_name(node.self->device, device);
    if (ls_dpdk_port_create(&config, &node.page->worker[LS_WORKER_NET].counters, &node.port, error, sizeof(error)) !=
        0) {
        ls_say("%s", error);
        return false;
    }
    ls_dpdk_port_facts(node.port, &facts);
    ls_dpdk_port_link(node.port, &link);
    ls_say("port %s: driver %s, MAC %02x:%02x:%02x:%02x:%02x:%02x, MTU %u, link %s, UDP checksums by %s", device,
           facts.driver, facts.mac[0], facts.mac[1], facts.mac[2], facts.mac[3], facts.mac[4], facts.mac[5], facts.mtu,
           link.is_up ? "up" : "down", facts.sums_tx ? "the device" : "software");
    node.fault = ls_fault_create(ls_dpdk_port_port(node.port), 0, &node.page->worker[LS_WORKER_NET].counters);
    if (node.fault == NULL) {
        ls_say("no memory for the fault decorator: %s", strerror(errno));
        return false;
    }
    for (uint32_t i = 0; i < node.config.nodes; i++)
        if (node.config.node[i].id != node.self->id)
            ls_fault_set_node(node.fault, node.config.node[i].id,
                              (struct ls_addr){.ip = node.config.node[i].ip, .port = node.config.port});
    return true;
}

static bool state_create(struct ls_machine **machine)
{
    struct ls_machine_limits limits = {.keys = node.config.keys, .bytes = node.config.bytes};
    int error;

    error = ls_log_init(&node.log, node.config.log_size);
    if (error != 0) {
        ls_say("no memory for a log of %" PRIu64 " bytes: %s: lower limits.log_size", node.config.log_size,
               strerror(-error));
        return false;
    }
    error = ls_seam_init(&node.seam, node.config.sessions);
    if (error != 0) {
        ls_say("no memory for %u sessions: %s: lower limits.sessions", node.config.sessions, strerror(-error));
        return false;
    }
    error = ls_gp_start(&node.gp, &node.seam.applied_seq);
    if (error != 0) {
        ls_say("the grace-period thread cannot be started: %s", strerror(-error));
        return false;
    }
    node.type = node.config.machine == LS_MACHINE_KV ? &ls_kv : &ls_echo;
    *machine = node.type->create(&limits, &node.gp.grace);
    if (*machine == NULL) {
        ls_say("state machine %s: no memory for %" PRIu64 " keys and %" PRIu64 " bytes: %s: lower limits.keys or "
               "limits.bytes",
               node.type->name, limits.keys, limits.bytes, strerror(errno));
        return false;
    }
    return true;
}

static bool executor_create(struct ls_machine *machine)
{
    const struct ls_config *config = &node.config;
    struct ls_executor_config executor = {
        .cluster = config->cluster,
        .generation = config->generation,
        .group = config->group,
        .node = node.self->id,
        .incarnation = node.options.incarnation,
        .sessions_max = config->sessions,
        .window = config->window,
        .durability = config->durability,
    };

    node.executor = ls_executor_create(&executor, &node.log, &node.seam, ls_dpdk_port_apply_io(node.port), node.type,
                                       machine, &node.page->replica, &node.page->worker[LS_WORKER_APPLY].counters);
    if (node.executor == NULL)
        ls_say("the executor cannot be made: %s", strerror(errno));
    return node.executor != NULL;
}

static void line_say(const char *line)
{
    ls_say("%s", line);
}

static double seconds(uint64_t ns)
{
    return (double)ns / 1e9;
}

/* State and log as the disk has them. */
static bool journal_restart(struct ls_machine **machine)
{
    const struct ls_config *config = &node.config;
    const struct ls_restart *restart = &node.restart;
    struct ls_restart_config c = {
        .data_dir = node.self->data_dir,
        .identity = {.cluster = config->cluster,
                     .generation = config->generation,
                     .group = config->group,
                     .node = node.self->id,
                     .segment_size = config->journal_segment},
        .incarnation = node.options.incarnation,
        .counts = node.options.counts,
        .promise = node.options.promise,
        .behind = config->durability == LS_DURABLE_ASYNC,
        .type = node.type,
        .limits = {.keys = config->keys, .bytes = config->bytes},
        .grace = &node.gp.grace,
        .sessions_max = config->sessions,
        .op_max = config->op_max,
        .log = &node.log,
        .seam = &node.seam,
        .executor = node.executor,
        .say = line_say,
    };
    char error[LS_RESTART_ERROR_MAX];

    atomic_store_explicit(&node.page->journal.durability, config->durability, memory_order_relaxed);
    if (config->durability == LS_DURABLE_MEMORY)
        return true;
    if (ls_restart(&c, machine, &node.restart, error) != 0) {
        ls_say("%s", error);
        return false;
    }
    if (restart->checkpoint_seq != 0)
        ls_say("checkpoint at seq %" PRIu64 ": %.1f MiB restored in %.2f s", restart->checkpoint_seq,
               (double)restart->checkpoint_bytes / 1048576, seconds(restart->checkpoint_ns));
    ls_say("journal in %s: %.1f MiB of log read in %.2f s, up to seq %" PRIu64 "%s", node.self->data_dir,
           (double)restart->log_bytes / 1048576, seconds(restart->log_ns), node.log.last_seq,
           restart->resumed ? ", all that this node acknowledged" : "");
    return true;
}

static bool replica_create(struct ls_machine *machine)
{
    const struct ls_config *config = &node.config;
    struct ls_replica_config replica = {
        .cluster = config->cluster,
        .generation = config->generation,
        .group = config->group,
        .node = node.self->id,
        .incarnation = node.options.incarnation,
        .promise = node.options.promise,
        .keys_max = config->keys,
        .bytes_max = config->bytes,
        .session_idle_ns = config->session_idle_ns,
        .sessions_max = config->sessions,
        .window = config->window,
        .op_max = config->op_max,
        .heartbeat_ns = config->heartbeat_ns,
        .suspend_ns = config->suspend_ns,
        .tick_ns = config->tick_ns,
        .reorder_min_ns = config->reorder_min_ns,
        .reorder_max_ns = config->reorder_max_ns,
        .question_ns = config->question_ns,
        .pull_idle_ns = config->pull_idle_ns,
        .inflight_max = config->inflight_max,
        .durability = config->durability,
        .resumed = node.restart.resumed,
    };

    node.replica = ls_replica_create(&replica, &node.log, &node.seam, &ls_fault_port(node.fault)->io, node.type,
                                     machine, &node.page->replica, &node.page->worker[LS_WORKER_NET].counters);
    if (node.replica == NULL)
        ls_say("the replica cannot be made: %s", strerror(errno));
    return node.replica != NULL;
}

/* ---- workers ---- */

static uint32_t net_poll(void *self, uint64_t now_ns)
{
    return ls_net_poll(self, now_ns);
}
static uint64_t net_next(void *self, uint64_t now_ns)
{
    return ls_net_next_ns(self, now_ns);
}
static uint32_t apply_poll(void *self, uint64_t now_ns)
{
    return ls_apply_poll(self, now_ns);
}
static uint64_t apply_next(void *self, uint64_t now_ns)
{
    return ls_apply_next_ns(self, now_ns);
}
static uint32_t journal_poll(void *self, uint64_t now_ns)
{
    return ls_journal_worker_poll(self, now_ns);
}
static uint64_t journal_next(void *self, uint64_t now_ns)
{
    return ls_journal_worker_next_ns(self, now_ns);
}
static uint64_t fault_next(void *fault)
{
    return ls_fault_next_ns(fault);
}
static int lcore_run(void *lcore)
{
    ls_lcore_run(lcore);
    return 0;
}

static struct ls_worker *worker_add(struct ls_lcore *lcore, enum ls_worker_id id)
{
    struct ls_worker *worker = &lcore->worker[lcore->workers++];

    worker->page = &node.page->worker[id];
    return worker;
}

/* Behind net on net's core: what a burst brought is on its way to the disk in the same turn. */
static void journal_prepare(struct ls_lcore *of_net)
{
    struct ls_worker *worker;
    int error;

    if (node.restart.journal == NULL)
        return;
    error = of_net->idle == LS_IDLE_SLEEP ? ls_uring_wake_by(node.restart.uring, of_net->waker.fd) : 0;
    if (error != 0)
        ls_say("note: idle: sleep: the journal's disk cannot wake a worker (%s), which therefore does not sleep while "
               "it writes",
               strerror(-error));
    node.journal = (struct ls_journal_worker){.journal = node.restart.journal,
                                              .log = &node.log,
                                              .seam = &node.seam,
                                              .page = &node.page->journal,
                                              .fault = node.restart.disk_fault,
                                              .keep = node.config.journal_keep};
    worker = worker_add(of_net, LS_WORKER_JOURNAL);
    worker->poll = journal_poll;
    worker->next_ns = journal_next;
    worker->self = &node.journal;
}

static bool workers_prepare(void)
{
    bool shared = node.self->lcore_net == node.self->lcore_apply;
    bool sleeps = node.config.idle == LS_IDLE_SLEEP;
    struct ls_lcore *of_net = &node.lcore[0], *of_apply = &node.lcore[shared ? 0 : 1];
    struct ls_worker *worker;
    int error;

    node.lcores = shared ? 1 : 2;
    for (uint32_t i = 0; i < node.lcores; i++) {
        struct ls_lcore *lcore = &node.lcore[i];

        lcore->cpu = i == 0 ? node.self->lcore_net : node.self->lcore_apply;
        lcore->idle = node.config.idle;
        lcore->stop = &node.stop;
        lcore->port_fd = -1;
        lcore->sleep_max_ns = LS_IDLE_SLEEP_MAX_NS;
        error = ls_waker_init(&lcore->waker);
        if (error != 0) {
            ls_say("no file descriptor for a worker: %s", strerror(-error));
            return false;
        }
    }
    of_net->port_fd = ls_dpdk_port_wait_fd(node.port);
    if (of_net->port_fd < 0)
        of_net->sleep_max_ns = LS_IDLE_NAP_NS;
    if (sleeps && of_net->port_fd < 0)
        ls_say("note: idle: sleep: this driver cannot wake a worker, which therefore looks every %llu us",
               LS_IDLE_NAP_NS / 1000);
    node.net = (struct ls_net_worker){.replica = node.replica,
                                      .port = ls_fault_port(node.fault),
                                      .seam = &node.seam,
                                      .apply = sleeps && !shared ? &of_apply->waker : NULL,
                                      .control = &node.link.waker,
                                      .port_next_ns = fault_next,
                                      .port_user = node.fault};
    node.apply = (struct ls_apply_worker){
        .executor = node.executor, .seam = &node.seam, .net = sleeps && !shared ? &of_net->waker : NULL};
    worker = worker_add(of_net, LS_WORKER_NET);
    worker->poll = net_poll;
    worker->next_ns = net_next;
    worker->self = &node.net;
    journal_prepare(of_net);
    worker = worker_add(of_apply, LS_WORKER_APPLY);
    worker->poll = apply_poll;
    worker->next_ns = apply_next;
    worker->self = &node.apply;
    return true;
}

/* ---- control ---- */

static void grace_want(void *gp)
{
    ls_gp_want(gp);
}

static void buffers(void *port, uint32_t *free_buffers, uint32_t *total)
{
    ls_dpdk_port_buffers(port, free_buffers, total);
}

static void on_signal(int number)
{
    int saved = errno;

    (void)number;
    ls_link_stop(&node.link);
    errno = saved;
}

/* The state machine is bulk's from here on. */
static bool bulk_start(struct ls_machine *machine)
{
    const struct ls_config *config = &node.config;
    bool sleeps = config->idle == LS_IDLE_SLEEP;
    struct ls_bulk_config bulk = {
        .type = node.type,
        .limits = {.keys = config->keys, .bytes = config->bytes},
        .cluster = config->cluster,
        .generation = config->generation,
        .sessions_max = config->sessions,
        .scrub_ns = config->scrub_ns,
        .executor = node.executor,
        .seam = &node.seam,
        .gp = &node.gp,
        .page = &node.page->replica,
        .apply = sleeps ? &node.lcore[node.lcores - 1].waker : NULL,
        .control = &node.link.waker,
        .root = "",
    };
    int error = ls_bulk_start(&node.bulk, &bulk, machine);

    if (error != 0)
        ls_say("the bulk thread cannot be started: %s", strerror(-error));
    return error == 0;
}

static bool control_prepare(struct ls_machine *machine)
{
    struct ls_view view = {.epoch = node.options.promise, .node = node.self->id, .role = LS_ROLE_OUTSIDE};
    struct ls_link *link = &node.link;
    int error = ls_waker_init(&link->waker);

    if (error != 0) {
        ls_say("no file descriptor for the control thread: %s", strerror(-error));
        return false;
    }
    link->promise = node.options.promise;
    link->resumed = node.restart.resumed;
    link->disk_fault = node.restart.disk_fault;
    link->verified = node.restart.journal != NULL ? &node.journal.verified : NULL;
    link->faults_allowed = node.config.faults_allowed;
    link->seam = &node.seam;
    link->log = &node.log;
    link->page = node.page;
    link->fault = node.fault;
    for (uint32_t i = 0; i < node.lcores; i++)
        for (uint32_t j = 0; j < node.lcore[i].workers; j++)
            link->slow[node.lcore[i].worker[j].page - node.page->worker] = &node.lcore[i].worker[j].slow;
    link->bulk = &node.bulk;
    link->net = node.config.idle == LS_IDLE_SLEEP ? &node.lcore[0].waker : NULL;
    link->view = &node.view;
    link->grace_want = grace_want;
    link->grace_user = &node.gp;
    link->buffers = buffers;
    link->buffers_user = node.port;
    error = ls_link_init(link, (int)node.options.control_fd, node.self->id, node.options.incarnation);
    if (error != 0) {
        ls_say("--control-fd %" PRIu64 " cannot be listened on: %s", node.options.control_fd, strerror(-error));
        return false;
    }
    ls_view_init(&node.view, &node.gp.grace, &view);
    error = ls_telemetry_register(node.page, &node.view);
    if (error != 0)
        ls_say("note: DPDK telemetry has no lockstep commands: %s", strerror(-error));
    return bulk_start(machine);
}

/* Before EAL, so that a start that is broken off leaves nothing of EAL's behind either. */
static void signals_prepare(void)
{
    struct sigaction action = {.sa_handler = on_signal};

    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    /* The kernel sends it to a stopped process whose parent ends: a paused dataplane is to outlive its ctrl too. */
    signal(SIGHUP, SIG_IGN);
}

static bool is_stopped(void)
{
    if (!atomic_load_explicit(&node.link.stop, memory_order_acquire))
        return false;
    ls_say("stopped before it was ready");
    return true;
}

static int socket_option(int option)
{
    socklen_t size = sizeof(int);
    int value = -1;

    return getsockopt((int)node.options.control_fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

/* Messages keep their bounds only on a SEQPACKET socket; on a stream they would be read as nonsense. */
static bool control_fd_check(void)
{
    int type = socket_option(SO_TYPE);

    if (type == SOCK_SEQPACKET && socket_option(SO_ACCEPTCONN) == 1)
        return true;
    ls_say("--control-fd %" PRIu64 ": not a listening SEQPACKET socket (%s): this program is started by lockstep-ctrl",
           node.options.control_fd,
           type == SOCK_SEQPACKET ? "it does not listen"
           : type >= 0            ? "a socket of another type"
                                  : strerror(errno));
    return false;
}

static bool start(void)
{
    struct ls_machine *machine = NULL;
    char error[1024];

    if (!control_fd_check() || !machine_check() || !lock_take())
        return false;
    node.page = ls_page_create(node.options.counters, node.config.cluster, node.self->id, node.options.incarnation,
                               error, sizeof(error));
    if (node.page == NULL) {
        ls_say("%s", error);
        return false;
    }
    signals_prepare();
    if (ls_eal_start(&node.config, node.self, node.hugepages, error, sizeof(error)) != 0) {
        ls_say("%s", error);
        return false;
    }
    ls_say("node %u of cluster %s, incarnation %" PRIu64 ": %s, IOMMU %s, cores net %u apply %u, state machine %s",
           node.self->id, node.config.name, node.options.incarnation, node.hugepages ? "huge pages" : "no huge pages",
           ls_checks_has_iommu("") ? "yes" : "no", node.self->lcore_net, node.self->lcore_apply,
           node.config.machine == LS_MACHINE_KV ? "kv" : "echo");
    if (!is_stopped() && port_open() && !is_stopped() && state_create(&machine) && executor_create(machine) &&
        journal_restart(&machine) && replica_create(machine) && workers_prepare() && control_prepare(machine))
        return true;
    ls_eal_stop();
    return false;
}

static bool workers_run(void)
{
    for (uint32_t i = 0; i < node.lcores; i++) {
        int error = ls_eal_launch(i, lcore_run, &node.lcore[i]);

        if (error != 0) {
            ls_say("a worker cannot be started on core %u: %s", node.lcore[i].cpu, strerror(-error));
            return false;
        }
    }
    (void)ls_thread_urgent(); /* every step of a fail-over passes through here */
    ls_link_run(&node.link);
    ls_thread_ordinary();
    return true;
}

/* Takes everything apart again and counts the buffers. True: none is missing. */
static bool stop(void)
{
    uint32_t free_buffers = 0, total = 0;
    struct ls_reply_frame reply;

    ls_bulk_stop(&node.bulk);
    atomic_store_explicit(&node.stop, true, memory_order_release);
    for (uint32_t i = 0; i < node.lcores; i++)
        ls_waker_wake(&node.lcore[i].waker);
    ls_eal_wait();
    if (!ls_restart_end(&node.restart))
        ls_say("the journal could not be brought to an end in good order: the next start reads all of it");
    ls_executor_destroy(node.executor);
    while (ls_spsc_pop(&node.seam.replies, &reply)) { /* finished by apply, not sent by net */
        struct ls_io *io = ls_dpdk_port_apply_io(node.port);

        io->release(io, &reply.frame);
    }
    ls_replica_destroy(node.replica);
    ls_bulk_free(&node.bulk);
    ls_fault_destroy(node.fault);
    ls_dpdk_port_stop(node.port);
    ls_dpdk_port_buffers(node.port, &free_buffers, &total);
    ls_say("buffers: taken %u returned %u", total, free_buffers);
    atomic_store_explicit(&node.page->buffers_free, free_buffers, memory_order_relaxed);
    ls_dpdk_port_destroy(node.port);
    ls_gp_stop(&node.gp);
    ls_seam_free(&node.seam);
    ls_log_free(&node.log);
    ls_page_close(node.page);
    ls_link_free(&node.link);
    ls_eal_stop();
    return free_buffers == total;
}

int main(int argc, char **argv)
{
    if (!ls_options_parse(argc, argv, &node.options))
        return 2;
    if (!config_load())
        return 2;
    if (node.options.check_config) {
        if (node.self != NULL && !machine_check())
            return 1;
        printf("%s is right\n", node.options.config);
        return 0;
    }
    /* An error before the workers run leaves nothing behind that the end of the process would not clean up. */
    if (!start())
        return 1;
    if (!workers_run()) {
        (void)stop();
        return 1;
    }
    return stop() ? 0 : 1;
}
