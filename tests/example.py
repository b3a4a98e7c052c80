"""Example of milrun: a small vocoder converted to fp16, and every verb run on it. `make example` calls it."""

from __future__ import annotations

import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np

from milrun.__main__ import main as milrun
from tests.bench.milrun_speed import convert
from tests.bench.models import WORKLOADS


def main() -> None:
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    workload = WORKLOADS[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        package = str(convert(workload, workload.module(), True, folder))
        inputs, outputs = str(folder / "in.npz"), str(folder / "out.npz")
        np.savez(inputs, **{key: tensor.numpy() for key, tensor in workload.example().items()})
        for arguments in commands(package, inputs, outputs):
            print(f"\n$ python -m milrun {' '.join(a.replace(name + '/', '') for a in arguments)}", flush=True)
            milrun(arguments)


def commands(package: str, inputs: str, outputs: str) -> list[list[str]]:
    """Return the arguments of every verb of milrun for a package and its inputs."""
    return [
        ["inspect", package],
        ["run", package, inputs, outputs],
        ["bench", package, inputs],
        ["diff", package, package, inputs, "--numerics", "fp32", "--other-numerics", "declared"],
        ["sensitivity", package, inputs],
    ]


if __name__ == "__main__":
    main()
