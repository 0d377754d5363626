/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A checkpoint as a stream of bytes: a file on disk, or memory in the simulator. Header (format, cluster, generation,
 * machine's name and version, the cut), the sessions, the machine's image, trailer (total length, digest of the cut,
 * checksum of everything); every block of at most 64 KiB has its own CRC32C, so that damage is found where it is and
 * before anything is taken from it. Written to "NAME.partial", synced, renamed: a file of the final name is whole.
 * Bulk thread; no state of its own.
 */
#ifndef LOCKSTEP_STATE_CHECKPOINT_H
#define LOCKSTEP_STATE_CHECKPOINT_H

#include <lockstep/state_machine.h>

#include "cut.h"

#define LS_CHECKPOINT_FORMAT 1

/* What a checkpoint says of itself in its header. */
struct ls_checkpoint_info {
    uint32_t format;
    uint32_t generation;
    uint64_t cluster;
    char machine[16];
    uint32_t machine_version;
    uint32_t zero;
    struct ls_cut cut;
};

/* Called now and then while a long one runs, with the bytes done so far; true: go on, false: give up (-ECANCELED). */
typedef bool (*ls_checkpoint_progress)(void *user, uint64_t bytes);

struct ls_checkpoint_job {
    const struct ls_state_machine *type;
    uint64_t cluster;
    uint32_t generation;
    bool older; /* reading: one of an older generation is taken too, and the image says that it is */
    ls_checkpoint_progress progress; /* NULL: none */
    void *user;
};

/* Writes header, sessions and machine. The cut is OPEN and the sessions' image complete; the caller ends the cut
 * afterwards, whatever came out. `machine` is asked with checkpoint_next() until it is done. 0 or -errno. */
int ls_checkpoint_write(const struct ls_checkpoint_job *job, const struct ls_cut *cut, const uint8_t *sessions,
                        size_t sessions_size, struct ls_machine *machine, struct ls_checkpoint_sink *sink);

/* Reads and checks only the header. 0; -EBADMSG damaged, -EPROTO newer format, -errno. */
int ls_checkpoint_info_read(struct ls_checkpoint_source *source, struct ls_checkpoint_info *info);

/* Reads a whole checkpoint into a fresh machine and a fresh session table (image->machine is given, made by
 * type->create(); image->sessions is made here). Every byte is checked, and at the end the digest. 0; -EBADMSG damaged;
 * -EPROTO another machine or newer format; -EXDEV of another cluster or generation; -ENOSPC larger than the limits;
 * -errno. After an error the machine is good for destroy() only. */
int ls_checkpoint_read(const struct ls_checkpoint_job *job, struct ls_checkpoint_source *source, uint32_t sessions_max,
                       struct ls_image *image);

/* Reads a whole checkpoint and checks every checksum without making a machine of it. As above. */
int ls_checkpoint_verify(struct ls_checkpoint_source *source, struct ls_checkpoint_info *info);

/* The same over a file. `bytes_per_second` 0: no limit. One line in `error` (512 bytes) unless 0. */
int ls_checkpoint_file_write(const struct ls_checkpoint_job *job, const struct ls_cut *cut, const uint8_t *sessions,
                             size_t sessions_size, struct ls_machine *machine, const char *path,
                             uint64_t bytes_per_second, char *error);
int ls_checkpoint_file_read(const struct ls_checkpoint_job *job, const char *path, uint32_t sessions_max,
                            struct ls_image *image, char *error);
int ls_checkpoint_file_verify(const char *path, struct ls_checkpoint_info *info, char *error);
int ls_checkpoint_file_info(const char *path, struct ls_checkpoint_info *info, char *error); /* the header alone */

/* How files are called in data_dir/checkpoints: "checkpoint-GENERATION-SEQ.lsc". False: `name` is none of those. */
#define LS_CHECKPOINT_NAME_MAX 64
void ls_checkpoint_name(uint32_t generation, uint64_t seq, char name[LS_CHECKPOINT_NAME_MAX]);
bool ls_checkpoint_name_read(const char *name, uint32_t *generation, uint64_t *seq);

/* The newest `max` of the directory's checkpoints whose header can be read and is `wanted`; newest first. What cannot
 * be read is said (NULL: is not). How many; 0 too where there is no such directory. */
struct ls_checkpoint_found {
    char name[LS_CHECKPOINT_NAME_MAX];
    struct ls_checkpoint_info info;
    uint64_t bytes;
};
uint32_t ls_checkpoint_list(const char *directory, bool (*wanted)(void *user, const struct ls_checkpoint_info *info),
                            void *user, void (*say)(const char *line), struct ls_checkpoint_found *list, uint32_t max);

#endif
