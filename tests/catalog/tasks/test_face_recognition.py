"""Face recognition: verification and identification by hand-made embeddings, galleries, explanations, pixels."""

from types import SimpleNamespace

import numpy as np
import pytest

from sartor import registry
from sartor.catalog.tasks.face_recognition import Gallery, threshold_of, verify
from sartor.catalog.tasks.parts import faces_pairs, faces_scores
from sartor.errors import DataError
from sartor.media.image import to_png
from sartor.types import DataCard, Insight, Pipeline, SplitCard, Table

TASK = registry.get("tasks", "face-recognition")
LABELS = tuple("abcdefgh")


def on_circle(*degrees):
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def score(embeddings, people):
    return TASK.score(np.asarray(embeddings), np.asarray(people), LABELS, 0.95)


def clusters(people=8, each=5, spread=0.0, seed=0):
    generator = np.random.default_rng(seed)
    centres = np.repeat(np.eye(people, 16), each, axis=0)
    return centres + spread * generator.standard_normal(centres.shape), np.repeat(np.arange(people), each)


# ----------------------------------------------------------------------------------------------------- judgement


def test_perfect_embeddings():
    found = score(*clusters())
    assert found.values["tar_at_far_0_01"][0] == found.values["auc"][0] == found.values["rank_1"][0] == 1
    assert found.values["eer"][0] == 0
    assert (found.correct == 1).all()
    assert found.worst == ()
    assert found.values["tar_at_far_0_01"][1] < 0.95, "all right is not certainty: there are 40 pictures"
    assert found.values["tar_at_far_0_001"][1] == 0, "700 pairs of strangers do not show a rate of 0.1 %"


def test_four_pictures_by_hand():
    """Cosines of 10, 40, 80, 90 degrees apart: the two pairs of one person, and between them strangers."""
    embeddings, people = on_circle(0, 40, 50, 130), [0, 0, 1, 1]
    pairs = faces_pairs.face_pairs(embeddings, np.array(people))
    assert pairs.same.tolist() == [False, True, False, True, False, False]
    true, false = pairs.rates(np.ones(6))
    assert true.tolist() == [0, 0.5, 0.5, 1, 1, 1]
    assert false.tolist() == [0.25, 0.25, 0.5, 0.5, 0.75, 1]
    found = score(embeddings, people)
    assert found.values["tar_at_far_0_01"][0] == 0
    # 0.5 to the right of nothing, 0.25 wide at 0.5, half of all at 1
    assert found.values["auc"][0] == pytest.approx(0.25 * 0.5 + 0.5 * 1)
    assert found.values["eer"][0] == 0.5
    assert found.values["rank_1"][0] == 0.5  # 0 and 130 degrees


def test_equal_similarities_are_accepted_together_or_not_at_all():
    embeddings, people = on_circle(0, 0, 0, 0), np.array([0, 0, 1, 1])
    true, false = faces_pairs.face_pairs(embeddings, people).rates(np.ones(6))
    assert (true.tolist(), false.tolist()) == ([1.0], [1.0])
    assert score(embeddings, people).values["auc"][0] == 0.5


def test_no_order_or_length_of_embeddings_matters():
    embeddings, people = clusters(spread=0.4)
    order = np.random.default_rng(1).permutation(len(people))
    plain, mixed = score(embeddings, people), score(7 * embeddings[order], people[order])
    for name in ("tar_at_far_0_01", "auc", "eer", "rank_1"):
        assert plain.values[name][0] == pytest.approx(mixed.values[name][0])
    assert plain.correct[order] == pytest.approx(mixed.correct)


def test_contributions_and_resampling_agree_with_the_value():
    embeddings, people = clusters(spread=0.3)
    found = score(embeddings, people)
    value, low, high = found.values["tar_at_far_0_01"]
    assert 0 < low < value < high < 1
    assert found.correct.mean() == pytest.approx(value)
    assert found.resample(np.arange(len(people))) == pytest.approx(value)
    assert found.resample(np.repeat(np.arange(len(people)), 2)) == pytest.approx(value), "twins of itself are no pair"
    assert set(found.per_class) == set(LABELS)
    assert min(found.per_class.values()) == pytest.approx(found.values["tar_at_far_0_01_per_class_min"][0])
    assert len(found.worst) == len(set(found.worst)) > 0
    assert {chart.title for chart in found.charts} == {"Verification", "Similarities"}


def test_interval_is_of_people_and_not_of_pairs():
    """Half of the people are hopeless; with four people that is far less certain than 30 pairs a person suggest."""
    embeddings, people = clusters(4, 6)
    embeddings[12:] = np.random.default_rng(0).standard_normal((12, 16))
    _, low, high = score(embeddings, people).values["tar_at_far_0_01"]
    assert high - low > 0.5


def test_picture_without_embedding_is_never_accepted():
    embeddings, people = clusters()
    embeddings[0] = TASK.wrong(embeddings[0], 0)
    found = score(embeddings, people)
    assert found.values["tar_at_far_0_01"][0] == pytest.approx(76 / 80)
    assert found.values["rank_1"][0] == 39 / 40
    assert found.correct[0] == 0
    assert found.per_class["a"] == pytest.approx(0.6)


def test_lone_picture_speaks_only_as_a_stranger():
    embeddings, people = clusters(7)
    found = score(np.vstack([embeddings, np.eye(16)[15]]), np.append(people, 7))
    assert found.values["rank_1"][0] == 1
    assert "h" not in found.per_class


def test_nothing_to_judge_is_told():
    with pytest.raises(DataError, match="nobody has two pictures"):
        score(np.eye(4), [0, 1, 2, 3])
    with pytest.raises(DataError, match="all pictures of this split show one person"):
        score(np.eye(4), [0, 0, 0, 0])


def test_many_pictures_are_judged_by_a_choice_of_pairs(monkeypatch):
    embeddings, people = clusters(8, 20, spread=0.3)
    whole = score(embeddings, people).values["auc"][0]
    monkeypatch.setattr(faces_pairs, "MOST_LISTED", 100)
    monkeypatch.setattr(faces_pairs, "MOST_IMPOSTORS", 3000)
    monkeypatch.setattr(faces_pairs, "MOST_GENUINE", 500)
    pairs = faces_pairs.face_pairs(embeddings, people)
    assert pairs.same.sum() == 500
    assert (~pairs.same).sum() <= 3000
    assert (pairs.left != pairs.right).all()
    assert score(embeddings, people).values["auc"][0] == pytest.approx(whole, abs=0.02)


def test_fold_accuracy():
    similarity, same = np.array([0.9, 0.8, 0.1, 0.2, 0.9, 0.3, 0.4, 0.1]), np.array([1, 1, 0, 0, 1, 0, 1, 0], bool)
    mean, deviation = faces_scores.fold_accuracy(similarity, same, np.array([0, 0, 0, 0, 1, 1, 1, 1]))
    assert (mean, deviation) == (0.875, 0.125)  # the best threshold of the first half, 0.8, loses one of the second


# ------------------------------------------------------------------------------------------------------ galleries


class Colours:
    """Embeds a picture by its mean colour."""

    def __init__(self, run=None, scale=1.0):
        self.pipeline = Pipeline("face-recognition", LABELS, (8, 8), "m.onnx", "onnxruntime", "fp32", 1, 1)
        self.run, self.scale = run, scale

    def outputs(self, raws):
        colours = np.stack([TASK.decode(raw).reshape(-1, 3).mean(0) - 128 * self.scale for raw in raws])
        return colours / np.linalg.norm(colours, axis=1, keepdims=True)


def flat(*colour):
    return to_png(np.full((8, 8, 3), colour, np.uint8))


def made_by(*rows):
    table = Table("Thresholds", ("false accept rate", "similarity", "true accept rate"), rows)
    return SimpleNamespace(insights={"c": Insight("test", tables=(table,))}, decision=SimpleNamespace(chosen="c"))


RED, GREEN, BLUE = flat(255, 0, 0), flat(0, 255, 0), flat(0, 0, 255)


def test_gallery_names_who_is_enrolled(tmp_path):
    model = Colours(made_by(("0.01", "0.7", "1"), ("0.001", "0.9", "1")))
    gallery = Gallery.enrol(model, {"Rose": [RED, flat(200, 30, 0)], "Ivy": [GREEN]})
    assert gallery.threshold == 0.9
    answer = gallery.identify(model, flat(240, 10, 10))
    assert (answer["label"], answer["nearest"]) == ("Rose", "Rose")
    assert answer["confidence"] == pytest.approx(answer["similarity"])
    stranger = gallery.identify(model, BLUE)
    assert stranger["label"] == "unknown"
    assert gallery.verify(model, RED, "Rose")["same"]
    assert not gallery.verify(model, RED, "Ivy")["same"]
    gallery.save(tmp_path / "gallery.json")
    again = Gallery.load(tmp_path / "gallery.json", model)
    assert again.identify(model, RED) == gallery.identify(model, RED)
    with pytest.raises(DataError, match="another model"):
        Gallery.load(tmp_path / "gallery.json", Colours(scale=0.5))
    with pytest.raises(DataError, match="'Rosa' is not enrolled; there are Ivy, Rose"):
        gallery.verify(model, RED, "Rosa")
    (tmp_path / "gallery.json").write_text("{}")
    with pytest.raises(DataError, match="is not a gallery"):
        Gallery.load(tmp_path / "gallery.json", model)


def test_answer_names_the_most_similar_people():
    model = Colours(made_by(("0.001", "0.9", "1")))
    gallery = Gallery.enrol(model, {"Rose": [RED, flat(200, 30, 0)], "Ivy": [GREEN], "Sky": [BLUE]})
    known, stranger = gallery.identify(model, flat(240, 10, 10)), gallery.identify(model, flat(255, 255, 0))
    assert [one["label"] for one in known["top"]] == ["Rose", "Sky", "Ivy"]
    assert known["note"].startswith("similarity to Rose ")
    assert stranger["label"] == stranger["top"][0]["label"] == "unknown"
    assert stranger["top"][1]["label"] in ("Rose", "Ivy")
    assert stranger["confidence"] == pytest.approx(1 - stranger["top"][1]["confidence"])


def test_picture_without_a_face_is_compared_with_nobody():
    gallery = Gallery.enrol(Colours(made_by(("0.01", "0.9", "1"))), {"Ivy": [GREEN]}, false_accepts=None)
    pipeline = Pipeline(TASK.name, LABELS, (8, 8), "m.onnx", "onnxruntime", "fp32", 1, 1, gallery.options())
    answer = TASK.answer(np.zeros(3, np.float32), pipeline)
    assert answer["label"] == "no face"
    assert "nearest" not in answer
    with pytest.raises(DataError, match="no face is found in a picture of Ivy"):
        Gallery.enrol(SimpleNamespace(outputs=lambda raws: np.zeros((len(raws), 3))), {"Ivy": [GREEN]}, threshold=0.5)


def test_gallery_is_opened_from_folders_or_one_picture(tmp_path):
    model = Colours(made_by(("0.01", "0.7", "1"), ("0.001", "0.9", "1")))
    (tmp_path / "Rose" / "2026").mkdir(parents=True)
    (tmp_path / "Rose" / "2026" / "a.png").write_bytes(RED)
    (tmp_path / "Rose" / "notes").mkdir()
    (tmp_path / "Ivy.png").write_bytes(GREEN)
    gallery = Gallery.open(model, tmp_path)
    assert sorted(gallery.people) == ["Ivy", "Rose"]
    assert gallery.threshold == 0.9
    one = TASK.enrol(model, tmp_path / "Ivy.png", 0.01)
    assert (one["people"], one["threshold"]) == (["Ivy"], 0.7)
    gallery.save(tmp_path / "gallery.json")
    assert TASK.enrol(model, tmp_path / "gallery.json", 0.01)["threshold"] == 0.7
    assert TASK.enrol(model, None, None) == {"threshold": 0.9}
    assert TASK.enrol(Colours(), None, None) == {}
    with pytest.raises(DataError, match="holds no picture of anybody"):
        Gallery.open(model, tmp_path / "Rose" / "notes")
    (tmp_path / "Rose" / "b.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match="a picture of Rose cannot be enrolled: "):
        Gallery.open(model, tmp_path)


def test_without_people_there_is_no_gallery():
    with pytest.raises(DataError, match="no picture of Rose"):
        Gallery.enrol(Colours(made_by()), {"Rose": []}, threshold=0.5)


def test_two_pictures_are_verified():
    model = Colours(made_by(("0.001", "0.9", "1")))
    assert verify(model, RED, flat(250, 5, 5))["same"]
    assert not verify(model, RED, BLUE)["same"]
    assert verify(model, RED, BLUE, threshold=-1)["same"]


def test_threshold_is_that_of_the_rate_or_of_a_smaller_one():
    run = made_by(("0.1", "0.4", "1"), ("0.01", "0.7", "1"))
    assert threshold_of(run, 0.01) == 0.7
    assert threshold_of(run, 0.05) == 0.7
    with pytest.raises(DataError, match=r"for 0\.001 false accepts \(but for 0\.01, 0\.1\)"):
        threshold_of(run, 0.001)
    with pytest.raises(DataError, match="none at all"):
        threshold_of(None, 0.01)


def test_answer_without_a_gallery_is_the_embedding():
    answer = TASK.answer(np.array([0.6, 0.8], np.float32), Colours().pipeline)
    assert answer["label"] == "unknown"
    assert "confidence" not in answer
    assert answer["embedding"] == pytest.approx([0.6, 0.8])
    assert "nobody is enrolled" in answer["note"]
    with pytest.raises(DataError, match="not finite"):
        TASK.answer(np.array([np.nan, 0.8]), Colours().pipeline)


def test_explanation_finds_what_the_face_is_told_by():
    """Embeds the brightness of the lower right corner: covering it changes the answer most."""
    pixels = np.full((28, 28, 3), 40, np.uint8)
    pixels[20:, 20:] = 255

    def ask(raws):
        corner = np.array([TASK.decode(raw)[20:, 20:].mean() for raw in raws])
        return np.stack([corner - 150, np.full(len(raws), 60.0)], 1)

    found = TASK.explain(ask, to_png(pixels), Colours().pipeline)
    assert found.causes[0].name == "bottom right"
    assert "bottom right" in found.sentence
    assert found.picture


# --------------------------------------------------------------------------------------------- pixels and training


def test_prepared_faces_are_cut_around_the_middle_and_not_stretched():
    picture = np.zeros((40, 100, 3), np.uint8)
    picture[:, 30:70] = 200
    assert (TASK.prepare(picture, (32, 32)) == 200).all()
    tall = TASK.prepare(np.zeros((112, 92, 3), np.uint8), (56, 48))
    assert tall.shape == (56, 48, 3)


@pytest.mark.parametrize(
    ("median", "first"), [((112, 92), (80, 64)), ((250, 250), (64, 64)), ((20, 20), (16, 16)), ((90, 30), (32, 24))]
)
def test_input_sizes_keep_the_shape_of_faces(median, first):
    card = DataCard(
        "face-recognition", "f", LABELS, {"train": SplitCard(8, {}, "t")}, (), {"sizes": {"median": median}}
    )
    sizes = TASK.input_sizes(card)
    assert sizes[0] == first
    assert all(side % 8 == 0 for size in sizes for side in size)


def test_near_copies_are_told_from_faces_that_look_alike():
    generator = np.random.default_rng(0)
    face = generator.integers(60, 200, (6, 6, 1)).astype(np.float32).repeat(12, 0).repeat(12, 1).repeat(3, 2)
    noisy = np.clip(face + generator.normal(0, 4, face.shape), 0, 255)
    other = np.clip(face + 25 * np.sin(np.arange(72) / 6)[:, None, None], 0, 255)
    as_picture = [array.astype(np.uint8) for array in (face, noisy, other)]
    assert TASK.alike(as_picture[0], as_picture[1])
    assert not TASK.alike(as_picture[0], as_picture[2])


def test_survey_tells_of_single_pictures_and_mixed_colours():
    grey, red = np.full((40, 40, 3), 90, np.uint8), np.full((40, 40, 3), (200, 40, 40), np.uint8)
    found = TASK.survey(iter([grey, red, grey]), np.array([0, 0, 1]), {}, 0)
    assert found["colour"] == pytest.approx(1 / 3, abs=1e-3)
    assert {problem.code for problem in found["problems"]} == {"ONE_PICTURE", "GREY_AND_COLOUR"}
    assert TASK.survey(iter([grey] * 4), np.array([0, 0, 1, 1]), {}, 0)["problems"] == []
    assert TASK.inspect(to_png(grey[:20])).remarks == ("SMALL_FACE",)


def test_light_and_contrast_of_a_picture_do_not_matter():
    import torch

    face = np.random.default_rng(0).integers(60, 120, (1, 16, 16, 3), dtype=np.uint8)
    plain, bright = (TASK.normalise(torch.from_numpy(one), {}) for one in (face, face * 2))
    assert torch.allclose(plain, bright, atol=1e-4)
    assert plain.mean().abs() < 1e-5
    assert TASK.normalise(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), {}).isfinite().all()


def test_augmented_faces():
    import torch

    batch = TASK.normalise(torch.from_numpy(np.random.default_rng(0).integers(0, 255, (64, 16, 16, 3), np.uint8)), {})
    targets = torch.arange(64)

    def run(*names):
        return TASK.augment(batch, targets, names, torch.Generator().manual_seed(1))

    varied, same = run("flip", "shift", "turn", "light")
    assert torch.equal(varied, run("flip", "shift", "turn", "light")[0])
    assert torch.equal(same, targets)
    assert torch.allclose(varied.mean(dim=(1, 2, 3)), torch.zeros(64), atol=1e-4)
    assert torch.allclose(varied.std(dim=(1, 2, 3)), torch.ones(64), atol=1e-2)
    flipped, _ = run("flip")
    mirrored = (flipped - batch.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-4
    kept = (flipped - batch).abs().amax(dim=(1, 2, 3)) < 1e-4
    assert (mirrored | kept).all()
    assert 16 < int(mirrored.sum()) < 48
    assert torch.allclose(run()[0], batch, atol=1e-5)


def test_shipped_embeddings_have_length_one():
    import torch
    from torch import nn

    shipped = TASK.wrap(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 5)), {}).eval()
    with torch.no_grad():
        found = shipped(torch.randint(0, 255, (4, 8, 8, 3), dtype=torch.uint8))
    assert torch.allclose(found.norm(dim=1), torch.ones(4), atol=1e-5)


def test_difference_bounds_what_any_similarity_changes():
    generator = np.random.default_rng(0)
    now, then, others = (faces_pairs.unit_rows(generator.standard_normal((n, 8)))[0] for n in (1, 1, 50))
    assert np.abs(others @ (now - then)[0]).max() <= TASK.difference(now[0], then[0])
    assert TASK.difference(now[0], now[0]) == 0
    assert TASK.difference(now[0], np.full(8, np.nan)) == float("inf")


# --------------------------------------------------------------------------------------------------- the whole way


def test_from_pictures_to_a_file_that_knows_strangers(tmp_path):
    """Twelve made-up people, smooth patterns under noise: fitted, exported, judged on people it has never seen."""
    pytest.importorskip("torch")
    from sartor.evidence import Workspace
    from sartor.jobs import EvaluateJob, ExportJob, PrepareJob, TrainJob
    from sartor.pipeline import Predictor
    from sartor.stages.compress import export
    from sartor.stages.data import prepare, stamp
    from sartor.stages.measure import evaluate
    from sartor.stages.measure.staging import lay_out_package
    from sartor.stages.train import train
    from sartor.types import DataSource, Network

    generator = np.random.default_rng(0)
    patterns = generator.normal(128, 60, (12, 8, 6)).repeat(6, 1).repeat(6, 2)
    pictures = np.clip(patterns.repeat(5, 0) + generator.normal(0, 12, (60, 48, 36)), 0, 255).astype(np.uint8)
    np.savez(tmp_path / "faces.npz", images=pictures, person=np.arange(60) // 5)
    source = DataSource(str(tmp_path / "faces.npz"), label="person", options={"test_people": "8-11"})
    workspace = Workspace(tmp_path / "workspace")
    card = prepare(PrepareJob(source, TASK.name, 0, stamp(source)), workspace).card
    family = registry.get("models", "gabor-fisher")
    variant = next(iter(family.variants(card, TASK.input_sizes(card), "quick")))
    network = Network("gabor-fisher", variant.name, dict(variant.options), variant.input_size, len(card.labels))
    recipe = family.recipe(network, 40, 1.0)
    trained = train(TrainJob(TASK.name, network, card.fingerprint, recipe, 0, 1), workspace)
    job = ExportJob(TASK.name, network, card.fingerprint, trained.weights.sha256, 1, 0)
    file = export(job, workspace).artifact
    pipeline = Pipeline(TASK.name, card.labels, network.input_size, "model.onnx", "onnxruntime", "fp32", 1, 1)
    result = evaluate(EvaluateJob(file.sha256, pipeline, card.fingerprint, "test", "device", 0.95), workspace)
    values = {measurement.metric.name: measurement for measurement in result.measurements}
    assert values["auc"].value > 0.95
    assert values["rank_1"].value == 1
    assert values["tar_at_far_0_01"].n == 20
    rates = {row[0]: float(row[1]) for row in result.tables[0].rows}
    assert set(rates) == {"0.1", "0.01"}, "150 pairs of strangers show no rate of 0.1 %"

    lay_out_package(tmp_path / "package", file.sha256, pipeline, workspace)
    predictor = Predictor(tmp_path / "package")
    raws = [to_png(picture) for picture in pictures]
    gallery = Gallery.enrol(predictor, {"eight": raws[40:43], "nine": raws[45:48]}, threshold=rates["0.01"])
    assert gallery.identify(predictor, raws[43])["label"] == "eight"
    assert gallery.identify(predictor, raws[50])["label"] == "unknown"
    assert predictor.predict(raws[0])["label"] == "unknown"
    assert predictor.explain(raws[0]).kind == "regions"
