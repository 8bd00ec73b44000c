#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds with each feature off, and with all of them off; a configuration that asks for one is told which symbol to
# enable.
set -eu
cd "$(dirname "$0")/.."
features=$(sed -n '/^menu "Features"/,/^endmenu/s/^config //p' Kconfig)
folder=build/features
mkdir -p $folder
make="make -s -j$(nproc) WERROR=1 CFLAGS=-O0"

build() { # NAME, then the features that are off
    local name=$1 off
    shift
    cp board/generic/config "$folder/$name.config"
    for off in "$@"; do
        sed -i "s/^CONFIG_$off=y/# CONFIG_$off is not set/" "$folder/$name.config"
    done
    $make CONFIG="$folder/$name.config" O="$folder/$name" all >"$folder/$name.log" 2>&1 ||
        { tail -40 "$folder/$name.log"; echo "features: $name does not build"; exit 1; }
}

refuses() { # NAME, line of a configuration, symbol
    printf 'site = "a";\n%s\n' "$2" >"$folder/$1.conf"
    if "$folder/$1/sluiced" --check "$folder/$1.conf" >"$folder/$1.out" 2>&1 ||
        ! grep -q "$1.conf:2: .*needs $3, which this build lacks" "$folder/$1.out"; then
        cat "$folder/$1.out"
        echo "features: $1 does not say that $2 needs $3"
        exit 1
    fi
}

count=1
build none $features
for feature in $features; do
    build "$feature" "$feature"
    count=$((count + 1))
done
refuses BRIDGE 'bridges = ( { name = "x"; } );' CONFIG_BRIDGE
refuses MODBUS_RTU 'lines = ( { name = "x"; protocol = "modbus-rtu"; port = "/dev/ttyS0"; } );' CONFIG_MODBUS_RTU
refuses MODBUS_SERVER 'modbus_servers = ( { bind = "127.0.0.1:1"; } );' CONFIG_MODBUS_SERVER
refuses MODBUS_TCP 'lines = ( { name = "x"; protocol = "modbus-tcp"; port = "tcp:127.0.0.1"; } );' CONFIG_MODBUS_TCP
refuses MQTT_SN 'lines = ( { name = "x"; protocol = "mqtt-sn"; port = "udp:127.0.0.1:1"; } );' CONFIG_MQTT_SN
refuses SCRAM 'users = ( { name = "a"; scram = "x"; } );' CONFIG_SCRAM
refuses TOKENS 'tokens = { audience = "a"; };' CONFIG_TOKENS
refuses TLS 'listeners = ( { bind = "127.0.0.1:1"; tls = { cert = "a"; key = "b"; }; } );' CONFIG_TLS
refuses WEBSOCKET 'listeners = ( { bind = "127.0.0.1:1"; protocol = "http"; } );' CONFIG_WEBSOCKET
echo "features: $count builds, 7 refusals"
