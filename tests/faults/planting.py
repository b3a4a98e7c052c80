"""Artifacts with a bug in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity import convert
from parity.artifacts import Artifact, facts_of
from parity.checks import Workbench
from parity.declarations import Stage, Variant
from parity.fingerprint import digest
from tests.faults.table import Fault


@dataclass
class Planted:
    """Artifacts of which one is what the fault makes of it."""

    bench: Workbench
    fault: Fault
    folder: Path

    def key(self, stage: Stage, variant: Variant) -> str:
        return digest({"fault": self.fault.name, "stage": stage.name, "variant": variant.name})

    def get(self, stage: Stage, variant: Variant) -> Artifact:
        system, fault = self.bench.system, self.fault
        self.folder.mkdir(parents=True, exist_ok=True)
        package = self.folder / "planted.mlpackage"
        if not package.exists():
            built_as = fault.built_as or variant
            planted = fault.plant(stage)
            source = self.folder / "plain.mlpackage" if built_as.palettize else package
            facts = facts_of(system, stage, variant, self.bench.weights.identity)
            convert.convert(planted, built_as, convert.traceable(planted, upstream(self.bench)), source, facts)
            if built_as.palettize:
                convert.palettize(built_as.palettize, source, package, facts)
        return Artifact(stage, variant, package, self.key(stage, variant))


_upstream: dict[str, Any] = {}


def upstream(bench: Workbench) -> Any:
    """One model for all mutants: building it takes a second."""
    if bench.system.name not in _upstream:
        _upstream[bench.system.name] = bench.system.reference.build(bench.weights.checkpoint())
    return _upstream[bench.system.name]
