import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor import registry
from sartor.catalog.tasks.parts import classification_scores as scores
from sartor.errors import DataError
from sartor.media.image import to_png
from sartor.types import DataCard, Pipeline

TASK = registry.get("tasks", "image-classification")


def card(median, **facts):
    sizes = {"smallest": median, "median": median, "largest": median}
    return DataCard("image-classification", "f", ("a", "b"), {}, (), {"sizes": sizes, **facts})


def one_hot(answers, classes, confidence=0.9):
    outputs = np.full((len(answers), classes), (1 - confidence) / (classes - 1), np.float32)
    outputs[np.arange(len(answers)), answers] = confidence
    return outputs


# ------------------------------------------------------------------------------------------------------ scores


def test_scores_against_hand_counts():
    truths = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    answers = np.array([0, 0, 0, 1, 1, 1, 0, 1])
    found = TASK.score(one_hot(answers, 3), truths, ("x", "y", "z"), 0.95)
    assert found.values["accuracy"][0] == 5 / 8
    assert found.confusion == ((3, 1, 0), (1, 2, 0), (0, 1, 0))
    assert found.per_class == {"x": 3 / 4, "y": 2 / 3, "z": 0.0}
    assert found.values["f1_macro"][0] == pytest.approx((6 / 8 + 4 / 7 + 0) / 3)
    assert found.correct.tolist() == [1, 1, 1, 0, 1, 1, 0, 0]
    assert "accuracy_top5" not in found.values


def test_accuracy_interval_is_clopper_pearson():
    truths = np.zeros(20, int)
    answers = np.r_[np.zeros(18, int), 1, 1]
    value, low, high = TASK.score(one_hot(answers, 2), truths, ("x", "y"), 0.95).values["accuracy"]
    assert (value, low, high) == (0.9, pytest.approx(0.6830, abs=1e-4), pytest.approx(0.9877, abs=1e-4))


def test_f1_agrees_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(1)
    truths, answers = generator.integers(0, 7, 300), generator.integers(0, 7, 300)
    mine = scores.f1_macro(scores._confusion(truths, answers, 7))
    assert float(mine) == pytest.approx(metrics.f1_score(truths, answers, average="macro"))


def test_calibration_error_of_known_answers():
    confidences = np.array([0.9, 0.9, 0.6, 0.6])
    correct = np.array([True, True, True, False])
    assert scores.calibration_error(confidences, correct) == pytest.approx((2 * 0.1 + 2 * 0.1) / 4)
    assert scores.calibration_error(np.ones(5), np.ones(5, bool)) == 0


def test_top5_counts_ranks():
    outputs = np.tile(np.arange(8, 0, -1, dtype=np.float32), (8, 1))
    value, _, _ = TASK.score(outputs, np.arange(8), [str(i) for i in range(8)], 0.95).values["accuracy_top5"]
    assert value == 5 / 8


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12), st.integers(1, 60), st.integers(0, 1000))
def test_scores_hold_together(classes, n, seed):
    generator = np.random.default_rng(seed)
    outputs = generator.dirichlet(np.ones(classes), n).astype(np.float32)
    truths = generator.integers(0, classes, n)
    labels = tuple(f"c{i}" for i in range(classes))
    found = TASK.score(outputs, truths, labels, 0.9)
    for name, (value, low, high) in found.values.items():
        assert 0 <= low <= value <= high
        assert high <= 1 or name == "log_loss"
    assert np.array(found.confusion).sum() == n
    assert found.correct.mean() == pytest.approx(found.values["accuracy"][0])
    assert set(found.values) <= {metric.name for metric in TASK.metrics}
    assert found.values == TASK.score(outputs, truths, labels, 0.9).values


def test_ten_thousand_samples_are_scored_quickly():
    import time

    generator = np.random.default_rng(0)
    outputs, truths = generator.dirichlet(np.ones(10), 10_000), generator.integers(0, 10, 10_000)
    began = time.process_time()
    TASK.score(outputs, truths, [str(i) for i in range(10)], 0.95)
    assert time.process_time() - began < 3


# ------------------------------------------------------------------------------------------------ sizes, answers


@pytest.mark.parametrize(
    ("median", "sizes"),
    [
        ((8, 8), [8, 16]),
        ((16, 16), [16, 32]),
        ((28, 28), [28]),
        ((32, 32), [32]),
        ((50, 60), [48, 32]),
        ((112, 92), [64, 48, 32]),
        ((480, 640), [128, 96, 64, 48, 32, 160, 224]),
        ((1, 300), [1, 2]),
    ],
)
def test_input_sizes_follow_the_data(median, sizes):
    assert TASK.input_sizes(card(median)) == tuple((size, size) for size in sizes)


def test_flips_only_where_the_data_says_so():
    assert TASK.augmentations(card((32, 32))) == ("shift",)
    assert TASK.augmentations(card((32, 32), mirror={"suits": False})) == ("shift",)
    assert TASK.augmentations(card((32, 32), mirror={"suits": True})) == ("flip", "shift")


def test_answer_is_plain_and_ordered():
    pipeline = Pipeline("image-classification", ("a", "b", "c"), (8, 8), "m", "r", "fp32", 1, 1, {"top_k": 2})
    answer = TASK.answer(np.array([0.2, 0.7, 0.1], np.float32), pipeline)
    assert (answer["label"], answer["confidence"]) == ("b", pytest.approx(0.7))
    assert [entry["label"] for entry in answer["top"]] == ["b", "a"]
    assert type(answer["confidence"]) is float


def test_an_output_that_is_not_finite_has_no_answer():
    pipeline = Pipeline("image-classification", ("a", "b"), (8, 8), "m", "r", "fp32", 1, 1)
    with pytest.raises(DataError, match="not finite"):
        TASK.answer(np.array([np.nan, 1], np.float32), pipeline)


def test_inspect_and_prepare():
    raw = to_png(np.full((20, 10, 3), 9, np.uint8))
    seen = TASK.inspect(raw)
    assert seen.facts == {"mode": "RGB", "size": (20, 10)}
    assert TASK.prepare(TASK.decode(raw), (4, 4)).tolist() == np.full((4, 4, 3), 9).tolist()


def test_statistics():
    pictures = np.zeros((300, 2, 2, 3), np.uint8)
    pictures[:150, ..., 0] = 200
    found = TASK.statistics(pictures)
    assert found["mean"] == (100.0, 0.0, 0.0)
    assert found["std"] == (100.0, 1.0, 1.0)


# -------------------------------------------------------------------------------------------------------- tensors

STATISTICS = {"mean": (100.0, 120.0, 140.0), "std": (50.0, 60.0, 70.0)}


def test_normalise_and_wrap_agree():
    torch = pytest.importorskip("torch")
    batch = torch.randint(0, 256, (2, 6, 5, 3), dtype=torch.uint8)
    normal = TASK.normalise(batch, STATISTICS)
    assert normal.shape == (2, 3, 6, 5)
    assert normal[1, 2, 3, 4].item() == pytest.approx((batch[1, 3, 4, 2].item() - 140) / 70, abs=1e-5)
    head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(90, 4)).eval()
    probabilities = TASK.wrap(head, STATISTICS)(batch)
    assert torch.allclose(probabilities, torch.softmax(head(normal), 1), atol=1e-5)
    assert probabilities.dtype == torch.float32


def augmented(names, seed=0, shape=(64, 3, 16, 16)):
    torch = pytest.importorskip("torch")
    count = int(np.prod(shape))
    batch = (torch.arange(count, dtype=torch.float32).view(shape) + 1).contiguous(memory_format=torch.channels_last)
    targets = torch.arange(len(batch))
    result, kept = TASK.augment(batch, targets, names, torch.Generator().manual_seed(seed))
    assert torch.equal(kept, targets)
    return batch, result


def test_flip_mirrors_about_half():
    batch, result = augmented(["flip"])
    same = (result == batch).flatten(1).all(1)
    mirrored = (result == batch.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 16 < int(mirrored.sum()) < 48


def test_shift_moves_whole_samples_and_mirrors_the_border():
    batch, result = augmented(["shift"])
    import torch

    padded = torch.nn.functional.pad(batch, (1, 1, 1, 1), mode="reflect")
    for index in range(len(batch)):
        windows = [padded[index, :, r : r + 16, c : c + 16] for r in range(3) for c in range(3)]
        assert any(torch.equal(result[index], window) for window in windows)
    assert not torch.equal(result, batch)


def test_cutout_zeroes_one_square():
    _, result = augmented(["cutout"])
    holes = (result == 0).all(1)
    assert (holes.sum((1, 2)) <= 16).all()
    assert (holes.sum((1, 2)) >= 4).all()


def test_augmentation_is_seeded_and_keeps_its_layout():
    import torch

    names = ["flip", "shift", "cutout"]
    assert torch.equal(augmented(names, 1)[1], augmented(names, 1)[1])
    assert not torch.equal(augmented(names, 1)[1], augmented(names, 2)[1])
    assert augmented(names)[1].is_contiguous(memory_format=torch.channels_last)
    assert augmented([])[0] is not None
    assert augmented(["shift"], shape=(3, 3, 1, 1))[1].shape == (3, 3, 1, 1)


def test_loss_falls_with_better_answers():
    torch = pytest.importorskip("torch")
    truths = torch.tensor([0, 1])
    good, bad = torch.tensor([[4.0, 0], [0, 4.0]]), torch.tensor([[0, 4.0], [4.0, 0]])
    assert TASK.loss(good, truths, 0.1) < TASK.loss(bad, truths, 0.1)


@pytest.mark.slow
def test_wrapped_module_exports_with_a_static_batch(tmp_path):
    torch = pytest.importorskip("torch")
    onnxruntime = pytest.importorskip("onnxruntime")
    module = TASK.wrap(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 3)), STATISTICS).eval()
    example = torch.randint(0, 256, (2, 4, 4, 3), dtype=torch.uint8)
    path = tmp_path / "m.onnx"
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (example,), str(path), input_names=["input"], output_names=["output"], dynamo=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [2, 4, 4, 3]
    outputs = session.run(None, {"input": example.numpy()})[0]
    assert np.allclose(outputs, module(example).detach().numpy(), atol=1e-5)
