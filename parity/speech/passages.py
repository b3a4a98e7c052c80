"""The speech metrics of spoken passages: words over all of them together, the others passage by passage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from parity.speech.dnsmos import WORST, Dnsmos
from parity.speech.floor import Metric, Ruling, judge
from parity.speech.margins import DEFAULTS, Named
from parity.speech.recognizer import Recognizer, hear
from parity.speech.sound import Sound, SpeechError
from parity.speech.speaker import SpeakerEncoder, embedding, similarity
from parity.speech.words import word_errors


@dataclass(frozen=True)
class Passage:
    """One text as upstream spoke it, as upstream spoke it again with other rounding, and as the port speaks it."""

    name: str
    text: str
    reference: Sound
    renderings: tuple[Sound, ...]
    candidate: Sound


Take = Sequence[Sound]
SIMILARITIES: Mapping[Named, str] = {"voice": "speaker similarity", "recording": "recording similarity"}


def words(
    subject: str, passages: Sequence[Passage], recognizer: Recognizer, margin: float = DEFAULTS["words"].value
) -> Ruling:
    """Return the word error rate over all passages; each rendering counts as one take of all of them."""
    if not passages:
        raise SpeechError(f"{subject}: no passage was spoken, and nothing may pass so")
    texts = [passage.text for passage in passages]

    def score(take: Take) -> float:
        return word_errors(texts, [hear(recognizer, spoken) for spoken in take]).rate

    counts = {len(passage.renderings) for passage in passages}
    if len(counts) > 1:
        raise SpeechError(f"{subject}: passages have {sorted(counts)} renderings: render each as often as the others")
    metric: Metric[Take] = Metric("word error rate", score, "lower", 1.0, margin, recognizer.about)
    takes = list(zip(*(passage.renderings for passage in passages), strict=True))
    reference = [passage.reference for passage in passages]
    return judge(subject, metric, reference, takes, [passage.candidate for passage in passages])


def likeness(
    subject: str, passage: Passage, encoder: SpeakerEncoder, of: Named = "voice", margin: float | None = None
) -> Ruling:
    """Return the likeness of the embeddings of candidate and reference; 1 for the reference itself."""
    truth = embedding(encoder, passage.reference)

    def score(spoken: Sound) -> float:
        return similarity(truth, embedding(encoder, spoken))

    allowed = DEFAULTS[of].value if margin is None else margin
    metric: Metric[Sound] = Metric(SIMILARITIES[of], score, "higher", 0.0, allowed, encoder.about)
    return judge(subject, metric, passage.reference, passage.renderings, passage.candidate)


def naturalness(
    subject: str, passage: Passage, listener: Dnsmos, margin: float = DEFAULTS["naturalness"].value
) -> Ruling:
    """Return the mark that listeners would give the candidate, beside that of the reference."""

    def score(spoken: Sound) -> float:
        return listener.rate(spoken.samples, spoken.rate)

    metric: Metric[Sound] = Metric("naturalness", score, "higher", WORST, margin, listener.about)
    return judge(subject, metric, passage.reference, passage.renderings, passage.candidate)
