# SPDX-License-Identifier: BSD-3-Clause
"""A node among strangers: ping, a plain UDP socket as client, frames of others and damaged ones."""
import os
import random
import socket
import struct
import time

import wire
from common import running


def test_ping():
    """A node answers ARP and ICMP echo for its address, which no kernel interface has."""
    with running(3) as cluster:
        for node in cluster.nodes.values():
            status, output = cluster.run_client(["ping", "-c", "3", "-i", "0.1", "-W", "2", node.ip])
            assert status == 0, output
            status, output = cluster.run_client(["ping", "-c", "2", "-i", "0.1", "-W", "2", "-s", "1400", node.ip])
            assert status == 0, output


def test_plain_socket():
    """An independent implementation of the wire format over a kernel UDP socket."""
    with running(3) as cluster:
        with cluster.inside_client():
            client = wire.PlainClient(cluster.cluster_id, [n.ip for n in cluster.nodes.values()])
        client.open()
        first = client.put(b"plain", b"one")
        assert first.status == wire.STATUS_OK and first.seq > 0
        # a read names the index it was read at, which an election in between moves on
        status, value, index = client.get(b"plain")
        assert (status, value) == (wire.STATUS_OK, b"one") and index >= first.seq, (status, value, index, first.seq)
        # the same request number again is answered, not executed
        counted = client.mutate(wire.kv_op(wire.KV_INCR, b"count", argument=5))
        repeated = client.mutate(wire.kv_op(wire.KV_INCR, b"count", argument=5), number=client.number)
        assert repeated.seq == counted.seq and repeated.result == counted.result
        assert client.get(b"count")[:2] == (wire.STATUS_OK, b"5")
        assert client.get(b"nothing")[0] == wire.STATUS_NOT_FOUND
        # every replica answers reads of its own
        for at in range(len(client.nodes)):
            client.at = at
            assert client.get(b"count")[:2] == (wire.STATUS_OK, b"5"), f"read at node {at + 1}"
        client.close()


def _totals(cluster):
    """What the state is made of: the end of the log and the digest of every replica."""
    return [(s["last_seq"], s["commit"], s["applied_seq"], s["digest_seq"], s["digest"], s["epoch"], s["role"])
            for s in map(cluster.status, cluster.nodes)]


def test_foreign_and_damaged_frames():
    """Each kind of wrong frame changes one counter, of its own reason, and nothing else."""
    with running(3) as cluster:
        with cluster.inside_client():
            client = wire.PlainClient(cluster.cluster_id, [n.ip for n in cluster.nodes.values()])
        client.open()
        client.put(b"key", b"value")
        time.sleep(0.1)
        body = wire.request_record(client.session, client.number + 1, wire.KIND_OPERATION,
                                   wire.kv_op(wire.KV_PUT, b"key", b"damaged"), client.slot)
        good = wire.frame(wire.REQUEST, body, cluster.cluster_id)
        node = cluster.nodes[cluster.sequencer()]
        other = next(n for n in cluster.nodes if n != node.number)
        epoch = cluster.status(node.number)["epoch"]

        order = struct.pack("<QQQQQ", 0, 0, 8, 0, 0) + bytes(8)

        def flipped(byte):
            data = bytearray(good)
            data[byte] ^= 0x40
            return bytes(data)

        cases = [
            ("drop_short", b"x"),
            ("drop_short", good[:47]),
            ("drop_length", good[:-1]),
            ("drop_length", good + b"\0"),
            ("drop_magic", wire.frame(wire.REQUEST, body, cluster.cluster_id, magic=0x12345678)),
            ("drop_version", wire.frame(wire.REQUEST, body, cluster.cluster_id, version=2)),
            ("drop_crc", flipped(60)),
            ("drop_crc", flipped(len(good) - 1)),
            ("drop_type", wire.frame(99, body, cluster.cluster_id)),
            ("drop_type", wire.frame(0, body, cluster.cluster_id)),
            ("drop_flags", wire.frame(wire.REQUEST, body, cluster.cluster_id, flags=0x8000)),
            ("drop_flags", wire.frame(wire.REQUEST, body, cluster.cluster_id, zero=7)),
            ("drop_authentication", wire.frame(wire.REQUEST, body, cluster.cluster_id, flags=1)),
            ("drop_cluster", wire.frame(wire.REQUEST, body, cluster.cluster_id ^ 2)),
            ("drop_generation", wire.frame(wire.REQUEST, body, cluster.cluster_id, generation=9)),
            ("drop_group", wire.frame(wire.REQUEST, body, cluster.cluster_id, group=3)),
            ("drop_malformed_operation", wire.frame(wire.REQUEST, body[:-8], cluster.cluster_id)),
            ("drop_direction", wire.frame(wire.REPLY, bytes(8), cluster.cluster_id)),
            ("drop_direction", wire.frame(wire.ORDER, order, cluster.cluster_id)),
            # a stranger that says it is node 2, but does not write from that node's address; one that is nobody
            ("drop_second_sequencer", wire.frame(wire.ORDER, order, cluster.cluster_id, sender=other, incarnation=1 << 62,
                                                 epoch=epoch)),
            ("drop_sender", wire.frame(wire.ACK, bytes(56), cluster.cluster_id, sender=60, incarnation=1, epoch=epoch)),
            # epochs that no node's control process knows of: nothing is promised
            ("drop_epoch_new", wire.frame(wire.ORDER, order, cluster.cluster_id, sender=60, incarnation=1, epoch=epoch + 1)),
            ("drop_epoch_new", wire.frame(wire.ORDER, order, cluster.cluster_id, sender=other, incarnation=1 << 62,
                                          epoch=epoch + 7)),
        ]
        before_state = _totals(cluster)
        for reason, data in cases:
            before = cluster.counters(node.number)
            for _ in range(5):
                client.send(data, node.ip)

            def counted(reason=reason, before=before):
                now = cluster.counters(node.number)
                return now[reason] >= before[reason] + 5

            cluster.wait(f"counting of 5 frames as {reason}", counted, 5.0)
        assert _totals(cluster) == before_state, f"state changed: {before_state} -> {_totals(cluster)}"
        client.close()


def test_garbage_flood():
    """Random datagrams, also to other ports and of all sizes: the cluster goes on serving."""
    seed = int.from_bytes(os.urandom(4), "little")
    dice = random.Random(seed)
    with running(3) as cluster:
        with cluster.inside_client():
            flood = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            client = wire.PlainClient(cluster.cluster_id, [n.ip for n in cluster.nodes.values()])
        client.open()
        good = wire.frame(wire.REQUEST, wire.request_record(client.session, 1, wire.KIND_OPERATION,
                                                            wire.kv_op(wire.KV_PUT, b"k", b"v" * 100), client.slot),
                          cluster.cluster_id)
        for turn in range(3000):
            node = cluster.nodes[dice.randint(1, 3)]
            if dice.random() < 0.5:
                data = dice.randbytes(dice.randint(0, 1472))
            else:
                # a real frame with some bytes changed and a checksum that fits: goes past the first checks
                data = bytearray(good)
                for _ in range(dice.randint(1, 4)):
                    data[dice.randrange(8, len(data))] = dice.randrange(256)
                data[4:8] = bytes(4)
                data[4:8] = wire.crc32c(bytes(data)).to_bytes(4, "little")
                if int.from_bytes(data[48:56], "little") == client.session:
                    # not in our session: that would be a valid request
                    continue
            flood.sendto(bytes(data), (node.ip, dice.choice((7400, 7400, 7400, 7401, 9))))
            if turn % 500 == 0:
                assert client.put(b"alive", str(turn).encode()).status == wire.STATUS_OK, f"seed {seed}"
        for number in cluster.nodes:
            assert cluster.role(number) in ("sequencer", "follower"), f"seed {seed}: {cluster.describe()}"
        flood.close()
        client.close()
        return f"seed {seed}"
