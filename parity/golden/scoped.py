"""The truth of one of several systems that share a reference: its own seams are recorded as "scope.stage"."""

from __future__ import annotations

from dataclasses import dataclass

from parity.declarations import Case, Seam
from parity.golden.store import GoldenStore
from parity.judge.workbench import Goldens
from parity.run.chain import Golden


@dataclass(frozen=True)
class Scoped:
    """Goldens in which a stage is looked for in the scope first. Without a scope, they are as they are."""

    goldens: Goldens
    scope: str

    def load(self, case: Case) -> Golden:
        return self._scoped(self.goldens.load(case))

    def rerecorded(self, case: Case) -> Golden:
        """Record a case again with other rounding, where the goldens come from a store that can record."""
        if not isinstance(self.goldens, GoldenStore):
            raise TypeError(f"{type(self.goldens).__name__} can't record {case.name} again: only a GoldenStore can")
        return self._scoped(self.goldens.rerecorded(case))

    def identity(self, case: Case) -> str:
        return self.goldens.identity(case)

    def _scoped(self, golden: Golden) -> Golden:
        return _Scope(golden, self.scope) if self.scope else golden


@dataclass(frozen=True)
class _Scope:
    golden: Golden
    scope: str

    def __getitem__(self, stage: str) -> Seam:
        try:
            return self.golden[f"{self.scope}.{stage}"]
        except KeyError:
            return self.golden[stage]
