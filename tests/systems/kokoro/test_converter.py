"""The port of Kokoro where no case goes: other speeds than 1, and tokens that are too short for a frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from converters.kokoro import SYSTEM, speak
from parity.build import convert
from parity.declarations import Arrays, Case
from parity.record.suite import Suite
from references.kokoro import STYLE


class Stages:
    """The `Run` of a host: made-up durations, and otherwise nothing."""

    def __init__(self, duration: np.ndarray) -> None:
        self.duration = duration
        self.given: dict[str, Arrays] = {}
        self.decided: dict[str, np.ndarray] = {}

    def __call__(self, stage: str, inputs: Arrays) -> dict[str, np.ndarray]:
        self.given[stage] = inputs
        made = {"post_albert": ("d", "t_en"), "noise": ()}.get(stage, tuple(SYSTEM.stage(stage).outputs))
        found = {name: np.zeros(1, np.float32) for name in made}
        return {**found, "duration": self.duration} if stage == "post_albert" else found

    def decide(self, stage: str, name: str, value: np.ndarray) -> np.ndarray:
        self.decided[name] = value
        return value


def test_each_token_lasts_a_frame_at_least_and_the_host_hands_on_the_speed() -> None:
    run: Any = Stages(np.array([[0.2, 0.5, 1.5, 2.5]], np.float32))
    given = {"input_ids": np.zeros((1, 4), np.int32), "ref_s": np.zeros((1, 2 * STYLE), np.float32)}
    speak(run, Case("made up", {**given, "speed": np.array([1.5], np.float32)}))
    assert run.decided["pred_dur"].tolist() == [[1, 1, 2, 2]]
    assert run.given["post_albert"]["speed"].tolist() == [1.5]


@pytest.mark.parametrize("speed", [0.5, 2.0])
def test_at_another_speed_only_the_durations_are_others(suite: Suite, speed: float) -> None:
    """Upstream divides what each token lasts by the speed."""
    bench, stage = suite.bench("kokoro", "declared"), SYSTEM.stage("post_albert")
    seam = bench.goldens.load(bench.system.reference.case("hello"))[stage.name]
    made = convert.call(bench.module(stage), stage, {**seam.inputs, "speed": np.array([speed], np.float32)})
    for name, scale in {"duration": speed, "d": 1.0, "t_en": 1.0}.items():
        np.testing.assert_allclose(made[name] * np.float32(scale), seam.outputs[name], rtol=1e-3, atol=1e-4)
