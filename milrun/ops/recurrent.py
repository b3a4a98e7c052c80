"""Recurrent layers: gru and rnn, and what they share with lstm.

Sequences are laid out as (steps, batch, features). In the directions "forward" and "reverse" the output sequence is
in the order in which the steps were processed; in "bidirectional" both halves are in the order of the input.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from milrun.registry import op, prepared_op

Kernel = Callable[..., tuple[Tensor, ...]]
Activation = Callable[[Tensor], Tensor]


def _hard_sigmoid(x: Tensor) -> Tensor:
    return (0.2 * x + 0.5).clamp(0, 1)


def _linear(x: Tensor) -> Tensor:
    return x


_ACTIVATIONS: dict[str, Activation] = {
    "hard_sigmoid": _hard_sigmoid,
    "linear": _linear,
    "relu": torch.relu,
    "scaled_tanh": torch.tanh,  # the scales are no parameters of these ops, and default to 1
    "sigmoid": torch.sigmoid,
    "sigmoid_hard": _hard_sigmoid,
    "tanh": torch.tanh,
}


def find_activation(op: str, attribute: str, name: str) -> Activation:
    found = _ACTIVATIONS.get(name.lower())
    if found is None:
        raise ValueError(f"{op}: {attribute} is {name!r}, allowed are {', '.join(_ACTIVATIONS)}")
    return found


def check_direction(op: str, direction: str, *allowed: str) -> None:
    if direction not in allowed:
        raise ValueError(f"{op}: direction is {direction!r}, allowed are {', '.join(allowed)}")


def sequence(steps: list[Tensor], h: Tensor, output_sequence: bool) -> Tensor:
    """Return the output for the hidden states of all steps, of which h is the last."""
    if not output_sequence:
        return h.unsqueeze(0)
    return torch.stack(steps) if steps else h.new_empty((0, *h.shape))


def reordered(rows: Tensor, *order: int) -> Tensor:
    """Return a stack of gates in another order."""
    gates = rows.chunk(len(order))
    return torch.cat([gates[i] for i in order])


@prepared_op("gru", "x", "initial_h")
def gru(
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
    reset_after: bool = False,
    input_bias: Tensor | None = None,
) -> Kernel:
    """Run a gated recurrent unit. The gates of its weights are in the order reset, output, update.

    The recurrent part of the output gate is W (r * h) + b, or r * (W h + b) with ``reset_after``.
    """
    check_direction("gru", direction, "forward", "reverse")
    gate = find_activation("gru", "recurrent_activation", recurrent_activation)
    output = find_activation("gru", "activation", activation)
    size = weight_hh.shape[1]
    zeros = weight_hh.new_zeros(3 * size)
    packed = [
        reordered(rows, 0, 2, 1)
        for rows in (
            weight_ih,
            weight_hh,
            zeros if input_bias is None else input_bias,
            zeros if bias is None else bias,
        )
    ]
    fused = reset_after and gate is torch.sigmoid and output is torch.tanh
    w_ih, w_hh, b_ih, b_hh = packed
    recurrent = w_hh.t()
    recurrent_gates, recurrent_output = recurrent[:, : 2 * size], recurrent[:, 2 * size :]

    def run(x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        steps: list[Tensor] = []
        for projected in F.linear(x, w_ih, b_ih + b_hh).unbind(0):
            r, z = gate(torch.addmm(projected[:, : 2 * size], h, recurrent_gates)).chunk(2, 1)
            o = output(torch.addmm(projected[:, 2 * size :], r * h, recurrent_output))
            h = torch.lerp(o, h, z)
            steps.append(h)
        return sequence(steps, h, output_sequence), h

    def run_reset_after(x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        steps: list[Tensor] = []
        for projected in F.linear(x, w_ih, b_ih).unbind(0):
            hidden = torch.addmm(b_hh, h, recurrent)
            r, z = gate(projected[:, : 2 * size] + hidden[:, : 2 * size]).chunk(2, 1)
            o = output(torch.addcmul(projected[:, 2 * size :], r, hidden[:, 2 * size :]))
            h = torch.lerp(o, h, z)
            steps.append(h)
        return sequence(steps, h, output_sequence), h

    def kernel(x: Tensor, initial_h: Tensor) -> tuple[Tensor, Tensor]:
        if direction == "reverse":
            x = x.flip(0)
        if not reset_after:
            return run(x, initial_h)
        if not fused or x.shape[0] == 0:
            return run_reset_after(x, initial_h)
        out, h = torch.gru(x, initial_h.unsqueeze(0), packed, True, 1, 0.0, False, False, False)
        return (out if output_sequence else h), h.squeeze(0)

    return kernel


@op("rnn")
def rnn(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    activation: str = "tanh",
) -> tuple[Tensor, Tensor]:
    check_direction("rnn", direction, "forward", "reverse")
    act = find_activation("rnn", "activation", activation)
    if direction == "reverse":
        x = x.flip(0)
    fused = torch.rnn_tanh if act is torch.tanh else torch.rnn_relu if act is torch.relu else None
    if fused is not None and x.shape[0]:
        weights = [weight_ih, weight_hh] if bias is None else [weight_ih, weight_hh, bias, torch.zeros_like(bias)]
        out, h = fused(x, initial_h.unsqueeze(0), weights, bias is not None, 1, 0.0, False, False, False)
        return (out if output_sequence else h), h.squeeze(0)
    h, steps = initial_h, list[Tensor]()
    for projected in F.linear(x, weight_ih, bias).unbind(0):
        h = act(torch.addmm(projected, h, weight_hh.t()))
        steps.append(h)
    return sequence(steps, h, output_sequence), h
