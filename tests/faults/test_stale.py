"""A stale artifact, or a stale golden, after the weights or the reference changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from parity.build.artifacts import PACKAGE
from tests.support.project import REFERENCES, Project
from tests.support.runs import artifacts, checked, gathered

OTHER_WEIGHTS = ("torch.linspace(-0.5, 0.7", "torch.linspace(-0.5, 0.8")
MEND = 'python -m parity golden refresh tiny --reason "…"'
MODEL = "Data/com.apple.CoreML/model.mlmodel"
FORGET = f"""\
import sys
from pathlib import Path
from coremltools.models.utils import load_spec

for package in Path(sys.argv[1]).iterdir():
    spec = load_spec(str(package))
    spec.description.metadata.userDefined.clear()
    (package / "{MODEL}").write_bytes(spec.SerializeToString())
"""


@pytest.fixture(scope="module")
def moved(green_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """With other weights, and the packages made from them in `given`; the goldens are of the weights before."""
    project = green_project.copy(tmp_path_factory.mktemp("moved") / "project")
    project.edit(REFERENCES, *OTHER_WEIGHTS)
    gathered(project, "given")
    return project


def forgetful(project: Project, given: str) -> None:
    """As a foreign tool makes packages: they don't say what they were made from."""
    project.write("forget.py", FORGET)
    project.done("forget", given)


def test_packages_of_other_weights_are_refused_by_what_they_say(project: Project, moved: Project) -> None:
    run = checked(project, f"--artifacts={moved.path('given')}")
    assert not run.green
    for stage in ("front", "back"):
        assert run.broken(f"tiny-{stage}-fp32-hello-forced") == {(stage, "runs")}
    assert not run.broken("tiny-front-module")
    assert "is not what the goldens describe: weights is" in run.said
    assert "Build it again" in run.said


def test_a_package_of_another_stage_is_refused_by_what_it_says(project: Project) -> None:
    given = project.path(gathered(project, "given"))
    aside = given / "aside"
    (given / "front-fp32.mlpackage").rename(aside)
    (given / "front-fp16.mlpackage").rename(given / "front-fp32.mlpackage")
    aside.rename(given / "front-fp16.mlpackage")
    run = checked(project, "-k", "front and forced", "--artifacts=given")
    assert not run.green
    assert "variant is fp16, not fp32" in run.problems
    assert "variant is fp32, not fp16" in run.problems


def test_foreign_packages_are_judged_by_their_numbers(project: Project, moved: Project, tmp_path: Path) -> None:
    gathered(project, "right")
    forgetful(project, "right")
    assert checked(project, "--artifacts=right").green

    wrong = moved.copy(tmp_path / "moved")
    forgetful(wrong, "given")
    run = checked(project, f"--artifacts={wrong.path('given')}")
    assert not run.green
    assert ("hidden", "relative_l2") in run.broken("tiny-front-fp32-hello-forced")
    assert "is not what the goldens describe" not in run.said


def test_other_weights_are_built_anew(moved: Project, green_project: Project) -> None:
    assert artifacts(moved) > artifacts(green_project)
    assert len(artifacts(moved)) == 2 * len(artifacts(green_project))


def test_a_golden_of_other_weights_is_stale(moved: Project, tmp_path: Path) -> None:
    project = moved.copy(tmp_path / "project")
    run = checked(project)
    assert not run.green
    assert not run.verdicts or not any(verdict.passed for verdict in run.verdicts.values())
    assert "the golden is stale" in run.problems
    assert "weights" in run.problems
    assert MEND in run.problems
    project.done("golden", "refresh", "tiny", "--reason", "other weights")
    assert checked(project).green


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("hidden, y = model(x)", "hidden, y = model(x * 1.0)", "code.record changed"),
        ("torch.tanh(self.front(x))", "torch.sigmoid(self.front(x))", "code.Upstream changed"),
        ("np.sin(", "np.cos(", "input x of the case changed"),
    ],
)
def test_a_golden_of_another_reference_is_stale(old: str, new: str, named: str, project: Project) -> None:
    project.edit(REFERENCES, old, new)
    run = checked(project)
    assert not run.green
    assert "the golden is stale" in run.problems
    assert named in run.problems
    assert MEND in run.problems


@pytest.mark.parametrize("name", [MODEL, "Data/com.apple.CoreML/weights/weight.bin"])
def test_a_package_that_was_tampered_with_in_the_cache_is_made_anew(name: str, project: Project) -> None:
    for path in project.folder.glob(f".parity/artifact/*/{PACKAGE}/{name}"):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    # Evidence of the sound packages would spare the run a look at them.
    shutil.rmtree(project.folder / ".parity/evidence")
    run = checked(project)
    assert run.green
    assert "a damaged cache entry is made again" in run.said
    for path in project.folder.glob(f".parity/damaged/*/{PACKAGE}/{name}"):
        assert path.read_bytes()
