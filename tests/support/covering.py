"""Small sets of cases for tests with several parameters.

Stacked `parametrize` marks run the whole product, of which most cases repeat others. A fault seldom hangs on more than
two parameters, so these marks run as few cases as reach every value, or every pair of values.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations, product
from typing import Any

import pytest

Choices = Mapping[str, Collection[Any]]
"""Values by parameter. A key may name several parameters, `"shape, axis"`: its values are tuples."""


def each(choices: Choices) -> pytest.MarkDecorator:
    """Parametrize a test so that every value of every parameter occurs at least once.

    Args:
        choices: The values of each parameter. Give values in the order of likely faults: value n of one parameter
            meets value n of the others, and shorter lists start over.
    """
    count = max(map(len, choices.values()))
    return _cases(choices, [tuple(n % len(values) for values in choices.values()) for n in range(count)])


def pairs(choices: Choices) -> pytest.MarkDecorator:
    """Parametrize a test so that every pair of values of two parameters occurs at least once.

    Args:
        choices: The values of each parameter.
    """
    rest = list(product(*(range(len(values)) for values in choices.values())))
    covered = {case: set(combinations(enumerate(case), 2)) for case in rest}
    missing = set[Any]().union(*covered.values())
    chosen = []
    while missing:
        best = max(rest, key=lambda case: len(covered[case] & missing))
        missing -= covered[best]
        chosen.append(best)
    return _cases(choices, sorted(chosen))


def _cases(choices: Choices, indices: Sequence[tuple[int, ...]]) -> pytest.MarkDecorator:
    names = [[name.strip() for name in key.split(",")] for key in choices]
    cases = []
    for case in indices:
        arguments: list[Any] = []
        for key, values, index in zip(names, choices.values(), case, strict=True):
            value = list(values)[index]
            arguments += value if len(key) > 1 else [value]
        cases.append(tuple(arguments))
    flat = [name for key in names for name in key]
    return pytest.mark.parametrize(flat, cases)
