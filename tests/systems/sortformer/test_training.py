"""What trains the small Sortformer: meetings that a seed determines, labels that fit the sound, a model that learns."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from parity.base.libraries import threads
from references.sortformer import labels, meetings, speaking, voices
from references.sortformer.bank import Bank, Contents, open_bank
from references.sortformer.checkpoint import Source
from references.sortformer.config import SPEAKERS
from references.sortformer.recipe import RECIPES, Part, Recipe
from references.sortformer.speaking import RATE, TICK
from references.sortformer.train import Batches, train

CHECKPOINT = Path(__file__).parents[3] / "references/sortformer/checkpoint.safetensors"
needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed: no voices")
needs_nemo = pytest.mark.skipif(
    importlib.util.find_spec("nemo") is None, reason="NeMo is not installed: no Sortformer to train"
)
PLAIN = "language variant\nname plain\n"
SMALL = Contents("training", speakers=6, utterances=3, seed=5)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    return open_bank(SMALL, tmp_path_factory.mktemp("bank"))


@pytest.fixture
def one_thread() -> Iterator[None]:
    with threads(1):
        yield


@needs_espeak
def test_the_same_seed_gives_the_same_bits(bank: Bank, tmp_path: Path) -> None:
    again = open_bank(SMALL, tmp_path)
    assert again.digest() == bank.digest()
    one, other = (meetings.meeting(source, [1, 2], 10, stretch=0.1) for source in (bank, again))
    assert one.samples.tobytes() == other.samples.tobytes()
    assert np.array_equal(one.active, other.active)
    assert one.samples.tobytes() != meetings.meeting(bank, [1, 3], 10, stretch=0.1).samples.tobytes()


@needs_espeak
def test_speakers_differ_and_so_do_their_utterances(bank: Bank) -> None:
    assert len({bank.utterance(number).tobytes() for number in range(len(bank.ends))}) == 18
    assert len({voice.name for voice in bank.speakers}) == 6
    assert any(voice.definition for voice in bank.speakers)


@needs_espeak
def test_a_voice_is_heard_as_it_was_made(bank: Bank, tmp_path: Path) -> None:
    """espeak-ng replaces what it doesn't find by another voice, and says nothing."""
    voice = next(voice for voice in bank.speakers if voice.definition)
    ours, plain, elsewhere = voice, replace(voice, definition=PLAIN), replace(voice, accent="en-gb-scotland")
    said = set()
    for number, one in enumerate((ours, plain, elsewhere)):
        place = speaking.prepared(one, tmp_path / str(number))
        # What espeak-ng lists ends there.
        assert sum(1 for path in (place / "espeak-ng-data").rglob("*") if not path.is_dir()) < 350
        said.add(speaking.spoken(one, "Where is the harbour?", place).tobytes())
    assert len(said) == 3


def test_no_held_out_family_trains() -> None:
    training = {voice.family for voice in voices.training(800, 5)}
    held_out = {voice.family for voice in voices.held_out(56, 7)}
    assert not training & held_out
    assert len(held_out) > 20


@needs_espeak
def test_labels_are_where_the_sound_is(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meetings, "_add_noise", lambda *arguments: None)
    monkeypatch.setattr(meetings.rooms, "path", lambda random, reverberation: np.ones(1, np.float32))
    for seed in range(4):
        held = meetings.meeting(bank, [3, seed], 20)
        loudness = np.sqrt(np.mean(held.samples.reshape(-1, TICK) ** 2, axis=1))
        anyone = held.active.any(axis=1)
        inside = np.sum(loudness[anyone] ** 2) / np.sum(loudness**2)
        assert inside > 0.995
        assert np.median(loudness[anyone]) > 30 * np.median(loudness[~anyone])


@needs_espeak
def test_meetings_keep_within_their_bounds(bank: Bank) -> None:
    for seed in range(8):
        count = seed % SPEAKERS + 1
        held = meetings.meeting(bank, [4, seed], 30, count)
        assert held.samples.shape == (30 * RATE,)
        assert held.active.shape == (3000, SPEAKERS)
        assert 0.04 < np.abs(held.samples).max() < 0.96
        assert not held.active[:, count:].any()
        assert 0.2 < held.active.any(axis=1).mean() <= 1
        assert (held.active.sum(axis=1) > 1).mean() < 0.5
        first = [int(column.argmax()) for column in held.active.T if column.any()]
        assert first == sorted(first)


@needs_espeak
def test_a_batch_depends_on_its_step_alone(bank: Bank) -> None:
    recipe = Recipe((Part(4, 5, 2, 0.0),), SMALL)
    whole, resumed = Batches(bank, recipe, 0), Batches(bank, recipe, 3)
    assert len(resumed) == 1
    assert all(torch.equal(one, other) for one, other in zip(whole[3], resumed[0], strict=True))
    assert whole[0][1].shape == (2, 63, SPEAKERS)


def test_learning_rate_goes_up_and_down() -> None:
    for recipe in RECIPES.values():
        rates = [recipe.at(step) for step in range(recipe.steps)]
        assert max(rates) == pytest.approx(recipe.rate, rel=0.01)
        assert np.argmax(rates) == pytest.approx(recipe.warm_up, abs=2)
        assert 0 < rates[-1] < 0.02 * recipe.rate


def test_activity_bridges_pauses_and_leaves_clicks_out() -> None:
    sound = np.zeros(3 * RATE, np.float32)
    tone = np.sin(np.arange(RATE) * 0.3).astype(np.float32)
    sound[: RATE // 2] = tone[: RATE // 2]
    sound[int(0.7 * RATE) : RATE] = tone[: RATE - int(0.7 * RATE)]  # after a short pause
    sound[2 * RATE : 2 * RATE + 300] = 1  # a click
    assert labels.turns(speaking.activity(sound)) == [(0, 100)]


def test_frames_and_ticks() -> None:
    active = np.zeros((20, 2), np.bool_)
    active[4:12, 0] = True
    active[13:20, 1] = True
    assert labels.frames(active).tolist() == [[True, False], [True, False], [False, True]]
    assert labels.ticks(labels.frames(active), 20)[:, 0].tolist() == [True] * 16 + [False] * 4


@needs_espeak
@needs_nemo
def test_a_few_steps_lower_the_loss(bank: Bank, one_thread: None) -> None:
    from references.sortformer import learning, upstream

    learning.seed_everything(1)
    model = upstream.untrained()
    samples, active = Batches(bank, Recipe((Part(1, 4, 2, 0.0),), SMALL), 0)[0]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for streaming in (None, None, None, learning.STREAMS[1]):
        found = learning.predictions(model, samples.float() / 32768, streaming)
        assert found.shape == active.shape
        total = learning.loss(model, found, active)
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(total.item())
    assert losses[-1] < 0.95 * losses[0]


@needs_espeak
@needs_nemo
def test_a_run_that_was_stopped_goes_on_as_if_it_never_was(tmp_path: Path, one_thread: None) -> None:
    recipe = Recipe((Part(1, 3, 1, 0.0), Part(1, 3, 1, 1.0)), SMALL, warm_up=1)
    train(recipe, tmp_path / "whole", "cpu", 0, minutes=60)
    for _ in range(2):
        train(recipe, tmp_path / "stopped", "cpu", 0, minutes=0)
    whole, stopped = (tmp_path / name / "checkpoint.safetensors" for name in ("whole", "stopped"))
    assert whole.read_bytes() == stopped.read_bytes()
    facts = json.loads(stopped.with_suffix(".json").read_text())
    assert facts["steps"] == 2
    assert facts["sha256"] == hashlib.sha256(stopped.read_bytes()).hexdigest()


@needs_nemo
def test_the_checkpoint_is_small_and_whole() -> None:
    assert CHECKPOINT.stat().st_size < 8_000_000
    model = Source(CHECKPOINT).nemo
    assert all(torch.isfinite(value).all() for value in model.state_dict().values() if value.is_floating_point())
    assert {value.dtype for value in model.parameters()} == {torch.float32}
