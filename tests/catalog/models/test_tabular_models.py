"""Families for tables: trees against LightGBM itself, through torch and ONNX, and that all of them learn."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sartor import registry  # noqa: E402
from sartor.catalog.models.parts.trees import Share, Trees, take_lightgbm, tree_ensemble  # noqa: E402
from sartor.testing import models  # noqa: E402
from sartor.types import DataCard, Network, SplitCard  # noqa: E402

FAMILIES = ("gradient-boosting", "tabular-linear", "tabular-mlp", "majority-class", "mean-value")
ROWS, COLUMNS = 600, 4


def card(classes: int) -> DataCard:
    splits = {name: SplitCard(ROWS, {}, name) for name in ("train", "validation", "test")}
    task = "tabular-classification" if classes else "tabular-regression"
    return DataCard(task, "f", tuple("abcdefghij"[:classes]), splits, (), {"inputs": COLUMNS})


def data(classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows with missing values, and truths that depend on two columns and on what is missing."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(ROWS, COLUMNS)).astype(np.float32)
    rows[generator.random(rows.shape) < 0.1] = np.nan
    known = np.nan_to_num(rows, nan=1.0)
    worth = np.sin(2 * known[:, 0]) + (known[:, 1] > 0.3) + 0.1 * generator.normal(size=ROWS)
    if not classes:
        return rows, worth
    return rows, np.searchsorted(np.quantile(worth, np.arange(1, classes) / classes), worth)


def fitted(family: str, classes: int, effort: str = "quick"):
    plugin = registry.get("models", family)
    task = registry.get("tasks", card(classes).task)
    rows, truths = data(classes)
    statistics = dict(task.statistics(rows))
    if not classes:
        statistics |= task.truth_statistics(truths)
    variant = next(iter(plugin.variants(card(classes), [(COLUMNS,)], effort)))
    network = Network(family, variant.name, variant.options, variant.input_size, max(1, classes))
    torch.manual_seed(0)
    module = plugin.build(network)

    def batches():
        for start in range(0, ROWS, 256):
            targets = torch.from_numpy(truths[start : start + 256])
            targets = targets if classes else task.scale(targets, statistics)
            yield task.normalise(torch.from_numpy(rows[start : start + 256]), statistics), targets

    if plugin.fitting == "closed-form":
        with torch.no_grad():
            plugin.fit(module, batches)
    else:
        optimizer = torch.optim.AdamW(module.parameters(), 3e-3)
        for _ in range(40):
            for inputs, targets in batches():
                optimizer.zero_grad()
                task.loss(module.train()(inputs), targets, 0.0).backward()
                optimizer.step()
    return plugin, task, task.wrap(module.eval(), statistics).eval(), network


@pytest.mark.parametrize("classes", [0, 2, 4])
@pytest.mark.parametrize("family", ["gradient-boosting", "tabular-linear", "tabular-mlp"])
def test_families_learn_what_can_be_learnt(family, classes):
    _, task, shipped, _ = fitted(family, classes)
    rows, truths = data(classes, seed=1)
    with torch.no_grad():
        outputs = shipped(torch.from_numpy(rows)).numpy()
    values = task.score(outputs, truths, card(classes).labels, 0.95).values
    assert (values["accuracy"][0] > (0.85 if classes == 2 else 0.7)) if classes else (values["r2"][0] > 0.8)


def test_the_mean_is_the_floor_of_numbers():
    _, task, shipped, _ = fitted("mean-value", 0)
    rows, truths = data(0)
    answers = shipped(torch.from_numpy(rows)).numpy()
    assert np.allclose(answers, truths.mean(), atol=1e-5)
    assert task.score(answers, truths, (), 0.95).values["r2"][0] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("classes", [0, 2, 4])
def test_trees_answer_alike_in_lightgbm_torch_and_onnx(classes):
    lightgbm = pytest.importorskip("lightgbm")
    import onnx
    import onnxruntime

    rows, truths = data(classes)
    rows[:, 3] = np.nan_to_num(rows[:, 3])  # never missing while growing
    objective = (
        {"objective": "multiclass", "num_class": 4} if classes == 4 else {"objective": "binary" if classes else "l2"}
    )
    settings = {**objective, "num_leaves": 12, "max_depth": 6, "verbosity": -1, "seed": 0, "num_threads": 1}
    booster = lightgbm.train(settings, lightgbm.Dataset(rows, truths), 15)
    trees = Trees(COLUMNS, max(1, classes), 20 * (classes if classes > 2 else 1), 12, 6)
    take_lightgbm(trees, [Share(booster.dump_model())], np.zeros(COLUMNS))
    wanted = booster.predict(rows, raw_score=True).reshape(ROWS, -1)
    with torch.no_grad():
        found = trees(torch.from_numpy(rows)[:, :, None]).numpy()
    if classes == 2:
        assert not found[:, 0].any()
    assert np.allclose(found[:, -wanted.shape[1] :], wanted, atol=1e-5)

    float32, versions = onnx.TensorProto.FLOAT, [onnx.helper.make_opsetid("ai.onnx.ml", 5)]
    ends = [("input", [ROWS, COLUMNS]), ("sums", [ROWS, found.shape[1]])]
    graph = [onnx.helper.make_tensor_value_info(name, float32, shape) for name, shape in ends]
    graph = onnx.helper.make_graph([tree_ensemble(trees)], "g", graph[:1], graph[1:])
    model = onnx.helper.make_model(graph, opset_imports=versions, ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert np.allclose(session.run(None, {"input": rows})[0], found, atol=1e-5)


def test_missing_values_go_the_way_of_the_median_where_none_was_missing_in_training():
    lightgbm = pytest.importorskip("lightgbm")
    values = np.linspace(100, 200, 200)[:, None]
    booster = lightgbm.train(
        {"num_leaves": 2, "verbosity": -1, "num_threads": 1}, lightgbm.Dataset(values, values[:, 0] > 130), 1
    )
    trees = Trees(1, 1, 1, 2, 2)
    take_lightgbm(trees, [Share(booster.dump_model())], np.array([150.0]))
    with torch.no_grad():
        missing, low, high = trees(torch.tensor([[[np.nan]], [[110.0]], [[150.0]]]))[:, 0].tolist()
    assert missing == high != low


def test_an_ensemble_of_nothing_answers_zero():
    import onnx
    import onnxruntime

    trees = Trees(2, 3, 6, 4, 3)
    take_lightgbm(trees, [], np.zeros(2))
    with torch.no_grad():
        assert not trees(torch.randn(5, 2, 1)).any()
    ends = [onnx.helper.make_tensor_value_info(name, 1, [1, width]) for name, width in (("input", 2), ("sums", 3))]
    graph = onnx.helper.make_graph([tree_ensemble(trees)], "g", ends[:1], ends[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("ai.onnx.ml", 5)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert not session.run(None, {"input": np.ones((1, 2), np.float32)})[0].any()


def test_thresholds_part_float32_values_as_the_doubles_do():
    from sartor.catalog.models.parts.trees import _float_below

    for threshold in (0.1, 1 / 3, -0.7, 1e-300, 5e300, -5e300, 2.0):
        found = _float_below(threshold)
        assert float(found) <= max(threshold, -3.5e38)  # not by numpy, which would compare as float32
        with np.errstate(over="ignore"):
            following = np.nextafter(found, np.float32(np.inf))
        assert float(following) > threshold or threshold > 3e38


@pytest.mark.parametrize("classes", [0, 3])
def test_the_shipped_graph_is_safe_to_load_and_answers_as_torch_does(classes, tmp_path):
    import onnxruntime

    from sartor.modelfile import check_model
    from sartor.stages.compress.onnx_file import write_onnx

    plugin, _, shipped, _ = fitted("gradient-boosting", classes)
    rows, _ = data(classes, seed=2)
    write_onnx(plugin.to_onnx(shipped, rows[:1]), tmp_path / "model.onnx")
    check_model(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        wanted = shipped(torch.from_numpy(rows[:20])).numpy()
    found = np.concatenate([session.run(["output"], {"input": row[None]})[0] for row in rows[:20]])
    assert np.allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_size_is_named_apart_builds_alike_and_has_a_recipe(family):
    plugin = registry.get("models", family)
    classes = 0 if family == "mean-value" else 3
    for effort in ("quick", "balanced", "thorough"):
        found = [
            Network(family, v.name, v.options, v.input_size, max(1, classes))
            for v in plugin.variants(card(classes), [(COLUMNS,)], effort)
        ]
        assert len({network.id for network in found}) == len(found) >= 1
    models.check_build(found[0], card(classes).task)
    for network in found:
        models.check_recipe(network)


def test_growing_is_repeatable():
    first, second = (fitted("gradient-boosting", 2)[2].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_many_classes_get_fewer_rounds():
    from dataclasses import replace

    many = replace(card(2), labels=tuple(map(str, range(200))))
    plugin = registry.get("models", "gradient-boosting")
    assert all(v.options["rounds"] <= 30 for v in plugin.variants(many, [(COLUMNS,)], "thorough"))


def test_without_lightgbm_the_family_says_how_to_get_it(monkeypatch):
    from sartor.catalog.models import gradient_boosting
    from sartor.errors import MissingExtra

    monkeypatch.setattr(gradient_boosting, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"sartor\[tabular\]"):
        list(gradient_boosting.GradientBoosting().variants(card(2), [(COLUMNS,)], "quick"))
