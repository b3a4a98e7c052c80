"""Protocol of a recognizer, which turns speech into words."""

from __future__ import annotations

from typing import Protocol

from parity.speech.sound import Samples, Sound, SpeechError


class Recognizer(Protocol):
    """Any object with these. `about` says honestly what the recognizer is worth; reports repeat it."""

    @property
    def name(self) -> str: ...

    @property
    def about(self) -> str: ...

    def transcribe(self, audio: Samples, rate: int) -> str:
        """Return the words of one recording, "" for none. Equal samples give equal words, whatever was heard before."""
        ...


def hear(recognizer: Recognizer, spoken: Sound) -> str:
    text = recognizer.transcribe(spoken.samples, spoken.rate)
    if not isinstance(text, str):
        kind = type(text).__name__
        raise SpeechError(f"recognizer {recognizer.name} gave {kind} for {spoken.name}: transcribe has to give a str")
    return text
