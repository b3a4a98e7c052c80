"""The flow language model: what it is conditioned on, one frame after another, and the flow that samples a latent."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from converters.pocket_tts.attention import Attention, Transformer

CAPACITY = 512
MOST_PROMPTED = 256
FLOW_STEPS = 8


class Backbone(nn.Module):
    """The transformer of the flow LM over caches of CAPACITY slots; what its stages share."""

    attention: type[Attention] = Attention

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        # Padding of a prompt may reach past the last slot; it has to find an angle there.
        positions = CAPACITY + MOST_PROMPTED
        self.transformer = Transformer(upstream.flow_lm.transformer, self.attention, CAPACITY, positions)

    def run(self, x: Tensor, states: tuple[Tensor, ...], valid: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the transformer's outputs, then the caches, then the positions."""
        layers = len(self.transformer.blocks)
        caches, positions = states[:layers], states[layers:]
        x, caches = self.transformer(x, caches, positions, valid)
        return (x, *caches, *(position + (x.shape[1] if valid is None else valid) for position in positions))


class CondStep(Backbone):
    """Takes in one row of voice or text."""

    def forward(self, conditioning: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        return self.run(conditioning, states)[1:]


class CondPrefill(Backbone):
    """Takes in the first `valid` rows of voice or text at once. What is behind them leaves no trace: neither a key nor
    a position."""

    def forward(self, conditioning: Tensor, valid: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        return self.run(conditioning, states, valid)[1:]


class FlowLMStep(Backbone):
    """From one latent to what the next is sampled from. A latent of NaN stands for the beginning."""

    def __init__(self, upstream: Any) -> None:
        super().__init__(upstream)
        model = upstream.flow_lm
        self.bos_emb, self.input_linear, self.out_norm = model.bos_emb, model.input_linear, model.out_norm
        self.z_proj = nn.Identity() if model.z_proj is None else model.z_proj
        self.out_eos = model.out_eos

    def forward(self, sequence: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        x, *states_out = self.run(self.input_linear(self.begun(sequence)), states)
        transformer_out = self.z_proj(self.out_norm(x))[:, -1]
        return (transformer_out, self.out_eos(transformer_out), *states_out)

    def begun(self, sequence: Tensor) -> Tensor:
        return torch.where(torch.isnan(sequence), self.bos_emb, sequence)


class FlowDecoder(nn.Module):
    """The velocity that takes a latent from time s to time t."""

    def __init__(self, upstream: Any) -> None:
        super().__init__()
        self.flow_net = upstream.flow_lm.flow_net

    def forward(self, transformer_out: Tensor, latent: Tensor, s: Tensor, t: Tensor) -> Tensor:
        velocity: Tensor = self.flow_net(transformer_out, s, t, latent)
        return velocity


class FusedFlowDecoder(FlowDecoder):
    """All steps from noise to a latent, in one graph."""

    def forward(self, transformer_out: Tensor, noise: Tensor) -> Tensor:  # type: ignore[override]
        latent = noise
        for i in range(FLOW_STEPS):
            s, t = (torch.full_like(noise[:, :1], time) for time in self.times(i))
            latent = latent + self.flow_net(transformer_out, s, t, latent) / FLOW_STEPS
        return latent

    def times(self, i: int) -> tuple[float, float]:
        return i / FLOW_STEPS, (i + 1) / FLOW_STEPS
