#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A Lockstep cluster of real processes on this machine: one namespace per node, one or more for clients.

Used by tests/cluster, perf/demo and by hand:

    with Cluster(nodes=3) as cluster:
        cluster.start()
        cluster.run_client(["build/ctrl/lockstep", ...])

As a program: --clean-dead removes what killed runs left; --up N keeps a cluster of N nodes up until Ctrl-C.
Needs root.
"""
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import network  # pylint: disable=wrong-import-position

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PREFIX_BITS = 24
DATA_PORT, CTRL_PORT = 7400, 7401
CTRL, DATAPLANE = "lockstep-ctrl", "lockstep-dataplane"


class ClusterError(Exception):
    """Something that was waited for did not happen; the text has the ends of the logs."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def to_yaml(value, indent=0):
    """Enough YAML for a cluster file: mappings, lists of mappings, scalars."""
    lines = []
    pad = " " * indent
    for key, item in value.items():
        if isinstance(item, dict):
            lines += [f"{pad}{key}:", to_yaml(item, indent + 2)]
        elif isinstance(item, list):
            lines.append(f"{pad}{key}:")
            for element in item:
                body = to_yaml(element, indent + 4).split("\n")
                body[0] = pad + "  - " + body[0].lstrip()
                lines += body
        else:
            lines.append(f"{pad}{key}: {item}")
    return "\n".join(lines)


class Node:
    """One node's place, and its ctrl process while it runs."""

    def __init__(self, number, namespace, addresses, directory):
        self.number, self.namespace, self.directory = number, namespace, directory
        self.ip, self.ctrl_ip = addresses
        self.socket = os.path.join(directory, "ctrl.sock")
        self.log = os.path.join(directory, "log")
        self.data = os.path.join(directory, "data")
        self.process = None
        self.config = None  # its own cluster file; None: the cluster's
        self.killed = None  # incarnation of the dataplane that was killed last


class Cluster:
    """A cluster file, the network and the processes. All pids that it ends it has started itself."""

    def __init__(self, nodes=3, clients=1, build=None, machine="kv", options=None, log_size="16MiB", spares=0):
        """`spares`: nodes that have a place but are no members until they are added."""
        self.build = build or os.environ.get("LS_BUILD", os.path.join(TOP, "build"))
        self.count, self.client_count, self.spare_count = nodes, clients, spares
        self.machine, self.options, self.log_size = machine, options or {}, log_size
        self.cluster_id = int.from_bytes(os.urandom(7), "little") | 1
        self.lockstep = os.path.join(self.build, "ctrl", "cli", "lockstep")
        self.network = None
        self.nodes = {}
        self.spares = {}
        self.client_namespaces = []
        self.client_addresses = []
        self.children = []
        self.config = None
        self._handlers = {}

    # ---- life ----

    def __enter__(self):
        network.clean_dead()
        # TERM and HUP unwind like Ctrl-C, so that __exit__ runs
        for number in (signal.SIGTERM, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, self._interrupted)
        return self

    def __exit__(self, *_):
        self.destroy()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    @staticmethod
    def _interrupted(number, _frame):
        raise SystemExit(128 + number)

    def create(self):
        """Network and cluster file, no processes."""
        self.network = network.Network()
        directory = self.network.directory
        for number in range(1, self.count + self.spare_count + 1):
            namespace, *addresses = self.network.add_node(number)
            folder = os.path.join(directory, f"n{number}")
            node = Node(number, namespace, addresses, folder)
            os.makedirs(node.data, exist_ok=True)
            (self.nodes if number <= self.count else self.spares)[number] = node
        for number in range(1, self.client_count + 1):
            namespace, ip = self.network.add_client(number)
            self.client_namespaces.append(namespace)
            self.client_addresses.append(ip)
        self.config = os.path.join(directory, "cluster.yaml")
        content = self.content()
        with open(self.config, "w", encoding="ascii") as file:
            file.write(to_yaml(content) + "\n")
        # A node that comes later has its own file: the same, with itself in it.
        for spare in self.spares.values():
            with open(os.path.join(spare.directory, "cluster.yaml"), "w", encoding="ascii") as file:
                file.write(to_yaml(self.content([*self.nodes.values(), spare])) + "\n")

    def content(self, nodes=None):
        """The cluster file as nested mappings; of these nodes instead of the members."""
        cpus = sorted(os.sched_getaffinity(0))
        content = {
            "cluster": {"name": "test", "id": f"{self.cluster_id:016x}"},
            "machine": self.machine,
            # Not yield: on cores that nodes and clients share, pollers that yield at every turn kept tasks that the
            # kernel had interrupted from going on, and with them its grace periods: a killed process took half a
            # minute to be gone, and as long to start again.
            "idle": "sleep",
            "hugepages": "no",
            "memory": "64MiB",
            "faults_allowed": "yes",
            "limits": {"keys": 200000, "bytes": "128MiB", "log_size": self.log_size},
            "nodes": [{
                "id": node.number,
                "ip": node.ip,
                "prefix": PREFIX_BITS,
                "ctrl": f"{node.ctrl_ip}:{CTRL_PORT}",
                "lcores": {
                    # nodes take turns on the CPUs
                    "net": cpus[node.number % len(cpus)],
                    "apply": cpus[node.number % len(cpus)],
                },
                "device": '"net_af_packet0,iface=eth0,qdisc_bypass=1"',
                "ctrl_socket": node.socket,
                "data_dir": node.data,
            } for node in nodes or self.nodes.values()],
        }
        for key, value in self.options.items():
            if isinstance(value, dict):
                content.setdefault(key, {}).update(value)
            else:
                content[key] = value
        return content

    def start(self, timeout=30):
        """Everything, until every node is ready and one of them takes requests."""
        if self.network is None:
            self.create()
        for number in self.nodes:
            self.start_node(number, "--bootstrap")
        self.wait_ready(timeout)

    def start_node(self, number, *options, config=None):
        """The node's ctrl, which starts its dataplane. --bootstrap makes its durable record: once in its life."""
        node = self.nodes[number]
        node.config = config or node.config or self.config
        # A process group of its own, so that Ctrl-C at a terminal reaches us alone and we end the nodes in order. Not a
        # session: the kernel groups tasks by session (autogroup), and pollers that yield to each other only yield
        # within their group; those of another one were kept from running for seconds.
        with open(node.log, "ab") as log:
            node.process = subprocess.Popen(
                ["ip", "netns", "exec", node.namespace, os.path.join(self.build, "ctrl", "lockstep-ctrl"), "--config",
                 node.config, "--node", str(number), "--dataplane",
                 os.path.join(self.build, "dataplane", "lockstep-dataplane"), *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0)

    def wait_ready(self, timeout=30):
        self.wait("a sequencer that serves and followers that follow", self.is_ready, timeout)

    def is_ready(self):
        """One sequencer that serves, all others full followers; nobody is joining."""
        roles = []
        for number, node in self.nodes.items():
            if node.process is not None and node.process.poll() is not None:
                raise ClusterError(f"node {number}: ctrl ended with status {node.process.returncode}\n"
                                   + self.log_tail(number))
            try:
                status = self.status(number)
            except (OSError, ClusterError, http.client.HTTPException):
                return False
            # a node that is still joining follows too, but does not count yet; and one that was killed just now may not
            # have been missed yet
            whole = status["state"] == "full" and status.get("incarnation") != node.killed
            roles.append(status["role"] if whole else "joining")
        return roles.count("sequencer") == 1 and roles.count("follower") == len(roles) - 1

    def stop_node(self, number, patience=10.0):
        """Asks a node to leave; returns ctrl's exit status."""
        node = self.node(number)
        if node.process is None:
            return None
        node.process.terminate()
        try:
            status = node.process.wait(patience)
        except subprocess.TimeoutExpired:
            node.process.kill()
            status = node.process.wait()
        node.process = None
        return status

    # ---- hurting: processes and cables ----

    def pids(self, number, program):
        """Processes of a node that run lockstep-dataplane or lockstep-ctrl."""
        found = []
        for pid in network.command("ip", "netns", "pids", self.node(number).namespace, check=False).split():
            with contextlib.suppress(OSError):
                if os.path.basename(os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")) == program:
                    found.append(int(pid))
        return found

    def signal(self, number, program, signal_number):
        """One system call a process: the time it was sent, monotonic, ns."""
        pids = self.pids(number, program)
        if not pids:
            raise ClusterError(f"node {number}: no {program} to send signal {signal_number} to\n{self.log_tail(number)}")
        now = time.monotonic_ns()
        for pid in pids:
            os.kill(pid, signal_number)
        return now

    def killer(self, number, part, cables=True):
        """Everything that takes its time is done now: the function that is returned only kills the node's "dataplane",
        "ctrl" or all of the "node" with its cables, and returns when, monotonic ns."""
        programs = {"dataplane": (DATAPLANE,), "ctrl": (CTRL,), "node": (CTRL, DATAPLANE)}[part]
        incarnation = None
        if part != "ctrl":
            with contextlib.suppress(OSError, ClusterError, http.client.HTTPException):
                incarnation = self.status(number).get("incarnation")
        pids = [pid for program in programs for pid in self.pids(number, program)]
        process = self.node(number).process
        if part != "dataplane" and process is not None and process.poll() is None and process.pid not in pids:
            pids.append(process.pid)  # about to become lockstep-ctrl
        if part != "node" and not pids:
            raise ClusterError(f"node {number}: no {programs[0]} to kill\n{self.log_tail(number)}")

        def kill():
            if part != "ctrl":
                self.node(number).killed = incarnation
            if part == "node" and cables:
                self.network.pull(number)
            now = time.monotonic_ns()
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if part != "dataplane":
                self._reap(number)
            if part == "node":  # started in the meantime
                for pid in set(self.pids(number, DATAPLANE)) - set(pids):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            return now

        return kill

    def kill_dataplane(self, number):
        return self.killer(number, "dataplane")()

    def kill_ctrl(self, number):
        """The control process alone; the dataplane serves on. start_node() brings it back."""
        return self.killer(number, "ctrl")()

    def kill_node(self, number, cables=True):
        """Both processes and the cables at once, as when a machine loses its power. restore_node() brings it back."""
        return self.killer(number, "node", cables)()

    def restore_node(self, number):
        self.network.pull(number, out=False)
        self.start_node(number)

    def _reap(self, number):
        node = self.nodes[number]
        if node.process is not None:
            node.process.wait()
            node.process = None

    def destroy(self):
        """Everything goes, whatever state it is in."""
        for child in self.children:
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
                child.wait()
        for number in [*self.nodes, *(n for n, node in self.spares.items() if node.process is not None)]:
            for program in (DATAPLANE, CTRL):
                with contextlib.suppress(Exception):
                    self.signal(number, program, signal.SIGCONT)
            with contextlib.suppress(Exception):
                self.stop_node(number)
        if self.network is not None:
            self.network.destroy()
            self.network = None

    # ---- asking ----

    def request(self, number, method, path, body=None, timeout=5.0):
        """One HTTP request to a node's ctrl; the JSON of the answer. Raises ClusterError on any other status."""
        connection = _UnixConnection(self.node(number).socket, timeout)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None,
                               {"Content-Type": "application/json"} if body is not None else {})
            response = connection.getresponse()
            text = response.read().decode("utf-8", "replace")
        finally:
            connection.close()
        if response.status >= 300:
            raise ClusterError(f"node {number}: {method} {path}: {response.status} {text.strip()}")
        try:
            return json.loads(text) if text.strip() else {}
        except ValueError as error:
            raise ClusterError(f"node {number}: {method} {path}: no JSON: {text[:200]!r}") from error

    def status(self, number):
        """What ctrl says of its node, with what its dataplane says on the same level."""
        status = self.request(number, "GET", "/v1/status")
        return {**status.get("dataplane", {}), **status}

    def counters(self, number):
        """The dataplane's counters by name, its workers together."""
        return self.status(number).get("counters", {})

    def node(self, number):
        return self.nodes.get(number) or self.spares[number]

    def join_spare(self, number):
        """Starts a node that is to become a member: from now on it is one of the cluster's."""
        node = self.nodes[number] = self.spares.pop(number)
        self.start_node(number, "--join", config=os.path.join(node.directory, "cluster.yaml"))

    def member_arguments(self, number):
        """What `lockstep member add` wants to know of a node."""
        node = self.node(number)
        return [str(number), f"{node.ip}:{DATA_PORT}", f"{node.ctrl_ip}:{CTRL_PORT}"]

    def leave(self, number):
        """A node that was removed: it is no longer one of the cluster's, and runs on. enter() takes it back."""
        self.spares[number] = self.nodes.pop(number)

    def enter(self, number):
        self.nodes[number] = self.spares.pop(number)

    def forget(self, number):
        """A node that was removed: it is stopped, and no longer one of the cluster's."""
        self.stop_node(number)
        del self.nodes[number]

    def members(self):
        """{node: role} as the sequencer knows them; None: there is none now."""
        sequencer = self.sequencer()
        try:
            return {m["node"]: m["role"] for m in self.status(sequencer)["members"]} if sequencer else None
        except (OSError, ClusterError, http.client.HTTPException):
            return None

    def is_voter(self, number):
        return (self.members() or {}).get(number) == "voter"

    def is_member(self, number):
        return number in (self.members() or {})

    def is_no_member(self, number):
        members = self.members()
        return members is not None and number not in members

    def role(self, number):
        try:
            return str(self.status(number).get("role"))
        except (OSError, ClusterError, http.client.HTTPException):
            return "away"

    def sequencer(self):
        """Of the highest epoch: one that hangs does not know yet that it is so no longer."""
        found = []
        for number in self.nodes:
            with contextlib.suppress(OSError, ClusterError, http.client.HTTPException):
                status = self.status(number)
                if status.get("role") == "sequencer":
                    found.append((status["epoch"], number))
        return max(found)[1] if found else None

    def fault(self, number, **settings):
        """Replaces a node's fault settings; none given: off."""
        return self.request(number, "POST", "/v1/fault", settings)

    def wait(self, what, condition, timeout=30.0, step=0.05):
        end = time.monotonic() + timeout
        while True:
            result = condition()
            if result:
                return result
            if time.monotonic() > end:
                raise ClusterError(f"after {timeout} s still no {what}\n" + self.describe())
            time.sleep(step)

    def log_tail(self, number, lines=15):
        try:
            with open(self.node(number).log, encoding="utf-8", errors="replace") as log:
                tail = log.read().splitlines()[-lines:]
        except OSError as error:
            tail = [str(error)]
        return "\n".join(f"  n{number}| {line}" for line in tail)

    @staticmethod
    def _summary(status):
        """One line: what a replica is, then every counter that is not zero."""
        names = ("state", "role", "epoch", "sequencer", "last", "last_seq", "commit", "applied_seq", "digest_seq",
                 "digest", "sessions", "buffers", "problem", "halt")
        parts = [f"{name} {status[name]}" for name in names if status.get(name) not in (None, "")]
        return ", ".join(parts + [f"{k}={v}" for k, v in status.get("counters", {}).items() if v])

    def describe(self):
        """State and log ends of all nodes, for the message of a failed test."""
        text = []
        for number in self.nodes:
            try:
                text.append(f"node {number}: {self._summary(self.status(number))}")
            except (OSError, ClusterError, http.client.HTTPException) as error:
                text.append(f"node {number}: {error}")
            text.append(self.log_tail(number))
        return "\n".join(text)

    # ---- clients ----

    def client_command(self, argv, client=0):
        return ["ip", "netns", "exec", self.client_namespaces[client], *argv]

    def spawn_client(self, argv, client=0, **options):
        child = subprocess.Popen(self.client_command(argv, client), **options)
        self.children.append(child)
        return child

    def run_client(self, argv, client=0, timeout=120):
        """Runs a program in a client's namespace to its end; (status, output of both streams)."""
        child = self.spawn_client(argv, client, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            output, _ = child.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            output, _ = child.communicate()
            raise ClusterError(f"{' '.join(argv)}: not finished after {timeout} s\n{output[-2000:]}\n"
                               + self.describe()) from None
        finally:
            self.children.remove(child)
        return child.returncode, output

    def inside_client(self, client=0):
        return network.inside(self.client_namespaces[client])


def main():
    if sys.argv[1:] == ["--clean-dead"]:
        for pid in network.clean_dead():
            print(f"removed what run {pid} left")
        return 0
    if len(sys.argv) == 3 and sys.argv[1] == "--up":
        with Cluster(nodes=int(sys.argv[2])) as cluster:
            cluster.start()
            print(f"cluster file: {cluster.config}")
            print(f"client namespace: ip netns exec {cluster.client_namespaces[0]} ...")
            print(f"status: {cluster.lockstep} --socket {cluster.nodes[1].socket} status")
            print("Ctrl-C ends it", flush=True)
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
