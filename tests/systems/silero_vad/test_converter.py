"""Silero VAD as it is ported: its graphs beside upstream at the edges, and as a compiled model that others publish."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import milrun
from converters.silero_vad import SYSTEM
from converters.silero_vad.glue import listen
from parity.base.libraries import threads
from parity.build import convert
from parity.build.artifacts import ArtifactError, Given
from parity.record.suite import Options, Suite
from parity.run import stepping
from references.silero_vad import upstream as reference
from references.silero_vad.record import listened
from references.silero_vad.sizes import CHUNK
from tests.milrun.compiled_models import compile_package
from tests.systems.silero_vad.errors import STAGE, on_speech

SPEECH = SYSTEM.reference.case("long").inputs["audio"][10_000:]
LENGTHS = (1, CHUNK - 1, CHUNK, CHUNK + 1, 8 * CHUNK - 1, 8 * CHUNK, 8 * CHUNK + 1)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with threads(1):
        yield


@pytest.fixture(scope="module")
def upstream(suite: Suite) -> Any:
    return SYSTEM.reference.build(suite.weights(SYSTEM).checkpoint())


def package(suite: Suite, variant: str) -> Path:
    return suite.bench(SYSTEM.name, "declared").artifacts.get(STAGE, STAGE.variant(variant)).package


@pytest.mark.parametrize("length", LENGTHS)
def test_the_modules_hear_recordings_of_any_length_as_upstream_does(upstream: Any, length: int) -> None:
    module = convert.traceable(STAGE, upstream)
    states = dict(listen.started())
    steps = listened(upstream, SPEECH[:length])
    heard = listen.heard(SPEECH[:length])
    assert len(heard) == len(steps) == -(-length // CHUNK)
    for samples, step in zip(heard, steps, strict=True):
        assert np.array_equal(samples, step.heard)
        made = convert.call(module, STAGE, {"audio_input": samples, **states})
        assert abs(made["vad_output"] - step.probability).item() < 1e-3
        states = {name: made[f"new_{name}"] for name in states}


def test_segments_are_upstreams_for_any_probabilities() -> None:
    random = np.random.default_rng(0)
    for _ in range(200):
        count = int(random.integers(1, 400))
        walk = np.cumsum(random.standard_normal(count)) * random.uniform(0.1, 0.6)
        probabilities = list(1 / (1 + np.exp(-walk)))
        samples = count * CHUNK - int(random.integers(0, CHUNK))
        assert listen.segments(probabilities, samples) == reference.segments(probabilities, samples)


@pytest.mark.parametrize(("variant", "least", "most"), [("fp32", 0.0, 1e-3), ("fp16", 0.05, 0.3)])
def test_half_precision_hears_digital_silence(
    suite: Suite, upstream: Any, variant: str, least: float, most: float
) -> None:
    """See docs/systems/silero_vad.md: the floor under the square root is no longer small there."""
    audio = SYSTEM.reference.case("long").inputs["audio"][4_800 : 4_800 + 40 * CHUNK].copy()
    audio[: 6 * CHUNK] = 0
    steps = listened(upstream, audio)
    made = on_speech(milrun.load(str(package(suite, variant))), [step.heard for step in steps])
    apart = np.abs(made - [step.probability.item() for step in steps]).max()
    assert least <= apart <= most


def test_a_torchscript_file_that_is_not_pinned_is_not_run(tmp_path: Path) -> None:
    path = tmp_path / "silero_vad.jit"
    reference.write(path)
    assert SYSTEM.reference.build(path) is not None
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(reference.ForeignModelError, match=r"silero_vad\.jit has sha256 .* none is run except"):
        SYSTEM.reference.build(path)


def test_a_folder_of_compiled_models_is_judged_by_the_same_gates(suite: Suite, tmp_path: Path) -> None:
    variant = STAGE.variant("fp16-int8")
    compile_package(package(suite, variant.name), tmp_path / variant.published)
    given = Suite(Options(artifacts=str(tmp_path)), "given", suite.project)
    checks = [check for check in given.checks(SYSTEM) if check.mode != "module" and check.case == "phrase"]
    assert [(check.stage, check.variant, check.mode) for check in checks] == [
        (STAGE.name, variant.name, mode) for mode in ("probed", "forced", "carried")
    ]
    for check in checks:
        verdict = given.workbench(check).run(check)
        assert verdict.passed, verdict


def test_a_compiled_model_of_another_variant_is_refused(suite: Suite, tmp_path: Path) -> None:
    variant = STAGE.variant("fp16-pal6")
    compile_package(package(suite, "fp16-pal8"), tmp_path / variant.published)
    given = Given(SYSTEM, suite.weights(SYSTEM), tmp_path)
    with pytest.raises(ArtifactError, match="variant is fp16-pal8, not fp16-pal6"):
        given.get(STAGE, variant)


def test_the_longest_case_has_at_least_600_steps(suite: Suite) -> None:
    golden = suite.goldens(SYSTEM).load(SYSTEM.reference.case("long"))
    assert stepping.count(STAGE, golden[STAGE.name]) >= 600
