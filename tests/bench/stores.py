# SPDX-License-Identifier: Apache-2.0
"""What stays in a broker: connections, retained messages, subscriptions, queues; and starting with a backlog."""
import os
import random
import subprocess
import threading
import time
import zlib

from brokers import LOAD, Load, Sluice, measure
from raw import PUBACK, SUBACK, client, publish, subscribe


def keep(results, kind, **values):
    cell = results.setdefault(kind.name, {})
    for name, value in values.items():
        cell.setdefault(name, []).append(value)


def empty(kind, work, certs, results, size):
    with kind(work) as broker:
        time.sleep(1)
        keep(results, kind, empty_anon=broker.memory("RssAnon"), empty_rss=broker.memory())


def connections(kind, work, certs, results, size):
    """Idle ones with a subscription each: to one filter, to a filter of its own, and with TLS."""
    for name, args, tls, count in (("connection", "", False, size["connections"]),
                                   ("own_connection", "--pairs", False, size["connections"]),
                                   ("tls_connection", "--pairs", True, size["tls_connections"])):
        with kind(work, certs) as broker:
            time.sleep(0.5)
            rss, cpu = broker.memory(), broker.cpu()
            with Load(broker, f"--pubs 0 --subs {count} {args}", tls):
                cpu = broker.quiet() - cpu
                keep(results, kind, **{name: (broker.memory() - rss) / count, name + "_us": cpu / 1000 / count})


def retained(kind, work, certs, results, size):
    """Stores topics and replays them, and what each takes in memory."""
    count = size["retained"]
    with kind(work) as broker:
        rss = broker.memory()
        stored = measure(broker, f"--pubs 1 --subs 0 --topics {count} --count {count} --retain --prefix r")
        keep(results, kind, retained=(broker.memory() - rss) / count, store_us=stored["cpu_ns"] / 1000 / count)
        before = broker.quiet()
        out = subprocess.run([LOAD, "--port", str(broker.port), *f"--pubs 0 --prefix r --receive {count}".split()],
                             capture_output=True, text=True, check=True).stdout
        if f'"received":{count},' not in out:
            raise RuntimeError(f"{kind.name} replays not all retained messages: {out}")
        keep(results, kind, replay_us=(broker.quiet() - before) / 1000 / count)


def queued(kind, work, certs, results, size):
    """QoS 1 messages for a session that is away, and for a clean one that acknowledges nothing."""
    count = size["queued"]
    with kind(work) as broker:
        with Load(broker, "--pubs 0 --subs 1 --pairs --persistent --qos 1"):
            pass
        rss = broker.memory()
        r = measure(broker, f"--pubs 1 --subs 0 --pairs --qos 1 --window 100 --count {count}")
        keep(results, kind, queued_away=(broker.memory() - rss) / count, queue_us=r["cpu_ns"] / 1000 / count)
    with kind(work) as broker:
        with Load(broker, f"--pubs 1 --subs 1 --pairs --qos 1 --window 100 --no-ack --count {count}") as load:
            rss = broker.memory()
            load.go()
            broker.quiet()
            keep(results, kind, queued=(broker.memory() - rss) / count)


def subscribe_many(broker, count):
    """Filters s/A/B/level, all different, of clients with 50,000 each; they stay connected."""
    clients, made = [], 0
    while made < count:
        c = client(broker.port, f"many{len(clients)}")
        clients.append(c)
        for _ in range(50):
            part = min(1000, count - made)
            c.send(subscribe(1, *(f"s/{i % 1000}/{i // 1000}/level" for i in range(made, made + part))))
            c.expect(SUBACK)
            made += part
            if made == count:
                break
    return clients


def subscriptions(kind, work, certs, results, size):
    """What a subscription takes, and a publish that matches none, among few and among many: of a tree of its own, and of
    theirs; and one that matches."""
    for count, name in ((10, "few"), (size["subscriptions"], "many")):
        with kind(work) as broker:
            rss, cpu = broker.memory(), broker.cpu()
            clients = subscribe_many(broker, count)
            cpu = broker.quiet() - cpu
            if name == "many":
                keep(results, kind, subscription=(broker.memory() - rss) / count, subscribe_us=cpu / 1000 / count)
            for prefix, where in (("o", "other"), ("s", "inside"), ("s/1", "match")):
                if where == "match" and name == "few":
                    continue  # the clients take what arrives only when there is enough for each
                r = measure(broker, f"--pubs 1 --subs 0 --topics {min(1000, count)} --count {size['publishes']} "
                                    f"--prefix {prefix}")
                keep(results, kind, **{f"{where}_{name}": r["cpu_ns"] / 1000 / r["sent"]})
            for c in clients:
                c.close()


def take(c, size, results):
    """Reads a PUBLISH of so many bytes without keeping it; what arrived is its checksum."""
    left, check = size, 0
    while left:
        data = c.sock.recv(min(left, 1 << 20))
        if not data:
            raise ConnectionError("closed")
        check, left = zlib.crc32(data, check), left - len(data)
    results.append(check)


def large(kind, work, certs, results, size):
    """A large payload from one publisher to three subscribers: by how many payloads memory rises at most."""
    payload = random.Random(1).randbytes(size["large"])
    for qos in (0, 1):
        with kind(work) as broker:
            takers = [client(broker.port, f"take{i}", clean=not qos) for i in range(3)]
            for c in takers:
                c.send(subscribe(1, ("large", qos)))
                c.expect(SUBACK)
                c.sock.settimeout(120)
            whole = publish("large", payload, qos, 1)
            before, arrived = broker.memory(), []
            threads = [threading.Thread(target=take, args=(c, len(whole), arrived)) for c in takers]
            for t in threads:
                t.start()
            sender = client(broker.port, "give")
            sender.sock.settimeout(120)
            sender.send(whole)
            if qos:
                sender.expect(PUBACK)
            for t in threads:
                t.join()
            if arrived != [zlib.crc32(whole)] * 3:
                raise RuntimeError(f"{kind.name}: the large payload did not arrive whole")
            keep(results, kind, **{f"large_qos{qos}": (broker.memory("VmHWM") - before) / len(payload)})
            for c in (*takers, sender):
                c.close()


def drop_caches():
    """True when what follows reads from the disk."""
    os.sync()
    try:
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("3")
        return True
    except OSError:
        return False


def backlog(kind, work, certs, results, size):
    """Messages for a durable session that is away; a stop, a cold start, and the session comes back for them."""
    for count, name in ((1000, "small"), (size["backlog"], "large")):
        broker = kind(work)
        broker.start()
        with Load(broker, "--pubs 0 --subs 1 --pairs --persistent --qos 1"):
            pass
        put = measure(broker, f"--pubs 1 --subs 0 --pairs --qos 1 --window 1000 --size 100 --count {count}")
        disk = sum(f.stat().st_size for f in (broker.folder / "state").iterdir() if f.is_file())
        begin = time.monotonic()
        broker.stop(120)
        stop = time.monotonic() - begin
        cold = drop_caches()
        with broker:
            start = broker.start_s
            time.sleep(0.5)
            at_start, read = broker.memory("VmHWM"), broker.read_from_disk()
            rows = broker.store().get("rows_visited") if kind is Sluice else None
            cpu = broker.quiet()
            begin = time.monotonic()
            out = subprocess.run([LOAD, "--port", str(broker.port), "--size", "100", *"--pubs 0 --subs 1 --pairs "
                                  f"--persistent --qos 1 --receive {count}".split()], capture_output=True, text=True,
                                 check=True).stdout
            seconds = time.monotonic() - begin
            if f'"received":{count},' not in out or '"reordered":0,"repeated":0,"bad":0' not in out:
                raise RuntimeError(f"{kind.name} does not give back the backlog: {out}")
            keep(results, kind, **{f"{name}_{n}": v for n, v in {
                "put_us": put["cpu_ns"] / 1000 / count, "put_rate": count / put["seconds"], "disk": disk, "stop": stop,
                "start": start, "cold": cold, "start_hwm": at_start, "read": read, "rows": rows,
                "drain_us": (broker.quiet() - cpu) / 1000 / count, "drain_rate": count / seconds,
                "drain_hwm": broker.memory("VmHWM")}.items()})


def idle(kinds, work, seconds, results):
    """How often an empty one wakes, all side by side."""
    brokers = [kind(work) for kind in kinds]
    for b in brokers:
        b.start()
    time.sleep(15)  # until whoever connected to see that it listens is forgotten
    before = [(b.wakeups(), b.cpu()) for b in brokers]
    time.sleep(seconds)
    for b, (wakeups, cpu) in zip(brokers, before):
        keep(results, type(b), wakeups=(b.wakeups() - wakeups) / seconds * 60, idle_us=(b.cpu() - cpu) / 1000 / seconds)
        b.stop()
