"""Small models of every kind that can be damaged, with inputs that they take as they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import coremltools.optimize.coreml as cto
import numpy as np
from coremltools.converters.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil import types

from tests.milrun.packages import program, save

Shapes = dict[str, tuple[int, ...]]


def _weights(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def conv(path: Path) -> Shapes:
    def body(x: Any) -> Any:
        x = mb.conv(x=x, weight=_weights(8, 4, 3, 3), bias=_weights(8), pad_type="same", strides=[1, 1])
        x = mb.avg_pool(x=mb.relu(x=x), kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid")
        x = mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=2)
        x = mb.pad(x=x, pad=[0, 0, 1, 1, 0, 0, 1, 1], mode="constant", constant_val=0.0)
        x = mb.reshape(x=mb.tile(x=x, reps=[1, 1, 2, 1]), shape=[1, -1])
        x = mb.slice_by_index(x=x, begin=[0, 0], end=[1, 64], stride=[1, 2])
        return mb.softmax(x=mb.linear(x=x, weight=_weights(5, 32), bias=_weights(5)), axis=-1, name="y")

    save(path, program(body, [(1, 4, 8, 8)]), half=True)
    return {"x": (1, 4, 8, 8)}


def _compressed(path: Path, config: Callable[[], Any], compress: Callable[..., Any]) -> Shapes:
    def body(x: Any) -> Any:
        x = mb.linear(x=x, weight=_weights(48, 64), bias=_weights(48))
        return mb.linear(x=mb.gelu(x=x), weight=_weights(64, 48), name="y")

    save(path, program(body, [(2, 64)], opset="iOS18"), half=True, opset="iOS18")
    model = ct.models.MLModel(str(path), skip_model_load=True)
    compress(model, cto.OptimizationConfig(global_config=config())).save(str(path))
    return {"x": (2, 64)}


def palettized(path: Path) -> Shapes:
    def config() -> Any:
        return cto.OpPalettizerConfig(mode="uniform", nbits=4, weight_threshold=0)

    return _compressed(path, config, cto.palettize_weights)


def quantized(path: Path) -> Shapes:
    def config() -> Any:
        return cto.OpLinearQuantizerConfig(dtype="int4", granularity="per_block", block_size=16, weight_threshold=0)

    return _compressed(path, config, cto.linear_quantize_weights)


def stateful(path: Path) -> Shapes:
    @mb.program(
        input_specs=[mb.TensorSpec((1, 4)), mb.StateTensorSpec((2, 4), types.fp16)], opset_version=ct.target.iOS18
    )
    def body(x: Any, memory: Any) -> Any:
        old = mb.read_state(input=memory)
        x = mb.cast(x=x, dtype="fp16")
        new = mb.concat(values=[mb.slice_by_size(x=old, begin=[1, 0], size=[1, 4]), x], axis=0)
        new = mb.coreml_update_state(state=memory, value=new)
        return mb.cast(x=mb.reduce_sum(x=new, axes=[0]), dtype="fp32", name="y")

    save(path, body, half=True, opset="iOS18")
    return {"x": (1, 4)}


def control(path: Path) -> Shapes:
    def body(x: Any) -> Any:
        def positive() -> Any:
            return mb.mul(x=x, y=2.0)

        def negative() -> Any:
            return mb.sub(x=x, y=mb.fill(shape=[3, 4], value=1.0))

        x = mb.cond(pred=mb.greater(x=mb.reduce_sum(x=x), y=0.0), _true_fn=positive, _false_fn=negative)
        done = mb.while_loop(
            _cond=lambda i, _: mb.less(x=i, y=5),
            _body=lambda i, h: (mb.add(x=i, y=1), mb.tanh(x=mb.add(x=h, y=x))),
            loop_vars=(0, x),
        )
        return mb.gather(x=done[1], indices=np.array([0, 2, 1], dtype=np.int32), axis=1, name="y")

    save(path, program(body, [(3, 4)]))
    return {"x": (3, 4)}


def dynamic(path: Path) -> Shapes:
    def body(x: Any) -> Any:
        size = mb.cast(x=mb.reduce_sum(x=x), dtype="int32")
        count = mb.range_1d(start=0, end=mb.add(x=mb.mod(x=size, y=5), y=1), step=1)
        hot = mb.one_hot(indices=count, one_hot_vector_size=6, axis=-1, on_value=1.0, off_value=0.0)
        scaled = mb.matmul(x=hot, y=mb.resize_bilinear(x=x, target_size_height=6, target_size_width=4))
        return mb.topk(x=mb.floor_div(x=mb.reduce_sum(x=scaled, axes=[1]), y=2.0), k=2, axis=-1)[0]

    save(path, program(body, [(1, 3, 4)]))
    return {"x": (1, 3, 4)}


def lstm(path: Path) -> Shapes:
    def body(x: Any) -> Any:
        zeros = np.zeros((2, 6), dtype=np.float32)
        weights = {"weight_ih": _weights(24, 5), "weight_hh": _weights(24, 6), "bias": _weights(24)}
        outputs = mb.lstm(x=x, initial_h=zeros, initial_c=zeros, output_sequence=True, **weights)
        return mb.layer_norm(x=outputs[0], axes=[-1], gamma=_weights(6), beta=_weights(6), epsilon=1e-5, name="y")

    save(path, program(body, [(7, 2, 5)]))
    return {"x": (7, 2, 5)}


def gru(path: Path) -> Shapes:
    """The loop that coremltools writes for a GRU of PyTorch."""

    def body(x: Any) -> Any:
        def step(i: Any, states: Any) -> Any:
            now = mb.squeeze(x=mb.gather(x=x, indices=i, axis=0), axes=[0])
            h = mb.squeeze(x=mb.gather(x=states, indices=i, axis=0), axes=[0])
            taken = [mb.linear(x=now, weight=_weights(6, 5), bias=_weights(6)) for _ in range(3)]
            hidden = [mb.linear(x=h, weight=_weights(6, 6), bias=_weights(6)) for _ in range(3)]
            r, z = (mb.sigmoid(x=mb.add(x=taken[gate], y=hidden[gate])) for gate in (0, 1))
            n = mb.tanh(x=mb.add(x=taken[2], y=mb.mul(x=r, y=hidden[2])))
            new = mb.add(x=mb.mul(x=mb.sub(x=1.0, y=z), y=n), y=mb.mul(x=z, y=h))
            following, row = mb.add(x=i, y=1), mb.expand_dims(x=new, axes=[0])
            return following, mb.scatter(data=states, indices=following, updates=row, axis=0, mode="update")

        until, start = np.array([7], np.int32), np.zeros((8, 2, 6), np.float32)
        done = mb.while_loop(
            _cond=lambda i, _: mb.less(x=i, y=until), _body=step, loop_vars=(np.array([0], np.int32), start)
        )
        return mb.identity(x=done[1], name="y")

    save(path, program(body, [(7, 2, 5)]), passes=False)
    return {"x": (7, 2, 5)}


def _scaled(factor: float, opset: str = "iOS17") -> Any:
    def body(x: Any) -> Any:
        return mb.mul(x=mb.linear(x=x, weight=_weights(4, 4)), y=factor, name="y")

    return program(body, [(2, 4)], opset=opset)


def pipeline(path: Path) -> Shapes:
    parts = []
    for factor, source, result in ((2.0, "x", "between"), (0.5, "between", "y")):
        model = ct.models.MLModel(str(save(path.with_name("part.mlpackage"), _scaled(factor))), skip_model_load=True)
        spec = model.get_spec()
        ct.utils.rename_feature(spec, "x", source)
        ct.utils.rename_feature(spec, "y", result)
        parts.append(ct.models.MLModel(spec, weights_dir=model.weights_dir, skip_model_load=True))
    ct.utils.make_pipeline(*parts).save(str(path))
    return {"x": (2, 4)}


def multifunction(path: Path) -> Shapes:
    descriptor = ct.utils.MultiFunctionDescriptor()
    for name, factor in (("one", 2.0), ("two", 3.0)):
        part = save(path.with_name(f"{name}.mlpackage"), _scaled(factor, "iOS18"), opset="iOS18")
        descriptor.add_function(str(part), src_function_name="main", target_function_name=name)
    descriptor.default_function_name = "one"
    ct.utils.save_multifunction(descriptor, str(path))
    return {"x": (2, 4)}


KINDS = (conv, palettized, quantized, stateful, control, dynamic, lstm, gru, pipeline, multifunction)


def build(folder: Path) -> None:
    """Save every model as ``kind.mlpackage``, and the shapes of their inputs as ``shapes.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {kind.__name__: kind(folder / f"{kind.__name__}.mlpackage") for kind in KINDS}
    (folder / "shapes.json").write_text(json.dumps(shapes))
