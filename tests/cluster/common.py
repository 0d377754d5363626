# SPDX-License-Identifier: BSD-3-Clause
"""What the tests of real processes share: starting, loading, comparing, and the checks at the end."""
import contextlib
import os
import re
import subprocess

from cluster import Cluster, ClusterError


@contextlib.contextmanager
def running(nodes, **options):
    """A started cluster; at the end every node must leave in order with all its buffers back."""
    with Cluster(nodes=nodes, **options) as cluster:
        cluster.start()
        yield cluster
        settle(cluster)
        stop(cluster)


def stop(cluster):
    """Every node leaves in order, and every buffer that its dataplane took is back."""
    for number in cluster.nodes:
        status = cluster.stop_node(number)
        assert status == 0, f"node {number}: ctrl ended with status {status}\n{cluster.log_tail(number)}"
        buffers_returned(cluster, number)


def buffers_returned(cluster, number):
    """What a dataplane says last: how many buffers it took, and how many it had when it ended."""
    with open(cluster.nodes[number].log, encoding="utf-8", errors="replace") as log:
        found = re.findall(r"buffers: taken (\d+) returned (\d+)", log.read())
    assert found and found[-1][0] == found[-1][1] and int(found[-1][0]) > 0, \
        f"node {number}: buffers at its end: {found}\n{cluster.log_tail(number)}"


def settle(cluster, timeout=20.0):
    """Faults off, then waits until all have applied the same last entry; their digests there must be equal."""
    for number in cluster.nodes:
        cluster.fault(number)

    def equal_ends():
        seen = {(s["last_seq"], s["commit"], s["applied_seq"]) for s in map(cluster.status, cluster.nodes)}
        return len(seen) == 1 and next(iter(seen))

    cluster.wait("equal ends of all logs", equal_ends, timeout)
    compare_digests(cluster)


def compare_digests(cluster):
    """Each node publishes its digest at the same seqs; the last ones must be of one seq and equal."""
    seen = {number: (s["digest_seq"], s["digest"]) for number, s in
            ((n, cluster.status(n)) for n in cluster.nodes)}
    assert len(set(seen.values())) == 1, f"digests differ: {seen}\n{cluster.describe()}"
    return next(iter(seen.values()))


def workload(cluster, *arguments, client=0, timeout=200):
    """Runs the checking client (workload.c); any violation is its exit status and text."""
    program = os.path.join(cluster.build, "tests", "cluster", "lockstep-test-workload")
    status, output = cluster.run_client([program, "--config", cluster.config, *map(str, arguments)], client, timeout)
    if status != 0:
        raise ClusterError(f"workload {' '.join(map(str, arguments))}: status {status}\n{output}\n{cluster.describe()}")
    return output.strip().splitlines()[-1] if output.strip() else ""


def ctrl(cluster, number, *arguments, config=None, inside=None):
    """lockstep-ctrl as an operator runs it at a node, to its end: exit status and output."""
    node = cluster.node(inside or number)
    done = subprocess.run(["ip", "netns", "exec", node.namespace, os.path.join(cluster.build, "ctrl", "lockstep-ctrl"),
                           *arguments, "--config", config or cluster.config, "--node", str(number)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
    return done.returncode, done.stdout


def lockstep(cluster, number, *arguments, status=0):
    """The lockstep command at a node's socket; its output. `status`: the exit code that it must have."""
    return lockstep_config(cluster, *arguments, "--socket", cluster.nodes[number].socket, status=status)


def lockstep_config(cluster, *arguments, status=0):
    """The same, at whatever nodes the cluster file leads it to."""
    done = subprocess.run([cluster.lockstep, *arguments, "-c", cluster.config],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
    assert done.returncode == status, f"lockstep {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n" \
        + cluster.describe()
    return done.stdout
