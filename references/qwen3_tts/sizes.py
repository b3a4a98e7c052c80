"""The sizes that are ported, and the ids that all of them share."""

from __future__ import annotations

from dataclasses import dataclass

SAMPLE_RATE = 24_000
FRAME = 1920
"""Samples of a frame of codes."""
GROUPS = 16
"""Codebooks. The talker gives the first code of a frame, the code predictor the other 15."""
CODES = 2048
"""Ids of a codebook."""
VOCABULARY = 3072
"""Ids that the talker knows: the first codebook, then ids of special meaning."""
TEXT_VOCABULARY = 151_936

IM_START, IM_END, ASSISTANT, NEWLINE = 151_644, 151_645, 77_091, 198
TTS_PAD, TTS_BOS, TTS_EOS = 151_671, 151_672, 151_673
CODEC_PAD, CODEC_BOS, CODEC_EOS = 2148, 2149, 2150
THINK, NOTHINK, THINK_BOS, THINK_EOS = 2154, 2155, 2156, 2157
LANGUAGES = {"english": 2050, "chinese": 2055}

TEMPERATURE, TOP_K, REPETITION_PENALTY = 0.9, 50, 1.05
MIN_TOKENS = 2
"""Tokens before which upstream does not let EOS through."""
SUPPRESSED = VOCABULARY - 1024
"""Ids from here on are never sampled, except EOS."""


@dataclass(frozen=True)
class Transformer:
    """A decoder-only transformer; `heads` of queries share `shared` heads of keys and values."""

    width: int
    hidden: int
    layers: int
    heads: int
    shared: int
    head: int
    theta: float
    sections: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class Decoder:
    """From codes to audio: a transformer of windowed attention between convolutions."""

    codebook: int
    latent: int
    channels: int
    width: int
    hidden: int
    layers: int
    heads: int
    head: int
    window: int


@dataclass(frozen=True)
class Size:
    """One size of the model.

    Attributes:
        name: Name of the reference.
        text: Width of the text embeddings, before they are projected to the talker's width.
        talker: The talker.
        predictor: The code predictor.
        decoder: The decoder of the codes.
        capacity: Slots of the talker's caches as they ship.
        chunk: Frames that are decoded at once.
        context: Frames before them that are decoded again.
        readout: Of the draws of the seeded row of EOS, the one with which it fires where the cases promise it.
    """

    name: str
    text: int
    talker: Transformer
    predictor: Transformer
    decoder: Decoder
    capacity: int
    chunk: int
    context: int
    readout: int = 0


SMALL = Size(
    "qwen3_tts_small",
    text=32,
    talker=Transformer(64, 128, 2, 4, 2, 16, 1e6, (4, 2, 2)),
    predictor=Transformer(64, 128, 2, 4, 2, 16, 1e6),
    decoder=Decoder(codebook=32, latent=64, channels=96, width=64, hidden=64, layers=2, heads=4, head=16, window=4),
    capacity=32,
    chunk=5,
    context=2,
    readout=30,
)

PUBLISHED = Size(
    "qwen3_tts",
    text=2048,
    talker=Transformer(1024, 3072, 28, 16, 8, 128, 1e6, (24, 20, 20)),
    predictor=Transformer(1024, 3072, 5, 16, 8, 128, 1e6),
    decoder=Decoder(512, 1024, 1536, width=512, hidden=1024, layers=8, heads=16, head=64, window=72),
    capacity=256,
    chunk=300,
    context=25,
    readout=268,
)
"""Qwen3-TTS-12Hz-0.6B."""
