"""Variants that decide by themselves: the truth follows their own decisions, and a fault still shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from parity.build import convert
from parity.declarations import Seam, Stage, Variant, f32, i32
from parity.judge import probes
from parity.run import stepping

STEPS, IDS, WIDTH = 12, 20, 8
Outputs = Mapping[str, np.ndarray]


class Chooser(nn.Module):
    """Chooses an id by scores of a row and of the id before it, again and again; `bias` is noise on the scores."""

    def __init__(self, upstream: Any = None, noise: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.scores = nn.Parameter(torch.randn(IDS, IDS, WIDTH), requires_grad=False)
            self.noise = noise * torch.randn(STEPS, IDS)

    def forward(self, row: Tensor, unread: Tensor) -> Tensor:
        return self.chosen(row, None)

    def chosen(self, row: Tensor, given: Tensor | None) -> Tensor:
        ids, before = [], torch.zeros(1, dtype=torch.int64)
        for step in range(STEPS):
            ids.append((self.scores[before[0]] @ row + self.noise[step]).argmax()[None])
            before = ids[-1] if given is None else given[step : step + 1].long()
        return torch.cat(ids).to(torch.int32)


class Replay(Chooser):
    def forward(self, row: Tensor, unread: Tensor, ids: Tensor | None = None) -> Tensor:
        return self.chosen(row, ids)


class Deaf(Chooser):
    """Goes on with another id than the one that it chose."""

    def chosen(self, row: Tensor, given: Tensor | None) -> Tensor:
        return super().chosen(row, torch.zeros(STEPS, dtype=torch.int32))


class Ignoring(Chooser):
    def forward(self, row: Tensor, unread: Tensor) -> Tensor:
        return self.chosen(torch.ones(WIDTH), None)


NOISY = Variant("noisy", "float32", ships=True, replayed="one other decision changes all that follow")
STAGE = Stage(
    "chooser",
    Chooser,
    {"row": f32(WIDTH), "unread": f32(2)},
    {"ids": i32(STEPS, kind="counter")},
    (NOISY,),
    stepped=True,
    replay=Replay,
)
ROWS = np.random.default_rng(1).standard_normal((3, WIDTH)).astype(np.float32)


def run(module: nn.Module) -> Any:
    return lambda inputs: convert.call(module, STAGE, inputs)


def answer(inputs: Outputs, outputs: Outputs) -> Outputs:
    whole = Stage("replay", Replay, {**STAGE.inputs, **STAGE.outputs}, STAGE.outputs, (NOISY,), replay=Replay)
    return convert.call(Replay(), whole, {**inputs, **outputs})


def golden() -> Seam:
    unread = np.ones((len(ROWS), 2), np.float32)
    made = [run(Chooser())({"row": row, "unread": unread[0]})["ids"] for row in ROWS]
    return Seam("chooser", {"row": ROWS, "unread": unread}, {"ids": np.stack(made)})


def both(module: nn.Module) -> probes.Both:
    return probes.Both(STAGE, NOISY, golden(), run(module), run(Chooser()), run(Chooser()))


def agreement(module: nn.Module) -> tuple[float, float]:
    """Return the share of decisions that are upstream's, and of those that are the module's after the same ones."""
    seam = golden()
    made = np.stack([run(module)({"row": row, "unread": np.ones(2, np.float32)})["ids"] for row in ROWS])
    truth = stepping.replayed(STAGE, seam, run(module), answer)
    return float(np.mean(made == seam.outputs["ids"])), float(np.mean(made == truth.outputs["ids"]))


def test_the_truth_of_a_sound_artifact_is_upstreams() -> None:
    assert agreement(Chooser()) == (1.0, 1.0)


def test_decisions_that_follow_from_another_one_are_not_held_against_an_artifact() -> None:
    upstream, own = agreement(Chooser(noise=0.5))
    assert upstream < 0.5
    assert own > 0.7


def test_an_artifact_that_does_not_follow_its_own_decisions_is_seen() -> None:
    assert agreement(Deaf())[1] < 0.3


def test_a_stage_that_runs_once_is_replayed_as_well() -> None:
    once = Stage("once", Chooser, STAGE.inputs, STAGE.outputs, (NOISY,), replay=Replay)
    seam = Seam("once", {"row": ROWS[0], "unread": np.ones(2, np.float32)}, {"ids": golden().outputs["ids"][0]})
    found = stepping.replayed(once, seam, run(Chooser()), answer)
    np.testing.assert_array_equal(found.outputs["ids"], seam.outputs["ids"])


def test_an_input_that_an_artifact_ignores_is_named_and_so_is_one_without_effect() -> None:
    sound, ignoring = (
        {found.output: found for found in probes.decided(both(module), answer)}
        for module in (Chooser(noise=0.1), Ignoring())
    )
    assert sound["row"].passed
    assert "ids moves otherwise than in the module" in ignoring["row"].message
    assert not sound["unread"].passed
    assert sound["unread"].message == "has no effect"


@pytest.mark.parametrize(
    ("variant", "more", "told"),
    [
        (NOISY, {"replay": None}, "chooser: noisy is replayed, and it declares no `replay`"),
        (
            NOISY,
            {"replay": Replay, "carries": {"ids": "row"}},
            "noisy is replayed, and it carries values from step to step",
        ),
    ],
)
def test_a_variant_that_cannot_be_replayed_is_refused(variant: Variant, more: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Stage("chooser", Chooser, STAGE.inputs, STAGE.outputs, (variant,), **more)


def test_compressed_weights_of_a_package_cannot_be_replayed() -> None:
    with pytest.raises(ValueError, match="pal8: replayed, and a package's compressed weights have no module"):
        Variant("pal8", "float16", palettize=8, replayed="decisions")
