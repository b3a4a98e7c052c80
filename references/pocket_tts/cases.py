"""A passage, said in a voice, with a noise: all that a run depends on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from parity.declarations import Case
from references import seeding
from references.pocket_tts import upstream, words
from references.pocket_tts.passages import PASSAGES, VOCABULARY
from references.pocket_tts.sizes import FRAME_RATE, LATENT
from references.pocket_tts.voice import speech


def case(system: str, name: str, short: bool) -> Case:
    passage = PASSAGES[name]
    tokens = [VOCABULARY[piece] for piece in words.pieces(passage.text)]
    return Case(
        name,
        {
            "tokens": np.array([tokens], np.int32),
            "voice": speech(name),
            "noise": noise(system, name, len(tokens)),
            "frames_after_eos": np.array([passage.after], np.int32),
        },
        short=short,
        about=passage.text,
    )


def noise(system: str, name: str, tokens: int) -> np.ndarray:
    """A row for each frame that upstream allows a text of so many tokens."""
    frames = math.ceil((tokens / 3.0 + 2.0) * FRAME_RATE)
    return seeding.normal(f"{system}/{name}/noise0", frames, LATENT)


def in_published_words(system: str, case: Case, files: Mapping[str, Path]) -> Case:
    """The case with the tokens of the published tokenizer, which goes along for the upstream to prepare the text."""
    held = np.frombuffer(files["tokenizer"].read_bytes(), np.uint8)
    tokens = np.array([upstream.tokenizer(held).encode(case.about)], np.int32)
    inputs = {"tokens": tokens, "noise": noise(system, case.name, tokens.size), "tokenizer": held}
    return replace(case, inputs={**case.inputs, **inputs})
