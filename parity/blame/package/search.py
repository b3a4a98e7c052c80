"""Hop 2: an artifact against the module that it was made from."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from milrun import ModelError
from parity.blame import hazards
from parity.blame.failure import Failure
from parity.blame.graph import NodeFailed, TracedGraph, frozen, spelled
from parity.blame.likeness import likeness, relative_l2
from parity.blame.package import divergence, precision, weights
from parity.blame.package.divergence import COUNTS, Visit
from parity.blame.package.runs import Divergence, Runs
from parity.build.convert import call
from parity.compare.modes import runtime_dtypes
from parity.declarations import Arrays
from parity.verdict import Blame

Fault = Literal["graph", "precision", "constants", "weights", "module", "unknown"]
LOG = logging.getLogger(__name__)
MOST = 0.5
"""The share of an error from which its cause is sought where that share was measured."""
REPRODUCED = 0.1
"""The share of the error under which milrun computes the package right, so that the runtime is to blame; and under
which the module counts as right beside a method of ExecuTorch."""
SAME = 0.05
"""The relative L2 under which an unexpected output is the missing one under another name."""
ROUNDED, ROUNDED_AND_SCALED = 1e-3, 3e-3
"""The error that constants of half precision make in an op, and in one that also magnifies it."""


def blame_method(failure: Failure, by_module: Arrays) -> Blame:
    """Return whether a method of ExecuTorch is wrong like its traceable module on the same inputs, or by its making.

    Args:
        failure: The outputs of the method, beside upstream's.
        by_module: The outputs of the module.
    """
    output = failure.output
    if output not in failure.candidate or output not in by_module:
        return failure.blame(detail="the method does not give the output")
    own = relative_l2(failure.reference[output], by_module[output])
    if own > REPRODUCED * failure.error:
        detail = f"the traceable module is off as well, by a relative L2 of {own:.3g}: the method computes what it does"
        return failure.blame(fault="module", detail=detail)
    detail = "the traceable module is right on the same inputs: export, lowering or quantization is to blame"
    return failure.blame(fault="graph", detail=detail)


def blame_package(runs: Runs) -> Blame:
    """Return where the failure of a package begins."""
    if broken := _broken(runs):
        return _of_interface(runs, *broken)
    failure, error = runs.failure, runs.failure.error
    if not error:
        return failure.blame(detail="its values are the golden's: no value diverges")
    of_module = runs.distance(failure.reference, runs.module_gives)
    of_package = runs.distance(runs.module_gives, failure.candidate)
    if of_module >= MOST * error and of_package <= MOST * error and not runs.module_holds():
        said = (
            f"the traceable module is {of_module:.2g} from the golden, the package {of_package:.2g} from it: see hop 1"
        )
        return failure.blame(fault="module", detail=said)
    runs.model(runs.numerics)
    try:
        return _of_package(runs)
    except (ModelError, NodeFailed) as reason:
        LOG.warning("%s of %s stops on these inputs", failure.output, failure.stage.name, exc_info=reason)
        return _of_tracing(runs, str(reason).partition("\n")[0])


def _of_value(runs: Runs, fault: Fault, found: Divergence, said: Sequence[str] = ()) -> Blame:
    """Return a blame of the first value that diverges, after sentences to begin with.

    The kind of error is that of this value, unless the output's says more.
    """
    here, of_output = None, runs.failure.looks
    if found.reference is not None and found.candidate is not None and found.reference.numel():
        here = likeness(found.reference.numpy(), found.candidate.numpy())
    operation = runs.program.makes(found.value)
    op_type = operation.type if operation else ""
    known = hazards.known(fault, [str(here or ""), of_output], op_type, found)
    return runs.failure.blame(
        str(here) if here and (here.tells or not of_output) else "",
        value=found.value,
        op_type=op_type,
        op_index=runs.program.position(found.value),
        op_count=len(runs.program.operations) if operation else 0,
        source=found.source,
        fault=fault,
        detail="; ".join([*said, *found.said, *known]),
    )


def _broken(runs: Runs) -> tuple[str, str] | None:
    """Return how an output breaks the declared interface, and a sentence about it, or None."""
    output, candidate, reference = runs.failure.output, runs.failure.candidate, runs.failure.reference
    if output not in candidate:
        gives = f"the package gives {', '.join(f'`{name}`' for name in candidate) or 'nothing'}"
        if output in reference:
            for name, value in candidate.items():
                if name not in reference and relative_l2(reference[output], value) < SAME:
                    return f"renamed to {name}", f"{gives}; `{name}` has the values of `{output}`"
        return "missing", gives
    if output not in reference:
        return "unexpected", f"the package gives `{output}`, which the stage does not declare"
    actual, expected = candidate[output], reference[output]
    if actual.shape != expected.shape:
        return f"shape {actual.shape} instead of {expected.shape}", ""
    wanted = runtime_dtypes(runs.stage, runs.variant, runs.numerics).get(output, actual.dtype)
    return None if actual.dtype == wanted else (f"dtype {actual.dtype} instead of {wanted}", "")


def _of_interface(runs: Runs, looks_like: str, said: str) -> Blame:
    node = runs.graph.makes(runs.result) if runs.failure.output in runs.stage.outputs else None
    if looks_like.startswith("shape") and (found := _frozen(runs)):
        return replace(found, looks_like=looks_like)
    return runs.failure.blame(looks_like, source=node.place if node else "", fault="graph", detail=said)


def _of_package(runs: Runs) -> Blame:
    own = runs.distance(runs.failure.reference, runs.package_gives(runs.numerics))
    if math.isfinite(own) and own <= REPRODUCED * runs.failure.error:
        said = (
            f"milrun computes the same package right in numerics {runs.numerics} (relative L2 {own:.2g}): the "
            "runtime or the device is to blame"
        )
        return runs.failure.blame(detail=said)
    if runs.program.compressed and (found := weights.find(runs)):
        return _of_value(runs, "weights", found)
    if runs.numerics != "fp32":
        rounding = runs.distance(runs.module_gives, runs.module_gives_on_widened)
        if rounding >= MOST * runs.failure.error:
            again = call(runs.module, runs.stage, runs.failure.inputs)
            if runs.distance(runs.module_gives, again):
                return _of_tracing(runs, "the module gives something else at every call")
            return _of_inputs(runs)
        if math.isfinite(runs.in_fp32) and runs.in_fp32 <= MOST * runs.failure.error:
            return _of_precision(runs)
    return _of_graph(runs)


def _of_inputs(runs: Runs) -> Blame:
    """Blame the input whose rounding to half precision alone makes the error."""
    inputs, errors = runs.failure.inputs, dict[str, float]()
    for name, value in runs.widened.items():
        gives = call(runs.module, runs.stage, {**inputs, name: value})
        errors[name] = runs.distance(runs.module_gives, gives)
    name = max(errors, key=errors.__getitem__)
    said = f"`{name}` in half precision is enough: it moves the module itself, all in fp32, by {errors[name]:.2g}"
    given, got = (torch.as_tensor(arrays[name]) for arrays in (inputs, runs.widened))
    return _of_value(runs, "precision", Divergence(value=name, reference=given, candidate=got), [said])


def _of_precision(runs: Runs) -> Blame:
    """Blame the op of the package that rounds too much, by its values in two numerics."""

    def walk(visit: Visit) -> None:
        exact, rounded = (runs.model(numerics).trace(runs.rounded) for numerics in ("fp32", runs.numerics))
        for one, other in zip(exact, rounded, strict=True):
            if isinstance(one.tensor, Tensor) and isinstance(other.tensor, Tensor):
                visit(one.name, one.tensor, other.tensor)

    return _of_walk(runs, walk, "precision")


def _of_constants(runs: Runs) -> Blame:
    """Blame the rounding of constants: each op of the package is right except for that, and that alone is too much."""
    matched = divergence.matched_values(runs)
    return _of_walk(runs, lambda visit: divergence.beside(runs, runs.numerics, matched, visit), "constants")


def _of_walk(runs: Runs, walk: precision.Walk, fault: Fault) -> Blame:
    found = precision.find(runs.program, walk, runs.failure.output)
    if found is None:
        return runs.failure.blame(fault=fault, detail="no value stands out")
    if node := runs.node_near(found.value):
        found = replace(found, source=node.place, nodes=(node.op,))
    return _of_value(runs, fault, found)


def _of_graph(runs: Runs) -> Blame:
    enough = MOST * runs.in_fp32
    found, stopped = divergence.find(runs)
    if found is None or found.own < enough:
        # The package is true to the traced graph, or nearly so: is that true to the module?
        differs = runs.distance(runs.module_gives_on_widened, runs.trace_gives)
        if differs >= enough:
            return _of_tracing(runs, f"the traced graph is itself {differs:.2g} from the module that was traced")
    if found is None:
        if runs.halves and not stopped:
            rounded = runs.module_gives_of_rounded_weights
            if runs.distance(runs.module_gives_on_widened, rounded) >= enough:
                return _of_constants(runs)
        said = stopped or "no value that package and module both name diverges"
        return runs.failure.blame(fault="graph", detail=said)
    by_rounding = max(ROUNDED, min(ROUNDED_AND_SCALED, COUNTS * runs.in_fp32))
    if runs.halves and not found.traits and found.own <= by_rounding:
        return _of_constants(runs)
    may_have_others = "other weights" in found.traits or not weights.GATES.keys().isdisjoint(found.spelled)
    if may_have_others and not runs.program.compressed and (other := weights.find(runs)):
        return _of_value(runs, "weights", other)
    return _of_value(runs, "graph", found, [stopped] if stopped else [])


def _of_tracing(runs: Runs, said: str) -> Blame:
    """Blame the traced graph: it is not what the module computes, or can't be computed on these inputs."""
    return _frozen(runs, said) or runs.failure.blame(fault="graph", detail=said)


def _frozen(runs: Runs, *said: str) -> Blame | None:
    """Blame a constant that tracing made, if one has another number when the module is traced on these inputs."""
    differing = frozen(runs.graph, TracedGraph(runs.module, runs.tensors))
    if not differing:
        return None
    node, tells = differing
    value = divergence.matched_values(runs).get(node.name, spelled(node.name))
    traits = frozenset({"frozen"})
    found = Divergence(value=value, nodes=(node.op,), source=node.place, said=(tells,), traits=traits)
    return _of_value(runs, "graph", found, said)
