# SPDX-License-Identifier: BSD-3-Clause
"""Values of all sizes come back as they were written, from every replica."""
from common import running, workload


def _sizes(nodes):
    with running(nodes, log_size="64MiB") as cluster:
        return "; ".join(
            f"{size} bytes: " + workload(cluster, "--values", size, "--operations", count, "--name", f"size{size}")
            for size, count in ((1, 500), (1024, 500), (1280, 100), (65536, 20), (1048576, 8)))


def test_one_replica():
    return _sizes(1)


def test_three_replicas():
    return _sizes(3)


def test_five_replicas():
    return _sizes(5)


def test_large_values_with_loss():
    with running(3, log_size="64MiB") as cluster:
        for number in cluster.nodes:
            cluster.fault(number, seed=number, drop=10000, duplicate=10000, reorder=10000, reorder_span=4)
        return workload(cluster, "--values", 1048576, "--operations", 4)
