"""A package as the gates see it: what it describes, and its programs, of which a pipeline has several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from milrun import ModelError
from milrun.package import Package
from milrun.program import Argument, Function, Operation, TensorType, Value, read_functions
from parity.verdict import Finding

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
    def constants(self) -> dict[str, TensorType]:
        """Return the tensors that stand in the program as they are, by name."""
        types = {name: value.type for name, value in self._values.items()}
        return {name: type for name, type in types.items() if isinstance(type, TensorType)}

    @cached_property
    def _values(self) -> dict[str, Value]:
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

    def tensor(self, arguments: Sequence[Argument]) -> TensorType | None:
        """Return the type of a constant that an op is given, in place or by name."""
        for argument in arguments:
            type = argument.type if isinstance(argument, Value) else self.constants.get(argument)
            if isinstance(type, TensorType):
                return type
        return None

    def numbers(self, arguments: Sequence[Argument]) -> np.ndarray | None:
        """Return the values of a constant tensor that an op is given, in place or by name."""
        for argument in arguments:
            value = argument if isinstance(argument, Value) else self._values.get(argument)
            if value and isinstance(loaded := value.load(), torch.Tensor):
                return loaded.numpy()
        return None


@dataclass(frozen=True)
class Contents:
    path: Path
    description: Any
    programs: tuple[Program, ...]
    pipeline: bool


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
