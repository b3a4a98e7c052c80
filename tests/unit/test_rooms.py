"""The rooms of the project: imports go one way, names are nouns, and no system is named in the harness."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.rooms import PACKAGES, ROOT, Arrow, Tree, entries, planned, room

TREE = Tree()
LEVELS = planned()

ALLOWED = {
    "parity": {"milrun"},
    "milrun": set(),
    "references": {"parity"},
    "converters": {"parity", "references"},
}
PUBLIC = ("parity.declarations", "parity.steps", "parity.diarization")
"""All that a system imports of the harness."""

LAZY = {
    ("parity.base.paths", "parity.base.toml"): "a project without [tool.parity] imports nothing heavy",
    ("parity.plugin", "parity.plan.systems"): "a run that selects no checks imports nothing heavy",
    ("parity.plugin", "parity.plugin.items"): "a run that selects no checks imports nothing heavy",
    ("parity.run.coreml", "milrun"): "imports torch, and only the stand-in for Core ML needs it",
    ("references.sortformer.checkpoint", "references.sortformer.upstream"): "needs NeMo, which is an extra",
}
"""Imports of our own inside a function, and why."""

NOUNS = set(
    "embedding feed findings learning listening loading meeting meetings recording rounding "
    "rulings sampling seed seeding settings slicing sorting speaking spelling stepping timing used voicing "
    "widening wording importing".split()
)
"""Words that end like a participle and name a thing or an activity."""


def described(arrow: Arrow) -> tuple[str, str]:
    return arrow.source, arrow.target


def test_every_room_of_the_harness_is_on_the_plan() -> None:
    assert {room(name) for name in TREE.modules if room(name)} == set(LEVELS)


def test_rooms_import_only_downward() -> None:
    inside = [arrow for arrow in TREE.arrows if room(arrow.source) and room(arrow.target)]
    upward = {
        described(arrow)
        for arrow in inside
        if room(arrow.source) != room(arrow.target) and LEVELS[room(arrow.source)] <= LEVELS[room(arrow.target)]
    }
    assert upward == set()


def test_no_files_import_each_other_in_a_circle() -> None:
    assert TREE.circles() == []


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_what_they_may(package: str) -> None:
    for arrow in TREE.arrows:
        source, target = arrow.source.partition(".")[0], arrow.target.partition(".")[0]
        if source == package and target != package:
            assert target in ALLOWED[package], f"{arrow.source} imports {arrow.target}"
            if target == "parity":
                known = arrow.target in PUBLIC or arrow.target.startswith("parity.diarization.")
                assert known, f"{arrow.source} imports {arrow.target}, which is not public"


def test_our_own_modules_are_imported_at_the_top_of_a_file() -> None:
    assert {described(arrow) for arrow in TREE.arrows if arrow.lazy} - set(LAZY) == set()


def test_the_harness_is_no_deeper_than_nine_rooms() -> None:
    assert len(TREE.floors()) <= 9, " → ".join(TREE.floors())


def test_a_tensor_passes_few_files() -> None:
    assert len(TREE.on_the_way()) <= 45, sorted(TREE.on_the_way())


def test_the_top_of_the_harness_has_at_most_twenty_entries() -> None:
    assert len(entries(ROOT)) <= 20, entries(ROOT)


def test_file_names_are_nouns() -> None:
    names = [path.relative_to(ROOT).as_posix() for path in TREE.modules.values() if path.name != "__init__.py"]
    wrong = {
        name
        for name in names
        for word in re.split(r"[/_]", name.removesuffix(".py"))
        if re.search(r"(ing|ings|ed)$", word) and word not in NOUNS
    }
    assert wrong == set()


def test_no_system_is_named_in_the_harness() -> None:
    systems = {path.stem for path in (ROOT / "converters").iterdir() if not path.name.startswith("_")}
    assert {"kokoro", "pocket_tts", "sortformer"} <= systems
    named = re.compile("|".join(rf"\b{system}\b" for system in systems), re.IGNORECASE)
    for path in (ROOT / "parity").rglob("*"):
        if path.suffix in (".py", ".toml", ".html", ".js", ".css"):
            assert not named.search(path.read_text(encoding="utf-8")), f"{path.relative_to(ROOT)} names a system"


def test_a_planted_circle_and_a_planted_upward_import_are_found(tmp_path: Path) -> None:
    for name, text in {
        "parity/base/files.py": "from parity.judge.gates import Gate\n",
        "parity/judge/gates.py": "def late():\n    from parity.base import files\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    tree = Tree(tmp_path)
    assert tree.circles() == [["parity.base.files", "parity.judge.gates"]]
    assert Arrow("parity.judge.gates", "parity.base.files", lazy=True) in tree.arrows
