"""Handwritten digits as pictures, and a model for them as one product of matrices."""

import io
from pathlib import Path

import numpy as np

HELD_OUT = 200


def digits():
    """(pixels (n, 8, 8) uint8, labels (n,)), shuffled once; the last ``HELD_OUT`` are not trained on."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    return np.round(pixels[order] / 16 * 255).astype(np.uint8).reshape(-1, 8, 8), labels[order]


def write_pictures(folder: Path, pixels, labels):
    """One PNG per digit, a folder per label."""
    from PIL import Image

    for number, (square, label) in enumerate(zip(pixels, labels, strict=True)):
        place = folder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        Image.fromarray(square).save(buffer, "PNG")
        (place / f"{number:04}.png").write_bytes(buffer.getvalue())


def write_network(path: Path, pixels, labels, batch: int):
    """The nearest of ten mean digits as one product; takes (batch, 8, 8, 3) uint8 and gives probabilities of labels."""
    from onnx import TensorProto, helper, numpy_helper, save

    flat = pixels.reshape(len(pixels), 64) / 255.0
    means = np.stack([flat[labels == label].mean(axis=0) for label in range(10)])
    constants = {
        "scale": np.float32(1 / 255),
        "axes": np.array([3], np.int64),
        "flat": np.array([batch, 64], np.int64),
        "weights": means.T.astype(np.float32),
        "bias": (-(means**2).sum(axis=1) / 2).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["input"], ["float"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"], name="scaling"),
        helper.make_node("ReduceMean", ["scaled", "axes"], ["grey"], name="grey", keepdims=0),
        helper.make_node("Reshape", ["grey", "flat"], ["features"], name="flatten"),
        helper.make_node("Gemm", ["features", "weights", "bias"], ["logits"], name="nearest"),
        helper.make_node("Softmax", ["logits"], ["output"], name="softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("input", TensorProto.UINT8, (batch, 8, 8, 3))],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, (batch, 10))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
