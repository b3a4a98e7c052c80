"""What an error looks like, of every kind, on tensors of several shapes; and what it must not be taken for."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.blame.likeness import likeness
from tests.support.signals import RATE, Array, pitch, voice

RANDOM = np.random.default_rng(0)
TENSOR = RANDOM.standard_normal((1, 64, 300))
REFERENCES = {"voice": voice(), "pitch": pitch(), "tensor": TENSOR, "frames": RANDOM.standard_normal((1, 200, 32))}

everywhere = pytest.mark.parametrize("name", REFERENCES)


def noise_like(reference: Array, size: float) -> Array:
    noise = np.random.default_rng(1).standard_normal(reference.shape)
    return np.asarray(size * np.sqrt(np.square(reference).mean()) * noise)


def looks(reference: Array, candidate: Array) -> str:
    return str(likeness(reference, candidate))


@everywhere
def test_equal_arrays_look_equal(name: str) -> None:
    assert looks(REFERENCES[name], REFERENCES[name].copy()) == "equal"


@everywhere
@pytest.mark.parametrize(
    ("factor", "says"), [(1.5, "gain 1.5×"), (1.05, "gain 1.05×"), (0.5, "gain 0.5×"), (-2, "gain -2×")]
)
def test_a_gain_is_named_with_its_factor(name: str, factor: float, says: str) -> None:
    assert looks(REFERENCES[name], factor * REFERENCES[name]) == says


@everywhere
def test_a_gain_is_recognized_under_the_rounding_of_float16(name: str) -> None:
    assert looks(REFERENCES[name], (1.05 * REFERENCES[name]).astype(np.float16)) == "gain 1.05×"


def test_a_gain_is_recognized_though_much_of_the_tensor_is_silent() -> None:
    padded = np.concatenate([np.zeros(RATE), voice(), np.zeros(RATE)])
    assert looks(padded, 1.5 * padded) == "gain 1.5×"


@everywhere
@pytest.mark.parametrize("offset", [0.01, 10, -3])
def test_an_offset_is_named_with_its_size(name: str, offset: float) -> None:
    assert looks(REFERENCES[name], REFERENCES[name] + offset) == f"offset {offset:+g}"


@everywhere
def test_a_gain_with_an_offset_is_both(name: str) -> None:
    assert looks(REFERENCES[name], 1.2 * REFERENCES[name] + 3) == "gain 1.2× and offset +3"


@everywhere
def test_a_flipped_sign_is_no_gain(name: str) -> None:
    assert looks(REFERENCES[name], -REFERENCES[name]) == "sign flipped"


@pytest.mark.parametrize("lag", [1, -1, 7, -20])
@everywhere
def test_a_shift_is_named_with_its_lag_and_axis(name: str, lag: int) -> None:
    for axis, length in enumerate(REFERENCES[name].shape):
        if length > 80:
            assert (
                looks(REFERENCES[name], np.roll(REFERENCES[name], lag, axis)) == f"shift by {lag:+d} along axis {axis}"
            )


def test_nan_is_named_with_its_number_and_the_first_place() -> None:
    candidate = TENSOR.copy()
    candidate[0, 63, 298:] = math.nan
    candidate[0, 0, 0] = math.inf
    assert looks(TENSOR, candidate) == "nan in 2 of 19200 values, the first at (0, 63, 298)"


def test_infinity_is_saturation_and_says_if_the_reference_is_beyond_float16() -> None:
    candidate = TENSOR.copy()
    candidate[0, 1, 2] = -math.inf
    assert looks(TENSOR, candidate) == "saturated in 1 of 19200 values, the first at (0, 1, 2)"
    large = 1e5 * TENSOR
    with np.errstate(over="ignore"):
        found = likeness(large, large.astype(np.float16))
    assert found.kind == "saturated"
    assert "where the reference reaches 4" in found.detail
    assert found.detail.endswith("beyond float16")


def test_infinities_that_the_reference_has_as_well_are_no_error() -> None:
    masked = TENSOR.copy()
    masked[..., 200:] = -math.inf
    assert looks(masked, masked.copy()) == "equal"
    assert looks(masked, 1.5 * masked) == "gain 1.5×"
    assert likeness(masked, TENSOR).kind == "other"


@everywhere
def test_zeros_and_constants_are_named(name: str) -> None:
    assert looks(REFERENCES[name], np.zeros_like(REFERENCES[name])) == "zero"
    assert looks(REFERENCES[name], np.full_like(REFERENCES[name], 0.25)) == "constant 0.25"


def test_what_repeats_its_first_step_is_frozen() -> None:
    assert looks(TENSOR, np.repeat(TENSOR[..., :1], 300, -1)) == "frozen along axis 2: each of 300 steps is the first"


@everywhere
def test_a_second_half_of_zeros_is_a_tail_of_zeros(name: str) -> None:
    reference = np.where(REFERENCES[name] == 0, 1.0, REFERENCES[name])
    candidate, length = reference.copy(), reference.shape[-1]
    candidate[..., length // 2 :] = 0
    assert (
        looks(reference, candidate)
        == f"tail from {length // 2} of {length} on along axis {reference.ndim - 1}, there zero"
    )


@pytest.mark.parametrize("rounding", [0, 1e-4])
def test_a_tail_begins_where_the_first_step_differs(rounding: float) -> None:
    reference = RANDOM.standard_normal((1, 640, 2100))
    candidate = reference + noise_like(reference, rounding)
    candidate[..., 2048:] = np.roll(reference, 1, -1)[..., 2048:]
    assert looks(reference, candidate) == "tail from 2048 of 2100 on along axis 2, there shift by +1 along axis 2"


def test_a_tail_along_an_axis_before_the_last_is_found() -> None:
    candidate = TENSOR.copy()
    candidate[:, 50:] *= 1.3
    assert looks(TENSOR, candidate) == "tail from 50 of 64 on along axis 1, there gain 1.3×"


def test_an_error_in_one_stretch_is_local() -> None:
    candidate = TENSOR.copy()
    candidate[..., 20:24] *= -3
    assert looks(TENSOR, candidate) == "local from 20 to 23 of 300 along axis 2, there gain -3×"


@everywhere
def test_one_wrong_step_is_local(name: str) -> None:
    candidate = REFERENCES[name].copy()
    candidate[..., 20] += np.pi * 100.3
    assert looks(REFERENCES[name], candidate).startswith(f"local at 20 of {candidate.shape[-1]} along axis")


def test_a_few_wrong_values_all_over_are_local() -> None:
    candidate = TENSOR.copy()
    candidate.reshape(-1)[[5, 9000, 19000]] += [40.1, 50.3, 60.7]
    assert looks(TENSOR, candidate) == "local in 3 of 19200 values, most at (0, 63, 100)"


def test_an_error_that_follows_the_signal_out_of_silence_is_no_tail() -> None:
    reference = np.concatenate([np.zeros(RATE), voice()])
    candidate = reference * (1 + 0.05 * np.random.default_rng(2).standard_normal(len(reference)))
    assert likeness(reference, candidate).kind == "noise"


@pytest.mark.parametrize(("jump", "unit"), [(math.pi, "π"), (2 * math.pi, "2π")])
def test_a_share_of_values_off_by_a_turn_is_a_phase(jump: float, unit: str) -> None:
    angles = RANDOM.uniform(-np.pi, np.pi, (1, 11, 2000))
    wrong = RANDOM.random(angles.shape) < 0.103
    candidate = angles - jump * np.sign(angles) * wrong + noise_like(angles, 1e-3)
    assert looks(angles, candidate) == f"phase off by {unit} in {100 * wrong.mean():.3g} % of values"


def test_a_phase_wrapped_is_off_by_multiples_of_a_turn() -> None:
    unwrapped = np.cumsum(np.full(1000, 0.3))
    assert looks(unwrapped, unwrapped % (2 * np.pi)).startswith("phase off by multiples of 2π in 98")
    assert looks(unwrapped, unwrapped % 1).startswith("phase off by whole turns in 99")


def test_harmonics_of_other_phase_are_a_phase_of_the_waveform() -> None:
    assert likeness(voice(), voice(phases=1)).kind == "phase"
    turn = np.cumsum(np.full(RATE, 0.04))
    assert likeness(np.sin(turn), np.cos(turn)).kind == "phase"


def test_integers_off_by_integers_are_no_phase() -> None:
    counts = RANDOM.integers(1, 9, 300)
    assert likeness(counts, counts + RANDOM.integers(-4, 5, 300)).kind == "other"
    assert str(likeness(counts, counts + 1)) == "offset +1"


def test_channels_in_another_order_are_a_permutation() -> None:
    order = [0, 3, 2, 1, *range(4, 64)]
    assert looks(TENSOR, TENSOR[:, order]) == "permutation of axis 1: 1 is 3, 3 is 1"
    shuffled = RANDOM.permutation(64)
    assert likeness(TENSOR, TENSOR[:, shuffled]).kind == "permutation"


def test_channels_that_are_alike_do_not_hide_that_others_are_swapped() -> None:
    reference = TENSOR.copy()
    reference[:, 10:40] = 0
    assert looks(reference, reference[:, [1, 0, *range(2, 64)]]) == "permutation of axis 1: 0 is 1, 1 is 0"


def test_speakers_swapped_on_the_last_axis_are_a_permutation() -> None:
    speakers = RANDOM.random((500, 4))
    assert looks(speakers, speakers[:, [0, 2, 1, 3]]) == "permutation of axis 1: 1 is 2, 2 is 1"


def test_swapped_halves_a_reversal_and_a_transposition_are_permutations() -> None:
    style = RANDOM.standard_normal((1, 256))
    assert looks(style, np.roll(style, 128, -1)) == "permutation of axis 1: its halves swapped"
    assert looks(voice(), voice()[::-1] + noise_like(voice(), 1e-3)) == "permutation of axis 0: reversed"
    keys = RANDOM.standard_normal((8, 16, 16))
    assert looks(keys, keys.swapaxes(1, 2)) == "permutation of axes 1 and 2: transposed"


def test_values_of_a_vector_in_another_order_are_not_called_a_permutation() -> None:
    vector = RANDOM.standard_normal(500)
    assert likeness(vector, RANDOM.permutation(vector)).kind == "other"


def test_clipping_is_named_with_its_bounds() -> None:
    assert looks(TENSOR, np.clip(TENSOR, -0.5, 0.5)).startswith("clipped above 0.5 and below -0.5: 6")
    assert looks(TENSOR, np.maximum(TENSOR, 0)).startswith("clipped below 0: ")
    large = 5e4 * TENSOR
    assert looks(large, np.clip(large, -65504, 65504)).startswith("clipped above 65504 and below -65504: ")


@everywhere
def test_rounding_to_a_shorter_format_is_quantization(name: str) -> None:
    assert looks(REFERENCES[name], REFERENCES[name].astype(np.float16)) == "quantization to float16"


def test_rounding_to_bfloat16_is_quantization() -> None:
    torch = pytest.importorskip("torch")
    rounded = torch.from_numpy(TENSOR).to(torch.bfloat16).double().numpy()
    assert looks(TENSOR, rounded) == "quantization to bfloat16"


def test_few_levels_are_quantization() -> None:
    assert looks(TENSOR, np.round(4 * TENSOR) / 4).startswith("quantization to 3")


@everywhere
@pytest.mark.parametrize("size", [0.1, 0.01, 1e-4, 1e-7])
def test_noise_is_noise_at_its_level(name: str, size: float) -> None:
    noise = noise_like(REFERENCES[name], size)
    level = 20 * math.log10(float(np.linalg.norm(noise) / np.linalg.norm(REFERENCES[name])))
    assert looks(REFERENCES[name], REFERENCES[name] + noise) == f"noise at {level:.0f} dB"


def test_noise_that_a_filter_coloured_is_said_to_be() -> None:
    coloured = np.convolve(noise_like(voice(), 0.1), np.ones(20) / 20, "same")
    found = likeness(voice(), voice() + coloured)
    assert found.kind == "noise"
    assert found.detail.endswith("coloured")


@everywhere
def test_what_has_nothing_to_do_with_the_reference_is_other(name: str) -> None:
    found = likeness(REFERENCES[name], noise_like(REFERENCES[name], 1))
    assert found.kind == "other"
    assert re.match(r"of relative L2 1\.4\d, largest at \(", found.detail)


def test_a_small_error_that_grows_with_the_reference_is_no_noise() -> None:
    some = RANDOM.random(TENSOR.shape) < 0.5
    assert likeness(TENSOR, np.where(some, 1.05 * TENSOR, TENSOR)).kind == "other"


@everywhere
def test_next_to_nothing_is_not_called_a_gain(name: str) -> None:
    assert likeness(REFERENCES[name], noise_like(REFERENCES[name], 1e-3)).kind == "other"


@given(st.integers(0, 10_000), st.integers(2, 12), st.floats(0.001, 3))
@settings(max_examples=60)
def test_noise_on_a_small_tensor_is_never_explained_away(seed: int, length: int, size: float) -> None:
    random = np.random.default_rng(seed)
    reference = random.standard_normal((4, length))
    candidate = reference + size * random.standard_normal((4, length))
    assert likeness(reference, candidate).kind in {"noise", "other", "local"}


def test_shapes_that_differ_are_the_error() -> None:
    assert looks(TENSOR, TENSOR[..., 1:]) == "shape (1, 64, 299) instead of (1, 64, 300)"


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_too_few_values_are_not_explained(size: int) -> None:
    reference = np.arange(1.0, size + 1)
    assert likeness(reference, 1.5 * reference).kind == "other"
    assert likeness(reference, reference + 0.01 * (-1) ** np.arange(size)).kind == "other"


def test_arrays_without_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the reference is empty, of shape \(0, 3\)"):
        likeness(np.zeros((0, 3)), np.zeros((0, 3)))
    with pytest.raises(ValueError, match="the candidate is of <U1"):
        likeness(np.zeros(1), np.array(["a"]))
