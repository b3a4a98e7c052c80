"""The small PocketTTS as it is ported: its graphs beside upstream's modules, and its glue beside made-up stages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

import milrun
from converters.pocket_tts_2m import SYSTEM
from parity.build import convert
from parity.declarations import Arrays, Case, Run
from references.pocket_tts import upstream as reference

LIMIT = 1e-5
PROMPT, CAPACITY, RING, FRAME = 128, 512, 80, 16
Call = Callable[..., dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Any:
    checkpoint = tmp_path_factory.mktemp("pocket_tts") / "seeded.safetensors"
    SYSTEM.reference.seed(checkpoint)
    return SYSTEM.reference.build(checkpoint)


@pytest.fixture(scope="module")
def call(upstream: Any) -> Call:
    """Runs a stage's traceable module."""
    modules = {stage.name: convert.traceable(stage, upstream) for stage in SYSTEM.stages}
    return lambda stage, inputs: convert.call(modules[stage], SYSTEM.stage(stage), inputs)


@pytest.fixture(scope="module")
def predict(upstream: Any, tmp_path_factory: pytest.TempPathFactory) -> Call:
    """Runs a stage's half-precision package."""
    loaded: dict[str, Any] = {}

    def run(stage: str, inputs: Arrays) -> dict[str, np.ndarray]:
        if stage not in loaded:
            package = tmp_path_factory.mktemp("packages") / f"{stage}.mlpackage"
            declared = SYSTEM.stage(stage)
            module = convert.traceable(declared, upstream)
            convert.convert(declared, declared.variant("fp16"), module, package, {})
            loaded[stage] = milrun.load(str(package), numerics="declared")
        halves = {
            name: value.astype(np.float16) if value.dtype == np.float32 else value for name, value in inputs.items()
        }
        return dict(loaded[stage].predict(halves))

    return run


def empty(stage: str) -> dict[str, np.ndarray]:
    """What a stage carries, before its first step."""
    inputs = SYSTEM.stage(stage).inputs
    dtypes = {"real": "float32", "int32": "int32"}
    return {name: np.zeros(inputs[name].sizes({}), dtypes[inputs[name].dtype]) for name in carried_by(stage)}


def carried_by(stage: str) -> tuple[str, ...]:
    return tuple(SYSTEM.stage(stage).carries.values())


def carried(stage: str, outputs: Arrays) -> dict[str, np.ndarray]:
    return {source: outputs[name] for name, source in SYSTEM.stage(stage).carries.items()}


def rows(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((1, count, 112)).astype(np.float32)


def padded(part: np.ndarray, with_: float = 0.0) -> np.ndarray:
    return np.pad(part, ((0, 0), (0, PROMPT - part.shape[1]), (0, 0)), constant_values=with_)


class Truth:
    """Upstream's own modules and states, run on as they are."""

    def __init__(self, upstream: Any) -> None:
        self.upstream, self.lm = upstream, upstream.flow_lm
        self.states = reference.module("pocket_tts.modules.stateful_module")
        self.kept = self.states.init_states(self.lm, 1, CAPACITY)
        self.codec = self.states.init_states(upstream.mimi, 1, 1000)

    @torch.no_grad()
    def condition(self, part: np.ndarray) -> None:
        self.lm.transformer(torch.from_numpy(part), self.kept)
        self.states.increment_steps(self.lm, self.kept, part.shape[1])

    @torch.no_grad()
    def frame(self, sequence: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        given = torch.from_numpy(sequence)
        given = torch.where(torch.isnan(given), self.lm.bos_emb, given)
        out = self.lm.backbone(self.lm.input_linear(given), torch.zeros(1, 0, 112), given, self.kept)[:, -1]
        self.states.increment_steps(self.lm, self.kept, 1)
        return out, self.lm.out_eos(out)

    @torch.no_grad()
    def decoded(self, latent: np.ndarray) -> np.ndarray:
        scaled = torch.from_numpy(latent)[:, None] * self.lm.emb_std + self.lm.emb_mean
        audio: np.ndarray = self.upstream.mimi.decode_from_latent(scaled, self.codec).numpy()
        self.states.increment_steps(self.upstream.mimi, self.codec, FRAME)
        return audio

    def caches(self) -> list[np.ndarray]:
        """As far as they are written, layer by layer."""
        states = [state for state in self.kept.values() if "cache" in state]
        return [state["cache"][:, :, : int(state["offset"])].numpy() for state in states]


def agree(truth: Truth, states: Mapping[str, np.ndarray]) -> None:
    for layer, known in enumerate(truth.caches()):
        end = known.shape[2]
        found = states[f"cache{layer}"]
        assert np.abs(found[:, :, :end] - known).max() < LIMIT
        assert not found[:, :, end:].any()
        assert states[f"position{layer}"] == end


def test_conditioning_in_steps_and_at_once_is_upstreams(upstream: Any, call: Call) -> None:
    truth = Truth(upstream)
    steps, prefill = empty("cond_step"), empty("cond_prefill")
    for part in (rows(126), rows(9, seed=1)):
        truth.condition(part)
        for i in range(part.shape[1]):
            steps = carried("cond_step", call("cond_step", {"conditioning": part[:, i : i + 1], **steps}))
        given = {"conditioning": padded(part, with_=5.0), "valid": np.array([part.shape[1]], np.int32)}
        prefill = carried("cond_prefill", call("cond_prefill", {**given, **prefill}))
        agree(truth, steps)
        agree(truth, prefill)


def test_frames_are_upstreams(upstream: Any, call: Call) -> None:
    truth = Truth(upstream)
    truth.condition(rows(20))
    given = {"conditioning": padded(rows(20)), "valid": np.array([20], np.int32)}
    states = carried("cond_prefill", call("cond_prefill", {**given, **empty("cond_prefill")}))
    random = np.random.default_rng(2)
    sequence = np.full((1, 1, 32), np.nan, np.float32)
    for _ in range(60):
        wanted, logit = truth.frame(sequence)
        found = call("flowlm_step", {"sequence": sequence, **states})
        states = carried("flowlm_step", found)
        assert np.abs(found["transformer_out"] - wanted.numpy()).max() < LIMIT
        assert np.abs(found["eos_logit"] - logit.numpy()).max() < LIMIT
        sequence = random.standard_normal((1, 1, 32)).astype(np.float32)
    agree(truth, states)


def test_the_flow_is_upstreams_step_by_step_and_fused(upstream: Any, call: Call) -> None:
    random = np.random.default_rng(3)
    condition, noise = (random.standard_normal((1, width)).astype(np.float32) for width in (64, 32))
    decode = reference.module("pocket_tts.models.flow_lm").lsd_decode
    net = upstream.flow_lm.flow_net
    with torch.no_grad():
        wanted = decode(lambda *given: net(torch.from_numpy(condition), *given), torch.from_numpy(noise), 8).numpy()
    latent = noise
    for i in range(8):
        s, t = (np.full((1, 1), time, np.float32) for time in (i / 8, (i + 1) / 8))
        velocity = call("flow_decoder", {"transformer_out": condition, "latent": latent, "s": s, "t": t})["velocity"]
        latent = latent + velocity / 8
    fused = call("flow_decoder_fused", {"transformer_out": condition, "noise": noise})["latent"]
    assert np.abs(latent - wanted).max() < LIMIT
    assert np.abs(fused - wanted).max() < LIMIT


def test_audio_is_upstreams_and_the_ring_holds_the_last_positions(upstream: Any, call: Call) -> None:
    truth, states = Truth(upstream), empty("mimi_decoder")
    random = np.random.default_rng(4)
    for _ in range(3 * RING // FRAME + 2):
        latent = random.standard_normal((1, 32)).astype(np.float32)
        found = call("mimi_decoder", {"latent": latent, **states})
        states = carried("mimi_decoder", found)
        assert np.abs(found["audio"] - truth.decoded(latent)).max() < LIMIT
    kept = [state for name, state in truth.codec.items() if name.startswith("decoder_transformer")]
    for layer, state in enumerate(kept):
        end = int(state["offset"])
        assert states[f"position{layer}"] == end
        last = np.arange(end - RING, end)
        difference = states[f"cache{layer}"][:, :, last % RING] - state["cache"].numpy()[:, :, last]
        assert np.abs(difference).max() < LIMIT


@pytest.mark.parametrize(("stage", "position"), [("cond_step", 30), ("cond_prefill", 30), ("flowlm_step", 30)])
def test_slots_without_a_number_silence_nothing(call: Call, stage: str, position: int) -> None:
    states = empty(stage)
    for name, value in states.items():
        value[...] = position if name.startswith("position") else rows(1).std()
    given = {
        "cond_step": {"conditioning": rows(1)},
        "cond_prefill": {"conditioning": padded(rows(7)), "valid": np.array([7], np.int32)},
        "flowlm_step": {"sequence": rows(1)[..., :32]},
    }[stage]
    known = call(stage, {**given, **states})
    for name, value in states.items():
        if name.startswith("cache"):
            value[:, :, position:] = np.nan
    found = call(stage, {**given, **states})
    for name in found:
        end = position + (7 if stage == "cond_prefill" else 1)
        one, other = (made[name][:, :, :end] if name.startswith("cache") else made[name] for made in (known, found))
        assert np.array_equal(one, other), name


def test_padding_leaves_no_trace_in_half_precision(predict: Call) -> None:
    states = empty("cond_prefill")
    random = np.random.default_rng(5)
    for name, value in states.items():
        value[...] = 40 if name.startswith("position") else random.standard_normal(value.shape)
    part, valid = rows(11), np.array([11], np.int32)
    one, other = (
        predict("cond_prefill", {"conditioning": padded(part, with_), "valid": valid, **states}) for with_ in (0.0, 9.0)
    )
    for name, source in SYSTEM.stage("cond_prefill").carries.items():
        assert np.array_equal(one[name], other[name])
        if name.startswith("position"):
            assert one[name] == 51
            continue
        written = (one[name] != states[source].astype(np.float16)).any((0, 1, 3, 4))
        assert np.flatnonzero(written).tolist() == list(range(40, 51))


def test_half_precision_knows_late_positions(call: Call, predict: Call) -> None:
    """It can't count beyond 2048; Mimi does, sixteen to a frame."""
    states = empty("mimi_decoder")
    position = FRAME * 384
    for name, value in states.items():
        if name.startswith("position"):
            value[...] = position
    given = {"latent": np.random.default_rng(6).standard_normal((1, 32)).astype(np.float32), **states}
    wanted, found = call("mimi_decoder", given), predict("mimi_decoder", given)
    assert found["position0_out"] == position + FRAME
    slots = (position + np.arange(FRAME)) % RING
    for layer in range(4):
        keys, known = (made[f"cache{layer}_out"][0, :, slots].astype(np.float64) for made in (found, wanted))
        assert np.linalg.norm(keys - known) < 3e-3 * np.linalg.norm(known)


def test_a_position_past_the_capacity_is_written_nowhere(call: Call) -> None:
    states = {
        name: np.full_like(value, CAPACITY) if name.startswith("position") else value
        for name, value in empty("cond_step").items()
    }
    found = call("cond_step", {"conditioning": rows(1), **states})
    assert not any(found[f"{name}_out"].any() for name in states if name.startswith("cache"))


def test_what_is_declared_is_upstreams(upstream: Any) -> None:
    case = SYSTEM.reference.cases[0]
    glue: Any = SYSTEM.chain
    assert glue.margin.threshold == upstream.eos_threshold
    assert np.array_equal(glue.noise(case, 3), case.inputs["noise"][3:4] * np.float32(upstream.temp**0.5))
    assert glue.most_frames(case) == upstream._estimate_max_gen_len(case.inputs["tokens"].shape[1])
    tables = SYSTEM.tables(upstream, case)
    tokens = case.inputs["tokens"]
    with torch.no_grad():
        embedded = upstream.flow_lm.conditioner(torch.from_numpy(tokens)).numpy()
    assert np.array_equal(tables["text_embedding"][tokens], embedded)
    assert tables["text_embedding"].shape == (4001, 112)
    assert tables["voice"].shape == (1, 125, 112)


class Stages:
    """Stages that give zeros, and how far the end's logit is above its threshold."""

    def __init__(self, margins: Mapping[int, float] | None = None) -> None:
        self.margins = margins or {}
        self.tables = {
            "text_embedding": np.ones((4001, 112), np.float32),
            "bos_before_voice": np.zeros((1, 1, 112), np.float32),
            "voice": np.zeros((1, 125, 112), np.float32),
        }
        self.calls: list[tuple[str, dict[str, np.ndarray]]] = []

    def __call__(self, stage: str, inputs: Arrays) -> dict[str, np.ndarray]:
        self.calls.append((stage, dict(inputs)))
        outputs = SYSTEM.stage(stage).outputs
        return {name: np.zeros(tensor.sizes({}), np.float32) for name, tensor in outputs.items()}

    def decide(self, stage: str, name: str, value: np.ndarray) -> np.ndarray:
        return np.full((1, 1), self.margins.get(self.count(stage) - 1, -1.0), np.float32)

    def count(self, stage: str) -> int:
        return Counter(name for name, _ in self.calls)[stage]


def spoken(run: Run, tokens: int, after: int = 3, noise: int = 1000) -> None:
    inputs = {
        "tokens": np.ones((1, tokens), np.int32),
        "noise": np.ones((noise, 32), np.float32),
        "frames_after_eos": np.array([after], np.int32),
    }
    SYSTEM.chain(run, Case("made up", inputs))


def test_the_voice_comes_before_the_text() -> None:
    run = Stages()
    spoken(run, 4)
    conditioned = [inputs["conditioning"] for stage, inputs in run.calls if stage == "cond_step"]
    assert [bool(row.any()) for row in conditioned] == [False] * 126 + [True] * 4
    prompts = [inputs for stage, inputs in run.calls if stage == "cond_prefill"]
    assert [int(inputs["valid"].item()) for inputs in prompts] == [126, 4]
    assert np.flatnonzero(prompts[1]["conditioning"][0, :, 0]).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("margins", "frames"),
    [({8: 1.0}, 11), ({8: 1.0, 9: 1.0}, 11), ({5: 1.0}, 42), ({5: 1.0, 6: 1.0}, 9), ({}, 42), ({41: 1.0}, 42)],
)
def test_the_end_is_heard_once_and_not_too_early(margins: dict[int, float], frames: int) -> None:
    run = Stages(margins)
    spoken(run, 4)
    assert {stage: run.count(stage) for stage in ("flowlm_step", "flow_decoder", "mimi_decoder")} == {
        "flowlm_step": frames,
        "flow_decoder": 8 * frames,
        "mimi_decoder": frames,
    }


def test_a_text_that_outgrows_the_caches_is_refused() -> None:
    run = Stages()
    with pytest.raises(ValueError, match=r"position 512 is past the capacity of 512 cache slots"):
        spoken(run, 100)
    assert run.count("flowlm_step") == CAPACITY - 126 - 100


def test_a_text_that_outgrows_the_prefill_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cond_prefill takes 128 rows at once, not 129"):
        spoken(Stages(), 129)
