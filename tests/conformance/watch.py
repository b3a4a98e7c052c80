"""Watches the predictions: which ran, over which op types, and what the runtime raised."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any


@dataclass
class Sighting:
    """What was seen of the runtime during one test."""

    predictions: int = 0
    half: bool = False
    ops: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


sighting = Sighting()
_FLOAT16 = 10
"""``MILSpec.DataType.FLOAT16``"""


def start_test() -> Sighting:
    global sighting
    sighting = Sighting()
    return sighting


def functions_of(spec: Any, name: str = "") -> Iterator[Any]:
    """The functions in a model specification that run: the named one or the default one."""
    kind = spec.WhichOneof("Type")
    if kind in ("pipeline", "pipelineClassifier", "pipelineRegressor"):
        inner = spec.pipeline if kind == "pipeline" else getattr(spec, kind).pipeline
        for model in inner.models:
            yield from functions_of(model)
    elif kind == "mlProgram":
        name = name or spec.description.defaultFunctionName or "main"
        functions = spec.mlProgram.functions
        yield from [functions[name]] if name in functions else functions.values()


def _operations(function: Any) -> Iterator[Any]:
    for block in function.block_specializations.values():
        yield from _walk(block)


def _walk(block: Any) -> Iterator[Any]:
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from _walk(inner)


def ops_of(spec: Any, name: str = "") -> set[str]:
    """The op types in a model, constants aside."""
    functions = functions_of(spec, name)
    return {operation.type for function in functions for operation in _operations(function)} - {"const"}


def has_half(spec: Any, name: str = "") -> bool:
    """Whether a model has a value in half precision, if only an input or a constant that was rounded to it."""
    for function in functions_of(spec, name):
        outputs = (output for operation in _operations(function) for output in operation.outputs)
        if any(value.type.tensorType.dataType == _FLOAT16 for value in chain(function.inputs, outputs)):
            return True
    return False


def is_program(spec: Any) -> bool:
    """Whether a model is an ML program, or a pipeline of nothing else."""
    kind = spec.WhichOneof("Type")
    if kind == "pipeline":
        return all(is_program(model) for model in spec.pipeline.models)
    return bool(kind == "mlProgram")


class _Origin:
    """Where a proxy came from; its specification is read when first asked for."""

    def __init__(self, path: str, function: str) -> None:
        self.path, self.function = path, function

    @functools.cached_property
    def spec(self) -> Any:
        from coremltools.models.utils import load_spec

        try:
            return load_spec(str(self.path))
        except Exception:
            return None

    @functools.cached_property
    def ops(self) -> set[str]:
        return ops_of(self.spec, self.function) if self.spec is not None else set()

    @functools.cached_property
    def half(self) -> bool:
        return has_half(self.spec, self.function) if self.spec is not None else True

    def blame(self, error: BaseException) -> None:
        """Note an exception of the runtime: its own, or to be expected because the model is no ML program."""
        text = f"{type(error).__name__}: {error}"
        foreign = self.spec is not None and not is_program(self.spec)
        (sighting.foreign if foreign else sighting.errors).append(text)


def watch(proxy: Any) -> None:
    """Hook a model proxy class."""
    load = proxy.__init__

    @functools.wraps(load)
    def construct(self: Any, filename: Any, compute_units: Any, function: str = "", *rest: Any) -> None:
        origin = _Origin(filename, function)
        try:
            load(self, filename, compute_units, function, *rest)
        except Exception as error:
            origin.blame(error)
            raise
        self._conformance_origin = origin

    def hook(name: str) -> None:
        original = getattr(proxy, name)

        @functools.wraps(original)
        def run(self: Any, *args: Any, **kwargs: Any) -> Any:
            origin: _Origin = self._conformance_origin
            sighting.predictions += 1
            sighting.ops |= origin.ops
            sighting.half = origin.half
            try:
                return original(self, *args, **kwargs)
            except Exception as error:
                origin.blame(error)
                raise

        setattr(proxy, name, run)

    proxy.__init__ = construct
    for name in ("predict", "batchPredict"):
        if hasattr(proxy, name):
            hook(name)
