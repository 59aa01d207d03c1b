"""The tokenizer of BERT and its kin in plain Python, from a checkpoint's files: nothing to install where it runs.

Source: Devlin et al. 2018, arXiv:1810.04805; Wu et al. 2016, arXiv:1609.08144, section 4.1 (WordPiece).
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.errors import Refused, Unsupported

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

LARGEST_FILE = 64 << 20  # bytes
MOST_CACHED = 50_000  # words whose pieces are kept at hand
HAN = (
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b81f"
    "\U0002b820-\U0002ceaf\U0002f800-\U0002fa1f"
)

_HAN = re.compile(f"[{HAN}]")
_SIGNS = frozenset("$+<=>^`|~")  # of ASCII, all signs stand alone, not only what Unicode calls punctuation


def read_vocabulary(folder: Path) -> dict[str, Any]:
    """What :class:`WordPiece` takes, from ``tokenizer.json``, or ``vocab.txt`` with ``tokenizer_config.json``.

    Raises:
        Refused: the folder has neither, or they are damaged.
        Unsupported: ``TOKENIZER``: the checkpoint cuts texts in another way (byte pairs, unigrams).
    """
    if (folder / "tokenizer.json").is_file():
        return _from_tokenizer(_json(folder / "tokenizer.json"), folder)
    if (folder / "vocab.txt").is_file():
        options = _json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
        lower = options.get("do_lower_case", True)
        return {
            "vocabulary": (folder / "vocab.txt").read_text(encoding="utf-8").splitlines(),
            "lowercase": lower,
            "strip_accents": lower if options.get("strip_accents") is None else options["strip_accents"],
            "han": options.get("tokenize_chinese_chars", True),
            "prefix": "##",
            "longest": 100,
            "unknown": options.get("unk_token", "[UNK]"),
            "first": options.get("cls_token", "[CLS]"),
            "last": options.get("sep_token", "[SEP]"),
        }
    raise Refused(f"{folder} holds no tokenizer.json and no vocab.txt; save the checkpoint's tokenizer beside it")


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise Refused(f"{path} is larger than {LARGEST_FILE >> 20} MiB; that is no tokenizer")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Refused(f"{path} cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise Refused(f"{path} is not a JSON object; save the tokenizer again")
    return content


def _from_tokenizer(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    model, normalizer, split = (content.get(part) or {} for part in ("model", "normalizer", "pre_tokenizer"))
    kinds = (model.get("type", "WordPiece"), normalizer.get("type"), split.get("type"))
    if kinds != ("WordPiece", "BertNormalizer", "BertPreTokenizer") or not isinstance(model.get("vocab"), dict):
        found = " / ".join(str(kind) for kind in kinds)
        raise Unsupported("TOKENIZER", f"{folder.name} cuts texts by {found}; only the WordPiece of BERT is known")
    vocabulary: list[str] = [""] * (max(model["vocab"].values(), default=-1) + 1)
    for word, number in model["vocab"].items():
        vocabulary[number] = word
    first, last = _frame(content.get("post_processor") or {})
    lower = bool(normalizer.get("lowercase", True))
    accents = normalizer.get("strip_accents")
    return {
        "vocabulary": vocabulary,
        "lowercase": lower,
        "strip_accents": lower if accents is None else accents,
        "han": normalizer.get("handle_chinese_chars", True),
        "prefix": model.get("continuing_subword_prefix", "##"),
        "longest": model.get("max_input_chars_per_word", 100),
        "unknown": model.get("unk_token", "[UNK]"),
        "first": first,
        "last": last,
    }


def _frame(processor: Mapping[str, Any]) -> tuple[str, str]:
    """The tokens set before and behind a text."""
    if processor.get("type") == "TemplateProcessing":
        special = [part["SpecialToken"]["id"] for part in processor.get("single", ()) if "SpecialToken" in part]
        if len(special) == 2:
            return special[0], special[1]
    if processor.get("type") == "BertProcessing":
        return processor["cls"][0], processor["sep"][0]
    return "[CLS]", "[SEP]"


class WordPiece:
    """Text to the ids of a checkpoint's vocabulary: the longest known piece first, framed by its special tokens."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        vocabulary: Sequence[str] = content["vocabulary"]
        self._known = {word: number for number, word in enumerate(vocabulary)}
        self._prefix, self._longest = content["prefix"], int(content["longest"])
        self._unknown, self._first, self._last = (self._known.get(content[n], 0) for n in ("unknown", "first", "last"))
        self._letters = _Letters(content["lowercase"], content["strip_accents"], content["han"])
        self._cache: dict[str, list[int]] = {}
        self.padding = self._known.get("[PAD]", 0)

    def __call__(self, text: str, input_size: Sequence[int]) -> Array:
        """Ids (length,) int32: first, pieces, last, then padding."""
        length = input_size[0]
        ids = [self._first]
        for word in "".join(map(self._letters.__getitem__, text)).split():
            ids += self._pieces(word)
            if len(ids) >= length:
                break
        del ids[length - 1 :]
        ids.append(self._last)
        row = np.full(length, self.padding, np.int32)
        row[: len(ids)] = ids
        return row

    def _pieces(self, word: str) -> list[int]:
        ids = self._cache.get(word)
        if ids is None:
            if len(self._cache) >= MOST_CACHED:
                self._cache.clear()
            ids = self._cache[word] = self._cut(word)
        return ids

    def _cut(self, word: str) -> list[int]:
        if len(word) > self._longest:
            return [self._unknown]
        known, start, ids = self._known, 0, []
        while start < len(word):
            prefix = self._prefix if start else ""
            for end in range(len(word), start, -1):
                number = known.get(prefix + word[start:end])
                if number is not None:
                    break
            else:
                return [self._unknown]
            ids.append(number)
            start = end
        return ids


class _Letters(dict[str, str]):
    """A character as BERT sees it: cleaned, without case and accents, with blanks around where it stands alone."""

    def __init__(self, lower: bool, accents: bool, han: bool) -> None:
        super().__init__()
        self._lower, self._accents, self._han = lower, accents, han

    def __missing__(self, letter: str) -> str:
        self[letter] = found = self._seen(letter)
        return found

    def _seen(self, letter: str) -> str:
        kind = unicodedata.category(letter)
        if letter in "\t\n\r" or kind in ("Zs", "Zl", "Zp"):
            return " "
        if kind in ("Cc", "Cf", "Co", "Cs") or letter == "\ufffd":
            return ""
        if self._accents:
            parts = unicodedata.normalize("NFD", letter)
            letter = "".join(part for part in parts if unicodedata.category(part) != "Mn")
        if self._lower:
            letter = letter.lower()
        alone = (
            (self._han and _HAN.match(letter)) or letter in _SIGNS or unicodedata.category(letter[:1] or "a")[0] == "P"
        )
        return f" {letter} " if alone else letter
