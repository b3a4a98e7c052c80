"""Ears that every machine has: a recognizer with the models of its own package, and an encoder with seeded weights."""

from __future__ import annotations

import hashlib
import math
import sys
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.base.arithmetic import rms
from parity.speech.sound import RATE, Samples, resampled

PEAK = 0.3
PAUSE = 0.25
BED = 10 ** (-30 / 20)
"""Noise under the speech, 30 dB lower. On the digital silence between synthetic words the decoder loses its bearings,
and hears a fifth of the words where it hears two thirds with the noise."""
MELS = 80
EXTENSION = "torchaudio._extension"
UNIT = 2.0**-23


class Sphinx:
    name = "pocketsphinx"
    about = (
        "pocketsphinx, general US English: hears half to two thirds of the words of espeak-ng. It tells clean speech "
        "from broken; it does not say how well a person would understand it"
    )

    def transcribe(self, audio: Samples, rate: int) -> str:
        """Return the words. The peak is normalised, because gain has gates of its own."""
        from pocketsphinx import Decoder

        # A new one each time: a decoder adapts to what it hears, and would hear the next recording otherwise.
        decoder = Decoder(loglevel="FATAL", samprate=RATE)
        decoder.start_utt()
        decoder.process_raw(_pcm(resampled(audio, rate)), no_search=False, full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        return str(found.hypstr) if found else ""


def _pcm(audio: Samples) -> bytes:
    levelled = audio * (PEAK / max(float(np.abs(audio).max()), 1e-9))
    padded = np.pad(levelled, int(PAUSE * RATE))
    loudness = rms(padded.astype(np.float64))
    # Uniform numbers in ±1 have an rms of 1/√3.
    heard = padded + uniform("parity/speech/bed", len(padded)) * np.float32(3**0.5 * BED * loudness)
    return np.rint(np.clip(heard, -1, 1) * 32767).astype("<i2").tobytes()


class Ecapa:
    """ECAPA-TDNN: features, mean normalisation and network as speechbrain's own recipe chains them."""

    name = "ecapa-seeded"
    about = "embeddings of a seeded network: says whether two recordings are alike, not who speaks"

    def embed(self, audio: Samples, rate: int) -> NDArray[np.float32]:
        import torch

        features, normalise, network = self._parts
        length = torch.ones(1)
        with torch.inference_mode():
            heard = torch.from_numpy(resampled(audio, rate).copy())[None]
            found = network(normalise(features(heard), length), length)
        return np.asarray(found.reshape(-1).numpy())

    @cached_property
    def _parts(self) -> tuple[Any, Any, Any]:
        _import_torchaudio()
        from speechbrain.lobes.features import Fbank
        from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN
        from speechbrain.processing.features import InputNormalization
        from speechbrain.utils.importutils import LazyModule

        # Under its old names speechbrain keeps modules that load half of it as soon as anything looks at them, which
        # whatever walks sys.modules does.
        for name, module in list(sys.modules.items()):
            if name.startswith("speechbrain.") and isinstance(module, LazyModule):
                del sys.modules[name]
        network = ECAPA_TDNN(
            MELS,
            channels=[1024, 1024, 1024, 1024, 3072],
            kernel_sizes=[5, 3, 3, 3, 1],
            dilations=[1, 2, 3, 4, 1],
            attention_channels=128,
            lin_neurons=192,
        )
        _seed(network)
        return Fbank(n_mels=MELS), InputNormalization(norm_type="sentence", std_norm=False), network.eval()


def _import_torchaudio() -> None:
    """Import torchaudio, with a stand-in for its native part if that was built for another torch.

    Only its Python code is used. The installation stays unchanged.
    """
    if "torchaudio" in sys.modules:
        return
    try:
        import torchaudio
    except (OSError, RuntimeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
            del sys.modules[name]
        module: Any = ModuleType(EXTENSION)
        module._IS_TORCHAUDIO_EXT_AVAILABLE = module._IS_ALIGN_AVAILABLE = False
        module.fail_if_no_align = lambda function: function
        sys.modules[EXTENSION] = module
        import torchaudio  # noqa: F401


def _seed(network: Any) -> None:
    """Fill the network with balanced weights, at the scale that keeps a signal's size through rectifiers.

    After a rectifier, most of the signal is common to all channels. Balanced weights cancel it; otherwise every
    recording would have nearly the same embedding.
    """
    import torch

    state = {}
    for name, value in network.state_dict().items():
        shape = tuple(value.shape)
        if value.ndim >= 2:
            scale = np.float32((6 / np.prod(shape[1:])) ** 0.5)
            state[name] = torch.from_numpy(balanced(f"ecapa/{name}", *shape) * scale)
        elif name.endswith(("running_mean", "running_var")) or not value.is_floating_point():
            state[name] = value
        else:
            neutral = 1 if name.endswith("norm.weight") else 0
            state[name] = torch.from_numpy(neutral + np.float32(0.1) * uniform(f"ecapa/{name}", *shape))
    network.load_state_dict(state)


def integers(name: str, *shape: int) -> NDArray[np.int64]:
    """Return whole numbers from -2^23 up to 2^23, evenly spread: by their name, the same bits on every machine.

    `references` has such a generator too, which the harness does not import.
    """
    count = math.prod(shape)
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "little")
    words = np.random.Philox(key=key).random_raw((count + 1) // 2).astype("<u8", copy=False).view("<u4")[:count]
    return ((words >> 8).astype(np.int64) - 2**23).reshape(shape)


def uniform(name: str, *shape: int) -> NDArray[np.float32]:
    """Return numbers in [-1, 1)."""
    return (integers(name, *shape) * UNIT).astype(np.float32)


def balanced(name: str, *shape: int) -> NDArray[np.float32]:
    """Return numbers like `uniform`, whose sum for each index of the first axis is exactly zero."""
    values = integers(name, *shape).reshape(shape[0], -1)
    values -= values.sum(axis=1, keepdims=True) // values.shape[1]
    return (values.reshape(shape) * UNIT).astype(np.float32)
