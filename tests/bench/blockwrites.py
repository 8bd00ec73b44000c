#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a message of 100 bytes costs the disk: bytes that reach the block device for one put into a queue and taken out,
and for one that is retained in the place of another, over a thousand topics.

The store works on an ext4 image of its own behind a loop device, whose sector counter also sees what the file system
writes for itself. Needs root. Ends with 1 when a limit is exceeded.
"""
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# what, messages a commit, commits, limit in bytes a message
CASES = (("queued", 1, 2000, 7000), ("queued", 10, 2000, 1500), ("queued", 100, 600, None),
         ("retained", 1, 4000, None), ("retained", 10, 2000, None), ("retained", 100, 600, None))


def run(*command):
    return subprocess.run([str(c) for c in command], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def build(folder):
    run("make", "-C", ROOT, "build/libsluice.a")
    libs = run("pkg-config", "--libs", "libuv", "sqlite3").split()
    program = folder / "blockwrites"
    run(os.environ.get("CC", "cc"), "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-iquote", ROOT / "gateway", "-o", program,
        Path(__file__).with_suffix(".c"), ROOT / "build/libsluice.a", *libs, "-lpthread")
    return program


def sectors_written(device):
    return int((Path("/sys/block") / Path(device).name / "stat").read_text().split()[6])


def measure(program, mount, device, kind, group, commits):
    """Bytes of the disk and microseconds of the processor for a message."""
    with subprocess.Popen([program, mount / f"{kind}-{group}", str(group), str(commits), kind], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as child:
        counts = []
        for word in ("begin", "end"):
            assert child.stdout.readline().strip() == word
            counts.append(sectors_written(device))
            child.stdin.write("\n")
            child.stdin.flush()
        messages, used = map(int, child.stdout.readline().split())
    assert child.returncode == 0
    return (counts[1] - counts[0]) * 512 / messages, used / messages


def main():
    if os.geteuid():
        sys.exit("blockwrites: needs root for a loop device")
    with tempfile.TemporaryDirectory(prefix="sluice-blocks-") as name:
        folder = Path(name)
        program, image, mount = build(folder), folder / "image", folder / "mount"
        mount.mkdir()
        run("truncate", "-s", "256M", image)
        run("mkfs.ext4", "-q", "-F", image)
        device = run("losetup", "--find", "--show", image)
        try:
            # The time of access is no business of the store.
            run("mount", "-o", "noatime", device, mount)
            try:
                too_much = report(program, mount, device)
            finally:
                run("umount", mount)
        finally:
            run("losetup", "-d", device)
    return too_much


def report(program, mount, device):
    too_much = 0
    print("| what     | messages a commit | block bytes a message | bar | processor µs a message |")
    print("|----------|------------------:|----------------------:|----:|-----------------------:|")
    for kind, group, commits, limit in CASES:
        blocks, used = measure(program, mount, device, kind, group, commits)
        too_much |= bool(limit and blocks > limit)
        bar = f"≤ {limit:,} {'✓' if blocks <= limit else '✗'}" if limit else "–"
        print(f"| {kind:8} | {group:17} | {blocks:21,.0f} | {bar} | {used:22.1f} |", flush=True)
    return too_much


if __name__ == "__main__":
    sys.exit(main())
