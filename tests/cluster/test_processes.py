# SPDX-License-Identifier: BSD-3-Clause
"""Processes that die, stop for a while or lose sight of each other: what a majority holds stays served, exactly once."""
import os
import signal
import threading
import time

import network
import wire
from cluster import CTRL, Cluster
from common import buffers_returned, running, settle, stop, workload


def _follower(cluster):
    sequencer = cluster.sequencer()
    return next(n for n in cluster.nodes if n != sequencer)


def test_follower_dies():
    """The others go on; the dead one's ctrl starts it again, it is admitted as a new incarnation and catches up."""
    with Cluster(nodes=3) as cluster:
        cluster.start()
        workload(cluster, "--operations", 500, "--name", "before")
        follower = _follower(cluster)
        before = cluster.status(follower)["incarnation"]
        cluster.kill_dataplane(follower)
        note = workload(cluster, "--clients", 2, "--operations", 2000, "--skip", follower)
        cluster.wait_ready()
        assert cluster.status(follower)["incarnation"] > before
        workload(cluster, "--operations", 500, "--name", "after")
        settle(cluster)
        stop(cluster)
        return note


def test_ctrl_dies_alone():
    """ctrl is never on the path of a request: without it every node goes on."""
    with Cluster(nodes=3) as cluster:
        cluster.start()
        pids = {number: cluster.status(number)["pid"] for number in cluster.nodes}
        for node in cluster.nodes.values():
            node.process.kill()
            node.process.wait()
            node.process = None
        time.sleep(0.2)
        note = workload(cluster, "--clients", 2, "--operations", 2000)
        for number, pid in pids.items():
            os.kill(pid, signal.SIGTERM)
            cluster.wait(f"end of node {number}'s dataplane", lambda pid=pid: network.process_start(pid) is None, 5.0)
            buffers_returned(cluster, number)
        return note


def _stopped(number_of, seconds):
    with running(3) as cluster:
        pid = cluster.status(number_of(cluster))["pid"]
        results = []
        thread = threading.Thread(target=lambda: results.append(
            workload(cluster, "--clients", 2, "--operations", 30000)))
        thread.start()
        try:
            for _ in range(3):
                time.sleep(0.1)
                os.kill(pid, signal.SIGSTOP)
                time.sleep(seconds)
                os.kill(pid, signal.SIGCONT)
        finally:
            os.kill(pid, signal.SIGCONT)
            thread.join()
        assert results, "the clients failed"
        return results[0]


def test_follower_stops_for_a_while():
    return _stopped(_follower, 0.5)


def test_sequencer_stops_for_a_while():
    return _stopped(lambda cluster: cluster.sequencer(), 0.3)


def test_majority_lost_and_back():
    """Without a majority nothing is acknowledged and no linearizable read is answered; both go on afterwards."""
    with running(3) as cluster:
        sequencer = cluster.sequencer()
        for number in cluster.nodes:  # nobody is left who could elect another one
            if number != sequencer:
                cluster.signal(number, CTRL, signal.SIGSTOP)
        with cluster.inside_client():
            client = wire.PlainClient(cluster.cluster_id, [cluster.nodes[sequencer].ip])
        client.open()
        assert client.mutate(wire.kv_op(wire.KV_INCR, b"count", argument=1)).status == wire.STATUS_OK
        others = [n for n in cluster.nodes if n != sequencer]
        cluster.fault(sequencer, cut_in=others, cut_out=others)
        cluster.wait("suspended sequencer", lambda: cluster.status(sequencer)["role"] == "suspended", 5.0)
        client.number += 1
        for what, ask in (("write", lambda: client.exchange(
                wire.REQUEST, wire.request_record(client.session, client.number, wire.KIND_OPERATION,
                                                  wire.kv_op(wire.KV_INCR, b"count", argument=1), client.slot),
                lambda r: r.number == client.number, timeout=1.0)), ("read", lambda: client.get(b"count", timeout=1.0))):
            try:
                answer = ask()
            except TimeoutError:
                continue
            raise AssertionError(f"a {what} was answered without a majority: {answer}")
        cluster.fault(sequencer)
        cluster.wait("sequencer that serves again", lambda: cluster.role(sequencer) == "sequencer", 5.0)
        for number in cluster.nodes:
            if number != sequencer:
                cluster.signal(number, CTRL, signal.SIGCONT)
        client.mutate(wire.kv_op(wire.KV_INCR, b"count", argument=1), number=client.number)
        assert client.get(b"count")[:2] == (wire.STATUS_OK, b"2"), client.get(b"count")
        client.close()
