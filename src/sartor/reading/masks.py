"""Reads scenes: pictures with a mask each, in folders or in a tar, or with COCO outlines that masks are drawn from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from sartor.errors import DataError
from sartor.media.image import SUFFIXES
from sartor.media.masks import IGNORED, read_ids, write_mask
from sartor.reading.coco_masks import Scenes, draw, read_scenes, split_word
from sartor.reading.mask_classes import (
    Classes,
    Numbering,
    black_and_white,
    declared_classes,
    in_words,
    settled,
    undeclared_classes,
)
from sartor.reading.sample import SPLIT_NAMES, Part, Sample
from sartor.reading.trees import Tree, open_tree
from sartor.types import DataProblem, DataSource, Split

Array = np.ndarray[Any, np.dtype[Any]]

OPTIONS = frozenset({"classes", "ignore"})
"""Keys of ``data`` that are read here: a list of class names or a file of them; numbers or names to ignore."""

PICTURE_FOLDERS = ("images", "image", "img", "imgs", "pictures", "photos", "jpegimages", "leftimg8bit", "rgb")
MASK_FOLDERS = (
    *("masks", "mask", "semantic_masks", "segmentationclass", "gtfine", "gt", "ground_truth", "segmentation"),
    *("segmentations", "semantic", "semantic_labels", "annotations", "annotation", "labels", "label"),
)
_MASK_ENDS = (
    *("_gtfine_labeltrainids", "_gtfine_labelids", "_segmentation", "_masks", "_mask", "_labels", "_label"),
    *("_seg", "_gt", "_l"),
)
_PICTURE_ENDS = ("_leftimg8bit", "_image", "_img")
LOOKED_AT = 50  # masks, to tell black and white ones
EXAMPLES = 5


@dataclass
class _Scene:
    """One picture with its mask: a file's name, or a drawing to be made. Either may be missing."""

    picture: str = ""
    mask: str = ""
    drawn: Callable[[], Array] | None = None


@dataclass
class _Found:
    """The scenes of one split in one tree."""

    tree: Tree
    split: Split
    scenes: list[_Scene]
    classes: Classes
    alone: list[str] = field(default_factory=list)  # masks without a picture


def read_scenes_of(source: DataSource) -> list[Part]:
    """The parts of a source: splits that folders or annotation files are named after, else one part per address.

    Truths are PNG files of class places with the class names inside (``media.masks``); all parts number classes alike.

    Raises:
        DataError: a path does not exist, or holds no pictures with masks.
    """
    given: dict[Split, str] = {"train": source.train, "validation": source.validation, "test": source.test}
    whole = not source.validation and not source.test
    found: list[_Found] = []
    for split, address in given.items():
        if address:
            found += _open(address, split, source, may_hold_splits=whole)
    names = list(dict.fromkeys(name for part in found for name in part.classes.names))
    shown: set[int] = set()  # places of classes that train shows, known once train was read, which comes first
    learns = any(part.split == "train" for part in found)
    return [_part(part, names, shown, judges=learns and part.split != "train") for part in found]


def _open(address: str, split: Split, source: DataSource, *, may_hold_splits: bool) -> list[_Found]:
    tree = open_tree(address, split)
    keyed = {} if tree.chosen else _paired(tree)
    if not any(scene.mask for scene in keyed.values()):
        return _from_coco(tree, split, source, may_hold_splits=may_hold_splits)
    groups, alone = _split(tree, keyed, split, may_hold_splits=may_hold_splits)
    classes = _classes(tree, source, [scene for scenes in groups.values() for scene in scenes])
    return [
        _Found(tree, name, scenes, classes, alone if position == 0 else [])
        for position, (name, scenes) in enumerate(groups.items())
    ]


# ------------------------------------------------------------------------------------- pictures with mask files


def _paired(tree: Tree) -> dict[tuple[str, ...], _Scene]:
    """Scenes by what the paths of picture and mask have in common: ``images/train/a.jpg`` is ("train", "a")."""
    keyed: dict[tuple[str, ...], _Scene] = {}
    rank: dict[tuple[str, ...], int] = {}
    for name in tree.names:
        path = PurePosixPath(name)
        if path.suffix.lower() not in SUFFIXES:
            continue
        folders = [part.lower() for part in path.parts[:-1]]
        kinds = [place for place, part in enumerate(folders) if part in PICTURE_FOLDERS or part in MASK_FOLDERS]
        if not kinds:
            continue
        kind = folders[kinds[0]]
        rest = (*path.parts[: kinds[0]], *path.parts[kinds[0] + 1 : -1])
        if kind in PICTURE_FOLDERS:
            keyed.setdefault((*rest, _stem(path.stem, _PICTURE_ENDS)), _Scene()).picture = name
            continue
        key = (*rest, _stem(path.stem, _MASK_ENDS))
        place = MASK_FOLDERS.index(kind)
        if place < rank.get(key, len(MASK_FOLDERS)):  # of two folders of masks the one named more clearly
            rank[key] = place
            keyed.setdefault(key, _Scene()).mask = name
    return keyed


def _stem(stem: str, ends: Sequence[str]) -> str:
    end = next((end for end in ends if stem.lower().endswith(end) and len(stem) > len(end)), "")
    return stem[: len(stem) - len(end)]


def _split(
    tree: Tree, keyed: Mapping[tuple[str, ...], _Scene], split: Split, *, may_hold_splits: bool
) -> tuple[dict[Split, list[_Scene]], list[str]]:
    """Scenes with a picture by split, and masks without one."""
    lists = _listed(tree) if may_hold_splits else {}
    named = {_folder_split(key) for key, scene in keyed.items() if scene.picture}
    by_folder = may_hold_splits and "train" in named and len(named - {None}) > 1
    groups: dict[Split, list[_Scene]] = {}
    alone = []
    for key, scene in keyed.items():
        if not scene.picture:
            alone.append(scene.mask)
            continue
        name = lists.get(key[-1]) if lists else _folder_split(key) if by_folder else split
        if name is not None:
            groups.setdefault(name, []).append(scene)
    if not any(scene.mask for scenes in groups.values() for scene in scenes):
        raise DataError(
            f"{tree.title}: no mask belongs to a picture; give both the same name, images/a.jpg masks/a.png"
        )
    order: tuple[Split, ...] = ("train", "validation", "test")
    return {name: groups[name] for name in order if name in groups}, alone


def _folder_split(key: Sequence[str]) -> Split | None:
    """The split that one of a key's folders is named after, a year behind the name left out."""
    words = (re.sub(r"[\d_-]+$", "", part.lower()) for part in key[:-1])
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)


def _listed(tree: Tree) -> dict[str, Split]:
    """Picture's stem to split, from PASCAL VOC's lists ``ImageSets/Segmentation/train.txt``; empty without them."""
    found: dict[str, Split] = {}
    for name in tree.names:
        match = re.search(r"(?:^|/)ImageSets/Segmentation/(train|val|test)\.txt$", name)
        if match:
            found |= dict.fromkeys(tree.read(name).decode(errors="replace").split(), SPLIT_NAMES[match[1]])
    return found


def _classes(tree: Tree, source: DataSource, scenes: Sequence[_Scene]) -> Classes:
    """What the numbers mean. Where nobody says, every mask is looked at once more."""
    classes = declared_classes(tree, source)
    masks = [scene.mask for scene in scenes if scene.mask]
    found = np.zeros(0, np.int32)
    for name in masks if classes is None else masks[:LOOKED_AT]:
        try:
            found = np.union1d(found, read_ids(tree.read(name)))
        except DataError:
            continue  # counted as broken when its picture's turn comes
    return undeclared_classes(found, source) if classes is None else black_and_white(classes, found, source)


# ------------------------------------------------------------------------------------------- COCO annotations


def _from_coco(tree: Tree, split: Split, source: DataSource, *, may_hold_splits: bool) -> list[_Found]:
    """Scenes of annotation files: that one, or all that the tree holds, by the split in their name."""
    only = tree.chosen
    files = [only] if only else [name for name in tree.names if name.lower().endswith(".json")]
    documents = [scenes for name in files if (scenes := read_scenes(tree, name)) is not None]
    if not documents:
        what = f"{only} holds no outlines" if only else "there are no masks of the same name as pictures"
        raise DataError(
            f"{tree.title}: {what}; give images/ and masks/ with files of the same name, or a COCO .json with "
            "segmentation"
        )
    by_split: dict[Split, Scenes] = {}
    for scenes in documents:
        name = SPLIT_NAMES.get(split_word(scenes.name), "train") if may_hold_splits and not only else split
        if name in by_split and (may_hold_splits or only):
            raise DataError(f"{tree.title}: {by_split[name].name} and {scenes.name} both hold {name}; name one of them")
        by_split.setdefault(name, scenes)
    by_path = {name: name for name in tree.names if PurePosixPath(name).suffix.lower() in SUFFIXES}
    parts = []
    for name, scenes in by_split.items():
        places = _places(by_path, scenes)
        classes = settled(scenes.numbers, scenes.name, source)
        made = [_Scene(places[file], drawn=partial(draw, *row)) for file, row in scenes.pictures.items()]
        parts.append(_Found(tree, name, made, classes))
    return sorted(parts, key=lambda part: ("train", "validation", "test").index(part.split))


def _places(by_path: Mapping[str, str], scenes: Scenes) -> dict[str, str]:
    """Where the pictures of an annotation file lie: by their path, else by name, in a folder of its split first."""
    word = split_word(scenes.name)
    ordered = sorted(by_path, key=lambda path: word not in path.lower())
    by_name: dict[str, str] = {}
    for path in ordered:
        by_name.setdefault(PurePosixPath(path).name, path)
    return {file: by_path.get(file) or by_name.get(PurePosixPath(file).name, file) for file in scenes.pictures}


# ------------------------------------------------------------------------------------------------- samples


def _part(found: _Found, names: Sequence[str], shown: set[int], *, judges: bool) -> Part:
    part = Part(found.split, f"{found.tree.title} ({found.split})", found.tree.root, (), tuple(names))
    part.samples = _samples(found, part, shown, judges=judges)
    return part


def _ids(tree: Tree, scene: _Scene, *, by_colour: bool) -> Array | None:
    if scene.drawn is not None:
        return scene.drawn()
    return read_ids(tree.read(scene.mask), by_colour=by_colour) if scene.mask else None


def _samples(found: _Found, part: Part, shown: set[int], *, judges: bool) -> Iterator[Sample]:
    """Scenes as samples; what another split shows and train does not is ignored there, and that is said."""
    tree, numbering = found.tree, Numbering(found.classes, part.names)
    odd: dict[str, list[str]] = {"UNKNOWN_ID": [], "UNKNOWN_CLASS": []}
    strangers: set[int] = set()
    for scene in found.scenes:
        problem, truth, raw = "", None, None
        try:
            if scene.picture not in tree.names:
                raise DataError("the picture that is annotated is missing")
            raw = tree.raw(scene.picture)
            ids = _ids(tree, scene, by_colour=found.classes.by_colour)
            if ids is not None:
                places, unknown = numbering.places(ids)
                held = set(np.unique(places).tolist()) - {IGNORED}
                if judges and shown and held - shown:
                    strangers |= held - shown
                    odd["UNKNOWN_CLASS"].append(scene.picture)
                    places = np.where(np.isin(places, list(held - shown)), np.uint8(IGNORED), places)
                elif not judges:
                    shown |= held
                truth = write_mask(places, part.names)
                if unknown:
                    odd["UNKNOWN_ID"].append(scene.mask or scene.picture)
        except DataError as error:
            problem = str(error)
        yield Sample(scene.picture, None, raw, problem, truth)
    names = ", ".join(part.names[place] for place in sorted(strangers)[:8])
    ids_shown = ", ".join(in_words(number) for number in sorted(numbering.unknown)[:12])
    aside = found.classes.set_aside if found.split == "train" else ()
    told = {
        "UNKNOWN_ID": (
            odd["UNKNOWN_ID"],
            f"masks hold numbers or colours that no class has ({ids_shown}); those pixels are ignored",
        ),
        "UNKNOWN_CLASS": (
            odd["UNKNOWN_CLASS"],
            f"masks show classes that train does not ({names}); they count for nothing",
        ),
        "MASK_ALONE": (found.alone, "masks have no picture of the same name and were left out"),
        "IGNORED_CLASS": (aside, "classes mean pixels that nobody judges by their names; data.ignore: [] keeps them"),
    }
    for code, (places_told, words) in told.items():
        if places_told:
            sentence = f"{len(places_told)} {words}"
            part.notes.append(DataProblem(code, found.split, len(places_told), sentence, tuple(places_told[:EXAMPLES])))
