"""The seeded PocketTTS speaks: its goldens hold what a speech model would give, the same on every machine."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from parity.base.cache import Cache
from parity.base.libraries import threads
from parity.base.paths import project
from parity.declarations import Seam
from parity.plan.weights import WeightsError, choose, dressed
from references.pocket_tts import POCKET_TTS, POCKET_TTS_2M, upstream, words
from references.pocket_tts.passages import VOCABULARY
from references.pocket_tts.record import generated, record
from references.pocket_tts.sizes import CAPACITY, FRAME, GUARD, SMALL, ring
from references.pocket_tts.taps import Call, Taps

HELLO, HARBOUR, ENDURANCE = POCKET_TTS_2M.cases
FRAMES = {"hello": 25, "harbour": 43, "endurance": 313}
MARGIN = 0.1
DIGESTS = {
    "flow_lm.transformer.layers.3.self_attn.in_proj.weight": "270da26db39ccfd0",
    "flow_lm.flow_net.time_embed.0.mlp.0.weight": "0c267b48f98fcb97",
    "flow_lm.out_eos.weight": "0b322e390333448b",
    "mimi.decoder.model.5.convtr.weight": "8356210a7afc2c40",
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with threads(1):
        yield


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "checkpoint.pth"
    POCKET_TTS_2M.seed(path)
    return path


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> object:
    return POCKET_TTS_2M.build(checkpoint)


@pytest.fixture(scope="module")
def runs(model: object) -> dict[str, tuple[Taps, np.ndarray]]:
    return {case.name: generated(model, case) for case in POCKET_TTS_2M.cases}


@pytest.fixture(scope="module")
def seams(model: object) -> dict[str, Seam]:
    return {seam.stage: seam for seam in record(SMALL, model, HELLO)}


def steps(taps: Taps) -> list[Call]:
    return taps.calls[2 : 2 + len(taps.frames)]


def margins(taps: Taps) -> np.ndarray:
    return np.array([step.eos_logit.item() - SMALL.eos_threshold for step in steps(taps)])


def apart(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@torch.no_grad()
def latents(model: object, prompts: list[dict[str, torch.Tensor]], noise: np.ndarray, forget: bool = False) -> Taps:
    """A few frames after these prompts; `forget` wipes what the prompts left in the caches."""
    state = upstream.module("pocket_tts.modules.stateful_module").init_states(model.flow_lm, 1, CAPACITY)
    with Taps(model, noise) as taps:
        for prompt in prompts:
            model._run_flow_lm_and_increment_step(model_state=state, **prompt)
        if forget:
            for held in state.values():
                held["cache"][:, :, : int(held["offset"])] = 0
        latent = torch.full((1, 1, 32), float("nan"))
        for _ in range(4):
            latent, _ = model._run_flow_lm_and_increment_step(model_state=state, backbone_input_latents=latent)
    return taps


def prompts(taps: Taps) -> list[dict[str, torch.Tensor]]:
    return [{"audio_conditioning": torch.from_numpy(call.conditioning)} for call in taps.calls[:2]]


def made(taps: Taps) -> np.ndarray:
    return np.stack([call.latent for call in taps.calls if call.sequence.size][:4])


def test_seeded_weights_are_the_same_bits_everywhere(checkpoint: Path) -> None:
    held = load_file(checkpoint)
    found = {name: hashlib.sha256(held[name].numpy().astype("<f4").tobytes()).hexdigest()[:16] for name in DIGESTS}
    assert found == DIGESTS


def test_the_voice_is_ten_seconds_that_upstream_leaves_as_long(runs: dict[str, tuple[Taps, np.ndarray]]) -> None:
    for case in POCKET_TTS_2M.cases:
        voice = case.inputs["voice"]
        assert voice.shape == (1, 125 * FRAME)
        assert 0.2 < np.abs(voice).max() < 1
        conditioning = runs[case.name][0].calls[0].conditioning
        assert conditioning.shape == (1, 126, 112)
        assert np.diff(conditioning[:, 1:], axis=1).std() > 0.2 * conditioning.std()


def test_importing_upstream_leaves_the_threads_as_they_were() -> None:
    script = (
        "import torch; torch.set_num_threads(2)\n"
        "from references.pocket_tts import upstream\n"
        "upstream.module(); assert torch.get_num_threads() == 2, torch.get_num_threads()"
    )
    subprocess.run([sys.executable, "-c", script], cwd=project().root, check=True, timeout=120)


def test_eos_fires_where_the_cases_promise_it_and_not_by_a_hair(runs: dict[str, tuple[Taps, np.ndarray]]) -> None:
    for case in POCKET_TTS_2M.cases:
        taps, audio = runs[case.name]
        frames, margin = len(taps.frames), margins(taps)
        assert frames == FRAMES[case.name]
        assert audio.shape == (frames * FRAME,)
        fired = frames - int(case.inputs["frames_after_eos"][0])
        if case is ENDURANCE:
            assert frames == len(case.inputs["noise"])
            assert margin[GUARD:].max() < -MARGIN
            continue
        assert 20 <= fired <= 60
        assert margin[GUARD:fired].max() < -MARGIN
        assert margin[fired] > MARGIN
        assert np.abs(margin).min() > MARGIN


def test_the_first_frames_would_fire_if_they_were_not_ignored(runs: dict[str, tuple[Taps, np.ndarray]]) -> None:
    assert max(margins(runs[case.name][0])[:GUARD].max() for case in (HELLO, HARBOUR)) > MARGIN


def test_the_endurance_case_fills_the_caches_and_runs_round_the_ring(runs: dict[str, tuple[Taps, np.ndarray]]) -> None:
    taps, _ = runs["endurance"]
    assert CAPACITY - 8 < taps.calls[-1].position + 1 < CAPACITY
    assert len(taps.frames) * 16 > 60 * ring(50)


def test_the_audio_sounds_and_does_not_clip(runs: dict[str, tuple[Taps, np.ndarray]]) -> None:
    for _, audio in runs.values():
        assert 0.05 < np.sqrt(np.square(audio).mean()) < 0.2
        assert np.abs(audio).max() < 1
        power = np.square(np.abs(np.fft.rfft(audio))) + 1e-12
        assert np.exp(np.log(power).mean()) / power.mean() < 0.1, "white noise has a flat spectrum"
        loud = np.square(audio.reshape(-1, FRAME)).mean(axis=1)
        assert loud.std() > 0.02 * loud.mean()


def test_rounding_the_weights_to_half_does_not_run_away(
    checkpoint: Path, runs: dict[str, tuple[Taps, np.ndarray]]
) -> None:
    rounded = POCKET_TTS_2M.build(checkpoint)
    for weight in rounded.flow_lm.parameters():
        weight.data.copy_(weight.data.half().float())
    found, _ = generated(rounded, ENDURANCE)
    wanted = runs["endurance"][0]
    drift = [apart(now.latent, before.latent) for now, before in zip(found.calls[2:], wanted.calls[2:], strict=True)]
    assert 0 < max(drift[55:65]) < 0.05
    assert max(drift) < 0.05


def test_attention_order_and_noise_matter(model: object, runs: dict[str, tuple[Taps, np.ndarray]]) -> None:
    taps, noise = runs["harbour"][0], HARBOUR.inputs["noise"]
    voice_first = latents(model, prompts(taps), noise)
    assert apart(made(voice_first), made(taps)) < 1e-4
    assert apart(made(latents(model, prompts(taps), noise, forget=True)), made(taps)) > 0.2
    assert apart(made(latents(model, prompts(taps), noise[::-1].copy())), made(taps)) > 0.5
    text_first = latents(model, prompts(taps)[::-1], noise)
    assert apart(made(text_first), made(taps)) > 0.05
    for swapped, whole in zip(text_first.calls[0].rows, voice_first.calls[1].rows, strict=True):
        assert apart(swapped, whole) > 0.3


def test_decoding_frame_by_frame_is_decoding_at_once(model: object, runs: dict[str, tuple[Taps, np.ndarray]]) -> None:
    for taps, _ in runs.values():
        together = torch.from_numpy(np.stack([step.latent[0] for step in steps(taps)])[None])
        state = upstream.module("pocket_tts.modules.stateful_module").init_states(model.mimi, 1, 16 * len(taps.frames))
        with torch.no_grad():
            latent = together * model.flow_lm.emb_std + model.flow_lm.emb_mean
            audio = model.mimi.decode_from_latent(latent, state).numpy()
        streamed = np.concatenate([frame.audio for frame in taps.frames], axis=2)
        np.testing.assert_allclose(streamed, audio, rtol=0, atol=1e-5)


def test_every_stage_crosses_as_often_as_the_contract_says(seams: dict[str, Seam]) -> None:
    frames, tokens = FRAMES["hello"], HELLO.inputs["tokens"].size
    for stage, tensor, count in (
        ("cond_step", "conditioning", 126 + tokens),
        ("cond_prefill", "valid", 2),
        ("flowlm_step", "sequence", frames),
        ("flow_decoder", "latent", 8 * frames),
        ("flow_decoder_fused", "noise", frames),
        ("mimi_decoder", "latent", frames),
    ):
        assert len(seams[stage].inputs[tensor]) == count
    assert [*seams] == [
        "cond_step", "cond_prefill", "flowlm_step", "flow_decoder", "flow_decoder_fused", "mimi_decoder",
    ]  # fmt: skip


def test_caches_are_written_where_the_position_is_and_nowhere_else(seams: dict[str, Seam]) -> None:
    prompt = 126 + HELLO.inputs["tokens"].size
    for stage, first in (("cond_step", 0), ("flowlm_step", prompt)):
        seam = seams[stage]
        for layer in range(8):
            slots = seam.inputs[f"cache{layer}_out.slots"][:, 0]
            np.testing.assert_array_equal(slots, np.arange(first, first + len(slots)))
            np.testing.assert_array_equal(seam.outputs[f"position{layer}_out"][:, 0], slots + 1)
            assert not seam.inputs[f"cache{layer}"][:, :, first:].any()
    np.testing.assert_array_equal(seams["cond_prefill"].inputs["valid"], [[126], [prompt - 126]])
    ring_slots = seams["mimi_decoder"].inputs["cache0_out.slots"]
    np.testing.assert_array_equal(np.sort(np.arange(16 * FRAMES["hello"]).reshape(-1, 16) % 80), ring_slots)


def test_the_noise_that_was_fed_is_the_case_s_own(seams: dict[str, Seam]) -> None:
    fed = seams["flow_decoder_fused"].inputs["noise"][:, 0]
    np.testing.assert_array_equal(fed, HELLO.inputs["noise"][: len(fed)] * np.float32(0.7**0.5))
    first = seams["flow_decoder"].inputs["latent"][::8, 0]
    np.testing.assert_array_equal(first, fed)


def test_the_model_is_left_without_taps(model: object, runs: dict[str, tuple[Taps, np.ndarray]]) -> None:
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_table_of_embeddings_is_the_same_bits_however_it_is_made(model: object) -> None:
    with torch.no_grad():
        table = model.flow_lm.conditioner(torch.arange(4001)[None]).numpy()[0]
        for case in POCKET_TTS_2M.cases:
            tokens = case.inputs["tokens"]
            embedded = model.flow_lm.conditioner(torch.from_numpy(tokens).long()).numpy()
            np.testing.assert_array_equal(embedded[0], table[tokens[0]])


def test_a_checkpoint_that_runs_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pickled.pth"
    torch.save({"flow_lm.bos_emb": torch.zeros(32)}, path)
    with pytest.raises(SafetensorError):
        POCKET_TTS_2M.build(path)


def test_a_checkpoint_that_lacks_a_parameter_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    """Of the published small model, the flow head knows no time."""
    path = tmp_path / "timeless.safetensors"
    save_file({name: value for name, value in load_file(checkpoint).items() if "time_embed" not in name}, path)
    with pytest.raises(RuntimeError, match="time_embed"):
        POCKET_TTS_2M.build(path)


def test_a_published_file_that_nobody_has_seen_is_not_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    other = tmp_path / "model.safetensors"
    save_file({}, other)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(other))
    for reference in (POCKET_TTS, POCKET_TTS_2M):
        weights = choose(reference, "hub", Cache(tmp_path / "cache"))
        with pytest.raises(WeightsError, match="no sha256 yet"):
            weights.checkpoint()
        with pytest.raises(WeightsError, match="no sha256 yet"):
            dressed(reference, weights)


def test_published_weights_speak_in_published_words(
    model: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    path = tmp_path / "tokenizer.json"
    words.write({word: (number + 7) % words.ENTRIES for word, number in VOCABULARY.items()}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(path))
    reference = replace(
        POCKET_TTS_2M, published={"tokenizer": replace(POCKET_TTS_2M.published["tokenizer"], sha256=digest)}
    )
    hub = choose(reference, "hub", Cache(tmp_path / "cache"))
    before, after = reference.cases[0], dressed(reference, hub).cases[0]
    np.testing.assert_array_equal(after.inputs["tokens"], (before.inputs["tokens"] + 7) % words.ENTRIES)
    own = model.flow_lm.conditioner.tokenizer
    try:
        taps, _ = generated(model, after)
    finally:
        model.flow_lm.conditioner.tokenizer = own
    with torch.no_grad():
        embedded = model.flow_lm.conditioner(torch.from_numpy(after.inputs["tokens"]).long()).numpy()
    np.testing.assert_array_equal(taps.calls[1].conditioning, embedded)


def test_tokens_that_are_not_upstream_s_are_refused(model: object) -> None:
    wrong = replace(HELLO, inputs={**HELLO.inputs, "tokens": HELLO.inputs["tokens"] + 1})
    with pytest.raises(ValueError, match="case hello: its tokens are"):
        generated(model, wrong)
