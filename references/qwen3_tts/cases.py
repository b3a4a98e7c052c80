"""Cases: the ids of a text, its language, and every number that sampling draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from parity.declarations import Case
from references import seeding
from references.qwen3_tts.sizes import GROUPS, IM_START, LANGUAGES, TEMPERATURE


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
        given: Uniforms that are not drawn, by their places, (token, group). The sum of all chances falls short of 1.
    """

    about: str
    words: int
    limit: int
    language: str = "auto"
    greedy: bool = False
    draw: int = 0
    given: Mapping[tuple[int, int], float] = field(default_factory=dict)


ENDS = {(1, 0): 1, (1, 4): 1, (2, 15): 1}
AGAIN = {(6, 0): 0.8847, (8, 0): 0.9412}
"""The first makes token 6 one that came before. It is among the candidates of token 8, whose choice depends on whether
it was penalized once or for each time."""
PASSAGES = {
    "greeting": Passage("a greeting, sampled, up to its end", 3, 14),
    "question": Passage("a question in English, sampled, up to the limit", 5, 6, language="english", draw=1),
    "certain": Passage("a greeting in English, the likeliest codes", 4, 8, language="english", greedy=True),
    "edge": Passage("one word, uniforms at the end of the range", 1, 6, draw=7, given=ENDS),
    "again": Passage("one word, of which a token comes twice and nearly a third time", 1, 10, draw=5, given=AGAIN),
    "sentence": Passage("a sentence, sampled, decoded in two chunks", 9, 7),
}
LARGE = {
    "sentence": PASSAGES["sentence"],
    "word": Passage("one word, sampled, up to its end", 1, 4),
    "english": Passage("two words in English", 2, 3, language="english"),
    "likely": Passage(
        "two words in English, the likeliest codes, up to the end", 2, 4, language="english", greedy=True
    ),
    "chinese": Passage("three words in Chinese", 3, 3, language="chinese"),
}
"""For the published size, where a frame takes seconds: one sentence, and as much else as bounds need."""


def case(name: str, short: bool) -> Case:
    passage = {**PASSAGES, **LARGE}[name]
    return Case(
        name,
        {
            "text": text(name, passage.words),
            "language": np.array([LANGUAGES.get(passage.language, -1)], np.int32),
            "temperature": np.array([0 if passage.greedy else TEMPERATURE], np.float32),
            "limit": np.array([passage.limit], np.int32),
            "uniforms": uniforms(name, passage),
        },
        short=short,
        about=passage.about,
    )


def text(name: str, words: int) -> np.ndarray:
    """Return ids of the text itself, without the markup around it: any of the vocabulary below the special ids."""
    drawn = seeding.uniform(f"qwen3_tts/{name}/text", 1, words).astype(np.float64)
    return ((drawn + 1) / 2 * IM_START).astype(np.int32)


def uniforms(name: str, passage: Passage) -> np.ndarray:
    """Return a row for each token: the draw of the token, then those of the other codes of the frame that it begins."""
    drawn = (seeding.uniform(f"qwen3_tts/{name}/uniforms{passage.draw}", passage.limit, GROUPS) + 1) / 2
    for place, uniform in passage.given.items():
        drawn[place] = uniform
    return np.asarray(drawn, np.float32)
