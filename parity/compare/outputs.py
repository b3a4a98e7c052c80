"""What there is to compare in a check: what a stage, the chain or the host gave, beside what upstream did."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

from parity.compare.evidence import Comparison
from parity.declarations import HOST, Arrays, Golden, Seam, Stage, System, Tensor, Variant
from parity.plan.checks import MODULE
from parity.run import stepping
from parity.run.chain import Chain
from parity.run.stage import cast
from parity.verdict import Finding

PLAIN = Variant(MODULE, "float32")


def crossings(
    system: System, run: Chain, chosen: Mapping[str, Variant], numerics: str
) -> Iterator[Comparison | Finding]:
    """All that crossed the stages in a run of the chain, and what the host decided."""
    for stage in system.stages:
        variant, prefix, golden = chosen[stage.name], f"{stage.name}.", run.golden[stage.name]
        yield from (replace(found, output=prefix + found.output) for found in run.findings(stage))
        if declared := stage.decided:
            joined = stepping.joined(stage, golden) if stage.stepped else declared
            known = stepping.truth(stage, golden) if stage.stepped else golden.inputs
            truth = {name: known[name] for name in declared}
            dtypes = {name: str(value.dtype) for name, value in truth.items()}
            shapes = {name: joined[name] for name in declared}
            yield Comparison(shapes, PLAIN, run.decisions(stage), truth, dtypes, prefix)
        yield comparison(stage, variant, golden, run.outputs(stage), given(stage, variant, numerics), prefix)
    if system.decisions:
        yield decisions(run.own, run.golden, system.decisions, f"{HOST}.")


def decisions(made: Arrays, goldens: Golden, declared: Mapping[str, Tensor], prefix: str = "") -> Comparison:
    """What the host decided beside the stages, against upstream's decisions and what is true of the recording."""
    golden = goldens[HOST]
    truth = {name: golden.outputs[name] for name in declared}
    dtypes = {name: str(value.dtype) for name, value in truth.items()}
    own = {name: made[name] for name in declared if name in made}
    return Comparison(declared, PLAIN, own, truth, dtypes, prefix, golden.inputs.get("turns"))


def given(stage: Stage, variant: Variant, numerics: str) -> dict[str, str]:
    """The dtypes that the runtime gives: milrun's fp32 numerics have no half precision."""
    wide = numerics == "fp32"
    dtypes = dtypes_of(stage, variant)
    return {name: "float32" if wide and dtype == "float16" else dtype for name, dtype in dtypes.items()}


def compared(
    stage: Stage,
    variant: Variant,
    golden: Seam,
    cross: Callable[[Arrays], dict[str, np.ndarray]],
    dtypes: Mapping[str, str] | None = None,
    own: bool = False,
) -> Iterator[Comparison | Finding]:
    """Every recorded crossing of a stage, made by `cross`, as one comparison. `own` hands on what it carries itself."""
    expected = dtypes or dtypes_of(stage, variant)
    if not stage.stepped:
        yield comparison(stage, variant, golden, cross(golden.inputs), expected)
        return
    track = stepping.walk(stage, golden, cross, lambda inputs: cast(stage, variant, inputs), own)
    yield from track.findings()
    yield comparison(stage, variant, golden, track.outputs, expected)


def comparison(
    stage: Stage, variant: Variant, golden: Seam, actual: Arrays, dtypes: Mapping[str, str], prefix: str = ""
) -> Comparison:
    if not stage.stepped:
        return Comparison(stage.outputs, variant, actual, golden.outputs, dtypes, prefix)
    chained = bool(prefix)
    names = [*stage.outputs, *([] if chained else stage.derived)]
    joined, truth = stepping.joined(stage, golden), stepping.truth(stage, golden)
    wanted = {**{name: tensor.dtype for name, tensor in stage.derived.items()}, **dtypes}
    declared = {name: joined[name] for name in names}
    return Comparison(declared, variant, actual, {name: truth[name] for name in names}, wanted, prefix)


def dtypes_of(stage: Stage, variant: Variant) -> dict[str, str]:
    return {name: tensor.dtype_in(variant) for name, tensor in stage.outputs.items()}
