"""Functions, pipelines, states, control flow, classifiers, random numbers and taps, as a caller meets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil import types
from torch import Tensor, nn

import milrun
from tests.milrun.editing import edit
from tests.milrun.packages import program, save


class _Accumulator(nn.Module):
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(1, 4))

    def forward(self, x: Tensor) -> Tensor:
        self.total.add_(x)
        return self.total * 2


@pytest.fixture(scope="module")
def stateful(tmp_path_factory: pytest.TempPathFactory) -> Any:
    source = save(
        tmp_path_factory.mktemp("state") / "m.mlpackage",
        torch.jit.trace(_Accumulator(), torch.zeros(1, 4)),
        inputs=[ct.TensorType(name="x", shape=(1, 4))],
        outputs=[ct.TensorType(name="y")],
        states=[ct.StateType(wrapped_type=ct.TensorType(shape=(1, 4), dtype=np.float16), name="total")],
        opset="iOS18",
        half=True,
    )
    return milrun.load(source)


def test_a_state_lives_from_call_to_call(stateful: Any) -> None:
    state = stateful.make_state()
    for expected in (2.0, 4.0, 6.0):
        np.testing.assert_array_equal(stateful.predict({"x": np.ones((1, 4))}, state=state)["y"], [[expected] * 4])
    np.testing.assert_array_equal(state.read_state("total"), [[3.0] * 4])


def test_two_states_of_one_model_are_apart(stateful: Any) -> None:
    first, second = stateful.make_state(), stateful.make_state()
    stateful.predict({"x": np.ones((1, 4))}, state=first)
    np.testing.assert_array_equal(second.read_state("total"), np.zeros((1, 4)))


def test_a_state_can_be_written_and_reading_it_gives_a_copy(stateful: Any) -> None:
    state = stateful.make_state()
    state.write_state("total", np.full((1, 4), 5.0))
    state.read_state("total")[:] = 9
    np.testing.assert_array_equal(stateful.predict({"x": np.ones((1, 4))}, state=state)["y"], [[12.0] * 4])


def test_states_are_asked_for_by_name_and_shape(stateful: Any) -> None:
    state = stateful.make_state()
    with pytest.raises(ValueError, match=r"has the states total: pass state=model.make_state"):
        stateful.predict({"x": np.ones((1, 4))})
    with pytest.raises(ValueError, match="there is no state 'sum', the model has total"):
        state.read_state("sum")
    with pytest.raises(ValueError, match=r"state 'total' has the shape \(1, 4\), not \(4,\)"):
        state.write_state("total", np.ones(4))


def _loop(x, times):  # type: ignore[no-untyped-def]
    n = mb.squeeze(x=times)

    def unfinished(i, y):  # type: ignore[no-untyped-def]
        return mb.less(x=i, y=n)

    def body(i, y):  # type: ignore[no-untyped-def]
        return mb.add(x=i, y=1), mb.mul(x=y, y=x)

    _, y = mb.while_loop(
        _cond=unfinished, _body=body, loop_vars=(mb.sub(x=n, y=n), mb.fill_like(ref_tensor=x, value=1.0))
    )
    return mb.identity(x=y, name="y")


@pytest.mark.parametrize("n", [0, 1, 5])
def test_a_loop_runs_as_often_as_its_condition_says(tmp_path: Path, n: int) -> None:
    source = program(_loop, [(2,), (1,)], [types.fp32, types.int32])
    model = milrun.load(save(tmp_path / "m.mlpackage", source))
    found = model.predict({"x": np.array([2.0, 3.0]), "times": np.array([n])})["y"]
    np.testing.assert_allclose(found, [2.0**n, 3.0**n])


def test_a_branch_is_taken_by_its_predicate_and_sees_outer_values(tmp_path: Path) -> None:
    def body(x):  # type: ignore[no-untyped-def]
        outer = mb.mul(x=x, y=10.0)
        positive = mb.greater(x=mb.reduce_sum(x=x, axes=[0], keep_dims=False), y=0.0)
        return mb.cond(
            pred=positive, _true_fn=lambda: mb.add(x=outer, y=1.0), _false_fn=lambda: mb.sub(x=outer, y=x), name="y"
        )

    model = milrun.load(save(tmp_path / "m.mlpackage", program(body, [(2,)])))
    np.testing.assert_allclose(model.predict({"x": [1.0, 2.0]})["y"], [11, 21])
    np.testing.assert_allclose(model.predict({"x": [-1.0, -2.0]})["y"], [-9, -18])


def test_every_named_value_is_tapped_in_order_loops_included(tmp_path: Path) -> None:
    source = program(_loop, [(2,), (1,)], [types.fp32, types.int32])
    model = milrun.load(save(tmp_path / "m.mlpackage", source))
    taps = list(model.trace({"x": np.array([2.0, 3.0]), "times": np.array([3])}))
    products = [tap.tensor[0].item() for tap in taps if tap.op_type == "mul"]
    assert products == [2, 4, 8]
    assert [tap.op_type for tap in taps].count("less") == 4
    assert taps[-1].op_type in ("identity", "while_loop")
    assert taps[-1].tensor.tolist() == [8, 27]


def test_tapping_does_not_change_the_result(stateful: Any) -> None:
    x = {"x": np.full((1, 4), 0.3)}
    last = list(stateful.trace(x, stateful.make_state()))[-1].tensor.numpy()
    np.testing.assert_array_equal(last, stateful.predict(x, stateful.make_state())["y"])


class _Linear(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        nn.init.constant_(self.linear.weight, value)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x)


def _linear(path: Path, value: float, name: str = "x", out: str = "y") -> Path:
    traced = torch.jit.trace(_Linear(value).eval(), torch.zeros(1, 3))
    return save(
        path, traced, inputs=[ct.TensorType(name=name, shape=(1, 3))], outputs=[ct.TensorType(name=out)], opset="iOS18"
    )


def test_a_trace_returns_what_a_prediction_would(stateful: Any) -> None:
    results = []

    def traced(inputs: dict[str, Any]) -> Any:
        results.append((yield from stateful.trace(inputs, stateful.make_state())))

    x = {"x": np.full((1, 4), 0.3)}
    assert list(traced(x))
    np.testing.assert_array_equal(results[0]["y"], stateful.predict(x, stateful.make_state())["y"])


def test_functions_of_a_package_are_chosen_by_name(tmp_path: Path) -> None:
    description = ct.utils.MultiFunctionDescriptor()
    for name, value in (("one", 1.0), ("two", 2.0)):
        description.add_function(str(_linear(tmp_path / f"{name}.mlpackage", value)), "main", name)
    description.default_function_name = "two"
    path = str(tmp_path / "both.mlpackage")
    ct.utils.save_multifunction(description, path)
    x = {"x": np.ones((1, 3))}
    assert milrun.load(path).predict(x)["y"][0, 0] == 6
    assert milrun.load(path, function="one").predict(x)["y"][0, 0] == 3
    with pytest.raises(milrun.ModelError, match="there is no function 'three', only one, two"):
        milrun.load(path, function="three")


def test_a_pipeline_hands_values_on_by_name(tmp_path: Path) -> None:
    parts = [
        ct.models.MLModel(str(_linear(tmp_path / "a.mlpackage", 1.0, "x", "h")), skip_model_load=True),
        ct.models.MLModel(str(_linear(tmp_path / "b.mlpackage", 2.0, "h", "y")), skip_model_load=True),
    ]
    joined = ct.utils.make_pipeline(*parts)
    joined.save(str(tmp_path / "p.mlpackage"))
    model = milrun.load(tmp_path / "p.mlpackage")
    assert isinstance(model, milrun.Pipeline)
    np.testing.assert_allclose(model.predict({"x": np.ones((1, 3))})["y"], np.full((1, 3), 18.0))
    assert {tap.name for tap in model.trace({"x": np.ones((1, 3))})} >= {"h", "y"}
    with pytest.raises(ValueError, match="input 'x' is missing"):
        model.predict({})
    with pytest.raises(milrun.ModelError, match="a pipeline has no functions such as 'nope'; load it without a name"):
        milrun.load(tmp_path / "p.mlpackage", function="nope")


def _optional(path: Path, default: float, *names: str) -> Any:
    """Return the model ``third = first + second``, whose second input may be left out."""

    def body(a, b):  # type: ignore[no-untyped-def]
        return mb.add(x=a, y=b, name=names[2])

    def change(spec: Any) -> None:
        for old, new in zip(("a", "b"), names[:2], strict=True):
            ct.utils.rename_feature(spec, old, new)
        second = spec.description.input[1].type
        second.isOptional, second.multiArrayType.floatDefaultValue = True, default

    edit(save(path, program(body, [(1, 3), (1, 3)])), change)
    return ct.models.MLModel(str(path), skip_model_load=True)


@pytest.mark.parametrize("exposed", [True, False])
def test_optional_inputs_of_the_parts_of_a_pipeline_may_be_left_out(tmp_path: Path, exposed: bool) -> None:
    parts = [
        _optional(tmp_path / "a.mlpackage", 2.0, "x", "v", "h"),
        _optional(tmp_path / "b.mlpackage", 4.0, "h", "w", "y"),
    ]
    path = tmp_path / "p.mlpackage"
    ct.utils.make_pipeline(*parts).save(str(path))

    def hide(spec: Any) -> None:
        kept = [feature for feature in spec.description.input if feature.name != "w"]
        del spec.description.input[:]
        spec.description.input.extend(kept)

    if not exposed:
        edit(path, hide)
    model = milrun.load(path)
    x = np.ones((1, 3), np.float32)
    assert ("w" in model.inputs) == exposed
    np.testing.assert_array_equal(model.predict({"x": x})["y"], x + 6)
    np.testing.assert_array_equal(model.predict({"x": x, "v": x})["y"], x + 5)
    assert {tap.name for tap in model.trace({"x": x})} >= {"h", "y"}
    with pytest.raises(ValueError, match="input 'x' is missing"):
        model.predict({"v": x})


@pytest.mark.parametrize("labels", [["cat", "dog", "emu"], [7, 8, 9]])
def test_a_classifier_gives_its_label_and_the_probabilities(tmp_path: Path, labels: list[Any]) -> None:
    path = save(
        tmp_path / "m.mlpackage",
        torch.jit.trace(nn.Softmax(-1), torch.zeros(1, 3)),
        inputs=[ct.TensorType(name="x", shape=(1, 3))],
        classifier_config=ct.ClassifierConfig(labels),
    )
    result = milrun.load(path).predict({"x": np.log([[0.2, 0.7, 0.1]])})
    assert result["classLabel"] == labels[1]
    (probabilities,) = (value for name, value in result.items() if name != "classLabel")
    assert probabilities == pytest.approx(dict(zip(labels, [0.2, 0.7, 0.1], strict=True)), abs=1e-5)


def test_random_ops_follow_the_seed_of_the_model_and_their_own(tmp_path: Path) -> None:
    def body(x):  # type: ignore[no-untyped-def]
        free = mb.random_normal(shape=[5], name="free")
        fixed = mb.random_normal(shape=[5], seed=3, name="fixed")
        return mb.mul(x=free, y=x, name="a"), mb.mul(x=fixed, y=x, name="b")

    path = save(tmp_path / "m.mlpackage", program(body, [(5,)]))
    x = {"x": np.ones(5)}
    first, same, other = (milrun.load(path, seed=seed).predict(x) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first["a"], same["a"])
    assert not np.array_equal(first["a"], other["a"])
    np.testing.assert_array_equal(first["b"], other["b"])
    model = milrun.load(path, seed=1)
    assert not np.array_equal(model.predict(x)["a"], model.predict(x)["a"])


def test_ops_without_an_implementation_are_refused_at_load_all_at_once(tmp_path: Path) -> None:
    path = save(tmp_path / "m.mlpackage", program(lambda x: mb.relu(x=mb.exp(x=x), name="y"), [(2,)]))
    file = path / "Data" / "com.apple.CoreML" / "model.mlmodel"
    file.write_bytes(file.read_bytes().replace(b"relu", b"rulu").replace(b"exp", b"exq"))
    with pytest.raises(milrun.ModelError, match=r"no implementation in iOS17 for exq, rulu:\n.*'main'.*\n.*'main'"):
        milrun.load(path)


def test_a_model_of_coremltools_is_loaded_from_its_package(tmp_path: Path) -> None:
    model = ct.models.MLModel(str(_linear(tmp_path / "a.mlpackage", 1.0)), skip_model_load=True)
    assert milrun.load(model).predict({"x": np.ones((1, 3))})["y"][0, 0] == 3


def test_a_fault_in_a_later_run_names_its_op_like_one_in_the_first(tmp_path: Path) -> None:
    def body(x, i):  # type: ignore[no-untyped-def]
        h = mb.mul(x=mb.add(x=x, y=1.0), y=2.0)
        return mb.exp(x=mb.gather(x=h, indices=i, axis=0, name="picked"), name="y")

    source = program(body, [(3,), (2,)], [types.fp32, types.int32])
    model = milrun.load(save(tmp_path / "m.mlpackage", source))
    for indices in ([0, 2], [0, 1], [0, 9], [2, 2]):
        inputs = {"x": np.zeros(3), "i": np.array(indices)}
        if max(indices) < 3:
            np.testing.assert_allclose(model.predict(inputs)["y"], np.exp([2.0, 2.0]), rtol=1e-6)
        else:
            with pytest.raises(milrun.ModelError, match=r"function 'main': op 'picked' \(gather\) failed: .*9"):
                model.predict(inputs)
