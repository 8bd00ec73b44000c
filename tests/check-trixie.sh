#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds Sluice in a Debian 13 of its own and runs the unit tests there. The root stays in build/trixie for the next
# time; it comes from the mirror that this machine's apt uses.
set -eu
cd "$(dirname "$0")/.."
root=$PWD/build/trixie/root

if [ "$(id -u)" -ne 0 ]; then
    echo "check-trixie: needs root for its chroot: sudo make check-trixie" >&2
    exit 1
fi
# What is mounted below goes with the script.
[ "${1:-}" = inside ] || exec unshare --mount --propagation private "$0" inside
command -v mmdebstrap >/dev/null || apt-get -qq -y --no-install-recommends install mmdebstrap debian-archive-keyring

packages="$(tests/install-deps.sh --list demo | paste -sd,),libcmocka-dev"
if [ "$packages" != "$(cat "$root/ready" 2>/dev/null)" ]; then
    mirror=$(apt-get indextargets --format '$(LABEL) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 == "Debian" && $2 == "main" { print $3; exit }')
    if [ -z "$mirror" ]; then
        echo "check-trixie: apt of this machine knows no Debian mirror" >&2
        exit 1
    fi
    rm -rf "$root"
    mkdir -p "${root%/*}"
    mmdebstrap --quiet --mode=root --variant=apt --include="$packages" \
        --keyring=/usr/share/keyrings/debian-archive-keyring.gpg trixie "$root" "$mirror"
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
    echo "$packages" >"$root/ready"
fi

mount -t proc proc "$root/proc"
mount -t devpts -o ptmxmode=0666 devpts "$root/dev/pts"
ln -sfn pts/ptmx "$root/dev/ptmx"
rm -rf "$root/src"
mkdir "$root/src"
git ls-files -co --exclude-standard -z | xargs -0 cp --parents -t "$root/src"
in_root() {
    chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"
}
in_root make -C /src -j"$(nproc)" WERROR=1 all
in_root make -C /src -j"$(nproc)" WERROR=1 SAN=asan unit
echo "check-trixie: Debian $(cat "$root/etc/debian_version"): built, unit tests passed, with" \
    "$(in_root dpkg-query -W -f '${Package} ${Version}, ' libmbedtls-dev libmodbus-dev libconfig-dev libuv1-dev gcc)"
