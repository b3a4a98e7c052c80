"""Qwen3-TTS as its authors run it (qwen-tts 0.1.1), in fp32, tapped at the seams where the port cuts it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from parity.declarations import Reference
from references.qwen3_tts import cases, upstream, weights
from references.qwen3_tts.cases import LARGE, PASSAGES
from references.qwen3_tts.record import record
from references.qwen3_tts.sizes import PUBLISHED, SAMPLE_RATE, SMALL, Size

__all__ = ["QWEN3_TTS", "QWEN3_TTS_SMALL"]


def _reference(size: Size, names: Iterable[str], heavy: bool = False) -> Reference:
    return Reference(
        name=size.name,
        sample_rate=SAMPLE_RATE,
        cases=tuple(cases.case(name, short=not heavy) for name in names),
        packages=("qwen-tts", "transformers", "torch"),
        checkpoint=None,
        seed=partial(weights.seed, size),
        build=partial(upstream.build, size),
        record=partial(record, size),
        layers=lambda built: built.model,
        heavy=heavy,
    )


QWEN3_TTS_SMALL = _reference(SMALL, PASSAGES)
QWEN3_TTS = _reference(PUBLISHED, LARGE, heavy=True)
