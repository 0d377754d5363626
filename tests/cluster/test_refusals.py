# SPDX-License-Identifier: BSD-3-Clause
"""What an operator gets wrong is refused by name, and harms nobody: identities, copied folders, changes, checkpoints."""
import itertools
import json
import os
import shutil

from cluster import to_yaml
from common import ctrl, lockstep, running, workload


_names = itertools.count()


def _serves(cluster, *options):
    """Clients are served, and nothing that they are told is wrong."""
    workload(cluster, "--clients", 2, "--operations", 200, "--name", f"load{next(_names)}-", *options)


def _expect(text, *words):
    for word in words:
        assert word in text, f"'{word}' is not said in: {text}"


def _variant(cluster, name, change):
    """A cluster file that differs from the cluster's; its path."""
    content = cluster.content()
    change(content)
    path = os.path.join(cluster.network.directory, name)
    with open(path, "w", encoding="ascii") as file:
        file.write(to_yaml(content) + "\n")
    return path


def _untouched(cluster, before):
    """The service goes on, under the same sequencer and with the same members."""
    now = cluster.status(1)
    for name in ("epoch", "sequencer", "members_seq"):
        assert now.get(name) == before.get(name), f"{name}: {before.get(name)} became {now.get(name)}"
    _serves(cluster)


def test_identities():
    """A wrong id, a record of another cluster, a copied folder, a second process, a second node under one id."""
    with running(3, spares=1) as cluster:
        before = cluster.status(1)
        node = cluster.nodes[3]
        status, text = ctrl(cluster, 9, inside=3)
        assert status == 2, text
        _expect(text, "node 9")

        # twice the same node, from the same folder
        status, text = ctrl(cluster, 3)
        assert status == 1, text
        _expect(text, "another lockstep-ctrl of it runs")

        # its folder, copied
        copy = os.path.join(cluster.network.directory, "copy")
        shutil.copytree(node.data, copy, ignore=lambda _, names: [n for n in names if n != "record"])
        path = _variant(cluster, "copied.yaml", lambda c: c["nodes"][2].update(data_dir=copy, ctrl_socket=copy + ".sock"))
        status, text = ctrl(cluster, 3, config=path)
        assert status == 1, text
        _expect(text, "is a copy", "replace this node by a new member")

        # its folder under another node's number, and another cluster's
        path = _variant(cluster, "mixed.yaml", lambda c: c["nodes"][1].update(data_dir=node.data, ctrl_socket=copy + ".sock"))
        status, text = ctrl(cluster, 2, config=path)
        assert status == 1, text
        _expect(text, "another lockstep-ctrl")
        shutil.rmtree(copy)
        os.rename(cluster.node(4).data, copy)
        path = _variant(cluster, "spare.yaml", lambda c: c["nodes"][2].update(data_dir=copy, ctrl_socket=copy + ".sock"))
        status, text = ctrl(cluster, 3, "join", config=path)
        assert status == 0, text
        path = _variant(cluster, "mixed.yaml", lambda c: c["nodes"][1].update(data_dir=copy, ctrl_socket=copy + ".sock"))
        status, text = ctrl(cluster, 2, config=path)
        assert status == 1, text
        _expect(text, "belongs to node 3, and this is node 2")

        def other_cluster(content):
            content["cluster"]["id"] = f"{cluster.cluster_id ^ 2:016x}"
            content["nodes"][2].update(data_dir=copy, ctrl_socket=copy + ".sock")
        path = _variant(cluster, "foreign.yaml", other_cluster)
        status, text = ctrl(cluster, 3, config=path)
        assert status == 1, text
        _expect(text, "belongs to cluster")
        _untouched(cluster, before)


def test_a_second_node_under_one_id():
    """It has a record of its own and the same address: both say what is wrong, and nobody is harmed."""
    with running(3, spares=1) as cluster:
        before = cluster.status(1)
        spare = cluster.spares[4]
        path = _variant(cluster, "twice.yaml", lambda c: c["nodes"][2].update(
            data_dir=spare.data, ctrl_socket=spare.socket, ctrl=f"{spare.ctrl_ip}:7401"))
        node, cluster.nodes[3] = cluster.nodes[3], spare
        try:
            cluster.start_node(3, "--join", config=path)
            cluster.wait("the second node 3 to miss the others",
                         lambda: "Does another machine run as node 3?" in cluster.log_tail(3), 30)
        finally:
            cluster.stop_node(3)
            cluster.nodes[3] = node
        _expect(cluster.log_tail(3, 100), "two nodes run as node 3")
        _untouched(cluster, before)


def test_changes():
    """Removing the sequencer or the last majority, promoting who is not ready, two changes at once."""
    with running(3, spares=1) as cluster:
        before = cluster.status(1)
        at = cluster.sequencer()
        others = [n for n in cluster.nodes if n != at]
        _expect(lockstep(cluster, at, "member", "remove", str(at), status=4),
                "move it first")
        _expect(lockstep(cluster, at, "member", "remove", "9", status=4), "no member")
        _expect(lockstep(cluster, at, "member", "promote", str(others[0]), status=4), "voter already")
        _expect(lockstep(cluster, at, "sequencer", "move", "9", status=4), "no voter")
        _untouched(cluster, before)

        # a learner that was never started; while it is awaited nothing else is taken
        lockstep(cluster, at, "member", "add", *cluster.member_arguments(4), "--no-wait")
        cluster.wait("node 4 as a learner", lambda: _is_learner(cluster, 4), 20)
        _expect(lockstep(cluster, at, "member", "remove", str(others[0]), status=4), "another change is under way")
        _expect(lockstep(cluster, others[0], "member", "promote", "4", status=4), "another change is under way")
        _serves(cluster)


def _is_learner(cluster, number):
    return any(m["node"] == number and m["role"] == "learner" for m in cluster.status(cluster.sequencer() or 1)["members"])


def test_last_majority():
    """With one of three dead, neither of the two that live may be removed; its own removal is allowed."""
    with running(3) as cluster:
        at = cluster.sequencer()
        first, second = [n for n in cluster.nodes if n != at]
        cluster.kill_node(first)
        cluster.wait("the dead node to be missed", lambda: not _is_alive(cluster, at, first), 20)
        _expect(lockstep(cluster, at, "member", "remove", str(second), status=4), "no majority")
        _serves(cluster, "--skip", first)
        lockstep(cluster, at, "member", "remove", str(first))
        _serves(cluster, "--skip", first)
        cluster.network.pull(first, out=False)
        del cluster.nodes[first]


def _is_alive(cluster, at, number):
    return any(m["node"] == number and m.get("linked") and m.get("alive") for m in cluster.status(at)["members"])


def test_damaged_checkpoint():
    """One flipped bit is found by verify; a node that needs a checkpoint takes another one."""
    with running(3) as cluster:
        workload(cluster, "--clients", 2, "--operations", 500)
        lockstep(cluster, 1, "checkpoint", "create")
        listed = json.loads(lockstep(cluster, 1, "checkpoint", "list", "--json").splitlines()[0])
        name = (listed["checkpoints"] if "checkpoints" in listed else [listed])[0]["name"]
        path = os.path.join(cluster.nodes[1].data, "checkpoints", name)
        with open(path, "r+b") as file:
            file.seek(os.path.getsize(path) // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 4]))
        text = lockstep(cluster, 1, "checkpoint", "verify", name, status=4)
        _expect(text, "damaged")
        _expect(lockstep(cluster, 1, "checkpoint", "list"), "damaged")
        _expect(lockstep(cluster, 1, "checkpoint", "restore", name, status=4), "cluster recover")
        _serves(cluster)
