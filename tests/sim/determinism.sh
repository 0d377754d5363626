#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The same seeds must give the same traces: one process for all (memory used before), two processes (each sees half of
# them), one process for each (memory fresh). Given several builds of the simulator, all of them must agree as well.
set -euo pipefail
seeds=${SEEDS:-1..60}

expected=
for sim in "$@"; do
    together=$("$sim" --seeds "$seeds" --print-hash --quiet | sort -n)
    halves=$("$sim" --seeds "$seeds" --print-hash --quiet --jobs 2 | sort -n)
    alone=$(for ((seed = ${seeds%%.*}; seed <= ${seeds##*.}; seed += 7)); do
        "$sim" --seed "$seed" --print-hash --quiet
    done)
    if [[ $together != "$halves" ]]; then
        echo "$sim: traces depend on which seeds ran before:"
        diff <(echo "$together") <(echo "$halves") || true
        exit 1
    fi
    while read -r line; do
        if ! grep -qxF "$line" <<<"$together"; then
            echo "$sim: seed and trace hash \"$line\" alone, but together with others:"
            grep "^${line%% *} " <<<"$together"
            exit 1
        fi
    done <<<"$alone"
    expected=${expected:-$together}
    if [[ $together != "$expected" ]]; then
        echo "$sim and $1 give different traces:"
        diff <(echo "$expected") <(echo "$together") || true
        exit 1
    fi
done
echo "$(wc -l <<<"$expected") seeds, $# builds: the same traces"
