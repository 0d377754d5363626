# SPDX-License-Identifier: BSD-3-Clause
"""Failures of one kind each, one function each; matrix.py has who fails during what. From the usual to the strange."""
import signal

from cluster import CTRL


def on(**options):
    """The cluster that a phase wants."""
    def mark(function):
        function.cluster = options
        return function
    return mark


# ---- the sequencer ----

def phase_sequencer_dataplane_killed(b):
    """kill -9 of the sequencer's dataplane while requests are under way"""
    b.hurt(b.cluster.kill_dataplane, b.sequencer)
    b.new_sequencer()


def phase_sequencer_node_killed(b):
    """both processes killed and the cables pulled; later the node comes back by itself"""
    b.hurt(b.cluster.kill_node, b.sequencer)
    b.new_sequencer()
    b.pause(0.3)
    b.cluster.restore_node(b.sequencer)


def phase_sequencer_hung(b):
    """the sequencer's dataplane stopped for 400 ms"""
    b.hurt(b.freeze, b.sequencer)
    b.new_sequencer()
    b.pause(0.3)
    b.thaw(b.sequencer)


def phase_sequencer_paused_briefly(b):
    """stopped for 10 ms, shorter than any time-out"""
    b.hurt(b.freeze, b.sequencer)
    b.pause(0.01)
    b.thaw(b.sequencer)


def phase_sequencer_cut_off(b):
    """all cables of the sequencer's node pulled for a second; both processes live"""
    b.hurt(b.cluster.network.pull, b.sequencer)
    b.new_sequencer()
    b.pause(0.5)
    b.cluster.network.pull(b.sequencer, out=False)


def phase_sequencer_data_network_cut(b):
    """only the data cable pulled: control still talks"""
    b.hurt(b.cluster.network.pull, b.sequencer, ("eth0",))
    b.new_sequencer()
    b.pause(0.5)
    b.cluster.network.pull(b.sequencer, ("eth0",), out=False)


def phase_sequencer_deaf(b):
    """one way: nothing reaches the sequencer from the other members"""
    b.hurt(b.cluster.fault, b.sequencer, cut_in=b.followers)
    b.new_sequencer()
    b.pause(0.3)
    b.cluster.fault(b.sequencer)


def phase_sequencer_moved(b):
    """planned: the sequencer is moved on request"""
    b.hurt(b.lockstep, b.sequencer, "sequencer", "move", b.follower)
    b.new_sequencer()


def phase_sequencer_killed_twice(b):
    """the new sequencer is killed as well, as soon as the first is back"""
    for turn in ("first", "second"):
        b.case(turn)
        b.hurt(b.cluster.kill_dataplane, b.sequencer)
        b.new_sequencer()


# ---- control alone ----

def phase_sequencer_ctrl_killed(b):
    """the sequencer's control process alone: nobody should notice; a new one takes over"""
    b.hurt(b.cluster.kill_ctrl, b.sequencer)
    b.pause(0.5)
    b.cluster.start_node(b.sequencer)


def phase_follower_ctrl_killed(b):
    """a follower's control process alone"""
    b.hurt(b.cluster.kill_ctrl, b.follower)
    b.pause(0.5)
    b.cluster.start_node(b.follower)


def phase_every_ctrl_killed(b):
    """all control processes at once: the dataplanes serve on"""
    for number in b.cluster.nodes:
        b.hurt(b.cluster.kill_ctrl, number)
    b.pause(0.5)
    for number in b.cluster.nodes:
        b.cluster.start_node(number)


def phase_ctrl_network_cut(b):
    """the control network is down between all nodes for a second: no election"""
    for number in b.cluster.nodes:
        b.hurt(b.cluster.network.pull, number, ("ctl0",))
    b.pause(1.0)
    for number in b.cluster.nodes:
        b.cluster.network.pull(number, ("ctl0",), out=False)


def phase_sequencer_killed_while_its_ctrl_is_dead(b):
    """control first, then the dataplane: found by silence alone"""
    b.cluster.kill_ctrl(b.sequencer)
    b.hurt(b.cluster.kill_dataplane, b.sequencer)
    b.new_sequencer()
    b.cluster.start_node(b.sequencer)


def phase_sequencer_ctrl_hung(b):
    """the sequencer's control process stopped for half a second"""
    b.hurt(b.freeze, b.sequencer, CTRL)
    b.pause(0.5)
    b.thaw(b.sequencer, CTRL)


# ---- followers ----

def phase_follower_dataplane_killed(b):
    """kill -9 of a follower's dataplane"""
    b.hurt(b.cluster.kill_dataplane, b.follower)


def phase_follower_node_killed(b):
    """both processes of a follower and its cables"""
    b.hurt(b.cluster.kill_node, b.follower)
    b.pause(0.5)
    b.cluster.restore_node(b.follower)


def phase_follower_hung(b):
    """a follower's dataplane stopped for 300 ms"""
    b.hurt(b.freeze, b.follower)
    b.pause(0.3)
    b.thaw(b.follower)


def phase_follower_cut_off(b):
    """a follower's cables pulled for a second"""
    b.hurt(b.cluster.network.pull, b.follower)
    b.pause(1.0)
    b.cluster.network.pull(b.follower, out=False)


def phase_follower_mute(b):
    """one way: nothing of a follower reaches the others"""
    b.hurt(b.cluster.fault, b.follower, cut_out=[n for n in b.cluster.nodes if n != b.follower])
    b.pause(0.7)
    b.cluster.fault(b.follower)


def phase_followers_rolling(b):
    """every dataplane is killed once, each as soon as the one before is back"""
    for number in [*b.followers, b.sequencer]:
        b.case(f"node {number}")
        b.hurt(b.cluster.kill_dataplane, number)
        b.whole()


@on(log_size="8MiB", options={"limits": {"op_max": "64KiB"}})
def phase_follower_left_behind(b):
    """cut off for so long that every log has passed it: it needs a checkpoint"""
    b.hurt(b.cluster.network.pull, b.follower)
    b.fill(12)
    b.cluster.network.pull(b.follower, out=False)


# ---- elections ----

@on(nodes=5)
def phase_election_candidate_killed(b):
    """of five: the sequencer's dataplane, and right after it the next in line's"""
    b.hurt(b.cluster.kill_dataplane, b.sequencer)
    b.pause(0.003)
    b.cluster.kill_dataplane(b.follower)
    b.new_sequencer()


@on(nodes=5)
def phase_two_of_five_nodes_killed(b):
    """of five: the sequencer's node and a follower's at once"""
    b.hurt(b.cluster.kill_node, b.sequencer)
    b.cluster.kill_node(b.follower)
    b.new_sequencer()
    b.cluster.restore_node(b.sequencer)
    b.cluster.restore_node(b.follower)


def phase_no_majority_for_a_second(b):
    """both followers cut off: nothing is acknowledged, nothing lost"""
    for number in b.followers:
        b.hurt(b.cluster.network.pull, number)
    b.pause(1.0)
    for number in b.followers:
        b.cluster.network.pull(number, out=False)


# ---- clients ----

def phase_client_killed(b):
    """a client dies in the middle of its requests"""
    cluster = b.cluster
    child = cluster.spawn_client([f"{cluster.build}/perf/lockstep-perf", "--config", cluster.config, "--seconds", "30",
                                  "--quiet", "--window", "32", "--json", "/dev/null"], client=1)
    b.pause(0.5)
    b.hurt(child.send_signal, signal.SIGKILL)
    child.wait()


# ---- memory ----

@on(options={"scrub": "2s"})
def phase_bit_flipped(b):
    """a bit of a follower's state flips: the scrub or a digest finds it, the replica is rebuilt"""
    incarnation = b.cluster.status(b.follower)["incarnation"]
    b.hurt(b.lockstep, b.follower, "fault", "add", "flip")
    b.cluster.wait("the damaged replica to be rebuilt",
                   lambda: b.cluster.status(b.follower)["incarnation"] != incarnation, 40)


def phase_majority_restarted_in_turn(b):
    """node after node is stopped in order and started again, as an upgrade does it"""
    for number in sorted(b.cluster.nodes):
        b.case(f"node {number}")
        b.hurt(b.cluster.stop_node, number)
        b.cluster.start_node(number)
        b.whole()
