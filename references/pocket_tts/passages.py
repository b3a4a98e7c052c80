"""The passages."""

from __future__ import annotations

from dataclasses import dataclass

from references.pocket_tts import words


@dataclass(frozen=True)
class Passage:
    """Upstream goes on for `after` frames behind EOS."""

    text: str
    after: int


PASSAGES = {
    "hello": Passage("The quick fox jumps.", after=5),
    "harbour": Passage("A small boat left the old harbour early, before the morning wind came.", after=3),
    "endurance": Passage(
        "We walked along the river until the road ended, and nobody spoke for a very long time. "
        "The light was thin, the fields were white with frost, and somewhere behind the hills a train went north. "
        "When we came to the bridge she stopped, looked back at the town, and said that it had always "
        "seemed much larger from the water.",
        after=3,
    ),
}
VOCABULARY = words.vocabulary(passage.text for passage in PASSAGES.values())
