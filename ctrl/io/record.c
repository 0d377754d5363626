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

#include <lockstep/wire.h>

#include "wire.h"

#define RECORD_MAGIC   0x4452434552534cull /* "LSRECRD" */
#define RECORD_VERSION 2

/* magic, version and size stand here in every version, and a checksum in the last four of `size` bytes. */
struct slot {
    uint64_t magic;
    uint32_t version;
    uint32_t size;
    uint64_t serial;
    uint64_t inode;
    uint64_t cluster;
    uint32_t generation;
    uint16_t node;
    uint16_t vote;
    uint64_t incarnation;
    uint64_t counts;
    uint64_t promise;
    uint64_t members_seq;
    uint16_t members;
    uint8_t founder;
    uint8_t recovers;
    uint8_t zero[4];
    struct ls_member_record member[LS_MEMBERS_MAX]; /* zero behind the last */
    uint8_t room[LS_RECORD_SLOT_SIZE - 88 - 16 * LS_MEMBERS_MAX - 4];
    uint32_t crc; /* of everything before it */
} LS_PACKED;
static_assert(sizeof(struct slot) == LS_RECORD_SLOT_SIZE && LS_RECORD_SLOT_SIZE <= LS_RECORD_SLOT_OFFSET,
              "layout on disk");

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
        .vote = durable->vote,
        .incarnation = durable->incarnation,
        .counts = durable->counts,
        .promise = durable->promise,
        .members_seq = durable->members.seq,
        .members = (uint16_t)durable->members.count,
        .founder = durable->founder,
        .recovers = durable->recovers,
    };

    if (durable->members.count > 0)
        ls_membership_write(&durable->members, slot.member);
    slot.crc = ls_crc32c(0, &slot, offsetof(struct slot, crc));
    return slot;
}

/* False: whole by its checksum, and yet nothing that this program wrote. */
static bool slot_parse(const struct slot *slot, struct ls_durable *durable)
{
    *durable = (struct ls_durable){
        .cluster = slot->cluster,
        .generation = slot->generation,
        .node = slot->node,
        .vote = slot->vote,
        .incarnation = slot->incarnation,
        .counts = slot->counts,
        .promise = slot->promise,
        .founder = slot->founder != 0,
        .recovers = slot->recovers != 0,
    };
    if (slot->serial == 0 || slot->founder > 1 || slot->recovers > 1)
        return false;
    if (slot->members == 0)
        return true;
    if (!ls_membership_read(&durable->members, slot->member, slot->members))
        return false;
    durable->members.seq = slot->members_seq;
    return true;
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
    return fdatasync(fd) == 0 ? 0 : -errno;
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
           durable->generation >= record->durable.generation);
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
int ls_record_create(const char *data_dir, const struct ls_durable *durable, char *error)
{
    struct ls_record record = {.durable = *durable};
    char fresh[620];
    int result;

    snprintf(record.path, sizeof(record.path), "%s/record", data_dir);
    snprintf(fresh, sizeof(fresh), "%s.new", record.path);
    if (access(record.path, F_OK) == 0) {
        snprintf(error, LS_RECORD_ERROR_MAX,
                 "%s exists: this node has a record already. Start it as it is; only if the whole cluster is given up, "
                 "remove that file on every node first",
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
        result = both_write(&record, durable, 1);
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

struct found {
    struct slot slot;
    struct ls_durable durable;
    bool whole;
    uint32_t other_version; /* whole, but of this format; else 0 */
};

static void slot_find(const struct ls_record *record, off_t offset, struct found *found)
{
    const struct slot *slot = &found->slot;
    uint32_t crc;
    ssize_t got;

    memset(found, 0, sizeof(*found));
    got = pread(record->fd, &found->slot, sizeof(found->slot), offset);
    if (got < (ssize_t)offsetof(struct slot, serial) || slot->magic != RECORD_MAGIC || slot->size > (size_t)got ||
        slot->size < offsetof(struct slot, serial) + sizeof(crc))
        return;
    memcpy(&crc, (const uint8_t *)slot + slot->size - sizeof(crc), sizeof(crc));
    if (crc != ls_crc32c(0, slot, slot->size - sizeof(crc)))
        return;
    if (slot->version != RECORD_VERSION)
        found->other_version = slot->version;
    else
        found->whole = slot->size == sizeof(*slot) && slot_parse(slot, &found->durable);
}

/* A slot of another format may be newer than one of ours. */
static int format_check(const struct ls_record *record, const struct found *found, char *error)
{
    uint32_t version = found[0].other_version != 0 ? found[0].other_version : found[1].other_version;

    if (version == 0)
        return 0;
    snprintf(error, LS_RECORD_ERROR_MAX, "%s is of format %u, this lockstep-ctrl reads format %u: %s", record->path,
             version, RECORD_VERSION,
             version > RECORD_VERSION
                 ? "start the newer lockstep-ctrl that wrote it"
                 : "such clusters held no memory of elections; begin a new cluster, or replace this node by a new "
                   "member");
    return -EPROTO;
}

/* Is the record this node's own? */
static int owner_check(const struct ls_record *record, const struct slot *slot, uint64_t cluster, uint16_t node,
                       char *error)
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
    else if (slot->inode != record->inode)
        snprintf(error, LS_RECORD_ERROR_MAX,
                 "%s is a copy: it was not made where it stands now, and may be older than what this node has promised "
                 "since. Use the original, or replace this node by a new member",
                 record->path);
    else
        return 0;
    return -EXDEV;
}

static int slots_load(struct ls_record *record, uint64_t cluster, uint16_t node, char *error)
{
    struct found found[2], *best;
    struct slot fresh;
    int result;

    slot_find(record, 0, &found[0]);
    slot_find(record, LS_RECORD_SLOT_OFFSET, &found[1]);
    result = format_check(record, found, error);
    if (result != 0)
        return result;
    if (!found[0].whole && !found[1].whole) {
        snprintf(error, LS_RECORD_ERROR_MAX,
                 "%s is damaged: neither of its two copies is whole. What this node has promised is not known: replace "
                 "it by a new member",
                 record->path);
        return -EBADMSG;
    }
    best = found[0].whole && (!found[1].whole || found[0].slot.serial >= found[1].slot.serial) ? &found[0] : &found[1];
    result = owner_check(record, &best->slot, cluster, node, error);
    if (result != 0)
        return result;
    record->serial = best->slot.serial;
    record->durable = best->durable;
    if (found[0].whole && found[1].whole && found[0].slot.serial == found[1].slot.serial)
        return 0;
    /* Only the other slot: while the good one is written it would be the only one, and torn by a crash. */
    fresh = slot_make(record, &record->durable, record->serial);
    result = write_synced(record->fd, &fresh, best == &found[0] ? LS_RECORD_SLOT_OFFSET : 0);
    if (result != 0)
        snprintf(error, LS_RECORD_ERROR_MAX, "%s cannot be mended: %s", record->path, strerror(-result));
    return result;
}

int ls_record_open(struct ls_record *record, const char *data_dir, uint64_t cluster, uint16_t node, char *error)
{
    int result;

    memset(record, 0, sizeof(*record));
    snprintf(record->path, sizeof(record->path), "%s/record", data_dir);
    record->fd = open(record->path, O_RDWR | O_CLOEXEC);
    if (record->fd < 0) {
        result = -errno;
        if (result == -ENOENT)
            snprintf(error, LS_RECORD_ERROR_MAX,
                     "%s does not exist. If this node founds a new cluster: lockstep-ctrl bootstrap. If it is to join "
                     "a running one as a new member: lockstep-ctrl join. If it has run before, its record is lost, and "
                     "it may not come back under its id: give it a new one (lockstep member replace)",
                     record->path);
        else
            snprintf(error, LS_RECORD_ERROR_MAX, "%s cannot be opened: %s", record->path, strerror(errno));
        return result;
    }
    result = inode_read(record);
    if (result == 0)
        result = slots_load(record, cluster, node, error);
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
