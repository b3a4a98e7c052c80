"""The outputs of a stage, of the chain or of the host, each beside upstream's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from parity.declarations import HOST, Arrays, Golden, Seam, Stage, System, Tensor, Variant
from parity.plan.checks import MODULE
from parity.run import stepping
from parity.run.chain import Chain
from parity.run.runtime import cast
from parity.verdict import Finding

PLAIN = Variant(MODULE, "float32")


@dataclass(frozen=True)
class Comparison:
    """Outputs that belong together.

    Attributes:
        declared: The outputs that have to be there.
        actual: The candidate's outputs.
        reference: Upstream's.
        dtypes: The dtypes to expect of the candidate.
        prefix: What findings put before the name of an output, such as its stage in a chain.
        turns: The turns of the true speakers, where the case knows them.
    """

    declared: Mapping[str, Tensor]
    actual: Arrays
    reference: Arrays
    dtypes: Mapping[str, str]
    prefix: str = ""
    turns: np.ndarray | None = None


def chain_outputs(
    system: System, run: Chain, chosen: Mapping[str, Variant], numerics: str
) -> Iterator[Comparison | Finding]:
    """Yield the outputs of all stages in a run of the chain, and the decisions of the host.

    Where a loop ended early, that is found once: of the first stage in it. What follows from it is not compared.

    Args:
        system: The system.
        run: The chain after it ran.
        chosen: The variant of each stage.
        numerics: The numerics of the runtime.
    """
    missed = run.missed
    for stage in system.stages:
        variant, prefix, golden = chosen[stage.name], f"{stage.name}.", run.golden[stage.name]
        if stage.name not in missed[1:]:
            yield from (replace(found, output=prefix + found.output) for found in run.findings(stage))
        if stage.name in missed:
            continue
        if declared := stage.decided:
            known = golden.inputs
            if stage.stepped:
                joined, known = stepping.joined(stage, golden), stepping.truth(stage, golden)
                declared = {name: joined[name] for name in declared}
            yield _exact(declared, run.decisions(stage), known, prefix)
        yield _comparison(stage, golden, run.outputs(stage), runtime_dtypes(stage, variant, numerics), prefix)
    if system.decisions and not missed:
        yield decisions(run.own, run.golden, system.decisions, f"{HOST}.")


def decisions(made: Arrays, goldens: Golden, declared: Mapping[str, Tensor], prefix: str = "") -> Comparison:
    """Return the decisions of the host beside upstream's, and beside the truth of the recording.

    Args:
        made: The decisions, all calls together.
        goldens: The goldens of the case.
        declared: The decisions that have to be there.
        prefix: What findings put before their names.
    """
    golden = goldens[HOST]
    own = {name: made[name] for name in declared if name in made}
    return _exact(declared, own, golden.outputs, prefix, golden.inputs.get("turns"))


def stage_outputs(
    stage: Stage,
    variant: Variant,
    golden: Seam,
    cross: Callable[[Arrays], dict[str, np.ndarray]],
    numerics: str = "declared",
    own: bool = False,
) -> Iterator[Comparison | Finding]:
    """Yield the outputs of every recorded crossing of a stage as one comparison.

    Args:
        stage: The stage.
        variant: The variant of it that `cross` runs.
        golden: The recorded crossings.
        cross: Runs the stage on inputs.
        numerics: The numerics of the runtime.
        own: Hand on from step to step what `cross` carries itself, instead of what upstream carried.
    """
    if stage.stepped:
        track = stepping.walk(stage, golden, cross, lambda inputs: cast(stage, variant, inputs), own)
        yield from track.findings()
        outputs = track.outputs
    else:
        outputs = cross(golden.inputs)
    yield _comparison(stage, golden, outputs, runtime_dtypes(stage, variant, numerics))


def runtime_dtypes(stage: Stage, variant: Variant, numerics: str) -> dict[str, str]:
    """Return the dtypes of the outputs that a runtime gives: milrun's fp32 numerics have no half precision."""
    dtypes = {name: tensor.dtype_in(variant) for name, tensor in stage.outputs.items()}
    wide = numerics == "fp32"
    return {name: "float32" if wide and dtype == "float16" else dtype for name, dtype in dtypes.items()}


def _comparison(stage: Stage, golden: Seam, actual: Arrays, dtypes: Mapping[str, str], prefix: str = "") -> Comparison:
    """Return the outputs of a stage, all steps together; in a chain, which has a prefix, without derived values."""
    if not stage.stepped:
        return Comparison(stage.outputs, actual, golden.outputs, dtypes, prefix)
    joined, truth = stepping.joined(stage, golden), stepping.truth(stage, golden)
    wanted = {**dtypes, **({} if prefix else {name: tensor.dtype for name, tensor in stage.derived.items()})}
    declared = {name: joined[name] for name in wanted}
    return Comparison(declared, actual, {name: truth[name] for name in wanted}, wanted, prefix)


def _exact(
    declared: Mapping[str, Tensor], made: Arrays, known: Arrays, prefix: str, turns: np.ndarray | None = None
) -> Comparison:
    """Return values that the host makes, in the dtypes that upstream has them in."""
    truth = {name: known[name] for name in declared}
    return Comparison(declared, made, truth, {name: str(value.dtype) for name, value in truth.items()}, prefix, turns)
