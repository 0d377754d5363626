# SPDX-License-Identifier: BSD-3-Clause
"""The log as it is read from outside: beyond what the memory holds, while it is written, from any entry on."""
import json
import os
import subprocess

from common import lockstep, running

JOURNAL = {"durability": "journal", "journal": {"segment": "1M", "keep": "64M"}}


def _load(cluster):
    """About 6 MiB of log, in entries of a few sizes."""
    for size in (10, 400, 2000):
        status, output = cluster.run_client([os.path.join(cluster.build, "perf", "lockstep-perf"), "--config",
                                             cluster.config, "--seconds", "1", "--warmup", "0", "--rate", "2500",
                                             "--value", str(size), "--quiet"])
        assert status == 0, output


def _dump(cluster, number, *words):
    lines = lockstep(cluster, number, "log", "dump", "--json", *words).splitlines()
    return [json.loads(line) for line in lines]


def _seqs(entries):
    return [entry["seq"] for entry in entries]


def test_beyond_the_ring():
    """Every entry from the first on, though the ring has gone round many times; with checkpoints, too."""
    with running(3, options=JOURNAL, log_size="8MiB") as cluster:
        for turn in range(3):
            _load(cluster)
            if turn == 1:
                lockstep(cluster, 1, "checkpoint", "create")
        for number in cluster.nodes:
            last = cluster.status(number)["applied_seq"]
            assert cluster.status(number)["last"] > 8 << 20, "the ring has not gone round"
            page = cluster.request(number, "GET", "/v1/log?seq=0&bytes=0")
            assert page["oldest_seq"] == 1, page
            entries = _dump(cluster, number)
            assert _seqs(entries) == list(range(1, len(entries) + 1)) and len(entries) >= last
            some = _dump(cluster, number, "--from", str(last // 3), "--to", str(last // 3 + 99))
            assert some == entries[last // 3 - 1:last // 3 + 99]
        assert _dump(cluster, 1, "--from", "5", "--to", "5") == entries[4:5]


def test_gone():
    """What the journal has let go is said, and the answer begins with what there is."""
    with running(3, options={**JOURNAL, "journal": {"segment": "1M", "keep": "1M"}}, log_size="8MiB") as cluster:
        for turn in range(4):
            _load(cluster)
            lockstep(cluster, 1, "checkpoint", "create")
        cluster.wait("segments to go", lambda: cluster.request(1, "GET", "/v1/log?seq=0&bytes=0")["oldest_seq"] > 1)
        page = cluster.request(1, "GET", "/v1/log?seq=1&bytes=1000")
        assert page["oldest_seq"] > 1 and page["entries"][0]["seq"] == page["oldest_seq"], page
        text = lockstep(cluster, 1, "log", "dump", "--from", "1")
        assert "are no longer held" in text, text[:300]
        entries = _dump(cluster, 1)
        assert _seqs(entries) == list(range(page["oldest_seq"], entries[-1]["seq"] + 1))


def test_follow():
    """`log tail` from the first entry on while a load runs, over the death of the node that is read from: nothing is
    missing, nothing comes twice."""
    with running(3, options=JOURNAL, log_size="8MiB") as cluster:
        _load(cluster)
        path = os.path.join(cluster.network.directory, "followed")
        with open(path, "w", encoding="utf-8") as out:
            tail = subprocess.Popen([cluster.lockstep, "log", "tail", "--from", "1", "--json", "-c", cluster.config],
                                    stdout=out, stderr=subprocess.DEVNULL)
        cluster.children.append(tail)
        sockets = [node.socket for node in cluster.nodes.values()]
        with open(path + ".api", "w", encoding="utf-8") as out:
            api = subprocess.Popen([os.path.join(cluster.build, "tests", "cluster", "lockstep-test-subscriber"), "1",
                                    "15000", *sockets], stdout=out, stderr=subprocess.STDOUT)
        cluster.children.append(api)
        _load(cluster)
        cluster.kill_node(1)  # the first one that answers is the one that is read from
        _load(cluster)
        cluster.restore_node(1)
        cluster.wait_ready()
        last = cluster.status(2)["applied_seq"]
        cluster.wait("the last entry", lambda: f'"seq":{last},' in _end_of(path), 60)
        tail.terminate()
        tail.wait()
        cluster.children.remove(tail)
        with open(path, encoding="utf-8") as followed:
            seqs = [json.loads(line)["seq"] for line in followed if line.endswith("\n")]
        assert seqs == list(range(1, len(seqs) + 1)) and len(seqs) >= last
        status = api.wait(60)
        cluster.children.remove(api)
        with open(path + ".api", encoding="utf-8") as followed:
            lines = followed.read().splitlines()
        assert status == 0 and [int(line.split()[0]) for line in lines] == list(range(1, 15001)), lines[-1]


def _end_of(path):
    with open(path, "rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 20000))
        return file.read().decode("utf-8", "replace")


def test_far_behind():
    """A follower that misses more than the ring holds gets it out of the sequencer's journal, while clients go on; one
    that misses more than the journal holds takes a checkpoint."""
    with running(3, options=JOURNAL, log_size="8MiB") as cluster:
        victim = cluster.sequencer() % 3 + 1
        cluster.kill_node(victim)
        for _ in range(4):
            _load(cluster)
        assert cluster.status(cluster.sequencer())["last"] > 2 * 8 << 20
        cluster.restore_node(victim)
        _load(cluster)
        cluster.wait_ready(60)
        log = cluster.log_tail(victim, 60)
        assert "checkpoint" not in log, log
        windows = sum(cluster.counters(number).get("past_windows", 0) for number in cluster.nodes)
        assert windows >= 8, windows
        return f"{windows} windows"


def test_further_behind():
    with running(3, options={**JOURNAL, "journal": {"segment": "1M", "keep": "1M"}}, log_size="8MiB") as cluster:
        victim = cluster.sequencer() % 3 + 1
        cluster.kill_node(victim)
        for _ in range(3):
            _load(cluster)
            for number in cluster.nodes:
                if number != victim:
                    lockstep(cluster, number, "checkpoint", "create")
        cluster.restore_node(victim)
        cluster.wait_ready(60)
        assert "checkpoint" in cluster.log_tail(victim, 60)
