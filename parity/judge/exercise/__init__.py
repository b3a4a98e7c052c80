"""Proofs that nothing declared goes unexercised: values and sizes of inputs, and branches of the host code."""

from __future__ import annotations

import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from parity.base.fingerprint import code, digest, libraries
from parity.base.paths import project
from parity.build import convert, program
from parity.compare import evidence
from parity.compare.evidence import Evidence
from parity.compare.outputs import Comparison
from parity.declarations import Arrays, Stage
from parity.judge.exercise import cases, probes
from parity.judge.workbench import Workbench
from parity.plan.checks import chosen, dims
from parity.run.runtime import Crosser, closing
from parity.verdict import UNBLAMED, Check, Finding


@dataclass(frozen=True)
class Examiner(Workbench):
    """Workbench that also runs the modes "probed", "stretched" and "exercised"."""

    def made(self, check: Check, folder: Path, ran: list[Comparison]) -> Evidence:
        if check.mode not in UNBLAMED:
            return super().made(check, folder, ran)
        started = time.perf_counter()
        found = list(examine(self, check))
        return evidence.write(folder, found, self.system.reference.sample_rate, time.perf_counter() - started)

    def parts(self, check: Check) -> dict[str, Any]:
        if check.mode not in UNBLAMED:
            return super().parts(check)
        parts = {
            "libraries": self.common["libraries"],
            "measured by": _code(),
            "goldens": {case.name: self.goldens.identity(case) for case in chosen(self.system, check.case)},
            "scope": self.system.scope,
            "mode": check.mode,
            "weights": dict(self.weights.identity),
        }
        if check.mode == "exercised":
            names = {stage.name: [*stage.inputs] for stage in self.system.stages}
            fixed = {stage.name: dict(stage.fixed) for stage in self.system.stages}
            excused = cases.excuses(self.system)
            return {**parts, "glue": self.glue, "excused": excused, "inputs": names, "fixed": fixed}
        stage = self.system.stage(check.stage)
        key = self.artifacts.key(stage, stage.variant(check.variant))
        made = {"module": self.code_of(stage), "resize": digest(code(stage.resize)), "artifacts": key}
        # The package of a bucket does not tell which sizes the stage is declared for.
        sizes = {name: repr(dim) for name, dim in dims(stage).items()}
        probed = {"sizes": sizes, "common": stage.common, "traced": dict(stage.trace_at)}
        if self.runtime.format == "pte":
            probed["quantized by"] = libraries("torchao")
        return {**parts, **made, "probed": probed, "runtime": self.engine}


@cache
def _code() -> str:
    return digest(code(examine))


def examine(bench: Workbench, check: Check) -> Iterator[Finding]:
    """Yield what a check in one of the modes "probed", "stretched" and "exercised" finds."""
    asked = chosen(bench.system, check.case)
    if check.mode == "exercised":
        goldens = [bench.goldens.load(case) for case in asked]
        yield from cases.inputs(bench.system, goldens)
        tables = (bench.tables(case) for case in asked)
        yield from cases.branches(bench.system, zip(asked, goldens, tables, strict=True), project().root)
        return
    stage, seam = bench.system.stage(check.stage), bench.goldens.load(asked[0])[check.stage]
    variant, plain = stage.variant(check.variant), bench.module(stage)
    module = program.quantized(plain, stage, variant) if variant.format == "pte" else plain
    with closing(bench.session(stage, variant)) as session:
        artifact = Crosser(stage, variant, session)
        runs = partial(convert.call, module, stage)
        rounded = partial(_rounded, module, stage) if module is plain else runs
        both = probes.Both(stage, variant, seam, artifact, runs, rounded)
        if module is not plain and check.mode == "probed":
            yield from probes.quantized(both, partial(convert.call, plain, stage))
        yield from probes.stretched(both) if check.mode == "stretched" else probes.findings(both)


def _rounded(module: nn.Module, stage: Stage, inputs: Arrays) -> Arrays:
    """Run a copy of a module whose weights are as far from its own as rounding to half precision may put them."""
    near, random, most = deepcopy(module), torch.Generator().manual_seed(0), probes.ROUNDING["float16"]
    for weight in near.parameters():
        weight.mul_(1 + (2 * torch.rand(weight.shape, generator=random) - 1) * most)
    return convert.call(near, stage, inputs)
