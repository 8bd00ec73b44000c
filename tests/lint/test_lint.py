# SPDX-License-Identifier: Apache-2.0
"""Each rule of the lint finds what it is for: a small tree without fault, and one violation planted at a time."""

import importlib.util
import pathlib
import subprocess

import pytest

SPEC = importlib.util.spec_from_file_location("lint", pathlib.Path(__file__).with_name("lint.py"))
lint = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(lint)

HEAD = "/* SPDX-License-Identifier: Apache-2.0 */\n"
CLEAN = {
    "gateway/base/buf.h": HEAD + "void buf_free(void);\n",
    "gateway/base/buf.c": HEAD + '#include "base/buf.h"\n\nvoid buf_free(void)\n{\n    return;\n}\n',
    "gateway/broker/broker.h": HEAD + "int broker_run(void);\n",
    "gateway/broker/broker.c": HEAD + '#include "broker/broker.h"\n\n#include "base/buf.h"\n\nint broker_run(void)\n{\n'
    "    buf_free();\n    return 0;\n}\n",
    "gateway/main.c": HEAD + '#include "broker/broker.h"\n\nint main(void)\n{\n    return broker_run();\n}\n',
    "gateway/objects.mk": "# SPDX-License-Identifier: Apache-2.0\n"
    "obj-y += gateway/base/buf.o gateway/broker/broker.o gateway/main.o gateway/x.o gateway/base/x.o drivers/x.o bridge/x.o\n",
    "Kconfig": '# SPDX-License-Identifier: Apache-2.0\nmainmenu "x"\n\nconfig ONE\n\tbool "one"\n\tdefault y\n',
    "board/a/defconfig": "# SPDX-License-Identifier: Apache-2.0\n",
    "board/a/config": "CONFIG_ONE=y\n",
}

PLANTED = {
    # Symbols: without the header, so that nothing but the object tells.
    "rule_layers": {"gateway/base/x.c": HEAD + "extern int broker_run(void);\nint main_x(void);\n\nint main_x(void)\n{\n    return broker_run();\n}\n"},
    "rule_includes": {"gateway/base/x.c": HEAD + '#include "broker/broker.h"\n'},
    "rule_places": {"bridge/x.c": HEAD + "#include <stdio.h>\n#include <sqlite3.h>\n"},
    "rule_functions": {"bridge/x.c": HEAD + "static void f(void)\n{\n" + "    f();\n" * 81 + "}\n"},
    "rule_length": {"bridge/x.c": HEAD + "\n".join(f"extern int x{i};" for i in range(600)) + "\n"},
    "rule_licence": {"bridge/x.c": "extern int x;\n"},
    "rule_config": {"bridge/x.c": HEAD + "#ifdef CONFIG_TLS\n#endif\n"},
    "rule_listed": {"bridge/y.c": HEAD},
    "rule_used": {"bridge/x.c": HEAD + "void lonely(void);\n\nvoid lonely(void)\n{\n}\n"},
    "rule_boards": {"board/a/config": "# CONFIG_ONE is not set\n"},
    "rule_format": {"bridge/x.c": HEAD + "extern  int x;\n"},
}

# What must not cross, whichever way round it is tried.
EDGES = [("gateway/base", "drivers"), ("gateway/base", "bridge"), ("gateway/broker", "drivers"), ("drivers", "bridge"),
         ("bridge", "drivers"), ("gateway/codec", "gateway/net"), ("gateway/store", "gateway/codec"),
         ("gateway/net", "gateway/broker"), ("gateway/broker", "gateway/ops"), ("drivers", "gateway/store")]


def plant(top, files):
    for path, text in files.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)


def build(top):
    objects = []
    for source in sorted(top.rglob("*.c")):
        obj = top / "build" / source.relative_to(top).with_suffix(".o")
        obj.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-w", "-iquote", top / "gateway", "-c", "-o", obj, source], check=True)
        objects.append(str(obj.relative_to(top)))
    return lint.Tree(top, objects)


@pytest.fixture
def top(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    plant(tmp_path, CLEAN | {".clang-format": pathlib.Path(".clang-format").read_text(), ".gitignore": "/build/\n"})
    return tmp_path


def found(tree):
    return {rule.__name__: list(rule(tree)) for rule in lint.RULES}


def test_clean(top):
    assert {name: texts for name, texts in found(build(top)).items() if texts} == {}


@pytest.mark.parametrize("rule", [rule.__name__ for rule in lint.RULES])
def test_rule(top, rule):
    if rule == "rule_format" and not lint.format_tool():
        pytest.skip("no clang-format of the right version")
    plant(top, PLANTED[rule])
    (where,) = PLANTED[rule]
    texts = found(build(top))[rule]
    assert len(texts) == 1 and texts[0].startswith(where)


@pytest.mark.parametrize("user, used", EDGES)
def test_edge(top, user, used):
    plant(top, {f"{used}/used.c": HEAD + "int used_one(void)\n{\n    return 1;\n}\n",
                f"{user}/user.c": HEAD + "int used_one(void);\nint user_one(void)\n{\n    return used_one();\n}\n"})
    assert [t for t in lint.rule_layers(build(top)) if t.startswith(f"{user}/user.c: uses used_one")]


def test_median(top):
    long = "".join(f"static void f{i}(void)\n{{\n" + "    return;\n" * 20 + "}\n" for i in range(9))
    plant(top, {"bridge/x.c": HEAD + long})
    assert [t for t in lint.rule_functions(build(top)) if t.startswith("all:")]


def test_no_objects(top):
    assert list(lint.rule_layers(lint.Tree(top, [])))
