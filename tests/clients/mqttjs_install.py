# SPDX-License-Identifier: Apache-2.0
"""MQTT.js as npm has it, in the versions of the lock file."""
import shutil
import subprocess
from pathlib import Path

from daemon import TOP

HERE = Path(__file__).parent / "mqttjs"


def installed():
    """The folder of node_modules; npm is asked when the lock file has changed."""
    folder, lock = TOP / "build" / "clients" / "mqttjs", HERE / "package-lock.json"
    ready = folder / "ready"
    if not ready.exists() or ready.read_text() != lock.read_text():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder)
        done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        ready.write_text(lock.read_text())
    return folder / "node_modules"
