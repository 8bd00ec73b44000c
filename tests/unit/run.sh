#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs unit test programs: run.sh VARIANT PROGRAM…; shows what fails and ends with one line of counts.
variant=$1
shift
export ASAN_OPTIONS=detect_leaks=1:abort_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1
# ThreadSanitizer's shadow collides with a randomised address space on some kernels.
run=()
[ "$variant" = tsan ] && setarch -R true 2>/dev/null && run=(setarch -R)
programs=0 tests=0 failed=()
for program in "$@"; do
    out=$("${run[@]}" timeout 300 "$program" 2>&1)
    status=$?
    programs=$((programs + 1))
    tests=$((tests + $(grep -c '^\[       OK \]' <<<"$out")))
    if [ $status -ne 0 ]; then
        grep -v -E '^\[( RUN      |       OK )\]' <<<"$out" | head -80
        echo "$program: exit status $status"
        failed+=("${program##*/}")
    fi
done
echo "unit ($variant): $programs programs, $tests tests passed, ${#failed[@]} programs failed${failed:+: ${failed[*]}}"
[ ${#failed[@]} -eq 0 ] && [ "$tests" -gt 0 ]
