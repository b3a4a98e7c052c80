"""Recorded truth, read: what lies in git from git, the rest from a recording that is proven to be the same truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from parity.base import fingerprint, lockfile
from parity.base.cache import Cache
from parity.base.paths import project
from parity.base.torch_threads import threads
from parity.declarations import Case, Reference, Seam
from parity.golden import case_file, lock, provenance, recording, rounding
from parity.golden.errors import DamagedGolden, ExtraWanted, MissingGolden, NotTheSameTruth, StaleGolden
from parity.golden.journal import Journal
from parity.golden.names import distinct, file_name
from parity.golden.provenance import Provenance
from parity.golden.recording import Recording
from parity.golden.tensors import CaseEntry, foreign, hashes
from parity.plan.weights import Weights

KIND = "recording"


@dataclass(frozen=True)
class Golden:
    """What crossed each stage boundary for a case, in the order of the data. The arrays can't be written to."""

    system: str
    case: str
    seams: tuple[Seam, ...]

    def __getitem__(self, stage: str) -> Seam:
        seams = self.steps(stage)
        if len(seams) > 1:
            raise KeyError(f"stage {stage} was crossed {len(seams)} times: golden.steps({stage!r}) has them all")
        return seams[0]

    def steps(self, stage: str) -> tuple[Seam, ...]:
        """All crossings of a stage that runs more than once."""
        seams = tuple(seam for seam in self.seams if seam.stage == stage)
        if not seams:
            known = ", ".join(dict.fromkeys(seam.stage for seam in self.seams))
            raise KeyError(f"the golden of {self.system}, case {self.case} has no stage {stage!r}; it has {known}")
        return seams


class GoldenStore:
    """The goldens of one system, computed with one set of weights."""

    def __init__(self, reference: Reference, root: Path, cache: Cache, weights: Weights) -> None:
        file_name("system", reference.name)
        for case in reference.cases:
            file_name("case", case.name)
        distinct("case", [case.name for case in reference.cases])
        self.reference = reference
        self.root = Path(root)
        self.cache = cache
        self.weights = weights
        self.folder = provenance.folder(self.root, reference, weights)
        self.journal = Journal(self.folder)
        self._loaded: dict[str, Golden] = {}
        self._sound: dict[str, CaseEntry] = {}

    @cached_property
    def provenance(self) -> Provenance:
        return provenance.current(self.reference, self.weights)

    @cached_property
    def model(self) -> Any:
        return self.reference.build(self.weights.checkpoint())

    @property
    def mend(self) -> str:
        option = {"seeded": "", "path": " --weights PATH"}.get(self.weights.source, f" --weights {self.weights.source}")
        first = f"make extra-{self.reference.extra}, then " if self.absent else ""
        return f'{first}python -m golden refresh {self.reference.name}{option} --reason "…"'

    @property
    def whole(self) -> bool:
        """Whether git keeps every tensor, because few can record them again. It keeps those of seeded weights alone."""
        return bool(self.reference.extra) and not self.weights.folder

    @property
    def absent(self) -> list[str]:
        """What recording wants of the lock's extras and this machine does not have."""
        return lockfile.absent(self.reference.extra, self.reference.packages)

    def load(self, case: Case) -> Golden:
        if case.name not in self._loaded:
            entry, kept = self.checked(case)
            self._loaded[case.name] = self._golden(case, entry, kept)
        return self._loaded[case.name]

    def identity(self, case: Case) -> str:
        """A digest of what was recorded from what, for whatever is derived from it. A stale golden has none."""
        entry, data = self._read(case)
        if self._sound.get(case.name) != entry:
            self._unpacked(case, entry, data)
        return entry.identity()

    def read_lock(self) -> lock.Lock | None:
        self.journal.settle()
        found = lock.read(self.folder / lock.NAME)
        if found and found.system != self.reference.name:
            where = self.folder / lock.NAME
            raise DamagedGolden(where, f"is the lock of {found.system}", f"git checkout -- {where}")
        return found

    def checked(self, case: Case) -> tuple[CaseEntry, dict[str, np.ndarray]]:
        """What the lock says of a case and what git keeps of it, if it is whole, fresh, and of these very inputs."""
        entry, data = self._read(case)
        return entry, self._unpacked(case, entry, data)

    def record(self, case: Case) -> Recording:
        if self.absent:
            why = f"recording it wants {', '.join(self.absent)}, which this machine does not have"
            raise ExtraWanted(self._where(case), why, f"make extra-{self.reference.extra}")
        # How a sum is split among several threads changes its last digits.
        with threads(1):
            return recording.record(self.reference, self.model, case)

    def rerecorded(self, case: Case) -> Golden:
        """Record a case again with other rounding, see `rounding.rerecorded`; nothing of it is kept."""
        made = rounding.rerecorded(case, self.record)
        return Golden(self.reference.name, case.name, tuple(seam.plain() for seam in made.seams))

    def keep(self, entry: CaseEntry, make: Callable[[Path], None]) -> Path:
        """The folder of the complete recording, under the identity of the truth that it is."""
        parts = {"system": self.reference.name, "stages": [seam.stage for seam in entry.seams]}
        return self.cache.get(KIND, self.key(entry), make, parts)

    def recorded(self, entry: CaseEntry) -> Recording | None:
        """The complete recording, if this machine has it."""
        folder = self.cache.find(KIND, self.key(entry))
        return recording.read(folder) if folder else None

    def key(self, entry: CaseEntry) -> str:
        return fingerprint.digest({"system": self.reference.name, "truth": entry.identity()})

    def _read(self, case: Case) -> tuple[CaseEntry, bytes]:
        """A refresh may be moving files into place meanwhile; then what was read is read again."""
        for attempt in range(3):
            found = self.read_lock()
            if found is None or case.name not in found.cases:
                raise MissingGolden(self._where(case), "nothing was ever recorded", self.mend)
            entry = found.cases[case.name]
            self._assert_fresh(found, case, entry)
            try:
                return entry, case_file.read(self.folder / f"{case.name}{case_file.SUFFIX}", entry)
            except DamagedGolden:
                if attempt == 2:
                    raise
        raise AssertionError

    def _unpacked(self, case: Case, entry: CaseEntry, data: bytes) -> dict[str, np.ndarray]:
        kept = case_file.unpack(self.folder / f"{case.name}{case_file.SUFFIX}", entry, data)
        self._sound[case.name] = entry
        return kept

    def _assert_fresh(self, found: lock.Lock, case: Case, entry: CaseEntry) -> None:
        parts = provenance.changes(found.provenance, self.provenance)
        inputs = hashes(case.inputs)
        names = sorted(name for name in {*inputs, *entry.inputs} if inputs.get(name) != entry.inputs.get(name))
        parts += [f"input {name} of the case {'changed' if name in entry.inputs else 'is new'}" for name in names]
        if parts:
            raise StaleGolden(self._where(case), f"the golden is stale: {provenance.summary(parts)}", self.mend)

    def _where(self, case: Case) -> str:
        return f"{self.reference.name}, case {case.name}"

    def _golden(self, case: Case, entry: CaseEntry, kept: Mapping[str, np.ndarray]) -> Golden:
        """All from one run. On another machine, an output is what its own inputs made, and not git's inputs."""
        if all(held.in_git for _, held in entry.places()):
            arrays = iter([kept[held.sha256] for _, held in entry.places()])
        else:
            own = {place: held.array for place, held in self._proven(case, entry, kept).places()}
            arrays = iter([own[place] for place, _ in entry.places()])
        seams = []
        for seam in entry.seams:
            inputs = {name: next(arrays) for name in seam.inputs}
            seams.append(Seam(seam.stage, inputs, {name: next(arrays) for name in seam.outputs}))
        return Golden(self.reference.name, case.name, tuple(seams))

    def _proven(self, case: Case, entry: CaseEntry, kept: Mapping[str, np.ndarray]) -> Recording:
        """The complete recording, which is made again if this machine has none."""

        def make(folder: Path) -> None:
            made = self.record(case)
            self._prove(case, entry, kept, made)
            recording.write(made, folder)

        found = recording.read(self.keep(entry, make))
        self._prove(case, entry, kept, found)
        return found

    def _prove(self, case: Case, entry: CaseEntry, kept: Mapping[str, np.ndarray], found: Recording) -> None:
        """The same bits, or within what another machine's rounding explains; see `entries.foreign`."""
        expected, actual = dict(entry.places()), dict(found.places())
        for place in [*expected, *actual]:
            if place not in actual or place not in expected:
                fault = "is not there" if place not in actual else "is not in the lock"
            elif actual[place].sha256 == expected[place].sha256:
                continue
            else:
                fault = foreign(expected[place], kept[expected[place].sha256], actual[place].array)
            if fault:
                raise NotTheSameTruth(
                    self._where(case),
                    f"{place}, recorded again, {fault}",
                    f"python -m golden diff {self.reference.name} shows all that moved",
                )


def open_store(reference: Reference, cache: Cache, weights: Weights) -> GoldenStore:
    """The goldens in git."""
    return GoldenStore(reference, project().golden_folder, cache, weights)
