"""The README's example of a new system, done word by word in a project that has no other."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.support.project import HERE, Project
from tests.support.runs import checked

README = HERE / "README.md"
SECTION = re.compile(r"^## Add a system$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`([\w/]+\.py)`:\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def section() -> str:
    found = SECTION.search(README.read_text(encoding="utf-8"))
    assert found, "the README has no section 'Add a system'"
    return found[1]


def files() -> dict[str, str]:
    return dict(FILE.findall(section()))


def commands() -> list[tuple[list[str], bool]]:
    """What is typed, and whether it is said to fail."""
    lines = "\n".join(COMMANDS.findall(section())).splitlines()
    return [(shlex.split(line, comments=True), "# fails" in line) for line in lines]


def test_the_example_needs_one_file_in_either_room() -> None:
    assert list(files()) == ["references/hum.py", "converters/hum.py"]


def test_the_example_works_as_it_is_written(warm_python: Path, tmp_path: Path) -> None:
    project = Project.bare(tmp_path / "project", warm_python, files())
    assert len(commands()) == 4
    for words, fails in commands():
        words = words[2:] if words[:2] == ["python", "-m"] else words
        finished = project.run(*words)
        assert finished.code == int(fails), finished.said
    project.edit("converters/hum.py", "torch.tanh(self.conv(mel))", "1.05 * torch.tanh(self.conv(mel))")
    run = checked(project)
    assert not run.green
    assert ("hidden", "rms_ratio") in run.broken("hum-encoder-fp16-word-forced")
    assert ("decoder.audio", "relative_l2") in run.broken("hum-chain-ships-word-chained")
