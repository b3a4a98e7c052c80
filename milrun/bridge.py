"""Lets coremltools' own ``MLModel`` predict on machines without Core ML."""

from __future__ import annotations

import sys
from typing import Any

from milrun.features import ArrayFeature
from milrun.loading import load
from milrun.model import State

_NEWEST_SPECIFICATION = 10


class MilrunProxy:
    """Stands where coremltools expects its binding to the Core ML framework."""

    def __init__(
        self,
        path: str,
        compute_units: str = "ALL",
        function_name: str = "",
        optimization_hints: dict[str, str] | None = None,
        asset: Any = None,
    ) -> None:
        # coremltools reports a RuntimeError of its binding when the model is used; anything else would escape here.
        try:
            self._model = load(path, function=function_name or None)
        except Exception as error:
            raise RuntimeError(str(error)) from error
        self._path = path

    @staticmethod
    def maximum_supported_specification_version() -> int:
        return _NEWEST_SPECIFICATION

    def predict(self, data: dict[str, Any], state: State | None = None) -> dict[str, Any]:
        return self._model.predict({name: self._as_coreml_takes_it(name, data[name]) for name in data}, state)

    def batchPredict(self, data: list[dict[str, Any]]) -> list[dict[str, Any]]:  # noqa: N802 (coremltools' name)
        return [self.predict(inputs) for inputs in data]

    def _as_coreml_takes_it(self, name: str, value: Any) -> Any:
        """Core ML cuts fractions off where integers are wanted; milrun by itself refuses them."""
        feature = self._model.inputs.get(name)
        if isinstance(feature, ArrayFeature) and feature.dtype.kind == "i" and isinstance(value, np.ndarray):
            return np.trunc(value)
        return value

    def newState(self) -> State:  # noqa: N802 (coremltools' name)
        return self._model.make_state()

    def get_compiled_model_path(self) -> str:
        return self._path


def install() -> None:
    """From here on ``coremltools.models.MLModel(...).predict`` and ``make_state`` run on milrun.

    Does nothing on macOS, where coremltools has Core ML itself.
    """
    if sys.platform == "darwin":
        return
    from coremltools.models import model

    model._MLModelProxy = MilrunProxy
    model.MLModel.make_state = _make_state


def _make_state(self: Any) -> Any:
    from coremltools.models.model import MLState

    if self.__proxy__ is None:
        raise RuntimeError(f"the model could not be loaded: {self._framework_error}")
    return MLState(self.__proxy__.newState())
