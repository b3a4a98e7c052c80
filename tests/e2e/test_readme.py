"""Tests of the documentation: its commands run in CI, its tutorial works, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from parity.compare import contract
from parity.compare.metrics import METRICS
from parity.declarations import Kind
from parity.judge import package
from tests import example
from tests.support.project import HERE, Project
from tests.support.runs import checked

README, TUTORIAL = HERE / "README.md", HERE / "docs/add-a-system.md"
PAGES = [README, HERE / "CONTRIBUTING.md", HERE / "milrun/README.md", *sorted((HERE / "docs").rglob("*.md"))]
FILE = re.compile(r"`([\w/]+\.py)`:\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```(?:sh)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
LINK = re.compile(r"\[[^]]+\]\(([^)\s]+)\)")
COMMAND = re.compile(r"^(?:\$ )?(?:\.venv/bin/)?(?:python -m \S|pytest -m|parity \S|milrun \S|make \S)")

NOT_IN_CI = {
    "make conformance": "takes hours; conformance-sample is a part of it",
    "make fuzz": "takes hours; its test runs among the others with fewer examples",
    "make golden": "records every system; `golden verify` records one",
    "make lock": "writes down what is installed here",
    "python -m parity golden diff": "compares like `golden verify`, and writes as little",
    "python -m references.sortformer.train": "takes a night; tests/systems/sortformer/test_training.py trains a little",
    "python -m references.sortformer.evaluate": "takes the trained voices of an hour",
    "python -m references.sortformer.widening": "tests/systems/sortformer/test_published.py calls it",
    "python -m tests.published.make_fixtures": "environments of three old coremltools; its packages are committed",
    "python -m tests.bench.long_meeting": "takes an hour of audio",
}
"""Commands that documents name and CI does not run, and why."""


def key(words: list[str]) -> str:
    """Return a command without its options: the program, and its verb, target or mark."""
    if words[0] == "pytest":
        words = ["python", "-m", *words]
    if words[0] in ("parity", "milrun"):
        words = ["python", "-m", *words]
    if words[0] == "make":
        return " ".join(words[:2])
    _, _, module, *rest = words
    verbs = 2 if rest[:1] == ["golden"] else 1
    if module == "pytest":
        return f"pytest -m {rest[rest.index('-m') + 1]}" if "-m" in rest else "pytest"
    return " ".join(["python -m", module, *(rest[:verbs] if module in ("parity", "golden", "milrun") else [])])


def commands(text: str) -> Iterator[str]:
    """Yield every command that a document names, in a block or in a line of text."""
    lines = "\n".join(FENCED.findall(text)).splitlines()
    spans = INLINE.findall(re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    for line in (*lines, *spans):
        if COMMAND.match(line.strip()):
            words = shlex.split(line.strip().removeprefix("$ ").removeprefix(".venv/bin/"), comments=True)
            yield key([re.split(r"\s{2,}", word)[0] for word in words])


def recipes() -> dict[str, list[list[str]]]:
    """Return the commands of every target of the Makefile, those of the targets that it needs included."""
    found: dict[str, list[list[str]]] = {}
    target = ""
    for line in (HERE / "Makefile").read_text(encoding="utf-8").splitlines():
        if rule := re.match(r"([a-z-]+%?):([^=#]*)", line):
            target = rule[1]
            found[target] = [["make", name] for name in rule[2].split() if not name.startswith("$")]
        elif line.startswith("\t") and target:
            said = line.strip().replace("$(PY)", "python").replace("$(VENV)/bin/", "")
            found[target].append([word for word in said.split() if "=" not in word])
        else:
            target = ""
    return found


def steps() -> Iterator[list[str]]:
    """Yield the commands that .ci/run names."""
    for line in (HERE / ".ci/run").read_text(encoding="utf-8").replace("$bin/", "").splitlines():
        words = shlex.split(line) if line.startswith(("step ", "together ")) else [""]
        if words[0] == "step":
            yield words[2:]
        if words[0] == "together":
            yield from (part.split() for joined in words[2::2] for part in joined.split("&&"))


def run_by_ci() -> set[str]:
    """Return every command that CI runs: those of its script, of the targets that this calls, and of the tutorial."""
    targets, found = recipes(), set()
    pending = list(steps())
    while pending:
        words = pending.pop()
        if words[0] in ("make", "python") and key(words) not in found:
            found.add(key(words))
            pending += targets.get(words[1], targets.get(f"{words[1].partition('-')[0]}-%", []))
    found |= {key(words) for words, _ in typed()}
    found |= {f"make {target}" for target, lines in targets.items() if [".ci/run"] in lines}
    if "python -m tests.example" in found:
        found |= {key(["milrun", *arguments]) for arguments in example.commands("m", "i", "o")}
    return found


def files() -> dict[str, str]:
    return dict(FILE.findall(TUTORIAL.read_text(encoding="utf-8")))


def typed() -> list[tuple[list[str], bool]]:
    """Return the commands of the tutorial, and whether each is said to fail."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", TUTORIAL.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [(shlex.split(line, comments=True), "# fails" in line) for line in "\n".join(blocks).splitlines()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(HERE).as_posix())
def test_ci_runs_every_command_that_a_document_names(page: Path) -> None:
    named = set(commands(page.read_text(encoding="utf-8")))
    missing = named - run_by_ci() - set(NOT_IN_CI)
    assert not missing, f"CI never runs {', '.join(sorted(missing))}: add it to .ci/run"


def test_a_command_that_ci_never_runs_is_found() -> None:
    text = "Type `python -m parity explode kokoro`.\n\n```sh\nmake coffee   # strong\npytest -m parity -k hum\n```\n"
    assert set(commands(text)) == {"python -m parity explode", "make coffee", "pytest -m parity"}
    assert set(commands(text)) - run_by_ci() == {"python -m parity explode", "make coffee"}


def test_what_is_excused_from_ci_is_named_somewhere_and_not_run() -> None:
    named = {command for page in PAGES for command in commands(page.read_text(encoding="utf-8"))}
    assert set(NOT_IN_CI) <= named - run_by_ci()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(HERE).as_posix())
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, heading = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{page.name} links to {link}, which is not there"
        if heading:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}
            assert heading in anchors, f"{page.name} links to {link}; {target.name} has no such heading"


def test_every_page_is_in_the_index() -> None:
    index = (HERE / "docs/README.md").read_text(encoding="utf-8")
    for page in (HERE / "docs").rglob("*.md"):
        name = page.relative_to(HERE / "docs").as_posix()
        assert name == "README.md" or f"({name})" in index, f"docs/README.md does not link to {name}"


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_the_metrics_of_every_kind_are_documented() -> None:
    text = (HERE / "docs/gates.md").read_text(encoding="utf-8")
    of_metrics, _, unbounded = text.partition("## Gates without a bound")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", of_metrics, re.MULTILINE))
    documented = {kind: set(re.findall(r"`(\w+)`", names)) for kind, names in rows.items()}
    measured = {
        kind: {metric.name for metric in METRICS.values() if kind in metric.kinds and not metric.on_request}
        for kind in get_args(Kind)
    }
    assert documented == measured
    assert [metric.name for metric in METRICS.values() if f"`{metric.name}`" not in text] == []
    named = unbounded + (HERE / "docs/executorch.md").read_text(encoding="utf-8")
    assert [gate for gate in (*package.GATES, *contract.GATES) if f"`{gate}`" not in named] == []


def test_the_tutorial_works_as_it_is_written(warm_python: Path, tmp_path: Path) -> None:
    packages = tmp_path / "packages"  # an installation has no more of this checkout
    packages.mkdir()
    for name in ("parity", "milrun"):
        (packages / name).symlink_to(HERE / name)
    project = replace(Project.bare(tmp_path / "project", warm_python, {}), packages=packages)
    for words, fails in typed():
        words = words[2:] if words[:2] == ["python", "-m"] else words
        finished = project.run(*words)
        assert finished.code == int(fails), finished.said
    assert list(files()) == ["references/hum.py", "converters/hum.py"]
    assert {name: project.read(name) for name in files()} == files(), "`parity init` writes other files than these"
    project.edit("converters/hum.py", "torch.tanh(self.conv(mel))", "1.05 * torch.tanh(self.conv(mel))")
    run = checked(project)
    assert not run.green
    assert ("hidden", "rms_ratio") in run.broken("hum-encoder-fp16-word-forced")
    assert ("decoder.audio", "relative_l2") in run.broken("hum-chain-ships-word-chained")
