"""Small packages for the tests, made by coremltools and saved to disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

logging.getLogger("coremltools").setLevel(logging.ERROR)

import coremltools as ct  # noqa: E402 (it logs while it is imported)
from coremltools.converters.mil import Builder as mb  # noqa: E402, N813

OPSETS = {name: getattr(ct.target, name) for name in ("iOS15", "iOS16", "iOS17", "iOS18")}


def program(
    body: Callable[..., Any],
    shapes: list[tuple[Any, ...]],
    dtypes: list[Any] | None = None,
    opset: str = "iOS17",
) -> Any:
    """A MIL program of one function, whose inputs are named by the parameters of ``body``."""
    kinds = dtypes or [ct.converters.mil.mil.types.fp32] * len(shapes)
    specs = [mb.TensorSpec(shape, dtype) for shape, dtype in zip(shapes, kinds, strict=True)]
    return mb.program(input_specs=specs, opset_version=OPSETS[opset])(body)


def save(
    path: Path, source: Any, *, half: bool = False, opset: str = "iOS17", passes: bool = True, **options: Any
) -> Path:
    """Convert and save. ``passes=False`` keeps the program as written: no fusion, no folding."""
    precision = ct.precision.FLOAT16 if half else ct.precision.FLOAT32
    if not passes:
        options["pass_pipeline"] = ct.PassPipeline.EMPTY
    model = ct.convert(
        source,
        convert_to="mlprogram",
        minimum_deployment_target=OPSETS[opset],
        compute_precision=precision,
        skip_model_load=True,
        **options,
    )
    model.save(str(path))
    return path
