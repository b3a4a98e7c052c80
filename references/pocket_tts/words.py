"""A tokenizer in the upstream's own format that knows the words of the passages: the published one is not at hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

ENTRIES = 4000
_UNKNOWN = "<unk>"
_SPACE = "▁"


def pieces(text: str) -> list[str]:
    """The text as the tokenizer splits it: each word with the space before it, punctuation apart."""
    return re.findall(rf"{_SPACE}\w+|\w+|[^\w\s]", _SPACE + text.replace(" ", _SPACE))


def vocabulary(texts: Iterable[str]) -> dict[str, int]:
    """4000 entries; those in use lie spread among them."""
    used = sorted({piece for text in texts for piece in pieces(text)} | {_SPACE, *".!?,;:"})
    apart = (ENTRIES - 1) // len(used)
    taken = {1 + apart * number: piece for number, piece in enumerate(used)}
    return {_UNKNOWN if number == 0 else taken.get(number, f"<{number}>"): number for number in range(ENTRIES)}


def write(vocabulary: dict[str, int], path: Path) -> None:
    path.write_text(
        json.dumps(
            {
                "version": "1.0",
                "truncation": None,
                "padding": None,
                "added_tokens": [],
                "normalizer": None,
                "pre_tokenizer": {
                    "type": "Sequence",
                    "pretokenizers": [
                        {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": "always", "split": True},
                        {"type": "Punctuation", "behavior": "Isolated"},
                    ],
                },
                "post_processor": None,
                "decoder": {"type": "Metaspace", "replacement": _SPACE, "prepend_scheme": "always", "split": True},
                "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": _UNKNOWN},
            }
        )
    )
