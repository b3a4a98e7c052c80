"""Speech of a run: the audio of each chain beside upstream's, judged by the speech metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial

import numpy as np

from parity.base.cache import Cache
from parity.compare.evidence import folder_of
from parity.compare.media import read_audio
from parity.declarations import AUDIBLE, Case, System
from parity.golden.store import GoldenStore
from parity.plan.checks import chain_sets
from parity.plan.systems import systems
from parity.record.suite import Suite
from parity.speech import choose, margins
from parity.speech.dnsmos import Dnsmos
from parity.speech.floor import Ruling
from parity.speech.margins import DEFAULTS
from parity.speech.passages import Passage, likeness, naturalness, words
from parity.speech.recognizer import Recognizer
from parity.speech.renderings import render
from parity.speech.sound import SpeechError, sound
from parity.speech.speaker import SpeakerEncoder
from parity.verdict import Check

Render = Callable[[GoldenStore, Cache, Case, str], Sequence[np.ndarray]]
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


class Speech:
    """The speech metrics of one run. What hears is made when it is first needed."""

    def __init__(
        self, suite: Suite, recognizer: str = choose.AUTO, encoder: str = choose.AUTO, render: Render = render
    ) -> None:
        self.suite, self._recognizer, self._render = suite, recognizer, render
        self._encoders = cache(partial(choose.encoders, encoder))
        self.heard: dict[str, Heard] = {}

    def plan(self) -> list[Speaker]:
        """Return every system that speaks, as it ships and in every other chained set, on each runtime."""
        found: dict[tuple[str, str, str], list[Check]] = {}
        for check in self.suite.plan():
            if check.mode == "chained" and speaks(systems()[check.system]):
                found.setdefault((check.system, check.variant, check.numerics), []).append(check)
        return [Speaker(system, variant, tuple(checks)) for (system, variant, _), checks in found.items()]

    @cached_property
    def recognizer(self) -> Recognizer:
        return choose.recognizer(self._recognizer)

    @cached_property
    def listener(self) -> Dnsmos | None:
        return choose.listener()

    def judge(self, speaker: Speaker) -> Heard:
        """Judge recordings, and what trained ears hear unless the weights are seeded; remarks say what is left out."""
        passages = [passage for check in speaker.checks for passage in self._passages(check)]
        bench = self.suite.workbench(speaker.checks[0])
        source, who = bench.weights.source, f"{speaker.system} {speaker.variant}"
        path = self.suite.project.golden_folder / speaker.system / margins.NAME
        own = margins.load(path, list(chain_sets(bench.system)))
        kept = {name: own.get((source, speaker.variant, name), usual) for name, usual in DEFAULTS.items()}
        speaking = source != "seeded"
        encoders, listener = self._encoders(speaking), self.listener if speaking else None
        ears: list[SpeakerEncoder | Dnsmos | Recognizer] = [*encoders.values(), *filter(None, [listener])]
        rulings: list[Ruling] = []
        for one in passages:
            where = f"{who}, {one.name}"
            rulings += [likeness(where, one, encoder, of, kept[of].value) for of, encoder in encoders.items()]
            if listener:
                rulings.append(naturalness(where, one, listener, kept["naturalness"].value))
        if speaking:
            text = f"{who}, {len(passages)} passages"
            rulings.append(words(text, passages, self.recognizer, kept["words"].value))
            ears.append(self.recognizer)
        remarks = [f"{ear.name}: {ear.about}" for ear in ears]
        if not speaking:
            remarks.insert(0, f"{speaker.system}: {NO_LANGUAGE}")
        elif "voice" not in encoders or not listener:
            remarks.insert(0, NO_EARS)
        remarks += [f"{who}, {name} margin {one.value:g}: {one.reason}" for name, one in kept.items() if one.reason]
        found = self.heard[speaker.name] = Heard(speaker, tuple(rulings), tuple(remarks))
        return found

    def _passages(self, check: Check) -> Iterator[Passage]:
        bench = self.suite.workbench(check)
        case = bench.system.reference.case(check.case)
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
