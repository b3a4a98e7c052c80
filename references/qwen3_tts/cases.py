"""Cases: the ids of a text, its language, and every number that sampling draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parity.declarations import Case
from references import seeding
from references.qwen3_tts.sizes import GROUPS, IM_START, LANGUAGES, TEMPERATURE

NEXT_TO_ONE = np.nextafter(np.float32(1), np.float32(0))


@dataclass(frozen=True)
class Passage:
    """A text to speak, and how.

    Attributes:
        about: A few words for reports.
        words: Tokens of the text.
        limit: Tokens after which upstream stops, if EOS does not come first.
        language: The language, or "auto".
        greedy: True for the likeliest code each time, without drawing.
        draw: Number of the draw of the uniforms. Some have a value so near a boundary that rounding would decide.
        last: Places of the uniforms, (token, group), that are exactly 1: the sum of all chances falls short of it.
    """

    about: str
    words: int
    limit: int
    language: str = "auto"
    greedy: bool = False
    draw: int = 0
    last: tuple[tuple[int, int], ...] = ()


PASSAGES = {
    "greeting": Passage("a greeting, sampled, up to its end", 3, 14),
    "question": Passage("a question in English, sampled, up to the limit", 5, 6, language="english", draw=1),
    "certain": Passage("a greeting in English, the likeliest codes", 4, 8, language="english", greedy=True),
    "edge": Passage("one word, uniforms at the end of the range", 1, 6, draw=7, last=((1, 0), (1, 4), (2, 15))),
    "sentence": Passage("a sentence, sampled, decoded in two chunks", 9, 7),
}


def case(name: str) -> Case:
    passage = PASSAGES[name]
    return Case(
        name,
        {
            "text": text(name, passage.words),
            "language": np.array([LANGUAGES.get(passage.language, -1)], np.int32),
            "temperature": np.array([0 if passage.greedy else TEMPERATURE], np.float32),
            "limit": np.array([passage.limit], np.int32),
            "uniforms": uniforms(name, passage),
        },
        short=True,
        about=passage.about,
    )


def text(name: str, words: int) -> np.ndarray:
    """Return ids of the text itself, without the markup around it: any of the vocabulary below the special ids."""
    drawn = seeding.uniform(f"qwen3_tts/{name}/text", 1, words).astype(np.float64)
    return ((drawn + 1) / 2 * IM_START).astype(np.int32)


def uniforms(name: str, passage: Passage) -> np.ndarray:
    """Return a row for each token: the draw of the token, then those of the other codes of the frame that it begins."""
    drawn = (seeding.uniform(f"qwen3_tts/{name}/uniforms{passage.draw}", passage.limit, GROUPS) + 1) / 2
    for place in passage.last:
        drawn[place] = 1
    return np.asarray(drawn, np.float32)
