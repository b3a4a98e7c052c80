"""Which bug of a system that decides who speaks is planted where, and which gate has to catch it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from converters.sortformer import SYSTEMS
from converters.sortformer.glue import Glue
from converters.sortformer.stages import FP16, PALETTIZED
from parity.declarations import Stage
from parity.plan.checks import SHIPS
from parity.verdict import Check
from tests.faults import sortformer_mutants as mutants
from tests.faults.table import Fault, module, same

SYSTEM = SYSTEMS[0]
STREAMING = SYSTEM.chain.streaming  # type: ignore[attr-defined]
CASE = "pair"


def fault(name: str, stage: str, plant: Callable[[Stage], Stage], *caught_by: str, **more: Any) -> Fault:
    variant = "fp16" if stage in ("head", "pipeline") else "fp32"
    given = {"variant": variant, "system": SYSTEM.name, "case": CASE, "caught_by": caught_by, **more}
    return Fault(name, stage, plant=plant, **given)


def head(mutant: type[mutants.Head]) -> Callable[[Stage], Stage]:
    return module(partial(mutant, frames=STREAMING.frames))


def aliased(stage: Stage) -> Stage:
    """In half precision, in which the converter has no cast to put between the two."""
    inputs = {name: replace(tensor, dtype=HALVED[tensor.dtype]) for name, tensor in stage.inputs.items()}
    outputs = {name: replace(tensor, dtype=HALVED[tensor.dtype]) for name, tensor in stage.outputs.items()}
    return replace(head(mutants.AliasedHead)(stage), inputs=inputs, outputs=outputs)


HALVED: Mapping[str, Any] = {"float32": "float16", "int32": "int32"}
LAST = "speaker_preds = torch.sigmoid("
FAULTS = (
    fault(
        "speakers' channels permuted", "head", head(mutants.PermutedHead), "relative_l2", "argmax_agreement", line=LAST
    ),
    fault("zeros taken for rows", "head", head(mutants.UnmaskedHead), "relative_l2", step=0, line="1) * valid"),
    fault("an input that is an output", "head", aliased, "alias"),
    fault(
        "every probability a little lower",
        "head",
        head(mutants.TimidHead),
        "rms_ratio",
        "relative_l2",
        unseen_by=("argmax_agreement", "cosine"),
        line=LAST,
    ),
    fault(
        "zeros taken for a part of the chunk",
        "pre_encoder",
        module(partial(mutants.PaddedPreEncoder, streaming=STREAMING)),
        "relative_l2",
        step=0,
        line="stage(x * self.valid(lengths, stride)",
    ),
    fault("another window", "preprocessor", module(mutants.OtherWindow), "relative_l2", line="F.conv1d("),
    fault(
        "normalised over padding",
        "preprocessor",
        module(mutants.Normalized),
        "relative_l2",
        step=0,
        line="torch.where(valid[:, None], features",
    ),
    fault("palettization that failed in silence", "head", same, "compression", variant=PALETTIZED.name, built_as=FP16),
    fault(
        "4 bits where 6 are said",
        "head",
        same,
        "compression",
        "relative_l2",
        variant=PALETTIZED.name,
        built_as=replace(PALETTIZED, palettize=4),
    ),
    fault(
        "2 bits where 6 are said",
        "head",
        same,
        "compression",
        "relative_l2",
        "argmax_agreement",
        variant=PALETTIZED.name,
        built_as=replace(PALETTIZED, palettize=2),
    ),
)


@dataclass(frozen=True)
class GlueFault:
    """A bug of the host; `spoils` is the first value that it makes wrong."""

    name: str
    glue: type[Glue]
    spoils: str


GLUE_FAULTS = (
    GlueFault("a cache compressed by another score", mutants.Loud, "host.kept"),
    GlueFault("a frame too many off the queue", mutants.Popping, "host.kept"),
    GlueFault("a frame too few off the queue", mutants.Holding, "host.kept"),
    GlueFault("a cache judged anew after its compression", mutants.Renewing, "host.kept"),
    GlueFault("a queue judged by old predictions", mutants.Remembering, "host.kept"),
    GlueFault("no context to the left", mutants.Abrupt, "pre_encoder.chunk"),
    GlueFault("a chunk that begins a frame late", mutants.Late, "host.activity"),
    GlueFault("every window full", mutants.Full, "pre_encoder.chunk_lengths"),
    GlueFault("a threshold of 0.45", mutants.Eager, "host.speaking"),
)

Change = Callable[[np.ndarray], np.ndarray]


def collapsed(activity: np.ndarray) -> np.ndarray:
    """The likeliest speaker of a step is the only one that it hears."""
    loudest = activity.sum(axis=-2).argmax()
    others = np.ones(activity.shape[-1], np.float32) * 0.3
    others[loudest] = 1
    return activity * others


def timid(activity: np.ndarray) -> np.ndarray:
    """Whoever is the likeliest remains it."""
    return activity * np.float32(0.55)


def bold(activity: np.ndarray) -> np.ndarray:
    return np.where(activity > 0.02, np.maximum(activity, np.float32(0.6)), activity)


CHANGES: Mapping[str, tuple[Change, tuple[str, ...]]] = {
    "a model that collapses to one speaker": (
        collapsed,
        ("der", "speaker_count", "overlap_frames", "speaker_overlap", "der_delta", "der_delta_collar"),
    ),
    "every probability a little lower": (timid, ("der", "der_collar", "missed", "threshold_agreement", "der_delta")),
    "speech where none is": (bold, ("der", "false_alarm", "speaker_overlap")),
}
"""What becomes of an artifact's probabilities; the gates of the whole meeting that have to see it."""

CHAIN = Check(
    system=SYSTEM.name,
    stage="chain",
    variant=SHIPS,
    case="quartet",
    mode="chained",
    runtime="milrun",
    numerics="declared",
)
