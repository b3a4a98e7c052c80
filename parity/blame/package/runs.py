"""All runs of a package that fails and of its module, each made once when it is first wanted; and what a search finds.

`rounded` are the inputs as the package gets them, and `widened` the same in fp32 again, for the module.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import milrun
from milrun import Model
from milrun.dtypes import FP16
from milrun.program import TensorType
from parity.blame.failure import Failure
from parity.blame.graph import Node, TracedGraph, matching
from parity.blame.likeness import relative_l2
from parity.blame.package.program import Program
from parity.build.convert import call, examples
from parity.declarations import Arrays, Stage, Variant


@dataclass(frozen=True, kw_only=True)
class Runs:
    """A package that fails, beside the module that it was made from.

    Attributes:
        failure: The golden inputs in fp32, the golden outputs, and those of the package.
        variant: The variant of the package.
        package: The package.
        uncompressed: Converts the module for the same variant, without compression.
        module: The traceable module that it was made from.
        module_holds: Tells whether the module itself is within its bounds.
        numerics: The numerics of the runtime.
    """

    failure: Failure
    variant: Variant
    package: Path
    uncompressed: Callable[[], Path]
    module: nn.Module
    module_holds: Callable[[], bool]
    numerics: str
    _models: dict[str, Model] = field(default_factory=dict, compare=False)

    @property
    def stage(self) -> Stage:
        return self.failure.stage

    def distance(self, one: Arrays, other: Arrays) -> float:
        """Return the relative L2 of the failing output."""
        return relative_l2(one[self.failure.output], other[self.failure.output])

    @cached_property
    def rounded(self) -> dict[str, np.ndarray]:
        dtypes = {name: declared.dtype_in(self.variant) for name, declared in self.stage.inputs.items()}
        with np.errstate(over="ignore"):
            return {name: self.failure.inputs[name].astype(dtype) for name, dtype in dtypes.items()}

    @cached_property
    def widened(self) -> dict[str, np.ndarray]:
        return {name: value.astype(self.failure.inputs[name].dtype) for name, value in self.rounded.items()}

    @cached_property
    def tensors(self) -> list[Tensor]:
        return [torch.from_numpy(np.ascontiguousarray(self.widened[name])) for name in self.stage.inputs]

    @cached_property
    def module_gives(self) -> Arrays:
        return call(self.module, self.stage, self.failure.inputs)

    @cached_property
    def module_gives_on_widened(self) -> Arrays:
        return call(self.module, self.stage, self.widened)

    def module_gives_with(self, weights: Mapping[str, Tensor]) -> Arrays:
        """Return the module's outputs on widened inputs, with other values for some of its weights."""
        changed = copy.deepcopy(self.module)
        with torch.no_grad():
            for name, own in _numbers(changed):
                if name in weights and own.shape == weights[name].shape:
                    own.copy_(weights[name])
        return call(changed, self.stage, self.widened)

    @property
    def module_gives_of_rounded_weights(self) -> Arrays:
        """Return the module's outputs on widened inputs, with its own numbers rounded to half precision."""
        own = _numbers(self.module)
        return self.module_gives_with({name: value.half() for name, value in own if value.is_floating_point()})

    @cached_property
    def trace_gives(self) -> Arrays:
        found = self.graph.run(self.tensors, lambda _, value: value)
        return {name: found[ours].numpy() for name, ours in zip(self.stage.outputs, self.graph.outputs, strict=True)}

    def package_gives(self, numerics: str) -> Arrays:
        """Return the package's outputs by milrun."""
        return self.model(numerics).predict(self.rounded)

    def model(self, numerics: str) -> Model:
        if numerics not in self._models:
            self._models[numerics] = load(self.package, numerics)
        return self._models[numerics]

    @cached_property
    def in_fp32(self) -> float:
        """The distance of the package in fp32 from the module, on the same inputs."""
        return self.distance(self.module_gives_on_widened, self.package_gives("fp32"))

    @cached_property
    def program(self) -> Program:
        return Program(self.model("fp32"))

    @cached_property
    def halves(self) -> bool:
        """Return whether the package computes in half precision, whatever its variant says."""
        types = (type for operation in self.program.operations for _, type in operation.outputs)
        return any(isinstance(type, TensorType) and type.dtype == FP16 for type in types)

    @cached_property
    def graph(self) -> TracedGraph:
        """Return the graph as the converter saw it: traced on the same examples."""
        return TracedGraph(self.module, examples(self.stage))

    @cached_property
    def result(self) -> str:
        """Return the failing output's name in the traced graph."""
        return self.graph.outputs[list(self.stage.outputs).index(self.failure.output)]

    def node_near(self, value: str) -> Node | None:
        """Return the module's node for a value of the package, or the next one that is computed from it."""
        names = {theirs: ours for ours, theirs in matching(self.graph.values, self.program.names).items()}
        names |= dict(zip(self.stage.outputs, self.graph.outputs, strict=True))
        reached = {value}
        for operation in self.program.operations[max(0, self.program.position(value) - 1) :]:
            if reached.isdisjoint(made := {name for name, _ in operation.outputs}):
                if reached.isdisjoint(self.program.reads(operation)):
                    continue
                reached |= made
            if known := [names[name] for name, _ in operation.outputs if name in names]:
                return self.graph.makes(known[0])
        return None


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The first value that diverges, with all that is known of the op that made it.

    Attributes:
        value: Its name in the package.
        reference: The value as it should be.
        candidate: The value as the package has it.
        nodes: The module's ops that make it out of values that agree.
        source: The line of the module that computes it.
        spelled: The package's ops that make it out of values that agree.
        behind: All ops of the package that it is computed from.
        own: The relative L2 that the op made by itself, on the same operands.
        said: Sentences for the blame.
        traits: Words that hazards are recognized by: palettized, overflow, whole numbers past 2048, same operands, …
    """

    value: str
    reference: Tensor | None = None
    candidate: Tensor | None = None
    nodes: Sequence[str] = ()
    source: str = ""
    spelled: Sequence[str] = ()
    behind: frozenset[str] = frozenset()
    own: float = 0.0
    said: tuple[str, ...] = ()
    traits: frozenset[str] = frozenset()


def load(package: Path, numerics: str) -> Model:
    model = milrun.load(package, numerics=numerics, seed=0)
    if not isinstance(model, Model):
        raise TypeError("a pipeline of packages is not a single graph: blame its parts")
    return model


def _numbers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from itertools.chain(module.named_parameters(), module.named_buffers())
