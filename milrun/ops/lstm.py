"""The recurrent layer lstm."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from milrun.blob import forget
from milrun.ops.recurrent import Activation, Kernel, check_direction, find_activation, reordered, sequence
from milrun.registry import prepared_op

_FUSED_LSTM_STEPS = 5
"""Sequences shorter than this run step by step: the fused LSTM repacks its weights in every call."""


class _LstmCell(NamedTuple):
    """The weights of one direction (gates in the order input, forget, output, cell), and its activations."""

    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor | None
    peephole: Tensor | None
    gate: Activation
    cell: Activation
    output: Activation
    clip: float | None

    def run(self, x: Tensor, h: Tensor, c: Tensor, output_sequence: bool) -> tuple[Tensor, Tensor, Tensor]:
        size = h.shape[-1]
        recurrent = self.weight_hh.t()
        steps: list[Tensor] = []
        for projected in F.linear(x, self.weight_ih, self.bias).unbind(0):
            gates = torch.addmm(projected, h, recurrent)
            if self.peephole is None:
                i, f, o = self.gate(gates[:, : 3 * size]).chunk(3, 1)
            else:
                peep_i, peep_f, peep_o = self.peephole.chunk(3)
                i = self.gate(gates[:, :size] + c * peep_i)
                f = self.gate(gates[:, size : 2 * size] + c * peep_f)
            c = torch.addcmul(f * c, i, self.cell(gates[:, 3 * size :]))
            if self.clip is not None:
                c = c.clamp(-self.clip, self.clip)
            if self.peephole is not None:
                o = self.gate(gates[:, 2 * size : 3 * size] + c * peep_o)
            h = o * self.output(c)
            steps.append(h)
        return sequence(steps, h, output_sequence), h, c


def _fused_lstm(cells: list[_LstmCell]) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
    """Return the library's LSTM with the weights of one direction, or of both."""
    biased = any(cell.bias is not None for cell in cells)
    params: list[Tensor] = []
    for cell in cells:
        params += [reordered(weight, 0, 1, 3, 2) for weight in (cell.weight_ih, cell.weight_hh)]
        if biased:
            zeros = cell.weight_hh.new_zeros(cell.weight_hh.shape[0])
            params += [zeros if cell.bias is None else reordered(cell.bias, 0, 1, 3, 2), zeros]

    gates, features = cells[0].weight_ih.shape
    hidden = gates // 4
    for cell in cells:
        # The fused kernel reads past the end of weights that do not fit.
        shapes = [tuple(t.shape) for t in (cell.weight_ih, cell.weight_hh, cell.bias) if t is not None]
        if shapes != [(4 * hidden, features), (4 * hidden, hidden), (4 * hidden,)][: len(shapes)]:
            raise ValueError(f"lstm: weights of shapes {shapes} do not fit each other")

    forget(*(weight for cell in cells for weight in (cell.weight_ih, cell.weight_hh)))

    def run(x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch = x.shape[1]
        state = (batch, len(cells) * hidden)
        if x.dim() != 3 or x.shape[2] != features or h.shape != state or c.shape != state:
            raise ValueError(
                f"lstm: x of shape {tuple(x.shape)} and states of {tuple(h.shape)} and {tuple(c.shape)} do not fit"
            )
        initial = [s.reshape(batch, len(cells), -1).transpose(0, 1).contiguous() for s in (h, c)]
        out, h, c = torch.lstm(x, initial, params, biased, 1, 0.0, False, len(cells) == 2, False)
        return out, h.transpose(0, 1).reshape(batch, -1), c.transpose(0, 1).reshape(batch, -1)

    return run


@prepared_op("lstm", "x", "initial_h", "initial_c")
def lstm(
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    peephole: Tensor | None = None,
    weight_ih_back: Tensor | None = None,
    weight_hh_back: Tensor | None = None,
    bias_back: Tensor | None = None,
    peephole_back: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
    clip: float | None = None,
) -> Kernel:
    check_direction("lstm", direction, "forward", "reverse", "bidirectional")
    activations = (
        find_activation("lstm", "recurrent_activation", recurrent_activation),
        find_activation("lstm", "cell_activation", cell_activation),
        find_activation("lstm", "activation", activation),
    )
    cells = [_LstmCell(weight_ih, weight_hh, bias, peephole, *activations, clip)]
    if direction == "bidirectional":
        if weight_ih_back is None or weight_hh_back is None:
            raise ValueError("lstm: direction 'bidirectional' needs weight_ih_back and weight_hh_back")
        cells.append(_LstmCell(weight_ih_back, weight_hh_back, bias_back, peephole_back, *activations, clip))
    standard = activations == (torch.sigmoid, torch.tanh, torch.tanh) and clip is None
    fused = _fused_lstm(cells) if standard and all(cell.peephole is None for cell in cells) else None

    def kernel(x: Tensor, initial_h: Tensor, initial_c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if x.dim() == 3 and initial_h.shape[0] > x.shape[1]:
            # For packed sequences coremltools makes the states as long as the sequence; Core ML takes what it needs.
            initial_h, initial_c = initial_h[: x.shape[1]], initial_c[: x.shape[1]]
        if direction == "reverse":
            x = x.flip(0)
        if fused is not None and x.shape[0] >= _FUSED_LSTM_STEPS:
            out, h, c = fused(x, initial_h, initial_c)
            return (out if output_sequence else h.unsqueeze(0)), h, c
        if len(cells) == 1:
            return cells[0].run(x, initial_h, initial_c, output_sequence)
        h_forward, h_back = initial_h.chunk(2, 1)
        c_forward, c_back = initial_c.chunk(2, 1)
        forward = cells[0].run(x, h_forward, c_forward, output_sequence)
        back = cells[1].run(x.flip(0), h_back, c_back, output_sequence)
        out = torch.cat([forward[0], back[0].flip(0)], -1)
        return out, torch.cat([forward[1], back[1]], -1), torch.cat([forward[2], back[2]], -1)

    return kernel
