"""Gates on the contents of a package, whatever it computes.

What it takes, gives and holds is what the stage declares; each input is read, and none is an output. The models of a
pipeline are the artifacts of its parts, each as it is, in their order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from torch import nn

from milrun.features import ArrayFeature, Feature, read_features
from milrun.program import Argument, Block, Function, StateType, TensorType, Type
from parity.build.artifacts import Artifact
from parity.declarations import Dim, Stage, Tensor, Variant
from parity.judge import compression
from parity.judge.contents import Contents, Program, differences, judged, read
from parity.verdict import Finding

INTERFACE, MANIFEST, COMPRESSION = "interface", "manifest", "compression"
GATES = ("alias", "unread", MANIFEST, COMPRESSION, "rounding", "hazard", "parts", "contract", "placement")
Text = list[tuple[str, str]]

MEND = "is it the package of another stage or variant? Build it again, or declare what it takes and gives"
OTHER_MEND = "put each bucket's package under its own name; the app picks a package by the bucket that it asks for"
ALIAS_MEND = "leave the output out, for the host has the value; x + 0 and x * 1 are folded away and help nothing"
UNREAD_MEND = "let the graph use the input, or declare a stage without it; a converter keeps inputs that it folded away"
PARTS_MEND = "build the pipeline again of the artifacts that its parts have now"
WRITES = "write_state"
STATE = "float16"
"""Core ML's states hold nothing else."""


def findings(
    package: Path,
    stage: Stage,
    variant: Variant,
    parts: Sequence[Artifact] = (),
    siblings: Sequence[Stage] = (),
    module: Callable[[], nn.Module] | None = None,
) -> Iterator[Finding]:
    """Yield the finding of each gate.

    Args:
        package: The package.
        stage: The stage, or that of one bucket.
        variant: The variant of the package.
        parts: The artifacts that a pipeline has to be made of, in their order.
        siblings: The stages of all buckets. A package that has the sizes of another of them is named as its package.
        module: Makes the traceable module of the stage, of whose weights those in groups are the rounded form.
    """
    contents = read(package)
    yield _alias(contents)
    yield _unread(contents)
    yield _manifest(contents, stage, variant, siblings)
    yield compression.gate(contents, variant, [part.variant for part in parts])
    yield compression.on_units(contents, stage.units(variant))
    if variant.group and module:
        originals = {name: value.detach().numpy() for name, value in module().state_dict().items()}
        yield compression.rounding(compression.in_groups(contents), originals)
    if stage.parts or contents.pipeline:
        yield _composition(contents, parts)


@dataclass(frozen=True)
class Described:
    """An input, output or state as a package describes it.

    Attributes:
        feature: The description, with a range for each size that it knows.
        given: The type in the program, of an array whose description knows no sizes. A run shows those that the program
            does not know either.
    """

    feature: Feature
    given: TensorType | None = None

    def __str__(self) -> str:
        if self.given is None or not isinstance(self.feature, ArrayFeature):
            return str(self.feature)
        return (
            f"{self.feature.dtype} ({', '.join('?' if size is None else str(size) for size in self.given.shape or ())})"
        )


def _manifest(contents: Contents, stage: Stage, variant: Variant, siblings: Sequence[Stage]) -> Finding:
    """Judge the interface of a package by the stage."""
    faults = _faults(contents, stage, variant)
    for one in siblings if faults else ():
        if one.bucket != stage.bucket and not _faults(contents, one, variant):
            said = f"it is the package of the bucket of {one.bucket}, in the place of that of {stage.bucket}"
            return judged(INTERFACE, MANIFEST, [said, *faults], OTHER_MEND, "")
    held = len(stage.held(variant))
    told = f"{len(stage.inputs) - held} in, {len(stage.outputs) - held} out, as declared"
    return judged(INTERFACE, MANIFEST, faults, MEND, told)


def _faults(contents: Contents, stage: Stage, variant: Variant) -> list[str]:
    held = stage.held(variant)
    inputs = {name: tensor for name, tensor in stage.inputs.items() if name not in held.values()}
    outputs = {name: tensor for name, tensor in stage.outputs.items() if name not in held}
    states = {name: stage.inputs[name] for name in held.values()}
    types = {name: type for _, function in contents.functions for name, type in _given(function)}
    place, description = str(contents.path), contents.description
    faults: list[str] = []
    for kind, tensors, messages, given in (
        ("input", inputs, description.input, {}),
        ("output", outputs, description.output, types),
        ("state", states, description.state, {}),
    ):
        found = {name: _described(one, given.get(name)) for name, one in read_features(messages, place).items()}
        wanted = {
            name: _feature(name, tensor, STATE if kind == "state" else tensor.dtype_in(variant))
            for name, tensor in tensors.items()
        }
        faults += differences(kind, wanted, found, _fits)
    return sorted(faults, key=lambda fault: fault.endswith("is not declared"))  # a message lists the first ones


def _given(function: Function) -> Iterator[tuple[str, Type]]:
    for op in function.body.operations:
        yield from ((name, type) for name, type in op.outputs if name in function.body.outputs)


def _described(feature: Feature, given: Type | None) -> Described:
    if not isinstance(feature, ArrayFeature):
        return Described(feature)
    if feature.shape or feature.ranges or feature.enumerated:
        return Described(replace(feature, ranges=feature.ranges or tuple((size, size) for size in feature.shape)))
    return Described(feature, given if isinstance(given, TensorType) else None)


def _feature(name: str, tensor: Tensor, dtype: str) -> ArrayFeature:
    ranges = tuple(
        (size.at(size.low), size.at(size.high)) if isinstance(size, Dim) else (size, size) for size in tensor.shape
    )
    enumerated = tuple(
        tensor.sizes({size.name: bucket}) for size in tensor.shape if isinstance(size, Dim) for bucket in size.buckets
    )
    return ArrayFeature(name, np.dtype(dtype), tuple(low for low, _ in ranges), ranges, enumerated or None)


def _fits(wanted: ArrayFeature, found: Described) -> bool:
    feature = found.feature
    if not isinstance(feature, ArrayFeature) or feature.dtype != wanted.dtype:
        return False
    if not feature.ranges and not feature.enumerated:
        sizes, ranges = found.given.shape if found.given else None, wanted.ranges or ()
        return sizes is None or (
            len(sizes) == len(ranges)
            and all(size is None or (size, size) == declared for size, declared in zip(sizes, ranges, strict=True))
        )
    if wanted.enumerated or feature.enumerated:
        return sorted(feature.enumerated or ()) == sorted(wanted.enumerated or ())
    return feature.ranges == wanted.ranges


def _alias(contents: Contents) -> Finding:
    """Refuse inputs of a graph that are handed out as outputs: such an alias crashes BNNS."""
    faults = [f"{place}: {fault}" for place, function in contents.functions for fault in _aliases(function)]
    if contents.pipeline:
        given = {feature.name for feature in contents.description.output}
        taken = [feature.name for feature in contents.description.input]
        faults += [f"the pipeline's input `{name}` is an output of it as well" for name in taken if name in given]
    return judged(INTERFACE, "alias", faults, ALIAS_MEND, "no input is an output")


def _aliases(function: Function) -> Iterator[str]:
    origin = {name: name for name, type in function.inputs if not isinstance(type, StateType)}
    for op in function.body.operations:
        source = op.inputs["x"][0] if op.type == "identity" else None
        if isinstance(source, str) and source in origin:
            origin[op.outputs[0][0]] = origin[source]
    for name in function.body.outputs:
        if name in origin:
            through = "" if origin[name] == name else ", through an identity"
            yield f"output `{name}` is the input `{origin[name]}` itself{through}"


def _unread(contents: Contents) -> Finding:
    """Refuse inputs and states that no output of a graph depends on: their values change nothing."""
    faults = []
    for place, function in contents.functions:
        alive = _alive(function.body, set())
        unread = [(name, type) for name, type in function.inputs if name not in alive]
        kinds = ((name, "state" if isinstance(type, StateType) else "input") for name, type in unread)
        faults += [f"{place}: no output depends on the {kind} `{name}`" for name, kind in kinds]
    return judged(INTERFACE, "unread", faults, UNREAD_MEND, "every input is read")


def _alive(block: Block, around: set[str]) -> set[str]:
    """Return the names that the outputs of a block, or the states that it writes, are made of."""
    alive = around | set(block.outputs)
    for op in reversed(block.operations):
        if op.type == WRITES or any(name in alive for name, _ in op.outputs):
            taken = {"data": op.inputs["data"]} if op.type == WRITES else op.inputs
            alive.update(name for given in taken.values() for name in given if isinstance(name, str))
            for inner in op.blocks:
                alive = _alive(inner, alive)
    return alive


def _composition(contents: Contents, parts: Sequence[Artifact]) -> Finding:
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
