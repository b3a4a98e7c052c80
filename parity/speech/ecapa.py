"""ECAPA-TDNN as speechbrain has it, with seeded weights: a fine comparison of two recordings, on every machine."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.speech import speechbrain_parts
from parity.speech.numbers import balanced, uniform
from parity.speech.sound import Samples, resampled

RATE = 16_000
MELS = 80


class Ecapa:
    """Features, mean normalisation and network as speechbrain's own recipe chains them."""

    name = "ecapa-seeded"
    about = "embeddings of a seeded network: says whether two recordings are alike, not who speaks"

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
        _seed(network)
        return features(n_mels=MELS), normalisation(norm_type="sentence", std_norm=False), network.eval()


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
