# SPDX-License-Identifier: BSD-3-Clause
"""A test network of namespaces on this machine: one switch, one namespace per node and per client.

Everything carries the prefix lst<pid>, pid being the process that made it, so that runs side by side do not meet, and
so that what a killed run left is found and removed by the next one (clean_dead). Nothing is created in the machine's
own namespace, and only processes inside these namespaces, or recorded as started by the run, are ever ended.

    lst<pid>-sw   two bridges: br0 joins the data network, br1 the network on which the nodes' control processes talk
    lst<pid>-n1   eth0 without an address: the dataplane's; ctl0 with one: the control process's
    lst<pid>-c1   eth0 with a kernel address, checksums computed by the sender
"""
import contextlib
import ctypes
import glob
import os
import re
import shutil
import signal
import subprocess
import time

STATE = "/run/lockstep-test"
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class NetworkError(Exception):
    """A command that builds the network failed; the text has its output."""


def command(*argv, check=True):
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if check and result.returncode != 0:
        raise NetworkError(f"{' '.join(argv)}: {result.stderr.strip() or result.returncode}")
    return result.stdout


def process_start(pid):
    """Start time of a process: with the pid, its identity. None: there is no such process, or it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            fields = stat.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def end_processes(pids, patience=3.0):
    """TERM, and KILL for those that do not go. Only for processes known to be ours."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + patience
    left = list(pids)
    while left and time.monotonic() < end:
        left = [p for p in left if process_start(p) is not None]
        time.sleep(0.02)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def namespaces(pid):
    """Names of the namespaces that the run of that pid made."""
    names = []
    for line in command("ip", "netns", "list", check=False).splitlines():
        name = line.split()[0] if line.split() else ""
        if name.startswith(f"lst{pid}-"):
            names.append(name)
    return names


def remove_run(pid):
    """Ends what runs in a run's namespaces, removes them and the run's folder."""
    names = namespaces(pid)
    inside = []
    for name in names:
        inside += [int(p) for p in command("ip", "netns", "pids", name, check=False).split()]
    end_processes([p for p in inside if p != os.getpid()])
    for name in names:
        command("ip", "netns", "delete", name, check=False)
    directory = os.path.join(STATE, str(pid))
    # Counters pages and DPDK's run-time folders, which a killed node leaves, carry the cluster's id.
    with contextlib.suppress(OSError), open(os.path.join(directory, "cluster.yaml"), encoding="ascii") as file:
        match = re.search(r"^ +id: ([0-9a-f]{16})$", file.read(), re.MULTILINE)
        for left in glob.glob(f"/dev/shm/lockstep-{match.group(1)}-*") if match else []:
            with contextlib.suppress(OSError):
                os.unlink(left)
        for left in glob.glob(f"/run/dpdk/lockstep-{match.group(1)}-*") if match else []:
            shutil.rmtree(left, ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)


def clean_dead():
    """Removes what runs left whose process is gone. Returns their pids."""
    found = set()
    with contextlib.suppress(OSError):
        found |= {int(d) for d in os.listdir(STATE) if d.isdigit()}
    for line in command("ip", "netns", "list", check=False).splitlines():
        match = re.match(r"lst(\d+)-", line)
        if match:
            found.add(int(match.group(1)))
    dead = []
    for pid in sorted(found):
        try:
            with open(os.path.join(STATE, str(pid), "start"), encoding="ascii") as file:
                started = file.read().strip()
        except OSError:
            started = None
        now = process_start(pid)
        if now is None or (started is not None and started != now):
            remove_run(pid)
            dead.append(pid)
    return dead


class Network:
    """The namespaces of this process. Use as a context, or call destroy()."""

    def __init__(self, subnet="10.77.0", ctrl_subnet="10.78.0"):
        self.pid = os.getpid()
        self.prefix = f"lst{self.pid}"
        self.subnet, self.ctrl_subnet = subnet, ctrl_subnet
        self.directory = os.path.join(STATE, str(self.pid))
        self.switch = f"{self.prefix}-sw"
        self.ports = {}  # (host, interface) -> port on the switch
        os.makedirs(self.directory, exist_ok=True)
        with open(os.path.join(self.directory, "start"), "w", encoding="ascii") as file:
            file.write(process_start(self.pid))
        command("ip", "netns", "add", self.switch)
        self._quiet(self.switch)
        for bridge in ("br0", "br1"):
            command("ip", "-n", self.switch, "link", "add", bridge, "type", "bridge", "forward_delay", "0", "stp_state",
                    "0", "mcast_snooping", "0")
            command("ip", "-n", self.switch, "link", "set", bridge, "up")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.destroy()

    @staticmethod
    def _quiet(namespace):
        """No IPv6: its own traffic would only blur the counters."""
        command("ip", "netns", "exec", namespace, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1",
                "net.ipv6.conf.default.disable_ipv6=1", check=False)

    def _host(self, name):
        namespace = f"{self.prefix}-{name}"
        command("ip", "netns", "add", namespace)
        self._quiet(namespace)
        command("ip", "-n", namespace, "link", "set", "lo", "up")
        self._plug(name, "eth0", "br0")
        return namespace

    def _plug(self, name, interface, bridge):
        namespace = f"{self.prefix}-{name}"
        port = f"p{len(self.ports) + 1}"
        command("ip", "link", "add", port, "netns", self.switch, "type", "veth", "peer", "name", interface, "netns",
                namespace)
        command("ip", "-n", self.switch, "link", "set", port, "master", bridge, "up")
        command("ip", "-n", namespace, "link", "set", interface, "up")
        self.ports[name, interface] = port

    def add_node(self, number):
        """A namespace whose eth0 has no kernel address; returns (namespace, address for its dataplane, address of its
        control process)."""
        name = f"n{number}"
        namespace = self._host(name)
        self._plug(name, "ctl0", "br1")
        address = f"{self.ctrl_subnet}.{number}"
        command("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", "ctl0")
        return namespace, f"{self.subnet}.{number}", address

    def pull(self, number, interfaces=("eth0", "ctl0"), out=True):
        """Pulls a node's cables at the switch, or plugs them in again. The node sees its own end up all the time."""
        batch = "\n".join(f"link set {self.ports[f'n{number}', i]} {'down' if out else 'up'}" for i in interfaces)
        result = subprocess.run(["ip", "-n", self.switch, "-batch", "-"], input=batch, capture_output=True, text=True,
                                check=False)
        if result.returncode != 0:
            raise NetworkError(f"cables of node {number}: {result.stderr.strip()}")

    def add_client(self, number):
        """A namespace with a kernel address; returns (namespace, address)."""
        namespace = self._host(f"c{number}")
        address = f"{self.subnet}.{100 + number}"
        command("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
        # veth leaves checksums to a device that is not there
        command("ip", "netns", "exec", namespace, "ethtool", "-K", "eth0", "tx", "off")
        return namespace, address

    def destroy(self):
        if self.pid == os.getpid():
            remove_run(self.pid)


@contextlib.contextmanager
def inside(namespace):
    """Sockets made by this thread within the block belong to the namespace, for ever."""
    with open("/proc/thread-self/ns/net", "rb") as here, open(f"/run/netns/{namespace}", "rb") as there:
        if _libc.setns(there.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"entering {namespace}")
        try:
            yield
        finally:
            if _libc.setns(here.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"leaving {namespace}")
