"""The suites inside the installed coremltools package, by name."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SUITES: dict[str, tuple[str, ...]] = {
    "mil-ops": ("converters/mil/mil/ops/tests",),
    "mil-programs": (
        "converters/mil/mil/tests",
        "converters/mil/backend/mil",
        "converters/mil/frontend/milproto/test_load.py",
        "converters/mil/test_inputs_outputs_shape.py",
    ),
    "mil-passes": ("converters/mil/mil/passes/tests",),
    "torch-ops": ("converters/mil/frontend/torch/test/test_torch_ops.py",),
    "torch-models": (
        "converters/mil/frontend/torch/test/test_custom_ops.py",
        "converters/mil/frontend/torch/test/test_examples.py",
        "converters/mil/frontend/torch/test/test_passes.py",
        "converters/mil/frontend/torch/test/test_torch_conversion_api.py",
        "converters/mil/frontend/torch/test/test_torch_export_conversion_api.py",
        "converters/mil/frontend/torch/test/test_torch_export_quantization.py",
        "converters/mil/frontend/torch/test/test_torch_quantization_ops.py",
    ),
    "stateful": ("converters/mil/frontend/torch/test/test_torch_stateful_model.py",),
    "ml-program": ("test/ml_program",),
    "optimize": ("test/optimize/coreml", "test/optimize/api", "test/optimize/torch/conversion"),
    "packages": ("test/api", "test/modelpackage", "test/pipeline", "test/blob"),
}
"""Left out: TensorFlow, neural networks, scikit-learn, XGBoost, and what never makes a prediction."""


def coremltools_folder() -> Path:
    """Where coremltools is installed (found without importing it)."""
    spec = importlib.util.find_spec("coremltools")
    if spec is None or spec.origin is None:
        raise SystemExit("coremltools is not installed: the conformance suites are inside it")
    return Path(spec.origin).parent


def suite_of(test_id: str) -> str:
    """The suite whose paths hold a test, or "other"."""
    for name, paths in SUITES.items():
        if any(test_id.startswith((path + "/", path + "::")) for path in paths):
            return name
    return "other"
