import json
import warnings

import numpy as np
import pytest
import torch

from sartor import registry
from sartor.catalog.tasks.parts.rating_histories import RatingHistories
from sartor.errors import DataError, RequirementError
from sartor.testing import models
from sartor.types import DataCard, DataSource, Network, Pipeline

TASK = registry.get("tasks", "rating-prediction")
FAMILIES = ["mean-value", "rating-biases", "rating-factors"]
PIPELINE = Pipeline("rating-prediction", (), (9,), "model.onnx", "onnxruntime", "fp32", 1, 1)


def raw(**content):
    return json.dumps(content).encode()


def learnt():
    train = [("1", "a", 4.0), ("1", "b", 2.0), ("zoë", "a", 5.0), ("zoë", "c", 1.0), ("zoë", "b", 3.0)]
    questions = [
        TASK.decode(raw(user=user, item=item, **({"id": "10"} if item == "a" else {}))) for user, item, _ in train
    ]
    return TASK.recall("", TASK.learn("", (9,), iter(questions), np.array([rating for _, _, rating in train])))


def test_a_rating_is_no_part_of_what_it_is_predicted_from():
    state = learnt()

    def row(**content):
        question = TASK.decode(raw(**content))
        return TASK.prepare(question, (9,), state).tolist(), question.unknown

    assert row(user="zoë", item="a") == ([1, 0, 0, 3, 2, 0, 0, 1, 3], [])  # a and b twice, c once
    assert row(user="zoë", item="nothing") == ([0, 0, 1, 3, 2, 0, 5, 1, 3], ["nothing"])
    assert row(user="nobody", item=10) == ([1, 0, 0, 0, 0, 0, 0, 0, 0], ["user nobody"])
    assert row(user="1", item="c", history=[["x", 5], ["a", 4.5]]) == ([3, 0, 0, 0, 1, 0, 0, 0, 4.5], ["x"])
    assert json.loads(TASK.spell_out(raw(user="1", item="c"), state))["history"] == [["a", 4.0], ["b", 2.0]]


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"user": "1"}', b'{"item": "a"}', b'{"user": "1", "item": []}', b'{"item": "a", "history": ["b"]}'],
)
def test_what_is_no_question_is_refused(content):
    with pytest.raises(DataError, match="item"):
        TASK.decode(content or b"{}")


def test_damaged_state_is_noticed():
    packed = learnt().pack()
    for broken in (
        b"",
        packed[:-5],
        RatingHistories(["a"], [""], ["u"], np.array([1]), np.array([2]), np.ones(1)).pack(),
    ):
        with pytest.raises(ValueError, match="."):
            RatingHistories.unpack(broken)


def test_answers_and_explanations_are_in_ratings():
    def ask(raws):  # each known rating pulls a tenth of the way
        return np.array([[3 + 0.1 * sum(r - 3 for _, r in json.loads(one)["history"])] for one in raws], np.float32)

    asked = raw(user="1", item="c", history=[["a", 5], ["b", 2]])
    question = TASK.decode(asked)
    question.unknown.append("b")
    assert TASK.answer(ask([asked])[0], PIPELINE, question) == {
        "label": "3.1",
        "value": pytest.approx(3.1),
        "unknown": ["b"],
        "note": "not known and left out: b",
    }
    found = TASK.explain(ask, asked, PIPELINE)
    assert [(cause.name, round(cause.weight, 3)) for cause in found.causes] == [("a", 0.2), ("b", -0.1)]
    assert "0.2 higher" in found.sentence


def rated(tmp_path, users=80, seed=0):
    """Two kinds of films; users rate one kind higher, some rate everything higher."""
    generator = np.random.default_rng(seed)
    rows = ["userId,movieId,rating,timestamp"]
    for user in range(users):
        likes, lift = generator.choice([-1, 1]), generator.uniform(-1, 1)
        for when, film in enumerate(generator.permutation(30)[:14]):
            rating = 3 + lift + likes * (1 if film % 2 else -1) + 0.2 * generator.standard_normal()
            rows.append(f"u{user},f{film},{np.clip(rating, 0.5, 5):.2f},{when}")
    path = tmp_path / "ratings.csv"
    path.write_text("\n".join(rows))
    return path


def test_families_from_a_table_to_ratings(tmp_path):
    parts = {part.split: part for part in TASK.read(DataSource(str(rated(tmp_path))))}
    samples = {split: list(part.samples) for split, part in parts.items()}
    assert {split: len(found) for split, found in samples.items()} == {"train": 960, "validation": 80, "test": 80}
    card = DataCard("rating-prediction", "", (), {}, (), dict(parts["train"].facts))
    size = TASK.input_sizes(card)[0]
    assert size == (1 + 2 * 16,)
    questions = {split: [TASK.decode(one.raw) for one in found] for split, found in samples.items()}
    truths = {split: np.array([float(one.label) for one in found]) for split, found in samples.items()}
    state = TASK.recall("", TASK.learn("", size, iter(questions["train"]), truths["train"]))
    inputs = {
        split: torch.from_numpy(np.stack([TASK.prepare(one, size, state) for one in found]))
        for split, found in questions.items()
    }
    reached = {}
    for name in FAMILIES:
        family = registry.get("models", name)
        models_of = [*family.variants(card, (size,), "balanced")]
        network = Network(name, models_of[0].name, dict(models_of[0].options), size, 1)
        module = models.build(network)
        with torch.no_grad():
            family.fit(module, lambda: iter([(inputs["train"], torch.from_numpy(truths["train"]))]))
            shipped = TASK.wrap(module, TASK.truth_statistics(truths["train"])).eval()
            outputs = shipped(inputs["test"]).numpy()
            nothing_known = shipped(torch.zeros(1, *size))
        reached[name] = TASK.score(outputs, truths["test"], (), 0.95).values["rmse"][0]
        assert nothing_known.item() == pytest.approx(truths["train"].mean(), abs=1e-3)
    assert reached["rating-factors"] < 0.5 * reached["rating-biases"] < 0.5 * reached["mean-value"]


def test_questions_export():
    import onnxruntime

    options = {"width": 4, "items": 12}
    network = Network("rating-factors", "s", options, (17,), 1)
    questions = torch.zeros(6, 17)
    questions[:, 0] = torch.arange(6)
    questions[:4, 6:9], questions[:4, -3:] = torch.tensor([1.0, 5, 12]), torch.tensor([4.0, 1, 3])
    shipped = TASK.wrap(models.build(network), {"bounds": (1.0, 5.0)}).eval()
    shipped.module.biases.mean.fill_(3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own use of what torch deprecates
        program = torch.onnx.export(shipped, (questions[:1],), dynamo=True, input_names=["input"], verbose=False)
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    found = [session.run(None, {"input": one[None].numpy()})[0].item() for one in questions]
    with torch.no_grad():
        assert found == pytest.approx(shipped(questions)[:, 0].tolist(), abs=1e-4)
    assert found[4:] == [3.0, 3.0]  # nothing rated: the mean
    assert len(set(found[:4])) == 4


def test_ratings_are_asked_for_where_there_are_none(tmp_path):
    (tmp_path / "events.csv").write_text("user,item,time\n1,a,1\n1,b,2\n1,c,3\n")
    with pytest.raises(DataError, match="data.rating"):
        TASK.read(DataSource(str(tmp_path / "events.csv")))


def test_a_limit_on_ratings_does_not_fit_lists():
    from sartor.stages.requirement import read_requirement

    for task, metric, other in (
        ("recommendation", "rmse", "rating-prediction"),
        ("rating-prediction", "ndcg_at_10", "recommendation"),
    ):
        with pytest.raises(RequirementError, match=other):
            read_requirement({"task": task, "data": {"train": "."}, "limits": {metric: {"max": 0.9}}})
