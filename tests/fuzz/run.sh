#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Feeds each decoder for some seconds: run.sh SECONDS PROGRAM…. What crashes one is kept in build/fuzz/found.
seconds=$1
shift
if [ $# -eq 0 ]; then
    echo "fuzz: no programs"
    exit 1
fi
mkdir -p build/fuzz/found
total=0 failed=()
for program in "$@"; do
    name=${program##*/}
    known=build/fuzz/corpus/$name
    mkdir -p "$known"
    seeds=()
    [ -d "tests/fuzz/corpus/$name" ] && seeds=("tests/fuzz/corpus/$name")
    if ! out=$("$program" -max_total_time="$seconds" -timeout=10 -verbosity=1 -rss_limit_mb=1024 -print_final_stats=1 \
        -artifact_prefix="build/fuzz/found/$name-" "$known" "${seeds[@]}" 2>&1); then
        grep -v "^#" <<<"$out" | tail -40
        failed+=("$name")
    fi
    runs=$(grep -o 'number_of_executed_units: *[0-9]*' <<<"$out" | grep -o '[0-9]*$')
    echo "$name: ${runs:-0} inputs"
    total=$((total + ${runs:-0}))
done
echo "fuzz: $# programs, $seconds s each, $total inputs, ${#failed[@]} failed${failed:+: ${failed[*]}}"
[ ${#failed[@]} -eq 0 ] && [ "$total" -gt 0 ]
