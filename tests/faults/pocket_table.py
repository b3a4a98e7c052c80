"""Which bug of a stage that runs step by step is planted where, which gate has to catch it, and from which step on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from converters.pocket_tts.glue import Glue
from converters.pocket_tts.stages import INT8
from converters.pocket_tts_2m import SYSTEM
from parity.declarations import Stage
from parity.verdict import Check
from tests.faults import pocket_mutants as mutants
from tests.faults.table import Fault, module, outputs, swapped


def fault(name: str, stage: str, plant: Callable[[Stage], Stage], *caught_by: str, **more: Any) -> Fault:
    """In single precision, unless it says otherwise."""
    return Fault(name, stage, plant=plant, caught_by=caught_by, **{"variant": "fp32", "system": SYSTEM.name, **more})


def halved(name: str) -> Callable[[Stage], Stage]:
    """Gives one output in half precision."""

    def plant(stage: Stage) -> Stage:
        return replace(stage, outputs={**stage.outputs, name: replace(stage.outputs[name], dtype="float16")})

    return plant


def renamed(old: str, new: str) -> Callable[[Stage], Stage]:
    return outputs(lambda name: new if name == old else name)


FAULTS = (
    fault("padding taken for a prompt", "cond_prefill", module(mutants.PaddedPrefill), "kept", "equal", step=0),
    fault("s fixed to 0", "flow_decoder_fused", module(mutants.StillFlow), "relative_l2", step=0),
    fault("t off by one", "flow_decoder_fused", module(mutants.LateFlow), "relative_l2", step=0),
    fault("rotary angles of another base", "flowlm_step", module(mutants.OtherBaseStep), "relative_l2", step=0),
    fault("rotary pairs of halves", "flowlm_step", module(mutants.HalvesStep), "relative_l2", step=0),
    fault("a cache written one slot late", "flowlm_step", module(mutants.LateStep), "kept", "varies", step=0),
    fault("a cache that is never written", "flowlm_step", module(mutants.FrozenStep), "varies", step=0),
    fault("keys and values swapped", "flowlm_step", module(mutants.SwappedStep), "relative_l2", step=0),
    fault("one layer's cache in half precision", "flowlm_step", halved("cache3_out"), "dtype", "manifest"),
    fault("held back, and never added", "mimi_decoder", module(mutants.DroppedMimi), "relative_l2", step=1),
    fault("a ring taken for a cache with an end", "mimi_decoder", module(mutants.EndingMimi), "relative_l2", step=5),
    fault("two layers' caches swapped", "flowlm_step", swapped("cache0_out", "cache1_out"), "kept", step=0),
    fault("an output named by its number", "flowlm_step", renamed("cache3_out", "var_430"), "present", "declared"),
    fault("the codec of another language", "mimi_decoder", module(mutants.OtherLanguage), "relative_l2", step=0),
    fault(
        "rotary angles computed in half precision",
        "flowlm_step",
        module(mutants.ComputedStep),
        "max_abs",
        variant="fp16",
        step=0,
    ),
)
UNSPARED = fault(
    "the readout of the end quantized",
    "flowlm_step",
    module(mutants.UnevenReadout),
    "compression",
    "relative_l2",
    variant="fp16-int8",
    built_as=replace(INT8, spared=()),
)
UNCLEAN = fault("NaN that is not cleaned away", "flowlm_step", module(mutants.UncleanStep), "finite", step=0)
"""Seen only where the host allocates caches as upstream does."""


@dataclass(frozen=True)
class GlueFault:
    """A bug of the host. `spoils` is the first value that it makes wrong, and what is said of it `says` when."""

    name: str
    glue: type[Glue]
    stage: str
    spoils: str
    says: str = "at step 0 of"
    case: str = "hello"


GLUE_FAULTS = (
    GlueFault("text before voice", mutants.TextFirst, "cond_step", "conditioning"),
    GlueFault("a voice without its beginning", mutants.Abrupt, "cond_step", "conditioning"),
    GlueFault("s fixed to 0", mutants.Still, "flow_decoder", "s", "at step 1 of"),
    GlueFault("t off by one", mutants.Late, "flow_decoder", "t"),
    GlueFault("the square root of another temperature", mutants.Quiet, "flow_decoder", "latent"),
    GlueFault("the codec begun anew at each frame", mutants.Restarted, "mimi_decoder", "partial0", "at step 1 of"),
    GlueFault("an end heard too early", mutants.Hasty, "flowlm_step", "steps", "the host runs it", case="harbour"),
)

CHAIN = Check(
    system=SYSTEM.name,
    stage="chain",
    variant="fp32",
    case="hello",
    mode="chained",
    runtime="milrun",
    numerics="declared",
)


def glue(kind: type[Glue]) -> Glue:
    """The system's own glue, as another kind."""
    declared = SYSTEM.chain
    return kind(**{field.name: getattr(declared, field.name) for field in fields(Glue)})
