"""The passages, phonemized once and kept as text beside the goldens, in the seeded voice."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np

from parity.declarations import Case
from references import seeding

STYLE = 128
CASES = Path(__file__).parents[2] / "golden" / "kokoro" / "cases.toml"


def cases() -> tuple[Case, ...]:
    recorded = tomllib.loads(CASES.read_text())
    vocabulary = recorded["vocabulary"]
    return tuple(
        Case(
            name,
            {
                "input_ids": np.array([[0, *(vocabulary[symbol] for symbol in passage["phonemes"]), 0]], np.int32),
                "ref_s": np.float32(0.05) * seeding.normal("kokoro/voice", 1, 2 * STYLE),
                "speed": np.ones(1, np.float32),
            },
            short=passage["short"],
            about=passage["text"],
        )
        for name, passage in recorded["passages"].items()
    )
