# SPDX-License-Identifier: Apache-2.0
"""What happens in a sequence: tuples (kind, parameters…), made from a random number generator before anything runs, so that a
sequence can be repeated and made shorter."""

CLIENTS = "abcde"
TOPICS = ["x", "x/y", "x/y/z", "y", "y/z", "/x", "$q/x", "x//z"]
FILTERS = ["#", "+", "x/#", "+/y", "x/+", "x/+/z", "+/+/#", "$q/#", "/+", "x", "x/y", "y/z", "$share/g/x/#", "$share/g/x/#",
           "$share/h/y/#", "+/#", "y/#"]
WEIGHTS = {"connect": 14, "disconnect": 10, "subscribe": 16, "unsubscribe": 5, "publish": 46, "ack": 12, "release": 5, "hold": 4,
           "burst": 1, "restart": 0, "wait": 0}


def some_will(r, client):
    if r.random() < 0.6:
        return None
    return (r.choice([f"w/{client}", f"x/{client}"]), r.randrange(3), r.random() < 0.3, r.choice([0, 0, 1000]))


def connect(r):
    client = r.choice(CLIENTS)
    return ("connect", client, r.choice([3, 4, 4, 5, 5, 5]), r.random() < 0.35, r.choice([0, 1000, 1000, 0xffffffff]),
            some_will(r, client), r.choice([0, 0, 0, 1, 2, 5]), r.choice([0, 0, 0, 400]), r.choice([0, 0, 2, 10]), r.random() < 0.3)


def disconnect(r):
    return ("disconnect", r.choice(CLIENTS), r.choice(["normal", "normal", "with will", "cut", "cut", "blind", "expire", "keep"]))


def subscribe(r):
    filters = [(p, r.choice([0, 1, 1, 2, 2]), r.random() < 0.2, r.random() < 0.3, r.choice([0, 0, 1, 2]))
               for p in r.sample(FILTERS, r.choice([1, 1, 1, 2, 3]))]
    return ("subscribe", r.choice(CLIENTS), filters, r.choice([0, 0, 1, 200, 268435455]))


def unsubscribe(r):
    return ("unsubscribe", r.choice(CLIENTS), r.sample(FILTERS, r.choice([1, 2])))


def publish(r):
    """size: 0 forgets what is retained; how: whole, or QoS 2 as far as PUBREC, or repeated before its PUBREL."""
    size = r.choice([8, 8, 8, 8, 8, 1000, 5000])
    retain = r.random() < 0.3
    if retain and r.random() < 0.3:
        size = 0
    return ("publish", r.choice(CLIENTS), r.choice(TOPICS), r.randrange(3), retain, size, r.randrange(1 << 6),
            r.choice(["whole", "whole", "half", "repeat"]), r.random() < 0.3)


def burst(r):
    """Many at once: queues grow longer than what is kept in memory of them."""
    return ("burst", r.choice(CLIENTS), r.choice(TOPICS), r.choice([1, 1, 2]), r.choice([50, 300]), r.choice([8, 1000]))


def ack(r):
    return ("ack", r.choice(CLIENTS), r.randrange(1, 8), r.randrange(1 << 16))


def release(r):
    return ("release", r.choice(CLIENTS), r.randrange(1 << 16))


def hold(r):
    return ("hold", r.choice(CLIENTS), r.random() < 0.5)


def restart(r):
    """how: kill -9, kill -9 with a publish under way, or a clean stop."""
    return ("restart", r.choice(["kill", "kill", "under way", "stop"]), r.choice(CLIENTS), r.choice(TOPICS), r.choice([1, 2]))


def wait(r):
    return ("wait", r.choice([3.8, 6.8]))


MAKERS = {"connect": connect, "disconnect": disconnect, "subscribe": subscribe, "unsubscribe": unsubscribe, "publish": publish, "burst": burst,
          "ack": ack, "release": release, "hold": hold, "restart": restart, "wait": wait}


def sequence(r):
    """One in eight lets the broker restart; in one in 150 time passes."""
    weights = dict(WEIGHTS)
    if r.random() < 0.125:
        weights["restart"] = 4
    if r.random() < 1 / 150:
        weights["wait"] = 3
    kinds = r.choices(list(weights), weights.values(), k=r.randrange(10, 70))
    start = [connect(r) for _ in range(3)] + [subscribe(r) for _ in range(3)]
    return start + [MAKERS[k](r) for k in kinds]
