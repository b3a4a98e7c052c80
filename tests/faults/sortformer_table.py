"""Planted bugs of Sortformer, which decides who speaks: those that lengths, caches and thresholds invite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from converters.sortformer import SYSTEMS
from converters.sortformer.glue import Glue
from converters.sortformer.head import Head
from converters.sortformer.stages import FP16, INT8, PALETTIZED
from parity.declarations import Stage
from parity.plan.checks import SHIPS
from tests.faults import sortformer_layers as layers
from tests.faults import sortformer_mutants as mutants
from tests.faults.form import Fault, Plant
from tests.faults.planting import Another, AsItIs, Converted, Declared, Host, module, output, series, variant
from tests.faults.sortformer_mutants import remembering

SYSTEM = SYSTEMS[0]
CHAIN: Any = SYSTEM.chain
STREAMING = CHAIN.streaming


def fault(name: str, stage: str, plant: Plant, *caught_by: str, **more: Any) -> Fault:
    variant = "fp16" if stage in ("head", "pipeline") else "fp32"
    return Fault(name, stage, plant, caught_by, **{"variant": variant, "system": SYSTEM.name, "case": "pair", **more})


def meeting(name: str, stage: str, plant: Plant, *caught_by: str, **more: Any) -> Fault:
    """In the whole meeting."""
    return fault(name, stage, plant, *caught_by, variant=SHIPS, case="quartet", mode="chained", **more)


def host(name: str, stage: str, glue: type[Glue], at: str, *caught_by: str, **more: Any) -> Fault:
    """A bug of the host; `at` is the first value that it makes wrong."""
    return meeting(name, stage, Host(glue(**vars(CHAIN))), "glue", *caught_by, at=at, **more)


def moved(name: str, change: Callable[[np.ndarray], np.ndarray], *caught_by: str, **more: Any) -> Fault:
    """Other probabilities than the artifact's, by which the meeting is decided."""
    seen = tuple(f"speaking {gate}" for gate in caught_by)
    return meeting(name, "pipeline", output("speaker_preds", change), *seen, **more)


def slip(name: str, mutant: type[Head], reaches: str, last: str, line: str, *says: str) -> Fault:
    """A slip in a rewrite that has only weights in common with upstream, blamed on the first layer that it reaches."""
    told = f"since `{last}`, the last shared submodule that agrees" if last else f"what `{reaches}` is given differs"
    given = {"at": reaches, "says": (told, *says), "line": line, "needs": "nemo-toolkit"}
    return fault(name, "head", head(mutant), "relative_l2", mode="module", **given)


def anywhere(stage: Stage) -> Stage:
    """Let the int8 variant run on any unit."""
    variants = (replace(known, compute_units="ALL") if known == INT8 else known for known in stage.variants)
    return replace(stage, variants=tuple(variants))


def head(mutant: type[Head]) -> Converted:
    return module(partial(mutant, frames=STREAMING.frames))


def aliased(stage: Stage) -> Stage:
    """In half precision, in which the converter has no cast to put between the two."""
    inputs = {name: replace(tensor, dtype=HALVED[tensor.dtype]) for name, tensor in stage.inputs.items()}
    outputs = {name: replace(tensor, dtype=HALVED[tensor.dtype]) for name, tensor in stage.outputs.items()}
    return replace(head(mutants.AliasedHead).change(stage), inputs=inputs, outputs=outputs)


HEAD, PRE, L2, PORT = "head", "pre_encoder", "relative_l2", "Sortformer port, mobius PR #73"
HALVED: Mapping[str, Any] = {"float32": "float16", "int32": "int32"}
LAST = "speaker_preds = torch.sigmoid("
PALETTES = {"variant": PALETTIZED.name}
FAULTS = (
    fault("speakers' channels permuted", HEAD, head(mutants.PermutedHead), L2, "argmax_agreement", line=LAST),
    fault("zeros taken for rows", HEAD, head(mutants.UnmaskedHead), L2, step=0, line="1) * valid"),
    fault("an input that is an output", HEAD, Converted(aliased), "alias", source=f"{PORT}; FluidAudio#265, #726"),
    fault(
        "every probability a little lower",
        HEAD,
        head(mutants.TimidHead),
        "rms_ratio",
        L2,
        unseen_by=("argmax_agreement", "cosine"),
        line=LAST,
    ),
    fault(
        "zeros taken for a part of the chunk",
        PRE,
        module(partial(mutants.PaddedPreEncoder, streaming=STREAMING)),
        L2,
        step=0,
        line="stage(x * self.valid(lengths, stride)",
    ),
    fault("another window", "preprocessor", module(mutants.OtherWindow), L2, line="F.conv1d("),
    fault(
        "normalised over padding",
        "preprocessor",
        module(mutants.Normalized),
        L2,
        step=0,
        line="torch.where(valid[:, None], features",
    ),
    fault("palettization that failed in silence", HEAD, variant(FP16), "compression", **PALETTES, source=PORT),
    fault("4 bits where 6 are said", HEAD, variant(replace(PALETTIZED, palettize=4)), "compression", L2, **PALETTES),
    fault(
        "2 bits where 6 are said",
        HEAD,
        variant(replace(PALETTIZED, palettize=2)),
        "compression",
        L2,
        "argmax_agreement",
        **PALETTES,
    ),
    *(
        fault("the package of another system", stage, Another(FP16, SYSTEMS[1]), "manifest", says=("390", "242"))
        for stage in (HEAD, "pipeline")
    ),
    fault("a pipeline of another head", "pipeline", Another(FP16), "parts", "compression", **PALETTES),
    fault(
        "int8 where a GPU may run it",
        HEAD,
        Declared(anywhere),
        "hazard",
        alone=True,
        variant=INT8.name,
        source=f"{PORT}: MPSGraph fails",
    ),
    slip(
        "a half of a feed-forward forgotten",
        layers.WholeHead,
        "encoder.layers.3.norm_self_att",
        "encoder.layers.3.feed_forward1.linear2",
        "x = x + self.attention(self.norm_attention(x), unseen)",
    ),
    slip(
        "no scale before the first layer",
        layers.UnscaledHead,
        "encoder.layers.0.norm_feed_forward1",
        "",
        "x = x + 0.5 * self.feed_in(self.norm_feed_in(x))",
        "gain 0.08839×",
    ),
    slip(
        "distances off by one",
        layers.ShiftedHead,
        "encoder.layers.2.self_attn.linear_out",
        "encoder.layers.2.self_attn.linear_v",
        "return self.out((weights @ value.transpose(1, 2)).transpose(1, 2).flatten(2))",
    ),
    slip(
        "a gate for a value",
        layers.SwappedHead,
        "encoder.layers.1.conv.depthwise_conv",
        "encoder.layers.1.conv.pointwise_conv1",
        "return self.pointwise_out(F.silu(self.norm(self.depthwise(x)))).transpose(1, 2)",
    ),
    slip(
        "scores too sharp",
        layers.SharpHead,
        "transformer_encoder.layers.0.first_sub_layer.out_projection",
        "transformer_encoder.layers.0.first_sub_layer.value_net",
        "return self.out(((scores + unseen).softmax(-1) @ value).transpose(1, 2).flatten(2))",
    ),
    fault(
        "no mask between stages",
        PRE,
        module(partial(layers.LeakingPreEncoder, streaming=STREAMING)),
        L2,
        mode="module",
        at="encoder.pre_encode.conv.2",
        says=("what it is given agrees as far as upstream's goes, and what is behind that leaks in",),
        line="return F.relu(self.pointwise(self.depthwise(x)))",
        needs="nemo-toolkit",
    ),
    host("a cache compressed by another score", "host", remembering(mutants.ByLoudness), "kept", "frames_kept"),
    host("a frame too many off the queue", "host", remembering(mutants.Greedy), "kept"),
    host("a frame too few off the queue", "host", remembering(mutants.Patient), "kept"),
    host("a cache judged anew after its compression", "host", remembering(mutants.Forgetful), "kept"),
    host("a queue judged by old predictions", "host", remembering(mutants.Stale), "kept"),
    host("no context to the left", PRE, mutants.Abrupt, "chunk"),
    host("a chunk that begins a frame late", "host", mutants.Late, "activity"),
    host("every window full", PRE, mutants.Full, "chunk_lengths"),
    host("a threshold of 0.45", "host", mutants.Eager, "speaking"),
    meeting(
        "speakers exchanged from the fourth step on",
        "pipeline",
        series("speaker_preds", mutants.exchanging),
        "speaking der",
        "speaking confusion",
    ),
    moved(
        "a model that collapses to one speaker",
        mutants.collapsed,
        "der",
        "speaker_count",
        "overlap_frames",
        "speaker_overlap",
        "der_delta",
        "der_delta_collar",
        source=f"{PORT}, its README",
    ),
    moved(
        "every probability a little lower",
        mutants.timid,
        "der",
        "der_collar",
        "missed",
        "threshold_agreement",
        "der_delta",
    ),
    moved("speech where none is", mutants.bold, "der", "false_alarm", "speaker_overlap"),
)
SOUND = (
    meeting("the glue as it is", "chain", Host(CHAIN)),
    fault("int8 where no GPU may run it", HEAD, AsItIs(), variant=INT8.name),
)
