import numpy as np
import pytest

from sartor.media.mirror import mirror_evidence


def letters(mirror_half=False, n=400):
    """Fs and Ls on noise; with ``mirror_half`` every second one is mirrored."""
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 60, (n, 24, 24, 3), dtype=np.uint8)
    truths = generator.integers(0, 2, n)
    for index in range(n):
        shape = np.zeros((14, 10), bool)
        shape[:, :3] = True
        shape[:3] |= truths[index] == 0
        shape[6:9] |= truths[index] == 0
        shape[-3:] |= truths[index] == 1
        if mirror_half and index % 2:
            shape = shape[:, ::-1]
        row, column = generator.integers(0, 10), generator.integers(0, 14)
        pictures[index, row : row + 14, column : column + 10][shape] = 230
    return pictures, truths


def test_letters_have_handedness():
    verdict = mirror_evidence(*letters(), seed=0)
    assert not verdict["suits"]
    assert verdict["told_apart"] > 0.8


def test_letters_seen_from_both_sides_do_not():
    assert mirror_evidence(*letters(mirror_half=True), seed=0)["suits"]


def test_left_and_right_as_classes():
    """The mirrored set looks like the set, only the labels are wrong: question two must see it."""
    pictures, _ = letters(mirror_half=True)
    verdict = mirror_evidence(pictures, np.arange(len(pictures)) % 2, seed=0)
    assert not verdict["suits"]
    assert verdict["accuracy"] > verdict["accuracy_mirrored"] + 0.3


@pytest.mark.parametrize("n", [0, 1, 19])
def test_too_little_data_means_no_flips(n):
    pictures = np.zeros((n, 8, 8, 3), np.uint8)
    assert mirror_evidence(pictures, np.zeros(n, int), 0) == {"suits": False, "n": 0}


def test_flat_pictures_do_not_break_it():
    verdict = mirror_evidence(np.full((60, 2, 2, 3), 7, np.uint8), np.arange(60) % 2, 0)
    assert 0 <= verdict["told_apart"] <= 1


def test_same_seed_same_verdict():
    assert mirror_evidence(*letters(n=60), seed=3) == mirror_evidence(*letters(n=60), seed=3)
