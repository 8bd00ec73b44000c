# SPDX-License-Identifier: Apache-2.0
"""What the demo shows: rows of readings, what happens in plain words, a table. Plain text when nobody looks at it."""
import os
import shutil
import sys
import textwrap

import judge

STYLES = {"bold": "1", "dim": "2", "red": "1;31", "green": "1;32", "event": "1;36"}
PLAIN = str.maketrans({"─": "-", "│": "|", "►": ">", "°": " ", "³": "3", "×": "x", "…": "..."})


class Screen:
    def __init__(self):
        self.tty = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.width = min(100, max(80, shutil.get_terminal_size((96, 24)).columns))
        wants = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG") or ""
        self.ascii = self.tty and "utf" not in wants.lower()
        sys.stdout.reconfigure(encoding="utf-8", errors="replace", line_buffering=True)

    def style(self, text, *names):
        return f"\033[{';'.join(STYLES[n] for n in names)}m{text}\033[0m" if self.tty and names else text

    def line(self, text="", *styles):
        if self.ascii:
            text = text.translate(PLAIN)
        print(self.style(text, *styles))

    def paragraph(self, text, *styles, indent=0):
        for part in textwrap.wrap(text, self.width - indent, break_long_words=False, break_on_hyphens=False):
            self.line(" " * indent + part, *styles)

    def event(self, clock, text):
        first, *rest = textwrap.wrap(text, self.width - 9)
        self.line(f"{clock}  ► {first}", "event")
        for part in rest:
            self.line(" " * 9 + part, "event")

    def heading(self, text):
        self.line()
        self.line(text, "bold")
        self.line("─" * self.width, "dim")

    def table(self, rows):
        """rows: device: judge.Row"""
        columns = [("wire", "read on", "the wire"), ("valueless", "without", "value"), ("committed", "", "committed"),
                   ("arrived", "", "arrived"), ("lost", "", "lost"), ("repeated", "", "repeated"),
                   ("disordered", "out of", "order"), ("wrong", "", "wrong"), ("at_kill", "not yet", "committed")]
        gap = 2 if self.width >= 90 else 1
        widths = [max(len(a), len(b)) + gap for _, a, b in columns]
        self.line(" " * 7 + "".join(a.rjust(w) for w, (_, a, _) in zip(widths, columns)), "bold")
        self.line("device".ljust(7) + "".join(b.rjust(w) for w, (_, _, b) in zip(widths, columns)), "bold")
        total = judge.Row()
        for row in rows.values():
            total.add(row)
        self.line("─" * (7 + sum(widths)), "dim")
        for name, row in [*rows.items(), ("all", total)]:
            cells = []
            for w, (key, _, _) in zip(widths, columns):
                value = getattr(row, key)
                bad = value and key in ("lost", "disordered", "wrong")
                good = not value and key in ("lost", "disordered", "wrong")
                cells.append(self.style(str(value).rjust(w), *(["red"] if bad else ["green"] if good else [])))
            if name == "all":
                self.line("─" * (7 + sum(widths)), "dim")
            self.line(name.ljust(7) + "".join(cells))
