# SPDX-License-Identifier: BSD-3-Clause
"""The journal: all nodes lose their power at once and come back with what they acknowledged; disks that were damaged."""
import contextlib
import json
import os
import random

import wire
from cluster import Cluster, ClusterError
from common import compare_digests, lockstep, lockstep_config, running, settle, stop, workload

JOURNAL = {"durability": "journal", "journal": {"segment": "1M", "keep": "1M"}}


def _client(cluster):
    with cluster.inside_client():
        return wire.PlainClient(cluster.cluster_id, [n.ip for n in cluster.nodes.values()], 1)


def _power_fails(cluster):
    """Every process of every node at once."""
    kills = [cluster.killer(number, "node", cables=False) for number in cluster.nodes]
    for kill in kills:
        kill()


def _journal(cluster, number, *name):
    return os.path.join(cluster.nodes[number].data, "journal", *name)


def _came_back(cluster, number):
    return "all that this node acknowledged" in cluster.log_tail(number, 60)


def test_power_loss():
    """Again and again, while clients write; the nodes return one after another or together, in any order."""
    seed = int(os.environ.get("LS_SEED", 1))
    print(f"seed {seed}")
    draw = random.Random(seed)
    with Cluster(nodes=3, options=JOURNAL) as cluster:
        cluster.start()
        client = _client(cluster)
        client.open()
        count = 0
        for life in range(5):
            load = cluster.spawn_client([os.path.join(cluster.build, "perf", "lockstep-perf"), "--config", cluster.config,
                                         "--seconds", "60", "--quiet", "--threads", "2"],
                                        stdout=-3, stderr=-3)
            for _ in range(draw.randrange(5, 40)):
                count += 1
                assert client.mutate(wire.kv_op(wire.KV_INCR, b"count", argument=1)).status == wire.STATUS_OK
            if life == 2:
                lockstep(cluster, cluster.sequencer(), "checkpoint", "create")
            _power_fails(cluster)
            load.kill()
            load.wait()
            cluster.children.remove(load)
            order = draw.sample(sorted(cluster.nodes), 3)
            for number in order[:2]:
                cluster.start_node(number)
            if life % 2 == 0:  # the third one comes when two of them serve already
                cluster.wait("two nodes that serve", cluster.sequencer, 30)
            cluster.start_node(order[2])
            cluster.wait_ready()
            for number in cluster.nodes:
                assert _came_back(cluster, number), f"node {number} did not come back with its log\n" \
                    + cluster.describe()
            # exactly once: what was answered is there, and nothing twice
            answer = client.get(b"count")
            assert answer[:2] == (wire.STATUS_OK, str(count).encode()), f"life {life}: {answer}, not {count}"
        settle(cluster)
        # in order this time: nothing has to be found out
        said = lockstep_config(cluster, "cluster", "stop")
        assert said.count(": stopped") == 3, said
        for number in cluster.nodes:
            assert cluster.stop_node(number) == 0, cluster.log_tail(number, 20)
            assert "end in good order" not in cluster.log_tail(number, 20)
        for number in cluster.nodes:
            cluster.start_node(number)
        cluster.wait_ready()
        assert client.get(b"count")[1] == str(count).encode()
        stop(cluster)


def test_one_node_restarts():
    """A node that lost its power alone counts at once, without being admitted, while the others go on."""
    with running(3, options=JOURNAL) as cluster:
        workload(cluster, "--clients", 2, "--operations", 500, "--name", "before")
        for victim in (cluster.sequencer(), cluster.sequencer() % 3 + 1):
            cluster.kill_node(victim)
            cluster.wait("another sequencer", lambda v=victim: cluster.sequencer() not in (None, v))
            workload(cluster, "--clients", 2, "--operations", 500, "--name", f"without{victim}", "--skip", victim)
            cluster.restore_node(victim)
            cluster.wait_ready()
            assert _came_back(cluster, victim), cluster.log_tail(victim, 40)
            assert "admitted" not in cluster.log_tail(victim, 12), cluster.log_tail(victim, 12)
        workload(cluster, "--clients", 2, "--operations", 500, "--name", "after")


def test_async():
    """Disks are written behind: what a power cut could take is said, and whoever asks for disks by the request gets
    them."""
    with running(3, options={**JOURNAL, "durability": "async"}) as cluster:
        def put(*options):
            status, output = cluster.run_client([cluster.lockstep, "kv", "put", "key", "value", "--json", "-c",
                                                 cluster.config, *options])
            assert status == 0, output
            return json.loads(output)

        assert put()["durability"] == "async"
        assert put("--durability", "journal")["durability"] == "journal"
        lost = cluster.status(cluster.sequencer())["could_lose"]
        assert "bytes" in lost and "ms" in lost, lost
        load = cluster.spawn_client([os.path.join(cluster.build, "perf", "lockstep-perf"), "--config", cluster.config,
                                     "--seconds", "2", "--quiet", "--durability", "journal"], stdout=-3, stderr=-3)
        victim = cluster.sequencer()
        cluster.kill_node(victim)  # answers that waited for its disk come from the next one
        cluster.wait("another sequencer", lambda: cluster.sequencer() not in (None, victim))
        assert put("--durability", "journal")["durability"] == "journal"
        cluster.restore_node(victim)
        cluster.wait_ready()
        assert load.wait(60) == 0
        cluster.children.remove(load)


def test_damage():
    """A byte of the journal rots while the node is down: it says where, keeps the evidence, and is rebuilt from the
    others."""
    with running(3, options=JOURNAL) as cluster:
        workload(cluster, "--clients", 2, "--operations", 1000, "--name", "a")
        victim = cluster.sequencer() % 3 + 1
        cluster.kill_node(victim)
        with open(_journal(cluster, victim, "segment-0000000000000000"), "r+b") as segment:
            segment.seek(4096 + 20000)
            byte = segment.read(1)
            segment.seek(-1, os.SEEK_CUR)
            segment.write(bytes([byte[0] ^ 0x40]))
        cluster.restore_node(victim)
        cluster.wait_ready()
        log = cluster.log_tail(victim, 60)
        assert "damaged at position" in log and "is set aside as" in log, log
        assert any(name.startswith("journal.aside-") for name in os.listdir(cluster.nodes[victim].data))
        workload(cluster, "--clients", 2, "--operations", 500, "--name", "b")


def test_retention():
    """Old segments give way to a verified checkpoint, and a node comes back from that checkpoint and what is behind."""
    with running(3, options=JOURNAL) as cluster:
        for turn in range(4):
            workload(cluster, "--clients", 4, "--operations", 6000, "--name", f"w{turn}")
            for number in cluster.nodes:
                lockstep(cluster, number, "checkpoint", "create")
        first = "segment-0000000000000000"
        cluster.wait("first segments to go", lambda: not any(os.path.exists(_journal(cluster, n, first))
                                                             for n in cluster.nodes))
        workload(cluster, "--clients", 2, "--operations", 500, "--name", "behind")
        _power_fails(cluster)
        for number in cluster.nodes:
            cluster.start_node(number)
        cluster.wait_ready()
        for number in cluster.nodes:
            assert _came_back(cluster, number) and "restored in" in cluster.log_tail(number, 30)
        settle(cluster)
        compare_digests(cluster)


def test_foreign_journal():
    """The journal of another node, a place where nothing may be written: refused by name, and left as it is."""
    with Cluster(nodes=3, options=JOURNAL) as cluster:
        cluster.start()
        workload(cluster, "--clients", 1, "--operations", 200, "--name", "a")
        stop(cluster)
        os.rename(_journal(cluster, 1), _journal(cluster, 1) + ".own")
        os.rename(_journal(cluster, 2), _journal(cluster, 2) + ".own")
        os.rename(_journal(cluster, 2) + ".own", _journal(cluster, 1))
        before = sorted(os.listdir(_journal(cluster, 1)))
        for number in cluster.nodes:
            cluster.start_node(number)
        cluster.wait("the refusal", lambda: "of another node: a copied data directory" in cluster.log_tail(1, 60))
        assert sorted(os.listdir(_journal(cluster, 1))) == before
        with contextlib.suppress(ClusterError):
            cluster.status(1)
        cluster.stop_node(1)
        os.rename(_journal(cluster, 1), _journal(cluster, 2) + ".back")
        os.rename(_journal(cluster, 1) + ".own", _journal(cluster, 1))
        cluster.start_node(1)
        cluster.wait_ready()
        workload(cluster, "--clients", 1, "--operations", 200, "--name", "b")
        stop(cluster)
