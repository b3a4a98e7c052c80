"""Word errors: jiwer's word error rate, over all passages together."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from parity.speech.sound import SpeechError

_APOSTROPHES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'"})
_OTHER = re.compile(r"[^\w']|_")
_LOOSE = re.compile(r"(?<!\w)'+|'+(?!\w)")


@dataclass(frozen=True)
class Words:
    """Words heard against words written. The rate may exceed 1, because insertions count as well."""

    written: int
    substituted: int
    dropped: int
    inserted: int

    @property
    def rate(self) -> float:
        return (self.substituted + self.dropped + self.inserted) / self.written


def normalised(text: str) -> str:
    """Return words in lower case with one space between.

    An apostrophe inside a word stays; other marks separate words. Numbers are not spelled out, because passages have
    them in words.
    """
    plain = unicodedata.normalize("NFKC", text).translate(_APOSTROPHES).lower()
    return " ".join(_LOOSE.sub(" ", _OTHER.sub(" ", plain)).split())


def word_errors(written: Sequence[str], heard: Sequence[str]) -> Words:
    """Count word errors of all passages together, so that a long passage weighs more than a short one."""
    import jiwer

    if not written or len(written) != len(heard):
        raise SpeechError(f"{len(heard)} transcripts for {len(written)} texts: words are compared one to one")
    texts = [normalised(text) for text in written]
    for text, raw in zip(texts, written, strict=True):
        if not text:
            raise SpeechError(f"the text {raw!r} has no words: a word error rate needs the passage as it is read")
    found = jiwer.process_words(texts, [normalised(text) for text in heard])
    total = sum(len(text.split()) for text in texts)
    return Words(total, found.substitutions, found.deletions, found.insertions)
