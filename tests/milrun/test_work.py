"""A caller bounds the work of a prediction; what is allowed runs as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb  # noqa: N813

import milrun
from milrun.__main__ import main
from tests.milrun.packages import program, save

ONES = {"x": np.ones((64, 64), np.float32)}


def _loop(iterations: int) -> Any:
    def body(x: Any) -> Any:
        done = mb.while_loop(
            _cond=lambda i, _: mb.less(x=i, y=iterations),
            _body=lambda i, h: (mb.add(x=i, y=1), mb.add(x=h, y=x)),
            loop_vars=(0, x),
        )
        return mb.identity(x=done[1], name="y")

    return program(body, [(64, 64)])


def _weights(*shape: int) -> Any:
    return np.ones(shape, np.float32)


def _spatial(x: Any) -> Any:
    return mb.reshape(x=x, shape=[1, 1, 64, 64])


WORK: dict[str, tuple[int, Any]] = {
    "conv": (64 * 64 * 16 * 81, lambda x: mb.conv(x=_spatial(x), weight=_weights(16, 1, 9, 9), pad_type="same")),
    "conv_transpose": (64 * 64 * 16 * 81, lambda x: mb.conv_transpose(x=_spatial(x), weight=_weights(1, 16, 9, 9))),
    "linear": (64 * 64 * 512, lambda x: mb.linear(x=x, weight=_weights(512, 64))),
    "matmul": (64 * 64 * 64, lambda x: mb.matmul(x=x, y=x)),
    "einsum": (
        64**3,
        lambda x: mb.einsum(
            values=(mb.reshape(x=x, shape=[1, 64, 1, 64]), mb.reshape(x=x, shape=[1, 64, 1, 64])),
            equation="nchw,nwhu->nchu",
        ),
    ),
    "max_pool": (64 * 64 * 81, lambda x: mb.max_pool(x=_spatial(x), kernel_sizes=[9, 9], pad_type="same")),
}


@pytest.mark.parametrize("kind", WORK)
def test_work_is_told_before_an_op_runs(tmp_path: Path, kind: str) -> None:
    work, body = WORK[kind]
    path = save(tmp_path / "m.mlpackage", program(body, [(64, 64)]), passes=False)
    for allowed in (work // 2, 2 * work + 1_000_000):
        model = milrun.load(path, work=allowed)
        if allowed > work:
            model.predict(ONES)
        else:
            with pytest.raises(milrun.ModelError, match=rf"\({kind}\) failed: the run would take .* of work"):
                model.predict(ONES)


def test_a_long_loop_is_stopped_by_its_work_in_every_run(tmp_path: Path) -> None:
    path = save(tmp_path / "m.mlpackage", _loop(2000))
    enough, little = milrun.load(path, work=100_000_000_000), milrun.load(path, work=10_000_000)
    for _ in range(3):
        np.testing.assert_array_equal(enough.predict(ONES)["y"], np.full((64, 64), 2001, np.float32))
        with pytest.raises(
            milrun.ModelError, match=r"\(.*\) failed: the run would take .* are allowed: load the package"
        ):
            little.predict(ONES)


def test_a_run_that_went_well_goes_well_again(tmp_path: Path) -> None:
    """The limit is of one prediction, not of all together."""
    model = milrun.load(save(tmp_path / "m.mlpackage", _loop(100)), work=6_000_000)
    for _ in range(5):
        model.predict(ONES)


def test_work_is_unlimited_unless_a_caller_says_so(tmp_path: Path) -> None:
    milrun.load(save(tmp_path / "m.mlpackage", _loop(2000))).predict(ONES)


def test_folding_at_load_is_work_too(tmp_path: Path) -> None:
    def body(x: Any) -> Any:
        return mb.add(x=x, y=mb.matmul(x=_weights(64, 4096), y=_weights(4096, 64)))

    path = save(tmp_path / "m.mlpackage", program(body, [(64, 64)]), passes=False)
    with pytest.raises(milrun.ModelError, match="of work"):
        milrun.load(path, work=1_000_000)


@pytest.mark.parametrize("verb", ["run", "bench", "diff", "sensitivity"])
def test_every_verb_that_runs_a_package_has_a_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    path, inputs = save(tmp_path / "m.mlpackage", _loop(200)), tmp_path / "in.npz"
    np.savez(inputs, **ONES)
    more = {"run": [str(tmp_path / "out.npz")], "bench": ["--repeats", "1"]}.get(verb, [])
    arguments = [verb, str(path), *([str(path)] if verb == "diff" else []), str(inputs), *more]
    assert main([*arguments, "--work", "1e12"]) == 0
    monkeypatch.setattr("milrun.__main__.WORK_OF_STRANGERS", 1_000_000)
    for limit in (["--work", "1e6"], []):
        assert main([*arguments, *limit]) == 2
        assert "the run would take 1e+06 multiplications and elements of work, 1e+06 are allowed" in (
            said := capsys.readouterr().err
        )
        assert str(path) in said
        assert "(work, --work) if you trust it" in said
    assert main([*arguments, "--work", "inf"]) == 0


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "much"])
def test_a_limit_is_a_number_above_0(capsys: pytest.CaptureFixture[str], limit: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["run", "m.mlpackage", "in.npz", "out.npz", f"--work={limit}"])
    assert f"argument --work: {limit} is not a number from 1 up, or inf" in capsys.readouterr().err


def test_looking_into_a_package_takes_no_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "m.mlpackage", _loop(1_000_000_000))
    assert main(["inspect", str(path)]) == 0
    assert "while_loop" in capsys.readouterr().out
