"""``python -m tests.bench.milrun_speed``: milrun against the same module in eager PyTorch, paired in one process.

Prints the table of ``docs/milrun.md``. Ratios are medians over rounds in which eager and milrun take turns.
"""

from __future__ import annotations

import argparse
import gc
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import milrun
from tests.bench.models import WORKLOADS, Workload


def convert(workload: Workload, module: torch.nn.Module, half: bool, folder: Path) -> Path:
    """The workload as an ML program, fp16 or fp32."""
    import coremltools as ct

    example = workload.example()
    traced = torch.jit.trace(module, tuple(example.values()))  # type: ignore[no-untyped-call]
    types = {torch.float32: np.float32, torch.int32: np.int32}
    converted = ct.convert(
        traced,
        inputs=[ct.TensorType(name=n, shape=tuple(v.shape), dtype=types[v.dtype]) for n, v in example.items()],
        minimum_deployment_target=ct.target.iOS17,
        compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
        skip_model_load=True,
    )
    path = folder / f"{workload.name}-{'fp16' if half else 'fp32'}.mlpackage"
    converted.save(str(path))
    return path


def paired(runs: list[Callable[[], Any]], rounds: int) -> list[list[float]]:
    """Seconds of each run in each round; the runs take turns, so that drift of the machine hits all alike."""
    for run in runs:
        run()
        run()
    # The converter has left a large heap behind, whose collection would hit whoever happens to allocate.
    gc.collect()
    gc.freeze()
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for index, run in enumerate(runs):
            start = time.perf_counter()
            run()
            times[index].append(time.perf_counter() - start)
    return times


def row(workload: Workload, rounds: int, folder: Path) -> str:
    module = workload.module()
    example = workload.example()
    arrays = {name: tensor.numpy() for name, tensor in example.items()}
    plain = milrun.load(convert(workload, module, False, folder), numerics="fp32")
    declared = milrun.load(convert(workload, module, True, folder))
    assert isinstance(plain, milrun.Model)
    assert isinstance(declared, milrun.Model)

    def eager() -> None:
        with torch.inference_mode():
            module(*example.values())

    models = [lambda: plain.predict(arrays), lambda: declared.predict(arrays)]
    times = paired([eager, *models], rounds)
    eager_ms, plain_ms, declared_ms = (statistics.median(t) * 1e3 for t in times)
    ratios = [statistics.median(m / e for m, e in zip(t, times[0], strict=True)) for t in times[1:]]
    ops = len(plain.step_operations())
    return (
        f"| {workload.name} | {ops} | {eager_ms:.2f} | {plain_ms:.2f} | {declared_ms:.2f} "
        f"| {ratios[0]:.2f} | {ratios[1]:.2f} | {plain_ms * 1e3 / ops:.1f} |"
    )


def overhead(rounds: int, folder: Path, count: int = 1000) -> str:
    """What a step costs beyond its kernel: a chain of additions of one element, less the same torch calls."""
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb  # noqa: N813

    @mb.program(input_specs=[mb.TensorSpec((1,))], opset_version=ct.target.iOS17)  # type: ignore[untyped-decorator]
    def chain(x: Any) -> Any:
        for _ in range(count):
            x = mb.add(x=x, y=np.float32(1.0))
        return x

    options = {"minimum_deployment_target": ct.target.iOS17, "compute_precision": ct.precision.FLOAT32}
    converted = ct.convert(chain, convert_to="mlprogram", skip_model_load=True, **options)
    path = folder / "chain.mlpackage"
    converted.save(str(path))
    model = milrun.load(path)
    assert isinstance(model, milrun.Model)
    x, one = np.zeros(1, np.float32), torch.tensor(1.0)

    def bare() -> None:
        with torch.inference_mode():
            y = torch.from_numpy(x)
            for _ in range(count):
                y = torch.add(y, one)

    bare_time, milrun_time = (statistics.median(t) for t in paired([bare, lambda: model.predict({"x": x})], rounds))
    return f"overhead per step: {(milrun_time - bare_time) / len(model.step_operations()) * 1e6:.2f} µs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--only", choices=[w.name for w in WORKLOADS])
    parser.add_argument("--threads", type=int, default=1, help="of both; one is the least noisy on shared machines")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    print(
        "| model | steps | eager ms | fp32 ms | declared fp16 ms | fp32 / eager | declared / eager | fp32 µs per step |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for workload in WORKLOADS:
            if options.only in (None, workload.name):
                print(row(workload, options.rounds, Path(folder)), flush=True)
        if options.only is None:
            print(f"\n{overhead(options.rounds, Path(folder))}")


if __name__ == "__main__":
    main()
