"""PocketTTS's converters and glue with the bugs that caches, positions and a flow invite, one each."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from converters.pocket_tts.attention import Attention, Rotary
from converters.pocket_tts.codec import ConvTranspose, MimiDecoder
from converters.pocket_tts.flow import FLOW_STEPS, CondPrefill, FlowLMStep, FusedFlowDecoder
from converters.pocket_tts.glue import Glue
from parity.declarations import Arrays, Case, Run
from parity.run.runtime import Session
from references.pocket_tts import weights
from references.pocket_tts.sizes import SMALL


class PaddedPrefill(CondPrefill):
    """Takes the zeros behind a prompt for a part of it."""

    def forward(self, conditioning: Tensor, valid: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        return super().forward(conditioning, valid * 0 + conditioning.shape[1], *states)


def attending(kind: type[Attention]) -> type[FlowLMStep]:
    """Return a step with another attention."""

    class Attending(FlowLMStep):
        attention = kind

    return Attending


def turning(kind: type[Rotary]) -> type[FlowLMStep]:
    """Return a step whose attention turns by other angles."""

    class Turning(Attention):
        angles = kind

    return attending(Turning)


class UncleanAttention(Attention):
    """Relies on weights of zero alone to silence what was never written."""

    def clean(self, part: Tensor) -> Tensor:
        return part


class OtherBase(Rotary):
    """Frequencies of another base than upstream's."""

    def __init__(self, max_period: float, size: int, positions: int) -> None:
        super().__init__(50 * max_period, size, positions)


class Halves(Rotary):
    """Pairs each value of the first half with one of the second, as most models do and this one does not."""

    def pairs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = torch.chunk(x, 2, -1)
        return first, second

    def joined(self, real_part: Tensor, imaginary: Tensor) -> Tensor:
        return torch.cat([real_part, imaginary], -1)


class Computed(Rotary):
    """Angles made in the graph: position times frequency, in whatever precision it runs."""

    frequencies: Tensor

    def __init__(self, max_period: float, size: int, positions: int) -> None:
        super().__init__(max_period, size, positions)
        pairs = torch.arange(size // 2, dtype=torch.float32)
        self.register_buffer("frequencies", torch.exp(pairs * (-math.log(max_period) * 2 / size)))

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        angles = positions[:, None, None].float() * self.frequencies
        cosine, sine = torch.cos(angles), torch.sin(angles)
        real_part, imaginary = self.pairs(x)
        return self.joined(real_part * cosine - imaginary * sine, real_part * sine + imaginary * cosine)


class LateAttention(Attention):
    """Writes one slot further than the position says."""

    def row(self, position: Tensor) -> Tensor:
        return super().row(position + 1)


class FrozenAttention(Attention):
    """Writes nothing."""

    def written(self, cache: Tensor, fresh: Tensor, position: Tensor, valid: Tensor | None) -> Tensor:
        return super().written(cache, fresh, position, torch.zeros_like(position))


class SwappedAttention(Attention):
    """Values where keys belong, and the other way round."""

    def split(self, projected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = super().split(projected)
        return query, value, key


class UnevenReadout(FlowLMStep):
    """The same readout of the end, but that one weight outgrows the others, as in trained ones: with one scale for
    all, eight bits leave nothing of the others."""

    uneven: Tensor

    def __init__(self, upstream: Any) -> None:
        super().__init__(upstream)
        self.register_buffer("uneven", torch.ones(upstream.flow_lm.out_eos.in_features))
        self.uneven[0] = 1 / 64
        self.out_eos = copy.deepcopy(self.out_eos)
        self.out_eos.weight.data /= self.uneven

    def forward(self, sequence: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        transformer_out, _, *states_out = super().forward(sequence, *states)
        return (transformer_out, self.out_eos(transformer_out * self.uneven), *states_out)


class EndingMimi(MimiDecoder):
    """Takes the ring for a cache with an end: right until it is full."""

    attention = Attention


class Dropped(ConvTranspose):
    """Hands on what the next frame should add, and never adds it."""

    def forward(self, x: Tensor, states: Iterator[Tensor], changed: list[Tensor]) -> Tensor:
        return super().forward(x, iter([next(states) * 0]), changed)


class DroppedMimi(MimiDecoder):
    def __init__(self, upstream: Any) -> None:
        super().__init__(upstream)
        self.upsample = Dropped(upstream.mimi.upsample.convtr)


class OtherLanguage(MimiDecoder):
    """The codec of another model of the family: the same shapes, other weights."""

    def __init__(self, upstream: Any) -> None:
        mimi, other = copy.deepcopy(upstream.mimi), replace(SMALL, name="another language")
        with torch.no_grad():
            for name, value in mimi.state_dict().items():
                value.copy_(torch.from_numpy(weights.seeded(other, f"mimi.{name}", tuple(value.shape), 0)))
        super().__init__(SimpleNamespace(mimi=mimi, flow_lm=upstream.flow_lm))


class StillFlow(FusedFlowDecoder):
    """Begins every step at time 0."""

    def times(self, i: int) -> tuple[float, float]:
        return 0.0, (i + 1) / FLOW_STEPS


class LateFlow(FusedFlowDecoder):
    """Ends every step one step too far."""

    def times(self, i: int) -> tuple[float, float]:
        return i / FLOW_STEPS, (i + 2) / FLOW_STEPS


class TextFirst(Glue):
    def parts(self, tables: Arrays, case: Case) -> list[np.ndarray]:
        return super().parts(tables, case)[::-1]


class Abrupt(Glue):
    """The voice without the embedding that begins it."""

    def voice(self, tables: Arrays) -> np.ndarray:
        return tables["voice"]


class Still(Glue):
    def times(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for s, t in super().times():
            yield np.zeros_like(s), t


class Late(Glue):
    def times(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for s, t in super().times():
            yield s, t + np.float32(1 / FLOW_STEPS)


class Quiet(Glue):
    """Noise of another temperature."""

    def noise(self, case: Case, frame: int) -> np.ndarray:
        return case.inputs["noise"][frame : frame + 1] * np.float32(0.5**0.5)


class Restarted(Glue):
    """Decodes every frame as if it were the first."""

    def decoded(self, run: Run, latent: np.ndarray, states: Arrays) -> Arrays:
        return super().decoded(run, latent, self.started(self.codec_states))


class Hasty(Glue):
    """Listens for the end from the first frame on."""

    def ends(self, run: Run, given: Arrays, frame: int) -> bool:
        margin = run.decide("flowlm_step", "eos_margin", self.margin(given)["eos_margin"])
        return bool(margin.item() > 0)


def keeping(session: Session) -> Session:
    """Never clears the states of an artifact: only what they start with is written."""
    make_state = session.make_state

    def made() -> Any:
        state: Any = make_state()
        known = set[str]()
        write_state = state.write_state

        def once(name: str, value: np.ndarray) -> None:
            if name not in known:
                known.add(name)
                write_state(name, value)

        state.write_state = once
        return state

    session.make_state = made  # type: ignore[method-assign]
    return session
