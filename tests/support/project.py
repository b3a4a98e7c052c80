"""A whole small project beside this harness: one made-up system with its goldens and gates, and a git history.

Everything in it is done by the commands that a user has. It is made once in a test run; each test gets a copy.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

HERE = Path(__file__).parents[2]
FILES = (".gitignore", "golden/.gitignore", "references/__init__.py", "converters/__init__.py")


def reference(name: str, says: str, model: str, recording: str) -> str:
    """Return the source of a made-up reference.

    Args:
        name: The name of the system.
        says: What the reference says of itself.
        model: The source of `Upstream` and of `seed`.
        recording: The source of `record` and of `case`.
    """
    return f'''\
"""{says}"""

import numpy as np
import torch
from torch import nn

from parity.declarations import Case, Hub, Reference, Seam


{dedent(model).strip()}


def build(checkpoint):
    model = Upstream()
    model.load_state_dict(torch.load(checkpoint, weights_only=True))
    return model.eval()


{dedent(recording).strip()}


REFERENCE = Reference(
    name="{name}",
    sample_rate=8_000,
    cases=(case("hello", 12), case("goodbye", 20)),
    packages=("torch",),
    checkpoint=Hub("nobody/{name}", "{name}.pth", "0" * 40, "0" * 64),
    seed=seed,
    build=build,
    record=record,
)
'''


REFERENCE = reference(
    "tiny",
    "Two layers that stand for a speech model.",
    model="""
    class Upstream(nn.Module):
        def __init__(self):
            super().__init__()
            self.front = nn.Conv1d(4, 8, 3, padding=1)
            self.back = nn.Conv1d(8, 2, 1)

        def forward(self, x):
            hidden = torch.tanh(self.front(x))
            return hidden, self.back(hidden)


    def seed(checkpoint):
        model = Upstream()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.linspace(-0.5, 0.7, parameter.numel()).reshape(parameter.shape))
        torch.save(model.state_dict(), checkpoint)
    """,
    recording="""
    def record(model, case):
        x = torch.from_numpy(case.inputs["x"])
        with torch.no_grad():
            hidden, y = model(x)
        yield Seam("front", {"x": x.numpy()}, {"hidden": hidden.numpy()})
        yield Seam("back", {"hidden": hidden.numpy()}, {"y": y.numpy()})


    def case(name, frames):
        x = np.sin(np.arange(4 * frames, dtype=np.float32)).reshape(1, 4, frames)
        return Case(name, {"x": x}, short=True)
    """,
)

CONVERTER = dedent('''\
    """The same two layers, a graph each."""

    import torch
    from torch import nn

    from parity.declarations import Dim, Stage, System, Variant, real
    from references.tiny import REFERENCE

    FRAMES = Dim("frames", 1, 64)


    class Front(nn.Module):
        def __init__(self, upstream):
            super().__init__()
            self.conv = upstream.front

        def forward(self, x):
            # squashes
            return torch.tanh(self.conv(x))


    class Back(nn.Module):
        def __init__(self, upstream):
            super().__init__()
            self.conv = upstream.back

        def forward(self, hidden):
            return self.conv(hidden)


    VARIANTS = (Variant("fp32", "float32"), Variant("fp16", "float16", ships=True))
    FRONT = Stage(
        "front",
        Front,
        inputs={"x": real(1, 4, FRAMES)},
        outputs={"hidden": real(1, 8, FRAMES)},
        variants=VARIANTS,
        trace_at={"frames": 16},
    )
    BACK = Stage(
        "back",
        Back,
        inputs={"hidden": real(1, 8, FRAMES)},
        outputs={"y": real(1, 2, FRAMES)},
        variants=VARIANTS,
        trace_at={"frames": 16},
    )


    def chain(run, case):
        run("back", run("front", {"x": case.inputs["x"]}))


    SYSTEM = System(REFERENCE, (FRONT, BACK), chain)
    ''')

REFERENCES, CONVERTED = "references/tiny.py", "converters/tiny.py"
GATES, SETTINGS, HOOKS = "golden/tiny/gates.toml", "pyproject.toml", "conftest.py"
CONFIGURATION = """\
[tool.parity]
systems = ["converters"]

[tool.pytest.ini_options]
addopts = "-ra --strict-markers -p parity.plugin -p no:hypothesispytest -p no:hydra_pytest"
"""
"""Without the plugins of Hypothesis and Hydra: what these import is a third of a run's time."""
SYSTEM: Mapping[str, str] = {REFERENCES: REFERENCE, CONVERTED: CONVERTER}


@dataclass(frozen=True)
class Finished:
    """How a command ended, and all that it said."""

    code: int
    said: str


@dataclass(frozen=True)
class Project:
    """`python` runs its commands, see `tests.support.fork_server`, and imports from `packages` what is not its own."""

    folder: Path
    python: Path = field(default_factory=lambda: Path(sys.executable))
    packages: Path = HERE

    def run(self, *arguments: str, **environment: str) -> Finished:
        """`python -m` with these arguments."""
        process = self.start(*arguments, **environment)
        said, _ = process.communicate(timeout=300)
        return Finished(process.returncode, said)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        # No bytecode of what a test edits: within a second, Python could not tell it from that of the next edit.
        own = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(self.packages), **environment}
        return subprocess.Popen(
            [str(self.python), "-m", *arguments],
            cwd=self.folder,
            env={**_clean(), **own},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def done(self, *arguments: str) -> str:
        """What a command said that had to go well."""
        finished = self.run(*arguments)
        assert finished.code == 0, finished.said
        return finished.said

    def path(self, name: str) -> Path:
        return self.folder / name

    def read(self, name: str) -> str:
        return self.path(name).read_text(encoding="utf-8")

    def write(self, name: str, text: str) -> None:
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text, encoding="utf-8")

    def edit(self, name: str, old: str, new: str) -> None:
        text = self.read(name)
        assert old in text, f"{name} does not hold {old!r}"
        self.write(name, text.replace(old, new))

    def gate(self, table: str, metric: str) -> str:
        """The line of one gate."""
        lines = self.read(GATES).partition(f"[{table}]\n")[2].splitlines(keepends=True)
        return next(line for line in lines if line.startswith(metric))

    def change_gate(self, table: str, metric: str, old: str, new: str) -> None:
        """Edits the line of one gate; all of it, where `old` is empty."""
        line = self.gate(table, metric)
        assert old in line, f"{line!r} does not hold {old!r}"
        before, head, after = self.read(GATES).partition(f"[{table}]\n")
        self.write(GATES, before + head + after.replace(line, line.replace(old, new) if old else new, 1))

    def mark(self, mark: str, kind: str = "Item") -> None:
        """Has pytest put a mark on each of its items whose class has this name, or on all."""
        self.write(
            HOOKS,
            "import pytest\n\n\ndef pytest_collection_modifyitems(items):\n    for item in items:\n"
            f"        if type(item).__name__.endswith({kind!r}):\n            item.add_marker({mark})\n",
        )

    def remove(self, name: str) -> None:
        path = self.path(name)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
        run = subprocess.run(
            ["git", *who, *arguments], cwd=self.folder, env=_clean(), capture_output=True, text=True, check=True
        )
        return run.stdout.strip()

    def commit(self, message: str = "a change") -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def copy(self, folder: Path) -> Project:
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder, self.python)

    @staticmethod
    def bare(folder: Path, python: Path, system: Mapping[str, str] = SYSTEM) -> Project:
        """With a system that has neither goldens nor gates yet, and no history."""
        project = Project(folder, python)
        for name in FILES:
            project.write(name, (HERE / name).read_text(encoding="utf-8"))
        project.write(SETTINGS, CONFIGURATION)
        for name, text in system.items():
            project.write(name, text)
        return project

    @staticmethod
    def green(folder: Path, python: Path) -> Project:
        """With goldens and gates, built, checked, and committed on main, where there was a README before."""
        project = Project(folder, python)
        project.write("README.md", "A port.\n")
        project.git("init", "--quiet", "--initial-branch", "main")
        project.commit("a beginning")
        Project.bare(folder, python)
        project.done("golden", "refresh", "tiny", "--reason", "first recording")
        project.done("parity", "calibrate", "tiny")
        project.commit("a green project")
        return project


def _clean() -> dict[str, str]:
    """Without what a test run, or a git hook that started it, has set for itself."""
    foreign = ("PYTEST_", "GIT_", "COV_", "PYTHONPATH")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
