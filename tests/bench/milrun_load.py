"""``python -m tests.bench.milrun_load``: load time of a 50 MB palettized package of 1,500 ops, and memory.

Every figure is taken in a process of its own, since memory once used is not given back. ``peak / eager`` compares
what a prediction adds to the process at its peak, weights included, with eager PyTorch on the same workload.
"""

from __future__ import annotations

import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch

import milrun
from tests.bench.milrun_speed import convert
from tests.bench.models import WORKLOADS

_LAYERS, _WIDTH, _OPS = 50, 1024, 1500


def palettized_package(folder: Path) -> Path:
    """50 linear layers of 1024 by 1024 with 8-bit palettes, and elementwise ops up to 1,500."""
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb  # noqa: N813

    rng = np.random.default_rng(0)

    @mb.program(input_specs=[mb.TensorSpec((1, 8, _WIDTH))], opset_version=ct.target.iOS18)
    def body(x):  # type: ignore[no-untyped-def]
        for _ in range(_LAYERS):
            weight = mb.constexpr_lut_to_dense(
                indices=rng.integers(0, 256, (_WIDTH, _WIDTH), dtype=np.uint8),
                lut=rng.standard_normal((1, 1, 256, 1)).astype(np.float16) / np.float16(32),
            )
            x = mb.cast(x=mb.linear(x=mb.cast(x=x, dtype="fp16"), weight=weight), dtype="fp32")
            for _ in range(_OPS // _LAYERS // 2 - 2):
                x = mb.tanh(x=mb.mul(x=x, y=x))
        return mb.identity(x=x, name="y")

    model = ct.convert(
        body,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS18,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
        pass_pipeline=ct.PassPipeline.EMPTY,
    )
    path = folder / "palettized.mlpackage"
    model.save(str(path))
    return path


def _peak_now() -> float:
    """MiB that this process has held at most (Linux; ``getrusage`` would count what the parent held)."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def load_once(path: str) -> dict[str, float]:
    # The first load in a process also imports the protobuf classes and starts torch's threads.
    small = json.loads(Path(path).with_suffix(".json").read_text())["small"]
    milrun.load(small)
    start = time.perf_counter()
    model = milrun.load(path)
    seconds = time.perf_counter() - start
    assert isinstance(model, milrun.Model)
    return {"seconds": seconds, "steps": len(model.step_operations())}


def predict_once(path: str, workload: str) -> dict[str, float]:
    (chosen,) = (w for w in WORKLOADS if w.name == workload)
    example = chosen.example()
    before = _peak_now()
    model = milrun.load(path, numerics="fp32")
    model.predict({name: tensor.numpy() for name, tensor in example.items()})
    return {"mib": _peak_now() - before}


def eager_once(path: str, workload: str) -> dict[str, float]:
    (chosen,) = (w for w in WORKLOADS if w.name == workload)
    example = chosen.example()
    before = _peak_now()
    module = chosen.module()
    with torch.inference_mode():
        module(*example.values())
    return {"mib": _peak_now() - before}


def _apart(*arguments: str) -> dict[str, float]:
    result = subprocess.run(
        [sys.executable, "-m", "tests.bench.milrun_load", *arguments], check=True, capture_output=True, text=True
    )
    return dict(json.loads(result.stdout.splitlines()[-1]))


def main() -> None:
    if len(sys.argv) > 1:
        verbs = {"load": load_once, "predict": predict_once, "eager": eager_once}
        print(json.dumps(verbs[sys.argv[1]](*sys.argv[2:])))
        return
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        packages = {w.name: convert(w, w.module(), False, folder) for w in WORKLOADS}
        palettized = palettized_package(folder)
        palettized.with_suffix(".json").write_text(json.dumps({"small": str(packages["step"])}))
        size = sum(f.stat().st_size for f in palettized.rglob("*") if f.is_file()) / 1e6
        loads = [_apart("load", str(palettized)) for _ in range(10)]
        seconds = statistics.median(run["seconds"] for run in loads)
        print(f"load of {size:.0f} MB, {loads[0]['steps']:.0f} steps: {seconds:.3f} s (median of {len(loads)})\n")
        print("| model | eager peak MiB | milrun peak MiB | milrun / eager |\n| --- | --- | --- | --- |")
        for workload, package in packages.items():
            eager = statistics.median(_apart("eager", str(package), workload)["mib"] for _ in range(3))
            run = statistics.median(_apart("predict", str(package), workload)["mib"] for _ in range(3))
            print(f"| {workload} | {eager:.1f} | {run:.1f} | {run / eager:.2f} |", flush=True)


if __name__ == "__main__":
    main()
