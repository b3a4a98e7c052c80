"""What a change to source code does to fingerprints: each kind of reference is followed, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from parity.base.fingerprint import code
from tests.support.edit_modules import Project, project
from tests.support.edits import FOLLOWED, IGNORED

__all__ = ["project"]


@pytest.mark.parametrize("kind", FOLLOWED)
def test_a_change_is_seen_in(kind: str, project: Project) -> None:
    expression, file, old, new = FOLLOWED[kind]
    before = project.code(expression)
    assert project.code(expression) == before
    project.edit(file, old, new)
    assert project.code(expression) != before


@pytest.mark.parametrize("kind", IGNORED)
def test_nothing_changes_with(kind: str, project: Project) -> None:
    expression, file, old, new = IGNORED[kind]
    before = project.code(expression)
    project.edit(file, old, new)
    assert project.code(expression) == before
    assert before


def test_each_piece_has_its_own_fingerprint(project: Project) -> None:
    before = project.code("calls")
    project.edit("helpers.py", "return x + by", "return x - by")
    after = project.code("calls")
    assert [name for name in before if before[name] != after[name]] == ["helpers.shift"]
    assert {"subject.calls", "subject.Subject", "subject.Base", "subject.SCALE", "helpers.pad"} <= before.keys()
    assert all(len(value) == 16 for value in before.values())


def test_what_others_wrote_is_left_out(project: Project) -> None:
    assert {name.partition(".")[0] for name in project.code("values, calls")} == {"subject", "helpers", "package"}


def test_the_order_of_the_things_makes_no_difference(project: Project) -> None:
    assert project.code("calls, Subject, values, even") == project.code("even, values, Subject, calls")


def test_a_recursion_is_the_same_from_either_end(project: Project) -> None:
    assert project.code("even") == project.code("odd")


def test_closures_that_hold_each_other_end(project: Project) -> None:
    project.write(
        "subject.py",
        "def pair():\n    def one(n):\n        return two(n)\n\n    def two(n):\n        return one(n + 1)\n\n"
        "    return one, two\n\n\nONE, TWO = pair()\nLOOP = [1]\nLOOP.append(LOOP)\n\n\n"
        "def use():\n    return ONE, TWO, LOOP\n",
    )
    before = project.code("use")
    assert project.code("use") == before
    project.edit("subject.py", "n + 1", "n + 2")
    assert project.code("use") != before


def test_values_do_not_depend_on_hashes_or_on_where_the_project_lies(project: Project, tmp_path: Path) -> None:
    project.write(
        "subject.py",
        "from pathlib import Path\n\nNAMES = {'a', 'b', 'c'}\nHERE = Path(__file__).parent\n\n\ndef use():\n"
        "    return NAMES, HERE, __file__\n",
    )
    moved = tmp_path.parent / f"{tmp_path.name}-moved"
    moved.mkdir()
    (moved / "subject.py").write_text((tmp_path / "subject.py").read_text())
    script = "import sys, pathlib, subject; from parity.base.fingerprint import code; "
    script += "print(code(subject.use, root=pathlib.Path(sys.argv[1])))"
    seen = set()
    for seed, root in (("1", tmp_path), ("2", tmp_path), ("3", moved)):
        path = os.pathsep.join((str(root), str(Path(__file__).parents[3])))
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}
        command = [sys.executable, "-c", script, str(root)]
        seen.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(seen) == 1
    assert "subject.NAMES" in seen.pop()


def test_a_file_that_changed_since_it_was_imported_is_an_error(project: Project) -> None:
    subject = project.load()
    project.edit("subject.py", "def calls(", "\n\ndef calls(")
    with pytest.raises(TypeError, match=r"subject\.calls is not to be found in .*subject\.py.* Run again"):
        code(subject.calls, root=project.root)


def test_an_import_that_fails_is_an_error_that_names_who_wants_it(project: Project) -> None:
    project.write("package/lazy.py", "import no_such_module\n")
    with pytest.raises(ImportError, match=r"subject\.local_import imports package\.lazy other: .*no_such_module"):
        project.code("local_import")


def test_a_module_without_a_package_file_counts(project: Project) -> None:
    project.write("loose/part.py", "def work():\n    return 1\n")
    project.write("subject.py", "import loose.part\n\n\ndef use():\n    return loose.part.work()\n")
    before = project.code("use")
    assert "loose.part.work" in before
    project.edit("loose/part.py", "return 1", "return 2")
    assert project.code("use") != before


def test_what_is_installed_below_the_root_is_not_ours(project: Project) -> None:
    project.write(".venv/lib/site-packages/other.py", "def work():\n    return 1\n")
    sys.path.append(str(project.root / ".venv/lib/site-packages"))
    project.write(
        "subject.py", "import other\nfrom other import work\n\n\ndef use():\n    return other.work() + work()\n"
    )
    try:
        assert project.code("use").keys() == {"subject.use"}
    finally:
        sys.path.pop()


def _made_here(gain: int) -> Callable[[int], int]:
    return lambda x: x * gain


def test_functions_of_a_test_can_be_told_apart() -> None:
    assert code(_made_here(1)) == code(_made_here(1))
    assert code(_made_here(1)) != code(_made_here(2))
    assert list(code(_made_here)) == ["tests.unit.base.test_code_fingerprint._made_here"]
