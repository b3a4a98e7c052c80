"""What every metric keeps to: its ideal, what it refuses, what is NaN, and which faults it notices."""

from __future__ import annotations

import inspect
import math
from typing import get_args

import numpy as np
import pytest

from parity.compare.metrics import FAULTS, METRICS, Fault, find, metric, of_kind
from parity.declarations import Kind
from parity.diarization.turns import turns
from tests.support.covering import each
from tests.support.signals import (
    FRAME_RATE,
    RATE,
    Array,
    activity,
    durations,
    faulty,
    kept,
    logits,
    measure,
    pitch,
    segments,
    voice,
)

VOICE = voice()
TURNS = turns(activity() > 0.5, FRAME_RATE)
WITH_TURNS = ["der_delta", "der_delta_collar"]
OF_TURNS = ["der", "der_collar", "missed", "false_alarm", "confusion", *WITH_TURNS]
OF_SPEAKERS = [
    *("argmax_agreement", "threshold_agreement", "speaker_overlap", "speaker_count", "overlap_frames"),
    *OF_TURNS,
]
CURVES = {
    **{"f0_correlation": pitch(), "voicing_agreement": pitch(), "equal": durations(), "frames_equal": durations()},
    **{name: activity() for name in OF_SPEAKERS},
    "frames_kept": kept(),
    "top_k_overlap": logits(),
    "winner_margin": logits(),
    "edge_shift": segments(),
}
"""Their first axis is time."""
PHASELESS = {(name, "phase") for name in CURVES}
NOTICED = {"dB": 0.01, "rad": 0.01, "pitch_correlation": 0.01}
"""By unit or name, and 0.001 for all others: a change that a gate could be set on."""
OF_HEARING = ["log_mel_distance", "mel_correlation", "high_band_power"]
OF_RATE = [*OF_HEARING, "pitch_correlation", "pitch_voicing", "edge_shift", *OF_TURNS]


def signal(name: str) -> Array:
    return CURVES.get(name, VOICE)


def measured(name: str, reference: np.ndarray, candidate: np.ndarray) -> float:
    return measure(name, reference, candidate, FRAME_RATE if name in OF_TURNS else RATE, TURNS)


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_is_written_in_one_place_and_documents_its_parameters(name: str) -> None:
    found, given = METRICS[name], inspect.signature(METRICS[name].measure).parameters
    text = inspect.getdoc(found.measure) or ""
    assert text.startswith("Return ")
    assert [line.split(":")[0].strip() for line in text.partition("Args:\n")[2].splitlines() if ":" in line] == list(
        given
    )
    assert 0 <= found.floor < found.limit
    assert found.kinds


@pytest.mark.parametrize("kind", get_args(Kind))
def test_what_compares_a_kind_together_sees_every_fault(kind: Kind) -> None:
    usual = [found for found in of_kind(kind) if not found.on_request]
    assert not frozenset.intersection(*(found.blind_to for found in usual))


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_of_equal_arrays_is_its_ideal(name: str) -> None:
    reference = signal(name)
    assert measured(name, reference, reference.copy()) == pytest.approx(METRICS[name].ideal, abs=1e-7)
    assert METRICS[name].distance(METRICS[name].ideal) == 0


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_notices_every_fault_but_those_it_is_declared_blind_to(name: str) -> None:
    found = find(name)
    for fault in FAULTS:
        if (name, fault) not in PHASELESS:
            distance = found.distance(measured(name, signal(name), faulty(signal(name).T, fault).T))
            noticed = math.isnan(distance) or distance > NOTICED.get(found.unit or name, 0.001)
            assert noticed == (fault not in found.blind_to), f"{name} of {fault}: {distance} away from ideal"


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_noticed_by_a_metric_of_scale_or_of_phase(fault: Fault) -> None:
    assert [name for name in ("relative_l2", "max_relative", "phase_error") if fault not in find(name).blind_to]


@each({"name": METRICS, "poison": [math.nan, math.inf, -math.inf]})
def test_one_value_that_is_not_finite_makes_any_metric_nan(name: str, poison: float) -> None:
    reference = signal(name)
    candidate = reference.copy()
    candidate[-1] = poison
    assert math.isnan(measured(name, reference, candidate))
    assert math.isnan(measured(name, candidate, reference))
    assert math.isnan(measured(name, candidate, candidate))
    assert math.isnan(find(name).distance(math.nan))


def test_a_ratio_beyond_float64_is_nan() -> None:
    assert math.isnan(measure("rms_ratio", np.ones(9), np.full(9, 1e300)))


@pytest.mark.parametrize("name", METRICS)
def test_empty_arrays_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}: the reference is empty, of shape \(0,\)"):
        measured(name, np.zeros(0), np.zeros(0))
    with pytest.raises(ValueError, match=rf"{name}: the candidate is empty"):
        measured(name, np.zeros(3), np.zeros((2, 0)))


@pytest.mark.parametrize("name", list(METRICS))
def test_arrays_of_different_shapes_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"candidate has the shape \(1, 9\), the reference \(9,\)"):
        measure(name, np.ones(9), np.ones((1, 9)), RATE)


@each({"name": METRICS, "values": [np.array(["a"]), np.array([1j]), np.array([None])]})
def test_what_is_not_a_real_number_is_refused(name: str, values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="metrics compare real numbers"):
        measured(name, values, values)


def test_integers_that_float64_would_confuse_are_refused() -> None:
    large = np.array([2**53 + 1, -(2**60)])
    with pytest.raises(ValueError, match=r"beyond 2\^53"):
        measure("equal", large, large - 1)


@each({"rate": [None, 0, -24_000, math.inf, math.nan], "name": OF_RATE})
def test_some_metrics_want_a_rate(name: str, rate: float | None) -> None:
    with pytest.raises(ValueError, match=f"{name} needs a sample rate above 0"):
        measure(name, VOICE, VOICE, rate, TURNS)


def test_no_other_metric_wants_a_rate() -> None:
    for name in METRICS.keys() - OF_RATE:
        assert measure(name, signal(name), signal(name)) == measured(name, signal(name), signal(name))


@pytest.mark.parametrize("name", WITH_TURNS)
def test_metrics_against_the_truth_want_who_really_speaks(name: str) -> None:
    with pytest.raises(ValueError, match=rf'{name} needs to know who really speaks: the case needs an input "turns"'):
        measure(name, activity(), activity(), FRAME_RATE)
    with pytest.raises(ValueError, match=r"turns of the shape \(300, 4\): a row is beginning, end and speaker"):
        measure(name, activity(), activity(), FRAME_RATE, activity())


def test_only_metrics_against_the_truth_want_turns() -> None:
    for name in METRICS.keys() - WITH_TURNS:
        given = signal(name), signal(name), FRAME_RATE if name in OF_TURNS else RATE
        assert measure(name, *given) == measure(name, *given, TURNS)


@pytest.mark.parametrize("name", ["cosine", "relative_l2", "rms_ratio", "gain_db", "max_relative", "dc_offset"])
@pytest.mark.parametrize("candidate", [np.zeros(9), np.arange(9.0)])
def test_against_a_reference_of_zeros_no_ratio_is_defined(name: str, candidate: Array) -> None:
    assert math.isnan(measure(name, np.zeros(9), candidate))


@pytest.mark.parametrize("name", [*OF_HEARING, "phase_error", "shift", "click", "f0_correlation"])
def test_silence_against_silence_has_no_phase_no_shift_and_no_sound(name: str) -> None:
    assert math.isnan(measure(name, np.zeros(9000), np.zeros(9000), RATE))


@each({"name": METRICS, "dtype": [np.float16, np.float32, np.int32]})
def test_metrics_reckon_in_float64_whatever_they_are_given(name: str, dtype: type[np.number]) -> None:
    reference = (100 * signal(name)).astype(dtype)
    candidate = (90 * signal(name)).astype(dtype)
    exact = measured(name, reference.astype(np.float64), candidate.astype(np.float64))
    assert measured(name, reference, candidate) == exact


@pytest.mark.parametrize("name", METRICS)
def test_metrics_leave_their_arguments_alone(name: str) -> None:
    reference: Array = np.stack([signal(name), signal(name)])
    candidate: Array = -reference
    reference.setflags(write=False)
    candidate.setflags(write=False)
    measured(name, reference, candidate)


def test_a_scalar_is_an_array_of_one() -> None:
    assert measure("max_abs", np.float32(2), np.array([2.5])) == 0.5


@pytest.mark.parametrize(
    ("wrong", "right"), [("cosin", "cosine"), ("rel_l2", "relative_l2"), ("f0_corr", "f0_correlation")]
)
def test_an_unknown_metric_is_answered_with_the_nearest_name(wrong: str, right: str) -> None:
    with pytest.raises(ValueError, match=f"no metric is called '{wrong}'; did you mean '{right}'"):
        find(wrong)


def test_a_metric_nothing_like_any_other_is_answered_with_all_names() -> None:
    with pytest.raises(ValueError, match="there are argmax_agreement, click, confusion, cosine"):
        find("xyzzy")


def test_a_name_is_registered_once() -> None:
    def cosine(reference: Array, candidate: Array) -> float:
        """Another one."""
        return 1.0

    with pytest.raises(ValueError, match="'cosine' is registered twice"):
        metric(kinds=("features",), better="higher", ideal=1.0, floor=0.0, limit=0.5)(cosine)


def test_a_metric_says_what_it_measures() -> None:
    def nameless(reference: Array, candidate: Array) -> float:
        return 1.0

    with pytest.raises(ValueError, match="'nameless' has no docstring"):
        metric(kinds=("features",), better="higher", ideal=1.0, floor=0.0, limit=0.5)(nameless)
