"""The metrics of sound, of phase and of shift, against signals whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal

from parity.compare.metrics import METRICS, find
from tests.support.signals import RATE, Array, measure, pitch, voice

VOICE = voice()


def test_high_band_power_agrees_with_welch() -> None:
    noise = np.random.default_rng(0).standard_normal(RATE)
    low = scipy.signal.sosfilt(scipy.signal.butter(4, 6000, output="sos", fs=RATE), noise)
    frequencies, before = scipy.signal.welch(noise, RATE, nperseg=1024)
    _, after = scipy.signal.welch(low, RATE, nperseg=1024)
    high = frequencies >= 8000
    expected = 10 * math.log10(after[high].sum() / before[high].sum())
    assert measure("high_band_power", noise, low, RATE) == pytest.approx(expected, abs=0.3)


def test_a_high_band_of_nothing_has_no_level() -> None:
    tone = np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE) * scipy.signal.windows.hann(RATE)
    assert math.isnan(measure("high_band_power", tone, tone, RATE))
    assert math.isnan(measure("high_band_power", VOICE, tone, RATE))


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
def test_hearing_works_at_any_rate(rate: int) -> None:
    noise = np.random.default_rng(0).standard_normal(rate)
    assert measure("log_mel_distance", noise, 2 * noise, rate) == pytest.approx(6.02, abs=0.01)
    assert measure("mel_correlation", noise, 2 * noise, rate) == pytest.approx(1)
    assert measure("high_band_power", noise, 2 * noise, rate) == pytest.approx(6.02, abs=0.01)


def test_a_whisper_sounds_as_its_reference_does() -> None:
    assert measure("mel_correlation", VOICE, 1e-6 * VOICE, RATE) == pytest.approx(1)


def test_an_offset_of_any_size_has_no_phase() -> None:
    assert measure("phase_error", VOICE, VOICE + 100) == pytest.approx(0, abs=1e-6)


def test_silence_around_a_sound_does_not_dilute_its_distance() -> None:
    padded = np.concatenate([np.zeros(RATE), VOICE, np.zeros(RATE)])
    assert measure("log_mel_distance", padded, 1.5 * padded, RATE) == pytest.approx(3.52, abs=0.05)


def test_a_hiss_in_silence_is_heard() -> None:
    padded = np.concatenate([VOICE, np.zeros(RATE)])
    hiss = padded + 0.01 * np.random.default_rng(0).standard_normal(len(padded))
    assert measure("log_mel_distance", padded, hiss, RATE) > 10


def test_another_voice_sounds_farther_than_another_phase() -> None:
    other = scipy.signal.resample(VOICE, len(VOICE) * 3 // 2)[: len(VOICE)]
    same = voice(phases=3)
    assert measure("log_mel_distance", VOICE, other, RATE) > 3 * measure("log_mel_distance", VOICE, same, RATE)
    assert measure("mel_correlation", VOICE, other, RATE) < measure("mel_correlation", VOICE, same, RATE)


@pytest.mark.parametrize("turned", [0.1, math.pi / 2, 3.0])
def test_the_phase_error_of_a_turned_tone_is_the_angle(turned: float) -> None:
    turn = 2 * np.pi * np.arange(51_200) * 32 / 512
    assert measure("phase_error", np.sin(turn), 3 * np.sin(turn + turned)) == pytest.approx(turned, abs=0.02)


def test_a_flipped_sign_is_the_largest_phase_error_and_chance_half_of_it() -> None:
    noise, other = np.random.default_rng(0).standard_normal((2, 3, 20_000))
    assert measure("phase_error", noise, -noise) == pytest.approx(math.pi)
    assert measure("phase_error", noise, other) == pytest.approx(math.pi / 2, abs=0.02)


def test_what_the_candidate_leaves_empty_has_the_phase_error_of_chance() -> None:
    noise = np.random.default_rng(0).standard_normal(100_000)
    candidate = noise.copy()
    candidate[50_000:] = 0
    assert measure("phase_error", noise, candidate) == pytest.approx(math.pi / 4, abs=0.02)


@pytest.mark.parametrize("name", ["phase_error", "shift", "log_mel_distance"])
def test_spectra_run_along_the_last_axis_of_all_the_others(name: str) -> None:
    rows = np.random.default_rng(0).standard_normal((2, 3, 5000))
    late = np.roll(rows, 2, axis=-1)
    alone = [measure(name, rows[i, j], late[i, j], RATE) for i in range(2) for j in range(3)]
    assert measure(name, rows, late, RATE) == pytest.approx(np.mean(alone), rel=0.02)


def test_a_transposed_voice_keeps_its_voicing_and_the_shape_of_its_pitch() -> None:
    time = np.arange(RATE) / RATE
    low, high, other = (
        np.sin(2 * np.pi * np.cumsum(curve) / RATE)
        for curve in (130 + 20 * np.sin(9 * time), 195 + 30 * np.sin(9 * time), 130 - 20 * np.sin(9 * time))
    )
    assert measure("pitch_correlation", low, high, RATE) == pytest.approx(1, abs=0.02)
    assert measure("pitch_correlation", low, other, RATE) < -0.9
    assert measure("pitch_voicing", low, high, RATE) > 0.95
    assert measure("pitch_voicing", low, np.random.default_rng(0).standard_normal(RATE), RATE) < 0.5


def test_a_rate_under_which_no_pitch_can_be_found_is_refused() -> None:
    with pytest.raises(ValueError, match="pitch is sought from 65 Hz, which needs more than 100 samples a second"):
        measure("pitch_voicing", VOICE, VOICE, 100)


@pytest.mark.parametrize("name", METRICS)
def test_short_arrays_are_measured_or_undefined_and_never_an_error(name: str) -> None:
    for length in (1, 2, 3, 5, 17, 511, 513):
        values = np.random.default_rng(length).standard_normal(length)
        value = measure(name, values, values.copy(), RATE, np.array([[0, 0.01, 0]]))
        assert math.isnan(value) or value == pytest.approx(find(name).ideal, abs=1e-7), f"{length} values"


@pytest.mark.parametrize("lag", [-300, -7, -1, 0, 1, 7, 300])
@pytest.mark.parametrize("shape", [(4000,), (3, 2000), (1, 40, 1500)])
def test_a_shift_is_found_to_the_step_under_gain_offset_and_noise(lag: int, shape: tuple[int, ...]) -> None:
    noise = np.random.default_rng(abs(lag)).standard_normal((2, *shape))
    reference = np.cumsum(noise[0], axis=-1)
    late = 5 - 1.3 * np.roll(reference, lag, axis=-1) + 0.01 * noise[1]
    assert measure("shift", reference, late) == lag


def test_the_shift_agrees_with_a_direct_search() -> None:
    curve = pitch()
    late = np.roll(curve, 3) + np.random.default_rng(0).standard_normal(288)
    direct = max(range(-72, 73), key=lambda lag: _correlation_at(curve, late, lag))
    assert measure("shift", curve, late) == direct == 3


def _correlation_at(reference: Array, candidate: Array, lag: int) -> float:
    r, c = reference - reference.mean(), candidate - candidate.mean()
    x, y = (r[: len(r) - lag], c[lag:]) if lag >= 0 else (r[-lag:], c[:lag])
    return float(x @ y / math.sqrt((x @ x) * (y @ y)))


def test_a_tone_with_noise_is_not_shifted_by_its_period() -> None:
    tone = np.sin(2 * np.pi * np.arange(6000) / 60)
    noise = 0.05 * np.random.default_rng(0).standard_normal(6000)
    assert measure("shift", tone, tone + noise) == 0


def test_arrays_without_anything_in_common_are_not_shifted() -> None:
    one, other = np.random.default_rng(0).standard_normal((2, 4000))
    assert measure("shift", one, other) == 0


def test_constants_cannot_be_aligned() -> None:
    assert math.isnan(measure("shift", np.full(100, 3.0), np.full(100, 3.0)))


def test_a_seam_that_clicks_is_a_step_of_the_error() -> None:
    steps = np.array([0.0, 1.0, 0.5, 0.0])
    assert measure("click", steps, np.array([0.0, 1.0, 3.5, 3.0])) == 3.0
