"""The tokenizers of pretrained checkpoints in plain Python, from ``tokenizer.json``: nothing to install where it runs.

A tokenizer is four steps, each stated in the file: a normalizer rewrites the text, a pre-tokenizer cuts it into words,
a model cuts words into the pieces of its vocabulary, and a post-processor sets special tokens around them. Each step is
known by name or refused by name; none is guessed at. What a text says is text: special tokens written in it mean
nothing.

Source: the file format of huggingface/tokenizers 0.23, ``Tokenizer.encode`` with ``encode_special_tokens``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sartor.catalog.tasks.parts.tokenizer_letters import Normalize, normalizer
from sartor.catalog.tasks.parts.tokenizer_pieces import pieces
from sartor.catalog.tasks.parts.tokenizer_words import Split, splitter
from sartor.errors import Refused, Unsupported

if TYPE_CHECKING:
    from sartor.catalog.contracts import Array

LARGEST_FILE = 64 << 20  # bytes
MOST_CACHED = 50_000  # words whose pieces are kept at hand
LONGEST_CACHED = 64  # characters of such a word


def read_tokenizer(folder: Path) -> dict[str, Any]:
    """What :class:`Tokenizer` takes, from ``tokenizer.json``, or ``vocab.txt`` with ``tokenizer_config.json``.

    Raises:
        Refused: the folder has neither, or they are damaged.
        Unsupported: ``TOKENIZER``: a step of it is of a kind that is not known here.
    """
    config = _json(folder / "config.json") if (folder / "config.json").is_file() else {}
    if (folder / "tokenizer.json").is_file():
        content = _json(folder / "tokenizer.json")
    elif (folder / "vocab.txt").is_file():
        content = _from_vocabulary(folder)
    else:
        raise Refused(f"{folder} holds no tokenizer.json and no vocab.txt; save the checkpoint's tokenizer beside it")
    try:
        before, after = _frame(content.get("post_processor") or {})
        kept = {
            "normalizer": content.get("normalizer"),
            "pre_tokenizer": content.get("pre_tokenizer"),
            "model": content["model"],
            "added": [token for token in content.get("added_tokens") or () if not token.get("special")],
            "before": before,
            "after": after,
            "padding": padding(config, content),
        }
        Tokenizer(kept)
    except Unsupported as refusal:
        raise Unsupported(refusal.code, f"the tokenizer of {folder.name} {refusal.detail}") from None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise Refused(
            f"{folder} holds a damaged tokenizer ({type(error).__name__}: {error}); save it again with transformers"
        ) from error
    return kept


def padding(config: Mapping[str, Any], content: Mapping[str, Any]) -> int:
    """The id that fills short texts, as the encoder's configuration has it, else the id of ``[PAD]``.

    An encoder that never saw padding (GPT-2) has none: its end of text, which no text contains, stands for it.
    """
    for name in ("pad_token_id", "eos_token_id"):
        if isinstance(config.get(name), int):
            return int(config[name])
    vocabulary = content["model"].get("vocab")
    return int(vocabulary.get("[PAD]", 0)) if isinstance(vocabulary, dict) else 0


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


def _from_vocabulary(folder: Path) -> dict[str, Any]:
    """The tokenizer of BERT from its older files."""
    options = _json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    words = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    known = {word: number for number, word in enumerate(words)}
    first, last, unknown = (
        options.get(name, usual)
        for name, usual in (("cls_token", "[CLS]"), ("sep_token", "[SEP]"), ("unk_token", "[UNK]"))
    )
    rewritten = {
        "type": "BertNormalizer",
        "lowercase": options.get("do_lower_case", True),
        "strip_accents": options.get("strip_accents"),
        "handle_chinese_chars": options.get("tokenize_chinese_chars", True),
    }
    return {
        "normalizer": rewritten,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "vocab": known, "unk_token": unknown},
        "post_processor": {"type": "BertProcessing", "cls": [first, known[first]], "sep": [last, known[last]]},
    }


def _frame(processor: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    """The ids set before and behind a text."""
    kind = processor.get("type", "")
    if kind in ("", "ByteLevel"):
        return [], []
    if kind in ("BertProcessing", "RobertaProcessing"):
        return [int(processor["cls"][1])], [int(processor["sep"][1])]
    if kind == "Sequence":
        frames = [_frame(part) for part in processor["processors"]]
        framing = [frame for frame in frames if frame != ([], [])]
        if len(framing) <= 1:
            return framing[0] if framing else ([], [])
    if kind == "TemplateProcessing":
        sides: tuple[list[int], list[int]] = ([], [])
        behind = False
        for part in processor["single"]:
            if "Sequence" in part:
                behind = True
            else:
                sides[behind].extend(int(i) for i in processor["special_tokens"][part["SpecialToken"]["id"]]["ids"])
        return sides
    raise Unsupported("TOKENIZER", f"ends with the step {kind}, which is not known here; give another checkpoint")


class Tokenizer:
    """Text to the ids of a checkpoint's vocabulary, framed by its special tokens.

    Raises:
        Unsupported: ``TOKENIZER``: a step is of a kind that is not known here.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._normalize: Normalize = normalizer(content["normalizer"])
        self._split: Split = splitter(content["pre_tokenizer"])
        self._cut = pieces(content["model"])
        self._before: list[int] = content["before"]
        self._after: list[int] = content["after"]
        self.padding = int(content["padding"])
        self._cache: dict[str, list[int]] = {}
        self._raw = _Added([token for token in content["added"] if not token.get("normalized")], str)
        self._normalized = _Added([token for token in content["added"] if token.get("normalized")], self._normalize)

    def __call__(self, text: str, input_size: Sequence[int]) -> Array:
        """Ids (length,) int32: what stands before, pieces, what stands behind, then padding."""
        length, ids = input_size[0], list(self._before)
        room = max(0, length - len(self._after))
        for found in self._ids(text):
            ids += found
            if len(ids) >= room:
                break
        row = np.full(length, self.padding, np.int32)
        framed = (ids[:room] + self._after)[:length]
        row[: len(framed)] = framed
        return row

    def _ids(self, text: str) -> Iterator[list[int]]:
        start = bool(self._normalize(text[:1]))  # what stands behind a sign that was removed is not the beginning
        for raw, known in self._raw(text):
            parts = [("", known)] if known is not None else self._normalized(self._normalize(raw))
            for part, number in parts:
                if number is not None:
                    yield [number]
                else:
                    yield from map(self._of_word, self._split(part, start))
                start = False

    def _of_word(self, word: str) -> list[int]:
        if len(word) > LONGEST_CACHED:
            return self._cut(word)
        ids = self._cache.get(word)
        if ids is None:
            if len(self._cache) >= MOST_CACHED:
                self._cache.clear()
            ids = self._cache[word] = self._cut(word)
        return ids


class _Added:
    """Cuts out the words that were added to a finished vocabulary; the longest first."""

    def __init__(self, tokens: Sequence[Mapping[str, Any]], normalize: Callable[[str], str]) -> None:
        for token in tokens:
            odd = [name for name in ("single_word", "lstrip", "rstrip") if token.get(name)]
            if odd:
                raise Unsupported("TOKENIZER", f"has an added token with {odd[0]}, which is not known here")
        self._known = {normalize(token["content"]): int(token["id"]) for token in tokens}
        longest_first = sorted(filter(None, self._known), key=len, reverse=True)
        self._pattern = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else None

    def __call__(self, text: str) -> Iterator[tuple[str, int | None]]:
        """Parts with the id of those that were added."""
        if self._pattern is None:
            yield text, None
            return
        for number, part in enumerate(self._pattern.split(text)):
            if part:
                yield part, self._known[part] if number % 2 else None
