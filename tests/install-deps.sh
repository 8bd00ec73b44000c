#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Debian packages that Sluice needs: install-deps.sh [--list] [build|demo|bench|check]; each set holds the one before it.
# Installs what is missing, with sudo when not root; --list only prints.
set -eu

build="gcc make libc6-dev pkg-config libuv1-dev libsqlite3-dev libmbedtls-dev libserialport-dev libmodbus-dev
    libconfig-dev libcjson-dev libgsasl-dev libhttp-parser-dev libwslay-dev"
demo="openssl python3"
bench="mosquitto strace mount util-linux e2fsprogs libcmocka-dev python3-paho-mqtt"
check="git clang clang-format libclang-rt-dev llvm binutils python3-pytest python3-kconfiglib
    python3-pymodbus python3-serial python3-serial-asyncio python3-scapy mosquitto-clients libmosquitto-dev
    libpaho-mqtt-dev mbpoll socat tshark chromium qemu-system-x86 qemu-system-arm gcc-aarch64-linux-gnu
    libc6-dev-arm64-cross busybox-static cpio kmod systemd"
# Node comes from many places, npm with it.
command -v node >/dev/null || check="$check nodejs"
command -v npm >/dev/null || check="$check npm"

list=
if [ "${1:-}" = --list ]; then
    list=yes
    shift
fi
case ${1:-build} in
build) wanted="$build" ;;
demo) wanted="$build $demo" ;;
bench) wanted="$build $demo $bench" ;;
check) wanted="$build $demo $bench $check" ;;
*) echo "install-deps.sh: \"$1\" is none of: build, demo, bench, check" >&2 && exit 2 ;;
esac
[ -n "$list" ] && printf '%s\n' $wanted && exit

if ! command -v dpkg-query apt-get >/dev/null; then
    echo "install-deps.sh: no Debian; install what these packages hold and go on with make:" $wanted >&2
    exit 1
fi
missing=()
for package in $wanted; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "install-deps.sh: neither root nor sudo; have an administrator run: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
echo "installing with apt-get: ${missing[*]}" | fold -s -w 96
"${as_root[@]}" apt-get -qq update
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}" >/dev/null
