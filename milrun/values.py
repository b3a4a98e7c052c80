"""Named values while a function is compiled: where they live, and in which precision they are wanted."""

from __future__ import annotations

from collections import ChainMap, Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from milrun import kernels
from milrun.errors import ModelError
from milrun.guard import Guard
from milrun.numerics import Numerics
from milrun.plan import Env, Step
from milrun.program import Datum, Function, ListType, Operation, TensorType, Type, Value, names_read


@dataclass(eq=False)
class Ref:
    """A named value while compiling: its type, its slot, and what it holds if it is a constant."""

    type: Type
    slot: int
    datum: Datum | None = None
    wide: Tensor | None = None

    @property
    def is_constant(self) -> bool:
        return self.datum is not None


Scope = ChainMap[str, Ref]
_GONE = torch.empty(0)
"""Content of a constant that nothing will read any more."""


class Compilation:
    """State that all blocks of a function share."""

    def __init__(self, function: Function, numerics: Numerics, fold: bool, guard: Guard) -> None:
        self.function = function
        self.numerics = numerics
        self.fold = fold
        self.guard = guard
        self.data_sized = False
        self.template: Env = [None]
        self.uses = Counter(names_read(function.body))
        """Reads of each name that are still to come."""
        self.kept: set[int] = set()
        """Slots of constants: filled in the template, never emptied."""

    def new_slot(self) -> int:
        self.template.append(None)
        return len(self.template) - 1

    def keep(self, slot: int, datum: Any) -> int:
        self.template[slot] = datum
        self.kept.add(slot)
        return slot

    def want(self, type: Type) -> torch.dtype | None:
        if isinstance(type, ListType):
            return self.want(type.element)
        return self.numerics.storage(type.dtype) if isinstance(type, TensorType) else None


class BlockValues:
    """The values that one block sees and defines, and its steps so far. Its names end with it."""

    def __init__(self, shared: Compilation, scope: Scope, wide: ChainMap[Ref, int]) -> None:
        self.shared = shared
        self.scope = scope.new_child()
        self.wide = wide.new_child()
        """Slots of values in fp32 that are stored in fp16."""
        self.steps: list[Step] = []

    def lookup(self, name: str, where: str) -> Ref:
        if name not in self.scope:
            raise ModelError(f"{where} refers to {name!r}, which nothing before it defines")
        return self.scope[name]

    def refs(self, operation: Operation, parameter: str) -> list[Ref]:
        found = []
        for argument in operation.inputs.get(parameter, []):
            if isinstance(argument, Value):
                found.append(Ref(argument.type, self.shared.new_slot(), self.load(argument, operation)))
            else:
                found.append(self.lookup(argument, operation.where))
        return found

    def only(self, operation: Operation, parameter: str) -> Ref:
        refs = self.refs(operation, parameter)
        if len(refs) != 1:
            raise ModelError(f"{operation.where} has {len(refs)} arguments for {parameter!r} instead of one")
        return refs[0]

    def define(self, operation: Operation) -> tuple[int, ...]:
        """Return slots for the results of an op, under their names."""
        slots = []
        for name, type in operation.outputs:
            self.check_new(name, type, operation)
            self.scope[name] = Ref(type, self.shared.new_slot())
            slots.append(self.scope[name].slot)
        return tuple(slots)

    def check_new(self, name: str, type: Type, operation: Operation) -> None:
        if name in self.scope:
            raise ModelError(f"{operation.where} defines {name!r}, which is defined already")
        if isinstance(type, TensorType) and type.least_bytes() > self.shared.guard.limit:
            raise ModelError(f"{operation.where} declares a result of type {type}, more than the package justifies")

    def load(self, value: Value, operation: Operation) -> Datum:
        guard = self.shared.guard
        try:
            if value.decoded_bytes:
                guard.check(value.decoded_bytes)
            datum = value.load()
        except Exception as error:
            raise ModelError(f"{operation.where}: {error}") from error
        if value.decoded_bytes and isinstance(datum, Tensor):
            guard.charge(datum)
        return datum

    def stored(self, ref: Ref) -> int:
        """Return the slot of a value as it is stored."""
        if ref.is_constant and ref.slot not in self.shared.kept:
            self.shared.keep(ref.slot, self.constant(ref, widen=False))
        return ref.slot

    def widened(self, ref: Ref, operation: Operation) -> int:
        """Return the slot of a value in fp32, where it is stored in fp16: made once for all ops that want it."""
        if ref not in self.wide:
            if ref.is_constant:
                if self.constant(ref, widen=True) is self.constant(ref, widen=False):
                    return self.stored(ref)
                self.wide[ref] = self.shared.keep(self.shared.new_slot(), self.constant(ref, widen=True))
            elif self.shared.want(ref.type) is torch.float16 and isinstance(ref.type, TensorType):
                slot = self.wide[ref] = self.shared.new_slot()
                self.steps.append(Step(kernels.widen(ref.slot, slot), operation, frozenset({ref.slot}), (slot,)))
            else:
                return ref.slot
        return self.wide[ref]

    def constant(self, ref: Ref, widen: bool) -> Datum:
        datum = ref.datum
        assert datum is not None
        in_fp32 = widen or self.shared.numerics.name == "fp32"
        if not in_fp32 or not isinstance(datum, Tensor) or datum.dtype is not torch.float16:
            return datum
        if ref.wide is None:
            ref.wide = datum.float()
        return ref.wide

    def drop_constants(self, operation: Operation) -> None:
        """Let go of constants that no later op reads: kernels hold them in the form they execute with."""
        for argument in (a for arguments in operation.inputs.values() for a in arguments if isinstance(a, str)):
            self.shared.uses[argument] -= 1
            ref = self.scope[argument]
            if ref.is_constant and not self.shared.uses[argument]:
                ref.datum, ref.wide = _GONE, None
