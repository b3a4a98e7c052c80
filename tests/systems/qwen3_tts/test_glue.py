"""The host code of Qwen3-TTS where no case of its own goes: ids and positions out of range, tokens that come again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import RepetitionPenaltyLogitsProcessor

from converters.qwen3_tts.glue import Glue
from converters.qwen3_tts.sampling import Sampling
from references.qwen3_tts.sizes import CODEC_EOS, CODES, REPETITION_PENALTY, SMALL, SUPPRESSED, VOCABULARY
from tests.faults.qwen3_mutants import PerOccurrence

GLUE = Glue(SMALL)


@pytest.mark.parametrize(("id", "group"), [(-1, 0), (VOCABULARY, 0), (-1, 1), (CODES, 1), (CODES, 15)])
def test_an_id_outside_its_codebook_is_an_error(id: int, group: int) -> None:
    with pytest.raises(ValueError, match=f"id {id} is outside codebook {group}"):
        GLUE.knows(id, group)


@pytest.mark.parametrize(("id", "group"), [(0, 0), (VOCABULARY - 1, 0), (0, 1), (CODES - 1, 15)])
def test_the_ends_of_a_codebook_belong_to_it(id: int, group: int) -> None:
    GLUE.knows(id, group)


def test_codes_are_checked_before_they_are_decoded() -> None:
    def run(*_: object) -> dict[str, np.ndarray]:
        raise AssertionError("a stage ran")

    with pytest.raises(ValueError, match=f"id {CODES} is outside codebook 3"):
        GLUE.decode(run, np.array([[0, 0, 0, CODES, *[0] * 12]], np.int32))  # type: ignore[arg-type]


def test_a_position_past_the_cache_is_an_error() -> None:
    GLUE.fits(SMALL.capacity - 1)
    with pytest.raises(ValueError, match="past the 32 slots"):
        GLUE.fits(SMALL.capacity)


PENALTY = np.float32(REPETITION_PENALTY)
PENALIZED = [np.float32(2) / PENALTY, np.float32(-2) * PENALTY, 2]


def penalized(sampling: Sampling, tokens: list[int]) -> list[float]:
    scores = np.zeros(VOCABULARY, np.float32)
    scores[[7, 8, 9]] = 2, -2, 2
    found: list[float] = sampling.penalized(scores, tokens)[[7, 8, 9]].tolist()
    return found


def test_a_token_that_came_twice_is_penalized_once_as_upstream_does() -> None:
    tokens = [7, 8, 7, 8, 7]
    scores = torch.zeros(1, VOCABULARY)
    scores[0, [7, 8, 9]] = torch.tensor([2.0, -2.0, 2.0])
    upstream = RepetitionPenaltyLogitsProcessor(REPETITION_PENALTY)(torch.tensor([tokens]), scores)
    assert penalized(Sampling(0.9), tokens) == pytest.approx(upstream[0, [7, 8, 9]].tolist())
    assert penalized(Sampling(0.9), tokens) == PENALIZED


def test_a_penalty_for_each_occurrence_is_another_one() -> None:
    assert penalized(PerOccurrence(0.9), [7, 8]) == PENALIZED, "no case can show it before a token comes again"
    assert penalized(PerOccurrence(0.9), [7, 8, 7]) != PENALIZED


def test_eos_is_let_through_once_two_tokens_are_made_and_other_ids_of_special_meaning_never() -> None:
    scores = np.zeros(VOCABULARY, np.float32)
    for made, let_through in ((0, False), (1, False), (2, True)):
        allowed = np.isfinite(Sampling(0.9).allowed(scores, made))
        assert allowed[CODEC_EOS] == let_through
        assert allowed.sum() == SUPPRESSED + let_through


def test_where_all_sums_fall_short_of_the_uniform_the_last_place_is_taken() -> None:
    assert Sampling(0.9).place(np.array([0.5, 0.9, 0.9999], np.float32), 1.0) == 2
