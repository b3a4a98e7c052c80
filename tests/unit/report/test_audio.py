"""Audio in the report: read with suspicion, played at its own level, drawn so that an error shows."""

from __future__ import annotations

import base64
import io
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from parity.compare.evidence import AUDIO, MediaError, Pair, read_audio
from parity.report import listening
from parity.report.html import sparkline
from parity.report.listening import numbers
from tests.support import report_samples as samples

RATE = samples.RATE


def pair(candidate: np.ndarray, reference: np.ndarray | None = None) -> Pair:
    return Pair("audio", RATE, samples.speech() if reference is None else reference, candidate.astype(np.float32))


def image(picture: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(picture.removeprefix("data:image/png;base64,"))))


def pcm(content: bytes) -> np.ndarray:
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def test_a_gain_is_kept_in_what_is_played() -> None:
    quiet = samples.speech() * np.float32(0.5)
    one, two = (
        pcm(listening.wav(quiet, RATE)).astype(float),
        pcm(listening.wav(quiet * np.float32(1.5), RATE)).astype(float),
    )
    assert np.dot(one, two) / np.dot(one, one) == pytest.approx(1.5, abs=1e-3)


def test_what_is_beyond_full_scale_is_clipped_and_counted() -> None:
    signal = np.array([0.0, 0.5, 1.0, 1.5, -3.0], np.float32)
    assert pcm(listening.wav(signal, RATE)).tolist() == [0, 16384, 32767, 32767, -32767]
    assert numbers(pair(signal))["Candidate"][-2:] == ["2", "0"]


def test_what_is_not_finite_is_silent_and_counted() -> None:
    signal = np.array([0.5, np.nan, np.inf, -np.inf], np.float32)
    assert pcm(listening.wav(signal, RATE))[1:].tolist() == [0, 0, 0]
    assert numbers(pair(signal))["Candidate"][-2:] == ["0", "3"]
    assert 'class="not-finite"' in listening.waveforms(pair(signal, np.zeros(4, np.float32)))


def test_a_gain_is_told_in_decibels() -> None:
    assert listening.gain(pair(1.5 * samples.speech())) == pytest.approx(3.52, abs=0.01)
    assert listening.gain(pair(np.zeros(10), np.zeros(10, np.float32))) == 0


def test_a_long_sound_is_heard_where_the_two_differ_most() -> None:
    reference = np.zeros(60 * RATE, np.float32)
    candidate = reference.copy()
    candidate[40 * RATE : 41 * RATE] = 0.5
    begin, part = listening.excerpt(pair(candidate, reference))
    assert begin <= 40 <= 41 <= begin + listening.EXCERPT
    assert len(part.candidate) == listening.EXCERPT * RATE


def test_a_louder_candidate_is_orange_all_over_in_the_level_picture() -> None:
    loud, quiet = (listening.spectra(pair(gain * samples.speech()))["level"] for gain in (1.9, 0.5))
    for picture, channel in ((loud, 0), (quiet, 2)):
        colours = np.asarray(image(picture).convert("RGB")).reshape(-1, 3).mean(axis=0)
        assert colours.argmax() == channel


def test_a_shift_shows_in_the_picture_of_the_error() -> None:
    speech = samples.speech()
    clean, shifted = (listening.spectra(pair(candidate))["error"] for candidate in (speech, np.roll(speech, 300)))
    brightness = [float(np.asarray(image(picture).convert("L")).mean()) for picture in (clean, shifted)]
    assert brightness[1] > 4 * brightness[0]


@pytest.mark.parametrize("length", [1, 7, 500, 30 * RATE])
def test_a_sound_of_any_length_can_be_drawn(length: int) -> None:
    short = pair(np.ones(length), np.zeros(max(1, length // 2), np.float32))
    assert all(image(picture).format == "PNG" for picture in listening.spectra(short).values())
    assert listening.waveforms(short).startswith("<svg")


def test_silence_can_be_drawn() -> None:
    silence = np.zeros(2400, np.float32)
    assert listening.spectra(pair(silence, silence))["level"]


def test_evidence_is_read_as_it_was_written(tmp_path: Path) -> None:
    (found,) = read_audio(samples.audio(tmp_path, 1.5 * samples.speech()))
    assert (found.output, found.rate) == ("audio", RATE)
    assert np.array_equal(found.candidate, 1.5 * found.reference)


def test_evidence_without_audio_has_none(tmp_path: Path) -> None:
    assert read_audio(tmp_path) == []


@pytest.mark.parametrize("rate", ["", "0", "-24000", "24000.5", "1e4", "999999999999", "²"])
def test_a_sample_rate_that_is_none_is_refused(tmp_path: Path, rate: str) -> None:
    with pytest.raises(MediaError, match="sample_rate"):
        read_audio(samples.audio(tmp_path, samples.speech(), rate=rate))


@pytest.mark.parametrize(
    ("tensors", "fault"),
    [
        ({"audio.reference": np.zeros(4, np.float32)}, "lacks the tensor 'audio.candidate'"),
        ({"audio.reference": np.zeros(4), "audio.candidate": np.zeros(4)}, "not a float32 signal"),
        (
            {"audio.reference": np.zeros((2, 2), np.float32), "audio.candidate": np.zeros(4, np.float32)},
            "not a float32",
        ),
        ({"audio.reference": np.zeros(0, np.float32), "audio.candidate": np.zeros(4, np.float32)}, "not a float32"),
        ({}, "holds no tensor"),
    ],
)
def test_tensors_that_are_no_signal_are_refused(tmp_path: Path, tensors: dict[str, np.ndarray], fault: str) -> None:
    save_file(tensors, tmp_path / AUDIO, {"sample_rate": "24000"})
    with pytest.raises(MediaError, match=fault):
        read_audio(tmp_path)


def test_a_trend_needs_two_runs_and_shows_the_bound() -> None:
    assert sparkline([0.5]) == sparkline([None, 0.5]) == ""
    assert 'class="over"' in sparkline([0.5, None, 3.0])
    assert 'class="under"' in sparkline([3.0, float("inf"), 0.5])
