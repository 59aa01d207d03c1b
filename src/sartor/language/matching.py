"""Sentences of one language, found again in English text by the words that do not change."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources

from sartor.language import NAME

WORDS = frozenset({"title", "basis", "outcome", "direction", "headings", "splits", "cuts", "counted", "answers"})
"""Names that stand for a word of ours, which is said too. A single word under any other name stays as it is: it may
be a path, a label or a key."""

NUMBERS: Mapping[str, str] = {"count": r"\d[\d,]*", "interval": r"[-+]?\d.*?", "amount": r"[-+]?\d.*?"}
"""Names that stand for a number, or for what begins with one, so that the words before it are told from it."""

_DEPTH = 8  # of sentences within sentences
_LONGEST = 4000  # letters; what is longer is no sentence
_FEWEST = 3  # fixed letters by which a sentence with names can be told
_JOINS = tuple(
    (re.compile(sign).split, joined)
    for sign, joined in (
        (r"(?<=[?!]) ", ""),
        (r"\. (?=[A-Z\"])", "。"),
        ("; ", "；"),
        (" · ", " · "),
        (", ", "，"),
        (": ", "："),
        (" and ", "和"),
    )
)
_ASIDE = re.compile(r"(.*?) ?\((.+)\)", re.DOTALL)
_COUNTED = re.compile(r"(\d[\d,.]*%?) (.+)", re.DOTALL)
_PLACED = re.compile(r"(\S+): (.+)", re.DOTALL)
_SPARE = re.compile(r"(?<=[，。；：！？]) (?=\S)")
_FIRST_PART = r"(?:(?!; |: |\. [A-Z\"]).)+?"  # what a sentence begins with does not hold the sentence before it


def load(code: str) -> Catalogue:
    """The catalogue that ships for a language."""
    text = (resources.files("sartor.language") / f"{code}.json").read_text(encoding="utf-8")
    return Catalogue(json.loads(text))


class Catalogue:
    """Sentences with and without names, the latter found by a pattern: the one with most fixed letters wins."""

    def __init__(self, sentences: Mapping[str, str]) -> None:
        stops = {english[:-1]: other[:-1] for english, other in sentences.items() if english.endswith(".")}
        self.sentences = sentences = stops | dict(sentences)
        named = [template for template in sentences if NAME.search(template) and _letters(template) >= _FEWEST]
        self._templates = [
            (max(NAME.split(template)[::2], key=len), template)
            for template in sorted(named, key=_letters, reverse=True)
        ]
        self._patterns: dict[str, re.Pattern[str]] = {}
        self._remembered = lru_cache(maxsize=4096)(self._say)

    def say(self, text: str) -> str:
        """The text in this language, line by line; what is not known stays as it is."""
        return "\n".join(_SPARE.sub("", self._remembered(line, _DEPTH, True)) for line in text.split("\n"))

    def knows(self, sentence: str) -> bool:
        """True for a sentence that is said as a whole, not by its parts."""
        return sentence in self.sentences or bool(self._by_pattern(sentence, 0))

    def _say(self, text: str, depth: int, words: bool) -> str:
        if text in self.sentences and words:
            return self.sentences[text]
        bare = text.strip()
        if not bare or len(bare) > _LONGEST or not (words or " " in bare):
            return text
        found = self.sentences.get(bare) or self._by_list(bare, depth) or self._by_pattern(bare, depth)
        if not found and depth:
            found = self._by_parts(bare, depth - 1, words)
        return text.replace(bare, found) if found else text

    def _by_pattern(self, text: str, depth: int) -> str:
        for fixed, template in self._templates:
            if fixed not in text:
                continue
            if template not in self._patterns:
                self._patterns[template] = _pattern(template)
            if found := self._patterns[template].fullmatch(text):
                return self._filled(self.sentences[template], found.groupdict(), depth)
        return ""

    def _filled(self, template: str, values: Mapping[str, str], depth: int) -> str:
        """The other language's sentence with what stood for the names, itself said in that language where known."""
        said = {
            name: self._remembered(value, depth - 1, name.rstrip("0123456789") in WORDS) if depth else value
            for name, value in values.items()
        }
        return NAME.sub(lambda name: said.get(name[1], name[0]), template)

    def _by_list(self, text: str, depth: int) -> str:
        """Several sentences with commas between, where each is known as a whole."""
        parts = text.split(", ") if depth else []
        said = [self.sentences.get(part) or self._by_pattern(part, depth - 1) for part in parts]
        return "，".join(said) if len(parts) > 1 and all(said) else ""

    def _by_parts(self, text: str, depth: int, words: bool) -> str:
        """Sentences one after the other, or joined by a sign, or one with another in brackets, each on its own."""
        if text.endswith(".") and (said := self._remembered(text[:-1], depth, words)) != text[:-1]:
            return f"{said}。"
        if (placed := _PLACED.fullmatch(text)) and (other := self._remembered(placed[2], depth, False)) != placed[2]:
            return f"{placed[1]}：{other}"
        for split, joined in _JOINS:
            parts = split(text)
            if len(parts) > 1:
                known = [self._remembered(part, depth, words) for part in parts]
                if known != parts:
                    return joined.join(known)
        if aside := _ASIDE.fullmatch(text):
            before, within = self._remembered(aside[1], depth, words), self._remembered(aside[2], depth, True)
            if (before, within) != aside.groups():
                return f"{before}（{within}）"
        if (counted := _COUNTED.fullmatch(text)) and (other := self._remembered(counted[2], depth, words)) != counted[
            2
        ]:
            return f"{counted[1]} {other}"
        return ""


def _letters(template: str) -> int:
    return sum(letter.isalpha() for letter in NAME.sub("", template))


def _pattern(template: str) -> re.Pattern[str]:
    """A template as a pattern; a name that occurs twice must stand for the same text."""
    pattern, seen, end = "", set(), 0
    for name in NAME.finditer(template):
        pattern += re.escape(template[end : name.start()])
        told = NUMBERS.get(name[1].rstrip("0123456789")) or (".+?" if pattern else _FIRST_PART)
        pattern += f"(?P={name[1]})" if name[1] in seen else f"(?P<{name[1]}>{told})"
        seen.add(name[1])
        end = name.end()
    rest = re.escape(template[end:]) or r"(?<!\.)"  # a full stop belongs to the sentence, not to its last name
    return re.compile(pattern + rest, re.DOTALL)
