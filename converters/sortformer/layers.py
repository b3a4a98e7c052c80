"""torch's layers, filled from a state dict under NeMo's names. Every size is read off the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn

State = Mapping[str, Tensor]
Layer = TypeVar("Layer", bound=nn.Module)


def linear(state: State, name: str) -> nn.Linear:
    out, width = state[f"{name}.weight"].shape
    return filled(nn.Linear(width, out, bias=f"{name}.bias" in state), state, name)


def layer_norm(state: State, name: str) -> nn.LayerNorm:
    return filled(nn.LayerNorm(state[f"{name}.weight"].shape[0]), state, name)


def batch_norm(state: State, name: str) -> nn.BatchNorm1d:
    return filled(nn.BatchNorm1d(state[f"{name}.weight"].shape[0]), state, name).eval()


def conv1d(state: State, name: str) -> nn.Conv1d:
    """Of stride 1, as long out as in. A second dimension of 1 means that it is depthwise."""
    out, width, kernel = state[f"{name}.weight"].shape
    groups = out if width == 1 else 1
    bias = f"{name}.bias" in state
    return filled(nn.Conv1d(width * groups, out, kernel, padding=kernel // 2, groups=groups, bias=bias), state, name)


def conv2d(state: State, name: str, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    out, width, *kernel = state[f"{name}.weight"].shape
    padding = (kernel[0] // 2, kernel[1] // 2)
    return filled(
        nn.Conv2d(width * groups, out, (kernel[0], kernel[1]), stride=stride, padding=padding, groups=groups),
        state,
        name,
    )


def filled(layer: Layer, state: State, name: str) -> Layer:
    """The layer with the weights under `name`; what a batch norm has counted stays behind."""
    wanted = [key for key, value in layer.state_dict().items() if value.is_floating_point()]
    layer.load_state_dict({key: state[f"{name}.{key}"] for key in wanted}, strict=False)
    return layer


def depth(state: State, name: str) -> int:
    """Return how many layers are numbered under `name`."""
    prefix = f"{name}."
    return len({key.removeprefix(prefix).partition(".")[0] for key in state if key.startswith(prefix)})
