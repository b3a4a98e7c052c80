"""The host's sampler beside upstream's, call by call, and the durations that no case has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from converters.styletts2.glue import Glue
from references import seeding

pytest.importorskip("styletts2", reason="StyleTTS2 is not installed: make extra-styletts2")

from references.styletts2.cases import STEPS, STYLE
from references.styletts2.importing import sampling
from references.styletts2.taps import Ancestral

NOISE = seeding.normal("a test of the sampler", STEPS, 2 * STYLE)


def denoise(x: Any, sigma: Any) -> Any:
    """A denoiser of its own mind, in arithmetic that rounds alike everywhere."""
    return x * 0.25 + sigma * 0.5


def upstream() -> tuple[list[tuple[np.ndarray, np.float32]], np.ndarray]:
    """Return what upstream's sampler asks of the denoiser, and what it ends with."""
    module, calls = sampling(), []

    def asked(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        calls.append((x.numpy().copy(), np.float32(sigma)))
        return denoise(x, sigma)

    sigmas = module.KarrasSchedule(sigma_min=0.0001, sigma_max=3.0, rho=9.0)(STEPS, "cpu")
    with Ancestral(NOISE):
        found = module.ADPM2Sampler()(torch.from_numpy(NOISE[:1, None]), fn=asked, sigmas=sigmas, num_steps=STEPS)
    return calls, found.numpy()[:, 0]


class Denoiser:
    """The `Run` of a sampler: its stage gives what the made-up denoiser gives."""

    def __init__(self) -> None:
        self.calls: list[tuple[np.ndarray, np.float32]] = []

    def __call__(self, stage: str, inputs: Any) -> dict[str, np.ndarray]:
        self.calls.append((inputs["x_noisy"], inputs["sigma"][0]))
        return {"denoised": denoise(inputs["x_noisy"], inputs["sigma"])}


def test_each_call_and_the_end_are_upstreams_bit_for_bit() -> None:
    run: Any = Denoiser()
    found = Glue().sampled(run, NOISE, np.zeros(0), np.zeros(0))
    calls, end = upstream()
    assert len(run.calls) == len(calls) == 2 * (STEPS - 1)
    for (x, sigma), (theirs, level) in zip(run.calls, calls, strict=True):
        assert sigma == level
        assert np.array_equal(x, theirs)
    assert np.array_equal(found, end)


def test_the_levels_are_upstreams_and_end_at_the_smallest() -> None:
    theirs = sampling().KarrasSchedule(sigma_min=0.0001, sigma_max=3.0, rho=9.0)(STEPS, "cpu").numpy()
    assert np.array_equal(Glue().levels(), theirs[:-1])
    assert theirs[-1] == 0


def test_each_token_lasts_a_frame_at_least_and_halves_go_to_the_even_number() -> None:
    shares = np.zeros((1, 3, 50), np.float32) - 40
    shares[0, 1, :3], shares[0, 2, :5] = 0, 0  # three and five halves
    assert Glue().lasting(shares).tolist() == [1, 2, 2]
