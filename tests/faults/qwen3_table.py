"""Planted bugs of Qwen3-TTS: those that its ports have had, and those of a host that samples."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from converters.qwen3_tts import SYSTEMS
from parity.plan.checks import SHIPS
from parity.verdict import Mode
from references.qwen3_tts.sizes import SMALL
from tests.faults import qwen3_mutants as mutants
from tests.faults.form import MADE_UP, Fault
from tests.faults.planting import Host, Lowered, module, variant
from tests.faults.qwen3_mutants import prefilling, talking

CASE = "greeting"
PORT = "the ExecuTorch port"
INT4 = SYSTEMS[0].stage("talker").variant("fp16-int4")
FEW = SYSTEMS[0].stage("encode_text").variant("pte-8da4w")


def graph(name: str, stage: str, mutant: Any, *caught_by: str, **more: Any) -> Fault:
    """Return a bug in the traceable module, which every artifact of the stage shares."""
    known = {"mode": "module", "source": PORT, "case": CASE, **more}
    return Fault(name, stage, module(mutant), caught_by, system=SYSTEMS[0].name, variant="fp32", **known)


def host(name: str, stage: str, glue: Any, at: str, **more: Any) -> Fault:
    """Return a bug of the host; `at` is the first value that it makes wrong."""
    known = {"caught_by": ("glue",), "mode": "chained", "source": PORT, "case": CASE, **more}
    return Fault(name, stage, Host(glue), system=SYSTEMS[0].name, variant=SHIPS, at=at, **known)


def lowered(name: str, stage: str, *caught_by: str, mode: Mode = "forced", source: str = PORT, **planted: Any) -> Fault:
    """Return a bug in a method of the program with weights of few bits."""
    plant, known = Lowered(**planted), {"system": SYSTEMS[0].name, "variant": "pte-8da4w", "case": CASE}
    return Fault(name, stage, plant, caught_by, needs="executorch", source=source, mode=mode, **known)


def choosing(sampling: Any) -> Any:
    return mutants.Choosing(SMALL, sampling)


FAULTS = (
    graph("another base of the angles", "talker", talking(mutants.ThetaTalker), "relative_l2"),
    graph("sections in a row", "talker", talking(mutants.SectionsTalker), "relative_l2"),
    graph("angles of pairs", "talker", talking(mutants.PairedTalker), "relative_l2", source=MADE_UP),
    graph("key heads in another order", "talker", talking(mutants.HeadedTalker), "relative_l2"),
    graph("a cache one slot late", "talker", talking(mutants.LateTalker), "kept", step=0),
    graph("a tensor that loading dropped", "talker", mutants.dropped, "logits relative_l2"),
    graph(
        "the first row for the last",
        "talker_prefill",
        prefilling(mutants.First),
        "logits relative_l2",
        "top_k_overlap",
        "winner_margin",
    ),
    graph("the last row cut off twice", "talker_prefill", prefilling(mutants.SlicedTwice), "logits relative_l2"),
    graph("padding in the cache", "talker_prefill", prefilling(mutants.Leaking), "relative_l2", source=MADE_UP),
    graph("ids off by 2,048", "codec_embed", mutants.OffByABook, "relative_l2"),
    graph("one codebook for all", "codec_embed", mutants.OneBook, "relative_l2"),
    graph("a sum that falls short", "cp_generate", mutants.ShortSum, "codes equal", case="edge"),
    graph("nothing but the likeliest", "cp_generate", mutants.GreedyOnly, "codes equal"),
    Fault(
        "groups of 64 in a package",
        "code_predictor",
        variant(replace(INT4, group=64)),
        ("compression",),
        system=SYSTEMS[0].name,
        variant=INT4.name,
        case=CASE,
        source=MADE_UP,
    ),
    lowered("groups of 64", "code_predictor", "compression", built_as=replace(FEW, group=64, tables=None)),
    lowered("nothing quantized", "encode_text", "compression", built_as=replace(FEW, group=None, tables=None)),
    lowered("scales of another group", "encode_text", "rounding", change=mutants.other_scales),
    lowered("values of a table in pairs exchanged", "encode_text", "rounding", change=mutants.other_halves),
    lowered("scales of another group", "talker", "logits quantized", mode="probed", change=mutants.other_scales),
    lowered(
        "activations in steps that are fixed",
        "talker",
        "hidden quantized",
        mode="probed",
        source=MADE_UP,
        change=mutants.fixed_activations,
    ),
    lowered("nothing but the likeliest", "cp_generate", "codes equal", change=mutants.likeliest),
    # How this processor rounds decides whether the chances of a token fall short as well, which would come first.
    host(
        "a sum that falls short in the host",
        "host",
        choosing(mutants.ShortHostSum),
        "",
        caught_by=("host.codes glue",),
        case="edge",
    ),
    host("EOS suppressed with the rest", "host", choosing(mutants.NeverEnding), "tokens"),
    host("nothing suppressed", "host", choosing(mutants.WithoutSuppression), "tokens", case="certain"),
    host("a penalty for each time", "host", choosing(mutants.PerOccurrence), "tokens", case="again"),
    host("a shared generator", "host", mutants.SharedGenerator(SMALL), "tokens"),
    host("a word that is skipped", "talker", mutants.Skipping(SMALL), "embeds", source=MADE_UP),
    host("all frames decoded at once", "decode_audio_stream", mutants.Whole(SMALL), "codes", case="sentence"),
    host("chunks without context", "decode_audio_stream", mutants.WithoutContext(SMALL), "codes", case="sentence"),
    host("codes filled up to 1,200", "decode_audio_stream", mutants.Overfilled(SMALL), "codes"),
    host("a quiet end cut off before it is timed", "host", mutants.Trimming(SMALL), "audio"),
    host("codes clamped to 0", "decode_audio_stream", mutants.Clamping(SMALL), "codes"),
    host("other ids of the codec", "codec_embed", mutants.OtherIds(SMALL), "token"),
)
SOUND = tuple(
    partial(host, "the glue as it is", "chain", SYSTEMS[0].chain, "")(case=case) for case in (CASE, "edge", "sentence")
)
