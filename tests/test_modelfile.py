import contextlib
import json
import os
import struct
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from sartor.errors import Refused
from sartor.modelfile import check_model


def graph_model(nodes, *, initializers=(), shape=(1, 4), output="y", domains=(), functions=()):
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        initializers,
    )
    imports = [helper.make_opsetid("", 18), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions))


def tensor(name, values, kind=np.int64):
    return numpy_helper.from_array(np.array(values, kind), name)


@pytest.fixture
def good():
    weights = tensor("w", np.ones((4, 3)), np.float32)
    return graph_model([helper.make_node("MatMul", ["x", "w"], ["y"], name="mm")], initializers=[weights])


def written(folder: Path, model) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def refused(path: Path, *words: str) -> None:
    with pytest.raises(Refused) as caught:
        check_model(path)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_plain_model_passes(tmp_path, good):
    check_model(written(tmp_path, good))


def test_quantisation_operators_of_microsoft_pass(tmp_path):
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], domain="com.microsoft"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], domain="com.microsoft"),
    ]
    initializers = [tensor("s", 0.1, np.float32), tensor("z", 0, np.uint8)]
    check_model(written(tmp_path, graph_model(nodes, initializers=initializers, domains=["com.microsoft"])))


@pytest.mark.parametrize(
    "operator", ["Scaler", "Imputer", "LinearClassifier", "ArrayFeatureExtractor", "OneHotEncoder"]
)
def test_tables_of_classical_models_pass(tmp_path, operator):
    node = helper.make_node(operator, ["x"], ["y"], domain="ai.onnx.ml", scale=[1.0, 2.0], offset=[0.0, 0.0])
    check_model(written(tmp_path, graph_model([node], domains=["ai.onnx.ml"])))


def test_lists_of_absurd_length_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("sartor.modelfile.MAX_ATTRIBUTE_VALUES", 10)
    node = helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml", name="culprit", scale=[1.0] * 11)
    refused(written(tmp_path, graph_model([node], domains=["ai.onnx.ml"])), "culprit", "11 values in 'scale'")


# ------------------------------------------------------------------------------------------------------- trees


def regressor(nodes, **changes):
    """A TreeEnsembleRegressor of nodes (tree, number, is leaf, child when true, child when false)."""
    trees, numbers, leaves, true, false = zip(*nodes, strict=True)
    lists = {
        "nodes_treeids": trees,
        "nodes_nodeids": numbers,
        "nodes_modes": ["LEAF" if leaf else "BRANCH_LEQ" for leaf in leaves],
        "nodes_featureids": [0] * len(nodes),
        "nodes_values": [0.5] * len(nodes),
        "nodes_truenodeids": true,
        "nodes_falsenodeids": false,
        "target_treeids": [trees[-1]],
        "target_nodeids": [numbers[-1]],
        "target_ids": [0],
        "target_weights": [1.0],
    }
    kept = {name: list(values) for name, values in {**lists, **changes}.items()}
    node = helper.make_node(
        "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", name="forest", n_targets=1, **kept
    )
    return graph_model([node], domains=["ai.onnx.ml"])


def chain(depth):
    pairs = [((0, 2 * n, 0, 2 * n + 1, 2 * n + 2), (0, 2 * n + 1, 1, 0, 0)) for n in range(depth - 1)]
    return [node for pair in pairs for node in pair] + [(0, 2 * depth - 2, 1, 0, 0)]


STUMP = [(0, 0, 0, 1, 2), (0, 1, 1, 0, 0), (0, 2, 1, 0, 0)]


def test_trees_pass(tmp_path):
    check_model(written(tmp_path, regressor([*STUMP, (7, 4, 0, 5, 6), (7, 5, 1, 9, 9), (7, 6, 1, -1, -1)])))
    check_model(written(tmp_path, regressor([(0, 0, 1, 0, 0)])))
    check_model(written(tmp_path, regressor(chain(1000))))


@pytest.mark.parametrize(
    ("nodes", "changes", "word"),
    [
        (chain(1001), {}, "deeper than 1,000"),
        ([(0, 0, 0, 0, 0)], {}, "exactly one place"),
        ([(0, 0, 0, 1, 2), (0, 1, 0, 0, 2), (0, 2, 1, 0, 0)], {}, "exactly one place"),
        ([*STUMP, (1, 0, 0, 1, 2), (1, 1, 0, 0, 3), (1, 2, 1, 0, 0), (1, 3, 1, 0, 0)], {}, "in a circle"),
        ([(0, 0, 0, 1, 1), (0, 1, 1, 0, 0)], {}, "exactly one place"),
        ([(0, 0, 0, 7, 8)], {}, "child is not there"),
        ([(0, 0, 0, 1, 2), (1, 1, 1, 0, 0), (0, 2, 1, 0, 0)], {}, "child is not there"),
        ([(0, 0, 0, -1, 2), (0, 1, 1, 0, 0), (0, 2, 1, 0, 0)], {}, "numbers its nodes beyond"),
        ([(0, 0, 1, 0, 0), (0, 0, 1, 0, 0)], {}, "two nodes of one number"),
        (STUMP, {"nodes_truenodeids": [1]}, "different lengths"),
        (STUMP, {"nodes_modes": ["LEAF"]}, "different lengths"),
    ],
)
def test_what_makes_no_trees_is_refused(tmp_path, nodes, changes, word):
    refused(written(tmp_path, regressor(nodes, **changes)), "forest", word)


def ensemble(true, false, true_leaves, false_leaves, roots):
    node = helper.make_node(
        "TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", name="forest", n_targets=1, tree_roots=roots,
        nodes_truenodeids=true, nodes_falsenodeids=false, nodes_trueleafs=true_leaves, nodes_falseleafs=false_leaves,
        nodes_featureids=[0] * len(true), leaf_targetids=[0, 0],
    )  # fmt: skip
    return graph_model([node], domains=["ai.onnx.ml"])


def test_trees_in_the_newer_form(tmp_path):
    check_model(written(tmp_path, ensemble([1, 0], [0, 1], [0, 1], [1, 1], [0])))
    deep = ensemble([0] * 1001, [*range(1, 1001), 0], [1] * 1001, [0] * 1000 + [1], [0])
    refused(written(tmp_path, deep), "deeper than")
    refused(written(tmp_path, ensemble([0], [0], [0], [1], [0])), "exactly one place")
    refused(written(tmp_path, ensemble([5], [0], [0], [1], [0])), "child is not there")
    refused(written(tmp_path, ensemble([0], [0], [1], [1], [3])), "root that is not there")
    refused(written(tmp_path, ensemble([0, 0], [0], [1], [1], [0])), "different lengths")


# ----------------------------------------------------------------------------------------------------- the file


def test_missing_folder_link_fifo_and_hard_link_are_refused(tmp_path, good):
    path = written(tmp_path, good)
    refused(tmp_path / "no.onnx", "no.onnx", "cannot be read")
    (tmp_path / "folder.onnx").mkdir()
    refused(tmp_path / "folder.onnx", "not a regular file")
    os.mkfifo(tmp_path / "pipe.onnx")
    refused(tmp_path / "pipe.onnx", "not a regular file")
    (tmp_path / "link.onnx").symlink_to(path)
    refused(tmp_path / "link.onnx", "symbolic link")
    check_model(path)
    os.link(path, tmp_path / "second.onnx")
    refused(path, "2 hard links")


def test_other_formats_are_refused(tmp_path):
    for name in ("model.pt", "model.pkl", "model.onnx.pb", "model"):
        (tmp_path / name).write_bytes(b"x")
        refused(tmp_path / name, ".onnx or .safetensors")


def test_oversized_file_is_refused_without_reading_it(tmp_path, monkeypatch, good):
    monkeypatch.setattr("sartor.modelfile.MAX_BYTES", 10)
    refused(written(tmp_path, good), "at most 10")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 100, b"\x80\x04N."])
def test_what_is_no_onnx_is_refused(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    refused(path, "model.onnx")


# ------------------------------------------------------------------------------------------------ external data


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a/../../b", "weights.bin"])
def test_external_data_is_refused_naming_tensor_and_location(tmp_path, good, location):
    weights = good.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    refused(written(tmp_path, good), "'w'", location)


def test_external_data_in_an_attribute_and_a_subgraph_is_refused(tmp_path):
    hidden = tensor("deep", [1.0], np.float32)
    hidden.data_location = TensorProto.EXTERNAL
    hidden.external_data.add(key="location", value="../secret")
    constant = helper.make_node("Constant", [], ["c"], value=hidden)
    refused(written(tmp_path, graph_model([constant, helper.make_node("Identity", ["c"], ["y"])])), "'deep'")
    branch = helper.make_graph([constant], "b", [], [helper.make_tensor_value_info("c", TensorProto.FLOAT, [1])])
    choice = helper.make_node("If", ["k"], ["y"], then_branch=branch, else_branch=branch)
    refused(written(tmp_path, graph_model([choice], initializers=[tensor("k", True, np.bool_)])), "'deep'")


def test_hard_linked_external_data_is_refused_too(tmp_path, good):
    """ONNX Runtime 1.32 follows a hard link out of the model's folder; no external data at all is read here."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"\0" * 48)
    folder = tmp_path / "model"
    folder.mkdir()
    os.link(secret, folder / "weights.bin")
    weights = good.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="weights.bin")
    refused(written(folder, good), "weights.bin")


# ---------------------------------------------------------------------------------------------------- operators


@pytest.mark.parametrize(
    ("domain", "operator"),
    [
        ("evil", "Run"),
        ("com.microsoft", "EPContext"),
        ("com.microsoft", "Nope"),
        ("", "PyOp"),
        ("ai.onnx.ml", "ZipMap"),
        ("ai.onnx.ml", "CastMap"),
    ],
)
def test_unknown_operators_are_refused_naming_the_node(tmp_path, domain, operator):
    node = helper.make_node(operator, ["x"], ["y"], domain=domain, name="culprit")
    refused(written(tmp_path, graph_model([node], domains=[domain] if domain else [])), "culprit", operator)


def test_functions_training_graphs_and_session_options_are_refused(tmp_path, good):
    body = helper.make_node("Identity", ["a"], ["b"])
    function = helper.make_function("mine", "F", ["a"], ["b"], [body], [helper.make_opsetid("", 18)])
    node = helper.make_node("F", ["x"], ["y"], domain="mine")
    refused(written(tmp_path, graph_model([node], domains=["mine"], functions=[function])), "mine.F")
    training = onnx.ModelProto()
    training.CopyFrom(good)
    training.training_info.add()
    refused(written(tmp_path, training), "training")
    good.metadata_props.add(key="ort_config", value="{}")
    refused(written(tmp_path, good), "ort_config")


# -------------------------------------------------------------------------------------------------------- bombs


def bomb(operator: str):
    if operator == "ConstantOfShape":
        return [helper.make_node(operator, ["n"], ["y"])], [tensor("n", [2**40])]
    if operator == "Expand":
        return [helper.make_node(operator, ["x", "n"], ["y"])], [tensor("n", [2**20, 2**13, 1, 4])]
    if operator == "Tile":
        return [helper.make_node(operator, ["x", "n"], ["y"])], [tensor("n", [10**6, 10**6])]
    if operator == "Resize":
        return [helper.make_node(operator, ["x", "", "n"], ["y"])], [tensor("n", [1e5, 1e5], np.float32)]
    if operator == "Range":
        nodes = [helper.make_node(operator, ["a", "b", "c"], ["r"]), helper.make_node("Cast", ["r"], ["y"], to=1)]
        return nodes, [tensor("a", 0), tensor("b", 2**50), tensor("c", 1)]
    if operator == "OneHot":
        return [helper.make_node(operator, ["i", "d", "v"], ["y"])], [
            tensor("i", [0]),
            tensor("d", [2**40]),
            tensor("v", [0.0, 1.0], np.float32),
        ]
    if operator == "RandomNormal":
        return [helper.make_node(operator, [], ["y"], shape=[2**20, 2**20])], []
    raise AssertionError(operator)


@pytest.mark.parametrize("operator", ["ConstantOfShape", "Expand", "Tile", "Resize", "Range", "OneHot", "RandomNormal"])
@pytest.mark.parametrize("how", ["initializer", "constant"])
def test_bombs_are_refused(tmp_path, operator, how):
    nodes, initializers = bomb(operator)
    if how == "constant":
        nodes = [helper.make_node("Constant", [], [one.name], value=one) for one in initializers] + nodes
        initializers = []
    refused(written(tmp_path, graph_model(nodes, initializers=initializers)), operator)


def test_many_small_tiles_that_multiply_are_refused(tmp_path):
    names = ["x", *(f"t{index}" for index in range(8)), "y"]
    nodes = [helper.make_node("Tile", [a, "n"], [b]) for a, b in zip(names, names[1:], strict=False)]
    refused(written(tmp_path, graph_model(nodes, initializers=[tensor("n", [10, 10])])), "values are allowed")


def loop(trips, body_nodes=None):
    body = helper.make_graph(
        body_nodes or [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Identity", ["v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1, 4]),
        ],
        [
            helper.make_tensor_value_info("d", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [1, 4]),
        ],
    )
    return helper.make_node("Loop", [trips, "k", "x"], ["y"], body=body, name="spin")


def test_endless_loops_are_refused_and_short_ones_pass(tmp_path):
    yes = tensor("k", True, np.bool_)
    refused(written(tmp_path, graph_model([loop("n")], initializers=[tensor("n", 2**62), yes])), "spin", "runs")
    refused(written(tmp_path, graph_model([loop("")], initializers=[yes])), "spin", "trip count")
    refused(written(tmp_path, graph_model([loop("x")], initializers=[yes])), "spin", "trip count")
    check_model(written(tmp_path, graph_model([loop("n")], initializers=[tensor("n", 5), yes])))


def test_nested_loops_are_multiplied(tmp_path):
    inner = loop("n")
    inner.input[2], inner.output[0] = "v", "w"
    outer = loop("n", [helper.make_node("Identity", ["c"], ["d"]), inner])
    start = [tensor("n", 200), tensor("k", True, np.bool_)]
    refused(written(tmp_path, graph_model([outer], initializers=start)), "40,000")


@pytest.mark.parametrize(("dims", "word"), [([2**40, 2**40], "shape"), ([-1, 4], "shape"), ([5, 3], "bytes")])
def test_a_lying_tensor_shape_is_refused(tmp_path, good, dims, word):
    del good.graph.initializer[0].dims[:]
    good.graph.initializer[0].dims.extend(dims)
    refused(written(tmp_path, good), "'w'", word)


def test_deeply_nested_graphs_are_refused(tmp_path):
    def branch(nodes):
        return helper.make_graph(nodes, "b", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])

    plain = branch([helper.make_node("Identity", ["x"], ["y"])])
    inner = plain
    for _ in range(20):
        inner = branch([helper.make_node("If", ["k"], ["y"], then_branch=inner, else_branch=plain)])
    yes = tensor("k", True, np.bool_)
    refused(written(tmp_path, graph_model(inner.node, initializers=[yes])), "16 deep")


def test_names_that_are_no_text_are_refused_on_one_printable_line(tmp_path, good):
    content = good.SerializeToString()
    for name in (b"\xff\xfetMul", b"Ma\x1b[2J"):
        path = tmp_path / "model.onnx"
        path.write_bytes(content.replace(b"MatMul", name))
        with pytest.raises(Refused) as caught:
            check_model(path)
        assert str(caught.value).isprintable()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_models_are_accepted_or_refused_but_never_crash(tmp_path_factory, data):
    weights = tensor("w", np.ones((4, 3)), np.float32)
    content = bytearray(
        graph_model([helper.make_node("MatMul", ["x", "w"], ["y"])], initializers=[weights]).SerializeToString()
    )
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("fuzz") / "model.onnx"
    path.write_bytes(bytes(content))
    with contextlib.suppress(Refused):
        check_model(path)


# -------------------------------------------------------------------------------------------------- safetensors


def safetensors_file(folder: Path, header, data: bytes) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def entry(begin, end, shape=(2,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def test_a_file_of_the_reference_writer_passes(tmp_path):
    safetensors_numpy = pytest.importorskip("safetensors.numpy")
    arrays = {"a": np.ones((3, 2), np.float32), "b": np.zeros((0,), np.int8), "c": np.array(1, np.float16)}
    safetensors_numpy.save_file(arrays, tmp_path / "w.safetensors", metadata={"sartor": "{}"})
    check_model(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    "header",
    [
        {"a": entry(0, 8), "b": entry(8, 17)},  # beyond its shape
        {"a": entry(0, 8), "b": entry(4, 12)},  # overlap
        {"a": entry(0, 8), "b": entry(9, 17)},  # gap
        {"a": entry(0, 8)},  # bytes nobody describes
        {"a": entry(0, 16, (2, 2), "PICKLE")},
        {"a": entry(0, 16, (-2, -2))},
        {"a": entry(0, 16, (2**62, 2**62))},
        {"a": entry(0, 16, (2, 2.0))},
        {"a": entry(16, 0, (2, 2))},
        {"a": 3},
        [1],
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}',
        b"{not json",
        b"[" * 100_000,
    ],
)
def test_lying_safetensors_headers_are_refused(tmp_path, header):
    refused(safetensors_file(tmp_path, header, b"\0" * 16), "weights.safetensors")


@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"\xff" * 8, struct.pack("<Q", 100_000_001) + b"{}"])
def test_safetensors_header_outside_the_file_is_refused(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    refused(path, "header")


def test_files_newer_than_the_installed_onnx_are_refused(tmp_path, good):
    good.ir_version = onnx.IR_VERSION + 1
    refused(written(tmp_path, good), f"format {onnx.IR_VERSION + 1}", f"reads up to {onnx.IR_VERSION}")
    good.ir_version = onnx.IR_VERSION
    good.opset_import[0].version = 999
    refused(written(tmp_path, good), "is written in opset 999", f"knows up to {onnx.defs.onnx_opset_version()}")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_that_is_cut_off_is_refused(tmp_path, good, share):
    path = written(tmp_path, good)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(path, "model.onnx")
