# SPDX-License-Identifier: Apache-2.0
"""Packages of npm in the versions of a lock file, for peers that are written in JavaScript."""
import shutil
import subprocess

from daemon import TOP


def installed(here):
    """The folder of node_modules for here/package.json; npm is asked when the lock file has changed."""
    folder, lock = TOP / "build" / "clients" / here.name, here / "package-lock.json"
    ready = folder / "ready"
    if not ready.exists() or ready.read_text() != lock.read_text():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(here / name, folder)
        done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        ready.write_text(lock.read_text())
    return folder / "node_modules"
