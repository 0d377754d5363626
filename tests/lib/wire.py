# SPDX-License-Identifier: BSD-3-Clause
"""Lockstep's wire format in plain Python: a second, independent reading of dataplane/include/lockstep/wire.h and kv.h.

For tests that talk to a node over a kernel UDP socket without the project's own client: slow, simple, one request at a
time.
"""
import os
import socket
import struct
import time

MAGIC = 0x50544C53
VERSION = 1
PORT = 7400
REQUEST, ORDER, ACK, FETCH, RANGE, HEARTBEAT, REPLY, READ, GRANT, FRAGMENT, REDIRECT, VIEW, BUSY = range(1, 14)
KIND_OPERATION, KIND_OPEN, KIND_QUERY, KIND_ANNOUNCE = range(1, 5)
KV_PUT, KV_DELETE, KV_CAS, KV_INCR, KV_APPEND = 1, 2, 3, 4, 5
KV_GET = 32
STATUS_OK, STATUS_NOT_FOUND = 0, 1

HEADER = struct.Struct("<IIBBHHHQIHHQQ")  # magic crc version type flags length group cluster generation sender zero ...
REQUEST_RECORD = struct.Struct("<QQQQIHHII")
READ_RECORD = struct.Struct("<QQQHHI")
REPLY_BODY = struct.Struct("<Q")
REPLY_RECORD = struct.Struct("<QQQQIHBBII")
VIEW_BODY = struct.Struct("<QQHHI")
MEMBER = struct.Struct("<HHIHHI")
BUSY_BODY = struct.Struct("<QQQQHHI")
KV_OP = struct.Struct("<BBHIQQIHH")
KV_RESULT = struct.Struct("<QQII")
KV_VALUE = struct.Struct("<QQIIII")


def _crc_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = (n >> 1) ^ 0x82F63B78 if n & 1 else n >> 1
        table.append(n)
    return table


_TABLE = _crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def frame(kind, body, cluster, generation=1, group=0, sender=0, incarnation=0, epoch=0, flags=0, version=VERSION,
          magic=MAGIC, length=None, zero=0):
    """A whole frame with its checksum; any field can be made wrong on purpose."""
    fields = [magic, 0, version, kind, flags, HEADER.size + len(body) if length is None else length, group, cluster,
              generation, sender, zero, incarnation, epoch]
    fields[1] = crc32c(HEADER.pack(*fields) + body)
    return HEADER.pack(*fields) + body


def pad8(data):
    return data + bytes(-len(data) % 8)


def request_record(session, number, kind, operation=b"", slot=0, awaited=None, deadline=0, total=0):
    return REQUEST_RECORD.pack(session, number, number if awaited is None else awaited, deadline, slot, kind, 0,
                               len(operation), total) + pad8(operation)


def kv_op(code, key, value=b"", argument=0, ttl=0):
    return KV_OP.pack(code, 0, len(key), len(value), argument & (2**64 - 1), ttl, 0, 0, 0) + key + value


class Reply:
    """One record of a REPLY frame."""

    def __init__(self, record, result):
        (self.session, self.number, self.seq, self.age, self.slot, self.status, self.durability, self.flags, _,
         _) = record
        self.result = result


def parse(data):
    """(type, header fields, body) of a frame whose checksum is right, else None."""
    if len(data) < HEADER.size:
        return None
    fields = list(HEADER.unpack_from(data))
    crc, fields[1] = fields[1], 0
    if fields[0] != MAGIC or fields[5] != len(data) or crc32c(HEADER.pack(*fields) + data[HEADER.size:]) != crc:
        return None
    return fields[3], fields, data[HEADER.size:]


def replies(body):
    at, found = REPLY_BODY.size, []
    while at + REPLY_RECORD.size <= len(body):
        record = REPLY_RECORD.unpack_from(body, at)
        at += REPLY_RECORD.size
        found.append(Reply(record, body[at:at + record[8]]))
        at += record[8] + -record[8] % 8
    return found


class PlainClient:
    """One session over a plain UDP socket in the calling thread's network namespace."""

    def __init__(self, cluster, nodes, generation=1, port=PORT):
        self.cluster, self.generation, self.port = cluster, generation, port
        self.nodes = list(nodes)  # addresses
        self.at = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.session = self.slot = self.number = 0
        self.redirects = self.busy = 0

    def close(self):
        self.socket.close()

    def send(self, data, node=None):
        self.socket.sendto(data, (node or self.nodes[self.at], self.port))

    def exchange(self, kind, body, wanted, timeout=10.0):
        """Sends until an answer comes that `wanted(reply)` takes; follows redirects."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self.send(frame(kind, body, self.cluster, self.generation))
            self.socket.settimeout(0.2)
            try:
                while True:
                    parsed = parse(self.socket.recv(2048))
                    if parsed is None:
                        continue
                    if parsed[0] == REPLY:
                        for reply in replies(parsed[2]):
                            if wanted(reply):
                                return reply
                    elif parsed[0] in (REDIRECT, VIEW):
                        if self._view(parsed[2]) and parsed[0] == REDIRECT:
                            self.redirects += 1
                            break
                    elif parsed[0] == BUSY:
                        self.busy += 1
                        time.sleep(0.01)
                        break
            except (TimeoutError, ConnectionRefusedError):
                self.at = (self.at + 1) % len(self.nodes)
        raise TimeoutError(f"no answer within {timeout} s from {self.nodes}")

    def _view(self, body):
        _, _, sequencer, members, _ = VIEW_BODY.unpack_from(body)
        for i in range(members):
            node, _, ip, _, _, _ = MEMBER.unpack_from(body, VIEW_BODY.size + i * MEMBER.size)
            if node == sequencer:
                address = socket.inet_ntoa(struct.pack(">I", ip))
                if address in self.nodes:
                    moved = self.nodes[self.at] != address
                    self.at = self.nodes.index(address)
                    return moved
        return False

    def open(self):
        nonce = os.urandom(16)
        reply = self.exchange(REQUEST, request_record(0, 0, KIND_OPEN, nonce, awaited=0),
                              lambda r: r.number == 0 and not r.flags & 1)
        if reply.status != STATUS_OK:
            raise OSError(f"opening a session: status {reply.status}")
        self.session, self.slot = reply.session, reply.slot
        return self.session

    def send_request(self, operation, number):
        """Sends it once, and waits for nothing."""
        self.send(frame(REQUEST, request_record(self.session, number, KIND_OPERATION, operation, self.slot), self.cluster,
                        self.generation))

    def mutate(self, operation, number=None, timeout=10.0):
        """Executes one operation; the same number again is a repeat."""
        if number is None:
            self.number += 1
            number = self.number
        return self.exchange(REQUEST, request_record(self.session, number, KIND_OPERATION, operation, self.slot),
                             lambda r: r.session == self.session and r.number == number and not r.flags & 1, timeout)

    def put(self, key, value):
        return self.mutate(kv_op(KV_PUT, key, value))

    def get(self, key, consistency=0, least=0, timeout=10.0):
        """(status, value, seq), linearizable unless asked otherwise."""
        operation = kv_op(KV_GET, key)
        mark = int.from_bytes(os.urandom(6), "little")
        body = READ_RECORD.pack(self.session, mark, least, consistency, 0, len(operation)) + pad8(operation)
        reply = self.exchange(READ, body, lambda r: r.number == mark and r.flags & 1, timeout)
        value = b""
        if reply.status == STATUS_OK:
            length = KV_VALUE.unpack_from(reply.result)[4]
            value = reply.result[KV_VALUE.size:KV_VALUE.size + length]
        return reply.status, value, reply.seq
