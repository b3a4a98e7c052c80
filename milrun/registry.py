"""The table of op implementations, and the decorators that fill it.

An op is a plain function with the parameter names and defaults of the MIL specification. Its annotations say in
which form it wants each argument, and the plan brings it into that form:

=====================================  ========================================================================
``Tensor``                             a tensor; a list value of the program arrives as ``list[Tensor]``
``list[Tensor]``                       the values of a variadic argument, or a list value
``int``, ``float``, ``bool``, ``str``  a rank-0 value as a Python scalar
``list[int]`` and so on                a rank-1 value as a Python list
``torch.Generator``                    the random generator of the running model (no argument of the program)
=====================================  ========================================================================

``| None`` marks an argument that a program may leave out. Ops never round and never cast their result: the plan
hands floating-point tensors over in the precision to compute in, and rounds what comes back to the declared type.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

OPSETS = ("iOS15", "iOS16", "iOS17", "iOS18", "iOS26")
"""Oldest first. A program of one opset runs the newest implementation that is not newer than it."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of an op: its name, the form it wants its argument in, and its default."""

    name: str
    form: Any
    optional: bool
    default: Any


@dataclass(frozen=True)
class OpDef:
    """An implementation of an op type, from one opset on."""

    type: str
    since: str
    run: Callable[..., Any]
    parameters: tuple[Parameter, ...]


_ops: dict[str, dict[str, OpDef]] = {}
_Preparer = Callable[..., Callable[..., Any] | None]
_preparers: dict[str, list[_Preparer]] = {}


def op(type: str, *, since: str = "iOS15") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as the implementation of an op type, from opset ``since`` on."""
    if since not in OPSETS:
        raise ValueError(f"op {type!r}: unknown opset {since!r}, one of {', '.join(OPSETS)}")

    def register(run: Callable[..., Any]) -> Callable[..., Any]:
        _register(OpDef(type, since, run, parameters_of(run)))
        return run

    return register


def _register(definition: OpDef) -> None:
    versions = _ops.setdefault(definition.type, {})
    if definition.since in versions:
        raise ValueError(f"op {definition.type!r} is registered twice for {definition.since}")
    versions[definition.since] = definition


def prepare(type: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a shortcut for an op whose arguments named by the function are all constants.

    The function takes those constants, by the names and in the forms its annotations say, and returns the kernel:
    a function of the op's remaining arguments, by name. It may return None to leave the op as it is. Of several
    shortcuts for an op, the first that has its constants is taken.
    """

    def register(prepare: Callable[..., Any]) -> Callable[..., Any]:
        _preparers.setdefault(type, []).append(prepare)
        return prepare

    return register


def prepared_op(type: str, *inputs: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function of an op's attributes that returns the kernel, a function of its ``inputs``.

    The kernel is made once at load where all attributes are constants, and in every run where one is not::

        @prepared_op("scaled", "x")
        def scaled(factor: float = 1.0) -> Callable[[Tensor], Tensor]:
            return lambda x: x * factor
    """

    def register(attributes: Callable[..., Any]) -> Callable[..., Any]:
        parameters = (*(Parameter(name, torch.Tensor, False, None) for name in inputs), *parameters_of(attributes))
        names = [parameter.name for parameter in parameters]

        def run(*values: Any, **named: Any) -> Any:
            given = dict(zip(names, values, strict=False)) | named
            taken = {name: given.pop(name) for name in inputs}
            return attributes(**given)(**taken)

        _register(OpDef(type, "iOS15", run, parameters))
        return prepare(type)(attributes)

    return register


def find(type: str, opset: str) -> OpDef | None:
    """Return the implementation of an op type that a program of this opset runs, or None."""
    versions = _ops.get(type, {})
    for candidate in reversed(OPSETS[: OPSETS.index(opset) + 1]):
        if candidate in versions:
            return versions[candidate]
    return None


def preparers(type: str) -> Sequence[_Preparer]:
    return _preparers.get(type, ())


def op_types() -> frozenset[str]:
    """Return every op type that has an implementation."""
    return frozenset(_ops)


@cache
def parameters_of(run: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Return the parameters of an op function, read from its signature."""
    hints = typing.get_type_hints(run)
    found = []
    for name, parameter in inspect.signature(run).parameters.items():
        form, optional = hints[name], False
        if type(None) in typing.get_args(form):
            (form,) = (a for a in typing.get_args(form) if a is not type(None))
            optional = True
        if form not in FORMS:
            raise TypeError(f"{run.__module__}.{run.__name__}: parameter {name!r} has the unknown form {form!r}")
        has_default = parameter.default is not inspect.Parameter.empty
        found.append(Parameter(name, form, optional or has_default, parameter.default if has_default else None))
    return tuple(found)


FORMS = (
    torch.Tensor,
    list[torch.Tensor],
    int,
    float,
    bool,
    str,
    list[int],
    list[float],
    list[bool],
    list[str],
    torch.Generator,
)
