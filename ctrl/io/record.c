/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads and writes the durable record. See record.h. ctrl's one thread; blocks for the disk. */
#include "record.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wire.h"

#define RECORD_MAGIC   0x4452434552534cull /* "LSRECRD" */
#define RECORD_VERSION 1

struct slot {
    uint64_t magic;
    uint32_t version;
    uint32_t size;
    uint64_t serial;
    uint64_t inode;
    uint64_t cluster;
    uint32_t generation;
    uint16_t node;
    uint16_t zero;
    uint64_t incarnation;
    uint64_t promise;
    uint32_t zero32;
    uint32_t crc; /* of everything before it */
} LS_PACKED;
static_assert(sizeof(struct slot) == 72 && sizeof(struct slot) <= LS_RECORD_SLOT_OFFSET, "layout on disk");

static struct slot slot_make(const struct ls_record *record, const struct ls_durable *durable, uint64_t serial)
{
    struct slot slot = {
        .magic = RECORD_MAGIC,
        .version = RECORD_VERSION,
        .size = sizeof(slot),
        .serial = serial,
        .inode = record->inode,
        .cluster = durable->cluster,
        .generation = durable->generation,
        .node = durable->node,
        .incarnation = durable->incarnation,
        .promise = durable->promise,
    };

    slot.crc = ls_crc32c(0, &slot, offsetof(struct slot, crc));
    return slot;
}

static bool slot_is_whole(const struct slot *slot)
{
    return slot->magic == RECORD_MAGIC && slot->version == RECORD_VERSION && slot->size == sizeof(*slot) &&
           slot->zero == 0 && slot->zero32 == 0 && slot->serial != 0 &&
           slot->crc == ls_crc32c(0, slot, offsetof(struct slot, crc));
}

static int write_synced(int fd, const struct slot *slot, off_t offset)
{
    ssize_t written;

    do {
        written = pwrite(fd, slot, sizeof(*slot), offset);
    } while (written < 0 && errno == EINTR);
    if (written < 0)
        return -errno;
    if (written != sizeof(*slot))
        return -EIO;
    return fsync(fd) == 0 ? 0 : -errno;
}

static int both_write(struct ls_record *record, const struct ls_durable *durable, uint64_t serial)
{
    struct slot slot = slot_make(record, durable, serial);
    int error = write_synced(record->fd, &slot, 0);

    if (error == 0)
        error = write_synced(record->fd, &slot, LS_RECORD_SLOT_OFFSET);
    if (error == 0) {
        record->durable = *durable;
        record->serial = serial;
    }
    return error;
}

int ls_record_write(struct ls_record *record, const struct ls_durable *durable)
{
    assert(durable->cluster == record->durable.cluster && durable->node == record->durable.node &&
           durable->generation == record->durable.generation);
    assert(durable->promise >= record->durable.promise && durable->incarnation >= record->durable.incarnation);
    return both_write(record, durable, record->serial + 1);
}

static int directory_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), error = 0;

    if (fd < 0)
        return -errno;
    if (fsync(fd) != 0)
        error = -errno;
    close(fd);
    return error;
}

static int inode_read(struct ls_record *record)
{
    struct stat info;

    if (fstat(record->fd, &info) != 0)
        return -errno;
    record->inode = info.st_ino;
    return 0;
}

/* Written under another name and linked into place, so that a crash leaves no half of a record, and an existing one
 * is never replaced. */
int ls_record_create(const char *data_dir, uint64_t cluster, uint32_t generation, uint16_t node, char *error)
{
    struct ls_durable durable = {.cluster = cluster, .generation = generation, .node = node};
    struct ls_record record = {.durable = durable};
    char fresh[620];
    int result;

    snprintf(record.path, sizeof(record.path), "%s/record", data_dir);
    snprintf(fresh, sizeof(fresh), "%s.new", record.path);
    if (access(record.path, F_OK) == 0) {
        snprintf(error, LS_RECORD_ERROR_MAX,
                 "%s exists: this node was bootstrapped before. Start it without bootstrap; only if the whole cluster "
                 "is given up, remove that file on every node first",
                 record.path);
        return -EEXIST;
    }
    unlink(fresh);
    record.fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (record.fd < 0) {
        result = -errno;
        snprintf(error, LS_RECORD_ERROR_MAX, "%s cannot be made: %s (mkdir -p %s)", fresh, strerror(errno), data_dir);
        return result;
    }
    result = inode_read(&record);
    if (result == 0)
        result = both_write(&record, &durable, 1);
    close(record.fd);
    if (result == 0 && link(fresh, record.path) != 0)
        result = -errno;
    unlink(fresh);
    if (result == 0)
        result = directory_sync(data_dir);
    if (result != 0)
        snprintf(error, LS_RECORD_ERROR_MAX, "%s cannot be made durable: %s", record.path, strerror(-result));
    return result;
}

static bool slot_read(const struct ls_record *record, off_t offset, struct slot *slot)
{
    memset(slot, 0, sizeof(*slot));
    return pread(record->fd, slot, sizeof(*slot), offset) == sizeof(*slot) && slot_is_whole(slot);
}

/* Is the record this node's own? */
static int owner_check(const struct ls_record *record, const struct slot *slot, uint64_t cluster, uint32_t generation,
                       uint16_t node, char *error)
{
    if (slot->cluster != cluster)
        snprintf(error, LS_RECORD_ERROR_MAX,
                 "%s belongs to cluster %016" PRIx64 ", the cluster file says %016" PRIx64
                 ": check cluster.id and data_dir in the cluster file",
                 record->path, slot->cluster, cluster);
    else if (slot->node != node)
        snprintf(error, LS_RECORD_ERROR_MAX,
                 "%s belongs to node %u, and this is node %u: check --node, and that no two nodes share a data_dir",
                 record->path, slot->node, node);
    else if (slot->generation != generation)
        snprintf(error, LS_RECORD_ERROR_MAX,
                 "%s is of generation %u of the cluster, the cluster file of %u: check cluster.generation; a node of "
                 "an older generation can only be replaced by a new member",
                 record->path, slot->generation, generation);
    else if (slot->inode != record->inode)
        snprintf(error, LS_RECORD_ERROR_MAX,
                 "%s is a copy: it was not made where it stands now, and may be older than what this node has promised "
                 "since. Use the original, or replace this node by a new member",
                 record->path);
    else
        return 0;
    return -EXDEV;
}

static int slots_load(struct ls_record *record, uint64_t cluster, uint32_t generation, uint16_t node, char *error)
{
    struct slot slot[2], *best, fresh;
    bool whole[2] = {slot_read(record, 0, &slot[0]), slot_read(record, LS_RECORD_SLOT_OFFSET, &slot[1])};
    int result;

    if (!whole[0] && !whole[1]) {
        snprintf(error, LS_RECORD_ERROR_MAX,
                 "%s is damaged: neither of its two copies is whole. What this node has promised is not known: replace "
                 "it by a new member",
                 record->path);
        return -EBADMSG;
    }
    best = whole[0] && (!whole[1] || slot[0].serial >= slot[1].serial) ? &slot[0] : &slot[1];
    result = owner_check(record, best, cluster, generation, node, error);
    if (result != 0)
        return result;
    record->serial = best->serial;
    record->durable = (struct ls_durable){.cluster = best->cluster,
                                          .generation = best->generation,
                                          .node = best->node,
                                          .incarnation = best->incarnation,
                                          .promise = best->promise};
    if (whole[0] && whole[1] && slot[0].serial == slot[1].serial)
        return 0;
    /* Only the other slot: while the good one is written it would be the only one, and torn by a crash. */
    fresh = slot_make(record, &record->durable, record->serial);
    result = write_synced(record->fd, &fresh, best == &slot[0] ? LS_RECORD_SLOT_OFFSET : 0);
    if (result != 0)
        snprintf(error, LS_RECORD_ERROR_MAX, "%s cannot be mended: %s", record->path, strerror(-result));
    return result;
}

int ls_record_open(struct ls_record *record, const char *data_dir, uint64_t cluster, uint32_t generation, uint16_t node,
                   char *error)
{
    int result;

    memset(record, 0, sizeof(*record));
    snprintf(record->path, sizeof(record->path), "%s/record", data_dir);
    record->fd = open(record->path, O_RDWR | O_CLOEXEC);
    if (record->fd < 0) {
        result = -errno;
        if (result == -ENOENT)
            snprintf(error, LS_RECORD_ERROR_MAX,
                     "%s does not exist. If this node has never run: lockstep-ctrl bootstrap. If it has, its record is "
                     "lost, and it may not come back under its id: replace it by a new member",
                     record->path);
        else
            snprintf(error, LS_RECORD_ERROR_MAX, "%s cannot be opened: %s", record->path, strerror(errno));
        return result;
    }
    result = inode_read(record);
    if (result == 0)
        result = slots_load(record, cluster, generation, node, error);
    else
        snprintf(error, LS_RECORD_ERROR_MAX, "%s cannot be read: %s", record->path, strerror(-result));
    if (result != 0)
        ls_record_close(record);
    return result;
}

void ls_record_close(struct ls_record *record)
{
    if (record->fd >= 0)
        close(record->fd);
    record->fd = -1;
}
