# SPDX-License-Identifier: BSD-3-Clause
"""Backups: copies of checkpoints, the state as it was after any entry, another cluster that begins with it, and what a
journal that was written behind still gives after all nodes lost their power."""
import os
import re
import shutil
import tempfile

import wire
from cluster import Cluster
from common import ctrl, lockstep, running, settle, stop, workload

JOURNAL = {"durability": "journal", "journal": {"segment": "1M", "keep": "64M"}}


def _client(cluster, generation=1):
    with cluster.inside_client():
        return wire.PlainClient(cluster.cluster_id, [n.ip for n in cluster.nodes.values()], generation)


def _replay(cluster, *words, status=0, number=1):
    code, output = ctrl(cluster, number, "replay", *words)
    assert code == status, f"replay {' '.join(words)}: {code}\n{output}"
    return output


def _digest(output):
    return re.search(r"entry (\d+), digest ([0-9a-f]{16})", output).groups()


def _point_in_time(kept):
    """The count after the entry whose state is in `kept` then."""
    with running(3, options=JOURNAL) as cluster:
        place = cluster.network.directory
        client = _client(cluster)
        client.open()
        seen = {}  # count as it was after which entry
        for turn in range(3):
            for _ in range(40):
                answer = client.mutate(wire.kv_op(wire.KV_INCR, b"count", argument=1))
                seen[answer.seq] = len(seen) + 1
            if turn == 0:
                copy = os.path.join(place, "copy.lsc")
                said = lockstep(cluster, 1, "checkpoint", "create", "--to", copy)
                first = int(_digest(said)[0])
                assert "is there already" in lockstep(cluster, 1, "checkpoint", "create", "--to", copy, status=6)
        settle(cluster)
        last = cluster.status(1)["applied_seq"]
        # all of it: the digest of the cluster
        said = _replay(cluster, "--out", os.path.join(place, "all.lsc"))
        assert int(_digest(said)[0]) == last, said
        assert _digest(said)[1] == cluster.status(1)["digest"] and cluster.status(1)["digest_seq"] == last, said
        # from either checkpoint, or none, it is the same
        middle = sorted(seen)[100]
        results = [_digest(_replay(cluster, "--out", os.path.join(place, f"m{i}.lsc"), "--to-seq", str(middle), *words))
                   for i, words in enumerate([[], ["--checkpoint", copy]])]
        assert results[0] == results[1] and int(results[0][0]) == middle
        assert "behind" in _replay(cluster, "--out", os.path.join(place, "no.lsc"), "--to-seq", str(first - 1),
                                   "--checkpoint", copy, status=1)
        assert "goes up to" in _replay(cluster, "--out", os.path.join(place, "no.lsc"), "--to-seq", str(last + 99),
                                       status=1)
        assert "is there already" in _replay(cluster, "--out", copy, status=1)
        assert not os.path.exists(os.path.join(place, "no.lsc"))
        shutil.copy(os.path.join(place, "m0.lsc"), kept)
    return seen[middle]


def _another_cluster(kept, count):
    with Cluster(nodes=1, options=JOURNAL) as cluster:
        cluster.create()
        restored = os.path.join(cluster.network.directory, "restored.lsc")
        said = _replay(cluster, "--checkpoint", kept, "--out", restored, status=1)
        assert "is of cluster" in said and not os.path.exists(restored), said
        assert "It was of cluster" in _replay(cluster, "--foreign", "--checkpoint", kept, "--out", restored)
        for words in (["bootstrap"], ["recover", "--checkpoint", restored, "--accept-loss"]):
            code, said = ctrl(cluster, 1, *words)
            assert code == 0, said
        cluster.start_node(1)
        cluster.wait("the new cluster's sequencer", lambda: cluster.sequencer() == 1)
        assert _client(cluster, 2).get(b"count")[:2] == (wire.STATUS_OK, str(count).encode())
        stop(cluster)


def test_point_in_time():
    """The state after a chosen entry, made from a node's files while it runs, is what the cluster had then; and another
    cluster begins with it."""
    with tempfile.TemporaryDirectory() as directory:
        kept = os.path.join(directory, "kept.lsc")
        count = _point_in_time(kept)
        _another_cluster(kept, count)


def test_async_power_loss():
    """Every node loses its power under `async`: the cluster stops, and recovering one node gives all that its disk has,
    not only what its newest checkpoint holds."""
    with Cluster(nodes=3, options={**JOURNAL, "durability": "async"}) as cluster:
        cluster.start()
        workload(cluster, "--clients", 2, "--operations", 300, "--name", "before")
        lockstep(cluster, 1, "checkpoint", "create")
        client = _client(cluster)
        client.open()
        for count in range(1, 31):
            client.mutate(wire.kv_op(wire.KV_INCR, b"count", argument=1))
        cluster.run_client([cluster.lockstep, "kv", "put", "last", "one", "--durability", "journal", "-c", cluster.config])
        settle(cluster)
        seq = cluster.status(1)["applied_seq"]
        cluster.wait("the disk", lambda: cluster.status(1)["journal"]["lag_bytes"] == 0)
        for kill in [cluster.killer(n, "node", cables=False) for n in cluster.nodes]:
            kill()
        cluster.wait("its end", lambda: "dataplane lives" not in ctrl(cluster, 1, "recover")[1])
        code, said = ctrl(cluster, 1, "recover")
        assert code == 1 and f"Its journal goes on to entry {seq}" in said, said
        code, said = ctrl(cluster, 1, "recover", "--accept-loss")
        assert code == 0 and f"ordered after entry {seq}" in said, said
        cluster.start_node(1)
        cluster.wait("the sequencer of the new generation", lambda: cluster.sequencer() == 1)
        assert cluster.status(1)["generation"] == 2
        again = _client(cluster, 2)
        assert again.get(b"count")[:2] == (wire.STATUS_OK, str(count).encode())
        assert again.get(b"last")[:2] == (wire.STATUS_OK, b"one")
        stop_one = cluster.stop_node(1)
        assert stop_one == 0


def test_copied_directory():
    """A copy of a data_dir, without its record, is enough; a byte of it rots, and that is said."""
    with running(3, options=JOURNAL) as cluster:
        workload(cluster, "--clients", 2, "--operations", 500, "--name", "a")
        settle(cluster)
        place = cluster.network.directory
        copy = os.path.join(place, "copied")
        os.mkdir(copy)
        shutil.copytree(os.path.join(cluster.nodes[2].data, "journal"), os.path.join(copy, "journal"))
        said = _replay(cluster, "--from", copy, "--out", os.path.join(place, "a.lsc"))
        assert _digest(said)[1] == cluster.status(2)["digest"], said
        with open(os.path.join(copy, "journal", "segment-0000000000000000"), "r+b") as segment:
            segment.seek(4096 + 3000)
            byte = segment.read(1)
            segment.seek(-1, os.SEEK_CUR)
            segment.write(bytes([byte[0] ^ 4]))
        assert "is damaged" in _replay(cluster, "--from", copy, "--out", os.path.join(place, "b.lsc"), status=1)
        assert not os.path.exists(os.path.join(place, "b.lsc"))
