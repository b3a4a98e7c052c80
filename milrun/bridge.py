"""Bridge to coremltools: its own `MLModel` predicts on machines without Core ML."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from milrun.errors import ModelError
from milrun.features import ArrayFeature
from milrun.loading import load
from milrun.model import State

_NEWEST_SPECIFICATION = 10


class MilrunProxy:
    """Replacement for coremltools' binding to the Core ML framework."""

    def __init__(
        self,
        path: str,
        compute_units: str = "ALL",
        function_name: str = "",
        optimization_hints: dict[str, str] | None = None,
        asset: Any = None,
    ) -> None:
        # coremltools reports a RuntimeError of its binding when the model is used; anything else would escape here.
        start = time.perf_counter_ns()
        try:
            self._model = load(path, function=function_name or None)
        except Exception as error:
            raise RuntimeError(str(error)) from error
        self._path = path
        self._load_ns = time.perf_counter_ns() - start
        self._predict_ns: int | None = None

    @staticmethod
    def maximum_supported_specification_version() -> int:
        return _NEWEST_SPECIFICATION

    @staticmethod
    def compileModel(path: str) -> str:  # noqa: N802 (coremltools' name)
        """Copy the package to the name of a compiled model. Nothing is compiled ahead."""
        target = Path(tempfile.mkdtemp()) / f"{Path(path).stem}.mlmodelc"
        shutil.copytree(path, target)
        return str(target)

    def predict(self, data: dict[str, Any], state: State | None = None) -> dict[str, Any]:
        start = time.perf_counter_ns()
        try:
            results = self._model.predict({name: self._as_coreml_takes_it(name, data[name]) for name in data}, state)
        except (ModelError, ValueError) as error:
            raise RuntimeError(f"Unable to compute the prediction using ML Program: {error}") from error
        self._predict_ns = time.perf_counter_ns() - start
        return results

    def batchPredict(self, data: list[dict[str, Any]]) -> list[dict[str, Any]]:  # noqa: N802 (coremltools' name)
        return [self.predict(inputs) for inputs in data]

    def _as_coreml_takes_it(self, name: str, value: Any) -> Any:
        """Truncate fractions of integer inputs, as Core ML does; milrun by itself refuses them."""
        feature = self._model.inputs.get(name)
        if isinstance(feature, ArrayFeature) and feature.dtype.kind == "i" and isinstance(value, np.ndarray):
            return np.trunc(value)
        return value

    def newState(self) -> State:  # noqa: N802 (coremltools' name)
        return self._model.make_state()

    def get_compiled_model_path(self) -> str:
        return self._path

    def get_load_duration_in_nano_seconds(self) -> int:
        return self._load_ns

    def get_last_predict_duration_in_nano_seconds(self) -> int | None:
        return self._predict_ns


def install() -> None:
    """Let `coremltools.models.MLModel` predict with milrun.

    Afterwards `MLModel(...).predict` and `make_state` run on milrun. On macOS this does nothing, because coremltools
    has Core ML itself there.

    Example:
        >>> milrun.install()
        >>> coremltools.models.MLModel("Vocoder.mlpackage").predict(inputs)
    """
    if sys.platform == "darwin":
        return
    binding = ModuleType("coremltools.libcoremlpython")
    binding._MLModelProxy = MilrunProxy  # type: ignore[attr-defined]
    # Where coremltools looks for its binding late, and where it has looked for it already.
    sys.modules.setdefault(binding.__name__, binding)
    from coremltools.models import _compiled_model, model

    model._MLModelProxy = _compiled_model._MLModelProxy = MilrunProxy
    model.MLModel.make_state = _make_state


def _make_state(self: Any) -> Any:
    from coremltools.models.model import MLState

    if self.__proxy__ is None:
        raise RuntimeError(f"the model could not be loaded: {self._framework_error}")
    return MLState(self.__proxy__.newState())
