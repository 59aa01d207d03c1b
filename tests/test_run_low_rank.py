"""A model of one's own is made cheaper by products of low rank, through the command line, and the decision says so."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from running import ONE_RUNTIME, count_as_probed, run, the_run
from sartor.run import load_run

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.filterwarnings("ignore:Stochastic Optimizer")]
WIDE = 160


def write_classifier(path):
    """A perceptron that reads digits well, with a layer far wider than that takes."""
    pixels, labels = load_digits(return_X_y=True)
    learnt = MLPClassifier((WIDE, WIDE), max_iter=25, random_state=0).fit(pixels / 16, labels)
    nodes = [
        helper.make_node("ReduceMean", ["pixels", "channels"], ["grey"], keepdims=0),
        helper.make_node("Flatten", ["grey"], ["x0"]),
    ]
    constants = [numpy_helper.from_array(np.array([1]), "channels")]
    for place, (weights, bias) in enumerate(zip(learnt.coefs_, learnt.intercepts_, strict=True)):
        constants += [numpy_helper.from_array(weights.astype(np.float32), f"w{place}")]
        constants += [numpy_helper.from_array(bias.astype(np.float32), f"b{place}")]
        last = place == len(learnt.coefs_) - 1
        nodes.append(
            helper.make_node("Gemm", [f"x{place}", f"w{place}", f"b{place}"], ["logits" if last else f"y{place}"])
        )
        if not last:
            nodes.append(helper.make_node("Relu", [f"y{place}"], [f"x{place + 1}"]))
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 10])],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


def test_a_limit_on_what_may_be_lost_lets_a_model_of_ones_own_be_factored(digits, tmp_path):
    write_classifier(tmp_path / "reader.onnx")
    count_as_probed(tmp_path / "ws")
    asked = (f"model={tmp_path / 'reader.onnx'}", "search.models=[]", ONE_RUNTIME, "limits.accuracy.max_drop=0.05")
    ended = run(digits, tmp_path, *asked, "budget.effort=balanced", "search.precisions=[fp32, int8]")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    file = load_run(the_run(tmp_path))
    thin = [r for r in file.records if "-low-rank-" in r.candidate.id and r.artifact is not None]
    assert thin
    whole = next(r for r in file.records if r.candidate.id == "onnx-classifier-reader/fp32/onnxruntime")
    assert {r.parent for r in thin} == {whole.candidate.id}
    assert all(r.artifact.bytes < whole.artifact.bytes for r in thin)
    assert any("products became two thinner ones" in " ".join(r.notes["remarks"]) for r in thin)
    losses = [m for r in thin for m in r.measurements if m.metric.name == "accuracy_drop"]
    assert losses  # judged against the whole
