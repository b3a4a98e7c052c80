"""Covering sets of cases."""

from __future__ import annotations

from itertools import combinations, product

from tests.support.covering import each, pairs

CHOICES = {"a": [1, 2, 3], "b, c": [("x", 0), ("y", 1)], "d": [True, False], "e": ["p", "q", "r", "s"]}


def test_each_reaches_every_value_in_as_many_cases_as_the_longest_list() -> None:
    names, cases = each(CHOICES).args
    assert names == ["a", "b", "c", "d", "e"]
    assert len(cases) == 4
    assert [set(column) for column in zip(*cases, strict=True)] == [
        {1, 2, 3},
        {"x", "y"},
        {0, 1},
        {True, False},
        {"p", "q", "r", "s"},
    ]


def test_pairs_reach_every_pair_of_values_in_fewer_cases_than_the_product() -> None:
    _, cases = pairs(CHOICES).args
    wanted = list(product([1, 2, 3], ["x", "y"], [True, False], ["p", "q", "r", "s"]))
    kept = [(a, b, d, e) for a, b, _, d, e in cases]
    for first, second in combinations(range(4), 2):
        assert {(case[first], case[second]) for case in wanted} == {(case[first], case[second]) for case in kept}
    assert len(cases) < len(wanted) / 3
