"""Services for the child process of the runtimes, some of which misbehave."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np


class Echo:
    """A service that returns what it gets, or misbehaves as told."""

    def about(self) -> dict[str, Any]:
        return {"temporary": tempfile.gettempdir()}

    def echo(self, *values: Any) -> Any:
        return values

    def misbehave(self, how: str) -> None:
        misbehave(how)


def misbehave(how: str) -> None:
    if how == "hang":
        time.sleep(1000)
    elif how == "hang with the lock":
        # As a binding does that keeps Python's lock: no thread of Python runs any more.
        ctypes.PyDLL(None).sleep(1000)
    elif how == "hang with a helper":
        subprocess.run(["sleep", "1000"], close_fds=False, check=True)
    elif how == "kill":
        print("ANECCompile() FAILED", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "abort":
        print("check failed: Long", file=sys.stderr, flush=True)
        os.abort()
    elif how == "exit":
        os._exit(3)
    elif how == "raise":
        raise LookupError("no such op")
    elif how == "chatter":
        for line in range(20_000):
            print(f"line {line} on stdout, \x1b[31mred")
        print("the end", flush=True)


def echo(**_: Any) -> Echo:
    return Echo()


def load(how: str, **_: Any) -> Echo:
    misbehave(how)
    return Echo()


def mark(alive: str, **_: Any) -> Echo:
    """Hold a named pipe open for as long as the process lives."""
    os.set_inheritable(os.open(alive, os.O_WRONLY), True)
    return Echo()


class _LikeCoreML:
    """A model with results as coremltools returns them on a Mac: fp16 as float32, strided, in another order."""

    def __init__(self, spec: Any) -> None:
        self._spec, self.function_name = spec, None

    def get_spec(self) -> Any:
        return self._spec

    def predict(self, inputs: dict[str, Any], state: Any = None) -> dict[str, Any]:
        assert all(value.flags.writeable for value in inputs.values()), "the binding refuses read-only arrays"
        x = inputs.pop("x")
        return {
            "label_count": 3,
            "half": x.astype(np.float16).astype(np.float32).T[::2],
            "full": np.float32(x.sum()),
            "wide": x + np.float32(1e-6),
            "extra": np.zeros((2, 0), np.int32),
        }


def like_core_ml(**_: Any) -> Any:
    from parity.run.coreml import Predictor

    def feature(name: str, kind: str) -> SimpleNamespace:
        names = SimpleNamespace(Name=lambda data_type: data_type)
        array = SimpleNamespace(dataType=kind, ArrayDataType=names)
        kinds = SimpleNamespace(WhichOneof=lambda _: "multiArrayType", multiArrayType=array, isOptional=False)
        return SimpleNamespace(name=name, type=kinds)

    outputs = [feature("full", "FLOAT32"), feature("wide", "FLOAT16"), feature("half", "FLOAT16")]
    description = SimpleNamespace(
        input=[feature("x", "FLOAT32")], output=[*outputs, feature("label_count", "INT32")], state=[]
    )
    return Predictor(_LikeCoreML(None), description, 0.5)


def text_output(**_: Any) -> Any:
    predictor = like_core_ml()
    predictor._model.predict = lambda inputs, state=None: {"half": "yes"}
    return predictor


def placed(package: str, compute_units: Any, **_: Any) -> Any:
    from parity.run.placement import Counted, Placement

    assert Path(package).is_absolute()
    return Counted(Placement({"neural_engine": 3, "cpu": 1}, {"neural_engine": 0.75, "cpu": 0.25}))


class ProgramHost(Echo):
    """A host of programs in which loading a method misbehaves as the method is named."""

    def load(self, package: str, method: str) -> None:
        misbehave(method)


def program_host() -> ProgramHost:
    return ProgramHost()
