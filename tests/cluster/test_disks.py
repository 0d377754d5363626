# SPDX-License-Identifier: BSD-3-Clause
"""Disks that fail on purpose under a journal: who answers for nothing any more, by what name, and what is there
afterwards."""
import contextlib
import os
import random

import wire
from cluster import Cluster
from common import lockstep, running, settle, stop, workload

JOURNAL = {"durability": "journal", "journal": {"segment": "1M", "keep": "1M"}}


class _Count:
    """A counter that is raised by one with each answer: what it must be is known, whatever happens between."""

    def __init__(self, cluster):
        with cluster.inside_client():
            self.client = wire.PlainClient(cluster.cluster_id, [n.ip for n in cluster.nodes.values()], 1)
        self.client.open()
        self.cluster = cluster
        self.count = 0

    def up(self, times=1):
        for _ in range(times):
            self.count += 1
            assert self.client.mutate(wire.kv_op(wire.KV_INCR, b"count", argument=1)).status == wire.STATUS_OK

    def up_until(self, what, condition):
        """One answer more, and again, until it is so."""
        def again():
            self.up()
            return condition()
        self.cluster.wait(what, again)

    def check(self):
        answer = self.client.get(b"count")
        assert answer[:2] == (wire.STATUS_OK, str(self.count).encode()), f"{answer}, not {self.count}"


@contextlib.contextmanager
def _disk(cluster, numbers, *words):
    """A fault of these nodes' disks; taken away at the end."""
    for number in numbers:
        lockstep(cluster, number, "fault", "add", "disk", *words, "--seed", str(number))
    yield
    for number in numbers:
        lockstep(cluster, number, "fault", "clear")


def _says(cluster, number, text):
    return lambda: text in cluster.log_tail(number, 400)


def test_torn():
    """Writes reach the disk in pieces, late and in any order, and power fails everywhere in the middle of them."""
    draw = random.Random(int(os.environ.get("LS_SEED", 1)))
    with Cluster(nodes=3, options=JOURNAL) as cluster:
        cluster.start()
        count = _Count(cluster)
        for _life in range(4):
            for number in cluster.nodes:
                lockstep(cluster, number, "fault", "add", "disk", "torn", "100%", "delay", "1ms", "jitter", "2ms",
                         "--seed", str(draw.randrange(1, 1000)))
            load = cluster.spawn_client([os.path.join(cluster.build, "perf", "lockstep-perf"), "--config", cluster.config,
                                         "--seconds", "60", "--quiet", "--value", "2000"], stdout=-3, stderr=-3)
            count.up(draw.randrange(5, 30))
            assert all(cluster.status(n)["journal"]["faults"] > 0 for n in cluster.nodes)
            for kill in [cluster.killer(n, "node", cables=False) for n in cluster.nodes]:
                kill()
            load.kill()
            load.wait()
            cluster.children.remove(load)
            for number in draw.sample(sorted(cluster.nodes), 3):
                cluster.start_node(number)
            cluster.wait_ready()
            count.check()
        settle(cluster)
        stop(cluster)


def _fails(cluster, words):
    """The sequencer's disk fails: it says so, stops, and another one goes on; it comes back with what its disk has."""
    count = _Count(cluster)
    count.up(20)
    victim = cluster.sequencer()
    with _disk(cluster, [victim], *words):
        count.up_until("another sequencer", lambda: cluster.sequencer() not in (None, victim))
        cluster.wait("the disk's name", _says(cluster, victim, "the journal cannot be written any more"))
        assert _says(cluster, victim, "It is started again, with what its disk has")()
    cluster.wait_ready()
    count.up(5)
    count.check()
    assert not _says(cluster, victim, "is set aside")()


def test_error():
    with running(3, options=JOURNAL) as cluster:
        _fails(cluster, ["error", "100%"])


def test_short():
    with running(3, options=JOURNAL) as cluster:
        _fails(cluster, ["short", "100%"])


def test_full():
    """All disks are full at once: nothing is answered any more, by name; when there is room the cluster goes on by
    itself."""
    with running(3, options=JOURNAL) as cluster:
        count = _Count(cluster)
        count.up(20)
        with _disk(cluster, cluster.nodes, "full"):
            load = cluster.spawn_client([os.path.join(cluster.build, "perf", "lockstep-perf"), "--config", cluster.config,
                                         "--seconds", "60", "--quiet", "--value", "4000"], stdout=-3, stderr=-3)
            for number in cluster.nodes:
                cluster.wait(f"node {number} to stop", _says(cluster, number, "cannot be written any more"), 60)
            load.kill()
            load.wait()
            cluster.children.remove(load)
        cluster.wait_ready(60)
        count.up(20)
        count.check()


def test_hang():
    """A disk that does not answer any more: the others' disks are enough for each answer, they take over as from a node
    that hangs, and the status names the disk."""
    with running(3, options=JOURNAL) as cluster:
        count = _Count(cluster)
        count.up(20)
        victim = cluster.sequencer()
        with _disk(cluster, [victim], "hang"):
            count.up_until("another sequencer", lambda: cluster.sequencer() not in (None, victim))
            alarms = str(cluster.request(victim, "GET", "/v1/status").get("alarms"))
            assert "the journal's disk has not completed a write" in alarms, alarms
            cluster.wait("its end", _says(cluster, victim, "has made no progress"))
        cluster.wait_ready(60)
        count.up(5)
        count.check()


def test_lies():
    """What a disk has made of a journal below what it called durable is found at the next start, and repaired."""
    for words in (["rot", "100%"], ["misplaced", "100%"]):
        with running(3, options=JOURNAL) as cluster:
            workload(cluster, "--clients", 2, "--operations", 300, "--name", "a")
            victim = cluster.sequencer() % 3 + 1
            lockstep(cluster, victim, "fault", "add", "disk", *words, "--seed", "3")
            workload(cluster, "--clients", 2, "--operations", 1000, "--name", "b")
            lockstep(cluster, victim, "fault", "clear")  # the marks that follow are good, and lie above the damage
            workload(cluster, "--clients", 2, "--operations", 300, "--name", "marks")
            settle(cluster)
            states = cluster.status(victim)["journal"]["states"]
            workload(cluster, "--clients", 1, "--operations", 1, "--name", "one")
            cluster.wait("a mark", lambda: cluster.status(victim)["journal"]["states"] > states)
            cluster.kill_node(victim)
            cluster.restore_node(victim)
            cluster.wait_ready()
            log = cluster.log_tail(victim, 80)
            assert "damaged at position" in log and "is set aside as" in log, log
            workload(cluster, "--clients", 2, "--operations", 300, "--name", "c")
