# SPDX-License-Identifier: BSD-3-Clause
"""Who fails, during what, and when: before, while and after it happens. Each phase is one victim at one event, all
moments one after the other, each with a line of its own in the table."""
import contextlib
import os
import subprocess
import sys

import wire
from bench import AWAY
from cluster import DATAPLANE, ClusterError

HERE = os.path.dirname(os.path.abspath(__file__))
PARTS = ("dataplane", "ctrl", "node")
TIMEOUT_S = 60


class Victim:
    """A node's dataplane, its control process, or all of it with its cables."""

    def __init__(self, bench, number, part):
        self.bench, self.number, self.part = bench, number, part
        self.hurt = False

    def ready(self):
        """A function that kills it at once."""
        self.hurt = True
        return self.bench.cluster.killer(self.number, self.part)

    def fail(self):
        self.bench.hurt(self.ready())

    def heal(self, after=0.1):
        """What a dataplane needs its control process does by itself."""
        if self.hurt and self.part != "dataplane":
            self.bench.pause(after)
            if self.part == "ctrl":
                self.bench.cluster.start_node(self.number)
            else:
                self.bench.cluster.restore_node(self.number)
        self.hurt = False


# ---- a request ----

def expect(condition, text):
    if not condition:
        raise ClusterError(text)


def check_once(client, key, seq):
    """The same request again, at another node too, is answered as the first time, and was executed once."""
    operation = wire.kv_op(wire.KV_INCR, key, argument=1)
    for _ in client.nodes:
        client.at = (client.at + 1) % len(client.nodes)
        again = client.mutate(operation, number=1, timeout=TIMEOUT_S)
        expect(again.status == wire.STATUS_OK and again.seq == seq,
               f"request 1 again: status {again.status}, seq {again.seq}; the first time it was {seq}")
    status, value, _ = client.get(key, timeout=TIMEOUT_S)
    expect((status, value) == (wire.STATUS_OK, b"1"), f"the counter is {value!r} (status {status}), asked for once")


def request(b, number_of, part):
    for moment in ("before", "during", "after"):
        b.case(f"{moment} a request")
        victim = Victim(b, number_of(b), part)
        key = os.urandom(8).hex().encode()
        operation = wire.kv_op(wire.KV_INCR, key, argument=1)
        with contextlib.closing(b.client(b.sequencer)) as client:
            client.open()
            if moment == "before":
                victim.fail()
            elif moment == "during":
                client.send_request(operation, 1)
                victim.fail()
                client.at = (client.at + 1) % len(client.nodes)  # it tries elsewhere
            seq = client.mutate(operation, number=1, timeout=TIMEOUT_S).seq
            if moment == "after":
                victim.fail()
            check_once(client, key, seq)
        victim.heal()


def phase_handler_at_request(b):
    """a front end is killed, and another one takes over its session at another node"""
    for moment in ("before", "during", "after"):
        b.case(f"{moment} a request")
        key = os.urandom(8).hex()
        nodes = [b.cluster.nodes[n].ip for n in (b.sequencer, *b.followers)]
        child = b.cluster.spawn_client([sys.executable, os.path.join(HERE, "handler.py"), str(b.cluster.cluster_id), key,
                                        moment, *nodes], stdout=subprocess.PIPE, text=True)
        words = child.stdout.readline().split()
        expect(words[:1] == ["session"], f"handler.py says {words}")
        last = child.stdout.readline().split() if moment != "before" else []
        b.hurt(child.kill)
        child.wait()
        child.stdout.close()
        with contextlib.closing(b.client(b.follower)) as client:
            client.session, client.slot = map(int, words[1:])
            seq = client.mutate(wire.kv_op(wire.KV_INCR, key.encode(), argument=1), number=1, timeout=TIMEOUT_S).seq
            expect(moment != "after" or seq == int(last[1]), f"executed twice: seq {last[1:]}, then {seq}")
            check_once(client, key.encode(), seq)


# ---- a checkpoint ----

def checkpoint_runs(b, number):
    with contextlib.suppress(*AWAY):
        return b.cluster.status(number)["checkpoint"] is not None
    return False


def checkpoint(b, number_of, part):
    for moment in ("before", "during", "after"):
        b.case(f"{moment} a checkpoint")
        victim = Victim(b, number_of(b), part)
        at = victim.number
        if moment == "during":
            child = b.lockstep_start(at, "checkpoint", "create")
            b.cluster.wait("a checkpoint under way", lambda: child.poll() is not None or checkpoint_runs(b, at), 30, 0.002)
            victim.fail()
            victim.heal()
            b.lockstep_end(child)
        elif moment == "before":
            victim.fail()
            victim.heal()
        b.insist("a checkpoint", None, "checkpoint", "create", at=at)
        if moment == "after":
            victim.fail()
            victim.heal()
        b.whole()
        b.checkpoints_verify(at)


# ---- a change of membership ----

def membership(b, number_of, part):
    """One spare node comes and goes, as an operator does it who gives commands again until they are done."""
    cluster = b.cluster
    new = b.join()

    def victim():
        return Victim(b, number_of(b) or new, part)

    b.case("before an addition")
    cluster.enter(new)
    hurt = victim()
    hurt.fail()
    hurt.heal()
    b.member_add(new)

    b.case("during a removal")
    hurt = victim()
    child = b.lockstep_start(b.sequencer, "member", "remove", new)
    b.pause(0.005)
    # the leaver's dataplane may have been stopped by then
    with contextlib.suppress(ClusterError) if hurt.number == new else contextlib.nullcontext():
        hurt.fail()
    hurt.heal()
    b.lockstep_end(child)
    b.member_remove(new)

    b.case("during an addition")
    hurt = victim()
    cluster.enter(new)
    child = b.lockstep_start(b.sequencer, "member", "add", *cluster.member_arguments(new))
    cluster.wait("the addition", lambda: child.poll() is not None or cluster.is_member(new), 30, 0.002)
    cluster.wait(f"node {new}'s dataplane", lambda: cluster.pids(new, DATAPLANE), 30, 0.002)
    hurt.fail()
    hurt.heal()
    b.lockstep_end(child)
    b.member_add(new)

    b.case("after an addition")
    hurt = victim()
    hurt.fail()
    hurt.heal()

    b.case("after a removal")
    hurt = victim()
    b.member_remove(new)
    if hurt.number != new:
        hurt.fail()
        hurt.heal()
    b.whole()
    cluster.enter(new)
    cluster.forget(new)


# ---- an election ----

def election(b, number_of, part):
    """Of five nodes the sequencer's dataplane is killed; the victim is another node. An election takes some 2 to 10 ms."""
    for moment in ("before", "1 ms into", "3 ms into", "6 ms into", "after"):
        b.case(f"{moment} an election")
        victim = Victim(b, number_of(b), part)
        strike = victim.ready()
        begin = b.cluster.killer(b.sequencer, "dataplane")
        if moment == "before":
            strike()
        b.hurt(begin)
        if moment == "after":
            new = b.new_sequencer()
            if victim.number == b.follower and new != victim.number:
                victim.number = new  # it was in line first, and another one was elected
                strike = victim.ready()
        elif moment != "before":
            b.pause(int(moment[0]) / 1000)
        if moment != "before":
            strike()
        b.cluster.wait("a sequencer", b.cluster.sequencer, 60, 0.01)
        b.note()
        victim.heal()
        b.whole()


# ---- all of them ----

def sequencer(b):
    return b.sequencer


def follower(b):
    return b.follower


def last_follower(b):
    return b.followers[-1]


def newcomer(_b):
    return None


EVENTS = (
    ("request", request, (("sequencer", sequencer), ("follower", follower)), {}),
    ("checkpoint", checkpoint, (("sequencer", sequencer), ("follower", follower)), {}),
    ("membership", membership, (("sequencer", sequencer), ("follower", follower), ("learner", newcomer)),
     {"spares": 9}),
    ("election", election, (("candidate", follower), ("bystander", last_follower)), {"nodes": 5}),
)


def _phase(event, victim, number_of, part, options):
    def phase(b):
        event(b, number_of, part)
    what = {"dataplane": "dataplane", "ctrl": "control process", "node": "whole node"}[part]
    phase.__doc__ = f"the {victim}'s {what} is killed: before, during and after"
    phase.cluster = options
    return phase


def find():
    """[(name, function)]"""
    found = [("handler-at-request", phase_handler_at_request)]
    for name, event, victims, options in EVENTS:
        for victim, number_of in victims:
            for part in PARTS:
                found.append((f"{victim}-{part}-at-{name}", _phase(event, victim, number_of, part, options)))
    return found
