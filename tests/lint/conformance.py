#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""docs/conformance.md: which tests check which statement of MQTT 3.1.1 and 5.0. conformance.py [--write | --page] from the
top of the tree. The statements are those of tests/proto/statements.txt; a test names those that it checks in its docstring, its
comments or its parameters: [MQTT-3.1.2-4], with others of the same section as [MQTT-3.1.2-4], -5 or [MQTT-3.1.2-4] to -6.
The version is the one last named before, in the test or else in the docstring of its file: 3.1.1 or 5.0. Wrong is a
statement that binds us and has no test, and a number that does not exist; with --page also a page that is not what comes out."""

import ast
import collections
import pathlib
import re
import sys

LIST, PAGE = "tests/proto/statements.txt", "docs/conformance.md"
SOURCES = ("tests/proto/test_*.py", "tests/durability/test_*.py", "tests/field/test_*.py", "tests/unit/*.c")
VERSION = re.compile(r"(?<![\d.])(3\.1\.1|5\.0)(?!\.?\d)")
NUMBER = re.compile(r"MQTT-(\d+[.-]\d+\.\d+)[.-](\d+)\]?")
MORE = re.compile(r"(,| and| to) (?:\[MQTT-(\d+\.\d+\.\d+))?-(\d+)\]?")
ROW = re.compile(r'"(MQTT-[^"]*)", ([45]),')  # of a table in C that has the version in its second column
CHAPTERS = {"1": "Data", "2": "Packets", "3.1": "CONNECT", "3.2": "CONNACK", "3.3": "PUBLISH", "3.4": "PUBACK", "3.5": "PUBREC",
            "3.6": "PUBREL", "3.7": "PUBCOMP", "3.8": "SUBSCRIBE", "3.9": "SUBACK", "3.10": "UNSUBSCRIBE", "3.11": "UNSUBACK",
            "3.12": "PINGREQ", "3.14": "DISCONNECT", "3.15": "AUTH", "4": "Operation", "6": "WebSocket", "7": "Conformance"}

Statement = collections.namedtuple("Statement", "words other")
Citation = collections.namedtuple("Citation", "version number place line")


def statements(top):
    """(version, number) -> Statement, in the order of the list."""
    out = {}
    for n, line in enumerate((top / LIST).read_text().split("\n"), 1):
        if line and not line.startswith("#"):
            head, words, *other = [part.strip() for part in line.split(" | ")]
            version, number = head.split()
            if (version, number) in out or version not in ("3.1.1", "5.0"):
                raise SystemExit(f"{LIST}:{n}: {head} is there already, or of no version")
            out[version, number] = Statement(words, other[0] if other else "")
    return out


def numbers(text, at):
    """The statements named where NUMBER has matched, and the end of them."""
    section, last = at[1].replace("-", "."), int(at[2])
    out, end = [f"{section}-{last}"], at.end()
    while more := MORE.match(text, end):
        if more[2] and (more[2] != section or more[1] != " to"):
            break  # a name of its own, which is found as such
        first = last + 1 if more[1] == " to" else int(more[3])
        last, end = int(more[3]), more.end()
        out += [f"{section}-{n}" for n in range(first, last + 1)]
    return out, end


def citations(text, version, place, line):
    """Those of a text that begins at a line, where a version holds from before."""
    end = 0
    for at in re.finditer(f"{VERSION.pattern}|{NUMBER.pattern}", text):
        if at[1]:
            version = at[1]
        elif at.start() >= end:
            named, end = numbers(text, NUMBER.match(text, at.start()))
            for number in named:
                yield Citation(version, number, place, line + text.count("\n", 0, at.start()))


def of_python(path, text):
    tree = ast.parse(text)
    lines = text.split("\n")
    version = VERSION.search(ast.get_docstring(tree) or "")
    version = version and version[1]
    tests = [f for f in tree.body if isinstance(f, ast.FunctionDef) and f.name.startswith("test_")]

    def source(node):
        first = min([node.lineno] + [d.lineno for d in getattr(node, "decorator_list", [])])
        return "\n".join(lines[first - 1:node.end_lineno]), first

    for node in tree.body:
        body, first = source(node)
        if node in tests:
            fails = any("xfail" in ast.dump(d) for d in node.decorator_list)
            places = [f"{path}::{node.name}" + (" (fails)" if fails else "")]
        else:
            names = [t.id for t in getattr(node, "targets", []) if isinstance(t, ast.Name)]
            places = [f"{path}::{t.name}" for t in tests for name in names if re.search(rf"\b{name}\b", source(t)[0])]
        for place in places or [""]:
            yield from (c._replace(place=place) for c in citations(body, version, path, first))


def of_c(path, text):
    version = VERSION.search(text.split("*/")[1])  # the comment after the licence
    plain = list(text)
    for row in ROW.finditer(text):
        line = text.count("\n", 0, row.start()) + 1
        yield from citations(row[1], {"4": "3.1.1", "5": "5.0"}[row[2]], path, line)
        plain[row.start():row.end()] = " " * (row.end() - row.start())
    # A version holds to the end of its comment.
    plain = "".join(plain)
    for comment in re.finditer(r'/\*.*?\*/|"[^"\n]*"', plain, re.S):
        yield from citations(comment[0], version and version[1], path, plain.count("\n", 0, comment.start()) + 1)


def survey(top, known):
    """(version, number) -> the tests, and what is wrong with how they are named."""
    tests, wrong = collections.defaultdict(list), []
    for path in sorted(p for pattern in SOURCES for p in top.glob(pattern)):
        name = str(path.relative_to(top))
        for c in (of_python if name.endswith(".py") else of_c)(name, path.read_text()):
            key = c.version, c.number
            if not c.version:
                wrong.append(f"{name}:{c.line}: MQTT-{c.number} of which version? say 3.1.1 or 5.0 before it")
            elif key not in known:
                wrong.append(f"{name}:{c.line}: MQTT {c.version} has no statement MQTT-{c.number}")
            elif not c.place:
                wrong.append(f"{name}:{c.line}: MQTT-{c.number} is named outside of any test")
            elif c.place not in tests[key]:
                tests[key].append(c.place)
    for (version, number), s in known.items():
        found = tests[version, number]
        if not s.other and not found:
            wrong.append(f"{LIST}: no test names MQTT-{number} of {version}: {s.words}")
        if s.other not in ("", "client") and found:
            wrong.append(f"{LIST}: {found[0]} tests MQTT-{number} of {version}, so \"{s.other}\" is not so")
    return tests, wrong


def chapter(number):
    return next(c for c in (".".join(number.split(".")[:2]), number.split(".")[0]) if c in CHAPTERS)


def checked_by(s, tests):
    shown = ", ".join("`" + t.split("/", 2)[2].replace(".py::", " ") + "`" for t in tests)
    if s.other == "client":
        return "binds clients" + (f"; one that breaks it: {shown}" if shown else "")
    return shown or s.other


def page(known, tests):
    ours = [k for k, s in known.items() if not s.other]
    client = [k for k, s in known.items() if s.other == "client"]
    out = ["# Conformance", "",
           "Every numbered statement of MQTT 3.1.1 and 5.0 in our own words, and the tests that check it. The standards are at",
           "<https://docs.oasis-open.org/mqtt/>. `tests/lint/conformance.py --write` makes this page from `tests/proto/statements.txt`",
           "and the tests; `make lint` fails when a statement that binds us has no test.", "",
           f"{len(known)} statements: {len(ours)} bind us and are tested, {len(client)} bind clients alone, "
           f"{len(known) - len(ours) - len(client)} have no test for the reason given."]
    for version in ("3.1.1", "5.0"):
        out += ["", f"## MQTT {version}"]
        last = None
        for (v, number), s in known.items():
            if v != version:
                continue
            if chapter(number) != last:
                last = chapter(number)
                out += ["", f"### {last} {CHAPTERS[last]}", "", "| MQTT- | what is due | checked by |", "|---|---|---|"]
            out.append(f"| {number} | {s.words} | {checked_by(s, tests[v, number])} |")
    return "\n".join(out) + "\n"


def main(top=pathlib.Path("."), write=False, strict=False):
    known = statements(top)
    tests, wrong = survey(top, known)
    made = page(known, tests)
    if write:
        (top / PAGE).write_text(made)
    elif not (top / PAGE).exists() or (top / PAGE).read_text() != made:
        stale = f"{PAGE}: not what comes of the tests; tests/lint/conformance.py --write"
        if strict:
            wrong.append(stale)
        else:
            print(stale)
    for text in wrong:
        print(text)
    print(f"conformance: {len(known)} statements, {sum(1 for t in tests.values() if t)} named by tests, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(write="--write" in sys.argv, strict="--page" in sys.argv))
