"""The speech metrics of spoken passages, and when one has moved by more than it moves on its own.

A recognizer may trip over a word for a difference that nobody hears, and an embedding is never the same twice. How far
a metric moves without cause is its floor: the most that any rendering by the same upstream model, with other rounding,
is worse than the reference. A candidate fails only where it is worse by more than the floor and a stated margin.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.speech.ears import Dnsmos, Recognizer, SpeakerEncoder
from parity.speech.margins import METRICS, Metric
from parity.speech.sound import Sound, SpeechError

_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'"})
_OTHER = re.compile(r"[^\w']|_")
_LOOSE = re.compile(r"(?<!\w)'+|'+(?!\w)")


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """Judgement of a candidate by a metric. `worse` is its distance below the reference, in the metric's unit."""

    subject: str
    metric: str
    reference: float
    candidate: float
    worse: float
    floor: float
    renderings: int
    margin: float
    blind: bool

    @property
    def passed(self) -> bool:
        return not self.blind and self.worse <= self.floor + self.margin

    def line(self) -> str:
        room = f"floor {self.floor:.3g} of {self.renderings} PyTorch renderings + margin {self.margin:g}"
        measured = f"{self.subject}: {self.metric} {self.candidate:.4g} where the reference has {self.reference:.4g}"
        if self.blind:
            return (
                f"{measured}: blind, for a candidate that says nothing of it would pass as well ({room}). "
                "Take a better plug-in, or more and longer passages"
            )
        return f"{measured}: worse by {self.worse:.3g}, {'within' if self.passed else 'beyond'} {room}"


@dataclass(frozen=True)
class Passage:
    """One text as upstream spoke it, as upstream spoke it again with other rounding, and as the port speaks it."""

    name: str
    text: str
    reference: Sound
    renderings: tuple[Sound, ...]
    candidate: Sound


def judge(subject: str, metric: Metric, reference: float, renderings: Sequence[float], candidate: float) -> Ruling:
    """Judge the score of a candidate. `renderings` has those of the reference's passage by the same model, which differ
    by rounding."""
    if not renderings:
        raise SpeechError(
            f"{subject}: {metric.name} has no floor, for there is no second rendering: render the passage again in "
            "PyTorch, or noise would be read as a regression"
        )
    floor = max(0.0, *(metric.worse(reference, other) for other in renderings))
    return Ruling(
        subject=subject,
        metric=metric.name,
        reference=reference,
        candidate=candidate,
        worse=metric.worse(reference, candidate),
        floor=floor,
        renderings=len(renderings),
        margin=metric.margin,
        blind=metric.worse(reference, metric.nothing) <= floor + metric.margin,
    )


def words(
    subject: str, passages: Sequence[Passage], recognizer: Recognizer, metric: Metric = METRICS["words"]
) -> Ruling:
    """Return the word error rate over all passages; each rendering counts as one take of all of them."""
    if not passages:
        raise SpeechError(f"{subject}: no passage was spoken, and nothing may pass so")
    texts = [passage.text for passage in passages]

    def score(take: Sequence[Sound]) -> float:
        return float(word_errors(texts, [hear(recognizer, spoken) for spoken in take]).wer)

    counts = {len(passage.renderings) for passage in passages}
    if len(counts) > 1:
        raise SpeechError(f"{subject}: passages have {sorted(counts)} renderings: render each as often as the others")
    reference = score([passage.reference for passage in passages])
    takes = [score(take) for take in zip(*(passage.renderings for passage in passages), strict=True)]
    return judge(subject, metric, reference, takes, score([passage.candidate for passage in passages]))


def likeness(subject: str, passage: Passage, encoder: SpeakerEncoder, metric: Metric = METRICS["voice"]) -> Ruling:
    """Return the cosine of the embeddings of candidate and reference: 1 for one direction, 0 for nothing in common."""
    truth = embedding(encoder, passage.reference)

    def score(spoken: Sound) -> float:
        other = embedding(encoder, spoken)
        if truth.shape != other.shape:
            raise SpeechError(f"encoder {encoder.name} gave {truth.size} numbers, and {other.size} for {spoken.name}")
        return float(truth @ other / (np.linalg.norm(truth) * np.linalg.norm(other)))

    return _of_passage(subject, metric, passage, score)


def naturalness(subject: str, passage: Passage, listener: Dnsmos, metric: Metric = METRICS["naturalness"]) -> Ruling:
    """Return the mark that listeners would give the candidate, beside that of the reference."""
    return _of_passage(subject, metric, passage, lambda spoken: listener.rate(spoken.samples, spoken.rate))


def _of_passage(subject: str, metric: Metric, passage: Passage, score: Callable[[Sound], float]) -> Ruling:
    reference, *renderings, candidate = map(score, (passage.reference, *passage.renderings, passage.candidate))
    return judge(subject, metric, reference, renderings, candidate)


def hear(recognizer: Recognizer, spoken: Sound) -> str:
    text = recognizer.transcribe(spoken.samples, spoken.rate)
    if not isinstance(text, str):
        kind = type(text).__name__
        raise SpeechError(f"recognizer {recognizer.name} gave {kind} for {spoken.name}: transcribe has to give a str")
    return text


def word_errors(written: Sequence[str], heard: Sequence[str]) -> Any:
    """Return jiwer's counts of word errors, and their rate, which may exceed 1, because insertions count as well.

    All passages are taken together, so that a long passage weighs more than a short one.
    """
    import jiwer

    texts = [normalised(text) for text in written]
    for text, raw in zip(texts, written, strict=True):
        if not text:
            raise SpeechError(f"the text {raw!r} has no words: a word error rate needs the passage as it is read")
    return jiwer.process_words(texts, [normalised(text) for text in heard])


def normalised(text: str) -> str:
    """Return words in lower case with one space between.

    An apostrophe inside a word stays; other marks separate words. Numbers are not spelled out, because passages have
    them in words.
    """
    plain = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES).lower()
    return " ".join(_LOOSE.sub(" ", _OTHER.sub(" ", plain)).split())


def embedding(encoder: SpeakerEncoder, spoken: Sound) -> NDArray[np.float64]:
    found = np.asarray(encoder.embed(spoken.samples, spoken.rate), np.float64).reshape(-1)
    if not found.size or not np.isfinite(found).all() or not found.any():
        raise SpeechError(f"encoder {encoder.name} gave no usable embedding for {spoken.name}: empty, NaN or all zeros")
    return found
