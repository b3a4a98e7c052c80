"""The goldens of a system: read from git, and from a complete recording that is proven to be the same truth."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache as once
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from parity.base import fingerprint, libraries
from parity.base.cache import Cache
from parity.base.files import file_name
from parity.base.libraries import threads
from parity.declarations import Case, Golden, Reference
from parity.golden import case_file, lock, recording
from parity.golden.case_file import Transaction
from parity.golden.errors import DamagedGolden, ExtraWanted, MissingGolden, NotTheSameTruth, StaleGolden
from parity.golden.lock import CASE_IN_GIT, CaseEntry, Provenance, foreign, hashes
from parity.golden.recording import mapped
from parity.plan.weights import Weights

KIND = "golden"
_PAUSE, _TRIES = 0.02, 100
"""Seconds that a reader waits for a running refresh to move the next file, and how often."""


class GoldenStore:
    """The goldens of one reference, computed with one set of weights.

    Attributes:
        reference: The reference.
        root: The folder that holds a folder for each reference.
        cache: Where complete recordings are kept.
        weights: The weights of the reference.
        took: The seconds of the first recording that this store made of each case.
        scope: Prefix of the stages of one system, where several share the reference; see `within`.
    """

    def __init__(self, reference: Reference, root: Path, cache: Cache, weights: Weights) -> None:
        names = [file_name("case", case.name) for case in reference.cases]
        if twice := [name for number, name in enumerate(names) if name in names[:number]]:
            raise ValueError(f"case {twice[0]!r} is declared twice")
        self.reference = reference
        self.root = Path(root)
        self.cache = cache
        self.weights = weights
        self.took: dict[str, float] = {}
        self.scope = ""
        self.folder = self.root / file_name("system", reference.name)
        if weights.folder:
            self.folder /= file_name("the folder of weights", weights.folder)
        self.transaction = Transaction(self.folder)
        self._loaded: dict[str, Golden] = {}
        self._refused: dict[str, NotTheSameTruth] = {}
        self._identities: dict[str, tuple[tuple[tuple[int, int], ...], str]] = {}
        self._provenance = once(partial(lock.provenance, reference, weights))
        self._model = once(lambda: reference.build(weights.checkpoint()))

    def within(self, scope: str) -> GoldenStore:
        """Return this store for the system of a scope: its goldens find `scope.stage` under the name of the stage."""
        other = copy.copy(self)
        other.scope = scope
        return other

    @property
    def provenance(self) -> Provenance:
        return self._provenance()

    @property
    def model(self) -> Any:
        """The reference as it is recorded: a model of its own, since those that modules are cut from are changed."""
        return self._model()

    def forget_model(self) -> None:
        """Give up the memory of the model. The next recording builds another."""
        self._model.cache_clear()

    @property
    def mend(self) -> str:
        short = [case for case in self.reference.cases if case.short]
        own = self.weights.path is not None  # of a checkpoint of one's own, what a run takes by default
        return self.mending(short if own and short else self.reference.cases)

    def mending(self, cases: Sequence[Case]) -> str:
        """Return the command that records these cases."""
        option = f" --weights {self.weights.option}" if self.weights.folder else ""
        if len(cases) < len(self.reference.cases):
            option += f" --cases {' '.join(case.name for case in cases)}"
        first = f"make extra-{self.reference.extra}, then " if self.absent else ""
        return f'{first}python -m parity golden refresh {self.reference.name}{option} --reason "…"'

    @property
    def whole(self) -> bool:
        """True if git keeps every tensor whole, as for default weights whose truth only an extra can record again."""
        return bool(self.reference.extra) and not self.reference.borrowed and not self.weights.folder

    @property
    def room(self) -> int:
        """Bytes of whole tensors that git keeps of a case.

        Fewer of a reference with two truths in git; fewer still of one that is there whenever its systems are judged,
        and of one whose runs take so long that another recording counts for little.
        """
        if self.reference.borrowed or self.reference.heavy:
            return CASE_IN_GIT // 32
        return CASE_IN_GIT // 8 if self.reference.trained else CASE_IN_GIT

    @property
    def absent(self) -> list[str]:
        """The packages of the reference's extra that recording needs and this machine does not have."""
        return libraries.absent(self.reference.extra, self.reference.packages)

    def load(self, case: Case) -> Golden:
        """Return the golden of a case."""
        if case.name not in self._loaded:
            entry, kept = self.checked(case)
            if entry.whole:
                seams = mapped(entry.triples(), lambda tensor: tensor.sha256)
                self._loaded[case.name] = recording.restored(self.reference.name, case.name, seams, kept)
            else:
                self._loaded[case.name] = self._proven(case, entry, kept)
        return replace(self._loaded[case.name], scope=self.scope)

    def identity(self, case: Case) -> str:
        """Return a digest of the case's inputs and truth. A stale or damaged golden has none."""
        files = [self.folder / lock.NAME, self.path(case.name)]
        stamps = tuple((found.st_mtime_ns, found.st_size) for found in (path.stat() for path in files if path.exists()))
        if self._identities.get(case.name, ((), ""))[0] != stamps or not stamps:
            self._identities[case.name] = stamps, self._read(case)[0].identity()
        return self._identities[case.name][1]

    def assert_usable(self, case: Case) -> None:
        """Raise the error that `load` would, without recording anything."""
        entry, _ = self._read(case)
        if self.absent and not self.at_hand(entry):
            self._assert_recordable(case)

    def estimate(self, cases: Sequence[Case]) -> float:
        """Return the seconds that recording these cases takes, by the default weights' recordings of this machine.

        A refresh records each case twice. 0 where this machine has not recorded each of them.
        """
        default = lock.read(self.root / self.reference.name / lock.NAME)
        entries = [default.cases.get(case.name) for case in cases] if default else []
        folders = [entry and self.cache.find(KIND, self._key(entry)) for entry in entries]
        found = [recording.seconds(folder) if folder else 0.0 for folder in folders]
        return 2 * sum(found) if all(found) else 0.0

    def path(self, case: str) -> Path:
        """Return the file of a case."""
        return self.folder / f"{case}{case_file.PACKED if self.whole else case_file.SUFFIX}"

    def read_lock(self) -> lock.Lock | None:
        found = lock.read(self.folder / lock.NAME)
        if found and found.system != self.reference.name:
            where = self.folder / lock.NAME
            raise DamagedGolden(where, f"is the lock of {found.system}", f"git checkout -- {where}")
        return found

    def checked(self, case: Case) -> tuple[CaseEntry, dict[str, np.ndarray]]:
        """Return the lock's entry of a case and git's part of its tensors, if the golden is fresh and not damaged."""
        entry, data = self._read(case)
        return entry, case_file.unpack(self.path(case.name), entry, data)

    def record(self, case: Case) -> Golden:
        """Run the reference on a case."""
        self._assert_recordable(case)
        # The number of threads that share a sum changes its last digits.
        with threads(1):
            model, start = self.model, time.perf_counter()
            found = recording.record(self.reference, model, case)
            self.took.setdefault(case.name, time.perf_counter() - start)
            return found

    def _assert_recordable(self, case: Case) -> None:
        if self.absent:
            why = f"recording needs {', '.join(self.absent)}, which is not installed here"
            raise ExtraWanted(self._where(case), why, f"make extra-{self.reference.extra}")

    def rerecorded(self, case: Case) -> Golden:
        """Record a case again with other rounding, see `recording.rerecorded`; nothing of it is kept."""
        return replace(recording.rerecorded(case, self.record), scope=self.scope)

    def keep(self, entry: CaseEntry, make: Callable[[Path], None]) -> Path:
        """Return the folder of the complete recording, which `make` writes unless the cache has it."""
        parts = {"system": self.reference.name, "stages": [seam.stage for seam in entry.seams]}
        return self.cache.get(KIND, self._key(entry), make, parts)

    def recorded(self, case: Case, entry: CaseEntry) -> Golden | None:
        """Return the complete recording, if this machine has it."""
        folder = self.cache.find(KIND, self._key(entry))
        return recording.read(folder, self.reference.name, case.name) if folder else None

    def at_hand(self, entry: CaseEntry) -> bool:
        """Return whether all tensors of a case can be read here without running the reference."""
        return entry.whole or self.cache.has(KIND, self._key(entry))

    def _key(self, entry: CaseEntry) -> str:
        return fingerprint.digest({"system": self.reference.name, "truth": entry.identity()})

    def _read(self, case: Case) -> tuple[CaseEntry, bytes]:
        """Read the file of a case, and read lock and file again if a refresh moves files meanwhile."""
        for left in reversed(range(_TRIES)):
            busy = self.transaction.busy
            found = self.read_lock()
            if found is None or case.name not in found.cases:
                raise MissingGolden(self._where(case), "nothing was ever recorded", self.mend)
            entry = found.cases[case.name]
            self._assert_fresh(found, case, entry)
            try:
                return entry, case_file.read(self.path(case.name), entry)
            except DamagedGolden as damage:
                if busy and left:
                    time.sleep(_PAUSE)
                elif self.transaction.files():
                    why = f"{damage.why}, and a refresh was interrupted here"
                    raise DamagedGolden(self.path(case.name), why, f"{self.mend}, or {damage.mend}") from damage
                else:
                    raise
        raise AssertionError

    def _assert_fresh(self, found: lock.Lock, case: Case, entry: CaseEntry) -> None:
        parts = fingerprint.changed(found.provenance, self.provenance)
        inputs = hashes(case.inputs)
        names = sorted(name for name in {*inputs, *entry.inputs} if inputs.get(name) != entry.inputs.get(name))
        parts += [f"input {name} of the case {'changed' if name in entry.inputs else 'is new'}" for name in names]
        if parts:
            raise StaleGolden(self._where(case), f"the golden is stale: {lock.summary(parts)}", self.mend)

    def _where(self, case: Case) -> str:
        return f"{self.reference.name}, case {case.name}"

    def _proven(self, case: Case, entry: CaseEntry, kept: Mapping[str, np.ndarray]) -> Golden:
        """Return the complete recording, made again if this machine has none.

        All of it is from one run: on another machine, outputs belong to that run's inputs, not to git's. One that gave
        something else is not made once more: every check of the case would wait for it.
        """
        key = self._key(entry)

        def make(folder: Path) -> None:
            made = self.record(case)
            try:
                self._prove(case, entry, kept, made)
            except NotTheSameTruth as error:
                self._refused[key] = error
                raise
            recording.write(made, folder, self.took[case.name])

        if key in self._refused:
            raise self._refused[key].with_traceback(None)
        found = recording.read(self.keep(entry, make), self.reference.name, case.name)
        self._prove(case, entry, kept, found)
        return found

    def _prove(self, case: Case, entry: CaseEntry, kept: Mapping[str, np.ndarray], found: Golden) -> None:
        """Check that a recording has the same bits, or differs by another machine's rounding; see `lock.foreign`."""
        for place, was, now in entry.differing(found):
            if was is None or now is None:
                fault = "is not there" if now is None else "is not in the lock"
            else:
                fault = foreign(was, kept[was.sha256], now)
            if fault:
                raise NotTheSameTruth(
                    self._where(case),
                    f"{place}, recorded again, {fault}",
                    f"python -m parity golden diff {self.reference.name} shows all that moved",
                )
