"""Each metric of values against another way to reckon it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.spatial.distance
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.support.signals import RATE, Array, measure, pitch, voice

VOICE = voice()
small = arrays(np.float64, st.integers(2, 40), elements=st.floats(-100, 100).filter(lambda x: x == 0 or abs(x) > 1e-3))


@given(small, st.integers(0, 1000))
def test_cosine_is_one_less_the_cosine_distance(reference: Array, seed: int) -> None:
    candidate = reference + np.random.default_rng(seed).standard_normal(len(reference))
    value = measure("cosine", reference, candidate)
    if not reference.any():
        assert math.isnan(value)
    else:
        assert value == pytest.approx(1 - scipy.spatial.distance.cosine(reference, candidate), abs=1e-9)


@given(small, st.integers(0, 1000))
def test_distances_and_ratios_are_what_plain_sums_give(reference: Array, seed: int) -> None:
    reference = reference + 0.5
    candidate = reference + np.random.default_rng(seed).standard_normal(len(reference))
    pairs = list(zip(reference.tolist(), candidate.tolist(), strict=True))
    expected, actual = math.fsum(r * r for r, _ in pairs), math.fsum(c * c for _, c in pairs)
    error = math.fsum((c - r) ** 2 for r, c in pairs)
    largest = max(abs(c - r) for r, c in pairs)
    mean = math.fsum(c - r for r, c in pairs) / len(pairs)
    loudness = math.sqrt(expected / len(pairs))
    if loudness < 1e-9:
        return
    assert measure("relative_l2", reference, candidate) == pytest.approx(math.sqrt(error / expected))
    assert measure("rms_ratio", reference, candidate) == pytest.approx(math.sqrt(actual / expected))
    assert measure("gain_db", reference, candidate) == pytest.approx(10 * math.log10(actual / expected))
    assert measure("max_abs", reference, candidate) == largest
    assert measure("max_relative", reference, candidate) == pytest.approx(largest / loudness)
    assert measure("dc_offset", reference, candidate) == pytest.approx(abs(mean) / loudness, abs=1e-9)


@pytest.mark.parametrize("gain", [0.5, 1.05, 1.5])
def test_a_gain_is_read_off_where_cosine_sees_nothing(gain: float) -> None:
    louder = gain * VOICE
    assert measure("cosine", VOICE, louder) == pytest.approx(1)
    assert measure("rms_ratio", VOICE, louder) == pytest.approx(gain)
    assert measure("relative_l2", VOICE, louder) == pytest.approx(abs(gain - 1))
    for name in ("gain_db", "log_mel_distance", "high_band_power"):
        assert abs(measure(name, VOICE, louder, RATE)) == pytest.approx(abs(20 * math.log10(gain)), rel=0.02)


def test_equal_counts_the_values_that_are_the_same() -> None:
    assert measure("equal", np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5])) == 0.75
    assert measure("equal", np.array([1.0, 2.0]), np.array([1.0, np.nextafter(2.0, 3.0)])) == 0.5


def test_durations_are_rounded_half_to_even_and_to_one_frame_at_least() -> None:
    predicted = np.array([0.2, 0.5, 1.5, 2.5, 3.5, 4.5, 7.1])
    half_to_even = np.array([1, 1, 2, 2, 4, 4, 7])
    half_up = np.array([1, 1, 2, 3, 4, 5, 7])
    assert measure("frames_equal", predicted, half_to_even) == 1
    assert measure("frames_equal", predicted, half_up) == pytest.approx(5 / 7)
    assert measure("frames_equal", half_to_even, half_up) == pytest.approx(5 / 7)


def test_pitch_is_correlated_over_the_frames_that_both_voice() -> None:
    reference, candidate = pitch(), pitch() + 3 * np.random.default_rng(0).standard_normal(288)
    candidate[:20] = 0
    candidate[80:100] = 400
    both = (reference > 10) & (candidate > 10)
    expected = np.corrcoef(reference[both], candidate[both])[0, 1]
    assert measure("f0_correlation", reference, candidate) == pytest.approx(expected)


def test_pitch_of_fewer_than_eight_common_frames_has_no_correlation() -> None:
    reference = pitch(12)
    candidate = reference.copy()
    candidate[7:] = 0
    assert math.isnan(measure("f0_correlation", reference, candidate))
    candidate[7] = reference[7]
    assert measure("f0_correlation", reference, candidate) == pytest.approx(1)


def test_a_pitch_that_never_moves_has_no_correlation() -> None:
    assert math.isnan(measure("f0_correlation", pitch(20), np.full(20, 150.1)))


def test_voicing_agrees_where_both_are_voiced_or_neither_is() -> None:
    reference, candidate = np.array([0.0, 9.9, 120.0, 130.0]), np.array([0.0, 10.5, 0.0, 80.0])
    assert measure("voicing_agreement", reference, candidate) == 0.5
