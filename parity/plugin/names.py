"""The marks of the three suites, and what the plugin's parts keep in pytest's configuration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PARITY, BENCH, SPEECH = "parity", "bench", "speech"
MARKS = {
    PARITY: "artifacts against the goldens; builds what is missing",
    BENCH: "speed, size and load time against budgets",
    SPEECH: "words and voice of what the systems say, against their floors",
}
FILES = pytest.StashKey[dict[Path, str]]()
"""The files that declare systems, each with the name of its module."""
ITEMS = pytest.StashKey[list[Callable[[pytest.File, Any], Iterator[pytest.Item]]]]()
"""For each suite that `-m` selects, the function that makes its items of a system in the file that declares it."""
MEASURED = pytest.StashKey[frozenset[str]]()
"""The ids of the checks that this run measured before their tests."""
