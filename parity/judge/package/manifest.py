"""The interface of a package: what it takes, gives and holds is what the stage declares, and no input is an output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from milrun.features import ArrayFeature, Feature, read_features
from milrun.program import Block, Function, StateType, TensorType, Type
from parity.declarations import Dim, Stage, Tensor, Variant
from parity.judge.package.contents import Contents, judged
from parity.verdict import Finding

MEND = "is it the package of another stage or variant? Build it again, or declare what it takes and gives"
OTHER_MEND = "put each bucket's package under its own name; the app picks a package by the bucket that it asks for"
ALIAS_MEND = "leave the output out, for the host has the value; x + 0 and x * 1 are folded away and help nothing"
UNREAD_MEND = "let the graph use the input, or declare a stage without it; a converter keeps inputs that it folded away"
WRITES = "write_state"
STATE = "float16"
"""Core ML's states hold nothing else."""

Declared = Mapping[str, tuple[Tensor, str]]


def gate(contents: Contents, stage: Stage, variant: Variant, siblings: Sequence[Stage] = ()) -> Finding:
    """Judge the interface of a package by the stage.

    Args:
        contents: The package.
        stage: The stage, or that of one bucket.
        variant: The variant of the package.
        siblings: The stages of all buckets. A package that has the sizes of another of them is named as its package.
    """
    faults = _faults(contents, stage, variant)
    for one in siblings if faults else ():
        if one.bucket != stage.bucket and not _faults(contents, one, variant):
            said = f"it is the package of the bucket of {one.bucket}, in the place of that of {stage.bucket}"
            return judged("interface", "manifest", [said, *faults], OTHER_MEND, "")
    held = len(stage.held(variant))
    told = f"{len(stage.inputs) - held} in, {len(stage.outputs) - held} out, as declared"
    return judged("interface", "manifest", faults, MEND, told)


def _faults(contents: Contents, stage: Stage, variant: Variant) -> list[str]:
    held = stage.held(variant)
    inputs = {name: tensor for name, tensor in stage.inputs.items() if name not in held.values()}
    outputs = {name: tensor for name, tensor in stage.outputs.items() if name not in held}
    states = {name: (stage.inputs[name], STATE) for name in held.values()}
    place, description = str(contents.path), contents.description
    compared: tuple[tuple[str, Declared, Mapping[str, Feature], Mapping[str, Type]], ...] = (
        ("input", _typed(inputs, variant), read_features(description.input, place), {}),
        ("output", _typed(outputs, variant), read_features(description.output, place), _given(contents)),
        ("state", states, read_features(description.state, place), {}),
    )
    faults = [fault for one in compared for fault in _wrong(*one)]
    return faults + [fault for kind, declared, found, _ in compared for fault in _more(kind, declared, found)]


def _typed(tensors: Mapping[str, Tensor], variant: Variant) -> Declared:
    return {name: (tensor, tensor.dtype_in(variant)) for name, tensor in tensors.items()}


def _given(contents: Contents) -> dict[str, Type]:
    """Return the types of the outputs of all programs: a description leaves out sizes that it does not know.

    A run shows the sizes that the program does not know either.
    """
    return {
        name: type
        for program in contents.programs
        for function in program.functions
        for op in function.body.operations
        for name, type in op.outputs
        if name in function.body.outputs
    }


def _wrong(kind: str, declared: Declared, found: Mapping[str, Feature], given: Mapping[str, Type]) -> Iterator[str]:
    for name, (tensor, dtype) in declared.items():
        wanted = _feature(name, tensor, dtype)
        if name not in found:
            yield f"{kind} `{name}`, declared as {wanted}, is missing"
        elif not _fits(wanted, found[name], given.get(name)):
            yield f"{kind} `{name}` is {_told(found[name], given.get(name))}, declared is {wanted}"


def _more(kind: str, declared: Declared, found: Mapping[str, Feature]) -> Iterator[str]:
    yield from (
        f"{kind} `{name}`, {_told(found[name], None)}, is not declared" for name in found if name not in declared
    )


def _feature(name: str, tensor: Tensor, dtype: str) -> ArrayFeature:
    ranges = tuple(
        (size.at(size.low), size.at(size.high)) if isinstance(size, Dim) else (size, size) for size in tensor.shape
    )
    enumerated = tuple(
        tensor.sizes({size.name: bucket}) for size in tensor.shape if isinstance(size, Dim) for bucket in size.buckets
    )
    return ArrayFeature(name, np.dtype(dtype), tuple(low for low, _ in ranges), ranges, enumerated or None)


def _fits(wanted: ArrayFeature, found: Feature, given: Type | None) -> bool:
    if not isinstance(found, ArrayFeature) or found.dtype != wanted.dtype:
        return False
    if _says_a_shape(found) and (wanted.enumerated or found.enumerated):
        return sorted(found.enumerated or ()) == sorted(wanted.enumerated or ())
    if _says_a_shape(found):
        return _ranged(found).ranges == wanted.ranges
    sizes, ranges = given.shape if isinstance(given, TensorType) else None, wanted.ranges or ()
    return sizes is None or (
        len(sizes) == len(ranges)
        and all(size is None or (size, size) == declared for size, declared in zip(sizes, ranges, strict=True))
    )


def _told(found: Feature, given: Type | None) -> str:
    if isinstance(found, ArrayFeature) and not _says_a_shape(found) and isinstance(given, TensorType):
        sizes = ("?" if size is None else str(size) for size in given.shape or ())
        return f"{found.dtype} ({', '.join(sizes)})"
    return str(_ranged(found) if isinstance(found, ArrayFeature) else found)


def _says_a_shape(feature: ArrayFeature) -> bool:
    return bool(feature.shape or feature.ranges or feature.enumerated)


def _ranged(feature: ArrayFeature) -> ArrayFeature:
    return replace(feature, ranges=feature.ranges or tuple((size, size) for size in feature.shape))


def alias(contents: Contents) -> Finding:
    """Refuse inputs of a graph that are handed out as outputs: such an alias crashes BNNS."""
    faults = [
        f"{program.place}function `{function.name}`: {fault}"
        for program in contents.programs
        for function in program.functions
        for fault in _aliases(function)
    ]
    if contents.pipeline:
        given = {feature.name for feature in contents.description.output}
        taken = [feature.name for feature in contents.description.input]
        faults += [f"the pipeline's input `{name}` is an output of it as well" for name in taken if name in given]
    return judged("interface", "alias", faults, ALIAS_MEND, "no input is an output")


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


def unread(contents: Contents) -> Finding:
    """Refuse inputs and states that no output of a graph depends on: their values change nothing."""
    faults = [
        f"{program.place}function `{function.name}`: no output depends on the {kind} `{name}`"
        for program in contents.programs
        for function in program.functions
        for kind, name in _unread(function)
    ]
    return judged("interface", "unread", faults, UNREAD_MEND, "every input is read")


def _unread(function: Function) -> Iterator[tuple[str, str]]:
    alive = _alive(function.body, set())
    for name, type in function.inputs:
        if name not in alive:
            yield "state" if isinstance(type, StateType) else "input", name


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
