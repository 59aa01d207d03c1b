"""TensorFlow.js graph models as ONNX: the few operators of small face networks, no TensorFlow needed."""

import base64
import json

import numpy as np
from onnx import TensorProto, helper, numpy_helper

_TYPES = {"float32": np.float32, "int32": np.int32}
_PLAIN = {"Add": "Add", "AddV2": "Add", "Sub": "Sub", "Mul": "Mul", "Maximum": "Max", "Minimum": "Min",
          "MatMul": "MatMul", "Relu": "Relu"}  # fmt: skip


def convert(path):
    """A ``model.json`` beside its one ``.bin`` to a ModelProto; activations lie channels last, as in TensorFlow."""
    described = json.loads(path.read_text())
    content, place, weights = path.with_suffix(".bin").read_bytes(), 0, {}
    for entry in (entry for group in described["weightsManifest"] for entry in group["weights"]):
        kind = _TYPES[entry["dtype"]]
        count = int(np.prod(entry["shape"]))
        weights[entry["name"]] = np.frombuffer(content, kind, count, place).reshape(entry["shape"])
        place += count * kind().itemsize
    nodes, inits, inputs = [], {}, []

    def add(operator, given, made, **attributes):
        nodes.append(helper.make_node(operator, given, [made], **attributes))

    def keep(name, values):
        inits[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    for node in described["modelTopology"]["node"]:
        name, operator, attributes = node["name"], node["op"], node.get("attr", {})
        given = [source.lstrip("^") for source in node.get("input", [])]
        if operator == "Placeholder":
            shape = [int(side["size"]) for side in attributes["shape"]["shape"]["dim"]]
            inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape[1:]]))
        elif operator == "Const":
            keep(name, weights[name])
        elif operator in _PLAIN:
            add(_PLAIN[operator], given, name)
        elif operator == "Pad":
            add("Pad", [given[0], keep(name + "/pads", weights[given[1]].T.reshape(-1).astype(np.int64))], name)
        elif operator == "Reshape":
            shape = weights[given[1]].astype(np.int64)
            add("Reshape", [given[0], keep(name + "/shape", np.where(np.arange(len(shape)) == 0, 0, shape))], name)
        elif operator in ("Conv2D", "DepthwiseConv2dNative"):
            filters, depthwise = weights[given[1]], operator != "Conv2D"
            groups = filters.shape[2] if depthwise else 1
            turned = filters.transpose(2, 3, 0, 1).reshape(-1, 1, *filters.shape[:2])
            turned = turned if depthwise else filters.transpose(3, 2, 0, 1)
            padding = base64.b64decode(attributes["padding"]["s"]).decode()
            add("Transpose", [given[0]], name + "/in", perm=[0, 3, 1, 2])
            add("Conv", [name + "/in", keep(name + "/filters", turned)], name + "/out", group=groups,
                strides=[int(step) for step in attributes["strides"]["list"]["i"][1:3]],
                auto_pad={"SAME": "SAME_UPPER", "VALID": "VALID"}[padding])  # fmt: skip
            add("Transpose", [name + "/out"], name, perm=[0, 2, 3, 1])
        else:
            raise ValueError(f"{name} is a {operator}, which is not converted here")
    (output,) = described["signature"]["outputs"].values()
    last = output["name"].split(":")[0]
    graph = helper.make_graph(
        nodes, path.stem, inputs,
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, ["n", int(output["tensorShape"]["dim"][1]["size"])])],
        [tensor for name, tensor in inits.items() if any(name in node.input for node in nodes)],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
