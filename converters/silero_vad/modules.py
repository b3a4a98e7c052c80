"""The traceable modules: upstream's parts written out, with upstream's weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from references.silero_vad.sizes import BINS, CHUNK, CHUNKS, CONTEXT, WIDTH

Weights = Mapping[str, Tensor]
HOP, MIRRORED = 128, 64
STRIDES = (1, 2, 2, 1)
LARGEST = 10_000.0
"""Half precision ends at 65,504. No case comes near; the port clips all the same."""
TINY = 1e-12
"""Under the square root, as the port has it. Half precision rounds it up to its smallest number, 2^-24."""


def weights(upstream: Any) -> Weights:
    """Return copies of the weights for 16 kHz: tracing must not hold on to upstream's own."""
    return {name: value.clone() for name, value in upstream._model.state_dict().items()}


class Stft(nn.Module):
    """Magnitudes of four frames. The samples are mirrored at their end alone."""

    basis: Tensor
    hop = HOP

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.register_buffer("basis", weights(upstream)["stft.forward_basis_buffer"])

    def forward(self, audio_input: Tensor) -> Tensor:
        mirrored = self.padded(audio_input)
        parts = F.conv1d(mirrored.unsqueeze(1), self.basis, stride=self.hop)
        return self.magnitude(parts[:, :BINS], parts[:, BINS:])

    def padded(self, audio: Tensor) -> Tensor:
        return F.pad(audio, (0, MIRRORED), mode="reflect")

    def magnitude(self, real: Tensor, imaginary: Tensor) -> Tensor:
        return torch.sqrt(real**2 + imaginary**2 + TINY)


class Encoder(nn.Module):
    """Four convolutions, which leave one frame of the four."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        known = weights(upstream)
        self.layers = nn.ModuleList(
            convolution(known, f"encoder.{i}.reparam_conv", stride, padding=1) for i, stride in enumerate(STRIDES)
        )

    def forward(self, stft_output: Tensor) -> Tensor:
        x = stft_output
        for layer in self.layers:
            x = torch.clamp(F.relu(layer(x)), max=LARGEST)
        return x


class Decoder(nn.Module):
    """An LSTM, and the probability of speech that a convolution reads off its hidden state."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        known = weights(upstream)
        self.lstm = nn.LSTM(WIDTH, WIDTH, batch_first=True)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(self.lstm, f"{name}_l0").data = self.ordered(known[f"decoder.rnn.{name}"])
        self.final_conv = convolution(known, "decoder.decoder.2", 1, padding=0)

    def ordered(self, gates: Tensor) -> Tensor:
        """Return the rows of the four gates in the order of this LSTM, which is upstream's."""
        return gates

    def forward(self, encoder_output: Tensor, hidden_state: Tensor, cell_state: Tensor) -> tuple[Tensor, ...]:
        out, (hidden, cell) = self.lstm(
            encoder_output.transpose(1, 2), (hidden_state.unsqueeze(0), cell_state.unsqueeze(0))
        )
        vad_output = torch.sigmoid(self.final_conv(F.relu(out.transpose(1, 2))))
        return vad_output, hidden.squeeze(0), cell.squeeze(0)


class Unified(nn.Module):
    """The three parts in one graph."""

    stft: type[nn.Module] = Stft
    decoder: type[nn.Module] = Decoder

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.spectrum, self.encode, self.decode = self.stft(upstream), Encoder(upstream), self.decoder(upstream)

    def forward(self, audio_input: Tensor, hidden_state: Tensor, cell_state: Tensor) -> tuple[Tensor, ...]:
        return self.step(audio_input, hidden_state, cell_state)

    def step(self, heard: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = self.decode(self.encode(self.spectrum(heard)), hidden, cell)
        return found


class Unified256(Unified):
    """Eight steps in one graph, and the probability that any of them has speech."""

    def forward(self, audio_input: Tensor, hidden_state: Tensor, cell_state: Tensor) -> tuple[Tensor, ...]:
        probabilities = []
        hidden, cell = hidden_state, cell_state
        for i in range(CHUNKS):
            probability, hidden, cell = self.step(self.chunk(audio_input, i), hidden, cell)
            probabilities.append(probability)
        return self.joined(probabilities), hidden, cell

    def chunk(self, audio: Tensor, i: int) -> Tensor:
        return audio[:, i * CHUNK : (i + 1) * CHUNK + CONTEXT]

    def joined(self, probabilities: list[Tensor]) -> Tensor:
        silent = 1 - probabilities[0]
        for probability in probabilities[1:]:
            silent = silent * (1 - probability)
        return 1 - silent


def convolution(known: Weights, name: str, stride: int, padding: int) -> nn.Conv1d:
    weight, bias = known[f"{name}.weight"], known[f"{name}.bias"]
    layer = nn.Conv1d(weight.shape[1], weight.shape[0], weight.shape[2], stride=stride, padding=padding)
    layer.weight.data, layer.bias = weight, nn.Parameter(bias)
    return layer
