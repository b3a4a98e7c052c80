"""Planted bugs of PocketTTS, on the small one: those that caches, positions, a flow and a host invite."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from converters.pocket_tts.glue import Glue
from converters.pocket_tts.stages import HELD, INT8
from converters.pocket_tts_2m import SYSTEM
from parity.declarations import Stage
from tests.faults import pocket_mutants as mutants
from tests.faults.form import Fault, Plant, recorded
from tests.faults.planting import AsItIs, Converted, Host, Sessions, module, renamed, swapped
from tests.faults.pocket_mutants import attending, turning
from tests.faults.pocket_truths import first, unwritten


def fault(name: str, stage: str, plant: Plant, *caught_by: str, **more: Any) -> Fault:
    """In single precision and on the first steps, unless it says otherwise."""
    given = {"variant": "fp32", "system": SYSTEM.name, "case": "hello", "truth": first, **more}
    return Fault(name, stage, plant, caught_by, **given)


def host(name: str, stage: str, glue: type[Glue], at: str, says: str = "at step 0 of", **more: Any) -> Fault:
    """A bug of the host; `at` is the first value that it makes wrong."""
    plant = Host(glue(**vars(SYSTEM.chain)))
    given = {"variant": "fp32", "system": SYSTEM.name, "case": "hello", "at": at, "says": (says,), **more}
    return Fault(name, stage, plant, ("glue",), mode="chained", **given)


def halved(name: str) -> Converted:
    """Give one output in half precision."""

    def change(stage: Stage) -> Stage:
        return replace(stage, outputs={**stage.outputs, name: replace(stage.outputs[name], dtype="float16")})

    return Converted(change)


def trial(*numbers: int) -> str:
    """Return the trials of the port's own log that have the bug."""
    return f"PocketTTS port, trial {', '.join(map(str, numbers))}"


PREFILL, STEP, FLOW, MIMI = "cond_prefill", "flowlm_step", "flow_decoder_fused", "mimi_decoder"
L2, NUMBERED = "relative_l2", "PocketTTS port, var_430 became var_445"
PADDING = fault(
    "padding taken for a prompt",
    PREFILL,
    module(mutants.PaddedPrefill),
    "kept",
    "equal",
    step=0,
    source=trial(4, 6, 8),
)
EXCHANGED = fault(
    "keys and values swapped", STEP, module(attending(mutants.SwappedAttention)), L2, "margin_used", step=0
)
DROPPED = fault("held back, and never added", MIMI, module(mutants.DroppedMimi), L2, "click", step=1)
OTHER_BASE = "ExecuTorch's Qwen3-TTS, rope_theta, a lead"
FAULTS = (
    *(replace(known, mode=mode) for known in (PADDING, EXCHANGED, DROPPED) for mode in ("forced", "carried", "module")),
    fault("s fixed to 0", FLOW, module(mutants.StillFlow), L2, step=0, source=trial(7)),
    fault("t off by one", FLOW, module(mutants.LateFlow), L2, step=0, source=trial(7)),
    fault("rotary angles of another base", STEP, module(turning(mutants.OtherBase)), L2, step=0, source=OTHER_BASE),
    fault("rotary pairs of halves", STEP, module(turning(mutants.Halves)), L2, step=0, source=trial(9)),
    fault("a cache written one slot late", STEP, module(attending(mutants.LateAttention)), "kept", "varies", step=0),
    fault("a cache that is never written", STEP, module(attending(mutants.FrozenAttention)), "varies", step=0),
    fault(
        "one layer's cache in half precision",
        STEP,
        halved("cache3_out"),
        "dtype",
        "manifest",
        source="PocketTTS port, fp16 read as fp32",
    ),
    fault("a ring taken for a cache with an end", MIMI, module(mutants.EndingMimi), L2, step=5, source=trial(12)),
    fault("two layers' caches swapped", STEP, swapped("cache0_out", "cache1_out"), "kept", step=0),
    fault(
        "an output named by its number", STEP, renamed("cache3_out", "var_430"), "present", "declared", source=NUMBERED
    ),
    fault(
        "the codec of another language", MIMI, module(mutants.OtherLanguage), L2, "shift", step=0, source=trial(13, 14)
    ),
    fault(
        "rotary angles computed in half precision",
        STEP,
        module(turning(mutants.Computed)),
        "max_abs",
        variant="fp16",
        step=0,
    ),
    fault(
        "the readout of the end quantized",
        STEP,
        Converted(module(mutants.UnevenReadout).change, replace(INT8, spared=())),
        "compression",
        L2,
        variant=INT8.name,
        source="PocketTTS port, out_eos quantized",
    ),
    # Seen only where the host allocates caches as upstream does.
    fault(
        "NaN that is not cleaned away",
        STEP,
        module(attending(mutants.UncleanAttention)),
        "finite",
        step=0,
        truth=unwritten,
        source=trial(9),
    ),
    fault(
        "a state that outlives its utterance",
        STEP,
        Sessions(mutants.keeping),
        "reset",
        alone=True,
        mode="carried",
        variant=HELD.name,
    ),
    host("text before voice", "cond_step", mutants.TextFirst, "conditioning", source=trial(11)),
    host(
        "a voice without its beginning", "cond_step", mutants.Abrupt, "conditioning", source="PocketTTS port, mobius#63"
    ),
    host("s fixed to 0", "flow_decoder", mutants.Still, "s", "at step 1 of", source=trial(7)),
    host("t off by one", "flow_decoder", mutants.Late, "t", source=trial(7)),
    host(
        "the square root of another temperature",
        "flow_decoder",
        mutants.Quiet,
        "latent",
        source="PocketTTS port, another script",
    ),
    host("the codec begun anew at each frame", MIMI, mutants.Restarted, "partial0", "at step 1 of"),
    host("an end heard too early", STEP, mutants.Hasty, "steps", "the host runs it", case="harbour"),
)
SOUND = (
    *(
        fault("NaN where nothing was written", stage, AsItIs(), truth=unwritten)
        for stage in ("cond_step", PREFILL, STEP, MIMI)
    ),
    fault("caches of zeros", STEP, module(attending(mutants.UncleanAttention))),
    fault(
        "the readout of the end spared", STEP, Converted(module(mutants.UnevenReadout).change, INT8), variant=INT8.name
    ),
    fault("a state that starts anew", STEP, AsItIs(), mode="carried", variant=HELD.name),
    *(
        fault("the glue as it is", "chain", Host(SYSTEM.chain), mode="chained", truth=recorded, case=case)
        for case in ("hello", "harbour")
    ),
)
