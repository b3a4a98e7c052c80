"""ECAPA-TDNN as speechbrain has it, with the weights that it published or with seeded ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.declarations import Hub
from parity.plan.weights import fetched
from parity.speech import speechbrain_parts
from parity.speech.numbers import balanced, uniform
from parity.speech.sound import Samples, SpeechError, resampled

RATE = 16_000
MELS = 80
PUBLISHED = Hub(
    "speechbrain/spkrec-ecapa-voxceleb",
    "embedding_model.ckpt",
    revision="0f99f2d0ebe89ac095bcc5903c4dd8f72b367286",
    sha256="0575cb64845e6b9a10db9bcb74d5ac32b326b8dc90352671d345e2ee3d0126a2",
)
Fill = Callable[[Any], None]


class Ecapa:
    """Features, mean normalisation and network as speechbrain's own recipe chains them. `fill` gives it weights."""

    def __init__(self, name: str, about: str, fill: Fill) -> None:
        self.name, self.about, self._fill = name, about, fill

    def embed(self, audio: Samples, rate: int) -> NDArray[np.float32]:
        import torch

        features, normalise, network = self._parts
        length = torch.ones(1)
        with torch.inference_mode():
            heard = torch.from_numpy(resampled(audio, rate, RATE).copy())[None]
            found = network(normalise(features(heard), length), length)
        return np.asarray(found.reshape(-1).numpy())

    @cached_property
    def _parts(self) -> tuple[Any, Any, Any]:
        features, normalisation, network_of = speechbrain_parts.parts()
        network = network_of(
            MELS,
            channels=[1024, 1024, 1024, 1024, 3072],
            kernel_sizes=[5, 3, 3, 3, 1],
            dilations=[1, 2, 3, 4, 1],
            attention_channels=128,
            lin_neurons=192,
        )
        self._fill(network)
        return features(n_mels=MELS), normalisation(norm_type="sentence", std_norm=False), network.eval()


def seeded() -> Ecapa:
    return Ecapa(
        "ecapa-seeded",
        "embeddings of a seeded network: says whether two recordings are alike, not who speaks",
        _seed,
    )


def published() -> Ecapa:
    return Ecapa(
        "ecapa-voxceleb", "speechbrain's ECAPA-TDNN, trained on VoxCeleb: says whether the same person speaks", _load
    )


def _load(network: Any) -> None:
    import torch

    path = fetched(PUBLISHED)
    state = torch.load(path, map_location="cpu", weights_only=True)
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise SpeechError(
            f"{path} does not fit speechbrain's ECAPA_TDNN: {error}. Install the locked version"
        ) from error


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
