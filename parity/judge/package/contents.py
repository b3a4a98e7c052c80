"""A package as the gates see it: what it describes, and its programs, of which a pipeline has several.

The models of a pipeline have to be the artifacts of its parts, each as it is, in their order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from operator import eq
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from milrun import ModelError
from milrun.package import Package
from milrun.program import Argument, Block, Function, Operation, TensorType, Value, read_functions
from parity.build.artifacts import Artifact
from parity.verdict import Finding

T = TypeVar("T")
F = TypeVar("F")
PARTS_MEND = "build the pipeline again of the artifacts that its parts have now"
Text = list[tuple[str, str]]
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


def composition(contents: Contents, parts: Sequence[Artifact]) -> Finding:
    names = [f"{part.stage.name} {part.variant.name}" for part in parts]
    faults = []
    if not contents.pipeline or len(contents.programs) != len(parts):
        kind = f"a pipeline of {len(contents.programs)} models" if contents.pipeline else "no pipeline"
        faults.append(f"it is {kind}, declared are {len(parts) or 'no'} parts{': ' if names else ''}{', '.join(names)}")
    else:
        wanted = [_text(read(part.package).programs[0]) for part in parts]
        found = [_text(program) for program in contents.programs]
        for index, (own, expected) in enumerate(zip(found, wanted, strict=True)):
            if own != expected:
                told = _told(contents.programs[index])
                other = next((names[i] for i, text in enumerate(wanted) if text == own), "")
                said = f", but {other}" if other else f": {told}{_difference(own, expected)}"
                faults.append(f"model {index} of the pipeline is not {names[index]}{said}")
    return judged("pipeline", "parts", faults, PARTS_MEND, f"{', then '.join(names)}, as they are")


def _told(program: Program) -> str:
    facts = program.description.metadata.userDefined
    return f"it calls itself {facts['parity.stage']} {facts['parity.variant']}, and " if "parity.stage" in facts else ""


def _difference(found: Text, wanted: Text) -> str:
    for one, other in zip_longest(found, wanted):
        if one != other:
            return f"{(other or one)[0]} is the first that differs"
    return ""


def _text(program: Program) -> Text:
    """Return each function and op with its types, arguments, and values of constants, wherever they are stored."""
    found = []
    for function in program.functions:
        inputs = ", ".join(f"{name}: {type}" for name, type in function.inputs)
        found.append((f"function `{function.name}`", f"{function.opset} ({inputs})"))
        found += _of_block(function.body)
    return found


def _of_block(block: Block) -> Iterator[tuple[str, str]]:
    for op in block.operations:
        inputs = {key: [_argument(argument) for argument in op.inputs[key]] for key in sorted(op.inputs)}
        outputs = ", ".join(f"{name}: {type}" for name, type in op.outputs)
        yield f"op `{op.name}` ({op.type})", f"{inputs} -> {outputs}"
        for inner in op.blocks:
            yield "block", ", ".join(f"{name}: {type}" for name, type in inner.inputs)
            yield from _of_block(inner)
    yield "outputs", ", ".join(block.outputs)


def _argument(argument: Argument) -> str:
    if isinstance(argument, str):
        return argument
    value = argument.load()
    if isinstance(value, torch.Tensor):
        raw = value.reshape(-1).contiguous().view(torch.uint8).numpy()
        return f"{argument.type} {hashlib.sha256(raw.data).hexdigest()}"
    return f"{argument.type} {value!r}"
