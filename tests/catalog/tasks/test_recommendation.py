import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sartor import registry
from sartor.catalog.tasks.parts.recommendation_catalogue import Catalogue
from sartor.catalog.tasks.parts.recommendation_scores import ndcg_at
from sartor.catalog.tasks.parts.recommendation_tensors import ShippedRecommender, windows
from sartor.errors import DataError
from sartor.pipeline import Predictor, write_pipeline
from sartor.types import DataCard, Pipeline

TASK = registry.get("tasks", "recommendation")
LABELS = tuple("abcdefghijklmnopqrstuvwxyz")
PIPELINE = Pipeline("recommendation", LABELS, (8,), "model.onnx", "onnxruntime", "fp32", 1, 1)


def raw(**content):
    return json.dumps(content).encode()


def truth(*items):
    return raw(items=list(items))


def learnt():
    requests = [raw(user="1", history=["a"], ids={"10": "a", "20": "b"}), raw(user="zoë", history=["a", "c"])]
    truths = [truth("a", "b"), truth("a", "c", "b")]
    packed = TASK.learn("", (8,), iter([TASK.decode(sample) for sample in requests]), truths)
    return TASK.recall("", packed), packed


def listed(*rows):
    """Outputs (n, 5, 2) whose first items are as given."""
    output = np.zeros((len(rows), 5, 2), np.float32)
    for row, items in enumerate(rows):
        rest = [number for number in range(26) if LABELS[number] not in items]
        output[row, :, 0] = ([LABELS.index(item) for item in items] + rest)[:5]
        output[row, :, 1] = np.arange(5, 0, -1)
    return output


def test_requests_in_every_form():
    catalogue, _ = learnt()

    def numbers(**content):
        request = TASK.decode(raw(**content))
        return TASK.prepare(request, (4,), catalogue).tolist(), request.unknown

    assert numbers(history=["c", "a"]) == ([0, 0, 3, 1], [])  # a and b twice, c once: numbered by frequency
    assert numbers(history=[10, ["20", 4.5], ["c", None]]) == ([0, 1, 2, 3], [])
    assert numbers(history=["c"] * 9 + ["b"]) == ([3, 3, 3, 2], [])
    assert numbers(user="zoë") == ([0, 1, 3, 2], [])
    assert numbers(user=1) == ([0, 0, 1, 2], [])
    assert numbers(user="1", history=[]) == ([0, 0, 0, 0], [])  # a history that is given counts, even an empty one
    assert numbers(user="nobody") == ([0, 0, 0, 0], ["user nobody"])
    assert numbers(history=["x", "b"]) == ([0, 0, 0, 2], ["x"])


@pytest.mark.parametrize(
    "content",
    [b"", b"no", b"[]", b"{}", b'{"history": "a"}', b'{"history": [true]}', b'{"history": [["a"]]}', b'{"user": []}'],
)
def test_what_is_no_request_is_refused(content):
    with pytest.raises(DataError):
        TASK.decode(content)


def test_state_survives_packing_and_damage_is_noticed():
    catalogue, packed = learnt()
    assert catalogue.pack() == packed
    assert catalogue.history("zoë") == ["a", "c", "b"]
    for broken in (
        packed[:-4],
        b"",
        packed[:10] + b"x" + packed[11:],
        Catalogue(["a"], [], [], np.zeros(0), np.zeros(0, np.uint16)).pack(),
    ):
        with pytest.raises(ValueError, match="."):
            Catalogue.unpack(broken)


def test_state_cannot_point_outside_the_catalogue():
    packed = Catalogue(["a"], [""], ["u"], np.array([1]), np.array([2], np.uint16)).pack()
    with pytest.raises(ValueError, match="lacks"):
        Catalogue.unpack(packed)


def test_scores_of_known_lists():
    outputs = listed("abcde", "fghij", "zabcd")
    scores = TASK.score(outputs, [truth("a"), truth("h"), truth("not in train")], LABELS, 0.95)
    values = {name: value for name, (value, low, high) in scores.values.items()}
    assert values["hit_rate_at_10"] == pytest.approx(2 / 3)
    assert values["ndcg_at_10"] == pytest.approx((1 + 1 / np.log2(4)) / 3)
    assert values["mrr"] == pytest.approx((1 + 1 / 3) / 3)
    assert values["recall_at_20"] == pytest.approx(2 / 3)
    assert values["coverage"] == pytest.approx(len(set("abcdefghijz")) / 26)
    assert values["long_tail_at_10"] == pytest.approx((4 / 5 + 1 / 5) / 3)
    assert all(low <= value <= high for value, low, high in scores.values.values())
    assert scores.correct.mean() == pytest.approx(values["ndcg_at_10"])
    assert scores.worst[0] == 2
    assert {row[1] for row in scores.tables[0].rows} == {"1", "3", "–"}
    assert any("✔ a" in row[2] for row in scores.tables[0].rows)
    assert scores.charts[0].lines[0].y[:3] == pytest.approx((1 / 3, 1 / 3, 2 / 3))


def test_several_items_to_find():
    hits = np.array([[True, False, True], [False, True, False]])
    discounts = 1 / np.log2(np.arange(2, 5))
    wanted = [(discounts[0] + discounts[2]) / (discounts[0] + discounts[1]), discounts[1] / discounts[:3].sum()]
    assert ndcg_at(hits, np.array([2, 3]), 3) == pytest.approx(wanted)
    scores = TASK.score(listed("abcde"), [truth("a", "z", "y")], LABELS, 0.95)
    assert scores.values["recall_at_20"][0] == pytest.approx(1 / 3)


def test_new_items_are_listed_and_judged_apart():
    scores = torch.randn(2, 26, generator=torch.Generator().manual_seed(0))
    history = torch.tensor([[0, 25], [3, 1]], dtype=torch.int32)
    found = ShippedRecommender(lambda_module(scores), 20)(history).numpy()
    assert found.shape == (2, 32, 2)  # 26 of all, 6 of those that train lacks
    for row in range(2):
        answer = TASK.answer(found[row], PIPELINE)
        best = sorted(
            (item for item in range(20, 26) if item != int(history[row, 1]) - 1), key=lambda n: -scores[row, n]
        )
        assert [one["label"] for one in answer["new"]] == [LABELS[item] for item in best]
        assert TASK.difference(found[row], found[row]) == 0
    newest = answer["new"][0]["label"]
    truths = [truth("a"), raw(items=["a", newest], new=[newest])]
    judged = TASK.score(found, truths, LABELS, 0.95)
    assert judged.values["new_items_ndcg_at_10"][0] == 1  # the one user who met some
    assert len(judged.charts) == 3
    assert "new_items_ndcg_at_10" not in TASK.score(found[:1], truths[:1], LABELS, 0.95).values
    broken = np.stack([TASK.wrong(found[0], truths[0]), found[1]])
    assert TASK.score(broken, truths, LABELS, 0.95).values["new_items_ndcg_at_10"][0] == 1


def test_wrong_outputs_score_nothing():
    output = listed("abcde")[0]
    scores = TASK.score(TASK.wrong(output, truth("a"))[None], [truth("a")], LABELS, 0.95)
    assert scores.values["hit_rate_at_10"][0] == 0
    assert scores.values["coverage"][0] == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_graph_lists_the_best_of_what_is_new(seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(3, 12, generator=generator)
    history = torch.randint(0, 13, (3, 6), generator=generator, dtype=torch.int32)
    found = ShippedRecommender(lambda_module(scores))(history)
    assert found.shape == (3, 12, 2)
    for row in range(3):
        met = {int(number) - 1 for number in history[row] if number}
        wanted = sorted(set(range(12)) - met, key=lambda item: -float(scores[row, item]))
        new = found[row, found[row, :, 1] > -1e8]
        assert new[:, 0].int().tolist() == wanted
        assert new[:, 1].tolist() == pytest.approx([float(scores[row, item]) for item in wanted])


def lambda_module(scores):
    class Fixed(torch.nn.Module):
        def forward(self, history):
            assert history.dtype == torch.int64
            return scores

    return Fixed()


def test_answers_say_what_was_not_known():
    catalogue, _ = learnt()
    request = TASK.decode(raw(history=["x", "a"]))
    TASK.prepare(request, (8,), catalogue)
    answer = TASK.answer(listed("cab")[0], PIPELINE, request)
    assert answer["label"] == answer["top"][0]["label"] == "c"
    assert answer["confidence"] == pytest.approx(np.exp(5) / np.exp(np.arange(1, 6)).sum())
    assert answer["unknown"] == ["x"]
    assert answer["note"] == "not known and left out: x"
    assert json.loads(json.dumps(answer)) == answer
    with pytest.raises(DataError):
        TASK.answer(np.full((5, 2), np.nan, np.float32), PIPELINE, request)


def test_an_explanation_names_the_item_that_speaks_for_the_answer():
    def ask(raws):  # "b" in the history makes "a" stand out
        outputs = [listed("abc")[0] for _ in raws]
        for output, one in zip(outputs, raws, strict=True):
            if "b" in json.loads(one)["history"]:
                output[0, 1] += 2
        return np.stack(outputs)

    found = TASK.explain(ask, raw(history=["c", "b", "d"]), PIPELINE)
    assert found.causes[0].name == "b"
    assert found.causes[0].weight > 0.05
    assert found.causes[1].weight == pytest.approx(0)
    assert "b" in found.sentence
    assert TASK.explain(ask, raw(history=[]), PIPELINE).causes == ()


def test_a_user_is_explained_by_the_stored_history():
    catalogue, _ = learnt()
    assert json.loads(TASK.spell_out(raw(user="zoë"), catalogue))["history"] == ["a", "c", "b"]
    assert TASK.spell_out(raw(history=["c"]), catalogue) == raw(history=["c"])


def test_a_list_with_two_equals_swapped_is_hardly_another():
    now, then = listed("abc")[0], listed("bac")[0]
    now[:2, 1] = then[:2, 1] = 4.5
    assert TASK.difference(now, then) == pytest.approx(0)
    assert TASK.difference(now, listed("xyz")[0]) > 0.3
    now, then = listed("abcde")[0], listed("abcdz")[0]
    now[2:, 1] = then[2:, 1] = 1  # the list ends among equals
    assert TASK.difference(now, then) == pytest.approx(0)
    assert TASK.difference(now, np.full_like(now, np.nan)) == float("inf")


def test_shown_samples_tick_hits():
    example = TASK.show(raw(user="7", history=list("klmnopqrstuvw")), truth("b"), listed("abc")[0], PIPELINE)
    assert example.truth == "b"
    assert example.answer.startswith("a; ✔ b; c")
    assert example.text == "3 before; n; o; p; q; r; s; t; u; v; w"


def test_windows_end_where_something_was_done_and_keep_the_order():
    done = torch.tensor([[0, 0, 0, 0, 0, 1, 2, 3], [1, 2, 3, 4, 5, 6, 7, 8], [0, 0, 0, 0, 0, 0, 0, 9]])
    batch = done[:, 4:]
    generator = torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(50):
        found = windows(batch, done, ("window",), generator)
        seen.add(tuple(found[1].tolist()))
        assert found[2].tolist() == [0, 0, 0, 9]
        assert found[0, -1] in (2, 3)
        assert (found[1, -1] - found[1]).tolist() == [3, 2, 1, 0] or (found[1] == 0).any()
    assert len(seen) == 7
    assert torch.equal(windows(batch, done, (), generator), batch)


def test_targets_sizes_and_loss():
    assert TASK.target(truth("b", "zz", "a"), (2,), LABELS).tolist() == [0, 0, 2, 1]
    card = DataCard("recommendation", "", LABELS, {}, (), {"lengths": {"largest": [70]}})
    assert TASK.input_sizes(card) == ((128,), (64,))
    outputs = torch.log(torch.tensor([[0.5, 0.25, 0.25]]))
    loss = TASK.loss(outputs, torch.tensor([[0, 1, 2]]), 0.0)
    assert float(loss) == pytest.approx(-(np.log(0.5) + np.log(0.25)) / 2)


def test_equal_histories_of_two_users_are_no_copies():
    sightings = [TASK.inspect(raw(user=user, history=["a"]), truth("b")) for user in "12"]
    assert sightings[0].content != sightings[1].content
    assert sightings[0].facts == {"length": (1,)}
    with pytest.raises(DataError):
        TASK.inspect(raw(user="1", history=[]), b"{}")


def test_from_a_table_to_a_list(tmp_path):
    """Numbers mean the same items to the reader, the encoder, the network and the scores."""
    from sartor.evidence import Workspace
    from sartor.jobs import PrepareJob, TrainJob
    from sartor.prepared import open_data
    from sartor.stages.data import prepare
    from sartor.stages.train import train
    from sartor.types import DataSource, Network

    generator = np.random.default_rng(0)
    rows = ["user,item,timestamp"]
    for user in range(60):
        places = generator.integers(0, 30) + np.cumsum(generator.choice([1, 1, 1, 2], 9))
        rows += [f"u{user},film {place % 30},{when}" for when, place in enumerate(places)]
    (tmp_path / "events.csv").write_text("\n".join(rows))
    workspace = Workspace(tmp_path / "workspace")
    source = DataSource(str(tmp_path / "events.csv"))
    card = prepare(PrepareJob(source, "recommendation", 0, "stamp"), workspace).card
    assert sorted(card.labels) == sorted(f"film {number}" for number in range(30))
    assert {split.samples for split in card.splits.values()} == {60}
    data = open_data(card.fingerprint, workspace)
    catalogue = data.recalled((8,))
    assert [catalogue.numbers(TASK.decode(raw(history=[name])), 1)[0] for name in card.labels] == list(range(1, 31))
    reached = {}
    for name in ("most-popular", "ease"):
        family = registry.get("models", name)
        variant = next(iter(family.variants(card, TASK.input_sizes(card), "quick")))
        network = Network(name, variant.name, variant.options, variant.input_size, 30)
        job = TrainJob("recommendation", network, card.fingerprint, family.recipe(network, 60, 1), 0, 1)
        reached[name] = train(job, workspace).score
    assert reached["ease"] > reached["most-popular"] + 0.2  # what comes next on a circle


def test_tables_beside_are_found_from_the_requirement(tmp_path):
    from sartor.stages.requirement import read_requirement

    for name in ("events.csv", "things.csv"):
        (tmp_path / name).write_text("user,item\n1,2\n")
    written = "task: recommendation\ndata: {train: events.csv, items: things.csv, users: elsewhere.csv, time: when}\n"
    (tmp_path / "asked.yaml").write_text(written)
    found = read_requirement(tmp_path / "asked.yaml").data.options
    assert found == {"items": str(tmp_path / "things.csv"), "users": "elsewhere.csv", "time": "when"}


def constant_list(path):
    """A model that always lists items 2, 0 and 1."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    answer = np.array([[[2, 3], [0, 2], [1, 1]]], np.float32)
    nodes = [
        helper.make_node("Cast", ["input"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["floats"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "nothing"], ["zero"]),
        helper.make_node("Add", ["zero", "answer"], ["output"]),
    ]
    constants = {"nothing": np.float32(0), "answer": answer}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.INT32, (1, 8))],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, answer.shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=8), path)


def test_a_package_names_its_items_once(tmp_path):
    catalogue, packed = learnt()
    assert TASK.labels_of(catalogue) == ("a", "b", "c")
    (tmp_path / "encoder.bin").write_bytes(packed)
    constant_list(tmp_path / "model.onnx")
    sha256 = hashlib.sha256(packed).hexdigest()
    for names, written in ((("a", "b", "c"), []), (("A", "B", "C"), ["A", "B", "C"])):
        pipeline = replace(PIPELINE, labels=names, learnt=sha256)
        write_pipeline(tmp_path, pipeline)
        assert json.loads((tmp_path / "pipeline.json").read_text())["labels"] == written
        predictor = Predictor(tmp_path)
        assert predictor.pipeline == pipeline
        assert [one["label"] for one in predictor.predict(raw(history=["a"]))["top"]] == [names[2], names[0], names[1]]


def test_what_is_listed_is_told_as_logarithms_of_sums():
    class Sums(torch.nn.Module):
        sums = True

        def forward(self, history):
            return torch.tensor([[0.5, 4.0, 0.0, 2.0]])

    listed = ShippedRecommender(Sums())(torch.tensor([[0, 2]], dtype=torch.int32))[0]
    assert listed[:, 0].tolist() == [3, 0, 2, 1]  # item 2, place 1, was met
    np.testing.assert_allclose(listed[:3, 1], np.log([2.0, 0.5, 1e-9]), rtol=1e-6)
    assert listed[3, 1] < -1e8
    assert pytest.approx(0.8) == TASK.answer(listed.numpy(), replace(PIPELINE, labels=tuple("abcd")))["confidence"]
