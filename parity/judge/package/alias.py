"""Inputs of a graph that are handed out as outputs: such an alias crashes BNNS."""

from __future__ import annotations

from collections.abc import Iterator

from milrun.program import Function, StateType
from parity.judge.package.contents import Contents, judged
from parity.verdict import Finding

MEND = "leave the output out, for the host has the value; x + 0 and x * 1 are folded away and help nothing"


def gate(contents: Contents) -> Finding:
    faults = [
        f"{program.place}function `{function.name}`: {fault}"
        for program in contents.programs
        for function in program.functions
        for fault in _of_function(function)
    ]
    if contents.pipeline:
        given = {feature.name for feature in contents.description.output}
        taken = [feature.name for feature in contents.description.input]
        faults += [f"the pipeline's input `{name}` is an output of it as well" for name in taken if name in given]
    return judged("interface", "alias", faults, MEND, "no input is an output")


def _of_function(function: Function) -> Iterator[str]:
    origin = {name: name for name, type in function.inputs if not isinstance(type, StateType)}
    for op in function.body.operations:
        source = op.inputs["x"][0] if op.type == "identity" else None
        if isinstance(source, str) and source in origin:
            origin[op.outputs[0][0]] = origin[source]
    for name in function.body.outputs:
        if name in origin:
            through = "" if origin[name] == name else ", through an identity"
            yield f"output `{name}` is the input `{origin[name]}` itself{through}"
