# SPDX-License-Identifier: BSD-3-Clause
"""Every acknowledged write happened exactly once and in order, on every replica, while frames are dropped, duplicated
and reordered between every pair of nodes and towards the clients."""
from common import running, settle, workload


def _rates(nodes, rates):
    notes = []
    with running(nodes) as cluster:
        for percent, operations in rates:
            parts = percent * 10000
            for number in cluster.nodes:
                cluster.fault(number, seed=1000 * nodes + 10 * percent + number, drop=parts, duplicate=parts,
                              reorder=parts, reorder_span=8)
            notes.append(f"{percent} %: " + workload(cluster, "--clients", 4, "--operations", operations,
                                                     "--name", f"rate{percent}"))
            settle(cluster)
            if percent > 0:
                hit = sum(_hits(cluster, number) for number in cluster.nodes)
                assert hit > 0, "no fault was injected"
    return "; ".join(notes)


def _hits(cluster, number):
    counters = cluster.counters(number)
    return sum(counters[name] for name in ("fault_dropped", "fault_duplicated", "fault_reordered"))


def test_one_replica():
    return _rates(1, [(0, 20000), (1, 10000), (10, 2000)])


def test_three_replicas():
    return _rates(3, [(0, 20000), (1, 10000), (10, 2000)])


def test_five_replicas():
    return _rates(5, [(0, 20000), (1, 10000), (10, 2000)])


def test_corrupt_frames():
    """Damaged frames are refused by their checksum, counted, and repaired like lost ones."""
    with running(3) as cluster:
        for number in cluster.nodes:
            cluster.fault(number, seed=number, corrupt=20000)
        note = workload(cluster, "--clients", 2, "--operations", 1000)
        refused = sum(cluster.counters(number)["drop_crc"] for number in cluster.nodes)
        assert refused > 0, "no damaged frame was refused"
        return f"{note}; {refused} refused"


def test_cut_follower_catches_up():
    """A follower that hears nothing for a while falls behind, and has everything once it hears again."""
    with running(3) as cluster:
        sequencer = cluster.sequencer()
        follower = next(n for n in cluster.nodes if n != sequencer)
        cluster.fault(follower, cut_in=list(cluster.nodes))
        note = workload(cluster, "--clients", 2, "--operations", 1500, "--skip", follower)
        behind = cluster.status(sequencer)["applied_seq"] - cluster.status(follower)["applied_seq"]
        assert behind > 1000, f"the cut follower is only {behind} entries behind"
        settle(cluster)
        workload(cluster, "--clients", 1, "--operations", 200, "--name", "again")
        return f"{note}; was {behind} entries behind"
