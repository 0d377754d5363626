/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated world: nodes with the real replica, executor and ctrl, clients, network, faults and checkers on one
 * thread in virtual time. One struct sim lives as long as the process; each schedule begins with sim_run(), which draws
 * everything from the seed. Private to tests/sim.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include <setjmp.h>
#include <stdio.h>

#include <lockstep/control_message.h>
#include <lockstep/counters.h>
#include <lockstep/entry.h>
#include <lockstep/error.h>
#include <lockstep/grace.h>
#include <lockstep/kv.h>
#include <lockstep/state_machine.h>

#include "client_core.h"
#include "executor.h"
#include "mutant.h"
#include "replica.h"
#include "wire.h"

#include "disk.h"
#include "disk_fault.h"
#include "event.h"
#include "host.h"
#include "map.h"

#define SIM_INBOX        512
#define SIM_SEQS_MAX     32768 /* entries of one log in one schedule */
#define SIM_RECORDS_MAX  65536 /* different entries in one schedule, dropped ones too */
#define SIM_EPOCHS_MAX   512
#define SIM_LIVES_MAX    128 /* clients, with those that took the place of dead ones */
#define SIM_OPS_MAX      64  /* in flight: mutations of one client, and as many reads */
#define SIM_OP_BYTES_MAX (1100 * 1024)
#define SIM_REPLAYS      64
#define SIM_FAULTS_MAX   16

/* ---- faults that last ---- */

enum sim_fault_kind {
    SIM_FAULT_PARTITION = 0,
    SIM_FAULT_ONE_WAY,
    SIM_FAULT_ISOLATE,
    SIM_FAULT_BRIDGE, /* one node sees both halves */
    SIM_FAULT_PAUSE,
    SIM_FAULT_SLOW,
    SIM_FAULT_LOSSY,
    SIM_FAULT_CRASH_DATAPLANE,
    SIM_FAULT_CRASH_CTRL,
    SIM_FAULT_CRASH_NODE,
    SIM_FAULT_PAUSE_CTRL,
    SIM_FAULT_CTRL_NET, /* partition of the network between ctrls */
    SIM_FAULT_RECORD,   /* wiped and bootstrapped again, or rolled back */
    SIM_FAULT_DISK,     /* of the journal: slow, torn, hanging, full, failing */
    SIM_FAULTS
};

/* ---- what one schedule is like (swarm testing: each run draws which faults are on, and how often) ---- */

struct sim_config {
    uint32_t nodes;    /* founders, then spare ones that an operator may add */
    uint32_t founders; /* voters and learners of the first membership */
    uint32_t learners; /* the last ones of them */
    uint16_t first_sequencer;
    uint32_t clients;
    uint32_t operations; /* submitted before the schedule comes to its end */
    uint64_t log_size;
    uint32_t op_max;
    uint32_t window, client_window;
    uint32_t sessions_max;
    uint64_t session_idle_ns;
    uint64_t keys_max, bytes_max;
    uint64_t heartbeat_ns, suspend_ns, tick_ns, reorder_min_ns, reorder_max_ns, question_ns, pull_idle_ns;
    uint64_t inflight_max;
    /* actors */
    uint64_t turn_ns;   /* mean delay before a turn */
    uint32_t burst_max; /* frames a turn takes */
    uint64_t grace_ns;  /* mean length of a grace period */
    uint32_t alloc_fail_ppm;
    uint32_t inbox;
    /* network */
    uint64_t latency_ns, jitter_ns;
    bool fifo;
    uint32_t drop_ppm, duplicate_ppm, reorder_ppm, corrupt_ppm, truncate_ppm, replay_ppm, astray_ppm, garbage_ppm;
    uint64_t reorder_ns;
    /* faults that last */
    uint64_t fault_every_ns; /* 0: none */
    uint64_t fault_ns;       /* mean length */
    uint32_t fault_weight[SIM_FAULTS];
    bool disaster; /* a majority may lose its memory: then the cluster must stop */
    /* ctrl */
    struct ls_ctrl_times times;
    uint64_t ctrl_ns;  /* mean delay of messages between a ctrl and its dataplane */
    uint64_t link_ns;  /* ... between two ctrls, at least */
    uint64_t disk_ns;  /* mean time of a write of the record */
    uint64_t spawn_ns; /* mean time from starting a dataplane to its first turn */
    uint32_t disk_fail_ppm;
    uint64_t command_every_ns; /* an operator's commands; 0: none */
    uint32_t disturb; /* one voter is cut off once more when all is well: 0 not, 1 wholly, 2 it is not heard, 3 it does
                         not hear */
    uint64_t heal_ns; /* faults stop here at the latest */
    /* clients */
    uint32_t depth;     /* requests in flight a client */
    uint64_t think_ns;  /* mean pause */
    uint32_t keys;      /* that the workload knows */
    uint32_t value_max; /* usual */
    uint32_t large_ppm, large_max;
    uint32_t deadline_ppm, query_ppm, read_ppm, batch_ppm, ttl_ppm, die_ppm, bad_ppm;
    uint64_t client_retry_ns, give_up_ns;
    uint32_t read_weight[3]; /* by enum ls_consistency */
    bool reads_spread;       /* each client reads at a node of its own */
};

struct sim_fault {
    uint64_t since, until; /* until 0: free */
    enum sim_fault_kind kind;
    uint32_t cut[SIM_ENDS_MAX];
    uint32_t ctrl_cut[SIM_NODES_MAX];
    uint32_t node;
    struct ls_control_disk_fault disk;
};

/* ---- packets ---- */

enum sim_packet_state { SIM_PACKET_FREE, SIM_PACKET_OWNED, SIM_PACKET_FLIGHT, SIM_PACKET_INBOX };

struct sim_packet {
    uint8_t data[LS_FRAME_MAX + 64];
    uint32_t length;
    struct ls_addr from, to;
    uint16_t end; /* owner where OWNED; destination in flight */
    uint8_t state;
    bool damaged;
    bool replayed;
};

struct sim_io {
    struct ls_port port; /* its io is what the core calls */
    struct sim *sim;
    uint16_t end;
    bool apply;
};

/* ---- nodes ---- */

struct sim_node {
    uint32_t index;
    uint16_t id;
    struct ls_addr addr;
    bool counts; /* its record says that this incarnation may */
    uint64_t incarnation;
    bool paused;
    bool doomed;      /* it stands still for so long that its ctrl will kill it */
    uint64_t slow_ns; /* added to the delay of its turns */

    struct ls_log *log;
    struct ls_seam seam;
    struct ls_replica *replica;
    struct ls_executor *executor;
    struct ls_machine *machine;
    struct ls_machine *machine_next; /* of a checkpoint that apply has taken and net has not yet answered for */
    struct ls_grace grace;
    uint64_t grace_at;
    struct ls_replica_page page;
    struct ls_counters net_counters, apply_counters;
    struct sim_io net_io, apply_io;
    struct sim_actor net, apply, journal;
    struct ls_journal *writer;        /* NULL: none */
    struct sim_disk disk;             /* outlives the process */
    uint64_t past_at;                 /* when net's question to the journal is answered; 0: none is open */
    uint64_t past_gone;               /* its journal has let go of what lies below */
    struct ls_disk_fault *disk_fault; /* what the writer sees of it */
    struct sim_clock clock;
    uint32_t inbox[SIM_INBOX];
    uint32_t inbox_head, inbox_tail;
    uint32_t owned; /* packets taken and neither sent nor given back */

    /* the checkers' picture of it */
    struct ls_replica_view view;
    uint32_t *path; /* record of entry seq, from 1 on */
    uint64_t last_seq;
    uint64_t end;
    uint64_t commit;
    uint64_t commit_seq;
    uint64_t applied_seq;
    uint64_t executed_seq; /* last one that the executor's watch named */
    uint64_t executions;
    uint64_t promised;
    uint64_t base;            /* where its log begins */
    uint64_t end_was;         /* end of its log as its last turn began */
    bool resumed;             /* with the log of an earlier life */
    uint64_t disk_end;        /* position that its disk has of its log; stays while it is away, */
    uint64_t disk_seq;        /* and up to here of the committed one */
    uint64_t disk_once;       /* and up to here before it rotted, or an older one took its place */
    uint64_t acked_seq;       /* highest entry that it acknowledged so that it counted */
    uint64_t installed_epoch; /* is (or was) its sequencer */
    uint64_t verifications;   /* counter as of the last turn */
    uint64_t filled;          /* log bytes that it holds, as of the last turn */
    uint64_t fetched_at;      /* when it last asked for some; 0: never */
    uint32_t ranges;          /* frames of log bytes that it served in this turn */
};

/* A script's order on its way to a node that has no ctrl. */
struct sim_order {
    bool used;
    uint16_t node;
    uint64_t incarnation;
    struct ls_order order;
};

/* ---- clients and their history ---- */

struct sim_client;

struct sim_op {
    struct sim_client *owner;
    bool used;
    bool read;
    bool queried;
    bool durable; /* it asked for a majority's disks */
    uint8_t consistency;
    uint16_t client;
    uint16_t life;
    uint64_t number;
    uint64_t invoked_ns;
    uint64_t floor; /* every operation that had returned when this began has a seq <= floor */
    uint64_t least;
    uint32_t length;
    uint8_t code;
    uint8_t bytes[LS_READ_OP_MAX]; /* reads only */
};

struct sim_client {
    uint32_t index;
    uint16_t life; /* index into lives */
    bool alive;
    struct ls_addr addr;
    struct ls_client_core *core;
    struct sim_io io;
    struct sim_actor actor;
    struct sim_clock clock;
    struct sim_op op[2 * SIM_OPS_MAX];
    uint32_t in_flight;
    bool lost; /* its session was evicted */
    uint64_t think_until;
    uint64_t die_at; /* with this request number */
    uint64_t least;  /* highest seq this client has seen */
};

struct sim_life {
    uint16_t client;
    bool alive;
    struct ls_addr addr;
    uint8_t nonce[LS_NONCE_SIZE];
    uint64_t submitted;
};

struct sim_submission {
    uint64_t hash;
    uint32_t length;
    uint64_t deadline;
    bool deadline_known;
    bool queried;
};

/* ---- the naive model ---- */

struct sim_expected {
    uint16_t status;
    uint16_t length;
    bool executed;
    uint64_t executions; /* up to here */
    uint64_t epoch;      /* in which it was committed */
    uint64_t time;
    uint64_t hash;
    uint64_t digest; /* said by the first replica that was there; 0: none yet */
};

struct sim_model;
struct sim_model *sim_model_create(void);
void sim_model_reset(struct sim_model *model, uint32_t window);
/* Executes a canonical entry; the next one in order. */
void sim_model_apply(struct sim_model *model, const struct ls_entry *entry, struct sim_expected *expected);
/* What must be told about a request that is done: its seq, status and result. False: it is not done. */
struct sim_outcome {
    uint64_t seq, hash;
    uint16_t status, length;
};
bool sim_model_outcome(const struct sim_model *model, uint64_t session, uint64_t number, struct sim_outcome *outcome);
/* The session was never opened or was evicted; its results below *floor are no longer kept. */
bool sim_model_session_gone(const struct sim_model *model, uint64_t session, uint64_t *floor);
/* Is this a right answer to a read of the state as of `seq`? NULL, or what is wrong with it. */
const char *sim_model_check_read(struct sim_model *model, const uint8_t *operation, uint32_t length, uint64_t seq,
                                 uint16_t status, const uint8_t *bytes, uint32_t n);
/* Newest version of a key, 0: there is none; for a load that wants to hit. */
uint64_t sim_model_version(const struct sim_model *model, const uint8_t *key, uint32_t length);
bool sim_model_is_full(const struct sim_model *model);

/* ---- the checkers' ledger ---- */

struct sim_record { /* one entry, as first seen in any log */
    uint64_t epoch, position, end, seq, time;
    uint64_t hash; /* of all its bytes */
    uint64_t session, number;
    uint32_t parent;
    uint32_t chain;
    uint16_t kind;
    uint16_t life;
    uint64_t members_seq;    /* of the newest membership, this entry included; 0: founders' */
    uint8_t voters, members; /* who they are behind it: masks of indexes */
};

struct sim_epoch {
    bool opened;
    uint16_t node;
    uint64_t incarnation;
    uint64_t first_seq, first_position, first_end;
    uint64_t last_seq; /* of the sequencer's log, as far as it was seen */
    uint64_t last_end;
    uint64_t acked[SIM_NODES_MAX];    /* verified positions that incarnations which count have acknowledged */
    uint64_t admitted[SIM_NODES_MAX]; /* incarnation whose acknowledgements are still to come */
    uint64_t commit;                  /* held by a majority */
    uint32_t *log;                    /* record of entry seq */
};

struct sim_floor {
    uint64_t time, seq;
};

struct sim_ledger {
    struct sim_record *record;
    uint32_t records;
    struct sim_map by_position; /* (epoch, position) -> record */
    struct sim_map by_seq;      /* (epoch, seq) -> record */
    struct sim_map submissions; /* (life, number) -> submission */
    struct sim_submission *submission;
    uint32_t submission_count;
    struct sim_epoch epoch[SIM_EPOCHS_MAX];
    uint32_t *epoch_logs;
    uint64_t epoch_high;
    uint32_t *canon; /* the one committed list: record of entry seq */
    uint64_t canon_seq;
    uint64_t canon_end;
    struct sim_expected *expected;
    uint64_t floor; /* highest seq that any client has been told */
    struct sim_floor *floors;
    uint32_t floor_count;
    struct sim_model *model;
    struct sim_life life[SIM_LIVES_MAX];
    uint32_t lives;
};

/* ---- what a campaign has provoked ---- */

struct sim_stats {
    uint64_t schedules, events, entries, operations, reads, unknown, epochs, virtual_ns;
    uint64_t faults[SIM_FAULTS];
    uint64_t status[64]; /* of completions */
    uint64_t busy[64];   /* in BUSY frames */
    uint64_t counters[LS_COUNTERS];
    uint64_t damaged, replayed, dropped, partitions, inbox_full, install_refused[8], truncated_entries, behind,
        majority_lost;
    uint64_t ctrl_messages, disk_failed, images_damaged, rebased, rebase_refused, admitted, counted, resumed,
        disks_rotten, disks_found, disks_old, windows, windows_empty, durable_answers, power, elections_won, elections,
        crashes, commands, commands_done, commands_refused, refused_links, epochs_after, forged_refused;
    uint64_t age_understated, age_error_max;
};

struct sim_violation {
    bool found;
    uint64_t seed, time;
    char name[16];
    char text[400];
};

/* ---- scripted runs (scenarios) ---- */

struct sim_script {
    /* Called for each packet that is sent, before chance decides; true: lose it. */
    bool (*lose)(struct sim *sim, const struct sim_packet *packet);
    void (*step)(struct sim *sim, uint32_t argument); /* SIM_EVENT_SCRIPT */
    uint32_t read_node;                               /* 1-based, 0: the sequencer */
    uint32_t counter[16];
    uint64_t seed;    /* 0: 1 */
    bool hide_frames; /* from the trace */
    bool with_ctrl;   /* real ctrls run; else the script itself gives the orders */
    bool may_halt;    /* a replica that stops is no violation */
};

struct sim {
    uint64_t seed;
    uint64_t now;
    struct sim_config config;
    struct sim_queue queue;
    struct sim_rng rng_net, rng_turns, rng_ctrl, rng_faults, rng_clients, rng_load, rng_operator, rng_disk, rng_rot;
    struct sim_packet *packet;
    uint32_t packet_free[SIM_PACKETS];
    uint32_t packets_free;
    struct sim_node node[SIM_NODES_MAX];
    struct sim_client client[SIM_CLIENTS_MAX];
    enum ls_durability durability; /* JOURNAL: every node answers for its disk alone; ASYNC: it writes behind, and an
                                      answer may be asked to wait for disks; set before a run */
    bool journal;                  /* it is JOURNAL */
    bool disk_faults;              /* disks fail, and rot while a node is away; likewise */
    struct sim_host host[SIM_NODES_MAX];
    struct sim_message *message;
    uint32_t message_free[SIM_MESSAGES];
    uint32_t messages_free;
    struct sim_line line[SIM_NODES_MAX][SIM_NODES_MAX];
    bool lines_changed;
    uint32_t ctrl_cut[SIM_NODES_MAX]; /* ctrl_cut[a] bit b: no link between their ctrls */
    uint64_t wall_base;
    struct sim_order order[64]; /* scripts' */
    uint64_t script_id;
    struct sim_operator operator;
    struct sim_ledger ledger;
    struct sim_fault fault[SIM_FAULTS_MAX];
    uint32_t cut[SIM_ENDS_MAX]; /* cut[a] bit b: nothing goes from a to b */
    uint64_t link_at[SIM_ENDS_MAX][SIM_ENDS_MAX];
    uint32_t lossy_ppm;
    uint64_t fault_at;
    uint32_t replay[SIM_REPLAYS];
    struct sim_packet last_ack[SIM_NODES_MAX]; /* that counted; its end: whom it went to; length 0: none */
    uint32_t replays;
    uint32_t operations_left;
    bool healed;
    bool lost; /* a majority lost its memory: nothing can be demanded, and nothing may be committed */
    uint64_t lost_canon;
    uint64_t healed_at, healed_epoch;
    bool stopping;
    struct ls_log log[SIM_NODES_MAX][4]; /* by size */
    uint8_t *op_buffer;
    uint8_t *read_buffer;

    uint64_t hash;
    bool trace;
    uint64_t trace_from;
    FILE *trace_to;
    const struct sim_script *script;
    struct sim_script *script_state;
    const char *overlooked; /* rules that a hunt leaves aside, to see the harm itself; NULL: none */
    struct sim_stats stats;
    struct sim_violation violation;
    jmp_buf stop;
};

/* ---- sim.c ---- */
extern struct sim *sim_world; /* for debuggers and leak checkers */
struct sim *sim_create(void);
void sim_durability_set(struct sim *sim, enum ls_durability durability);
/* Runs one schedule; true: no violation. nodes: 0, or how many instead of drawn. */
bool sim_run(struct sim *sim, uint64_t seed, uint32_t nodes);
/* Runs one with this configuration and script until `until`, without healing or demands at the end. */
bool sim_run_script(struct sim *sim, const struct sim_config *config, struct sim_script *script, uint64_t until);
void sim_violate(struct sim *sim, const char *invariant, const char *format, ...)
    __attribute__((format(printf, 3, 4), noreturn));
/* Is this rule looked at? Only of rules that are broken before any harm is done. */
bool sim_minds(const struct sim *sim, const char *rule);
void sim_trace(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define SIM_TRACE(sim, ...)                                                                                            \
    do {                                                                                                               \
        if ((sim)->trace)                                                                                              \
            sim_trace((sim), __VA_ARGS__);                                                                             \
    } while (0)
void sim_mix(struct sim *sim, uint64_t value);
uint64_t sim_bytes_hash(const void *bytes, size_t n);
void sim_plan(struct sim *sim, struct sim_actor *actor, uint16_t type, uint16_t target, uint64_t at);
void sim_config_draw(struct sim_config *config, uint64_t seed, uint32_t nodes);

/* ---- net.c ---- */
void sim_net_reset(struct sim *sim);
void sim_io_init(struct sim_io *io, struct sim *sim, uint16_t end, bool apply);
void sim_net_deliver(struct sim *sim, uint32_t packet);
void sim_packet_free(struct sim *sim, uint32_t packet);
uint32_t sim_end_of(const struct sim *sim, struct ls_addr addr); /* SIM_NONE: nobody */
void sim_net_cuts_update(struct sim *sim);
void sim_net_ack_again(struct sim *sim, uint32_t node);
void sim_net_inject(struct sim *sim, const struct sim_packet *packet,
                    uint32_t to); /* scripts: a copy of it, there too */
const char *sim_end_name(uint32_t end, char *room);
#define SIM_END_NAME(end) sim_end_name((end), (char[8]){0})

/* ---- node.c ---- */
void sim_node_start(struct sim *sim, uint32_t index, uint64_t incarnation, uint64_t promise);
void sim_node_journal_turn(struct sim *sim, struct sim_node *node);
void sim_node_wake_journal(struct sim *sim, struct sim_node *node);
void sim_node_stop(struct sim *sim, struct sim_node *node);
void sim_node_wake_net(struct sim *sim, struct sim_node *node);
void sim_node_wake_apply(struct sim *sim, struct sim_node *node);
void sim_node_net_turn(struct sim *sim, struct sim_node *node);
void sim_node_apply_turn(struct sim *sim, struct sim_node *node);
void sim_node_pause(struct sim *sim, struct sim_node *node, bool pause);

/* ---- host.c ---- */
struct sim_message *sim_message_take(struct sim *sim, enum sim_message_kind kind, uint32_t from, uint32_t to,
                                     uint32_t life);
void sim_message_send(struct sim *sim, struct sim_message *message, uint64_t at);
void sim_message_free(struct sim *sim, struct sim_message *message);
void sim_messages_reset(struct sim *sim);
void sim_founders(const struct sim *sim, struct ls_membership *members);
struct ls_member sim_member(const struct sim *sim, uint32_t index, enum ls_member_role role);
void sim_host_start(struct sim *sim, uint32_t index);
void sim_host_bootstrap(struct sim *sim, struct sim_host *host);
void sim_host_boot(struct sim *sim, struct sim_host *host, uint64_t delay);
void sim_host_stop(struct sim *sim, struct sim_host *host);
void sim_host_crash(struct sim *sim, struct sim_host *host, uint64_t away);
void sim_host_ctrl_ends(struct sim *sim, struct sim_host *host, uint64_t away); /* UINT64_MAX: for ever */
void sim_host_dataplane_ends(struct sim *sim, struct sim_host *host, const char *how);
void sim_host_turn(struct sim *sim, struct sim_host *host);
void sim_host_message(struct sim *sim, uint32_t message);
void sim_host_events(struct sim *sim, struct sim_host *host);
void sim_host_orders_turn(struct sim *sim, struct sim_host *host);
void sim_host_after(struct sim *sim, struct sim_host *host); /* each call into a ctrl */
uint64_t sim_host_now(const struct sim *sim, const struct sim_host *host);
void sim_host_say(struct sim *sim, struct sim_host *host, enum ls_control_type type, const void *body, size_t size);
void sim_host_tell(struct sim *sim, struct sim_host *host, const struct ls_event *event);

/* ---- lines.c ---- */
void sim_lines_update(struct sim *sim);
void sim_line_send(struct sim *sim, struct sim_host *host, uint16_t node, const void *bytes, size_t size);
void sim_line_message(struct sim *sim, struct sim_host *host, struct sim_message *message);

/* ---- bulk.c ---- */
void sim_bulk_get(struct sim *sim, struct sim_host *host, uint64_t from, uint64_t position);
void sim_bulk_stray(struct sim *sim, struct sim_host *host); /* one that nobody asked for */
void sim_bulk_turn(struct sim *sim, struct sim_host *host);
/* At a node's start: a checkpoint of its own. False: it cannot be read. */
bool sim_bulk_image(struct sim *sim, struct sim_node *node, const struct sim_checkpoint *checkpoint,
                    struct ls_image *image);
void sim_bulk_rebased(struct sim *sim, struct sim_host *host, const struct ls_event *event);
void sim_bulk_answer(struct sim *sim, struct sim_host *host, const struct sim_message *message);
void sim_bulk_stop(struct sim *sim, struct sim_host *host);
void sim_bulk_forget(struct sim *sim, struct sim_host *host);

/* ---- operator.c ---- */
void sim_operator_start(struct sim *sim);
void sim_operator_turn(struct sim *sim);
void sim_operator_command(struct sim *sim, struct sim_host *host, const struct ls_ctrl_command *command);
void sim_operator_answered(struct sim *sim, struct sim_host *host, uint64_t token, int error, const char *text);

uint32_t sim_operator_spare(struct sim *sim); /* a machine that was never a member, made ready; SIM_NONE: none left */

/* ---- stray.c ---- */
void sim_stray_behind(struct sim *sim, struct sim_host *host, const struct ls_order *order);
void sim_stray_turn(struct sim *sim, struct sim_host *host);

/* ---- tell.c ---- */
void sim_tell(struct sim *sim, uint32_t node, const struct ls_order *order); /* scripts */
void sim_tell_arrives(struct sim *sim, uint32_t index);
void sim_tell_events(struct sim *sim, struct sim_node *node);

/* ---- fault.c ---- */
const char *sim_fault_name(enum sim_fault_kind kind);
void sim_fault_start(struct sim *sim);
void sim_fault_turn(struct sim *sim);
/* Something decisive happens at this node: in some schedules trouble begins just then. */
void sim_fault_now(struct sim *sim, uint32_t node);
void sim_fault_disk_set(struct sim *sim, uint32_t node); /* to a disk that has begun anew */
void sim_heal(struct sim *sim);

/* ---- client.c ---- */
void sim_client_start(struct sim *sim, uint32_t index);
void sim_client_stop(struct sim *sim, struct sim_client *client);
void sim_client_turn(struct sim *sim, struct sim_client *client);
void sim_client_input(struct sim *sim, struct sim_client *client, struct sim_packet *packet);
bool sim_client_put(struct sim *sim, struct sim_client *client, const void *operation, uint32_t length,
                    uint64_t deadline);
bool sim_client_get(struct sim *sim, struct sim_client *client, const void *operation, uint32_t length,
                    enum ls_consistency consistency);
bool sim_clients_busy(const struct sim *sim);
/* load.c: writes one operation to `to`; returns its length. */
uint32_t sim_load_mutation(struct sim *sim, uint8_t *to, uint32_t room);
uint32_t sim_load_read(struct sim *sim, uint8_t *to, uint32_t room);
uint32_t sim_kv_op(uint8_t *to, uint8_t code, const char *key, const void *value, uint32_t length, uint64_t argument,
                   uint64_t ttl);

/* ---- check_cluster.c ---- */
void sim_check_record(struct sim *sim, struct sim_host *host, const struct ls_durable *next);
void sim_check_host(struct sim *sim, struct sim_host *host);
void sim_check_order(struct sim *sim, struct sim_host *host, enum ls_control_type type, const void *body);
void sim_check_event(struct sim *sim, struct sim_node *node, const struct ls_event *event);
void sim_check_peer_message(struct sim *sim, struct sim_host *host, uint16_t node, const void *bytes, size_t size);
void sim_check_refused(struct sim *sim, struct sim_host *host, const struct sim_message *message, const char *why);
void sim_check_cut(struct sim *sim, const struct sim_node *node, const struct ls_cut *cut);
void sim_check_image(struct sim *sim, const struct sim_node *node, const struct ls_image *image);
void sim_check_lost(struct sim *sim);
bool sim_is_elected(const struct sim *sim, const struct sim_node *node, uint64_t epoch); /* by votes that were given */
bool sim_is_run_by_ctrl(const struct sim *sim);                                          /* else by a script */
uint32_t sim_sequencer(const struct sim *sim);            /* index of the newest epoch's, SIM_NONE: none */
uint32_t sim_members(const struct sim *sim);              /* mask: members by the newest membership that is committed */
uint32_t sim_voters(const struct sim *sim);               /* ... voters */
bool sim_counts(const struct sim *sim, uint32_t index);   /* it runs, and counts */
bool sim_may_lose(const struct sim *sim, uint32_t index); /* its memory, and a majority is left */
bool sim_may_crash(struct sim *sim, uint32_t index);      /* its memory; what is on its disk stays */
void sim_trace_peer(struct sim *sim, const struct sim_message *message);

/* ---- check.c, check_wire.c ---- */
void sim_ledger_init(struct sim_ledger *ledger);
void sim_ledger_reset(struct sim *sim);
void sim_check_node(struct sim *sim, struct sim_node *node); /* after each turn */
void sim_check_log(struct sim *sim, struct sim_node *node);
/* A majority of these nodes (bits) has it on its disk. */
bool sim_is_on_disks(struct sim *sim, uint32_t voters, uint64_t seq);
void sim_check_disk(struct sim *sim, struct sim_node *node); /* before it goes away */
void sim_check_durable(struct sim *sim, struct sim_node *node);
void sim_check_resumed(struct sim *sim, struct sim_node *node);
void sim_check_applied_image(struct sim *sim, struct sim_node *node, struct ls_image *image);
void sim_check_acked(struct sim *sim, struct sim_node *node, uint64_t epoch, uint64_t position);
void sim_check_executed(struct sim *sim, struct sim_node *node, const struct ls_entry *entry,
                        const struct ls_result *result);
void sim_check_digest(struct sim *sim, struct sim_node *node);
void sim_check_sealed(struct sim *sim, struct sim_node *node, const struct ls_event *event);
void sim_check_sent(struct sim *sim, uint32_t end, const struct sim_packet *packet);
void sim_check_returned(struct sim *sim, const struct sim_op *op, const struct ls_client_result *result);
void sim_check_end(struct sim *sim);
void sim_floor_raise(struct sim *sim, uint64_t seq);

/* ---- decode.c ---- */
void sim_decode(char *text, size_t room, const uint8_t *data, uint32_t length);

#endif
