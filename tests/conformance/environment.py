"""Makes the suites run here: answers their platform checks and stands in for what they import without need."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import inspect
import platform
import sys
import unittest.mock
from collections.abc import Callable, Iterable
from types import ModuleType, SimpleNamespace
from typing import Any

from tests.conformance import compare, random_data, watch

_ABSENT = ("torchvision", "requests")
MACOS = (15, 6)
_TESTING = "coremltools.converters.mil.testing_utils"
_TORCH_TESTING = "coremltools.converters.mil.frontend.torch.test.testing_utils"
_CONVERSION = "coremltools.test.optimize.torch.conversion.conversion_utils"


def prepare() -> None:
    """Install milrun, then change the suites' helpers before any suite imports them by value."""
    import torch

    import milrun

    torch.set_num_threads(1)
    milrun.install()
    model = importlib.import_module("coremltools.models.model")
    watch.watch(model._MLModelProxy)
    _answer_platform_checks()
    _stand_in_for_missing_packages()
    testing = importlib.import_module(_TESTING)
    testing.__dict__["random_gen"] = random_data.random_gen
    compare.tighten(testing, "compare_backend")
    _answer_platform_checks()
    torch_testing = importlib.import_module(_TORCH_TESTING)
    compare.tighten(torch_testing, "convert_and_compare")
    _answer_platform_checks()


def _answer_platform_checks() -> None:
    """macOS on Apple silicon, in every module of coremltools that asks or has asked."""

    def is_macos() -> bool:
        return True

    def macos_version() -> tuple[int, ...]:
        return MACOS

    answers = {"_is_macos": is_macos, "_macos_version": macos_version, "_IS_MACOS": True}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "coremltools" and module is not None:
            for key in answers.keys() & vars(module).keys():
                setattr(module, key, answers[key])
    platform.machine = lambda: "arm64"


class _Missing(ModuleType):
    """A module that is not installed: its names exist, and a test that uses one is skipped."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Missing(f"{self.__name__}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        import pytest

        pytest.skip(f"{self.__name__.partition('.')[0]} is not installed")


def _stand_in_for_missing_packages() -> None:
    if importlib.util.find_spec("mock") is None:
        sys.modules["mock"] = unittest.mock
    if importlib.util.find_spec("parameterized") is None:
        sys.modules["parameterized"] = ModuleType("parameterized")
        sys.modules["parameterized"].__dict__["parameterized"] = SimpleNamespace(expand=_expand)
    for name in _ABSENT:
        if importlib.util.find_spec(name) is None:
            for inner in ("", ".datasets", ".models", ".ops", ".transforms"):
                sys.modules[name + inner] = _Missing(name + inner)


def forget_missing_packages() -> None:
    """Once the suites are imported: other libraries take a package in ``sys.modules`` for an installed one."""
    for name, module in list(sys.modules.items()):
        if isinstance(module, _Missing):
            del sys.modules[name]


def _expand(cases: Iterable[Any]) -> Callable[[Callable[..., Any]], Any]:
    """``parameterized.expand`` in terms of pytest."""
    import pytest

    rows = [tuple(case) if isinstance(case, (tuple, list)) else (case,) for case in cases]

    def decorate(function: Callable[..., Any]) -> Any:
        names = list(inspect.signature(function).parameters)[1:]
        return pytest.mark.parametrize(names[: len(rows[0])], rows)(function)

    return decorate


def answer_late_checks() -> None:
    """A helper of the suites that refuses Linux by ``sys.platform`` is told otherwise, once it is imported."""
    module = sys.modules.get(_CONVERSION)
    if module is not None and isinstance(module.__dict__["sys"], ModuleType):
        module.__dict__["sys"] = SimpleNamespace(platform="darwin")
