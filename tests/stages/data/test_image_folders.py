import os
import shutil

import pytest

from sartor.errors import DataError
from sartor.prepared import open_data


def test_a_sound_folder(tmp_path, fill, prepared, workspace):
    card = prepared(fill(tmp_path / "d", cat=20, dog=30), licence="CC0-1.0")
    assert card.labels == ("cat", "dog")
    assert {name: split.samples for name, split in card.splits.items()} == {"train": 32, "validation": 8, "test": 10}
    assert card.splits["test"].classes == {"cat": 4, "dog": 6}
    assert card.facts["sizes"] == {"smallest": [12, 10], "median": [12, 10], "largest": [12, 10]}
    assert card.facts["modes"] == {"RGB": 50}
    assert "20.0% of train" in card.facts["split"]["test"]
    assert card.licence == "CC0-1.0"
    assert [problem.code for problem in card.problems] == ["SMALL_CLASS"]
    train = open_data(card.fingerprint, workspace).split("train")
    for index in (0, len(train) - 1):
        assert train.raw(index) == (tmp_path / "d" / train.place(index)).read_bytes()
        assert card.labels[train.truths[index]] == train.place(index).split("/")[0]


def test_same_data_same_card_other_seed_other_split(tmp_path, fill, prepared):
    folder = fill(tmp_path / "d", cat=20, dog=20)
    assert prepared(folder) == prepared(folder)
    assert prepared(folder).fingerprint != prepared(folder, seed=1).fingerprint


def test_given_splits_are_kept(tmp_path, fill, prepared):
    train, test = fill(tmp_path / "a", cat=20, dog=20), fill(tmp_path / "b", cat=5, dog=5, seed=1)
    validation = fill(tmp_path / "c", cat=4, dog=4, seed=2)
    card = prepared(train, test=test, validation=validation)
    assert {name: split.samples for name, split in card.splits.items()} == {"train": 40, "validation": 8, "test": 10}
    assert set(card.facts["split"].values()) == {"given"}
    assert {name: split.samples for name, split in prepared(train, test=test).splits.items()}["train"] == 32


def test_folder_of_splits(tmp_path, fill, prepared):
    fill(tmp_path / "d" / "train", cat=20, dog=20)
    fill(tmp_path / "d" / "val", cat=5, dog=5, seed=1)
    card = prepared(tmp_path / "d")
    assert card.splits["validation"].samples == 10
    assert card.facts["split"]["validation"] == "given"


def test_a_class_called_train_among_others_is_a_class(tmp_path, fill, prepared):
    assert prepared(fill(tmp_path / "d", train=10, bus=10)).labels == ("bus", "train")


def test_nested_hidden_and_other_files(tmp_path, fill, prepared, picture, problem):
    folder = fill(tmp_path / "d", cat=10, dog=10)
    (folder / "cat" / "deep" / "er").mkdir(parents=True)
    (folder / "cat" / "deep" / "er" / "X.PNG").write_bytes(picture(999))
    (folder / "cat" / ".DS_Store").write_bytes(b"x")
    (folder / "__MACOSX").mkdir()
    (folder / "dog" / "notes.txt").write_text("hello")
    card = prepared(folder)
    assert sum(split.samples for split in card.splits.values()) == 21
    assert problem(card, "IGNORED_FILES").examples == ("dog/notes.txt",)


def test_links_are_followed_once_and_loops_end(tmp_path, fill, prepared, picture):
    folder = fill(tmp_path / "d", cat=10)
    fill(tmp_path / "elsewhere", pups=10, seed=1)
    (folder / "dog").symlink_to(tmp_path / "elsewhere" / "pups")
    (folder / "cat" / "loop").symlink_to(folder / "cat")
    card = prepared(folder)
    assert {label: sum(s.classes[label] for s in card.splits.values()) for label in card.labels} == {
        "cat": 10,
        "dog": 10,
    }


def test_dangling_link_and_pipe_do_not_block(tmp_path, fill, prepared, problem):
    folder = fill(tmp_path / "d", cat=10, dog=10)
    (folder / "cat" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(folder / "cat" / "pipe.png")
    card = prepared(folder)
    assert problem(card, "BROKEN").examples == ("cat/gone.png: the file does not exist",)
    assert problem(card, "IGNORED_FILES").examples == ("cat/pipe.png",)


def test_file_name_that_is_not_utf8(tmp_path, fill, prepared, picture, workspace):
    folder = fill(tmp_path / "d", cat=10, dog=10)
    name = os.fsencode(folder / "cat") + b"/\xff\xfe.png"
    with open(name, "wb") as file:
        file.write(picture(77))
    with open(os.fsencode(folder / "dog") + b"/\xff.png", "wb") as file:
        file.write(b"broken")
    card = prepared(folder)
    places = {}
    data = open_data(card.fingerprint, workspace)
    for split in card.splits:
        samples = data.split(split)
        places |= {samples.place(i): samples.raw(i) for i in range(len(samples))}
    assert picture(77) in places.values()


# ------------------------------------------------------------------------------------------- found and reported


def test_broken_samples_are_counted_and_named(tmp_path, fill, prepared, picture, problem):
    folder = fill(tmp_path / "d", cat=15, dog=15)
    (folder / "cat" / "text.png").write_text("not a picture at all")
    (folder / "cat" / "cut.png").write_bytes(picture(5000)[:200])
    (folder / "dog" / "empty.png").write_bytes(b"")
    card = prepared(folder)
    broken = problem(card, "BROKEN")
    assert broken.count == 2
    assert "2 of 33 samples" in broken.sentence
    assert any("text file" in example for example in broken.examples)
    assert problem(card, "EMPTY").examples == ("dog/empty.png: the file is empty",)
    assert sum(split.samples for split in card.splits.values()) == 30


def test_pictures_outside_class_folders_are_unlabelled(tmp_path, fill, prepared, picture, problem):
    folder = fill(tmp_path / "d", cat=10, dog=10)
    (folder / "loose.png").write_bytes(picture(50))
    assert problem(prepared(folder), "UNLABELLED").examples == ("loose.png",)


def test_exact_copies_in_train_are_kept_and_stay_together(tmp_path, fill, prepared, problem, workspace):
    folder = fill(tmp_path / "d", cat=20, dog=20)
    for index in range(15):
        shutil.copy(folder / "cat" / "000.png", folder / "cat" / f"copy{index}.png")
    card = prepared(folder)
    found = problem(card, "DUPLICATE")
    assert found.count == 15
    assert "exact copies" in found.sentence
    data = open_data(card.fingerprint, workspace)
    holding = []
    for split in card.splits:
        samples = data.split(split)
        places = {samples.place(index) for index in range(len(samples))}
        holding.append("cat/000.png" in places)
        assert ("cat/copy3.png" in places) == ("cat/000.png" in places)
    assert sum(holding) == 1


def test_test_samples_in_train_are_removed_from_train(tmp_path, fill, prepared, problem):
    train, test = fill(tmp_path / "a", cat=20, dog=20), fill(tmp_path / "b", cat=5, dog=5, seed=1)
    shutil.copy(test / "cat" / "001.png", train / "cat" / "leak.png")
    validation = fill(tmp_path / "c", cat=5, dog=5, seed=2)
    card = prepared(train, test=test, validation=validation)
    found = problem(card, "LEAK")
    assert (found.split, found.count) == ("train", 1)
    assert found.examples == ("cat/leak.png (train) = cat/001.png (test)",)
    assert "removed from train" in found.sentence
    assert (card.splits["train"].samples, card.splits["test"].samples) == (40, 10)


def test_leaks_between_all_pairs_of_splits(tmp_path, fill, prepared):
    train, test = fill(tmp_path / "a", cat=20, dog=20), fill(tmp_path / "b", cat=5, dog=5, seed=1)
    validation = fill(tmp_path / "c", cat=5, dog=5, seed=2)
    shutil.copy(validation / "dog" / "000.png", train / "dog" / "leak.png")
    shutil.copy(test / "dog" / "000.png", validation / "dog" / "leak.png")
    card = prepared(train, test=test, validation=validation)
    leaks = {(problem.split, problem.count) for problem in card.problems if problem.code == "LEAK"}
    assert leaks == {("train", 1), ("validation", 1)}
    assert {name: split.samples for name, split in card.splits.items()} == {"train": 40, "validation": 10, "test": 10}


def test_conflicting_labels(tmp_path, fill, prepared, problem):
    folder = fill(tmp_path / "d", cat=20, dog=20)
    shutil.copy(folder / "cat" / "004.png", folder / "dog" / "same.png")
    found = problem(prepared(folder), "CONFLICTING_LABELS")
    assert found.count == 2
    assert found.examples == ("cat/004.png says cat but dog/same.png says dog",)


def test_near_copies_are_reported_and_kept(tmp_path, prepared, problem):
    import io

    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "d" / label).mkdir(parents=True)
        for index in range(15):
            coarse = Image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8))
            coarse.resize((48, 48), Image.Resampling.BICUBIC).save(tmp_path / "d" / label / f"{index}.png")
    again = Image.open(tmp_path / "d" / "cat" / "7.png")
    file = io.BytesIO()
    again.save(file, "JPEG", quality=80)
    (tmp_path / "d" / "cat" / "again.jpg").write_bytes(file.getvalue())
    card = prepared(tmp_path / "d")
    found = [problem for problem in card.problems if problem.code.startswith("NEAR")]
    assert [problem.count for problem in found] == [1]
    assert "cat/7.png" in found[0].examples[0]
    assert "cat/again.jpg" in found[0].examples[0]
    assert sum(split.samples for split in card.splits.values()) == 31


def test_imbalance_is_remarked(tmp_path, fill, prepared, problem):
    assert "'cat' has" in problem(prepared(fill(tmp_path / "d", cat=120, dog=8)), "IMBALANCE").sentence


# ------------------------------------------------------------------------------------------------------ refused


def test_missing_folder_gets_the_nearest_name(tmp_path, fill, prepared):
    fill(tmp_path / "photos" / "train", cat=3, dog=3)
    with pytest.raises(DataError, match=r"data\.train: .*photos/trian does not exist. Did you mean .*photos/train\?"):
        prepared(tmp_path / "photos" / "trian")
    with pytest.raises(DataError, match=r"Did you mean .*/photos\?"):
        prepared(tmp_path / "fotos" / "train")


def test_no_class_folders(tmp_path, prepared, picture):
    (tmp_path / "d").mkdir()
    with pytest.raises(DataError, match="it holds no folder"):
        prepared(tmp_path / "d")
    (tmp_path / "d" / "a.png").write_bytes(picture(0))
    with pytest.raises(DataError, match="1 pictures lie in it directly"):
        prepared(tmp_path / "d")


def test_a_folder_too_high(tmp_path, fill, prepared):
    fill(tmp_path / "d" / "images", cat=9, dog=9)
    with pytest.raises(DataError, match=r"Did you mean .*/d/images\?"):
        prepared(tmp_path / "d")


def test_empty_class_folder_is_named(tmp_path, fill, prepared):
    folder = fill(tmp_path / "d", cat=9, dog=9)
    (folder / "emu").mkdir()
    with pytest.raises(DataError, match="d/emu: this class folder holds no pictures"):
        prepared(folder)


def test_one_class_one_image_too_few(tmp_path, fill, prepared):
    with pytest.raises(DataError, match="all 9 samples have the same label, 'cat'"):
        prepared(fill(tmp_path / "one", cat=9))
    with pytest.raises(DataError, match="only 1 sample"):
        prepared(fill(tmp_path / "single", cat=1))
    with pytest.raises(DataError, match="class 'dog' has 2 different samples; at least 3 .* validation and test"):
        prepared(fill(tmp_path / "few", cat=9, dog=2))
    numbers = {str(number): 1 for number in range(25)}
    with pytest.raises(DataError, match="class '0' .and 24 more classes. has too few samples, and all .* are numbers"):
        prepared(fill(tmp_path / "numbers", **numbers))
    with pytest.raises(DataError, match="at least 50 are needed"):
        prepared(fill(tmp_path / "least", cat=9, dog=9), min_class_samples=50)


def test_labels_in_test_that_train_lacks(tmp_path, fill, prepared):
    train, test = fill(tmp_path / "a", cat=9, dog=9), fill(tmp_path / "b", cat=4, dogs=4, seed=1)
    with pytest.raises(DataError, match=r"data\.test: train has no samples of 'dogs'.*Did you mean 'dog'\?"):
        prepared(train, test=test)


def test_too_many_broken(tmp_path, fill, prepared):
    folder = fill(tmp_path / "d", cat=10, dog=10)
    for index in range(9):
        (folder / "cat" / f"bad{index}.jpg").write_text("nothing")
    with pytest.raises(
        DataError, match=r"9 of 29 samples are broken \(31%\), more than the 30% .* the first: cat/bad0.jpg"
    ):
        prepared(folder)
    assert prepared(folder, max_broken_share=0.5).splits["train"].samples > 0


def test_nothing_usable(tmp_path, prepared):
    (tmp_path / "d" / "cat").mkdir(parents=True)
    (tmp_path / "d" / "cat" / "a.png").write_text("x")
    with pytest.raises(DataError, match="none of its 1 samples can be used; the first: cat/a.png: it is a text file"):
        prepared(tmp_path / "d")


def test_train_that_is_all_in_test(tmp_path, fill, prepared):
    with pytest.raises(DataError, match="nothing is left of it"):
        prepared(fill(tmp_path / "a", cat=9, dog=9), test=fill(tmp_path / "b", cat=9, dog=9))


@pytest.mark.parametrize(
    ("option", "value"),
    [("max_broken_share", 2), ("test_share", "half"), ("validation_share", True), ("min_class_samples", -1)],
)
def test_options_are_checked(tmp_path, fill, prepared, option, value):
    with pytest.raises(DataError, match=f"data.{option} is"):
        prepared(fill(tmp_path / "d", cat=9, dog=9), **{option: value})


def test_folders_that_cannot_be_read(tmp_path, fill, prepared, monkeypatch):
    folder = fill(tmp_path / "d", cat=9, dog=9)
    (folder / "cat" / "locked").mkdir()
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match=r"cat/locked: the folder cannot be read \(Permission denied\)"):
        prepared(folder)


def test_a_path_too_long(prepared):
    with pytest.raises(DataError, match=r"data\.train: .* cannot be read \(File name too long\)"):
        prepared("/tmp/" + "x" * 5000)


def test_a_file_of_another_kind(tmp_path, prepared):
    (tmp_path / "data.xlsx").write_bytes(b"x")
    with pytest.raises(DataError, match="data.xlsx is not a kind of data"):
        prepared(tmp_path / "data.xlsx")
