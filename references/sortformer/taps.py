"""Copies of what crosses the upstream's seams while it streams a recording through."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

Array = np.ndarray


@dataclass
class Step:
    """One chunk: what was seen of the recording, what cache and queue held before, and what was predicted of all.

    `left` and `right` are how many frames at the window's ends are context.
    """

    window: Array
    cache: Array
    queue: Array
    embeddings: Array
    packed: Array
    predictions: Array
    left: int
    right: int


@dataclass
class Taps:
    """While entered, every step of NeMo's streaming is copied. Its methods run as they are.

    Of each update of the speaker cache, `popped` is how many frames came, `silent` which of them are silence, and
    `chosen` the rows, of the old cache with them behind it, that are kept, -1 for silence; None where all are.
    """

    model: Any
    features: Array = field(default_factory=lambda: np.zeros(0))
    steps: list[Step] = field(default_factory=list)
    popped: list[int] = field(default_factory=list)
    silent: list[Array] = field(default_factory=list)
    chosen: list[Array | None] = field(default_factory=list)

    def __enter__(self) -> Taps:
        self._stack = ExitStack()
        self._window = self._embeddings = self._packed = np.zeros(0)
        model, modules = self.model, self.model.sortformer_modules
        for hooked in (
            model.preprocessor.register_forward_hook(self._heard),
            model.encoder.pre_encode.register_forward_hook(self._pre_encoded, with_kwargs=True),
            model.encoder.register_forward_pre_hook(self._encodes, with_kwargs=True),
        ):
            self._stack.callback(hooked.remove)
        self._spy(modules, "streaming_update", self._updates)
        self._spy(modules, "_get_silence_profile", self._hears_silence)
        self._spy(modules, "_get_topk_indices", self._chooses)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _spy(self, owner: Any, name: str, look: Callable[..., Any]) -> None:
        """`look` is given the method and its arguments, and makes the call."""
        method = getattr(owner, name)
        setattr(owner, name, lambda *args, **kwargs: look(method, *args, **kwargs))
        self._stack.callback(delattr, owner, name)

    def _heard(self, module: Any, args: Any, output: Any) -> None:
        features, lengths = output
        self.features = _copied(features[0, :, : int(lengths[0])].T)

    def _pre_encoded(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        self._window, self._embeddings = _copied(kwargs["x"][0]), _copied(output[0][0])

    def _encodes(self, module: Any, args: Any, kwargs: Any) -> None:
        self._packed = _copied(kwargs["audio_signal"][0])

    def _updates(self, method: Any, streaming_state: Any, chunk: Any, preds: Any, lc: int, rc: int) -> Any:
        cache, queue = _copied(streaming_state.spkcache[0]), _copied(streaming_state.fifo[0])
        step = Step(self._window, cache, queue, self._embeddings, self._packed, _copied(preds[0]), lc, rc)
        self.steps.append(step)
        return method(streaming_state=streaming_state, chunk=chunk, preds=preds, lc=lc, rc=rc)

    def _hears_silence(self, method: Any, mean: Any, count: Any, embeddings: Any, predictions: Any) -> Any:
        threshold = self.model.sortformer_modules.sil_threshold
        self.popped.append(embeddings.shape[1])
        self.silent.append(_copied(predictions[0].sum(dim=1) < threshold))
        self.chosen.append(None)
        return method(mean, count, embeddings, predictions)

    def _chooses(self, method: Any, scores: Any) -> Any:
        rows, disabled = method(scores)
        self.chosen[-1] = _copied(torch.where(disabled[0].bool(), -1, rows[0]))
        return rows, disabled


def _copied(value: torch.Tensor) -> Array:
    return value.detach().cpu().numpy().copy()
