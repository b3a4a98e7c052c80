"""StyleTTS2 as its authors run it (styletts2 0.1.6, the decoder of LibriTTS), in fp32, tapped at the port's seams."""

from __future__ import annotations

from parity.declarations import Hub, Reference
from references.styletts2.cases import STYLE, cases
from references.styletts2.record import record
from references.styletts2.seeds import seed
from references.styletts2.upstream import build

__all__ = ["REFERENCE", "STYLE"]

REFERENCE = Reference(
    name="styletts2",
    sample_rate=24_000,
    cases=cases(),
    packages=("styletts2", "transformers", "torch"),
    checkpoint=Hub(
        "yl4579/StyleTTS2-LibriTTS",
        "Models/LibriTTS/epochs_2nd_00020.pth",
        revision="3aa7ba7f8f275ec13dce21682a61494c35089e2a",
        sha256="1164ffe19a17449d2c722234cecaf2836b35a698fb8ffd42562d2663657dca0a",
    ),
    seed=seed,
    build=build,
    record=record,
    extra="styletts2",
    borrowed=True,
)
