"""What a kernel of torch takes for itself is estimated before it runs, neither too low nor far too high."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coremltools.converters.mil import Builder as mb  # noqa: N813

import milrun
from milrun import guard
from milrun.growth import SIZES
from milrun.registry import find
from tests.milrun.packages import program, save

Shapes = dict[str, tuple[int, ...]]
KERNELS: dict[str, tuple[str, Shapes, dict[str, Any]]] = {
    "1-d": ("conv", {"x": (1, 256, 20000), "weight": (256, 256, 7)}, {"pad": [3, 3], "pad_type": "custom"}),
    "strided": ("conv", {"x": (128, 1, 1024, 1), "weight": (1024, 1, 512, 1)}, {"strides": [4, 1]}),
    "one channel": ("conv", {"x": (1, 1, 1_000_000), "weight": (32, 1, 512)}, {"strides": [4]}),
    "frames": ("conv", {"x": (1, 1, 4_000_000), "weight": (201, 1, 400)}, {"strides": [160]}),
    "2-d": ("conv", {"x": (8, 32, 256, 256), "weight": (32, 32, 3, 3)}, {"pad_type": "same"}),
    "few channels": ("conv", {"x": (8, 5, 512, 512), "weight": (7, 5, 7, 7)}, {"pad_type": "same"}),
    "dilated": ("conv", {"x": (1, 4, 500_000), "weight": (4, 4, 63)}, {"dilations": [100]}),
    "depthwise": ("conv", {"x": (4, 64, 256, 256), "weight": (64, 1, 3, 3)}, {"groups": 64}),
    "pointwise": ("conv", {"x": (4, 256, 128, 128), "weight": (256, 256, 1, 1)}, {}),
    "transposed": ("conv_transpose", {"x": (1, 256, 20000), "weight": (256, 128, 20)}, {"strides": [10]}),
    "transposed, 2-d": ("conv_transpose", {"x": (2, 64, 256, 256), "weight": (64, 32, 4, 4)}, {"strides": [2, 2]}),
    "broadcast": ("matmul", {"x": (100, 1, 1, 4096), "y": (1, 100, 4096, 1)}, {}),
    "attention": (
        "scaled_dot_product_attention",
        {"query": (1, 8, 2048, 64), "key": (1, 8, 2048, 64), "value": (1, 8, 2048, 32)},
        {},
    ),
    "shared keys": (
        "scaled_dot_product_attention",
        {"query": (1, 8, 2048, 64), "key": (1, 1, 2048, 64), "value": (1, 1, 2048, 64)},
        {},
    ),
}


def _peak(op_type: str, shapes: Shapes, others: dict[str, Any]) -> int:
    """Return the bytes that a kernel takes at its peak, its operands not among them."""
    definition = find(op_type, "iOS18")
    assert definition is not None
    operands = {name: torch.zeros(shape).normal_() for name, shape in shapes.items()}
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    with torch.inference_mode():
        definition.run(**operands, **others)
    return _status("VmHWM") - before


def _status(key: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


@pytest.fixture(scope="module")
def peaks() -> dict[str, int]:
    """The bytes that each kernel takes, measured in a process that hands every block of memory back."""
    variables = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.milrun.test_scratch_memory"]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True, env=variables).stdout))


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak of a process")
@pytest.mark.parametrize("kind", KERNELS)
def test_the_estimate_covers_what_torch_takes(kind: str, peaks: dict[str, int]) -> None:
    op_type, shapes, others = KERNELS[kind]
    estimate = 4 * SIZES[op_type](**{name: torch.empty(s, device="meta") for name, s in shapes.items()}, **others)
    # A process has a megabyte or two of its own besides.
    assert peaks[kind] - (8 << 20) < estimate < 3.5 * peaks[kind] + (8 << 20)


HUGE: dict[str, tuple[tuple[int, ...], Any]] = {
    "conv": ((1, 16, 1000, 1000), lambda x: mb.conv(x=x, weight=np.ones((16, 16, 3, 3), np.float32))),
    "matmul": ((100, 1, 1, 4096), lambda x: mb.matmul(x=x, y=mb.transpose(x=x, perm=[1, 0, 3, 2]))),
    "scaled_dot_product_attention": (
        (1, 8, 2048, 64),
        lambda x: mb.scaled_dot_product_attention(
            query=x, key=x, value=mb.slice_by_index(x=x, begin=[0, 0, 0, 0], end=[1, 8, 2048, 32])
        ),
    ),
}


@pytest.mark.parametrize("kind", HUGE)
def test_a_kernel_is_refused_for_the_memory_that_it_takes_besides_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    shape, body = HUGE[kind]
    path = save(tmp_path / "m.mlpackage", program(body, [shape], opset="iOS18"), opset="iOS18", passes=False)
    monkeypatch.setattr(guard, "FLOOR", 150 << 20)
    monkeypatch.setattr(guard, "PER_INPUT_BYTE", 0)
    with pytest.raises(milrun.ModelError, match=rf"\({kind}\) failed: it would take"):
        milrun.load(path).predict({"x": np.ones(shape, np.float32)})


if __name__ == "__main__":
    print(json.dumps({kind: _peak(*kernel) for kind, kernel in KERNELS.items()}))
