"""The outputs of what was timed, judged by the gates: the speed of an artifact with wrong outputs means nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from parity.bench.round import Round
from parity.compare import evidence
from parity.compare.outputs import chain_outputs
from parity.declarations import Arrays, Case
from parity.judge.workbench import Workbench
from parity.plan.checks import CHAIN
from parity.run.chain import Chain
from parity.verdict import Finding


@dataclass(frozen=True)
class Compared:
    """One set of outputs against upstream's: the contract, and the metrics of each output."""

    contract: tuple[Finding, ...]
    values: Mapping[str, Mapping[str, float]]

    def faults(self, bench: Workbench) -> Iterator[Finding]:
        for finding in (*self.contract, *bench.judged(CHAIN, bench.deployed.name, self.values)):
            if not finding.passed:
                yield finding


class Outputs:
    """The distinct outputs of many rounds. Most rounds give the bits of an earlier one, and are not compared again."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self._known: dict[str, dict[str, Compared]] = {}

    def compare(self, case: Case, made: Round) -> None:
        """Compare all that a round computed, and let go of it."""
        run, made.run = made.run, None
        assert run is not None
        known, key = self._known.setdefault(case.name, {}), _digest(run, made)
        if key not in known:
            known[key] = self._compare(run, made)

    def of(self, case: Case) -> tuple[Compared, ...]:
        return tuple(self._known[case.name].values())

    def _compare(self, run: Chain, made: Round) -> Compared:
        system, ships = self.bench.system, self.bench.deployed
        ran = replace(system, stages=tuple(stage for stage in system.stages if stage.name in made.stages))
        compared = list(chain_outputs(ran, run, ships.variants, self.bench.runtime.numerics))
        contract, values = evidence.measure(compared, system.reference.sample_rate, self.bench.asked(CHAIN, ships.name))
        if not contract and not values:
            raise ValueError(f"{system.name}: the chain gave no output to judge, so its speed says nothing")
        return Compared(tuple(contract), values)


def _digest(run: Chain, made: Round) -> str:
    """Return a digest of everything that was computed or decided."""
    digest = hashlib.sha256()
    computed: list[tuple[str, Arrays]] = [("host", run.own)]
    for stage in map(run.system.stage, made.stages):
        computed += [(f"{stage.name} out", run.outputs(stage)), (f"{stage.name} decided", run.decisions(stage))]
    for place, arrays in computed:
        for name in sorted(arrays):
            value = np.ascontiguousarray(arrays[name])
            digest.update(f"{place} {name} {value.dtype} {value.shape}\n".encode())
            digest.update(value.tobytes())
    return digest.hexdigest()
