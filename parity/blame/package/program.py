"""The package's side of a search: its ops in order, what each reads, and its constants as they take part."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from milrun import Model
from milrun.compile import compile_function
from milrun.guard import Guard, budget
from milrun.numerics import choose
from milrun.plan import Context, execute
from milrun.program import Argument, Block, Datum, Function, Operation, TensorType, Value
from parity.blame.graph import closure


class Program:
    """The one function of a loaded package, seen as a graph of named values."""

    def __init__(self, model: Model) -> None:
        self.function = model.function
        self._constants: dict[str, Operation] = {}
        self.operations: list[Operation] = []
        for operation in model.function.body.walk():
            if operation.type == "const" or operation.type.startswith("constexpr_"):
                self._constants |= {name: operation for name, _ in operation.outputs}
            else:
                self.operations.append(operation)
        self._place = {name: i for i, op in enumerate(self.operations, 1) for name, _ in op.outputs}

    @property
    def compressed(self) -> bool:
        """Return whether any constant is stored in another form than its own."""
        return any(operation.type.startswith("constexpr_") for operation in self._constants.values())

    @property
    def names(self) -> list[str]:
        """Return the names of all computed values, in order."""
        return list(self._place)

    def makes(self, name: str) -> Operation | None:
        return self.operations[self._place[name] - 1] if name in self._place else None

    def position(self, name: str) -> int:
        """Return the number of the op that makes a value, counted from 1; 0 if none does."""
        return self._place.get(name, 0)

    def reads(self, operation: Operation) -> Iterator[str]:
        """Yield the names of an op's arguments, constants among them, and of what its blocks take from outside."""
        for arguments in operation.inputs.values():
            yield from (argument for argument in arguments if isinstance(argument, str))
        for block in operation.blocks:
            for inner in block.walk():
                yield from self.reads(inner)

    def before(self, name: str) -> list[str]:
        """Return the arguments, of the op that makes a value, that other ops compute."""
        operation = self.makes(name)
        return list(dict.fromkeys(read for read in self.reads(operation) if read in self._place)) if operation else []

    def types_behind(self, name: str) -> frozenset[str]:
        """Return the types of all ops that a value is computed from."""
        return frozenset(operation.type for one in closure([name], self.before) if (operation := self.makes(one)))

    def constants(self, operation: Operation) -> dict[str, Operation]:
        """Return the named constants that an op reads, with the ops that make them."""
        return {name: self._constants[name] for name in self.reads(operation) if name in self._constants}

    def maker(self, argument: Argument) -> Operation | None:
        """Return the op that makes a named constant; None for anything else."""
        return self._constants.get(argument) if isinstance(argument, str) else None

    def content(self, argument: Argument) -> Datum | None:
        """Return the value of a constant argument, as the ops get it; None if it is computed."""
        if isinstance(argument, Value):
            return argument.load()
        maker = self.maker(argument)
        if maker is None:
            return None
        (written,) = maker.inputs["val"] if maker.type == "const" else [argument]
        return written.load() if isinstance(written, Value) else self.dense(argument)

    def dense(self, name: str) -> Tensor | None:
        """Return a constant as the ops get it, decompressed by milrun's own kernels; None if it is not a tensor."""
        needed = closure([name], lambda one: self.constants(self._constants[one]))
        makers = [maker for one, maker in self._constants.items() if one in needed]
        block = Block([], makers, [name], self.function.body.place)
        plan = compile_function(
            Function(self.function.name, self.function.opset, [], block), choose("fp32"), guard=Guard(budget(0))
        )
        env = plan.start(Context({}, torch.Generator(), Guard(budget(0))))
        with torch.inference_mode():
            execute(plan.body, env)
        value = env[plan.outputs[name]]
        return value if isinstance(value, Tensor) else None


def bits(operation: Operation, program: Program) -> int:
    """Return the bits of each stored value of a compressed constant; 0 for one that is stored whole."""
    if not operation.type.startswith("constexpr_"):
        return 0
    for argument in operation.inputs.get("lut", []):
        table = program.content(argument)
        if isinstance(table, Tensor):
            count = table.numel() if table.dim() == 1 else table.shape[-2]
            return (count - 1).bit_length()
    for name in ("quantized_data", "data", "nonzero_data"):
        for argument in operation.inputs.get(name, []):
            maker = program.maker(argument)
            if maker is not None and maker.type != "const":
                return bits(maker, program)
            kind = argument.type if isinstance(argument, Value) else maker.outputs[0][1] if maker else None
            return kind.dtype.bits if isinstance(kind, TensorType) else 0
    return 0
