"""The recognizer of the hub: Whisper base.en as OpenAI published it, through transformers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from parity.declarations import Hub
from parity.plan.weights import WeightsError, fetched
from parity.speech.sound import Samples, resampled

RATE = 16_000
WINDOW = 30
"""Seconds that the model hears at once."""
PUBLISHED = Hub(
    "openai/whisper-base.en",
    "model.safetensors",
    revision="911407f4214e0e1d82085af863093ec0b66f9cd6",
    sha256="d4dd5542fd6a1d35639e21384238f3bfe6c557c849d392b5905d33ee29e71db5",
)


def load() -> tuple[Any, Any]:
    """Return the processor and the model of the pinned revision. The weights are proven before anything reads them."""
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    fetched(PUBLISHED)
    pinned: dict[str, Any] = {"revision": PUBLISHED.revision}
    try:
        processor = WhisperProcessor.from_pretrained(PUBLISHED.repository, **pinned)
        model = WhisperForConditionalGeneration.from_pretrained(PUBLISHED.repository, use_safetensors=True, **pinned)
    except OSError as error:
        raise WeightsError(
            f"{PUBLISHED.repository} at {PUBLISHED.revision[:12]} can't be loaded: {error}. "
            "Without a way to the hub, say --recognizer pocketsphinx"
        ) from error
    return processor, model.eval()


class Whisper:
    name = "whisper-base.en"
    about = (
        "Whisper base.en, published weights: hears read English nearly as a person does, "
        "and may mend a word that it expects"
    )

    def __init__(self, load: Callable[[], tuple[Any, Any]] = load) -> None:
        self._load = load

    def transcribe(self, audio: Samples, rate: int) -> str:
        """Return the words. Decoding is greedy, so that the same samples give the same words."""
        import torch

        processor, model = self._parts
        heard = resampled(audio, rate, RATE)
        long = len(heard) > WINDOW * RATE
        # Beyond one window the model finds its own way along the timestamps; cut off, the rest would count as unsaid.
        whole: dict[str, Any] = {"truncation": False, "padding": "longest"} if long else {}
        given = processor(heard, sampling_rate=RATE, return_tensors="pt", return_attention_mask=True, **whole)
        with torch.inference_mode():
            tokens = model.generate(
                given.input_features,
                attention_mask=given.attention_mask,
                do_sample=False,
                num_beams=1,
                return_timestamps=long,
            )
        return str(processor.batch_decode(tokens, skip_special_tokens=True)[0]).strip()

    @cached_property
    def _parts(self) -> tuple[Any, Any]:
        return self._load()
