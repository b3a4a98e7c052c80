"""Copies of the values that cross upstream's seams while it generates, and the uniforms that it samples by."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from references.qwen3_tts.sizes import TOP_K, VOCABULARY
from references.qwen3_tts.upstream import Upstream

Array = np.ndarray
CLOSE = 5e-6
"""Distance of a uniform from a boundary within which another machine's rounding could decide otherwise."""


@dataclass
class Call:
    """One call of a transformer. `rows` are the keys and values that it wrote, per layer, from `position` on."""

    embeds: Array
    position: int
    rows: list[Array]
    hidden: Array
    logits: Array = field(default_factory=lambda: np.zeros(0))


@dataclass
class Frame:
    """The calls of the code predictor for one frame, and the codes that they gave."""

    calls: list[Call] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)


class FedUniforms(TorchFunctionMode):
    """Draws by the numbers of the case where upstream draws: the first id at which the chances add up to more."""

    def __init__(self, rows: Array) -> None:
        super().__init__()
        self.rows, self.tokens, self.group = rows, 0, 1

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.multinomial:
            return self._drawn(args[0] if args else (kwargs or {})["input"])
        return func(*args, **(kwargs or {}))

    def _drawn(self, chances: torch.Tensor) -> torch.Tensor:
        if chances.shape[-1] == VOCABULARY:
            uniform, self.tokens, self.group = self.rows[self.tokens, 0], self.tokens + 1, 1
        else:
            uniform, self.group = self.rows[self.tokens - 1, self.group], self.group + 1
        ordered, ids = torch.sort(chances[0], descending=True, stable=True)
        ordered = ordered[:TOP_K]
        summed = ordered.cumsum(0)
        near = (summed - float(uniform)).abs()[:-1].min()
        if near < CLOSE:
            raise ValueError(
                f"token {self.tokens - 1}, group {self.group - 1}: rounding decides; take another draw of the uniforms"
            )
        at = min(int((summed <= float(uniform)).sum()), int((ordered > 0).sum()) - 1)
        return ids[at].reshape(1, 1)


class Taps:
    """While entered, every call of the two transformers and of their heads is copied."""

    def __init__(self, upstream: Upstream) -> None:
        self.talker = upstream.model.talker
        self.calls: list[Call] = []
        self.frames: list[Frame] = []
        self._stack = ExitStack()

    def __enter__(self) -> Taps:
        predictor = self.talker.code_predictor
        hooks = [
            self.talker.model.register_forward_hook(self._talks, with_kwargs=True),
            self.talker.codec_head.register_forward_hook(self._heads),
            predictor.model.register_forward_hook(self._predicts, with_kwargs=True),
        ]
        hooks += [head.register_forward_hook(self._guesses) for head in predictor.lm_head]
        for handle in hooks:
            self._stack.callback(handle.remove)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _talks(self, _: Any, args: Any, kwargs: Any, output: Any) -> None:
        self.calls.append(_call(kwargs, output))

    def _heads(self, _: Any, args: Any, output: torch.Tensor) -> None:
        self.calls[-1].logits = copied(output)

    def _predicts(self, _: Any, args: Any, kwargs: Any, output: Any) -> None:
        call = _call(kwargs, output)
        if call.position == 0:
            self.frames.append(Frame())
        self.frames[-1].calls.append(call)

    def _guesses(self, _: Any, args: Any, output: torch.Tensor) -> None:
        self.frames[-1].calls[-1].logits = copied(output)


def _call(kwargs: Any, output: Any) -> Call:
    embeds = copied(kwargs["inputs_embeds"])
    layers = output.past_key_values.layers
    position = layers[0].keys.shape[2] - embeds.shape[1]
    rows = [
        np.stack([copied(part[:, :, position:].transpose(1, 2)) for part in (layer.keys, layer.values)])
        for layer in layers
    ]
    return Call(embeds, position, rows, copied(output.last_hidden_state))


def copied(value: torch.Tensor) -> Array:
    return value.detach().numpy().copy()
