"""``milrun.install()``: coremltools' own classes predict, as they do where Core ML is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import sys
if {early}:
    import coremltools as ct
import milrun
milrun.install()
import coremltools as ct
import numpy as np

model = ct.models.MLModel({path!r})
assert model.predict({{"x": np.ones((1, 3), np.float32)}})["y"].tolist() == [[2.0, 2.0, 2.0]]
assert model.predict([{{"x": np.zeros((1, 3))}}, {{"x": np.ones((1, 3))}}])[1]["y"].tolist() == [[2.0, 2.0, 2.0]]
assert model.load_duration_in_nano_seconds > 0
assert model.last_predict_duration_in_nano_seconds > 0
try:
    model.predict({{"x": np.ones((1, 4))}})
except RuntimeError as error:
    assert "input 'x' has the shape (1, 4), allowed is (1, 3)" in str(error), error
else:
    raise AssertionError("a wrong shape was taken")

stateful = ct.models.MLModel({stateful!r})
state = stateful.make_state()
stateful.predict({{"x": np.ones((1, 3))}}, state=state)
stateful.predict({{"x": np.ones((1, 3))}}, state=state)
assert state.read_state("total").tolist() == [[2.0, 2.0, 2.0]]
print("all held")
"""


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has Core ML itself, and install() leaves it in place")
@pytest.mark.parametrize("early", [False, True], ids=["installed first", "coremltools imported first"])
def test_coremltools_predicts_through_milrun(tmp_path: Path, early: bool) -> None:
    import coremltools as ct
    import numpy as np
    import torch
    from torch import Tensor, nn

    from tests.milrun.packages import save

    class Accumulator(nn.Module):
        total: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("total", torch.zeros(1, 3))

        def forward(self, x: Tensor) -> Tensor:
            self.total.add_(x)
            return self.total * 1

    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2

    inputs, outputs = [ct.TensorType(name="x", shape=(1, 3))], [ct.TensorType(name="y")]
    path = save(tmp_path / "a.mlpackage", torch.jit.trace(Twice(), torch.ones(1, 3)), inputs=inputs, outputs=outputs)
    states = [ct.StateType(wrapped_type=ct.TensorType(shape=(1, 3), dtype=np.float16), name="total")]
    stateful = save(
        tmp_path / "b.mlpackage",
        torch.jit.trace(Accumulator(), torch.ones(1, 3)),
        inputs=inputs,
        outputs=outputs,
        states=states,
        opset="iOS18",
        half=True,
    )
    program = _PROGRAM.format(path=str(path), stateful=str(stateful), early=early)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["all held"], done.stderr
