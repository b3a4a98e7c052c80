"""milrun and Core ML behind one protocol. Off macOS, Core ML's adapter runs on its stand-in."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milrun import ModelError
from parity.base.paths import project
from parity.record.suite import Options, Suite
from parity.run.child import Service
from parity.run.choice import runtime
from parity.run.coreml import CoreML, CoreMLSession, as_declared, unavailable
from parity.run.milrun import Milrun
from parity.run.runtime import Declared, RuntimeFailure, Session
from tests.milrun import zoo
from tests.support import child_services

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="macOS has Core ML itself, and nothing stands in")

STAND_IN = CoreML(stand_in=True)
X = np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype(np.float32)
ONES = np.ones((1, 4), np.float32)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    zoo.conv(folder / "conv.mlpackage")
    zoo.stateful(folder / "stateful.mlpackage")
    zoo.multifunction(folder / "multifunction.mlpackage")
    return folder


@pytest.fixture(scope="module")
def coreml(packages: Path) -> Iterator[CoreMLSession]:
    session = STAND_IN.load(packages / "conv.mlpackage", "CPU_ONLY")
    yield session
    session.close()


@pytest.fixture(scope="module")
def stateful(packages: Path) -> Iterator[CoreMLSession]:
    session = STAND_IN.load(packages / "stateful.mlpackage")
    yield session
    session.close()


@pytest.fixture(params=["milrun", "coreml"])
def session(request: pytest.FixtureRequest, packages: Path) -> Session:
    if request.param == "milrun":
        return Milrun().load(packages / "conv.mlpackage")
    loaded: Session = request.getfixturevalue("coreml")
    return loaded


def fake(loader: Callable[..., Service]) -> CoreMLSession:
    return CoreML(stand_in=True, loader=loader).load(Path(__file__))


def test_both_runtimes_compute_the_same(coreml: CoreMLSession, packages: Path) -> None:
    expected = Milrun().load(packages / "conv.mlpackage").run({"x": X})
    actual = coreml.run({"x": X})
    assert list(actual) == list(expected) == ["y"]
    assert actual["y"].dtype == expected["y"].dtype
    assert np.ptp(actual["y"]) > 0
    np.testing.assert_array_equal(actual["y"], expected["y"])


def test_a_session_says_how_long_a_load_and_a_run_took(session: Session) -> None:
    session.run({"x": X})
    assert session.load_seconds > 0
    assert session.run_seconds > 0


def test_two_sessions_live_side_by_side(coreml: CoreMLSession, stateful: CoreMLSession) -> None:
    assert coreml.pid != stateful.pid
    first = coreml.run({"x": X})
    stateful.run({"x": ONES}, stateful.make_state())
    np.testing.assert_array_equal(coreml.run({"x": X})["y"], first["y"])


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        ({}, "conv.mlpackage: input 'x' is missing"),
        ({"x": X, "z": X}, "unknown input 'z'; the package takes x"),
        ({"x": X.astype(np.float16)}, "input 'x' has the dtype float16 where the package declares float32"),
        ({"x": X.astype(np.float64)}, "input 'x' has the dtype float64 where the package declares float32"),
        ({"x": X.tolist()}, "input 'x' is a list, no numpy array"),
    ],
    ids=["missing", "unknown", "half", "double", "list"],
)
def test_wrong_inputs_are_refused(session: Session, inputs: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        session.run(inputs)


def test_a_wrong_shape_is_an_error_and_leaves_the_session_usable(session: Session) -> None:
    with pytest.raises((ValueError, RuntimeFailure), match="shape"):
        session.run({"x": X[:, :2]})
    assert session.run({"x": X})["y"].shape == (1, 5)


def test_a_state_lives_from_run_to_run_and_apart_from_others(stateful: CoreMLSession) -> None:
    state, other = stateful.make_state(), stateful.make_state()
    for expected in (1, 2, 2):
        np.testing.assert_array_equal(stateful.run({"x": ONES}, state)["y"], np.full(4, expected))
    assert state.read_state("memory").dtype == np.float16
    np.testing.assert_array_equal(state.read_state("memory"), np.ones((2, 4)))
    np.testing.assert_array_equal(other.read_state("memory"), np.zeros((2, 4)))
    other.write_state("memory", np.full((2, 4), 3, np.float16))
    np.testing.assert_array_equal(stateful.run({"x": ONES}, other)["y"], np.full(4, 4))


def test_a_state_of_another_session_is_refused(stateful: CoreMLSession, packages: Path) -> None:
    foreign = Milrun().load(packages / "stateful.mlpackage")
    with pytest.raises(ValueError, match="not from this session"):
        stateful.run({"x": ONES}, foreign.make_state())
    with pytest.raises(ValueError, match="not from this runtime"):
        foreign.run({"x": ONES}, stateful.make_state())


@pytest.mark.parametrize("chosen", [Milrun(), STAND_IN], ids=["milrun", "coreml"])
def test_a_function_is_chosen_by_name(packages: Path, chosen: Any) -> None:
    inputs = {"x": np.ones((2, 4), np.float32)}
    two = chosen.load(packages / "multifunction.mlpackage", function="two")
    one = Milrun().load(packages / "multifunction.mlpackage", function="one")
    np.testing.assert_allclose(two.run(inputs)["y"], one.run(inputs)["y"] * 1.5, rtol=1e-2)
    two.close()


def test_results_come_in_the_types_and_the_order_of_the_package_as_core_ml_gives_them() -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    session = fake(child_services.like_core_ml)
    outputs = session.run({"x": x})
    session.close()
    assert list(outputs) == ["full", "wide", "half", "label_count", "extra"]
    assert outputs["half"].dtype == np.float16
    np.testing.assert_array_equal(outputs["half"], x.T[::2])
    assert outputs["full"].shape == (1,)
    assert outputs["label_count"].tolist() == [3]
    assert outputs["extra"].shape == (2, 0)
    assert outputs["wide"].dtype == np.float32, "no fp16 result: the check of types must see that"


def test_a_result_that_is_no_array_is_an_error() -> None:
    session = fake(child_services.text_output)
    with pytest.raises(RuntimeFailure, match="output 'half' is a str, no array to compare"):
        session.run({"x": np.zeros((1, 1), np.float32)})
    session.close()


@pytest.mark.parametrize("values", [[np.nan, 1.5], [np.inf, -np.inf], [-0.0, 65504]], ids=["nan", "inf", "largest"])
def test_half_results_keep_their_special_values(values: list[float]) -> None:
    half = np.array(values, np.float16)
    back = as_declared("y", half.astype(np.float32), Declared("float16"))
    assert (back.dtype, back.tobytes()) == (half.dtype, half.tobytes())


def test_a_float_too_large_for_half_stays_as_it_came() -> None:
    assert as_declared("y", np.array([1e6], np.float32), Declared("float16")).dtype == np.float32


def test_a_damaged_package_is_a_failure_that_names_package_units_phase_and_mend(packages: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.mlpackage"
    shutil.copytree(packages / "conv.mlpackage", damaged)
    for weights in damaged.rglob("weight.bin"):
        weights.write_bytes(b"")
    with pytest.raises(RuntimeFailure) as caught:
        STAND_IN.load(damaged, "CPU_AND_NE")
    for part in (str(damaged), "compute units CPU_AND_NE", "loading", "RuntimeError", "Mend: "):
        assert part in str(caught.value)


@pytest.mark.parametrize("chosen", [Milrun(), STAND_IN], ids=["milrun", "coreml"])
def test_a_missing_package_and_unknown_compute_units_are_refused(packages: Path, chosen: Any) -> None:
    with pytest.raises(ValueError, match="there is no such package"):
        chosen.load(packages / "absent.mlpackage")
    with pytest.raises(ValueError, match="no compute units 'NPU', only ALL, CPU_ONLY"):
        chosen.load(packages / "conv.mlpackage", "NPU")


def test_a_closed_session_refuses_to_run_and_closing_twice_is_fine(packages: Path) -> None:
    for session in (Milrun().load(packages / "conv.mlpackage"), fake(child_services.like_core_ml)):
        session.close()
        session.close()
        with pytest.raises(ValueError, match="the session is closed"):
            session.run({"x": X})


def test_milrun_shows_its_model_for_blame(packages: Path) -> None:
    session = Milrun("fp32").load(packages / "conv.mlpackage")
    assert {tap.op_type for tap in session.model.trace({"x": X})} >= {"conv", "softmax"}


def test_a_runtime_has_a_name() -> None:
    assert [one.name for one in (Milrun("ane"), CoreML(), STAND_IN)] == ["milrun", "coreml", "coreml-stand-in"]


def test_core_ml_is_never_replaced_unasked(packages: Path) -> None:
    assert runtime("auto").name == "milrun"
    with pytest.raises(ValueError, match=r"Core ML is part of macOS.*use --runtime milrun"):
        runtime("coreml")
    with pytest.raises(RuntimeFailure, match="Core ML is part of macOS"):
        CoreML().load(packages / "conv.mlpackage")


def test_auto_takes_core_ml_where_it_can_predict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.run.coreml.unavailable", lambda: None)
    assert runtime("auto").name == "coreml"
    with pytest.raises(ValueError, match=r"numerics .fp32. are for milrun.*--runtime milrun"):
        runtime("auto", "fp32")


def test_unknown_runtimes_and_numerics_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown runtime 'onnx'; choose auto, coreml, milrun or executorch"):
        runtime("onnx")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="fp64"):
        runtime("milrun", "fp64")


def test_an_old_macos_and_a_wheel_without_the_binding_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    for version, complaint in (("11.7", "update macOS"), ("15.1", "without its binding")):
        monkeypatch.setattr("platform.mac_ver", lambda version=version: (version, ("", "", ""), ""))
        assert complaint in str(unavailable("darwin"))


def test_the_work_of_packages_that_others_made_is_bounded(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parity.run.choice.WORK_OF_STRANGERS", 20_000)
    ours, theirs = (
        Suite(Options(runtime="milrun", artifacts=folder), "run", project()).runtimes[0] for folder in ("", "theirs")
    )
    ours.load(packages / "conv.mlpackage").run({"x": X})
    with pytest.raises(ModelError, match=r"the run would take .* of work"):
        theirs.load(packages / "conv.mlpackage").run({"x": X})
