/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The bulk thread: writes checkpoints, restores from them, scrubs the state. One job at a time, given by the control
 * thread and answered by reports; scrubbing in between. An ordinary thread that yields to the workers; it is online for
 * RCU only while it scrubs or flips, so that it holds up no grace period. It owns the state machine's life: whatever
 * machine stands in `machine` after the end is the one to destroy.
 */
#ifndef LOCKSTEP_CONTROL_BULK_H
#define LOCKSTEP_CONTROL_BULK_H

#include <pthread.h>

#include <lockstep/control_message.h>
#include <lockstep/counters.h>
#include <lockstep/state_machine.h>

#include "../core/cut.h"
#include "../core/executor.h"
#include "../core/seam.h"
#include "../workers/gp.h"
#include "../workers/idle.h"
#include "scrub.h"

#define LS_BULK_PROGRESS_NS (200ull * 1000 * 1000)

enum ls_bulk_job_kind { LS_BULK_CHECKPOINT, LS_BULK_RESTORE, LS_BULK_FLIP };

struct ls_bulk_job {
    enum ls_bulk_job_kind kind;
    uint64_t link; /* who asked, and by which number; copied to what is reported */
    uint64_t id;
    uint64_t bytes_per_second; /* 0: no limit */
    uint64_t seed;             /* FLIP */
    bool older;                /* RESTORE: it may be of an older generation */
    char path[LS_CONTROL_PATH_MAX + 1];
};

enum ls_bulk_report_kind {
    LS_BULK_PROGRESS, /* checkpoint */
    LS_BULK_REBASE,   /* image: net is to take it; answered by ls_bulk_rebased() */
    LS_BULK_DONE,     /* of CHECKPOINT, RESTORE: checkpoint, text */
    LS_BULK_FLIPPED,  /* error, text */
    LS_BULK_DAMAGED,  /* damaged */
};

struct ls_bulk_report {
    enum ls_bulk_report_kind kind;
    int error; /* FLIPPED: 0 or an errno; DONE has it in `checkpoint` */
    uint64_t link;
    uint64_t id;
    struct ls_control_checkpoint checkpoint;
    struct ls_control_damaged damaged;
    struct ls_image *image;
    char text[LS_CONTROL_TEXT_MAX];
};

struct ls_bulk_config {
    const struct ls_state_machine *type;
    struct ls_machine_limits limits;
    uint64_t cluster;
    uint32_t generation;
    uint32_t sessions_max;
    uint64_t scrub_ns; /* period of one walk over the state; 0: never */
    const struct ls_executor *executor;
    struct ls_seam *seam;
    struct ls_gp *gp;
    struct ls_replica_page *page;
    struct ls_waker *apply;   /* of the thread that runs apply; NULL: it never sleeps */
    struct ls_waker *control; /* of the one that takes the reports; NULL: it never sleeps */
    const char *root;         /* "" on a real system; tests bring their own /proc/meminfo */
};

struct ls_bulk {
    struct ls_bulk_config config;
    struct ls_waker waker;
    pthread_t thread;
    _Atomic bool stop;
    /* control -> bulk: `job` is bulk's while `posted` (release, acquire) */
    _Atomic bool posted;
    struct ls_bulk_job job;
    _Atomic uint32_t rebased; /* 0: not yet; 1 + code */
    bool busy;                /* control: a job was posted and its end not yet taken */
    struct ls_spsc reports;   /* bulk -> control */
    uint8_t *reports_memory;
    /* bulk; others after its end */
    struct ls_machine *machine; /* the replica's */
    struct ls_image image;
    struct ls_machine *candidate; /* the machine that the image was made with; NULL: there is no image */
    struct ls_cut cut;
    struct ls_scrub scrub;
    uint64_t progress_ns, begin_ns; /* of the job */
    struct ls_control_checkpoint checkpoint;
    uint64_t expected; /* size of the last checkpoint */
    uint64_t damaged_told_ns;
};

/* Starts the thread over `machine`, which is bulk's from here on. 0 or -errno. */
int ls_bulk_start(struct ls_bulk *bulk, const struct ls_bulk_config *config, struct ls_machine *machine);
/* Breaks off what it does and ends the thread. */
void ls_bulk_stop(struct ls_bulk *bulk);
/* After the workers have ended too: destroys the machine, and an image that was on its way. */
void ls_bulk_free(struct ls_bulk *bulk);

/* Control thread. False: the job before has not ended (-EBUSY). */
bool ls_bulk_post(struct ls_bulk *bulk, const struct ls_bulk_job *job);
/* False: nothing to report. */
bool ls_bulk_report(struct ls_bulk *bulk, struct ls_bulk_report *report);
/* net and apply have done with the image: `code` as in REBASED. */
void ls_bulk_rebased(struct ls_bulk *bulk, uint32_t code);

#endif
