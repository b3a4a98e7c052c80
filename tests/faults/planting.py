"""Artifacts with a bug in them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from parity.base.cache import Cache
from parity.base.fingerprint import digest
from parity.blame.explain import explained
from parity.build import convert
from parity.build.artifacts import Artifact, facts_of
from parity.declarations import Stage, Variant
from parity.judge.workbench import Workbench
from parity.verdict import Verdict
from tests.faults.table import Fault


@dataclass
class Planted:
    """Artifacts of which one is what the fault makes of it."""

    bench: Workbench
    fault: Fault
    folder: Path

    def key(self, stage: Stage, variant: Variant) -> str:
        weights = dict(self.bench.weights.identity)
        return digest({"fault": self.fault.name, "stage": stage.name, "variant": variant.name, "weights": weights})

    def get(self, stage: Stage, variant: Variant) -> Artifact:
        system, fault = self.bench.system, self.fault
        self.folder.mkdir(parents=True, exist_ok=True)
        package = self.folder / "planted.mlpackage"
        if not package.exists():
            built_as = fault.built_as or variant
            planted = fault.plant(stage)
            source = self.folder / "plain.mlpackage" if built_as.compressed else package
            facts = facts_of(system, stage, variant, self.bench.weights.identity)
            convert.convert(planted, built_as, convert.traceable(planted, upstream(self.bench)), source, facts)
            if built_as.compressed:
                convert.compress(built_as, source, package, facts)
        return Artifact(stage, variant, package, self.key(stage, variant))


_upstream: dict[str, Any] = {}


def upstream(bench: Workbench) -> Any:
    """One model for all mutants of the same weights: building it takes a second."""
    key = digest({"system": bench.system.name, "weights": dict(bench.weights.identity)})
    if key not in _upstream:
        _upstream[key] = bench.system.reference.build(bench.weights.checkpoint())
    return _upstream[key]


def judged(clean: Workbench, fault: Fault, folder: Path) -> Verdict:
    """What the fault's check says of it. Everything but the fault is as `clean` has it."""
    check = fault.check
    if fault.mode == "module":
        stages, inner = (
            tuple(fault.plant(stage) if stage.name == fault.stage else stage for stage in found)
            for found in (clean.system.stages, clean.system.inner)
        )
        system = replace(clean.system, stages=stages, inner=inner)
        return explained(replace(clean, system=system, cache=Cache(folder)), check)
    return explained(replace(clean, artifacts=Planted(clean, fault, folder), cache=Cache(folder / "cache")), check)


def assert_caught(fault: Fault, verdict: Verdict) -> None:
    """By the gates that the fault names, and blamed on its stage and its step."""
    broken = {finding.gate for finding in verdict.failures}
    held = {finding.gate for finding in verdict.findings if finding.passed}
    assert set(fault.caught_by) <= broken, verdict
    assert set(fault.unseen_by) <= held, verdict
    assert verdict.blame is not None
    assert verdict.blame.stage == fault.stage
    if fault.step is not None:
        assert f"from step {fault.step} of " in verdict.blame.detail, verdict.blame
    if fault.line:
        assert verdict.blame.fault in (("module",) if fault.mode == "module" else ("graph", "weights")), verdict.blame
        assert fault.line in verdict.blame.source, verdict.blame
