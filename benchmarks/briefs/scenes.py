"""Sets whose truths are no single word: boxes, masks, people, baskets and opinions; and those of them read in place.

Made-up sets are simple enough that what is possible is known by construction: a threshold finds every square. Where a
set is read in place nothing is fitted here: what is possible is what peers reached in the recorded contests.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from briefs.facts import Array, Facts, fastest_ms, mean_proven, rmse_proven
from sartor.media.image import decode, to_png

if TYPE_CHECKING:
    from briefs.subjects import Made

SIDE = 64
TOLD = "known by construction"


def _made(data: dict[str, Any], facts: Facts, fresh: str = "") -> Made:
    from briefs.subjects import Made

    return Made(data, facts, fresh)


def _scene(chance: np.random.Generator) -> tuple[Array, tuple[int, int, int]]:
    """Noise with one bright square: the picture, and left, top and width."""
    picture = chance.integers(0, 90, (SIDE, SIDE, 3), dtype=np.uint8)
    wide = int(chance.integers(SIDE // 4, SIDE // 2))
    left, top = (int(edge) for edge in chance.integers(4, SIDE - wide - 4, 2))
    picture[top : top + wide, left : left + wide] += 150
    return picture, (left, top, wide)


def _decode_ms() -> float:
    return fastest_ms(decode, [to_png(_scene(np.random.default_rng(0))[0])])


def boxes(folder: Path, chance: np.random.Generator, shifted: float = 0.0) -> Made:
    """Pictures with a square and its box; ``shifted`` moves every box by that share of its side along both edges.

    Boxes moved by 0.3 in one of four directions overlap the square by (1 - 0.3)² / (2 - (1 - 0.3)²) = 0.32, and each
    other by less than 0.32 or not at all, but for the half of the pairs that differ along one edge only (0.25): who
    guesses one of the four finds a quarter of them at an overlap of 0.75.
    """
    for part, count in (("train", 360), ("test", 200), ("fresh", 200)):
        place = folder / part
        place.mkdir()
        images, found = [], []
        for number in range(count):
            picture, (left, top, wide) = _scene(chance)
            (place / f"{number}.png").write_bytes(to_png(picture))
            move = chance.choice([-1, 1], 2) * shifted * wide
            x, y = np.clip((left, top) + move, 0, SIDE - wide).tolist()
            images.append({"id": number, "file_name": f"{number}.png", "width": SIDE, "height": SIDE})
            found.append({"id": number, "image_id": number, "category_id": 1, "bbox": [x, y, wide, wide],
                          "area": wide * wide, "iscrowd": 0})  # fmt: skip
        told = {"images": images, "annotations": found, "categories": [{"id": 1, "name": "square"}]}
        (place / "annotations.json").write_text(json.dumps(told))
    data = {"train": str(folder / "train"), "test": str(folder / "test")}
    if shifted:
        facts = Facts("map_75", False, 0.0, 0.0, 0.0, _decode_ms(), 3.0, ceiling=0.3, told=TOLD)
    else:
        facts = Facts("map_50", False, 0.1, 0.85, 0.95, _decode_ms(), 3.0, told=f"{TOLD}: a threshold finds all")
    return _made(data, facts, str(folder / "fresh"))


def masks(folder: Path, chance: np.random.Generator, mislabelled: bool = False) -> Made:
    """Pictures with a square and its mask; mislabelled ones are of one of two classes by the toss of a coin."""
    from PIL import Image

    for part, count in (("train", 240), ("test", 120), ("fresh", 120)):
        for kind in ("images", "masks"):
            (folder / part / kind).mkdir(parents=True)
        names = "ground\nsquare\nother square\n" if mislabelled else "ground\nsquare\n"
        (folder / part / "classes.txt").write_text(names)
        for number in range(count):
            picture, (left, top, wide) = _scene(chance)
            mask = np.zeros((SIDE, SIDE), np.uint8)
            mask[top : top + wide, left : left + wide] = 1 + (mislabelled and int(chance.integers(2)))
            (folder / part / "images" / f"{number}.png").write_bytes(to_png(picture))
            buffer = io.BytesIO()
            Image.fromarray(mask).save(buffer, "PNG")
            (folder / part / "masks" / f"{number}.png").write_bytes(buffer.getvalue())
    data = {"train": str(folder / "train"), "test": str(folder / "test")}
    if mislabelled:  # a half of the squares at most is right for either class: overlaps 1, 1/3 and 1/3, or 1, 1/2 and 0
        facts = Facts("mean_iou", False, 0.25, 0.0, 0.0, _decode_ms(), 3.0, ceiling=0.58, told=TOLD)
    else:
        facts = Facts("mean_iou", False, 0.4, 0.85, 0.92, _decode_ms(), 3.0, told=f"{TOLD}: a threshold finds all")
    return _made(data, facts, str(folder / "fresh"))


def faces(folder: Path, chance: np.random.Generator, twins: bool = False) -> Made:
    """People as coarse patterns under noise; of twins two names share one face, by the toss of a coin per picture."""
    people, each, side = 40, 8, 40
    patterns = chance.integers(0, 200, (people, 5, 5, 1))
    for person in range(people):
        own = patterns[person // 2 * 2] if twins else patterns[person]
        place = folder / "faces" / f"person{person:02}"
        place.mkdir(parents=True)
        for number in range(each):
            coarse = np.kron(own, np.ones((side // 5, side // 5, 3)))
            picture = np.clip(coarse + chance.integers(0, 56, coarse.shape), 0, 255).astype(np.uint8)
            (place / f"{number}.png").write_bytes(to_png(picture))
    # the nearest of all other pictures is one of 7 of the same person or 8 of the twin: at most a half and noise
    ceiling = 0.7 if twins else None
    light = 0.0 if twins else 0.8
    facts = Facts("rank_1", False, 0.05, light, light, _decode_ms(), 3.0, ceiling=ceiling, told=TOLD)
    return _made({"train": str(folder / "faces")}, facts)


def _interactions(path: Path, rows: list[tuple[object, ...]]) -> dict[str, Any]:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("user", "item", "rating", "timestamp"), *rows])
    return {"train": str(path)}


def baskets(folder: Path, chance: np.random.Generator) -> Made:
    """Users of eight tastes, of 60 items each; what comes next is any of the taste, and ten of those left are a fifth.

    Popularity finds ten of 480 items.
    """
    rows: list[tuple[object, ...]] = []
    hits = []
    for user in range(600):
        items = chance.permutation(60)[:14] + 60 * (user % 8)
        rows += [(f"u{user}", f"i{item}", 5, 1000 * user + moment) for moment, item in enumerate(items)]
        hits.append(float(chance.random() < 10 / 47))
    data = _interactions(folder / "baskets.csv", rows)
    proven = mean_proven(np.array(hits))
    facts = Facts("hit_rate_at_10", False, 10 / 480, proven, proven, 0.001, 0.5, ceiling=10 / 46, told=TOLD)
    return _made(data, facts)


def opinions(folder: Path, chance: np.random.Generator) -> Made:
    """Ratings: the mean, the user's and the item's deviation, and normal noise of 0.6; 1.1 is the deviation of all."""
    users, items = chance.normal(0, 0.55, 500), chance.normal(0, 0.75, 120)
    rows: list[tuple[object, ...]] = []
    lasts = []
    for user in range(500):
        for moment, item in enumerate(chance.permutation(120)[:24]):
            noise = float(chance.normal(0, 0.6))
            rows.append((f"u{user}", f"i{item}", round(3 + users[user] + items[item] + noise, 2), 1000 * user + moment))
        lasts.append(noise)
    data = _interactions(folder / "opinions.csv", rows)
    errors = (
        np.array(lasts) * (1 + 1 / 22) ** 0.5 * 1.02
    )  # the user's deviation is known from 22 ratings, the item's better
    proven, ceiling = rmse_proven(errors, np.zeros_like(errors)), float(np.sqrt(np.square(lasts).mean()))
    return _made(data, Facts("rmse", True, 1.1, proven, proven, 0.001, 0.5, ceiling=ceiling, told=TOLD))


# ------------------------------------------------------------------------------------------------ read in place


def _in_place(path: str, facts: Facts, **further: Any) -> Made:
    from briefs.subjects import SHARED

    return _made({"train": str(SHARED / path), **further}, facts)


def blood_cells(folder: Path, chance: np.random.Generator) -> Made:
    """All of it. The contest's FCOS reached mAP 50 0.26 in 148 s (``results/tasks/object-detection-*``)."""
    facts = Facts("map_50", False, 0.05, 0.2, 0.26, 1.5, 40.0, told="the recorded contest: FCOS reached 0.26")
    return _in_place("bccd_voc/bccd.tar", facts, format="voc")


def street_scenes(folder: Path, chance: np.random.Generator) -> Made:
    """All of it. The contest's U-Net reached a mean IoU of 0.20 (``results/tasks/image-segmentation-*``)."""
    facts = Facts("mean_iou", False, 0.1, 0.17, 0.2, 0.5, 40.0, told="the recorded contest: U-Net reached 0.20")
    return _in_place("camvid_320/camvid_320.tar", facts)


def orl_faces(folder: Path, chance: np.random.Generator) -> Made:
    """All of it, twenty people judged. Eigenfaces reached rank 1 0.965, binary patterns 0.995 in the contest."""
    facts = Facts("rank_1", False, 0.05, 0.92, 0.95, 0.05, 3.0, told="the recorded contest: eigenfaces reached 0.965")
    pairs = {"label": "subject", "pairs": "verification_pairs_subjects20-39.csv"}
    return _in_place("orl_faces/orl_faces.npz", facts, **pairs)


def movielens(folder: Path, chance: np.random.Generator) -> Made:
    """All of it. ALS of implicit reached an NDCG@10 of 0.039 in the contest, popularity 0.018."""
    facts = Facts("ndcg_at_10", False, 0.018, 0.024, 0.028, 0.001, 1.0, told="the recorded contest: ALS reached 0.039")
    return _in_place("movielens_latest_small/ratings_leave_last_out.parquet", facts)


def movie_ratings(folder: Path, chance: np.random.Generator) -> Made:
    """All of it. Deviations of users and films reach an RMSE of 0.971, the mean 1.117 (the set's own baseline)."""
    facts = Facts("rmse", True, 1.117, 1.04, 1.035, 0.001, 1.0, told="the set's bias model: RMSE 0.971")
    return _in_place("movielens_latest_small/ratings_leave_last_out.parquet", facts)
