"""Loops that spell out a GRU, as coremltools writes it for PyTorch's: one kernel in place of a loop of 30 ops.

In numerics ``fp32`` torch's own GRU does it, whose sums have another order. In ``declared`` a kernel of ours rounds
where the ops of the loop do. A loop is taken only if every op of it is accounted for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from milrun import dtypes
from milrun.dtypes import DType
from milrun.fusion import known_shape, one
from milrun.program import Argument, Block, Function, Operation, TensorType, Type, Value
from milrun.registry import op

GRU = "spelled_out_gru"
"""An op type of our own, which no package may name."""

_Z: Any = ("sigmoid", ("add", ("linear", "x", "iz"), ("linear", "h", "hz")))
_R: Any = ("sigmoid", ("add", ("linear", "x", "ir"), ("linear", "h", "hr")))
_N: Any = ("tanh", ("add", ("linear", "x", "in"), ("mul", _R, ("linear", "h", "hn"))))
_NEXT: Any = ("add", ("mul", ("sub", "one", _Z), _N), ("mul", _Z, "h"))
_GATES = ("ir", "iz", "in", "hr", "hz", "hn")
_COMMUTE = ("add", "mul")
_MAX_STEPS = (1 << 15) - 1
"""The counter is cast to int16 on the way."""
_COUNTS = (dtypes.INT16, dtypes.UINT16, dtypes.INT32)
"""Types that hold every value of the counter."""
_FLOATS = (dtypes.FP16, dtypes.FP32)


@op(GRU)
def spelled_out_gru(
    x: Tensor,
    states: Tensor,
    weights: list[Tensor],
    biases: list[Tensor],
    adds: bool = False,
    half: bool = False,
    fused: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return the loop's variables after its last step: its counter, and all states, the first of which is given.

    With ``adds`` a state is added to what lies in its place, which are zeros as coremltools writes it. With ``half``
    the loop holds everything in fp16, and casts what comes from outside.
    """
    if x.dim() != 3 or states.shape[:2] != (x.shape[0] + 1, x.shape[1]) or x.shape[2:] != weights[0].shape[1:]:
        raise ValueError(f"x of shape {tuple(x.shape)} and states of {tuple(states.shape)} do not fit")
    steps = torch.tensor([x.shape[0]], dtype=torch.int32)
    w_ih, w_hh = torch.cat(weights[:3]), torch.cat(weights[3:])
    b_ih, b_hh = torch.cat(biases[:3]), torch.cat(biases[3:])
    held = torch.float16 if half else torch.float32
    first, places = states[:1], states[1:].to(held).unbind(0) if adds and states[1:].any() else None
    if fused and places is None:
        out, _ = torch.gru(x, first, [w_ih, w_hh, b_ih, b_hh], True, 1, 0.0, False, False, False)
        return steps, torch.cat([first, out])
    kept, recurrent = _Kept(x.shape[1], w_hh.shape[1], held), w_hh.t().contiguous()
    taken, candidates = (part.unbind(0) for part in kept.parted(F.linear(x.to(held).float(), w_ih, b_ih).to(held)))
    made = torch.empty(states.shape, dtype=held)
    made[:1] = first
    rows = made.unbind(0)
    for index, (gate, candidate) in enumerate(zip(taken, candidates, strict=True)):
        h, after = rows[index : index + 2]
        kept.given.copy_(h)
        kept.gates.copy_(torch.addmm(b_hh, kept.given, recurrent, out=kept.product))
        kept.opened.add_(gate).sigmoid_()
        n = kept.r.mul_(kept.hidden).add_(candidate).tanh_()
        n.mul_(torch.sub(kept.one, kept.z, out=kept.rest))
        torch.add(n, kept.z.mul_(h), out=after)
        if places is not None:
            after.add_(places[index])
    return steps, made


class _Kept:
    """Tensors that each step writes into: to make them, and views of them, takes as long as what is computed."""

    def __init__(self, batch: int, size: int, held: torch.dtype) -> None:
        self.size = size
        self.given = torch.empty(batch, size)
        self.product = torch.empty(batch, 3 * size)
        self.gates = torch.empty(batch, 3 * size, dtype=held)
        self.opened, self.hidden = self.parted(self.gates)
        self.r, self.z = self.opened.chunk(2, 1)
        self.one = torch.ones((), dtype=held)
        self.rest = torch.empty(batch, size, dtype=held)

    def parted(self, gates: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two gates, and the candidate, of a row for each."""
        opened, hidden = torch.split(gates, [2 * self.size, self.size], -1)
        return opened, hidden


def fuse_recurrence(function: Function, fused: bool) -> Function:
    """Return the function with one op in place of each loop that spells out a GRU.

    Parameters
    ----------
    function
        The function to look through, its outermost block.
    fused
        Whether torch's own kernel may do it.
    """
    outer = _Names(function.body, {}, dict(function.inputs))
    operations = [
        (_gru(operation, outer, fused) or operation) if operation.type == "while_loop" else operation
        for operation in function.body.operations
    ]
    return replace(function, body=replace(function.body, operations=operations))


class _Names:
    """The ops that make the values of a block, and those of the blocks around it, and the types of the values."""

    def __init__(self, block: Block, makers: dict[str, Operation], types: dict[str, Type]) -> None:
        self.own = {name: operation for operation in block.operations for name, _ in operation.outputs}
        self.makers = makers | self.own
        self.types = types | dict(block.inputs)
        self.types |= {name: type for operation in block.operations for name, type in operation.outputs}

    def maker(self, argument: Argument | None, type: str) -> Operation | None:
        """Return the op of this type that makes a value."""
        operation = self.makers.get(argument) if isinstance(argument, str) else None
        return operation if operation is not None and operation.type == type else None

    def dtype(self, argument: Argument | None) -> DType | None:
        type = self.types.get(argument) if isinstance(argument, str) else None
        return type.dtype if isinstance(type, TensorType) else None

    def constant(self, argument: Argument | None) -> Value | None:
        if isinstance(argument, str) and argument in self.makers and self.makers[argument].type == "const":
            argument = one(self.makers[argument], "val")
        return argument if isinstance(argument, Value) else None

    def number(self, argument: Argument | None) -> float | None:
        """Return a constant of one element."""
        constant = self.constant(argument)
        datum = constant.load() if constant is not None and _count(constant) == 1 else None
        return float(datum.item()) if isinstance(datum, Tensor) else None


def _count(constant: Value) -> int:
    shape = constant.type.shape if isinstance(constant.type, TensorType) else None
    total = 1
    for size in shape if shape is not None else (0,):
        total *= size or 0
    return total


@dataclass
class _Loop:
    """The body of a loop while a pattern is laid on it."""

    names: _Names
    counter: str
    states: str
    rounds: bool
    """Casts from fp32 to fp16 may be left out: the kernel rounds as they do, or nothing is to be rounded."""
    bound: dict[str, Any] = field(default_factory=dict)
    met: set[int] = field(default_factory=set)
    """The ops that are accounted for."""

    def source(self, argument: Argument | None) -> Argument | None:
        """Return a value as it was before casts in the body that lose nothing."""
        while isinstance(argument, str) and argument in self.names.own:
            cast = self.names.maker(argument, "cast")
            if cast is None or not self.spares(self.names.dtype(one(cast, "x")), self.names.dtype(argument)):
                break
            self.met.add(id(cast))
            argument = one(cast, "x")
        return argument

    def spares(self, before: DType | None, after: DType | None) -> bool:
        """Return whether a cast from one type to another keeps a value: the counter, or a number of the GRU."""
        if before in _COUNTS:
            return after in _COUNTS
        lossless = self.rounds or before is after or after is dtypes.FP32
        return before in _FLOATS and after in _FLOATS and lossless

    def maker(self, argument: Argument | None, type: str) -> Operation | None:
        """Return the op of this type that makes a value, casts that lose nothing left out."""
        found = self.names.maker(self.source(argument), type)
        if found is not None:
            self.met.add(id(found))
        return found

    def counts(self, argument: Argument | None) -> bool:
        """Return whether a value is the counter, which is not negative."""
        if self.source(argument) == self.counter:
            return True
        choice = self.maker(argument, "select")
        if choice is None or not self.counts(one(choice, "a")):
            return False
        test, other = self.maker(one(choice, "cond"), "greater_equal"), self.maker(one(choice, "b"), "add")
        return (
            test is not None
            and other is not None
            and self.counts(one(test, "x"))
            and self.names.number(one(test, "y")) == 0
            and self.counts(one(other, "x"))
        )

    def follows(self, argument: Argument | None) -> bool:
        """Return whether a value is the counter plus one."""
        found = self.maker(argument, "add")
        return found is not None and self.counts(one(found, "x")) and self.names.number(one(found, "y")) == 1

    def row(self, argument: Argument | None) -> Argument | None:
        """Return the tensor of which a value is the row that the counter names."""
        squeezed = self.maker(argument, "squeeze")
        gathered = self.maker(one(squeezed, "x"), "gather") if squeezed is not None else None
        if squeezed is None or gathered is None or not self.counts(one(gathered, "indices")):
            return None
        if self.names.number(one(squeezed, "axes")) != 0 or self.names.number(one(gathered, "axis")) != 0:
            return None
        if "batch_dims" in gathered.inputs and self.names.number(one(gathered, "batch_dims")) != 0:
            return None
        return self.source(one(gathered, "x"))

    def fits(self, argument: Argument | None, pattern: Any) -> bool:
        """Lay a pattern on a value, and bind the names in it."""
        if pattern == "one":
            return self.names.number(argument) == 1
        if pattern == "h":
            return self.row(argument) == self.states
        if pattern == "x":
            found = self.row(argument)
            if not isinstance(found, str) or found in self.names.own or found == self.states:
                return False
            return self.names.dtype(found) in _FLOATS and self.bound.setdefault("x", found) == found
        type, *parts = pattern
        operation = self.maker(argument, type)
        if operation is None:
            return False
        if type == "linear":
            weights = one(operation, "weight"), one(operation, "bias")
            return self.bound.setdefault(parts[1], weights) == weights and self.fits(one(operation, "x"), parts[0])
        sides = [one(operation, name) for name in ("x", "y")[: len(parts)]]
        for order in (sides, sides[::-1])[: 2 if type in _COMMUTE else 1]:
            bound, met = dict(self.bound), set(self.met)
            if all(self.fits(side, part) for side, part in zip(order, parts, strict=True)):
                return True
            self.bound, self.met = bound, met
        return False


def _gru(loop: Operation, outer: _Names, fused: bool) -> Operation | None:
    """Return the op that does what a loop does, if the loop is a GRU of known length."""
    variables = loop.inputs.get("loop_vars", [])
    if len(loop.blocks) != 2 or len(variables) != 2 or len(loop.blocks[1].inputs) != 2:
        return None
    test, body = loop.blocks
    names, halves = _Names(body, outer.makers, outer.types), _halves(body)
    found = _Loop(names, body.inputs[0][0], body.inputs[1][0], rounds=fused or halves is True)
    steps = _steps(test, outer)
    if steps is None or outer.number(variables[0]) != 0 or not found.follows(body.outputs[0]):
        return None
    written = found.maker(body.outputs[1], "scatter")
    if written is None or not found.follows(one(written, "indices")):
        return None
    expanded = found.maker(one(written, "updates"), "expand_dims")
    mode = names.constant(one(written, "mode")) if "mode" in written.inputs else None
    sound = (
        found.source(one(written, "data")) == found.states
        and names.number(one(written, "axis")) == 0
        and (mode is not None and mode.load() in ("add", "update"))
        and expanded is not None
        and names.number(one(expanded, "axes")) == 0
        and found.fits(one(expanded, "x"), _NEXT)
    )
    if (
        not sound
        or mode is None
        or halves is None
        or any(id(operation) not in found.met for operation in _others(body))
    ):
        return None
    shapes = [known_shape(outer.types.get(str(name))) for name in (found.bound["x"], variables[1])]
    if shapes[0] is None or shapes[1] is None or len(shapes[0]) != 3 or len(shapes[1]) != 3:
        return None
    if shapes[0][0] != steps or shapes[1][0] != steps + 1:
        return None
    weights = [names.constant(found.bound[gate][0]) for gate in _GATES]
    biases = [names.constant(found.bound[gate][1]) for gate in _GATES]
    taken, hidden = shapes[0][2], shapes[1][2]
    wanted = [(hidden, taken)] * 3 + [(hidden, hidden)] * 3 + [(hidden,)] * 6
    held = [known_shape(constant.type) if constant is not None else None for constant in (*weights, *biases)]
    if held != wanted or shapes[0][1] != shapes[1][1]:
        return None
    truth = TensorType(dtypes.BOOL, ())
    flags = {"adds": mode.load() == "add", "half": halves and not fused, "fused": fused}
    inputs: dict[str, list[Argument]] = {
        "x": [found.bound["x"]],
        "states": [variables[1]],
        "weights": [constant for constant in weights if constant is not None],
        "biases": [constant for constant in biases if constant is not None],
        **{name: [Value(truth, "immediate", partial(torch.tensor, on))] for name, on in flags.items()},
    }
    return Operation(GRU, loop.name, inputs, loop.outputs, place=loop.place)


def _steps(test: Block, outer: _Names) -> int | None:
    """Return the number that the counter is compared with."""
    names = _Names(test, outer.makers, outer.types)
    if len(test.outputs) != 1 or any(operation.type != "less" for operation in _others(test)):
        return None
    less = names.maker(test.outputs[0], "less")
    bound = names.number(one(less, "y")) if less is not None and one(less, "x") == test.inputs[0][0] else None
    return int(bound) if bound is not None and 0 < bound <= _MAX_STEPS else None


def _others(block: Block) -> Iterator[Operation]:
    return (operation for operation in block.operations if operation.type != "const")


def _halves(body: Block) -> bool | None:
    """Return whether all that a body computes is held in fp16; None where it is neither that nor all in fp32."""
    held = {
        type.dtype
        for operation in _others(body)
        if operation.type != "cast"
        for _, type in operation.outputs
        if isinstance(type, TensorType) and type.dtype.is_float
    }
    return held == {dtypes.FP16} if len(held) == 1 and held <= {dtypes.FP16, dtypes.FP32} else None
