"""Faces somewhere in a picture: found, laid straight, said where there is none; on drawn faces and on real ones."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from sartor import registry
from sartor.catalog.tasks.parts import faces_alignment as alignment
from sartor.errors import DataError, Refused
from sartor.media import faces
from sartor.types import DataCard, DataSource, SplitCard

TASK = registry.get("tasks", "face-recognition")
SHARED = Path(__file__).parents[4] / "shared" / "data"
GREY = (120, 130, 140)
POINTS = np.array([[0.37, 0.45], [0.63, 0.45], [0.5, 0.59], [0.5, 0.75]])
"""Eyes, tip of the nose and mouth of a drawn face, in shares of its side."""


@pytest.fixture(scope="module")
def detector():
    return faces.Detector(faces.bundled())


def drawn(side=160, tilt=0.0):
    """A face as a child draws it, which the detector takes for one."""
    picture = Image.new("RGB", (side, side), GREY)
    pen = ImageDraw.Draw(picture)

    def spot(x, y, width, height, colour):
        pen.ellipse([(x - width) * side, (y - height) * side, (x + width) * side, (y + height) * side], fill=colour)

    spot(0.5, 0.45, 0.36, 0.42, (70, 45, 30))
    spot(0.5, 0.52, 0.31, 0.40, (224, 172, 145))
    for x in (0.37, 0.63):
        spot(x, 0.45, 0.075, 0.04, (245, 245, 245))
        spot(x, 0.45, 0.035, 0.04, (40, 25, 20))
        pen.line([(x - 0.09) * side, 0.375 * side, (x + 0.09) * side, 0.375 * side], (70, 45, 30), side // 40)
    pen.polygon([(x * side, y * side) for x, y in ((0.5, 0.48), (0.455, 0.63), (0.545, 0.63))], fill=(200, 145, 120))
    spot(0.5, 0.75, 0.12, 0.035, (165, 70, 70))
    return picture.filter(ImageFilter.GaussianBlur(side / 80)).rotate(tilt, Image.BICUBIC, fillcolor=GREY)


def standing_in(width, height, *placed):
    """A picture of so many pixels with faces at (x, y) of their upper left corners."""
    picture = Image.new("RGB", (width, height), GREY)
    for face, place in placed:
        picture.paste(face, place)
    return np.asarray(picture)


@pytest.mark.parametrize("tilt", [0, 20, -20])
def test_points_of_a_face_are_where_they_were_drawn(detector, tilt):
    face = detector.largest(np.asarray(drawn(160, tilt)))
    angle = np.radians(tilt)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wanted = (POINTS - 0.5) @ turn * 160 + 80
    assert np.abs(face.points - wanted).max() < 0.08 * 160


def test_the_largest_face_is_taken_wherever_it_stands(detector):
    large, small = drawn(140), drawn(90)
    found = detector.largest(standing_in(400, 300, (small, (20, 20)), (large, (240, 140))))
    assert found.middle == pytest.approx((310, 215), abs=20)
    alone = detector.largest(standing_in(900, 700, (small, (780, 560))))
    assert alone.middle == pytest.approx((825, 608), abs=15), "small in a large picture: found by its parts"


def test_a_face_laid_straight_has_its_points_in_their_places(detector):
    picture = standing_in(320, 240, (drawn(130, 15), (150, 60)))
    straight = faces.straightened(picture, detector.largest(picture), (112, 112))
    again = detector.largest(straight)
    assert straight.shape == (112, 112, 3)
    assert np.abs(again.points / 112 - faces.PLACES).max() < 0.07
    assert abs(again.points[0, 1] - again.points[1, 1]) < 4, "the eyes are level"
    tall = faces.straightened(picture, detector.largest(picture), (128, 96))
    assert np.abs(detector.largest(tall).points - (faces.PLACES * 96 + [0, 16])).max() < 8


def test_similarity_is_found_again():
    generator = np.random.default_rng(0)
    points, angle = generator.normal(size=(4, 2)), 0.4
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    scale, found, shift = faces.similarity(points, 3 * points @ turn.T + [5, -2])
    assert scale == pytest.approx(3)
    assert found == pytest.approx(turn)
    assert shift == pytest.approx([5, -2])


def test_only_a_known_detector_is_loaded():
    with pytest.raises(Refused, match="none that is known"):
        faces.Detector(faces.bundled() + b"\0")


# ------------------------------------------------------------------------------------------------------- the task


def test_without_a_face_there_is_no_embedding_or_the_middle_part():
    blank = standing_in(64, 64)
    strict, lax = (
        alignment.aligner_of(name, alignment.detector_file(name)) for name in ("aligned", "aligned-or-whole")
    )
    assert not TASK.prepare(blank, (32, 32), strict).any()
    assert (TASK.prepare(blank, (32, 32), lax) == GREY).all()
    assert TASK.learn("", (32, 32), iter(()), []) == b""
    assert TASK.recall("", b"") is None


def test_no_face_ships_as_zeros():
    torch = pytest.importorskip("torch")
    shipped = TASK.wrap(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, 5)), {}).eval()
    pictures = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
    pictures[1, 4:] = 200
    with torch.no_grad():
        assert shipped(pictures).norm(dim=1).tolist() == pytest.approx([0, 1], abs=1e-4)


def surveyed(pictures, **options):
    facts = {"options": options} if options else {}
    return TASK.survey(iter(pictures), np.zeros(len(pictures), int), facts, 0)


def card(facts):
    return DataCard(TASK.name, "f", ("a",), {"train": SplitCard(8, {}, "t")}, (), facts)


def test_the_survey_says_whether_faces_have_to_be_found():
    cut_out = [np.asarray(drawn(size)) for size in (96, 100, 104)]
    photographs = [standing_in(320, 240, (drawn(90), (x, 30))) for x in (5, 100, 200)]
    assert not surveyed(cut_out)["aligned"]
    found = surveyed(photographs)
    assert found["aligned"]
    assert found["faces"]["found"] == 1
    assert [problem.code for problem in found["problems"]] == ["FACES_ALIGNED"]
    assert TASK.encoding(card(found)) == "aligned"
    assert TASK.input_sizes(card(found))[0] in ((64, 64), (80, 80))
    asked = found | {"options": {"without_face": "whole"}}
    assert TASK.encoding(card(asked)) == "aligned-or-whole"
    assert not surveyed(photographs, align="none")["aligned"]
    forced = surveyed([*cut_out, standing_in(100, 100)], align="detect")
    assert forced["aligned"]
    assert "in 1 of 4 pictures of train looked at no face was found" in forced["problems"][0].sentence
    with pytest.raises(DataError, match="in none of 2 pictures"):
        surveyed([standing_in(100, 100)] * 2, align="detect")


def test_options_have_their_words():
    with pytest.raises(DataError, match="data.align is 'yes'; it must be one of auto, detect, none"):
        TASK.read(DataSource("x", options={"align": "yes"}))


@pytest.mark.shared
def test_alignment_brings_real_faces_back():
    """Faces of AT&T turned, scaled and put somewhere in larger pictures: lost to the middle part, found by looking."""
    pytest.importorskip("torch")
    if not (SHARED / "orl_faces").is_dir():
        pytest.skip(f"the real data sets are absent: no {SHARED}")
    stored = np.load(SHARED / "orl_faces" / "orl_faces.npz")
    chosen = stored["subject"] < 24
    people, generator = stored["subject"][chosen], np.random.default_rng(0)
    cut_out = [np.repeat(face[..., None], 3, axis=2) for face in stored["images"][chosen]]
    photographs = [_photograph(face, generator) for face in cut_out]
    detect = alignment.aligner_of("aligned", alignment.detector_file("aligned"))
    best = _area_under_the_curve(cut_out, people, (56, 48), None)
    lost = _area_under_the_curve(photographs, people, (48, 64), None)
    found = _area_under_the_curve(photographs, people, (48, 48), detect)
    assert best > 0.93
    assert lost < 0.7
    assert found > best - 0.05


def _photograph(face, generator):
    """A face turned by up to 20 degrees, 0.6 to 1.4 times as large, in a picture of smooth patterns, 320 × 240."""
    factor, tilt = generator.uniform(0.6, 1.4), generator.uniform(-20, 20)
    small = Image.fromarray(face).resize((round(92 * factor), round(112 * factor)), Image.BILINEAR)
    mask = Image.new("L", small.size, 255).rotate(tilt, expand=True)
    turned = small.rotate(tilt, Image.BILINEAR, expand=True)
    patterns = generator.integers(40, 216, (6, 8), dtype=np.uint8)
    picture = Image.fromarray(patterns).resize((320, 240), Image.BICUBIC).convert("RGB")
    picture.paste(turned, tuple(int(generator.integers(0, 1 + max(0, room))) for room in
                                (320 - turned.width, 240 - turned.height)), mask)  # fmt: skip
    return np.asarray(picture)


def _area_under_the_curve(pictures, people, size, aligner):
    """Of strangers, the second half of the people, after fitting to the first."""
    import torch

    from sartor.types import Network

    family = registry.get("models", "gabor-fisher")
    prepared = torch.from_numpy(np.stack([TASK.prepare(picture, size, aligner) for picture in pictures]))
    learnt = people < people.max() / 2
    known = {str(person): 10 for person in np.unique(people[learnt])}
    data = DataCard(TASK.name, "f", tuple(known), {"train": SplitCard(int(learnt.sum()), known, "t")}, ())
    variant = next(iter(family.variants(data, [size], "quick")))
    module = family.build(Network("gabor-fisher", "", dict(variant.options), size, len(known))).eval()
    faces_in, owners = TASK.normalise(prepared, {}), torch.from_numpy(people).long()
    with torch.no_grad():
        family.fit(module, lambda: iter([(faces_in[learnt], owners[learnt])]))
        found = TASK.wrap(module, {}).eval()(prepared[~learnt]).numpy()
    labels = [str(person) for person in range(people.max() + 1)]
    return TASK.score(found, people[~learnt], labels, 0.95).values["auc"][0]
