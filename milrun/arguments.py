"""Brings the arguments of an op into the forms that its implementation asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from milrun.program import Datum

SCALARS = (int, float, bool, str)
VECTORS = {list[int]: int, list[float]: float, list[bool]: bool, list[str]: str}


def is_tensor_form(form: Any) -> bool:
    return form in (torch.Tensor, list[torch.Tensor])


def takes_several(form: Any) -> bool:
    """Return whether an argument of this form may be written as several values."""
    return form == list[torch.Tensor] or form in VECTORS


def python_value(form: Any, datum: Datum) -> Any:
    """Return a constant or a tensor as a Python scalar or list. A TypeError means that it does not fit the form."""
    if form in SCALARS:
        if isinstance(datum, Tensor):
            if datum.numel() != 1:
                raise TypeError(f"a tensor of shape {tuple(datum.shape)} where one {form.__name__} is wanted")
            datum = datum.item()  # type: ignore[assignment]
        return _scalar(form, datum)
    element = VECTORS[form]
    if isinstance(datum, Tensor):
        if datum.dim() > 1:
            raise TypeError(f"a tensor of shape {tuple(datum.shape)} where a list of {element.__name__} is wanted")
        datum = datum.reshape(-1).tolist()
    elif isinstance(datum, str):
        datum = [datum]
    return [_scalar(element, item.item() if isinstance(item, Tensor) else item) for item in datum]


def _scalar(form: type, value: Any) -> Any:
    if form is str:
        # The classes of a classifier are strings or integers.
        if not isinstance(value, str | int):
            raise TypeError(f"{value!r} where a string is wanted")
        return value
    if isinstance(value, str) or (form is int and isinstance(value, float) and not value.is_integer()):
        raise TypeError(f"{value!r} where a value of type {form.__name__} is wanted")
    return form(value)


def converter(form: Any) -> Callable[[Tensor], Any]:
    """Return the function that brings a tensor into the form at run time."""
    if form is list[int]:
        return _int_list
    return lambda tensor: python_value(form, tensor)


def _int_list(value: Any) -> list[int]:
    if isinstance(value, Tensor) and value.dim() == 1 and not value.is_floating_point():
        return value.tolist()
    return python_value(list[int], value)
