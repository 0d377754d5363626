# SPDX-License-Identifier: BSD-3-Clause
"""A majority loses its memory at once: the cluster stops and says so, and begins again from one node's checkpoint."""
import contextlib
import os
import re
import shutil

import network
import wire
from cluster import Cluster, ClusterError
from common import ctrl, lockstep, settle, stop, workload


def _refused(cluster, number, text, *arguments):
    status, output = ctrl(cluster, number, *arguments)
    assert status == 1 and text in output and "nothing was changed" in output, f"{status}\n{output}"


def _member_add(cluster, number):
    """At a node that takes part; on a busy machine the sequencer's role may just be moving."""
    def added():
        at = cluster.sequencer()
        if at is None:
            return False
        with contextlib.suppress(AssertionError):
            lockstep(cluster, at, "member", "add", str(number))
        return cluster.is_voter(number)

    cluster.wait(f"node {number} as a voter", added, 60)


def _client(cluster, generation=1):
    with cluster.inside_client():
        return wire.PlainClient(cluster.cluster_id, [n.ip for n in cluster.nodes.values()], generation)


def _says_lost(cluster):
    try:
        return all("MAJORITY" in str(cluster.status(n)["problem"]) for n in cluster.nodes)
    except (OSError, ClusterError):
        return False


def _silent(client, consistency=0):
    try:
        answer = client.get(b"count", consistency, timeout=1.0)
    except TimeoutError:
        return
    raise AssertionError(f"a read was answered: {answer}")


def _restart_all(cluster):
    for number in cluster.nodes:
        cluster.kill_node(number, cables=False)
    for number in cluster.nodes:
        cluster.start_node(number)
    cluster.wait("nodes that say that the majority lost its memory", lambda: _says_lost(cluster))


def _generation_set(cluster, generation):
    """What the operator does in the cluster file of all nodes and clients."""
    with open(cluster.config, encoding="ascii") as file:
        text = file.read()
    with open(cluster.config, "w", encoding="ascii") as file:
        file.write(re.sub(r"( +)id: ", rf"\1generation: {generation}\n\1id: ", text, count=1))


def _wipe_and_join(cluster, number):
    data = os.path.join(cluster.nodes[number].directory, "data")
    shutil.rmtree(data)
    os.mkdir(data)
    cluster.start_node(number, "--join")


def test_recover():
    with Cluster(nodes=3) as cluster:
        cluster.start()
        workload(cluster, "--clients", 2, "--operations", 1000, "--name", "before")
        client = _client(cluster)
        client.open()
        kept = client.mutate(wire.kv_op(wire.KV_INCR, b"count", argument=5))
        lockstep(cluster, 1, "checkpoint", "create")
        assert client.put(b"late", b"lost").status == wire.STATUS_OK
        held = cluster.pids(1, "lockstep-dataplane")[0]
        cluster.kill_ctrl(1)
        _refused(cluster, 1, f"its lockstep-dataplane lives (pid {held}", "recover", "--accept-loss")
        cluster.start_node(1)

        _restart_all(cluster)
        assert cluster.sequencer() is None
        for consistency in (0, 2):
            _silent(client, consistency)

        cluster.stop_node(1)
        _refused(cluster, 1, "--accept-loss is needed", "recover")
        _refused(cluster, 1, "No such file", "recover", "--checkpoint", "/nowhere", "--accept-loss")
        status, output = ctrl(cluster, 1, "recover", "--accept-loss")
        assert status == 0 and "begins generation 2" in output and "verified, every byte was read" in output, output
        cluster.start_node(1)
        cluster.wait("sequencer of the new generation", lambda: cluster.sequencer() == 1)
        assert cluster.status(1)["generation"] == 2
        assert [m["node"] for m in cluster.status(1)["members"]] == [1]

        # A client of the old generation gets no answer; one of the new finds what the checkpoint holds, sessions too.
        client.at = 0
        _silent(client)
        assert cluster.counters(1)["drop_generation"] > 0
        again = _client(cluster, 2)
        assert again.get(b"count")[:2] == (wire.STATUS_OK, b"5")
        assert again.get(b"late")[0] == wire.STATUS_NOT_FOUND
        again.session, again.slot = client.session, client.slot
        repeated = again.mutate(wire.kv_op(wire.KV_INCR, b"count", argument=5), number=1)
        assert (repeated.seq, repeated.result) == (kept.seq, kept.result), "an operation was executed twice"

        # The others are of the older generation until they are wiped.
        _generation_set(cluster, 2)
        lockstep(cluster, 1, "member", "add", "2", "--no-wait")
        cluster.wait("refusal of the older generation",
                     lambda: "generation" in cluster.log_tail(1, 60) and "generation" in cluster.log_tail(2, 60))
        for number in (2, 3):
            cluster.stop_node(number)
            _wipe_and_join(cluster, number)
            if number == 3:
                _member_add(cluster, 3)
            cluster.wait(f"node {number} as a voter", lambda number=number: cluster.is_voter(number))
        cluster.wait_ready()
        note = workload(cluster, "--clients", 2, "--operations", 500, "--name", "after")
        settle(cluster)
        assert again.get(b"count")[:2] == (wire.STATUS_OK, b"5")
        # It is a whole cluster again: the one that recovered is not needed.
        cluster.kill_node(1, cables=False)
        cluster.wait("another sequencer", lambda: cluster.sequencer() in (2, 3))
        cluster.start_node(1)
        cluster.wait_ready()
        settle(cluster)
        client.close()
        again.close()
        stop(cluster)
        return note


def test_recover_empty():
    """Nothing is left: the same way, without a checkpoint."""
    with Cluster(nodes=3) as cluster:
        cluster.start()
        workload(cluster, "--clients", 1, "--operations", 200, "--name", "before")
        _restart_all(cluster)
        for number in cluster.nodes:
            cluster.stop_node(number)
        _refused(cluster, 3, "no checkpoint here can be used", "recover", "--accept-loss")
        status, output = ctrl(cluster, 3, "recover", "--empty", "--accept-loss")
        assert status == 0, output
        _generation_set(cluster, 2)
        cluster.start_node(3)
        cluster.wait("sequencer of the new generation", lambda: cluster.sequencer() == 3)
        for number in (1, 2):
            _wipe_and_join(cluster, number)
            _member_add(cluster, number)
        cluster.wait_ready()
        note = workload(cluster, "--clients", 1, "--operations", 200, "--name", "after")
        settle(cluster)
        assert network.process_start(cluster.status(3)["pid"]) is not None
        stop(cluster)
        return note
