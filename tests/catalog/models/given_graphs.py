"""ONNX files that truly see, made up for tests, and how the families that run them are fitted and shipped."""

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from sartor.modelfile import check_model
from sartor.stages.compress.onnx_file import write_onnx
from sartor.types import Network

SIDE = 32
STATISTICS = {"mean": (90.0, 100.0, 110.0), "std": (50.0, 60.0, 70.0)}
COLOURS = np.eye(3, dtype=np.float32)


def write_model(path, nodes, shape, outputs, arrays=None, *, names=None, kind=TensorProto.FLOAT, opset=13):
    """A graph from ``data``, and names of its classes in its metadata."""
    graph = helper.make_graph(
        nodes, "given", [helper.make_tensor_value_info("data", kind, shape)],
        [helper.make_tensor_value_info(name, kind, sides) for name, kind, sides in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (arrays or {}).items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    if names:
        helper.set_model_props(model, {"names": names})
    onnx.save(model, path)
    return path


def node(operator, given, *made, **attributes):
    return helper.make_node(operator, given, made, **attributes)


def write_classifier(path, *, names="{0: 'blue', 1: 'green', 2: 'red'}", order=(2, 1, 0), softmax=True, opset=13):
    """Tells which colour a picture has; sees what lies between 0 and 1 alone, and red first."""
    weights = 9 * COLOURS[:, list(order)]
    nodes = [
        node("Clip", ["data", "low", "high"], "seen"),
        node("GlobalAveragePool", ["seen"], "pooled"),
        node("Flatten", ["pooled"], "means"),
        node("MatMul", ["means", "spreads"], "features"),
        node("MatMul", ["features", "weights"], "logits"),
        node("Softmax", ["logits"], "scores", axis=1),
    ]
    arrays = {"low": np.float32(0), "high": np.float32(1), "weights": np.tile(weights, (4, 1)),
              "spreads": np.tile(COLOURS, 4)}  # fmt: skip
    output = "scores" if softmax else "logits"
    return write_model(path, nodes if softmax else nodes[:-1], ["n", 3, SIDE, SIDE],
                       [(output, TensorProto.FLOAT, ["n", 3])], arrays, names=names, opset=opset)  # fmt: skip


def coloured(count, seed=0):
    """Pictures (n, SIDE, SIDE, 3) uint8 of noise in which one colour is stronger, and which it is."""
    generator = np.random.default_rng(seed)
    truths = generator.integers(0, 3, count)
    pictures = generator.integers(0, 120, (count, SIDE, SIDE, 3))
    pictures[np.arange(count), :, :, truths] += 90
    return pictures.astype(np.uint8), truths


def fitted(task, family, given, pictures, targets):
    """The wrapped module, fitted on pictures as the trainer does it."""
    module = family.build(given).eval()
    family.denormalise(module, STATISTICS)
    inputs = task.normalise(torch.from_numpy(pictures), STATISTICS)
    with torch.no_grad():
        family.fit(module, lambda: iter([(inputs[:5], targets[:5]), (inputs[5:], targets[5:])]))
    return task.wrap(module.eval(), STATISTICS).eval()


def answers(wrapped, pictures):
    with torch.no_grad():
        return wrapped(torch.from_numpy(pictures)).numpy()


def shipped(family, wrapped, pictures, target):
    """Answers of the file that ships, one picture at a time."""
    with torch.no_grad():
        write_onnx(family.to_onnx(wrapped, pictures[:1]), target)
    check_model(target)
    session = onnxruntime.InferenceSession(target)
    return np.concatenate([session.run(["output"], {"input": one[None]})[0] for one in pictures])


def network(family, path, labels, sizes=((SIDE, SIDE),)):
    named = getattr(family, "labelled_variant", None)
    variant = named(path, sizes, labels) if named else family.checkpoint_variant(path, sizes)
    return Network(family.name, variant.name, dict(variant.options), variant.input_size, len(labels))
