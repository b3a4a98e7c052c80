"""Loops: those that spell out a GRU run as one op, others as plans that are watched once, and all give the same."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coremltools.converters.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil import types
from torch import nn

import milrun
from milrun import guard, plan
from milrun.recurrence import GRU
from tests.milrun.packages import program, save

logging.getLogger("coremltools").setLevel(logging.ERROR)
STEPS, BATCH, FEATURES, HIDDEN = 7, 2, 5, 6
SHAPES = [(STEPS, BATCH, FEATURES), (1, BATCH, HIDDEN)]


def _weights(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32) * 0.4


def _inputs() -> dict[str, Any]:
    return dict(zip(("x", "h0"), (_weights(*shape) for shape in SHAPES), strict=True))


class Gru(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gru = nn.GRU(FEATURES, HIDDEN, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out, last = self.gru(x)
        return torch.cat([out.reshape(-1, HIDDEN), last.reshape(-1, HIDDEN)])


def _converted(path: Path, module: nn.Module, half: bool) -> Path:
    import coremltools as ct

    traced = torch.jit.trace(module.eval(), torch.zeros(SHAPES[0]))  # type: ignore[no-untyped-call]
    return save(path, traced, half=half, inputs=[ct.TensorType(name="x", shape=SHAPES[0])])


def _run(path: Path, numerics: str, inputs: dict[str, Any]) -> tuple[Any, Any, Counter[str]]:
    """Return what a package gives, what it gives op by op, and the ops of its plan."""
    model = milrun.load(path, numerics=numerics)
    assert isinstance(model, milrun.Model)
    run = model.trace(inputs)
    while True:
        try:
            next(run)
        except StopIteration as end:
            (spelled,) = end.value.values()
            break
    (given,) = model.predict(inputs).values()
    np.testing.assert_array_equal(next(iter(model.predict(inputs).values())), given)
    return given, spelled, Counter({op.name: op.type for op in model.step_operations()}.values())


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"bidirectional": True}, {"num_layers": 2}], ids=str)
def test_a_gru_of_pytorch_is_one_op_and_computes_the_same(tmp_path: Path, options: Any) -> None:
    module = Gru(**options)
    layers = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    x = _inputs()["x"]
    with torch.inference_mode():
        expected = module(torch.from_numpy(x)).numpy()
    for half, numerics, bound in ((False, "fp32", 1e-6), (False, "declared", 1e-6), (True, "declared", 2e-3)):
        given, spelled, ops = _run(
            _converted(tmp_path / f"{numerics}{half}.mlpackage", module, half), numerics, {"x": x}
        )
        assert (ops[GRU], ops["while_loop"]) == (layers, 0)
        np.testing.assert_allclose(given, expected, atol=bound)
        # Rounding to half precision hides another order of sums, except where a value lies between two.
        np.testing.assert_allclose(given, spelled, atol=1e-3 if half else 1e-6)


Twist = Callable[[str, Any], Any]
"""Changes a part of the loop below, named by what it computes."""


def _cast(where: str, *types: str) -> Twist:
    def twist(part: str, value: Any) -> Any:
        for type in types if part == where else ():
            value = mb.cast(x=value, dtype=type)
        return value

    return twist


def _loop(twist: Twist = lambda part, value: value, mode: str = "update", kinds: Any = None) -> Any:
    def body(x: Any, h0: Any) -> Any:
        x = twist("x", x)
        w = {gate: (_weights(HIDDEN, FEATURES), _weights(HIDDEN)) for gate in "rzn"}
        u = {gate: (_weights(HIDDEN, HIDDEN) + 0.01 * ord(gate), _weights(HIDDEN)) for gate in "rzn"}
        rest = np.full((STEPS, BATCH, HIDDEN), 0.5 if mode == "add" else 0, np.float32)

        def step(i: Any, states: Any) -> Any:
            now = mb.squeeze(x=mb.gather(x=twist("row", x), indices=i, axis=0), axes=[0])
            h = mb.squeeze(x=mb.gather(x=states, indices=twist("read", i), axis=0), axes=[0])
            taken = {g: mb.linear(x=now, weight=weight, bias=bias) for g, (weight, bias) in w.items()}
            hidden = {g: mb.linear(x=h, weight=weight, bias=bias) for g, (weight, bias) in u.items()}
            r = mb.sigmoid(x=mb.add(x=taken["r"], y=hidden["r"]))
            z = mb.sigmoid(x=twist("z", mb.add(x=taken["z"], y=hidden["z"])))
            n = mb.tanh(x=mb.add(x=taken["n"], y=mb.mul(x=twist("reset", r), y=hidden["n"])))
            new = mb.add(x=mb.mul(x=mb.sub(x=twist("one", 1.0), y=z), y=n), y=mb.mul(x=twist("kept", z), y=h))
            following = mb.add(x=i, y=1)
            new = mb.expand_dims(x=twist("new", new), axes=[0])
            written = mb.scatter(data=states, indices=twist("write", following), updates=new, axis=0, mode=mode)
            return following, twist("states", written)

        start = mb.concat(values=[h0, rest], axis=0)
        until = twist("until", np.array([STEPS], np.int32))
        first = np.array([0], np.int32)
        return mb.while_loop(_cond=lambda i, _: mb.less(x=i, y=until), _body=step, loop_vars=(first, start))[1]

    return program(body, SHAPES, kinds)


def test_states_are_added_to_what_lies_in_their_place(tmp_path: Path) -> None:
    path = save(tmp_path / "m.mlpackage", _loop(mode="add"), passes=False)
    for numerics in ("fp32", "declared"):
        given, spelled, ops = _run(path, numerics, _inputs())
        assert ops[GRU] == 1
        np.testing.assert_allclose(given, spelled, atol=1e-6)


TWISTS: dict[str, Twist] = {
    "reads the first state always": lambda part, value: np.array([0], np.int32) if part == "read" else value,
    "writes where it reads": lambda part, value: mb.sub(x=value, y=1) if part == "write" else value,
    "doubles before the gate": lambda part, value: mb.mul(x=value, y=2.0) if part == "z" else value,
    "resets by half": lambda part, value: mb.mul(x=value, y=0.5) if part == "reset" else value,
    "takes from two": lambda part, value: 2.0 if part == "one" else value,
    "keeps all": lambda part, value: mb.relu(x=value) if part == "kept" else value,
    "clips the state": lambda part, value: mb.clip(x=value, alpha=-0.1, beta=0.1) if part == "new" else value,
    "bends the states": lambda part, value: mb.mul(x=value, y=0.9) if part == "states" else value,
    "ends early": lambda part, value: np.array([STEPS - 2], np.int32) if part == "until" else value,
    "casts the state to integers": _cast("new", "int32", "fp32"),
    "casts the gate to integers": _cast("kept", "int32", "fp32"),
    "casts the reset to truth": _cast("reset", "bool", "fp32"),
    "casts x to integers": _cast("row", "int32", "fp32"),
    "reads by a counter of few bits": _cast("read", "bool", "int32"),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("plain") / "m.mlpackage", _loop(), passes=False)


@pytest.mark.parametrize("name", TWISTS)
def test_a_loop_that_is_almost_a_gru_runs_as_it_is_written(tmp_path: Path, name: str, plain: Path) -> None:
    path = save(tmp_path / "m.mlpackage", _loop(TWISTS[name]), passes=False)
    for numerics in ("fp32", "declared"):
        expected, _, fused = _run(plain, numerics, _inputs())
        assert fused[GRU] == 1
        given, spelled, ops = _run(path, numerics, _inputs())
        assert (ops[GRU], ops["while_loop"]) == (0, 1)
        np.testing.assert_array_equal(given, spelled)
        assert name == "keeps all" or not np.allclose(given, expected)


@pytest.mark.parametrize("where", ["new", "reset", "z", "row", "states"])
def test_a_cast_to_half_precision_is_left_out_only_where_nothing_rounds(tmp_path: Path, where: str) -> None:
    path = save(tmp_path / "m.mlpackage", _loop(_cast(where, "fp16", "fp32")), passes=False)
    for numerics, recognized in (("fp32", 1), ("declared", 0)):
        given, spelled, ops = _run(path, numerics, _inputs())
        assert ops[GRU] == recognized
        np.testing.assert_allclose(given, spelled, atol=1e-6 * recognized)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("opset", ["iOS15", "iOS17"])
def test_x_is_rounded_to_half_precision_as_the_program_casts_it(tmp_path: Path, opset: str) -> None:
    import coremltools as ct

    traced = torch.jit.trace(Gru().eval(), torch.zeros(SHAPES[0]))  # type: ignore[no-untyped-call]
    taken = [ct.TensorType(name="x", shape=SHAPES[0], dtype=np.float32)]
    path = save(tmp_path / "m.mlpackage", traced, half=True, inputs=taken, opset=opset)
    fine = _inputs()["x"] + np.float32(1e-4)
    for x in (fine, fine * np.float32(2e5)):
        given, spelled, ops = _run(path, "declared", {"x": x})
        assert ops[GRU] == 1
        assert np.isnan(given).any() == np.isnan(spelled).any() == (np.abs(x).max() > 65504)
        np.testing.assert_allclose(given, spelled, atol=1e-3)


@pytest.mark.parametrize(("where", "recognized"), [("x", 1), ("row", 0)])
def test_x_of_integers_is_cast_before_it_is_taken(tmp_path: Path, where: str, recognized: int) -> None:
    source = _loop(_cast(where, "fp32"), kinds=[types.int32, types.fp32])
    inputs = _inputs()
    inputs["x"] = (inputs["x"] * 5).astype(np.int32)
    path = save(tmp_path / "m.mlpackage", source, passes=False)
    for numerics in ("fp32", "declared"):
        given, spelled, ops = _run(path, numerics, inputs)
        assert ops[GRU] == recognized
        np.testing.assert_allclose(given, spelled, atol=1e-6)


def test_x_that_is_truncated_before_the_loop_stays_so(tmp_path: Path) -> None:
    path = save(tmp_path / "m.mlpackage", _loop(_cast("x", "int32", "fp32")), passes=False)
    given, spelled, ops = _run(path, "fp32", {name: value * 5 for name, value in _inputs().items()})
    assert ops[GRU] == 1
    np.testing.assert_allclose(given, spelled, atol=1e-6)


def test_the_counter_may_be_cast_to_integers_that_hold_it(tmp_path: Path) -> None:
    for index, (type, recognized) in enumerate((("int16", 1), ("uint16", 1), ("int8", 0))):
        path = save(tmp_path / f"{index}.mlpackage", _loop(_cast("read", type, "int32")), passes=False)
        given, spelled, ops = _run(path, "fp32", _inputs())
        assert ops[GRU] == recognized
        np.testing.assert_allclose(given, spelled, atol=1e-6)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """The ops that ran under watch, by type."""
    counted: Counter[str] = Counter()
    original = plan.watched

    def count(step: Any, env: Any) -> None:
        counted[step.operation.type] += 1
        original(step, env)

    monkeypatch.setattr(plan, "watched", count)
    return counted


def _iterated(change: Callable[[Any], Any], times: int = 50, shape: tuple[Any, ...] = (4, 3)) -> Any:
    def body(x: Any) -> Any:
        done = mb.while_loop(
            _cond=lambda i, _: mb.less(x=i, y=times), _body=lambda i, h: (mb.add(x=i, y=1), change(h)), loop_vars=(0, x)
        )
        return mb.identity(x=done[1], name="y")

    return program(body, [shape])


def test_a_loop_that_keeps_its_shapes_is_watched_for_one_iteration_only(tmp_path: Path, watched: Counter[str]) -> None:
    path = save(tmp_path / "m.mlpackage", _iterated(lambda h: mb.tanh(x=h)), passes=False)
    model = milrun.load(path)
    x = np.ones((4, 3), np.float32)
    first = model.predict({"x": x})["y"]
    assert watched["tanh"] == 1
    np.testing.assert_array_equal(model.predict({"x": x})["y"], first)
    assert watched["tanh"] == 1


def test_a_loop_that_changes_its_shapes_is_watched_to_the_end(
    tmp_path: Path, watched: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "FLOOR", 1 << 26)
    monkeypatch.setattr(guard, "PER_INPUT_BYTE", 0)

    def twice(h: Any) -> Any:
        return mb.concat(values=[h, h], axis=0)

    for times in (10, 30):
        source = _iterated(twice, times, shape=(4, 3))
        path = save(tmp_path / f"{times}.mlpackage", source, passes=False)
        model = milrun.load(path)
        for _ in range(2):
            watched.clear()
            if times == 10:
                assert model.predict({"x": np.ones((4, 3), np.float32)})["y"].shape == (4 << 10, 3)
                assert watched["concat"] == 10
            else:
                with pytest.raises(milrun.ModelError, match=r"\(concat\) failed: it would take"):
                    model.predict({"x": np.ones((4, 3), np.float32)})


def test_a_loop_that_did_not_run_is_still_to_be_watched(tmp_path: Path, watched: Counter[str]) -> None:
    def body(x: Any) -> Any:
        count = mb.cast(x=mb.reduce_sum(x=x), dtype="int32")
        done = mb.while_loop(
            _cond=lambda i, _: mb.less(x=i, y=count),
            _body=lambda i, h: (mb.add(x=i, y=1), mb.tanh(x=h)),
            loop_vars=(0, x),
        )
        return mb.identity(x=done[1], name="y")

    model = milrun.load(save(tmp_path / "m.mlpackage", program(body, [(2, 3)]), passes=False))
    model.predict({"x": np.zeros((2, 3), np.float32)})
    model.predict({"x": np.ones((2, 3), np.float32)})
    assert watched["tanh"] == 1
