"""Sentences of one language, found again in English text by the words that do not change."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources

from sartor.language import NAME

WORDS = frozenset({"title", "basis", "outcome", "direction", "status", "role", "noun", "bound_words", "said", "metric"})
"""Names that stand for a word of ours, which is said too. A single word under any other name stays as it is: it may
be a path, a label or a key."""

_DEPTH = 8  # of sentences within sentences
_LONGEST = 4000  # letters; what is longer is no sentence
_JOINS = tuple(
    (re.compile(sign).split, joined)
    for sign, joined in (
        (r"(?<=[?!]) ", ""),
        (r"\. (?=[A-Z\"])", "。"),
        ("; ", "；"),
        (" · ", " · "),
        (", ", "，"),
        (": ", "："),
    )
)
_ASIDE = re.compile(r"(.*?) ?\((.+)\)", re.DOTALL)


def load(code: str) -> Catalogue:
    """The catalogue that ships for a language."""
    text = (resources.files("sartor.language") / f"{code}.json").read_text(encoding="utf-8")
    return Catalogue(json.loads(text))


class Catalogue:
    """Sentences with and without names, the latter found by a pattern: the one with most fixed letters wins."""

    def __init__(self, sentences: Mapping[str, str]) -> None:
        self.sentences = sentences
        named = [template for template in sentences if NAME.search(template)]
        self._templates = [
            (max(NAME.split(template)[::2], key=len), template)
            for template in sorted(named, key=lambda one: -len(NAME.sub("", one)))
        ]
        self._patterns: dict[str, re.Pattern[str]] = {}
        self._remembered = lru_cache(maxsize=4096)(self._say)

    def say(self, text: str) -> str:
        """The text in this language, line by line; what is not known stays as it is."""
        return "\n".join(self._remembered(line, _DEPTH, True) for line in text.split("\n"))

    def _say(self, text: str, depth: int, words: bool) -> str:
        if text in self.sentences and words:
            return self.sentences[text]
        bare = text.strip()
        if not bare or len(bare) > _LONGEST or not (words or " " in bare):
            return text
        found = self.sentences.get(bare) or self._by_pattern(bare, depth)
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

    def _by_parts(self, text: str, depth: int, words: bool) -> str:
        """Sentences one after the other, or joined by a sign, or one with another in brackets, each on its own."""
        if text.endswith(".") and (said := self._remembered(text[:-1], depth, words)) != text[:-1]:
            return f"{said}。"
        for split, joined in _JOINS:
            parts = split(text)
            if len(parts) > 1:
                known = [self._remembered(part, depth, words) for part in parts]
                if known != parts:
                    return joined.join(known)
        if aside := _ASIDE.fullmatch(text):
            before, within = (self._remembered(part, depth, words) for part in aside.groups())
            if (before, within) != aside.groups():
                return f"{before}（{within}）"
        return ""


def _pattern(template: str) -> re.Pattern[str]:
    """A template as a pattern; a name that occurs twice must stand for the same text."""
    pattern, seen, end = "", set(), 0
    for name in NAME.finditer(template):
        pattern += re.escape(template[end : name.start()])
        pattern += f"(?P={name[1]})" if name[1] in seen else f"(?P<{name[1]}>.+?)"
        seen.add(name[1])
        end = name.end()
    return re.compile(pattern + re.escape(template[end:]), re.DOTALL)
