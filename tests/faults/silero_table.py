"""Planted bugs of Silero VAD: those that such ports have had, and those of a host that hears chunk after chunk."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from converters.silero_vad import SYSTEM
from converters.silero_vad.stages import coarse
from parity.plan.checks import SHIPS
from tests.faults import silero_mutants as mutants
from tests.faults.form import Fault, Plant
from tests.faults.planting import Host, module, series, swapped, variant

CASE = "phrase"
FIRST_PORT = "the first published port"


def fault(name: str, stage: str, plant: Plant, *caught_by: str, **more: Any) -> Fault:
    """In single precision where a stage has it, for no rounding then hides anything."""
    variant = "fp32" if stage.startswith("unified") else "fp16"
    return Fault(name, stage, plant, caught_by, **{"variant": variant, "system": SYSTEM.name, "case": CASE, **more})


def host(name: str, stage: str, glue: Any, at: str = "", *caught_by: str, **more: Any) -> Fault:
    """A bug of the host; `at` is the first value that it makes wrong."""
    return fault(name, stage, Host(glue), *caught_by, at=at, variant=SHIPS, mode="chained", **more)


def rewritten(name: str, stage: str, mutant: Any, line: str) -> Fault:
    """In the traceable module, which is compared with upstream and shares no submodule with it."""
    return fault(name, stage, module(mutant), "cosine", mode="module", line=line)


POUR, ROOT, CELL = "F.pad(", "torch.sqrt(", "self.lstm("
FINE = SYSTEM.stage("unified").variant("fp16-pal6")
FAULTS = (
    fault("a forgotten context", "unified", module(mutants.Forgetful), "relative_l2", line=POUR),
    fault("mirrored on the left", "stft", module(mutants.MirroredLeft), "relative_l2", line=POUR),
    fault("mirrored on both sides", "stft", module(mutants.MirroredOnBothSides), "relative_l2", line=POUR),
    fault("padded with zeros", "stft", module(mutants.PaddedWithZeros), "cosine", line=POUR),
    fault("another hop", "stft", module(mutants.OtherHop), "relative_l2", line=ROOT),
    fault("a magnitude squared", "stft", module(mutants.Power), "relative_l2", "rms_ratio", line=ROOT),
    fault(
        "a logarithm of the magnitude",
        "stft",
        module(mutants.LogMagnitude),
        "relative_l2",
        line=ROOT,
        source=FIRST_PORT,
    ),
    fault("a floor under the root", "stft", module(mutants.Floored), "relative_l2", case="silence", line=ROOT),
    fault("states swapped", "decoder", module(mutants.Swapping), "relative_l2"),
    fault("the order of another LSTM's gates", "decoder", module(mutants.OtherGates), "relative_l2", line=CELL),
    fault(
        "no activation before the end",
        "decoder",
        module(mutants.WithoutRelu),
        "max_abs",
        "signs_equal",
        source=FIRST_PORT,
    ),
    fault("a coarse cell state", "decoder", module(mutants.Halving), "relative_l2", mode="carried"),
    fault("outputs swapped", "decoder", swapped("new_hidden_state", "new_cell_state"), "relative_l2"),
    fault("the largest for any", "unified_256ms", module(mutants.Loudest), "max_abs", source=FIRST_PORT),
    fault("states that start anew", "unified_256ms", module(mutants.Restarting), "relative_l2"),
    fault("chunks that overlap", "unified_256ms", module(mutants.Overlapping), "relative_l2"),
    fault("16-bit samples", "stft", module(mutants.Scaled), "finite"),
    rewritten("mirrored on the left", "stft", mutants.MirroredLeft, "F.pad(audio, (MIRRORED, 0)"),
    rewritten("a forgotten context", "unified", mutants.Forgetful, "F.pad(heard[:, CONTEXT:]"),
    rewritten("chunks that overlap", "unified_256ms", mutants.Overlapping, "return audio[:, first"),
    *(
        fault(
            f"{rough.palettize} bits under the gates of 6",
            "unified",
            variant(replace(rough, name=FINE.name)),
            "compression",
            "cosine",
            "relative_l2",
            variant=FINE.name,
            source="the port's authors publish it",
        )
        for rough in coarse("unified")
    ),
    host("states that start anew", "decoder", mutants.Amnesia(), "hidden_state", "glue"),
    host("no context", "stft", mutants.Contextless(), "audio_input", "glue"),
    host("states swapped", "decoder", mutants.Swapped(), "hidden_state", "glue"),
    host("another threshold", "host", mutants.Strict(), "segments", "glue"),
    host("stretches without their padding", "host", mutants.Unpadded(), "segments", "glue"),
    fault(
        "a probability of three chunks before",
        "unified",
        series("vad_output", mutants.late),
        "host.segments edge_shift",
        variant=SHIPS,
        mode="chained",
    ),
    host("a last chunk that is lost", "stft", mutants.Trailing(), "steps", "glue", case="odd"),
)
SOUND = tuple(host("the glue as it is", "chain", SYSTEM.chain, case=case) for case in (CASE, "odd"))
