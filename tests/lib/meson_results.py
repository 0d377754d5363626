#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Turns the JSON log of `meson test` into PASS, FAIL and SKIP lines and one log file per test.

usage: meson_results.py LOG.json DIRECTORY

Called by tests/run. The end of a failing test's output is printed below its line, indented.
"""
import json
import os
import re
import sys

TAIL_LINES = 40


def main():
    source, directory = sys.argv[1], sys.argv[2]
    try:
        with open(source, encoding="utf-8", errors="replace") as log:
            tests = [json.loads(line) for line in log if line.strip()]
    except (OSError, ValueError) as error:
        print(f"FAIL {source}: no results of meson: {error}")
        return 1
    if not tests:
        print(f"FAIL {source}: meson ran no test")
        return 1
    for test in tests:
        name = test["name"].split(" ")[-1]
        output = test.get("stdout", "") + test.get("stderr", "")
        path = os.path.join(directory, re.sub(r"[^A-Za-z0-9_.-]+", "_", name) + ".log")
        with open(path, "w", encoding="utf-8") as log:
            log.write(" ".join(test.get("command", [])) + "\n" + output)
        result = test["result"]
        word = {"OK": "PASS", "EXPECTEDFAIL": "PASS", "SKIP": "SKIP"}.get(result, "FAIL")
        reason = "" if word == "PASS" else f" ({result.lower()}, exit status {test.get('returncode')})"
        print(f"{word} {name} {test['duration']:.2f} s{reason}")
        if word == "FAIL":
            for line in output.splitlines()[-TAIL_LINES:]:
                print("    " + line)
            print(f"    whole output: {path}")
        elif word == "SKIP":
            for line in output.splitlines()[-3:]:
                print("    " + line)
    return 0


sys.exit(main())
