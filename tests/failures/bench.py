# SPDX-License-Identifier: BSD-3-Clause
"""What every phase of failure shares: a cluster under checking and measuring clients, and what a failure cost them.

A cluster serves all phases that want one of its kind, one after the other, as long as they pass: each begins with a
whole cluster whose replicas are equal. After one that failed the next gets a new cluster.
"""
import contextlib
import dataclasses
import http.client
import json
import os
import signal
import subprocess
import time

import wire
from cluster import DATAPLANE, Cluster, ClusterError
from common import compare_digests, settle, stop

LIMIT_S = 150        # of a phase's clients; they end with the phase
CHECKED_RATE = 1500  # operations a second of the checking clients
LOAD_RATE = 3000     # and of the measuring ones
SETTLED_S = 0.3      # under load before the first fault
AFTER_S = 0.3        # and after the last one is mended
AWAY = (OSError, ClusterError, http.client.HTTPException)


@dataclasses.dataclass
class Cost:
    """Milliseconds from the fault; None: did not happen or is not known."""
    detect: float = None
    decide: float = None
    install: float = None
    commit: float = None
    pause: float = 0.0
    errors: int = 0


@dataclasses.dataclass
class Case:
    """One fault of a phase."""
    name: str
    at_ns: int = None


class Bench:
    """A phase's view of the cluster: hurt(), then whatever heals it. Names nodes by what they are."""

    def __init__(self, stage):
        self.stage, self.cluster = stage, stage.cluster
        self.cases = [Case("")]
        self.elections = set()
        self.sequencer = self.follower = None
        self.followers = []
        self.look()

    def look(self):
        """Who is what now."""
        self.sequencer = self.cluster.wait("a sequencer", self.cluster.sequencer, 60)
        self.followers = [n for n in sorted(self.cluster.nodes) if n != self.sequencer]
        self.follower = self.followers[0]

    # ---- faults ----

    def case(self, name):
        """The next fault has a line of its own in the table. The cluster is whole before."""
        self.whole()
        self.look()
        if self.cases[-1].at_ns is None:
            self.cases.pop()
        self.cases.append(Case(name))

    def hurt(self, function, *arguments, **options):
        """The fault itself; its time is what everything else is measured from."""
        now = time.monotonic_ns()
        result = function(*arguments, **options)
        if self.cases[-1].at_ns is None:
            self.cases[-1].at_ns = result if isinstance(result, int) and result > now else now
        return result

    def freeze(self, number, program=DATAPLANE):
        return self.cluster.signal(number, program, signal.SIGSTOP)

    def thaw(self, number, program=DATAPLANE):
        return self.cluster.signal(number, program, signal.SIGCONT)

    # ---- operator ----

    def _command(self, number, arguments):
        return [self.cluster.lockstep, *map(str, arguments), "--socket", self.cluster.node(number).socket, "--timeout",
                "60s", "--config", self.cluster.config]

    def lockstep(self, number, *arguments):
        """The operator's command at a node; its output."""
        result = subprocess.run(self._command(number, arguments), capture_output=True, text=True, timeout=90, check=False)
        if result.returncode != 0:
            raise ClusterError(f"node {number}: lockstep {' '.join(map(str, arguments))}: status {result.returncode}: "
                               f"{(result.stderr or result.stdout).strip()}")
        return result.stdout

    def lockstep_start(self, number, *arguments):
        """The same, in the background: a process. It may be refused, for what it asks for was hurt."""
        child = subprocess.Popen(self._command(number, arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 text=True)
        self.cluster.children.append(child)
        return child

    def lockstep_end(self, child):
        child.communicate(timeout=90)
        self.cluster.children.remove(child)

    def insist(self, what, done, *command, at=None, suffices=False, timeout=60):
        """An operator who gives a command (or what a function says, as things are) again, at node `at` or at the
        sequencer, until it has had its effect; that it succeeds `suffices`, or there is nothing else to see (`done`
        None)."""
        said = [""]

        def once():
            if done is not None and done():
                return True
            try:
                arguments = command[0]() if callable(command[0]) else command
                self.lockstep(at or self.cluster.sequencer() or next(iter(self.cluster.nodes)), *arguments)
            except AWAY as error:
                said[0] = str(error)
                return False
            return done is None or suffices or done()

        try:
            self.cluster.wait(what, once, timeout)
        except ClusterError as error:
            raise ClusterError(f"last answer: {said[0]}\n{error}") from None

    def join(self):
        """Starts the next spare node, which is to become a member: its number. It does not belong to the cluster before
        cluster.enter()."""
        number = min(self.cluster.spares)
        self.cluster.join_spare(number)
        self.cluster.wait(f"node {number}'s dataplane",
                          lambda: self.cluster.role(number) != "away" and self.cluster.status(number)["alive"], 60)
        self.cluster.leave(number)
        return number

    def member_add(self, number):
        self.insist(f"node {number} as a voter", lambda: self.cluster.is_voter(number), "member", "add",
                    *self.cluster.member_arguments(number))

    def member_remove(self, number):
        """It runs on; cluster.enter() before it is added again."""
        def command():
            if self.cluster.sequencer() != number:
                return "member", "remove", number
            return "sequencer", "move", next(n for n in sorted(self.cluster.nodes) if n != number)

        self.insist(f"node {number} removed", lambda: self.cluster.is_no_member(number), command)
        self.cluster.leave(number)
        self.look()

    def checkpoints_verify(self, number):
        """Every checkpoint that a node says is good is read whole."""
        def listed():
            return {c["name"] for c in self.cluster.request(number, "GET", "/v1/checkpoints")["checkpoints"]}

        names = listed()
        if not names:
            raise ClusterError(f"node {number} has no checkpoint")
        for name in names:  # a newer one may take its place meanwhile, and only one thing at a time is done with them
            self.insist(f"node {number}: {name} verified or replaced", lambda name=name: name not in listed(),
                        "checkpoint", "verify", name, at=number, suffices=True)

    # ---- waiting ----

    def note(self):
        """Keeps the elections that nodes tell of: each tells of the last one that it won."""
        for number in list(self.cluster.nodes):
            with contextlib.suppress(*AWAY):
                last = self.cluster.status(number).get("elections", {})
                # one that is under way has begun after the end of the last one
                if last.get("installed_ns", 0) >= last.get("decided_ns", 0) >= last.get("suspected_ns", 0) > 0:
                    self.elections.add((last["suspected_ns"], last["decided_ns"], last["installed_ns"]))

    def new_sequencer(self, timeout=60):
        """Another one than the phase began with."""
        number = self.cluster.wait("another sequencer", lambda: next(
            (n for n in self.cluster.nodes if n != self.sequencer and self.cluster.role(n) == "sequencer"), None), timeout,
            0.01)
        self.note()
        return number

    def whole(self, timeout=60):
        """Every member serves or follows again."""
        self.cluster.wait_ready(timeout)
        self.note()

    def pause(self, seconds):
        time.sleep(seconds)

    # ---- clients ----

    def client(self, first=None):
        """A client of an independent implementation, in this process; `first`: the node that it asks first."""
        with self.cluster.inside_client():
            client = wire.PlainClient(self.cluster.cluster_id, [n.ip for n in self.cluster.nodes.values()])
        if first is not None:
            client.at = client.nodes.index(self.cluster.nodes[first].ip)
        return client

    def fill(self, mib):
        """Writes so much that logs of less forget what was before."""
        self.stage.fill(mib)


class Stage:
    """A running cluster, and the phases that it has served."""

    def __init__(self, options):
        self.options = options
        self.cluster = Cluster(**{"nodes": 3, "clients": 2, **options, "options": {
            # one that is killed in phase after phase would be left dead for longer and longer
            "restart": {"max": "400ms"}, **options.get("options", {})}})
        self.served = []
        self.cluster.__enter__()
        try:
            self.cluster.start(60)
        except BaseException:
            self.destroy()
            raise

    def destroy(self):
        self.cluster.__exit__(None, None, None)

    def end(self):
        """In order: every node leaves with all its buffers."""
        try:
            settle(self.cluster, 60)
            stop(self.cluster)
        finally:
            self.destroy()

    def fill(self, mib):
        perf = os.path.join(self.cluster.build, "perf", "lockstep-perf")
        status, output = self.cluster.run_client([perf, "--config", self.cluster.config, "--keys", str(mib * 256), "--value",
                                                  "4096", "--fill", "--window", "16", "--seconds", "0.1", "--warmup", "0",
                                                  "--quiet"])
        if status != 0:
            raise ClusterError(f"filling: status {status}: {output[-500:]}")

    def run(self, name, phase):
        """One phase under load: [(name of the fault, cost)]."""
        cluster = self.cluster
        path = os.path.join(cluster.network.directory, "timeline.json")
        bench = Bench(self)
        self.served.append(name)
        load = cluster.spawn_client([os.path.join(cluster.build, "perf", "lockstep-perf"), "--config", cluster.config,
                                     "--seconds", str(LIMIT_S), "--warmup", "0", "--threads", "4", "--window", "4", "--rate",
                                     str(LOAD_RATE), "--reads", "50", "--quiet", "--timeline", path, "--json", "-"],
                                    client=1, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        checker = cluster.spawn_client([os.path.join(cluster.build, "tests", "cluster", "lockstep-test-workload"),
                                        "--config", cluster.config, "--clients", "4", "--operations",
                                        str(LIMIT_S * CHECKED_RATE // 4), "--rate", str(CHECKED_RATE), "--name",
                                        f"phase{len(self.served)}"],
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        time.sleep(SETTLED_S)
        phase(bench)
        bench.whole()
        time.sleep(AFTER_S)
        checked = self._end_of(checker, "the checking clients")
        output = self._end_of(load, "lockstep-perf")
        summary = json.loads(output[output.index("{"):output.rindex("}") + 1])
        with open(path, encoding="ascii") as file:
            costs = measure(bench, json.load(file))
        errors = summary["failed"] + summary["unanswered"]
        if errors:
            raise ClusterError(f"{errors} operations failed or went unanswered: {summary}\n{cluster.describe()}")
        settle(cluster, 60)
        compare_digests(cluster)
        done = summary["writes"]["count"] + summary["reads"]["count"]
        return costs, f"{done:,} operations measured; {checked}"

    def _end_of(self, child, what):
        """Asks clients to end, which they do when all that they asked for is done."""
        child.send_signal(signal.SIGTERM)
        try:
            output, _ = child.communicate(timeout=90)
        except subprocess.TimeoutExpired:
            raise ClusterError(f"{what} do not end\n{self.cluster.describe()}") from None
        self.cluster.children.remove(child)
        if child.returncode != 0:
            raise ClusterError(f"{what}: status {child.returncode}\n{output[-3000:]}\n{self.cluster.describe()}")
        return output.strip()


def measure(bench, timeline):
    """[(name, cost)] of a phase's cases: each reaches from its fault to the next one's."""
    cases = [c for c in bench.cases if c.at_ns is not None]
    ends = [c.at_ns for c in cases[1:]] + [1 << 63]
    rows = []
    for case, end in zip(cases, ends):
        cost = Cost()
        pauses = [(start, stop) for _, start, stop in timeline["pauses"] if case.at_ns < stop and start < end]
        cost.pause = max((stop - start for start, stop in pauses), default=0) / 1e6
        first = (case.at_ns - timeline["begin_ns"]) // timeline["bucket_ns"]
        last = (end - timeline["begin_ns"]) // timeline["bucket_ns"]
        cost.errors = sum(timeline["failed"][max(first, 0):last])
        found = min((e for e in bench.elections if case.at_ns - 1_000_000 <= e[0] < end), default=None)
        if found is not None:
            cost.detect, cost.decide, cost.install = ((at - case.at_ns) / 1e6 for at in found)
            # Of a client thread that waited then; none did: some client's operation was committed within 3 ms.
            waited = [stop for start, stop in pauses if start <= found[2] <= stop]
            cost.commit = (min(waited, default=found[2]) - case.at_ns) / 1e6
        rows.append((case.name, cost))
    return rows


def table(rows):
    """What each fault cost: lines."""
    def cell(value):
        return f"{value:>10.1f}" if value is not None else f"{'-':>10}"

    lines = ["Milliseconds after the fault until: it was detected, another sequencer was decided on, it was installed, its",
             "first commit reached a client; - where no election followed. The longest pause of any client; its errors.", "",
             f"{'fault':<52}{'detect':>10}{'decide':>10}{'install':>10}{'commit':>10}{'pause':>10}{'errors':>8}"]
    for name, cost in rows:
        if cost is None:
            lines.append(f"{name:<52}{'FAILED':>10}")
        else:
            lines.append(f"{name:<52}{cell(cost.detect)}{cell(cost.decide)}{cell(cost.install)}{cell(cost.commit)}"
                         f"{cell(cost.pause)}{cost.errors:>8}")
    return lines
