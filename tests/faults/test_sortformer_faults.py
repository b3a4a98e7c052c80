"""The gates of a system that decides who speaks are proven on Sortformer: each planted bug is caught where it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.sortformer import SYSTEMS
from converters.sortformer.glue import Glue
from converters.sortformer.stages import FP16, INT8, PALETTIZED
from parity.base.cache import Cache
from parity.base.torch_threads import threads
from parity.blame.explain import explained
from parity.build.artifacts import Artifact
from parity.declarations import Stage, Variant
from parity.judge.workbench import Workbench
from parity.record.suite import Suite
from parity.run import Session
from parity.verdict import Check
from tests.faults.parrot import parrot
from tests.faults.planting import assert_caught, judged
from tests.faults.sortformer_table import CASE, CHAIN, CHANGES, FAULTS, GLUE_FAULTS, SYSTEM, Change, GlueFault
from tests.faults.table import Fault


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with threads(1):
        yield


def of(stage: str, variant: str, system: str = SYSTEM.name) -> Check:
    return Check(
        system=system, stage=stage, variant=variant, case=CASE, mode="forced", runtime="milrun", numerics="declared"
    )


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_bug_is_caught_at_its_stage(suite: Suite, fault: Fault, tmp_path: Path) -> None:
    assert_caught(fault, judged(suite.workbench(fault.check), fault, tmp_path))


def test_the_glue_as_it_is_passes_with_a_faultless_runtime(suite: Suite, tmp_path: Path) -> None:
    assert parrot(suite, CHAIN, SYSTEM.chain, tmp_path).run(CHAIN).passed


@pytest.mark.parametrize("fault", GLUE_FAULTS, ids=lambda fault: fault.name)
def test_a_bug_of_the_host_is_caught_where_it_enters_first(suite: Suite, fault: GlueFault, tmp_path: Path) -> None:
    declared: Any = SYSTEM.chain
    verdict = explained(parrot(suite, CHAIN, fault.glue(declared.streaming, declared.width), tmp_path), CHAIN)
    first = next(finding for finding in verdict.failures if finding.gate == "glue")
    assert first.output == fault.spoils, [str(finding) for finding in verdict.failures]
    assert verdict.blame is not None
    assert verdict.blame.stage == fault.spoils.split(".")[0]


@dataclass
class Altered:
    """A session whose probabilities are what `change` makes of them."""

    session: Session
    change: Change
    load_seconds: float = 0.0
    run_seconds: float = 0.0

    def run(self, inputs: Any, state: Any = None) -> dict[str, np.ndarray]:
        outputs = self.session.run(inputs)
        return {**outputs, "speaker_preds": self.change(outputs["speaker_preds"])}

    def make_state(self) -> Any:
        return self.session.make_state()

    def close(self) -> None:
        self.session.close()


@dataclass(frozen=True)
class Altering(Workbench):
    """What the pipeline gives is altered."""

    change: Change = lambda activity: activity

    def session(self, stage: Stage, variant: Variant) -> Session:
        session = super().session(stage, variant)
        return Altered(session, self.change) if stage.name == "pipeline" else session


@pytest.mark.parametrize("name", CHANGES)
def test_a_decision_that_moved_is_seen_in_the_whole_meeting(suite: Suite, name: str, tmp_path: Path) -> None:
    change, seen = CHANGES[name]
    clean = suite.workbench(CHAIN)
    parts = {name: getattr(clean, name) for name in clean.__dataclass_fields__}
    verdict = explained(Altering(**{**parts, "cache": Cache(tmp_path)}, change=change), CHAIN)
    broken = {finding.gate for finding in verdict.failures if finding.output == "speaking"}
    assert set(seen) <= broken, verdict
    assert verdict.blame is not None
    assert verdict.blame.stage == "pipeline"


@dataclass
class Other:
    """The artifacts of a system, but for one that is another's."""

    bench: Workbench
    stage: str
    other: Artifact

    def key(self, stage: Stage, variant: Variant) -> str:
        return "another's" if stage.name == self.stage else self.bench.artifacts.key(stage, variant)

    def get(self, stage: Stage, variant: Variant) -> Artifact:
        return self.other if stage.name == self.stage else self.bench.artifacts.get(stage, variant)


@pytest.mark.parametrize("stage", ["head", "pipeline"])
def test_two_systems_packages_swapped(suite: Suite, stage: str, tmp_path: Path) -> None:
    check = of(stage, FP16.name)
    clean, low = suite.workbench(check), suite.workbench(of(stage, FP16.name, SYSTEMS[1].name))
    other = low.artifacts.get(low.system.stage(stage), FP16)
    planted: Any = Other(clean, stage, other)
    verdict = explained(replace(clean, artifacts=planted, cache=Cache(tmp_path)), check)
    said = [finding.message for finding in verdict.failures if finding.gate == "manifest"]
    assert any("390" in message and "242" in message for message in said), verdict
    assert verdict.blame is not None
    assert verdict.blame.stage == stage


def test_a_pipeline_of_another_head_is_not_its_parts(suite: Suite, tmp_path: Path) -> None:
    check = of("pipeline", PALETTIZED.name)
    clean = suite.workbench(check)
    planted: Any = Other(clean, "pipeline", clean.artifacts.get(clean.system.stage("pipeline"), FP16))
    verdict = explained(replace(clean, artifacts=planted, cache=Cache(tmp_path)), check)
    assert {"parts", "compression"} <= {finding.gate for finding in verdict.failures}, verdict


def test_int8_is_refused_where_a_gpu_may_run_it(suite: Suite, tmp_path: Path) -> None:
    check = of("head", INT8.name)
    clean = suite.workbench(check)
    assert clean.run(check).passed
    anywhere = replace(INT8, compute_units="ALL")
    stages = tuple(
        replace(stage, variants=tuple(anywhere if known == INT8 else known for known in stage.variants))
        for stage in clean.system.stages
    )
    system = replace(clean.system, stages=stages)
    artifact = clean.artifacts.get(clean.system.stage("head"), INT8)
    planted: Any = Other(clean, "head", artifact)
    verdict = explained(replace(clean, system=system, artifacts=planted, cache=Cache(tmp_path)), check)
    assert {finding.gate for finding in verdict.failures} == {"hazard"}, verdict


def test_the_glue_is_the_same_for_every_way_of_streaming() -> None:
    assert all(type(system.chain) is Glue for system in SYSTEMS)
