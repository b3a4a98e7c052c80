"""Fingerprints of code: a change to whatever is reached is seen, and nothing else is."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from parity.base.fingerprint import code, tree
from parity.base.spelling import parse
from tests.support.edit_modules import Project, project

__all__ = ["project"]

Edit = tuple[str, str, str, str]
"""The expression that is fingerprinted, the file that is edited, the text before and after."""

FOLLOWED: dict[str, Edit] = {
    "its own text": ("calls", "subject.py", "limit[0]", "limit[-1]"),
    "a function under another name": ("calls", "helpers.py", "shift(x, by)\n", "shift(x, -by)\n"),
    "what that calls": ("calls", "helpers.py", "x + by", "x - by"),
    "a function of a module under another name": ("calls", "helpers.py", "math.floor(y)", "math.floor(y) + 1"),
    "the source of a foreign import": ("calls", "helpers.py", "import math\n", "import cmath as math\n"),
    "a method of a class it uses": ("calls", "subject.py", "* SCALE", "/ SCALE"),
    "a default argument": ("calls", "subject.py", "limit=[31]", "limit=[32]"),
    "a constant": ("Subject", "subject.py", "SCALE = 2.5", "SCALE = 2.6"),
    "a class attribute": ("Subject", "subject.py", "24_000", "22_050"),
    "a class attribute from another module": ("Subject", "helpers.py", "(3, 7)", "(3, 8)"),
    "an augmented assignment": ("Subject", "helpers.py", "FLOOR += 1", "FLOOR += 2"),
    "a module of a package": ("Subject", "package/deep.py", "21", "210"),
    "an import in a method": ("Subject", "package/lazy.py", "22", "220"),
    "a base": ("Subject", "subject.py", 'return "shared"', 'return "Shared"'),
    "a metaclass": ("Subject", "subject.py", 'return "extra"', 'return "Extra"'),
    "the class of a method": ("Subject.build", "subject.py", "24_000", "22_050"),
    "our decorator": ("decorated", "subject.py", "function(*args) + 4", "function(*args) + 40"),
    "a function that our decorator wraps": ("decorated", "subject.py", "x - 5", "x - 50"),
    "a function that a foreign decorator wraps": ("foreign", "subject.py", "x - 6", "x - 60"),
    "the foreign decorator itself": ("foreign", "subject.py", "@torch.no_grad()", "@torch.enable_grad()"),
    "a recursion": ("even", "subject.py", "n != 0 and", "n != 1 and"),
    "the body of a closure": ("factory(7)[0]", "subject.py", "x * gain * scale", "x / gain * scale"),
    "the body of a class in a function": ("factory(7)[1]", "subject.py", "rate = gain", "rate = 2 * gain"),
    "a partial's function": ("PARTIAL", "helpers.py", "x + by", "x - by"),
    "a partial's arguments": ("PARTIAL", "subject.py", "by=3", "by=30"),
    "a lambda in a table": ("values", "subject.py", "x * 20", "x * 21"),
    "what is added to a table": ("values", "helpers.py", "[20]", "[200]"),
    "a dataclass's field": ("values", "subject.py", "width: int = 8", "width: int = 9"),
    "a field that is none": ("values", "subject.py", "depth: ClassVar[int]", "depth: int"),
    "a dataclass's method": ("Setting(9).area", "subject.py", "* 11", "* 12"),
    "a module imported by a function": ("local_import", "package/late_module.py", "24", "25"),
    "the lookup of a module that is passed around": ("whole", "helpers.py", "return 26", "return 260"),
    "anything in a module that is passed around": ("whole", "helpers.py", "return 18", "return 180"),
    "an attribute given to a function": ("noted", "helpers.py", "0.125", "0.25"),
    "a relative import": ("noted", "package/deep.py", "21", "210"),
    "what a module does to others": ("calls", "helpers.py", "OTHER = 99", "OTHER = 99\nmath.harmless = 3"),
}

IGNORED: dict[str, Edit] = {
    "a comment": ("Subject", "subject.py", "# a comment", "# another one\n        # and more"),
    "a docstring of a class": ("Subject", "subject.py", '    """A docstring."""\n\n    rate', "    rate"),
    "a docstring of a constant": ("Subject", "subject.py", "What a scale is.", "A scale."),
    "a docstring of a closure": ("factory(7)", "subject.py", "What was made.", "Made."),
    "a type": ("Subject", "subject.py", "x: int, floor=helpers.FLOOR) -> int", 'x: "float", floor=helpers.FLOOR)'),
    "the type of a field": ("Setting", "subject.py", "width: int", "width: float"),
    "layout": ("calls", "subject.py", "padded(x) + tools", "padded( x )  +  tools"),
    "lines above": ("factory(7)", "subject.py", "SCALE = 2.5", "\n\n\nSCALE = 2.5"),
    "a name in an import": ("calls", "subject.py", "import helpers as tools\n", "import helpers as tools, json\n"),
    "a sibling class": ("Subject", "subject.py", "return UNRELATED", "return UNRELATED * 2"),
    "a class that uses it": ("Base", "subject.py", "24_000", "22_050"),
    "a function that is not called": ("Subject", "helpers.py", "return 18", "return 180"),
    "a constant of a module whose function is called": ("calls", "helpers.py", "OTHER = 99", "OTHER = 100"),
    "a constant named like an argument": ("shadows", "subject.py", "SCALE = 2.5", "SCALE = 2.6"),
    "a constant named like an attribute": ("shadows", "subject.py", '"unrelated"', '"Unrelated"'),
    "a package's own module": ("noted", "package/__init__.py", "ROOM = 1", "ROOM = 2"),
}


@pytest.mark.parametrize("kind", FOLLOWED)
def test_a_change_is_seen_in(kind: str, project: Project) -> None:
    expression, file, old, new = FOLLOWED[kind]
    before = project.code(expression)
    project.edit(file, old, new)
    assert project.code(expression) != before


@pytest.mark.parametrize("kind", IGNORED)
def test_nothing_changes_with(kind: str, project: Project) -> None:
    expression, file, old, new = IGNORED[kind]
    before = project.code(expression)
    project.edit(file, old, new)
    assert project.code(expression) == before
    assert before


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("factory(7)[0]", "factory(8)[0]"),
        ("factory(7)[0]", "factory(7, 2)[0]"),
        ("factory(7)[1]", "factory(8)[1]"),
        ("TABLE['one']", "TABLE['two']"),
        ("Setting(9).area", "Setting(10).area"),
        ("functools.partial(Setting, 3)", "functools.partial(Setting, 4)"),
        ("wrapping(even)", "wrapping(odd)"),
        ("torch.no_grad()(TABLE['one'])", "torch.no_grad()(TABLE['two'])"),
    ],
)
def test_things_of_one_definition_are_told_apart(one: str, other: str, project: Project) -> None:
    assert project.code(one) == project.code(one)
    assert project.code(one) != project.code(other)


def test_a_change_is_named_by_its_definition(project: Project) -> None:
    before = project.code("calls")
    project.edit("helpers.py", "return x + by", "return x - by")
    after = project.code("calls")
    assert [name for name in before if before[name] != after[name]] == ["shift"]
    assert {"calls", "Subject", "Base", "SCALE", "pad"} <= before.keys()
    assert all(len(value) == 16 for value in before.values())


def test_a_module_can_be_renamed(project: Project) -> None:
    every = "calls, values, decorated, even, local_import, noted, PARTIAL, factory(7), Setting(3).area, Subject"
    before = project.code(every)
    project.write("package/tools.py", project.files["helpers.py"])
    project.write("package/deeper.py", project.files["package/deep.py"])
    project.write("package/sibling.py", project.files["package/sibling.py"].replace("deep", "deeper"))
    project.write("package/__init__.py", "ROOM = 1\n")
    renamed = project.files["subject.py"].replace("package.deep", "package.deeper")
    renamed = renamed.replace("import helpers\n", "import package.tools\n").replace("helpers.", "package.tools.")
    renamed = renamed.replace("import helpers as", "import package.tools as").replace(
        "from helpers", "from package.tools"
    )
    project.write("subject.py", renamed)
    for name in ("helpers.py", "package/deep.py"):
        (project.root / name).unlink()
    assert project.code(every) == before


def test_a_definition_can_move_to_another_module(project: Project) -> None:
    before = project.code("calls, noted")
    project.edit("helpers.py", "def shift(x, by):\n    return x + by\n", "from package.moved import shift\n")
    project.edit("subject.py", "SCALE = 2.5\n", "from package import moved\n")
    project.write("subject.py", project.files["subject.py"].replace("* SCALE +", "* moved.SCALE +"))
    project.write("package/moved.py", "SCALE = 2.5\n\n\ndef shift(x, by):\n    return x + by\n")
    assert project.code("calls, noted") == before


def test_definitions_of_one_name_are_told_apart(project: Project) -> None:
    project.write("package/lazy.py", "def dig():\n    return 22\n")
    project.write(
        "subject.py",
        "from package.deep import dig as one\nfrom package.lazy import dig as two\n\n\ndef use():\n"
        "    return one() - two()\n\n\ndef also():\n    return one()\n\n\nBOTH = {1: one, 2: two}\n",
    )
    seen = []
    for _ in range(2):
        seen += [project.code("use, also"), project.code("BOTH")]
        project.write("subject.py", project.files["subject.py"].replace("deep", "?").replace("lazy", "deep"))
        project.write("subject.py", project.files["subject.py"].replace("?", "lazy"))
    assert seen[0].keys() == seen[2].keys()
    assert "dig, of several modules" in seen[0]
    assert seen[0] != seen[2]
    assert seen[1] != seen[3]


def test_the_order_of_the_things_makes_no_difference(project: Project) -> None:
    assert project.code("calls, Subject, values, even") == project.code("odd, values, Subject, calls, even")


def test_closures_that_hold_each_other_end(project: Project) -> None:
    project.write(
        "subject.py",
        "def pair():\n    def one(n):\n        return two(n)\n\n    def two(n):\n        return one(n + 1)\n\n"
        "    return one, two\n\n\nLOOP = [1]\nLOOP.append(LOOP)\n",
    )
    assert project.code("pair()[0]") != project.code("pair()[1]")
    assert project.code("[LOOP]")


def test_nothing_depends_on_hashes_or_on_where_the_project_lies(project: Project, tmp_path: Path) -> None:
    project.write(
        "subject.py",
        "import functools\nfrom pathlib import Path\n\n\ndef use(*_):\n    return 1\n\n\n"
        "USE = functools.partial(use, {'a', 'b', 'c'}, Path(__file__).parent, [__file__])\n",
    )
    moved = tmp_path.parent / f"{tmp_path.name}-moved"
    moved.mkdir()
    (moved / "subject.py").write_text((tmp_path / "subject.py").read_text())
    script = "import sys, pathlib, subject; from parity.base.fingerprint import code; "
    script += "print(code(subject.USE, root=pathlib.Path(sys.argv[1])))"
    seen = set()
    for seed, root in (("1", tmp_path), ("2", tmp_path), ("3", moved)):
        path = os.pathsep.join((str(root), str(Path(__file__).parents[3])))
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        command = [sys.executable, "-c", script, str(root)]
        seen.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(seen) == 1
    assert "use(…)" in seen.pop()


def test_a_file_that_changed_since_it_was_imported_is_an_error(project: Project) -> None:
    subject = project.load()
    project.edit("subject.py", "def calls(", "\n\ndef calls(")
    with pytest.raises(TypeError, match=r"calls is not at .*subject\.py, line \d+.* run again"):
        code(subject.calls, root=project.root)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("import helpers\n\n\ndef use():\n    return helpers.missing()", r"subject uses helpers\.missing"),
        ("from package.deep import lost\n\n\ndef use():\n    return lost()", r"subject uses package\.deep\.lost"),
        ("from helpers import *\n\n\ndef use():\n    return shift()", r"subject\.use uses shift, .*import \*"),
        ("use = type('Made', (), {})", r"Made, for which subject has no class statement"),
        ("use = eval('lambda: 1')", r"<lambda> is not at <string>"),
        ("use = [lambda: 1, lambda: 2]", r"<lambda> stands several times at .*subject\.py, line 1"),
    ],
)
def test_what_can_not_be_followed_is_an_error_that_names_it(project: Project, text: str, named: str) -> None:
    project.edit("helpers.py", "def __getattr__(name):\n    return 26\n", "")
    project.load("helpers").missing = project.load("package.deep").lost = None  # type: ignore[attr-defined]
    module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec("subject", None))
    project.write("subject.py", text)
    module.__file__ = str(project.root / "subject.py")
    sys.modules["subject"] = module
    exec(compile(text, module.__file__, "exec"), vars(module))
    with pytest.raises((TypeError, ImportError), match=named):
        code(module.use, root=project.root)


def test_a_module_without_a_package_file_counts(project: Project) -> None:
    project.write("loose/part.py", "def work():\n    return 1\n")
    project.write("subject.py", "import loose.part\n\n\ndef use():\n    return loose.part.work()\n")
    assert project.code("use").keys() == {"use", "work"}


def test_what_is_installed_below_the_root_is_not_ours(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write(".venv/lib/site-packages/other.py", "def work():\n    return 1\n")
    monkeypatch.syspath_prepend(project.root / ".venv/lib/site-packages")
    project.write(
        "subject.py", "import other\nfrom json import dumps\n\n\ndef use():\n    return other.work(), dumps\n"
    )
    assert project.code("use").keys() == {"use"}


def _made_here(gain: int) -> Callable[[int], int]:
    return lambda x: x * gain


@pytest.mark.parametrize(
    "decorator", ["@reg", "@reg(\n    1\n)", "@(\n    reg\n)", "@one\n@(\n    reg\n)", "a = 1; b = 2"]
)
def test_a_statement_is_read_from_its_first_line_on(decorator: str) -> None:
    found = parse(f"x = 1  # @\n{decorator}\ndef f():\n    return y\n".encode()).statements
    names = {one for statement in found for one in statement.tokens if isinstance(one, tuple)}
    assert names == {(name,) for name in ("reg", "one", "y") if name in decorator + "y"}


def test_functions_of_a_test_can_be_told_apart() -> None:
    assert code(_made_here(1)) == code(_made_here(1))
    assert code(_made_here(1)) != code(_made_here(2))
    assert list(code(_made_here)) == ["_made_here"]


def test_a_tree_is_all_that_its_files_define_and_what_that_reaches(project: Project) -> None:
    def found() -> str:
        return tree(project.load("package"), root=project.root)

    before = found()
    project.edit("package/deep.py", "def dig():", 'def dig() -> int:\n    """Dig."""')
    (project.root / "package/late_module.py").rename(project.root / "package/latest_module.py")
    assert found() == before
    project.edit("package/lazy.py", "return 23", "from helpers import shift\n    return shift")
    reaching = found()
    project.edit("helpers.py", "return x + by", "return x - by")
    project.write("package/notes.txt", "anything")
    assert len({before, reaching, found()}) == 3

    project.write("hollow/notes.txt", "anything")
    with pytest.raises(ValueError, match="hollow has no Python files"):
        tree(project.load("hollow"), root=project.root)
