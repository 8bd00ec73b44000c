#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Rules of the house that a compiler does not know: lint.py OBJECT… from the top of the tree (make lint). Reads the
sources that git knows and the objects; prints file:line and what is wrong, and ends with one line of counts.
lint.py --table prints who may use whom."""

import pathlib
import re
import shutil
import statistics
import subprocess
import sys

# Who may use whom. Each may use itself, and gateway/'s own headers as OPEN says.
MAY_USE = {
    "base": "",
    "codec": "base",
    "net": "base",
    "store": "base",
    "broker": "store net codec base",
    "ops": "broker store net codec base",
    "ctl": "ops net codec base",
    "drivers": "broker net codec base ctl",  # they bring commands of sluicectl
    "bridge": "broker net codec base",
    "gateway": "ops broker store net codec base",
}
# Headers that stand in gateway/ itself, and who may not have them.
OPEN = {"version.h": "codec", "service.h": "base codec net", "notify.h": "base codec net store broker"}

# Headers of others, each in one place.
PLACES = {
    r"sqlite3\.h": r"gateway/store/\w*sqlite\w*\.[ch]",
    r"mbedtls/.*": r"gateway/base/(crypto|signature)\.c|gateway/net/tls\w*\.[ch]",
    r"modbus(/modbus)?\.h": r"drivers/modbus/\w+\.c",
    r"libconfig\.h": r"gateway/base/conf\w*\.c",
    r"libserialport\.h": r"drivers/port\w*\.c",
    r"gsasl\.h": r"gateway/broker/auth_scram\.c",
    r"http_parser\.h": r"gateway/net/http\w*\.c",
    r"wslay/.*": r"gateway/net/ws\w*\.c",
    r"uv\.h": r"(?!gateway/codec/).*",
    r"generated/autoconf\.h": r"gateway/base/limits\.h",
}

MOST_LINES, MOST_FUNCTION, MOST_MEDIAN = 600, 80, 15
CODE = ("gateway/", "drivers/", "bridge/")
NO_SPDX = re.compile(r".*\.(md|png|svg|pem|pcapng)|LICENSE|\.gitignore|\.clang-format|board/[^/]+/config|.*/package(-lock)?\.json|.*/corpus/.*")
FORMAT_VERSION = 14


def area(path):
    """base, codec, … of a source or object; gateway for what stands in gateway/ itself; None for other code."""
    parts = path.split("/")
    if parts[0] == "gateway":
        return parts[1] if len(parts) > 2 else "gateway"
    return parts[0] if parts[0] in MAY_USE else None


def allowed(user, used):
    return user == used or used in MAY_USE.get(user, "").split()


class Tree:
    """The files of one tree with their lines, by path from its top, and the objects that were made of them."""

    def __init__(self, top, objects):
        self.top = pathlib.Path(top)
        self.objects = [o for o in objects if o.startswith(tuple(f"build/{p}" for p in (*CODE, "tests/")))]
        out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=top, capture_output=True, text=True, check=True)
        self.paths = sorted(p for p in out.stdout.split("\n") if p and (self.top / p).is_file())
        self.cache = {}

    def lines(self, path):
        if path not in self.cache:
            self.cache[path] = (self.top / path).read_text(errors="replace").split("\n")
        return self.cache[path]

    def code(self, *endings):
        return [p for p in self.paths if p.startswith(CODE) and p.endswith(endings or (".c", ".h"))]

    def includes(self, path):
        for number, line in enumerate(self.lines(path), 1):
            found = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
            if found:
                yield number, found[1]


class Symbols:
    """Who defines each global symbol, and who uses it."""

    def __init__(self, tree):
        self.owner, self.users = {}, {}
        for obj in tree.objects:
            path = re.sub(r"^build/(.*)\.o$", r"\1.c", obj)
            out = subprocess.run(["nm", "-g", obj], cwd=tree.top, capture_output=True, text=True, check=True).stdout
            for kind, symbol in re.findall(r"^[0-9a-f ]{16} (\w) (\S+)$", out, re.M):
                if kind in "Uwv":
                    self.users.setdefault(symbol, []).append(path)
                elif path.startswith(CODE):
                    self.owner[symbol] = (path, kind)


def rule_layers(tree):
    """An object uses another's symbol only as MAY_USE says."""
    symbols = Symbols(tree)
    if not symbols.owner:
        yield "build: no objects were given; run make lint"
    for symbol, (used, _) in sorted(symbols.owner.items()):
        for path in symbols.users.get(symbol, []):
            if area(path) and not allowed(area(path), area(used)):
                yield f"{path}: uses {symbol} of {used}; {area(path)} may use: {MAY_USE.get(area(path)) or 'nothing'}"


def rule_includes(tree):
    """The same for headers, whose structs and inline functions leave no symbol."""
    for path in tree.code():
        user = area(path)
        for number, name in tree.includes(path):
            where = name if name.startswith(("drivers/", "bridge/")) else f"gateway/{name}"
            if not (tree.top / where).exists():
                continue
            used = area(where)
            bad = user in OPEN.get(name, "gateway").split() if used == "gateway" else not allowed(user, used)
            if bad and user != used:
                yield f"{path}:{number}: {user} may not include {name}"


def rule_places(tree):
    """A library's header appears in one place."""
    for path in tree.code():
        for number, name in tree.includes(path):
            for header, place in PLACES.items():
                if re.fullmatch(header, name) and not re.fullmatch(place, path):
                    yield f"{path}:{number}: {name} belongs in {place}"


def functions(lines):
    """(line, length) of each function: its braces stand at the margin."""
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start:
            yield start, number - start - 1
            start = None


def rule_functions(tree):
    """No function is too long, and half of them are short."""
    lengths = []
    for path in tree.code(".c"):
        for number, length in functions(tree.lines(path)):
            lengths.append(length)
            if length > MOST_FUNCTION:
                yield f"{path}:{number}: a function of {length} lines; at most {MOST_FUNCTION}"
    if lengths and statistics.median(lengths) >= MOST_MEDIAN:
        yield f"all: the median function has {statistics.median(lengths)} lines; under {MOST_MEDIAN}"


def rule_length(tree):
    """A file that is too long has two responsibilities."""
    for path in tree.paths:
        if path.endswith((".c", ".h", ".py", ".sh", ".mk", "Makefile")) and len(tree.lines(path)) > MOST_LINES:
            yield f"{path}: {len(tree.lines(path)) - 1} lines; under {MOST_LINES}"


def rule_licence(tree):
    """Each file says its licence."""
    for path in tree.paths:
        if not NO_SPDX.fullmatch(path) and "SPDX-License-Identifier: Apache-2.0" not in "\n".join(tree.lines(path)[:3]):
            yield f"{path}:1: no SPDX-License-Identifier: Apache-2.0"


def rule_config(tree):
    """What Kconfig says reaches the code through limits.h alone (CONFIG_TYPE_ and the like are libconfig's)."""
    for path in tree.code():
        if path == "gateway/base/limits.h":
            continue
        for number, line in enumerate(tree.lines(path), 1):
            if re.search(r"\bCONFIG_(?!TYPE_|TRUE|FALSE|OPTION_)", re.sub(r'/\*.*?\*/|"[^"]*"', "", line)):
                yield f"{path}:{number}: CONFIG_ in code; use limits.h or an object line"


def rule_listed(tree):
    """Each source is an object of some list: what nobody builds is dead."""
    lists = "\n".join("\n".join(tree.lines(p)) for p in tree.paths if p.endswith("objects.mk") or p == "Makefile")
    for path in tree.code(".c"):
        if path[:-2] + ".o" not in lists:
            yield f"{path}: no objects.mk lists it"


def rule_used(tree):
    """A function that other files can call is called by one of them."""
    symbols = Symbols(tree)
    for symbol, (path, kind) in sorted(symbols.owner.items()):
        if kind == "T" and symbol != "main" and symbol not in symbols.users:
            yield f"{path}: nobody else uses {symbol}(); make it static or delete it"


def rule_boards(tree):
    """board/X/config is what kconfiglib makes of board/X/defconfig."""
    for path in tree.paths:
        if not re.fullmatch(r"board/[^/]+/config", path):
            continue
        made = tree.top / "build" / "lint.config"
        made.parent.mkdir(exist_ok=True)
        done = subprocess.run(["/usr/bin/python3", "-m", "defconfig", "--kconfig", "Kconfig", path[:-6] + "defconfig"],
                              cwd=tree.top, env={"KCONFIG_CONFIG": str(made), "PATH": "/usr/bin:/bin"},
                              capture_output=True, text=True)
        if done.returncode:
            yield f"{path}: {done.stderr.strip() or done.stdout.strip()}"
        elif made.read_text() != (tree.top / path).read_text():
            yield f"{path}: differs from what Kconfig makes of its defconfig; make {path.split('/')[1]}_defconfig and copy .config there"
        made.unlink(missing_ok=True)


def format_tool():
    """clang-format of the version that our layout was made with: each lays some things out anew."""
    for tool in filter(None, map(shutil.which, (f"clang-format-{FORMAT_VERSION}", "clang-format"))):
        version = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout
        if f"version {FORMAT_VERSION}." in version:
            return tool
    return None


def rule_format(tree):
    """clang-format finds nothing to change."""
    tool = format_tool()
    if not tool:
        print(f"lint: layout is judged by clang-format {FORMAT_VERSION} alone, which is not here")
        return
    sources = [p for p in tree.paths if p.endswith((".c", ".h"))]
    out = subprocess.run([tool, "--dry-run", *sources], cwd=tree.top, capture_output=True, text=True).stderr
    wrong = {m[1]: m[2] for m in reversed(list(re.finditer(r"^(\S+):(\d+):\d+: warning", out, re.M)))}
    for path, number in sorted(wrong.items()):
        yield f"{path}:{number}: not as clang-format has it; make format"


RULES = [f for name, f in sorted(globals().items()) if name.startswith("rule_")]


def main():
    if "--table" in sys.argv:
        for user, used in MAY_USE.items():
            print(f"{user:8} -> {used}")
        return 0
    tree = Tree(".", sys.argv[1:])
    wrong = 0
    for rule in RULES:
        for text in rule(tree):
            print(text)
            wrong += 1
    print(f"lint: {len(RULES)} rules, {len(tree.paths)} files, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
