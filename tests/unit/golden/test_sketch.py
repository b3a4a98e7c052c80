"""A tensor in few numbers, and what counts as the same truth."""

from typing import Any

import numpy as np
import pytest

from parity.base.arithmetic import distance
from parity.declarations import Golden, Seam
from parity.golden.changes import movements
from parity.golden.lock import CaseEntry, Entry, foreign
from parity.golden.recording import SAMPLES, sha256, sketch, statistics

RNG = np.random.default_rng(0)
SIGNAL = RNG.standard_normal((4, 256, 200)).astype(np.float32)


def recorded(array: np.ndarray) -> tuple[Entry, np.ndarray]:
    entry = Entry.of(array, sha256(array))
    return entry, array if entry.in_git else sketch(array)


def test_the_hash_tells_shape_dtype_and_values_apart() -> None:
    zeros = np.zeros((2, 3), np.float32)
    others = [zeros.T, zeros.reshape(6), zeros.view(np.int32), zeros + np.float32(1e-30), -zeros]
    assert len({sha256(array) for array in [zeros, *others]}) == 6


def test_the_hash_sees_neither_memory_order_nor_byte_order() -> None:
    array = SIGNAL[0]
    assert sha256(np.asfortranarray(array)) == sha256(array)
    assert sha256(array.astype(">f4")) == sha256(array)
    assert sha256(np.array(3, ">f4")) == sha256(np.array(3, np.float32))


@pytest.mark.parametrize("shape", [(1,), (2048,), (2049,), (512, 100), (1, 256, 2000), (128, 6241), (2, 2, 4096)])
def test_a_sketch_is_bounded_and_visits_every_position_of_every_axis(shape: tuple[int, ...]) -> None:
    size = int(np.prod(shape))
    positions = sketch(np.arange(size).reshape(shape))
    assert 0 < positions.size <= SAMPLES
    for axis, extent in enumerate(shape):
        visited = np.unique(np.unravel_index(positions, shape)[axis]).size
        assert visited >= min(extent, positions.size) * 0.99


def test_a_small_tensor_is_its_own_sketch() -> None:
    assert np.array_equal(sketch(SIGNAL[0, 0]), SIGNAL[0, 0])


def test_statistics_are_of_the_finite_values_and_count_the_others() -> None:
    array = np.array([0.0, 3.0, -4.0, np.nan, np.inf], np.float32)
    assert list(statistics(array).values()) == [-4.0, 3.0, -0.333333333, 2.88675135, 1, 2]
    assert statistics(np.full(3, np.nan, np.float32))["nonfinite"] == 3
    assert list(statistics(np.array([True, False])).values()) == [0, 1, 0.5, 0.707106781, 1, 0]


def test_a_row_of_what_moved_counts_the_values_that_are_not_finite() -> None:
    def golden(last: float) -> Golden:
        inputs = {"cache": np.array([np.nan, np.inf, 1.0, last], np.float32)}
        return Golden("tiny", "hello", (Seam("step", inputs, {"y": np.arange(2, dtype=np.float32)}),))

    before, after = golden(2.0), golden(3.0)
    (moved,) = movements(CaseEntry.of(before, {}, {}), {}, before, after)
    assert "max abs 1, without 2 that are not finite" in str(moved)


def test_distance_of_equal_nans_is_nothing_and_of_a_new_one_infinite() -> None:
    array = np.array([1.0, np.nan, 2.0], np.float32)
    assert distance(array, array.copy()).relative_l2 == 0
    assert distance(array, np.array([1.0, 1.0, 2.0], np.float32)).relative_l2 == float("inf")
    assert distance(np.array([np.inf]), np.array([-np.inf])).max_abs == float("inf")
    assert distance(np.zeros(2), np.ones(2)).relative_l2 == float("inf")


@pytest.mark.parametrize("array", [SIGNAL, SIGNAL[0, :4]], ids=["sketched", "whole"])
def test_another_machines_rounding_is_the_same_truth(array: np.ndarray) -> None:
    rounded = array * (1 + 1e-5 * RNG.standard_normal(array.shape).astype(np.float32))
    assert not np.array_equal(rounded, array)
    assert foreign(*recorded(array), rounded) == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x * np.float32(1.01), "relative L2"),
        (lambda x: np.roll(x, 1, -1), "relative L2"),
        (lambda x: -x, "relative L2"),
        (lambda x: x[..., ::-1], "relative L2"),
        (lambda x: x + np.float32(0.005), "relative L2"),
        (lambda x: x.astype(np.float64), "is float64"),
        (lambda x: x.swapaxes(0, 1), "is float32[256, 4, 200]"),
    ],
    ids=["gain", "shift", "sign", "reversed", "offset", "dtype", "axes"],
)
def test_another_truth_is_told_by_its_sketch(change: Any, said: str) -> None:
    assert said in foreign(*recorded(SIGNAL), change(SIGNAL))


def test_what_falls_between_the_samples_is_told_by_the_statistics() -> None:
    unseen = np.setdiff1d(np.arange(SIGNAL.size), sketch(np.arange(SIGNAL.size)))
    spike, clipped, broken = SIGNAL.copy(), SIGNAL.copy(), SIGNAL.copy()
    spike.flat[unseen[5]] = 50
    clipped.flat[unseen[:5000]] = 0
    broken.flat[unseen[-1]] = np.nan
    assert "statistics moved: max" in foreign(*recorded(SIGNAL), spike)
    assert "statistics moved: rms" in foreign(*recorded(SIGNAL), clipped)
    assert "statistics moved: nonfinite" in foreign(*recorded(SIGNAL), broken)


def test_a_tensor_that_rounding_was_seen_to_spread_may_be_off_by_four_times_that() -> None:
    noisy = SIGNAL + np.float32(0.15) * RNG.standard_normal(SIGNAL.shape).astype(np.float32)
    noisy *= np.float32(np.linalg.norm(SIGNAL) / np.linalg.norm(noisy))
    wide = Entry.of(SIGNAL, sha256(SIGNAL), spread=0.05)
    assert foreign(wide, sketch(SIGNAL), noisy) == ""
    assert "relative L2" in foreign(Entry.of(SIGNAL, sha256(SIGNAL), spread=0.02), sketch(SIGNAL), noisy)


def test_a_spread_so_wide_that_the_sketch_can_not_tell_still_holds_the_averages() -> None:
    wide = Entry.of(SIGNAL, sha256(SIGNAL), spread=1.4)
    other = RNG.permutation(SIGNAL.reshape(-1)).reshape(SIGNAL.shape)
    assert foreign(wide, sketch(SIGNAL), other) == ""
    for wrong in (other * np.float32(1.06), other * 0, other + np.float32(0.06), np.where(other > 0, other, -other)):
        assert "statistics moved" in foreign(wide, sketch(SIGNAL), wrong.astype(np.float32))


def test_a_spread_that_the_general_tolerance_covers_is_not_written_down() -> None:
    assert Entry.of(SIGNAL, sha256(SIGNAL), spread=1e-5).spread == 0
    assert Entry.of(SIGNAL, sha256(SIGNAL), spread=0.012345).spread == 0.0123


@pytest.mark.parametrize("size", [4_000, 400_000], ids=["whole", "sketched"])
def test_whole_numbers_have_to_be_equal_every_one(size: int) -> None:
    durations = np.full((1, size), 10_000, np.int32)
    other = durations.copy()
    other[0, -1] += 1
    assert foreign(*recorded(durations), durations.copy()) == ""
    assert "other whole numbers" in foreign(*recorded(durations), other)
