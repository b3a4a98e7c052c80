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
from parity.blame.crossing import Failing
from parity.blame.likeness import likeness, relative_l2
from parity.blame.package import graph, precision, weights
from parity.blame.package.failure import Divergence, Failure
from parity.blame.package.graph import COUNTS, Visit
from parity.blame.package.tracing import NodeFailed, TracedGraph, frozen, spelled
from parity.build.convert import call
from parity.compare.outputs import runtime_dtypes
from parity.declarations import Arrays, Stage
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


def blame_artifact(failure: Failure) -> Blame:
    """Return where the failure of a package begins. An error of the search itself is logged, and never raised."""
    return failure.crossing.searched(failure.stage.name, lambda: _search(failure))


def blame_method(stage: Stage, by_module: Arrays, found: Failing) -> Blame:
    """Return whether a method of ExecuTorch is wrong like its traceable module on the same inputs, or by its making.

    The crossing has the outputs of the method, `by_module` those of the module.
    """
    output, looks_like = found.output, found.looks or "unknown"
    if output not in found.candidate or output not in by_module:
        return Blame(stage.name, output, looks_like, detail="the method does not give the output")
    own = relative_l2(found.reference[output], by_module[output])
    if own > REPRODUCED * relative_l2(found.reference[output], found.candidate[output]):
        detail = f"the traceable module is off as well, by a relative L2 of {own:.3g}: the method computes what it does"
        return Blame(stage.name, output, looks_like, fault="module", detail=detail)
    detail = "the traceable module is right on the same inputs: export, lowering or quantization is to blame"
    return Blame(stage.name, output, looks_like, fault="graph", detail=detail)


def _blame(failure: Failure, fault: Fault, found: Divergence | None = None, said: Sequence[str] = ()) -> Blame:
    """Return the finding of a search as a blame, after sentences to begin with.

    The kind of error is that of the first value that diverges, unless the output's says more.
    """
    stage, output, of_output = failure.stage.name, failure.crossing.output, failure.crossing.looks
    if found is None:
        return Blame(stage, output, of_output or "unknown", fault=fault, detail="; ".join(said))
    here = None
    if found.reference is not None and found.candidate is not None and found.reference.numel():
        here = likeness(found.reference.numpy(), found.candidate.numpy())
    operation = failure.program.makes(found.value)
    op_type = operation.type if operation else ""
    known = hazards.known(fault, [str(here or ""), of_output], op_type, found)
    return Blame(
        stage,
        output,
        str(here) if here and here.tells else of_output or str(here or "unknown"),
        value=found.value,
        op_type=op_type,
        op_index=failure.program.position(found.value),
        op_count=len(failure.program.operations) if operation else 0,
        source=found.source,
        fault=fault,
        detail="; ".join([*said, *found.said, *known]),
    )


def _search(failure: Failure) -> Blame:
    if broken := _broken(failure):
        return _of_interface(failure, *broken)
    if not failure.error:
        return _blame(failure, "unknown", said=["its values are the golden's: no value diverges"])
    of_module = failure.distance(failure.crossing.reference, failure.module_gives)
    of_package = failure.distance(failure.module_gives, failure.crossing.candidate)
    if of_module >= MOST * failure.error and of_package <= MOST * failure.error and not failure.module_holds():
        said = (
            f"the traceable module is {of_module:.2g} from the golden, the package {of_package:.2g} from it: see hop 1"
        )
        return _blame(failure, "module", said=[said])
    failure.model(failure.numerics)
    try:
        return _of_package(failure)
    except (ModelError, NodeFailed) as reason:
        LOG.warning("%s of %s stops on these inputs", failure.crossing.output, failure.stage.name, exc_info=reason)
        return _of_tracing(failure, str(reason).partition("\n")[0])


def _broken(failure: Failure) -> tuple[str, str] | None:
    """Return how an output breaks the declared interface, and a sentence about it, or None."""
    output, candidate, reference = failure.crossing.output, failure.crossing.candidate, failure.crossing.reference
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
    wanted = runtime_dtypes(failure.stage, failure.variant, failure.numerics).get(output, actual.dtype)
    return None if actual.dtype == wanted else (f"dtype {actual.dtype} instead of {wanted}", "")


def _of_interface(failure: Failure, looks_like: str, said: str) -> Blame:
    stage, output = failure.stage, failure.crossing.output
    node = failure.graph.makes(failure.result) if output in stage.outputs else None
    if looks_like.startswith("shape") and (found := _frozen(failure)):
        return replace(found, looks_like=looks_like)
    return Blame(stage.name, output, looks_like, source=node.place if node else "", fault="graph", detail=said)


def _of_package(failure: Failure) -> Blame:
    own = failure.distance(failure.crossing.reference, failure.package_gives(failure.numerics))
    if math.isfinite(own) and own <= REPRODUCED * failure.error:
        said = (
            f"milrun computes the same package right in numerics {failure.numerics} (relative L2 {own:.2g}): the "
            "runtime or the device is to blame"
        )
        return _blame(failure, "unknown", said=[said])
    if failure.program.compressed and (found := weights.find(failure)):
        return _blame(failure, "weights", found)
    if failure.numerics != "fp32":
        rounding = failure.distance(failure.module_gives, failure.module_gives_on_widened)
        if rounding >= MOST * failure.error:
            again = call(failure.module, failure.stage, failure.crossing.inputs)
            if failure.distance(failure.module_gives, again):
                return _of_tracing(failure, "the module gives something else at every call")
            return _of_inputs(failure)
        if math.isfinite(failure.in_fp32) and failure.in_fp32 <= MOST * failure.error:
            return _of_precision(failure)
    return _of_graph(failure)


def _of_inputs(failure: Failure) -> Blame:
    """Blame the input whose rounding to half precision alone makes the error."""
    inputs, errors = failure.crossing.inputs, dict[str, float]()
    for name, value in failure.widened.items():
        gives = call(failure.module, failure.stage, {**inputs, name: value})
        errors[name] = failure.distance(failure.module_gives, gives)
    name = max(errors, key=errors.__getitem__)
    said = f"`{name}` in half precision is enough: it moves the module itself, all in fp32, by {errors[name]:.2g}"
    given, got = (torch.as_tensor(arrays[name]) for arrays in (inputs, failure.widened))
    return _blame(failure, "precision", Divergence(value=name, reference=given, candidate=got), [said])


def _of_precision(failure: Failure) -> Blame:
    """Blame the op of the package that rounds too much, by its values in two numerics."""

    def walk(visit: Visit) -> None:
        exact, rounded = (failure.model(numerics).trace(failure.rounded) for numerics in ("fp32", failure.numerics))
        for one, other in zip(exact, rounded, strict=True):
            if isinstance(one.tensor, Tensor) and isinstance(other.tensor, Tensor):
                visit(one.name, one.tensor, other.tensor)

    return _of_walk(failure, walk, "precision")


def _of_constants(failure: Failure) -> Blame:
    """Blame the rounding of constants: each op of the package is right except for that, and that alone is too much."""
    matched = graph.matched_values(failure)

    def walk(visit: Visit) -> None:
        graph.beside(failure, failure.numerics, matched, visit)

    return _of_walk(failure, walk, "constants")


def _of_walk(failure: Failure, walk: precision.Walk, fault: Fault) -> Blame:
    found = precision.find(failure.program, walk, failure.crossing.output)
    if found is None:
        return _blame(failure, fault, said=["no value stands out"])
    if node := failure.node_near(found.value):
        found = replace(found, source=node.place, nodes=(node.op,))
    return _blame(failure, fault, found)


def _of_graph(failure: Failure) -> Blame:
    enough = MOST * failure.in_fp32
    found, stopped = graph.find(failure)
    if found is None or found.own < enough:
        # The package is true to the traced graph, or nearly so: is that true to the module?
        differs = failure.distance(failure.module_gives_on_widened, failure.trace_gives)
        if differs >= enough:
            return _of_tracing(failure, f"the traced graph is itself {differs:.2g} from the module that was traced")
    if found is None:
        if failure.halves and not stopped:
            rounded = failure.module_gives_of_rounded_weights
            if failure.distance(failure.module_gives_on_widened, rounded) >= enough:
                return _of_constants(failure)
        return _blame(failure, "graph", said=[stopped or "no value that package and module both name diverges"])
    by_rounding = max(ROUNDED, min(ROUNDED_AND_SCALED, COUNTS * failure.in_fp32))
    if failure.halves and not found.traits and found.own <= by_rounding:
        return _of_constants(failure)
    may_have_others = "other weights" in found.traits or not weights.GATES.keys().isdisjoint(found.spelled)
    if may_have_others and not failure.program.compressed and (other := weights.find(failure)):
        return _blame(failure, "weights", other)
    return _blame(failure, "graph", found, [stopped] if stopped else [])


def _of_tracing(failure: Failure, said: str) -> Blame:
    """Blame the traced graph: it is not what the module computes, or can't be computed on these inputs."""
    return _frozen(failure, said) or _blame(failure, "graph", said=[said])


def _frozen(failure: Failure, *said: str) -> Blame | None:
    """Blame a constant that tracing made, if one has another number when the module is traced on these inputs."""
    differing = frozen(failure.graph, TracedGraph(failure.module, failure.tensors))
    if not differing:
        return None
    node, tells = differing
    value = graph.matched_values(failure).get(node.name, spelled(node.name))
    traits = frozenset({"frozen"})
    found = Divergence(value=value, nodes=(node.op,), source=node.place, said=(tells,), traits=traits)
    return _blame(failure, "graph", found, said)
