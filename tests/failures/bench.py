# SPDX-License-Identifier: BSD-3-Clause
"""What every phase of failure shares: a cluster under checking and measuring clients, and what a failure cost them."""
import dataclasses
import json
import os
import signal
import subprocess
import time

from cluster import DATAPLANE, Cluster, ClusterError
from common import compare_digests, settle, stop

LOAD_S = 60          # at most; the load ends with the phase
CHECKED = 12000      # operations of the checking clients
CHECKED_RATE = 3000  # of them per second
SETTLED_S = 0.4


@dataclasses.dataclass
class Cost:
    """Milliseconds from the fault; None: did not happen or is not known."""
    detect: float = None
    decide: float = None
    install: float = None
    commit: float = None
    pause: float = 0.0
    errors: int = 0
    done: int = 0

    def line(self):
        return f"longest pause {self.pause:.0f} ms, {self.errors} errors of {self.done:,} operations"


class Bench:
    """A phase's view of the cluster: hurt(), then whatever heals it. Names nodes by what they are."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.at_ns = None
        self.sequencer = cluster.wait("a sequencer", cluster.sequencer, 30)
        self.followers = [n for n in cluster.nodes if n != self.sequencer]
        self.follower = self.followers[0]

    def hurt(self, function, *arguments, **options):
        """The fault itself; its time is what everything else is measured from."""
        now = time.monotonic_ns()
        result = function(*arguments, **options)
        if self.at_ns is None:
            self.at_ns = result if isinstance(result, int) and result > now else now
        return result

    def freeze(self, number, program=DATAPLANE):
        return self.cluster.signal(number, program, signal.SIGSTOP)

    def thaw(self, number, program=DATAPLANE):
        return self.cluster.signal(number, program, signal.SIGCONT)

    def _command(self, number, arguments):
        return [self.cluster.lockstep, *map(str, arguments), "--socket", self.cluster.node(number).socket, "--timeout",
                "60s", "--config", self.cluster.config]

    def lockstep(self, number, *arguments, check=True, timeout=60):
        """The operator's command at a node; its output."""
        result = subprocess.run(self._command(number, arguments), capture_output=True, text=True, timeout=timeout,
                                check=False)
        if check and result.returncode != 0:
            raise ClusterError(f"node {number}: lockstep {' '.join(map(str, arguments))}: status {result.returncode}: "
                               f"{(result.stderr or result.stdout).strip()}")
        return result.stdout

    def lockstep_start(self, number, *arguments):
        """The same, in the background: a process."""
        child = subprocess.Popen(self._command(number, arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 text=True)
        self.cluster.children.append(child)
        return child

    def new_sequencer(self, timeout=30):
        return self.cluster.wait("another sequencer", lambda: next(
            (n for n in self.cluster.nodes if n != self.sequencer and self.cluster.role(n) == "sequencer"), None), timeout,
            0.01)

    def whole(self, timeout=60):
        """Every member serves or follows again."""
        self.cluster.wait_ready(timeout)

    def fill(self, mib):
        """Writes so much that logs of less forget what was before."""
        perf = os.path.join(self.cluster.build, "perf", "lockstep-perf")
        status, output = self.cluster.run_client([perf, "--config", self.cluster.config, "--keys", str(mib * 256), "--value",
                                                  "4096", "--fill", "--window", "16", "--seconds", "0.1", "--warmup", "0",
                                                  "--quiet"])
        if status != 0:
            raise ClusterError(f"filling: status {status}: {output[-500:]}")

    def pause(self, seconds):
        time.sleep(seconds)


def election(cluster):
    """(suspected, decided, installed) of the newest election, as the present sequencer tells; monotonic ns."""
    number = cluster.sequencer()
    last = cluster.status(number).get("elections", {}) if number else {}
    return (last["suspected_ns"], last["decided_ns"], last["installed_ns"]) if last.get("installed_ns") else None


def measure(bench, timeline, summary):
    cost = Cost(errors=summary["failed"] + summary["unanswered"],
                done=summary["writes"]["count"] + summary["reads"]["count"])
    pauses = [(stop - start, stop) for _, start, stop in timeline["pauses"] if stop > bench.at_ns]
    longest = max(pauses, default=(0, 0))
    cost.pause = longest[0] / 1e6
    found = election(bench.cluster)
    if found and found[0] >= bench.at_ns - 1_000_000:
        cost.detect, cost.decide, cost.install = ((at - bench.at_ns) / 1e6 for at in found)
        cost.commit = (longest[1] - bench.at_ns) / 1e6
    return cost


def run(phase):
    """One phase on a cluster of its own. Options of the cluster stand on the function (phases.py: on())."""
    with Cluster(**{"nodes": 3, "clients": 2, **getattr(phase, "cluster", {})}) as cluster:
        cluster.start()
        bench = Bench(cluster)
        path = os.path.join(cluster.network.directory, "timeline.json")
        perf = os.path.join(cluster.build, "perf", "lockstep-perf")
        load = cluster.spawn_client([perf, "--config", cluster.config, "--seconds", str(LOAD_S), "--warmup", "0",
                                     "--threads", "4", "--window", "4", "--rate", "4000", "--reads", "50", "--quiet",
                                     "--timeline", path, "--json", "-"], client=1, stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, text=True)
        checker = cluster.spawn_client([os.path.join(cluster.build, "tests", "cluster", "lockstep-test-workload"),
                                        "--config", cluster.config, "--clients", "4", "--operations", str(CHECKED // 4),
                                        "--rate", str(CHECKED_RATE)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                       text=True)
        time.sleep(SETTLED_S)
        phase(bench)
        bench.whole()
        output, _ = checker.communicate(timeout=90)
        if checker.returncode != 0:
            raise ClusterError(f"the checking clients: status {checker.returncode}\n{output}\n{cluster.describe()}")
        load.send_signal(signal.SIGTERM)
        output, _ = load.communicate(timeout=30)
        if "{" not in output:
            raise ClusterError(f"lockstep-perf: {output[-500:]}")
        summary = json.loads(output[output.index("{"):output.rindex("}") + 1])
        with open(path, encoding="ascii") as file:
            cost = measure(bench, json.load(file), summary)
        if cost.errors:
            raise ClusterError(f"{cost.errors} operations failed or went unanswered: {summary}\n{cluster.describe()}")
        settle(cluster, 40)
        compare_digests(cluster)
        stop(cluster)
        return cost


def table(rows):
    """What each phase cost, ms after the fault: lines."""
    def cell(value):
        return f"{value:>9.1f}" if value is not None else f"{'-':>9}"

    lines = [f"{'fault':<44}{'detected':>9}{'decided':>9}{'installed':>9}{'commit':>9}{'pause':>9}{'errors':>7}"]
    for name, cost in rows:
        lines.append(f"{name:<44}{cell(cost.detect)}{cell(cost.decide)}{cell(cost.install)}{cell(cost.commit)}"
                     f"{cell(cost.pause)}{cost.errors:>7}")
    return lines
