"""The locks of this project, and what the lock of an extra says of packages that are not installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from parity.base import libraries
from parity.base.paths import Project, project, using


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    with using(Project(tmp_path)):
        yield tmp_path


def test_the_locks_of_this_project_pin_each_package_once() -> None:
    base, extra = (
        libraries.pins(project().root / name) for name in ("requirements.lock", "requirements-sortformer.lock")
    )
    assert "torch" in base
    assert "nemo-toolkit" in extra
    assert not base.keys() & extra.keys()


def test_a_version_is_told_for_any_spelling_and_of_extras_alone(root: Path) -> None:
    (root / "requirements-heavy.lock").write_text("# NeMo\nhydra-core==1.3.2\n\nml_dtypes==0.6.0  # of onnx\n")
    (root / "requirements.lock").write_text("attrs==26.1.0\n")
    assert libraries.of_an_extra("ML.Dtypes") == "0.6.0"
    assert libraries.of_an_extra("attrs") is None
    assert libraries.of_an_extra("no-such-library") is None


def test_two_extras_that_disagree_are_refused(root: Path) -> None:
    (root / "requirements-heavy.lock").write_text("onnx==1.0\n")
    (root / "requirements-other.lock").write_text("onnx==2.0\n")
    with pytest.raises(ValueError, match=r"onnx is pinned to 1\.0 and 2\.0"):
        libraries.of_an_extra("onnx")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("numpy>=2\n", "'numpy>=2' does not pin a version"),
        ("numpy @ file:///tmp/numpy\n", "does not pin a version"),
        ("numpy==2.0; python_version < '3.12'\n", "does not pin a version"),
        ("numpy==2.0\nNumPy==2.1\n", "NumPy is pinned twice"),
    ],
)
def test_a_line_that_pins_nothing_is_refused(root: Path, text: str, said: str) -> None:
    (root / "requirements-heavy.lock").write_text(text)
    with pytest.raises(ValueError, match=said):
        libraries.of_an_extra("numpy")


def test_a_line_about_something_else_that_pins_nothing_is_skipped(root: Path) -> None:
    lines = ["-e file:.", "--pre", "torch>=2", "foo==1 --hash=sha256:0", "numpy==2.1.0"]
    (root / "requirements-dev.lock").write_text("\n".join(lines))
    assert libraries.of_an_extra("numpy") == "2.1.0"
    assert libraries.of_an_extra("no-such-library") is None
