# SPDX-License-Identifier: Apache-2.0
"""MQTT.js as npm has it, in the versions of the lock file."""
from pathlib import Path

import npm

HERE = Path(__file__).parent / "mqttjs"


def installed():
    return npm.installed(HERE)
