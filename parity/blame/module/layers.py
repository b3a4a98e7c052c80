"""The submodules that a rewrite has in common with upstream: taken over from it, or filled with the same weights."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from parity.blame.module.calls import Names

Weights = tuple[tuple[str, tuple[int, ...], bytes], ...]


def shared(module: nn.Module, cut_from: Any, upstream: nn.Module) -> Names:
    """Return the submodules of the rewrite with upstream's names; by their weights where none was taken over."""
    return _taken_over(module, cut_from) or _of_same_weights(module, upstream)


def _taken_over(module: nn.Module, cut_from: Any) -> Names:
    if not isinstance(cut_from, nn.Module):
        return {}
    own = set(module.modules())
    return {part: name for name, part in cut_from.named_modules() if part in own and name}


def _of_same_weights(module: nn.Module, upstream: nn.Module) -> Names:
    """Return the layers whose weights no other layer has, on either side."""
    ours, theirs = _layers(module), _layers(upstream)
    return {
        module.get_submodule(ours[weights][0]): theirs[weights][0]
        for weights in ours.keys() & theirs.keys()
        if len(ours[weights]) == len(theirs[weights]) == 1
    }


def _layers(model: nn.Module) -> dict[Weights, list[str]]:
    """Return the names of the layers that hold weights and no other layers, by their weights.

    Scripted layers are left out: nothing can be heard of their calls.
    """
    found: dict[Weights, list[str]] = {}
    for name, part in model.named_modules():
        scripted = isinstance(part, torch.jit.ScriptModule)
        if not scripted and next(part.children(), None) is None and next(part.parameters(), None) is not None:
            found.setdefault(_weights(part), []).append(name)
    return found


def _weights(layer: nn.Module) -> Weights:
    """Return the weights of a layer exactly, without integers, which only count."""
    state = {name: value for name, value in layer.state_dict().items() if value.is_floating_point()}
    return tuple((name, tuple(state[name].shape), _digest(state[name])) for name in sorted(state))


def _digest(value: Tensor) -> bytes:
    return hashlib.sha256(value.detach().contiguous().cpu().numpy().tobytes()).digest()
