"""Reading faces: who is tested by name or by a list of pairs, faces cut out of pictures, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sartor.errors import DataError
from sartor.evidence import Workspace
from sartor.jobs import PrepareJob
from sartor.media.image import decode, to_png
from sartor.reading.faces import Pair, cut_face, read_faces, read_pairs
from sartor.stages.data import prepare, stamp
from sartor.types import DataSource

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def face(seed, size=(48, 40)):
    return to_png(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


@pytest.fixture
def people(tmp_path):
    """Six people with three pictures each, in folders."""
    for number in range(6):
        folder = tmp_path / "faces" / f"P{number}"
        folder.mkdir(parents=True)
        for picture in range(3):
            (folder / f"P{number}_{picture + 1:04d}.jpg").write_bytes(face(10 * number + picture))
    return DataSource(str(tmp_path / "faces"))


def found(source):
    return {part.split: sorted({sample.label for sample in part.samples}) for part in read_faces(source)}


def options(source, **given):
    return replace(source, options=given)


def test_people_are_tested_by_name(people):
    assert found(people) == {"train": [f"P{number}" for number in range(6)]}
    assert found(options(people, test_people=["P4", "P5"])) == {"train": ["P0", "P1", "P2", "P3"], "test": ["P4", "P5"]}
    assert found(options(people, test_people="P0, P5"))["test"] == ["P0", "P5"]
    with pytest.raises(DataError, match="nobody called 'P7'"):
        found(options(people, test_people=["P7"]))


def test_people_are_tested_by_a_range_of_numbers(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (12, 20, 16), dtype=np.uint8)
    np.savez(tmp_path / "faces.npz", images=pictures, subject=np.repeat(np.arange(6), 2), shot=np.tile([1, 2], 6))
    source = DataSource(str(tmp_path / "faces.npz"), label="subject", options={"test_people": "4-5"})
    assert found(source) == {"train": ["0", "1", "2", "3"], "test": ["4", "5"]}
    with pytest.raises(DataError, match="nobody has a number from 8 to 9"):
        found(options(source, test_people="8-9"))
    (tmp_path / "pairs.csv").write_text("index_a,index_b,same,fold\n6,7,1,0\n6,11,0,1\n")
    assert found(options(source, pairs="pairs.csv"))["test"] == ["3", "5"]
    (tmp_path / "pairs.csv").write_text("index_a,index_b,same\n6,99,1\n")
    with pytest.raises(DataError, match="there is no picture 99"):
        found(options(source, pairs="pairs.csv"))


def test_pairs_of_labeled_faces_in_the_wild(people, tmp_path):
    path = tmp_path / "faces" / "pairs.txt"
    path.write_text("2\t1\nP1\t1\t3\nP1\t2\tP3\t1\nP3\t1\t2\nP3\t3\tP1\t1\n")
    pairs = read_pairs(path)
    assert pairs[0] == Pair("P1/P1_0001.jpg", "P1/P1_0003.jpg", True, 0, ("P1",))
    assert pairs[3] == Pair("P3/P3_0003.jpg", "P1/P1_0001.jpg", False, 1, ("P3", "P1"))
    assert found(options(people, pairs="pairs.txt"))["test"] == ["P1", "P3"]
    path.write_text("P1 one 3\n")
    with pytest.raises(DataError, match="'P1 one 3' is no pair"):
        read_pairs(path)


def test_pairs_by_place(people, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("path_1,path_2,same\nP0/P0_0001.jpg,P2/P2_0001.jpg,different\nP0/P0_0001.jpg,P0/P0_0002.jpg,same\n")
    assert found(options(people, pairs=str(path)))["test"] == ["P0", "P2"]
    path.write_text("path_1,path_2,same\na,b,maybe\n")
    with pytest.raises(DataError, match=r"row 1: 'maybe' in same is neither 1 nor 0"):
        read_pairs(path)
    path.write_text("left,right\na,b\n")
    with pytest.raises(DataError, match="it has left, right; it must have index_a, index_b and same"):
        read_pairs(path)
    with pytest.raises(DataError, match="is not a file"):
        found(options(people, pairs="nowhere.csv"))


def test_who_is_tested_is_said_once(people):
    with pytest.raises(DataError, match="both say who is tested"):
        found(options(people, pairs="pairs.txt", test_people=["P1"]))
    with pytest.raises(DataError, match=r"data\.test is given"):
        found(replace(options(people, test_people=["P1"]), test=people.train))


def test_faces_are_cut_out_of_pictures(tmp_path):
    picture = np.zeros((60, 80, 3), np.uint8)
    picture[10:30, 20:50] = (200, 0, 0)
    picture[40:60, 0:20] = (0, 200, 0)
    (tmp_path / "both.png").write_bytes(to_png(picture))
    rows = [
        "file,person,x,y,width,height",
        "both.png,red,20,10,30,20",
        "both.png,green,-5,40,25,40",
        "both.png,none,200,10,5,5",
        "both.png,none,a,b,c,d",
        "gone.png,none,1,1,2,2",
    ]
    (tmp_path / "faces.csv").write_text("\n".join(rows))
    (part,) = read_faces(DataSource(str(tmp_path / "faces.csv")))
    red, green, *broken = part.samples
    assert (red.label, decode(red.raw).shape) == ("red", (20, 30, 3))
    assert (decode(red.raw) == (200, 0, 0)).all()
    assert (decode(green.raw) == (0, 200, 0)).all()
    assert decode(green.raw).shape == (20, 20, 3)
    problems = [sample.problem for sample in broken]
    assert "holds no pixel of 80 × 60" in problems[0]
    assert "is not four numbers" in problems[1]
    assert "cannot be read" in problems[2]


def test_boxes_by_corners_and_no_box(tmp_path):
    (tmp_path / "a.png").write_bytes(face(1))
    (tmp_path / "corners.csv").write_text("path,label,left,top,right,bottom\na.png,x,5,6,15,26\n")
    (part,) = read_faces(DataSource(str(tmp_path / "corners.csv")))
    assert decode(next(iter(part.samples)).raw).shape == (20, 10, 3)
    (tmp_path / "plain.csv").write_text("path,identity\na.png,x\n")
    (part,) = read_faces(DataSource(str(tmp_path / "plain.csv")))
    assert next(iter(part.samples)).label == "x"
    with pytest.raises(DataError, match="holds no pixel"):
        cut_face(face(1), (10, 10, 10, 20))


def test_people_tested_are_never_learnt_from(people, tmp_path):
    source = options(people, test_people=["P1", "P2"])
    card = prepare(PrepareJob(source, "face-recognition", 0, stamp(source)), Workspace(tmp_path / "w")).card
    assert set(card.splits["test"].classes) == {"P1", "P2"}
    assert len(card.splits["validation"].classes) == 2
    assert set(card.labels[:2]) == set(card.splits["train"].classes)
    held = [set(split.classes) for split in card.splits.values()]
    assert sum(map(len, held)) == len(set.union(*held)) == 6


@pytest.mark.shared
@pytest.mark.slow
def test_att_faces_by_their_published_pairs():
    folder = SHARED / "orl_faces"
    if not folder.exists():
        pytest.skip(f"{folder} is absent")
    pairs = read_pairs(folder / "verification_pairs_subjects20-39.csv")
    assert len(pairs) == 1800
    assert sum(pair.same for pair in pairs) == 900
    source = DataSource(
        str(folder / "orl_faces.npz"), label="subject", options={"pairs": "verification_pairs_subjects20-39.csv"}
    )
    people = found(source)
    assert people["test"] == sorted(str(number) for number in range(20, 40))
    assert len(people["train"]) == 20
