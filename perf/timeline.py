#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Completed operations over time, with what happened marked: as text, and as SVG by gnuplot.

The input is what `lockstep-perf --timeline FILE` writes. Marks are (time, text) with times of the monotonic clock, ns.

usage: perf/timeline.py FILE [--svg FILE] [--mark SECONDS=TEXT]...
"""
import argparse
import json
import shutil
import subprocess
import sys

BLOCKS = " ▁▂▃▄▅▆▇█"
PAUSES_TOLD = 8  # in the text: the longest


def load(path):
    with open(path, encoding="ascii") as file:
        return json.load(file)


def seconds(timeline, at_ns):
    return (at_ns - timeline["begin_ns"]) / 1e9


def pauses(timeline, least_ms=10.0):
    """Stretches in which not one client completed anything: [(from s, to s)], the common part of all threads' pauses."""
    threads = timeline["threads"]
    edges = []
    for _, start, end in timeline["pauses"]:
        edges += [(start, 1), (end, -1)]
    found, paused, since = [], 0, 0
    for at, step in sorted(edges):
        if step == 1 and paused == threads - 1:
            since = at
        elif step == -1 and paused == threads and at - since >= least_ms * 1e6:
            found.append((seconds(timeline, since), seconds(timeline, at)))
        paused += step
    return found


def window(timeline, start_s, end_s):
    """The completions of [start, end), one number a stretch; and where it begins."""
    bucket = timeline["bucket_ns"] / 1e9
    first = max(0, int(start_s / bucket))
    last = min(len(timeline["completed"]), int(end_s / bucket) + 1)
    return timeline["completed"][first:last], first * bucket


def text(timeline, marks, start_s, end_s, width=100):
    """Lines: one column a stretch of 10 ms (or several), a letter under each mark, and what the letters mean."""
    counts, begin = window(timeline, start_s, end_s)
    each = max(1, -(-len(counts) // width))
    columns = [sum(counts[i:i + each]) for i in range(0, len(counts), each)]
    most = max(columns, default=0) or 1
    step = each * timeline["bucket_ns"] / 1e9
    bars = "".join(BLOCKS[0 if c == 0 else 1 + min(7, int(7 * c / most))] for c in columns)
    under = [" "] * len(columns)
    legend = []
    for i, (at, what) in enumerate(marks):
        column = int((seconds(timeline, at) - begin) / step)
        if 0 <= column < len(columns):
            under[column] = chr(ord("a") + i % 26)
            legend.append(f"{chr(ord('a') + i % 26)} {seconds(timeline, at):.2f} s {what}")
    lines = [f"  completed operations, {step * 1000:.0f} ms a column, highest {most}", "  |" + bars + "|",
             "   " + "".join(under)]
    lines += ["   " + entry for entry in legend]
    shown = [(start, end) for start, end in pauses(timeline) if start_s <= start <= end_s]
    longest = sorted(shown, key=lambda p: p[0] - p[1])[:PAUSES_TOLD]
    lines += [f"   pause of {1000 * (end - start):.0f} ms at {start:.2f} s" for start, end in sorted(longest)]
    if len(shown) > len(longest):
        lines.append(f"   and {len(shown) - len(longest)} shorter ones")
    return lines


def svg(timeline, marks, start_s, end_s, path):
    """Draws it with gnuplot. Raises RuntimeError where that fails."""
    if shutil.which("gnuplot") is None:
        raise RuntimeError("gnuplot is not installed: drivers-config/install-packages.sh brings it")
    counts, begin = window(timeline, start_s, end_s)
    bucket = timeline["bucket_ns"] / 1e9
    script = [
        "set terminal svg size 1200,420 font 'sans,12' background '#ffffff'", f"set output '{path}'",
        "set xlabel 'seconds'", "set ylabel 'completed operations per 10 ms'", "set yrange [0:*]", "set grid ytics",
        f"set xrange [{begin}:{begin + len(counts) * bucket}]", "unset key", "set style fill solid 0.6 noborder",
    ]
    for i, (at, what) in enumerate(marks):
        x = seconds(timeline, at)
        if begin <= x <= begin + len(counts) * bucket:
            words = what.replace("\\", "").replace("'", "").replace('"', "")
            script.append(f"set arrow from {x}, graph 0 to {x}, graph 1 nohead lc rgb '#c03030'")
            script.append(f"set label '{words}' at {x}, graph {0.97 - 0.06 * (i % 3)} offset 0.5,0 tc rgb '#c03030'")
    for i, (start, end) in enumerate(pauses(timeline)):
        script.append(f"set object {i + 1} rectangle from {start}, graph 0 to {end}, graph 1 fc rgb '#f0b0b0' fs solid noborder behind")
    script.append("plot '-' using 1:2 with boxes lc rgb '#3060a0'")
    script += [f"{begin + (i + 0.5) * bucket} {count}" for i, count in enumerate(counts)] + ["e"]
    result = subprocess.run(["gnuplot"], input="\n".join(script) + "\n", capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"gnuplot: {result.stderr.strip()[:300]}")


def main():
    parser = argparse.ArgumentParser(description="Completed operations over time.")
    parser.add_argument("file", help="as lockstep-perf --timeline wrote it")
    parser.add_argument("--svg")
    parser.add_argument("--mark", action="append", default=[], help="SECONDS=TEXT, seconds from the beginning")
    options = parser.parse_args()
    timeline = load(options.file)
    marks = []
    for mark in options.mark:
        at, _, what = mark.partition("=")
        marks.append((timeline["begin_ns"] + int(float(at) * 1e9), what))
    end = len(timeline["completed"]) * timeline["bucket_ns"] / 1e9
    print("\n".join(text(timeline, marks, 0, end)))
    if options.svg:
        svg(timeline, marks, 0, end, options.svg)
    return 0


if __name__ == "__main__":
    sys.exit(main())
