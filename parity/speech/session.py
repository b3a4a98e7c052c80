"""Speech of a run: the audio of each chain beside upstream's, judged by the speech metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from parity.base.cache import Cache
from parity.base.fingerprint import code, digest
from parity.base.text import aligned, plain
from parity.compare.evidence import folder_of, read_audio
from parity.declarations import AUDIBLE, Case, System
from parity.golden.recording import rerecorded
from parity.golden.store import GoldenStore
from parity.plan.checks import chain_sets
from parity.plan.systems import systems
from parity.record.suite import Suite
from parity.speech import ears, margins
from parity.speech.ears import Ear
from parity.speech.margins import METRICS
from parity.speech.metrics import Passage, Ruling, likeness, naturalness, normalised, words
from parity.speech.sound import SpeechError, sound
from parity.verdict import Check

Render = Callable[[GoldenStore, Cache, Case, str], Sequence[np.ndarray]]
KIND, FILE = "rendering", "renderings.safetensors"
HEAD = ("passage", "metric", "reference", "candidate", "worse by", "floor", "+ margin", "")
NO_LANGUAGE = "seeded weights speak no language: words, voice and naturalness are not judged, recordings are compared"
NO_EARS = "no trained encoder judges the voice and nothing the naturalness; make extra-ears installs both"


@dataclass(frozen=True)
class Speaker:
    """One system as it is spoken with: the chain of one set of variants, such as what ships, on one runtime."""

    system: str
    variant: str
    checks: tuple[Check, ...]

    @property
    def name(self) -> str:
        return f"{self.system}-{self.variant}-{self.checks[0].runtime}-{self.checks[0].numerics}"


@dataclass(frozen=True)
class Heard:
    """Result for one speaker. `remarks` say what was not judged, and what the rest is worth."""

    speaker: Speaker
    rulings: tuple[Ruling, ...]
    remarks: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return bool(self.rulings) and all(ruling.passed for ruling in self.rulings)

    def explain(self) -> str:
        failed = [ruling.line() for ruling in self.rulings if not ruling.passed]
        return "\n".join([*failed, *self.remarks]) if self.rulings else f"{self.speaker.name}: nothing was measured"


def render(goldens: GoldenStore, cache: Cache, case: Case, output: str) -> list[np.ndarray]:
    """Return one audio output, such as `tail.audio`, of each other rendering of a passage, made once for a golden.

    Upstream's own model renders it again, with other rounding. That gives the metrics their floor.
    """
    parts = {"golden": goldens.identity(case), "scope": goldens.scope, "output": output}
    parts["by"] = digest(code(rerecorded))
    stage, _, name = output.rpartition(".")

    def make(folder: Path) -> None:
        seam = goldens.rerecorded(case)[stage]
        save_file({"audio": np.ascontiguousarray(seam.outputs[name], np.float32).reshape(-1)}, folder / FILE)

    return [load_file(cache.get(KIND, digest(parts), make, parts) / FILE)["audio"]]


class Speech:
    """The speech metrics of one run. What hears is made when it is first needed."""

    def __init__(
        self, suite: Suite, recognizer: str = ears.AUTO, encoder: str = ears.AUTO, render: Render = render
    ) -> None:
        self.suite, self._render = suite, render
        self._recognizer, self._listener = cache(partial(ears.recognizer, recognizer)), cache(ears.listener)
        self._encoders = cache(partial(ears.encoders, encoder))
        self.heard: dict[str, Heard] = {}

    def plan(self) -> list[Speaker]:
        """Return every system that speaks, as it ships and in every other chained set, on each runtime."""
        found: dict[tuple[str, str, str], list[Check]] = {}
        for check in self.suite.plan():
            if check.mode == "chained" and speaks(systems()[check.system]):
                found.setdefault((check.system, check.variant, check.numerics), []).append(check)
        return [Speaker(system, variant, tuple(checks)) for (system, variant, _), checks in found.items()]

    def judge(self, speaker: Speaker) -> Heard:
        """Judge recordings, and what trained ears hear unless the weights are seeded; remarks say what is left out."""
        passages = [passage for check in speaker.checks for passage in self._passages(check)]
        bench = self.suite.workbench(speaker.checks[0])
        source, who = bench.weights.source, f"{speaker.system} {speaker.variant}"
        path = self.suite.project.golden_folder / speaker.system / margins.NAME
        own = margins.load(path, list(chain_sets(bench.system))).get(source, {}).get(speaker.variant, {})
        metrics = {**METRICS, **{name: replace(METRICS[name], margin=one.margin) for name, one in own.items()}}
        speaking = source != "seeded"
        encoders = self._encoders(speaking)
        listener, recognizer = (self._listener(), self._recognizer()) if speaking else (None, None)
        rulings: list[Ruling] = []
        for one in passages:
            where = f"{who}, {one.name}"
            rulings += [likeness(where, one, encoder, metrics[of]) for of, encoder in encoders.items()]
            rulings += [naturalness(where, one, listener, metrics["naturalness"])] if listener else []
        if recognizer:
            rulings.append(words(f"{who}, {len(passages)} passages", passages, recognizer, metrics["words"]))
        used: list[Ear | None] = [*encoders.values(), listener, recognizer]
        remarks = [] if speaking else [f"{speaker.system}: {NO_LANGUAGE}"]
        remarks += [NO_EARS] if speaking and not ("voice" in encoders and listener) else []
        remarks += [f"{ear.name}: {ear.about}" for ear in used if ear]
        remarks += [f"{who}, {name} margin {own[name].margin:g}: {own[name].reason}" for name in METRICS if name in own]
        found = self.heard[speaker.name] = Heard(speaker, tuple(rulings), tuple(remarks))
        return found

    def _passages(self, check: Check) -> Iterator[Passage]:
        bench = self.suite.workbench(check)
        case = bench.system.reference.case(check.case)
        if bench.weights.source != "seeded" and not normalised(case.about):
            raise SpeechError(
                f"{check.system}, case {case.name}: `about` is {case.about!r}, and the word error rate is taken "
                "against it: declare the spoken text there"
            )
        verdict = bench.run(check)
        folder = folder_of(self.suite.cache, verdict.evidence) if verdict.evidence else None
        pairs = read_audio(folder) if folder else []
        if not pairs:
            faults = "; ".join(finding.line() for finding in verdict.failures[:2]) or "its evidence is gone"
            raise SpeechError(f"{check.id} left no audio to listen to: {faults}. Run pytest -m parity -k {check.id}")
        goldens = self.suite.goldens(bench.system)
        for pair in pairs:
            where = f"{case.name} {pair.output}"
            again = self._render(goldens, bench.cache, case, pair.output)
            yield Passage(
                where,
                case.about,
                sound(pair.reference, pair.rate, f"{where}, the reference"),
                tuple(sound(other, pair.rate, f"{where}, rendered again") for other in again),
                sound(pair.candidate, pair.rate, f"{where}, the candidate"),
            )


def speaks(system: System) -> bool:
    return any(tensor.kind in AUDIBLE for stage in system.stages for tensor in stage.outputs.values())


def table(heard: Sequence[Heard], silent: Sequence[str] = (), errors: Mapping[str, str] | None = None) -> str:
    """Return a row for each ruling, then remarks, what was not judged, and the verdict.

    `errors` says, by the name of its test, why something could not be judged at all.
    """
    rulings = [ruling for one in heard for ruling in one.rulings]
    lines = aligned([HEAD, *map(_row, rulings)]) if rulings else []
    lines += ["", *(plain(ruling.line()) for ruling in rulings if not ruling.passed)]
    lines += [f"! {plain(name)}: {plain(why)}" for name, why in (errors or {}).items()]
    lines += [plain(remark) for remark in dict.fromkeys(remark for one in heard for remark in one.remarks)]
    lines += [f"no audio output, so nothing to listen to: {', '.join(map(plain, silent))}"] if silent else []
    passed = sum(ruling.passed for ruling in rulings)
    failed = len(rulings) - passed
    verdict = "passed" if rulings and not failed and not errors else "FAILED"
    counts = f"✓ {passed}{f'  ✗ {failed}' if failed else ''}{f'  ! {len(errors)}' if errors else ''}"
    return "\n".join([*lines, f"speech {verdict}  {counts}"])


def _row(one: Ruling) -> tuple[str, ...]:
    scores = f"{one.reference:.4f}", f"{one.candidate:.4f}", f"{one.worse:.2e}", f"{one.floor:.2e}", f"{one.margin:g}"
    return one.subject, one.metric, *scores, "✓" if one.passed else "✗"
