"""lstm, gru and rnn against their equations in numpy float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from milrun.registry import find

import milrun.ops  # noqa: F401 isort: skip (registers the ops)
from tests.support.covering import each, pairs

ACTIVATIONS: dict[str, Any] = {
    "tanh": np.tanh,
    "scaled_tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "sigmoid_hard": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "relu": lambda x: np.maximum(x, 0),
    "linear": lambda x: x,
}


def run(op: str, opset: str, arguments: dict[str, Any]) -> list[np.ndarray]:
    tensors = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}
    definition = find(op, opset)
    assert definition is not None
    return [y.numpy() for y in definition.run(**tensors)]


def close(got: list[np.ndarray], expected: tuple[np.ndarray, ...]) -> None:
    for mine, theirs in zip(got, expected, strict=True):
        assert mine.dtype == np.float32
        assert mine.shape == theirs.shape
        np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=2e-6)


def floats(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def lstm_weights(seed: int, inputs: int, hidden: int, bias: bool, peephole: bool) -> dict[str, np.ndarray]:
    weights = {"weight_ih": floats(seed, 4 * hidden, inputs), "weight_hh": floats(seed + 1, 4 * hidden, hidden)}
    if bias:
        weights["bias"] = floats(seed + 2, 4 * hidden)
    if peephole:
        weights["peephole"] = floats(seed + 3, 3 * hidden)
    return weights


def lstm_steps(
    x: np.ndarray, h: np.ndarray, c: np.ndarray, weights: dict[str, np.ndarray], names: tuple[str, str, str], clip: Any
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    wide = {name: value.astype(np.float64) for name, value in weights.items()}
    gate, cell, output = (ACTIVATIONS[name] for name in names)
    hidden = h.shape[-1]
    p_i, p_f, p_o = np.split(wide.get("peephole", np.zeros(3 * hidden)), 3)
    h, c, steps = h.astype(np.float64), c.astype(np.float64), []
    for step in x.astype(np.float64):
        z = step @ wide["weight_ih"].T + h @ wide["weight_hh"].T + wide.get("bias", 0)
        z_i, z_f, z_o, z_z = np.split(z, 4, -1)
        c = gate(z_f + p_f * c) * c + gate(z_i + p_i * c) * cell(z_z)
        c = c if clip is None else np.clip(c, -clip, clip)
        h = gate(z_o + p_o * c) * output(c)
        steps.append(h)
    return steps, h, c


STANDARD = ("sigmoid", "tanh", "tanh")


def check_lstm(
    steps: int = 7,
    batch: int = 2,
    inputs: int = 3,
    hidden: int = 4,
    direction: str = "forward",
    bias: bool = True,
    peephole: bool = False,
    names: tuple[str, str, str] = STANDARD,
    clip: float | None = None,
    output_sequence: bool = True,
    opset: str = "iOS15",
) -> None:
    both = direction == "bidirectional"
    width = hidden * (2 if both else 1)
    x, h, c = floats(1, steps, batch, inputs), floats(2, batch, width), floats(3, batch, width)
    weights = lstm_weights(10, inputs, hidden, bias, peephole)
    back = lstm_weights(20, inputs, hidden, bias, peephole)
    activations = dict(zip(("recurrent_activation", "cell_activation", "activation"), names, strict=True))
    arguments = {"x": x, "initial_h": h, "initial_c": c, **weights, "direction": direction, **activations}
    arguments |= {"output_sequence": output_sequence, "clip": clip}
    source = x[::-1] if direction == "reverse" else x
    sequence, last_h, last_c = lstm_steps(source, h[:, :hidden], c[:, :hidden], weights, names, clip)
    if both:
        arguments |= {f"{name}_back": value for name, value in back.items()}
        behind, back_h, back_c = lstm_steps(x[::-1], h[:, hidden:], c[:, hidden:], back, names, clip)
        sequence = [np.concatenate(pair, -1) for pair in zip(sequence, behind[::-1], strict=True)]
        last_h, last_c = np.concatenate([last_h, back_h], -1), np.concatenate([last_c, back_c], -1)
    out = np.reshape(sequence, (steps, batch, width)) if output_sequence else last_h[None]
    close(run("lstm", opset, arguments), (out, last_h, last_c))


@pairs(
    {
        "direction": ["forward", "reverse", "bidirectional"],
        "bias": [False, True],
        "output_sequence": [False, True],
        "steps": [1, 3, 12],
    }
)
def test_lstm_follows_its_equations(direction: str, bias: bool, output_sequence: bool, steps: int) -> None:
    check_lstm(steps, direction=direction, bias=bias, output_sequence=output_sequence)


@each(
    {
        "names": [
            ("sigmoid", "tanh", "relu"),
            ("sigmoid", "tanh", "scaled_tanh"),
            ("sigmoid", "tanh", "hard_sigmoid"),
            ("sigmoid", "tanh", "linear"),
            ("hard_sigmoid", "relu", "tanh"),
            ("tanh", "linear", "sigmoid"),
            ("linear", "sigmoid", "tanh"),
        ],
        "peephole, clip": [(False, None), (True, None), (False, 0.2), (True, 0.01), (True, 50.0)],
    }
)
def test_lstm_takes_any_activations_peepholes_and_clip(
    names: tuple[str, str, str], peephole: bool, clip: float | None
) -> None:
    check_lstm(6, names=names, peephole=peephole, clip=clip)


@pytest.mark.parametrize("steps", [2, 9])
@pytest.mark.parametrize(("peephole", "clip"), [(True, None), (False, 0.3)])
@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
def test_lstm_treats_both_directions_alike(steps: int, peephole: bool, clip: float | None, direction: str) -> None:
    check_lstm(steps, direction=direction, peephole=peephole, clip=clip)


@pytest.mark.parametrize(("batch", "inputs", "hidden"), [(1, 1, 1), (1, 5, 16), (9, 2, 3)])
@pytest.mark.parametrize("steps", [4, 5, 40])
def test_lstm_takes_any_sizes(batch: int, inputs: int, hidden: int, steps: int) -> None:
    check_lstm(steps, batch, inputs, hidden, opset="iOS18")


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("output_sequence", [False, True])
def test_lstm_of_no_steps_gives_its_initial_state(direction: str, output_sequence: bool) -> None:
    check_lstm(0, direction=direction, output_sequence=output_sequence)


def test_lstm_may_have_a_bias_in_one_direction_only() -> None:
    weights, back = lstm_weights(10, 3, 4, True, False), lstm_weights(20, 3, 4, False, False)
    x, h, c = floats(1, 8, 2, 3), floats(2, 2, 8), floats(3, 2, 8)
    arguments = {"x": x, "initial_h": h, "initial_c": c, **weights, "direction": "bidirectional"}
    arguments |= {f"{name}_back": value for name, value in back.items()}
    _, ahead, _ = lstm_steps(x, h[:, :4], c[:, :4], weights, STANDARD, None)
    _, behind, _ = lstm_steps(x[::-1], h[:, 4:], c[:, 4:], back, STANDARD, None)
    np.testing.assert_allclose(run("lstm", "iOS15", arguments)[1], np.concatenate([ahead, behind], -1), atol=1e-6)


def test_lstm_accepts_operands_that_are_not_contiguous() -> None:
    arguments: dict[str, Any] = {k: torch.from_numpy(v) for k, v in lstm_weights(10, 3, 4, True, False).items()}
    x, h = floats(1, 2, 6, 3), floats(2, 4, 2)
    definition = find("lstm", "iOS15")
    assert definition is not None
    state = torch.from_numpy(h).t()
    got = definition.run(x=torch.from_numpy(x).transpose(0, 1), initial_h=state, initial_c=state, **arguments)
    weights = lstm_weights(10, 3, 4, True, False)
    _, last_h, last_c = lstm_steps(x.transpose(1, 0, 2), h.T, h.T, weights, STANDARD, None)
    close([y.numpy() for y in got], (last_h[None], last_h, last_c))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [({"direction": "backward"}, "direction is 'backward'"), ({"direction": "bidirectional"}, "weight_ih_back"),
     ({"activation": "gelu"}, "activation is 'gelu'"), ({"cell_activation": ""}, "cell_activation"),
     ({"recurrent_activation": "dummy"}, "recurrent_activation")],
)  # fmt: skip
def test_lstm_refuses_what_the_specification_does_not_allow(arguments: dict[str, Any], match: str) -> None:
    state = {"x": floats(1, 2, 1, 3), "initial_h": floats(2, 1, 4), "initial_c": floats(3, 1, 4)}
    with pytest.raises(ValueError, match=match):
        run("lstm", "iOS15", state | lstm_weights(10, 3, 4, True, False) | arguments)


def gru_steps(
    x: np.ndarray, h: np.ndarray, weights: dict[str, np.ndarray], names: tuple[str, str], reset_after: bool
) -> tuple[list[np.ndarray], np.ndarray]:
    wide = {name: value.astype(np.float64) for name, value in weights.items()}
    gate, output = (ACTIVATIONS[name] for name in names)
    hidden = h.shape[-1]
    w_r, w_o, w_z = np.split(wide["weight_ih"], 3)
    u_r, u_o, u_z = np.split(wide["weight_hh"], 3)
    b_r, b_o, b_z = np.split(wide.get("bias", np.zeros(3 * hidden)), 3)
    a_r, a_o, a_z = np.split(wide.get("input_bias", np.zeros(3 * hidden)), 3)
    h, steps = h.astype(np.float64), []
    for step in x.astype(np.float64):
        r = gate(step @ w_r.T + a_r + h @ u_r.T + b_r)
        z = gate(step @ w_z.T + a_z + h @ u_z.T + b_z)
        recurrent = r * (h @ u_o.T + b_o) if reset_after else (r * h) @ u_o.T + b_o
        h = (1 - z) * output(step @ w_o.T + a_o + recurrent) + z * h
        steps.append(h)
    return steps, h


@pairs(
    {
        "direction": ["forward", "reverse"],
        "biases": [(), ("bias",), ("bias", "input_bias"), ("input_bias",)],
        "reset_after": [False, True],
        "names": [("sigmoid", "tanh"), ("tanh", "sigmoid"), ("hard_sigmoid", "relu")],
        "steps, batch, output_sequence": [(0, 2, True), (1, 1, False), (5, 3, True), (4, 2, False)],
    }
)
def test_gru_follows_its_equations(
    direction: str, biases: tuple[str, ...], reset_after: bool, names: tuple[str, str], steps: int,
    batch: int, output_sequence: bool,
) -> None:  # fmt: skip
    x, h = floats(1, steps, batch, 3), floats(2, batch, 4)
    weights = {"weight_ih": floats(10, 12, 3), "weight_hh": floats(11, 12, 4)}
    weights |= {name: floats(12 + i, 12) for i, name in enumerate(biases)}
    arguments = {"x": x, "initial_h": h, **weights, "direction": direction, "output_sequence": output_sequence}
    arguments |= {"recurrent_activation": names[0], "activation": names[1], "reset_after": reset_after}
    sequence, last = gru_steps(x[::-1] if direction == "reverse" else x, h, weights, names, reset_after)
    out = np.reshape(sequence, (steps, batch, 4)) if output_sequence else last[None]
    close(run("gru", "iOS18", arguments), (out, last))


@pairs(
    {
        "activation": ["tanh", "relu", "sigmoid", "sigmoid_hard", "scaled_tanh", "linear"],
        "direction": ["forward", "reverse"],
        "bias": [False, True],
        "steps, batch, output_sequence": [(0, 2, True), (1, 1, False), (5, 3, True), (4, 2, False)],
    }
)
def test_rnn_follows_its_equation(
    activation: str, direction: str, bias: bool, steps: int, batch: int, output_sequence: bool
) -> None:
    x, h = floats(1, steps, batch, 3), floats(2, batch, 4)
    weights = {"weight_ih": floats(10, 4, 3), "weight_hh": floats(11, 4, 4)} | ({"bias": floats(12, 4)} if bias else {})
    arguments = {"x": x, "initial_h": h, **weights, "direction": direction, "output_sequence": output_sequence}
    state, sequence = h.astype(np.float64), []
    for step in x[::-1] if direction == "reverse" else x:
        total = step @ weights["weight_ih"].T.astype(np.float64) + state @ weights["weight_hh"].T.astype(np.float64)
        state = ACTIVATIONS[activation](total + weights.get("bias", 0))
        sequence.append(state)
    out = np.reshape(sequence, (steps, batch, 4)) if output_sequence else state[None]
    close(run("rnn", "iOS15", arguments | {"activation": activation}), (out, state))


@pytest.mark.parametrize("op", ["gru", "rnn"])
@pytest.mark.parametrize("arguments", [{"direction": "bidirectional"}, {"activation": "softplus"}])
def test_gru_and_rnn_refuse_what_the_specification_does_not_allow(op: str, arguments: dict[str, Any]) -> None:
    size = 12 if op == "gru" else 4
    given = {"x": floats(1, 2, 1, 3), "initial_h": floats(2, 1, 4), "weight_ih": floats(3, size, 3)}
    with pytest.raises(ValueError, match=f"{op}: {next(iter(arguments))} is"):
        run(op, "iOS15", given | {"weight_hh": floats(4, size, 4)} | arguments)
