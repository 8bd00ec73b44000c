# SPDX-License-Identifier: Apache-2.0
"""Tables of what was measured: for the terminal, and between the markers of docs/benchmarks.md."""
import re
from dataclasses import dataclass
from statistics import median

from loads import ROWS

OURS, PEER = "sluiced", "mosquitto"


def table(head, rows):
    """Markdown whose columns line up, or "" without rows. The first column is text, the others are figures."""
    if not rows:
        return ""
    rows = [[str(c) for c in r] for r in [head, *rows]]
    widths = [max(3, *(len(r[i]) for r in rows)) for i in range(len(head))]
    lines = ["| " + " | ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths))) + " |"
             for r in rows]
    lines.insert(1, "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|")
    return "\n".join(lines)


def figure(x):
    """Three digits that matter."""
    if x is None:
        return "–"
    if x >= 100 or x == 0:
        return f"{x:,.0f}"
    return f"{x:.1f}" if x >= 10 else f"{x:.2f}" if x >= 1 else f"{x:.3f}"


def median_least(values):
    return f"{figure(median(values))} ({figure(min(values))})"


def verdict(value, limit):
    """≤ limit, and whether it holds."""
    if limit is None:
        return "–"
    return f"≤ {limit:g} {'✓' if value <= limit else '✗'}"


def ratio(ours, peer):
    """Of the rounds, each against its neighbour of the same round."""
    return median(a / b for a, b in zip(ours, peer) if b)


def loads(results):
    rows = []
    for row in ROWS:
        if row.key not in results["loads"]:
            continue
        ours, peer = (results["loads"][row.key][n] for n in (OURS, PEER))
        r = ratio([x["us"] for x in ours], [x["us"] for x in peer])
        rates = ["" if row.rate else f"{median(x['rate'] for x in side) / 1000:,.0f}k" for side in (ours, peer)]
        rows.append([row.title, median_least([x["us"] for x in ours]), median_least([x["us"] for x in peer]), f"{r:.3f}",
                     verdict(r, row.bar), *rates])
    return table(["load", "sluiced, µs", "mosquitto, µs", "ratio", "bar", "sluiced, msg/s", "mosquitto, msg/s"], rows)


def calls(results):
    def named(cell):
        top = sorted(((c, n) for n, c in cell.items() if c >= 0.005), reverse=True)[:5]
        return ", ".join(f"{figure(c)} {n}" for c, n in top)

    rows = []
    for row in ROWS:
        if row.key not in results["calls"]:
            continue
        ours, peer = (results["calls"][row.key][n] for n in (OURS, PEER))
        total = sum(ours.values())
        title = row.title if not row.rate else re.sub(r"[\d,]+/s", f"{row.traced_rate:,}/s", row.title)
        rows.append([title, figure(total), figure(sum(peer.values())), verdict(total, row.calls), named(ours)])
    return table(["load", "sluiced", "mosquitto", "bar", "which, of sluiced"], rows)


def latency(results):
    rows = []
    for row in ROWS:
        if not row.rate or row.key not in results["loads"]:
            continue
        sides = [results["loads"][row.key][n] for n in (OURS, PEER)]
        rows.append([row.title, *(f"{median(x['p50'] for x in s):,.0f}" for s in sides),
                     *(median_least([x["p99"] for x in s]) for s in sides)])
    return table(["µs", "p50 sluiced", "p50 mosquitto", "p99 sluiced: median (least)", "p99 mosquitto"], rows)


@dataclass
class Held:
    title: str
    key: str
    unit: float = 1  # what the figure is divided by
    most: float = None  # bar, in the shown unit
    share: float = None  # bar, of mosquitto's

    def judge(self, ours, peer):
        """The bar and whether it holds."""
        if self.most is not None:
            return verdict(median(ours) / self.unit, self.most)
        if self.share is not None:
            return f"{verdict(ratio(ours, peer), self.share)} of mosquitto's"
        return "–"


STORES = [
    Held("empty: anonymous memory (RssAnon), MiB", "empty_anon", 1 << 20, most=1.2),
    Held("empty: VmRSS, MiB", "empty_rss", 1 << 20, most=6),
    Held("empty: wake-ups in 60 idle seconds", "wakeups", most=0),
    Held("empty: processor µs a second", "idle_us"),
    Held("idle connection, subscribed to one filter for all, B", "connection", most=1000),
    Held("idle connection, subscribed to a filter of its own, B", "own_connection", most=1000),
    Held("idle TLS connection, subscribed to a filter of its own, B", "tls_connection", most=42000),
    Held("connect and subscribe, processor µs", "connection_us"),
    Held("the same with TLS, processor µs", "tls_connection_us"),
    Held("retained 64-byte message, B", "retained", most=420),
    Held("retained: store, processor µs", "store_us", share=0.2),
    Held("retained: replay, processor µs", "replay_us", share=0.5),
    Held("queued 64-byte message, B", "queued", most=360),
    Held("queued 64-byte message of a session that is away, B", "queued_away", most=360),
    Held("queue for a session that is away, processor µs", "queue_us"),
    Held("one of 1,000,000 subscriptions, B", "subscription"),
    Held("subscribe, processor µs a filter", "subscribe_us"),
    Held("publish that matches none of 10 others, processor µs", "other_few"),
    Held("publish that matches none of 1,000,000 others, processor µs", "other_many"),
    Held("the same in the tree of the 10, processor µs", "inside_few"),
    Held("the same in the tree of the 1,000,000, processor µs", "inside_many"),
    Held("publish that matches one of 1,000,000, processor µs", "match_many"),
    Held("200 MB at QoS 0 to three: most memory, payloads", "large_qos0", most=1.1),
    Held("200 MB at QoS 1 to three durable sessions: most memory, payloads", "large_qos1", most=1.1),
]


def stores(results):
    rows = []
    ours, peer = results["stores"].get(OURS, {}), results["stores"].get(PEER, {})
    for held in STORES:
        if held.key not in ours:
            continue
        a, b = ours[held.key], peer.get(held.key, [])
        shown = [figure(median(v) / held.unit if v else None) for v in (a, b)]
        rows.append([held.title, *shown, held.judge(a, b)])
    return table(["", "sluiced", "mosquitto", "bar"], rows)


BACKLOG = [
    ("put in, processor µs a message", "put_us", 1), ("put in, messages a second", "put_rate", 1),
    ("on disk, MB", "disk", 1e6), ("stop, s", "stop", 1), ("start until it listens, s", "start", 1),
    ("read from disk for it, MB", "read", 1e6), ("queue rows visited for it", "rows", 1),
    ("most memory (VmHWM) of the start, MB", "start_hwm", 1e6), ("most memory (VmHWM) of draining, MB", "drain_hwm", 1e6),
    ("drain, processor µs a message", "drain_us", 1), ("drain, messages a second", "drain_rate", 1),
]


def backlog(results):
    sides = [results["stores"].get(n, {}) for n in (OURS, PEER)]
    if "large_start" not in sides[0]:
        return ""
    rows = []
    for title, key, unit in BACKLOG:
        cells = [side.get(f"{size}_{key}", [None]) for side in sides for size in ("small", "large")]
        cells = [figure(None if v[0] is None else median(v) / unit) for v in cells]
        rows.append([title, *cells])
    n = f"{results['size']['backlog']:,}"
    return table(["100-byte messages", "sluiced 1,000", f"sluiced {n}", "mosquitto 1,000", f"mosquitto {n}"], rows)


def backlog_verdict(results):
    ours = results["stores"].get(OURS, {})
    if "large_start" not in ours:
        return ""
    start = max(ours["large_start"])
    more = [max(ours[f"large_{k}"]) - max(ours[f"small_{k}"]) for k in ("start_hwm", "drain_hwm")]
    cold = "cold" if ours["large_cold"][0] else "warm (the caches could not be dropped)"
    return (f"Start with the large backlog, {cold}: {start:.2f} s, bar < 2 s {'✓' if start < 2 else '✗'}. Memory beyond that of "
            f"the small one: {more[0] / 1e6:.2f} MB at the start, {more[1] / 1e6:.2f} MB in draining, bar 1.05 MB "
            f"{'✓' if max(more) <= 1048576 else '✗'}.")


def machine(results):
    m = results["machine"]
    return (f"{m['date']}: {m['versions'][0]} against {m['versions'][1]}; {m['cpu']}, {m['cores']} cores, Linux {m['kernel']}; "
            f"{results['rounds']} rounds. Others used {m['others']:.0f} % of the machine meanwhile.")


def block_writes(results):
    return results.get("block_writes", "")


PARTS = {"machine": machine, "loads": loads, "calls": calls, "latency": latency, "stores": stores, "backlog": backlog,
         "backlog-verdict": backlog_verdict, "block-writes": block_writes}


def parts(results):
    return {name: text for name, make in PARTS.items() if (text := make(results))}


def write(path, results):
    """Replaces what stands between <!-- figures: NAME --> and <!-- end -->."""
    text = path.read_text()
    for name, part in parts(results).items():
        begin, end = f"<!-- figures: {name} -->\n", "<!-- end -->"
        head, found, rest = text.partition(begin)
        if not found or end not in rest:
            raise ValueError(f"{path} has no place for {name}")
        text = head + begin + "\n" + part + "\n\n" + rest[rest.index(end):]
    path.write_text(text)


def missed(results):
    """The rows of all tables whose bar does not hold."""
    return [line for text in parts(results).values() for line in text.splitlines() if "✗" in line]
