"""A loaded model, its states, its predictions and its traces."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from milrun.compile import Plan, compile_function, unsupported
from milrun.errors import ModelError
from milrun.features import ArrayFeature, Feature, read_features, to_numpy, to_tensor
from milrun.guard import Guard, budget
from milrun.interface import check_interface
from milrun.numerics import Numerics
from milrun.package import Package
from milrun.plan import Context, Env, Tap, execute, traced
from milrun.program import Function, Operation, StateType, TensorType, Type, read_functions

_MAX_KNOWN = 1 << 12


class State:
    """States of a model. They start at zero; each prediction reads and updates them.

    Attributes:
        tensors: The states by name.

    Example:
        >>> state = model.make_state()
        >>> model.predict(first, state=state)
        >>> model.predict(second, state=state)
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors

    def read_state(self, name: str) -> np.ndarray[Any, Any]:
        """Return a copy of a state."""
        return self._held(name).numpy().copy()

    def write_state(self, name: str, value: Any) -> None:
        """Replace a state by a value of the same shape."""
        held, array = self._held(name), np.asarray(value)
        if array.shape != tuple(held.shape):
            raise ValueError(f"state {name!r} has the shape {tuple(held.shape)}, not {array.shape}")
        self.tensors[name] = torch.from_numpy(np.array(array)).to(held.dtype)

    def _held(self, name: str) -> Tensor:
        if name not in self.tensors:
            raise ValueError(f"there is no state {name!r}, the model has {', '.join(self.tensors) or 'none'}")
        return self.tensors[name]


class Model:
    """One function of an ML program, ready to run. `milrun.load` makes models.

    Attributes:
        inputs: Described inputs by name.
        outputs: Described outputs by name.
        states: Described states by name.
        function: The function as plain data.
        numerics: The numerics that it computes with.
        package: The package it was loaded from.

    Example:
        >>> model = milrun.load("Vocoder.mlpackage")
        >>> model.predict({"asr": asr, "style": style})["x_pre"]
    """

    def __init__(
        self,
        function: Function,
        description: Any,
        numerics: Numerics,
        package: Package,
        seed: int | None = None,
        work: int | None = None,
    ) -> None:
        self.function = function
        self.numerics = numerics
        self.package = package
        place = f"{package.path}: function {function.name!r}"
        self.inputs: dict[str, Feature] = read_features(description.input, place)
        self.outputs: dict[str, Feature] = read_features(description.output, place)
        self.states: dict[str, Feature] = read_features(description.state, place)
        self._types: dict[str, Type] = dict(function.inputs)
        self._storage = {n: numerics.storage(t.dtype) for n, t in function.inputs if isinstance(t, TensorType)}
        self._guard = partial(Guard, budget(function.stored_bytes), work)
        guard = self._guard()
        check_interface(place, function, self.inputs, self.outputs, self.states, guard.limit)
        self._plan = compile_function(function, numerics, guard=guard)
        self._known = set[Any]()
        """The shapes of inputs on which a run went well under watch."""
        self._results = self._name_results(description, place)
        self._generator = torch.Generator()
        if seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(seed)

    def predict(self, inputs: Mapping[str, Any], state: State | None = None) -> dict[str, Any]:
        """Run the model once.

        Args:
            inputs: Arrays by name. Optional inputs may be left out.
            state: States from `make_state`; required for a model that has states, and updated in place.

        Returns:
            The outputs by name, in the types that the model describes.

        Raises:
            ValueError: An input is missing, unknown, or of another shape or type than described.
            ModelError: The program cannot compute an output from these inputs.
        """
        context = self._context(state)
        env, shapes = self._start(self._plan, inputs, context)
        with torch.inference_mode():
            execute(self._plan.body, env)
        if not self._plan.data_sized and context.guard.settled and len(self._known) < _MAX_KNOWN:
            self._known.add(shapes)
        return self._finish(self._plan, env)

    def trace(self, inputs: Mapping[str, Any], state: State | None = None) -> Generator[Tap, None, dict[str, Any]]:
        """Run the model and yield every named value in the order of computation.

        Args:
            inputs: As for `predict`.
            state: As for `predict`.

        Returns:
            A generator of taps. Its return value is what `predict` would return.

        Example:
            >>> for tap in model.trace(inputs):
            ...     print(tap.name, tap.op_type)
        """
        plan = self._traceable
        context = self._context(state)
        env, _ = self._start(plan, inputs, context)
        taps = traced(plan.body, env)
        while True:
            with torch.inference_mode():
                tap = next(taps, None)
            if tap is None:
                return self._finish(plan, env)
            yield tap

    def step_operations(self) -> list[Operation]:
        """Return the op behind each step of the plan, in the order of execution."""
        return [step.operation for step in self._plan.body.steps]

    def time_steps(self, inputs: Mapping[str, Any], state: State | None = None) -> Iterator[float]:
        """Run the model and yield the seconds that each step of its plan took."""
        env, _ = self._start(self._plan, inputs, self._context(state))
        for step in self._plan.body.steps:
            start = time.perf_counter()
            step.run(env)
            yield time.perf_counter() - start
            for slot in step.dead:
                env[slot] = None

    def make_state(self) -> State:
        """Return new states, all zeros."""
        tensors = {}
        for name, feature in self.states.items():
            declared = self._types[name]
            assert isinstance(feature, ArrayFeature)
            assert isinstance(declared, StateType)
            assert isinstance(declared.wrapped, TensorType)
            tensors[name] = torch.zeros(feature.shape, dtype=self.numerics.storage(declared.wrapped.dtype))
        return State(tensors)

    @cached_property
    def _traceable(self) -> Plan:
        return compile_function(self.function, self.numerics, fold=False, guard=self._guard())

    def _context(self, state: State | None) -> Context:
        if state is None:
            if self.states:
                raise ValueError(f"the model has the states {', '.join(self.states)}: pass state=model.make_state()")
            return Context({}, self._generator, self._guard())
        if state.tensors.keys() != self.states.keys():
            raise ValueError(f"the state holds {list(state.tensors)}, the model has {list(self.states)}")
        return Context(state.tensors, self._generator, self._guard())

    def _start(self, plan: Plan, inputs: Mapping[str, Any], context: Context) -> tuple[Env, tuple[Any, ...]]:
        """Return an environment with the inputs in place, and their shapes."""
        for name in inputs:
            if name not in self.inputs:
                raise ValueError(f"unknown input {name!r}, the model takes {', '.join(self.inputs) or 'none'}")
        env = plan.start(context)
        for name, feature in self.inputs.items():
            if name in inputs:
                value = inputs[name]
            elif isinstance(feature, ArrayFeature) and feature.optional:
                if feature.default != feature.default:
                    raise ValueError(f"input {name!r} is missing, and its default is not known: pass {feature}")
                value = np.full(feature.shape, feature.default, feature.dtype)
            else:
                raise ValueError(f"input {name!r} is missing: {feature}")
            declared = self._types[name]
            tensor = to_tensor(feature, declared, value)
            if self.states:
                # A state may come to hold a part of an input, and outlives the caller's use of it.
                tensor = tensor.clone()
            context.input_memory.add(tensor.data_ptr())
            wanted = self._storage[name]
            env[plan.inputs[name]] = tensor if tensor.dtype is wanted else tensor.to(wanted)
        shapes = tuple(env[slot].shape for slot in plan.inputs.values())
        context.guard.trusted = shapes in self._known
        if not context.guard.trusted:
            context.guard.justify(env[slot] for slot in plan.inputs.values())
        return env, shapes

    def _finish(self, plan: Plan, env: Env) -> dict[str, Any]:
        exact_type = self.numerics.name != "fp32"
        kept, taken = plan.constant_memory, env[0].input_memory
        if env[0].state:
            taken.update(tensor.untyped_storage().data_ptr() for tensor in env[0].state.values())
        results = {}
        for name, feature in self.outputs.items():
            try:
                value = env[plan.outputs[self._results[name]]]
                results[name] = to_numpy(feature, value, exact_type, kept, taken)
            except Exception as error:
                raise ModelError(f"{self.package.path}: output {name!r} is not a {feature}: {error}") from error
        return results

    def _name_results(self, description: Any, place: str) -> dict[str, str]:
        """Map each described output to an output of the program; classifiers rename theirs."""
        produced = list(self._plan.outputs)
        names = {name: name for name in self.outputs}
        label, scores = description.predictedFeatureName, description.predictedProbabilitiesName
        if label and label not in self._plan.outputs:
            classify = [op for op in self.function.body.operations if op.type == "classify"]
            if len(classify) != 1 or len(classify[0].outputs) != 2:
                raise ModelError(f"{place}: a classifier without a classify op")
            names[label], names[scores] = (output for output, _ in classify[0].outputs)
        for name, result in names.items():
            if result not in self._plan.outputs:
                raise ModelError(f"{place}: the described output {name!r} is none of the program's {produced}")
        return names


def open_function(
    package: Package, spec: Any, numerics: Numerics, name: str | None, seed: int | None, work: int | None
) -> Model:
    """Return the model of one function of a specification."""
    functions = read_functions(spec.mlProgram, package)
    description: Any = spec.description
    if spec.description.functions:
        described = {function.name: function for function in spec.description.functions}
        name = name or spec.description.defaultFunctionName
        if name not in described:
            raise ModelError(f"{package.path}: there is no function {name!r}, only {', '.join(described)}")
        description = described[name]
    name = name or "main"
    if name not in functions:
        raise ModelError(f"{package.path}: the program has no function {name!r}, only {', '.join(functions)}")
    refuse_unsupported(package.path, functions[name])
    return Model(functions[name], description, numerics, package, seed, work)


def refuse_unsupported(path: Path, function: Function) -> None:
    missing = unsupported(function)
    if missing:
        types = sorted({operation.type for operation in missing})
        places = "\n".join(f"  {operation.where}" for operation in missing)
        raise ModelError(f"{path}: no implementation in {function.opset} for {', '.join(types)}:\n{places}")
