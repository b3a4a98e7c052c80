"""Loading of packages: a model, or a pipeline of models."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from milrun.errors import ModelError
from milrun.features import Feature, is_optional, read_features
from milrun.model import Model, State, open_function
from milrun.numerics import Numerics, choose
from milrun.package import Package
from milrun.plan import Tap

_PIPELINES = {"pipeline": None, "pipelineClassifier": "pipeline", "pipelineRegressor": "pipeline"}


class Pipeline:
    """ML programs that run one after the other. Outputs of one are inputs of the next, by name.

    It has the methods of a `Model`.

    Attributes:
        parts: The models by name, in the order in which they run.
        inputs: Described inputs by name.
        outputs: Described outputs by name.
        states: Always empty; a pipeline has no states.
        package: The package it was loaded from.
    """

    def __init__(self, description: Any, parts: dict[str, Model], package: Package) -> None:
        self.package = package
        self.parts = parts
        self.inputs: dict[str, Feature] = read_features(description.input, str(package.path))
        self.outputs: dict[str, Feature] = read_features(description.output, str(package.path))
        self.states: dict[str, Feature] = {}
        known = set(self.inputs)
        for name, part in parts.items():
            for taken, feature in part.inputs.items():
                if taken not in known and not is_optional(feature):
                    raise ModelError(f"{package.path}: {name!r} in the pipeline takes {taken!r}, which nothing gives")
            if part.states:
                raise ModelError(f"{package.path}: {name!r} in the pipeline has states, which pipelines can't have")
            known |= part.outputs.keys()
        for missing in self.outputs.keys() - known:
            raise ModelError(f"{package.path}: no model of the pipeline gives the output {missing!r}")

    def predict(self, inputs: Mapping[str, Any], state: State | None = None) -> dict[str, Any]:
        """Run the models and return the pipeline's outputs, as `Model.predict` does."""
        values = self._take(inputs, state)
        for part in self.parts.values():
            values |= self._run(part, {name: values[name] for name in part.inputs if name in values})
        return {name: values[name] for name in self.outputs}

    def trace(self, inputs: Mapping[str, Any], state: State | None = None) -> Generator[Tap, None, dict[str, Any]]:
        """Run the models and yield every named value of each, as `Model.trace` does."""
        values = self._take(inputs, state)
        for part in self.parts.values():
            values |= yield from part.trace({name: values[name] for name in part.inputs if name in values})
        return {name: values[name] for name in self.outputs}

    def make_state(self) -> State:
        """Return an empty state."""
        return State({})

    def _run(self, part: Model, given: dict[str, Any]) -> dict[str, Any]:
        try:
            return part.predict(given)
        except ValueError as error:
            if given.keys() <= self.inputs.keys():
                raise
            raise ModelError(f"{self.package.path}: a model of the pipeline refuses its input: {error}") from error

    def _take(self, inputs: Mapping[str, Any], state: State | None) -> dict[str, Any]:
        if state is not None and state.tensors:
            raise ValueError("a pipeline has no states")
        for name in inputs.keys() - self.inputs.keys():
            raise ValueError(f"unknown input {name!r}, the pipeline takes {', '.join(self.inputs)}")
        for name, feature in self.inputs.items():
            if name not in inputs and not is_optional(feature):
                raise ValueError(f"input {name!r} is missing: {feature}")
        return dict(inputs)


def load(
    source: str | Path | Any,
    *,
    numerics: str = "declared",
    function: str | None = None,
    rules: list[str] | None = None,
    seed: int | None = None,
    work: int | None = None,
) -> Model | Pipeline:
    """Load a model package.

    Args:
        source: Path of an `.mlpackage`, an `.mlmodelc` or an `.mlmodel`, or a coremltools `MLModel` that was saved.
        numerics: How to compute. `declared` follows the precision that the package declares. `fp32` computes everything
            in fp32. `ane` adds hazards reported for the Neural Engine to `declared`.
        function: Name of the function, if the package has several.
        rules: Names of the hazards that `ane` applies; all by default.
        seed: Seed for random ops that have none of their own.
        work: The most that one prediction, or the load, may do, in multiplications and elements. A core does some
            1e10 a second. Unlimited by default; set it for packages that you do not trust.

    Returns:
        A model, or a pipeline of models.

    Raises:
        ModelError: The package is malformed, or has an op that milrun cannot execute.
        ValueError: The numerics or a rule has a name that milrun does not know.

    Example:
        >>> model = milrun.load("Vocoder.mlpackage", numerics="fp32")
    """
    if not isinstance(source, str | Path):
        function = function or getattr(source, "function_name", None)
        source = _path_of(source)
    how = choose(numerics, rules)
    package = Package(source)
    try:
        return _open(package, package.spec(), how, function, seed, work)
    except ModelError:
        raise
    except Exception as error:
        # Faults that no check has caught are faults of the package as well.
        raise ModelError(f"{package.path}: can't be loaded: {type(error).__name__}: {error}") from error


def _open(
    package: Package, spec: Any, how: Numerics, function: str | None, seed: int | None, work: int | None
) -> Model | Pipeline:
    kind = spec.WhichOneof("Type")
    if kind == "mlProgram":
        return open_function(package, spec, how, function, seed, work)
    if kind not in _PIPELINES:
        raise ModelError(f"{package.path}: a model of type {kind}; milrun runs ML programs and pipelines of them")
    if function:
        raise ModelError(f"{package.path}: a pipeline has no functions such as {function!r}; load it without a name")
    parts: dict[str, Model] = {}
    for part in package.parts:
        if (kind := (held := part.spec()).WhichOneof("Type")) != "mlProgram":
            raise ModelError(f"{part.path}: a {kind} as a part of a pipeline; milrun runs pipelines of ML programs")
        parts[part.path.name] = open_function(part, held, how, None, seed, work)
    if parts:
        return Pipeline(spec.description, parts, package)
    pipeline = getattr(spec, kind) if kind == "pipeline" else getattr(spec, kind).pipeline
    for index, part in enumerate(pipeline.models):
        name = pipeline.names[index] if index < len(pipeline.names) else f"model{index}"
        if (held := part.WhichOneof("Type")) != "mlProgram":
            raise ModelError(
                f"{package.path}: {name!r} in the pipeline is a {held}; milrun runs pipelines of ML programs"
            )
        if name in parts:
            raise ModelError(f"{package.path}: two models of the pipeline are named {name!r}")
        parts[name] = open_function(package, part, how, None, seed, work)
    return Pipeline(spec.description, parts, package)


def _path_of(model: Any) -> str:
    path = getattr(model, "package_path", None)
    if not path:
        raise ModelError(f"a {type(model).__name__} without a package on disk: save it and load the path")
    return str(path)
