"""What Sartor says, in the reader's language. English is the language of the code and of the evidence.

Sentences are made in English, stored in English and turned into another language where they are shown, by one
catalogue: ``zh.json`` maps English sentences to Chinese ones, with ``{names}`` standing for what differs from time to
time. So a run's files read the same whoever made them, and no sentence is made in two places.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from importlib import resources

ENGLISH = "en"
LANGUAGES: Mapping[str, str] = {ENGLISH: "English", "zh": "中文"}
"""Codes to names in their own language."""

VARIABLE = "SARTOR_LANGUAGE"
_USUAL_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")
_NAME = re.compile(r"\{([a-z_]+)\}")
_DEPTH = 4  # of sentences within sentences


def language(environment: Mapping[str, str] | None = None) -> str:
    """The language to speak: ``SARTOR_LANGUAGE``, else that of the system where it is known here, else English."""
    given = os.environ if environment is None else environment
    named = given.get(VARIABLE) or next((given[name] for name in _USUAL_VARIABLES if given.get(name)), "")
    code = re.split(r"[-_.]", named.lower())[0]
    return code if code in LANGUAGES else ENGLISH


def say(text: str, code: str | None = None) -> str:
    """A sentence in a language; what the catalogue does not know stays English.

    Args:
        text: English, as the code made it.
        code: ``en`` or ``zh``; the reader's language where None.

    Example:
        >>> say("run again", "en")
        'run again'
    """
    code = language() if code is None else code
    return text if code == ENGLISH else _catalogue(code).say(text, _DEPTH)


def sentences(code: str) -> Mapping[str, str]:
    """The whole catalogue of a language: English sentence to its own; empty for English."""
    return {} if code == ENGLISH else _catalogue(code).sentences


@cache
def _catalogue(code: str) -> _Catalogue:
    text = (resources.files("sartor.language") / f"{code}.json").read_text(encoding="utf-8")
    return _Catalogue(json.loads(text))


class _Catalogue:
    """Sentences with and without names, the latter found by a pattern: the one with most fixed letters wins."""

    def __init__(self, sentences: Mapping[str, str]) -> None:
        self.sentences = sentences
        self._patterns: dict[str, list[tuple[re.Pattern[str], str]]] = defaultdict(list)
        named = [template for template in sentences if _NAME.search(template)]
        for template in sorted(named, key=lambda one: -len(_NAME.sub("", one))):
            start = "" if template.startswith("{") else template[0]
            self._patterns[start].append((_pattern(template), sentences[template]))

    def say(self, text: str, depth: int) -> str:
        bare = text.strip()
        if not bare:
            return text
        found = self.sentences.get(bare) or self._by_pattern(bare, depth) or self._by_parts(bare, depth)
        return text.replace(bare, found) if found else text

    def _by_pattern(self, text: str, depth: int) -> str:
        for pattern, other in (*self._patterns[text[0]], *self._patterns[""]):
            found = pattern.fullmatch(text)
            if found:
                return self._filled(other, found.groupdict(), depth)
        return ""

    def _filled(self, template: str, values: Mapping[str, str], depth: int) -> str:
        """The other language's sentence with what stood for the names, itself said in that language where known."""
        said = {name: self.say(value, depth - 1) if depth else value for name, value in values.items()}
        return _NAME.sub(lambda name: said.get(name[1], name[0]), template)

    def _by_parts(self, text: str, depth: int) -> str:
        """Sentences one after the other, or joined by a semicolon or a dot in the middle, each on its own."""
        for sign, joined in (("; ", "；"), (". ", "。"), (" · ", " · "), (", ", "，")):
            parts = text.split(sign)
            if len(parts) > 1 and depth:
                said = [self.say(part, depth - 1) for part in parts]
                if said != parts:
                    return joined.join(said)
        return ""


def _pattern(template: str) -> re.Pattern[str]:
    """A template as a pattern; a name that occurs twice must stand for the same text."""
    pattern, seen, end = "", set(), 0
    for name in _NAME.finditer(template):
        pattern += re.escape(template[end : name.start()])
        pattern += f"(?P={name[1]})" if name[1] in seen else f"(?P<{name[1]}>.+?)"
        seen.add(name[1])
        end = name.end()
    return re.compile(pattern + re.escape(template[end:]), re.DOTALL)
