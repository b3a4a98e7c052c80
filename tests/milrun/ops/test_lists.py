"""Lists of tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from milrun.registry import find

import milrun.ops  # noqa: F401 isort: skip (registers the ops)
from tests.support.covering import each


def run(op: str, **arguments: Any) -> Any:
    definition = find(op, "iOS15")
    assert definition is not None
    return definition.run(**arguments)


def plain(ls: list[torch.Tensor]) -> list[Any]:
    return [item.tolist() for item in ls]


@each(
    {
        "name, dtype": [("fp32", torch.float32), ("fp16", torch.float16), ("int32", torch.int32), ("bool", torch.bool)],
        "elem_shape, sizes": [([], ()), ([2], (2,)), (["1", "3"], (1, 3))],
    }
)
def test_a_new_list_holds_zeros_of_its_element_type(name: str, dtype: torch.dtype, elem_shape: Any, sizes: Any) -> None:
    ls = run("make_list", init_length=3, elem_shape=elem_shape, dtype=name)
    assert [(item.shape, item.dtype, int(item.any())) for item in ls] == [(sizes, dtype, 0)] * 3


def test_a_new_list_has_one_element_unless_told_otherwise() -> None:
    assert plain(run("make_list", elem_shape=[2])) == [[0.0, 0.0]]


def test_a_new_list_refuses_an_unknown_element_type() -> None:
    with pytest.raises(ValueError, match="bool, fp16, fp32, int32"):
        run("make_list", elem_shape=[2], dtype="fp64")


def test_lists_can_be_read_written_gathered_and_scattered() -> None:
    a, b = torch.tensor([1.0, 3.0]), torch.tensor([2.0, 4.0])
    ls = run("make_list", init_length=2, elem_shape=[2])
    assert run("list_read", ls=ls, index=0).tolist() == [0, 0]
    ls = run("list_write", ls=ls, index=0, value=a)
    ls = run("list_write", ls=ls, index=4, value=b)
    ls = run("list_scatter", ls=ls, indices=[2, 1], value=torch.tensor([[-1.0, -2.0], [-4.0, -5.0]]))
    assert run("list_read", ls=ls, index=0).tolist() == [1, 3]
    assert run("list_gather", ls=ls, indices=[4, 2, 3]).tolist() == [[2, 4], [-1, -2], [0, 0]]
    length = run("list_length", ls=ls)
    assert (length.item(), length.dtype, length.shape) == (5, torch.int32, ())


def test_writing_leaves_the_list_it_is_given_alone() -> None:
    ls = run("make_list", init_length=2, elem_shape=[1])
    assert plain(run("list_write", ls=ls, index=1, value=torch.ones(1))) == [[0], [1]]
    assert plain(run("list_scatter", ls=ls, indices=[3], value=torch.ones(1, 1))) == [[0], [0], [0], [1]]
    assert plain(ls) == [[0], [0]]


def test_the_last_of_several_values_for_one_place_stays() -> None:
    ls = run("make_list", elem_shape=[])
    assert plain(run("list_scatter", ls=ls, indices=[0, 0], value=torch.tensor([1.0, 2.0]))) == [2]


@pytest.mark.parametrize("elem_shape", [["is0", "2"], None])
def test_elements_of_unknown_shape_become_zeros_of_the_shape_first_written(elem_shape: Any) -> None:
    ls = run("make_list", init_length=2, elem_shape=elem_shape)
    ls = run("list_write", ls=ls, index=3, value=torch.ones(1, 2))
    assert plain(ls) == [[[0, 0]]] * 3 + [[[1, 1]]]


def test_gathering_nothing_keeps_the_shape_of_the_elements() -> None:
    ls = run("make_list", elem_shape=[2, 3], dtype="int32")
    got = run("list_gather", ls=ls, indices=[])
    assert (got.shape, got.dtype) == ((0, 2, 3), torch.int32)
    assert run("list_scatter", ls=ls, indices=[], value=torch.zeros(0, 2, 3)) == ls


@pytest.mark.parametrize(
    ("op", "arguments"),
    [("list_read", {"index": 2}), ("list_read", {"index": -1}), ("list_gather", {"indices": [0, 2]}),
     ("list_write", {"index": -1, "value": torch.ones(1)}),
     ("list_scatter", {"indices": [-3], "value": torch.ones(1, 1)}),
     ("list_scatter", {"indices": [0, 1], "value": torch.ones(1, 1)})],
)  # fmt: skip
def test_places_outside_the_list_are_errors(op: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=op):
        run(op, ls=run("make_list", init_length=2, elem_shape=[1]), **arguments)
