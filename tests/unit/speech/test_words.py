"""Words are counted as jiwer counts them, after a normalisation that is stated."""

from __future__ import annotations

import pytest

from parity.speech.metrics import normalised, word_errors
from parity.speech.sound import SpeechError


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Hello, you.", "hello you"),
        ("  The wet\nroofs — at last! ", "the wet roofs at last"),
        ("don’t ‘quote’ the boys' hat", "don't quote the boys hat"),
        ("twenty-one snake_case", "twenty one snake case"),
        ("Ｆｕｌｌ ｗｉｄｔｈ Ünder", "full width ünder"),
        ("…!?", ""),
    ],
)
def test_case_and_marks_do_not_count(text: str, plain: str) -> None:
    assert normalised(text) == plain


def test_errors_are_told_apart_and_counted_over_all_passages() -> None:
    found = word_errors(["The first boat came in.", "Hello, you."], ["the fast boat came in now", "you"])
    assert (found.substitutions, found.deletions, found.insertions) == (1, 1, 1)
    assert found.wer == pytest.approx(3 / 7)


def test_nothing_heard_is_every_word_wrong() -> None:
    assert word_errors(["one two three"], [""]).wer == 1.0


def test_more_words_than_were_written_are_worse_than_none() -> None:
    assert word_errors(["one"], ["a b c"]).wer == 3.0


def test_a_passage_without_words_measures_nothing() -> None:
    with pytest.raises(SpeechError, match="has no words"):
        word_errors(["one", "…"], ["one", ""])
