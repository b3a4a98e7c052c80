"""Writes one small package of each kind with the coremltools that runs it, 6.3 or later.

``make_fixtures.py`` calls it in environments that hold nothing of this project: it imports nothing of ours.
"""

import logging
import shutil
import sys
from pathlib import Path

import numpy as np

logging.disable(logging.WARNING)

import coremltools as ct  # noqa: E402 (it logs while it is imported)
from coremltools.converters.mil import Builder as mb  # noqa: E402, N813
from coremltools.converters.mil.mil import get_new_symbol  # noqa: E402

OUT, VERSION = Path(sys.argv[1]), tuple(int(part) for part in ct.__version__.split(".")[:2])

WEIGHTS = "part.mlpackage/Data/com.apple.CoreML/weights"


def grid(levels, *shape):
    """Return weights of so many levels, next to each other; test_old_writers.py has the same formula."""
    numbers = np.arange(np.prod(shape)) * 7919 % 10007 % levels - levels // 2
    return (numbers / 128).astype(np.float32).reshape(shape)


def whole(*shape):
    """Return weights that int8 holds exactly: the largest of each row is 127 steps of 1/128."""
    weights = grid(255, *shape)
    weights[:, 0] = 127 / 128
    return weights


def sparse(*shape):
    weights = grid(64, *shape)
    return np.where(np.arange(weights.size).reshape(shape) % 4 == 0, weights, 0).astype(np.float32)


def program(body, shape, opset="iOS16"):
    """Return a program of one input, x."""
    target = getattr(ct.target, opset)
    return mb.program(input_specs=[mb.TensorSpec(shape)], opset_version=target)(lambda x: body(x))


def save(name, source, half=False, **options):
    options["compute_precision"] = ct.precision.FLOAT16 if half else ct.precision.FLOAT32
    options.setdefault("minimum_deployment_target", ct.target.iOS16)
    model = ct.convert(source, convert_to="mlprogram", skip_model_load=True, **options)
    model.save(str(OUT / f"{name}.mlpackage"))
    return model


def convolution(x):
    x = mb.conv(x=x, weight=grid(255, 16, 3, 3, 3), bias=grid(8, 16), pad_type="same")
    return mb.reduce_mean(x=mb.relu(x=x), axes=[2, 3], name="y")


def linear(weight):
    bias = np.where(np.arange(weight.shape[0]) % 2, 127 / 128, -127 / 128).astype(np.float32)
    return lambda x: mb.linear(x=mb.tanh(x=x), weight=weight, bias=bias, name="y")


def frames(x):
    x = mb.conv(x=x, weight=grid(255, 8, 4, 5), pad_type="same")
    return mb.avg_pool(x=x, kernel_sizes=[2], strides=[2], pad_type="valid", name="y")


def compress(name, weight, how):
    source = program(linear(weight), (2, 48))
    model = save(name, source, half=True)
    if VERSION < (7, 0):
        from coremltools.models.ml_program import compression_utils as cu

        def matrix(const):
            return const.val.val.ndim == 2

        calls = {
            "palette": lambda: cu.palettize_weights(model, mode="unique", op_selector=matrix),
            "int8": lambda: cu.affine_quantize_weights(model, mode="linear_symmetric", op_selector=matrix),
            "sparse": lambda: cu.sparsify_weights(model, mode="threshold_based", threshold=1e-6, op_selector=matrix),
        }
        model = calls[how]()
    else:
        import coremltools.optimize.coreml as cto

        configs = {
            "palette": lambda: (cto.palettize_weights, cto.OpPalettizerConfig(mode="unique", weight_threshold=0)),
            "int8": lambda: (
                cto.linear_quantize_weights,
                cto.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0),
            ),
            "sparse": lambda: (
                cto.prune_weights,
                cto.OpThresholdPrunerConfig(threshold=1e-6, minimum_sparsity_percentile=0.5, weight_threshold=0),
            ),
        }
        function, config = configs[how]()
        model = function(model, cto.OptimizationConfig(global_config=config))
    model.save(str(OUT / f"{name}.mlpackage"))


def pipeline():
    parts = []
    for size, source, result in ((48, "x", "between"), (24, "between", "y")):
        spec = save("part", program(linear(grid(255, 24, size)), (2, size))).get_spec()
        ct.utils.rename_feature(spec, "x", source)
        ct.utils.rename_feature(spec, "y", result)
        parts.append(ct.models.MLModel(spec, weights_dir=str(OUT / WEIGHTS), skip_model_load=True))
    ct.utils.make_pipeline(*parts).save(str(OUT / "pipeline.mlpackage"))
    shutil.rmtree(str(OUT / "part.mlpackage"))


def main():
    save("fp32", program(convolution, (1, 3, 8, 8)))
    save("fp16", program(convolution, (1, 3, 8, 8)), half=True)
    ios15 = program(convolution, (1, 3, 8, 8), "iOS15")
    save("ios15", ios15, half=True, minimum_deployment_target=ct.target.iOS15)
    scored = program(lambda x: mb.softmax(x=linear(grid(255, 3, 48))(x), axis=-1, name="scores"), (1, 48))
    save("classifier", scored, half=True, classifier_config=ct.ClassifierConfig(["hum", "hiss", "speech"]))
    image = ct.ImageType(name="x", shape=(1, 3, 8, 8), scale=1 / 64, bias=[-1, -2, -0.5])
    save("image", program(convolution, (1, 3, 8, 8)), inputs=[image])
    range_of = ct.TensorType(name="x", shape=(1, 4, ct.RangeDim(2, 40, default=6)))
    save("range", program(frames, (1, 4, get_new_symbol())), inputs=[range_of], half=True)
    some = ct.EnumeratedShapes(shapes=[(1, 4, 6), (1, 4, 2), (1, 4, 40)], default=(1, 4, 6))
    save("enumerated", program(frames, (1, 4, get_new_symbol())), inputs=[ct.TensorType(name="x", shape=some)])
    for levels, bits in ((2, 1), (4, 2), (16, 4), (64, 6), (255, 8)):
        compress(f"palette{bits}", grid(levels, 24, 48), "palette")
    compress("int8", whole(24, 48), "int8")
    compress("sparse", sparse(24, 48), "sparse")
    pipeline()


main()
