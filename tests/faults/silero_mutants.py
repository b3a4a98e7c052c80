"""Silero VAD's converters and glue with the bugs that such ports have had, one each."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from converters.silero_vad.glue import Glue
from converters.silero_vad.modules import HOP, MIRRORED, Decoder, Stft, Unified, Unified256
from parity.declarations import Arrays, Run
from references.silero_vad.sizes import CHUNK, CONTEXT


class Forgetful(Unified):
    """Hears every chunk as if nothing came before it."""

    def step(self, heard: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, ...]:
        return super().step(F.pad(heard[:, CONTEXT:], (CONTEXT, 0)), hidden, cell)


class MirroredLeft(Stft):
    def padded(self, audio: Tensor) -> Tensor:
        return F.pad(audio, (MIRRORED, 0), mode="reflect")


class MirroredOnBothSides(Stft):
    def padded(self, audio: Tensor) -> Tensor:
        return F.pad(audio, (MIRRORED // 2, MIRRORED // 2), mode="reflect")


class PaddedWithZeros(Stft):
    def padded(self, audio: Tensor) -> Tensor:
        return F.pad(audio, (0, MIRRORED))


class OtherHop(Stft):
    """Frames twice as far apart, the last ones made up: the shape is right."""

    hop = 2 * HOP

    def forward(self, audio_input: Tensor) -> Tensor:
        frames = super().forward(audio_input)
        return torch.cat([frames, frames], 2)


class Power(Stft):
    """The magnitude squared."""

    def magnitude(self, real: Tensor, imaginary: Tensor) -> Tensor:
        return real**2 + imaginary**2


class LogMagnitude(Stft):
    """The first published port took the logarithm."""

    def magnitude(self, real: Tensor, imaginary: Tensor) -> Tensor:
        return torch.log(super().magnitude(real, imaginary) + 1e-8)


class Floored(Stft):
    """A floor under the square root that is no longer small."""

    def magnitude(self, real: Tensor, imaginary: Tensor) -> Tensor:
        return torch.sqrt(real**2 + imaginary**2 + 1e-4)


class Swapping(Decoder):
    """Takes one state for the other."""

    def forward(self, encoder_output: Tensor, hidden_state: Tensor, cell_state: Tensor) -> tuple[Tensor, ...]:
        return super().forward(encoder_output, cell_state, hidden_state)


class OtherGates(Decoder):
    """Gates in the order of another framework: input, output, forget, cell."""

    def ordered(self, gates: Tensor) -> Tensor:
        first, forget, cell, output = gates.chunk(4)
        return torch.cat([first, output, forget, cell])


class WithoutRelu(Decoder):
    """The first published port left out what stands in front of the last convolution."""

    def forward(self, encoder_output: Tensor, hidden_state: Tensor, cell_state: Tensor) -> tuple[Tensor, ...]:
        out, (hidden, cell) = self.lstm(
            encoder_output.transpose(1, 2), (hidden_state.unsqueeze(0), cell_state.unsqueeze(0))
        )
        return torch.sigmoid(self.final_conv(out.transpose(1, 2))), hidden.squeeze(0), cell.squeeze(0)


class Halving(Decoder):
    """The cell state is kept on a grid that half precision would have had above 8."""

    def forward(self, encoder_output: Tensor, hidden_state: Tensor, cell_state: Tensor) -> tuple[Tensor, ...]:
        probability, hidden, cell = super().forward(encoder_output, hidden_state, cell_state)
        return probability, hidden, torch.round(cell * 64) / 64


class Scaled(Stft):
    """Samples as 16-bit numbers: the squares of loud bins are beyond half precision."""

    def padded(self, audio: Tensor) -> Tensor:
        return super().padded(audio) * 32768

    def magnitude(self, real: Tensor, imaginary: Tensor) -> Tensor:
        return super().magnitude(real, imaginary) / 32768


def whole(spectrum: type[nn.Module] = Stft, decoder: type[nn.Module] = Decoder) -> type[Unified]:
    """Return the graph of one step with other parts."""

    class Whole(Unified):
        stft = spectrum

    Whole.decoder = decoder
    return Whole


class Loudest(Unified256):
    """The largest of the eight probabilities, as the first published port had it."""

    def joined(self, probabilities: list[Tensor]) -> Tensor:
        return torch.cat(probabilities, 2).amax(2, keepdim=True)


class Restarting(Unified256):
    """Begins every chunk with empty states, and hands on those of the last."""

    def step(self, heard: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, ...]:
        return super().step(heard, hidden * 0, cell * 0)


class Overlapping(Unified256):
    """Chunks that begin where the context does, and so lag behind more and more."""

    def chunk(self, audio: Tensor, i: int) -> Tensor:
        first = i * (CHUNK - CONTEXT)
        return audio[:, first : first + CHUNK + CONTEXT]


class Amnesia(Glue):
    """The states start anew with every chunk."""

    def carried(self, run: Run, stage: str, found: Arrays, states: Arrays) -> Arrays:
        super().carried(run, stage, found, states)
        return self.started()


class Contextless(Glue):
    """Zeros in front of every chunk."""

    def heard(self, audio: np.ndarray) -> list[np.ndarray]:
        chunks = [chunk.copy() for chunk in super().heard(audio)]
        for chunk in chunks:
            chunk[:, :CONTEXT] = 0
        return chunks


class Swapped(Glue):
    def carried(self, run: Run, stage: str, found: Arrays, states: Arrays) -> Arrays:
        after = super().carried(run, stage, found, states)
        return {"hidden_state": after["cell_state"], "cell_state": after["hidden_state"]}


@dataclass(frozen=True)
class Strict(Glue):
    """Another threshold than upstream's."""

    threshold: float = 0.96


class Unpadded(Glue):
    """Stretches as they are decided, without the 30 ms on either side."""

    def segments(self, probabilities: Sequence[float], samples: int) -> list[tuple[int, int]]:
        return self.stretches(probabilities, samples)


class Trailing(Glue):
    """Loses what is left behind the last whole chunk."""

    def heard(self, audio: np.ndarray) -> list[np.ndarray]:
        return super().heard(audio[: len(audio) // CHUNK * CHUNK])


def late() -> Callable[[np.ndarray], np.ndarray]:
    """Give each probability three chunks later."""
    given = deque([np.zeros((1, 1), np.float32)] * 3)

    def change(probability: np.ndarray) -> np.ndarray:
        given.append(probability)
        return given.popleft().reshape(probability.shape)

    return change
