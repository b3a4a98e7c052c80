"""PocketTTS as its authors run it (pocket-tts 4.0.1), in fp32, tapped at the seams where the port cuts it.

The port's flow head goes from a time to a time. So does the published one of the full model; that of the small model
knows no time, so that upstream's strict loader refuses the small model's published weights here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from parity.declarations import Hub, Reference
from references.pocket_tts import cases, upstream, weights
from references.pocket_tts.record import record
from references.pocket_tts.sizes import FULL, SAMPLE_RATE, SMALL, Size

__all__ = ["POCKET_TTS", "POCKET_TTS_2M"]

# Nobody could fetch these files yet to see what they are, and no file has a digest like this: none is accepted.
_UNSEEN = "no sha256 yet: enter the hub's in references/pocket_tts/__init__.py"


def _reference(size: Size, passages: Sequence[str], short: Sequence[str], tokenizer: Hub) -> Reference:
    return Reference(
        name=size.name,
        sample_rate=SAMPLE_RATE,
        cases=tuple(cases.case(size.name, name, name in short) for name in passages),
        packages=("pocket-tts", "torch"),
        checkpoint=Hub(
            "kyutai/pocket-tts",
            f"languages/{size.config}/model.safetensors",
            revision="db04f0e653473e5c7333c69686ac92b7460b0c1d",
            sha256=_UNSEEN,
        ),
        seed=partial(weights.seed, size),
        build=partial(upstream.build, size),
        record=partial(record, size),
        published={"tokenizer": tokenizer},
        dress=partial(cases.in_published_words, size.name),
        heavy=not short,
    )


POCKET_TTS_2M = _reference(
    SMALL,
    ["hello", "harbour", "endurance"],
    ["hello", "harbour"],
    Hub(
        "kyutai/pocket-tts-without-voice-cloning",
        "languages/english_2m_2026-10/tokenizer.model",
        revision="08ffc58775e62aad9409511b9591c9af626270f3",
        sha256=_UNSEEN,
    ),
)
POCKET_TTS = _reference(
    FULL,
    ["hello", "harbour"],
    [],
    Hub(
        "kyutai/pocket-tts-without-voice-cloning",
        "languages/english_2026-09/tokenizer.json",
        revision="00eac05ed3d16bdc3f6b5d598874019c34a89214",
        sha256=_UNSEEN,
    ),
)
