"""Hop 2: a package against the module that it was made from."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from milrun import ModelError
from parity.blame.package import exchange, frozen, graph, interface, precision
from parity.blame.package.divergence import Divergence
from parity.blame.package.failure import Failure
from parity.blame.package.graph import COUNTS
from parity.blame.package.lockstep import Visit, beside
from parity.blame.package.names import spelled
from parity.blame.package.tracing import NodeFailed
from parity.blame.package.weights import GATES
from parity.blame.wording import Fault, blame, searched
from parity.build.convert import call
from parity.declarations import Arrays, Stage, Variant
from parity.verdict import Blame

LOG = logging.getLogger(__name__)
MOST = 0.5
"""The share of an error from which its cause is sought where that share was measured."""
REPRODUCED = 0.1
"""The share of the error under which milrun computes the package right, so that the runtime is to blame."""
ROUNDED, ROUNDED_AND_SCALED = 1e-3, 3e-3
"""The error that constants of half precision make in an op, and in one that also magnifies it."""


def blame_artifact(
    *,
    stage: Stage,
    variant: Variant,
    package: Path,
    uncompressed: Callable[[], Path],
    module: nn.Module,
    module_holds: Callable[[], bool],
    inputs: Arrays,
    reference: Arrays,
    candidate: Arrays,
    outputs: Sequence[str],
    numerics: str,
) -> Blame:
    """Return where the failure of a package begins. An error of the search itself is logged, and never raised.

    Args:
        stage: The stage.
        variant: The variant of the package.
        package: The package.
        uncompressed: Converts the module for the same variant, without compression.
        module: The traceable module that it was made from.
        module_holds: Tells whether the module itself is within its bounds.
        inputs: The golden inputs, in fp32.
        reference: The golden outputs.
        candidate: The outputs of the package.
        outputs: The names of those that failed, the worst first.
        numerics: The numerics of the runtime.
    """

    def search(output: str) -> Blame:
        failure = Failure(
            stage=stage,
            variant=variant,
            package=package,
            uncompressed=uncompressed,
            module=module,
            inputs=inputs,
            reference=reference,
            candidate=candidate,
            output=output,
            numerics=numerics,
        )
        return _blame(failure, module_holds)

    return searched(stage.name, outputs, reference, candidate, search)


def _blame(failure: Failure, module_holds: Callable[[], bool]) -> Blame:
    broken = interface.broken(
        failure.stage, failure.variant, failure.output, failure.reference, failure.candidate, failure.numerics
    )
    if broken:
        return _of_promises(failure, broken)
    if not failure.error:
        return blame(failure, "unknown", said=["its values are the golden's: no value diverges"])
    of_module = failure.distance(failure.reference, failure.module_gives)
    of_package = failure.distance(failure.module_gives, failure.candidate)
    if of_module >= MOST * failure.error and of_package <= MOST * failure.error and not module_holds():
        said = (
            f"the traceable module is {of_module:.2g} from the golden, the package {of_package:.2g} from it: see hop 1"
        )
        return blame(failure, "module", said=[said])
    failure.model(failure.numerics)
    try:
        return _of_package(failure)
    except (ModelError, NodeFailed) as reason:
        LOG.warning("%s of %s stops on these inputs", failure.output, failure.stage.name, exc_info=reason)
        return _of_tracing(failure, str(reason).partition("\n")[0])


def _of_promises(failure: Failure, broken: interface.Broken) -> Blame:
    stage, output = failure.stage, failure.output
    node = failure.graph.makes(failure.result) if output in stage.outputs else None
    if broken.looks_like.startswith("shape"):
        found = frozen.find(failure.module, failure.graph, failure.tensors)
        if found:
            return replace(_frozen(failure, found, ""), looks_like=broken.looks_like)
    source = node.place if node else ""
    return Blame(stage.name, output, broken.looks_like, source=source, fault="graph", detail=broken.said)


def _of_package(failure: Failure) -> Blame:
    own = failure.distance(failure.reference, failure.package_gives(failure.numerics))
    if math.isfinite(own) and own <= REPRODUCED * failure.error:
        said = (
            f"milrun computes the same package right in numerics {failure.numerics} (relative L2 {own:.2g}): the "
            "runtime or the device is to blame"
        )
        return blame(failure, "unknown", said=[said])
    if exchange.compressed(failure) and (found := exchange.find(failure)):
        return blame(failure, "weights", found)
    if failure.numerics != "fp32":
        rounding = failure.distance(failure.module_gives, failure.module_gives_on_widened)
        if rounding >= MOST * failure.error:
            return (
                _of_inputs(failure)
                if failure.repeats
                else _of_tracing(failure, "the module gives something else at every call")
            )
        in_fp32 = failure.distance(failure.module_gives_on_widened, failure.package_gives("fp32"))
        if math.isfinite(in_fp32) and in_fp32 <= MOST * failure.error:
            return _of_precision(failure)
    return _of_graph(failure)


def _of_inputs(failure: Failure) -> Blame:
    """Blame the input whose rounding to half precision alone makes the error."""
    errors = {
        name: failure.distance(
            failure.module_gives, call(failure.module, failure.stage, {**failure.inputs, name: value})
        )
        for name, value in failure.widened.items()
    }
    name = max(errors, key=lambda name: errors[name])
    said = f"`{name}` in half precision is enough: it moves the module itself, all in fp32, by {errors[name]:.2g}"
    given, got = (torch.as_tensor(arrays[name]) for arrays in (failure.inputs, failure.widened))
    return blame(failure, "precision", Divergence(value=name, reference=given, candidate=got), [said])


def _of_precision(failure: Failure) -> Blame:
    walk = precision.of_package(failure.model("fp32"), failure.model(failure.numerics), failure.rounded)
    return _of_walk(failure, walk, "precision")


def _of_constants(failure: Failure, matched: Mapping[str, str]) -> Blame:
    """Blame the rounding of constants: each op of the package is right except for that, and that alone is too much."""

    def walk(visit: Visit) -> None:
        beside(failure.graph, failure.model(failure.numerics), failure.tensors, failure.rounded, matched, visit)

    return _of_walk(failure, walk, "constants")


def _of_walk(failure: Failure, walk: precision.Walk, fault: Fault) -> Blame:
    found = precision.find(failure.program, walk, failure.output)
    if found is None:
        return blame(failure, fault, said=["no value stands out"])
    node = failure.node_near(found.value)
    if node:
        found = replace(found, source=node.place, nodes=(node.op,))
    return blame(failure, fault, found)


def _of_graph(failure: Failure) -> Blame:
    outputs = list(failure.stage.outputs)
    in_fp32 = failure.distance(failure.module_gives_on_widened, failure.package_gives("fp32"))
    search = graph.Search(
        failure.graph,
        failure.program,
        failure.tensors,
        failure.rounded,
        graph.matched_values(failure.graph, failure.program, outputs, anonymous=True),
        failure.result,
        in_fp32,
    )
    found, stopped = graph.find(search, outputs)
    if found is None or found.own < MOST * in_fp32:
        # The package is true to the traced graph, or nearly so: is that true to the module?
        differs = failure.distance(failure.module_gives_on_widened, failure.trace_gives)
        if differs >= MOST * in_fp32:
            return _of_tracing(failure, f"the traced graph is itself {differs:.2g} from the module that was traced")
    if found is None and failure.halves and not stopped and _explained(failure, in_fp32):
        return _of_constants(failure, search.matched)
    if found is None:
        return blame(failure, "graph", said=[stopped or "no value that package and module both name diverges"])
    if _is_rounding(failure, found, in_fp32):
        return _of_constants(failure, search.matched)
    if _may_have_other_weights(found) and (other := exchange.find(failure)):
        return blame(failure, "weights", other)
    return blame(failure, "graph", found, [stopped] if stopped else [])


def _explained(failure: Failure, error: float) -> bool:
    """Return whether the module, with its own numbers in half precision, makes most of the error."""
    rounded = failure.distance(failure.module_gives_on_widened, failure.module_gives_of_rounded_weights)
    return rounded >= MOST * error


def _is_rounding(failure: Failure, found: Divergence, error: float) -> bool:
    """Return whether no op does more than half precision of its constants explains."""
    if not failure.halves or found.traits:
        return False
    return found.own <= ROUNDED or found.own <= min(ROUNDED_AND_SCALED, COUNTS * error)


def _may_have_other_weights(found: Divergence) -> bool:
    return "other weights" in found.traits or not GATES.keys().isdisjoint(found.spelled)


def _of_tracing(failure: Failure, said: str) -> Blame:
    """Blame the traced graph: it is not what the module computes, or can't be computed on these inputs."""
    found = frozen.find(failure.module, failure.graph, failure.tensors)
    return _frozen(failure, found, said) if found else blame(failure, "graph", said=[said])


def _frozen(failure: Failure, found: frozen.Frozen, said: str) -> Blame:
    node = found.node
    names = graph.matched_values(failure.graph, failure.program, list(failure.stage.outputs), anonymous=True)
    value = names.get(node.name, spelled(node.name))
    divergence = Divergence(
        value=value,
        operation=failure.program.makes(value),
        nodes=(node.op,),
        source=node.place,
        said=(found.said,),
        traits=frozenset({"frozen"}),
    )
    return blame(failure, "graph", divergence, [said] if said else [])
