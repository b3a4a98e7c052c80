"""A whole recording at once, with an empty cache: what ships for long chunks gives what upstream gives offline."""

from __future__ import annotations

import numpy as np

from converters.sortformer import SYSTEMS
from converters.sortformer.glue import Window
from parity.base.libraries import threads
from parity.declarations import Arrays
from parity.diarization import der, turns
from parity.record.suite import Suite
from parity.run.chain import Free
from parity.verdict import Check

SYSTEM = next(system for system in SYSTEMS if system.name == "sortformer_v2_high")
EPSILON = np.float32(1e-3)
"""So that upstream divides no silence by zero when it scales a recording by its loudest sample."""


def heard_at_once(suite: Suite, case: str) -> tuple[np.ndarray, np.ndarray]:
    """What the artifacts give for the whole recording, and what upstream does."""
    bench = suite.workbench(
        Check(
            system=SYSTEM.name,
            stage="pipeline",
            variant="fp16",
            case=case,
            mode="forced",
            runtime="milrun",
            numerics="declared",
        )
    )
    audio, glue = bench.system.reference.case(case).inputs["audio"], bench.system.chain

    def execute(name: str, inputs: Arrays) -> dict[str, np.ndarray]:
        stage = bench.system.stage(name)
        return bench.execute(stage, stage.variants[0], inputs)

    run = Free(bench.system, {}, execute)
    rows = np.concatenate(list(glue.features(run, [audio * (1 / (audio.max() + EPSILON))])))
    nothing = glue.remembered(glue.memory(run))
    found = run("pipeline", {**glue.seen(Window(rows, 0, 0)), **nothing})
    truth = bench.goldens.load(bench.system.reference.case(case))["offline"].outputs["activity"]
    return found["speaker_preds"][0, : len(truth)], truth


def test_offline_is_one_long_chunk(suite: Suite) -> None:
    """Of a recording that is not longer than such a chunk."""
    with threads(1):
        found, truth = heard_at_once(suite, "pair")
    assert np.abs(found - truth).max() < 0.02
    rate = SYSTEM.decisions["speaking"].rate or 0.0
    seconds = len(truth) / rate
    apart = der.errors(turns.turns(truth > 0.5, rate), turns.turns(found > 0.5, rate), 0.0, seconds)
    assert apart.rate < 0.02
