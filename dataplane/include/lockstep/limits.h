/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Every bound of Lockstep in one place. Sizes in bytes, times in nanoseconds, counts plain numbers.
 * What an operator may change is a default here (LS_*_DEFAULT) and a key of the cluster file; the rest is fixed,
 * because arrays, frames or the log's format depend on it.
 */
#ifndef LOCKSTEP_LIMITS_H
#define LOCKSTEP_LIMITS_H

#include <assert.h>

/* Cluster. */
#define LS_VOTERS_MAX   7  /* members that count in a majority */
#define LS_MEMBERS_MAX  16 /* voters and learners together; node ids are 1..LS_NODE_ID_MAX */
#define LS_NODE_ID_MAX  63
#define LS_PORT_DEFAULT 7400

/* Frames: UDP payload of a standard 1,500-byte MTU, less room for the authentication trailer. */
#define LS_FRAME_MAX         1472
#define LS_TRAILER_SIZE      24
#define LS_FRAME_HEADER_SIZE 48
#define LS_FRAME_BODY_MAX    (LS_FRAME_MAX - LS_FRAME_HEADER_SIZE - LS_TRAILER_SIZE) /* 1,400 */

/* Operations and results. */
#define LS_OP_SMALL_MAX    1280          /* larger operations are pulled in fragments */
#define LS_FRAGMENT_SIZE   1280          /* of a pulled operation; the last one may be shorter */
#define LS_OP_MAX_DEFAULT  (1280 * 1024) /* a 1 MiB value, its key and its batch neighbours */
#define LS_OP_MAX          (8 * 1024 * 1024)
#define LS_RESULT_MAX      256  /* of a mutation; kept for repeats */
#define LS_READ_RESULT_MAX 1320 /* of a read: one frame */
#define LS_READ_OP_MAX     1024

/* Sessions. */
#define LS_SESSIONS_DEFAULT     1024
#define LS_SESSIONS_MAX         65536
#define LS_WINDOW_DEFAULT       64 /* results kept, and requests in flight, per session */
#define LS_WINDOW_MAX           64 /* one bit each in a 64-bit word */
#define LS_SESSION_IDLE_DEFAULT (60ull * 1000 * 1000 * 1000)

/* Log. */
#define LS_LOG_SIZE_DEFAULT (64ull * 1024 * 1024)
#define LS_LOG_SIZE_MIN     (64ull * 1024)
#define LS_DISK_BLOCK       4096u /* the journal writes whole ones, out of the ring */
#define LS_EPOCHS_KEPT      128   /* rows of the epoch table; older ones fall out */
#define LS_EPOCHS_SENT      48    /* newest rows that fit into a verification question */

/* Follower and repair. */
#define LS_RANGES_MAX           16 /* received ranges kept beyond the contiguous end */
#define LS_FETCH_RANGES_MAX     16
#define LS_FETCH_BYTES_MAX      (128 * 1024) /* asked for at once */
#define LS_BULK_FRAMES_PER_TURN 64           /* fetched or pulled frames sent in one loop turn, all peers together */

/* Work per loop turn. */
#define LS_BURST             32
#define LS_READS_PENDING_MAX 1024
#define LS_STASH_MAX         256 /* requests that arrived before their predecessors */
#define LS_PULLS_MAX         8   /* large requests being pulled at once */

static_assert(LS_FRAME_BODY_MAX == 1400, "frame room changed: revisit LS_OP_SMALL_MAX and LS_READ_RESULT_MAX");

#endif
