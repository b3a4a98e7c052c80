"""The output of a classifier."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from milrun.registry import find

import milrun.ops  # noqa: F401 isort: skip (registers the ops)


def run(probabilities: Any, classes: list[Any]) -> Any:
    definition = find("classify", "iOS15")
    assert definition is not None
    return definition.run(probabilities=torch.tensor(probabilities), classes=classes)


@pytest.mark.parametrize("classes", [["cat", "dog", "owl"], [7, -1, 2**40]])
@pytest.mark.parametrize("wrap", [lambda p: p, lambda p: [p], lambda p: [[[x]] for x in p]])
def test_the_most_probable_class_comes_with_the_probability_of_each(classes: list[Any], wrap: Any) -> None:
    label, table = run(wrap([0.25, 0.625, 0.125]), classes)
    assert label == classes[1]
    assert table == dict(zip(classes, [0.25, 0.625, 0.125], strict=True))
    assert all(type(probability) is float for probability in table.values())


def test_of_equally_probable_classes_the_first_is_chosen() -> None:
    assert run([0.5, 0.5], ["a", "b"])[0] == "a"


def test_a_class_without_a_probability_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 probabilities for 3 classes"):
        run([0.5, 0.5], ["a", "b", "c"])
