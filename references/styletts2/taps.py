"""Upstream's random draws, made the case's own numbers, and the phase inside its harmonic source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from parity.declarations import Case
from references.styletts2.cases import source_noise


class Ancestral(TorchFunctionMode):
    """Gives the sampler's draws the case's rows of noise: one for each step, behind that of the start."""

    def __init__(self, noise: np.ndarray) -> None:
        super().__init__()
        self._rows: Iterator[np.ndarray] = iter(noise[1:])

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.randn_like:
            return torch.from_numpy(next(self._rows)).reshape(args[0].shape).clone()
        return func(*args, **(kwargs or {}))


class Source(TorchFunctionMode):
    """Gives the harmonic source its noise, and keeps its phase: per frame before and after adding up, and per sample.

    Upstream also draws a phase for each harmonic, which nothing can hear: it is added to the first sample, and only
    the middle samples of a frame are taken. It also draws a noise that nothing takes.
    """

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case
        self.noise = torch.zeros(0)
        self.turns = torch.zeros(0)
        self.phase = torch.zeros(0)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.rand:
            return torch.zeros(*args)
        if func is torch.randn_like:
            drawn = torch.from_numpy(source_noise(self.case, args[0].shape[1])[:, :, : args[0].shape[2]].copy())
            if not self.noise.numel():
                self.noise = drawn.clone()
            return drawn
        result = func(*args, **(kwargs or {}))
        if func is torch.cumsum:
            self.turns, self.phase = args[0].clone(), result.clone()
        return result
