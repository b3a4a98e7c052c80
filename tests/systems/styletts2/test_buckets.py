"""StyleTTS2's stages in sizes that are larger than what they are given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from converters.styletts2 import SYSTEM
from parity.base.cache import Cache
from parity.base.paths import project
from parity.build import convert
from parity.build.artifacts import Built
from parity.declarations import Stage
from parity.plan.weights import choose
from parity.run.runtime import cut, filled, valid

pytest.importorskip("styletts2", reason="StyleTTS2 is not installed: make extra-styletts2")

NEAR = 1e-5
WEIGHTS = "Data/com.apple.CoreML/weights/weight.bin"


@pytest.fixture(scope="module")
def cache() -> Cache:
    return Cache.of(project())


@pytest.fixture(scope="module")
def upstream(cache: Cache) -> Any:
    return SYSTEM.reference.build(choose(SYSTEM.reference, "seeded", cache).checkpoint())


def drawn(stage: Stage, length: int) -> dict[str, np.ndarray]:
    """Return inputs of so many tokens or frames."""
    generator = torch.Generator().manual_seed(length)

    def of(shape: tuple[int, ...]) -> np.ndarray:
        return np.asarray(torch.randn(shape, generator=generator).numpy())

    dims = {"tokens": length, "frames": length}
    found = {name: of(tensor.sizes(dims)) for name, tensor in stage.inputs.items() if tensor.dtype != "int32"}
    if "tokens" in stage.inputs:
        ids = torch.randint(1, 178, (1, length), generator=generator, dtype=torch.int32)
        ids[0, 0] = 0
        found["tokens"] = np.asarray(ids.numpy())
    if "sigma" in found:
        found["sigma"] = np.float32([0.3])
    if "F0_curve" in found:
        found["F0_curve"] = 150 + 50 * found["F0_curve"]
    return found


def padded(upstream: Any, name: str, length: int, bucket: int) -> Iterator[tuple[str, float]]:
    """Yield how far each output's valid part in a bucket is from the output at the exact length, as relative L2."""
    stage = SYSTEM.stage(name)
    module, inputs = convert.traceable(stage, upstream), drawn(stage, length)
    exact = convert.call(module, stage, inputs)
    assert valid(stage, inputs) == length
    found = cut(stage, convert.call(module, stage, filled(stage, inputs, bucket)), bucket, length)
    for output, value in exact.items():
        assert found[output].shape == value.shape
        yield output, float(np.linalg.norm(found[output] - value) / np.linalg.norm(value))


@pytest.mark.parametrize(("length", "bucket"), [(2, 32), (33, 64), (65, 128), (129, 256), (257, 512), (512, 512)])
def test_padding_behind_a_text_is_not_seen(upstream: Any, length: int, bucket: int) -> None:
    assert {output: apart for output, apart in padded(upstream, "text_predictor", length, bucket) if apart > NEAR} == {}


@pytest.mark.parametrize("length", [2, 257])
def test_padding_behind_a_text_is_not_seen_by_the_denoiser(upstream: Any, length: int) -> None:
    assert {output: apart for output, apart in padded(upstream, "diffusion_step", length, 512) if apart > NEAR} == {}


@pytest.mark.parametrize(("length", "bucket"), [(3, 256), (257, 512), (513, 1024), (1025, 2048), (2049, 4096)])
def test_padding_behind_frames_is_not_seen_by_the_curves(upstream: Any, length: int, bucket: int) -> None:
    assert {output: apart for output, apart in padded(upstream, "f0n_energy", length, bucket) if apart > NEAR} == {}


def test_padding_behind_frames_is_not_heard(upstream: Any) -> None:
    assert {output: apart for output, apart in padded(upstream, "decoder", 10, 24) if apart > 1e-4} == {}


def test_buckets_share_one_file_of_weights(cache: Cache) -> None:
    artifacts = Built(SYSTEM, choose(SYSTEM.reference, "seeded", cache), cache)
    stage = SYSTEM.stage("text_predictor")
    one, other = (artifacts.get(stage.at(bucket), stage.shipping).package / WEIGHTS for bucket in stage.buckets[:2])
    assert one.stat().st_ino == other.stat().st_ino
