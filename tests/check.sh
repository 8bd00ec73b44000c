#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# All that `make check` does, one step after the other; goes on after a failure and ends with what failed.
cd "$(dirname "$0")/.." || exit
unset MAKEFLAGS MAKELEVEL MFLAGS
make="make -j$(nproc) WERROR=1"
python="/usr/bin/python3 -m pytest -q -p no:cacheprovider"
failed=()

step() {
    local name=$1 begin=$SECONDS
    shift
    echo "== $name"
    if "$@"; then
        echo "== $name: passed in $((SECONDS - begin)) s"
    else
        echo "== $name: FAILED after $((SECONDS - begin)) s"
        failed+=("$name")
    fi
}

# -s: a run of chance prints its seed, passed or not.
suite() {
    [ ! -d "tests/$1" ] || step "$1" $python -s "tests/$1"
}

step "packages" tests/install-deps.sh check
step "build with gcc" $make all
step "build with clang" $make CC=clang all
step "build without each feature" tests/features.sh
step "lint" $make lint
step "page of conformance" /usr/bin/python3 tests/lint/conformance.py --page
step "unit tests, ASan and UBSan" $make SAN=asan unit
step "unit tests, TSan" $make SAN=tsan unit
step "fuzzing" $make SECONDS_EACH=5 fuzz
step "first configuration" build/sluiced --check rootfs/overlay/etc/sluice/sluice.conf
suite proto
suite clients
suite model
suite field
suite serial
suite mqttsn
suite durability
echo "check: ${#failed[@]} steps failed in $SECONDS s${failed:+:}$(printf ' [%s]' "${failed[@]}")"
[ ${#failed[@]} -eq 0 ]
