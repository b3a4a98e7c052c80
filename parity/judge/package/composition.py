"""The models of a pipeline: they have to be the artifacts of its parts, each as it is, in their order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import zip_longest

import torch

from milrun.program import Argument, Block
from parity.build.artifacts import Artifact
from parity.judge.package.contents import Contents, Program, judged, read
from parity.verdict import Finding

MEND = "build the pipeline again of the artifacts that its parts have now"
Text = list[tuple[str, str]]


def gate(contents: Contents, parts: Sequence[Artifact]) -> Finding:
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
    return judged("pipeline", "parts", faults, MEND, f"{', then '.join(names)}, as they are")


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
