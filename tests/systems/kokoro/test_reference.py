"""The seeded Kokoro speaks: what its goldens hold is what a speech model would give, and the same on every machine."""

from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from parity.base.cache import Cache
from parity.base.paths import project
from parity.declarations import Golden
from parity.golden.store import GoldenStore
from parity.plan.weights import WeightsError, choose, contents, dressed
from references import seeding
from references.kokoro import REFERENCE, source_noise
from references.kokoro.seeds import seeded

DIGESTS = ["bf59521fbbbb0a70", "4e71ddc9015393f2", "77ad03c15162acd3", "9d0454fb3be6423b"]
SHORT = [case for case in REFERENCE.cases if case.short]


@pytest.fixture(scope="module")
def goldens() -> list[Golden]:
    cache = Cache(project().state_folder)
    store = GoldenStore(REFERENCE, project().golden_folder, cache, choose(REFERENCE, "seeded", cache))
    return [store.load(case) for case in SHORT]


def test_passages_have_the_lengths_of_the_published_table() -> None:
    tokens = [case.inputs["input_ids"].shape[1] for case in REFERENCE.cases]
    assert np.allclose(tokens[:6], [13, 66, 128, 272, 457, 512], rtol=0.1)
    assert max(tokens) <= 512


def test_seeded_numbers_are_the_same_bits_everywhere() -> None:
    drawn = [seeding.uniform("a", 1001), seeding.normal("a", 1001), seeding.clustered("a", 1001)]
    drawn.append(seeding.tailed("a", 1001, wide=4, one_in=16))
    digests = [hashlib.sha256(np.ascontiguousarray(values, "<f4")).hexdigest()[:16] for values in drawn]
    assert digests == DIGESTS


def test_a_longer_draw_begins_with_the_shorter_one() -> None:
    assert np.array_equal(seeding.normal("x", 10, 9), seeding.normal("x", 50, 9)[:10])


def test_normal_numbers_are_normal() -> None:
    values = seeding.normal("moments", 200_000).astype(np.float64)
    assert abs(values.mean()) < 0.01
    assert abs(values.std() - 1) < 0.01


def test_tails_are_wider_and_the_variance_stays() -> None:
    values = seeding.tailed("moments", 1_000_000, wide=8, one_in=128).astype(np.float64)
    assert abs(values.mean()) < 0.01
    assert abs(values.std() - 1) < 0.02
    assert 30 < (values**4).mean() < 50
    assert 15 < np.abs(values).max() < 25


def test_seeded_weights_have_the_tails_of_their_kind() -> None:
    """Kurtosis, largest value in standard deviations: what was measured of the trained weights, roughly."""
    kinds = {
        "bert.encoder.albert_layer_groups.0.albert_layers.0.ffn_output.weight": ((768, 2048), 10, 25, 30, 60),
        "bert.encoder.albert_layer_groups.0.albert_layers.0.attention.query.weight": ((768, 768), 2.5, 3.2, 3, 6),
        "decoder.generator.resblocks.1.convs1.0.weight_v": ((256, 256, 7), 5, 8, 10, 15),
        "predictor.lstm.weight_ih_l0": ((1024, 640), 3, 4.2, 5, 8),
    }
    for name, (shape, least, most, near, far) in kinds.items():
        values = seeded(name, shape).double()
        scaled = (values - values.mean()) / values.std()
        assert least < (scaled**4).mean() < most, name
        assert near < scaled.abs().max() < far, name


def test_durations_are_of_1_to_8_frames_and_not_all_the_same(goldens: list[Golden]) -> None:
    for golden in goldens:
        durations = golden["alignment"].inputs["pred_dur"]
        assert 1 <= durations.min() < durations.max() <= 8


def test_no_duration_of_a_short_case_hangs_on_rounding(goldens: list[Golden]) -> None:
    for golden in goldens:
        durations = golden["post_albert"].outputs["duration"]
        margin = np.abs(durations - np.floor(durations) - 0.5)
        assert np.where(durations < 1, 1.5 - durations, margin).min() > 0.005


def test_pitch_is_mostly_voiced_and_sometimes_not(goldens: list[Golden]) -> None:
    pitch = np.concatenate([golden["prosody"].outputs["F0"].reshape(-1) for golden in goldens])
    assert ((pitch > 80) & (pitch < 300)).mean() > 0.7
    assert (pitch <= 10).sum() >= 3


def test_the_audio_sounds_and_does_not_clip(goldens: list[Golden]) -> None:
    for golden in goldens:
        audio = golden["tail"].outputs["audio"]
        assert 0.01 < np.sqrt(np.square(audio).mean()) < 0.3
        assert np.abs(audio).max() < 1


def test_the_source_noise_that_was_fed_is_the_case_s_own(goldens: list[Golden]) -> None:
    for case, golden in zip(SHORT, goldens, strict=True):
        fed = golden["noise"].inputs["source_noise"]
        assert np.array_equal(fed, source_noise(case, *fed.shape))


def test_a_checkpoint_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (print, ("boom",))

    checkpoint = tmp_path / "bomb.pth"
    checkpoint.write_bytes(pickle.dumps({"bert": Bomb()}))
    with pytest.raises((pickle.UnpicklingError, RuntimeError)):
        REFERENCE.build(checkpoint)


def test_a_checkpoint_of_the_user_s_own_is_known_by_its_tensors(tmp_path: Path) -> None:
    checkpoint = tmp_path / "mine.pth"
    torch.save({}, checkpoint)
    found = choose(REFERENCE, str(checkpoint), Cache(tmp_path / "cache"))
    assert found.source == "path"
    assert found.identity["tensors"] == contents(checkpoint)
    with pytest.raises(WeightsError, match="no such file"):
        choose(REFERENCE, str(tmp_path / "none.pth"), Cache(tmp_path / "cache"))


def test_published_weights_that_are_not_the_pinned_ones_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    other = tmp_path / "kokoro-v1_0.pth"
    torch.save({}, other)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(other))
    found = choose(REFERENCE, "hub", Cache(tmp_path / "cache"))
    assert found.identity["revision"] == REFERENCE.checkpoint.revision
    with pytest.raises(WeightsError, match="is pinned to 496dba118d1a"):
        found.checkpoint()


def test_published_weights_speak_in_the_published_voice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pack holds a style for each number of phonemes, in the shape that upstream's pipeline reads it in."""
    import huggingface_hub

    pack = torch.arange(510.0)[:, None, None].expand(510, 1, 256).clone()
    torch.save(pack, tmp_path / "af_heart.pt")
    digest = hashlib.sha256((tmp_path / "af_heart.pt").read_bytes()).hexdigest()
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(tmp_path / "af_heart.pt"))
    reference = replace(REFERENCE, published={"voice": replace(REFERENCE.published["voice"], sha256=digest)})
    seeded, hub = (choose(reference, asked, Cache(tmp_path / "cache")) for asked in ("seeded", "hub"))
    assert dressed(reference, seeded) is reference
    for before, after in zip(reference.cases, dressed(reference, hub).cases, strict=True):
        phonemes = before.inputs["input_ids"].size - 2
        assert after.inputs["ref_s"].shape == before.inputs["ref_s"].shape
        np.testing.assert_array_equal(after.inputs["ref_s"], pack[phonemes - 1].numpy())
    with pytest.raises(WeightsError, match="is pinned to 0ab5709b8ffa"):
        dressed(REFERENCE, hub)
