"""Which bug of Silero VAD is planted where, which gate has to catch it, and on which line it is blamed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from converters.silero_vad import SYSTEM
from converters.silero_vad.glue import Glue
from converters.silero_vad.stages import coarse
from parity.declarations import Stage
from parity.plan.checks import SHIPS
from parity.verdict import Check
from tests.faults import silero_mutants as mutants
from tests.faults.table import Fault, module, same, swapped

CASE = "phrase"


def fault(name: str, stage: str, plant: Callable[[Stage], Stage], *caught_by: str, **more: Any) -> Fault:
    """In single precision where a stage has it, for no rounding then hides anything."""
    variant = "fp32" if stage.startswith("unified") else "fp16"
    given = {"variant": variant, "system": SYSTEM.name, "case": CASE, "caught_by": caught_by, **more}
    return Fault(name, stage, plant=plant, **given)


POUR, ROOT, CELL = "F.pad(", "torch.sqrt(", "self.lstm("


def rewritten(name: str, stage: str, mutant: Any, line: str) -> Fault:
    """In the traceable module, which is compared with upstream and shares no submodule with it."""
    return fault(name, stage, module(mutant), "cosine", mode="module", variant="module", line=line)


FAULTS = (
    fault("a forgotten context", "unified", module(mutants.Forgetful), "relative_l2", line=POUR),
    fault("mirrored on the left", "stft", module(mutants.MirroredLeft), "relative_l2", line=POUR),
    fault("mirrored on both sides", "stft", module(mutants.MirroredOnBothSides), "relative_l2", line=POUR),
    fault("padded with zeros", "stft", module(mutants.PaddedWithZeros), "cosine", line=POUR),
    fault("another hop", "stft", module(mutants.OtherHop), "relative_l2", line=ROOT),
    fault("a magnitude squared", "stft", module(mutants.Power), "relative_l2", "rms_ratio", line=ROOT),
    fault("a logarithm of the magnitude", "stft", module(mutants.LogMagnitude), "relative_l2", line=ROOT),
    fault("a floor under the root", "stft", module(mutants.Floored), "relative_l2", case="silence", line=ROOT),
    fault("states swapped", "decoder", module(mutants.Swapping), "relative_l2"),
    fault("the order of another LSTM's gates", "decoder", module(mutants.OtherGates), "relative_l2", line=CELL),
    fault("no activation before the end", "decoder", module(mutants.WithoutRelu), "max_abs"),
    fault("a coarse cell state", "decoder", module(mutants.Halving), "relative_l2", mode="carried"),
    fault("outputs swapped", "decoder", swapped("new_hidden_state", "new_cell_state"), "relative_l2"),
    fault("the largest for any", "unified_256ms", module(mutants.Loudest), "max_abs"),
    fault("states that start anew", "unified_256ms", module(mutants.Restarting), "relative_l2"),
    fault("chunks that overlap", "unified_256ms", module(mutants.Overlapping), "relative_l2"),
    fault("16-bit samples", "stft", module(mutants.Scaled), "finite"),
    rewritten("mirrored on the left, and not converted", "stft", mutants.MirroredLeft, "F.pad(audio, (MIRRORED, 0)"),
    rewritten("a forgotten context, and not converted", "unified", mutants.Forgetful, "F.pad(heard[:, CONTEXT:]"),
    rewritten("chunks that overlap, and not converted", "unified_256ms", mutants.Overlapping, "return audio[:, first"),
)
FINE, ROUGH = SYSTEM.stage("unified").variant("fp16-pal6"), coarse("unified")
COARSE = tuple(
    fault(
        f"{variant.palettize} bits",
        "unified",
        same,
        "compression",
        "cosine",
        "relative_l2",
        variant=FINE.name,
        built_as=replace(variant, name=FINE.name),
    )
    for variant in ROUGH
)
"""What the authors publish in 4 and in 2 bits, under the gates of 6."""


@dataclass(frozen=True)
class GlueFault:
    """A bug of the host; `spoils` is the first value that it makes wrong."""

    name: str
    glue: Glue
    spoils: str
    case: str = CASE


GLUE_FAULTS = (
    GlueFault("states that start anew", mutants.Amnesia(), "decoder.hidden_state"),
    GlueFault("no context", mutants.Contextless(), "stft.audio_input"),
    GlueFault("states swapped", mutants.Swapped(), "decoder.hidden_state"),
    GlueFault("another threshold", mutants.Strict(), "host.segments"),
    GlueFault("stretches without their padding", mutants.Unpadded(), "host.segments"),
    GlueFault("a last chunk that is lost", mutants.Trailing(), "stft.steps", case="odd"),
)


def chain(case: str) -> Check:
    return Check(
        system=SYSTEM.name,
        stage="chain",
        variant=SHIPS,
        case=case,
        mode="chained",
        runtime="milrun",
        numerics="declared",
    )
