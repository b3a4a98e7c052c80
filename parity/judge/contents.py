"""A package as the gates see it: what it describes, and its programs, of which a pipeline has several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import eq
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from milrun import ModelError
from milrun.package import Package
from milrun.program import Function, Operation, TensorType, Value, read_functions
from parity.verdict import Finding

T = TypeVar("T")
F = TypeVar("F")
MOST = 3
"""The number of faults of a kind that a message lists; it counts the others."""


@dataclass(frozen=True)
class Program:
    """The ML program of a package, or that of one model of a pipeline."""

    place: str
    description: Any
    functions: tuple[Function, ...]

    @property
    def operations(self) -> Iterator[Operation]:
        for function in self.functions:
            yield from function.body.walk()

    @cached_property
    def constants(self) -> dict[str, Value]:
        """Return the values that stand in the program as they are, by name."""
        written = {op.outputs[0][0]: op.inputs["val"][0] for op in self.operations if op.type == "const"}
        return {name: value for name, value in written.items() if isinstance(value, Value)}

    @cached_property
    def readers(self) -> dict[str, list[Operation]]:
        """Return the ops that take each value, by its name."""
        found: dict[str, list[Operation]] = {}
        for op in self.operations:
            for arguments in op.inputs.values():
                for name in arguments:
                    if isinstance(name, str):
                        found.setdefault(name, []).append(op)
        return found

    def tensor(self, op: Operation, parameter: str) -> TensorType | None:
        """Return the type of a constant tensor that an op is given, in place or by name."""
        value = self._constant(op, parameter)
        return value.type if value and isinstance(value.type, TensorType) else None

    def numbers(self, op: Operation, parameter: str) -> np.ndarray | None:
        """Return the values of a constant tensor that an op is given, in place or by name."""
        value = self._constant(op, parameter)
        return loaded.numpy() if value and isinstance(loaded := value.load(), torch.Tensor) else None

    def _constant(self, op: Operation, parameter: str) -> Value | None:
        argument = next(iter(op.inputs.get(parameter, ())), "")
        return argument if isinstance(argument, Value) else self.constants.get(argument)


@dataclass(frozen=True)
class Contents:
    path: Path
    description: Any
    programs: tuple[Program, ...]
    pipeline: bool

    @property
    def functions(self) -> Iterator[tuple[str, Function]]:
        """Every function of the programs, with its place for messages."""
        for program in self.programs:
            yield from ((f"{program.place}function `{function.name}`", function) for function in program.functions)


def read(path: Path) -> Contents:
    package = Package(path)
    spec = package.spec()
    pipeline = spec.WhichOneof("Type") == "pipeline"
    models = list(spec.pipeline.models) if pipeline else [spec]
    programs = []
    for index, model in enumerate(models):
        if model.WhichOneof("Type") != "mlProgram":
            raise ModelError(f"{path}: model {index} is of type {model.WhichOneof('Type')}, not an ML program")
        place = f"model {index} of the pipeline, " if pipeline else ""
        functions = read_functions(model.mlProgram, package)
        programs.append(Program(place, model.description, tuple(functions.values())))
    return Contents(path, spec.description, tuple(programs), pipeline)


def judged(output: str, gate: str, faults: Sequence[str], mend: str, held: str) -> Finding:
    if not faults:
        return Finding(output, gate, True, message=held)
    more = f"; and {len(faults) - MOST} more" if len(faults) > MOST else ""
    return Finding(output, gate, False, message=f"{'; '.join(faults[:MOST])}{more}. Mend: {mend}")


def differences(
    kind: str, declared: Mapping[str, T], found: Mapping[str, F], fits: Callable[[T, F], bool] = eq
) -> Iterator[str]:
    """Yield each input or output (`kind`) that is missing, is otherwise than declared, or is not declared."""
    for name, wanted in declared.items():
        if name not in found:
            yield f"{kind} `{name}`, declared as {wanted}, is missing"
        elif not fits(wanted, found[name]):
            yield f"{kind} `{name}` is {found[name]}, declared is {wanted}"
    yield from (f"{kind} `{name}`, {held}, is not declared" for name, held in found.items() if name not in declared)
