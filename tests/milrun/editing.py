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
