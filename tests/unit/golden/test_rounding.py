"""What rounding alone does to a recording is measured, and allowed elsewhere; what hangs on it is not recorded."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from parity.declarations import Case, Reference, Seam
from parity.golden.errors import UnusableRecording
from parity.golden.refresh import diff, refresh
from parity.golden.status import verify
from tests.support.golden_system import REFERENCE, World, case, quiet


def reference(output: Any) -> Reference:
    """One stage, which makes its output from x and the model's gain."""

    def record(model: Any, case: Case) -> Iterator[Seam]:
        x = case.inputs["x"] * model["gain"]
        yield Seam("stage", {"x": x}, {"y": np.asarray(output(x))})

    return replace(REFERENCE, cases=(case("hello"),), record=record)


def phase(x: np.ndarray) -> np.ndarray:
    """What 1e-7 in x turns into 0.1 of."""
    return np.sin(np.arange(1, 4000, dtype=np.float64) * 100 * float(x[0, 0])).astype(np.float32)


def test_an_ill_conditioned_tensor_is_recorded_with_its_spread(tmp_path: Path) -> None:
    world = World(tmp_path)
    store = world.store(reference(phase))
    refresh(store, say=quiet)
    entry, _ = store.checked(store.reference.cases[0])
    spreads = {str(place): tensor.spread for place, tensor in entry.places().items()}
    assert spreads["stage/inputs/x"] == 0
    assert 0.01 < spreads["stage/outputs/y"] < 0.5


def test_what_rounding_does_to_it_elsewhere_is_the_same_truth(tmp_path: Path) -> None:
    world = World(tmp_path)
    refresh(world.store(reference(phase)), say=quiet)
    report, faults = verify(world.store(reference(phase), gain=1 + 2.5e-7, machine="other"), say=quiet)
    assert report.cases[0].movements[-1].relative_l2 > 0.01
    assert report.same_truth
    assert not faults
    assert not diff(world.store(reference(phase), gain=1 + 1e-4, machine="other"), say=quiet).same_truth


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (lambda x: np.ceil(x[0, :1] * 2).astype(np.int32), "it has other whole numbers"),
        (lambda x: np.arange(3 + np.ceil(x[0, 0] * 2), dtype=np.float32), r"its shape is \[5\] and not \[4\]"),
        (lambda x: np.array([1 + 1e4 * (x[0, 0] > 0.5), 2, 3]), "nothing of it is left"),
    ],
    ids=["number", "shape", "threshold"],
)
def test_what_hangs_on_rounding_is_not_recorded(tmp_path: Path, output: Any, said: str) -> None:
    with pytest.raises(UnusableRecording, match=f"case hello: stage/outputs/y: hangs on rounding: .*{said}"):
        refresh(World(tmp_path).store(reference(output)), say=quiet)
    assert not (World(tmp_path).own / "lock.json").exists()


def test_the_reference_runs_on_one_thread_and_gives_the_others_back(tmp_path: Path) -> None:
    seen = []

    def output(x: np.ndarray) -> np.ndarray:
        seen.append(torch.get_num_threads())
        return x + 1

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        World(tmp_path).store(reference(output)).record(case("hello"))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert seen == [1]
