"""Where a value is not upstream's, it is said what it is, what upstream has, and whether it is only another order."""

from __future__ import annotations

import numpy as np
import pytest

from parity.run.chain import difference

COUNTS = np.array([4, 1, 3, 2, 9], np.int32)
ROWS = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.mark.parametrize(
    ("value", "truth", "said"),
    [
        (np.array(5), np.array(4), "5 where upstream has 4"),
        (np.array([4, 1, 7, 2, 9], np.int32), COUNTS, "7 where upstream has 3 at 2"),
        (COUNTS + 1, COUNTS, "5 where upstream has 4 at 0, 2 where upstream has 1 at 1, 4 where upstream has 3 at 2"
         " and 2 more of 5 values"),
        (COUNTS[[0, 2, 1, 3, 4]], COUNTS, "upstream's values in another order along axis 0: 1 is 2, 2 is 1"),
        (ROWS[[1, 0, 2, 3]], ROWS, "upstream's values in another order along axis 0: 0 is 1, 1 is 0"),
        (ROWS[:, ::-1], ROWS, "upstream's values in another order along axis 1: 0 is 2, 2 is 0"),
        (ROWS[::-1], ROWS, "upstream's values in another order along axis 0: 0 is 3, 1 is 2, 2 is 1 and 1 more"),
        (COUNTS[:4], COUNTS, "shape (4,) where upstream has (5,)"),
        (COUNTS.astype(np.int64), COUNTS, "int64 where upstream has int32"),
        (np.array([1.5, np.nan], np.float32), np.array([1.25, np.nan], np.float32), "1.5 where upstream has 1.25 at 0"),
        (np.array([[4, 4], [1, 4]]), np.array([[4, 1], [4, 4]]), "4 where upstream has 1 at (0, 1), 1 where upstream"
         " has 4 at (1, 0)"),
    ],
)  # fmt: skip
def test_a_difference_is_told_in_a_few_words(value: np.ndarray, truth: np.ndarray, said: str) -> None:
    assert difference(value, truth) == said
