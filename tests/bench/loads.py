# SPDX-License-Identifier: Apache-2.0
"""Messages through a broker: processor time, rate and latency by rounds, and system calls in runs of their own."""
import time
from dataclasses import dataclass

from brokers import Load, Trace, measure


@dataclass
class Row:
    key: str
    title: str
    args: str
    bar: float = None  # processor time, ours : mosquitto's; None: none, since mosquitto does not do the same
    calls: float = None  # most system calls a message
    rate: int = 0  # messages a second; 0: saturated
    traced_rate: int = 1000  # of a paced row, when traced: so that the tracer does not bunch what arrives
    tls: bool = False


ROWS = [
    Row("fan-in", "QoS 0 fan-in 20→1", "--pubs 20", bar=0.04, calls=0.05),
    Row("fan-in-paced", "QoS 0 fan-in 20→1, 5,000/s", "--pubs 20", bar=0.8, calls=3.2, rate=5000),
    Row("qos1", "QoS 1, 20 pairs, window 20", "--pubs 20 --pairs --qos 1", bar=0.10, calls=0.7),
    Row("qos1-paced", "QoS 1, 20 pairs, 2,000/s", "--pubs 20 --pairs --qos 1", bar=0.8, calls=6.5, rate=2000),
    Row("qos1-durable", "QoS 1, 20 pairs, persistent sessions", "--pubs 20 --pairs --qos 1 --persistent"),
    Row("qos1-durable-paced", "QoS 1, 20 pairs, persistent sessions, 2,000/s",
        "--pubs 20 --pairs --qos 1 --persistent", rate=2000),
    Row("qos2", "QoS 2, 10 pairs, window 20", "--pubs 10 --pairs --qos 2", bar=0.10, calls=1),
    Row("fan-out", "QoS 0 fan-out 1→100", "--subs 100", bar=0.06, calls=0.05),
    Row("fan-out-1000", "QoS 0 fan-out 1→1,000", "--subs 1000", bar=0.06, calls=0.05),
    Row("1k", "QoS 0 one to one, 1 kB", "--size 1024", bar=0.5),
    Row("64k", "QoS 0 one to one, 64 kB", "--size 65536", bar=0.8),
    Row("tls", "QoS 0 one to one, 64 B, TLS", "", bar=1.0, tls=True),
]


def arguments(row, seconds, rate):
    length = seconds * (2 if row.rate else 1)
    return f"{row.args} --seconds {length:.2f}" + (f" --rate {rate}" if rate else "")


def check(row, name, result, faults):
    """Whatever is not delivered once and in order."""
    lost = result["expected"] - result["received"]
    for what, count in (("lost", lost), *((k, result[k]) for k in ("reordered", "repeated", "bad"))):
        if count:
            faults.append(f"{row.title}, {name}: {count} {what}")


def one_round(number, brokers, work, certs, seconds, results, faults):
    for row in ROWS:
        for kind in brokers if number % 2 else brokers[::-1]:
            with kind(work, certs if row.tls else None) as broker:
                r = measure(broker, arguments(row, seconds, row.rate), row.tls)
            check(row, kind.name, r, faults)
            cell = results.setdefault(row.key, {}).setdefault(kind.name, [])
            cell.append({"us": r["cpu_ns"] / 1000 / max(r["received"], 1), "rate": r["received"] / r["seconds"],
                         "p50": r["p50_us"], "p99": r["p99_us"]})


def count_calls(brokers, work, certs, seconds, results):
    """System calls a delivered message, by name."""
    for row in ROWS:
        for kind in brokers:
            with kind(work, certs if row.tls else None) as broker:
                with Load(broker, arguments(row, seconds, row.rate and row.traced_rate), row.tls) as load:
                    time.sleep(0.3)
                    with Trace(broker, work) as trace:
                        received = load.go()["received"]
            results.setdefault(row.key, {})[kind.name] = {n: c / max(received, 1) for n, c in trace.calls.items()}
