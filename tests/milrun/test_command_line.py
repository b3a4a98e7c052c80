"""The command line, as a person uses it: its text, its files, its exit codes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb  # noqa: N813

import milrun
from milrun.__main__ import main
from tests.milrun.packages import program, save

_X = np.random.default_rng(0).standard_normal((4, 16)).astype(np.float32)


def _network(weight: float):  # type: ignore[no-untyped-def]
    matrix = np.random.default_rng(1).standard_normal((8, 16)).astype(np.float32)

    def body(x):  # type: ignore[no-untyped-def]
        h = mb.linear(x=x, weight=matrix, name="hidden")
        h = mb.tanh(x=mb.mul(x=h, y=np.float32(weight), name="scaled"), name="squashed")
        return mb.reduce_sum(x=h, axes=[1], name="y")

    return program(body, [(4, 16)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli")
    save(path / "a.mlpackage", _network(0.5), half=True)
    save(path / "b.mlpackage", _network(0.75), half=True)
    np.savez(path / "in.npz", x=_X)
    return path


def test_inspect_shows_interface_ops_weights_and_precisions(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(folder / "a.mlpackage")]) == 0
    text = capsys.readouterr().out
    assert "function main  (iOS17)" in text
    assert "fp32[4, 16]" in text
    assert "1  linear" in text
    assert "256 bytes  dense, fp16, in the weight file" in text
    assert "fp16     " in text


def test_run_writes_the_outputs_of_the_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "out.npz"
    assert main(["run", str(folder / "a.mlpackage"), str(folder / "in.npz"), str(out), "--numerics", "fp32"]) == 0
    assert capsys.readouterr().out.split() == ["y", "float32", "(4,)"]
    with np.load(out) as arrays:
        assert list(arrays) == ["y"]
        assert arrays["y"].shape == (4,)


def test_bench_names_the_costliest_ops(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(folder / "a.mlpackage"), "--repeats", "2"]) == 0
    text = capsys.readouterr().out
    for word in ("load", "median call", "peak memory", "linear"):
        assert word in text


def test_diff_names_the_first_value_that_diverges(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b, x = str(folder / "a.mlpackage"), str(folder / "b.mlpackage"), str(folder / "in.npz")
    assert main(["diff", a, a, x]) == 0
    assert "values agree" in capsys.readouterr().out
    assert main(["diff", a, b, x]) == 1
    text = capsys.readouterr().out
    assert "first divergence, after 2 values that agree: scaled_cast_fp16 (mul): relative L2 0.5" in text


def test_diff_tells_precision_loss_from_conversion_mistakes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, x = str(folder / "a.mlpackage"), str(folder / "in.npz")
    arguments = ["diff", a, a, x, "--numerics", "fp32", "--other-numerics", "declared"]
    assert main(arguments) == 0
    assert main([*arguments, "--tolerance", "1e-6"]) == 1
    assert "first divergence" in capsys.readouterr().out


def test_sensitivity_tells_each_rule_with_its_source(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sensitivity", str(folder / "a.mlpackage"), str(folder / "in.npz")]) == 0
    text = capsys.readouterr().out
    assert "y: unmoved by triangular_cumsum" in text
    assert "y: moves under activation_table" in text
    assert "arXiv:2606.22283" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "nothing.mlpackage"], "nothing.mlpackage: there is no such package"),
        (["run", "{a}", "{bad}", "out.npz"], "unknown input 'z', the model takes x"),
        (["diff", "{a}", "{a}", "missing.npz"], "missing.npz"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_two(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    np.savez(folder / "bad.npz", z=_X)
    places = {"a": folder / "a.mlpackage", "bad": folder / "bad.npz"}
    assert main([argument.format(**places) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"milrun {milrun.__version__}\n"
