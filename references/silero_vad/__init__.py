"""Silero VAD as its authors ship it (silero-vad 6.2.3): their TorchScript model for 16 kHz, unpatched, in fp32."""

from __future__ import annotations

from parity.declarations import Reference, Trained
from references.silero_vad import cases, upstream
from references.silero_vad.record import record
from references.silero_vad.sizes import RATE

__all__ = ["SILERO_VAD"]

SILERO_VAD = Reference(
    name="silero_vad",
    sample_rate=RATE,
    cases=tuple(map(cases.case, cases.CUTS)),
    packages=("silero-vad", "torch"),
    checkpoint=None,
    seed=None,
    build=upstream.build,
    record=record,
    trained=Trained({"silero-vad": "6.2.3"}, upstream.write),
)
