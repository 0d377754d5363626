#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""A front end as a process of its own, to be killed: opens a session, sends one request, tells its lines as it goes.

usage: handler.py CLUSTER-ID KEY before|during|after NODE-IP...

`session SESSION SLOT` when it has one; with `during`: `sent`, and it never looks for the answer; with `after`:
`done SEQ`. Then it waits to be killed.
"""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
sys.dont_write_bytecode = True
import wire  # pylint: disable=wrong-import-position


def main():
    cluster, key, moment, *nodes = sys.argv[1:]
    client = wire.PlainClient(int(cluster), nodes)
    operation = wire.kv_op(wire.KV_INCR, key.encode(), argument=1)
    client.open()
    print("session", client.session, client.slot, flush=True)
    if moment == "during":
        client.send_request(operation, 1)
        print("sent", flush=True)
    elif moment == "after":
        print("done", client.mutate(operation, number=1).seq, flush=True)
    signal.pause()


main()
