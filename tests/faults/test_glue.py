"""Bugs of the host: what runs between the artifacts, in the app as here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from converters import kokoro
from parity.blame.explain import explained
from parity.declarations import Arrays, Case, Golden, Run, Seam
from parity.judge.workbench import Workbench
from parity.record.suite import Suite
from parity.verdict import Check, Verdict
from tests.faults.parrot import parrot

CHECK = Check(
    system="kokoro", stage="chain", variant="fp32", case="hello", mode="chained", runtime="milrun", numerics="declared"
)


@dataclass(frozen=True)
class Tied:
    """The goldens of a voice whose durations lie exactly between two frame counts, rounded as upstream rounds them."""

    bench: Workbench

    def load(self, case: Case) -> Golden:
        golden = self.bench.goldens.load(case)
        seams = []
        for seam in (golden[stage.name] for stage in self.bench.system.stages):
            if seam.stage == "post_albert":
                seam = Seam(seam.stage, seam.inputs, {**seam.outputs, "duration": self.durations(seam)})
            if seam.stage == "alignment":
                ties = self.durations(golden["post_albert"])
                seam = Seam(seam.stage, {**seam.inputs, "pred_dur": np.rint(ties).astype(np.int32)}, seam.outputs)
            seams.append(seam)
        return Golden("kokoro", case.name, tuple(seams))

    def durations(self, seam: Seam) -> np.ndarray:
        return (np.arange(seam.outputs["duration"].size, dtype=np.float32) % 6 + 1.5)[None]

    def identity(self, case: Case) -> str:
        return "tied"


def chained(suite: Suite, glue: Any, folder: Path, tied: bool = False) -> Verdict:
    bench = parrot(suite, CHECK, glue, folder)
    return explained(replace(bench, goldens=Tied(suite.workbench(CHECK))) if tied else bench, CHECK)


class Rewired:
    """The `Run` that a mutant of the glue puts between the real glue and the harness."""

    def __init__(self, run: Run) -> None:
        self.run, self.tables = run, run.tables

    def __call__(self, stage: str, inputs: Arrays) -> Mapping[str, np.ndarray]:
        return self.run(stage, inputs)

    def decide(self, stage: str, name: str, value: np.ndarray) -> np.ndarray:
        return self.run.decide(stage, name, value)


class HalfUp(Rewired):
    """Swift's `.rounded()`: a half away from zero, where upstream rounds it to even."""

    def __call__(self, stage: str, inputs: Arrays) -> Mapping[str, np.ndarray]:
        results = dict(self.run(stage, inputs))
        self.durations = results.get("duration", getattr(self, "durations", None))
        return results

    def decide(self, stage: str, name: str, value: np.ndarray) -> np.ndarray:
        up = np.maximum(np.floor(self.durations + 0.5), 1).astype(np.int32)
        return self.run.decide(stage, name, up)


class SwappedStyle(Rewired):
    """Timbre where the prosody half of the style belongs, and the other way round."""

    names = ("style_s", "style_timbre")

    def __init__(self, run: Run, case: Case) -> None:
        super().__init__(run)
        style = case.inputs["ref_s"]
        self.halves = {"style_s": style[:, : kokoro.STYLE], "style_timbre": style[:, kokoro.STYLE :]}

    def __call__(self, stage: str, inputs: Arrays) -> Mapping[str, np.ndarray]:
        return self.run(stage, {name: self.halves.get(name, value) for name, value in inputs.items()})


def half_up(run: Run, case: Case) -> None:
    kokoro.speak(HalfUp(run), case)


def swapped_style(run: Run, case: Case) -> None:
    kokoro.speak(SwappedStyle(run, case), case)


def short_of_a_stage(run: Run, case: Case) -> None:
    """Stops before the last stage."""

    class Stop(Rewired):
        def __call__(self, stage: str, inputs: Arrays) -> Mapping[str, np.ndarray]:
            return {"audio": np.zeros(1, np.float32)} if stage == "tail" else self.run(stage, inputs)

    kokoro.speak(Stop(run), case)


def broken(verdict: Verdict) -> set[tuple[str, str]]:
    return {(finding.output, finding.gate) for finding in verdict.failures}


def test_the_glue_as_it_is_passes_with_a_faultless_runtime(suite: Suite, tmp_path: Path) -> None:
    assert chained(suite, kokoro.speak, tmp_path).passed


def test_durations_exactly_between_two_frames_are_rounded_as_upstream_does(suite: Suite, tmp_path: Path) -> None:
    assert ("alignment.pred_dur", "frames_equal") not in broken(chained(suite, kokoro.speak, tmp_path, tied=True))


def test_rounding_half_up_is_caught(suite: Suite, tmp_path: Path) -> None:
    verdict = chained(suite, half_up, tmp_path, tied=True)
    assert ("alignment.pred_dur", "frames_equal") in broken(verdict)
    assert verdict.blame is not None
    assert verdict.blame.stage == "alignment"


def test_swapped_style_halves_are_caught_where_they_enter_first(suite: Suite, tmp_path: Path) -> None:
    verdict = chained(suite, swapped_style, tmp_path)
    assert ("post_albert.style_s", "glue") in broken(verdict)
    assert verdict.blame is not None
    assert verdict.blame.stage == "post_albert"


def test_a_stage_that_the_chain_leaves_out_is_caught(suite: Suite, tmp_path: Path) -> None:
    verdict = chained(suite, short_of_a_stage, tmp_path)
    assert ("tail.audio", "present") in broken(verdict)
