"""Edits the files of a package on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from milrun.protobuf import model_class


def model_file(package: Path) -> Path:
    return next(package.rglob("*.mlmodel"))


def weight_file(package: Path) -> Path:
    return next(package.rglob("weight.bin"))


def edit(package: Path, change: Callable[[Any], Any]) -> None:
    spec = model_class()()
    spec.ParseFromString(model_file(package).read_bytes())
    change(spec)
    model_file(package).write_bytes(spec.SerializeToString())


def block_of(spec: Any) -> Any:
    (function,) = spec.mlProgram.functions.values()
    return function.block_specializations[function.opset]


def forget_sizes(spec: Any) -> None:
    """Declare the sizes of all results unknown, so that an edit of the ops agrees with the declarations."""
    for operation in block_of(spec).operations:
        if operation.type != "const":
            for output in operation.outputs:
                for dimension in output.type.tensorType.dimensions:
                    dimension.unknown.variadic = False
